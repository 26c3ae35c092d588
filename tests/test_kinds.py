"""Every kind of grid that grid-generation writes, against native grids.

The files are written by `benchmarks/kinds.py` in the layout of upstream.
"""

import h5py
import kinds
import numpy as np
import pytest
from conftest import QUICK
from synthesizer.exceptions import GridError, InconsistentArguments
from synthesizer.grid import Grid

from synthesizer_emulator import EmulatedGrid, build
from synthesizer_emulator.building.failures import describe_failures
from synthesizer_emulator.building.grid_nodes import GridNodes
from synthesizer_emulator.evaluation.thinned import ThinnedGrid
from synthesizer_emulator.gridfile.native import NativeGrid
from synthesizer_emulator.weights.file import read_weights

pytestmark = [
    pytest.mark.slow,
    pytest.mark.filterwarnings("ignore::RuntimeWarning"),
]

SETTINGS = {key: QUICK[key] for key in ("settings", "training")}

# Within this of the native grid, everywhere.
TOLERANCE = 2e-3

# What is compared.
INTERPOLATION = "interpolate_grid_at_axes_value"
METHODS = {
    INTERPOLATION,
    "get_grid_point",
    "reduce_axis",
    "reduce_rest_frame_lam",
    "reduce_rest_frame_range",
}


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """Return a folder for grids and weights."""
    return tmp_path_factory.mktemp("kinds")


def built(folder, name, **options):
    """Write a kind of grid, and build its weights with few settings."""
    path = kinds.kind(name).write(folder / f"{name}.hdf5")
    build(path, **QUICK, **options)
    return path


@pytest.mark.parametrize(
    "name, spectra",
    [
        ("yggdrasil", ["incident"]),
        ("bpl-feltre16", ["incident"]),
        ("draine_li_dust_emission", ["diffuse", "pdr"]),
        (
            "dust_extcurve_draine_li",
            ["graphite_a0.01um", "silicate_a0.1um"],
        ),
    ],
)
def test_arrays_methods_and_results_are_native(folder, name, spectra):
    result = kinds.try_kind(
        kinds.kind(name), folder, spectra=spectra, **SETTINGS
    )
    assert result["native"] == "yes"
    assert result["spectra"] < TOLERANCE
    # Synthesizer can not interpolate an emission that lacks an axis.
    alone = {INTERPOLATION} if name == "draine_li_dust_emission" else set()
    assert set(result["methods"]) == METHODS - alone
    assert max(result["methods"].values()) < TOLERANCE
    assert result.get("use", 0.0) < TOLERANCE


def test_an_axis_of_one_node_has_one_value(folder):
    grid = EmulatedGrid("yggdrasil", grid_dir=folder)
    emulator = grid.emulator
    point = np.array([grid._ages[3], 0.0])
    np.testing.assert_allclose(
        emulator.spectrum("incident", point)[60],
        grid.spectra["incident"][3, 0, 60],
        rtol=1e-4,
    )
    with pytest.raises(InconsistentArguments, match=r"metallicities = 0\.02"):
        emulator.spectrum("incident", np.array([grid._ages[3], 0.02]))
    # As a native grid, it has the one node at any value.
    found = grid.interpolate_grid_at_axes_value(
        spectra_type="incident", ages=grid._ages[3], metallicities=0.02
    )
    np.testing.assert_allclose(
        found["spectra"].lnu, grid.spectra["incident"][3, 0], rtol=1e-5
    )
    fine = EmulatedGrid(
        "yggdrasil", grid_dir=folder, refine={"metallicities": 3, "ages": 2}
    )
    assert fine.shape[:2] == (27, 1)
    between = grid.interpolate_grid_at_axes_value(
        method="emulator",
        spectra_type="incident",
        ages=fine.ages[[4, 5]],
        metallicities=0.0,
    )
    np.testing.assert_allclose(
        between["spectra"].lnu, fine.spectra["incident"][[4, 5], 0], rtol=1e-3
    )
    for ion, rates in fine.log10_specific_ionising_lum.items():
        np.testing.assert_allclose(
            between[f"log10_specific_ionising_luminosity/{ion}"],
            rates[[4, 5], 0],
            rtol=1e-6,
        )


