"""Nested slice sampling with blackjax (Yallup, Kroupa & Handley 2026).

See arXiv:2601.23252. All of it is JAX, so that many galaxies are one program.
"""

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array
from numpy.typing import NDArray
from scipy.special import logsumexp

from synthesizer_emulator.inference.packages import import_for
from synthesizer_emulator.inference.samples import Samples
from synthesizer_emulator.inference.target import (
    Target,
    over_galaxies,
    stacked,
)
from synthesizer_emulator.progress import progress_bar
from synthesizer_emulator.validation import check_whole

# The steps between two looks at the progress, and the most of these. A step
# removes a fraction of the live points.
_STEPS, _LOOKS = 10, 1000

# A run ends when the live points hold this part of the evidence.
_REMAINING = 0.01

# The points drawn from the prior, relative to the live points, to find these
# where the likelihood is not zero.
_DRAWN = 4

# The part of the variance added to the covariance of the live points, so that
# single precision can factor it.
_RIDGE = 1e-5

# The simulated sequences of volumes (Skilling 2006) for the evidence.
_SEQUENCES = 200

# The smallest part of slices that must find a point.
_FOUND = 0.99


class _Settings(NamedTuple):
    """What a run is compiled for."""

    dimensions: int
    n_live: int
    n_delete: int
    n_steps: int


class _Dead(NamedTuple):
    """The points removed in each step."""

    points: Array
    log_likelihood: Array
    is_step: Array
    evaluations: Array
    found: Array


def nss(
    target: Target,
    seed: int = 0,
    n_live: int = 500,
    n_delete: int | None = None,
    n_steps: int | None = None,
    progress: bool = False,
) -> Samples:
    """Sample a posterior and compute its evidence.

    Args:
        target (Target): The likelihood.
        seed (int): The seed of the random numbers.
        n_live (int): The number of live points. More of them find more of
            several separate maxima.
        n_delete (int): The number of points replaced at a time; by default
            a tenth of the live points.
        n_steps (int): The number of slices from one point to an independent
            one; by default three times the number of parameters, at least
            five.
        progress (bool): Show the progress of the run.

    Returns:
        Samples: The samples, with the evidence.

    Raises:
        UnmetDependency: If blackjax is not installed.
        InconsistentArguments: If an option is not a positive whole number, or
            `n_delete` not below `n_live`.
    """
    return nss_of_many([target], [seed], n_live, n_delete, n_steps, progress)[
        0
    ]


