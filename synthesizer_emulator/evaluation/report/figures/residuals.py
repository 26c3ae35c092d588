"""Figures of residuals: example spectra, profiles, maps and distributions."""

from collections.abc import Mapping, Sequence
from itertools import combinations
from textwrap import wrap

import numpy as np
from matplotlib.axes import Axes
from matplotlib.colors import LogNorm
from matplotlib.figure import Figure

from synthesizer_emulator.emulator.metrics import fractional_residuals
from synthesizer_emulator.evaluation.measures.residuals import (
    EmissionErrors,
    Example,
)
from synthesizer_emulator.evaluation.report.figures.panels import (
    BLACK,
    BLUE,
    ERROR,
    ORANGE,
    SKY,
    WAVELENGTH,
    colour_bar,
    draw_map,
    draw_profile,
    is_sparse,
    new_figure,
    short_text,
    shown_range,
    styled,
    tiled,
    wavelength_scale,
)
from synthesizer_emulator.gridfile.header import Axis
from synthesizer_emulator.gridfile.labels import Label
from synthesizer_emulator.wavelengths import broken

# The largest number of panels in one row.
_IN_A_ROW = 4

# The number of letters that fit into the title of one of three panels.
_TITLE_WIDTH = 34

# The faintest flux of example spectra, as a part of the peak.
_FAINTEST = 1e-5


@styled
def spectra(examples: Mapping[str, Example], truth: str = "grid") -> Figure:
    """Draw example spectra, true and emulated, and their residuals.

    `truth` is what the legend calls the true ones.
    """
    figure = new_figure(max(7.1, 2.37 * len(examples)), 3.6)
    axes = figure.subplots(
        2,
        len(examples),
        sharex=True,
        sharey="row",
        squeeze=False,
        gridspec_kw={"height_ratios": (2, 1)},
    )
    limit = 0.0
    for (upper, lower), (which, example) in zip(
        axes.T, examples.items(), strict=True
    ):
        peak = example.true.max()
        residual = fractional_residuals(example.emulated, example.true)
        # Lines alone are stems, which curves would join.
        sparse = is_sparse(example.true)
        upper.set(xscale=wavelength_scale(example.lam), yscale="log")
        for flux, colour, width, what in (
            (example.true, SKY, 2.2, truth),
            (example.emulated, BLACK, 0.6, "emulator"),
        ):
            if sparse:
                lit = flux > _FAINTEST * peak
                upper.vlines(
                    example.lam[lit],
                    _FAINTEST,
                    flux[lit] / peak,
                    color=colour,
                    lw=width,
                    label=what,
                )
            else:
                upper.plot(
                    *broken(example.lam, flux / peak),
                    color=colour,
                    lw=width,
                    label=what,
                )
        lower.plot(
            *broken(example.lam, 100 * residual),
            "." if sparse else "-",
            color=BLUE,
            lw=0.5,
            ms=2.5,
        )
        lower.axhline(0, color="0.6", lw=0.5, zorder=0)
        limit = max(
            limit, 100 * float(np.nanquantile(np.abs(residual), 0.998))
        )
        node = ", ".join(
            short_text(name, v) for name, v in example.node.items()
        )
        title = f"{which}: mean error {100 * example.error:.3g}%"
        lines = "\n".join([title, *wrap(node, _TITLE_WIDTH)])
        upper.set_title(lines, fontsize=8)
        lower.set_xlabel(WAVELENGTH)
    axes[0, 0].set(ylabel="flux / peak", ylim=(_FAINTEST, 3))
    if all(e.true.min() > 0.1 * e.true.max() for e in examples.values()):
        # As of normalised spectra, whose lines are flat on decades.
        axes[0, 0].set(yscale="linear", ylim=(0.0, 1.15))
    handles, titles = axes[0, 0].get_legend_handles_labels()
    figure.legend(handles, titles, ncols=2, loc="outside upper right")
    axes[1, 0].set(ylabel="residual / %", ylim=(-1.1 * limit, 1.1 * limit))
    return figure


