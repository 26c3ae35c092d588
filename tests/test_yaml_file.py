"""YAML files that ask for more than plain values, and those that don't."""

import time
import tracemalloc

import pytest
import yaml
from click.testing import CliRunner
from synthesizer.exceptions import InconsistentArguments

from synthesizer_emulator.cli.main import main
from synthesizer_emulator.evaluation.generalisation.study import Study
from synthesizer_emulator.files.yaml_file import read_yaml
from synthesizer_emulator.library.config import LibraryConfig


def nested(first, one, again, levels=12, times=9):
    """Return entries each of which stands for the one before many times."""
    entries = [f"a0: &a0 {first}"]
    for i in range(1, levels):
        within = ", ".join([f"*a{i - 1}"] * times)
        entries.append(f"a{i}: &a{i} " + one.format(again.format(within)))
    return "\n".join(entries)


BOMBS = {
    "lists of aliases": nested("[x, y]", "{}", "[{}]"),
    "merged aliases": nested("{x: 1}", "{{<<: {}}}", "[{}]"),
    "aliases of the whole": "a: &a [1, *a]",
    "aliases of the whole in a mapping": "a: &a {b: *a}",
    "merged with itself": "a: &a {<<: *a}",
    "deep lists": "[" * 100_000,
    "deep mappings": "{a: " * 50_000,
    "deep blocks": "\n".join(" " * i + "a:" for i in range(600)),
    "deep dashes": "- " * 100_000,
    "deep questions": "? " * 100_000,
    "many values": "[" + "1," * 120_000 + "]",
    "a large file": "# " + "x" * 10_000_000,
}
TAGS = {
    "Python": "a: !!python/object/apply:os.mkdir [{}]",
    "Python's names": "a: !!python/name:os.system",
    "binary": "a: !!binary zz",
    "a number": "a: !!int x",
    "a date": "a: !!timestamp 2024-13-45",
    "a set": "a: !!set {{1: 2}}",
    "its own": "a: !own 3",
    "an anonymous one": "a: ! 3",
    "one of the whole": "!!omap [a: 1]",
}
OTHERS = {
    "a key twice": (b"a: 1\nb: 2\na: 3", "line 3: 'a' appears twice"),
    "a key twice within": (b"a: {b: 1, b: 2}", "line 1: 'b' appears twice"),
    "a key twice, quoted": (b"a: 1\n'a': 2", "line 2: 'a' appears twice"),
    "a list for a key": (b"? [a]\n: 3", "line 1: a key must be a string"),
    "Latin-1": ("a: \u00e9toile".encode("latin-1"), "not text in UTF-8"),
    "UTF-16": ("a: 1".encode("utf-16"), "not text in UTF-8"),
    "HDF5": (b"\x89HDF\r\n\x1a\n\x00\x00", "not text in UTF-8"),
    "zeros": (b"\0" * 1000, "unacceptable character"),
    "two documents": (b"a: 1\n---\nb: 2", "line 2"),
    "an open bracket": (b"a: [", "line 1"),
    "a tab": (b"a:\n\t- 3", "line 2"),
    "an unknown alias": (b"a: *b", "undefined alias 'b'"),
}


@pytest.mark.parametrize("read", [LibraryConfig.read, Study.read])
@pytest.mark.parametrize("bomb", BOMBS)
def test_bombs_end_soon_in_an_error(tmp_path, read, bomb):
    path = tmp_path / "bomb.yaml"
    path.write_text(BOMBS[bomb])
    start = time.process_time()
    with pytest.raises(InconsistentArguments, match=r"bomb\.yaml") as caught:
        read(path)
    assert time.process_time() - start < 10
    assert len(str(caught.value)) < 500


