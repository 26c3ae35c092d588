"""Writing of grid files in Synthesizer's HDF5 format."""

import io

import h5py
import numpy as np

from synthesizer_emulator.gridfile.emissions import LINES
from synthesizer_emulator.gridfile.header import GridHeader


def write_header(hdf: h5py.File, header: GridHeader) -> None:
    """Write the header of a grid to an empty file, without `further`."""
    for key, value in header.attributes.items():
        hdf.attrs[key] = value
    hdf.attrs["axes"] = [axis.name for axis in header.axes]
    hdf.attrs["WeightVariable"] = header.weight_variable
    for axis in header.axes:
        dataset = hdf.create_dataset(f"axes/{axis.name}", data=axis.values)
        dataset.attrs["Units"] = axis.units
        dataset.attrs["log_on_read"] = axis.log_on_read
    if len(header.lam):
        group = hdf.create_group(header.spectra_group)
        group.create_dataset("wavelength", data=header.lam)
        group["wavelength"].attrs["Units"] = header.lam_units
    if header.lines is not None:
        lines = hdf.create_group(LINES)
        lines.create_dataset("id", data=np.array(header.lines.ids, "S"))
        lines.create_dataset("wavelength", data=header.lines.lams)
        lines["wavelength"].attrs["Units"] = header.lines.lam_units
    for name, attributes in (
        ("Model", header.model),
        ("CloudyParams", header.cloudy),
    ):
        if attributes is not None:
            target = hdf.create_group(name)
            for key, value in attributes.items():
                target.attrs[key] = value
    for path, values in header.stored.items():
        if path not in header.further.datasets:
            hdf[path] = values


def header_file(header: GridHeader) -> io.BytesIO:
    """Return a grid file in memory that has only the header."""
    stream = io.BytesIO()
    with h5py.File(stream, "w") as hdf:
        write_header(hdf, header)
    return stream


def create_emission(
    hdf: h5py.File,
    name: str,
    shape: tuple[int, ...],
    units: str,
    dtype: np.dtype | type = np.float64,
    compress: bool = False,
) -> h5py.Dataset:
    """Create the array of one emission, to be filled later.

    Args:
        hdf (h5py.File): The file, open for writing, with its header.
        name (str): The path of the emission, e.g. `spectra/incident`.
        shape (tuple of int): The shape, (n1, ..., nd, n); wavelengths or
            lines come last.
        units (str): The units.
        dtype (np.dtype): The precision.
        compress (bool): Whether to compress, which makes reading slower.

    Returns:
        h5py.Dataset: The empty dataset.
    """
    storage = {"compression": "gzip", "shuffle": True} if compress else {}
    dataset = hdf.create_dataset(name, shape, dtype, **storage)
    dataset.attrs["Units"] = units
    return dataset
