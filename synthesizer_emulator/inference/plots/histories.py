"""Plots of star formation histories."""

import matplotlib.pyplot as plt
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from numpy.typing import NDArray

from synthesizer_emulator.inference.curves import SFHs
from synthesizer_emulator.inference.fit import Fit
from synthesizer_emulator.inference.plots.style import (
    BANDS,
    BEST,
    plot_bands,
    write_decades,
)
from synthesizer_emulator.inference.posterior import Posterior

# The shortest lookback time of a logarithmic plot, Gyr.
_YOUNGEST = 1e-3

# The largest ratio of rates of star formation of a plot.
_LARGEST = 1e4

# The part of the mass of a galaxy that must be older than the Universe for
# the galaxy to be; less is an error of rounding.
_OLDER = 1e-3


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
            posterior; of a maximum alone there is one curve. The lookback
            time of the Big Bang is dotted, its central 95% grey. Star
            formation before it, which a prior may allow, is not in the
            bands: hatching has its 97.5th percentile, and the legend the
            part of the posterior with such galaxies. With fewer of them
            nothing is hatched.
    """
    # All draws of a maximum are the same.
    n = n if posterior.samples.is_posterior else 1
    sfhs = fit.sfhs(posterior, n, seed)
    limits = sfhs.lookback_time.to_value("Gyr")
    first, _, age, _, last = np.quantile(
        sfhs.age_of_universe.to_value("Gyr"), BANDS
    )
    possible, impossible, older = _split(sfhs)
    curves = np.quantile(possible, BANDS, axis=0)
    figure, axis = plt.subplots(figsize=(6.5, 4.0), layout="constrained")
    # Each bin has its rate at both of its limits; the last ends with the Big
    # Bang.
    edges = np.repeat(np.minimum(limits, last), 2)[1:-1]
    plot_bands(axis, edges, np.repeat(curves, 2, axis=1), posterior)
    highest, end = curves[-1].max(), last
    top = np.quantile(impossible, BANDS[-1], axis=0)
    if top.any():
        _hatch(axis, limits, top, older)
        highest = max(highest, top.max())
        end = max(end, limits[1:][top > 0.0].max(initial=0.0))
    axis.axvspan(first, last, color="0.85", linewidth=0, zorder=0)
    axis.axvline(
        age, color="0.4", linestyle=":", linewidth=1.2, label="Big Bang"
    )
    axis.set_xlabel("lookback time [Gyr]")
    axis.set_ylabel(r"star formation rate [M$_\odot$ yr$^{-1}$]")
    if log:
        axis.set_xscale("log")
        axis.set_yscale("log")
        axis.set_xlim(_YOUNGEST, 1.3 * end)
        write_decades(axis.xaxis)
        positive = curves[2][curves[2] > highest / _LARGEST]
        lowest = positive.min(initial=highest)
        axis.set_ylim(lowest / 5.0, 2.0 * highest)
        write_decades(axis.yaxis)
    else:
        axis.set_xlim(0.0, 1.05 * end)
        axis.set_ylim(bottom=0.0)
    # Outside, as all of the panel may be filled.
    handles, labels = axis.get_legend_handles_labels()
    figure.legend(
        handles,
        labels,
        loc="outside upper left",
        ncols=4,
        frameon=False,
        fontsize=8,
    )
    return figure


def _split(
    sfhs: SFHs,
) -> tuple[NDArray[np.float64], NDArray[np.float64], float]:
    """Part star formation by whether it began after the Big Bang.

    Returns:
        tuple: The rates in bins that begin after it and before it, Msun/yr,
            (n, n_ages), and the part of the galaxies with any of the latter.
    """
    limits = sfhs.lookback_time.to_value("yr")
    rates = sfhs.sfr.to_value("Msun/yr")
    ages = sfhs.age_of_universe.to_value("yr")[:, None]
    before = np.where(limits[:-1] >= ages, rates, 0.0)
    masses = rates @ np.diff(limits)
    is_older = before @ np.diff(limits) > _OLDER * masses
    before = np.where(is_older[:, None], before, 0.0)
    after = np.where(limits[:-1] < ages, rates, 0.0)
    return after, before, float(is_older.mean())


def _hatch(
    axis: Axes,
    limits: NDArray[np.float64],
    rates: NDArray[np.float64],
    older: float,
) -> None:
    """Hatch rates before the Big Bang, of a part of the posterior."""
    axis.fill_between(
        np.repeat(limits, 2)[1:-1],
        np.repeat(rates, 2),
        facecolor="none",
        edgecolor=BEST,
        hatch="///",
        linewidth=0.8,
        where=np.repeat(rates > 0.0, 2).tolist(),
        label=f"older than the Universe ({older:.0%} of the posterior)",
    )
