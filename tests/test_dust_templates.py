"""Dust emission from templates against Synthesizer's `DraineLi07`."""

import h5py
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from conftest import make_stars
from scipy.optimize import brentq
from synthesizer.emission_models import TotalEmission
from synthesizer.emission_models.attenuation import PowerLaw
from synthesizer.emission_models.generators.dust import DraineLi07
from synthesizer.emission_models.generators.dust.draineli07 import u_mean
from synthesizer.emission_models.model_queue import ModelQueue
from synthesizer.exceptions import (
    MissingAttribute,
    MissingUnits,
    UnimplementedFunctionality,
)
from synthesizer.grid import Grid
from unyt import Msun, kg

from synthesizer_emulator.galaxies.dust_templates import log_umin
from synthesizer_emulator.galaxies.translate import compile_model

pytestmark = pytest.mark.filterwarnings("ignore::RuntimeWarning")

QPAHS = np.array([0.0047, 0.0112, 0.025, 0.039])
UMINS = np.array([0.1, 0.3, 1.0, 3.0, 8.0, 25.0])
ALPHAS = np.array([1.5, 2.0, 2.5])
LAM = np.geomspace(1e4, 1e7, 300)


def bodies(kelvin):
    """Return the shape of a blackbody of some temperature, times its power."""
    x = 1.43878e8 / LAM / np.asarray(kelvin)[..., None]
    return 1e20 * (1e5 / LAM) ** 4.8 / np.expm1(np.minimum(x, 600.0))


@pytest.fixture(scope="module")
def dust_folder(tmp_path_factory):
    """Return a folder with a grid whose templates resemble the real ones."""
    folder = tmp_path_factory.mktemp("dust")
    pah = 1e13 * np.exp(-((np.log(LAM / 7.7e4) / 0.1) ** 2))
    pahs = QPAHS[:, None, None] * UMINS[None, :, None] * pah
    cold = bodies(18.0 * UMINS ** (1 / 6))[None] + pahs
    strong = UMINS[:, None] ** (1 / 6) * (4.0 - ALPHAS)
    warm = bodies(25.0 * strong)[None] + 3.0 * pahs[:, :, None]
    with h5py.File(folder / "dl07.hdf5", "w") as hdf:
        hdf.attrs["axes"] = ["qpah", "umin", "alpha"]
        for name, nodes in zip(
            ("qpah", "umin", "alpha"), (QPAHS, UMINS, ALPHAS), strict=True
        ):
            hdf[f"axes/{name}"] = nodes
            hdf[f"axes/{name}"].attrs["Units"] = "dimensionless"
            hdf[f"axes/{name}"].attrs["log_on_read"] = False
        hdf["spectra/wavelength"] = LAM
        hdf["spectra/wavelength"].attrs["Units"] = "angstrom"
        for name, values in (("diffuse", cold), ("pdr", warm)):
            hdf[f"spectra/{name}"] = values
            hdf[f"spectra/{name}"].attrs["Units"] = "erg/s/Hz"
    return folder


@pytest.fixture
def dust_grid(dust_folder):
    """Return it read anew, as Synthesizer changes its wavelengths."""
    return Grid("dl07", grid_dir=str(dust_folder), ignore_lines=True)


def make_model(grid, dust_grid, **kwargs):
    return TotalEmission(
        grid,
        dust_curve=PowerLaw(slope=-0.7),
        dust_emission_model=DraineLi07(dust_grid, **kwargs),
        fesc=0.0,
    )


def native_spectra(grid, model, **attributes):
    """Return the SFZH of a galaxy and its emissions by Synthesizer."""
    stars = make_stars(grid, hydrogen_mass=1e9 * Msun, **attributes)
    stars.get_spectra(model)
    return jnp.asarray(stars.sfzh), stars.spectra


def mass_with(luminosity, umin, gamma):
    """Return the mass of dust with a given weakest field."""
    return luminosity / (125.0 * u_mean(umin, 1e7, gamma))


def absorbed(grid, tau_v):
    """Return the luminosity that dust absorbs."""
    model = TotalEmission(grid, dust_curve=PowerLaw(slope=-0.7), fesc=0.0)
    labels = list(ModelQueue(model).models)
    assert "intrinsic" in labels or "reprocessed" in labels
    stars = make_stars(grid, hydrogen_mass=1e9 * Msun, tau_v=tau_v)
    stars.get_spectra(model)
    before = next(
        stars.spectra[x] for x in ("intrinsic", "reprocessed") if x in labels
    )
    after = stars.spectra[model.label]
    return float(
        (before.bolometric_luminosity - after.bolometric_luminosity).to_value(
            "Lsun"
        )
    )


def agree(got, true, tolerance):
    bright = true > 1e-8 * true.max()
    np.testing.assert_allclose(got[bright], true[bright], rtol=tolerance)


@pytest.mark.parametrize(
    "settings",
    [
        {"umin": 2.0, "gamma": 0.1, "qpah": 0.03, "alpha": 2.4},
        {"umin": 0.05, "gamma": 0.0},
        {"umin": 100.0, "gamma": 0.02, "qpah": 0.001},
    ],
)
def test_what_is_fixed_takes_the_nearest_template(
    native, dust_grid, settings, double_precision
):
    model = make_model(native, dust_grid, **settings)
    compiled = compile_model(
        model, varying=["tau_v"], fixed={"dust_mass": 1e7 * Msun}, tolerance=0
    )
    share, true = native_spectra(
        native, model, tau_v=0.5, dust_mass=1e7 * Msun
    )
    got = np.asarray(compiled.spectra(share, {"tau_v": 0.5})["total"])
    agree(got, true["total"]._lnu, 1e-9)


