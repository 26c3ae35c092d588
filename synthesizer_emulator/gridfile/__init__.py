"""Synthesizer's HDF5 grid format.

Headers, axes, arrays of spectra and lines, files of samples, and the folders
that are searched for grids.
"""
