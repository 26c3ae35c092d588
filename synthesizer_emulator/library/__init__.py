"""Libraries of galaxies: parameters drawn from priors, and their photometry.

`Library` computes galaxies of an emission model in batches, where
Synthesizer's pipeline computes them one by one; `config` reads a library from
YAML. `parts` writes parts that survive an interruption, and `collection` joins
them into a file of any layout.
"""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
# Excluded from `import *`, because it needs the extra `synference`.
__all__.remove("write_synference")
