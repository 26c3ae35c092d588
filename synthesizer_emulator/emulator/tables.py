"""Local interpolation in tables over the nodes of a rectilinear grid.

For one point; batch it with `jax.vmap`. It knows nothing of astronomy.
"""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx
from jax import Array
from jax.typing import ArrayLike
from numpy.typing import NDArray

from synthesizer_emulator.emulator.cubics import (
    SPARSE_AXIS,
    STENCIL,
    gaussian_means,
    hermite_weights,
    locate,
    locate_numpy,
    node_slopes,
    through_nodes,
)
from synthesizer_emulator.emulator.scaling import Constant

# The standard deviation of the Gaussian that smooths along a long axis, in
# parts of that; what differs from the smooth is rough. Of the order of the
# distance by which what is rough in age moves between metallicities.
_SMOOTHING = 1 / 128

# The standard deviation of the Gaussian around a node of a long axis in which
# the rough of two neighbours across it is compared, in the same parts.
_COMPARED = 1 / 50

# How fast fades what two neighbours do not share at all, see `SmoothTable`.
# Several times more is as accurate between nodes, but bends sharply beside
# them.
_FADING = 10.0


# How near to a node, in parts of the cell, is on it for a linear table.
_ON_NODE = 1e-3


class Derived(nnx.Variable):
    """An array that follows from a module's other ones; never stored."""


class LinearTable(nnx.Module):
    """Values at the nodes, multilinear between.

    Outside, points get the value of the nearest edge. A point that
    rounding in float32 puts beside a node (by up to a thousandth of the
    cell) counts as on it, so that an exact zero at a node stays one.

    Attributes:
        nodes (nnx.List of Constant): The coordinates along each axis.
        values (Constant): The values, (n1, ..., nd, k).
    """

    def __init__(self, nodes: Sequence[ArrayLike], values: ArrayLike) -> None:
        self.nodes = nnx.List([Constant(jnp.asarray(n)) for n in nodes])
        self.values = Constant(jnp.asarray(values))

    def __call__(self, x: Array) -> Array:
        """Interpolate at one point x (d,), giving (k,)."""
        starts, weights = [], {}
        for axis, nodes in enumerate(self.nodes):
            cell, t, _ = locate(nodes[...], x[axis])
            t = jnp.clip(_beside_nodes(t), 0.0, 1.0)
            starts.append(cell)
            weights[axis] = 1.0 - t, t
        k, zero = self.values[...].shape[-1], jnp.zeros_like(starts[0])
        corners = jax.lax.dynamic_slice(
            self.values[...], [*starts, zero], [2] * len(starts) + [k]
        )
        return _combine(corners, weights)


