"""Rebinning, selection and interpolation of spectra as sparse linear maps.

Also the gaps between wavelengths.

`EmulatedGrid` uses the maps for `new_lam`, `lam_lims` and the continua at
lines; the BC03 grids use them for thinning.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import pairwise
from math import prod

import numpy as np
from numpy.lib.stride_tricks import sliding_window_view
from numpy.typing import NDArray
from scipy.sparse import coo_array, csr_array, eye_array
from synthesizer.exceptions import InconsistentArguments

from synthesizer_emulator.validation import check_wavelengths

# The number of rows of a product transposed at once. More do not fit the L1
# cache of a CPU and take several times as long.
_BLOCK = 64

# The number of spectra mapped at once.
_ROWS = 256

# A step in ln wavelength that is larger than those around it by this factor is
# a gap: the smaller one if it is known to be between two windows.
_GAP, _GAP_OF_WINDOWS = 10.0, 2.0

# The number of steps on each side with whose median a step is compared.
_AROUND = 5

# The error of the ends of windows that were converted from other units.
_ROUNDING = 1e-9


@dataclass(frozen=True)
class WavelengthMap:
    """A linear map of the last axis, from `n_old` to `n_new` entries.

    Attributes:
        matrix (scipy.sparse.csr_array): The weights, shape (n_new, n_old).
    """

    matrix: csr_array

    def __call__(self, values: NDArray) -> NDArray:
        """Map `values` from (..., n_old) to (..., n_new)."""
        # Unlike fancy indexing, take returns a contiguous array.
        return self.apply_to_columns(np.take(values, self.columns, axis=-1))

    def after(self, first: "WavelengthMap") -> "WavelengthMap":
        """Return the map that applies `first` and then this map."""
        return WavelengthMap(csr_array(self.matrix @ first.matrix))

    @cached_property
    def columns(self) -> NDArray[np.intp]:
        """The indices of old entries in use, ascending or as selected."""
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
        """Map only the old entries at `columns`, (..., n), to (..., n_new)."""
        if self.is_selection:
            return values
        matrix = csr_array(self.matrix[:, self.columns])
        # A size of -1 would fail for empty arrays.
        flat = values.reshape(prod(values.shape[:-1]), values.shape[-1])
        mapped = np.empty((len(flat), matrix.shape[0]), values.dtype)
        for first in range(0, len(flat), _ROWS):
            rows = slice(first, first + _ROWS)
            _fill(mapped, rows, matrix, flat[rows])
        return mapped.reshape(*values.shape[:-1], matrix.shape[0])

    def sparse_writer(
        self, nonzero: NDArray[np.intp]
    ) -> Callable[[NDArray, NDArray[np.intp], NDArray], None]:
        """Return a function that maps spectra with few nonzero entries.

        Args:
            nonzero (np.ndarray of int): Indices into `columns` of the old
                entries that are not zero, (n,).

        Returns:
            function: Takes a target of zeros (m, n_new), the indices of
                target rows (p,), and the nonzero old entries (p, n) of these
                rows; writes the new values to the rows.
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
    """Map old entries (p, n_old) to rows (p,) of a target (m, n_new)."""
    mapped = matrix.astype(old.dtype, copy=False) @ old.T
    for first in range(0, len(mapped), _BLOCK):
        block = slice(first, first + _BLOCK)
        target[rows, block] = mapped[block].T


def identity(n: int) -> WavelengthMap:
    """Return the identity map for `n` entries."""
    return WavelengthMap(csr_array(eye_array(n, format="csr")))


def selection(indices: NDArray[np.intp], n: int) -> WavelengthMap:
    """Return the map that selects `indices` from `n` entries."""
    rows = np.arange(len(indices))
    matrix = coo_array(
        (np.ones(len(indices)), (rows, indices)), shape=(len(indices), n)
    )
    return WavelengthMap(csr_array(matrix))


def pieces(
    lam: NDArray[np.float64], windows: Sequence[tuple[float, float]] = ()
) -> list[slice]:
    """Return the ranges of wavelengths between which there are gaps.

    A gap is a step in ln wavelength that is larger than those on both sides of
    it, so that a change of the spacing is none.

    Args:
        lam (np.ndarray of float): The wavelengths, ascending, (n,).
        windows (sequence of tuple): The windows from which they are, if known,
            in the same units, ascending and apart.

    Returns:
        list of slice: The wavelengths of each range; all without a gap.

    Examples:
        >>> import numpy as np
        >>> blue, red = np.arange(10.0, 40.0), np.arange(70.0, 90.0)
        >>> lam = np.concatenate([blue, red])
        >>> pieces(lam)
        [slice(0, 30, None), slice(30, 50, None)]
    """
    if len(lam) < 3:
        return [slice(0, len(lam))]
    steps = np.diff(np.log(lam))
    # At the ends the outermost steps are repeated, so that they are no gaps.
    padded = np.pad(steps, _AROUND, mode="edge")
    near = sliding_window_view(padded, 2 * _AROUND + 1)
    around = np.maximum(
        np.median(near[:, :_AROUND], axis=1),
        np.median(near[:, _AROUND + 1 :], axis=1),
    )
    starts = np.array([low for low, _ in windows]) * (1.0 - _ROUNDING)
    window = np.searchsorted(starts, lam, side="right")
    least = np.where(np.diff(window) > 0, _GAP_OF_WINDOWS, _GAP)
    cuts = np.flatnonzero(steps > least * around) + 1
    edges = [0, *map(int, cuts), len(lam)]
    return [slice(*ends) for ends in pairwise(edges)]


