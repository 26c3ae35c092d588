"""How fast emulated grids and their networks are, beside native grids.

Writes the full BC03 grid with gas at one ionisation parameter (four spectra
and 124 lines), builds its emulator, and times native and emulated grids in
turn, each time in a fresh process: loading them, on their own wavelengths and
at R = 300, the first galaxy and further ones. Then the networks by
themselves: one spectrum, slopes, batches, and how they grow with wavelengths
and points. Prints a table and writes JSON with commit and machine.

    python benchmarks/speed.py --json docs/benchmarks/speed.json

Ratios are those of the pairs of one round. A grid that is there already is
taken from `--grids FOLDER`. On a GPU the same command gives its numbers.
"""

import argparse
import json
import os
import resource
import statistics
import subprocess
import sys
import tempfile
import time
import warnings
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

NAME = "bc03-speed"
ROUNDS = 5
REPEATS = 5
TOOLS = ("native", "emulated")
RESOLUTION = 300.0

# The networks: how many spectra of how many wavelengths at a time.
WAVELENGTHS = (500, 2500, 13216)
POINTS = (1, 16, 256, 1547)
GPU_POINTS = 16384
SHORT = 300


def prepare(folder: Path) -> None:
    """Write the grid and build its emulator, unless they are there.

    The training is a short one: how long it took does not show in the time
    that its outcome takes.
    """
    from synthesizer_emulator import build
    from synthesizer_emulator.architectures import get_architecture
    from synthesizer_emulator.sources import bc03

    if (folder / f"{NAME}.emulator.hdf5").is_file():
        return
    path = bc03.write_cloudy_grid(
        folder, bc03.Thinning(log10_ionisation_parameters=(-2.0,)), NAME
    )
    training = get_architecture("corrected").default_training
    build(path, training=replace(training, epochs=20))


def run_case(tool: str, wavelengths: str, folder: str) -> dict:
    """Load a grid and make galaxies with it, in this fresh process."""
    begin = time.perf_counter()
    import numpy as np
    from synthesizer.emission_models import TotalEmission
    from synthesizer.emission_models.transformers import PowerLaw
    from synthesizer.grid import Grid
    from synthesizer.parametric import SFH, Stars, ZDist
    from unyt import Msun, Myr, angstrom

    if tool == "emulated":
        from synthesizer_emulator import EmulatedGrid as Grid

    imported = time.perf_counter()
    arguments = {}
    if wavelengths == "R300":
        steps = np.log(1e7 / 100.0) / np.log1p(1.0 / RESOLUTION)
        lam = 100.0 * (1.0 + 1.0 / RESOLUTION) ** np.arange(int(steps))
        arguments["new_lam"] = lam * angstrom
    start = time.perf_counter()
    grid = Grid(NAME, grid_dir=folder, **arguments)
    loaded = time.perf_counter()
    loaded_memory = memory()
    model = TotalEmission(
        grid, dust_curve=PowerLaw(slope=-0.7), tau_v=0.3, fesc=0.1
    )
    stars = Stars(
        grid.log10ages,
        grid.metallicities,
        sf_hist=SFH.LogNormal(tau=0.5, peak_age=500 * Myr, max_age=5000 * Myr),
        metal_dist=ZDist.Normal(mean=0.01, sigma=0.003),
        initial_mass=1e9 * Msun,
    )
    galaxies = []
    for _ in range(1 + REPEATS):
        stars.clear_all_emissions()
        before = time.perf_counter()
        stars.get_spectra(model)
        galaxies.append(time.perf_counter() - before)
    return {
        "import": imported - begin,
        "load": loaded - start,
        "first galaxy": loaded - start + galaxies[0],
        "next galaxy": statistics.median(galaxies[1:]),
        "megabytes loaded": loaded_memory,
        "megabytes at most": memory(),
    }


