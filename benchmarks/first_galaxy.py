"""The time to the first galaxy of a process, stage by stage.

Each process imports the package, opens the grid of `photometry.py` with
weights that ship with the package, translates the emission model and traces,
compiles and evaluates the photometry of galaxies. The first process starts
with an empty cache of compiled functions; the second finds what the first
compiled.

    python benchmarks/first_galaxy.py --json docs/benchmarks/first_galaxy.json
"""

import json
import os
import subprocess
import sys
import tempfile
import time
from itertools import pairwise

N_GALAXIES = 1024
ROUNDS = 3
CHILD = "--child"
CACHE = "JAX_COMPILATION_CACHE_DIR"


def stages() -> dict[str, float]:
    """Return the seconds of each stage in this process."""
    times = [time.perf_counter()]
    # The heaviest imports are part of what is measured.
    import jax
    import jax.numpy as jnp
    import photometry

    times.append(time.perf_counter())
    grid = photometry.open_grid()
    times.append(time.perf_counter())
    model = photometry.make_model(grid, fixed=photometry.LOG_U)
    values = photometry.used(model, photometry.galaxies(N_GALAXIES))
    values = jax.tree.map(lambda v: jnp.asarray(v, float), model.plain(values))
    times.append(time.perf_counter())
    galaxies = jax.jit(jax.vmap(type(model).galaxy, (None, 0)))
    traced = galaxies.trace(model, values)
    times.append(time.perf_counter())
    compiled = traced.lower().compile()
    times.append(time.perf_counter())
    jax.block_until_ready(compiled(model, values))
    times.append(time.perf_counter())
    names = ("import", "grid", "translate", "trace", "compile", "run")
    seconds = (after - before for before, after in pairwise(times))
    return {
        **dict(zip(names, seconds, strict=True)),
        "all": times[-1] - times[0],
    }


def child(cache: str) -> dict[str, float]:
    """Return the stages of a new process with a cache of its own."""
    done = subprocess.run(
        [sys.executable, __file__, CHILD],
        env={**os.environ, CACHE: cache},
        stdout=subprocess.PIPE,
        text=True,
        check=True,
    )
    return json.loads(done.stdout.splitlines()[-1])


def main() -> None:
    """Measure, print and write the results."""
    import numpy as np
    import record

    target = record.json_argument(__doc__)
    rounds = []
    for _ in range(ROUNDS):
        with tempfile.TemporaryDirectory() as cache:
            rounds.append([child(cache), child(cache)])
    results = {
        process: {
            stage: float(np.median([both[i][stage] for both in rounds]))
            for stage in rounds[0][i]
        }
        for i, process in enumerate(("first process", "second process"))
    }
    for process, seconds in results.items():
        print(process, {k: round(v, 3) for k, v in seconds.items()})
    record.write(target, {"galaxies": N_GALAXIES, "seconds": results})


if __name__ == "__main__":
    if CHILD in sys.argv:
        print(json.dumps(stages()))
    else:
        main()
