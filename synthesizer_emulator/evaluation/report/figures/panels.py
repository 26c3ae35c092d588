"""The style and the elements of figures of errors, and their files."""

import io
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from functools import wraps
from pathlib import Path
from typing import Any, ParamSpec, TypeVar

import matplotlib as mpl
import numpy as np
from matplotlib.axes import Axes
from matplotlib.axis import XAxis, YAxis
from matplotlib.cm import ScalarMappable
from matplotlib.collections import PathCollection
from matplotlib.colors import LogNorm
from matplotlib.figure import Figure
from matplotlib.image import AxesImage
from matplotlib.layout_engine import ConstrainedLayoutEngine
from matplotlib.legend import Legend
from matplotlib.ticker import MaxNLocator, NullFormatter
from numpy.typing import NDArray

from synthesizer_emulator.descriptions import RAISED
from synthesizer_emulator.evaluation.measures.residuals import Profile
from synthesizer_emulator.files.locks import make_folder
from synthesizer_emulator.files.writing import write_whole
from synthesizer_emulator.gridfile.header import Axis
from synthesizer_emulator.gridfile.labels import Label, axis_symbol
from synthesizer_emulator.wavelengths import broken

P = ParamSpec("P")
R = TypeVar("R")

# The palette of Okabe & Ito, which is safe for most colour-blind readers.
BLACK, ORANGE, SKY, GREEN = "#000000", "#E69F00", "#56B4E9", "#009E73"
BLUE, RED, PURPLE = "#0072B2", "#D55E00", "#CC79A7"

_DPI = 160

_STYLE = {
    "axes.labelsize": 9,
    "axes.titlesize": 9,
    "axes.linewidth": 0.7,
    "font.size": 9,
    "legend.fontsize": 8,
    "legend.frameon": False,
    "lines.linewidth": 1.1,
    "savefig.dpi": _DPI,
    "xtick.direction": "in",
    "ytick.direction": "in",
    "xtick.labelsize": 8,
    "ytick.labelsize": 8,
    "image.cmap": "viridis",
}

# The smallest width of a figure, in inches.
_NARROWEST = 3.4

# The largest ratio of wavelengths on a linear scale.
_NEAR = 3.0

# The height of the note at the foot of a figure, in inches.
_FOOT = 0.15

WAVELENGTH = "wavelength / Å"
ERROR = "error / %"

# The name and the colour of each quantile of a profile.
QUANTILES = {
    "p50": ("median", BLACK),
    "p95": ("95%", BLUE),
    "p99": ("99%", ORANGE),
}

# The units of axis values in short texts.
_SHORT_UNITS = {"ages": "yr", "hydrogen_densities": "cm⁻³"}


def save(
    figures: Mapping[str, Figure], folder: Path, note: str
) -> dict[str, Path]:
    """Write figures as PNG and as PDF files.

    Args:
        figures (Mapping): The figures by name.
        folder (Path): The output folder; created if missing.
        note (str): What was measured, with the date; written at the foot of
            each figure.

    Returns:
        dict: The paths of the PNG files, by figure name.

    Raises:
        OSError: If a file can't be written.
    """
    make_folder(folder)
    images: dict[str, Path] = {}
    for name, figure in figures.items():
        _write_at_foot(figure, note)
        stem = re.sub(r"[^\w=.-]+", "_", name)
        images[name] = folder / f"{stem}.png"
        _lay_out(figure)
        for path in (images[name], folder / f"{stem}.pdf"):
            write_whole(path, _contents(figure, path.suffix[1:]))
    return images


def _lay_out(figure: Figure) -> None:
    """Lay a figure out, once for all of its files.

    Each `savefig` would do so, and draw the figure once more for it, which
    takes as long as all else.
    """
    layout = figure.get_layout_engine()
    if layout is None:
        return
    figure.set_dpi(_DPI)
    layout.execute(figure)
    figure.set_layout_engine(None)
    share = _FOOT / figure.get_figheight()
    for legend in figure.legends:
        # The layout made room for them above the foot, but leaves them at the
        # edges of the figure.
        legend.set_bbox_to_anchor(
            (0.0, share, 1.0, 1.0 - share), figure.transFigure
        )


def _write_at_foot(figure: Figure, note: str) -> None:
    """Write a note at the foot of a figure, which is made higher for it."""
    width, height = figure.get_size_inches()
    figure.set_size_inches(width, height + _FOOT)
    share = _FOOT / (height + _FOOT)
    layout = figure.get_layout_engine()
    if isinstance(layout, ConstrainedLayoutEngine):
        layout.set(rect=(0.0, share, 1.0, 1.0 - share))
    figure.text(
        0.995, 0.15 * share, note, ha="right", va="bottom", size=6, color="0.4"
    )


