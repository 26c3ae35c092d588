"""Dictionaries of emissions that are evaluated on first access.

They replace the dictionaries `spectra`, `line_lums` and `line_conts` of
Synthesizer's `Grid`.
"""

import copy
from abc import ABC, abstractmethod
from collections.abc import (
    Callable,
    Iterable,
    Iterator,
    Mapping,
    MutableMapping,
)
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray
from synthesizer.exceptions import MissingSpectraType
from synthesizer.utils.precision import max_abs
from synthesizer.utils.util_funcs import as_contiguous
from unyt import Unit, unyt_array

from synthesizer_emulator.digests import digest, sketch
from synthesizer_emulator.forking import settle_before_forks
from synthesizer_emulator.validation import nearest
from synthesizer_emulator.wavelengths import WavelengthMap
from synthesizer_emulator.weights.points import PointArrays

# The largest array to evaluate before the process forks, in bytes.
_LARGEST = 2**30

# The largest relative difference between evaluations of the same spectrum.
_TOLERANCE = 1e-4


class MissingEmissionError(MissingSpectraType, KeyError):
    """The error for an emission that a grid does not have."""


class LazyEmissions(MutableMapping, ABC):
    """A dictionary of arrays that are evaluated on first access.

    Evaluated arrays are kept. They can be replaced and deleted, as in any
    dictionary, and copied and pickled before or after evaluation.

    Attributes:
        arrays (PointArrays): The emissions at the nodes of the grid.
        view (WavelengthMap): From the emulator's wavelengths or lines to
            those of the grid.
        dtype (np.dtype): The precision of the arrays.
    """

    def __new__(cls, *_: Any, **__: Any) -> Self:
        """Return an empty mapping, to be evaluated before forks."""
        new = super().__new__(cls)
        settle_before_forks(new)
        return new

    def __init__(
        self,
        arrays: PointArrays,
        names: Iterable[str],
        view: WavelengthMap,
        dtype: np.dtype,
    ) -> None:
        self.arrays = arrays
        self.view = view
        self.dtype = dtype
        self._values: dict[str, NDArray | None] = dict.fromkeys(names)

    def __deepcopy__(self, memo: dict) -> Self:
        """Copy the evaluated arrays; all else never changes, and is shared.

        unyt copies its registry with each unit, which takes far longer.
        """
        new = copy.copy(self)
        new._values = {
            name: None if value is None else value.copy()
            for name, value in self._values.items()
        }
        return new

    @abstractmethod
    def evaluate(self, name: str, arrays: PointArrays) -> NDArray:
        """Evaluate one emission at the points of `arrays`, (..., n)."""

    def __getitem__(self, name: str) -> NDArray:
        """Return an array (n1, ..., nd, n), evaluated on first access.

        Raises:
            MissingEmissionError: If the grid has no emission of that name.
        """
        if name not in self._values:
            raise MissingEmissionError(
                f"The grid has no emission '{name}'; it has: "
                f"{', '.join(self) or 'none'}.{nearest(name, self)}"
            )
        value = self._values[name]
        if value is None:
            value = self._values[name] = self.evaluate(name, self.arrays)
        return value

    def __setitem__(self, name: str, value: NDArray) -> None:
        self._values[name] = value

    def __delitem__(self, name: str) -> None:
        del self._values[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self._values)

    def __len__(self) -> int:
        return len(self._values)

    def __contains__(self, name: object) -> bool:
        return name in self._values

    def __repr__(self) -> str:
        parts = (
            f"{name}: {'pending' if value is None else value.shape}"
            for name, value in self._values.items()
        )
        return f"{type(self).__name__}({', '.join(parts)})"

    def _ipython_key_completions_(self) -> list[str]:
        """Return the names, for the tab key."""
        return list(self)

    @property
    def evaluated(self) -> tuple[str, ...]:
        """The names of the arrays that have been evaluated."""
        return tuple(n for n, v in self._values.items() if v is not None)

    def transform(self, function: Callable[[NDArray], NDArray]) -> None:
        """Apply a function to the arrays that have been evaluated."""
        for name in self.evaluated:
            self._values[name] = function(self[name])

    def convert(self, dtype: np.dtype) -> None:
        """Convert all arrays to a precision, now or when evaluated."""
        self.dtype = dtype
        self.transform(lambda array: array.astype(dtype, copy=False))

    def rebin(self, change: WavelengthMap) -> None:
        """Change the wavelengths or lines of all arrays."""
        self.view = change.after(self.view)
        self.transform(change)

    def take(self, indices: NDArray | int, axis: int) -> None:
        """Keep some nodes of all arrays, as in `PointArrays.take`."""
        self.arrays = self.arrays.take(indices, axis)
        self.along(
            axis, lambda array: as_contiguous(array.take(indices, axis))
        )

    def along(self, axis: int, function: Callable[[NDArray], NDArray]) -> None:
        """Apply a function to the evaluated arrays that have an axis."""
        for name in self.evaluated:
            array = self[name]
            if array.ndim - 1 > axis:
                self._values[name] = function(array)

    def move(self, arrays: PointArrays) -> None:
        """Discard all arrays, to be evaluated again at other points."""
        self.arrays = arrays
        self._values = dict.fromkeys(self._values)

    def settle(self) -> None:
        """Evaluate arrays below 1 GiB that forked processes can't evaluate."""
        size = self.arrays.points[..., 0].size * self.view.matrix.shape[0]
        if size * self.dtype.itemsize <= _LARGEST and self.arrays.needs_jax:
            self.evaluate_all()

    def evaluate_all(self) -> None:
        """Evaluate all arrays that have not been evaluated."""
        for name in self:
            _ = self[name]


