"""What the plots of posteriors share: colours, bands, panels."""

from collections.abc import Sequence

import matplotlib.pyplot as plt
import numpy as np
from matplotlib.axes import Axes
from matplotlib.axis import Axis
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, LogLocator, NullFormatter
from numpy.typing import NDArray

from synthesizer_emulator.inference.posterior import Posterior

# The colours of models, data, priors and best models or truths.
MODEL, DATA, PRIOR, BEST = "C0", "black", "C1", "C3"

# The probabilities of the bands of curves: 95%, 68% and the median.
BANDS = (0.025, 0.16, 0.5, 0.84, 0.975)

# The ratio of the ends of a logarithmic axis up to which there are numbers
# between those of decades.
_SHORT = 100.0


def panels() -> tuple[Figure, Sequence[Axes]]:
    """Return a figure with a panel for fluxes, and one for residuals."""
    figure, axes = plt.subplots(
        2,
        1,
        sharex=True,
        figsize=(6.5, 5.0),
        height_ratios=(3, 1),
        layout="constrained",
    )
    return figure, axes


def middle_of(posterior: Posterior) -> str:
    """Return what the middle of the curves of a posterior is called."""
    return "median" if posterior.samples.is_posterior else "most probable"


def plot_bands(
    axis: Axes,
    x: NDArray[np.float64],
    curves: NDArray[np.float64],
    posterior: Posterior,
) -> None:
    """Plot the quantiles `BANDS` of the curves of a posterior, (5, n_x).

    A maximum alone is one curve.
    """
    lowest, low, middle, high, highest = curves
    axis.plot(
        x, middle, color=MODEL, linewidth=0.9, label=middle_of(posterior)
    )
    if not posterior.samples.is_posterior:
        return
    for bottom, top, alpha, label in (
        (low, high, 0.5, "68%"),
        (lowest, highest, 0.2, "95%"),
    ):
        axis.fill_between(
            x,
            bottom,
            top,
            color=MODEL,
            alpha=alpha,
            linewidth=0,
            label=label,
        )


def mark_sigma(axis: Axes) -> None:
    """Mark zero and one standard deviation; show two or more."""
    axis.axhline(0.0, color=MODEL, linewidth=0.8, zorder=0)
    axis.axhspan(-1.0, 1.0, color=MODEL, alpha=0.1, linewidth=0)
    furthest = max(2.0, *np.abs(axis.get_ylim()))
    axis.set_ylim(-furthest, furthest)


def write_decades(axis: Axis) -> None:
    """Write the numbers of a logarithmic axis without powers of ten."""
    low, high = axis.get_view_interval()
    plain = FuncFormatter(lambda x, _: f"{x:.10g}")
    axis.set_major_formatter(plain)
    if high < _SHORT * low:
        axis.set_minor_locator(LogLocator(subs=(2.0, 5.0)))
        axis.set_minor_formatter(plain)
    else:
        axis.set_minor_formatter(NullFormatter())
