"""The errors of an emulator at, between and outside its training nodes."""
