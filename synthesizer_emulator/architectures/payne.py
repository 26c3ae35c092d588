"""The Payne's: one network from labels to all pixels, and no basis.

Ting et al. (2019, ApJ 879, 69) emulate stellar spectra by networks; here in
the form of their later code and of one_payne (Storm et al. 2025,
arXiv:2512.15888), a single network for all pixels, which learn from each
other. What it emulates is log flux, as the spectra of stellar populations
span decades.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx
from jax import Array
from jax.typing import ArrayLike
from numpy.typing import NDArray
from synthesizer.exceptions import InconsistentArguments

from synthesizer_emulator.architectures.base import (
    EmissionShape,
    Fit,
    assemble,
    assemble_skeleton,
    check_settings,
)
from synthesizer_emulator.architectures.ensembles import (
    fit_members,
    join,
    skeleton_of,
)
from synthesizer_emulator.architectures.linear import (
    linear_decoder,
    linear_skeleton,
)
from synthesizer_emulator.architectures.networks import (
    MLP,
    Features,
    FixedLinear,
    check_layers,
)
from synthesizer_emulator.architectures.regressors import (
    ScaledNetwork,
    first_weights,
    scaled_skeleton,
)
from synthesizer_emulator.architectures.samples import EmissionSamples
from synthesizer_emulator.architectures.training import (
    LossHistory,
    Monitor,
    TrainingConfig,
    train,
)
from synthesizer_emulator.emulator.emission import (
    Decoder,
    EmissionEmulator,
    LinearDecoder,
)
from synthesizer_emulator.emulator.scaling import Constant
from synthesizer_emulator.validation import check_flag

# Coordinates span [-1, 1]; divided by this, labels span [-0.5, 0.5].
_LABEL_WIDTH = 2.0


@dataclass(frozen=True)
class Payne:
    """One network from labels to all pixels.

    Attributes:
        hidden (tuple of int): The widths of the hidden layers.
        activation (str): The activation between them.
        bounded (bool): Whether a sigmoid keeps each pixel between the least
            and the most that any sample has there (as in one_payne).
        ensemble (int): How many sets of hidden layers share the last one.
        softening (float): The softening of the logarithm of flux.
    """

    hidden: Sequence[int] = (300, 300)
    activation: str = "leaky_relu"
    bounded: bool = False
    ensemble: int = 1
    softening: float = 1e-8

    needs_nodes: ClassVar[bool] = False
    default_training: ClassVar[TrainingConfig] = TrainingConfig(
        epochs=1500, batch_size=128, learning_rate=2e-3
    )

    def __post_init__(self) -> None:
        """Check the settings.

        Raises:
            InconsistentArguments: If one is out of its range.
            UnrecognisedOption: If there is no such activation.
        """
        check_layers(self.hidden, self.activation)
        if not self.hidden:
            raise InconsistentArguments("hidden needs at least one width.")
        check_flag("bounded", self.bounded)
        check_settings(self.softening, self.ensemble)

    def fit(
        self,
        samples: EmissionSamples,
        training: TrainingConfig,
        monitor: Monitor,
    ) -> Fit:
        """Fit an emulator to samples, as `Architecture.fit` says.

        The first member of an ensemble is trained whole, the others below
        its last layer.
        """
        scaling = _Scaling.from_samples(samples)
        labels = samples.points / _LABEL_WIDTH
        targets = scaling.targets(samples)
        last: list[FixedLinear] = []

        def fit_one(
            member: int, its_monitor: Monitor
        ) -> tuple[ScaledNetwork, dict[str, LossHistory]]:
            network = self._network(
                labels.shape[1],
                targets.shape[1],
                first_weights(training, member),
            )
            if last:
                network.layers[-1] = last[0]
            pixels, history = train(
                _Pixels(network, scaling, self.bounded),
                labels,
                targets,
                training,
                its_monitor,
                member,
            )
            trained = pixels.network.layers[-1]
            if not last:
                last.append(
                    FixedLinear(trained.kernel[...], trained.bias[...])
                )
            regressor = _below_the_last(pixels.network, last[0], scaling)
            return regressor, {"": history}

        members, histories = fit_members(self.ensemble, fit_one, monitor)
        decoder = self._decoder(last[0], scaling, samples)
        regressor = join(members, decoder, samples, training)
        n_latents = 1 + self.hidden[-1]
        return assemble(samples, regressor, decoder, n_latents, histories)

    def skeleton(self, shape: EmissionShape) -> EmissionEmulator:
        """Return an emulator of that shape with arbitrary values."""
        d, k = len(shape.nodes), shape.latents
        regressor = skeleton_of(
            self.ensemble,
            lambda: scaled_skeleton(
                Features(self._network(d, 1, nnx.Rngs(0))), d, k
            ),
        )
        linear = linear_skeleton(shape)
        decoder: Decoder = linear
        if self.bounded:
            ends = np.zeros(shape.size)
            decoder = BoundedDecoder(linear, ends, ends)
        return assemble_skeleton(shape, regressor, decoder, self.softening)

    def _network(self, n_axes: int, n_out: int, rngs: nnx.Rngs) -> MLP:
        """Return a network of these hidden layers, untrained."""
        return MLP(
            n_axes, self.hidden, n_out, activation=self.activation, rngs=rngs
        )

    def _decoder(
        self, last: FixedLinear, scaling: "_Scaling", samples: EmissionSamples
    ) -> Decoder:
        """Return the last layer as the decoder of what comes before it."""
        kernel = np.asarray(last.kernel[...], np.float64)[:, 1:]
        bias = np.asarray(last.bias[...], np.float64)[1:]
        if self.bounded:
            linear = linear_decoder(bias, kernel, samples.support)
            return BoundedDecoder(linear, scaling.low, scaling.span)
        unit = scaling.unit[1:]
        return linear_decoder(
            scaling.shift[1:] + unit * bias, unit * kernel, samples.support
        )


class BoundedDecoder(nnx.Module):
    """A linear decoder whose outputs a sigmoid keeps within bounds.

    Attributes:
        linear (LinearDecoder): Gives what the sigmoid takes.
        low (Constant): The lower bounds, (n,).
        span (Constant): The upper ones less the lower, (n,).
    """

    def __init__(
        self, linear: LinearDecoder, low: ArrayLike, span: ArrayLike
    ) -> None:
        self.linear = linear
        self.low = Constant(jnp.asarray(low, jnp.float32))
        self.span = Constant(jnp.asarray(span, jnp.float32))

    def __call__(self, latents: Array) -> Array:
        """Map latents (k,) to (n,)."""
        return _bounded(self.linear(latents), self.low[...], self.span[...])

    def restrict(self, indices: NDArray[np.intp]) -> "BoundedDecoder":
        """Return the decoder of only the outputs `indices`."""
        return BoundedDecoder(
            self.linear.restrict(indices),
            self.low[...][indices],
            self.span[...][indices],
        )


@dataclass(frozen=True)
class _Scaling:
    """Between what is emulated and numbers whose errors all weigh the same.

    Attributes:
        shift (np.ndarray of float): The means of ln norm and of y at each
            pixel, (1 + n,).
        unit (np.ndarray of float): An error of each that weighs one, (1 +
            n,); pixels vary by about as much.
        norm_spread (float): The standard deviation of ln norm.
        low (np.ndarray of float): The least y at each pixel, (n,).
        span (np.ndarray of float): The range of y at each pixel, (n,).
    """

    shift: NDArray[np.float64]
    unit: NDArray[np.float64]
    norm_spread: float
    low: NDArray[np.float64]
    span: NDArray[np.float64]

    @classmethod
    def from_samples(cls, samples: EmissionSamples) -> "_Scaling":
        """Return the scaling of these samples."""
        weights = samples.weights
        typical = np.sqrt(np.mean((samples.y.std(axis=0) * weights) ** 2))
        # An error of ln norm appears at every pixel.
        all_weights = np.append(np.sqrt(np.sum(weights**2)), weights)
        return cls(
            np.append(samples.log_norm.mean(), samples.y.mean(axis=0)),
            (typical if typical > 0 else 1.0) / all_weights,
            float(samples.log_norm.std()) or 1.0,
            samples.y.min(axis=0),
            np.ptp(samples.y, axis=0),
        )

    def targets(self, samples: EmissionSamples) -> NDArray[np.float64]:
        """Return what a network is to give, (m, 1 + n)."""
        values = np.column_stack([samples.log_norm, samples.y])
        return (values - self.shift) / self.unit


class _Pixels(nnx.Module):
    """A network and the scaling of its outputs, to be trained.

    Attributes:
        network (MLP): From labels to ln norm and all pixels.
        gain (Constant): What the network's ln norm is multiplied by.
        low (Constant): The lower bounds of the pixels, (n,); or None.
        span (Constant): The upper ones less the lower, (n,); or None.
    """

    def __init__(self, network: MLP, scaling: _Scaling, bounded: bool) -> None:
        self.network = network
        gain = scaling.norm_spread / scaling.unit[0]
        self.gain = Constant(jnp.asarray(gain, jnp.float32))
        low = (scaling.low - scaling.shift[1:]) / scaling.unit[1:]
        span = scaling.span / scaling.unit[1:]
        self.low = Constant(jnp.asarray(low, jnp.float32)) if bounded else None
        self.span = (
            Constant(jnp.asarray(span, jnp.float32)) if bounded else None
        )

    def __call__(self, x: Array, key: Array | None = None) -> Array:
        """Map labels (batch, d) to scaled ln norm and pixels."""
        out = self.network(x, key)
        norm, pixels = self.gain[...] * out[:, :1], out[:, 1:]
        if self.low is not None and self.span is not None:
            pixels = _bounded(
                pixels, self.low[...][None], self.span[...][None]
            )
        return jnp.concatenate([norm, pixels], axis=1)


def _bounded(pixels: Array, low: Array, span: Array) -> Array:
    """Return what a sigmoid makes of pixels, from `low` over `span`."""
    return low + span * jax.nn.sigmoid(pixels)


def _below_the_last(
    network: MLP, last: FixedLinear, scaling: _Scaling
) -> ScaledNetwork:
    """Return the regressor to ln norm and to what the last layer sees."""
    d, width = network.layers[0].in_features, last.kernel[...].shape[0]
    network.layers[-1] = FixedLinear(
        last.kernel[...][:, :1], last.bias[...][:1]
    )
    return ScaledNetwork(
        Features(network),
        np.zeros(d),
        np.full(d, _LABEL_WIDTH),
        np.append(scaling.shift[0], np.zeros(width)),
        np.append(scaling.norm_spread, np.ones(width)),
    )
