"""Emulated emissions as the arrays that Synthesizer indexes.

`PointArrays` evaluates an emulator at the nodes of a grid, or at any points;
`LazyEmissions` is the mapping that stands in for the dictionaries of a native
`Grid` and asks for an array only when someone reads it. Only `EmulatedGrid`
and the builder need them.
"""

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

# The bytes of the largest array that is evaluated only because a process
# forks.
_LARGEST = 2**30

# What two ways of computing the same spectrum may differ in.
_ALIKE = 1e-4


class MissingEmissionError(MissingSpectraType, KeyError):
    """That a grid has no such emission, as its mappings say it."""


class LazyEmissions(MutableMapping, ABC):
    """A dictionary of arrays that are evaluated when first read.

    What is read is kept; what is written or deleted wins over what would
    be evaluated. It copies and pickles, evaluated or not.

    Attributes:
        arrays (PointArrays): What is evaluated, at the nodes in force.
        view (WavelengthMap): From the emulator's wavelengths or lines to
            those in force.
        dtype (np.dtype): The precision of the arrays.
    """

    def __new__(cls, *_: Any, **__: Any) -> Self:
        """Return a new mapping, or one to be copied into."""
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

    @abstractmethod
    def evaluate(self, name: str, arrays: PointArrays) -> NDArray:
        """Return one emission at the points of `arrays`."""

    def __getitem__(self, name: str) -> NDArray:
        """Return an array, evaluating it if it was not yet.

        Raises:
            MissingEmissionError: If there is none of that name.
        """
        if name not in self._values:
            raise MissingEmissionError(
                f"There is no '{name}' in this grid, which has: "
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

    @property
    def evaluated(self) -> tuple[str, ...]:
        """The names of the arrays that exist by now."""
        return tuple(n for n, v in self._values.items() if v is not None)

    def transform(self, function: Callable[[NDArray], NDArray]) -> None:
        """Apply a function to the arrays that exist by now."""
        for name in self.evaluated:
            self._values[name] = function(self[name])

    def convert(self, dtype: np.dtype) -> None:
        """Change the precision of all arrays, evaluated or not."""
        self.dtype = dtype
        self.transform(lambda array: array.astype(dtype, copy=False))

    def rebin(self, change: WavelengthMap) -> None:
        """Change the wavelengths or lines of all, evaluated or not."""
        self.view = change.after(self.view)
        self.transform(change)

    def take(self, indices: NDArray | int, axis: int) -> None:
        """Keep some nodes of all arrays; see `PointArrays.take`."""
        self.arrays = self.arrays.take(indices, axis)
        self.transform(lambda array: as_contiguous(array.take(indices, axis)))

    def move(self, arrays: PointArrays) -> None:
        """Evaluate everything anew, at other points."""
        self.arrays = arrays
        self._values = dict.fromkeys(self._values)

    def settle(self) -> None:
        """Evaluate what a forked process could not, but what is huge."""
        size = self.arrays.points[..., 0].size * self.view.matrix.shape[0]
        if size * self.dtype.itemsize <= _LARGEST and self.arrays.needs_jax:
            self.evaluate_all()

    def evaluate_all(self) -> None:
        """Evaluate whatever was not yet."""
        for name in self:
            _ = self[name]


class LazySpectra(LazyEmissions):
    """The spectra of a grid, on wavelengths that can still change."""

    def evaluate(self, name: str, arrays: PointArrays) -> NDArray:
        """Return a spectrum at points on the wavelengths in force."""
        return arrays.spectrum(name, self.view, self.dtype)

    def digest(self, name: str) -> str:
        """Return what distinguishes a spectrum from others.

        It is that of the weights, the points and the wavelengths; and of
        the values, to fewer digits, where they are not what these give any
        more, since they were written, or an axis was collapsed.
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
        """Return a spectrum after one more change of the wavelengths.

        Args:
            name (str): The spectrum.
            change (WavelengthMap): From the wavelengths in force.

        Returns:
            np.ndarray: What the change alone needs is evaluated.
        """
        if name in self.evaluated:
            return change(self[name])
        return self.arrays.spectrum(name, change.after(self.view), self.dtype)


def _is_close(values: NDArray, others: NDArray) -> bool:
    """Return whether spectra are the same but for their last digits."""
    return values.shape == others.shape and np.allclose(
        values, others, rtol=_ALIKE, atol=_ALIKE**3 * np.max(others, initial=0)
    )


class LazyLineValues(LazyEmissions):
    """One quantity of the lines of a grid, for each emission.

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
        """Return the values of the lines in force at points."""
        values = self.view(self._sources[name](arrays))
        return unyt_array(values.astype(self.dtype, copy=False), self.units)


class Maxima(Mapping):
    """The largest absolute value of each array, found when asked for."""

    def __init__(self, arrays: Mapping[str, NDArray]) -> None:
        self._arrays = arrays
        self._known: dict[str, tuple[NDArray, float]] = {}

    def __getitem__(self, name: str) -> float:
        """Return the maximum of the array as it is now."""
        array = self._arrays[name]
        known = self._known.get(name)
        if known is None or known[0] is not array:
            known = self._known[name] = (array, max_abs(array))
        return known[1]

    def __iter__(self) -> Iterator[str]:
        return iter(self._arrays)

    def __len__(self) -> int:
        return len(self._arrays)
