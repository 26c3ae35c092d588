r"""The error between the nodes: nodes left out, and predicted.

For each hold-out, writes the full BC03 grid without some nodes, builds its
emulator with the default settings and predicts the nodes left out; beside
it the native interpolation of the very same thinned grid, by Synthesizer's
own code. Nothing is chosen by these numbers.

    python benchmarks/between_nodes.py \\
        --json docs/benchmarks/between_nodes.json
"""

import tempfile
import warnings
from dataclasses import replace
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import record
from synthesizer.grid import Grid

from synthesizer_emulator import EmulatedGrid, build
from synthesizer_emulator.evaluation.metrics import judged_region
from synthesizer_emulator.gridfile import (
    GridHeader,
    create_emission,
    open_grid,
    read_header,
    write_atomically,
    write_header,
)
from synthesizer_emulator.sources import bc03

EMISSION = "spectra/incident"
JUDGED_METALLICITIES = (0.0004, 0.004, 0.008, 0.02)


def hold_outs(header: GridHeader) -> dict[str, tuple[int, np.ndarray]]:
    """Return for each hold-out its axis and the indices left out."""
    ages, metals = (axis.values for axis in header.axes)
    chosen = {"every 2nd age": (0, np.arange(1, len(ages) - 1, 2))}
    for metallicity in JUDGED_METALLICITIES:
        index = np.flatnonzero(np.isclose(metals, metallicity))
        chosen[f"Z = {metallicity:g}"] = (1, index)
    return chosen


def without(
    path: Path, header: GridHeader, axis: int, left_out: np.ndarray
) -> Path:
    """Write a grid without some nodes of an axis."""
    kept = np.setdiff1d(np.arange(header.shape[axis]), left_out)
    axes = list(header.axes)
    axes[axis] = replace(axes[axis], values=axes[axis].values[kept])
    thin = replace(
        header,
        axes=tuple(axes),
        log10_specific_ionising_luminosity={},
        star_fraction=None,
    )
    with open_grid(path) as hdf:
        values = np.take(hdf[EMISSION][...], kept, axis=axis)
    target = path.with_name("thinned.hdf5")
    with write_atomically(target) as hdf:
        write_header(hdf, thin)
        create_emission(hdf, EMISSION, values.shape, "erg/s/Hz")[...] = values
    return target


def quantiles(predicted: np.ndarray, true: np.ndarray) -> dict[str, float]:
    """Return quantiles of the error over bright pixels."""
    bright = true > 1e-5 * true.max(axis=-1, keepdims=True)
    errors = np.abs(predicted[bright] / true[bright] - 1)
    p50, p95, p99 = np.quantile(errors, [0.5, 0.95, 0.99])
    return {"p50": p50, "p95": p95, "p99": p99}


def measure(folder: Path) -> dict[str, dict[str, dict[str, float]]]:
    """Return the errors of each hold-out by both schemes."""
    path = bc03.write_incident_grid(folder)
    with open_grid(path) as hdf:
        header = read_header(hdf)
        true = hdf[EMISSION][...]
    judged = judged_region(header.lam)
    results = {}
    for name, (axis, left_out) in hold_outs(header).items():
        target = without(path, header, axis, left_out)
        build(target)
        native = Grid("thinned", grid_dir=folder)
        emulator = EmulatedGrid("thinned", grid_dir=folder).emulator
        nodes = [a.values for a in header.axes]
        nodes[axis] = nodes[axis][left_out]
        points = np.stack(np.meshgrid(*nodes, indexing="ij"), axis=-1)
        points = points.reshape(-1, 2)
        expected = np.take(true, left_out, axis=axis)
        expected = expected.reshape(len(points), -1)[:, judged]
        linear = native.interpolate_grid_at_axes_value(
            spectra_type="incident",
            ages=points[:, 0],
            metallicities=points[:, 1],
        )["spectra"]._lnu[:, judged]
        evaluate = jax.jit(
            jax.vmap(lambda p, e=emulator: e.spectrum("incident", p))
        )
        emulated = np.asarray(evaluate(jnp.asarray(points)))[:, judged]
        results[name] = {
            "native": quantiles(linear, expected),
            "emulated": quantiles(emulated, expected),
        }
    return results


def main() -> None:
    """Measure, print and write."""
    target = record.json_argument(__doc__)
    warnings.simplefilter("ignore")
    with tempfile.TemporaryDirectory() as folder:
        held_out = measure(Path(folder))
    for name, both in held_out.items():
        for scheme, row in both.items():
            cells = ", ".join(f"{q} {100 * v:.4g}%" for q, v in row.items())
            print(f"{name:<14} {scheme:<9} {cells}")
        ratio = (both["emulated"][q] / both["native"][q] for q in row)
        print(f"{name:<14} ratio     {', '.join(f'{r:.3f}' for r in ratio)}")
    record.write(target, {"held_out": held_out})


if __name__ == "__main__":
    main()
