"""Files that are read and written whole or not at all.

HDF5 files are opened here, and nowhere else: a file that would fetch its
contents from elsewhere (links, virtual datasets, external storage), or that
claims arrays larger than it can hold, is refused before anything of it is
used. Files of the package's own begin with the SHA-256 of all that follows,
so that one that was damaged, cut off or edited is known as such.
"""

import fcntl
import io
import math
import os
import shutil
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from glob import escape
from hashlib import sha256
from pathlib import Path

import h5py
from synthesizer.exceptions import GridError

# The block in front of the HDF5 contents that holds their checksum: HDF5
# passes over such a block of 512 bytes.
_SEAL_SIZE = 512
_SEAL_START = b"synthesizer_emulator sha256 "

# What a compressed byte can become at most (deflate's limit; others have
# less, see zlib.net/zlib_tech.html). No array may claim more than that.
_LARGEST_RATIO = 1032
_NOT_COMPRESSING = (h5py.h5z.FILTER_SHUFFLE, h5py.h5z.FILTER_FLETCHER32)

# How long to wait until a lock is tried again, seconds.
_MOMENT = 0.02

# The locks that this process holds, and how often.
_held: dict[Path, int] = {}


@contextmanager
def open_hdf5(path: Path) -> Iterator[h5py.File]:
    """Open an existing HDF5 file for reading.

    Args:
        path (Path): The file.

    Yields:
        h5py.File: The open file, which holds all of its contents itself.

    Raises:
        GridError: If it does not exist, is not HDF5 (or is truncated), or
            refers to other files.
    """
    if not path.is_file():
        raise GridError(f"No file at '{path}'.")
    try:
        hdf = h5py.File(path, "r")
    except Exception as error:
        raise _unreadable(path, error) from error
    with hdf:
        _check_self_contained(hdf, path)
        yield hdf


def read_sealed(path: Path, remedy: str = "Fetch or make it again.") -> bytes:
    """Read a file of the package's own, once, and verify its checksum.

    Args:
        path (Path): The file.
        remedy (str): What to do where it is damaged, as a sentence.

    Returns:
        bytes: Its contents, for `open_contents`.

    Raises:
        GridError: If it does not exist, or does not match its checksum. A
            file without a checksum, which older versions wrote, passes: see
            `is_sealed`.
    """
    if not path.is_file():
        raise GridError(f"No file at '{path}'.")
    try:
        contents = path.read_bytes()
    except OSError as error:
        raise _unreadable(path, error) from error
    if is_sealed(contents) and contents[:_SEAL_SIZE] != _seal(contents):
        raise GridError(
            f"'{path}' does not match its checksum: it was damaged, cut off "
            f"or edited. {remedy}"
        )
    return contents


def is_sealed(contents: bytes) -> bool:
    """Return whether a file's contents begin with a checksum."""
    return contents.startswith(_SEAL_START)


@contextmanager
def open_contents(
    contents: bytes, path: Path, again: bool = False
) -> Iterator[h5py.File]:
    """Open the contents of an HDF5 file that were read before.

    Args:
        contents (bytes): The contents.
        path (Path): Where they are from, for messages.
        again (bool): Whether they were opened, and so checked, before.

    Yields:
        h5py.File: The open file.

    Raises:
        GridError: If they are not HDF5, or refer to files.
    """
    try:
        hdf = h5py.File(io.BytesIO(contents), "r")
    except Exception as error:
        raise _unreadable(path, error) from error
    with hdf:
        if not again:
            _check_self_contained(hdf, path)
        yield hdf


@contextmanager
def open_sealed(path: Path, remedy: str) -> Iterator[h5py.File]:
    """Open a file that must have a checksum, for blocks that only read it.

    Args:
        path (Path): The file.
        remedy (str): What to do where it is damaged, as a sentence.

    Yields:
        h5py.File: The open file.

    Raises:
        GridError: If it does not exist, has no checksum or another one, or
            if the block can't read it.
    """
    with damage_named(path, remedy):
        contents = read_sealed(path, remedy)
        if not is_sealed(contents):
            raise ValueError("it does not begin with its checksum")
        with open_contents(contents, path) as hdf:
            yield hdf


