import json
import os
import re
import subprocess
import sys
import tomllib
import warnings
from dataclasses import replace
from pathlib import Path
from unittest.mock import Mock

import click
import h5py
import numpy as np
import pytest
from astropy.table import Table
from click.shell_completion import ShellComplete
from click.testing import CliRunner
from conftest import QUICK, write_analytic_samples
from synthesizer.data.initialise import get_grids_dir
from synthesizer.synth_warnings import warn

from synthesizer_emulator import build
from synthesizer_emulator.cli import components as cli_components
from synthesizer_emulator.cli.completing import grids_folder
from synthesizer_emulator.cli.main import main
from synthesizer_emulator.evaluation.comparison import _factor, compare
from synthesizer_emulator.evaluation.report import write_comparison
from synthesizer_emulator.files.locks import exclusive
from synthesizer_emulator.grid.emulated_grid import (
    EXAMPLE_NAME,
    EmulatedGrid,
    example_folder,
)
from synthesizer_emulator.inference import catalogue_fit
from synthesizer_emulator.sources.bc03 import CLOUDY_NAME
from synthesizer_emulator.weights.file import SUFFIX, read_weights
from synthesizer_emulator.weights.summary import WeightsSummary
from synthesizer_emulator.weights.weights import FORMAT_VERSION

ROOT = Path(__file__).parents[1]


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
    assert "ages            12 nodes, 1e+06 to 1e+10 yr" in shown.output
    assert f"  {FORMAT_VERSION}, checksum verified" in shown.output
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
    text = " ".join(run("info", path).output.split())
    assert "format 2, not verified" in text


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
        (["build", "GRID", "--schedule", "x"], "'cosine', 'plateau'"),
        (["build", "GRID", "--axes", "ages"], "--axes must be NAME=VALUE"),
        (["build", "GRID", "--axes", "ages=5"], "needs scattered samples"),
        (
            ["build", "GRID", "--latin-hypercube", "9"],
            "another architecture: gaussian_process, payne",
        ),
        (["build", "GRID", "GRID"], "only files of scattered samples"),
        (["info", "nosuch"], "No weights for the grid 'nosuch'"),
        (["info", "bc03-exampl"], "Did you mean 'bc03-example'"),
        (["compare", "bc03-example", "nosuch"], "'nosuch'"),
        (["list", "--grid-dir", "OUT"], "Build some with"),
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


