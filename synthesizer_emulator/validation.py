"""Checks of settings, with errors that say what was expected.

Each raises `InconsistentArguments` with the name of the setting, what was
expected and what was given.
"""

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

# The memory limits of a container, under Linux.
_LIMITS = (
    Path("/sys/fs/cgroup/memory.max"),
    Path("/sys/fs/cgroup/memory/memory.limit_in_bytes"),
)


def check_whole(
    name: str, value: object, low: int, high: int | None = None
) -> None:
    """Refuse what is not a whole number within bounds.

    Args:
        name (str): The name of the setting.
        value (object): The value given.
        low (int): The lowest value allowed.
        high (int): The highest value allowed; none by default.
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
        name (str): The name of the setting.
        value (object): The value given.
        low (float): The lower bound.
        high (float): The upper bound.
        open_ends (bool): Exclude the bounds themselves.
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
    """Refuse wavelengths that are not positive, finite and ascending.

    Args:
        name (str): The name of the setting.
        lam (np.ndarray of float): The wavelengths, (nlam,).
        at_least (int): The smallest number of them.
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
    """Refuse a value that is not one of the choices."""
    if value not in choices:
        raise InconsistentArguments(
            f"{name} must be one of {', '.join(choices)}, got '{value}'."
            + nearest(value, choices)
        )


def check_keys(
    what: str,
    config: object,
    needed: Iterable[str],
    optional: Iterable[str] = (),
) -> None:
    """Refuse a mapping with missing or unknown entries.

    Args:
        what (str): A name for the mapping.
        config (object): The mapping.
        needed (iterable of str): The entries that it must have.
        optional (iterable of str): The entries that it may have.
    """
    needed = list(needed)
    known = [*needed, *optional]
    if not isinstance(config, dict):
        raise InconsistentArguments(
            f"{what} must be a mapping with the entries {', '.join(known)}; "
            f"got {config!r}."
        )
    unknown = [key for key in config if key not in known]
    missing = [key for key in needed if key not in config]
    problems = {"has no entry": unknown, "lacks": missing}
    for problem, keys in problems.items():
        if keys:
            raise InconsistentArguments(
                f"{what} {problem} {', '.join(map(str, keys))}; expected: "
                f"{', '.join(known)}."
                + "".join(nearest(key, known) for key in unknown)
            )


def check_names(what: str, given: object) -> tuple[str, ...]:
    """Return one or several names as a tuple.

    Args:
        what (str): What the names are of, for messages.
        given (object): A name, or an iterable of names.
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
    """Refuse what would take more than the memory of this machine.

    Args:
        what (str): What takes the memory, at the start of a sentence.
        needed (float): The memory needed, bytes.
        remedy (str): What to do instead.

    Raises:
        InconsistentArguments: With both sizes, and the remedy.
    """
    available = _memory()
    if not needed <= available:
        raise InconsistentArguments(
            f"{what} would take {needed / 1e9:.3g} GB of memory, and there "
            f"are {available / 1e9:.3g} GB: {remedy}."
        )


def check_flag(name: str, value: object) -> None:
    """Refuse a value that is neither true nor false."""
    if not isinstance(value, bool):
        raise InconsistentArguments(
            f"{name} must be true or false, got {value!r}."
        )


def nearest(name: object, known: Iterable[str]) -> str:
    """Suggest the known name that is most similar to an unknown one.

    Args:
        name (object): The unknown name.
        known (iterable of str): The known names.

    Returns:
        str: `" Did you mean 'incident'?"`, to end a message with; empty if no
            name is similar.
    """
    # Case is the commonest slip, and counts as much as a letter would.
    folded = {other.casefold(): other for other in known}
    close = difflib.get_close_matches(str(name).casefold(), folded, n=1)
    return f" Did you mean '{folded[close[0]]}'?" if close else ""


def _is_finite(value: object) -> bool:
    """Whether a number is finite in double precision."""
    try:
        return math.isfinite(value)  # type: ignore[arg-type]
    except OverflowError:
        # An integer beyond its range.
        return False


def _memory() -> int:
    """Return the memory available to this process, bytes."""
    sizes = [os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")]
    for limit in _LIMITS:
        # "max" stands for no limit.
        if limit.is_file() and (text := limit.read_text().strip()).isdigit():
            sizes.append(int(text))
    return min(sizes)
