"""Are posteriors right, how sharp are they, and what do they cost?

Fits mock galaxies of seven parameters in eleven bands, with the shipped
weights of BC03 and Cloudy, dust, intergalactic absorption and free redshifts,
with errors of 5% and a depth in each band. Prints how often the truth lies in
the intervals (`calibrate`), redshift errors, the processor time for each
galaxy and effective sample, how much broader posteriors are than those of runs
with more live points, and the agreement of two samplers; and what becomes of
galaxies with other gas and dust than those of the fit. bagpipes (Carnall et
al. 2018, MNRAS 480, 4379) fits one of the galaxies, its own model of as many
parameters, with the same sampler, in the same run.

    python benchmarks/posteriors.py --mocks 100 --json posteriors.json
"""

import argparse
import multiprocessing
import os
import sys
import tempfile
import time
from concurrent.futures import ProcessPoolExecutor
from functools import cache
from pathlib import Path
from typing import Any

import jax
import numpy as np
import record
from synthesizer.emission_models import TotalEmission
from synthesizer.emission_models.attenuation import PowerLaw
from synthesizer.emission_models.transformers.igm import Inoue14
from tqdm import tqdm
from unyt import angstrom

from synthesizer_emulator import EmulatedGrid
from synthesizer_emulator.evaluation.measures.filters import NIRCAM_WIDE
from synthesizer_emulator.inference import Fit, Posterior
from synthesizer_emulator.inference.calibration import compare, make_mocks
from synthesizer_emulator.library import History, LogUniform, Uniform

GRID = "bagpipes-bc03-2016-miles_kroupa_cloudy-c25"
RESOLUTION = 300

# Wide bands of ACS as top hats, Angstrom.
ACS = {
    "HST/ACS_WFC.F435W": (3900.0, 4800.0),
    "HST/ACS_WFC.F606W": (4800.0, 7100.0),
    "HST/ACS_WFC.F814W": (7000.0, 9500.0),
}
FILTERS = {**ACS, **NIRCAM_WIDE}

# The ionisation parameter (log10) and the slope of the dust curve of galaxies
# that the fit does not describe.
OTHER = (-3.5, -1.3)

# The standard deviation in all bands, nJy, and as a fraction of the flux.
DEPTH = 3.0
FRACTION = 0.05


@cache
def make_fit(log10_u: float = -2.0, slope: float = -0.7) -> Fit:
    """Return the fit, of galaxies with this ionisation and dust curve."""
    lam = np.exp(np.arange(np.log(900.0), np.log(61_500.0), 1 / RESOLUTION))
    grid = EmulatedGrid(GRID, new_lam=lam * angstrom)
    grid = grid.collapse(
        "log10ionisation_parameters", "emulator", value=log10_u
    )
    return Fit(
        TotalEmission(grid, dust_curve=PowerLaw(slope=slope)),
        sf_hist=History(
            "LogNormal",
            {
                "tau": Uniform(0.1, 2.0),
                "peak_age": Uniform(0.0, 0.99, of="max_age"),
                "max_age": Uniform(0.1, 1.0, of="age_of_universe"),
            },
        ),
        metal_dist=History(
            "DeltaConstant", {"metallicity": LogUniform(2e-4, 0.04)}
        ),
        stars={
            "log10initial_mass": Uniform(9.0, 12.0),
            "tau_v": Uniform(0.0, 3.0),
        },
        redshift=Uniform(0.01, 6.0),
        filters=FILTERS,
        igm=Inoue14,
    )


def mocks(
    n: int, *of_galaxies: float
) -> tuple[np.ndarray, list[tuple[np.ndarray, np.ndarray]]]:
    """Return the truths of n galaxies, (n, d), and their fluxes and errors.

    Galaxies follow the priors, whether they are detected or not: a selection
    would make another prior. They may have another ionisation parameter and
    dust curve than those of the fit.
    """
    fit = make_fit(*of_galaxies)
    template = fit.photometry(np.ones(len(FILTERS)), np.ones(len(FILTERS)))
    truths, _ = make_mocks(fit, template, n)
    model = fit.predict(truths)["photometry"]
    errors = np.hypot(DEPTH, FRACTION * model)
    noise = np.random.default_rng(1).normal(size=model.shape)
    return truths, list(zip(model + errors * noise, errors, strict=True))


def run(
    observed: tuple[np.ndarray, np.ndarray],
    method: str,
    seed: int,
    options: dict,
) -> tuple[Posterior, float]:
    """Fit one galaxy; return the posterior and the processor time, s."""
    fit = make_fit()
    data = fit.photometry(*observed)
    fit.log_likelihood(np.full((1, fit.dimensions), 0.5), data)
    start = time.process_time()
    posterior = fit.run(data, method, seed=seed, progress=False, **options)
    return posterior, time.process_time() - start


