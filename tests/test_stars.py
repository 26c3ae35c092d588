"""Flows of the stars of galaxies, against closed forms and Synthesizer."""

import json
from dataclasses import replace

import h5py
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from astropy.cosmology import FlatLambdaCDM, Planck18
from astropy.table import Table
from camels import COSMOLOGY, camels_folder, load_camels
from click.testing import CliRunner
from scipy.stats import beta, lognorm, norm, t, uniform
from synthesizer.emission_models import IncidentEmission
from synthesizer.exceptions import (
    GridError,
    InconsistentArguments,
    IncorrectUnits,
    MissingAttribute,
)
from synthesizer.instruments import Instrument
from synthesizer.instruments.filters import FilterCollection
from synthesizer.particle import Galaxy, Stars
from unyt import Gyr, Mpc, Msun, angstrom, km, kpc, s

pytest.importorskip("flowjax", reason="needs the extra 'stars'")

from synthesizer_emulator.architectures.training import TrainingConfig
from synthesizer_emulator.cli.main import main
from synthesizer_emulator.cli.stars import ALIGNMENT_NAMES, FLOW_NAMES
from synthesizer_emulator.evaluation.measures.filters import nircam_top_hats
from synthesizer_emulator.stars import (
    DEFAULT_VARIABLES,
    FLOWS,
    AnalyticGalaxy,
    Cleaning,
    FlowConfig,
    GalaxyStars,
    StarFlow,
    StarTraining,
    as_stars,
    clean,
    evaluate_stars,
    read_galaxies,
    write_galaxies,
)
from synthesizer_emulator.stars.cleaning import ALIGNMENTS
from synthesizer_emulator.stars.conditions import (
    Conditions,
    check_ages,
    measure,
)
from synthesizer_emulator.stars.distances import (
    classifier_accuracy,
    energy_distance,
    sliced_wasserstein,
)
from synthesizer_emulator.stars.flows import build_flow
from synthesizer_emulator.stars.galaxies import check_possible, hint_of_ages
from synthesizer_emulator.stars.images import (
    ImageAutoencoder,
    ImageConfig,
    make_images,
)
from synthesizer_emulator.stars.light import StarLight, half_radii, image
from synthesizer_emulator.stars.particles import make_stars
from synthesizer_emulator.stars.plots import plot_traversals
from synthesizer_emulator.stars.populations import (
    UNIVERSE_AGE,
)
from synthesizer_emulator.stars.splines import Spline
from synthesizer_emulator.stars.transforms import StarTransform

EXACT = ("stellar_mass", "bulge_fraction", "disc_age")
QUICK = {
    "conditions": EXACT,
    "cleaning": None,
    "flow": FlowConfig(layers=2, width=16, depth=1, bins=5),
    "training": StarTraining(epochs=6, batch_size=256, learning_rate=3e-2),
    "progress": False,
}
GALAXY = AnalyticGalaxy(2e10, 0.3, 0.45)


def exact(galaxy):
    """Return the parameters of an analytic galaxy."""
    return {name: getattr(galaxy, name) for name in EXACT}


@pytest.fixture(scope="module")
def sample():
    """Return 40 analytic galaxies and some of their stars."""
    rng = np.random.default_rng(0)
    galaxies = AnalyticGalaxy.draw_many(40, rng)
    return galaxies, [g.draw(250, rng) for g in galaxies]


@pytest.fixture(scope="module")
def flow(sample):
    """Return a flow that knows a little."""
    return StarFlow.fit(sample[1], **QUICK)


# The analytic population.


def test_the_density_of_analytic_galaxies_is_normalised():
    rng = np.random.default_rng(1)
    n = 400_000
    # A proposal that covers the galaxy.
    proposal = {
        "x": t(2.0, scale=2.5),
        "y": t(2.0, scale=2.5),
        "z": t(2.0, scale=0.4),
        "age": uniform(0.0, UNIVERSE_AGE),
        "metallicity": lognorm(0.9, scale=0.02),
        "initial_mass": lognorm(0.25),
    }
    columns = {k: d.rvs(n, random_state=rng) for k, d in proposal.items()}
    log_proposal = sum(d.logpdf(columns[k]) for k, d in proposal.items())
    # The density is in units of the mean mass, so that the mean must be 1.
    mean = columns["initial_mass"].mean()
    columns["initial_mass"] /= mean
    stars = GalaxyStars(columns, universe_age=UNIVERSE_AGE)
    log_weights = GALAXY.log_density(stars) - log_proposal - np.log(mean)
    weights = np.exp(log_weights)
    error = weights.std() / np.sqrt(n)
    assert error < 0.02
    assert weights.mean() == pytest.approx(1.0, abs=4 * error)


def test_draws_of_analytic_galaxies_have_their_density():
    """The mean of p_b / p_a over draws of a is 1 only if they have p_a."""
    rng = np.random.default_rng(2)
    stars = GALAXY.draw(100_000, rng)
    for other in (
        AnalyticGalaxy(1.9e10, 0.3, 0.45),
        AnalyticGalaxy(2e10, 0.2, 0.45),
        AnalyticGalaxy(2e10, 0.3, 0.47),
    ):
        ratio = np.exp(other.log_density(stars) - GALAXY.log_density(stars))
        error = ratio.std() / np.sqrt(len(stars))
        assert error < 0.01
        assert ratio.mean() == pytest.approx(1.0, abs=4 * error)
    assert stars.masses.sum() == pytest.approx(2e10, rel=0.005)
    # The ages are a mixture of two beta distributions.
    ages = stars.columns["age"] / UNIVERSE_AGE
    below = 0.3 * beta(9.6, 2.4).cdf(0.5) + 0.7 * beta(2.25, 2.75).cdf(0.5)
    assert (ages < 0.5).mean() == pytest.approx(below, abs=0.006)
    # Half of the light of an exponential disc is within 1.678 scale lengths.
    disc = AnalyticGalaxy(2e10, 0.0, 0.45).draw(100_000, rng)
    radius = np.hypot(disc.columns["x"], disc.columns["y"])
    length = GALAXY.scale_length * (1.3 - 0.6 * disc.columns["age"] / 13.8)
    assert np.median(radius / length) == pytest.approx(1.678, abs=0.02)


