"""Models at the pixels of observed spectra, and their likelihood.

The references are Gaussians, whose convolution is a Gaussian; quadrature; and
brute force over the coefficients of the calibration.
"""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from astropy import units as u
from scipy.integrate import quad
from scipy.stats import multivariate_normal, norm
from synthesizer.exceptions import (
    InconsistentArguments,
    IncorrectUnits,
    MissingUnits,
)
from unyt import K, W, angstrom, cm, erg, km, m, mJy, nJy, nm, s, um

from synthesizer_emulator.inference import Spectrograph, Spectrum

C = 299_792.458
FWHM = 2.3548200450309493

fluxes_of = jax.jit(Spectrograph.fluxes)

PIXELS = np.arange(4000.0, 7000.0, 1.5)
REDSHIFTS = (0.02, 0.15)
SINGLE = 3e-4

# Rest-frame wavelengths: those of MILES, even in their logarithm, and finer
# than the data need.
GRIDS = {
    "linear": np.arange(3300.0, 8000.0, 0.9),
    "even in log": np.geomspace(3300.0, 8000.0, 9000),
    "fine": np.arange(3300.0, 8000.0, 0.1),
}

# Resolutions of data and of models, and their variances in ln wavelength at
# observed and rest-frame wavelengths.
RESOLUTIONS = {
    "power": (2000.0, None, lambda lam, rest: (FWHM * 2000.0) ** -2.0),
    "two powers": (
        2000.0,
        5000.0,
        lambda lam, rest: (FWHM * 2000.0) ** -2.0 - (FWHM * 5000.0) ** -2.0,
    ),
    "widths": (
        2.0 * angstrom,
        0.11 * nm,
        lambda lam, rest: (2.0 / lam) ** 2 - (1.1 / rest) ** 2,
    ),
    "prism": (
        np.linspace(30.0, 300.0, len(PIXELS)),
        20.0 * km / s,
        lambda lam, rest: (
            (FWHM * np.interp(lam, PIXELS[[0, -1]], [30.0, 300.0])) ** -2.0
            - (20.0 / C) ** 2
        ),
    ),
}


def observed(resolution=2000.0, lam=PIXELS, **options):
    ones = np.ones(len(lam)) * nJy
    return Spectrum.from_fluxes(lam, ones, ones, resolution, **options)


def lines(lam, variance):
    """Return Gaussian lines, in energy for each interval of ln lam."""
    centres = np.array([3900.0, 4340.5, 4861.3, 5007.0, 5890.0, 6300.0])
    total = (150.0 / C) ** 2 + np.reshape(variance, (-1, 1))
    x = np.log(lam[:, None] / centres)
    heights = np.array([1.0, -0.5, 2.0, 1.0, -1.0, 0.7]) / np.sqrt(total)
    return lam * (heights * np.exp(-0.5 * x**2 / total)).sum(axis=1)


@pytest.mark.parametrize(
    ("grid", "resolutions"),
    [
        *(("linear", resolutions) for resolutions in RESOLUTIONS),
        ("even in log", "two powers"),
        ("even in log", "widths"),
        ("fine", "prism"),
    ],
)
def test_gaussian_lines_become_wider_in_quadrature(grid, resolutions):
    of_data, of_models, variance = RESOLUTIONS[resolutions]
    spectrum = observed(of_data)
    lam = GRIDS[grid]
    spectrograph = Spectrograph.from_spectrum(
        spectrum, lam, of_models, REDSHIFTS
    )
    for redshift, sigma_v in ((0.0731, 210.0), (0.02, 0.0)):
        rest = PIXELS / (1.0 + redshift)
        moved = (sigma_v / C) ** 2
        found = fluxes_of(
            spectrograph, spectrum, lines(lam, 0.0), redshift, sigma_v
        )
        expected = lines(rest, variance(PIXELS, rest) + moved)
        # The narrow lines have few of the wavelengths of MILES.
        error = 1e-3 if grid == "linear" else SINGLE
        assert found == pytest.approx(
            expected, abs=error * np.abs(expected).max()
        )


def wavy(lam):
    """Return a spectrum with breaks and lines, of any wavelengths."""
    return (
        1.0
        + np.tanh((lam - 4000.0) / 8.0)
        + 0.3 * np.sin(lam / 9.0)
        + (lam / 5000.0) ** 2
    )


