"""The weights file: an HDF5 file from which a grid can be emulated.

The group `emulator/grid` has the layout and header of a Synthesizer grid, but
each emission (`spectra/incident`, `lines/luminosity`, ...) is a group of named
tensors instead of an array. Until version 3 this was the layout of the file
itself, which other software could take for a grid. Only this module reads and
writes the file.
"""

import json
from collections.abc import Mapping, Sequence
from dataclasses import (
    asdict,
    fields,
    is_dataclass,
    replace,
)
from io import BytesIO
from pathlib import Path
from typing import Any

import h5py
import numpy as np
from numpy.typing import NDArray
from synthesizer.exceptions import GridError

from synthesizer_emulator.architectures.base import EmissionShape
from synthesizer_emulator.architectures.registry import (
    ARCHITECTURES,
    architecture_name,
    get_architecture,
)
from synthesizer_emulator.architectures.training import (
    LossHistory,
    TrainingConfig,
)
from synthesizer_emulator.emulator.metrics import ErrorSummary
from synthesizer_emulator.emulator.scaling import AxisDomain
from synthesizer_emulator.files.hdf5 import open_contents, report_damage
from synthesizer_emulator.files.kinds import kind_of
from synthesizer_emulator.files.schema import parse_json, typed, typed_value
from synthesizer_emulator.files.sealed import (
    is_sealed,
    read_sealed,
    write_sealed,
)
from synthesizer_emulator.gridfile.further import read_further, write_further
from synthesizer_emulator.gridfile.header import GridHeader
from synthesizer_emulator.gridfile.places import SUFFIX as SUFFIX
from synthesizer_emulator.gridfile.reading import RANK, read_header, text
from synthesizer_emulator.gridfile.writing import write_header
from synthesizer_emulator.weights.provenance import Provenance, to_json
from synthesizer_emulator.weights.tensors import (
    REMEDY,
    StoredTensors,
    check_listed,
    list_tensors,
    write_tensors,
)
from synthesizer_emulator.weights.weights import (
    FIRST_SEALED,
    FORMAT_VERSION,
    Weights,
)

# The scales of axes, and the smallest value of each.
_SCALES = {"linear": -np.inf, "power": 0.0, "log10": np.finfo(float).tiny}

# The group of the grid, and the first version that has it.
_GRID = "emulator/grid"
_FIRST_GROUPED = 4

# What readers of HDF5 find in the file.
_TITLE = (
    "Weights of an emulator of a Synthesizer grid: read them with "
    "synthesizer_emulator.EmulatedGrid"
)


class ForeignFileError(GridError):
    """The file is not a weights file, or has a newer format.

    It must not be overwritten.
    """


def check_storable(
    header: GridHeader,
    domain: Sequence[AxisDomain],
    provenance: Provenance,
    emissions: Sequence[str],
    path: Path,
) -> None:
    """Raise a GridError if the metadata of weights can't be stored.

    They are written and read in memory before training. `path` is the grid,
    for messages.
    """
    weights = Weights(header, tuple(domain), provenance, {}, {})
    stream = BytesIO()
    try:
        with h5py.File(stream, "w") as hdf:
            _write_metadata(hdf, weights, emissions)
        with h5py.File(stream, "r") as hdf:
            _check_read_back(weights, _read_metadata(hdf, path, b""))
    # HDF5 and unyt raise many kinds of exceptions.
    except Exception as error:
        raise GridError(
            f"The header of '{path.name}' can't be stored with the weights: "
            f"{str(error).strip()} Correct the grid before building an "
            "emulator."
        ) from error


def write_weights(path: Path, weights: Weights) -> None:
    """Write a weights file, completely or not at all.

    The new file is read back before it replaces an existing one.

    Args:
        path (Path): The target, ending in `.emulator`.
        weights (Weights): The weights.

    Raises:
        GridError: If the weights differ after writing and reading.
        OSError: If the target can't be written.
    """

    def check(written: Path) -> None:
        _check_read_back(weights, read_weights(written))

    with write_sealed(path, check) as hdf:
        _write_metadata(hdf, weights, tuple(weights.tensors))
        for emission, tensors in weights.tensors.items():
            group = hdf[_GRID][weights.header.location_of(emission)]
            group.attrs["shape"] = json.dumps(asdict(weights.shapes[emission]))
            write_tensors(group, tensors, weights.architecture)