def test_analytic_galaxies_refuse_impossible_parameters():
    with pytest.raises(
        InconsistentArguments, match=r"bulge_fraction must be .*0 to 1"
    ):
        AnalyticGalaxy(1e10, 1.2, 0.5)


# Transforms and flows.


def wide_stars(n=60, seed=3):
    """Return stars with all kinds of variables."""
    rng = np.random.default_rng(seed)
    return GalaxyStars(
        {
            "x": rng.normal(0, 5, n),
            "y": rng.normal(0, 5, n),
            "z": rng.normal(0, 1, n),
            "vx": rng.normal(0, 100, n),
            "vy": rng.normal(0, 100, n),
            "age": rng.uniform(0.1, 13.5, n),
            "metallicity": rng.lognormal(-4, 1, n),
            "initial_mass": rng.lognormal(10, 0.3, n),
            "fe_h": rng.normal(-0.5, 0.3, n),
        },
        universe_age=13.8,
    )


def test_transforms_invert_and_their_jacobians_are_exact():
    stars = wide_stars()
    transform = StarTransform.from_galaxies(
        tuple(stars.columns), [stars], np.zeros((1, 1))
    )
    values, log_determinant = transform.forward(stars, np.zeros(1))
    assert np.allclose(values.mean(axis=0), 0, atol=1e-9)
    assert np.allclose(values.std(axis=0), 1)
    columns = transform.inverse(values, np.zeros(1), 13.8)
    own = {**stars.columns, "initial_mass": stars.relative_masses}
    for name in own:
        assert np.allclose(columns[name], own[name], rtol=1e-9), name
    # Finite differences of the inverse, of all variables at once.
    step = 1e-5
    jacobian = np.empty((len(stars), len(own), len(own)))
    for i in range(len(own)):
        up, down = values.copy(), values.copy()
        up[:, i] += step
        down[:, i] -= step
        after, before = (
            transform.inverse(v, np.zeros(1), 13.8) for v in (up, down)
        )
        for j, name in enumerate(own):
            jacobian[:, j, i] = (after[name] - before[name]) / (2 * step)
    expected = -np.linalg.slogdet(jacobian)[1]
    assert np.allclose(log_determinant, expected, atol=1e-5)


def test_scaling_relations_are_taken_out():
    """Of galaxies that are alike but for their size and metallicity."""
    stars = wide_stars(2000)
    powers = {"x": 0.4, "y": 0.4, "metallicity": -0.7}
    given = np.array([[-1.0], [0.0], [1.5]])
    galaxies = [
        stars.with_columns(
            {k: stars.columns[k] * np.exp(p * g) for k, p in powers.items()}
        )
        for (g,) in given
    ]
    transform = StarTransform.from_galaxies(
        tuple(stars.columns), galaxies, given
    )
    values = [
        transform.forward(galaxy, row)[0]
        for galaxy, row in zip(galaxies, given, strict=True)
    ]
    assert np.allclose(values[0], values[2], atol=1e-9)
    assert np.allclose(np.std(values[1], axis=0), 1.0)
    index = tuple(stars.columns).index("metallicity")
    assert transform.relations[index] == pytest.approx([-0.7])
    columns = transform.inverse(values[0], given[2], 13.8)
    assert np.allclose(columns["x"], galaxies[2].columns["x"])


def test_any_point_is_a_possible_star():
    stars = wide_stars()
    transform = StarTransform.from_galaxies(
        tuple(stars.columns), [stars], np.zeros((1, 1))
    )
    points = np.random.default_rng(4).normal(0, 8, (1000, len(stars.columns)))
    columns = transform.inverse(points, np.zeros(1), 5.0)
    assert all(np.isfinite(c).all() for c in columns.values())
    assert columns["metallicity"].min() > 0
    assert columns["initial_mass"].min() > 0
    assert 0 < columns["age"].min() <= columns["age"].max() <= 5.0


def test_a_variable_of_one_value_is_refused():
    stars = wide_stars().with_columns({"initial_mass": np.ones(60)})
    with pytest.raises(
        InconsistentArguments,
        match=r"'initial_mass' has the single value 1 .* equal masses",
    ):
        StarTransform.from_galaxies(
            ("age", "initial_mass"), [stars], np.zeros((1, 1))
        )


def test_splines_invert_in_single_precision():
    rng = np.random.default_rng(5)
    widths, heights, slopes = (
        jnp.asarray(rng.normal(0, 4, (300, k)), jnp.float32)
        for k in (10, 10, 9)
    )
    x = jnp.asarray(rng.normal(0, 1.7, (300, 200)), jnp.float32)

    def spline(*parameters):
        spline = Spline(10, 3.0)
        for name, value in zip(
            ("widths", "heights", "slopes"), parameters, strict=True
        ):
            object.__setattr__(spline, name, value)
        return spline

    @jax.jit
    @jax.vmap
    def there_and_back(w, h, d, x):
        own = spline(w, h, d)
        y, log_slope = jax.vmap(own.transform_and_log_det)(x)
        back, log_back = jax.vmap(own.inverse_and_log_det)(y)
        slope = jax.vmap(jax.grad(lambda p: own.transform_and_log_det(p)[0]))(
            x
        )
        return y, log_slope, back, log_back, slope

    y, log_slope, back, log_back, slope = there_and_back(
        widths, heights, slopes, x
    )
    assert np.isfinite(log_back).all()
    outside = np.abs(x) >= 3
    assert (y[outside] == x[outside]).all()
    wrong = np.abs(np.exp(log_slope) / slope - 1) > 1e-2
    # At the knots of the steepest bins, the slope jumps.
    assert wrong.mean() < 1e-3
    # Where the slope is small, many points share one result; no point is
    # taken for one of another bin.
    moved = np.abs(back - x)
    assert np.quantile(moved * np.minimum(slope, 1.0), 0.999) < 1e-5
    assert moved.max() < 0.1


