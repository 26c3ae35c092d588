"""Errors that were put into arrays are found where they were put."""

import numpy as np
import pytest
from conftest import analytic_header

from synthesizer_emulator.emulator.metrics import fractional_residuals
from synthesizer_emulator.evaluation.measures.quantities import (
    measure,
    quantity_errors,
)
from synthesizer_emulator.evaluation.measures.residuals import (
    correlation,
    example_nodes,
    line_errors,
    spectrum_errors,
)
from synthesizer_emulator.evaluation.tables import emission_table
from synthesizer_emulator.gridfile.labels import Label
from synthesizer_emulator.gridfile.nodes import nodes_between

AXES = analytic_header(n_ages=6, n_metals=5).axes
LAM = np.geomspace(912.0, 1e5, 2000)
RNG = np.random.default_rng(7)


@pytest.fixture
def true():
    """Return bright spectra, but for one dark node and one faint pixel."""
    flux = 10 ** RNG.uniform(0, 1, (6, 5, len(LAM)))
    flux[0, 0] = 0.0
    flux[3, 3, 77] = 1e-7
    return flux


def test_errors_by_wavelength_by_axis_and_by_node(true):
    wrong = np.full(true.shape, 0.001)
    wrong[:, :, (LAM > 3000) & (LAM < 5000)] = -0.02  # too faint there
    wrong[2] *= 5  # and all of it worse at the third age
    emulated = true * (1 + wrong)
    emulated[3, 3, 77] = 1.0  # does not count
    residuals = fractional_residuals(emulated, true)
    errors = spectrum_errors(residuals, LAM, AXES)
    by_lam = errors.by_wavelength
    blue = (by_lam.at > 3100) & (by_lam.at < 4900)
    red = (by_lam.at < 2900) | (by_lam.at > 5200)
    np.testing.assert_allclose(by_lam.p50[blue], 0.02, rtol=1e-4)
    np.testing.assert_allclose(by_lam.p50[red], 0.001, rtol=1e-4)
    np.testing.assert_allclose(by_lam.p99[red], 0.005, rtol=1e-4)
    assert (by_lam.bias[blue] < -0.02).all()
    by_age = errors.by_axis["ages"]
    np.testing.assert_array_equal(by_age.at, AXES[0].values)
    np.testing.assert_allclose(by_age.p50[2], 0.005, rtol=1e-4)
    np.testing.assert_allclose(np.delete(by_age.p50, 2), 0.001, rtol=1e-4)
    np.testing.assert_allclose(by_age.p99[[1, 2]], [0.02, 0.1], rtol=1e-4)
    inside = np.mean((LAM > 3000) & (LAM < 5000))
    mean = 0.001 * (1 - inside) + 0.02 * inside
    assert np.isnan(errors.means[0, 0])
    np.testing.assert_allclose(errors.means[2], 5 * mean, rtol=1e-4)
    np.testing.assert_allclose(errors.means[4], mean, rtol=1e-4)
    assert errors.summary.spectra == 29
    np.testing.assert_allclose(errors.summary.mean_max, 5 * mean, rtol=1e-4)
    np.testing.assert_allclose(errors.summary.worst, 0.1, rtol=1e-4)
    shown = str(emission_table({"spectra/incident": errors})).splitlines()
    assert [float(cell) for cell in shown[1].split()[1:]] == pytest.approx(
        [100 * mean, 500 * mean, 500 * mean, 0.1, 2, 10, 10], rel=1e-3
    )


def test_the_histogram_is_a_density(true):
    residuals = fractional_residuals(
        true * (1 + 0.01 * RNG.standard_normal(true.shape)), true
    )
    found = spectrum_errors(residuals, LAM, AXES).histogram
    width = np.diff(found.edges)
    np.testing.assert_allclose((found.density * width).sum(), 0.999, rtol=1e-3)
    at = 0.5 * (found.edges[1:] + found.edges[:-1])
    gauss = np.exp(-0.5 * (at / 0.01) ** 2) / (0.01 * np.sqrt(2 * np.pi))
    np.testing.assert_allclose(found.density, gauss, atol=0.1 * gauss.max())


def test_correlation_is_numpys_and_that_of_a_running_mean():
    rows, width = 400, 20
    noise = RNG.standard_normal((rows, len(LAM) + width))
    kernel = np.ones(width) / width
    smooth = np.array([np.convolve(row, kernel, "valid") for row in noise])
    residuals = smooth[:, : len(LAM)].astype(np.float32)
    found = correlation(residuals, LAM)
    # That of a running mean falls linearly to zero over its width.
    expected = np.maximum(1 - found.lags / width, 0.0)
    np.testing.assert_allclose(found.by_lag, expected, atol=0.02)
    assert found.length == pytest.approx((1 - np.exp(-1)) * width, rel=0.05)
    # LAM is even in log: its bins are runs of equal length.
    bins = residuals.reshape(rows, 80, 25).mean(axis=2, dtype=float)
    np.testing.assert_allclose(found.matrix, np.corrcoef(bins.T), atol=0.02)


