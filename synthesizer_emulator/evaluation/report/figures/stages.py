"""Figures of the stages of an emulator, and of its signed residuals."""

from collections.abc import Mapping, Sequence
from textwrap import wrap

import numpy as np
from matplotlib.axes import Axes
from matplotlib.collections import PathCollection
from matplotlib.colors import LogNorm, Normalize
from matplotlib.figure import Figure
from matplotlib.ticker import LogLocator, NullFormatter
from numpy.typing import NDArray

from synthesizer_emulator.evaluation.measures.residuals import Bands, Example
from synthesizer_emulator.evaluation.measures.stages import Stages
from synthesizer_emulator.evaluation.report.figures.panels import (
    BLACK,
    BLUE,
    GREEN,
    ORANGE,
    SKY,
    WAVELENGTH,
    colour_bar,
    new_figure,
    short_text,
    styled,
    tiled,
    wavelength_scale,
)
from synthesizer_emulator.gridfile.header import Axis
from synthesizer_emulator.gridfile.labels import Label
from synthesizer_emulator.wavelengths import broken

# The number of letters that fit into the title of a panel.
_TITLE_WIDTH = 40

# The fewest wavelengths of a zoom.
_FEWEST = 10

# The shades of the bands of one, two and three standard deviations.
_SHADES = {3: "#DCE9F2", 2: "#A9CCE3", 1: "#5DA5D1"}


@styled
def stages(found: Stages) -> Figure:
    """Draw the components, the errors of stages, and the norms."""
    figure = new_figure(7.1, 4.8)
    variance, components, errors, norms = figure.subplots(2, 2).ravel()

    counts = np.arange(1, len(found.unexplained) + 1)
    variance.loglog(counts, found.unexplained, color=BLUE, marker=".", ms=3)
    variance.axhline(
        found.left_by_decoder,
        color=BLACK,
        lw=0.8,
        ls="--",
        label=f"all {found.size} latents",
    )
    variance.legend(loc="upper right")
    _plain_ticks(variance)
    variance.set(
        xlabel="number of components",
        ylabel="unexplained fraction",
        title="variance of ln flux",
    )

    for i, (row, colour) in enumerate(
        zip(found.components, (BLACK, ORANGE, SKY, GREEN), strict=False)
    ):
        components.plot(
            *broken(found.lam, row), color=colour, lw=0.8, label=f"{i + 1}"
        )
    components.axhline(0, color="0.6", lw=0.5, zorder=0)
    components.margins(y=0.2)
    if len(found.components):
        components.legend(ncols=4, loc="upper center", handlelength=1.2)
    components.set(
        xscale=wavelength_scale(found.lam),
        xlabel=WAVELENGTH,
        ylabel="Δ ln flux",
        title="leading components, times their spread",
    )

    both = {"decoder alone": found.decoded, "emulator": found.emulated}
    known = {
        name: 100 * values[np.isfinite(values) & (values > 0)]
        for name, values in both.items()
    }
    joined = np.concatenate([*known.values()])
    if len(joined):
        edges = np.geomspace(0.9 * joined.min(), 1.1 * joined.max(), 31)
        for (name, values), colour in zip(
            known.items(), (ORANGE, BLUE), strict=True
        ):
            if not len(values):
                continue
            errors.hist(
                values, edges, histtype="step", color=colour, lw=1.1,
                label=f"{name}, median {np.median(values):.2g}%",
            )  # fmt: skip
        errors.margins(y=0.3)
        errors.legend(loc="upper left")
        errors.set_xscale("log")
        _plain_ticks(errors)
    errors.set(
        xlabel="mean error of a spectrum / %",
        ylabel="spectra",
        title="errors by stage",
    )

    norms.plot(
        found.log10_norm,
        1e3 * found.norm_error,
        "o",
        color=BLUE,
        ms=2.5,
        mec="none",
    )
    norms.axhline(0, color="0.6", lw=0.5, zorder=0)
    limit = 1.15 * 1e3 * float(np.abs(found.norm_error).max()) or 1.0
    norms.set(
        xlabel="log10 of the true norm",
        ylabel="predicted - true / mdex",
        ylim=(-limit, limit),
        title="normalisation",
    )
    return figure


def _plain_ticks(panel: Axes) -> None:
    """Label 1, 2 and 5 of each decade of a logarithmic abscissa."""
    panel.xaxis.set_major_locator(LogLocator(subs=(1.0, 2.0, 5.0)))
    panel.xaxis.set_major_formatter(lambda value, _: f"{value:g}")
    panel.xaxis.set_minor_formatter(NullFormatter())


