"""A grid without some of its nodes, for hold-out experiments."""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from math import prod
from pathlib import Path
from typing import Self

import numpy as np
from numpy.typing import NDArray

from synthesizer_emulator.files.writing import check_room, write_hdf5
from synthesizer_emulator.gridfile.header import FAILURES
from synthesizer_emulator.gridfile.native import NativeGrid
from synthesizer_emulator.gridfile.nodes import node_mesh
from synthesizer_emulator.gridfile.writing import create_emission, write_header


@dataclass(frozen=True)
class ThinnedGrid:
    """A grid without some of its nodes, and the whole grid.

    Attributes:
        thin (NativeGrid): The grid without the left-out nodes.
        whole (NativeGrid): The grid with all nodes.
        kept (tuple of np.ndarray): The indices of the remaining nodes along
            each axis, as `np.ix_` returns them.
        missing (np.ndarray of bool): Mask of the left-out nodes,
            (n1, ..., nd).
    """

    thin: NativeGrid
    whole: NativeGrid
    kept: tuple[NDArray[np.intp], ...]
    missing: NDArray[np.bool_]

    @classmethod
    def write(
        cls,
        whole: NativeGrid,
        left_out: Mapping[int, NDArray[np.intp]],
        folder: Path,
    ) -> Self:
        """Write a grid without some nodes to `thinned.hdf5` in a folder.

        `left_out` has the indices of the nodes, by the number of the axis.

        Raises:
            GridError: If an array of the whole grid can't be read.
            OSError: If the file can't be written.
        """
        header = whole.header
        indices = [
            np.setdiff1d(np.arange(n), left_out.get(i, []))
            for i, n in enumerate(header.shape)
        ]
        kept = np.ix_(*indices)
        missing = np.ones(header.shape, bool)
        missing[kept] = False
        axes = tuple(
            replace(axis, values=axis.values[i])
            for axis, i in zip(header.axes, indices, strict=True)
        )
        stored = {
            path: values[np.ix_(*indices[: values.ndim])]
            for path, values in header.stored.items()
        }
        thin_header = replace(header, axes=axes).with_stored(stored)
        if header.failures is not None:
            further = thin_header.further
            datasets = dict(further.datasets)
            datasets[FAILURES] = header.failures[kept]
            further = replace(further, datasets=datasets)
            thin_header = replace(thin_header, further=further)
        thin = NativeGrid(folder / "thinned.hdf5", thin_header)
        sizes = (header.size_of(emission) for emission in header.units)
        check_room(thin.path, 8 * prod(thin_header.shape) * sum(sizes))
        with write_hdf5(thin.path) as hdf:
            write_header(hdf, thin_header)
            for name, units in header.units.items():
                values = whole.read(name)[kept]
                create_emission(hdf, name, values.shape, units)[...] = values
        return cls(thin, whole, kept, missing)

    @property
    def points(self) -> NDArray[np.float64]:
        """The axis values of the m left-out nodes, (m, d)."""
        mesh = node_mesh([axis.values for axis in self.whole.header.axes])
        return np.asarray(mesh[self.missing])
