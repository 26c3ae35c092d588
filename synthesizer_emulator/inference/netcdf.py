"""The netCDF file of a posterior, in the groups of ArviZ and a few more.

`Posterior` decides what is in it; this module names and converts it.
"""

from collections.abc import Iterable, Mapping
from contextlib import AbstractContextManager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import jax.numpy as jnp
import numpy as np
from numpy.typing import NDArray
from synthesizer.exceptions import (
    GridError,
    InconsistentArguments,
    UnmetDependency,
)

from synthesizer_emulator.files import hdf5
from synthesizer_emulator.files.hdf5 import open_hdf5
from synthesizer_emulator.files.kinds import check_format
from synthesizer_emulator.files.writing import replacing
from synthesizer_emulator.inference.data import Data
from synthesizer_emulator.inference.line_fluxes import LineFluxes
from synthesizer_emulator.inference.measurements import Measurements
from synthesizer_emulator.inference.photometry import Photometry
from synthesizer_emulator.inference.spectrum import Spectrum
from synthesizer_emulator.units import PURE

if TYPE_CHECKING:
    from xarray import Dataset, DataTree

FORMAT = "synthesizer_emulator posterior"
FORMAT_VERSION = 1

# The dimension of each kind of data, and of a model of it.
DIMS: Mapping[str, str] = {
    "photometry": "band",
    "line_fluxes": "line",
    "spectrum": "pixel",
    "spectrum_error": "pixel",
    "calibration": "pixel",
}

# Their units.
_UNITS: Mapping[str, str] = {
    "photometry": Photometry.units,
    "line_fluxes": LineFluxes.units,
    "spectrum": "nJy",
    "spectrum_error": "nJy",
}

# The classes of the data with independent errors.
_MEASURED: Mapping[str, type[Measurements]] = {
    "photometry": Photometry,
    "line_fluxes": LineFluxes,
}

# The attributes of a spectrum besides its flux and error, and their further
# dimensions.
_OF_SPECTRUM = {
    "lam": ("pixel",),
    "log_lam": ("pixel",),
    "is_used": ("pixel",),
    "variance": ("pixel",),
    "polynomials": ("pixel", "coefficient"),
    "widths": ("coefficient",),
}

# Compression, and checksums that reveal damage. Numbers that were computed in
# single precision are halved.
_ENCODING = {"zlib": True, "complevel": 1, "shuffle": True, "fletcher32": True}

_REMEDY = "Get a complete copy, or run the fit again."


def posterior_path(path: str | Path) -> Path:
    """Return the path of a posterior; raise unless it ends in `.nc`."""
    path = Path(path)
    if path.suffix != ".nc":
        raise InconsistentArguments(
            f"The file of a posterior must end in .nc, got '{path}'."
        )
    return path


def write_tree(tree: "DataTree", path: str | Path) -> None:
    """Write a posterior to a file.

    Raises:
        InconsistentArguments: If the name does not end in `.nc`.
        OSError: If the file can't be written.
    """
    path = posterior_path(path)
    encoding = {
        node.path: {
            name: _ENCODING
            for name, values in node.to_dataset().data_vars.items()
            if values.size and values.dtype.kind in "fi"
        }
        for node in tree.subtree
    }
    with replacing(path) as temporary:
        tree.to_netcdf(temporary, engine="h5netcdf", encoding=encoding)


def read_groups(path: str | Path) -> dict[str, "Dataset"]:
    """Read the groups of a posterior from a file, by name.

    Raises:
        GridError: If the file is missing, damaged, or not a posterior.
        UnmetDependency: If xarray is not installed.
    """
    path = Path(path)
    with open_hdf5(path) as hdf:
        check_format(hdf, path, FORMAT)
        version = np.ravel(hdf.attrs.get("version", 0)).tolist()[0]
    if version != FORMAT_VERSION:
        raise GridError(
            f"'{path}' must have version {FORMAT_VERSION} of the format of "
            f"posteriors, got {version}. Read it with the version "
            "of synthesizer_emulator that wrote it."
        )
    xr = xarray()
    with report_damage(path):
        groups = xr.open_groups(path, engine="h5netcdf")
        try:
            return {k.strip("/"): group.load() for k, group in groups.items()}
        finally:
            for group in groups.values():
                group.close()


