"""Draw the parameters of the galaxies of a library from their priors."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property
from types import ModuleType
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array
from numpy.typing import NDArray
from synthesizer.exceptions import InconsistentArguments
from synthesizer.synth_warnings import warn

from synthesizer_emulator.library.draws import Draws
from synthesizer_emulator.library.history import History, common_parameters
from synthesizer_emulator.library.limits import AxisLimits, GridLimits
from synthesizer_emulator.library.parameters import (
    GALAXY,
    MASS,
    METAL_DIST,
    REDSHIFT,
    SF_HIST,
    STARS,
    Parameter,
    Parameters,
    Values,
)
from synthesizer_emulator.library.parts import listed
from synthesizer_emulator.library.priors import AnyArray

# The random numbers drawn to check the priors before any galaxy is made, and
# the galaxies searched for one with finite parameters.
_CHECKED_NUMBERS = 2**23
_TRIED_GALAXIES = 1000

# The parameter of histories that is the age of the oldest stars, and the
# tolerance for the fit of the age of the Universe.
_OLDEST = "max_age"
_AGE_SLACK = 1e-3

# How the names of optical depths begin.
_OPTICAL_DEPTH = "tau_v"

# The emission parameters that are fractions.
_FRACTIONS = ("fesc", "fesc_ly_alpha")


@dataclass(frozen=True)
class Sampler:
    """Draws the parameters of galaxies, in the form for `in_batches`.

    Attributes:
        parameters (Parameters): The parameters and their priors.
        draws (Draws): The random numbers.
        histories (Mapping): The star formation history and the metallicity
            distribution, by `sf_hist` and `metal_dist`.
        limits (GridLimits): The limits of the grid.
    """

    parameters: Parameters
    draws: Draws
    histories: Mapping[str, History]
    limits: GridLimits

    @cached_property
    def varying(self) -> tuple[str, ...]:
        """Names of the emission parameters that differ between galaxies."""
        return tuple(
            name
            for name, parameter in self.parameters.in_group(STARS).items()
            if name != MASS and not parameter.is_fixed
        )

    @cached_property
    def fixed(self) -> dict[str, Any]:
        """Values of the emission parameters that all galaxies share."""
        return {
            name: parameter.fixed_value
            for name, parameter in self.parameters.in_group(STARS).items()
            if name != MASS and parameter.is_fixed
        }

    def values(
        self, which: slice
    ) -> tuple[dict[str, Any], dict[str, NDArray[np.float64]]]:
        """Draw the parameters of some galaxies; see `Library.values`."""
        return self.at(self.draws.rows(which, self.parameters.dimensions))

    def at(self, u: AnyArray) -> tuple[dict[str, Any], dict[str, AnyArray]]:
        """Return the parameters at points of the unit hypercube.

        The mass is NaN where a metallicity, or a value on another axis, is
        outside the grid.

        Args:
            u (array of float): The quantiles of the priors, (n, dimensions).
                They may be traced by JAX.

        Returns:
            tuple: As for `values`.
        """
        xp = jnp if isinstance(u, Array) else np
        plain, columns = self.parameters.at(u)
        histories: dict[str, dict[str, Any]] = {}
        for kind in self.common:
            histories[kind] = self._shared(kind, len(u), xp)
            for name, parameter in self.parameters.in_group(kind).items():
                if not parameter.is_fixed:
                    histories[kind][name] = plain[kind][name]
        mass: Any = plain[STARS][MASS]
        valid: Any = (mass >= 0.0) & self._is_inside(histories[METAL_DIST])
        for name, limits in self.axes.items():
            valid &= limits.is_inside(plain[STARS][name])
        emission = {name: plain[STARS][name] for name in self.varying}
        return {
            MASS: xp.where(valid, mass, np.nan),
            "emission": emission,
            **plain.get(GALAXY, {}),
            **histories,
        }, columns

    @cached_property
    def axes(self) -> dict[str, AxisLimits]:
        """Axes of the grid of which parameters of the stars are values.

        Raises:
            InconsistentArguments: If two parameters are values on one axis.
        """
        return self.limits.by_parameter(self.parameters.in_group(STARS))

    def check_inside(
        self, on_bad: str, remedy: str = ", or skip them with on_bad"
    ) -> None:
        """Raise if a prior extends beyond the range of the model.

        The galaxies that fit in memory are checked here, and others when they
        are made. With `skip`, some galaxies may be outside the range. The
        remedy is for priors that are partly inside.

        Raises:
            InconsistentArguments: With the parameter, its prior and the
                limits.
        """
        n = min(
            self.draws.n,
            _CHECKED_NUMBERS // max(self.parameters.dimensions, 1),
        )
        plain, _ = self.parameters.draw(self.draws, slice(0, max(n, 1)))
        for parameter, low, high, description in self._limits():
            values = plain[parameter.group][parameter.name]
            outside = np.flatnonzero((values < low) | (values > high))
            if not len(outside) or (on_bad == "skip" and len(outside) < n):
                continue
            low, high = map(parameter.from_plain, (low, high))
            skip = "" if len(outside) == n else remedy
            raise InconsistentArguments(
                f"The prior of '{parameter.title}', {parameter.prior}, must "
                f"be within {description}, {low:.5g} to {high:.5g}: of the "
                f"first {n} galaxies {len(outside)} are outside: "
                f"{listed(outside)}. Narrow the prior{skip}."
            )

    def warn_of_unphysical(self) -> None:
        """Warn of priors that the model can follow, but no galaxy would.

        The first galaxies are checked: optical depths below zero, and stars
        older than the Universe.
        """
        n = min(self.draws.n, _TRIED_GALAXIES)
        plain, _ = self.parameters.draw(self.draws, slice(0, n))
        for name, parameter in self.parameters.in_group(STARS).items():
            if name.startswith(_OPTICAL_DEPTH):
                negative = plain[STARS][name] < 0.0
                if negative.any():
                    warn(
                        f"'{parameter.title}' is negative for "
                        f"{negative.sum()} of the first {n} galaxies, which "
                        "dust then makes brighter. Cut its prior, "
                        f"{parameter.prior}, at zero."
                    )
        oldest = self.parameters.in_group(SF_HIST).get(_OLDEST)
        if oldest is None:
            return
        redshift = plain.get(GALAXY, {}).get(REDSHIFT, np.zeros(n))
        known = np.where(redshift > 0.0, redshift, 0.0)
        limit = (1 + _AGE_SLACK) * self.parameters.age_of_universe(known)
        older = plain[SF_HIST][_OLDEST] > limit
        if older.any():
            warn(
                f"'{oldest.title}' exceeds the age of the Universe at the "
                f"redshift of {older.sum()} of the first {n} galaxies, so "
                "their stars may be older. Use a prior of fractions of that "
                "age, such as Uniform(0.1, 1, of='age_of_universe'), in YAML "
                "{uniform: [0.1, 1], of: age_of_universe}."
            )

    @cached_property
    def common(self) -> dict[str, dict[str, NDArray]]:
        """Parameters that all galaxies share, by kind of history and name."""
        return {
            kind: common_parameters(
                kind, history, self.parameters, self._first.get(kind, {})
            )
            for kind, history in self.histories.items()
        }

    @cached_property
    def _first(self) -> Values:
        """Plain parameters of the first galaxy with only finite ones."""
        n = min(self.draws.n, _TRIED_GALAXIES)
        plain, _ = self.parameters.draw(self.draws, slice(0, n))
        for parameter in self.parameters:
            values = plain[parameter.group][parameter.name]
            if not np.isfinite(values).any():
                raise InconsistentArguments(
                    f"'{parameter.title}' must be finite, but is not for any "
                    f"of the first {n} galaxies. Change its prior, "
                    f"{parameter.prior}."
                )
        finite = [
            np.isfinite(values.reshape(n, -1)).all(axis=1)
            for values in jax.tree.leaves(plain)
        ]
        first = int(np.argmax(np.logical_and.reduce(finite)))
        return jax.tree.map(lambda values: values[first : first + 1], plain)

    def _limits(self) -> Iterator[tuple[Parameter, float, float, str]]:
        """Yield parameters with their limits and a description of these."""
        limits = [
            (METAL_DIST, "metallicity", *self.limits.metallicities,
             "the grid's axis 'metallicities'"),
            (SF_HIST, "min_age", 0.0, self.limits.ages[1],
             "the grid's axis 'ages'"),
            (GALAXY, "redshift", 0.0, np.inf, "the range of redshifts"),
            (STARS, MASS, 0.0, np.inf, "the range of masses"),
            *((STARS, name, 0.0, 1.0, "the range of a fraction")
              for name in _FRACTIONS),
            *((STARS, name, axis.low, axis.high,
               f"the grid's axis '{axis.axis}'")
              for name, axis in self.axes.items()),
        ]  # fmt: skip
        for group, name, low, high, description in limits:
            members = self.parameters.in_group(group)
            if name in members:
                yield members[name], low, high, description

    def _shared(self, kind: str, n: int, xp: ModuleType) -> dict[str, Any]:
        """Return the shared parameters of a history for n galaxies."""
        return {
            name: xp.broadcast_to(
                xp.asarray(value, float), (n, *np.shape(value))
            )
            for name, value in self.common[kind].items()
        }

    def _is_inside(self, metal_dist: Mapping[str, NDArray]) -> NDArray:
        """Whether the metallicity of each galaxy is within the grid, (n,).

        Synthesizer would clip it to the edge of the grid.
        """
        if "metallicity" not in metal_dist:
            return np.ones(1, np.bool_)
        low, high = self.limits.metallicities
        z = metal_dist["metallicity"]
        return ~((z < low) | (z > high))
