"""One way to refuse a setting that can't be meant."""

import difflib
import math
import os
from collections.abc import Iterable, Mapping, Sequence
from numbers import Integral, Real
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from synthesizer.exceptions import (
    GridError,
    InconsistentArguments,
    InconsistentParameter,
    IncorrectUnits,
    MissingAttribute,
    MissingSpectraType,
    MissingUnits,
    UnimplementedFunctionality,
    UnrecognisedOption,
)

# The exceptions for wrong input: a file, an argument or a setting.
INPUT_ERRORS = (
    GridError,
    InconsistentArguments,
    IncorrectUnits,
    InconsistentParameter,
    MissingAttribute,
    MissingSpectraType,
    MissingUnits,
    UnimplementedFunctionality,
    UnrecognisedOption,
)

# Where Linux says how much memory a container may take.
_LIMITS = (
    Path("/sys/fs/cgroup/memory.max"),
    Path("/sys/fs/cgroup/memory/memory.limit_in_bytes"),
)


def check_whole(
    name: str, value: object, low: int, high: int | None = None
) -> None:
    """Refuse what is not a whole number of at least `low`.

    Args:
        name (str): What the number is called.
        value (object): What was given.
        low (int): The least it may be.
        high (int): The most it may be; any by default.

    Raises:
        InconsistentArguments: Says what was expected and what was met.
    """
    whole = isinstance(value, Integral) and not isinstance(value, bool)
    if not whole or value < low:  # type: ignore[operator]
        raise InconsistentArguments(
            f"{name} must be a whole number of at least {low}, got {value!r}."
        )
    if high is not None and value > high:  # type: ignore[operator]
        raise InconsistentArguments(
            f"{name} must be a whole number of at most {high}, got {value!r}."
        )


def check_number(
    name: str,
    value: object,
    low: float,
    high: float = math.inf,
    open_ends: bool = False,
) -> None:
    """Refuse what is not a finite number within bounds.

    Args:
        name (str): What the number is called.
        value (object): What was given.
        low (float): The lower bound.
        high (float): The upper bound.
        open_ends (bool): Whether the bounds themselves are refused.

    Raises:
        InconsistentArguments: Says what was expected and what was met.
    """
    number = isinstance(value, Real) and not isinstance(value, bool)
    inside = (
        number
        and _is_finite(value)
        and (low < value < high if open_ends else low <= value <= high)  # type: ignore[operator]
    )
    if not inside:
        ends = "both excluded" if open_ends else "both included"
        raise InconsistentArguments(
            f"{name} must be a number from {low:g} to {high:g}, {ends}, got "
            f"{value!r}."
        )


def check_wavelengths(
    name: str, lam: NDArray[np.float64], at_least: int = 1
) -> None:
    """Refuse what are not positive and finite wavelengths that ascend.

    Args:
        name (str): What they are called.
        lam (np.ndarray of float): The wavelengths, (nlam,).
        at_least (int): How many there must be.

    Raises:
        InconsistentArguments: Says what was expected and what was met.
    """
    if (
        np.ndim(lam) != 1
        or len(lam) < at_least
        or not np.isfinite(lam).all()
        or not np.all(lam > 0.0)
        or not np.all(np.diff(lam) >= 0.0)
    ):
        shown = np.array2string(lam, threshold=6, max_line_width=10**6)
        raise InconsistentArguments(
            f"{name} must be at least {at_least}, in one dimension, positive, "
            f"finite and ascending; got {shown}: sort them."
        )


def check_choice(name: str, value: object, choices: Sequence[str]) -> None:
    """Refuse what is not one of the choices.

    Raises:
        InconsistentArguments: Says what was expected and what was met.
    """
    if value not in choices:
        raise InconsistentArguments(
            f"{name} must be one of {', '.join(choices)}, got '{value}'."
            + nearest(value, choices)
        )


def check_keys(
    what: str,
    said: object,
    needed: Iterable[str],
    optional: Iterable[str] = (),
) -> None:
    """Refuse what is no mapping, lacks entries, or has others.

    Args:
        what (str): What is checked.
        said (object): What was given.
        needed (iterable of str): The entries that it must have.
        optional (iterable of str): Those that it may have.

    Raises:
        InconsistentArguments: Says what was expected and what was met.
    """
    needed = list(needed)
    known = [*needed, *optional]
    if not isinstance(said, dict):
        raise InconsistentArguments(
            f"{what} has to have entries: {', '.join(known)}; got {said!r}."
        )
    strange = [key for key in said if key not in known]
    meant = "".join(nearest(key, known) for key in strange)
    for wrong, does, hint in (
        (strange, "does not know", meant),
        ([key for key in needed if key not in said], "lacks", ""),
    ):
        if wrong:
            raise InconsistentArguments(
                f"{what} {does} {', '.join(map(str, wrong))}; there are: "
                f"{', '.join(known)}.{hint}"
            )


def check_names(what: str, given: object) -> tuple[str, ...]:
    """Return one or several names, and refuse what is none.

    Args:
        what (str): What they are names of.
        given (object): A name, or an iterable of names.

    Raises:
        InconsistentArguments: Says what was expected and what was met.
    """
    names = [given] if isinstance(given, str) else given
    if isinstance(names, Iterable) and not isinstance(names, Mapping):
        names = tuple(names)
        if names and all(isinstance(name, str) for name in names):
            return names
    raise InconsistentArguments(
        f"{what} must be a name, or a list of names; got {given!r}."
    )


def check_memory(what: str, needed: float, remedy: str) -> None:
    """Refuse what takes more memory than there is.

    Args:
        what (str): What takes it, at the beginning of a sentence.
        needed (float): How many bytes.
        remedy (str): What to do instead.

    Raises:
        InconsistentArguments: Says how much it takes, and the remedy.
    """
    there = _memory()
    if not needed <= there:
        raise InconsistentArguments(
            f"{what} would take {needed / 1e9:.3g} GB of memory, and there "
            f"are {there / 1e9:.3g} GB: {remedy}."
        )


def check_flag(name: str, value: object) -> None:
    """Refuse what is neither true nor false.

    Raises:
        InconsistentArguments: Says what was expected and what was met.
    """
    if not isinstance(value, bool):
        raise InconsistentArguments(
            f"{name} must be true or false, got {value!r}."
        )


def nearest(name: object, known: Iterable[str]) -> str:
    """Return the question which known name was meant, for an error's end.

    Args:
        name (object): The name that is not known.
        known (iterable of str): Those that are.

    Returns:
        str: As `" Did you mean 'incident'?"`; empty if none is like it.
    """
    # Case is the commonest slip, and weighs as much as other letters do.
    plain = {other.casefold(): other for other in known}
    found = difflib.get_close_matches(str(name).casefold(), plain, n=1)
    return f" Did you mean '{plain[found[0]]}'?" if found else ""


def _is_finite(value: object) -> bool:
    """Return whether a number is finite, in double precision."""
    try:
        return math.isfinite(value)  # type: ignore[arg-type]
    except OverflowError:
        # An integer beyond.
        return False


def _memory() -> int:
    """Return how many bytes of memory there are, for this process."""
    found = [os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")]
    for limit in _LIMITS:
        # Which says "max" where there is none.
        if limit.is_file() and (said := limit.read_text().strip()).isdigit():
            found.append(int(said))
    return min(found)
