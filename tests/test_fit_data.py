"""Photometry, lines and a spectrum of one galaxy, fitted together."""

import warnings
from dataclasses import replace

import numpy as np
import pytest
from conftest import LINE_IDS
from scipy import stats
from synthesizer.emission_models import NebularEmission
from synthesizer.exceptions import (
    InconsistentArguments,
    IncorrectUnits,
    MissingLines,
    MissingSpectraType,
)
from unyt import Myr, W, angstrom, cm, erg, km, m, nJy, s

from synthesizer_emulator.inference import (
    Fit,
    LineFluxes,
    Posterior,
    Spectrum,
    plot_sed,
    plot_spectrum,
)
from synthesizer_emulator.library import History, LogUniform, Normal, Uniform

pytestmark = pytest.mark.filterwarnings("ignore::RuntimeWarning")
warnings.filterwarnings("ignore", "NebularEmission requires")

FILTERS = {"g": (4000.0, 5500.0), "r": (5500.0, 7000.0)}
LINES = LINE_IDS[1:]
SIGMA_V = {"sigma_v": Uniform(100.0, 300.0, units="km/s")}


def make_fit(grid, **changed):
    options = {
        "filters": FILTERS,
        "lines": LINES,
        "spectrum": SIGMA_V,
        "redshift": Uniform(0.0, 0.2),
    }
    return Fit(
        NebularEmission(grid),
        sf_hist=History("Constant", {"max_age": 10.0 * Myr}),
        metal_dist=History("DeltaConstant", {"metallicity": 0.01}),
        stars={"log10initial_mass": Uniform(8.0, 11.0)},
        **options | changed,
    )


@pytest.fixture(scope="module")
def fit(emulated):
    return make_fit(emulated)


@pytest.fixture(scope="module")
def data(fit):
    """All data of the galaxy in the middle of the prior, with noise."""
    model = fit.predict(np.full((1, 3), 0.5))
    lam = np.geomspace(5000.0, 6500.0, 40)
    flat = Spectrum.from_fluxes(lam, np.ones(40) * nJy, np.ones(40) * nJy, 5.0)
    pixels = fit.predict(np.full((1, 3), 0.5), flat)["spectrum"][0]
    rng = np.random.default_rng(0)
    bands, lines = model["photometry"][0], model["line_fluxes"][0]

    def noisy(truth):
        return truth * (1.0 + 0.1 * rng.normal(size=len(truth)))

    return (
        fit.photometry(noisy(bands), 0.1 * bands),
        fit.line_fluxes(noisy(lines), 0.1 * lines),
        Spectrum.from_fluxes(
            lam, noisy(pixels) * nJy, 0.1 * pixels * nJy, 5.0
        ),
    )


@pytest.mark.slow
def test_the_likelihoods_of_all_data_multiply(fit, data):
    points = np.random.default_rng(1).random((20, 3))
    model = fit.predict(points, data)
    kinds = ("photometry", "line_fluxes", "spectrum")
    expected = [
        stats.norm.logpdf(
            np.asarray(d.flux, float), model[kind], np.asarray(d.error, float)
        ).sum(axis=1)
        for kind, d in zip(kinds, data, strict=True)
    ]
    np.testing.assert_allclose(
        fit.log_likelihood(points, data), sum(expected), rtol=1e-4, atol=0.05
    )
    np.testing.assert_allclose(
        fit.log_likelihood(points, data[1]), expected[1], rtol=1e-4, atol=0.05
    )
    assert fit.names == (
        "redshift",
        "stars/log10initial_mass",
        "spectrum/sigma_v",
    )


@pytest.mark.slow
def test_the_lines_are_those_of_a_library(fit):
    points = fit.library.draws.rows(slice(0, 4), 2)
    made = fit.library.make(slice(0, 4))
    np.testing.assert_allclose(
        fit.predict(np.c_[points, np.full(4, 0.5)])["line_fluxes"],
        made["line_fluxes/nebular"],
        rtol=1e-5,
    )


