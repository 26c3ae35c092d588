"""The errors of an emulator: at the nodes, between them, and beyond."""