class LazySpectra(LazyEmissions):
    """The spectra of a grid, evaluated on first access."""

    def evaluate(self, name: str, arrays: PointArrays) -> NDArray:
        """Evaluate a spectrum at the grid's wavelengths, (..., nlam)."""
        return arrays.spectrum(name, self.view, self.dtype)

    def digest(self, name: str) -> str:
        """Return a digest of a spectrum.

        It covers the weights, nodes and wavelengths, and the rounded values
        if the array was replaced or an axis collapsed.
        """
        matrix = self.view.matrix
        source = digest(
            self.arrays.digest(name),
            (matrix.shape, matrix.indptr, matrix.indices, matrix.data),
            str(self.dtype),
        )
        if name not in self.evaluated:
            return source
        values = self[name]
        if _is_close(values, self.evaluate(name, self.arrays)):
            return source
        return digest(source, sketch(values))

    def at(self, name: str, change: WavelengthMap) -> NDArray:
        """Return a spectrum (n1, ..., nd, n) on changed wavelengths.

        Only the wavelengths that the change needs are evaluated.
        """
        if name in self.evaluated:
            return change(self[name])
        return self.arrays.spectrum(name, change.after(self.view), self.dtype)


def _is_close(values: NDArray, expected: NDArray) -> bool:
    """Return whether spectra are equal to within rounding."""
    return values.shape == expected.shape and np.allclose(
        values,
        expected,
        rtol=_TOLERANCE,
        atol=_TOLERANCE**3 * np.max(expected, initial=0),
    )


class LazyLineValues(LazyEmissions):
    """The luminosities or continua of lines, for each spectrum.

    Attributes:
        units (Unit): The units of the values.
    """

    def __init__(
        self,
        arrays: PointArrays,
        sources: Mapping[str, Callable[[PointArrays], NDArray]],
        view: WavelengthMap,
        dtype: np.dtype,
        units: Unit,
    ) -> None:
        super().__init__(arrays, sources, view, dtype)
        self.units = units
        self._sources = dict(sources)

    def evaluate(self, name: str, arrays: PointArrays) -> unyt_array:
        """Evaluate the values of the grid's lines, (..., nlines)."""
        values = self.view(self._sources[name](arrays))
        return unyt_array(values.astype(self.dtype, copy=False), self.units)


class Maxima(Mapping):
    """The largest absolute value of each array, computed on access."""

    def __init__(self, arrays: Mapping[str, NDArray]) -> None:
        self._arrays = arrays
        self._known: dict[str, tuple[NDArray, float]] = {}

    def __getitem__(self, name: str) -> float:
        """Return the maximum of an array, updated if it was replaced."""
        array = self._arrays[name]
        known = self._known.get(name)
        if known is None or known[0] is not array:
            known = self._known[name] = (array, max_abs(array))
        return known[1]

    def __iter__(self) -> Iterator[str]:
        return iter(self._arrays)

    def __len__(self) -> int:
        return len(self._arrays)
