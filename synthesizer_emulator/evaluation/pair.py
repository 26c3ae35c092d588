"""A native grid and an emulator of it, for comparison at the grid's nodes."""

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Self

import numpy as np
from numpy.typing import NDArray
from synthesizer.exceptions import (
    GridError,
    InconsistentArguments,
    MissingSpectraType,
)

from synthesizer_emulator.emulator.metrics import scored_region
from synthesizer_emulator.gridfile.emissions import LINES
from synthesizer_emulator.gridfile.header import Axis
from synthesizer_emulator.gridfile.labels import Label
from synthesizer_emulator.gridfile.native import NativeGrid
from synthesizer_emulator.gridfile.places import weights_paths
from synthesizer_emulator.validation import nearest
from synthesizer_emulator.wavelengths import identity
from synthesizer_emulator.weights.file import read_weights
from synthesizer_emulator.weights.points import PointArrays
from synthesizer_emulator.weights.weights import Weights


@dataclass(frozen=True)
class GridPair:
    """A native grid and an emulator with the same axes and wavelengths.

    Attributes:
        native (NativeGrid): The native grid.
        weights_path (Path): The weights file.
        weights (Weights): The contents of the weights file.
    """

    native: NativeGrid
    weights_path: Path
    weights: Weights

    @classmethod
    def open(cls, path: Path, weights: str | Path | None) -> Self:
        """Open a grid and the weights of an emulator, and compare their axes.

        Of an emulator of a range of wavelengths, only that is compared.

        Args:
            path (Path): The grid file.
            weights (str/Path): The weights file; by default next to the
                grid.

        Raises:
            GridError: If a file is missing or damaged, the axes or
                wavelengths differ, or the grid extends beyond the domain of
                the emulator.
        """
        candidates = weights_paths(path) if weights is None else [weights]
        files = [Path(file) for file in candidates]
        file = next((file for file in files if file.is_file()), files[0])
        if not file.is_file():
            raise GridError(
                f"No weights file at '{file}'. Build it with "
                f"`synthesizer-emulator build {path}`, or choose another "
                "with --weights."
            )
        native, contents = NativeGrid.open(path), read_weights(file)
        pair = cls(
            _at_wavelengths(native, contents.header.lam_angstrom),
            file,
            contents,
        )
        pair._check_axes()
        return pair

    def _check_axes(self) -> None:
        """Raise unless axes and wavelengths match, within the domain."""
        emulated, native = self.weights.header, self.native.header
        lams = emulated.lam_angstrom, native.lam_angstrom
        same_lam = len(lams[0]) == len(lams[1]) and np.allclose(
            *lams, rtol=1e-6
        )
        names = [
            [a.name for a in header.axes] for header in (emulated, native)
        ]
        if names[0] != names[1] or not same_lam:
            raise GridError(
                f"'{self.weights_path}' emulates a grid of "
                f"{', '.join(names[0])} with {len(lams[0])} wavelengths, but "
                f"'{self.native.path}' has {', '.join(names[1])} with "
                f"{len(lams[1])} wavelengths. Both must be the same: use the "
                "weights built from this grid."
            )
        for domain, axis in zip(self.weights.domain, self.axes, strict=True):
            try:
                domain.require_inside(axis.values)
            except InconsistentArguments as error:
                low, high = axis.values[0], axis.values[-1]
                raise GridError(
                    f"'{self.native.path}' must not extend beyond the domain "
                    f"of '{self.weights_path}' in {axis.name}, {domain.low:g} "
                    f"to {domain.high:g}; got {low:g} to {high:g}."
                ) from error

    @property
    def axes(self) -> tuple[Axis, ...]:
        """The axes of the grid."""
        return self.native.header.axes

    def axes_of(self, emission: str) -> tuple[Axis, ...]:
        """Return the axes that an emission has."""
        return self.axes[: self.native.header.rank_of(emission)]

    @property
    def labels(self) -> list[Label]:
        """The axes as labels."""
        return [Label(axis) for axis in self.axes]

    @cached_property
    def scored(self) -> NDArray[np.bool_]:
        """The mask of the scored wavelengths, (nlam,)."""
        return scored_region(self.native.header.lam_angstrom)

    @property
    def is_cut(self) -> bool:
        """Whether the emulator lacks some of the grid's wavelengths."""
        return len(self.native.header.lam) < self.native.stored

    @property
    def same_nodes(self) -> bool:
        """Whether the emulator was trained on a grid with the same nodes."""
        both = zip(self.axes, self.weights.header.axes, strict=True)
        return all(np.array_equal(a.values, b.values) for a, b in both)

    @property
    def line_quantities(self) -> list[str]:
        """The paths of the line quantities in both grid and emulator."""
        return [
            emission
            for emission in self.native.header.units
            if emission.startswith(f"{LINES}/")
            and emission in self.weights.tensors
        ]

    def spectra(self, wanted: tuple[str, ...] | None) -> tuple[str, ...]:
        """Return the names of the spectra to compare, by default all in both.

        Raises:
            MissingSpectraType: If the grid or the emulator lacks one of
                them.
        """
        common = [
            name
            for name in self.native.header.spectra_units
            if name in self.weights.available_spectra
        ]
        missing = [name for name in wanted or () if name not in common]
        lines_only = wanted is None and bool(self.line_quantities)
        if missing or not (common or lines_only):
            raise MissingSpectraType(
                "Spectra to compare must be in both the grid and the "
                f"emulator, which have {', '.join(common) or 'none'} in "
                f"common; got {', '.join(missing) or 'all'}."
                + "".join(nearest(name, common) for name in missing[:1])
            )
        return tuple(common) if wanted is None else wanted

    def blocks(
        self, emission: str
    ) -> Iterator[tuple[slice, NDArray[np.float64], NDArray]]:
        """Yield the native and the emulated values of an emission in blocks.

        Each block is a slice of the first axis; both arrays have the shape
        of the block, (k, n2, ..., n), without axes that the emission lacks.
        """
        group, name = emission.split("/")
        view = identity(self.native.header.size_of(emission))
        first, *others = (axis.values for axis in self.axes)
        for block, native in self.native.read_blocks(emission):
            arrays = PointArrays.at_nodes(
                self.weights, (first[block], *others)
            )
            if group == LINES:
                yield block, native, arrays.lines(name)
            else:
                yield block, native, arrays.spectrum(name, view)

    def axis_values(self, nodes: NDArray[np.intp]) -> NDArray[np.float64]:
        """Return the axis values (m, d) of nodes given by indices (m, k).

        On axes that an emission lacks, the value is that of the first node.
        """
        lacking = len(self.axes) - nodes.shape[1]
        indices = np.pad(nodes, ((0, 0), (0, lacking)))
        columns = zip(self.axes, indices.T, strict=True)
        return np.stack([axis.values[i] for axis, i in columns], axis=1)


def _at_wavelengths(
    native: NativeGrid, lam: NDArray[np.float64]
) -> NativeGrid:
    """Return the grid in the range of an emulator's wavelengths (n,)."""
    own = native.header.lam_angstrom
    if not 0 < len(lam) < len(own):
        return native
    first = int(np.argmin(np.abs(own - lam[0])))
    return native.at(slice(first, first + len(lam)))
