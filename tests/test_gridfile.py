import shutil

import h5py
import numpy as np
import pytest
from conftest import (
    analytic_emissions,
    analytic_header,
    write_analytic_grid,
    write_grid,
)
from synthesizer.exceptions import GridError
from synthesizer.grid import Grid

from synthesizer_emulator import build
from synthesizer_emulator.files.hdf5 import open_hdf5
from synthesizer_emulator.files.writing import (
    check_room,
    check_writable,
    write_hdf5,
    write_whole,
)
from synthesizer_emulator.gridfile.header import IONISING
from synthesizer_emulator.gridfile.native import NativeGrid
from synthesizer_emulator.gridfile.places import find_grid, grid_name_of
from synthesizer_emulator.gridfile.reading import (
    read_header,
)

OFFICIAL = "bc03-2016-miles_chabrier-0.1,100_cloudy-c23.01-sps"


def test_header_survives_the_file(tmp_path):
    header = analytic_header(n_parameters=3)
    write_grid(tmp_path / "g.hdf5", header, analytic_emissions(header))
    with open_hdf5(tmp_path / "g.hdf5") as hdf:
        back = read_header(hdf, tmp_path / "g.hdf5")
    assert [a.name for a in back.axes] == [a.name for a in header.axes]
    for one, other in zip(back.axes, header.axes, strict=True):
        np.testing.assert_array_equal(one.values, other.values)
        assert (one.units, one.log_on_read) == (other.units, other.log_on_read)
    assert back.lines.ids == header.lines.ids
    assert back.reprocessed
    assert back.attributes == {"note": "analytic"}
    assert back.model == {"sps_name": "analytic"}
    assert back.weight_variable == "initial_masses"
    np.testing.assert_array_equal(back.star_fraction, header.star_fraction)
    np.testing.assert_array_equal(back.lam, header.lam)


def test_synthesizer_reads_what_we_write(analytic_grid):
    grid = Grid("analytic", grid_dir=analytic_grid.parent)
    assert grid.shape == (12, 6, 150)
    assert grid.reprocessed
    assert grid.available_lines[1] == "H 1 4861.32A"
    assert str(grid.ages.units) == "yr"


@pytest.mark.parametrize("spelling", [OFFICIAL, f"{OFFICIAL}.hdf5"])
def test_official_names_survive(tmp_path, spelling):
    path = write_analytic_grid(tmp_path / f"{OFFICIAL}.hdf5")
    assert find_grid(spelling, tmp_path) == path
    assert find_grid(tmp_path / spelling) == path
    assert grid_name_of(path) == OFFICIAL


def test_a_missing_grid_is_looked_for_and_named(tmp_path):
    with pytest.raises(GridError, match=r"No grid file 'nosuch'.*looked for"):
        find_grid("nosuch", tmp_path)
    with pytest.raises(GridError, match="path or name of a grid"):
        find_grid(".", tmp_path)


def test_a_file_that_is_no_grid(tmp_path):
    path = tmp_path / "other.hdf5"
    with h5py.File(path, "w") as hdf:
        hdf["x"] = 1
    with (
        open_hdf5(path) as hdf,
        pytest.raises(GridError, match="not a Synthesizer grid"),
    ):
        read_header(hdf, path)


def test_a_file_that_is_no_hdf5(tmp_path):
    path = tmp_path / "text.hdf5"
    path.write_text("no grid at all")
    with (
        pytest.raises(GridError, match="can't be read as HDF5"),
        open_hdf5(path),
    ):
        pass


def test_an_axis_must_ascend(tmp_path, analytic_grid):
    with h5py.File(analytic_grid, "a") as hdf:
        hdf["axes/ages"][...] = hdf["axes/ages"][...][::-1]
    with (
        open_hdf5(analytic_grid) as hdf,
        pytest.raises(GridError, match=r"axis 'ages'.*strictly ascending"),
    ):
        read_header(hdf, analytic_grid)


def test_a_logged_axis_must_be_positive(analytic_grid):
    with h5py.File(analytic_grid, "a") as hdf:
        hdf["axes/ages"][0] = 0.0
    with (
        open_hdf5(analytic_grid) as hdf,
        pytest.raises(GridError, match=r"logged axis 'ages'.*values from 0"),
    ):
        read_header(hdf, analytic_grid)


def test_wavelengths_must_ascend(analytic_grid):
    with h5py.File(analytic_grid, "a") as hdf:
        hdf["spectra/wavelength"][...] = hdf["spectra/wavelength"][...][::-1]
    with (
        open_hdf5(analytic_grid) as hdf,
        pytest.raises(GridError, match=r"wavelengths.*strictly ascending"),
    ):
        read_header(hdf, analytic_grid)


