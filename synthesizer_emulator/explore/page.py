"""The page: the widgets of a `State`, and what is drawn of it.

An `Explorer` holds one `State`. Widgets replace it, and all of the page is
drawn from it after each change.
"""

import html
import io
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import replace
from typing import Any, ClassVar

import numpy as np
import panel as pn
from astropy.table import Table
from bokeh.models import CustomJSTickFormatter

from synthesizer_emulator import __version__
from synthesizer_emulator.explore.figure import Figure
from synthesizer_emulator.explore.script import python_lines
from synthesizer_emulator.explore.spectrum import (
    GridSpectra,
    Node,
    Spectrum,
    line_title,
    read_filters,
)
from synthesizer_emulator.explore.state import (
    COMMON,
    DERIVATIVE,
    DUST_CURVES,
    FLUXES,
    HISTORIES,
    IGM_MODELS,
    WAVELENGTHS,
    Range,
    Setting,
    State,
)
from synthesizer_emulator.explore.upload import (
    FLUX_UNITS,
    LAM_UNITS,
    LARGEST,
    Observed,
    read_observed,
)
from synthesizer_emulator.validation import INPUT_ERRORS

# The delays after the last change before the texts and the address of the page
# are written, ms.
_TEXT_DELAY, _ADDRESS_DELAY = 100, 700

# The steps of a slider, about one a pixel.
_STEPS = 1000

_MOST_LINES = 15
_SIDE = 330

_NONE = "none"
_SINGLE = "single population"

_LOWER = {
    _NONE: "",
    "error at the nearest node": "error",
    "B / A": "ratio",
    "observed / A": "observed",
}

_STYLE = """
div.ex { display: flex; gap: 40px; align-items: flex-start; }
table.ex { border-collapse: collapse; font-size: 13px; }
table.ex th { text-align: left; padding: 2px 14px 2px 0; font-weight: 600;
  border-bottom: 1px solid #bbb; }
table.ex td { padding: 1px 14px 1px 0; }
"""


