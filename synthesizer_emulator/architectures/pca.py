"""The architecture of Speculator: principal components and a perceptron.

As in Alsing et al. (2020, ApJS 249, 5), the log flux at each wavelength is
scaled to zero mean and unit variance, principal components form a linear
basis, and a network with a gated activation predicts the coefficients, which
are scaled in the same way. Other settings give the baseline of simulacra.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np

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
    LEAST_SPREAD,
    latent_metric,
    latent_scale,
    latent_targets,
    linear_decoder,
    linear_skeleton,
)
from synthesizer_emulator.architectures.networks import GATED, check_layers
from synthesizer_emulator.architectures.regressors import (
    Perceptron,
    standard_width,
)
from synthesizer_emulator.architectures.samples import EmissionSamples
from synthesizer_emulator.architectures.training import Monitor, TrainingConfig
from synthesizer_emulator.emulator.emission import EmissionEmulator
from synthesizer_emulator.validation import (
    check_choice,
    check_flag,
    check_whole,
)

NORMALISATIONS = ("global", "zscore")


@dataclass(frozen=True)
class PCA(Architecture):
    """Principal components of log flux, predicted by a perceptron.

    Attributes:
        components (int): The number of components.
        hidden (tuple of int): The widths of the hidden layers.
        activation (str): The activation after each hidden layer.
        normalisation (str): `zscore` for components of log flux divided by
            its standard deviation at each wavelength (as in Speculator), or
            `global` for components of log flux itself (as in simulacra).
        whiten (bool): Whether all coefficients have the same weight in
            training (as in Speculator), or are weighted by their
            contribution to the flux.
        ensemble (int): The number of regressors, which share the
            components.
        softening (float): The softening of the logarithm of flux.
    """

    components: int = 64
    hidden: Sequence[int] = (256, 256, 256)
    activation: str = GATED
    normalisation: str = "zscore"
    whiten: bool = True
    ensemble: int = 1
    softening: float = 1e-8

    default_training: ClassVar[TrainingConfig] = TrainingConfig(
        epochs=2000, batch_size=256, learning_rate=1e-2
    )
    search_space: ClassVar[Mapping[str, Any]] = {
        "settings": {
            "components": {"low": 16, "high": 192, "log": True},
            "hidden": {"layers": [1, 5], "width": [64, 512]},
            "activation": [GATED, "silu", "relu"],
            "normalisation": ["zscore", "global"],
            "whiten": [True, False],
        },
        "training": {
            "batch_size": [32, 64, 128],
            "learning_rate": {"low": 3e-4, "high": 1e-2, "log": True},
            "weight_decay": {"low": 1e-6, "high": 1e-1, "log": True},
        },
    }

    def __post_init__(self) -> None:
        """Check the settings.

        Raises:
            InconsistentArguments: If a setting is out of range.
            UnrecognisedOption: If the activation is unknown.
        """
        check_whole("components", self.components, 1)
        check_layers(self.hidden, self.activation)
        check_choice("normalisation", self.normalisation, NORMALISATIONS)
        check_flag("whiten", self.whiten)
        check_settings(self.softening, self.ensemble)

    def fit(
        self,
        samples: EmissionSamples,
        training: TrainingConfig,
        monitor: Monitor,
    ) -> Fit:
        """Train an emulator of one emission; see `Architecture.fit`."""
        weights = samples.weights
        if self.normalisation == "zscore":
            weights = 1.0 / np.maximum(samples.y.std(axis=0), LEAST_SPREAD)
        basis, latents = latent_targets(samples, weights, self.components)
        scale = latent_scale(latents, latent_metric(basis), self.whiten)
        width = standard_width(samples)
        decoder = linear_decoder(basis.mean, basis.components, samples.support)
        perceptron = Perceptron(self.hidden, self.activation)
        members, histories = fit_members(
            self.ensemble,
            lambda member, member_monitor: perceptron.fit(
                samples,
                latents,
                scale,
                width,
                training,
                member_monitor,
                member,
            ),
            monitor,
        )
        regressor = join(members, decoder, samples, training)
        return assemble(
            samples, regressor, decoder, latents.shape[1], histories
        )

    def skeleton(self, shape: EmissionShape) -> EmissionEmulator:
        """Build an emulator of this shape with placeholder values."""
        perceptron = Perceptron(self.hidden, self.activation)
        regressor = ensemble_skeleton(
            self.ensemble,
            lambda: perceptron.skeleton(len(shape.nodes), shape.latents),
        )
        return assemble_skeleton(
            shape, regressor, linear_skeleton(shape), self.softening
        )
