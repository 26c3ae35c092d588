"""Weights that are published and fetched, from a server that misbehaves."""

import json
import re
import signal
import subprocess
import sys
import time
import warnings
from contextlib import nullcontext
from dataclasses import replace
from hashlib import sha256

import numpy as np
import pytest
from click.testing import CliRunner
from synthesizer.exceptions import GridError, InconsistentArguments
from weights_server import WeightsServer, serving

from synthesizer_emulator import EmulatedGrid
from synthesizer_emulator.cli.main import main
from synthesizer_emulator.distribution.card import make_card
from synthesizer_emulator.distribution.fetching import fetch
from synthesizer_emulator.distribution.registry import (
    VARIABLE,
    Registry,
    add_release,
)
from synthesizer_emulator.grid.emulated_grid import (
    EXAMPLE_NAME,
    example_folder,
)
from synthesizer_emulator.gridfile.places import SUFFIX
from synthesizer_emulator.weights.file import read_weights, write_weights

NAME = "mine-1.0_kroupa-0.1,100"
FILE = f"{NAME}{SUFFIX}"
SHIPPED = example_folder() / f"{EXAMPLE_NAME}{SUFFIX}"
CREATOR = "Payne, Cecilia"


def run(*arguments):
    return CliRunner().invoke(main, [str(a) for a in arguments])


@pytest.fixture(scope="module")
def published(tmp_path_factory):
    """Return a folder with weights, their card and a registry."""
    folder = tmp_path_factory.mktemp("published")
    (folder / FILE).write_bytes(SHIPPED.read_bytes())
    result = run(
        "card", folder / FILE, "--creator", CREATOR,
        "--registry", folder / "registry.json",
    )  # fmt: skip
    assert result.exit_code == 0, result.output
    return folder


@pytest.fixture
def server(published, monkeypatch):
    """Serve the weights; the environment names the registry."""
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    files = {f"/{p.name}": p.read_bytes() for p in published.iterdir()}
    with serving(WeightsServer(files)) as server:
        monkeypatch.setenv(VARIABLE, f"{server.url}/registry.json")
        yield server


