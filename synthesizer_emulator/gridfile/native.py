"""Native grid files, which store arrays of spectra and lines.

Training, evaluation and hold-out experiments read the arrays through
`NativeGrid`, in blocks if they are large.
"""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field, replace
from math import ceil, prod
from pathlib import Path
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray
from synthesizer.exceptions import GridError

from synthesizer_emulator.files.hdf5 import open_hdf5, report_damage
from synthesizer_emulator.files.kinds import check_no_other
from synthesizer_emulator.gridfile.emissions import EXTINCTION_CURVES, LINES
from synthesizer_emulator.gridfile.further import gather_further
from synthesizer_emulator.gridfile.header import GridHeader
from synthesizer_emulator.gridfile.places import grid_name_of
from synthesizer_emulator.gridfile.reading import (
    REMEDY,
    read_array,
    read_header,
)

# The size of a block in memory, in bytes.
_BLOCK_SIZE = 3e8


@dataclass(frozen=True)
class NativeGrid:
    """A Synthesizer grid whose spectra and lines are stored as arrays.

    Emissions are named by their path in the file, e.g. `spectra/incident`
    or `lines/luminosity`; extinction curves are `spectra/...` too. Values are
    in the units of the file, in double precision; wavelengths or lines are
    the last dimension.

    Attributes:
        path (Path): The grid file.
        header (GridHeader): The header of the grid.
        columns (slice): The wavelengths that are read, of those in the
            file; the header has only these.
        stored (int): The number of wavelengths in the file; 0 if it is that
            of the header.
    """

    path: Path
    header: GridHeader
    columns: slice = field(default_factory=lambda: slice(None))
    stored: int = 0

    @classmethod
    def open(cls, path: Path) -> Self:
        """Open a grid file, reading only its header.

        Raises:
            GridError: If the file is missing, damaged or not a Synthesizer
                grid, or if it holds the weights of an emulator.
        """
        with open_hdf5(path) as hdf:
            if "emulator" in hdf:
                raise GridError(
                    f"'{path}' holds the weights of an emulator: pass the "
                    "grid itself, without '.emulator'."
                )
            check_no_other(hdf, path, "a grid of Synthesizer")
            header = read_header(hdf, path)
            with report_damage(path, REMEDY):
                further = gather_further(hdf, header.loaded)
            header = replace(header, further=further)
            return cls(path, header, stored=len(header.lam))

    def at(self, columns: slice) -> Self:
        """Return the grid of some of its wavelengths."""
        header = replace(self.header, lam=self.header.lam[columns])
        return replace(self, header=header, columns=columns)

    @property
    def name(self) -> str:
        """The name of the grid."""
        return grid_name_of(self.path)

    def shape_of(self, emission: str) -> tuple[int, ...]:
        """Return the shape of the array of an emission, (n1, ..., nk, n)."""
        return self.header.shape_of(emission)

    def read(self, emission: str, part: Any = ...) -> NDArray[np.float64]:
        """Read the array of an emission, (n1, ..., nd, n), or part of it.

        Args:
            emission (str): The path of the emission.
            part (index): The h5py index of the part; all by default.

        Raises:
            GridError: If the array is missing, does not hold numbers, or
                does not have the shape that the header implies.
        """
        (values,) = self._read(emission, [part])
        return values

    def read_nodes(
        self, emission: str, nodes: Iterable[tuple[int, ...]]
    ) -> NDArray[np.float64]:
        """Read the values (m, n) of an emission at m nodes, given by index.

        Raises:
            GridError: As in `read`.
        """
        return np.array(list(self._read(emission, nodes)))

    def read_blocks(
        self, emission: str
    ) -> Iterator[tuple[slice, NDArray[np.float64]]]:
        """Read an emission in blocks of a few hundred MB.

        Yields:
            tuple: A slice of the first axis, and the values at its k nodes,
                (k, n2, ..., nd, n).

        Raises:
            GridError: As in `read`.
        """
        shape = self.shape_of(emission)
        count = min(ceil(8 * prod(shape) / _BLOCK_SIZE), shape[0])
        blocks = [
            slice(nodes[0], nodes[-1] + 1)
            for nodes in np.array_split(np.arange(shape[0]), count)
        ]
        yield from zip(blocks, self._read(emission, blocks), strict=True)

    def _read(
        self, emission: str, parts: Iterable[Any]
    ) -> Iterator[NDArray[np.float64]]:
        """Yield parts of an emission, opening the file once."""
        shape = self.shape_of(emission)
        name = self.header.location_of(emission)
        of_lines = emission.startswith(f"{LINES}/")
        if not of_lines:
            shape = (*shape[:-1], self.stored or shape[-1])
        with open_hdf5(self.path) as hdf:
            for part in parts:
                values = read_array(hdf, name, self.path, shape, part)
                if not of_lines:
                    values = values[..., self.columns]
                if self.header.spectra_group == EXTINCTION_CURVES:
                    # The first curves of Draine & Li are of no dust, 1e-99.
                    values[values.max(axis=-1) < self.header.faintest] = 0.0
                yield values
