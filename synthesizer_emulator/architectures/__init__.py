"""Architectures: the ways to emulate one emission.

To add one, write a frozen dataclass that derives from `Architecture`, in a
module of its own, and add one line to `ARCHITECTURES` in `registry`. The
builder, the weights file and the laws in the tests need no other change.
"""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
