"""All settings of a page as a plain value, and as the query of its link.

A `State` has one or two `Setting`s, A and B, and how they are shown. What it
may contain depends on the grids, which `GridChoices` describes.
"""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, fields, replace
from typing import Self
from urllib.parse import parse_qsl, urlencode

from synthesizer.exceptions import InconsistentArguments

from synthesizer_emulator.gridfile.labels import Label
from synthesizer_emulator.validation import (
    check_choice,
    check_number,
    nearest,
)

# The sum of the nebular and the transmitted spectrum, as Synthesizer's
# `ReprocessedEmission` without escape.
REPROCESSED = "reprocessed"
_SUMMED = ("nebular", "transmitted")

# The significant digits of numbers from sliders, so that links are short.
_DIGITS = 6

# A link with all settings of two spectra has about 600 characters.
_LONGEST = 10_000
_MOST_FILTERS = 40

MAX_REDSHIFT = 20.0

# A first node that is farther from the second than this part of the axis
# stands for zero, unless the axis has few nodes.
_DISTANT = 0.25
_FEW = 5

# The values on a new page: young stars, which light up their gas.
_DEFAULTS = {"ages": 5e6, "metallicities": 0.01}


@dataclass(frozen=True)
class Range:
    """The values of a continuous setting.

    Attributes:
        low (float): The lowest value.
        high (float): The highest value.
        default (float): The value on a new page.
        logged (bool): Whether its slider is in log10.
        title (str): The title of the slider, with the unit.
    """

    low: float
    high: float
    default: float
    logged: bool
    title: str

    @property
    def is_time(self) -> bool:
        """Whether the values are times in yr."""
        return self.title.endswith("/ yr")

    def __post_init__(self) -> None:
        if not self.low <= self.default <= self.high:
            raise InconsistentArguments(
                f"The default of '{self.title}' must be from {self.low:g} to "
                f"{self.high:g}, got {self.default:g}."
            )

    def rounded(self, value: float) -> float:
        """Return a value with six significant digits, within the range."""
        short = float(f"{value:.{_DIGITS}g}")
        return min(max(short, self.low), self.high)


def _age(title: str, default: float, low: float = 1e6) -> Range:
    return Range(low, 1.4e10, default, True, f"{title} / yr")


_MAX_AGE = _age("oldest stars: max_age", 1e9)

# The parameters of the histories of Synthesizer that are single numbers.
HISTORIES: Mapping[str, Mapping[str, Range]] = {
    "Constant": {"max_age": _MAX_AGE},
    "Exponential": {
        "tau": _age("e-folding time: tau", 3e8),
        "max_age": _MAX_AGE,
    },
    "DelayedExponential": {
        "tau": _age("e-folding time: tau", 3e8),
        "max_age": _MAX_AGE,
    },
    "LogNormal": {
        "tau": Range(0.05, 3.0, 0.5, False, "width: tau"),
        "peak_age": _age("peak: peak_age", 1e8),
        "max_age": _MAX_AGE,
    },
    "Gaussian": {
        "peak_age": _age("peak: peak_age", 3e8),
        "sigma": _age("width: sigma", 1e8),
        "max_age": _MAX_AGE,
    },
    "DoublePowerLaw": {
        "peak_age": _age("peak: peak_age", 1e8),
        "alpha": Range(-10.0, 10.0, -1.0, False, "young slope: alpha"),
        "beta": Range(-10.0, 10.0, 2.0, False, "old slope: beta"),
        "max_age": _MAX_AGE,
    },
}


@dataclass(frozen=True)
class DustCurve:
    """One of Synthesizer's dust curves.

    Attributes:
        name (str): The name of Synthesizer's class.
        fixed (Mapping): Arguments that have no slider.
        ranges (Mapping): The arguments that have one.
    """

    name: str
    fixed: Mapping[str, str] = field(default_factory=dict)
    ranges: Mapping[str, Range] = field(default_factory=dict)