@pytest.mark.slow
@pytest.mark.parametrize(
    ("kind", "mixing"),
    [
        ("spline", "permutation"),
        ("autoregressive", "permutation"),
        ("block_autoregressive", "permutation"),
        ("nice", "linear"),
    ],
)
def test_flows_are_distributions(kind, mixing):
    """They invert, with the determinants of their Jacobians."""
    config = FlowConfig(kind, 2, width=4, depth=1, bins=4, mixing=mixing)
    # The masks of flowjax are made with implicit broadcasting.
    with jax.numpy_rank_promotion("allow"):
        flow = build_flow(config, 2, 2, jax.random.key(1))
    rng = np.random.default_rng(6)
    given, points = np.float32(rng.normal(0, 1, (2, 8, 2)))
    # Each point, and those of finite differences.
    step = np.float32(0.01)
    steps = np.float32([[0, 0], [step, 0], [-step, 0], [0, step], [0, -step]])
    around = (points + steps[:, None]).reshape(-1, 2)
    all_given = jnp.asarray(np.tile(given, (5, 1)))
    bijection = unwrap(flow).bijection
    noise, log_determinant = jax.jit(jax.vmap(bijection.inverse_and_log_det))(
        jnp.asarray(around), all_given
    )
    back = jax.jit(jax.vmap(bijection.transform))(noise, all_given)
    # One is inverted by bisection.
    assert np.allclose(back, around, atol=1e-2)
    moved = np.asarray(noise).reshape(5, 8, 2)
    jacobian = np.stack([moved[1] - moved[2], moved[3] - moved[4]], axis=-1)
    expected = np.linalg.slogdet(jacobian / (2 * step))[1]
    assert np.allclose(log_determinant[:8], expected, atol=0.02)
    # The points have moved.
    assert np.abs(moved[0] - points).max() > 0.01


def unwrap(flow):
    """Return a flow without the wrappers of its parameters."""
    import paramax

    return paramax.unwrap(flow)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"kind": "splines"}, r"kind must be one of .* Did you mean 'spline'"),
        ({"layers": 0}, "layers must be a whole number of at least 1"),
        ({"bound": -1.0}, "bound must be a number"),
    ],
)
def test_flows_refuse_invalid_settings(settings, message):
    with pytest.raises(InconsistentArguments, match=message):
        FlowConfig(**settings)


# Galaxies in.


def synthesizer_galaxy(stars, centre=(0.0, 0.0, 0.0), **options):
    """Return a galaxy of Synthesizer with the stars of an analytic one."""
    columns = stars.columns
    return Galaxy(
        name="one",
        redshift=0.5,
        centre=np.array(centre) * kpc,
        stars=Stars(
            initial_masses=columns["initial_mass"] * Msun,
            ages=(columns["age"] * 0.6) * Gyr,
            metallicities=columns["metallicity"].copy(),
            coordinates=(stars.positions + centre) * kpc,
            redshift=0.5,
            **options,
        ),
    )


def test_galaxies_of_synthesizer_are_taken_with_their_units(sample):
    own = sample[1][0]
    velocities = np.random.default_rng(7).normal(size=(len(own), 3))
    galaxy = synthesizer_galaxy(
        own, (30.0, 20.0, 10.0), velocities=velocities * km / s
    )
    galaxy.spin = 0.7
    taken = GalaxyStars.from_galaxy(galaxy, properties=["spin"])
    assert np.allclose(taken.positions, own.positions, atol=1e-3)
    assert np.allclose(taken.columns["age"], own.columns["age"] * 0.6)
    assert np.allclose(taken.masses, own.masses)
    assert np.allclose(taken.velocities, velocities)
    assert taken.properties == {"spin": 0.7}
    assert taken.universe_age == pytest.approx(Planck18.age(0.5).value)
    with pytest.raises(MissingAttribute, match=r"galaxy must have .*'size'"):
        GalaxyStars.from_galaxy(galaxy, properties=["size"])
    with pytest.raises(InconsistentArguments, match=r"particle gal.*got int"):
        GalaxyStars.from_galaxy(3)


def test_the_file_of_galaxies_keeps_them(sample, tmp_path):
    path = tmp_path / "galaxies.hdf5"
    write_galaxies(path, sample[1][:3])
    read = read_galaxies(path)
    for own, other in zip(sample[1][:3], read, strict=True):
        assert other.properties == own.properties
        assert other.universe_age == own.universe_age
        for name, values in own.columns.items():
            assert np.array_equal(other.columns[name], values)
    import h5py

    with h5py.File(path, "a") as hdf:
        hdf["stars/age"].attrs["Units"] = "Myr"
        hdf["galaxies/n_stars"][0] = 9
    with pytest.raises(GridError, match=r"n_stars' adds up to 509, but .*750"):
        read_galaxies(path)
    with h5py.File(path, "a") as hdf:
        hdf["galaxies/n_stars"][0] = 250
    age = read_galaxies(path)[0].columns["age"]
    assert np.allclose(age * 1e3, sample[1][0].columns["age"])


