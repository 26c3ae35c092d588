"""The architecture of simulacra: an autoencoder and two regressors.

As in simulacra (github.com/synthesizer-project/simulacra), an autoencoder
learns a short code of normalised log spectra (zero mean and unit variance);
one network predicts the norms of the spectra, and another the code. The
encoder is needed only for training, unless spectra are to be encoded.

The dense autoencoder encodes principal components, with a fixed first and last
layer, and trains in minutes. The autoencoder of wavelengths is dense too, but
without fixed layers, as that of simulacra; that and the convolutional one
encode the fluxes at all wavelengths.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, ClassVar

import numpy as np
from flax import nnx
from numpy.typing import NDArray
from synthesizer.exceptions import InconsistentArguments

from synthesizer_emulator.architectures.autoencoder import (
    NORMALISATIONS,
    CodeDecoder,
    LastLayer,
    NormalisedSpectra,
    PixelScaling,
    SpectrumEncoder,
    TrainedAutoencoder,
    inverse_softplus,
)
from synthesizer_emulator.architectures.base import (
    Architecture,
    EmissionShape,
    Fit,
    assemble,
    assemble_skeleton,
    check_settings,
)
from synthesizer_emulator.architectures.basis import principal_components
from synthesizer_emulator.architectures.ensembles import (
    ensemble_skeleton,
    fit_members,
    join,
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
    Perceptron,
    initial_weights,
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

# The autoencoders, with the default widths or channels of the encoder and the
# default number of epochs.
AUTOENCODERS = {
    "dense": ((512, 256), 1000),
    "wavelengths": ((512, 256), 300),
    "convolutional": ((16, 32, 64), 150),
}


@dataclass(frozen=True)
class ThreeComponent(Architecture):
    """An autoencoder of log spectra, and networks for its code and the norms.

    Attributes:
        autoencoder (str): `dense` (of principal components), `wavelengths`
            (dense, of fluxes) or `convolutional`.
        code (int): The size of the code.
        encoder (tuple of int): The widths or channels of the encoder's
            hidden layers, which the decoder has in reverse order. By default
            widths of (512, 256), or (16, 32, 64) channels.
        components (int): The number of principal components that a dense
            autoencoder encodes.
        kernel (int): The width of the kernels of a convolutional
            autoencoder, or a list of the width in each layer of the encoder,
            which the decoder has in reverse order.
        stride (int): The factor by which each convolution of the encoder
            shortens the spectrum.
        normalisation (str): The normalisation of log spectra to zero mean
            and unit variance: of each spectrum (`per_spectrum`), of all
            fluxes (`global`) or at each wavelength (`zscore`); or `none`.
        softplus (bool): Whether the predicted standard deviation of a
            spectrum is positive by a softplus (with `per_spectrum`).
        hidden (tuple of int): The widths of the hidden layers of the network
            that predicts the code.
        norm_hidden (tuple of int): The widths of the hidden layers of the
            network that predicts the norms.
        activation (str): The activation after all hidden layers.
        autoencoder_activation (str): That of the autoencoder; by default
            `activation`.
        norm_activation (str): That of the network that predicts the norms;
            by default `activation`.
        dropout (float): The fraction of the autoencoder's features that is
            dropped in each training step.
        hidden_dropout (float): That of the network that predicts the code.
        norm_dropout (float): That of the network that predicts the norms.
        keep_encoder (bool): Whether the weights have the encoder too, for
            `Emulator.encode`.
        batch_norm (bool): Whether the autoencoder standardises its features
            over each batch.
        autoencoder_epochs (int): The largest number of epochs for the
            autoencoder; by default 1000, or 150 if convolutional.
        ensemble (int): The number of norm networks and regressors.
        softening (float): The softening of the logarithm of flux.
    """

    autoencoder: str = "dense"
    code: int = 16
    encoder: Sequence[int] = None  # type: ignore[assignment]
    components: int = 192
    kernel: int | Sequence[int] = 7
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
    softplus: bool = False
    autoencoder_activation: str | None = None
    norm_activation: str | None = None
    hidden_dropout: float = 0.0
    norm_dropout: float = 0.0
    keep_encoder: bool = False

    default_training: ClassVar[TrainingConfig] = TrainingConfig(
        epochs=2000,
        batch_size=64,
        learning_rate=3e-3,
        schedule="plateau",
        patience=300,
        check_every=10,
    )
    # As in simulacra, with a smaller lower end of the code.
    search_space: ClassVar[Mapping[str, Any]] = {
        "settings": {
            "code": {"low": 8, "high": 512, "log": True},
            "encoder": {
                "layers": [1, 5],
                "width": [64, 2047],
                "falling": True,
            },
            "hidden": {"layers": [1, 5], "width": [128, 1024]},
            "norm_hidden": {"layers": [1, 6], "width": [32, 512]},
            "activation": [GATED, "relu"],
            "autoencoder_activation": [GATED, "relu"],
            "dropout": {"low": 0.0, "high": 0.2},
            "hidden_dropout": {"low": 0.0, "high": 0.5},
        },
        "training": {
            "batch_size": [32, 64, 128],
            "learning_rate": {"low": 1e-5, "high": 1e-2, "log": True},
            "weight_decay": {"low": 1e-6, "high": 1e-3, "log": True},
        },
    }

    def __post_init__(self) -> None:
        """Check the settings.

        Raises:
            InconsistentArguments: If a setting is out of range.
            UnrecognisedOption: If the activation is unknown.
        """
        check_choice("autoencoder", self.autoencoder, tuple(AUTOENCODERS))
        for name, default in zip(
            ("encoder", "autoencoder_epochs"),
            AUTOENCODERS[self.autoencoder],
            strict=True,
        ):
            if getattr(self, name) is None:
                # The only way to set a field of a frozen dataclass.
                object.__setattr__(self, name, default)
        check_choice("normalisation", self.normalisation, NORMALISATIONS)
        for name in ("code", "components", "autoencoder_epochs"):
            check_whole(name, getattr(self, name), 1)
        check_whole("stride", self.stride, 2)
        for name, activation in (
            ("encoder", self.autoencoder_activation),
            ("hidden", self.activation),
            ("norm_hidden", self.norm_activation),
        ):
            check_layers(
                getattr(self, name), activation or self.activation, name
            )
        self._check_kernel()
        if self.autoencoder == "convolutional" and not self.encoder:
            raise InconsistentArguments(
                "encoder must have at least one layer if convolutional, got "
                f"{self.encoder!r}."
            )
        for name in ("dropout", "hidden_dropout", "norm_dropout"):
            check_number(name, getattr(self, name), 0, 0.9)
        check_flag("softplus", self.softplus)
        check_flag("keep_encoder", self.keep_encoder)
        check_flag("batch_norm", self.batch_norm)
        check_settings(self.softening, self.ensemble)

    def fit(
        self,
        samples: EmissionSamples,
        training: TrainingConfig,
        monitor: Monitor,
    ) -> Fit:
        """Train an emulator of one emission; see `Architecture.fit`."""
        trained = self.fit_autoencoder(samples, training, monitor)
        norms, decoder = trained.normalised.norms, trained.decoder
        if not self.keep_encoder:
            decoder = decoder.without_encoder()
        if decoder.softplus:
            norms = np.column_stack(
                [norms[:, :2], inverse_softplus(norms[:, 2])]
            )
        members, histories = fit_members(
            self.ensemble,
            lambda member, member_monitor: self._fit_regressors(
                samples,
                norms,
                trained.codes,
                training,
                member_monitor,
                member,
            ),
            monitor,
        )
        fit = assemble(
            samples,
            join(members, decoder, samples, training),
            decoder,
            norms.shape[1] + self.code,
            {**histories, "autoencoder": trained.history},
        )
        return replace(fit, shape=replace(fit.shape, inner=trained.inner))

    def fit_autoencoder(
        self,
        samples: EmissionSamples,
        training: TrainingConfig,
        monitor: Monitor,
    ) -> TrainedAutoencoder:
        """Train only the autoencoder, which encodes and decodes spectra.

        Args:
            samples (EmissionSamples): The emission at the samples.
            training (TrainingConfig): The settings of the training, of which
                the epochs are replaced by `autoencoder_epochs`.
            monitor (Monitor): The monitor of the emission.

        Returns:
            TrainedAutoencoder: The encoder, the decoder and their losses.
        """
        normalised = NormalisedSpectra.from_samples(
            samples, self.normalisation
        )
        last, inputs, metric = self._last_layer(normalised, samples)
        epochs = self.autoencoder_epochs
        autoencoder, history = train(
            Autoencoder(
                self._encoder(inputs.shape[1], initial_weights(training)),
                self._decoder(inputs.shape[1], initial_weights(training)),
            ),
            inputs,
            inputs,
            replace(training, epochs=epochs),
            monitor.stage("autoencoder", epochs),
        )
        return TrainedAutoencoder(
            decoder=self._code_decoder(
                autoencoder.decoder,
                last,
                SpectrumEncoder(autoencoder.encoder, metric),
            ),
            soft_log=samples.soft_log,
            normalised=normalised,
            inputs=inputs,
            history=history,
        )

    def skeleton(self, shape: EmissionShape) -> EmissionEmulator:
        """Build an emulator of this shape with placeholder values."""
        d, n_norms = len(shape.nodes), shape.latents - self.code
        zeros = np.zeros(shape.size)
        last: LastLayer = PixelScaling(zeros, zeros)
        dense = self.autoencoder == "dense"
        if dense:
            last = LinearDecoder(zeros, np.zeros((shape.inner, shape.size)))
        regressor = ensemble_skeleton(
            self.ensemble,
            lambda: JoinedRegressors(
                self._norm_network.skeleton(d, n_norms),
                self._code_network.skeleton(d, self.code),
            ),
        )
        encoder = None
        if self.keep_encoder:
            network = self._encoder(shape.inner, nnx.Rngs(0))
            encoder = SpectrumEncoder(network, zeros if dense else None)
        decoder = self._code_decoder(
            self._decoder(shape.inner, nnx.Rngs(0)), last, encoder
        )
        return assemble_skeleton(shape, regressor, decoder, self.softening)

    def _check_kernel(self) -> None:
        """Raise unless there is a width of the kernel for each layer."""
        if isinstance(self.kernel, list | tuple):
            for kernel in self.kernel:
                check_whole("each width in kernel", kernel, 1)
            if len(self.kernel) != len(self.encoder):
                raise InconsistentArguments(
                    "kernel must be a width, or one for each of the "
                    f"{len(self.encoder)} layers of the encoder; got "
                    f"{self.kernel!r}."
                )
        else:
            check_whole("kernel", self.kernel, 1)

    def _code_decoder(
        self,
        network: Network,
        last: LastLayer,
        encoder: SpectrumEncoder | None,
    ) -> CodeDecoder:
        """Return the decoder from the norms and the code."""
        per_spectrum = self.normalisation == "per_spectrum"
        softplus = per_spectrum and self.softplus
        return CodeDecoder(network, last, per_spectrum, softplus, encoder)

    def _last_layer(
        self, normalised: NormalisedSpectra, samples: EmissionSamples
    ) -> tuple[LastLayer, NDArray[np.float64], NDArray[np.float64] | None]:
        """Return the fixed last layer, and the autoencoder's inputs.

        The inputs, (m, inner), are of order one. The third result is the
        metric of `SpectrumEncoder`.
        """
        if self.autoencoder != "dense":
            scaling = PixelScaling(normalised.shift, normalised.scale)
            return scaling, normalised.values, None
        basis = principal_components(
            normalised.values, samples.weights, self.components, 0.0
        )
        coefficients = basis.coefficients(normalised.values)
        scale = latent_scale(coefficients, np.ones(coefficients.shape[1]))
        layer = linear_decoder(
            normalised.shift + normalised.scale * basis.mean,
            scale[:, None] * basis.components * normalised.scale,
            samples.support,
        )
        return (
            layer,
            coefficients / scale,
            (basis.weights / normalised.scale) ** 2,
        )

    def _fit_regressors(
        self,
        samples: EmissionSamples,
        norms: NDArray[np.float64],
        codes: NDArray[np.float64],
        training: TrainingConfig,
        monitor: Monitor,
        member: int,
    ) -> tuple[JoinedRegressors, dict[str, LossHistory]]:
        """Train one network for the norms and one for the code."""
        width = standard_width(samples)
        norm, norm_losses = self._norm_network.fit(
            samples,
            norms,
            latent_scale(norms, np.ones(norms.shape[1])),
            width,
            training,
            monitor.stage("norm", training.epochs),
            member,
        )
        code, code_losses = self._code_network.fit(
            samples,
            codes,
            latent_scale(codes, np.ones(self.code)),
            width,
            training,
            monitor,
            member,
        )
        losses = {**code_losses, "norm": norm_losses[""]}
        return JoinedRegressors(norm, code), losses

    @property
    def _norm_network(self) -> Perceptron:
        """The layers of the network from coordinates to the norms."""
        activation = self.norm_activation or self.activation
        return Perceptron(self.norm_hidden, activation, self.norm_dropout)

    @property
    def _code_network(self) -> Perceptron:
        """The layers of the network from coordinates to the code."""
        return Perceptron(self.hidden, self.activation, self.hidden_dropout)

    def _encoder(self, n_in: int, rngs: nnx.Rngs) -> Network:
        """Build an untrained encoder."""
        return self._coder(
            ConvolutionalEncoder, n_in, self.encoder, self.code, rngs
        )

    def _decoder(self, n_out: int, rngs: nnx.Rngs) -> Network:
        """Build an untrained decoder, without the fixed last layer."""
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
        """Build an untrained encoder or decoder, dense or convolutional."""
        shared: dict[str, Any] = {
            "activation": self.autoencoder_activation or self.activation,
            "dropout": self.dropout,
            "batch_norm": self.batch_norm,
            "rngs": rngs,
        }
        if self.autoencoder != "convolutional":
            return MLP(n_in, hidden, n_out, **shared)
        kernel = self.kernel
        if not isinstance(kernel, int) and (
            convolutional is ConvolutionalDecoder
        ):
            kernel = tuple(reversed(kernel))
        return convolutional(
            n_in,
            hidden,
            n_out,
            kernel=kernel,
            stride=self.stride,
            **shared,
        )
