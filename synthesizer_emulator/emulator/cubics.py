"""Cubic Hermite interpolation along one axis, in NumPy and in JAX.

The cubic in a cell follows from the values and slopes at its two nodes. Slopes
are those of PCHIP on axes of few nodes, and of Akima on others. Values are
vectors of k components, with the weights of the metric in norms.
"""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array
from numpy.typing import NDArray
from scipy.interpolate import PchipInterpolator

# An axis with fewer nodes than this is sparse, and has PCHIP slopes, which
# keep a cubic from overshooting in a wide cell. On denser axes PCHIP is less
# accurate (docs/accuracy).
SPARSE_AXIS = 20

# The exponent of the weights in `akima_slopes`, chosen on validation nodes.
_AKIMA_POWER = 1.5

# The number of nodes around a point that an Akima cubic depends on.
STENCIL = 6


def through_nodes(
    nodes: Array, around: Callable[[Array], Array], x: Array, metric: Array
) -> Array:
    """Interpolate to a point with the slopes of `akima_slopes`, in JAX.

    Args:
        nodes (Array): Ascending coordinates, at least six, (n,).
        around (function): Maps the index of a node, (), to the values at
            this and the next five nodes, (6, k).
        x (Array): The point, ().
        metric (Array): The weight of each component, (k,).

    Returns:
        Array: The values at the point, (k,).
    """
    nodes, x = _one_precision(nodes, x)
    cell, t, width = locate(nodes, x)
    first = jnp.clip(cell - 2, 0, len(nodes) - STENCIL)
    values = around(first)
    six = jax.lax.dynamic_slice_in_dim(nodes, first, STENCIL)
    secants = jnp.diff(values, axis=0) / jnp.diff(six)[:, None]
    # Beyond the ends of the axis, secants are extrapolated linearly, as in
    # `akima_slopes`.
    before = secants[:1] - (secants[1:2] - secants[:1]) * jnp.array([[2], [1]])
    after = secants[-1:] + (secants[-1:] - secants[-2:-1]) * jnp.array(
        [[1], [2]]
    )
    extended = jnp.concatenate([before, secants, after])
    # The slopes depend on the secant of the cell, at index `middle`, and on
    # two secants on each side.
    middle = 2 + cell - first
    near = jax.lax.dynamic_slice_in_dim(extended, middle - 2, 5)
    on_left = _akima_slope(near[:4], metric, jnp)
    on_right = _akima_slope(near[1:], metric, jnp)
    (v_left, v_right), (s_left, s_right) = hermite_weights(t, width)
    left, right = jax.lax.dynamic_slice_in_dim(values, cell - first, 2)
    return (
        v_left * left + v_right * right + s_left * on_left + s_right * on_right
    )


def akima_slopes(nodes: NDArray, values: NDArray, metric: NDArray) -> NDArray:
    """Return the modified Akima slopes of vectors at the nodes of an axis.

    The scheme of Akima (1970, J. ACM 17, 589), modified as in MATLAB's
    makima: the mean of the secants on both sides, where the side with less
    change of slope has more weight. All components share the weights, which
    are norms under the metric, so that the slopes do not depend on the basis.

    Args:
        nodes (np.ndarray of float): Ascending coordinates, (n,).
        values (np.ndarray of float): The values there, (n, ..., k).
        metric (np.ndarray of float): The weight of each component, (k,).

    Returns:
        np.ndarray of float: The slopes at the nodes, (n, ..., k).
    """
    secants = _secants(nodes, values)
    if len(nodes) < 3:
        return np.concatenate([secants, secants])
    # Two more secants on each side, extrapolated linearly.
    for _ in range(2):
        first = 2 * secants[:1] - secants[1:2]
        last = 2 * secants[-1:] - secants[-2:-1]
        secants = np.concatenate([first, secants, last])
    # The secants on the two sides of node j have indices j + 1 and j + 2.
    n = len(nodes)
    around = [secants[i : n + i] for i in range(4)]
    return _akima_slope(around, metric, np)


