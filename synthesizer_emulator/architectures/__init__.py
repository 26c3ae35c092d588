"""Architectures: the ways to emulate one emission.

To add one, write a frozen dataclass with the methods of `Architecture` in a
module of its own and enter it into `ARCHITECTURES` in `registry`; the
builder, the weights file and the laws in the tests need no other change.
"""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
