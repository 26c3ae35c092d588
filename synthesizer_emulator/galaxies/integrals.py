"""Integrals of star formation rates and metallicities over bins.

The functions of `sf_hists` and `metal_dists` are made of these. Bins are given
by their limits, (n + 1,); integrals are returned for each bin, (n,). Integrals
of exponentials are returned up to a common factor, so that they neither
overflow nor underflow in single precision.
"""

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array
from jax.scipy.special import erf, log_ndtr
from jax.typing import ArrayLike
from numpy.typing import NDArray

# Gauss-Legendre quadrature on the unit interval.
_NODES, _WEIGHTS = np.polynomial.legendre.leggauss(12)
_NODES, _WEIGHTS = 0.5 * (_NODES + 1.0), 0.5 * _WEIGHTS


def bin_limits(nodes: NDArray) -> NDArray[np.float64]:
    """Return the limits (n + 1,) of the bins Synthesizer integrates over.

    The limits lie midway between the nodes, on a linear scale; the first bin
    starts at zero, and the last one ends at the last node.

    Args:
        nodes (np.ndarray of float): Ages or metallicities, ascending, (n,).
    """
    nodes = np.asarray(nodes, np.float64)
    middle = 0.5 * (nodes[1:] + nodes[:-1])
    return np.concatenate([[0.0], middle, nodes[-1:]])


def clipped_bins(
    limits: NDArray, min_age: ArrayLike, max_age: ArrayLike
) -> tuple[Array, Array]:
    """Return the younger ends and the widths of bins clipped to an age range.

    The widths of bins within the range are computed in double precision, as
    rounding the limits first would lose digits. Where an end of the range is
    on the limit of a bin, derivatives are those of the bin that it cuts.
    """
    low, high = jnp.asarray(limits[:-1]), jnp.asarray(limits[1:])
    whole = (low >= min_age) & (high <= max_age)
    young = clipped(low, min_age, max_age)
    width = clipped(high, min_age, max_age) - young
    exact = jax.lax.stop_gradient(np.diff(limits) - width)
    return young, width + jnp.where(whole, exact, 0.0)


def clipped(x: Array, low: ArrayLike, high: ArrayLike) -> Array:
    """Return x between two ends, with the derivatives of an end on that end.

    `jnp.clip` has half the derivative of each there. If the ends are in the
    wrong order, both are at the upper one.
    """
    first, last = jnp.asarray(low), jnp.asarray(high)
    first = jnp.where(first < last, first, last)
    return jnp.where(x <= first, first, jnp.where(x < last, x, last))


def overlaps(
    limits: NDArray, edges: Array, min_age: ArrayLike, max_age: ArrayLike
) -> Array:
    """Return the overlap of k age bins with n grid bins, in age, (k, n).

    The k + 1 edges of the age bins are first clipped to the range from
    `min_age` to `max_age`.
    """
    edges = clipped(edges, min_age, max_age)
    return jax.vmap(lambda young, old: clipped_bins(limits, young, old)[1])(
        edges[:-1], edges[1:]
    )


def scaled(exponents: Array, factors: Array) -> Array:
    """Return factors times exp(exponents), up to a common factor.

    The largest exponential with a positive factor is scaled to one.
    """
    counted = jnp.where(factors > 0, exponents, -jnp.inf)
    largest = jax.lax.stop_gradient(counted.max())
    above = exponents - jnp.where(jnp.isfinite(largest), largest, 0.0)
    # Exponents whose factor is zero may be larger. Unlike clipping, this keeps
    # the gradient of the largest exponent.
    return factors * jnp.exp(jnp.where(above > 0, 0.0, above))


