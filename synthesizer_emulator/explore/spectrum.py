"""The spectra, lines and magnitudes of a `Setting`, without a browser.

A single population is the emulator at the values of all axes. The stars of a
history are Synthesizer's sum over the ages and metallicities of the grid, at
the values of its other axes. Both are compiled once for each spectrum; dust,
distance and filters follow.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache, partial
from pathlib import Path
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from astropy.cosmology import Planck18
from jax import Array
from jaxtyping import Float
from numpy.typing import NDArray
from synthesizer.emission_models import attenuation
from synthesizer.exceptions import GridError, InconsistentArguments
from synthesizer.instruments import FilterCollection
from unyt import Lsun, angstrom, c, erg, s

from synthesizer_emulator.emulator.emulator import Emulator
from synthesizer_emulator.evaluation.measures.filters import NIRCAM_WIDE
from synthesizer_emulator.explore.state import (
    DUST_CURVES,
    FLUXES,
    HISTORIES,
    MAX_REDSHIFT,
    REPROCESSED,
    GridChoices,
    Setting,
)
from synthesizer_emulator.galaxies.bands import Bands
from synthesizer_emulator.galaxies.filters import as_filters
from synthesizer_emulator.galaxies.histories import sfzh
from synthesizer_emulator.galaxies.lines import equivalent_width
from synthesizer_emulator.galaxies.observer import FLUX_AT_MPC, Observer
from synthesizer_emulator.grid.emulated_grid import EmulatedGrid
from synthesizer_emulator.gridfile.emissions import DERIVED_SPECTRA, NEBULAR
from synthesizer_emulator.gridfile.labels import Label
from synthesizer_emulator.gridfile.native import NativeGrid
from synthesizer_emulator.gridfile.places import (
    example_folder,
    locate,
    plain_name,
    weights_paths,
)
from synthesizer_emulator.wavelengths import break_at, pieces
from synthesizer_emulator.weights.grid_match import difference
from synthesizer_emulator.weights.weights import Weights

COSMOLOGY = Planck18

# The speed of light in Angstrom/s, and a solar luminosity in erg/s.
_C = float(c.to_value("angstrom/s"))
_LSUN = float((1.0 * Lsun).to_value(erg / s))
_TEN_PARSEC_IN_MPC = 1e-5

# The zero point of AB magnitudes, nJy.
_AB_ZERO = 3631e9

# The spectra at all ages that are kept in memory, one for each metallicity
# and value of further axes; each takes up to 12 MB.
_KEPT = 16

# The usual names of lines of hydrogen, and the numerals of ions.
_TITLES = {
    "H 1 1215.67A": "Lyα",
    "H 1 6562.80A": "Hα",
    "H 1 4861.32A": "Hβ",
    "H 1 4340.46A": "Hγ",
    "H 1 4101.73A": "Hδ",
    "H 1 1.87510m": "Paα",
    "H 1 1.28181m": "Paβ",
    "H 1 4.05115m": "Brα",
}
_ROMAN = ("", "I", "II", "III", "IV", "V", "VI", "VII", "VIII", "IX", "X")

# The spectra that include emission lines on a continuum.
_WITH_LINES = (NEBULAR, REPROCESSED)

# The largest number of native nodes around a point that are read.
_MOST_NODES = 8


class Emitted(NamedTuple):
    """The emission of stars per solar mass formed, in the rest frame.

    Attributes:
        lnu (Array): The luminosity density, erg/s/Hz, (..., nlam).
        line_lum (Array): The luminosities of the lines, in the grid's units,
            (..., nlines).
        line_cont (Array): The continua at the lines, erg/s/Hz, (...,
            nlines).
    """

    lnu: Array
    line_lum: Array
    line_cont: Array


@dataclass(frozen=True, eq=False)
class Lines:
    """The emission lines of a spectrum.

    Attributes:
        ids (tuple of str): The ids of the lines, (nlines,).
        lam (np.ndarray of float): The wavelengths, Angstrom, (nlines,).
        luminosity (np.ndarray of float): The luminosities, erg/s, after
            dust, (nlines,).
        equivalent_width (np.ndarray of float): The equivalent widths in the
            rest frame, Angstrom, (nlines,).
    """

    ids: tuple[str, ...]
    lam: NDArray[np.float64]
    luminosity: NDArray[np.float64]
    equivalent_width: NDArray[np.float64]


@dataclass(frozen=True, eq=False)
class Band:
    """The photometry in one filter.

    Attributes:
        code (str): The filter.
        pivot (float): The pivot wavelength, Angstrom, observed.
        edges (tuple of float): The wavelengths between which the filter
            transmits, Angstrom, observed.
        fnu (float): The flux density, nJy.
        magnitude (float): The apparent AB magnitude; absolute at redshift
            zero, where the distance is 10 pc.
    """

    code: str
    pivot: float
    edges: tuple[float, float]
    fnu: float
    magnitude: float


@dataclass(frozen=True, eq=False)
class Spectrum:
    """What is drawn of one setting.

    Attributes:
        lam (np.ndarray of float): The wavelengths in the rest frame,
            Angstrom, (nlam,).
        lnu (np.ndarray of float): The luminosity density after dust,
            erg/s/Hz, (nlam,).
        fnu (np.ndarray of float): The observed flux density, nJy, at the
            wavelengths times 1 + z, (nlam,).
        redshift (float): The redshift.
        lines (Lines): The emission lines; None if the spectrum has none.
        bands (tuple of Band): The photometry.
        slope (np.ndarray of float): The derivative of log10 of the
            luminosity with respect to a parameter, or to its log10 if that
            has a logarithmic slider, (nlam,); None unless wanted.
        cuts (tuple of int): The first wavelength after each gap.
    """

    lam: NDArray[np.float64]
    lnu: NDArray[np.float64]
    fnu: NDArray[np.float64]
    redshift: float
    lines: Lines | None
    bands: tuple[Band, ...]
    slope: NDArray[np.float64] | None = None
    cuts: tuple[int, ...] = ()

    def broken(
        self, lam: NDArray[np.float64], values: NDArray[np.float64]
    ) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """Return wavelengths and values (nlam,) with NaN within each gap."""
        return break_at(lam, values, self.cuts) if self.cuts else (lam, values)

    def shown(
        self, flux: str
    ) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """Return wavelengths, Angstrom, and fluxes (nlam,) of a quantity.

        The quantity is a key of `FLUXES`; observed quantities have observed
        wavelengths.
        """
        if FLUXES[flux].observed:
            lam = self.lam * (1.0 + self.redshift)
            return lam, in_quantity(flux, lam, self.fnu)
        return self.lam, in_quantity(flux, self.lam, self.lnu)


@dataclass(frozen=True, eq=False)
class Node:
    """A native spectrum of the grid, after the dust and distance of a setting.

    Attributes:
        values (tuple of float): The axis values of the node.
        spectrum (Spectrum): The native spectrum, without lines and bands.
        error (np.ndarray of float): Emulated over native minus one; NaN where
            the native spectrum is zero, (nlam,).
    """

    values: tuple[float, ...]
    spectrum: Spectrum
    error: NDArray[np.float64]


def in_quantity(
    flux: str, lam: NDArray[np.float64], density: NDArray[np.float64]
) -> NDArray[np.float64]:
    """Return a luminosity or flux density (n,) as another quantity.

    Args:
        flux (str): The quantity, a key of `FLUXES`.
        lam (np.ndarray of float): The wavelengths, Angstrom, (n,).
        density (np.ndarray of float): The density per unit frequency,
            erg/s/Hz or nJy, (n,).
    """
    cgs = density * 1e-32 if FLUXES[flux].observed else density
    if flux in ("lnu", "fnu"):
        return density
    if flux in ("llam", "flam"):
        return cgs * _C / lam**2
    return cgs * (_C / lam) / (_LSUN if flux == "nulnu" else 1.0)


def dimming(redshift: float) -> float:
    """Return the flux density, nJy, of a luminosity density of 1 erg/s/Hz.

    As in Synthesizer's `Sed.get_fnu`, redshift zero is at 10 pc.
    """
    mpc = (
        COSMOLOGY.luminosity_distance(redshift).to_value("Mpc")
        if redshift
        else _TEN_PARSEC_IN_MPC
    )
    return float((1.0 + redshift) * FLUX_AT_MPC / mpc**2)


class GridSpectra:
    """The spectra of one emulated grid.

    It shows the emulator: all of its domain, at its own wavelengths, whatever
    the nodes and wavelengths of the `EmulatedGrid` are.

    Attributes:
        name (str): The name of the grid.
        choices (GridChoices): The axes and spectra of the grid.
        lam (np.ndarray of float): The wavelengths, Angstrom, (nlam,).
        native (NativeGrid): The grid file; None if it was not found.
    """

    def __init__(self, grid: EmulatedGrid) -> None:
        weights = grid.weights
        header = weights.header
        self.name = grid.original_name
        self.lam = np.asarray(header.lam_angstrom, np.float64)
        self._cuts = tuple(
            piece.start for piece in pieces(self.lam, header.windows)[1:]
        )
        # Keys of the caches, whose hashes Python keeps.
        self._lam_key = self.lam.tobytes()
        self.errors = weights.provenance.errors
        self._emulator = grid.emulator
        self._factor = header.internal_factor
        self._line_ids = () if header.lines is None else header.lines.ids
        self._line_lam = np.asarray(
            [] if header.lines is None else header.lines.lams, np.float64
        )
        self._line_lam_key = self._line_lam.tobytes()
        names = list(weights.available_spectra)
        if {"nebular", "transmitted"} <= set(names):
            names.insert(0, REPROCESSED)
        labels = tuple(Label(axis) for axis in header.axes)
        self.choices = GridChoices(labels, tuple(names))
        self.native = _find_native(weights)
        self.loading = _loading(self.name, grid.grid_dir, weights)
        self._at_ages = lru_cache(_KEPT)(self._spectra_at_ages)
        self._read_node = lru_cache(64)(self._native_spectrum)

    def has_lines(self, setting: Setting) -> bool:
        """Whether a spectrum has emission lines on a continuum."""
        return bool(self._line_paths(setting))

    def recorded_error(self, setting: Setting) -> tuple[float, float]:
        """Return the median and the 99th percentile of fractional errors.

        They are those at the nodes that the weights record; of a sum, the
        larger of its parts. NaN if none are recorded.
        """
        parts = [
            part
            for name in setting.summed
            for part in DERIVED_SPECTRA.get(name, (name,))
        ]
        found = [
            self.errors[f"spectra/{part}"]
            for part in parts
            if f"spectra/{part}" in self.errors
        ]
        if not found:
            return np.nan, np.nan
        return max(e["p50"] for e in found), max(e["p99"] for e in found)

    def spectrum(
        self,
        setting: Setting,
        filters: tuple[str, ...] = (),
        parameter: str = "",
    ) -> Spectrum:
        """Return the spectrum of a setting.

        Args:
            setting (Setting): The setting, which the grid has.
            filters (tuple of str): The filters, as for `read_filters`; none
                by default.
            parameter (str): The parameter of the derivative, one of the
                setting's; none by default.

        Raises:
            InconsistentArguments: If the setting has no emission, such as a
                history without stars.
        """
        emitted, change = (
            self._of_history(setting, parameter)
            if setting.sf_hist
            else self._of_population(setting, parameter)
        )
        lnu = np.asarray(emitted.lnu, np.float64)
        if not np.isfinite(lnu).all():
            raise InconsistentArguments(
                f"These values of {setting.sf_hist or 'the axes'} form no "
                "stars within the ages of the grid: "
                f"{_listed(setting.history or setting.axes)}."
            )
        curve = self._curve(setting)
        lnu, fnu, in_bands = self._observe(setting, emitted.lnu, filters)
        slope = None
        if parameter == "tau_v":
            slope = -curve / np.log(10.0)
        elif parameter:
            slope = _logarithmic(emitted.lnu, change.lnu)
        return Spectrum(
            lam=self.lam,
            lnu=lnu,
            fnu=fnu,
            redshift=setting.redshift,
            lines=self._lines(setting, emitted),
            bands=_bands(filters, in_bands),
            slope=slope,
            cuts=self._cuts,
        )

    def nodes(self, setting: Setting) -> list[Node]:
        """Return the native nodes around a single population, nearest first.

        Raises:
            GridError: If the grid file was not found.
            InconsistentArguments: If the setting has a history.
        """
        if self.native is None:
            raise GridError(
                f"The grid file of '{self.name}' was not found, so its nodes "
                "can't be drawn: put it beside the weights, as "
                f"'{self.name}.hdf5'."
            )
        if setting.sf_hist:
            raise InconsistentArguments(
                "Native nodes are drawn for a single population, not for "
                f"the history {setting.sf_hist}."
            )
        if setting.spectrum not in (
            REPROCESSED,
            *self.native.header.spectra_units,
        ):
            raise GridError(
                f"The grid file has no spectrum '{setting.spectrum}'."
            )
        found = []
        for index in self._corners(setting):
            values = tuple(
                float(label.axis.values[i])
                for label, i in zip(self.choices.labels, index, strict=True)
            )
            native = self._factor * np.sum(
                [self._read_node(name, index) for name in setting.summed],
                axis=0,
            )
            point = jnp.asarray(values)
            emulated = np.asarray(
                _population(
                    self._emulator,
                    setting.summed,
                    self._line_paths(setting),
                    point,
                    jnp.zeros_like(point),
                )[0].lnu,
                np.float64,
            )
            with np.errstate(divide="ignore", invalid="ignore"):
                error = self._factor * emulated / native - 1.0
            lnu, fnu, _ = self._observe(setting, native.astype(np.float32), ())
            found.append(
                Node(
                    values,
                    Spectrum(
                        self.lam,
                        lnu,
                        fnu,
                        setting.redshift,
                        None,
                        (),
                        cuts=self._cuts,
                    ),
                    np.where(native > 0, error, np.nan),
                )
            )
        return found

    def _corners(self, setting: Setting) -> list[tuple[int, ...]]:
        """Return the indices of the nodes around a point, nearest first."""
        sides, distances = [], []
        for label in self.choices.labels:
            value = label.to_labels(setting.axes[label.axis.name], np)
            nodes = label.nodes
            right = int(np.clip(np.searchsorted(nodes, value), 1, None))
            pair = (right - 1, min(right, len(nodes) - 1))
            width = nodes[pair[1]] - nodes[pair[0]]
            sides.append(pair)
            distances.append(
                [abs(value - nodes[i]) / (width or 1.0) for i in pair]
            )
        chosen = np.stack(
            np.meshgrid(*[[0, 1]] * len(sides), indexing="ij"), -1
        ).reshape(-1, len(sides))
        far = [
            sum(d[k] ** 2 for d, k in zip(distances, row, strict=True))
            for row in chosen
        ]
        ordered = [
            tuple(pair[k] for pair, k in zip(sides, chosen[i], strict=True))
            for i in np.argsort(far, kind="stable")
        ]
        return list(dict.fromkeys(ordered))[:_MOST_NODES]

    def _native_spectrum(
        self, name: str, index: tuple[int, ...]
    ) -> NDArray[np.float64]:
        """Read one spectrum of the grid file, (nlam,)."""
        assert self.native is not None
        return self.native.read_nodes(f"spectra/{name}", [index])[0]

    def _line_paths(self, setting: Setting) -> tuple[str, ...]:
        """Return the continua that are summed at the lines of a spectrum."""
        if not self._line_ids or setting.spectrum not in _WITH_LINES:
            return ()
        both = ("nebular_continuum", "transmitted")
        return both if setting.spectrum == REPROCESSED else both[:1]

    def _of_population(
        self, setting: Setting, parameter: str
    ) -> tuple[Emitted, Emitted]:
        """Return the emission of a single population and its derivative."""
        names = [label.axis.name for label in self.choices.labels]
        point = jnp.asarray([setting.axes[name] for name in names], float)
        return _population(
            self._emulator,
            setting.summed,
            self._line_paths(setting),
            point,
            jnp.asarray(self._direction(setting, names, parameter), float),
        )

    def _direction(
        self, setting: Setting, names: Sequence[str], parameter: str
    ) -> list[float]:
        """Return the change of axis values with the label of a parameter."""
        logged = {
            label.axis.name: label.logged for label in self.choices.labels
        }
        return [
            (np.log(10.0) * setting.axes[name] if logged[name] else 1.0)
            if name == parameter
            else 0.0
            for name in names
        ]

    def _of_history(
        self, setting: Setting, parameter: str
    ) -> tuple[Emitted, Emitted]:
        """Return the emission of stars of many ages and its derivative."""
        axes = {label.axis.name: label.axis for label in self.choices.labels}
        metallicity = setting.axes["metallicities"]
        nodes = axes["metallicities"].values
        low = int(np.clip(np.searchsorted(nodes, metallicity) - 1, 0, None))
        pair = [low, min(low + 1, len(nodes) - 1)]
        ranges = HISTORIES[setting.sf_hist]
        values = {**setting.history, "metallicity": metallicity}
        logged = {n: r.logged for n, r in ranges.items()} | {
            "metallicity": self.choices.ranges["metallicities"].logged
        }
        wanted = "metallicity" if parameter == "metallicities" else parameter
        directions = {
            name: (np.log(10.0) * value if logged[name] else 1.0)
            if name == wanted
            else 0.0
            for name, value in values.items()
        }
        weights, change = _weights(
            tuple(axes["ages"].values.tolist()),
            tuple(nodes.tolist()),
            setting.sf_hist,
            {n: float(v) for n, v in values.items()},
            {n: float(v) for n, v in directions.items()},
        )
        others = tuple(n for n in axes if n not in ("ages", "metallicities"))
        along = parameter if parameter in others else ""
        extra = tuple(float(setting.axes[name]) for name in others)
        parts = [
            self._at_ages(
                setting.summed,
                self._line_paths(setting),
                float(nodes[k]),
                extra,
                along,
            )
            for k in pair
        ]
        return _sum_over_ages(
            [weights[:, k] for k in pair],
            [change[:, k] for k in pair],
            parts,
            # At the last node both sides are the same.
            0.0 if pair[0] == pair[1] else 1.0,
        )

    def _spectra_at_ages(
        self,
        names: tuple[str, ...],
        continua: tuple[str, ...],
        metallicity: float,
        extra: tuple[float, ...],
        along: str,
    ) -> tuple[Emitted, Emitted]:
        """Return the emission at all ages, and its derivative, (n_ages, n)."""
        labels = self.choices.labels
        others = iter(extra)
        point, direction, of_ages = [], [], 0
        for i, label in enumerate(labels):
            name = label.axis.name
            if name == "ages":
                of_ages = i
                point.append(0.0)
            elif name == "metallicities":
                point.append(metallicity)
            else:
                point.append(next(others))
            direction.append(
                0.0
                if name != along
                else np.log(10.0) * point[-1]
                if label.logged
                else 1.0
            )
        ages = labels[of_ages].axis.values
        points = np.tile(point, (len(ages), 1))
        points[:, of_ages] = ages
        return _populations(
            self._emulator,
            names,
            continua,
            jnp.asarray(points, float),
            jnp.asarray(direction, float),
            bool(along),
        )

    def _curve(self, setting: Setting) -> NDArray[np.float64]:
        """Return the optical depth relative to V, (nlam,)."""
        return _optical_depths(
            setting.dust, tuple(setting.curve.items()), self._lam_key
        )

    def _observe(
        self,
        setting: Setting,
        lnu: Array | NDArray,
        filters: tuple[str, ...],
    ) -> tuple[NDArray[np.float64], NDArray[np.float64], NDArray[np.float64]]:
        """Return the luminosity, flux density and photometry of a setting."""
        observed = _observed(
            _observer(setting.igm, self._lam_key),
            _prepared(filters, self._lam_key) if filters else None,
            lnu,
            jnp.asarray(self._curve(setting), float),
            {
                "tau_v": setting.tau_v,
                "mass": setting.mass * self._factor,
                "redshift": setting.redshift,
            },
        )
        luminosity, flux, bands = (np.asarray(v, np.float64) for v in observed)
        return luminosity, flux, bands

    def _lines(self, setting: Setting, emitted: Emitted) -> Lines | None:
        """Return the lines of a setting, or None."""
        if not self._line_paths(setting):
            return None
        depth = _optical_depths(
            setting.dust, tuple(setting.curve.items()), self._line_lam_key
        )
        luminosity = np.asarray(emitted.line_lum, np.float64) * setting.mass
        width = equivalent_width(
            jnp.asarray(emitted.line_lum) / _LSUN,
            emitted.line_cont,
            jnp.asarray(self._line_lam, float),
        )
        return Lines(
            ids=self._line_ids,
            lam=self._line_lam,
            luminosity=luminosity * np.exp(-setting.tau_v * depth),
            equivalent_width=np.asarray(width, np.float64),
        )


@lru_cache(8)
def read_filters(given: tuple[str, ...]) -> FilterCollection:
    """Return filters from their codes, top hats or the name `NIRCam`.

    Args:
        given (tuple of str): Codes of the Spanish Virtual Observatory;
            `name=low-high` for a top hat between two wavelengths in
            Angstrom; or `NIRCam` for its eight wide bands as top hats.

    Returns:
        FilterCollection: The filters.

    Raises:
        InconsistentArguments: If a filter is not known or can't be read.
    """
    codes, edges = [], {}
    for text in given:
        name, separator, limits = text.partition("=")
        if separator:
            name = name.strip()
            if name in edges:
                raise InconsistentArguments(
                    f"The filter '{name}' is there twice: rename one."
                )
            edges[name] = _two_numbers(text, limits)
        elif text.lower() == "nircam":
            edges |= {code: list(ends) for code, ends in NIRCAM_WIDE.items()}
        else:
            codes.append(text)
    collections = []
    if edges:
        collections.append(as_filters(edges))
    if codes:
        collections.append(as_filters(codes))
    total = collections[0]
    for more in collections[1:]:
        total = total + more
    return total


def envelope(
    x: NDArray[np.float64],
    y: NDArray[np.float64],
    limits: tuple[float, float],
    pixels: int,
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Return the points of a curve that a screen can show.

    Within each of the pixels, logarithmic in x, the smallest and the largest
    value are kept; NaN is ignored unless all are.

    Args:
        x (np.ndarray of float): The wavelengths, ascending, (n,).
        y (np.ndarray of float): The values, (n,).
        limits (tuple of float): The range of x that is shown.
        pixels (int): The number of pixels.

    Returns:
        tuple of np.ndarray: The points, with one more on each side of the
            range, (m,) each, where m is at most 2 * pixels + 2.
    """
    first = max(int(np.searchsorted(x, limits[0])) - 1, 0)
    last = min(int(np.searchsorted(x, limits[1], "right")) + 1, len(x))
    x, y = x[first:last], y[first:last]
    if len(x) <= 2 * pixels:
        return x, y
    edges = np.geomspace(limits[0], limits[1], pixels + 1)
    starts = np.unique(np.searchsorted(x, edges[:-1]))
    starts = np.unique(np.concatenate([[0], starts[starts < len(x)]]))
    low = np.fmin.reduceat(y, starts)
    high = np.fmax.reduceat(y, starts)
    ends = np.append(starts[1:], len(x)) - 1
    # In the order in which the curve rises or falls, so that it has no kinks.
    rising = y[ends] >= y[starts]
    pairs = np.where(
        rising[:, None], np.stack([low, high], 1), np.stack([high, low], 1)
    )
    single = ends == starts
    keep = np.stack([np.ones_like(single), ~single], 1)
    return np.stack([x[starts], x[ends]], 1)[keep], pairs[keep]


