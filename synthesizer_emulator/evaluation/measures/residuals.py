"""Residuals of an emission by wavelength, by node and along each axis.

Residuals are those of `metrics.fractional_residuals`: emulated / native - 1,
NaN where a value is too faint to be scored.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from itertools import pairwise
from typing import Self

import numpy as np
from numpy.typing import NDArray

from synthesizer_emulator.emulator.metrics import (
    ErrorSummary,
    mean_errors,
    mean_residuals,
    summarise,
)
from synthesizer_emulator.evaluation.measures.quantiles import Quantiles
from synthesizer_emulator.gridfile.header import Axis

# The number of bins, of equal width in log wavelength, of profiles and of
# correlation matrices.
_PROFILE_BINS = 160
_CORRELATION_BINS = 80

# The distances in pixels of the autocorrelation of residuals.
_LAGS = (1, 2, 3, 5, 8, 12, 20, 30, 50, 80, 120, 200, 300, 500, 800)

_HISTOGRAM_BINS = 120


@dataclass(frozen=True)
class Profile:
    """Quantiles of absolute residuals along the wavelengths or an axis.

    Attributes:
        at (np.ndarray of float): Wavelengths in Angstrom or axis values,
            (n,).
        p50 (np.ndarray of float): The median over all pixels there, (n,);
            NaN where none is scored.
        p95 (np.ndarray of float): The 95th percentile, (n,).
        p99 (np.ndarray of float): The 99th percentile, (n,).
        bias (np.ndarray of float): The mean residual with its sign, (n,).
    """

    at: NDArray[np.float64]
    p50: NDArray[np.float64]
    p95: NDArray[np.float64]
    p99: NDArray[np.float64]
    bias: NDArray[np.float64]

    @classmethod
    def from_groups(cls, at: NDArray, groups: Iterable[NDArray]) -> Self:
        """Summarise groups of residuals.

        Args:
            at (np.ndarray of float): The wavelength or axis value of each
                group, (n,).
            groups (iterable of np.ndarray): The n groups, of any shape.
        """
        summaries = [Quantiles.from_errors(group) for group in groups]
        columns = (
            np.array([getattr(summary, name) for summary in summaries])
            for name in ("p50", "p95", "p99", "bias")
        )
        return cls(np.asarray(at, np.float64), *columns)


@dataclass(frozen=True)
class Correlation:
    """The correlation of residuals in wavelength.

    Averaging over a band does not reduce correlated residuals.

    Attributes:
        lam (np.ndarray of float): The centres of bins in Angstrom, (b,).
        matrix (np.ndarray of float): The correlation over spectra of the
            mean residuals in two bins, (b, b).
        lags (np.ndarray of int): Distances in pixels, (l,).
        by_lag (np.ndarray of float): The autocorrelation of a spectrum's
            residuals about zero at these distances, (l,).
        length (float): The distance in pixels at which it falls to 1/e;
            infinite if it does not.
    """

    lam: NDArray[np.float64]
    matrix: NDArray[np.float64]
    lags: NDArray[np.intp]
    by_lag: NDArray[np.float64]
    length: float


@dataclass(frozen=True)
class Histogram:
    """The distribution of residuals with their signs.

    Attributes:
        edges (np.ndarray of float): The edges of bins, (b + 1,), from minus
            to plus the 99.9th percentile of the absolute residuals.
        density (np.ndarray of float): The fraction of pixels in each bin
            over its width, (b,).
    """

    edges: NDArray[np.float64]
    density: NDArray[np.float64]


@dataclass(frozen=True)
class Example:
    """A spectrum of the grid and its emulation.

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
    """The errors of a spectrum, or of a quantity of lines, at nodes.

    Attributes:
        summary (ErrorSummary): Quantiles over spectra and over pixels.
        by_wavelength (Profile): Along the wavelengths, or for each line.
        by_axis (dict): A Profile along each axis.
        means (np.ndarray of float): The mean absolute residual of each
            spectrum, (n1, ..., nd); NaN where there is no emission.
        histogram (Histogram): The distribution of residuals.
        correlation (Correlation): The correlation of residuals in
            wavelength; None for lines.
        lines (tuple of str): The line ids; empty for spectra.
        examples (dict): The `worst`, `median` and `best` spectrum as
            Example; empty for lines.
    """

    summary: ErrorSummary
    by_wavelength: Profile
    by_axis: dict[str, Profile]
    means: NDArray[np.float64]
    histogram: Histogram
    correlation: Correlation | None = None
    lines: tuple[str, ...] = ()
    examples: dict[str, Example] = field(default_factory=dict)


