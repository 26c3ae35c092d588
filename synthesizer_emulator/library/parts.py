"""Galaxies on disk in parts: written whole, taken up again, put together.

A library of a million galaxies takes a while, maybe on several machines.
It is written in parts, each a file that appears when it is whole and says
which galaxies it holds and of which library. What an interruption leaves
is taken up by the same command, by any number of processes, and `collect`
finds out whether anything lacks or is double. This room knows arrays with
one row a galaxy; what they are, and how the final file is laid out, is
its users' business.
"""

import json
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from functools import cached_property
from hashlib import sha256
from pathlib import Path
from typing import Any, Self

import h5py
import numpy as np
from numpy.typing import NDArray
from synthesizer.exceptions import GridError, InconsistentArguments
from synthesizer.synth_warnings import warn
from tqdm import tqdm

from synthesizer_emulator.files.hdf5 import open_hdf5, report_damage
from synthesizer_emulator.files.locks import exclusive
from synthesizer_emulator.files.sealed import open_sealed, write_sealed
from synthesizer_emulator.files.writing import write_whole
from synthesizer_emulator.validation import check_choice, check_whole

ON_BAD = ("refuse", "skip")

_PLAN = "plan.json"
_PARTS = "part-*.hdf5"
_ARRAYS = "arrays"

# How the lock of a process at work is called.
_PROCESS = re.compile(r"process-(\d+)-of-(\d+)")

# How long to wait for others that begin the same library, seconds.
_PATIENCE = 60.0

# What to do where a part is damaged.
_AGAIN = "The library's command makes it again."

# The most bytes in a part.
_BYTES = 2**27

# How many galaxies a message lists.
_LISTED = 10


