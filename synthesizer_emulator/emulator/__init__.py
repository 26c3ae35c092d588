"""Emulators as pure JAX functions, without units.

From axis values to fluxes: scaling, tables, decoders, and the errors that
are made. For those who want gradients or batches of spectra by themselves.
"""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
