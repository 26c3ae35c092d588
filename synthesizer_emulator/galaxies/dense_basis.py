r"""The star formation history `DenseBasis` as a function of its parameters.

Iyer et al. (2019, ApJ 879, 116) describe a history by the times at which a
galaxy has formed given fractions of its mass, and interpolate between these
with a Gaussian process. Synthesizer calls their package `dense_basis` (0.1.9),
and distributes the result over 1,000 ages that are even in log age.

Here the interpolation is solved without the package, in a form that is stable
in single precision. The covariance of `dense_basis`,

$$v \left[(1 + \lambda d) e^{-\lambda d} + e^{-a} x^2 x'^2\right],$$

with distance $d = |x - x'|$, $\lambda = \sqrt{3 / a}$, and the median $a$ and
the variance $v$ of the mass fractions, is that of a random multiple of $x^2$
and a Markov process, whose state is its value and slope (Matern 3/2:
Hartikainen & Sarkka 2010, IEEE MLSP, 379). The most likely states are a
problem of least squares with a few terms for each interval between given
times, whereas the covariance matrix of close times is nearly singular.

Summed over the bins, the errors are less than 1e-4 of the mass formed in
double precision, and 5e-4 in single precision; they are largest where given
times lie closer than 1e-3.
"""

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array
from jax.scipy.linalg import solve_triangular
from jax.typing import ArrayLike
from jaxtyping import Float
from numpy.typing import NDArray
from synthesizer.exceptions import InconsistentArguments

from synthesizer_emulator.galaxies.matrices import dot

# The settings of `dense_basis`: the number of times of the interpolated
# history; the fractions of the mass that are tied to the star formation rate;
# the time by which the mass fraction is still zero; the tolerance of the final
# star formation rate, dex, and the time, Gyr, that sets how much is replaced.
_N_TIMES = 1000
_LATE = (0.97, 0.98, 0.99)
_EARLY = 0.01
_TOLERANCE = 0.05
_REPLACED = 0.01

# The uncertainty of a fraction, times the root of their number; the larger one
# for more than 26 points. The variance that is added to all points.
_ERROR, _LARGE_ERROR, _MANY = 0.001, 0.1, 26
_WHITE = 1.25e-12

# The cosmology of `dense_basis` is flat: km/s/Mpc, matter, and Gyr per 1/H0.
_H0, _OMEGA_M = 70.0, 0.3
_HUBBLE_TIME = 977.7922216807891 / _H0

# Synthesizer's ages, log10 yr.
_LOG_AGES = np.linspace(5.0, 10.3, 1000)
_AGES = 10.0**_LOG_AGES
_STEP = np.mean(np.diff(_LOG_AGES))
_WIDTHS = 10.0 ** (_LOG_AGES + _STEP / 2) - 10.0 ** (_LOG_AGES - _STEP / 2)

# The numbers of `db_tuple` before the times.
_N_FIRST = 3

# The number of terms of the series for short intervals.
_N_TERMS = 24


def dense_basis(
    limits: Float[np.ndarray, " edges"],
    db_tuple: ArrayLike,
    redshift: ArrayLike,
) -> Float[Array, " edges-1"]:
    """Return the masses formed according to `DenseBasis`.

    Args:
        limits (np.ndarray of float): The limits of the grid's bins, yr,
            (n + 1,).
        db_tuple (array): log10 of the mass formed in solar masses; log10 of
            the star formation rate at `redshift` in solar masses per year;
            the number k of times; the times, in ascending order, at which the
            galaxy has formed 1 / (k + 1), ..., k / (k + 1) of its mass, in
            units of the age of the Universe, (3 + k,).
        redshift (float): The redshift of the galaxy.

    Raises:
        InconsistentArguments: If `db_tuple` has the wrong shape.
    """
    _check_tuple(db_tuple)
    parameters = jnp.asarray(db_tuple, float)
    age = _age_of_universe(jnp.asarray(redshift, float))
    # The star formation rate in units of the mass over the age of the
    # Universe, which are the units of all rates below.
    rate = 10.0 ** (parameters[1] - parameters[0] + 9.0) * age
    mean_rates = _interpolated(*_points(parameters[_N_FIRST:], rate))
    rates = _replaced(mean_rates, rate, age)
    by_age = _on_ages(rates, age * 1e9)
    return dot(jnp.asarray(_overlaps(limits), float), by_age)


