"""Axes of a grid beyond age and metallicity, as parameters of a galaxy.

The coefficients of a linear basis at the nodes in age and metallicity vary
with the other axes of a grid, such as the ionisation parameter. They are
products of few functions of these axes, which `AxisTable` interpolates.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import jax.numpy as jnp
import numpy as np
from jax import Array
from jax.tree_util import register_dataclass
from jax.typing import ArrayLike
from numpy.typing import NDArray
from scipy.interpolate import CubicSpline

from synthesizer_emulator.galaxies.values import Value, Varying

# The tolerance at the ends of an axis, relative to its cells, for rounding.
_SLACK = 1e-4


@register_dataclass
@dataclass(frozen=True, eq=False)
class AxisMesh:
    """The points along an axis between which functions are interpolated.

    By cubic Hermite polynomials, which are continuous with their first
    derivatives.

    Attributes:
        points (Array): The points, ascending, log10 if `logged`, (m,).
        slopes (Array): The matrix from values to derivatives at the points,
            (m, m).
        value (Value): The value of a galaxy, not logged.
        logged (bool): Whether the axis is interpolated in its logarithm.
    """

    points: Array
    slopes: Array
    value: Value = field(metadata={"static": True})
    logged: bool = field(metadata={"static": True})

    @classmethod
    def between_nodes(
        cls,
        nodes: NDArray[np.float64],
        parts: int,
        value: Value,
        logged: bool,
    ) -> "AxisMesh":
        """Divide each interval between nodes into equal parts.

        The derivative at a node, where only the first derivative of an
        emulator is continuous, is the mean of those of the cubic splines
        through the points on either side.
        """
        points = divided(nodes, parts)
        size = len(points)
        slopes, splines = np.zeros((size, size)), np.zeros(size)
        for first in range(0, size - 1, parts):
            part = slice(first, first + parts + 1)
            spline = CubicSpline(points[part], np.eye(parts + 1))
            slopes[part, part] += spline(points[part], 1)
            splines[part] += 1.0
        slopes /= np.maximum(splines, 1.0)[:, None]
        return cls(
            jnp.asarray(points, float),
            jnp.asarray(slopes, float),
            value,
            logged,
        )

    def position(self, parameters: Mapping[str, ArrayLike]) -> Array:
        """Return the value of a galaxy, log10 if the axis is logged."""
        x = jnp.asarray(self.value(parameters), float)
        return jnp.log10(x) if self.logged else x

    def weights(self, x: ArrayLike) -> Array:
        """Return the weights of the points in the interpolation to x, (m,).

        All are NaN if x is outside the axis.
        """
        last = len(self.points) - 1
        cell = jnp.searchsorted(self.points, x, side="right") - 1
        cell = jnp.clip(cell, 0, last - 1)
        width = self.points[cell + 1] - self.points[cell]
        t = (x - self.points[cell]) / width
        index = jnp.arange(last + 1)
        rising = t * t * (3.0 - 2.0 * t)
        weights = jnp.where(index == cell, 1.0 - rising, 0.0)
        weights += jnp.where(index == cell + 1, rising, 0.0)
        weights += width * t * (1.0 - t) ** 2 * self.slopes[cell]
        weights -= width * t * t * (1.0 - t) * self.slopes[cell + 1]
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

    def __call__(
        self, nodes: Array, parameters: Mapping[str, ArrayLike]
    ) -> Array:
        """Return the coefficients (k,) from node coefficients (r,)."""
        functions = self.functions_at(
            [mesh.position(parameters) for mesh in self.meshes]
        )
        product = jnp.outer(nodes, functions).ravel()
        core = self.core.reshape(-1, self.core.shape[-1])
        return jnp.matmul(product, core, precision="highest")

    def functions_at(self, x: Sequence[ArrayLike]) -> Array:
        """Return the functions at a point of the axes, scaled, (q,)."""
        weights = jnp.ones(1)
        for mesh, position in zip(self.meshes, x, strict=True):
            weights = jnp.outer(weights, mesh.weights(position)).ravel()
        return jnp.matmul(weights, self.functions, precision="highest")


def divided(nodes: NDArray[np.float64], parts: int) -> NDArray[np.float64]:
    """Divide each interval between nodes into equal parts."""
    steps = np.arange((len(nodes) - 1) * parts + 1) / parts
    return np.interp(steps, np.arange(len(nodes)), nodes)
