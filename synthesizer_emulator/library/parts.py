"""Parts of a library: files with some of the galaxies each.

A large library takes hours, on one or more machines. Each part is written as a
whole, with the range of its galaxies and the digest of the library. The same
command resumes after an interruption, with any number of processes.
`collection` joins the parts.

The parts hold any arrays with one row per galaxy, so that the final file may
have another layout.
"""

import json
import re
from collections.abc import (
    Callable,
    Generator,
    Iterable,
    Iterator,
    Mapping,
    Sequence,
)
from contextlib import ExitStack, closing, contextmanager
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray
from synthesizer.exceptions import GridError, InconsistentArguments
from synthesizer.synth_warnings import warn

from synthesizer_emulator.digests import json_digest
from synthesizer_emulator.files.hdf5 import report_damage
from synthesizer_emulator.files.locks import exclusive
from synthesizer_emulator.files.sealed import open_sealed, write_sealed
from synthesizer_emulator.files.writing import write_whole
from synthesizer_emulator.progress import progress_bar, say
from synthesizer_emulator.validation import check_choice, check_whole

ON_BAD = ("refuse", "skip")

# The names of the files in a folder of parts, and of the arrays in a part.
PLAN = "plan.json"
PARTS = "part-*.hdf5"
ARRAYS = "arrays"

# The remedy for a damaged part.
REMEDY = "Run the same command again to make it again."

# The input that says what the parts make up, if not a library.
KIND = "kind"

# Inputs that follow from others, which a user knows.
_CAUSES = {
    "quantiles": ("parameters",),
    "recipe": ("parameters", "emission_model"),
    "distances": ("cosmo",),
}

# The name of the lock of a running process.
_PROCESS = re.compile(r"process-(\d+)-of-(\d+)")

# How long to wait for other processes to begin the library, seconds.
_TIMEOUT = 60.0

# The largest size of a part, bytes.
_PART_BYTES = 2**27

# The number of galaxies listed in a message.
_LISTED = 10


