"""Every method of `Grid` on an `EmulatedGrid`.

A native grid that was handed the emulated arrays is the truth: with the
same arrays both have to do the same.
"""

import copy
import inspect
import re
from pathlib import Path

import matplotlib.pyplot as plt
import numpy as np
import pytest
from conftest import hand_over
from spectres import spectres
from synthesizer.exceptions import (
    InconsistentArguments,
    InconsistentParameter,
    IncorrectUnits,
)
from synthesizer.grid import Grid
from synthesizer.instruments import FilterCollection
from unyt import (
    angstrom,
    erg,
    nm,
    s,
    um,
    yr,
)

from synthesizer_emulator import EmulatedGrid
from synthesizer_emulator.grid.emulated_grid import (
    EXAMPLE_NAME,
    example_folder,
)

# Of single precision: what compiles to other code rounds otherwise.
ROUNDING = 2e-4

pytestmark = pytest.mark.filterwarnings("ignore::RuntimeWarning")


@pytest.fixture(
    scope="module",
    params=[
        "two axes",
        pytest.param("three axes", marks=pytest.mark.slow),
    ],
)
def pair(request):
    """Return an emulated grid and a native one with the same arrays."""
    name, folder = EXAMPLE_NAME, example_folder()
    if request.param == "three axes":
        name = "three"
        folder = request.getfixturevalue("three_axes")
    emulated = EmulatedGrid(name, grid_dir=folder)
    return emulated, hand_over(emulated, Grid(name, grid_dir=folder))


def fresh(grid):
    """Return a copy of which nothing was evaluated yet."""
    return EmulatedGrid(grid.original_name, grid_dir=grid.grid_dir)


def assert_same(emulated, native, rtol=1e-12):
    """Compare all that Synthesizer reads of a grid."""
    assert emulated.axes == native.axes
    assert emulated._extract_axes == native._extract_axes
    assert emulated.naxes == native.naxes
    assert emulated.shape == native.shape
    for axis in native.axes:
        np.testing.assert_array_equal(
            np.asarray(emulated._axes_values[axis]),
            np.asarray(native._axes_values[axis]),
        )
    for axis, values in native._extract_axes_values.items():
        np.testing.assert_array_equal(
            emulated._extract_axes_values[axis], values
        )
    np.testing.assert_array_equal(emulated._lam, native._lam)
    np.testing.assert_array_equal(
        emulated.available_lines, native.available_lines
    )
    for mapping in ("spectra", "line_lums", "line_conts"):
        mine, theirs = getattr(emulated, mapping), getattr(native, mapping)
        assert list(mine) == list(theirs)
        for name, true in theirs.items():
            got = mine[name]
            assert got.flags.c_contiguous
            assert got.dtype == true.dtype
            assert_close(np.asarray(got), np.asarray(true), rtol)


def assert_close(got, true, rtol):
    """Compare arrays, faint values to the peak of their spectrum."""
    assert got.shape == true.shape
    peak = np.abs(true).max(-1, keepdims=True, initial=0.0)
    assert (np.abs(got - true) <= rtol * (np.abs(true) + 1e-3 * peak)).all()


FILTERS = {
    "U": {"lam_min": 3000 * angstrom, "lam_max": 4000 * angstrom},
    "K": {"lam_min": 20000 * angstrom, "lam_max": 24000 * angstrom},
}
NEW_LAM = np.geomspace(1500, 9000, 40) * angstrom
WAVELENGTHS = {
    "range": lambda g: g.reduce_rest_frame_range(400 * nm, 900 * nm),
    "observed range": lambda g: g.reduce_observed_range(
        4000 * angstrom, 50000 * angstrom, 1.5
    ),
    "filters": lambda g: g.reduce_rest_frame_filters(
        FilterCollection(tophat_dict=FILTERS)
    ),
    "observed filters": lambda g: g.reduce_observed_filters(
        FilterCollection(tophat_dict=FILTERS), 2.0
    ),
    "lam": lambda g: g.reduce_rest_frame_lam(NEW_LAM),
    "observed lam": lambda g: g.reduce_observed_lam(NEW_LAM, 0.5),
}


