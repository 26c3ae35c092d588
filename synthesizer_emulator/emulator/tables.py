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
from scipy.interpolate import PchipInterpolator

from synthesizer_emulator.emulator.scaling import Constant

# An axis with fewer nodes than this is sparse: its slopes are monotone
# (PCHIP), which bounds what a cubic can do in a wide cell. On denser axes
# that was found to cost accuracy (docs/accuracy).
SPARSE_AXIS = 20

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

# The power of the weights in `akima_slopes`; chosen on validation nodes.
_AKIMA_POWER = 1.5

# How near to a node, in parts of the cell, is on it for a linear table.
_ON_NODE = 1e-3

# How many nodes around a point the cubic along a long axis depends on.
_AROUND = 6


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
            cell, t, _ = _locate(nodes[...], x[axis])
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
            points = jnp.broadcast_to(x, (_AROUND, len(x)))
            six = jax.lax.dynamic_slice_in_dim(nodes, first, _AROUND)
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
        sizes = [_AROUND] * len(self.nodes)
        short = [a for a in range(len(self.nodes)) if a != long]
        values_at, slopes_at, part_of_cell = {}, {}, {}
        for a in short:
            starts[a], t, width = _locate(self.nodes[a][...], x[a])
            sizes[a] = 2
            values_at[a], slopes_at[a] = _hermite_weights(t, width)
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


def through_nodes(
    nodes: Array, around: Callable[[Array], Array], x: Array, metric: Array
) -> Array:
    """Draw the cubic of `akima_slopes` through the nodes around a point.

    Args:
        nodes (Array): Ascending coordinates, at least six, (n,).
        around (function): Gives the values (6, k) at six nodes, by the number
            of the first.
        x (Array): The point, ().
        metric (Array): What one unit of each of the k values weighs, (k,).

    Returns:
        Array: The values at the point, (k,).
    """
    nodes, x = _one_precision(nodes, x)
    cell, t, width = _locate(nodes, x)
    first = jnp.clip(cell - 2, 0, len(nodes) - _AROUND)
    values = around(first)
    six = jax.lax.dynamic_slice_in_dim(nodes, first, _AROUND)
    secants = jnp.diff(values, axis=0) / jnp.diff(six)[:, None]
    # Ghost secants beyond the ends continue the change of slope, as in
    # `akima_slopes`; elsewhere they are not used.
    before = secants[:1] - (secants[1:2] - secants[:1]) * jnp.array([[2], [1]])
    after = secants[-1:] + (secants[-1:] - secants[-2:-1]) * jnp.array(
        [[1], [2]]
    )
    every = jnp.concatenate([before, secants, after])
    # The cell's own secant is number `middle`; two on each side count.
    middle = 2 + cell - first
    near = jax.lax.dynamic_slice_in_dim(every, middle - 2, 5)
    on_left = _akima_slope(near[:4], metric, jnp)
    on_right = _akima_slope(near[1:], metric, jnp)
    (v_left, v_right), (s_left, s_right) = _hermite_weights(t, width)
    left, right = jax.lax.dynamic_slice_in_dim(values, cell - first, 2)
    return (
        v_left * left + v_right * right + s_left * on_left + s_right * on_right
    )


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


def akima_slopes(nodes: NDArray, values: NDArray, metric: NDArray) -> NDArray:
    """Return slopes that lean towards the smoother side of each node.

    The modified scheme of Akima (1970, J. ACM 17, 589) as MATLAB's makima
    has it, for vectors: one weight a node, from the metric's norm of the
    changes of slope on either side, so that the result does not depend on
    the basis the values are written in.

    Args:
        nodes (np.ndarray of float): Ascending coordinates, (n,).
        values (np.ndarray of float): The values there, (n, ..., k).
        metric (np.ndarray of float): What one unit of each of the k values
            weighs, (k,).

    Returns:
        np.ndarray of float: The slopes at the nodes, (n, ..., k).
    """
    secants = _secants(nodes, values)
    if len(nodes) < 3:
        return np.concatenate([secants, secants])
    # Two ghost secants on each side continue the change of slope.
    for _ in range(2):
        first = 2 * secants[:1] - secants[1:2]
        last = 2 * secants[-1:] - secants[-2:-1]
        secants = np.concatenate([first, secants, last])
    # Around node j meet the secants j + 1 and j + 2.
    n = len(nodes)
    around = [secants[i : n + i] for i in range(4)]
    return _akima_slope(around, metric, np)


def monotone_slopes(nodes: NDArray, values: NDArray) -> NDArray:
    """Return slopes whose cubics never leave the range of their ends.

    Known as PCHIP: Fritsch & Butland (1984, SIAM J. Sci. Stat. Comput. 5,
    300), as SciPy has it.

    Args:
        nodes (np.ndarray of float): Ascending coordinates, (n,).
        values (np.ndarray of float): The values there, (n, ..., k).

    Returns:
        np.ndarray of float: The slopes at the nodes, (n, ..., k).
    """
    slopes = PchipInterpolator(nodes, values).derivative()(nodes)
    return np.asarray(slopes)


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
    return _mean_around(nodes[long], values, long, _SMOOTHING)


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
    cell, t, width = _locate_by_numpy(nodes[axis], x)
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
    values_at, slopes_at = _hermite_weights(t, width)
    if long is None or axis == long:
        smooth, faded = block, 0.0
    else:
        place = long + (long < axis)
        smooth = _mean_around(nodes[long], block, place, _SMOOTHING)
        rough = block[ends] - smooth[ends]
        shared = _shared(nodes[long], rough * metric, place, 0)[0]
        weights = _fading_weights(t, _fading_power(shared))
        faded = (np.stack(weights)[..., None] * rough).sum(axis=0)
    slopes = _slopes(line, smooth, metric, sparse)[ends]
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
    first, t, _ = _locate_by_numpy(nodes, x)
    t = np.clip(_beside_nodes(t), 0.0, 1.0)
    low, high = values.take(first, axis), values.take(first + 1, axis)
    return (1.0 - t) * low + t * high


