"""The weights file, and the fluxes that follow from it.

One HDF5 file that reproduces a grid by itself. Needed to load or to write an
emulator; `EmulatedGrid` and `build` do both.
"""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