@pytest.mark.parametrize("bomb", [b for b in BOMBS if b != "many values"])
def test_bombs_take_little_memory(tmp_path, bomb):
    path = tmp_path / "bomb.yaml"
    path.write_text(BOMBS[bomb])
    tracemalloc.start()
    try:
        with pytest.raises(InconsistentArguments):
            read_yaml(path)
        assert tracemalloc.get_traced_memory()[1] < 2e7
    finally:
        tracemalloc.stop()


@pytest.mark.parametrize("command", ["library", "generalise"])
@pytest.mark.parametrize("tag", TAGS)
def test_tags_are_refused_and_nothing_runs(tmp_path, command, tag):
    path = tmp_path / "tagged.yaml"
    made = tmp_path / "made"
    path.write_text(TAGS[tag].format(made))
    result = CliRunner().invoke(main, [command, str(path)])
    assert result.exit_code == 1
    assert isinstance(result.exception, SystemExit)
    assert "tagged.yaml" in result.output
    assert "write a plain value, without the tag" in " ".join(
        result.output.split()
    )
    assert not made.exists()


@pytest.mark.parametrize("other", OTHERS)
def test_invalid_yaml_is_named_with_its_line(tmp_path, other):
    contents, message = OTHERS[other]
    path = tmp_path / "other.yaml"
    path.write_bytes(contents)
    with pytest.raises(InconsistentArguments, match=message) as caught:
        read_yaml(path)
    assert str(path) in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("command", ["library", "generalise"])
def test_missing_files_are_named(tmp_path, command):
    for path in (tmp_path, tmp_path / "lost.yaml"):
        result = CliRunner().invoke(main, [command, str(path)])
        assert result.exit_code == 1
        assert isinstance(result.exception, SystemExit)
        assert str(path) in "".join(result.output.split())
        assert "give the path of a YAML file" in " ".join(
            result.output.split()
        )


def test_a_long_text_is_not_quoted_whole(tmp_path):
    path = tmp_path / "long.yaml"
    path.write_text(f"draws: [{'x ' * 100_000}]")
    for read in (LibraryConfig.read, Study.read):
        with pytest.raises(InconsistentArguments) as caught:
            read(path)
        assert len(str(caught.value)) < 3000


# Plain values, against PyYAML's own reader and Python.


@pytest.mark.parametrize(
    "text",
    [
        "a: 1\nb: [1.5, x, true, null, ~, -3, +4, 1_000]\nc: {d: 'e', f: }",
        "a: &a {x: 1, y: 2}\nb: {<<: *a, y: 3}\nc: [*a, *a]",
        "a: &a {x: 1}\nb: &b {<<: *a, z: 1}\nc: {<<: [*a, *b]}\nd: *b",
        "a: |\n  text\n  lines\nb: >\n  folded\n  lines\nc: 'it''s'",
        "a: .inf\nb: -.INF\nc: 1.0e+8\nd: 2.\ne: .5",
        "a: yes\nb: no\nc: on\nd: False",
        "",
        "just words",
    ],
)
def test_plain_values_are_pyyamls(tmp_path, text):
    path = tmp_path / "plain.yaml"
    path.write_text(f"\ufeff{text}", encoding="utf-8")
    read, true = read_yaml(path), yaml.safe_load(text)
    assert read == true
    assert repr(read) == repr(true)


@pytest.mark.parametrize(
    "number", ["1e8", "1.5E-3", "-2e+4", "010", "0", "9" * 18, "1" * 800]
)
def test_numbers_are_pythons(tmp_path, number):
    path = tmp_path / "numbers.yaml"
    path.write_text(f"plain: {number}\nquoted: '{number}'\n{number}: key")
    read = read_yaml(path)
    assert float(read["plain"]) == float(number)
    assert read["quoted"] == number
    assert read[number] == "key"


@pytest.mark.parametrize("text", ["2024-13-45", "1:30", "0x1f", "=", "1__0"])
def test_other_numbers_are_texts(tmp_path, text):
    path = tmp_path / "texts.yaml"
    path.write_text(f"a: {text}")
    assert read_yaml(path) == {"a": text}
