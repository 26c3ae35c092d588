"""Star particles of Synthesizer, from plain arrays."""

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.interpolate import RegularGridInterpolator
from synthesizer.exceptions import InconsistentArguments
from synthesizer.particle import Stars
from unyt import Gyr, Msun, kpc
from unyt import km as kilometre
from unyt import s as second

from synthesizer_emulator.stars.galaxies import GalaxyStars
from synthesizer_emulator.stars.on_grid import StarAxes
from synthesizer_emulator.stars.variables import (
    POSITIONS,
    VARIABLES,
    VELOCITIES,
)

# The fewest stars of which Synthesizer finds the neighbours.
_NEIGHBOURS = 2


def make_stars(
    drawn: GalaxyStars, grid: Any = None, smoothing_lengths: bool = False
) -> Stars:
    """Return star particles of Synthesizer.

    Args:
        drawn (GalaxyStars): The stars as plain arrays.
        grid (Grid): A grid with the fraction of the initial mass that
            remains, for current masses; without one they are not set.
        smoothing_lengths (bool): Whether to set smoothing lengths, from the
            distances of neighbours.

    Returns:
        Stars: The particles, centred on the origin.

    Raises:
        InconsistentArguments: If smoothing lengths need positions.
    """
    columns, masses = drawn.columns, drawn.masses
    options: dict[str, Any] = {
        name: values
        for name, values in columns.items()
        if name not in VARIABLES or name == "alpha_enhancement"
    }
    if all(axis in columns for axis in POSITIONS):
        options["coordinates"] = _vectors(columns, POSITIONS) * kpc
        options["centre"] = np.zeros(3) * kpc
    elif smoothing_lengths:
        raise InconsistentArguments(
            "Smoothing lengths need the variables x, y and z, which these "
            "stars do not have."
        )
    if smoothing_lengths and len(masses) < _NEIGHBOURS:
        raise InconsistentArguments(
            f"Smoothing lengths need at least {_NEIGHBOURS} stars, got "
            f"{len(masses)}."
        )
    if all(axis in columns for axis in VELOCITIES):
        velocities = _vectors(columns, VELOCITIES)
        options["velocities"] = velocities * kilometre / second
    if grid is not None:
        remaining = _surviving_fraction(grid, drawn)
        options["current_masses"] = masses * remaining * Msun
    stars = Stars(
        initial_masses=masses * Msun,
        ages=columns["age"] * Gyr,
        # Synthesizer raises low metallicities in place.
        metallicities=np.array(columns["metallicity"]),
        redshift=drawn.redshift,
        **options,
    )
    if smoothing_lengths:
        stars.calculate_smoothing_lengths()
    return stars


def _vectors(
    columns: Mapping[str, NDArray[np.float64]], names: tuple[str, ...]
) -> NDArray[np.float64]:
    """Return three variables as vectors, (n, 3)."""
    return np.stack([columns[name] for name in names], axis=1)


def _surviving_fraction(grid: Any, stars: GalaxyStars) -> NDArray[np.float64]:
    """Return the fraction of the initial mass that remains, (n,).

    It is interpolated as in `particle.Stars.calculate_surviving_mass`.
    """
    axes = StarAxes.of_mass(grid)
    fraction = np.asarray(grid.stellar_fraction, np.float64)
    return RegularGridInterpolator(axes.values, fraction)(axes.points(stars))
