"""Smooth local interpolation in a table over the nodes of a grid.

For one point; batch it with `jax.vmap`. It knows nothing of astronomy.
"""

from collections.abc import Sequence

import jax.numpy as jnp
from flax import nnx
from jax import Array

from synthesizer_emulator.scaling import Constant


class NodeTable(nnx.Module):
    """Values at the nodes of a rectilinear grid, interpolated between.

    At a node the value of the node comes back exactly. Between nodes each
    axis in turn is a monotone cubic (see `monotone_cubic`) or linear; the
    result has continuous first derivatives if cubic. Points outside get
    the value at the nearest edge.

    Attributes:
        nodes (nnx.List of Constant): The coordinates along each axis.
        values (Constant): The values, (n1, ..., nd, k).
        linear (bool): Whether to interpolate linearly.
    """

    def __init__(
        self, nodes: Sequence[Array], values: Array, linear: bool = False
    ) -> None:
        self.nodes = nnx.List([Constant(jnp.asarray(n)) for n in nodes])
        self.values = Constant(jnp.asarray(values))
        self.linear = linear

    def __call__(self, x: Array) -> Array:
        """Interpolate at one point x (d,), giving (k,)."""
        starts, stencils = [], []
        values = self.values[...]
        for axis, variable in enumerate(self.nodes):
            nodes = variable[...]
            point = jnp.where(x[axis] < nodes[0], nodes[0], x[axis])
            point = jnp.where(point > nodes[-1], nodes[-1], point)
            cell = jnp.clip(
                jnp.searchsorted(nodes, point, side="right") - 1,
                0,
                len(nodes) - 2,
            )
            width = 2 if self.linear else 4
            starts.append(cell - (width // 2 - 1) + jnp.arange(width))
            stencils.append((nodes, point))
        inside = [
            jnp.clip(index, 0, len(nodes) - 1)
            for index, (nodes, _) in zip(starts, stencils, strict=True)
        ]
        block = values[jnp.ix_(*inside)]
        for index, kept, (nodes, point) in zip(
            starts, inside, stencils, strict=True
        ):
            at = nodes[kept]
            if self.linear:
                t = (point - at[0]) / (at[1] - at[0])
                block = (1 - t) * block[0] + t * block[1]
            else:
                block = monotone_cubic(
                    *_mirror(at, block, index, len(nodes)), point
                )
        return block


def monotone_cubic(nodes: Array, values: Array, x: Array) -> Array:
    """Interpolate between the middle two of four nodes.

    The cubic Hermite polynomial with the slopes of Fritsch & Butland
    (1984, SIAM J. Sci. Stat. Comput. 5, 300, eq. 5): weighted harmonic
    means of the secants on both sides, zero at local extrema. It never
    leaves the range of the two values it joins.

    Args:
        nodes (Array): Ascending coordinates, (4,).
        values (Array): The values there, (4, ...).
        x (Array): A point between nodes[1] and nodes[2].

    Returns:
        Array: The value at `x`, (...).
    """
    h = nodes[1:] - nodes[:-1]
    widths = h.reshape(3, *(1,) * (values.ndim - 1))
    secants = (values[1:] - values[:-1]) / widths
    left = _slope(widths[0], widths[1], secants[0], secants[1])
    right = _slope(widths[1], widths[2], secants[1], secants[2])
    t = (x - nodes[1]) / h[1]
    u = 1 - t
    # The Hermite basis in the form that is exact at both ends.
    return (
        u * u * (1 + 2 * t) * values[1]
        + t * t * (1 + 2 * u) * values[2]
        + t * u * h[1] * (u * left - t * right)
    )


def _slope(h0: Array, h1: Array, s0: Array, s1: Array) -> Array:
    """Return the slope at the node between two secants."""
    w0, w1 = 2 * h1 + h0, h1 + 2 * h0
    same_sign = s0 * s1 > 0
    # Guard the unused branch, whose gradient would be NaN.
    a = jnp.where(same_sign, s0, 1.0)
    b = jnp.where(same_sign, s1, 1.0)
    return jnp.where(same_sign, (w0 + w1) / (w0 / a + w1 / b), 0.0)


def _mirror(
    nodes: Array, block: Array, index: Array, n: int
) -> tuple[Array, Array]:
    """Continue a stencil (4, ...) that leaves the table linearly."""
    below, above = index[0] < 0, index[-1] >= n
    nodes = nodes.at[0].set(
        jnp.where(below, 2 * nodes[1] - nodes[2], nodes[0])
    )
    nodes = nodes.at[3].set(
        jnp.where(above, 2 * nodes[2] - nodes[1], nodes[3])
    )
    block = block.at[0].set(
        jnp.where(below, 2 * block[1] - block[2], block[0])
    )
    block = block.at[3].set(
        jnp.where(above, 2 * block[2] - block[1], block[3])
    )
    return nodes, block