@pytest.mark.parametrize("align", ["inertia", "angular_momentum"])
def test_cleaning_finds_the_frame_of_a_disc(align):
    rng = np.random.default_rng(8)
    stars = AnalyticGalaxy(2e10, 0.0, 0.4).draw(3000, rng)
    rotating = np.cross([0, 0, 200.0], stars.positions) / 5.0
    turn = np.linalg.qr(rng.normal(size=(3, 3)))[0]
    turn *= np.sign(np.linalg.det(turn))
    shift, drift = np.array([40.0, -7.0, 12.0]), np.array([300.0, 0.0, -90.0])
    positions = stars.positions @ turn.T + shift
    velocities = rotating @ turn.T + drift
    moved = stars.with_columns(
        {
            **dict(zip("xyz", positions.T, strict=True)),
            **dict(zip(("vx", "vy", "vz"), velocities.T, strict=True)),
        }
    )
    (found,), report = clean([moved], Cleaning(align=align))
    assert report.cut["beyond the radius"] == 30
    # The original heights, but for the mean of the stars in the centre.
    radii = np.linalg.norm(stars.positions, axis=1)
    kept = np.sort(np.argsort(radii)[: len(found)])
    heights = np.abs(stars.columns["z"][kept])
    found_heights = np.abs(found.columns["z"])
    assert np.median(found_heights) == pytest.approx(
        np.median(heights), rel=0.1
    )
    spin = np.cross(found.positions, found.velocities).mean(axis=0)
    assert abs(spin[2]) > 0.999 * np.linalg.norm(spin)
    if align == "angular_momentum":
        assert spin[2] > 0


def test_cleaning_reports_what_it_cuts(sample):
    stars = sample[1][0]
    age, metallicity = (
        stars.columns[k].copy() for k in ("age", "metallicity")
    )
    age[:3] = 20.0
    metallicity[3:8] = 1e-5
    bad = stars.with_columns({"age": age, "metallicity": metallicity})
    few = stars.select(np.arange(20))
    kept, report = clean([bad, few], Cleaning(radius_quantile=1.0))
    assert len(kept) == 1
    assert len(kept[0]) == 242
    assert report.cut["older than the universe or not born"] == 3
    assert report.cut["below the floor of metallicity"] == 5
    assert "242 of 270 stars are kept" in str(report)
    assert "1 galaxies left out for too few stars: 1" in str(report)
    with pytest.raises(InconsistentArguments, match="No galaxy has 100"):
        clean([few])
    with pytest.raises(InconsistentArguments, match="needs velocities"):
        clean([stars], Cleaning(align="angular_momentum"))


@pytest.mark.skipif(camels_folder() is None, reason="needs cut-outs of CAMELS")
def test_simulated_galaxies_are_taken_and_cleaned():
    galaxies = load_camels(camels_folder(), "b")
    stars = as_stars(galaxies, cosmo=COSMOLOGY)
    kept, report = clean(stars)
    assert [g.name for g in kept] == [
        f"b{i}" for i in (0, 1, 2, 3, 6, 7, 8, 9)
    ]
    assert report.left_out == ("b4", "b5")
    assert report.stars == 3479
    for galaxy in kept:
        widths = np.median(np.abs(galaxy.positions), axis=0)
        assert widths[2] < 1.1 * widths[0]
        assert galaxy.columns["age"].max() < galaxy.universe_age < 13
        assert galaxy.columns["metallicity"].min() > 1e-5
    given = np.zeros((len(kept), 1))
    transform = StarTransform.from_galaxies(DEFAULT_VARIABLES, kept, given)
    values, log_determinant = transform.forward(kept[0], given[0])
    assert np.isfinite(values).all()
    assert np.isfinite(log_determinant).all()


def test_conditions_are_measured(sample):
    stars = sample[1][0]
    found = measure(
        stars, ["stellar_mass", "median_age", "age_p10", "disc_age"]
    )
    age = stars.columns["age"]
    assert found["stellar_mass"] == stars.masses.sum()
    assert (age < found["median_age"]).mean() == 0.5
    assert (age < found["age_p10"]).mean() == pytest.approx(0.1)
    assert found["disc_age"] == sample[0][0].disc_age
    with pytest.raises(
        InconsistentArguments, match=r"no property 'discage'.*mean 'disc_age'"
    ):
        measure(stars, ["discage"])


def test_conditions_are_scaled_by_name():
    # The logarithm of the second would be skew.
    values = np.array([[1e9, 0.1], [1e10, 0.2], [1e11, 0.3]])
    conditions = Conditions.from_values(("stellar_mass", "spin"), values)
    assert conditions.logged == (True, False)
    scaled = conditions.scaled(values)
    assert np.allclose(scaled.mean(axis=0), 0)
    assert np.allclose(scaled[:, 0], scaled[:, 1])
    assert np.array_equal(
        conditions.require({"spin": 0.2, "stellar_mass": 1e10 * Msun}),
        [1e10, 0.2],
    )
    with pytest.raises(InconsistentArguments, match=r"they lack spin"):
        conditions.require({"stellar_mass": 1e10})
    with pytest.raises(InconsistentArguments, match="must be positive"):
        conditions.require({"stellar_mass": 0.0, "spin": 0.2})
    with pytest.warns(match=r"stellar_mass = 1e\+12 is outside"):
        conditions.warn_if_outside(np.array([1e12, 0.2]))


# Flows of galaxies.


