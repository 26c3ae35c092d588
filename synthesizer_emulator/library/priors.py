"""Prior distributions of parameters.

A prior is sampled with its quantile function, at random numbers between 0 and
1 from `Draws`, or at points of the unit hypercube in a fit; arrays of JAX may
be traced. The numbers that define it may depend on another parameter of the
galaxy. The quantile functions of scipy.stats are not used, because their last
digits differ from those of existing libraries.
"""

import math
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from dataclasses import MISSING, dataclass, fields, replace
from functools import cached_property, partial
from typing import Any, ClassVar, TypeAlias, TypeVar

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array
from jax.scipy import stats as jax_stats
from jax.scipy.special import logit
from jax.typing import ArrayLike
from numpy.typing import NDArray
from scipy import special
from scipy.interpolate import PchipInterpolator
from scipy.special import expit
from scipy.stats import beta
from scipy.stats import t as student_t
from synthesizer.exceptions import InconsistentArguments

from synthesizer_emulator.units import PURE, parse_unit, units_of
from synthesizer_emulator.validation import check_number, check_whole

# Arrays of NumPy or of JAX; a function returns the kind that it is given.
AnyArray = TypeVar("AnyArray", NDArray[np.float64], Array)

# A number, or numbers at values of another parameter.
Numbers: TypeAlias = float | Sequence[float]

# The standard deviations from the mean beyond which nothing of a normal
# distribution is left in double precision, and the most within which both
# bounds must be for single precision.
_INFINITY, _FARTHEST = 40.0, 10.0

_EXAMPLE = "given={'stars/log10initial_mass': [9, 10, 11]}"

# The range of ln(u / (1 - u)) in which a quantile function is tabulated, and
# the number of intervals. Beyond it are 3e-16 of the probability.
_LARGEST_LOGIT, _INTERVALS = 36.0, 1024


