"""Plots of the parameters of a posterior."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

import matplotlib.pyplot as plt
import numpy as np
from matplotlib.axes import Axes
from matplotlib.axis import Axis
from matplotlib.colors import LinearSegmentedColormap
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import LogFormatter, NullFormatter, ScalarFormatter
from numpy.typing import NDArray
from synthesizer.exceptions import InconsistentArguments, UnmetDependency

from synthesizer_emulator.inference.plots.style import (
    BEST,
    MODEL,
    PRIOR,
    write_decades,
)
from synthesizer_emulator.inference.posterior import (
    QUANTILES,
    Posterior,
    components,
    in_longer_years,
    weighted_quantiles,
)
from synthesizer_emulator.library.parameters import LOG10
from synthesizer_emulator.units import PURE
from synthesizer_emulator.validation import check_names, nearest

# The number of samples with equal weights in a corner plot, and its bins.
_DRAWN = 4000
_BINS = 20

# The parts of the posterior within the contours of a corner plot, and the
# width that these are smoothed by, in bins.
_LEVELS = (0.68, 0.95)
_SMOOTHING = 0.7

# The part of the posterior in the panels of a corner plot; that of one whose
# width is more than so many times that of the central 68%; and their margin
# as a part of the width.
_SHOWN = (0.001, 0.999)
_SHOWN_OF_LONG_TAILS = (0.01, 0.99)
_LONG_TAILS = 10.0
_MARGIN = 0.05

# The least ratios of the quantiles of the prior, and of the ends of a panel,
# of a logarithmic axis.
_DECADES_OF_PRIOR = 20.0
_DECADES_OF_PANEL = 10.0

# The weight, as a part of the largest, below which samples do not count.
_NEGLIGIBLE = 1e-4

# The numbers that need no power of ten.
_READABLE = (1e-3, 1e5)


@dataclass(frozen=True)
class _Quantity:
    """One number per galaxy, in units in which it is easy to read.

    Attributes:
        name (str): Its name, such as `sf_hist/logsfr_ratios[0]`.
        label (str): The last part of its name.
        unit (str): Its units; empty for a pure number.
        scale (float): What multiplies numbers of the posterior.
        values (np.ndarray of float): The samples, scaled, (n,).
        weights (np.ndarray of float): Their weights, (n,).
        prior (np.ndarray of float): Samples of the prior, scaled, (n_prior,).
    """

    name: str
    label: str
    unit: str
    scale: float
    values: NDArray[np.float64]
    weights: NDArray[np.float64]
    prior: NDArray[np.float64]

    def title(self, separator: str) -> str:
        """Return the label with the units, parted by a separator."""
        return f"{self.label}{separator}[{self.unit}]".removesuffix(
            f"{separator}[]"
        )

    def quantiles(
        self, probabilities: tuple[float, ...]
    ) -> NDArray[np.float64]:
        """Return quantiles of the samples that are finite."""
        return _quantiles(self.values, self.weights, probabilities)

    def panel(self, truth: float | None) -> tuple[str, float, float]:
        """Return the scale and the limits of a panel.

        Args:
            truth (float/None): A scaled truth, which is to be in the panel.

        Returns:
            tuple: The scale, which is 'log' if the prior is wide on such a
                scale and the panel is as well, or else 'linear', and the
                lower and the upper limit.
        """
        low, high = _limits(self.values, self.weights, self.prior, truth)
        prior = self.prior[np.isfinite(self.prior)]
        least, _, most = np.quantile(prior, QUANTILES)
        positive = self.values > 0.0
        if (
            not most > _DECADES_OF_PRIOR * least > 0.0
            or not positive.all()
            or (truth is not None and not truth > 0.0)
        ):
            return "linear", low, high
        log_low, log_high = _limits(
            np.log(self.values),
            self.weights,
            np.log(self.prior[self.prior > 0.0]),
            None if truth is None else float(np.log(truth)),
        )
        if log_high - log_low < np.log(_DECADES_OF_PANEL):
            return "linear", low, high
        return "log", float(np.exp(log_low)), float(np.exp(log_high))


def plot_corner(
    posterior: Posterior,
    names: Iterable[str] | None = None,
    prior: bool = False,
    truths: Mapping[str, float] | None = None,
) -> Figure:
    """Plot the distributions of parameters and of their pairs.

    Args:
        posterior (Posterior): The posterior.
        names (str/list of str): The parameters and derived quantities, in
            the order of the plot; by default all that are not known. The
            numbers of an array are `sf_hist/logsfr_ratios[0]` and so on; its
            own name stands for all of them.
        prior (bool): Also plot the density of the prior.
        truths (Mapping): True values to mark, by name, in the units of the
            posterior; those that are not plotted may be there.

    Returns:
        Figure: The figure, with the median and the central 68% in the titles
            and dashed. Contours hold 68% and 95%. Panels show at least the
            central 99.8%, or 98% if the tails are long, and the truth; they
            are logarithmic where the prior and the posterior span decades.
            Years are in Myr or Gyr where that is shorter.

    Raises:
        InconsistentArguments: If a parameter is unknown, a truth has the
            wrong shape, or there are no samples of the posterior.
        UnmetDependency: If the package corner is not installed.
    """
    _check_sampled("plot_corner", posterior)
    chosen = _chosen(posterior, names)
    known = _truths(posterior, truths or {})
    marked = [
        known[one.name] * one.scale if one.name in known else None
        for one in chosen
    ]
    try:
        import corner
    except ImportError as error:
        raise UnmetDependency(
            "plot_corner needs the package corner: install it with pip "
            "install 'synthesizer-emulator[inference]'."
        ) from error
    scales, lows, highs = zip(
        *(one.panel(truth) for one, truth in zip(chosen, marked, strict=True)),
        strict=True,
    )
    drawn = posterior.draw(_DRAWN)
    values = np.column_stack([one.values for one in chosen])[drawn]
    values = values[np.isfinite(values).all(axis=1)]
    figure = corner.corner(
        values,
        bins=_BINS,
        range=list(zip(lows, highs, strict=True)),
        axes_scale=list(scales),
        color=MODEL,
        labels=[one.title("\n") for one in chosen],
        quantiles=QUANTILES,
        levels=_LEVELS,
        smooth=_SMOOTHING,
        plot_datapoints=False,
        plot_density=False,
        fill_contours=True,
        label_kwargs={"fontsize": 9},
    )
    for panel in figure.axes:
        _write_out(panel.xaxis)
        _write_out(panel.yaxis)
    for one, axis in zip(chosen, figure.axes[:: len(chosen) + 1], strict=True):
        axis.set_title(
            f"{one.title(' ')}\n{_interval(*one.quantiles(QUANTILES))}",
            fontsize=9,
            pad=4,
        )
        if prior:
            _plot_prior(axis, one.prior, len(values))
    _plot_truths(figure, marked)
    is_true = any(truth is not None for truth in marked)
    _plot_key(figure, len(chosen), prior, is_true)
    return figure


def plot_trace(
    posterior: Posterior, names: Iterable[str] | None = None
) -> Figure:
    """Plot parameters in the order in which they were sampled.

    Args:
        posterior (Posterior): The posterior.
        names (str/list of str): The parameters and derived quantities, as
            for `plot_corner`.

    Returns:
        Figure: The figure. Grey samples were explored, blue ones have
            weights in the posterior. The last panel shows the logarithm of
            the likelihood.

    Raises:
        InconsistentArguments: If a parameter is unknown, or there are no
            samples of the posterior.
    """
    _check_sampled("plot_trace", posterior)
    likelihood = posterior.samples.log_likelihood
    rows = [
        *(
            (one.title("\n"), one.values, one.panel(None)[0])
            for one in _chosen(posterior, names)
        ),
        ("ln likelihood", likelihood, "linear"),
    ]
    figure, axes = plt.subplots(
        len(rows),
        1,
        sharex=True,
        figsize=(7.5, 0.9 * len(rows) + 0.5),
        layout="constrained",
    )
    # Samples with larger weights than the darkest hold half of all weight.
    weights = posterior.weights
    ascending = np.sort(weights)
    darkest = ascending[np.searchsorted(np.cumsum(ascending), 0.5)]
    # Weighted samples are drawn last.
    order = np.argsort(weights, kind="stable")
    for axis, (label, values, scale) in zip(axes, rows, strict=True):
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
        axis.set_yscale(scale)
        _write_out(axis.yaxis)
        # Upright labels would be longer than a row.
        axis.set_ylabel(label, fontsize=8, rotation=0, ha="right", va="center")
    figure.align_ylabels(axes)
    # The likelihood of the first samples may be minus infinity.
    bulk = likelihood[weights > _NEGLIGIBLE * weights.max()]
    axes[-1].set_ylim(bulk.min() - 1.0, bulk.max() + 1.0)
    axes[-1].set_xlabel("sample")
    return figure


def _check_sampled(what: str, posterior: Posterior) -> None:
    """Raise if there is only the maximum of a posterior."""
    if not posterior.samples.is_posterior:
        raise InconsistentArguments(
            f"{what} needs samples of the posterior, got only its maximum. "
            "Use another method than 'map'."
        )


def _chosen(
    posterior: Posterior, names: Iterable[str] | None
) -> list[_Quantity]:
    """Return the quantities to plot."""
    known = {
        label: _quantity(posterior, name, label, values, prior)
        for name, whole in posterior.values.items()
        for (label, values), (_, prior) in zip(
            components(name, whole),
            components(name, posterior.prior[name]),
            strict=True,
        )
    }
    if names is None:
        return [one for one in known.values() if _varies(one.values)]
    chosen = check_names("names", names)
    _check_among("names", chosen, (*known, *posterior.values))
    return [
        known[label] for name in chosen for label in _labels(posterior, name)
    ]


def _labels(posterior: Posterior, name: str) -> list[str]:
    """Return the names of the numbers that the name of a quantity means."""
    if name not in posterior.values:
        return [name]
    return [label for label, _ in components(name, posterior.values[name])]


def _truths(
    posterior: Posterior, truths: Mapping[str, Any]
) -> dict[str, float]:
    """Return the true values that are finite, by names of single numbers."""
    everything = (
        label
        for name in posterior.values
        for label in _labels(posterior, name)
    )
    _check_among("truths", truths, (*everything, *posterior.values))
    found: dict[str, float] = {}
    for name, truth in truths.items():
        shape = (
            posterior.values[name].shape[1:]
            if name in posterior.values
            else ()
        )
        if np.shape(truth) != shape:
            raise InconsistentArguments(
                f"The truth of '{name}' must have the shape {shape}, got "
                f"{np.shape(truth)}."
            )
        array = np.asarray(truth, float)[None]
        found |= {
            label: float(x[0])
            for label, x in components(name, array)
            if np.isfinite(x[0])
        }
    return found


def _check_among(
    what: str, given: Iterable[str], known: Iterable[str]
) -> None:
    """Raise if a name is unknown."""
    known = list(dict.fromkeys(known))
    for name in given:
        if name not in known:
            raise InconsistentArguments(
                f"The {what} must be among {', '.join(known)}; got '{name}'."
                + nearest(name, known)
            )


def _quantity(
    posterior: Posterior,
    name: str,
    label: str,
    values: NDArray[np.float64],
    prior: NDArray[np.float64],
) -> _Quantity:
    """Return one number of a quantity."""
    unit = posterior.units[name]
    # Slashes part a group from a parameter, or a quantity from an emission.
    title = label if name in posterior.derived else label.rpartition("/")[2]
    if title.startswith(LOG10):
        title = f"log10 {title.removeprefix(LOG10)}"
        unit = unit.removeprefix("log10(").removesuffix(")")
        scale = 1.0
    else:
        (size,) = _quantiles(np.abs(values), posterior.weights, (0.5,))
        scale, unit = _scaled(unit, float(size))
    return _Quantity(
        label,
        title,
        "" if unit == PURE else unit,
        scale,
        values * scale,
        posterior.weights,
        prior * scale,
    )


def _scaled(unit: str, size: float) -> tuple[float, str]:
    """Return a factor, and the units in which numbers are easy to read."""
    scale, longer = in_longer_years(unit, size)
    low, high = _READABLE
    if not size > 0.0 or low <= scale * size < high:
        return scale, longer
    power = int(np.floor(np.log10(size)))
    pure = "" if unit == PURE else f" {unit}"
    return 10.0**-power, f"$10^{{{power}}}${pure}"


def _limits(
    values: NDArray[np.float64],
    weights: NDArray[np.float64],
    prior: NDArray[np.float64],
    truth: float | None,
) -> tuple[float, float]:
    """Return the limits of a panel, which include a truth."""
    low, high = _quantiles(values, weights, _SHOWN)
    if high - low > _LONG_TAILS * np.ptp(
        _quantiles(values, weights, QUANTILES)
    ):
        low, high = _quantiles(values, weights, _SHOWN_OF_LONG_TAILS)
    margin = _MARGIN * (high - low) or 0.1 * abs(high) or 0.1
    prior = prior[np.isfinite(prior)]
    if np.ptp(prior) > 0.0:
        # There is nothing to show beyond the ends of the prior.
        low = max(low - margin, min(low, prior.min()))
        high = min(high + margin, max(high, prior.max()))
    else:
        low, high = low - margin, high + margin
    if truth is not None:
        low, high = min(low, truth - margin), max(high, truth + margin)
    return float(low), float(high)


def _quantiles(
    values: NDArray[np.float64],
    weights: NDArray[np.float64],
    probabilities: tuple[float, ...],
) -> NDArray[np.float64]:
    """Return quantiles of the samples that are finite."""
    finite = np.isfinite(values)
    share = weights[finite] / weights[finite].sum()
    return weighted_quantiles(values[finite], share, probabilities)


def _varies(values: NDArray[np.float64]) -> bool:
    """Return whether the samples that are finite differ."""
    finite = values[np.isfinite(values)]
    return bool(len(finite)) and bool(np.ptp(finite) > 0.0)


def _interval(low: float, middle: float, high: float) -> str:
    """Return a median with errors, to two digits of the smaller error."""
    up, down = high - middle, middle - low
    # An error far smaller than the other needs no digits of its own.
    smallest = max(min(up, down), 0.1 * max(up, down))
    if smallest <= 0.0:
        return f"{middle:.4g}"
    places = max(0, 1 - int(np.floor(np.log10(smallest))))
    middle = round(middle, places) + 0.0  # never -0
    return f"${middle:.{places}f}^{{+{up:.{places}f}}}_{{-{down:.{places}f}}}$"


def _write_out(axis: Axis) -> None:
    """Write the numbers of an axis in full, without a common offset."""
    formatter = axis.get_major_formatter()
    # The axes of inner panels have no numbers.
    if isinstance(formatter, ScalarFormatter):
        formatter.set_useOffset(False)
        formatter.set_scientific(False)
    elif isinstance(formatter, LogFormatter):
        write_decades(axis)
    else:
        axis.set_minor_formatter(NullFormatter())


def _plot_prior(axis: Axes, values: NDArray[np.float64], n: int) -> None:
    """Add the prior to a histogram of n samples of the posterior."""
    space = np.geomspace if axis.get_xscale() == "log" else np.linspace
    values = values[np.isfinite(values)]
    counts, edges = np.histogram(values, space(*axis.get_xlim(), _BINS + 1))
    if counts.any():
        heights = counts * n / len(values)
        axis.stairs(heights, edges, color=PRIOR, linestyle="--")
        axis.set_ylim(top=max(axis.get_ylim()[1], 1.1 * heights.max()))


def _plot_truths(figure: Figure, truths: list[float | None]) -> None:
    """Add the truths that are known to a corner plot.

    The function of corner fails if there is only one quantity.
    """
    panels = np.array(figure.axes).reshape(len(truths), len(truths))
    style: dict[str, Any] = {"color": BEST, "linewidth": 1.2}
    for i, j in zip(*np.tril_indices(len(truths)), strict=True):
        x, y = truths[j], truths[i]
        if x is not None:
            panels[i, j].axvline(x, **style)
        if y is not None and i != j:
            panels[i, j].axhline(y, **style)
        if x is not None and y is not None and i != j:
            panels[i, j].plot(x, y, "s", color=BEST, markersize=4)


def _plot_key(figure: Figure, n: int, prior: bool, truth: bool) -> None:
    """Add the meaning of the lines of a corner plot of n quantities."""
    lines = {
        "posterior": (MODEL, "-"),
        "median, central 68%": (MODEL, "--"),
        "prior": (PRIOR, "--"),
        "truth": (BEST, "-"),
    }
    if not prior:
        del lines["prior"]
    if not truth:
        del lines["truth"]
    handles = [
        Line2D([], [], color=color, linestyle=style, label=label)
        for label, (color, style) in lines.items()
    ]
    if n > 1:
        # Nothing is above the diagonal.
        figure.legend(handles=handles, loc="upper right", frameon=False)
        return
    (axis,) = figure.axes
    axis.set_ylim(top=1.8 * axis.get_ylim()[1])
    axis.legend(handles=handles, loc="upper left", framealpha=1.0, fontsize=7)
