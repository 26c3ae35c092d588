"""Methods of an emulated grid that plot its spectra and its errors."""

from collections.abc import Mapping
from typing import Any

import matplotlib.pyplot as plt
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from synthesizer.emissions import plot_spectra
from synthesizer.exceptions import InconsistentArguments

from synthesizer_emulator.emulator.plots import plot_errors
from synthesizer_emulator.grid.interpolation import InterpolationMethods


class PlotMethods(InterpolationMethods):
    """The methods that plot a grid."""

    def plot_spectra(
        self,
        spectra_to_plot: str | list[str] | tuple[str, ...] | None = None,
        grid_point: tuple[int, ...] | None = None,
        show: bool = False,
        ylimits: tuple = (),
        xlimits: tuple = (),
        figsize: tuple[float, float] = (7.0, 5.0),
        axis_values: Mapping[str, Any] | None = None,
        **kwargs: Any,
    ) -> tuple[Figure, Axes]:
        """Plot spectra of one point of the grid, per unit of its weight.

        As `plot_spectra` of Synthesizer's galaxies and components.

        Args:
            spectra_to_plot (str/list of str): The spectra; all by default.
            grid_point (tuple of int): The indices of a node, as for
                `get_sed_at_grid_point`; by default the middle of each axis.
            show (bool): Whether to show the figure.
            ylimits (tuple): The limits of the luminosity density.
            xlimits (tuple): The limits of the wavelength.
            figsize (tuple): The size of the figure in inches.
            axis_values (dict): Values of axes between the nodes by name (or
                `log10ages` and the like), with units or in those of the
                axis, at which the emulator is evaluated; others are those of
                `grid_point`.
            **kwargs: As for `synthesizer.emissions.plot_spectra`: `fig` and
                `ax`, `label`, `draw_legend`, `quantity_to_plot` ...

        Returns:
            tuple: The figure, and its axes.

        Raises:
            InconsistentArguments: If the grid has no spectra, or
                `grid_point` is not one index for each axis.
            InconsistentParameter: If a spectrum is unknown.
            TypeError: If an axis is unknown.

        Examples:
            >>> from unyt import Myr
            >>> from synthesizer_emulator import EmulatedGrid
            >>> grid = EmulatedGrid.example()
            >>> fig, ax = grid.plot_spectra(
            ...     ["incident", "nebular"], axis_values={"ages": 3 * Myr}
            ... )
        """
        if not self.has_spectra:
            raise InconsistentArguments(
                f"The grid {self.grid_name} was loaded without spectra, so "
                "none can be plotted. Load it with ignore_spectra=False."
            )
        nodes = [self._axes_values[axis] for axis in self.axes]
        if grid_point is None:
            grid_point = tuple(len(values) // 2 for values in nodes)
        if len(grid_point) != len(nodes):
            raise InconsistentArguments(
                "grid_point must have one index for each of the axes "
                f"{', '.join(self.axes)}, got {grid_point}."
            )
        names = (
            list(self.spectra) if spectra_to_plot is None else spectra_to_plot
        )
        names = [names] if isinstance(names, str) else list(names)
        if axis_values:
            given = {axis.removeprefix("log10") for axis in axis_values}
            point: dict[str, Any] = {
                axis: values[i]
                for axis, values, i in zip(
                    self.axes, nodes, grid_point, strict=True
                )
                if axis not in given
            }
            seds = {
                name: self.interpolate_grid_at_axes_value(
                    method="emulator",
                    spectra_type=name,
                    **(point | dict(axis_values)),
                )["spectra"]
                for name in names
            }
        else:
            seds = {
                name: self.get_sed_at_grid_point(grid_point, name)
                for name in names
            }
        if "fig" not in kwargs:
            figure, axes = plt.subplots(figsize=figsize, layout="constrained")
            axes.loglog()
            kwargs = {"fig": figure, "ax": axes, **kwargs}
        return plot_spectra(
            seds if len(seds) > 1 else seds[names[0]],
            show=show,
            ylimits=ylimits,
            xlimits=xlimits,
            figsize=figsize,
            **{"label": names[0], **kwargs} if len(seds) == 1 else kwargs,
        )

    def plot_errors(self) -> tuple[Figure, Axes]:
        """Plot the errors that are stored with the weights.

        Returns:
            tuple: The figure, and its axes: for each emission the median,
                the 99th percentile and the largest fractional error at the
                nodes, or at samples held out of training.

        Examples:
            >>> from synthesizer_emulator import EmulatedGrid
            >>> fig, ax = EmulatedGrid.example().plot_errors()
        """
        weights, provenance = self._weights, self._weights.provenance
        return plot_errors(
            provenance.errors,
            f"{weights.grid_name}, {provenance.architecture}, trained on "
            f"{provenance.trained_on}",
        )