@pytest.mark.slow
@pytest.mark.parametrize("reduce", WAVELENGTHS.values(), ids=WAVELENGTHS)
def test_fewer_wavelengths(pair, reduce):
    emulated, native = pair
    expected = reduce(native)
    # Once from arrays that exist, once before any was evaluated. A slice
    # of a decoder is the decoder of a slice but for rounding in float32.
    assert_same(reduce(emulated), expected)
    unread = reduce(fresh(emulated))
    assert not unread.spectra.evaluated
    assert not unread.line_lums.evaluated
    assert_same(unread, expected, rtol=ROUNDING)
    assert emulated.nlam == len(emulated.lam) > expected.nlam


def test_filters_elsewhere_are_refused(pair):
    far = FilterCollection(
        tophat_dict={"X": {"lam_min": 10 * angstrom, "lam_max": 20 * angstrom}}
    )
    for grid in pair:
        with pytest.raises(
            InconsistentArguments, match="None of the provided"
        ):
            grid.reduce_rest_frame_filters(far)


@pytest.mark.parametrize("lam", [5500 * angstrom, 2.2e4 * angstrom])
def test_one_wavelength(pair, lam):
    emulated, native = pair
    expected = native.get_spectra_at_lam(lam)
    for grid, rtol in ((emulated, 1e-12), (fresh(emulated), ROUNDING)):
        got = grid.get_spectra_at_lam(lam)
        assert list(got) == list(expected)
        for name, true in expected.items():
            np.testing.assert_allclose(got[name], true, rtol=rtol, atol=1e-6)
    with pytest.raises(InconsistentArguments, match="one finite wavelength"):
        emulated.get_spectra_at_lam(NEW_LAM)


LAM = NEW_LAM.value


def changed(i, value):
    lam = LAM.copy()
    lam[i] = value
    return lam


BAD_LAM = {
    "descending": LAM[::-1],
    "shuffled": np.random.default_rng(3).permutation(LAM),
    "with NaN": changed(3, np.nan),
    "with infinity": changed(-1, np.inf),
    "with zero": changed(0, 0.0),
    "negative": -LAM[::-1],
    "one": LAM[:1],
    "none": LAM[:0],
    "two dimensions": LAM[:, None],
    "two alike at an end": changed(1, LAM[0]),
}


@pytest.mark.parametrize("lam", BAD_LAM.values(), ids=BAD_LAM)
def test_wavelengths_that_do_not_ascend_are_refused(emulated, lam):
    lam = lam * angstrom
    for rebin in (
        emulated.reduce_rest_frame_lam,
        lambda lam: emulated.reduce_observed_lam(lam, 1.0),
        lambda lam: copy.deepcopy(emulated).interp_spectra(lam),
        lambda lam: EmulatedGrid.example(new_lam=lam),
    ):
        with pytest.raises(InconsistentArguments, match="new wavelengths"):
            rebin(lam)


def test_two_wavelengths_alike_are_as_in_synthesizer(pair):
    """Where two ranges were joined at an end that they share."""
    emulated, native = pair
    lam = changed(5, LAM[6]) * angstrom
    assert_same(
        emulated.reduce_rest_frame_lam(lam), native.reduce_rest_frame_lam(lam)
    )


BAD_RANGES = {
    "descending": ((5000, 1000), "less than"),
    "NaN first": ((np.nan, 5000), "less than"),
    "NaN last": ((1000, np.nan), "less than"),
    "beyond": ((1e9, 1e10), "must overlap the wav"),
    "before": ((1e-3, 1e-2), "must overlap the wav"),
}


@pytest.mark.parametrize(
    ("limits", "message"), BAD_RANGES.values(), ids=BAD_RANGES
)
def test_ranges_without_wavelengths_are_refused(emulated, limits, message):
    limits = tuple(end * angstrom for end in limits)
    for reduce in (
        emulated.reduce_rest_frame_range,
        lambda *limits: emulated.reduce_observed_range(*limits, 0.0),
        lambda *limits: EmulatedGrid.example(lam_lims=limits),
    ):
        with pytest.raises(InconsistentArguments, match=message):
            reduce(*limits)
    with pytest.raises(InconsistentArguments, match="two wavelengths"):
        EmulatedGrid.example(lam_lims=limits[:1])


