"""Metallicity distributions as functions of their parameters.

Each function takes the metallicities of a grid, (n,), and the parameters of
Synthesizer's class, and returns the weight of each node, (n,), up to a
constant factor.
"""

from collections.abc import Callable, Mapping

import jax.numpy as jnp
import numpy as np
from jax import Array
from jax.typing import ArrayLike
from jaxtyping import Float

from synthesizer_emulator.galaxies import integrals


def delta_constant(
    nodes: Float[np.ndarray, " n"], metallicity: ArrayLike
) -> Float[Array, " n"]:
    """Return the weights of a single metallicity, (n,).

    The weight is divided between the two nodes around the metallicity,
    linearly in metallicity. Outside the grid it is all at the nearest node.
    Derivatives at a node are those towards higher metallicities, and at the
    last node those towards lower ones.
    """
    grid = jnp.asarray(nodes)
    last = len(nodes) - 1
    cell = jnp.searchsorted(grid, metallicity, side="right") - 1
    cell = jnp.clip(cell, 0, max(last - 1, 0))
    # On an axis with a single node, the cell has zero width.
    upper = jnp.minimum(cell + 1, last)
    width = jnp.where(upper > cell, grid[upper] - grid[cell], 1.0)
    weight = (metallicity - grid[cell]) / width
    # Unlike `jnp.clip`, this keeps the derivative at nodes.
    weight = jnp.where(weight < 0.0, 0.0, jnp.where(weight > 1.0, 1.0, weight))
    index = jnp.arange(len(nodes))
    return jnp.where(index == cell, 1.0 - weight, 0.0) + jnp.where(
        index == upper, weight, 0.0
    )


def normal(
    nodes: Float[np.ndarray, " n"], mean: ArrayLike, sigma: ArrayLike
) -> Float[Array, " n"]:
    """Return the weights of a normal distribution of metallicities, (n,)."""
    limits = integrals.bin_limits(nodes)
    scale = np.sqrt(2.0) * jnp.asarray(sigma)
    return integrals.gaussian(
        (limits[:-1] - mean) / scale, np.diff(limits) / scale
    )


# The functions by the names of Synthesizer's classes.
METAL_DISTS: Mapping[str, Callable[..., Array]] = {
    "DeltaConstant": delta_constant,
    "Normal": normal,
}