def test_convolution_is_the_integral_of_the_energy():
    """With a library whose resolution changes across the spectrum."""
    lam = GRIDS["linear"]
    of_models = np.interp(lam, [4000.0, 6000.0], [0.8, 1.6])
    spectrum = observed(1500.0)
    spectrograph = Spectrograph.from_spectrum(
        spectrum, lam, of_models * angstrom, REDSHIFTS
    )
    redshift, sigma_v = 0.1, 180.0
    found = fluxes_of(spectrograph, spectrum, wavy(lam), redshift, sigma_v)
    for pixel in (3, 250, 700, 1600, len(PIXELS) - 1):
        rest = PIXELS[pixel] / (1.0 + redshift)
        library = np.interp(rest, lam, of_models) / rest
        sigma = np.sqrt(
            (FWHM * 1500.0) ** -2.0 - library**2 + (sigma_v / C) ** 2
        )
        expected, _ = quad(
            lambda t, rest=rest, sigma=sigma: (
                norm.pdf(t)
                * wavy(rest * np.exp(-sigma * t))
                * np.exp(sigma * t)
            ),
            -8.0,
            8.0,
            limit=200,
        )
        assert float(found[pixel]) == pytest.approx(expected, rel=SINGLE)


def test_the_flux_of_a_line_stays_the_same():
    """A line in a single pixel of the model, however broad it becomes."""
    lam = GRIDS["linear"]
    fnu = np.zeros(len(lam))
    fnu[2000] = 1.0
    before = np.trapezoid(fnu / lam**2, lam)
    pixels = np.arange(4000.0, 7000.0, 0.3)
    for resolution, sigma_v in ((3000.0, 400.0), (300.0, 0.0)):
        spectrum = observed(resolution, pixels)
        spectrograph = Spectrograph.from_spectrum(
            spectrum, lam, None, REDSHIFTS
        )
        found = fluxes_of(spectrograph, spectrum, fnu, 0.1, sigma_v)
        after = np.trapezoid(np.asarray(found) / pixels**2, pixels)
        assert after * 1.1 == pytest.approx(before, rel=1e-3)


@pytest.mark.parametrize("width", [0.5, 1.0, 2.0])
def test_a_line_of_a_single_pixel_of_the_grid(width):
    """As the cubics between the wavelengths, broadened by pixels of these."""
    step = 1.0 / 250.0
    # Not even over all wavelengths, as grids of a wide range.
    lam = 3000.0 * np.exp(step * np.arange(300))
    lam = np.concatenate([np.arange(1000.0, 2990.0, 30.0), lam])
    fnu = np.zeros(len(lam))
    fnu[200] = 1.0
    sigma = width * step
    pixels = lam[200] * np.exp(np.linspace(-0.02, 0.02, 201))
    spectrum = observed(None, pixels)
    spectrograph = Spectrograph.from_spectrum(
        spectrum, lam, None, (0.0, 0.0), (0.0, 1.1 * sigma * C)
    )
    found = fluxes_of(spectrograph, spectrum, fnu, 0.0, sigma * C)
    x = step * np.linspace(-2.0, 2.0, 2001)
    at = lam[200] * np.exp(x)
    # The cubic through the two wavelengths on either side.
    first = np.searchsorted(lam, at, side="right") - 2
    first = np.clip(first, 198 - 1, 198 + 3)
    cubic = np.array(
        [
            np.prod(
                [
                    (a - b) / (lam[200] - b)
                    for b in lam[i : i + 4]
                    if b != lam[200]
                ]
            )
            if i <= 200 < i + 4
            else 0.0
            for a, i in zip(at, first, strict=True)
        ]
    )
    distance = np.log(pixels / lam[200])[:, None] - x
    broad = (cubic / at * norm.pdf(distance, scale=sigma)).sum(axis=1)
    expected = pixels * broad * (x[1] - x[0])
    error = 0.005 * expected.max()
    np.testing.assert_allclose(found, expected, atol=error)
    # Less high than a Gaussian by the moments of these cubics.
    gaussian = step / np.sqrt(2.0 * np.pi) / sigma
    loss = 1.0 - float(found.max()) / gaussian
    if width == 2.0:
        assert loss == pytest.approx(0.046 / width**4, rel=0.3)


