"""Stars of galaxies: a conditional flow that draws star particles.

`StarFlow` learns the distribution of the stars of simulated galaxies given a
few properties of a galaxy, and draws star particles of Synthesizer for any
galaxy of which these are known. It needs the extra `stars`.
"""

from importlib.util import find_spec

import lazy_loader
from synthesizer.exceptions import UnmetDependency

if find_spec("flowjax") is None:
    raise UnmetDependency(
        "The stars of galaxies need flowjax: install it with pip install "
        "'synthesizer-emulator[stars]'."
    )

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
