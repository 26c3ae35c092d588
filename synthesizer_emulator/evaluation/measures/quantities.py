"""Errors of quantities derived from spectra with the methods of `Sed`.

Ionising photon rates, bolometric luminosities, the 4000 Angstrom break and
the UV slope are integrals and ratios, whose errors can't be inferred from the
errors of single pixels.
"""

from collections.abc import Callable
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray
from synthesizer.emissions import Sed
from unyt import unyt_array

from synthesizer_emulator.emulator.metrics import SCORED_FLOOR
from synthesizer_emulator.evaluation.measures.quantiles import Quantiles

# Ionising photon rates below this fraction of the largest, such as those of
# old stars, are not scored.
_PHOTON_FLOOR = 1e-8


@dataclass(frozen=True)
class Quantity:
    """A quantity derived from a spectrum.

    Attributes:
        title (str): The name in tables and figures.
        window (tuple of float): The range of wavelengths in Angstrom that
            the quantity depends on.
        measure (callable): The function from an Sed (m, nlam) to values
            (m,).
        fractional (bool): Whether errors are relative; else absolute.
        bright (bool): Whether all pixels in the window must be brighter
            than `SCORED_FLOOR` times the peak of the spectrum.
        filled (float): The fraction of the pixels in the window that must
            have flux.
    """

    title: str
    window: tuple[float, float]
    measure: Callable[[Sed], NDArray]
    fractional: bool = True
    bright: bool = True
    filled: float = 1.0


def _photon_rate(sed: Sed) -> NDArray:
    """Return the rate of photons above 13.6 eV, in 1/s."""
    rate = sed.calculate_ionising_photon_production_rate()
    return np.asarray(rate.to_value("1/s"))


def _bolometric_luminosity(sed: Sed) -> NDArray:
    """Return the bolometric luminosity, in erg/s."""
    return np.asarray(sed.bolometric_luminosity.to_value("erg/s"))


def _break_4000(sed: Sed) -> NDArray:
    """Return the 4000 Angstrom break as in Balogh et al. (1999)."""
    return np.asarray(sed.measure_d4000(definition="Balogh"))


def _uv_slope(sed: Sed) -> NDArray:
    """Return the UV slope beta between 1250 and 3000 Angstrom."""
    return np.asarray(sed.measure_beta())


QUANTITIES = {
    "ionising_photon_rate": Quantity(
        "ionising photon rate",
        (0.0, 911.65),
        _photon_rate,
        bright=False,
        filled=0.5,
    ),
    "bolometric_luminosity": Quantity(
        "bolometric luminosity",
        (0.0, np.inf),
        _bolometric_luminosity,
        bright=False,
        filled=0.0,
    ),
    "d4000": Quantity("4000 Å break (Balogh)", (3850.0, 4100.0), _break_4000),
    "beta": Quantity(
        "UV slope β", (1250.0, 3000.0), _uv_slope, fractional=False
    ),
}


@dataclass(frozen=True)
class QuantityErrors:
    """The errors of a derived quantity at the nodes of a grid.

    Attributes:
        fractional (bool): Whether errors are relative; else absolute.
        summary (Quantiles): The quantiles and the mean of the errors.
        true (np.ndarray of float): The native values, (n1, ..., nd); NaN
            where the quantity is not defined.
        errors (np.ndarray of float): Emulated minus native value, divided
            by the native value if fractional, (n1, ..., nd).
    """

    fractional: bool
    summary: Quantiles
    true: NDArray[np.float64] = field(repr=False)
    errors: NDArray[np.float64] = field(repr=False)


def measure(
    lam: NDArray[np.float64], native: NDArray, emulated: NDArray
) -> dict[str, tuple[NDArray, NDArray]]:
    """Measure the derived quantities of native and emulated spectra.

    Args:
        lam (np.ndarray of float): The wavelengths in Angstrom, (nlam,).
        native (np.ndarray of float): Spectra in erg/s/Hz, (..., nlam).
        emulated (np.ndarray of float): Spectra in erg/s/Hz, (..., nlam).

    Returns:
        dict: The native and the emulated values, both (...,), of each
            quantity with a window within the wavelengths; NaN where the
            native spectrum is too faint.
    """
    shape = native.shape[:-1]
    rows = native.reshape(-1, len(lam)), emulated.reshape(-1, len(lam))
    peak = rows[0].max(axis=-1)
    values = {}
    for name, quantity in QUANTITIES.items():
        low, high = quantity.window
        inside = (lam > low) & (lam < high)
        # A limit of 0 or infinity is always covered.
        covered = (low == 0 or lam[0] <= low) and (
            np.isinf(high) or lam[-1] >= high
        )
        if np.count_nonzero(inside) < 3 or not covered:
            continue
        window = rows[0][:, inside]
        defined = (peak > 0) & ((window > 0).mean(axis=-1) >= quantity.filled)
        if quantity.bright:
            defined &= window.min(axis=-1) > SCORED_FLOOR * peak
        both = []
        for lnu in rows:
            result = np.full(len(lnu), np.nan)
            if defined.any():
                result[defined] = quantity.measure(_sed(lam, lnu[defined]))
            both.append(result.reshape(shape))
        values[name] = both[0], both[1]
    return values


def quantity_errors(
    values: dict[str, tuple[NDArray, NDArray]],
) -> dict[str, QuantityErrors]:
    """Return the errors of derived quantities that `measure` returned.

    Quantities that are not defined at any node are left out.
    """
    errors = {}
    for name, (native, emulated) in values.items():
        if np.isnan(native).all():
            # As of spectra without a continuum.
            continue
        true = native.copy()
        if name == "ionising_photon_rate":
            true[~(native > _PHOTON_FLOOR * np.nanmax(native))] = np.nan
        fractional = QUANTITIES[name].fractional
        error = emulated - true
        if fractional:
            error = error / true
        summary = Quantiles.from_errors(error)
        if summary.number:
            errors[name] = QuantityErrors(fractional, summary, true, error)
    return errors


def _sed(lam: NDArray, lnu: NDArray) -> Sed:
    """Return an `Sed` of spectra in erg/s/Hz, (m, nlam)."""
    values = np.ascontiguousarray(lnu, np.float64)
    return Sed(unyt_array(lam, "angstrom"), unyt_array(values, "erg/s/Hz"))
