"""The weights file, and the fluxes computed from it.

A weights file is an HDF5 file from which a grid can be emulated. `build`
writes it, and `EmulatedGrid` reads it.
"""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
