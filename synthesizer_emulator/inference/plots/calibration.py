"""Plots of the calibration of posteriors."""

import matplotlib.pyplot as plt
import numpy as np
from matplotlib.figure import Figure
from scipy.stats import kstwo

from synthesizer_emulator.inference.calibration import TARP, Calibration

# The number of points of a curve.
_CURVE = 1001


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
