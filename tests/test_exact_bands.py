"""Photometry by exact integrals against brute force and Synthesizer."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from astropy.cosmology import Planck18
from synthesizer.emissions import Sed
from synthesizer.exceptions import InconsistentArguments
from synthesizer.instruments import FilterCollection
from synthesizer.instruments.filters import Filter
from unyt import Hz, angstrom, c, erg, s

from synthesizer_emulator.galaxies.bands import Bands

LIGHT = float(c.to_value("angstrom/s"))
# Steps of different lengths.
LAM = np.cumsum(np.geomspace(1.0, 90.0, 1500)) + 600.0
REDSHIFTS = np.array([0.0, 0.3, 2.7182, 6.5])
band_fluxes = jax.jit(jax.vmap(Bands.fluxes, (None, None, 0)))


def make_filters():
    """Return top hats, and filters with smooth and with open ends."""
    hats = {
        f"hat {centre:g}": {
            "lam_eff": centre * angstrom,
            "lam_fwhm": 0.25 * centre * angstrom,
        }
        for centre in (3000.0, 9000.0)
    }
    hats["wide"] = {"lam_min": 700 * angstrom, "lam_max": 30000 * angstrom}
    lam = np.linspace(8000.0, 12000.0, 300)
    x = (lam - 10000.0) / 2000.0
    smooth = 0.7 * (1.0 - x**2) ** 2 * (1.0 + 0.3 * np.sin(9.0 * x))
    from_zero = np.linspace(0.0, 9e3, 10), np.append(0.0, np.ones(9))
    own = [
        Filter(f"x/y.{name}", transmission=t, new_lam=at * angstrom)
        for name, at, t in (
            ("smooth", lam, smooth),
            ("open", lam, 0.5 + 0.2 * x),
            ("blue", *from_zero),
        )
    ]
    return FilterCollection(tophat_dict=hats, filters=own)


@pytest.fixture(scope="module")
def filters():
    return make_filters()


@pytest.fixture(scope="module")
def bands(filters):
    return Bands.from_filters(filters, LAM, integration="exact")


def spectrum():
    """Return a spectrum with lines and a break."""
    rng = np.random.default_rng(3)
    values = (LAM / 5000.0) ** -0.5 * np.where(LAM > 1216.0, 1.0, 0.3)
    values[rng.integers(0, len(LAM), 40)] *= 20.0
    return values


def brute(filt, fnu, redshift):
    """Return a mean flux density from many points."""
    x = np.log(LAM * (1.0 + redshift))
    nu = filt.original_nu.value[::-1]
    finite = np.isfinite(nu)
    transmission = filt.original_t[::-1]
    points = np.log(LIGHT / nu[finite])
    fine = np.concatenate([np.linspace(x[0], x[-1], 500_000), points, x])
    fine = np.unique(fine[(fine >= x[0]) & (fine <= x[-1])])
    middle = 0.5 * (fine[1:] + fine[:-1])
    weights = np.diff(fine) * np.interp(
        LIGHT / np.exp(middle), nu[finite], transmission[finite], 0.0,
        0.0 if finite.all() else transmission[finite][-1],
    )  # fmt: skip
    return weights @ np.interp(middle, x, fnu) / weights.sum()


@pytest.mark.slow
def test_integrals_are_exact(bands, filters):
    fnu = spectrum()
    found = np.asarray(band_fluxes(bands, jnp.asarray(fnu), REDSHIFTS))
    for redshift, got in zip(REDSHIFTS, found, strict=True):
        seen = got > 0.0
        expected = [
            brute(filters[code], fnu, redshift)
            for code in np.array(bands.codes)[seen]
        ]
        np.testing.assert_allclose(got[seen], expected, rtol=5e-5)
    # The first hat is beyond the blue end of the spectrum.
    assert found[-1, 0] == 0.0
    assert (found[:-1] > 0.0).all()


def test_smooth_filters_are_close_to_synthesizer(bands, filters):
    """Within 0.2 millimagnitudes, with all the lines."""
    for redshift in (0.0, 0.3, 1.6):
        sed = Sed(LAM * angstrom, 1e28 * spectrum() * erg / s / Hz)
        sed.get_fnu(Planck18, redshift)
        true = sed.get_photo_fnu(filters)["x/y.smooth"].to_value("nJy")
        fnu = jnp.asarray(sed.fnu.to_value("nJy"))
        (got,) = band_fluxes(bands, fnu, np.array([redshift]))
        got = float(got[bands.codes.index("x/y.smooth")])
        assert abs(2.5 * np.log10(got / true)) < 2e-4


def test_flat_spectra_are_flat(bands):
    flat = band_fluxes(bands, jnp.ones(len(LAM)), REDSHIFTS[:-1])
    np.testing.assert_allclose(flat, 1.0, rtol=3e-6)


def test_the_rest_frame_is_that_at_redshift_zero(bands):
    lnu = jnp.asarray(spectrum())
    at_zero = band_fluxes(bands, lnu, np.zeros(1))[0]
    np.testing.assert_allclose(bands.luminosities(lnu), at_zero, rtol=3e-5)


def test_unknown_redshifts_are_nan(bands):
    bad = np.array([np.nan, -1.0, -2.0])
    assert np.isnan(band_fluxes(bands, jnp.ones(len(LAM)), bad)).all()


@pytest.mark.slow
def test_derivatives_are_continuous(filters, double_precision):
    """Also where an edge of a top hat passes a wavelength."""
    fnu = jnp.asarray(spectrum())
    bands = Bands.from_filters(filters.select("hat 9000"), LAM, "exact")
    slope = jax.jit(jax.vmap(jax.jacfwd(lambda z: bands.fluxes(fnu, z))))
    filt = filters["hat 9000"]
    edge = LIGHT / filt.original_nu.value[np.flatnonzero(filt.original_t)[0]]
    passing = edge / LAM[(LAM > 2500.0) & (LAM < 7000.0)][::40] - 1.0
    steps = np.array([-1e-10, 1e-10])
    left, right = (np.asarray(slope(passing + step)) for step in steps)
    np.testing.assert_allclose(left, right, rtol=1e-5, atol=1e-6)
    h = 1e-7
    ends = [np.asarray(band_fluxes(bands, fnu, passing + x)) for x in (h, -h)]
    expected = (ends[0] - ends[1]) / (2 * h)
    np.testing.assert_allclose(left, expected, rtol=1e-4, atol=1e-5)
    backwards = jax.jit(jax.jacrev(lambda z: bands.fluxes(fnu, z)))(passing[0])
    np.testing.assert_allclose(backwards, slope(passing[:1])[0], rtol=1e-9)


def test_other_rules_are_refused(filters):
    with pytest.raises(
        InconsistentArguments, match=r"integration .*trapezoidal, exact.*simps"
    ):
        Bands.from_filters(filters, LAM, integration="simps")
