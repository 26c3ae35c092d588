"""What every architecture is given and has to give.

An architecture is a frozen dataclass of settings with two methods: `fit`
makes the emulator of one emission from its values at samples, `skeleton`
the same modules without values, to be filled from a weights file.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import ClassVar, Protocol, Self

import jax
import numpy as np
from flax import nnx
from jax import Array
from numpy.typing import NDArray
from scipy.ndimage import distance_transform_edt
from scipy.spatial import KDTree
from synthesizer.exceptions import InconsistentArguments

from synthesizer_emulator.architectures.training import (
    LossHistory,
    Monitor,
    TrainingConfig,
)
from synthesizer_emulator.emulator.emulator import (
    Decoder,
    EmissionEmulator,
    Regressor,
)
from synthesizer_emulator.emulator.scaling import SoftLog
from synthesizer_emulator.emulator.tables import LinearTable
from synthesizer_emulator.files.schema import parse_json, typed
from synthesizer_emulator.validation import check_number, check_whole


@dataclass(frozen=True)
class EmissionShape:
    """The sizes that fix the tensors of one emission.

    Attributes:
        nodes (tuple of int): The number of nodes along each axis.
        size (int): The number of wavelengths or lines.
        latents (int): The number of latents, the norm included.
        inner (int): The width of a further layer between the latents and
            the output, where a decoder has one.
    """

    nodes: tuple[int, ...]
    size: int
    latents: int
    inner: int = 0

    @classmethod
    def from_json(cls, text: str) -> Self:
        """Read back what `json.dumps(asdict(shape))` wrote.

        Raises:
            TypeError: If a field is missing, unknown or of another type.
            ValueError: If it is no JSON, or a size can't be.
        """
        shape = typed(cls, parse_json(text), "its shape")
        sizes = (*shape.nodes, shape.size, shape.latents)
        if not shape.nodes or min(sizes) < 1 or shape.inner < 0:
            raise ValueError(f"there is no {shape}")
        return shape


@dataclass(frozen=True)
class EmissionSamples:
    """One emission at m samples, prepared for fitting.

    The samples are the nodes of a grid, or lie anywhere in its domain.

    Attributes:
        nodes (tuple of np.ndarray): The coordinates of the grid's nodes
            along each axis.
        has_emission (np.ndarray of bool): Which nodes have emission, shape
            of the grid.
        sampled (np.ndarray of bool): Which nodes are the samples, shape of
            the grid; None if the samples are no nodes.
        points (np.ndarray of float): The coordinates of each sample, (m, d).
        support (np.ndarray of bool): Which wavelengths ever emit, (n,).
        weights (np.ndarray of float): What an error at each wavelength
            weighs, (n,).
        log_norm (np.ndarray of float): ln of the brightest value of each
            sample, (m,).
        y (np.ndarray of float): Soft-log flux there, (m, n).
        soft_log (SoftLog): The flux transform.
    """

    nodes: tuple[NDArray[np.float64], ...]
    has_emission: NDArray[np.bool_]
    sampled: NDArray[np.bool_] | None
    points: NDArray[np.float64]
    support: NDArray[np.bool_]
    weights: NDArray[np.float64]
    log_norm: NDArray[np.float64]
    y: NDArray[np.float64]
    soft_log: SoftLog

    @classmethod
    def from_values(
        cls,
        nodes: tuple[NDArray[np.float64], ...],
        values: NDArray[np.float64],
        weights: NDArray[np.float64],
        softening: float,
    ) -> Self:
        """Prepare the values of one emission at the nodes of a grid.

        Args:
            nodes (tuple of np.ndarray): The coordinates along each axis.
            values (np.ndarray of float): Shape (n1, ..., nd, n), finite and
                not negative.
            weights (np.ndarray of float): What an error at each wavelength
                weighs, positive, (n,).
            softening (float): The softening of the logarithm.

        Returns:
            EmissionSamples: What an architecture fits.
        """
        has_emission = values.max(axis=-1) > 0
        sampled = _some(has_emission)
        return cls._of_points(
            nodes,
            has_emission,
            sampled,
            mesh_of(nodes)[sampled],
            values[sampled],
            weights,
            softening,
        )

    @classmethod
    def from_points(
        cls,
        nodes: tuple[NDArray[np.float64], ...],
        has_emission: NDArray[np.bool_] | None,
        points: NDArray[np.float64],
        values: NDArray[np.float64],
        weights: NDArray[np.float64],
        softening: float,
    ) -> Self:
        """Prepare the values of one emission at points of no grid.

        Args:
            nodes (tuple of np.ndarray): The coordinates along each axis of
                the grid that shall be.
            has_emission (np.ndarray of bool): Which of its nodes have
                emission; by default those whose nearest sample has.
            points (np.ndarray of float): The coordinates of the samples,
                (m, d).
            values (np.ndarray of float): Shape (m, n), finite and not
                negative.
            weights (np.ndarray of float): As for `of_values`.
            softening (float): As for `of_values`.

        Returns:
            EmissionSamples: What an architecture fits.
        """
        emits = values.max(axis=-1) > 0
        if has_emission is None:
            _, nearest = KDTree(points).query(mesh_of(nodes))
            has_emission = emits[nearest]
        kept = _some(emits)
        return cls._of_points(
            nodes,
            has_emission,
            None,
            points[kept],
            values[kept],
            weights,
            softening,
        )

    @classmethod
    def _of_points(
        cls,
        nodes: tuple[NDArray[np.float64], ...],
        has_emission: NDArray[np.bool_],
        sampled: NDArray[np.bool_] | None,
        points: NDArray[np.float64],
        values: NDArray[np.float64],
        weights: NDArray[np.float64],
        softening: float,
    ) -> Self:
        """Prepare values (m, n) at points (m, d)."""
        soft_log = SoftLog(softening)
        norm = values.max(axis=-1)
        norm = np.where(norm > 0, norm, 1.0)
        return cls(
            nodes=nodes,
            has_emission=has_emission,
            sampled=sampled,
            points=points,
            support=np.asarray((values > 0).any(axis=0)),
            weights=weights,
            log_norm=np.log(norm),
            y=soft_log.forward(values, norm),
            soft_log=soft_log,
        )

    @property
    def mesh(self) -> NDArray[np.float64]:
        """The coordinates of every node, (n1, ..., nd, d)."""
        return mesh_of(self.nodes)

    @property
    def shape(self) -> tuple[int, ...]:
        """The shape of the grid."""
        return self.has_emission.shape

    def emission_table(self) -> LinearTable:
        """Return the table that is one where there is emission."""
        return LinearTable(
            self.nodes, self.has_emission[..., None].astype(np.float32)
        )

    def at_all_nodes(self, values: NDArray[np.float64]) -> NDArray[np.float64]:
        """Return values (m, k), given at the samples, at all nodes.

        Nodes without emission take the values of the nearest sample, so
        that tables run on smoothly: shape (n1, ..., nd, k).

        Raises:
            InconsistentArguments: If the samples are no nodes.
        """
        if self.sampled is None:
            raise InconsistentArguments(
                "These samples are not the nodes of a grid."
            )
        full = np.zeros((*self.sampled.shape, values.shape[-1]))
        full[self.sampled] = values
        nearest = distance_transform_edt(
            ~self.sampled, return_distances=False, return_indices=True
        )
        return full[tuple(nearest)]


@dataclass(frozen=True)
class Fit:
    """What an architecture makes of the samples of one emission.

    Attributes:
        emulator (EmissionEmulator): The emulator.
        shape (EmissionShape): From which `skeleton` makes the like.
        histories (Mapping): The losses of each training by its name, that
            of the (first) regressor being empty.
    """

    emulator: EmissionEmulator
    shape: EmissionShape
    histories: Mapping[str, LossHistory]


class Architecture(Protocol):
    """The settings of one way to emulate an emission.

    Attributes:
        needs_nodes (bool): Whether its samples must be the nodes of a grid.
        default_training (TrainingConfig): How its networks train well.
        ensemble (int): How many regressors there are (see `Ensemble`).
    """

    needs_nodes: ClassVar[bool]
    default_training: ClassVar[TrainingConfig]

    @property
    def ensemble(self) -> int:
        """How many regressors there are."""

    @property
    def softening(self) -> float:
        """The softening of the logarithm of flux."""

    def fit(
        self,
        samples: EmissionSamples,
        training: TrainingConfig,
        monitor: Monitor,
    ) -> Fit:
        """Fit an emulator to samples.

        Args:
            samples (EmissionSamples): The emission at the samples.
            training (TrainingConfig): How to train networks.
            monitor (Monitor): Shows progress and keeps checkpoints.

        Returns:
            Fit: The emulator, and how it was made.
        """

    def skeleton(self, shape: EmissionShape) -> EmissionEmulator:
        """Return an emulator of that shape with arbitrary values."""


def check_settings(softening: float, ensemble: int) -> None:
    """Refuse settings of the samples and the ensemble that can't be.

    Raises:
        InconsistentArguments: If a number is out of its range.
    """
    check_number("softening", softening, 0, 1e-2, open_ends=True)
    check_whole("ensemble", ensemble, 1)


def assemble(
    samples: EmissionSamples,
    regressor: Regressor,
    decoder: Decoder,
    n_latents: int,
    histories: Mapping[str, LossHistory],
) -> Fit:
    """Join what was fitted to the emulator of an emission.

    Args:
        samples (EmissionSamples): What it was fitted to.
        regressor (Regressor): From coordinates to latents.
        decoder (Decoder): From latents to soft-log flux.
        n_latents (int): The number of latents, the norm included.
        histories (Mapping): The losses of each training by its name.

    Returns:
        Fit: The emulator, and how it was made.
    """
    emulator = EmissionEmulator(
        regressor,
        decoder,
        samples.soft_log,
        samples.support,
        samples.emission_table(),
    )
    shape = EmissionShape(samples.shape, samples.y.shape[1], n_latents)
    return Fit(emulator, shape, histories)


def assemble_skeleton(
    shape: EmissionShape,
    regressor: Regressor,
    decoder: Decoder,
    softening: float,
) -> EmissionEmulator:
    """Return the like of `assemble`'s emulator with arbitrary values."""
    return EmissionEmulator(
        regressor,
        decoder,
        SoftLog(softening),
        np.zeros(shape.size),
        LinearTable(
            empty_nodes(shape.nodes), np.zeros((*shape.nodes, 1), np.float32)
        ),
    )


def mesh_of(nodes: Sequence[NDArray]) -> NDArray:
    """Return every combination of values along axes, (n1, ..., nd, d)."""
    return np.stack(np.meshgrid(*nodes, indexing="ij"), axis=-1)


def _some(has_emission: NDArray[np.bool_]) -> NDArray[np.bool_]:
    """Return the samples to fit: those with emission, or the first."""
    if has_emission.any():
        return has_emission
    first = np.zeros_like(has_emission)
    first.flat[0] = True
    return first


def empty_nodes(shape: tuple[int, ...]) -> list[NDArray[np.float32]]:
    """Return nodes of a skeleton's tables, ascending and otherwise void."""
    return [np.arange(n, dtype=np.float32) for n in shape]


@jax.jit
def evaluate_points(module: nnx.Module, points: Array) -> Array:
    """Evaluate a module at many points (m, d) at once."""
    return jax.vmap(lambda x: module(x))(points)
