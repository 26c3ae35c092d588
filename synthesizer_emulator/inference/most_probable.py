"""The most probable parameters: the maximum of the posterior.

This is the density of the values of the parameters in the units of their
priors, as in other codes, and not that in the hypercube: uniform priors do
not shift the maximum of the likelihood.
"""

from collections.abc import Sequence

import numpy as np
from scipy.special import ndtr

from synthesizer_emulator.inference.maxima import Maxima, find_maxima
from synthesizer_emulator.inference.samples import Samples
from synthesizer_emulator.inference.target import Target

# Maxima are the same if the logarithms of their densities are as close.
_SAME = 0.1


def most_probable(
    target: Target, seed: int = 0, starts: int = 32, progress: bool = False
) -> Samples:
    """Find the most probable parameters.

    Args:
        target (Target): The likelihood.
        seed (int): Has no effect: the starts are the same for all seeds.
        starts (int): The number of starts. More of them find more of several
            separate maxima.
        progress (bool): Has no effect: a run is one compiled program.

    Returns:
        Samples: The maximum, as the only sample, without evidence.

    Raises:
        UnmetDependency: If optimistix is not installed.
        InconsistentArguments: If `starts` is not a whole number from 1 to
            512.
    """
    return most_probable_of_many([target], [seed], starts, progress)[0]


def most_probable_of_many(
    targets: Sequence[Target],
    seeds: Sequence[int],
    starts: int = 32,
    progress: bool = False,
) -> list[Samples]:
    """Find the most probable parameters of several galaxies in one program.

    The likelihoods must be of one fit, and each galaxy has a seed. The other
    arguments are those of `most_probable`.

    Returns:
        list of Samples: As of `most_probable`.

    Raises:
        InconsistentArguments: If the data differ in kind or size.
    """
    found = find_maxima(targets, "map", starts, is_natural=True)
    return [_samples(maxima) for maxima in found]


def _samples(maxima: Maxima) -> Samples:
    """Return the highest maximum of a galaxy as its only sample."""
    best = ndtr(np.asarray(maxima.positions[:1], np.float64))
    log_density = np.asarray(maxima.log_density, np.float64)
    below = log_density[0] - log_density
    others = below[below > _SAME]
    converged = np.asarray(maxima.has_converged)[below <= _SAME].any()
    return Samples(
        points=best,
        weights=np.ones(1),
        log_likelihood=np.asarray(maxima.log_likelihood[:1], np.float64),
        log_evidence=float("nan"),
        diagnostics={
            "evaluations": int(np.sum(maxima.evaluations)),
            "log_density": float(log_density[0]),
            "starts": len(below),
            "starts_at_maximum": int(np.sum(below <= _SAME)),
            "next_maximum": float(-others.min()) if len(others) else np.nan,
        },
        warnings=()
        if converged
        else ("The search for the maximum did not converge: use 'nested'.",),
        is_posterior=False,
    )
