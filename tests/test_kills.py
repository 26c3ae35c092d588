"""Builds, libraries and merges that are killed again and again.

Processes of a fork server, which has imported all that takes long, die of
SIGKILL at a seeded one of the moments at which they touch a file. The next
takes up what they left. What comes out at the end is bit for bit what an
undisturbed process makes, and nothing else is left.
"""

import multiprocessing
import os
import shutil
import signal
import sys
from dataclasses import replace

import jax
import numpy as np
import pytest
from conftest import write_analytic_grid
from synthesizer.emission_models import IncidentEmission
from synthesizer.grid import Grid
from unyt import Gyr

from synthesizer_emulator import build
from synthesizer_emulator.building import progress
from synthesizer_emulator.library import (
    Draws,
    History,
    Library,
    Uniform,
    merge,
)
from synthesizer_emulator.weights.file import read_weights

pytestmark = pytest.mark.slow

KILLS = 5
SIZES = {"gas": False, "n_ages": 6, "n_metals": 3}

# What Python says of files, before it does it.
_TOUCHES = (
    "fcntl.flock",
    "open",
    "os.chmod",
    "os.mkdir",
    "os.remove",
    "os.rename",
    "os.rmdir",
)


def run_build(folder):
    """Build a small grid, saving at every look."""
    progress.SAVE_EVERY = 0.0
    build(
        folder / "grid.hdf5",
        settings={"hidden": [8]},
        training={"epochs": 30, "check_every": 10},
        progress=False,
    )


def write(folder, **kwargs):
    """Write a small library, in parts of one galaxy each."""
    grid = Grid("grid", grid_dir=folder.parent)
    library = Library(
        IncidentEmission(grid),
        sf_hist=History("Constant", {"max_age": 1 * Gyr}),
        metal_dist=History("DeltaConstant", {"metallicity": 0.01}),
        stars={"log10initial_mass": Uniform(8, 12)},
        draws=Draws(6, seed=3),
        outputs=["lnu"],
    )
    path = folder / "library.hdf5"
    return library.write(path, part_size=1, progress=False, **kwargs)


def run_merge(folder):
    """Merge the parts that are there."""
    merge(folder / "library.parts")


RUNS = {"build": run_build, "library": write, "merge": run_merge}


def killed(task, folder, cache, moment):
    """Run a task, until a file is touched for a certain time."""
    jax.config.update("jax_compilation_cache_dir", str(cache))
    jax.config.update("jax_persistent_cache_min_compile_time_secs", 0.0)
    jax.config.update("jax_persistent_cache_min_entry_size_bytes", -1)
    touched = 0

    def look(event, arguments):
        nonlocal touched
        if event in _TOUCHES and (
            event == "fcntl.flock" or str(folder) in str(arguments[0])
        ):
            touched += 1
            if touched == moment:
                os.kill(os.getpid(), signal.SIGKILL)

    sys.addaudithook(look)
    RUNS[task](folder)
    (cache / "touched").write_text(str(touched))


@pytest.fixture(scope="module")
def start(tmp_path_factory):
    """Return what runs a task in a process of its own, to a moment."""
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload([__name__])
    cache = tmp_path_factory.mktemp("cache")
    # The server looks for what it imports as a fresh Python does.
    patch = pytest.MonkeyPatch()
    patch.setenv("PYTHONPATH", os.pathsep.join(sys.path))

    def run(task, folder, moment=None):
        process = context.Process(
            target=killed, args=(task, folder, cache, moment)
        )
        process.start()
        process.join(300)
        assert process.exitcode in (0, -signal.SIGKILL)
        return process.exitcode == 0

    run.cache = cache
    yield run
    patch.undo()


@pytest.fixture(scope="module")
def parts(tmp_path_factory):
    """Return the folder of parts that two processes have made."""
    folder = tmp_path_factory.mktemp("made")
    write_analytic_grid(folder / "grid.hdf5", **SIZES)
    made = folder / "two"
    for process in range(2):
        write(made, process=process, processes=2)
    return made / "library.parts"


def begin(task, folder, parts):
    """Make a folder in which a task can begin."""
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir()
    if task == "merge":
        shutil.copytree(parts, folder / "library.parts")
    where = folder if task == "build" else folder.parent
    write_analytic_grid(where / "grid.hdf5", **SIZES)


def names(folder):
    """Return the names of what is in a folder."""
    return sorted(path.name for path in folder.iterdir())


def outcome(task, folder):
    """Return what a task made, but for the time that it took."""
    if task != "build":
        return (folder / "library.hdf5").read_bytes()
    weights = read_weights(folder / "grid.emulator")
    tensors = {
        (path, name): tensor.tobytes()
        for path, of in weights.tensors.items()
        for name, tensor in of.items()
    }
    return tensors, replace(weights.provenance, seconds=0.0)


@pytest.mark.slow
@pytest.mark.parametrize("task", RUNS)
def test_kills_do_not_show(task, start, parts, tmp_path):
    folder = tmp_path / "work"
    begin(task, folder, parts)
    assert start(task, folder)
    moments = int((start.cache / "touched").read_text())
    expected, left = outcome(task, folder), names(folder)
    assert len(left) == (2 if task == "build" else 1)
    begin(task, folder, parts)
    rng = np.random.default_rng(11)
    kills, finished = 0, False
    while kills < KILLS or not finished:
        moment = int(rng.integers(1, moments)) if kills < KILLS else None
        finished = start(task, folder, moment)
        kills += not finished
        if finished:
            assert outcome(task, folder) == expected
            assert names(folder) == left
            if kills < KILLS:
                begin(task, folder, parts)
