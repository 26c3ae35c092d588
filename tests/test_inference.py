"""Posteriors of galaxies, against closed forms and brute force."""

import re
import warnings
from dataclasses import replace

import astropy.units as u
import jax.numpy as jnp
import numpy as np
import pytest
from astropy.cosmology import Planck18
from jax.scipy.stats import norm
from scipy import stats
from synthesizer.emission_models import IncidentEmission
from synthesizer.exceptions import InconsistentArguments, IncorrectUnits
from synthesizer.instruments import FilterCollection
from unyt import angstrom, uJy, yr

from synthesizer_emulator.inference import Fit, Photometry, plot_corner
from synthesizer_emulator.inference.mixture import Mixture, fit_mixture
from synthesizer_emulator.inference.nested import nested
from synthesizer_emulator.inference.posterior import weighted_quantiles
from synthesizer_emulator.inference.target import Target
from synthesizer_emulator.library import History, LogUniform, StudentT, Uniform

CODES = ("blue", "green", "red")


@pytest.fixture(scope="module")
def filters():
    edges = {"blue": (4e3, 5e3), "green": (5e3, 7e3), "red": (9e3, 12e3)}
    return FilterCollection(
        tophat_dict={
            code: {"lam_min": low * angstrom, "lam_max": high * angstrom}
            for code, (low, high) in edges.items()
        }
    )


def make_fit(grid, filters, **changed):
    options = {
        "metal_dist": History("DeltaConstant", {"metallicity": 0.01}),
        "stars": {"log10initial_mass": Uniform(8.0, 11.0)},
        "redshift": 0.5,
    }
    options["sf_hist"] = History(
        "Constant", {"max_age": LogUniform(1e7, 1e9, units="yr")}
    )
    return Fit(IncidentEmission(grid), filters=filters, **options | changed)


@pytest.fixture(scope="module")
def fit(emulated, filters):
    return make_fit(emulated, filters)


@pytest.fixture(scope="module")
def data(fit):
    flux = fit.predict(np.array([[0.6, 0.4]]))["photometry"][0]
    return fit.photometry(flux * [1.02, 0.97, 1.01], 0.03 * flux)


@pytest.fixture(scope="module")
def posterior(fit, data):
    return fit.run(data, n_live=150, n_eff=500, progress=False)


def on_a_grid(fit, data, n=200):
    """Return points of the hypercube and their posterior, by brute force."""
    x = (np.arange(n) + 0.5) / n
    points = np.stack(np.meshgrid(x, x, indexing="ij"), -1).reshape(-1, 2)
    log_likelihood = fit.log_likelihood(points, data)
    peak = log_likelihood.max()
    likelihood = np.exp(log_likelihood - peak)
    return points, likelihood, peak + np.log(likelihood.mean())


@pytest.mark.slow
def test_a_fit_makes_the_galaxies_of_its_library(fit):
    points = fit.library.draws.rows(slice(0, 8), 2)
    made = fit.library.make(slice(0, 8))
    np.testing.assert_allclose(
        fit.predict(points)["photometry"],
        made["photometry/incident"],
        rtol=1e-5,
    )
    for name, values in fit.parameters(points).items():
        np.testing.assert_array_equal(values, made[f"parameters/{name}"])
    assert fit.names == ("stars/log10initial_mass", "sf_hist/max_age")


@pytest.mark.slow
def test_the_likelihood_is_gaussian(fit, data):
    points = np.random.default_rng(3).random((300, 2))
    expected = stats.norm.logpdf(
        np.asarray(data.flux),
        fit.predict(points)["photometry"],
        np.asarray(data.error),
    ).sum(axis=1)
    np.testing.assert_allclose(
        fit.log_likelihood(points, data), expected, rtol=1e-4
    )


@pytest.mark.slow
def test_the_posterior_is_that_of_brute_force(fit, data, posterior):
    points, weights, log_evidence = on_a_grid(fit, data)
    assert abs(posterior.log_evidence - log_evidence) < 0.1
    got = posterior.samples.points
    for i in range(2):
        expected = np.average(points[:, i], weights=weights)
        spread = np.sqrt(
            np.average((points[:, i] - expected) ** 2, weights=weights)
        )
        mean = posterior.weights @ got[:, i]
        deviation = np.sqrt(posterior.weights @ (got[:, i] - mean) ** 2)
        assert abs(mean - expected) < 0.15 * spread
        assert abs(deviation / spread - 1.0) < 0.1
    assert posterior.warnings == ()
    assert "log10initial_mass" in str(posterior)


