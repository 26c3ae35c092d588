"""The figure of a page: spectra above, and a comparison of them below.

`Figure.draw` takes plain results and fills Bokeh's data sources. Curves are
thinned to what a screen can show, so that little is sent.
"""

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from bokeh.core.properties import value as as_value
from bokeh.events import RangesUpdate, Reset
from bokeh.layouts import column
from bokeh.models import (
    Column,
    ColumnDataSource,
    FixedTicker,
    HoverTool,
    Legend,
    LegendItem,
    Range1d,
)
from bokeh.plotting import figure
from numpy.typing import NDArray

from synthesizer_emulator.emulator.plots import COLOURS
from synthesizer_emulator.explore.spectrum import (
    Node,
    Spectrum,
    dimming,
    envelope,
    in_quantity,
    line_title,
)
from synthesizer_emulator.explore.state import (
    DERIVATIVE,
    FLUXES,
    WAVELENGTHS,
    State,
)
from synthesizer_emulator.explore.upload import Observed

# The colours of A and B are the first two; and those of observations.
_DATA, _GHOST, _MARK = "#000000", "#999999", "#666666"

# Points kept along the x axis; screens have up to twice as many pixels.
_PIXELS = 1000

# The range shown on a new page, Angstrom in the rest frame.
_WINDOW = (600.0, 5e4)

# The decades below the brightest wavelength that are shown at most.
_DECADES = 4.5

_HEIGHT, _LOWER_HEIGHT = 430, 190
_MOST_LABELS = 14

# The decades of wavelength below which ticks are evenly spaced, and above
# which only powers of ten have ticks.
_NARROW, _WIDE = 0.5, 4.0

# The decades of wavelengths, in Angstrom or micron.
_POWERS = 10.0 ** np.arange(-4, 10)

# The smallest distance of two line labels, as a fraction of the x axis.
_APART = 0.017
_FAINTEST_WIDTH = 1.0

# The factor, in decades, by which the y axis is longer for line labels.
_ROOM = 1.5


