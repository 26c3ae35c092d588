"""Interpolation in tables of vectors at the nodes of a rectilinear grid.

Tables are evaluated at one point in JAX; use `jax.vmap` for many points. The
functions `smooth_along` and `linear_along` interpolate them along one axis in
NumPy, at all nodes of the other axes.
"""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx
from jax import Array
from jax.typing import ArrayLike
from jaxtyping import Float
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

# The standard deviation of the Gaussian that separates the smooth from the
# sharp part along a long axis, as a fraction of the axis. Sharp features in
# age shift by about this fraction between metallicities.
_SMOOTHING = 1 / 128

# The standard deviation of the Gaussian window along a long axis in which the
# sharp parts at neighbouring nodes are correlated, as a fraction of the axis.
_CORRELATION_WINDOW = 1 / 50

# The damping of a sharp part that is uncorrelated with its neighbour, see
# `SmoothTable`. A value several times larger is as accurate between the nodes,
# but bends sharply next to them.
_DAMPING = 10.0

# In a linear table, points within this fraction of a cell from a node are
# moved to the node.
_ON_NODE = 1e-3


class Derived(nnx.Variable):
    """An array that is computed from other arrays, and not stored."""


class LinearTable(nnx.Module):
    """A table with multilinear interpolation.

    Points outside have the value at the nearest edge. Points within a
    thousandth of a cell from a node are moved to it, so that float32 rounding
    does not change an exact zero at a node.

    Attributes:
        nodes (nnx.List of Constant): The coordinates along each axis.
        values (Constant): The values, (n1, ..., nd, k).
    """

    def __init__(self, nodes: Sequence[ArrayLike], values: ArrayLike) -> None:
        self.nodes = nnx.List([Constant(jnp.asarray(n)) for n in nodes])
        self.values = Constant(jnp.asarray(values))

    def __call__(self, x: Float[Array, " d"]) -> Float[Array, " k"]:
        """Return the values (k,) at one point x (d,)."""
        starts, weights = [], {}
        for axis, nodes in enumerate(self.nodes):
            cell, t, _ = locate(nodes[...], x[axis])
            t = jnp.clip(_stretched(t), 0.0, 1.0)
            starts.append(cell)
            weights[axis] = 1.0 - t, t
        k, zero = self.values[...].shape[-1], jnp.zeros_like(starts[0])
        corners = jax.lax.dynamic_slice(
            self.values[...], [*starts, zero], [2] * len(starts) + [k]
        )
        return _combine(corners, weights)


