"""TODO."""

from collections.abc import (
    Callable,
    Sequence,
)
from dataclasses import dataclass, replace
from typing import Self

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array
from numpy.typing import NDArray

from synthesizer_emulator.digests import digest
from synthesizer_emulator.emulator.emission import (
    Decoder,
    EmissionEmulator,
    Regressor,
    decode,
    encode,
)
from synthesizer_emulator.emulator.scaling import Coordinates, SoftLog
from synthesizer_emulator.emulator.tables import LinearTable
from synthesizer_emulator.gridfile.emissions import DERIVED_SPECTRA
from synthesizer_emulator.gridfile.nodes import node_mesh
from synthesizer_emulator.wavelengths import WavelengthMap, identity
from synthesizer_emulator.weights.weights import Weights

# How much a value may be off a node, relative to it, as rounding in single
# precision puts it.
_ROUNDING = 1e-7


# How many points are evaluated at once.
PART_SIZE = 256


# So many points, or the whole of a part, are evaluated together: each number
# needs a compilation of its own.
_FEW = 16


@jax.jit
def _encode(
    regressor: Regressor,
    has_emission: LinearTable,
    coordinates: Coordinates,
    points: Array,
) -> tuple[Array, Array]:
    """Return latents (m, k) and masks (m,) at axis values (m, d)."""
    return jax.vmap(lambda x: encode(regressor, has_emission, coordinates(x)))(
        points
    )


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
        emission.regressor,
        emission.has_emission,
        coordinates,
        jnp.asarray(filled),
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
        points = node_mesh(lines).reshape(*nodes, len(lines))
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
