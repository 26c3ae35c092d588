"""The speed of Synference libraries, native and in batches.

Makes the galaxies of Synference's page "Basic Library Generation" (as in
`synference_library.py`) with a BC03 grid with gas at R = 300: TotalEmission
with power-law dust, intergalactic absorption of Inoue et al. (2014),
redshifts up to 5, the eight wide bands of NIRCam. `GalaxyBasis` and
`EmulatedGalaxyBasis` are timed in turn with the same grid. DSPS, if installed,
and a matrix product of the same size, the upper limit for all methods that
sum spectra, are timed as well. The growth of time and memory is measured
without Synference, for each number of galaxies in a separate process.

    python benchmarks/library.py --json docs/benchmarks/library.json

Rates are per second of wall-clock time, so run nothing else meanwhile. CPU
times, summed over cores, depend less on other processes.
"""

import importlib.util
import json
import logging
import os
import pickle
import subprocess
import sys
import tempfile
import time
import warnings
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import record
from astropy.cosmology import Planck18
from growth import seconds
from numpy.typing import NDArray
from synthesizer.emission_models.transformers.igm import Inoue14
from synthesizer.grid import Grid
from unyt import angstrom

from synthesizer_emulator.evaluation.measures.filters import nircam_curves
from synthesizer_emulator.galaxies.batches import suitable_batch_size
from synthesizer_emulator.galaxies.histories import stack_parameters
from synthesizer_emulator.galaxies.model import GalaxyModel
from synthesizer_emulator.sources import bc03

# Imported before Synference, because it may replace one of its modules.
from synference_library import (  # isort: skip
    BANDS,
    create_library,
    draw_parameters,
    emission_model,
    make_basis,
    millimagnitudes,
)

from synference import GalaxyBasis, generate_constant_R  # isort: skip

from synthesizer_emulator import EmulatedGalaxyBasis  # isort: skip

N_GALAXIES = 10_000
N_NATIVE = 40
RACES = 8
REPEATS = 3
SIZES = (1_000, 10_000, 100_000, 1_000_000)
FASTER = 300.0  # target of the ratio of rates to those of Synference
WITHIN = 1.0  # mmag, target of the 99th percentile of differences
N_DSPS = 1024
N_TIMES = 100
N_GROWTH = 4096
N_PARTS = 40

# The thinned wavelengths of BC03, before Synthesizer resamples them.
THINNING = bc03.Thinning(
    log10_ionisation_parameters=(-2.0,),
    resolution=600.0,
    lam_lims=(850.0, 65_000.0),
)


def spread(values: Sequence[float]) -> dict[str, float]:
    """Return the median and the range of repeated measurements."""
    return {
        "median": float(np.median(values)),
        "lowest": float(np.min(values)),
        "highest": float(np.max(values)),
    }


def clock(function: Callable[..., Any], *args: Any) -> tuple[float, Any]:
    """Return the duration of a call in seconds, and its result."""
    start = time.perf_counter()
    result = function(*args)
    return time.perf_counter() - start, result


def r300_grid(folder: Path) -> Grid:
    """Write BC03 with gas and all ages, and return it at R = 300."""
    path = bc03.write_cloudy_grid(folder, THINNING, name="bc03-cloudy")
    lam = generate_constant_R(
        R=300, start=900 * angstrom, end=61_500 * angstrom
    )
    return Grid(path.stem, grid_dir=folder, new_lam=lam, ignore_lines=True)


def galaxy_model(grid: Grid, filters: Any) -> GalaxyModel:
    """Return the GalaxyModel of the libraries, without Synference."""
    return GalaxyModel.from_model(
        emission_model(grid),
        sf_hist="LogNormal",
        metal_dist="DeltaConstant",
        filters=filters,
        cosmo=Planck18,
        igm=Inoue14,
        max_redshift=6.0,
        varying=["tau_v"],
    )


def galaxy_values(basis: GalaxyBasis) -> dict[str, Any]:
    """Return the parameters of the galaxies of a basis for a GalaxyModel."""
    return {
        "initial_mass": 10.0**basis.log_stellar_masses,
        "redshift": basis.redshifts,
        "sf_hist": stack_parameters(list(basis.sfhs))[1],
        "metal_dist": stack_parameters(basis.metal_dists)[1],
        "emission": {"tau_v": basis.galaxy_params["tau_v"]},
    }


