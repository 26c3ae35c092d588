"""Linear bases of spectra by principal component analysis."""

from dataclasses import dataclass

import numpy as np
import scipy.linalg
from numpy.typing import NDArray

# The order of the largest matrix that is diagonalised exactly, which takes a
# minute. For larger ones only the leading directions are computed, and a few
# more for accuracy.
EXACT_UP_TO = 3000
SPARE_DIRECTIONS = 20
_SUBSPACE_ITERATIONS = 3


@dataclass(frozen=True)
class LinearBasis:
    """A linear basis: a mean, and components orthonormal in a weighted norm.

    Attributes:
        mean (np.ndarray of float): The mean of the samples, (n,).
        components (np.ndarray of float): The components in order of
            decreasing variance, (k, n).
        weights (np.ndarray of float): The weight of an error in each
            column, (n,).
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
    max_components: int,
    tolerance: float,
) -> LinearBasis:
    """Compute the leading principal components of samples.

    The smaller of the two Gram matrices is diagonalised in float64, as
    rounding in float32 would limit the accuracy.

    Args:
        samples (np.ndarray of float): The samples, (m, n).
        weights (np.ndarray of float): The weight of an error in each
            column, positive, (n,).
        max_components (int): The largest number of components.
        tolerance (float): The weighted root mean square of the residuals
            below which further components are left out.

    Returns:
        LinearBasis: The basis, with at least one component.
    """
    mean = samples.mean(axis=0)
    scaled = (samples - mean) * weights
    total = np.sum(scaled**2)
    allowed = tolerance**2 * len(scaled) * np.sum(weights**2)
    if min(scaled.shape) > EXACT_UP_TO:
        scaled = _along_leading_directions(scaled, max_components)
    m, n = scaled.shape
    gram = scaled @ scaled.T if m <= n else scaled.T @ scaled
    variances, vectors = scipy.linalg.eigh(gram)
    variances, vectors = variances[::-1], vectors[:, ::-1].T
    enough = total - np.cumsum(variances) <= allowed
    # Smaller variances are rounding errors of the largest.
    significant = np.count_nonzero(variances > variances[0] * 1e-14)
    needed = int(np.argmax(enough)) + 1 if enough.any() else len(enough)
    k = max(1, min(max_components, significant, needed))
    components = vectors[:k] @ scaled if m <= n else vectors[:k]
    norms = np.linalg.norm(components, axis=1, keepdims=True)
    components = components / np.where(norms > 0, norms, 1.0)
    return LinearBasis(mean, components / weights, weights)


def _along_leading_directions(
    matrix: NDArray[np.float64], n_directions: int
) -> NDArray[np.float64]:
    """Project a matrix (m, n) onto its leading left singular vectors.

    Uses subspace iteration from a random start (Halko, Martinsson & Tropp
    2011, SIAM Rev. 53, 217, algorithm 4.4). The result (k, n), with k slightly
    larger than `n_directions`, has the leading singular values and right
    singular vectors of the matrix.
    """
    rng = np.random.default_rng(0)
    k = n_directions + SPARE_DIRECTIONS
    start = rng.normal(size=(matrix.shape[1], k))
    basis, _ = np.linalg.qr(matrix @ start)
    for _ in range(_SUBSPACE_ITERATIONS):
        basis, _ = np.linalg.qr(matrix.T @ basis)
        basis, _ = np.linalg.qr(matrix @ basis)
    return basis.T @ matrix
