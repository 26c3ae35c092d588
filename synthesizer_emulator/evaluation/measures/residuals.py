"""Residuals of an emission by wavelength, by node and along each axis.

Residuals are emulated / native - 1, as in `metrics.fractional_residuals`, and
NaN where the native value is too faint to be scored.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from itertools import pairwise
from typing import Self

import numpy as np
from numpy.typing import NDArray
from scipy.special import ndtr

from synthesizer_emulator.emulator.metrics import (
    ErrorSummary,
    mean_errors,
    mean_residuals,
    summarise,
)
from synthesizer_emulator.evaluation.measures.quantiles import Quantiles
from synthesizer_emulator.gridfile.header import Axis

# The number of bins in profiles and in correlation matrices, of equal width in
# log wavelength.
_PROFILE_BINS = 160
_CORRELATION_BINS = 80

# The lags in pixels of the autocorrelation of residuals.
_LAGS = (1, 2, 3, 5, 8, 12, 20, 30, 50, 80, 120, 200, 300, 500, 800)

_HISTOGRAM_BINS = 120

# The bands of signed residuals.
_SIGMAS = (-3, -2, -1, 0, 1, 2, 3)


@dataclass(frozen=True)
class Profile:
    """Quantiles of absolute residuals along the wavelengths or an axis.

    Attributes:
        at (np.ndarray of float): Wavelengths in Angstrom or axis values,
            (n,).
        p50 (np.ndarray of float): The median over all pixels in the bin or
            at the axis value, (n,); NaN if no pixel is scored.
        p95 (np.ndarray of float): The 95th percentile, (n,).
        p99 (np.ndarray of float): The 99th percentile, (n,).
        bias (np.ndarray of float): The mean signed residual, (n,).
    """

    at: NDArray[np.float64]
    p50: NDArray[np.float64]
    p95: NDArray[np.float64]
    p99: NDArray[np.float64]
    bias: NDArray[np.float64]

    @classmethod
    def from_groups(cls, at: NDArray, groups: Iterable[NDArray]) -> Self:
        """Summarise n groups of residuals of any shape.

        `at` has the wavelength or axis value of each group, (n,).
        """
        summaries = [Quantiles.from_errors(group) for group in groups]
        columns = (
            np.array([getattr(summary, name) for summary in summaries])
            for name in ("p50", "p95", "p99", "bias")
        )
        return cls(np.asarray(at, np.float64), *columns)


@dataclass(frozen=True)
class Bands:
    """Quantiles of signed residuals by wavelength.

    Attributes:
        at (np.ndarray of float): The centres of bins in Angstrom, (b,).
        sigmas (tuple of int): The deviations of a normal distribution that
            have the same quantiles.
        values (np.ndarray of float): The quantiles, (len(sigmas), b); NaN
            where no pixel is scored.
    """

    at: NDArray[np.float64]
    sigmas: tuple[int, ...]
    values: NDArray[np.float64]


@dataclass(frozen=True)
class Correlation:
    """The correlation of residuals between wavelengths.

    Correlated residuals are not reduced by averaging over a band.

    Attributes:
        lam (np.ndarray of float): The centres of bins in Angstrom, (b,).
        matrix (np.ndarray of float): The correlation over spectra of the
            mean residuals in two bins, (b, b).
        lags (np.ndarray of int): Lags in pixels, (l,).
        by_lag (np.ndarray of float): The autocorrelation of the residuals
            of a spectrum about zero at these lags, (l,).
        length (float): The lag in pixels at which the autocorrelation falls
            to 1/e; infinite if it stays above.
    """

    lam: NDArray[np.float64]
    matrix: NDArray[np.float64]
    lags: NDArray[np.intp]
    by_lag: NDArray[np.float64]
    length: float


@dataclass(frozen=True)
class Histogram:
    """The distribution of signed residuals.

    Attributes:
        edges (np.ndarray of float): The edges of bins, (b + 1,), from minus
            to plus the 99.9th percentile of the absolute residuals.
        density (np.ndarray of float): The fraction of pixels in each bin,
            divided by its width, (b,).
    """

    edges: NDArray[np.float64]
    density: NDArray[np.float64]


@dataclass(frozen=True)
class Example:
    """The native and the emulated spectrum of one node.

    Attributes:
        node (dict): The axis values by name.
        error (float): The mean absolute residual.
        lam (np.ndarray of float): The scored wavelengths in Angstrom, (n,).
        true (np.ndarray of float): The native spectrum, (n,).
        emulated (np.ndarray of float): The emulated spectrum, (n,).
    """

    node: dict[str, float]
    error: float
    lam: NDArray[np.float64] = field(repr=False)
    true: NDArray[np.float64] = field(repr=False)
    emulated: NDArray[np.float64] = field(repr=False)


@dataclass(frozen=True)
class EmissionErrors:
    """The errors of a spectrum, or of a line quantity, at the nodes.

    Attributes:
        summary (ErrorSummary): Quantiles over spectra and over pixels.
        by_wavelength (Profile): Quantiles by wavelength, or of each line.
        by_axis (dict): The Profile along each axis, by name.
        means (np.ndarray of float): The mean absolute residual of each
            spectrum, (n1, ..., nd); NaN at nodes without emission.
        histogram (Histogram): The distribution of residuals.
        correlation (Correlation): The correlation of residuals between
            wavelengths; None for lines.
        lines (tuple of str): The line ids; empty for spectra.
        examples (dict): The `worst`, `median` and `best` spectrum as
            Example; empty for lines.
        bands (Bands): The signed residuals by wavelength; None for lines.
    """

    summary: ErrorSummary
    by_wavelength: Profile
    by_axis: dict[str, Profile]
    means: NDArray[np.float64]
    histogram: Histogram
    correlation: Correlation | None = None
    lines: tuple[str, ...] = ()
    examples: dict[str, Example] = field(default_factory=dict)
    bands: Bands | None = None


def spectrum_errors(
    residuals: NDArray, lam: NDArray[np.float64], axes: Sequence[Axis]
) -> EmissionErrors | None:
    """Return the errors of a spectrum, without examples.

    `residuals` are (n1, ..., nd, n) at the scored wavelengths (n,) in
    Angstrom. Returns None if no pixel is scored.
    """
    summary = summarise(residuals)
    if summary is None:
        return None
    return EmissionErrors(
        summary=summary,
        by_wavelength=wavelength_profile(residuals, lam),
        by_axis=axis_profiles(residuals, axes),
        means=mean_errors(residuals),
        histogram=histogram(residuals),
        correlation=correlation(residuals, lam),
        bands=signed_bands(residuals, lam),
    )


def line_errors(
    residuals: NDArray,
    ids: Sequence[str],
    lams: NDArray[np.float64],
    axes: Sequence[Axis],
) -> EmissionErrors | None:
    """Return the errors of a line quantity.

    `residuals` are (n1, ..., nd, n) for the n lines. Returns None if no line
    is scored.
    """
    summary = summarise(residuals)
    if summary is None:
        return None
    each = (residuals[..., i] for i in range(len(ids)))
    return EmissionErrors(
        summary=summary,
        by_wavelength=Profile.from_groups(lams, each),
        by_axis=axis_profiles(residuals, axes),
        means=mean_errors(residuals),
        histogram=histogram(residuals),
        lines=tuple(ids),
    )


def wavelength_profile(
    residuals: NDArray, lam: NDArray[np.float64]
) -> Profile:
    """Return the profile of residuals (..., n) in bins of log wavelength."""
    centres, bins = _log_bins(lam, _PROFILE_BINS)
    return Profile.from_groups(centres, (residuals[..., b] for b in bins))


def signed_bands(residuals: NDArray, lam: NDArray[np.float64]) -> Bands:
    """Return the quantiles of residuals (..., n) by wavelength."""
    centres, bins = _log_bins(lam, _PROFILE_BINS)
    levels = ndtr(_SIGMAS)
    values = np.full((len(_SIGMAS), len(bins)), np.nan)
    for i, b in enumerate(bins):
        pixels = residuals[..., b]
        pixels = pixels[np.isfinite(pixels)]
        if len(pixels):
            values[:, i] = np.quantile(pixels, levels)
    return Bands(centres, _SIGMAS, values)


def axis_profiles(
    residuals: NDArray, axes: Sequence[Axis]
) -> dict[str, Profile]:
    """Return the profile of residuals (n1, ..., nd, n) along each axis."""
    return {
        axis.name: Profile.from_groups(
            axis.values, np.moveaxis(residuals, i, 0)
        )
        for i, axis in enumerate(axes)
    }


def histogram(residuals: NDArray) -> Histogram:
    """Return the distribution of residuals of any shape."""
    pixels = residuals[~np.isnan(residuals)]
    limit = float(np.quantile(np.abs(pixels), 0.999)) or 1.0
    edges = np.linspace(-limit, limit, _HISTOGRAM_BINS + 1)
    counts, _ = np.histogram(pixels, edges)
    return Histogram(edges, counts / len(pixels) / np.diff(edges))


def correlation(residuals: NDArray, lam: NDArray[np.float64]) -> Correlation:
    """Return the correlation of residuals (..., n) between wavelengths."""
    flat = residuals.reshape(-1, residuals.shape[-1])
    centres, bins = _log_bins(lam, _CORRELATION_BINS)
    means = np.column_stack([mean_residuals(flat[:, b]) for b in bins])
    lags = np.array([lag for lag in _LAGS if lag < len(lam)], np.intp)
    by_lag = np.array([_lag_correlation(flat, lag) for lag in lags])
    return Correlation(
        lam=centres,
        matrix=_pairwise_correlation(means),
        lags=lags,
        by_lag=by_lag,
        length=_crossing(lags, by_lag, np.exp(-1)),
    )


def example_nodes(means: NDArray) -> dict[str, tuple[int, ...]]:
    """Return the nodes of the `worst`, `median` and `best` spectrum.

    `means` has the mean error of each spectrum, (n1, ..., nd); NaN at nodes
    without emission. Nodes are tuples of indices.
    """
    order = np.argsort(means, axis=None)
    order = order[: np.count_nonzero(~np.isnan(means))]
    chosen = {
        "worst": order[-1],
        "median": order[len(order) // 2],
        "best": order[0],
    }
    return {
        name: tuple(int(i) for i in np.unravel_index(flat, means.shape))
        for name, flat in chosen.items()
    }


def _log_bins(
    lam: NDArray[np.float64], most: int
) -> tuple[NDArray[np.float64], list[slice]]:
    """Return the centres and the slices of at most `most` non-empty bins."""
    edges = np.geomspace(lam[0], lam[-1], most + 1)[1:-1]
    cuts = np.unique([0, *np.searchsorted(lam, edges), len(lam)])
    bins = [slice(a, b) for a, b in pairwise(cuts)]
    return np.array([np.sqrt(lam[b][0] * lam[b][-1]) for b in bins]), bins


def _pairwise_correlation(samples: NDArray) -> NDArray[np.float64]:
    """Return the correlation matrix (b, b) of columns (m, b) with NaN.

    Each pair of columns is correlated over the rows where neither is NaN;
    the correlation is NaN if there are fewer than two.
    """
    known = ~np.isnan(samples)
    weight = known.astype(np.float64)
    values = np.where(known, samples, 0.0)
    n = weight.T @ weight
    n = np.where(n > 1, n, np.nan)
    mean = np.asarray(values.T @ weight / n)
    square = np.asarray((values**2).T @ weight / n)
    covariance = values.T @ values / n - mean * mean.T
    variance = np.asarray(np.maximum(square - mean**2, 0.0))
    scale = np.sqrt(variance * variance.T)
    scale = np.where(scale > 0, scale, np.nan)
    return np.clip(covariance / scale, -1.0, 1.0)


def _lag_correlation(flat: NDArray, lag: int) -> float:
    """Return the autocorrelation about zero of residuals (m, n) at a lag.

    This is the mean over spectra, each normalised by the power of its
    residuals.
    """
    left, right = flat[:, :-lag], flat[:, lag:]
    product = np.asarray(np.nansum(left * right, axis=-1, dtype=np.float64))
    both = ~np.isnan(left) & ~np.isnan(right)
    power = np.ones(len(flat))
    for side in (left, right):
        power *= np.where(both, side**2, 0.0).sum(axis=-1, dtype=np.float64)
    scale = np.sqrt(power)
    defined = scale > 0
    if not defined.any():
        return float("nan")
    return float(np.mean(product[defined] / scale[defined]))


def _crossing(at: NDArray, values: NDArray, level: float) -> float:
    """Return the point at which values first fall to a level, interpolated."""
    below = np.flatnonzero(values <= level)
    if not len(below):
        return float("inf")
    i = below[0]
    if i == 0:
        return float(at[0])
    part = (values[i - 1] - level) / (values[i - 1] - values[i])
    return float(at[i - 1] + part * (at[i] - at[i - 1]))
