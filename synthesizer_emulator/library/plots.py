"""The plot of a library: its parameters and its outputs."""

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
from numpy.typing import NDArray

from synthesizer_emulator.emulator.plots import COLOURS

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

# The quantiles of the outputs: the central 95% and 68%, and the median.
_QUANTILES = (0.025, 0.16, 0.5, 0.84, 0.975)

# The largest number of panels in a row.
_COLUMNS = 4

_COLOUR = COLOURS[0]

# Longer labels of bands and lines are written upright; outputs of few need
# only half of a row.
_LONGEST = 40
_FEW = 4


class Panel(NamedTuple):
    """One output of the galaxies of a library.

    Attributes:
        name (str): The output and the emission, `photometry/total`.
        units (str): The units.
        values (np.ndarray of float): The output, (n, n_values).
        at (np.ndarray of float/list of str): The wavelengths in Angstrom, or
            the codes of the filters or lines, (n_values,).
    """

    name: str
    units: str
    values: NDArray[np.float64]
    at: NDArray[np.float64] | Sequence[str]


def plot_library(
    parameters: Mapping[str, tuple[NDArray[np.float64], str]],
    outputs: Sequence[Panel],
    title: str,
) -> tuple["Figure", list["Axes"]]:
    """Plot histograms of parameters, and the ranges of outputs.

    Args:
        parameters (Mapping): The values (n,) and the units of parameters, by
            name.
        outputs (list of Panel): The outputs.
        title (str): The title.

    Returns:
        tuple: The figure, and the axes of its panels.
    """
    # Imported here, so that libraries can be made without it.
    import matplotlib.pyplot as plt

    rows = -(-len(parameters) // _COLUMNS)
    places, below = _places(outputs)
    figure = plt.figure(
        figsize=(8.0, 1.8 * rows + 2.8 * below + 0.3),
        layout="constrained",
    )
    parts = figure.add_gridspec(
        rows + below,
        _COLUMNS,
        height_ratios=[1.7] * rows + [2.8] * below,
    )
    panels = []
    for i, (name, (values, units)) in enumerate(parameters.items()):
        if units == "yr":
            # Ten digits do not fit below the axis.
            values, units = values / 1e9, "Gyr"
        axes = figure.add_subplot(parts[divmod(i, _COLUMNS)])
        axes.hist(
            values[np.isfinite(values)],
            bins=30,
            color=_COLOUR,
            histtype="stepfilled",
        )
        axes.set_yticks([])
        label = "" if units == "dimensionless" else units
        axes.set_xlabel(f"{name}\n{label}", fontsize=8)
        axes.tick_params(labelsize=7)
        panels.append(axes)
    for output, (row, columns) in zip(outputs, places, strict=True):
        axes = figure.add_subplot(parts[rows + row, columns])
        _plot_output(axes, output)
        panels.append(axes)
    figure.suptitle(title, fontsize=9)
    return figure, panels


def _places(outputs: Sequence[Panel]) -> tuple[list[tuple[int, slice]], int]:
    """Return the row and the columns of each output, and the number of rows.

    Outputs of few values share a row.
    """
    places = []
    row, used = -1, _COLUMNS
    for output in outputs:
        few = len(output.at) <= _FEW
        width = _COLUMNS // 2 if few else _COLUMNS
        if used + width > _COLUMNS:
            row, used = row + 1, 0
        places.append((row, slice(used, used + width)))
        used += width
    return places, row + 1


def _plot_output(axes: "Axes", output: Panel) -> None:
    """Plot the median of an output, and its central 68% and 95%."""
    values = np.where(np.isfinite(output.values), output.values, np.nan)
    lowest, low, middle, high, highest = np.nanquantile(
        values, _QUANTILES, axis=0
    )
    axes.set_yscale("log" if np.nanmin(middle) > 0.0 else "symlog")
    if isinstance(output.at, np.ndarray):
        x = output.at / 1e4
        bands = ((lowest, highest, 0.2, "95%"), (low, high, 0.4, "68%"))
        for bottom, top, alpha, label in bands:
            axes.fill_between(
                x, bottom, top, alpha=alpha, lw=0, color=_COLOUR, label=label
            )
        axes.plot(x, middle, color=_COLOUR, linewidth=0.9, label="median")
        axes.set_xscale("log")
        axes.set_xlabel(r"wavelength / $\mu$m")
        peak = np.nanmax(highest)
        axes.set_yscale("log")
        axes.set_ylim(1e-5 * peak, 3.0 * peak)
        bright = x[highest > 1e-5 * peak]
        axes.set_xlim(bright[0], bright[-1])
    else:
        x = np.arange(len(output.at), dtype=float)
        axes.vlines(
            x, lowest, highest, color=_COLOUR, alpha=0.35, lw=3, label="95%"
        )
        axes.vlines(x, low, high, color=_COLOUR, lw=3, label="68%")
        axes.plot(
            x,
            middle,
            "o",
            color="white",
            markeredgecolor=_COLOUR,
            markersize=5,
            label="median",
        )
        upright = sum(map(len, output.at)) > _LONGEST
        axes.set_xticks(
            x, output.at, rotation=90 if upright else 0, fontsize=8
        )
        axes.set_xlim(-0.5, len(x) - 0.5)
    name = output.name
    if output.units != "dimensionless":
        name += f" / ({output.units})"
    axes.set_ylabel(name, fontsize=8)
    # Above, where no galaxy is and all columns stay as wide.
    axes.legend(
        frameon=False,
        fontsize=8,
        ncols=3,
        loc="lower right",
        bbox_to_anchor=(1.0, 1.0),
        borderaxespad=0.0,
    )
