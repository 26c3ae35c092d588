"""Generalisation studies: training in one region, tests in others.

The regions are of the nodes of a grid, or of scattered samples.
They help to choose or develop architectures. Use `evaluate` and `hold_out`
for the errors of a finished emulator.
"""
