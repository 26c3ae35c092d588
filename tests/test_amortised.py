"""Amortised posteriors, against closed forms and brute force."""

import warnings
from dataclasses import replace
from importlib.util import find_spec

import numpy as np
import pytest
from scipy import stats
from synthesizer.emission_models import IncidentEmission
from synthesizer.exceptions import (
    GridError,
    InconsistentArguments,
    IncorrectUnits,
)
from unyt import uJy, yr

from synthesizer_emulator.files.sealed import write_sealed
from synthesizer_emulator.inference import Fit, Network, Photometry
from synthesizer_emulator.inference.amortised.noise import Noise, Observations
from synthesizer_emulator.inference.amortised.sampler import tail_shape
from synthesizer_emulator.inference.amortised.scaling import Scaling
from synthesizer_emulator.library import History, LogUniform, Uniform

CODES = ("blue", "green", "red")
EDGES = {"blue": (4e3, 5e3), "green": (5e3, 7e3), "red": (9e3, 12e3)}
FLOOR, LIMIT = 0.05, 2.0

# The errors of a survey, nJy; a third of its galaxies lack the second band.
ERRORS = np.array([[9e2, 1.2e3, 9e2], [1.2e3, np.nan, 1.2e3], [1e3] * 3])

# Enough for two parameters, in a few seconds.
QUICK = {
    "n": 2000,
    "transforms": 2,
    "hidden": 32,
    "batch_size": 100,
    "learning_rate": 3e-3,
    "epochs": 20,
    "progress": False,
}

needs_sbi = pytest.mark.skipif(
    find_spec("sbi") is None, reason="needs sbi (the extra 'amortised')"
)


def make_fit(grid, **changed):
    options = {
        "metal_dist": History("DeltaConstant", {"metallicity": 0.01}),
        "stars": {"log10initial_mass": Uniform(8.0, 11.0)},
        "sf_hist": History(
            "Constant", {"max_age": LogUniform(1e7, 1e9, units="yr")}
        ),
    }
    return Fit(
        IncidentEmission(grid),
        filters=EDGES,
        redshift=0.5,
        **options | changed,
    )


@pytest.fixture(scope="module")
def fit(emulated):
    return make_fit(emulated)


@pytest.fixture(scope="module")
def network(fit):
    if find_spec("sbi") is None:
        pytest.skip("needs sbi (the extra 'amortised')")
    with warnings.catch_warnings():
        # It is not trained to the end.
        warnings.simplefilter("ignore", RuntimeWarning)
        return fit.train(ERRORS, floor=FLOOR, limit=LIMIT, **QUICK)


def galaxy(fit, point=(0.6, 0.4), missing=False, limits=()):
    """Return the photometry of a galaxy with the noise of the survey."""
    flux = fit.predict(np.array([point]))["photometry"][0]
    flux = flux * [1.03, 0.97, 1.01]
    if missing:
        flux[1] = np.nan
    for code in limits:
        flux[CODES.index(code)] = LIMIT * 1e3
    return fit.photometry(flux, [1e3] * 3, limits, FLOOR)


def by_brute_force(fit, data, n=200):
    """Return the mean and the deviation of the parameters, and ln Z."""
    x = (np.arange(n) + 0.5) / n
    points = np.stack(np.meshgrid(x, x, indexing="ij"), -1).reshape(-1, 2)
    log_likelihood = fit.log_likelihood(points, data)
    weights = np.exp(log_likelihood - log_likelihood.max())
    log_evidence = log_likelihood.max() + np.log(weights.mean())
    return *moments(points, weights / weights.sum()), log_evidence


def moments(points, weights):
    """Return the mean and the standard deviation of each parameter."""
    mean = weights @ points
    return mean, np.sqrt(weights @ np.square(points - mean))


