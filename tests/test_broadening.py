"""Doppler broadening in compiled models against Synthesizer's own."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from conftest import compile_exactly, make_stars
from synthesizer.emission_models import (
    DustEmission,
    Greybody,
    IncidentEmission,
    PacmanEmission,
    StellarEmissionModel,
    TotalEmission,
)
from synthesizer.emission_models.attenuation import PowerLaw
from synthesizer.emission_models.model_queue import ModelQueue
from synthesizer.emission_models.transformers import (
    DopplerBroadening,
    ThermalBroadening,
)
from synthesizer.emissions import Sed
from synthesizer.exceptions import (
    InconsistentArguments,
    InconsistentParameter,
    MissingUnits,
    UnimplementedFunctionality,
)
from synthesizer.instruments import FilterCollection
from synthesizer.parametric import Galaxy
from unyt import Hz, K, amu, angstrom, erg, km, s

from synthesizer_emulator.galaxies.bands import Bands, lam_lims
from synthesizer_emulator.galaxies.broadening import (
    LARGEST_DISPERSION,
    Broadening,
)
from synthesizer_emulator.galaxies.values import Constant, Varying

pytestmark = pytest.mark.filterwarnings("ignore::RuntimeWarning")

SLOPE = PowerLaw(slope=-0.7)
SPEED = km / s
EVERY = slice(None)

# Narrow pixels in the optical, wide ones elsewhere, as BC03 with MILES.
FINE_LAM = np.unique(
    np.concatenate(
        [
            np.geomspace(91.0, 3540.0, 150),
            np.arange(3541.0, 4400.0, 0.9),
            np.geomspace(4400.0, 1e6, 200),
        ]
    )
)

# Each galaxy's own values, with units.
VALUES = {
    "tau_v": (0.5, 1.0),
    "fesc": (0.2, 1.0),
    "sigma_v": (420.0, SPEED),
    "heat": (3e7, K),
    "mass": (2.0, amu),
}


def spread(model, transformer, label="spread", **kwargs):
    return StellarEmissionModel(
        label=label, apply_to=model, transformer=transformer, **kwargs
    )


def total(grid, **kwargs):
    return TotalEmission(grid, dust_curve=SLOPE, **kwargs)


def warmed(grid):
    """Dust that is heated by what is lost from broadened light."""
    doppler = DopplerBroadening("sigma_v")
    before = spread(IncidentEmission(grid), doppler, "before")
    behind = StellarEmissionModel(
        label="behind", apply_to=before, dust_curve=SLOPE
    )
    after = spread(behind, doppler, "after")
    generator = Greybody(
        temperature=40 * K, intrinsic=before, attenuated=after
    )
    dust = DustEmission(generator, emitter="stellar", label="dust")
    return StellarEmissionModel(label="all", combine=(after, dust))


MODELS = {
    "incident": (
        lambda grid: IncidentEmission(grid, velocity_dispersion=300 * SPEED),
        (),
    ),
    "total": (
        lambda grid: total(grid, velocity_dispersion=200 * SPEED),
        ("tau_v", "fesc"),
    ),
    "dust of the galaxy": (
        lambda grid: PacmanEmission(
            grid,
            dust_curve=SLOPE,
            dust_emission=Greybody(temperature=40 * K),
            stellar_dust=False,
            velocity_dispersion=500 * SPEED,
        ),
        ("tau_v", "fesc"),
    ),
    "each galaxy its own": (
        lambda grid: spread(total(grid), DopplerBroadening("sigma_v")),
        ("tau_v", "fesc", "sigma_v"),
    ),
    "behind dust": (
        lambda grid: StellarEmissionModel(
            label="screened",
            apply_to=spread(
                IncidentEmission(grid), DopplerBroadening("sigma_v")
            ),
            dust_curve=SLOPE,
        ),
        ("tau_v", "sigma_v"),
    ),
    "thermal": (
        lambda grid: spread(
            IncidentEmission(grid), ThermalBroadening("heat", mu=4.0 * amu)
        ),
        ("heat",),
    ),
    "thermal, fixed": (
        lambda grid: spread(
            IncidentEmission(grid),
            ThermalBroadening("heat", mu_attr="mass"),
            heat=1e8 * K,
            mass=1.0 * amu,
        ),
        (),
    ),
    "warmed": (warmed, ("tau_v", "sigma_v")),
}


def native_spectra(grid, model, varying):
    attributes = {}
    for name in varying:
        value, units = VALUES[name]
        attributes[name] = value * units
    stars = make_stars(grid, **attributes)
    if model.emitter != "galaxy":
        stars.get_spectra(model)
        return stars.spectra
    galaxy = Galaxy(stars=stars)
    for name, value in attributes.items():
        setattr(galaxy, name, value)
    galaxy.get_spectra(model)
    return {**stars.spectra, **galaxy.spectra}


def broaden(lam, lnu, sigma, kept=EVERY):
    """Return a spectrum broadened with a constant and a free dispersion."""
    for value in (Constant(sigma), Varying("sigma_v", "km/s")):
        broadening = Broadening.from_wavelengths(lam, kept, value, "spectrum")
        apply = jax.jit(Broadening.__call__)
        lnu = jnp.asarray(lnu, float)
        yield np.asarray(apply(broadening, lnu, {"sigma_v": sigma}))


def native_broadened(lam, lnu, sigma):
    sed = Sed(lam * angstrom, lnu * erg / s / Hz)
    return np.asarray(sed.doppler_broaden(sigma * SPEED)._lnu)


@pytest.mark.parametrize(("make", "varying"), MODELS.values(), ids=MODELS)
def test_broadened_models_are_synthesizers(
    native, make, varying, double_precision
):
    model = make(native)
    true = native_spectra(native, model, varying)
    labels = [x for x in ModelQueue(model).models if x in true]
    compiled = compile_exactly(model, labels, varying)
    assert set(compiled.parameters) == set(varying)
    values = {name: VALUES[name][0] for name in varying}
    share = jnp.asarray(make_stars(native).sfzh)
    got = compiled.spectra(share, values)
    for label in labels:
        expected = true[label]._lnu
        # Synthesizer's Fourier transforms leave noise in faint light.
        bright = expected > 1e-5 * expected.max()
        np.testing.assert_allclose(
            got[label][bright], expected[bright], rtol=1e-9, err_msg=label
        )


@pytest.mark.parametrize("sigma", [3.0, 30.0, 150.0, 600.0, 1000.0])
def test_pixels_of_any_width_are_synthesizers(sigma, double_precision):
    rng = np.random.default_rng(3)
    lnu = np.exp(rng.normal(size=len(FINE_LAM)))
    true = native_broadened(FINE_LAM, lnu, sigma)
    for got in broaden(FINE_LAM, lnu, sigma):
        np.testing.assert_allclose(got, true, rtol=1e-9, atol=1e-12)


@pytest.mark.slow
@pytest.mark.parametrize("sigma", [30.0, 150.0, 600.0])
def test_broadening_in_single_precision(sigma):
    """Also of a line a million times brighter than the continuum."""
    lnu = np.ones(len(FINE_LAM))
    lnu[len(FINE_LAM) // 2] = 1e6
    true = native_broadened(FINE_LAM, lnu, sigma)
    for got in broaden(FINE_LAM, lnu, sigma):
        near = np.abs(got - true) / (np.abs(true) + 1e-7 * lnu.max())
        assert near.max() < 1e-3


def test_a_line_becomes_a_gaussian(double_precision):
    """Of the width asked for, one fine pixel redwards; energy is kept."""
    lam = np.geomspace(3000.0, 8000.0, 4001)
    lnu = np.zeros(len(lam))
    lnu[2000] = 1.0
    x = np.log(lam)
    width = 300.0 / 299792.458
    fine = (x[-1] - x[0]) / 99999
    for got in broaden(lam, lnu, 300.0):
        assert got.sum() == pytest.approx(1.0, rel=1e-9)
        mean = (got * x).sum()
        assert mean - x[2000] == pytest.approx(fine, rel=1e-5)
        variance = (got * (x - mean) ** 2).sum()
        # The average over pixels adds the width of two boxes.
        boxes = 2.0 * (x[1] - x[0]) ** 2 / 12.0
        assert variance == pytest.approx(width**2 + boxes, rel=1e-3)


def test_a_flat_spectrum_stays_flat_but_at_the_ends(double_precision):
    flat = np.ones(len(FINE_LAM))
    for got in broaden(FINE_LAM, flat, 200.0):
        np.testing.assert_allclose(got[3:-3], 1.0, rtol=1e-12)
        assert got[0] == got[-1] == 0.0


def test_the_dispersion_has_a_derivative(double_precision):
    lnu = jnp.asarray(np.random.default_rng(1).uniform(size=len(FINE_LAM)))
    broadening = Broadening.from_wavelengths(
        FINE_LAM, EVERY, Varying("sigma_v", "km/s"), "spectrum"
    )

    @jax.jit
    def light(sigma):
        return broadening(lnu, {"sigma_v": sigma})

    for sigma in (0.5, 40.0, 300.0):
        slope = jax.jacfwd(light)(sigma)
        rise = (light(sigma + 1e-3) - light(sigma - 1e-3)) / 2e-3
        np.testing.assert_allclose(slope, rise, rtol=1e-5, atol=1e-9)
        backwards = jax.grad(lambda x: light(x).sum())(sigma)
        assert backwards == pytest.approx(float(slope.sum()), rel=1e-9)
    assert np.isfinite(jax.jacfwd(light)(0.0)).all()


@pytest.mark.slow
def test_dispersions_out_of_range_give_nothing(native):
    make, varying = MODELS["behind dust"]
    compiled = compile_exactly(make(native), varying=varying)
    share = jnp.asarray(make_stars(native).sfzh)
    values = {name: VALUES[name][0] for name in varying}
    for sigma, known in (
        (-1.0, False),
        (0.0, True),
        (LARGEST_DISPERSION, True),
        (LARGEST_DISPERSION + 1.0, False),
        (np.nan, False),
    ):
        got = compiled.spectra(share, values | {"sigma_v": sigma})["screened"]
        assert np.isfinite(got).all() == known


@pytest.mark.slow
def test_dispersions_need_units_and_a_sign(native):
    for wrong in (0.0, -100.0):
        model = IncidentEmission(native, velocity_dispersion=wrong * SPEED)
        with pytest.raises(
            InconsistentParameter, match=r"must be positive, got .* Use None"
        ):
            compile_exactly(model)
    model = spread(IncidentEmission(native), DopplerBroadening("sigma_v"))
    with pytest.raises(MissingUnits, match="sigma_v"):
        compile_exactly(model, fixed={"sigma_v": 100.0})
    compiled = compile_exactly(model, varying=["sigma_v"])
    with pytest.raises(MissingUnits, match="sigma_v"):
        compiled.check_stated({"sigma_v": 100.0})
    share = jnp.ones(compiled.nodes)
    one, other = (
        compiled.spectra(share, {"sigma_v": x})["spread"]
        for x in (2e5 * SPEED / 1e3, 200.0)
    )
    np.testing.assert_array_equal(one, other)


def test_wavelength_masks_are_refused_as_in_synthesizer(native):
    model = spread(
        IncidentEmission(native),
        DopplerBroadening("sigma_v"),
        lam_mask=np.asarray(native.lam) > 1e4,
    )
    with pytest.raises(UnimplementedFunctionality, match="mask on broaden"):
        compile_exactly(model, varying=["sigma_v"])


@pytest.mark.slow
@pytest.mark.parametrize("name", ["total", "behind dust"])
def test_wavelengths_that_filters_see_are_enough(native, name):
    """Light from just beyond them is kept too."""
    hat = {"lam_min": 4900 * angstrom, "lam_max": 5100 * angstrom}
    filters = FilterCollection(tophat_dict={"hat": hat})
    make, varying = MODELS[name]
    model = make(native)
    values = {name: VALUES[name][0] for name in varying}
    share = jnp.asarray(make_stars(native).sfzh)
    fluxes = []
    for limits in (None, lam_lims(filters, 0.5)):
        compiled = compile_exactly(model, varying=varying, lam_lims=limits)
        lnu = compiled.spectra(share, values)[model.label]
        bands = Bands.from_filters(filters, np.asarray(compiled.lam, float))
        observe = jax.jit(jax.vmap(bands.fluxes, (None, 0)))
        fluxes.append(observe(lnu, np.array([0.0, 0.2, 0.5])))
        assert len(compiled.lam) < 500 or limits is None
    np.testing.assert_allclose(fluxes[1], fluxes[0], rtol=2e-5)
    with pytest.raises(InconsistentArguments, match="Omit lam_lims"):
        compile_exactly(
            warmed(native),
            varying=["tau_v", "sigma_v"],
            lam_lims=lam_lims(filters, 0.5),
        )
