"""The interface of a training set: the emission of a grid at samples."""

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

    There are three: `GridNodes`, the nodes of a grid; `Hypercube`, samples
    between the nodes; and `ScatteredSamples`.
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
            GridError: If a value is not finite or negative; names the
                emission and the first such sample.
        """

    def source_hash(self) -> str:
        """Return the SHA-256 of the file or files, in hexadecimal."""

    def samples(self, emission: str, softening: float) -> EmissionSamples:
        """Read one emission and prepare it for fitting.

        Args:
            emission (str): One of `emissions`.
            softening (float): The softening of the logarithm.
        """

    def truth(
        self, emission: str, training: TrainingConfig
    ) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """Return the true fluxes with which an emulator is compared.

        All nodes of a grid; of scattered samples, those held out of
        training.

        Args:
            emission (str): One of `emissions`, or another spectrum that is
                stored in the file.
            training (TrainingConfig): The training, which holds out samples.

        Returns:
            tuple: Axis values (m, d), and the fluxes there (m, n).
        """
