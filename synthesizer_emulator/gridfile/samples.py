"""Files of scattered samples: spectra at points that do not form a grid.

For example, Cloudy runs at the points of a Sobol sequence. The layout is that
of a Synthesizer grid, but with a table of parameters instead of axes, and
arrays of one row per sample:

    parameters              (m, d), attributes `names`, `Units` and
                            `log_on_read` (one entry per column), and
                            optionally `low` and `high`, the ends of the
                            sampled box
    spectra/wavelength      (n,), attribute `Units`
    spectra/<name>          (m, n), attribute `Units`
    lines/id, wavelength    (l,)
    lines/luminosity, nebular_continuum, transmitted    (m, l)
    log10_specific_ionising_luminosity/<ion>            (m,)
    star_fraction           (m,)

with the attribute `WeightVariable` and the groups `Model` and `CloudyParams`
as in a grid. Only the parameters, the wavelengths and one spectrum are
required.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Self

import h5py
import numpy as np
from numpy.typing import NDArray
from synthesizer.exceptions import GridError

from synthesizer_emulator.files.hdf5 import open_hdf5, report_damage
from synthesizer_emulator.files.kinds import check_no_other
from synthesizer_emulator.files.writing import write_hdf5
from synthesizer_emulator.gridfile.emissions import SPECTRA
from synthesizer_emulator.gridfile.header import Axis, GridHeader
from synthesizer_emulator.gridfile.reading import (
    REMEDY,
    flag,
    make_axis,
    read_array,
    read_contents,
    read_numbers,
    text,
)

PARAMETERS = "parameters"


@dataclass(frozen=True)
class SampleFile:
    """A file of m scattered samples of d parameters.

    Attributes:
        path (Path): The file.
        parameters (tuple of Axis): The parameters, with their values at the
            samples, (m,).
        low (np.ndarray of float): The lower ends of the sampled box, (d,).
        high (np.ndarray of float): The upper ends, (d,).
        contents (GridHeader): The header, without axes, and with stored
            quantities of shape (m,).
    """

    path: Path
    parameters: tuple[Axis, ...]
    low: NDArray[np.float64]
    high: NDArray[np.float64]
    contents: GridHeader

    @classmethod
    def open(cls, path: Path) -> Self:
        """Open a file of samples, reading only its parameters and header.

        Raises:
            GridError: If the file is not a file of samples, or damaged.
        """
        with open_hdf5(path) as hdf, report_damage(path, REMEDY):
            try:
                parameters, low, high = _read_parameters(hdf, path)
                size = len(parameters[0].values)
                contents = read_contents(hdf, (), path, size)
            except KeyError as error:
                raise GridError(
                    f"'{path}' is not a complete file of samples: "
                    f"{error.args[0]}. {REMEDY}"
                ) from error
            return cls(path, parameters, low, high, contents)

    @property
    def size(self) -> int:
        """The number of samples."""
        return len(self.parameters[0].values)

    @property
    def points(self) -> NDArray[np.float64]:
        """The parameters of all samples, (m, d)."""
        return np.column_stack([axis.values for axis in self.parameters])

    @property
    def left_out(self) -> Mapping[str, int]:
        """The numbers of rows that are left out, by why."""
        return {}

    def row(self, i: int) -> int:
        """Return the row of a sample in the arrays of the file."""
        return i

    def read(self, emission: str) -> NDArray[np.float64]:
        """Read the values of an emission at all samples, (m, n).

        Raises:
            GridError: If the array does not have this shape.
        """
        shape = (self.size, self.contents.size_of(emission))
        with open_hdf5(self.path) as hdf:
            return read_array(hdf, emission, self.path, shape)


def write_samples(
    path: Path,
    parameters: Sequence[Axis],
    lam: NDArray[np.float64],
    spectra: Mapping[str, NDArray[np.float64]],
    units: str,
    model: Mapping[str, object] | None = None,
    box: Sequence[Axis] | None = None,
) -> None:
    """Write a file of scattered samples, whole or not at all.

    Args:
        path (Path): The file.
        parameters (sequence of Axis): The d parameters, with their values at
            the samples, (m,).
        lam (np.ndarray of float): The wavelengths, Angstrom, (n,).
        spectra (Mapping): The spectra at the samples by name, (m, n).
        units (str): Their units: `erg/s/Hz`, or `None` for none.
        model (Mapping): What made the spectra, as attributes of the group
            `Model`.
        box (sequence of Axis): The parameters with the ends of the sampled
            box as values; by default the range of the samples.

    Raises:
        OSError: If the file can't be written.
    """
    with write_hdf5(path) as hdf:
        table = hdf.create_dataset(
            PARAMETERS,
            data=np.column_stack([axis.values for axis in parameters]),
        )
        table.attrs["names"] = [axis.name for axis in parameters]
        table.attrs["Units"] = [axis.units for axis in parameters]
        table.attrs["log_on_read"] = [axis.log_on_read for axis in parameters]
        if box is not None:
            low, high = np.array([axis.values for axis in box]).T
            table.attrs["low"], table.attrs["high"] = low, high
        hdf[f"{SPECTRA}/wavelength"] = lam
        hdf[f"{SPECTRA}/wavelength"].attrs["Units"] = "angstrom"
        for name, values in spectra.items():
            hdf[f"{SPECTRA}/{name}"] = values
            hdf[f"{SPECTRA}/{name}"].attrs["Units"] = units
        hdf.attrs["WeightVariable"] = "initial_masses"
        for key, value in (model or {}).items():
            hdf.require_group("Model").attrs[key] = value


def is_sample_file(path: Path) -> bool:
    """Return whether a file contains scattered samples and not a grid.

    Raises:
        GridError: If it is another file of this package, such as a library.
    """
    with open_hdf5(path) as hdf, report_damage(path, REMEDY):
        if "emulator" not in hdf:
            check_no_other(hdf, path, "a grid or a file of scattered samples")
        return PARAMETERS in hdf and "axes" not in hdf.attrs


def check_joinable(files: Sequence[SampleFile]) -> None:
    """Raise unless files can be joined into one training set.

    Raises:
        GridError: If the parameters, spectra, wavelengths, lines or stored
            quantities differ.
    """
    first = files[0]
    expected = _shared_properties(first)
    for file in files[1:]:
        for name, value in _shared_properties(file).items():
            if value != expected[name]:
                raise GridError(
                    f"'{first.path}' and '{file.path}' can't be "
                    f"joined: their {name} differ."
                )


def _shared_properties(file: SampleFile) -> dict[str, object]:
    """Return the properties that must be equal in files to be joined."""
    contents = file.contents
    lines = contents.lines
    return {
        "parameters": [
            (axis.name, axis.units, axis.log_on_read)
            for axis in file.parameters
        ],
        "spectra": dict(contents.spectra_units),
        "wavelengths": (contents.lam.tolist(), contents.lam_units),
        "lines": lines and (lines.ids, lines.lams.tolist(), dict(lines.units)),
        "stored values": sorted(contents.stored),
    }


def _read_parameters(
    hdf: h5py.File, path: Path
) -> tuple[tuple[Axis, ...], NDArray[np.float64], NDArray[np.float64]]:
    """Read the parameters and the ends of the sampled box."""
    table = hdf[PARAMETERS]
    values = read_numbers(hdf, PARAMETERS, path)
    names = [text(name) for name in np.atleast_1d(table.attrs["names"])]
    d = len(names)
    if values.ndim != 2 or values.shape[1] != d or len(set(names)) != d:
        raise GridError(
            f"'{PARAMETERS}' of '{path}' must be a table with one "
            f"column for each of its names ({', '.join(names)}), got shape "
            f"{values.shape}."
        )
    if len(values) < 2 or not np.isfinite(values).all():
        raise GridError(
            f"'{PARAMETERS}' of '{path}' must contain at least two samples "
            f"and finite values only, got {len(values)} samples."
        )
    units = [text(u) for u in np.atleast_1d(table.attrs["Units"])]
    logged = [flag(f) for f in np.atleast_1d(table.attrs["log_on_read"])]
    low, high = (
        np.atleast_1d(table.attrs.get(name, end(values, axis=0)))
        for name, end in (("low", np.min), ("high", np.max))
    )
    if any(len(given) != d for given in (units, logged, low, high)):
        raise GridError(
            f"The attributes Units, log_on_read, low and high of "
            f"'{PARAMETERS}' in '{path}' must have one entry for each of "
            f"{', '.join(names)}."
        )
    # In this form, comparisons with NaN fail.
    boxed = (low <= values).all() and (values <= high).all()
    if not (boxed and (low < high).all() and np.isfinite(high - low).all()):
        raise GridError(
            f"The samples of '{path}' must lie within the attributes 'low' "
            f"and 'high' of '{PARAMETERS}', which must be finite, with 'low' "
            f"below 'high'. {REMEDY}"
        )
    # The ends are appended so that their units are converted too.
    columns = np.vstack([values, low, high]).astype(np.float64)
    axes = tuple(
        make_axis(path, *axis)
        for axis in zip(names, columns.T, units, logged, strict=True)
    )
    return (
        tuple(replace(axis, values=axis.values[:-2]) for axis in axes),
        np.array([axis.values[-2] for axis in axes]),
        np.array([axis.values[-1] for axis in axes]),
    )
