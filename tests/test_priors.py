"""Priors, draws and parameters, against scipy and astropy."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from astropy.cosmology import FlatLambdaCDM, Planck18
from scipy import stats
from synthesizer.exceptions import InconsistentArguments

from synthesizer_emulator.library import (
    Choice,
    Dirichlet,
    Draws,
    Fixed,
    LogUniform,
    Normal,
    StudentT,
    Uniform,
)
from synthesizer_emulator.library.metadata import describe_prior
from synthesizer_emulator.library.parameters import Parameters

U = (np.arange(2000) + 0.5) / 2000


DISTRIBUTIONS = {
    "uniform": (Uniform(-1.0, 3.0), stats.uniform(-1, 4)),
    "log-uniform": (LogUniform(1e-3, 10.0), stats.loguniform(1e-3, 10)),
    "normal": (Normal(2.0, 0.5), stats.norm(2, 0.5)),
    "truncated": (
        Normal(1.0, 2.0, low=0.0),
        stats.truncnorm(-0.5, np.inf, 1, 2),
    ),
    "upper tail": (Normal(0.0, 1.0, 8.0, 9.0), stats.truncnorm(8, 9)),
    "lower tail": (Normal(0.0, 1.0, -9.0, -8.0), stats.truncnorm(-9, -8)),
    "continuity": (StudentT(0.0, 0.3), stats.t(2.0, 0.0, 0.3)),
    "heavy tails": (StudentT(1.0, 2.0, df=1.0), stats.cauchy(1.0, 2.0)),
}


@pytest.fixture(params=DISTRIBUTIONS.values(), ids=DISTRIBUTIONS)
def distribution(request):
    return request.param


def test_priors_are_the_distributions(distribution):
    prior, true = distribution
    np.testing.assert_allclose(prior.quantile(U), true.ppf(U), rtol=1e-9)


def test_traced_quantiles_are_the_same(distribution, double_precision):
    prior, true = distribution
    u = np.concatenate([U, 10.0 ** -np.arange(4.0, 12.0)])
    found = prior.quantile(jnp.asarray(u))
    np.testing.assert_allclose(found, true.ppf(u), rtol=1e-6, atol=5e-6)


def test_traced_quantiles_in_single_precision(distribution):
    prior, true = distribution
    found = prior.quantile(jnp.asarray(U, jnp.float32))
    scale = true.ppf(0.84) - true.ppf(0.16)
    np.testing.assert_allclose(
        found, true.ppf(U), rtol=1e-4, atol=2e-3 * scale
    )


def test_densities_are_those_of_the_distributions(distribution):
    prior, true = distribution
    x = true.ppf(U)
    np.testing.assert_allclose(
        prior.log_density(x), true.logpdf(x), rtol=1e-4, atol=1e-4
    )
    below = prior.log_density(prior.quantile(np.zeros(1)) - 1.0)
    assert (below == -np.inf) | np.isfinite(true.logpdf(-1e3))


def test_latent_variables_give_dirichlet_fractions():
    """Each fraction of a Dirichlet distribution has a beta distribution."""
    draws = np.random.default_rng(3).random((20_000, 4))
    z = Dirichlet(0.7, size=4).quantile(draws)
    remaining = np.cumprod(np.column_stack([np.ones(len(z)), z]), axis=1)
    fractions = remaining * np.column_stack([1.0 - z, np.ones(len(z))])
    np.testing.assert_allclose(fractions.sum(axis=1), 1.0)
    for fraction in fractions.T:
        test = stats.kstest(fraction, stats.beta(0.7, 4 * 0.7).cdf)
        assert test.pvalue > 1e-4


@pytest.mark.slow
def test_traced_latent_variables_are_the_same():
    prior = Dirichlet(0.7, size=3)
    u = np.random.default_rng(3).random((500, 3))
    np.testing.assert_allclose(
        prior.quantile(jnp.asarray(u)), prior.quantile(u), atol=2e-5
    )
    z = np.array([0.2, 0.5, 0.9])
    expected = stats.beta([2.1, 1.4, 0.7], 0.7).logpdf(z)
    for many in (z, np.stack([z, z])):
        found = prior.log_density(many)
        assert found.shape == many.shape
        np.testing.assert_allclose(
            found, np.broadcast_to(expected, many.shape), rtol=1e-5
        )


def test_quantiles_are_within_the_support_in_single_precision():
    """Rounding must not give an end of a prior a density of zero."""
    ends = jnp.asarray([0.0, 1e-7, 1.0 - 6e-8, 1.0], jnp.float32)
    for low, high in np.random.default_rng(2).uniform(0.1, 9.0, (30, 2)):
        bounds = min(low, high), max(low, high)
        for prior in (Uniform(*bounds), LogUniform(*bounds)):
            assert np.isfinite(prior.log_density(prior.quantile(ends))).all()


def test_density_of_galaxies(double_precision):
    """The sum over free parameters, in the units of their priors."""
    parameters = Parameters.from_priors(
        {
            "galaxy": {"redshift": Uniform(0.0, 5.0)},
            "stars": {
                "log10initial_mass": Normal(10.0, 0.5),
                "tau_v": Normal(0.5, 0.4, low=0.0),
                "fesc": 0.1,
            },
            "sf_hist": {
                "tau": LogUniform(0.1, 10.0, units="Gyr"),
                "max_age": Uniform(0.1, 1.0, of="age_of_universe"),
                "logsfr_ratios": StudentT(0.0, 0.3, size=2),
            },
        },
        Planck18,
    )
    u = np.random.default_rng(1).random((50, parameters.dimensions))
    expected = (
        stats.uniform(0, 5).logpdf(5 * u[:, 0])
        + _logpdf_of_quantile(stats.norm(10, 0.5), u[:, 1])
        + _logpdf_of_quantile(
            stats.truncnorm(-1.25, np.inf, 0.5, 0.4), u[:, 2]
        )
        + _logpdf_of_quantile(stats.loguniform(0.1, 10), u[:, 3])
        - np.log(0.9)
        + _logpdf_of_quantile(stats.t(2, 0, 0.3), u[:, 5:]).sum(axis=1)
    )
    found = parameters.log_density(u)
    assert found.shape == (50,)
    np.testing.assert_allclose(found, expected, rtol=1e-9)
    traced = jax.jit(parameters.log_density)(jnp.asarray(u))
    np.testing.assert_allclose(traced, expected, rtol=1e-6, atol=1e-5)
    fixed = Parameters.from_priors({"galaxy": {"redshift": 1.0}}, Planck18)
    assert fixed.log_density(np.empty((3, 0))).tolist() == [0.0, 0.0, 0.0]


def _logpdf_of_quantile(distribution, u):
    return distribution.logpdf(distribution.ppf(u))


def test_choices_and_fixed_values():
    values = Choice([3.0, 1.0, 2.0, 2.0]).quantile(U)
    assert [(values == v).sum() for v in (1.0, 2.0, 3.0)] == [500, 1000, 500]
    assert Choice([3.0, 1.0]).quantile(np.array([0.0, 1.0])).tolist() == [3, 1]
    fixed = Fixed([[0.0, 1.0], [1.0, 2.0]])
    assert fixed.dimensions == 0
    assert fixed.quantile(np.empty((5, 0))).shape == (5, 2, 2)
    # Arrays are lists.
    arrays = Fixed(np.array([[0.0, 1.0], [1.0, 2.0]]))
    assert arrays == fixed
    assert describe_prior(arrays) == describe_prior(fixed)
    knots = {"redshift": np.array([0.0, 1.0])}
    given = Normal(np.array([1.0, 2.0]), 0.1, given=knots)
    assert "[1.0, 2.0]" in str(given)
    assert describe_prior(given)["mean"] == [1.0, 2.0]


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: Uniform(1, 1), "must ascend, got 1 and 1"),
        (lambda: Uniform(0, "x"), "a number .* got 'x'"),
        (lambda: LogUniform(0, 1), "low of log_uniform .* got 0"),
        (lambda: Normal(0, 0), "sigma of normal"),
        (lambda: Normal(0, 1, 2, 1), "must ascend, got 2 and 1"),
        (lambda: Normal(0, 1, "x"), "bound of normal .* got 'x'"),
        (lambda: Fixed([]), r"an array of finite numbers, got \[\]"),
        (lambda: Choice([]), r"list of numbers, got \[\]"),
        (lambda: Choice([1, True]), "each of choice .* got True"),
        (lambda: Fixed("x"), "finite number or .* got 'x'"),
        (lambda: Fixed(np.nan), "finite number"),
        (lambda: Fixed(1.0, size=2), "give a list"),
        (
            lambda: Uniform(0, 1, units="parsnips"),
            "'parsnips' is not a valid unit",
        ),
        (lambda: Uniform(0, 1, units="yr", of="x"), "must have no units"),
        (lambda: Uniform(0, 1, size=0), "size must be a whole number"),
        (lambda: Draws(0), "n of draws"),
        (lambda: Draws(3, "dice"), "latin hypercube, sobol, got 'dice'"),
        (lambda: Draws(3, seed=-1), "seed of draws"),
    ],
)
def test_invalid_priors_are_refused(make, message):
    with pytest.raises(InconsistentArguments, match=message):
        make()


@pytest.mark.parametrize("method", ["sobol", "latin hypercube"])
def test_draws_do_not_depend_on_the_slice(method):
    whole = Draws(128, method, seed=4).rows(slice(0, 128), 6)
    for size in (1, 50):
        apart = [
            Draws(128, method, seed=4).rows(slice(i, min(i + size, 128)), 6)
            for i in range(0, 128, size)
        ]
        assert np.array_equal(np.concatenate(apart), whole)
    other = Draws(128, method, seed=5).rows(slice(0, 128), 6)
    assert not np.isclose(other, whole).any(axis=1).all()
    # Each has one galaxy in each of 128 strata of every parameter.
    strata = np.sort((128 * whole).astype(int), axis=0)
    assert (strata == np.arange(128)[:, None]).all()
    assert ((whole > 0) & (whole < 1)).all()


@pytest.mark.parametrize(
    "cosmo", [Planck18, FlatLambdaCDM(H0=50, Om0=1.0)], ids=["Planck18", "EdS"]
)
def test_ages_agree_with_the_cosmology(cosmo):
    parameters = Parameters.from_priors(
        {"galaxy": {"redshift": Uniform(0, 15)}}, cosmo
    )
    redshift = np.linspace(0.0, 15.0, 50)
    np.testing.assert_allclose(
        parameters.age_of_universe(redshift),
        cosmo.age(redshift).to_value("yr"),
        rtol=1e-8,
    )
