"""Figures of recovered labels, derivatives and training losses."""

from collections.abc import Mapping, Sequence

import numpy as np
from matplotlib.figure import Figure
from matplotlib.ticker import NullLocator
from numpy.typing import NDArray

from synthesizer_emulator.evaluation.measures.derivatives import Derivatives
from synthesizer_emulator.evaluation.measures.recovery import Recovery
from synthesizer_emulator.evaluation.report.figures.panels import (
    BLACK,
    BLUE,
    GREEN,
    ORANGE,
    SKY,
    WAVELENGTH,
    colour_bar,
    new_figure,
    set_log_ticks,
    short_text,
    styled,
    tick_text,
    tiled,
    wavelength_scale,
)
from synthesizer_emulator.evaluation.report.figures.stages import coloured
from synthesizer_emulator.gridfile.header import Axis
from synthesizer_emulator.gridfile.labels import Label, axis_symbol
from synthesizer_emulator.wavelengths import broken

# The scale of differences is linear up to this part of the largest, and
# logarithmic beyond.
_STRAIGHT = 0.01


@styled
def recovered_labels(recovery: Recovery, axes: Sequence[Axis]) -> Figure:
    """Draw recovered against true labels, and their differences.

    The scale of differences is linear where it is shaded.
    """
    figure = new_figure(2.4 * (len(axes) + 1), 3.4)
    panels = figure.subplots(
        2,
        len(axes) + 1,
        squeeze=False,
        gridspec_kw={"height_ratios": (2.4, 1)},
    )
    differences = []
    for i, axis in enumerate(axes):
        label = Label(axis)
        true, fitted = recovery.true[:, i], recovery.recovered[:, i]
        low, high = true.min(), true.max()
        upper, lower = panels[:, i]
        upper.plot([low, high], [low, high], color="0.6", lw=0.7, zorder=0)
        # The next axis gives the colours.
        other = (i + 1) % len(axes)
        difference = label.to_labels(fitted, np) - label.to_labels(true, np)
        differences.append(difference)
        for panel, values in ((upper, fitted), (lower, difference)):
            marks = coloured(
                panel, true, values, recovery.true[:, other], axes[other]
            )
        if len(axes) > 1:
            colour_bar(
                marks,
                upper,
                Label(axes[other]).title,
                location="bottom",
                shrink=0.9,
            )
        known = difference[np.isfinite(difference)]
        scatter = rf"$\sigma$ = {np.std(known):.2g}" + " dex" * label.logged
        scale = "log" if label.logged else "linear"
        upper.set(
            xscale=scale,
            yscale=scale,
            title=f"{label.title}\n{scatter}",
            ylabel="recovered",
        )
        lower.set(
            xscale=scale,
            xlabel="true",
            ylabel="diff. / dex" if label.logged else "difference",
        )
        if label.logged:
            for ticked in (upper.xaxis, upper.yaxis, lower.xaxis):
                set_log_ticks(ticked, low, high)
    upper, lower = panels[:, -1]
    for panel, values, name in (
        (upper, recovery.log10_mass, "mass error / dex"),
        (lower, recovery.misfit, "misfit in ln flux"),
    ):
        panel.plot(
            recovery.true[:, 0], values, "o", color=BLUE, ms=3, mec="none"
        )
        panel.set(ylabel=name)
        if Label(axes[0]).logged:
            panel.set_xscale("log")
            first = recovery.true[:, 0]
            set_log_ticks(panel.xaxis, first.min(), first.max())
    lower.set(yscale="log", xlabel=Label(axes[0]).title)
    misfits = recovery.misfit[recovery.misfit > 0]
    if len(misfits):
        set_log_ticks(lower.yaxis, misfits.min(), misfits.max())
    upper.set_title("mass and misfit")
    figure.suptitle(
        f"fits to {len(recovery.true)} spectra, {recovery.spectrum}",
        fontsize=9,
        x=0.02,
        ha="left",
    )
    for panel, values in zip(
        (*panels[1, :-1], upper),
        (*differences, recovery.log10_mass),
        strict=True,
    ):
        panel.axhline(0, color="0.6", lw=0.5, zorder=0)
        known = values[np.isfinite(values)]
        largest = float(np.abs(known).max()) if len(known) else 0.0
        # All of the marks of the largest are within the panel.
        power = 10 ** np.ceil(np.log10(max(largest, 1e-3)))
        limit, straight = 3.0 * power, _STRAIGHT * power
        panel.set_yscale("symlog", linthresh=straight)
        panel.set_ylim(-limit, limit)
        ticks = [-power, -straight, 0.0, straight, power]
        panel.set_yticks(ticks, labels=[tick_text(tick) for tick in ticks])
        panel.yaxis.set_minor_locator(NullLocator())
        # Where the scale changes.
        panel.axhspan(-straight, straight, color="0.95", lw=0, zorder=-1)
        panel.tick_params(labelsize=7)
    return figure


@styled
def slopes(derivatives: Derivatives, axes: Sequence[Axis]) -> Figure:
    """Draw emulated derivatives, and differences between nodes, by label."""
    figure = new_figure(7.1, 2.3 * len(axes))
    panels = figure.subplots(
        len(axes), 2, squeeze=False, gridspec_kw={"width_ratios": (2, 1)}
    )
    examples = _spread_points(derivatives.points[:, 0])
    for i, axis in enumerate(axes):
        label = Label(axis)
        name = axis_symbol(axis.name)
        name = f"log10 {name}" if label.logged else name
        curves, both = panels[i]
        for point, colour in zip(
            examples, (BLUE, ORANGE, GREEN), strict=False
        ):
            values = zip(axes, derivatives.points[point], strict=True)
            curves.plot(
                *broken(derivatives.lam, derivatives.automatic[point, :, i]),
                color=colour,
                label=", ".join(short_text(a.name, v) for a, v in values),
            )
            curves.plot(
                derivatives.lam,
                derivatives.native[point, :, i],
                ".",
                color=colour,
                ms=3.5,
                mec="none",
            )
        curves.axhline(0, color="0.6", lw=0.5, zorder=0)
        curves.set(
            xscale=wavelength_scale(derivatives.lam),
            ylabel=f"∂ ln f / ∂ {name}",
        )
        automatic, native = (
            derivatives.automatic[..., i],
            derivatives.native[..., i],
        )
        known = ~np.isnan(automatic)
        # Both set the limits, because native derivatives may all be zero.
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
        f"{derivatives.spectrum}; lines: emulator, dots: between nodes"
    )
    panels[-1, 0].set_xlabel(WAVELENGTH)
    panels[-1, 1].set_xlabel("differences between nodes")
    return figure


@styled
def losses(histories: Mapping[str, Mapping[str, list]]) -> Figure | None:
    """Draw the losses of each training; None without any training."""
    trained = {e: h for e, h in histories.items() if h.get("epoch")}
    if not trained:
        return None
    figure, panels, _ = tiled(len(trained), 2.4, 2.2, sharey=True)
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


def _spread_points(values: NDArray) -> list[int]:
    """Return the indices of a low, a middle and a high value."""
    order = np.argsort(values, kind="stable")
    return [int(order[int(p * (len(order) - 1))]) for p in (0.2, 0.5, 0.9)]
