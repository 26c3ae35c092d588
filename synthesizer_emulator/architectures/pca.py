"""The published baseline: principal components and a perceptron.

As in Speculator (Alsing et al. 2020, ApJS 249, 5): a network maps the
axes to the coefficients of a linear basis in log flux.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

from synthesizer_emulator.architectures.base import (
    EmissionSamples,
    EmissionShape,
)
from synthesizer_emulator.architectures.linear import (
    check_linear_settings,
    fit_network,
    latent_targets,
    linear_emulator,
    linear_skeleton,
    scaled_skeleton,
    standard_width,
)
from synthesizer_emulator.emulator import EmissionEmulator
from synthesizer_emulator.training import History, Monitor, TrainingConfig


@dataclass(frozen=True)
class PCA:
    """Principal components of log flux and a perceptron for the rest.

    Attributes:
        components (int): The number of components.
        hidden (tuple of int): The widths of the hidden layers.
        activation (str): The activation between them.
        whiten (bool): Whether every coefficient counts alike in training
            (as in Speculator) or by its share of the flux.
        softening (float): The softening of the logarithm of flux.
    """

    components: int = 64
    hidden: Sequence[int] = (256, 256, 256, 256)
    activation: str = "silu"
    whiten: bool = False
    softening: float = 1e-8

    default_training: ClassVar[TrainingConfig] = TrainingConfig(
        epochs=2000, batch_size=256, learning_rate=1e-3, weight_decay=0.0
    )

    def __post_init__(self) -> None:
        """Check the settings.

        Raises:
            InconsistentArguments: If one is out of its range.
        """
        check_linear_settings(
            self.components, self.hidden, self.activation, self.softening
        )

    def fit(
        self,
        samples: EmissionSamples,
        training: TrainingConfig,
        monitor: Monitor,
    ) -> tuple[EmissionEmulator, History, EmissionShape]:
        """Fit an emulator to samples, as `Architecture.fit` says."""
        basis, latents = latent_targets(
            samples, self.components, tolerance=0.0
        )
        regressor, history = fit_network(
            samples,
            latents,
            self.hidden,
            self.activation,
            standard_width(samples),
            self.whiten,
            training,
            monitor,
        )
        emulator, shape = linear_emulator(samples, basis, regressor)
        return emulator, history, shape

    def skeleton(self, shape: EmissionShape) -> EmissionEmulator:
        """Return an emulator of that shape with arbitrary values."""
        regressor = scaled_skeleton(shape, self.hidden, self.activation)
        return linear_skeleton(shape, regressor, self.softening)
