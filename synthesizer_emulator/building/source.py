"""The interface of training sets."""

from pathlib import Path
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from synthesizer_emulator.architectures.samples import EmissionSamples
from synthesizer_emulator.architectures.training import TrainingConfig
from synthesizer_emulator.emulator.scaling import AxisDomain
from synthesizer_emulator.gridfile.header import GridHeader


class SampleSource(Protocol):
    """A training set, read one emission at a time to save memory.

    The implementations are `GridNodes`, `Hypercube` (samples between the nodes
    of a grid) and `ScatteredSamples`.
    """

    @property
    def path(self) -> Path:
        """The file, or the first of several."""

    @property
    def header(self) -> GridHeader:
        """The header of the emulated grid."""

    @property
    def emissions(self) -> tuple[str, ...]:
        """The paths of the emissions to learn."""

    @property
    def domain(self) -> tuple[AxisDomain, ...]:
        """The range of the samples along each axis."""

    @property
    def on_nodes(self) -> bool:
        """Whether the samples are the nodes of the grid."""

    @property
    def description(self) -> str:
        """A short description of the samples."""

    def check(self) -> None:
        """Read and check all emissions, before any is trained.

        Raises:
            GridError: If a value is negative or not finite; the message
                gives the emission and the first sample with one.
        """

    def source_hash(self) -> str:
        """Return the SHA-256 of the file or files, in hexadecimal."""

    def samples(self, emission: str, softening: float) -> EmissionSamples:
        """Read one emission and scale it for training.

        Args:
            emission (str): One of `emissions`.
            softening (float): The softening of the logarithm.
        """

    def truth(
        self, emission: str, training: TrainingConfig
    ) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """Return the true fluxes at all nodes, or at held-out samples.

        The errors of an emulator are measured at all nodes of a grid, or at
        the scattered samples held out of training.

        Args:
            emission (str): One of `emissions`, or another spectrum that is
                stored in the file.
            training (TrainingConfig): The training settings, which determine
                the held-out samples.

        Returns:
            tuple: Axis values (m, d), and the fluxes there (m, n).
        """