@pytest.mark.slow
def test_known_values_are_not_sampled(fit, data, tmp_path):
    known = {"redshift": 0.1, "spectrum/sigma_v": 200.0}
    posterior = fit.run(
        data, known=known, n_live=100, n_eff=300, progress=False
    )
    for name, value in known.items():
        np.testing.assert_array_equal(posterior.parameters[name], value)
        np.testing.assert_array_equal(posterior.prior[name], value)
    # The mass is a scale: its posterior is that of a mean of ratios.
    mass = 10.0 ** posterior.parameters["stars/log10initial_mass"]
    best = fit.predict(np.full((1, 3), 0.5), data)
    kinds = ("photometry", "line_fluxes", "spectrum")
    model, flux, error = (
        np.concatenate([np.ravel(values) for values in arrays])
        for arrays in (
            [best[kind] for kind in kinds],
            [d.flux for d in data],
            [d.error for d in data],
        )
    )
    weights = (model / error) ** 2
    expected = 10.0**9.5 * np.average(flux / model, weights=weights)
    spread = 10.0**9.5 / np.sqrt(weights.sum())
    mean = posterior.weights @ mass
    assert abs(mean - expected) < 0.2 * spread
    deviation = np.sqrt(posterior.weights @ (mass - mean) ** 2)
    assert abs(deviation / spread - 1.0) < 0.15
    tree = posterior.to_datatree(100)
    assert tree["observed_data"]["line_fluxes"].shape == (2,)
    assert tree["best_model"]["spectrum"].shape == (40,)
    # What takes models to the pixels is made again from the file.
    posterior.write(tmp_path / "galaxy.nc")
    again = Posterior.read(tmp_path / "galaxy.nc")
    assert again.data.spectrograph is None
    np.testing.assert_array_equal(
        fit.log_likelihood(again.samples.points[:9], again.data),
        fit.log_likelihood(again.samples.points[:9], data),
    )
    np.testing.assert_array_equal(
        again.best_model["spectrum"], posterior.best_model["spectrum"]
    )
    assert len(plot_spectrum(again).axes) == 2
    assert len(plot_sed(again, fit, n=3).axes) == 2


def test_known_values_of_any_prior(emulated):
    fit = make_fit(emulated, redshift=Normal(0.1, 0.05, low=0.0, high=0.2))
    points, free = fit.hypercube.points({"redshift": [0.05, 0.12]})
    np.testing.assert_allclose(
        fit.parameters(points)["redshift"], [0.05, 0.12], rtol=1e-9
    )
    np.testing.assert_array_equal(free, [1, 2])
    for name, value, message in (
        ("redshift", 0.3, r"within its prior, 0 to 0.2; got 0.3"),
        ("redshif", 0.1, r"Did you mean 'redshift'"),
    ):
        with pytest.raises(InconsistentArguments, match=message):
            fit.hypercube.points({name: value})
    with pytest.raises(
        InconsistentArguments, match=r"got 0\.3 for 'b', and .* for 1 others"
    ):
        fit.hypercube.points(
            {"redshift": [0.1, 0.3, 0.4]}, ids=np.array(["a", "b", "c"])
        )


def test_known_values_have_units(emulated):
    fit = make_fit(emulated, redshift=0.1)
    name = "spectrum/sigma_v"
    points, _ = fit.hypercube.points({name: 2e5 * m / s})
    np.testing.assert_allclose(fit.parameters(points)[name], 200.0, rtol=1e-9)
    with pytest.raises(IncorrectUnits, match=r"sigma_v.*km/s"):
        fit.hypercube.points({name: 200.0 * angstrom})
    with pytest.raises(InconsistentArguments, match=r"must be a number"):
        fit.hypercube.points({name: "200"})


@pytest.mark.slow
def test_the_chi_squared_has_the_spectrum(fit, data):
    """A spectrum with half the errors has four times the chi-squared."""
    _, _, spectrum = data
    sharper = replace(spectrum, error=0.25 * spectrum.error)
    options = {"n_live": 50, "n_eff": 100, "progress": False}
    posterior = fit.run(spectrum, **options)
    best = posterior.best_model["spectrum"]
    expected = np.sum(((spectrum.flux - best) / spectrum.error) ** 2)
    np.testing.assert_allclose(posterior.chi_squared, expected, rtol=1e-4)
    assert not any("spectrum" in text for text in posterior.warnings)
    wrong = fit.run(sharper, **options)
    assert any("each of its 40 pixels" in text for text in wrong.warnings)


