"""Spectra from the bytes of text, FITS and npz files, as tables.

Nothing of a file is executed or unpickled, and no other file or address is
opened.
"""

from collections.abc import Iterable
from io import BytesIO

import numpy as np
from astropy import units as u
from astropy.io import ascii as text_tables
from astropy.io import fits
from astropy.table import Table
from numpy.typing import NDArray
from synthesizer.exceptions import InconsistentArguments

# The accepted names of columns, in lower case.
LAM_NAMES = ("wavelength", "wave", "lam", "lambda", "wl", "obslam", "loglam")
FLUX_NAMES = ("flux", "fnu", "flam", "f_nu", "f_lambda", "flux_density", "mag")
ERROR_NAMES = (
    *("error", "err", "sigma", "flux_error", "flux_err", "fluxerr"),
    *("e_flux", "unc", "uncertainty", "fnu_err", "flam_err", "mag_err"),
    "ivar",
)


def find_columns(name: str, table: Table) -> dict[str, str]:
    """Return the columns of the wavelength, the flux and, if any, the error.

    Args:
        name (str): The file, as messages call it, such as `'a.txt'`.
        table (Table): The table.

    Returns:
        dict: The names of the columns, by `wavelength`, `flux`, `error`.

    Raises:
        InconsistentArguments: If there are no wavelengths or fluxes.
    """
    lower = {column.lower(): column for column in table.colnames}
    found = {
        kind: lower[name]
        for kind, names in (
            ("wavelength", LAM_NAMES),
            ("flux", FLUX_NAMES),
            ("error", ERROR_NAMES),
        )
        for name in reversed(names)
        if name in lower
    }
    for kind, known in (("wavelength", LAM_NAMES), ("flux", FLUX_NAMES)):
        if kind not in found:
            raise InconsistentArguments(
                f"{name} has no column of the {kind}; its columns are "
                f"{', '.join(table.colnames[:12])}. Name it '{kind}', or "
                f"one of {', '.join(known[1:])}."
            )
    return found


def npz_table(contents: bytes) -> Table:
    """Return the arrays of an npz file as a table.

    Raises:
        ValueError: If the arrays are not numbers of one length.
    """
    with np.load(BytesIO(contents), allow_pickle=False) as arrays:
        columns = {name: np.asarray(arrays[name]) for name in arrays.files}
    if not columns:
        raise ValueError("it has no arrays")
    shapes = {array.shape for array in columns.values()}
    if len(shapes) != 1 or len(next(iter(shapes))) != 1:
        raise ValueError(
            "its arrays must be one-dimensional and of one length, got shapes "
            f"{', '.join(map(str, sorted(shapes)))}"
        )
    return Table(columns)


def text_table(contents: bytes) -> Table:
    """Return the table of an ECSV or text file."""
    try:
        lines = contents.decode("utf-8").splitlines()
    except UnicodeDecodeError:
        raise ValueError("it is neither text in UTF-8 nor FITS") from None
    # Given as lines, since a string could be taken for a path or an address.
    if lines and lines[0].startswith("# %ECSV"):
        return text_tables.read(lines, format="ecsv")
    rows = [line for line in lines if line.strip()]
    comments = [row for row in rows if row.lstrip().startswith("#")]
    data = [row for row in rows if not row.lstrip().startswith("#")]
    if not data:
        raise ValueError("it has no rows")
    delimiter = "," if "," in data[0] else None
    head = data[0].split(delimiter)
    if not _are_numbers(head):
        data = data[1:]
    elif comments:
        head = comments[-1].lstrip("# ").split(delimiter)
    if not data:
        raise ValueError(
            "it is not a table: it needs rows of numbers, a wavelength and a "
            f"flux, but has only '{rows[0].strip()[:60]}'"
            if len(rows) == 1
            else "it is not a table: no row of it is numbers"
        )
    columns = [row.split(delimiter) for row in data]
    n = len(columns[0])
    if n == 1 and _are_numbers(columns[0]):
        raise ValueError(
            "it has one column, but a spectrum needs two: a wavelength and a "
            "flux"
        )
    for number, row in enumerate(columns, 1):
        if len(row) != n or not _are_numbers(row):
            raise ValueError(
                f"row {number} is not {n} numbers: '{' '.join(row)[:60]}'"
            )
    values = np.array(columns, np.float64)
    names = [h.strip() for h in head]
    if len(names) != n or len(set(names)) != n or _are_numbers(names):
        names = ["wavelength", "flux", "error"][:n]
        names += [f"column {i + 1}" for i in range(len(names), n)]
    return Table(values, names=names)


def _are_numbers(texts: Iterable[str]) -> bool:
    """Whether all texts are numbers."""
    try:
        for text in texts:
            float(text)
    except ValueError:
        return False
    return True


def fits_table(contents: bytes) -> Table:
    """Return the first table, or the first spectrum, of a FITS file."""
    with fits.open(BytesIO(contents), memmap=False) as hdus:
        for hdu in hdus:
            if isinstance(hdu, fits.BinTableHDU | fits.TableHDU) and not (
                isinstance(hdu, fits.CompImageHDU)
            ):
                return Table.read(hdu)
        header, data = hdus[0].header, hdus[0].data
        keys = (
            {"CRVAL1", "CDELT1"}
            if "CDELT1" in header
            else {
                "CRVAL1",
                "CD1_1",
            }
        )
        if data is None or data.ndim != 1 or not keys <= set(header):
            raise ValueError(
                "it has neither a table nor a spectrum in its first image "
                "with CRVAL1 and CDELT1"
            )
        step = header.get("CDELT1", header.get("CD1_1"))
        pixel = np.arange(1, len(data) + 1) - header.get("CRPIX1", 1.0)
        lam = header["CRVAL1"] + step * pixel
        if header.get("DC-FLAG", 0) == 1 or "LOG" in str(
            header.get("CTYPE1", "")
        ):
            lam = 10.0**lam
        table = Table({"wavelength": lam, "flux": data})
        for column, key in (("wavelength", "CUNIT1"), ("flux", "BUNIT")):
            if header.get(key):
                table[column].unit = u.Unit(header[key])
        return table


def plain_column(table: Table, column: str) -> NDArray[np.float64]:
    """Return the numbers of a column, NaN where masked."""
    masked = np.ma.asarray(table[column]).astype(np.float64)
    return np.asarray(np.ma.filled(masked, np.nan))
