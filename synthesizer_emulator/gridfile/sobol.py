"""Files of Cloudy runs at the points of a Sobol sequence.

Written by `create_cloudy_input_sobol.py` and `collect_sobol_outputs.py` of
Synthesizer's grid-generation, for m runs of d parameters:

    parameters/<name>       (m,), linear, without units
    incident_lam            (k,), Angstrom
    incident_lnu            (m, k), erg/s/Hz per initial Msun
    wavelength              (n,), Angstrom
    spectra/<name>          (m, n), as normalised by Cloudy; failed runs 0
    valid_samples           (m,), false for failed runs

with the fixed parameters as attributes, and the sampled ranges in the file
`grid_parameters.yaml` beside it.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

import h5py
import numpy as np
from numpy.typing import NDArray
from synthesizer.emissions import Sed
from synthesizer.exceptions import GridError
from unyt import Hz, angstrom, erg, eV, s

from synthesizer_emulator.files.hdf5 import open_hdf5, report_damage
from synthesizer_emulator.files.yaml_file import read_yaml
from synthesizer_emulator.gridfile.emissions import SPECTRA
from synthesizer_emulator.gridfile.header import Axis, GridHeader
from synthesizer_emulator.gridfile.reading import (
    REMEDY,
    make_axis,
    read_array,
    read_numbers,
)
from synthesizer_emulator.gridfile.samples import PARAMETERS, SampleFile

# What a file must have, by the script of grid-generation that writes it.
_WRITTEN_BY = {
    "incident_lam": "create_cloudy_input_sobol.py",
    "incident_lnu": "create_cloudy_input_sobol.py",
    "wavelength": "collect_sobol_outputs.py",
    SPECTRA: "collect_sobol_outputs.py",
    f"{SPECTRA}/incident": "collect_sobol_outputs.py",
    "valid_samples": "collect_sobol_outputs.py",
}

# The file of the sampled ranges, beside that of the runs.
RANGES = "grid_parameters.yaml"

_INCIDENT = "incident_lnu"
_VALID = "valid_samples"

# The name, the units and whether Synthesizer logs the axis, as in the Cloudy
# grids that grid-generation makes of the same parameters. Others keep their
# name, and are logged if they are sampled in logarithm.
_AXES = {
    "age": ("ages", "yr", True),
    "ages": ("ages", "yr", True),
    "metallicity": ("metallicities", "dimensionless", False),
    "metallicities": ("metallicities", "dimensionless", False),
    "ionisation_parameter": ("ionisation_parameters", "dimensionless", True),
    "reference_ionisation_parameter": (
        "reference_ionisation_parameters",
        "dimensionless",
        True,
    ),
    "hydrogen_density": ("hydrogen_densities", "cm**-3", True),
    "depletion_scale": ("depletion_scales", "dimensionless", False),
    "stop_column_density": ("column_densities", "dimensionless", False),
    "alpha_enhancement": ("alpha_enhancements", "dimensionless", False),
    "turbulence": ("turbulences", "km/s", False),
    "z": ("redshifts", "dimensionless", False),
}

# Attributes that describe the file and not the gas.
_BOOKKEEPING = ("n_samples", "n_valid_samples", "n_wavelength", "spec_names")

IONS = {"HI": 13.6 * eV, "HeII": 54.4 * eV}


@dataclass(frozen=True)
class SobolFile(SampleFile):
    """The runs of a Sobol sequence that did not fail.

    Attributes:
        rows (np.ndarray of int): The rows of these runs in the file, (m,).
        scale (np.ndarray of float): The factor from Cloudy's normalisation
            to erg/s/Hz per initial Msun, (m,).
        runs (int): The number of all runs.
        failed (int): The number of those that failed.
    """

    rows: NDArray[np.intp]
    scale: NDArray[np.float64]
    runs: int
    failed: int

    @classmethod
    def open(cls, path: Path) -> Self:
        """Open a file of runs, and compute the scale of its spectra.

        Cloudy's incident spectrum and `incident_lnu` have the same rate of
        photons that ionise hydrogen, as in grid-generation's grids.

        Raises:
            GridError: If the file is incomplete or damaged, no run is left,
                or a parameter is outside its range.
            InconsistentArguments: If the file of ranges is not YAML.
        """
        with open_hdf5(path) as hdf, report_damage(path, REMEDY):
            _check_complete(hdf, path)
            valid = read_numbers(hdf, _VALID, path) == 1
            rates, rows, scale = _photon_rates(hdf, path, valid)
            parameters, low, high = _read_parameters(hdf, path, rows)
            contents = GridHeader(
                axes=(),
                lam=read_numbers(hdf, "wavelength", path),
                spectra_units=dict.fromkeys(hdf[SPECTRA], "erg/s/Hz"),
                cloudy=_read_fixed(hdf),
                log10_specific_ionising_luminosity=rates,
            )
            return cls(
                path,
                parameters,
                low,
                high,
                contents,
                rows,
                scale,
                len(valid),
                int((~valid).sum()),
            )

    @property
    def left_out(self) -> Mapping[str, int]:
        """The numbers of runs that are left out, by why."""
        return {
            "that failed": self.failed,
            "without ionising photons": self.runs - self.failed - self.size,
        }

    def row(self, i: int) -> int:
        """Return the row of a run in the file, in which failed ones count."""
        return int(self.rows[i])

    def read(self, emission: str) -> NDArray[np.float64]:
        """Read a spectrum of all runs, in erg/s/Hz per initial Msun, (m, n).

        Raises:
            GridError: If the array does not have the shape of the runs.
        """
        with open_hdf5(self.path) as hdf:
            shape = (self.runs, self.contents.size_of(emission))
            values = read_array(hdf, emission, self.path, shape)
        return values[self.rows] * self.scale[:, None]


def is_sobol_file(path: Path) -> bool:
    """Return whether a file has the layout of grid-generation's Sobol runs."""
    with open_hdf5(path) as hdf, report_damage(path, REMEDY):
        return isinstance(hdf.get(PARAMETERS), h5py.Group)