def read_weights(path: Path) -> Weights:
    """Read a weights file.

    Args:
        path (Path): The file, which is read once.

    Returns:
        Weights: The contents in memory; tensors are unpacked on first use.

    Raises:
        GridError: If the file is missing, damaged, not a weights file, of a
            newer format, or of an architecture that is not registered.
    """
    contents = read_sealed(path)
    with open_contents(contents, path) as hdf, report_damage(path, REMEDY):
        if "emulator" not in hdf:
            found = kind_of(hdf)
            raise ForeignFileError(
                f"'{path}' is not a weights file of synthesizer_emulator"
                + (f", but {found}" if found else "")
                + ": it must have a group 'emulator'. Build one from a grid "
                "with `synthesizer-emulator build`."
            )
        version = hdf["emulator"].attrs.get("format_version", 0)
        if version not in range(FORMAT_VERSION + 1):
            raise ForeignFileError(
                f"'{path}' has weights format {version}; this version of "
                f"synthesizer_emulator reads up to {FORMAT_VERSION}. "
                "Upgrade it with `pip install -U synthesizer-emulator`."
            )
        if version >= FIRST_SEALED and not is_sealed(contents):
            raise GridError(
                f"'{path}' must begin with a checksum, but has none: it was "
                f"damaged or edited. {REMEDY}"
            )
        weights = _read_metadata(hdf, path, contents)
        root = _grid_group(hdf)
        groups = {
            emission: root[weights.header.location_of(emission)]
            for emission in weights.header.units
        }
        weights = replace(
            weights,
            shapes={
                emission: EmissionShape.from_json(text(group.attrs["shape"]))
                for emission, group in groups.items()
            },
            tensors=StoredTensors(
                path, contents, {e: group.name for e, group in groups.items()}
            ),
            format_version=int(version),
        )
        _check_consistent(weights)
        for emission, group in groups.items():
            listed = list_tensors(group)
            _check_sizes(weights, emission, listed)
            # The tensors of files with a checksum are checked when unpacked.
            if not weights.verified:
                check_listed(group, listed)
        return weights


def _write_metadata(
    hdf: h5py.File, weights: Weights, emissions: Sequence[str]
) -> None:
    """Write the contents of a weights file except the tensors."""
    header = weights.header
    units = header.units
    hdf.attrs["title"] = _TITLE
    emulator = hdf.create_group("emulator")
    emulator.attrs["format_version"] = FORMAT_VERSION
    grid = hdf.create_group(_GRID)
    write_header(grid, header)
    write_further(emulator, header.further)
    # Stored as datasets, because attributes may not exceed 64 kB.
    emulator["provenance"] = to_json(asdict(weights.provenance))
    emulator["domain"] = to_json([asdict(a) for a in weights.domain])
    for emission in emissions:
        group = grid.create_group(header.location_of(emission))
        group.attrs["Units"] = units.get(emission, "erg/s/Hz")
        if emission in header.ranks:
            group.attrs[RANK] = header.ranks[emission]


def _grid_group(hdf: h5py.File) -> h5py.Group:
    """Return the group with the layout of a grid."""
    version = hdf["emulator"].attrs.get("format_version", 0)
    return hdf[_GRID] if version >= _FIRST_GROUPED else hdf


def _read_metadata(hdf: h5py.File, path: Path, contents: bytes) -> Weights:
    """Read the contents of a weights file except the emissions.

    Raises:
        Exception: Of many classes, if the file is damaged.
    """
    provenance = typed(
        Provenance,
        parse_json(hdf["emulator/provenance"][()]),
        "its provenance",
    )
    name = architecture_name(provenance.architecture)
    if name not in ARCHITECTURES:
        raise ForeignFileError(
            f"'{path}' contains an emulator of the architecture '{name}', "
            "which is not registered here; the registered ones are "
            f"{', '.join(ARCHITECTURES)}. Add it to ARCHITECTURES before "
            "reading the file, or build the weights again."
        )
    provenance = replace(provenance, architecture=name)
    _check_provenance(provenance)
    domain = typed_value(
        tuple[AxisDomain, ...],
        parse_json(hdf["emulator/domain"][()]),
        "its domain",
    )
    header = replace(
        read_header(_grid_group(hdf), path),
        further=read_further(hdf["emulator"]),
    )
    _check_domain(domain, header)
    return Weights(header, domain, provenance, {}, {}, path, contents)


