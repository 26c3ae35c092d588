"""Star particles of Synthesizer, from the variables that a flow draws."""

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

from synthesizer_emulator.stars.variables import (
    POSITIONS,
    VARIABLES,
    VELOCITIES,
)


def make_stars(
    columns: Mapping[str, NDArray[np.float64]],
    stellar_mass: float,
    redshift: float,
    grid: Any = None,
    smoothing_lengths: bool = False,
) -> Stars:
    """Return star particles.

    Args:
        columns (Mapping): The variables by name, (n,) each; masses in units
            of their mean.
        stellar_mass (float): The sum of the initial masses, Msun.
        redshift (float): The redshift.
        grid (Grid): A grid with the fraction of the initial mass that
            remains, for current masses; without one they are not set.
        smoothing_lengths (bool): Whether to set smoothing lengths, from the
            distances of neighbours.

    Returns:
        Stars: The particles, centred on the origin.

    Raises:
        InconsistentArguments: If smoothing lengths need positions.
    """
    n = len(columns["age"])
    relative = columns.get("initial_mass", np.ones(n))
    masses = relative * (stellar_mass / relative.sum())
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
            "Smoothing lengths need the variables x, y and z, which this flow "
            "does not have."
        )
    if all(axis in columns for axis in VELOCITIES):
        velocities = _vectors(columns, VELOCITIES)
        options["velocities"] = velocities * kilometre / second
    if grid is not None:
        remaining = _surviving_fraction(
            grid, columns["age"], columns["metallicity"]
        )
        options["current_masses"] = masses * remaining * Msun
    stars = Stars(
        initial_masses=masses * Msun,
        ages=columns["age"] * Gyr,
        # Synthesizer raises low metallicities in place.
        metallicities=np.array(columns["metallicity"]),
        redshift=redshift,
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


def _surviving_fraction(
    grid: Any,
    age: NDArray[np.float64],
    metallicity: NDArray[np.float64],
) -> NDArray[np.float64]:
    """Return the fraction of the initial mass that remains, (n,).

    It is linear in the logarithms of age and metallicity, and that of the
    nearest node outside of the grid, as in
    `particle.Stars.calculate_surviving_mass`.
    """
    axes = [
        np.asarray(grid.log10ages, np.float64),
        np.log10(np.asarray(grid.metallicities, np.float64)),
    ]
    fraction = np.asarray(grid.stellar_fraction, np.float64)
    points = [np.log10(age * 1e9), np.log10(metallicity)]
    inside = [
        np.clip(p, axis[0], axis[-1])
        for p, axis in zip(points, axes, strict=True)
    ]
    return RegularGridInterpolator(axes, fraction)(np.stack(inside, axis=1))