def spectrum_errors(
    residuals: NDArray, lam: NDArray[np.float64], axes: Sequence[Axis]
) -> EmissionErrors | None:
    """Return the errors of a spectrum, without examples.

    Args:
        residuals (np.ndarray of float): The residuals, (n1, ..., nd, n).
        lam (np.ndarray of float): The scored wavelengths in Angstrom, (n,).
        axes (sequence of Axis): The axes of the grid.

    Returns:
        EmissionErrors: The errors; None if no pixel is scored.
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
    )


def line_errors(
    residuals: NDArray,
    ids: Sequence[str],
    lams: NDArray[np.float64],
    axes: Sequence[Axis],
) -> EmissionErrors | None:
    """Return the errors of a quantity of lines.

    Args:
        residuals (np.ndarray of float): The residuals, (n1, ..., nd, n).
        ids (sequence of str): The n line ids.
        lams (np.ndarray of float): The wavelengths of the lines, (n,).
        axes (sequence of Axis): The axes of the grid.

    Returns:
        EmissionErrors: The errors; None if no line is scored.
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
    """Return the profile of residuals in bins of log wavelength.

    Args:
        residuals (np.ndarray of float): The residuals, (..., n).
        lam (np.ndarray of float): The wavelengths, ascending, (n,).
    """
    centres, bins = _log_bins(lam, _PROFILE_BINS)
    return Profile.from_groups(centres, (residuals[..., b] for b in bins))


def axis_profiles(
    residuals: NDArray, axes: Sequence[Axis]
) -> dict[str, Profile]:
    """Return the profile of residuals along each axis.

    Args:
        residuals (np.ndarray of float): The residuals, (n1, ..., nd, n).
        axes (sequence of Axis): The d axes.
    """
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
    """Return the correlation of residuals in wavelength.

    Args:
        residuals (np.ndarray of float): The residuals, (..., n).
        lam (np.ndarray of float): The wavelengths, ascending, (n,).
    """
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
    """Return the node of the worst, the median and the best spectrum.

    Args:
        means (np.ndarray of float): The mean error of each spectrum,
            (n1, ..., nd); NaN where there is no emission.

    Returns:
        dict: The index along each axis, by `worst`, `median` and `best`.
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
    """Return the centres and the pixels of bins that are not empty."""
    edges = np.geomspace(lam[0], lam[-1], most + 1)[1:-1]
    cuts = np.unique([0, *np.searchsorted(lam, edges), len(lam)])
    bins = [slice(a, b) for a, b in pairwise(cuts)]
    return np.array([np.sqrt(lam[b][0] * lam[b][-1]) for b in bins]), bins


def _pairwise_correlation(samples: NDArray) -> NDArray[np.float64]:
    """Return the correlation (b, b) of columns (m, b) that have NaN.

    Each pair of columns over the rows that have both; NaN for less than two.
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

    The mean over spectra, each normalised by its own residuals.
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
    """Return where values first fall to a level, by linear interpolation."""
    below = np.flatnonzero(values <= level)
    if not len(below):
        return float("inf")
    i = below[0]
    if i == 0:
        return float(at[0])
    part = (values[i - 1] - level) / (values[i - 1] - values[i])
    return float(at[i - 1] + part * (at[i] - at[i - 1]))