def part_size(most: int, row_bytes: int) -> int:
    """Return how many galaxies suit a part.

    Args:
        most (int): How many there may be.
        row_bytes (int): How many bytes one of them takes.
    """
    return max(1, min(most, _BYTES // row_bytes))


def listed(items: Sequence[Any] | NDArray) -> str:
    """Return the first of some galaxies, for a message."""
    more = ", ..." * (len(items) > _LISTED)
    return f"{', '.join(map(str, items[:_LISTED]))}{more}"


def check_process(process: int, processes: int) -> None:
    """Refuse a process that is none of so many.

    Raises:
        InconsistentArguments: Says what was expected and what was met.
    """
    check_whole("processes", processes, 1)
    check_whole("process", process, 0)
    if process >= processes:
        raise InconsistentArguments(
            f"The process must be one of 0 to {processes - 1}, got {process}."
        )


@dataclass(frozen=True)
class Parts:
    """A library on its way, in a folder of its own.

    Attributes:
        folder (Path): Where the parts are.
        n (int): How many galaxies there will be.
        size (int): How many of them are in a part.
        about (Mapping): All that says what they are, as JSON knows it. Parts
            of another library are recognised by it.
    """

    folder: Path
    n: int
    size: int
    about: Mapping[str, Any]

    def __post_init__(self) -> None:
        """Check the numbers.

        Raises:
            InconsistentArguments: If there are no galaxies.
        """
        check_whole("the number of galaxies", self.n, 1)
        check_whole("the galaxies of a part", self.size, 1)

    @classmethod
    def begin(
        cls, folder: Path, n: int, size: int, about: Mapping[str, Any]
    ) -> Self:
        """Make the folder of a library, or take up what is there.

        Several processes may do so at once.

        Args:
            folder (Path): The folder.
            n (int): How many galaxies there will be.
            size (int): How many of them are in a part.
            about (Mapping): What says what they are, as JSON knows it.

        Returns:
            Parts: They, in the size that was begun with.

        Raises:
            InconsistentArguments: If the folder is of another library.
            OSError: If it can't be written, or the same process of the
                library is at work already.
        """
        parts = cls(folder, n, size, json.loads(json.dumps(about)))
        folder.mkdir(parents=True, exist_ok=True)
        plan = folder / _PLAN
        with exclusive(plan, _PATIENCE):
            if plan.is_file():
                try:
                    there = cls.open(folder)
                except GridError as error:
                    warn(str(error).strip())
                else:
                    if there.digest == parts.digest:
                        return there
                    parts._check_unused(there)
            parts._drop_strays()
            write_whole(plan, parts._plan())
        return parts

    @classmethod
    def open(cls, folder: Path) -> Self:
        """Return the parts that a folder is for.

        Args:
            folder (Path): The folder.

        Raises:
            InconsistentArguments: If it is none of a library.
            GridError: If its plan is damaged.
        """
        path = folder / _PLAN
        if not path.is_file():
            raise InconsistentArguments(
                f"'{folder}' is no folder of a library's parts: expected "
                f"'{_PLAN}' in it."
            )
        with report_damage(path, _AGAIN):
            stored = json.loads(path.read_bytes())
            plan = stored["plan"]
            if stored["sha256"] != _checksum(plan):
                raise ValueError("it does not match its checksum")
            return cls(folder, plan["n"], plan["size"], plan["about"])

    @cached_property
    def digest(self) -> str:
        """What distinguishes the library from others."""
        # In the order given: that of filters and parameters matters.
        identity = json.dumps([self.n, self.about])
        return sha256(identity.encode()).hexdigest()

    def ranges(self, process: int = 0, processes: int = 1) -> list[slice]:
        """Return which galaxies are in each part that a process makes.

        Args:
            process (int): The process.
            processes (int): How many there are; they take turns.
        """
        starts = range(process * self.size, self.n, processes * self.size)
        return [slice(i, min(i + self.size, self.n)) for i in starts]

    def is_written(self, which: slice) -> bool:
        """Return whether a part is there and whole.

        Of one that is damaged it is said that it will be made again.
        """
        path = self._path(which)
        if not path.is_file():
            return False
        try:
            with open_sealed(path, _AGAIN) as hdf:
                return bool(hdf.attrs["digest"] == self.digest)
        except GridError as error:
            warn(str(error).strip())
            return False

    def write(
        self, which: slice, arrays: Mapping[str, NDArray], bad: NDArray
    ) -> None:
        """Write a part, whole or not at all.

        Args:
            which (slice): Its galaxies.
            arrays (Mapping): What there is of them, with one row a galaxy.
            bad (np.ndarray of bool): Which are not to be kept.

        Raises:
            OSError: If it can't be written.
        """
        with write_sealed(self._path(which)) as hdf:
            hdf.attrs["digest"] = self.digest
            hdf.attrs["start"], hdf.attrs["stop"] = which.start, which.stop
            hdf["bad"] = bad
            for name, values in arrays.items():
                hdf[f"{_ARRAYS}/{name}"] = values

    def _path(self, which: slice) -> Path:
        return self.folder / f"part-{which.start:012}-{which.stop:012}.hdf5"

    def _plan(self) -> bytes:
        """Return the contents of the plan, with their checksum."""
        plan = {"n": self.n, "size": self.size, "about": self.about}
        stored = {"sha256": _checksum(plan), "plan": plan}
        return json.dumps(stored, indent=1).encode()

    def _check_unused(self, there: "Parts") -> None:
        """Refuse to begin where another library has begun.

        One that has made no galaxies yet, and is not at work, gives way.
        """
        check_idle(self.folder)
        if any(self.folder.glob("*.hdf5")):
            raise InconsistentArguments(
                f"'{self.folder}' holds parts of another library (it differs "
                f"in: {', '.join(_differences(there, self))}). Delete it, or "
                "choose another file."
            )

    def _drop_strays(self) -> None:
        """Delete parts that don't fit, where there is no plan.

        Raises:
            InconsistentArguments: If there are some of another library.
        """
        fitting = {self._path(which) for which in self.ranges()}
        for path in self.folder.glob(_PARTS):
            try:
                with open_sealed(path, _AGAIN) as hdf:
                    same = hdf.attrs["digest"] == self.digest
            except GridError:
                # Made again, or dropped here.
                same = True
            if not same:
                raise InconsistentArguments(
                    f"'{path}' is a part of another library, whose plan is "
                    "lost. Delete its folder, or choose another file."
                )
            if path not in fitting:
                path.unlink()


def write_parts(
    parts: Parts,
    make: Callable[[slice], Mapping[str, NDArray]],
    on_bad: str = "refuse",
    process: int = 0,
    processes: int = 1,
    progress: bool = True,
    judged: Sequence[str] | None = None,
) -> None:
    """Make and write the parts of one process that are not there yet.

    Args:
        parts (Parts): The library.
        make (Callable): Returns the arrays of some galaxies by their names,
            one row a galaxy. A galaxy is bad if anything of it is not
            finite.
        on_bad (str): What to do with a bad galaxy: `refuse` or `skip` it.
        process (int): This process.
        processes (int): How many there are.
        progress (bool): Whether to show progress.
        judged (sequence of str): The arrays that make a galaxy bad; all by
            default.

    Raises:
        InconsistentArguments: If there are bad galaxies that are refused;
            names them. What was written before stays.
        OSError: If a part can't be written, or this process of the library
            is at work already.
    """
    check_choice("on_bad", on_bad, ON_BAD)
    check_process(process, processes)
    ranges = parts.ranges(process, processes)
    with ExitStack() as stack:
        check_idle(parts.folder, beside=processes)
        stack.enter_context(_at_work(parts.folder, process, processes))
        missing = [which for which in ranges if not parts.is_written(which)]
        bar = stack.enter_context(
            tqdm(
                total=sum(w.stop - w.start for w in ranges),
                initial=sum(
                    w.stop - w.start for w in ranges if w not in missing
                ),
                desc=parts.folder.stem,
                unit="galaxy",
                unit_scale=True,
                disable=not progress,
            )
        )
        for which in missing:
            arrays = make(which)
            bad = bad_rows({name: arrays[name] for name in judged or arrays})
            if bad.any() and on_bad == "refuse":
                _refuse(which.start + np.flatnonzero(bad))
            parts.write(which, arrays, bad)
            bar.update(which.stop - which.start)


def check_idle(folder: Path, beside: int | None = None) -> None:
    """Refuse to go on where processes of a library are at work.

    Args:
        folder (Path): The folder of the parts.
        beside (int): Of how many processes those may be that are at work,
            as they share the parts with this one; by default none may.

    Raises:
        OSError: If there are some; names one.
    """
    for lock in sorted(folder.glob(".process-*.lock")):
        match = _PROCESS.fullmatch(lock.name[1 : -len(".lock")])
        if match and int(match[2]) != beside:
            # Which removes what a killed process left.
            with _at_work(folder, int(match[1]), int(match[2])):
                pass


@contextmanager
def _at_work(folder: Path, process: int, processes: int) -> Iterator[None]:
    """Let the same process not be started twice."""
    with ExitStack() as stack:
        try:
            name = f"process-{process}-of-{processes}"
            stack.enter_context(exclusive(folder / name))
        except OSError as error:
            raise OSError(
                f"Process {process} of {processes} is at work in '{folder}' "
                "already: wait until it has finished, or choose another file."
            ) from error
        yield


def bad_rows(arrays: Mapping[str, NDArray]) -> NDArray[np.bool_]:
    """Return which galaxies have something that is not finite, (n,)."""
    return ~np.logical_and.reduce(
        [
            np.isfinite(values).reshape(len(values), -1).all(axis=1)
            for values in arrays.values()
        ]
    )


@dataclass(frozen=True)
class Collection:
    """The parts of a library, all there and none double.

    Attributes:
        parts (Parts): The library.
        folders (tuple of Path): Where they are.
        paths (tuple of Path): The files, in the order of the galaxies.
        kept (np.ndarray of int): The galaxies that are kept, (n,).
        skipped (np.ndarray of int): Those that are not.
        rows (Mapping): For each array the shape and the precision of one
            galaxy's row.
    """

    parts: Parts
    folders: tuple[Path, ...]
    paths: tuple[Path, ...]
    kept: NDArray[np.int64]
    skipped: NDArray[np.int64]
    rows: Mapping[str, tuple[tuple[int, ...], np.dtype]]

    @property
    def nbytes(self) -> int:
        """The size of all arrays."""
        row = sum(
            int(np.prod(shape)) * dtype.itemsize
            for shape, dtype in self.rows.values()
        )
        return len(self.kept) * row

    def read(self, name: str) -> Iterator[tuple[slice, NDArray]]:
        """Return an array of the galaxies that are kept, part by part.

        Args:
            name (str): Its name.

        Returns:
            Iterator: Of pairs: where the rows belong, and the rows.

        Raises:
            GridError: If a part was damaged meanwhile.
        """
        start = 0
        for path in self.paths:
            with report_damage(path, _AGAIN), open_hdf5(path) as hdf:
                values = hdf[f"{_ARRAYS}/{name}"][...][~hdf["bad"][...]]
            yield slice(start, start + len(values)), values
            start += len(values)

    def write_array(
        self, hdf: h5py.File, path: str, name: str
    ) -> h5py.Dataset:
        """Write an array into a file, with one row a galaxy.

        Args:
            hdf (h5py.File): The file.
            path (str): The path of the dataset in it.
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
        """Delete the parts, as they are put together."""
        for path in self.paths:
            path.unlink()
        for folder in self.folders:
            # The plan last: what is killed here can still be told whose
            # the rest is.
            for pattern in (".*.partial", ".*.lock", _PLAN):
                for rest in folder.glob(pattern):
                    rest.unlink(missing_ok=True)
            if not any(folder.iterdir()):
                folder.rmdir()


def collect(
    folders: Path | Sequence[Path], on_bad: str = "skip"
) -> Collection:
    """Find the parts of a library, and whether they are all there.

    Args:
        folders (Path/sequence of Path): The folder of the parts; or several,
            of machines that share no disk.
        on_bad (str): Whether bad galaxies among them are refused (`refuse`)
            or left out (`skip`).

    Returns:
        Collection: They.

    Raises:
        InconsistentArguments: If folders are of different libraries, or
            parts are damaged, lack or are double; names them.
    """
    check_choice("on_bad", on_bad, ON_BAD)
    collection, spans = _gathered(folders)
    _check_whole(collection.parts, spans)
    if len(collection.skipped) and on_bad == "refuse":
        _refuse(collection.skipped)
    return collection


def remaining(folders: Sequence[Path]) -> Collection:
    """Return what parts are left of a library that was put together.

    Damaged ones are deleted, as they are not needed any more.

    Args:
        folders (sequence of Path): As for `collect`.

    Returns:
        Collection: They; not all galaxies need be in it.

    Raises:
        InconsistentArguments: If folders are of different libraries.
    """
    for folder in folders:
        for path in folder.glob(_PARTS):
            try:
                with open_sealed(path, _AGAIN):
                    pass
            except GridError:
                path.unlink()
    return _gathered(folders)[0]


def _gathered(
    folders: Path | Sequence[Path],
) -> tuple[Collection, list[tuple[int, int]]]:
    """Return what parts there are, and which galaxies each holds."""
    folders = [folders] if isinstance(folders, Path) else list(folders)
    places = [folder.resolve() for folder in folders]
    if not places or len(set(places)) < len(places):
        raise InconsistentArguments(
            "Expected the folders of a library's parts, each once; got "
            f"{', '.join(map(str, folders)) or 'none'}."
        )
    every = [Parts.open(folder) for folder in folders]
    if len({parts.digest for parts in every}) != 1:
        raise InconsistentArguments(
            "The folders hold parts of different libraries: "
            f"{', '.join(map(str, folders))} (they differ in: "
            f"{', '.join(_differences(every[0], *every[1:]))})."
        )
    parts = every[0]
    found = sorted(
        (
            _read_part(parts, path)
            for folder in folders
            for path in folder.glob("*.hdf5")
        ),
        key=lambda part: (part.start, part.path),
    )
    numbers = [np.empty(0, np.int64), *(part.numbers for part in found)]
    bad = [np.empty(0, np.bool_), *(part.bad for part in found)]
    every_number, out = np.concatenate(numbers), np.concatenate(bad)
    collection = Collection(
        parts=parts,
        folders=tuple(folders),
        paths=tuple(part.path for part in found),
        kept=every_number[~out],
        skipped=every_number[out],
        rows=found[-1].rows if found else {},
    )
    return collection, [(part.start, part.stop) for part in found]


@dataclass(frozen=True)
class _Part:
    """What a part holds, but its arrays.

    Attributes:
        path (Path): The file.
        start (int): The number of its first galaxy.
        stop (int): The number after its last.
        bad (np.ndarray of bool): Which are not to be kept.
        rows (Mapping): The shape and the precision of each array's rows.
    """

    path: Path
    start: int
    stop: int
    bad: NDArray[np.bool_]
    rows: Mapping[str, tuple[tuple[int, ...], np.dtype]]

    @property
    def numbers(self) -> NDArray[np.int64]:
        """The numbers of its galaxies."""
        return np.arange(self.start, self.stop)


def _read_part(parts: Parts, path: Path) -> _Part:
    """Read a part, and verify that it is whole and of a library.

    Raises:
        InconsistentArguments: If it is not.
    """
    try:
        with open_sealed(path, _AGAIN) as hdf:
            digest = hdf.attrs["digest"]
            start, stop = int(hdf.attrs["start"]), int(hdf.attrs["stop"])
            bad = hdf["bad"][...]
            if bad.dtype != np.bool_ or bad.shape != (stop - start,):
                raise ValueError("it does not say which galaxies are bad")
            found = _Part(path, start, stop, bad, _rows(hdf, len(bad)))
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
    return found


def _checksum(plan: Any) -> str:
    """Return the checksum of a plan."""
    return sha256(json.dumps(plan).encode()).hexdigest()


def _check_whole(parts: Parts, spans: Sequence[tuple[int, int]]) -> None:
    """Refuse spans, in order, that don't hold each galaxy once."""
    lacking, double = [], []
    end = 0
    for start, stop in spans:
        if start > end:
            lacking.append((end, start))
        if start < end:
            double.append((start, min(stop, end)))
        end = max(end, stop)
    if end < parts.n:
        lacking.append((end, parts.n))
    for wrong, what, remedy in (
        (lacking, "lack", "run the library again, or give all its folders"),
        (double, "are there twice", "give only one of the copies"),
    ):
        if wrong:
            total = sum(b - a for a, b in wrong)
            ranges = listed([f"{a} to {b - 1}" for a, b in wrong])
            raise InconsistentArguments(
                f"Of the {parts.n} galaxies of '{parts.folder}' {total} "
                f"{what}: {ranges}; {remedy}."
            )


def _refuse(galaxies: NDArray) -> None:
    """Refuse bad galaxies."""
    raise InconsistentArguments(
        f"{len(galaxies)} galaxies have values that are not finite, as they "
        "are outside of what is known: "
        f"{listed(galaxies)}. Narrow their parameters, or have such galaxies "
        "left out with on_bad 'skip'."
    )


def _differences(one: Parts, *others: Parts) -> list[str]:
    """Return what libraries differ in."""
    every = [{"n": parts.n, **parts.about} for parts in (one, *others)]
    keys = dict.fromkeys(key for about in every for key in about)
    return [
        key
        for key in keys
        if len({json.dumps(about.get(key)) for about in every}) > 1
    ]


def _rows(
    hdf: h5py.File, n: int
) -> dict[str, tuple[tuple[int, ...], np.dtype]]:
    """Return the shape and precision of a row of each array of a part.

    Raises:
        ValueError: If an array has not one row for each of the n galaxies.
    """
    names: list[str] = []
    hdf[_ARRAYS].visit(names.append)
    entries = {name: hdf[_ARRAYS][name] for name in names}
    arrays = {k: v for k, v in entries.items() if isinstance(v, h5py.Dataset)}
    for name, array in arrays.items():
        if not array.shape or array.shape[0] != n:
            raise ValueError(f"'{name}' has not one row for each galaxy")
    return {name: (a.shape[1:], a.dtype) for name, a in arrays.items()}