def _check_tuple(db_tuple: ArrayLike) -> None:
    """Raise unless a tuple has as many times as it says.

    Raises:
        InconsistentArguments: If it does not.
    """
    shape = np.shape(db_tuple)
    if len(shape) != 1 or shape[0] < _N_FIRST + 1:
        raise InconsistentArguments(
            "db_tuple must be (log10 mass, log10 SFR, number of times, times "
            f"...) of one galaxy, got the shape {shape}."
        )
    check_number_of_times(db_tuple)


def check_number_of_times(db_tuple: ArrayLike) -> None:
    """Raise unless tuples, (..., 3 + k), have as many times as they say.

    Numbers traced by JAX are not known.

    Raises:
        InconsistentArguments: If they do not.
    """
    leaves = jax.tree.leaves(db_tuple)
    if any(isinstance(leaf, jax.core.Tracer) for leaf in leaves):
        return
    shape = np.shape(db_tuple)
    if not shape or shape[-1] <= _N_FIRST:
        return
    said, given = np.asarray(db_tuple)[..., 2], shape[-1] - _N_FIRST
    wrong = said[(said != given) & ~np.isnan(said)]
    if wrong.size:
        raise InconsistentArguments(
            f"The third number of db_tuple says {wrong.flat[0]:g} times, but "
            f"{given} times follow."
        )


def _age_of_universe(redshift: Array) -> Array:
    """Return the age of the Universe in Gyr."""
    dark = 1.0 - _OMEGA_M
    ratio = np.sqrt(dark / _OMEGA_M) * (1.0 + redshift) ** -1.5
    return 2.0 / 3.0 * _HUBBLE_TIME / np.sqrt(dark) * jnp.arcsinh(ratio)


def _points(times: Array, rate: Array) -> tuple[Array, Array, Array]:
    """Return the times, mass fractions and variances to interpolate, (n,)."""
    k = len(times)
    x = [jnp.zeros(()), jnp.full((), _EARLY), *times]
    y = [jnp.zeros(()), *jnp.linspace(0.0, 1.0, k + 2)[:-1]]
    for fraction in _LATE:
        # The rate at the end sets the time of a late mass fraction, or if that
        # is too early, the mass fraction at a late time.
        late = 1.0 - (1.0 - fraction) / rate
        used = (late > x[-1]) & (late > 0.9)
        x.append(jnp.where(used, late, fraction))
        y.append(jnp.where(used, fraction, 1.0 - (1.0 - fraction) * rate))
    x.append(jnp.ones(()))
    y.append(jnp.ones(()))
    variance = np.full(len(x), _WHITE)
    error = _LARGE_ERROR if len(x) > _MANY else _ERROR
    variance[2 : 2 + k] += error**2 / max(k, 1)
    return jnp.stack(x), jnp.stack(y), jnp.asarray(variance, float)


def _interpolated(x: Array, y: Array, variance: Array) -> Array:
    """Return the mean slopes of the interpolated mass fractions.

    Args:
        x (Array): The times, from 0 to 1, (n,).
        y (Array): The mass fractions, (n,).
        variance (Array): The variances of the mass fractions, (n,).

    Returns:
        Array: The mean slope in each of the intervals between `_N_TIMES` even
            times, (_N_TIMES - 1,).
    """
    scale, spread = jnp.median(y), jnp.var(y)
    order = jnp.argsort(x)
    x, y, error = x[order], y[order], jnp.sqrt(variance[order])
    rate = jnp.sqrt(3.0 / scale)
    steps = jnp.maximum(jnp.diff(x), 1e-7)
    value, slope, weights, multiple = _most_likely(
        x, y, error, steps, rate, spread, jnp.exp(-scale)
    )

    def slopes(at: NDArray[np.float64]) -> Array:
        """Return the slope at given times (m,)."""
        t = jnp.asarray(at, float)
        i = jnp.clip(jnp.searchsorted(x, t, side="right") - 1, 0, len(x) - 2)
        after = t - x[i]
        u, w = rate * after, rate * (steps[i] - after)
        decay = jnp.exp(-u)
        free = decay * ((1.0 - u) * slope[i] - rate * u * value[i])
        first, second = weights[i].T
        _, mixed, steep = _noise(u, rate, spread)
        pulled = (1.0 + w) * first - rate * w * second
        tilted = w / rate * first + (1.0 - w) * second
        pull = jnp.exp(-w) * (mixed * pulled + steep * tilted)
        return free + pull + 2.0 * multiple * t

    # Simpson's rule.
    times = np.linspace(0.0, 1.0, 2 * _N_TIMES - 1)
    at = slopes(times)
    return (at[:-2:2] + 4.0 * at[1:-1:2] + at[2::2]) / 6.0


