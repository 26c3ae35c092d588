"""Plots of star formation histories."""

import matplotlib.pyplot as plt
import numpy as np
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter

from synthesizer_emulator.inference.fit import Fit
from synthesizer_emulator.inference.plots.style import BANDS, plot_bands
from synthesizer_emulator.inference.posterior import Posterior

# The shortest lookback time of a logarithmic plot, Gyr.
_YOUNGEST = 1e-3

# The largest ratio of rates of star formation of a plot.
_LARGEST = 1e4


def plot_sfh(
    posterior: Posterior,
    fit: Fit,
    n: int = 1000,
    seed: int = 0,
    log: bool = True,
) -> Figure:
    """Plot the star formation histories of a posterior.

    Args:
        posterior (Posterior): The posterior.
        fit (Fit): The fit that it is of.
        n (int): The number of galaxies, drawn with equal weights.
        seed (int): The seed of the random numbers.
        log (bool): Plot the logarithms of lookback time and of the rate.

    Returns:
        Figure: The figure. Bands hold the central 68% and 95% of the
            posterior. The lookback time of the Big Bang is dotted.
    """
    sfhs = fit.sfhs(posterior, n, seed)
    limits = sfhs.lookback_time.to_value("Gyr")
    curves = sfhs.quantiles(BANDS).to_value("Msun/yr")
    age = np.median(sfhs.age_of_universe.to_value("Gyr"))
    figure, axis = plt.subplots(figsize=(6.5, 4.0), layout="constrained")
    # Each bin has its rate at both of its limits.
    plot_bands(axis, np.repeat(limits, 2)[1:-1], np.repeat(curves, 2, axis=1))
    axis.axvline(
        age, color="0.4", linestyle=":", linewidth=1.2, label="Big Bang"
    )
    axis.set_xlabel("lookback time [Gyr]")
    axis.set_ylabel(r"star formation rate [M$_\odot$ yr$^{-1}$]")
    if log:
        axis.set_xscale("log")
        axis.set_yscale("log")
        axis.set_xlim(_YOUNGEST, 1.3 * age)
        axis.xaxis.set_major_formatter(FuncFormatter(lambda x, _: f"{x:g}"))
        highest = curves[-1].max()
        positive = curves[2][curves[2] > highest / _LARGEST]
        axis.set_ylim(positive.min() / 5.0, 2.0 * highest)
    else:
        axis.set_xlim(0.0, 1.05 * age)
        axis.set_ylim(bottom=0.0)
    axis.legend(frameon=False, fontsize=8)
    return figure
