"""HDF5 files opened for reading, after a check of their structure.

A file is refused if some of its contents lie elsewhere (links, virtual
datasets, external storage), or if an array is declared larger than its stored
bytes can hold.
"""

import io
import math
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import h5py
from synthesizer.exceptions import GridError

# The largest ratio of deflate (zlib.net/zlib_tech.html); other filters have a
# smaller one.
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
    contents: bytes, path: Path, again: bool = False
) -> Iterator[h5py.File]:
    """Open the contents of an HDF5 file that is in memory.

    Args:
        contents (bytes): The contents.
        path (Path): The file that they were read from, for messages.
        again (bool): Skip the check, for contents that passed it before.

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
        if not again:
            _check_self_contained(hdf, path)
        yield hdf


@contextmanager
def report_damage(path: Path, remedy: str) -> Iterator[None]:
    """Raise any error within the block as a `GridError` about the file.

    For blocks that only read the file. Depending on which bytes are damaged,
    HDF5, JSON and NumPy raise nearly every class of exception.

    Args:
        path (Path): The file.
        remedy (str): What to do, as a sentence.

    Raises:
        GridError: With the file, what is wrong and the remedy.
    """
    try:
        yield
    except GridError:
        raise
    except Exception as error:
        what = str(error).rstrip(".") or type(error).__name__
        raise GridError(f"'{path}' is damaged: {what}. {remedy}") from error


def unreadable(path: Path, error: Exception) -> GridError:
    """Return the error for a file that can't be read as HDF5."""
    return GridError(
        f"'{path}' can't be read as HDF5 ({error}). It may be truncated or "
        "of another format: fetch or make it again."
    )


def _check_self_contained(hdf: h5py.File, path: Path) -> None:
    """Refuse a file that does not hold all of its contents.

    Raises:
        GridError: With the entry, and what is wrong with it.
    """

    # An exception can't leave HDF5's visit of a file; a result ends it.
    def problem(name: bytes, link: h5py.h5l.LinkInfo) -> str | None:
        try:
            return _missing_contents(hdf, name, link)
        except Exception as error:
            return f"its entry {name!r} can't be read ({error})"

    with report_damage(path, "Get a whole file."):
        first = hdf.id.links.visit(problem, info=True)
    if first is not None:
        raise GridError(f"'{path}' is refused: {first}. Get a whole file.")


def _missing_contents(
    hdf: h5py.File, name: bytes, link: h5py.h5l.LinkInfo
) -> str | None:
    """Return what the file lacks of one entry, or None."""
    entry = name.decode(errors="replace")
    if link.type != h5py.h5l.TYPE_HARD:
        return f"its entry '{entry}' is a link to elsewhere"
    dataset = h5py.h5o.open(hdf.id, name)
    if not isinstance(dataset, h5py.h5d.DatasetID):
        return None
    storage = dataset.get_create_plist()
    is_virtual = storage.get_layout() == h5py.h5d.VIRTUAL
    if is_virtual or storage.get_external_count():
        return f"the values of '{entry}' lie in another file"
    filters = [storage.get_filter(i)[0] for i in range(storage.get_nfilters())]
    compressions = sum(code not in _NOT_COMPRESSING for code in filters)
    stored = dataset.get_storage_size()
    most = stored * _MAX_COMPRESSION if compressions else stored
    declared = math.prod(dataset.shape or (0,)) * dataset.get_type().get_size()
    if declared > most or compressions > 1:
        return f"'{entry}' claims {declared} bytes, of which it holds {stored}"
    return None
