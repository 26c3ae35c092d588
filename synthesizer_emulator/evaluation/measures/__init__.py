"""Measures of an emulator: residuals, magnitudes, fits and derivatives."""
