"""Tuning of an architecture whose error is known in closed form."""

import csv
from dataclasses import asdict, dataclass, replace
from typing import ClassVar

import numpy as np
import optuna
import pytest
import yaml
from click.testing import CliRunner
from conftest import write_analytic_grid, write_analytic_samples
from synthesizer.exceptions import InconsistentArguments

from synthesizer_emulator import ARCHITECTURES, EmulatedGrid, tune
from synthesizer_emulator.architectures.base import Architecture, assemble
from synthesizer_emulator.architectures.linear import (
    latent_targets,
    linear_decoder,
)
from synthesizer_emulator.architectures.settings_file import read_settings
from synthesizer_emulator.architectures.training import (
    Diverged,
    LossHistory,
)
from synthesizer_emulator.building.grid_nodes import GridNodes
from synthesizer_emulator.cli.main import main
from synthesizer_emulator.emulator.tables import LinearTable
from synthesizer_emulator.evaluation.tables import number
from synthesizer_emulator.tuning import figures
from synthesizer_emulator.tuning.division import divided
from synthesizer_emulator.tuning.space import SearchSpace
from synthesizer_emulator.tuning.tune import default_space


@dataclass(frozen=True)
class Brighter(Architecture):
    """A table of all samples, brighter by a factor that falls in training.

    After k epochs spectra are brighter by exp(offset (1 + 100 / k)), after
    the training by exp(offset).
    """

    offset: float = 0.5
    components: int = 30
    ensemble: int = 1
    softening: float = 1e-8

    search_space: ClassVar = {
        "settings": {"offset": {"low": 0.01, "high": 1.0, "log": True}}
    }
    seen: ClassVar[list] = []
    interrupted_at: ClassVar[int] = -1

    def fit(self, samples, training, monitor):
        self.seen.append(samples.points)
        saved = monitor.resume({})
        offset = self.offset
        if saved is not None:
            offset = saved[0]["network"]
        elif len(self.seen) == self.interrupted_at:
            raise KeyboardInterrupt
        else:
            for k in range(25, training.epochs + 1, training.check_every):
                offset = self.offset * (1 + 100 / k)
                history = LossHistory([k], [0.0], [0.0], [0.0])
                monitor.report(history, {"network": offset, "best": offset})
            offset = self.offset
        if training.weight_decay > 0.5:
            raise Diverged("The training diverged.")
        basis, latents = latent_targets(
            samples, samples.weights, self.components
        )
        latents[:, 0] += offset
        return assemble(
            samples,
            LinearTable(
                samples.nodes, samples.at_all_nodes(latents).astype("f4")
            ),
            linear_decoder(basis.mean, basis.components, samples.support),
            latents.shape[1],
            {},
        )

    def skeleton(self, shape):
        raise NotImplementedError


@pytest.fixture(autouse=True)
def brighter(monkeypatch):
    monkeypatch.setitem(ARCHITECTURES, "brighter", Brighter)
    monkeypatch.setattr(Brighter, "seen", [])
    return Brighter


@pytest.fixture(scope="module")
def grid(tmp_path_factory):
    folder = tmp_path_factory.mktemp("tune")
    return write_analytic_grid(folder / "g.hdf5", gas=False)


def run(grid, **changes):
    arguments = {
        "architecture": "brighter",
        "validation": "split",
        "spectra": "incident",
        "trials": 8,
        "progress": False,
        "training": {"epochs": 25},
    }
    return tune(grid, **{**arguments, **changes})


def plain(tuning):
    """Return what must not depend on interruptions, without durations."""
    return [
        (t.outcome, t.values.get("error"), t.settings, t.training)
        for t in tuning.trials
    ]


