"""From the parameters of a galaxy to spectra and photometry, in JAX.

Star formation histories, emission models, dust, intergalactic absorption and
filters, each as a pure function; `GalaxyModel` joins them.
"""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
