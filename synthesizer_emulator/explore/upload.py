"""Observed spectra and photometry from files that a user drops on the page.

Text, ECSV and FITS are read from memory. Nothing of a file is executed or
unpickled, no other file or address is opened, and compressed files, which
could be of any size, are refused.
"""

from dataclasses import dataclass
from pathlib import PurePath

import numpy as np
from astropy import units as u
from astropy.table import Table
from numpy.typing import NDArray
from synthesizer.exceptions import InconsistentArguments

from synthesizer_emulator.files.spectrum_table import (
    find_columns,
    fits_table,
    plain_column,
    text_table,
)

# The largest file, bytes, and the largest number of rows.
LARGEST = 20_000_000
_MOST_ROWS = 1_000_000

# Spectra have more points than this; fewer are drawn as photometry.
_FEWEST_OF_SPECTRUM = 50

# The units for files that do not give them, by the name on the page.
LAM_UNITS = {"Å": u.AA, "nm": u.nm, "µm": u.um}
FLUX_UNITS = {
    "nJy": u.nJy,
    "µJy": u.uJy,
    "mJy": u.mJy,
    "Jy": u.Jy,
    "erg/s/cm²/Hz": u.erg / u.s / u.cm**2 / u.Hz,
    "erg/s/cm²/Å": u.erg / u.s / u.cm**2 / u.AA,
    "AB mag": u.ABmag,
}

# The first bytes of compressed files: gzip, zip, bzip2, xz, zstd and compress.
_COMPRESSED = (
    *(b"\x1f\x8b", b"PK\x03\x04", b"BZh", b"\xfd7zXZ", b"\x28\xb5\x2f\xfd"),
    b"\x1f\x9d",
)


@dataclass(frozen=True, eq=False)
class Observed:
    """An observed spectrum, or photometry.

    Attributes:
        name (str): The name of the file.
        lam (np.ndarray of float): The observed wavelengths, Angstrom,
            ascending, (n,).
        fnu (np.ndarray of float): The flux densities, (n,).
        error (np.ndarray of float): Their standard deviations, NaN if
            unknown, (n,).
        note (str): What was assumed of the units; empty if the file gives
            them.
        units (str): The units of both: `nJy`, or empty for fluxes without
            units, whose numbers are kept.
        has_errors (bool): Whether the file has a column of errors.
    """

    name: str
    lam: NDArray[np.float64]
    fnu: NDArray[np.float64]
    error: NDArray[np.float64]
    note: str = ""
    units: str = "nJy"
    has_errors: bool = True

    @property
    def is_photometry(self) -> bool:
        """Whether the points are drawn one by one."""
        return len(self.lam) < _FEWEST_OF_SPECTRUM


def read_observed(
    name: str,
    contents: bytes,
    lam_unit: str = "Å",
    flux_unit: str = "nJy",
) -> Observed:
    """Read an observed spectrum or photometry from the bytes of a file.

    Columns are found by their names, or are wavelength, flux and error in
    this order. FITS files may have a table, or a spectrum in the first image
    with `CRVAL1` and `CDELT1`.

    Args:
        name (str): The name of the file.
        contents (bytes): The contents.
        lam_unit (str): The unit of wavelengths without units, a key of
            `LAM_UNITS`.
        flux_unit (str): The unit of fluxes without units, a key of
            `FLUX_UNITS`; empty to keep their numbers, for instance of a
            normalised spectrum.

    Raises:
        InconsistentArguments: If the file is too large, can't be read, or
            has no wavelengths and fluxes.
    """
    name = PurePath(name.replace("\\", "/")).name[:80]
    if len(contents) > LARGEST:
        raise InconsistentArguments(
            f"'{name}' has {len(contents) / 1e6:.1f} MB; files may have "
            f"{LARGEST / 1e6:.0f} MB. Cut or rebin the spectrum."
        )
    if contents.startswith(_COMPRESSED):
        raise InconsistentArguments(
            f"'{name}' is compressed. Decompress it first."
        )
    try:
        table = (
            fits_table(contents)
            if contents.startswith(b"SIMPLE")
            else text_table(contents)
        )
    except Exception as error:
        # astropy raises errors of many types, depending on the damage.
        reason = str(error).strip().splitlines() or [type(error).__name__]
        raise InconsistentArguments(
            f"'{name}' can't be read as text, ECSV or FITS: "
            f"{reason[0][:200].rstrip('.')}."
        ) from error
    if not 0 < len(table) <= _MOST_ROWS:
        raise InconsistentArguments(
            f"'{name}' must have 1 to {_MOST_ROWS:,} rows, got {len(table):,}."
        )
    return _observed(name, table, lam_unit, flux_unit)


