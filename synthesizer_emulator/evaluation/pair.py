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
from synthesizer_emulator.gridfile.places import weights_path
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
        weights (Weights): Its contents.
    """

    native: NativeGrid
    weights_path: Path
    weights: Weights

    @classmethod
    def open(cls, path: Path, weights: str | Path | None) -> Self:
        """Open a grid and the weights of an emulator.

        Args:
            path (Path): The grid file.
            weights (str/Path): The weights file; by default beside the
                grid.

        Raises:
            GridError: If a file is missing or damaged, or the axes or
                wavelengths differ, or the grid extends beyond the domain of
                the emulator.
        """
        file = weights_path(path) if weights is None else Path(weights)
        if not file.is_file():
            raise GridError(
                f"No weights file at '{file}': build it with "
                f"`synthesizer-emulator build {path}`, or give another with "
                "--weights."
            )
        native = NativeGrid.open(path)
        pair = cls(native, file, read_weights(file))
        pair._check_alike()
        return pair

    def _check_alike(self) -> None:
        """Refuse other axes and wavelengths, and nodes beyond the domain."""
        emulated, native = self.weights.header, self.native.header
        lams = emulated.lam_angstrom, native.lam_angstrom
        alike = len(lams[0]) == len(lams[1]) and np.allclose(*lams, rtol=1e-6)
        names = [
            [a.name for a in header.axes] for header in (emulated, native)
        ]
        if names[0] != names[1] or not alike:
            raise GridError(
                f"'{self.weights_path}' emulates a grid of "
                f"{', '.join(names[0])} and {len(lams[0])} wavelengths, but "
                f"'{self.native.path}' has {', '.join(names[1])} and "
                f"{len(lams[1])} (or others): they can't be compared."
            )
        for domain, axis in zip(self.weights.domain, self.axes, strict=True):
            try:
                domain.require_inside(axis.values)
            except InconsistentArguments as error:
                low, high = axis.values[0], axis.values[-1]
                raise GridError(
                    f"'{self.native.path}' extends from {low:g} to {high:g} "
                    f"in {axis.name}, beyond the {domain.low:g} to "
                    f"{domain.high:g} that '{self.weights_path}' was trained "
                    "on."
                ) from error

    @property
    def axes(self) -> tuple[Axis, ...]:
        """The axes of the grid."""
        return self.native.header.axes

    @property
    def labels(self) -> list[Label]:
        """The labels of the axes."""
        return [Label(axis) for axis in self.axes]

    @cached_property
    def scored(self) -> NDArray[np.bool_]:
        """The mask of the scored wavelengths, (nlam,)."""
        return scored_region(self.native.header.lam_angstrom)

    @property
    def same_nodes(self) -> bool:
        """Whether the emulator was trained on a grid of the same nodes."""
        both = zip(self.axes, self.weights.header.axes, strict=True)
        return all(np.array_equal(a.values, b.values) for a, b in both)

    @property
    def line_quantities(self) -> list[str]:
        """The paths of the quantities of lines that both have."""
        return [
            emission
            for emission in self.native.header.units
            if emission.startswith(f"{LINES}/")
            and emission in self.weights.tensors
        ]

    def spectra(self, wanted: tuple[str, ...] | None) -> tuple[str, ...]:
        """Return the names of the spectra to compare.

        Args:
            wanted (tuple of str): The spectra; by default all that both
                have.

        Raises:
            MissingSpectraType: If they do not both have all of them.
        """
        common = [
            name
            for name in self.native.header.spectra_units
            if name in self.weights.available_spectra
        ]
        missing = [name for name in wanted or () if name not in common]
        if missing or not common:
            raise MissingSpectraType(
                f"Grid and emulator do not both have {', '.join(missing)}; "
                f"they have {', '.join(common) or 'nothing in common'}."
                + "".join(nearest(name, common) for name in missing[:1])
            )
        return tuple(common) if wanted is None else wanted

    def blocks(
        self, emission: str
    ) -> Iterator[tuple[slice, NDArray[np.float64], NDArray]]:
        """Read an emission in blocks, and emulate it at their nodes.

        Args:
            emission (str): The path of the emission.

        Yields:
            tuple: A slice of the first axis, and the native and the
                emulated values there, (k, n2, ..., nd, n).
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
        """Return the axis values (m, d) of nodes by their indices (m, d)."""
        columns = zip(self.axes, nodes.T, strict=True)
        return np.stack([axis.values[i] for axis, i in columns], axis=1)