def _emission(
    emulator: Emulator,
    names: tuple[str, ...],
    continua: tuple[str, ...],
    point: Float[Array, " d"],
) -> Emitted:
    """Return the emission at a point; without continua it has no lines."""
    lnu = sum(emulator.spectrum(name, point) for name in names)
    if not continua:
        return Emitted(jnp.asarray(lnu), jnp.zeros(0), jnp.zeros(0))
    return Emitted(
        jnp.asarray(lnu),
        emulator.lines("luminosity", point),
        jnp.asarray(sum(emulator.lines(name, point) for name in continua)),
    )


def line_title(line_id: str) -> str:
    """Return the title of a line, such as `O III 5007`, from its id.

    Wavelengths are in Angstrom, or in micron where the id has `m`.
    """
    if line_id in _TITLES:
        return _TITLES[line_id]
    *species, wavelength = line_id.split()
    if len(species) == 2 and species[1].isdigit():
        species[1] = _ROMAN[int(species[1])]
    number, unit = float(wavelength[:-1]), wavelength[-1]
    at = f"{number:.0f}" if unit == "A" else f"{number:.4g} µm"
    return " ".join([*species, at])


@partial(jax.jit, static_argnames=("names", "continua"))
def _population(
    emulator: Emulator,
    names: tuple[str, ...],
    continua: tuple[str, ...],
    point: Float[Array, " d"],
    direction: Float[Array, " d"],
) -> tuple[Emitted, Emitted]:
    """Return the emission at a point, and its derivative along a direction."""
    return jax.jvp(
        partial(_emission, emulator, names, continua), (point,), (direction,)
    )


