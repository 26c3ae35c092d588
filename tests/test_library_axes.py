"""Axes of a grid beyond age and metallicity in libraries, and tolerances."""

import re
from dataclasses import replace
from pathlib import Path

import h5py
import jax
import jax.numpy as jnp
import numpy as np
import pytest
import yaml
from conftest import analytic_emissions, analytic_header, write_grid
from synthesizer.emission_models import (
    IncidentEmission,
    NebularEmission,
    TotalEmission,
)
from synthesizer.emission_models.attenuation import PowerLaw
from synthesizer.exceptions import (
    InconsistentArguments,
    IncorrectUnits,
    MissingAttribute,
)
from synthesizer.grid import Grid
from synthesizer.parametric import SFH, Stars, ZDist
from unyt import Msun, Myr, unyt_quantity

from synthesizer_emulator import EmulatedGrid, GalaxyModel
from synthesizer_emulator.galaxies.batches import _bytes_per_galaxy
from synthesizer_emulator.galaxies.filters import as_filters
from synthesizer_emulator.library import Draws, History, Library, Uniform
from synthesizer_emulator.library import library as module
from synthesizer_emulator.library.config import LibraryConfig
from synthesizer_emulator.library.parts import Parts

pytestmark = pytest.mark.filterwarnings("ignore::RuntimeWarning")

AXIS = "ionisation_parameters"
LOG = f"log10{AXIS}"
BANDS = {"A/b.blue": [4000, 5500], "A/b.red": [6000, 8000]}
STARS = {"log10initial_mass": 9.0, LOG: {"uniform": [-4, -1]}}
CONFIG = {
    "file": "library.hdf5",
    "emission_model": {
        "TotalEmission": {"dust_curve": {"PowerLaw": {"slope": -0.7}}}
    },
    "stars": {**STARS, "tau_v": 0.4},
    "sf_hist": {"Constant": {"max_age": "300 Myr"}},
    "metal_dist": {"DeltaConstant": {"metallicity": 0.01}},
    "filters": BANDS,
    "outputs": "luminosities",
    "draws": {"n": 5, "seed": 3},
}


@pytest.fixture(scope="module")
def emulated(three_axes):
    return EmulatedGrid("three", grid_dir=three_axes)


@pytest.fixture
def write(three_axes, tmp_path):
    """Return what writes a YAML file, with other entries."""

    def make(stars=None, **changes):
        config = {
            **CONFIG,
            "grid": {"name": "three", "grid_dir": str(three_axes)},
            **changes,
        }
        if stars is not None:
            config["stars"] = {"log10initial_mass": 9.0, "tau_v": 0.4, **stars}
        path = tmp_path / "library.yaml"
        path.write_text(yaml.safe_dump(config, sort_keys=False))
        return path

    return make


def make_library(model, stars, **changes):
    return Library(
        **{
            "emission_model": model,
            "sf_hist": History("Constant", {"max_age": 300 * Myr}),
            "metal_dist": History("DeltaConstant", {"metallicity": 0.01}),
            "stars": {"log10initial_mass": 9.0, **stars},
            "filters": BANDS,
            "outputs": "luminosities",
            "draws": Draws(5, seed=3),
            **changes,
        }
    )


def luminosities(grid, model):
    """Return Synthesizer's luminosities of one galaxy in the bands."""
    stars = Stars(
        grid.log10ages,
        grid.metallicities,
        sf_hist=SFH.Constant(max_age=300 * Myr),
        metal_dist=ZDist.DeltaConstant(metallicity=0.01),
        initial_mass=1e9 * Msun,
        tau_v=0.4,
    )
    found = stars.get_spectra(model).get_photo_lnu(as_filters(BANDS))
    return found.photo_lnu.to_value("erg/s/Hz")


@pytest.mark.slow
def test_each_galaxy_is_synthesizers_on_a_grid_collapsed_at_its_value(
    emulated, write
):
    library = LibraryConfig.read(write()).library
    arrays = library.make(5)
    x = arrays[f"parameters/stars/{LOG}"]
    assert len(np.unique(x)) == 5
    for value, got in zip(x, arrays["luminosities/emergent"], strict=True):
        grid = emulated.collapse(LOG, "emulator", value=float(value))
        model = TotalEmission(grid, dust_curve=PowerLaw(slope=-0.7))
        np.testing.assert_allclose(got, luminosities(grid, model), rtol=2e-3)
    # The axis matters far more than that.
    assert np.ptp(arrays["luminosities/emergent"][:, 0]) > 0.01 * got[0]


