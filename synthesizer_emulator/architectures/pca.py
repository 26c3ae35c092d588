"""Speculator's: principal components of log flux and a perceptron.

As Alsing et al. (2020, ApJS 249, 5) have it: the log flux at each wavelength
is brought to zero mean and unit variance, a linear basis found by principal
component analysis, and a network with a gated activation learns the
coefficients, brought to zero mean and unit variance in their turn. Another
choice of settings is simulacra's baseline.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

import numpy as np
from flax import nnx

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
    LEAST_SPREAD,
    latent_metric,
    latent_scale,
    latent_targets,
    linear_decoder,
    linear_skeleton,
)
from synthesizer_emulator.architectures.networks import (
    GATED,
    MLP,
    check_layers,
)
from synthesizer_emulator.architectures.regressors import (
    first_weights,
    fit_network,
    scaled_skeleton,
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
class PCA:
    """Principal components of log flux and a perceptron for the rest.

    Attributes:
        components (int): The number of components.
        hidden (tuple of int): The widths of the hidden layers.
        activation (str): The activation between them.
        normalisation (str): What the components are found in: log flux as
            it is (`global`, as in simulacra), or divided by its standard
            deviation at each wavelength (`zscore`, as in Speculator).
        whiten (bool): Whether every coefficient counts alike in training
            (as in Speculator) or by its share of the flux.
        ensemble (int): How many regressors share the components.
        softening (float): The softening of the logarithm of flux.
    """

    components: int = 64
    hidden: Sequence[int] = (256, 256, 256)
    activation: str = GATED
    normalisation: str = "zscore"
    whiten: bool = True
    ensemble: int = 1
    softening: float = 1e-8

    needs_nodes: ClassVar[bool] = False
    default_training: ClassVar[TrainingConfig] = TrainingConfig(
        epochs=2000, batch_size=256, learning_rate=1e-2
    )

    def __post_init__(self) -> None:
        """Check the settings.

        Raises:
            InconsistentArguments: If one is out of its range.
            UnrecognisedOption: If there is no such activation.
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
        """Fit an emulator to samples, as `Architecture.fit` says."""
        weights = samples.weights
        if self.normalisation == "zscore":
            weights = 1.0 / np.maximum(samples.y.std(axis=0), LEAST_SPREAD)
        basis, latents = latent_targets(samples, weights, self.components)
        metric = latent_metric(basis)
        scale = latent_scale(latents, metric, self.whiten)
        decoder = linear_decoder(basis.mean, basis.components, samples.support)
        members, histories = fit_members(
            self.ensemble,
            lambda member, its_monitor: fit_network(
                self._network(
                    samples.points.shape[1],
                    latents.shape[1],
                    first_weights(training, member),
                ),
                samples,
                latents,
                scale,
                standard_width(samples),
                training,
                its_monitor,
                member,
            ),
            monitor,
        )
        regressor = join(members, decoder, samples, training)
        return assemble(
            samples, regressor, decoder, latents.shape[1], histories
        )

    def skeleton(self, shape: EmissionShape) -> EmissionEmulator:
        """Return an emulator of that shape with arbitrary values."""
        d, k = len(shape.nodes), shape.latents
        regressor = skeleton_of(
            self.ensemble,
            lambda: scaled_skeleton(self._network(d, k, nnx.Rngs(0)), d, k),
        )
        return assemble_skeleton(
            shape, regressor, linear_skeleton(shape), self.softening
        )

    def _network(self, n_axes: int, n_latents: int, rngs: nnx.Rngs) -> MLP:
        """Return the network, untrained."""
        return MLP(
            n_axes,
            self.hidden,
            n_latents,
            activation=self.activation,
            rngs=rngs,
        )