@partial(jax.jit, static_argnames=("names", "continua", "changing"))
def _populations(
    emulator: Emulator,
    names: tuple[str, ...],
    continua: tuple[str, ...],
    points: Float[Array, "n d"],
    direction: Float[Array, " d"],
    changing: bool,
) -> tuple[Emitted, Emitted]:
    """Return the emission at points, and its derivative, (n, ...).

    The derivative is zero, and not computed, unless `changing`.
    """
    if changing:
        return jax.vmap(
            lambda point: _population(
                emulator, names, continua, point, direction
            )
        )(points)
    emitted = jax.vmap(partial(_emission, emulator, names, continua))(points)
    return emitted, jax.tree.map(jnp.zeros_like, emitted)


@partial(jax.jit, static_argnames=("ages", "metallicities", "sf_hist"))
def _weights(
    ages: tuple[float, ...],
    metallicities: tuple[float, ...],
    sf_hist: str,
    values: dict[str, Array],
    directions: dict[str, Array],
) -> tuple[Array, Array]:
    """Return the mass fractions (n_ages, n_Z) and their derivative."""

    def fractions(values: dict[str, Array]) -> Array:
        history = dict(values)
        metallicity = history.pop("metallicity")
        return sfzh(
            np.array(ages),
            np.array(metallicities),
            sf_hist,
            "DeltaConstant",
            history,
            {"metallicity": metallicity},
        )

    return jax.jvp(fractions, (values,), (directions,))


