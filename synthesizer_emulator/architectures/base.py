"""The interface of architectures, and the assembly of their emulators.

An architecture is a frozen dataclass of settings that derives from
`Architecture`. `fit` trains the emulator of one emission on samples;
`skeleton` builds the same modules with placeholder values, to be filled from a
weights file.
"""

from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar, Self

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
    """The sizes that determine the shapes of an emission's tensors.

    Attributes:
        nodes (tuple of int): The number of nodes along each axis.
        size (int): The number of wavelengths or lines.
        latents (int): The number of latents, including ln norm.
        inner (int): The number of outputs of an autoencoder, before its
            fixed last layer, or of samples of Gaussian processes; zero for
            other architectures.
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
            ValueError: If the text is not JSON, or a size is out of range.
        """
        shape = typed(cls, parse_json(text), "its shape")
        sizes = (*shape.nodes, shape.size, shape.latents)
        if not shape.nodes or min(sizes) < 1 or shape.inner < 0:
            raise ValueError(f"its sizes must be positive, got {shape}")
        return shape


@dataclass(frozen=True)
class Fit:
    """The emulator of one emission, and the losses of its trainings.

    Attributes:
        emulator (EmissionEmulator): The trained emulator.
        shape (EmissionShape): The sizes from which `skeleton` rebuilds it.
        histories (Mapping): The losses of each training, by its name; the
            name is empty for the (first) regressor.
    """

    emulator: EmissionEmulator
    shape: EmissionShape
    histories: Mapping[str, LossHistory]


class Architecture(ABC):
    """The base class of architectures, which are frozen dataclasses.

    A subclass must implement `fit` and `skeleton`; the other methods and the
    attributes have defaults.

    Attributes:
        needs_nodes (bool): Whether the samples must be the nodes of a grid.
        default_training (TrainingConfig): The default training settings.
        search_space (Mapping): The settings that `tune` varies, as in
            `tuning.space`; empty for none.
        storage (Mapping): The integer format of each rounded tensor, by the
            end of the tensor's name; other tensors are stored in float32.
        ensemble (int): The number of regressors (see `Ensemble`).
        softening (float): The softening of the logarithm of flux.
    """

    needs_nodes: ClassVar[bool] = False
    default_training: ClassVar[TrainingConfig] = TrainingConfig()
    search_space: ClassVar[Mapping[str, Any]] = {}
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
            training (TrainingConfig): The settings of the training.
            monitor (Monitor): The monitor, which shows progress and saves
                checkpoints.

        Returns:
            Fit: The emulator and the losses of its trainings.
        """

    @abstractmethod
    def skeleton(self, shape: EmissionShape) -> EmissionEmulator:
        """Build an emulator of this shape with placeholder values."""

    def derive(self, emulator: EmissionEmulator) -> EmissionEmulator:
        """Compute the `Derived` arrays, which a weights file does not store.

        The emulator, a skeleton filled with the stored tensors, is changed in
        place and returned.
        """
        return emulator

    @property
    def has_node_table(self) -> bool:
        """Whether NumPy can evaluate these settings at the nodes."""
        return False

    def node_table(
        self,
        tensors: Mapping[str, NDArray],
        columns: NDArray[np.intp],
        between: tuple[int, float] | None = None,
    ) -> NodeTable | None:
        """Evaluate the latents of an emission at the nodes without JAX.

        Args:
            tensors (Mapping): The tensors of the emission, by their names in
                a weights file.
            columns (np.ndarray of int): The indices of the wavelengths or
                lines to evaluate, (n,).
            between (tuple): The index of an axis, and a coordinate (-1 to 1)
                that replaces the nodes of this axis; by default none.

        Returns:
            NodeTable: The latents and their decoder; None if only JAX can
                evaluate the emission, or if the tensors do not fit the
                architecture.
        """
        return None

    def storage_of(self, tensor: str) -> Storage | None:
        """Return the integer format of a tensor, or None if not rounded."""
        endings = (end for end in self.storage if tensor.endswith(end))
        ending = next(endings, None)
        return None if ending is None else self.storage[ending]


def check_settings(softening: float, ensemble: int) -> None:
    """Raise unless the settings of all architectures are within bounds."""
    check_number("softening", softening, 0, 1e-2, open_ends=True)
    check_whole("ensemble", ensemble, 1)


def assemble(
    samples: EmissionSamples,
    regressor: Regressor,
    decoder: Decoder,
    n_latents: int,
    histories: Mapping[str, LossHistory],
) -> Fit:
    """Assemble the emulator of an emission from its trained networks.

    The regressor maps coordinates to `n_latents` latents, of which the first
    is ln norm; the decoder maps these to soft-log flux.
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
    """Assemble an emulator with placeholder values."""
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
