"""`Catalogue`: the data of many galaxies, from a table.

Tables are those of astropy, or any file that it can read. What is wrong with
a table is reported before anything is compiled, with the columns and the ids
of the galaxies.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Self

import jax
import jax.numpy as jnp
import numpy as np
from astropy.table import Table
from astropy.units import UnitBase, dimensionless_unscaled
from numpy.typing import NDArray
from synthesizer.exceptions import (
    InconsistentArguments,
    IncorrectUnits,
    MissingUnits,
)
from unyt import unyt_array

from synthesizer_emulator.descriptions import Printed
from synthesizer_emulator.digests import digest
from synthesizer_emulator.files.table import read_table
from synthesizer_emulator.inference.line_fluxes import LineFluxes
from synthesizer_emulator.inference.measurements import Measurements, floors_of
from synthesizer_emulator.inference.photometry import Photometry
from synthesizer_emulator.inference.spectrum import Spectrum
from synthesizer_emulator.inference.spectrum_files import SpectrumFiles
from synthesizer_emulator.inference.tables import with_unit
from synthesizer_emulator.library.parts import listed
from synthesizer_emulator.units import in_units, parse_unit
from synthesizer_emulator.validation import check_number, nearest

# The kinds of data that a table may have.
KINDS: Mapping[str, type[Measurements]] = {
    "photometry": Photometry,
    "line_fluxes": LineFluxes,
}

# The convention that a negative error marks an upper limit, as in CIGALE.
NEGATIVE_ERRORS = "negative errors"


@dataclass(frozen=True, eq=False, repr=False)
class Catalogue(Printed):
    """The photometry, the line fluxes and the spectra of n galaxies.

    Made by `read` or `from_table`.

    Attributes:
        ids (np.ndarray): The ids of the galaxies, integers or strings, (n,).
        data (Mapping): The data by kind, `photometry` and `line_fluxes`,
            whose arrays have one row per galaxy, (n, n_codes).
        known (Mapping): Values of parameters that are known, such as
            spectroscopic redshifts, by the names of the parameters, (n,);
            NaN where unknown.
        spectra (Spectrum): The spectra, with arrays of NumPy of one row per
            galaxy, (n, n_pixels), with masked pixels at the end of shorter
            ones; None if there are none.

    Examples:
        >>> from astropy.table import Table
        >>> table = Table({"id": [3, 4], "g": [1.5, 2.5], "g_err": [0.1, 0.2]})
        >>> catalogue = Catalogue.from_table(
        ...     table, photometry={"SDSS.g": ("g", "g_err")}, units="uJy"
        ... )
        >>> print(catalogue)
        2 galaxies, photometry in 1 filter
    """

    ids: NDArray
    data: Mapping[str, Measurements]
    known: Mapping[str, NDArray[np.float64]] = field(default_factory=dict)
    spectra: Spectrum | None = None

    @classmethod
    def read(cls, path: str | Path, **columns: Any) -> Self:
        """Read a table from a file.

        Args:
            path (str/Path): The file: FITS, ECSV, CSV, VOTable, or text with
                the names of the columns in its first line (`*.txt`, `*.dat`,
                `*.cat`).
            **columns (dict): The columns, as for `from_table`.

        Raises:
            OSError: If there is no such file.
            InconsistentArguments: If the file is not a table, or as in
                `from_table`.
        """
        path = Path(path)
        table = read_table(path, "names of columns")
        return cls.from_table(table, **columns, folder=path.parent)

    @classmethod
    def from_table(
        cls,
        table: Table,
        id: str = "id",
        photometry: Mapping[str, Sequence[str]] | None = None,
        line_fluxes: Mapping[str, Sequence[str]] | None = None,
        known: Mapping[str, str] | None = None,
        units: str | Mapping[str, str] | None = None,
        upper_limits: str | Mapping[str, str] | None = None,
        floor: float | Mapping[str, float] = 0.0,
        missing: float | Iterable[float] = (),
        spectrum: Mapping[str, Any] | None = None,
        folder: str | Path = ".",
    ) -> Self:
        """Take the data from the columns of a table.

        A galaxy has no measurement in a filter, or of a line, where the value
        or its error is masked, NaN or one of `missing`. One may lack all.

        Args:
            table (Table): A table of astropy, or what it makes one of.
            id (str): The column of the ids.
            photometry (dict): The columns of the flux densities and of their
                standard deviations by the codes of the filters, as in
                `{"JWST/NIRCam.F115W": ("f115w", "e115w")}`.
            line_fluxes (dict): Those of the fluxes of lines by their ids,
                likewise.
            known (dict): The columns of known parameters by the names of the
                parameters, as in `{"redshift": "z_spec"}`. They are in the
                units of the priors if the column has none.
            units (str/dict): The units of columns without units, such as
                `uJy` or `1e-17*erg/s/cm**2`; by `photometry` and
                `line_fluxes` if there are both.
            upper_limits (str/dict): Columns by filter or line, nonzero where
                the value is an upper limit and the error its standard
                deviation; or `negative errors`, if there the error is
                negative.
            floor (float/dict): A fraction of each value that is added to its
                error in quadrature; or one by filter or line, zero for
                others.
            missing (float/list): Numbers that mark missing values, such as
                -99.
            spectrum (dict): The spectra, each in a file: the column `file` of
                their names; the `resolution`, as for `Spectrum.from_fluxes`,
                or the column of the files that has it; and perhaps `folder`,
                `columns` (of wavelengths, flux densities and errors, by
                default the first three), `units` (of `wavelength`, `flux`
                and `error`), `relative_error` (for files without errors),
                `lam_lims`, `calibration_degree` and `calibration_width`.
            folder (str/Path): The folder that the files of spectra are
                relative to; that of the table for `read`.

        Returns:
            Catalogue: The data.

        Raises:
            InconsistentArguments: If there are no rows or no data; if columns
                are missing, values are not finite, or errors are not
                positive; if galaxies have the same id; or if the file of a
                spectrum can't be read.
            IncorrectUnits: If units are wrong.
            MissingUnits: If flux densities or fluxes have no units.
        """
        columns = _Columns(Table(table), _numbers("missing", missing))
        chosen = {
            kind: _pairs(kind, pairs)
            for kind, pairs in (
                ("photometry", photometry),
                ("line_fluxes", line_fluxes),
            )
            if pairs
        }
        codes = {kind: tuple(pairs) for kind, pairs in chosen.items()}
        every = [code for of_kind in codes.values() for code in of_kind]
        if not every and spectrum is None:
            raise InconsistentArguments(
                "A catalogue needs the columns of its data: give photometry "
                "or line_fluxes, as in {'JWST/NIRCam.F115W': ['f115w', "
                "'e115w']}, or spectrum."
            )
        files = (
            None
            if spectrum is None
            else SpectrumFiles.from_mapping(spectrum, Path(folder))
        )
        limits = _limits(upper_limits, every)
        if isinstance(floor, Mapping):
            _check_codes("floor", floor, every)
        floors = floors_of(floor, every)
        known = _known_names(known or {})
        columns.check(
            [
                id,
                *(c for of in chosen.values() for p in of.values() for c in p),
                *(limits.values() if isinstance(limits, Mapping) else ()),
                *known.values(),
                *(() if files is None else (files.file,)),
            ]
        )
        ids = columns.ids(id)
        data = {
            kind: _measurements(
                KINDS[kind],
                columns,
                ids,
                pairs,
                _units_of_kind(kind, units, codes),
                limits,
                floors,
            )
            for kind, pairs in chosen.items()
        }
        values = {
            name: _known_values(columns, ids, column)
            for name, column in known.items()
        }
        spectra = (
            None
            if files is None
            else files.read_all(columns.names(files.file), ids.tolist())
        )
        found = cls(ids, data, values, spectra)
        if not found.has_data.any():
            raise InconsistentArguments(
                f"At least one of the {len(ids)} galaxies must have data, but "
                "all values are missing. Check the columns, and the numbers "
                f"given in missing, {missing!r}."
            )
        return found

    def __len__(self) -> int:
        """The number of galaxies."""
        return len(self.ids)

    def __getitem__(self, which: slice) -> Self:
        """Return some of the galaxies."""
        return replace(
            self,
            ids=self.ids[which],
            data=jax.tree.map(lambda array: array[which], self.data),
            spectra=jax.tree.map(lambda array: array[which], self.spectra),
            known={k: values[which] for k, values in self.known.items()},
        )

    def __str__(self) -> str:
        """Return the number of galaxies, and what is measured."""
        kinds = [
            f"{kind.replace('_', ' ')} "
            + ("in " if kind == "photometry" else "of ")
            + f"{len(codes)} {KINDS[kind].element}{'s' * (len(codes) > 1)}"
            for kind, codes in self.codes.items()
        ]
        if self.spectra is not None:
            kinds.append(f"{self.has_spectrum.sum()} spectra")
        return f"{len(self)} galaxies, {' and '.join(kinds)}"

    @property
    def codes(self) -> dict[str, tuple[str, ...]]:
        """The codes of the filters and the ids of the lines, by kind."""
        return {kind: of_kind.codes for kind, of_kind in self.data.items()}

    @property
    def has_data(self) -> NDArray[np.bool_]:
        """Whether each galaxy has a measurement or a limit, (n,)."""
        seen = [np.asarray(d.is_observed) for d in self.data.values()]
        every = np.column_stack([*seen, self.has_spectrum])
        return np.asarray(every.any(axis=1), bool)

    @property
    def has_spectrum(self) -> NDArray[np.bool_]:
        """Whether each galaxy has a spectrum, (n,)."""
        if self.spectra is None:
            return np.zeros(len(self), bool)
        return np.asarray(np.any(self.spectra.is_used, axis=1), bool)

    @property
    def digest(self) -> str:
        """Digest of the galaxies and their data."""
        return digest(
            self.ids.tolist(),
            [
                (kind, self.codes[kind], jax.tree.leaves(self.data[kind]))
                for kind in self.codes
            ],
            {name: np.asarray(values) for name, values in self.known.items()},
            *(() if self.spectra is None else vars(self.spectra).values()),
        )

    def galaxy(self, row: int) -> tuple[list[Any], dict[str, float]]:
        """Return the data and the known parameters of a galaxy, for `Fit.run`.

        Args:
            row (int): The row of the galaxy.

        Returns:
            tuple: The data, and the known parameters by name.

        Raises:
            InconsistentArguments: If the galaxy has no data.
        """
        if not self.has_data[row]:
            raise InconsistentArguments(
                f"The galaxy '{self.ids[row]}' has no data: all of its values "
                "are missing."
            )
        kinds: list[Any] = [*self.data.values()]
        if self.has_spectrum[row]:
            kinds.append(self.spectra)
        data = [
            jax.tree.map(
                lambda x: jnp.asarray(
                    x[row], bool if x.dtype == bool else float
                ),
                of_kind,
            )
            for of_kind in kinds
        ]
        known = {
            name: float(values[row])
            for name, values in self.known.items()
            if np.isfinite(values[row])
        }
        return data, known

    def row(self, id: str | int) -> int:
        """Return the row of the galaxy with an id.

        Raises:
            InconsistentArguments: If there is none.
        """
        names = [str(known) for known in self.ids.tolist()]
        if str(id) not in names:
            raise InconsistentArguments(
                f"The id must be one of the {len(self)} of the catalogue, "
                f"{listed(names)}; got '{id}'." + nearest(id, names)
            )
        return names.index(str(id))

    def in_order(self, codes: Mapping[str, Sequence[str]]) -> Self:
        """Return the catalogue with the filters and lines of a fit, in order.

        Args:
            codes (Mapping): The codes of the filters and the ids of the lines
                of the fit, as in `Fit.codes`.

        Raises:
            InconsistentArguments: If the catalogue has others.
        """
        for kind, of in KINDS.items():
            ours, wanted = self.codes.get(kind, ()), codes.get(kind, ())
            lacking = [code for code in wanted if code not in ours]
            unknown = [code for code in ours if code not in wanted]
            if lacking or unknown:
                raise InconsistentArguments(
                    f"The catalogue must have the {of.element}s of the fit, "
                    f"{listed(wanted) or 'none'}; "
                    + " and ".join(
                        f"{problem} {listed(which)}"
                        for problem, which in (
                            ("it lacks", lacking),
                            ("the fit has no", unknown),
                        )
                        if which
                    )
                    + ". Name the columns by the codes of the fit, and leave "
                    f"out {of.element}s without columns."
                    + "".join(nearest(code, lacking) for code in unknown)
                )
        order = {
            kind: [self.codes[kind].index(code) for code in codes[kind]]
            for kind in self.codes
        }
        return replace(
            self,
            data={
                kind: replace(
                    jax.tree.map(
                        lambda array, kind=kind: array[:, order[kind]],
                        of_kind,
                    ),
                    codes=tuple(codes[kind]),
                )
                for kind, of_kind in self.data.items()
            },
        )


@dataclass(frozen=True, eq=False)
class _Columns:
    """The columns of a table.

    Attributes:
        table (Table): The table.
        missing (tuple of float): Numbers that mark missing values.
    """

    table: Table
    missing: tuple[float, ...]

    def check(self, names: Iterable[str]) -> None:
        """Raise if the table lacks columns, or has no rows."""
        there = self.table.colnames
        lacking = [name for name in names if name not in there]
        if lacking:
            raise InconsistentArguments(
                f"The table has no column {', '.join(map(repr, lacking))}."
                + "".join(nearest(name, there) for name in lacking)
                + f" Its columns are {listed(there)}."
            )
        if not len(self.table):
            raise InconsistentArguments(
                "The table must have at least one row, got none."
            )

    def ids(self, name: str) -> NDArray:
        """Return a column of ids, integers or strings, (n,)."""
        column = self.table[name]
        values = np.asarray(column)
        if np.any(getattr(column, "mask", False)):
            rows = np.flatnonzero(column.mask)
            raise InconsistentArguments(
                f"Each galaxy must have an id, but the column '{name}' has "
                f"none in rows {listed(rows)}, counted from 0."
            )
        if values.dtype.kind == "S":
            values = np.char.decode(values, "utf-8")
        if values.dtype.kind == "O":
            values = np.array([str(value) for value in values])
        if values.dtype.kind not in "iuU" or values.ndim != 1:
            raise InconsistentArguments(
                f"The ids in the column '{name}' must be whole numbers or "
                f"strings, got {values.dtype}."
            )
        found, counts = np.unique(values, return_counts=True)
        if (counts > 1).any():
            raise InconsistentArguments(
                "Each galaxy must have an id of its own, but the column "
                f"'{name}' has {listed(found[counts > 1])} more than once. "
                "Remove the duplicate rows, or choose another column."
            )
        return values

    def names(self, name: str) -> list[str]:
        """Return a column of strings, empty where missing."""
        column = self.table[name]
        values = np.ma.getdata(column)
        if values.dtype.kind == "S":
            values = np.char.decode(values, "utf-8")
        if values.dtype.kind not in "UO" or values.ndim != 1:
            raise InconsistentArguments(
                f"The column '{name}' must have one name of a file per row, "
                f"got {values.dtype}."
            )
        gone = np.ma.getmaskarray(np.ma.asarray(column))
        return [
            "" if is_gone else str(value).strip()
            for value, is_gone in zip(values.tolist(), gone, strict=True)
        ]

    def numbers(self, name: str) -> NDArray[np.float64]:
        """Return a column of numbers, NaN where missing, (n,)."""
        column = self.table[name]
        values = np.ma.getdata(column)
        if values.dtype.kind not in "fiub" or values.ndim != 1:
            raise InconsistentArguments(
                f"The column '{name}' must have one number per row, got "
                f"{values.dtype} of shape {values.shape}."
            )
        values = np.array(values, np.float64)
        gone = np.isin(values, self.missing) | np.ma.getmaskarray(
            np.ma.asarray(column)
        )
        values[gone] = np.nan
        return values

    def unit(self, name: str) -> Any:
        """Return the unit of a column in astropy; None without one."""
        unit = self.table[name].unit
        return None if unit == dimensionless_unscaled else unit

    def factor(self, name: str, units: str | None, wanted: str) -> float:
        """Return what the numbers of a column are multiplied by.

        Args:
            name (str): The column.
            units (str): Its units if it has none.
            wanted (str): The units of the products.
        """
        unit = self.unit(name)
        if unit is None:
            if units is None:
                raise MissingUnits(
                    f"The column '{name}' must have units that convert to "
                    f"{wanted}, but has none. Give them, as in units: "
                    f"{wanted}."
                )
            one = unyt_array(1.0, parse_unit(units))
            return float(in_units(f"The column '{name}'", one, wanted))
        try:
            if not isinstance(unit, UnitBase):
                raise ValueError("it is not linear")
            return float(unit.to(_astropy_unit(wanted)))
        except (ValueError, TypeError) as error:
            raise IncorrectUnits(
                f"The column '{name}' must have units that convert to "
                f"{wanted}, got '{unit}'. Convert magnitudes and the like "
                "before; for maggies, leave out the unit of the column, and "
                "give units: 3631*Jy."
            ) from error


def _measurements(
    kind: type[Measurements],
    columns: _Columns,
    ids: NDArray,
    pairs: Mapping[str, tuple[str, str]],
    units: str | None,
    limits: str | Mapping[str, str],
    floors: Mapping[str, float],
) -> Measurements:
    """Return data of all galaxies of one kind, (n, n_codes)."""
    flux, error, limit = [], [], []
    for code, (of_value, of_error) in pairs.items():
        value, sigma = columns.numbers(of_value), columns.numbers(of_error)
        is_limit = np.zeros(len(ids), bool)
        if limits == NEGATIVE_ERRORS:
            is_limit = sigma < 0.0
            sigma = np.abs(sigma)
        elif code in limits and isinstance(limits, Mapping):
            marks = columns.numbers(limits[code])
            is_limit = np.isfinite(marks) & (marks != 0.0)
        gone = np.isnan(value) | np.isnan(sigma)
        _check(
            f"The column '{of_value}' must be finite",
            gone | np.isfinite(value),
            value,
            ids,
        )
        _check(
            f"The errors in the column '{of_error}' must be positive and "
            "finite",
            gone | ((sigma > 0.0) & (sigma < np.inf)),
            sigma,
            ids,
            "Numbers that mark missing values belong in missing. If negative "
            f"errors mark upper limits, give upper_limits: {NEGATIVE_ERRORS}.",
        )
        value = value * columns.factor(of_value, units, kind.units)
        sigma = sigma * columns.factor(of_error, units, kind.units)
        flux.append(np.where(gone, np.nan, value))
        error.append(np.hypot(sigma, floors.get(code, 0.0) * value))
        limit.append(is_limit)
    values = np.stack(flux, axis=1)
    observed = np.isfinite(values)
    # Arrays of NumPy: a galaxy's become JAX's when it is fitted.
    arrays: dict[str, Any] = {
        "flux": np.where(observed, values, 0.0),
        "error": np.where(observed, np.stack(error, axis=1), 1.0),
        "is_observed": observed,
        "is_limit": observed & np.stack(limit, axis=1),
    }
    return kind(**arrays, codes=tuple(pairs))


def _known_values(columns: _Columns, ids: NDArray, name: str) -> Any:
    """Return the values of a known parameter, with the units they have."""
    values, unit = columns.numbers(name), columns.unit(name)
    _check(
        f"The column '{name}' must be finite", ~np.isinf(values), values, ids
    )
    if unit is None:
        return values
    return with_unit(name, values, unit)


def _astropy_unit(units: str) -> UnitBase:
    """Return a unit of astropy."""
    return unyt_array(1.0, parse_unit(units)).to_astropy().unit


def _check(
    what: str,
    good: NDArray[np.bool_],
    values: NDArray[np.float64],
    ids: NDArray,
    remedy: str = "Mask missing values, or give the number in missing.",
) -> None:
    """Raise with the galaxies whose values are not good."""
    if good.all():
        return
    wrong = np.flatnonzero(~good)
    pairs = [f"{ids[i]} ({values[i]:g})" for i in wrong]
    raise InconsistentArguments(
        f"{what}; not so for {len(wrong)} of {len(ids)} galaxies: "
        f"{listed(pairs)}. {remedy}"
    )


def _pairs(kind: str, given: Any) -> dict[str, tuple[str, str]]:
    """Return the columns of values and of errors by code."""
    if isinstance(given, Mapping):
        pairs = {str(code): pair for code, pair in given.items()}
        if all(
            isinstance(pair, list | tuple)
            and len(pair) == 2
            and all(isinstance(name, str) for name in pair)
            for pair in pairs.values()
        ):
            return {code: (pair[0], pair[1]) for code, pair in pairs.items()}
    raise InconsistentArguments(
        f"{kind} must name two columns for each {KINDS[kind].element}, of the "
        f"{KINDS[kind].quantity} and of its error, as in {{code: [column, "
        f"column]}}; got {given!r}."
    )


def _known_names(given: Any) -> dict[str, str]:
    """Return the columns of known parameters by the parameters' names."""
    if isinstance(given, Mapping) and all(
        isinstance(column, str) for column in given.values()
    ):
        return {str(name): column for name, column in given.items()}
    raise InconsistentArguments(
        "known must give a column for each known parameter, as in {redshift: "
        f"z_spec}}; got {given!r}."
    )