@pytest.fixture
def grids(tmp_path, monkeypatch):
    """Return Synthesizer's grid folder, which is empty."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("SYNTHESIZER_GRID_DIR", str(tmp_path / "grids"))
    (tmp_path / "grids").mkdir()
    return tmp_path / "grids"


def downloads(server):
    """Return the ranges of the requests for the weights."""
    return [part for path, part in server.asked if path == f"/{FILE}"]


def contents(folder):
    """Return the names of all files in a folder, hidden ones too."""
    return sorted(path.name for path in folder.rglob("*"))


def test_weights_are_fetched_once(server, grids):
    # The shipped weights are the same, but have another name.
    assert run("list").output.rstrip().endswith("registry, release 1.0")
    result = run("fetch", NAME)
    assert result.exit_code == 0, result.output
    assert result.stdout == f"{grids / FILE}\n"
    assert (grids / FILE).read_bytes() == SHIPPED.read_bytes()
    assert contents(grids) == [FILE]
    assert run("fetch", NAME, "-q").exit_code == 0
    assert downloads(server) == [None]


def test_a_grid_fetches_its_weights(server, grids):
    grid = EmulatedGrid(NAME, fetch=True, ignore_lines=True)
    shipped = EmulatedGrid.example(ignore_lines=True)
    np.testing.assert_array_equal(
        grid.spectra["incident"][3, 2], shipped.spectra["incident"][3, 2]
    )
    # The second time, and without a server.
    server.files.clear()
    EmulatedGrid(NAME, fetch=True, ignore_lines=True)
    # What is at hand is not looked for anywhere.
    EmulatedGrid(EXAMPLE_NAME, fetch=True, ignore_lines=True)
    assert downloads(server) == [None]


def test_a_path_says_where_to(server, grids, tmp_path):
    EmulatedGrid(f"sub/{NAME}", fetch=True, ignore_lines=True)
    EmulatedGrid(NAME, tmp_path / "other", fetch=True, ignore_lines=True)
    assert (tmp_path / "sub" / FILE).is_file()
    assert (tmp_path / "other" / FILE).is_file()
    assert not contents(grids)


def test_a_broken_connection_is_continued(server, grids):
    third = 21 * 2**16
    server.breaks_after = third
    path = fetch(NAME, progress=False)
    assert path.read_bytes() == SHIPPED.read_bytes()
    ranges = [None, f"bytes={third}-", f"bytes={2 * third}-"]
    assert downloads(server) == ranges
    assert contents(grids) == [FILE]


def test_a_server_that_cannot_continue_sends_all(server, grids):
    server.ranges, server.breaks_after = False, 2**16
    with pytest.raises(
        OSError, match=r"after 0\.1 of 4\.0 MB. Try again: the server can only"
    ) as met:
        fetch(NAME, progress=False)
    # The bytes are kept, and a message says where.
    assert str(met.value).endswith(f"is in '{grids}/.{FILE}.fetching'.")
    assert FILE not in contents(grids)
    server.breaks_after = None
    assert fetch(NAME).read_bytes() == SHIPPED.read_bytes()
    assert downloads(server)[-1] == "bytes=65536-"


def test_no_byte_of_a_broken_connection_is_lost(server, grids):
    """Also if it breaks before a whole chunk."""
    server.breaks_after = 1_500_001
    assert fetch(NAME, progress=False).read_bytes() == SHIPPED.read_bytes()
    starts = [None, "bytes=1500001-", "bytes=3000002-"]
    assert downloads(server) == starts


def begun(folder, size):
    """Leave the first bytes of a download that was killed."""
    work = folder / f".{FILE}.fetching"
    work.mkdir()
    whole = SHIPPED.read_bytes()
    (work / f"{sha256(whole).hexdigest()}.partial").write_bytes(whole[:size])


@pytest.mark.parametrize(
    ("starts_at", "longest", "ranges"),
    [
        (None, None, ["bytes=1000001-"]),
        (None, 2_000_000, ["bytes=1000001-", "bytes=3000001-"]),
        (0, None, ["bytes=1000001-"]),
        (10, None, ["bytes=1000001-", None]),
    ],
)
def test_parts_are_where_the_server_says(
    starts_at, longest, ranges, server, grids
):
    begun(grids, 1_000_001)
    server.starts_at, server.longest = starts_at, longest
    assert fetch(NAME, progress=False).read_bytes() == SHIPPED.read_bytes()
    assert downloads(server) == ranges
    assert contents(grids) == [FILE]


@pytest.mark.slow
def test_a_killed_fetch_continues(server, grids):
    server.stalls_after = 30 * 2**16
    process = subprocess.Popen(
        [sys.executable, "-m", "synthesizer_emulator", "fetch", NAME],
        stderr=subprocess.DEVNULL,
    )
    wait_for_partial(grids, process, server.stalls_after)
    process.send_signal(signal.SIGKILL)
    process.wait()
    assert FILE not in contents(grids)
    start, server.stalls_after = server.stalls_after, None
    assert fetch(NAME).read_bytes() == SHIPPED.read_bytes()
    assert downloads(server) == [None, f"bytes={start}-"]
    assert contents(grids) == [FILE]


def wait_for_partial(folder, process, size):
    """Wait until so many bytes of a file were received."""
    end = time.monotonic() + 120.0
    while time.monotonic() < end and process.poll() is None:
        sizes = [path.stat().st_size for path in folder.rglob("*.partial")]
        if sizes == [size]:
            return
        time.sleep(0.02)
    raise AssertionError("nothing was received")


def flipped(given):
    """Return contents with one bit flipped, of the same size."""
    middle = len(given) // 2
    return given[:middle] + bytes([given[middle] ^ 1]) + given[middle + 1 :]


@pytest.mark.parametrize(
    ("damage", "error", "says"),
    [
        (flipped, GridError, r"its SHA-256 differs .*Nothing was written"),
        (
            lambda given: given[:-1],
            OSError,
            r"it has \d+ bytes, .*tell whoever",
        ),
        (lambda given: given + b"\0", OSError, r"it has \d+ bytes, but"),
        (lambda given: b"<html>Sign in</html>", OSError, "it has 20 bytes"),
    ],
)
def test_a_damaged_file_is_not_written(damage, error, says, server, grids):
    path = f"/{FILE}"
    server.files[path] = damage(server.files[path])
    with pytest.raises(error, match=says) as met:
        fetch(NAME, progress=False)
    assert f"'{server.url}{path}'" in str(met.value)
    assert not contents(grids)
    # Nor is a file that is there changed, or the damage remembered.
    (grids / FILE).write_bytes(b"mine")
    with pytest.raises(error, match=says):
        fetch(NAME, overwrite=True, progress=False)
    assert (grids / FILE).read_bytes() == b"mine"
    server.files[path] = SHIPPED.read_bytes()
    fetch(NAME, overwrite=True, progress=False)
    assert (grids / FILE).read_bytes() == SHIPPED.read_bytes()
    assert contents(grids) == [FILE]


def test_damage_of_an_earlier_attempt_is_fetched_again(server, grids):
    work = grids / f".{FILE}.fetching"
    work.mkdir()
    digest = sha256(SHIPPED.read_bytes()).hexdigest()
    (work / f"{digest}.partial").write_bytes(b"wrong")
    # Of a process that was killed.
    (work / "tmpleft").touch()
    assert fetch(NAME).read_bytes() == SHIPPED.read_bytes()
    assert downloads(server) == ["bytes=5-", None]
    assert contents(grids) == [FILE]


def test_what_is_fetched_must_be_weights(published, grids):
    """The SHA-256 is right; whoever serves it chose the wrong file."""
    record = json.loads((published / "registry.json").read_text())
    wrong = b"print('not executed')"
    (grids / "wrong.py").write_bytes(wrong)
    record["weights"][0] |= {
        "url": "wrong.py",
        "size": len(wrong),
        "sha256": sha256(wrong).hexdigest(),
    }
    registry = grids / "registry.json"
    registry.write_text(json.dumps(record))
    with pytest.raises(GridError, match="can't be read as HDF5") as met:
        fetch(NAME, registry=registry, progress=False)
    text = str(met.value)
    assert f"'{grids / 'wrong.py'}'" in text and f"'{registry}'" in text
    assert ".fetching" not in text
    assert contents(grids) == ["registry.json", "wrong.py"]


def test_missing_and_renamed_files(server, grids):
    path = f"/{FILE}"
    whole = server.files.pop(path)
    says = rf"'{NAME}' can't be fetched.* 404 .*another release by --release"
    with pytest.raises(OSError, match=says):
        fetch(NAME, progress=False)
    assert not contents(grids)
    # The server says where it is now; it keeps the name of the registry.
    server.files["/new/place.bin"] = whole
    server.moved[path] = "/new/place.bin"
    assert fetch(NAME, progress=False) == grids / FILE
    assert contents(grids) == [FILE]


def test_a_server_that_is_down(grids, monkeypatch):
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    url = "http://127.0.0.1:9/registry.json"
    with pytest.raises(OSError, match=rf"registry '{url}' can't be read"):
        fetch(NAME, registry=url)
    # Loading does not depend on it, and listing says so.
    monkeypatch.setenv(VARIABLE, url)
    with pytest.raises(GridError, match="No weights for the grid"):
        EmulatedGrid("nosuch")
    result = run("list")
    assert result.exit_code == 0
    assert EXAMPLE_NAME in result.output
    assert f"The registry '{url}' can't be read" in result.output


def test_names_that_are_not_published(server, grids, monkeypatch):
    near = f"has no weights 'mine-1.0'. Did you mean '{NAME}'?"
    result = run("fetch", "mine-1.0_kroupa")
    assert result.exit_code == 1
    assert near.replace("1.0'.", "1.0_kroupa'.") in result.output
    with pytest.raises(GridError, match=r"no release 2 of .* it has: 1\.0\."):
        fetch(NAME, release="2")
    # A grid without weights is answered by what the registry has.
    with pytest.raises(GridError, match=f"The registry has them.*{NAME}"):
        EmulatedGrid(NAME)
    with pytest.raises(GridError, match=rf"mean '{NAME}'\? To build .* fetch"):
        EmulatedGrid("mine-1.0_kroupa-0.1,300")
    monkeypatch.delenv(VARIABLE)
    with pytest.raises(GridError, match=f"no registry .*set {VARIABLE}"):
        EmulatedGrid("mine-1.0", fetch=True)


@pytest.mark.slow
def test_releases(published, server, grids):
    """The latest is fetched; it replaces earlier ones, and no other file."""
    weights = read_weights(SHIPPED)
    later = grids / f"later{SUFFIX}"
    provenance = replace(weights.provenance, author=CREATOR, notes="2 < 3")
    write_weights(later, replace(weights, provenance=provenance))
    card = make_card(later, release="2.0", name=NAME)
    assert card.zenodo["metadata"]["creators"] == [{"name": CREATOR}]
    assert "<b>notes</b>: 2 &lt; 3<" in card.zenodo["metadata"]["description"]
    registry = grids / "registry.json"
    registry.write_bytes((published / "registry.json").read_bytes())
    add_release(registry, card.release)
    later.rename(grids / "hidden")
    server.files |= {
        "/registry.json": registry.read_bytes(),
        f"/later{SUFFIX}": (grids / "hidden").read_bytes(),
    }
    assert fetch(NAME, release="1.0").read_bytes() == SHIPPED.read_bytes()
    listed = " ".join(run("list").output.split())
    assert "registry, release 1.0 (at hand)" in listed
    assert listed.endswith("registry, release 2.0, the latest")
    assert read_weights(fetch(NAME)).provenance.author == CREATOR
    assert read_weights(fetch(NAME, release="1.0")).provenance.author == ""
    # Another file of this name, such as a user's own.
    (grids / FILE).write_bytes(b"mine")
    with pytest.raises(GridError, match=r"not a release .*overwrite=True"):
        fetch(NAME)
    assert (grids / FILE).read_bytes() == b"mine"
    # A release is not changed once it is published.
    other = replace(card.release, release="1.0")
    with pytest.raises(InconsistentArguments, match="pass another --release"):
        add_release(registry, other)
    # The same file again: with another URL, say.
    add_release(registry, replace(card.release, url="https://a.org/b.hdf5"))
    latest = Registry.read(registry).find(NAME)
    assert latest.url == "https://a.org/b.hdf5"


def test_the_card_says_what_the_weights_are(published):
    record = json.loads((published / f"{NAME}.card.json").read_text())
    entry, metadata = record["release"], record["zenodo"]["metadata"]
    raw = SHIPPED.read_bytes()
    assert entry["sha256"] == sha256(raw).hexdigest()
    assert (entry["size"], entry["url"]) == (len(raw), FILE)
    grid = example_folder() / f"{EXAMPLE_NAME}.hdf5"
    assert entry["contents"]["grid"] == EXAMPLE_NAME
    assert (
        entry["contents"]["grid_sha256"]
        == sha256(grid.read_bytes()).hexdigest()
    )
    assert entry["contents"]["axes"] == {"ages": 56, "metallicities": 7}
    provenance = read_weights(SHIPPED).provenance
    assert entry["contents"]["errors"] == provenance.errors
    # What Zenodo requires of an open dataset, and its HTML.
    assert metadata["upload_type"] == "dataset"
    assert metadata["creators"] == [{"name": CREATOR}]
    assert metadata["title"].startswith(NAME)
    assert (metadata["access_right"], metadata["license"]) == (
        "open",
        "cc-by-4.0",
    )
    assert metadata["version"] == "1.0"
    assert "Bruzual & Charlot (2003)" in metadata["references"][0]
    tags = set(re.findall(r"</?(\w+)", metadata["description"]))
    assert tags == {"p", "ul", "li", "b"}
    assert entry["sha256"] in metadata["description"]
    assert "99th percentile 0.062% of pixels" in metadata["description"]


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        ([], "need a creator"),
        (["--creator", CREATOR, "--name", "../x"], "'name' must be letters"),
        (["--creator", CREATOR, "--url", "ftp://x/y"], "begin with http://"),
        (["--creator", CREATOR, "--release", ".1"], "'release' must be"),
        (["--creator", "Payne,"], "must be a name as 'Family, Given'"),
        (["--creator", "123"], "must be a name as 'Family, Given'"),
        (["--creator", CREATOR, "--licence", "(c) me"], "an identifier of Ze"),
        (["--creator", CREATOR, "--licence", "cc by_4.0"], "mean 'cc-by-4.0'"),
    ],
)
def test_cards_that_cannot_be_made(arguments, says, tmp_path):
    result = run("card", SHIPPED, *arguments, "--out", tmp_path / "card")
    assert (result.exit_code, says in result.output) == (1, True)
    assert not contents(tmp_path)


def test_cards_replace_only_cards(tmp_path):
    path = tmp_path / FILE
    path.write_bytes(b"weights")
    with pytest.raises(InconsistentArguments, match="is not a record of"):
        make_card(SHIPPED, [CREATOR]).write(path)
    assert path.read_bytes() == b"weights"
    path.unlink()
    make_card(SHIPPED, ["  European   Southern Observatory"]).write(path)
    with pytest.warns(RuntimeWarning, match=r"Did you mean\s+'cc-by-4.0'"):
        card = make_card(SHIPPED, [CREATOR], licence="CC BY 4")
    card.write(path)
    metadata = json.loads(path.read_text())["zenodo"]["metadata"]
    assert metadata["license"] == "cc-by-4"


def test_a_refused_card_changes_nothing(tmp_path):
    """Neither the card of the other weights, nor the registry."""
    registry, path = tmp_path / "registry.json", tmp_path / FILE
    path.write_bytes(SHIPPED.read_bytes())
    options = "--creator", CREATOR, "--registry"
    assert run("card", path, *options, registry).exit_code == 0
    other = tmp_path / f"other{SUFFIX}"
    weights = read_weights(SHIPPED)
    provenance = replace(weights.provenance, notes="other")
    write_weights(other, replace(weights, provenance=provenance))
    texts = {p: p.read_bytes() for p in tmp_path.iterdir()}
    for more, says in (
        (["--name", NAME], "with other contents"),
        (["--out", path], "is not a record of"),
        (["--out", registry], "are the same file"),
    ):
        result = run("card", other, *options, registry, *more)
        assert result.exit_code and says in result.output
        result = run("card", other, *options, other, *more)
        assert result.exit_code
        assert {p: p.read_bytes() for p in tmp_path.iterdir()} == texts


@pytest.mark.parametrize(
    ("changed", "says"),
    [
        ({"name": "../../etc/x"}, "'name' must be letters"),
        ({"name": ".hidden"}, "'name' must be letters"),
        ({"name": 3}, "must be a string, got 3"),
        ({"url": "file:///etc/passwd"}, "'url' of .* must be relative"),
        ({"url": ""}, "'url' of .* must be relative"),
        ({"sha256": "x" * 64}, "64 hexadecimal digits"),
        ({"size": 0}, "'size' of .* must be positive"),
        ({"size": 1.5}, "must be a whole number"),
        ({"script": "x"}, "has unknown fields: 'script'"),
    ],
)
def test_bad_entries_are_left_out(changed, says, published, tmp_path):
    """With a warning; only who wants one meets an error."""
    record = json.loads((published / "registry.json").read_text())
    good = record["weights"][0]
    record["weights"] = [good | changed, good | {"name": "other"}]
    path = tmp_path / "registry.json"
    path.write_text(json.dumps(record))
    with pytest.warns(RuntimeWarning) as told:
        registry = Registry.read(path)
    text = " ".join(str(told[0].message).split())
    assert re.search(f"has entries that can't be read: .*{says}", text)
    assert registry.names == ("other",)
    assert registry.find("other").release == "1.0"
    if "name" not in changed:
        with pytest.raises(GridError, match=f"'{NAME}' in .*{says}"):
            registry.find(NAME)
    # They are not lost when another is added.
    before = path.read_bytes()
    with (
        pytest.warns(RuntimeWarning, match=r"has\s+entries"),
        pytest.raises(GridError, match=r"would be lost.* Correct them"),
    ):
        add_release(path, registry.find("other"))
    assert path.read_bytes() == before


def test_bad_entries_of_one_name_are_all_told(published, tmp_path):
    record = json.loads((published / "registry.json").read_text())
    (good,) = record["weights"]
    long = "x" * 300
    record["weights"] = [
        good | {"size": 0},
        good | {"url": ""},
        good | {"name": long},
        good | {"name": "other"},
    ]
    path = tmp_path / "registry.json"
    path.write_text(json.dumps(record))
    with pytest.warns(RuntimeWarning) as told:
        registry = Registry.read(path)
    text = str(told[0].message)
    for problem in ("'size' of", "'url' of", "at most 200"):
        assert problem in " ".join(text.split())
    assert long not in text
    with pytest.raises(GridError, match=r"'size' of .*'url' of "):
        registry.find(NAME)
    with pytest.raises(GridError, match=r"no weights 'new'.* can't be read"):
        registry.find("new")
    # Only those of a name matter to who fetches it.
    with pytest.warns(RuntimeWarning) as told:
        Registry.read(path, NAME)
    assert "'url' of" in str(told[0].message)
    assert "at most" not in str(told[0].message)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert Registry.read(path, "other").find("other")


def test_a_release_is_listed_once(published, tmp_path):
    record = json.loads((published / "registry.json").read_text())
    (good,) = record["weights"]
    path = tmp_path / "registry.json"
    for url, names in ((good["url"], (NAME,)), ("other", ())):
        record["weights"] = [good, good | {"url": url}]
        path.write_text(json.dumps(record))
        with nullcontext() if names else pytest.warns(match=r"listed\s+twice"):
            assert Registry.read(path).names == names


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("<html>", "it is a web page. Give the URL of the JSON file itself"),
        ("[1]", "it must be an object.* card FILE --registry"),
        ("{}", "it lacks fields: 'format'.* card FILE --registry"),
        ('{"format": 2, "weights": 3}', "format 2, .*reads 1: pip install -U"),
        ("", r"it is not JSON .* Is the path or URL right\? ?$"),
    ],
)
def test_files_that_are_no_registry(text, says, tmp_path):
    path = tmp_path / "registry.json"
    path.write_text(text)
    with pytest.raises(GridError, match=says):
        Registry.read(path)
    with pytest.raises(GridError, match="No registry at"):
        Registry.read(tmp_path / "nosuch.json")


def test_urls_are_relative_to_the_registry(published):
    entry = Registry.read(published / "registry.json").find(NAME)
    for source, url, expected in (
        ("https://a.org/b/r.json", "c.hdf5", "https://a.org/b/c.hdf5"),
        ("https://a.org/b/r.json", "/c.hdf5", "https://a.org/c.hdf5"),
        ("https://a.org/r.json", "http://b.org/c", "http://b.org/c"),
        ("/data/r.json", "https://b.org/c", "https://b.org/c"),
        ("/data/r.json", "c.hdf5", "/data/c.hdf5"),
    ):
        registry = Registry(source, ())
        assert registry.location(replace(entry, url=url)) == expected