def test_an_emission_lacks_an_axis_in_every_method(folder):
    """Native methods that index the wavelengths instead are no reference."""
    native = Grid("draine_li_dust_emission", grid_dir=folder)
    grid = EmulatedGrid("draine_li_dust_emission", grid_dir=folder)
    assert grid.spectra["diffuse"].shape == native.spectra["diffuse"].shape
    alphas = grid.reduce_axis(1.5, 2.5, "alpha")
    assert alphas.spectra["pdr"].shape == (4, 6, 3, 150)
    np.testing.assert_array_equal(
        alphas.spectra["diffuse"], grid.spectra["diffuse"]
    )
    for method in ("nearest", "emulator"):
        at_alpha = grid.collapse("alpha", method, value=2.0)
        at_qpah = at_alpha.collapse("qpah", method, value=grid._qpah[1])
        for name, true in (
            ("diffuse", native.spectra["diffuse"][1]),
            ("pdr", native.spectra["pdr"][1, :, 2]),
        ):
            assert at_qpah.spectra[name].shape == (6, 150)
            error = kinds.worst_error(at_qpah.spectra[name], true)
            assert error < TOLERANCE
    mean = grid.collapse("umin").collapse("alpha")
    np.testing.assert_allclose(
        mean.spectra["diffuse"], grid.spectra["diffuse"].mean(1), rtol=1e-6
    )
    point = {"qpah": grid._qpah[1], "umin": 1.0, "alpha": 1.7}
    for method in ("cic", "emulator"):
        found = grid.interpolate_grid_at_axes_value(
            method, spectra_type="diffuse", **point
        )
        error = kinds.worst_error(
            found["spectra"].lnu.value, native.spectra["diffuse"][1, 2]
        )
        assert error < TOLERANCE


def test_lines_alone_are_a_grid(folder):
    path = built(folder, "cloudy-lines")
    with pytest.raises(GridError, match="ignore_spectra=True"):
        EmulatedGrid(path.stem, grid_dir=folder)
    with pytest.warns(RuntimeWarning, match="continuum is zero"):
        grid = EmulatedGrid(path.stem, grid_dir=folder, ignore_spectra=True)
    assert list(grid.line_ids) == list(kinds.LINES)
    with h5py.File(path) as hdf:
        true = hdf["lines/luminosity"][:]
    got = grid.line_lums["nebular"].to_value("erg/s")
    assert kinds.worst_error(got, true) < TOLERANCE
    assert not grid.line_conts["nebular"].any()
    lines = grid.interpolate_grid_at_axes_value(
        spectra_type="nebular", ages=grid._ages[2], metallicities=0.01
    )["lines"]
    assert lines.lum.shape == (4,)


def test_failures_are_left_out_or_filled(folder):
    kind = kinds.kind("cloudy-failures")
    path = kind.write(folder / f"{kind.name}.hdf5")
    with pytest.warns(RuntimeWarning, match=r"failed at 2 of 50.*ages\[2\]"):
        build(path, spectra=["incident"], **QUICK)
    left_out = EmulatedGrid(kind.name, grid_dir=folder)
    failed = left_out.weights.header.failures
    assert failed.sum() == 2 and failed[2, 1] and failed[6, 3]
    assert not left_out.spectra["incident"][failed].any()
    assert left_out.spectra["incident"][~failed].any(-1).all()
    build(path, spectra=["incident"], fill_failures=True, overwrite=True,
          **QUICK)  # fmt: skip
    filled = EmulatedGrid(kind.name, grid_dir=folder)
    assert "2 at which Cloudy failed" in filled.provenance.trained_on
    true = kinds.spectra_of(kinds.draw_axes(**kinds.STARS), kinds.LAM)
    got = filled.spectra["incident"]
    assert kinds.worst_error(got[~failed], true[~failed]) < TOLERANCE
    ratio = (got / true)[failed][:, 40:]
    assert np.abs(np.log10(ratio)).max() < 0.1


