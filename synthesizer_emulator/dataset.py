"""From a Synthesizer grid file to arrays that an architecture can fit.

A `TrainingSet` knows what a grid stores and reads one emission at a time,
so that building needs the memory of one array and no more.
"""

import hashlib
from dataclasses import dataclass
from pathlib import Path

import h5py
import numpy as np
from numpy.typing import NDArray
from synthesizer.exceptions import GridError, MissingSpectraType

from synthesizer_emulator.evaluation.metrics import judged_region
from synthesizer_emulator.gridfile import (
    LINES,
    GridHeader,
    grid_name_of,
    open_grid,
    read_header,
)

# What a reprocessed grid stores is not what is learned: the lines stand
# out of `nebular` on a smooth continuum, and the two are learned apart.
_CONTINUUM = "nebular_continuum"
_CONTINUUM_PARTS = ("nebular", "linecont")

# Line quantities that Synthesizer reads from a grid.
_LINE_VALUES = ("luminosity", "nebular_continuum", "transmitted")

# What networks in float32 can give, with some room.
_FLOAT32_RANGE = (1e-28, 1e37)

# What an error weighs outside the judged wavelengths: enough to keep the
# ionising photon rates to 0.1% (docs/accuracy).
_WEIGHT_OUTSIDE = 0.3


@dataclass(frozen=True)
class TrainingSet:
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
    def of_grid(
        cls, path: Path, spectra: tuple[str, ...] | None = None
    ) -> "TrainingSet":
        """Open the nodes of a grid for training.

        Args:
            path (Path): The grid file.
            spectra (tuple of str): Which spectra to learn, as the grid
                names them; all by default. Lines are always learned.

        Returns:
            TrainingSet: What to learn.

        Raises:
            GridError: If the file is no grid of stellar emission with at
                least two axes of at least two nodes.
            MissingSpectraType: If the grid has not all of `spectra`.
        """
        with open_grid(path) as hdf:
            if "emulator" in hdf:
                raise GridError(
                    f"'{path}' holds the weights of an emulator: pass the "
                    "grid that it was built from, without '.emulator'."
                )
            header = read_header(hdf)
        _check_header(path, header)
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
            )
        learned = list(wanted)
        parts_stored = all(part in stored for part in _CONTINUUM_PARTS)
        if header.reprocessed and parts_stored and "nebular" in learned:
            learned.remove("nebular")
            learned.append(_CONTINUUM)
            if "linecont" not in learned:
                learned.append("linecont")
        emissions = [f"spectra/{name}" for name in learned]
        if header.lines is not None:
            emissions += [
                f"{LINES}/{name}"
                for name in _LINE_VALUES
                if name in header.lines.units
            ]
        return cls(path, header, tuple(emissions))

    @property
    def grid_name(self) -> str:
        """The name of the grid."""
        return grid_name_of(self.path)

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
        group, name = emission.split("/")
        with open_grid(self.path) as hdf:
            if group == "spectra" and name == _CONTINUUM:
                nebular, linecont = (
                    self._read_stored(hdf, f"spectra/{part}")
                    for part in _CONTINUUM_PARTS
                )
                # In lines the difference of two like numbers can round
                # to below zero.
                return np.maximum(nebular - linecont, 0.0)
            return self._read_stored(hdf, emission)

    def check(self) -> None:
        """Read everything once, before any work is put into a part.

        Raises:
            GridError: As `read` does.
        """
        for emission in self.emissions:
            self.read(emission)

    def weights(self, emission: str) -> NDArray[np.float64]:
        """Return what an error at each wavelength or line weighs, (n,).

        Less outside the wavelengths at which stars and gas are observed.
        """
        if emission.startswith(f"{LINES}/"):
            return np.ones(self.header.size_of(emission))
        judged = judged_region(self.header.lam_angstrom)
        return np.where(judged, 1.0, _WEIGHT_OUTSIDE)

    def read_stored(self, spectrum: str) -> NDArray[np.float64]:
        """Read one spectrum as the file stores it, for comparison.

        Args:
            spectrum (str): A name in the file's group of spectra.

        Returns:
            np.ndarray of float: Shape (*header.shape, nlam).
        """
        with open_grid(self.path) as hdf:
            return self._read_stored(hdf, f"spectra/{spectrum}")

    def source_hash(self) -> str:
        """Return the SHA-256 of the grid file, in hex."""
        with self.path.open("rb") as stream:
            return hashlib.file_digest(stream, "sha256").hexdigest()

    def _read_stored(
        self, hdf: h5py.File, emission: str
    ) -> NDArray[np.float64]:
        """Read an array of the file and check it."""
        dataset = hdf[emission]
        expected = (*self.header.shape, self.header.size_of(emission))
        if not isinstance(dataset, h5py.Dataset) or dataset.shape != expected:
            raise GridError(
                f"'{emission}' of '{self.path.name}' is not an array of "
                f"shape {expected}, as the axes, wavelengths and lines have "
                "it: the file is damaged or of another format."
            )
        values = dataset[...].astype(np.float64)
        self._check(values, emission)
        return values

    def _check(self, values: NDArray[np.float64], emission: str) -> None:
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
                node = np.argwhere(wrong)[0]
                place = ", ".join(
                    f"{axis.name}[{i}] = {axis.values[i]:g}"
                    for axis, i in zip(
                        self.header.axes, node[:-1], strict=True
                    )
                )
                raise GridError(
                    f"'{emission}' of '{self.path.name}' has {what} at "
                    f"{place}, entry {node[-1]} ({int(wrong.sum())} in "
                    "all). Mend the grid before building an emulator."
                )


def _check_header(path: Path, header: GridHeader) -> None:
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
