"""Fractional errors of emulated spectra and lines, and their quantiles.

Errors are emulated / true - 1 in scored pixels: those within the scored
region and brighter than a fraction of the peak of their spectrum.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

# The scored region of spectra, in Angstrom, and the fraction of the peak of a
# spectrum below which pixels are not scored (docs/accuracy).
SCORED_LAM = (912.0, 1e5)
SCORED_FLOOR = 1e-5

# Lines fainter than this fraction of the brightest are not scored.
SCORED_LINE_FLOOR = 1e-3


@dataclass(frozen=True)
class ErrorSummary:
    """Quantiles of the absolute fractional error of an emission.

    Attributes:
        mean_median (float): The median over spectra of the mean over pixels.
        mean_p95 (float): The 95th percentile over spectra of this mean.
        mean_max (float): The largest of these means.
        p50 (float): The median over all pixels of all spectra.
        p95 (float): The 95th percentile over all pixels.
        p99 (float): The 99th percentile.
        p999 (float): The 99.9th percentile.
        worst (float): The largest error.
        spectra (int): The number of spectra with scored pixels.
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
    """Return the mask of the scored wavelengths.

    Args:
        lam (np.ndarray of float): Wavelengths in Angstrom, (n,).

    Returns:
        np.ndarray of bool: The mask, (n,), of all wavelengths if none is in
            `SCORED_LAM`.
    """
    inside = (lam >= SCORED_LAM[0]) & (lam <= SCORED_LAM[1])
    return inside if inside.any() else np.ones_like(inside)


def is_bright(
    values: NDArray, floor: float = SCORED_FLOOR
) -> NDArray[np.bool_]:
    """Return the mask of values brighter than a fraction of the peak.

    Args:
        values (np.ndarray of float): Spectra or lines, (..., n).
        floor (float): The fraction of the peak along the last dimension.

    Returns:
        np.ndarray of bool: The mask, (..., n).
    """
    return np.asarray(values > floor * values.max(axis=-1, keepdims=True))


def fractional_residuals(
    emulated: NDArray, true: NDArray, floor: float = SCORED_FLOOR
) -> NDArray[np.float32]:
    """Return emulated / true - 1 where bright, NaN elsewhere.

    Args:
        emulated (np.ndarray of float): Emulated values, (..., n).
        true (np.ndarray of float): True values, (..., n).
        floor (float): The fraction of the peak of each spectrum below which
            values are not scored.

    Returns:
        np.ndarray of float: The residuals, (..., n); infinite where the
            emulated value is NaN.
    """
    bright = is_bright(true, floor)
    residuals = np.full(true.shape, np.nan, np.float32)
    errors = emulated[bright] / true[bright] - 1.0
    residuals[bright] = np.where(np.isnan(errors), np.inf, errors)
    return residuals


def mean_errors(residuals: NDArray) -> NDArray[np.float64]:
    """Return the mean absolute residual of each spectrum, (...,).

    The mean of `fractional_residuals` (..., n) is NaN for a spectrum without
    scored pixels.
    """
    return mean_residuals(np.abs(residuals))


def mean_residuals(residuals: NDArray) -> NDArray[np.float64]:
    """Return the mean signed residual of each spectrum, (...,)."""
    counted = np.count_nonzero(~np.isnan(residuals), axis=-1)
    total = np.nansum(residuals, axis=-1, dtype=np.float64)
    return np.where(counted > 0, total / np.maximum(counted, 1), np.nan)


def summarise(residuals: NDArray) -> ErrorSummary | None:
    """Return the quantiles of residuals (..., n), None if no pixel is scored.

    The residuals are those of `fractional_residuals`.
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
    """Return the quantiles of the errors of spectra or lines.

    Args:
        emulated (np.ndarray of float): Emulated values, (..., n).
        true (np.ndarray of float): True values, (..., n).
        floor (float): The fraction of the peak of each spectrum below which
            values are not scored.

    Returns:
        ErrorSummary: The quantiles; None without scored pixels.
    """
    return summarise(fractional_residuals(emulated, true, floor))
