"""The architecture of The Payne: one network from labels to all pixels.

Ting et al. (2019, ApJ 879, 69) emulate stellar spectra with networks. This
architecture follows their later code and one_payne (Storm et al. 2025,
arXiv:2512.15888): a single network predicts all pixels, which share its hidden
layers, without a linear basis. Here the output is log flux, because the
spectra of stellar populations span orders of magnitude.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx
from jax import Array
from jax.typing import ArrayLike
from numpy.typing import NDArray
from synthesizer.exceptions import InconsistentArguments

from synthesizer_emulator.architectures.base import (
    Architecture,
    EmissionShape,
    Fit,
    assemble,
    assemble_skeleton,
    check_settings,
)
from synthesizer_emulator.architectures.ensembles import (
    ensemble_skeleton,
    fit_members,
    join,
)
from synthesizer_emulator.architectures.linear import (
    linear_decoder,
    linear_skeleton,
)
from synthesizer_emulator.architectures.networks import (
    GATED,
    MLP,
    Features,
    FixedLinear,
    check_layers,
)
from synthesizer_emulator.architectures.regressors import (
    Perceptron,
    ScaledNetwork,
    initial_weights,
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

# The ratio of coordinates, in [-1, 1], to labels, in [-0.5, 0.5].
_LABEL_WIDTH = 2.0


@dataclass(frozen=True)
class Payne(Architecture):
    """One network from labels (the axis values) to all pixels.

    Attributes:
        hidden (tuple of int): The widths of the hidden layers.
        activation (str): The activation after each hidden layer.
        bounded (bool): Whether a sigmoid confines each pixel to the range
            of the samples (as in one_payne).
        ensemble (int): The number of sets of hidden layers, which share
            the last layer.
        softening (float): The softening of the logarithm of flux.
    """

    hidden: Sequence[int] = (300, 300)
    activation: str = "leaky_relu"
    bounded: bool = False
    ensemble: int = 1
    softening: float = 1e-8

    default_training: ClassVar[TrainingConfig] = TrainingConfig(
        epochs=1500, batch_size=128, learning_rate=2e-3
    )
    search_space: ClassVar[Mapping[str, Any]] = {
        "settings": {
            "hidden": {"layers": [1, 4], "width": [64, 1024]},
            "activation": ["leaky_relu", "silu", GATED],
            "bounded": [True, False],
        },
        "training": {
            "batch_size": [32, 64, 128],
            "learning_rate": {"low": 1e-4, "high": 1e-2, "log": True},
            "weight_decay": {"low": 1e-6, "high": 1e-2, "log": True},
        },
    }

    def __post_init__(self) -> None:
        """Check the settings.

        Raises:
            InconsistentArguments: If a setting is out of range.
            UnrecognisedOption: If the activation is unknown.
        """
        check_layers(self.hidden, self.activation)
        if not self.hidden:
            raise InconsistentArguments(
                f"hidden must have at least one width, got {self.hidden!r}."
            )
        check_flag("bounded", self.bounded)
        check_settings(self.softening, self.ensemble)

    def fit(
        self,
        samples: EmissionSamples,
        training: TrainingConfig,
        monitor: Monitor,
    ) -> Fit:
        """Train an emulator of one emission; see `Architecture.fit`.

        The other members of an ensemble keep the last layer of the first, and
        only their hidden layers are trained.
        """
        scaling = _Scaling.from_samples(samples)
        labels = samples.points / _LABEL_WIDTH
        targets = scaling.targets(samples)
        perceptron = Perceptron(self.hidden, self.activation)
        last: FixedLinear | None = None

        def fit_one(
            member: int, member_monitor: Monitor
        ) -> tuple[ScaledNetwork, dict[str, LossHistory]]:
            nonlocal last
            network = perceptron.network(
                labels.shape[1],
                targets.shape[1],
                initial_weights(training, member),
            )
            if last is not None:
                network.layers[-1] = last
            pixels, history = train(
                _Pixels(network, scaling, self.bounded),
                labels,
                targets,
                training,
                member_monitor,
                member,
            )
            if last is None:
                trained = pixels.network.layers[-1]
                last = FixedLinear(trained.kernel[...], trained.bias[...])
            return _hidden_layers(pixels.network, last, scaling), {"": history}

        members, histories = fit_members(self.ensemble, fit_one, monitor)
        assert last is not None
        decoder = self._decoder(last, scaling, samples)
        regressor = join(members, decoder, samples, training)
        n_latents = 1 + self.hidden[-1]
        return assemble(samples, regressor, decoder, n_latents, histories)

    def skeleton(self, shape: EmissionShape) -> EmissionEmulator:
        """Build an emulator of this shape with placeholder values."""
        d, k = len(shape.nodes), shape.latents
        perceptron = Perceptron(self.hidden, self.activation)
        regressor = ensemble_skeleton(
            self.ensemble,
            lambda: scaled_skeleton(
                Features(perceptron.network(d, 1, nnx.Rngs(0))), d, k
            ),
        )
        linear = linear_skeleton(shape)
        decoder: Decoder = linear
        if self.bounded:
            ends = np.zeros(shape.size)
            decoder = BoundedDecoder(linear, ends, ends)
        return assemble_skeleton(shape, regressor, decoder, self.softening)

    def _decoder(
        self, last: FixedLinear, scaling: "_Scaling", samples: EmissionSamples
    ) -> Decoder:
        """Convert the last layer of the network to a decoder."""
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
    """A linear decoder with a sigmoid that confines each output to a range.

    Attributes:
        linear (LinearDecoder): The decoder from latents (k,) to the
            arguments of the sigmoid, (n,).
        low (Constant): The lower bounds, (n,).
        span (Constant): The upper bounds minus the lower, (n,).
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
        """Return the decoder of the wavelengths with these indices."""
        return BoundedDecoder(
            self.linear.restrict(indices),
            self.low[...][indices],
            self.span[...][indices],
        )


