"""The file format of DSPS for simple stellar populations.

DSPS (Hearin et al. 2023, MNRAS 521, 1741) reads HDF5 files of

    ssp_lgmet       (n_met,)                log10 of the metallicity
    ssp_lg_age_gyr  (n_age,)                log10 of the age in Gyr
    ssp_wave        (n_wave,)               Angstrom
    ssp_flux        (n_met, n_age, n_wave)  Lsun/Hz per Msun formed

and, if there are lines,

    ssp_emline_name        (n_line,)                names of Python variables
    ssp_emline_wave        (n_line,)                Angstrom
    ssp_emline_luminosity  (n_met, n_age, n_line)   Lsun per Msun formed

with `dsps.load_ssp_templates`. Only this module reads or writes them.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from synthesizer.emissions import Sed
from synthesizer.exceptions import GridError, InconsistentArguments
from unyt import Hz, angstrom, erg, s

from synthesizer_emulator.digests import file_digest
from synthesizer_emulator.files.hdf5 import open_hdf5, report_damage
from synthesizer_emulator.files.writing import check_room, write_hdf5
from synthesizer_emulator.gridfile.emissions import SPECTRA
from synthesizer_emulator.gridfile.header import Axis, GridHeader
from synthesizer_emulator.gridfile.reading import REMEDY, read_numbers, text
from synthesizer_emulator.gridfile.sobol import IONS, photon_rate
from synthesizer_emulator.gridfile.writing import create_emission, write_header

# The solar luminosity of DSPS (`dsps.constants.L_SUN_CGS`), erg/s. That of
# unyt and Synthesizer is 0.03% smaller.
LSUN = 3.828e33

_FLUX = "ssp_flux"
_ARRAYS = ("ssp_lgmet", "ssp_lg_age_gyr", "ssp_wave")

# The attribute of a converted grid that identifies its source.
_SOURCE = "source_sha256"

# No stars have a larger fraction of metals: the values are relative to solar.
_HIGHEST_METALLICITY = 0.3

# The largest age, log10 of Gyr: larger values are in yr.
_OLDEST = 2.0


@dataclass(frozen=True)
class EmissionLines:
    """The lines of simple stellar populations.

    Attributes:
        ids (tuple of str): The names, such as `H 1 6562.80A`.
        lams (np.ndarray of float): The wavelengths, Angstrom, (n_line,).
        luminosities (np.ndarray of float): The luminosities, erg/s per
            initial Msun, (n_age, n_met, n_line).
    """

    ids: tuple[str, ...]
    lams: NDArray[np.float64]
    luminosities: NDArray[np.float64]


@dataclass(frozen=True)
class StellarPopulations:
    """The spectra of simple stellar populations.

    Attributes:
        ages (np.ndarray of float): The ages, yr, (n_age,).
        metallicities (np.ndarray of float): The mass fractions of metals,
            (n_met,).
        lam (np.ndarray of float): The wavelengths, Angstrom, (n_wave,).
        lnu (np.ndarray of float): The spectra, erg/s/Hz per initial Msun,
            (n_age, n_met, n_wave).
        lines (EmissionLines): The lines; None if there are none.
    """

    ages: NDArray[np.float64]
    metallicities: NDArray[np.float64]
    lam: NDArray[np.float64]
    lnu: NDArray[np.float64]
    lines: EmissionLines | None = None


def is_ssp_file(path: Path) -> bool:
    """Return whether a file has the format of DSPS."""
    with open_hdf5(path) as hdf:
        return _FLUX in hdf


def write_ssp_file(
    path: Path,
    populations: StellarPopulations,
    attributes: Mapping[str, str] | None = None,
) -> None:
    """Write a file that `dsps.load_ssp_templates` reads.

    Args:
        path (Path): The file.
        populations (StellarPopulations): The spectra and lines.
        attributes (Mapping): Attributes of the file, which DSPS ignores.

    Raises:
        GridError: If an age or a metallicity has no logarithm.
        OSError: If the file can't be written.
    """
    for name, values in (
        ("ages", populations.ages),
        ("metallicities", populations.metallicities),
    ):
        if not np.all(values > 0):
            raise GridError(
                f"The format of DSPS has the logarithm of the {name}, which "
                f"must be positive, got {values.min():g}."
            )
    check_room(path, populations.lnu.nbytes)
    with write_hdf5(path) as hdf:
        hdf["ssp_lgmet"] = np.log10(populations.metallicities)
        hdf["ssp_lg_age_gyr"] = np.log10(populations.ages) - 9.0
        hdf["ssp_wave"] = populations.lam
        hdf[_FLUX] = populations.lnu.swapaxes(0, 1) / LSUN
        lines = populations.lines
        if lines is not None:
            names = [_variable_name(line) for line in lines.ids]
            hdf["ssp_emline_name"] = np.array(names, "S")
            hdf["ssp_emline_wave"] = lines.lams
            hdf["ssp_emline_luminosity"] = (
                lines.luminosities.swapaxes(0, 1) / LSUN
            )
        for key, value in (attributes or {}).items():
            hdf.attrs[key] = value


def read_ssp_file(path: Path) -> StellarPopulations:
    """Read a file of DSPS, without its lines.

    Raises:
        GridError: If an array is missing, has the wrong shape, or holds
            values that can't be those of stars.
    """
    with open_hdf5(path) as hdf, report_damage(path, REMEDY):
        missing = [name for name in (*_ARRAYS, _FLUX) if name not in hdf]
        if missing:
            raise GridError(
                f"'{path}' is not a file of DSPS: it lacks "
                f"{', '.join(missing)}."
            )
        lgmet, lg_age, lam = (read_numbers(hdf, n, path) for n in _ARRAYS)
        flux = read_numbers(hdf, _FLUX, path)
    for name, values in zip(_ARRAYS, (lgmet, lg_age, lam), strict=True):
        if (
            values.ndim != 1
            or not np.isfinite(values).all()
            or not np.all(np.diff(values) > 0)
        ):
            raise GridError(
                f"'{name}' of '{path}' must be one-dimensional, finite and "
                f"strictly ascending. {REMEDY}"
            )
    shape = (len(lgmet), len(lg_age), len(lam))
    if flux.shape != shape:
        raise GridError(
            f"'{_FLUX}' of '{path}' must have the shape {shape} of its "
            f"metallicities, ages and wavelengths, got {flux.shape}. {REMEDY}"
        )
    metallicities = 10.0**lgmet
    if metallicities[-1] > _HIGHEST_METALLICITY:
        raise GridError(
            f"'ssp_lgmet' of '{path}' must be log10 of the mass fraction of "
            f"metals, got up to {lgmet[-1]:g}: if it is relative to the Sun, "
            "add log10 of the solar metallicity."
        )
    if lg_age[-1] > _OLDEST:
        raise GridError(
            f"'ssp_lg_age_gyr' of '{path}' must be log10 of the age in Gyr, "
            f"got up to {lg_age[-1]:g}: if it is in yr, subtract 9."
        )
    can_be = np.isfinite(flux) & (flux >= 0.0)
    if not can_be.all():
        metal, age, pixel = np.argwhere(~can_be)[0]
        raise GridError(
            f"'{_FLUX}' of '{path}' must be finite and not negative, got "
            f"{flux[metal, age, pixel]:g} at metallicity {metal}, age {age} "
            f"and wavelength {pixel}. {REMEDY}"
        )
    return StellarPopulations(
        10.0 ** (lg_age + 9.0), metallicities, lam, flux.swapaxes(0, 1) * LSUN
    )


class Conversion(NamedTuple):
    """A grid that was converted from a file of DSPS.

    Attributes:
        grid (Path): The grid.
        done (str): What was done: `written`, `replaced` if it had been
            converted from other data, or `used again`.
    """

    grid: Path
    done: str

    def __str__(self) -> str:
        """Return what was done, and where the grid is."""
        why = ", as it was made from the same file" * (
            self.done == "used again"
        )
        return f"The grid '{self.grid}' was {self.done}{why}."


def write_grid(
    path: Path,
    folder: str | Path,
    name: str | None = None,
    spectrum: str = "incident",
    overwrite: bool = False,
) -> Conversion:
    """Convert a file of DSPS to a Synthesizer grid.

    Args:
        path (Path): The file of DSPS. Its lines are not converted, as the
            format has no continua at them.
        folder (str/Path): The folder of the grid.
        name (str): The name of the grid; by default that of the file.
        spectrum (str): The name of the spectra in the grid.
        overwrite (bool): Whether to replace a grid that was converted from
            another file of DSPS, such as an earlier version of this one.
            Other files are never replaced.

    Returns:
        Conversion: The grid. If it was converted from the same file before,
            it is not written again.

    Raises:
        GridError: If the file is missing or damaged.
        InconsistentArguments: If another file of the name of the grid
            exists.
        OSError: If the grid can't be written.
    """
    target = Path(folder) / f"{name or path.stem}.hdf5"
    if not path.is_file():
        raise GridError(
            f"No file of DSPS at '{path}': give the path of a file of SSP "
            "templates, such as ssp_data_fsps_v3.2_lgmet_age.h5."
        )
    digest = file_digest(path)
    exists = target.exists()
    if exists:
        source, spectra = _origin(target)
        if target.samefile(path) or not source:
            raise InconsistentArguments(
                f"'{path.name}' is a file of DSPS, and can't be converted to "
                f"the grid '{target}', which exists and is another file: give "
                "the grid a folder and a name, `synthesizer-emulator dsps "
                f"{path.name} --out DIR --name NAME`."
            )
        if source == digest and spectrum in spectra:
            return Conversion(target, "used again")
        if not overwrite:
            raise InconsistentArguments(
                f"The grid '{target}' was made from another version of "
                f"'{path.name}', or with another name of the spectrum. "
                "Replace it by --overwrite (overwrite=True), or give the grid "
                "another name, `synthesizer-emulator dsps "
                f"{path.name} --out DIR --name NAME`."
            )
    populations = read_ssp_file(path)
    header = GridHeader(
        axes=(
            Axis("ages", populations.ages, "yr", True),
            Axis(
                "metallicities",
                populations.metallicities,
                "dimensionless",
                False,
            ),
        ),
        lam=populations.lam,
        spectra_units={spectrum: "erg/s/Hz"},
        attributes={"source": f"DSPS: {path.name}", _SOURCE: digest},
        log10_specific_ionising_luminosity=_photon_rates(populations),
    )
    check_room(target, populations.lnu.nbytes)
    with write_hdf5(target) as hdf:
        write_header(hdf, header)
        create_emission(
            hdf, f"{SPECTRA}/{spectrum}", populations.lnu.shape, "erg/s/Hz"
        )[...] = populations.lnu
    return Conversion(target, "replaced" if exists else "written")


def _photon_rates(
    populations: StellarPopulations,
) -> dict[str, NDArray[np.float64]]:
    """Return log10 of the photon rates in 1/s, (n_age, n_met), by ion.

    Ions whose edge is not within the wavelengths are left out.
    """
    sed = Sed(populations.lam * angstrom, populations.lnu * (erg / s / Hz))
    with np.errstate(divide="ignore"):
        return {
            ion: np.log10(photon_rate(sed, energy))
            for ion, energy in IONS.items()
            if populations.lam[0] < _edge(energy)
        }


def _edge(energy: object) -> float:
    """Return the wavelength of photons of an energy, Angstrom."""
    return float(energy.to_value("angstrom", equivalence="spectral"))  # type: ignore[attr-defined]


def _origin(grid: Path) -> tuple[str, tuple[str, ...]]:
    """Return what a grid was converted from, and its spectra.

    The former is the SHA-256 of the file, or empty.
    """
    with open_hdf5(grid) as hdf, report_damage(grid, REMEDY):
        return text(hdf.attrs.get(_SOURCE, "")), tuple(hdf.get(SPECTRA, ()))


def _variable_name(line: str) -> str:
    """Return the name of a line as DSPS needs it: that of a variable.

    Examples:
        >>> _variable_name("H 1 6562.80A")
        'H_1_6562p80A'
    """
    return re.sub(r"\W", "_", line.replace(".", "p"))
