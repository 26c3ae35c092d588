"""Plots of posteriors: parameters, spectra, histories, and calibration.

Each module draws with matplotlib; `style` holds what they share.
"""
