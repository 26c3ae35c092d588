"""The weights file: one HDF5 file that reproduces a grid by itself.

It is laid out as a Synthesizer grid, with the same header, so that
Synthesizer's own readers of axes and metadata understand it; but each
emission (`spectra/incident`, `lines/luminosity`, ...) is a group of named
tensors instead of an array. This module alone reads and writes it.
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
from synthesizer_emulator.weights.provenance import Provenance, _to_json
from synthesizer_emulator.weights.tensors import (
    _REMEDY,
    StoredTensors,
    _check_listed,
    _listed,
    write_tensors,
)
from synthesizer_emulator.weights.weights import (
    _FIRST_SEALED,
    FORMAT_VERSION,
    Weights,
)

# The scales of axes, and the least value that each takes.
_SCALES = {"linear": -np.inf, "power": 0.0, "log10": np.finfo(float).tiny}

# The groups of emissions, and what else is in them.
_GROUPS = {"spectra": ("wavelength",), "lines": ("id", "wavelength")}


class ForeignFileError(GridError):
    """What is raised for a whole file that holds something else.

    Of another kind, or of a newer format: nothing to be written over.
    """


def check_storable(
    header: GridHeader,
    domain: Sequence[AxisDomain],
    provenance: Provenance,
    emissions: Sequence[str],
    path: Path,
) -> None:
    """Refuse what can't be stored and read back, before it is needed.

    Args:
        header (GridHeader): The header of the grid.
        domain (sequence of AxisDomain): Where it is to be trained.
        provenance (Provenance): What is known already.
        emissions (sequence of str): The paths of what is to be learned.
        path (Path): The grid, for messages.

    Raises:
        GridError: Says what does not come back as it is.
    """
    weights = Weights(header, tuple(domain), provenance, {}, {})
    stream = BytesIO()
    try:
        with h5py.File(stream, "w") as hdf:
            _write_frame(hdf, weights, emissions)
        with h5py.File(stream, "r") as hdf:
            _check_alike(weights, _read_frame(hdf, path, b""))
    # HDF5 and unyt raise nearly everything there is.
    except Exception as error:
        raise GridError(
            f"What '{path.name}' holds besides its emissions can't be kept "
            f"with the weights: {str(error).strip()} Mend the grid before "
            "building an emulator."
        ) from error


def write_weights(path: Path, weights: Weights) -> None:
    """Write a weights file, whole or not at all.

    It is read back before it takes the place of what was there.

    Args:
        path (Path): The target, ending in `.emulator.hdf5`.
        weights (Weights): What to write.

    Raises:
        GridError: If what was written is not what is read back.
        OSError: If the target can't be written.
    """

    def check(written: Path) -> None:
        _check_alike(weights, read_weights(written))

    with write_sealed(path, check) as hdf:
        _write_frame(hdf, weights, tuple(weights.tensors))
        for emission, tensors in weights.tensors.items():
            group = hdf[emission]
            group.attrs["shape"] = json.dumps(asdict(weights.shapes[emission]))
            write_tensors(group, tensors)


def read_weights(path: Path) -> Weights:
    """Read a weights file.

    Args:
        path (Path): The file, which is read once.

    Returns:
        Weights: Everything in it, in memory; the tensors packed, as they
            are in the file, until they are asked for.

    Raises:
        GridError: If the file is missing, damaged, not a weights file, or
            of a newer format.
    """
    contents = read_sealed(path)
    with open_contents(contents, path) as hdf, report_damage(path, _REMEDY):
        if "emulator" not in hdf:
            raise ForeignFileError(
                f"'{path}' is not a weights file of synthesizer_emulator "
                "(it has no group 'emulator'). Make one from a grid with "
                "`synthesizer-emulator build`."
            )
        found = hdf["emulator"].attrs.get("format_version", 0)
        if found not in range(FORMAT_VERSION + 1):
            raise ForeignFileError(
                f"'{path}' has weights format {found}; this version of "
                f"synthesizer_emulator reads up to {FORMAT_VERSION}. "
                "Upgrade it with `pip install -U synthesizer-emulator`."
            )
        if found >= _FIRST_SEALED and not is_sealed(contents):
            raise GridError(
                f"'{path}' has no checksum, which files of its format begin "
                f"with: it was damaged or edited. {_REMEDY}"
            )
        weights = _read_frame(hdf, path, contents)
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
            format_version=int(found),
        )
        _check_consistent(weights)
        for emission in emissions:
            listed = _listed(hdf[emission])
            _check_sizes(weights, emission, listed)
            # What a checksum vouches for is looked at when it is unpacked.
            if not weights.verified:
                _check_listed(hdf[emission], listed)
        return weights


def _write_frame(
    hdf: h5py.File, weights: Weights, emissions: Sequence[str]
) -> None:
    """Write all of a weights file but the emissions' tensors."""
    units = weights.header.units
    write_header(hdf, weights.header)
    card = hdf.create_group("emulator")
    card.attrs["format_version"] = FORMAT_VERSION
    # As datasets: attributes may not exceed 64 kB.
    card["provenance"] = _to_json(asdict(weights.provenance))
    card["domain"] = _to_json([asdict(a) for a in weights.domain])
    for emission in emissions:
        group = hdf.create_group(emission)
        group.attrs["Units"] = units.get(emission, "erg/s/Hz")