@pytest.mark.slow
def test_the_evidence_of_a_gaussian():
    """The integral over the hypercube is one, far from the edges."""
    sigma, mean = np.array([0.05, 0.02, 0.08]), np.array([0.5, 0.4, 0.6])

    def log_likelihood(arguments, point):
        return norm.logpdf(point, mean, sigma).sum()

    samples = nested(Target(log_likelihood, (), 3), n_live=200, n_eff=1000)
    assert abs(samples.log_evidence) < 0.05
    found = samples.weights @ samples.points
    np.testing.assert_allclose(found, mean, atol=0.1 * sigma.max())
    assert samples.effective_size > 900


@pytest.mark.slow
def test_a_thin_curved_posterior_keeps_its_tails():
    """A sheared Gaussian: the Jacobian is one, so its integral is known.

    The networks of nautilus alone leave out a tenth of it or more.
    """
    width, thickness, others = 0.1, 0.008, 0.05

    def log_likelihood(arguments, point):
        along, first, second, *rest = point - 0.5
        return (
            norm.logpdf(along, 0, width)
            + norm.logpdf(first, 4 * along**2 - 0.25, thickness)
            + norm.logpdf(second, along, thickness)
            + sum(norm.logpdf(x, 0, others) for x in rest)
        )

    samples = nested(Target(log_likelihood, (), 5))
    assert abs(samples.log_evidence) < 0.06
    spread = np.sqrt(samples.weights @ (samples.points - 0.5) ** 2)
    assert abs(spread[0] / width - 1) < 0.08
    np.testing.assert_allclose(spread[3:], others, rtol=0.05)
    assert samples.effective_size > 2000
    assert samples.diagnostics["evaluations"] < 80_000


@pytest.mark.slow
@pytest.mark.parametrize(
    "seed", [pytest.param(3, marks=pytest.mark.thorough), 5]
)
def test_separate_maxima_keep_their_shares(seed):
    """Two thirds of the evidence are in the narrower of two maxima.

    It has a seventeenth of the live points: too few for an ellipsoid by the
    defaults of nautilus, which miss it with these seeds.
    """

    def log_likelihood(arguments, point):
        return jnp.logaddexp(
            jnp.log(2 / 3) + norm.logpdf(point, 0.2, 0.01).sum(),
            jnp.log(1 / 3) + norm.logpdf(point, 0.8, 0.02).sum(),
        )

    samples = nested(Target(log_likelihood, (), 4), seed=seed)
    assert abs(samples.log_evidence) < 0.05
    upper = samples.points[:, 0] > 0.5
    assert abs(samples.weights[upper].sum() - 1 / 3) < 0.03


def test_the_density_of_mixtures():
    """Against scipy's t-distribution, and against the moments of draws."""
    rng = np.random.default_rng(0)
    roots = np.tril(rng.normal(size=(2, 3, 3))) + 2 * np.eye(3)
    mixture = Mixture(np.array([0.3, 0.7]), rng.normal(size=(2, 3)), roots)
    points = rng.normal(size=(50, 3))
    expected = sum(
        weight * stats.multivariate_t(mean, root @ root.T, 5).pdf(points)
        for weight, mean, root in zip(
            mixture.weights, mixture.means, roots, strict=True
        )
    )
    found = np.exp(mixture.log_density(points))
    np.testing.assert_allclose(found, expected, rtol=1e-10)
    # The mean of the ratio of two densities is one.
    drawn = mixture.draw(40_000, rng)
    normal = stats.multivariate_normal(mixture.means[0], np.eye(3))
    ratio = normal.pdf(drawn) / np.exp(mixture.log_density(drawn))
    assert abs(ratio.mean() - 1) < 5 * ratio.std() / np.sqrt(len(drawn))


def test_the_mixture_of_one_point_has_a_width():
    rng = np.random.default_rng(0)
    one = np.array([[3.0, -1.0, 0.5]])
    for points, log_weights in (
        (one, np.array([-1e10])),
        (np.vstack([one, one + 1.0]), np.array([0.0, -1e8])),
    ):
        mixture = fit_mixture(points, log_weights, rng)
        drawn = mixture.draw(2000, rng)
        np.testing.assert_allclose(np.median(drawn, axis=0), one[0], atol=0.1)
        assert (drawn.std(axis=0) > 0.01).all()
        assert np.isfinite(mixture.log_density(drawn)).all()


