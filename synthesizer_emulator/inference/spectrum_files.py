"""Observed spectra in files, one for each galaxy of a catalogue."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

import numpy as np
from astropy.table import Table
from numpy.typing import NDArray
from synthesizer.exceptions import InconsistentArguments, MissingUnits
from unyt import unyt_array

from synthesizer_emulator.files.table import read_table
from synthesizer_emulator.galaxies.filters import two_wavelengths
from synthesizer_emulator.inference.spectrum import Spectrum
from synthesizer_emulator.inference.tables import with_unit
from synthesizer_emulator.units import in_units, parse_quantity, parse_unit
from synthesizer_emulator.validation import (
    INPUT_ERRORS,
    check_keys,
    check_number,
    nearest,
)

# What a file has in its columns, and the units of wavelengths without any.
_OF_FILES = ("wavelength", "flux", "error")
_WAVELENGTH = "angstrom"

_NEEDED = ("file", "resolution")
_OPTIONAL = (
    "folder",
    "columns",
    "units",
    "relative_error",
    "lam_lims",
    "calibration_degree",
    "calibration_width",
)


@dataclass(frozen=True)
class SpectrumFiles:
    """How the files of spectra are read.

    Made by `from_mapping`, with the arguments of `Catalogue.from_table`.

    Attributes:
        file (str): The column of the catalogue with the names of the files.
        resolution (Any): The line-spread function, as for
            `Spectrum.from_fluxes`; or the column of the files that has it.
        folder (Path): The folder of the files.
        columns (tuple of str): The columns of the files, of wavelengths, flux
            densities and their errors; None for the first ones.
        units (Mapping): The units of columns without any, by what they have.
        relative_error (float): The errors as a fraction of the flux
            densities, of files without errors.
        lam_lims (tuple of float): The range of wavelengths to keep,
            Angstrom; None for all.
        calibration (Mapping): Other arguments of `Spectrum.from_fluxes`.
    """

    file: str
    resolution: Any
    folder: Path
    columns: tuple[str, ...] | None
    units: Mapping[str, str]
    relative_error: float | None
    lam_lims: tuple[float, float] | None
    calibration: Mapping[str, Any]

    @classmethod
    def from_mapping(cls, given: Any, folder: Path) -> Self:
        """Check how spectra are read, and return it.

        Args:
            given (Mapping): The argument `spectrum` of `from_table`.
            folder (Path): The folder that others are relative to.

        Raises:
            InconsistentArguments: If an entry is invalid.
        """
        check_keys("spectrum", given, _NEEDED, _OPTIONAL)
        resolution = given["resolution"]
        if resolution is None:
            raise InconsistentArguments(
                "resolution of a spectrum must be that of the data, or the "
                "column of the files that has it; got none."
            )
        if isinstance(resolution, str) and resolution[:1].isdigit():
            resolution = parse_quantity(resolution)
        columns, n = given.get("columns"), len(_OF_FILES)
        relative = given.get("relative_error")
        if relative is not None:
            check_number("relative_error", relative, 0.0, open_ends=True)
            n -= 1
        if columns is not None and (
            not isinstance(columns, list | tuple)
            or len(columns) != n
            or not all(isinstance(name, str) for name in columns)
        ):
            raise InconsistentArguments(
                f"columns of a spectrum must be {n} names, of "
                f"{', '.join(_OF_FILES[:n])}; got {columns!r}."
            )
        units = given.get("units", {})
        check_keys("units of a spectrum", units, (), _OF_FILES)
        for text in units.values():
            parse_unit(text)
        lam_lims = given.get("lam_lims")
        if lam_lims is not None:
            ends = two_wavelengths("lam_lims", lam_lims)
            lam_lims = tuple(float(end.to_value(_WAVELENGTH)) for end in ends)
        return cls(
            file=given["file"],
            resolution=resolution,
            folder=folder / given.get("folder", ""),
            columns=None if columns is None else tuple(columns),
            units=units,
            relative_error=relative,
            lam_lims=lam_lims,
            calibration={
                name: given[name]
                for name in ("calibration_degree", "calibration_width")
                if name in given
            },
        )

    def read_all(self, names: Sequence[str], ids: Sequence[Any]) -> Spectrum:
        """Read the spectra of the galaxies of a catalogue.

        Args:
            names (list of str): The files; empty for galaxies without a
                spectrum.
            ids (list): The ids of the galaxies.

        Returns:
            Spectrum: The spectra, with arrays of NumPy, (n, ...): shorter
                ones have masked pixels at their end, so that one compiled
                program serves all. Those of galaxies without a spectrum are
                masked.

        Raises:
            InconsistentArguments: If there are no files, or one can't be
                read; the message has the galaxy, its row and the file.
        """
        spectra: list[Spectrum | None] = []
        for row, (name, one) in enumerate(zip(names, ids, strict=True)):
            if not name:
                spectra.append(None)
                continue
            path = self.folder / name
            try:
                spectra.append(self.read(path))
            except (*INPUT_ERRORS, OSError) as error:
                raise InconsistentArguments(
                    f"The spectrum of the galaxy '{one}' in row {row} "
                    f"(counted from 0), file '{path}': {str(error).strip()}"
                ) from error
        if not any(spectra):
            raise InconsistentArguments(
                f"The column '{self.file}' must have the file of at least one "
                "spectrum, got none."
            )
        return stack_spectra(spectra)

    def read(self, path: Path) -> Spectrum:
        """Read the spectrum of a galaxy.

        Pixels whose flux density or error is not a number, or whose error is
        not positive, are masked.

        Args:
            path (Path): The file: FITS, ECSV, CSV, or text.

        Returns:
            Spectrum: The spectrum.

        Raises:
            OSError: If there is no such file.
            InconsistentArguments: If the file is not a table, lacks columns,
                or has no spectrum.
            MissingUnits: If the flux densities have no units.
            IncorrectUnits: If units are wrong.
        """
        table = read_table(path, "columns of wavelength, flux and error")
        columns = self._columns(table)
        lam = np.asarray(
            in_units(
                "wavelengths",
                self._quantity(table, columns, "wavelength"),
                _WAVELENGTH,
            ),
            np.float64,
        )
        flux = self._quantity(table, columns, "flux")
        if self.relative_error is None:
            error = self._quantity(table, columns, "error")
        else:
            error = self.relative_error * np.abs(flux)
        kept = np.ones(len(lam), bool)
        if self.lam_lims is not None:
            kept = (lam >= self.lam_lims[0]) & (lam <= self.lam_lims[1])
            if kept.sum() < 2:
                raise InconsistentArguments(
                    "At least two pixels must be within lam_lims, "
                    f"{self.lam_lims[0]:g} to {self.lam_lims[1]:g} Angstrom; "
                    f"the file has {np.nanmin(lam):g} to {np.nanmax(lam):g} "
                    "Angstrom."
                )
        flux, error = flux[kept], error[kept]
        mask = np.isfinite(flux.value) & np.isfinite(error.value)
        mask &= error.value > 0.0
        if not mask.any():
            raise InconsistentArguments(
                "At least one pixel must have a finite flux density with a "
                f"positive error, got none of {len(mask)}."
            )
        resolution = self.resolution
        if isinstance(resolution, str):
            _check_columns(table, [resolution])
            unit = table[resolution].unit
            widths = _numbers(table, resolution)[kept]
            resolution = (
                widths if unit is None else with_unit(resolution, widths, unit)
            )
        return Spectrum.from_fluxes(
            lam[kept], flux, error, resolution, mask=mask, **self.calibration
        )

    def _columns(self, table: Table) -> tuple[str, ...]:
        """Return the columns of a file; raise if some are missing."""
        if self.columns is not None:
            _check_columns(table, self.columns)
            return self.columns
        n = len(_OF_FILES) - (self.relative_error is not None)
        found = tuple(table.colnames[:n])
        if len(found) < n:
            raise InconsistentArguments(
                f"The file must have {n} columns, of "
                f"{', '.join(_OF_FILES[:n])}; got {', '.join(found)}. Without "
                "errors, give relative_error."
            )
        return found

    def _quantity(
        self, table: Table, columns: Sequence[str], what: str
    ) -> unyt_array:
        """Return a column of a file with its units."""
        name = columns[_OF_FILES.index(what)]
        values, unit = _numbers(table, name), table[name].unit
        if unit is not None:
            return with_unit(name, values, unit)
        if what in self.units:
            return unyt_array(values, parse_unit(self.units[what]))
        if what == "wavelength":
            return unyt_array(values, _WAVELENGTH)
        if what == "error":
            # As those of the flux densities.
            flux = self._quantity(table, columns, "flux")
            return unyt_array(values, flux.units)
        raise MissingUnits(
            f"The column '{name}' has no units. Give them, as in units: "
            "{flux: erg/s/cm**2/angstrom}."
        )


def stack_spectra(spectra: Sequence[Spectrum | None]) -> Spectrum:
    """Return several spectra together, with arrays of NumPy, (n, ...).

    Shorter ones are filled up with masked pixels, and those that are missing
    are masked.

    Args:
        spectra (list of Spectrum): The spectra, at least one, with
            calibration polynomials of one degree.

    Examples:
        >>> import numpy as np
        >>> from unyt import nJy
        >>> one, other = (
        ...     Spectrum.from_fluxes(
        ...         np.linspace(4e3, 5e3, n),
        ...         np.ones(n) * nJy,
        ...         np.ones(n) * nJy,
        ...         resolution=1000.0,
        ...     )
        ...     for n in (20, 30)
        ... )
        >>> both = stack_spectra([one, other])
        >>> both.lam.shape, both.is_used.sum(axis=1)
        ((2, 30), array([20, 30]))
    """
    first = next(one for one in spectra if one is not None)
    longest = max(len(one.lam) for one in spectra if one is not None)
    filled = [
        _filled_up(first if one is None else one, longest, one is not None)
        for one in spectra
    ]
    arrays: dict[str, Any] = {
        name: np.stack([one[name] for one in filled]) for name in filled[0]
    }
    return Spectrum(**arrays)


def _filled_up(
    spectrum: Spectrum, n: int, is_there: bool
) -> dict[str, NDArray]:
    """Return the arrays of a spectrum with masked pixels at its end."""
    more, arrays = n - len(spectrum.lam), {}
    for name, array in vars(spectrum).items():
        values = np.asarray(array)
        if name != "widths":
            ends = [(0, more)] + [(0, 0)] * (values.ndim - 1)
            # The last pixel again, so that models have its wavelength.
            values = np.pad(values, ends, mode="edge")
        arrays[name] = values
    used = (np.arange(n) < len(spectrum.lam)) & is_there
    arrays["is_used"] = arrays["is_used"] & used
    arrays["flux"] = np.where(used, arrays["flux"], 0.0)
    arrays["error"] = np.where(used, arrays["error"], 1.0)
    return arrays


def _check_columns(table: Table, names: Sequence[str]) -> None:
    """Raise if a file lacks columns."""
    there = table.colnames
    lacking = [name for name in names if name not in there]
    if lacking:
        raise InconsistentArguments(
            f"The file has no column {', '.join(map(repr, lacking))}; its "
            f"columns are {', '.join(there)}."
            + "".join(nearest(name, there) for name in lacking)
        )


def _numbers(table: Table, name: str) -> NDArray[np.float64]:
    """Return a column of numbers, NaN where masked, (n,)."""
    column = table[name]
    values = np.ma.getdata(column)
    if values.dtype.kind not in "fiu" or values.ndim != 1:
        raise InconsistentArguments(
            f"The column '{name}' must have one number per row, got "
            f"{values.dtype} of shape {values.shape}."
        )
    values = np.array(values, np.float64)
    values[np.ma.getmaskarray(np.ma.asarray(column))] = np.nan
    return values
