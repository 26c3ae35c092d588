"""Reading and checking of the headers and arrays of HDF5 grid files.

The type, shape, units and range of each entry are checked. Errors name the
file, the entry and a remedy.
"""

from dataclasses import replace
from pathlib import Path
from typing import Any

import h5py
import numpy as np
from numpy.typing import NDArray
from synthesizer.exceptions import GridError, InconsistentArguments
from unyt import Unit, unyt_array
from unyt.dimensions import length, mass

from synthesizer_emulator.files.hdf5 import report_damage
from synthesizer_emulator.gridfile.emissions import (
    EXTINCTION_CURVES,
    LINE_UNITS,
    LINES,
    SPECTRA,
)
from synthesizer_emulator.gridfile.header import (
    IONISING,
    STAR_FRACTION,
    Axis,
    GridHeader,
    LineList,
    node_name,
)
from synthesizer_emulator.units import parse_unit

# Datasets of the emission groups that are not emissions.
_NOT_SPECTRA = ("wavelength", "normalisation")
_NOT_LINES = ("id", "wavelength")

# The attribute of an emission in weights that lacks the last axes.
RANK = "rank"

# The remedy in errors about a file that can't be read.
REMEDY = "Repair the file, or download or create it again."


def read_header(hdf: h5py.File, path: Path) -> GridHeader:
    """Read the header of an open file of a grid or of weights.

    Raises:
        GridError: If the file is not a Synthesizer grid, or an entry is
            missing or wrong.
    """
    with report_damage(path, REMEDY):
        _check_current(hdf, path)
    if "axes" not in hdf.attrs or "axes" not in hdf:
        raise GridError(
            f"'{path}' is not a Synthesizer grid: it has no 'axes' "
            "attribute and group."
        )
    with report_damage(path, REMEDY):
        try:
            names = [text(name) for name in np.atleast_1d(hdf.attrs["axes"])]
            if not names or len(set(names)) != len(names):
                raise GridError(
                    f"The attribute 'axes' of '{path}' must name each axis "
                    f"once, got {', '.join(names) or 'none'}. {REMEDY}"
                )
            axes = tuple(_read_axis(hdf, name, path) for name in names)
            return read_contents(hdf, axes, path)
        except KeyError as error:
            raise GridError(
                f"'{path}' is not a complete Synthesizer grid: "
                f"{error.args[0]}. {REMEDY}"
            ) from error


def _check_current(hdf: h5py.File, path: Path) -> None:
    """Raise if the format is that of an earlier version of Synthesizer."""
    names = [text(n) for n in np.atleast_1d(hdf.attrs.get("axes", ()))]
    lines = hdf.get(LINES, {})
    for outdated, reason in (
        (SPECTRA in hdf and not names, "it has no list of axes"),
        (any("log10" in name for name in names), "its axes are logarithms"),
        (
            any(isinstance(lines[name], h5py.Group) for name in lines)
            and "luminosity" not in lines,
            "it has a group for each line",
        ),
    ):
        if outdated:
            raise GridError(
                f"'{path}' is a grid in an outdated format ({reason}), "
                "which Synthesizer no longer reads: download it again, or "
                "create it with a current version."
            )


def read_array(
    hdf: h5py.File,
    name: str,
    path: Path,
    shape: tuple[int, ...],
    part: Any = ...,
) -> NDArray[np.float64]:
    """Read the array of an emission, or an h5py index of it, as float64.

    Raises:
        GridError: If the array is missing, does not contain numbers, or does
            not have the expected shape.
    """
    with report_damage(path, REMEDY):
        dataset = _numbers(hdf, name, path)
        if dataset.shape != shape:
            raise GridError(
                f"'{name}' of '{path}' must have the shape {shape} to "
                f"match the header (or lack its last axes), got "
                f"{dataset.shape}. {REMEDY}"
            )
        return dataset[part].astype(np.float64)