@pytest.mark.parametrize(
    ("resolution", "width", "step"),
    [(100.0, 20.0, 0.5), (100.0, 100.0, 0.5), (2000.0, 7.0, 0.1)],
)
def test_lines_narrower_than_even_pixels_are_where_they_were(
    resolution, width, step
):
    """Wherever a Gaussian line, of this sigma in km/s, lies in a pixel."""
    sigma = width / C
    broad = np.hypot(sigma, 1.0 / (FWHM * resolution))
    lam = np.arange(6000.0, 7100.0, step)
    pixels = 6500.0 * np.exp(np.linspace(-0.04, 0.04, 600))
    spectrum = observed(resolution, pixels)
    spectrograph = Spectrograph.from_spectrum(
        spectrum, lam, None, (0.0, 0.0), (0.0, 0.0)
    )
    assert spectrograph.step > 2.0 * sigma
    for part in (0.0, 0.3, 0.7):
        centre = 6500.0 * np.exp(part * spectrograph.step)

        def line(at, sigma, centre=centre):
            return at * norm.pdf(np.log(at / centre), scale=sigma)

        found = fluxes_of(spectrograph, spectrum, line(lam, sigma), 0.0, 0.0)
        expected = line(pixels, broad)
        np.testing.assert_allclose(found, expected, atol=5e-4 * expected.max())


def test_the_model_is_as_it_is_without_any_broadening():
    lam = GRIDS["linear"]
    spectrum = observed(2000.0)
    spectrograph = Spectrograph.from_spectrum(spectrum, lam, 2000.0, REDSHIFTS)
    found = fluxes_of(spectrograph, spectrum, wavy(lam), 0.05, 0.0)
    assert found == pytest.approx(wavy(PIXELS / 1.05), rel=SINGLE)


def test_models_uneven_in_wavelength_do_not_overshoot():
    """Where the steps become wider, as at the ends of MILES."""
    lam = np.concatenate(
        [np.arange(3300.0, 5000.0, 0.9), np.arange(5000.0, 8000.0, 20.0)]
    )
    fnu = np.where(lam < 4999.0, 1.0, 2.0)
    spectrum = observed(2000.0)
    spectrograph = Spectrograph.from_spectrum(spectrum, lam, None, REDSHIFTS)
    found = np.asarray(fluxes_of(spectrograph, spectrum, fnu, 0.1, 100.0))
    assert found.min() > 0.99
    assert found.max() < 2.01


@pytest.mark.parametrize("resolutions", ["two powers", "prism"])
def test_derivatives(resolutions, double_precision):
    of_data, of_models, _ = RESOLUTIONS[resolutions]
    spectrum = observed(of_data)
    lam = GRIDS["linear"]
    spectrograph = Spectrograph.from_spectrum(
        spectrum, lam, of_models, REDSHIFTS
    )

    def fluxes(at):
        return spectrograph.fluxes(spectrum, wavy(lam), at[0], at[1])

    # One program, as compiling takes longer than all that it computes.
    both = jax.jit(jax.jacfwd(lambda at: (fluxes(at),) * 2, has_aux=True))
    at = np.array([0.0812345, 170.0])
    found, _ = both(at)
    for column, step in enumerate((1e-6, 1e-2)):
        shift = step * np.eye(2)[column]
        expected = (both(at + shift)[1] - both(at - shift)[1]) / (2.0 * step)
        largest = np.abs(expected).max()
        assert found[:, column] == pytest.approx(
            np.asarray(expected), abs=1e-5 * largest
        )
    by_reverse = jax.jit(jax.grad(lambda at: fluxes(at).sum()))(at)
    assert by_reverse == pytest.approx(np.asarray(found.sum(axis=0)))


def test_the_derivative_at_no_dispersion_is_zero(double_precision):
    spectrum = observed(2000.0)
    spectrograph = Spectrograph.from_spectrum(
        spectrum, GRIDS["linear"], 2000.0, REDSHIFTS
    )
    _, slope = jax.jvp(
        lambda sigma_v: fluxes_of(
            spectrograph, spectrum, wavy(GRIDS["linear"]), 0.1, sigma_v
        ),
        (0.0,),
        (1.0,),
    )
    assert np.asarray(slope) == pytest.approx(0.0)


def test_many_galaxies_have_one_compilation():
    spectrum = observed(2000.0)
    lam = GRIDS["even in log"]
    spectrograph = Spectrograph.from_spectrum(spectrum, lam, None, REDSHIFTS)
    redshifts = np.array([0.03, 0.1, 0.14])
    dispersions = np.array([0.0, 200.0, 300.0])
    batch = jax.jit(
        jax.vmap(Spectrograph.fluxes, in_axes=(None, None, None, 0, 0))
    )
    found = batch(spectrograph, spectrum, wavy(lam), redshifts, dispersions)
    for row, galaxy in zip(
        found, zip(redshifts, dispersions, strict=True), strict=True
    ):
        alone = fluxes_of(spectrograph, spectrum, wavy(lam), *galaxy)
        assert row == pytest.approx(np.asarray(alone), rel=1e-4)


