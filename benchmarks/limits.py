"""The limits of accuracy between metallicities.

Leaves out each inner metallicity of the full BC03 grid below 0.05 in turn.
First finds the blend of the two neighbours that fits the true spectra best:
with the best weight at each age in log flux, and with the best weight and
shift in age of each neighbour. No emulator can find these without the true
spectra. Then measures the gain from larger and longer trained emulators. No
setting was chosen with these numbers.

    python benchmarks/limits.py --json docs/benchmarks/limits.json
"""

import itertools
import tempfile
import time
import warnings
from dataclasses import asdict
from pathlib import Path

import numpy as np
import record
from numpy.typing import NDArray

from synthesizer_emulator import hold_out
from synthesizer_emulator.emulator.metrics import (
    fractional_residuals,
    scored_region,
    summarise,
)
from synthesizer_emulator.files.hdf5 import open_hdf5
from synthesizer_emulator.gridfile.reading import read_header
from synthesizer_emulator.sources import bc03

EMISSION = "spectra/incident"
LEFT_OUT = (0.0004, 0.004, 0.008, 0.02)
QUANTILES = ("p50", "p95", "p99")
FAINTEST = 1e-9  # of the peak; fainter logarithms are meaningless
SHIFTS = (-8, -4, 0, 4, 8)  # in nodes of age
# Settings of the default architecture, and the epochs of its training.
SIZES: dict[str, tuple[dict, int | None]] = {
    "64 components": ({"components": 64}, None),
    "128 components": ({"components": 128}, None),
    "192 components (default)": ({}, None),
    "a network three times as wide": ({"hidden": [384, 384, 384]}, None),
    "a fifth of the epochs": ({}, 300),
    "an ensemble of four": ({"ensemble": 4}, None),
}


def best_blends(
    log_flux: NDArray[np.float64], node: int, shifts: tuple[int, ...]
) -> NDArray[np.float64]:
    """Return the best blends of the neighbours of a metallicity.

    Args:
        log_flux (np.ndarray of float): The log flux, (n_ages, n_Z, n).
        node (int): The index of the metallicity to predict.
        shifts (tuple of int): The shifts in age to try for each neighbour.

    Returns:
        np.ndarray of float: The blend of log flux with the least squared
            error over bright pixels at each age, (n_ages, n).
    """
    n_ages = len(log_flux)
    weights = np.linspace(-0.2, 1.2, 29)
    blends = np.empty((n_ages, log_flux.shape[-1]))
    for age in range(n_ages):
        truth = log_flux[age, node]
        bright = truth > truth.max() + np.log(1e-5)
        least = np.inf
        for shift_below, shift_above in itertools.product(shifts, repeat=2):
            ages = age + shift_below, age + shift_above
            if min(ages) < 0 or max(ages) >= n_ages:
                continue
            below = log_flux[ages[0], node - 1]
            above = log_flux[ages[1], node + 1]
            a, b = (below - truth)[bright], (above - truth)[bright]
            squares = (
                (1 - weights) ** 2 * (a @ a)
                + 2 * weights * (1 - weights) * (a @ b)
                + weights**2 * (b @ b)
            )
            best = squares.argmin()
            if squares[best] < least:
                least, w = squares[best], weights[best]
                blends[age] = (1 - w) * below + w * above
    return blends


def oracles(path: Path) -> dict[str, dict[str, dict[str, float]]]:
    """Return the errors of the best blends, chosen with the true spectra."""
    with open_hdf5(path) as hdf:
        header = read_header(hdf, path)
        scored = scored_region(header.lam_angstrom)
        flux = hdf[EMISSION][...][..., scored].astype(np.float64)
    floor = FAINTEST * flux.max(axis=-1, keepdims=True)
    log_flux = np.log(np.maximum(flux, floor))
    results: dict[str, dict] = {}
    for name, shifts in (
        ("best weight for each age", (0,)),
        ("best weight and shifts for each age", SHIFTS),
    ):
        results[name] = {}
        for z in LEFT_OUT:
            node = int(np.argmin(np.abs(header.axes[1].values - z)))
            blend = np.exp(best_blends(log_flux, node, shifts))
            residuals = fractional_residuals(blend, flux[:, node], 1e-5)
            results[name][str(z)] = asdict(summarise(residuals))
    return results


def emulators(path: Path) -> tuple[dict[str, dict], dict[str, dict]]:
    """Return the errors of linear interpolation and of several emulators."""
    native: dict[str, dict] = {}
    results: dict[str, dict] = {}
    for name, (settings, epochs) in SIZES.items():
        start = time.perf_counter()
        results[name] = {}
        for z in LEFT_OUT:
            predictions = hold_out(
                path,
                f"metallicities={z}",
                settings=settings,
                training={} if epochs is None else {"epochs": epochs},
                recoveries=0,
                progress=False,
            ).predictions[EMISSION]
            native[str(z)] = asdict(predictions["synthesizer"].summary)
            results[name][str(z)] = asdict(predictions["emulator"].summary)
        seconds = (time.perf_counter() - start) / len(LEFT_OUT)
        results[name]["seconds"] = seconds
        print(f"{name}: {seconds:.0f} s each", flush=True)
    return native, results


def mean_ratios(
    native: dict[str, dict], rows: dict[str, dict]
) -> dict[str, float]:
    """Return ratios to Synthesizer's errors, averaged over metallicities."""
    return {
        q: float(
            np.mean([rows[str(z)][q] / native[str(z)][q] for z in LEFT_OUT])
        )
        for q in QUANTILES
    }


def main() -> None:
    """Measure, print and write the errors."""
    target = record.json_argument(__doc__)
    warnings.simplefilter("ignore")
    with tempfile.TemporaryDirectory() as folder:
        path = bc03.write_incident_grid(Path(folder))
        known = oracles(path)
        native, sizes = emulators(path)
    ratios = {
        name: mean_ratios(native, rows)
        for name, rows in {**known, **sizes}.items()
    }
    for name, row in ratios.items():
        cells = "  ".join(f"{q} {v:.3f}" for q, v in row.items())
        print(f"{name:40s} {cells}")
    seconds = {name: rows["seconds"] for name, rows in sizes.items()}
    record.write(
        target,
        {
            "ratios": ratios,
            "seconds": seconds,
            "synthesizer": native,
            "oracles": known,
            "emulators": sizes,
        },
    )


if __name__ == "__main__":
    main()
