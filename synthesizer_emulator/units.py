"""Units: safe parsing of texts, and conversion of quantities to numbers.

unyt passes the text of a unit to Python's parser and evaluates it, so a text
from a file could run code, or an exponent never finish. Units from a grid, a
weights file or a configuration are therefore parsed here first.
"""

import ast
import math
import re
from functools import lru_cache
from typing import Any

import numpy as np
from synthesizer.exceptions import (
    InconsistentArguments,
    IncorrectUnits,
    MissingUnits,
)
from unyt import Unit, dimensionless, unyt_array, unyt_quantity
from unyt.exceptions import IterableUnitCoercionError, UnitParseError

# How Synthesizer's files write that there are no units.
NO_UNITS = ("", "None")

# Beyond any unit of astronomy.
_LONGEST = 120
_HIGHEST_POWER = 32

# The unit of a pure number.
PURE = "dimensionless"

# The units of the plain numbers of the models, one for each kind of quantity.
MODEL_UNITS = ("yr", "Msun", "angstrom", "K", PURE)

_QUANTITY = re.compile(
    r"\s*([-+]?(?:\d+\.?\d*|\.\d+)(?:[eE][-+]?\d+)?)\s*(.*?)\s*", re.DOTALL
)


def parse_unit(text: str) -> Unit:
    """Parse a unit.

    Args:
        text (str): Names of unyt's units and numbers, joined by `*`, `/`,
            `**` and brackets, as in `erg/s/Hz`. The logarithm of a unit,
            `log10(yr)`, is dimensionless, and so are `None` and an empty
            text.

    Returns:
        Unit: The unit.

    Raises:
        InconsistentArguments: If the text is anything else.
    """
    if not isinstance(text, str):
        raise InconsistentArguments(
            f"Units are a text such as 'Gyr', got {_shown(repr(text))}."
        )
    return _parsed(text)


def parse_quantity(text: str) -> unyt_quantity:
    """Parse a number with its unit.

    Args:
        text (str): The number and the unit, as in `5 Gyr`.

    Returns:
        unyt_quantity: The quantity.

    Raises:
        InconsistentArguments: If the text is anything else.
    """
    match = _QUANTITY.fullmatch(text)
    if match is None or not math.isfinite(float(match[1])):
        shown = _shown(text)
        raise InconsistentArguments(
            f"{shown} is no number with units, as in '5 Gyr'."
        )
    return unyt_quantity(float(match[1]), parse_unit(match[2]))


@lru_cache(maxsize=256)
def _parsed(text: str) -> Unit:
    """Parse a unit, each text once."""
    if text.strip() in NO_UNITS:
        return dimensionless
    if len(text) > _LONGEST:
        raise _no_unit(text, f"it has more than {_LONGEST} characters")
    # The replacements that unyt makes before it parses.
    spelled = text.strip().replace("%", "percent").replace("°", "deg")
    try:
        tree = ast.parse(spelled, mode="eval").body
    except (SyntaxError, ValueError, RecursionError, MemoryError) as error:
        raise _no_unit(text, "it can't be parsed") from error
    if _is_logarithm(tree):
        _check_product(tree.args[0], text)  # type: ignore[attr-defined]
        return dimensionless
    _check_product(tree, text)
    try:
        return Unit(spelled)
    except (UnitParseError, ArithmeticError, TypeError, ValueError) as error:
        raise _no_unit(text, "unyt can't read it") from error


def _check_product(node: ast.expr, text: str) -> None:
    """Refuse anything but products, quotients and powers of units."""
    if isinstance(node, ast.BinOp) and isinstance(node.op, ast.Mult | ast.Div):
        _check_product(node.left, text)
        _check_product(node.right, text)
    elif isinstance(node, ast.BinOp) and isinstance(node.op, ast.Pow):
        # The exponents of nested powers could multiply without bound.
        if any(
            isinstance(part, ast.BinOp) and isinstance(part.op, ast.Pow)
            for part in ast.walk(node.left)
        ):
            raise _no_unit(text, "it has a power of a power")
        _check_product(node.left, text)
        power = _exponent(node.right)
        if power is None or not abs(power) <= _HIGHEST_POWER:
            raise _no_unit(
                text,
                f"its exponents must be numbers of at most {_HIGHEST_POWER}",
            )
    elif isinstance(node, ast.Constant):
        value = _number(node)
        if value is None or not 0.0 < value < math.inf:
            raise _no_unit(text, f"{node.value!r} is no positive number")
    elif isinstance(node, ast.Name):
        _check_name(node.id, text)
    else:
        part = ast.unparse(node)
        raise _no_unit(text, f"{_shown(part)} has no place in a unit")


def _check_name(name: str, text: str) -> None:
    """Refuse a name that is not a unit."""
    try:
        # A single name, with nothing to evaluate.
        Unit(name)
    except (UnitParseError, KeyError, TypeError) as error:
        raise _no_unit(text, f"unyt knows no unit {_shown(name)}") from error