def test_models_out_of_range_are_nan():
    used = PIXELS > 4500.0
    spectrum = observed(2000.0, mask=used)
    lam = np.arange(3800.0, 8000.0, 0.9)
    spectrograph = Spectrograph.from_spectrum(
        spectrum, lam, None, REDSHIFTS, (50.0, 300.0)
    )
    for redshift, sigma_v in ((0.01, 100.0), (0.16, 100.0), (0.1, 49.0)):
        found = fluxes_of(spectrograph, spectrum, lam, redshift, sigma_v)
        assert np.isnan(found).all()
    found = fluxes_of(spectrograph, spectrum, lam, 0.1, 100.0)
    assert np.isfinite(found[used]).all()
    assert np.isnan(found[0])
    assert np.isfinite(spectrum.log_likelihood(found))


def test_masked_pixels_do_not_spoil_derivatives():
    """Some are sharper than the models, others beyond them."""
    resolution = np.where(PIXELS < 4500.0, 9000.0, PIXELS / 4.0)
    spectrum = observed(resolution, mask=PIXELS > 4500.0)
    lam = np.arange(3800.0, 8000.0, 0.9)
    spectrograph = Spectrograph.from_spectrum(spectrum, lam, 3000.0, REDSHIFTS)

    @jax.jit
    @jax.grad
    def slopes(at):
        fluxes = spectrograph.fluxes(spectrum, wavy(lam), at[0], at[1])
        return spectrum.log_likelihood(fluxes)

    assert np.isfinite(slopes(np.array([0.1, 10.0]))).all()


@pytest.mark.slow
def test_spectra_of_several_resolutions_share_a_spectrograph():
    single = [observed(1500.0), observed(2500.0, PIXELS + 10.0)]
    lam = GRIDS["even in log"]
    options = {"resolution": 5000.0, "redshifts": REDSHIFTS}
    both = jax.tree.map(lambda *arrays: jnp.stack(arrays), *single)
    shared = Spectrograph.from_spectrum(both, lam, **options)
    found = jax.vmap(shared.fluxes, in_axes=(0, None, None, None))(
        both, lines(lam, 0.0), 0.1, 100.0
    )
    alone = [
        Spectrograph.from_spectrum(spectrum, lam, **options)
        for spectrum in single
    ]
    for row, spectrum, spectrograph in zip(found, single, alone, strict=True):
        expected = np.asarray(
            fluxes_of(spectrograph, spectrum, lines(lam, 0.0), 0.1, 100.0)
        )
        error = SINGLE * float(np.abs(expected).max())
        assert row == pytest.approx(expected, abs=error)
    other = fluxes_of(alone[0], single[1], lines(lam, 0.0), 0.1, 100.0)
    assert np.isnan(other).all()


# A tiny spectrum, for brute force.
LAM = np.array([4000.0, 4500.0, 5200.0, 5600.0, 6000.0, 6900.0])
FLUX = np.array([1.9, 2.3, 2.6, 2.2, 9.0, 3.0])
ERROR = np.array([0.2, 0.3, 0.2, 0.4, 0.3, 0.25])
MODEL = np.array([2.0, 2.1, 2.3, 2.5, 2.6, 2.8])
USED = np.array([True, True, True, True, False, True])


def tiny(mask=None, **calibrated):
    return Spectrum.from_fluxes(
        LAM, FLUX * nJy, ERROR * nJy, 1000.0, mask, **calibrated
    )


def test_likelihood_of_independent_pixels():
    expected = norm.logpdf(FLUX, MODEL, ERROR)
    assert tiny().log_likelihood(MODEL) == pytest.approx(
        expected.sum(), rel=1e-5
    )
    assert tiny(USED).log_likelihood(MODEL) == pytest.approx(
        expected[USED].sum(), rel=1e-5
    )


def test_errors_can_be_scaled_and_added_to():
    sigma = np.hypot(1.7 * ERROR, 0.2 * MODEL)
    expected = norm.logpdf(FLUX, MODEL, sigma).sum()
    found = tiny().log_likelihood(MODEL, error_scale=1.7, jitter=0.2)
    assert found == pytest.approx(expected, rel=1e-5)