class SmoothTable(nnx.Module):
    r"""Values at the nodes, smooth curves between.

    At a node its value comes back exactly, and first derivatives along
    the axes are continuous there.

    The longest axis, if it is no sparse one, comes last: the table is
    interpolated along the others at the six nodes around the point, and
    then a cubic drawn through these. So what else is known along the other
    axes can be added at the nodes, and does not disturb the long axis
    between them.

    Along such a long axis the values are the sum of a smooth part $V$,
    which a Gaussian leaves, and a rough one $R$. With the cell coordinates
    $t_a$ along the other axes, the Hermite weights $H$ of values and $G$ of
    slopes, and weights $B$ that fade, the value at one of its nodes is

    $$ \sum_{corners} \Big( \prod_a H_a \, V + \sum_a G_a
       \prod_{b \ne a} H_b \, S_a + \prod_a B_a \, R \Big) $$

    with the slopes $S_a$ of `monotone_slopes` (on an axis that is not
    sparse, of `akima_slopes`). What is rough along one axis is not the same
    at the next node of another: it moves, or belongs to its node alone.
    Half of one and half of the other would be wrong twice. So it fades as

    $$ B(t) = (1 - t)^n (1 + n t), \qquad n = 2 + 10 (1 - \rho)^3 $$

    with the correlation $\rho \ge 0$ of the rough at both ends of the cell,
    around the same node of the long axis and at the same node of all others:
    if it is nearly the same at both, $B = H$, and if it has nothing in
    common, it is soon gone. Without a long axis nothing is rough. Outside,
    points get the nearest edge's value.

    Attributes:
        nodes (nnx.List of Constant): The coordinates along each axis.
        values (Constant): The values, (n1, ..., nd, k).
        metric (Constant): What one unit of each of the k values weighs
            where they are compared, (k,).
        parts (Derived): The smooth part, its slopes along each axis but a
            long one, and the rough part, each (n1, ..., nd, k).
        fading (Derived): The power n along each axis but a long one in the
            cell that begins at a node (at the last node that of the cell
            before), (m, n1, ..., nd) for m such axes.
    """

    def __init__(
        self,
        nodes: Sequence[NDArray],
        values: NDArray,
        metric: NDArray,
        derived: bool = True,
    ) -> None:
        """Make the table.

        Args:
            nodes (sequence of np.ndarray): The coordinates along each axis.
            values (np.ndarray of float): The values, (n1, ..., nd, k).
            metric (np.ndarray of float): What one unit of each of the k
                values weighs, (k,).
            derived (bool): Whether to find the parts, which a skeleton
                does not need.
        """
        self.nodes = nnx.List([Constant(jnp.asarray(n)) for n in nodes])
        self.values = Constant(jnp.asarray(values))
        self.metric = Constant(jnp.asarray(metric))
        parts, fading = (
            _parts_and_fading(nodes, values, metric) if derived else (0, 0)
        )
        self.parts = Derived(jnp.asarray(parts))
        self.fading = Derived(jnp.asarray(fading))

    def derive(self) -> None:
        """Find the parts anew, after the other arrays were filled in."""
        parts, fading = _parts_and_fading(
            [np.asarray(n[...]) for n in self.nodes],
            np.asarray(self.values[...]),
            np.asarray(self.metric[...]),
        )
        self.parts = Derived(parts)
        self.fading = Derived(fading)

    def without(self, axis: int, node: int) -> "SmoothTable":
        """Return the table that leaves out a node of an axis."""
        nodes = [np.asarray(n[...]) for n in self.nodes]
        nodes[axis] = np.delete(nodes[axis], node)
        return SmoothTable(
            nodes,
            np.delete(np.asarray(self.values[...]), node, axis),
            np.asarray(self.metric[...]),
        )

    def __call__(
        self, x: Array, added: Callable[[Array], Array] | None = None
    ) -> Array:
        """Interpolate at one point.

        Args:
            x (Array): The point, (d,).
            added (function): Gives values (k,) at a point (d,), to add to
                those of the table before interpolating along a long axis.

        Returns:
            Array: The values, (k,).
        """
        long = long_axis(self.values[...].shape)
        if long is None:
            value = self._multicubic(x)
            return value if added is None else value + added(x)
        nodes = self.nodes[long][...]

        def around(first: Array) -> Array:
            values = self._multicubic(x, long, first)
            if added is None:
                return values
            points = jnp.broadcast_to(x, (STENCIL, len(x)))
            six = jax.lax.dynamic_slice_in_dim(nodes, first, STENCIL)
            return values + jax.vmap(added)(points.at[:, long].set(six))

        return through_nodes(nodes, around, x[long], self.metric[...])

    def _multicubic(
        self, x: Array, long: int | None = None, first: Array | None = None
    ) -> Array:
        """Interpolate along all axes, or at six nodes of a long one.

        Args:
            x (Array): The point, (d,).
            long (int): An axis not to interpolate along.
            first (Array): The first of the six nodes along that, ().

        Returns:
            Array: The values, (k,) or (6, k).
        """
        starts: list[Any] = [first] * len(self.nodes)
        sizes = [STENCIL] * len(self.nodes)
        short = [a for a in range(len(self.nodes)) if a != long]
        values_at, slopes_at, part_of_cell = {}, {}, {}
        for a in short:
            starts[a], t, width = locate(self.nodes[a][...], x[a])
            sizes[a] = 2
            values_at[a], slopes_at[a] = hermite_weights(t, width)
            part_of_cell[a] = t
        # One slice of all that is needed, which takes a fraction of the
        # time of as many look-ups.
        k, zero = self.values[...].shape[-1], jnp.zeros_like(starts[0])
        smooth, *slopes, rough = jax.lax.dynamic_slice(
            self.parts[...],
            [zero, *starts, zero],
            [len(short) + 2, *sizes, k],
        )
        total = _combine(smooth, values_at)
        for from_axis, a in zip(slopes, short, strict=True):
            total += _combine(from_axis, {**values_at, a: slopes_at[a]})
        if long is None:
            return total
        powers = jax.lax.dynamic_slice(
            self.fading[...], [zero, *starts], [len(short), *sizes]
        )
        for power, a in zip(powers, short, strict=True):
            of_cell = jax.lax.slice_in_dim(power, 0, 1, axis=a)
            weights = _fading_weights(part_of_cell[a], of_cell)
            rough *= jnp.concatenate(weights, axis=a)[..., None]
        return total + jnp.sum(rough, axis=tuple(short))


