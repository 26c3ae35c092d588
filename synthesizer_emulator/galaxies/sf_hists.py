r"""Star formation histories as functions of their parameters.

Each function takes the limits of the age bins of a grid, yr, (n + 1,), and the
parameters of Synthesizer's class, times in yr, and returns the mass formed in
each bin, (n,), up to a constant factor. The ages of the youngest and the
oldest stars are `min_age` and `max_age`; in formulae, $t$ is the time since
`max_age`.

Summed over the bins, the errors are less than 1e-8 of the mass formed in
double precision (1e-7 for a double power law with slopes beyond 100), and less
than 1e-5 in single precision, where the ages are rounded; for `dense_basis`
see there.
"""

from collections.abc import Callable, Mapping
from typing import Annotated, TypeAlias

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array
from jax.typing import ArrayLike
from jaxtyping import Float
from numpy.typing import NDArray

from synthesizer_emulator.galaxies import integrals
from synthesizer_emulator.galaxies.dense_basis import dense_basis

# The type of times; parameters of other types are pure numbers.
Years: TypeAlias = Annotated[ArrayLike, "yr"]

# Synthesizer's default of `max_age`, for the histories with a default.
_NO_MAX_AGE = 1e11

# log10 of ratios of star formation rates are clipped, as in Synthesizer.
_LARGEST_RATIO = 10.0

_LN_10 = np.log(10.0)

# The smallest ratio of an age to the peak age of a double power law.
_YOUNGEST = 1e-15

# The distance from the peak of a double power law, in e-folds of the ratio of
# its two terms, within which the smaller term matters.
_BEND = 8.0

# The difference of slopes below which the smaller term matters at all ages.
_FLATTEST = 0.01


def constant(
    limits: Float[np.ndarray, " edges"], max_age: Years, min_age: Years = 0.0
) -> Float[Array, " edges-1"]:
    """Return the masses formed at a constant star formation rate."""
    return integrals.clipped_bins(limits, min_age, max_age)[1]


def gaussian(
    limits: Float[np.ndarray, " edges"],
    peak_age: Years,
    sigma: Years,
    max_age: Years = _NO_MAX_AGE,
    min_age: Years = 0.0,
) -> Float[Array, " edges-1"]:
    r"""Return the masses formed at rate $\exp(-((age - peak) / \sigma)^2)$."""
    young, width = integrals.clipped_bins(limits, min_age, max_age)
    return integrals.gaussian((young - peak_age) / sigma, width / sigma)


def exponential(
    limits: Float[np.ndarray, " edges"],
    tau: Years,
    max_age: Years,
    min_age: Years = 0.0,
) -> Float[Array, " edges-1"]:
    r"""Return the masses formed at the rate $\exp(-t / \tau)$."""
    first, width = _times(limits, min_age, max_age)
    return integrals.scaled(
        integrals.largest_exponent(first, width, tau),
        width * integrals.mean_decay(width, tau),
    )


def delayed_exponential(
    limits: Float[np.ndarray, " edges"],
    tau: Years,
    max_age: Years,
    min_age: Years = 0.0,
) -> Float[Array, " edges-1"]:
    r"""Return the masses formed at the rate $t \exp(-t / \tau)$."""
    first, width = _times(limits, min_age, max_age)
    falling = jnp.asarray(tau) > 0
    # The mean time, from the end with the higher rate to avoid overflow.
    end = jnp.where(falling, first, first + width)
    direction = jnp.where(falling, width, -width)
    mean = end * integrals.mean_decay(
        width, tau
    ) + direction * integrals.mean_decay_moment(width, tau)
    return integrals.scaled(
        integrals.largest_exponent(first, width, tau), width * mean
    )


def log_normal(
    limits: Float[np.ndarray, " edges"],
    tau: ArrayLike,
    peak_age: Years,
    max_age: Years,
    min_age: Years = 0.0,
) -> Float[Array, " edges-1"]:
    r"""Return the masses of a normal distribution of width $\tau$ in $\ln t$.

    The star formation rate, with a further factor of $1 / t$, peaks at
    `peak_age`.
    """
    first, width = _times(limits, min_age, max_age)
    # The mass formed in the first year is negligible.
    first = jnp.maximum(first, 1.0)
    scale = np.sqrt(2.0) * jnp.asarray(tau)
    centre = jnp.log(jnp.asarray(max_age) - peak_age) + jnp.square(tau)
    return integrals.gaussian(
        (jnp.log(first) - centre) / scale, jnp.log1p(width / first) / scale
    )


