"""The weights file, and the fluxes computed from it.

A weights file is one HDF5 file that reproduces a grid by itself.
`EmulatedGrid` reads it, `build` writes it.
"""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