class SmoothTable(nnx.Module):
    r"""A table with cubic interpolation, damped where it is sharp.

    It passes through the values at the nodes, and its first derivatives along
    the axes are continuous. Points outside have the value at the nearest edge.

    The longest axis, unless it is sparse, is interpolated last: first the
    table is interpolated along the other axes at the six nodes around the
    point, then a cubic along the long axis passes through these six values.
    A network's trend can be added to the six values, so that it does not act
    between the nodes of the long axis.

    Along the long axis, a Gaussian splits the values into a smooth part $V$
    and a sharp part $R$. With the position $t_a$ in the cell along each other
    axis $a$, the Hermite weights $H$ of values and $G$ of slopes, and the
    weights $B$ of the sharp part, the value at a node of the long axis is

    $$ \sum_{corners} \Big( \prod_a H_a \, V + \sum_a G_a
       \prod_{b \ne a} H_b \, S_a + \prod_a B_a \, R \Big) $$

    where $S_a$ are the slopes of `monotone_slopes`, or of `akima_slopes` on
    an axis that is not sparse. Sharp features shift along the long axis from
    one node of another axis to the next, or occur at one node only. Their
    mean would contain each of them twice, at half its strength. Therefore
    they are damped between the nodes by

    $$ B(t) = (1 - t)^n (1 + n t), \qquad n = 2 + 10 (1 - \rho)^3 $$

    with the correlation $\rho \ge 0$ of the sharp parts at the two ends of
    the cell, around the same node of the long axis. For equal sharp parts
    $B = H$; the less they are correlated, the faster $B$ falls. Without a long
    axis, the sharp part is zero.

    Attributes:
        nodes (nnx.List of Constant): The coordinates along each axis.
        values (Constant): The values, (n1, ..., nd, k).
        metric (Constant): The weight of each of the k components in norms,
            (k,).
        parts (Derived): The smooth part, its slopes along each of the m axes
            that are not long, and the sharp part, (m + 2, n1, ..., nd, k).
        damping (Derived): The exponent n along each of these axes, in the
            cell after each node (at the last node, in the cell before it),
            (m, n1, ..., nd).
    """

    def __init__(
        self,
        nodes: Sequence[NDArray],
        values: NDArray,
        metric: NDArray,
        derived: bool = True,
    ) -> None:
        """Compute the parts of the table.

        Args:
            nodes (sequence of np.ndarray): The coordinates along each axis.
            values (np.ndarray of float): The values, (n1, ..., nd, k).
            metric (np.ndarray of float): The weight of each component, (k,).
            derived (bool): Whether to compute `parts` and `damping` now; if
                not, `derive` computes them.
        """
        self.nodes = nnx.List([Constant(jnp.asarray(n)) for n in nodes])
        self.values = Constant(jnp.asarray(values))
        self.metric = Constant(jnp.asarray(metric))
        parts, damping = (
            _parts_and_damping(nodes, values, metric) if derived else (0, 0)
        )
        self.parts = Derived(jnp.asarray(parts))
        self.damping = Derived(jnp.asarray(damping))

    def derive(self) -> None:
        """Compute `parts` and `damping` from the other arrays."""
        parts, damping = _parts_and_damping(
            [np.asarray(n[...]) for n in self.nodes],
            np.asarray(self.values[...]),
            np.asarray(self.metric[...]),
        )
        self.parts = Derived(parts)
        self.damping = Derived(damping)

    def without(self, axis: int, node: int) -> "SmoothTable":
        """Return the table without one node of an axis."""
        nodes = [np.asarray(n[...]) for n in self.nodes]
        nodes[axis] = np.delete(nodes[axis], node)
        return SmoothTable(
            nodes,
            np.delete(np.asarray(self.values[...]), node, axis),
            np.asarray(self.metric[...]),
        )

    def __call__(
        self,
        x: Float[Array, " d"],
        added: Callable[[Array], Array] | None = None,
    ) -> Float[Array, " k"]:
        """Return the values at one point.

        Args:
            x (Array): The point, (d,).
            added (function): Maps a point (d,) to values (k,) that are added
                to the table before it is interpolated along a long axis.

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
        """Interpolate along all axes, or at six nodes of the long axis.

        Args:
            x (Array): The point, (d,).
            long (int): The long axis; None if no axis is long.
            first (Array): The index of the first of the six nodes, ().

        Returns:
            Array: The values, (k,) or (6, k).
        """
        starts: list[Any] = [first] * len(self.nodes)
        sizes = [STENCIL] * len(self.nodes)
        short = [a for a in range(len(self.nodes)) if a != long]
        values_at, slopes_at, position = {}, {}, {}
        for a in short:
            starts[a], t, width = locate(self.nodes[a][...], x[a])
            sizes[a] = 2
            values_at[a], slopes_at[a] = hermite_weights(t, width)
            position[a] = t
        # One slice is faster than several look-ups.
        k, zero = self.values[...].shape[-1], jnp.zeros_like(starts[0])
        smooth, *slopes, sharp = jax.lax.dynamic_slice(
            self.parts[...],
            [zero, *starts, zero],
            [len(short) + 2, *sizes, k],
        )
        total = _combine(smooth, values_at)
        for from_axis, a in zip(slopes, short, strict=True):
            total += _combine(from_axis, {**values_at, a: slopes_at[a]})
        if long is None:
            return total
        exponents = jax.lax.dynamic_slice(
            self.damping[...], [zero, *starts], [len(short), *sizes]
        )
        for exponent, a in zip(exponents, short, strict=True):
            of_cell = jax.lax.slice_in_dim(exponent, 0, 1, axis=a)
            weights = _damped_weights(position[a], of_cell)
            sharp *= jnp.concatenate(weights, axis=a)[..., None]
        return total + jnp.sum(sharp, axis=tuple(short))


def long_axis(shape: Sequence[int]) -> int | None:
    """Return the longest axis of a table (n1, ..., nd, k), None if sparse."""
    *lengths, _ = shape
    longest = max(lengths)
    return lengths.index(longest) if longest >= SPARSE_AXIS else None


def smoothed(nodes: Sequence[NDArray], values: NDArray) -> NDArray[np.float64]:
    """Return the smooth part of values along a long axis.

    Args:
        nodes (sequence of np.ndarray): The coordinates along each axis.
        values (np.ndarray of float): The values, (n1, ..., nd, k).

    Returns:
        np.ndarray of float: The smooth part, of the same shape; without a
            long axis, the values themselves.
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
    """Interpolate a `SmoothTable` along one axis, in NumPy.

    Args:
        nodes (sequence of np.ndarray): The coordinates along each axis.
        values (np.ndarray of float): The values, (n1, ..., nd, k).
        metric (np.ndarray of float): The weight of each component, (k,).
        axis (int): The axis to interpolate along.
        x (float): The coordinate on it; clipped to the axis.
        added (function): Maps coordinates along each axis to the values to
            add at all their combinations, as in `SmoothTable.__call__`.

    Returns:
        np.ndarray of float: The values at all nodes of the other axes,
            (n1, ..., nd, k) without the axis.
    """
    long = long_axis(values.shape)
    sparse = len(nodes[axis]) < SPARSE_AXIS
    cell, t, width = locate_numpy(nodes[axis], x)
    # The slopes at both ends of the cell depend on the nodes around it.
    margin = 1 if sparse else 2
    near = slice(max(cell - margin, 0), cell + margin + 2)
    ends = slice(cell - near.start, cell - near.start + 2)
    line = np.asarray(nodes[axis], np.float64)[near]
    lines = list(nodes)
    # The axis comes first, and the others in order.
    block = np.moveaxis(values, axis, 0)[near].astype(np.float64)
    if axis == long:
        lines[axis] = nodes[axis][near]
        block += np.moveaxis(added(lines), axis, 0)
    values_at, slopes_at = hermite_weights(t, width)
    if long is None or axis == long:
        smooth, damped = block, 0.0
    else:
        moved = long + (long < axis)
        smooth = gaussian_means(nodes[long], block, moved, _SMOOTHING)
        sharp = block[ends] - smooth[ends]
        correlation = _correlation(nodes[long], sharp * metric, moved, 0)[0]
        weights = _damped_weights(t, _damping_exponent(correlation))
        damped = (np.stack(weights)[..., None] * sharp).sum(axis=0)
    slopes = node_slopes(line, smooth, metric, sparse)[ends]
    total = np.tensordot(values_at, smooth[ends], 1)
    total += np.tensordot(slopes_at, slopes, 1) + damped
    if axis != long:
        lines[axis] = np.array([x], nodes[axis].dtype)
        total += added(lines).reshape(total.shape)
    return total


