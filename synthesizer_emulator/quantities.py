"""From quantities with units to the plain numbers that models compute with.

The one gate for units: whatever a user gives with units passes here before
they are taken off, and is refused where they are not those of what it is
meant for. JAX itself takes them off without a word, so this has to happen
outside of what is compiled.
"""

from typing import Any

import numpy as np
from synthesizer.exceptions import IncorrectUnits, MissingUnits
from unyt import Unit, unyt_array
from unyt.exceptions import IterableUnitCoercionError

PURE = "dimensionless"


def in_units(name: str, value: Any, units: str) -> Any:
    """Return a quantity as plain numbers in given units.

    Args:
        name (str): What the quantity is called.
        value (unyt_array/array): The quantity, or a list of quantities;
            without units it is returned as it is.
        units (str): The units of what is returned; `dimensionless` for
            what has none.

    Returns:
        array: The plain numbers.

    Raises:
        IncorrectUnits: If it has units that don't convert to these.
    """
    value = _joined(name, value, units)
    if not isinstance(value, unyt_array):
        return value
    if value.units.dimensions != Unit(units).dimensions:
        raise IncorrectUnits(
            f"{name} has the units {value.units}: expected "
            f"{_described(units)}."
        )
    return np.asarray(value.to_value(units))


def with_units_only(name: str, value: Any, units: str) -> Any:
    """Return a quantity as plain numbers, and insist on units.

    As Synthesizer does: a temperature without units may be in anything.

    Args:
        name (str): What the quantity is called.
        value (unyt_array/array): The quantity. It may be plain where
            `units` are `dimensionless`.
        units (str): The units of what is returned.

    Returns:
        array: The plain numbers.

    Raises:
        MissingUnits: If it has no units, and needs some.
        IncorrectUnits: If it has units that don't convert to these.
    """
    value = _joined(name, value, units)
    if units != PURE and not isinstance(value, unyt_array):
        raise MissingUnits(
            f"{name} has no units: expected {_described(units)}, got {value}."
        )
    return in_units(name, value, units)


def _joined(name: str, value: Any, units: str) -> Any:
    """Return a list of quantities as one array."""
    if not isinstance(value, list | tuple) or not any(
        isinstance(one, unyt_array) for one in value
    ):
        return value
    try:
        return unyt_array(value)
    except IterableUnitCoercionError as error:
        raise IncorrectUnits(
            f"{name} has different units: expected {_described(units)} of all."
        ) from error


def _described(units: str) -> str:
    """Return what is expected of a quantity."""
    if units == PURE:
        return "a number without units"
    return f"{units}, or what converts to it"
