"""Building of emulators: training on a grid or samples, and weights files.

The training sets are the nodes of a grid, a Latin hypercube or scattered
samples. A build saves checkpoints, and reports the errors of its weights.
"""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
