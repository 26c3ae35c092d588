"""Plots of the parameters of a posterior."""

from collections.abc import Iterable, Mapping

import matplotlib.pyplot as plt
import numpy as np
from matplotlib.axes import Axes
from matplotlib.colors import LinearSegmentedColormap
from matplotlib.figure import Figure
from numpy.typing import NDArray
from synthesizer.exceptions import InconsistentArguments, UnmetDependency

from synthesizer_emulator.inference.plots.style import BEST, MODEL, PRIOR
from synthesizer_emulator.inference.posterior import QUANTILES, Posterior
from synthesizer_emulator.library.parameters import LOG10
from synthesizer_emulator.units import PURE
from synthesizer_emulator.validation import nearest

# The number of samples with equal weights in a corner plot, and its bins.
_DRAWN = 4000
_BINS = 20

# The parts of the posterior within the contours of a corner plot, and the
# width that these are smoothed by, in bins.
_LEVELS = (0.68, 0.95)
_SMOOTHING = 0.7

# The weight, as a part of the largest, below which samples do not count.
_NEGLIGIBLE = 1e-4


def plot_corner(
    posterior: Posterior,
    names: Iterable[str] | None = None,
    prior: bool = False,
    truths: Mapping[str, float] | None = None,
) -> Figure:
    """Plot the distributions of parameters and of their pairs.

    Args:
        posterior (Posterior): The posterior.
        names (list of str): The parameters and derived quantities, in the
            order of the plot; by default all that have one number per galaxy
            and are not known.
        prior (bool): Also plot the density of the prior.
        truths (Mapping): True values to mark, by name; those that are not
            plotted may be there.

    Returns:
        Figure: The figure, with the median and the central 68% in the titles
            and dashed. Contours hold 68% and 95%.

    Raises:
        InconsistentArguments: If a parameter is unknown, or there are no
            samples of the posterior.
        UnmetDependency: If the package corner is not installed.
    """
    if not posterior.samples.is_posterior:
        raise InconsistentArguments(
            "plot_corner needs samples of the posterior, got only its "
            "maximum. Use another method than 'map'."
        )
    chosen = _chosen(posterior, names)
    truths = dict(truths or {})
    _check_among("truths", truths, posterior.values)
    try:
        import corner
    except ImportError as error:
        raise UnmetDependency(
            "plot_corner needs the package corner: install it with pip "
            "install 'synthesizer-emulator[inference]'."
        ) from error
    drawn = posterior.draw(_DRAWN)
    values = np.column_stack([posterior.values[name] for name in chosen])
    values = values[drawn]
    figure = corner.corner(
        values[np.isfinite(values).all(axis=1)],
        bins=_BINS,
        color=MODEL,
        labels=[_label(posterior, name) for name in chosen],
        quantiles=QUANTILES,
        levels=_LEVELS,
        smooth=_SMOOTHING,
        plot_datapoints=False,
        plot_density=False,
        fill_contours=True,
        truths=[truths.get(name) for name in chosen],
        truth_color=BEST,
        label_kwargs={"fontsize": 9},
    )
    quantiles = posterior.quantiles()
    for i, name in enumerate(chosen):
        low, middle, high = quantiles[name]
        figure.axes[i * (len(chosen) + 1)].set_title(
            f"${middle:.4g}^{{+{high - middle:.2g}}}_{{-{middle - low:.2g}}}$",
            fontsize=9,
        )
    if prior:
        n = len(chosen)
        for i, name in enumerate(chosen):
            axis = figure.axes[i * (n + 1)]
            _plot_prior(axis, posterior.prior[name])
    return figure


def plot_trace(
    posterior: Posterior, names: Iterable[str] | None = None
) -> Figure:
    """Plot parameters in the order in which they were sampled.

    Args:
        posterior (Posterior): The posterior.
        names (list of str): The parameters and derived quantities, as for
            `plot_corner`.

    Returns:
        Figure: The figure. Grey samples were explored, blue ones have
            weights in the posterior. The last panel shows the logarithm of
            the likelihood.

    Raises:
        InconsistentArguments: If a parameter is unknown.
    """
    chosen = _chosen(posterior, names)
    rows = {_label(posterior, name): posterior.values[name] for name in chosen}
    rows["ln likelihood"] = posterior.samples.log_likelihood
    figure, axes = plt.subplots(
        len(rows),
        1,
        sharex=True,
        figsize=(6.5, 0.9 * len(rows) + 0.5),
        layout="constrained",
    )
    # Samples with larger weights than the darkest hold half of all weight.
    weights = posterior.weights
    ascending = np.sort(weights)
    darkest = ascending[np.searchsorted(np.cumsum(ascending), 0.5)]
    # Weighted samples are drawn last.
    order = np.argsort(weights, kind="stable")
    for axis, (label, values) in zip(axes, rows.items(), strict=True):
        axis.scatter(
            order,
            values[order],
            c=weights[order],
            s=2,
            linewidths=0,
            cmap=LinearSegmentedColormap.from_list("", ["0.85", MODEL]),
            vmin=0.0,
            vmax=darkest,
            rasterized=True,
        )
        axis.set_ylabel(label, fontsize=8)
    # The likelihood of the first samples may be minus infinity.
    bulk = rows["ln likelihood"][weights > _NEGLIGIBLE * weights.max()]
    axes[-1].set_ylim(bulk.min() - 1.0, bulk.max() + 1.0)
    axes[-1].set_xlabel("sample")
    return figure


def _chosen(posterior: Posterior, names: Iterable[str] | None) -> list[str]:
    """Return the names of the quantities to plot."""
    known = {
        name: values
        for name, values in posterior.values.items()
        if values.ndim == 1
    }
    if names is None:
        return [name for name, x in known.items() if np.ptp(x) > 0.0]
    chosen = list(names)
    _check_among("names", chosen, known)
    return chosen


def _check_among(
    what: str, given: Iterable[str], known: Iterable[str]
) -> None:
    """Raise if a name is unknown."""
    known = list(known)
    for name in given:
        if name not in known:
            raise InconsistentArguments(
                f"The {what} must be among {', '.join(known)}; got '{name}'."
                + nearest(name, known)
            )


def _label(posterior: Posterior, name: str) -> str:
    """Return the label of a quantity, with its units."""
    unit = posterior.units[name]
    # Slashes part a group from a parameter, or a quantity from an emission.
    title = name if name in posterior.derived else name.rpartition("/")[2]
    if title.startswith(LOG10):
        title = f"log10 {title.removeprefix(LOG10)}"
        unit = unit.removeprefix("log10(").removesuffix(")")
    return title if unit == PURE else f"{title}\n[{unit}]"


def _plot_prior(axis: Axes, values: NDArray[np.float64]) -> None:
    """Add the prior to a histogram of the posterior."""
    low, high = axis.get_xlim()
    values = values[np.isfinite(values)]
    counts, edges = np.histogram(values, _BINS, (low, high))
    if counts.any():
        scale = _DRAWN / len(values)
        axis.stairs(counts * scale, edges, color=PRIOR, linestyle="--")
