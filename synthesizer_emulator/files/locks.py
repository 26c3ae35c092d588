"""Locks between processes that write the same file."""

import fcntl
import os
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from glob import escape
from pathlib import Path

# How long to wait before a lock is tried again, seconds.
_RETRY_AFTER = 0.02

# The files that this process has locked, and how many times.
_held: dict[Path, int] = {}


@contextmanager
def exclusive(path: Path, timeout: float = 0.0) -> Iterator[None]:
    """Lock a file against other processes.

    The partial files of killed processes are removed. A process may lock the
    same file several times. A missing folder is made, and removed if nothing
    is written to it.

    Args:
        path (Path): The file.
        timeout (float): How long to wait for another process, seconds.

    Raises:
        OSError: If another process holds the lock, or the folder can't be
            written.
    """
    target = path.absolute()
    missing = [p for p in target.parents if not p.exists()]
    make_folder(path.parent)
    if target in _held:
        _held[target] += 1
        try:
            yield
        finally:
            _held[target] -= 1
        return
    lock = path.with_name(f".{path.name}.lock")
    handle = _locked(lock, path, time.monotonic() + timeout)
    _held[target] = 1
    try:
        for partial in path.parent.glob(f".{escape(path.name)}.*.partial"):
            partial.unlink(missing_ok=True)
        yield
    finally:
        del _held[target]
        # Unlink first, so that no process locks a file that is then removed.
        lock.unlink(missing_ok=True)
        os.close(handle)
        _remove_empty(missing)


def _remove_empty(folders: Sequence[Path]) -> None:
    """Remove folders, the innermost first, as far as they are empty."""
    for folder in folders:
        try:
            folder.rmdir()
        except OSError:
            return


def make_folder(folder: Path) -> None:
    """Make a folder, and those above it, if missing.

    Raises:
        OSError: If it can't be made.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise OSError(
            f"Can't make the folder '{folder}': {error.strerror}. Choose "
            "another folder."
        ) from error


def unwritable(path: Path, error: OSError) -> OSError:
    """Return the error for a target whose folder can't be written."""
    return OSError(
        f"Can't write '{path}': {error.strerror}. Choose a folder that you "
        "can write to."
    )


def _locked(lock: Path, path: Path, deadline: float) -> int:
    """Open and lock the lock file of a target; return its descriptor.

    Waits for other processes until `deadline`, in `time.monotonic` seconds.
    """
    while True:
        try:
            handle = os.open(lock, os.O_RDWR | os.O_CREAT)
        except OSError as error:
            raise unwritable(path, error) from error
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            os.close(handle)
            if time.monotonic() < deadline:
                time.sleep(_RETRY_AFTER)
                continue
            raise OSError(
                f"Another process is writing '{path}': wait until it has "
                "finished, or choose another file."
            ) from error
        except OSError:
            # A file system without locks, as on some clusters.
            return handle
        # The previous holder may have removed the file before this lock.
        if lock.exists() and os.path.samestat(lock.stat(), os.fstat(handle)):
            return handle
        os.close(handle)
