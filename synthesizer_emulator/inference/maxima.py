"""Maxima of a posterior, by gradients from many starts."""

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array
from jax.scipy.special import ndtr, ndtri
from jax.scipy.stats import norm
from scipy.stats import qmc

from synthesizer_emulator.inference.packages import import_for
from synthesizer_emulator.inference.target import (
    Target,
    over_galaxies,
    stacked,
)
from synthesizer_emulator.validation import check_whole

# The points of the hypercube that are evaluated to choose the starts, and how
# many at a time.
_TRIED, _BATCH = 512, 64

# The tolerance in the coordinates and the density, and the most steps.
_TOLERANCE, _STEPS = 1e-4, 200

# The difference between coordinates for second derivatives.
_DIFFERENCE = 0.02

# The smallest distance from the faces of the hypercube of a point tried.
_MARGIN = 1e-3


class _Settings(NamedTuple):
    """What the search is compiled for.

    Attributes:
        dimensions (int): The number of parameters.
        starts (int): The number of starts.
        log_prior (callable): The density of the prior as of `Target`; None
            for a standard normal one in the coordinates.
    """

    dimensions: int
    starts: int
    log_prior: Callable[[Any, Array], Array] | None


class Maxima(NamedTuple):
    """The maxima of the posterior of a galaxy, the highest first.

    Attributes:
        positions (Array): The coordinates, of which the
            quantiles are the cumulative normal distribution, (n, d).
        log_density (Array): Of the posterior, up to a
            constant, (n,).
        log_likelihood (Array): Of the data, (n,).
        has_converged (Array): Whether each is a maximum within
            the tolerance, (n,).
        evaluations (Array): The evaluations for each, (n,).
    """

    positions: Array
    log_density: Array
    log_likelihood: Array
    has_converged: Array
    evaluations: Array


def find_maxima(
    targets: Sequence[Target], sampler: str, starts: int, is_natural: bool
) -> list[Maxima]:
    """Find the maxima of the posteriors of several galaxies.

    The method is BFGS, in coordinates in which the second derivatives at
    the start are one.

    Args:
        targets (list of Target): The likelihoods, of one fit.
        sampler (str): The name of the sampler, for messages.
        starts (int): The number of starts: the best of quasi-random points.
        is_natural (bool): Find the maxima of the density of the values of
            the parameters, rather than of the coordinates.

    Returns:
        list of Maxima: The maxima of each galaxy.

    Raises:
        UnmetDependency: If optimistix is not installed.
        InconsistentArguments: If `starts` is not a whole number from 1 to
            512, or the data differ in kind or size.
    """
    check_whole("starts", starts, 1, _TRIED)
    import_for(sampler, "optimistix")
    first = targets[0]
    log_prior = first.log_prior if is_natural else None
    found = over_galaxies(
        _find,
        first.function,
        first.axes,
        _Settings(first.dimensions, starts, log_prior),
        stacked(targets),
    )
    orders = np.argsort(-np.asarray(found.log_density), axis=1)
    return [
        jax.tree.map(
            lambda x, i=i, order=order: np.asarray(x[i])[order], found
        )
        for i, order in enumerate(orders)
    ]


def _find(
    log_likelihood: Callable[[Any, Array], Array],
    settings: _Settings,
    arguments: Any,
) -> Maxima:
    """Return the maxima of one galaxy."""
    optx = import_for("map", "optimistix")

    def cost(position: Array) -> tuple[Array, tuple[Array, Array]]:
        """Return minus the log density; and that with the log likelihood."""
        point = ndtr(position)
        likelihood = log_likelihood(arguments, point)
        prior = (
            norm.logpdf(position).sum()
            if settings.log_prior is None
            else settings.log_prior(arguments, point)
        )
        return -likelihood - prior, (-likelihood - prior, likelihood)

    def slopes(position: Array) -> Array:
        return jax.grad(cost, has_aux=True)(position)[0]

    def descend(start: Array) -> Maxima:
        # Differences of slopes compile much faster than second derivatives.
        offsets = _DIFFERENCE * jnp.eye(len(start))
        ends = start[None] + jnp.concatenate([offsets, -offsets])
        above, below = jnp.split(jax.vmap(slopes)(ends), 2)
        second = (above - below) / (2.0 * _DIFFERENCE)
        is_finite = jnp.isfinite(second).all()
        values, vectors = jnp.linalg.eigh(
            jnp.where(
                is_finite, 0.5 * (second + second.T), jnp.eye(len(start))
            )
        )
        scale = vectors / jnp.sqrt(jnp.maximum(jnp.abs(values), 1.0))[None]
        solution = optx.minimise(
            lambda y, _: cost(start + scale @ y),
            optx.BFGS(_TOLERANCE, _TOLERANCE),
            jnp.zeros_like(start),
            has_aux=True,
            max_steps=_STEPS,
            throw=False,
        )
        value, likelihood = solution.aux
        return Maxima(
            start + scale @ solution.value,
            jnp.where(jnp.isfinite(value), -value, -jnp.inf),
            likelihood,
            solution.result == optx.RESULTS.successful,
            solution.stats["num_steps"],
        )

    tried = ndtri(_quasi_random(settings.dimensions))
    costs, _ = jax.lax.map(cost, tried, batch_size=_BATCH)
    costs = jnp.where(jnp.isfinite(costs), costs, jnp.inf)
    _, best = jax.lax.top_k(-costs, settings.starts)
    return jax.vmap(descend)(tried[best])


def _quasi_random(dimensions: int) -> Array:
    """Return points that fill the hypercube evenly, (n, d)."""
    sobol = qmc.Sobol(dimensions, seed=0).random(_TRIED)
    return jnp.asarray(_MARGIN + (1.0 - 2.0 * _MARGIN) * sobol, float)
