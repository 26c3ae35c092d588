"""What people read off a spectrum, by Synthesizer's own definitions.

The error of a pixel says little of the error of an integral or a slope;
here both grids' spectra go through the methods of `Sed`.
"""

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Self

import numpy as np
from numpy.typing import NDArray
from synthesizer.emissions import Sed
from unyt import unyt_array

from synthesizer_emulator.emulator.metrics import SCORED_FLOOR

# Photon rates below this part of the largest are below anything that
# matters, as in old stars.
_PHOTON_FLOOR = 1e-8


@dataclass(frozen=True)
class Quantity:
    """One number of a spectrum.

    Attributes:
        title (str): What it is called.
        window (tuple of float): The wavelengths in Angstrom it is measured
            in.
        measure (callable): From an Sed (m, nlam) to values (m,).
        fractional (bool): Whether its error is a part of it, or absolute.
        bright (bool): Whether every pixel of the window must count, beside
            the rest of the spectrum.
        filled (float): The part of them that must have flux at all.
    """

    title: str
    window: tuple[float, float]
    measure: Callable[[Sed], NDArray]
    fractional: bool = True
    bright: bool = True
    filled: float = 1.0


def _photon_rate(sed: Sed) -> NDArray:
    """Return the rate of photons above 13.6 eV in 1/s."""
    rate = sed.calculate_ionising_photon_production_rate()
    return np.asarray(rate.to_value("1/s"))


def _bolometric_luminosity(sed: Sed) -> NDArray:
    """Return the bolometric luminosity in erg/s."""
    return np.asarray(sed.bolometric_luminosity.to_value("erg/s"))


def _break_4000(sed: Sed) -> NDArray:
    """Return the 4000 Angstrom break of Balogh et al. (1999)."""
    return np.asarray(sed.measure_d4000(definition="Balogh"))


def _uv_slope(sed: Sed) -> NDArray:
    """Return the slope beta from 1250 to 3000 Angstrom."""
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
    """The error of one quantity at nodes.

    Attributes:
        fractional (bool): Whether errors are parts of the value.
        spectra (int): How many spectra have it.
        p50 (float): The median size of the error.
        p95 (float): The 95th percentile.
        worst (float): The largest.
        bias (float): The mean error with its sign.
        true (np.ndarray of float): The grid's values, shape of the axes;
            NaN where there is none.
        errors (np.ndarray of float): The errors with their signs.
    """

    fractional: bool
    spectra: int
    p50: float
    p95: float
    worst: float
    bias: float
    true: NDArray[np.float64] = field(repr=False)
    errors: NDArray[np.float64] = field(repr=False)

    @classmethod
    def from_values(
        cls, true: NDArray, emulated: NDArray, fractional: bool
    ) -> Self | None:
        """Compare values, NaN where there is none; None if nowhere."""
        errors = emulated - true
        if fractional:
            errors = errors / true
        known = errors[~np.isnan(errors)]
        if not len(known):
            return None
        p50, p95, worst = np.quantile(np.abs(known), [0.5, 0.95, 1.0])
        return cls(
            fractional,
            len(known),
            float(p50),
            float(p95),
            float(worst),
            float(known.mean()),
            true,
            errors,
        )


def measure(
    lam: NDArray[np.float64], native: NDArray, emulated: NDArray
) -> dict[str, tuple[NDArray, NDArray]]:
    """Measure both grids' spectra, where the native ones can be.

    Args:
        lam (np.ndarray of float): The wavelengths in Angstrom, (nlam,).
        native (np.ndarray of float): Spectra in erg/s/Hz, (..., nlam).
        emulated (np.ndarray of float): Likewise.

    Returns:
        dict: For each quantity that the wavelengths allow, the values of
            both, (...,), NaN where they mean nothing.
    """
    shape = native.shape[:-1]
    rows = native.reshape(-1, len(lam)), emulated.reshape(-1, len(lam))
    peak = rows[0].max(axis=-1)
    values = {}
    for name, quantity in QUANTITIES.items():
        low, high = quantity.window
        inside = (lam > low) & (lam < high)
        # From a window that is open no spectrum leaves nothing out.
        covered = (low == 0 or lam[0] <= low) and (
            np.isinf(high) or lam[-1] >= high
        )
        if np.count_nonzero(inside) < 3 or not covered:
            continue
        window = rows[0][:, inside]
        there = (peak > 0) & ((window > 0).mean(axis=-1) >= quantity.filled)
        if quantity.bright:
            there &= window.min(axis=-1) > SCORED_FLOOR * peak
        both = []
        for side in rows:
            result = np.full(len(side), np.nan)
            if there.any():
                result[there] = quantity.measure(_sed(lam, side[there]))
            both.append(result.reshape(shape))
        values[name] = both[0], both[1]
    return values


def compare(
    values: dict[str, tuple[NDArray, NDArray]],
) -> dict[str, QuantityErrors]:
    """Return the errors of what `measure` measured at all nodes."""
    errors = {}
    for name, (native, emulated) in values.items():
        true = native.copy()
        if name == "ionising_photon_rate":
            true[~(native > _PHOTON_FLOOR * np.nanmax(native))] = np.nan
        found = QuantityErrors.from_values(
            true, emulated, QUANTITIES[name].fractional
        )
        if found is not None:
            errors[name] = found
    return errors


def _sed(lam: NDArray, lnu: NDArray) -> Sed:
    """Return spectra as Synthesizer has them."""
    values = np.ascontiguousarray(lnu, np.float64)
    return Sed(unyt_array(lam, "angstrom"), unyt_array(values, "erg/s/Hz"))
