"""Parameters of galaxies, drawn in the user's units and used as plain numbers.

Each parameter has a prior and belongs to a group: `galaxy` (the redshift),
`stars`, `sf_hist` or `metal_dist`, after Synthesizer's constructors, or
`spectrum`, for an observed spectrum (its velocity dispersion, for instance).
A name that starts with `log10` stands for the decadic logarithm of a
parameter. A prior may give fractions of another parameter in the group, or of
the age of the Universe, and may depend on any other parameter.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property
from graphlib import CycleError, TopologicalSorter
from typing import TYPE_CHECKING, Any, Self, TypeAlias

import jax.numpy as jnp
import numpy as np
from jax import Array
from numpy.polynomial import Chebyshev
from numpy.typing import NDArray
from synthesizer.exceptions import InconsistentArguments, IncorrectUnits
from unyt import unyt_array, unyt_quantity

from synthesizer_emulator.galaxies.chebyshev import chebyshev
from synthesizer_emulator.galaxies.parameter_names import LOG10 as LOG10
from synthesizer_emulator.library.draws import Draws
from synthesizer_emulator.library.priors import (
    AnyArray,
    Fixed,
    Prior,
    suggest_prior,
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
SPECTRUM = "spectrum"
MASS, REDSHIFT = "initial_mass", "redshift"

# The units allowed for the plain numbers of each group; those of stars depend
# on the emission model.
_UNITS = {
    GALAXY: (PURE,),
    SF_HIST: ("yr", PURE),
    METAL_DIST: (PURE,),
    SPECTRUM: ("km/s", PURE),
}

# The largest redshift of a prior without an upper bound.
_MAX_REDSHIFT = 20.0

# The degree of the polynomial for the age of the Universe, accurate to 1e-9.
_DEGREE = 30

# A prior, or a number as a fixed value.
PriorLike: TypeAlias = Prior | float | unyt_array

# Plain numbers by group and name.
Values = dict[str, dict[str, NDArray[np.float64]]]

_ONE = np.ones(1)


@dataclass(frozen=True)
class Parameter:
    """One parameter of a galaxy.

    Attributes:
        group (str): The group of the parameter.
        given_name (str): The name of the parameter, with `log10` in front for
            its decadic logarithm.
        prior (Prior): The prior.
    """

    group: str
    given_name: str
    prior: Prior

    def __post_init__(self) -> None:
        """Raise `InconsistentArguments` if the units or shape are wrong."""
        if self.prior.of is not None and self.is_log:
            raise InconsistentArguments(
                f"'{self.given_name}' can't be a fraction of "
                f"'{self.prior.of}': give '{self.name}'."
            )
        if not self.plain_unit:
            raise InconsistentArguments(
                f"'{self.given_name}' must have units that convert to one of "
                f"{', '.join(MODEL_UNITS)}; got '{self.prior.units}'."
            )
        if self.prior.is_array and self.group in (GALAXY, STARS):
            raise InconsistentArguments(
                f"'{self.given_name}' must be one number per galaxy, got "
                f"{self.prior}." + suggest_prior(self.prior)
            )

    @property
    def is_log(self) -> bool:
        """Whether the values are decadic logarithms."""
        return self.given_name.startswith(LOG10)

    @property
    def name(self) -> str:
        """Synthesizer's name of the parameter."""
        return self.given_name.removeprefix(LOG10)

    @property
    def path(self) -> str:
        """Path of the parameter in a library file."""
        group = "" if self.group == GALAXY else f"{self.group}/"
        return f"parameters/{group}{self.given_name}"

    @property
    def title(self) -> str:
        """Entry of the parameter in a YAML file, for messages."""
        group = "" if self.group == GALAXY else f"{self.group}: "
        return f"{group}{self.given_name}"

    @property
    def is_fixed(self) -> bool:
        """Whether the parameter is the same for all galaxies."""
        return isinstance(self.prior, Fixed) and self.prior.of is None

    @property
    def plain_unit(self) -> str:
        """Unit of the plain numbers, if they are not fractions."""
        if self.name == MASS and self.is_log and not self.prior.units:
            return "Msun"
        return model_unit(parse_unit(self.prior.units))

    @property
    def units(self) -> str:
        """Units of the values drawn, if they are not fractions."""
        units = self.prior.units or self.plain_unit
        logged = self.is_log and units != PURE
        return f"log10({units})" if logged else units

    @property
    def fixed_value(self) -> Any:
        """Value of a fixed parameter, with its units if it has any."""
        assert isinstance(self.prior, Fixed)
        if not self.prior.units and not self.is_log:
            return self.prior.value
        plain = self.to_plain(self.prior.quantile(_ONE)[0])
        return with_units(plain, self.plain_unit)

    def to_plain(self, values: AnyArray) -> AnyArray:
        """Convert values in the units of the prior to plain numbers."""
        linear = 10.0**values if self.is_log else values
        if isinstance(linear, Array):
            return linear * self._factor
        return self._converted(linear)

    @cached_property
    def _factor(self) -> float:
        """The factor from the units of the prior to plain numbers."""
        return float(self._converted(_ONE)[0])

    def _converted(self, linear: NDArray[np.float64]) -> NDArray[np.float64]:
        """Convert the units of values that are not logarithms."""
        units = parse_unit(self.prior.units or self.plain_unit)
        plain = unyt_array(linear, units).to_value(parse_unit(self.plain_unit))
        return np.asarray(plain)

    def from_plain(self, value: float) -> float:
        """Convert a plain number to the units of the prior; keep fractions."""
        if self.prior.of is not None:
            return value
        quantity = unyt_quantity(value, parse_unit(self.plain_unit))
        units = parse_unit(self.prior.units or self.plain_unit)
        linear = float(quantity.to_value(units))
        with np.errstate(divide="ignore"):
            return float(np.log10(linear)) if self.is_log else linear


