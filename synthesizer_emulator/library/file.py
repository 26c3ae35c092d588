"""The library file: an HDF5 file of galaxies and the inputs of the library.

The layout is::

    galaxies                  the index of each galaxy in the draws, (n,)
    skipped                   the indices of the galaxies left out
    parameters/redshift       (n,), and likewise parameters/stars/...,
                              parameters/sf_hist/..., .../metal_dist/...
    photometry/<emission>     (n, n_bands); or luminosities, fnu, lnu,
                              line_fluxes and other outputs of lines
    filter_codes              (n_bands,)
    wavelength                (nlam,), for spectra
    line_ids                  (n_lines,), and likewise line_wavelengths

Every array has the attribute `Units`. The attribute `about` of the file holds
the inputs of the library in JSON.
"""

import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol, Self, TypeVar

import h5py
import numpy as np
from synthesizer.exceptions import GridError, InconsistentArguments

from synthesizer_emulator.files.hdf5 import open_hdf5, report_damage
from synthesizer_emulator.files.locks import exclusive
from synthesizer_emulator.files.writing import check_room, write_hdf5
from synthesizer_emulator.library.collection import (
    Collection,
    collect,
    remaining,
)
from synthesizer_emulator.library.parts import Parts, check_idle, listed

FORMAT = "synthesizer_emulator library"
FORMAT_VERSION = 1
PARTS_SUFFIX = ".parts"

# The remedy for a damaged library file.
_REMEDY = "Download it again, or delete it and make it again."


@dataclass(frozen=True)
class LibraryFile:
    """The contents of a library file, without its arrays.

    Attributes:
        path (Path): The file.
        galaxies (int): The number of galaxies.
        skipped (tuple of int): The indices of the galaxies left out.
        about (dict): The inputs of the library.
        digest (str): The digest of the inputs.
    """

    path: Path
    galaxies: int
    skipped: tuple[int, ...]
    about: dict[str, Any]
    digest: str

    def __str__(self) -> str:
        """Return the size of the library and the galaxies left out."""
        megabytes = self.path.stat().st_size / 1e6
        lines = [f"{self.path}: {self.galaxies} galaxies ({megabytes:.1f} MB)"]
        if self.skipped:
            lines.append(
                f"{len(self.skipped)} left out: {listed(self.skipped)}"
            )
        return "\n".join(lines)

    @classmethod
    def open(cls, path: str | Path) -> Self:
        """Read a library file.

        Args:
            path (str/Path): The file.

        Raises:
            GridError: If the file is damaged or not a library.
        """
        path = Path(path)
        with report_damage(path, _REMEDY), open_hdf5(path) as hdf:
            if str(hdf.attrs.get("format")) != FORMAT:
                raise GridError(
                    f"'{path}' is not a library: its attribute 'format' must "
                    f"be '{FORMAT}'. Give the path of a library file."
                )
            about = json.loads(hdf.attrs["about"])
            if not isinstance(about, dict):
                raise ValueError("its attribute 'about' is not a mapping")
            return cls(
                path=path,
                galaxies=len(hdf["galaxies"]),
                skipped=tuple(hdf["skipped"][...].tolist()),
                about=about,
                digest=str(hdf.attrs["digest"]),
            )


def parts_folder(path: Path) -> Path:
    """Return the folder for the parts of a library file."""
    return path.with_name(path.name.removesuffix(".hdf5") + PARTS_SUFFIX)


def merge(
    folders: str | Path | Sequence[str | Path],
    path: str | Path | None = None,
    on_bad: str = "skip",
) -> LibraryFile:
    """Join the parts of a library into one file, and delete them.

    The parts are deleted after the file has been written to disk and compared
    with them. The same call resumes after an interruption.

    Args:
        folders (str/Path/sequence): The folder of the parts, `*.parts`, or
            several folders if machines did not share a disk.
        path (str/Path): The file to write; by default next to the first
            folder.
        on_bad (str): `skip` galaxies with values that are not finite, or
            `refuse` them with an error.

    Returns:
        LibraryFile: The file.

    Raises:
        InconsistentArguments: If parts are damaged, missing or duplicate, if
            galaxies are refused, or if the file exists and is another
            library. No parts are deleted then.
        GridError: If the file differs from the parts.
        OSError: If the file can't be written, or another process is writing
            it or its parts.
    """
    if isinstance(folders, str | Path):
        folders = [folders]
    paths = [Path(folder) for folder in folders]
    if path is None:
        name = paths[0].name.removesuffix(PARTS_SUFFIX) + ".hdf5"
        path = paths[0].with_name(name)
    path = library_path(path)
    with exclusive(path):
        for folder in paths:
            check_idle(folder)
        if path.exists():
            collection = _already_merged(paths, path)
        else:
            collection = collect(paths, on_bad)
            write_library(collection, path)
        if collection is not None:
            _check_written(collection, path)
            collection.remove()
    return LibraryFile.open(path)


