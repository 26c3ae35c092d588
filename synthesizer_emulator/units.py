"""Parse units safely, and convert quantities to plain numbers.

unyt evaluates the string of a unit with Python's parser, so a string from a
file could run code, or an exponent might never finish. The units in a grid, a
weights file or a configuration are therefore checked here first.
"""

import ast
import math
import re
from functools import lru_cache
from typing import Any

import numpy as np
from astropy.units import CompositeUnit
from numpy.typing import NDArray
from synthesizer.exceptions import (
    InconsistentArguments,
    IncorrectUnits,
    MissingUnits,
)
from unyt import Unit, dimensionless, unyt_array, unyt_quantity
from unyt.exceptions import IterableUnitCoercionError, UnitParseError

# The strings that stand for no units in Synthesizer's files.
NO_UNITS = ("", "None")

# Limits well beyond any unit used in astronomy.
_LONGEST = 120
_HIGHEST_POWER = 32

# The unit of a pure number, in unyt's names.
PURE = "dimensionless"

# The units of the models' plain numbers, one for each dimension.
MODEL_UNITS = ("yr", "Msun", "angstrom", "K", "cm**-3", "km/s", PURE)
_UNITS_BY_DIMENSION = {Unit(name).dimensions: name for name in MODEL_UNITS}

# Hardly ever what is meant.
_MILLIYEARS = re.compile(r"\bmyr\b")

_QUANTITY = re.compile(
    r"\s*([-+]?(?:\d+\.?\d*|\.\d+)(?:[eE][-+]?\d+)?)\s*(.*?)\s*", re.DOTALL
)


def parse_unit(text: str) -> Unit:
    """Parse a unit.

    Args:
        text (str): Names of unyt's units and numbers, joined by `*`, `/`,
            `**` and brackets, as in `erg/s/Hz`. The logarithm of a unit,
            `log10(yr)`, is dimensionless, and so are `None` and an empty
            string.

    Returns:
        Unit: The unit.

    Raises:
        InconsistentArguments: If the string is not a unit.
    """
    if not isinstance(text, str):
        raise InconsistentArguments(
            f"Units must be a string such as 'Gyr', got {_quoted(repr(text))}."
        )
    return _parsed(text)


def parse_quantity(text: str) -> unyt_quantity:
    """Parse a number with its unit.

    Args:
        text (str): The number and its unit, as in `5 Gyr`.

    Returns:
        unyt_quantity: The quantity.

    Raises:
        InconsistentArguments: If the string is not a number with a unit.
    """
    match = _QUANTITY.fullmatch(text)
    if match is None or not math.isfinite(float(match[1])):
        raise InconsistentArguments(
            "A quantity must be a number with units, as in '5 Gyr', got "
            f"{_quoted(text)}."
        )
    return unyt_quantity(float(match[1]), parse_unit(match[2]))


def parse_value(text: str) -> float | unyt_quantity:
    """Parse a number, with its unit if it has one.

    Args:
        text (str): The number, as in `0.02`, or a quantity, as in `5 Gyr`.

    Raises:
        InconsistentArguments: If the string is neither.
    """
    value = parse_quantity(text)
    return float(value) if value.units == dimensionless else value


@lru_cache(maxsize=256)
def _parsed(text: str) -> Unit:
    """Parse a unit, with a cache."""
    if text.strip() in NO_UNITS:
        return dimensionless
    if len(text) > _LONGEST:
        raise _invalid_unit(text, f"it has more than {_LONGEST} characters")
    # The replacements that unyt makes before parsing.
    spelled = text.strip().replace("%", "percent").replace("°", "deg")
    try:
        tree = ast.parse(spelled, mode="eval").body
    except (SyntaxError, ValueError, RecursionError, MemoryError) as error:
        raise _invalid_unit(text, "it can't be parsed") from error
    if _MILLIYEARS.search(spelled):
        raise _invalid_unit(text, "'myr' stands for milliyears in unyt")
    if _is_logarithm(tree):
        _check_product(tree.args[0], text)  # type: ignore[attr-defined]
        return dimensionless
    _check_product(tree, text)
    try:
        return Unit(spelled)
    except (UnitParseError, ArithmeticError, TypeError, ValueError) as error:
        raise _invalid_unit(text, "unyt can't read it") from error


