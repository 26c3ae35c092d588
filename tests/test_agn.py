"""Grids of active galactic nuclei: mass axes, bolometric weights."""

import numpy as np
import pytest
from conftest import LAM, QUICK, write_grid
from synthesizer.emission_models import EmissionModel
from synthesizer.exceptions import GridError
from synthesizer.grid import Grid
from synthesizer.particle import BlackHoles
from unyt import Msun, yr

from synthesizer_emulator import EmulatedGrid, build, extract_directly
from synthesizer_emulator.evaluation.measures.baselines import (
    synthesizer_interpolation,
)
from synthesizer_emulator.gridfile.header import Axis, GridHeader
from synthesizer_emulator.gridfile.native import NativeGrid

pytestmark = pytest.mark.slow

KG = 1.988409870698051e30
MASSES = np.geomspace(1e6, 1e9, 7)
RATES = np.geomspace(0.01, 1.0, 5)


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """Return a folder with an AGN grid, its masses in kg, and weights."""
    folder = tmp_path_factory.mktemp("agn")
    header = GridHeader(
        axes=(
            Axis("masses", MASSES * KG, "kg", True),
            Axis("accretion_rates_eddington", RATES, "dimensionless", True),
        ),
        lam=LAM,
        spectra_units={"incident": "erg/s/Hz"},
        weight_variable="bolometric_luminosities",
        log10_specific_ionising_luminosity={
            "HI": np.full((len(MASSES), len(RATES)), 9.0)
        },
    )
    mass, rate = (
        v[..., None] for v in np.meshgrid(MASSES, RATES, indexing="ij")
    )
    # A disc that cools with mass and heats with its accretion rate.
    x = 1.44e8 / (LAM * 3e4 * (mass / 1e8) ** -0.25 * rate**0.25)
    spectrum = 1e-16 * (1e4 / LAM) ** 3 / np.expm1(np.minimum(x, 600))
    path = folder / "disc.hdf5"
    write_grid(path, header, {"spectra/incident": spectrum})
    build(path, **QUICK)
    return folder


@pytest.fixture(scope="module")
def holes():
    """Return three black holes."""
    return BlackHoles(
        masses=np.array([3e6, 4e7, 8e8]) * Msun,
        accretion_rates=np.array([0.02, 0.2, 5.0]) * Msun / yr,
    )


def test_arrays_and_axes_are_those_of_the_native_grid(folder):
    native = Grid("disc", grid_dir=folder)
    emulated = EmulatedGrid("disc", grid_dir=folder)
    assert emulated._weight_var == native._weight_var
    for axis in native.axes:
        np.testing.assert_allclose(
            emulated._axes_values[axis], native._axes_values[axis], rtol=1e-12
        )
        assert emulated._axes_units[axis] == native._axes_units[axis]
    # Per solar luminosity, as Synthesizer turns it.
    true, got = native.spectra["incident"], emulated.spectra["incident"]
    bright = true > 1e-5 * true.max(-1, keepdims=True)
    assert np.median(np.abs(got[bright] / true[bright] - 1)) < 1e-3
    with pytest.raises(GridError, match="'star_fraction'"):
        _ = emulated.stellar_fraction
    np.testing.assert_allclose(
        emulated.log10_specific_ionising_lum["HI"],
        native.log10_specific_ionising_lum["HI"],
        rtol=1e-12,
    )


def test_synthesizers_interpolation_is_in_the_units_of_the_file(folder):
    """At nodes, which are what the file says, not per solar luminosity."""
    path = folder / "disc.hdf5"
    native = NativeGrid.open(path)
    stored = native.read("spectra/incident")
    nodes = [(0, 0), (3, 2), (6, 4)]
    masses, rates = (axis.values for axis in native.header.axes)
    points = np.array([[masses[i], rates[j]] for i, j in nodes])
    got = synthesizer_interpolation(native, "spectra/incident", points)
    true = np.array([stored[node] for node in nodes])
    np.testing.assert_allclose(got, true, rtol=1e-9)


def test_black_holes_shine(folder, holes):
    spectra = []
    emulated = EmulatedGrid("disc", grid_dir=folder)
    for grid in (Grid("disc", grid_dir=folder), emulated):
        model = EmissionModel(
            "disc", grid=grid, extract="incident", emitter="blackhole"
        )
        spectra.append(holes.get_spectra(model).lnu)
        holes._grid_weights = {"cic": {}, "ngp": {}}
        holes.clear_all_emissions()
    true, got = spectra
    bright = true > 1e-5 * true.max()
    assert np.median(np.abs(got[bright] / true[bright] - 1)) < 1e-3
    # At their own place, between the nodes, each by itself.
    direct = holes.get_spectra(extract_directly(model)).lnu
    rates = np.clip(holes.accretion_rates_eddington, RATES[0], RATES[-1])
    one_by_one = sum(
        luminosity * np.asarray(emulated.emulator.spectrum("incident", point))
        for luminosity, point in zip(
            holes.bolometric_luminosities.to_value("erg/s"),
            np.stack([holes._masses, rates], axis=-1),
            strict=True,
        )
    )
    np.testing.assert_allclose(
        direct, one_by_one, rtol=1e-3, atol=1e-6 * one_by_one.max()
    )