@jax.jit
def _sum_over_ages(
    weights: list[Array],
    changes: list[Array],
    parts: list[tuple[Emitted, Emitted]],
    second: Array,
) -> tuple[Emitted, Emitted]:
    """Return the sum over ages and two metallicities, and its derivative."""

    def total(rows: list[Array], which: int) -> Emitted:
        one, two = (
            jax.tree.map(lambda v, w=row: w @ v, part[which])
            for row, part in zip(rows, parts, strict=True)
        )
        return jax.tree.map(lambda p, q: p + second * q, one, two)

    by_weights = total(changes, 0)
    by_spectra = total(weights, 1)
    change = jax.tree.map(jnp.add, by_weights, by_spectra)
    return total(weights, 0), change


@jax.jit
def _observed(
    observer: Observer,
    bands: Bands | None,
    lnu: Array,
    curve: Array,
    values: dict[str, Array],
) -> tuple[Array, Array, Array]:
    """Return luminosity and flux density (nlam,), and photometry (n_bands,).

    After dust and at the redshift of a setting, erg/s/Hz, nJy and nJy.
    """
    attenuated = values["mass"] * lnu * jnp.exp(-values["tau_v"] * curve)
    fnu = observer.fluxes(attenuated, values["redshift"])
    if bands is None:
        return attenuated, fnu, jnp.zeros(0)
    return attenuated, fnu, bands.fluxes(fnu, values["redshift"])


