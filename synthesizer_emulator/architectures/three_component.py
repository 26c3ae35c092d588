"""simulacra's: an autoencoder, a norm network and a regressor.

After simulacra (github.com/synthesizer-project/simulacra): an autoencoder
learns a short code of log spectra that are brought to zero mean and unit
variance, one network the mean and standard deviation that this took off, and
one the code. The encoder exists only while training.

The dense autoencoder sees and gives principal components, a fixed first and
last layer, so that it trains in minutes; the convolutional one has the
wavelengths themselves.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import ClassVar

import numpy as np
from flax import nnx
from numpy.typing import NDArray
from synthesizer.exceptions import InconsistentArguments

from synthesizer_emulator.architectures.autoencoder import (
    NORMALISATIONS,
    CodeDecoder,
    LastLayer,
    PixelScaling,
    _encode,
    _Normalised,
)
from synthesizer_emulator.architectures.base import (
    EmissionShape,
    Fit,
    assemble,
    assemble_skeleton,
    check_settings,
)
from synthesizer_emulator.architectures.basis import principal_components
from synthesizer_emulator.architectures.ensembles import (
    fit_members,
    join,
    skeleton_of,
)
from synthesizer_emulator.architectures.linear import (
    latent_scale,
    linear_decoder,
)
from synthesizer_emulator.architectures.networks import (
    GATED,
    MLP,
    Autoencoder,
    ConvolutionalDecoder,
    ConvolutionalEncoder,
    Network,
    check_layers,
)
from synthesizer_emulator.architectures.regressors import (
    JoinedRegressors,
    first_weights,
    fit_network,
    scaled_skeleton,
    standard_width,
)
from synthesizer_emulator.architectures.samples import EmissionSamples
from synthesizer_emulator.architectures.training import (
    LossHistory,
    Monitor,
    TrainingConfig,
    train,
)
from synthesizer_emulator.emulator.emission import (
    EmissionEmulator,
    LinearDecoder,
)
from synthesizer_emulator.validation import (
    check_choice,
    check_flag,
    check_number,
    check_whole,
)

# The kinds of autoencoder; the widths or channels of its encoder, and the
# most passes of its training, where nothing else is said.
AUTOENCODERS = {
    "dense": ((512, 256), 1000),
    "convolutional": ((16, 32, 64), 150),
}


@dataclass(frozen=True)
class ThreeComponent:
    """An autoencoder, a norm network and a regressor to the former's code.

    Attributes:
        autoencoder (str): `dense` or `convolutional`.
        code (int): The size of the code.
        encoder (tuple of int): The widths of the encoder's hidden layers,
            or their channels, which the decoder has in reverse; by default
            (512, 256), or (16, 32, 64) channels.
        components (int): How many principal components a dense one sees.
        kernel (int): The width of the kernels of a convolutional one.
        stride (int): By how much each of its layers shortens.
        normalisation (str): What is taken off log spectra: the mean and
            standard deviation of each (`per_spectrum`), of all (`global`)
            or at each wavelength (`zscore`).
        hidden (tuple of int): The widths of the regressor's hidden layers.
        norm_hidden (tuple of int): Those of the norm network.
        activation (str): The activation between all layers.
        dropout (float): The part of the autoencoder's features that is left
            out at each step.
        batch_norm (bool): Whether the autoencoder standardises its features
            over each batch.
        autoencoder_epochs (int): The most passes of its training; by
            default 1000, or 150 of the convolutional one.
        ensemble (int): How many norm networks and regressors there are.
        softening (float): The softening of the logarithm of flux.
    """

    autoencoder: str = "dense"
    code: int = 16
    encoder: Sequence[int] = None  # type: ignore[assignment]
    components: int = 192
    kernel: int = 7
    stride: int = 4
    normalisation: str = "per_spectrum"
    hidden: Sequence[int] = (512, 256)
    norm_hidden: Sequence[int] = (128, 128)
    activation: str = GATED
    dropout: float = 0.0
    batch_norm: bool = False
    autoencoder_epochs: int = None  # type: ignore[assignment]
    ensemble: int = 1
    softening: float = 1e-8

    needs_nodes: ClassVar[bool] = False
    default_training: ClassVar[TrainingConfig] = TrainingConfig(
        epochs=2000,
        batch_size=64,
        learning_rate=3e-3,
        schedule="plateau",
        patience=300,
        check_every=10,
    )

    def __post_init__(self) -> None:
        """Check the settings.

        Raises:
            InconsistentArguments: If one is out of its range.
            UnrecognisedOption: If there is no such activation.
        """
        check_choice("autoencoder", self.autoencoder, tuple(AUTOENCODERS))
        for name, default in zip(
            ("encoder", "autoencoder_epochs"),
            AUTOENCODERS[self.autoencoder],
            strict=True,
        ):
            if getattr(self, name) is None:
                # The way into a frozen dataclass, before anyone has it.
                object.__setattr__(self, name, default)
        check_choice("normalisation", self.normalisation, NORMALISATIONS)
        for name in ("code", "components", "kernel", "autoencoder_epochs"):
            check_whole(name, getattr(self, name), 1)
        check_whole("stride", self.stride, 2)
        for name in ("encoder", "hidden", "norm_hidden"):
            check_layers(getattr(self, name), self.activation, name)
        if self.autoencoder == "convolutional" and not self.encoder:
            raise InconsistentArguments("encoder needs at least one layer.")
        check_number("dropout", self.dropout, 0, 0.9)
        check_flag("batch_norm", self.batch_norm)
        check_settings(self.softening, self.ensemble)

    def fit(
        self,
        samples: EmissionSamples,
        training: TrainingConfig,
        monitor: Monitor,
    ) -> Fit:
        """Fit an emulator to samples, as `Architecture.fit` says."""
        normalised = _Normalised.from_samples(samples, self.normalisation)
        last, inputs = self._last_layer(normalised, samples)
        coder = Autoencoder(
            self._encoder(inputs.shape[1], first_weights(training)),
            self._decoder(inputs.shape[1], first_weights(training)),
        )
        epochs = self.autoencoder_epochs
        coder, history = train(
            coder,
            inputs,
            inputs,
            replace(training, epochs=epochs),
            monitor.stage("autoencoder", epochs),
        )
        codes = _encode(coder.encoder, inputs)
        decoder = CodeDecoder(
            coder.decoder, last, self.normalisation == "per_spectrum"
        )
        members, histories = fit_members(
            self.ensemble,
            lambda member, its_monitor: self._fit_regressors(
                samples, normalised.norms, codes, training, its_monitor, member
            ),
            monitor,
        )
        fit = assemble(
            samples,
            join(members, decoder, samples, training),
            decoder,
            normalised.norms.shape[1] + self.code,
            {**histories, "autoencoder": history},
        )
        return replace(fit, shape=replace(fit.shape, inner=inputs.shape[1]))

    def skeleton(self, shape: EmissionShape) -> EmissionEmulator:
        """Return an emulator of that shape with arbitrary values."""
        d, rngs = len(shape.nodes), nnx.Rngs(0)
        n_norms = shape.latents - self.code
        last: LastLayer
        if self.autoencoder == "dense":
            last = LinearDecoder(
                np.zeros(shape.size), np.zeros((shape.inner, shape.size))
            )
        else:
            last = PixelScaling(np.zeros(shape.size), np.zeros(shape.size))
        return assemble_skeleton(
            shape,
            skeleton_of(
                self.ensemble,
                lambda: JoinedRegressors(
                    scaled_skeleton(
                        self._norm_network(d, n_norms, rngs), d, n_norms
                    ),
                    scaled_skeleton(self._regressor(d, rngs), d, self.code),
                ),
            ),
            CodeDecoder(
                self._decoder(shape.inner, rngs),
                last,
                self.normalisation == "per_spectrum",
            ),
            self.softening,
        )

    def _last_layer(
        self, normalised: "_Normalised", samples: EmissionSamples
    ) -> tuple[LastLayer, NDArray[np.float64]]:
        """Return the fixed last layer and what goes through the others.

        The latter is (m, inner), of order one.
        """
        if self.autoencoder == "convolutional":
            return (
                PixelScaling(normalised.shift, normalised.scale),
                normalised.values,
            )
        basis = principal_components(
            normalised.values, samples.weights, self.components, 0.0
        )
        coefficients = basis.coefficients(normalised.values)
        scale = latent_scale(coefficients, np.ones(coefficients.shape[1]))
        matrix = scale[:, None] * basis.components * normalised.scale
        layer = linear_decoder(
            normalised.shift + normalised.scale * basis.mean,
            matrix,
            samples.support,
        )
        return layer, coefficients / scale

    def _fit_regressors(
        self,
        samples: EmissionSamples,
        norms: NDArray[np.float64],
        codes: NDArray[np.float64],
        training: TrainingConfig,
        monitor: Monitor,
        member: int,
    ) -> tuple[JoinedRegressors, dict[str, LossHistory]]:
        """Train one norm network and one regressor to the code."""
        d = len(samples.nodes)
        width = standard_width(samples)
        norm, norm_histories = fit_network(
            self._norm_network(
                d, norms.shape[1], first_weights(training, member)
            ),
            samples,
            norms,
            latent_scale(norms, np.ones(norms.shape[1])),
            width,
            training,
            monitor.stage("norm", training.epochs),
            member,
        )
        code, histories = fit_network(
            self._regressor(d, first_weights(training, member)),
            samples,
            codes,
            latent_scale(codes, np.ones(self.code)),
            width,
            training,
            monitor,
            member,
        )
        return JoinedRegressors(norm, code), {
            **histories,
            "norm": norm_histories[""],
        }

    def _norm_network(self, n_axes: int, n_out: int, rngs: nnx.Rngs) -> MLP:
        """Return the network of the norms, untrained."""
        return MLP(
            n_axes,
            self.norm_hidden,
            n_out,
            activation=self.activation,
            rngs=rngs,
        )

    def _regressor(self, n_axes: int, rngs: nnx.Rngs) -> MLP:
        """Return the network to the code, untrained."""
        return MLP(
            n_axes,
            self.hidden,
            self.code,
            activation=self.activation,
            rngs=rngs,
        )

    def _encoder(self, n_in: int, rngs: nnx.Rngs) -> Network:
        """Return the encoder, untrained."""
        return self._coder(
            ConvolutionalEncoder, n_in, self.encoder, self.code, rngs
        )

    def _decoder(self, n_out: int, rngs: nnx.Rngs) -> Network:
        """Return the decoder before its last layer, untrained."""
        channels = tuple(reversed(self.encoder))
        return self._coder(
            ConvolutionalDecoder, self.code, channels, n_out, rngs
        )

    def _coder(
        self,
        convolutional: type[ConvolutionalEncoder | ConvolutionalDecoder],
        n_in: int,
        hidden: Sequence[int],
        n_out: int,
        rngs: nnx.Rngs,
    ) -> Network:
        """Return one half of the autoencoder, of the kind that is set."""
        if self.autoencoder == "dense":
            return MLP(
                n_in,
                hidden,
                n_out,
                activation=self.activation,
                dropout=self.dropout,
                batch_norm=self.batch_norm,
                rngs=rngs,
            )
        return convolutional(
            n_in,
            hidden,
            n_out,
            kernel=self.kernel,
            stride=self.stride,
            activation=self.activation,
            dropout=self.dropout,
            batch_norm=self.batch_norm,
            rngs=rngs,
        )
