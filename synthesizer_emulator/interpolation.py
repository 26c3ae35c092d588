"""Local interpolation in tables over the nodes of a rectilinear grid.

For one point; batch it with `jax.vmap`. It knows nothing of astronomy.
"""

from collections.abc import Sequence
from itertools import product

import jax.numpy as jnp
import numpy as np
from flax import nnx
from jax import Array
from jax.typing import ArrayLike
from numpy.typing import NDArray

from synthesizer_emulator.scaling import Constant

# An axis with fewer nodes than this is sparse: its slopes are half
# monotone (PCHIP), which bounds what a cubic can do in a wide cell. On
# denser axes that was found to cost accuracy (docs/accuracy).
SPARSE_AXIS = 20

# The power of the weights in `akima_slopes`; chosen on validation nodes.
_AKIMA_POWER = 1.5

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
        cells = []
        for axis, nodes in enumerate(self.nodes):
            cell, t, _ = _locate(nodes[...], x[axis])
            t = (t - _ON_NODE) / (1.0 - 2.0 * _ON_NODE)
            cells.append((cell, jnp.clip(t, 0.0, 1.0)))
        total: Array | float = 0.0
        for corner in product((0, 1), repeat=len(cells)):
            index = tuple(c[0] + k for c, k in zip(cells, corner, strict=True))
            weight: Array | float = 1.0
            for (_, t), k in zip(cells, corner, strict=True):
                weight = weight * (t if k else 1.0 - t)
            total = total + weight * self.values[...][index]
        return jnp.asarray(total)


class SmoothTable(nnx.Module):
    r"""Values at the nodes, cubic Hermite polynomials between.

    At a node its value comes back exactly, and first derivatives along
    the axes are continuous there. With cell coordinates $t_a$ and the
    Hermite weights $H$ of values and $G$ of slopes, the value is

    $$ \sum_{corners} \Big( \prod_a H_a \, V + \sum_a G_a
       \prod_{b \ne a} H_b \, S_a \Big) $$

    with the slopes $S_a$ of `akima_slopes` (on a sparse axis averaged
    with `monotone_slopes`). Outside, points get the nearest edge's value.

    Attributes:
        nodes (nnx.List of Constant): The coordinates along each axis.
        values (Constant): The values, (n1, ..., nd, k).
        metric (Constant): What one unit of each of the k values weighs
            where they are compared, (k,).
        slopes (Derived): The slopes along each axis, (d, n1, ..., nd, k).
    """

    def __init__(
        self, nodes: Sequence[NDArray], values: NDArray, metric: NDArray
    ) -> None:
        self.nodes = nnx.List([Constant(jnp.asarray(n)) for n in nodes])
        self.values = Constant(jnp.asarray(values))
        self.metric = Constant(jnp.asarray(metric))
        self.slopes = Derived(_node_slopes(nodes, values, metric))

    def derive(self) -> None:
        """Find the slopes anew, after the other arrays were filled in."""
        nodes = [np.asarray(n[...]) for n in self.nodes]
        values, metric = self.values[...], self.metric[...]
        self.slopes = Derived(
            _node_slopes(nodes, np.asarray(values), np.asarray(metric))
        )

    def __call__(self, x: Array) -> Array:
        """Interpolate at one point x (d,), giving (k,)."""
        cells = [_locate(n[...], x[i]) for i, n in enumerate(self.nodes)]
        weights = [_hermite_weights(t, h) for _, t, h in cells]
        axes = range(len(cells))
        total: Array | float = 0.0
        for corner in product((0, 1), repeat=len(cells)):
            index = tuple(c[0] + k for c, k in zip(cells, corner, strict=True))
            value = [weights[a][0][corner[a]] for a in axes]
            slope = [weights[a][1][corner[a]] for a in axes]
            total = total + _product(value) * self.values[...][index]
            for a in axes:
                mixed = [slope[b] if b == a else value[b] for b in axes]
                total = total + _product(mixed) * self.slopes[...][(a, *index)]
        return jnp.asarray(total)


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
    change = _norm(np.diff(secants, axis=0), metric)
    change += 0.5 * _norm(secants[1:] + secants[:-1], metric)
    change = change**_AKIMA_POWER
    # Around node j, secants j + 1 and j + 2 meet; change j is that of the
    # pair that ends on its left, j + 2 of the one that begins on its right.
    n = len(nodes)
    left, right = secants[1 : n + 1], secants[2 : n + 2]
    on_left, on_right = change[:n], change[2 : n + 2]
    total = on_left + on_right
    mixed = on_right * left + on_left * right
    return np.divide(mixed, total, out=np.zeros_like(mixed), where=total > 0)