def _check_complete(hdf: h5py.File, path: Path) -> None:
    """Raise if an entry is missing, and name the script that writes it."""
    for name, script in _WRITTEN_BY.items():
        if name not in hdf:
            raise GridError(
                f"'{path}' is not a complete file of Sobol runs: it lacks "
                f"'{name}', which grid-generation's {script} writes. Run it "
                "for this file."
            )


def _photon_rates(
    hdf: h5py.File, path: Path, valid: NDArray[np.bool_]
) -> tuple[dict[str, NDArray[np.float64]], NDArray[np.intp], NDArray]:
    """Return log10 of the photon rates, the usable rows, and their scale.

    The rates, by ion, are in 1/s per initial Msun, (m,). Runs that are not
    valid, or whose spectrum has no ionising photons to be scaled by, are left
    out.
    """
    stellar = Sed(
        read_numbers(hdf, "incident_lam", path) * angstrom,
        read_numbers(hdf, _INCIDENT, path) * (erg / s / Hz),
    )
    cloudy = Sed(
        read_numbers(hdf, "wavelength", path) * angstrom,
        read_numbers(hdf, f"{SPECTRA}/incident", path) * (erg / s / Hz),
    )
    for name, sed in ((_INCIDENT, stellar), (f"{SPECTRA}/incident", cloudy)):
        if sed.lnu.ndim != 2 or len(sed.lnu) != len(valid):
            raise GridError(
                f"'{name}' of '{path}' must have one row for each of "
                f"the {len(valid)} runs, got shape {sed.lnu.shape}. {REMEDY}"
            )
    rates = {ion: photon_rate(stellar, energy) for ion, energy in IONS.items()}
    own = photon_rate(cloudy, IONS["HI"])
    rows = np.flatnonzero(valid & (own > 0) & (rates["HI"] > 0))
    if not len(rows):
        raise GridError(
            f"'{path}' has no run with ionising photons among its "
            f"{int(valid.sum())} valid of {len(valid)} runs."
        )
    with np.errstate(divide="ignore"):
        logs = {ion: np.log10(rate[rows]) for ion, rate in rates.items()}
    return logs, rows, rates["HI"][rows] / own[rows]


def photon_rate(sed: Sed, energy: Any) -> NDArray[np.float64]:
    """Return the rates of photons above an energy, in 1/s, (m,)."""
    rate = sed.calculate_ionising_photon_production_rate(energy)
    return np.asarray(rate.to_value("1/s"))


def _read_parameters(
    hdf: h5py.File, path: Path, rows: NDArray[np.intp]
) -> tuple[tuple[Axis, ...], NDArray[np.float64], NDArray[np.float64]]:
    """Return the parameters of the runs, and the ends of their ranges."""
    ranges = _read_ranges(path)
    known = [name for name in _AXES if name in hdf[PARAMETERS]]
    others = [name for name in hdf[PARAMETERS] if name not in _AXES]
    axes, low, high = [], [], []
    for name in (*known, *others):
        values = read_numbers(hdf, f"{PARAMETERS}/{name}", path)[rows]
        ends = ranges.get(name, (values.min(), values.max(), "linear"))
        axis, units, logged = _AXES.get(
            name, (name, "dimensionless", ends[2] == "log")
        )
        # The ends may differ by rounding.
        within = np.clip(values, *ends[:2])
        if not np.allclose(within, values, rtol=1e-9, atol=0.0):
            raise GridError(
                f"'{PARAMETERS}/{name}' of '{path}' must be within its range "
                f"in {RANGES}, {ends[0]:g} to {ends[1]:g}, got values from "
                f"{values.min():g} to {values.max():g}."
            )
        axes.append(make_axis(path, axis, within, units, logged))
        low.append(float(ends[0]))
        high.append(float(ends[1]))
    return tuple(axes), np.array(low), np.array(high)


def _read_ranges(path: Path) -> dict[str, tuple[float, float, str]]:
    """Return the range and the spacing of each parameter, if given.

    Raises:
        GridError: If an entry is not a range.
    """
    ranges_file = path.with_name(RANGES)
    if not ranges_file.exists():
        return {}
    contents = read_yaml(ranges_file)
    ranges: dict[str, tuple[float, float, str]] = {}
    for group in ("incident_params", "photoionisation_params"):
        given = contents.get(group) if isinstance(contents, Mapping) else None
        for name, entry in (given or {}).items():
            match entry:
                case [
                    float() | int() as low,
                    float() | int() as high,
                    spacing,
                ]:
                    if low < high and spacing in ("log", "linear"):
                        ranges[name] = (float(low), float(high), spacing)
                        continue
            raise GridError(
                f"'{name}' in '{ranges_file}' must be [low, high, 'log' or "
                f"'linear'], got {entry!r}."
            )
    return ranges


def _read_fixed(hdf: h5py.File) -> dict[str, object]:
    """Return the fixed parameters of the runs, by name."""
    return {
        name: value
        for name, value in hdf.attrs.items()
        if name not in _BOOKKEEPING
    }