def test_masked_numbers_are_pixels_not_used():
    flux = np.ma.masked_array(FLUX * nJy, ~USED)
    error = np.ma.masked_array(ERROR * nJy, ~USED)
    for fluxes, errors in ((flux, ERROR * nJy), (FLUX * nJy, error)):
        found = Spectrum.from_fluxes(LAM, fluxes, errors, 1000.0)
        np.testing.assert_array_equal(found.is_used, USED)
        np.testing.assert_array_equal(found.flux, tiny(USED).flux)


def test_outliers_are_a_mixture():
    """Equation 17 of Hogg, Bovy & Lang (2010), pixel by pixel."""
    expected = np.log(
        0.9 * norm.pdf(FLUX, MODEL, ERROR)
        + 0.1 * norm.pdf(FLUX, MODEL, 20.0 * ERROR)
    )
    options = {"outlier_fraction": 0.1, "outlier_scale": 20.0}
    assert tiny().log_likelihood(MODEL, **options) == pytest.approx(
        expected.sum(), rel=1e-5
    )
    assert tiny(USED).log_likelihood(MODEL, **options) == pytest.approx(
        expected[USED].sum(), rel=1e-5
    )
    none = tiny().log_likelihood(MODEL, outlier_fraction=0.0)
    assert none == pytest.approx(tiny().log_likelihood(MODEL))


@pytest.mark.parametrize("fraction", [0.0, 0.3, 1.0])
def test_gradients_in_the_fraction_of_outliers(fraction, double_precision):
    """Also at its ends, from within."""
    step = 1e-6
    low, high = max(fraction - step, 0.0), min(fraction + step, 1.0)

    def function(fraction, scale):
        return tiny(USED).log_likelihood(
            MODEL,
            error_scale=scale,
            outlier_fraction=fraction,
            outlier_scale=20.0,
        )

    found = jax.grad(function, argnums=(0, 1))(fraction, 1.2)
    values = [function(at, 1.2) for at in (low, high)]
    assert float(found[0]) == pytest.approx(
        float(values[1] - values[0]) / (high - low), rel=1e-4
    )
    values = [function(fraction, 1.2 + step * sign) for sign in (-1, 1)]
    assert float(found[1]) == pytest.approx(
        float(values[1] - values[0]) / (2.0 * step), rel=1e-4
    )


@pytest.mark.parametrize("fraction", [0.0, 1.0])
def test_gradients_of_an_impossible_mixture_are_finite(fraction):
    """In single precision, where a pixel is 60 standard deviations away."""
    spectrum = tiny()
    model = spectrum.flux + spectrum.error * np.eye(len(MODEL))[0] * 60.0

    def function(fraction):
        return spectrum.log_likelihood(model, outlier_fraction=fraction)

    value, slope = jax.value_and_grad(function)(fraction)
    assert np.isfinite([value, slope]).all()
    assert np.sign(slope) == (1.0 if fraction == 0.0 else -1.0)


def test_errors_of_outliers_are_those_of_the_slope():
    """The slope of ln L by a pixel's model is its residual over variance."""
    options = {"outlier_fraction": 0.1, "outlier_scale": 20.0}
    model = jnp.asarray(MODEL + np.linspace(-8.0, 9.0, len(MODEL)) * ERROR)
    slopes = jax.grad(tiny(USED).log_likelihood)(model, **options)
    errors = tiny(USED).errors(model, **options)
    expected = (FLUX - model) / jnp.square(errors)
    np.testing.assert_allclose(slopes[USED], expected[USED], rtol=1e-4)
    np.testing.assert_array_equal(
        tiny().errors(model, 1.0, 1.2, 0.05),
        tiny().errors(model, 2.0, 1.2, 0.05),
    )


def test_the_chi_squared_of_outliers_is_their_number():
    rng = np.random.default_rng(3)
    flux = rng.normal(100.0, 3.0 * np.where(rng.random(5000) < 0.06, 20.0, 1))
    lam = np.linspace(4000.0, 7000.0, 5000)
    spectrum = Spectrum.from_fluxes(
        lam, flux * nJy, np.full(5000, 3.0) * nJy, None
    )
    model = np.full(5000, 100.0)
    errors = spectrum.errors(model, 1.0, 1.0, 0.0, 0.06, 20.0)
    assert spectrum.chi_squared(model, 1.0, errors) < 1.1 * 5000
    assert spectrum.chi_squared(model, 1.0, spectrum.errors(model)) > 1e5