def _observed(
    name: str, table: Table, lam_unit: str, flux_unit: str
) -> Observed:
    """Return the columns of a table in Angstrom and nJy, or without units."""
    found = find_columns(f"'{name}'", table)
    assumed: list[str] = []
    lam = _with_unit(
        table, found["wavelength"], LAM_UNITS[lam_unit], lam_unit, assumed
    )
    # The numbers of fluxes without units are kept, as if they were nJy.
    unit = FLUX_UNITS[flux_unit] if flux_unit else u.nJy
    flux = _with_unit(table, found["flux"], unit, flux_unit, assumed)
    has_units = "" not in assumed
    taken = " and ".join(title for title in assumed if title)
    notes = [] if has_units else ["no flux unit"]
    if taken:
        what = "" if has_units else "wavelengths "
        notes.append(f"{what}taken to be in {taken}")
    try:
        lam = lam.to(u.AA, u.spectral())
        fnu = _to_njy(flux, lam)
    except u.UnitConversionError as mismatch:
        raise InconsistentArguments(
            f"'{name}' must have wavelengths and flux densities; its units "
            f"are {lam.unit} and {flux.unit}."
        ) from mismatch
    error = _errors(table, found.get("error"), flux, fnu, lam)
    good = np.isfinite(lam.value) & (lam.value > 0) & np.isfinite(fnu)
    if not good.any():
        raise InconsistentArguments(
            f"'{name}' has no row with a positive wavelength and a flux."
        )
    if not good.all():
        notes.append(
            f"{np.count_nonzero(~good)} of {len(good)} rows without a "
            "positive wavelength and a flux left out"
        )
    order = np.flatnonzero(good)[np.argsort(lam.value[good], kind="stable")]
    return Observed(
        name=name,
        lam=lam.value[order],
        fnu=fnu[order],
        error=error[order],
        note="; ".join(notes),
        units="nJy" if has_units else "",
        has_errors="error" in found,
    )


def _with_unit(
    table: Table,
    column: str,
    unit: u.UnitBase,
    title: str,
    assumed: list[str],
) -> u.Quantity:
    """Return a column with its unit, or with one that is assumed."""
    values = plain_column(table, column)
    if column.lower() == "loglam":
        return 10.0**values * u.AA
    given = table[column].unit
    if given is None or given == u.dimensionless_unscaled:
        assumed.append(title)
        given = unit
    return (
        u.Quantity(values, given)
        if not isinstance(given, u.function.FunctionUnitBase)
        else u.Magnitude(values, given)
    )


def _to_njy(flux: u.Quantity, lam: u.Quantity) -> NDArray[np.float64]:
    """Return flux densities in nJy."""
    if isinstance(flux, u.Magnitude):
        return np.asarray(flux.to_value(u.nJy), np.float64)
    return np.asarray(flux.to_value(u.nJy, u.spectral_density(lam)))


def _errors(
    table: Table,
    column: str | None,
    flux: u.Quantity,
    fnu: NDArray[np.float64],
    lam: u.Quantity,
) -> NDArray[np.float64]:
    """Return the errors in nJy, in the units of the fluxes; NaN if unknown."""
    if column is None:
        return np.full(len(fnu), np.nan)
    values = plain_column(table, column)
    if column.lower() == "ivar":
        values = np.where(values > 0, values, np.nan) ** -0.5
    if isinstance(flux, u.Magnitude):
        return np.asarray(fnu * values * np.log(10.0) / 2.5)
    unit = table[column].unit
    same = unit is None or column.lower() == "ivar"
    return _to_njy(u.Quantity(values, flux.unit if same else unit), lam)
