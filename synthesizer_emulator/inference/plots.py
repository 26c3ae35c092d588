"""Plots of a posterior: its parameters and its photometry."""

from collections.abc import Iterable

import matplotlib.pyplot as plt
import numpy as np
from matplotlib.figure import Figure
from scipy.stats import kstwo
from synthesizer.exceptions import InconsistentArguments, UnmetDependency
from synthesizer.instruments import FilterCollection

from synthesizer_emulator.galaxies.transmission import open_range
from synthesizer_emulator.inference.calibration import TARP, Calibration
from synthesizer_emulator.inference.posterior import (
    QUANTILES,
    Posterior,
    weighted_quantiles,
)
from synthesizer_emulator.validation import nearest

# The number of samples with equal weights in a corner plot.
_DRAWN = 4000

# The number of points of a curve.
_CURVE = 1001

# The largest ratio of the ends of an interval plotted on a linear axis.
_LINEAR = 1e4


def plot_corner(
    posterior: Posterior, names: Iterable[str] | None = None
) -> Figure:
    """Plot the distributions of parameters and of their pairs.

    Args:
        posterior (Posterior): The posterior.
        names (list of str): The parameters, in the order of the plot; by
            default all with one number per galaxy that are not known.

    Returns:
        Figure: The figure, with the median and the central 68% in the titles.

    Raises:
        InconsistentArguments: If a parameter is unknown.
        UnmetDependency: If the package corner is not installed.
    """
    known = {
        name: values
        for name, values in posterior.parameters.items()
        if values.ndim == 1
    }
    chosen = (
        [name for name, values in known.items() if np.ptp(values) > 0.0]
        if names is None
        else list(names)
    )
    for name in chosen:
        if name not in known:
            raise InconsistentArguments(
                f"The parameters must be among {', '.join(known)}; got "
                f"'{name}'." + nearest(name, known)
            )
    try:
        import corner
    except ImportError as error:
        raise UnmetDependency(
            "plot_corner needs the package corner: install it with pip "
            "install 'synthesizer-emulator[inference]'."
        ) from error
    labels = []
    for name in chosen:
        unit = posterior.units[name]
        title = name.rpartition("/")[2]
        labels.append(
            title if unit == "dimensionless" else f"{title} [{unit}]"
        )
    drawn = posterior.draw(_DRAWN)
    return corner.corner(
        np.column_stack([known[name][drawn] for name in chosen]),
        labels=labels,
        quantiles=QUANTILES,
        show_titles=True,
        title_fmt=".3g",
        title_kwargs={"fontsize": 9},
        label_kwargs={"fontsize": 9},
    )


def plot_photometry(posterior: Posterior, filters: FilterCollection) -> Figure:
    """Plot the data with the photometry of the posterior, and residuals.

    Args:
        posterior (Posterior): The posterior.
        filters (FilterCollection): The filters, such as `Fit.filters`.

    Returns:
        Figure: The figure. Bars are the central 68% of the posterior; arrows
            are upper limits.

    Raises:
        InconsistentArguments: If there is no photometry.
    """
    data = posterior.data.photometry
    if data is None:
        raise InconsistentArguments(
            "plot_photometry needs a posterior of photometry, got one without."
        )
    codes = posterior.codes["photometry"]
    ends = np.array([open_range(filters[code]) for code in codes])
    lam = np.sqrt(ends.prod(axis=1)) / 1e4
    flux, error = np.asarray(data.flux), np.asarray(data.error)
    limit = np.asarray(data.is_limit)
    measured = np.asarray(data.is_observed) & ~limit
    low, middle, high = weighted_quantiles(
        posterior.predictions["photometry"], posterior.weights, QUANTILES
    )
    figure, (above, below) = plt.subplots(
        2,
        1,
        sharex=True,
        figsize=(6.5, 5.0),
        height_ratios=(3, 1),
        layout="constrained",
    )
    above.errorbar(
        lam,
        middle,
        [middle - low, high - middle],
        fmt="s",
        color="C1",
        markerfacecolor="none",
        markersize=8,
        elinewidth=3,
        alpha=0.8,
        label="posterior",
    )
    above.errorbar(
        lam[measured],
        flux[measured],
        error[measured],
        fmt="o",
        color="black",
        markersize=4,
        label="data",
    )
    if limit.any():
        above.errorbar(
            lam[limit],
            flux[limit],
            0.3 * flux[limit],
            uplims=True,
            fmt="none",
            color="black",
            label="upper limits",
        )
    positive = np.concatenate([flux[measured], middle])
    if positive.min() > 0.0 and positive.max() / positive.min() < _LINEAR:
        above.set_yscale("log")
    above.set_ylabel("flux density [nJy]")
    above.set_xscale("log")
    above.margins(y=0.2)
    above.legend(frameon=False)
    residuals = (flux - middle) / error
    below.margins(y=0.2)
    below.axhline(0.0, color="C1")
    below.axhspan(-1.0, 1.0, color="C1", alpha=0.15, linewidth=0)
    below.plot(lam[measured], residuals[measured], "o", color="black", ms=4)
    below.set_ylabel(r"residual [$\sigma$]")
    below.set_xlabel("observed wavelength [micron]")
    ticks = [0.3, 0.5, 1, 2, 3, 5, 10, 20]
    inside = [x for x in ticks if lam.min() / 1.2 < x < lam.max() * 1.2]
    below.set_xticks(inside, [f"{x:g}" for x in inside])
    below.minorticks_off()
    return figure


def plot_calibration(calibration: Calibration) -> Figure:
    """Plot how uniform the shares of a calibration are.

    Args:
        calibration (Calibration): The calibration.

    Returns:
        Figure: The cumulative distribution of each of its `shares`, less
            that of a uniform one. Shading is where 95% of such curves lie
            everywhere if the posteriors are right. Above zero at small
            shares, and below at large ones, posteriors are too narrow.
    """
    figure, axes = plt.subplots(figsize=(6.0, 4.0), layout="constrained")
    n = len(calibration)
    band = kstwo.ppf(0.95, n)
    axes.axhspan(-band, band, color="0.9", linewidth=0)
    axes.axhline(0.0, color="0.6", linewidth=1)
    x = np.linspace(0.0, 1.0, _CURVE)
    for name, values in calibration.shares.items():
        below = np.searchsorted(np.sort(values), x, side="right") / n
        is_tarp = name == TARP
        axes.plot(
            x,
            below - x,
            color="black" if is_tarp else None,
            linewidth=2 if is_tarp else 1.2,
            label=name.rpartition("/")[2],
        )
    axes.set_xlim(0.0, 1.0)
    axes.set_xlabel("share of the posterior below the truth")
    axes.set_ylabel("cumulative fraction of galaxies, less the share")
    axes.legend(frameon=False, fontsize=8, ncols=2)
    return figure
