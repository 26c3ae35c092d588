"""The documents of the package agree with its contracts."""

import ast
import re
import tomllib
from importlib.metadata import version
from pathlib import Path

import pytest

import synthesizer_emulator

ROOT = Path(__file__).parents[1]
DESIGN = (ROOT / "docs" / "design.md").read_text()
SETTINGS = tomllib.loads((ROOT / "pyproject.toml").read_text())


@pytest.fixture(scope="module")
def floors() -> list[set[str]]:
    """Return the floors of the contract, the highest first."""
    contracts = SETTINGS["tool"]["importlinter"]["contracts"]
    (contract,) = (
        c for c in contracts if c.get("containers") == ["synthesizer_emulator"]
    )
    return [set(floor.split(" | ")) for floor in contract["layers"]]


def test_the_drawing_of_the_floors_is_the_contract(floors):
    after = DESIGN.split("## The layers of the package")[1]
    drawing = re.search(r"```text\n(.*?)```", after, re.S).group(1)
    drawn = [set(line.split(" | ")) for line in drawing.splitlines()]
    assert drawn == floors


def test_the_floors_have_all_that_is_in_the_package(floors):
    described = set(re.findall(r"^\| `(\w+)` \|", DESIGN, re.M))
    package = Path(synthesizer_emulator.__file__).parent
    inside = {
        path.stem
        for path in package.iterdir()
        if path.suffix == ".py" or (path / "__init__.py").exists()
    } - {"__init__", "__main__", "data"}
    assert set.union(*floors) == inside
    assert inside <= described


def test_there_is_one_version():
    assert version("synthesizer-emulator") == synthesizer_emulator.__version__
    assert "version" not in SETTINGS["project"]


def test_no_module_imports_from_the_root():
    """The lazy names of the root hide an import from the contract."""
    package = Path(synthesizer_emulator.__file__).parent
    found = [
        f"{path.relative_to(package)}: {alias.name}"
        for path in package.rglob("*.py")
        for node in ast.walk(ast.parse(path.read_text()))
        if isinstance(node, ast.ImportFrom)
        and node.module == "synthesizer_emulator"
        for alias in node.names
        if alias.name != "__version__"
    ]
    assert not found
