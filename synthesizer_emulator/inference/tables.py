"""The columns of tables, with their units."""

from typing import Any

from numpy.typing import NDArray
from synthesizer.exceptions import IncorrectUnits
from unyt import unyt_array

from synthesizer_emulator.units import from_astropy


def with_unit(name: str, values: NDArray, unit: Any) -> unyt_array:
    """Return the numbers of a column with its unit of astropy.

    Raises:
        IncorrectUnits: If unyt does not know the unit.
    """
    try:
        return from_astropy(f"The column '{name}'", values * unit)
    except IncorrectUnits:
        raise
    except Exception as error:
        # unyt raises other classes for units that only astropy has.
        raise IncorrectUnits(
            f"The units '{unit}' of the column '{name}' are not known. Remove "
            "them from the file, and give them in units, if they are not the "
            "default."
        ) from error
