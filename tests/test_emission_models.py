"""Galaxies made by Synthesizer's models, native against emulated."""

import numpy as np
import pytest
from synthesizer.emission_models import (
    Greybody,
    IncidentEmission,
    NebularEmission,
    TotalEmission,
)
from synthesizer.emission_models.attenuation import PowerLaw
from synthesizer.grid import Grid
from synthesizer.parametric import SFH, Stars, ZDist
from synthesizer.particle.stars import sample_sfzh_from_array
from unyt import K, Msun, Myr

from synthesizer_emulator import EmulatedGrid
from synthesizer_emulator.grid import EXAMPLE_NAME, example_folder

MODELS = {
    "incident": IncidentEmission,
    "nebular": NebularEmission,
    "total": lambda grid: TotalEmission(
        grid,
        fesc=0.1,
        dust_curve=PowerLaw(slope=-0.7),
        dust_emission_model=Greybody(temperature=40 * K),
    ),
}


def parametric_stars(grid):
    return Stars(
        grid.log10ages,
        grid.metallicities,
        sf_hist=SFH.LogNormal(tau=0.5, peak_age=50 * Myr, max_age=900 * Myr),
        metal_dist=ZDist.Normal(mean=0.01, sigma=0.005),
        initial_mass=1e9 * Msun,
        tau_v=0.5,
    )


def particle_stars(grid):
    sfzh = parametric_stars(grid).sfzh
    return sample_sfzh_from_array(
        sfzh, grid.log10ages, grid.log10metallicities, 200, seed=1, tau_v=0.5
    )


STARS = {"parametric": parametric_stars, "particle": particle_stars}


@pytest.mark.parametrize("stars", STARS.values(), ids=STARS)
@pytest.mark.parametrize("model", MODELS.values(), ids=MODELS)
@pytest.mark.parametrize("precision", [None, np.float32])
def test_spectra_of_galaxies(stars, model, precision):
    native = Grid(
        EXAMPLE_NAME, grid_dir=example_folder(), use_precision=precision
    )
    emulated = EmulatedGrid.example(use_precision=precision)
    true, got = (
        stars(g).get_spectra(model(g))._lnu for g in (native, emulated)
    )
    bright = true > 1e-5 * true.max()
    errors = np.abs(got[bright] / true[bright] - 1)
    assert np.median(errors) < 2e-4
    assert errors.max() < 5e-3


@pytest.mark.parametrize("stars", STARS.values(), ids=STARS)
@pytest.mark.parametrize("model", MODELS.values(), ids=MODELS)
def test_a_native_grid_with_the_same_arrays_gives_the_same(stars, model):
    """Nothing but the arrays differs: not a weight, not a unit."""
    emulated = EmulatedGrid.example()
    native = Grid(EXAMPLE_NAME, grid_dir=example_folder())
    for name in native.spectra:
        native.spectra[name] = emulated.spectra[name]
    for name in native.line_lums:
        native.line_lums[name] = emulated.line_lums[name]
        native.line_conts[name] = emulated.line_conts[name]
    native._compute_max_grid_values()
    one, other = (
        stars(g).get_spectra(model(g))._lnu for g in (native, emulated)
    )
    np.testing.assert_array_equal(one, other)


@pytest.mark.parametrize("stars", STARS.values(), ids=STARS)
def test_lines_of_galaxies(stars, native, emulated):
    ids = ["H 1 4861.32A", "H 1 6562.80A", "O 3 5006.84A", "N 2 6583.45A"]
    true, got = (
        stars(g).get_lines(ids, NebularEmission(g)) for g in (native, emulated)
    )
    np.testing.assert_allclose(got._luminosity, true._luminosity, rtol=1e-3)
    np.testing.assert_allclose(got._continuum, true._continuum, rtol=1e-3)
    assert got.luminosity.units == true.luminosity.units


def test_building_a_model_evaluates_nothing():
    grid = EmulatedGrid.example()
    MODELS["total"](grid)
    assert not grid.spectra.evaluated
    assert not grid.line_lums.evaluated


def test_surviving_mass_needs_no_grid_file(native, emulated):
    true, got = (
        parametric_stars(g).calculate_surviving_mass(g)
        for g in (native, emulated)
    )
    assert got == true