class Figure:
    """The two panels of a page.

    Attributes:
        layout (Column): Bokeh's layout of both panels.
    """

    def __init__(self, on_zoom: Callable[[tuple[float, ...]], None]) -> None:
        """Lay out the panels.

        Args:
            on_zoom (callable): Called with the lowest and the highest
                wavelength in the unit of the axis when the user zooms, and
                with an empty tuple when the zoom is reset.
        """
        self._on_zoom = on_zoom
        self._x = Range1d(1.0, 10.0)
        self._y = Range1d(1.0, 10.0)
        self._ratio_y = Range1d(0.0, 1.0)
        # Whether the user has not set the range of fluxes.
        self._follows = True
        self._shown = (1.0, 10.0)
        self._ticked: tuple[float, ...] = ()
        common = {
            "x_axis_type": "log",
            "x_range": self._x,
            "sizing_mode": "stretch_width",
            "min_width": 480,
            "tools": "pan,box_zoom,wheel_zoom,reset,save",
            "active_drag": "box_zoom",
        }
        self.main = figure(
            y_axis_type="log",
            y_range=self._y,
            height=_HEIGHT,
            name="main",
            toolbar_location="above",
            **common,
        )
        self.lower = figure(
            y_range=self._ratio_y,
            height=_LOWER_HEIGHT,
            name="lower",
            toolbar_location=None,
            visible=False,
            **common,
        )
        for panel in (self.main, self.lower):
            panel.toolbar.logo = None
            panel.axis.axis_label_text_font_style = "normal"
            panel.axis.axis_label_text_font_size = "14px"
            panel.axis.major_label_text_font_size = "12px"
            panel.grid.grid_line_alpha = 0.35
            panel.yaxis.axis_label_standoff = 4
            panel.min_border_left = 85
            # Half of the label of a tick at the end of the axis.
            panel.min_border_right = 30
            panel.on_event(RangesUpdate, self._zoomed)
            panel.on_event(Reset, self._reset)
        self._add_curves()
        self.layout: Column = column(
            self.main, self.lower, sizing_mode="stretch_width"
        )

    def _add_curves(self) -> None:
        """Add all glyphs, without data."""
        main, lower = self.main, self.lower

        def source(*names: str, name: str = "") -> ColumnDataSource:
            return ColumnDataSource({n: [] for n in names}, name=name)

        self._nodes = source("xs", "ys", name="nodes")
        ghosts = main.multi_line(
            "xs", "ys", source=self._nodes, color=_GHOST, line_width=1.0,
            line_alpha=0.8,
        )  # fmt: skip
        self._observed = source("x", "y", name="observed")
        self._bars = source("x", "low", "high")
        self._points = source("x", "y", name="points")
        data = [
            main.line("x", "y", source=self._observed, color=_DATA,
                      line_width=0.8, line_alpha=0.75),
            main.segment("x", "low", "x", "high", source=self._bars,
                         color=_DATA, line_width=1.2),
            main.scatter("x", "y", source=self._points, size=7,
                         marker="square", color=_DATA),
        ]  # fmt: skip
        self._curves, self._bands, self._lower = [], [], []
        self._labels: list[LegendItem] = []
        items = []
        for name, colour, dash in zip(
            "AB", COLOURS[:2], ("solid", (5, 2)), strict=True
        ):
            self._curves.append(source("x", "y", name=name))
            self._bands.append(
                source("x", "y", "low", "high", name=f"bands {name}")
            )
            self._lower.append(source("x", "y", name=f"lower {name}"))
            curve = main.line("x", "y", source=self._curves[-1],
                              color=colour, line_width=1.5,
                              line_dash=dash)  # fmt: skip
            wide = main.segment("low", "y", "high", "y",
                                source=self._bands[-1], color=colour,
                                line_width=2.0)  # fmt: skip
            dot = main.scatter("x", "y", source=self._bands[-1], size=9,
                               color=colour, line_color="white",
                               marker="circle")  # fmt: skip
            lower.line("x", "y", source=self._lower[-1], color=colour,
                       line_width=1.3, line_dash=dash)  # fmt: skip
            items.append(LegendItem(label=name, renderers=[curve, wide, dot]))
            main.add_tools(
                HoverTool(
                    renderers=[curve],
                    tooltips=[("λ", "@x{0.0000}"), (name, "@y{0.000e}")],
                    visible=False,
                )
            )
        lower.scatter("x", "y", source=self._lower[1], size=4, alpha=0.0)
        self._below = source("x", "y", name="observed ratio")
        lower.scatter("x", "y", source=self._below, size=4, color=_DATA)
        self._level = lower.hspan(0.0, color=_MARK, line_dash="dotted")
        self._items = items
        self._ghost_item = LegendItem(label="native nodes", renderers=[ghosts])
        self._data_item = LegendItem(label="observed", renderers=data)
        self._legend = Legend(
            items=[],
            orientation="vertical",
            location="top_left",
            border_line_color=None,
            label_text_font_size="13px",
            margin=0,
            padding=4,
            spacing=0,
        )
        main.add_layout(self._legend, "above")
        self._lines = source("x", "text", "at", name="lines")
        self._ticks = source("x", "low", "high")
        main.segment("x", "low", "x", "high", source=self._ticks,
                     color=_MARK, line_width=0.8,
                     line_alpha=0.45)  # fmt: skip
        main.text(
            "x", "at", "text", source=self._lines, angle=np.pi / 2,
            text_align="right", text_baseline="middle",
            text_font_size="11px", text_color="#222222",
            background_fill_color="white", background_fill_alpha=0.8,
        )  # fmt: skip

    def draw(
        self,
        state: State,
        spectra: Sequence[Spectrum],
        nodes: Sequence[Node] = (),
        observed: Observed | None = None,
        derivative_title: str = "",
    ) -> None:
        """Draw the spectra of a page.

        Args:
            state (State): The settings of the page.
            spectra (sequence of Spectrum): The spectra of A, and of B.
            nodes (sequence of Node): The native nodes around A, nearest
                first.
            observed (Observed): The user's data, or None.
            derivative_title (str): The title of the axis of derivatives.
        """
        unit = WAVELENGTHS[state.wavelength]
        flux = FLUXES[state.flux]
        curves = [spectrum.shown(state.flux) for spectrum in spectra]
        stretch = 1.0 + state.a.redshift if state.observed else 1.0
        window = tuple(np.clip(_WINDOW, *curves[0][0][[0, -1]] / stretch))
        low, high = state.limits or tuple(end * stretch for end in window)
        self._shown = (low, high)
        self._x.update(start=low / unit, end=high / unit)
        at = _ticks(low / unit, high / unit)
        if self._ticked != at:
            self._ticked = at
            minor = np.outer(_POWERS, np.arange(1, 10)).ravel()
            ticks = FixedTicker(ticks=list(at), minor_ticks=minor.tolist())
            for panel in (self.main, self.lower):
                panel.xaxis.ticker = ticks
                panel.xgrid.ticker = ticks
        points = self._data(state, observed)
        has_labels = state.lines and spectra[0].lines is not None
        self._scale(curves, points, has_labels)
        self.main.yaxis.axis_label = flux.title
        frame = "observed" if flux.observed else "rest-frame"
        title = f"{frame} wavelength / {state.wavelength}"
        self.main.xaxis.axis_label = "" if state.lower else title
        self.lower.xaxis.axis_label = title
        self.main.xaxis.major_label_text_alpha = 0 if state.lower else 1
        for i in range(2):
            x, y = (
                spectra[i].broken(*curves[i])
                if i < len(curves)
                else (_NONE, _NONE)
            )
            x, y = envelope(x, _positive(y), self._shown, _PIXELS)
            _send(self._curves[i], {"x": x / unit, "y": y})
            self._draw_bands(state, spectra, i)
        shapes = [
            node.spectrum.broken(*node.spectrum.shown(state.flux))
            for node in nodes
        ]
        thin = [
            envelope(x, _positive(y), self._shown, _PIXELS) for x, y in shapes
        ]
        _send(
            self._nodes,
            {
                "xs": [x / unit for x, _ in thin],
                "ys": [y for _, y in thin],
            },
        )
        self._draw_data(points, observed, unit)
        self._draw_lines(state, spectra[0], unit)
        self._draw_lower(state, spectra, nodes, points, derivative_title)

    def shows(
        self, spectrum: Spectrum, lam: NDArray[np.float64], state: State
    ) -> NDArray[np.bool_]:
        """Return whether wavelengths (n,) in the rest frame are shown."""
        stretch = 1.0 + spectrum.redshift if state.observed else 1.0
        return (lam * stretch > self._shown[0]) & (
            lam * stretch < self._shown[1]
        )

    def _draw_bands(
        self, state: State, spectra: Sequence[Spectrum], i: int
    ) -> None:
        """Draw the photometry of one spectrum."""
        bands = spectra[i].bands if i < len(spectra) else ()
        z = spectra[i].redshift if bands else 0.0
        unit = WAVELENGTHS[state.wavelength]
        lam = np.array([band.pivot for band in bands])
        y = _converted(state, z, lam, np.array([b.fnu for b in bands]))
        scale = unit if state.observed else unit * (1.0 + z)
        _send(
            self._bands[i],
            {
                "x": lam / scale,
                "y": y,
                "low": [band.edges[0] / scale for band in bands],
                "high": [band.edges[1] / scale for band in bands],
            },
        )

    def _data(
        self, state: State, observed: Observed | None
    ) -> tuple[NDArray, NDArray, NDArray]:
        """Return wavelengths, values and errors of the user's data."""
        if observed is None:
            return _NONE, _NONE, _NONE
        z = state.a.redshift
        lam = observed.lam if state.observed else observed.lam / (1.0 + z)
        values, errors = (
            _converted(state, z, observed.lam, given)
            for given in (observed.fnu, observed.error)
        )
        return lam, values, errors

    def _draw_data(
        self,
        points: tuple[NDArray, NDArray, NDArray],
        observed: Observed | None,
        unit: float,
    ) -> None:
        """Draw the user's data, as a curve or as points with errors."""
        lam, values, errors = points
        one_by_one = observed is not None and observed.is_photometry
        x, y = (
            (_NONE, _NONE)
            if one_by_one
            else envelope(lam, _positive(values), self._shown, _PIXELS)
        )
        _send(self._observed, {"x": x / unit, "y": y})
        if not one_by_one:
            lam = values = errors = _NONE
        _send(self._points, {"x": lam / unit, "y": _positive(values)})
        known = np.isfinite(errors) & (values > 0)
        low = np.maximum(values - errors, 1e-3 * np.abs(values))
        _send(
            self._bars,
            {
                "x": lam[known] / unit,
                "low": low[known],
                "high": (values + errors)[known],
            },
        )

    def _scale(
        self,
        curves: Sequence[tuple[NDArray, NDArray]],
        points: tuple[NDArray, NDArray, NDArray],
        has_labels: bool,
    ) -> None:
        """Set the range of fluxes, unless the user has set it."""
        if not self._follows:
            return
        low, high = self._shown
        seen = [
            y[(x >= low) & (x <= high) & (y > 0)]
            for x, y in (*curves, points[:2])
        ]
        values = np.concatenate(seen)
        if not len(values):
            return
        brightest = float(values.max())
        faintest = max(float(values.min()), brightest / 10.0**_DECADES)
        start = np.log10(faintest / 1.6)
        room = _ROOM if has_labels else 1.1
        end = start + room * (np.log10(brightest) - start)
        # In steps, as the browser lays out the page again for a new range.
        low, high = _floor(start), -_floor(-end)
        self._y.update(start=10.0**low, end=10.0**high)

    def _draw_lines(
        self, state: State, spectrum: Spectrum, unit: float
    ) -> None:
        """Mark the strongest emission lines in the range shown."""
        x: list[float] = []
        texts: list[str] = []
        if state.lines and spectrum.lines is not None:
            stretch = 1.0 + spectrum.redshift if state.observed else 1.0
            x, texts = _chosen_lines(spectrum, stretch, self._shown)
        start, end = self._y.start, self._y.end
        top = end / (end / start) ** 0.01
        _send(
            self._lines,
            {
                "x": np.array(x) / unit,
                "text": texts,
                "at": [top] * len(x),
            },
        )
        _send(
            self._ticks,
            {
                "x": np.array(x) / unit,
                "low": [start] * len(x),
                "high": [end] * len(x),
            },
        )

    def _draw_lower(
        self,
        state: State,
        spectra: Sequence[Spectrum],
        nodes: Sequence[Node],
        points: tuple[NDArray, NDArray, NDArray],
        derivative_title: str,
    ) -> None:
        """Draw the lower panel."""
        self.lower.visible = bool(state.lower)
        unit = WAVELENGTHS[state.wavelength]
        first = spectra[0].shown(state.flux)
        curves: list[tuple[NDArray, NDArray]] = []
        level, title = 0.0, ""
        ratio = _NONE
        ends = (0.5, 99.5)
        if state.lower.startswith(DERIVATIVE):
            title, ends = derivative_title, (0.0, 100.0)
            curves = [
                s.broken(s.shown(state.flux)[0], s.slope)
                for s in spectra
                if s.slope is not None
            ]
        elif state.lower == "error" and nodes:
            title = "error / %"
            curves = [spectra[0].broken(first[0], 100.0 * nodes[0].error)]
        elif state.lower == "ratio" and len(spectra) > 1:
            title, level = "B / A", 1.0
            x, y = spectra[1].broken(*spectra[1].shown(state.flux))
            # Not where A is too faint to be shown.
            bright = np.where(first[1] > self._y.start, first[1], np.nan)
            on_a = np.interp(first[0], x, y, np.nan, np.nan)
            curves = [
                (_NONE, _NONE),
                spectra[0].broken(first[0], on_a / bright),
            ]
        elif state.lower == "observed":
            title, level = "observed / A", 1.0
            with np.errstate(divide="ignore", invalid="ignore"):
                ratio = points[1] / np.interp(
                    points[0], *spectra[0].broken(*first), np.nan, np.nan
                )
        for i in range(2):
            x, y = curves[i] if i < len(curves) else (_NONE, _NONE)
            x, y = envelope(x, _finite(y), self._shown, _PIXELS)
            _send(self._lower[i], {"x": x / unit, "y": y})
        below = points[0][: len(ratio)]
        _send(self._below, {"x": below / unit, "y": _finite(ratio)})
        self._level.glyph.y = level
        self.lower.yaxis.axis_label = title
        seen = [
            y[(x >= self._shown[0]) & (x <= self._shown[1])]
            for x, y in (*curves, (points[0][: len(ratio)], ratio))
        ]
        values = _finite(np.concatenate([*seen, [level]]))
        low, high = np.nanpercentile(values, ends)
        low, high = min(low, level), max(high, level)
        pad = 0.08 * (high - low) or 0.1
        self._ratio_y.update(start=low - pad, end=high + pad)

    def label(
        self,
        titles: Sequence[str],
        has_nodes: bool,
        observed: Observed | None,
    ) -> None:
        """Write the legend.

        Args:
            titles (sequence of str): The titles of A, and of B.
            has_nodes (bool): Whether native nodes are drawn.
            observed (Observed): The user's data, or None.
        """
        items = self._items[: len(titles)]
        for item, title in zip(items, titles, strict=True):
            item.label = as_value(title)
        if has_nodes:
            items = [*items, self._ghost_item]
        if observed is not None:
            self._data_item.label = as_value(observed.name)
            items = [*items, self._data_item]
        if self._legend.items != items:
            self._legend.items = items

    def _zoomed(self, event: RangesUpdate) -> None:
        """Keep the ranges that the user has chosen."""
        if (event.y0, event.y1) != (self._y.start, self._y.end):
            self._follows = False
        self._on_zoom((float(event.x0), float(event.x1)))

    def _reset(self, event: Reset) -> None:
        """Return to the ranges of a new page."""
        self._follows = True
        self._on_zoom(())