def test_grids_are_listed_and_described(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    shipped = example_folder() / f"{EXAMPLE_NAME}{SUFFIX}"
    (tmp_path / f"mine{SUFFIX}").write_bytes(shipped.read_bytes())
    (tmp_path / f"torn{SUFFIX}").write_bytes(shipped.read_bytes()[:-1])
    result = run("list")
    assert result.exit_code == 0, result.output
    lines = {line.split()[0]: line for line in result.output.splitlines()[:6]}
    errors = EmulatedGrid.example().provenance.errors
    spectra = [e for name, e in errors.items() if "spectra/" in name]
    worst = 100 * max(e["p99"] for e in spectra)
    assert f"{worst:.2g}%" in lines[EXAMPLE_NAME]
    for text in ("ages:56 metallicities:7", "1,719", "124", "shipped"):
        assert text in lines[EXAMPLE_NAME]
    assert "shipped" not in lines["mine"]
    assert lines["torn"].endswith("(damaged)")
    assert "does not match its checksum" in result.output
    for name in (EXAMPLE_NAME, shipped, example_folder() / EXAMPLE_NAME):
        shown = run("info", name).output
        assert "ages            56 nodes, 1 to 2e+10 yr" in shown
        assert f"{errors['spectra/incident']['p99'] * 100:.4f}" in shown


def test_errors_of_lines_are_listed_without_spectra():
    weights = read_weights(example_folder() / f"{EXAMPLE_NAME}{SUFFIX}")
    summary = WeightsSummary.from_weights(weights)
    assert summary.worst_of_spectra("p99") == max(
        errors.p99
        for path, errors in summary.errors.items()
        if path.startswith("spectra/")
    )
    lines = {
        path: errors
        for path, errors in summary.errors.items()
        if path.startswith("lines/")
    }
    only = replace(summary, errors=lines)
    worst = max(errors.p99 for errors in lines.values())
    assert lines and only.worst_of_spectra("p99") == worst


def test_warnings_are_printed_without_code(capsys):
    @click.command()
    def warns():
        warn("Half of the nodes are missing.")
        warnings.warn("of numpy", RuntimeWarning, stacklevel=1)

    main.add_command(warns)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("always")
            # As a process shows them; pytest records them.
            warnings.showwarning = shown
            main(["warns"], standalone_mode=False)
    finally:
        del main.commands["warns"]
    first, second, *_ = capsys.readouterr().err.splitlines()
    assert first == "Warning: Half of the nodes are missing."
    assert "RuntimeWarning: of numpy" in second


def shown(message, category, filename, lineno, *_):
    """Print a warning as Python does."""
    text = warnings.formatwarning(message, category, filename, lineno)
    print(text, end="", file=sys.stderr)


@pytest.mark.parametrize("there", [False, True])
def test_refused_commands_leave_no_folder(there, tmp_path):
    """The folders of what is written are made when it is."""
    folder = tmp_path / "new" / "deep"
    if there:
        folder.mkdir(parents=True)
    grid = tmp_path / "grid.hdf5"
    with h5py.File(grid, "w") as hdf:
        hdf["x"] = 1.0
    for command in (
        ["build", grid, "--out", folder],
        ["evaluate", "nosuch", "--plots", folder],
        ["card", grid, "--creator", "A", "--registry", folder / "r.json"],
        ["fetch", "x", "--registry", grid, "--grid-dir", folder],
    ):
        assert run(*map(str, command)).exit_code, command
        assert folder.exists() is there
        assert (tmp_path / "new").exists() is there
    with exclusive(folder / "file"):
        assert folder.is_dir()
    assert folder.exists() is there


@pytest.mark.slow
def test_grids_are_compared(analytic_grid, tmp_path, quick_figures):
    quick = {**QUICK, "spectra": ["incident"]}
    paths = [
        build(analytic_grid, out=tmp_path / f"{name}{SUFFIX}", **quick).path
        for name, quick["architecture"] in (("a", "pca"), ("b", "payne"))
    ]
    found = compare(*paths, points=3, seed=1)
    incident = found.spectra["incident"]
    a, b = (read_weights(path).emulator for path in paths)
    shared = np.isin(a.lam, incident.lam)
    middle = [np.sqrt(1e6 * 1e10), 0.5 * (1e-4**0.4 + 0.04**0.4)]
    middle[1] **= 2.5
    expected = [e.spectrum("incident", middle)[shared] for e in (a, b)]
    np.testing.assert_allclose(incident.middle, expected, rtol=1e-3)
    assert incident.differences.shape == (3, shared.sum())
    assert found.differences["incident"].worst > 1e-4
    (figure,) = write_comparison(found, tmp_path / "figures")
    assert figure.read_bytes()[:4] == b"\x89PNG"
    json_path = tmp_path / "c.json"
    result = run("compare", paths[0], paths[0], "--json", json_path)
    assert result.exit_code == 0, result.output
    # A grid does not differ from itself.
    row = next(x for x in result.output.split("\n") if x[:9] == "incident ")
    assert row.split() == ["incident", *["0.0000"] * 4]
    read = json.loads(json_path.read_text())
    assert read["differences"]["incident"]["worst"] == 0.0
    result = run("compare", paths[0], CLOUDY_NAME)
    assert "Spectra are not compared, as the axes differ" in result.output
    assert "9 nodes, 0.0001 to 1" in result.output


@pytest.mark.slow
def test_templates_work(tmp_path, monkeypatch):
    library = run("library", "--template")
    path = tmp_path / "library.yaml"
    path.write_text(library.output)
    assert library.output.startswith("# A library of galaxies.")
    result = run("library", path, "--dry-run")
    assert result.exit_code == 0, result.output
    assert "Library of 1,000 galaxies" in result.output
    # Photometry in two bands and five parameters.
    assert "1,000 galaxies take about" in result.output
    assert "64 kB of disk" in result.output
    assert [p.name for p in tmp_path.iterdir()] == ["library.yaml"]
    (tmp_path / "fit.yaml").write_text(run("fit", "--template").output)
    columns = {
        "ID": [1, 2],
        **{f"flux_{band}": [38.0, 3.1] for band in "grJ"},
        **{f"err_{band}": [2.0, 0.2] for band in "grJ"},
        "z_spec": [0.5, 0.45],
    }
    Table(columns).write(tmp_path / "galaxies.fits")
    posterior = Mock(parameters={"redshift": np.zeros(7)})
    monkeypatch.setattr(
        catalogue_fit, "fit_galaxy", Mock(return_value=posterior)
    )
    result = run(
        "fit", tmp_path / "galaxies.fits", tmp_path / "fit.yaml", "--dry-run"
    )
    assert result.exit_code == 0, result.output
    assert "Fit of 4 parameters" in result.output
    assert "2 galaxies take about 0 s on 1 process" in result.output
    assert "8 kB of disk" in result.output
    assert len(list(tmp_path.iterdir())) == 3


def test_the_installation_is_checked(monkeypatch):
    result = run("check")
    assert result.exit_code == 0, result.output
    assert re.search(r"^ok +JAX +\d.*cpu", result.output, re.M)
    assert re.search(
        r"^ok +shipped weights .*bc03-example", result.output, re.M
    )
    monkeypatch.setattr(cli_components, "_is_there", lambda package: False)
    wanted = ["jax>=0.9", "corner>=2.2.3; extra == 'inference'"]
    monkeypatch.setattr(cli_components, "requires", lambda package: wanted)
    monkeypatch.setattr(
        cli_components, "_grids", Mock(side_effect=OSError("Mend it."))
    )
    result = run("check")
    assert result.exit_code == 1
    assert re.search(r"^broken +grid folder +Mend it.$", result.output, re.M)
    assert result.output.splitlines()[-1].endswith(
        "for fits of galaxies, lacks corner: "
        "pip install 'synthesizer-emulator[inference]'"
    )


def test_the_check_knows_the_extras_of_users():
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    extras = project["optional-dependencies"]
    assert set(cli_components.PURPOSES) <= set(extras)


def test_the_shell_completes_names_of_grids(tmp_path, monkeypatch):
    monkeypatch.setenv("SYNTHESIZER_GRID_DIR", str(tmp_path))
    (tmp_path / f"bc03-mine{SUFFIX}").touch()
    assert grids_folder() == Path(get_grids_dir())
    completion = ShellComplete(main, {}, "synthesizer-emulator", "_X")
    found = completion.get_completions(["info"], "bc03")
    names = [item.value for item in found if item.type == "plain"]
    assert names == [EXAMPLE_NAME, "bc03-mine"]
    commands = completion.get_completions([], "l")
    assert [item.value for item in commands] == ["library", "list"]
    monkeypatch.delenv("SYNTHESIZER_GRID_DIR")
    assert grids_folder() == Path(get_grids_dir())


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


def test_the_banner_of_synthesizer_is_not_in_the_output(tmp_path):
    folder = tmp_path / "new"
    done = subprocess.run(
        [sys.executable, "-m", "synthesizer_emulator", "library", "--help"],
        env={**os.environ, "SYNTHESIZER_DIR": str(folder)},
        capture_output=True,
        text=True,
        check=True,
    )
    assert done.stdout.startswith("Usage: ")
    assert done.stderr.strip().endswith(
        f"Synthesizer keeps its grids in {folder / 'grids'}."
    )
    assert (folder / "grids").is_dir()


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


def test_spectra_without_units_are_compared():
    """Such as normalised ones."""
    assert _factor("None", "None") == 1.0
    assert _factor("W/Hz", "erg/s/Hz") == pytest.approx(1e7)


@pytest.mark.parametrize(
    "command",
    [
        ("bc03", "--out", "{}"),
        ("build", "{grid}", "--out", "{}/w.emulator"),
        ("card", "{weights}", "--out", "{}/card.json"),
        ("card", "{weights}", "--registry", "{}/registry.json"),
        ("compare", EXAMPLE_NAME, EXAMPLE_NAME, "--json", "{}/a.json"),
        ("compare", EXAMPLE_NAME, EXAMPLE_NAME, "--plots", "{}"),
        ("dsps", "{ssp}", "--out", "{}"),
        ("evaluate", EXAMPLE_NAME, "--json", "{}/a.json"),
        ("evaluate", EXAMPLE_NAME, "--plots", "{}"),
        ("export", EXAMPLE_NAME, "--out", "{}/ssp.h5"),
        ("generalise", "study.yaml", "--plots", "{}"),
        ("hold-out", EXAMPLE_NAME, "--drop", "ages:2", "--json", "{}/a.json"),
        ("plot", EXAMPLE_NAME, "--out", "{}/a.png"),
        ("quickstart", "--out", "{}"),
        ("stars", "evaluate", "flow", "stars", "--grid", "x", "--plots", "{}"),
        ("stars", "sample", "flow", "a.csv", "--out", "{}/stars.hdf5"),
        ("stars", "train", "stars.hdf5", "--out", "{}/flow.hdf5"),
        ("testbed", "--out", "{}"),
        ("tune", "x", "--validation", "split", "--out", "{}"),
    ],
    ids=" ".join,
)
def test_folders_that_cannot_be_made_are_named_at_once(command, tmp_path):
    """Before anything is read or computed."""
    (tmp_path / "file").touch()
    blocked = tmp_path / "file" / "new"
    weights = example_folder() / f"{EXAMPLE_NAME}{SUFFIX}"
    if command[0] == "dsps":
        with h5py.File(tmp_path / "ssp.h5", "w") as hdf:
            hdf["ssp_lgmet"] = [-3.0, -2.0]
            hdf["ssp_lg_age_gyr"] = [-3.0, 1.0]
            hdf["ssp_wave"] = np.geomspace(100.0, 1e5, 20)
            hdf["ssp_flux"] = np.ones((2, 2, 20))
    result = run(
        *(
            part.format(
                blocked,
                weights=weights,
                grid=weights.with_name(f"{EXAMPLE_NAME}.hdf5"),
                ssp=tmp_path / "ssp.h5",
            )
            for part in command
        )
    )
    assert result.exit_code == 1, result.output
    assert f"Can't make the folder '{blocked}" in result.output
    assert "Choose another folder." in result.output