def test_correlation_of_pixels_that_do_not_all_count():
    residuals = RNG.standard_normal((300, len(LAM))).astype(np.float32)
    residuals += RNG.choice([-1.0, 1.0], (300, 1))  # half of the power
    whole = correlation(residuals, LAM)
    residuals[:150, :500] = np.nan
    part = correlation(residuals, LAM)
    np.testing.assert_allclose(whole.by_lag, 0.5, atol=0.05)
    np.testing.assert_allclose(part.by_lag, 0.5, atol=0.08)
    # Bins are means of 25 pixels, whose common part dominates.
    np.testing.assert_allclose(part.matrix, 25 / 26, atol=0.04)


def test_a_constant_residual_correlates_without_end():
    found = correlation(np.full((3, len(LAM)), 0.01, np.float32), LAM)
    np.testing.assert_allclose(found.by_lag, 1.0, rtol=1e-5)
    assert found.length == np.inf
    assert np.isnan(found.matrix).all()  # nothing varies over spectra


def test_the_worst_the_median_and_the_best_node():
    means = np.array([[3.0, np.nan, 1.0], [5.0, 2.0, 4.0]])
    assert example_nodes(means) == {
        "worst": (1, 0),
        "median": (0, 0),
        "best": (0, 2),
    }


def test_errors_of_each_line():
    true = np.ones((6, 5, 3))
    true[..., 2] = 1e-4  # too faint to count
    emulated = true * np.array([1.01, 0.98, 3.0])
    residuals = fractional_residuals(emulated, true, 1e-3)
    lams = np.array([1216.0, 4861.0, 6563.0])
    errors = line_errors(residuals, ("a", "b", "c"), lams, AXES)
    np.testing.assert_allclose(
        errors.by_wavelength.p50, [0.01, 0.02, np.nan], rtol=1e-4
    )
    np.testing.assert_allclose(
        errors.by_wavelength.bias, [0.01, -0.02, np.nan], rtol=1e-4
    )
    assert errors.lines == ("a", "b", "c")


def test_nothing_that_counts_is_no_error():
    dark = np.full((6, 5, len(LAM)), np.nan, np.float32)
    assert spectrum_errors(dark, LAM, AXES) is None


def test_quantities_of_spectra_that_are_known():
    """Power laws of known slope, with a known break, against definitions."""
    hard, soft = np.linspace(100, 911, 300), np.geomspace(912, 1e5, 4000)
    lam = np.concatenate([hard, soft])
    slopes = np.array([-2.5, -1.0, 0.5])
    lnu = 1e20 * (lam / 1500.0) ** (slopes[:, None] + 2)
    lnu[:, lam > 3990] *= 1.8
    lnu[2, lam < 1300] = 0.0  # neither photons nor a slope
    found = measure(lam, lnu, 1.01 * lnu)
    beta, _ = found["beta"]
    np.testing.assert_allclose(beta[:2], slopes[:2], atol=1e-6)
    assert np.isnan(beta[2])
    d4000, _ = found["d4000"]
    flat = 1.8 * (4050 / 3900) ** (slopes + 2)
    np.testing.assert_allclose(d4000, flat, rtol=5e-3)
    rate, _ = found["ionising_photon_rate"]
    # Integral of L_nu / (h nu) d nu = L_nu / (h lam) d lam.
    power = slopes[:2] + 2
    high, low = ((edge / 1500.0) ** power / power for edge in (911.65, 100.0))
    integral = high - low
    np.testing.assert_allclose(
        rate[:2], 1e20 / 6.62607015e-27 * integral, rtol=2e-3
    )
    assert np.isnan(rate[2])
    errors = quantity_errors(found)
    for name in ("ionising_photon_rate", "bolometric_luminosity"):
        np.testing.assert_allclose(errors[name].summary.p50, 0.01, rtol=1e-6)
        np.testing.assert_allclose(errors[name].summary.bias, 0.01, rtol=1e-6)
    np.testing.assert_allclose(errors["d4000"].summary.worst, 0.0, atol=1e-12)
    np.testing.assert_allclose(errors["beta"].summary.worst, 0.0, atol=1e-9)
    assert errors["beta"].summary.number == 2


def test_quantities_beyond_the_wavelengths_are_left_out():
    lam = np.linspace(3000.0, 9000.0, 500)
    found = measure(lam, np.ones((2, 500)), np.ones((2, 500)))
    assert set(found) == {"bolometric_luminosity", "d4000"}
    # Nor half of a window for the whole of it.
    found = measure(lam - 1000.0, np.ones((2, 500)), np.ones((2, 500)))
    assert set(found) == {"bolometric_luminosity", "d4000"}
    found = measure(lam + 900.0, np.ones((2, 500)), np.ones((2, 500)))
    assert set(found) == {"bolometric_luminosity"}


def test_labels_are_logged_where_an_axis_spans_decades():
    ages, metals = (Label(axis) for axis in AXES)
    assert ages.logged and metals.logged
    np.testing.assert_allclose(ages.nodes, np.log10(AXES[0].values))
    np.testing.assert_allclose(ages.to_values(ages.nodes), AXES[0].values)
    assert ages.title == "age / yr"
    assert metals.title == "metallicity"
    low, high = AXES[0].values[[1, 3]]
    assert nodes_between(AXES[0], low, high).tolist() == [1, 2, 3]
