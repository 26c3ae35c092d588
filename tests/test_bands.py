import jax
import jax.numpy as jnp
import numpy as np
import pytest
from astropy.cosmology import Planck18
from synthesizer.emission_models.transformers.igm import Inoue14
from synthesizer.emissions import Sed
from synthesizer.exceptions import InconsistentArguments
from synthesizer.instruments import FilterCollection
from synthesizer.instruments.filters import Filter
from unyt import Hz, angstrom, erg, s

from synthesizer_emulator.galaxies.bands import Bands, lam_lims
from synthesizer_emulator.galaxies.observer import Observer

RNG = np.random.default_rng(3)
band_fluxes = jax.jit(Bands.fluxes)
REDSHIFTS = np.array([0.0, 1e-3, 0.3, 1.0, 2.2, 3.7, 5.0, 6.5, 9.0, 11.9])


def make_filters():
    """Return filters with all that makes their integrals differ."""
    centres = np.geomspace(1500, 44000, 5)
    hats = {
        f"hat {c:.0f}": {
            "lam_eff": c * angstrom,
            "lam_fwhm": 0.25 * c * angstrom,
        }
        for c in centres
    }
    # Narrower than the spacing of the spectrum, and wider than all.
    hats["narrow"] = {"lam_eff": 6600 * angstrom, "lam_fwhm": 60 * angstrom}
    hats["wide"] = {"lam_min": 900 * angstrom, "lam_max": 30000 * angstrom}
    lam = np.cumsum(RNG.uniform(5.0, 40.0, 400)) + 4000.0
    bumpy = RNG.uniform(0.5, 0.9, 400)  # and open at both ends
    leaky = np.exp(-0.5 * ((lam - 6000) / 300) ** 2)
    leaky[leaky < 1e-3] = 0.0
    leaky[-50:-30] = 0.05
    own = [
        Filter(name, transmission=t, new_lam=lam * angstrom)
        for name, t in (("bumpy", bumpy), ("leaky", leaky))
    ]
    return FilterCollection(tophat_dict=hats, filters=own)


@pytest.fixture(scope="module")
def filters():
    return make_filters()


@pytest.fixture(scope="module")
def spectrum(native):
    """Return wavelengths and a spectrum with lines and breaks."""
    lnu = (
        native.spectra["nebular"][5, 4] + native.spectra["transmitted"][30, 4]
    )
    return np.array(native._lam), 1e9 * lnu