DUST_CURVES: Mapping[str, DustCurve] = {
    "PowerLaw": DustCurve(
        "PowerLaw",
        ranges={"slope": Range(-2.0, 0.0, -0.7, False, "slope")},
    ),
    "Calzetti2000": DustCurve(
        "Calzetti2000",
        ranges={
            "slope": Range(-1.5, 1.0, 0.0, False, "slope (Noll+09)"),
            "ampl": Range(0.0, 6.0, 0.0, False, "bump: ampl"),
        },
    ),
    "MWN18": DustCurve("MWN18"),
    **{
        f"WD01 {submodel}": DustCurve(
            "GrainModels", {"model": "WD01", "submodel": submodel}
        )
        for submodel in ("MWRV31", "LMCAvg", "SMCBar")
    },
    **{
        f"Li08 {model}": DustCurve("ParametricLi08", {"model": model})
        for model in ("Calzetti", "MW", "LMC", "SMC")
    },
    "SommovigoBartlett2026": DustCurve(
        "SommovigoBartlett2026",
        ranges={
            "B_0": Range(0.0, 2.5, 0.025, False, "bump: B_0"),
            "B_1s": Range(-0.15, 0.1, 0.0, False, "slope: B_1s"),
            "B_2s": Range(-2.5, 1.1, 0.0, False, "modulation: B_2s"),
            "B_3": Range(0.8, 5.1, 2.0, False, "far UV: B_3"),
        },
    ),
}

IGM_MODELS = ("Inoue14", "Madau96", "Asada25")

# The continuous settings of every spectrum.
COMMON: Mapping[str, Range] = {
    "mass": Range(1.0, 1e13, 1.0, True, "initial mass / M☉"),
    "tau_v": Range(0.0, 10.0, 0.0, False, "optical depth in V: tau_v"),
    "redshift": Range(0.0, MAX_REDSHIFT, 0.0, False, "redshift"),
}


@dataclass(frozen=True)
class FluxUnits:
    """A quantity on the y axis.

    Attributes:
        title (str): The title of the axis, with the unit.
        observed (bool): Whether it is observed; the wavelengths then are too.
    """

    title: str
    observed: bool


FLUXES: Mapping[str, FluxUnits] = {
    "lnu": FluxUnits("Lν / erg s⁻¹ Hz⁻¹", False),
    "llam": FluxUnits("Lλ / erg s⁻¹ Å⁻¹", False),
    "nulnu": FluxUnits("νLν / L☉", False),
    "fnu": FluxUnits("fν / nJy", True),
    "flam": FluxUnits("fλ / erg s⁻¹ cm⁻² Å⁻¹", True),
    "nufnu": FluxUnits("νfν / erg s⁻¹ cm⁻²", True),
}
# The wavelength units, and the number of Angstrom in each.
WAVELENGTHS: Mapping[str, float] = {"Å": 1.0, "µm": 1e4}

# The contents of the lower panel; derivatives are named by their parameter.
DERIVATIVE = "derivative:"
LOWER = ("error", "ratio", "observed")