def _mean_around(
    nodes: NDArray, values: NDArray, axis: int, width: float
) -> NDArray[np.float64]:
    """Return the Gaussian means of values around each node of an axis.

    Args:
        nodes (np.ndarray of float): Its coordinates, (n,).
        values (np.ndarray of float): The values, (..., n, ...).
        axis (int): Which axis of the values it is.
        width (float): The standard deviation, in parts of the axis.

    Returns:
        np.ndarray of float: Of the same shape.
    """
    x = np.asarray(nodes, np.float64)
    distance = (x[:, None] - x) / (width * (x[-1] - x[0]))
    # A node counts by the stretch of the axis that it stands for.
    kernel = np.exp(-0.5 * distance**2) * np.gradient(x)
    kernel /= kernel.sum(axis=1, keepdims=True)
    return np.moveaxis(np.tensordot(kernel, values, (1, axis)), 0, axis)


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
        found = _slopes(line, lines, metric, len(line) < SPARSE_AXIS)
        slopes.append(np.moveaxis(found, 0, axis))
        if long is not None:
            shared = _shared(nodes[long], weighed, long, axis)
            fading.append(_fading_power(shared))
    parts = jnp.asarray(np.stack([smooth, *slopes, rough]), jnp.float32)
    powers = np.reshape(fading, (len(fading), *values.shape[:-1]))
    return parts, jnp.asarray(powers, jnp.float32)


def _slopes(
    nodes: NDArray, values: NDArray, metric: NDArray, sparse: bool
) -> NDArray:
    """Return the slopes at the nodes of an axis, sparse or not."""
    if sparse:
        return monotone_slopes(nodes, values)
    return akima_slopes(nodes, values, metric)


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
        return _mean_around(nodes, each, long, _COMPARED)

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


def _akima_slope(secants: Any, metric: Any, xp: Any) -> Any:
    """Return the slope at a node of the two secants on each side of it.

    Args:
        secants (sequence of array): The four secants, each (..., k).
        metric (array): What one unit of each of the k values weighs, (k,).
        xp (module): `numpy` or `jax.numpy`, whichever they belong to.

    Returns:
        array: The slope, (..., k).
    """

    def change(one: Any, other: Any) -> Any:
        size = _norm(other - one, metric, xp)
        return (size + 0.5 * _norm(other + one, metric, xp)) ** _AKIMA_POWER

    on_left = change(secants[0], secants[1])
    on_right = change(secants[2], secants[3])
    total = on_left + on_right
    flat = total == 0
    mixed = on_right * secants[1] + on_left * secants[2]
    return xp.where(flat, 0.0, mixed / xp.where(flat, 1.0, total))


def _locate(nodes: Array, x: Array) -> tuple[Array, Array, Array]:
    """Return the cell of a point, its part of the cell and the width.

    All in the finer precision of the two: a part from a point and nodes of
    different ones can be rounded beyond one, where a power has no value.
    """
    nodes, x = _one_precision(nodes, x)
    # Unlike a clip, this keeps the gradient of a point on the edge.
    x = jnp.where(x < nodes[0], nodes[0], x)
    x = jnp.where(x > nodes[-1], nodes[-1], x)
    # A loop over bisections compiles, and on a GPU runs, far slower.
    cell = jnp.sum(nodes[1:-1] <= x)
    low, high = jax.lax.dynamic_slice_in_dim(nodes, cell, 2)
    t = (x - low) / (high - low)
    # Not every device divides exactly.
    return cell, jnp.where(t > 1.0, 1.0, t), high - low


def _locate_by_numpy(nodes: NDArray, x: float) -> tuple[int, float, float]:
    """Return the cell of a point, its part of the cell and the width."""
    line = np.asarray(nodes, np.float64)
    x = float(np.clip(x, line[0], line[-1]))
    cell = int(np.searchsorted(line[1:-1], x, side="right"))
    width = float(line[cell + 1] - line[cell])
    return cell, float(x - line[cell]) / width, width


def _beside_nodes(t: Any) -> Any:
    """Return parts of cells of which those beside a node go beyond it."""
    return (t - _ON_NODE) / (1.0 - 2.0 * _ON_NODE)


def _one_precision(nodes: Array, x: Array) -> tuple[Array, Array]:
    """Return both in the finer precision of the two."""
    dtype = jnp.result_type(nodes, x)
    return nodes.astype(dtype), x.astype(dtype)


def _hermite_weights(
    t: Any, h: Any
) -> tuple[tuple[Any, Any], tuple[Any, Any]]:
    """Return the weights of the values and of the slopes at both ends."""
    u = 1.0 - t
    values = u * u * (1 + 2 * t), t * t * (1 + 2 * u)
    slopes = h * t * u * u, -h * t * t * u
    return values, slopes


def _secants(nodes: NDArray, values: NDArray) -> NDArray:
    """Return the slopes between neighbours, (n - 1, ..., k)."""
    h = np.diff(nodes).reshape(-1, *(1,) * (values.ndim - 1))
    return np.diff(values, axis=0) / h


def _norm(vectors: Any, metric: Any, xp: Any) -> Any:
    """Return the metric's norm along the last axis, which stays."""
    squares = xp.sum((vectors * metric) ** 2, axis=-1, keepdims=True)
    # A square root has no slope at zero.
    none = squares == 0
    return xp.where(none, 0.0, xp.sqrt(xp.where(none, 1.0, squares)))


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
