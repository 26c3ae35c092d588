"""The speed of emulated grids and their networks, compared with native grids.

Writes the full BC03 grid with gas at one ionisation parameter (four spectra
and 124 lines), builds its emulator, and times native and emulated grids in
turn: loading at all wavelengths and at R = 300, and the first and further
galaxies. Then times only the networks: one spectrum, derivatives and batches,
for several numbers of wavelengths and points. Prints a table and writes JSON
with the commit and the machine.

    python benchmarks/speed.py --json docs/benchmarks/speed.json

Each case is measured in a fresh process, in turn with the case that it is
compared with; ratios are taken within a round. Two conditions affect the times
more than the differences between grids, so both settings are measured:

- Memory. Many virtual machines return free memory to their host; allocating it
  again takes ten times as long as reusing it. `fresh` memory has been free for
  some seconds, `used` memory was freed immediately before.
- Dispatch. By default, JAX on CPUs queues computations in another thread
  (`queued`); it can also compute in the calling thread (`inline`).

`--grids FOLDER` reuses the grids in a folder. The same command runs on a GPU.
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
from pathlib import Path
from typing import Any

NAME = "bc03-speed"
ROUNDS = 5
REPEATS = 5
TOOLS = ("native", "emulated")
MEMORIES = ("fresh", "used")
WAYS = ("queued", "inline")
RESOLUTION = 300.0

# The host takes free memory back within these seconds. The used memory is more
# than any case needs.
SETTLING = 4.0
USED_GIGABYTES = 2

# The numbers of wavelengths and of spectra per batch for the networks.
WAVELENGTHS = (500, 2500, 13216)
AGE, METALLICITY = 3.3e7, 0.007
POINTS = (1, 16, 256, 1547)
GPU_POINTS = 16384
SHORT = 300
IN_A_ROW = 30


def prepare_case(folder: str) -> None:
    """Write the grid and build its emulator, unless they exist.

    The training is short, because its length does not affect the times of
    evaluation.
    """
    from synthesizer_emulator import build
    from synthesizer_emulator.sources import bc03

    to = Path(folder)
    if not (to / f"{NAME}.emulator").is_file():
        path = bc03.write_cloudy_grid(
            to,
            bc03.Thinning(log10_ionisation_parameters=(-2.0,)),
            NAME,
            overwrite=True,
        )
        build(path, training={"epochs": 20})
    # Cache the files, so that the first round does not read from disk.
    for path in to.glob(f"{NAME}*.hdf5"):
        path.read_bytes()


def settle(memory: str) -> None:
    """Wait until the host has taken free memory back, or free used memory."""
    import numpy as np

    held = np.ones(USED_GIGABYTES * 10**9 // 8) if memory == "used" else None
    time.sleep(SETTLING)
    del held


def grid_case(tool: str, wavelengths: str, memory: str, folder: str) -> dict:
    """Return the times and memory of loading a grid and making galaxies."""
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
    settle(memory)
    start = time.perf_counter()
    grid = Grid(NAME, grid_dir=folder, **arguments)
    loaded = time.perf_counter()
    loaded_megabytes = megabytes()
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
    first, further = galaxies[0], statistics.median(galaxies[1:])
    results = {
        "import": imported - begin,
        "load": loaded - start,
        "first galaxy": loaded - start + first,
        "next galaxy": further,
        "next over first": further / (loaded - start + first),
    }
    # Peak memory includes the memory used before, so skip it then.
    if memory == "fresh":
        results["megabytes loaded"] = loaded_megabytes
        results["megabytes at most"] = megabytes()
    return results


def megabytes() -> float:
    """Return the peak memory of this process, in MB."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e3


