"""Axes of a grid beyond age and metallicity, as parameters of a galaxy.

The coefficients of a linear basis at the nodes in age and metallicity vary
with the other axes of a grid, such as the ionisation parameter. They are
products of few functions of these axes, which `AxisTable` interpolates.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array
from jax.tree_util import register_dataclass
from jax.typing import ArrayLike
from numpy.polynomial.chebyshev import chebder, chebval, chebvander
from numpy.typing import NDArray

from synthesizer_emulator.galaxies.matrices import dot
from synthesizer_emulator.galaxies.values import Value, Varying

# The tolerance at the ends of an axis, relative to its cells, for rounding.
_SLACK = 1e-4


@register_dataclass
@dataclass(frozen=True, eq=False)
class AxisMesh:
    """The points along an axis through which functions are interpolated.

    Between two nodes of a grid, by the polynomial through Chebyshev points;
    cubic corrections make the first derivatives equal on both sides of a
    node. The emulator is smooth between nodes, and its first derivatives are
    continuous at nodes.

    Attributes:
        nodes (Array): The nodes, ascending, log10 if `logged`, (n,).
        lagrange (Array): The weight of each of the points of an interval in
            the coefficient of each Chebyshev polynomial, (p + 1, p + 1).
        left (Array): The corrections of the derivative at the left end of
            each interval, from the values at all points, (n - 1, m).
        right (Array): Those at the right end, (n - 1, m).
        value (Value): The value of a galaxy, not logged.
        logged (bool): Whether the axis is interpolated in its logarithm.
    """

    nodes: Array
    lagrange: Array
    left: Array
    right: Array
    value: Value = field(metadata={"static": True})
    logged: bool = field(metadata={"static": True})

    @classmethod
    def between_nodes(
        cls,
        nodes: NDArray[np.float64],
        degree: int,
        value: Value,
        logged: bool,
    ) -> "AxisMesh":
        """Interpolate by polynomials of a degree, through `mesh_points`."""
        inside = chebyshev_points(degree)
        lagrange = np.linalg.inv(chebvander(inside, degree))
        # The derivatives at the ends, per unit of the axis.
        ends = np.stack(
            [
                chebval(end, chebder(np.eye(degree + 1), axis=0)) @ lagrange
                for end in (-1.0, 1.0)
            ]
        )
        n_cells = len(nodes) - 1
        slopes = np.zeros((2, n_cells, n_cells * degree + 1))
        for cell, width in enumerate(np.diff(nodes)):
            part = slice(cell * degree, (cell + 1) * degree + 1)
            slopes[:, cell, part] = ends * 2.0 / width
        left, right = slopes
        jumps = np.zeros((len(nodes), n_cells * degree + 1))
        jumps[1:-1] = 0.5 * (left[1:] - right[:-1])
        return cls(
            nodes=jnp.asarray(nodes, float),
            lagrange=jnp.asarray(lagrange, float),
            left=jnp.asarray(-jumps[:-1], float),
            right=jnp.asarray(jumps[1:], float),
            value=value,
            logged=logged,
        )

    def position(self, parameters: Mapping[str, ArrayLike]) -> Array:
        """Return the value of a galaxy, log10 if the axis is logged."""
        x = jnp.asarray(self.value(parameters), float)
        return jnp.log10(x) if self.logged else x

    def weights(self, x: ArrayLike) -> Array:
        """Return the weights of the points in the interpolation to x, (m,).

        All are NaN if x is outside the axis.
        """
        degree = len(self.lagrange) - 1
        cell = jnp.searchsorted(self.nodes, x, side="right") - 1
        cell = jnp.clip(cell, 0, len(self.nodes) - 2)
        width = self.nodes[cell + 1] - self.nodes[cell]
        t = (x - self.nodes[cell]) / width
        polynomials = [jnp.ones_like(t), 2.0 * t - 1.0]
        for _ in range(degree - 1):
            polynomials.append(
                2.0 * polynomials[1] * polynomials[-1] - polynomials[-2]
            )
        local = dot(jnp.stack(polynomials), self.lagrange)
        weights = jax.lax.dynamic_update_slice(
            jnp.zeros(self.left.shape[1], local.dtype), local, (cell * degree,)
        )
        weights += width * t * (1.0 - t) ** 2 * self.left[cell]
        weights -= width * t**2 * (1.0 - t) * self.right[cell]
        inside = (t >= -_SLACK) & (t <= 1.0 + _SLACK)
        return jnp.where(inside, weights, jnp.nan)


@register_dataclass
@dataclass(frozen=True, eq=False)
class AxisTable:
    """Coefficients of a linear basis as functions of further axes.

    Attributes:
        meshes (tuple of AxisMesh): The axes.
        functions (Array): The functions at the points of all meshes,
            (m1 x ... x md, q).
        core (Array): The coefficient of each component, for each of r node
            coefficients and each function, (r, q, k).
    """

    meshes: tuple[AxisMesh, ...]
    functions: Array
    core: Array

    @property
    def varying(self) -> frozenset[Varying]:
        """The varying parameters that it depends on."""
        return frozenset().union(*(m.value.varying for m in self.meshes))

    @property
    def temporary(self) -> int:
        """The numbers in memory for one galaxy."""
        points, functions = self.functions.shape
        along = sum(mesh.left.shape[1] for mesh in self.meshes)
        return 3 * along + points + functions + self.core[..., 0].size

    def __call__(
        self, nodes: Array, parameters: Mapping[str, ArrayLike]
    ) -> Array:
        """Return the coefficients (k,) from node coefficients (r,)."""
        functions = self.functions_at(
            [mesh.position(parameters) for mesh in self.meshes]
        )
        product = jnp.outer(nodes, functions).ravel()
        core = self.core.reshape(-1, self.core.shape[-1])
        return dot(product, core)

    def functions_at(self, x: Sequence[ArrayLike]) -> Array:
        """Return the functions at a point of the axes, scaled, (q,)."""
        weights = jnp.ones(1)
        for mesh, position in zip(self.meshes, x, strict=True):
            weights = jnp.outer(weights, mesh.weights(position)).ravel()
        return dot(weights, self.functions)


def mesh_points(
    nodes: NDArray[np.float64], degree: int
) -> NDArray[np.float64]:
    """Return the Chebyshev points of each interval between nodes, (m,).

    Neighbouring intervals share the node between them.
    """
    inside = 0.5 * (1.0 + chebyshev_points(degree)[:-1])
    points = nodes[:-1, None] + np.diff(nodes)[:, None] * inside
    return np.append(points.ravel(), nodes[-1])


def chebyshev_points(degree: int) -> NDArray[np.float64]:
    """Return the extrema of a Chebyshev polynomial, from -1 to 1."""
    return -np.cos(np.pi * np.arange(degree + 1) / degree)
