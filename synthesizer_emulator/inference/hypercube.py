"""The unit hypercube of the parameters of a fit."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from synthesizer.exceptions import InconsistentArguments

from synthesizer_emulator.library.parameters import (
    AGE_OF_UNIVERSE,
    Parameters,
)
from synthesizer_emulator.units import PURE, in_units
from synthesizer_emulator.validation import nearest

# The steps of the bisection for a known value: to 2^-50 of the hypercube.
_BISECTIONS = 50


@dataclass(frozen=True, eq=False)
class Hypercube:
    """The unit hypercube, in which the prior of a fit is uniform.

    Its first dimensions are those of the parameters of a galaxy, and the last
    those of the likelihood of a spectrum.

    Attributes:
        everything (Parameters): The parameters of a galaxy, and those of a
            spectrum.
    """

    everything: Parameters

    @property
    def dimensions(self) -> int:
        """The number of dimensions."""
        return self.everything.dimensions

    @property
    def names(self) -> tuple[str, ...]:
        """The names of the dimensions."""
        names: list[str] = []
        for p in self.everything:
            name = _short(p.path)
            if p.prior.size is None:
                names += [name] * p.prior.dimensions
            else:
                names += [f"{name}[{i}]" for i in range(p.prior.size)]
        return tuple(names)

    @property
    def units(self) -> dict[str, str]:
        """The units of the parameters by name."""
        units = self.everything.units()
        return {_short(path): unit for path, unit in units.items()}

    def parameters(
        self, points: NDArray[np.float64]
    ) -> dict[str, NDArray[np.float64]]:
        """Return the free parameters at points, (n, d).

        They are in the units of their priors, with fractions converted to
        values, as in a library.
        """
        points = np.asarray(points, np.float64)
        _, columns = self.everything.at(points)
        return {
            _short(path): np.asarray(values)
            for path, values in columns.items()
        }

    def points(
        self, known: Mapping[str, Any], ids: NDArray | None = None
    ) -> tuple[NDArray[np.float64], NDArray[np.int64]]:
        """Return points with known values of parameters.

        Args:
            known (Mapping): The values by the names of parameters, with units
                or in those of their priors, (n,).
            ids (np.ndarray): The names of the galaxies, for messages, (n,).

        Returns:
            tuple: The points, (n, d), whose other coordinates are one half;
                and the indices of the free dimensions, (d - n_known,).

        Raises:
            InconsistentArguments: If a name is not that of a parameter with
                one number per galaxy, its prior depends on others that are
                not known, or a value is beyond its prior.
            IncorrectUnits: If a value has wrong units.
        """
        pending = {
            name: self.plain(name, value) for name, value in known.items()
        }
        n = len(next(iter(pending.values()), np.empty(1)))
        points = np.full((n, self.dimensions), 0.5)
        free = [i for i, name in enumerate(self.names) if name not in known]
        while pending and n:
            # Those that others depend on come first, as the redshift for an
            # age that is a fraction of that of the Universe.
            open_ones = [*free, *map(self.dimension, pending)]
            ready = [
                name
                for name in pending
                if not self._depends(name, points[:1], open_ones)
            ]
            if not ready:
                raise self._dependent(next(iter(pending)))
            for name in ready:
                points[:, self.dimension(name)] = self._quantiles(
                    name, pending.pop(name), points, ids
                )
        return points, np.array(free, int)

    def dimension(self, name: str) -> int:
        """Return the dimension of a parameter with one number per galaxy.

        Raises:
            InconsistentArguments: If there is none of that name.
        """
        if self.names.count(name) != 1:
            raise InconsistentArguments(
                "Known parameters must be among those with one number per "
                f"galaxy, {', '.join(self.names)}; got '{name}'."
                + nearest(name, self.names)
            )
        return self.names.index(name)

    def plain(self, name: str, value: Any) -> NDArray[np.float64]:
        """Return known values of a parameter in the units of its prior."""
        self.dimension(name)
        numbers = in_units(f"Known '{name}'", value, self.units[name])
        if np.asarray(numbers).dtype.kind not in "iuf":
            raise InconsistentArguments(
                f"Known '{name}' must be a number, got {value!r}."
            )
        return np.atleast_1d(np.asarray(numbers, np.float64))

    def _depends(
        self, name: str, point: NDArray[np.float64], others: list[int]
    ) -> bool:
        """Whether a parameter varies with dimensions other than its own.

        Args:
            name (str): The parameter.
            point (np.ndarray of float): A point, (1, d).
            others (list of int): The dimensions.
        """
        i = self.dimension(name)
        points = np.tile(point, (4, 1))
        points[:, others] = np.array([0.3, 0.3, 0.7, 0.7])[:, None]
        points[:, i] = [0.25, 0.75, 0.25, 0.75]
        values = self.parameters(points)[name]
        return not np.array_equal(values[:2], values[2:])

    def _dependent(self, name: str) -> InconsistentArguments:
        """Return the error for a parameter that depends on unknown ones."""
        parameter = next(p for p in self.everything if _short(p.path) == name)
        of = parameter.prior.of
        if of is None:
            return InconsistentArguments(
                f"The prior of '{name}' depends on another parameter, so it "
                "can't be known for a galaxy unless that one is. Give that "
                "too, or a prior of its own."
            )
        whole = "redshift" if of == AGE_OF_UNIVERSE else of
        return InconsistentArguments(
            f"'{name}' is a fraction of '{of}', so it can't be known for a "
            f"galaxy unless the {whole} is. Give that too, or '{name}' a "
            f"prior in {self.units[name]}, without of."
        )

    def _quantiles(
        self,
        name: str,
        values: NDArray[np.float64],
        points: NDArray[np.float64],
        ids: NDArray | None,
    ) -> NDArray[np.float64]:
        """Return the quantiles of a prior that give some values, (n,).

        What is known of other parameters is in the points, (n, d).
        """
        i, whole = self.dimension(name), points.copy()

        def at(u: NDArray[np.float64]) -> NDArray[np.float64]:
            whole[:, i] = u
            return self.parameters(whole)[name]

        low, high = np.zeros(len(values)), np.ones(len(values))
        lowest, highest = at(low), at(high)
        beyond = np.flatnonzero(~((lowest <= values) & (values <= highest)))
        if len(beyond):
            j = beyond[0]
            units = self.units[name]
            raise InconsistentArguments(
                f"Known values of '{name}' must be within its prior, "
                f"{lowest[j]:g} to {highest[j]:g}"
                f"{'' if units == PURE else f' {units}'}; got {values[j]:g}"
                + (
                    "."
                    if ids is None
                    else f" for '{ids[j]}', and values beyond it for "
                    f"{len(beyond) - 1} others. Widen the prior, or mask them."
                )
            )
        for _ in range(_BISECTIONS):
            middle = 0.5 * (low + high)
            is_below = at(middle) < values
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