def test_ranges_that_end_beyond_the_grid(emulated):
    for low, high in ((0.0, np.inf), (-np.inf, 1e20)):
        got = emulated.reduce_rest_frame_range(low * angstrom, high * angstrom)
        np.testing.assert_array_equal(got._lam, emulated._lam)


@pytest.mark.parametrize("redshift", [-1.0, -2.0, np.nan, np.inf])
def test_impossible_redshifts_are_refused(emulated, redshift):
    hats = FilterCollection(tophat_dict=FILTERS)
    for reduce in (
        lambda z: emulated.reduce_observed_range(NEW_LAM[0], NEW_LAM[-1], z),
        lambda z: emulated.reduce_observed_lam(NEW_LAM, z),
        lambda z: emulated.reduce_observed_filters(hats, z),
    ):
        with pytest.raises(InconsistentArguments, match="redshift must be"):
            reduce(redshift)
        with pytest.raises(
            IncorrectUnits, match="redshift must be a number without units"
        ):
            reduce(1.0 * yr)


@pytest.mark.parametrize("lam", [np.nan, np.inf])
def test_no_spectra_at_what_is_no_wavelength(emulated, lam):
    with pytest.raises(InconsistentArguments, match="one finite wavelength"):
        emulated.get_spectra_at_lam(lam * angstrom)


OUTSIDE = {
    "beyond": np.geomspace(1e9, 1e10, 30) * angstrom,
    "before": np.geomspace(1e-3, 1e-2, 30) * angstrom,
    "over an end": np.geomspace(1e4, 1e10, 30) * angstrom,
    "between two": np.linspace(5000.0, 5000.1, 4) * angstrom,
}
CHANGES = {
    **WAVELENGTHS,
    **{
        where: lambda g, lam=lam: g.reduce_rest_frame_lam(lam)
        for where, lam in OUTSIDE.items()
    },
    "one pixel": lambda g: g.reduce_rest_frame_range(
        5000 * angstrom, 5000.1 * angstrom
    ),
    "one after the other": lambda g: g.reduce_rest_frame_lam(
        NEW_LAM
    ).reduce_rest_frame_range(300 * nm, 600 * nm),
    "shorter axis": lambda g: g.reduce_axis(
        g.metallicities[1], g.metallicities[-2], "metallicities"
    ),
    "mean": lambda g: g.collapse("metallicities"),
    "nearest": lambda g: g.collapse("metallicities", "nearest", 0.0071),
    "interpolated": lambda g: g.collapse(
        "metallicities", "interpolate", 0.0071
    ),
    "double precision": lambda g: g.convert_precision(np.float64),
}


@pytest.fixture(scope="module")
def used():
    """Return a grid of which everything was read, in single precision."""
    grid = EmulatedGrid.example(use_precision=np.float32)
    for emissions in (grid.spectra, grid.line_lums, grid.line_conts):
        emissions.evaluate_all()
    return grid


@pytest.mark.slow
@pytest.mark.parametrize("change", CHANGES.values(), ids=CHANGES)
def test_nothing_depends_on_laziness(used, change):
    """What was read before a change, and what is read after it."""
    unused = EmulatedGrid.example(use_precision=np.float32)
    assert_same(change(unused), change(used), rtol=ROUNDING)


@pytest.mark.parametrize("lam", [5e3, 1e-3, 1e9])
def test_one_wavelength_does_not_depend_on_laziness(used, lam):
    unused = EmulatedGrid.example(use_precision=np.float32)
    one, other = (g.get_spectra_at_lam(lam * angstrom) for g in (used, unused))
    for name, values in one.items():
        assert other[name].dtype == values.dtype
        assert_close(other[name], values, ROUNDING)


@pytest.mark.slow
@pytest.mark.parametrize("lam", OUTSIDE.values(), ids=OUTSIDE)
def test_wavelengths_outside_are_synthesizers(pair, lam):
    emulated, native = pair
    expected = native.reduce_rest_frame_lam(lam)
    assert_same(emulated.reduce_rest_frame_lam(lam), expected)
    assert_same(
        fresh(emulated).reduce_rest_frame_lam(lam), expected, rtol=ROUNDING
    )