def long_axis(shape: Sequence[int]) -> int | None:
    """Return the longest axis of a table, if it is no sparse one.

    Args:
        shape (sequence of int): That of the table, (n1, ..., nd, k).

    Returns:
        int: The number of the axis, or None.
    """
    *lengths, _ = shape
    longest = max(lengths)
    return lengths.index(longest) if longest >= SPARSE_AXIS else None


def smoothed(nodes: Sequence[NDArray], values: NDArray) -> NDArray[np.float64]:
    """Return the smooth part of values along a long axis.

    Args:
        nodes (sequence of np.ndarray): The coordinates along each axis.
        values (np.ndarray of float): The values, (n1, ..., nd, k).

    Returns:
        np.ndarray of float: Of the same shape; without a long axis, the
            values themselves.
    """
    values = np.asarray(values, np.float64)
    long = long_axis(values.shape)
    if long is None:
        return values
    return gaussian_means(nodes[long], values, long, _SMOOTHING)


def smooth_along(
    nodes: Sequence[NDArray],
    values: NDArray,
    metric: NDArray,
    axis: int,
    x: float,
    added: Callable[[Sequence[NDArray]], NDArray],
) -> NDArray[np.float64]:
    """Return what a `SmoothTable` gives at the nodes of all axes but one.

    By NumPy, from the few nodes around the point that count.

    Args:
        nodes (sequence of np.ndarray): The coordinates along each axis.
        values (np.ndarray of float): The values, (n1, ..., nd, k).
        metric (np.ndarray of float): What one unit of each of the k values
            weighs, (k,).
        axis (int): The axis to interpolate along.
        x (float): The coordinate on it; beyond the ends, they count.
        added (function): Gives values to add, as a `SmoothTable` is given
            them, on the mesh of coordinates along each axis.

    Returns:
        np.ndarray of float: Shape (n1, ..., nd, k) without the axis.
    """
    long = long_axis(values.shape)
    sparse = len(nodes[axis]) < SPARSE_AXIS
    cell, t, width = locate_numpy(nodes[axis], x)
    # The slopes at both ends of the cell depend on so many nodes more.
    more = 1 if sparse else 2
    near = slice(max(cell - more, 0), cell + more + 2)
    ends = slice(cell - near.start, cell - near.start + 2)
    line = np.asarray(nodes[axis], np.float64)[near]
    lines = list(nodes)
    # The axis first, as the others keep their order.
    block = np.moveaxis(values, axis, 0)[near].astype(np.float64)
    if axis == long:
        lines[axis] = nodes[axis][near]
        block += np.moveaxis(added(lines), axis, 0)
    values_at, slopes_at = hermite_weights(t, width)
    if long is None or axis == long:
        smooth, faded = block, 0.0
    else:
        place = long + (long < axis)
        smooth = gaussian_means(nodes[long], block, place, _SMOOTHING)
        rough = block[ends] - smooth[ends]
        shared = _shared(nodes[long], rough * metric, place, 0)[0]
        weights = _fading_weights(t, _fading_power(shared))
        faded = (np.stack(weights)[..., None] * rough).sum(axis=0)
    slopes = node_slopes(line, smooth, metric, sparse)[ends]
    total = np.tensordot(values_at, smooth[ends], 1)
    total += np.tensordot(slopes_at, slopes, 1) + faded
    if axis != long:
        lines[axis] = np.array([x], nodes[axis].dtype)
        total += added(lines).reshape(total.shape)
    return total


