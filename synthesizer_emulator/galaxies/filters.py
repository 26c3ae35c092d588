"""Filters from a collection, instruments, filter codes or edges of top hats.

`GalaxyModel` and libraries accept them all, and YAML the last two.
"""

import re
from collections.abc import Iterable, Mapping
from typing import Any, TypeAlias

import numpy as np
from synthesizer.data.initialise import get_svo_filter_cache_dir
from synthesizer.exceptions import InconsistentArguments
from synthesizer.instruments import FilterCollection, InstrumentCollection
from synthesizer.instruments.instrument_base import InstrumentBase
from unyt import angstrom, unyt_array, unyt_quantity

from synthesizer_emulator.galaxies.instruments import (
    as_instruments,
    filters_of,
)
from synthesizer_emulator.validation import check_names, check_number, nearest

# The accepted ways to give filters.
GivenFilters: TypeAlias = (
    FilterCollection
    | InstrumentBase
    | InstrumentCollection
    | str
    | Iterable[str]
    | Mapping[str, Any]
)

# Codes of the Spanish Virtual Observatory: Observatory/Instrument.Band.
_CODE = re.compile(r"[^/\s]+/[^/.\s]+\.[^/\s]+")


def as_filters(given: GivenFilters) -> FilterCollection:
    """Return a collection of filters from their codes or top-hat edges.

    Args:
        given (FilterCollection/Instrument/str/list of str/Mapping): A
            collection; or Synthesizer's instrument or a collection of
            instruments, such as `JWSTNIRCamWide()`; or codes of the Spanish
            Virtual Observatory, such as `JWST/NIRCam.F115W`; or top hats, as
            a mapping from names to the lowest and the highest wavelength
            (with units, or in Angstrom).

    Raises:
        InconsistentArguments: If `given` has another form, or a filter does
            not exist or can't be downloaded.
    """
    if isinstance(given, FilterCollection):
        return given
    if isinstance(given, InstrumentBase | InstrumentCollection):
        return filters_of(as_instruments(given))
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
                "Filter codes must have the form Observatory/Instrument.Band, "
                f"e.g. JWST/NIRCam.F115W, got '{code}'. For top hats use "
                "{code: [lowest, highest]}, in Angstrom."
                + nearest(code, _cached())
            )
    try:
        return FilterCollection(filter_codes=list(codes))
    except Exception as error:
        # The error comes from a server or a proxy.
        unknown = (code for code in codes if code not in _cached())
        suggestions = "".join(nearest(code, _cached()) for code in unknown)
        raise InconsistentArguments(
            f"{str(error).strip()}{suggestions} Without a connection, use "
            "filters in the folder SYNTHESIZER_SVO_FILTER_CACHE, or top hats: "
            "{code: [lowest, highest]}, in Angstrom."
        ) from error


def two_wavelengths(
    name: str, given: Any
) -> tuple[unyt_quantity, unyt_quantity]:
    """Return two wavelengths, with units or in Angstrom, as quantities.

    Raises:
        InconsistentArguments: Unless they are two ascending wavelengths; the
            error starts with the name of the setting.
    """
    plain = given.to_value("angstrom") if _has_units(given) else given
    if not isinstance(plain, list | tuple | np.ndarray) or len(plain) != 2:
        raise InconsistentArguments(
            f"{name} must be two wavelengths in Angstrom, as in [1000, 5000]; "
            f"got {given!r}."
        )
    low, high = (v.to_value("angstrom") if _has_units(v) else v for v in plain)
    for value in (low, high):
        check_number(f"a wavelength of {name}", value, 0.0, open_ends=True)
    if not low < high:
        raise InconsistentArguments(
            f"The wavelengths of {name} must ascend, got {given}."
        )
    return float(low) * angstrom, float(high) * angstrom


def _has_units(value: Any) -> bool:
    """Return whether wavelengths have units.

    Raises:
        InconsistentArguments: If the units are not those of a length.
    """
    if not isinstance(value, unyt_array):
        return False
    if value.units.dimensions != angstrom.dimensions:
        raise InconsistentArguments(
            "Wavelengths must have units of length, such as Angstrom, got "
            f"{value.units}."
        )
    return True


def _cached() -> list[str]:
    """Return the codes of the filters in the local cache."""
    return [
        path.stem.replace("_", "/", 1)
        for path in get_svo_filter_cache_dir().glob("*_*.*.hdf5")
    ]