@dataclass(frozen=True)
class _Scaling:
    """The scaling of ln norm and soft-log flux y to targets of equal weight.

    Attributes:
        shift (np.ndarray of float): The means of ln norm and of y at each
            pixel, (1 + n,).
        unit (np.ndarray of float): The unit of each target, about the
            standard deviation of a pixel, (1 + n,).
        norm_spread (float): The standard deviation of ln norm.
        low (np.ndarray of float): The minimum of y at each pixel, (n,).
        span (np.ndarray of float): The range of y at each pixel, (n,).
    """

    shift: NDArray[np.float64]
    unit: NDArray[np.float64]
    norm_spread: float
    low: NDArray[np.float64]
    span: NDArray[np.float64]

    @classmethod
    def from_samples(cls, samples: EmissionSamples) -> "_Scaling":
        """Compute the scaling of samples."""
        weights = samples.weights
        typical = np.sqrt(np.mean((samples.y.std(axis=0) * weights) ** 2))
        # An error in ln norm affects every pixel.
        all_weights = np.append(np.sqrt(np.sum(weights**2)), weights)
        return cls(
            np.append(samples.log_norm.mean(), samples.y.mean(axis=0)),
            (typical if typical > 0 else 1.0) / all_weights,
            float(samples.log_norm.std()) or 1.0,
            samples.y.min(axis=0),
            np.ptp(samples.y, axis=0),
        )

    def targets(self, samples: EmissionSamples) -> NDArray[np.float64]:
        """Return the scaled targets of the network, (m, 1 + n)."""
        values = np.column_stack([samples.log_norm, samples.y])
        return (values - self.shift) / self.unit


class _Pixels(nnx.Module):
    """A network from labels to scaled ln norm and pixels, to be trained.

    Attributes:
        network (MLP): The network from labels to ln norm and all pixels.
        gain (Constant): The factor from the network's output to ln norm.
        low (Constant): The lower bounds of the pixels, (n,); or None.
        span (Constant): The upper bounds minus the lower, (n,); or None.
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
    """Confine pixels to the range from `low` to `low + span`."""
    return low + span * jax.nn.sigmoid(pixels)


def _hidden_layers(
    network: MLP, last: FixedLinear, scaling: _Scaling
) -> ScaledNetwork:
    """Return the regressor from labels to ln norm and last hidden layer."""
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
