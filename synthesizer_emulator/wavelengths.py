"""Rebinning, cutting and interpolation of wavelengths as sparse linear maps.

`EmulatedGrid` uses them for `new_lam`, `lam_lims` and the continua at
lines, the BC03 source to thin its spectra.
"""

from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from math import prod

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import coo_array, csr_array, eye_array
from synthesizer.exceptions import InconsistentArguments

from synthesizer_emulator.validation import check_wavelengths

# Rows of a product transposed at once: more do not fit a processor's nearest
# cache and take several times as long.
_BLOCK = 64

# Spectra mapped at once.
_ROWS = 256


@dataclass(frozen=True)
class WavelengthMap:
    """A linear map of the last axis, from `n_old` to `n_new` entries.

    Attributes:
        matrix (scipy.sparse.csr_array): The weights, shape (n_new, n_old).
    """

    matrix: csr_array

    def __call__(self, values: NDArray) -> NDArray:
        """Return `values` (..., n_old) mapped to (..., n_new)."""
        # Unlike fancy indexing, take returns a contiguous array.
        return self.apply_to_columns(np.take(values, self.columns, axis=-1))

    def after(self, first: "WavelengthMap") -> "WavelengthMap":
        """Return the composition: `first`, then this map."""
        return WavelengthMap(csr_array(self.matrix @ first.matrix))

    @cached_property
    def columns(self) -> NDArray[np.intp]:
        """The old entries with a weight, ascending or as selected."""
        if self.is_selection:
            return self.matrix.indices
        return np.unique(self.matrix.indices)

    @cached_property
    def is_selection(self) -> bool:
        """Whether every new entry equals one of the old ones."""
        one_each = np.array_equal(
            self.matrix.indptr, np.arange(self.matrix.shape[0] + 1)
        )
        return one_each and bool(np.all(self.matrix.data == 1.0))

    def apply_to_columns(self, values: NDArray) -> NDArray:
        """Return the new values, given the old entries `columns` (..., n)."""
        if self.is_selection:
            return values
        matrix = csr_array(self.matrix[:, self.columns])
        # Not -1: there may be no entries at all.
        flat = values.reshape(prod(values.shape[:-1]), values.shape[-1])
        mapped = np.empty((len(flat), matrix.shape[0]), values.dtype)
        for first in range(0, len(flat), _ROWS):
            rows = slice(first, first + _ROWS)
            _fill(mapped, rows, matrix, flat[rows])
        return mapped.reshape(*values.shape[:-1], matrix.shape[0])

    def sparse_writer(
        self, nonzero: NDArray[np.intp]
    ) -> Callable[[NDArray, NDArray[np.intp], NDArray], None]:
        """Return a function that maps values of which most are zero.

        Args:
            nonzero (np.ndarray of int): Indices into `columns` of the old
                entries that are not zero, (n,).

        Returns:
            function: Takes a target of zeros (m, n_new), the indices of
                rows of it (p,), and their nonzero old entries (p, n);
                writes the new values into these rows.
        """
        if not self.is_selection:
            matrix = csr_array(self.matrix[:, self.columns[nonzero]])

            def fill(target: NDArray, rows: NDArray, old: NDArray) -> None:
                _fill(target, rows, matrix, old)

        elif len(nonzero) and nonzero[-1] - nonzero[0] == len(nonzero) - 1:

            def fill(target: NDArray, rows: NDArray, old: NDArray) -> None:
                target[rows, nonzero[0] : nonzero[-1] + 1] = old

        else:

            def fill(target: NDArray, rows: NDArray, old: NDArray) -> None:
                target[np.ix_(rows, nonzero)] = old

        return fill


def _fill(
    target: NDArray,
    rows: NDArray[np.intp] | slice,
    matrix: csr_array,
    old: NDArray,
) -> None:
    """Write the products of a matrix with values into rows of a target.

    Args:
        target (np.ndarray): The target, (m, n_new).
        rows (np.ndarray of int): The indices of the rows, (p,).
        matrix (scipy.sparse.csr_array): The matrix, (n_new, n_old).
        old (np.ndarray): The values, (p, n_old).
    """
    mapped = matrix.astype(old.dtype, copy=False) @ old.T
    for first in range(0, len(mapped), _BLOCK):
        block = slice(first, first + _BLOCK)
        target[rows, block] = mapped[block].T


