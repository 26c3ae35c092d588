"""Importance sampling with the shells of nautilus and with mixtures.

The networks of nautilus leave out a tenth to a quarter of wide and thin
posteriors. That part then lies in the outer shells, which are too large for
their few points to find it: the evidence comes out too low and the posterior
too narrow. Mixtures fitted to the samples find it. Points of all proposals
together are weighted by the density of all of them, the balance heuristic
(Veach & Guibas 1995, SIGGRAPH 95, 419, eq. 14; as adaptive multiple importance
sampling: Cornuet et al. 2012, Scand. J. Stat. 39, 798).
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.special import logsumexp, ndtr, ndtri

from synthesizer_emulator.inference.mixture import Mixture, fit_mixture

# The points of each mixture, and of the shells, in each round.
_ROUND = 4096

# The fewest rounds: each finds more of what the shells left out.
_ROUNDS = 4

# The logarithm of the weight, relative to the largest, of points left out:
# together they have less than 1e-5 of the posterior.
_NEGLIGIBLE = np.log(1e-7)

# The distance of points from the walls of the hypercube, which lie at infinity
# for the mixtures.
_FROM_WALL = 1e-15

Floats = NDArray[np.float64]


@dataclass(frozen=True, eq=False)
class Draws:
    """Weighted points of a posterior in the unit hypercube.

    Attributes:
        points (np.ndarray of float): The points, (n, d).
        log_likelihood (np.ndarray of float): At the points, (n,).
        log_weights (np.ndarray of float): The logarithms of the parts of the
            evidence that they stand for, (n,).
        evaluations (int): How often the likelihood was evaluated.
    """

    points: Floats
    log_likelihood: Floats
    log_weights: Floats
    evaluations: int

    @property
    def log_evidence(self) -> float:
        """The logarithm of the evidence."""
        return float(logsumexp(self.log_weights))

    @property
    def effective_size(self) -> float:
        """The effective number of independent samples (Kish 1965)."""
        return float(
            np.exp(
                2 * logsumexp(self.log_weights)
                - logsumexp(2 * self.log_weights)
            )
        )


def sample(
    sampler: Any,
    log_likelihood: Callable[[Floats], Floats],
    n_eff: int,
    max_evaluations: int,
    rng: np.random.Generator,
) -> Draws:
    """Draw points of a posterior that nautilus has explored.

    In each round, a mixture is fitted to the points so far and points are
    drawn from it, and from the shells as long as they are too few there.

    Args:
        sampler (nautilus.Sampler): After its exploration.
        log_likelihood (callable): Of points of the hypercube, (n, d) to (n,).
        n_eff (int): The effective number of samples to reach.
        max_evaluations (int): The number of evaluations of the likelihood,
            with those of the exploration, after which no round is begun.
        rng (np.random.Generator): The random numbers.

    Returns:
        Draws: The points, without those of negligible weight.
    """
    mixtures: list[Mixture] = []
    normal = np.empty((0, sampler.n_dim))
    values = np.empty(0)
    shells = np.empty(0, int)
    draws = _weighted(sampler, mixtures, normal, values, shells)
    while draws.evaluations < max_evaluations and (
        len(mixtures) < _ROUNDS or draws.effective_size < n_eff
    ):
        mixture = fit_mixture(_normal(draws.points), draws.log_weights, rng)
        mixtures.append(mixture)
        new = mixture.draw(_ROUND, rng)
        points = _uniform(new)
        normal = np.concatenate([normal, new])
        values = np.concatenate([values, log_likelihood(points)])
        shells = np.concatenate([shells, _shells_of(sampler, points)])
        sampler.run(n_eff=n_eff, n_like_max=sampler.n_like + _ROUND)
        draws = _weighted(sampler, mixtures, normal, values, shells)
    return draws


def _weighted(
    sampler: Any,
    mixtures: list[Mixture],
    normal: Floats,
    values: Floats,
    shells: NDArray[np.int_],
) -> Draws:
    """Weight the points of the shells and of the mixtures, in normal space.

    Points are weighted by the number of points that all proposals together
    have per volume of the hypercube.
    """
    counts = np.array([len(points) for points in sampler.points])
    explored = np.concatenate(sampler.points)
    explored_values = np.concatenate(sampler.log_l)
    density = np.log(counts) - sampler.shell_log_v
    explored_density = np.repeat(density, counts)
    # More proposals only lower a weight.
    ratio = explored_values - explored_density
    kept = ratio > ratio.max() + 2 * _NEGLIGIBLE

    normal = np.concatenate([_normal(explored[kept]), normal])
    values = np.concatenate([explored_values[kept], values])
    total = [
        np.concatenate(
            [explored_density[kept], np.append(density, -np.inf)[shells]]
        )
    ]
    # A uniform distribution is a normal one here.
    of_prior = -0.5 * np.sum(np.square(normal) + np.log(2 * np.pi), axis=1)
    total.extend(
        np.log(_ROUND) + mixture.log_density(normal) - of_prior
        for mixture in mixtures
    )
    log_weights = values - logsumexp(total, axis=0)
    kept = log_weights > log_weights.max() + _NEGLIGIBLE
    return Draws(
        points=_uniform(normal[kept]),
        log_likelihood=values[kept],
        log_weights=log_weights[kept],
        evaluations=int(sampler.n_like) + _ROUND * len(mixtures),
    )


def _shells_of(sampler: Any, points: Floats) -> NDArray[np.int_]:
    """Return the indices of the shells of points, (n,), or -1 outside.

    A shell is what lies in a bound and in none of the later ones.
    """
    shells = np.full(len(points), -1)
    for index in reversed(range(len(sampler.bounds))):
        left = np.flatnonzero(shells < 0)
        if len(left):
            inside = sampler.bounds[index].contains(points[left])
            shells[left[inside]] = index
    return shells


def _normal(points: Floats) -> Floats:
    """Return points of the hypercube in normal space, where no walls are."""
    return ndtri(np.clip(points, _FROM_WALL, 1 - _FROM_WALL))


def _uniform(normal: Floats) -> Floats:
    """Return points of normal space in the hypercube."""
    return np.clip(ndtr(normal), _FROM_WALL, 1 - _FROM_WALL)
