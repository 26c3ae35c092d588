"""Grids in Synthesizer's format from data that ship with other packages.

Emulators are built from any grid file, so these modules are needed only to
make the grids themselves.
"""
