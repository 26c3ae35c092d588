"""The weights file: one HDF5 file that reproduces a grid by itself.

It is laid out as a Synthesizer grid, with the same header, so that
Synthesizer's own readers of axes and metadata understand it; but each
emission (`spectra/incident`, `lines/luminosity`, ...) is a group of named
tensors instead of an array. This module alone reads and writes it.
"""

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import (
    asdict,
    dataclass,
    field,
    fields,
    is_dataclass,
    replace,
)
from functools import cached_property
from io import BytesIO
from pathlib import Path
from typing import Any, Self

import h5py
import jax.numpy as jnp
import numpy as np
from flax import nnx
from numpy.typing import NDArray
from synthesizer.exceptions import GridError, InconsistentArguments

from synthesizer_emulator.architectures.base import Architecture, EmissionShape
from synthesizer_emulator.architectures.basis import common_units, int16_units
from synthesizer_emulator.architectures.node_table import NodeTable
from synthesizer_emulator.architectures.registry import (
    architecture_name,
    get_architecture,
)
from synthesizer_emulator.architectures.training import (
    LossHistory,
    TrainingConfig,
)
from synthesizer_emulator.emulator.emulator import (
    EmissionEmulator,
    Emulator,
    Meaning,
    with_derived,
)
from synthesizer_emulator.emulator.metrics import ErrorSummary
from synthesizer_emulator.emulator.scaling import AxisDomain, Coordinates
from synthesizer_emulator.emulator.tables import Derived, SmoothTable
from synthesizer_emulator.files.hdf5 import open_contents, report_damage
from synthesizer_emulator.files.schema import parse_json, typed, typed_value
from synthesizer_emulator.files.sealed import (
    is_sealed,
    read_sealed,
    write_sealed,
)
from synthesizer_emulator.forking import check_not_forked
from synthesizer_emulator.gridfile.header import GridHeader
from synthesizer_emulator.gridfile.places import SUFFIX as SUFFIX
from synthesizer_emulator.gridfile.reading import read_header, text
from synthesizer_emulator.gridfile.writing import write_header

# Version 3 has a checksum, 2 has tables in integers, 1 has neither.
FORMAT_VERSION = 3
_FIRST_SEALED = 3

# Integers up to here have no rounding in single precision.
_LARGEST_INTEGER = 2**24

_REMEDY = (
    "Get the whole file, or build it again with `synthesizer-emulator build`."
)

# Attributes of `EmissionEmulator` that files store under another name.
_STORED_NAMES = {"has_emission": "alive"}

# The scales of axes, and the least value that each takes.
_SCALES = {"linear": -np.inf, "power": 0.0, "log10": np.finfo(float).tiny}

# The groups of emissions, and what else is in them.
_GROUPS = {"spectra": ("wavelength",), "lines": ("id", "wavelength")}


class ForeignFileError(GridError):
    """What is raised for a whole file that holds something else.

    Of another kind, or of a newer format: nothing to be written over.
    """


@dataclass(frozen=True)
class Provenance:
    """Where an emulator comes from and how good it is.

    Attributes:
        grid_name (str): The name of the grid it was built from.
        source_hash (str): The SHA-256 of that file.
        architecture (str): The name of the architecture.
        architecture_config (Mapping): Its settings.
        training_config (Mapping): How it was trained.
        errors (Mapping): For each emission of the grid the quantiles of
            the fractional error at the nodes; of scattered samples, at
            those that were kept out of training.
        seconds (float): How long the build took, or its part after the last
            interruption.
        versions (Mapping): The package versions that made it.
        trained_on (str): What samples it learned from.
        author (str): Who made it.
        notes (str): What they wrote down with it.
        histories (Mapping): The losses of each training: by emission, or
            by emission and name, as in `spectra/incident: member 2`.
    """

    grid_name: str
    source_hash: str
    architecture: str
    architecture_config: Mapping[str, Any] = field(repr=False)
    training_config: Mapping[str, Any] = field(repr=False)
    errors: Mapping[str, Mapping[str, float]] = field(
        default_factory=dict, repr=False
    )
    seconds: float = 0.0
    versions: Mapping[str, str] = field(default_factory=dict, repr=False)
    trained_on: str = ""
    author: str = ""
    notes: str = ""
    histories: Mapping[str, Mapping[str, list]] = field(
        default_factory=dict, repr=False
    )


