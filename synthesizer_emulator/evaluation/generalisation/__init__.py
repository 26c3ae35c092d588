"""Generalisation studies: training in one region of a grid, tests in others.

They help to choose or develop architectures. Use `evaluate` and `hold_out`
for the errors of a finished emulator.
"""