@dataclass(frozen=True)
class Parameters:
    """All parameters of the galaxies of a library.

    Attributes:
        parameters (tuple of Parameter): The parameters, in the order of
            their random numbers.
        cosmo (FLRW): The cosmology, for the age of the Universe.
    """

    parameters: tuple[Parameter, ...]
    cosmo: "FLRW"

    @classmethod
    def from_priors(
        cls,
        priors: Mapping[str, Mapping[str, PriorLike]],
        cosmo: "FLRW",
    ) -> Self:
        """Combine priors by group and name.

        Raises:
            InconsistentArguments: If the priors are inconsistent.
            IncorrectUnits: If a parameter has units not allowed in its group.
        """
        parameters = cls(
            tuple(
                Parameter(group, name, as_prior(name, prior))
                for group, members in priors.items()
                for name, prior in members.items()
            ),
            cosmo,
        )
        for parameter in parameters:
            parameters._check(parameter)
        parameters._check_order()
        return parameters

    def __iter__(self) -> Iterator[Parameter]:
        """Iterate over the parameters."""
        return iter(self.parameters)

    @property
    def dimensions(self) -> int:
        """Number of random numbers per galaxy."""
        return sum(p.prior.dimensions for p in self)

    @property
    def max_redshift(self) -> float:
        """Largest redshift of a galaxy."""
        prior = next((p.prior for p in self if p.name == REDSHIFT), None)
        if prior is None:
            return _MAX_REDSHIFT
        _, highest = prior.ends
        # A margin for rounding.
        return 1.001 * highest if np.isfinite(highest) else _MAX_REDSHIFT

    def in_group(self, group: str) -> dict[str, Parameter]:
        """Return the parameters of a group by Synthesizer's names."""
        return {p.name: p for p in self if p.group == group}

    def plain_unit(self, parameter: Parameter) -> str:
        """Return the unit of the plain numbers of a parameter."""
        whole = parameter.prior.of
        if whole is None:
            return parameter.plain_unit
        if whole == AGE_OF_UNIVERSE:
            return "yr"
        return self.plain_unit(self.in_group(parameter.group)[whole])

    def units(self) -> dict[str, str]:
        """Return the units of each column of a library file."""
        return {
            p.path: p.units if p.prior.of is None else self.plain_unit(p)
            for p in self
        }

    def draw(
        self, draws: Draws, which: slice
    ) -> tuple[Values, dict[str, NDArray[np.float64]]]:
        """Draw the parameters of some galaxies.

        Args:
            draws (Draws): The random numbers.
            which (slice): The indices of the n galaxies.

        Returns:
            tuple: The plain numbers by group and name, (n, ...); and the
                columns of the parameters that differ between galaxies by
                path, in the units of their priors, with fractions converted
                to values.
        """
        return self.at(draws.rows(which, self.dimensions))

    def at(
        self, u: AnyArray
    ) -> tuple[dict[str, dict[str, AnyArray]], dict[str, AnyArray]]:
        """Return the parameters at points of the unit hypercube.

        Args:
            u (array of float): The quantiles, (n, dimensions). They may be
                traced by JAX.

        Returns:
            tuple: As for `draw`.
        """
        drawn, plain = self._evaluate(u)
        groups: dict[str, dict[str, AnyArray]] = {}
        for p in self:
            groups.setdefault(p.group, {})[p.name] = plain[p.path]
        return groups, {
            p.path: (drawn if p.prior.of is None else plain)[p.path]
            for p in self
            if not p.is_fixed
        }

    def log_density(self, u: AnyArray) -> Array:
        """Return the logarithm of the prior density at points.

        The density is that of the values drawn in the units of their priors,
        of fractions (`of`) where these are drawn. Fixed values have none.

        Args:
            u (array of float): The quantiles, (n, dimensions). They may be
                traced by JAX.

        Returns:
            Array: The natural logarithm of the density, (n,).
        """
        drawn, plain = self._evaluate(u)
        total = jnp.zeros(len(u))
        for p in self:
            if p.prior.dimensions:
                given = self._given(p, drawn, plain)
                density = p.prior.log_density(drawn[p.path], *given)
                total += density.reshape(len(u), -1).sum(axis=1)
        return total

    def age_of_universe(self, redshift: AnyArray) -> AnyArray:
        """Return the age of the Universe at redshifts, yr."""
        if isinstance(redshift, Array):
            fit = self._log_age
            low, high = fit.domain
            x = (2.0 * jnp.log1p(redshift) - low - high) / (high - low)
            return jnp.exp(chebyshev(fit.coef, x))
        return np.exp(self._log_age(np.log1p(redshift)))

    @cached_property
    def _log_age(self) -> Chebyshev:
        """Polynomial of ln(age) in ln(1 + z), far faster than astropy."""

        def log_age(x: NDArray) -> NDArray:
            return np.log(self.cosmo.age(np.expm1(x)).to_value("yr"))

        ends = [0.0, np.log1p(max(self.max_redshift, 0.1))]
        return Chebyshev.interpolate(log_age, _DEGREE, domain=ends)

    def _evaluate(
        self, u: AnyArray
    ) -> tuple[dict[str, AnyArray], dict[str, AnyArray]]:
        """Return the parameters at points of the unit hypercube by path.

        Returns:
            tuple: The values drawn, in the units of their priors; and the
                plain numbers.
        """
        columns, start = {}, 0
        for p in self:
            columns[p.path] = u[:, start : start + p.prior.dimensions]
            start += p.prior.dimensions
            if p.prior.size is None and p.prior.dimensions:
                columns[p.path] = columns[p.path][:, 0]
        drawn: dict[str, AnyArray] = {}
        plain: dict[str, AnyArray] = {}
        for p in self._ordered:
            given = self._given(p, drawn, plain)
            drawn[p.path] = p.prior.quantile(columns[p.path], *given)
            plain[p.path] = self._to_plain(p, drawn, plain)
        return drawn, plain

    def _to_plain(
        self,
        parameter: Parameter,
        drawn: Mapping[str, AnyArray],
        plain: Mapping[str, AnyArray],
    ) -> AnyArray:
        """Return the plain numbers of a parameter, (n, ...)."""
        values, of = drawn[parameter.path], parameter.prior.of
        if of is None:
            return parameter.to_plain(values)
        whole = plain[self._whole(parameter, of).path]
        if of == AGE_OF_UNIVERSE:
            whole = self.age_of_universe(whole)
        # Transposed, since either may have several values per galaxy.
        return (values.T * whole.T).T

    def _given(
        self,
        parameter: Parameter,
        drawn: Mapping[str, AnyArray],
        plain: Mapping[str, AnyArray],
    ) -> tuple[AnyArray, ...]:
        """Return the values of the parameter on which a prior depends, (n,).

        Returns:
            tuple: The values; empty if there is no such parameter.
        """
        path = parameter.prior.condition
        if path is None:
            return ()
        other = self._find(path)
        assert other is not None
        fraction = other.prior.of is not None
        values = (plain if fraction else drawn)[other.path]
        wants_log = path.rpartition("/")[2].startswith(LOG10)
        if wants_log == other.is_log:
            return (values,)
        if not wants_log:
            return (10.0**values,)
        return ((jnp if isinstance(values, Array) else np).log10(values),)

    def _find(self, path: str) -> Parameter | None:
        """Return the parameter of a path such as `sf_hist/tau`, if any."""
        group, _, name = path.rpartition("/")
        return self.in_group(group or GALAXY).get(name.removeprefix(LOG10))

    def _whole(self, parameter: Parameter, of: str) -> Parameter:
        """Return the parameter whose value fractions are multiplied by.

        Of the age of the Universe, it is the redshift.
        """
        if of == AGE_OF_UNIVERSE:
            return self.in_group(GALAXY)[REDSHIFT]
        return self.in_group(parameter.group)[of]

    @cached_property
    def _ordered(self) -> tuple[Parameter, ...]:
        """The parameters, each after those on which it depends."""
        by_path = {p.path: p for p in self}
        needed: dict[str, list[str]] = {p.path: [] for p in self}
        for p in self:
            if p.prior.of is not None:
                needed[p.path].append(self._whole(p, p.prior.of).path)
            if p.prior.condition is not None:
                other = self._find(p.prior.condition)
                assert other is not None
                needed[p.path].append(other.path)
        order = TopologicalSorter(needed).static_order()
        return tuple(by_path[path] for path in order)

    def _check_order(self) -> None:
        """Raise if parameters depend on each other."""
        try:
            _ = self._ordered
        except CycleError as error:
            titles = {p.path: f"'{p.title}'" for p in self}
            circle = " on ".join(titles[path] for path in error.args[1][::-1])
            raise InconsistentArguments(
                f"Priors must not depend on each other in a circle: {circle}. "
                "Leave out one 'given'."
            ) from error

    def _check_given(self, parameter: Parameter) -> None:
        """Raise if there is no parameter on which a prior depends."""
        path = parameter.prior.condition
        if path is None:
            return
        known = [
            p.path.removeprefix("parameters/")
            for p in self
            if p is not parameter and not p.prior.is_array
        ]
        other = self._find(path)
        if other is None or other.prior.is_array:
            raise InconsistentArguments(
                f"'{parameter.title}' can only be given another parameter "
                f"with one number per galaxy, {', '.join(known)}; got "
                f"'{path}'." + nearest(path, known)
            )

    def _check(self, parameter: Parameter) -> None:
        """Raise if a parameter is given twice, or has wrong units or `of`."""
        name, of = parameter.given_name, parameter.prior.of
        group = self.in_group(parameter.group)
        if group[parameter.name] is not parameter:
            raise InconsistentArguments(
                f"'{name}' is given twice, with and without log10: keep one."
            )
        if of == AGE_OF_UNIVERSE and not self.in_group(GALAXY):
            raise InconsistentArguments(
                f"'{name}' is a fraction of the age of the Universe, which "
                "needs a redshift: give one."
            )
        seen = {parameter.name}
        while of is not None and of != AGE_OF_UNIVERSE:
            if of not in group or of in seen:
                raise InconsistentArguments(
                    f"'{name}' must be a fraction of {AGE_OF_UNIVERSE} or of "
                    f"another parameter of {', '.join(group)}, got '{of}'."
                    + nearest(of, {*group, AGE_OF_UNIVERSE} - seen)
                )
            seen.add(of)
            of = group[of].prior.of
        self._check_given(parameter)
        allowed = _UNITS.get(parameter.group, MODEL_UNITS)
        if self.plain_unit(parameter) not in allowed:
            raise IncorrectUnits(
                f"'{name}' must have units that convert to "
                f"{' or '.join(allowed)}, got '{parameter.units}'."
            )


def as_prior(name: str, prior: PriorLike) -> Prior:
    """Convert a number to a `Fixed` prior; return a prior unchanged."""
    if isinstance(prior, Prior):
        return prior
    try:
        if isinstance(prior, unyt_array):
            return Fixed(prior.value.tolist(), units=str(prior.units))
        return Fixed(prior)
    except InconsistentArguments as error:
        raise InconsistentArguments(
            f"'{name}' must be a prior or a number: {error}"
        ) from error
