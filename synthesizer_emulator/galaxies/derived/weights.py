"""Weights that turn masses and spectra into derived quantities.

Most methods of Synthesizer's `Stars` and `Sed` are sums over nodes or
wavelengths. Where it does not state the weights, they are what the method
returns for unit spectra, and so follow its definitions.
"""

from collections.abc import Callable
from functools import cache

import numpy as np
from numpy.typing import NDArray
from synthesizer.emissions import Sed
from synthesizer.instruments import FilterCollection
from unyt import Hz, angstrom, c, erg, eV, h, s, unyt_array

from synthesizer_emulator.galaxies.integrals import bin_limits

# The wavelength, Angstrom, below which photons ionise hydrogen, for
# Synthesizer's ionisation energy.
IONISING = float((h * c / (13.6 * eV)).to_value("angstrom"))

# Rates of ionising photons exceed single precision in 1/s, so they are
# counted in these.
PHOTONS_LOG10 = 30.0

# The band of the ultraviolet luminosity, Angstrom, as in Synference.
FAR_UV, FAR_UV_WIDTH = 1500.0, 100.0

# The number of unit spectra measured at a time.
_ROWS = 256


def mean_rate(
    ages: NDArray[np.float64], start: float, end: float
) -> NDArray[np.float64]:
    """Return the mean star formation rate per mass at each age, 1/yr.

    As in Synthesizer's `Stars.calculate_average_sfr`, the rate is constant
    within each bin, and the first bin is symmetric about its node.

    Args:
        ages (np.ndarray of float): The ages of the grid, yr, (n_ages,).
        start (float): The lookback time to the end of the window, yr.
        end (float): The lookback time to its beginning, yr.

    Returns:
        np.ndarray of float: The weights of the initial masses, (n_ages,).
    """
    limits = bin_limits(ages)
    if len(ages) > 1:
        limits[0] = max(0.0, ages[0] - (ages[1] - ages[0]) / 2.0)
    within = np.diff(np.clip(limits, start, end))
    return within / np.diff(limits) / (end - start)


def linear_weights(
    lam: NDArray[np.float64], measure: Callable[[Sed], NDArray]
) -> NDArray[np.float64]:
    """Return the weights with which a measure sums a spectrum, (nlam,).

    Args:
        lam (np.ndarray of float): The wavelengths, Angstrom, (nlam,).
        measure (callable): A function, linear in luminosity density, from an
            `Sed` of m spectra to plain numbers, (m,).
    """
    n, found = len(lam), []
    for start in range(0, n, _ROWS):
        unit = np.eye(min(_ROWS, n - start), n, start)
        found.append(measure(Sed(lam * angstrom, unit * erg / s / Hz)))
    return np.concatenate(found)


def window_lnu(low: float, high: float) -> Callable[[Sed], NDArray]:
    """Return a measure: the mean luminosity density in a window, erg/s/Hz."""
    window = unyt_array([low, high], "angstrom")

    def measure(sed: Sed) -> NDArray:
        return np.asarray(
            sed.measure_window_lnu(window).to_value("erg/s/Hz"), np.float64
        )

    return measure


def far_uv_lnu(sed: Sed) -> NDArray:
    """Return the mean luminosity density at 1500 Angstrom, erg/s/Hz, (m,)."""
    bands = sed.get_photo_lnu(_far_uv_filter(), verbose=False)
    return np.asarray(bands.photometry.to_value("erg/s/Hz")[0], np.float64)


def photon_rate(sed: Sed) -> NDArray:
    """Return the rate of ionising photons, 10^`PHOTONS_LOG10` / s, (m,)."""
    rate = sed.calculate_ionising_photon_production_rate().to_value("1/s")
    return np.asarray(rate, np.float64) * 10.0**-PHOTONS_LOG10


def slope_weights(lam: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return the weights of a slope in log10 wavelength, (nlam,).

    That of a straight line, by least squares.
    """
    x = np.log10(lam)
    x -= x.mean()
    return x / np.sum(x**2)


def trapezoid_weights(x: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return the weights of an integral by the trapezoidal rule, (n,)."""
    steps = np.diff(x)
    return 0.5 * (np.append(steps, 0.0) + np.append(0.0, steps))


@cache
def _far_uv_filter() -> FilterCollection:
    """Return the band of the ultraviolet luminosity."""
    band = {"lam_eff": FAR_UV * angstrom, "lam_fwhm": FAR_UV_WIDTH * angstrom}
    return FilterCollection(tophat_dict={"UV": band}, verbose=False)
