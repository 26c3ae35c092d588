"""Linear bases of spectra by principal component analysis."""

from dataclasses import dataclass

import numpy as np
import scipy.linalg
from numpy.typing import NDArray


@dataclass(frozen=True)
class LinearBasis:
    """A mean and orthonormal components.

    Attributes:
        mean (np.ndarray of float): Shape (n,).
        components (np.ndarray of float): Shape (k, n), by falling variance.
        variances (np.ndarray of float): The variance along each, (k,).
    """

    mean: NDArray[np.float64]
    components: NDArray[np.float64]
    variances: NDArray[np.float64]

    def coefficients(
        self, samples: NDArray[np.float64]
    ) -> NDArray[np.float64]:
        """Project samples (m, n) onto the components, giving (m, k)."""
        return (samples - self.mean) @ self.components.T


def principal_components(samples: NDArray[np.float64], k: int) -> LinearBasis:
    """Return the `k` leading principal components of samples.

    Diagonalises the smaller of the two Gram matrices, in float64.

    Args:
        samples (np.ndarray of float): Shape (m, n).
        k (int): How many; fewer come back where the samples span less.

    Returns:
        LinearBasis: The basis.
    """
    mean = samples.mean(axis=0)
    centred = samples - mean
    m, n = centred.shape
    gram = centred @ centred.T if m <= n else centred.T @ centred
    k = min(k, len(gram))
    variances, vectors = scipy.linalg.eigh(
        gram, subset_by_index=(len(gram) - k, len(gram) - 1)
    )
    # Directions below the rounding of the largest are noise.
    order = np.arange(k)[::-1]
    order = order[variances[order] > variances[-1] * 1e-14]
    if len(order) == 0:
        order = np.array([k - 1])
    vectors = vectors[:, order].T
    components = vectors @ centred if m <= n else vectors
    norms = np.linalg.norm(components, axis=1, keepdims=True)
    components = components / np.where(norms > 0, norms, 1.0)
    return LinearBasis(mean, components, variances[order] / m)
