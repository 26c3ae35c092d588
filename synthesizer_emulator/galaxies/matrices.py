"""Matrix products in full precision."""

import jax.numpy as jnp
from jax import Array


def dot(one: Array, other: Array) -> Array:
    """Return a matrix product in full precision on any device.

    Some accelerators round the operands to 19 bits by default.
    """
    return jnp.matmul(one, other, precision="highest")