@dataclass(frozen=True, kw_only=True)
class Prior(ABC):
    """Base class of prior distributions.

    Attributes:
        units (str): The units of the values, in unyt's names; empty for
            values without units.
        of (str): If the values are fractions, the parameter to multiply them
            by: `age_of_universe`, or another parameter such as `max_age`.
        size (int): The number of independent values per galaxy, for an array
            parameter; None for a scalar.
        given (Mapping): If numbers of the prior are lists, the parameter on
            which they depend, such as `redshift` or
            `stars/log10initial_mass`, and its values at which they are
            listed, ascending. They are interpolated linearly, and constant
            beyond the first and the last value. Values are in the units of
            the prior of the other parameter, those of fractions in yr or
            other units of the model; `log10` before the name stands for
            decadic logarithms.
    """

    units: str = ""
    of: str | None = None
    size: int | None = None
    given: Mapping[str, Sequence[float]] | None = None

    # The numbers that may depend on another parameter.
    _may_depend: ClassVar[tuple[str, ...]] = ()

    def __post_init__(self) -> None:
        """Check the settings.

        Raises:
            InconsistentArguments: If a setting is invalid.
        """
        for entry in fields(self):
            # Lists are compared, printed and written as other settings.
            value = _as_lists(getattr(self, entry.name))
            object.__setattr__(self, entry.name, value)
        parse_unit(self.units)
        if not isinstance(self.of, str | None):
            raise InconsistentArguments(
                f"'of' must be the name of a parameter, got {self.of!r}."
            )
        if self.of is not None and self.units:
            raise InconsistentArguments(
                f"A fraction of '{self.of}' must have no units, got "
                f"'{self.units}'."
            )
        if self.size is not None:
            check_whole("size", self.size, 1)
        if self.given is not None:
            self._check_given()
            return
        for name in self._may_depend:
            if np.ndim(getattr(self, name)):
                raise InconsistentArguments(
                    f"{name} of {self._name} must be a number, got "
                    f"{getattr(self, name)!r}. Lists need the values of "
                    f"another parameter: {_EXAMPLE}."
                )
        self._check()

    def __str__(self) -> str:
        """Return the prior in YAML, such as `{uniform: [0, 1]}`."""
        numbers, options = [], ""
        for entry in fields(self):
            value = getattr(self, entry.name)
            if entry.kw_only or entry.default is not MISSING:
                if value != entry.default:
                    options += f", {entry.name}: {value}"
            else:
                numbers.append(value)
        values = numbers[0] if len(numbers) == 1 else numbers
        return f"{{{self._name}: {values}{options}}}"

    @property
    def is_array(self) -> bool:
        """Whether a galaxy has several values."""
        return self.size is not None

    @property
    def dimensions(self) -> int:
        """Number of random numbers per galaxy."""
        return 1 if self.size is None else self.size

    @property
    def condition(self) -> str | None:
        """The parameter on which numbers of the prior depend, if any."""
        return None if self.given is None else next(iter(self.given))

    @property
    def knots(self) -> NDArray[np.float64]:
        """The values of that parameter at which numbers are listed, (k,)."""
        assert self.given is not None
        return np.asarray(next(iter(self.given.values())), np.float64)

    @property
    def ends(self) -> tuple[float, float]:
        """The lowest and the highest value, given any other parameter."""
        u, given = np.array([0.0, 1.0]), None
        if self.given is not None:
            # Numbers between the knots are within those at the knots.
            given = np.tile(self.knots, 2)
            u = np.repeat(u, len(self.knots))
        if self.is_array:
            u = np.repeat(u[:, None], self.dimensions, axis=1)
        values = self.quantile(u) if given is None else self.quantile(u, given)
        return float(values.min()), float(values.max())

    @abstractmethod
    def quantile(self, u: AnyArray, given: AnyArray | None = None) -> AnyArray:
        """Return the quantiles: the inverse of the cumulative distribution.

        Args:
            u (array of float): Probabilities, 0 to 1, (..., n) with the
                `dimensions` of the prior last if it `is_array`, otherwise of
                any shape. They may be traced by JAX.
            given (array of float): The values of the parameter on which the
                prior depends, of the shape of u less its last dimension if
                it `is_array`; None without such a parameter.

        Returns:
            array of float: The values, of the same shape and kind as u.
        """

    @abstractmethod
    def log_density(
        self, values: ArrayLike, given: ArrayLike | None = None
    ) -> Array:
        """Return the natural logarithm of the probability density.

        Args:
            values (array of float): The values, as returned by `quantile`.
            given (array of float): As for `quantile`.

        Returns:
            Array: The logarithm, minus infinity outside the support, of the
                same shape; of a `Choice` or `Fixed` value, that of the
                probability.
        """

    @abstractmethod
    def _check(self) -> None:
        """Raise if the parameters do not define a distribution."""

    @property
    def _name(self) -> str:
        """The name of the prior in YAML."""
        return next(
            (k for k, v in PRIORS.items() if v is type(self)),
            type(self).__name__,
        )

    def _numbers(self, given: Any) -> list[Any]:
        """Return the numbers that may depend on another parameter.

        Args:
            given (array of float): The values of the other parameter, (n,).

        Returns:
            list: Numbers, or arrays that broadcast against the values of the
                galaxies, (n,) or (n, 1).
        """
        numbers = [getattr(self, name) for name in self._may_depend]
        if self.given is None:
            return numbers
        if given is None:
            raise InconsistentArguments(
                f"The prior {self} needs values of '{self.condition}'."
            )
        interp = (jnp if isinstance(given, Array) else np).interp
        found = [
            interp(given, self.knots, np.asarray(number, np.float64))
            if isinstance(number, list)
            else number
            for number in numbers
        ]
        if not self.is_array:
            return found
        return [one[..., None] if np.ndim(one) else one for one in found]

    def _check_given(self) -> None:
        """Check the settings of a prior that depends on a parameter."""
        known = [k for k, v in PRIORS.items() if v._may_depend]
        if not self._may_depend:
            raise InconsistentArguments(
                f"{self._name} can't depend on another parameter: 'given' "
                f"needs one of {', '.join(known)}."
            )
        if (
            not isinstance(self.given, Mapping)
            or len(self.given) != 1
            or not isinstance(self.condition, str)
        ):
            raise InconsistentArguments(
                f"'given' must be one parameter and its values, as in "
                f"{_EXAMPLE}; got {self.given!r}."
            )
        ((other, values),) = self.given.items()
        knots = _list_of_numbers(f"the values of '{other}' in given", values)
        if len(knots) < 2 or not np.all(np.diff(knots) > 0.0):
            raise InconsistentArguments(
                f"The values of '{other}' in given must be two or more in "
                f"ascending order, got {values}."
            )
        object.__setattr__(self, "given", {other: knots})
        listed = [n for n in self._may_depend if np.ndim(getattr(self, n))]
        if not listed:
            raise InconsistentArguments(
                f"{self._name} given '{other}' must have a list for one of "
                f"{', '.join(self._may_depend)}, as in {_EXAMPLE}."
            )
        for name in listed:
            title = f"{name} of {self._name}"
            numbers = _list_of_numbers(title, getattr(self, name))
            if len(numbers) != len(knots):
                raise InconsistentArguments(
                    f"{title} must be a number, or one for each of the "
                    f"{len(knots)} values of '{other}'; got {len(numbers)}."
                )
            object.__setattr__(self, name, numbers)
        # Numbers between are valid too, since they are linear.
        for i in range(len(knots)):
            at_knot = {name: getattr(self, name)[i] for name in listed}
            replace(self, given=None, **at_knot)