@contextmanager
def damage_named(path: Path, remedy: str) -> Iterator[None]:
    """Turn whatever reading a damaged file raises into one error.

    Only for blocks that do nothing but read: any error in them is of the
    file.

    Args:
        path (Path): The file.
        remedy (str): What to do, as a sentence.

    Raises:
        GridError: Names the file, what is wrong and the remedy.
    """
    try:
        yield
    except GridError:
        raise
    # Depending on which bytes are damaged, HDF5, JSON and NumPy raise nearly
    # everything there is.
    except Exception as error:
        what = str(error).rstrip(".") or type(error).__name__
        raise GridError(f"'{path}' is damaged: {what}. {remedy}") from error


@contextmanager
def exclusive(path: Path, patience: float = 0.0) -> Iterator[None]:
    """Let no other process write a file, or go on with it, meanwhile.

    What killed processes left of it is removed. Within one process it may
    be entered again.

    Args:
        path (Path): The file.
        patience (float): How many seconds to wait for another process.

    Raises:
        OSError: If another process is at it, or the folder can't be
            written.
    """
    target = path.absolute()
    if target in _held:
        _held[target] += 1
        try:
            yield
        finally:
            _held[target] -= 1
        return
    lock = path.with_name(f".{path.name}.lock")
    handle = _locked(lock, path, time.monotonic() + patience)
    _held[target] = 1
    try:
        for left in path.parent.glob(f".{escape(path.name)}.*.partial"):
            left.unlink(missing_ok=True)
        yield
    finally:
        del _held[target]
        # In this order, so that nobody locks a file that is then removed.
        lock.unlink(missing_ok=True)
        os.close(handle)


@contextmanager
def replacing(path: Path) -> Iterator[Path]:
    """Give a scratch file that takes the place of a file when it is whole.

    It lies beside its target and is renamed at the end, so an interruption
    or a full disk leaves what was there before untouched.

    Args:
        path (Path): The target.

    Yields:
        Path: The scratch file, to be written.

    Raises:
        OSError: If the folder is missing, read-only or full, or another
            process writes the same file; the message names the target and a
            remedy.
    """
    _check_no_folder(path)
    with exclusive(path):
        scratch = _scratch_for(path)
        try:
            yield scratch
            # mkstemp makes private files; give the usual rights instead.
            umask = os.umask(0)
            os.umask(umask)
            scratch.chmod(0o666 & ~umask)
            _sync(scratch)
            scratch.replace(path)
            _sync(path.parent)
        except (OSError, RuntimeError) as error:
            # h5py reports a disk that is full on closing as a RuntimeError.
            raise OSError(
                f"Can't write '{path}': {error}. What was there before is "
                "untouched; free some room or choose another place."
            ) from error
        finally:
            scratch.unlink(missing_ok=True)


@contextmanager
def write_sealed(
    path: Path, check: Callable[[Path], None] | None = None
) -> Iterator[h5py.File]:
    """Open a new HDF5 file of the package's own, with a checksum.

    It is put together in memory, which a full disk can't disturb, and
    appears under its name only when whole. `read_sealed` reads it; so does
    anything that reads HDF5.

    Args:
        path (Path): The target.
        check (callable): Raises an error if the file that it is given the
            path of is not as it should be; what was there before then
            stays.

    Yields:
        h5py.File: The open file.

    Raises:
        OSError: As `replacing` does.
    """
    with replacing(path) as scratch:
        stream = io.BytesIO()
        with h5py.File(stream, "w", userblock_size=_SEAL_SIZE) as hdf:
            yield hdf
        contents = stream.getbuffer()
        contents[:_SEAL_SIZE] = _seal(contents)
        _write_bytes(scratch, contents)
        if check is not None:
            check(scratch)


@contextmanager
def write_hdf5(path: Path) -> Iterator[h5py.File]:
    """Open a new HDF5 file that appears under its name only when whole.

    For files that may be larger than the memory: check that there is room
    first (`check_room`).

    Args:
        path (Path): The target.

    Yields:
        h5py.File: The open file.

    Raises:
        OSError: As `replacing` does.
    """
    with replacing(path) as scratch, h5py.File(scratch, "w") as hdf:
        yield hdf


def write_whole(path: Path, contents: bytes) -> None:
    """Write a file of any kind, whole or not at all.

    Args:
        path (Path): The target.
        contents (bytes): What to write.

    Raises:
        OSError: As `replacing` does.
    """
    with replacing(path) as scratch:
        _write_bytes(scratch, contents)


def check_writable(path: Path) -> None:
    """Refuse a target that can't be written, before any work is done.

    Raises:
        OSError: If its folder is missing or read-only, or it is a folder.
    """
    _check_no_folder(path)
    _scratch_for(path).unlink()