def double_power_law(
    limits: Float[np.ndarray, " edges"],
    peak_age: Years,
    alpha: ArrayLike,
    beta: ArrayLike,
    min_age: Years = 0.0,
    max_age: Years = _NO_MAX_AGE,
) -> Float[Array, " edges-1"]:
    r"""Return the masses formed at the rate $1 / (x^\alpha + x^\beta)$.

    Here $x = age / peak$. The term that dominates on one side of the peak is
    integrated in closed form. The other term reduces the rate by a smooth
    factor, which is averaged by Gauss-Legendre quadrature, separately near
    the peak and far from it.
    """
    young, width = integrals.clipped_bins(limits, min_age, max_age)
    low = jnp.maximum(young / peak_age, _YOUNGEST)
    log_low = jnp.log(low)
    log_high = log_low + jnp.log1p(width / peak_age / low)
    steep, shallow = jnp.maximum(alpha, beta), jnp.minimum(alpha, beta)
    ratio = steep - shallow
    # The integral does not depend on where it is divided.
    bend = jax.lax.stop_gradient(_BEND / jnp.maximum(ratio, _FLATTEST))
    integrated = [
        integrals.power_law(
            jnp.clip(log_low, start, end),
            jnp.clip(log_high, start, end),
            1.0 - slope,
            sign * ratio,
        )
        for start, end, slope, sign in (
            (-jnp.inf, -bend, shallow, 1.0),
            (-bend, 0.0, shallow, 1.0),
            (0.0, bend, steep, -1.0),
            (bend, jnp.inf, steep, -1.0),
        )
    ]
    exponents, factors = map(jnp.stack, zip(*integrated, strict=True))
    return integrals.scaled(exponents, factors).sum(axis=0)


def continuity(
    limits: Float[np.ndarray, " edges"],
    logsfr_ratios: ArrayLike,
    agebins: ArrayLike,
    min_age: Years = 0.0,
    max_age: Years = _NO_MAX_AGE,
) -> Float[Array, " edges-1"]:
    """Return the masses formed at constant rates in fixed age bins.

    As in Leja et al. (2019, ApJ 876, 3).

    Args:
        limits (np.ndarray of float): The limits of the grid's bins, (n + 1,).
        logsfr_ratios (array): log10 of each rate over the next older one,
            (k - 1,).
        agebins (array): The ends of the age bins, log10 yr, (k, 2).
        min_age (float): The age of the youngest stars, yr.
        max_age (float): The age of the oldest stars, yr.
    """
    log_rates = _log_rates(_clipped(logsfr_ratios))
    return _stepwise(limits, _edges(agebins), log_rates, min_age, max_age)


def continuity_flex(
    limits: Float[np.ndarray, " edges"],
    logsfr_ratio_young: ArrayLike,
    logsfr_ratio_old: ArrayLike,
    logsfr_ratios: ArrayLike,
    fixed_young_bin: ArrayLike,
    fixed_old_bin: ArrayLike,
    min_age: Years = 0.0,
    max_age: Years = _NO_MAX_AGE,
) -> Float[Array, " edges-1"]:
    """Return the masses formed at constant rates in flexible age bins.

    As in Leja et al. (2019, ApJ 876, 3), the k bins between the youngest and
    the oldest form equal masses; their edges follow from the ratios of their
    rates.

    Args:
        limits (np.ndarray of float): The limits of the grid's bins, (n + 1,).
        logsfr_ratio_young (float): log10 of the rate in the youngest bin
            over that in the adjacent bin.
        logsfr_ratio_old (float): log10 of the rate in the oldest bin over
            that in the adjacent bin.
        logsfr_ratios (array): log10 of each rate in the bins between over the
            next older one, (k - 1,).
        fixed_young_bin (array): The ends of the youngest bin, log10 yr, (2,).
        fixed_old_bin (array): The ends of the oldest bin, log10 yr, (2,).
        min_age (float): The age of the youngest stars, yr.
        max_age (float): The age of the oldest stars, yr.
    """
    young = 10.0 ** jnp.asarray(fixed_young_bin)
    old = 10.0 ** jnp.asarray(fixed_old_bin)
    # Equal masses: the widths are inversely proportional to the rates.
    log_widths = jax.nn.log_softmax(-_log_rates(_clipped(logsfr_ratios)))
    widths = (old[0] - young[1]) * jnp.exp(log_widths)
    edges = jnp.concatenate([young[1] + jnp.cumsum(widths)[:-1], old])
    to_young, to_old = (
        _LN_10 * _clipped(ratio)[None]
        for ratio in (logsfr_ratio_young, logsfr_ratio_old)
    )
    log_rates = jnp.concatenate(
        [to_young - log_widths[:1], -log_widths, to_old - log_widths[-1:]]
    )
    # Like Synthesizer, extend the youngest bin to age zero.
    edges = jnp.concatenate([jnp.zeros(1), young[1:], edges])
    return _stepwise(limits, edges, log_rates, min_age, max_age)


