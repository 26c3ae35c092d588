"""Linear bases of spectra by principal component analysis."""

from dataclasses import dataclass

import numpy as np
import scipy.linalg
from numpy.typing import NDArray


@dataclass(frozen=True)
class LinearBasis:
    """A mean and components, orthonormal under weights.

    Attributes:
        mean (np.ndarray of float): Shape (n,).
        components (np.ndarray of float): Shape (k, n), by falling variance.
        weights (np.ndarray of float): What an error of each of the n
            numbers weighs, (n,).
    """

    mean: NDArray[np.float64]
    components: NDArray[np.float64]
    weights: NDArray[np.float64]

    def coefficients(
        self, samples: NDArray[np.float64]
    ) -> NDArray[np.float64]:
        """Project samples (m, n) onto the components, giving (m, k)."""
        squared = self.weights**2
        return (samples - self.mean) @ (squared * self.components).T


def principal_components(
    samples: NDArray[np.float64],
    weights: NDArray[np.float64],
    most: int,
    tolerance: float,
) -> LinearBasis:
    """Return the leading principal components of samples.

    From the leading eigenvectors of the smaller of the two Gram matrices,
    in float64 (in float32 its rounding would limit the accuracy).

    Args:
        samples (np.ndarray of float): Shape (m, n).
        weights (np.ndarray of float): What an error of each of the n
            numbers weighs, positive, (n,).
        most (int): The most components to return.
        tolerance (float): The weighted root mean square of what is left
            out below which no further components are needed.

    Returns:
        LinearBasis: The basis, of at least one component.
    """
    mean = samples.mean(axis=0)
    scaled = (samples - mean) * weights
    m, n = scaled.shape
    gram = scaled @ scaled.T if m <= n else scaled.T @ scaled
    last = len(gram) - 1
    variances, vectors = scipy.linalg.eigh(
        gram, subset_by_index=[max(0, last + 1 - most), last]
    )
    variances, vectors = variances[::-1], vectors[:, ::-1].T
    left_out = gram.trace() - np.cumsum(variances)
    enough = left_out <= tolerance**2 * m * np.sum(weights**2)
    # Directions below the rounding of the largest are noise.
    real = np.count_nonzero(variances > variances[0] * 1e-14)
    needed = int(np.argmax(enough)) + 1 if enough.any() else len(enough)
    k = max(1, min(most, real, needed))
    components = vectors[:k] @ scaled if m <= n else vectors[:k]
    norms = np.linalg.norm(components, axis=1, keepdims=True)
    components = components / np.where(norms > 0, norms, 1.0)
    return LinearBasis(mean, components / weights, weights)


def round_to_int16(matrix: NDArray[np.float64]) -> NDArray[np.float64]:
    """Round each row to 16-bit integers times a power of two.

    Such a matrix is stored in half the room without any further loss.

    Args:
        matrix (np.ndarray of float): Shape (k, n).

    Returns:
        np.ndarray of float: The rounded matrix.
    """
    unit = int16_units(matrix)
    return np.round(matrix / unit) * unit


def int16_units(matrix: NDArray) -> NDArray[np.float64]:
    """Return for each row the power of two that 16 bits count in, (k, 1)."""
    largest = np.abs(matrix).max(axis=1, keepdims=True)
    exponent = np.ceil(np.log2(np.where(largest > 0, largest, 1.0) / 32767.0))
    return 2.0**exponent