@styled
def profiles(errors: EmissionErrors, axes: Sequence[Axis]) -> Figure:
    """Draw errors by wavelength, by axis, and over the first two axes."""
    axes = axes[: errors.means.ndim]
    with_map = ["map"] if len(axes) > 1 else []
    below = [*(axis.name for axis in axes), *with_map]
    widths = [1.0] * len(axes) + [1.4] * len(with_map)
    rows = [below]
    if len(below) > _IN_A_ROW:
        columns = _IN_A_ROW - 1
        rows = [below[i : i + columns] for i in range(0, len(below), columns)]
        rows[-1] += ["."] * (columns - len(rows[-1]))
        widths = [1.0] * columns
    figure = new_figure(7.1, 2.3 * (1 + len(rows)))
    panels: dict[str, Axes] = figure.subplot_mosaic(
        [["wavelength"] * len(widths), *rows], width_ratios=widths
    )
    top = panels["wavelength"]
    draw_profile(top, errors.by_wavelength, breaks=not errors.lines)
    if errors.lines or is_sparse(errors.by_wavelength.p50):
        for curve in top.lines:
            curve.set(ls="", marker="o", markersize=2.5)
    top.set(
        xscale=wavelength_scale(errors.by_wavelength.at),
        xlabel=WAVELENGTH,
        ylabel=ERROR,
    )
    top.margins(x=0.01, y=0.18)
    top.legend(ncols=3, loc="upper center")
    for axis in axes:
        label, panel = Label(axis), panels[axis.name]
        if axis is not axes[0]:
            # Before drawing, so that the limits include all curves.
            panel.sharey(panels[axes[0].name])
            if not any(row[0] == axis.name for row in rows):
                panel.tick_params(labelleft=False, which="both")
        draw_profile(panel, errors.by_axis[axis.name])
        for curve in panel.lines:
            curve.set(marker="o", markersize=1.8)
        panel.set(
            xscale="log" if label.logged else "linear", xlabel=label.title
        )
        panel.set_xlim(*shown_range(label))
    for row in rows:
        if row[0] != "map":
            panels[row[0]].set_ylabel(ERROR)
    if not with_map:
        return figure
    image = draw_map(panels["map"], errors.means, axes)
    panels["map"].set(xlabel=Label(axes[0]).title, ylabel=Label(axes[1]).title)
    colour_bar(image, panels["map"], "mean error / %")
    return figure


@styled
def maps(errors: EmissionErrors, axes: Sequence[Axis]) -> Figure:
    """Draw errors over each pair of axes, as medians along the others."""
    axes = axes[: errors.means.ndim]
    pairs = list(combinations(range(len(axes)), 2))
    figure, panels, _ = tiled(len(pairs), 2.4, 2.4, (0.6, 0.0))
    known = errors.means[errors.means > 0]
    low, high = 0.01, 1.0
    if len(known):
        low, high = np.quantile(known, [0.01, 0.99])
    norm = LogNorm(100 * low, 100 * max(high, 1.01 * low))
    for panel, (i, j) in zip(panels, pairs, strict=True):
        means = np.moveaxis(errors.means, (i, j), (0, 1))
        image = draw_map(panel, means, (axes[i], axes[j]), norm)
        panel.set(xlabel=Label(axes[i]).title, ylabel=Label(axes[j]).title)
    colour_bar(image, panels, "mean error / %", extend="both")
    return figure


@styled
def distribution(errors: EmissionErrors) -> Figure:
    """Draw the histogram of residuals and their correlations."""
    correlation = errors.correlation
    figure = new_figure(7.1 if correlation else 3.4, 2.6)
    panels = figure.subplots(1, 3 if correlation else 1, squeeze=False)[0]
    density, edges = errors.histogram.density, errors.histogram.edges
    panels[0].stairs(density / 100, 100 * edges, color=BLUE)
    panels[0].axvline(0, color="0.6", lw=0.5, zorder=0)
    mean = 100 * float(
        np.sum(density * np.diff(edges) * (edges[1:] + edges[:-1]) / 2)
    )
    panels[0].axvline(mean, color=ORANGE, lw=0.9, label=f"mean {mean:+.1g}%")
    panels[0].legend(loc="lower center", handlelength=1.0)
    panels[0].set(
        yscale="log",
        xlabel="residual / %",
        ylabel="density per %",
        title="residuals",
    )
    if correlation is None:
        return figure
    panels[1].semilogx(
        correlation.lags, correlation.by_lag, color=BLUE, marker=".", ms=4
    )
    panels[1].axhline(0, color="0.6", lw=0.5, zorder=0)
    panels[1].axhline(np.exp(-1), color="0.6", lw=0.5, ls=":", zorder=0)
    panels[1].annotate(
        "1/e",
        (1.0, np.exp(-1)),
        xytext=(-3, 2),
        xycoords=("axes fraction", "data"),
        textcoords="offset points",
        ha="right",
        size=7,
        color="0.4",
    )
    panels[1].set(
        xlabel="distance / pixels",
        ylabel="correlation",
        title="between pixels",
        ylim=(min(-0.1, correlation.by_lag.min() - 0.05), 1.02),
    )
    image = panels[2].pcolormesh(
        correlation.lam,
        correlation.lam,
        correlation.matrix,
        vmin=-1,
        vmax=1,
        cmap="PuOr",
        rasterized=True,
    )
    panels[2].set(
        xscale=wavelength_scale(correlation.lam),
        yscale=wavelength_scale(correlation.lam),
        xlabel=WAVELENGTH,
        ylabel=WAVELENGTH,
        title="over spectra",
    )
    figure.colorbar(image, ax=panels[2], label="correlation")
    return figure
