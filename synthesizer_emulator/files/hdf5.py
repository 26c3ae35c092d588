"""Open HDF5 files for reading, after a check of their structure.

A file is rejected if it refers to data in other files (links, virtual
datasets, external storage), or if an array is declared larger than its stored
bytes allow.
"""

import io
import math
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import h5py
from synthesizer.exceptions import GridError

# The largest compression ratio of deflate (zlib.net/zlib_tech.html); other
# filters compress less.
_MAX_COMPRESSION = 1032
_NOT_COMPRESSING = (h5py.h5z.FILTER_SHUFFLE, h5py.h5z.FILTER_FLETCHER32)


@contextmanager
def open_hdf5(path: Path) -> Iterator[h5py.File]:
    """Open an existing HDF5 file for reading.

    Args:
        path (Path): The file.

    Yields:
        h5py.File: The open file.

    Raises:
        GridError: If the file does not exist, is not HDF5 (or is truncated),
            or depends on other files.
    """
    if not path.is_file():
        raise GridError(f"No file at '{path}'.")
    try:
        hdf = h5py.File(path, "r")
    except Exception as error:
        raise unreadable(path, error) from error
    with hdf:
        _check_self_contained(hdf, path)
        yield hdf


@contextmanager
def open_contents(
    contents: bytes, path: Path, checked: bool = False
) -> Iterator[h5py.File]:
    """Open an HDF5 file from its contents in memory.

    Args:
        contents (bytes): The contents.
        path (Path): The path of the file, for messages.
        checked (bool): Skip the check of contents that already passed it.

    Yields:
        h5py.File: The open file.

    Raises:
        GridError: If the contents are not HDF5, or depend on other files.
    """
    try:
        hdf = h5py.File(io.BytesIO(contents), "r")
    except Exception as error:
        raise unreadable(path, error) from error
    with hdf:
        if not checked:
            _check_self_contained(hdf, path)
        yield hdf


@contextmanager
def report_damage(path: Path, remedy: str) -> Iterator[None]:
    """Convert any error in a block that reads a file to a `GridError`.

    Depending on which bytes are damaged, HDF5, JSON and NumPy raise nearly
    every class of exception.

    Args:
        path (Path): The file.
        remedy (str): The remedy, as a sentence.

    Raises:
        GridError: With the path, the problem and the remedy.
    """
    try:
        yield
    except GridError:
        raise
    except Exception as error:
        problem = str(error).strip().rstrip(".") or type(error).__name__
        raise GridError(f"'{path}' is damaged: {problem}. {remedy}") from error


def unreadable(path: Path, error: Exception) -> GridError:
    """Return the error for a file that can't be read as HDF5."""
    return GridError(
        f"'{path}' can't be read as HDF5 ({error}). It may be truncated or "
        "in another format: download or make it again."
    )


def _check_self_contained(hdf: h5py.File, path: Path) -> None:
    """Raise if a file refers to other files, or an array is incomplete."""

    # HDF5 does not pass on exceptions; it stops at the first result.
    def problem(name: bytes, link: h5py.h5l.LinkInfo) -> str | None:
        try:
            return _missing_contents(hdf, name, link)
        except Exception as error:
            return f"its entry {name!r} can't be read ({error})"

    with report_damage(path, "Get a complete file."):
        first = hdf.id.links.visit(problem, info=True)
    if first is not None:
        raise GridError(
            f"'{path}' can't be used: {first}. Get a complete file."
        )


def _missing_contents(
    hdf: h5py.File, name: bytes, link: h5py.h5l.LinkInfo
) -> str | None:
    """Return a message if the contents of an entry are incomplete."""
    entry = name.decode(errors="replace")
    if link.type != h5py.h5l.TYPE_HARD:
        return f"its entry '{entry}' is a link to other data"
    dataset = h5py.h5o.open(hdf.id, name)
    if not isinstance(dataset, h5py.h5d.DatasetID):
        return None
    storage = dataset.get_create_plist()
    is_virtual = storage.get_layout() == h5py.h5d.VIRTUAL
    if is_virtual or storage.get_external_count():
        return f"the values of '{entry}' are in another file"
    filters = [storage.get_filter(i)[0] for i in range(storage.get_nfilters())]
    compressions = sum(code not in _NOT_COMPRESSING for code in filters)
    stored = dataset.get_storage_size()
    most = stored * _MAX_COMPRESSION if compressions else stored
    declared = math.prod(dataset.shape or (0,)) * dataset.get_type().get_size()
    if declared > most or compressions > 1:
        return f"'{entry}' declares {declared} bytes but stores only {stored}"
    return None