@pytest.mark.slow
def test_other_default_units(other_units):
    """A grid in Angstrom is the same grid in micron."""
    emulated = EmulatedGrid.example()
    native = hand_over(emulated, Grid(EXAMPLE_NAME, grid_dir=example_folder()))
    assert emulated.lam.units == um
    assert_same(emulated, native)
    for name, lums in native.line_lums.items():
        assert emulated.line_lums[name].units == lums.units == erg / s
    for name in ("range", "observed range"):
        reduce = WAVELENGTHS[name]
        assert_same(reduce(emulated), reduce(native))
        assert_same(reduce(fresh(emulated)), reduce(native), rtol=ROUNDING)
    lam = np.arange(2000.0, 30000.0, 10.0)
    filters = FilterCollection(
        generic_dict={"wide": ((lam > 3000.0) & (lam < 24000.0)) * 1.0},
        new_lam=lam * angstrom,
    )
    # Synthesizer's own rebinning has the new wavelengths in Angstrom and
    # the old ones in micron, and finds nothing.
    expected = spectres(
        LAM,
        native.lam.to_value(angstrom),
        native.spectra["incident"],
        verbose=False,
    )
    for grid in (emulated, fresh(emulated)):
        got = grid.reduce_rest_frame_lam(NEW_LAM)
        np.testing.assert_allclose(got.lam.to_value(angstrom), LAM)
        assert_close(got.spectra["incident"], expected, ROUNDING)
        at = grid.get_spectra_at_lam(native.lam[700])["incident"]
        assert_close(at, native.spectra["incident"][..., 700:701], ROUNDING)
        hats = grid.reduce_observed_filters(filters, 1.0)
        ends = hats.lam.to_value(angstrom)[[0, -1]]
        np.testing.assert_allclose(ends, [1500, 12000], rtol=0.01)


@pytest.mark.parametrize("axis", ["ages", "log10ages", "metallicities"])
def test_a_shorter_axis(pair, axis):
    emulated, native = pair
    values = getattr(native, axis)
    low, high = values[1], values[-2]
    plain = axis.removeprefix("log10")
    # Synthesizer's own writes logged values into the axis if so named.
    limits = [getattr(native, plain)[i] for i in (1, -2)]
    expected = native.reduce_axis(*limits, plain)
    assert_same(emulated.reduce_axis(low, high, axis), expected)
    reduced = fresh(emulated).reduce_axis(low, high, axis)
    assert not reduced.spectra.evaluated
    assert_same(reduced, expected, rtol=ROUNDING)
    # ... and leaves these as they were.
    i = native.axes.index(plain)
    cut = (slice(None),) * i + (slice(1, -1),)
    np.testing.assert_array_equal(
        reduced.stellar_fraction, native.stellar_fraction[cut]
    )
    for ion, true in native.log10_specific_ionising_lum.items():
        np.testing.assert_array_equal(
            reduced.log10_specific_ionising_lum[ion], true[cut]
        )


def test_in_place_changes_return_nothing(pair):
    emulated, _ = pair
    grid = fresh(emulated)
    assert (
        grid.reduce_axis(1e6 * yr * 3, 1e9 * yr, "ages", inplace=True) is None
    )
    assert grid.collapse("metallicities", inplace=True) is None
    assert (
        grid.reduce_rest_frame_range(
            4000 * angstrom, 9000 * angstrom, inplace=True
        )
        is None
    )
    assert grid.naxes == emulated.naxes - 1
    assert grid.shape[0] < emulated.shape[0]


def test_bad_limits_are_refused(pair):
    for grid in pair:
        ages = grid.ages
        with pytest.raises(InconsistentArguments, match="less than axis_high"):
            grid.reduce_axis(ages[3], ages[1], "ages")
        with pytest.raises(InconsistentArguments, match="within the range"):
            grid.reduce_axis(ages[0] / 2, ages[1], "ages")
        with pytest.raises(InconsistentArguments, match="not found"):
            grid.reduce_axis(ages[0], ages[1], "masses")


COLLAPSES = {
    "mean": {"method": "marginalize"},
    "maximum": {"method": "marginalize", "marginalize_function": np.max},
    "interpolate": {"method": "interpolate", "value": 0.0071},
    "in the logarithm": {
        "method": "interpolate",
        "value": 0.0071,
        "pre_interp_function": np.log10,
    },
    "nearest": {"method": "nearest", "value": 0.0071},
}


