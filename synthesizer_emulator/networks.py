"""Neural networks for one input; batch them with `jax.vmap`.

There is no astronomy in here.
"""

from collections.abc import Callable, Sequence
from itertools import pairwise

import jax
import jax.numpy as jnp
from flax import nnx
from jax import Array

ACTIVATIONS: dict[str, Callable[[Array], Array]] = {
    "gelu": jax.nn.gelu,
    "relu": jax.nn.relu,
    "silu": jax.nn.silu,
    "tanh": jnp.tanh,
}


class MLP(nnx.Module):
    """A multi-layer perceptron with a linear last layer.

    Attributes:
        layers (nnx.List of nnx.Linear): The layers.
        activation (str): The name of the activation between them.
    """

    def __init__(
        self,
        n_in: int,
        hidden: Sequence[int],
        n_out: int,
        *,
        activation: str = "silu",
        rngs: nnx.Rngs,
    ) -> None:
        sizes = (n_in, *hidden, n_out)
        self.layers = nnx.List(
            [nnx.Linear(a, b, rngs=rngs) for a, b in pairwise(sizes)]
        )
        self.activation = activation

    def __call__(self, x: Array) -> Array:
        """Map x (n_in,) to (n_out,)."""
        act = ACTIVATIONS[self.activation]
        for layer in self.layers[:-1]:
            x = act(layer(x))
        return self.layers[-1](x)