def _is_logarithm(node: ast.expr) -> bool:
    """Whether an expression is `log10` of one argument."""
    return (
        isinstance(node, ast.Call)
        and isinstance(node.func, ast.Name)
        and node.func.id == "log10"
        and len(node.args) == 1
        and not node.keywords
    )


def _exponent(node: ast.expr) -> float | None:
    """Return the value of a number, its negative or a fraction, or None."""
    if isinstance(node, ast.UnaryOp) and isinstance(
        node.op, ast.USub | ast.UAdd
    ):
        value = _exponent(node.operand)
        if value is None or isinstance(node.op, ast.UAdd):
            return value
        return -value
    if isinstance(node, ast.BinOp) and isinstance(node.op, ast.Div):
        above, below = _exponent(node.left), _exponent(node.right)
        return above / below if above is not None and below else None
    return _number(node)


def _number(node: ast.expr) -> float | None:
    """Return the value of a literal number, or None."""
    if not isinstance(node, ast.Constant) or type(node.value) not in (
        int,
        float,
    ):
        return None
    try:
        return float(node.value)  # type: ignore[arg-type]
    except OverflowError:
        return math.inf


def _no_unit(text: str, why: str) -> InconsistentArguments:
    """Return the error for a text that is not a unit."""
    return InconsistentArguments(
        f"{_shown(text)} is no unit: {why}. Expected names of unyt's units, "
        "as in 'Gyr' or 'erg/s/Hz'."
    )


def _shown(text: str) -> str:
    """Return a text in quotes, shortened for a message."""
    return repr(text if len(text) <= 60 else f"{text[:57]}...")


def in_units(name: str, value: Any, units: str | None) -> Any:
    """Convert a quantity to plain numbers.

    Args:
        name (str): The name of the quantity, for messages.
        value (unyt_array/array): The quantity, or a list of quantities;
            without units it is returned unchanged.
        units (str): The units of the result, `dimensionless` for a pure
            number; None for the model's units of its kind.

    Returns:
        array: The plain numbers.

    Raises:
        IncorrectUnits: If its units don't convert to these.
    """
    value = _joined(name, value)
    if not isinstance(value, unyt_array):
        return value
    wanted = parse_unit(units_of(value) if units is None else units)
    if value.units.dimensions != wanted.dimensions:
        raise IncorrectUnits(
            f"{name} has the units {value.units}: expected "
            f"{_described(units)}."
        )
    return np.asarray(value.to_value(wanted), np.float64)


def in_stated_units(name: str, value: Any, units: str | None) -> Any:
    """Convert a quantity that must have units to plain numbers.

    As in Synthesizer, a temperature without units is refused.

    Args:
        name (str): The name of the quantity, for messages.
        value (unyt_array/array): The quantity, or a list of quantities; a
            pure number may have no units.
        units (str): The units of the result, as for `in_units`.

    Returns:
        array: The plain numbers.

    Raises:
        MissingUnits: If it needs units and has none.
        IncorrectUnits: If its units don't convert to these.
    """
    value = _joined(name, value)
    if units not in (None, PURE) and not isinstance(value, unyt_array):
        raise MissingUnits(
            f"{name} has no units: expected {_described(units)}, got {value}."
        )
    return in_units(name, value, units)


def model_unit(units: Unit) -> str:
    """Return the model's unit for a kind of units; "" for no such kind."""
    same = (u for u in MODEL_UNITS if Unit(u).dimensions == units.dimensions)
    return next(same, "")


def units_of(value: Any) -> str:
    """Return the model's unit for a quantity, or else its own."""
    if not isinstance(value, unyt_array):
        return PURE
    return model_unit(value.units) or str(value.units)


def with_units(plain: Any, units: str | None) -> Any:
    """Attach units to a plain number, unless it is a pure one."""
    if units is None or units == PURE:
        return plain
    return unyt_array(plain, parse_unit(units))


def _joined(name: str, value: Any) -> Any:
    """Join a list of quantities, with astropy's converted to unyt's."""
    if _is_astropy(value):
        return unyt_array.from_astropy(value)
    if not isinstance(value, list | tuple):
        return value
    each = [
        unyt_array.from_astropy(one) if _is_astropy(one) else one
        for one in value
    ]
    if not any(isinstance(one, unyt_array) for one in each):
        return value
    try:
        return unyt_array(each)
    except IterableUnitCoercionError as error:
        raise IncorrectUnits(
            f"{name} has units that don't go together: {value}."
        ) from error


def _is_astropy(value: Any) -> bool:
    """Whether a value is a quantity of astropy."""
    return hasattr(value, "unit") and hasattr(value, "to_value")


def _described(units: str | None) -> str:
    """Describe the units expected of a quantity."""
    if units == PURE:
        return "a number without units"
    return f"{units}, or what converts to it"
