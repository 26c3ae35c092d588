"""Figures of measured errors, for people who would rather look than read.

Each function draws one measurement and returns a Figure; `save` writes
them. Commands and the report use them; matplotlib loads only here.
"""

import io
import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from functools import wraps
from itertools import combinations, cycle
from pathlib import Path
from textwrap import wrap
from typing import ParamSpec, TypeVar

import matplotlib as mpl
import numpy as np
from matplotlib.axes import Axes
from matplotlib.colors import LogNorm
from matplotlib.figure import Figure
from matplotlib.image import AxesImage
from matplotlib.ticker import LogLocator, NullFormatter
from numpy.typing import NDArray

from synthesizer_emulator.emulator.metrics import fractional_residuals
from synthesizer_emulator.evaluation.generalisation import (
    TRAINED,
    Generalisation,
)
from synthesizer_emulator.evaluation.holdout import (
    EMULATOR,
    PCHIP,
    SYNTHESIZER,
    HoldOut,
)
from synthesizer_emulator.evaluation.measures.derivatives import JacobianCheck
from synthesizer_emulator.evaluation.measures.magnitudes import (
    PhotometryErrors,
)
from synthesizer_emulator.evaluation.measures.quantities import (
    QUANTITIES,
    QuantityErrors,
)
from synthesizer_emulator.evaluation.measures.recovery import Recovery
from synthesizer_emulator.evaluation.measures.residuals import (
    EmissionErrors,
    Example,
    Profile,
)
from synthesizer_emulator.files.writing import write_whole
from synthesizer_emulator.gridfile.emissions import LINES
from synthesizer_emulator.gridfile.header import Axis
from synthesizer_emulator.gridfile.labels import Label

P = ParamSpec("P")
R = TypeVar("R")

# Okabe & Ito's colours, which most colour-blind people can tell apart.
BLACK, ORANGE, SKY, GREEN = "#000000", "#E69F00", "#56B4E9", "#009E73"
BLUE, RED, PURPLE = "#0072B2", "#D55E00", "#CC79A7"

_STYLE = {
    "axes.labelsize": 9,
    "axes.titlesize": 9,
    "axes.linewidth": 0.7,
    "font.size": 9,
    "legend.fontsize": 8,
    "legend.frameon": False,
    "lines.linewidth": 1.1,
    "savefig.dpi": 160,
    "xtick.direction": "in",
    "ytick.direction": "in",
    "xtick.labelsize": 8,
    "ytick.labelsize": 8,
    "image.cmap": "viridis",
}

# The letters that fit over one of three panels.
_TITLE_WIDTH = 34

# The width of a figure at the least, in inches.
_NARROWEST = 3.4

_WAVELENGTH = "wavelength / Å"
_ERROR = "error / %"

# How the quantiles of a profile are drawn.
_QUANTILES = {
    "p50": ("median", BLACK),
    "p95": ("95%", BLUE),
    "p99": ("99%", ORANGE),
}

# What axes are called where there is little room.
_SHORT = {"ages": "age", "metallicities": "Z", "ionisation_parameters": "U"}

_SCHEMES = {
    SYNTHESIZER: ("Synthesizer, linear", ORANGE),
    PCHIP: ("PCHIP of components", GREEN),
    EMULATOR: ("emulator", BLUE),
}


def save(figures: Mapping[str, Figure], folder: Path) -> dict[str, bytes]:
    """Write figures as PNG.

    Args:
        figures (Mapping): The figures by their names.
        folder (Path): Where to; made if it is missing.

    Returns:
        dict: The contents of the files, by the names of the figures.
    """
    folder.mkdir(parents=True, exist_ok=True)
    images = {}
    for name, figure in figures.items():
        images[name] = png(figure)
        file_name = re.sub(r"[^\w=.,-]+", "_", name)
        write_whole(folder / f"{file_name}.png", images[name])
    return images


def png(figure: Figure) -> bytes:
    """Return a figure as the contents of a PNG file."""
    stream = io.BytesIO()
    figure.savefig(stream, format="png", dpi=_STYLE["savefig.dpi"])
    return stream.getvalue()


def _styled(draw: Callable[P, R]) -> Callable[P, R]:
    """Let a function draw in the style of these figures."""

    @wraps(draw)
    def styled(*args: P.args, **kwargs: P.kwargs) -> R:
        with mpl.rc_context(_STYLE):
            return draw(*args, **kwargs)

    return styled


