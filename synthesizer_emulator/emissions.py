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
    Sequence,
)
from dataclasses import dataclass, replace
from typing import Self

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array
from numpy.typing import NDArray
from synthesizer.utils.precision import max_abs
from synthesizer.utils.util_funcs import as_contiguous
from unyt import Unit, unyt_array

from synthesizer_emulator.emulator import (
    DERIVED_SPECTRA,
    Decoder,
    EmissionEmulator,
    Regressor,
    decode,
    encode,
)
from synthesizer_emulator.interpolation import LinearTable
from synthesizer_emulator.resampling import WavelengthMap
from synthesizer_emulator.scaling import Coordinates, SoftLog
from synthesizer_emulator.weights import Weights

# How many points are evaluated at once.
PART_SIZE = 256


@jax.jit
def _encode(
    regressor: Regressor,
    alive: LinearTable,
    coordinates: Coordinates,
    points: Array,
) -> tuple[Array, Array]:
    """Return latents (m, k) and masks (m,) at axis values (m, d)."""
    return jax.vmap(lambda x: encode(regressor, alive, coordinates(x)))(points)


@jax.jit
def _decode(
    decoder: Decoder,
    soft_log: SoftLog,
    support: Array,
    latents: Array,
    masks: Array,
) -> Array:
    """Return fluxes (m, n) of latents (m, k) and masks (m,)."""
    return jax.vmap(
        lambda z, mask: decode(decoder, soft_log, support, z, mask)
    )(latents, masks)


def evaluate_all(
    emission: EmissionEmulator,
    coordinates: Coordinates,
    points: NDArray,
    dtype: np.dtype | type = np.float64,
) -> NDArray:
    """Evaluate an emission at any number of points.

    In parts of one size, so that memory is bounded and hardly any number
    of points needs a compilation of its own; in two halves, so that the
    first, which takes longer to compile, is shared by all wavelengths.

    Args:
        emission (EmissionEmulator): What to evaluate.
        coordinates (Coordinates): The axis scaling.
        points (np.ndarray of float): Axis values, (m, d).
        dtype (np.dtype): The precision of the result.

    Returns:
        np.ndarray: The fluxes, (m, n), contiguous and writable.
    """
    m = len(points)
    part = min(PART_SIZE, 1 << max(m - 1, 0).bit_length())
    values = np.empty((m, emission.size), dtype)
    for first in range(0, m, part):
        these = points[first : first + part]
        padded = np.concatenate(
            [these, these[:1].repeat(part - len(these), 0)]
        )
        latents, masks = _encode(
            emission.regressor,
            emission.alive,
            coordinates,
            jnp.asarray(padded),
        )
        fluxes = _decode(
            emission.decoder,
            emission.soft_log,
            emission.support[...],
            latents,
            masks,
        )
        values[first : first + part] = np.asarray(fluxes)[: len(these)]
    return values


@dataclass(frozen=True)
class PointArrays:
    """An emulator's emissions at an array of points.

    Attributes:
        weights (Weights): The weights of the emulator.
        points (np.ndarray of float): The values of the emulator's d axes
            at each point, in the units of the grid, (..., d). For the nodes
            of a grid, (n1, ..., nd, d).
        factor (float): Multiplies every emission.
    """

    weights: Weights
    points: NDArray
    factor: float = 1.0

    @classmethod
    def at_nodes(
        cls,
        weights: Weights,
        axes_values: Sequence[NDArray],
        factor: float = 1.0,
    ) -> Self:
        """Return the arrays at every node of a rectilinear grid.

        Args:
            weights (Weights): The weights of the emulator.
            axes_values (sequence of np.ndarray): The nodes of each axis.
            factor (float): Multiplies every emission.

        Returns:
            PointArrays: With points of shape (n1, ..., nd, d).
        """
        mesh = np.meshgrid(*axes_values, indexing="ij")
        return cls(weights, np.stack(mesh, axis=-1), factor)

    @property
    def nodes(self) -> tuple[int, ...]:
        """The shape of the points, which an emission's begins with."""
        return self.points.shape[:-1]

    def spectrum(
        self,
        name: str,
        view: WavelengthMap,
        dtype: np.dtype | type = np.float64,
    ) -> NDArray:
        """Return a spectrum at every point on the wavelengths in force.

        Args:
            name (str): The spectrum.
            view (WavelengthMap): From the emulator's wavelengths to those
                in force; only those that matter are evaluated.
            dtype (np.dtype): The precision of the result.

        Returns:
            np.ndarray: Shape (..., n_new), contiguous and writable.
        """
        spectra = self.weights.emulator.spectra
        if name not in spectra:
            first, second = DERIVED_SPECTRA[name]
            total = self.spectrum(first, view, dtype)
            total += self.spectrum(second, view, dtype)
            return total
        emission = spectra[name]
        columns = view.columns
        if not len(columns):
            return self.zeros(view.matrix.shape[0], dtype)
        if not np.array_equal(columns, np.arange(emission.size)):
            emission = emission.restrict(columns)
        return view.apply_to_columns(self._evaluate(emission, dtype))

    def lines(
        self,
        name: str,
        factor: float = 1.0,
        dtype: np.dtype | type = np.float64,
    ) -> NDArray:
        """Return a quantity of all lines at every point.

        Args:
            name (str): `luminosity`, `nebular_continuum`, `transmitted`.
            factor (float): Multiplies the values.
            dtype (np.dtype): The precision of the result.

        Returns:
            np.ndarray: Shape (..., nlines), contiguous and writable.
        """
        values = self._evaluate(
            self.weights.emulator.line_values[name], np.float64
        )
        # Single precision has no room for erg/s, only for what comes out.
        values *= factor
        return values.astype(dtype, copy=False)

    def zeros(self, size: int, dtype: np.dtype | type = np.float64) -> NDArray:
        """Return zeros at every point, (..., size)."""
        return np.zeros((*self.nodes, size), dtype)

    def take(self, indices: NDArray | int, axis: int) -> Self:
        """Return the arrays at some of the nodes along one axis.

        Args:
            indices (np.ndarray of int): Those to keep; one integer alone
                drops the axis.
            axis (int): The axis, counted among those of `nodes`.

        Returns:
            PointArrays: The arrays at the nodes that are kept.
        """
        return replace(self, points=np.take(self.points, indices, axis))

    def _evaluate(
        self, emission: EmissionEmulator, dtype: np.dtype | type
    ) -> NDArray:
        """Evaluate one emission at every point."""
        values = evaluate_all(
            emission,
            self.weights.emulator.coordinates,
            self.points.reshape(-1, self.points.shape[-1]),
            dtype,
        )
        if self.factor != 1.0:
            values *= self.factor
        return values.reshape(*self.nodes, emission.size)

    def __deepcopy__(self, memo: dict) -> Self:
        """Return itself: nothing in it ever changes."""
        return self


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
        """Return an array, evaluating it if it was not yet."""
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

    def evaluate_all(self) -> None:
        """Evaluate whatever was not yet."""
        for name in self:
            _ = self[name]


class LazySpectra(LazyEmissions):
    """The spectra of a grid, on wavelengths that can still change."""

    def evaluate(self, name: str, arrays: PointArrays) -> NDArray:
        """Return a spectrum at points on the wavelengths in force."""
        return arrays.spectrum(name, self.view, self.dtype)

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
        return self.arrays.spectrum(name, change.after(self.view))


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
