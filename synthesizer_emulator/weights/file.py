"""The weights file: one HDF5 file that reproduces a grid by itself.

The layout is that of a Synthesizer grid, with the same header, so that
Synthesizer's own readers of axes and metadata understand it; but each
emission (`spectra/incident`, `lines/luminosity`, ...) is a group of named
tensors instead of an array. Only this module reads and writes the file.
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
from synthesizer.exceptions import GridError

from synthesizer_emulator.architectures.base import EmissionShape
from synthesizer_emulator.architectures.registry import (
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
from synthesizer_emulator.files.schema import parse_json, typed, typed_value
from synthesizer_emulator.files.sealed import (
    is_sealed,
    read_sealed,
    write_sealed,
)
from synthesizer_emulator.gridfile.header import GridHeader
from synthesizer_emulator.gridfile.places import SUFFIX as SUFFIX
from synthesizer_emulator.gridfile.reading import read_header, text
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

# The groups of emissions, and their entries that are not emissions.
_GROUPS = {"spectra": ("wavelength",), "lines": ("id", "wavelength")}


class ForeignFileError(GridError):
    """An intact file of another kind, or of a newer format.

    Such a file must not be overwritten.
    """


def check_storable(
    header: GridHeader,
    domain: Sequence[AxisDomain],
    provenance: Provenance,
    emissions: Sequence[str],
    path: Path,
) -> None:
    """Check, before training, that everything else can be stored.

    Args:
        header (GridHeader): The header of the grid.
        domain (sequence of AxisDomain): The training domain.
        provenance (Provenance): The provenance before training.
        emissions (sequence of str): The paths of the emissions to learn.
        path (Path): The grid, for messages.

    Raises:
        GridError: If something differs after writing and reading.
    """
    weights = Weights(header, tuple(domain), provenance, {}, {})
    stream = BytesIO()
    try:
        with h5py.File(stream, "w") as hdf:
            _write_metadata(hdf, weights, emissions)
        with h5py.File(stream, "r") as hdf:
            _check_alike(weights, _read_metadata(hdf, path, b""))
    # HDF5 and unyt raise many kinds of exceptions.
    except Exception as error:
        raise GridError(
            f"What '{path.name}' holds besides its emissions can't be kept "
            f"with the weights: {str(error).strip()} Mend the grid before "
            "building an emulator."
        ) from error


def write_weights(path: Path, weights: Weights) -> None:
    """Write a weights file, whole or not at all.

    The new file is read back before it replaces an existing one.

    Args:
        path (Path): The target, ending in `.emulator.hdf5`.
        weights (Weights): The weights.

    Raises:
        GridError: If the weights differ after writing and reading.
        OSError: If the target can't be written.
    """

    def check(written: Path) -> None:
        _check_alike(weights, read_weights(written))

    with write_sealed(path, check) as hdf:
        _write_metadata(hdf, weights, tuple(weights.tensors))
        for emission, tensors in weights.tensors.items():
            group = hdf[emission]
            group.attrs["shape"] = json.dumps(asdict(weights.shapes[emission]))
            write_tensors(group, tensors, weights.architecture)


def read_weights(path: Path) -> Weights:
    """Read a weights file.

    Args:
        path (Path): The file, which is read once.

    Returns:
        Weights: The contents in memory; tensors are unpacked on first use.

    Raises:
        GridError: If the file is missing, damaged, not a weights file, or
            of a newer format.
    """
    contents = read_sealed(path)
    with open_contents(contents, path) as hdf, report_damage(path, REMEDY):
        if "emulator" not in hdf:
            raise ForeignFileError(
                f"'{path}' is not a weights file of synthesizer_emulator "
                "(it has no group 'emulator'). Make one from a grid with "
                "`synthesizer-emulator build`."
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
                f"'{path}' has no checksum, which files of its format begin "
                f"with: it was damaged or edited. {REMEDY}"
            )
        weights = _read_metadata(hdf, path, contents)
        emissions = [
            f"{group}/{name}"
            for group, others in _GROUPS.items()
            if group in hdf
            for name in hdf[group]
            if name not in others
        ]
        weights = replace(
            weights,
            shapes={
                e: EmissionShape.from_json(text(hdf[e].attrs["shape"]))
                for e in emissions
            },
            tensors=StoredTensors(path, contents, emissions),
            format_version=int(version),
        )
        _check_consistent(weights)
        for emission in emissions:
            listed = list_tensors(hdf[emission])
            _check_sizes(weights, emission, listed)
            # With a checksum the tensors are checked when they are unpacked.
            if not weights.verified:
                check_listed(hdf[emission], listed)
        return weights


def _write_metadata(
    hdf: h5py.File, weights: Weights, emissions: Sequence[str]
) -> None:
    """Write everything in a weights file except the tensors."""
    units = weights.header.units
    write_header(hdf, weights.header)
    emulator = hdf.create_group("emulator")
    emulator.attrs["format_version"] = FORMAT_VERSION
    # As datasets: attributes may not exceed 64 kB.
    emulator["provenance"] = to_json(asdict(weights.provenance))
    emulator["domain"] = to_json([asdict(a) for a in weights.domain])
    for emission in emissions:
        group = hdf.create_group(emission)
        group.attrs["Units"] = units.get(emission, "erg/s/Hz")


def _read_metadata(hdf: h5py.File, path: Path, contents: bytes) -> Weights:
    """Read everything in a weights file except the emissions.

    Raises:
        Exception: Of nearly any kind, if the file is damaged.
    """
    provenance = typed(
        Provenance,
        parse_json(hdf["emulator/provenance"][()]),
        "its provenance",
    )
    _check_provenance(provenance)
    domain = typed_value(
        tuple[AxisDomain, ...],
        parse_json(hdf["emulator/domain"][()]),
        "its domain",
    )
    header = read_header(hdf, path)
    _check_domain(domain, header)
    name = architecture_name(provenance.architecture)
    provenance = replace(provenance, architecture=name)
    return Weights(header, domain, provenance, {}, {}, path, contents)


def _check_provenance(provenance: Provenance) -> None:
    """Check the settings, errors and losses of a provenance.

    Raises:
        Exception: Names what is wrong.
    """
    # Their constructors refuse impossible settings.
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
            raise ValueError(f"the losses of '{name}' are not all there")


def _check_alike(weights: Weights, back: Weights) -> None:
    """Check that weights are the same after writing and reading.

    Raises:
        GridError: Names the part that differs.
    """
    for part in ("header", "domain", "provenance", "tensors"):
        written = _comparable(getattr(weights, part))
        if not _same(written, _comparable(getattr(back, part))):
            raise GridError(
                f"The {part} of '{weights.provenance.grid_name}' can't be "
                "stored: what is read back is not what was written. Please "
                "report this, with the grid."
            )


def _comparable(part: Any) -> Any:
    """Return the content of a part of weights that a file keeps."""
    if isinstance(part, GridHeader):
        # A file keeps the units of the learned emissions only.
        lines = part.lines and replace(part.lines, units={})
        return replace(part, spectra_units={}, lines=lines)
    if isinstance(part, Provenance):
        return to_json(asdict(part))
    return part


def _same(one: Any, other: Any) -> bool:
    """Return whether two nested structures hold the same numbers."""
    if is_dataclass(one):
        names = (f.name for f in fields(one))
        return all(_same(getattr(one, n), getattr(other, n)) for n in names)
    if isinstance(one, Mapping):
        return one.keys() == other.keys() and all(
            _same(one[key], other[key]) for key in one
        )
    if isinstance(one, tuple) and all(map(is_dataclass, one)):
        return len(one) == len(other) and all(map(_same, one, other))
    return np.array_equal(one, other)


def _check_domain(domain: Sequence[AxisDomain], header: GridHeader) -> None:
    """Check that a domain covers the axes.

    Raises:
        ValueError: Names the axis that is wrong.
    """
    if [a.name for a in domain] != [a.name for a in header.axes]:
        raise ValueError("its domain is not that of its axes")
    for limits, axis in zip(domain, header.axes, strict=True):
        least = _SCALES.get(limits.scale)
        if least is None or not least <= limits.low < limits.high:
            raise ValueError(
                f"the domain of '{axis.name}' can't be from {limits.low:g} "
                f"to {limits.high:g} in the scale '{limits.scale}'"
            )
        # The domain of scattered samples is wider than the nodes.
        limits.require_inside(axis.values)


def _check_consistent(weights: Weights) -> None:
    """Check that the shapes of the emissions fit the header.

    Raises:
        ValueError: Names the emission and both shapes.
    """
    header = weights.header
    if not weights.shapes:
        raise ValueError("it holds no emissions")
    for emission, shape in weights.shapes.items():
        expected = (*header.shape, header.size_of(emission))
        if (*shape.nodes, shape.size) != expected:
            raise ValueError(
                f"'{emission}' has shape {(*shape.nodes, shape.size)}, but "
                f"the axes and wavelengths have {expected}"
            )


def _check_sizes(
    weights: Weights, emission: str, listed: Mapping[str, str]
) -> None:
    """Check that the settings do not ask for more than the file can hold.

    The exact shapes are checked when the emulator is built, by which time
    its skeleton already takes memory.

    Raises:
        ValueError: Names the emission and the sizes.
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
