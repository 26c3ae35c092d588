"""Posteriors of galaxies from observations, with any emission model.

`Fit` combines an emission model with priors, as `Library` does, and compares
its galaxies with data: `Photometry` and `Spectrum` hold observations with
their errors and give the logarithm of their likelihood. All samplers work in
the unit hypercube, in which the prior is uniform.
"""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