def timed(
    functions: dict[str, Callable], repeats: int, in_a_row: int = 1
) -> dict[str, dict]:
    """Return the times of functions called in turn, and their ratios.

    The first call of each function compiles and is timed separately; other
    times are medians of single calls. Functions are called several times in
    a row, as by a sampler, so that caches are in the same state.
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
            for _ in range(in_a_row):
                start = time.perf_counter()
                jax.block_until_ready(function())
                seconds[name].append(time.perf_counter() - start)
    reference = np.array(next(iter(seconds.values())))
    return {
        name: {
            "first_seconds": first[name],
            "seconds": statistics.median(values),
            "ratio": float(np.median(values / reference)),
        }
        for name, values in seconds.items()
    }


def spectrum_functions(folder: str) -> dict[int, Callable]:
    """Return functions from a point to a spectrum of n wavelengths, by n."""
    import numpy as np

    from synthesizer_emulator import EmulatedGrid, Emulator

    whole = EmulatedGrid(NAME, grid_dir=folder).emulator
    incident = whole.spectra["incident"]
    n_all = max(WAVELENGTHS)

    def function(n: int) -> Callable:
        kept = np.linspace(0, n_all - 1, n).round().astype(int)
        spectra = {"incident": incident.restrict(kept)}
        emulator = Emulator(whole.coordinates, spectra, {})
        return lambda point: emulator.spectrum("incident", point)

    return {n: function(n) for n in WAVELENGTHS}


def one_case(dispatch: str, folder: str) -> dict:
    """Return the times of one spectrum and of its derivatives."""
    import jax

    jax.config.update("jax_cpu_enable_async_dispatch", dispatch == "queued")
    import jax.numpy as jnp

    point = jnp.array([AGE, METALLICITY])

    def measured(spectrum: Callable) -> dict[str, dict]:
        compiled = {
            "spectrum": jax.jit(spectrum),
            "gradient of the sum": jax.jit(
                jax.grad(lambda p: jnp.sum(spectrum(p) / 1e20))
            ),
            "slopes of every pixel": jax.jit(jax.jacfwd(spectrum)),
        }
        calls = {k: (lambda f=f: f(point)) for k, f in compiled.items()}
        return timed(calls, SHORT // IN_A_ROW, IN_A_ROW)

    functions = spectrum_functions(folder)
    return {n: measured(spectrum) for n, spectrum in functions.items()}


def batch_case(folder: str) -> dict:
    """Return the times of batches of spectra, by wavelengths and points."""
    import jax
    import jax.numpy as jnp
    import numpy as np

    on_gpu = jax.default_backend() != "cpu"
    sizes = (*POINTS, GPU_POINTS) if on_gpu else POINTS
    rng = np.random.default_rng(0)
    draws = 10 ** rng.uniform([6, -3.9], [10, -1.1], (max(sizes), 2))

    def measured(spectrum: Callable, m: int) -> dict[str, float]:
        batch, points = jax.jit(jax.vmap(spectrum)), jnp.array(draws[:m])
        seconds = timed({"batch": lambda: batch(points)}, 10)["batch"]
        return {**seconds, "spectra_per_second": m / seconds["seconds"]}

    functions = spectrum_functions(folder)
    return {
        n: {m: measured(spectrum, m) for m in sizes}
        for n, spectrum in functions.items()
    }


def interpolation_case(folder: str) -> dict:
    """Return the times of Synthesizer's interpolation to one point."""
    import numpy as np
    from synthesizer.grid import Grid

    native = Grid(NAME, grid_dir=folder)
    at = {"log10ages": np.log10(AGE), "metallicities": METALLICITY}

    def interpolate() -> np.ndarray:
        return native.interpolate_grid_at_axes_value(
            spectra_type="incident", **at
        )["spectra"].lnu

    return timed({"interpolation": interpolate}, SHORT)["interpolation"]


CASES = {
    "prepare": prepare_case,
    "grid": grid_case,
    "one": one_case,
    "batch": batch_case,
    "interpolation": interpolation_case,
}


def in_new_process(case: str, *arguments: str) -> Any:
    """Return the results of a case, run in a new process.

    This process uses little memory, because its peak memory would be counted
    as that of the new process.
    """
    done = subprocess.run(
        [
            *(sys.executable, "-W", "ignore", __file__),
            *("--case", case, *arguments),
        ],
        stdout=subprocess.PIPE,
        text=True,
        check=True,
    )
    return json.loads(done.stdout.splitlines()[-1])


