"""What kind of file an HDF5 file is, for messages about the wrong one."""

from pathlib import Path
from typing import Any

from synthesizer.exceptions import GridError

# Files that others may write too, without the attribute `format`.
STARS = "a file of the stars of galaxies"

# By the attribute `format`.
_BY_FORMAT = {
    "synthesizer_emulator autoencoder of images": "an autoencoder of images",
    "synthesizer_emulator catalogue samples": "the samples of a fitted "
    "catalogue",
    "synthesizer_emulator flow of stars": "a flow of stars",
    "synthesizer_emulator library": "a library of galaxies",
    "synthesizer_emulator network": "a network of amortised posteriors",
    "synthesizer_emulator posterior": "a posterior of a galaxy",
    "synthesizer_emulator stars": STARS,
}

# By an entry; the first that is there.
_BY_ENTRY = {
    "emulator": "weights of an emulated grid",
    "axes": "a grid of Synthesizer",
    "ssp_flux": "a file of DSPS",
    "parameters": "a file of scattered samples",
}


def kind_of(hdf: Any) -> str:
    """Return the kind of an open HDF5 file, such as `a library of galaxies`.

    Empty if it is none that this package knows.
    """
    stated = str(hdf.attrs.get("format"))
    by_entry = (kind for entry, kind in _BY_ENTRY.items() if entry in hdf)
    return _BY_FORMAT.get(stated) or next(by_entry, "")


def check_format(hdf: Any, path: Path, wanted: str) -> None:
    """Raise unless an open HDF5 file has a format of this package.

    Args:
        hdf (h5py.File): The file.
        path (Path): Its path, for messages.
        wanted (str): The attribute `format` that it must have.

    Raises:
        GridError: If it has not; the message says what kind the file is.
    """
    if str(hdf.attrs.get("format")) != wanted:
        raise wrong_kind(hdf, path, _BY_FORMAT[wanted])


def check_no_other(hdf: Any, path: Path, wanted: str) -> None:
    """Raise if an open HDF5 file states that it is of another kind.

    For files that others write, such as grids.

    Args:
        hdf (h5py.File): The file.
        path (Path): Its path, for messages.
        wanted (str): The kind that is wanted, such as `a grid`.

    Raises:
        GridError: If it is a file of another kind of this package.
    """
    if str(hdf.attrs.get("format")) in _BY_FORMAT or "emulator" in hdf:
        raise wrong_kind(hdf, path, wanted)


def wrong_kind(hdf: Any, path: Path, wanted: str) -> GridError:
    """Return the error for a file of another kind than the one wanted."""
    found = kind_of(hdf) or "an HDF5 file of another kind"
    return GridError(
        f"'{path}' is not {wanted}, but {found}. Give another path."
    )
