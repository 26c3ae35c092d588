"""Emulated grids for Synthesizer.

In a script, replace `Grid` by `EmulatedGrid`; nothing else changes. The
public names are listed in `__init__.pyi` and imported on first use, so that
importing the package is fast.
"""

import lazy_loader

from synthesizer_emulator.compilation import keep_compiled_functions

__version__ = "0.1.0"

keep_compiled_functions()

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
# Excluded from `import *`, because it needs the extra `synference`.
__all__.remove("EmulatedGalaxyBasis")