def monotone_slopes(nodes: NDArray, values: NDArray) -> NDArray:
    """Return slopes whose cubics never leave the range of their ends.

    Weighted harmonic means of the secants on both sides, zero at local
    extrema: Fritsch & Butland (1984, SIAM J. Sci. Stat. Comput. 5, 300),
    known as PCHIP. At the ends, the secant.

    Args:
        nodes (np.ndarray of float): Ascending coordinates, (n,).
        values (np.ndarray of float): The values there, (n, ..., k).

    Returns:
        np.ndarray of float: The slopes at the nodes, (n, ..., k).
    """
    secants = _secants(nodes, values)
    h = np.diff(nodes).reshape(-1, *(1,) * (values.ndim - 1))
    left, right = secants[:-1], secants[1:]
    w_left, w_right = 2 * h[1:] + h[:-1], h[1:] + 2 * h[:-1]
    same_sign = left * right > 0
    mixed = w_left * right + w_right * left
    inner = np.divide(
        (w_left + w_right) * left * right,
        mixed,
        out=np.zeros_like(mixed),
        where=same_sign,
    )
    return np.concatenate([secants[:1], inner, secants[-1:]])


def _node_slopes(
    nodes: Sequence[NDArray], values: NDArray, metric: NDArray
) -> Array:
    """Return the slopes along each axis of a table, (d, n1, ..., nd, k)."""
    slopes = []
    for axis, line in enumerate(np.asarray(n, np.float64) for n in nodes):
        lines = np.moveaxis(np.asarray(values, np.float64), axis, 0)
        found = akima_slopes(line, lines, metric)
        if len(line) < SPARSE_AXIS:
            found = 0.5 * (found + monotone_slopes(line, lines))
        slopes.append(np.moveaxis(found, 0, axis))
    return jnp.asarray(np.stack(slopes), jnp.float32)


def _locate(nodes: Array, x: Array) -> tuple[Array, Array, Array]:
    """Return the cell of a point, its part of the cell and the width."""
    # Unlike a clip, this keeps the gradient of a point on the edge.
    x = jnp.where(x < nodes[0], nodes[0], x)
    x = jnp.where(x > nodes[-1], nodes[-1], x)
    cell = jnp.searchsorted(nodes, x, side="right") - 1
    cell = jnp.clip(cell, 0, len(nodes) - 2)
    width = nodes[cell + 1] - nodes[cell]
    return cell, (x - nodes[cell]) / width, width


def _hermite_weights(
    t: Array, h: Array
) -> tuple[tuple[Array, Array], tuple[Array, Array]]:
    """Return the weights of the values and of the slopes at both ends."""
    u = 1.0 - t
    values = u * u * (1 + 2 * t), t * t * (1 + 2 * u)
    slopes = h * t * u * u, -h * t * t * u
    return values, slopes


def _secants(nodes: NDArray, values: NDArray) -> NDArray:
    """Return the slopes between neighbours, (n - 1, ..., k)."""
    h = np.diff(nodes).reshape(-1, *(1,) * (values.ndim - 1))
    return np.diff(values, axis=0) / h


def _norm(vectors: NDArray, metric: NDArray) -> NDArray:
    """Return the metric's norm along the last axis, which stays."""
    return np.sqrt(np.sum((vectors * metric) ** 2, axis=-1, keepdims=True))


def _product(factors: Sequence[Array]) -> Array:
    """Return the product of a few numbers."""
    result = factors[0]
    for factor in factors[1:]:
        result = result * factor
    return result
