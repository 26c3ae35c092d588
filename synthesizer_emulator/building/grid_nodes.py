"""What an emulator learns from, as arrays that an architecture can fit.

A `SampleSource` knows which emissions there are and reads one at a time, so
that building needs the memory of one array and no more. There are three:
the nodes of a grid, samples between them through Synthesizer's own
interpolation, and scattered samples with no grid at all. Only the builder
needs them, and whoever compares an emulator with what it learned from.
"""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Protocol

import numpy as np
from numpy.typing import NDArray
from synthesizer.exceptions import (
    GridError,
    MissingSpectraType,
)

from synthesizer_emulator.architectures.samples import EmissionSamples
from synthesizer_emulator.architectures.training import TrainingConfig
from synthesizer_emulator.digests import file_digest
from synthesizer_emulator.emulator.metrics import scored_region
from synthesizer_emulator.emulator.scaling import AxisDomain, Coordinates
from synthesizer_emulator.gridfile.emissions import (
    LINE_UNITS,
    LINECONT,
    LINES,
    NEBULAR,
    NEBULAR_CONTINUUM,
    SPECTRA,
)
from synthesizer_emulator.gridfile.header import GridHeader, node_name
from synthesizer_emulator.gridfile.native import NativeGrid
from synthesizer_emulator.gridfile.nodes import node_mesh
from synthesizer_emulator.gridfile.places import grid_name_of
from synthesizer_emulator.units import NO_UNITS, parse_unit
from synthesizer_emulator.validation import nearest

# The units of what every stellar grid has.
_AXIS_UNITS = {
    "ages": "yr",
    "metallicities": "dimensionless",
    "ionisation_parameters": "dimensionless",
}
_SPECTRA_UNITS = "erg/s/Hz"

# The spectra of gas, with which its lines go.
_OF_GAS = {NEBULAR, LINECONT, NEBULAR_CONTINUUM}

# What networks in float32 can give, with some room.
_FLOAT32_RANGE = (1e-28, 1e37)

# What an error weighs outside the scored wavelengths: enough to keep the
# ionising photon rates to 0.1% (docs/accuracy).
_WEIGHT_OUTSIDE = 0.3


class SampleSource(Protocol):
    """What a build learns from."""

    @property
    def path(self) -> Path:
        """The file that it stands in; the first of several."""

    @property
    def header(self) -> GridHeader:
        """The header of the grid that the emulator shall be."""

    @property
    def emissions(self) -> tuple[str, ...]:
        """The paths of the emissions to learn."""

    @property
    def domain(self) -> tuple[AxisDomain, ...]:
        """Where there are samples."""

    @property
    def on_nodes(self) -> bool:
        """Whether the samples are the nodes of that grid."""

    @property
    def description(self) -> str:
        """What the samples are, in a few words."""

    def check(self) -> None:
        """Read everything once, before any work is put into a part.

        Raises:
            GridError: If a value is not finite or negative; names the
                emission and the first such sample.
        """

    def source_hash(self) -> str:
        """Return the SHA-256 of what is learned from, in hex."""

    def samples(self, emission: str, softening: float) -> EmissionSamples:
        """Return one emission prepared for fitting.

        Args:
            emission (str): One of `emissions`.
            softening (float): The softening of the logarithm.
        """

    def truth(
        self, emission: str, training: TrainingConfig
    ) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """Return what the emulator of an emission is scored by.

        The nodes of a grid; of scattered samples those that were kept out
        of training.

        Args:
            emission (str): One of `emissions`, or a spectrum as the file
                stores it.
            training (TrainingConfig): How it was trained.

        Returns:
            tuple: Axis values (m, d), and the values there (m, n).
        """


