"""Weighted samples of a posterior in the unit hypercube."""

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True, eq=False)
class Samples:
    """What a sampler returns.

    Attributes:
        points (np.ndarray of float): Points of the unit hypercube, (n, d).
        weights (np.ndarray of float): Their weights, with a sum of one, (n,).
        log_likelihood (np.ndarray of float): At the points, (n,).
        log_evidence (float): The logarithm of the evidence; NaN if the
            sampler does not give it.
        diagnostics (dict): Numbers that describe the run, by name.
        warnings (tuple of str): What is wrong with the run, if anything.
        independent (float): The effective number of independent samples; that
            of the weights by default.
        is_posterior (bool): Whether they are samples of the posterior, not
            only its maximum.
    """

    points: NDArray[np.float64]
    weights: NDArray[np.float64]
    log_likelihood: NDArray[np.float64]
    log_evidence: float
    diagnostics: dict[str, Any]
    warnings: tuple[str, ...] = ()
    independent: float | None = None
    is_posterior: bool = True

    def __len__(self) -> int:
        """The number of samples."""
        return len(self.points)

    @property
    def effective_size(self) -> float:
        """The effective number of independent samples (Kish 1965)."""
        if self.independent is not None:
            return self.independent
        return float(1.0 / np.sum(np.square(self.weights)))
