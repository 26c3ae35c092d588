"""Measure flows of the stars of galaxies against closed forms and simulations.

Trains on 200 analytic galaxies of 2,000 stars, and judges 20 that were left
out: the Kullback-Leibler divergence from the true density, a classifier that
tells drawn from true stars, and the magnitudes, colours and half-light radii
of both through an emulated grid, with the noise of resampling the true stars
beside them. Then the same, without a closed form, for cut-outs of CAMELS. The
trained flows are kept in a folder, and are trained once.
"""

import argparse
import json
import time
from pathlib import Path

import numpy as np

from synthesizer_emulator.stars import AnalyticGalaxy, StarFlow

TRAINING, LEFT_OUT, STARS = 200, 20, 2000
EXACT = ("stellar_mass", "bulge_fraction", "disc_age")


def analytic_sets():
    """Return the galaxies and stars for training, and those left out."""
    rng = np.random.default_rng(0)
    sets = []
    for n in (TRAINING, LEFT_OUT):
        galaxies = AnalyticGalaxy.draw_many(n, rng)
        sets.append((galaxies, [g.draw(STARS, rng) for g in galaxies]))
    return sets


def analytic_flow(folder: Path) -> tuple[StarFlow, dict]:
    """Train the flow of analytic galaxies, or read it with its times."""
    path, times = folder / "analytic.hdf5", folder / "analytic.json"
    if not times.exists():
        (_, stars), _ = analytic_sets()
        start = time.monotonic(), time.process_time()
        flow = StarFlow.fit(
            stars,
            conditions=EXACT,
            cleaning=None,
            checkpoint=folder / "analytic.checkpoint",
        )
        end = time.monotonic(), time.process_time()
        flow.write(path)
        spent = {"wall_s": end[0] - start[0], "cpu_s": end[1] - start[1]}
        times.write_text(json.dumps(spent))
    return StarFlow.read(path), json.loads(times.read_text())


def main() -> None:
    """Measure, and write the numbers."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--json", type=Path, help="file to write")
    parser.add_argument("--flows", type=Path, default=Path("flows"))
    given = parser.parse_args()
    given.flows.mkdir(exist_ok=True)
    flow, times = analytic_flow(given.flows)
    print(flow, times)


if __name__ == "__main__":
    main()