def memory() -> float:
    """Return the most memory that this process had so far, in MB."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e3


def grids(folder: Path) -> dict:
    """Return what native and emulated grids take, and their ratios."""
    results = {}
    for wavelengths in ("full", "R300"):
        cases: dict[str, list[dict]] = {tool: [] for tool in TOOLS}
        for _ in range(ROUNDS):
            for tool in TOOLS:
                done = subprocess.run(
                    [
                        *(sys.executable, "-W", "ignore", __file__),
                        *("--case", tool, wavelengths, str(folder)),
                    ],
                    stdout=subprocess.PIPE,
                    text=True,
                    check=True,
                )
                cases[tool].append(json.loads(done.stdout.splitlines()[-1]))
        results[wavelengths] = {
            what: {
                **{t: spread([c[what] for c in cases[t]]) for t in TOOLS},
                "ratio": spread(
                    [
                        emulated[what] / native[what]
                        for native, emulated in zip(
                            cases["native"], cases["emulated"], strict=True
                        )
                    ]
                ),
            }
            for what in cases["native"][0]
        }
    return results


def spread(values: list[float]) -> dict[str, float]:
    """Return the median of values, and their ends."""
    return {
        "median": statistics.median(values),
        "low": min(values),
        "high": max(values),
    }


def timed(functions: dict[str, Callable], repeats: int) -> dict[str, dict]:
    """Return what functions take, in turn, and the ratios to the first.

    The first call of each compiles and is timed apart. Low and high are the
    tenth and the ninetieth percentile.
    """
    import jax
    import numpy as np

    first, seconds = {}, {name: [] for name in functions}
    for name, function in functions.items():
        start = time.perf_counter()
        jax.block_until_ready(function())
        first[name] = time.perf_counter() - start
    for _ in range(repeats):
        for name, function in functions.items():
            start = time.perf_counter()
            jax.block_until_ready(function())
            seconds[name].append(time.perf_counter() - start)
    reference = np.array(next(iter(seconds.values())))

    def quantiles(values: np.ndarray) -> dict[str, float]:
        low, median, high = np.quantile(values, [0.1, 0.5, 0.9])
        return {"median": median, "low": low, "high": high}

    return {
        name: {
            "first_seconds": first[name],
            "seconds": quantiles(np.array(values)),
            "ratio": quantiles(np.array(values) / reference),
        }
        for name, values in seconds.items()
    }


def networks(folder: Path) -> dict:
    """Return what spectra, slopes and batches of them take."""
    import jax
    import jax.numpy as jnp
    import numpy as np
    from synthesizer.grid import Grid

    from synthesizer_emulator import EmulatedGrid, Emulator

    whole = EmulatedGrid(NAME, grid_dir=folder).emulator
    native = Grid(NAME, grid_dir=folder)
    point = jnp.array([3.3e7, 0.007])
    on_gpu = jax.default_backend() != "cpu"
    sizes = (*POINTS, GPU_POINTS) if on_gpu else POINTS
    rng = np.random.default_rng(0)
    draws = 10 ** rng.uniform([6, -3.9], [10, -1.1], (max(sizes), 2))
    results: dict[str, dict] = {"one": {}, "batch": {}}
    for n in WAVELENGTHS:
        kept = np.linspace(0, native.nlam - 1, n).round().astype(int)
        part = whole.spectra["incident"].restrict(kept)
        emulator = Emulator(whole.coordinates, {"incident": part}, {})

        def spectrum(p: jax.Array, emulator: Emulator = emulator) -> jax.Array:
            return emulator.spectrum("incident", p)

        def total(p: jax.Array, spectrum: Callable = spectrum) -> jax.Array:
            return jnp.sum(spectrum(p) / 1e20)

        compiled = {
            "spectrum": jax.jit(spectrum),
            "gradient of the sum": jax.jit(jax.grad(total)),
            "slopes of every pixel": jax.jit(jax.jacfwd(spectrum)),
        }
        calls = {k: (lambda f=f: f(point)) for k, f in compiled.items()}
        results["one"][n] = timed(calls, SHORT)
        results["batch"][n] = {}
        for m in sizes:
            batch, points = jax.jit(jax.vmap(spectrum)), jnp.array(draws[:m])
            found = timed({"batch": lambda b=batch, p=points: b(p)}, 10)
            seconds = found["batch"]["seconds"]
            results["batch"][n][m] = {
                "seconds": seconds,
                "spectra_per_second": m / seconds["median"],
            }
    at = {"log10ages": np.log10(3.3e7), "metallicities": 0.007}
    pair = timed(
        {
            "native interpolation": lambda: (
                native.interpolate_grid_at_axes_value(
                    spectra_type="incident", **at
                )["spectra"].lnu
            ),
            "emulator": lambda: compiled["spectrum"](point),
        },
        SHORT,
    )
    return {**results, "one point": pair}


def show(results: dict) -> None:
    """Print the results."""
    for wavelengths, rows in results["grids"].items():
        print(f"\n{wavelengths:<18}   native  emulated   ratio")
        for what, row in rows.items():
            native, emulated = (row[tool]["median"] for tool in TOOLS)
            ratio = row["ratio"]
            print(
                f"{what:<18} {native:8.3f}  {emulated:8.3f}   "
                f"{ratio['median']:.3f} ({ratio['low']:.3f} to "
                f"{ratio['high']:.3f})"
            )
    for n, rows in results["networks"]["one"].items():
        print(f"\n{n} wavelengths")
        for name, row in rows.items():
            print(
                f"{name:<22} {1e3 * row['seconds']['median']:.3f} ms, "
                f"{row['ratio']['median']:.2f} of a spectrum; first "
                f"{row['first_seconds']:.2f} s"
            )
        for m, row in results["networks"]["batch"][n].items():
            print(
                f"{m:>6} points {1e3 * row['seconds']['median']:10.3f} ms, "
                f"{row['spectra_per_second']:.0f} spectra/s"
            )
    for name, row in results["networks"]["one point"].items():
        print(f"{name:<22} {1e3 * row['seconds']['median']:.3f} ms")


def main() -> None:
    """Measure, print and write."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--json", type=Path, help="file to write")
    parser.add_argument("--grids", type=Path, help="folder to reuse")
    parser.add_argument("--case", nargs=3, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    warnings.simplefilter("ignore")
    if arguments.case:
        print(json.dumps(run_case(*arguments.case)))
        return
    import record

    with tempfile.TemporaryDirectory() as scratch:
        folder = arguments.grids or Path(scratch)
        folder.mkdir(parents=True, exist_ok=True)
        prepare(folder)
        before = os.getloadavg()[0]
        results = {
            "grids": grids(folder),
            "networks": networks(folder),
            "rounds": ROUNDS,
            "load_average": [before, os.getloadavg()[0]],
        }
    show(results)
    record.write(arguments.json, results)


if __name__ == "__main__":
    main()