def by_brute_force(spectrum, widths):
    """Return the evidence and the mean calibration of a line.

    The coefficients are summed over on a fine grid of their prior.
    """
    first, second = (w * np.linspace(-7.0, 7.0, 161) for w in widths)
    coefficients = np.stack(np.meshgrid(first, second), -1).reshape(-1, 2)
    logs = jax.vmap(
        lambda given: spectrum.log_likelihood(
            MODEL, 1.2, 0.05, coefficients=given
        )
    )(jnp.asarray(coefficients, float))
    weights = np.exp(np.asarray(logs, np.float64))
    weights *= norm.pdf(coefficients, 0.0, widths).prod(axis=1)
    cell = (first[1] - first[0]) * (second[1] - second[0])
    mean = weights @ coefficients / weights.sum()
    curve = 1.0 + np.asarray(spectrum.polynomials) @ mean
    return np.log(weights.sum() * cell), curve


@pytest.mark.parametrize("mask", [None, USED])
def test_calibration_by_brute_force(mask):
    spectrum = tiny(mask, calibration_degree=1, calibration_width=[0.3, 0.1])
    evidence, curve = by_brute_force(spectrum, [0.3, 0.1])
    found = spectrum.log_likelihood(MODEL, 1.2, 0.05)
    assert found == pytest.approx(evidence, rel=1e-5)
    assert spectrum.calibration(MODEL, 1.2, 0.05) == pytest.approx(
        curve, rel=1e-4
    )


def test_calibration_is_a_correlated_gaussian():
    spectrum = tiny(calibration_degree=3, calibration_width=0.5)
    x = (2.0 * LAM - LAM[0] - LAM[-1]) / (LAM[-1] - LAM[0])
    legendre = np.stack(
        [x**0, x, (3.0 * x**2 - 1.0) / 2.0, (5.0 * x**3 - 3.0 * x) / 2.0], 1
    )
    design = 0.5 * MODEL[:, None] * legendre
    covariance = np.diag(ERROR**2) + design @ design.T
    expected = multivariate_normal.logpdf(FLUX, MODEL, covariance)
    assert spectrum.log_likelihood(MODEL) == pytest.approx(expected, rel=1e-5)


def test_a_width_of_zero_is_no_polynomial():
    spectrum = tiny(calibration_degree=2, calibration_width=0.0)
    assert spectrum.log_likelihood(MODEL) == pytest.approx(
        tiny().log_likelihood(MODEL)
    )
    for without in (spectrum, tiny()):
        assert without.calibration(jnp.asarray(MODEL)) == pytest.approx(1.0)


def test_coefficients_allow_outliers():
    spectrum = tiny(calibration_degree=1)
    with pytest.raises(InconsistentArguments, match="Make the coefficients"):
        spectrum.log_likelihood(MODEL, outlier_fraction=0.1)
    given = jnp.array([0.1, -0.05])
    curve = 1.0 + np.asarray(spectrum.polynomials) @ np.asarray(given)
    options = {"outlier_fraction": 0.1}
    assert spectrum.log_likelihood(
        MODEL, coefficients=given, **options
    ) == pytest.approx(tiny().log_likelihood(curve * MODEL, **options))
    with pytest.raises(
        InconsistentArguments, match="another calibration_degree"
    ):
        tiny().log_likelihood(MODEL, coefficients=given)


def test_gradients_of_the_likelihood(double_precision):
    spectrum = tiny(USED, calibration_degree=2)

    @jax.jit
    def of(at):
        return spectrum.log_likelihood(at[0] * MODEL, at[1], at[2])

    at = np.array([1.1, 1.3, 0.1])
    slopes = jax.grad(of)(at)
    for column in range(3):
        shift = 1e-6 * np.eye(3)[column]
        expected = float(of(at + shift) - of(at - shift)) / 2e-6
        assert slopes[column] == pytest.approx(expected, rel=1e-6)


