"""Prepare simulated galaxies: centre, turn, and cut stars.

What was cut is reported, as flows know nothing of it.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray
from synthesizer.exceptions import InconsistentArguments

from synthesizer_emulator.stars.galaxies import GalaxyStars, hint_of_ages
from synthesizer_emulator.stars.variables import POSITIONS, VELOCITIES
from synthesizer_emulator.validation import (
    check_choice,
    check_flag,
    check_number,
    check_whole,
)

ALIGNMENTS = ("none", "angular_momentum", "inertia")

# The factor by which the sphere shrinks that finds the centre, and the least
# number of stars in it (Power et al. 2003, MNRAS 338, 14, section 2.5).
_SHRINKING = 0.9
_FEWEST = 20

_UNBORN = "older than the universe or not born"


@dataclass(frozen=True)
class Cleaning:
    """How galaxies are prepared.

    Attributes:
        centre (bool): Move the centre of the shrinking sphere of the initial
            mass to the origin, and take the mean velocity within the half-mass
            radius from velocities.
        align (str): Turn the galaxy so that z is along the
            `angular_momentum` of its stars within the half-mass radius
            (twice it, as in most catalogues, would include satellites), or
            so that z is the shortest and x the longest axis of the `inertia`
            tensor of the same stars; or `none`.
        radius_quantile (float): Cut stars beyond the radius that has this
            fraction of the stars.
        floors (Mapping): Cut stars at or below these values, by variable.
            By default the floor that Synthesizer sets metallicities to.
        at_least (int): Leave out galaxies of fewer stars.
    """

    centre: bool = True
    align: str = "inertia"
    radius_quantile: float = 0.99
    floors: Mapping[str, float] = field(
        default_factory=lambda: {"metallicity": 1e-5}
    )
    at_least: int = 100

    def __post_init__(self) -> None:
        """Check the settings.

        Raises:
            InconsistentArguments: If one is invalid.
        """
        check_flag("centre", self.centre)
        check_choice("align", self.align, ALIGNMENTS)
        check_number("radius_quantile", self.radius_quantile, 0.0, 1.0)
        check_whole("at_least", self.at_least, 1)
        for name, floor in self.floors.items():
            check_number(f"the floor of {name}", floor, -np.inf)


@dataclass(frozen=True)
class CleaningReport:
    """What was cut.

    Attributes:
        stars (int): The number of stars of all galaxies before.
        kept (int): The number of those that are left.
        cut (Mapping): The number of stars cut for each reason.
        left_out (tuple of str): The galaxies left out.
    """

    stars: int
    kept: int
    cut: Mapping[str, int]
    left_out: tuple[str, ...]

    def __str__(self) -> str:
        reasons = [f"{n:,} {why}" for why, n in self.cut.items() if n]
        text = f"{self.kept:,} of {self.stars:,} stars are kept"
        if reasons:
            text += f"; cut: {', '.join(reasons)}"
        if self.left_out:
            text += (
                f"; {len(self.left_out)} galaxies left out for too few "
                f"stars: {', '.join(self.left_out[:5])}"
                + (", ..." if len(self.left_out) > 5 else "")
            )
        return f"{text}."


def clean(
    galaxies: Sequence[GalaxyStars], cleaning: Cleaning | None = None
) -> tuple[list[GalaxyStars], CleaningReport]:
    """Prepare galaxies.

    Args:
        galaxies (list of GalaxyStars): The galaxies.
        cleaning (Cleaning): How; by default with the defaults.

    Returns:
        tuple: The galaxies that are left, and what was cut.

    Raises:
        InconsistentArguments: If no galaxy is left, or ages are in other
            units.
    """
    cleaning = cleaning or Cleaning()
    kept, left_out = [], []
    cut: dict[str, int] = {}
    before = 0
    for i, galaxy in enumerate(galaxies):
        before += len(galaxy)
        for why, chosen in _masks(galaxy, cleaning):
            cut[why] = cut.get(why, 0) + int((~chosen).sum())
            galaxy = galaxy.select(chosen)
        if len(galaxy) < cleaning.at_least:
            why = "in galaxies of too few"
            cut[why] = cut.get(why, 0) + len(galaxy)
            left_out.append(galaxy.name or str(i))
            continue
        if "x" in galaxy.columns:
            galaxy = _aligned(_centred(galaxy, cleaning), cleaning)
            radii = np.linalg.norm(galaxy.positions, axis=1)
            edge = np.quantile(radii, cleaning.radius_quantile)
            why = "beyond the radius"
            cut[why] = cut.get(why, 0) + int((radii > edge).sum())
            galaxy = galaxy.select(radii <= edge)
        kept.append(galaxy)
    unborn = cut.get(_UNBORN, 0)
    hint = "".join(
        hint_of_ages(g.columns["age"], g.universe_age) for g in galaxies[:1]
    )
    # Few would be left, of the wrong ages.
    if hint and unborn > 0.5 * before:
        raise InconsistentArguments(
            f"{unborn:,} of {before:,} stars are {_UNBORN}.{hint}"
        )
    if not kept:
        raise InconsistentArguments(
            f"No galaxy has {cleaning.at_least} stars that can be used: "
            f"{', '.join(f'{n} {why}' for why, n in cut.items())} of "
            f"{before} were cut. Lower at_least or the floors of Cleaning."
        )
    return kept, CleaningReport(
        before, sum(map(len, kept)), cut, tuple(left_out)
    )


def _masks(
    galaxy: GalaxyStars, cleaning: Cleaning
) -> Iterator[tuple[str, NDArray[np.bool_]]]:
    """Yield reasons to cut stars, and which remain of those that are left."""
    chosen = np.ones(len(galaxy), bool)

    def rest(is_good: NDArray[np.bool_]) -> NDArray[np.bool_]:
        nonlocal chosen
        left = is_good[chosen]
        chosen = chosen & is_good
        return left

    finite = np.all([np.isfinite(c) for c in galaxy.columns.values()], axis=0)
    yield "not finite", rest(finite)
    age = galaxy.columns["age"]
    yield (
        _UNBORN,
        rest((age > 0.0) & (age < galaxy.universe_age)),
    )
    yield "without mass", rest(galaxy.masses > 0.0)
    yield "without metals", rest(galaxy.columns["metallicity"] > 0.0)
    for name, floor in cleaning.floors.items():
        if name in galaxy.columns:
            yield (
                f"below the floor of {name}",
                rest(galaxy.columns[name] > floor),
            )


def _centred(galaxy: GalaxyStars, cleaning: Cleaning) -> GalaxyStars:
    """Return a galaxy with its centre at the origin and at rest."""
    if not cleaning.centre:
        return galaxy
    positions, masses = galaxy.positions, galaxy.masses
    centre = np.average(positions, axis=0, weights=masses)
    radii = np.linalg.norm(positions - centre, axis=1)
    radius = radii.max()
    while (inside := radii < radius).sum() >= _FEWEST:
        centre = np.average(positions[inside], axis=0, weights=masses[inside])
        radii = np.linalg.norm(positions - centre, axis=1)
        radius *= _SHRINKING
    columns = dict(zip(POSITIONS, (positions - centre).T, strict=True))
    if "vx" in galaxy.columns:
        inner = _is_inner(positions - centre, masses)
        mean = np.average(
            galaxy.velocities[inner], axis=0, weights=masses[inner]
        )
        moving = zip(VELOCITIES, (galaxy.velocities - mean).T, strict=True)
        columns.update(moving)
    return galaxy.with_columns(columns)


def _aligned(galaxy: GalaxyStars, cleaning: Cleaning) -> GalaxyStars:
    """Return a galaxy turned into the frame of its stars."""
    if cleaning.align == "none":
        return galaxy
    positions, masses = galaxy.positions, galaxy.masses
    inner = _is_inner(positions, masses)
    weights = masses[inner, None]
    if cleaning.align == "inertia":
        tensor = (weights * positions[inner]).T @ positions[inner]
        # Ascending: the first axis is the shortest.
        z, y, x = np.linalg.eigh(tensor)[1].T
        axes = np.stack([x, y, z])
    else:
        if "vx" not in galaxy.columns:
            raise InconsistentArguments(
                f"The angular momentum of {galaxy} needs velocities. Use "
                "Cleaning(align='inertia')."
            )
        spin = np.cross(positions[inner], galaxy.velocities[inner])
        z = (weights * spin).sum(axis=0)
        z /= np.linalg.norm(z)
        x = np.cross(np.eye(3)[np.argmin(np.abs(z))], z)
        x /= np.linalg.norm(x)
        axes = np.stack([x, np.cross(z, x), z])
    # No mirror image.
    axes[1] *= np.sign(np.linalg.det(axes))
    columns = dict(zip(POSITIONS, axes @ positions.T, strict=True))
    if "vx" in galaxy.columns:
        turned = axes @ galaxy.velocities.T
        columns.update(zip(VELOCITIES, turned, strict=True))
    return galaxy.with_columns(columns)


def _is_inner(
    positions: NDArray[np.float64], masses: NDArray[np.float64]
) -> NDArray[np.bool_]:
    """Return which stars are within the half-mass radius."""
    radii = np.linalg.norm(positions, axis=1)
    order = np.argsort(radii)
    enclosed = np.cumsum(masses[order])
    half = np.searchsorted(enclosed, 0.5 * enclosed[-1])
    return radii <= radii[order[half]]
