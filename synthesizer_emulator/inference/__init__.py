"""Inference: the parameters of galaxies from their observations.

`spectrum` has observed spectra and their likelihood, `spectrograph` takes
models to their pixels.
"""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
