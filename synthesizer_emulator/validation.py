"""Checks of settings, which raise `InconsistentArguments`.

The message gives the name of the setting, the expected value and the value
found.
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
    MissingArgument,
    MissingAttribute,
    MissingSpectraType,
    MissingUnits,
    UnimplementedFunctionality,
    UnrecognisedOption,
)

# The exceptions raised for an invalid file, argument or setting.
INPUT_ERRORS = (
    GridError,
    InconsistentArguments,
    IncorrectUnits,
    InconsistentParameter,
    MissingArgument,
    MissingAttribute,
    MissingSpectraType,
    MissingUnits,
    UnimplementedFunctionality,
    UnrecognisedOption,
)

# The files with the memory limit of a container, under Linux.
_LIMITS = (
    Path("/sys/fs/cgroup/memory.max"),
    Path("/sys/fs/cgroup/memory/memory.limit_in_bytes"),
)


def check_whole(
    name: str, value: object, low: int, high: int | None = None
) -> None:
    """Raise unless a value is a whole number within bounds."""
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
    """Raise unless a value is a finite number within bounds.

    With `open_ends` the bounds themselves are excluded.
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


def check_encodable(flux: NDArray[np.float64]) -> None:
    """Raise unless fluxes (..., n) can be encoded.

    Raises:
        InconsistentArguments: If one is negative or not finite, or those of a
            spectrum are all zero.
    """
    for wrong, problem in (
        (~np.isfinite(flux), "not finite"),
        (flux < 0.0, "negative"),
        (~np.any(flux, axis=-1, keepdims=True), "all zero"),
    ):
        if wrong.any():
            first = tuple(map(int, np.argwhere(wrong)[0]))
            where = (
                f"{problem} in {np.count_nonzero(wrong)} of "
                f"{wrong.size} spectra"
                if problem == "all zero"
                else f"{np.count_nonzero(wrong)} of {flux.size} that are "
                f"{problem}, the first, {flux[first]:g}, at index "
                f"{first[0] if len(first) == 1 else first}"
            )
            raise InconsistentArguments(
                "The fluxes of a spectrum to encode must be finite and not "
                f"negative, and not all zero; got {where}. Replace noise "
                "below zero by zero, and interpolate pixels without a flux."
            )


def check_wavelengths(
    name: str, lam: NDArray[np.float64], at_least: int = 1
) -> None:
    """Raise unless wavelengths (nlam,) are positive, finite and ascending.

    At least `at_least` wavelengths are required.
    """
    if (
        np.ndim(lam) != 1
        or len(lam) < at_least
        or not np.isfinite(lam).all()
        or not np.all(lam > 0.0)
        or not np.all(np.diff(lam) >= 0.0)
    ):
        values = np.array2string(lam, threshold=6, max_line_width=10**6)
        raise InconsistentArguments(
            f"{name} must be a one-dimensional array of {at_least} or more "
            "positive and finite values in ascending order, got "
            f"{values}. Sort them."
        )


def check_choice(name: str, value: object, choices: Sequence[str]) -> None:
    """Raise unless a value is one of the choices."""
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
    """Raise unless a mapping has all needed and no unknown entries.

    Args:
        what (str): The name of the mapping, for messages.
        config (object): The mapping.
        needed (iterable of str): The required entries.
        optional (iterable of str): The optional entries.
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
    problems = {"has unknown entries": unknown, "lacks entries": missing}
    for problem, keys in problems.items():
        if keys:
            raise InconsistentArguments(
                f"{what} {problem}: {', '.join(map(str, keys))}. Expected: "
                f"{', '.join(known)}."
                + "".join(nearest(key, known) for key in unknown)
            )


def check_names(what: str, given: object) -> tuple[str, ...]:
    """Return a name, or an iterable of names, as a tuple.

    Args:
        what (str): The setting, for messages.
        given (object): A name, or an iterable of names.
    """
    names = [given] if isinstance(given, str) else given
    if isinstance(names, Iterable) and not isinstance(names, Mapping):
        names = tuple(names)
        if names and all(isinstance(name, str) for name in names):
            return names
    raise InconsistentArguments(
        f"{what} must be a name or a list of names, got {given!r}."
    )


def check_memory(what: str, needed: float, remedy: str) -> None:
    """Raise if an operation needs more memory than is available.

    Args:
        what (str): The subject of the message, such as "10 galaxies".
        needed (float): The memory needed, bytes.
        remedy (str): A remedy, such as "draw fewer".
    """
    available = _memory()
    if not needed <= available:
        raise InconsistentArguments(
            f"{what} would need {needed / 1e9:.3g} GB of memory, but only "
            f"{available / 1e9:.3g} GB are available: {remedy}."
        )


def check_flag(name: str, value: object) -> None:
    """Raise unless a value is true or false."""
    if not isinstance(value, bool):
        raise InconsistentArguments(
            f"{name} must be true or false, got {value!r}."
        )


def nearest(name: object, known: Iterable[str], most: int = 1) -> str:
    """Suggest the known names that are most similar to an unknown one.

    Args:
        name (object): The unknown name.
        known (iterable of str): The known names.
        most (int): The largest number of suggestions.

    Returns:
        str: The end of a message, such as `" Did you mean 'incident'?"`;
            empty if no name is similar.
    """
    # Ignore case: a difference in case would count like a wrong letter.
    folded = {candidate.casefold(): candidate for candidate in known}
    # A list of names is of use also if none is a typo.
    similarity = 0.6 if most == 1 else 0.5
    close = difflib.get_close_matches(
        str(name).casefold(), folded, most, similarity
    )
    *others, last = [f"'{folded[match]}'" for match in close] or [""]
    listed = " or ".join([", ".join(others), last] if others else [last])
    return f" Did you mean {listed}?" if last else ""


def _is_finite(value: object) -> bool:
    """Whether a number is finite in double precision."""
    try:
        return math.isfinite(value)  # type: ignore[arg-type]
    except OverflowError:
        # An integer beyond the range of double precision.
        return False


def _memory() -> int:
    """Return the memory available to this process, bytes."""
    sizes = [os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")]
    for limit in _LIMITS:
        # The file contains "max" if there is no limit.
        if limit.is_file() and (text := limit.read_text().strip()).isdigit():
            sizes.append(int(text))
    return min(sizes)
