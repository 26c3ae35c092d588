"""Errors of emulated emissions, as numbers.

All are fractional, |emulated / true - 1|, over the values that matter:
those brighter than a part of their own spectrum's peak.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

# The wavelengths in Angstrom over which spectra are judged, and the part
# of a spectrum's peak below which a pixel does not count (docs/accuracy).
JUDGED_LAM = (912.0, 1e5)
JUDGED_FLOOR = 1e-5

# Lines fainter than this part of the brightest do not count.
JUDGED_LINE_FLOOR = 1e-3


@dataclass(frozen=True)
class ErrorSummary:
    """Quantiles of the fractional error of one emission.

    Attributes:
        mean_median (float): The median over spectra of the mean over
            pixels.
        mean_p95 (float): The 95th percentile of the same.
        p50 (float): The median over all pixels of all spectra.
        p95 (float): Their 95th percentile.
        p99 (float): Their 99th percentile.
        worst (float): The largest of all.
        spectra (int): How many spectra were judged.
    """

    mean_median: float
    mean_p95: float
    p50: float
    p95: float
    p99: float
    worst: float
    spectra: int


def judged_region(lam: NDArray[np.float64]) -> NDArray[np.bool_]:
    """Return which wavelengths in Angstrom (n,) count; all if none would."""
    inside = (lam >= JUDGED_LAM[0]) & (lam <= JUDGED_LAM[1])
    return inside if inside.any() else np.ones_like(inside)


def summarise_errors(
    emulated: NDArray, true: NDArray, floor: float = JUDGED_FLOOR
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
    n = true.shape[-1]
    emulated, true = emulated.reshape(-1, n), true.reshape(-1, n)
    bright = true > floor * true.max(axis=-1, keepdims=True)
    lit = bright.any(axis=-1)
    if not lit.any():
        return None
    emulated, true, bright = emulated[lit], true[lit], bright[lit]
    errors = np.zeros(true.shape, np.float32)
    errors[bright] = np.abs(emulated[bright] / true[bright] - 1.0)
    means = errors.sum(axis=-1) / bright.sum(axis=-1)
    pixels = errors[bright]
    p50, p95, p99, worst = np.quantile(pixels, [0.5, 0.95, 0.99, 1.0])
    return ErrorSummary(
        mean_median=float(np.median(means)),
        mean_p95=float(np.quantile(means, 0.95)),
        p50=float(p50),
        p95=float(p95),
        p99=float(p99),
        worst=float(worst),
        spectra=int(lit.sum()),
    )
