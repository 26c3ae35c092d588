"""Libraries of galaxies: priors in, parameters and photometry out.

For whoever wants a million galaxies of an emission model without going
through Synthesizer's pipeline a million times. `parts` writes and takes up
what is made, for other layouts of the final file, too.
"""
