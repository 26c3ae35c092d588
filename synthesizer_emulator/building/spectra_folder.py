"""A file of scattered samples from a folder of spectra and a table of labels.

`make_samples` reads one spectrum for each row of the table, and writes the
file that `build` trains on. Spectra that can't be used are left out and
listed with the reason.
"""

import csv
import glob
import io
import os
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from astropy import units as u
from astropy.table import Table
from numpy.typing import NDArray
from synthesizer.exceptions import InconsistentArguments
from unyt import unyt_quantity

from synthesizer_emulator.descriptions import Printed
from synthesizer_emulator.expressions import Expression
from synthesizer_emulator.files.spectrum_table import (
    find_columns,
    fits_table,
    npz_table,
    plain_column,
    text_table,
)
from synthesizer_emulator.files.table import read_table
from synthesizer_emulator.files.writing import (
    check_new,
    check_writable,
    write_whole,
)
from synthesizer_emulator.gridfile.header import WINDOWS, Axis
from synthesizer_emulator.gridfile.samples import write_samples
from synthesizer_emulator.progress import progress_bar
from synthesizer_emulator.units import NO_UNITS, PURE, parse_unit
from synthesizer_emulator.validation import (
    check_choice,
    check_number,
    nearest,
)
from synthesizer_emulator.wavelengths import bin_edges, flux_conserving

# The units of spectra in Synthesizer's grids.
LUMINOSITY = "erg/s/Hz"

# The usual names of the column of files, in lower case.
_FILE_COLUMNS = ("file", "filename", "spectrum", "path", "name")

# The largest difference of wavelengths that are the same.
_SAME = 1e-7

# The error of wavelengths that were converted from other units.
_ROUNDING = 1e-9

# The number of reasons that a report shows.
_SHOWN = 5


@dataclass(frozen=True)
class BadSpectrum:
    """A spectrum that was left out.

    Attributes:
        row (int): Its row in the table of labels, counted from 1.
        file (str): Its file.
        reason (str): The reason.
    """

    row: int
    file: str
    reason: str


@dataclass(frozen=True, repr=False)
class SamplesReport(Printed):
    """What was written to a file of samples.

    Attributes:
        path (Path): The file.
        parameters (tuple of Axis): The parameters with their values at the
            samples, (m,).
        lam (np.ndarray of float): The wavelengths, Angstrom, (n,).
        units (str): The units of the spectra, `None` for none.
        filtered (int): The number of rows that the filter left out.
        bad (tuple of BadSpectrum): The spectra that could not be used.
        bad_list (Path): The CSV file of these; None without any.
    """

    path: Path
    parameters: tuple[Axis, ...]
    lam: NDArray[np.float64]
    units: str
    filtered: int
    bad: tuple[BadSpectrum, ...]
    bad_list: Path | None

    def __str__(self) -> str:
        """Return the numbers of samples, their ranges, and bad spectra."""
        n = len(self.parameters[0].values)
        units = "" if self.units in NO_UNITS else f" in {self.units}"
        lines = [
            f"{self.path}: {n} samples of {len(self.lam)} wavelengths, "
            f"{self.lam[0]:g} to {self.lam[-1]:g} Angstrom{units}"
        ]
        for axis in self.parameters:
            unit = "" if axis.units == PURE else f" {axis.units}"
            lines.append(
                f"  {axis.name}: {axis.values.min():g} to "
                f"{axis.values.max():g}{unit}"
            )
        if self.filtered:
            lines.append(f"{self.filtered} rows left out by the filter")
        if self.bad:
            lines.append(
                f"{len(self.bad)} spectra left out, listed in {self.bad_list}:"
            )
            lines += [
                f"  row {b.row}, {b.file}: {b.reason}"
                for b in self.bad[:_SHOWN]
            ]
        if len(self.bad) > _SHOWN:
            lines.append("  ...")
        return "\n".join(lines)