def linear_along(
    nodes: NDArray, values: NDArray, axis: int, x: float
) -> NDArray:
    """Return what a `LinearTable` gives at the nodes of all axes but one.

    Args:
        nodes (np.ndarray of float): The coordinates along that axis, (n,).
        values (np.ndarray of float): The values, (n1, ..., nd, k).
        axis (int): The axis to interpolate along.
        x (float): The coordinate on it; beyond the ends, they count.

    Returns:
        np.ndarray of float: Shape (n1, ..., nd, k) without the axis.
    """
    first, t, _ = locate_numpy(nodes, x)
    t = np.clip(_beside_nodes(t), 0.0, 1.0)
    low, high = values.take(first, axis), values.take(first + 1, axis)
    return (1.0 - t) * low + t * high


def _parts_and_fading(
    nodes: Sequence[NDArray], values: NDArray, metric: NDArray
) -> tuple[Array, Array]:
    """Return the parts of a table, and how fast the rough one fades."""
    long = long_axis(values.shape)
    smooth = smoothed(nodes, values)
    rough = values - smooth
    weighed = rough * metric
    slopes, fading = [], []
    for axis, line in enumerate(np.asarray(n, np.float64) for n in nodes):
        if axis == long:
            continue
        lines = np.moveaxis(smooth, axis, 0)
        found = node_slopes(line, lines, metric, len(line) < SPARSE_AXIS)
        slopes.append(np.moveaxis(found, 0, axis))
        if long is not None:
            shared = _shared(nodes[long], weighed, long, axis)
            fading.append(_fading_power(shared))
    parts = jnp.asarray(np.stack([smooth, *slopes, rough]), jnp.float32)
    powers = np.reshape(fading, (len(fading), *values.shape[:-1]))
    return parts, jnp.asarray(powers, jnp.float32)


def _fading_power(shared: NDArray) -> NDArray:
    """Return how fast fades what has so much in common, see `SmoothTable`."""
    return 2.0 + _FADING * (1.0 - shared) ** 3


def _shared(
    nodes: NDArray, rough: NDArray, long: int, axis: int
) -> NDArray[np.float64]:
    """Return what the rough has in common with that of the next node.

    Args:
        nodes (np.ndarray of float): The coordinates along the long axis.
        rough (np.ndarray of float): The rough, (n1, ..., nd, k).
        long (int): The long axis.
        axis (int): The axis along which a node is the next.

    Returns:
        np.ndarray of float: The correlations around each node of the long
            axis, from 0 to 1; at the last node of `axis` that of the one
            before, (n1, ..., nd).
    """
    before = (slice(None),) * axis
    left, right = (*before, slice(None, -1)), (*before, slice(1, None))

    def product(one: NDArray, other: NDArray) -> NDArray:
        each = np.einsum("...k,...k->...", one, other)
        return gaussian_means(nodes, each, long, _COMPARED)

    squares = product(rough, rough)
    size = np.sqrt(squares[left] * squares[right])
    common = np.divide(
        product(rough[left], rough[right]),
        size,
        out=np.ones_like(size),
        where=size > 0,
    )
    last = np.take(common, [-1], axis)
    return np.clip(np.concatenate([common, last], axis), 0.0, 1.0)


def _beside_nodes(t: Any) -> Any:
    """Return parts of cells of which those beside a node go beyond it."""
    return (t - _ON_NODE) / (1.0 - 2.0 * _ON_NODE)


def _fading_weights(t: Any, power: Any) -> tuple[Any, Any]:
    """Return the weights of what is rough at both ends of a cell."""
    u = 1.0 - t
    return u**power * (1.0 + power * t), t**power * (1.0 + power * u)


def _combine(block: Array, pairs: Mapping[int, tuple[Array, Array]]) -> Array:
    """Weigh the two entries along some axes of a block, which drops them."""
    for axis in sorted(pairs, reverse=True):
        low, high = (
            jax.lax.index_in_dim(block, i, axis, keepdims=False)
            for i in (0, 1)
        )
        block = pairs[axis][0] * low + pairs[axis][1] * high
    return block
