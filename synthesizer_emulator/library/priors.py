"""Prior distributions of parameters.

A prior is sampled with its quantile function, at random numbers between 0 and
1 from `Draws`. The quantile functions of scipy.stats are not used, because
their last digits differ from those of existing libraries.
"""

import math
from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import MISSING, dataclass, fields
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.stats import norm
from synthesizer.exceptions import InconsistentArguments

from synthesizer_emulator.units import PURE, parse_unit, units_of
from synthesizer_emulator.validation import check_number, check_whole


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
    """

    units: str = ""
    of: str | None = None
    size: int | None = None

    def __post_init__(self) -> None:
        """Check the settings.

        Raises:
            InconsistentArguments: If a setting is invalid.
        """
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
        name = next(k for k, v in PRIORS.items() if v is type(self))
        values = numbers[0] if len(numbers) == 1 else numbers
        return f"{{{name}: {values}{options}}}"

    @property
    def is_array(self) -> bool:
        """Whether a galaxy has several values."""
        return self.size is not None

    @property
    def dimensions(self) -> int:
        """Number of random numbers per galaxy."""
        return 1 if self.size is None else self.size

    @abstractmethod
    def quantile(self, u: NDArray[np.float64]) -> NDArray[np.float64]:
        """Return the quantiles: the inverse of the cumulative distribution.

        Args:
            u (np.ndarray of float): Probabilities, 0 to 1, of any shape.

        Returns:
            np.ndarray of float: The values, of the same shape.
        """

    @abstractmethod
    def _check(self) -> None:
        """Raise if the parameters do not define a distribution."""


@dataclass(frozen=True)
class Uniform(Prior):
    """A uniform distribution.

    Attributes:
        low (float): The lowest value.
        high (float): The highest value.
    """

    low: float
    high: float

    def quantile(self, u: NDArray[np.float64]) -> NDArray[np.float64]:
        """Return the quantiles."""
        return self.low + (self.high - self.low) * u

    def _check(self) -> None:
        _check_ascending("uniform", self.low, self.high)


@dataclass(frozen=True)
class LogUniform(Prior):
    """A distribution uniform in the logarithm of the value.

    Attributes:
        low (float): The lowest value, above 0.
        high (float): The highest value.
    """

    low: float
    high: float

    def quantile(self, u: NDArray[np.float64]) -> NDArray[np.float64]:
        """Return the quantiles."""
        return self.low * (self.high / self.low) ** u

    def _check(self) -> None:
        _check_ascending("log_uniform", self.low, self.high)
        check_number("low of log_uniform", self.low, 0.0, open_ends=True)


@dataclass(frozen=True)
class Normal(Prior):
    """A normal distribution, optionally truncated.

    Attributes:
        mean (float): The mean before truncation.
        sigma (float): The standard deviation before truncation.
        low (float): The lowest value.
        high (float): The highest value.
    """

    mean: float
    sigma: float
    low: float = -math.inf
    high: float = math.inf

    def quantile(self, u: NDArray[np.float64]) -> NDArray[np.float64]:
        """Return the quantiles."""
        start = (self.low - self.mean) / self.sigma
        end = (self.high - self.mean) / self.sigma
        # Use the tail in which the digits are kept.
        if start > 0:
            low, high = norm.sf(start), norm.sf(end)
            scaled = norm.isf(low + (high - low) * u)
        else:
            low, high = norm.cdf(start), norm.cdf(end)
            scaled = norm.ppf(low + (high - low) * u)
        return np.clip(self.mean + self.sigma * scaled, self.low, self.high)

    def _check(self) -> None:
        check_number("mean of normal", self.mean, -math.inf)
        check_number("sigma of normal", self.sigma, 0.0, open_ends=True)
        _check_ascending("normal", self.low, self.high, infinite=True)


@dataclass(frozen=True)
class Choice(Prior):
    """One of several values with equal probability.

    Attributes:
        values (sequence of float): The values.
    """

    values: Sequence[float]

    def quantile(self, u: NDArray[np.float64]) -> NDArray[np.float64]:
        """Return the quantiles."""
        n = len(self.values)
        index = np.minimum((n * np.asarray(u)).astype(int), n - 1)
        return np.asarray(self.values, np.float64)[index]

    def _check(self) -> None:
        if not isinstance(self.values, list | tuple) or not self.values:
            raise InconsistentArguments(
                f"choice must be a list of numbers, got {self.values!r}."
            )
        for value in self.values:
            check_number("each of choice", value, -math.inf)


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

    def quantile(self, u: NDArray[np.float64]) -> NDArray[np.float64]:
        """Return the value for each row of u, (n, ...)."""
        value = np.asarray(self.value, np.float64)
        return np.broadcast_to(value, (len(u), *value.shape))

    def _check(self) -> None:
        if units_of(self.value) != PURE:
            raise InconsistentArguments(
                "A fixed value must have its units in a separate setting, got "
                f"{self.value}: give units='{self.value.units}'."
            )
        try:
            finite = bool(np.isfinite(np.float64(self.value)).all())
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
    "choice": Choice,
    "fixed": Fixed,
}


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
