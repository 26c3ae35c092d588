"""Amortised posteriors: a network that is trained once for many galaxies.

`Fit.train` simulates observed galaxies with the errors of a survey and trains
a conditional normalising flow on them with sbi. The method `amortised` of
`Fit.run` draws from it and weights the draws by the likelihood. The parameters
are mapped from the unit hypercube to those of a standard normal prior, which
has no edges and is the base of the flow.
"""