def _limits(given: Any, codes: Sequence[str]) -> str | Mapping[str, str]:
    """Return the convention of upper limits, or their columns by code."""
    if given is None:
        return {}
    if given == NEGATIVE_ERRORS:
        return NEGATIVE_ERRORS
    if not isinstance(given, Mapping) or not all(
        isinstance(column, str) for column in given.values()
    ):
        raise InconsistentArguments(
            "upper_limits must give a column for filters or lines, as in "
            f"{{code: column}}, or be '{NEGATIVE_ERRORS}'; got {given!r}."
        )
    _check_codes("upper_limits", given, codes)
    return given


def _check_codes(
    what: str, given: Iterable[str], codes: Sequence[str]
) -> None:
    """Raise if a filter or a line has no columns."""
    for code in given:
        if code not in codes:
            raise InconsistentArguments(
                f"{what} must be for filters or lines with columns, "
                f"{', '.join(codes)}; got '{code}'." + nearest(code, codes)
            )


def _numbers(name: str, given: Any) -> tuple[float, ...]:
    """Return a number, or several, as a tuple."""
    numbers = tuple(given) if isinstance(given, list | tuple) else (given,)
    for number in numbers:
        check_number(name, number, -np.inf)
    return numbers


def _units_of_kind(
    kind: str, given: Any, codes: Mapping[str, Any]
) -> str | None:
    """Return the units of the columns of a kind that have none."""
    if not isinstance(given, Mapping):
        return given
    for name in given:
        if name not in codes:
            raise InconsistentArguments(
                f"units must be by the kinds of data, {', '.join(codes)}; got "
                f"'{name}'." + nearest(name, codes)
            )
    return given.get(kind)