def race(grid: Grid, filters: Any, folder: Path) -> dict[str, Any]:
    """Time libraries of both classes in turn, and compare magnitudes."""
    drawing, parameters = clock(draw_parameters, N_GALAXIES)
    making, basis = clock(
        make_basis, grid, filters, parameters, EmulatedGalaxyBasis
    )
    first, _ = clock(create_library, basis, folder / "first")
    rates: dict[str, list[float]] = {"native": [], "emulated": []}
    processor: dict[str, list[float]] = {"native": [], "emulated": []}
    true = []
    for i in range(RACES):
        few = slice(i * N_NATIVE, (i + 1) * N_NATIVE)
        racers = {
            "native": make_basis(
                grid, filters, {k: v[few] for k, v in parameters.items()}
            ),
            "emulated": basis,
        }
        for way, racer in racers.items():
            n = len(racer.redshifts)
            before = time.process_time()
            taken, library = clock(
                create_library, racer, folder / f"{way} {i}"
            )
            rates[way].append(n / taken)
            processor[way].append(1e6 * (time.process_time() - before) / n)
            if way == "native":
                true.append(library["photometry"])
    photometry = library["photometry"]
    reference = np.concatenate(true, axis=1)
    differences = millimagnitudes(
        photometry[:, : reference.shape[1]], reference
    )
    ratios = np.divide(rates["emulated"], rates["native"])
    return {
        "galaxies_a_second": {k: spread(v) for k, v in rates.items()},
        "ratio": spread(ratios),
        "processor_microseconds_a_galaxy": {
            k: spread(v) for k, v in processor.items()
        },
        "seconds": {
            "first library, with compilation": first,
            "the same again": N_GALAXIES / np.median(rates["emulated"]),
            "drawing parameters": drawing,
            "histories and basis": making,
        },
        "millimagnitudes": {
            "galaxies": reference.shape[1],
            "p50": float(np.quantile(differences, 0.5)),
            "p99": float(np.quantile(differences, 0.99)),
            "worst": float(differences.max()),
            "share within 1 mmag": float((differences < WITHIN).mean()),
        },
        "photometry": photometry[:, :N_DSPS],
    }


def parts(model: GalaxyModel, values: dict) -> dict[str, float]:
    """Return the CPU time of each part of a galaxy, microseconds.

    Each part is compiled by itself, for one batch.
    """
    size = suitable_batch_size(model, jax.local_devices())
    batch = jax.tree.map(lambda v: jnp.asarray(v[:size], float), values)
    product, *_ = model.emission.products
    masses = jax.vmap(GalaxyModel.mass_fractions, (None, 0))(model, batch)
    flat = masses.reshape(len(masses), -1)
    spectra = jnp.ones((size, len(model.emission.lam)))
    redshift = batch["redshift"]
    stages: dict[str, tuple[Callable[..., Any], tuple[Any, ...]]] = {
        "all": (GalaxyModel.galaxy, (model, batch)),
        "star formation and metal history": (
            GalaxyModel.mass_fractions,
            (model, batch),
        ),
        "spectra of the nodes": (type(product).__call__, (product, flat, {})),
        "spectra and dust": (
            type(model.emission).spectra,
            (model.emission, masses, batch["emission"]),
        ),
        "distance and intergalactic absorption": (
            type(model.observer).fluxes,
            (model.observer, spectra, redshift),
        ),
        "filters": (
            type(model.bands).fluxes,
            (model.bands, spectra, redshift),
        ),
    }
    taken = {}
    for stage, (function, arguments) in stages.items():
        axes = (None, *(0 for _ in arguments[1:]))
        compiled = jax.jit(jax.vmap(function, axes))
        jax.block_until_ready(compiled(*arguments))
        times = []
        for _ in range(N_PARTS):
            before = time.process_time()
            jax.block_until_ready(compiled(*arguments))
            times.append(time.process_time() - before)
        taken[stage] = 1e6 * float(np.median(times)) / size
    components, nlam = product.spectra.shape
    return {**taken, "components": components, "model wavelengths": nlam}


