"""The figure of two emulated grids side by side."""

import numpy as np
from matplotlib.figure import Figure

from synthesizer_emulator.evaluation.comparison import (
    Comparison,
    SpectrumDifference,
)
from synthesizer_emulator.evaluation.report.figures.panels import (
    BLACK,
    BLUE,
    ORANGE,
    WAVELENGTH,
    new_figure,
    styled,
    wavelength_scale,
)
from synthesizer_emulator.wavelengths import broken

# What is fainter than the peak by this factor is not shown.
_FAINTEST = 1e-4


def comparison(found: Comparison) -> dict[str, Figure]:
    """Draw each spectrum that two grids share.

    Args:
        found (Comparison): The comparison.

    Returns:
        dict: The figures by name.
    """
    first, second = found.names
    return {
        f"{first} and {second}: {name}": _spectrum(found.names, name, spectrum)
        for name, spectrum in found.spectra.items()
        if np.isfinite(spectrum.differences).any()
    }


@styled
def _spectrum(
    names: tuple[str, str], name: str, found: SpectrumDifference
) -> Figure:
    """Draw a spectrum of both grids, and their difference by wavelength."""
    figure = new_figure(6.5, 4.5)
    above, below = figure.subplots(2, 1, sharex=True, height_ratios=(3, 2))
    labels = [f"A: {names[0]}", f"B: {names[1]}"]
    for values, label, colour, width in zip(
        found.middle, labels, (ORANGE, BLACK), (2.4, 0.7), strict=True
    ):
        above.loglog(
            *broken(found.lam, np.where(values > 0.0, values, np.nan)),
            color=colour,
            lw=width,
            label=label,
        )
    peak = found.middle.max()
    if peak > 0.0:
        above.set_ylim(_FAINTEST * peak, 3.0 * peak)
    above.set_ylabel("luminosity density")
    above.set_title(f"{name}, in the middle of the common domain")
    above.legend(loc="best")
    finite = np.isfinite(found.differences).sum(axis=0) > 1
    levels = np.nanquantile(
        100 * np.abs(found.differences[:, finite]), (0.5, 0.99), axis=0
    )
    for values, label, colour in zip(
        levels, ("median", "99%"), (BLACK, BLUE), strict=True
    ):
        below.loglog(
            *broken(found.lam[finite], np.where(values > 0.0, values, np.nan)),
            color=colour,
            lw=0.9,
            label=label,
        )
    below.set_ylabel("|B / A - 1| / %")
    below.set(xscale=wavelength_scale(found.lam), xlabel=WAVELENGTH)
    below.legend(title=f"of {len(found.differences)} points", loc="best")
    return figure