@styled
def latent_space(found: Stages, axes: Sequence[Axis]) -> Figure:
    """Draw the two main directions of the latents, coloured by each label.

    If there is only one direction, it is drawn against each label.
    """
    # Axes of one node have nothing to show.
    shown = [i for i in range(len(axes)) if np.ptp(found.points[:, i]) > 0]
    spread = np.ptp(found.latents, axis=0)
    single = spread[1] <= 1e-6 * spread[0]
    figure, panels, columns = tiled(
        max(len(shown), 1), 3.0, 2.5, sharex=not single, sharey=True
    )
    for k, (panel, i) in enumerate(zip(panels, shown, strict=False)):
        axis = axes[i]
        if single:
            label, low = Label(axis), found.points[:, i].min()
            panel.plot(
                found.points[:, i], found.latents[:, 0], "o",
                color=BLUE, ms=2.5, mec="none",
            )  # fmt: skip
            panel.set(
                xlabel=label.title,
                xscale="log" if label.logged and low > 0 else "linear",
            )
            if k % columns == 0:
                panel.set_ylabel("the only direction")
            continue
        marks = coloured(
            panel, found.latents[:, 0], found.latents[:, 1],
            found.points[:, i], axis,
        )  # fmt: skip
        colour_bar(marks, panel, "")
        # A title of the bar would be where the next panel has its ordinate.
        panel.set_title(f"colour: {Label(axis).title}")
        panel.set_xlabel("first direction")
        if k % columns == 0:
            panel.set_ylabel("second direction")
    return figure


def coloured(
    panel: Axes, x: NDArray, y: NDArray, values: NDArray, axis: Axis
) -> PathCollection:
    """Draw marks with the colours of the values of an axis."""
    low, high = float(values.min()), float(values.max())
    logged = Label(axis).logged and low > 0 and high > low
    norm = LogNorm(low, high) if logged else Normalize(low, high)
    return panel.scatter(x, y, c=values, s=7, norm=norm, linewidths=0)


@styled
def signed(bands: Bands, zoom: tuple[float, float]) -> Figure:
    """Draw the signed residuals by wavelength, with a narrow range."""
    inside = (bands.at >= zoom[0]) & (bands.at <= zoom[1])
    figure = new_figure(7.1, 2.6)
    if np.count_nonzero(inside) < 2:
        _draw_bands(figure.subplots(), bands)
        return figure
    wide, narrow = figure.subplots(
        1, 2, sharey=True, gridspec_kw={"width_ratios": (2.6, 1)}
    )
    _draw_bands(wide, bands)
    _draw_bands(narrow, bands)
    wide.axvspan(*zoom, color="0.85", zorder=-1, lw=0)
    narrow.set(xscale="linear", xlim=zoom, ylabel="")
    if legend := narrow.get_legend():
        legend.remove()
    return figure


def _draw_bands(panel: Axes, bands: Bands) -> None:
    """Draw the median residual and the bands around it, in per cent."""
    at, values = broken(bands.at, 100 * bands.values)
    rows = dict(zip(bands.sigmas, values, strict=True))
    for n, colour in _SHADES.items():
        panel.fill_between(
            at,
            rows[-n],
            rows[n],
            color=colour,
            lw=0,
            label=rf"{n}$\sigma$",
        )
    panel.plot(at, rows[0], color=BLACK, lw=0.8, label="median")
    panel.axhline(0, color="0.6", lw=0.5)
    limit = float(np.nanquantile(np.abs(bands.values[[0, -1]]), 0.97))
    panel.set(
        xscale=wavelength_scale(bands.at),
        xlabel=WAVELENGTH,
        ylabel="residual / %",
        ylim=(-150 * limit, 150 * limit) if limit else (-1, 1),
    )
    panel.margins(x=0.01)
    panel.legend(ncols=4, loc="upper center")


@styled
def zoomed(
    examples: Mapping[str, Example],
    zoom: tuple[float, float],
    truth: str = "grid",
) -> Figure | None:
    """Draw a narrow range of example spectra; None if nothing is in it.

    `truth` is what the legend calls the spectra that were emulated.
    """
    some = next(iter(examples.values()), None)
    if some is None:
        return None
    inside = (some.lam >= zoom[0]) & (some.lam <= zoom[1])
    if np.count_nonzero(inside) < _FEWEST:
        return None
    figure, panels, columns = tiled(len(examples), 2.4, 2.3, sharex=True)
    for i, (panel, (what, example)) in enumerate(
        zip(panels, examples.items(), strict=True)
    ):
        peak = example.true[inside].max() or 1.0
        for flux, colour, width, name in (
            (example.true, SKY, 2.2, truth),
            (example.emulated, BLACK, 0.7, "emulator"),
        ):
            panel.plot(
                *broken(example.lam[inside], flux[inside] / peak),
                color=colour,
                lw=width,
                label=name,
            )
        node = [short_text(name, v) for name, v in example.node.items()]
        lines = [what, *wrap(", ".join(node), _TITLE_WIDTH)]
        panel.set_title("\n".join(lines), fontsize=7)
        if i % columns == 0:
            panel.set_ylabel("flux / largest")
        if i >= len(examples) - columns:
            panel.set_xlabel(WAVELENGTH)
    handles, titles = panels[0].get_legend_handles_labels()
    figure.legend(handles, titles, ncols=2, loc="outside upper right")
    return figure
