"""Synference's supplementary parameters, for many galaxies at once.

Synference stores the results of functions of one galaxy: star formation rates,
ages, surviving masses, far-ultraviolet luminosities. Most are sums over the
star formation and metal enrichment history, or the luminosity in one band.
This module computes these for n galaxies; other functions are called galaxy by
galaxy.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from functools import cached_property
from inspect import signature
from typing import Any

import jax.numpy as jnp
import numpy as np
from jax import Array
from numpy.typing import NDArray
from synthesizer.grid import Grid
from unyt import Hz, Myr, erg, nJy, s, yr

from synthesizer_emulator.galaxies.derived.weights import mean_rate
from synthesizer_emulator.galaxies.matrices import dot
from synthesizer_emulator.galaxies.model import GalaxyModel
from synthesizer_emulator.galaxies.observer import FLUX_AT_MPC, Observer
from synthesizer_emulator.units import in_stated_units

# Synference's module of the functions.
_HOME = "synference.library"


@dataclass(frozen=True)
class Sums:
    """The inputs to the supplementary parameters of n galaxies.

    Attributes:
        of_mass (np.ndarray of float): Sums over the nodes of the initial
            mass times each table of a supplement, (n, n_tables).
        far_uv (np.ndarray of float): The luminosity density in Synference's
            band at 1500 Angstrom, erg/s/Hz, (n,); empty if not needed.
        redshift (np.ndarray of float): The redshifts, (n,).
    """

    of_mass: NDArray[np.float64]
    far_uv: NDArray[np.float64]
    redshift: NDArray[np.float64]


@dataclass(frozen=True)
class Supplement:
    """One supplementary parameter.

    Attributes:
        units (str): The units in Synference's notation.
        function (Callable): Function of `Sums` that returns the values, (n,).
        tables (tuple of np.ndarray): The factors of the mass at each node
            in `Sums.of_mass`, (n_ages, n_Z).
        far_uv (bool): Whether the function needs `Sums.far_uv`.
    """

    units: str
    function: Callable[[Sums], NDArray[np.float64]]
    tables: tuple[NDArray[np.float64], ...] = ()
    far_uv: bool = False


@dataclass(frozen=True)
class Supplements:
    """Supplementary parameters, evaluated together.

    Attributes:
        by_name (dict): The parameters by name.
    """

    by_name: dict[str, Supplement]

    @property
    def tables(self) -> list[NDArray[np.float64]]:
        """The tables of all parameters, in their order."""
        return [t for one in self.by_name.values() for t in one.tables]

    @property
    def far_uv(self) -> bool:
        """Whether a parameter needs `Sums.far_uv`."""
        return any(one.far_uv for one in self.by_name.values())

    @cached_property
    def mass_sums(self) -> Callable[[GalaxyModel, Any], Array]:
        """Function of one galaxy: sums of mass times table over the nodes."""
        stacked = np.stack([np.ravel(table) for table in self.tables], axis=1)

        def sums(model: GalaxyModel, values: Mapping[str, Any]) -> Array:
            masses = jnp.ravel(mass_at_nodes(model, values))
            return dot(masses, jnp.asarray(stacked, float))

        return sums

    def values(self, sums: Sums) -> dict[str, NDArray[np.float64]]:
        """Return the parameters of n galaxies by name, (n,).

        Args:
            sums (Sums): The inputs, with the sums of all `tables`.
        """
        columns, start = {}, 0
        for name, one in self.by_name.items():
            stop = start + len(one.tables)
            own = replace(sums, of_mass=sums.of_mass[:, start:stop])
            columns[name] = one.function(own)
            start = stop
        return columns


def mass_at_nodes(model: GalaxyModel, values: Mapping[str, Any]) -> Array:
    """Return the initial mass at each node, Msun, (n_ages, n_Z)."""
    return values["initial_mass"] * model.mass_fractions(values)


def translate_supplement(
    function: Callable[..., Any], arguments: tuple[Any, ...], grid: Grid
) -> Supplement | None:
    """Return the batched form of a supplementary function.

    Args:
        function (Callable): The function of one galaxy.
        arguments (tuple): The other arguments of the function.
        grid (Grid): The grid of the emission model.

    Returns:
        Supplement: The batched form; None for functions without one.
    """
    name = getattr(function, "__name__", "")
    if getattr(function, "__module__", "") != _HOME or (
        name not in SUPPLEMENTS
    ):
        return None
    bound = signature(function).bind(None, *arguments)
    bound.apply_defaults()
    _, *values = bound.args
    return SUPPLEMENTS[name](grid, *values)


def _sfr(grid: Grid, timescale: Any) -> Supplement:
    """Mean star formation rate over the last `timescale`, Msun/yr."""
    return Supplement(
        "Msun/yr",
        lambda sums: sums.of_mass[:, 0],
        (_rate(grid, float(in_stated_units("timescale", timescale, "yr"))),),
    )


def _burstiness(grid: Grid) -> Supplement:
    """Ratio of the star formation rates over 10 and 100 Myr."""
    return Supplement(
        "dimensionless",
        lambda sums: sums.of_mass[:, 0] / sums.of_mass[:, 1],
        (_rate(grid, 1e7), _rate(grid, 1e8)),
    )


def _mass_weighted_age(grid: Grid) -> Supplement:
    """Mean age of the stars, weighted by initial mass, Myr."""
    ages = 10.0 ** np.asarray(grid.log10ages, np.float64) * float(
        (1 * yr).to_value(Myr)
    )
    return Supplement(
        "Myr",
        lambda sums: sums.of_mass[:, 0] / sums.of_mass[:, 1],
        (_by_age(grid, ages), _by_age(grid, np.ones_like(ages))),
    )


def _surviving_mass(_: Grid, grid: Grid) -> Supplement:
    """log10 of the surviving stellar mass in Msun."""
    return Supplement(
        "log10_Msun",
        lambda sums: np.log10(sums.of_mass[:, 0]),
        (np.asarray(grid.stellar_fraction, np.float64),),
    )


def _far_uv_luminosity(_: Grid, cosmo: Any) -> Supplement:
    """Luminosity density at 1500 Angstrom, erg/s/Hz."""
    units = str((1.0 * erg / s / Hz).units)
    return Supplement(units, lambda sums: sums.far_uv, far_uv=True)


def _far_uv_flux(_: Grid, cosmo: Any) -> Supplement:
    """Observed flux density at rest-frame 1500 Angstrom, nJy."""

    def function(sums: Sums) -> NDArray[np.float64]:
        redshift = sums.redshift
        farthest = max(1.0, float(redshift.max()))
        observer = Observer.from_cosmology(
            np.ones(1), cosmo, max_redshift=farthest
        )
        distance = np.asarray(
            observer.luminosity_distance(redshift), np.float64
        )
        with np.errstate(divide="ignore"):
            # As in Synference, the flux is infinite at a redshift of zero.
            return sums.far_uv * (1.0 + redshift) * FLUX_AT_MPC / distance**2

    return Supplement(str(nJy), function, far_uv=True)


# The functions with a batched form, by name.
SUPPLEMENTS: Mapping[str, Callable[..., Supplement]] = {
    "calculate_sfr": _sfr,
    "calculate_burstiness": _burstiness,
    "calculate_mass_weighted_age": _mass_weighted_age,
    "calculate_surviving_mass": _surviving_mass,
    "calculate_MUV": _far_uv_luminosity,
    "calculate_muv": _far_uv_flux,
}


def _by_age(grid: Grid, values: NDArray) -> NDArray[np.float64]:
    """Repeat values (n_ages,) for all metallicities, (n_ages, n_Z)."""
    return np.repeat(values[:, None], len(grid.metallicities), axis=1)


def _rate(grid: Grid, duration: float) -> NDArray[np.float64]:
    """Return the mean star formation rate per mass over some yr, 1/yr."""
    ages = 10.0 ** np.asarray(grid.log10ages, np.float64)
    return _by_age(grid, mean_rate(ages, 0.0, duration))