def _most_likely(
    x: Array,
    y: Array,
    error: Array,
    steps: Array,
    rate: Array,
    spread: Array,
    share: Array,
) -> tuple[Array, Array, Array, Array]:
    """Return the most likely states of the Markov process at given times.

    Args:
        x (Array): The times, ascending, (n,).
        y (Array): The mass fractions, (n,).
        error (Array): Their uncertainties, (n,).
        steps (Array): The intervals, (n - 1,).
        rate (Array): The rate of decay of the correlation.
        spread (Array): The variance of the process.
        share (Array): The variance of the multiple of x^2, over `spread`.

    Returns:
        tuple of Array: The values, (n,); the slopes, (n,); the inverse
            covariance of the noise in each interval times its noise,
            (n - 1, 2); the multiple of x^2, ().
    """
    n = len(x)
    # Unknown are the slopes, the errors of the mass fractions, and the
    # multiple of x^2. A row is the coefficients of these, and a constant.
    slopes, errors, multiple, constant = jnp.split(
        jnp.eye(2 * n + 2), [n, 2 * n, 2 * n + 1]
    )

    def combined(y: Array, error: Array, square: Array) -> Array:
        """Return the rows of values without errors and without x^2."""
        return (
            y[:, None] * constant
            - error
            - (jnp.sqrt(spread * share) * square)[:, None] * multiple
        )

    scaled = error[:, None] * errors
    values = combined(y, scaled, jnp.square(x))
    # Differences of rows would lose digits of y and x^2.
    rises = combined(
        jnp.diff(y), jnp.diff(scaled, axis=0), jnp.diff(x) * (x[1:] + x[:-1])
    )
    u = (rate * steps)[:, None]
    decay = jnp.exp(-u)
    noise = rises + decay * (
        _series(u, 2) * values[:-1] - u / rate * slopes[:-1]
    )
    tilt = slopes[1:] - decay * (
        (1.0 - u) * slopes[:-1] - rate * u * values[:-1]
    )
    flat, mixed, steep = _noise(rate * steps, rate, spread)
    # Rows of unit variance.
    root = jnp.sqrt(flat)
    along = mixed / root
    across = jnp.sqrt(steep - jnp.square(along))
    first = noise / root[:, None]
    second = (tilt - along[:, None] * first) / across[:, None]
    rows = jnp.concatenate(
        [
            first,
            second,
            values[:1] / jnp.sqrt(spread),
            slopes[:1] / (rate * jnp.sqrt(spread)),
            errors,
            multiple,
        ]
    )
    solution = _least_squares(rows[:, :-1], -rows[:, -1])
    full = jnp.append(solution, 1.0)
    normal = jnp.stack([dot(first, full), dot(second, full)], axis=1)
    weights = jnp.stack(
        [
            (normal[:, 0] - along / across * normal[:, 1]) / root,
            normal[:, 1] / across,
        ],
        axis=1,
    )
    return (
        dot(values, full),
        solution[:n],
        weights,
        solution[2 * n] * jnp.sqrt(spread * share),
    )


def _noise(u: Array, rate: Array, spread: Array) -> tuple[Array, Array, Array]:
    """Return the covariance that the process gains in scaled intervals u.

    Returns:
        tuple of Array: That of the value, of the value and the slope, and of
            the slope, each with the shape of u.
    """
    decay = jnp.exp(-2.0 * u)
    rest = _series(2.0 * u, 3)
    return (
        spread * decay * rest,
        spread * rate * decay * 2.0 * jnp.square(u),
        spread * jnp.square(rate) * decay * (4.0 * u + rest),
    )


