"""Emulators as pure JAX functions from axis values to fluxes, without units.

For gradients, batches of spectra and samplers. Also the scaling of axes and
fluxes, interpolation in tables, and measures of error.
"""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
