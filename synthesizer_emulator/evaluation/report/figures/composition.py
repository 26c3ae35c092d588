"""The nine figures of the compositional testbed."""

from collections.abc import Iterator, Sequence
from itertools import cycle

import numpy as np
from matplotlib.axes import Axes
from matplotlib.axis import Axis
from matplotlib.colors import LogNorm
from matplotlib.figure import Figure
from matplotlib.ticker import LogLocator, NullFormatter
from numpy.typing import NDArray

from synthesizer_emulator.evaluation.generalisation.composition import (
    Composition,
)
from synthesizer_emulator.evaluation.generalisation.testbed import (
    ALONE,
    FORWARD,
    NOISY,
    TOGETHER,
    TestbedRun,
    sample_path,
    true_spectra,
)
from synthesizer_emulator.evaluation.generalisation.world import (
    JOIN,
    NONE,
    combination_of,
)
from synthesizer_emulator.evaluation.report.figures.panels import (
    BLACK,
    BLUE,
    GREEN,
    ORANGE,
    PURPLE,
    RED,
    SKY,
    WAVELENGTH,
    legend_below,
    new_figure,
    styled,
    tiled,
)
from synthesizer_emulator.gridfile.samples import SampleFile

# The colours of components, of training sets and of combinations.
_COLOURS = (BLUE, ORANGE, GREEN, PURPLE, RED, SKY)
_TRAININGS = (RED, BLUE, GREEN, ORANGE)

# The smallest error on the scale of colours.
_LEAST_ERROR = 1e-3

# The number of spectra of each combination that are drawn.
_EXAMPLES = 3


def composition_figures(found: Composition) -> dict[str, Figure]:
    """Draw the nine figures, by name."""
    return {
        "1 lines": lines(found),
        "2 samples": samples(found),
        "3 abundance plane": abundance_plane(found),
        "4 training curves": training_curves(found),
        "5 trajectories": trajectories(found),
        "6 time series": time_series(found),
        "7 test plane": test_plane(found),
        "8 R2 and MAE": scores(found),
        "9 gap": gap(found),
    }


@styled
def lines(found: Composition) -> Figure:
    """Draw the lines of each component, over a spectrum without any."""
    world = found.testbed.world
    figure = new_figure(6.4, 3.4)
    above, below = figure.subplots(2, 1, sharex=True)
    middle = float(np.mean(world.temperatures))
    for temperature in (*world.temperatures, middle):
        labels = np.array([[temperature, *[0.0] * len(world.components)]])
        (bare,) = true_spectra(world, labels)
        above.plot(
            world.lam,
            bare,
            color="0.7" if temperature != middle else BLACK,
            lw=0.8,
        )
        peak = int(np.argmax(bare))
        above.annotate(
            f"{temperature:g} K",
            (world.lam[peak], float(bare[peak])),
            (3, 1),
            textcoords="offset points",
            fontsize=7,
        )
    above.set(ylabel="black body / mean")
    above.set_ylim(0.0, 1.2 * above.get_ylim()[1])
    n = len(world.components)
    for i, (name, colour) in enumerate(_coloured(world.components)):
        below.plot(world.lam, world.profiles[i], color=colour, label=name)
        for centre in world.line_list["centres"][i::n]:
            below.plot(centre, -0.08, "|", color=colour, ms=5)
    what = "optical depth" if world.kind == "multiplicative" else "emission"
    below.set(xlabel=WAVELENGTH, ylabel=f"{what}\nat abundance 1")
    below.legend(ncols=n)
    below.margins(y=0.2)
    return figure


@styled
def samples(found: Composition) -> Figure:
    """Draw spectra of the first training set, and of the test."""
    testbed = found.testbed
    figure = new_figure(7.0, 1.5 * len(testbed.tested) + 0.5)
    panels = figure.subplots(
        len(testbed.tested), 2, sharex=True, sharey=True, squeeze=False
    )
    names = (next(iter(testbed.training)), "test")
    seed = testbed.data_seeds[0]
    for column, name in zip(panels.T, names, strict=True):
        file = SampleFile.open(sample_path(found.folder, name, seed))
        spectra = file.read(f"spectra/{NOISY}")
        of = combination_of(file.points, testbed.world)
        for panel, combination in zip(column, testbed.tested, strict=True):
            rows = np.flatnonzero(of == combination)[:_EXAMPLES]
            for row, colour in zip(rows, (BLACK, BLUE, ORANGE), strict=False):
                panel.plot(
                    testbed.world.lam, spectra[row], color=colour, lw=0.5
                )
            if not len(rows):
                _write_in(panel, "not in the training set")
        title = name if name == "test" else f"training set: {name}"
        column[0].set_title(f"{title}, with noise")
        column[-1].set_xlabel(WAVELENGTH)
    for panel, combination in zip(panels[:, 0], testbed.tested, strict=True):
        panel.text(
            0.98, 0.88, combination, ha="right", transform=panel.transAxes
        )
    figure.supylabel("flux / mean of the black body", fontsize=9)
    return figure