def monotone_slopes(nodes: NDArray, values: NDArray) -> NDArray:
    """Return the slopes of monotone cubics (PCHIP) at the nodes of an axis.

    The scheme of Fritsch & Butland (1984, SIAM J. Sci. Stat. Comput. 5, 300),
    as in SciPy. The cubic in a cell stays between the values at its ends.

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
    """Smooth values along an axis with a Gaussian.

    Args:
        nodes (np.ndarray of float): The coordinates of the axis, (n,).
        values (np.ndarray of float): The values, (..., n, ...).
        axis (int): The axis of the array.
        width (float): The standard deviation, as a fraction of the axis.

    Returns:
        np.ndarray of float: The weighted means, of the same shape.
    """
    x = np.asarray(nodes, np.float64)
    distance = (x[:, None] - x) / (width * (x[-1] - x[0]))
    # Nodes are weighted by their spacing.
    kernel = np.exp(-0.5 * distance**2) * np.gradient(x)
    kernel /= kernel.sum(axis=1, keepdims=True)
    return np.moveaxis(np.tensordot(kernel, values, (1, axis)), 0, axis)


def node_slopes(
    nodes: NDArray, values: NDArray, metric: NDArray, sparse: bool
) -> NDArray:
    """Return PCHIP slopes on a sparse axis, and Akima slopes on others."""
    if sparse:
        return monotone_slopes(nodes, values)
    return akima_slopes(nodes, values, metric)


def _akima_slope(secants: Any, metric: Any, xp: Any) -> Any:
    """Return the Akima slope (..., k) at a node from four secants (..., k).

    The secants are two on each side of the node, in order.
    """

    def change(left: Any, right: Any) -> Any:
        size = _norm(right - left, metric, xp)
        return (size + 0.5 * _norm(right + left, metric, xp)) ** _AKIMA_POWER

    on_left = change(secants[0], secants[1])
    on_right = change(secants[2], secants[3])
    total = on_left + on_right
    flat = total == 0
    mixed = on_right * secants[1] + on_left * secants[2]
    return xp.where(flat, 0.0, mixed / xp.where(flat, 1.0, total))


def locate(nodes: Array, x: Array) -> tuple[Array, Array, Array]:
    """Return the cell of a point, the position in it, and its width.

    The position, from 0 to 1, is computed in the finer precision of point and
    nodes: mixed precisions could round it above 1, where a power of 1 - t is
    undefined. Points outside the axis are moved to its end.
    """
    nodes, x = _one_precision(nodes, x)
    # Unlike a clip, this keeps the gradient of a point at an end.
    x = jnp.where(x < nodes[0], nodes[0], x)
    x = jnp.where(x > nodes[-1], nodes[-1], x)
    # Bisection compiles more slowly, and runs more slowly on a GPU.
    cell = jnp.sum(nodes[1:-1] <= x)
    low, high = jax.lax.dynamic_slice_in_dim(nodes, cell, 2)
    t = (x - low) / (high - low)
    # Division is inexact on some devices, and could exceed 1.
    return cell, jnp.where(t > 1.0, 1.0, t), high - low


def locate_numpy(nodes: NDArray, x: float) -> tuple[int, float, float]:
    """Return the cell, position and width as in `locate`, in NumPy."""
    line = np.asarray(nodes, np.float64)
    x = float(np.clip(x, line[0], line[-1]))
    cell = int(np.searchsorted(line[1:-1], x, side="right"))
    width = float(line[cell + 1] - line[cell])
    return cell, float(x - line[cell]) / width, width


def _one_precision(nodes: Array, x: Array) -> tuple[Array, Array]:
    """Convert nodes and point to the finer precision of the two."""
    dtype = jnp.result_type(nodes, x)
    return nodes.astype(dtype), x.astype(dtype)


def hermite_weights(t: Any, h: Any) -> tuple[tuple[Any, Any], tuple[Any, Any]]:
    """Return the cubic Hermite weights of values and slopes at both ends.

    Args:
        t (float/array): The position in the cell, from 0 to 1.
        h (float/array): The width of the cell.

    Returns:
        tuple: The two weights of the values, and those of the slopes.
    """
    u = 1.0 - t
    values = u * u * (1 + 2 * t), t * t * (1 + 2 * u)
    slopes = h * t * u * u, -h * t * t * u
    return values, slopes


def _secants(nodes: NDArray, values: NDArray) -> NDArray:
    """Return the slopes between neighbouring nodes, (n - 1, ..., k)."""
    h = np.diff(nodes).reshape(-1, *(1,) * (values.ndim - 1))
    return np.diff(values, axis=0) / h


def _norm(vectors: Any, metric: Any, xp: Any) -> Any:
    """Return the weighted norm along the last axis, which is kept."""
    squares = xp.sum((vectors * metric) ** 2, axis=-1, keepdims=True)
    # The square root is not differentiable at zero.
    zero = squares == 0
    return xp.where(zero, 0.0, xp.sqrt(xp.where(zero, 1.0, squares)))