class _HasDigest(Protocol):
    """A file that has the digest of its inputs."""

    @property
    def digest(self) -> str: ...


_File = TypeVar("_File", bound=_HasDigest)


def check_same(path: Path, digest: str) -> LibraryFile:
    """Return an existing file; raise unless it has the digest of a library."""
    return existing(LibraryFile.open, path, digest, "another library")


def existing(
    open_file: Callable[[Path], _File], path: Path, digest: str, another: str
) -> _File:
    """Return an existing file; raise unless it has a digest.

    Args:
        open_file (callable): Opens the file.
        path (Path): The file.
        digest (str): The digest of its inputs.
        another (str): What a file with another digest is, for the message.

    Raises:
        InconsistentArguments: If it is damaged, or has another digest.
    """
    try:
        file = open_file(path)
    except GridError as error:
        raise InconsistentArguments(
            f"'{path}' exists and is not replaced: {error} Move it, or choose "
            "another file."
        ) from error
    if file.digest != digest:
        raise InconsistentArguments(
            f"'{path}' exists and is {another}: delete it, or choose another "
            "file."
        )
    return file


def library_path(path: str | Path) -> Path:
    """Return the path of a library file; raise unless it ends in `.hdf5`."""
    path = Path(path)
    if path.suffix != ".hdf5":
        raise InconsistentArguments(
            f"The name of a library file must end in .hdf5, got '{path}'."
        )
    return path


def write_library(collection: Collection, path: Path) -> None:
    """Write a library file from its parts."""
    about = collection.parts.about
    units = about.get("units", {})
    check_room(path, collection.nbytes)
    with write_hdf5(path) as hdf:
        hdf.attrs["format"] = FORMAT
        hdf.attrs["format_version"] = FORMAT_VERSION
        hdf.attrs["digest"] = collection.parts.digest
        hdf.attrs["about"] = json.dumps(about)
        hdf["galaxies"] = collection.kept
        hdf["skipped"] = collection.skipped
        for name in collection.rows:
            dataset = collection.write_array(hdf, name, name)
            dataset.attrs["Units"] = units.get(name, "dimensionless")
        if about.get("filters"):
            hdf["filter_codes"] = np.array(
                list(about["filters"]), h5py.string_dtype()
            )
        if "wavelength" in about:
            hdf["wavelength"] = np.array(about["wavelength"])
            hdf["wavelength"].attrs["Units"] = "angstrom"
        if "lines" in about:
            hdf["line_ids"] = np.array(
                list(about["lines"]), h5py.string_dtype()
            )
            hdf["line_wavelengths"] = np.array(list(about["lines"].values()))
            hdf["line_wavelengths"].attrs["Units"] = "angstrom"


def _already_merged(folders: Sequence[Path], path: Path) -> Collection | None:
    """Return the parts of an existing library file that were not deleted.

    Returns:
        Collection: The parts; None if all were deleted.

    Raises:
        InconsistentArguments: If the file is another library.
    """
    nonempty = [f for f in folders if f.is_dir() and any(f.iterdir())]
    belong = parts_folder(path).name in (folder.name for folder in folders)
    if belong and not nonempty:
        for folder in folders:
            if folder.is_dir():
                folder.rmdir()
        return None
    check_same(path, Parts.open((nonempty or folders)[0]).digest)
    return remaining(nonempty)


def _check_written(collection: Collection, path: Path) -> None:
    """Raise `GridError` if an array of a file differs from the parts."""
    with report_damage(path, _REMEDY), open_hdf5(path) as hdf:
        positions = np.searchsorted(hdf["galaxies"][...], collection.kept)
        for name in collection.rows:
            for which, rows in collection.read(name):
                if not len(rows):
                    continue
                # The galaxies of a part are contiguous.
                start = positions[which.start]
                written = hdf[name][start : start + len(rows)]
                if written.tobytes() != rows.tobytes():
                    raise ValueError(f"'{name}' differs from the parts")
