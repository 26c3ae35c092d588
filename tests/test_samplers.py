"""Samplers other than `nested`, against closed forms and brute force."""

import json
import os
import subprocess
import sys
import warnings
from pathlib import Path
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax import Array
from jax.scipy.special import ndtri
from jax.scipy.stats import norm
from synthesizer.emission_models import IncidentEmission
from synthesizer.exceptions import InconsistentArguments

from synthesizer_emulator.inference import Fit, Posterior, plot_corner
from synthesizer_emulator.inference.most_probable import most_probable
from synthesizer_emulator.inference.nss import nss, nss_of_many
from synthesizer_emulator.inference.nuts import nuts, nuts_of_many
from synthesizer_emulator.inference.samplers import SAMPLERS
from synthesizer_emulator.inference.samples import Samples
from synthesizer_emulator.inference.target import Target
from synthesizer_emulator.library import History, LogUniform, Normal, Uniform

FILTERS = {"blue": (4e3, 5e3), "green": (5e3, 7e3), "red": (9e3, 12e3)}
SIGMA = np.array([0.05, 0.02, 0.08])

# Small enough for tests.
QUICK = {
    "nss": {"n_live": 200},
    "nuts": {"chains": 2, "n_warmup": 300, "n_samples": 500},
    "map": {},
}


class Peaks(NamedTuple):
    """Two Gaussians, in the part of the hypercube above a limit."""

    means: Array
    second: Array
    limit: Array

    @classmethod
    def of(cls, *means, second=-jnp.inf, limit=-1.0):
        both = np.resize(np.array(means), (2, 3))
        return cls(*map(jnp.asarray, (both, second, limit)))


def peaks(arguments, point):
    """The integral of the first over the hypercube is one."""
    each = norm.logpdf(point[None], arguments.means, SIGMA[None]).sum(axis=1)
    value = jnp.logaddexp(each[0], each[1] + arguments.second)
    return jnp.where(point[0] > arguments.limit, value, -jnp.inf)


def target(*means, **options):
    return Target(peaks, Peaks.of(*means, **options), 3)


FIRST, SECOND = [0.5, 0.4, 0.6], [0.3, 0.7, 0.5]
TARGETS = [target(FIRST), target(SECOND)]
APART = target([0.2, 0.5, 0.5], [0.8, 0.5, 0.5], second=-1.0)
CUT = target([0.5, 0.5, 0.5], limit=0.5)


def compiled(caplog, call):
    """Return how many functions of samplers a call compiles, and its value."""
    caplog.clear()
    with jax.log_compiles(), caplog.at_level("WARNING"):
        value = call()
    found = [r for r in caplog.messages if "over_galaxies" in r]
    return sum("Finished XLA compilation" in r for r in found), value


@pytest.mark.slow
@pytest.mark.thorough
def test_galaxies_are_divided_between_devices():
    """In another process, as JAX counts processors once."""
    script = """
import json
import jax.numpy as jnp
import test_samplers as here
from synthesizer_emulator.inference.target import over_galaxies, stacked

def call(function, _, arguments, point):
    return function(arguments, point)

values = over_galaxies(
    call, here.peaks, 0, (), stacked(here.TARGETS), jnp.full((2, 3), 0.5)
)
found = here.nss_of_many(here.TARGETS, [5, 6], n_live=200)
devices = len(values.sharding.device_set)
print(json.dumps([devices, [x.log_evidence for x in found]]))
"""
    flags = "--xla_force_host_platform_device_count=4"
    done = subprocess.run(
        [sys.executable, "-c", script],
        env={**os.environ, "XLA_FLAGS": flags, "JAX_PLATFORMS": "cpu"},
        cwd=Path(__file__).parent,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    devices, evidence = json.loads(done.stdout.splitlines()[-1])
    assert devices == 2
    # The integrals are one.
    assert np.all(abs(np.array(evidence)) < 0.5)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("method", "of_many"), [("nss", nss_of_many), ("nuts", nuts_of_many)]
)
def test_closed_forms(method, of_many, caplog, monkeypatch):
    options = QUICK[method]
    targets, seeds = [*TARGETS, APART], [5, 6, 7]
    _, found = compiled(caplog, lambda: of_many(targets, seeds, **options))
    for one, mean, samples in zip(
        TARGETS, (FIRST, SECOND), found[:2], strict=True
    ):
        got = samples.weights @ samples.points
        spread = np.sqrt(samples.weights @ (samples.points - got) ** 2)
        assert np.all(abs(got - mean) < 0.2 * SIGMA)
        assert np.all(abs(spread / SIGMA - 1.0) < 0.15)
        np.testing.assert_allclose(
            samples.log_likelihood, one(samples.points), atol=2e-3
        )
        assert samples.effective_size > 200
        assert not any("div" in line for line in samples.warnings)
    # Other galaxies compile nothing, and do not matter to each other.
    count, (cut, again, _) = compiled(
        caplog,
        lambda: of_many([CUT, TARGETS[1], TARGETS[0]], [8, 6, 0], **options),
    )
    assert count == 0
    np.testing.assert_allclose(again.points, found[1].points, atol=1e-5)
    apart, found = found[2], found[:2]
    if method == "nss":
        errors = [
            one.diagnostics["log_evidence_error"]
            for one in (*found, apart, cut)
        ]
        assert all(0.03 < error < 0.3 for error in errors)
        evidence = np.array([one.log_evidence for one in (*found, apart, cut)])
        expected = [0.0, 0.0, np.log1p(np.exp(-1.0)), np.log(0.5)]
        assert np.all(abs(evidence - expected) < 3.0 * np.array(errors))
        second = apart.weights[apart.points[:, 0] > 0.5].sum()
        assert abs(second - 1.0 / (1.0 + np.e)) < 0.12
        assert cut.points[cut.weights > 0.0][:, 0].min() > 0.5
        monkeypatch.setattr("synthesizer_emulator.inference.nss._LOOKS", 1)
        early = of_many(targets, seeds, **options)[0]
        assert "The sampler stopped early." in early.warnings
        assert np.isfinite(early.log_evidence)
    else:
        assert np.isnan(found[0].log_evidence)
        # A chain can't cross from one peak to the other.
        assert apart.diagnostics["r_hat"] > 1.01
        assert any("disagree" in line for line in apart.warnings)
        assert apart.effective_size < 20
        assert cut.diagnostics["divergences"] > 0
        assert any("diverged" in line for line in cut.warnings)


