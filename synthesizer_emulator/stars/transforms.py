r"""Invertible maps from the variables of stars to what a flow sees.

Positions and velocities become cylindrical, in which discs are simple. Each
variable is then mapped to the whole line and standardised, so that any point
of a flow is a star with a positive metallicity and mass, younger than the
universe. The logarithms of the Jacobians are exact.
"""

from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray
from scipy.special import expit, logit, ndtr, ndtri
from synthesizer.exceptions import InconsistentArguments

from synthesizer_emulator.stars.galaxies import GalaxyStars
from synthesizer_emulator.stars.variables import get_variable

Array: TypeAlias = NDArray[np.float64]

# Ages and angles closer to the ends of their interval than this part of it are
# moved there, as the single precision of simulations rounds to the ends.
_EDGE = 1e-7

# The smallest radius, kpc.
_SMALLEST_RADIUS = 1e-9

# What takes the place of x and y, and of their velocities.
_PLANE, _IN_PLANE = ("x", "y"), ("vx", "vy")
_KINDS = {"x": "positive", "y": "angle"}

# The smallest spread of a variable, relative to its largest value, that is
# not taken for a single value.
_LEAST_SPREAD = 1e-6


@dataclass(frozen=True)
class StarTransform:
    r"""The map from stars to standardised values, and back.

    If x and y are variables, they are replaced by the radius $R$ and the
    angle $\phi$ in the plane, and their velocities by the radial and the
    tangential one. With $s$ the scale of a variable, $T$ the age of the
    universe and $\Phi$ the normal distribution, the values before they are
    standardised are

    - $\ln v$ of radii and positive variables,
    - $\Phi^{-1}(\phi / 2\pi + 1/2)$ of angles from $-\pi$ to $\pi$,
    - $\mathrm{asinh}(v/s)$ of other positions and velocities,
    - $\mathrm{logit}(v/T)$ of ages,
    - $v$ of others.

    Masses are first divided by the mean mass of a particle. The mean of each,
    which is subtracted, is linear in the scaled conditions of the galaxy:
    scaling relations, such as that of size and mass, are power laws.

    Attributes:
        variables (tuple of str): The names of the variables.
        scales (tuple of float): The scale of each signed variable, else 1.
        shifts (tuple of float): The mean of each transformed variable.
        relations (tuple): Its change with each scaled condition, a tuple of
            float for each variable.
        spreads (tuple of float): The standard deviation from this mean.
    """

    variables: tuple[str, ...]
    scales: tuple[float, ...]
    shifts: tuple[float, ...]
    relations: tuple[tuple[float, ...], ...]
    spreads: tuple[float, ...]

    @classmethod
    def from_galaxies(
        cls,
        variables: Sequence[str],
        galaxies: Sequence[GalaxyStars],
        scaled: Array,
    ) -> "StarTransform":
        """Return the map for a training set.

        Args:
            variables (list of str): The names of the variables.
            galaxies (list of GalaxyStars): The galaxies.
            scaled (np.ndarray of float): Their scaled conditions,
                (n_galaxies, n_conditions).

        Raises:
            InconsistentArguments: If a variable has a single value.
            MissingAttribute: If a galaxy lacks a variable.
        """
        own = [_columns(g, variables) for g in galaxies]
        columns = {v: np.concatenate([c[v] for c in own]) for v in variables}
        for name, values in columns.items():
            _check_spread(name, values)
        columns, _ = _to_cylindrical(columns)
        universe_age = np.repeat(
            [g.universe_age for g in galaxies], [len(g) for g in galaxies]
        )
        scales, mapped = [], []
        for name, values in columns.items():
            kind = _kind(name, columns)
            is_signed = kind == "signed"
            scale = float(np.median(np.abs(values))) if is_signed else 1.0
            scales.append(scale or 1.0)
            mapped.append(
                _MAPS[kind].forward(values, scales[-1], universe_age)[0]
            )
        found = np.stack(mapped, axis=1)
        given = np.repeat(scaled, [len(g) for g in galaxies], axis=0)
        design = np.column_stack([np.ones(len(given)), given])
        fitted = np.linalg.lstsq(design, found)[0]
        return cls(
            variables=tuple(variables),
            scales=tuple(scales),
            shifts=tuple(fitted[0].tolist()),
            relations=tuple(map(tuple, fitted[1:].T.tolist())),
            spreads=tuple((found - design @ fitted).std(axis=0).tolist()),
        )

    def forward(
        self, galaxy: GalaxyStars, scaled: Array
    ) -> tuple[Array, Array]:
        """Map the stars of a galaxy.

        Args:
            galaxy (GalaxyStars): The stars.
            scaled (np.ndarray of float): Its scaled conditions,
                (n_conditions,).

        Returns:
            tuple of np.ndarray of float: The standardised values, (n, d), and
                the logarithm of the determinant of the Jacobian, (n,).

        Raises:
            MissingAttribute: If the galaxy lacks a variable.
        """
        columns, log_determinant = _to_cylindrical(
            _columns(galaxy, self.variables)
        )
        age = np.array(galaxy.universe_age)
        values = []
        for name, scale, shift, spread in self._settings(scaled):
            forward = _MAPS[_kind(name, columns)].forward
            mapped, log_slope = forward(columns[name], scale, age)
            values.append((mapped - shift) / spread)
            log_determinant = log_determinant + log_slope - np.log(spread)
        return np.stack(values, axis=1), log_determinant

    def inverse(
        self, values: Array, scaled: Array, universe_age: float
    ) -> dict[str, Array]:
        """Map standardised values to stars of a galaxy.

        Args:
            values (np.ndarray of float): The values, (n, d).
            scaled (np.ndarray of float): The scaled conditions of the galaxy,
                (n_conditions,).
            universe_age (float): The age of the universe, Gyr.

        Returns:
            dict: The variables by name; masses in units of their mean.
        """
        age = np.array(universe_age)
        columns = {}
        for (name, scale, shift, spread), column in zip(
            self._settings(scaled), values.T, strict=True
        ):
            mapped = column.astype(np.float64) * spread + shift
            inverse = _MAPS[_kind(name, self.variables)].inverse
            columns[name] = inverse(mapped, scale, age)
        return _to_cartesian(columns)

    def _settings(self, scaled: Array) -> zip:
        """Return the name, scale, mean and spread of each variable."""
        means = np.array(self.shifts) + np.array(self.relations) @ scaled
        return zip(
            self.variables, self.scales, means, self.spreads, strict=True
        )


