"""Photometry on wavelengths evenly spaced in their logarithm."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from astropy.cosmology import Planck18
from synthesizer.emissions import Sed
from synthesizer.instruments import FilterCollection
from synthesizer.instruments.filters import Filter
from unyt import Hz, angstrom, erg, s

from synthesizer_emulator.galaxies.bands import Band, Bands
from synthesizer_emulator.galaxies.observer import Observer
from synthesizer_emulator.galaxies.shifted_bands import are_even

LAM = np.geomspace(900.0, 60_000.0, 2521)
STEP = np.log(LAM[1] / LAM[0])


def smooth_filters():
    """Return filters with a structured top that ends at zero."""
    collected = []
    for i, centre in enumerate((4_000.0, 12_000.0, 35_000.0)):
        lam = np.linspace(0.8 * centre, 1.2 * centre, 300)
        x = (lam / centre - 1.0) / 0.2
        top = (1.0 - x**2) ** 2 * (1.0 + 0.3 * np.sin(9.0 * x + i))
        collected.append(
            Filter(f"x/y.{i}", transmission=top, new_lam=lam * angstrom)
        )
    return FilterCollection(filters=collected)


def top_hat():
    edges = {"lam_min": 4e3 * angstrom, "lam_max": 6e3 * angstrom}
    return FilterCollection(tophat_dict={"hat": edges})


def spectrum(seed=3):
    """Return a spectrum with lines and a break, erg/s/Hz."""
    rng = np.random.default_rng(seed)
    lnu = 1e28 * (LAM / 5_000.0) ** rng.normal() * (LAM > 1_216.0)
    lnu[rng.integers(0, len(LAM), 40)] *= 20.0
    return lnu


@pytest.fixture(scope="module")
def filters():
    return smooth_filters()


@pytest.fixture(scope="module")
def bands(filters):
    return Bands.from_filters(filters, LAM)


def exact(filters, fnu, redshift):
    """Return flux densities with the transmission at each pixel."""
    bands = Bands.from_filters(filters, LAM)
    return [
        Band.from_filter(filters[code], LAM).flux(
            bands.nu, bands.steps, jnp.asarray(fnu), jnp.asarray(redshift)
        )
        for code in filters.filter_codes
    ]


def test_smooth_filters_are_tabulated(bands):
    assert bands.shifted is not None
    assert bands.bands == ()


@pytest.mark.slow
@pytest.mark.parametrize("redshift", [0.0, 1e-4, 0.3, 2.7182, 6.5, 12.0])
def test_photometry_is_synthesizers(bands, filters, redshift):
    observer = Observer.from_cosmology(LAM, Planck18)
    sed = Sed(LAM * angstrom, spectrum() * erg / s / Hz)
    sed.get_fnu(Planck18, redshift)
    true = sed.get_photo_fnu(filters).photometry.to_value("nJy")
    fnu = observer.fluxes(spectrum(), redshift)
    np.testing.assert_allclose(
        bands.fluxes(fnu, redshift), true, rtol=3e-5, atol=0
    )


@pytest.mark.slow
def test_filters_beyond_the_wavelengths(bands, filters):
    """They are integrated over the wavelengths that there are."""
    fnu = 1.0 + np.linspace(0.0, 1.0, len(LAM)) ** 2
    # The filter at 4,000 Angstrom moves off the blue end of the spectrum,
    # pixel by pixel; it covers only its first two pixels at 4.3.
    for redshift in (2.6, 3.0, 3.4, 4.0, 4.3, 4.5):
        np.testing.assert_allclose(
            bands.fluxes(fnu, redshift),
            exact(filters, fnu, redshift),
            rtol=2e-3,
        )
    assert float(bands.fluxes(fnu, 5.0)[0]) == 0.0


def test_an_impossible_galaxy_has_no_photometry(bands):
    """Not even in filters beyond its wavelengths."""
    lost = bands.fluxes(np.full(len(LAM), np.nan), 50.0)
    assert np.isnan(lost).all()
    assert not bands.fluxes(np.ones(len(LAM)), 50.0)[0]


def test_filters_that_jump_are_not_tabulated():
    hats = top_hat()
    assert Bands.from_filters(hats, LAM).shifted is None


@pytest.mark.slow
def test_filters_of_both_kinds_keep_their_order(filters):
    hats = top_hat()
    both = FilterCollection(
        filters=[filters["x/y.2"], hats["hat"], filters["x/y.0"]]
    )
    bands = Bands.from_filters(both, LAM)
    assert bands.shifted is not None
    assert len(bands.bands) == 1
    got = bands.fluxes(spectrum(), 0.7)
    np.testing.assert_allclose(got, exact(both, spectrum(), 0.7), rtol=3e-5)


def test_other_wavelengths_are_not_shifted():
    assert are_even(LAM)
    assert not are_even(np.linspace(900.0, 60_000.0, 2521))
    assert not are_even(LAM[:1])


def test_unknown_fluxes_are_nan_only_where_a_filter_sees_them(bands):
    fnu = spectrum()
    fnu[np.argmin(abs(LAM - 4_000.0))] = np.nan
    found = bands.fluxes(fnu, 0.0)
    assert np.isnan(np.asarray(bands.fluxes(fnu, 1e-3))).tolist() == [
        True,
        False,
        False,
    ]
    assert np.isnan(np.asarray(bands.fluxes(spectrum(), np.nan))).all()
    assert np.isnan(found[0])


def test_derivatives_are_those_of_differences(bands, double_precision):
    """And continuous where a pixel enters a filter."""
    fnu = jnp.asarray(spectrum())
    fluxes = jax.jit(bands.fluxes)
    slope = jax.jit(jax.jacfwd(bands.fluxes, 1))
    for redshift in (0.7, 2.0, np.expm1(700 * STEP)):
        h = 1e-8
        difference = (
            fluxes(fnu, redshift + h) - fluxes(fnu, redshift - h)
        ) / (2 * h)
        np.testing.assert_allclose(slope(fnu, redshift), difference, rtol=1e-5)
    at = np.expm1(700 * STEP)
    np.testing.assert_allclose(
        slope(fnu, at * (1 - 1e-12)), slope(fnu, at * (1 + 1e-12)), rtol=1e-6
    )