@dataclass(frozen=True)
class SpectrumReader:
    """How the spectra of a folder are read.

    Attributes:
        folder (Path): The folder.
        windows (tuple): The ranges of wavelengths to keep, Angstrom,
            ascending and apart; empty for all.
        lam_units (str): The units of wavelengths without any.
        flux_units (str): The units of fluxes without any; empty to keep the
            numbers as they are.
        resample (bool): Whether spectra with other wavelengths are rebinned.
    """

    folder: Path
    windows: tuple[tuple[float, float], ...] = ()
    lam_units: str = "angstrom"
    flux_units: str = ""
    resample: bool = False

    def find(self, name: str) -> Path:
        """Return the path of a file, given with or without its ending.

        Raises:
            ValueError: If there is none, or several, or it is outside of the
                folder.
        """
        if not name:
            raise ValueError("the table has no file for it")
        path = self.folder / name
        # As it is written: what is in the folder may be a link.
        if Path(os.path.relpath(path, self.folder)).parts[:1] == ("..",):
            raise ValueError("it is outside of the folder")
        if path.is_file():
            return path
        found = sorted(path.parent.glob(f"{glob.escape(path.name)}.*"))
        if len(found) != 1:
            raise ValueError(
                "no such file"
                if not found
                else f"several files: {', '.join(p.name for p in found[:3])}"
            )
        return found[0]

    def read(
        self, path: Path
    ) -> tuple[NDArray[np.float64], NDArray[np.float64], str]:
        """Read the wavelengths (n,), fluxes (n,) and units of a spectrum.

        Wavelengths are in Angstrom and ascending. Luminosity densities are
        converted to erg/s/Hz.

        Raises:
            ValueError: If the file has no spectrum; the text is the reason.
        """
        contents = path.read_bytes()
        try:
            if contents.startswith(b"PK\x03\x04"):
                table = npz_table(contents)
            elif contents.startswith(b"SIMPLE"):
                table = fits_table(contents)
            else:
                table = text_table(contents)
            # The list of bad spectra has the name of the file.
            columns = find_columns("it", table)
        except InconsistentArguments as error:
            raise ValueError(str(error).rstrip(".")) from error
        except Exception as error:
            # astropy and NumPy raise errors of many types.
            reason = str(error).strip().splitlines() or [type(error).__name__]
            raise ValueError(f"can't be read: {reason[0][:200]}") from error
        lam = plain_column(table, columns["wavelength"])
        flux = plain_column(table, columns["flux"])
        if columns["wavelength"].lower() == "loglam":
            lam = 10.0**lam
        lam_unit = table[columns["wavelength"]].unit or _astropy(
            self.lam_units
        )
        flux_unit = table[columns["flux"]].unit or _astropy(self.flux_units)
        lam = np.asarray((lam * lam_unit).to_value(u.AA, u.spectral()))
        if not (np.isfinite(lam).all() and np.all(lam > 0.0)):
            raise ValueError("a wavelength is not finite and positive")
        order = np.argsort(lam)
        lam, flux = lam[order], flux[order]
        if not np.all(np.diff(lam) > 0.0):
            raise ValueError("a wavelength is there twice")
        if flux_unit == u.dimensionless_unscaled:
            return lam, flux, "None"
        try:
            density = u.spectral_density(lam * u.AA)
            flux = (flux * flux_unit).to_value(_astropy(LUMINOSITY), density)
        except u.UnitConversionError:
            raise ValueError(
                f"its units, {flux_unit}, are not those of a luminosity "
                "density; give the flux units 'none' to train on its numbers"
            ) from None
        return lam, np.asarray(flux), LUMINOSITY

    def kept(self, lam: NDArray[np.float64]) -> NDArray[np.bool_]:
        """Return the mask of the wavelengths within the windows, (n,)."""
        if not self.windows:
            return np.ones(len(lam), bool)
        inside = [_within(lam, *window) for window in self.windows]
        return np.logical_or.reduce(inside)

    def on(
        self,
        reference: NDArray[np.float64],
        lam: NDArray[np.float64],
        flux: NDArray[np.float64],
    ) -> NDArray[np.float64]:
        """Return fluxes at the wavelengths of the samples, (k,).

        Raises:
            ValueError: If the wavelengths differ and may not be rebinned, or
                do not cover the samples.
        """
        kept = self.kept(lam)
        if np.count_nonzero(kept) == len(reference) and np.allclose(
            lam[kept], reference, rtol=_SAME, atol=0.0
        ):
            return flux[kept]
        if not self.resample:
            raise ValueError(
                "its wavelengths differ from those of the first spectrum; "
                "resample them"
            )
        rebinned = []
        # Pixels next to gaps between windows are no wider than others.
        for low, high in self.windows or ((0.0, np.inf),):
            piece = reference[_within(reference, low, high)]
            if len(piece) < 2:
                raise ValueError("a window has a single wavelength")
            edges, old = bin_edges(piece), bin_edges(lam)
            if edges[0] < old[0] or edges[-1] > old[-1]:
                raise ValueError(
                    f"it does not cover {edges[0]:g} to {edges[-1]:g} Angstrom"
                )
            rebinned.append(flux_conserving(lam, piece)(flux))
        return np.concatenate(rebinned)


