"""How good an emulator is: metrics and what shows them."""
