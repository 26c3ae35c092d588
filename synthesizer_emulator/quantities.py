"""From quantities with units to the plain numbers that models compute with.

The one gate for units: whatever a user gives with units passes here before
they are taken off, and is refused where they are not those of what it is
meant for. JAX takes units off without a word, so this has to happen outside
of what is compiled.
"""

from typing import Any

import numpy as np
from synthesizer.exceptions import IncorrectUnits, MissingUnits
from unyt import Unit, unyt_array
from unyt.exceptions import IterableUnitCoercionError

from synthesizer_emulator.units import parse_unit

PURE = "dimensionless"

# What plain numbers are in, whatever units they were given in.
MODEL_UNITS = ("yr", "Msun", "angstrom", "K", PURE)


def in_units(name: str, value: Any, units: str | None) -> Any:
    """Return a quantity as plain numbers in given units.

    Args:
        name (str): What the quantity is called.
        value (unyt_array/array): The quantity, or a list of quantities;
            without units it is returned as it is.
        units (str): The units of what is returned, `dimensionless` for a
            pure number; None for those that a model has of its kind.

    Returns:
        array: The plain numbers.

    Raises:
        IncorrectUnits: If it has units that don't convert to these.
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
    """Return a quantity as plain numbers, and insist that it has units.

    As Synthesizer does: a temperature without units may be in anything.

    Args:
        name (str): What the quantity is called.
        value (unyt_array/array): The quantity, or a list of quantities; it
            may be plain where a pure number is wanted.
        units (str): The units of what is returned, as for `in_units`.

    Returns:
        array: The plain numbers.

    Raises:
        MissingUnits: If it has no units, and needs some.
        IncorrectUnits: If it has units that don't convert to these.
    """
    value = _joined(name, value)
    if units not in (None, PURE) and not isinstance(value, unyt_array):
        raise MissingUnits(
            f"{name} has no units: expected {_described(units)}, got {value}."
        )
    return in_units(name, value, units)


def model_unit(units: Unit) -> str:
    """Return what a model has numbers of some units in; "" for none."""
    same = (u for u in MODEL_UNITS if Unit(u).dimensions == units.dimensions)
    return next(same, "")


def units_of(value: Any) -> str:
    """Return what a model has numbers of the kind of a quantity in."""
    if not isinstance(value, unyt_array):
        return PURE
    return model_unit(value.units) or str(value.units)


def with_units(plain: Any, units: str | None) -> Any:
    """Return a plain number with its units, if it has any."""
    if units is None or units == PURE:
        return plain
    return unyt_array(plain, parse_unit(units))


def _joined(name: str, value: Any) -> Any:
    """Return a list of quantities as one array, astropy's as unyt's."""
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
    """Return whether something is a quantity of astropy."""
    return hasattr(value, "unit") and hasattr(value, "to_value")


def _described(units: str | None) -> str:
    """Return what is expected of a quantity."""
    if units == PURE:
        return "a number without units"
    return f"{units}, or what converts to it"
