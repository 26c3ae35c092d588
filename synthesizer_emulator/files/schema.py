"""JSON that a file holds, read as the dataclass that was written.

The fields of the dataclass and their types are the schema: what lacks one,
has another or is of another type is refused. The weights file and the
checkpoint of a build hold such JSON.
"""

import json
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import MISSING, Field, fields, is_dataclass
from functools import cache
from types import NoneType
from typing import Any, TypeVar, get_args, get_origin, get_type_hints

_T = TypeVar("_T")


def _is_number(said: Any) -> bool:
    """Return whether JSON says a finite number."""
    number = isinstance(said, int | float) and not isinstance(said, bool)
    return number and abs(said) <= sys.float_info.max


# What each type is in JSON: how to know it, and in words.
_KINDS: dict[Any, tuple[Callable[[Any], bool], str]] = {
    str: (lambda said: isinstance(said, str), "a text"),
    bool: (lambda said: isinstance(said, bool), "true or false"),
    int: (
        lambda said: isinstance(said, int) and _is_number(said),
        "a whole number",
    ),
    float: (_is_number, "a finite number"),
    Mapping: (lambda said: isinstance(said, dict), "entries with names"),
    **dict.fromkeys(
        (list, tuple, Sequence),
        (lambda said: isinstance(said, list), "a list"),
    ),
}


def parse_json(text: str | bytes) -> Any:
    """Return what JSON says.

    Args:
        text (str/bytes): JSON, without the `NaN` and `Infinity` that Python
            adds to it.

    Raises:
        ValueError: If it is no JSON, or holds those.
    """
    return json.loads(text, parse_constant=_refuse_constant)


def typed(kind: type[_T], said: Any, where: str) -> _T:
    """Return a dataclass with the fields that JSON says.

    Args:
        kind (type): The dataclass.
        said (object): What `parse_json` returned.
        where (str): What it is, for messages.

    Returns:
        object: The dataclass.

    Raises:
        TypeError: If a field is missing, unknown or of another type; names
            it.
    """
    hints = _types(kind)  # type: ignore[arg-type]
    known: dict[str, Field] = {f.name: f for f in fields(kind)}  # type: ignore[arg-type]
    said = _checked(Mapping, said, where)
    needed = [
        name
        for name, f in known.items()
        if f.default is MISSING and f.default_factory is MISSING
    ]
    for what, names in (
        ("does not know", [name for name in said if name not in known]),
        ("lacks", [name for name in needed if name not in said]),
    ):
        if names:
            raise TypeError(f"{where} {what} {', '.join(map(repr, names))}")
    return kind(
        **{
            name: typed_value(hints[name], each, f"'{name}' of {where}")
            for name, each in said.items()
        }
    )


def typed_value(kind: Any, said: Any, where: str) -> Any:
    """Return a value of a type that JSON says.

    Args:
        kind (type): A dataclass, or any type that one of its fields has.
        said (object): What `parse_json` returned.
        where (str): What it is, for messages.

    Returns:
        object: The value.

    Raises:
        TypeError: If it is of another type; says where.
    """
    if kind is Any:
        return said
    if kind in _KINDS:
        return _checked(kind, said, where)
    if is_dataclass(kind):
        return typed(kind, said, where)  # type: ignore[arg-type]
    origin, parts = get_origin(kind) or kind, get_args(kind)
    said = _checked(origin, said, where)
    if origin is Mapping:
        of = parts[1]
        return {
            k: typed_value(of, v, f"'{k}' of {where}") for k, v in said.items()
        }
    each = [typed_value(parts[0], v, where) for v in said]
    return tuple(each) if origin is tuple else each


def _checked(kind: Any, said: Any, where: str) -> Any:
    """Return a value that JSON says if it is of a kind."""
    fits, expected = _KINDS[kind]
    if not fits(said):
        raise TypeError(f"{where} is {_shown(said)}, expected {expected}")
    return said


@cache
def _types(kind: type) -> dict[str, Any]:
    """Return the types of the fields of a dataclass."""
    return get_type_hints(kind)


def _shown(said: Any) -> str:
    """Return a value as a message shows it, not too long."""
    if isinstance(said, NoneType | bool | int | float | str):
        return json.dumps(said)[:60]
    return "a list" if isinstance(said, list) else "entries with names"


def _refuse_constant(name: str) -> None:
    """Refuse what is no number of JSON."""
    raise ValueError(f"JSON has no {name}")
