"""Figures of hold-out experiments."""

from matplotlib.figure import Figure

from synthesizer_emulator.evaluation.hold_out import (
    EMULATOR,
    PCHIP,
    SYNTHESIZER,
    HoldOut,
)
from synthesizer_emulator.evaluation.report.figures.fits import (
    recovered_labels,
)
from synthesizer_emulator.evaluation.report.figures.panels import (
    BLUE,
    ERROR,
    GREEN,
    ORANGE,
    WAVELENGTH,
    new_figure,
    styled,
    wavelength_scale,
)
from synthesizer_emulator.gridfile.emissions import LINES
from synthesizer_emulator.wavelengths import broken

_METHODS = {
    SYNTHESIZER: ("Synthesizer, linear", ORANGE),
    PCHIP: ("PCHIP of components", GREEN),
    EMULATOR: ("emulator", BLUE),
}


def hold_out(experiment: HoldOut) -> dict[str, Figure]:
    """Draw the errors of each emission, and the recovered labels.

    Args:
        experiment (HoldOut): The hold-out experiment.

    Returns:
        dict: The figures by name.
    """
    title = f"without {experiment.drop}"
    drawn = {
        f"{title}, {emission}": predictions(experiment, emission)
        for emission in experiment.predictions
    }
    if experiment.recovery is not None:
        drawn[f"{title}, recovery"] = recovered_labels(
            experiment.recovery, experiment.axes
        )
    return drawn


@styled
def predictions(experiment: HoldOut, emission: str) -> Figure:
    """Draw the errors of all methods at the left-out nodes.

    The left panel shows the fraction of pixels with larger errors; the right
    panel shows the median and the 95th percentile by wavelength, or of each
    line.
    """
    figure = new_figure(7.1, 3.0)
    fractions, lams = figure.subplots(1, 2)
    median, most, title = "-", "--", "median (solid) and 95% (dashed)"
    if emission.startswith(f"{LINES}/"):
        median, most, title = ".", "x", "median (dots) and 95% (crosses)"
    for method, (name, colour) in _METHODS.items():
        prediction = experiment.predictions[emission][method]
        fractions.loglog(
            100 * prediction.errors,
            1 - prediction.levels,
            color=colour,
            label=name,
        )
        profile = prediction.by_wavelength
        for values, mark, size in (
            (profile.p50, median, 4),
            (profile.p95, most, 3),
        ):
            curve = profile.at, 100 * values
            if not emission.startswith(f"{LINES}/"):
                curve = broken(*curve)
            lams.loglog(*curve, mark, color=colour, ms=size)
    fractions.set(
        xlabel=ERROR,
        ylabel="fraction of pixels with larger errors",
        ylim=(1e-4, 1.2),
        title=f"{emission}, without {experiment.drop}",
    )
    low = experiment.predictions[emission][EMULATOR].summary.p50
    fractions.set_xlim(left=max(3 * low, 1e-4))
    fractions.legend(loc="lower left")
    lams.set(
        xscale=wavelength_scale(profile.at),
        xlabel=WAVELENGTH,
        ylabel=ERROR,
        title=title,
    )
    return figure
