"""Error measures: residuals, magnitudes, fitted labels and derivatives."""