@pytest.mark.slow
def test_the_maximum_of_a_linear_model():
    """Closed form: normal priors, and data linear in the parameters."""
    rng = np.random.default_rng(4)
    matrix, noise = rng.normal(size=(6, 3)), 0.3
    data = matrix @ [0.5, -1.0, 2.0] + noise * rng.normal(size=6)
    centre, width = np.array([0.0, 1.0, 2.0]), np.array([1.0, 2.0, 0.5])

    def values(point):
        return centre + width * ndtri(point)

    def log_likelihood(data, point):
        return norm.logpdf(data, matrix @ values(point), noise).sum()

    def log_prior(data, point):
        return norm.logpdf(values(point), centre, width).sum()

    samples = most_probable(
        Target(log_likelihood, jnp.asarray(data), 3, log_prior)
    )
    curvature = matrix.T @ matrix / noise**2 + np.diag(width**-2.0)
    expected = np.linalg.solve(
        curvature, matrix.T @ data / noise**2 + centre / width**2
    )
    np.testing.assert_allclose(values(samples.points[0]), expected, atol=2e-3)
    assert samples.diagnostics["starts_at_maximum"] == 32
    assert not samples.is_posterior
    assert samples.warnings == ()


@pytest.mark.slow
def test_separate_maxima_are_reported():
    found = most_probable(APART)
    np.testing.assert_allclose(found.points, [[0.2, 0.5, 0.5]], atol=1e-3)
    np.testing.assert_allclose(
        found.log_likelihood, APART(found.points), atol=1e-3
    )
    assert abs(found.diagnostics["next_maximum"] + 1.0) < 0.05
    assert 0 < found.diagnostics["starts_at_maximum"] < 32


def test_bad_options():
    for call, message in (
        (lambda: nss(TARGETS[0], n_live=1), r"n_live must be"),
        (lambda: nss(TARGETS[0], n_delete=500), r"n_delete.*at most 499"),
        (lambda: nuts(TARGETS[0], chains=1), r"chains.*at least 2"),
        (lambda: most_probable(TARGETS[0], starts=0), r"starts"),
        (
            lambda: nss_of_many(
                [TARGETS[0], Target(peaks, jnp.zeros(4), 3)], [0, 1]
            ),
            r"same kinds",
        ),
    ):
        with pytest.raises(InconsistentArguments, match=message):
            call()


@pytest.fixture(scope="module")
def fit(emulated):
    return make_fit(emulated)


def make_fit(grid, **changed):
    options = {
        "sf_hist": History(
            "Constant", {"max_age": LogUniform(1e7, 1e9, units="yr")}
        ),
        "stars": {"log10initial_mass": Normal(9.0, 0.3)},
        "redshift": 0.5,
        "filters": FILTERS,
    }
    return Fit(
        IncidentEmission(grid),
        metal_dist=History("DeltaConstant", {"metallicity": 0.01}),
        **options | changed,
    )


@pytest.fixture(scope="module")
def data(fit):
    flux = fit.predict(np.array([[0.6, 0.4], [0.4, 0.7]]))["photometry"]
    noisy = flux * [1.02, 0.97, 1.01]
    return [
        fit.photometry(one, 0.03 * model)
        for one, model in zip(noisy, flux, strict=True)
    ]


def points_between(low, high, n):
    """Return the centres of n x n cells of a rectangle, (n**2, 2)."""
    x = (np.arange(n) + 0.5) / n
    unit = np.stack(np.meshgrid(x, x, indexing="ij"), -1).reshape(-1, 2)
    return low + (high - low) * unit