@dataclass(frozen=True)
class GridChoices:
    """What can be chosen of one grid.

    Attributes:
        labels (tuple of Label): The axes.
        spectra (tuple of str): The spectra, `reprocessed` among them if the
            grid has its summands.
    """

    labels: tuple[Label, ...]
    spectra: tuple[str, ...]

    @property
    def ranges(self) -> dict[str, Range]:
        """The range of each axis.

        By default the value is that of `_DEFAULTS`, or the middle node.

        It excludes a first node far from all others, such as age zero.
        """
        ranges = {}
        for label in self.labels:
            nodes, values = label.nodes, label.axis.values
            distant = nodes[1] - nodes[0] > _DISTANT * (nodes[-1] - nodes[0])
            low = values[1] if distant and len(nodes) > _FEW else values[0]
            middle = float(values[len(values) // 2])
            default = _DEFAULTS.get(label.axis.name, middle)
            ranges[label.axis.name] = Range(
                low=float(low),
                high=float(values[-1]),
                default=min(max(default, float(low)), float(values[-1])),
                logged=label.logged,
                title=label.title,
            )
        return ranges

    @property
    def has_histories(self) -> bool:
        """Whether stars of several ages can be summed."""
        names = {label.axis.name for label in self.labels}
        return {"ages", "metallicities"} <= names


@dataclass(frozen=True)
class Setting:
    """The settings of one spectrum.

    Attributes:
        grid (str): The name of the grid.
        spectrum (str): The spectrum, e.g. `incident`.
        axes (Mapping): The value of each axis, in the grid's units; with a
            history the ages are not used.
        sf_hist (str): The history, a key of `HISTORIES`; empty for a single
            population.
        history (Mapping): The parameters of the history, times in yr.
        mass (float): The initial mass, solar masses.
        dust (str): The dust curve, a key of `DUST_CURVES`; empty without.
        curve (Mapping): The parameters of the dust curve.
        tau_v (float): The optical depth in the V band.
        redshift (float): The redshift; zero for a distance of 10 pc.
        igm (str): The model of the intergalactic medium, one of
            `IGM_MODELS`; empty without.
    """

    grid: str
    spectrum: str
    axes: Mapping[str, float]
    sf_hist: str = ""
    history: Mapping[str, float] = field(default_factory=dict)
    mass: float = COMMON["mass"].default
    dust: str = ""
    curve: Mapping[str, float] = field(default_factory=dict)
    tau_v: float = COMMON["tau_v"].default
    redshift: float = COMMON["redshift"].default
    igm: str = ""

    @classmethod
    def default(cls, grid: str, choices: GridChoices) -> Self:
        """Return the settings of a new page."""
        return cls(
            grid=grid,
            spectrum=choices.spectra[0],
            axes={n: r.default for n, r in choices.ranges.items()},
        )

    @property
    def summed(self) -> tuple[str, ...]:
        """The spectra of the grid whose sum is drawn."""
        return _SUMMED if self.spectrum == REPROCESSED else (self.spectrum,)

    @property
    def parameters(self) -> tuple[str, ...]:
        """The parameters that derivatives can be taken with respect to."""
        names = [n for n in self.axes if not (self.sf_hist and n == "ages")]
        dust = ["tau_v"] if self.dust else []
        return (*self.history, *names, *dust)

    def with_history(self, sf_hist: str) -> Self:
        """Return the settings with another history, at its defaults."""
        ranges = HISTORIES[sf_hist] if sf_hist else {}
        kept = self.history
        return replace(
            self,
            sf_hist=sf_hist,
            history={n: kept.get(n, r.default) for n, r in ranges.items()},
        )

    def with_dust(self, dust: str) -> Self:
        """Return the settings with another dust curve, at its defaults."""
        ranges = DUST_CURVES[dust].ranges if dust else {}
        curve = {name: range_.default for name, range_ in ranges.items()}
        return replace(self, dust=dust, curve=curve)

    def on_grid(self, grid: str, choices: GridChoices) -> Self:
        """Return the settings on another grid, as far as it has them."""
        has_spectrum = self.spectrum in choices.spectra
        return replace(
            self if choices.has_histories else self.with_history(""),
            grid=grid,
            spectrum=self.spectrum if has_spectrum else choices.spectra[0],
            axes={
                name: range_.rounded(self.axes.get(name, range_.default))
                for name, range_ in choices.ranges.items()
            },
        )

    def check(self, choices: GridChoices) -> None:
        """Raise unless the grid has these settings.

        Raises:
            InconsistentArguments: If a name is unknown or a number out of its
                range.
        """
        check_choice("spectrum", self.spectrum, choices.spectra)
        if self.sf_hist:
            check_choice("sf_hist", self.sf_hist, tuple(HISTORIES))
            if not choices.has_histories:
                raise InconsistentArguments(
                    f"The grid '{self.grid}' has no ages and metallicities, "
                    "so it has no star formation histories."
                )
        if self.dust:
            check_choice("dust", self.dust, tuple(DUST_CURVES))
        if self.igm:
            check_choice("igm", self.igm, IGM_MODELS)
        for values, ranges in (
            (self.axes, choices.ranges),
            (self.history, HISTORIES[self.sf_hist] if self.sf_hist else {}),
            (self.curve, DUST_CURVES[self.dust].ranges if self.dust else {}),
            ({name: getattr(self, name) for name in COMMON}, COMMON),
        ):
            for name, range_ in ranges.items():
                check_number(name, values[name], range_.low, range_.high)


@dataclass(frozen=True)
class State:
    """All settings of a page.

    Attributes:
        a (Setting): The first spectrum.
        b (Setting): The second spectrum, or None.
        flux (str): The quantity on the y axis, a key of `FLUXES`.
        wavelength (str): The wavelength unit, a key of `WAVELENGTHS`.
        lines (bool): Whether emission lines are marked.
        nodes (bool): Whether the native nodes around the values are drawn.
        filters (tuple of str): The filters, as for `spectrum.read_filters`.
        lower (str): The lower panel, one of `LOWER`, or `derivative:` and a
            parameter; empty without.
        limits (tuple of float): The range of the wavelengths shown,
            Angstrom; empty for all.
    """

    a: Setting
    b: Setting | None = None
    flux: str = "lnu"
    wavelength: str = "Å"
    lines: bool = True
    nodes: bool = False
    filters: tuple[str, ...] = ()
    lower: str = ""
    limits: tuple[float, ...] = ()

    @property
    def settings(self) -> tuple[Setting, ...]:
        """Setting A, and B if there is one."""
        return (self.a,) if self.b is None else (self.a, self.b)

    @property
    def observed(self) -> bool:
        """Whether observed fluxes and wavelengths are drawn."""
        return FLUXES[self.flux].observed

    def query(self) -> str:
        """Return the query of the link, without the question mark."""
        pairs = list(_pairs(self.a))
        if self.b is not None:
            pairs += [(f"b.{name}", value) for name, value in _pairs(self.b)]
        pairs += [("flux", self.flux), ("wavelength", self.wavelength)]
        for name in ("lines", "nodes"):
            pairs.append((name, str(int(getattr(self, name)))))
        pairs += [("filter", given) for given in self.filters]
        if self.lower:
            pairs.append(("lower", self.lower))
        pairs += [("limit", repr(limit)) for limit in self.limits]
        return urlencode(pairs)

    @classmethod
    def from_query(cls, query: str, grids: Mapping[str, GridChoices]) -> Self:
        """Read the query of a link.

        Args:
            query (str): The query, with or without the question mark.
            grids (Mapping): The grids of the page, by name.

        Raises:
            InconsistentArguments: If a setting is unknown or out of its
                range.
        """
        if len(query) > _LONGEST:
            raise InconsistentArguments(
                f"A link may have {_LONGEST} characters, got {len(query)}."
            )
        pairs = parse_qsl(query.removeprefix("?"), keep_blank_values=True)
        link = _Link({})
        for name, value in pairs:
            link.given.setdefault(name, []).append(value)
        of_b = {
            name.removeprefix("b."): link.given.pop(name)
            for name in list(link.given)
            if name.startswith("b.")
        }
        a = _read_setting(link, grids)
        a_is_valid = not link.problems
        b = None
        if of_b:
            b_link = _Link(of_b, link.problems)
            b = _read_setting(b_link, grids)
            b_link.check_empty()
        limits = link.given.pop("limit", [])
        state = cls(
            a=a,
            b=b,
            flux=link.choice("flux", cls.flux, tuple(FLUXES)),
            wavelength=link.choice(
                "wavelength", cls.wavelength, tuple(WAVELENGTHS)
            ),
            lines=link.flag("lines", cls.lines),
            nodes=link.flag("nodes", cls.nodes),
            filters=tuple(link.given.pop("filter", [])),
            lower=link.text("lower", cls.lower),
        )
        link.check_empty()
        with link.noting():
            numbers = tuple(_number("limit", text) for text in limits)
            state = replace(state, limits=numbers)
        # The lower panel depends on the parameters of A.
        checks = [state._check_filters, state._check_limits]
        if a_is_valid:
            checks.append(state._check_lower)
        for check in checks:
            with link.noting():
                check()
        if link.problems:
            raise InconsistentArguments(" ".join(link.problems))
        return state

    def check(self) -> None:
        """Raise unless the display has valid settings.

        Raises:
            InconsistentArguments: If not.
        """
        check_choice("flux", self.flux, tuple(FLUXES))
        check_choice("wavelength", self.wavelength, tuple(WAVELENGTHS))
        self._check_filters()
        self._check_lower()
        self._check_limits()

    def _check_filters(self) -> None:
        """Raise if there are too many filters."""
        if len(self.filters) > _MOST_FILTERS:
            raise InconsistentArguments(
                f"A page may have {_MOST_FILTERS} filters, got "
                f"{len(self.filters)}."
            )

    def _check_lower(self) -> None:
        """Raise unless the lower panel is one that A can have."""
        if self.lower.startswith(DERIVATIVE):
            check_choice(
                "the parameter of the derivative",
                self.lower.removeprefix(DERIVATIVE),
                self.a.parameters,
            )
        elif self.lower:
            check_choice("lower", self.lower, LOWER)

    def _check_limits(self) -> None:
        """Raise unless the limits are two ascending wavelengths, or none."""
        if self.limits and (
            len(self.limits) != 2
            or not 0.0 < self.limits[0] < self.limits[1] < float("inf")
        ):
            raise InconsistentArguments(
                "limit must be given twice, for the lowest and the highest "
                f"wavelength in Angstrom, got {list(self.limits)}."
            )


# The prefix of the parameters of histories and dust curves in a link.
_HISTORY, _CURVE = "history.", "curve."
_NAMES = ("spectrum", "sf_hist", "dust", "igm")


def _pairs(setting: Setting) -> Iterator[tuple[str, str]]:
    """Return the names and values of a setting in a link."""
    yield "grid", setting.grid
    for name in _NAMES:
        if getattr(setting, name):
            yield name, getattr(setting, name)
    for prefix, values in (
        ("", setting.axes),
        (_HISTORY, setting.history),
        (_CURVE, setting.curve),
        ("", {name: getattr(setting, name) for name in COMMON}),
    ):
        for name, value in values.items():
            yield f"{prefix}{name}", repr(value)


@dataclass
class _Link:
    """The values of a link that are not read yet, and what is wrong.

    The methods take a value out. If it is invalid they note why, and return
    the default, so that all problems of a link are found.

    Attributes:
        given (dict): The values by name.
        problems (list of str): What is wrong, in sentences.
        knows_names (bool): Whether the names of all settings are known: not
            if one is invalid that others depend on.
    """

    given: dict[str, list[str]]
    problems: list[str] = field(default_factory=list)
    knows_names: bool = True

    @contextmanager
    def noting(self) -> Iterator[None]:
        """Note the problem of invalid input, and go on after the block."""
        try:
            yield
        except InconsistentArguments as error:
            self.problems.append(str(error).strip())

    def text(self, name: str, default: str) -> str:
        """Take a text."""
        found = default
        with self.noting():
            found = _one(self.given, name, default)
        return found

    def choice(self, name: str, default: str, known: Sequence[str]) -> str:
        """Take one of the known names, or the default."""
        found, chosen = self.text(name, default), default
        with self.noting():
            if found != default:
                check_choice(name, found, known)
            chosen = found
        return chosen

    def flag(self, name: str, default: bool) -> bool:
        """Take a 0 or a 1."""
        return self.choice(name, str(int(default)), ("0", "1")) == "1"

    def numbers(
        self,
        prefix: str,
        defaults: Mapping[str, float],
        ranges: Mapping[str, Range],
    ) -> dict[str, float]:
        """Take numbers within their ranges, by name without the prefix."""
        read = {}
        for name, default in defaults.items():
            read[name] = default
            text = self.text(f"{prefix}{name}", repr(default))
            with self.noting():
                value = _number(name, text)
                check_number(name, value, ranges[name].low, ranges[name].high)
                read[name] = value
        return read

    def check_empty(self) -> None:
        """Note the settings that no page has."""
        if not self.knows_names:
            return
        known = ["grid", *_NAMES, *COMMON, *(f.name for f in fields(State))]
        for name in self.given:
            self.problems.append(
                f"The link has an unknown setting '{name[:40]}'."
                f"{nearest(name, known)}"
            )


def _read_setting(link: _Link, grids: Mapping[str, GridChoices]) -> Setting:
    """Take one setting out of the values of a link."""
    before = len(link.problems)
    grid = link.choice("grid", next(iter(grids)), tuple(grids))
    choices = grids[grid]
    setting = Setting.default(grid, choices)
    if len(link.problems) == before:
        # Otherwise the spectra and axes are those of an unknown grid.
        setting = replace(
            setting,
            spectrum=link.choice(
                "spectrum", setting.spectrum, choices.spectra
            ),
            axes=link.numbers("", setting.axes, choices.ranges),
        )
        before = len(link.problems)
    # Before their parameters are looked up.
    sf_hist = link.choice("sf_hist", "", tuple(HISTORIES))
    dust = link.choice("dust", "", tuple(DUST_CURVES))
    link.knows_names = len(link.problems) == before
    setting = setting.with_history(sf_hist).with_dust(dust)
    common = link.numbers(
        "", {name: getattr(setting, name) for name in COMMON}, COMMON
    )
    setting = replace(
        setting,
        igm=link.choice("igm", "", IGM_MODELS),
        history=link.numbers(
            _HISTORY, setting.history, HISTORIES.get(sf_hist, {})
        ),
        curve=link.numbers(
            _CURVE, setting.curve, DUST_CURVES[dust].ranges if dust else {}
        ),
        mass=common["mass"],
        tau_v=common["tau_v"],
        redshift=common["redshift"],
    )
    if link.knows_names:
        with link.noting():
            setting.check(choices)
    return setting


def _one(given: dict[str, list[str]], name: str, default: str) -> str:
    """Take the one value of a name out of the values of a link."""
    values = given.pop(name, [default])
    if len(values) > 1:
        raise InconsistentArguments(
            f"The link has several values of '{name}': {', '.join(values)}."
        )
    return values[0]


def _number(name: str, text: str) -> float:
    """Return the number in a text."""
    try:
        return float(text)
    except ValueError:
        raise InconsistentArguments(
            f"'{name}' of the link must be a number, got '{text[:40]}'."
        ) from None
