"""Libraries in parts, with galaxies that are plain numbers."""

import signal
import subprocess
import sys
import time
from pathlib import Path

import h5py
import numpy as np
import pytest
from synthesizer.exceptions import GridError, InconsistentArguments

from synthesizer_emulator.files.hdf5 import open_hdf5
from synthesizer_emulator.files.sealed import write_sealed
from synthesizer_emulator.library import LibraryFile, merge
from synthesizer_emulator.library.collection import collect
from synthesizer_emulator.library.parts import Parts, of_users, write_parts

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


def test_parts_hold_all_galaxies(tmp_path):
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
    with pytest.raises(InconsistentArguments, match="10 are missing: 10 "):
        collect(folders[0])
    collection = collect(folders)
    assert np.array_equal(
        joined(collection, "parameters/mass"), np.arange(25.0)
    )
    collection.remove()
    assert not any(tmp_path.iterdir())


def test_bad_galaxies_are_refused_by_number(tmp_path):
    parts = begin(tmp_path / "parts", n=40)
    with pytest.raises(
        InconsistentArguments,
        match=r"1 galaxies .* of photometry that are not finite: 3\.",
    ):
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


def test_written_parts_are_not_made_again(tmp_path):
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


@pytest.mark.slow
def test_after_a_kill_nothing_is_lost_or_double(tmp_path):
    """A process killed for good, somewhere between its parts."""
    script = f"""
import time, pathlib, test_parts as here
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
    assert of_users(["parameters", "quantiles"]) == ["parameters"]
    # The class of a prior may change with the same arguments.
    assert of_users(["seed", "quantiles"]) == ["seed", "quantiles"]
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
    with pytest.raises(
        InconsistentArguments, match="must be a folder of parts"
    ):
        collect(tmp_path)
    with pytest.raises(InconsistentArguments, match="number of galaxies"):
        begin(tmp_path / "none", n=0)
    parts = begin(tmp_path / "parts")
    with pytest.raises(
        InconsistentArguments, match="a number from 0 to 1, got 2"
    ):
        write_parts(parts, make, process=2, processes=2)
    with pytest.raises(InconsistentArguments, match="refuse, skip"):
        write_parts(parts, make, on_bad="keep")
    (parts.folder / "x.hdf5").write_text("nonsense")
    with pytest.raises(InconsistentArguments, match=r"x.hdf5.* or is damaged"):
        collect(parts.folder)


def some_part(parts, i=1):
    return parts.path(parts.ranges()[i])


DAMAGES = {
    "cut off": lambda b: b[: len(b) // 2],
    "empty": lambda b: b"",
    "no HDF5": lambda b: b"nonsense",
    "without its seal": lambda b: b"x" + b[1:],
    **{
        f"a bit at {share}": lambda b, share=share: bytes(
            x ^ (8 if i == int(share * len(b)) else 0) for i, x in enumerate(b)
        )
        for share in (0.01, 0.2, 0.5, 0.9, 0.999)
    },
}


@pytest.mark.parametrize("damage", DAMAGES)
def test_a_damaged_part_is_named_and_made_again(tmp_path, damage):
    parts = begin(tmp_path / "parts")
    write_parts(parts, make, progress=False)
    path = some_part(parts)
    whole = path.read_bytes()
    path.write_bytes(DAMAGES[damage](whole))
    with pytest.raises(
        InconsistentArguments, match=f"{path.name}.*part again"
    ):
        collect(parts.folder)
    made = []

    def noted(which):
        made.append(which)
        return make(which)

    with pytest.warns(RuntimeWarning, match=path.stem[:10]):
        write_parts(begin(parts.folder), noted, progress=False)
    assert made == [slice(10, 20)]
    assert path.read_bytes() == whole
    collect(parts.folder)


@pytest.mark.parametrize("damage", DAMAGES)
def test_a_damaged_plan_is_mended(tmp_path, damage):
    parts = begin(tmp_path / "parts")
    write_parts(parts, make, progress=False)
    plan = parts.folder / "plan.json"
    whole = plan.read_bytes()
    damaged = DAMAGES[damage](whole)
    plan.write_bytes(damaged)
    with pytest.raises(GridError, match=r"plan.json' is damaged.*make it ag"):
        collect(parts.folder)
    with pytest.warns(RuntimeWarning, match="plan.json"):
        mended = begin(parts.folder)
    assert plan.read_bytes() == whole
    write_parts(mended, lambda _: pytest.fail("made again"), progress=False)
    collect(parts.folder)
    # Parts that another size had made don't fit, and go.
    plan.write_bytes(damaged)
    with pytest.warns(RuntimeWarning, match="plan.json"):
        other = begin(parts.folder, size=7)
    write_parts(other, make, progress=False)
    collection = collect(parts.folder)
    assert joined(collection, "parameters/mass").tolist() == list(range(25))
    # Of another library they are refused.
    plan.write_bytes(damaged)
    with (
        pytest.warns(RuntimeWarning, match="plan.json"),
        pytest.raises(InconsistentArguments, match="of another library"),
    ):
        begin(parts.folder, n=26)


def test_a_library_without_galaxies_gives_way_to_another(tmp_path):
    begin(tmp_path / "parts", n=26)
    parts = begin(tmp_path / "parts")
    write_parts(parts, make, progress=False)
    assert len(collect(parts.folder).kept) == 25


_WORK = """
import pathlib, sys, test_parts as here
def make(which):
    print("at work", flush=True)
    sys.stdin.read()
