"""Arrays rounded to integers times powers of two, to be stored compactly.

Rounding happens once, when an architecture is fitted, to well below its
errors. The integers then stand for the rounded numbers without any loss.
"""

from enum import Enum

import numpy as np
from numpy.typing import NDArray


class Storage(Enum):
    """The integers as which a rounded array is stored.

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
    """Round each row of a matrix to 16-bit integers times a power of two.

    Args:
        matrix (np.ndarray of float): Shape (k, n).

    Returns:
        np.ndarray of float: The rounded matrix.
    """
    unit = int16_units(matrix)
    return np.round(matrix / unit) * unit


def int16_units(matrix: NDArray) -> NDArray[np.float64]:
    """Return the power of two of which each row is a multiple, (k, 1)."""
    largest = np.abs(matrix).max(axis=1, keepdims=True)
    exponent = np.ceil(np.log2(np.where(largest > 0, largest, 1.0) / 32767.0))
    return 2.0**exponent


def round_table(
    table: NDArray[np.float64], metric: NDArray[np.float64], step: float
) -> NDArray[np.float64]:
    """Round each column of a table to integers times a power of two.

    Args:
        table (np.ndarray of float): Shape (..., k).
        metric (np.ndarray of float): The weight of one unit of each column,
            (k,).
        step (float): The largest unit of the integers, in these weights.

    Returns:
        np.ndarray of float: The rounded table.
    """
    unit = 2.0 ** np.floor(np.log2(step / metric))
    return np.round(table / unit) * unit


def common_units(table: NDArray[np.float32]) -> NDArray[np.float64]:
    """Return the largest power of two that divides each column, (k,)."""
    mantissa, exponent = np.frexp(table)
    # As integers of 24 bits, of which the lowest that is set counts.
    whole = np.round(mantissa * 2.0**24).astype(np.int64)
    trailing = np.log2(np.where(whole == 0, 1, whole & -whole))
    exponent = np.where(whole == 0, 127, exponent - 24 + trailing)
    return 2.0 ** exponent.reshape(-1, table.shape[-1]).min(axis=0)