def test_digits_survive_a_poor_calibration():
    """In single precision, with a signal-to-noise ratio of 1000."""
    lam = np.linspace(4000.0, 7000.0, 3000)
    model = 1e5 * wavy(lam)
    noise = 1e-3 * model * np.random.default_rng(1).normal(size=3000)
    spectrum = Spectrum.from_fluxes(
        lam,
        (1.3 * model + noise) * nJy,
        1e-3 * model * nJy,
        2000.0,
        calibration_degree=2,
        calibration_width=0.5,
    )
    found = spectrum.log_likelihood(jnp.asarray(model, float))
    # The sum of squares without the polynomial is 3e8.
    design = 0.5 * model[:, None] * np.asarray(spectrum.polynomials)
    sigma = 1e-3 * model
    scaled = design / sigma[:, None]
    matrix = np.eye(3) + scaled.T @ scaled
    residual = (0.3 * model + noise) / sigma
    squares = residual @ residual
    projected = scaled.T @ residual
    squares -= projected @ np.linalg.solve(matrix, projected)
    expected = -0.5 * (
        squares
        + np.log(2.0 * np.pi * sigma**2).sum()
        + np.linalg.slogdet(matrix)[1]
    )
    assert float(found) == pytest.approx(expected, abs=1.0)


def test_any_units_of_flux():
    """1e-17 erg/s/cm^2/A at 5000 Angstrom is 8339 nJy."""
    lam = np.array([5000.0, 10000.0])
    forms = [
        np.full(2, 1e-17) * erg / s / cm**2 / angstrom,
        np.full(2, 1e-16) * W / m**2 / um,
        np.full(2, 1e-17) * u.erg / u.s / u.cm**2 / u.AA,
        np.array([8339.10, 4 * 8339.10]) * nJy,
        np.array([8339.10e-6, 4 * 8339.10e-6]) * mJy,
    ]
    for flux in forms:
        for wavelengths in (lam, lam * angstrom, lam / 1e4 * um):
            spectrum = Spectrum.from_fluxes(
                wavelengths, flux, 0.1 * flux, 1000.0
            )
            assert spectrum.flux == pytest.approx(
                [8339.10, 4 * 8339.10], rel=1e-5
            )
            assert spectrum.error == pytest.approx(
                0.1 * np.asarray(spectrum.flux), rel=1e-5
            )


def test_the_three_forms_of_a_resolution():
    lam = np.array([4000.0, 5000.0])
    sigma = lam / (1000.0 * FWHM)
    for resolution in (
        1000.0,
        [1000.0, 1000.0],
        sigma * angstrom,
        sigma / 1e4 * um,
        C / (1000.0 * FWHM) * km / s,
    ):
        found = observed(resolution, lam).variance
        assert found == pytest.approx((1000.0 * FWHM) ** -2.0, rel=1e-5)


def changed(array, index, value):
    array = array.copy()
    array[index] = value
    return array


BAD_SPECTRA = {
    "flux without units": (
        {"fluxes": FLUX},
        MissingUnits,
        "fluxes must be a flux density, in units that convert to nJy",
    ),
    "units of flux": (
        {"fluxes": FLUX * K},
        IncorrectUnits,
        "fluxes must be a flux density.*got units of K",
    ),
    "units of wavelengths": ({"lam": LAM * s}, IncorrectUnits, "lam must be"),
    "error of zero": (
        {"errors": changed(ERROR, 2, 0.0) * nJy},
        InconsistentArguments,
        "errors must be positive and finite in pixels that are used, got 0 "
        "nJy at 5200 Angstrom and in 0 others. Leave them out with mask=",
    ),
    "flux that is NaN": (
        {"fluxes": changed(FLUX, slice(1, 3), np.nan) * nJy},
        InconsistentArguments,
        "fluxes must be finite.*nan nJy at 4500 Angstrom and in 1 others",
    ),
    "all masked": (
        {"mask": np.zeros(6, bool)},
        InconsistentArguments,
        "mask must be True for at least one pixel, got False for all 6",
    ),
    "whole numbers as mask": (
        {"mask": np.ones(6, int)},
        InconsistentArguments,
        "mask must be an array of booleans",
    ),
    "another shape": (
        {"errors": ERROR[:5] * nJy},
        InconsistentArguments,
        r"errors must have one value for each of the 6 wavelengths.*\(5,\)",
    ),
    "not ascending": (
        {"lam": LAM[::-1]},
        InconsistentArguments,
        "lam must be.*in ascending order.*Sort them",
    ),
    "resolution of zero": (
        {"resolution": 0.0},
        InconsistentArguments,
        "resolution must be positive and finite, got 0",
    ),
    "units of resolution": (
        {"resolution": 3.0 * K},
        IncorrectUnits,
        "resolution must be a resolving power.*got units of K",
    ),
    "shape of resolution": (
        {"resolution": [1.0, 2.0]},
        InconsistentArguments,
        r"resolution must be one number, or one for each.*\(2,\)",
    ),
    "degree": (
        {"calibration_degree": 6},
        InconsistentArguments,
        "calibration_degree must be a whole number of at most 5, got 6",
    ),
    "widths": (
        {"calibration_degree": 2, "calibration_width": [0.1, 0.1]},
        InconsistentArguments,
        "or 3 for a polynomial of degree 2",
    ),
    "negative width": (
        {"calibration_degree": 2, "calibration_width": -0.1},
        InconsistentArguments,
        "calibration_width must be a number from 0",
    ),
    "width of no polynomial": (
        {"calibration_width": 0.3},
        InconsistentArguments,
        "got 0.3 without calibration_degree",
    ),
}


