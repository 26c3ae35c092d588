"""`EmulatedGrid`, which takes the place of Synthesizer's `Grid`.

With it come other nodes than those of the weights, particles evaluated at
their own ages and metallicities, and the exchange of grids in scripts.
"""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