def part_size(largest: int, row_bytes: int) -> int:
    """Return the number of galaxies per part, at most `largest`.

    `row_bytes` is the size of one galaxy.
    """
    return max(1, min(largest, _PART_BYTES // row_bytes))


def listed(items: Sequence[Any] | NDArray) -> str:
    """Return the first ten items as a string, for messages."""
    more = ", ..." * (len(items) > _LISTED)
    return f"{', '.join(map(str, items[:_LISTED]))}{more}"


def check_process(process: int, processes: int) -> None:
    """Raise unless the number of a process is from 0 to `processes` - 1."""
    check_whole("processes", processes, 1)
    check_whole("process", process, 0)
    if process >= processes:
        raise InconsistentArguments(
            f"process must be a number from 0 to {processes - 1}, got "
            f"{process}."
        )


@dataclass(frozen=True)
class Parts:
    """An unfinished library, in a separate folder.

    Attributes:
        folder (Path): The folder of the parts.
        n (int): The number of galaxies in the library.
        size (int): The number of galaxies per part.
        about (Mapping): The inputs of the library as JSON values, which
            identify its parts.
    """

    folder: Path
    n: int
    size: int
    about: Mapping[str, Any]

    def __post_init__(self) -> None:
        """Raise `InconsistentArguments` unless the numbers are positive."""
        check_whole("the number of galaxies", self.n, 1)
        check_whole("the galaxies of a part", self.size, 1)

    @classmethod
    def begin(
        cls, folder: Path, n: int, size: int, about: Mapping[str, Any]
    ) -> Self:
        """Begin a library, or resume it if the folder exists.

        Several processes may begin the same library at once.

        Args:
            folder (Path): The folder of the parts.
            n (int): The number of galaxies in the library.
            size (int): The number of galaxies per part of a new library.
            about (Mapping): The inputs of the library as JSON values.

        Returns:
            Parts: The library; if it is resumed, with its existing `size`.

        Raises:
            InconsistentArguments: If the folder belongs to another library.
            OSError: If the folder can't be written, or a process of another
                library is running in it.
        """
        parts = cls(folder, n, size, json.loads(json.dumps(about)))
        plan = folder / PLAN
        with exclusive(plan, _TIMEOUT):
            if plan.is_file():
                try:
                    existing = cls.open(folder)
                except GridError as error:
                    warn(str(error).strip())
                else:
                    if existing.digest == parts.digest:
                        return existing
                    parts._check_unused(existing)
            parts._delete_stray_parts()
            write_whole(plan, parts._plan())
        return parts

    @classmethod
    def open(cls, folder: Path) -> Self:
        """Open the folder of a library.

        Args:
            folder (Path): The folder of the parts.

        Raises:
            InconsistentArguments: If the folder does not hold a library.
            GridError: If the plan is damaged.
        """
        path = folder / PLAN
        if not path.is_file():
            raise InconsistentArguments(
                f"'{folder}' must be a folder of parts, but contains no "
                f"'{PLAN}'."
            )
        with report_damage(path, REMEDY):
            stored = json.loads(path.read_bytes())
            plan = stored["plan"]
            if stored["sha256"] != json_digest(plan):
                raise ValueError("it does not match its checksum")
            return cls(folder, plan["n"], plan["size"], plan["about"])

    @property
    def kind(self) -> str:
        """What the parts make up, for messages: `library`, or as given."""
        return str(self.about.get(KIND, "library"))

    @cached_property
    def digest(self) -> str:
        """Digest of the number of galaxies and the inputs."""
        # Keys are not sorted: the order of filters and parameters matters.
        return json_digest([self.n, self.about])

    def ranges(self, process: int = 0, processes: int = 1) -> list[slice]:
        """Return the ranges of galaxies of the parts that a process makes.

        Args:
            process (int): The number of the process.
            processes (int): The number of processes, to which the parts are
                assigned in turn.
        """
        starts = range(process * self.size, self.n, processes * self.size)
        return [slice(i, min(i + self.size, self.n)) for i in starts]

    def path(self, which: slice) -> Path:
        """Return the path of the part with a range of galaxies."""
        return self.folder / f"part-{which.start:012}-{which.stop:012}.hdf5"

    def is_written(self, which: slice) -> bool:
        """Whether a part exists and is complete; warn if it is damaged."""
        path = self.path(which)
        if not path.is_file():
            return False
        try:
            with open_sealed(path, REMEDY) as hdf:
                return bool(hdf.attrs["digest"] == self.digest)
        except GridError as error:
            warn(str(error).strip())
            return False

    def write(
        self, which: slice, arrays: Mapping[str, NDArray], bad: NDArray
    ) -> None:
        """Write a complete part, or nothing.

        Args:
            which (slice): The indices of the n galaxies.
            arrays (Mapping): Arrays with one row per galaxy, by name.
            bad (np.ndarray of bool): True for galaxies to leave out, (n,).

        Raises:
            OSError: If the part can't be written.
        """
        with write_sealed(self.path(which)) as hdf:
            hdf.attrs["digest"] = self.digest
            hdf.attrs["start"], hdf.attrs["stop"] = which.start, which.stop
            hdf["bad"] = bad
            for name, values in arrays.items():
                hdf[f"{ARRAYS}/{name}"] = values

    def _plan(self) -> bytes:
        """Return the contents of the plan, with a checksum."""
        plan = {"n": self.n, "size": self.size, "about": self.about}
        stored = {"sha256": json_digest(plan), "plan": plan}
        return json.dumps(stored, indent=1).encode()

    def _check_unused(self, existing: "Parts") -> None:
        """Raise if the folder has parts or processes of another library."""
        check_idle(self.folder)
        if any(self.folder.glob("*.hdf5")):
            raise InconsistentArguments(
                f"'{self.folder}' holds parts of another {existing.kind}, "
                f"which differs in: {', '.join(differences(existing, self))}. "
                "Delete the folder, or choose another file."
            )

    def _delete_stray_parts(self) -> None:
        """Delete the parts of other sizes in a folder without a plan.

        Raises:
            InconsistentArguments: If a part belongs to another library.
        """
        fitting = {self.path(which) for which in self.ranges()}
        for path in self.folder.glob(PARTS):
            try:
                with open_sealed(path, REMEDY) as hdf:
                    same = hdf.attrs["digest"] == self.digest
            except GridError:
                # A damaged part is made again, or deleted here.
                same = True
            if not same:
                raise InconsistentArguments(
                    f"'{path}' is a part of another {self.kind} without a "
                    "plan. Delete its folder, or choose another file."
                )
            if path not in fitting:
                path.unlink()


def write_parts(
    parts: Parts,
    make: Callable[[Any], Mapping[str, NDArray]],
    on_bad: str = "refuse",
    process: int = 0,
    processes: int = 1,
    progress: bool = True,
    checked: Sequence[str] | None = None,
    unchecked: Sequence[str] = (),
    unwritten: Sequence[str] = (),
    inputs: Callable[[slice], Any] | None = None,
    cluster: Any = None,
) -> None:
    """Make and write the missing parts of one process.

    Args:
        parts (Parts): The library.
        make (Callable): Function of a slice of galaxies that returns arrays
            by name, with one row per galaxy.
        on_bad (str): `refuse` galaxies with values that are not finite with
            an error, or `skip` them.
        process (int): The number of this process, from 0.
        processes (int): The number of processes.
        progress (bool): Show a progress bar.
        checked (sequence of str): The arrays whose values must be finite; by
            default all arrays.
        unchecked (sequence of str): Arrays whose values may be anything.
        unwritten (sequence of str): The arrays that are only checked.
        inputs (Callable): Function of a slice of galaxies that returns what
            `make` is given in its place. It is called in this process.
        cluster (Client/Cluster/str/Path): A Dask cluster whose workers call
            `make`, which is pickled; see `cluster.connect`. This process
            writes the parts. By default it also makes them.

    Raises:
        InconsistentArguments: If galaxies are refused, with their indices.
            Parts already written are kept. Also if the cluster can't be
            used.
        OSError: If a part can't be written, this process of the library
            is already running, or the cluster is lost.
        UnmetDependency: If `cluster` is given and Dask is not installed.
    """
    check_choice("on_bad", on_bad, ON_BAD)
    check_process(process, processes)
    if cluster is not None and processes > 1:
        raise InconsistentArguments(
            "A cluster makes all parts, so processes must be 1, got "
            f"{processes}. Give either cluster, or process and processes."
        )
    ranges = parts.ranges(process, processes)
    with ExitStack() as stack:
        check_idle(parts.folder, processes)
        stack.enter_context(_running(parts.folder, process, processes))
        missing = [which for which in ranges if not parts.is_written(which)]
        total = sum(which.stop - which.start for which in ranges)
        written = total - sum(which.stop - which.start for which in missing)
        if written:
            say(f"Resuming at {written:,} of {total:,} galaxies.", progress)
        bar = stack.enter_context(
            progress_bar(
                show=progress,
                total=total,
                initial=written,
                desc=parts.folder.stem,
                unit=" galaxies",
                unit_scale=True,
            )
        )
        jobs = ((w, inputs(w) if inputs else w) for w in missing)
        made = _made(make, jobs, cluster if missing else None, progress)
        for which, arrays in stack.enter_context(closing(made)):
            bad_by_name = {
                name: _bad_rows(arrays[name])
                for name in checked or arrays
                if name not in unchecked
            }
            bad = np.logical_or.reduce([*bad_by_name.values()])
            if bad.any() and on_bad == "refuse":
                raise bad_galaxies(
                    which.start + np.flatnonzero(bad),
                    [name for name, rows in bad_by_name.items() if rows.any()],
                )
            written_arrays = {
                name: values
                for name, values in arrays.items()
                if name not in unwritten
            }
            parts.write(which, written_arrays, bad)
            bar.update(which.stop - which.start)


def _made(
    make: Callable[[Any], Mapping[str, NDArray]],
    jobs: Iterable[tuple[slice, Any]],
    cluster: Any,
    progress: bool,
) -> Generator[tuple[slice, Mapping[str, NDArray]], None, None]:
    """Yield parts as they are made, here or on a cluster."""
    if cluster is None:
        for which, given in jobs:
            yield which, make(given)
    else:
        # Dask is an optional dependency.
        from synthesizer_emulator.library.cluster import evaluate_on

        yield from evaluate_on(cluster, make, jobs, progress)


def check_idle(folder: Path, processes: int | None = None) -> None:
    """Raise `OSError` if other processes are writing to a folder of parts.

    Processes are allowed if they belong to the same set of `processes`; by
    default none are.
    """
    for lock in sorted(folder.glob(".process-*.lock")):
        match = _PROCESS.fullmatch(lock.name[1 : -len(".lock")])
        if match and int(match[2]) != processes:
            # Taking the lock removes it, if its process was killed.
            with _running(folder, int(match[1]), int(match[2])):
                pass


@contextmanager
def _running(folder: Path, process: int, processes: int) -> Iterator[None]:
    """Lock one process of a library, so that it can't run twice."""
    with ExitStack() as stack:
        try:
            name = f"process-{process}-of-{processes}"
            stack.enter_context(exclusive(folder / name))
        except OSError as error:
            raise OSError(
                f"Process {process} of {processes} is already running in "
                f"'{folder}': wait until it has finished, or choose another "
                "file."
            ) from error
        yield


def _bad_rows(values: NDArray) -> NDArray[np.bool_]:
    """Whether each galaxy has a value that is not finite, (n,)."""
    return ~np.isfinite(values).reshape(len(values), -1).all(axis=1)


def bad_galaxies(
    indices: NDArray, names: Sequence[str] = ()
) -> InconsistentArguments:
    """Return the error for galaxies with values that are not finite.

    Args:
        indices (np.ndarray of int): The galaxies.
        names (sequence of str): The arrays with these values, if known.
    """
    of = f" of {listed(names)}" if names else ""
    return InconsistentArguments(
        f"{len(indices)} galaxies are outside the range of the model and have "
        f"values{of} that are not finite: {listed(indices)}. Narrow the "
        "ranges of their parameters, or leave these galaxies out with on_bad "
        "'skip'."
    )


def differences(first: Parts, *others: Parts) -> list[str]:
    """Return the names of the inputs in which libraries differ.

    Those of inputs that are mappings follow in brackets.
    """
    inputs: list[Mapping[str, Any]] = [
        {"n": parts.n, **parts.about} for parts in (first, *others)
    ]
    return [
        f"{name} ({', '.join(_differing(values))})"
        if all(isinstance(value, dict) for value in values)
        else name
        for name in of_users(_differing(inputs))
        for values in [[about[name] for about in inputs if name in about]]
    ]


def of_users(differing: Iterable[str]) -> list[str]:
    """Return the inputs that a user changed, without what follows from them.

    Args:
        differing (iterable of str): The names of inputs that differ.
    """
    names = list(differing)
    return [
        name
        for name in names
        if not any(cause in names for cause in _CAUSES.get(name, ()))
    ]


def _differing(mappings: Sequence[Mapping[str, Any]]) -> list[str]:
    """Return the keys of which the values of mappings differ."""
    return [
        key
        for key in dict.fromkeys(k for mapping in mappings for k in mapping)
        if len({json.dumps(mapping.get(key)) for mapping in mappings}) > 1
    ]