def awkward_curves(lam):
    """Return curves that are hard to sample, at wavelengths of a spectrum.

    As wavelengths and transmission, by name.
    """
    first = int(np.searchsorted(lam, 5000.0))
    pixel = lam[first + 1] - lam[first]
    curves = {}
    # Narrower than the spacing: between two wavelengths, around one, around
    # two, and open from one to the next.
    for name, low, high in (
        ("in none", lam[first] + 0.1 * pixel, lam[first] + 0.9 * pixel),
        ("in one", lam[first] - 0.1 * pixel, lam[first] + 0.1 * pixel),
        ("in two", lam[first] - 0.1 * pixel, lam[first] + 1.1 * pixel),
        ("one to next", lam[first], lam[first + 1]),
    ):
        curves[name] = np.linspace(low, high, 50), np.full(50, 0.7)
    # Ends open, or closed, exactly on wavelengths.
    for n in (3, 60):
        ends = lam[first], lam[first + n]
        rising = np.linspace(0.4, 0.9, 200)
        curves[f"open {n}"] = np.linspace(*ends, 200), rising
        curves[f"own {n}"] = lam[first : first + n + 1], rising[: n + 1]
        closed = np.append(0.0, np.append(rising, 0.0))
        inner = np.linspace(lam[first + 1], lam[first + n - 1], 200)
        curves[f"closed {n}"] = (
            np.append(ends[0], np.append(inner, ends[1])),
            closed,
        )
    # Jumps, one of them with both points in one place.
    steps = np.array([4000.0, 4500.0, 4500.001, 6000.0, 6000.0, 7000.0])
    curves["jumps"] = steps, np.array([0.0, 0.0, 1.0, 1.0, 0.0, 0.0])
    # Down to no wavelength at all, where the frequency is infinite.
    curves["from zero"] = (
        np.linspace(0, 9e3, 10),
        np.append(0.0, np.geomspace(1.0, 0.01, 9)),
    )
    n = 300_000
    fine = np.linspace(3000, 12000, n)
    curves["comb"] = fine, (np.arange(n) // 7 % 2).astype(float)
    curves["random comb"] = fine, RNG.uniform(size=n)
    return curves


def awkward_filters(lam):
    """Return filters that are hard to sample."""
    # Synthesizer spaces a thousand points from 1000 Angstrom, or none,
    # below to 1000 above.
    hats = {
        f"{low:g} to {high:g}": {
            "lam_min": low * angstrom,
            "lam_max": high * angstrom,
        }
        for low, high in (
            (0, 1e4),
            (300, 3e5),
            (900, 8.9e5),
            (1000, 1e6),
        )
    }
    own = [
        Filter(name, transmission=t, new_lam=x * angstrom)
        for name, (x, t) in awkward_curves(lam).items()
    ]
    return FilterCollection(tophat_dict=hats, filters=own)


def native_fluxes(spectrum, filters, redshift, igm=Inoue14):
    """Return Synthesizer's flux density and photometry.

    Of a new Sed: one that was at redshift zero before shifts its own
    wavelengths.
    """
    lam, lnu = spectrum
    sed = Sed(lam.copy() * angstrom, lnu * erg / s / Hz)
    sed.get_fnu(Planck18, float(redshift), igm=igm)
    return sed._fnu, np.asarray(sed.get_photo_fnu(filters).photo_fnu)


def compare(spectrum, filters, tolerance, narrow):
    """Compare with tolerances for most and for the narrow filter."""
    lam, lnu = spectrum
    codes = np.array(filters.filter_codes)
    allowed = np.where(codes == "narrow", narrow, tolerance)
    bands = Bands.from_filters(filters, lam)
    observer = Observer.from_cosmology(lam, Planck18, igm=Inoue14)

    @jax.jit
    def observe(lnu, redshift):
        fnu = observer.fluxes(lnu, redshift)
        return fnu, bands.fluxes(fnu, redshift)

    for z in REDSHIFTS:
        true, true_photometry = native_fluxes(spectrum, filters, z)
        fnu, photometry = map(np.asarray, observe(lnu, z))
        bright = true > 1e-6 * true.max()
        np.testing.assert_allclose(fnu[bright], true[bright], rtol=tolerance)
        # Bands that hardly anything reaches have no magnitude.
        seen = true_photometry > 1e-9 * true_photometry.max()
        errors = np.abs(photometry - true_photometry)[seen]
        assert (errors < allowed[seen] * true_photometry[seen]).all()
        assert not photometry[true_photometry == 0].any()


def test_fluxes_are_synthesizers(spectrum, filters, double_precision):
    compare(spectrum, filters, 1e-10, 1e-10)


@pytest.mark.slow
def test_fluxes_in_single_precision(spectrum, filters):
    # Of a magnitude, 1e-4 are 9e-5 of a flux. Wavelengths are rounded to
    # 6e-8, which moves a bright line on the edge of a narrow filter.
    compare(spectrum, filters, 9e-5, 5e-4)


def compare_awkward(spectrum, tolerances):
    """Compare with a tolerance for each filter, by default the first."""
    lam, lnu = spectrum
    filters = awkward_filters(lam)
    allowed = [
        tolerances.get(code, tolerances["all"])
        for code in filters.filter_codes
    ]
    bands = Bands.from_filters(filters, lam)
    seen = np.zeros(len(allowed), bool)
    # At the second, wavelengths are exactly doubled.
    for z in (0.0, 1.0, 0.5, 2.37, 7.0):
        sed = Sed(lam.copy() * angstrom, lnu * erg / s / Hz)
        sed.get_fnu(Planck18, z)
        true = np.asarray(sed.get_photo_fnu(filters).photo_fnu)
        got = np.asarray(band_fluxes(bands, jnp.asarray(sed._fnu), z))
        errors = np.abs(got - true) / np.where(true > 0, true, 1.0)
        for code, error, most in zip(
            filters.filter_codes, errors, allowed, strict=True
        ):
            assert error <= most, (code, z)
        seen |= true > 0
    unseen = np.array(filters.filter_codes)[~seen]
    assert set(unseen) <= {"in none", "in one"}
    sed = Sed(lam * angstrom, lnu * erg / s / Hz)
    true = np.asarray(sed.get_photo_lnu(filters).photo_lnu)
    np.testing.assert_allclose(
        bands.luminosities(jnp.asarray(lnu)), true, rtol=1e-6
    )


def test_awkward_filters_are_synthesizers(spectrum, double_precision):
    compare_awkward(spectrum, {"all": 1e-9})


@pytest.mark.slow
def test_awkward_filters_in_single_precision(spectrum):
    # Frequencies are rounded to 1e-7, a part of a comb's spacing of 3e-6.
    combs = {"comb": 2e-3, "random comb": 1e-2}
    compare_awkward(spectrum, {"all": 9e-5, **combs})


def test_luminosities_are_synthesizers(spectrum, filters):
    lam, lnu = spectrum
    sed = Sed(lam * angstrom, lnu * erg / s / Hz)
    true = np.asarray(sed.get_photo_lnu(filters).photo_lnu)
    bands = Bands.from_filters(filters, lam)
    got = bands.luminosities(jnp.asarray(lnu))
    np.testing.assert_allclose(got, true, rtol=1e-6)
    assert bands.codes == tuple(filters.filter_codes)


def test_luminosities_of_filters_on_the_grid_of_the_spectrum(spectrum):
    """Where Synthesizer has resampled the filters in wavelength."""
    lam, lnu = spectrum
    filters = make_filters()
    filters.resample_filters(new_lam=lam * angstrom, verbose=False)
    sed = Sed(lam * angstrom, lnu * erg / s / Hz)
    true = np.asarray(sed.get_photo_lnu(filters).photo_lnu)
    got = Bands.from_filters(filters, lam).luminosities(jnp.asarray(lnu))
    np.testing.assert_allclose(got, true, rtol=1e-6)


@pytest.mark.slow
def test_a_flat_spectrum_is_flat_in_every_band(spectrum, filters):
    lam, _ = spectrum
    bands = Bands.from_filters(filters, lam)
    flat = jnp.ones(len(lam))
    for z in (0.0, 0.7, 4.0):
        fluxes = np.asarray(band_fluxes(bands, flat, z))
        np.testing.assert_allclose(fluxes[fluxes > 0], 1.0, rtol=1e-5)


def test_filters_beyond_the_spectrum_see_nothing():
    far = {"lam_min": 1e5 * angstrom, "lam_max": 2e5 * angstrom}
    filters = FilterCollection(tophat_dict={"far": far})
    bands = Bands.from_filters(filters, np.geomspace(1000, 5000, 50))
    assert band_fluxes(bands, jnp.ones(50), 1.0)[0] == 0.0
    assert band_fluxes(bands, jnp.ones(50), 40.0)[0] > 0.0


@pytest.mark.slow
@pytest.mark.parametrize("z", [-2.0, -1.0, np.nan])
def test_unknown_redshifts_are_nan_in_all_bands(spectrum, filters, z):
    """Whether or not they overlap, and whatever the flux is."""
    lam, lnu = spectrum
    bands = Bands.from_filters(filters, lam)
    assert np.isnan(band_fluxes(bands, jnp.asarray(lnu), z)).all()


@pytest.mark.slow
def test_wavelengths_on_the_edges_of_a_tables_cells(spectrum, filters):
    """Compiled for batches, which rounds twice and not always alike."""
    lam, _ = spectrum
    lam = lam[(lam > 1200) & (lam < 9000)]
    bands = Bands.from_filters(filters.select("leaky"), lam)
    table = bands.bands[0].curve.between
    edges = float(table.first) + float(table.cell) * np.arange(40, 400)
    # One bright line, seen at each of the edges.
    line = len(lam) // 2
    nu = Sed(lam * angstrom).nu.to_value("Hz")
    redshifts = np.float32(nu[line] / edges - 1.0)
    redshifts = redshifts[redshifts > 0]
    spectra = np.ones((len(redshifts), len(lam)))
    spectra[:, line] = 1e4
    found = jax.jit(jax.vmap(Bands.fluxes, (None, 0, 0)))(
        bands, jnp.asarray(spectra, float), redshifts
    )
    for z, fnu, got in zip(redshifts, spectra, found, strict=True):
        observed = nu / (1.0 + np.float64(z))
        true = filters.select("leaky").apply_filters(fnu, nu=observed)
        # Single precision, where hardly anything passes.
        np.testing.assert_allclose(got, true, rtol=1e-3)


def test_gradients_in_redshift(spectrum, filters, double_precision):
    lam, lnu = spectrum
    bands = Bands.from_filters(filters.select("narrow", "leaky"), lam)
    observer = Observer.from_cosmology(lam, Planck18)

    @jax.jit
    def fluxes(z):
        return bands.fluxes(observer.fluxes(jnp.asarray(lnu), z), z)

    z, step = 2.31, 1e-7
    slope = jax.jit(jax.jacfwd(fluxes))(z)
    expected = (fluxes(z + step) - fluxes(z - step)) / (2 * step)
    np.testing.assert_allclose(slope, expected, rtol=1e-5, atol=1e-12)


def test_one_compilation_serves_all_redshifts(spectrum, filters):
    lam, lnu = spectrum
    bands = Bands.from_filters(filters.select("narrow"), lam)
    traces = []

    def fluxes(bands, fnu, redshift):
        traces.append(fnu.shape)
        return bands.fluxes(fnu, redshift)

    evaluate = jax.jit(jax.vmap(fluxes, (None, 0, 0)))
    spectra = jnp.tile(jnp.asarray(lnu, float), (4, 1))

    for low in (0.1, 0.2):
        evaluate(bands, spectra, jnp.linspace(low, 5.0, 4))
    assert traces == [lnu.shape]


def test_spectra_of_another_length_are_refused(filters):
    bands = Bands.from_filters(filters, np.geomspace(1000, 1e5, 80))
    with pytest.raises(InconsistentArguments, match=r"80 wavelengths.*vmap"):
        bands.fluxes(jnp.ones((2, 80)), 1.0)


@pytest.mark.slow
def test_limits_hold_all_that_filters_see(spectrum):
    lam, lnu = spectrum
    hat = {"lam_min": 8000 * angstrom, "lam_max": 50000 * angstrom}
    filters = FilterCollection(tophat_dict={"hat": hat})
    low, high = (end.value for end in lam_lims(filters, max_redshift=4.0))
    assert 0.9 * 8000 / 5 < low <= 8000 / 5
    assert 50000 <= high < 1.1 * 50000
    kept = (lam >= low) & (lam <= high)
    assert kept.sum() < 0.6 * len(lam)
    for z in (0.0, 1.7, 4.0):
        whole, part = (
            band_fluxes(Bands.from_filters(filters, lam[k]), lnu[k], z)
            for k in (slice(None), kept)
        )
        np.testing.assert_allclose(part, whole, rtol=1e-6)