def test_mixtures_of_points_much_thinner_than_wide():
    """Importance sampling from a mixture fitted to them is efficient."""
    rng = np.random.default_rng(1)
    scales = np.array([1.0, 1e-5, 1e-3])
    points = rng.normal(size=(3000, 3)) * scales
    mixture = fit_mixture(points, np.zeros(len(points)), rng)
    drawn = mixture.draw(4000, rng)
    log_weights = stats.norm.logpdf(drawn, 0, scales).sum(axis=1)
    weights = np.exp(log_weights - mixture.log_density(drawn))
    assert abs(weights.mean() - 1) < 0.1
    assert weights.sum() ** 2 / np.square(weights).sum() > 1000


@pytest.mark.slow
def test_files_and_plots(posterior, tmp_path):
    xarray = pytest.importorskip("xarray")
    posterior.write(tmp_path / "galaxy.nc")
    tree = xarray.open_datatree(tmp_path / "galaxy.nc", engine="h5netcdf")
    mass = tree["posterior"]["stars.log10initial_mass"]
    low, middle, high = posterior.quantiles()["stars/log10initial_mass"]
    assert abs(float(mass.median()) - middle) < 0.1 * (high - low)
    assert mass.dims == ("chain", "draw")
    assert tree.attrs["log_evidence"] == posterior.log_evidence
    assert tree["observed_data"]["band"].values.tolist() == list(CODES)
    with pytest.raises(InconsistentArguments, match=r"must end in .nc"):
        posterior.write(tmp_path / "galaxy.txt")
    assert len(plot_corner(posterior).axes) == 4
    with pytest.raises(InconsistentArguments, match=r"Did you mean"):
        plot_corner(posterior, ["stars/log10initial_mas"])


@pytest.mark.slow
def test_missing_bands_and_upper_limits():
    data = Photometry.from_fluxes(
        {"blue": 3.0, "red": 2e-3 * uJy},
        {"blue": 1.0, "red": 0.5},
        CODES,
        upper_limits="red",
    )
    expected = stats.norm.logpdf(3.0, 2.0, 1.0) + stats.norm.logcdf(-2.0)
    got = data.log_likelihood(np.array([2.0, 9e9, 3.0], np.float32))
    np.testing.assert_allclose(got, expected, rtol=1e-5)
    array = Photometry.from_fluxes(
        [3.0, np.nan, 2.0], [1.0, np.nan, 0.5], CODES, upper_limits=["red"]
    )
    np.testing.assert_array_equal(array.flux, data.flux)
    np.testing.assert_array_equal(array.is_observed, [True, False, True])


def test_masked_values_and_errors_are_missing():
    flux, error = [1e6, 3.0, 2.0], [1.0, 0.5, 1e6]
    expected = Photometry.from_fluxes([np.nan, 3.0, np.nan], error, CODES)
    masked = (
        np.ma.masked_array(flux, [1, 0, 0]),
        np.ma.masked_array(error, [0, 0, 1]),
    )
    by_name = [dict(zip(CODES, values, strict=True)) for values in masked]
    for given in (masked, by_name):
        found = Photometry.from_fluxes(*given, CODES)
        for name in ("flux", "error", "is_observed"):
            np.testing.assert_array_equal(
                getattr(found, name), getattr(expected, name)
            )


def test_a_floor_adds_in_quadrature():
    data = Photometry.from_fluxes(
        [3.0, 40.0, 5.0], [4.0, 3.0, 1.0], CODES, floor=0.1
    )
    np.testing.assert_allclose(
        data.error, np.hypot([4.0, 3.0, 1.0], [0.3, 4.0, 0.5]), rtol=1e-6
    )
    data = Photometry.from_fluxes(
        [3.0, 40.0, 5.0], [4.0, 3.0, 1.0], CODES, floor={"green": 0.1}
    )
    np.testing.assert_allclose(data.error, [4.0, 5.0, 1.0])
    for floor, message in (
        ({"gren": 0.1}, "floor must be in.*Did you mean 'green'"),
        ({"green": -0.1}, "floor of green"),
    ):
        with pytest.raises(InconsistentArguments, match=message):
            Photometry.from_fluxes([3.0] * 3, [1.0] * 3, CODES, floor=floor)


