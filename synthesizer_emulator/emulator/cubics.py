"""Cubic interpolation along one axis, in NumPy and in JAX."""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array
from numpy.typing import NDArray
from scipy.interpolate import PchipInterpolator

# An axis with fewer nodes than this is sparse: its slopes are monotone
# (PCHIP), which bounds what a cubic can do in a wide cell. On denser axes
# that was found to cost accuracy (docs/accuracy).
SPARSE_AXIS = 20


# The power of the weights in `akima_slopes`; chosen on validation nodes.
_AKIMA_POWER = 1.5


# How many nodes around a point the cubic along a long axis depends on.
STENCIL = 6


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
    cell, t, width = locate(nodes, x)
    first = jnp.clip(cell - 2, 0, len(nodes) - STENCIL)
    values = around(first)
    six = jax.lax.dynamic_slice_in_dim(nodes, first, STENCIL)
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
    (v_left, v_right), (s_left, s_right) = hermite_weights(t, width)
    left, right = jax.lax.dynamic_slice_in_dim(values, cell - first, 2)
    return (
        v_left * left + v_right * right + s_left * on_left + s_right * on_right
    )


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


def gaussian_means(
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


def node_slopes(
    nodes: NDArray, values: NDArray, metric: NDArray, sparse: bool
) -> NDArray:
    """Return the slopes at the nodes of an axis, sparse or not."""
    if sparse:
        return monotone_slopes(nodes, values)
    return akima_slopes(nodes, values, metric)


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


def locate(nodes: Array, x: Array) -> tuple[Array, Array, Array]:
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


def locate_numpy(nodes: NDArray, x: float) -> tuple[int, float, float]:
    """Return the cell of a point, its part of the cell and the width."""
    line = np.asarray(nodes, np.float64)
    x = float(np.clip(x, line[0], line[-1]))
    cell = int(np.searchsorted(line[1:-1], x, side="right"))
    width = float(line[cell + 1] - line[cell])
    return cell, float(x - line[cell]) / width, width


def _one_precision(nodes: Array, x: Array) -> tuple[Array, Array]:
    """Return both in the finer precision of the two."""
    dtype = jnp.result_type(nodes, x)
    return nodes.astype(dtype), x.astype(dtype)


def hermite_weights(t: Any, h: Any) -> tuple[tuple[Any, Any], tuple[Any, Any]]:
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