@needs_sbi
@pytest.mark.slow
@pytest.mark.parametrize(
    "case",
    [
        {},
        {"missing": True},
        {"point": (0.1, 0.5), "limits": ["red"]},
    ],
    ids=["measured", "missing", "limit"],
)
def test_the_posterior_is_that_of_brute_force(fit, network, case):
    data = galaxy(fit, **case)
    posterior = fit.run(
        data, method="amortised", network=network, progress=False
    )
    mean, deviation, log_evidence = by_brute_force(fit, data)
    got_mean, got_deviation = moments(
        posterior.samples.points, posterior.weights
    )
    assert abs(posterior.log_evidence - log_evidence) < 0.1
    assert (abs(got_mean - mean) < 0.1 * deviation).all()
    np.testing.assert_allclose(got_deviation, deviation, rtol=0.08)
    assert posterior.warnings == ()
    assert posterior.samples.diagnostics["efficiency"] > 0.02


@needs_sbi
@pytest.mark.slow
def test_draws_without_weights(fit, network):
    def drawn(data):
        return fit.run(
            data,
            method="amortised",
            network=network,
            n_eff=500,
            reweight=False,
            progress=False,
        )

    data = galaxy(fit)
    posterior = drawn(data)
    assert len(posterior.weights) == 500
    assert np.ptp(posterior.weights) == 0.0
    assert np.isnan(posterior.log_evidence)
    mean, deviation, _ = by_brute_force(fit, data)
    got, spread = moments(posterior.samples.points, posterior.weights)
    # Those of a small network.
    assert (abs(got - mean) < 1.5 * deviation).all()
    assert (spread < 5.0 * deviation).all()
    # The posterior of data of a larger floor is wider than the network knows.
    missed = drawn(fit.photometry(data.flux, [1e3] * 3, floor=0.2))
    assert not missed.is_converged
    assert "Give the data the floor" in missed.warnings[0]
    limited = galaxy(fit, (0.1, 0.5), limits=["red"])
    assert network.other_limits(limited) == ()
    five = np.where(limited.is_limit, 5.0 / LIMIT, 1.0) * limited.flux
    higher = replace(limited, flux=five)
    assert network.other_limits(higher) == ("red",)
    assert network.other_limits(replace(data, flux=five)) == ()
    other = drawn(higher)
    assert "upper limits in red are not those of" in other.warnings[-1]
    assert not other.is_converged


@needs_sbi
@pytest.mark.slow
def test_the_density_of_draws_is_that_in_the_hypercube(fit, network):
    """The mean of one over the density in a box is the volume of the box."""
    points, log_density = network.draw(galaxy(fit, (0.2, 0.5)), 20_000, 1)
    low, high = np.quantile(points, [0.25, 0.75], axis=0)
    inside = ((points > low) & (points < high)).all(axis=1)
    volume = np.mean(inside * np.exp(-log_density))
    np.testing.assert_allclose(volume, np.prod(high - low), rtol=0.1)


@needs_sbi
@pytest.mark.slow
def test_a_file_gives_the_same_draws(fit, network, tmp_path):
    path = tmp_path / "network.hdf5"
    network.write(path)
    again = Network.read(path)
    data = galaxy(fit, missing=True)
    for one, other in zip(
        network.draw(data, 50, 3), again.draw(data, 50, 3), strict=True
    ):
        np.testing.assert_array_equal(one, other)
    assert again.distance(data) == network.distance(data)
    assert again.settings == network.settings
    assert repr(again).startswith("Network of the posteriors of ")
    assert len(repr(again)) < 1000
    posterior = fit.run(
        data, method="amortised", network=again, n_eff=200, progress=False
    )
    assert posterior.samples.effective_size > 190


@needs_sbi
@pytest.mark.slow
def test_files_that_are_not_read(network, tmp_path):
    path = tmp_path / "network.hdf5"
    with pytest.raises(InconsistentArguments, match=r"must end in .hdf5"):
        network.write(tmp_path / "network.pt")
    network.write(path)
    contents = bytearray(path.read_bytes())
    contents[-100] ^= 1
    path.write_bytes(contents)
    with pytest.raises(GridError, match=r"checksum.*train the network again"):
        Network.read(path)
    other = replace(network.settings, hidden=16)
    replace(network, settings=other).write(path)
    with pytest.raises(GridError, match=r"not those of a flow"):
        Network.read(path)
    with write_sealed(path) as hdf:
        hdf.attrs["format"] = "another"
    with pytest.raises(GridError, match=r"is not a network of"):
        Network.read(path)


