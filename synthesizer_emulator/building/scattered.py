"""Training sets that are not the nodes of a grid.

Samples between the nodes, as Synthesizer interpolates, and scattered samples
with no grid at all. Only the builder needs them.
"""

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from math import prod
from numbers import Integral
from pathlib import Path
from typing import Self, TypeAlias

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.interpolate import RBFInterpolator
from synthesizer.exceptions import GridError, InconsistentArguments

from synthesizer_emulator.architectures.samples import EmissionSamples
from synthesizer_emulator.architectures.training import (
    TrainingConfig,
    split_samples,
)
from synthesizer_emulator.building.grid_nodes import (
    check_header,
    check_values,
    error_weights,
    learned_emissions,
    learned_header,
    read_learned,
)
from synthesizer_emulator.digests import file_digest
from synthesizer_emulator.emulator.scaling import AxisDomain, Coordinates
from synthesizer_emulator.gridfile.header import Axis, GridHeader, interpolable
from synthesizer_emulator.gridfile.nodes import node_mesh
from synthesizer_emulator.gridfile.samples import SampleFile, check_joinable
from synthesizer_emulator.validation import check_memory

# The nodes along an axis: values, a number of them, or either as text.
NodeChoice: TypeAlias = "int | str | ArrayLike"

# How many samples decide what is stored, and not emulated, at a node.
_NEIGHBOURS = 30

# What is held for a node while building, as components and their slopes: an
# order of magnitude, to tell a typo from a grid.
_NODE_BYTES = 2048


@dataclass(frozen=True)
class ScatteredSamples:
    """Samples that form no grid, and the nodes of the grid they shall be.

    Attributes:
        files (tuple of SampleFile): The files, joined in this order.
        header (GridHeader): The header of the grid.
        emissions (tuple of str): The paths of the emissions to learn.
        domain (tuple of AxisDomain): The box that was sampled.
    """

    files: tuple[SampleFile, ...]
    header: GridHeader
    emissions: tuple[str, ...]
    domain: tuple[AxisDomain, ...]

    @classmethod
    def open(
        cls,
        paths: Sequence[Path],
        axes: Mapping[str, NodeChoice] | None,
        spectra: tuple[str, ...] | None = None,
    ) -> Self:
        """Open files of samples for training.

        Args:
            paths (sequence of Path): The files.
            axes (Mapping): The nodes along each parameter, see
                `choose_nodes`.
            spectra (tuple of str): Which spectra to learn; all by default.

        Returns:
            ScatteredSamples: What to learn.

        Raises:
            GridError: If a file is no file of samples, or they can't be
                joined.
            InconsistentArguments: If the nodes of a parameter are missing
                or outside the box that was sampled.
            MissingSpectraType: If there are not all of `spectra`.
        """
        files = tuple(SampleFile.open(path) for path in paths)
        check_joinable(files)
        low = np.min([file.low for file in files], axis=0)
        high = np.max([file.high for file in files], axis=0)
        kinds = files[0].parameters
        ends = [
            replace(kind, values=np.array([a, b]))
            for kind, a, b in zip(kinds, low, high, strict=True)
        ]
        domain = tuple(AxisDomain.from_axis(axis) for axis in ends)
        chosen = _chosen_axes(ends, domain, axes or {})
        header = replace(files[0].contents, axes=chosen)
        unstored = header.with_stored({})
        check_header(paths[0], unstored)
        emissions = learned_emissions(header, spectra, paths[0])
        header = learned_header(header, emissions)
        unstored = learned_header(unstored, emissions)
        source = cls(files, unstored, emissions, domain)
        source._check_distinct()
        return replace(source, header=source._with_stored(header))

    @property
    def path(self) -> Path:
        """The first file."""
        return self.files[0].path

    @property
    def on_nodes(self) -> bool:
        """That the samples are not the nodes of the grid."""
        return False

    @property
    def description(self) -> str:
        """What the samples are."""
        size = sum(file.size for file in self.files)
        joined = f" of {len(self.files)} files" if len(self.files) > 1 else ""
        return f"{size} scattered samples{joined}"

    @property
    def points(self) -> NDArray[np.float64]:
        """The parameters of all samples, (m, d)."""
        return np.concatenate([file.points for file in self.files])

    def check(self) -> None:
        """Read everything once, as `SampleSource.check` says."""
        for emission in self.emissions:
            read_learned(self._read, emission)

    def _check_distinct(self) -> None:
        """Refuse two samples at one point, as of a file given twice.

        Raises:
            GridError: Names the first two.
        """
        points = Coordinates(self.domain).scale_points(self.points)
        _, first, which = np.unique(
            points, axis=0, return_index=True, return_inverse=True
        )
        again = np.flatnonzero(first[which] != np.arange(len(points)))
        if len(again):
            names = ", ".join(f"'{file.path.name}'" for file in self.files)
            which_one = self._place([int(again[0])])
            raise GridError(
                f"Of the samples of {names}, {which_one} is at "
                f"the same point as sample {first[which[again[0]]]}: leave "
                "one of them out, and give each file once."
            )

    def source_hash(self) -> str:
        """Return the SHA-256 of the files, or of those of several."""
        hashes = [file_digest(file.path) for file in self.files]
        if len(hashes) == 1:
            return hashes[0]
        return hashlib.sha256("".join(hashes).encode()).hexdigest()

    def samples(self, emission: str, softening: float) -> EmissionSamples:
        """Return one emission at the samples, prepared for fitting."""
        coordinates = Coordinates(self.domain)
        return EmissionSamples.from_points(
            coordinates.scale_nodes(self.header.axes),
            None,
            coordinates.scale_points(self.points),
            read_learned(self._read, emission),
            error_weights(self.header, emission),
            softening,
        )

    def truth(
        self, emission: str, training: TrainingConfig
    ) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """Return samples kept out of training, as `SampleSource.truth`."""
        values = self._read(emission)
        lit = np.flatnonzero(values.max(axis=-1) > 0)
        if not len(lit):
            return self.points[:1], values[:1]
        _, held = split_samples(len(lit), training)
        return self.points[lit[held]], values[lit[held]]

    def _read(self, emission: str) -> NDArray[np.float64]:
        """Read an array of all files and check it."""
        values = np.concatenate([file.read(emission) for file in self.files])
        name = ", ".join(file.path.name for file in self.files)
        check_values(values, emission, name, self._place)
        return values

    def _place(self, index: Sequence[int]) -> str:
        """Return which sample it is."""
        point = zip(self.header.axes, self.points[index[0]], strict=True)
        return (
            f"sample {index[0]} ("
            + ", ".join(f"{axis.name} = {value:g}" for axis, value in point)
            + ")"
        )

    def _with_stored(self, header: GridHeader) -> GridHeader:
        """Return a header with the stored values of samples at the nodes."""
        coordinates = Coordinates(self.domain)
        points = coordinates.scale_points(self.points)
        mesh = node_mesh(coordinates.scale_nodes(header.axes))

        def at_nodes(path: str) -> NDArray[np.float64]:
            values = np.concatenate(
                [file.contents.stored[path] for file in self.files]
            )
            if values.shape != (len(points),):
                raise GridError(
                    f"'{path}' of '{self.path.name}' must have one value a "
                    f"sample, got shape {values.shape}."
                )
            curve = RBFInterpolator(
                points,
                interpolable(values),
                kernel="linear",
                neighbors=min(_NEIGHBOURS, len(points)),
            )
            found = curve(mesh.reshape(-1, mesh.shape[-1]))
            return found.reshape(mesh.shape[:-1])

        return header.with_stored(
            {path: at_nodes(path) for path in header.stored}
        )


