"""One way to refuse a setting that can't be meant."""

import difflib
import math
from collections.abc import Iterable, Sequence
from numbers import Integral, Real

from synthesizer.exceptions import InconsistentArguments


def check_whole(name: str, value: object, low: int) -> None:
    """Refuse what is not a whole number of at least `low`.

    Raises:
        InconsistentArguments: Says what was expected and what was met.
    """
    whole = isinstance(value, Integral) and not isinstance(value, bool)
    if not whole or value < low:  # type: ignore[operator]
        raise InconsistentArguments(
            f"{name} must be a whole number of at least {low}, got {value!r}."
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
        and math.isfinite(value)  # type: ignore[arg-type]
        and (low < value < high if open_ends else low <= value <= high)  # type: ignore[operator]
    )
    if not inside:
        ends = "both excluded" if open_ends else "both included"
        raise InconsistentArguments(
            f"{name} must be a number from {low:g} to {high:g}, {ends}, got "
            f"{value!r}."
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
