"""Figures of generalisation studies."""

from collections.abc import Iterable, Iterator, Sequence
from itertools import cycle

import numpy as np
from matplotlib.axes import Axes
from matplotlib.cm import ScalarMappable
from matplotlib.colors import LogNorm
from matplotlib.figure import Figure
from matplotlib.ticker import LogLocator, NullFormatter
from numpy.typing import NDArray

from synthesizer_emulator.evaluation.generalisation.generalise import (
    Generalisation,
)
from synthesizer_emulator.evaluation.generalisation.study import TRAINED
from synthesizer_emulator.evaluation.report.figures.panels import (
    BLACK,
    BLUE,
    GREEN,
    ORANGE,
    PURPLE,
    RED,
    SKY,
    colour_bar,
    draw_map,
    draw_samples,
    legend_below,
    styled,
    tiled,
)
from synthesizer_emulator.gridfile.labels import Label


def study_figures(outcome: Generalisation) -> dict[str, Figure]:
    """Draw the errors of a study, and return the figures by name."""
    study = outcome.study
    drawn = {}
    for name in study.architectures:
        if len(outcome.axes) > 1:
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


@styled
def plane(outcome: Generalisation, name: str) -> Figure:
    """Draw the error over the first two axes for each training region.

    Colours show the median over seeds. Dots mark the training nodes, and
    rings the training samples.
    """
    regions = list(outcome.study.training)
    figure, panels, columns = tiled(
        len(regions), 2.4, 2.3, (0.6, 0.2), sharex=True, sharey=True
    )
    runs = {region: outcome.of(name, region) for region in regions}
    means = {
        region: np.median([run.means for run in seeds], axis=0)
        for region, seeds in runs.items()
    }
    finite = np.concatenate([m[np.isfinite(m)] for m in means.values()])
    norm = LogNorm(*(100 * np.quantile(finite, [0.01, 0.99])))
    for panel, region in zip(panels, regions, strict=True):
        trained = runs[region][0].trained
        image: ScalarMappable
        if outcome.kind == "nodes":
            image = draw_map(panel, means[region], outcome.axes, norm)
            at = trained.reshape(*trained.shape[:2], -1).any(axis=-1)
            panel.plot(*np.nonzero(at), ".", color="white", ms=2.2, mec="none")
        else:
            image = draw_samples(
                panel, means[region], outcome.axes, trained, norm
            )
        panel.set_title(region)
    for panel in panels[-columns:]:
        panel.set_xlabel(Label(outcome.axes[0]).title)
    for panel in panels[::columns]:
        panel.set_ylabel(Label(outcome.axes[1]).title)
    colour_bar(image, panels, "mean error / %", extend="both")
    marks = "dots" if outcome.kind == "nodes" else "rings"
    figure.suptitle(f"{name}; {marks}: training {outcome.kind}", fontsize=9)
    return figure


@styled
def trajectories(outcome: Generalisation, test: str) -> Figure:
    """Draw errors against epoch, in the training and in a test region.

    Lines show the median over seeds, bands the range.
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


@styled
def components(outcome: Generalisation, name: str, test: str) -> Figure:
    """Draw the components of the error of ln flux against epoch."""
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


@styled
def learning_curves(outcome: Generalisation, test: str) -> Figure:
    """Draw the final error against the number of nodes or samples."""
    figure, panels = _region_panels(outcome, test)
    ticks = {}
    for panel, region in zip(panels, outcome.study.training, strict=True):
        fractions = sorted(outcome.study.fractions)
        for name, colour in _coloured(outcome.study.architectures):
            runs = [outcome.of(name, region, f) for f in fractions]
            nodes = np.array([seeds[0].nodes for seeds in runs])
            errors = np.array([[r.final[test] for r in f] for f in runs])
            _draw_band(
                panel,
                [nodes] * len(outcome.study.seeds),
                list(100 * errors.T),
                colour,
                "-",
                name,
                marker="o",
            )
        panel.set(xscale="log", yscale="log", title=region)
        ticks[panel] = nodes
    _label_panels(
        figure, panels, f"training {outcome.kind}", "median error / %"
    )
    for panel, nodes in ticks.items():
        panel.set_xticks(nodes, [str(n) for n in nodes])
    return figure


def _region_panels(
    outcome: Generalisation, title: str
) -> tuple[Figure, list[Axes]]:
    """Return a figure with a panel for each training region."""
    n = len(outcome.study.training)
    figure, panels, _ = tiled(n, 2.4, 2.2, (0.0, 0.3), sharey=True)
    figure.suptitle(title, fontsize=9, x=0.02, ha="left")
    return figure, panels


def _label_panels(
    figure: Figure, panels: Sequence[Axes], x: str, y: str
) -> None:
    """Label the panels of a figure, and add one legend."""
    drawn = [panel for panel in panels if panel.lines]
    for panel in panels:
        if panel not in drawn:
            panel.set_axis_off()
            centre = panel.transAxes
            panel.text(0.5, 0.5, "empty", ha="center", transform=centre)
            continue
        panel.set_xlabel(x)
        # One label per decade is too few for axes of one or two decades.
        panel.xaxis.set_major_locator(LogLocator(subs=(1, 2, 5), numticks=8))
        panel.xaxis.set_major_formatter("{x:g}")
        panel.xaxis.set_minor_formatter(NullFormatter())
        panel.tick_params(axis="x", labelsize=7)
    if drawn:
        drawn[0].set_ylabel(y)
        handles, titles = drawn[0].get_legend_handles_labels()
        columns = max(1, int(figure.get_figwidth() / 1.4))
        legend_below(figure, handles, titles, columns)


def _coloured(names: Iterable[str]) -> Iterator[tuple[str, str]]:
    """Yield pairs of name and colour."""
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
    """Draw the median and the range over seeds.

    If trainings stopped early, curves end at the last epoch of the shortest.
    """
    n = min(len(v) for v in values)
    stacked = np.array([v[:n] for v in values])
    if not np.isfinite(stacked).any():
        return
    x = at[0][:n]
    panel.plot(
        x,
        np.median(stacked, axis=0),
        color=colour,
        ls=style,
        label=title,
        marker=marker or ("o" if n == 1 else ""),
        ms=3,
    )
    if len(stacked) > 1:
        low, high = stacked.min(axis=0), stacked.max(axis=0)
        panel.fill_between(x, low, high, color=colour, alpha=0.2, lw=0)
