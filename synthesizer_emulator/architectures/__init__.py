"""Architectures: models that emulate one emission of a grid.

To add one, write a frozen dataclass that derives from `Architecture` in a new
module, and add it to `ARCHITECTURES` in `registry`. The builder, the weights
file and the tests of all architectures need no other change.
"""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
