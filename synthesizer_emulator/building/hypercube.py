"""A Latin hypercube of samples between the nodes of a grid."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from scipy.interpolate import RegularGridInterpolator
from scipy.stats import qmc
from synthesizer.grid import Grid

from synthesizer_emulator.architectures.samples import EmissionSamples
from synthesizer_emulator.architectures.training import (
    TrainingConfig,
)
from synthesizer_emulator.building.grid_nodes import GridNodes
from synthesizer_emulator.building.learned import (
    describe_columns,
    error_weights,
)
from synthesizer_emulator.emulator.scaling import AxisDomain, Coordinates
from synthesizer_emulator.gridfile.header import GridHeader
from synthesizer_emulator.gridfile.nodes import with_all_axes
from synthesizer_emulator.validation import check_whole


@dataclass(frozen=True)
class Hypercube:
    """A Latin hypercube of samples between the nodes of a grid.

    It is drawn in the scaled coordinates of the axes. The fluxes are
    interpolated linearly between the nodes by Synthesizer, as in simulacra.

    Attributes:
        grid (GridNodes): The grid.
        size (int): The number of samples.
        seed (int): The seed of the draw.
    """

    grid: GridNodes
    size: int
    seed: int

    def __post_init__(self) -> None:
        """Check the number of samples.

        Raises:
            InconsistentArguments: If it is smaller than two.
        """
        check_whole("latin_hypercube", self.size, 2)

    @property
    def path(self) -> Path:
        """The grid file."""
        return self.grid.path

    @property
    def header(self) -> GridHeader:
        """The header of the grid."""
        return self.grid.header

    @property
    def emissions(self) -> tuple[str, ...]:
        """The paths of the emissions to learn."""
        return self.grid.emissions

    @property
    def domain(self) -> tuple[AxisDomain, ...]:
        """The range of the nodes along each axis."""
        return self.grid.domain

    @property
    def on_nodes(self) -> bool:
        """False: the samples are not the nodes of the grid."""
        return False

    @property
    def description(self) -> str:
        """The number of samples, and the range of wavelengths if not all."""
        cut = describe_columns(self.header, self.grid.native.columns)
        return f"Latin hypercube of {self.size} between the nodes{cut}"

    def check(self) -> None:
        """Read and check all emissions."""
        self.grid.check()

    def source_hash(self) -> str:
        """Return the SHA-256 of the grid file, in hexadecimal."""
        return self.grid.source_hash()

    def samples(self, emission: str, softening: float) -> EmissionSamples:
        """Interpolate one emission to the samples, scaled for training."""
        values = self.grid.read(emission)
        nodes = self.grid.scaled_nodes(emission)
        has_emission = (values.max(axis=-1) > 0).reshape(*map(len, nodes))
        draw = qmc.LatinHypercube(len(nodes), rng=self.seed).random(self.size)
        points = 2.0 * draw - 1.0
        # Next to nodes without emission the interpolated fluxes fall to zero,
        # which the emulator models with a separate mask.
        points = points[_all_corners(nodes, has_emission, points)]
        return EmissionSamples.from_points(
            nodes,
            has_emission,
            points,
            self._interpolated(values, self._axis_values(emission, points)),
            error_weights(self.header, emission),
            softening,
        )

    def truth(
        self, emission: str, training: TrainingConfig
    ) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """Return the axis values and fluxes of all nodes."""
        return self.grid.truth(emission, training)

    def _axis_values(
        self, emission: str, points: NDArray[np.float64]
    ) -> NDArray[np.float64]:
        """Return the values of all axes, (m, d), at points of an emission.

        The points (m, k) are coordinates on the axes on which it depends.
        """
        full = np.zeros((len(points), len(self.domain)))
        full[:, list(self.header.varying_axes(emission))] = points
        return Coordinates(self.domain).to_values(full)

    def _interpolated(
        self, values: NDArray[np.float64], points: NDArray[np.float64]
    ) -> NDArray[np.float64]:
        """Interpolate node values to points (m, d) by Synthesizer, (m, n)."""
        grid = Grid(
            self.grid.grid_name,
            grid_dir=self.path.parent,
            ignore_spectra=True,
            ignore_lines=True,
        )
        columns = {
            axis.name: np.log10(column) if axis.log_on_read else column
            for axis, column in zip(self.header.axes, points.T, strict=True)
        }
        # Synthesizer interpolates only arrays with all axes.
        values = with_all_axes(values, self.header.shape)
        # The public method interpolates only arrays that belong to the grid,
        # and would load all of them.
        return np.asarray(grid._interpolate_grid_array(values, columns))


def _all_corners(
    nodes: Sequence[NDArray],
    has_emission: NDArray[np.bool_],
    points: NDArray[np.float64],
) -> NDArray[np.bool_]:
    """Return a mask of points with emission at all corners of their cell.

    If no point has, the mask contains only the first.
    """
    fraction = RegularGridInterpolator(
        [np.asarray(n, np.float64) for n in nodes],
        has_emission.astype(np.float64),
        bounds_error=False,
        fill_value=None,
    )(points)
    inside = fraction > 1.0 - 1e-6
    inside[0] |= not inside.any()
    return inside
