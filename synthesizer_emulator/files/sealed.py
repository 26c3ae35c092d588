"""Sealed files: HDF5 files that begin with the SHA-256 of their contents.

The files of this package are sealed, so that a damaged, truncated or edited
file is detected. Any HDF5 reader can open them, because HDF5 skips the first
block of 512 bytes, which holds the checksum.
"""

import io
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from hashlib import sha256
from pathlib import Path

import h5py
from synthesizer.exceptions import GridError

from synthesizer_emulator.files.hdf5 import (
    open_contents,
    report_damage,
    unreadable,
)
from synthesizer_emulator.files.kinds import check_format
from synthesizer_emulator.files.writing import replacing

_SEAL_SIZE = 512
_SEAL_START = b"synthesizer_emulator sha256 "


def read_sealed(
    path: Path, remedy: str = "Download or make it again."
) -> bytes:
    """Read a sealed file once, and verify its checksum.

    Args:
        path (Path): The file.
        remedy (str): The remedy for a damaged file, as a sentence.

    Returns:
        bytes: The contents, for `open_contents`.

    Raises:
        GridError: If the file does not exist, or does not match its checksum.
            Files of older versions, without a checksum, are accepted: see
            `is_sealed`.
    """
    if not path.is_file():
        raise GridError(f"No file at '{path}'.")
    try:
        contents = path.read_bytes()
    except OSError as error:
        raise unreadable(path, error) from error
    if is_sealed(contents) and contents[:_SEAL_SIZE] != _seal(contents):
        raise GridError(
            f"'{path}' does not match its checksum: it was damaged, truncated "
            f"or edited. {remedy}"
        )
    return contents


def is_sealed(contents: bytes) -> bool:
    """Whether the contents of a file begin with a checksum."""
    return contents.startswith(_SEAL_START)


@contextmanager
def open_sealed(
    path: Path, remedy: str, wanted: str = ""
) -> Iterator[h5py.File]:
    """Open a sealed file for reading.

    Args:
        path (Path): The file.
        remedy (str): The remedy for a damaged file, as a sentence.
        wanted (str): The attribute `format` that it must have; by default
            none.

    Yields:
        h5py.File: The open file.

    Raises:
        GridError: If the file does not exist, is of another format, its
            checksum is missing or wrong, or the block raises an error.
    """
    with report_damage(path, remedy):
        contents = read_sealed(path, remedy)
        if not (is_sealed(contents) or wanted):
            raise ValueError("it does not begin with its checksum")
        with open_contents(contents, path) as hdf:
            # First, as files of other kinds may have no checksum.
            if wanted:
                check_format(hdf, path, wanted)
            if not is_sealed(contents):
                raise ValueError("it does not begin with its checksum")
            yield hdf


@contextmanager
def write_sealed(
    path: Path, check: Callable[[Path], None] | None = None
) -> Iterator[h5py.File]:
    """Open a new sealed file for writing.

    The file is assembled in memory, where a full disk can't interrupt it, and
    replaces the target only when it is complete.

    Args:
        path (Path): The target.
        check (callable): Called with the path of the new file before it
            replaces an older one; if it raises, the older file is kept.

    Yields:
        h5py.File: The open file.

    Raises:
        OSError: As in `replacing`.
    """
    with replacing(path) as scratch:
        stream = io.BytesIO()
        with h5py.File(stream, "w", userblock_size=_SEAL_SIZE) as hdf:
            yield hdf
        contents = stream.getbuffer()
        contents[:_SEAL_SIZE] = _seal(contents)
        scratch.write_bytes(contents)
        if check is not None:
            check(scratch)


def _seal(contents: bytes | memoryview) -> bytes:
    """Return the first block, with the checksum of all later bytes."""
    digest = sha256(memoryview(contents)[_SEAL_SIZE:]).hexdigest()
    return (_SEAL_START + digest.encode() + b"\n").ljust(_SEAL_SIZE, b"\0")