@lru_cache(8)
def _observer(igm: str, lam: bytes) -> Observer:
    """Return the observer of spectra on given wavelengths."""
    return Observer.from_cosmology(
        np.frombuffer(lam),
        COSMOLOGY,
        getattr(attenuation, igm) if igm else None,
        MAX_REDSHIFT,
    )


@lru_cache(8)
def _prepared(filters: tuple[str, ...], lam: bytes) -> Bands:
    """Return filters prepared for spectra on given wavelengths."""
    return Bands.from_filters(read_filters(filters), np.frombuffer(lam))


@lru_cache(16)
def _optical_depths(
    dust: str, curve: tuple[tuple[str, float], ...], lam: bytes
) -> NDArray[np.float64]:
    """Return the optical depth relative to V, zero without dust, (n,)."""
    at = np.frombuffer(lam)
    if not dust:
        return np.zeros(len(at))
    law = DUST_CURVES[dust]
    made = getattr(attenuation, law.name)(**law.fixed, **dict(curve))
    return np.asarray(made.get_tau(at * angstrom), np.float64)


def _bands(
    given: tuple[str, ...], fnu: NDArray[np.float64]
) -> tuple[Band, ...]:
    """Return the photometry in filters."""
    if not given:
        return ()
    filters = read_filters(given)
    with np.errstate(divide="ignore"):
        magnitudes = -2.5 * np.log10(fnu / _AB_ZERO)
    bands = []
    for code, flux, magnitude in zip(
        filters.filter_codes, fnu, magnitudes, strict=True
    ):
        low, high = filters[code].min(), filters[code].max()
        bands.append(
            Band(
                code=code,
                pivot=float(filters[code].pivwv().to_value("angstrom")),
                edges=(
                    float(low.to_value("angstrom")),
                    float(high.to_value("angstrom")),
                ),
                fnu=float(flux),
                magnitude=float(magnitude),
            )
        )
    return tuple(bands)


