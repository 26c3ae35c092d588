"""Nested sampling with nautilus (Lange 2023, MNRAS 525, 3181).

Importance sampling with mixtures completes it: see `importance`.
"""

import warnings

import numpy as np
from synthesizer.exceptions import UnmetDependency

from synthesizer_emulator.inference.importance import sample
from synthesizer_emulator.inference.samples import Samples
from synthesizer_emulator.inference.target import Target
from synthesizer_emulator.progress import printed_progress
from synthesizer_emulator.validation import check_whole

# Networks smaller than nautilus's own (100, 50, 20), and fewer steps of L-BFGS
# instead of Adam until convergence, take a quarter of the processor time.
# Exploration then ends with fewer samples; others are drawn as needed.
_NETWORK = {
    "hidden_layer_sizes": (40, 20),
    "solver": "lbfgs",
    "max_iter": 100,
    "tol": 1e-6,
}

# The numbers of points of the prior tried first, of which the last is tried if
# the effective samples among the first promise enough.
_FROM_PRIOR = (4096, 16_384)

# The fewest live points of an ellipsoid, beyond one a dimension. With 50, as
# nautilus has it, separate maxima of fewer points share an ellipsoid with
# larger ones, and the network may leave them out.
_OF_ELLIPSOID = 10

# The fewest live points.
_FEWEST = 10

# The smallest logarithm of a likelihood, in place of minus infinity.
_IMPOSSIBLE = -1e100


def nested(
    target: Target,
    seed: int = 0,
    n_live: int = 500,
    n_eff: int = 2000,
    batch_size: int = 256,
    max_evaluations: int = 500_000,
    progress: bool = False,
) -> Samples:
    """Sample a posterior and compute its evidence.

    If points of the prior have as many effective samples as wanted, as for
    galaxies that are hardly detected, they are the samples.

    Args:
        target (Target): The likelihood.
        seed (int): The seed of the random numbers.
        n_live (int): The number of live points of the exploration. More of
            them find more of several separate maxima.
        n_eff (int): The effective number of samples to reach.
        batch_size (int): The number of points evaluated at a time.
        max_evaluations (int): The number of evaluations of the likelihood
            after which to stop, with a warning, as if no model is near the
            data.
        progress (bool): Print the progress of the run.

    Returns:
        Samples: The samples, with the evidence.

    Raises:
        UnmetDependency: If nautilus is not installed.
        InconsistentArguments: If an option is not a positive whole number.
    """
    for name, value, least in (
        ("n_live", n_live, _FEWEST),
        ("n_eff", n_eff, 1),
        ("batch_size", batch_size, 1),
        ("max_evaluations", max_evaluations, 1),
    ):
        check_whole(name, value, least)
    check_whole("seed", seed, 0)
    try:
        from nautilus import Sampler
        from sklearn.exceptions import ConvergenceWarning
        from threadpoolctl import threadpool_limits
    except ImportError as error:
        raise UnmetDependency(
            "The sampler 'nested' needs nautilus: install it with pip install "
            "'synthesizer-emulator[inference]'."
        ) from error

    enough = _from_prior(target, seed, n_eff)
    if enough is not None:
        return enough
    n = target.dimensions

    def finite(points: np.ndarray) -> np.ndarray:
        values = target(points[:, :n])
        return np.where(np.isfinite(values), values, _IMPOSSIBLE)

    sampler = Sampler(
        lambda points: points,
        finite,
        # nautilus needs two; a second that does nothing changes nothing.
        max(n, 2),
        n_live=n_live,
        # Half as many bounds, of which each costs a network.
        n_update=2 * n_live,
        n_batch=batch_size,
        n_points_min=n + _OF_ELLIPSOID,
        n_networks=1,
        neural_network_kwargs=_NETWORK,
        vectorized=True,
        seed=seed,
    )
    # Its small networks are slower on several threads.
    with (
        threadpool_limits(1),
        warnings.catch_warnings(),
        printed_progress(progress),
    ):
        # Networks and mixtures need not be the best ones.
        warnings.simplefilter("ignore", ConvergenceWarning)
        sampler.run(n_eff=0, n_like_max=max_evaluations, verbose=progress)
        draws = sample(
            sampler,
            finite,
            n_eff,
            max_evaluations,
            np.random.default_rng(seed),
        )
    return Samples(
        points=draws.points[:, :n],
        weights=np.exp(draws.log_weights - draws.log_evidence),
        log_likelihood=draws.log_likelihood,
        log_evidence=draws.log_evidence,
        diagnostics={"evaluations": draws.evaluations},
        warnings=()
        if sampler.explored and draws.effective_size >= n_eff
        else (
            f"The sampler stopped after {draws.evaluations} evaluations: the "
            "posterior is too small a part of the prior. Check the data and "
            "their errors, or increase max_evaluations.",
        ),
    )


def _from_prior(target: Target, seed: int, n_eff: int) -> Samples | None:
    """Return points of the prior as samples, or None if they are too few.

    Nested sampling is slow where the likelihood hardly varies.
    """
    first, most = _FROM_PRIOR
    points = np.random.default_rng(seed).random((most, target.dimensions))
    values = target(points[:first])
    if _effective(values) < n_eff * first / most:
        return None
    values = np.append(values, target(points[first:]))
    if _effective(values) < n_eff:
        return None
    weights = np.exp(values - values.max())
    return Samples(
        points=points,
        weights=weights / weights.sum(),
        log_likelihood=values,
        log_evidence=float(values.max() + np.log(weights.mean())),
        diagnostics={
            "evaluations": most,
            "effective_size_of_sampler": _effective(values),
        },
    )


def _effective(log_likelihood: np.ndarray) -> float:
    """Return the effective number of samples of points of the prior."""
    peak = log_likelihood.max()
    if not np.isfinite(peak):
        return 0.0
    weights = np.exp(log_likelihood - peak)
    return float(weights.sum() ** 2 / np.square(weights).sum())
