"""Grids in Synthesizer's format, made from data shipped with other packages.

Emulators can be built from any grid file, so these modules are optional.
"""
