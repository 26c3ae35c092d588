"""Priors, and the sequences that their values are drawn with.

A prior is the inverse of its cumulative distribution: it takes numbers
between 0 and 1, which `Draws` spreads evenly over all parameters at once.
What a galaxy gets depends on its number alone, not on who draws it.
"""

import math
import warnings
from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import MISSING, dataclass, field, fields
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.stats import norm, qmc
from synthesizer.exceptions import InconsistentArguments

from synthesizer_emulator.units import PURE, parse_unit, units_of
from synthesizer_emulator.validation import (
    check_choice,
    check_memory,
    check_number,
    check_whole,
)

METHODS = ("latin hypercube", "sobol")

# What scipy takes for each number of a hypercube while making it.
_HYPERCUBE_BYTES = 32

# Sobol points are multiples of 2**-_BITS.
_BITS = 30


@dataclass(frozen=True, kw_only=True)
class Prior(ABC):
    """What is known of a parameter beforehand.

    Attributes:
        units (str): The units of its values, as unyt spells them; empty if
            it has none.
        of (str): The parameter that its values are fractions of, such as
            the `max_age` of a history or `age_of_universe`; or None.
        size (int): How many values a galaxy gets, drawn independently; None
            for one that is no array.
    """

    units: str = ""
    of: str | None = None
    size: int | None = None

    def __post_init__(self) -> None:
        """Check the settings.

        Raises:
            InconsistentArguments: If one makes no sense.
        """
        parse_unit(self.units)
        if not isinstance(self.of, str | None):
            raise InconsistentArguments(
                f"'of' must be the name of a parameter, got {self.of!r}."
            )
        if self.of is not None and self.units:
            raise InconsistentArguments(
                f"A fraction of '{self.of}' has no units of its own, got "
                f"'{self.units}'."
            )
        if self.size is not None:
            check_whole("size", self.size, 1)
        self._check()

    def __str__(self) -> str:
        """Return it as YAML says it, as in `{uniform: [0, 1]}`."""
        numbers, options = [], ""
        for entry in fields(self):
            value = getattr(self, entry.name)
            if entry.kw_only or entry.default is not MISSING:
                if value != entry.default:
                    options += f", {entry.name}: {value}"
            else:
                numbers.append(value)
        name = next(k for k, v in PRIORS.items() if v is type(self))
        said = numbers[0] if len(numbers) == 1 else numbers
        return f"{{{name}: {said}{options}}}"

    @property
    def is_array(self) -> bool:
        """Whether a galaxy gets several values."""
        return self.size is not None

    @property
    def dimensions(self) -> int:
        """How many numbers are drawn for a galaxy."""
        return 1 if self.size is None else self.size

    @abstractmethod
    def quantile(self, u: NDArray[np.float64]) -> NDArray[np.float64]:
        """Return the values below which parts of the probability lie.

        Args:
            u (np.ndarray of float): The parts, 0 to 1, of any shape.
        """

    @abstractmethod
    def _check(self) -> None:
        """Refuse numbers that can't be meant."""


@dataclass(frozen=True)
class Uniform(Prior):
    """Every value between two is as likely.

    Attributes:
        low (float): The lowest.
        high (float): The highest.
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
    """The logarithm of every value between two is as likely.

    Attributes:
        low (float): The lowest, above 0.
        high (float): The highest.
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
    """A normal distribution, truncated where it has bounds.

    Attributes:
        mean (float): The mean before it is truncated.
        sigma (float): The standard deviation before it is truncated.
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
        # From whichever tail keeps the digits.
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
        for bound in (self.low, self.high):
            if not math.isinf(_number("normal", bound)):
                check_number("a bound of normal", bound, -math.inf)
        if not self.low < self.high:
            raise InconsistentArguments(
                f"The bounds of normal have to ascend, got {self.low} and "
                f"{self.high}."
            )


@dataclass(frozen=True)
class Choice(Prior):
    """One of some values, each as likely.

    Attributes:
        values (sequence of float): They.
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
                f"choice needs a list of numbers, got {self.values!r}."
            )
        for value in self.values:
            check_number("each of choice", value, -math.inf)


@dataclass(frozen=True)
class Fixed(Prior):
    """The same value for all galaxies.

    Attributes:
        value (float/sequence): It; an array for a parameter that is one.
    """

    value: Any

    def __str__(self) -> str:
        """Return it as YAML says it, as in `5.0 Gyr`."""
        if self.of is not None:
            return super().__str__()
        return f"{self.value} {self.units}".strip()

    @property
    def is_array(self) -> bool:
        """Whether a galaxy gets several values."""
        return np.ndim(self.value) > 0

    @property
    def dimensions(self) -> int:
        """Nothing is drawn."""
        return 0

    def quantile(self, u: NDArray[np.float64]) -> NDArray[np.float64]:
        """Return the value once for each of u, (n, ...)."""
        value = np.asarray(self.value, np.float64)
        return np.broadcast_to(value, (len(u), *value.shape))

    def _check(self) -> None:
        if units_of(self.value) != PURE:
            raise InconsistentArguments(
                f"A fixed value has its units apart, got {self.value}: give "
                f"units='{self.value.units}'."
            )
        try:
            finite = bool(np.isfinite(np.float64(self.value)).all())
        except (TypeError, ValueError):
            finite = False
        if not finite or isinstance(self.value, bool):
            raise InconsistentArguments(
                "A fixed value must be a finite number, or an array of such, "
                f"got {self.value!r}."
            )
        if self.size is not None:
            raise InconsistentArguments(
                "A fixed value has no size: give a list of values."
            )


