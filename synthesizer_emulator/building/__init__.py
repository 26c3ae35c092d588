"""From a grid, or from samples of one, to a weights file.

Training sets on the grid's nodes, on a Latin hypercube or scattered; the
build itself, its checkpoints, and the verdict on the errors.
"""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
