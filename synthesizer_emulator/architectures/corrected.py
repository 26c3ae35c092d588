"""The default: a smooth network, exact at the nodes by a residual table.

The network learns how spectra change over the grid; what is missing at
the nodes stands in a table between whose entries cubics run. So the nodes
come back to the precision of the basis, and between them the network
smooths what few nodes leave open (docs/accuracy has the measurements that
chose the numbers below).
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

import jax.numpy as jnp
import numpy as np
from numpy.typing import NDArray

from synthesizer_emulator.architectures.base import (
    EmissionSamples,
    EmissionShape,
    empty_nodes,
    evaluate_points,
)
from synthesizer_emulator.architectures.linear import (
    check_linear_settings,
    fit_network,
    latent_metric,
    latent_targets,
    linear_emulator,
    linear_skeleton,
    scaled_skeleton,
    standard_width,
)
from synthesizer_emulator.architectures.regressors import CorrectedNetwork
from synthesizer_emulator.checks import check_number
from synthesizer_emulator.emulator import EmissionEmulator
from synthesizer_emulator.interpolation import SPARSE_AXIS, SmoothTable
from synthesizer_emulator.training import History, Monitor, TrainingConfig

# By how much a sparse axis is narrowed for the network.
_SPARSE_WIDTH = 3.0


@dataclass(frozen=True)
class Corrected:
    """Principal components, a smooth network and a table of residuals.

    Attributes:
        components (int): The number of components.
        hidden (tuple of int): The widths of the hidden layers.
        activation (str): The activation between them.
        trend (float): The part of the network that counts, from 0 (only
            the table) to 1.
        tolerance (float): The root mean square of ln flux below which
            further components are left out.
        softening (float): The softening of the logarithm of flux.
    """

    components: int = 192
    hidden: Sequence[int] = (128, 128, 128)
    activation: str = "silu"
    trend: float = 1.0
    tolerance: float = 2e-5
    softening: float = 1e-8

    default_training: ClassVar[TrainingConfig] = TrainingConfig(
        epochs=1500, batch_size=2048, learning_rate=3e-3, weight_decay=0.1
    )

    def __post_init__(self) -> None:
        """Check the settings.

        Raises:
            InconsistentArguments: If one is out of its range.
        """
        check_linear_settings(
            self.components, self.hidden, self.activation, self.softening
        )
        check_number("trend", self.trend, 0, 1)
        check_number("tolerance", self.tolerance, 0)

    def fit(
        self,
        samples: EmissionSamples,
        training: TrainingConfig,
        monitor: Monitor,
    ) -> tuple[EmissionEmulator, History, EmissionShape]:
        """Fit an emulator to samples, as `Architecture.fit` says."""
        basis, latents = latent_targets(
            samples, self.components, self.tolerance
        )
        trend, history = fit_network(
            samples,
            latents,
            self.hidden,
            self.activation,
            _input_width(samples),
            False,
            training,
            monitor,
        )
        table = samples.at_all_nodes(latents)
        mesh = jnp.asarray(samples.mesh.reshape(-1, len(samples.nodes)))
        at_nodes = np.asarray(evaluate_points(trend, mesh))
        residual = table - self.trend * at_nodes.reshape(table.shape)
        metric = latent_metric(samples, latents.shape[1])
        regressor = CorrectedNetwork(
            trend,
            SmoothTable(
                samples.nodes,
                residual.astype(np.float32),
                metric.astype(np.float32),
            ),
            self.trend,
        )
        emulator, shape = linear_emulator(samples, basis, regressor)
        return emulator, history, shape

    def skeleton(self, shape: EmissionShape) -> EmissionEmulator:
        """Return an emulator of that shape with arbitrary values."""
        trend = scaled_skeleton(shape, self.hidden, self.activation)
        residual = SmoothTable(
            empty_nodes(shape.nodes),
            np.zeros((*shape.nodes, shape.latents), np.float32),
            np.zeros(shape.latents, np.float32),
        )
        regressor = CorrectedNetwork(trend, residual, self.trend)
        return linear_skeleton(shape, regressor, self.softening)


def _input_width(samples: EmissionSamples) -> NDArray[np.float64]:
    """Return what the network sees as one unit along each axis, (d,).

    The standard deviation of the nodes; on a sparse axis some times more,
    so that the network bends less between its few nodes.
    """
    sparse = np.array(samples.alive.shape) < SPARSE_AXIS
    return standard_width(samples) * np.where(sparse, _SPARSE_WIDTH, 1.0)