def test_only_what_cloudy_lost_is_left_out_or_filled(tmp_path):
    """The incident spectra are known where the gas is not."""
    path = kinds.kind("cloudy-failures").write(tmp_path / "grid.hdf5")
    with h5py.File(path, "r+") as hdf:
        incident = hdf["spectra/incident"][...]
        failed = hdf["failures"][...] > 0
        incident[failed] = incident[0, 0]
        hdf["spectra/incident"][...] = incident
        # Some programs write NaN, or only one part of a difference.
        hdf["spectra/transmitted"][2, 1] = np.nan
        hdf["spectra/nebular"][2, 1] = 1.0
    left_out, filled = (
        GridNodes.from_grid(path, fill_failures=fill) for fill in (False, True)
    )
    for emission in left_out.emissions:
        known = emission == "spectra/incident"
        values, both = left_out.read(emission), filled.read(emission)
        lost = np.zeros_like(failed) if known else failed
        np.testing.assert_array_equal(left_out.lost(emission), lost)
        assert not values[lost].any() and both[lost].any(-1).all()
        np.testing.assert_array_equal(both[~lost], values[~lost])
    np.testing.assert_array_equal(filled.read("spectra/incident"), incident)
    # What was filled is not judged; what is known is.
    sizes = [
        len(filled.truth(f"spectra/{name}", None)[1])
        for name in ("incident", "transmitted")
    ]
    assert sizes == [50, 48]
    thin = ThinnedGrid.write(
        NativeGrid.open(path), {0: np.array([0])}, tmp_path
    ).thin
    np.testing.assert_array_equal(thin.header.failures, failed[1:])


def test_filled_edges_and_nothing_to_learn_are_told(tmp_path):
    path = kinds.kind("cloudy-failures").write(tmp_path / "grid.hdf5")
    header = GridNodes.from_grid(path).header
    assert "edge" not in describe_failures(header, True)
    with h5py.File(path, "r+") as hdf:
        hdf["failures"][6, 0] = 1.0
    header = GridNodes.from_grid(path).header
    text = describe_failures(header, True)
    assert "1 of them lie at an edge" in text and text.count("ages[6]") == 3
    assert "edge" not in describe_failures(header, False)
    with h5py.File(path, "r+") as hdf:
        hdf["failures"][...] = 1.0
        for name in ("nebular", "linecont", "transmitted"):
            hdf[f"spectra/{name}"][...] = 0.0
    for fill in (False, True):
        with (
            pytest.warns(RuntimeWarning, match="failed at 50 of 50"),
            pytest.raises(GridError, match=r"failed at all nodes.*--spectra"),
        ):
            build(path, fill_failures=fill, **QUICK)


def test_nothing_of_a_grid_is_dropped(folder):
    path = folder / "cloudy-failures.hdf5"
    header = read_weights(
        EmulatedGrid(path.stem, grid_dir=folder).weights.path
    ).header
    with h5py.File(path) as hdf:
        for name, value in hdf["CloudyParams"].attrs.items():
            assert header.cloudy[name] == value
        scalings = hdf["CloudyParams/abundance_scalings"].attrs
        stored = header.further.attributes["CloudyParams/abundance_scalings"]
        assert dict(stored) == dict(scalings) and len(stored) == 2
        ages = header.further.attributes["axes/ages"]
        assert ages["Description"] == hdf["axes/ages"].attrs["Description"]
        for name in ("failures", "spectra/normalisation"):
            np.testing.assert_array_equal(
                header.further.datasets[name], hdf[name][()]
            )


def test_fractions_in_remnants_are_interpolated(folder):
    built(folder, "bpass-2.2.1")
    grids = [
        kind("bpass-2.2.1", grid_dir=folder) for kind in (Grid, EmulatedGrid)
    ]
    point = {"ages": [3e6, 2e9], "metallicities": [0.001, 0.02]}
    native, emulated = (
        grid.interpolate_grid_at_axes_value(spectra_type="incident", **point)
        for grid in grids
    )
    assert native.keys() == emulated.keys()
    for name in ("remnant_fraction", "star_fraction"):
        np.testing.assert_allclose(emulated[name], native[name], rtol=1e-6)
    old = grids[1].collapse("ages", "nearest", value=1e10)
    assert old._stored()["remnant_fraction"].shape == (5,)
    fine = EmulatedGrid("bpass-2.2.1", grid_dir=folder, refine={"ages": 2})
    remnants = fine.weights.header.stored["remnant_fraction"]
    np.testing.assert_allclose(
        fine._stored()["remnant_fraction"][::2], remnants, rtol=1e-6
    )
