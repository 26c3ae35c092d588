"""The weights file: one HDF5 file that reproduces a grid by itself.

It is laid out as a Synthesizer grid, with the same header, so that
Synthesizer's own readers of axes and metadata understand it; but each
emission (`spectra/incident`, `lines/luminosity`, ...) is a group of named
tensors instead of an array. This module alone reads and writes it.
"""

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from functools import cached_property
from importlib.metadata import PackageNotFoundError, version
from io import BytesIO
from pathlib import Path
from typing import Any, Self

import h5py
import jax.numpy as jnp
import numpy as np
from flax import nnx
from numpy.typing import NDArray
from synthesizer.exceptions import GridError

from synthesizer_emulator.architectures import (
    Architecture,
    EmissionShape,
    get_architecture,
)
from synthesizer_emulator.basis import common_units, int16_units
from synthesizer_emulator.emulator import (
    EmissionEmulator,
    Emulator,
    Meaning,
    with_derived,
)
from synthesizer_emulator.files import (
    open_hdf5,
    write_sealed,
)
from synthesizer_emulator.forking import check_not_forked
from synthesizer_emulator.gridfile import (
    GridHeader,
    read_header,
    write_header,
)
from synthesizer_emulator.interpolation import Derived, SmoothTable
from synthesizer_emulator.places import SUFFIX as SUFFIX
from synthesizer_emulator.scaling import AxisDomain, Coordinates
from synthesizer_emulator.tabulation import NodeTable

FORMAT_VERSION = 2

# Integers up to here have no rounding in single precision.
_LARGEST_INTEGER = 2**24

# What reading a damaged file raises.
_DAMAGES = (KeyError, OSError, TypeError, ValueError)

