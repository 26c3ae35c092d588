"""Libraries of galaxies: priors in, parameters and photometry out.

For whoever wants a million galaxies of an emission model without going
through Synthesizer's pipeline a million times: `Library` from Python,
`read_library` from YAML. `parts` writes and takes up what is made, for other
layouts of the final file, too.
"""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