def test_masses_are_in_solar_masses_as_in_synthesizer(analytic_grid):
    with h5py.File(analytic_grid, "a") as hdf:
        hdf["axes/ages"].attrs["Units"] = "kg"
        hdf["axes/ages"][...] = np.geomspace(1e6, 1e10, 12) * 1.98841586e30
    with open_hdf5(analytic_grid) as hdf:
        axis = read_header(hdf, analytic_grid).axes[0]
    native = Grid("analytic", grid_dir=analytic_grid.parent)
    np.testing.assert_allclose(axis.values, native._ages)
    assert axis.values[0] == pytest.approx(1e6, rel=1e-4)


def test_an_incomplete_grid_is_named(analytic_grid):
    with h5py.File(analytic_grid, "a") as hdf:
        del hdf["lines/id"]
    with (
        open_hdf5(analytic_grid) as hdf,
        pytest.raises(GridError, match="not a complete Synthesizer grid"),
    ):
        read_header(hdf, analytic_grid)


def test_an_interrupted_write_leaves_what_was_there(tmp_path):
    path = tmp_path / "file.hdf5"
    path.write_text("old")
    with pytest.raises(KeyboardInterrupt), write_hdf5(path) as hdf:
        hdf["x"] = 1
        raise KeyboardInterrupt
    assert path.read_text() == "old"
    assert list(tmp_path.iterdir()) == [path]


def test_a_full_disk_leaves_what_was_there_in_memory(tmp_path, monkeypatch):
    path = tmp_path / "file.hdf5"
    path.write_text("old")

    def full(descriptor):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("os.fsync", full)
    with (
        pytest.raises(OSError, match=r"Can't write .*No space.*unchanged"),
        write_hdf5(path) as hdf,
    ):
        hdf["x"] = 1
    assert path.read_text() == "old"
    assert list(tmp_path.iterdir()) == [path]


def test_too_little_room_is_noticed_before_writing(tmp_path):
    with pytest.raises(OSError, match=r"needs 1e\+?\d+|needs \d+ MB, but"):
        check_room(tmp_path / "g.hdf5", 10**18)


def test_a_full_disk_leaves_what_was_there(tmp_path):
    path = tmp_path / "file.hdf5"
    path.write_text("old")
    with (
        pytest.raises(OSError, match=r"Can't write .*unchanged"),
        write_hdf5(path) as hdf,
    ):
        hdf["x"] = 1
        # What h5py makes of it.
        raise RuntimeError("No space left on device")
    assert path.read_text() == "old"
    assert list(tmp_path.iterdir()) == [path]


def test_a_missing_folder_is_made_or_named(tmp_path):
    # A check makes none: what is refused later would leave it.
    check_writable(tmp_path / "new" / "deep" / "w.emulator")
    write_whole(tmp_path / "other" / "w.emulator", b"x")
    check_room(tmp_path / "third" / "w.emulator", 1)
    assert [list(p.iterdir()) for p in sorted(tmp_path.iterdir())] == [
        [tmp_path / "other" / "w.emulator"],
        [],
    ]
    (tmp_path / "file").touch()
    says = rf"Can't make the folder '{tmp_path}/file/deep': .* another folder"
    with pytest.raises(OSError, match=says):
        check_writable(tmp_path / "file" / "deep" / "w.emulator")


@pytest.mark.parametrize(
    "entry",
    [
        "ages",
        "metallicities",
        "spectra/wavelength",
        "spectra/incident",
        "lines/wavelength",
        "lines/luminosity",
        "lines/transmitted",
    ],
)
def test_units_of_a_grid_are_not_evaluated(analytic_grid, tmp_path, entry):
    path, touched = tmp_path / "g.hdf5", tmp_path / "touched"
    shutil.copy(analytic_grid, path)
    with h5py.File(path, "r+") as hdf:
        hdf[entry if "/" in entry else f"axes/{entry}"].attrs["Units"] = (
            f"__import__('pathlib').Path('{touched}').touch()"
        )
    with (
        pytest.raises(GridError, match=f"{entry}.* can't be read: .* is no"),
        open_hdf5(path) as hdf,
    ):
        read_header(hdf, path)
    assert not touched.exists()


def _without_axes(hdf):
    for name in list(hdf["axes"]):
        hdf[name] = hdf[f"axes/{name}"][...]
    del hdf["axes"], hdf.attrs["axes"]