def test_errors_are_those_of_closed_form(grid, tmp_path, monkeypatch):
    found = run(grid)
    offsets = [trial.settings["offset"] for trial in found.trials]
    errors = [trial.values["error"] for trial in found.trials]
    np.testing.assert_allclose(errors, np.expm1(offsets), rtol=1e-3)
    assert found.best.settings["offset"] == min(offsets)
    np.testing.assert_allclose(
        found.gain, np.expm1(0.5) / np.expm1(min(offsets)), rtol=1e-3
    )
    assert len(found.front) == 1
    assert "8 trials (8 complete)" in str(found)
    assert not found.warning
    worse = replace(found, default={**found.default, "error": 1e-4})
    best = 100.0 * np.expm1(min(offsets))
    assert str(worse).endswith(
        "The default settings are better than the best trial (error / %: "
        f"{number(0.01)}, not {number(best)}). Build with the defaults, or "
        "run more trials."
    )
    monkeypatch.setattr(figures, "write_figures", lambda *_: [])
    worse.write(tmp_path)
    head = (tmp_path / "best.yaml").read_text().split("architecture")[0]
    assert head.startswith("# The default settings are better than the best")
    assert read_settings(tmp_path / "best.yaml")["settings"]["offset"] == min(
        offsets
    )
    with (tmp_path / "trials.csv").open() as stream:
        first = next(csv.DictReader(stream))
    assert (first["trial"], first["error"]) == ("default", "0.0001")
    assert (first["offset"], first["epochs"]) == ("0.5", "25")
    (row,) = (line for line in str(found).split("\n") if "default" in line)
    assert row.endswith("offset=0.5 epochs=25")
    assert plain(found) == plain(run(grid))
    assert plain(found) != plain(run(grid, seed=1))


@pytest.mark.slow
def test_what_was_interrupted_goes_on_as_if_it_had_not_been(
    grid, tmp_path, brighter, monkeypatch
):
    whole = run(grid, trials=14)
    for stopped_at in (5, 6):
        monkeypatch.setattr(brighter, "seen", [])
        monkeypatch.setattr(brighter, "interrupted_at", stopped_at)
        with pytest.raises(KeyboardInterrupt):
            run(grid, trials=14, storage=tmp_path / "trials.sqlite")
    monkeypatch.setattr(brighter, "interrupted_at", -1)
    resumed = run(grid, trials=14, storage=tmp_path / "trials.sqlite")
    assert plain(resumed) == plain(whole)
    # All trials are done: nothing is trained again.
    brighter.seen.clear()
    again = run(grid, trials=14, storage=tmp_path / "trials.sqlite")
    assert plain(again) == plain(whole) and not brighter.seen


def test_a_storage_has_one_tuning(grid, tmp_path):
    storage = tmp_path / "trials.sqlite"
    run(grid, trials=1, storage=storage)
    with pytest.raises(
        InconsistentArguments,
        match=r"another tuning, which differs in seed \(0, now 1\)\. Use",
    ):
        run(grid, trials=2, storage=storage, seed=1)
    (tmp_path / "text").write_text("This is not a database.")
    with pytest.raises(
        InconsistentArguments, match=r"can't be used to store trials \(.*not a"
    ):
        run(grid, storage=tmp_path / "text")


@pytest.mark.slow
@pytest.mark.parametrize("pruner", ["median", "hyperband"])
def test_bad_trials_are_ended_early(grid, pruner):
    found = run(
        grid, pruner=pruner, trials=16, training={"epochs": 250}, seed=3
    )
    ended = [t for t in found.trials if t.outcome == "ended early"]
    assert 0 < len(ended) < 12
    if pruner == "median":
        for trial in found.study.trials:
            # Against the trials completed before, as Optuna documents.
            step = max(trial.intermediate_values)
            others = [
                other.intermediate_values[step]
                for other in found.study.trials[: trial.number]
                if other.state.name == "COMPLETE"
            ]
            worse = trial.intermediate_values[step] > np.median(others or [9])
            if trial.state.name == "PRUNED":
                assert worse and trial.number >= 5 and step >= 2
    # An error is reported as that of the emulator at this epoch.
    trial = found.study.trials[0]
    first = trial.intermediate_values[0]
    offset = 5 * trial.params["offset"]
    np.testing.assert_allclose(first, np.expm1(offset), rtol=1e-3)
    alone = run(
        grid, pruner="none", trials=16, training={"epochs": 250}, seed=3
    )
    assert all(t.outcome == "complete" for t in alone.trials)


def test_diverged_trials_are_recorded(grid):
    space = {
        "training": {"weight_decay": [0.0, 1.0]},
        "settings": {"offset": [0.1, 0.2]},
    }
    found = run(grid, space=space, trials=8)
    for trial in found.trials:
        diverged = trial.training["weight_decay"] == 1.0
        assert (trial.outcome == "diverged") == diverged
        assert bool(trial.values) != diverged
    assert {t.outcome for t in found.trials} == {"complete", "diverged"}
    space = {"training": {"weight_decay": [1.0, 2.0]}}
    with pytest.raises(
        InconsistentArguments, match="None of 3 trials succeeded: all"
    ):
        run(grid, space=space, trials=3)


