"""Emulated emissions as the arrays that Synthesizer indexes.

`NodeArrays` evaluates an emulator at all nodes of a grid; `LazyEmissions`
is the mapping that stands in for the dictionaries of a native `Grid` and
asks for an array only when someone reads it. Only `EmulatedGrid` and the
builder need them.
"""

from abc import ABC, abstractmethod
from collections.abc import (
    Callable,
    Iterable,
    Iterator,
    Mapping,
    MutableMapping,
)
from dataclasses import dataclass
from typing import Self

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array
from numpy.typing import NDArray
from synthesizer.utils.precision import max_abs
from unyt import Unit, unyt_array

from synthesizer_emulator.emulator import DERIVED_SPECTRA, EmissionEmulator
from synthesizer_emulator.resampling import WavelengthMap
from synthesizer_emulator.scaling import Coordinates
from synthesizer_emulator.weights import Weights


@jax.jit
def evaluate_batch(
    emission: EmissionEmulator, coordinates: Coordinates, points: Array
) -> Array:
    """Return fluxes (m, n) of an emission at axis values (m, d)."""
    return jax.vmap(lambda point: emission(coordinates(point)))(points)


@dataclass(frozen=True)
class NodeArrays:
    """An emulator's emissions at every node of a rectilinear grid.

    Attributes:
        weights (Weights): The weights of the emulator.
        axes_values (tuple of np.ndarray): The nodes along each axis, in
            the units of the grid.
        factor (float): Multiplies every emission.
    """

    weights: Weights
    axes_values: tuple[NDArray, ...]
    factor: float = 1.0

    def spectrum(self, name: str, view: WavelengthMap) -> NDArray:
        """Return a spectrum at every node on the wavelengths in force.

        Args:
            name (str): The spectrum.
            view (WavelengthMap): From the emulator's wavelengths to those
                in force; only those that matter are evaluated.

        Returns:
            np.ndarray of float: Shape (n1, ..., nd, n_new), contiguous.
        """
        spectra = self.weights.emulator.spectra
        if name not in spectra:
            first, second = DERIVED_SPECTRA[name]
            return self.spectrum(first, view) + self.spectrum(second, view)
        emission = spectra[name]
        columns = view.columns
        if not len(columns):
            nodes = tuple(len(values) for values in self.axes_values)
            return np.zeros((*nodes, view.matrix.shape[0]))
        if not np.array_equal(columns, np.arange(emission.size)):
            emission = emission.restrict(columns)
        return view.apply_to_columns(self._at_nodes(emission))

    def lines(self, name: str) -> NDArray:
        """Return a quantity of all lines at every node.

        Args:
            name (str): `luminosity`, `nebular_continuum`, `transmitted`.

        Returns:
            np.ndarray of float: Shape (n1, ..., nd, nlines), contiguous.
        """
        return self._at_nodes(self.weights.emulator.line_values[name])

    def _at_nodes(self, emission: EmissionEmulator) -> NDArray:
        """Evaluate one emission at every node."""
        mesh = np.meshgrid(*self.axes_values, indexing="ij")
        points = np.stack(mesh, axis=-1)
        flat = evaluate_batch(
            emission,
            self.weights.emulator.coordinates,
            jnp.asarray(points.reshape(-1, len(mesh))),
        )
        values = np.asarray(flat).reshape(*points.shape[:-1], emission.size)
        return values if self.factor == 1.0 else values * self.factor

    def __deepcopy__(self, memo: dict) -> Self:
        """Return itself: nothing in it ever changes."""
        return self


class LazyEmissions(MutableMapping, ABC):
    """A dictionary of arrays that are evaluated when first read.

    What is read is kept; what is written or deleted wins over what would
    be evaluated. It copies and pickles, evaluated or not.

    Attributes:
        dtype (np.dtype): The precision of the arrays.
    """

    def __init__(self, names: Iterable[str], dtype: np.dtype) -> None:
        self.dtype = dtype
        self._values: dict[str, NDArray | None] = dict.fromkeys(names)

    @abstractmethod
    def evaluate(self, name: str) -> NDArray:
        """Return the array of one emission, in any precision."""

    def __getitem__(self, name: str) -> NDArray:
        """Return an array, evaluating it if it was not yet."""
        value = self._values[name]
        if value is None:
            # Always a copy: JAX's own buffers can't be written to.
            value = self.evaluate(name).astype(self.dtype)
            self._values[name] = value
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


class LazySpectra(LazyEmissions):
    """The spectra of a grid, on wavelengths that can still change.

    Attributes:
        view (WavelengthMap): From the emulator's wavelengths to those in
            force, for spectra that are not evaluated yet.
    """

    def __init__(
        self,
        arrays: NodeArrays,
        names: Iterable[str],
        view: WavelengthMap,
        dtype: np.dtype,
    ) -> None:
        super().__init__(names, dtype)
        self.view = view
        self._arrays = arrays

    def evaluate(self, name: str) -> NDArray:
        """Return a spectrum at every node on the wavelengths in force."""
        return self._arrays.spectrum(name, self.view)

    def rebin(self, change: WavelengthMap) -> None:
        """Change the wavelengths of all spectra, evaluated or not."""
        self.view = change.after(self.view)
        self.transform(change)


class LazyLineValues(LazyEmissions):
    """One quantity of the lines of a grid, for each emission.

    Each comes from a function, which must not hold on to the grid, so
    that copies of a grid stay independent of each other.

    Attributes:
        units (Unit): The units of the values.
    """

    def __init__(
        self,
        sources: Mapping[str, Callable[[], NDArray]],
        dtype: np.dtype,
        units: Unit,
    ) -> None:
        super().__init__(sources, dtype)
        self.units = units
        self._sources = dict(sources)

    def evaluate(self, name: str) -> unyt_array:
        """Return the values at every node, with units."""
        return unyt_array(self._sources[name](), self.units)


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
