"""Synthesizer's instruments: their filters, and the noise of their depths."""

from collections.abc import Iterable, Mapping
from copy import deepcopy
from typing import Any, TypeAlias

import numpy as np
from synthesizer.conversions import apparent_mag_to_fnu
from synthesizer.exceptions import InconsistentArguments
from synthesizer.instruments import FilterCollection, InstrumentCollection
from synthesizer.instruments.instrument_base import InstrumentBase
from unyt import unyt_array

from synthesizer_emulator.units import in_units
from synthesizer_emulator.validation import check_number

# The accepted ways to give instruments.
GivenInstruments: TypeAlias = (
    InstrumentBase | InstrumentCollection | Iterable[InstrumentBase]
)


def as_instruments(given: GivenInstruments) -> tuple[InstrumentBase, ...]:
    """Return photometric instruments from one, several or a collection.

    Raises:
        InconsistentArguments: If something is not an instrument with
            filters, or two instruments have a filter of the same code.
    """
    if isinstance(given, InstrumentBase):
        given = [given]
    if isinstance(given, InstrumentCollection):
        given = given.instruments.values()
    found = tuple(given) if isinstance(given, Iterable) else (given,)
    seen: dict[str, str] = {}
    for instrument in found:
        if isinstance(instrument, type):
            raise InconsistentArguments(
                f"'{instrument.__name__}' is a class: make an instrument, "
                f"{instrument.__name__}()."
            )
        if not isinstance(instrument, InstrumentBase):
            raise InconsistentArguments(
                "Instruments must be Synthesizer's Instrument or "
                f"InstrumentCollection, got {instrument!r}."
            )
        if not instrument.can_do_photometry:
            raise InconsistentArguments(
                f"The instrument '{instrument.label}' has no filters, which "
                "photometry needs: leave it out."
            )
        for code in instrument.filters.filter_codes:
            if code in seen:
                raise InconsistentArguments(
                    f"The filter '{code}' belongs to two instruments, "
                    f"'{seen[code]}' and '{instrument.label}': give each once."
                )
            seen[code] = instrument.label
    if not seen:
        raise InconsistentArguments(
            "At least one instrument with a filter must be given, got none."
        )
    return found


def filters_of(instruments: Iterable[InstrumentBase]) -> FilterCollection:
    """Return the filters of instruments, in their order."""
    collections = [instrument.filters for instrument in instruments]
    if len(collections) == 1:
        return collections[0]
    # Synthesizer resamples the filters of a collection in place.
    return FilterCollection(
        filters=[
            deepcopy(filters[code])
            for filters in collections
            for code in filters.filter_codes
        ]
    )


def noise_of(instruments: Iterable[InstrumentBase]) -> dict[str, float]:
    """Return the standard deviation of the noise in each filter, nJy.

    As in Synthesizer, it is the depth divided by the signal-to-noise ratio
    at the depth. A number is a depth in apparent AB magnitudes, for all
    filters or by filter code. With an aperture it is the noise within.

    Raises:
        InconsistentArguments: If a filter has no depth or signal-to-noise
            ratio, or one that is not positive.
        IncorrectUnits: If a depth is not a magnitude or a flux density.
    """
    noise = {}
    for instrument in instruments:
        for code in instrument.filters.filter_codes:
            what = f"of '{code}' of the instrument '{instrument.label}'"
            depth = _entry(instrument.depth, code)
            ratio = _entry(instrument.snrs, code)
            entries = {"depth": depth, "snrs": ratio}
            lacking = [key for key, value in entries.items() if value is None]
            if lacking:
                raise InconsistentArguments(
                    f"The noise {what} needs its depth and snrs, got no "
                    f"{' and no '.join(lacking)}: add {' and '.join(lacking)} "
                    "of this filter to the instrument, or leave out noise."
                )
            if not isinstance(depth, unyt_array):
                depth = apparent_mag_to_fnu(float(depth))
            flux = float(in_units(f"the depth {what}", depth, "nJy"))
            ratio = float(np.asarray(ratio))
            check_number(f"the depth {what}, nJy,", flux, 0.0, open_ends=True)
            check_number(f"snrs {what}", ratio, 0.0, open_ends=True)
            noise[code] = flux / ratio
    return noise


def _entry(given: Any, code: str) -> Any:
    """Return the entry of a filter; None if there is none."""
    return given.get(code) if isinstance(given, Mapping) else given