@styled
def abundance_plane(found: Composition) -> Figure:
    """Draw the first two abundances of the training sets and of the test."""
    testbed = found.testbed
    names = (*testbed.training, "test")
    figure, panels, _ = tiled(
        len(names), 2.2, 2.3, (0.4, 0.7), sharex=True, sharey=True
    )
    seed = testbed.data_seeds[0]
    for panel, name in zip(panels, names, strict=True):
        points = SampleFile.open(sample_path(found.folder, name, seed)).points
        of = combination_of(points, testbed.world)
        for combination, colour in _coloured(testbed.tested):
            rows = points[of == combination]
            panel.plot(
                rows[:, 1],
                rows[:, 2],
                ".",
                color=colour,
                ms=3,
                label=combination,
            )
        panel.set(title=f"{name} ({len(points)})", xlabel=_axis(found, 0))
        panel.set_aspect("equal")
        # Those without a component would be hidden by the axes.
        panel.margins(0.07)
    panels[0].set_ylabel(_axis(found, 1))
    _one_legend(figure, panels[-1], len(testbed.tested))
    return figure


@styled
def training_curves(found: Composition) -> Figure:
    """Draw the losses of each method, of single seeds and their median."""
    methods = [
        name
        for name in found.methods
        if any(run.losses.epoch for run in found.runs if run.method == name)
    ]
    figure, panels, columns = tiled(len(methods), 2.3, 2.0, (0.2, 0.4), most=4)
    for panel, method in zip(panels, methods, strict=True):
        for training, colour in _trainings(found):
            runs = found.of(method, training)
            for kind, style in (("training", ":"), ("validation", "-")):
                curves = [np.array(getattr(r.losses, kind)) for r in runs]
                for run, curve in zip(runs, curves, strict=True):
                    panel.plot(
                        run.losses.epoch,
                        curve,
                        style,
                        color=colour,
                        lw=0.4,
                        alpha=0.5,
                    )
                n = min(map(len, curves))
                panel.plot(
                    runs[0].losses.epoch[:n],
                    np.median([curve[:n] for curve in curves], axis=0),
                    style,
                    color=colour,
                    lw=1.4,
                    label=f"{training}, {kind}",
                )
        panel.set(yscale="log", title=method)
    _outer_labels(panels, columns, "epoch", "loss")
    _one_legend(figure, panels[0])
    figure.suptitle("thick: median over seeds; thin: single seeds", size=8)
    return figure


@styled
def trajectories(found: Composition) -> Figure:
    """Draw the first component against the second while a method learns.

    The mean abundances found in the composed test spectra, relative to the
    true ones: right is (1, 1).
    """
    methods = _learners(found)
    figure, panels, columns = tiled(
        len(methods), 2.2, 2.2, (0.2, 0.4), 4, sharex=True, sharey=True
    )
    at = found.testbed.tested.index(found.composed)
    ends = [1.0]
    for panel, method in zip(panels, methods, strict=True):
        for training, colour in _trainings(found):
            for i, run in enumerate(found.of(method, training)):
                path = run.found[:, at, 1:3] / _mean_truth(found, run)[1:3]
                ends += [path.min(), path.max()]
                panel.plot(
                    *path.T,
                    "-",
                    color=colour,
                    lw=0.5,
                    alpha=0.7,
                    label=None if i else training,
                )
                panel.plot(*path[0], "o", color=colour, ms=2.5, mfc="white")
                panel.plot(*path[-1], "o", color=colour, ms=2.5)
        panel.plot(1.0, 1.0, "+", color=BLACK, ms=9, mew=1.0)
        panel.set_title(method)
        panel.set_aspect("equal")
    # What is wildly wrong at first would leave no room for the rest.
    low, high = np.clip([min(ends) - 0.1, max(ends) + 0.1], -0.5, 2.0)
    panels[0].set(xlim=(low, high), ylim=(low, high))
    first, second = found.testbed.world.components[:2]
    _outer_labels(
        panels,
        columns,
        f"{first}: found / true",
        f"{second}: found / true",
    )
    _one_legend(figure, panels[0])
    figure.suptitle(
        f"means of {found.composed}; open: first epoch measured, filled: "
        "last, +: right",
        size=8,
    )
    return figure


