"""Calibration of posteriors that are known in closed form."""

from types import SimpleNamespace

import numpy as np
import pytest
from scipy import stats
from synthesizer.emission_models import IncidentEmission
from synthesizer.exceptions import InconsistentArguments
from unyt import nJy

from synthesizer_emulator.inference import (
    Fit,
    Spectrum,
    calibrate,
    plot_calibration,
)
from synthesizer_emulator.inference.calibration import compare, make_mocks
from synthesizer_emulator.library import History, LogUniform, Uniform

NAMES = ("a", "b")


def posterior(points, weights):
    samples = SimpleNamespace(points=points, effective_size=len(points))
    return SimpleNamespace(
        samples=samples, weights=weights, warnings=(), is_converged=True
    )


def simulated(n, spread=1.0, shift=0.0, seed=0):
    """Return the comparison of posteriors of a Gaussian measurement.

    With a uniform prior the posterior is a truncated Gaussian. It is made
    wider or narrower than it should be by a factor, and shifted by some of
    its standard deviations, and is given by weighted samples.
    """
    rng = np.random.default_rng(seed)
    sigma = np.array([0.05, 0.3])
    truths = rng.random((n, 2))
    posteriors = []
    for truth in truths:
        measured = truth + sigma * rng.normal(size=2)
        points = rng.random((4000, 2))
        weights = stats.norm.pdf(
            points, measured + shift * sigma, spread * sigma
        ).prod(axis=1)
        posteriors.append(posterior(points, weights / weights.sum()))
    return compare(NAMES, truths, posteriors, seed)


def test_right_posteriors_are_calibrated():
    calibration = simulated(400)
    assert calibration.is_calibrated
    for level in (0.68, 0.95):
        for value in calibration.coverage(level).values():
            assert abs(value - level) < 3.0 * calibration.scatter(level)
    assert "No departure" in str(calibration)
    assert min(calibration.p_values().values()) > 1e-3
    assert set(calibration.shares) == {*NAMES, "TARP"}
    np.testing.assert_allclose(
        calibration.scatter(0.68), np.sqrt(0.68 * 0.32 / 400)
    )


@pytest.mark.parametrize(("spread", "shift"), [(0.5, 0.0), (1.0, 0.7)])
def test_wrong_posteriors_are_not(spread, shift):
    calibration = simulated(200, spread, shift)
    assert not calibration.is_calibrated
    assert calibration.p_values()["a"] < 1e-3
    assert calibration.coverage(0.68)["a"] < 0.6
    assert "not calibrated" in str(calibration)


def test_tarp_sees_a_wrong_correlation():
    """All ranks are right, but not those of both parameters together."""
    rng = np.random.default_rng(2)
    sigma, n = 0.02, 400
    cov = sigma**2 * np.array([[1.0, 0.95], [0.95, 1.0]])
    truths = rng.uniform(0.3, 0.7, (n, 2))
    posteriors = []
    for truth in truths:
        measured = rng.multivariate_normal(truth, cov)
        points = measured + sigma * rng.normal(size=(500, 2))
        posteriors.append(posterior(points, np.full(500, 1.0 / 500)))
    p_values = compare(NAMES, truths, posteriors).p_values()
    assert min(p_values["a"], p_values["b"]) > 1e-3
    assert p_values["TARP"] < 1e-3


@pytest.fixture(scope="module")
def fit(emulated):
    return Fit(
        IncidentEmission(emulated),
        sf_hist=History(
            "Constant", {"max_age": LogUniform(10, 1000, units="Myr")}
        ),
        metal_dist=History("DeltaConstant", {"metallicity": 0.01}),
        stars={"log10initial_mass": Uniform(8.0, 11.0)},
        redshift=0.5,
        filters={"g": (4000, 5500), "r": (5500, 7000), "J": (11000, 13500)},
    )


@pytest.mark.slow
def test_mocks_have_the_errors_and_gaps_of_data(fit):
    like = [
        fit.photometry([1.0, np.nan, 3.0], [30.0, 1.0, 50.0]),
        fit.photometry([1.0, 2.0, 3.0], [40.0, 10.0, 20.0], upper_limits="r"),
    ]
    truths, mocks = make_mocks(fit, like, 200)
    models = fit.predict(truths)["photometry"]
    assert {float(m.photometry.error[0]) for m in mocks} == {30.0, 40.0}
    residuals = []
    for model, mock in zip(models, mocks, strict=True):
        data = mock.photometry
        assert bool(data.is_observed[1]) == (float(data.error[0]) == 40.0)
        assert not data.is_limit.any()
        seen = np.asarray(data.is_observed)
        residuals += [*((data.flux - model) / data.error)[seen]]
    assert stats.kstest(residuals, "norm").pvalue > 1e-3


@pytest.mark.slow
def test_a_calibration_of_a_fit(fit):
    data = fit.photometry([4e4, 5e4, 4e4], [2e3, 2e3, 2e3])
    calibration = calibrate(fit, data, 2, n_live=60, n_eff=100, progress=False)
    assert calibration.ranks.shape == (2, 2)
    assert (calibration.effective_sizes > 50).all()
    assert len(plot_calibration(calibration).axes[0].lines) == 4
    with pytest.raises(InconsistentArguments, match=r"at least one galaxy"):
        calibrate(fit, [], 3)


def test_mock_spectra_follow_their_likelihood():
    """The variance is that of scaled errors, jitter and calibration."""
    lam = np.geomspace(4000.0, 7000.0, 30)
    model = np.full(30, 10.0)
    spectrum = Spectrum.from_fluxes(
        lam,
        model * nJy,
        np.full(30, 0.5) * nJy,
        1000.0,
        calibration_degree=1,
        calibration_width=0.1,
    )
    rng = np.random.default_rng(0)
    options = {"error_scale": 2.0, "jitter": 0.05}
    fluxes = np.array(
        [spectrum.mock(model, rng, **options).flux for _ in range(4000)]
    )
    design = 10.0 * 0.1 * np.asarray(spectrum.polynomials)
    expected = (1.0 + 0.25) * np.eye(30) + design @ design.T
    got = np.cov(fluxes.T)
    np.testing.assert_allclose(got, expected, atol=0.3)
