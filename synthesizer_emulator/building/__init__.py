"""Building an emulator: from a grid, or samples of one, to a weights file.

Training sets on the grid's nodes, on a Latin hypercube or scattered; the
build itself with its checkpoints; the report and the verdict on its errors.
"""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
