"""How good an emulator is: at the nodes, between them, and beyond them."""
