"""Draws from a network, weighted by the likelihood."""

import math
from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray
from scipy.special import logsumexp
from scipy.stats import genpareto
from synthesizer.exceptions import InconsistentArguments

from synthesizer_emulator.inference.amortised.network import Network
from synthesizer_emulator.inference.photometry import Photometry
from synthesizer_emulator.inference.samples import Samples
from synthesizer_emulator.inference.target import Target
from synthesizer_emulator.progress import progress_bar
from synthesizer_emulator.validation import check_whole

# The share of the weights of the draws that are left out, those that weigh
# least.
_NEGLIGIBLE = 1e-4

# The largest shape of the tail of the weights (Vehtari et al. 2024).
_LARGEST_SHAPE = 0.7


def amortised(
    target: Target,
    seed: int = 0,
    network: Network | None = None,
    n_eff: int = 2000,
    max_draws: int = 100_000,
    reweight: bool = True,
    progress: bool = False,
) -> Samples:
    """Draw from the posterior that a network knows, and correct it.

    By importance sampling (Dax et al. 2023, PRL 130, 171403): the weight of a
    draw is its likelihood over its density in the network, as the prior is
    uniform. The weights give the exact posterior and its evidence if the
    network covers it. If it does not, there is a warning.

    Args:
        target (Target): The likelihood of photometry.
        seed (int): The seed of the random numbers.
        network (Network): The network, made by `Fit.train`.
        n_eff (int): The effective number of samples to reach.
        max_draws (int): The largest number of draws.
        reweight (bool): Weight the draws by the likelihood. Without it there
            are `n_eff` draws of equal weight and no evidence, and the errors
            of the network remain.
        progress (bool): Show the progress.

    Returns:
        Samples: The samples, with the evidence if they are weighted.

    Raises:
        InconsistentArguments: If there is no network, it does not suit the
            data, an option is not a positive whole number, or no draw is
            within the range of the model.
    """
    for name, value in (("n_eff", n_eff), ("max_draws", max_draws)):
        check_whole(name, value, 1)
    check_whole("seed", seed, 0)
    if not isinstance(network, Network):
        raise InconsistentArguments(
            "The method 'amortised' needs a trained network, got "
            f"network={network!r}. Make one with Fit.train, or read one with "
            "Network.read."
        )
    data = _photometry(target)
    if target.dimensions != len(network.names):
        raise InconsistentArguments(
            "The method 'amortised' needs all parameters of the network to "
            f"be free, {', '.join(network.names)}, got `known` values of "
            f"{len(network.names) - target.dimensions}. Use another method."
        )
    network.check_seen(data)
    rng = np.random.default_rng(seed)
    draws: list[tuple[NDArray[np.float64], ...]] = []
    importances, size = np.empty(0), 0.0
    with progress_bar(
        show=progress, total=n_eff, desc="effective samples"
    ) as bar:
        while size < n_eff and len(importances) < max_draws:
            n = min(n_eff, max_draws - len(importances))
            points, density = network.draw(data, n, int(rng.integers(2**31)))
            values = target(points)
            draws.append((points, values))
            importances = np.append(importances, values - density)
            size = _effective_size(importances) if reweight else n
            bar.n = min(round(size), n_eff)
            bar.refresh()
    points, values = map(np.concatenate, zip(*draws, strict=True))
    log_sum = float(logsumexp(importances))
    if not np.isfinite(log_sum):
        raise InconsistentArguments(
            f"None of the {len(points)} draws of the network is within the "
            "range of the model. Use another method, or train the network on "
            "more galaxies."
        )
    log_evidence = log_sum - math.log(len(points))
    weights = np.exp(importances - log_sum)
    distance = network.distance(data)
    # Weights that are not used tell as well what the network misses.
    shape = tail_shape(weights)
    kept = np.ones(len(points), bool)
    if reweight:
        kept = _is_weighty(weights)
    else:
        weights = np.full(len(points), 1.0 / len(points))
    return Samples(
        points=points[kept],
        weights=weights[kept] / weights[kept].sum(),
        log_likelihood=values[kept],
        log_evidence=log_evidence if reweight else np.nan,
        diagnostics={
            "evaluations": len(points),
            "efficiency": size / len(points),
            "tail_shape": shape,
            "distance_from_training": distance,
        },
        warnings=(
            *_warnings(distance, shape),
            *([] if reweight else _of_limits(network, data)),
        ),
    )


def _photometry(target: Target) -> Photometry:
    """Return the photometry of a target; raise if it has other data."""
    data = target.arguments.data
    if (
        data.photometry is None
        or data.line_fluxes is not None
        or data.spectrum is not None
    ):
        raise InconsistentArguments(
            "The method 'amortised' fits photometry only, got other data. "
            "Leave these out, or use another method."
        )
    return data.photometry


def tail_shape(weights: NDArray[np.float64]) -> float:
    """Return the shape k of a generalised Pareto tail of weights.

    The largest weights are fitted, as in section 3 of Vehtari et al. (2024,
    JMLR 25, 72). The error of a mean decreases with the number of draws if k
    is below 0.7; if it is larger, a few draws decide.

    Args:
        weights (np.ndarray of float): The weights, (n,).

    Returns:
        float: The shape; NaN for less than 25 or equal weights, which have
            no tail.
    """
    n = len(weights)
    size = int(min(0.2 * n, 3.0 * np.sqrt(n)))
    ordered = np.sort(weights)
    excess = ordered[-size:] - ordered[-size - 1] if size >= 5 else np.zeros(1)
    if excess[0] <= 0.0:
        return np.nan
    shape, _, _ = genpareto.fit(excess / excess[-1], floc=0.0)
    return float(shape)


def _warnings(distance: float, shape: float) -> Iterator[str]:
    """Yield what is wrong with a run."""
    if distance > 1.0:
        yield (
            "The data are unlike the training set of the network: "
            f"{distance:.2f} times as far from its mean as 99.9% of it. Check "
            "the units, the priors and the errors given to Fit.train."
        )
    if shape > _LARGEST_SHAPE:
        yield (
            "A few draws outweigh the others (the Pareto shape of their "
            f"weights is {shape:.2f}, above {_LARGEST_SHAPE}): the network "
            "misses a part of the posterior. Give the data the floor of its "
            "training set, train it on more galaxies, or use another method."
        )


def _of_limits(network: Network, data: Photometry) -> Iterator[str]:
    """Yield a warning if a network does not know the limits of data."""
    codes = network.other_limits(data)
    if codes:
        yield (
            f"The upper limits in {', '.join(codes)} are not those of the "
            f"training set, of {network.survey['limit']:g} standard "
            "deviations: use reweight=True, or another method."
        )


def _effective_size(log_weights: NDArray[np.float64]) -> float:
    """Return the effective number of samples (Kish 1965)."""
    if not np.isfinite(log_weights).any():
        return 0.0
    double = logsumexp(2.0 * log_weights)
    return float(np.exp(2.0 * logsumexp(log_weights) - double))


def _is_weighty(weights: NDArray[np.float64]) -> NDArray[np.bool_]:
    """Return which draws to keep: without those of negligible weight."""
    order = np.argsort(weights)
    kept = np.empty(len(weights), bool)
    kept[order] = np.cumsum(weights[order]) > _NEGLIGIBLE
    return kept
