"""Errors of emulated emissions, as numbers.

All are fractional, |emulated / true - 1|, over the values that matter:
those brighter than a part of their own spectrum's peak.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

# The wavelengths in Angstrom over which spectra are scored, and the part
# of a spectrum's peak below which a pixel does not count (docs/accuracy).
SCORED_LAM = (912.0, 1e5)
SCORED_FLOOR = 1e-5

# Lines fainter than this part of the brightest do not count.
SCORED_LINE_FLOOR = 1e-3


@dataclass(frozen=True)
class ErrorSummary:
    """Quantiles of the fractional error of one emission.

    Attributes:
        mean_median (float): The median over spectra of the mean over
            pixels.
        mean_p95 (float): The 95th percentile of the same.
        mean_max (float): The largest of the same.
        p50 (float): The median over all pixels of all spectra.
        p95 (float): Their 95th percentile.
        p99 (float): Their 99th percentile.
        p999 (float): Their 99.9th percentile.
        worst (float): The largest of all.
        spectra (int): How many spectra were scored.
    """

    mean_median: float
    mean_p95: float
    mean_max: float
    p50: float
    p95: float
    p99: float
    p999: float
    worst: float
    spectra: int


def scored_region(lam: NDArray[np.float64]) -> NDArray[np.bool_]:
    """Return which wavelengths in Angstrom (n,) count; all if none would."""
    inside = (lam >= SCORED_LAM[0]) & (lam <= SCORED_LAM[1])
    return inside if inside.any() else np.ones_like(inside)


def is_bright(
    values: NDArray, floor: float = SCORED_FLOOR
) -> NDArray[np.bool_]:
    """Return which values (..., n) count beside their spectrum's peak.

    Args:
        values (np.ndarray of float): Shape (..., n).
        floor (float): The part of the peak above which a value counts.

    Returns:
        np.ndarray of bool: The same shape.
    """
    return np.asarray(values > floor * values.max(axis=-1, keepdims=True))


def fractional_residuals(
    emulated: NDArray, true: NDArray, floor: float = SCORED_FLOOR
) -> NDArray[np.float32]:
    """Return emulated / true - 1 where a value counts, NaN elsewhere.

    An emulated value that is no number is infinitely wrong.

    Args:
        emulated (np.ndarray of float): Shape (..., n).
        true (np.ndarray of float): The same shape.
        floor (float): The part of a spectrum's peak above which a value
            counts.

    Returns:
        np.ndarray of float: The same shape.
    """
    bright = is_bright(true, floor)
    residuals = np.full(true.shape, np.nan, np.float32)
    found = emulated[bright] / true[bright] - 1.0
    residuals[bright] = np.where(np.isnan(found), np.inf, found)
    return residuals


def mean_errors(residuals: NDArray) -> NDArray[np.float64]:
    """Return the mean size of each spectrum's residuals, NaN of none.

    Args:
        residuals (np.ndarray of float): As `fractional_residuals` gives
            them, (..., n).

    Returns:
        np.ndarray of float: Shape (...,).
    """
    return mean_residuals(np.abs(residuals))


def mean_residuals(residuals: NDArray) -> NDArray[np.float64]:
    """Return the same of the residuals with their signs."""
    counted = np.count_nonzero(~np.isnan(residuals), axis=-1)
    total = np.nansum(residuals, axis=-1, dtype=np.float64)
    return np.where(counted > 0, total / np.maximum(counted, 1), np.nan)


def summarise(residuals: NDArray) -> ErrorSummary | None:
    """Summarise residuals as `fractional_residuals` gives them, (..., n).

    Returns:
        ErrorSummary: The quantiles; None if nothing counts.
    """
    means = mean_errors(residuals)
    means = means[~np.isnan(means)]
    if not len(means):
        return None
    pixels = np.abs(residuals[~np.isnan(residuals)])
    levels = [0.5, 0.95, 0.99, 0.999, 1.0]
    p50, p95, p99, p999, worst = np.quantile(pixels, levels)
    return ErrorSummary(
        mean_median=float(np.median(means)),
        mean_p95=float(np.quantile(means, 0.95)),
        mean_max=float(means.max()),
        p50=float(p50),
        p95=float(p95),
        p99=float(p99),
        p999=float(p999),
        worst=float(worst),
        spectra=len(means),
    )


def summarise_errors(
    emulated: NDArray, true: NDArray, floor: float = SCORED_FLOOR
) -> ErrorSummary | None:
    """Summarise the errors of spectra or lines.

    Args:
        emulated (np.ndarray of float): Shape (..., n).
        true (np.ndarray of float): The same shape.
        floor (float): The part of a spectrum's peak above which a value
            counts.

    Returns:
        ErrorSummary: The quantiles; None if nothing is bright enough.
    """
    return summarise(fractional_residuals(emulated, true, floor))