def report_damage(path: Path) -> AbstractContextManager[None]:
    """Convert any error in a block that reads a file to a `GridError`."""
    return hdf5.report_damage(path, _REMEDY)


def xarray() -> Any:
    """Return the module xarray.

    Raises:
        UnmetDependency: If it, or what it reads netCDF with, is missing.
    """
    try:
        import h5netcdf  # noqa: F401
        import xarray as xr
    except ImportError as error:
        raise UnmetDependency(
            "Files of posteriors need xarray and h5netcdf: install them with "
            "pip install 'synthesizer-emulator[inference]'."
        ) from error
    return xr


def variables(
    values: Mapping[str, NDArray],
    dims: tuple[str, ...],
    units: Mapping[str, str] | None = None,
    role: str = "",
) -> dict[str, Any]:
    """Return arrays as variables of a dataset.

    Slashes in names become full stops, as they would be groups of the file.

    Args:
        values (Mapping): The arrays by name.
        dims (tuple of str): The names of their first dimensions.
        units (Mapping): Their units by name; by default those of the data.
        role (str): What they are; `values_of` returns those of one role.
    """
    found = {}
    for name, array in values.items():
        more = (
            (DIMS[name],)
            if name in DIMS
            else tuple(f"{name} {i}" for i in range(array.ndim - len(dims)))
        )
        found[name.replace("/", ".")] = (
            (*dims, *(dim.replace("/", ".") for dim in more)),
            array,
            {
                "name": name,
                "role": role,
                "units": (units or _UNITS).get(name, PURE),
            },
        )
    return found


def values_of(
    dataset: "Dataset", role: str = ""
) -> tuple[dict[str, NDArray], dict[str, str]]:
    """Return the arrays of one role, and their units, by name."""
    chosen = [v for v in dataset.values() if v.attrs.get("role") == role]
    return (
        {v.attrs["name"]: np.asarray(v.values) for v in chosen},
        {v.attrs["name"]: v.attrs["units"] for v in chosen},
    )


def observed(data: Data) -> dict[str, Any]:
    """Return the data as variables, NaN where missing or masked."""
    found: dict[str, Any] = {}

    def add(name: str, dims: Iterable[str], values: Any) -> None:
        found[name] = (tuple(dims), np.asarray(values))

    for kind in (*_MEASURED, "spectrum"):
        one = getattr(data, kind)
        if one is None:
            continue
        is_spectrum = isinstance(one, Spectrum)
        seen = np.asarray(one.is_used if is_spectrum else one.is_observed)
        add(kind, [DIMS[kind]], np.where(seen, one.flux, np.nan))
        add(f"{kind}_error", [DIMS[kind]], np.where(seen, one.error, np.nan))
        if not is_spectrum:
            add(f"{kind}_is_limit", [DIMS[kind]], one.is_limit)
            continue
        for name, dims in _OF_SPECTRUM.items():
            add(f"{kind}_{name}", dims, getattr(one, name))
    return found


def read_data(dataset: "Dataset") -> Data:
    """Return the data from the variables of `observed`.

    There is no spectrograph.
    """
    found: dict[str, Any] = {}
    for kind in (*_MEASURED, "spectrum"):
        if kind not in dataset:
            continue
        flux, error = (
            np.asarray(dataset[name].values)
            for name in (kind, f"{kind}_error")
        )
        seen = np.isfinite(flux)
        pair = {
            "flux": jnp.asarray(np.where(seen, flux, 0.0), float),
            "error": jnp.asarray(np.where(seen, error, 1.0), float),
        }
        if kind in _MEASURED:
            limit = dataset[f"{kind}_is_limit"].values.astype(bool)
            found[kind] = _MEASURED[kind](
                **pair,
                is_observed=jnp.asarray(seen),
                is_limit=jnp.asarray(limit),
                codes=tuple(map(str, dataset[DIMS[kind]].values)),
            )
            continue
        others = {
            name: jnp.asarray(
                dataset[f"{kind}_{name}"].values,
                bool if name == "is_used" else float,
            )
            for name in _OF_SPECTRUM
        }
        found[kind] = Spectrum(**pair, **others)
    return Data(**found)