def _read_frame(hdf: h5py.File, path: Path, contents: bytes) -> Weights:
    """Read all of a weights file but the emissions.

    Raises:
        Exception: Of nearly any kind, if the file is damaged.
    """
    card = typed(
        Provenance,
        parse_json(hdf["emulator/provenance"][()]),
        "its provenance",
    )
    card = replace(card, architecture=architecture_name(card.architecture))
    # Built from them, so that settings that can't be are refused.
    get_architecture(card.architecture, card.architecture_config)
    TrainingConfig(**card.training_config)
    errors = typed_value(Mapping[str, ErrorSummary], card.errors, "its errors")
    for name, summary in errors.items():
        if min(vars(summary).values()) < 0:
            raise ValueError(f"the errors of '{name}' are negative")
    histories = typed_value(
        Mapping[str, LossHistory], card.histories, "its histories"
    )
    for name, losses in histories.items():
        if len({len(each) for each in vars(losses).values()}) != 1:
            raise ValueError(f"the losses of '{name}' are not all there")
    domain = typed_value(
        tuple[AxisDomain, ...],
        parse_json(hdf["emulator/domain"][()]),
        "its domain",
    )
    header = read_header(hdf, path)
    _check_domain(domain, header)
    return Weights(header, domain, card, {}, {}, path, contents)


def _check_alike(weights: Weights, back: Weights) -> None:
    """Refuse weights that were not read back as they were written.

    Raises:
        GridError: Says in which part they differ.
    """
    for part in ("header", "domain", "provenance", "tensors"):
        one, other = (
            _comparable(getattr(each, part)) for each in (weights, back)
        )
        if not _same(one, other):
            raise GridError(
                f"The {part} of '{weights.provenance.grid_name}' can't be "
                "stored: what is read back is not what was written. Please "
                "report this, with the grid."
            )


def _comparable(part: Any) -> Any:
    """Return a part of weights as it is after writing and reading."""
    if isinstance(part, GridHeader):
        # Units belong to what the grid stores, which is not all learned.
        lines = part.lines and replace(part.lines, units={})
        return replace(part, spectra_units={}, lines=lines)
    if isinstance(part, Provenance):
        return _to_json(asdict(part))
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
    """Refuse a domain that is not that of the axes.

    Raises:
        ValueError: Says which axis is wrong.
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
        # It is wider than the nodes where scattered samples were.
        limits.require_inside(axis.values)


def _check_consistent(weights: Weights) -> None:
    """Refuse weights whose parts do not belong together.

    Raises:
        ValueError: Says what does not fit what.
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
    """Refuse layers that the tensors of an emission could not fill.

    What they must be exactly is known when the emulator is first used; but
    by then it is made, and must not be endless.

    Raises:
        ValueError: Says what is too many.
    """
    settings = weights.provenance.architecture_config.values()
    lists = [len(s) for s in settings if isinstance(s, list)]
    layers = max([weights._architecture.ensemble, *lists])
    shape = weights.shapes[emission]
    widest = max(shape.latents, shape.inner)
    held = len(weights.contents) * 8
    if layers > len(listed) or widest > held:
        raise ValueError(
            f"'{emission}' has {len(listed)} tensors, too few for "
            f"{layers} layers or members of {widest} latents"
        )