@pytest.mark.slow
def test_a_flow_approaches_the_true_density(sample, flow):
    """Of galaxies that it has not seen."""
    rng = np.random.default_rng(9)
    kl = []
    for galaxy in AnalyticGalaxy.draw_many(10, rng):
        stars = galaxy.draw(500, rng)
        found = flow.log_prob(stars, exact(galaxy))
        kl.append((galaxy.log_density(stars) - found).mean())
    # The best normal distribution of the transformed stars has 1.0.
    assert 0.0 < np.mean(kl) < 0.4


@pytest.mark.slow
def test_stars_are_drawn_for_synthesizer(flow, native):
    given = exact(GALAXY)
    stars = flow.sample(given, 3000, 1, grid=native)
    assert isinstance(stars, Stars)
    assert stars.nstars == 3000
    assert stars.initial_masses.sum().to_value("Msun") == pytest.approx(2e10)
    assert stars.ages.max() <= UNIVERSE_AGE * Gyr
    surviving = stars.calculate_surviving_mass(native).to_value("Msun")
    assert stars.current_masses.sum().to_value("Msun") == pytest.approx(
        surviving, rel=1e-4
    )
    # In any order, and the same with the same key.
    again = flow.sample(dict(reversed(given.items())), 3000, jax.random.key(1))
    assert np.array_equal(again.ages, stars.ages)
    other = flow.sample(given, 3000, 2)
    assert not np.array_equal(other.ages, stars.ages)
    smooth = flow.sample(given, 100, 1, smoothing_lengths=True)
    assert (smooth.smoothing_lengths > 0 * Mpc).all()
    # At another redshift, no star is older than the universe was.
    early = flow.sample(given, 3000, 1, redshift=3.0)
    assert early.redshift == 3.0
    assert early.ages.max().to_value("Gyr") <= Planck18.age(3.0).value


@pytest.mark.slow
def test_catalogues_of_galaxies_are_drawn(flow):
    names = ("stellar_mass", "bulge_fraction", "disc_age")
    catalogue = dict(
        zip(names, [[1e10, 3e10], [0.1, 0.5], [0.4, 0.5]], strict=True)
    )
    galaxies = flow.sample_galaxies(catalogue, 50, 3)
    masses = [g.stars.initial_masses.sum().to_value("Msun") for g in galaxies]
    assert np.allclose(masses, catalogue["stellar_mass"])
    with pytest.raises(InconsistentArguments, match="one length, got 1, 2"):
        flow.sample_galaxies({**catalogue, "disc_age": [0.4]}, 50, 3)


@pytest.mark.slow
def test_stars_of_synthesizer_have_the_density_of_their_arrays(flow):
    own = GALAXY.draw(300, np.random.default_rng(10))
    galaxy = synthesizer_galaxy(own)
    taken = GalaxyStars.from_galaxy(galaxy)
    given = exact(GALAXY)
    expected = flow.log_prob(taken, given)
    assert np.allclose(flow.log_prob(galaxy, given), expected)
    assert np.isfinite(expected).all()
    # Not only in the number of stars of one compiled chunk.
    first = flow.log_prob(taken.select(np.arange(300)), given)
    assert np.array_equal(first, expected)


@pytest.mark.slow
def test_a_file_keeps_a_flow(flow, tmp_path):
    path = tmp_path / "flow.hdf5"
    flow.write(path)
    read = StarFlow.read(path)
    assert read.about == flow.about
    own = GALAXY.draw(50, np.random.default_rng(11))
    given = exact(GALAXY)
    assert np.array_equal(read.log_prob(own, given), flow.log_prob(own, given))
    damaged = bytearray(path.read_bytes())
    damaged[-100] ^= 1
    path.write_bytes(damaged)
    with pytest.raises(GridError, match="does not match its checksum"):
        StarFlow.read(path)
    with pytest.raises(InconsistentArguments, match=r"must end in \.hdf5"):
        flow.write(tmp_path / "flow.pkl")
    write_galaxies(path, [own])
    with pytest.raises(
        GridError, match="is not a flow of stars, but a file of"
    ):
        StarFlow.read(path)


class Killed(Exception):
    """What stops a training."""


@pytest.mark.slow
def test_an_interrupted_training_resumes(sample, flow, tmp_path, monkeypatch):
    from synthesizer_emulator.building.progress import BuildMonitor

    path = tmp_path / "training.hdf5"
    report = BuildMonitor.report
    monkeypatch.setattr(
        "synthesizer_emulator.building.progress.SAVE_EVERY", 0.0
    )

    def stop(self, history, state):
        report(self, history, state)
        if len(history.epoch) == 3:
            raise Killed

    with monkeypatch.context() as patch:
        patch.setattr(BuildMonitor, "report", stop)
        with pytest.raises(Killed):
            StarFlow.fit(sample[1], checkpoint=path, **QUICK)
    assert path.exists()
    epochs = []

    def count(self, history, state):
        epochs.append(history.epoch[-1])

    monkeypatch.setattr(BuildMonitor, "report", count)
    resumed = StarFlow.fit(sample[1], checkpoint=path, **QUICK)
    assert epochs[0] == 4
    assert not path.exists()
    assert resumed.about.history == flow.about.history


@pytest.mark.parametrize(
    ("options", "kind", "message"),
    [
        ({"variables": ["x", "y"]}, InconsistentArguments, "must have age"),
        ({"flow": "cubic"}, InconsistentArguments, "kind must be one of"),
        ({"conditions": []}, InconsistentArguments, "conditions must be"),
        (
            {"variables": ["age", "metallicity", "vx"]},
            MissingAttribute,
            "no variable 'vx'",
        ),
    ],
)
def test_fits_refuse_what_they_can_not_learn(sample, options, kind, message):
    with pytest.raises(kind, match=message):
        StarFlow.fit(sample[1], **{**QUICK, **options})


# Evidence.


