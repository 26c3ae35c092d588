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
    """A network between standardised coordinates and latents.

    Attributes:
        network (Network): The network; its inputs and outputs are of order
            one.
        centre (Constant): Subtracted from the coordinates, (d,).
        width (Constant): Divides the coordinates after that, (d,).
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
    """Two regressors whose latents are concatenated.

    Attributes:
        norm (ScaledNetwork): Coordinates (d,) to the norms, of which the
            first is ln norm.
        code (ScaledNetwork): Coordinates (d,) to the other latents.
    """

    def __init__(self, norm: ScaledNetwork, code: ScaledNetwork) -> None:
        self.norm = norm
        self.code = code

    def __call__(self, x: Array) -> Array:
        """Map coordinates (d,) to latents (k,)."""
        return jnp.concatenate([self.norm(x), self.code(x)])


class TrendPlusResiduals(nnx.Module):
    """A fraction of a smooth network, plus a table of residuals.

    The network gives the trend between the nodes of sparse axes; the table
    makes the sum exact at the nodes. Along an axis with many nodes a network
    would only add noise, so there the sum is evaluated at the nodes and
    interpolated by a cubic.

    Attributes:
        trend (ScaledNetwork): Coordinates (d,) to latents (k,).
        residual (SmoothTable): Latents at the nodes minus `part` times
            the trend.
        part (float): The factor of the network.
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
        """Return the regressor with one node of an axis left out."""
        return TrendPlusResiduals(
            self.trend, self.residual.without(axis, node), self.part
        )


@dataclass(frozen=True)
class Perceptron:
    """The layers of a multilayer perceptron.

    Attributes:
        hidden (sequence of int): The widths of the hidden layers.
        activation (str): The activation after each.
    """

    hidden: Sequence[int]
    activation: str

    def network(self, n_in: int, n_out: int, rngs: nnx.Rngs) -> MLP:
        """Build an untrained network.

        Args:
            n_in (int): The number of inputs.
            n_out (int): The number of outputs.
            rngs (nnx.Rngs): Draws the initial weights.
        """
        return MLP(
            n_in, self.hidden, n_out, activation=self.activation, rngs=rngs
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
            scale (np.ndarray of float): One unit of each latent for the
                network, (k,).
            width (np.ndarray of float): One unit of each axis for the
                network, (d,).
            training (TrainingConfig): How to train.
            monitor (Monitor): Shows progress and keeps checkpoints.
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
        """Build the regressor of `fit` with arbitrary values."""
        return scaled_skeleton(
            self.network(n_axes, n_latents, nnx.Rngs(0)), n_axes, n_latents
        )


def scaled_skeleton(
    network: Network, n_axes: int, n_latents: int
) -> ScaledNetwork:
    """Wrap a network in scalings with arbitrary values."""
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
    """Return the generator of the initial weights of an ensemble member."""
    return nnx.Rngs(member_key(training, member))