@pytest.mark.slow
@pytest.mark.parametrize(
    "stars",
    [
        {AXIS: 0.01},
        {AXIS[:-1]: 0.01},
        {f"log10{AXIS[:-1]}": -2.0},
        {LOG: {"uniform": [-2, -1.9999999]}},
        {AXIS: {"log_uniform": [0.01, 0.0100000001]}},
        {AXIS[:-1]: {"choice": [0.01, 0.01]}},
    ],
    ids=str,
)
def test_all_names_and_priors_of_synthesizers_axes(write, stars, request):
    got = LibraryConfig.read(write(stars)).library.make(2)
    collapsed = request.getfixturevalue("collapsed")
    for row in got["luminosities/emergent"]:
        np.testing.assert_allclose(row, collapsed, rtol=1e-3)
    varies = isinstance(next(iter(stars.values())), dict)
    assert (f"parameters/stars/{next(iter(stars))}" in got) == varies


@pytest.fixture(scope="module")
def collapsed(emulated):
    grid = emulated.collapse(LOG, "emulator", value=-2.0)
    model = TotalEmission(grid, dust_curve=PowerLaw(slope=-0.7))
    return luminosities(grid, model)


def test_a_fixed_parameter_of_the_model_wins(emulated, collapsed):
    """Then the stars have none."""
    model = TotalEmission(
        emulated, dust_curve=PowerLaw(slope=-0.7), **{AXIS: 0.01}
    )
    arrays = make_library(model, {"tau_v": 0.4}).make(1)
    np.testing.assert_allclose(
        arrays["luminosities/emergent"][0], collapsed, rtol=1e-3
    )
    with pytest.raises(InconsistentArguments, match=f"no parameter '{AXIS}'"):
        make_library(model, {"tau_v": 0.4, AXIS: 0.02})


def test_spectra_that_do_not_vary_take_a_value_too(three_axes):
    """Stars without gas: the value has no effect, but galaxies need it."""
    model = IncidentEmission(Grid("three", grid_dir=three_axes))
    library = make_library(model, {LOG: Uniform(-4, -1)})
    assert library.model.emission.parameters == ()
    rows = library.make(5)["luminosities/incident"]
    np.testing.assert_allclose(rows, np.tile(rows[0], (5, 1)), rtol=1e-6)
    wide = make_library(model, {LOG: Uniform(-6, -1)})
    rows = wide.make(5)["luminosities/incident"]
    x = wide.values(slice(0, 5))[1][f"parameters/stars/{LOG}"]
    np.testing.assert_array_equal(np.isnan(rows).all(axis=1), x < -4.0)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("name", "prior", "end"),
    [
        (LOG, {"uniform": [-5, -1]}, "-4 to -1"),
        (AXIS, {"log_uniform": [1e-3, 1]}, "0.0001 to 0.1"),
        (AXIS[:-1], {"choice": [0.01, 0.5]}, "0.0001 to 0.1"),
    ],
)
def test_priors_beyond_an_axis_are_refused_first(
    write, tmp_path, monkeypatch, name, prior, end
):
    monkeypatch.setattr(
        module, "in_batches", lambda *_: pytest.fail("evaluates")
    )
    path = write({name: prior}, draws={"n": 50})
    library = LibraryConfig.read(path).library
    (kind,) = prior
    with pytest.raises(
        InconsistentArguments,
        match=rf"The prior of 'stars: {name}', {{{kind}: \[.*\]}}, must be "
        rf"within the grid's axis '{AXIS}', {end}: of the first 50 galaxies "
        r"\d+ are outside: .*Narrow the prior, or skip them with on_bad",
    ):
        library.write(tmp_path / "library.hdf5", progress=False)
    assert not (tmp_path / "library.parts").exists()


def test_fixed_values_beyond_an_axis_are_refused(write):
    with pytest.raises(
        InconsistentArguments,
        match=f"{AXIS} must be within the axis of the grid 'three', -4 to -1, "
        "got 0",
    ):
        LibraryConfig.read(write({LOG: 0}))


@pytest.mark.slow
def test_galaxies_beyond_an_axis_are_skipped(write, tmp_path):
    path = write({LOG: {"uniform": [-4.5, -0.5]}}, draws={"n": 16})
    library = LibraryConfig.read(path).library
    x = library.values(slice(0, 16))[1][f"parameters/stars/{LOG}"]
    outside = (x < -4.0) | (x > -1.0)
    assert 0 < outside.sum() < 16
    file = tmp_path / "library.hdf5"
    library.write(file, on_bad="skip", progress=False)
    with h5py.File(file) as hdf:
        np.testing.assert_array_equal(hdf["skipped"], np.flatnonzero(outside))
        assert np.isfinite(hdf["luminosities/emergent"][...]).all()


def test_a_missing_axis_is_named_with_both_remedies(write, three_axes):
    with pytest.raises(MissingAttribute) as caught:
        LibraryConfig.read(write({}))
    message = str(caught.value)
    assert message.count("\n") == 0
    assert f"a value on the axis '{AXIS}' of the grid 'three'" in message
    stars, grid = (
        yaml.safe_load(code) for code in re.findall("`([^`]*)`", message)
    )
    LibraryConfig.read(write(stars["stars"]))
    grid["grid"]["grid_dir"] = str(three_axes)
    LibraryConfig.read(write({}, **grid))


