"""Files in the layout of grid-generation's Sobol runs of Cloudy, for tests."""

import json
from pathlib import Path

import h5py
import numpy as np
import yaml
from conftest import analytic_at
from numpy.typing import NDArray
from scipy.stats import qmc

# The range and the spacing of each parameter, by upstream's names.
INCIDENT = {"ages": [1e6, 1e10, "log"], "metallicities": [1e-4, 4e-2, "log"]}
GAS = {
    "ionisation_parameter": [1e-4, 1e-1, "log"],
    "hydrogen_density": [10.0, 1e4, "log"],
    "abundance_scalings.nitrogen_to_oxygen": [-2.0, -0.5, "linear"],
}
SPECTRA = ("incident", "transmitted", "nebular", "linecont")

# Cloudy's wavelengths are not those of the stars.
STELLAR_LAM = np.geomspace(100.0, 1.2e5, 400)
CLOUDY_LAM = np.geomspace(150.0, 1e5, 900)


def write_sobol_runs(
    folder: Path, n: int, failed: tuple[int, ...] = (), ranges: bool = True
) -> tuple[Path, dict[str, NDArray], dict[str, NDArray]]:
    """Write runs of Cloudy; return the file, the parameters and the truth.

    The truth is in erg/s/Hz per initial Msun; the file has the normalisation
    of each run, a factor around 1e-45.
    """
    everything = {**INCIDENT, **GAS}
    unit = qmc.Sobol(len(everything), rng=7).random(n)
    parameters = {}
    for (name, (low, high, spacing)), u in zip(
        everything.items(), unit.T, strict=True
    ):
        parameters[name] = (
            10 ** (np.log10(low) + u * np.log10(high / low))
            if spacing == "log"
            else low + u * (high - low)
        )
    where = (
        parameters["ages"],
        parameters["metallicities"],
        parameters["ionisation_parameter"],
    )
    cloudy = analytic_at(CLOUDY_LAM, *where)
    stars = analytic_at(STELLAR_LAM, *where)["spectra/incident"]
    truth = {name: cloudy[f"spectra/{name}"] for name in SPECTRA}
    normalisation = 10 ** np.random.default_rng(3).uniform(-46, -44, n)
    with h5py.File(folder / "grid.hdf5", "w") as hdf:
        for name, values in parameters.items():
            hdf.create_dataset(
                f"parameters/{name}", data=values, compression="gzip"
            )
        hdf["incident_lam"], hdf["incident_lnu"] = STELLAR_LAM, stars
        hdf["wavelength"] = CLOUDY_LAM
        for name, values in truth.items():
            rows = values * normalisation[:, None]
            rows[list(failed)] = 0.0
            hdf.create_dataset(
                f"spectra/{name}", data=rows, compression="gzip"
            )
        hdf["valid_samples"] = ~np.isin(np.arange(n), failed)
        hdf.attrs["cloudy_version"] = "c25.00"
        hdf.attrs["abundance_scalings"] = json.dumps({"carbon_to_oxygen": -1})
        hdf.attrs["n_samples"], hdf.attrs["sampling_method"] = n, "sobol"
        hdf.attrs["spec_names"] = list(SPECTRA)
    if ranges:
        (folder / "grid_parameters.yaml").write_text(
            yaml.dump(
                {
                    "incident_params": INCIDENT,
                    "photoionisation_params": GAS,
                    "depletion_model": None,
                },
                default_flow_style=False,
            )
        )
    return folder / "grid.hdf5", parameters, truth