def test_the_light_of_stars_is_synthesizers(native):
    stars = GALAXY.draw(400, np.random.default_rng(12))
    filters = nircam_top_hats()
    light = StarLight.from_grid(native, filters)
    particles = make_stars(stars)
    model = IncidentEmission(native, per_particle=True)
    particles.get_spectra(model)
    own = light.spectrum(stars)
    expected = particles.spectra["incident"].lnu.to_value("erg/s/Hz")
    # Synthesizer's grid and particles are in single precision.
    assert np.allclose(own, expected, rtol=2e-4, atol=1e-6 * own.max())
    particles.get_photo_lnu(filters)
    particles.get_particle_photo_lnu(filters)
    luminosities = light.luminosities(stars)
    radii = half_radii(stars, luminosities)
    for i, code in enumerate(light.codes):
        band = particles.photo_lnu["incident"][code].to_value("erg/s/Hz")
        assert luminosities[:, i].sum() == pytest.approx(band, rel=2e-4)
        radius = particles.get_half_luminosity_radius("incident", code)
        assert radii[i] == pytest.approx(radius.to_value("kpc"), rel=1e-3)
    # All light is in the image, if it is wide enough.
    whole = image(stars, luminosities[:, 0], 1e4, 8)
    assert whole.sum() == pytest.approx(luminosities[:, 0].sum())


def test_distances_of_normal_distributions():
    rng = np.random.default_rng(13)
    a, b = rng.normal(size=(2, 2000, 1))
    # In one dimension, the shift; and E|X - Y| in closed form.
    assert sliced_wasserstein(a, a + 0.7, rng) == pytest.approx(0.7)
    shift = 1.0
    between = 2 * norm.pdf(shift / 2**0.5) * 2**0.5
    between += shift * (2 * norm.cdf(shift / 2**0.5) - 1)
    expected = 2 * between - 4 / np.pi**0.5
    assert energy_distance(a, b + shift, rng) == pytest.approx(
        expected, abs=0.05
    )
    assert abs(energy_distance(a, b, rng)) < 0.005


def test_resamplings_are_as_far_apart_as_draws():
    rng = np.random.default_rng(16)
    a = rng.normal(size=(300, 3))
    resampled, drawn = [], []
    for _ in range(40):
        pair = [a[rng.integers(0, 300, 300)] for _ in range(2)]
        resampled.append(energy_distance(*pair, rng))
        drawn.append(energy_distance(*rng.normal(size=(2, 300, 3)), rng))
    error = np.hypot(np.std(drawn), np.std(resampled)) / 40**0.5
    assert np.mean(resampled) == pytest.approx(np.mean(drawn), abs=4 * error)


@pytest.mark.slow
def test_a_classifier_tells_what_can_be_told():
    rng = np.random.default_rng(14)
    a, b = rng.normal(size=(2, 4000, 2))
    assert classifier_accuracy(a, b, 0) == pytest.approx(0.5, abs=0.03)
    # The same mean, but not the same shape.
    wide = b * [2.0, 1.0]
    edge = np.sqrt(8.0 / 3.0 * np.log(2.0))
    best = norm.cdf(edge) - 0.5 + norm.sf(edge / 2.0)
    assert classifier_accuracy(a, wide, 0) == pytest.approx(best, abs=0.03)


@pytest.mark.slow
def test_the_commands_train_draw_and_judge(sample, tmp_path, quick_figures):
    def run(*arguments):
        arguments = ["stars", *map(str, arguments)]
        result = CliRunner().invoke(main, arguments, catch_exceptions=False)
        assert result.exit_code == 0, result.output
        return result.output

    galaxies, flow, drawn, numbers = (
        tmp_path / name
        for name in ("in.hdf5", "flow.hdf5", "out.hdf5", "numbers.json")
    )
    named = [replace(g, name=f"g{i}") for i, g in enumerate(sample[1][:6])]
    write_galaxies(galaxies, named)
    catalogue = tmp_path / "catalogue.csv"
    catalogue.write_text(
        "name,stellar_mass,bulge_fraction,disc_age\na,2e10,0.3,0.4\n"
        "b,3e10,0.2,0.5\n"
    )
    conditions = [o for name in EXACT for o in ("--condition", name)]
    quick = ["--epochs", "2"]
    for setting in ("layers=1", "width=8", "depth=1"):
        quick += ["--set", setting]
    options = ["--as-they-are", "--quiet"]
    output = run(
        "train", galaxies, "--out", flow, "--leave-out", "g1",
        "--leave-out", "g4", *conditions, *quick, *options,
    )  # fmt: skip
    assert "1,000 stars of 4 galaxies for 2 epochs" in output
    output = run(
        "sample", flow, catalogue, "--out", drawn, "-n", 70, "--quiet",
        "--cosmo", "WMAP9",
    )  # fmt: skip
    assert "2 galaxies of 70 stars" in output
    found = read_galaxies(drawn)
    assert [g.name for g in found] == ["a", "b"]
    assert [g.masses.sum() for g in found] == pytest.approx([2e10, 3e10])
    output = run(
        "evaluate", flow, galaxies, "--grid", "bc03-example", "--json",
        numbers, "--plots", tmp_path / "plots", *options,
    )  # fmt: skip
    assert "2 galaxies of 250 to 250 stars" in output
    written = json.loads(numbers.read_text())["stars"]
    assert written["names"] == ["g1", "g4"]
    # A flow that knows nothing is told from the truth.
    assert written["accuracy"] > 0.6 > written["accuracy_floor"]
    assert np.median(written["magnitudes"]["drawn"]) > np.median(
        written["magnitudes"]["floor"]
    )
    plots = {path.name for path in (tmp_path / "plots").glob("*.png")}
    assert plots == {
        "corner.png", "profiles.png", "light.png", "magnitudes.png",
    }  # fmt: skip
    refused = CliRunner().invoke(
        main, ["stars", "train", str(galaxies), "--out", str(flow),
               "--overwrite", "--leave-out", "g9"],
    )  # fmt: skip
    assert "--leave-out must be one of g0, g1" in refused.output
    refused = CliRunner().invoke(
        main,
        ["stars", "sample", str(flow), str(catalogue), "--out", "x.hdf5",
         "--cosmo", "Plank18"],
    )  # fmt: skip
    assert "Did you mean 'Planck18'?" in " ".join(refused.output.split())
    for command in (
        ("train", galaxies, "--out", flow),
        ("sample", flow, catalogue, "--out", drawn),
    ):
        arguments = ["stars", *map(str, command)]
        refused = CliRunner().invoke(main, arguments)
        assert "exists: choose another file" in refused.output