def run_all(
    galaxies: list[tuple[np.ndarray, np.ndarray]],
    method: str,
    pool: ProcessPoolExecutor,
    **options: object,
) -> tuple[list[Posterior], np.ndarray]:
    """Fit galaxies in several processes; return posteriors and times."""
    futures = [
        pool.submit(run, galaxy, method, seed, options)
        for seed, galaxy in enumerate(galaxies)
    ]
    results = [future.result() for future in tqdm(futures, desc=method)]
    return [r[0] for r in results], np.array([r[1] for r in results])


def summary(posteriors: list[Posterior], seconds: np.ndarray) -> dict:
    """Return times and effective samples."""
    sizes = np.array([p.samples.effective_size for p in posteriors])
    return {
        "seconds": float(np.median(seconds)),
        "most seconds": float(seconds.max()),
        "effective samples": float(np.median(sizes)),
        "fewest effective samples": float(sizes.min()),
        "effective samples a second": float(np.median(sizes / seconds)),
        "warnings": sum(bool(p.warnings) for p in posteriors),
    }


def likelihood(galaxy: tuple[np.ndarray, np.ndarray]) -> dict:
    """Return the time of the likelihood of one galaxy, ms, compiled."""
    fit = make_fit()
    target = fit.target(fit.photometry(*galaxy))
    points = np.random.default_rng(0).random((5120, target.dimensions))
    point = jax.numpy.asarray(points[0], float)
    times = {}
    for name, function in (
        ("value", target.function),
        ("gradient", jax.value_and_grad(target.function, argnums=1)),
    ):
        compiled = jax.jit(function)
        jax.block_until_ready(compiled(target.arguments, point))
        start = time.perf_counter()
        for _ in range(200):
            jax.block_until_ready(compiled(target.arguments, point))
        times[name] = (time.perf_counter() - start) / 200
    target(points)
    start = time.perf_counter()
    target(points)
    times["value, in batches"] = (time.perf_counter() - start) / len(points)
    return {name: 1e3 * seconds for name, seconds in times.items()}


def redshifts(posteriors: list[Posterior], truths: np.ndarray) -> dict:
    """Return the scatter of redshifts and the outliers beyond 15%."""
    true = make_fit().parameters(truths)["redshift"]
    found = np.array([p.quantiles()["redshift"][1] for p in posteriors])
    errors = (found - true) / (1.0 + true)
    deviation = np.abs(errors - np.median(errors))
    return {
        "NMAD": float(1.4826 * np.median(deviation)),
        "outliers": float(np.mean(np.abs(errors) > 0.15)),
    }


def differences(
    first: list[Posterior], second: list[Posterior]
) -> dict[str, float]:
    """Return how two samplers differ for the galaxies that both fitted."""
    both = list(zip(first, second, strict=False))
    shifts, ratios = [], []
    for a, b in both:
        qa, qb = (
            np.array(list(p.quantiles((0.16, 0.5, 0.84)).values()))
            for p in (a, b)
        )
        width = 0.5 * (qb[:, 2] - qb[:, 0])
        shifts.append((qa[:, 1] - qb[:, 1]) / width)
        ratios.append(0.5 * (qa[:, 2] - qa[:, 0]) / width)
    evidence = [a.log_evidence - b.log_evidence for a, b in both]
    return {
        "median shift, sigma": float(np.median(np.abs(shifts))),
        "largest shift, sigma": float(np.max(np.abs(shifts))),
        "median ratio of widths": float(np.median(ratios)),
        "widths within 10%": float(
            np.mean(np.abs(np.array(ratios) - 1.0) < 0.1)
        ),
        "median difference of ln evidence": float(np.median(np.abs(evidence))),
        "largest difference of ln evidence": float(np.max(np.abs(evidence))),
    }