def continuity_psb(
    limits: Float[np.ndarray, " edges"],
    logsfr_ratio_young: ArrayLike,
    logsfr_ratio_old: ArrayLike,
    logsfr_ratios: ArrayLike,
    tlast: Years,
    tflex: Years,
    max_age: Years,
    min_age: Years = 0.0,
) -> Float[Array, " edges-1"]:
    """Return the masses formed at constant rates in a post-starburst galaxy.

    As in Suess et al. (2021, ApJ 915, 87), with Synthesizer's evenly spaced
    bins: one up to `tlast`, k_flex up to `tflex`, and k_fixed up to `max_age`.

    Args:
        limits (np.ndarray of float): The limits of the grid's bins, (n + 1,).
        logsfr_ratio_young (float): log10 of the rate in the youngest bin
            over that in the next older one.
        logsfr_ratio_old (array): log10 of the rate in the bin before each of
            the fixed bins over that in the fixed bin, (k_fixed,).
        logsfr_ratios (array): log10 of each rate in the flexible bins over
            the next older one, (k_flex - 1,).
        tlast (float): The age at which the youngest bin ends, yr.
        tflex (float): The age at which the flexible bins end, yr.
        max_age (float): The age of the oldest stars, yr.
        min_age (float): The age of the youngest stars, yr.
    """
    ratios = jnp.concatenate(
        [
            jnp.atleast_1d(jnp.asarray(logsfr_ratio_young, float)),
            jnp.asarray(logsfr_ratios, float),
            jnp.asarray(logsfr_ratio_old, float),
        ]
    )
    n_fixed = np.size(logsfr_ratio_old)
    n_flex = len(ratios) - n_fixed
    edges = jnp.concatenate(
        [
            jnp.zeros(1),
            jnp.linspace(tlast, tflex, n_flex + 1),
            jnp.linspace(tflex, max_age, n_fixed + 1)[1:],
        ]
    )
    return _stepwise(limits, edges, _log_rates(ratios), min_age, max_age)


def dirichlet(
    limits: Float[np.ndarray, " edges"],
    z_fraction: ArrayLike,
    agebins: ArrayLike,
    min_age: Years = 0.0,
    max_age: Years = _NO_MAX_AGE,
) -> Float[Array, " edges-1"]:
    """Return the masses formed at constant rates with a Dirichlet prior.

    As in Leja et al. (2017, ApJ 837, 170).

    Args:
        limits (np.ndarray of float): The limits of the grid's bins, (n + 1,).
        z_fraction (array): The latent variables, 0 to 1, (k - 1,).
        agebins (array): The ends of the age bins, log10 yr, (k, 2).
        min_age (float): The age of the youngest stars, yr.
        max_age (float): The age of the oldest stars, yr.
    """
    latent = jnp.asarray(z_fraction, float)
    remaining = jnp.concatenate([jnp.ones(1), jnp.cumprod(latent)])
    rates = remaining * jnp.concatenate([1.0 - latent, jnp.ones(1)])
    return rates @ integrals.overlaps(
        limits, _edges(agebins), min_age, max_age
    )


# The functions by the names of Synthesizer's classes.
SF_HISTS: Mapping[str, Callable[..., Array]] = {
    "Constant": constant,
    "Gaussian": gaussian,
    "Exponential": exponential,
    "TruncatedExponential": exponential,
    "DecliningExponential": exponential,
    "DelayedExponential": delayed_exponential,
    "LogNormal": log_normal,
    "DoublePowerLaw": double_power_law,
    "Continuity": continuity,
    "ContinuityFlex": continuity_flex,
    "ContinuityPSB": continuity_psb,
    "Dirichlet": dirichlet,
    "DenseBasis": dense_basis,
}


def _times(
    limits: NDArray, min_age: ArrayLike, max_age: ArrayLike
) -> tuple[Array, Array]:
    """Return the start times of bins, since `max_age`, and their widths."""
    young, width = integrals.clipped_bins(limits, min_age, max_age)
    return jnp.asarray(max_age) - young - width, width


def _stepwise(
    limits: Float[np.ndarray, " edges"],
    edges: Array,
    log_rates: Array,
    min_age: ArrayLike,
    max_age: ArrayLike,
) -> Float[Array, " edges-1"]:
    """Return the masses formed at rates exp(log_rates) between k + 1 edges."""
    formed = integrals.overlaps(limits, edges, min_age, max_age)
    return integrals.scaled(log_rates[:, None], formed).sum(axis=0)


def _edges(agebins: ArrayLike) -> Array:
    """Return the edges (k + 1,), yr, of adjoining age bins (k, 2), log10 yr.

    Like Synthesizer, the first bin is extended to age zero.
    """
    older = 10.0 ** jnp.asarray(agebins)[:, 1]
    return jnp.concatenate([jnp.zeros(1), older])


def _log_rates(log10_ratios: Array) -> Array:
    """Return ln of k rates from log10 of the ratio of each to the next."""
    return -_LN_10 * jnp.concatenate([jnp.zeros(1), jnp.cumsum(log10_ratios)])


def _clipped(logsfr_ratios: ArrayLike) -> Array:
    """Return log10 of ratios, clipped as in Synthesizer."""
    ratios = jnp.asarray(logsfr_ratios, float)
    return jnp.clip(ratios, -_LARGEST_RATIO, _LARGEST_RATIO)