PRIORS: dict[str, type[Prior]] = {
    "uniform": Uniform,
    "log_uniform": LogUniform,
    "normal": Normal,
    "choice": Choice,
    "fixed": Fixed,
}


@dataclass(frozen=True)
class Draws:
    """How parameters are drawn.

    Attributes:
        n (int): For how many galaxies.
        method (str): `sobol`, a scrambled Sobol sequence, or `latin
            hypercube`.
        seed (int): Of all that is random.

    Examples:
        >>> Draws(8, "latin hypercube", seed=3).rows(slice(2, 4), 5).shape
        (2, 5)
    """

    n: int
    method: str = "sobol"
    seed: int = 0
    _kept: dict[int, NDArray[np.float64]] = field(
        default_factory=dict, init=False, repr=False, compare=False
    )

    def __post_init__(self) -> None:
        """Check the settings.

        Raises:
            InconsistentArguments: If one makes no sense.
        """
        check_whole("n of draws", self.n, 1)
        if self.n > 2**_BITS:
            raise InconsistentArguments(
                f"n of draws must be at most {2**_BITS}, as many points as a "
                f"Sobol sequence has, got {self.n}: each parameter alone "
                f"would take {8 * self.n / 1e9:.3g} GB. Make several "
                "libraries with seeds of their own."
            )
        check_choice("method of draws", self.method, METHODS)
        check_whole("seed of draws", self.seed, 0)

    def rows(self, which: slice, dimensions: int) -> NDArray[np.float64]:
        """Return numbers between 0 and 1 for some galaxies.

        Args:
            which (slice): The galaxies.
            dimensions (int): How many numbers each needs.

        Returns:
            np.ndarray of float: Shape (len, dimensions). A galaxy's do not
                depend on which others are asked for.

        Raises:
            InconsistentArguments: If a Sobol sequence has not so many
                dimensions, or a hypercube takes more memory than there is.
        """
        if not dimensions:
            return np.empty((which.stop - which.start, 0))
        if self.method == "sobol":
            if dimensions > qmc.Sobol.MAXDIM:
                raise InconsistentArguments(
                    f"A Sobol sequence has at most {qmc.Sobol.MAXDIM} numbers "
                    f"a galaxy, got {dimensions}: give a smaller size."
                )
            sequence = qmc.Sobol(dimensions, seed=self.seed, bits=_BITS)
            with warnings.catch_warnings():
                # That its balance needs a power of two is known.
                warnings.simplefilter("ignore", UserWarning)
                if which.start:
                    sequence.fast_forward(which.start)
                points = sequence.random(which.stop - which.start)
            # In the middle of their cells, never at 0.
            return points + 0.5**_BITS / 2
        # A hypercube exists as a whole only.
        if dimensions not in self._kept:
            check_memory(
                f"A Latin hypercube of {self.n} galaxies with {dimensions} "
                "parameters",
                _HYPERCUBE_BYTES * self.n * dimensions,
                "draw fewer, or with the method sobol",
            )
            hypercube = qmc.LatinHypercube(dimensions, seed=self.seed)
            self._kept[dimensions] = hypercube.random(self.n)
        return self._kept[dimensions][which]


def did_you_mean(prior: Prior) -> str:
    """Return the question which prior was meant by a list of numbers.

    Args:
        prior (Prior): What was given, for a parameter that is one number.

    Returns:
        str: As `" Did you mean {uniform: [8, 12]}?"`; empty if it is no list
            that could mean one.
    """
    if not isinstance(prior, Fixed) or np.ndim(prior.value) != 1:
        return ""
    values = np.unique(np.asarray(prior.value, np.float64)).tolist()
    if len(values) == 1:
        return f" Did you mean {values[0]:g}?"
    name = "uniform" if len(prior.value) == 2 else "choice"
    said = ", ".join(f"{value:g}" for value in values)
    return f" Did you mean {{{name}: [{said}]}}?"


def _check_ascending(name: str, low: object, high: object) -> None:
    """Refuse bounds that do not ascend."""
    for value in (low, high):
        check_number(f"a bound of {name}", value, -math.inf)
    if not low < high:  # type: ignore[operator]
        raise InconsistentArguments(
            f"The bounds of {name} have to ascend, got {low} and {high}."
        )


def _number(name: str, value: object) -> float:
    """Return a number that may be infinite."""
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise InconsistentArguments(
            f"A bound of {name} must be a number, got {value!r}."
        )
    return float(value)
