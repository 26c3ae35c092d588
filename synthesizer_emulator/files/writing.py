"""Write files atomically: a file is replaced whole, or left unchanged.

All make the folder of the file if it is missing.
"""

import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import h5py
from synthesizer.exceptions import InconsistentArguments

from synthesizer_emulator.files.locks import (
    exclusive,
    make_folder,
    unwritable,
)


@contextmanager
def replacing(path: Path) -> Iterator[Path]:
    """Write a scratch file, and rename it to the target at the end.

    An interruption or a full disk leaves the old file unchanged.

    Args:
        path (Path): The target.

    Yields:
        Path: The scratch file to write.

    Raises:
        OSError: If the folder can't be made, is read-only or full, or
            another process is writing the same file.
    """
    _check_no_folder(path)
    with exclusive(path):
        scratch = _scratch_for(path)
        try:
            yield scratch
            # mkstemp makes private files; set the usual permissions.
            umask = os.umask(0)
            os.umask(umask)
            scratch.chmod(0o666 & ~umask)
            _sync(scratch)
            scratch.replace(path)
            _sync(path.parent)
        except (OSError, RuntimeError) as error:
            # h5py reports a full disk on closing as a RuntimeError.
            raise OSError(
                f"Can't write '{path}': {error}. Any older file is unchanged. "
                "Free some disk space or choose another folder."
            ) from error
        finally:
            scratch.unlink(missing_ok=True)


@contextmanager
def write_hdf5(path: Path) -> Iterator[h5py.File]:
    """Open a new HDF5 file, which replaces the target when it is complete.

    For files that may exceed the memory. Call `check_room` first.

    Args:
        path (Path): The target.

    Yields:
        h5py.File: The open file.

    Raises:
        OSError: As in `replacing`.
    """
    with replacing(path) as scratch, h5py.File(scratch, "w") as hdf:
        yield hdf


def write_whole(path: Path, contents: bytes) -> None:
    """Write bytes to a file, all or none of them.

    Args:
        path (Path): The target.
        contents (bytes): The bytes.

    Raises:
        OSError: As in `replacing`.
    """
    with replacing(path) as scratch:
        scratch.write_bytes(contents)


def check_writable(path: Path) -> None:
    """Raise if a file can't be written, before any work is done.

    Its folder may be missing: it is made when the file is written, so that
    what is refused until then leaves none behind.

    Raises:
        OSError: If the target is a folder, or its folder can't be made or is
            read-only.
    """
    _check_no_folder(path)
    folder = path.absolute().parent
    while not folder.exists():
        folder = folder.parent
    if not folder.is_dir():
        raise OSError(
            f"Can't make the folder '{path.parent}': '{folder}' is a file. "
            "Choose another folder."
        )
    _scratch_for(path, folder).unlink()


def check_new(path: Path, overwrite: bool) -> None:
    """Raise if a file exists that may not be replaced.

    Raises:
        InconsistentArguments: If it exists, unless `overwrite`.
    """
    if path.exists() and not overwrite:
        raise InconsistentArguments(
            f"'{path}' exists: choose another file, or replace it by "
            "--overwrite (overwrite=True)."
        )


def check_room(path: Path, needed: int) -> None:
    """Raise `OSError` if the disk has less free space than a file needs.

    Args:
        path (Path): The target.
        needed (int): The size of the file, bytes.
    """
    make_folder(path.parent)
    free = shutil.disk_usage(path.parent).free
    if free < needed:
        raise OSError(
            f"Can't write '{path}': it needs {needed / 1e6:.0f} MB, but only "
            f"{free / 1e6:.0f} MB are free. Free some disk space, choose "
            "another folder or store less."
        )


def _check_no_folder(path: Path) -> None:
    """Raise if a target is a folder."""
    if path.is_dir():
        raise OSError(f"Can't write '{path}': it is a folder. Move it.")


def _scratch_for(path: Path, folder: Path | None = None) -> Path:
    """Create an empty scratch file, by default in the folder of a target."""
    try:
        handle, name = tempfile.mkstemp(
            prefix=f".{path.name}.",
            suffix=".partial",
            dir=folder or path.parent,
        )
    except OSError as error:
        raise unwritable(path, error) from error
    os.close(handle)
    return Path(name)


def _sync(path: Path) -> None:
    """Flush a file, or the entries of a folder, to the disk."""
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