_NONE = np.zeros(0)


def _send(source: ColumnDataSource, columns: dict[str, Any]) -> None:
    """Replace the data of a source, unless it was empty and stays so."""
    first = next(iter(columns))
    if len(columns[first]) or len(source.data[first]):
        source.data = columns


def _ticks(low: float, high: float) -> tuple[float, ...]:
    """Return the positions of the ticks of a logarithmic axis.

    Unless the range is narrow they do not depend on it, since the browser
    takes long to replace them.
    """
    decades = np.log10(high / low)
    if decades < _NARROW:
        step = 10.0 ** np.floor(np.log10((high - low) / 3.0))
        step *= next(k for k in (1, 2, 5, 10) if (high - low) / step / k < 9)
        return tuple(step * np.arange(np.ceil(low / step), high / step))
    mantissas = [1] if decades > _WIDE else [1, 2, 5]
    return tuple(np.outer(_POWERS, mantissas).ravel())


def _chosen_lines(
    spectrum: Spectrum, stretch: float, shown: tuple[float, float]
) -> tuple[list[float], list[str]]:
    """Return the wavelengths and titles of the lines to mark.

    Of lines that are too close for two labels, the one with the larger
    equivalent width relative to its wavelength is marked.
    """
    lines = spectrum.lines
    assert lines is not None
    lam, width = lines.lam * stretch, lines.equivalent_width
    least = _APART * np.log(shown[1] / shown[0])
    x: list[float] = []
    texts = []
    for i in np.argsort(-np.nan_to_num(width / lam)):
        inside = shown[0] < lam[i] < shown[1]
        near = any(abs(np.log(lam[i] / other)) < least for other in x)
        if not inside or near or not width[i] > _FAINTEST_WIDTH:
            continue
        x.append(float(lam[i]))
        texts.append(f"{line_title(lines.ids[i])}  EW {_short(width[i])} Å")
        if len(x) == _MOST_LABELS:
            break
    return x, texts


def _floor(exponent: float) -> float:
    """Return an exponent rounded down to a quarter of a decade."""
    return float(np.floor(4.0 * exponent) / 4.0)


def _short(width: float) -> str:
    """Return an equivalent width with three digits, or more above 1000."""
    return f"{width:.0f}" if width >= 100 else f"{width:.3g}"


def _converted(
    state: State, redshift: float, lam: NDArray, fnu: NDArray
) -> NDArray[np.float64]:
    """Return observed flux densities, nJy, in the quantity of the page.

    The wavelengths are observed, Angstrom, (n,).
    """
    if state.observed:
        return in_quantity(state.flux, lam, fnu)
    return in_quantity(
        state.flux, lam / (1.0 + redshift), fnu / dimming(redshift)
    )


def _positive(y: NDArray) -> NDArray:
    """Return values with NaN in place of those that a log axis lacks."""
    return np.where(y > 0, y, np.nan)


def _finite(y: NDArray) -> NDArray:
    """Return values with NaN in place of infinite ones."""
    return np.where(np.isfinite(y), y, np.nan)