parts = here.begin(pathlib.Path(sys.argv[1]))
here.write_parts(parts, make, process=0, processes=2, progress=False)
"""


@pytest.mark.slow
def test_a_second_run_is_told_of_the_first(tmp_path):
    folder = tmp_path / "parts"
    other = subprocess.Popen(
        [sys.executable, "-c", _WORK, str(folder)],
        cwd=Path(__file__).parent,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    assert other.stdout.readline() == "at work\n"
    parts = begin(folder)
    at_work = "Process 0 of 2 is already running in .* wait until"
    with pytest.raises(OSError, match=at_work):
        write_parts(parts, make, process=0, processes=2, progress=False)
    # So is one that would make all parts, or put them together.
    with pytest.raises(OSError, match=at_work):
        write_parts(parts, make, progress=False)
    with pytest.raises(OSError, match=at_work):
        merge(folder, tmp_path / "library.hdf5")
    # Another library doesn't take the folder either.
    with pytest.raises(OSError, match=at_work):
        begin(folder, n=26)
    # The other process of the two may be at it, too.
    write_parts(parts, make, process=1, processes=2, progress=False)
    other.kill()
    other.communicate()
    write_parts(parts, make, progress=False)
    assert merge(folder, tmp_path / "library.hdf5").galaxies == 25
    assert [p.name for p in tmp_path.iterdir()] == ["library.hdf5"]


def other_library(folder):
    write_parts(begin(folder / "other", n=3), make, progress=False)
    merge(folder / "other", folder / "library.hdf5")


def other_hdf5(folder):
    with h5py.File(folder / "library.hdf5", "w") as hdf:
        hdf["spectra/incident"] = np.ones(3)


def other_text(folder):
    (folder / "library.hdf5").write_text("my notes")


@pytest.mark.parametrize("write", [other_library, other_hdf5, other_text])
def test_no_other_file_is_replaced(tmp_path, write):
    write(tmp_path)
    path = tmp_path / "library.hdf5"
    before = path.read_bytes()
    parts = begin(tmp_path / "library.parts")
    write_parts(parts, make, progress=False)
    with pytest.raises(InconsistentArguments, match=r"exists and is .* choo"):
        merge(parts.folder)
    assert path.read_bytes() == before
    assert len(collect(parts.folder).kept) == 25


def test_parts_go_when_the_file_is_on_the_disk_and_right(
    tmp_path, monkeypatch
):
    parts = begin(tmp_path / "library.parts")
    write_parts(parts, make, progress=False)
    path = tmp_path / "library.hdf5"

    def failing(handle):
        raise OSError("no such luck")

    with monkeypatch.context() as patch:
        patch.setattr("synthesizer_emulator.files.writing.os.fsync", failing)
        with pytest.raises(OSError, match="no such luck"):
            merge(parts.folder)
    assert not path.exists()
    merged = merge(parts.folder)
    assert merged.galaxies == 25
    # A file that came out wrong is not worth its parts.
    write_parts(begin(parts.folder), make, progress=False)
    with h5py.File(path, "r+") as hdf:
        hdf["photometry"][7, 1] += 1.0
    with pytest.raises(GridError, match="'photometry' differs from the parts"):
        merge(parts.folder)
    assert len(collect(parts.folder).kept) == 25


@pytest.mark.parametrize("left", ["all", "one", "damaged", "plan", "empty"])
def test_a_merge_that_was_killed_while_deleting_ends(tmp_path, left):
    parts = begin(tmp_path / "library.parts")
    write_parts(parts, make_with_bad, on_bad="skip", progress=False)
    merge(parts.folder)
    path = tmp_path / "library.hdf5"
    before = path.read_bytes()
    parts = begin(parts.folder)
    if left in ("all", "one", "damaged"):
        write_parts(parts, make_with_bad, on_bad="skip", progress=False)
    if left in ("one", "damaged"):
        some_part(parts, 0).unlink()
        some_part(parts, 2).unlink()
    if left == "damaged":
        some_part(parts).write_bytes(b"")
    if left == "empty":
        (parts.folder / "plan.json").unlink()
    assert merge(parts.folder).galaxies == 23
    assert path.read_bytes() == before
    assert list(tmp_path.iterdir()) == [path]
    # And when nothing at all is left.
    assert merge(parts.folder).galaxies == 23


@pytest.mark.parametrize(
    "damage",
    [
        lambda hdf: hdf.__delitem__("galaxies"),
        lambda hdf: hdf.attrs.__delitem__("digest"),
        lambda hdf: hdf.attrs.__setitem__("about", "{"),
        lambda hdf: hdf.attrs.__setitem__("about", "[]"),
        lambda hdf: hdf.attrs.__setitem__("about", "[" * 100_000),
        lambda hdf: hdf.attrs.__setitem__("about", 3),
        lambda hdf: hdf.attrs.__setitem__("format", [1, 2]),
    ],
)
def test_a_damaged_library_file_has_the_packages_own_error(tmp_path, damage):
    write_parts(begin(tmp_path / "library.parts"), make, progress=False)
    path = merge(tmp_path / "library.parts").path
    with h5py.File(path, "r+") as hdf:
        damage(hdf)
    with pytest.raises(
        GridError, match=r"library.hdf5' is (damaged|not a lib)"
    ):
        LibraryFile.open(path)


@pytest.mark.parametrize(
    "spoil",
    [
        lambda hdf: hdf.attrs.__setitem__("stop", 99),
        lambda hdf: _replaced(hdf, "bad", np.array([b"no"] * 3)),
        lambda hdf: _replaced(hdf, "bad", np.zeros(2, np.bool_)),
        lambda hdf: _replaced(hdf, "arrays/x", np.zeros(2)),
        lambda hdf: _replaced(hdf, "arrays/x", 1.0),
    ],
)
def test_a_part_with_a_checksum_is_read_with_care(tmp_path, spoil):
    """Its checksum says that it is whole, not that it makes sense."""
    parts = Parts.begin(tmp_path / "a", 3, 3, {})
    parts.write(slice(0, 3), {"x": np.zeros(3)}, np.zeros(3, np.bool_))
    (path,) = parts.folder.glob("*.hdf5")
    with open_hdf5(path) as old, write_sealed(tmp_path / "new") as new:
        for name in old:
            old.copy(name, new)
        new.attrs.update(old.attrs)
        spoil(new)
    (tmp_path / "new").replace(path)
    with pytest.raises(InconsistentArguments, match=f"{path.name}' is not"):
        collect(parts.folder)


def _replaced(hdf, name, value):
    del hdf[name]
    hdf[name] = value


def test_a_folder_given_twice_is_not_two(tmp_path):
    parts = Parts.begin(tmp_path / "a", 3, 3, {})
    parts.write(slice(0, 3), {"x": np.zeros(3)}, np.zeros(3, np.bool_))
    with pytest.raises(InconsistentArguments, match="once each, got"):
        collect([parts.folder, tmp_path / "b" / ".." / "a"])
    with pytest.raises(InconsistentArguments, match="got none"):
        collect([])
