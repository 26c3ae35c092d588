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
from typing import Any, Self

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array
from numpy.typing import NDArray
from synthesizer.exceptions import MissingSpectraType
from synthesizer.utils.precision import max_abs
from synthesizer.utils.util_funcs import as_contiguous
from unyt import Unit, unyt_array

from synthesizer_emulator.architectures.base import mesh_of
from synthesizer_emulator.checks import nearest
from synthesizer_emulator.digests import digest, sketch
from synthesizer_emulator.emulator import (
    DERIVED_SPECTRA,
    Decoder,
    EmissionEmulator,
    Regressor,
    decode,
    encode,
)
from synthesizer_emulator.forking import settle_before_forks
from synthesizer_emulator.interpolation import LinearTable
from synthesizer_emulator.resampling import WavelengthMap, identity
from synthesizer_emulator.scaling import Coordinates, SoftLog
from synthesizer_emulator.weights import Weights

# How much a value may be off a node, relative to it, as rounding in single
# precision puts it.
_ROUNDING = 1e-7

# How many points are evaluated at once.
PART_SIZE = 256

# So many points, or the whole of a part, are evaluated together: each number
# needs a compilation of its own.
_FEW = 16

# The bytes of the largest array that is evaluated only because a process
# forks.
_LARGEST = 2**30

# What two ways of computing the same spectrum may differ in.
_ALIKE = 1e-4


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


def fluxes_at(
    emission: EmissionEmulator, coordinates: Coordinates, points: NDArray
) -> NDArray:
    """Evaluate an emission at points, in two halves.

    The first half takes long to compile and little to run, and is shared by
    all wavelengths; the second the other way round. So that hardly any
    number of points needs a compilation of its own, the points are filled
    up to a whole part for the first, and for the second to one of two sizes.

    Args:
        emission (EmissionEmulator): What to evaluate.
        coordinates (Coordinates): The axis scaling.
        points (np.ndarray of float): Axis values, (m, d), 1 to `PART_SIZE`.

    Returns:
        np.ndarray of float: The fluxes, (m, n).
    """
    n = len(points)
    filled = np.concatenate([points, points[:1].repeat(PART_SIZE - n, axis=0)])
    latents, masks = _encode(
        emission.regressor, emission.alive, coordinates, jnp.asarray(filled)
    )
    size = _FEW if n <= _FEW else PART_SIZE
    # By NumPy, which does not compile a slice.
    fluxes = _decode(
        emission.decoder,
        emission.soft_log,
        emission.support[...],
        np.asarray(latents)[:size],
        np.asarray(masks)[:size],
    )
    return np.asarray(fluxes)[:n]