def linear_along(
    nodes: NDArray, values: NDArray, axis: int, x: float
) -> NDArray:
    """Interpolate a `LinearTable` along one axis, in NumPy.

    Args:
        nodes (np.ndarray of float): The coordinates along that axis, (n,).
        values (np.ndarray of float): The values, (n1, ..., nd, k).
        axis (int): The axis to interpolate along.
        x (float): The coordinate on it; clipped to the axis.

    Returns:
        np.ndarray of float: The values at all nodes of the other axes,
            (n1, ..., nd, k) without the axis.
    """
    first, t, _ = locate_numpy(nodes, x)
    t = np.clip(_stretched(t), 0.0, 1.0)
    low, high = values.take(first, axis), values.take(first + 1, axis)
    return (1.0 - t) * low + t * high


def _parts_and_damping(
    nodes: Sequence[NDArray], values: NDArray, metric: NDArray
) -> tuple[Array, Array]:
    """Return the `parts` and `damping` of a `SmoothTable`."""
    long = long_axis(values.shape)
    smooth = smoothed(nodes, values)
    sharp = values - smooth
    weighted = sharp * metric
    slopes, damping = [], []
    for axis, line in enumerate(np.asarray(n, np.float64) for n in nodes):
        if axis == long:
            continue
        lines = np.moveaxis(smooth, axis, 0)
        along = node_slopes(line, lines, metric, len(line) < SPARSE_AXIS)
        slopes.append(np.moveaxis(along, 0, axis))
        if long is not None:
            correlation = _correlation(nodes[long], weighted, long, axis)
            damping.append(_damping_exponent(correlation))
    parts = jnp.asarray(np.stack([smooth, *slopes, sharp]), jnp.float32)
    exponents = np.reshape(damping, (len(damping), *values.shape[:-1]))
    return parts, jnp.asarray(exponents, jnp.float32)


