"""Magnitudes of random galaxies, against Synthesizer's own galaxies."""

import numpy as np
import pytest
from astropy.cosmology import Planck18
from conftest import (
    write_analytic_grid,
)
from synthesizer.emission_models import IncidentEmission
from synthesizer.emission_models.transformers.igm import Inoue14
from synthesizer.exceptions import (
    UnmetDependency,
    UnrecognisedOption,
)
from synthesizer.instruments.filters import FilterCollection
from synthesizer.parametric import SFH, Stars, ZDist
from unyt import Msun, angstrom, yr

from synthesizer_emulator.evaluation.measures import (
    filters,
    magnitudes,
)
from synthesizer_emulator.grid.emulated_grid import (
    EXAMPLE_NAME,
    example_folder,
)
from synthesizer_emulator.gridfile.native import NativeGrid

EXAMPLE = example_folder() / f"{EXAMPLE_NAME}.hdf5"


@pytest.mark.slow
def test_galaxies_are_those_of_synthesizer(native, header):
    """SFZH, spectrum and fluxes, by Synthesizer's own galaxy."""
    drawn = magnitudes.random_histories(header.axes, 52, seed=1)
    bands = filters.nircam_top_hats()
    for i in (0, 7, 29):
        stars = Stars(
            native.log10ages,
            native.metallicities,
            sf_hist=SFH.LogNormal(
                tau=drawn.tau[i],
                peak_age=drawn.peak_age[i] * yr,
                max_age=drawn.max_age[i] * yr,
            ),
            metal_dist=ZDist.Normal(
                mean=drawn.metallicity[i], sigma=drawn.metallicity_sigma[i]
            ),
            initial_mass=1e10 * Msun,
        )
        np.testing.assert_allclose(
            drawn.sfzh[i], stars.sfzh, rtol=1e-3, atol=1e5
        )
        sed = stars.get_spectra(IncidentEmission(native))
        ours = np.tensordot(drawn.sfzh[i], native.spectra["incident"], 2)
        np.testing.assert_allclose(ours, sed._lnu, rtol=1e-4)
        z = float(drawn.redshift[i])
        sed.get_fnu(Planck18, z, igm=Inoue14())
        theirs = sed.get_photo_fnu(bands, verbose=False)
        fluxes = magnitudes.observed_fluxes(
            native._lam, ours[None], drawn.redshift[i : i + 1], bands
        )
        np.testing.assert_allclose(
            fluxes[0],
            [theirs[code].to_value("nJy") for code in bands.filter_codes],
            rtol=1e-4,
        )


@pytest.mark.slow
def test_galaxies_are_younger_than_the_universe(header):
    drawn = magnitudes.random_histories(header.axes, 52, seed=2)
    assert (drawn.max_age <= Planck18.age(drawn.redshift).to_value("yr")).all()
    np.testing.assert_allclose(drawn.sfzh.sum(axis=(1, 2)), 1e10, rtol=1e-5)
    assert drawn.redshift.min() == 0 and drawn.redshift.max() == 5


@pytest.mark.slow
def test_galaxies_have_one_node_on_further_axes(tmp_path):
    path = write_analytic_grid(
        tmp_path / "three.hdf5", n_ages=8, n_metals=4, n_parameters=3
    )
    axes = NativeGrid.open(path).header.axes
    sfzh = magnitudes.random_histories(axes, 52, seed=0).sfzh
    used = (sfzh > 0).any(axis=(1, 2))
    assert (used.sum(axis=1) == 1).all()
    assert used.any(axis=0).all()


def test_magnitudes_by_hand():
    native = np.array([[1.0, 2.0, 4.0], [1.0, 1e-9, 3.0]])
    emulated = native * np.array([1.0, 0.99, 1.02])
    found = magnitudes.photometry_errors(
        native, emulated, np.zeros(2), ["I/A.A", "I/A.B", "I/A.C"]
    )
    faint, bright = -2.5 * np.log10([0.99, 1.02])
    np.testing.assert_allclose(
        found.errors, [[0, faint, bright], [0, np.nan, bright]]
    )
    assert found.magnitudes["B"].number == 1
    np.testing.assert_allclose(found.colours["A - B"].worst, faint)
    np.testing.assert_allclose(found.colours["B - C"].bias, faint - bright)


def test_filters_by_name(tmp_path):
    hats = filters.named_filters("top-hats")
    assert len(hats.filter_codes) == 8
    hats.write_filters(str(tmp_path / "mine.hdf5"))
    mine = filters.named_filters(str(tmp_path / "mine.hdf5"))
    assert list(mine.filter_codes) == list(hats.filter_codes)
    with pytest.raises(UnrecognisedOption, match="No filters 'x'"):
        filters.named_filters("x")


def test_real_curves(monkeypatch):
    """Pivot wavelengths of the NIRCam documentation, in micron."""
    pytest.importorskip("sedpy")
    bands = filters.named_filters("curves")
    expected = [0.704, 0.901, 1.154, 1.501, 1.990, 2.786, 3.563, 4.421]
    pivots = [bands[c].pivwv().to_value("um") for c in bands.filter_codes]
    np.testing.assert_allclose(pivots, expected, rtol=1e-2)


def test_real_curves_need_a_package(monkeypatch):
    monkeypatch.setitem(__import__("sys").modules, "sedpy.observate", None)
    with pytest.raises(UnmetDependency, match="pip install astro-sedpy"):
        filters.named_filters("curves")


def test_top_hats_have_the_width_of_the_bands():
    bands = filters.nircam_top_hats()
    for code, (low, high) in filters.NIRCAM_WIDE.items():
        lam, curve = bands.lam.to_value("angstrom"), bands[code].t
        np.testing.assert_allclose(
            np.trapezoid(curve, lam), high - low, rtol=0.03
        )


def test_users_may_bring_filters(header, native):
    bands = FilterCollection(
        tophat_dict={
            "V": {"lam_min": 5000 * angstrom, "lam_max": 6000 * angstrom}
        }
    )
    lnu = native.spectra["incident"][30, :2]
    flat = magnitudes.observed_fluxes(
        native._lam, lnu, np.array([0.0, 0.0]), bands
    )
    inside = (native._lam > 5000) & (native._lam < 6000)
    ratio = lnu[1, inside].mean() / lnu[0, inside].mean()
    np.testing.assert_allclose(flat[1, 0] / flat[0, 0], ratio, rtol=0.02)