def _check_provenance(provenance: Provenance) -> None:
    """Raise unless the settings, errors and losses of a provenance are valid.

    Raises:
        Exception: Of the class that the settings raise, or `ValueError`.
    """
    # The constructors check the settings.
    get_architecture(provenance.architecture, provenance.architecture_config)
    TrainingConfig(**provenance.training_config)
    errors = typed_value(
        Mapping[str, ErrorSummary], provenance.errors, "its errors"
    )
    for name, summary in errors.items():
        if min(vars(summary).values()) < 0:
            raise ValueError(f"the errors of '{name}' are negative")
    histories = typed_value(
        Mapping[str, LossHistory], provenance.histories, "its histories"
    )
    for name, losses in histories.items():
        if len({len(column) for column in vars(losses).values()}) != 1:
            raise ValueError(
                f"the losses of '{name}' must be lists of the same length"
            )


def _check_read_back(weights: Weights, read: Weights) -> None:
    """Raise a GridError if weights differ after writing and reading."""
    for name in ("header", "domain", "provenance", "tensors"):
        written = _stored_content(getattr(weights, name))
        if not _are_equal(written, _stored_content(getattr(read, name))):
            raise GridError(
                f"The {name} of '{weights.provenance.grid_name}' can't be "
                "stored: it must be the same when read back, but differs. "
                "Please report this, with the grid."
            )


def _stored_content(attribute: Any) -> Any:
    """Return an attribute of weights without the units that are not stored."""
    if isinstance(attribute, GridHeader):
        # Only the units and ranks of the learned emissions are stored.
        lines = attribute.lines and replace(attribute.lines, units={})
        return replace(attribute, spectra_units={}, lines=lines, ranks={})
    if isinstance(attribute, Provenance):
        return to_json(asdict(attribute))
    return attribute


def _are_equal(written: Any, read: Any) -> bool:
    """Return whether two nested structures of arrays are equal."""
    if is_dataclass(written):
        return all(
            _are_equal(getattr(written, f.name), getattr(read, f.name))
            for f in fields(written)
        )
    if isinstance(written, Mapping):
        return written.keys() == read.keys() and all(
            _are_equal(written[key], read[key]) for key in written
        )
    if isinstance(written, tuple) and all(map(is_dataclass, written)):
        return len(written) == len(read) and all(
            map(_are_equal, written, read)
        )
    return _are_equal_arrays(np.asarray(written), np.asarray(read))


def _are_equal_arrays(written: NDArray, read: NDArray) -> bool:
    """Return whether arrays of numbers or strings are equal, NaN to NaN."""
    numbers = written.dtype.kind in "fc" and read.dtype.kind in "fc"
    return np.array_equal(written, read, equal_nan=numbers)


def _check_domain(domain: Sequence[AxisDomain], header: GridHeader) -> None:
    """Raise a ValueError unless a domain covers the axes."""
    if [a.name for a in domain] != [a.name for a in header.axes]:
        raise ValueError("its domain must have the axes of its header")
    for limits, axis in zip(domain, header.axes, strict=True):
        lowest = _SCALES.get(limits.scale)
        single = len(axis.values) == 1 and limits.low == limits.high
        ascending = limits.low < limits.high or single
        if lowest is None or not (lowest <= limits.low and ascending):
            raise ValueError(
                f"the domain of '{axis.name}' can't be from {limits.low:g} "
                f"to {limits.high:g} in the scale '{limits.scale}'"
            )
        # The domain of scattered samples is wider than the nodes.
        limits.require_inside(axis.values)


def _check_consistent(weights: Weights) -> None:
    """Raise a ValueError unless the emissions have the shape of the header."""
    header = weights.header
    if not weights.shapes:
        raise ValueError("it must have at least one emission")
    for emission, shape in weights.shapes.items():
        nodes = (header.shape[i] for i in header.varying_axes(emission))
        expected = (*nodes, header.size_of(emission))
        if (*shape.nodes, shape.size) != expected:
            raise ValueError(
                f"'{emission}' has shape {(*shape.nodes, shape.size)}, but "
                f"the axes and wavelengths have {expected}"
            )


def _check_sizes(
    weights: Weights, emission: str, listed: Mapping[str, str]
) -> None:
    """Raise a ValueError if the sizes in the settings are too large.

    The exact shapes are checked later, when a skeleton of these sizes is
    already in memory.
    """
    settings = weights.provenance.architecture_config.values()
    lengths = [len(s) for s in settings if isinstance(s, list)]
    layers = max([weights.architecture.ensemble, *lengths])
    shape = weights.shapes[emission]
    widest = max(shape.latents, shape.inner)
    if layers > len(listed) or widest > len(weights.contents) * 8:
        raise ValueError(
            f"'{emission}' has {len(listed)} tensors, too few for "
            f"{layers} layers or members of {widest} latents"
        )