@dataclass(frozen=True)
class Uniform(Prior):
    """A uniform distribution.

    Attributes:
        low (float/list): The lowest value.
        high (float/list): The highest value.
    """

    low: Numbers
    high: Numbers

    _may_depend: ClassVar[tuple[str, ...]] = ("low", "high")

    def quantile(self, u: AnyArray, given: AnyArray | None = None) -> AnyArray:
        """Return the quantiles."""
        low, high = self._numbers(given)
        return _clip(low + (high - low) * u, low, high)

    def log_density(
        self, values: ArrayLike, given: ArrayLike | None = None
    ) -> Array:
        """Return the logarithm of the density."""
        x = jnp.asarray(values)
        low, high = self._numbers(given)
        inside = (x >= low) & (x <= high)
        return jnp.where(inside, -jnp.log(high - low), -jnp.inf)

    def _check(self) -> None:
        _check_ascending("uniform", self.low, self.high)


@dataclass(frozen=True)
class LogUniform(Prior):
    """A distribution uniform in the logarithm of the value.

    Attributes:
        low (float/list): The lowest value, above 0.
        high (float/list): The highest value.
    """

    low: Numbers
    high: Numbers

    _may_depend: ClassVar[tuple[str, ...]] = ("low", "high")

    def quantile(self, u: AnyArray, given: AnyArray | None = None) -> AnyArray:
        """Return the quantiles."""
        low, high = self._numbers(given)
        return _clip(low * (high / low) ** u, low, high)

    def log_density(
        self, values: ArrayLike, given: ArrayLike | None = None
    ) -> Array:
        """Return the logarithm of the density."""
        x = jnp.asarray(values)
        low, high = self._numbers(given)
        inside = (x >= low) & (x <= high)
        norm = jnp.log(jnp.log(high / low))
        return jnp.where(
            inside, -jnp.log(jnp.where(inside, x, 1.0)) - norm, -jnp.inf
        )

    def _check(self) -> None:
        _check_ascending("log_uniform", self.low, self.high)
        check_number("low of log_uniform", self.low, 0.0, open_ends=True)


@dataclass(frozen=True)
class Normal(Prior):
    """A normal distribution, optionally truncated.

    Attributes:
        mean (float/list): The mean before truncation.
        sigma (float/list): The standard deviation before truncation.
        low (float/list): The lowest value.
        high (float/list): The highest value.
    """

    mean: Numbers
    sigma: Numbers
    low: Numbers = -math.inf
    high: Numbers = math.inf

    _may_depend: ClassVar[tuple[str, ...]] = ("mean", "sigma", "low", "high")

    def quantile(self, u: AnyArray, given: AnyArray | None = None) -> AnyArray:
        """Return the quantiles."""
        mean, sigma, low, high = self._numbers(given)
        functions = jax.scipy.special if isinstance(u, Array) else special
        sign, start, end = self._tail(mean, sigma, low, high)
        inside = start + (end - start) * u
        scaled = sign * functions.ndtri(inside)
        return _clip(mean + sigma * scaled, low, high)

    def log_density(
        self, values: ArrayLike, given: ArrayLike | None = None
    ) -> Array:
        """Return the logarithm of the density."""
        x = jnp.asarray(values)
        mean, sigma, low, high = self._numbers(given)
        sign, start, end = self._tail(mean, sigma, low, high)
        density = jax_stats.norm.logpdf(x, mean, sigma)
        return jnp.where(
            (x >= low) & (x <= high),
            density - jnp.log(sign * (end - start)),
            -jnp.inf,
        )

    def _tail(
        self, mean: Any, sigma: Any, low: Any, high: Any
    ) -> tuple[Any, Any, Any]:
        """Return the probabilities beyond the bounds in one of the tails.

        Returns:
            tuple: 1 for the lower tail or -1 for the upper, that in which the
                digits are kept; and the probability in it at the lower and
                at the upper bound.
        """
        # Bounds at infinity have no derivatives.
        start = -_INFINITY if self.low == -math.inf else (low - mean) / sigma
        end = _INFINITY if self.high == math.inf else (high - mean) / sigma
        traced = isinstance(start, Array) or isinstance(end, Array)
        sign = (jnp if traced else np).where(start > 0.0, -1.0, 1.0)
        ndtr = (jax.scipy.special if traced else special).ndtr
        return sign, ndtr(sign * start), ndtr(sign * end)

    def _check(self) -> None:
        check_number("mean of normal", self.mean, -math.inf)
        check_number("sigma of normal", self.sigma, 0.0, open_ends=True)
        _check_ascending("normal", self.low, self.high, infinite=True)
        mean, sigma, low, high = self._numbers(None)
        if max(low - mean, mean - high) > _FARTHEST * sigma:
            raise InconsistentArguments(
                "The interval of normal must begin or end within "
                f"{_FARTHEST:g} sigma of the mean, got {low} to {high} with "
                f"the mean {mean} and sigma {sigma}."
            )