def _logarithmic(value: Array, change: Array) -> NDArray[np.float64]:
    """Return the derivative of log10 of a value; NaN where it is zero."""
    values = np.asarray(value, np.float64)
    changes = np.asarray(change, np.float64)
    lit = values > 0
    ratio = changes / np.where(lit, values, 1.0) / np.log(10.0)
    return np.where(lit, ratio, np.nan)


def _find_native(weights: Weights) -> NativeGrid | None:
    """Return the grid file of weights; None if not found, or another grid."""
    if weights.path is None:
        return None
    # The weights that ship with the package have their grids elsewhere.
    folder = weights.path.parent
    _, path = locate(
        plain_name(weights.path.name),
        None if folder == example_folder() else folder,
    )
    if path is None or difference(weights.header, path):
        return None
    return NativeGrid.open(path)


def _loading(name: str, grid_dir: str, weights: Weights) -> str:
    """Return the expression that loads an emulated grid."""
    path = weights.path
    if path == locate(name)[0]:
        return f"EmulatedGrid({name!r})"
    if path in weights_paths(Path(grid_dir) / name):
        return f"EmulatedGrid({name!r}, grid_dir={str(grid_dir)!r})"
    return f"EmulatedGrid({name!r}, weights={str(path)!r})"


def _two_numbers(text: str, limits: str) -> list[float]:
    """Return the two wavelengths of a top hat."""
    try:
        low, high = (float(part) for part in limits.split("-"))
    except ValueError:
        raise InconsistentArguments(
            "A top hat must be name=low-high, with wavelengths in Angstrom, "
            f"e.g. g=4000-5500; got '{text[:60]}'."
        ) from None
    return [low, high]


def _listed(values: Mapping[str, float]) -> str:
    """Return names and values as text."""
    return ", ".join(f"{name} = {value:g}" for name, value in values.items())
