"""`fetch`: published weights, downloaded to the folder of the grids.

Files are verified by their SHA-256, and are data: nothing in them is
executed. They are written whole or not at all.
"""

import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from synthesizer.data.initialise import get_grids_dir
from synthesizer.exceptions import GridError

from synthesizer_emulator.digests import file_digest
from synthesizer_emulator.distribution.download import (
    REPLACED,
    ResumableDownload,
)
from synthesizer_emulator.distribution.registry import Registry, Release
from synthesizer_emulator.files.locks import exclusive
from synthesizer_emulator.files.writing import check_room, replacing
from synthesizer_emulator.gridfile.places import plain_name, weights_path
from synthesizer_emulator.progress import say
from synthesizer_emulator.weights.file import read_weights

# How long to wait for another process that fetches the same file, s.
_PATIENCE = 3600.0

# The answers of servers that do not have a file, or do not give it to all.
_GONE = (404, 410)
_FORBIDDEN = (401, 403)


def fetch(
    name: str,
    grid_dir: str | Path | None = None,
    release: str | None = None,
    registry: str | Path | None = None,
    overwrite: bool = False,
    progress: bool = True,
) -> Path:
    """Download published weights, unless they are there already.

    A download that was interrupted continues where it stopped.

    Args:
        name (str): The name of the weights in the registry.
        grid_dir (str/Path): The folder to write them to, made if missing; by
            default Synthesizer's grid folder.
        release (str): The release; by default the latest.
        registry (str/Path): The file or the URL of the registry; by default
            the environment variable `SYNTHESIZER_EMULATOR_REGISTRY`.
        overwrite (bool): Whether to replace other weights of this name, such
            as your own. Earlier releases are always replaced.
        progress (bool): Whether to show a bar.

    Returns:
        Path: The weights file.

    Raises:
        GridError: If the registry is missing, damaged or has no such
            weights, if the file is not what the registry says, or if the
            folder has other weights of this name.
        OSError: If the server can't be reached, or the file not be written.
    """
    listed = Registry.read(registry, plain_name(name))
    entry = listed.find(plain_name(name), release)
    folder = Path(get_grids_dir() if grid_dir is None else grid_dir)
    target = weights_path(folder / entry.name)
    with exclusive(target, _PATIENCE):
        if target.is_file():
            present = file_digest(target)
            if present == entry.sha256:
                return target
            if not overwrite:
                _check_replaceable(target, present, entry, listed)
        _download(listed, entry, target, progress)
    return target


def _check_replaceable(
    target: Path, present: str, entry: Release, registry: Registry
) -> None:
    """Raise unless the weights of a file are a release of the same name."""
    releases = {
        other.sha256 for other in registry.releases if other.name == entry.name
    }
    if present not in releases:
        raise GridError(
            f"'{target}' exists, and is not a release of '{entry.name}' in "
            f"'{registry.source}': use it, rename it, pass another "
            "--grid-dir (grid_dir=), or --overwrite (overwrite=True) to "
            "replace it."
        )


def _download(
    registry: Registry, entry: Release, target: Path, progress: bool
) -> None:
    """Download a release, verify it, and replace a file by it.

    What was received before an interruption stays in a hidden folder beside
    the file, for the next time.
    """
    url = registry.location(entry)
    check_room(target, entry.size)
    work = target.with_name(f".{target.name}.fetching")
    work.mkdir(exist_ok=True)
    try:
        verified = _retrieve(url, entry, work, progress)
        _check_weights(verified, url, registry)
    except GridError:
        shutil.rmtree(work)
        raise
    except OSError as error:
        kept = f" What was received is in '{work}'." * _has_part(work)
        raise OSError(
            f"'{entry.name}' can't be fetched from '{url}': {error}. "
            f"{_remedy(error)}{kept}".rstrip()
        ) from error
    finally:
        if not _has_part(work):
            shutil.rmtree(work, ignore_errors=True)
    with replacing(target) as scratch:
        verified.replace(scratch)
    shutil.rmtree(work)


def _check_weights(path: Path, url: str, registry: Registry) -> None:
    """Raise unless a verified file holds weights.

    The message has the URL, since the file is in a hidden folder.
    """
    try:
        read_weights(path)
    except GridError as error:
        problem = str(error).strip().replace(f"'{path}'", "it")
        raise GridError(
            f"The file at '{url}' is the one that the registry "
            f"'{registry.source}' lists, but can't be loaded: {problem} Tell "
            "whoever serves the registry. Nothing was written."
        ) from error


def _has_part(work: Path) -> bool:
    """Return whether a folder has a file, or a part to be continued."""
    return work.is_dir() and any(p.stat().st_size for p in work.iterdir())


def _remedy(error: OSError) -> str:
    """Say what to do if a server does not send a file, or ''."""
    status = getattr(getattr(error, "response", None), "status_code", None)
    if status in _GONE or isinstance(error, FileNotFoundError):
        return (
            "The file is not where the registry says: tell whoever serves "
            "the registry, or fetch another release by --release (release=)."
        )
    if status in _FORBIDDEN:
        return "The server wants a permission, which `fetch` can't give it."
    return "Try again later." if status is not None else ""


def _retrieve(
    url: str, entry: Release, work: Path, progress: bool, again: bool = True
) -> Path:
    """Download a file to a folder, and verify it.

    If what was continued turns out to be damaged, it begins once `again`.
    """
    # Partial files of other contents must not be continued.
    partial = work / f"{entry.sha256}.partial"
    download = ResumableDownload(partial, entry.size, progress)
    try:
        with _silent_pooch() as pooch:
            return Path(
                pooch.retrieve(
                    url,
                    f"sha256:{entry.sha256}",
                    fname=entry.sha256,
                    path=work,
                    downloader=download,
                )
            )
    except ValueError as error:
        if download.resumed and again:
            say("What was fetched is damaged: beginning anew.", progress)
            return _retrieve(url, entry, work, progress, again=False)
        raise GridError(
            f"The file at '{url}' is not release {entry.release} of "
            f"'{entry.name}': its SHA-256 differs from that of the registry. "
            f"{REPLACED}. Nothing was written."
        ) from error


@contextmanager
def _silent_pooch() -> Iterator[Any]:
    """Import pooch, which logs what the progress bar shows."""
    import pooch

    logger = pooch.get_logger()
    level = logger.level
    logger.setLevel("WARNING")
    try:
        yield pooch
    finally:
        logger.setLevel(level)