@needs_sbi
@pytest.mark.slow
def test_a_network_of_other_priors_is_refused(emulated, fit, network):
    data = galaxy(fit)
    wider = make_fit(emulated, stars={"log10initial_mass": Uniform(7.0, 11.0)})
    with pytest.raises(
        InconsistentArguments, match=r"differs in parameters\."
    ):
        wider.run(data, method="amortised", network=network, progress=False)
    with pytest.raises(InconsistentArguments, match=r"got network=None"):
        fit.run(data, method="amortised", progress=False)
    with pytest.raises(InconsistentArguments, match=r"`known` values of 1"):
        fit.run(
            data,
            method="amortised",
            network=network,
            known={"stars/log10initial_mass": 9.0},
            progress=False,
        )


@needs_sbi
@pytest.mark.slow
def test_data_unlike_the_training_set(fit, network):
    data = galaxy(fit)
    without = fit.photometry({"green": 1e5, "red": 1e5}, [1e3] * 3)
    with pytest.raises(InconsistentArguments, match=r"blue are missing in"):
        fit.run(without, "amortised", network=network, progress=False)
    assert network.distance(data) < 1.0
    # In microjanskys instead of nanojanskys.
    tiny = fit.photometry(
        np.asarray(data.flux) / 1e3, np.asarray(data.error) / 1e3
    )
    posterior = fit.run(
        tiny, "amortised", network=network, max_draws=2000, progress=False
    )
    assert posterior.warnings[0].startswith("The data are unlike")


@needs_sbi
@pytest.mark.slow
def test_training_is_reproducible_and_leaves_no_traces(
    fit, tmp_path, monkeypatch, capsys
):
    import torch

    monkeypatch.chdir(tmp_path)
    before = torch.random.get_rng_state()
    quick = QUICK | {"n": 200, "epochs": 2}
    with pytest.warns(RuntimeWarning, match=r"2 epochs before it converged"):
        one, other = (fit.train([1e3] * 3, **quick) for _ in range(2))
    for name, tensor in one.tensors.items():
        np.testing.assert_array_equal(tensor, other.tensors[name])
    assert torch.equal(before, torch.random.get_rng_state())
    assert not list(tmp_path.iterdir())
    assert not capsys.readouterr().out
    with pytest.raises(InconsistentArguments, match=r"green are missing in"):
        one.check_seen(galaxy(fit, missing=True))
    with pytest.raises(InconsistentArguments, match=r"red are upper limits"):
        one.check_seen(galaxy(fit, limits=["red"]))


def test_noise_has_the_distribution_of_the_likelihood():
    n, true = 50_000, np.array([3e3, 2e3, 5e4])
    noise = Noise.from_errors(ERRORS, CODES, floor=FLOOR, limit=LIMIT)
    seen = noise.observe(np.tile(true, (n, 1)), np.random.default_rng(0))
    assert abs(seen.is_observed[:, 1].mean() - 2 / 3) < 0.01
    assert seen.is_observed[:, [0, 2]].all()
    # One of the sets of errors, whose own errors are known.
    own = np.isclose(seen.error, np.hypot(1e3, FLOOR * seen.flux)).all(axis=1)
    data = Photometry.from_fluxes(
        {"green": LIMIT * 1e3}, {"green": 1e3}, CODES, "green", FLOOR
    )
    probability = np.exp(data.log_likelihood(true))
    assert abs(own.mean() - 1 / 3) < 0.01
    assert abs(seen.is_limit[own, 1].mean() - probability) < 0.01
    bright = seen.flux[own, 2]
    sigma = np.hypot(1e3, FLOOR * 5e4)
    assert stats.kstest(bright, stats.norm(5e4, sigma).cdf).pvalue > 1e-3


