"""The library file: one HDF5 file of galaxies, and what made them.

The only room that knows its layout::

    galaxies                  the number of each in the draws, (n,)
    skipped                   the numbers of those that were left out
    parameters/redshift       (n,), and so on: parameters/stars/...,
                              parameters/sf_hist/..., .../metal_dist/...
    photometry/<emission>     (n, n_bands); or luminosities, fnu, lnu
    filter_codes              (n_bands,)
    wavelength                (nlam,), for spectra

Every array has the attribute `Units`. The attribute `about` of the file is
JSON that says what made it.
"""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

import h5py
import numpy as np
from synthesizer.exceptions import GridError, InconsistentArguments

from synthesizer_emulator.files.hdf5 import open_hdf5, report_damage
from synthesizer_emulator.files.locks import exclusive
from synthesizer_emulator.files.writing import check_room, write_hdf5
from synthesizer_emulator.library.parts import (
    Collection,
    Parts,
    check_idle,
    collect,
    listed,
    remaining,
)

FORMAT = "synthesizer_emulator library"
FORMAT_VERSION = 1
PARTS_SUFFIX = ".parts"

# What to do where a library file is damaged.
_ANEW = "Fetch it again; or delete it, and make it again."


@dataclass(frozen=True)
class LibraryFile:
    """What a library file holds, but its arrays.

    Attributes:
        path (Path): The file.
        galaxies (int): How many galaxies.
        skipped (tuple of int): The draws that were left out.
        about (dict): What made it.
        digest (str): What distinguishes it from others.
    """

    path: Path
    galaxies: int
    skipped: tuple[int, ...]
    about: dict[str, Any]
    digest: str

    def __str__(self) -> str:
        """Return how many galaxies it has, and which were left out."""
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
            GridError: If it is none, or damaged.
        """
        path = Path(path)
        with report_damage(path, _ANEW), open_hdf5(path) as hdf:
            if str(hdf.attrs.get("format")) != FORMAT:
                raise GridError(
                    f"'{path}' is no library: expected the attribute "
                    f"'format' to be '{FORMAT}'."
                )
            about = json.loads(hdf.attrs["about"])
            if not isinstance(about, dict):
                raise ValueError("its attribute 'about' is no mapping")
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
    """Put the parts of a library together, and delete them.

    They are deleted when the file is on the disk and was found to hold what
    they do. After an interruption the same call goes on.

    Args:
        folders (str/Path/sequence): The folder of the parts, `*.parts`; or
            those of several machines that share no disk.
        path (str/Path): The file to write; by default beside the first
            folder.
        on_bad (str): Whether galaxies with values that are not finite are
            refused (`refuse`) or left out (`skip`).

    Returns:
        LibraryFile: What it holds.

    Raises:
        InconsistentArguments: If parts are damaged, lack or are double, or
            bad galaxies are refused; names them. Or if there is a file that
            is not this library. Nothing is deleted then.
        GridError: If the file does not hold what the parts do.
        OSError: If the file can't be written, or another process is at it
            or at the parts.
    """
    if isinstance(folders, str | Path):
        folders = [folders]
    every = [Path(folder) for folder in folders]
    if path is None:
        path = every[0].with_name(
            every[0].name.removesuffix(PARTS_SUFFIX) + ".hdf5"
        )
    path = library_path(path)
    with exclusive(path):
        for folder in every:
            check_idle(folder)
        if path.exists():
            collection = _already_merged(every, path)
        else:
            collection = collect(every, on_bad)
            write_library(collection, path)
        if collection is not None:
            _check_written(collection, path)
            collection.remove()
    return LibraryFile.open(path)


def check_same(path: Path, digest: str) -> LibraryFile:
    """Refuse a file that is there and is not a certain library.

    Args:
        path (Path): The file.
        digest (str): What distinguishes the library from others.

    Returns:
        LibraryFile: What the file holds.

    Raises:
        InconsistentArguments: If it is anything else.
    """
    try:
        there = LibraryFile.open(path)
    except GridError as error:
        raise InconsistentArguments(
            f"'{path}' is there already, and not replaced: {error} Move it "
            "away, or choose another file."
        ) from error
    if there.digest != digest:
        raise InconsistentArguments(
            f"'{path}' is there already, and another library: delete it, or "
            "choose another file."
        )
    return there


def library_path(path: str | Path) -> Path:
    """Return the path of a library file.

    Raises:
        InconsistentArguments: If it does not end as one.
    """
    path = Path(path)
    if path.suffix != ".hdf5":
        raise InconsistentArguments(
            f"A library file must be called *.hdf5, got '{path}'."
        )
    return path


def write_library(collection: Collection, path: Path) -> None:
    """Write a library file, whole or not at all.

    Args:
        collection (Collection): Its parts.
        path (Path): The file.

    Raises:
        OSError: If it can't be written.
    """
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


def _already_merged(folders: Sequence[Path], path: Path) -> Collection | None:
    """Return what is left of the parts of a file that is there.

    Returns:
        Collection: The parts; None if all are gone.

    Raises:
        InconsistentArguments: If the file is not made of these parts.
    """
    left = [f for f in folders if f.is_dir() and any(f.iterdir())]
    own = parts_folder(path).name in (folder.name for folder in folders)
    if own and not left:
        for folder in folders:
            if folder.is_dir():
                folder.rmdir()
        return None
    check_same(path, Parts.open((left or folders)[0]).digest)
    return remaining(left)


def _check_written(collection: Collection, path: Path) -> None:
    """Refuse a file that does not hold what its parts do.

    Raises:
        GridError: Names what differs.
    """
    with report_damage(path, _ANEW), open_hdf5(path) as hdf:
        places = np.searchsorted(hdf["galaxies"][...], collection.kept)
        for name in collection.rows:
            for which, rows in collection.read(name):
                if not len(rows):
                    continue
                # The galaxies of a part are in one piece.
                start = places[which.start]
                there = hdf[name][start : start + len(rows)]
                if there.tobytes() != rows.tobytes():
                    raise ValueError(f"'{name}' is not as in the parts")
