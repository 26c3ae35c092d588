"""Libraries of galaxies: parameters drawn from priors, and their photometry.

`Library` makes a million galaxies of an emission model in batches, instead of
one by one in Synthesizer's pipeline; `config` reads it from YAML. `parts` and
`collection` write and join interruptible parts, for any layout of the final
file.
"""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
