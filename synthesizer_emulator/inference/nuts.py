"""The no-U-turn sampler with blackjax (Hoffman & Gelman 2014).

It follows gradients, from chains that start at the maxima of the posterior.
"""

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array
from jax.scipy.special import ndtr
from jax.scipy.stats import norm
from numpy.typing import NDArray

from synthesizer_emulator.inference.maxima import Maxima, find_maxima
from synthesizer_emulator.inference.packages import import_for
from synthesizer_emulator.inference.samples import Samples
from synthesizer_emulator.inference.target import (
    Target,
    over_galaxies,
    stacked,
)
from synthesizer_emulator.validation import check_whole

# The starts of the search for maxima.
_STARTS = 16

# Chains start at maxima of at least this density, relative to the largest.
_LOWEST = np.exp(-5.0)

# The smallest distance of maxima that are not the same, in any coordinate.
_DISTINCT = 0.1

# The acceptance rate that the step size is adapted to, higher than the usual
# 0.8 as posteriors of galaxies are curved, and the most doublings of a
# trajectory.
_ACCEPTANCE, _DOUBLINGS = 0.9, 8

# The largest rank-normalised R-hat of chains that agree (Vehtari et al. 2021,
# Bayesian Analysis 16, 667).
_R_HAT = 1.01


class _Settings(NamedTuple):
    """What a run is compiled for."""

    n_warmup: int
    n_samples: int


class _Chains(NamedTuple):
    """The states of chains."""

    points: Array
    log_likelihood: Array
    is_divergent: Array
    evaluations: Array


def nuts(
    target: Target,
    seed: int = 0,
    chains: int = 4,
    n_warmup: int = 500,
    n_samples: int = 1000,
    progress: bool = False,
) -> Samples:
    """Sample a posterior.

    The priors are standard normal distributions in the coordinates of the
    sampler. The mass matrix is dense.

    Args:
        target (Target): The likelihood.
        seed (int): The seed of the random numbers.
        chains (int): The number of chains.
        n_warmup (int): The number of steps of each chain to adapt to the
            posterior, which are not kept.
        n_samples (int): The number of samples of each chain.
        progress (bool): Has no effect: a run is one compiled program.

    Returns:
        Samples: The samples, with equal weights and without evidence.

    Raises:
        UnmetDependency: If blackjax or optimistix is not installed.
        InconsistentArguments: If an option is not a whole number, or too
            small.
    """
    return nuts_of_many(
        [target], [seed], chains, n_warmup, n_samples, progress
    )[0]


def nuts_of_many(
    targets: Sequence[Target],
    seeds: Sequence[int],
    chains: int = 4,
    n_warmup: int = 500,
    n_samples: int = 1000,
    progress: bool = False,
) -> list[Samples]:
    """Sample the posteriors of several galaxies in one program.

    The likelihoods must be of one fit, and each galaxy has a seed. The other
    arguments are those of `nuts`.

    Returns:
        list of Samples: As of `nuts`.

    Raises:
        InconsistentArguments: If the data differ in kind or size.
    """
    check_whole("chains", chains, 2)
    check_whole("n_warmup", n_warmup, 20)
    check_whole("n_samples", n_samples, 4)
    import_for("nuts", "blackjax")
    found = find_maxima(targets, "nuts", _STARTS, is_natural=False)
    starts = [_starts(maxima, chains) for maxima in found]
    keys = jnp.stack([jax.random.key(seed) for seed in seeds])
    first = targets[0]
    # blackjax broadcasts.
    with jax.numpy_rank_promotion("allow"):
        run = over_galaxies(
            _run,
            first.function,
            first.axes,
            _Settings(n_warmup, n_samples),
            stacked(targets),
            jnp.asarray(np.stack(starts), float),
            keys,
        )
        return [
            _samples(jax.tree.map(lambda x, i=i: np.asarray(x[i]), run))
            for i in range(len(targets))
        ]


def _starts(maxima: Maxima, chains: int) -> NDArray[np.float64]:
    """Return where the chains start, at the highest maxima, (chains, d)."""
    log_density = np.asarray(maxima.log_density)
    high = log_density >= log_density[0] + np.log(_LOWEST)
    distinct: list[NDArray[np.float64]] = []
    for position in np.asarray(maxima.positions, np.float64)[high]:
        if all(np.abs(position - x).max() > _DISTINCT for x in distinct):
            distinct.append(position)
    return np.resize(distinct, (chains, maxima.positions.shape[1]))


def _run(
    log_likelihood: Callable[[Any, Array], Array],
    settings: _Settings,
    arguments: Any,
    starts: Array,
    key: Array,
) -> _Chains:
    """Return the chains of one galaxy, with the axes (chain, sample)."""
    blackjax = import_for("nuts", "blackjax")

    def log_density(position: Array) -> Array:
        value = log_likelihood(arguments, ndtr(position))
        return value + norm.logpdf(position).sum()

    def chain(start: Array, key: Array) -> _Chains:
        warm, key = jax.random.split(key)
        adaptation = blackjax.window_adaptation(
            blackjax.nuts,
            log_density,
            is_mass_matrix_diagonal=False,
            target_acceptance_rate=_ACCEPTANCE,
            max_num_doublings=_DOUBLINGS,
        )
        (state, adapted), _ = adaptation.run(warm, start, settings.n_warmup)
        kernel = blackjax.nuts(log_density, **adapted)

        def step(state: Any, key: Array) -> tuple[Any, _Chains]:
            state, info = kernel.step(key, state)
            prior = norm.logpdf(state.position).sum()
            return state, _Chains(
                ndtr(state.position),
                state.logdensity - prior,
                info.is_divergent,
                info.num_integration_steps,
            )

        keys = jax.random.split(key, settings.n_samples)
        return jax.lax.scan(step, state, keys)[1]

    return jax.vmap(chain)(starts, jax.random.split(key, len(starts)))


@jax.jit
def _agreement(points: Array) -> tuple[Array, Array]:
    """Return the largest R-hat and the smallest effective sample size.

    Of points with the axes (chain, sample, dimension).
    """
    blackjax = import_for("nuts", "blackjax")
    return blackjax.rhat(points).max(), blackjax.ess_bulk(points).min()


def _samples(chains: _Chains) -> Samples:
    """Return the samples of one galaxy, with diagnostics of its chains."""
    points = np.asarray(chains.points, np.float64)
    n = points.shape[0] * points.shape[1]
    r_hat, size = map(float, _agreement(chains.points))
    divergences = int(np.sum(chains.is_divergent))
    warnings = []
    # NaN if a chain did not move.
    if not r_hat <= _R_HAT:
        warnings.append(
            f"The chains disagree, with an R-hat of {r_hat:.2f}: increase "
            "n_warmup and n_samples, or use 'nested', which finds separate "
            "maxima."
        )
    if divergences:
        warnings.append(
            f"{divergences} of {n} trajectories diverged, so that parts of "
            "the posterior may be missing: use 'nested' or 'nss'."
        )
    return Samples(
        points=points.reshape(n, -1),
        weights=np.full(n, 1.0 / n),
        log_likelihood=np.asarray(chains.log_likelihood, float).ravel(),
        log_evidence=float("nan"),
        diagnostics={
            "evaluations": int(np.sum(chains.evaluations)),
            "r_hat": r_hat,
            "divergences": divergences,
        },
        warnings=tuple(warnings),
        independent=size if np.isfinite(size) else 1.0,
    )
