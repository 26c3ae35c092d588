"""JSON read into dataclasses, whose fields and types are the schema.

Missing and unknown fields and other types are refused. Weights files and
checkpoints hold such JSON.
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


# For each type, a test of its JSON value, and its name for messages.
_KINDS: dict[Any, tuple[Callable[[Any], bool], str]] = {
    str: (lambda value: isinstance(value, str), "a text"),
    bool: (lambda value: isinstance(value, bool), "true or false"),
    int: (
        lambda value: isinstance(value, int) and _is_number(value),
        "a whole number",
    ),
    float: (_is_number, "a finite number"),
    Mapping: (lambda value: isinstance(value, dict), "entries with names"),
    **dict.fromkeys(
        (list, tuple, Sequence),
        (lambda value: isinstance(value, list), "a list"),
    ),
}


def parse_json(text: str | bytes) -> Any:
    """Parse strict JSON, without Python's `NaN` and `Infinity`.

    Args:
        text (str/bytes): The JSON.

    Returns:
        object: The value.

    Raises:
        ValueError: If the text is anything else.
    """
    return json.loads(text, parse_constant=_refuse_constant)


def typed(kind: type[_T], value: Any, where: str) -> _T:
    """Convert a JSON object to a dataclass.

    Args:
        kind (type): The dataclass.
        value (object): A result of `parse_json`.
        where (str): A name for the value, for messages.

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
        ("has no field", [name for name in value if name not in known]),
        ("lacks", [name for name in needed if name not in value]),
    ):
        if names:
            shown = ", ".join(map(repr, names))
            raise TypeError(f"{where} {problem} {shown}")
    return kind(
        **{
            name: typed_value(hints[name], each, f"'{name}' of {where}")
            for name, each in value.items()
        }
    )


def typed_value(kind: Any, value: Any, where: str) -> Any:
    """Convert a JSON value to a type.

    Args:
        kind (type): A dataclass, or the type of a field of one.
        value (object): A result of `parse_json`.
        where (str): A name for the value, for messages.

    Returns:
        object: The value.

    Raises:
        TypeError: If it is of another type.
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
        of = parts[1]
        return {
            k: typed_value(of, v, f"'{k}' of {where}")
            for k, v in value.items()
        }
    each = [typed_value(parts[0], v, where) for v in value]
    return tuple(each) if origin is tuple else each


def _checked(kind: Any, value: Any, where: str) -> Any:
    """Return a JSON value if it is of the expected kind."""
    fits, expected = _KINDS[kind]
    if not fits(value):
        raise TypeError(f"{where} is {_shown(value)}, expected {expected}")
    return value


@cache
def _types(kind: type) -> dict[str, Any]:
    """Return the types of the fields of a dataclass."""
    return get_type_hints(kind)


def _shown(value: Any) -> str:
    """Return a short form of a JSON value, for a message."""
    if isinstance(value, NoneType | bool | int | float | str):
        return json.dumps(value)[:60]
    return "a list" if isinstance(value, list) else "entries with names"


def _refuse_constant(name: str) -> None:
    """Refuse a constant that JSON does not have."""
    raise ValueError(f"JSON has no {name}")