def nss_of_many(
    targets: Sequence[Target],
    seeds: Sequence[int],
    n_live: int = 500,
    n_delete: int | None = None,
    n_steps: int | None = None,
    progress: bool = False,
) -> list[Samples]:
    """Sample the posteriors of several galaxies in one program.

    The likelihoods must be of one fit, and each galaxy has a seed. The other
    arguments are those of `nss`.

    Returns:
        list of Samples: As of `nss`.

    Raises:
        InconsistentArguments: If the data differ in kind or size.
    """
    first = targets[0]
    check_whole("n_live", n_live, 2)
    n_delete = max(n_live // 10, 1) if n_delete is None else n_delete
    check_whole("n_delete", n_delete, 1, n_live - 1)
    n_steps = max(5, 3 * first.dimensions) if n_steps is None else n_steps
    check_whole("n_steps", n_steps, 1)
    import_for("nss", "blackjax")
    settings = _Settings(first.dimensions, n_live, n_delete, n_steps)
    arguments = stacked(targets)
    compiled = (first.function, first.axes, settings, arguments)
    keys = jnp.stack([jax.random.key(seed) for seed in seeds])
    state, share = over_galaxies(_begin, *compiled, keys)
    looks = []
    with progress_bar(show=progress, unit=" steps") as bar:
        for look in range(_LOOKS):
            now = jax.vmap(jax.random.fold_in, in_axes=(0, None))(keys, look)
            state, removed = over_galaxies(_advance, *compiled, state, now)
            looks.append(jax.tree.map(np.asarray, removed))
            remaining = np.asarray(_remaining(state.integrator))
            bar.set_postfix({"ln remaining": f"{remaining.max():.1f}"})
            bar.update(_STEPS)
            # Those that are not a number would never end.
            if not (remaining > np.log(_REMAINING)).any():
                break
    live = jax.tree.map(np.asarray, state.particles)
    dead = jax.tree.map(lambda *parts: np.concatenate(parts, axis=1), *looks)
    return [
        _samples(
            settings,
            jax.tree.map(lambda x, i=i: x[i], dead),
            live.position[i],
            live.loglikelihood[i],
            float(share[i]),
            bool(remaining[i] <= np.log(_REMAINING)),
            seeds[i],
        )
        for i in range(len(targets))
    ]


def _algorithm(
    log_likelihood: Callable[[Any, Array], Array],
    settings: _Settings,
    arguments: Any,
) -> Any:
    """Return the sampler of one galaxy."""
    blackjax = import_for("nss", "blackjax")

    def inside(point: Array) -> Array:
        return jnp.all((point >= 0.0) & (point <= 1.0))

    def factor(
        key: Array | None, state: Any, info: Any, parameters: Any
    ) -> dict[str, Array]:
        covariance = jnp.atleast_2d(jnp.cov(state.particles.position.T))
        ridge = _RIDGE * jnp.diag(jnp.diagonal(covariance))
        return {"covariance_factor": jnp.linalg.cholesky(covariance + ridge)}

    return blackjax.nss(
        lambda point: jnp.where(inside(point), 0.0, -jnp.inf),
        lambda point: log_likelihood(arguments, jnp.clip(point, 0.0, 1.0)),
        num_inner_steps=settings.n_steps,
        num_delete=settings.n_delete,
        inner_kernel_params=factor,
    )


def _begin(
    log_likelihood: Callable[[Any, Array], Array],
    settings: _Settings,
    arguments: Any,
    key: Array,
) -> tuple[Any, Array]:
    """Return the state at the start, and the part of the prior in the model.

    Live points where the likelihood is zero would bias the volumes.
    """
    n, d = settings.n_live, settings.dimensions
    points = jax.random.uniform(key, (_DRAWN * n, d))
    values = jax.lax.map(
        lambda point: log_likelihood(arguments, point), points, batch_size=n
    )
    possible = jnp.isfinite(values)
    # The first of those that are possible; some twice if there are too few.
    chosen = jnp.flatnonzero(possible, size=_DRAWN * n, fill_value=-1)
    count = jnp.maximum(possible.sum(), 1)
    start = points[chosen[jnp.arange(n) % count]]
    state = _algorithm(log_likelihood, settings, arguments).init(start)
    return state, possible.mean()


def _advance(
    log_likelihood: Callable[[Any, Array], Array],
    settings: _Settings,
    arguments: Any,
    state: Any,
    key: Array,
) -> tuple[Any, _Dead]:
    """Take some steps, unless the run has ended."""
    algorithm = _algorithm(log_likelihood, settings, arguments)

    def step(state: Any, key: Array) -> tuple[Any, _Dead]:
        is_step = _remaining(state.integrator) > jnp.log(_REMAINING)
        after, info = algorithm.step(key, state)
        slices = info.update_info
        dead = _Dead(
            info.particles.position,
            info.particles.loglikelihood,
            is_step,
            # Two ends of the first interval, and each further point.
            jnp.sum(2 + slices.num_expansions + slices.num_shrink),
            jnp.mean(slices.is_accepted.astype(float)),
        )
        kept = jax.tree.map(
            lambda new, old: jnp.where(is_step, new, old), after, state
        )
        return kept, dead

    return jax.lax.scan(step, state, jax.random.split(key, _STEPS))


def _remaining(integrator: Any) -> Array:
    """Return the logarithm of the evidence of the live points, relative."""
    return integrator.logZ_live - integrator.logZ


def _samples(
    settings: _Settings,
    dead: _Dead,
    live_points: NDArray,
    live_values: NDArray,
    share: float,
    has_ended: bool,
    seed: int,
) -> Samples:
    """Return the samples of one galaxy from its dead and live points."""
    steps = np.asarray(dead.is_step)
    order = np.argsort(live_values)
    points = np.concatenate(
        [*np.asarray(dead.points)[steps], live_points[order]]
    ).astype(np.float64)
    values = np.concatenate(
        [*np.asarray(dead.log_likelihood)[steps], live_values[order]]
    ).astype(np.float64)
    log_weights = _log_weights(settings, int(steps.sum()), values, seed)
    evidences = logsumexp(log_weights, axis=0)
    weights = np.exp(log_weights - evidences).mean(axis=1)
    drawn = _DRAWN * settings.n_live
    error = np.hypot(evidences.std(), np.sqrt((1.0 / share - 1.0) / drawn))
    found = float(np.mean(np.asarray(dead.found)[steps]))
    warnings = []
    if not has_ended:
        warnings.append("The sampler stopped early.")
    if found < _FOUND:
        warnings.append(
            f"{100 * (1 - found):.0f}% of the slices found no point: the "
            "likelihood jumps, or needs double precision."
        )
    if share * drawn < settings.n_live:
        warnings.append(
            f"The model is defined in only {100 * share:.1g}% of the prior: "
            "use narrower priors."
        )
    return Samples(
        points=points,
        weights=weights / weights.sum(),
        log_likelihood=values,
        log_evidence=float(evidences.mean() + np.log(share)),
        diagnostics={
            "evaluations": int(np.asarray(dead.evaluations)[steps].sum())
            + drawn,
            "log_evidence_error": float(error),
        },
        warnings=tuple(warnings),
    )


def _log_weights(
    settings: _Settings, n_dead: int, values: NDArray, seed: int
) -> NDArray[np.float64]:
    """Return the logarithms of likelihood times simulated volume, (n, k).

    When one of m points with the lowest likelihood is removed, the volume
    shrinks by a factor whose distribution is that of the largest of m uniform
    random numbers (Skilling 2006, Bayesian Analysis 1, 833).
    """
    n, k = settings.n_live, settings.n_delete
    alive = np.concatenate(
        [np.tile(np.arange(n, n - k, -1), n_dead), np.arange(n, 0, -1)]
    )
    exponential = np.random.default_rng(seed).exponential(
        size=(len(alive), _SEQUENCES)
    )
    log_volume = np.cumsum(-exponential / alive[:, None], axis=0)
    before = np.vstack([np.zeros(_SEQUENCES), log_volume[:-1]])
    shells = before + np.log(-np.expm1(log_volume - before))
    return values[:, None] + shells
