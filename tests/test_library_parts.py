"""Libraries in parts, with galaxies that are plain numbers."""

import signal
import subprocess
import sys
import time
from pathlib import Path

import h5py
import numpy as np
import pytest
from synthesizer.exceptions import InconsistentArguments

from synthesizer_emulator.library.parts import (
    Parts,
    collect,
    write_parts,
)

ABOUT = {"filters": ["a", "b"], "seed": 3}


def begin(folder, n=25, size=10, about=ABOUT):
    return Parts.begin(folder, n, size, about)


def make(which):
    """Return what can be checked by eye: each galaxy's own number."""
    index = np.arange(which.start, which.stop, dtype=float)
    return {"parameters/mass": index, "photometry": index[:, None] * [1, 10]}


def make_with_bad(which):
    arrays = make(which)
    index = arrays["parameters/mass"]
    arrays["photometry"][np.isin(index, [3, 17]), 1] = np.nan
    return arrays


def joined(collection, name):
    parts = list(collection.read(name))
    assert [which.start for which, _ in parts] == [
        0,
        *np.cumsum([len(values) for _, values in parts])[:-1],
    ]
    return np.concatenate([values for _, values in parts])


def test_parts_make_the_whole(tmp_path):
    parts = begin(tmp_path / "parts")
    write_parts(parts, make, progress=False)
    collection = collect(parts.folder)
    assert collection.kept.tolist() == list(range(25))
    assert not len(collection.skipped)
    expected = make(slice(0, 25))
    assert set(collection.rows) == set(expected)
    for name, values in expected.items():
        assert np.array_equal(joined(collection, name), values)
    with h5py.File(tmp_path / "whole.hdf5", "w") as hdf:
        collection.write_array(hdf, "there", "photometry")
        assert np.array_equal(hdf["there"], expected["photometry"])
        assert hdf["there"].nbytes + 25 * 8 == collection.nbytes
    # What a kill in the midst of writing leaves.
    (parts.folder / ".part-1.hdf5.abc.partial").touch()
    collection.remove()
    assert not parts.folder.exists()


@pytest.mark.parametrize("processes", [2, 3, 5])
def test_processes_make_each_galaxy_once(tmp_path, processes):
    made = []

    def noted(which):
        made.extend(range(which.start, which.stop))
        return make(which)

    for process in range(processes):
        parts = begin(tmp_path / "parts", n=47, size=4)
        write_parts(
            parts, noted, process=process, processes=processes, progress=False
        )
    assert sorted(made) == list(range(47))
    collection = collect(tmp_path / "parts")
    assert np.array_equal(
        joined(collection, "photometry"), make(slice(0, 47))["photometry"]
    )


def test_machines_without_a_common_disk(tmp_path):
    folders = [tmp_path / "one", tmp_path / "two"]
    for process, folder in enumerate(folders):
        write_parts(
            begin(folder), make, process=process, processes=2, progress=False
        )
    with pytest.raises(InconsistentArguments, match="10 lack: 10 to 19"):
        collect(folders[0])
    collection = collect(folders)
    assert np.array_equal(
        joined(collection, "parameters/mass"), np.arange(25.0)
    )
    collection.remove()
    assert not any(tmp_path.iterdir())


def test_bad_galaxies_are_refused_by_number(tmp_path):
    parts = begin(tmp_path / "parts", n=40)
    with pytest.raises(InconsistentArguments, match=r"1 galaxies .*: 3\."):
        write_parts(parts, make_with_bad, progress=False)
    assert not parts.is_written(slice(0, 10))


def test_bad_galaxies_are_skipped(tmp_path):
    parts = begin(tmp_path / "parts", n=40)
    write_parts(parts, make_with_bad, on_bad="skip", progress=False)
    collection = collect(parts.folder)
    assert collection.skipped.tolist() == [3, 17]
    kept = [i for i in range(40) if i not in (3, 17)]
    assert collection.kept.tolist() == kept
    assert joined(collection, "parameters/mass").tolist() == kept
    assert np.isfinite(joined(collection, "photometry")).all()
    with pytest.raises(InconsistentArguments, match=r"2 galaxies .*: 3, 17"):
        collect(parts.folder, on_bad="refuse")