def read_contents(
    hdf: h5py.File,
    axes: tuple[Axis, ...],
    path: Path,
    samples: int | None = None,
) -> GridHeader:
    """Read the header of a grid or of a file of samples, with given axes.

    For a grid, the number of samples is None.

    Raises:
        GridError: If the file has neither spectra nor lines, or an entry is
            wrong.
        KeyError: If another entry is missing.
    """
    lines = _read_lines(hdf, path)
    groups = [g for g in (SPECTRA, EXTINCTION_CURVES) if g in hdf]
    group = groups[0] if groups else SPECTRA
    lam, lam_units = np.empty(0), "angstrom"
    if groups and "wavelength" in hdf[group]:
        lam, lam_units = _read_wavelengths(hdf, f"{group}/wavelength", path)
    elif groups or lines is None:
        raise GridError(
            f"'{path}' must contain spectra, in a group 'spectra' (or "
            "'extinction_curves') with a 'wavelength', or lines, in a group "
            "'lines' with a 'luminosity'; got neither."
        )
    if not np.all(np.diff(lam) > 0):
        raise GridError(
            f"The wavelengths of '{path}' must be strictly ascending."
        )
    ions = hdf.get(IONISING, {})
    header = GridHeader(
        axes=axes,
        lam=lam,
        lam_units=lam_units,
        spectra_units={
            name: _read_units(hdf[group][name], path)
            for name in hdf.get(group, ())
            if name not in _NOT_SPECTRA
        },
        spectra_group=group,
        lines=lines,
        weight_variable=text(hdf.attrs.get("WeightVariable", "None")),
        attributes={
            key: value
            for key, value in hdf.attrs.items()
            if key not in ("axes", "WeightVariable")
        },
        model=dict(hdf["Model"].attrs) if "Model" in hdf else {},
        cloudy=_read_cloudy(hdf),
        log10_specific_ionising_luminosity={
            ion: read_numbers(hdf, f"{IONISING}/{ion}", path) for ion in ions
        },
        star_fraction=(
            read_numbers(hdf, STAR_FRACTION, path)
            if STAR_FRACTION in hdf
            else None
        ),
    )
    for stored, values in header.stored.items():
        _check_stored(header, stored, values, path, samples)
    ranks = {e: _read_rank(hdf, header, e) for e in header.units}
    lacking = {e: rank for e, rank in ranks.items() if rank < len(axes)}
    return replace(header, ranks=lacking)


def _read_rank(hdf: h5py.File, header: GridHeader, emission: str) -> int:
    """Read the number of axes that an emission has, from the first."""
    entry = hdf[header.location_of(emission)]
    if isinstance(entry, h5py.Group):
        # Of weights, where the emission is a group of tensors.
        return int(entry.attrs.get(RANK, len(header.axes)))
    nodes = (entry.shape or ())[:-1]
    if nodes and nodes == header.shape[: len(nodes)]:
        return len(nodes)
    return len(header.axes)


def _read_axis(hdf: h5py.File, name: str, path: Path) -> Axis:
    """Read an axis, and check that it is strictly ascending."""
    if name not in hdf["axes"]:
        raise GridError(
            f"'{path}' lists the axis '{name}' but lacks 'axes/{name}'."
        )
    values = read_numbers(hdf, f"axes/{name}", path)
    finite = values.ndim == 1 and values.size and np.isfinite(values).all()
    if not finite or not np.all(np.diff(values) > 0):
        raise GridError(
            f"The axis '{name}' of '{path}' must be one-dimensional, finite "
            f"and strictly ascending. {REMEDY}"
        )
    dataset = hdf["axes"][name]
    units = _read_units(dataset, path)
    log_on_read = flag(dataset.attrs.get("log_on_read", False))
    return make_axis(path, name, values, units, log_on_read)


def make_axis(
    path: Path,
    name: str,
    values: NDArray[np.float64],
    units: str,
    log_on_read: bool,
) -> Axis:
    """Return an axis, with masses converted to Msun.

    Raises:
        GridError: If the axis is logged and not positive, or its units
            can't be parsed.
    """
    unit = file_unit(path, f"the axis '{name}'", units)
    if log_on_read and values.min() <= 0:
        raise GridError(
            f"The logged axis '{name}' of '{path}' must be positive, got "
            f"values from {values.min():g}."
        )
    # As in Synthesizer, since kilograms would exceed float32.
    if unit.dimensions == mass:
        values, units = unyt_array(values, unit).to_value("Msun"), "Msun"
    return Axis(name, values, units, log_on_read)


def _read_lines(hdf: h5py.File, path: Path) -> LineList | None:
    """Read the list of lines, or return None if the file has no lines."""
    if LINES not in hdf or "luminosity" not in hdf[LINES]:
        return None
    group = hdf[LINES]
    lams, lam_units = _read_wavelengths(hdf, f"{LINES}/wavelength", path)
    ids = tuple(text(i) for i in np.atleast_1d(group["id"][...]))
    if len(ids) != len(lams) or len(set(ids)) != len(ids):
        raise GridError(
            f"The lines of '{path}' must have unique ids and a wavelength "
            f"for each id, got {len(ids)} ids ({len(set(ids))} unique) and "
            f"{len(lams)} wavelengths. {REMEDY}"
        )
    units = {
        name: _read_units(group[name], path)
        for name in group
        if name not in _NOT_LINES
    }
    for name in units.keys() & LINE_UNITS.keys():
        expected = LINE_UNITS[name]
        dimensions = parse_unit(units[name]).dimensions
        if dimensions != parse_unit(expected).dimensions:
            raise GridError(
                f"'{LINES}/{name}' of '{path}' is in '{units[name]}', which "
                f"can't be converted to '{expected}'. {REMEDY}"
            )
    return LineList(ids, lams, lam_units, units)


