"""What long computations tell of their progress."""

import io
import json
import time

import pytest
from click.testing import CliRunner
from conftest import QUICK

from synthesizer_emulator import ARCHITECTURES, build
from synthesizer_emulator import progress as module
from synthesizer_emulator.architectures.registry import DEFAULT_ARCHITECTURE
from synthesizer_emulator.building.checkpoint import Checkpoint
from synthesizer_emulator.cli.main import main
from synthesizer_emulator.cli.options import (
    ARCHITECTURE_NAMES,
    METHOD_NAMES,
)
from synthesizer_emulator.inference.samplers import SAMPLERS
from synthesizer_emulator.progress import (
    LineWriter,
    printed_progress,
    progress_bar,
    say,
    stage,
)


@pytest.fixture
def clock(monkeypatch):
    """Return a list with the time, which tests set."""
    now = [0.0]
    monkeypatch.setattr(module.time, "monotonic", lambda: now[0])
    return now


def test_without_a_terminal_there_is_a_line_a_minute(clock):
    stream = io.TextIOWrapper(io.BytesIO(), "utf-8", write_through=True)
    writer = LineWriter(stream)
    writer.write("begun\n")
    for second in range(1, 181):
        clock[0] = float(second)
        writer.write(f"\r{second} of 180")
        writer.flush()
    writer.write("\r180 of 180, done\n")
    lines = stream.buffer.getvalue().decode().split("\n")
    assert lines == [
        "begun",
        "59 of 180",
        "119 of 180",
        "179 of 180",
        "180 of 180, done",
        "",
    ]


def test_bars_without_a_terminal_end_in_their_last_state(capsys):
    for _ in progress_bar(range(50), desc="galaxies"):
        pass
    for _ in progress_bar(range(50), show=False):
        pass
    output = capsys.readouterr()
    (line,) = output.err.strip().split("\n")
    assert line.startswith("galaxies: 100%")
    assert "50/50" in line
    assert "\r" not in line
    assert not output.out


def test_what_packages_print_is_thinned(capsys):
    with printed_progress():
        print("Starting")
        for i in range(100):
            print(f"\rstep {i}", end="")
        print("\rFinished")
    output = capsys.readouterr()
    assert output.err.split("\n") == ["Starting", "Finished", ""]
    assert not output.out
    with printed_progress(False):
        print("result")
    assert capsys.readouterr().out == "result\n"


def test_only_long_stages_are_told(capsys, monkeypatch):
    with stage("Short"):
        pass
    monkeypatch.setattr(module, "_SHORTEST", 0.02)
    with stage("Compiling"):
        time.sleep(0.1)
    with stage("Silent", show=False):
        time.sleep(0.1)
    say("nothing", show=False)
    assert capsys.readouterr().err == "Compiling ...\nCompiling: 0 s\n"


@pytest.mark.slow
def test_a_build_tells_where_it_is_and_where_it_resumes(
    analytic_grid, tmp_path, capsys, monkeypatch
):
    quick = {
        **QUICK,
        "architecture": "pca",
        "spectra": ["incident", "transmitted"],
        "progress": True,
    }
    saved = Checkpoint.save_finished

    def interrupted(self, emission, result):
        saved(self, emission, result)
        raise KeyboardInterrupt

    monkeypatch.setattr(Checkpoint, "save_finished", interrupted)
    with pytest.raises(KeyboardInterrupt):
        build(analytic_grid, out=tmp_path, **quick)
    first = capsys.readouterr().err
    assert "1 of 2, spectra/incident: 100%" in first
    assert "2 of 2" not in first
    monkeypatch.setattr(Checkpoint, "save_finished", saved)
    build(analytic_grid, out=tmp_path, **quick)
    second = capsys.readouterr().err
    assert "Resuming at emission 2 of 2." in second
    assert "1 of 2, " not in second
    assert "2 of 2, spectra/transmitted: 100%" in second


def test_the_names_of_the_command_line_are_all_names():
    assert ARCHITECTURE_NAMES[0] == DEFAULT_ARCHITECTURE
    assert set(ARCHITECTURE_NAMES) == set(ARCHITECTURES)
    assert set(METHOD_NAMES) == set(SAMPLERS)


@pytest.mark.parametrize("name", ARCHITECTURES)
def test_the_settings_of_architectures_are_listed(name):
    result = CliRunner().invoke(main, ["architectures", name])
    assert result.exit_code == 0, result.output
    settings, training = result.output.split("Training settings")
    architecture = ARCHITECTURES[name]()
    value = json.dumps(architecture.softening)
    assert f"softening            {value}" in settings
    epochs = architecture.default_training.epochs
    assert f"epochs               {epochs}" in training
    listed = CliRunner().invoke(main, ["architectures"]).output
    assert f"{name} " in listed


@pytest.mark.parametrize(
    "command", ["bc03", "build", "evaluate", "fit", "generalise", "library"]
)
def test_commands_can_be_quiet(command):
    shown = CliRunner().invoke(main, [command, "--help"]).output
    assert "-q, --quiet" in shown