def test_spectra_sharper_than_the_grid_are_warned_of(fit):
    lam = np.geomspace(5000.0, 6500.0, 40)
    flux = np.ones(40) * nJy
    with pytest.warns(RuntimeWarning, match=r"wavelengths of the\s+grid"):
        fit.data(Spectrum.from_fluxes(lam, flux, flux, 1e4))


def test_units_of_lines():
    fluxes = LineFluxes.from_fluxes(
        [1e-19 * W / m**2, 2e-16 * erg / s / cm**2],
        [1e-17, 1e-17],
        LINES,
        floor=0.1,
    )
    np.testing.assert_allclose(fluxes.flux, [1e-16, 2e-16], rtol=1e-6)
    np.testing.assert_allclose(
        fluxes.error, np.hypot(1e-17, [1e-17, 2e-17]), rtol=1e-6
    )


def test_bad_data(emulated, fit, data):
    photometry, _, spectrum = data
    only_bands = make_fit(emulated, lines=None, spectrum=None)
    flat = np.ones(40) * nJy
    with_polynomial = Spectrum.from_fluxes(
        np.geomspace(5000.0, 6500.0, 40) * angstrom,
        flat,
        flat,
        5.0,
        calibration_degree=2,
    )
    outliers = make_fit(
        emulated, spectrum=SIGMA_V | {"outlier_fraction": Uniform(0.0, 0.1)}
    )
    for call, message in (
        (lambda: fit.data([]), r"must not be empty"),
        (lambda: fit.data([photometry] * 2), r"at most one each"),
        (lambda: fit.data({"g": 1.0}), r"Fit.photometry.*got a dict"),
        (lambda: only_bands.line_fluxes([1.0], [1.0]), r"has no lines"),
        (lambda: only_bands.data(spectrum), r"no parameters of a spectrum"),
        (lambda: make_fit(emulated, spectrum={}), r"sigma_v"),
        (
            lambda: make_fit(emulated, spectrum=SIGMA_V | {"jiter": 0.1}),
            r"Did you mean 'jitter'",
        ),
        (
            lambda: make_fit(
                emulated, filters=None, lines=None, spectrum=None
            ),
            r"something to compare",
        ),
        (
            lambda: make_fit(emulated, redshift=Normal(1.0, 0.05)).data(
                spectrum
            ),
            r"'redshift' must be bounded",
        ),
        (lambda: outliers.data(with_polynomial), r"'coefficients' a prior"),
    ):
        with pytest.raises(InconsistentArguments, match=message):
            call()


@pytest.mark.parametrize(
    ("of_spectrum", "message"),
    [
        (
            {"sigma_v": Uniform(-50.0, 300.0, units="km/s")},
            r"'spectrum/sigma_v' must be at least 0, got .*-50.* Give a prior",
        ),
        ({"sigma_v": -50.0 * km / s}, r"from -50 to -50. Give another value"),
        (
            {"sigma_v": Normal(200.0, 50.0, units="km/s", low=0.0)},
            r"'sigma_v' must be bounded",
        ),
        ({"jitter": Uniform(-0.1, 0.1)}, r"'spectrum/jitter' must be at l"),
        ({"jitter": Uniform(0.0, 0.1, size=2)}, r"must be one number"),
        ({"error_scale": Uniform(-2.0, 2.0)}, r"must be above 0, .* -2 to 2"),
        ({"error_scale": Normal(1.0, 0.1)}, r"_scale' must be above 0"),
        ({"error_scale": 0.0}, r"'spectrum/error_scale' must be above 0"),
        ({"outlier_fraction": Uniform(-1.0, 2.0)}, r"must be from 0 to 1"),
        ({"outlier_fraction": 1.5}, r"'spectrum/outlier_fraction' must be f"),
        ({"outlier_scale": LogUniform(0.1, 10.0)}, r"must be at least 1, "),
        (
            {
                "error_scale": Uniform(1.0, 2.0),
                "outlier_fraction": Uniform(0.0, 0.6, of="error_scale"),
            },
            r"must be from 0 to 1, .* from 0 to 1.2",
        ),
    ],
)
def test_impossible_parameters_of_a_spectrum_are_refused(
    emulated, of_spectrum, message
):
    with pytest.raises(InconsistentArguments, match=message):
        make_fit(emulated, lines=None, spectrum=SIGMA_V | of_spectrum)