def moments(points, weights):
    mean = np.average(points, axis=0, weights=weights)
    return mean, np.sqrt(
        np.average((points - mean) ** 2, axis=0, weights=weights)
    )


@pytest.mark.slow
def test_galaxies_together_are_those_of_brute_force(fit, data):
    grid = points_between(np.zeros(2), np.ones(2), 64)
    posteriors = fit.run_many(
        data, "nss", seed=2, progress=False, **QUICK["nss"]
    )
    for one, posterior in zip(data, posteriors, strict=True):
        log_likelihood = fit.log_likelihood(grid, one)
        likelihood = np.exp(log_likelihood - log_likelihood.max())
        expected, spread = moments(grid, likelihood)
        mean, deviation = moments(posterior.samples.points, posterior.weights)
        assert np.all(abs(mean - expected) < 0.2 * spread)
        assert np.all(abs(deviation / spread - 1.0) < 0.15)
        evidence = log_likelihood.max() + np.log(likelihood.mean())
        error = posterior.samples.diagnostics["log_evidence_error"]
        assert abs(posterior.log_evidence - evidence) < 3.0 * error


@pytest.mark.slow
def test_the_most_probable_galaxies(fit, data, caplog, tmp_path):
    """Against brute force: all of the hypercube, and then the best of it."""

    def run(data):
        return fit.run_many(data, "map", progress=False, starts=4)

    found = run(data)
    count, _ = compiled(caplog, lambda: run(data[::-1]))
    assert count == 0
    for one, posterior in zip(data, found, strict=True):

        def log_density(points, one=one):
            prior = fit.library.parameters.log_density(points)
            return fit.log_likelihood(points, one) + prior

        low, high = np.zeros(2), np.ones(2)
        for _ in range(3):
            points = points_between(low, high, 16)
            values = log_density(points)
            best = points[values.argmax()]
            low, high = best - (high - low) / 8.0, best + (high - low) / 8.0
        at = posterior.samples.points
        assert log_density(at)[0] > values.max() - 0.01
        np.testing.assert_allclose(at[0], best, atol=5e-3)
        low, middle, high = posterior.quantiles()["stars/log10initial_mass"]
        assert (
            low == middle == high == posterior.best["stars/log10initial_mass"]
        )
    assert posterior.warnings == ()
    assert posterior.is_converged
    assert "most probable" in str(posterior)
    posterior.write(tmp_path / "best.nc")
    again = Posterior.read(tmp_path / "best.nc")
    assert again.warnings == posterior.warnings
    with pytest.raises(InconsistentArguments, match=r"only its maximum"):
        plot_corner(again)


def test_bad_galaxies(fit, data):
    for call, message in (
        (lambda: fit.run_many([], "map"), r"at least one galaxy"),
        (
            lambda: fit.run_many(data, "map", known=[{}]),
            r"data of 2, 1 known and 2 seeds",
        ),
        (lambda: fit.run_many(data, "map", [1]), r"2 known and 1 seeds"),
        (lambda: fit.run_many(data, "map", [1, -1]), r"seed.*got -1"),
        (lambda: fit.attempt(data, "map", at_once=0), r"at_once must be"),
        (lambda: fit.run(data[0], "nuts", n_live=5), r"chains"),
    ):
        with pytest.raises(InconsistentArguments, match=message):
            call()


@pytest.mark.slow
def test_photometry_that_jumps_with_the_redshift(emulated, monkeypatch):
    """Gradients need exact integrals; the example grid is uneven."""

    def middle(target, seed, progress):
        points = np.full((1, target.dimensions), 0.5)
        return Samples(points, np.ones(1), np.zeros(1), 0.0, {})

    monkeypatch.setitem(SAMPLERS, "nested", middle)
    monkeypatch.setattr("synthesizer_emulator.inference.samplers.OF_MANY", {})
    monkeypatch.setitem(SAMPLERS, "map", middle)
    options = {"redshift": Uniform(0.4, 0.6), "filters": {"red": (9e3, 12e3)}}
    fit = make_fit(emulated, **options)
    for method in ("nested", "map"):
        posterior = fit.run(fit.photometry([1.0], [1.0]), method)
        jumps = any("jumps" in line for line in posterior.warnings)
        assert jumps == (method == "map")
    assert "in a file 'integration: exact'" in posterior.warnings[0]
    with warnings.catch_warnings():
        # It is told once.
        warnings.filterwarnings("error", ".*jumps")
        fit.run(fit.photometry([1.0], [1.0]), "map")
    fit = make_fit(emulated, integration="exact", **options)
    assert fit.library.model.bands.exact is not None
    assert fit.library.about["integration"] == "exact"
    assert Fit.from_library(fit.library).integration == "exact"
    with pytest.raises(InconsistentArguments, match=r"integration"):
        make_fit(emulated, integration="simpson").check()