def _figure(width: float, height: float) -> Figure:
    """Return an empty figure of a size in inches."""
    return Figure(figsize=(width, height), layout="constrained")


def _tiled(
    n: int,
    width: float,
    height: float,
    margins: tuple[float, float] = (0.0, 0.0),
    most: int = 3,
    sharex: bool = False,
    sharey: bool = False,
) -> tuple[Figure, list[Axes], int]:
    """Return a figure with n panels in rows.

    Args:
        n (int): How many.
        width (float): That of a panel, in inches.
        height (float): Likewise.
        margins (tuple of float): What the figure is wider and higher.
        most (int): How many are in a row at the most.
        sharex (bool): Whether they share the axis below.
        sharey (bool): Whether they share that on the left.

    Returns:
        tuple: The figure, its panels, and how many are in a row.
    """
    columns = min(most, n)
    rows = -(-n // columns)
    figure = _figure(
        max(_NARROWEST, width * columns + margins[0]),
        height * rows + margins[1],
    )
    panels = figure.subplots(
        rows, columns, sharex=sharex, sharey=sharey, squeeze=False
    )
    for panel in panels.flat[n:]:
        panel.set_visible(False)
    return figure, list(panels.flat[:n]), columns


def hold_outs(experiments: Sequence[HoldOut]) -> dict[str, Figure]:
    """Draw each emission of each hold-out experiment, and what was fitted."""
    drawn = {}
    for experiment in experiments:
        title = f"without {experiment.drop}"
        for emission in experiment.predictions:
            drawn[f"{title}, {emission}"] = hold_out(experiment, emission)
        if experiment.recovery is not None:
            drawn[f"{title}, recovery"] = recovery(
                experiment.recovery, experiment.axes
            )
    return drawn


@_styled
def hold_out(experiment: HoldOut, emission: str) -> Figure:
    """Draw the errors of all schemes at the nodes left out.

    On the left the part of all pixels whose error is larger, on the right
    the median and the 95th percentile by wavelength, of each line.
    """
    figure = _figure(7.1, 3.0)
    parts, lams = figure.subplots(1, 2)
    median, most, title = "-", "--", "median (solid) and 95% (dashed)"
    if emission.startswith(f"{LINES}/"):
        median, most, title = ".", "x", "median (dots) and 95% (crosses)"
    for scheme, (name, colour) in _SCHEMES.items():
        prediction = experiment.predictions[emission][scheme]
        parts.loglog(
            100 * prediction.errors,
            1 - prediction.levels,
            color=colour,
            label=name,
        )
        profile = prediction.by_wavelength
        lams.loglog(profile.at, 100 * profile.p50, median, color=colour, ms=4)
        lams.loglog(profile.at, 100 * profile.p95, most, color=colour, ms=3)
    parts.set(
        xlabel=_ERROR,
        ylabel="part of pixels with a larger one",
        ylim=(1e-4, 1.2),
        title=f"{emission}, without {experiment.drop}",
    )
    low = experiment.predictions[emission][EMULATOR].summary.p50
    parts.set_xlim(left=max(3 * low, 1e-4))
    parts.legend(loc="lower left")
    lams.set(
        xlabel=_WAVELENGTH,
        ylabel=_ERROR,
        title=title,
    )
    return figure


@_styled
def spectra(examples: Mapping[str, Example]) -> Figure:
    """Draw the worst, the median and the best spectrum over residuals."""
    figure = _figure(7.1, 3.6)
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
        upper.loglog(
            example.lam,
            example.true / peak,
            color=SKY,
            lw=2.2,
            label="grid",
        )
        upper.loglog(
            example.lam,
            example.emulated / peak,
            color=BLACK,
            lw=0.6,
            label="emulator",
        )
        lower.plot(example.lam, 100 * residual, color=BLUE, lw=0.5)
        lower.axhline(0, color="0.6", lw=0.5, zorder=0)
        limit = max(
            limit, 100 * float(np.nanquantile(np.abs(residual), 0.998))
        )
        node = ", ".join(_named(name, v) for name, v in example.node.items())
        title = f"{which}: mean error {100 * example.error:.3g}%"
        lines = "\n".join([title, *wrap(node, _TITLE_WIDTH)])
        upper.set_title(lines, fontsize=8)
        lower.set_xlabel(_WAVELENGTH)
    axes[0, 0].set(ylabel="flux / peak", ylim=(1e-5, 3))
    handles, titles = axes[0, 0].get_legend_handles_labels()
    figure.legend(handles, titles, ncols=2, loc="outside lower right")
    axes[1, 0].set(ylabel="residual / %", ylim=(-1.1 * limit, 1.1 * limit))
    return figure


@_styled
def where(errors: EmissionErrors, axes: Sequence[Axis]) -> Figure:
    """Draw errors by wavelength, along each axis, and over two axes."""
    figure = _figure(7.1, 4.6)
    below = [axis.name for axis in axes]
    panels: dict[str, Axes] = figure.subplot_mosaic(
        [["wavelength"] * (len(axes) + 1), [*below, "map"]],
        width_ratios=[1.0] * len(axes) + [1.4],
    )
    top = panels["wavelength"]
    _draw_profile(top, errors.by_wavelength)
    if errors.lines:
        for curve in top.lines:
            curve.set(ls="", marker="o", markersize=2.5)
    top.set(xscale="log", xlabel=_WAVELENGTH, ylabel=_ERROR)
    top.margins(x=0.01, y=0.18)
    top.legend(ncols=3, loc="upper center")
    for axis in axes:
        label, panel = Label(axis), panels[axis.name]
        if axis is not axes[0]:
            # Before anything is drawn, for limits that hold all of it.
            panel.sharey(panels[axes[0].name])
            panel.tick_params(labelleft=False, which="both")
        _draw_profile(panel, errors.by_axis[axis.name])
        panel.set(
            xscale="log" if label.logged else "linear", xlabel=label.title
        )
        panel.set_xlim(*_shown_range(label))
    panels[axes[0].name].set_ylabel(_ERROR)
    image = _draw_map(panels["map"], errors.means, axes)
    panels["map"].set(xlabel=Label(axes[0]).title, ylabel=Label(axes[1]).title)
    figure.colorbar(image, ax=panels["map"], label="mean error / %")
    return figure


@_styled
def maps(errors: EmissionErrors, axes: Sequence[Axis]) -> Figure:
    """Draw errors over every two axes, the median along the others."""
    pairs = list(combinations(range(len(axes)), 2))
    figure, panels, _ = _tiled(len(pairs), 2.4, 2.4, (0.6, 0.0))
    lit = errors.means[errors.means > 0]
    low, high = np.quantile(lit, [0.01, 0.99]) if len(lit) else (0.01, 1.0)
    norm = LogNorm(100 * low, 100 * max(high, 1.01 * low))
    for panel, (i, j) in zip(panels, pairs, strict=True):
        means = np.moveaxis(errors.means, (i, j), (0, 1))
        image = _draw_map(panel, means, (axes[i], axes[j]), norm)
        panel.set(xlabel=Label(axes[i]).title, ylabel=Label(axes[j]).title)
    figure.colorbar(image, ax=panels, label="mean error / %", extend="both")
    return figure


@_styled
def distribution(errors: EmissionErrors) -> Figure:
    """Draw the histogram of residuals and how they are correlated."""
    correlation = errors.correlation
    figure = _figure(7.1 if correlation else 3.4, 2.6)
    panels = figure.subplots(1, 3 if correlation else 1, squeeze=False)[0]
    found = errors.histogram
    panels[0].stairs(found.density / 100, 100 * found.edges, color=BLUE)
    panels[0].axvline(0, color="0.6", lw=0.5, zorder=0)
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
    panels[1].set(
        xlabel="distance / pixels",
        ylabel="correlation",
        title="of two pixels",
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
        xscale="log",
        yscale="log",
        xlabel=_WAVELENGTH,
        ylabel=_WAVELENGTH,
        title="over spectra",
    )
    figure.colorbar(image, ax=panels[2], label="correlation")
    return figure


@_styled
def losses(histories: Mapping[str, Mapping[str, list]]) -> Figure | None:
    """Draw the losses of each training; None if nothing was trained."""
    trained = {e: h for e, h in histories.items() if h.get("epoch")}
    if not trained:
        return None
    figure, panels, _ = _tiled(len(trained), 2.4, 2.2, sharey=True)
    for panel, (emission, history) in zip(
        panels, trained.items(), strict=True
    ):
        for name, colour in (("training", SKY), ("validation", BLACK)):
            panel.semilogy(
                history["epoch"], history[name], color=colour, label=name
            )
        panel.set_xlabel("epoch")
        panel.set_title(emission, fontsize=7.5)
    panels[0].set_ylabel("loss")
    panels[0].legend()
    return figure


@_styled
def quantities(
    spectrum: str, found: Mapping[str, QuantityErrors], axes: Sequence[Axis]
) -> Figure:
    """Draw errors of what is read off spectra against the first axis.

    Coloured by the second.
    """
    figure, panels, columns = _tiled(len(found), 3.6, 2.2, most=2)
    first, second = Label(axes[0]), Label(axes[1])
    colours = np.broadcast_to(
        np.arange(len(second.nodes)).reshape(1, -1, *(1,) * (len(axes) - 2)),
        next(iter(found.values())).errors.shape,
    )
    at = np.broadcast_to(
        axes[0].values.reshape(-1, *(1,) * (len(axes) - 1)), colours.shape
    )
    for panel, (name, errors) in zip(panels, found.items(), strict=True):
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
        panel.set_xlim(*_shown_range(first))
    for panel in panels[-columns:]:
        panel.set_xlabel(first.title)
    bar = figure.colorbar(points, ax=panels, label=second.title, aspect=30)
    ticks = _ticks(len(second.nodes), 7)
    bar.set_ticks(
        ticks, labels=[f"{second.axis.values[i]:.2g}" for i in ticks]
    )
    figure.suptitle(spectrum, fontsize=9)
    return figure


@_styled
def photometry(light: str, found: PhotometryErrors) -> Figure:
    """Draw the errors of magnitudes and colours of random galaxies."""
    figure = _figure(7.1, 4.4)
    panels: dict[str, Axes] = figure.subplot_mosaic(
        [["bands", "colours"], ["redshift", "redshift"]]
    )
    for name, kinds in (
        ("bands", found.magnitudes),
        ("colours", found.colours),
    ):
        panel, at = panels[name], np.arange(len(kinds))
        for field, (title, colour) in _QUANTILES.items():
            values = [
                1000 * getattr(errors, field) for errors in kinds.values()
            ]
            panel.plot(at, values, "o", color=colour, ms=4, label=title)
        panel.set(yscale="log", ylabel="|error| / mmag", title=name)
        panel.set_xticks(at, list(kinds), rotation=45, ha="right", fontsize=7)
        panel.grid(axis="x", color="0.92", lw=0.6)
    handles, titles = panels["bands"].get_legend_handles_labels()
    figure.legend(handles, titles, ncols=3, loc="outside upper right")
    shifts = np.unique(found.redshift)
    groups = [1000 * np.abs(found.errors[found.redshift == z]) for z in shifts]
    for level, (title, colour) in zip(
        (0.5, 0.95, 0.99), _QUANTILES.values(), strict=True
    ):
        values = [np.nanquantile(group, level) for group in groups]
        panels["redshift"].semilogy(
            shifts, values, color=colour, label=title, marker=".", ms=4
        )
    panels["redshift"].set(
        xlabel="redshift", ylabel="|error| / mmag", title="all bands"
    )
    figure.suptitle(
        f"{len(found.redshift)} galaxies, {light}",
        fontsize=9,
        x=0.02,
        ha="left",
    )
    return figure


@_styled
def recovery(found: Recovery, axes: Sequence[Axis]) -> Figure:
    """Draw recovered against true labels, with their differences."""
    figure = _figure(2.4 * (len(axes) + 1), 3.4)
    panels = figure.subplots(
        2,
        len(axes) + 1,
        squeeze=False,
        gridspec_kw={"height_ratios": (2.4, 1)},
    )
    for i, axis in enumerate(axes):
        label = Label(axis)
        true, fitted = found.true[:, i], found.recovered[:, i]
        low, high = true.min(), true.max()
        upper, lower = panels[:, i]
        upper.plot([low, high], [low, high], color="0.6", lw=0.7, zorder=0)
        upper.plot(true, fitted, "o", color=BLUE, ms=3, mec="none")
        lower.plot(
            true,
            label.to_labels(fitted, np) - label.to_labels(true, np),
            "o",
            color=BLUE,
            ms=3,
            mec="none",
        )
        scale = "log" if label.logged else "linear"
        upper.set(
            xscale=scale, yscale=scale, title=label.title, ylabel="recovered"
        )
        lower.set(
            xscale=scale,
            xlabel="true",
            ylabel="diff. / dex" if label.logged else "difference",
        )
    upper, lower = panels[:, -1]
    for panel, values, name in (
        (upper, found.log10_mass, "mass error / dex"),
        (lower, found.misfit, "rms of ln flux"),
    ):
        panel.plot(found.true[:, 0], values, "o", color=BLUE, ms=3, mec="none")
        panel.set(ylabel=name)
        if Label(axes[0]).logged:
            panel.set_xscale("log")
    lower.set(yscale="log", xlabel=Label(axes[0]).title)
    upper.set_title("mass and misfit")
    figure.suptitle(
        f"{len(found.true)} {found.spectrum}", fontsize=9, x=0.02, ha="left"
    )
    for panel in (*panels[1, :-1], upper):
        panel.axhline(0, color="0.6", lw=0.5, zorder=0)
        largest = max(np.abs(line.get_ydata()).max() for line in panel.lines)
        limit = 10 ** np.ceil(np.log10(max(largest, 1e-3)) + 0.2)
        panel.set_yscale("symlog", linthresh=1e-4)
        panel.set(ylim=(-limit, limit), yticks=[-1e-2, -1e-4, 0, 1e-4, 1e-2])
        panel.tick_params(labelsize=7)
    return figure


@_styled
def jacobian(check: JacobianCheck, axes: Sequence[Axis]) -> Figure:
    """Draw slopes with each label, by the network and by the nodes."""
    figure = _figure(7.1, 2.3 * len(axes))
    panels = figure.subplots(
        len(axes), 2, squeeze=False, gridspec_kw={"width_ratios": (2, 1)}
    )
    shown = _spread_points(check.points[:, 0])
    for i, axis in enumerate(axes):
        label = Label(axis)
        name = _SHORT.get(axis.name, axis.name)
        name = f"log10 {name}" if label.logged else name
        curves, both = panels[i]
        for point, colour in zip(shown, (BLUE, ORANGE, GREEN), strict=False):
            values = zip(axes, check.points[point], strict=True)
            curves.plot(
                check.lam,
                check.automatic[point, :, i],
                color=colour,
                label=", ".join(_named(a.name, v) for a, v in values),
            )
            curves.plot(
                check.lam,
                check.native[point, :, i],
                ".",
                color=colour,
                ms=3.5,
                mec="none",
            )
        curves.axhline(0, color="0.6", lw=0.5, zorder=0)
        curves.set(xscale="log", ylabel=f"∂ ln f / ∂ {name}")
        automatic, native = check.automatic[..., i], check.native[..., i]
        known = ~np.isnan(automatic)
        # Of both: a spectrum may not depend on a label at all.
        either = np.concatenate([native[known], automatic[known]])
        limits = np.quantile(either, [0.002, 0.998])
        both.hexbin(
            native[known],
            automatic[known],
            gridsize=50,
            bins="log",
            mincnt=1,
            extent=(*limits, *limits),
            linewidths=0.1,
        )
        both.plot(limits, limits, color="0.6", lw=0.5)
        both.set(ylabel="emulator")
    panels[0, 0].legend(fontsize=6.5)
    panels[0, 0].set_title(
        f"{check.spectrum}; lines: emulator, dots: between nodes"
    )
    panels[-1, 0].set_xlabel(_WAVELENGTH)
    panels[-1, 1].set_xlabel("differences between nodes")
    return figure


def generalisation(outcome: Generalisation) -> dict[str, Figure]:
    """Draw the outcome of a study."""
    study = outcome.study
    drawn = {}
    for name in study.architectures:
        drawn[f"plane, {name}"] = plane(outcome, name)
        for test in study.test:
            drawn[f"components, {name}, {test}"] = components(
                outcome, name, test
            )
    for test in study.test:
        drawn[f"trajectories, {test}"] = trajectories(outcome, test)
        if len(study.fractions) > 1:
            drawn[f"learning curves, {test}"] = learning_curves(outcome, test)
    return drawn


@_styled
def plane(outcome: Generalisation, name: str) -> Figure:
    """Draw the error over the grid for each training region.

    The median over seeds, with dots at the nodes that were trained on.
    """
    regions = list(outcome.study.training)
    figure, panels, columns = _tiled(
        len(regions), 2.4, 2.3, (0.6, 0.2), sharex=True, sharey=True
    )
    runs = {region: outcome.of(name, region) for region in regions}
    means = {
        region: np.median([run.means for run in found], axis=0)
        for region, found in runs.items()
    }
    shown = np.concatenate([m[np.isfinite(m)] for m in means.values()])
    norm = LogNorm(*(100 * np.quantile(shown, [0.01, 0.99])))
    for panel, region in zip(panels, regions, strict=True):
        image = _draw_map(panel, means[region], outcome.axes, norm)
        trained = runs[region][0].trained
        at = trained.reshape(*trained.shape[:2], -1).any(axis=-1)
        panel.plot(*np.nonzero(at), ".", color="white", ms=2.2, mec="none")
        panel.set_title(region)
    for panel in panels[-columns:]:
        panel.set_xlabel(Label(outcome.axes[0]).title)
    for panel in panels[::columns]:
        panel.set_ylabel(Label(outcome.axes[1]).title)
    figure.colorbar(image, ax=panels, label="mean error / %", extend="both")
    figure.suptitle(f"{name}: dots are trained on", fontsize=9)
    return figure


@_styled
def trajectories(outcome: Generalisation, test: str) -> Figure:
    """Draw errors while training, there and in a test region.

    The median over seeds, and their range as a band.
    """
    figure, panels = _region_panels(outcome, f"solid: {test}; dotted: trained")
    for panel, region in zip(panels, outcome.study.training, strict=True):
        for name, colour in _coloured(outcome.study.architectures):
            runs = outcome.of(name, region)
            for kind, style in ((TRAINED, ":"), (test, "-")):
                _draw_band(
                    panel,
                    [run.epochs for run in runs],
                    [100 * run.errors[kind] for run in runs],
                    colour,
                    style,
                    name if kind == test else None,
                )
        panel.set(xscale="log", yscale="log", title=region)
    _label_panels(figure, panels, "epoch", "median error / %")
    return figure


@_styled
def components(outcome: Generalisation, name: str, test: str) -> Figure:
    """Draw the parts of the error of ln flux while training."""
    figure, panels = _region_panels(outcome, f"{name}, {test}")
    for panel, region in zip(panels, outcome.study.training, strict=True):
        runs = outcome.of(name, region)
        for part, colour in _coloured(runs[0].components[test]):
            _draw_band(
                panel,
                [run.epochs for run in runs],
                [run.components[test][part] for run in runs],
                colour,
                "-",
                part,
            )
        panel.set(xscale="log", yscale="log", title=region)
    _label_panels(figure, panels, "epoch", "rms error of ln flux")
    return figure


@_styled
def learning_curves(outcome: Generalisation, test: str) -> Figure:
    """Draw the error in the end by how many nodes were trained on."""
    figure, panels = _region_panels(outcome, test)
    ticks = {}
    for panel, region in zip(panels, outcome.study.training, strict=True):
        fractions = sorted(outcome.study.fractions)
        for name, colour in _coloured(outcome.study.architectures):
            runs = [outcome.of(name, region, f) for f in fractions]
            nodes = np.array([found[0].nodes for found in runs])
            errors = np.array([[r.final[test] for r in f] for f in runs])
            seeds = len(outcome.study.seeds)
            _draw_band(
                panel,
                [nodes] * seeds,
                list(100 * errors.T),
                colour,
                "-",
                name,
                marker="o",
            )
        panel.set(xscale="log", yscale="log", title=region)
        ticks[panel] = nodes
    _label_panels(figure, panels, "nodes trained on", "median error / %")
    for panel, nodes in ticks.items():
        panel.set_xticks(nodes, [str(n) for n in nodes])
    return figure


def _region_panels(
    outcome: Generalisation, title: str
) -> tuple[Figure, list[Axes]]:
    """Return a figure with a panel for each training region."""
    n = len(outcome.study.training)
    figure, panels, _ = _tiled(n, 2.4, 2.2, (0.0, 0.3), sharey=True)
    figure.suptitle(title, fontsize=9, x=0.02, ha="left")
    return figure, panels


def _label_panels(
    figure: Figure, panels: Sequence[Axes], x: str, y: str
) -> None:
    """Label the panels of a figure, and say once what its colours are."""
    drawn = [panel for panel in panels if panel.lines]
    for panel in panels:
        if panel not in drawn:
            panel.set_axis_off()
            where = panel.transAxes
            panel.text(0.5, 0.5, "no nodes", ha="center", transform=where)
            continue
        panel.set_xlabel(x)
        # Few decades want more labels than one each.
        panel.xaxis.set_major_locator(LogLocator(subs=(1, 2, 5), numticks=8))
        panel.xaxis.set_major_formatter("{x:g}")
        panel.xaxis.set_minor_formatter(NullFormatter())
        panel.tick_params(axis="x", labelsize=7)
    if drawn:
        drawn[0].set_ylabel(y)
        handles, titles = drawn[0].get_legend_handles_labels()
        # So many as are not cut off.
        columns = max(1, int(figure.get_figwidth() / 1.4))
        figure.legend(
            handles, titles, ncols=columns, loc="outside lower center"
        )


def _coloured(names: Iterable[str]) -> Iterator[tuple[str, str]]:
    """Yield names with colours."""
    colours = (BLUE, ORANGE, GREEN, RED, PURPLE, SKY, BLACK)
    return zip(names, cycle(colours), strict=False)


def _draw_band(
    panel: Axes,
    at: Sequence[NDArray],
    values: Sequence[NDArray],
    colour: str,
    style: str,
    title: str | None,
    marker: str = "",
) -> None:
    """Draw the median over seeds and their range.

    Of trainings that stopped early, as far as all went.
    """
    n = min(len(v) for v in values)
    together = np.array([v[:n] for v in values])
    if not np.isfinite(together).any():
        return
    x = at[0][:n]
    panel.plot(
        x,
        np.median(together, axis=0),
        color=colour,
        ls=style,
        label=title,
        marker=marker,
        ms=3,
    )
    if len(together) > 1:
        low, high = together.min(axis=0), together.max(axis=0)
        panel.fill_between(x, low, high, color=colour, alpha=0.2, lw=0)


def _draw_profile(panel: Axes, profile: Profile) -> None:
    """Draw the quantiles along something, in per cent."""
    for name, (title, colour) in _QUANTILES.items():
        panel.semilogy(
            profile.at,
            100 * getattr(profile, name),
            color=colour,
            label=title,
            lw=0.9,
        )


def _draw_map(
    panel: Axes,
    means: NDArray,
    axes: Sequence[Axis],
    norm: LogNorm | None = None,
) -> AxesImage:
    """Draw mean errors over the first two axes, one cell a node.

    Of further axes the median is shown.
    """
    flat = means.reshape(*means.shape[:2], -1)
    there = ~np.isnan(flat).all(axis=-1)
    shown = np.full(flat.shape[:2], np.nan)
    shown[there] = 100 * np.nanmedian(flat[there], axis=-1)
    image = panel.imshow(
        shown.T,
        origin="lower",
        aspect="auto",
        norm=norm or LogNorm(),
        interpolation="nearest",
    )
    for axis, which in zip(axes[:2], (panel.xaxis, panel.yaxis), strict=True):
        ticks = _ticks(len(axis.values), 3 if which is panel.xaxis else 7)
        which.set_ticks(ticks, labels=[f"{axis.values[i]:.1e}" for i in ticks])
    panel.tick_params(labelsize=6.5)
    return image


def _shown_range(label: Label) -> tuple[float, float]:
    """Return the values to show of an axis.

    Without a first node that stands far from the rest, as age zero does.
    """
    nodes, values = label.nodes, label.axis.values
    alone = nodes[1] - nodes[0] > 0.25 * (nodes[-1] - nodes[0])
    low = values[1] if alone and len(values) > 5 else values[0]
    pad = (values[-1] / low) ** 0.02 if label.logged else 1.0
    return float(low / pad), float(values[-1] * pad)


def _spread_points(values: NDArray) -> list[int]:
    """Return the positions of a low, a middle and a high value."""
    order = np.argsort(values, kind="stable")
    return [int(order[int(p * (len(order) - 1))]) for p in (0.2, 0.5, 0.9)]


def _ticks(n: int, most: int) -> list[int]:
    """Return evenly spread positions out of n."""
    return np.unique(np.linspace(0, n - 1, min(n, most)).astype(int)).tolist()


def _named(name: str, value: float) -> str:
    """Return an axis value as text, short."""
    unit = " yr" if name == "ages" else ""
    # Without spaces at which a line may break.
    text = f"{_SHORT.get(name, name)} = {value:.3g}{unit}"
    return text.replace(" ", "\N{NO-BREAK SPACE}")
