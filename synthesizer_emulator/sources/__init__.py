"""Grids in Synthesizer's format from data that ships in other packages.

Only who makes grids needs these modules; emulators are built from any
grid file, wherever it comes from.
"""