@pytest.mark.parametrize("case", BAD_SPECTRA)
def test_bad_spectra_are_refused(case):
    change, error, message = BAD_SPECTRA[case]
    given = {
        "lam": LAM,
        "fluxes": FLUX * nJy,
        "errors": ERROR * nJy,
        "resolution": 1000.0,
    }
    with pytest.raises(error, match=message):
        Spectrum.from_fluxes(**given | change)


def test_masked_pixels_may_be_anything():
    spectrum = Spectrum.from_fluxes(
        LAM,
        changed(FLUX, 4, np.nan) * nJy,
        changed(ERROR, 4, 0.0) * nJy,
        changed(np.full(6, 1000.0), 4, 0.0),
        mask=USED,
        calibration_degree=1,
    )
    value, slope = jax.jit(
        jax.value_and_grad(lambda fluxes: spectrum.log_likelihood(fluxes))
    )(jnp.asarray(changed(MODEL, 4, np.nan), float))
    assert value == pytest.approx(
        tiny(USED, calibration_degree=1).log_likelihood(MODEL)
    )
    assert np.isfinite(slope).all()


BAD_MODELS = {
    "beyond the grid": (
        {"lam": np.arange(3600.0, 8000.0)},
        "At redshifts from 0.02 to 0.15 the pixels used need models from "
        "3478.26 to 6861.27 Angstrom.*got models from 3600 to 7999.*Mask",
    ),
    "a gap": (
        {"lam": np.delete(np.arange(3300.0, 8000.0), slice(1700, 1800))},
        "no wavelengths between 4999 and 5100 Angstrom in the rest frame, "
        "which .* of .* pixels used need .* Mask pixels from",
    ),
    "sharper than the models": (
        {"resolution": 1500.0},
        "resolution of the models must not be worse.*84.87 km/s.*for the "
        "models, 63.66 km/s for the data and 0 km/s.*raise the lowest of "
        "dispersions",
    ),
    "redshifts": (
        {"redshifts": (0.2, 0.1)},
        "redshifts must be a lowest and a highest value",
    ),
    "dispersions": (
        {"dispersions": (-10.0, 100.0)},
        "dispersions must be a lowest and a highest value",
    ),
    "twice the same": (
        {"lam": np.sort(np.append(np.arange(3300.0, 8000.0), 5000.0))},
        "lam must have no wavelength of the models twice, got 5000",
    ),
}


@pytest.mark.parametrize("case", BAD_MODELS)
def test_bad_models_are_refused(case):
    change, message = BAD_MODELS[case]
    given = {
        "lam": GRIDS["linear"],
        "resolution": 3000.0,
        "redshifts": REDSHIFTS,
    }
    with pytest.raises(InconsistentArguments, match=message):
        Spectrograph.from_spectrum(observed(2000.0), **given | change)


def test_velocities_make_up_for_models_that_are_not_sharp():
    """The sum of the variances counts."""
    spectrum = observed(2000.0)
    lam = GRIDS["even in log"]
    spectrograph = Spectrograph.from_spectrum(
        spectrum, lam, 1500.0, REDSHIFTS, (60.0, 300.0)
    )
    rest = PIXELS / 1.1
    found = fluxes_of(spectrograph, spectrum, lines(lam, 0.0), 0.1, 100.0)
    variance = (FWHM * 2000.0) ** -2.0 - (FWHM * 1500.0) ** -2.0
    expected = lines(rest, variance + (100.0 / C) ** 2)
    assert found == pytest.approx(
        expected, abs=SINGLE * np.abs(expected).max()
    )