class Explorer(pn.viewable.Viewer):
    """A page that explores emulated grids.

    Attributes:
        grids (Mapping): The grids, by name.
        state (State): The settings of the page.
        observed (Observed): The user's data, or None.
    """

    def __init__(
        self, grids: Mapping[str, GridSpectra], query: str = ""
    ) -> None:
        """Lay out a page.

        Args:
            grids (Mapping): The grids, by name; at least one.
            query (str): The query of a link. If it is invalid, the page has
                its defaults and says what is wrong.
        """
        super().__init__()
        self.grids = dict(grids)
        self.observed: Observed | None = None
        self._choices = {name: g.choices for name, g in self.grids.items()}
        name = next(iter(self.grids))
        self.state = State(Setting.default(name, self._choices[name]))
        self._edits_b = False
        self._writing = False
        self._pending = False
        self._compiled: set[tuple[Any, ...]] = set()
        self._spectra: list[Spectrum] = []
        self._drawn_nodes: list[Node] = []
        self._structure: tuple[Any, ...] = ()
        self._raw: tuple[str, bytes] | None = None
        self._changes = 0
        self._figure = Figure(self._zoomed)
        self._pane = pn.pane.Bokeh(
            self._figure.layout, sizing_mode="stretch_width"
        )
        problem = ""
        if query:
            try:
                self.state = State.from_query(query, self._choices)
                if self.state.filters:
                    read_filters(self.state.filters)
            except INPUT_ERRORS as error:
                self.state = State(Setting.default(name, self._choices[name]))
                problem = f"The link can't be shown: {error}"
        self._make_widgets()
        self._layout = self._lay_out()
        self._write_widgets()
        self._draw()
        if problem:
            self._say(problem)

    def __panel__(self) -> Any:
        """Return the layout."""
        return self._layout

    @property
    def editing(self) -> Setting:
        """The setting that the widgets change."""
        b = self.state.b
        return b if self._edits_b and b is not None else self.state.a

    # Widgets

    def _make_widgets(self) -> None:
        """Make the widgets that every page has."""
        w = pn.widgets

        def select(label: str, options: Any, name: str) -> Any:
            return self._watched(
                w.Select(
                    name=label, options=options, css_classes=[f"w-{name}"],
                    sizing_mode="stretch_width", margin=(3, 10),
                )
            )  # fmt: skip

        self._which = self._watched(
            w.RadioButtonGroup(
                options=["A", "B"], value="A", css_classes=["w-which"],
                width=110, margin=(5, 5, 5, 10),
            ),
            self._switch,
        )  # fmt: skip
        self._compare = self._watched(
            w.Checkbox(
                name="compare two settings", css_classes=["w-compare"],
                margin=(12, 5),
            ),
            self._toggle_comparison,
        )  # fmt: skip
        self._grid = select("grid", list(self.grids), "grid")
        self._spectrum = select("spectrum", [], "spectrum")
        self._history = select("stars", [], "history")
        self._sliders: dict[tuple[str, str], _Control] = {}
        self._dust = select(
            "dust curve",
            {_NONE: "", **{name: name for name in DUST_CURVES}},
            "dust",
        )
        self._igm = select(
            "intergalactic medium",
            {_NONE: "", **{name: name for name in IGM_MODELS}},
            "igm",
        )
        self._of_stars = pn.Column(margin=0, sizing_mode="stretch_width")
        self._of_dust = pn.Column(margin=0, sizing_mode="stretch_width")
        self._of_distance = pn.Column(margin=0, sizing_mode="stretch_width")
        self._flux = select(
            "flux", {units.title: name for name, units in FLUXES.items()},
            "flux",
        )  # fmt: skip
        self._wavelength = select(
            "wavelength", list(WAVELENGTHS), "wavelength"
        )
        self._lower = select("lower panel", [], "lower")
        self._filters = self._watched(
            w.TextInput(
                name="filters", css_classes=["w-filters"],
                placeholder="NIRCam, JWST/NIRCam.F200W, g=4000-5500",
                sizing_mode="stretch_width", margin=(3, 10),
            )
        )  # fmt: skip
        self._lines, self._nodes = (
            self._watched(
                w.Checkbox(
                    name=label,
                    css_classes=[f"w-{name}"],
                    margin=(26, 10, 0, 5),
                )
            )
            for label, name in (("lines", "lines"), ("native nodes", "nodes"))
        )
        self._message = pn.pane.HTML(
            "", visible=False, css_classes=["message"],
            sizing_mode="stretch_width",
            styles={
                "background": "#fff4e5", "border-left": "4px solid #D55E00",
                "padding": "6px 10px", "font-size": "14px",
            },
        )  # fmt: skip
        self._about = pn.pane.HTML("", sizing_mode="stretch_width")
        self._numbers = pn.pane.HTML(
            "", stylesheets=[_STYLE], css_classes=["numbers"]
        )
        self._code = pn.pane.Markdown("", css_classes=["code"])
        self._link = w.TextInput(
            name="the query of the link to this page",
            css_classes=["w-link"], disabled=True,
            sizing_mode="stretch_width",
        )  # fmt: skip
        self._drop = w.FileDropper(
            multiple=False, max_file_size=f"{LARGEST // 1_000_000}MB",
            css_classes=["w-drop"], height=90, width=380,
        )  # fmt: skip
        self._drop.param.watch(self._dropped, "value")
        self._lam_unit, self._flux_unit = (
            w.Select(
                name=label, options=list(units), width=150,
                css_classes=[f"w-{name}"],
            )
            for label, units, name in (
                ("wavelengths, if not in the file", LAM_UNITS, "lam-unit"),
                ("fluxes, if not in the file", FLUX_UNITS, "flux-unit"),
            )
        )  # fmt: skip
        for widget in (self._lam_unit, self._flux_unit):
            widget.param.watch(lambda _: self._read_data(), "value")
        self._table = w.FileDownload(
            callback=self._ecsv, filename="spectrum.ecsv", label="ECSV",
            css_classes=["w-ecsv"], width=110,
        )  # fmt: skip
        self._png = w.Button(name="PNG", css_classes=["w-png"], width=110)
        self._png.js_on_click(
            args={"layout": self._figure.layout}, code=_EXPORT
        )

    def _moved(self, event: Any) -> None:
        """Read the widgets after a slider was moved or a number typed."""
        with self._reporting():
            self._show(self._state_of_widgets(), moved=True)

    def _watched(
        self, widget: Any, function: Callable[[Any], None] | None = None
    ) -> Any:
        """Return a widget whose changes by the user are passed on."""

        def changed(event: Any) -> None:
            if not self._writing:
                with self._reporting():
                    (function or self._read_widgets)(event)

        widget.param.watch(changed, "value")
        return widget

    def _lay_out(self) -> Any:
        """Return the layout of the page."""
        side = pn.Column(
            pn.Row(self._which, self._compare, margin=0),
            self._grid,
            self._spectrum,
            self._history,
            self._of_stars,
            self._dust,
            self._of_dust,
            self._of_distance,
            self._igm,
            width=_SIDE,
            margin=(0, 10, 0, 0),
        )
        top = pn.Row(
            self._flux, self._wavelength, self._lower, self._lines,
            self._nodes, sizing_mode="stretch_width", margin=0,
        )  # fmt: skip
        data = pn.Row(
            self._drop, pn.Column(self._lam_unit, self._flux_unit),
            pn.pane.Markdown(
                "Drop a spectrum or photometry: text, ECSV or FITS with "
                "columns `wavelength`, `flux` and `error`. It stays in this "
                "session and is not part of the link.",
                width=300,
            ),
        )  # fmt: skip
        self._tabs = pn.Tabs(
            ("Numbers", self._numbers),
            ("Python", self._code),
            ("Your data", data),
            ("Link and export", pn.Column(
                self._link, pn.Row(self._png, self._table),
                sizing_mode="stretch_width",
            )),
            sizing_mode="stretch_width",
        )  # fmt: skip
        self._tabs.param.watch(lambda _: self._write_tab(), "active")
        main = pn.Column(
            self._message,
            top,
            self._filters,
            self._pane,
            self._about,
            self._tabs,
            sizing_mode="stretch_width",
            min_width=600,
        )
        return pn.Row(side, main, sizing_mode="stretch_width")

    def _write_widgets(self) -> None:
        """Set all widgets to the state."""
        setting, state = self.editing, self.state
        choices = self._choices[setting.grid]
        self._writing = True
        try:
            self._which.value = "B" if self._edits_b else "A"
            self._which.disabled = state.b is None
            self._compare.value = state.b is not None
            self._grid.value = setting.grid
            self._spectrum.options = list(choices.spectra)
            self._spectrum.value = setting.spectrum
            histories = tuple(HISTORIES) if choices.has_histories else ()
            self._history.options = {
                _SINGLE: "",
                **{name: name for name in histories},
            }
            self._history.value = setting.sf_hist
            self._dust.value = setting.dust
            self._igm.value = setting.igm
            self._write_sliders(setting)
            self._flux.value = state.flux
            self._wavelength.value = state.wavelength
            derivatives = {
                f"derivative: {name}": f"{DERIVATIVE}{name}"
                for name in state.a.parameters
            }
            self._lower.options = {**_LOWER, **derivatives}
            self._lower.value = state.lower
            self._lines.value, self._nodes.value = state.lines, state.nodes
            self._filters.value = ", ".join(state.filters)
        finally:
            self._writing = False

    def _write_sliders(self, setting: Setting) -> None:
        """Make the sliders that a setting needs, and set their values."""
        structure = (setting.grid, setting.sf_hist, setting.dust)
        groups = self._ranges(setting)
        if structure != self._structure:
            # Those that stay are kept: their user may be typing.
            self._sliders = {
                (group, name): self._slider((group, name), range_)
                for group, ranges in groups.items()
                for name, range_ in ranges.items()
            }
            in_order = list(self._sliders.items())
            for column, wanted in (
                (self._of_stars, ("history", "axes", "mass")),
                (self._of_dust, ("curve", "dust")),
                (self._of_distance, ("redshift",)),
            ):
                column.objects = [
                    slider.layout
                    for group in wanted
                    for (of, _), slider in in_order
                    if of == group
                ]
            self._structure = structure
        for (group, name), slider in self._sliders.items():
            slider.write(_value(setting, group, name))

    def _slider(self, key: tuple[str, str], range_: Range) -> "_Control":
        """Return the slider of a setting, the one there is if it fits."""
        present = self._sliders.get(key)
        if present is not None and present.range == range_:
            return present
        return _Control(key[1], range_, self._moved)

    def _ranges(self, setting: Setting) -> dict[str, Mapping[str, Range]]:
        """Return the ranges of the sliders of a setting, in groups."""
        axes = self._choices[setting.grid].ranges
        dust = {"tau_v": COMMON["tau_v"]} if setting.dust else {}
        return {
            "history": HISTORIES[setting.sf_hist] if setting.sf_hist else {},
            "axes": {
                name: range_
                for name, range_ in axes.items()
                if not (setting.sf_hist and name == "ages")
            },
            "mass": {"mass": COMMON["mass"]},
            "dust": dust,
            "curve": DUST_CURVES[setting.dust].ranges if setting.dust else {},
            "redshift": {"redshift": COMMON["redshift"]},
        }

    # What users do

    def _read_widgets(self, event: Any) -> None:
        """Replace the state by what the widgets say."""
        self._show(self._state_of_widgets())

    def _state_of_widgets(self) -> State:
        """Return the state that the widgets show, checked."""
        setting = self._read_setting()
        setting.check(self._choices[setting.grid])
        a, b = self.state.a, self.state.b
        if self._edits_b and b is not None:
            b = setting
        else:
            a = setting
        lower = self._lower.value
        gone = lower.startswith(DERIVATIVE) and (
            lower.removeprefix(DERIVATIVE) not in a.parameters
        )
        filters = tuple(
            text.strip()
            for text in self._filters.value.split(",")
            if text.strip()
        )
        limits = self.state.limits
        if FLUXES[self._flux.value].observed != self.state.observed:
            limits = ()
        state = replace(
            self.state,
            a=a,
            b=b,
            flux=self._flux.value,
            wavelength=self._wavelength.value,
            lines=self._lines.value,
            nodes=self._nodes.value,
            filters=filters,
            lower="" if gone else lower,
            limits=limits,
        )
        state.check()
        if filters:
            read_filters(filters)
        return state

    def _read_setting(self) -> Setting:
        """Return the setting that the widgets show."""
        setting = self.editing
        if self._grid.value != setting.grid:
            grid = self._grid.value
            return setting.on_grid(grid, self._choices[grid])
        if self._history.value != setting.sf_hist:
            return setting.with_history(self._history.value)
        if self._dust.value != setting.dust:
            setting = setting.with_dust(self._dust.value)
            # A curve without optical depth would change nothing.
            return replace(
                setting, tau_v=setting.tau_v or float(bool(setting.dust))
            )
        values: dict[str, dict[str, float]] = {
            "axes": dict(setting.axes), "history": {}, "curve": {},
        }  # fmt: skip
        common: dict[str, float] = {}
        for (group, name), slider in self._sliders.items():
            values.get(group, common)[name] = slider.value
        changes: dict[str, Any] = {**values, **common}
        return replace(
            setting,
            spectrum=self._spectrum.value,
            igm=self._igm.value,
            **changes,
        )

    def _switch(self, event: Any) -> None:
        """Let the widgets change the other setting."""
        self._edits_b = event.new == "B"
        self._write_widgets()

    def _toggle_comparison(self, event: Any) -> None:
        """Add a second setting, equal to the first, or remove it."""
        self._edits_b = bool(event.new)
        b = self.state.a if event.new else None
        self._show(replace(self.state, b=b))

    def _zoomed(self, limits: tuple[float, ...]) -> None:
        """Show another range of wavelengths, in the unit of the page."""
        unit = WAVELENGTHS[self.state.wavelength]
        with self._reporting():
            self._show(
                replace(
                    self.state,
                    limits=tuple(float(f"{unit * x:.6g}") for x in limits),
                )
            )

    def _dropped(self, event: Any) -> None:
        """Keep a file that the user has dropped, and read it."""
        self._raw = None
        for name, contents in (event.new or {}).items():
            if isinstance(contents, str):
                contents = contents.encode()
            self._raw = name, contents
        self._read_data()

    def _read_data(self) -> None:
        """Read the user's file, in the units of the page if it has none."""
        with self._reporting():
            self.observed = None
            if self._raw is not None:
                self.observed = read_observed(
                    *self._raw, self._lam_unit.value, self._flux_unit.value
                )
            self._draw()
            if self.observed is not None and self.observed.note:
                self._say(f"{self.observed.name}: {self.observed.note}.")

    @contextmanager
    def _reporting(self) -> Iterator[None]:
        """Show a message on the page if the input is invalid."""
        self._message.visible = False
        try:
            yield
        except (*INPUT_ERRORS, OSError) as error:
            self._say(str(error))
            self._write_widgets()

    def _say(self, message: str) -> None:
        """Show a message."""
        self._message.object = html.escape(message)
        self._message.visible = True

    # Drawing

    def _show(self, state: State, moved: bool = False) -> None:
        """Replace the state, and draw it.

        If only a slider was moved, other widgets are written when it comes to
        rest.
        """
        self.state = state
        document = _served()
        if self._is_compiled() or document is None:
            with pn.io.hold():
                if not moved:
                    self._write_widgets()
                self._draw()
        elif not self._pending:
            # First tell the user, as it takes seconds.
            self._pending = True
            self._write_widgets()
            self._say("Compiling, once for each spectrum …")
            document.add_next_tick_callback(self._draw_first)

    def _draw_first(self) -> None:
        """Draw a state whose programs have to be compiled."""
        self._pending = False
        with self._reporting(), pn.io.hold():
            self._draw()

    def _is_compiled(self) -> bool:
        """Whether the programs of the state have run."""
        return all(_program(s, self.state) in self._compiled
                   for s in self.state.settings)  # fmt: skip

    def _draw(self) -> None:
        """Draw the state."""
        state = self.state
        parameter = (
            state.lower.removeprefix(DERIVATIVE)
            if state.lower.startswith(DERIVATIVE)
            else ""
        )
        self._spectra = [
            self.grids[setting.grid].spectrum(
                setting,
                state.filters,
                parameter if parameter in setting.parameters else "",
            )
            for setting in state.settings
        ]
        self._compiled |= {_program(s, state) for s in state.settings}
        nodes: list[Node] = []
        problem = ""
        if state.nodes or state.lower == "error":
            try:
                nodes = self.grids[state.a.grid].nodes(state.a)
            except INPUT_ERRORS as error:
                problem = str(error)
        if state.lower == "ratio" and state.b is None:
            problem = "B / A needs two settings: tick 'compare two settings'."
        if state.lower == "observed" and self.observed is None:
            problem = "Drop your spectrum or photometry under 'Your data'."
        self._drawn_nodes = nodes
        self._figure.draw(
            state,
            self._spectra,
            nodes,
            self.observed,
            self._derivative_title(parameter),
        )
        self._when_at_rest()
        if problem:
            self._say(problem)

    def _derivative_title(self, parameter: str) -> str:
        """Return the title of the axis of a derivative."""
        a = self.state.a
        ranges = {
            name: range_
            for group in self._ranges(a).values()
            for name, range_ in group.items()
        }
        if parameter not in ranges:
            return ""
        log = "log " if ranges[parameter].logged else ""
        return f"∂ log L / ∂ {log}{_SYMBOLS.get(parameter, parameter)}"

    def _write_about(self, nodes: list[Node]) -> None:
        """Write the errors of the emulator below the figure."""
        a = self.state.a
        p50, p99 = self.grids[a.grid].recorded_error(a)
        text = (
            f"Emulator of <b>{html.escape(a.grid)}</b>, "
            f"<b>{html.escape(a.spectrum)}</b>"
        )
        if np.isfinite(p50):
            text += (
                f": median error {100 * p50:.2g}%, 99% of pixels below "
                f"{100 * p99:.2g}% at the nodes"
            )
        if nodes:
            labels = self._choices[a.grid].labels
            at = ", ".join(
                f"{label.axis.name} = {value:.4g}"
                for label, value in zip(labels, nodes[0].values, strict=True)
            )
            text += (
                ". At the nearest node "
                f"({html.escape(at)}): "
                f"{100 * np.nanmedian(np.abs(nodes[0].error)):.2g}%"
            )
        self._about.object = f"<span style='color:#555'>{text}.</span>"

    def _write_tab(self) -> None:
        """Write the tab that is open."""
        if self._tabs.active == 0:
            self._numbers.object = self._number_tables()
        elif self._tabs.active == 1:
            self._code.object = f"```python\n{self.python()}```"
        elif self._tabs.active == 3:
            self._link.value = f"?{self.state.query()}"

    def _number_tables(self) -> str:
        """Return tables of magnitudes and lines."""
        tables = []
        rows = list(
            zip(*(spectrum.bands for spectrum in self._spectra), strict=True)
        )
        names = "AB"[: len(self._spectra)]
        if rows:
            heads = "".join(
                f"<th>{name}: AB mag</th><th>{name}: fν / nJy</th>"
                for name in names
            )
            tables.append(
                "<table class='ex'><tr><th>filter</th><th>pivot / Å</th>"
                f"{heads}</tr>"
                + "".join(
                    f"<tr><td>{html.escape(row[0].code)}</td>"
                    f"<td>{row[0].pivot:.0f}</td>"
                    + "".join(
                        f"<td>{b.magnitude:.3f}</td><td>{b.fnu:.4g}</td>"
                        for b in row
                    )
                    + "</tr>"
                    for row in rows
                )
                + "</table>"
            )
        lines = self._spectra[0].lines
        if lines is not None:
            widths = np.nan_to_num(lines.equivalent_width)
            seen = self._figure.shows(self._spectra[0], lines.lam, self.state)
            widest = [i for i in np.argsort(-widths) if widths[i] * seen[i]]
            tables.append(
                "<table class='ex'><tr><th>line of A</th>"
                "<th>equivalent width / Å</th><th>luminosity / erg s⁻¹</th>"
                "</tr>"
                + "".join(
                    f"<tr><td>{html.escape(line_title(lines.ids[i]))}</td>"
                    f"<td>{lines.equivalent_width[i]:.4g}</td>"
                    f"<td>{lines.luminosity[i]:.4g}</td></tr>"
                    for i in widest[:_MOST_LINES]
                )
                + "</table>"
            )
        if not tables:
            return "Name filters above, or choose a spectrum with lines."
        return f"<div class='ex'>{''.join(tables)}</div>"

    def python(self) -> str:
        """Return the Python lines that make the spectra of the page."""
        parts = []
        for name, setting in zip("AB", self.state.settings, strict=False):
            grid = self.grids[setting.grid]
            lines = python_lines(
                setting,
                grid.loading,
                self.state.flux,
                self.state.filters,
                grid.has_lines(setting),
            )
            parts.append(f"# {name}\n{lines}")
        return "\n".join(parts)

    def table(self) -> Table:
        """Return the spectra of the page as a table, with their settings."""
        table = Table()
        for name, spectrum in zip("AB", self._spectra, strict=False):
            x, y = spectrum.shown(self.state.flux)
            if name == "A":
                first = x
                table["wavelength"] = x
                table["wavelength"].unit = "Angstrom"
            else:
                # NaN in gaps.
                x, y = spectrum.broken(x, y)
                y = np.interp(first, x, y, np.nan, np.nan)
            table[f"{self.state.flux}_{name}"] = y
            table[f"{self.state.flux}_{name}"].description = FLUXES[
                self.state.flux
            ].title
        table.meta = {
            "synthesizer_emulator": __version__,
            "link": f"?{self.state.query()}",
            "python": self.python(),
        }
        return table

    def _ecsv(self) -> io.StringIO:
        """Return the table of the page as ECSV."""
        stream = io.StringIO()
        self.table().write(stream, format="ascii.ecsv")
        stream.seek(0)
        return stream

    def _when_at_rest(self) -> None:
        """Write all but the curves once the settings come to rest.

        Texts take longer in the browser than curves, as it lays out the page
        again.
        """
        document, location = _served(), pn.state.location
        if document is None:
            self._write_widgets()
            self._write_texts()
            return
        self._changes += 1
        change = self._changes

        def write_texts() -> None:
            if change == self._changes:
                with pn.io.hold():
                    self._write_widgets()
                    self._write_texts()

        def write_address() -> None:
            if change == self._changes and location is not None:
                location.search = f"?{self.state.query()}"

        document.add_timeout_callback(write_texts, _TEXT_DELAY)
        document.add_timeout_callback(write_address, _ADDRESS_DELAY)

    def _write_texts(self) -> None:
        """Write the legend, the errors of the emulator and the open tab."""
        grids = {setting.grid for setting in self.state.settings}
        self._figure.label(
            [
                f"{name}: {_title(setting, len(grids) > 1)}"
                for name, setting in zip(
                    "AB", self.state.settings, strict=False
                )
            ],
            bool(self._drawn_nodes),
            self.observed,
        )
        # Jupyter gets what has changed in the figure, a server's page has it.
        pn.io.push_notebook(self._pane)
        self._write_about(self._drawn_nodes)
        self._write_tab()


