"""The contents of a grid file that Synthesizer's `Grid` does not load.

Grids contain more than axes and emissions: fractions of mass in remnants, the
nodes at which Cloudy failed, nested parameters such as
`CloudyParams/abundance_scalings`, and descriptions of each array. They are
copied into the weights, so that nothing of a grid is lost.
"""

from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from typing import Any

import h5py
from numpy.typing import NDArray

# The groups in which weights store the contents.
_ATTRIBUTES, _DATASETS = "attributes", "datasets"

# Groups whose own attributes are fields of `GridHeader`; so are those of the
# file.
_READ_GROUPS = ("Model", "CloudyParams")

# Attributes of arrays that are fields of `GridHeader`.
_READ_ATTRIBUTES = ("Units",)
_AXIS_ATTRIBUTES = ("Units", "log_on_read")

# Attributes by which HDF5 links the axes of arrays within one file.
_LINKS = ("CLASS", "NAME", "DIMENSION_LIST", "REFERENCE_LIST")


@dataclass(frozen=True)
class FurtherContents:
    """Attributes and arrays of a grid file, by their paths.

    Attributes:
        attributes (Mapping): The attributes of groups and arrays, e.g.
            `{"CloudyParams/abundance_scalings": {"nitrogen_to_oxygen": -1}}`.
        datasets (Mapping): Numbers and strings, e.g. `failures`.
    """

    attributes: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    datasets: Mapping[str, NDArray] = field(default_factory=dict)


def gather_further(hdf: h5py.File, loaded: Collection[str]) -> FurtherContents:
    """Read all of a grid file except the arrays that are loaded elsewhere.

    Args:
        hdf (h5py.File): The open grid.
        loaded (collection of str): The paths of these arrays, of which only
            the further attributes are read.
    """
    attributes: dict[str, Mapping[str, Any]] = {}
    datasets: dict[str, NDArray] = {}

    def visit(path: str, entry: h5py.Group | h5py.Dataset) -> None:
        known: Collection[str] = ()
        if path in _READ_GROUPS:
            known = entry.attrs.keys()
        elif path in loaded:
            axis = path.startswith("axes/")
            known = _AXIS_ATTRIBUTES if axis else _READ_ATTRIBUTES
        found = {
            key: entry.attrs[key]
            for key in entry.attrs
            if key not in known and key not in _LINKS
        }
        if found:
            attributes[path] = found
        if isinstance(entry, h5py.Dataset) and path not in loaded:
            datasets[path] = entry[()]

    hdf.visititems(visit)
    return FurtherContents(attributes, datasets)


def write_further(group: h5py.Group, further: FurtherContents) -> None:
    """Write the contents to a group of a weights file."""
    for path, attributes in further.attributes.items():
        target = group.require_group(f"{_ATTRIBUTES}/{path}")
        for key, value in attributes.items():
            target.attrs[key] = value
    for path, values in further.datasets.items():
        filters = {"compression": "gzip"} if getattr(values, "ndim", 0) else {}
        group.create_dataset(f"{_DATASETS}/{path}", data=values, **filters)


def read_further(group: h5py.Group) -> FurtherContents:
    """Read what `write_further` wrote."""
    attributes: dict[str, Mapping[str, Any]] = {}
    datasets: dict[str, NDArray] = {}

    def visit_attributes(path: str, entry: h5py.Group) -> None:
        if len(entry.attrs):
            attributes[path] = dict(entry.attrs)

    def visit_datasets(path: str, entry: h5py.Group | h5py.Dataset) -> None:
        if isinstance(entry, h5py.Dataset):
            datasets[path] = entry[()]

    if _ATTRIBUTES in group:
        group[_ATTRIBUTES].visititems(visit_attributes)
    if _DATASETS in group:
        group[_DATASETS].visititems(visit_datasets)
    return FurtherContents(attributes, datasets)
