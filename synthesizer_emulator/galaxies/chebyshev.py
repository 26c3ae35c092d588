"""Chebyshev polynomials at traced points."""

import jax.numpy as jnp
from jax import Array
from jax.typing import ArrayLike


def chebyshev(coefficients: ArrayLike, x: ArrayLike) -> Array:
    """Return a Chebyshev series at points within -1 to 1.

    By the recurrence of Clenshaw (1955, Math. Comput. 9, 118).

    Args:
        coefficients (Array): The coefficients, lowest degree first, (n,).
        x (Array): The points, of any shape.
    """
    coefficients, x = jnp.asarray(coefficients, float), jnp.asarray(x)
    last, before = jnp.zeros_like(x), jnp.zeros_like(x)
    for coefficient in coefficients[:0:-1]:
        last, before = coefficient + 2.0 * x * last - before, last
    return coefficients[0] + x * last - before