def run_bagpipes(flux: np.ndarray, error: np.ndarray, n_networks: int) -> dict:
    """Return the times of bagpipes for one galaxy."""
    import bagpipes as pipes

    # The class of the same name hides the module.
    module: Any = sys.modules["bagpipes.fitting.fit"]
    samplers = []

    def sampler(*args: object, **kwargs: object) -> object:
        samplers.append(module_sampler(*args, **kwargs))
        return samplers[-1]

    module_sampler, module.Sampler = module.Sampler, sampler
    here = Path.cwd()
    with tempfile.TemporaryDirectory() as folder:
        os.chdir(folder)
        for name in ("posterior", "plots", "cats"):
            Path("pipes", name).mkdir(parents=True)
        files = []
        for code, (low, high) in FILTERS.items():
            edges = [0.999 * low, low, high, 1.001 * high]
            np.savetxt(
                f"{code.rpartition('.')[2]}.txt",
                np.c_[edges, [0.0, 1.0, 1.0, 0.0]],
            )
            files.append(f"{code.rpartition('.')[2]}.txt")
        galaxy = pipes.galaxy(
            "1",
            lambda _: np.c_[flux, error] * 1e-3,
            spectrum_exists=False,
            filt_list=files,
        )
        model = {
            "redshift": (0.01, 6.0),
            "lognormal": {
                "tmax": (0.1, 13.0),
                "fwhm": (0.1, 13.0),
                "massformed": (9.0, 12.0),
                "metallicity": (0.01, 2.0),
            },
            "dust": {"type": "Calzetti", "Av": (0.0, 3.0), "eta": 1.0},
            "nebular": {"logU": (-4.0, -1.0)},
        }
        fit = pipes.fit(galaxy, model, run="race")
        point = np.full(fit.fitted_model.ndim, 0.5)
        prior = fit.fitted_model.prior.transform(point)
        fit.fitted_model.lnlike(prior)
        start = time.process_time()
        for _ in range(20):
            fit.fitted_model.lnlike(prior)
        likelihood = (time.process_time() - start) / 20
        start = time.process_time()
        fit.fit(verbose=False, sampler="nautilus", n_networks=n_networks)
        seconds = time.process_time() - start
        os.chdir(here)
    module.Sampler = module_sampler
    size = float(samplers[-1].n_eff)
    return {
        "likelihood, ms": 1e3 * likelihood,
        "seconds": seconds,
        "effective samples": size,
        "effective samples a second": size / seconds,
    }


def arguments() -> argparse.Namespace:
    """Return the arguments of the command line."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--mocks", type=int, default=100)
    parser.add_argument("--processes", type=int, default=2)
    parser.add_argument("--second", default="nss", help="another sampler")
    parser.add_argument(
        "--compared",
        type=int,
        default=10,
        help="galaxies of the other sampler and of another model",
    )
    parser.add_argument(
        "--long",
        type=int,
        default=10,
        help="galaxies of long runs, of some minutes each",
    )
    parser.add_argument(
        "--networks",
        type=int,
        nargs="*",
        default=[4, 1],
        help="networks of nautilus in bagpipes",
    )
    parser.add_argument("--json", type=Path)
    return parser.parse_args()


def main() -> None:
    """Fit, compare, and print; write what there is after each stage."""
    given = arguments()
    results: dict = {"galaxies": given.mocks}

    def report(name: str, value: dict) -> None:
        print(name, value, flush=True)
        results[name] = value
        record.write(given.json, results)

    truths, galaxies = mocks(given.mocks)
    some = galaxies[: given.compared]
    report("likelihood, ms", likelihood(galaxies[0]))
    context = multiprocessing.get_context("spawn")
    # One thread each: the processes share the cores.
    os.environ["XLA_FLAGS"] = (
        "--xla_cpu_multi_thread_eigen=false intra_op_parallelism_threads=1"
    )
    with ProcessPoolExecutor(given.processes, context) as pool:
        posteriors, seconds = run_all(galaxies, "nested", pool)
        calibration = compare(make_fit().names, truths, posteriors)
        print(calibration)
        for level in (0.68, 0.95):
            report(f"in {level:.0%}", calibration.coverage(level))
        report("p-values", calibration.p_values())
        report("redshifts", redshifts(posteriors, truths))
        report("nested", summary(posteriors, seconds))
        other, times = run_all(some, given.second, pool)
        report(given.second, summary(other, times))
        report(
            f"nested against {given.second}", differences(posteriors, other)
        )
        if given.long:
            long, times = run_all(
                galaxies[: given.long],
                "nested",
                pool,
                n_live=1500,
                n_eff=10_000,
            )
            report("long runs", summary(long, times))
            for name, found in (
                ("nested", posteriors),
                (given.second, other),
            ):
                report(f"{name} against long runs", differences(found, long))
        # What happens if the model is not that of the galaxies.
        truths, wrong = mocks(given.compared, *OTHER)
        posteriors, _ = run_all(wrong, "nested", pool)
        calibration = compare(make_fit().names, truths, posteriors)
        report(
            "galaxies of another model",
            {
                "in 68%": calibration.coverage(0.68),
                "chi-squared": float(
                    np.median([p.chi_squared for p in posteriors])
                ),
                "warnings": sum(bool(p.warnings) for p in posteriors),
            },
        )
    for n_networks in given.networks:
        report(
            f"bagpipes, {n_networks} networks",
            run_bagpipes(*galaxies[0], n_networks),
        )


if __name__ == "__main__":
    main()