def _read_wavelengths(
    hdf: h5py.File, name: str, path: Path
) -> tuple[NDArray[np.float64], str]:
    """Read wavelengths and their units, and check both."""
    lam = read_numbers(hdf, name, path)
    units = _read_units(hdf[name], path, "angstrom")
    positive = np.isfinite(lam) & (lam > 0)
    if lam.ndim != 1 or not lam.size or not positive.all():
        raise GridError(
            f"The wavelengths '{name}' of '{path}' must be one-dimensional, "
            f"finite and positive. {REMEDY}"
        )
    if parse_unit(units).dimensions != length:
        raise GridError(
            f"The wavelengths '{name}' of '{path}' must be in units of "
            f"length, got '{units}'. {REMEDY}"
        )
    return lam, units


def _check_stored(
    header: GridHeader,
    name: str,
    values: NDArray[np.float64],
    path: Path,
    samples: int | None,
) -> None:
    """Check the shape and the values of a stored quantity.

    Raises:
        GridError: If the shape or a value is wrong; names the first node or
            sample with a wrong value.
    """
    fraction = name == STAR_FRACTION
    if samples is not None:
        shape: tuple[int, ...] = (samples,)
    elif fraction:
        # Of the first axes, ages and metallicities.
        shape = header.shape[: max(values.ndim, 1)]
    else:
        shape = header.shape
    if values.shape != shape:
        raise GridError(
            f"'{name}' of '{path}' must have one value per sample, got "
            f"shape {values.shape} for {samples} samples. {REMEDY}"
            if samples is not None
            else f"'{name}' of '{path}' has shape {values.shape}, but "
            f"the axes have {shape}. {REMEDY}"
        )
    # log10 of a photon rate may be -inf.
    valid = np.isfinite(values) | (np.isneginf(values) & (not fraction))
    for wrong, problem in (
        (~valid, "a value that is not finite"),
        (fraction & (values < 0), "a negative value"),
    ):
        if wrong.any():
            node = np.argwhere(wrong)[0]
            where = (
                node_name(header.axes, node)
                if samples is None
                else f"sample {node[0]}"
            )
            raise GridError(
                f"'{name}' of '{path}' has {problem} at {where} "
                f"({int(wrong.sum())} in all). {REMEDY}"
            )


def _read_cloudy(hdf: h5py.File) -> dict[str, object] | None:
    """Read the Cloudy parameters; None if the grid is not reprocessed."""
    if "CloudyParams" in hdf:
        return dict(hdf["CloudyParams"].attrs)
    return {} if "cloudy_version" in hdf.attrs else None


def _read_units(
    dataset: h5py.Dataset, path: Path, default: str = "None"
) -> str:
    """Read the units of an array, and check that they can be parsed."""
    units = text(dataset.attrs.get("Units", default))
    file_unit(path, f"'{dataset.name}'", units)
    return units


def _numbers(hdf: h5py.File, name: str, path: Path) -> h5py.Dataset:
    """Return a dataset, checked to contain numbers."""
    dataset = hdf[name]
    if (
        not isinstance(dataset, h5py.Dataset)
        or dataset.shape is None
        or dataset.dtype.kind not in "biuf"
    ):
        raise GridError(
            f"'{name}' of '{path}' is not an array of numbers. {REMEDY}"
        )
    return dataset


def read_numbers(hdf: h5py.File, name: str, path: Path) -> NDArray[np.float64]:
    """Read an array of numbers, as float64.

    Raises:
        GridError: If the entry is a group, or does not contain numbers.
        KeyError: If the entry is missing.
    """
    return np.asarray(_numbers(hdf, name, path)[...], np.float64)


def file_unit(path: Path, what: str, units: str) -> Unit:
    """Parse the units of an entry, described by `what`, of a file.

    Raises:
        GridError: If the units can't be parsed.
    """
    try:
        return parse_unit(units)
    except InconsistentArguments as error:
        raise GridError(
            f"The units of {what} in '{path}' can't be read: {error}"
        ) from error


def text(value: object) -> str:
    """Return a string read by h5py, which may be bytes.

    Raises:
        TypeError: If the value is not a string.
        UnicodeError: If the string is not UTF-8.
    """
    if isinstance(value, bytes):
        return value.decode("utf-8")
    if not isinstance(value, str):
        raise TypeError(f"expected text, got {type(value).__name__}")
    # h5py replaces bytes that are not UTF-8 by surrogates, which raise here.
    value.encode("utf-8")
    return str(value)


def flag(value: object) -> bool:
    """Return a boolean read by h5py, which may be stored as 0 or 1.

    Raises:
        TypeError: If the value is not a boolean, 0 or 1.
    """
    if not np.isscalar(value) or value not in (False, True):
        raise TypeError(f"expected true or false, got {value!r}")
    return bool(value)
