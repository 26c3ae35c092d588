"""The parameters of galaxies: drawn in the user's units, used as numbers.

Each has a prior, and a place: `galaxy` (the redshift), `stars`, `sf_hist`
or `metal_dist`, as Synthesizer's constructors have them. Two things are
understood of all of them: a name that starts with `log10` stands for the
decadic logarithm, and a prior may be of fractions of another parameter of
the same place, or of the age of the Universe. `Library` needs this room.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any, Self, TypeAlias

import numpy as np
from numpy.polynomial import Chebyshev
from numpy.typing import NDArray
from synthesizer.exceptions import InconsistentArguments, IncorrectUnits
from unyt import unyt_array, unyt_quantity

from synthesizer_emulator.library.priors import (
    Choice,
    Draws,
    Fixed,
    Prior,
    did_you_mean,
)
from synthesizer_emulator.units import (
    MODEL_UNITS,
    PURE,
    model_unit,
    parse_unit,
    with_units,
)
from synthesizer_emulator.validation import nearest

if TYPE_CHECKING:
    from astropy.cosmology import FLRW

AGE_OF_UNIVERSE = "age_of_universe"
GALAXY, STARS = "galaxy", "stars"
SF_HIST, METAL_DIST = "sf_hist", "metal_dist"
MASS, REDSHIFT = "initial_mass", "redshift"

_LOG10 = "log10"

# What those of a place may be in; those of stars the emission model knows.
_UNITS = {GALAXY: (PURE,), SF_HIST: ("yr", PURE), METAL_DIST: (PURE,)}

# Beyond what is likely, where a prior has no end.
_MAX_REDSHIFT = 20.0
# The terms of the polynomial that stands for the age; good to 1e-9.
_DEGREE = 30

# What may be given for a prior: a number alone is fixed.
Given: TypeAlias = Prior | float | unyt_array

_ONE = np.ones(1)

# By place and name.
Values = dict[str, dict[str, NDArray[np.float64]]]


@dataclass(frozen=True)
class Parameter:
    """One parameter of a galaxy.

    Attributes:
        place (str): What it is a parameter of.
        given (str): The name it was given under.
        prior (Prior): What is known of it.
    """

    place: str
    given: str
    prior: Prior

    def __post_init__(self) -> None:
        """Check the units.

        Raises:
            InconsistentArguments: If they are none that a galaxy has, or
                it has several values where it can have one.
        """
        if self.prior.of is not None and self.is_log:
            raise InconsistentArguments(
                f"'{self.given}' can't be a fraction of '{self.prior.of}': "
                f"give '{self.name}'."
            )
        if not self.base:
            raise InconsistentArguments(
                f"'{self.given}' can't have the units '{self.prior.units}': "
                f"expected those of {', '.join(MODEL_UNITS)}."
            )
        if self.prior.is_array and self.place in (GALAXY, STARS):
            raise InconsistentArguments(
                f"'{self.given}' is one number a galaxy, got {self.prior}."
                + did_you_mean(self.prior)
            )

    @property
    def is_log(self) -> bool:
        """Whether it was given as its decadic logarithm."""
        return self.given.startswith(_LOG10)

    @property
    def name(self) -> str:
        """The name that Synthesizer has for it."""
        return self.given.removeprefix(_LOG10)

    @property
    def path(self) -> str:
        """Where it stands in a library."""
        place = "" if self.place == GALAXY else f"{self.place}/"
        return f"parameters/{place}{self.given}"

    @property
    def where(self) -> str:
        """Where it stands in a configuration."""
        return (
            self.given
            if self.place == GALAXY
            else (f"{self.place}: {self.given}")
        )

    @property
    def is_shared(self) -> bool:
        """Whether it is the same for all galaxies."""
        return isinstance(self.prior, Fixed) and self.prior.of is None

    @property
    def base(self) -> str:
        """The units of its plain number, but for a fraction."""
        if self.name == MASS and self.is_log and not self.prior.units:
            return "Msun"
        return model_unit(parse_unit(self.prior.units))

    @property
    def units(self) -> str:
        """The units it was given in, but for a fraction."""
        units = self.prior.units or self.base
        logged = self.is_log and units != PURE
        return f"log10({units})" if logged else units

    @property
    def fixed(self) -> Any:
        """The value of all galaxies, with its units if it has any."""
        assert isinstance(self.prior, Fixed)
        if not self.prior.units and not self.is_log:
            return self.prior.value
        return with_units(self.plain(self.prior.quantile(_ONE)[0]), self.base)

    def plain(self, drawn: NDArray[np.float64]) -> NDArray[np.float64]:
        """Return plain numbers of what was drawn, but for a fraction."""
        values = 10.0**drawn if self.is_log else drawn
        given = unyt_array(values, parse_unit(self.prior.units or self.base))
        return np.asarray(given.to_value(parse_unit(self.base)))

    def as_given(self, plain: float) -> float:
        """Return a plain number as it was given, but for a fraction."""
        if self.prior.of is not None:
            return plain
        quantity = unyt_quantity(plain, parse_unit(self.base))
        value = float(
            quantity.to_value(parse_unit(self.prior.units or self.base))
        )
        with np.errstate(divide="ignore"):
            return float(np.log10(value)) if self.is_log else value


@dataclass(frozen=True)
class Parameters:
    """All parameters of a library's galaxies.

    Attributes:
        every (tuple of Parameter): They, in the order of the draws.
        cosmo (FLRW): The cosmology, for the age of the Universe.
    """

    every: tuple[Parameter, ...]
    cosmo: "FLRW"

    @classmethod
    def from_priors(
        cls,
        priors: Mapping[str, Mapping[str, Given]],
        cosmo: "FLRW",
    ) -> Self:
        """Put parameters together.

        Args:
            priors (Mapping): For each place a prior for each parameter.
            cosmo (FLRW): The cosmology.

        Raises:
            InconsistentArguments: If they don't fit together.
            IncorrectUnits: If one has units that are none of its place.
        """
        every = tuple(
            Parameter(place, name, as_prior(name, given))
            for place, parameters in priors.items()
            for name, given in parameters.items()
        )
        parameters = cls(every, cosmo)
        for parameter in every:
            parameters._check(parameter)
        return parameters

    @property
    def dimensions(self) -> int:
        """How many numbers are drawn for a galaxy."""
        return sum(p.prior.dimensions for p in self.every)

    @property
    def max_redshift(self) -> float:
        """The largest redshift of a galaxy."""
        found = [p.prior for p in self.every if p.name == REDSHIFT]
        if not found:
            return _MAX_REDSHIFT
        (prior,) = found
        if isinstance(prior, Choice):
            highest = float(max(prior.values))
        else:
            highest = float(prior.quantile(_ONE)[0])
        # A little more, as numbers are rounded.
        return 1.001 * highest if np.isfinite(highest) else _MAX_REDSHIFT

    def at(self, place: str) -> dict[str, Parameter]:
        """Return the parameters of a place by Synthesizer's names."""
        return {p.name: p for p in self.every if p.place == place}

    def base(self, parameter: Parameter) -> str:
        """Return the units of a parameter as a plain number."""
        if parameter.prior.of is None:
            return parameter.base
        if parameter.prior.of == AGE_OF_UNIVERSE:
            return "yr"
        return self.base(self.at(parameter.place)[parameter.prior.of])

    def units(self) -> dict[str, str]:
        """Return the units of each column."""
        return {
            p.path: p.units if p.prior.of is None else self.base(p)
            for p in self.every
        }

    def draw(
        self, draws: Draws, which: slice
    ) -> tuple[Values, dict[str, NDArray[np.float64]]]:
        """Draw the parameters of some galaxies.

        Args:
            draws (Draws): How.
            which (slice): The galaxies.

        Returns:
            tuple: By place and name the plain numbers, (n, ...), and by
                path those that differ between galaxies, as they were given
                (a fraction as what it comes to).
        """
        u = draws.rows(which, self.dimensions)
        drawn, start = {}, 0
        for p in self.every:
            part = u[:, start : start + p.prior.dimensions]
            start += p.prior.dimensions
            if p.prior.size is None and p.prior.dimensions:
                part = part[:, 0]
            drawn[p.path] = p.prior.quantile(part)
        plain: Values = {}
        for p in self.every:
            plain.setdefault(p.place, {})[p.name] = self._plain(p, drawn)
        columns = {
            p.path: (
                drawn[p.path] if p.prior.of is None else plain[p.place][p.name]
            )
            for p in self.every
            if not p.is_shared
        }
        return plain, columns

    def age_of_universe(
        self, redshift: NDArray[np.float64]
    ) -> NDArray[np.float64]:
        """Return the age of the Universe, yr, at redshifts."""
        return np.exp(self._log_age(np.log1p(redshift)))

    @cached_property
    def _log_age(self) -> Chebyshev:
        """The logarithm of the age by ln(1 + z): a thousand times faster."""

        def log_age(x: NDArray) -> NDArray:
            return np.log(self.cosmo.age(np.expm1(x)).to_value("yr"))

        ends = [0.0, np.log1p(max(self.max_redshift, 0.1))]
        return Chebyshev.interpolate(log_age, _DEGREE, domain=ends)

    def _plain(
        self, parameter: Parameter, drawn: Mapping[str, NDArray[np.float64]]
    ) -> NDArray[np.float64]:
        """Return the plain numbers of a parameter."""
        values, of = drawn[parameter.path], parameter.prior.of
        if of is None:
            return parameter.plain(values)
        if of == AGE_OF_UNIVERSE:
            redshift = self.at(GALAXY)[REDSHIFT]
            whole = self.age_of_universe(drawn[redshift.path])
        else:
            whole = self._plain(self.at(parameter.place)[of], drawn)
        # Of one number, or of each of several.
        return (values.T * whole.T).T

    def _check(self, parameter: Parameter) -> None:
        """Refuse a parameter that can't be told."""
        name, of = parameter.given, parameter.prior.of
        there = self.at(parameter.place)
        if there[parameter.name] is not parameter:
            raise InconsistentArguments(
                f"'{name}' is given twice, with log10 and without."
            )
        if of == AGE_OF_UNIVERSE and not self.at(GALAXY):
            raise InconsistentArguments(
                f"'{name}' is a fraction of the age of the Universe, which "
                "needs a redshift."
            )
        seen = {parameter.name}
        while of is not None and of != AGE_OF_UNIVERSE:
            if of not in there or of in seen:
                raise InconsistentArguments(
                    f"'{name}' can be a fraction of {AGE_OF_UNIVERSE} or of "
                    f"another of {', '.join(there)}, got '{of}'."
                    + nearest(of, {*there, AGE_OF_UNIVERSE} - seen)
                )
            seen.add(of)
            of = there[of].prior.of
        known = _UNITS.get(parameter.place, MODEL_UNITS)
        if self.base(parameter) not in known:
            raise IncorrectUnits(
                f"'{name}' can't have the units '{parameter.units}': expected "
                f"{' or '.join(known)}."
            )


def as_prior(name: str, given: Given) -> Prior:
    """Return the prior of what was given for a parameter.

    Args:
        name (str): The parameter.
        given (Prior/float/unyt_array): A prior; or a number, which is fixed.

    Raises:
        InconsistentArguments: If it is neither.
    """
    if isinstance(given, Prior):
        return given
    try:
        if isinstance(given, unyt_array):
            return Fixed(given.value.tolist(), units=str(given.units))
        return Fixed(given)
    except InconsistentArguments as error:
        raise InconsistentArguments(
            f"'{name}' must be a prior or a number: {error}"
        ) from error