def gaps(
    lam: NDArray[np.float64], windows: Sequence[tuple[float, float]] = ()
) -> list[tuple[float, float]]:
    """Return the ends of the gaps between wavelengths, as in `pieces`."""
    cuts = [piece.start for piece in pieces(lam, windows)[1:]]
    return [(float(lam[cut - 1]), float(lam[cut])) for cut in cuts]


def broken(
    lam: NDArray[np.float64],
    values: NDArray,
    windows: Sequence[tuple[float, float]] = (),
) -> tuple[NDArray[np.float64], NDArray]:
    """Return wavelengths and values for a line that is broken in gaps.

    Args:
        lam (np.ndarray of float): The wavelengths, ascending, (n,).
        values (np.ndarray): The values, (..., n).
        windows (sequence of tuple): As in `pieces`.

    Returns:
        tuple of np.ndarray: The same, with NaN within each gap.
    """
    return break_at(lam, values, [p.start for p in pieces(lam, windows)[1:]])


def break_at(
    lam: NDArray[np.float64], values: NDArray, cuts: Sequence[int]
) -> tuple[NDArray[np.float64], NDArray]:
    """Return the same as `broken`, where the first after each gap is known."""
    middles = np.sqrt(lam[list(cuts)] * lam[[cut - 1 for cut in cuts]])
    return (
        np.insert(lam, cuts, middles),
        np.insert(values.astype(float), cuts, np.nan, axis=-1),
    )


def bin_edges(lam: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return the edges (n + 1,) of bins centred on wavelengths (n,).

    Inner edges lie midway between neighbours; the outermost bins are as
    wide as the adjacent spacing (Carnall 2017, arXiv:1705.05165).
    """
    middle = 0.5 * (lam[1:] + lam[:-1])
    first = lam[0] - 0.5 * (lam[1] - lam[0])
    last = lam[-1] + 0.5 * (lam[-1] - lam[-2])
    return np.concatenate([[first], middle, [last]])


def flux_conserving(
    lam: NDArray[np.float64], new_lam: NDArray[np.float64]
) -> WavelengthMap:
    """Return the map that rebins flux densities from `lam` onto `new_lam`.

    The value in a new bin is the mean of the old bins that it overlaps,
    weighted by the overlap, as in SpectRes (Carnall 2017, arXiv:1705.05165),
    which Synthesizer uses. It is zero in bins that extend beyond the old ones.

    Args:
        lam (np.ndarray of float): The old wavelengths, ascending, (n_old,).
        new_lam (np.ndarray of float): The new wavelengths, ascending,
            (n_new,).

    Raises:
        InconsistentArguments: If there are fewer than two old or new
            wavelengths, or they are not positive, finite and ascending.
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
    """Return the bin edges of wavelengths; raise if a bin has zero width."""
    check_wavelengths(what, lam, 2)
    edges = bin_edges(lam)
    if not np.all(np.diff(edges) > 0.0):
        raise InconsistentArguments(
            f"{what} must not have bins of zero width, got two equal values "
            "at an end or three in a row. Remove duplicates, e.g. with "
            "numpy.unique."
        )
    return edges


def linear_interpolation(
    lam: NDArray[np.float64], points: NDArray[np.float64]
) -> WavelengthMap:
    """Return the map that interpolates linearly to points; zero outside `lam`.

    Args:
        lam (np.ndarray of float): The wavelengths, ascending, (n_old,).
        points (np.ndarray of float): The new wavelengths, (n_new,).
    """
    inside = np.flatnonzero((points >= lam[0]) & (points <= lam[-1]))
    x = points[inside]
    upper = np.clip(np.searchsorted(lam, x), min(1, len(lam) - 1), None)
    lower = np.maximum(upper - 1, 0)
    step = lam[upper] - lam[lower]
    weight = (x - lam[lower]) / np.where(step > 0.0, step, 1.0)
    matrix = coo_array(
        (
            np.concatenate([1.0 - weight, weight]),
            (
                np.concatenate([inside, inside]),
                np.concatenate([lower, upper]),
            ),
        ),
        shape=(len(points), len(lam)),
    )
    return WavelengthMap(csr_array(matrix))