def ceiling(grid: Grid) -> dict[str, float]:
    """Return the galaxies per second of only the matrix product."""
    spectra = np.reshape(grid.spectra["transmitted"], (-1, grid.nlam))
    weights = jnp.ones((1024, len(spectra)))
    multiply = jax.jit(jnp.matmul)
    multiply(weights, spectra).block_until_ready()
    times = [
        clock(lambda: multiply(weights, spectra).block_until_ready())[0]
        for _ in range(3 * REPEATS)
    ]
    return spread([len(weights) / taken for taken in times])


def dsps(
    grid: Grid,
    filters: Any,
    basis: GalaxyBasis,
    photometry: NDArray,
    folder: Path,
) -> dict[str, Any] | None:
    """Return the rates and differences of DSPS; None if not installed."""
    if importlib.util.find_spec("dsps") is None:
        return None
    # DSPS expects spectra in solar luminosities per Hz and solar mass.
    ssps = (grid.spectra["transmitted"] + grid.spectra["nebular"]) / 3.828e33
    bands = [filters[code] for code in filters.filter_codes]
    longest = max(len(band.original_lam) for band in bands)
    ends = Planck18.age(basis.redshifts[:N_DSPS]).value
    times = np.linspace(0.01, 1.0, N_TIMES)[None] * ends[:, None]
    path = folder / "dsps.npz"
    np.savez(
        path,
        lam=grid.lam.to_value("angstrom"),
        ssps=np.swapaxes(ssps, 0, 1),
        log_zmets=np.log10(grid.metallicities),
        log_ages_gyr=grid.log10ages - 9.0,
        scatter=0.05,
        band_lam=[resampled(band, longest)[0] for band in bands],
        band_transmission=[resampled(band, longest)[1] for band in bands],
        galaxy_redshift=basis.redshifts[:N_DSPS],
        galaxy_log_zmet=[
            z.log10metallicity_ for z in basis.metal_dists[:N_DSPS]
        ],
        galaxy_tau_v=basis.galaxy_params["tau_v"][:N_DSPS],
        galaxy_times=times,
        galaxy_rates=[
            star_formation_rates(history, t, mass)
            for history, t, mass in zip(
                basis.sfhs[:N_DSPS],
                times,
                10.0 ** basis.log_stellar_masses[:N_DSPS],
                strict=True,
            )
        ],
    )
    output = child("dsps_rival.py", path)
    result: dict[str, Any] = {"version": output.pop("version")}
    for method, measured in output.items():
        got = np.array(measured["magnitudes"])
        true = 31.4 - 2.5 * np.log10(photometry[:, : len(got)].T)
        result[method] = {
            **spread(measured["galaxies_a_second"]),
            # The reddest band has no intergalactic absorption.
            "median difference in F444W, mag": float(
                np.nanmedian(np.abs(got - true)[:, -1])
            ),
        }
    return result


def resampled(band: Any, n: int) -> tuple[NDArray, NDArray]:
    """Return the wavelengths and transmission of a filter, both (n,)."""
    lam = band.original_lam.to_value("angstrom")
    even = np.linspace(lam[0], lam[-1], n)
    return even, np.interp(even, lam, band.original_t)


def star_formation_rates(history: Any, times: NDArray, mass: float) -> NDArray:
    """Return star formation rates of a log-normal history, in Msun/yr."""
    age = 1e9 * (times[-1] - times)
    t = np.maximum(float(history.max_age) - age, 1.0)
    rates = np.exp(-0.5 * ((np.log(t) - history.t_0) / history.tau) ** 2) / t
    rates = np.where(age < float(history.max_age), rates, 0.0)
    return rates * mass / (np.trapezoid(rates, times) * 1e9)


def child(script: str, *args: object) -> dict[str, Any]:
    """Run another script in this folder, and return its JSON output."""
    command = [sys.executable, Path(__file__).with_name(script), *args]
    done = subprocess.run(
        list(map(str, command)), stdout=subprocess.PIPE, text=True, check=True
    )
    return json.loads(done.stdout.splitlines()[-1])


