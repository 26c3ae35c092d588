"""Filters as users say them: by their codes, by their edges, or themselves.

For whoever takes filters from a user: a library, from Python or from YAML,
and `GalaxyModel`.
"""

import re
from collections.abc import Iterable, Mapping
from typing import Any, TypeAlias

import numpy as np
from synthesizer.data.initialise import get_svo_filter_cache_dir
from synthesizer.exceptions import InconsistentArguments
from synthesizer.instruments import FilterCollection
from unyt import angstrom, unyt_array, unyt_quantity

from synthesizer_emulator.validation import check_names, check_number, nearest

# What may be given for filters.
GivenFilters: TypeAlias = (
    FilterCollection | str | Iterable[str] | Mapping[str, Any]
)

# As the Spanish Virtual Observatory has them: Observatory/Instrument.Band.
_CODE = re.compile(r"[^/\s]+/[^/.\s]+\.[^/\s]+")


def as_filters(given: GivenFilters) -> FilterCollection:
    """Return filters.

    Args:
        given (FilterCollection/str/list of str/Mapping): They; or their codes
            in the Spanish Virtual Observatory, such as `JWST/NIRCam.F115W`;
            or top hats, the lowest and the highest wavelength (with units, or
            in Angstrom) by a code of your own.

    Raises:
        InconsistentArguments: If they are none of it, or there is no such
            filter, or no connection.
    """
    if isinstance(given, FilterCollection):
        return given
    if isinstance(given, Mapping) and given:
        edges = {str(k): two_wavelengths(str(k), v) for k, v in given.items()}
        return FilterCollection(
            tophat_dict={
                code: {"lam_min": low, "lam_max": high}
                for code, (low, high) in edges.items()
            }
        )
    codes = check_names("codes", given)
    for code in codes:
        if not _CODE.fullmatch(code):
            raise InconsistentArguments(
                f"'{code}' is no code of a filter: expected one such as "
                "JWST/NIRCam.F115W, or top hats, {code: [lowest, highest]}, "
                "in Angstrom." + nearest(code, _cached())
            )
    try:
        return FilterCollection(filter_codes=list(codes))
    except Exception as error:
        # From there comes whatever a server or a proxy answers.
        unknown = (code for code in codes if code not in _cached())
        meant = "".join(nearest(code, _cached()) for code in unknown)
        raise InconsistentArguments(
            f"{str(error).strip()}{meant} Without a connection, filters come "
            "from the folder that SYNTHESIZER_SVO_FILTER_CACHE names, or are "
            "top hats: {code: [lowest, highest]}, in Angstrom."
        ) from error


def two_wavelengths(
    name: str, given: Any
) -> tuple[unyt_quantity, unyt_quantity]:
    """Return two ascending wavelengths.

    Args:
        name (str): What they are called.
        given (sequence): They, with units or in Angstrom.

    Raises:
        InconsistentArguments: If they are none.
    """
    plain = given.to_value("angstrom") if _has_units(given) else given
    if not isinstance(plain, list | tuple | np.ndarray) or len(plain) != 2:
        raise InconsistentArguments(
            f"{name} takes two wavelengths in Angstrom, as in [1000, 5000]; "
            f"got {given!r}."
        )
    low, high = (v.to_value("angstrom") if _has_units(v) else v for v in plain)
    for value in (low, high):
        check_number(f"a wavelength of {name}", value, 0.0, open_ends=True)
    if not low < high:
        raise InconsistentArguments(
            f"The wavelengths of {name} have to ascend, got {given}."
        )
    return float(low) * angstrom, float(high) * angstrom


def _has_units(value: Any) -> bool:
    """Return whether a wavelength, or several, have units.

    Raises:
        InconsistentArguments: If these are none of a wavelength.
    """
    if not isinstance(value, unyt_array):
        return False
    if value.units.dimensions != angstrom.dimensions:
        raise InconsistentArguments(
            f"A wavelength has units such as Angstrom, got {value.units}."
        )
    return True


def _cached() -> list[str]:
    """Return the codes of the filters that are on this machine."""
    return [
        path.stem.replace("_", "/", 1)
        for path in get_svo_filter_cache_dir().glob("*_*.*.hdf5")
    ]
