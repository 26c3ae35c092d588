"""Generalisation studies: trained in one region of a grid, tested in others.

They serve to choose or develop architectures; the error of a finished
emulator is measured by `evaluate` and `hold_out`.
"""
