"""Figures of the errors of derived quantities and of magnitudes."""

from collections.abc import Mapping, Sequence

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from synthesizer_emulator.evaluation.measures.magnitudes import (
    PhotometryErrors,
)
from synthesizer_emulator.evaluation.measures.quantities import (
    QUANTITIES,
    QuantityErrors,
)
from synthesizer_emulator.evaluation.report.figures.panels import (
    QUANTILES,
    new_figure,
    shown_range,
    spread_ticks,
    styled,
    tick_text,
    tiled,
)
from synthesizer_emulator.gridfile.header import Axis
from synthesizer_emulator.gridfile.labels import Label


@styled
def derived_quantities(
    spectrum: str,
    quantities: Mapping[str, QuantityErrors],
    axes: Sequence[Axis],
) -> Figure:
    """Draw errors of derived quantities against the first axis.

    Colours show the value of the second axis.
    """
    figure, panels, columns = tiled(len(quantities), 3.6, 2.2, most=2)
    shape = next(iter(quantities.values())).errors.shape
    first, second = Label(axes[0]), Label(axes[min(1, len(shape) - 1)])
    at, *indices = np.indices(shape)
    colours = indices[0] if indices else at
    at = axes[0].values[at]
    for panel, (name, errors) in zip(panels, quantities.items(), strict=True):
        factor = 100 if errors.fractional else 1
        points = panel.scatter(
            at, factor * errors.errors, c=colours, s=3, lw=0, rasterized=True
        )
        panel.axhline(0, color="0.6", lw=0.5, zorder=0)
        unit = "%" if errors.fractional else "absolute"
        panel.set(
            xscale="log" if first.logged else "linear",
            title=QUANTITIES[name].title,
            ylabel=f"error / {unit}" if errors.fractional else "error",
        )
        panel.set_xlim(*shown_range(first))
    for panel in panels[-columns:]:
        panel.set_xlabel(first.title)
    bar = figure.colorbar(points, ax=panels, label=second.title, aspect=30)
    ticks = spread_ticks(len(second.nodes), 7)
    bar.set_ticks(
        ticks, labels=[tick_text(second.axis.values[i]) for i in ticks]
    )
    figure.suptitle(spectrum, fontsize=9)
    return figure


@styled
def photometry(light: str, errors: PhotometryErrors) -> Figure:
    """Draw the errors of magnitudes and colours of random galaxies."""
    figure = new_figure(7.1, 4.4)
    panels: dict[str, Axes] = figure.subplot_mosaic(
        [["bands", "colours"], ["redshift", "redshift"]]
    )
    for name, kinds in (
        ("bands", errors.magnitudes),
        ("colours", errors.colours),
    ):
        panel, at = panels[name], np.arange(len(kinds))
        for field, (title, colour) in QUANTILES.items():
            values = [1000 * getattr(q, field) for q in kinds.values()]
            panel.plot(at, values, "o", color=colour, ms=4, label=title)
        panel.set(yscale="log", ylabel="|error| / mmag", title=name)
        panel.set_xticks(at, list(kinds), rotation=45, ha="right", fontsize=7)
        panel.grid(axis="x", color="0.92", lw=0.6)
    handles, titles = panels["bands"].get_legend_handles_labels()
    figure.legend(handles, titles, ncols=3, loc="outside upper right")
    redshifts = np.unique(errors.redshift)
    groups = [
        1000 * np.abs(errors.errors[errors.redshift == z]) for z in redshifts
    ]
    for level, (title, colour) in zip(
        (0.5, 0.95, 0.99), QUANTILES.values(), strict=True
    ):
        values = [np.nanquantile(group, level) for group in groups]
        panels["redshift"].semilogy(
            redshifts, values, color=colour, label=title, marker=".", ms=4
        )
    panels["redshift"].set(
        xlabel="redshift", ylabel="|error| / mmag", title="all bands"
    )
    figure.suptitle(
        f"{len(errors.redshift)} galaxies, {light}",
        fontsize=9,
        x=0.02,
        ha="left",
    )
    return figure
