"""Linear bases of spectra by principal component analysis."""

from dataclasses import dataclass

import numpy as np
import scipy.linalg
from numpy.typing import NDArray

# The order of the largest matrix that is diagonalised exactly, which takes a
# minute. Of larger ones only the leading directions are computed, with some
# to spare.
EXACT_UP_TO = 3000
SPARE_DIRECTIONS = 20
_SUBSPACE_ITERATIONS = 3


@dataclass(frozen=True)
class LinearBasis:
    """A mean and components that are orthonormal under weights.

    Attributes:
        mean (np.ndarray of float): The mean of the samples, (n,).
        components (np.ndarray of float): The components in order of falling
            variance, (k, n).
        weights (np.ndarray of float): The weight of an error in each of
            the n numbers, (n,).
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
    """Compute the leading principal components of samples.

    Diagonalises the smaller of the two Gram matrices, in float64: in
    float32 rounding would limit the accuracy.

    Args:
        samples (np.ndarray of float): The samples, (m, n).
        weights (np.ndarray of float): The weight of an error in each of
            the n numbers, positive, (n,).
        most (int): The largest number of components.
        tolerance (float): The weighted root mean square of the residuals
            below which no further components are needed.

    Returns:
        LinearBasis: The basis, with at least one component.
    """
    mean = samples.mean(axis=0)
    scaled = (samples - mean) * weights
    total = np.sum(scaled**2)
    allowed = tolerance**2 * len(scaled) * np.sum(weights**2)
    if min(scaled.shape) > EXACT_UP_TO:
        scaled = _along_leading_directions(scaled, most)
    m, n = scaled.shape
    gram = scaled @ scaled.T if m <= n else scaled.T @ scaled
    variances, vectors = scipy.linalg.eigh(gram)
    variances, vectors = variances[::-1], vectors[:, ::-1].T
    enough = total - np.cumsum(variances) <= allowed
    # Directions below the rounding of the largest are noise.
    real = np.count_nonzero(variances > variances[0] * 1e-14)
    needed = int(np.argmax(enough)) + 1 if enough.any() else len(enough)
    k = max(1, min(most, real, needed))
    components = vectors[:k] @ scaled if m <= n else vectors[:k]
    norms = np.linalg.norm(components, axis=1, keepdims=True)
    components = components / np.where(norms > 0, norms, 1.0)
    return LinearBasis(mean, components / weights, weights)


def _along_leading_directions(
    matrix: NDArray[np.float64], most: int
) -> NDArray[np.float64]:
    """Project a matrix (m, n) onto its leading left singular directions.

    By subspace iteration from a random start (Halko, Martinsson & Tropp
    2011, SIAM Rev. 53, 217, algorithm 4.4). The result (k, n), with k a
    little larger than `most`, has the leading singular values and right
    singular vectors of the matrix.
    """
    rng = np.random.default_rng(0)
    start = rng.normal(size=(matrix.shape[1], most + SPARE_DIRECTIONS))
    basis, _ = np.linalg.qr(matrix @ start)
    for _ in range(_SUBSPACE_ITERATIONS):
        basis, _ = np.linalg.qr(matrix.T @ basis)
        basis, _ = np.linalg.qr(matrix @ basis)
    return basis.T @ matrix
