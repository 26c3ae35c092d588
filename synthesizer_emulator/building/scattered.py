"""Scattered samples as a training set."""

import hashlib
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Self

import numpy as np
from numpy.typing import NDArray
from scipy.interpolate import RBFInterpolator
from synthesizer.exceptions import GridError
from synthesizer.synth_warnings import warn

from synthesizer_emulator.architectures.samples import EmissionSamples
from synthesizer_emulator.architectures.training import (
    TrainingConfig,
    split_samples,
)
from synthesizer_emulator.building.learned import (
    check_header,
    check_values,
    columns_within,
    describe_columns,
    error_weights,
    learned_emissions,
    learned_header,
    read_learned,
    within,
)
from synthesizer_emulator.building.node_choice import NodeChoice, choose_axes
from synthesizer_emulator.digests import file_digest
from synthesizer_emulator.emulator.scaling import AxisDomain, Coordinates
from synthesizer_emulator.gridfile.header import GridHeader, interpolable
from synthesizer_emulator.gridfile.nodes import node_mesh
from synthesizer_emulator.gridfile.samples import SampleFile, check_joinable
from synthesizer_emulator.gridfile.sobol import SobolFile, is_sobol_file

# The number of nearest samples for the interpolation of stored values.
_NEIGHBOURS = 30


def open_samples(path: Path) -> SampleFile:
    """Open a file of scattered samples, of any layout.

    Raises:
        GridError: If it is not one, or damaged.
    """
    return (SobolFile if is_sobol_file(path) else SampleFile).open(path)


