"""The unit hypercube of the parameters of a fit."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from synthesizer.exceptions import InconsistentArguments

from synthesizer_emulator.library.parameters import Parameters
from synthesizer_emulator.library.sampler import Sampler
from synthesizer_emulator.units import in_units
from synthesizer_emulator.validation import nearest

# The steps of the bisection for a known value: to 2^-50 of the hypercube.
_BISECTIONS = 50


@dataclass(frozen=True, eq=False)
class Hypercube:
    """The unit hypercube, in which the prior of a fit is uniform.

    Its first dimensions are those of the parameters of a galaxy, and the last
    those of the likelihood of a spectrum.

    Attributes:
        sampler (Sampler): The parameters of a galaxy.
        of_spectrum (Parameters): Those of a spectrum.
    """

    sampler: Sampler
    of_spectrum: Parameters

    @property
    def of_galaxy(self) -> Parameters:
        """The parameters of a galaxy."""
        return self.sampler.parameters

    @property
    def dimensions(self) -> int:
        """The number of dimensions."""
        return self.of_galaxy.dimensions + self.of_spectrum.dimensions

    @property
    def names(self) -> tuple[str, ...]:
        """The names of the dimensions."""
        names: list[str] = []
        for p in (*self.of_galaxy, *self.of_spectrum):
            name = _short(p.path)
            if p.prior.size is None:
                names += [name] * p.prior.dimensions
            else:
                names += [f"{name}[{i}]" for i in range(p.prior.size)]
        return tuple(names)

    @property
    def units(self) -> dict[str, str]:
        """The units of the parameters by name."""
        units = self.of_galaxy.units() | self.of_spectrum.units()
        return {_short(path): unit for path, unit in units.items()}

    def parameters(
        self, points: NDArray[np.float64]
    ) -> dict[str, NDArray[np.float64]]:
        """Return the free parameters at points, (n, d).

        They are in the units of their priors, with fractions converted to
        values, as in a library.
        """
        points = np.asarray(points, np.float64)
        n = self.of_galaxy.dimensions
        _, columns = self.sampler.at(points[:, :n])
        _, others = self.of_spectrum.at(points[:, n:])
        return {
            _short(path): np.asarray(values)
            for path, values in (columns | others).items()
        }

    def points(
        self, known: Mapping[str, Any]
    ) -> tuple[NDArray[np.float64], NDArray[np.int64]]:
        """Return points with known values of parameters.

        Args:
            known (Mapping): The values by the names of parameters, with units
                or in those of their priors, (n,).

        Returns:
            tuple: The points, (n, d), whose other coordinates are one half;
                and the indices of the free dimensions, (d - n_known,).

        Raises:
            InconsistentArguments: If a name is not that of a parameter with
                one number per galaxy, its prior depends on others, or a value
                is beyond its prior.
            IncorrectUnits: If a value has wrong units.
        """
        values = {
            name: self._plain(name, value) for name, value in known.items()
        }
        n = len(next(iter(values.values()), np.empty(1)))
        points = np.full((n, self.dimensions), 0.5)
        for name, value in values.items():
            points[:, self._dimension(name)] = self._quantiles(name, value)
        free = [i for i, name in enumerate(self.names) if name not in known]
        return points, np.array(free, int)

    def _plain(self, name: str, value: Any) -> NDArray[np.float64]:
        """Return known values of a parameter in the units of its prior."""
        self._dimension(name)
        numbers = in_units(f"Known '{name}'", value, self.units[name])
        if np.asarray(numbers).dtype.kind not in "iuf":
            raise InconsistentArguments(
                f"Known '{name}' must be a number, got {value!r}."
            )
        return np.atleast_1d(np.asarray(numbers, np.float64))

    def _dimension(self, name: str) -> int:
        """Return the dimension of a parameter with one number per galaxy."""
        if self.names.count(name) != 1:
            raise InconsistentArguments(
                "Known parameters must be among those with one number per "
                f"galaxy, {', '.join(self.names)}; got '{name}'."
                + nearest(name, self.names)
            )
        return self.names.index(name)

    def _quantiles(
        self, name: str, values: NDArray[np.float64]
    ) -> NDArray[np.float64]:
        """Return the quantiles of a prior that give some values, (n,)."""
        i = self._dimension(name)

        def at(u: NDArray[np.float64], others: float) -> NDArray[np.float64]:
            points = np.full((len(u), self.dimensions), others)
            points[:, i] = u
            return self.parameters(points)[name]

        some = np.array([0.25, 0.75])
        if not np.array_equal(at(some, 0.3), at(some, 0.7)):
            raise InconsistentArguments(
                f"The prior of '{name}' depends on another parameter, so it "
                "can't be known for a galaxy. Give it a prior of its own."
            )
        low, high = np.zeros(len(values)), np.ones(len(values))
        beyond = ~((at(low, 0.5) <= values) & (values <= at(high, 0.5)))
        if beyond.any():
            raise InconsistentArguments(
                f"Known values of '{name}' must be within its prior, "
                f"{at(low, 0.5)[0]:g} to {at(high, 0.5)[0]:g}; got "
                f"{values[beyond][0]:g}."
            )
        for _ in range(_BISECTIONS):
            middle = 0.5 * (low + high)
            is_below = at(middle, 0.5) < values
            low = np.where(is_below, middle, low)
            high = np.where(is_below, high, middle)
        return 0.5 * (low + high)


def value_range(parameters: Parameters, name: str) -> tuple[float, float]:
    """Return the lowest and the highest value of a parameter."""
    parameter = next(p for p in parameters if p.name == name)
    ends = parameter.to_plain(np.array(parameter.prior.ends))
    if not np.isfinite(ends).all():
        raise InconsistentArguments(
            f"The prior of '{name}' must be bounded for a spectrum, got "
            f"{parameter.prior}. Give it a lowest and a highest value."
        )
    return float(ends[0]), float(ends[1])


def _short(path: str) -> str:
    """Return the name of a parameter from its path in a library."""
    return path.removeprefix("parameters/")