def _contents(figure: Figure, kind: str) -> bytes:
    """Return a figure as the bytes of a file of a kind."""
    stream = io.BytesIO()
    figure.savefig(stream, format=kind, dpi=_DPI)
    return stream.getvalue()


def styled(draw: Callable[P, R]) -> Callable[P, R]:
    """Return a drawing function that uses the style of these figures."""

    @wraps(draw)
    def styled(*args: P.args, **kwargs: P.kwargs) -> R:
        with mpl.rc_context(_STYLE):
            return draw(*args, **kwargs)

    return styled


def new_figure(width: float, height: float) -> Figure:
    """Return an empty figure of a given size in inches."""
    return Figure(figsize=(width, height), layout="constrained")


def tiled(
    n: int,
    width: float,
    height: float,
    margins: tuple[float, float] = (0.0, 0.0),
    most: int = 3,
    sharex: bool = False,
    sharey: bool = False,
) -> tuple[Figure, list[Axes], int]:
    """Return a figure with n panels in rows, its panels and its columns.

    `width` and `height` are those of a panel, and `margins` the additional
    width and height of the figure, in inches; `most` is the largest number
    of columns.
    """
    columns = min(most, n)
    rows = -(-n // columns)
    figure = new_figure(
        max(_NARROWEST, width * columns + margins[0]),
        height * rows + margins[1],
    )
    panels = figure.subplots(
        rows, columns, sharex=sharex, sharey=sharey, squeeze=False
    )
    for panel in panels.flat[n:]:
        panel.set_visible(False)
    # The last of each column have labels, also above panels that are hidden.
    for panel in panels.flat[max(n - columns, 0) : n]:
        panel.tick_params(labelbottom=True)
    return figure, list(panels.flat[:n]), columns


def draw_profile(panel: Axes, profile: Profile, breaks: bool = False) -> None:
    """Draw the quantiles of a profile, in per cent.

    Those by wavelength may have breaks, in gaps.
    """
    for name, (title, colour) in QUANTILES.items():
        values = 100 * getattr(profile, name)
        curve = broken(profile.at, values) if breaks else (profile.at, values)
        panel.semilogy(
            *curve,
            color=colour,
            label=title,
            lw=0.9,
        )


def wavelength_scale(lam: NDArray[np.float64]) -> str:
    """Return the scale of an axis of wavelengths: linear if they are near.

    The ticks of a logarithmic scale would then be on top of each other.
    """
    near = len(lam) and lam.max() < _NEAR * lam.min()
    return "linear" if near else "log"


def draw_map(
    panel: Axes,
    means: NDArray,
    axes: Sequence[Axis],
    norm: LogNorm | None = None,
) -> AxesImage:
    """Draw mean errors over the first two axes, one cell for each node.

    Each cell shows the median along the other axes.
    """
    flat = means.reshape(*means.shape[:2], -1)
    known = ~np.isnan(flat).all(axis=-1)
    median = np.full(flat.shape[:2], np.nan)
    median[known] = 100 * np.nanmedian(flat[known], axis=-1)
    image = panel.imshow(
        median.T,
        origin="lower",
        aspect="auto",
        norm=norm or LogNorm(),
        interpolation="nearest",
    )
    for axis, which in zip(axes[:2], (panel.xaxis, panel.yaxis), strict=True):
        ticks = spread_ticks(
            len(axis.values), 3 if which is panel.xaxis else 7
        )
        which.set_ticks(
            ticks, labels=[tick_text(axis.values[i]) for i in ticks]
        )
    panel.tick_params(labelsize=6.5)
    return image


def draw_samples(
    panel: Axes,
    means: NDArray,
    labels: Sequence[Axis],
    ringed: NDArray[np.bool_],
    norm: LogNorm,
) -> PathCollection:
    """Draw mean errors (m,) of samples over their first two labels.

    The largest errors are on top; the samples in a mask (m,) have rings.
    """
    order = np.argsort(np.nan_to_num(means, nan=-1.0))
    x, y = (axis.values[order] for axis in labels[:2])
    image = panel.scatter(
        x,
        y,
        c=100 * means[order],
        norm=norm,
        s=11,
        linewidths=np.where(ringed[order], 0.6, 0.0).tolist(),
        edgecolors=BLACK,
    )
    for axis, scale in zip(
        labels[:2], (panel.set_xscale, panel.set_yscale), strict=True
    ):
        ends = replace(axis, values=np.sort(axis.values))
        scale("log" if Label(ends).logged else "linear")
    panel.tick_params(labelsize=6.5)
    return image


def shown_range(label: Label) -> tuple[float, float]:
    """Return the limits of a plot along an axis of the grid.

    All nodes are within them, and half of the marks of the outermost.
    """
    nodes = label.nodes
    margin = 0.03 * (nodes[-1] - nodes[0]) or 0.5
    low, high = label.to_values(
        np.array([nodes[0] - margin, nodes[-1] + margin])
    )
    return float(low), float(high)


def spread_ticks(n: int, most: int) -> list[int]:
    """Return at most `most` evenly spread indices of n ticks."""
    return np.unique(np.linspace(0, n - 1, min(n, most)).astype(int)).tolist()


def tick_text(value: float) -> str:
    """Return an axis value for a tick: plain, or with a power of ten."""
    if value == 0.0 or 1e-4 <= abs(value) < 1e4:
        return f"{float(f'{value:.2g}'):g}".replace("-", "−")
    mantissa, power = f"{value:.1e}".replace(".0e", "e").split("e")
    ten = f"10^{{{int(power)}}}"
    if mantissa == "1":
        return f"${ten}$"
    return rf"${mantissa}\times{ten}$"


def log_ticks(low: float, high: float, most: int = 3) -> list[float]:
    """Return round values for at most `most` ticks of a logarithmic scale.

    Powers of ten; in less than two decades, multiples of these.
    """
    powers = np.arange(np.floor(np.log10(low)), np.ceil(np.log10(high)) + 1)
    for factors in ([1.0], [1.0, 2.0, 5.0], np.arange(1.0, 10.0)):
        ticks = np.sort(np.outer(factors, 10.0**powers).ravel())
        # Ends may differ by rounding.
        inside = (ticks >= low * (1 - 1e-9)) & (ticks <= high * (1 + 1e-9))
        ticks = ticks[inside]
        if len(ticks) > 1:
            break
    if len(ticks) < 2:
        ticks = np.unique([low, high])
    return [float(ticks[i]) for i in spread_ticks(len(ticks), most)]


def set_log_ticks(
    axis: XAxis | YAxis, low: float, high: float, most: int = 3
) -> None:
    """Label some round values of a logarithmic axis, and no others."""
    ticks = log_ticks(low, high, most)
    axis.set_ticks(ticks, labels=[tick_text(value) for value in ticks])
    axis.set_minor_formatter(NullFormatter())


def legend_below(
    figure: Figure,
    handles: Sequence[Any],
    titles: Sequence[str],
    columns: int,
    **options: Any,
) -> Legend:
    """Add a legend below the panels, in columns that the figure is wide for.

    Args:
        figure (Figure): The figure.
        handles (sequence of Artist): The entries.
        titles (sequence of str): Their titles.
        columns (int): The largest number of columns.
        **options (Any): Further arguments of `Figure.legend`.
    """
    columns = max(1, min(columns, len(titles)))
    while True:
        legend = figure.legend(
            handles,
            titles,
            ncols=columns,
            loc="outside lower center",
            **options,
        )
        width = legend.get_window_extent().width
        if columns == 1 or width <= figure.bbox.width:
            return legend
        legend.remove()
        # Rows of the same length, where there are several.
        rows = -(-len(titles) // (columns - 1))
        columns = -(-len(titles) // rows)


def colour_bar(
    marks: ScalarMappable,
    panels: Axes | Sequence[Axes],
    label: str,
    **where: Any,
) -> None:
    """Draw a colour bar with a few round values.

    Args:
        marks (ScalarMappable): What has the colours.
        panels (Axes/sequence of Axes): The panels that it belongs to.
        label (str): Its title.
        **where (Any): Further arguments of `Figure.colorbar`.
    """
    first = panels if isinstance(panels, Axes) else panels[0]
    figure = first.get_figure()
    assert isinstance(figure, Figure)
    bar = figure.colorbar(marks, ax=panels, label=label, **where)
    axis = bar.ax.xaxis if bar.orientation == "horizontal" else bar.ax.yaxis
    low, high = marks.get_clim()
    if not isinstance(marks.norm, LogNorm):
        bar.locator = MaxNLocator(3)
        bar.update_ticks()
    elif low and high:
        set_log_ticks(axis, low, high)


def is_sparse(values: NDArray) -> bool:
    """Return whether most values are zero or NaN, as of lines alone."""
    return bool(np.mean(np.nan_to_num(values) != 0.0) < 0.5)


def _plain(value: float) -> str:
    """Return a number of three digits, without mathematical markup."""
    mantissa, _, power = f"{value:.3g}".replace("-", "−").partition("e")
    if not power:
        return mantissa
    raised = str(int(power.replace("−", "-"))).translate(RAISED)
    return f"{mantissa}\N{MULTIPLICATION SIGN}10{raised}"


def short_text(name: str, value: float) -> str:
    """Return an axis value as short text, such as `Z = 0.02`."""
    text = (
        f"{axis_symbol(name)} = {_plain(value)} {_SHORT_UNITS.get(name, '')}"
    )
    # No-break spaces, so that the text stays on one line.
    return text.rstrip().replace(" ", "\N{NO-BREAK SPACE}")