# The symbols of axes and parameters in titles.
_SYMBOLS = {
    "ages": "age",
    "metallicities": "Z",
    "ionisation_parameters": "U",
    "tau_v": "τ",
}

# Draws both panels on one canvas and downloads it.
_EXPORT = """
const view = Bokeh.index.find_one(layout);
view.export("png", true).to_blob().then((blob) => {
  const link = document.createElement("a");
  link.href = URL.createObjectURL(blob);
  link.download = "spectrum.png";
  link.click();
});
"""


def _served() -> Any:
    """Return the document of a page of a server; None in Jupyter."""
    document = pn.state.curdoc
    served = document is not None and document.session_context is not None
    return document if served else None


class _PromptSlider(pn.widgets.FloatSlider):
    """A slider whose values are passed on without Panel's delay of 50 ms."""

    _debounce: ClassVar[int] = 0


class _Control:
    """A slider of a continuous setting, with a field for its number.

    Attributes:
        range (Range): The range of the setting.
        value (float): The value; NaN if the number in the field is none of
            the range.
        slider (FloatSlider): The slider, in log10 if the range is logged.
        field (TextInput): The field.
        layout (Row): The slider and the field.
    """

    def __init__(
        self, name: str, range_: Range, changed: Callable[[Any], None]
    ) -> None:
        """Make the slider.

        Args:
            name (str): The name of the setting.
            range_ (Range): Its range.
            changed (callable): Called when the user changes the value.
        """
        self.range = range_
        self._writing = False
        self._changed = changed
        low, high = self._at(range_.low), self._at(range_.high)
        self.slider = _PromptSlider(
            name=range_.title,
            # In the browser, so that it does not wait for the server.
            format=CustomJSTickFormatter(
                code=f"return ({'10 ** tick' if range_.logged else 'tick'})"
                ".toPrecision(4)"
            ),
            start=low,
            end=high,
            step=(high - low) / _STEPS,
            value=low,
            css_classes=[f"w-{name}"],
            sizing_mode="stretch_width",
            margin=(2, 5, 2, 10),
        )
        self.field = pn.widgets.TextInput(
            width=92, css_classes=[f"n-{name}"], margin=(2, 10, 0, 0),
            align="end",
        )  # fmt: skip
        self.slider.param.watch(self._moved, "value")
        self.field.param.watch(self._typed, "value")
        self.value = range_.default
        self.layout = pn.Row(
            self.slider, self.field, margin=0, sizing_mode="stretch_width"
        )

    def write(self, value: float) -> None:
        """Show a value."""
        self.value = value
        self._writing = True
        try:
            self.field.value = f"{value:.6g}"
            # Not while it is dragged, as the value was rounded.
            if abs(self.slider.value - self._at(value)) > self.slider.step / 2:
                self.slider.value = min(
                    max(self._at(value), self.slider.start), self.slider.end
                )
        finally:
            self._writing = False

    def _at(self, value: float) -> float:
        """Return where a value is on the slider."""
        return float(np.log10(value)) if self.range.logged else value

    def _moved(self, event: Any) -> None:
        """Pass on the value of the slider."""
        if not self._writing:
            value = 10.0**event.new if self.range.logged else event.new
            self.value = self.range.rounded(float(value))
            self._changed(event)

    def _typed(self, event: Any) -> None:
        """Pass on the number in the field."""
        if not self._writing:
            before = self.value
            try:
                self.value = float(event.new)
            except ValueError:
                self.value = np.nan
            if not self.range.low <= self.value <= self.range.high:
                self.write(before)
                self.value = np.nan
            self._changed(event)