@pytest.mark.parametrize(
    ("fluxes", "errors", "error", "message"),
    [
        ({"blu": 1.0}, {"blu": 1.0}, InconsistentArguments, r"Did you mean"),
        ([1.0, 2.0], [1.0, 2.0, 3.0], InconsistentArguments, r"3 filters"),
        ([1.0, 2, 3], [1.0, 0, 3], InconsistentArguments, r"green: 0 nJy"),
        ([1.0, 2, 3], [1.0, 1, np.nan], InconsistentArguments, r"red: nan"),
        ([np.nan] * 3, [1.0] * 3, InconsistentArguments, r"At least one"),
        (
            [np.inf, 2, 3],
            [1.0] * 3,
            InconsistentArguments,
            r"infinity in",
        ),
        (["a", 2, 3], [1.0] * 3, InconsistentArguments, r"must be numbers"),
        ([22, 22, 22] * u.ABmag, [1.0] * 3, IncorrectUnits, r"Convert magni"),
        ([1.0, 2, 3] * yr, [1.0] * 3, IncorrectUnits, r"fluxes"),
    ],
)
def test_bad_photometry(fluxes, errors, error, message):
    with pytest.raises(error, match=message):
        Photometry.from_fluxes(fluxes, errors, CODES)


def test_bad_fits(emulated, filters, fit, data):
    with pytest.raises(InconsistentArguments, match=r"metallicity'.*within"):
        make_fit(
            emulated,
            filters,
            metal_dist=History(
                "DeltaConstant", {"metallicity": Uniform(0.01, 0.9)}
            ),
        ).run(data, progress=False)
    with pytest.raises(InconsistentArguments, match=r"one free parameter"):
        make_fit(
            emulated,
            filters,
            sf_hist=History("Constant", {"max_age": 1e8 * yr}),
            stars={"log10initial_mass": 9.0},
        )
    with pytest.raises(InconsistentArguments, match=r"method.*nested"):
        fit.run(data, method="nest")
    with pytest.raises(InconsistentArguments, match=r"mean.*'n_live'"):
        fit.run(data, nlive=100)
    with pytest.raises(InconsistentArguments, match=r"got redshift=None"):
        make_fit(emulated, filters, redshift=None)
    with pytest.raises(InconsistentArguments, match=r"seed"):
        fit.run(data, seed="a")
    with pytest.raises(InconsistentArguments, match=r"n_live.*10"):
        fit.run(data, n_live=1)
    with pytest.raises(InconsistentArguments, match=r"Use Fit.run for one"):
        fit.run_many(data)
    others = ("blue", "green", "ruby")
    of_others = Photometry.from_fluxes([1.0] * 3, [1.0] * 3, others)
    with pytest.raises(InconsistentArguments, match=r"got blue, green, ruby"):
        fit.run(of_others)
    two = Photometry.from_fluxes([1.0, 2.0], [1.0, 2.0], CODES[:2])
    with pytest.raises(InconsistentArguments, match=r"in the 3 filters"):
        fit.run(two)


@pytest.mark.slow
def test_a_search_without_end_stops(fit, data):
    """No model is near fluxes with far too small errors."""
    tiny = replace(data, error=1e-7 * data.error)
    posterior = fit.run(
        tiny, n_live=50, n_eff=100, max_evaluations=2000, progress=False
    )
    assert not posterior.is_converged
    assert "increase max_evaluations" in posterior.warnings[0]


def test_a_likelihood_that_hardly_varies_needs_no_search():
    """The evidence is a product of integrals of Gaussians."""
    mean, sigma = np.array([0.3, 0.7]), 0.6

    def log_likelihood(arguments, point):
        return norm.logpdf(point, mean, sigma).sum()

    samples = nested(Target(log_likelihood, (), 2), n_eff=2000)
    assert samples.diagnostics["evaluations"] < 20_000
    ends = (np.array([[0.0], [1.0]]) - mean) / sigma
    expected = np.log(np.diff(stats.norm.cdf(ends), axis=0)).sum()
    assert abs(samples.log_evidence - expected) < 0.01
    means = stats.truncnorm(*ends, mean, sigma).mean()
    found = samples.weights @ samples.points
    np.testing.assert_allclose(found, means, atol=0.01)
    assert samples.effective_size > 2000


def test_stars_older_than_the_universe_are_warned_of(emulated, filters):
    ages = {"max_age": Uniform(5.0, 13.0, units="Gyr")}
    for history, name in (
        (History("Constant", ages), "max_age"),
        (
            History("Continuity", {"logsfr_ratios": StudentT(0, 0.3, size=2)}),
            "agebins",
        ),
    ):
        fit = make_fit(emulated, filters, sf_hist=history, redshift=5.0)
        with pytest.warns(RuntimeWarning, match=rf"'{name}' is beyond"):
            fit.check()


def test_the_fit_of_a_library(fit, data):
    again = Fit.from_library(fit.library)
    point = np.array([[0.6, 0.4]])
    np.testing.assert_array_equal(
        again.log_likelihood(point, data), fit.log_likelihood(point, data)
    )


