"""The named tensors of an emission in HDF5, packed as integers."""

import json
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

import h5py
import numpy as np
from flax import nnx
from numpy.typing import NDArray

from synthesizer_emulator.architectures.base import Architecture
from synthesizer_emulator.architectures.rounding import (
    Storage,
    common_units,
    int16_units,
)
from synthesizer_emulator.emulator.emission import EmissionEmulator
from synthesizer_emulator.emulator.tables import Derived
from synthesizer_emulator.files.hdf5 import open_contents, report_damage
from synthesizer_emulator.files.schema import parse_json, typed_value
from synthesizer_emulator.gridfile.reading import text

REMEDY = (
    "Copy the complete file again, or rebuild it with `synthesizer-emulator "
    "build`."
)

# The largest integer up to which all integers are exact in single precision.
_LARGEST_INTEGER = 2**24

# Attributes of `EmissionEmulator` that files store under another name.
_STORED_NAMES = {"has_emission": "alive"}


class StoredTensors(Mapping):
    """The tensors of all emissions of a weights file, by emission path.

    The bytes of the file are kept in memory, so the file may be moved. The
    tensors of an emission are unpacked on first use, because this takes most
    of the time of reading a file, and few scripts need all emissions.
    """

    def __init__(
        self, path: Path, contents: bytes, groups: Mapping[str, str]
    ) -> None:
        """Keep the contents of a file.

        Args:
            path (Path): The file, for messages.
            contents (bytes): Its contents.
            groups (Mapping): The group of each emission, by its path.
        """
        self._path, self._contents = path, contents
        self._groups = dict(groups)
        self._read: dict[str, dict[str, NDArray] | None] = dict.fromkeys(
            groups
        )

    def __getitem__(self, emission: str) -> dict[str, NDArray]:
        """Return the tensors of an emission by their names.

        Raises:
            GridError: If they are damaged.
        """
        tensors = self._read[emission]
        if tensors is None:
            with (
                report_damage(self._path, REMEDY),
                open_contents(self._contents, self._path, checked=True) as hdf,
            ):
                tensors = read_tensors(hdf[self._groups[emission]])
            self._read[emission] = tensors
        return tensors

    def __iter__(self) -> Iterator[str]:
        return iter(self._read)

    def __len__(self) -> int:
        return len(self._read)

    def __contains__(self, emission: object) -> bool:
        return emission in self._read


def tensors_of(emission: EmissionEmulator) -> dict[str, NDArray]:
    """Return the tensors of an emission by their names in a weights file."""
    _, _, *stored = nnx.split(emission, Derived, ...)
    return {
        tensor_name(key): np.asarray(variable[...])
        for key, variable in nnx.to_flat_state(stored[0])
    }


def tensor_name(key: tuple) -> str:
    """Return the stored name of a variable by its path in the emulator."""
    first, *rest = key
    return "/".join(map(str, (_STORED_NAMES.get(first, first), *rest)))


def write_tensors(
    group: h5py.Group,
    tensors: Mapping[str, NDArray],
    architecture: Architecture | None = None,
) -> None:
    """Write named tensors to an empty group, with a list of their shapes.

    The architecture determines which tensors are packed as integers; without
    one, none are packed.
    """
    group.attrs["tensors"] = json.dumps(
        {
            name: _signature(tensor.dtype, tensor.shape)
            for name, tensor in tensors.items()
        }
    )
    for name, tensor in tensors.items():
        storage = architecture.storage_of(name) if architecture else None
        packed, unit = _pack(tensor, storage)
        # The zeros of sparse emissions compress well.
        filters = (
            {"compression": "gzip", "shuffle": True} if packed.ndim else {}
        )
        dataset = group.create_dataset(name, data=packed, **filters)
        if unit is not None:
            dataset.attrs["unit"] = unit


def read_tensors(group: h5py.Group) -> dict[str, NDArray]:
    """Read the named tensors of a group and check them against their list.

    Raises:
        ValueError: If a tensor is missing, not finite, or of another shape or
            precision.
        Exception: Of many classes, if the file is damaged.
    """
    listed = list_tensors(group)
    check_listed(group, listed)
    tensors = {name: _unpack(group[name]) for name in listed}
    for name, tensor in tensors.items():
        where = f"'{group.name}/{name}'"
        unpacked = _signature(tensor.dtype, tensor.shape)
        if unpacked != listed[name]:
            raise ValueError(
                f"{where} must be {listed[name]} when unpacked, got {unpacked}"
            )
        if not np.isfinite(tensor).all():
            raise ValueError(f"{where} must be finite, got NaN or infinity")
    return tensors


def list_tensors(group: h5py.Group) -> dict[str, str]:
    """Return the listed precision and shape of each tensor of a group.

    For example `float32[64, 2048]`, by the names of the tensors.
    """
    return typed_value(
        Mapping[str, str],
        parse_json(text(group.attrs["tensors"])),
        f"the list of tensors of '{group.name}'",
    )


def check_listed(group: h5py.Group, listed: Mapping[str, str]) -> None:
    """Check the tensors of a group against their list, without unpacking.

    Raises:
        ValueError: If a tensor is missing, or of another shape or precision.
    """
    for name, expected in listed.items():
        stored = group.get(name)
        if not isinstance(stored, h5py.Dataset):
            raise ValueError(f"tensor '{group.name}/{name}' is missing")
        packed = "unit" in stored.attrs
        dtype = np.dtype(np.float32) if packed else stored.dtype
        signature = _signature(dtype, stored.shape)
        if signature != expected:
            raise ValueError(
                f"tensor '{group.name}/{name}' must be {expected}, got "
                f"{signature}"
            )


def _pack(
    tensor: NDArray, storage: Storage | None
) -> tuple[NDArray, NDArray | None]:
    """Convert a rounded tensor to integers and their units.

    Returns:
        tuple: The integers and the unit of each row or column; or the
            tensor itself and None, if the integers would not be exact.
    """
    if storage is None or tensor.dtype != np.float32 or not tensor.size:
        return tensor, None
    if storage is Storage.INT16_ROWS and tensor.ndim == 2:
        unit = int16_units(tensor)[:, 0]
    elif storage is Storage.INT32_COLUMNS and tensor.ndim > 2:
        unit = common_units(tensor)
    else:
        return tensor, None
    unit_of_each = _broadcast(unit, tensor)
    integers = np.round(tensor / unit_of_each)
    restored = (integers * unit_of_each).astype(np.float32)
    if (
        not np.array_equal(restored, tensor)
        or np.abs(integers).max() >= _LARGEST_INTEGER
    ):
        return tensor, None
    return integers.astype(storage.value), unit.astype(np.float32)


def _unpack(dataset: h5py.Dataset) -> NDArray:
    """Read a tensor that `_pack` converted."""
    stored = dataset[...]
    if "unit" not in dataset.attrs:
        return stored
    return stored.astype(np.float32) * _broadcast(
        dataset.attrs["unit"], stored
    )


def _broadcast(unit: NDArray, tensor: NDArray) -> NDArray:
    """Reshape units to those of a matrix's rows or of a table's columns."""
    return unit[:, None] if tensor.ndim == 2 else unit


def _signature(dtype: np.dtype, shape: Sequence[int]) -> str:
    """Return a precision and shape as text, e.g. `float32[64, 2048]`."""
    return f"{dtype}[{', '.join(str(n) for n in shape)}]"