def _check_product(node: ast.expr, text: str) -> None:
    """Raise unless an expression has only products and powers of units."""
    if isinstance(node, ast.BinOp) and isinstance(node.op, ast.Mult | ast.Div):
        _check_product(node.left, text)
        _check_product(node.right, text)
    elif isinstance(node, ast.BinOp) and isinstance(node.op, ast.Pow):
        # Nested exponents could multiply without bound.
        if any(
            isinstance(part, ast.BinOp) and isinstance(part.op, ast.Pow)
            for part in ast.walk(node.left)
        ):
            raise _invalid_unit(text, "it contains a power of a power")
        _check_product(node.left, text)
        power = _exponent(node.right)
        if power is None or not abs(power) <= _HIGHEST_POWER:
            raise _invalid_unit(
                text,
                f"its exponents must be numbers up to {_HIGHEST_POWER}",
            )
    elif isinstance(node, ast.Constant):
        value = _number(node)
        if value is None or not 0.0 < value < math.inf:
            raise _invalid_unit(
                text, f"{node.value!r} is not a positive number"
            )
    elif isinstance(node, ast.Name):
        _check_name(node.id, text)
    else:
        part = ast.unparse(node)
        raise _invalid_unit(text, f"{_quoted(part)} is not allowed in a unit")


def _check_name(name: str, text: str) -> None:
    """Raise unless unyt defines a unit."""
    try:
        # A single name needs no evaluation, so this is safe.
        Unit(name)
    except (UnitParseError, KeyError, TypeError) as error:
        raise _invalid_unit(
            text, f"unyt does not define {_quoted(name)}"
        ) from error


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
    """Return the value of a signed number or a fraction, or None."""
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


def _invalid_unit(text: str, why: str) -> InconsistentArguments:
    """Return the error for a string that is not a unit."""
    remedy = "Use the names of unyt's units, as in 'Gyr' or 'erg/s/Hz'"
    if "mag" in text.lower():
        remedy = "Convert magnitudes to flux densities before"
    if _MILLIYEARS.search(text):
        remedy = "Write 'Myr' for millions of years"
    return InconsistentArguments(
        f"{_quoted(text)} is not a valid unit: {why}. {remedy}."
    )


def _quoted(text: str) -> str:
    """Return a string in quotes, shortened for a message."""
    return repr(text if len(text) <= 60 else f"{text[:57]}...")


def in_units(name: str, value: Any, units: str | None) -> Any:
    """Convert a quantity to plain numbers.

    Args:
        name (str): The name of the quantity, for messages.
        value (unyt_array/array): The quantity, or a list of quantities.
            Numbers without units are returned unchanged.
        units (str): The units of the result, `dimensionless` for a pure
            number; None for the unit of `MODEL_UNITS` with the same
            dimensions.

    Returns:
        array: The plain numbers.

    Raises:
        IncorrectUnits: If the quantity does not convert to these units.
    """
    value = _joined(name, value)
    if not isinstance(value, unyt_array):
        return value
    wanted = parse_unit(units_of(value) if units is None else units)
    if value.units.dimensions != wanted.dimensions:
        raise IncorrectUnits(
            f"{name} must be {_described(units)}, got units of {value.units}."
        )
    return np.asarray(value.to_value(wanted), np.float64)


def in_stated_units(name: str, value: Any, units: str | None) -> Any:
    """Convert a quantity to plain numbers; raise if it has no units.

    Args:
        name (str): The name of the quantity, for messages.
        value (unyt_array/array): The quantity, or a list of quantities; a
            pure number may have no units.
        units (str): The units of the result, as for `in_units`.

    Returns:
        array: The plain numbers.

    Raises:
        MissingUnits: If the quantity needs units and has none. Synthesizer
            requires units in the same way, for instance of a temperature.
        IncorrectUnits: If the quantity does not convert to these units.
    """
    value = _joined(name, value)
    if units not in (None, PURE) and not isinstance(value, unyt_array):
        raise MissingUnits(
            f"{name} must be {_described(units)}, got {value} without units."
        )
    return in_units(name, value, units)


def model_unit(units: Unit) -> str:
    """Return the unit of `MODEL_UNITS` that units convert to, or ""."""
    return _UNITS_BY_DIMENSION.get(units.dimensions, "")


def units_of(value: Any) -> str:
    """Return the unit of `MODEL_UNITS` for a quantity, or its current unit."""
    if not isinstance(value, unyt_array):
        return PURE
    return model_unit(value.units) or str(value.units)


