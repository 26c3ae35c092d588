import copy
import pickle
import shutil
import subprocess
import sys

import numpy as np
import pytest
from synthesizer import Grid as SameGrid
from synthesizer.exceptions import GridError, InconsistentArguments
from synthesizer.grid import Grid

from synthesizer_emulator import EmulatedGrid, emulated_grids
from synthesizer_emulator.grid import swap
from synthesizer_emulator.grid.emulated_grid import (
    EXAMPLE_NAME,
    example_folder,
)
from synthesizer_emulator.grid.swap import run_script
from synthesizer_emulator.weights.file import SUFFIX


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


PROBES = {
    "globals": """
import os, sys
for name, value in globals().copy().items():
    plain = isinstance(value, (str, dict, type(None)))
    print(name, value if plain else type(value))
print(__loader__.name, __loader__.path, __loader__.is_package("__main__"))
print(sys.argv, sys.orig_argv, sys.path)
code = sys._getframe().f_code
print(code.co_filename, code.co_name, code.co_flags)
print(sys.modules["__main__"].__dict__ is globals())
os.chdir("/")
print(os.path.exists(__file__))
""",
    "pickles": """
import dataclasses, pickle, typing
@dataclasses.dataclass
class Mine:
    x: "int"
print(pickle.loads(pickle.dumps(Mine(1))), Mine.__module__)
print(typing.get_type_hints(Mine))
""",
    "spawned": """
import multiprocessing
def square(x):
    return x * x, __name__
if __name__ == "__main__":
    with multiprocessing.get_context("spawn").Pool(1) as pool:
        print(pool.map(square, [3]), __name__)
""",
    "threads": """
import atexit, threading, time
def late():
    time.sleep(0.05)
    print("late", __name__)
threading.Thread(target=late).start()
atexit.register(lambda: print("at exit", __name__))
""",
    "environment": """
import os, sys
heavy = {"jax", "numpy", "synthesizer"}
print(sorted(heavy & set(sys.modules)))
""",
    "trace": """
def inner():
    try:
        {}["a"]
    except KeyError as error:
        raise OSError("wrong") from error
inner()
""",
    "syntax": "x ===",
    "encoding": "# coding: latin-1\nprint('\xe9')",
    "hook": """
import sys
sys.excepthook = lambda kind, error, trace: print("mine", kind, error)
raise BaseException("mine")
""",
    "exit": "import sys; sys.exit(3)",
    "message": "raise SystemExit('farewell')",
    "interrupted": """
import atexit
atexit.register(print, "cleaned")
print("begun")
raise KeyboardInterrupt
""",
    "pipe": "raise BrokenPipeError(32, 'broken')",
    "abort": "raise EOFError",
    "click": "import click; raise click.UsageError('theirs')",
    "forked": """
import os, sys
if os.fork() == 0:
    sys.exit(0)
os.wait()
""",
}


MAIN = "from synthesizer_emulator.cli.main import main; main()"
RUN = [sys.executable, "-c", MAIN, "run"]


def outcome(command, folder, arguments):
    """Return the exit code and output of a script, without the report."""
    done = subprocess.run(
        [*command, "./link.py", *arguments],
        cwd=folder,
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )
    said = done.stderr.replace(f"{swap.Swaps()}\n", "", 1)
    return done.returncode, done.stdout, said


@pytest.mark.parametrize("probe", PROBES)
def test_a_script_can_not_tell_that_it_runs_here(probe, tmp_path):
    """The outside truth is Python itself."""
    (tmp_path / "real").mkdir()
    script = tmp_path / "real" / "script.py"
    script.write_text(PROBES[probe], encoding="latin-1")
    (tmp_path / "link.py").symlink_to(script)
    arguments = ["--help", "--", "-x", "a b"]
    python = outcome([sys.executable], tmp_path, arguments)
    ours = outcome(RUN, tmp_path, arguments)
    assert ours == python


@pytest.mark.slow
def test_a_spawned_process_has_emulated_grids(folder, tmp_path):
    script = tmp_path / "script.py"
    script.write_text(f"""
import multiprocessing
from synthesizer import Grid

def kind(name):
    return type(Grid(name, {str(folder)!r})).__name__

if __name__ == "__main__":
    with multiprocessing.get_context("spawn").Pool(1) as pool:
        print(pool.map(kind, [{EXAMPLE_NAME!r}, "other"]))
""")
    done = subprocess.run(
        [*RUN, script],
        capture_output=True,
        text=True,
        check=True,
        timeout=120,
    )
    assert done.stdout == "['EmulatedGrid', 'Grid']\n"


@pytest.mark.parametrize("inside", [True, False])
def test_a_grid_that_is_not_there_has_similar_ones(folder, tmp_path, inside):
    with emulated_grids() as swaps, pytest.raises(FileNotFoundError):
        Grid("bc03-exmaple", folder if inside else tmp_path)
    assert str(swaps).endswith(
        "; not loaded: bc03-exmaple. Did you mean 'bc03-example'?"
    )


def test_what_did_not_load_is_called_neither(folder):
    (folder / f"broken{SUFFIX}").write_bytes(b"nothing")
    with emulated_grids() as swaps:
        for name in ("nosuch", "broken"):
            with pytest.raises((GridError, FileNotFoundError)):
                Grid(name, folder)
        with pytest.raises(InconsistentArguments):
            Grid("other", folder, spectra_to_read="incident")
        Grid(EXAMPLE_NAME, folder)
    assert swaps.emulated == [EXAMPLE_NAME]
    assert swaps.native == []
    assert str(swaps).endswith("; not loaded: nosuch, broken, other.")
    with emulated_grids() as swaps:
        with pytest.raises(InconsistentArguments):
            Grid("other", folder, spectra_to_read="incident")
        Grid("other", folder)
    assert (swaps.native, swaps.failed) == (["other"], [])
