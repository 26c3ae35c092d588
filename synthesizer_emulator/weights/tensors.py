"""The named tensors of an emission in HDF5, and how they are packed."""

import json
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

import h5py
import numpy as np
from flax import nnx
from numpy.typing import NDArray

from synthesizer_emulator.architectures.rounding import (
    common_units,
    int16_units,
)
from synthesizer_emulator.emulator.emission import EmissionEmulator
from synthesizer_emulator.emulator.tables import Derived
from synthesizer_emulator.files.hdf5 import open_contents, report_damage
from synthesizer_emulator.files.schema import parse_json, typed_value
from synthesizer_emulator.gridfile.reading import text

# Integers up to here have no rounding in single precision.
_LARGEST_INTEGER = 2**24


_REMEDY = (
    "Get the whole file, or build it again with `synthesizer-emulator build`."
)


# Attributes of `EmissionEmulator` that files store under another name.
_STORED_NAMES = {"has_emission": "alive"}


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