@dataclass(frozen=True, repr=False)
class Weights:
    """What a weights file holds, in memory.

    Attributes:
        header (GridHeader): The header of the emulated grid.
        domain (tuple of AxisDomain): Where it was trained.
        provenance (Provenance): Where it comes from.
        shapes (Mapping): The shape of each emission, by its path.
        tensors (Mapping): The tensors of each emission, by its path and
            then by theirs.
        path (Path): The file they came from, if any.
        contents (bytes): What that file held when it was read.
        format_version (int): Its format; from 3 on there is a checksum,
            which was verified.
    """

    header: GridHeader
    domain: tuple[AxisDomain, ...]
    provenance: Provenance
    shapes: Mapping[str, EmissionShape]
    tensors: Mapping[str, Mapping[str, NDArray]]
    path: Path | None = None
    contents: bytes = b""
    format_version: int = FORMAT_VERSION

    @property
    def verified(self) -> bool:
        """Whether a checksum says that these are what was written."""
        return self.format_version >= _FIRST_SEALED

    @property
    def available_spectra(self) -> tuple[str, ...]:
        """The names of the spectra, the derived ones included, sorted."""
        trained = [
            path.removeprefix("spectra/")
            for path in self.shapes
            if path.startswith("spectra/")
        ]
        return tuple(sorted(with_derived(trained)))

    @property
    def has_node_tables(self) -> bool:
        """Whether `node_table` finds emissions at their own nodes."""
        return NodeTable.knows(self._architecture)

    @cached_property
    def emulator(self) -> Emulator:
        """The emulator, rebuilt from its skeleton and the tensors.

        Raises:
            GridError: If a tensor has another shape or precision than the
                architecture wants; names it and both.
        """

        def group(name: str) -> dict[str, EmissionEmulator]:
            prefix = f"{name}/"
            return {
                path.removeprefix(prefix): self.emission(path)
                for path in self.shapes
                if path.startswith(prefix)
            }

        return Emulator(
            self.coordinates,
            group("spectra"),
            group("lines"),
            Meaning.from_header(self.header, tuple(self.shapes)),
        )

    @cached_property
    def coordinates(self) -> Coordinates:
        """The scaling of the axes."""
        return Coordinates(self.domain)

    def emission(self, path: str) -> EmissionEmulator:
        """Return one emission of the emulator, rebuilt alone.

        Args:
            path (str): The emission, e.g. `spectra/incident`.

        Raises:
            GridError: As for `emulator`.
            UnimplementedFunctionality: In a process in which JAX would hang.
        """
        check_not_forked()
        if path not in self._rebuilt:
            file = self.path or Path(self.provenance.grid_name)
            with report_damage(file, _REMEDY):
                self._rebuilt[path] = self._emission(path, self.shapes[path])
        return self._rebuilt[path]

    @cached_property
    def _rebuilt(self) -> dict[str, EmissionEmulator]:
        """The emissions that someone asked for."""
        return {}

    def node_table(
        self,
        path: str,
        columns: NDArray[np.intp],
        between: tuple[int, float] | None = None,
    ) -> NodeTable | None:
        """Return an emission at its own nodes, if that needs no compiler.

        Args:
            path (str): The emission, e.g. `spectra/incident`.
            columns (np.ndarray of int): The wavelengths or lines wanted.
            between (tuple): An axis, and the value on it that takes the
                place of its nodes.
        """
        if between is not None:
            axis, value = between
            scale = Coordinates(self.domain[axis : axis + 1])
            between = axis, float(scale.of_points(np.array([[value]])).item())
        return NodeTable.from_tensors(
            self._architecture, self.tensors[path], columns, between
        )

    @property
    def _architecture(self) -> Architecture:
        """How it is emulated."""
        return get_architecture(
            self.provenance.architecture,
            self.provenance.architecture_config,
        )

    def __deepcopy__(self, memo: dict) -> Self:
        """Return itself: nothing in it ever changes."""
        return self

    def __repr__(self) -> str:
        """Return what it is, without the numbers."""
        card = self.provenance
        return f"Weights({card.grid_name}, {card.architecture})"

    def _emission(self, path: str, shape: EmissionShape) -> EmissionEmulator:
        """Fill the skeleton of one emission."""
        architecture = self._architecture
        skeleton = nnx.eval_shape(lambda: architecture.skeleton(shape))
        graph, derived, *stored = nnx.split(skeleton, Derived, ...)
        flat = dict(nnx.to_flat_state(stored[0]))
        tensors = self.tensors[path]
        expected = {_tensor_name(key): key for key in flat}
        _check_same(set(expected), set(tensors), path)
        for name, key in expected.items():
            want, got = flat[key].get_value(), tensors[name]
            if want.shape != got.shape or want.dtype != got.dtype:
                raise ValueError(
                    f"tensor '{path}/{name}' is {got.dtype}{got.shape}, but "
                    f"the architecture '{self.provenance.architecture}' "
                    f"wants {want.dtype}{want.shape}"
                )
            flat[key] = flat[key].replace(jnp.asarray(got))
        state = nnx.from_flat_state(flat.items())
        emission = nnx.merge(graph, derived, state)
        for _, module in nnx.iter_modules(emission):
            if isinstance(module, SmoothTable):
                module.derive()
        return emission


