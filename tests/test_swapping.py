import copy
import pickle
import shutil

import numpy as np
import pytest
from synthesizer import Grid as SameGrid
from synthesizer.exceptions import GridError
from synthesizer.grid import Grid

from synthesizer_emulator import EmulatedGrid, emulated_grids
from synthesizer_emulator.grid import EXAMPLE_NAME, example_folder
from synthesizer_emulator.swapping import run_script
from synthesizer_emulator.weights import SUFFIX


class TheirGrid(Grid):
    """A class of a user, which stays theirs."""


@pytest.fixture
def folder(tmp_path):
    """Return a folder with weights for one grid and none for another."""
    example = example_folder()
    shutil.copy(example / f"{EXAMPLE_NAME}{SUFFIX}", tmp_path)
    shutil.copy(example / f"{EXAMPLE_NAME}.hdf5", tmp_path / "other.hdf5")
    return tmp_path


def test_where_there_are_weights_grids_are_emulated(folder):
    with emulated_grids() as swaps:
        emulated = Grid(EXAMPLE_NAME, folder, ignore_lines=True)
        again = SameGrid(grid_name=f"{EXAMPLE_NAME}.hdf5", grid_dir=folder)
        native = Grid("other", grid_dir=str(folder))
        theirs = TheirGrid("other", grid_dir=folder)
    assert type(emulated) is type(again) is EmulatedGrid
    assert not emulated.lines_available
    assert type(native) is Grid
    assert native.spectra["incident"].shape == emulated.shape
    assert type(theirs) is TheirGrid
    assert swaps.emulated == [EXAMPLE_NAME, f"{EXAMPLE_NAME}.hdf5"]
    assert swaps.native == ["other"]
    assert "native grids: other." in str(swaps)


def test_afterwards_all_is_as_before(folder):
    with pytest.raises(RuntimeError, match="stop"), emulated_grids():
        raise RuntimeError("stop")
    assert type(Grid("other", grid_dir=folder)) is Grid
    with pytest.raises(FileNotFoundError):
        Grid(EXAMPLE_NAME, grid_dir=folder)
    assert type(EmulatedGrid.example()) is EmulatedGrid


def test_blocks_nest(folder):
    with emulated_grids() as outer:
        with emulated_grids() as inner:
            Grid(EXAMPLE_NAME, grid_dir=folder)
        assert type(Grid(EXAMPLE_NAME, grid_dir=folder)) is EmulatedGrid
    assert inner.emulated == outer.emulated == [EXAMPLE_NAME]


def test_copies_within_are_what_they_were(folder):
    with emulated_grids() as swaps:
        native = Grid("other", grid_dir=folder)
        for clone in (copy.deepcopy, lambda g: pickle.loads(pickle.dumps(g))):
            assert type(clone(native)) is Grid
            assert type(clone(EmulatedGrid.example())) is EmulatedGrid
    assert swaps.native == ["other"]


def test_damaged_weights_are_not_passed_over(folder):
    (folder / f"other{SUFFIX}").write_bytes(b"nothing")
    with emulated_grids(), pytest.raises(GridError, match="can't be read"):
        Grid("other", grid_dir=folder)


SCRIPT = """
import sys
from helper import FOLDER
from synthesizer import Grid

assert __name__ == "__main__"
for name in sys.argv[1:]:
    grid = Grid(name, grid_dir=FOLDER)
    print(sys.argv[0].endswith("script.py"), type(grid).__name__)
"""


def test_an_unchanged_script(folder, tmp_path, capsys):
    script = tmp_path / "script.py"
    script.write_text(SCRIPT)
    (tmp_path / "helper.py").write_text(f"FOLDER = {str(folder)!r}")
    swaps = run_script(script, [EXAMPLE_NAME, "other"])
    assert capsys.readouterr().out == "True EmulatedGrid\nTrue Grid\n"
    assert (swaps.emulated, swaps.native) == ([EXAMPLE_NAME], ["other"])
    np.testing.assert_equal(type(Grid("other", grid_dir=folder)), Grid)
