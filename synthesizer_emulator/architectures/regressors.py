"""Regressors from coordinates to latents, shared by the architectures."""

import jax.numpy as jnp
from flax import nnx
from jax import Array
from jax.typing import ArrayLike

from synthesizer_emulator.interpolation import SmoothTable
from synthesizer_emulator.networks import MLP
from synthesizer_emulator.scaling import Constant


class ScaledNetwork(nnx.Module):
    """A network between standardised coordinates and latents.

    Attributes:
        network (MLP): Numbers of order one to numbers of order one.
        centre (Constant): Taken off the coordinates, (d,).
        width (Constant): Divides them then, (d,).
        shift (Constant): Added to the scaled outputs, (k,).
        scale (Constant): Multiplies the outputs, (k,).
    """

    def __init__(
        self,
        network: MLP,
        centre: ArrayLike,
        width: ArrayLike,
        shift: ArrayLike,
        scale: ArrayLike,
    ) -> None:
        self.network = network
        self.centre = Constant(jnp.asarray(centre, jnp.float32))
        self.width = Constant(jnp.asarray(width, jnp.float32))
        self.shift = Constant(jnp.asarray(shift, jnp.float32))
        self.scale = Constant(jnp.asarray(scale, jnp.float32))

    def __call__(self, x: Array) -> Array:
        """Map coordinates (d,) to latents (k,)."""
        inputs = (x - self.centre[...]) / self.width[...]
        return self.network(inputs) * self.scale[...] + self.shift[...]


class CorrectedNetwork(nnx.Module):
    """A part of a smooth network plus what that misses at the nodes.

    The network carries the trend from node to node of the sparse axes, the
    table makes the sum exact at the nodes. Along an axis with many nodes,
    where a network would only disturb, both are asked at the nodes and a
    cubic runs between.

    Attributes:
        trend (ScaledNetwork): Coordinates (d,) to latents (k,).
        residual (SmoothTable): Node values minus the part of the trend.
        part (float): The part of the trend that counts.
    """

    def __init__(
        self, trend: ScaledNetwork, residual: SmoothTable, part: float
    ) -> None:
        self.trend = trend
        self.residual = residual
        self.part = part

    def __call__(self, x: Array) -> Array:
        """Map coordinates (d,) to latents (k,)."""
        return self.residual(x, lambda at: self.part * self.trend(at))
