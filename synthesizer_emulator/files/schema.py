"""Convert the JSON of weights files and checkpoints to dataclasses.

The fields of a dataclass are the schema: missing fields, unknown fields and
values of other types raise.
"""

import json
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import MISSING, Field, fields, is_dataclass
from functools import cache
from types import NoneType
from typing import Any, TypeVar, get_args, get_origin, get_type_hints

_T = TypeVar("_T")


def _is_number(value: Any) -> bool:
    """Whether a JSON value is a finite number."""
    number = isinstance(value, int | float) and not isinstance(value, bool)
    return number and abs(value) <= sys.float_info.max


# A test of the JSON value of each type, and the type's name for messages.
_KINDS: dict[Any, tuple[Callable[[Any], bool], str]] = {
    str: (lambda value: isinstance(value, str), "a string"),
    bool: (lambda value: isinstance(value, bool), "true or false"),
    int: (
        lambda value: isinstance(value, int) and _is_number(value),
        "a whole number",
    ),
    float: (_is_number, "a finite number"),
    Mapping: (lambda value: isinstance(value, dict), "an object"),
    **dict.fromkeys(
        (list, tuple, Sequence),
        (lambda value: isinstance(value, list), "a list"),
    ),
}


def parse_json(text: str | bytes) -> Any:
    """Parse strict JSON, without Python's `NaN` and `Infinity`.

    Raises:
        ValueError: If the text is not JSON.
    """
    return json.loads(text, parse_constant=_refuse_constant)


def typed(kind: type[_T], value: Any, where: str) -> _T:
    """Convert a JSON object to a dataclass.

    Args:
        kind (type): The dataclass.
        value (object): A result of `parse_json`.
        where (str): The name of the value, for messages.

    Returns:
        object: An instance of the dataclass.

    Raises:
        TypeError: If a field is missing, unknown or of another type.
    """
    hints = _types(kind)  # type: ignore[arg-type]
    known: dict[str, Field] = {f.name: f for f in fields(kind)}  # type: ignore[arg-type]
    value = _checked(Mapping, value, where)
    needed = [
        name
        for name, f in known.items()
        if f.default is MISSING and f.default_factory is MISSING
    ]
    for problem, names in (
        ("has unknown fields", [name for name in value if name not in known]),
        ("lacks fields", [name for name in needed if name not in value]),
    ):
        if names:
            raise TypeError(
                f"{where} {problem}: {', '.join(map(repr, names))}"
            )
    return kind(
        **{
            name: typed_value(hints[name], entry, f"'{name}' of {where}")
            for name, entry in value.items()
        }
    )


def typed_value(kind: Any, value: Any, where: str) -> Any:
    """Convert a JSON value to a type.

    Args:
        kind (type): A dataclass, or the type of a field of one.
        value (object): A result of `parse_json`.
        where (str): The name of the value, for messages.

    Returns:
        object: The value.

    Raises:
        TypeError: If the value is of another type.
    """
    if kind is Any:
        return value
    if kind in _KINDS:
        return _checked(kind, value, where)
    if is_dataclass(kind):
        return typed(kind, value, where)  # type: ignore[arg-type]
    origin, parts = get_origin(kind) or kind, get_args(kind)
    value = _checked(origin, value, where)
    if origin is Mapping:
        return {
            k: typed_value(parts[1], v, f"'{k}' of {where}")
            for k, v in value.items()
        }
    items = [typed_value(parts[0], v, where) for v in value]
    return tuple(items) if origin is tuple else items


def _checked(kind: Any, value: Any, where: str) -> Any:
    """Return a JSON value; raise if it is not of the expected type."""
    fits, expected = _KINDS[kind]
    if not fits(value):
        raise TypeError(f"{where} must be {expected}, got {_summary(value)}")
    return value


@cache
def _types(kind: type) -> dict[str, Any]:
    """Return the types of the fields of a dataclass."""
    return get_type_hints(kind)


def _summary(value: Any) -> str:
    """Return a short form of a JSON value, for messages."""
    if isinstance(value, NoneType | bool | int | float | str):
        return json.dumps(value)[:60]
    return "a list" if isinstance(value, list) else "an object"


def _refuse_constant(name: str) -> None:
    """Raise for a constant that is not in the JSON standard."""
    raise ValueError(f"{name} is not valid JSON")
