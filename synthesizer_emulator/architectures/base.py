"""What every architecture is given and has to give.

An architecture is a frozen dataclass of settings with two methods: `fit`
makes the emulator of one emission from its values at samples, `skeleton`
the same modules without values, to be filled from a weights file.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar, Protocol, Self

import jax
import numpy as np
from flax import nnx
from jax import Array
from numpy.typing import NDArray

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


def empty_nodes(shape: tuple[int, ...]) -> list[NDArray[np.float32]]:
    """Return nodes of a skeleton's tables, ascending and otherwise void."""
    return [np.arange(n, dtype=np.float32) for n in shape]


@jax.jit
def evaluate_points(module: nnx.Module, points: Array) -> Array:
    """Evaluate a module at many points (m, d) at once."""
    return jax.vmap(lambda x: module(x))(points)