def test_weighted_quantiles_of_equal_weights():
    values = np.random.default_rng(1).normal(size=(4001, 2))
    got = weighted_quantiles(values, np.full(4001, 1 / 4001), [0.1, 0.5])
    expected = np.quantile(values, [0.1, 0.5], axis=0, method="hazen")
    np.testing.assert_allclose(got, expected, rtol=1e-9)


@pytest.mark.slow
def test_ages_of_the_universe_can_be_traced(emulated, filters):
    """A history as old as the Universe, at a free redshift."""
    fit = make_fit(
        emulated,
        filters,
        sf_hist=History(
            "Constant", {"max_age": Uniform(0.1, 1.0, of="age_of_universe")}
        ),
        redshift=Uniform(0.0, 3.0),
    )
    points = np.random.default_rng(2).random((5, 3))
    parameters = fit.parameters(points)
    ages = Planck18.age(parameters["redshift"]).to_value("yr")
    fractions = 0.1 + 0.9 * points[:, 2]
    np.testing.assert_allclose(
        parameters["sf_hist/max_age"], fractions * ages, rtol=1e-8
    )
    draws = fit.library.draws.rows(slice(0, 5), 3)
    made = fit.library.make(slice(0, 5))["photometry/incident"]
    np.testing.assert_allclose(
        fit.predict(draws)["photometry"], made, rtol=2e-5
    )


def test_priors_beyond_the_grid_are_refused_at_once(emulated, filters):
    wide = History("DeltaConstant", {"metallicity": Uniform(0.01, 0.5)})
    with pytest.raises(
        InconsistentArguments, match=r": metallicity'.*'metallicities', 0\.000"
    ):
        make_fit(emulated, filters, metal_dist=wide)


def test_filters_outside_of_the_model_are_named(emulated):
    """The grid begins at 100.1 Angstrom."""
    codes = {"x": (20.0, 80.0), "far": (110.0, 165.0), "red": (5e3, 6e3)}
    fit = make_fit(emulated, codes, redshift=0.0)
    with pytest.raises(
        InconsistentArguments,
        match=r"at redshift 0, but x is outside",
    ):
        fit.check()
    assert "model" not in vars(fit.library)
    codes.pop("x")
    wide = make_fit(emulated, codes, redshift=Uniform(0.0, 5.0)).library
    with pytest.warns(RuntimeWarning, match=r"far \(above redshift 0\.65"):
        wide.check_filters()
    # At redshift 0.5 the grid begins at 150.15 Angstrom.
    part = make_fit(emulated, codes, redshift=Uniform(0.0, 0.5)).library
    lost = np.log(150.15 / 110.0) / np.log(165.0 / 110.0)
    with pytest.warns(RuntimeWarning, match=r"Parts of filters") as told:
        part.check_filters()
    (percent,) = re.findall(r"far\s+\((\d+)%\s+of\s+its", str(told[0].message))
    # The curve is given in steps.
    assert float(percent) == pytest.approx(100 * lost, abs=2)
    near = make_fit(emulated, codes, redshift=Uniform(0.0, 0.05)).library
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        near.check_filters()
        wide.check_filters(refuse=True)


def test_known_ages_as_fractions_of_that_of_the_universe(emulated, filters):
    fit = make_fit(
        emulated,
        filters,
        redshift=Uniform(0.1, 5.0),
        sf_hist=History(
            "Constant", {"max_age": Uniform(0.1, 1.0, of="age_of_universe")}
        ),
    )
    known = {"sf_hist/max_age": [1.0, 2.0] * u.Gyr, "redshift": [3.0, 1.0]}
    points, free = fit.hypercube.points(known)
    found = fit.parameters(points)
    np.testing.assert_allclose(found["sf_hist/max_age"], [1e9, 2e9], rtol=1e-6)
    fraction = [1.0, 2.0] / Planck18.age([3.0, 1.0]).to_value("Gyr")
    names = list(fit.names)
    np.testing.assert_allclose(
        points[:, names.index("sf_hist/max_age")],
        (fraction - 0.1) / 0.9,
        rtol=1e-6,
    )
    assert [names[i] for i in free] == ["stars/log10initial_mass"]
    with pytest.raises(
        InconsistentArguments, match=r"unless the redshift is.*without of"
    ):
        fit.hypercube.points({"sf_hist/max_age": [1e9]})
    with pytest.raises(InconsistentArguments, match=r"to 2\.1.*e\+09 yr; got"):
        fit.hypercube.points({"sf_hist/max_age": [3e9], "redshift": [3.0]})