def test_ages_in_other_units_are_found(sample):
    """And not cut, but for the few stars that could be."""
    galaxy = sample[1][0]
    for units, factor in (("Myr", 1e3), ("yr", 1e9)):
        wrong = galaxy.with_columns({"age": factor * galaxy.columns["age"]})
        for attempt in (lambda g: clean([g]), check_possible):
            with pytest.raises(
                InconsistentArguments, match=f"seem to be in {units}: convert"
            ):
                attempt(wrong)
    with pytest.raises(
        InconsistentArguments, match=r"got 5000 Gyr\. They seem"
    ):
        check_ages(["median_age"], np.array([5000.0]), 13.8)
    # A little too old, by another cosmology.
    assert not hint_of_ages(14.0, 13.8)


def test_text_is_no_property(sample, tmp_path):
    galaxy = sample[1][0]
    with pytest.raises(InconsistentArguments, match="'type' of the galaxy 'a"):
        replace(galaxy, name="a", properties={"type": "disc"})
    with pytest.raises(InconsistentArguments, match="column 'age' of a gal"):
        galaxy.with_columns({"age": np.full(len(galaxy), "old")})
    path = tmp_path / "galaxies.hdf5"
    write_galaxies(path, [galaxy])
    with h5py.File(path, "r+") as hdf:
        hdf["properties/type"] = ["disc"]
    with pytest.raises(
        GridError, match=r"'properties/type' .* numbers, got t"
    ):
        read_galaxies(path)
    named = Galaxy(stars=make_stars(galaxy), redshift=0.0, name="disc")
    with pytest.raises(InconsistentArguments, match="'name' of the galaxy"):
        as_stars([named], properties=["name"])
    with pytest.raises(InconsistentArguments, match="each name once, got st"):
        StarFlow.fit([galaxy], **{**QUICK, "conditions": ["stellar_mass"] * 2})


def test_the_command_line_knows_all_flows():
    assert tuple(FLOWS) == FLOW_NAMES
    assert set(ALIGNMENT_NAMES) == set(ALIGNMENTS)


@pytest.mark.slow
def test_galaxies_of_the_training_do_not_judge(sample, flow, native):
    seen = replace(flow.about, galaxies=("seen",))
    known = replace(sample[1][0], name="seen")
    with pytest.raises(InconsistentArguments, match="seen were not"):
        evaluate_stars(StarFlow(seen, flow.flow), [known], native)


# Images.


def test_images_have_the_light_of_the_stars(sample, native):
    filters = FilterCollection(
        tophat_dict={
            name: {"lam_min": low * angstrom, "lam_max": high * angstrom}
            for name, low, high in (("g", 4000, 5500), ("z", 8000, 9500))
        }
    )
    camera = Instrument("camera", filters=filters, resolution=3 * kpc)
    pictures = make_images(sample[1][:2], native, camera, 9)
    assert pictures.shape == (2, 9, 9, 2)
    for stars, picture in zip(sample[1][:2], pictures, strict=True):
        light = StarLight.from_grid(native, filters).luminosities(stars)
        inside = (np.abs(stars.positions[:, :2]) < 13.5).all(axis=1)
        assert np.allclose(
            picture.sum(axis=(0, 1)), light[inside].sum(axis=0), rtol=1e-3
        )


@pytest.mark.slow
def test_latents_of_images_tell_galaxies_apart(sample, tmp_path):
    """Exponential discs of two sizes, one for each band."""
    rng = np.random.default_rng(15)
    x, y = np.meshgrid(*2 * [np.linspace(-4.0, 4.0, 5)])
    sizes = rng.uniform(0.6, 2.5, (130, 1, 1, 2))
    pictures = np.exp(-np.hypot(x, y)[None, :, :, None] / sizes)
    autoencoder = ImageAutoencoder.fit(
        pictures[:100],
        ImageConfig(latents=2, channels=(4, 8)),
        TrainingConfig(
            epochs=40, check_every=20, batch_size=10, learning_rate=2e-2
        ),
    )
    losses = autoencoder.about.history.validation
    assert min(losses) < losses[0]
    # Of galaxies that it has not seen.
    images = autoencoder.decode(autoencoder.encode(pictures[100:]))
    fractions = pictures / pictures.sum(axis=(1, 2), keepdims=True)
    wrong = np.abs(images - fractions[100:]).mean()
    by_mean = np.abs(fractions[:100].mean(axis=0) - fractions[100:]).mean()
    assert wrong < 0.8 * by_mean
    galaxies = autoencoder.add_latents(sample[1][:2], pictures[:2])
    assert autoencoder.names == ("latent_0", "latent_1")
    assert set(autoencoder.names) < galaxies[0].properties.keys()
    path = tmp_path / "autoencoder.hdf5"
    autoencoder.write(path)
    read = ImageAutoencoder.read(path)
    assert np.array_equal(read.encode(pictures), autoencoder.encode(pictures))
    assert read.about == autoencoder.about
    with pytest.raises(
        GridError, match="is not a flow of stars, but an autoenc"
    ):
        StarFlow.read(path)
    with pytest.raises(InconsistentArguments, match="must have the shape"):
        autoencoder.encode(pictures[:, :4])
    with pytest.raises(InconsistentArguments, match="some light in each"):
        ImageAutoencoder.fit(np.zeros((3, 4, 4, 1)))
    figure = plot_traversals(autoencoder, pictures)
    # Five images of each latent, and the bar of their colours.
    assert len(figure.axes) == 12
    figure.savefig(tmp_path / "traversals.png")


