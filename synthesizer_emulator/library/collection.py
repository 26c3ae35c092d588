"""All parts of a library, joined and checked for completeness."""

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

# The shape and the dtype of one galaxy's row of an array.
_Row = tuple[tuple[int, ...], np.dtype]


@dataclass(frozen=True)
class Collection:
    """The parts of a library.

    Attributes:
        parts (Parts): The library.
        folders (tuple of Path): The folders of the parts.
        paths (tuple of Path): The files, in the order of their galaxies.
        kept (np.ndarray of int): The numbers of the galaxies kept, (n,).
        skipped (np.ndarray of int): The numbers of those left out.
        rows (Mapping): The shape and dtype of one galaxy's row of each
            array, by its name.
    """

    parts: Parts
    folders: tuple[Path, ...]
    paths: tuple[Path, ...]
    kept: NDArray[np.int64]
    skipped: NDArray[np.int64]
    rows: Mapping[str, _Row]

    @property
    def nbytes(self) -> int:
        """Size of all arrays."""
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
            GridError: If a part was damaged meanwhile.
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
            # The plan last: it identifies what an interruption leaves.
            for pattern in (".*.partial", ".*.lock", PLAN):
                for path in folder.glob(pattern):
                    path.unlink(missing_ok=True)
            if not any(folder.iterdir()):
                folder.rmdir()


def collect(
    folders: Path | Sequence[Path], on_bad: str = "skip"
) -> Collection:
    """Find all parts of a library, and check that they are complete.

    Args:
        folders (Path/sequence of Path): The folder of the parts; or several,
            of machines that share no disk.
        on_bad (str): `refuse` bad galaxies among them, or `skip` them.

    Returns:
        Collection: The parts.

    Raises:
        InconsistentArguments: If the folders are of different libraries, or
            parts are damaged, missing or there twice; names them.
    """
    check_choice("on_bad", on_bad, ON_BAD)
    collection, spans = _gathered(folders)
    _check_complete(collection.parts, spans)
    if len(collection.skipped) and on_bad == "refuse":
        raise bad_galaxies(collection.skipped)
    return collection


def remaining(folders: Sequence[Path]) -> Collection:
    """Return the parts that are left of a library that was joined.

    Damaged ones, which are not needed any more, are deleted.

    Args:
        folders (sequence of Path): As for `collect`.

    Returns:
        Collection: The parts, perhaps not all.

    Raises:
        InconsistentArguments: If the folders are of different libraries.
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
    """The galaxies of one part.

    Attributes:
        path (Path): The file.
        start (int): The number of its first galaxy.
        stop (int): The number after its last.
        bad (np.ndarray of bool): The galaxies to leave out.
        rows (Mapping): As for `Collection`.
    """

    path: Path
    start: int
    stop: int
    bad: NDArray[np.bool_]
    rows: Mapping[str, _Row]


def _gathered(
    folders: Path | Sequence[Path],
) -> tuple[Collection, list[tuple[int, int]]]:
    """Return the parts in folders, and the span of galaxies of each."""
    folders = [folders] if isinstance(folders, Path) else list(folders)
    places = [folder.resolve() for folder in folders]
    if not places or len(set(places)) < len(places):
        raise InconsistentArguments(
            "Expected the folders of a library's parts, each once; got "
            f"{', '.join(map(str, folders)) or 'none'}."
        )
    libraries = [Parts.open(folder) for folder in folders]
    if len({parts.digest for parts in libraries}) != 1:
        raise InconsistentArguments(
            "The folders hold parts of different libraries: "
            f"{', '.join(map(str, folders))} (they differ in: "
            f"{', '.join(differences(*libraries))})."
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
    numbers = [np.arange(part.start, part.stop) for part in read]
    number = np.concatenate([np.empty(0, np.int64), *numbers])
    bad = np.concatenate([np.empty(0, np.bool_), *(part.bad for part in read)])
    collection = Collection(
        parts=parts,
        folders=tuple(folders),
        paths=tuple(part.path for part in read),
        kept=number[~bad],
        skipped=number[bad],
        rows=read[-1].rows if read else {},
    )
    return collection, [(part.start, part.stop) for part in read]


def _read_part(parts: Parts, path: Path) -> _Part:
    """Read a part, and verify that it is whole and of the library.

    Raises:
        InconsistentArguments: If it is not.
    """
    try:
        with open_sealed(path, REMEDY) as hdf:
            digest = hdf.attrs["digest"]
            start, stop = int(hdf.attrs["start"]), int(hdf.attrs["stop"])
            bad = hdf["bad"][...]
            if bad.dtype != np.bool_ or bad.shape != (stop - start,):
                raise ValueError("it does not say which galaxies are bad")
            part = _Part(path, start, stop, bad, _rows(hdf, len(bad)))
    except GridError as error:
        raise InconsistentArguments(
            f"'{path}' is no part of a library, or damaged. What is damaged "
            "is made again by the library's command; delete what is no part. "
            f"({str(error).strip()})"
        ) from error
    if digest != parts.digest:
        raise InconsistentArguments(
            f"'{path}' is a part of another library: delete it."
        )
    return part


def _check_complete(parts: Parts, spans: Sequence[tuple[int, int]]) -> None:
    """Refuse sorted spans that don't cover each galaxy once."""
    missing, double = [], []
    end = 0
    for start, stop in spans:
        if start > end:
            missing.append((end, start))
        if start < end:
            double.append((start, min(stop, end)))
        end = max(end, stop)
    if end < parts.n:
        missing.append((end, parts.n))
    for wrong, what, remedy in (
        (missing, "are missing", "run it again, or give all its folders"),
        (double, "are there twice", "give only one of the copies"),
    ):
        if wrong:
            total = sum(stop - start for start, stop in wrong)
            ranges = listed(
                [f"{start} to {stop - 1}" for start, stop in wrong]
            )
            raise InconsistentArguments(
                f"Of the {parts.n} galaxies of '{parts.folder}' {total} "
                f"{what}: {ranges}; {remedy}."
            )


def _rows(hdf: h5py.File, n: int) -> dict[str, _Row]:
    """Return the shape and dtype of a row of each array of a part.

    Raises:
        ValueError: If an array does not have n rows.
    """
    names: list[str] = []
    hdf[ARRAYS].visit(names.append)
    entries = {name: hdf[ARRAYS][name] for name in names}
    arrays = {k: v for k, v in entries.items() if isinstance(v, h5py.Dataset)}
    for name, array in arrays.items():
        if not array.shape or array.shape[0] != n:
            raise ValueError(f"'{name}' has not one row for each galaxy")
    return {name: (a.shape[1:], a.dtype) for name, a in arrays.items()}