def identity(n: int) -> WavelengthMap:
    """Return the identity map of `n` entries."""
    return WavelengthMap(csr_array(eye_array(n, format="csr")))


def selection(indices: NDArray[np.intp], n: int) -> WavelengthMap:
    """Return the map that selects `indices` from `n` entries."""
    rows = np.arange(len(indices))
    matrix = coo_array(
        (np.ones(len(indices)), (rows, indices)), shape=(len(indices), n)
    )
    return WavelengthMap(csr_array(matrix))


def bin_edges(lam: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return the edges (n + 1,) of bins centred on wavelengths (n,).

    Inner edges lie midway between neighbours; the outermost bins are as
    wide as the spacing beside them (Carnall 2017, arXiv:1705.05165).
    """
    middle = 0.5 * (lam[1:] + lam[:-1])
    first = lam[0] - 0.5 * (lam[1] - lam[0])
    last = lam[-1] + 0.5 * (lam[-1] - lam[-2])
    return np.concatenate([[first], middle, [last]])


def flux_conserving(
    lam: NDArray[np.float64], new_lam: NDArray[np.float64]
) -> WavelengthMap:
    """Return the map that rebins densities from `lam` onto `new_lam`.

    Each new bin gets the mean of the old bins that it overlaps, weighted
    by the overlap, as in SpectRes (Carnall 2017, arXiv:1705.05165), which
    Synthesizer uses; new bins that reach outside the old range get zero.

    Args:
        lam (np.ndarray of float): The old wavelengths, ascending, (n_old,).
        new_lam (np.ndarray of float): The new ones, ascending, (n_new,).

    Returns:
        WavelengthMap: The map from (..., n_old) to (..., n_new).

    Raises:
        InconsistentArguments: If either has fewer than two wavelengths, or
            they are not positive, finite and ascending.
    """
    old_edges = _checked_edges("The wavelengths to rebin from", lam)
    new_edges = _checked_edges("The new wavelengths", new_lam)
    cuts = np.union1d(old_edges, new_edges)
    middles = 0.5 * (cuts[1:] + cuts[:-1])
    old = np.searchsorted(old_edges, middles) - 1
    new = np.searchsorted(new_edges, middles) - 1
    covered = (new_edges[:-1] >= old_edges[0]) & (
        new_edges[1:] <= old_edges[-1]
    )
    keep = (old >= 0) & (old < len(lam)) & (new >= 0) & (new < len(new_lam))
    keep[keep] &= covered[new[keep]]
    weights = np.diff(cuts)[keep] / np.diff(new_edges)[new[keep]]
    matrix = coo_array(
        (weights, (new[keep], old[keep])), shape=(len(new_lam), len(lam))
    )
    return WavelengthMap(csr_array(matrix))


def _checked_edges(what: str, lam: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return the edges of bins after a check that each has a width."""
    check_wavelengths(what, lam, 2)
    edges = bin_edges(lam)
    if not np.all(np.diff(edges) > 0.0):
        raise InconsistentArguments(
            f"{what} have a bin of zero width: two equal values at an end, or "
            "three in a row. Remove duplicates, e.g. with numpy.unique."
        )
    return edges


def linear_interpolation(
    lam: NDArray[np.float64], points: NDArray[np.float64]
) -> WavelengthMap:
    """Return the map that interpolates linearly; zero outside `lam`.

    Args:
        lam (np.ndarray of float): The wavelengths, ascending, (n_old,).
        points (np.ndarray of float): The new wavelengths, (n_new,).

    Returns:
        WavelengthMap: The map from (..., n_old) to (..., n_new).
    """
    inside = np.flatnonzero((points >= lam[0]) & (points <= lam[-1]))
    x = points[inside]
    upper = np.clip(np.searchsorted(lam, x), min(1, len(lam) - 1), None)
    lower = np.maximum(upper - 1, 0)
    step = lam[upper] - lam[lower]
    part = (x - lam[lower]) / np.where(step > 0.0, step, 1.0)
    matrix = coo_array(
        (
            np.concatenate([1.0 - part, part]),
            (
                np.concatenate([inside, inside]),
                np.concatenate([lower, upper]),
            ),
        ),
        shape=(len(points), len(lam)),
    )
    return WavelengthMap(csr_array(matrix))