@dataclass(frozen=True)
class StudentT(Prior):
    """Student's t distribution.

    With a scale of 0.3 and 2 degrees of freedom, the continuity prior of Leja
    et al. (2019, ApJ 876, 3) for the `logsfr_ratios` of `Continuity`
    histories.

    Attributes:
        mean (float/list): The centre.
        sigma (float/list): The scale.
        df (float): The degrees of freedom.
    """

    mean: Numbers
    sigma: Numbers
    df: float = 2.0

    _may_depend: ClassVar[tuple[str, ...]] = ("mean", "sigma")

    def quantile(self, u: AnyArray, given: AnyArray | None = None) -> AnyArray:
        """Return the quantiles."""
        mean, sigma = self._numbers(given)
        if isinstance(u, Array):
            return mean + sigma * jnp.sinh(self._table(u))
        return mean + sigma * student_t.ppf(u, self.df)

    def log_density(
        self, values: ArrayLike, given: ArrayLike | None = None
    ) -> Array:
        """Return the logarithm of the density."""
        mean, sigma = self._numbers(given)
        return jax_stats.t.logpdf(jnp.asarray(values), self.df, mean, sigma)

    @cached_property
    def _table(self) -> "_Table":
        """The inverse hyperbolic sine of the quantiles."""
        distribution = student_t(self.df)

        def lower(u: NDArray[np.float64]) -> NDArray[np.float64]:
            return np.arcsinh(distribution.ppf(u))

        def upper(u: NDArray[np.float64]) -> NDArray[np.float64]:
            return np.arcsinh(distribution.isf(u))

        return _Table.from_function(lower, upper)

    def _check(self) -> None:
        check_number("mean of student_t", self.mean, -math.inf)
        check_number("sigma of student_t", self.sigma, 0.0, open_ends=True)
        check_number("df of student_t", self.df, 0.0, open_ends=True)


@dataclass(frozen=True)
class Choice(Prior):
    """One of several values with equal probability.

    Attributes:
        values (sequence of float): The values.
    """

    values: Sequence[float]

    def quantile(self, u: AnyArray, given: AnyArray | None = None) -> AnyArray:
        """Return the quantiles."""
        n = len(self.values)
        values = np.asarray(self.values, np.float64)
        if isinstance(u, Array):
            index = jnp.minimum((n * u).astype(int), n - 1)
            return jnp.asarray(values, float)[index]
        return values[np.minimum((n * np.asarray(u)).astype(int), n - 1)]

    @property
    def ends(self) -> tuple[float, float]:
        """The lowest and the highest value."""
        return float(min(self.values)), float(max(self.values))

    def log_density(
        self, values: ArrayLike, given: ArrayLike | None = None
    ) -> Array:
        """Return the logarithm of the probability of each value."""
        listed = jnp.asarray(self.values, float)
        x = jnp.asarray(values, float)
        equal = jnp.isclose(x[..., None], listed, rtol=1e-6, atol=0.0)
        return jnp.log(equal.mean(axis=-1))

    def _check(self) -> None:
        if not isinstance(self.values, list | tuple) or not self.values:
            raise InconsistentArguments(
                f"choice must be a list of numbers, got {self.values!r}."
            )
        for value in self.values:
            check_number("each of choice", value, -math.inf)