class StoredTensors(Mapping):
    """The tensors of each emission of a weights file, by its path.

    The file's bytes are kept, so that it may be gone, and an emission's
    tensors are unpacked when they are first asked for: that takes most of
    the time of reading a file, and few scripts need every emission.
    """

    def __init__(
        self, path: Path, contents: bytes, emissions: Sequence[str]
    ) -> None:
        self._path, self._contents = path, contents
        self._read: dict[str, dict[str, NDArray] | None] = dict.fromkeys(
            emissions
        )

    def __getitem__(self, emission: str) -> dict[str, NDArray]:
        """Return the tensors of an emission by their names.

        Raises:
            GridError: If they are damaged.
        """
        tensors = self._read[emission]
        if tensors is None:
            with (
                report_damage(self._path, _REMEDY),
                open_contents(self._contents, self._path, again=True) as hdf,
            ):
                tensors = read_tensors(hdf[emission])
            self._read[emission] = tensors
        return tensors

    def __iter__(self) -> Iterator[str]:
        return iter(self._read)

    def __len__(self) -> int:
        return len(self._read)

    def __contains__(self, emission: object) -> bool:
        return emission in self._read


def tensors_of(emission: EmissionEmulator) -> dict[str, NDArray]:
    """Return the tensors of an emission by their names."""
    _, _, *stored = nnx.split(emission, Derived, ...)
    return {
        _tensor_name(key): np.asarray(variable[...])
        for key, variable in nnx.to_flat_state(stored[0])
    }


def as_stored(provenance: Provenance) -> Provenance:
    """Return a provenance as it will be read back.

    Args:
        provenance (Provenance): What is to be kept.

    Raises:
        InconsistentArguments: If something in it can't be; says what.
    """
    try:
        said = parse_json(_to_json(asdict(provenance)))
        return typed(Provenance, said, "the provenance")
    except (TypeError, ValueError) as error:
        raise InconsistentArguments(
            f"That can't be kept with the weights: {error}."
        ) from error


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


def _to_json(said: Any) -> str:
    """Return JSON, with NumPy's numbers as Python's."""
    return json.dumps(said, allow_nan=False, default=np.generic.item)


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
        limits.inside(axis.values)


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


def write_tensors(group: h5py.Group, tensors: Mapping[str, NDArray]) -> None:
    """Write tensors below a group, with a list of what they are.

    Args:
        group (h5py.Group): An empty group, open for writing.
        tensors (Mapping): The tensors by their paths.
    """
    group.attrs["tensors"] = json.dumps(
        {
            name: _signature(tensor.dtype, tensor.shape)
            for name, tensor in tensors.items()
        }
    )
    for name, tensor in tensors.items():
        packed, unit = _pack(tensor)
        # Compression takes out the zeros of sparse emissions.
        storage = (
            {"compression": "gzip", "shuffle": True} if packed.ndim else {}
        )
        dataset = group.create_dataset(name, data=packed, **storage)
        if unit is not None:
            dataset.attrs["unit"] = unit