def _damping_exponent(correlation: NDArray) -> NDArray:
    """Return the exponent n of the damping, as in `SmoothTable`."""
    return 2.0 + _DAMPING * (1.0 - correlation) ** 3


def _correlation(
    nodes: NDArray, sharp: NDArray, long: int, axis: int
) -> NDArray[np.float64]:
    """Return the correlation of sharp parts at neighbouring nodes.

    Args:
        nodes (np.ndarray of float): The coordinates along the long axis.
        sharp (np.ndarray of float): The weighted sharp parts,
            (n1, ..., nd, k).
        long (int): The long axis.
        axis (int): The axis along which the nodes are neighbours.

    Returns:
        np.ndarray of float: The correlation of each node with the next, from
            0 to 1, in a window around the same node of the long axis,
            (n1, ..., nd). The last along `axis` repeats the one before.
    """
    before = (slice(None),) * axis
    left, right = (*before, slice(None, -1)), (*before, slice(1, None))

    def mean_product(a: NDArray, b: NDArray) -> NDArray:
        products = np.einsum("...k,...k->...", a, b)
        return gaussian_means(nodes, products, long, _CORRELATION_WINDOW)

    squares = mean_product(sharp, sharp)
    size = np.sqrt(squares[left] * squares[right])
    correlation = np.divide(
        mean_product(sharp[left], sharp[right]),
        size,
        out=np.ones_like(size),
        where=size > 0,
    )
    last = np.take(correlation, [-1], axis)
    return np.clip(np.concatenate([correlation, last], axis), 0.0, 1.0)


def _stretched(t: Any) -> Any:
    """Return positions in a cell, stretched to be outside close to a node."""
    return (t - _ON_NODE) / (1.0 - 2.0 * _ON_NODE)


def _damped_weights(t: Any, n: Any) -> tuple[Any, Any]:
    """Return the weights B of the sharp part at both ends of a cell."""
    u = 1.0 - t
    return u**n * (1.0 + n * t), t**n * (1.0 + n * u)


def _combine(block: Array, pairs: Mapping[int, tuple[Array, Array]]) -> Array:
    """Return the weighted sum of the two entries along some axes."""
    for axis in sorted(pairs, reverse=True):
        low, high = (
            jax.lax.index_in_dim(block, i, axis, keepdims=False)
            for i in (0, 1)
        )
        block = pairs[axis][0] * low + pairs[axis][1] * high
    return block