@pytest.mark.slow
def test_no_trial_surpasses_those_on_the_pareto_front(
    grid, tmp_path, quick_figures
):
    space = {
        "settings": {
            "offset": {"low": 0.01, "high": 1.0, "log": True},
            "components": {"low": 2, "high": 30},
        }
    }
    found = run(grid, space=space, objectives=["error", "size"], trials=10)
    values = np.array(
        [[t.values["error"], t.values["size"]] for t in found.trials]
    )
    surpassed = [
        any((other <= own).all() and (other < own).any() for other in values)
        for own in values
    ]
    front = {
        t.number
        for t, worse in zip(found.trials, surpassed, strict=True)
        if not worse
    }
    assert set(found.front) == front and len(front) > 1
    written = {path.name for path in found.write(tmp_path)}
    assert {f"trial-{n}.yaml" for n in front} <= written
    assert {"pareto_front.png", "importance_size.png"} <= written


def test_nodes_that_judge_are_never_seen(grid, brighter):
    source = GridNodes.from_grid(grid, ("incident",))
    ages, metallicities = (axis.values for axis in source.header.axes)
    nodes = source.samples("spectra/incident", 1e-8).nodes
    judged = f"metallicities={metallicities[2]:.8g}"
    found = run(grid, validation="ages:3", judge=judged, trials=2)
    # The default, two trials; then the default and the best, judged.
    *trials, default, best = brighter.seen
    for points in trials:
        assert not np.isin(nodes[1][2], points[:, 1].astype("f4"))
        assert not np.isin(nodes[0][2::3][:3], points[:, 0].astype("f4")).any()
    for points in (default, best):
        assert not np.isin(nodes[1][2], points[:, 1].astype("f4"))
        assert np.isin(nodes[0], points[:, 0].astype("f4")).all()
    with divided(source, "ages:3", judged) as divisions:
        points, true = divisions.trials.truth("spectra/incident", None)
    kept = np.delete(metallicities, 2)
    expected = np.array([[a, z] for a in ages[2:-1:3] for z in kept])
    np.testing.assert_allclose(points, expected)
    values = source.read("spectra/incident")
    i, j = (
        np.searchsorted(v, p)
        for v, p in zip((ages, metallicities), points.T, strict=True)
    )
    np.testing.assert_array_equal(true, values[i, j])
    assert set(found.judged) == {"default", "tuned"}
    assert f"judged at {judged}" in str(found)
    # The same call to the same storage judges from what is stored.
    ratio = [found.judged[k]["spectra/incident"].p50 for k in found.judged]
    assert ratio[1] < ratio[0]


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        (
            {"architecture": "residual_table"},
            "'residual_table' has no error at the samples .* --validation",
        ),
        ({"validation": "age:3"}, "no axis 'age'; it has ages"),
        (
            {"validation": "ages:3", "judge": "ages:3"},
            "'ages:3' has no nodes besides those of --judge 'ages:3'",
        ),
        ({"objectives": ["errors"]}, "Did you mean 'error'"),
        ({"measure": "p55"}, "measure must be one of mean_median"),
        ({"trials": 0}, "trials must be a whole number of at least 1"),
        (
            {"settings": {"offset": 0.1}},
            "must vary a setting, got none",
        ),
        (
            {"space": {"training": {"seed": [1, 2]}}},
            "must not vary seed, as the trials would be judged on different",
        ),
        (
            {"space": {"settings": {"shift": [1, 2]}}},
            "'brighter' has no setting shift",
        ),
    ],
)
def test_what_can_not_be_tuned(grid, changes, message):
    with pytest.raises(InconsistentArguments, match=message):
        run(grid, **changes)


def test_scattered_samples_are_split(tmp_path):
    samples = write_analytic_samples(tmp_path / "s.hdf5", n=64, gas=False)
    with pytest.raises(
        InconsistentArguments, match="has scattered samples; got 'ages:3'"
    ):
        run(
            samples,
            axes={"ages": 8, "metallicities": 4},
            architecture="gaussian_process",
            validation="ages:3",
        )


