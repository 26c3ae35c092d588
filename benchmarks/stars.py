"""Measure flows of the stars of galaxies against closed forms and simulations.

Trains on 200 analytic galaxies of 2,000 stars, and judges 40 that were left
out: the Kullback-Leibler divergence from the true density, a classifier that
tells drawn from true stars, and the magnitudes, colours and half-light radii
of both through an emulated grid, with the noise of resampling the true stars
beside them. Then the same, without a closed form, for cut-outs of CAMELS. The
trained flows are kept in a folder, and are trained once.
"""

import argparse
import json
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
from camels import COSMOLOGY, SETS, camels_folder, load_camels
from record import write

from synthesizer_emulator import EmulatedGrid
from synthesizer_emulator.stars import (
    AnalyticGalaxy,
    Cleaning,
    FlowConfig,
    GalaxyStars,
    StarEvidence,
    StarFlow,
    StarTraining,
    as_stars,
    clean,
    evaluate_stars,
)
from synthesizer_emulator.stars.plots import write_figures

TRAINING, LEFT_OUT, STARS = 200, 40, 2000
EXACT = ("stellar_mass", "bulge_fraction", "disc_age")
MILLION = 10**6

# Few and small galaxies need few parameters.
CAMELS_FLOW = {
    "conditions": ("stellar_mass", "median_age", "half_mass_radius"),
    "flow": FlowConfig(layers=3, width=16, depth=1),
    "training": StarTraining(epochs=200, batch_size=256, patience=30),
    "cosmo": COSMOLOGY,
}
CAMELS_LEFT_OUT = ("b0", "b9")


def analytic_sets(
    seed: int,
) -> list[tuple[list[AnalyticGalaxy], list[GalaxyStars]]]:
    """Return the galaxies and stars for training, and those left out."""
    rng = np.random.default_rng(seed)
    sets = []
    for n in (TRAINING, LEFT_OUT):
        galaxies = AnalyticGalaxy.draw_many(n, rng)
        sets.append((galaxies, [g.draw(STARS, rng) for g in galaxies]))
    return sets


def camels_sets() -> list[list[GalaxyStars]] | None:
    """Return the galaxies for training and those left out, if there are."""
    folder = camels_folder()
    if folder is None:
        return None
    galaxies = [g for name in SETS for g in load_camels(folder, name)]
    stars = as_stars(galaxies, cosmo=COSMOLOGY)
    left_out = [g for g in stars if g.name in CAMELS_LEFT_OUT]
    return [[g for g in stars if g.name not in CAMELS_LEFT_OUT], left_out]


def trained(
    folder: Path, name: str, fit: Callable[[Path], StarFlow]
) -> tuple[StarFlow, dict]:
    """Train a flow, or read it with its times if it is in the folder."""
    path, times = folder / f"{name}.hdf5", folder / f"{name}.json"
    if not times.exists():
        start = time.monotonic(), time.process_time()
        flow = fit(folder / f"{name}.checkpoint")
        end = time.monotonic(), time.process_time()
        flow.write(path)
        spent = {"wall_s": end[0] - start[0], "cpu_s": end[1] - start[1]}
        times.write_text(json.dumps(spent))
    flow = StarFlow.read(path)
    about = {
        "epochs": len(flow.about.history.epoch),
        "flow": flow.about.config,
        "training": flow.about.training,
    }
    return flow, {**about, **json.loads(times.read_text())}


def judged(evidence: StarEvidence) -> dict:
    """Return the numbers of a comparison."""
    found = {
        "galaxies": len(evidence.names),
        "loss": evidence.loss.mean(),
        "accuracy": evidence.accuracy,
        "accuracy_floor": evidence.accuracy_floor,
    }
    for name in (
        "wasserstein",
        "energy",
        "magnitudes",
        "colours",
        "spectra",
        "radii",
        "images",
    ):
        differences = getattr(evidence, name)
        drawn, floor = differences.medians
        found[name] = {
            "drawn": drawn,
            "floor": floor,
            "excess": differences.excess,
        }
    return found


def sampling(flow: StarFlow, given: dict) -> dict:
    """Return the time that drawing a million stars takes."""
    flow.draw(given, 20_000, 0)
    start = time.monotonic(), time.process_time()
    flow.draw(given, MILLION, 1)
    return {
        "stars": MILLION,
        "wall_s": time.monotonic() - start[0],
        "cpu_s": time.process_time() - start[1],
    }


def analytic(folder: Path, plots: Path | None, seed: int) -> dict:
    """Judge the flow of analytic galaxies."""
    (_, stars), (galaxies, left_out) = analytic_sets(seed)
    flow, about = trained(
        folder,
        f"analytic-{seed}",
        lambda checkpoint: StarFlow.fit(
            stars, conditions=EXACT, cleaning=None, checkpoint=checkpoint
        ),
    )
    kl = []
    for galaxy, own in zip(galaxies, left_out, strict=True):
        given = {name: getattr(galaxy, name) for name in EXACT}
        found = flow.log_prob(own, given)
        kl.append(float((galaxy.log_density(own) - found).mean()))
    print(f"KL {np.mean(kl):.4f} nats a star, median {np.median(kl):.4f}")
    evidence = evaluate_stars(
        flow, left_out, EmulatedGrid.example(), cleaning=None
    )
    print(evidence)
    if plots is not None:
        write_figures(evidence, plots)
    return {
        "training": about,
        "kl": {
            "mean": np.mean(kl),
            "error": np.std(kl) / np.sqrt(len(kl)),
            "median": np.median(kl),
            "largest": max(kl),
        },
        "left_out": judged(evidence),
        "million": sampling(flow, given),
    }


def camels(folder: Path) -> dict | None:
    """Judge a flow of CAMELS galaxies."""
    sets = camels_sets()
    if sets is None:
        return None
    flow, about = trained(
        folder,
        "camels",
        lambda checkpoint: StarFlow.fit(
            sets[0], checkpoint=checkpoint, **CAMELS_FLOW
        ),
    )
    evidence = evaluate_stars(flow, sets[1], EmulatedGrid.example())
    print(flow.about.cleaning)
    print(evidence)
    return {
        "training": about,
        "trained_on": len(flow.about.galaxies),
        "stars_trained_on": flow.about.cleaning.kept,
        "left_out_stars": [len(g) for g in clean(sets[1], Cleaning())[0]],
        "left_out": judged(evidence),
    }


def main() -> None:
    """Measure, and write the numbers and figures."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--json", type=Path, help="file to write")
    parser.add_argument("--flows", type=Path, default=Path("flows"))
    parser.add_argument("--plots", type=Path, help="folder of figures")
    parser.add_argument(
        "--seed",
        type=int,
        default=1,
        help="of the analytic galaxies; settings were chosen with 0",
    )
    given = parser.parse_args()
    given.flows.mkdir(exist_ok=True)
    results = {
        "seed": given.seed,
        "analytic": analytic(given.flows, given.plots, given.seed),
        "camels": camels(given.flows),
    }
    write(given.json, results)


if __name__ == "__main__":
    main()