def _with_logarithms(hdf):
    hdf["axes/log10ages"] = np.log10(hdf["axes/ages"][...])
    hdf.attrs["axes"] = ["log10ages", "metallicities"]


def _of_agn(hdf):
    hdf["axes/log10masses"] = np.linspace(6.0, 9.0, 12)
    hdf["axes/accretion_rates_eddington"] = np.linspace(0.1, 1.0, 6)
    hdf.attrs["axes"] = ["log10masses", "accretion_rates_eddington"]
    hdf["spectra/normalisation"] = np.ones((12, 6))


def _with_lines_in_groups(hdf):
    names = hdf["lines/id"][...]
    luminosity = hdf["lines/luminosity"][...]
    del hdf["lines"]
    for i, name in enumerate(names):
        hdf[f"lines/{name.decode()}/luminosity"] = luminosity[..., i]


@pytest.mark.parametrize(
    "age", [_without_axes, _with_logarithms, _of_agn, _with_lines_in_groups]
)
def test_an_old_grid_is_called_outdated(age, analytic_grid):
    """Synthesizer does not read it either."""
    with h5py.File(analytic_grid, "r+") as hdf:
        age(hdf)
    with pytest.raises((GridError, KeyError)):
        Grid("analytic", grid_dir=analytic_grid.parent)
    with pytest.raises(GridError, match=r"outdated format.*download it again"):
        build(analytic_grid)


BAD_NUMBERS = [
    ("star_fraction", np.nan, r"not finite at ages\[11\] = 1e\+10"),
    ("star_fraction", -1.0, r"negative value at ages\[11\] = 1e\+10"),
    ("star_fraction", -np.inf, "not finite at"),
    (f"{IONISING}/HI", np.nan, r"not finite at .*metallicities\[5\] = 0.04"),
    (f"{IONISING}/HI", np.inf, "not finite at"),
    ("axes/ages", np.nan, "finite and strictly ascending"),
    ("axes/ages", np.inf, "finite and strictly ascending"),
    ("spectra/wavelength", np.nan, "finite and positive"),
    ("spectra/wavelength", np.inf, "finite and positive"),
    ("lines/wavelength", np.nan, "finite and positive"),
    ("lines/wavelength", -1.0, "finite and positive"),
]


@pytest.mark.parametrize(("entry", "value", "message"), BAD_NUMBERS)
def test_numbers_that_no_grid_has(analytic_grid, entry, value, message):
    with h5py.File(analytic_grid, "r+") as hdf:
        dataset = hdf[entry]
        dataset[(-1,) * dataset.ndim] = value
    name = entry.split("/")[-1]
    with pytest.raises(GridError, match=rf"{name}'.*{message}.* again"):
        NativeGrid.open(analytic_grid)


def _transposed(hdf, entry):
    return hdf[entry][...].T


def _shorter(hdf, entry):
    return hdf[entry][:-1]


def _deeper(hdf, entry):
    return hdf[entry][...][..., None]


@pytest.mark.parametrize("change", [_transposed, _shorter, _deeper])
@pytest.mark.parametrize(
    "entry",
    ["star_fraction", f"{IONISING}/HI", "lines/id", "lines/wavelength"],
)
def test_lengths_that_do_not_fit(analytic_grid, entry, change):
    with h5py.File(analytic_grid, "r+") as hdf:
        wrong = change(hdf, entry)
        if wrong.shape == hdf[entry].shape:
            return
        del hdf[entry]
        hdf[entry] = wrong
    with pytest.raises(GridError, match=r"analytic.hdf5.* again"):
        NativeGrid.open(analytic_grid)


@pytest.mark.parametrize(
    ("entry", "units", "message"),
    [
        ("spectra/wavelength", "Gyr", "units of length, got 'Gyr'"),
        ("lines/wavelength", "erg", "units of length, got 'erg'"),
        (
            "lines/luminosity",
            "Gyr",
            "in 'Gyr', which can't be converted to 'erg/s'",
        ),
        ("lines/transmitted", "erg/s", "can't be converted to 'erg/s/Hz'"),
        (
            "lines/nebular_continuum",
            "None",
            "can't be converted to 'erg/s/Hz'",
        ),
    ],
)
def test_units_that_can_not_be_converted(analytic_grid, entry, units, message):
    with h5py.File(analytic_grid, "r+") as hdf:
        hdf[entry].attrs["Units"] = units
    with pytest.raises(GridError, match=rf"{entry}'.* {message}.* again"):
        NativeGrid.open(analytic_grid)