def _value(setting: Setting, group: str, name: str) -> float:
    """Return the value of a continuous setting."""
    if group in ("axes", "history", "curve"):
        return getattr(setting, group)[name]
    return getattr(setting, name)


def _program(setting: Setting, state: State) -> tuple[Any, ...]:
    """Return what a compiled program depends on."""
    along = state.lower.removeprefix(DERIVATIVE) if setting.sf_hist else ""
    return (
        setting.grid,
        setting.spectrum,
        setting.sf_hist,
        setting.igm,
        state.filters,
        along if along in setting.axes else "",
    )


def _title(setting: Setting, with_grid: bool) -> str:
    """Return the legend of a setting."""
    parts = [setting.grid] if with_grid else []
    parts.append(setting.spectrum)
    if setting.sf_hist:
        values = (f"{n} = {v:.3g}" for n, v in setting.history.items())
        parts.append(f"{setting.sf_hist} ({', '.join(values)})")
    elif "ages" in setting.axes:
        parts.append(f"{setting.axes['ages']:.3g} yr")
    for name, value in setting.axes.items():
        if name != "ages":
            parts.append(f"{_SYMBOLS.get(name, name)} = {value:.3g}")
    if setting.dust and setting.tau_v:
        parts.append(f"{setting.dust}, τ = {setting.tau_v:.3g}")
    if setting.redshift:
        parts.append(f"z = {setting.redshift:.3g}")
    return ", ".join(parts)
