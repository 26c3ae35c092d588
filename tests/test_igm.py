import jax
import numpy as np
import pytest
from synthesizer.emission_models.transformers.igm import (
    Asada25,
    IGMBase,
    Inoue14,
    Madau96,
)
from synthesizer.exceptions import UnimplementedFunctionality
from unyt import angstrom

from synthesizer_emulator.galaxies.igm import translate_igm

LAM = np.geomspace(100.0, 5000.0, 1000)
REDSHIFTS = [0.05, 1.5, 2.5, 4.0, 5.5, 7.0, 12.0]
MODELS = {
    "Inoue14": Inoue14,
    "Inoue14, scaled": Inoue14(scale_tau=0.7),
    "Madau96": Madau96(),
    "Asada25": Asada25,
    "Asada25, no CGM": Asada25(add_cgm=False),
}


def native(model, redshift, lam):
    model = model() if isinstance(model, type) else model
    lam_obs = lam * (1.0 + redshift) * angstrom
    return np.asarray(model.get_transmission(redshift, lam_obs))


def translated(model, lam):
    igm = translate_igm(model)
    return jax.jit(lambda z: igm(z, lam * (1.0 + z)))


@pytest.mark.parametrize("model", MODELS.values(), ids=MODELS)
def test_transmission_is_synthesizers(model, double_precision):
    got = translated(model, LAM)
    for z in REDSHIFTS:
        np.testing.assert_allclose(got(z), native(model, z, LAM), atol=1e-12)


@pytest.mark.parametrize("model", MODELS.values(), ids=MODELS)
def test_transmission_in_single_precision(model):
    got = translated(model, LAM)
    for z in REDSHIFTS:
        np.testing.assert_allclose(got(z), native(model, z, LAM), atol=1e-5)


@pytest.mark.parametrize("model", [Inoue14, Madau96])
def test_a_wavelength_on_a_line_is_treated_alike(model):
    """Whatever rounding makes of the line and of the wavelength."""
    lines = model().lam.value[:, 0] if model is Inoue14 else model().lams
    lines = np.sort(lines)
    got = translated(model, lines)
    for z in np.linspace(0.1, 6.0, 50):
        np.testing.assert_allclose(got(z), native(model, z, lines), atol=1e-5)


@pytest.mark.parametrize("model", [Inoue14, Inoue14(scale_tau=0.7), Madau96()])
def test_nothing_is_absorbed_redwards(model):
    igm = translate_igm(model)
    lam = igm.reddest * np.array([1.0 + 1e-5, 2.0])
    np.testing.assert_array_equal(igm(3.0, 4.0 * lam), 1.0)


def test_a_damping_wing_has_no_end():
    igm = translate_igm(Asada25)
    assert np.isinf(igm.reddest)
    assert igm(8.0, 9.0 * np.array([1250.0]))[0] < 0.95


def test_other_models_are_refused():
    with pytest.raises(UnimplementedFunctionality, match=r"Mine .* Inoue14"):
        translate_igm(type("Mine", (IGMBase,), {})("mine"))


@pytest.mark.parametrize("model", [Inoue14, Madau96, Asada25])
def test_gradients_in_redshift(model, double_precision):
    lam = LAM[::20]
    igm = translate_igm(model)
    slope = jax.jit(jax.jacfwd(lambda z: igm(z, lam * (1.0 + z))))
    z, step = 6.43, 1e-6
    rise = native(model, z + step, lam) - native(model, z - step, lam)
    np.testing.assert_allclose(slope(z), rise / (2 * step), atol=1e-6)