def choose_nodes(
    choice: NodeChoice, axis: Axis, domain: AxisDomain
) -> NDArray[np.float64]:
    """Return the nodes along an axis.

    Args:
        choice (int/str/array): The values in the units of the axis; or how
            many to spread evenly over the domain, as the networks scale it;
            or one of these as text, `50`, `1e6,1e7,1e8`, or `1e6:1e9:50`
            for so many between two values.
        axis (Axis): The axis.
        domain (AxisDomain): Where there are samples.

    Returns:
        np.ndarray of float: The nodes, ascending.

    Raises:
        InconsistentArguments: If it is none of these, or there are less
            than two, or one is outside the domain.
    """
    values = np.atleast_1d(_parsed(choice, axis.name, domain))
    if values.ndim != 1 or len(values) < 2 or (np.diff(values) <= 0).any():
        raise InconsistentArguments(
            f"The axis '{axis.name}' needs at least two nodes, strictly "
            f"ascending, got {choice!r}."
        )
    return domain.require_inside(values)


def _parsed(
    choice: NodeChoice, name: str, domain: AxisDomain
) -> NDArray[np.float64]:
    """Return nodes that may be given as a number or a text."""
    try:
        if isinstance(choice, str):
            if "," in choice:
                return np.array([float(part) for part in choice.split(",")])
            *ends, number = choice.split(":")
            if ends:
                first, last = (float(end) for end in ends)
                domain = replace(domain, low=first, high=last)
            choice = int(number)
        if isinstance(choice, Integral):
            _check_nodes(f"{choice} nodes of '{name}'", int(choice))
            low, high = domain.scaled(np.array([domain.low, domain.high]), np)
            nodes = domain.unscaled(np.linspace(low, high, int(choice)))
            nodes[[0, -1]] = domain.low, domain.high
            return nodes
        return np.asarray(choice, np.float64)
    except (ValueError, IndexError) as error:
        raise InconsistentArguments(
            f"The nodes of '{name}' must be values, or a number of nodes, or "
            f"LOW:HIGH:NUMBER, got {choice!r}."
        ) from error


def _chosen_axes(
    ends: Sequence[Axis],
    domain: Sequence[AxisDomain],
    choices: Mapping[str, NodeChoice],
) -> tuple[Axis, ...]:
    """Return the axes of the grid that samples shall be."""
    names = [axis.name for axis in ends]
    unknown = [name for name in choices if name not in names]
    missing = [axis for axis in ends if axis.name not in choices]
    if unknown or missing:
        wrong = (
            f"there is no parameter {', '.join(unknown)}"
            if unknown
            else f"{', '.join(a.name for a in missing)} has none"
        )
        ranges = ", ".join(
            f"{a.name} ({a.values[0]:g} to {a.values[1]:g})" for a in ends
        )
        raise InconsistentArguments(
            "Scattered samples need the nodes of the grid that they shall "
            f"be, for each of {ranges}; {wrong}. Choose them with --axes "
            f"{names[0]}=50, --axes {names[0]}=LOW:HIGH:50 or a list of "
            "values; others can be had of the built grid at any time."
        )
    axes = tuple(
        replace(axis, values=choose_nodes(choices[axis.name], axis, limits))
        for axis, limits in zip(ends, domain, strict=True)
    )
    shape = [len(axis.values) for axis in axes]
    _check_nodes(f"A grid of {' x '.join(map(str, shape))} nodes", prod(shape))
    return axes


def _check_nodes(what: str, number: int) -> None:
    """Refuse more nodes than there is memory for what is kept at each."""
    check_memory(what, _NODE_BYTES * float(number), "choose fewer")
