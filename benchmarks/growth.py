"""The time and peak memory of making a number of galaxies.

`library.py` runs this script once for each number, so that the peak memory is
that of this number. It needs neither Synference nor a grid.

    python benchmarks/growth.py model.pickle 1000
"""

import json
import pickle
import sys
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import jax
import numpy as np

from synthesizer_emulator.galaxies.batches import in_batches
from synthesizer_emulator.galaxies.model import GalaxyModel


def spread_out(values: Mapping[str, Any], n: int) -> dict[str, Any]:
    """Return the values of n galaxies, by repeating the input."""
    return jax.tree.map(lambda v: np.resize(v, (n, *v.shape[1:])), values)


def seconds(
    model: GalaxyModel, values: Mapping[str, Any]
) -> tuple[float, float]:
    """Return the wall-clock and the CPU time of making galaxies."""
    start, before = time.perf_counter(), time.process_time()
    for _ in in_batches(model, values):
        pass
    return time.perf_counter() - start, time.process_time() - before


def peak_megabytes() -> float:
    """Return the peak memory of this process, in MB.

    `getrusage` is not used, because it includes the parent process.
    """
    status = Path("/proc/self/status").read_text()
    (line,) = (row for row in status.splitlines() if row.startswith("VmHWM"))
    return int(line.split()[1]) / 1024


def main() -> None:
    """Measure, and print the results as JSON."""
    path, n = sys.argv[1:]
    model, values = pickle.loads(Path(path).read_bytes())
    first, _ = seconds(model, spread_out(values, 1))
    wall, processor = seconds(model, spread_out(values, int(n)))
    print(
        json.dumps(
            {
                "seconds": wall,
                "processor_seconds": processor,
                "first_seconds": first,
                "megabytes": peak_megabytes(),
            }
        )
    )


if __name__ == "__main__":
    main()