def check_room(path: Path, needed: int) -> None:
    """Refuse to start a file for which the disk has no room.

    Args:
        path (Path): The target, in an existing folder.
        needed (int): How many bytes it will have.

    Raises:
        OSError: If less is free.
    """
    free = shutil.disk_usage(path.parent).free
    if free < needed:
        raise OSError(
            f"Can't write '{path}': it needs {needed / 1e6:.0f} MB and "
            f"{free / 1e6:.0f} MB are free. Free some room, choose another "
            "place or keep less."
        )


def _check_self_contained(hdf: h5py.File, path: Path) -> None:
    """Refuse a file whose contents are not all in it.

    Raises:
        GridError: Names the entry, and what is wrong with it.
    """

    # An error can't leave HDF5's visit of a file; a result ends the visit.
    def wrong(name: bytes, link: h5py.h5l.LinkInfo) -> str | None:
        try:
            return _not_contained(hdf, name, link)
        except Exception as error:
            return f"its entry {name!r} can't be read ({error})"

    with damage_named(path, "Get a whole file."):
        found = hdf.id.links.visit(wrong, info=True)
    if found is not None:
        raise GridError(f"'{path}' is refused: {found}. Get a whole file.")


def _not_contained(
    hdf: h5py.File, name: bytes, link: h5py.h5l.LinkInfo
) -> str | None:
    """Return what of an entry of a file is not in it, or None."""
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
    compressions = [
        code
        for i in range(storage.get_nfilters())
        if (code := storage.get_filter(i)[0]) not in _NOT_COMPRESSING
    ]
    held = dataset.get_storage_size()
    most = held * _LARGEST_RATIO if compressions else held
    claimed = math.prod(dataset.shape or (0,)) * dataset.get_type().get_size()
    if claimed > most or len(compressions) > 1:
        return f"'{entry}' claims {claimed} bytes, of which it holds {held}"
    return None


def _unreadable(path: Path, error: Exception) -> GridError:
    """Return the error of a file that is no HDF5."""
    return GridError(
        f"'{path}' can't be read as HDF5 ({error}). It may be truncated or "
        "of another format: fetch or make it again."
    )


def _seal(contents: bytes | memoryview) -> bytes:
    """Return the block that belongs in front of a file's contents."""
    digest = sha256(memoryview(contents)[_SEAL_SIZE:]).hexdigest()
    return (_SEAL_START + digest.encode() + b"\n").ljust(_SEAL_SIZE, b"\0")


def _locked(lock: Path, path: Path, deadline: float) -> int:
    """Return the open lock file of a target.

    Args:
        lock (Path): The lock file.
        path (Path): The target.
        deadline (float): Until when to wait for others, by the clock of
            `time.monotonic`.

    Raises:
        OSError: If another process has it, or the folder can't be written.
    """
    while True:
        try:
            handle = os.open(lock, os.O_RDWR | os.O_CREAT)
        except OSError as error:
            raise _unwritable(path, error) from error
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            os.close(handle)
            if time.monotonic() < deadline:
                time.sleep(_MOMENT)
                continue
            raise OSError(
                f"Another process is writing '{path}': wait until it has "
                "finished, or choose another file."
            ) from error
        except OSError:
            # A file system without locks, as some of clusters are.
            return handle
        # Whoever had it may have removed the file before this lock.
        if lock.exists() and os.path.samestat(lock.stat(), os.fstat(handle)):
            return handle
        os.close(handle)


def _check_no_folder(path: Path) -> None:
    """Refuse a target that is a folder.

    Raises:
        OSError: Says so.
    """
    if path.is_dir():
        raise OSError(f"Can't write '{path}': it is a folder. Move it away.")


def _scratch_for(path: Path) -> Path:
    """Return a new empty file beside a target."""
    try:
        handle, name = tempfile.mkstemp(
            prefix=f".{path.name}.", suffix=".partial", dir=path.parent
        )
    except OSError as error:
        raise _unwritable(path, error) from error
    os.close(handle)
    return Path(name)


def _unwritable(path: Path, error: OSError) -> OSError:
    """Return the error of a target whose folder can't be written."""
    return OSError(
        f"Can't write '{path}': {error.strerror}. Choose an existing, "
        "writable folder."
    )


def _write_bytes(path: Path, contents: bytes | memoryview) -> None:
    """Write a file."""
    with path.open("wb") as stream:
        stream.write(contents)


def _sync(path: Path) -> None:
    """See a file, or the entries of a folder, on the disk."""
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
