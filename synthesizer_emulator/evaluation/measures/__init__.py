"""What is measured of an emulator: residuals, magnitudes, fits, slopes."""