@pytest.mark.parametrize("gamma", [None, 0.0, 0.2])
@pytest.mark.parametrize("node", [0, 2, 5])
def test_fields_at_a_template_are_synthesizers(
    native, dust_grid, gamma, node, double_precision
):
    """The mass of dust is such that the field is that of a template."""
    luminosity = absorbed(native, 0.5)
    mass = mass_with(luminosity, UMINS[node], gamma or (gamma is None) * 0.05)
    model = make_model(native, dust_grid, gamma=gamma, qpah=0.03)
    compiled = compile_model(
        model,
        ["total", "dust_emission"],
        varying=["tau_v", "dust_mass"],
        tolerance=0,
    )
    share, true = native_spectra(
        native, model, tau_v=0.5, dust_mass=mass * Msun
    )
    values = {"tau_v": 0.5, "dust_mass": mass}
    got = compiled.spectra(share, values)
    for label in compiled.emissions:
        agree(np.asarray(got[label]), true[label]._lnu, 1e-6)
    heavier = {"tau_v": 0.5, "dust_mass": mass * 1.989e30 * kg}
    np.testing.assert_allclose(
        compiled.spectra(share, heavier)["total"], got["total"], rtol=1e-2
    )


def test_templates_are_interpolated_without_steps(native, dust_grid):
    """In single precision, and with all energy that was absorbed."""
    model = make_model(native, dust_grid)
    compiled = compile_model(
        model,
        "dust_emission",
        varying=["tau_v", "dust_mass", "qpah"],
        tolerance=0,
    )
    share = jnp.asarray(make_stars(native).sfzh)
    luminosity = absorbed(native, 0.5)
    masses = mass_with(luminosity, np.geomspace(0.01, 100.0, 200), 0.05)

    @jax.jit
    @jax.vmap
    def emit(mass, qpah):
        values = {"tau_v": 0.5, "dust_mass": mass, "qpah": qpah}
        return compiled.spectra(share, values)["dust_emission"] / 1e31

    lnu = np.asarray(emit(masses, np.full(200, 0.02)), float)
    total = lnu @ np.asarray(compiled.per_lsun, float) * 1e31
    np.testing.assert_allclose(total, luminosity, rtol=1e-4)
    changes = np.abs(np.diff(lnu, axis=0)).max(1) / lnu.max()
    # Beyond the templates nothing changes.
    assert changes[:45].max() < 1e-5
    assert changes[-25:].max() < 1e-5
    assert 1e-3 < changes.max() < 0.1
    lnu = np.asarray(
        emit(np.full(200, masses[100]), np.linspace(0, 0.05, 200))
    )
    steps = np.abs(np.diff(lnu, axis=0)).max(1) / lnu.max()
    assert 0.0 < steps.max() < 0.01
    with np.errstate(all="ignore"):
        bad = emit(np.array([0.0, -1.0, np.nan]), np.full(3, 0.02))
    assert np.isnan(bad).all()


def test_parameters_of_dust_have_derivatives(
    native, dust_grid, double_precision
):
    model = make_model(native, dust_grid)
    names = ("tau_v", "dust_mass", "qpah")
    compiled = compile_model(model, varying=names, tolerance=0)
    share = jnp.asarray(make_stars(native).sfzh)
    mass = mass_with(absorbed(native, 0.5), 1.7, 0.05)

    @jax.jit
    def total(point):
        values = dict(zip(names, point * scale, strict=True))
        return compiled.spectra(share, values)["total"] / 1e30

    scale = jnp.array([0.5, mass, 0.02])
    point = jnp.ones(3)
    slopes = jax.jit(jax.jacfwd(total))(point)
    backwards = jax.jit(jax.grad(lambda p: total(p).sum()))(point)
    np.testing.assert_allclose(backwards, slopes.sum(0), rtol=1e-6)
    for i in range(3):
        rise = total(point.at[i].add(1e-6)) - total(point.at[i].add(-1e-6))
        largest = np.abs(slopes[:, i]).max()
        assert largest > 0.0
        np.testing.assert_allclose(
            slopes[:, i], rise / 2e-6, rtol=1e-4, atol=1e-6 * largest
        )


@pytest.mark.parametrize("gamma", [0.0, 0.05, 0.5, 1.0])
@pytest.mark.parametrize("mean", [1e-3, 0.2, 30.0, 1e4])
def test_the_weakest_field_solves_its_equation(mean, gamma, double_precision):
    umin = brentq(lambda u: u_mean(u, 1e7, gamma) - mean, 1e-8, 9e6)
    got = float(jnp.exp(log_umin(jnp.asarray(mean), gamma)))
    assert got == pytest.approx(umin, rel=1e-9)


def test_what_templates_need_is_asked_for(native, dust_grid):
    with pytest.raises(MissingAttribute, match="dust_mass"):
        compile_model(make_model(native, dust_grid), varying=["tau_v"])
    model = make_model(native, dust_grid)
    with pytest.raises(MissingUnits, match="dust_mass"):
        compile_model(model, varying=["tau_v"], fixed={"dust_mass": 1e7})
    other = make_model(native, dust_grid, template="DL14")
    with pytest.raises(UnimplementedFunctionality, match="templates DL14"):
        compile_model(other, varying=["tau_v", "dust_mass"])
