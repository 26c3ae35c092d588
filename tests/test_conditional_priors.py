"""Priors that depend on another parameter, against scipy and quadrature."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import yaml
from astropy.cosmology import Planck18
from scipy import stats
from synthesizer.emission_models import IncidentEmission
from synthesizer.exceptions import InconsistentArguments
from unyt import Msun

from synthesizer_emulator import Library
from synthesizer_emulator.library import (
    Choice,
    Dirichlet,
    Draws,
    Fixed,
    History,
    LogUniform,
    Normal,
    StudentT,
    Uniform,
    mass_metallicity,
)
from synthesizer_emulator.library.config import LibraryConfig
from synthesizer_emulator.library.metadata import (
    describe_prior,
    describe_quantiles,
)
from synthesizer_emulator.library.parameters import Parameters

MASS = "stars/log10initial_mass"
GIVEN = {MASS: [8.0, 10.0, 11.0]}
N = 400
U = (np.arange(N) + 0.5) / N
MASSES = np.random.default_rng(5).uniform(7.0, 12.0, N)


def at(*numbers):
    """Return numbers listed at the knots at each of the masses."""
    return np.interp(MASSES, GIVEN[MASS], numbers)


MEAN, SIGMA = (-2.0, -1.0, 3.0), (0.5, 0.4, 0.2)
DISTRIBUTIONS = {
    "uniform": (
        Uniform([0.0, 1.0, 3.0], 4.0, given=GIVEN),
        stats.uniform(at(0, 1, 3), 4 - at(0, 1, 3)),
    ),
    "log-uniform": (
        LogUniform([1e-3, 1e-2, 1.0], [1.0, 1.0, 10.0], given=GIVEN),
        stats.loguniform(at(1e-3, 1e-2, 1), at(1, 1, 10)),
    ),
    "mean": (Normal(MEAN, 0.5, given=GIVEN), stats.norm(at(*MEAN), 0.5)),
    "sigma": (
        Normal(1.0, SIGMA, low=0.0, given=GIVEN),
        stats.truncnorm(-1 / at(*SIGMA), np.inf, 1.0, at(*SIGMA)),
    ),
    "either tail": (
        Normal(MEAN, SIGMA, -0.5, 1.5, given=GIVEN),
        stats.truncnorm(
            (-0.5 - at(*MEAN)) / at(*SIGMA),
            (1.5 - at(*MEAN)) / at(*SIGMA),
            at(*MEAN),
            at(*SIGMA),
        ),
    ),
    "bounds": (
        Normal(1.0, 0.5, [0.0, 0.0, 2.0], [1.5, 3.0, 4.0], given=GIVEN),
        stats.truncnorm(
            2 * at(0, 0, 2) - 2, 2 * at(1.5, 3, 4) - 2, 1.0, 0.5
        ),
    ),
    "Student's t": (
        StudentT(MEAN, SIGMA, df=3.0, given=GIVEN),
        stats.t(3.0, at(*MEAN), at(*SIGMA)),
    ),
}  # fmt: skip


@pytest.fixture(params=DISTRIBUTIONS.values(), ids=DISTRIBUTIONS)
def distribution(request):
    return request.param


def make_parameters(metallicity, mass=None, ratios=0.0, **stars):
    """Return parameters in which the dependent one comes first."""
    return Parameters.from_priors(
        {
            "sf_hist": {"logsfr_ratios": ratios},
            "metal_dist": {"log10metallicity": metallicity},
            "stars": {"log10initial_mass": mass or Uniform(7, 12), **stars},
            "galaxy": {"redshift": Uniform(0, 6)},
        },
        Planck18,
    )


def test_they_are_the_distributions_at_each_mass(distribution):
    prior, true = distribution
    x = prior.quantile(U, MASSES)
    np.testing.assert_allclose(x, true.ppf(U), rtol=1e-8, atol=1e-9)
    np.testing.assert_allclose(
        prior.log_density(x, MASSES), true.logpdf(x), rtol=1e-4, atol=2e-4
    )
    beyond = np.nextafter(x.max(), np.inf) + 100.0
    density = prior.log_density(np.full(N, beyond), MASSES)
    assert ((density == -np.inf) == (true.logpdf(beyond) == -np.inf)).all()


def test_traced_they_are_the_same(distribution, double_precision):
    """So are derivatives with respect to the other parameter."""
    prior, true = distribution

    @jax.jit
    def traced(u, masses):
        x, slope = jax.jvp(
            lambda masses: prior.quantile(u, masses),
            (masses,),
            (jnp.ones_like(masses),),
        )
        return x, slope, prior.log_density(x, masses)

    x, slope, density = traced(jnp.asarray(U), jnp.asarray(MASSES))
    np.testing.assert_allclose(x, true.ppf(U), rtol=1e-7, atol=1e-6)
    np.testing.assert_allclose(
        density, true.logpdf(true.ppf(U)), rtol=1e-6, atol=1e-6
    )
    step = 1e-5
    above, below = (prior.quantile(U, MASSES + s) for s in (step, -step))
    # The interpolation has kinks at the knots.
    knots = np.asarray(GIVEN[MASS])
    smooth = np.abs(MASSES[:, None] - knots).min(axis=1) > step
    near = (above - below) / (2 * step)
    np.testing.assert_allclose(
        slope[smooth], near[smooth], rtol=2e-4, atol=2e-5
    )


def test_traced_in_single_precision(distribution):
    """No draw may have a density of zero."""
    prior, true = distribution

    @jax.jit
    def traced(u, masses):
        x = prior.quantile(u, masses)
        return x, prior.log_density(x, masses)

    u = jnp.asarray(np.concatenate([U[2:], [1e-6, 1.0 - 1e-6]]), jnp.float32)
    x, density = traced(u, jnp.asarray(MASSES, jnp.float32))
    assert np.isfinite(x).all()
    assert np.isfinite(density).all()
    expected, width = true.ppf(np.asarray(u, float)), true.std()
    width = np.where(np.isfinite(width), width, 1.0)
    # The last two are in the tails.
    close = np.abs(x - expected) < 5e-3 * width
    assert close[:-2].all()


def test_draws_at_a_fixed_mass_follow_the_distribution():
    parameters = make_parameters(
        Normal(MEAN, SIGMA, -3.0, 1.0, given=GIVEN), mass=Fixed(9.0)
    )
    u = np.random.default_rng(1).random((5000, 2))
    _, columns = parameters.at(u)
    true = stats.truncnorm(-1.5 / 0.45, 2.5 / 0.45, -1.5, 0.45)
    x = columns["parameters/metal_dist/log10metallicity"]
    assert stats.kstest(x, true.cdf).pvalue > 1e-3


def test_marginals_are_averages_over_the_other():
    parameters = make_parameters(Normal(MEAN, SIGMA, high=2, given=GIVEN))
    u = np.random.default_rng(2).random((2000, 3))
    plain, columns = parameters.at(u)
    x = columns["parameters/metal_dist/log10metallicity"]
    np.testing.assert_allclose(plain["metal_dist"]["metallicity"], 10.0**x)
    masses = 7.0 + 5.0 * (np.arange(200) + 0.5) / 200
    mean, sigma = (np.interp(masses, GIVEN[MASS], n) for n in (MEAN, SIGMA))
    true = stats.truncnorm(-np.inf, (2 - mean) / sigma, mean, sigma)

    def cdf(values):
        return true.cdf(np.asarray(values)[:, None]).mean(axis=1)

    assert stats.kstest(x, cdf).pvalue > 1e-3
    mass = columns["parameters/stars/log10initial_mass"]
    assert stats.kstest(mass, stats.uniform(7, 5).cdf).pvalue > 1e-3


@pytest.mark.slow
def test_the_density_is_that_of_the_transformation(double_precision):
    """One over the determinant of the derivatives of draws, of any prior."""
    parameters = make_parameters(
        mass_metallicity(),
        mass=Normal([10.5, 9.0], [0.5, 1.0], given={"redshift": [1.0, 4.0]}),
        tau_v=LogUniform(
            [0.01, 0.1], 3.0, given={"metal_dist/metallicity": [0.0, 0.02]}
        ),
        ratios=Normal(0.0, [0.1, 1.0], size=2, given={"redshift": [0, 5]}),
    )
    u = np.random.default_rng(3).uniform(0.02, 0.98, (20, 6))

    def drawn(u):
        _, columns = parameters.at(u)
        return np.column_stack([*columns.values()])

    steps = 1e-6 * np.eye(6)
    slopes = [(drawn(u + s) - drawn(u - s)) / 2e-6 for s in steps]
    jacobians = np.stack(slopes, axis=-1)
    assert (np.abs(np.triu(jacobians[0], 1)) > 0.1).any()
    _, logdet = np.linalg.slogdet(jacobians)
    for density in (
        parameters.log_density(u),
        jax.jit(parameters.log_density)(jnp.asarray(u)),
    ):
        np.testing.assert_allclose(density, -logdet, rtol=1e-5)


@pytest.mark.parametrize(
    ("mass", "given"),
    [
        (Uniform(8, 12), {MASS: [8.0, 11.0]}),
        (LogUniform(1e8, 1e12, units="Msun"), {MASS: [8.0, 11.0]}),
        (Uniform(8, 12), {"stars/initial_mass": [1e8, 1e11]}),
        (
            LogUniform(1e38, 1e42, units="kg"),
            {"stars/initial_mass": [1e38, 1e42]},
        ),
    ],
)
def test_logarithms_and_units_of_the_other(mass, given):
    """The condition is in the units of its prior, or their logarithm."""
    name = "initial_mass" if mass.units else "log10initial_mass"
    parameters = Parameters.from_priors(
        {
            "stars": {name: mass, "tau_v": Uniform(0, [1, 2], given=given)},
        },
        Planck18,
    )
    _, columns = parameters.at(np.array([[0.3, 1.0], [0.6, 1.0]]))
    values = columns[f"parameters/stars/{name}"]
    ((other, knots),) = given.items()
    if other.endswith(f"/{name}"):
        value = values
    else:
        value = np.log10(values) if other == MASS else 10.0**values
    np.testing.assert_allclose(
        columns["parameters/stars/tau_v"], np.interp(value, knots, [1, 2])
    )


def test_fractions_and_arrays():
    """An age in yr decides on the width of several ratios."""
    parameters = Parameters.from_priors(
        {
            "sf_hist": {
                "logsfr_ratios": StudentT(
                    0.0, [0.1, 1.0], size=3,
                    given={"sf_hist/max_age": [0, 1e10]},
                ),
                "max_age": Uniform(
                    0.0, [0.5, 1.0], of="age_of_universe",
                    given={"redshift": [0, 1]},
                ),
            },
            "galaxy": {"redshift": 0.5},
        },
        Planck18,
    )  # fmt: skip
    u = np.random.default_rng(6).random((20, 4))
    plain, columns = parameters.at(u)
    age = 0.75 * u[:, 3] * Planck18.age(0.5).to_value("yr")
    np.testing.assert_allclose(plain["sf_hist"]["max_age"], age, rtol=1e-6)
    np.testing.assert_allclose(
        columns["parameters/sf_hist/max_age"], age, rtol=1e-6
    )
    width = 0.1 + 0.9 * np.minimum(age / 1e10, 1.0)
    true = stats.t(2, 0, width[:, None])
    ratios = plain["sf_hist"]["logsfr_ratios"]
    np.testing.assert_allclose(ratios, true.ppf(u[:, :3]), rtol=1e-6)
    # The density of an age is that of its fraction, in the same order.
    density = true.logpdf(ratios).sum(axis=1) - np.log(0.75)
    np.testing.assert_allclose(
        parameters.log_density(u), density, rtol=1e-4, atol=1e-4
    )


def test_the_highest_redshift():
    """Models and ages of the Universe reach the highest of all masses."""
    parameters = make_parameters(-2.0)
    assert parameters.max_redshift == pytest.approx(6.0, rel=2e-3)
    dependent = Parameters.from_priors(
        {
            "galaxy": {"redshift": Uniform(0, [3, 8, 5], given=GIVEN)},
            "stars": {"log10initial_mass": Uniform(7, 12)},
        },
        Planck18,
    )
    assert dependent.max_redshift == pytest.approx(8.0, rel=2e-3)


def test_the_ends_of_priors():
    assert Uniform([0, 1], [5, 3], given={MASS: [8, 9]}).ends == (0.0, 5.0)
    assert Normal(0, [1, 2], low=-3, given={MASS: [8, 9]}).ends == (-3, np.inf)
    assert Choice([3.0, 1.0, 2.0]).ends == (1.0, 3.0)
    assert Dirichlet(1.0, size=2).ends == (0.0, 1.0)
    assert Fixed([2.0, 1.0]).ends == (1.0, 2.0)


def test_mass_and_metallicity_are_those_of_gallazzi():
    """Leja et al. (2019): twice the scatter of Gallazzi et al. (2005)."""
    prior = mass_metallicity(low=-1.5, high=0.5, solar=0.0142)
    shift = np.log10(0.0142)
    u = np.linspace(0.01, 0.99, 50)
    for mass, median, width in (
        (8.0, -0.60, 1.11),
        (9.91, -0.41, 0.99),
        (10.01, -0.32, 0.965),
        (11.91, 0.15, 0.33),
    ):
        true = stats.truncnorm(
            (-1.5 - median) / width, (0.5 - median) / width, median, width
        )
        np.testing.assert_allclose(
            prior.quantile(u, np.full(50, mass)), shift + true.ppf(u),
            rtol=1e-6,
        )  # fmt: skip


# Libraries.


def make_library(grid, metallicity, mass=None):
    return Library(
        IncidentEmission(grid),
        sf_hist="Constant",
        metal_dist=History("DeltaConstant", {"log10metallicity": metallicity}),
        stars={"log10initial_mass": mass or Uniform(8, 12)},
        redshift=Uniform(0, 5),
        draws=Draws(50, seed=1),
        outputs="lnu",
    )


@pytest.mark.slow
def test_yaml_makes_the_same_library(tmp_path):
    """Also a prior as it is printed in messages."""
    mass = Normal([10.5, 9.5], 0.4, high=12.0, given={"redshift": [0, 5]})
    digests = []
    for entry, metallicity in (
        ("mass_metallicity", mass_metallicity()),
        (
            {"mass_metallicity": {"solar": 0.0142, "high": 0}},
            mass_metallicity(solar=0.0142, high=0.0),
        ),
    ):
        config = {
            "file": "library.hdf5",
            "grid": "bc03-example",
            "emission_model": "IncidentEmission",
            "sf_hist": "Constant",
            "metal_dist": {"DeltaConstant": {"log10metallicity": entry}},
            "redshift": {"uniform": [0, 5]},
            "stars": {"log10initial_mass": yaml.safe_load(str(mass))},
            "draws": {"n": 50, "seed": 1},
            "outputs": "lnu",
        }
        path = tmp_path / "library.yaml"
        path.write_text(yaml.safe_dump(config))
        library = LibraryConfig.read(path).library
        grid = library.emission_model.grid
        expected = make_library(grid, metallicity, mass)
        for one, other in zip(
            jax.tree.leaves(library.values(slice(0, 50))),
            jax.tree.leaves(expected.values(slice(0, 50))),
            strict=True,
        ):
            np.testing.assert_array_equal(one, other)
        assert library.digest == expected.digest
        digests.append(library.digest)
    assert len(set(digests)) == 2
    library.sampler.check_inside("refuse")


def test_descriptions_of_priors():
    """Those of other priors stay, so that their libraries can be resumed."""
    assert describe_prior(Normal(0, 1, low=-1)) == {
        "prior": "Normal", "mean": 0, "sigma": 1, "low": -1, "high": "inf",
    }  # fmt: skip
    one = Uniform(0, (1, 2), given={MASS: np.array([8, 9])})
    assert one == Uniform(0, [1.0, 2.0], given={MASS: [8.0, 9.0]})
    assert describe_prior(one) == {
        "prior": "Uniform", "low": 0, "high": [1, 2], "given": {MASS: [8, 9]},
    }  # fmt: skip
    others = [
        one,
        Uniform(0, [1, 3], given={MASS: [8, 9]}),
        Uniform([0, 1], [1, 3], given={MASS: [8, 9]}),
        StudentT(0, [1, 3], size=2, given={MASS: [8, 9]}),
    ]
    assert len({describe_quantiles([prior]) for prior in others}) == 4


def test_priors_beyond_the_grid_at_some_masses(emulated):
    library = make_library(
        emulated, Uniform([-3, -2.5], [-2, 0], given={MASS: [8, 12]})
    )
    with pytest.raises(
        InconsistentArguments,
        match=r"log10metallicity', \{uniform: \[\[-3.0, -2.5\], \[-2.0, 0.0"
        r"\]\], given: \{'stars/log10initial_mass': \[8.0, 12.0\]\}\}, must",
    ):
        library.sampler.check_inside("refuse")


# Mistakes.


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: Normal([0, 1], 1), r"mean of normal .* got \[0, 1\]. Lists "
         r"need the values of another parameter: given=\{'stars/"),
        (lambda: Uniform(0, 1, given=MASS), "one parameter and its values"),
        (lambda: Uniform(0, 1, given={}), r"as in given=\{'stars/.* got \{\}"),
        (lambda: Uniform(0, [1, 2], given={MASS: [9, 8]}), "ascending order"),
        (lambda: Uniform(0, [1], given={MASS: [9]}), "two or more"),
        (lambda: Uniform(0, [1, 2], given={MASS: [8, "x"]}),
         "values of 'stars/log10initial_mass' in given must be a list of fin"),
        (lambda: Uniform(0, [1, 2], given={MASS: [8, 9] * Msun}),
         "numbers without units, got unyt_array"),
        (lambda: Uniform(0, 1, given={MASS: [8, 9]}),
         "a list for one of low, high"),
        (lambda: Uniform(0, [1, 2, 3], given={MASS: [8, 9]}),
         "high of uniform must be a number, or one for each of the 2 values"),
        (lambda: Uniform(0, [1, -1], given={MASS: [8, 9]}),
         "bounds of uniform must ascend, got 0 and -1"),
        (lambda: Normal(0, [1, 0], given={MASS: [8, 9]}), "sigma of normal"),
        (lambda: Normal([0, 9], 0.5, high=1.0, given={MASS: [8, 9]}),
         "must begin or end within 10 sigma of the mean, got -inf to"),
        (lambda: Normal(0, [1, np.inf], given={MASS: [8, 9]}), "finite"),
        (lambda: StudentT([0, 1], 1), "mean of student_t must be a number"),
        (lambda: Choice([1, 2], given={MASS: [8, 9]}),
         "choice can't depend .* uniform, log_uniform, normal, student_t"),
        (lambda: Fixed(2, given={MASS: [8, 9]}), "fixed can't depend"),
        (lambda: Dirichlet(1, size=2, given={MASS: [8, 9]}),
         "dirichlet can't depend"),
        (lambda: Uniform(0, [1, 2], given={MASS: [8, 9]}).quantile(U),
         "needs values of 'stars/log10initial_mass'"),
        (lambda: mass_metallicity(solar=0), "solar of mass_metallicity"),
        (lambda: mass_metallicity(low="x"), "low of mass_metallicity"),
    ],
)  # fmt: skip
def test_invalid_priors_are_refused(make, message):
    with pytest.raises(InconsistentArguments, match=message):
        make()


def given(other, **options):
    return Uniform(0.0, [1.0, 2.0], given={other: [8, 9]}, **options)


@pytest.mark.parametrize(
    ("stars", "message"),
    [
        ({"tau_v": given("stars/log10mass")},
         "'stars: tau_v' can only be given another parameter .* "
         "metal_dist/log10metallicity, stars/log10initial_mass, redshift; got "
         "'stars/log10mass'. Did you mean 'stars/log10initial_mass'"),
        ({"tau_v": given("log10initial_mass")}, "Did you mean 'stars/log10"),
        ({"tau_v": given("stars/tau_v")},
         "in a circle: 'stars: tau_v' on 'stars: tau_v'. Leave out one"),
        ({"tau_v": given("stars/fesc"), "fesc": given("stars/tau_v")},
         "in a circle: 'stars: (tau_v|fesc)' on 'stars: (tau_v|fesc)' on"),
        ({"tau_v": given("stars/fesc"),
          "fesc": Uniform(0, 1, of="tau_v")}, "in a circle"),
    ],
)  # fmt: skip
def test_invalid_conditions_are_refused(stars, message):
    with pytest.raises(InconsistentArguments, match=message):
        make_parameters(-2.0, **stars)


def test_a_condition_must_be_one_number_per_galaxy():
    with pytest.raises(InconsistentArguments, match="with one number per gal"):
        Parameters.from_priors(
            {
                "sf_hist": {
                    "logsfr_ratios": Normal(0.0, 0.3, size=2),
                    "max_age": given("sf_hist/logsfr_ratios"),
                }
            },
            Planck18,
        )