def test_no_photons_are_no_fault(analytic_grid):
    with h5py.File(analytic_grid, "r+") as hdf:
        hdf[f"{IONISING}/HI"][0, 0] = -np.inf
    assert np.isneginf(
        NativeGrid.open(analytic_grid).header.stored[f"{IONISING}/HI"]
    )[0, 0]


WRONG_ENTRIES = [
    lambda hdf, name: hdf.create_group(name),
    lambda hdf, name: hdf.__setitem__(name, "text"),
    lambda hdf, name: hdf.__setitem__(name, np.ones(12, complex)),
    lambda hdf, name: hdf.__setitem__(name, np.ones(12, "f4,f4")),
    lambda hdf, name: hdf.create_dataset(name, (12,), h5py.ref_dtype),
    lambda hdf, name: hdf.__setitem__(name, h5py.Empty("f4")),
    lambda hdf, name: hdf.__setitem__(name, np.ones((2, 2, 2, 2))),
    lambda hdf, name: hdf.__setitem__(name, 1.0),
    lambda hdf, name: None,
]


@pytest.mark.parametrize("replace_by", WRONG_ENTRIES)
def test_nothing_else_in_place_of_an_array(analytic_grid, replace_by):
    whole = analytic_grid.read_bytes()
    header = NativeGrid.open(analytic_grid).header
    for name in (
        "axes/ages",
        "spectra/wavelength",
        "spectra/incident",
        "lines/id",
        "lines/wavelength",
        "lines/luminosity",
        f"{IONISING}/HI",
        "star_fraction",
    ):
        analytic_grid.write_bytes(whole)
        with h5py.File(analytic_grid, "r+") as hdf:
            del hdf[name]
            replace_by(hdf, name)
            missing = name not in hdf
        if missing and name in (f"{IONISING}/HI", "star_fraction"):
            continue  # a grid may have none
        if missing and name == "lines/luminosity":
            continue  # which makes it a grid without lines
        with pytest.raises(GridError, match=r"analytic\.hdf5"):
            NativeGrid.open(analytic_grid)
            for emission in header.units:
                NativeGrid(analytic_grid, header).read(emission)


WRONG_VALUES = [
    h5py.Empty("f4"),
    np.ones(3),
    np.ones(2, "f4,f4"),
    1.5,
    np.array([["x", "y"]], "S"),
    b"\xff\xfe",
]


@pytest.mark.parametrize("wrong", WRONG_VALUES, ids=str)
def test_nothing_else_in_place_of_an_attribute(analytic_grid, wrong):
    whole = analytic_grid.read_bytes()
    for entry, name in (
        ("/", "axes"),
        ("/", "WeightVariable"),
        ("axes/ages", "Units"),
        ("axes/ages", "log_on_read"),
        ("spectra/wavelength", "Units"),
        ("spectra/incident", "Units"),
        ("lines/wavelength", "Units"),
        ("lines/luminosity", "Units"),
    ):
        analytic_grid.write_bytes(whole)
        with h5py.File(analytic_grid, "r+") as hdf:
            hdf[entry].attrs[name] = wrong
        with pytest.raises(GridError, match=r"analytic\.hdf5"):
            NativeGrid.open(analytic_grid)


def test_a_damaged_grid_has_one_error(analytic_grid):
    """Whatever HDF5 makes of it; where it sees nothing, so do we not."""
    whole = analytic_grid.read_bytes()
    rng = np.random.default_rng(0)
    refused = 0
    for _ in range(40):
        start, size = rng.integers(len(whole)), rng.integers(len(whole))
        damaged = bytearray(whole)
        damaged[start : start + size] = bytes(size)
        analytic_grid.write_bytes(damaged[: len(whole)])
        try:
            native = NativeGrid.open(analytic_grid)
            for emission in native.header.units:
                native.read(emission)
        except GridError as error:
            refused += 1
            assert "analytic.hdf5" in str(error)
    assert refused > 10


def test_native_arrays_are_read_whole_by_node_or_in_blocks(analytic_grid):
    native = NativeGrid.open(analytic_grid)
    assert native.name == "analytic"
    for emission in ("spectra/incident", "lines/luminosity"):
        values = native.read(emission)
        assert values.shape == native.shape_of(emission)
        nodes = [(0, 1), (3, 2)]
        np.testing.assert_array_equal(
            native.read_nodes(emission, nodes),
            [values[node] for node in nodes],
        )
        np.testing.assert_array_equal(
            native.read(emission, (slice(2), 1)), values[:2, 1]
        )
        parts = list(native.read_blocks(emission))
        np.testing.assert_array_equal(
            np.concatenate([block for _, block in parts]), values
        )
        for where, block in parts:
            np.testing.assert_array_equal(values[where], block)
