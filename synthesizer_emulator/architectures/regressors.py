"""Regressors from coordinates to latents, shared by the architectures."""

import jax.numpy as jnp
import numpy as np
from flax import nnx
from jax import Array
from jax.typing import ArrayLike
from numpy.typing import NDArray

from synthesizer_emulator.architectures.networks import Network
from synthesizer_emulator.architectures.samples import EmissionSamples
from synthesizer_emulator.architectures.training import (
    LossHistory,
    Monitor,
    TrainingConfig,
    member_key,
    train,
)
from synthesizer_emulator.emulator.scaling import Constant
from synthesizer_emulator.emulator.tables import SmoothTable


class ScaledNetwork(nnx.Module):
    """A network between standardised coordinates and latents.

    Attributes:
        network (Network): Numbers of order one to numbers of order one.
        centre (Constant): Taken off the coordinates, (d,).
        width (Constant): Divides them then, (d,).
        shift (Constant): Added to the scaled outputs, (k,).
        scale (Constant): Multiplies the outputs, (k,).
    """

    def __init__(
        self,
        network: Network,
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


class JoinedRegressors(nnx.Module):
    """The latents of two regressors, one after the other.

    Attributes:
        norm (ScaledNetwork): Coordinates (d,) to ln norm and the like.
        code (ScaledNetwork): Coordinates (d,) to the other latents.
    """

    def __init__(self, norm: ScaledNetwork, code: ScaledNetwork) -> None:
        self.norm = norm
        self.code = code

    def __call__(self, x: Array) -> Array:
        """Map coordinates (d,) to latents (k,)."""
        return jnp.concatenate([self.norm(x), self.code(x)])


class TrendPlusResiduals(nnx.Module):
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

    def without(self, axis: int, node: int) -> "TrendPlusResiduals":
        """Return it with a table that leaves out a node of an axis."""
        return TrendPlusResiduals(
            self.trend, self.residual.without(axis, node), self.part
        )


def fit_network(
    network: Network,
    samples: EmissionSamples,
    latents: NDArray[np.float64],
    scale: NDArray[np.float64],
    width: NDArray[np.float64],
    training: TrainingConfig,
    monitor: Monitor,
    member: int = 0,
) -> tuple[ScaledNetwork, dict[str, LossHistory]]:
    """Train a network from coordinates to latents.

    Args:
        network (Network): The network, untrained.
        samples (EmissionSamples): Has the coordinates.
        latents (np.ndarray of float): The targets, (m, k).
        scale (np.ndarray of float): What the network sees as one unit of
            each, (k,).
        width (np.ndarray of float): What it sees as one unit along each
            axis, (d,).
        training (TrainingConfig): How to train.
        monitor (Monitor): Shows progress and keeps checkpoints.
        member (int): Which member of an ensemble this is.

    Returns:
        tuple: The regressor and the history of its training, by its name.
    """
    shift = latents.mean(axis=0)
    centre = samples.points.mean(axis=0)
    network, history = train(
        network,
        (samples.points - centre) / width,
        (latents - shift) / scale,
        training,
        monitor,
        member,
    )
    return ScaledNetwork(network, centre, width, shift, scale), {"": history}


def scaled_skeleton(
    network: Network, n_axes: int, n_latents: int
) -> ScaledNetwork:
    """Return the like of `fit_network`'s regressor, untrained."""
    return ScaledNetwork(
        network,
        np.zeros(n_axes),
        np.ones(n_axes),
        np.zeros(n_latents),
        np.ones(n_latents),
    )


def standard_width(samples: EmissionSamples) -> NDArray[np.float64]:
    """Return the standard deviation of the samples along each axis, (d,)."""
    width = samples.points.std(axis=0)
    return np.where(width > 0, width, 1.0)


def first_weights(training: TrainingConfig, member: int = 0) -> nnx.Rngs:
    """Return what draws the first weights of a member of an ensemble."""
    return nnx.Rngs(member_key(training, member))
