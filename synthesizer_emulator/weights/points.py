"""Fluxes at many points, for example the nodes of a grid.

NumPy evaluates the default architecture at the nodes of the emulator. JAX
evaluates other architectures and points, in chunks of fixed sizes, so that
little is compiled.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import partial
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

# The relative distance from a node due to rounding in single precision.
_ROUNDING = 1e-7

# The number of points in a chunk. JAX compiles once per number of points, so
# small chunks are padded to `_SMALL_CHUNK`, and others to this number.
CHUNK_SIZE = 256
_SMALL_CHUNK = 16


@partial(jax.jit, static_argnames="axes")
def _encode(
    regressor: Regressor,
    has_emission: LinearTable,
    coordinates: Coordinates,
    points: Array,
    axes: tuple[int, ...] | None,
) -> tuple[Array, Array]:
    """Evaluate latents (m, k) and masks (m,) at axis values (m, d)."""
    return jax.vmap(
        lambda x: encode(regressor, has_emission, coordinates(x), axes)
    )(points)


@jax.jit
def _decode(
    decoder: Decoder,
    soft_log: SoftLog,
    support: Array,
    latents: Array,
    masks: Array,
) -> Array:
    """Decode latents (m, k) and masks (m,) to fluxes (m, n)."""
    return jax.vmap(
        lambda z, mask: decode(decoder, soft_log, support, z, mask)
    )(latents, masks)


def fluxes_at(
    emission: EmissionEmulator, coordinates: Coordinates, points: NDArray
) -> NDArray:
    """Evaluate the fluxes (m, n) of an emission at axis values (m, d).

    The regressor and the decoder are compiled separately. The regressor is
    slow to compile and fast to run, and does not depend on the wavelengths;
    the decoder is fast to compile, and slow to run. The points, of which there
    are 1 to `CHUNK_SIZE`, are padded to one size for the regressor and to one
    of two sizes for the decoder.
    """
    n = len(points)
    padded = np.concatenate(
        [points, points[:1].repeat(CHUNK_SIZE - n, axis=0)]
    )
    latents, masks = _encode(
        emission.regressor,
        emission.has_emission,
        coordinates,
        jnp.asarray(padded),
        emission.axes,
    )
    size = _SMALL_CHUNK if n <= _SMALL_CHUNK else CHUNK_SIZE
    # NumPy does not compile slices, unlike JAX.
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
    """The emissions of an emulator at an array of points.

    Attributes:
        weights (Weights): The weights of the emulator.
        points (np.ndarray of float): The values of the emulator's d axes at
            each point, in the units of the grid, (..., d). For the nodes of
            a grid, (n1, ..., nd, d).
        factor (float): The factor of all emissions.
        node_indices (np.ndarray of int): The index of each point in the
            flattened array of the emulator's nodes, (...); None if a point
            is not a node.
        between (tuple): The index of an axis, and a value that replaces the
            nodes of this axis; `node_indices` then refers to the nodes of
            the other axes.
        grid_axes (tuple of int): The axes of the emulator along which the
            points form a grid, one for each of their leading dimensions;
            None for points that do not form a grid.
    """

    weights: Weights
    points: NDArray
    factor: float = 1.0
    node_indices: NDArray[np.intp] | None = None
    between: tuple[int, float] | None = None
    grid_axes: tuple[int, ...] | None = None

    @classmethod
    def at_nodes(
        cls,
        weights: Weights,
        axes_values: Sequence[NDArray],
        factor: float = 1.0,
    ) -> Self:
        """Return the emissions at every node of a rectilinear grid.

        Args:
            weights (Weights): The weights of the emulator.
            axes_values (sequence of np.ndarray): The nodes along each axis
                of the emulator; for an axis that the grid lacks, a scalar,
                which may lie between nodes.
            factor (float): The factor of all emissions.

        Returns:
            PointArrays: The emissions, with points of shape (n1, ..., nd,
                d) without the axes that the grid lacks.
        """
        axes = [np.atleast_1d(values) for values in axes_values]
        nodes = tuple(n for values in axes_values for n in np.shape(values))
        shape = list(weights.header.shape)
        indices, off_nodes = [], []
        for number, axis in enumerate(weights.header.axes):
            values = axes[number]
            nearest = np.abs(axis.values[:, None] - values).argmin(axis=0)
            on_nodes = axis.values[nearest]
            if np.allclose(on_nodes, values, rtol=_ROUNDING, atol=0.0):
                axes[number] = on_nodes
            else:
                off_nodes.append(number)
                nearest, shape[number] = np.zeros(len(values), int), 1
            indices.append(nearest)
        between = None
        if len(off_nodes) == 1 and np.ndim(axes_values[off_nodes[0]]) == 0:
            between = off_nodes[0], float(axes[off_nodes[0]][0])
        node_indices = None
        if between is not None or not off_nodes:
            node_indices = np.asarray(
                np.ravel_multi_index(np.ix_(*indices), shape)
            ).reshape(nodes)
        points = node_mesh(axes).reshape(*nodes, len(axes))
        grid_axes = tuple(
            i for i, values in enumerate(axes_values) if np.ndim(values)
        )
        return cls(weights, points, factor, node_indices, between, grid_axes)

    @property
    def nodes(self) -> tuple[int, ...]:
        """The shape of the points, and of the leading axes of emissions."""
        return self.points.shape[:-1]

    def spectrum(
        self,
        name: str,
        view: WavelengthMap,
        dtype: np.dtype | type = np.float64,
    ) -> NDArray:
        """Return the fluxes of a spectrum at all points on new wavelengths.

        Args:
            name (str): The spectrum.
            view (WavelengthMap): The map from the emulator's wavelengths to
                the new ones; only wavelengths that contribute are evaluated.
            dtype (np.dtype): The precision of the result.

        Returns:
            np.ndarray: The fluxes, contiguous and writable, (..., n_new).
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
            factor (float): The factor of the values.

        Returns:
            np.ndarray: The values, (..., nlines), in double precision,
                because luminosities in erg/s can overflow single precision.
        """
        path = f"lines/{name}"
        all_lines = identity(self.weights.shapes[path].size)
        values = self._evaluate(path, all_lines, np.float64)
        values *= factor
        return values

    def zeros(self, size: int) -> NDArray:
        """Return zeros at every point, (..., size)."""
        return np.zeros((*self.nodes, size))

    @property
    def needs_jax(self) -> bool:
        """Whether JAX is needed to evaluate the emissions."""
        return self.node_indices is None or not self.weights.has_node_tables

    def take(self, indices: NDArray | int, axis: int) -> Self:
        """Return the emissions at some of the nodes along one axis.

        Args:
            indices (np.ndarray of int): The nodes to keep; a single integer
                drops the axis.
            axis (int): The index of the axis in `nodes`.
        """
        kept = self.node_indices
        if kept is not None:
            kept = kept.take(indices, axis)
        points = np.take(self.points, indices, axis)
        grid_axes = self.grid_axes
        if grid_axes is not None and np.ndim(indices) == 0:
            grid_axes = (*grid_axes[:axis], *grid_axes[axis + 1 :])
        return replace(
            self, points=points, node_indices=kept, grid_axes=grid_axes
        )

    def digest(self, name: str) -> str:
        """Return a digest of a spectrum from its tensors and the points.

        It is the same on all machines, although the last digits of the fluxes
        differ.
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
        """Evaluate one emission at all points, in chunks.

        At the nodes of a grid, the result lacks the axes that the emission
        lacks.
        """
        axes = self.grid_axes or ()
        if axes and axes[-1] >= self.weights.header.rank_of(path):
            own = self.take(0, len(axes) - 1)
            return own._evaluate(path, view, dtype)
        n_points, size = self.points[..., 0].size, view.matrix.shape[0]
        values = np.zeros((n_points, size), dtype)
        if len(view.columns):
            rows, columns, fluxes = self._evaluator(path, view.columns)
            write = view.sparse_writer(columns)
            for first in range(0, len(rows), CHUNK_SIZE):
                chunk = rows[first : first + CHUNK_SIZE]
                write(values, chunk, fluxes(chunk))
        if self.factor != 1.0:
            values *= self.factor
        return values.reshape(*self.nodes, size)

    def _evaluator(
        self, path: str, columns: NDArray[np.intp]
    ) -> tuple[
        NDArray[np.intp],
        NDArray[np.intp],
        Callable[[NDArray[np.intp]], NDArray],
    ]:
        """Return a function that evaluates an emission, and its indices.

        Args:
            path (str): The emission, e.g. `spectra/incident`.
            columns (np.ndarray of int): The indices of the wavelengths or
                lines.

        Returns:
            tuple: The indices of the points, (m,), and of the columns, (n,),
                that can have emission, and a function from p of the points,
                at most `CHUNK_SIZE`, to fluxes (p, n).
        """
        if self.node_indices is not None:
            table = self.weights.node_table(path, columns, self.between)
            if table is not None:
                nodes = self._own_nodes(path)
                return (
                    np.flatnonzero(table.has_emission[nodes]),
                    table.columns,
                    lambda chunk: table.fluxes(nodes[chunk]),
                )
        points = self.points.reshape(-1, self.points.shape[-1])
        emission = self.weights.emission(path)
        if not np.array_equal(columns, np.arange(emission.size)):
            emission = emission.restrict(columns)
        scale = self.weights.coordinates

        def fluxes(chunk: NDArray[np.intp]) -> NDArray:
            return fluxes_at(emission, scale, points[chunk])

        return np.arange(len(points)), np.arange(len(columns)), fluxes

    def _own_nodes(self, path: str) -> NDArray[np.intp]:
        """Return the index of each point in the nodes of an emission.

        `node_indices` refers to the nodes of all axes of the emulator, but
        an emission has only those of the axes on which it depends.
        """
        assert self.node_indices is not None
        nodes = self.node_indices.reshape(-1)
        axes = self.weights.axes_of(path)
        if axes is None:
            return nodes
        shape = list(self.weights.header.shape)
        if self.between is not None:
            shape[self.between[0]] = 1
        indices = np.unravel_index(nodes, shape)
        return np.asarray(
            np.ravel_multi_index(
                [indices[a] for a in axes], [shape[a] for a in axes]
            )
        )

    def __deepcopy__(self, memo: dict) -> Self:
        """Return the same object, as it is immutable."""
        return self