def test_two_names_of_one_axis_are_refused(write):
    with pytest.raises(
        InconsistentArguments,
        match=f"'{AXIS}' and '{AXIS[:-1]}' are both values on .*keep one",
    ):
        LibraryConfig.read(write({AXIS: 0.01, AXIS[:-1]: 0.02}))


def test_typos_get_a_suggestion(write):
    with pytest.raises(InconsistentArguments, match=f"Did you mean '{LOG}'"):
        LibraryConfig.read(write({"log10ionization_parameters": -2}))


# Units of an axis.


@pytest.fixture(scope="module")
def dense(tmp_path_factory):
    """Return a native grid with an axis that has units."""
    folder = tmp_path_factory.mktemp("dense")
    header = analytic_header(n_ages=6, n_metals=3, n_parameters=5)
    *axes, _ = header.axes
    density = replace(
        header.axes[2],
        name="hydrogen_densities",
        values=np.geomspace(10, 1e5, 5),
        units="cm**-3",
    )
    emissions = analytic_emissions(header)
    header = replace(header, axes=(*axes, density))
    write_grid(folder / "dense.hdf5", header, emissions)
    return Grid("dense", grid_dir=folder)


@pytest.mark.slow
def test_units_of_an_axis(dense):
    """As in Synthesizer, plain numbers are in those of the grid."""
    model = NebularEmission(dense)
    name = "hydrogen_densities"
    rows = [
        make_library(model, {key: value}).make(1)["luminosities/nebular"][0]
        for key, value in (
            (name, 500.0),
            (name, unyt_quantity(500.0, "cm**-3")),
            (name, unyt_quantity(5e8, "m**-3")),
            (f"log10{name}", np.log10(500.0)),
            (name[:-3] + "y", Uniform(5e8, 5.00001e8, units="m**-3")),
            (f"log10{name}", Uniform(8.69897, 8.698971, units="m**-3")),
        )
    ]
    for row in rows[1:]:
        np.testing.assert_allclose(row, rows[0], rtol=1e-3)
    for wrong in (unyt_quantity(5.0, "K"), Uniform(10, 20, units="Gyr")):
        with pytest.raises(IncorrectUnits, match=f"{name}.*cm\\*\\*-3"):
            make_library(model, {name: wrong}).check()


# Tolerances.


@pytest.mark.slow
def test_the_tolerance_is_that_of_the_compiled_model(write):
    full = LibraryConfig.read(write({AXIS: 0.01}, tolerance=0)).library
    assert full.tolerance == 0
    assert all(
        product.coefficients is None
        for product in full.model.emission.products
    )
    default = LibraryConfig.read(write({AXIS: 0.01})).library
    loose = LibraryConfig.read(write({AXIS: 0.01}, tolerance=0.01)).library
    found = [
        library.make(1)["luminosities/emergent"]
        for library in (full, default, loose)
    ]
    np.testing.assert_allclose(found[1], found[0], rtol=2e-4)
    np.testing.assert_allclose(found[2], found[0], rtol=2e-2)


def test_parts_of_another_tolerance_are_not_mixed(emulated):
    def digest(**changes):
        about = make_library(
            IncidentEmission(emulated), {AXIS: 0.01}, **changes
        ).about
        return Parts(Path("x"), 5, 5, about).digest

    digests = [digest(), digest(tolerance=1e-3), digest(tolerance=0)]
    assert len(set(digests)) == 3
    assert digest(tolerance=1e-4) == digests[0]
    assert digest(tolerance=0.0) == digests[2]


@pytest.mark.parametrize("tolerance", [-1e-4, "small", True, float("nan")])
def test_invalid_tolerances_are_refused(write, tolerance):
    with pytest.raises(
        InconsistentArguments, match="tolerance must be a number from 0"
    ):
        LibraryConfig.read(write(tolerance=tolerance))


# Memory.


@pytest.mark.slow
def test_the_memory_of_a_galaxy_is_an_upper_limit_of_xlas(emulated):
    """Neither far too little, nor so much that batches are tiny."""
    model = make_library(
        TotalEmission(emulated, dust_curve=PowerLaw(slope=-0.7)),
        {"tau_v": Uniform(0, 1), LOG: Uniform(-4, -1)},
    )
    values, _ = model.values(slice(0, 5))
    batch = jax.tree.map(lambda v: jnp.repeat(jnp.asarray(v), 100, 0), values)
    leaves, tree = jax.tree.flatten(model.model)

    def evaluate(leaves, batch):
        galaxy = GalaxyModel.galaxy
        return jax.vmap(galaxy, (None, 0))(tree.unflatten(leaves), batch)

    compiled = jax.jit(evaluate).lower(leaves, batch).compile()
    measured = compiled.memory_analysis().temp_size_in_bytes / 500
    estimated = _bytes_per_galaxy(model.model)
    assert measured < estimated < 10 * measured
