import os
import subprocess
import sys

import h5py
import numpy as np
import pytest
from click.testing import CliRunner
from conftest import write_analytic_samples

from synthesizer_emulator.cli.main import main
from synthesizer_emulator.grid.emulated_grid import (
    EXAMPLE_NAME,
    EmulatedGrid,
    example_folder,
)
from synthesizer_emulator.weights.file import SUFFIX
from synthesizer_emulator.weights.weights import FORMAT_VERSION


def run(*arguments):
    return CliRunner().invoke(main, [str(a) for a in arguments])


@pytest.mark.slow
def test_build_and_info(analytic_grid, tmp_path):
    out = tmp_path / "weights"
    out.mkdir()
    result = run(
        "build", analytic_grid, "--out", out, "--epochs", 25,
        "--spectra", "incident", "--set", "hidden=[8]", "--seed", 3,
    )  # fmt: skip
    assert result.exit_code == 0, result.output
    weights = out / f"analytic{SUFFIX}"
    assert weights.is_file()
    assert "spectra/incident" in result.output
    assert f"{weights} (" in result.output
    shown = run("info", weights)
    assert "'hidden': [8]" in shown.output
    assert "'seed': 3" in shown.output
    assert "ages: 1e+06 to 1e+10" in shown.output
    assert (
        f"format         {FORMAT_VERSION}, checksum verified" in shown.output
    )
    assert "Verdict: " in result.output
    before = weights.read_bytes()
    other = run("build", analytic_grid, "--out", out, "--architecture", "pca")
    assert other.exit_code == 1
    assert "or --overwrite (overwrite=True) to replace" in other.output
    assert weights.read_bytes() == before


def test_info_tells_if_weights_are_not_verified(tmp_path):
    path = tmp_path / f"old{SUFFIX}"
    shipped = example_folder() / f"{EXAMPLE_NAME}{SUFFIX}"
    with h5py.File(shipped) as new, h5py.File(path, "w") as hdf:
        for name, value in new.attrs.items():
            hdf.attrs[name] = value
        for name in new:
            new.copy(name, hdf)
        hdf["emulator"].attrs["format_version"] = 2
    assert "format         2, not verified" in run("info", path).output


@pytest.mark.slow
def test_build_from_samples(tmp_path):
    files = [
        write_analytic_samples(tmp_path / "runs.hdf5", 20, gas=False),
        write_analytic_samples(tmp_path / "b.hdf5", 12, skip=20, gas=False),
    ]
    result = run(
        "build", *files, "--axes", "ages=1e6:1e9:5",
        "--axes", "metallicities=0.001,0.01", "--architecture", "pca",
        "--set", "hidden=[8]", "--ensemble", 2, "--epochs", 10,
        "--check-every", 5, "--author", "Cecilia", "--notes", "a thesis",
    )  # fmt: skip
    assert result.exit_code == 0, result.output
    assert "Trained on 32 scattered samples of 2 files" in result.output
    shown = run("info", tmp_path / f"runs{SUFFIX}").output
    for text in ("32 scattered", "Cecilia", "a thesis", "'ensemble': 2"):
        assert text in shown
    grid = EmulatedGrid("runs", grid_dir=tmp_path)
    assert grid.shape == (5, 2, 150)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["build", "nosuch"], "No grid file 'nosuch'"),
        (["build", "GRID", "--architecture", "x"], "got 'x'"),
        (["build", "GRID", "--spectra", "x"], "got x"),
        (["build", "GRID", "--set", "hidden"], "NAME=VALUE"),
        (["build", "GRID", "--set", "width=3"], "no setting width"),
        (["build", "GRID", "--schedule", "x"], "cosine, plateau"),
        (["build", "GRID", "--axes", "ages"], "--axes must be NAME=VALUE"),
        (["build", "GRID", "--axes", "ages=5"], "needs scattered samples"),
        (["build", "GRID", "--latin-hypercube", "9"], "--architecture payne"),
        (["build", "GRID", "GRID"], "only files of scattered samples"),
        (["info", "nosuch"], "No file at"),
        (["bc03", "--out", "OUT", "--ages", "1"], "at least 2"),
        (
            ["bc03", "--out", "OUT", "--name", "x"],
            "requires exactly one --grid",
        ),
    ],
)
def test_mistakes_end_in_a_message(
    arguments, message, analytic_grid, tmp_path
):
    places = {"GRID": analytic_grid, "OUT": tmp_path / "out"}
    result = run(*(places.get(a, a) for a in arguments))
    assert result.exit_code != 0
    assert message in result.output
    assert not isinstance(result.exception, (KeyError, TypeError))


def test_run_lists_the_emulated_grids(tmp_path):
    script = tmp_path / "script.py"
    script.write_text(
        "import sys\n"
        "from synthesizer import Grid\n"
        f"Grid('{EXAMPLE_NAME}', {str(example_folder())!r})\n"
        "print(sys.argv[1:])\n"
        "sys.exit(3)\n"
    )
    result = run("run", script, "--flag", "-x", "1")
    assert result.exit_code == 3
    assert "['--flag', '-x', '1']" in result.stdout
    assert f"Emulated grids: {EXAMPLE_NAME}; native grids: none." in (
        result.stderr
    )
    assert "does not exist" in run("run", tmp_path / "x.py").output


def test_importing_the_package_is_cheap():
    """Neither JAX nor matplotlib nor Synthesizer loads before it is used."""
    code = (
        "import sys, synthesizer_emulator as s; s.__all__; "
        "import synthesizer_emulator.cli.main; "
        "heavy = {'jax', 'matplotlib', 'synthesizer'}; "
        "print(sorted(heavy & set(sys.modules)))"
    )
    done = subprocess.run(
        [sys.executable, "-c", code],
        capture_output=True,
        text=True,
        check=True,
    )
    assert done.stdout.strip() == "[]"


@pytest.mark.slow
def test_constructing_a_grid_starts_no_jax_backend():
    code = (
        "from synthesizer_emulator import EmulatedGrid; "
        "EmulatedGrid.example(); print('made'); "
        "import jax; jax.devices()"
    )
    # With a backend that JAX can't start.
    done = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", code],
        capture_output=True,
        text=True,
        env={**os.environ, "JAX_PLATFORMS": "nosuch"},
    )
    assert done.stdout.strip() == "made"
    assert "nosuch" in done.stderr


@pytest.mark.slow
def test_quickstart_compares_galaxies_and_draws_them(tmp_path, monkeypatch):
    """On the shipped weights, as the build is tested elsewhere."""
    from synthesizer_emulator.building.report import BuildReport
    from synthesizer_emulator.cli import quickstart
    from synthesizer_emulator.weights.file import read_weights

    path = example_folder() / f"{EXAMPLE_NAME}{SUFFIX}"

    def shipped(grid, out):
        assert grid == example_folder() / f"{EXAMPLE_NAME}.hdf5"
        card = read_weights(path).provenance
        return BuildReport(path, card, path.stat().st_size)

    monkeypatch.setattr(quickstart, "build", shipped)
    result = run("quickstart", "--out", tmp_path / "q")
    assert result.exit_code == 0, result.output
    lines = [x.split() for x in result.output.splitlines() if "maximum" in x]
    assert len(lines) == 4
    medians = [float(x[3]) for x in lines]
    maxima = [float(x[6]) for x in lines]
    assert np.max(medians) < 0.02
    assert np.max(maxima) < 0.2
    assert (tmp_path / "q" / "quickstart.png").stat().st_size > 10_000