@dataclass(frozen=True)
class _Map:
    """A map of one variable.

    Attributes:
        forward (callable): Values, their scale and the age of the universe to
            mapped values and the logarithm of the derivative.
        inverse (callable): Mapped values, scale and age to values.
    """

    forward: Callable[[Array, float, Array], tuple[Array, Array]]
    inverse: Callable[[Array, float, Array], Array]


def _log(v: Array, scale: float, age: Array) -> tuple[Array, Array]:
    """Map positive values."""
    mapped = np.log(v)
    return mapped, -mapped


def _asinh(v: Array, scale: float, age: Array) -> tuple[Array, Array]:
    """Map values on both sides of zero."""
    return np.arcsinh(v / scale), -0.5 * np.log(v**2 + scale**2)


def _logit(v: Array, scale: float, age: Array) -> tuple[Array, Array]:
    """Map ages below the age of the universe."""
    ratio = np.clip(v / age, _EDGE, 1.0 - _EDGE)
    log_slope = -np.log(ratio) - np.log1p(-ratio) - np.log(age)
    return logit(ratio), log_slope


def _angle(v: Array, scale: float, age: Array) -> tuple[Array, Array]:
    """Map angles from -pi to pi."""
    ratio = np.clip(v / (2.0 * np.pi) + 0.5, _EDGE, 1.0 - _EDGE)
    mapped = ndtri(ratio)
    return mapped, 0.5 * (mapped**2 - np.log(2.0 * np.pi))


_MAPS = {
    "positive": _Map(_log, lambda u, scale, age: np.exp(u)),
    "signed": _Map(_asinh, lambda u, scale, age: scale * np.sinh(u)),
    "angle": _Map(_angle, lambda u, scale, age: 2.0 * np.pi * (ndtr(u) - 0.5)),
    "age": _Map(_logit, lambda u, scale, age: age * expit(u)),
    "any": _Map(
        lambda v, scale, age: (v, np.zeros_like(v)),
        lambda u, scale, age: u,
    ),
}


def _columns(
    galaxy: GalaxyStars, variables: Sequence[str]
) -> dict[str, Array]:
    """Return variables of the stars of a galaxy, with relative masses."""
    columns = {name: galaxy.column(name) for name in variables}
    if "initial_mass" in columns:
        columns["initial_mass"] = galaxy.relative_masses
    return columns


def _kind(name: str, variables: Collection[str]) -> str:
    """Return how a variable is mapped, if these are the variables."""
    if name in _KINDS and all(axis in variables for axis in _PLANE):
        return _KINDS[name]
    return get_variable(name).kind


def _to_cylindrical(
    columns: Mapping[str, Array],
) -> tuple[dict[str, Array], Array]:
    """Return columns with radius and angle in the place of x and y.

    Returns:
        tuple: The columns, and the logarithm of the determinant, (n,).
    """
    replaced = dict(columns)
    n = len(columns["age"])
    if not all(axis in columns for axis in _PLANE):
        return replaced, np.zeros(n)
    x, y = (columns[axis] for axis in _PLANE)
    radius = np.maximum(np.hypot(x, y), _SMALLEST_RADIUS)
    angle = np.arctan2(y, x)
    replaced.update(x=radius, y=angle)
    if all(axis in columns for axis in _IN_PLANE):
        vx, vy = (columns[axis] for axis in _IN_PLANE)
        cosine, sine = np.cos(angle), np.sin(angle)
        replaced.update(vx=vx * cosine + vy * sine, vy=vy * cosine - vx * sine)
    return replaced, -np.log(radius)


def _to_cartesian(columns: Mapping[str, Array]) -> dict[str, Array]:
    """Return columns with x and y in the place of radius and angle."""
    replaced = dict(columns)
    if not all(axis in columns for axis in _PLANE):
        return replaced
    radius, angle = (columns[axis] for axis in _PLANE)
    cosine, sine = np.cos(angle), np.sin(angle)
    replaced.update(x=radius * cosine, y=radius * sine)
    if all(axis in columns for axis in _IN_PLANE):
        radial, tangential = (columns[axis] for axis in _IN_PLANE)
        replaced.update(
            vx=radial * cosine - tangential * sine,
            vy=radial * sine + tangential * cosine,
        )
    return replaced


def _check_spread(name: str, values: Array) -> None:
    """Raise if a variable has a single value."""
    if np.ptp(values) > _LEAST_SPREAD * np.abs(values).max():
        return
    what = "equal masses" if name == "initial_mass" else "no such value"
    raise InconsistentArguments(
        f"The variable '{name}' has the single value {values[0]:g} in all "
        "galaxies, which has no density. Leave it out of the variables; the "
        f"stars then have {what}."
    )