_PACKAGES = ("synthesizer-emulator", "cosmos-synthesizer", "jax", "flax")


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
    """

    header: GridHeader
    domain: tuple[AxisDomain, ...]
    provenance: Provenance
    shapes: Mapping[str, EmissionShape]
    tensors: Mapping[str, Mapping[str, NDArray]]
    path: Path | None = None

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
            Meaning.of_header(self.header, tuple(self.shapes)),
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
        return NodeTable.of_tensors(
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
                raise GridError(
                    f"Tensor '{path}/{name}' is {got.dtype}{got.shape}, but "
                    f"the architecture '{self.provenance.architecture}' "
                    f"wants {want.dtype}{want.shape}: the file is damaged. "
                    "Build it again with `synthesizer-emulator build`."
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
            try:
                with h5py.File(BytesIO(self._contents), "r") as hdf:
                    tensors = read_tensors(hdf[emission])
            except _DAMAGES as error:
                raise _damaged(self._path, error) from error
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


def current_versions() -> dict[str, str]:
    """Return the versions of the packages that matter for weights."""
    versions = {}
    for package in _PACKAGES:
        try:
            versions[package] = version(package)
        except PackageNotFoundError:
            versions[package] = "unknown"
    return versions


def write_weights(path: Path, weights: Weights) -> None:
    """Write a weights file, whole or not at all.

    Args:
        path (Path): The target, ending in `.emulator.hdf5`.
        weights (Weights): What to write.

    Raises:
        OSError: If the target can't be written.
    """
    units = weights.header.units
    with write_sealed(path) as hdf:
        write_header(hdf, weights.header)
        card = hdf.create_group("emulator")
        card.attrs["format_version"] = FORMAT_VERSION
        # As datasets: attributes may not exceed 64 kB.
        card["provenance"] = json.dumps(asdict(weights.provenance))
        card["domain"] = json.dumps([asdict(a) for a in weights.domain])
        for emission, tensors in weights.tensors.items():
            group = hdf.create_group(emission)
            group.attrs["Units"] = units.get(emission, "erg/s/Hz")
            group.attrs["shape"] = json.dumps(asdict(weights.shapes[emission]))
            write_tensors(group, tensors)


def read_weights(path: Path) -> Weights:
    """Read a weights file.

    Args:
        path (Path): The file.

    Returns:
        Weights: Everything in it, in memory; the tensors packed, as they
            are in the file, until they are asked for.

    Raises:
        GridError: If the file is missing, truncated, not a weights file,
            or of a newer format.
    """
    with open_hdf5(path) as hdf:
        contents = path.read_bytes()
        if "emulator" not in hdf:
            raise GridError(
                f"'{path}' is not a weights file of synthesizer_emulator "
                "(it has no group 'emulator'). Make one from a grid with "
                "`synthesizer-emulator build`."
            )
        found = hdf["emulator"].attrs.get("format_version", 0)
        if found not in range(FORMAT_VERSION + 1):
            raise GridError(
                f"'{path}' has weights format {found}; this version of "
                f"synthesizer_emulator reads up to {FORMAT_VERSION}. "
                "Upgrade it with `pip install -U synthesizer-emulator`."
            )
        try:
            card = json.loads(hdf["emulator/provenance"][()])
            domain = json.loads(hdf["emulator/domain"][()])
            emissions = [
                f"{group}/{name}"
                for group in ("spectra", "lines")
                if group in hdf
                for name in hdf[group]
                if isinstance(hdf[group][name], h5py.Group)
            ]
            weights = Weights(
                header=read_header(hdf),
                domain=tuple(AxisDomain(**axis) for axis in domain),
                provenance=Provenance(**card),
                shapes={
                    e: EmissionShape.of_json(hdf[e].attrs["shape"])
                    for e in emissions
                },
                tensors=StoredTensors(path, contents, emissions),
                path=path,
            )
            for emission in emissions:
                _signatures(hdf[emission])
            _check_consistent(weights)
            return weights
        except _DAMAGES as error:
            raise _damaged(path, error) from error


def _damaged(path: Path, error: Exception) -> GridError:
    """Return the error that says what is wrong with a weights file."""
    return GridError(
        f"'{path}' is damaged: {error}. Build it again with "
        "`synthesizer-emulator build`."
    )


def _check_consistent(weights: Weights) -> None:
    """Refuse weights whose parts do not belong together.

    Raises:
        ValueError: Says what does not fit what.
    """
    header = weights.header
    if [a.name for a in weights.domain] != [a.name for a in header.axes]:
        raise ValueError("its domain is not that of its axes")
    if not weights.shapes:
        raise ValueError("it holds no emissions")
    for emission, shape in weights.shapes.items():
        expected = (*header.shape, header.size_of(emission))
        if (*shape.nodes, shape.size) != expected:
            raise ValueError(
                f"'{emission}' has shape {(*shape.nodes, shape.size)}, but "
                f"the axes and wavelengths have {expected}"
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
    """
    tensors = {name: _unpack(group[name]) for name in _signatures(group)}
    for name, tensor in tensors.items():
        if not np.isfinite(tensor).all():
            raise ValueError(f"'{group.name}/{name}' is not finite")
    return tensors


def _signatures(group: h5py.Group) -> dict[str, str]:
    """Return what the tensors below a group are, as their list has it.

    Raises:
        ValueError: If one is missing or of another shape or precision.
    """
    signatures = json.loads(group.attrs["tensors"])
    for name, expected in signatures.items():
        stored = group.get(name)
        if stored is None:
            raise ValueError(f"tensor '{group.name}/{name}' is missing")
        packed = "unit" in stored.attrs
        dtype = np.dtype(np.float32) if packed else stored.dtype
        found = _signature(dtype, stored.shape)
        if found != expected:
            raise ValueError(
                f"tensor '{group.name}/{name}' is {found}, expected {expected}"
            )
    return signatures


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
    return "/".join(str(part) for part in key)


def _check_same(expected: set[str], found: set[str], path: str) -> None:
    """Refuse tensors that are missing or too many."""
    if expected != found:
        missing = ", ".join(sorted(expected - found)) or "none"
        extra = ", ".join(sorted(found - expected)) or "none"
        raise GridError(
            f"The tensors of '{path}' do not fit its architecture (missing: "
            f"{missing}; unexpected: {extra}). Build it again with "
            "`synthesizer-emulator build`."
        )
