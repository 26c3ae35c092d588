from .emulator import Emulator as Emulator