@styled
def time_series(found: Composition) -> Figure:
    """Draw the error of each component against epoch, by training set."""
    methods = _learners(found)
    world = found.testbed.world
    figure, panels, columns = tiled(
        len(methods), 2.3, 2.0, (0.2, 0.4), 4, sharey=True
    )
    at = found.testbed.tested.index(found.composed)
    for panel, method in zip(panels, methods, strict=True):
        for training, style in zip(
            found.testbed.training, ("-", ":", "--", "-."), strict=False
        ):
            runs = found.of(method, training)
            # The last entry is the best network, of an earlier epoch.
            n = min(len(run.epochs) for run in runs) - 1
            for k, (name, colour) in enumerate(_coloured(world.components), 1):
                stacked = np.array([run.mae[:n, at, k] for run in runs])
                panel.plot(
                    runs[0].epochs[:n],
                    np.median(stacked, axis=0),
                    style,
                    color=colour,
                    label=f"{name}, {training}",
                )
                panel.fill_between(
                    runs[0].epochs[:n],
                    stacked.min(axis=0),
                    stacked.max(axis=0),
                    color=colour,
                    alpha=0.15,
                    lw=0,
                )
        panel.set(xscale="log", yscale="log", title=method)
        _plain_ticks(panel.xaxis, panel.yaxis)
    _outer_labels(panels, columns, "epoch", f"error in\n{found.composed}")
    _one_legend(figure, panels[0])
    figure.suptitle(
        "errors of abundances; lines: median over seeds, bands: range", size=8
    )
    return figure


@styled
def test_plane(found: Composition) -> Figure:
    """Draw the abundances of the test, coloured by the error of each."""
    methods = list(found.methods)
    trainings = list(found.testbed.training)
    figure = new_figure(1.55 * len(methods) + 0.8, 1.7 * len(trainings) + 0.4)
    panels = figure.subplots(
        len(trainings), len(methods), sharex=True, sharey=True, squeeze=False
    )
    norm = LogNorm(_LEAST_ERROR, 0.5)
    image = None
    for row, training in zip(panels, trainings, strict=True):
        for panel, method in zip(row, methods, strict=True):
            runs = found.of(method, training)
            points = np.concatenate([found.truth[r.data_seed] for r in runs])
            labels = np.concatenate([run.labels for run in runs])
            error = np.abs(labels - points)[:, 1:].mean(axis=1)
            image = panel.scatter(
                points[:, 1],
                points[:, 2],
                c=np.maximum(error, _LEAST_ERROR),
                norm=norm,
                s=6,
                lw=0,
                clip_on=False,
            )
            if training == trainings[0]:
                panel.set_title(method.replace(" of ", " of\n"), fontsize=7.5)
        row[0].set_ylabel(f"trained {training}\n{_axis(found, 1)}", fontsize=8)
    for panel in panels[-1]:
        panel.set_xlabel(_axis(found, 0), fontsize=8)
    if image is not None:
        figure.colorbar(
            image, ax=panels, label="mean error of abundances", extend="both"
        )
    return figure


@styled
def scores(found: Composition) -> Figure:
    """Draw R2 and the mean error of each component, composed and apart."""
    methods, world = list(found.methods), found.testbed.world
    figure = new_figure(1.0 * len(methods) + 1.2, 4.4)
    above, below = figure.subplots(2, 1, sharex=True)
    width = 0.8 / (len(found.testbed.training) * len(world.components))
    for m, method in enumerate(methods):
        place = -0.4 + 0.5 * width
        for training, colour in _trainings(found):
            errors = found.component_errors(method, training, found.composed)
            r2 = found.r_squared(method, training, found.composed)[:, 1:]
            for k, name in enumerate(world.components):
                for panel, values in ((above, r2), (below, errors)):
                    panel.bar(
                        m + place,
                        np.median(values[:, k]),
                        0.9 * width,
                        color=colour,
                        alpha=1.0 if k == 0 else 0.5,
                        label=f"{name}, trained {training}" if not m else None,
                    )
                    low, middle, high = np.quantile(values[:, k], [0, 0.5, 1])
                    panel.errorbar(
                        m + place,
                        middle,
                        [[middle - low], [high - middle]],
                        color=BLACK,
                        lw=0.7,
                    )
                place += width
    above.set(ylabel=r"$R^2$", ylim=(min(0.0, above.get_ylim()[0]), 1.02))
    if above.get_ylim()[0] < -1.0:
        above.set_ylim(-1.0, 1.02)
    below.set(ylabel="mean absolute error")
    below.set_xticks(
        range(len(methods)), [m.replace(" of ", " of\n") for m in methods]
    )
    below.tick_params(axis="x", labelsize=7)
    above.set_title(
        f"abundances in {found.composed}\n"
        "bars: median over seeds, lines: range"
    )
    _one_legend(figure, above, 2)
    return figure


