"""The errors of every architecture on the full BC03 grid.

Builds each architecture with its default settings and measures the errors at
the nodes and of the magnitudes of random galaxies, as `synthesizer-emulator
evaluate` does. Then leaves out every second age, or one metallicity, and
compares the predictions with Synthesizer's interpolation and with PCHIP of
principal components. No setting was chosen with these numbers.

    python benchmarks/accuracy.py --json docs/benchmarks/accuracy.json

This takes hours, mostly for two of the architectures. Results in the JSON file
are kept, so that an interrupted run can be continued; `--architecture NAME`
repeats the measurements of one architecture.
"""

import argparse
import json
import tempfile
import time
import warnings
from dataclasses import asdict
from pathlib import Path
from statistics import median
from typing import Any

import jax
import numpy as np
import record

from synthesizer_emulator import (
    ARCHITECTURES,
    EmulatedGrid,
    build,
    evaluate,
    hold_out,
)
from synthesizer_emulator.sources import bc03

EMISSION = "spectra/incident"
DROPS = {"every 2nd age": "ages:2", "Z = 0.004": "metallicities=0.004"}
BATCH = 256


def measure(grid: Path, architecture: str) -> dict[str, Any]:
    """Build an architecture, and return errors at nodes and of galaxies."""
    start = time.perf_counter()
    report = build(grid, architecture=architecture, resume=False)
    seconds = time.perf_counter() - start
    evaluation = evaluate(grid, recoveries=0)
    emission = evaluation.emissions[EMISSION]
    return {
        "settings": dict(evaluation.settings),
        "training": dict(evaluation.training),
        "build_seconds": seconds,
        "weights_megabytes": report.path.stat().st_size / 1e6,
        "nodes": asdict(emission.summary),
        "magnitudes": record.magnitudes(evaluation.photometry["incident"]),
        "milliseconds": evaluation_times(grid),
        **record.circumstances(),
    }


def evaluation_times(grid: Path) -> dict[str, float]:
    """Return the times per spectrum in ms, alone and in a batch."""
    emulator = EmulatedGrid(grid.stem, grid_dir=grid.parent).emulator
    one = jax.jit(lambda e, p: e.spectrum("incident", p))
    many = jax.jit(
        lambda e, p: jax.vmap(lambda q: e.spectrum("incident", q))(p)
    )
    rng = np.random.default_rng(0)
    points = 10 ** rng.uniform([6, -4], [10, -1], (BATCH, 2))
    milliseconds = {}
    for name, call, at, n in (
        ("alone", one, points[0], 1),
        ("of many", many, points, BATCH),
    ):
        call(emulator, at).block_until_ready()
        times = []
        for _ in range(20):
            start = time.perf_counter()
            call(emulator, at).block_until_ready()
            times.append(time.perf_counter() - start)
        milliseconds[name] = 1e3 * median(times) / n
    return milliseconds


def leave_out(grid: Path, architecture: str, drop: str) -> dict[str, Any]:
    """Return the errors of all methods at left-out nodes."""
    experiment = hold_out(grid, drop, architecture=architecture, recoveries=0)
    print(f"{experiment}\n", flush=True)
    return {
        method: asdict(prediction.summary)
        for method, prediction in experiment.predictions[EMISSION].items()
    }


def main() -> None:
    """Measure results missing in the JSON file, writing after each step."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--json", type=Path, help="file to write")
    parser.add_argument(
        "--architecture",
        choices=sorted(ARCHITECTURES),
        help="measure only this architecture",
    )
    arguments = parser.parse_args()
    warnings.simplefilter("ignore")
    target = arguments.json
    rows: dict[str, dict] = {}
    if target is not None and target.exists():
        rows = json.loads(target.read_text())["architectures"]
    rows.pop(arguments.architecture, None)
    names = (
        [arguments.architecture]
        if arguments.architecture
        else ["residual_table", "pca", "three_component", "payne"]
    )
    with tempfile.TemporaryDirectory() as folder:
        grid = bc03.write_incident_grid(Path(folder))
        for name in names:
            row = rows.setdefault(name, {"held_out": {}})
            if "nodes" not in row:
                row.update(measure(grid, name))
                print(name, json.dumps(row, indent=2), flush=True)
                record.write(target, {"batch": BATCH, "architectures": rows})
        for title, drop in DROPS.items():
            for name in names:
                held_out = rows[name]["held_out"]
                if title not in held_out:
                    held_out[title] = leave_out(grid, name, drop)
                    record.write(
                        target, {"batch": BATCH, "architectures": rows}
                    )


if __name__ == "__main__":
    main()
