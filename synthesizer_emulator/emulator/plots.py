"""Plots of the spectra and the errors of an emulator.

Matplotlib is imported when a plot is made.
"""

from collections.abc import Mapping
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

# The palette of Okabe & Ito, which is safe for most colour-blind readers.
COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9")

# What is fainter than the peak by this factor is not shown.
_FAINTEST = 1e-5

# The quantiles of errors, with their titles, markers and colours.
_QUANTILES = (
    ("p50", "median", "o", "#0072B2"),
    ("p99", "99th percentile", "D", "#E69F00"),
    ("worst", "largest", "x", "black"),
)


def plot_curves(
    lam: NDArray[np.float64],
    curves: Mapping[str, NDArray[np.float64]],
    units: str,
    title: str,
) -> tuple["Figure", "Axes"]:
    """Plot spectra against wavelength, both on logarithmic axes.

    Args:
        lam (np.ndarray of float): The wavelengths, Angstrom, (nlam,).
        curves (Mapping): The spectra by name, (nlam,); those that are zero
            everywhere are left out.
        units (str): The units of the spectra.
        title (str): The title.

    Returns:
        tuple: The figure, and its axes.
    """
    import matplotlib.pyplot as plt

    figure, axes = plt.subplots(figsize=(7.0, 4.5), layout="constrained")
    shown = {n: v for n, v in curves.items() if np.any(v > 0.0)}
    for i, (name, values) in enumerate(shown.items()):
        axes.loglog(
            lam / 1e4,
            np.where(values > 0.0, values, np.nan),
            color=COLOURS[i % len(COLOURS)],
            linestyle="-" if i < len(COLOURS) else "--",
            # Equal spectra are seen below each other.
            linewidth=max(0.7, 2.4 - 0.6 * i),
            label=name,
        )
    if shown:
        peak = max(float(np.nanmax(values)) for values in shown.values())
        axes.set_ylim(_FAINTEST * peak, 3.0 * peak)
        bright = np.any(
            [values > _FAINTEST * peak for values in shown.values()], axis=0
        )
        axes.set_xlim(lam[bright][0] / 1.1e4, lam[bright][-1] / 0.9e4)
    axes.set_xlabel(r"wavelength / $\mu$m")
    axes.set_ylabel(f"luminosity density / ({units})")
    axes.set_title(title, fontsize=9)
    if shown:
        axes.legend(frameon=False, fontsize=8)
    return figure, axes


def plot_errors(
    errors: Mapping[str, Mapping[str, float]], title: str
) -> tuple["Figure", "Axes"]:
    """Plot the stored errors of the emissions of an emulator.

    Args:
        errors (Mapping): The fields of `ErrorSummary`, by emission.
        title (str): The title.

    Returns:
        tuple: The figure, and its axes.
    """
    import matplotlib.pyplot as plt

    figure, axes = plt.subplots(
        figsize=(7.0, 1.6 + 0.35 * len(errors)), layout="constrained"
    )
    rows = np.arange(len(errors))
    table = {
        quantile: 100 * np.array([e[quantile] for e in errors.values()])
        for quantile, *_ in _QUANTILES
    }
    axes.hlines(rows, table["p50"], table["worst"], color="0.75", zorder=0)
    for quantile, label, marker, colour in _QUANTILES:
        axes.plot(
            table[quantile],
            rows,
            marker,
            color=colour,
            markersize=5,
            label=label,
        )
    axes.set_xscale("log")
    axes.set_yticks(rows, [name.replace("/", ": ") for name in errors])
    axes.invert_yaxis()
    axes.set_xlabel("fractional error / %")
    axes.xaxis.set_major_formatter("{x:g}")
    axes.set_title(title, fontsize=9)
    axes.legend(
        frameon=False,
        fontsize=8,
        ncols=3,
        loc="lower right",
        bbox_to_anchor=(1.0, 1.0),
        borderaxespad=1.5,
    )
    return figure, axes
