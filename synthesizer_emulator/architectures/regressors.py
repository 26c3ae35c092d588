"""Regressors from coordinates to latents, shared by the architectures."""

import jax.numpy as jnp
import numpy as np
from flax import nnx
from jax import Array
from numpy.typing import NDArray

from synthesizer_emulator.interpolation import NodeTable
from synthesizer_emulator.networks import MLP
from synthesizer_emulator.scaling import Constant


class ScaledNetwork(nnx.Module):
    """A network whose outputs are scaled and shifted to latents.

    Attributes:
        network (MLP): Coordinates (d,) to numbers of order one, (k,).
        shift (Constant): Added to the scaled outputs, (k,).
        scale (Constant): Multiplies the outputs, (k,).
    """

    def __init__(
        self,
        network: MLP,
        shift: NDArray[np.float64],
        scale: NDArray[np.float64],
    ) -> None:
        self.network = network
        self.shift = Constant(jnp.asarray(shift, jnp.float32))
        self.scale = Constant(jnp.asarray(scale, jnp.float32))

    def __call__(self, x: Array) -> Array:
        """Map coordinates (d,) to latents (k,)."""
        return self.network(x) * self.scale[...] + self.shift[...]


class CorrectedNetwork(nnx.Module):
    """A smooth network plus what it misses at the nodes.

    The network carries the trend from node to node, the table makes the
    sum exact at the nodes and shares its monotone cubics between them.

    Attributes:
        trend (ScaledNetwork): Coordinates (d,) to latents (k,).
        residual (NodeTable): Node values minus the trend.
    """

    def __init__(self, trend: ScaledNetwork, residual: NodeTable) -> None:
        self.trend = trend
        self.residual = residual

    def __call__(self, x: Array) -> Array:
        """Map coordinates (d,) to latents (k,)."""
        return self.trend(x) + self.residual(x)