@dataclass(frozen=True)
class Dirichlet(Prior):
    """The latent variables of a symmetric Dirichlet distribution.

    For the `z_fraction` of `Dirichlet` histories: the star formation rates in
    `size` + 1 bins, divided by their sum, then follow the distribution. The
    variables are independent, each with a beta distribution (Leja et al. 2017,
    ApJ 837, 170, section 3).

    Attributes:
        concentration (float): The concentration; 1 for equal probability of
            all fractions.
    """

    concentration: float

    def quantile(self, u: AnyArray, given: AnyArray | None = None) -> AnyArray:
        """Return the quantiles."""
        if isinstance(u, Array):
            columns = [t(u[..., i]) for i, t in enumerate(self._tables)]
            return jax.nn.sigmoid(jnp.stack(columns, axis=-1))
        return beta.ppf(u, self._first, self.concentration)

    def log_density(
        self, values: ArrayLike, given: ArrayLike | None = None
    ) -> Array:
        """Return the logarithm of the density."""
        x = jnp.asarray(values)
        first = jnp.broadcast_to(jnp.asarray(self._first, float), x.shape)
        return jax_stats.beta.logpdf(x, first, self.concentration)

    @property
    def _first(self) -> NDArray[np.float64]:
        """The first parameters of the beta distributions, (size,)."""
        return self.concentration * np.arange(self.dimensions, 0, -1.0)

    @cached_property
    def _tables(self) -> "list[_Table]":
        """The logits of the quantiles of each variable."""
        return [
            _Table.from_function(
                partial(_beta_logit, first, self.concentration),
                partial(_minus_beta_logit, self.concentration, first),
            )
            for first in self._first
        ]

    def _check(self) -> None:
        check_number("dirichlet", self.concentration, 0.0, open_ends=True)
        if self.size is None:
            raise InconsistentArguments(
                "dirichlet needs a size, the number of bins less one, as in "
                "{dirichlet: 1, size: 5}."
            )


@dataclass(frozen=True)
class Fixed(Prior):
    """The same value for all galaxies.

    Attributes:
        value (float/sequence): The value, or an array.
    """

    value: Any

    def __str__(self) -> str:
        """Return the value in YAML, such as `5.0 Gyr`."""
        if self.of is not None:
            return super().__str__()
        return f"{self.value} {self.units}".strip()

    @property
    def is_array(self) -> bool:
        """Whether a galaxy has several values."""
        return np.ndim(self.value) > 0

    @property
    def dimensions(self) -> int:
        """Number of random numbers per galaxy, 0."""
        return 0

    def quantile(self, u: AnyArray, given: AnyArray | None = None) -> AnyArray:
        """Return the value for each row of u, (n, ...)."""
        fixed: NDArray[np.float64] = np.asarray(self.value, np.float64)
        if isinstance(u, Array):
            shape = (*u.shape[:-1], *fixed.shape)
            return jnp.broadcast_to(jnp.asarray(fixed, float), shape)
        return np.broadcast_to(fixed, (len(u), *fixed.shape))

    def log_density(
        self, values: ArrayLike, given: ArrayLike | None = None
    ) -> Array:
        """Return the logarithm of the probability of each value."""
        equal = jnp.isclose(
            jnp.asarray(values, float),
            jnp.asarray(self.value, float),
            rtol=1e-6,
            atol=0.0,
        )
        return jnp.where(equal, 0.0, -jnp.inf)

    def _check(self) -> None:
        if units_of(self.value) != PURE:
            raise InconsistentArguments(
                "A fixed value must have its units in a separate setting, got "
                f"{self.value}: give units='{self.value.units}'."
            )
        try:
            numbers = np.float64(self.value)
            finite = np.size(numbers) > 0 and bool(np.isfinite(numbers).all())
        except (TypeError, ValueError):
            finite = False
        if not finite or isinstance(self.value, bool):
            raise InconsistentArguments(
                "A fixed value must be a finite number or an array of finite "
                f"numbers, got {self.value!r}."
            )
        if self.size is not None:
            raise InconsistentArguments(
                "A fixed value can't have a size: give a list of values."
            )


PRIORS: dict[str, type[Prior]] = {
    "uniform": Uniform,
    "log_uniform": LogUniform,
    "normal": Normal,
    "student_t": StudentT,
    "dirichlet": Dirichlet,
    "choice": Choice,
    "fixed": Fixed,
}


