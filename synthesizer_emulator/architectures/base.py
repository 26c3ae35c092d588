"""The interface of an architecture, and how its parts are assembled.

An architecture is a frozen dataclass of settings that derives from
`Architecture`. `fit` trains the emulator of one emission on its samples;
`skeleton` builds the same modules without values, to be filled from a weights
file.
"""

from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar, Self

import jax
import numpy as np
from flax import nnx
from jax import Array
from numpy.typing import NDArray

from synthesizer_emulator.architectures.node_table import NodeTable
from synthesizer_emulator.architectures.rounding import Storage
from synthesizer_emulator.architectures.samples import EmissionSamples
from synthesizer_emulator.architectures.training import (
    LossHistory,
    Monitor,
    TrainingConfig,
)
from synthesizer_emulator.emulator.emission import (
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
    """The sizes that fix the shapes of all tensors of one emission.

    Attributes:
        nodes (tuple of int): The number of nodes along each axis.
        size (int): The number of wavelengths or lines.
        latents (int): The number of latents, ln norm included.
        inner (int): The width of a layer between the latents and the
            output, for decoders that have one.
    """

    nodes: tuple[int, ...]
    size: int
    latents: int
    inner: int = 0

    @classmethod
    def from_json(cls, text: str) -> Self:
        """Parse the output of `json.dumps(asdict(shape))`.

        Raises:
            TypeError: If a field is missing, unknown or of the wrong type.
            ValueError: If the text is not JSON, or a size is impossible.
        """
        shape = typed(cls, parse_json(text), "its shape")
        sizes = (*shape.nodes, shape.size, shape.latents)
        if not shape.nodes or min(sizes) < 1 or shape.inner < 0:
            raise ValueError(f"there is no {shape}")
        return shape


@dataclass(frozen=True)
class Fit:
    """A fitted emission.

    Attributes:
        emulator (EmissionEmulator): The trained emulator.
        shape (EmissionShape): The sizes from which `skeleton` rebuilds it.
        histories (Mapping): The losses of each training by its name; the
            name of the (first) regressor's training is empty.
    """

    emulator: EmissionEmulator
    shape: EmissionShape
    histories: Mapping[str, LossHistory]


class Architecture(ABC):
    """A way to emulate an emission; subclasses are frozen dataclasses.

    A subclass needs `fit` and `skeleton`; everything else has a default.

    Attributes:
        needs_nodes (bool): Whether the samples must be the nodes of a grid.
        default_training (TrainingConfig): A training that works well.
        storage (Mapping): How tensors that are rounded are stored, by the
            end of their names; all others are stored in float32.
        ensemble (int): The number of regressors (see `Ensemble`).
        softening (float): The softening of the logarithm of flux.
    """

    needs_nodes: ClassVar[bool] = False
    default_training: ClassVar[TrainingConfig] = TrainingConfig()
    storage: ClassVar[Mapping[str, Storage]] = {
        "alive/values": Storage.INT32_COLUMNS,
        "components": Storage.INT16_ROWS,
    }
    ensemble: int = 1
    softening: float = 1e-8

    @abstractmethod
    def fit(
        self,
        samples: EmissionSamples,
        training: TrainingConfig,
        monitor: Monitor,
    ) -> Fit:
        """Train an emulator of one emission.

        Args:
            samples (EmissionSamples): The emission at the samples.
            training (TrainingConfig): How to train the networks.
            monitor (Monitor): Shows progress and keeps checkpoints.

        Returns:
            Fit: The emulator and the losses of its trainings.
        """

    @abstractmethod
    def skeleton(self, shape: EmissionShape) -> EmissionEmulator:
        """Build an emulator of this shape with arbitrary values."""

    def derive(self, emulator: EmissionEmulator) -> EmissionEmulator:
        """Compute the `Derived` arrays of an emulator, which are not stored.

        Called after the stored tensors were loaded into a skeleton.

        Args:
            emulator (EmissionEmulator): The emulator, changed in place.

        Returns:
            EmissionEmulator: The same emulator.
        """
        return emulator

    @property
    def has_node_table(self) -> bool:
        """Whether `node_table` works for these settings."""
        return False

    def node_table(
        self,
        tensors: Mapping[str, NDArray],
        columns: NDArray[np.intp],
        between: tuple[int, float] | None = None,
    ) -> NodeTable | None:
        """Evaluate an emission at the nodes of its own grid without JAX.

        Args:
            tensors (Mapping): The tensors of the emission, named as in a
                weights file.
            columns (np.ndarray of int): Indices of the wavelengths or
                lines to evaluate, (n,).
            between (tuple): The number of an axis and a coordinate on it
                (between -1 and 1) that replaces the nodes of that axis;
                None for the nodes of all axes.

        Returns:
            NodeTable: None if only JAX can evaluate the emission, or if
                the tensors do not fit the architecture.
        """
        return None

    def storage_of(self, tensor: str) -> Storage | None:
        """Return how the tensor of this name is rounded, None if it isn't."""
        endings = (end for end in self.storage if tensor.endswith(end))
        ending = next(endings, None)
        return None if ending is None else self.storage[ending]


def check_settings(softening: float, ensemble: int) -> None:
    """Check the settings that all architectures share.

    Raises:
        InconsistentArguments: If one is out of range.
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
    """Assemble the emulator of an emission from its fitted parts.

    Args:
        samples (EmissionSamples): The samples that were fitted.
        regressor (Regressor): Coordinates to latents.
        decoder (Decoder): Latents to soft-log flux.
        n_latents (int): The number of latents, ln norm included.
        histories (Mapping): The losses of each training by its name.

    Returns:
        Fit: The emulator and the losses of its trainings.
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
    """Assemble an emulator as `assemble` does, with arbitrary values."""
    return EmissionEmulator(
        regressor,
        decoder,
        SoftLog(softening),
        np.zeros(shape.size),
        LinearTable(
            empty_nodes(shape.nodes), np.zeros((*shape.nodes, 1), np.float32)
        ),
    )


def empty_nodes(shape: tuple[int, ...]) -> list[NDArray[np.float32]]:
    """Return ascending placeholder nodes for the tables of a skeleton."""
    return [np.arange(n, dtype=np.float32) for n in shape]


@jax.jit
def evaluate_points(module: nnx.Module, points: Array) -> Array:
    """Evaluate a module at points (m, d), giving (m, k)."""
    return jax.vmap(lambda x: module(x))(points)
