"""Errors of quantities derived from spectra, by the methods of `Sed`.

Ionising photon rates, bolometric luminosities, the 4000 Angstrom break and
the UV slope are integrals and ratios, whose errors do not follow from the
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

# Ionising photon rates below this fraction of the largest, as those of old
# stars, are not scored.
_PHOTON_FLOOR = 1e-8


@dataclass(frozen=True)
class Quantity:
    """A quantity derived from a spectrum.

    Attributes:
        title (str): Its name in tables and figures.
        window (tuple of float): The wavelengths in Angstrom that it depends
            on.
        measure (callable): Maps an Sed (m, nlam) to values (m,).
        fractional (bool): Whether its error is relative, or absolute.
        bright (bool): Whether all pixels in the window must be brighter
            than `SCORED_FLOOR` of the peak of the spectrum.
        filled (float): The fraction of these pixels that must have flux.
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
        fractional (bool): Whether errors are relative, or absolute.
        summary (Quantiles): Their quantiles and mean.
        true (np.ndarray of float): The values of the grid, (n1, ..., nd);
            NaN where the quantity is not defined.
        errors (np.ndarray of float): Emulated minus native, over native if
            fractional, (n1, ..., nd).
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
        emulated (np.ndarray of float): The same of the emulator.

    Returns:
        dict: For each quantity whose window the wavelengths cover, the
            native and the emulated values, both (...,); NaN where the
            native spectrum is too faint.
    """
    shape = native.shape[:-1]
    rows = native.reshape(-1, len(lam)), emulated.reshape(-1, len(lam))
    peak = rows[0].max(axis=-1)
    values = {}
    for name, quantity in QUANTITIES.items():
        low, high = quantity.window
        inside = (lam > low) & (lam < high)
        # Wavelengths always cover the open end of a window.
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
    """Return the errors of derived quantities.

    Args:
        values (dict): The native and the emulated values of each quantity
            at all nodes, as `measure` returns them.

    Returns:
        dict: The QuantityErrors of each quantity that is defined anywhere.
    """
    errors = {}
    for name, (native, emulated) in values.items():
        true = native.copy()
        if name == "ionising_photon_rate":
            true[~(native > _PHOTON_FLOOR * np.nanmax(native))] = np.nan
        fractional = QUANTITIES[name].fractional
        wrong = emulated - true
        if fractional:
            wrong = wrong / true
        summary = Quantiles.from_errors(wrong)
        if summary.number:
            errors[name] = QuantityErrors(fractional, summary, true, wrong)
    return errors


def _sed(lam: NDArray, lnu: NDArray) -> Sed:
    """Return spectra in erg/s/Hz (m, nlam) as an `Sed` of Synthesizer."""
    values = np.ascontiguousarray(lnu, np.float64)
    return Sed(unyt_array(lam, "angstrom"), unyt_array(values, "erg/s/Hz"))