@dataclass(frozen=True)
class ScatteredSamples:
    """Scattered samples, and the nodes of the grid to build from them.

    Attributes:
        files (tuple of SampleFile): The files, joined in this order.
        header (GridHeader): The header of the grid.
        emissions (tuple of str): The paths of the emissions to learn.
        domain (tuple of AxisDomain): The sampled range of each axis.
        columns (slice): The wavelengths to learn, in the files.
    """

    files: tuple[SampleFile, ...]
    header: GridHeader
    emissions: tuple[str, ...]
    domain: tuple[AxisDomain, ...]
    columns: slice

    @classmethod
    def open(
        cls,
        paths: Sequence[Path],
        axes: Mapping[str, NodeChoice] | None,
        spectra: tuple[str, ...] | None = None,
        lam_lims: tuple[float, float] | None = None,
    ) -> Self:
        """Open files of samples for training.

        Args:
            paths (sequence of Path): The files.
            axes (Mapping): The nodes along each parameter, see
                `choose_nodes`.
            spectra (tuple of str): The spectra to learn; all by default.
            lam_lims (tuple of float): The range of wavelengths to learn,
                Angstrom; all by default.

        Returns:
            ScatteredSamples: The training set.

        Raises:
            GridError: If a file is not a file of samples, or the files
                can't be joined.
            InconsistentArguments: If the nodes of a parameter are missing
                or outside the sampled range, or fewer than two wavelengths
                are within the limits.
            MissingSpectraType: If the files lack one of `spectra`.
        """
        source = cls.of_files(
            [open_samples(path) for path in paths], axes, spectra, lam_lims
        )
        if source.left_out:
            warn(
                f"Of the samples in {', '.join(p.name for p in paths)}, "
                f"{len(source.points):,} are used, without {source.left_out}."
            )
        return source

    @classmethod
    def of_files(
        cls,
        files: Sequence[SampleFile],
        axes: Mapping[str, NodeChoice] | None,
        spectra: tuple[str, ...] | None = None,
        lam_lims: tuple[float, float] | None = None,
    ) -> Self:
        """As `open`, of files that are open."""
        path = files[0].path
        check_joinable(files)
        low = np.min([file.low for file in files], axis=0)
        high = np.max([file.high for file in files], axis=0)
        kinds = files[0].parameters
        ends = [
            replace(kind, values=np.array([a, b]))
            for kind, a, b in zip(kinds, low, high, strict=True)
        ]
        domain = tuple(AxisDomain.from_axis(axis) for axis in ends)
        chosen = choose_axes(ends, domain, axes or {})
        header = replace(files[0].contents, axes=chosen)
        columns = columns_within(header, lam_lims, path)
        header = replace(header, lam=header.lam[columns])
        unstored = header.with_stored({})
        check_header(path, unstored)
        emissions = learned_emissions(header, spectra, path)
        header = learned_header(header, emissions)
        unstored = learned_header(unstored, emissions)
        source = cls(tuple(files), unstored, emissions, domain, columns)
        source._check_distinct()
        return replace(source, header=source._with_stored(header))

    @property
    def path(self) -> Path:
        """The first file."""
        return self.files[0].path

    @property
    def on_nodes(self) -> bool:
        """False: the samples are not the nodes of the grid."""
        return False

    @property
    def description(self) -> str:
        """The number of samples and files, and of a range of wavelengths."""
        size = sum(file.size for file in self.files)
        joined = f" of {len(self.files)} files" if len(self.files) > 1 else ""
        cut = describe_columns(self.header, self.columns)
        without = f", without {self.left_out}" if self.left_out else ""
        return f"{size} scattered samples{joined}{cut}{without}"

    @property
    def left_out(self) -> str:
        """What is left out of the files and why, or an empty text."""
        numbers: Counter[str] = Counter()
        for file in self.files:
            numbers.update(file.left_out)
        return " and ".join(
            f"{n} run{'s' * (n > 1)} {why}" for why, n in numbers.items() if n
        )

    @property
    def points(self) -> NDArray[np.float64]:
        """The parameters of all samples, (m, d)."""
        return np.concatenate([file.points for file in self.files])

    def check(self) -> None:
        """Read and check all emissions."""
        for emission in self.emissions:
            read_learned(self._read, emission)

    def _check_distinct(self) -> None:
        """Raise if two samples are at the same point."""
        points = Coordinates(self.domain).scale_points(self.points)
        _, index, inverse = np.unique(
            points, axis=0, return_index=True, return_inverse=True
        )
        # NumPy 2.0.0 returns the shape (m, 1).
        inverse = inverse.ravel()
        first = index[inverse]
        duplicates = np.flatnonzero(first != np.arange(len(points)))
        if len(duplicates):
            names = ", ".join(f"'{file.path}'" for file in self.files)
            duplicate = int(duplicates[0])
            raise GridError(
                f"The samples of {names} must be at different points, but "
                f"{self._sample_name([duplicate])} is at the same point as "
                f"{self._place(int(first[duplicate]))}. Remove one of them, "
                "and give each file once."
            )

    def source_hash(self) -> str:
        """Return the SHA-256 of the file, or of the hashes of several."""
        hashes = [file_digest(file.path) for file in self.files]
        if len(hashes) == 1:
            return hashes[0]
        return hashlib.sha256("".join(hashes).encode()).hexdigest()

    def samples(self, emission: str, softening: float) -> EmissionSamples:
        """Read one emission at the samples, and scale it for training."""
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
        self, emission: str, training: TrainingConfig | None
    ) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """Return the axis values and fluxes of held-out samples.

        Of all samples with emission, if there is no training.
        """
        values = self._read(emission)
        emitting = np.flatnonzero(values.max(axis=-1) > 0)
        if not len(emitting):
            return self.points[:1], values[:1]
        if training is None:
            return self.points[emitting], values[emitting]
        _, held_out = split_samples(len(emitting), training)
        return self.points[emitting[held_out]], values[emitting[held_out]]

    def _read(self, emission: str) -> NDArray[np.float64]:
        """Read and check an array of all files."""
        values = np.concatenate([file.read(emission) for file in self.files])
        values = within(values, emission, self.columns)
        name = ", ".join(str(file.path) for file in self.files)
        check_values(values, emission, name, self._sample_name)
        return values

    def _sample_name(self, index: Sequence[int]) -> str:
        """Return the row of a sample in its file, and its parameters."""
        point = zip(self.header.axes, self.points[index[0]], strict=True)
        values = ", ".join(f"{axis.name} = {value:g}" for axis, value in point)
        return f"{self._place(int(index[0]))} ({values})"

    def _place(self, i: int) -> str:
        """Return the row of a sample in its file, named if there are more."""
        for file in self.files:
            if i < file.size:
                break
            i -= file.size
        named = f" of '{file.path}'" if len(self.files) > 1 else ""
        return f"sample {file.row(i)}{named}"

    def _with_stored(self, header: GridHeader) -> GridHeader:
        """Interpolate the stored values of the samples to the nodes."""
        coordinates = Coordinates(self.domain)
        points = coordinates.scale_points(self.points)
        mesh = node_mesh(coordinates.scale_nodes(header.axes))

        def at_nodes(path: str) -> NDArray[np.float64]:
            values = np.concatenate(
                [file.contents.stored[path] for file in self.files]
            )
            if values.shape != (len(points),):
                raise GridError(
                    f"'{path}' of '{self.path}' must have one value for "
                    f"each sample, got shape {values.shape}."
                )
            curve = RBFInterpolator(
                points,
                interpolable(values),
                kernel="linear",
                neighbors=min(_NEIGHBOURS, len(points)),
            )
            node_values = curve(mesh.reshape(-1, mesh.shape[-1]))
            return node_values.reshape(mesh.shape[:-1])

        return header.with_stored(
            {path: at_nodes(path) for path in header.stored}
        )