def test_possible_parameters_of_a_spectrum(emulated):
    """Up to both ends, also as fractions, and with log10."""
    of_spectrum = {
        "sigma_v": 0.0 * km / s,
        "error_scale": Uniform(0.0, 2.0),
        "jitter": Uniform(0.0, 0.5, of="error_scale"),
        "outlier_fraction": Uniform(0.0, 1.0),
        "outlier_scale": 1.0,
        "coefficients": Normal(0.0, 0.1, size=3),
    }
    possible = make_fit(emulated, lines=None, spectrum=of_spectrum)
    assert "spectrum/jitter" in possible.names


def test_mistakes_are_found_when_the_fit_is_made(emulated):
    """Not when the model has been compiled."""
    jitter = SIGMA_V | {"jitter": Uniform(0.0, 1.0, units="km/s")}
    for changed, error, message in (
        ({"spectrum": jitter}, IncorrectUnits, r"jitter' must be without"),
        ({"lines": ["H 1 6563A"]}, MissingLines, r"no line H 1 6563A"),
        ({"emission": "nebula"}, MissingSpectraType, r"nebula"),
        ({"resolution": -100.0}, InconsistentArguments, r"must be positive"),
        ({"resolution": [100.0, 0.0]}, InconsistentArguments, r"positive"),
        ({"resolution": 1.0 * s}, IncorrectUnits, r"resolving power"),
        (
            {"resolution": 100.0, "spectrum": None},
            InconsistentArguments,
            r"got 100.0 without spectrum\.",
        ),
    ):
        with pytest.raises(error, match=message):
            make_fit(emulated, **changed)


@pytest.mark.filterwarnings("error::RuntimeWarning")
def test_wavelengths_in_other_units_are_only_refused(fit):
    """Without a warning about the empty part of the grid."""
    ones = np.ones(40) * nJy
    micron = Spectrum.from_fluxes(np.linspace(0.5, 0.65, 40), ones, ones, 5.0)
    with pytest.raises(InconsistentArguments, match="pixels used need models"):
        fit.data(micron)


@pytest.mark.slow
def test_parameters_of_a_spectrum_that_depend_on_the_galaxy(
    fit, data, emulated
):
    """A velocity dispersion that grows with the mass."""
    sigma_v = Normal(
        [150.0, 250.0],
        20.0,
        low=100.0,
        high=300.0,
        units="km/s",
        given={"stars/log10initial_mass": [8.0, 11.0]},
    )
    dependent = make_fit(emulated, spectrum={"sigma_v": sigma_v})
    points = np.array([[0.5, 0.2, 0.5], [0.5, 0.8, 0.5]])
    found = dependent.parameters(points)["spectrum/sigma_v"]
    np.testing.assert_allclose(found, [170.0, 230.0], rtol=1e-4)
    uniform = points.copy()
    uniform[:, 2] = (found - 100.0) / 200.0
    np.testing.assert_allclose(
        dependent.predict(points, data)["spectrum"],
        fit.predict(uniform, data)["spectrum"],
        rtol=1e-5,
    )
    with pytest.raises(InconsistentArguments, match="unless that one is"):
        dependent.hypercube.points({"spectrum/sigma_v": [200.0]})
    both = {"spectrum/sigma_v": [200.0], "stars/log10initial_mass": [9.5]}
    known, _ = dependent.hypercube.points(both)
    np.testing.assert_allclose(known, 0.5, atol=1e-9)
    with pytest.raises(InconsistentArguments, match=r"got 'stars/mass'"):
        make_fit(
            emulated,
            spectrum={
                "sigma_v": Normal(
                    [150, 250],
                    20,
                    units="km/s",
                    low=100,
                    high=300,
                    given={"stars/mass": [8, 11]},
                )
            },
        )
