"""Synthesizer's HDF5 grid format as data.

Headers, axes, arrays and samples, and the folders that grids lie in. Needed
to read or write a grid file; emulators keep only the header.
"""
