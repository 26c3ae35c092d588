"""Synference's supplementary parameters, for many galaxies at once.

Synference asks functions of one galaxy for what it saves beside the
parameters: star formation rates, ages, surviving masses, far-ultraviolet
luminosities. Those that are sums over the star formation and metal history,
or the light in one band, are here as functions of such sums and luminosities
of n galaxies. `galaxies` needs them, nobody else; every other function
it calls galaxy by galaxy.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from inspect import signature
from typing import Any

import numpy as np
from numpy.typing import NDArray
from synthesizer.grid import Grid
from unyt import Hz, Myr, erg, nJy, s, yr

from synthesizer_emulator.galaxies.histories import bin_limits
from synthesizer_emulator.galaxies.observer import FLUX_AT_MPC, Observer
from synthesizer_emulator.units import in_stated_units

# Where the functions are.
_HOME = "synference.library"


@dataclass(frozen=True)
class Sums:
    """What supplementary parameters of n galaxies are made of.

    Attributes:
        of_mass (np.ndarray of float): Sums over the initial mass at the
            nodes, times each table of a supplement, (n, n_tables).
        far_uv (np.ndarray of float): The luminosity density in Synference's
            band at 1500 Angstrom, erg/s/Hz, (n,); empty if not asked for.
        redshift (np.ndarray of float): The redshifts, (n,).
    """

    of_mass: NDArray[np.float64]
    far_uv: NDArray[np.float64]
    redshift: NDArray[np.float64]


@dataclass(frozen=True)
class Supplement:
    """One supplementary parameter.

    Attributes:
        units (str): Its units as Synference writes them.
        function (Callable): From `Sums` to its values, (n,).
        tables (tuple of np.ndarray): What `Sums.of_mass` sums, per solar
            mass at each node, (n_ages, n_Z).
        far_uv (bool): Whether it is made of `Sums.far_uv`.
    """

    units: str
    function: Callable[[Sums], NDArray[np.float64]]
    tables: tuple[NDArray[np.float64], ...] = ()
    far_uv: bool = False


def translate_supplement(
    function: Callable[..., Any], arguments: tuple[Any, ...], grid: Grid
) -> Supplement | None:
    """Return a supplementary parameter in batched form, if it has one.

    Args:
        function (Callable): The function Synference would call with each
            galaxy.
        arguments (tuple): What it would be given beside the galaxy.
        grid (Grid): The grid whose nodes the galaxies' histories are on.

    Returns:
        Supplement: It, or None.
    """
    name = getattr(function, "__name__", "")
    if getattr(function, "__module__", "") != _HOME or (
        name not in _SUPPLEMENTS
    ):
        return None
    bound = signature(function).bind(None, *arguments)
    bound.apply_defaults()
    _, *values = bound.args
    return _SUPPLEMENTS[name](grid, *values)


def _sfr(grid: Grid, timescale: Any) -> Supplement:
    """Return the mean star formation rate since a time ago."""
    return Supplement(
        "Msun/yr",
        lambda sums: sums.of_mass[:, 0],
        (_rate(grid, float(in_stated_units("timescale", timescale, "yr"))),),
    )


def _burstiness(grid: Grid) -> Supplement:
    """Return the rate over 10 Myr over that over 100 Myr."""
    return Supplement(
        "dimensionless",
        lambda sums: sums.of_mass[:, 0] / sums.of_mass[:, 1],
        (_rate(grid, 1e7), _rate(grid, 1e8)),
    )


def _mass_weighted_age(grid: Grid) -> Supplement:
    """Return the mean age of the stars as they formed."""
    ages = 10.0 ** np.asarray(grid.log10ages, np.float64) * float(
        (1 * yr).to_value(Myr)
    )
    return Supplement(
        "Myr",
        lambda sums: sums.of_mass[:, 0] / sums.of_mass[:, 1],
        (_by_age(grid, ages), _by_age(grid, np.ones_like(ages))),
    )


def _surviving_mass(_: Grid, grid: Grid) -> Supplement:
    """Return log10 of the mass that is left, of the grid asked for."""
    return Supplement(
        "log10_Msun",
        lambda sums: np.log10(sums.of_mass[:, 0]),
        (np.asarray(grid.stellar_fraction, np.float64),),
    )


def _far_uv_luminosity(_: Grid, cosmo: Any) -> Supplement:
    """Return the luminosity density at 1500 Angstrom."""
    units = str((1.0 * erg / s / Hz).units)
    return Supplement(units, lambda sums: sums.far_uv, far_uv=True)


def _far_uv_flux(_: Grid, cosmo: Any) -> Supplement:
    """Return the flux density that this luminosity density comes to."""

    def function(sums: Sums) -> NDArray[np.float64]:
        redshift = sums.redshift
        farthest = max(1.0, float(redshift.max()))
        observer = Observer.from_cosmology(
            np.ones(1), cosmo, max_redshift=farthest
        )
        away = np.asarray(observer.luminosity_distance(redshift), np.float64)
        with np.errstate(divide="ignore"):
            # Infinite at a redshift of zero, as it is there.
            return sums.far_uv * (1.0 + redshift) * FLUX_AT_MPC / away**2

    return Supplement(str(nJy), function, far_uv=True)


_SUPPLEMENTS: Mapping[str, Callable[..., Supplement]] = {
    "calculate_sfr": _sfr,
    "calculate_burstiness": _burstiness,
    "calculate_mass_weighted_age": _mass_weighted_age,
    "calculate_surviving_mass": _surviving_mass,
    "calculate_MUV": _far_uv_luminosity,
    "calculate_muv": _far_uv_flux,
}


def _by_age(grid: Grid, values: NDArray) -> NDArray[np.float64]:
    """Return the same for all metallicities, (n_ages, n_Z)."""
    return np.repeat(values[:, None], len(grid.metallicities), axis=1)


def _rate(grid: Grid, duration: float) -> NDArray[np.float64]:
    """Return the mean rate since `duration` years ago, 1/yr.

    As Synthesizer's `Stars.calculate_average_sfr`: each bin's mass formed
    evenly in it, the first bin being as long on either side of its node.
    """
    ages = 10.0 ** np.asarray(grid.log10ages, np.float64)
    limits = bin_limits(ages)
    limits[0] = max(0.0, ages[0] - (ages[1] - ages[0]) / 2.0)
    within = np.diff(np.clip(limits, 0.0, duration))
    return _by_age(grid, within / np.diff(limits) / duration)