def gaussian(start: Array, width: Array) -> Array:
    r"""Return the integrals of $\exp(-x^2)$ from `start` over `width`.

    The integrals share a common factor. Narrow bins are integrated by
    quadrature, wide bins with those error functions that do not cancel, both
    relative to the integrand at the point of the bin nearest to the peak.
    """
    end = start + width
    nearest = jnp.clip(0.0, start, end)
    narrow = width < 1.0
    x = start[:, None] + jnp.where(narrow, width, 0.0)[:, None] * _NODES[None]
    peak = nearest[:, None]
    by_quadrature = width * (
        jnp.exp((peak - x) * (peak + x)) @ jnp.asarray(_WEIGHTS, float)
    )
    near = jnp.where(narrow, 0.0, jnp.abs(nearest))

    def scaled_erfc(x: Array) -> Array:
        """Return erfc(x) / exp(-near^2)."""
        log_half = log_ndtr(-np.sqrt(2.0) * x)
        return 2.0 * jnp.exp(log_half + jnp.square(near))

    by_error_functions = jnp.where(
        near > 0,
        scaled_erfc(near) - scaled_erfc(near + width),
        erf(end) - erf(start),
    )
    return scaled(
        -jnp.square(nearest),
        jnp.where(
            narrow, by_quadrature, np.sqrt(np.pi) / 2 * by_error_functions
        ),
    )


def largest_exponent(first: Array, width: Array, tau: ArrayLike) -> Array:
    """Return the maximum of -t / tau in bins of time that start at `first`."""
    return jnp.maximum(-first / tau, -(first + width) / tau)


def mean_decay(width: Array, tau: ArrayLike) -> Array:
    """Return the mean of exp(-t / tau) over a bin, relative to its maximum."""
    return mean_exponential(jnp.abs(width / tau))


def mean_exponential(x: Array) -> Array:
    """Return the mean of exp(-t) over 0 < t < x."""
    small = x < 1e-3
    near, far = jnp.where(small, x, 0.0), jnp.where(small, 1.0, x)
    series = 1.0 - near / 2.0 * (1.0 - near / 3.0 * (1.0 - near / 4.0))
    return jnp.where(small, series, -jnp.expm1(-far) / far)


def mean_decay_moment(width: Array, tau: ArrayLike) -> Array:
    """Return the mean of s exp(-|s / tau|) / width over 0 < s < width."""
    x = jnp.abs(width / tau)
    small = x < 0.5
    near, far = jnp.where(small, x, 0.0), jnp.where(small, 1.0, x)
    series: Array | float = 0.0
    for k in reversed(range(11)):
        series = 1.0 / (k + 2) - near / (k + 1) * series
    closed = (1.0 - (1.0 + far) * jnp.exp(-far)) / jnp.square(far)
    return jnp.where(small, series, closed)


def power_law(
    log_low: Array, log_high: Array, power: Array, ratio: Array
) -> tuple[Array, Array]:
    """Return the integrals of x^(power - 1) / (1 + x^ratio).

    The integration is by Gauss-Legendre quadrature in x^power.

    Args:
        log_low (Array): The lower limits in ln x, (n,).
        log_high (Array): The upper limits in ln x, (n,).
        power (Array): The power, ().
        ratio (Array): The power in the denominator, ().

    Returns:
        tuple of Array: The exponents and the factors of `scaled`, (n,) each.
    """
    length = log_high - log_low
    # Integrate from the end with the larger x^power towards the other.
    rising = power > 0
    bright = jnp.where(rising, log_high, log_low)
    direction = jnp.where(rising, -length, length)
    # Not the modulus, whose derivative at zero is neither of the two.
    rise = -power * direction
    small = rise < 1e-4
    near = jnp.where(small, rise, 0.0)[:, None]
    far = jnp.where(small, 1.0, rise)[:, None]
    nodes = _NODES[None]
    steps = jnp.where(
        small[:, None],
        nodes - near / 2.0 * nodes * (1.0 - nodes),
        -jnp.log1p(jnp.expm1(-far) * nodes) / far,
    )
    x = bright[:, None] + direction[:, None] * steps
    factor = jax.nn.sigmoid(-ratio * x) @ jnp.asarray(_WEIGHTS, float)
    return power * bright, length * mean_exponential(rise) * factor
