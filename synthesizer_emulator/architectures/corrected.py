"""The default: a smooth network, exact at the nodes by a residual table.

The network learns how spectra change over the grid; what it misses at
the nodes stands in a table that is interpolated by monotone cubics. So
the nodes come back to the precision of the basis, and between them the
emulator is at least as good as careful interpolation of log flux.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from flax import nnx

from synthesizer_emulator.architectures.base import (
    EmissionSamples,
    EmissionShape,
    empty_table,
    evaluate_points,
)
from synthesizer_emulator.architectures.linear import (
    check_network_settings,
    fit_network,
    latent_targets,
    linear_emulator,
    linear_skeleton,
    scaled_skeleton,
)
from synthesizer_emulator.architectures.regressors import CorrectedNetwork
from synthesizer_emulator.emulator import EmissionEmulator
from synthesizer_emulator.networks import MLP
from synthesizer_emulator.training import History, Monitor, TrainingConfig


@dataclass(frozen=True)
class Corrected:
    """Principal components, a smooth network and a table of residuals.

    Attributes:
        components (int): The number of components.
        hidden (tuple of int): The widths of the hidden layers.
        activation (str): The activation between them.
        softening (float): The softening of the logarithm of flux.
    """

    components: int = 128
    hidden: Sequence[int] = (64, 64)
    activation: str = "silu"
    softening: float = 1e-8

    def __post_init__(self) -> None:
        """Check the settings.

        Raises:
            InconsistentArguments: If one is out of its range.
        """
        check_network_settings(self.components, self.hidden, self.activation)

    def fit(
        self,
        samples: EmissionSamples,
        training: TrainingConfig,
        monitor: Monitor,
    ) -> tuple[EmissionEmulator, History, EmissionShape]:
        """Fit an emulator to samples, as `Architecture.fit` says."""
        basis, latents = latent_targets(samples, self.components)
        network = MLP(
            samples.points.shape[1],
            self.hidden,
            latents.shape[1],
            activation=self.activation,
            rngs=nnx.Rngs(training.seed),
        )
        trend, history = fit_network(
            samples, latents, network, False, training, monitor
        )
        missed = latents - np.asarray(evaluate_points(trend, samples.points))
        regressor = CorrectedNetwork(trend, samples.table(missed))
        emulator, shape = linear_emulator(samples, basis, regressor)
        return emulator, history, shape

    def skeleton(self, shape: EmissionShape) -> EmissionEmulator:
        """Return an emulator of that shape with arbitrary values."""
        trend = scaled_skeleton(shape, self.hidden, self.activation)
        table = empty_table(shape.nodes, shape.latents)
        regressor = CorrectedNetwork(trend, table)
        return linear_skeleton(shape, regressor, self.softening)
