"""What every architecture is given and has to give.

An architecture is a frozen dataclass of settings with two methods: `fit`
makes the emulator of one emission from its values at the nodes, `skeleton`
the same modules without values, to be filled from a weights file.
"""

import json
from dataclasses import dataclass
from typing import ClassVar, Protocol, Self

import jax
import numpy as np
from flax import nnx
from jax import Array
from numpy.typing import NDArray
from scipy.ndimage import distance_transform_edt

from synthesizer_emulator.emulator import EmissionEmulator
from synthesizer_emulator.interpolation import LinearTable
from synthesizer_emulator.scaling import SoftLog
from synthesizer_emulator.training import History, Monitor, TrainingConfig


@dataclass(frozen=True)
class EmissionShape:
    """The sizes that fix the tensors of one emission.

    Attributes:
        nodes (tuple of int): The number of nodes along each axis.
        size (int): The number of wavelengths or lines.
        latents (int): The number of latents, the norm included.
    """

    nodes: tuple[int, ...]
    size: int
    latents: int

    @classmethod
    def of_json(cls, text: str) -> Self:
        """Read back what `json.dumps(asdict(shape))` wrote."""
        fields = json.loads(text)
        return cls(
            tuple(int(n) for n in fields["nodes"]),
            int(fields["size"]),
            int(fields["latents"]),
        )


@dataclass(frozen=True)
class EmissionSamples:
    """One emission at the nodes of a grid, prepared for fitting.

    Attributes:
        nodes (tuple of np.ndarray): The coordinates along each axis.
        alive (np.ndarray of bool): Which nodes have emission, shape of the
            grid.
        sampled (np.ndarray of bool): Which nodes are fitted: those with
            emission, or the first if none has.
        support (np.ndarray of bool): Which wavelengths ever emit, (n,).
        weights (np.ndarray of float): What an error at each wavelength
            weighs, (n,).
        log_norm (np.ndarray of float): ln of the brightest value at each
            of the m nodes, (m,).
        y (np.ndarray of float): Soft-log flux there, (m, n).
        soft_log (SoftLog): The flux transform.
    """

    nodes: tuple[NDArray[np.float64], ...]
    alive: NDArray[np.bool_]
    sampled: NDArray[np.bool_]
    support: NDArray[np.bool_]
    weights: NDArray[np.float64]
    log_norm: NDArray[np.float64]
    y: NDArray[np.float64]
    soft_log: SoftLog

    @classmethod
    def of_values(
        cls,
        nodes: tuple[NDArray[np.float64], ...],
        values: NDArray[np.float64],
        weights: NDArray[np.float64],
        softening: float,
    ) -> Self:
        """Prepare the values of one emission.

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
        soft_log = SoftLog(softening)
        norm = values.max(axis=-1)
        alive = norm > 0
        flat = values.reshape(-1, values.shape[-1])
        support = np.asarray((flat > 0).any(axis=0))
        sampled = alive.copy()
        if not alive.any():
            # There is nothing to learn, but there must be a sample.
            sampled.flat[0] = True
            norm = np.ones_like(norm)
        y = soft_log.forward(values[sampled], norm[sampled])
        return cls(
            nodes=nodes,
            alive=alive,
            sampled=sampled,
            support=support,
            weights=weights,
            log_norm=np.log(norm[sampled]),
            y=y,
            soft_log=soft_log,
        )

    @property
    def mesh(self) -> NDArray[np.float64]:
        """The coordinates of every node, (n1, ..., nd, d)."""
        return np.stack(np.meshgrid(*self.nodes, indexing="ij"), axis=-1)

    @property
    def points(self) -> NDArray[np.float64]:
        """The coordinates of every sampled node, (m, d)."""
        return self.mesh[self.sampled]

    @property
    def norm_weight(self) -> float:
        """What an error of ln norm weighs: it appears at every wavelength."""
        return float(np.sqrt(np.sum(self.weights**2)))

    def alive_table(self) -> LinearTable:
        """Return the table that is one where there is emission."""
        return LinearTable(
            self.nodes, self.alive[..., None].astype(np.float32)
        )

    def at_all_nodes(self, values: NDArray[np.float64]) -> NDArray[np.float64]:
        """Return values (m, k), given at the samples, at all nodes.

        Nodes without emission take the values of the nearest sample, so
        that tables run on smoothly: shape (n1, ..., nd, k).
        """
        full = np.zeros((*self.sampled.shape, values.shape[-1]))
        full[self.sampled] = values
        nearest = distance_transform_edt(
            ~self.sampled, return_distances=False, return_indices=True
        )
        return full[tuple(nearest)]


class Architecture(Protocol):
    """The settings of one way to emulate an emission.

    Attributes:
        default_training (TrainingConfig): How its networks train well.
    """

    default_training: ClassVar[TrainingConfig]

    @property
    def softening(self) -> float:
        """The softening of the logarithm of flux."""

    def fit(
        self,
        samples: EmissionSamples,
        training: TrainingConfig,
        monitor: Monitor,
    ) -> tuple[EmissionEmulator, History, EmissionShape]:
        """Fit an emulator to samples.

        Args:
            samples (EmissionSamples): The emission at the nodes.
            training (TrainingConfig): How to train networks.
            monitor (Monitor): Shows progress and keeps checkpoints.

        Returns:
            tuple: The emulator, the history of its training and the shape
                from which `skeleton` makes the like.
        """

    def skeleton(self, shape: EmissionShape) -> EmissionEmulator:
        """Return an emulator of that shape with arbitrary values."""


def empty_nodes(shape: tuple[int, ...]) -> list[NDArray[np.float32]]:
    """Return nodes of a skeleton's tables, ascending and otherwise void."""
    return [np.arange(n, dtype=np.float32) for n in shape]


@jax.jit
def evaluate_points(module: nnx.Module, points: Array) -> Array:
    """Evaluate a module at many points (m, d) at once."""
    return jax.vmap(lambda x: module(x))(points)