@dataclass(frozen=True)
class GridNodes:
    """The nodes of a grid file.

    Attributes:
        path (Path): The grid file.
        header (GridHeader): Its header.
        emissions (tuple of str): The paths of the emissions to learn, e.g.
            `spectra/incident` or `lines/luminosity`.
    """

    path: Path
    header: GridHeader
    emissions: tuple[str, ...]

    @classmethod
    def from_grid(
        cls, path: Path, spectra: tuple[str, ...] | None = None
    ) -> "GridNodes":
        """Open the nodes of a grid for training.

        Args:
            path (Path): The grid file.
            spectra (tuple of str): Which spectra to learn, as the grid
                names them; all by default. Lines are learned with the
                spectra of gas.

        Returns:
            GridNodes: What to learn.

        Raises:
            GridError: If the file is no grid of stellar emission with at
                least two axes of at least two nodes.
            MissingSpectraType: If the grid has not all of `spectra`.
        """
        header = NativeGrid.open(path).header
        check_header(path, header)
        emissions = learned_emissions(header, spectra, path)
        return cls(path, learned_header(header, emissions), emissions)

    @property
    def grid_name(self) -> str:
        """The name of the grid."""
        return grid_name_of(self.path)

    @property
    def domain(self) -> tuple[AxisDomain, ...]:
        """Where there are samples: from the first to the last nodes."""
        return tuple(AxisDomain.from_axis(axis) for axis in self.header.axes)

    @property
    def on_nodes(self) -> bool:
        """That the samples are the nodes of the grid."""
        return True

    @property
    def description(self) -> str:
        """What the samples are."""
        return f"{math.prod(self.header.shape)} nodes"

    def read(self, emission: str) -> NDArray[np.float64]:
        """Read one emission at every node and check it.

        Args:
            emission (str): One of `emissions`.

        Returns:
            np.ndarray of float: Shape (*header.shape, n).

        Raises:
            GridError: If a value is not finite or negative; names the
                emission and the first such node.
        """
        return read_learned(self._read, emission)

    def check(self) -> None:
        """Read everything once, as `SampleSource.check` says."""
        for emission in self.emissions:
            self.read(emission)

    def source_hash(self) -> str:
        """Return the SHA-256 of the grid file, in hex."""
        return file_digest(self.path)

    def samples(self, emission: str, softening: float) -> EmissionSamples:
        """Return one emission at the nodes, prepared for fitting."""
        return EmissionSamples.from_values(
            Coordinates(self.domain).scale_nodes(self.header.axes),
            self.read(emission),
            error_weights(self.header, emission),
            softening,
        )

    def truth(
        self, emission: str, training: TrainingConfig
    ) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """Return all nodes, as `SampleSource.truth` says."""
        points = node_mesh([axis.values for axis in self.header.axes])
        values = self._read(emission)
        return (
            points.reshape(-1, points.shape[-1]),
            values.reshape(-1, values.shape[-1]),
        )

    def _read(self, emission: str) -> NDArray[np.float64]:
        """Read an array of the file and check it."""
        values = NativeGrid(self.path, self.header).read(emission)
        check_values(values, emission, self.path.name, self._place)
        return values

    def _place(self, node: Sequence[int]) -> str:
        """Return where a node is."""
        return node_name(self.header.axes, node)


def error_weights(header: GridHeader, emission: str) -> NDArray[np.float64]:
    """Return what an error at each wavelength or line weighs, (n,).

    Less outside the wavelengths at which stars and gas are observed.

    Args:
        header (GridHeader): The header of the grid.
        emission (str): The path of the emission.
    """
    if emission.startswith(f"{LINES}/"):
        return np.ones(header.size_of(emission))
    scored = scored_region(header.lam_angstrom)
    return np.where(scored, 1.0, _WEIGHT_OUTSIDE)


