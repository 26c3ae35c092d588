"""The default architecture: a smooth network and a table of residuals.

The network predicts principal components of log flux over the grid; a table
holds the residuals at the nodes, with smooth curves between them. The nodes
are therefore reproduced to the precision of the basis. Between nodes the
prediction is 0.3 times the network plus the interpolated residuals. The
default settings are based on the measurements in docs/accuracy.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

import jax.numpy as jnp
import numpy as np
from flax import nnx
from numpy.typing import NDArray

from synthesizer_emulator.architectures.base import (
    Architecture,
    EmissionShape,
    Fit,
    assemble,
    assemble_skeleton,
    check_settings,
    empty_nodes,
    evaluate_points,
)
from synthesizer_emulator.architectures.ensembles import (
    ensemble_skeleton,
    fit_members,
    spread_factor,
)
from synthesizer_emulator.architectures.linear import (
    latent_metric,
    latent_scale,
    latent_targets,
    linear_decoder,
    linear_skeleton,
)
from synthesizer_emulator.architectures.networks import check_layers
from synthesizer_emulator.architectures.node_table import (
    ACTIVATIONS,
    NodeTable,
    residual_node_table,
)
from synthesizer_emulator.architectures.regressors import (
    Perceptron,
    TrendPlusResiduals,
    standard_width,
)
from synthesizer_emulator.architectures.rounding import Storage, round_table
from synthesizer_emulator.architectures.samples import EmissionSamples
from synthesizer_emulator.architectures.training import (
    Monitor,
    TrainingConfig,
    split_samples,
)
from synthesizer_emulator.emulator.cubics import SPARSE_AXIS
from synthesizer_emulator.emulator.emission import (
    EmissionEmulator,
    Ensemble,
    Regressor,
)
from synthesizer_emulator.emulator.tables import (
    SmoothTable,
    long_axis,
    smoothed,
)
from synthesizer_emulator.validation import check_number, check_whole

# The unit of the integers in the table, in ln norm. Rounding all columns adds
# at most four times this unit to the error in ln flux.
_TABLE_STEP = 4e-6

# The factor by which a sparse axis is narrowed for the network.
_SPARSE_WIDTH = 3.0


@dataclass(frozen=True)
class ResidualTable(Architecture):
    """Principal components, a smooth network and a table of residuals.

    Attributes:
        components (int): The largest number of components.
        hidden (tuple of int): The widths of the hidden layers.
        activation (str): The activation after each hidden layer.
        trend (float): The factor of the network, from 0 (only the table)
            to 1.
        tolerance (float): The root mean square of ln flux below which
            further components are left out.
        ensemble (int): The number of networks, each with a table. Their
            predictions differ between nodes, except along a long axis.
        softening (float): The softening of the logarithm of flux.
    """

    components: int = 192
    hidden: Sequence[int] = (128, 128, 128)
    activation: str = "silu"
    trend: float = 0.3
    tolerance: float = 2e-5
    ensemble: int = 1
    softening: float = 1e-8

    needs_nodes: ClassVar[bool] = True
    default_training: ClassVar[TrainingConfig] = TrainingConfig(
        epochs=1500, batch_size=2048, learning_rate=3e-3, weight_decay=0.1
    )
    search_space: ClassVar[Mapping[str, Any]] = {
        "settings": {
            "components": {"low": 32, "high": 256, "log": True},
            "hidden": {"layers": [1, 4], "width": [32, 256]},
            "activation": ["silu", "tanh", "relu"],
            "trend": {"low": 0.0, "high": 1.0},
        },
        "training": {
            "learning_rate": {"low": 3e-4, "high": 1e-2, "log": True},
            "weight_decay": {"low": 1e-4, "high": 1.0, "log": True},
        },
    }
    storage: ClassVar[Mapping[str, Storage]] = {
        **Architecture.storage,
        "residual/values": Storage.INT32_COLUMNS,
    }

    def __post_init__(self) -> None:
        """Check the settings.

        Raises:
            InconsistentArguments: If a setting is out of range.
            UnrecognisedOption: If the activation is unknown.
        """
        check_whole("components", self.components, 1)
        check_layers(self.hidden, self.activation)
        check_settings(self.softening, self.ensemble)
        check_number("trend", self.trend, 0, 1)
        check_number("tolerance", self.tolerance, 0)

    def fit(
        self,
        samples: EmissionSamples,
        training: TrainingConfig,
        monitor: Monitor,
    ) -> Fit:
        """Train an emulator of one emission; see `Architecture.fit`."""
        basis, latents = latent_targets(
            samples, samples.weights, self.components, self.tolerance
        )
        metric = latent_metric(basis)
        table = samples.at_all_nodes(latents)
        # A network can't fit small-scale structure along a long axis.
        targets = smoothed(samples.nodes, table)[np.asarray(samples.sampled)]
        scale = latent_scale(targets, metric, whiten=False)
        width = _input_width(samples)
        perceptron = Perceptron(self.hidden, self.activation)
        trends, histories = fit_members(
            self.ensemble,
            lambda member, member_monitor: perceptron.fit(
                samples,
                targets,
                scale,
                width,
                training,
                member_monitor,
                member,
            ),
            monitor,
        )
        mesh = jnp.asarray(samples.mesh.reshape(-1, len(samples.nodes)))
        step = _TABLE_STEP * metric[0]
        members = []
        for trend in trends:
            at_nodes = np.asarray(evaluate_points(trend, mesh))
            residuals = round_table(
                table - self.trend * at_nodes.reshape(table.shape),
                metric,
                step,
            )
            residual_table = SmoothTable(
                samples.nodes,
                residuals.astype(np.float32),
                metric.astype(np.float32),
            )
            members.append(
                TrendPlusResiduals(trend, residual_table, self.trend)
            )
        decoder = linear_decoder(basis.mean, basis.components, samples.support)
        regressor: Regressor = members[0]
        if len(members) > 1:
            _, held_out = split_samples(len(latents), training)
            predicted, indices = _leave_one_out(samples, members, held_out)
            factor = spread_factor(predicted, indices, decoder, samples)
            regressor = Ensemble(members, factor)
        return assemble(
            samples, regressor, decoder, latents.shape[1], histories
        )

    def skeleton(self, shape: EmissionShape) -> EmissionEmulator:
        """Build an emulator of this shape with placeholder values."""
        k = shape.latents
        perceptron = Perceptron(self.hidden, self.activation)

        def member() -> TrendPlusResiduals:
            residual = SmoothTable(
                empty_nodes(shape.nodes),
                np.zeros((*shape.nodes, k), np.float32),
                np.zeros(k, np.float32),
                derived=False,
            )
            trend = perceptron.skeleton(len(shape.nodes), k)
            return TrendPlusResiduals(trend, residual, self.trend)

        return assemble_skeleton(
            shape,
            ensemble_skeleton(self.ensemble, member),
            linear_skeleton(shape),
            self.softening,
        )

    def derive(self, emulator: EmissionEmulator) -> EmissionEmulator:
        """Compute the arrays of the tables that are not stored."""
        for _, module in nnx.iter_modules(emulator):
            if isinstance(module, SmoothTable):
                module.derive()
        return emulator

    @property
    def has_node_table(self) -> bool:
        """Whether the activation is implemented in NumPy."""
        return self.activation in ACTIVATIONS

    def node_table(
        self,
        tensors: Mapping[str, NDArray],
        columns: NDArray[np.intp],
        between: tuple[int, float] | None = None,
    ) -> NodeTable | None:
        """Evaluate latents at the nodes; see `Architecture.node_table`."""
        if not self.has_node_table:
            return None
        return residual_node_table(
            tensors,
            columns,
            between,
            hidden=self.hidden,
            activation=self.activation,
            trend=self.trend,
            ensemble=self.ensemble,
            softening=self.softening,
        )


def _leave_one_out(
    samples: EmissionSamples,
    members: Sequence[TrendPlusResiduals],
    held_out: NDArray[np.intp],
) -> tuple[NDArray[np.float64], NDArray[np.intp]]:
    """Predict held-out samples from tables that lack the samples' nodes.

    At its nodes a table has no error, and an ensemble no scatter. One node is
    therefore left out at a time, along each axis except a long one, where the
    members always agree.

    Args:
        samples (EmissionSamples): The emission at the nodes.
        members (sequence of TrendPlusResiduals): The members.
        held_out (np.ndarray of int): The indices of the samples that were
            held out of training.

    Returns:
        tuple: The latents, (members, m, k), and the indices of the samples,
            (m,). A sample can occur once for each axis.
    """
    nodes = np.argwhere(np.asarray(samples.sampled))[held_out]
    n_latents = members[0].residual.values[...].shape[-1]
    latents = [np.zeros((len(members), 0, n_latents))]
    indices = [held_out[:0]]
    for axis, node in _inner_nodes(samples.nodes):
        at_node = nodes[:, axis] == node
        mesh = np.take(samples.mesh, node, axis)
        rows = np.ravel_multi_index(
            tuple(np.delete(nodes[at_node], axis, axis=1).T), mesh.shape[:-1]
        )
        points = jnp.asarray(mesh.reshape(-1, mesh.shape[-1]))
        predicted = [
            np.asarray(evaluate_points(member.without(axis, node), points))
            for member in members
        ]
        latents.append(np.stack(predicted)[:, rows])
        indices.append(held_out[at_node])
    return np.concatenate(latents, axis=1), np.concatenate(indices)


def _inner_nodes(nodes: Sequence[NDArray]) -> Iterator[tuple[int, int]]:
    """Yield (axis, node) for all inner nodes, except along a long axis."""
    lengths = [len(axis_nodes) for axis_nodes in nodes]
    for axis, length in enumerate(lengths):
        if axis != long_axis((*lengths, 0)):
            yield from ((axis, node) for node in range(1, length - 1))


def _input_width(samples: EmissionSamples) -> NDArray[np.float64]:
    """Return the unit of each input of the network, (d,).

    This is the standard deviation of the samples, or a multiple of it along a
    sparse axis, so that the network varies less between the few nodes.
    """
    sparse = np.array(samples.shape) < SPARSE_AXIS
    return standard_width(samples) * np.where(sparse, _SPARSE_WIDTH, 1.0)
