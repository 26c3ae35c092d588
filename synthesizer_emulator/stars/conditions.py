"""The properties of a galaxy on which the distribution of its stars depends.

Some are measured from the stars; any other property has a name that galaxies
give a number for.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from synthesizer.exceptions import InconsistentArguments
from synthesizer.synth_warnings import warn

from synthesizer_emulator.stars.galaxies import GalaxyStars, hint_of_ages
from synthesizer_emulator.units import in_units
from synthesizer_emulator.validation import nearest


@dataclass(frozen=True)
class Measured:
    """A property that is measured from the stars of a galaxy.

    Attributes:
        units (str): Its units.
        measure (callable): The measurement.
    """

    units: str
    measure: Callable[[GalaxyStars], float]


# Ages and metallicities are those of the particles, whatever their masses.
MEASURED = {
    "stellar_mass": Measured("Msun", lambda g: g.masses.sum()),
    "median_age": Measured("Gyr", lambda g: np.median(g.columns["age"])),
    "age_p10": Measured("Gyr", lambda g: np.quantile(g.columns["age"], 0.1)),
    "mean_metallicity": Measured(
        "dimensionless", lambda g: g.columns["metallicity"].mean()
    ),
    "half_mass_radius": Measured("kpc", lambda g: _half_mass_radius(g)),
    "redshift": Measured("dimensionless", lambda g: g.redshift),
}

DEFAULT_CONDITIONS = (
    "stellar_mass",
    "median_age",
    "age_p10",
    "mean_metallicity",
)

# How far beyond the training set conditions may be, in units of its range (of
# the logarithm, for positive ones).
_TOLERANCE = 0.05

# Ages can't be larger than that of the universe.
_AGES = ("median_age", "age_p10")


@dataclass(frozen=True)
class Conditions:
    """The scaling of the conditions of a flow.

    Attributes:
        names (tuple of str): The names in the order of the network's inputs.
        logged (tuple of bool): Whether each is taken in log10.
        shift (tuple of float): The mean of each over the training set.
        scale (tuple of float): The standard deviation of each.
        low (tuple of float): The lowest value in the training set.
        high (tuple of float): The highest value in the training set.
    """

    names: tuple[str, ...]
    logged: tuple[bool, ...]
    shift: tuple[float, ...]
    scale: tuple[float, ...]
    low: tuple[float, ...]
    high: tuple[float, ...]

    @classmethod
    def from_values(
        cls, names: Sequence[str], values: NDArray[np.float64]
    ) -> "Conditions":
        """Return the scaling for a training set.

        Args:
            names (list of str): The names.
            values (np.ndarray of float): The values, (n_galaxies, n_names).
        """
        low, high = values.min(axis=0), values.max(axis=0)
        # Positive values are taken in log10 where that makes them less skew.
        logs = np.log10(np.where(low > 0, values, 1.0))
        logged = (low > 0) & (_skewness(logs) < _skewness(values))
        scaled = _logged(values, logged)
        scale = scaled.std(axis=0)
        # A condition that is the same in all galaxies tells nothing.
        scale[scale <= 1e-12 * np.abs(scaled).max(axis=0)] = 1.0
        return cls(
            names=tuple(names),
            logged=tuple(map(bool, logged)),
            shift=tuple(map(float, scaled.mean(axis=0))),
            scale=tuple(map(float, scale)),
            low=tuple(map(float, low)),
            high=tuple(map(float, high)),
        )

    def scaled(self, values: NDArray[np.float64]) -> NDArray[np.float64]:
        """Return scaled conditions.

        Args:
            values (np.ndarray of float): Values in the order of the names,
                (..., n_names).
        """
        logged = _logged(values, np.array(self.logged))
        return (logged - np.array(self.shift)) / np.array(self.scale)

    def warn_if_outside(self, values: NDArray[np.float64]) -> None:
        """Warn about conditions beyond those of the training set."""
        low, high = np.array(self.low), np.array(self.high)
        positive = (low > 0.0) & (values > 0.0)
        at, first, last = (_logged(v, positive) for v in (values, low, high))
        margin = _TOLERANCE * (last - first)
        outside = (at < first - margin) | (at > last + margin)
        for name, value, a, b, is_outside in zip(
            self.names, values, low, high, outside, strict=True
        ):
            if is_outside:
                warn(
                    f"{name} = {value:g} is outside of the training set, "
                    f"which has {a:g} to {b:g}: the stars are extrapolated."
                )

    def require(self, given: object) -> NDArray[np.float64]:
        """Return the values of conditions given by name.

        Args:
            given (Mapping): The conditions by name, in any order, with or
                without units.

        Returns:
            np.ndarray of float: The values in the order of the names.

        Raises:
            InconsistentArguments: If a condition is missing or not a finite
                number.
        """
        if not isinstance(given, Mapping):
            raise InconsistentArguments(
                "conditions must be a mapping of the names "
                f"{', '.join(self.names)} to numbers, got {given!r}."
            )
        lacking = [name for name in self.names if name not in given]
        if lacking:
            raise InconsistentArguments(
                f"The conditions must have {', '.join(self.names)}; they lack "
                f"{', '.join(lacking)}."
                + "".join(nearest(name, given) for name in lacking)
            )
        values = np.array([_number(n, given[n]) for n in self.names])
        bad = (values <= 0) & np.array(self.logged)
        for name, value, is_bad in zip(self.names, values, bad, strict=True):
            if is_bad:
                raise InconsistentArguments(
                    f"{name} must be positive, got {value:g}."
                )
        return values


def check_ages(
    names: Sequence[str], values: NDArray[np.float64], universe_age: float
) -> None:
    """Raise if a condition is an age beyond that of the universe, Gyr.

    Raises:
        InconsistentArguments: If one is.
    """
    for name, value in zip(names, values, strict=True):
        if name in _AGES and not value < universe_age:
            raise InconsistentArguments(
                f"{name} must be below the age of the universe, "
                f"{universe_age:.4g} Gyr, got {value:g} Gyr."
                + hint_of_ages(value, universe_age)
            )


def measure(galaxy: GalaxyStars, names: Sequence[str]) -> dict[str, float]:
    """Return properties of a galaxy.

    Args:
        galaxy (GalaxyStars): The galaxy.
        names (list of str): Names of `MEASURED`, or of its own properties,
            which come first.

    Returns:
        dict: The properties by name.

    Raises:
        InconsistentArguments: If a property is unknown or not finite.
    """
    found = {}
    for name in names:
        if name in galaxy.properties:
            value = float(galaxy.properties[name])
        elif name in MEASURED:
            value = float(MEASURED[name].measure(galaxy))
        else:
            known = (*MEASURED, *galaxy.properties)
            raise InconsistentArguments(
                f"{galaxy} has no property '{name}'; known are "
                f"{', '.join(known)}.{nearest(name, known)} Give others as "
                "properties of the galaxies."
            )
        if not np.isfinite(value):
            raise InconsistentArguments(
                f"The property '{name}' of {galaxy} must be finite, got "
                f"{value}. Leave the galaxy out."
            )
        found[name] = value
    return found


def _number(name: str, value: Any) -> float:
    """Return a condition as a plain number."""
    # Other properties are pure numbers in the training set too.
    known = MEASURED.get(name)
    units = "dimensionless" if known is None else known.units
    plain = np.ma.asanyarray(in_units(name, value, units))
    is_number = plain.shape == () and plain.dtype.kind in "biuf"
    if not is_number or np.ma.is_masked(plain) or not np.isfinite(plain):
        raise InconsistentArguments(
            f"The condition {name} must be one finite number, got {value!r}."
        )
    return float(plain)


def _logged(
    values: NDArray[np.float64], logged: NDArray[np.bool_]
) -> NDArray[np.float64]:
    """Return values with some columns in log10."""
    return np.where(logged, np.log10(np.where(logged, values, 1.0)), values)


def _skewness(values: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return the size of the skewness of each column."""
    centred = values - values.mean(axis=0)
    variance = np.mean(centred**2, axis=0)
    spread = np.where(variance > 0.0, variance, 1.0) ** 1.5
    return np.abs(np.mean(centred**3, axis=0)) / spread


def _half_mass_radius(galaxy: GalaxyStars) -> float:
    """Return the radius of half of the initial mass, kpc."""
    radii = np.linalg.norm(galaxy.positions, axis=1)
    order = np.argsort(radii)
    enclosed = np.cumsum(galaxy.masses[order])
    return float(np.interp(0.5 * enclosed[-1], enclosed, radii[order]))