def _beta_logit(
    a: float, b: float, u: NDArray[np.float64]
) -> NDArray[np.float64]:
    """Return the logit of quantiles of a beta distribution."""
    # The other variable is one minus this, with all digits near one.
    return np.log(beta.ppf(u, a, b)) - np.log(beta.isf(u, b, a))


def _minus_beta_logit(
    a: float, b: float, u: NDArray[np.float64]
) -> NDArray[np.float64]:
    """Return minus the logit of quantiles of a beta distribution."""
    return -_beta_logit(a, b, u)


@dataclass(frozen=True, eq=False)
class _Table:
    """A quantile function that JAX can trace, by cubic interpolation.

    Interpolated in logit(u), in which transformed quantiles of common
    distributions are nearly linear towards either end.

    Attributes:
        coefficients (np.ndarray of float): The coefficients of the cubic
            polynomials in each interval, highest power first, (4, n).
    """

    coefficients: NDArray[np.float64]

    @classmethod
    def from_function(
        cls,
        lower: Callable[[NDArray[np.float64]], NDArray[np.float64]],
        upper: Callable[[NDArray[np.float64]], NDArray[np.float64]],
    ) -> "_Table":
        """Tabulate a transformed quantile function.

        Args:
            lower (callable): The function of probabilities up to one half.
            upper (callable): The function of one minus the probabilities
                above.
        """
        knots = np.linspace(-_LARGEST_LOGIT, _LARGEST_LOGIT, _INTERVALS + 1)
        below = knots <= 0.0
        values = np.empty_like(knots)
        values[below] = lower(expit(knots[below]))
        values[~below] = upper(expit(-knots[~below]))
        return cls(PchipInterpolator(knots, values).c)

    def __call__(self, u: Array) -> Array:
        """Return the transformed quantiles."""
        position = jnp.clip(logit(u), -_LARGEST_LOGIT, _LARGEST_LOGIT)
        width = 2.0 * _LARGEST_LOGIT / _INTERVALS
        index = (position + _LARGEST_LOGIT) / width
        index = jnp.clip(index.astype(int), 0, _INTERVALS - 1)
        x = position + _LARGEST_LOGIT - index * width
        a, b, c, d = jnp.asarray(self.coefficients, float)[:, index]
        return ((a * x + b) * x + c) * x + d


def _list_of_numbers(title: str, values: Any) -> list[float]:
    """Return finite numbers without units as a list."""
    try:
        found = np.asarray(values, np.float64)
    except (TypeError, ValueError):
        found = np.array(np.nan)
    if (
        found.ndim != 1
        or not np.isfinite(found).all()
        or (units_of(values) != PURE)
    ):
        raise InconsistentArguments(
            f"{title} must be a list of finite numbers without units, got "
            f"{values!r}."
        )
    return found.tolist()


def _clip(x: AnyArray, low: Any, high: Any) -> AnyArray:
    """Return values within bounds, which rounding may have exceeded."""
    return (jnp if isinstance(x, Array) else np).clip(x, low, high)


def suggest_prior(prior: Prior) -> str:
    """Suggest a prior for a scalar parameter given as a list of numbers.

    Returns:
        str: The end of a message, such as `" Did you mean {uniform: [8,
            12]}?"`; empty if the prior is not a list.
    """
    if not isinstance(prior, Fixed) or np.ndim(prior.value) != 1:
        return ""
    values = np.unique(np.asarray(prior.value, np.float64)).tolist()
    if len(values) == 1:
        return f" Did you mean {values[0]:g}?"
    name = "uniform" if len(prior.value) == 2 else "choice"
    listed = ", ".join(f"{value:g}" for value in values)
    return f" Did you mean {{{name}: [{listed}]}}?"


def _as_lists(value: Any) -> Any:
    """Return a setting with its arrays as lists."""
    if isinstance(value, Mapping):
        return {key: _as_lists(one) for key, one in value.items()}
    return value.tolist() if type(value) is np.ndarray else value


def _check_ascending(
    name: str, low: object, high: object, infinite: bool = False
) -> None:
    """Raise unless two bounds are numbers in ascending order."""
    for value in (low, high):
        if not (infinite and value in (-math.inf, math.inf)):
            check_number(f"a bound of {name}", value, -math.inf)
    if not low < high:  # type: ignore[operator]
        raise InconsistentArguments(
            f"The bounds of {name} must ascend, got {low} and {high}."
        )