@pytest.mark.slow
@pytest.mark.parametrize("arguments", COLLAPSES.values(), ids=COLLAPSES)
def test_an_axis_less(pair, arguments):
    emulated, native = pair
    expected = native.collapse("metallicities", **arguments)
    got = emulated.collapse("metallicities", **arguments)
    assert_same(got, expected)
    assert_same(
        fresh(emulated).collapse("metallicities", **arguments),
        expected,
        rtol=ROUNDING,
    )
    with pytest.raises(AttributeError):
        _ = got.metallicities
    # Synthesizer's own loses these units, and leaves the rest as it was.
    for name, lums in native.line_lums.items():
        assert got.line_lums[name].units == lums.units
    assert got.stellar_fraction.shape == (emulated.shape[0],)
    for values in got.log10_specific_ionising_lum.values():
        assert values.shape == got.shape[:-1]


def test_rates_are_averaged_and_not_their_logarithms(pair):
    emulated, native = pair
    got = emulated.collapse("ages").log10_specific_ionising_lum["HI"]
    rates = 10.0 ** native.log10_specific_ionising_lum["HI"]
    np.testing.assert_allclose(got, np.log10(rates.mean(0)), rtol=1e-12)


def test_collapse_at_the_last_node(pair):
    """Where Synthesizer's own runs out of nodes."""
    emulated, _ = pair
    last = emulated.metallicities[-1]
    for method in ("interpolate", "nearest", "emulator"):
        got = emulated.collapse("metallicities", method, value=last)
        assert_close(
            got.spectra["incident"],
            emulated.spectra["incident"][:, -1],
            rtol=ROUNDING,
        )


@pytest.mark.parametrize("axis", ["ages", "metallicities"])
def test_an_axis_of_one_node_collapses_to_it(pair, axis):
    emulated, _ = pair
    values = emulated._axes_values[axis][2:3]
    grid = EmulatedGrid(
        emulated.original_name, grid_dir=emulated.grid_dir, axes={axis: values}
    )
    number = emulated.axes.index(axis)
    for method in ("interpolate", "nearest", "emulator", "marginalize"):
        value = None if method == "marginalize" else float(values[0])
        got = grid.collapse(axis, method, value=value)
        assert_close(
            got.spectra["incident"],
            emulated.spectra["incident"].take(2, number),
            rtol=ROUNDING,
        )


@pytest.mark.slow
def test_collapse_by_the_emulator_is_the_emulator(pair):
    emulated, _ = pair
    grid = emulated.collapse("metallicities", "emulator", value=0.0071)
    rest = emulated.axes[2:]
    point = [emulated._ages[2], 0.0071]
    point += [emulated._axes_values[axis][1] for axis in rest]
    at = (2, *(1 for _ in rest))
    direct = emulated.emulator.spectrum("nebular", np.array(point))
    assert_close(
        grid.spectra["nebular"][at], np.asarray(direct), rtol=ROUNDING
    )
    lines = emulated.emulator.lines("luminosity", np.array(point))
    np.testing.assert_allclose(
        grid.line_lums["nebular"][at].to_value("erg/s"), lines, rtol=ROUNDING
    )
    # The stored ones follow, between those of the neighbours.
    for values, all_nodes in (
        (grid.stellar_fraction, emulated.stellar_fraction),
        (
            grid.log10_specific_ionising_lum["HI"],
            emulated.log10_specific_ionising_lum["HI"],
        ),
    ):
        i = np.searchsorted(emulated._metallicities, 0.0071)
        low, high = np.sort(all_nodes[:, i - 1 : i + 1], axis=1).swapaxes(0, 1)
        assert (values >= low - 1e-6).all()
        assert (values <= high + 1e-6).all()


def test_collapse_without_lines_or_spectra():
    """Which Synthesizer's own does not survive."""
    for left_out in ({"ignore_lines": True}, {"ignore_spectra": True}):
        grid = EmulatedGrid.example(**left_out)
        assert grid.collapse("ages").naxes == 1


def test_bad_collapses_are_refused(pair):
    for grid in pair:
        for arguments, message in (
            (("masses",), "not a valid axis"),
            (("ages", "median"), "not a valid collapse method"),
            (("ages", "nearest"), "Must provide kwarg `value`"),
            (("metallicities", "interpolate", 0.9), "outside the bounds"),
        ):
            with pytest.raises(InconsistentParameter, match=message):
                grid.collapse(*arguments)


