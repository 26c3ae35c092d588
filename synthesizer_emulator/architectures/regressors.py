"""Regressors from coordinates to latents, shared by the architectures."""

from collections.abc import Sequence
from dataclasses import dataclass

import jax.numpy as jnp
import numpy as np
from flax import nnx
from jax import Array
from jax.typing import ArrayLike
from numpy.typing import NDArray

from synthesizer_emulator.architectures.networks import MLP, Network
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
    """A network from coordinates to latents, both standardised.

    Attributes:
        network (Network): The network, with inputs and outputs of order one.
        centre (Constant): The coordinates at which the inputs are zero, (d,).
        width (Constant): The unit of each input, (d,).
        shift (Constant): The latents at which the outputs are zero, (k,).
        scale (Constant): The unit of each output, (k,).
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
    """Two regressors whose latents are concatenated.

    Attributes:
        norm (ScaledNetwork): The network from coordinates (d,) to the norms,
            of which the first is ln norm.
        code (ScaledNetwork): The network from coordinates (d,) to the other
            latents.
    """

    def __init__(self, norm: ScaledNetwork, code: ScaledNetwork) -> None:
        self.norm = norm
        self.code = code

    def __call__(self, x: Array) -> Array:
        """Map coordinates (d,) to latents (k,)."""
        return jnp.concatenate([self.norm(x), self.code(x)])


class TrendPlusResiduals(nnx.Module):
    """A network multiplied by a factor, plus a table of residuals.

    The network gives the trend between the nodes of sparse axes, and the table
    makes the sum exact at the nodes. Along an axis with many nodes a network
    would only add noise, so there the sum is evaluated at the nodes and
    interpolated by a cubic.

    Attributes:
        trend (ScaledNetwork): The network from coordinates (d,) to latents
            (k,).
        residual (SmoothTable): The latents at the nodes, minus the network
            times `factor`.
        factor (float): The factor of the network.
    """

    def __init__(
        self, trend: ScaledNetwork, residual: SmoothTable, factor: float
    ) -> None:
        self.trend = trend
        self.residual = residual
        self.factor = factor

    def __call__(self, x: Array) -> Array:
        """Map coordinates (d,) to latents (k,)."""
        return self.residual(x, lambda point: self.factor * self.trend(point))

    def without(self, axis: int, node: int) -> "TrendPlusResiduals":
        """Return the regressor without one node of an axis."""
        return TrendPlusResiduals(
            self.trend, self.residual.without(axis, node), self.factor
        )


@dataclass(frozen=True)
class Perceptron:
    """The settings of a multilayer perceptron.

    Attributes:
        hidden (sequence of int): The widths of the hidden layers.
        activation (str): The activation after each.
        dropout (float): The fraction of their features that is dropped in
            each training step.
    """

    hidden: Sequence[int]
    activation: str
    dropout: float = 0.0

    def network(self, n_in: int, n_out: int, rngs: nnx.Rngs) -> MLP:
        """Build an untrained network with random initial weights."""
        return MLP(
            n_in,
            self.hidden,
            n_out,
            activation=self.activation,
            dropout=self.dropout,
            rngs=rngs,
        )

    def fit(
        self,
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
            samples (EmissionSamples): The samples, with coordinates (m, d).
            latents (np.ndarray of float): The targets, (m, k).
            scale (np.ndarray of float): The unit of each output of the
                network, (k,).
            width (np.ndarray of float): The unit of each input of the
                network, (d,).
            training (TrainingConfig): The settings of the training.
            monitor (Monitor): The monitor of the training.
            member (int): The index of the network in an ensemble.

        Returns:
            tuple: The regressor, and its losses under an empty name.
        """
        shift = latents.mean(axis=0)
        centre = samples.points.mean(axis=0)
        network, losses = train(
            self.network(
                samples.points.shape[1],
                latents.shape[1],
                initial_weights(training, member),
            ),
            (samples.points - centre) / width,
            (latents - shift) / scale,
            training,
            monitor,
            member,
        )
        regressor = ScaledNetwork(network, centre, width, shift, scale)
        return regressor, {"": losses}

    def skeleton(self, n_axes: int, n_latents: int) -> ScaledNetwork:
        """Build a regressor with placeholder values."""
        return scaled_skeleton(
            self.network(n_axes, n_latents, nnx.Rngs(0)), n_axes, n_latents
        )


def scaled_skeleton(
    network: Network, n_axes: int, n_latents: int
) -> ScaledNetwork:
    """Build a `ScaledNetwork` with placeholder scalings."""
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


def initial_weights(training: TrainingConfig, member: int = 0) -> nnx.Rngs:
    """Return the random generator of an ensemble member's initial weights."""
    return nnx.Rngs(member_key(training, member))
