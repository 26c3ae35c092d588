"""Synthesizer's HDF5 grid format as data.

Headers, axes, arrays of spectra and lines, files of samples, and the folders
in which grids are looked up.
"""