# What a newcomer met.


def test_what_is_far_from_the_training_set_is_said(flow):
    given = exact(GALAXY)
    for factor in (1e-3, 1e-9, 1e3):
        mass = factor * given["stellar_mass"]
        with pytest.warns(RuntimeWarning, match="stars are extrapolated"):
            flow.draw({**given, "stellar_mass": mass}, 5, 0)
    for name, value, says in (
        ("bulge_fraction", 0.2 * kpc, "must be a number without"),
        ("bulge_fraction", np.ma.masked, "must be one finite number"),
        ("bulge_fraction", None, "must be one finite number"),
        ("bulge_fraction", "0.2", "must be one finite number"),
    ):
        with pytest.raises(
            (InconsistentArguments, IncorrectUnits), match=says
        ):
            flow.draw({**given, name: value}, 5, 0)


def test_tables_have_units_and_no_blank_cells(flow):
    given = exact(GALAXY)
    rows = {name: [value, value] for name, value in given.items()}
    table = Table(rows, masked=True)
    plain = [*flow.draw_many(table, 5, 0)]
    table["stellar_mass"] = table["stellar_mass"] / 1e9
    table["stellar_mass"].unit = "1e9 solMass"
    for one, other in zip(flow.draw_many(table, 5, 0), plain, strict=True):
        np.testing.assert_allclose(one.masses, other.masses, rtol=1e-6)
    table["bulge_fraction"].mask = [False, True]
    with pytest.raises(InconsistentArguments, match=r"Galaxy '1': The condi"):
        [*flow.draw_many(table, 5, 0)]
    with pytest.raises(InconsistentArguments, match="has a single number"):
        [*flow.draw_many(given, 5, 0)]


def test_the_universe_of_the_flow_is_that_of_its_training(flow):
    """Analytic galaxies have another age than that of Planck18."""
    given = exact(GALAXY)
    drawn = flow.draw(given, 200, 1)
    expected = flow.log_prob(drawn, given)
    stars = flow.sample(given, 200, 1)
    np.testing.assert_allclose(
        flow.log_prob(stars, given), expected, atol=5e-3
    )
    with pytest.raises(InconsistentArguments, match="give that of the train"):
        flow.sample(given, 5, 0, redshift=1.0, cosmo=FlatLambdaCDM(60.0, 0.3))
    cosmo = FlatLambdaCDM(70.0, 0.3)
    age = cosmo.age(0.0).to_value("Gyr")
    other = FlatLambdaCDM(70.0 * age / UNIVERSE_AGE, 0.3)
    early = flow.sample(given, 300, 0, redshift=1.0, cosmo=other)
    assert early.ages.max() < other.age(1.0).to_value("Gyr") * Gyr
    with pytest.raises(InconsistentArguments, match="give the universe_age"):
        flow.draw(given, 5, 0, redshift=20.0)
    for age in (-3.0, 13e9):
        with pytest.raises(InconsistentArguments, match="universe_age must"):
            flow.draw(given, 5, 0, universe_age=age)


def test_stars_that_can_not_be_have_no_density(flow):
    given = exact(GALAXY)
    drawn = flow.draw(given, 50, 1)
    expected = flow.log_prob(drawn, given)
    for name, value in (
        ("age", -1.0),
        ("age", 50.0),
        ("metallicity", 0.0),
    ):
        column = drawn.columns[name].copy()
        column[7] = value
        found = flow.log_prob(drawn.with_columns({name: column}), given)
        assert found[7] == -np.inf
        np.testing.assert_allclose(
            np.delete(found, 7), np.delete(expected, 7), atol=1e-6
        )
    column[7] = np.nan
    with pytest.raises(InconsistentArguments, match="must be finite"):
        flow.log_prob(drawn.with_columns({"metallicity": column}), given)
    wrong = drawn.with_columns({"age": -drawn.columns["age"]})
    with pytest.raises(InconsistentArguments, match="50 of the 50 stars"):
        StarFlow.fit([wrong], **QUICK)


def test_files_of_galaxies_that_can_not_be(sample, tmp_path):
    stars = sample[1][:2]
    path = tmp_path / "g.hdf5"
    write_galaxies(
        path, [replace(g, name=n) for g, n in zip(stars, "ab", strict=True)]
    )
    with pytest.raises(
        InconsistentArguments, match="different names, got 'a'"
    ):
        write_galaxies(path, [replace(g, name="a") for g in stars])
    for name, values in (
        ("n_stars", [-250, 750]),
        ("redshift", [0.0, np.nan]),
        ("universe_age", [-2.0, 13.0]),
    ):
        other = tmp_path / f"{name}.hdf5"
        other.write_bytes(path.read_bytes())
        with h5py.File(other, "r+") as hdf:
            del hdf[f"galaxies/{name}"]
            hdf[f"galaxies/{name}"] = values
        with pytest.raises(GridError, match=f"galaxies/{name}' has a value"):
            read_galaxies(other)
