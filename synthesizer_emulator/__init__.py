"""Emulated grids for Synthesizer.

Change `Grid` to `EmulatedGrid` and the rest of a script stays as it is.
The public names are listed in `__init__.pyi`; they load when first used, so
that importing the package costs nothing.
"""

import lazy_loader

__version__ = "0.1.0"

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
# Left out of `import *`, since it needs the extra `synference`.
__all__.remove("EmulatedGalaxyBasis")