def make_samples(
    folder: str | Path,
    labels: str | Path,
    out: str | Path,
    *,
    parameters: Mapping[str, str] | None = None,
    units: Mapping[str, str] | None = None,
    logged: Sequence[str] = (),
    where: str | None = None,
    windows: Sequence[tuple[float, float]] = (),
    spectrum: str = "incident",
    file_column: str | None = None,
    lam_units: str = "angstrom",
    flux_units: str = "none",
    resample: bool = False,
    progress: bool = True,
    overwrite: bool = False,
) -> SamplesReport:
    """Make a file of scattered samples from spectra and a table of labels.

    Args:
        folder (str/Path): The folder of the spectra: text of two columns,
            ECSV, npz or FITS, one spectrum a file.
        labels (str/Path): The table (CSV, ECSV, FITS, text), with the file of
            each spectrum, with or without its ending, and its labels.
        out (str/Path): The file to write.
        parameters (Mapping): The expression of the columns for each
            parameter, by its name (see `Expression`); by default all columns
            of numbers, with their names.
        units (Mapping): The units of parameters, by name; others have none.
        logged (sequence of str): The parameters that Synthesizer logs.
        where (str): The condition on the columns for a row to be used.
        windows (sequence of tuple): The ranges of wavelengths to keep,
            Angstrom; by default all.
        spectrum (str): The name of the spectrum in the file.
        file_column (str): The column of the files; by default one that is
            called `file`, `filename`, `spectrum`, `path` or `name`.
        lam_units (str): The units of wavelengths without any.
        flux_units (str): The units of fluxes without any, such as
            `erg/s/angstrom`; `none` keeps the numbers as they are, for
            instance of normalised spectra.
        resample (bool): Whether to rebin spectra to the wavelengths of the
            first, conserving flux.
        progress (bool): Whether to show progress.
        overwrite (bool): Whether to replace a file that exists.

    Returns:
        SamplesReport: The samples, and what was left out.

    Raises:
        InconsistentArguments: If expressions or settings are invalid, fewer
            than two samples are left, or the file exists.
        OSError: If a file is missing or can't be written.
    """
    out, folder = Path(out), Path(folder)
    check_new(out, overwrite)
    what = "labels and the files of spectra"
    columns = _columns(read_table(labels, what))
    file_column = _file_column(columns, file_column)
    names = columns[file_column]
    if names.dtype.kind == "f":
        # Names such as 007 look like numbers.
        again = read_table(labels, what, as_text=[file_column])
        names = _columns(again)[file_column]
    # All mistakes are told at once.
    problems: list[str] = []
    chosen = _parameters(columns, parameters, file_column, problems)
    axes = _axes(chosen, units or {}, logged, problems)
    plain = "" if flux_units.lower() == "none" else flux_units
    for text in (lam_units, plain):
        with _noted(problems):
            parse_unit(text)
    merged: tuple[tuple[float, float], ...] = ()
    with _noted(problems):
        merged = _merged(windows)
    rows = np.ones(len(names), bool)
    if where is not None:
        with _noted(problems):
            rows = Expression.parse(where).mask(columns)
    if len(chosen) < 2:
        problems.append(
            "An emulator needs at least two parameters, got "
            f"{', '.join(chosen) or 'none'}. Give --label NAME=EXPRESSION "
            f"(parameters=) of the columns {', '.join(columns)}."
        )
    if problems:
        raise InconsistentArguments("\n".join(problems))
    if not folder.is_dir():
        raise FileNotFoundError(f"The folder '{folder}' does not exist.")
    check_writable(out)
    reader = SpectrumReader(folder, merged, lam_units, plain, resample)
    kept, fluxes, bad, lam, flux_unit = _read_all(
        reader, names, axes, rows, progress
    )
    listed = out.with_name(f"{out.stem}.bad.csv") if bad else None
    if listed is not None:
        _write_bad(listed, bad)
    axes = tuple(
        Axis(a.name, a.values[kept], a.units, a.log_on_read) for a in axes
    )
    report = SamplesReport(
        out,
        axes,
        lam,
        flux_unit,
        int(np.count_nonzero(~rows)),
        tuple(bad),
        listed,
    )
    _check_usable(report, len(names))
    write_samples(
        out,
        axes,
        lam,
        {spectrum: np.array(fluxes)},
        flux_unit,
        {
            "labels": Path(labels).name,
            "spectra": folder.name,
            **({WINDOWS: reader.windows} if reader.windows else {}),
        },
    )
    return report


