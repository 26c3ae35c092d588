"""The times and errors of the main use case, on the full BC03 grid.

Writes the BC03 grid, builds its emulator and evaluates it. Then removes the
grid file, loads `EmulatedGrid`, and makes parametric and particle galaxies
with the emulated and with the native grid. Prints a table and writes JSON with
the commit and the machine.

    python benchmarks/main_job.py --json docs/benchmarks/main_job.json
"""

import tempfile
import time
import warnings
from dataclasses import asdict
from pathlib import Path

import numpy as np
import record
from synthesizer.emission_models import IncidentEmission
from synthesizer.grid import Grid
from synthesizer.parametric import SFH, Stars, ZDist
from synthesizer.particle.stars import sample_sfzh_from_array
from unyt import Msun, Myr

from synthesizer_emulator import EmulatedGrid, build, evaluate
from synthesizer_emulator.emulator.metrics import (
    scored_region,
    summarise_errors,
)
from synthesizer_emulator.sources import bc03

N_GALAXIES = 100
N_PARTICLES = 1000


def make_galaxies(grid: Grid, rng: np.random.Generator) -> dict[str, list]:
    """Return stars of random histories, both parametric and particles."""
    galaxies: dict[str, list] = {"parametric": [], "particle": []}
    for seed in range(N_GALAXIES):
        peak = 10 ** rng.uniform(1.0, 4.0)
        parametric = Stars(
            grid.log10ages,
            grid.metallicities,
            sf_hist=SFH.LogNormal(
                tau=rng.uniform(0.1, 1.0),
                peak_age=peak * Myr,
                max_age=min(10 * peak, 13000.0) * Myr,
            ),
            metal_dist=ZDist.Normal(
                mean=10 ** rng.uniform(-3.5, -1.5), sigma=1e-3
            ),
            initial_mass=1e9 * Msun,
        )
        galaxies["parametric"].append(parametric)
        galaxies["particle"].append(
            sample_sfzh_from_array(
                parametric.sfzh,
                grid.log10ages,
                grid.log10metallicities,
                N_PARTICLES,
                seed=seed,
            )
        )
    return galaxies


def spectra(grid: Grid, galaxies: list) -> np.ndarray:
    """Return the incident spectra of galaxies, (n, nlam)."""
    model = IncidentEmission(grid)
    return np.array([g.get_spectra(model)._lnu for g in galaxies])


def measure(folder: Path) -> dict:
    """Write the grid, build the emulator, and return the measurements."""
    start = time.perf_counter()
    path = bc03.write_incident_grid(folder)
    written = time.perf_counter()
    report = build(path)
    built = time.perf_counter()
    evaluation = evaluate(path, recoveries=0, progress=False)
    evaluated = time.perf_counter()
    native = Grid(bc03.INCIDENT_NAME, grid_dir=folder)
    loaded = time.perf_counter()
    galaxies = make_galaxies(native, np.random.default_rng(0))
    # First with the native grid, which reads its file again.
    true = {kind: spectra(native, stars) for kind, stars in galaxies.items()}
    path.rename(folder / "moved_away.hdf5")
    begin = time.perf_counter()
    emulated = EmulatedGrid(bc03.INCIDENT_NAME, grid_dir=folder)
    emulated_load = time.perf_counter() - begin
    results = {
        "seconds": {
            "write grid": written - start,
            "build": built - written,
            "evaluate": evaluated - built,
            "load native": loaded - evaluated,
            "load emulated": emulated_load,
        },
        "weights_megabytes": report.size / 1e6,
        "grid_megabytes": (folder / "moved_away.hdf5").stat().st_size / 1e6,
        "nodes": asdict(evaluation.emissions["spectra/incident"].summary),
        "read_off": {
            name: {
                q: getattr(errors.summary, q) for q in ("p50", "p95", "worst")
            }
            for name, errors in evaluation.quantities["incident"].items()
        },
        "magnitudes": record.magnitudes(evaluation.photometry["incident"]),
        "galaxies": {},
    }
    scored = scored_region(native._lam)
    for kind, stars in galaxies.items():
        got = spectra(emulated, stars)[:, scored]
        errors = summarise_errors(got, true[kind][:, scored])
        results["galaxies"][kind] = asdict(errors)
    return results


def main() -> None:
    """Measure, print and write the results."""
    target = record.json_argument(__doc__)
    warnings.simplefilter("ignore")
    with tempfile.TemporaryDirectory() as folder:
        results = measure(Path(folder))
    for name, seconds in results["seconds"].items():
        print(f"{name:<16} {seconds:8.2f} s")
    print(f"{'grid file':<16} {results['grid_megabytes']:8.1f} MB")
    print(f"{'weights file':<16} {results['weights_megabytes']:8.1f} MB")
    rows = {"nodes": results["nodes"], **results["galaxies"]}
    for name, row in rows.items():
        values = ", ".join(
            f"{q} {100 * row[q]:.4f}%" for q in ("p50", "p95", "p99", "worst")
        )
        print(f"{name:<16} {values}")
    for name, row in results["read_off"].items():
        values = ", ".join(f"{q} {value:.3g}" for q, value in row.items())
        print(f"{name:<21} {values}")
    values = ", ".join(
        f"{q} {1000 * results['magnitudes'][q]:.4f} mmag"
        for q in ("p50", "p95", "p99", "worst")
    )
    print(f"{'magnitudes':<16} {values}")
    record.write(target, results)


if __name__ == "__main__":
    main()
