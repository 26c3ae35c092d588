"""Parameters in double precision.

Synference draws parameters in single precision, which Synthesizer refuses to
use together with a grid in double precision.
"""

from collections.abc import Mapping
from copy import copy
from typing import Any

import numpy as np
from synthesizer.parametric import SFH, ZDist


def in_double_precision(value: Any) -> Any:
    """Convert numbers in lower precision to double precision.

    Args:
        value (any): A number, an array, Synthesizer's history, or a list, a
            tuple or a mapping of these. Anything else is returned unchanged.

    Returns:
        any: The same kind of object; the argument itself if nothing in it
            has a lower precision.

    Examples:
        >>> in_double_precision([np.float32(0.5), "name"])
        [np.float64(0.5), 'name']
    """
    if isinstance(value, np.ndarray | np.floating):
        is_low = value.dtype.kind == "f" and value.dtype.itemsize < 8
        return value.astype(np.float64) if is_low else value
    if isinstance(value, SFH.Common | ZDist.Common):
        if converted := _converted(vars(value)):
            value = copy(value)
            vars(value).update(converted)
        return value
    if isinstance(value, dict):
        return value | converted if (converted := _converted(value)) else value
    if isinstance(value, list | tuple):
        converted = _converted(dict(enumerate(value)))
        if converted:
            return type(value)(
                converted.get(i, v) for i, v in enumerate(value)
            )
    return value


def _converted(values: Mapping[Any, Any]) -> dict[Any, Any]:
    """Return those values that the conversion changes."""
    converted = {k: in_double_precision(v) for k, v in values.items()}
    return {k: v for k, v in converted.items() if v is not values[k]}