def _read_all(
    reader: SpectrumReader,
    names: NDArray,
    axes: Sequence[Axis],
    rows: NDArray[np.bool_],
    progress: bool,
) -> tuple[
    list[int],
    list[NDArray[np.float64]],
    list[BadSpectrum],
    NDArray[np.float64],
    str,
]:
    """Read the spectra of the rows of a table.

    Returns:
        tuple: The rows of the samples; their fluxes, (n,) each; the spectra
            that can't be used; the wavelengths; and the units.
    """
    kept: list[int] = []
    fluxes: list[NDArray[np.float64]] = []
    bad: list[BadSpectrum] = []
    lam, units = np.empty(0), "None"
    points: dict[tuple[float, ...], int] = {}
    bar = progress_bar(list(np.flatnonzero(rows)), progress, unit=" spectra")
    for row in bar:
        point = tuple(float(axis.values[row]) for axis in axes)
        try:
            _check_point(point, axes, points)
            found, flux, unit = reader.read(reader.find(str(names[row])))
            if not kept:
                lam, units = found[reader.kept(found)], unit
                if len(lam) < 2:
                    raise ValueError(
                        f"no two of its wavelengths, {found[0]:g} to "
                        f"{found[-1]:g} Angstrom, are in the windows"
                    )
            if unit != units:
                raise ValueError(
                    f"its units are {unit}, those of the first are {units}"
                )
            flux = reader.on(lam, found, flux)
            _check_flux(flux, lam)
        except (ValueError, OSError) as error:
            bad.append(BadSpectrum(int(row) + 1, str(names[row]), str(error)))
            continue
        points[point] = int(row) + 1
        kept.append(int(row))
        fluxes.append(flux)
    return kept, fluxes, bad, lam, units


def _check_point(
    point: tuple[float, ...],
    axes: Sequence[Axis],
    points: Mapping[tuple[float, ...], int],
) -> None:
    """Raise `ValueError` unless labels are finite and not there before."""
    for value, axis in zip(point, axes, strict=True):
        if not np.isfinite(value):
            raise ValueError(f"its label {axis.name} is not finite")
        if axis.log_on_read and value <= 0.0:
            raise ValueError(f"its logged label {axis.name} is not positive")
    if point in points:
        raise ValueError(f"it has the labels of row {points[point]}")


def _check_flux(flux: NDArray[np.float64], lam: NDArray[np.float64]) -> None:
    """Raise `ValueError` unless fluxes can be learned."""
    for wrong, problem in (
        (~np.isfinite(flux), "not finite"),
        (flux < 0.0, "negative"),
    ):
        if wrong.any():
            raise ValueError(
                f"{int(wrong.sum())} fluxes are {problem}, the first at "
                f"{lam[np.argmax(wrong)]:g} Angstrom"
            )
    if not flux.any():
        raise ValueError("its flux is zero at all wavelengths")


def _check_usable(report: SamplesReport, n: int) -> None:
    """Raise unless there are two samples, and every label varies."""
    size = len(report.parameters[0].values)
    where = ""
    if report.bad:
        reasons = Counter(one.reason for one in report.bad)
        ((reason, count),) = reasons.most_common(1)
        where = (
            f" The most common reason, of {count}: {reason}. All are in "
            f"'{report.bad_list}'."
        )
    if size < 2:
        raise InconsistentArguments(
            f"At least two samples are needed, got {size} of {n} rows: the "
            f"filter left out {report.filtered}, and {len(report.bad)} can't "
            f"be used.{where}"
        )
    for axis in report.parameters:
        if axis.values.min() == axis.values.max():
            raise InconsistentArguments(
                f"The parameter '{axis.name}' must vary, got {size} samples "
                f"with {axis.values[0]:g}. Leave it out."
            )


