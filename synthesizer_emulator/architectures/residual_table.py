"""The default: a smooth network, exact at the nodes by a residual table.

The network learns how spectra change over the grid; what is missing at
the nodes stands in a table between whose entries smooth curves run. So the
nodes come back to the precision of the basis, and between them network and
curves weigh up what few nodes leave open (docs/accuracy has the
measurements that chose the numbers below).
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import ClassVar

import jax.numpy as jnp
import numpy as np
from flax import nnx
from numpy.typing import NDArray

from synthesizer_emulator.architectures.base import (
    EmissionShape,
    Fit,
    assemble,
    assemble_skeleton,
    check_settings,
    empty_nodes,
    evaluate_points,
)
from synthesizer_emulator.architectures.ensembles import (
    fit_members,
    skeleton_of,
    spread_factor,
)
from synthesizer_emulator.architectures.linear import (
    latent_metric,
    latent_scale,
    latent_targets,
    linear_decoder,
    linear_skeleton,
)
from synthesizer_emulator.architectures.networks import MLP, check_layers
from synthesizer_emulator.architectures.regressors import (
    TrendPlusResiduals,
    first_weights,
    fit_network,
    scaled_skeleton,
    standard_width,
)
from synthesizer_emulator.architectures.rounding import round_table
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

# In what steps the table counts, in ln norm; all its columns together add
# four times that to the error of ln flux.
_TABLE_STEP = 4e-6

# By how much a sparse axis is narrowed for the network.
_SPARSE_WIDTH = 3.0


@dataclass(frozen=True)
class ResidualTable:
    """Principal components, a smooth network and a table of residuals.

    Attributes:
        components (int): The number of components.
        hidden (tuple of int): The widths of the hidden layers.
        activation (str): The activation between them.
        trend (float): The part of the network that counts, from 0 (only
            the table) to 1.
        tolerance (float): The root mean square of ln flux below which
            further components are left out.
        ensemble (int): How many networks, each with its table, there are;
            they differ between the nodes of all axes but a long one.
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

    def __post_init__(self) -> None:
        """Check the settings.

        Raises:
            InconsistentArguments: If one is out of its range.
            UnrecognisedOption: If there is no such activation.
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
        """Fit an emulator to samples, as `Architecture.fit` says."""
        basis, latents = latent_targets(
            samples, samples.weights, self.components, self.tolerance
        )
        metric = latent_metric(basis)
        table = samples.at_all_nodes(latents)
        # What is rough along a long axis is noise to a network.
        targets = smoothed(samples.nodes, table)[np.asarray(samples.sampled)]
        trends, histories = fit_members(
            self.ensemble,
            lambda member, its_monitor: fit_network(
                self._network(
                    len(samples.nodes),
                    latents.shape[1],
                    first_weights(training, member),
                ),
                samples,
                targets,
                latent_scale(targets, metric, whiten=False),
                _input_width(samples),
                training,
                its_monitor,
                member,
            ),
            monitor,
        )
        mesh = jnp.asarray(samples.mesh.reshape(-1, len(samples.nodes)))
        parts = [
            self.trend
            * np.asarray(evaluate_points(trend, mesh)).reshape(table.shape)
            for trend in trends
        ]
        step = _TABLE_STEP * metric[0]
        tables = [
            round_table(table - part, metric, step).astype(np.float32)
            for part in parts
        ]
        metric = metric.astype(np.float32)
        members = [
            TrendPlusResiduals(
                trend, SmoothTable(samples.nodes, rest, metric), self.trend
            )
            for trend, rest in zip(trends, tables, strict=True)
        ]
        decoder = linear_decoder(basis.mean, basis.components, samples.support)
        regressor: Regressor = members[0]
        if len(members) > 1:
            _, held = split_samples(len(latents), training)
            between, held = _without_own_node(samples, members, held)
            regressor = Ensemble(
                members, spread_factor(between, held, decoder, samples)
            )
        return assemble(
            samples, regressor, decoder, latents.shape[1], histories
        )

    def skeleton(self, shape: EmissionShape) -> EmissionEmulator:
        """Return an emulator of that shape with arbitrary values."""
        d, k = len(shape.nodes), shape.latents

        def member() -> TrendPlusResiduals:
            residual = SmoothTable(
                empty_nodes(shape.nodes),
                np.zeros((*shape.nodes, k), np.float32),
                np.zeros(k, np.float32),
                derived=False,
            )
            trend = scaled_skeleton(self._network(d, k, nnx.Rngs(0)), d, k)
            return TrendPlusResiduals(trend, residual, self.trend)

        return assemble_skeleton(
            shape,
            skeleton_of(self.ensemble, member),
            linear_skeleton(shape),
            self.softening,
        )

    def _network(self, n_axes: int, n_latents: int, rngs: nnx.Rngs) -> MLP:
        """Return the network of the trend, untrained."""
        return MLP(
            n_axes,
            self.hidden,
            n_latents,
            activation=self.activation,
            rngs=rngs,
        )


def _without_own_node(
    samples: EmissionSamples,
    members: Sequence[TrendPlusResiduals],
    held: NDArray[np.intp],
) -> tuple[NDArray[np.float64], NDArray[np.intp]]:
    """Return what members predict at nodes that their tables leave out.

    Along each axis in turn but a long one, along which the members always
    agree. At its own node a table has no error, and an ensemble no spread.

    Args:
        samples (EmissionSamples): The emission at the nodes.
        members (sequence of TrendPlusResiduals): The members.
        held (np.ndarray of int): Samples that no trend was trained on.

    Returns:
        tuple: The latents (members, m, k) at m of these samples, some of
            them more than once, and their indices (m,).
    """
    where = np.argwhere(np.asarray(samples.sampled))[held]
    n_latents = members[0].residual.values[...].shape[-1]
    latents = [np.zeros((len(members), 0, n_latents))]
    indices = [held[:0]]
    for axis, node in _inner_nodes(samples.nodes):
        here = where[:, axis] == node
        mesh = np.take(samples.mesh, node, axis)
        rows = np.ravel_multi_index(
            tuple(np.delete(where[here], axis, axis=1).T), mesh.shape[:-1]
        )
        points = jnp.asarray(mesh.reshape(-1, mesh.shape[-1]))
        predicted = [
            np.asarray(evaluate_points(member.without(axis, node), points))
            for member in members
        ]
        latents.append(np.stack(predicted)[:, rows])
        indices.append(held[here])
    return np.concatenate(latents, axis=1), np.concatenate(indices)


def _inner_nodes(nodes: Sequence[NDArray]) -> Iterator[tuple[int, int]]:
    """Yield each axis but a long one, with each node within its ends."""
    lengths = [len(line) for line in nodes]
    for axis, length in enumerate(lengths):
        if axis != long_axis((*lengths, 0)):
            yield from ((axis, node) for node in range(1, length - 1))


def _input_width(samples: EmissionSamples) -> NDArray[np.float64]:
    """Return what the network sees as one unit along each axis, (d,).

    The standard deviation of the nodes; on a sparse axis some times more,
    so that the network bends less between its few nodes.
    """
    sparse = np.array(samples.has_emission.shape) < SPARSE_AXIS
    return standard_width(samples) * np.where(sparse, _SPARSE_WIDTH, 1.0)
