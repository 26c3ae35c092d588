"""Figures of measured errors, one module a subject."""