@dataclass(frozen=True)
class PointArrays:
    """An emulator's emissions at an array of points.

    Attributes:
        weights (Weights): The weights of the emulator.
        points (np.ndarray of float): The values of the emulator's d axes
            at each point, in the units of the grid, (..., d). For the nodes
            of a grid, (n1, ..., nd, d).
        factor (float): Multiplies every emission.
        own (np.ndarray of int): Which of the emulator's own nodes each point
            is, (...); None if some are none of them.
        between (tuple): An axis, and the value on it that takes the place
            of its nodes: `own` then counts those of the other axes.
    """

    weights: Weights
    points: NDArray
    factor: float = 1.0
    own: NDArray[np.intp] | None = None
    between: tuple[int, float] | None = None

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
            axes_values (sequence of np.ndarray): The nodes of each axis of
                the emulator; where the grid has no such axis, its value (),
                which may be between nodes.
            factor (float): Multiplies every emission.

        Returns:
            PointArrays: With points of shape (n1, ..., nd, d), without the
                axes that the grid does not have.
        """
        lines = [np.atleast_1d(values) for values in axes_values]
        nodes = tuple(n for values in axes_values for n in np.shape(values))
        shape, found, off = list(weights.header.shape), [], []
        for number, axis in enumerate(weights.header.axes):
            line = lines[number]
            near = np.abs(axis.values[:, None] - line).argmin(axis=0)
            if np.allclose(axis.values[near], line, rtol=_ROUNDING, atol=0.0):
                lines[number] = axis.values[near]
            else:
                off.append(number)
                near, shape[number] = np.zeros(len(line), int), 1
            found.append(near)
        between = None
        if len(off) == 1 and np.ndim(axes_values[off[0]]) == 0:
            between = off[0], float(lines[off[0]][0])
        own = None
        if between is not None or not off:
            own = np.ravel_multi_index(np.ix_(*found), shape).reshape(nodes)
        points = mesh_of(lines).reshape(*nodes, len(lines))
        return cls(weights, points, factor, own, between)

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
        path = f"spectra/{name}"
        if path not in self.weights.shapes:
            first, second = DERIVED_SPECTRA[name]
            total = self.spectrum(first, view, dtype)
            total += self.spectrum(second, view, dtype)
            return total
        return self._evaluate(path, view, dtype)

    def lines(self, name: str, factor: float = 1.0) -> NDArray:
        """Return a quantity of all lines at every point.

        Args:
            name (str): `luminosity`, `nebular_continuum`, `transmitted`.
            factor (float): Multiplies the values.

        Returns:
            np.ndarray: Shape (..., nlines), in double precision: single has
                no room for erg/s, only for what comes out.
        """
        path = f"lines/{name}"
        every = identity(self.weights.shapes[path].size)
        values = self._evaluate(path, every, np.float64)
        values *= factor
        return values

    def zeros(self, size: int) -> NDArray:
        """Return zeros at every point, (..., size)."""
        return np.zeros((*self.nodes, size))

    @property
    def needs_jax(self) -> bool:
        """Whether NumPy alone can't evaluate it."""
        return self.own is None or not self.weights.has_node_tables

    def take(self, indices: NDArray | int, axis: int) -> Self:
        """Return the arrays at some of the nodes along one axis.

        Args:
            indices (np.ndarray of int): Those to keep; one integer alone
                drops the axis.
            axis (int): The axis, counted among those of `nodes`.

        Returns:
            PointArrays: The arrays at the nodes that are kept.
        """
        return replace(
            self,
            points=np.take(self.points, indices, axis),
            own=None if self.own is None else self.own.take(indices, axis),
        )

    def digest(self, name: str) -> str:
        """Return what distinguishes a spectrum, without evaluating it.

        The same on every machine, as its values are not, to the last digits.
        """
        weights = self.weights
        names = (
            (name,)
            if f"spectra/{name}" in weights.shapes
            else DERIVED_SPECTRA[name]
        )
        paths = [f"spectra/{name}" for name in names]
        return digest(
            [(weights.shapes[path], weights.tensors[path]) for path in paths],
            weights.domain,
            weights.provenance.architecture,
            weights.provenance.architecture_config,
            [axis.values for axis in weights.header.axes],
            self.points,
            self.factor,
        )

    def _evaluate(
        self, path: str, view: WavelengthMap, dtype: np.dtype | type
    ) -> NDArray:
        """Evaluate one emission at every point, a part at a time."""
        n_points, size = self.points[..., 0].size, view.matrix.shape[0]
        values = np.zeros((n_points, size), dtype)
        if len(view.columns):
            shining, lit, fluxes = self._source(path, view.columns)
            place = view.from_columns(lit)
            for first in range(0, len(shining), PART_SIZE):
                part = shining[first : first + PART_SIZE]
                place(values, part, fluxes(part))
        if self.factor != 1.0:
            values *= self.factor
        return values.reshape(*self.nodes, size)

    def _source(
        self, path: str, columns: NDArray[np.intp]
    ) -> tuple[
        NDArray[np.intp],
        NDArray[np.intp],
        Callable[[NDArray[np.intp]], NDArray],
    ]:
        """Return what can emit, and what evaluates some of it.

        Args:
            path (str): The emission, e.g. `spectra/incident`.
            columns (np.ndarray of int): The wavelengths or lines wanted.

        Returns:
            tuple: The numbers of points (m,) and of columns (n,), and a
                function from some of the points (p,), at most `PART_SIZE`,
                to fluxes (p, n).
        """
        if self.own is not None:
            table = self.weights.node_table(path, columns, self.between)
            if table is not None:
                own = self.own.reshape(-1)
                return (
                    np.flatnonzero(table.alive[own]),
                    table.lit,
                    lambda part: table.fluxes(own[part]),
                )
        points = self.points.reshape(-1, self.points.shape[-1])
        emission = self.weights.emission(path)
        if not np.array_equal(columns, np.arange(emission.size)):
            emission = emission.restrict(columns)
        scale = self.weights.coordinates

        def fluxes(part: NDArray[np.intp]) -> NDArray:
            return fluxes_at(emission, scale, points[part])

        return np.arange(len(points)), np.arange(len(columns)), fluxes

    def __deepcopy__(self, memo: dict) -> Self:
        """Return itself: nothing in it ever changes."""
        return self


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