def rounds(cases: dict[str, tuple[str, ...]]) -> list[dict[str, Any]]:
    """Return the results of several cases, run in turn in each round."""
    return [
        {name: in_new_process(*case) for name, case in cases.items()}
        for _ in range(ROUNDS)
    ]


def over(results: list[Any]) -> dict:
    """Return the median and the range of each number over rounds."""
    if isinstance(results[0], dict):
        return {k: over([r[k] for r in results]) for k in results[0]}
    return {
        "median": statistics.median(results),
        "low": min(results),
        "high": max(results),
    }


def grids(folder: Path) -> dict:
    """Return the times of native and emulated grids, and their ratios."""

    def pair(wavelengths: str, memory: str) -> dict:
        ends = (wavelengths, memory, str(folder))
        done = rounds({tool: ("grid", tool, *ends) for tool in TOOLS})
        return over(
            [
                {
                    quantity: {
                        **{tool: times[tool][quantity] for tool in TOOLS},
                        "ratio": emulated / times["native"][quantity],
                    }
                    for quantity, emulated in times["emulated"].items()
                }
                for times in done
            ]
        )

    return {
        wavelengths: {memory: pair(wavelengths, memory) for memory in MEMORIES}
        for wavelengths in ("full", "R300")
    }


def networks(folder: Path) -> dict:
    """Return the times of spectra, derivatives and batches."""
    end = str(folder)
    one = rounds({way: ("one", way, end) for way in WAYS})
    rest = rounds({case: (case, end) for case in ("batch", "interpolation")})
    return {"one": over(one), **over(rest)}


def show(results: dict) -> None:
    """Print tables of the results."""
    for wavelengths, conditions in results["grids"].items():
        for memory, rows in conditions.items():
            title = f"{wavelengths}, {memory} memory"
            print(f"\n{title:<18}   native  emulated   ratio")
            for quantity, row in rows.items():
                native, emulated = (row[tool]["median"] for tool in TOOLS)
                ratio = row["ratio"]
                print(
                    f"{quantity:<18} {native:8.3f}  {emulated:8.3f}   "
                    f"{ratio['median']:.3f} ({ratio['low']:.3f} to "
                    f"{ratio['high']:.3f})"
                )
    networks = results["networks"]
    for dispatch, sizes in networks["one"].items():
        for n, rows in sizes.items():
            print(f"\n{n} wavelengths, {dispatch}")
            for name, row in rows.items():
                print(
                    f"{name:<22} {1e3 * row['seconds']['median']:.3f} ms, "
                    f"{row['ratio']['median']:.2f} of a spectrum; first call "
                    f"{row['first_seconds']['median']:.2f} s"
                )
    for n, rows in networks["batch"].items():
        print(f"\n{n} wavelengths")
        for m, row in rows.items():
            print(
                f"{m:>6} points {1e3 * row['seconds']['median']:10.3f} ms, "
                f"{row['spectra_per_second']['median']:.0f} spectra/s"
            )
    seconds = networks["interpolation"]["seconds"]["median"]
    print(f"\nnative interpolation {1e3 * seconds:.3f} ms")


def main() -> None:
    """Measure, print and write the results."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--json", type=Path, help="file to write")
    parser.add_argument(
        "--grids", type=Path, help="folder with grids to reuse"
    )
    parser.add_argument("--case", nargs="+", help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    warnings.simplefilter("ignore")
    if arguments.case:
        name, *rest = arguments.case
        print(json.dumps(CASES[name](*rest)))
        return
    with tempfile.TemporaryDirectory() as scratch:
        folder = arguments.grids or Path(scratch)
        folder.mkdir(parents=True, exist_ok=True)
        in_new_process("prepare", str(folder))
        before = os.getloadavg()[0]
        results = {
            "grids": grids(folder),
            "networks": networks(folder),
            "rounds": ROUNDS,
            "load_average": [before, os.getloadavg()[0]],
        }
    show(results)
    import record

    record.write(arguments.json, results)


if __name__ == "__main__":
    main()
