"""The ends of the axes of an emission model's grids.

Galaxies beyond them can't be made, so priors are compared with them first.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray
from synthesizer.emission_models import EmissionModel
from synthesizer.exceptions import InconsistentArguments
from synthesizer.grid import Grid

from synthesizer_emulator.galaxies.node_spectra import is_logged
from synthesizer_emulator.galaxies.parameter_names import (
    axis_names,
    free_axes,
)
from synthesizer_emulator.galaxies.remedies import check_stellar_axes
from synthesizer_emulator.galaxies.tree import grids_of

# The tolerance at the ends of an axis for rounding, relative to the value
# there, or to the length of an axis that is not logged.
_SLACK = 1e-6


@dataclass(frozen=True, eq=False)
class AxisLimits:
    """The ends of an axis of a grid beyond age and metallicity.

    Attributes:
        axis (str): The name of the axis, e.g. `ionisation_parameters`.
        low (float): The lowest value in the units of the axis, not logged.
        high (float): The highest value.
        grid (Grid): The grid.
    """

    axis: str
    low: float
    high: float
    grid: Grid

    @classmethod
    def from_grid(cls, grid: Grid, axis: str) -> Self:
        """Return the ends of an axis of a grid."""
        nodes = np.asarray(grid._axes_values[axis], np.float64)
        if is_logged(grid, axis):
            return cls(axis, *_ends(nodes), grid)
        slack = _SLACK * float(nodes[-1] - nodes[0])
        return cls(
            axis, float(nodes[0]) - slack, float(nodes[-1]) + slack, grid
        )

    @property
    def units(self) -> str:
        """The units of the axis."""
        return str(self.grid._axes_units[self.axis])

    def is_inside(self, values: Any) -> Any:
        """Whether values, not logged, are within the axis; True for NaN."""
        return ~((values < self.low) | (values > self.high))


@dataclass(frozen=True)
class GridLimits:
    """The ends of the axes of the grids of an emission model.

    Attributes:
        ages (tuple of float): The lowest and highest age, yr.
        metallicities (tuple of float): The lowest and highest metallicity.
        others (tuple of AxisLimits): The other axes on which each galaxy
            needs a value.
    """

    ages: tuple[float, float]
    metallicities: tuple[float, float]
    others: tuple[AxisLimits, ...] = ()

    @classmethod
    def from_model(
        cls, model: EmissionModel, emissions: Iterable[str]
    ) -> Self:
        """Return the limits of the grids of an emission model.

        Args:
            model (EmissionModel): The model.
            emissions (iterable of str): The labels of the emissions wanted.

        Raises:
            InconsistentArguments: If the first axes of a grid are not age
                and metallicity.
            MissingSpectraType: If the model has no emission of a given
                label.
        """
        grids = grids_of(model)
        for grid in grids:
            check_stellar_axes(grid)
        others: dict[str, AxisLimits] = {}
        for grid, axis in free_axes(model, emissions):
            one = AxisLimits.from_grid(grid, axis)
            narrow = others.get(axis, one)
            others[axis] = AxisLimits(
                axis,
                max(one.low, narrow.low),
                min(one.high, narrow.high),
                narrow.grid,
            )
        ages = 10.0 ** grids[0].log10ages
        return cls(
            _ends(ages), _ends(grids[0].metallicities), tuple(others.values())
        )

    def of_parameter(self, name: str) -> AxisLimits | None:
        """Return the axis of which a parameter is the value, if any."""
        for other in self.others:
            if name in axis_names(other.axis):
                return other
        return None

    def by_parameter(self, names: Iterable[str]) -> dict[str, AxisLimits]:
        """Return the axes of which parameters are the values, by parameter.

        Raises:
            InconsistentArguments: If two parameters are the values of one
                axis.
        """
        found: dict[str, AxisLimits] = {}
        for name in names:
            limits = self.of_parameter(name)
            if limits is None:
                continue
            for other in found:
                if found[other] is limits:
                    raise InconsistentArguments(
                        f"'{other}' and '{name}' are both values on the "
                        f"grid's axis '{limits.axis}': keep one."
                    )
            found[name] = limits
        return found


def _ends(nodes: NDArray) -> tuple[float, float]:
    """Return the first and last node, with a tolerance for rounding."""
    return (1 - _SLACK) * float(nodes[0]), (1 + _SLACK) * float(nodes[-1])
