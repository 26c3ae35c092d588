"""The summary of errors in all measures: quantiles and mean."""

from dataclasses import dataclass
from typing import Self

import numpy as np
from numpy.typing import NDArray

_LEVELS = (0.5, 0.95, 0.99, 1.0)


@dataclass(frozen=True)
class Quantiles:
    """Quantiles of the absolute value of errors, and their mean.

    Attributes:
        number (int): The number of errors that are not NaN. If it is 0,
            all other values are NaN.
        p50 (float): The median absolute error.
        p95 (float): The 95th percentile.
        p99 (float): The 99th percentile.
        worst (float): The largest absolute error.
        bias (float): The mean error with its sign.
    """

    number: int
    p50: float
    p95: float
    p99: float
    worst: float
    bias: float

    @classmethod
    def from_errors(cls, errors: NDArray) -> Self:
        """Summarise signed errors of any shape, ignoring NaN."""
        known = errors[~np.isnan(errors)]
        if not len(known):
            nan = float("nan")
            return cls(0, nan, nan, nan, nan, nan)
        p50, p95, p99, worst = map(float, np.quantile(np.abs(known), _LEVELS))
        bias = float(known.mean(dtype=np.float64))
        return cls(len(known), p50, p95, p99, worst, bias)