def test_what_is_written_is_not_made_again(tmp_path):
    parts = begin(tmp_path / "parts")
    asked = []

    def interrupted(which):
        asked.append(which.start)
        if which.start == 10 and len(asked) == 2:
            raise KeyboardInterrupt
        return make(which)

    with pytest.raises(KeyboardInterrupt):
        write_parts(parts, interrupted, progress=False)
    # What is not whole counts as not there.
    damaged = parts.folder / "part-000000000010-000000000020.hdf5"
    damaged.write_text("half")
    write_parts(begin(tmp_path / "parts", size=7), interrupted, progress=False)
    assert asked == [0, 10, 10, 20]
    assert np.array_equal(
        joined(collect(parts.folder), "parameters/mass"), np.arange(25.0)
    )


def test_after_a_kill_nothing_is_lost_or_double(tmp_path):
    """A process killed for good, somewhere between its parts."""
    script = f"""
import time, pathlib, test_library_parts as here
def slowly(which):
    time.sleep(0.2)
    return here.make(which)
parts = here.begin(pathlib.Path({str(tmp_path / "parts")!r}), 300, 2)
here.write_parts(parts, slowly, progress=False)
"""
    process = subprocess.Popen(
        [sys.executable, "-c", script], cwd=Path(__file__).parent
    )
    deadline = time.monotonic() + 60
    while len(list(tmp_path.glob("parts/part-*"))) < 3:
        assert process.poll() is None and time.monotonic() < deadline
        time.sleep(0.02)
    process.send_signal(signal.SIGKILL)
    assert process.wait() == -signal.SIGKILL
    before = {
        p.name: p.stat().st_mtime_ns for p in tmp_path.glob("parts/part-*")
    }
    assert 3 <= len(before) < 100
    parts = begin(tmp_path / "parts", 300, 2)
    write_parts(parts, make, progress=False)
    for name, written in before.items():
        assert (parts.folder / name).stat().st_mtime_ns == written
    collection = collect(parts.folder)
    assert np.array_equal(
        joined(collection, "parameters/mass"), np.arange(300.0)
    )


def test_parts_of_another_library_are_refused(tmp_path):
    parts = begin(tmp_path / "parts")
    write_parts(parts, make, progress=False)
    with pytest.raises(InconsistentArguments, match=r"differs in: seed"):
        begin(tmp_path / "parts", about={**ABOUT, "seed": 4})
    with pytest.raises(InconsistentArguments, match=r"differs in: n"):
        begin(tmp_path / "parts", n=26)
    other = begin(tmp_path / "other", about={"seed": 3})
    with pytest.raises(InconsistentArguments, match=r"differ in: filters"):
        collect([parts.folder, other.folder])
    write_parts(other, make, progress=False)
    stray = next(other.folder.glob("part-*"))
    stray.replace(parts.folder / "stray.hdf5")
    with pytest.raises(InconsistentArguments, match="of another library"):
        collect(parts.folder)


def test_galaxies_that_are_there_twice_are_named(tmp_path):
    write_parts(begin(tmp_path / "parts"), make, progress=False)
    again = begin(tmp_path / "again", size=25)
    write_parts(again, make, progress=False)
    with pytest.raises(InconsistentArguments, match="twice: 0 to 9, 10 to 19"):
        collect([tmp_path / "parts", tmp_path / "again"])


def test_mistakes(tmp_path):
    with pytest.raises(InconsistentArguments, match="is no folder of a lib"):
        collect(tmp_path)
    with pytest.raises(InconsistentArguments, match="number of galaxies"):
        begin(tmp_path / "none", n=0)
    parts = begin(tmp_path / "parts")
    with pytest.raises(InconsistentArguments, match="one of 0 to 1, got 2"):
        write_parts(parts, make, process=2, processes=2)
    with pytest.raises(InconsistentArguments, match="refuse, skip"):
        write_parts(parts, make, on_bad="keep")
    (parts.folder / "x.hdf5").write_text("nonsense")
    with pytest.raises(InconsistentArguments, match=r"x.hdf5.* or damaged"):
        collect(parts.folder)
