"""The three-axis BC03 Cloudy grid: line errors, file sizes and particle times.

Writes the grid of `synthesizer-emulator bc03 --grid cloudy`, builds its
emulator, measures the errors of lines at the nodes, and times spectra of
particles at their exact axis values. Prints a table and writes JSON with the
commit and the machine.

    python benchmarks/cloudy.py --json docs/benchmarks/cloudy.json
"""

import resource
import tempfile
import time
import warnings
from pathlib import Path

import numpy as np
import record
from synthesizer.emission_models import IncidentEmission
from synthesizer.grid import Grid
from synthesizer.particle import Stars
from unyt import Msun, yr

from synthesizer_emulator import EmulatedGrid, build, extract_directly
from synthesizer_emulator.sources import bc03

H_BETA = "H 1 4861.32A"
BRIGHT = 1e-3  # of H beta
PHYSICAL = 0.02  # the source has unphysical nebular emission above this Z
N_PARTICLES = 10_000


def line_errors(native: Grid, emulated: EmulatedGrid) -> dict[str, float]:
    """Return the errors of the scored lines at all nodes."""
    physical = native._metallicities <= PHYSICAL * 1.0001
    true, got = (
        grid.line_lums["nebular"][:, physical].value
        for grid in (native, emulated)
    )
    h_beta = true[..., list(native.available_lines).index(H_BETA), None]
    bright = (true > BRIGHT * h_beta) & (h_beta > 0)
    errors = np.abs(got[bright] / true[bright] - 1)
    p50, p95, p99 = np.quantile(errors, [0.5, 0.95, 0.99])
    return {"p50": p50, "p95": p95, "p99": p99, "worst": errors.max()}


def particle_seconds(grid: EmulatedGrid) -> dict[str, float]:
    """Return the time per particle, at the nodes and at exact axis values."""
    rng = np.random.default_rng(0)
    stars = Stars(
        initial_masses=np.full(N_PARTICLES, 1e5) * Msun,
        ages=10 ** rng.uniform(6, 10, N_PARTICLES) * yr,
        metallicities=10 ** rng.uniform(-3.5, -1.5, N_PARTICLES),
        ionisation_parameters=10 ** rng.uniform(-3.5, -1.5, N_PARTICLES),
    )
    model = IncidentEmission(grid)
    seconds = {}
    direct = extract_directly(model)
    for name, emission_model in (("nodes", model), ("direct", direct)):
        stars.get_spectra(emission_model)  # compiles, and fills the grid
        start = time.perf_counter()
        stars._grid_weights = {"cic": {}, "ngp": {}}
        stars.clear_all_emissions()
        stars.get_spectra(emission_model)
        seconds[name] = (time.perf_counter() - start) / N_PARTICLES
    return seconds


def measure(folder: Path) -> dict:
    """Write the grid, build the emulator, and return the measurements."""
    path = bc03.write_cloudy_grid(
        folder, bc03.moderately_thinned(bc03.Thinning())
    )
    start = time.perf_counter()
    report = build(path)
    seconds = time.perf_counter() - start
    peak_memory = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    native = Grid(bc03.CLOUDY_NAME, grid_dir=folder)
    emulated = EmulatedGrid(bc03.CLOUDY_NAME, grid_dir=folder)
    return {
        "shape": [int(n) for n in emulated.shape],
        "n_lines": int(emulated.nlines),
        "build_seconds": seconds,
        "build_gigabytes": peak_memory / 1e6,
        "weights_megabytes": report.size / 1e6,
        "grid_megabytes": path.stat().st_size / 1e6,
        "nodes": report.provenance.errors,
        "lines": line_errors(native, emulated),
        "seconds_a_particle": particle_seconds(emulated),
    }


def main() -> None:
    """Measure, print and write the results."""
    target = record.json_argument(__doc__)
    warnings.simplefilter("ignore")
    with tempfile.TemporaryDirectory() as folder:
        results = measure(Path(folder))
    print(f"grid       {results['shape']}, {results['n_lines']} lines")
    print(
        f"build      {results['build_seconds']:.0f} s, peak memory "
        f"{results['build_gigabytes']:.1f} GB"
    )
    print(
        f"weights    {results['weights_megabytes']:.1f} MB, for a grid of "
        f"{results['grid_megabytes']:.0f} MB"
    )
    for name, row in {**results["nodes"], "lines": results["lines"]}.items():
        values = ", ".join(
            f"{q} {100 * row[q]:.4f}%" for q in ("p50", "p95", "p99", "worst")
        )
        print(f"{name:<28} {values}")
    for name, seconds in results["seconds_a_particle"].items():
        print(f"particle, {name:<18} {1e6 * seconds:.1f} microseconds")
    record.write(target, results)


if __name__ == "__main__":
    main()
