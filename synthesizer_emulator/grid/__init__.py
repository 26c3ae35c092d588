"""`EmulatedGrid`, the replacement for Synthesizer's `Grid`.

Also grids on new nodes, the extraction of particles at their exact ages and
metallicities, and the replacement of `Grid` in existing scripts.
"""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