@pytest.mark.parametrize("method", ["cic", "ngp"])
@pytest.mark.parametrize("spectra_type", ["incident", "nebular", None])
def test_between_the_nodes_as_synthesizer(pair, method, spectra_type):
    emulated, _ = pair
    where = {
        "log10ages": np.array([[6.2], [7.7]]),
        "metallicity": np.array([0.0011, 0.013, 0.04]),
    }
    if emulated.naxes == 3:
        where["ionisation_parameters"] = 0.01
    mine, theirs = (
        grid.interpolate_grid_at_axes_value(
            method=method, spectra_type=spectra_type, **where
        )
        for grid in pair
    )
    assert set(mine) == set(theirs)
    for key, true in theirs.items():
        for name in {
            "spectra": ["lnu"],
            "lines": ["luminosity", "continuum"],
        }.get(key, [None]):
            one, other = (
                (v if name is None else getattr(v, name))
                for v in (mine[key], true)
            )
            assert getattr(one, "units", None) == getattr(other, "units", None)
            np.testing.assert_array_equal(np.asarray(one), np.asarray(other))


@pytest.mark.slow
def test_between_the_nodes_by_the_emulator(pair):
    emulated, _ = pair
    ages = np.array([2e6, 3.1e6, 4e7])
    where = {"ages": ages * yr, "metallicities": 0.013}
    rest = {}
    if emulated.naxes == 3:
        rest["ionisation_parameters"] = 0.02
    found = emulated.interpolate_grid_at_axes_value(
        method="emulator", spectra_type="nebular", **where, **rest
    )
    for i, age in enumerate(ages):
        point = np.array([age, 0.013, *rest.values()])
        lnu = emulated.emulator.spectrum("nebular", point)
        assert_close(
            found["spectra"]._lnu[i],
            np.asarray(lnu, np.float64),
            rtol=ROUNDING,
        )
        lum = emulated.emulator.lines("luminosity", point)
        np.testing.assert_allclose(
            found["lines"].luminosity[i].to_value("erg/s"), lum, rtol=ROUNDING
        )
    ions = [k for k in found if k.startswith("log10_specific")]
    assert len(ions) == len(emulated.log10_specific_ionising_lum)


@pytest.mark.slow
def test_at_the_nodes_the_emulator_says_what_the_arrays_say(pair):
    emulated, _ = pair
    mesh = np.meshgrid(
        *(emulated._axes_values[axis][::2] for axis in emulated.axes),
        indexing="ij",
    )
    found = emulated.interpolate_grid_at_axes_value(
        method="emulator",
        spectra_type="transmitted",
        **dict(zip(emulated.axes, mesh, strict=True)),
    )
    every_other = (slice(None, None, 2),) * emulated.naxes
    assert_close(
        found["spectra"]._lnu,
        emulated.spectra["transmitted"][every_other],
        rtol=ROUNDING,
    )
    np.testing.assert_allclose(
        found["log10_specific_ionising_luminosity/HI"],
        emulated.log10_specific_ionising_lum["HI"][every_other],
        rtol=1e-9,
    )


def test_where_the_emulator_is_not_asked(pair):
    emulated, _ = pair
    rest = dict.fromkeys(emulated.axes[1:], 0.01)
    ask = {"method": "emulator", "spectra_type": "incident", **rest}
    with pytest.raises(InconsistentArguments, match="does not extrapolate"):
        emulated.interpolate_grid_at_axes_value(ages=1e13, **ask)
    averaged = emulated.collapse("metallicities")
    del ask["metallicities"]
    with pytest.raises(
        InconsistentArguments, match="averaged or interpolated"
    ):
        averaged.interpolate_grid_at_axes_value(ages=1e7, **ask)
    with pytest.raises(
        InconsistentArguments, match="averaged or interpolated"
    ):
        averaged.collapse("ages", "emulator", value=1e7)


