"""Spectra and photometry of galaxies from their parameters, in JAX.

Star formation histories, emission models, dust, intergalactic absorption and
filters are pure functions; `GalaxyModel` combines them.
"""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
