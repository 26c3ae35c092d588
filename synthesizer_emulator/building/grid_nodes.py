"""The nodes of a grid as a training set."""

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from synthesizer.exceptions import GridError

from synthesizer_emulator.architectures.samples import EmissionSamples
from synthesizer_emulator.architectures.training import TrainingConfig
from synthesizer_emulator.building.failures import fill_failed, lost_nodes
from synthesizer_emulator.building.learned import (
    check_header,
    check_values,
    columns_within,
    describe_columns,
    error_weights,
    learned_emissions,
    learned_header,
    read_learned,
)
from synthesizer_emulator.digests import file_digest
from synthesizer_emulator.emulator.scaling import AxisDomain, Coordinates
from synthesizer_emulator.gridfile.header import GridHeader, node_name
from synthesizer_emulator.gridfile.native import NativeGrid
from synthesizer_emulator.gridfile.nodes import node_mesh
from synthesizer_emulator.gridfile.places import grid_name_of


@dataclass(frozen=True)
class GridNodes:
    """The nodes of a grid file as a training set.

    Attributes:
        native (NativeGrid): The grid file, at the wavelengths to learn.
        header (GridHeader): The header of the grid, with the wavelengths to
            learn.
        emissions (tuple of str): The paths of the emissions to learn, e.g.
            `spectra/incident` or `lines/luminosity`.
        fill_failures (bool): Whether what is lost at nodes at which Cloudy
            failed is filled from the nodes around them, and not left out.
    """

    native: NativeGrid
    header: GridHeader
    emissions: tuple[str, ...]
    fill_failures: bool = False

    @classmethod
    def from_grid(
        cls,
        path: Path,
        spectra: tuple[str, ...] | None = None,
        lam_lims: tuple[float, float] | None = None,
        fill_failures: bool = False,
    ) -> "GridNodes":
        """Open the nodes of a grid for training.

        Args:
            path (Path): The grid file.
            spectra (tuple of str): The spectra to learn, by their names in
                the grid; all by default. Lines are learned together with
                nebular spectra.
            lam_lims (tuple of float): The range of wavelengths to learn,
                Angstrom; all by default.
            fill_failures (bool): Whether to fill what is lost at the nodes
                at which Cloudy failed.

        Returns:
            GridNodes: The training set.

        Raises:
            GridError: If the file is not a grid, or an emission has no axis
                of at least two nodes.
            MissingSpectraType: If the grid lacks one of `spectra`.
            InconsistentArguments: If fewer than two wavelengths are within
                the range.
        """
        native = NativeGrid.open(path)
        header = native.header
        check_header(path, header)
        emissions = learned_emissions(header, spectra, path)
        header = learned_header(header, emissions)
        columns = columns_within(header, lam_lims, path)
        header = replace(header, lam=header.lam[columns])
        return cls(native.at(columns), header, emissions, fill_failures)

    @property
    def path(self) -> Path:
        """The grid file."""
        return self.native.path

    @property
    def grid_name(self) -> str:
        """The name of the grid."""
        return grid_name_of(self.path)

    @property
    def domain(self) -> tuple[AxisDomain, ...]:
        """The range from the first to the last node of each axis."""
        return tuple(AxisDomain.from_axis(axis) for axis in self.header.axes)

    @property
    def on_nodes(self) -> bool:
        """True: the samples are the nodes of the grid."""
        return True

    @property
    def description(self) -> str:
        """The numbers of nodes, and the range of wavelengths if not all."""
        cut = describe_columns(self.header, self.native.columns)
        nodes = f"{math.prod(self.header.shape)} nodes{cut}"
        failed = self.header.failures
        if failed is None:
            return nodes
        how = "filled" if self.fill_failures else "left out"
        count = np.count_nonzero(failed)
        return (
            f"{nodes}; what was lost at {count} at which Cloudy failed was "
            f"{how}"
        )

    def read(self, emission: str) -> NDArray[np.float64]:
        """Read one emission at every node and check it.

        What is lost at nodes at which Cloudy failed is zero or filled.

        Args:
            emission (str): One of `emissions`.

        Returns:
            np.ndarray of float: The values, (n1, ..., nd, n).

        Raises:
            GridError: If a value is negative or not finite; the message
                gives the emission and the first node with one. If it is
                lost at all nodes.
        """
        values, lost = self._read_known(emission)
        if lost.all():
            raise GridError(
                f"Cloudy failed at all nodes of '{self.path}', and "
                f"'{emission}' is zero at each: there is nothing to learn. "
                "Compute the grid again, or choose other spectra with "
                "--spectra (spectra=)."
            )
        if not self.fill_failures or not lost.any():
            return values
        points = node_mesh(self.scaled_nodes(emission))
        return fill_failed(values, lost, points.reshape(-1, points.shape[-1]))

    def lost(self, emission: str) -> NDArray[np.bool_]:
        """Return the mask of the nodes at which an emission is lost.

        Its values there are zero or filled, so they can't judge an emulator.
        The mask is that of the axes of the emission, (n1, ..., nd).
        """
        return self._read_known(emission)[1]

    def check(self) -> None:
        """Read and check all emissions."""
        for emission in self.emissions:
            self.read(emission)

    def source_hash(self) -> str:
        """Return the SHA-256 of the grid file, in hexadecimal."""
        return file_digest(self.path)

    def samples(self, emission: str, softening: float) -> EmissionSamples:
        """Read one emission at the nodes, and scale it for training."""
        nodes = self.scaled_nodes(emission)
        values = self.read(emission)
        return EmissionSamples.from_values(
            nodes,
            values.reshape(*map(len, nodes), values.shape[-1]),
            error_weights(self.header, emission),
            softening,
        )

    def scaled_nodes(self, emission: str) -> tuple[NDArray, ...]:
        """Return the coordinates of the nodes on the axes of an emission.

        Axes of one node, and axes that the emission lacks, are left out.
        """
        nodes = Coordinates(self.domain).scale_nodes(self.header.axes)
        return tuple(nodes[i] for i in self.header.varying_axes(emission))

    def truth(
        self, emission: str, training: TrainingConfig
    ) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """Return the axis values and fluxes of all nodes that are known."""
        rank = self.header.rank_of(emission)
        # Any value will do on the axes that the emission lacks.
        nodes = [
            axis.values if i < rank else axis.values[:1]
            for i, axis in enumerate(self.header.axes)
        ]
        values, lost = self._read(emission)
        points = node_mesh(nodes).reshape(-1, len(nodes))
        return points[~lost.ravel()], values[~lost]

    def _read_known(
        self, emission: str
    ) -> tuple[NDArray[np.float64], NDArray[np.bool_]]:
        """Read an emission to learn, and the mask of where it is lost."""
        masks = []

        def read(part: str) -> NDArray[np.float64]:
            """Read a stored emission, and note where it is lost."""
            values, lost = self._read(part)
            masks.append(lost)
            return values

        values = read_learned(read, emission)
        # A difference is lost with either of its parts.
        lost = np.any(masks, axis=0)
        values[lost] = 0.0
        return values, lost

    def _read(
        self, emission: str
    ) -> tuple[NDArray[np.float64], NDArray[np.bool_]]:
        """Read and check an array of the file, and where it is lost."""
        values = self.native.read(emission)
        lost = lost_nodes(values, self.header.failures)
        values[lost] = 0.0
        check_values(
            values,
            emission,
            str(self.path),
            self._node_name,
            self.header.faintest,
        )
        return values, lost

    def _node_name(self, node: Sequence[int]) -> str:
        """Return the axis values of a node as text."""
        return node_name(self.header.axes, node)