def with_units(plain: Any, units: str | None) -> Any:
    """Attach units to plain numbers; return pure numbers unchanged."""
    if units is None or units == PURE:
        return plain
    return unyt_array(plain, parse_unit(units))


def is_masked(value: Any) -> NDArray[np.bool_]:
    """Whether each number is masked, in NumPy's or astropy's way.

    Args:
        value (array): Numbers or a quantity, or a list of them.

    Returns:
        np.ndarray of bool: With the shape of the value, or a single False if
            nothing is masked.
    """
    if isinstance(value, np.ma.MaskedArray):
        return np.ma.getmaskarray(value)
    if hasattr(value, "unmasked"):
        return np.asarray(value.mask, bool)
    if isinstance(value, list | tuple):
        each = [is_masked(item) for item in value]
        if any(np.any(one) for one in each):
            return np.array([np.any(one) for one in each])
    return np.array(False)


def _filled(value: Any) -> Any:
    """Return numbers with NaN where masked, and columns as quantities.

    Conversion to an array would take the numbers under a mask, and those of
    a column of astropy without its units.
    """
    # Lists may have one of these for each of many galaxies.
    if isinstance(value, int | float | unyt_array):
        return value
    gone, data = is_masked(value), value
    if isinstance(value, np.ma.MaskedArray):
        data = np.ma.getdata(value)
    elif hasattr(value, "unmasked"):
        data = value.unmasked
    unit = None
    if hasattr(value, "parent_table"):
        unit, data = value.unit, np.asarray(data)
    if np.any(gone) and np.asarray(data).dtype.kind in "fiu":
        units = getattr(data, "units", None)
        plain = data if units is None else data.value
        data = np.where(gone, np.nan, plain)
        if units is not None:
            data = unyt_array(data, units)
    return data if unit is None else data << unit


def _joined(name: str, value: Any) -> Any:
    """Convert a list of quantities, or an astropy quantity, to unyt.

    Masked numbers become NaN.
    """
    if isinstance(value, list | tuple):
        value = [_filled(item) for item in value]
    else:
        value = _filled(value)
    if _is_astropy(value):
        return from_astropy(name, value)
    if not isinstance(value, list | tuple):
        return value
    quantities = [
        from_astropy(name, item) if _is_astropy(item) else item
        for item in value
    ]
    if not any(isinstance(item, unyt_array) for item in quantities):
        return value
    try:
        return unyt_array(quantities)
    except IterableUnitCoercionError as error:
        raise IncorrectUnits(
            f"{name} must have units of the same dimensions, got {value}."
        ) from error


def from_astropy(name: str, value: Any) -> unyt_array:
    """Convert an astropy quantity to unyt.

    Args:
        name (str): The name of the quantity, for messages.
        value (Quantity): The quantity.

    Raises:
        IncorrectUnits: If its units are not linear, such as magnitudes, or
            unyt does not have them.
    """
    unit = value.unit
    try:
        try:
            return _in_unyt(value.value, unit)
        except UnitParseError:
            # Such as AB, the flux density of magnitude zero.
            return _in_unyt(value.value, unit.decompose())
    except UnitParseError as error:
        raise IncorrectUnits(
            f"{name} must be in units that unyt has, got {unit}. Convert "
            "before, such as maggies to flux densities: one is 3631 Jy."
        ) from error
    except AttributeError as error:
        raise IncorrectUnits(
            f"{name} must be in linear units, got {value.unit}. Convert "
            "magnitudes to flux densities, e.g. with astropy's "
            ".to('nJy')."
        ) from error


def _in_unyt(numbers: Any, unit: Any) -> unyt_array:
    """Return numbers in a unit of astropy as a quantity of unyt."""
    # unyt forgets the scale of units such as 1e-17 erg/s.
    bare = CompositeUnit(1.0, unit.bases, unit.powers)
    return unyt_array.from_astropy(numbers * unit.scale * bare)


def _is_astropy(value: Any) -> bool:
    """Whether a value is an astropy quantity."""
    return hasattr(value, "unit") and hasattr(value, "to_value")


def _described(units: str | None) -> str:
    """Describe the expected quantity, for a message."""
    if units == PURE:
        return "a number without units"
    return f"a quantity that converts to {units}"
