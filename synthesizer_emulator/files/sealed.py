"""Sealed files: HDF5 files that begin with the SHA-256 of their contents.

The package's own files are sealed, so that one that was damaged, cut off or
edited is recognised. Any HDF5 reader opens them, since HDF5 skips the block
of 512 bytes that holds the checksum.
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
from synthesizer_emulator.files.writing import replacing

_SEAL_SIZE = 512
_SEAL_START = b"synthesizer_emulator sha256 "


def read_sealed(path: Path, remedy: str = "Fetch or make it again.") -> bytes:
    """Read a sealed file once, and verify its checksum.

    Args:
        path (Path): The file.
        remedy (str): What to do if it is damaged, as a sentence.

    Returns:
        bytes: The contents, for `open_contents`.

    Raises:
        GridError: If the file does not exist, or does not match its checksum.
            A file without a checksum, from an older version, passes: see
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
            f"'{path}' does not match its checksum: it was damaged, cut off "
            f"or edited. {remedy}"
        )
    return contents


def is_sealed(contents: bytes) -> bool:
    """Whether the contents of a file begin with a checksum."""
    return contents.startswith(_SEAL_START)


@contextmanager
def open_sealed(path: Path, remedy: str) -> Iterator[h5py.File]:
    """Open a file that must be sealed, for blocks that only read it.

    Args:
        path (Path): The file.
        remedy (str): What to do if it is damaged, as a sentence.

    Yields:
        h5py.File: The open file.

    Raises:
        GridError: If the file does not exist, has no checksum or a wrong
            one, or if the block fails to read it.
    """
    with report_damage(path, remedy):
        contents = read_sealed(path, remedy)
        if not is_sealed(contents):
            raise ValueError("it does not begin with its checksum")
        with open_contents(contents, path) as hdf:
            yield hdf


@contextmanager
def write_sealed(
    path: Path, check: Callable[[Path], None] | None = None
) -> Iterator[h5py.File]:
    """Open a new sealed file for writing.

    The file is assembled in memory, where a full disk can't interrupt it, and
    takes its name only when it is whole.

    Args:
        path (Path): The target.
        check (callable): Called with the path of the finished file before it
            replaces an older one; an exception keeps the older one.

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
    """Return the first block of a file, with the checksum of the rest."""
    digest = sha256(memoryview(contents)[_SEAL_SIZE:]).hexdigest()
    return (_SEAL_START + digest.encode() + b"\n").ljust(_SEAL_SIZE, b"\0")
