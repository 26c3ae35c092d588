"""Figures of measured errors, by subject."""