def _columns(table: Table) -> dict[str, NDArray]:
    """Return the columns of a table: numbers as floats, others as text."""
    columns = {}
    for name in table.colnames:
        column = table[name]
        if column.ndim == 1:
            numbers = column.dtype.kind in "biuf"
            columns[str(name)] = (
                plain_column(table, name)
                if numbers
                else np.array(
                    [
                        "" if value is np.ma.masked else str(value)
                        for value in column
                    ],
                    str,
                )
            )
    return columns


def _file_column(
    columns: Mapping[str, NDArray], file_column: str | None
) -> str:
    """Return the column with the names of the files."""
    if file_column is not None:
        check_choice("file_column", file_column, list(columns))
        return file_column
    for name in columns:
        if name.lower() in _FILE_COLUMNS:
            return name
    raise InconsistentArguments(
        f"The table has no column {', '.join(_FILE_COLUMNS)}; its columns are "
        f"{', '.join(columns)}. Name the one with the files with "
        "--file-column (file_column=)."
    )


def _parameters(
    columns: Mapping[str, NDArray],
    expressions: Mapping[str, str] | None,
    file_column: str,
    problems: list[str],
) -> dict[str, NDArray[np.float64]]:
    """Return the values of the parameters in all rows, (m,), by name.

    They are NaN where the expression is wrong, which `problems` then tell.
    """
    if expressions is not None and not expressions:
        expressions = None
    if expressions is None:
        found = {
            name: np.asarray(values, np.float64)
            for name, values in columns.items()
            if values.dtype.kind == "f" and name != file_column
        }
    else:
        found = {}
        for name, text in expressions.items():
            found[name] = np.full(len(columns[file_column]), np.nan)
            with _noted(problems):
                found[name] = Expression.parse(text).numbers(columns)
    return found


@contextmanager
def _noted(problems: list[str]) -> Iterator[None]:
    """Add the text of a mistake to those that are told together."""
    try:
        yield
    except InconsistentArguments as error:
        problems.append(str(error).strip())


def _axes(
    values: Mapping[str, NDArray[np.float64]],
    units: Mapping[str, str],
    logged: Sequence[str],
    problems: list[str],
) -> tuple[Axis, ...]:
    """Return the parameters with their units.

    Units and logs of unknown parameters, and units that can't be parsed, are
    added to `problems`.
    """
    for what, names in (
        ("--units (units=)", units),
        ("--log (logged=)", logged),
    ):
        for name in names:
            if name not in values:
                problems.append(
                    f"{what} must be of {', '.join(values) or 'parameters'}; "
                    f"got '{name}'." + nearest(name, values)
                )
    for text in units.values():
        with _noted(problems):
            parse_unit(text)
    return tuple(
        Axis(name, column, units.get(name, PURE), name in logged)
        for name, column in values.items()
    )


def _merged(
    windows: Sequence[tuple[float, float]],
) -> tuple[tuple[float, float], ...]:
    """Return checked ranges of wavelengths, ascending and apart."""
    merged: list[tuple[float, float]] = []
    for low, high in windows:
        for end in (low, high):
            check_number("each end of windows", end, 0.0)
        if not low < high:
            raise InconsistentArguments(
                f"The ends of a window must ascend, got {low:g} and {high:g}."
            )
    for low, high in sorted(windows):
        if merged and low <= merged[-1][1]:
            merged[-1] = (merged[-1][0], max(high, merged[-1][1]))
        else:
            merged.append((float(low), float(high)))
    return tuple(merged)


def _within(
    lam: NDArray[np.float64], low: float, high: float
) -> NDArray[np.bool_]:
    """Return the mask of wavelengths in a window, with its rounded ends."""
    low, high = low * (1.0 - _ROUNDING), high * (1.0 + _ROUNDING)
    return (lam >= low) & (lam <= high)


def _astropy(units: str) -> u.UnitBase:
    """Return units, in the names of unyt, as those of astropy."""
    return unyt_quantity(1.0, parse_unit(units)).to_astropy().unit


def _write_bad(path: Path, bad: Sequence[BadSpectrum]) -> None:
    """Write the list of bad spectra as CSV."""
    stream = io.StringIO()
    writer = csv.writer(stream, lineterminator="\n")
    writer.writerow(("row", "file", "reason"))
    writer.writerows((b.row, b.file, b.reason) for b in bad)
    write_whole(path, stream.getvalue().encode())