def with_number(model: GalaxyModel, values: dict, folder: Path) -> list[dict]:
    """Return the time and the memory for each number of galaxies."""
    path = folder / "model.pickle"
    path.write_bytes(pickle.dumps((model, values)))
    return [{"galaxies": n, **child("growth.py", path, n)} for n in SIZES]


def with_size(folder: Path, filters: Any, values: dict) -> dict[str, list]:
    """Return the CPU time by number of wavelengths, nodes and bands."""
    few = jax.tree.map(lambda v: v[:N_GROWTH], values)
    codes = filters.filter_codes

    def measured(
        resolution: float = 600.0, ages: int | None = None, bands: int = 8
    ) -> dict[str, float]:
        thinning = replace(THINNING, resolution=resolution, ages=ages)
        name = f"grid-{resolution:.0f}-{ages}"
        path = folder / f"{name}.hdf5"
        if not path.exists():
            bc03.write_cloudy_grid(folder, thinning, name=name)
        grid = Grid(name, grid_dir=folder, ignore_lines=True)
        some = filters.select(*codes[-bands:])
        model = galaxy_model(grid, some)
        seconds(model, few)
        # CPU time, which depends less on other processes.
        taken = [seconds(model, few)[1] for _ in range(REPEATS)]
        return {
            "wavelengths": len(model.emission.lam),
            "nodes": int(np.prod(model.emission.nodes)),
            "bands": bands,
            "processor_microseconds": 1e6 * float(np.median(taken)) / N_GROWTH,
        }

    full = measured()
    return {
        "wavelengths": [measured(150.0), measured(300.0), full],
        "nodes": [measured(ages=55), measured(ages=110), full],
        "bands": [measured(bands=1), measured(bands=4), full],
    }


def main() -> None:
    """Measure, print and write the results."""
    target = record.json_argument(__doc__)
    warnings.simplefilter("ignore")
    logging.getLogger("synference").setLevel(logging.ERROR)
    load = os.getloadavg()[0]
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        grid, filters = r300_grid(folder), nircam_curves()
        results = race(grid, filters, folder)
        photometry = results.pop("photometry")
        report(results)
        basis = make_basis(grid, filters, draw_parameters(N_GALAXIES))
        model, values = galaxy_model(grid, filters), galaxy_values(basis)
        results["parts"] = parts(model, values)
        print("parts", json.dumps(results["parts"], indent=1))
        results["matrix product"] = ceiling(grid)
        print("matrix product", results["matrix product"])
        results["DSPS"] = dsps(grid, filters, basis, photometry, folder)
        print("DSPS", json.dumps(results["DSPS"], indent=1))
        results["growth"] = {
            "galaxies": with_number(model, values, folder),
            **with_size(folder, filters, values),
        }
        print(json.dumps(results["growth"], indent=1))
    record.write(
        target,
        {
            "galaxies": N_GALAXIES,
            "bands": BANDS,
            "wavelengths": grid.nlam,
            "nodes": int(np.prod(grid.shape[:-1])),
            "targets": {"ratio": FASTER, "millimagnitudes": WITHIN},
            "load": {"before": load, "after": os.getloadavg()[0]},
            **results,
        },
    )


def report(results: dict[str, Any]) -> None:
    """Print the results, and whether the targets are met."""
    for way, rate in results["galaxies_a_second"].items():
        print(f"{way}: {rate['median']:.0f} galaxies/s {rate}")
    print(
        "CPU microseconds per galaxy",
        results["processor_microseconds_a_galaxy"],
    )
    verdict = results["ratio"]["median"] >= FASTER
    print(f"ratio {results['ratio']} {'pass' if verdict else 'FAIL'}")
    for stage, seconds_taken in results["seconds"].items():
        print(f"{stage}: {seconds_taken:.2f} s")
    differences = results["millimagnitudes"]
    verdict = differences["p99"] <= WITHIN
    print(f"mmag {differences} {'pass' if verdict else 'FAIL'}")


if __name__ == "__main__":
    main()
