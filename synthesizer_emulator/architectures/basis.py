"""Linear bases of spectra by principal component analysis."""

from dataclasses import dataclass

import numpy as np
import scipy.linalg
from numpy.typing import NDArray

# The order of the largest matrix that is diagonalised as it is, which takes
# a minute; of a larger one only the leading directions are looked for.
_EXACT_UP_TO = 3000
_SPARE_DIRECTIONS = 20
_SUBSPACE_ITERATIONS = 3


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

    Diagonalises the smaller of the two Gram matrices, in float64 (in
    float32 its rounding would limit the accuracy).

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
    total = np.sum(scaled**2)
    allowed = tolerance**2 * len(scaled) * np.sum(weights**2)
    if min(scaled.shape) > _EXACT_UP_TO:
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
    """Return a matrix (m, n) in the few directions that make up most of it.

    By subspace iteration from a random start (Halko, Martinsson & Tropp 2011,
    SIAM Rev. 53, 217, algorithm 4.4): shape (k, n), a little more than
    `most`, with the leading singular values and right vectors of the whole.
    """
    rng = np.random.default_rng(0)
    start = rng.normal(size=(matrix.shape[1], most + _SPARE_DIRECTIONS))
    basis, _ = np.linalg.qr(matrix @ start)
    for _ in range(_SUBSPACE_ITERATIONS):
        basis, _ = np.linalg.qr(matrix.T @ basis)
        basis, _ = np.linalg.qr(matrix @ basis)
    return basis.T @ matrix


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


def round_table(
    table: NDArray[np.float64], metric: NDArray[np.float64], step: float
) -> NDArray[np.float64]:
    """Round each column of a table to integers times a power of two.

    Such a table is stored in half the room without any further loss.

    Args:
        table (np.ndarray of float): Shape (..., k).
        metric (np.ndarray of float): What one unit of each column weighs,
            (k,).
        step (float): What the integers count in at most, in these weights.

    Returns:
        np.ndarray of float: The rounded table.
    """
    unit = 2.0 ** np.floor(np.log2(step / metric))
    return np.round(table / unit) * unit


def common_units(table: NDArray[np.float32]) -> NDArray[np.float64]:
    """Return the largest power of two that divides each column, (k,)."""
    mantissa, exponent = np.frexp(table)
    # As integers of 24 bits, of which the lowest that is set counts.
    whole = np.round(mantissa * 2.0**24).astype(np.int64)
    trailing = np.log2(np.where(whole == 0, 1, whole & -whole))
    exponent = np.where(whole == 0, 127, exponent - 24 + trailing)
    return 2.0 ** exponent.reshape(-1, table.shape[-1]).min(axis=0)