def test_noise_of_errors_by_code():
    noise = Noise.from_errors(
        {"red": 2.0, "blue": np.array([1e-3, np.nan]) * uJy}, CODES
    )
    np.testing.assert_allclose(
        noise.errors, [[1.0, np.nan, 2.0], [np.nan, np.nan, 2.0]]
    )
    seen = noise.observe(np.ones((9, 3)), np.random.default_rng(0))
    assert not seen.is_observed[:, 1].any()
    assert not seen.is_limit.any()


@pytest.mark.parametrize(
    ("errors", "error", "message"),
    [
        ({"blu": 1.0}, InconsistentArguments, r"Did you mean"),
        ([1.0, 2.0], InconsistentArguments, r"3 filters blue.*\(2,\)"),
        ([1.0, 0.0, 3.0], InconsistentArguments, r"got 0 nJy in green, row 0"),
        ([np.nan] * 3, InconsistentArguments, r"At least one galaxy"),
        ({}, InconsistentArguments, r"At least one galaxy"),
        ([1.0, 2.0, 3.0] * yr, IncorrectUnits, r"errors"),
        (
            {"blue": [1.0, 2.0], "red": [1.0, 2.0, 3.0]},
            InconsistentArguments,
            r"shapes \(2,\), \(3,\)",
        ),
    ],
)
def test_bad_errors(errors, error, message):
    with pytest.raises(error, match=message):
        Noise.from_errors(errors, CODES)


@needs_sbi
def test_bad_settings(fit):
    with pytest.raises(InconsistentArguments, match=r"unknown.*epoch.*mean"):
        fit.train([1.0] * 3, epoch=3)
    with pytest.raises(InconsistentArguments, match=r"hidden must be a whole"):
        fit.train([1.0] * 3, hidden=0)
    with pytest.raises(InconsistentArguments, match=r"n must be .* 100, got"):
        fit.train([1.0] * 3, n=10)
    with pytest.raises(InconsistentArguments, match=r"limit must be a number"):
        fit.train([1.0] * 3, limit=-1.0)


def test_inputs_are_uncorrelated():
    rng = np.random.default_rng(1)
    flux = 10.0 ** rng.uniform(2, 6, (5000, 1)) * [1.0, 1.5, 2.0]
    noise = Noise.from_errors(ERRORS, CODES, floor=FLOOR, limit=LIMIT)
    seen = noise.observe(flux, rng)
    scaling = Scaling.from_training(seen)
    inputs = scaling.inputs(seen)
    n_masks = 4  # Limits in three bands, and one band that may be missing.
    assert inputs.shape == (5000, scaling.size)
    values, masks = inputs[:, :-n_masks], inputs[:, -n_masks:]
    assert set(np.unique(masks)) == {0.0, 1.0}
    np.testing.assert_allclose(values.mean(axis=0), 0.0, atol=1e-9)
    np.testing.assert_allclose(
        values.T @ values / 5000, np.eye(values.shape[1]), atol=1e-8
    )
    inside = scaling.distance(seen) <= scaling.radius
    assert abs(inside.mean() - 0.999) < 1e-3
    constant = Noise.from_errors([1.0, 1.0, 1.0], CODES)
    alike = Scaling.from_training(constant.observe(flux, rng))
    assert alike.size == 3


def test_bands_that_no_galaxy_had():
    noise = Noise.from_errors({"blue": 1.0, "red": 1.0}, CODES)
    rng = np.random.default_rng(1)
    seen = noise.observe(10.0 ** rng.uniform(0, 2, (500, 3)), rng)
    scaling = Scaling.from_training(seen)
    assert scaling.size == 2
    one = Observations(*(x[:1] for x in vars(seen).values()))
    assert not scaling.unseen(one).any()
    measured = replace(one, is_observed=np.ones((1, 3), bool))
    np.testing.assert_array_equal(
        scaling.unseen(measured)[0], [False, True, False]
    )


@pytest.mark.parametrize("shape", [0.3, 0.6, 1.0])
def test_the_shape_of_a_pareto_tail(shape):
    weights = np.random.default_rng(4).random(20_000) ** -shape
    assert abs(tail_shape(weights) - shape) < 0.2
    assert np.isnan(tail_shape(np.ones(1000)))
    assert np.isnan(tail_shape(np.ones(3)))