def read_tensors(group: h5py.Group) -> dict[str, NDArray]:
    """Read the tensors below a group and check them against their list.

    Args:
        group (h5py.Group): What `write_tensors` filled.

    Returns:
        dict: The tensors by their paths.

    Raises:
        ValueError: If one is missing or of another shape or precision, or
            not finite.
        Exception: Of nearly any kind, if the file is damaged.
    """
    listed = _listed(group)
    _check_listed(group, listed)
    tensors = {name: _unpack(group[name]) for name in listed}
    for name, tensor in tensors.items():
        where = f"'{group.name}/{name}'"
        found = _signature(tensor.dtype, tensor.shape)
        if found != listed[name]:
            raise ValueError(f"{where} is {found} when unpacked")
        if not np.isfinite(tensor).all():
            raise ValueError(f"{where} is not finite")
    return tensors


def _listed(group: h5py.Group) -> dict[str, str]:
    """Return what the tensors below a group are, as their list has it."""
    return typed_value(
        Mapping[str, str],
        parse_json(text(group.attrs["tensors"])),
        f"the list of tensors of '{group.name}'",
    )


def _check_listed(group: h5py.Group, listed: Mapping[str, str]) -> None:
    """Refuse tensors that are not as their list has it, still packed.

    Raises:
        ValueError: If one is missing or of another shape or precision.
    """
    for name, expected in listed.items():
        stored = group.get(name)
        if not isinstance(stored, h5py.Dataset):
            raise ValueError(f"tensor '{group.name}/{name}' is missing")
        packed = "unit" in stored.attrs
        dtype = np.dtype(np.float32) if packed else stored.dtype
        found = _signature(dtype, stored.shape)
        if found != expected:
            raise ValueError(
                f"tensor '{group.name}/{name}' is {found}, expected {expected}"
            )


def _pack(tensor: NDArray) -> tuple[NDArray, NDArray | None]:
    """Return a tensor as it is stored, and the units it counts in if packed.

    A matrix that is nothing but 16-bit integers times a power of two in
    each row (see `round_to_int16`), and a table that is nothing but small
    integers times one in each column (see `round_table`), are stored as
    these integers.
    """
    if tensor.ndim < 2 or tensor.dtype != np.float32 or not tensor.size:
        return tensor, None
    if tensor.ndim == 2:
        unit, bits = int16_units(tensor)[:, 0], 16
    else:
        unit, bits = common_units(tensor), 32
    integers = np.round(tensor / _spread(unit, tensor))
    exact = np.array_equal(
        (integers * _spread(unit, tensor)).astype(np.float32), tensor
    )
    if not exact or np.abs(integers).max() >= _LARGEST_INTEGER:
        return tensor, None
    return integers.astype(f"int{bits}"), unit.astype(np.float32)


def _unpack(dataset: h5py.Dataset) -> NDArray:
    """Return the tensor that `_pack` stored."""
    stored = dataset[...]
    if "unit" not in dataset.attrs:
        return stored
    unit = dataset.attrs["unit"]
    return stored.astype(np.float32) * _spread(unit, stored)


def _spread(unit: NDArray, tensor: NDArray) -> NDArray:
    """Return units so that they multiply a matrix's rows, or columns."""
    return unit[:, None] if tensor.ndim == 2 else unit


def _signature(dtype: np.dtype, shape: Sequence[int]) -> str:
    """Return the precision and shape of a tensor as text."""
    return f"{dtype}[{', '.join(str(n) for n in shape)}]"


def _tensor_name(key: tuple) -> str:
    """Return the name under which a variable of a module is stored."""
    first, *rest = key
    return "/".join(map(str, (_STORED_NAMES.get(first, first), *rest)))


def _check_same(expected: set[str], found: set[str], path: str) -> None:
    """Refuse tensors that are missing or too many."""
    if expected != found:
        missing = ", ".join(sorted(expected - found)) or "none"
        extra = ", ".join(sorted(found - expected)) or "none"
        raise ValueError(
            f"the tensors of '{path}' do not fit its architecture (missing: "
            f"{missing}; unexpected: {extra})"
        )
