"""Join the parts of a library, after a check for completeness."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import h5py
import numpy as np
from numpy.typing import NDArray
from synthesizer.exceptions import GridError, InconsistentArguments

from synthesizer_emulator.files.hdf5 import open_hdf5, report_damage
from synthesizer_emulator.files.sealed import open_sealed
from synthesizer_emulator.library.parts import (
    ARRAYS,
    ON_BAD,
    PARTS,
    PLAN,
    REMEDY,
    Parts,
    bad_galaxies,
    differences,
    listed,
)
from synthesizer_emulator.validation import check_choice

# The shape and dtype of the row of one galaxy in an array.
_Row = tuple[tuple[int, ...], np.dtype]


@dataclass(frozen=True)
class Collection:
    """The parts of a library.

    Attributes:
        parts (Parts): The library.
        folders (tuple of Path): The folders of the parts.
        paths (tuple of Path): The files, in the order of their galaxies.
        kept (np.ndarray of int): The indices of the galaxies kept, (n,).
        skipped (np.ndarray of int): The indices of the galaxies left out.
        rows (Mapping): The shape and dtype of the row of one galaxy in each
            array, by the name of the array.
    """

    parts: Parts
    folders: tuple[Path, ...]
    paths: tuple[Path, ...]
    kept: NDArray[np.int64]
    skipped: NDArray[np.int64]
    rows: Mapping[str, _Row]

    @property
    def nbytes(self) -> int:
        """Size of all arrays, bytes."""
        row = sum(
            int(np.prod(shape)) * dtype.itemsize
            for shape, dtype in self.rows.values()
        )
        return len(self.kept) * row

    def read(self, name: str) -> Iterator[tuple[slice, NDArray]]:
        """Read an array of the galaxies kept, part by part.

        Args:
            name (str): The name of the array.

        Yields:
            tuple: The slice of the galaxies kept, and their rows.

        Raises:
            GridError: If a part is damaged.
        """
        start = 0
        for path in self.paths:
            with report_damage(path, REMEDY), open_hdf5(path) as hdf:
                values = hdf[f"{ARRAYS}/{name}"][...][~hdf["bad"][...]]
            yield slice(start, start + len(values)), values
            start += len(values)

    def write_array(
        self, hdf: h5py.File, path: str, name: str
    ) -> h5py.Dataset:
        """Write an array to a file, with one row per galaxy.

        Args:
            hdf (h5py.File): The file.
            path (str): The path of the dataset in the file.
            name (str): The name of the array.

        Returns:
            h5py.Dataset: The dataset.
        """
        shape, dtype = self.rows[name]
        dataset = hdf.create_dataset(path, (len(self.kept), *shape), dtype)
        for which, values in self.read(name):
            dataset[which] = values
        return dataset

    def remove(self) -> None:
        """Delete the parts and their folders."""
        for path in self.paths:
            path.unlink()
        for folder in self.folders:
            # Delete the plan last: it identifies the parts.
            for pattern in (".*.partial", ".*.lock", PLAN):
                for path in folder.glob(pattern):
                    path.unlink(missing_ok=True)
            if not any(folder.iterdir()):
                folder.rmdir()


def collect(
    folders: Path | Sequence[Path], on_bad: str = "skip"
) -> Collection:
    """Collect all parts of a library, and check that they are complete.

    Args:
        folders (Path/sequence of Path): The folder of the parts, or several
            folders if machines did not share a disk.
        on_bad (str): `skip` galaxies with values that are not finite, or
            `refuse` them with an error.

    Returns:
        Collection: The parts.

    Raises:
        InconsistentArguments: If the folders belong to different libraries,
            parts are damaged, missing or duplicate, or galaxies are refused;
            the message lists them.
    """
    check_choice("on_bad", on_bad, ON_BAD)
    collection, spans = _gathered(folders)
    _check_complete(collection.parts, spans)
    if len(collection.skipped) and on_bad == "refuse":
        raise bad_galaxies(collection.skipped)
    return collection


def remaining(folders: Sequence[Path]) -> Collection:
    """Return the parts that remain after the library was joined.

    Damaged parts, which are no longer needed, are deleted.
    """
    for folder in folders:
        for path in folder.glob(PARTS):
            try:
                with open_sealed(path, REMEDY):
                    pass
            except GridError:
                path.unlink()
    return _gathered(folders)[0]


@dataclass(frozen=True)
class _Part:
    """The galaxies of one part, from `start` up to but excluding `stop`.

    `bad`, (n,), is true for the galaxies to leave out.
    """

    path: Path
    start: int
    stop: int
    bad: NDArray[np.bool_]
    rows: Mapping[str, _Row]


def _gathered(
    folders: Path | Sequence[Path],
) -> tuple[Collection, list[tuple[int, int]]]:
    """Return the parts in folders, and the range of galaxies of each."""
    folders = [folders] if isinstance(folders, Path) else list(folders)
    resolved = {folder.resolve() for folder in folders}
    if not folders or len(resolved) < len(folders):
        raise InconsistentArguments(
            "The folders of a library's parts must be given once each, got "
            f"{', '.join(map(str, folders)) or 'none'}."
        )
    libraries = [Parts.open(folder) for folder in folders]
    if len({parts.digest for parts in libraries}) != 1:
        raise InconsistentArguments(
            f"The folders must hold parts of the same {libraries[0].kind}, "
            f"got {', '.join(map(str, folders))}, which differ in: "
            f"{', '.join(differences(*libraries))}."
        )
    parts = libraries[0]
    read = sorted(
        (
            _read_part(parts, path)
            for folder in folders
            for path in folder.glob("*.hdf5")
        ),
        key=lambda part: (part.start, part.path),
    )
    ranges = [np.arange(part.start, part.stop) for part in read]
    indices = np.concatenate([np.empty(0, np.int64), *ranges])
    bad = np.concatenate([np.empty(0, np.bool_), *(part.bad for part in read)])
    collection = Collection(
        parts=parts,
        folders=tuple(folders),
        paths=tuple(part.path for part in read),
        kept=indices[~bad],
        skipped=indices[bad],
        rows=read[-1].rows if read else {},
    )
    return collection, [(part.start, part.stop) for part in read]


def _read_part(parts: Parts, path: Path) -> _Part:
    """Read a part; raise if it is damaged or of another library."""
    try:
        with open_sealed(path, REMEDY) as hdf:
            digest = hdf.attrs["digest"]
            start, stop = int(hdf.attrs["start"]), int(hdf.attrs["stop"])
            bad = hdf["bad"][...]
            if bad.dtype != np.bool_ or bad.shape != (stop - start,):
                raise ValueError("'bad' must hold one boolean for each galaxy")
            part = _Part(path, start, stop, bad, _rows(hdf, len(bad)))
    except GridError as error:
        raise InconsistentArguments(
            f"'{path}' is not a part of a {parts.kind}, or is damaged "
            f"({str(error).strip()}). Run the same command to make a damaged "
            "part again, or delete a file that is not a part."
        ) from error
    if digest != parts.digest:
        raise InconsistentArguments(
            f"'{path}' is a part of another {parts.kind}: delete it."
        )
    return part


def _check_complete(parts: Parts, spans: Sequence[tuple[int, int]]) -> None:
    """Raise unless sorted ranges contain each galaxy exactly once."""
    missing, duplicate = [], []
    end = 0
    for start, stop in spans:
        if start > end:
            missing.append((end, start))
        if start < end:
            duplicate.append((start, min(stop, end)))
        end = max(end, stop)
    if end < parts.n:
        missing.append((end, parts.n))
    for wrong, problem, remedy in (
        (missing, "are missing", "run it again, or give all its folders"),
        (duplicate, "appear twice", "give only one of the copies"),
    ):
        if wrong:
            total = sum(stop - start for start, stop in wrong)
            ranges = listed(
                [f"{start} to {stop - 1}" for start, stop in wrong]
            )
            raise InconsistentArguments(
                f"Of the {parts.n} galaxies of '{parts.folder}', {total} "
                f"{problem}: {ranges}; {remedy}."
            )


def _rows(hdf: h5py.File, n: int) -> dict[str, _Row]:
    """Return the shape and dtype of the rows of each array of a part.

    Raises:
        ValueError: If an array does not have n rows.
    """
    names: list[str] = []
    hdf[ARRAYS].visit(names.append)
    entries = {name: hdf[ARRAYS][name] for name in names}
    arrays = {k: v for k, v in entries.items() if isinstance(v, h5py.Dataset)}
    for name, array in arrays.items():
        if not array.shape or array.shape[0] != n:
            raise ValueError(f"'{name}' must have one row for each galaxy")
    return {name: (a.shape[1:], a.dtype) for name, a in arrays.items()}
