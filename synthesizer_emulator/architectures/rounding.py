"""Rounding of arrays to integers times powers of two, for compact storage.

Arrays are rounded when an architecture is fitted, by much less than its
errors. The integers then represent the rounded numbers exactly.
"""

from enum import Enum

import numpy as np
from numpy.typing import NDArray


class Storage(Enum):
    """The integer format in which a rounded array is stored.

    Attributes:
        INT16_ROWS: A matrix rounded by `round_to_int16`: 16-bit integers
            times a power of two for each row.
        INT32_COLUMNS: A table (..., k) of three or more dimensions, rounded
            by `round_table`: integers times a power of two for each of its
            k columns.
    """

    INT16_ROWS = "int16"
    INT32_COLUMNS = "int32"


def round_to_int16(matrix: NDArray[np.float64]) -> NDArray[np.float64]:
    """Round rows of a matrix (k, n) to 16-bit integers times powers of two."""
    unit = int16_units(matrix)
    return np.round(matrix / unit) * unit


def int16_units(matrix: NDArray) -> NDArray[np.float64]:
    """Return the power of two that is the unit of each row, (k, 1)."""
    largest = np.abs(matrix).max(axis=1, keepdims=True)
    exponent = np.ceil(np.log2(np.where(largest > 0, largest, 1.0) / 32767.0))
    return 2.0**exponent


def round_table(
    table: NDArray[np.float64], metric: NDArray[np.float64], step: float
) -> NDArray[np.float64]:
    """Round columns of a table (..., k) to integers times powers of two.

    The unit of each column times its `metric` (k,) is at most `step`.
    """
    unit = 2.0 ** np.floor(np.log2(step / metric))
    return np.round(table / unit) * unit


def common_units(table: NDArray[np.float32]) -> NDArray[np.float64]:
    """Return the largest power of two that divides each column, (k,)."""
    mantissa, exponent = np.frexp(table)
    # The lowest set bit of the 24-bit mantissas gives the common unit.
    whole = np.round(mantissa * 2.0**24).astype(np.int64)
    trailing = np.log2(np.where(whole == 0, 1, whole & -whole))
    exponent = np.where(whole == 0, 127, exponent - 24 + trailing)
    return 2.0 ** exponent.reshape(-1, table.shape[-1]).min(axis=0)
