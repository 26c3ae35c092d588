import numpy as np
import pytest
from spectres import spectres

from synthesizer_emulator.wavelengths import (
    broken,
    flux_conserving,
    gaps,
    identity,
    linear_interpolation,
    pieces,
    selection,
)

RNG = np.random.default_rng(1)
LAM = np.cumsum(RNG.uniform(0.5, 20.0, 400)) + 100.0
SPECTRA = RNG.uniform(0.0, 1.0, (3, 2, 400))


@pytest.mark.parametrize(
    "new_lam",
    [
        np.linspace(500, 3000, 37),  # coarser
        np.linspace(500, 700, 300),  # finer
        np.geomspace(50, 1e4, 100),  # beyond both ends
        LAM,
        LAM[50:90],
    ],
    ids=["coarse", "fine", "beyond", "same", "part"],
)
def test_flux_conserving_agrees_with_spectres(new_lam):
    expected = spectres(new_lam, LAM, SPECTRA, fill=0, verbose=False)
    got = flux_conserving(LAM, new_lam)(SPECTRA)
    np.testing.assert_allclose(got, expected, rtol=1e-9, atol=1e-12)
    assert got.flags.c_contiguous


def test_linear_interpolation_agrees_with_numpy():
    points = np.array([50.0, LAM[0], 777.7, LAM[200], LAM[-1], 1e5])
    got = linear_interpolation(LAM, points)(SPECTRA[0, 0])
    expected = np.interp(points, LAM, SPECTRA[0, 0], left=0, right=0)
    np.testing.assert_allclose(got, expected, rtol=1e-12)


def test_maps_compose_and_read_only_what_they_need():
    kept = np.arange(100, 300)
    new_lam = np.linspace(1200, 2000, 20)
    both = flux_conserving(LAM[kept], new_lam).after(selection(kept, len(LAM)))
    expected = flux_conserving(LAM[kept], new_lam)(SPECTRA[..., kept])
    np.testing.assert_allclose(both(SPECTRA), expected)
    assert len(both.columns) < len(kept)
    np.testing.assert_allclose(
        both.apply_to_columns(SPECTRA[..., both.columns]), expected
    )


def test_selections_copy_values_unchanged():
    kept = np.array([3, 5, 8])
    view = selection(kept, len(LAM)).after(identity(len(LAM)))
    assert view.is_selection
    np.testing.assert_array_equal(view(SPECTRA), SPECTRA[..., kept])


def test_gaps_are_found_on_both_sides():
    """A change of the spacing is no gap; a known window is one sooner."""
    even, coarse = np.arange(1000.0, 1100.0), np.arange(1100.0, 3000.0, 40.0)
    changing = np.concatenate([even, coarse])
    assert pieces(changing) == [slice(0, len(changing))]
    gapped = np.concatenate([even, even + 112.0])
    assert pieces(gapped) == [slice(0, 100), slice(100, 200)]
    close = np.concatenate([even, even + 103.0])
    windows = ((990.0, 1100.0), (1103.0, 1210.0))
    assert len(pieces(close)) == 1
    ends = (gapped[99], gapped[100])
    assert gaps(gapped) == [ends] and not gaps(close)
    lam, values = broken(gapped, np.ones((2, len(gapped)), int))
    np.testing.assert_array_equal(np.flatnonzero(np.isnan(values[1])), [100])
    assert ends[0] < lam[100] < ends[1] and values.shape == (2, 201)
    assert np.delete(lam, 100).tolist() == gapped.tolist()
    assert pieces(close, windows) == [slice(0, 100), slice(100, 200)]
    # Windows may touch without a gap in the wavelengths.
    touching = ((990.0, 1049.5), (1049.6, 1100.0))
    assert len(pieces(even, touching)) == 1
    assert pieces(even[:2]) == [slice(0, 2)]
    assert pieces(np.empty(0)) == [slice(0, 0)]