@pytest.mark.parametrize(
    ("where", "message"),
    [
        ({"ages": 1e7}, "Missing required coordinate for axis 'metallici"),
        ({"ages": 1e7, "log10ages": 7}, "Multiple values"),
        ({"masses": 1}, "Invalid grid axis"),
    ],
)
def test_bad_points_are_refused(where, message):
    native = Grid(EXAMPLE_NAME, grid_dir=example_folder())
    with pytest.raises(TypeError):
        native.interpolate_grid_at_axes_value(spectra_type="incident", **where)
    with pytest.raises(TypeError, match=message):
        EmulatedGrid.example().interpolate_grid_at_axes_value(
            spectra_type="incident", **where
        )
    with pytest.raises(InconsistentParameter, match=r"one of cic, ngp, emul"):
        EmulatedGrid.example().interpolate_grid_at_axes_value("linear")


@pytest.mark.slow
def test_no_file_is_needed_for_any_of_it(tmp_path, three_axes):
    weights = tmp_path / "three.emulator"
    weights.write_bytes((three_axes / "three.emulator").read_bytes())
    grid = EmulatedGrid("three", grid_dir=tmp_path)
    weights.unlink()
    where = {"ages": 1e7, "metallicities": 0.01, "ionisation_parameters": 0.01}
    for method in ("cic", "emulator"):
        grid.interpolate_grid_at_axes_value(
            method=method, spectra_type="nebular", **where
        )
    assert grid.collapse("ages").stellar_fraction.shape == (4,)
    assert copy.deepcopy(grid).lines_available


def test_points_and_seds(pair):
    emulated, native = pair
    for where in (
        {"log10ages": 7.1},
        {"ages": 3e7 * yr, "metallicity": 0.01},
        {"log10metallicities": -2.2},
    ):
        point = emulated.get_grid_point(**where)
        assert point == native.get_grid_point(**where)
    node = (2,) * emulated.naxes
    for kind in emulated.available_spectra:
        for at in (None, node):
            mine, theirs = (g.get_sed(at, kind) for g in pair)
            np.testing.assert_array_equal(mine.lnu, theirs.lnu)
    line = emulated.available_lines[1]
    for at in (None, node):
        for kind in emulated.available_line_emissions:
            mine, theirs = (g.get_lines(at, line, kind) for g in pair)
            np.testing.assert_array_equal(mine.luminosity, theirs.luminosity)
            np.testing.assert_array_equal(mine.continuum, theirs.continuum)
    with pytest.raises(InconsistentParameter, match="not in the list"):
        emulated.get_sed(spectra_type="dust")


def test_the_smaller_members(pair):
    emulated, native = pair
    np.testing.assert_array_equal(
        emulated.get_delta_lambda()[1], native.get_delta_lambda()[1]
    )
    mine, theirs = (g.get_flattened_axes_values() for g in pair)
    for axis, values in theirs.items():
        np.testing.assert_array_equal(mine[axis], values)
        assert mine[axis].units == values.units
    assert emulated.get_nearest_index(1e7 * yr, emulated.ages) == (
        native.get_nearest_index(1e7 * yr, native.ages)
    )
    np.testing.assert_array_equal(emulated.line_ids, native.line_ids)
    assert emulated.axes_values.keys() == native.axes_values.keys()
    assert emulated.ndim == native.ndim


def test_plots(native):
    grid = EmulatedGrid.example()
    images = []
    for g in (grid, native):
        figure, axes, bar = g.plot_specific_ionising_lum()
        images.append(axes.images[0].get_array())
        assert "HI" in bar.get_xlabel()
        plt.close(figure)
    np.testing.assert_array_equal(*images)
    short = EmulatedGrid.example(
        ignore_lines=True, lam_lims=(5000 * angstrom, 5020 * angstrom)
    )
    animation = short.animate_grid()
    assert animation._save_count == short.nlam
    animation._draw_was_started = True


def test_the_table_of_members_is_complete():
    """docs/members.md has a row for every public member of `Grid`."""
    page = Path(__file__).parents[1] / "docs" / "members.md"
    rows = re.findall(r"^\| `([^`(]+)", page.read_text(), flags=re.MULTILINE)
    named = set(rows)
    public = {
        name
        for name, _ in inspect.getmembers(Grid)
        if not name.startswith("_")
    }
    arguments = set(inspect.signature(Grid.__init__).parameters) - {"self"}
    assert public | arguments <= named
