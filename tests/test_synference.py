"""Galaxy libraries through Synference, native against emulated."""

import importlib.util

import h5py
import numpy as np
import pytest
from synthesizer.instruments import FilterCollection, Instrument
from synthesizer.parametric import SFH, ZDist
from unyt import Myr, angstrom

from synthesizer_emulator import EmulatedGrid, emulated_grids

if importlib.util.find_spec("synference") is None:
    pytest.skip(
        "needs Synference (the extra 'synference')", allow_module_level=True
    )

import synference_dust
from synference_library import (
    BANDS,
    create_library,
    draw_parameters,
    emission_model,
    make_basis,
    millimagnitudes,
)

N_GALAXIES = 16

# Where NIRCam's wide bands begin and end, in Angstrom.
EDGES = [6240, 7950, 10130, 13310, 17550, 24210, 31320, 38810, 49820]


@pytest.fixture(scope="module")
def parameters():
    return draw_parameters(N_GALAXIES)


def top_hats():
    return FilterCollection(
        tophat_dict={
            f"JWST/NIRCam.{band}": {
                "lam_min": low * angstrom,
                "lam_max": high * angstrom,
            }
            for band, low, high in zip(BANDS, EDGES, EDGES[1:], strict=False)
        }
    )


@pytest.fixture(scope="module")
def create(parameters, tmp_path_factory):
    """Return what makes the library of these draws with a grid."""

    def make(grid):
        folder = tmp_path_factory.mktemp("library")
        basis = make_basis(grid, top_hats(), parameters)
        return folder, create_library(basis, folder)

    return make


@pytest.fixture(scope="module")
def library(create, emulated):
    """Return the library of the emulated grid, and its folder."""
    return create(emulated)


@pytest.mark.slow
def test_magnitudes_are_those_of_the_native_grid(
    library, create, native, emulated
):
    _, true = create(native)
    _, got = library
    differences = millimagnitudes(got["photometry"], true["photometry"])
    # A flux is a sum of pixels, so no more in error than the worst of them.
    errors = [
        error
        for emission, error in emulated.provenance.errors.items()
        if emission.startswith("spectra/")
    ]
    stated = {q: max(e[q] for e in errors) for q in ("p50", "worst")}
    assert np.median(differences) < millimagnitudes(1 + stated["p50"], 1.0)
    assert differences.max() < millimagnitudes(1 + stated["worst"], 1.0)
    assert differences.max() > 0  # so it was the emulated grid


@pytest.mark.slow
def test_a_native_grid_with_the_same_arrays_gives_the_same_library(
    library, create, native_with_emulated_arrays
):
    _, same = create(native_with_emulated_arrays)
    _, got = library
    np.testing.assert_array_equal(got["photometry"], same["photometry"])
    np.testing.assert_array_equal(got["parameters"], same["parameters"])


def test_synference_reads_back_what_was_drawn(library, parameters):
    _, got = library
    assert list(got["filter_codes"]) == [f"JWST/NIRCam.{b}" for b in BANDS]
    assert got["photometry"].shape == (len(BANDS), N_GALAXIES)
    assert (got["photometry"] > 0).all()
    columns = dict(zip(got["parameter_names"], got["parameters"], strict=True))
    for name, drawn in {
        "redshift": "redshift",
        "log_mass": "log_stellar_mass",
        "log10metallicity": "log_zmet",
        "tau": "tau",
        "tau_v": "tau_v",
    }.items():
        np.testing.assert_array_equal(columns[name], parameters[drawn])


def test_the_file_names_the_grid(library, emulated):
    folder, _ = library
    with h5py.File(folder / "library.hdf5") as hdf:
        assert list(hdf.attrs["Grids"]) == [emulated.grid_name]
        assert hdf["Model"].attrs["grid_name"] == emulated.grid_name
        assert hdf["Model"].attrs["grid_dir"] == emulated.grid_dir


def test_a_simulator_takes_an_emulated_grid(
    emulated, native_with_emulated_arrays
):
    from synference import GalaxySimulator

    point = {
        "redshift": 2.0,
        "log_mass": 10.0,
        "log10metallicity": -2.0,
        "tau": 0.5,
        "peak_age": 1000.0,
        "max_age": 3000.0,
        "tau_v": 0.3,
    }
    one, other = (
        GalaxySimulator(
            sfh_model=SFH.LogNormal,
            zdist_model=ZDist.DeltaConstant,
            grid=grid,
            instrument=Instrument("JWST.NIRCam", filters=top_hats()),
            emission_model=emission_model(grid),
            emission_model_key="emergent",
            emitter_params={"stellar": ["tau_v"], "galaxy": []},
            param_units={"peak_age": Myr, "max_age": Myr},
        )(point)
        for grid in (emulated, native_with_emulated_arrays)
    )
    assert (one > 0).all()
    np.testing.assert_array_equal(one, other)


def test_a_simulator_made_from_a_library_gets_an_emulated_grid(library):
    """Where Synference opens the grid by its name, out of our hands."""
    from synference import GalaxySimulator

    folder, _ = library
    with emulated_grids() as swaps:
        simulator = GalaxySimulator.from_library(str(folder / "library.hdf5"))
    assert isinstance(simulator.grid, EmulatedGrid)
    assert swaps.emulated == [simulator.grid.grid_name]


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore::RuntimeWarning")
@pytest.mark.parametrize(
    "name",
    [
        pytest.param("generate_library_basic", marks=pytest.mark.thorough),
        "generate_library_full",
    ],
)
def test_scripts_with_dust_emission_in_batches(name, tmp_path):
    """Their wavelengths end at the reddest filter, at 5 micron."""
    script = synference_dust.SCRIPTS[name]
    found = synference_dust.differences(script, top_hats(), 6, tmp_path)
    assert np.nanmax(found) < synference_dust.BOUND
    assert np.isfinite(found).mean() > 0.8