@styled
def gap(found: Composition) -> Figure:
    """Draw the errors of training alone over those together, by method."""
    methods = [
        method
        for method in found.methods
        if {ALONE, TOGETHER} <= set(found.testbed.training)
    ]
    figure = new_figure(5.4, 0.36 * max(len(methods), 2) + 1.0)
    panel = figure.subplots()
    for row, method in enumerate(methods):
        gaps = found.gaps(method)
        direction = found.methods[method]
        colour, mark = (BLUE, "o") if direction == FORWARD else (ORANGE, "s")
        panel.plot(
            gaps,
            [row] * len(gaps),
            mark,
            color=colour,
            ms=4,
            alpha=0.6,
            label=direction,
        )
        panel.plot(
            np.median(gaps),
            row,
            "|",
            color=BLACK,
            ms=14,
            mew=1.5,
            label="median over seeds",
        )
    panel.axvline(1.0, color="0.6", lw=0.8, ls=":")
    panel.set_yticks(range(len(methods)), methods)
    panel.set(
        xscale="log",
        xlabel=f"error in {found.composed}: trained alone / together",
    )
    _plain_ticks(panel.xaxis)
    panel.set_ylim(len(methods) - 0.5, -0.5)
    _one_legend(figure, panel)
    return figure


def _learners(found: Composition) -> list[str]:
    """Return the methods whose errors were measured during a training."""
    return [
        method
        for method in found.methods
        if any(len(r.epochs) > 1 for r in found.runs if r.method == method)
    ]


def _mean_truth(found: Composition, run: TestbedRun) -> NDArray[np.float64]:
    """Return the mean labels of the composed test spectra, (d,)."""
    truth = found.truth[run.data_seed]
    kept = combination_of(truth, found.testbed.world) == found.composed
    return np.asarray(truth[kept].mean(axis=0))


def _axis(found: Composition, component: int) -> str:
    """Return the label of the abundance of a component."""
    return f"abundance of {found.testbed.world.components[component]}"


def _coloured(names: Sequence[str]) -> Iterator[tuple[str, str]]:
    """Yield names with their colours; that of no component is grey."""
    colours = cycle(_COLOURS)
    for name in names:
        if name == NONE:
            yield name, "0.5"
        elif JOIN in name:
            yield name, RED if name.count(JOIN) == 1 else BLACK
        else:
            yield name, next(colours)


def _trainings(found: Composition) -> Iterator[tuple[str, str]]:
    """Yield training sets with their colours."""
    yield from zip(found.testbed.training, cycle(_TRAININGS), strict=False)


def _outer_labels(
    panels: Sequence[Axes], columns: int, x: str, y: str
) -> None:
    """Label the panels at the left, and those without one below."""
    for i, panel in enumerate(panels):
        if i % columns == 0:
            panel.set_ylabel(y)
        if i + columns >= len(panels):
            panel.set_xlabel(x)
            panel.tick_params(labelbottom=True)


def _one_legend(figure: Figure, panel: Axes, columns: int = 4) -> None:
    """Add the legend of one panel below a figure, without repetitions."""
    handles, titles = panel.get_legend_handles_labels()
    by_title = dict(zip(titles, handles, strict=True))
    legend = legend_below(
        figure, [*by_title.values()], [*by_title], columns, fontsize=7
    )
    # Thin lines of single seeds would be too pale.
    for line in legend.get_lines():
        line.set(linewidth=max(line.get_linewidth(), 1.2), alpha=1.0)
        line.set_markersize(max(line.get_markersize(), 6.0))


def _plain_ticks(*axes: Axis) -> None:
    """Write the ticks of logarithmic axes as plain numbers."""
    for axis in axes:
        axis.set_major_locator(LogLocator(subs=(1, 2, 5), numticks=8))
        axis.set_major_formatter("{x:g}")
        axis.set_minor_formatter(NullFormatter())


def _write_in(panel: Axes, text: str) -> None:
    """Write text in the middle of an empty panel."""
    panel.text(
        0.5, 0.5, text, ha="center", color="0.5", transform=panel.transAxes
    )