def learned_emissions(
    header: GridHeader, spectra: tuple[str, ...] | None, path: Path
) -> tuple[str, ...]:
    """Return the paths of the emissions to learn.

    Raises:
        MissingSpectraType: If a spectrum is asked for that is not there.
    """
    stored = tuple(header.spectra_units)
    wanted = stored if spectra is None else spectra
    if not wanted:
        raise MissingSpectraType(
            f"spectra must be a list of names out of {', '.join(stored)}, "
            f"got {wanted!r}."
        )
    missing = [name for name in wanted if name not in stored]
    if missing:
        raise MissingSpectraType(
            f"The grid '{path.name}' has no spectra "
            f"{', '.join(missing)}; it has: {', '.join(stored)}."
            + nearest(missing[0], stored)
        )
    learned = list(wanted)
    separable = NEBULAR in learned and LINECONT in stored
    if header.reprocessed and separable:
        learned.remove(NEBULAR)
        learned.append(NEBULAR_CONTINUUM)
        if LINECONT not in learned:
            learned.append(LINECONT)
    emissions = [f"spectra/{name}" for name in learned]
    # Lines are what gas emits: without its spectra they are not asked for.
    if header.lines is not None and (
        spectra is None or not _OF_GAS.isdisjoint(learned)
    ):
        emissions += [
            f"{LINES}/{name}"
            for name in LINE_UNITS
            if name in header.lines.units
        ]
    return tuple(emissions)


def learned_header(header: GridHeader, emissions: Sequence[str]) -> GridHeader:
    """Return the header of what is learned, without lines if none are.

    Args:
        header (GridHeader): The header of the grid.
        emissions (sequence of str): The paths of the emissions to learn.
    """
    lines = any(emission.startswith(f"{LINES}/") for emission in emissions)
    return header if lines else replace(header, lines=None)


def read_learned(
    read: Callable[[str], NDArray[np.float64]], emission: str
) -> NDArray[np.float64]:
    """Return what is learned of what is stored."""
    if emission != f"{SPECTRA}/{NEBULAR_CONTINUUM}":
        return read(emission)
    nebular = read(f"{SPECTRA}/{NEBULAR}")
    linecont = read(f"{SPECTRA}/{LINECONT}")
    # In lines the difference of two like numbers can round to below zero.
    return np.maximum(nebular - linecont, 0.0)


def check_values(
    values: NDArray[np.float64],
    emission: str,
    filename: str,
    place: Callable[[Sequence[int]], str],
) -> None:
    """Refuse values that are not finite or negative."""
    peaks = values.max(axis=-1, keepdims=True)
    faint = (peaks > 0) & (peaks < _FLOAT32_RANGE[0])
    for wrong, what in (
        (~np.isfinite(values), "a value that is not finite"),
        (values < 0, "a negative value"),
        (values > _FLOAT32_RANGE[1], "a value too large for float32"),
        (faint, "a spectrum too faint for float32"),
    ):
        if wrong.any():
            *where, entry = np.argwhere(wrong)[0]
            raise GridError(
                f"'{emission}' of '{filename}' has {what} at "
                f"{place(where)}, entry {entry} ({int(wrong.sum())} in "
                "all). Mend the grid before building an emulator."
            )


def check_header(path: Path, header: GridHeader) -> None:
    """Refuse grids that can't be emulated, saying why."""
    if header.spectra_group != "spectra":
        raise GridError(
            f"'{path.name}' is a grid of {header.spectra_group}, which are "
            "not emission and can't be emulated; use Synthesizer's own "
            "Grid for it."
        )
    if len(header.axes) < 2 or min(header.shape) < 2:
        raise GridError(
            f"'{path.name}' has the axes "
            + ", ".join(f"{a.name} ({len(a.values)})" for a in header.axes)
            + "; an emulator needs at least two axes of two nodes."
        )
    for axis in header.axes:
        expected = _AXIS_UNITS.get(axis.name, axis.units)
        dimensions = parse_unit(expected).dimensions
        if (
            axis.units not in NO_UNITS
            and parse_unit(axis.units).dimensions != dimensions
        ):
            raise GridError(
                f"'axes/{axis.name}' of '{path.name}' is in '{axis.units}', "
                f"expected '{expected}' or what converts to it. Mend the "
                "grid before building an emulator."
            )
    spectra_unit = parse_unit(_SPECTRA_UNITS)
    for name, units in header.spectra_units.items():
        # Not what converts to it: Synthesizer takes the bare numbers.
        if units not in NO_UNITS and parse_unit(units) != spectra_unit:
            raise GridError(
                f"'spectra/{name}' of '{path.name}' is in '{units}', and "
                "Synthesizer takes the numbers of spectra for "
                f"{_SPECTRA_UNITS}: store them in these."
            )