def test_settings_are_drawn_from_a_space():
    config = {
        "settings": {
            "encoder": {"layers": [1, 4], "width": [8, 64], "falling": True},
            "activation": ["relu", "silu"],
            "hidden": [[16], [32, 32]],
            "dropout": {"low": 0.0, "high": 0.2},
        },
        "training": {"batch_size": [32, 64]},
    }
    space = SearchSpace.from_config("three_component", config)
    study = optuna.create_study(sampler=optuna.samplers.RandomSampler(seed=0))
    lengths = set()
    for _ in range(30):
        settings, training = space.draw(study.ask())
        widths = settings["encoder"]
        assert widths == sorted(widths, reverse=True)
        assert all(8 <= width <= 64 for width in widths)
        assert settings["hidden"] in ([16], [32, 32])
        assert 0.0 <= settings["dropout"] <= 0.2
        assert training["batch_size"] in (32, 64)
        lengths.add(len(widths))
    assert lengths == {1, 2, 3, 4}


@pytest.mark.parametrize("name", sorted(ARCHITECTURES))
def test_every_architecture_has_a_space(name):
    config = default_space(name).config
    # Also as YAML, to start from.
    assert yaml.safe_load(yaml.safe_dump(config)) == config
    printed = CliRunner().invoke(
        main, ["tune", "--architecture", name, "--print-space"]
    )
    assert yaml.safe_load(printed.output) == config


@pytest.mark.parametrize(
    ("entry", "message"),
    [
        (3, "settings: components must be a list of choices, a range"),
        ([], "must be a list of choices"),
        ({"low": 2}, "settings: components lacks entries: high"),
        ({"low": 4, "high": 2}, "finite and ascending.*got 4 and 2"),
        ({"low": 0, "high": 2, "log": True}, "positive if log: true"),
        ({"low": "a", "high": 2}, "must be numbers, got 'a'"),
        ({"layers": [1, 2]}, "lacks entries: width"),
        ({"layers": 2, "width": [1, 2]}, r"as in \[1, 3\]; got 2"),
    ],
)
def test_spaces_that_are_refused(entry, message):
    with pytest.raises(InconsistentArguments, match=message):
        SearchSpace.from_config("pca", {"settings": {"components": entry}})


@pytest.mark.slow
def test_the_best_settings_rebuild_the_emulator(grid, tmp_path, quick_figures):
    """The build from best.yaml has the error that the trial had."""
    space = tmp_path / "space.yaml"
    space.write_text(
        "settings: {hidden: [[8], [8, 4]], components: {low: 4, high: 5}}\n"
        "training: {learning_rate: {low: 1.0e-3, high: 1.0e-2, log: true}}\n"
    )
    out = tmp_path / "out"
    command = [
        "tune", grid, "--validation", "split", "--architecture", "pca",
        "--spectra", "incident", "--space", space, "--trials", 3,
        "--epochs", 50, "--out", out, "--quiet",
    ]  # fmt: skip
    result = CliRunner().invoke(main, list(map(str, command)))
    assert result.exit_code == 0, result.output
    assert "pca on g, validation split: 3 trials" in result.output
    with (out / "trials.csv").open() as stream:
        rows = list(csv.DictReader(stream))
    assert rows.pop(0)["trial"] == "default"
    best = min(rows, key=lambda row: float(row["error"]))
    stored = read_settings(out / "best.yaml")
    assert stored["architecture"] == "pca"
    assert str(stored["settings"]["components"]) == best["components"]
    assert stored["training"]["epochs"] == 50
    for name in ("history", "importance", "parallel_coordinates"):
        assert (out / f"{name}.png").stat().st_size > 5000
    arguments = [
        "build", grid, "--settings", out / "best.yaml", "--spectra",
        "incident", "--out", tmp_path, "--quiet",
    ]  # fmt: skip
    built = CliRunner().invoke(main, list(map(str, arguments)))
    assert built.exit_code == 0, built.output
    provenance = EmulatedGrid("g", grid_dir=tmp_path).provenance
    hidden = provenance.architecture_config["hidden"]
    assert list(hidden) == stored["settings"]["hidden"]
    assert asdict(provenance)["training_config"]["epochs"] == 50


def test_settings_files_that_are_refused(tmp_path):
    path = tmp_path / "s.yaml"
    for text, message in (
        ("settings: {}", "lacks entries: architecture"),
        ("architecture: pca\nsettings: 3", "'settings' must have settings by"),
        ("architecture: pca\nsettings: {x: 1}", "'pca' has no setting x"),
        ("architecture: pca\ntraining: {epochs: 0}", "epochs must be"),
    ):
        path.write_text(text)
        with pytest.raises(InconsistentArguments, match=message):
            read_settings(path)
    path.write_text("architecture: pca")
    result = CliRunner().invoke(
        main,
        ["build", "x", "--settings", str(path), "--architecture", "payne"],
    )
    assert "settings of 'pca', but --architecture is 'payne'" in result.output