def _series(u: Array, first: int) -> Array:
    """Return the terms of exp(u) from u^first / first! on, without loss."""
    total = jnp.zeros_like(u)
    for k in reversed(range(first + 1, first + _N_TERMS)):
        total = (1.0 + total) * u / k
    power = np.prod(np.arange(1.0, first + 1.0))
    return (1.0 + total) * u**first / power


def _least_squares(rows: Array, target: Array) -> Array:
    """Return the solution of linear least squares, with scaled columns."""
    scale = jnp.sqrt(jnp.square(rows).sum(axis=0))
    q, r = jnp.linalg.qr(rows / scale[None])
    return solve_triangular(r, dot(q.T, target)) / scale


def _replaced(mean_rates: Array, rate: Array, age: Array) -> Array:
    """Return the star formation rates at `_N_TIMES` even times.

    As in `dense_basis`, the mass formed before the last few times is scaled
    to the total, and the rates at these times are replaced if they differ from
    the one given.

    Args:
        mean_rates (Array): The mean rates in the intervals, (_N_TIMES - 1,).
        rate (Array): The star formation rate at the end.
        age (Array): The age of the Universe, Gyr.
    """
    n = _N_TIMES
    # The package divides by the number of times, not of intervals.
    formed = jnp.maximum(mean_rates, 0.0) * (n / (n - 1.0))
    rates = jnp.concatenate([jnp.zeros(1), formed])
    times = np.linspace(0.0, 1.0, n)
    last = jnp.argmin(jnp.abs(jnp.asarray(times, float) * age - _REPLACED))
    start = n - jnp.where(last == 0, 2, last)
    masses = _masses(rates)
    segment = np.arange(n - 1)
    late = jnp.where(segment >= start, masses, 0.0).sum()
    early = jnp.where(segment + 1 < start, masses, 0.0).sum()
    scale = jnp.maximum(1.0 - late, 0.0) / early
    is_late = np.arange(n) >= start
    rates = jnp.where(is_late, rates, rates * scale)
    ratio = rates[-1] / rate
    differs = (ratio > 10.0**_TOLERANCE) | (ratio < 10.0**-_TOLERANCE)
    return jnp.where(is_late & differs, rate, rates)


def _masses(rates: Array) -> Array:
    """Return the masses formed between even times, (n - 1,)."""
    return 0.5 * (rates[1:] + rates[:-1]) / (len(rates) - 1)


def _on_ages(rates: Array, age: Array) -> Array:
    """Return the star formation rates at Synthesizer's ages, (1000,).

    Args:
        rates (Array): The rates at even times up to the age of the Universe,
            (_N_TIMES,).
        age (Array): The age of the Universe, yr.
    """
    masses = _masses(rates)[::-1]
    # Mass younger than an age; from the young end, to keep digits there.
    younger = jnp.concatenate([jnp.zeros(1), jnp.cumsum(masses)])
    position = jnp.asarray(_AGES, float) / age * (_N_TIMES - 1)
    position = jnp.clip(position, 0.0, _N_TIMES - 1)
    cell = jnp.clip(position.astype(int), 0, _N_TIMES - 2)
    mass = younger[cell] + (position - cell) * masses[cell]
    return jnp.append(
        jnp.diff(mass) / jnp.asarray(_WIDTHS[:-1] / _WIDTHS[0], float), 0.0
    )


def _overlaps(limits: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return the integrals over bins of linear interpolation between ages.

    Returns:
        np.ndarray of float: The coefficients of the values at Synthesizer's
            ages, in units of the first bin of these, (n, 1000).
    """
    ends = np.asarray(limits, np.float64)[:, None]
    widths = np.diff(_AGES)
    inside = np.clip(ends - _AGES[:-1], 0.0, widths)
    falling = inside - np.square(inside) / (2.0 * widths)
    total = np.zeros((len(ends), len(_AGES)))
    total[:, :-1] += falling
    total[:, 1:] += inside - falling
    total[:, :1] += np.minimum(ends, _AGES[0])
    return np.diff(total, axis=0) / _WIDTHS[0]
