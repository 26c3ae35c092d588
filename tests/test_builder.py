import json
import pickle
import shutil
import subprocess
import sys
from dataclasses import replace

import h5py
import jax
import numpy as np
import pytest
from conftest import QUICK, write_analytic_grid
from synthesizer.exceptions import (
    GridError,
    InconsistentArguments,
    MissingSpectraType,
    UnrecognisedOption,
)
from synthesizer.grid import Grid

from synthesizer_emulator import EmulatedGrid, build
from synthesizer_emulator.architectures.base import EmissionShape
from synthesizer_emulator.building.checkpoint import (
    Checkpoint,
    FinishedEmission,
)
from synthesizer_emulator.building.report import BuildReport
from synthesizer_emulator.building.verdict import verdict, weights_to_replace
from synthesizer_emulator.emulator.metrics import summarise_errors
from synthesizer_emulator.gridfile.header import IONISING
from synthesizer_emulator.weights.file import read_weights, write_weights
from synthesizer_emulator.weights.weights import FORMAT_VERSION

OFFICIAL = "bc03-2016-miles_chabrier-0.1,100_cloudy-c23.01-sps"


@pytest.mark.slow
def test_weights_are_written_beside_the_grid_under_its_name(tmp_path):
    path = write_analytic_grid(tmp_path / f"{OFFICIAL}.hdf5", gas=False)
    report = build(OFFICIAL, grid_dir=tmp_path, **QUICK)
    assert report.path == tmp_path / f"{OFFICIAL}.emulator"
    assert sorted(tmp_path.iterdir()) == sorted([path, report.path])
    grid = EmulatedGrid(OFFICIAL, grid_dir=tmp_path)
    assert grid.grid_name == OFFICIAL
    assert report.provenance.grid_name == OFFICIAL


@pytest.mark.slow
def test_the_report_states_the_errors_that_the_grid_has(analytic_grid):
    """Against the arrays that two users of Synthesizer would compare."""
    report = build(analytic_grid, **QUICK)
    native = Grid("analytic", grid_dir=analytic_grid.parent)
    emulated = EmulatedGrid("analytic", grid_dir=analytic_grid.parent)
    scored = (native._lam >= 912) & (native._lam <= 1e5)
    for name in ("incident", "nebular", "linecont", "transmitted"):
        true = native.spectra[name][..., scored]
        got = emulated.spectra[name][..., scored]
        bright = true > 1e-5 * true.max(-1, keepdims=True)
        errors = np.abs(got[bright] / true[bright] - 1)
        stated = report.provenance.errors[f"spectra/{name}"]
        np.testing.assert_allclose(
            [stated["p50"], stated["p95"], stated["worst"]],
            [*np.quantile(errors, [0.5, 0.95]), errors.max()],
            rtol=2e-2,
            atol=1e-5,  # two ways of rounding
        )
        assert stated["p95"] < 0.01
    assert "lines/luminosity" in str(report)
    assert f"{report.size / 1e6:.1f} MB" in str(report)


@pytest.mark.slow
def test_three_axes(three_axes):
    native = Grid("three", grid_dir=three_axes)
    emulated = EmulatedGrid("three", grid_dir=three_axes)
    assert emulated.shape == native.shape == (8, 4, 3, 150)
    assert emulated._extract_axes == native._extract_axes
    for name in native.spectra:
        true = native.spectra[name]
        bright = true > 1e-5 * true.max(-1, keepdims=True)
        error = np.abs(emulated.spectra[name][bright] / true[bright] - 1)
        assert np.median(error) < 0.01, name
    errors = emulated.provenance.errors
    assert errors["lines/luminosity"]["p50"] < 0.01


@pytest.mark.slow
@pytest.mark.parametrize(
    ("spectra", "gas"),
    [(["incident"], False), ("transmitted", False), (["linecont"], True)],
)
def test_only_the_spectra_asked_for(spectra, gas, analytic_grid):
    """And the lines, which are the gas's, with those of the gas."""
    report = build(analytic_grid, spectra=spectra, **QUICK)
    emulated = EmulatedGrid("analytic", grid_dir=analytic_grid.parent)
    names = [spectra] if isinstance(spectra, str) else spectra
    assert emulated.available_spectra == names
    lines = [e for e in report.provenance.errors if e.startswith("lines/")]
    assert set(report.provenance.errors) - set(lines) == {
        f"spectra/{name}" for name in names
    }
    assert emulated.lines_available == bool(lines) == gas
    assert len(emulated.line_lums) == len(emulated.line_conts)
    assert bool(emulated.line_lums) == gas
    pickle.loads(pickle.dumps(emulated))
    trained = {name.split("/")[0] for name in report.provenance.histories}
    assert ("lines" in trained) == gas


@pytest.mark.slow
def test_the_weights_file_tells_where_it_comes_from(analytic_grid):
    report = build(analytic_grid, **QUICK)
    with h5py.File(report.path) as hdf:
        card = json.loads(hdf["emulator/provenance"][()])
        domain = json.loads(hdf["emulator/domain"][()])
        assert hdf["emulator"].attrs["format_version"] == FORMAT_VERSION
    assert card["architecture"] == "residual_table"
    assert card["architecture_config"]["hidden"] == [16]
    assert card["training_config"]["epochs"] == 50
    assert len(card["source_hash"]) == 64
    assert card["versions"]["jax"]
    assert card["histories"]["spectra/incident"]["validation"]
    assert domain[0]["name"] == "ages"
    assert domain[0]["high"] == pytest.approx(1e10)


class Interrupt(Exception):
    """Stands for a kill at some point of a build."""


@pytest.mark.parametrize("survivors", [0, 1])
def test_an_interrupted_build_resumes_to_the_same_weights(
    tmp_path, monkeypatch, survivors
):
    whole = write_analytic_grid(tmp_path / "whole.hdf5", gas=False)
    expected = read_weights(build(whole, **QUICK).path)
    path = write_analytic_grid(tmp_path / "broken.hdf5", gas=False)
    target = tmp_path / "broken.emulator"
    target.write_text("old weights")

    # Save at every look, and break off in the middle of a training.
    monkeypatch.setattr(
        "synthesizer_emulator.building.progress.SAVE_EVERY", 0.0
    )
    save = Checkpoint.save_training

    def save_and_break(self, *args):
        save(self, *args)
        if len(self.finished) == survivors:
            raise Interrupt

    monkeypatch.setattr(Checkpoint, "save_training", save_and_break)
    with pytest.raises(Interrupt):
        build(path, **QUICK)
    assert target.read_text() == "old weights"
    monkeypatch.setattr(Checkpoint, "save_training", save)

    resumed = read_weights(build(path, **QUICK).path)
    for emission, tensors in expected.tensors.items():
        for name, tensor in tensors.items():
            np.testing.assert_array_equal(
                resumed.tensors[emission][name], tensor
            )
    assert not [p for p in tmp_path.iterdir() if p.name.startswith(".")]


@pytest.mark.slow
def test_a_finished_part_of_an_interrupted_emission_is_not_trained_again(
    tmp_path, monkeypatch
):
    settings = {
        "encoder": [8],
        "hidden": [8],
        "norm_hidden": [8],
        "code": 3,
        "components": 6,
        "autoencoder_epochs": 30,
        "ensemble": 2,
    }
    kind = {
        "architecture": "three_component",
        "settings": settings,
        "spectra": ["incident"],
        "progress": False,
        "training": {"epochs": 30},
    }
    whole = write_analytic_grid(tmp_path / "whole.hdf5", gas=False)
    expected = read_weights(build(whole, **kind).path)
    path = write_analytic_grid(tmp_path / "broken.hdf5", gas=False)
    monkeypatch.setattr(
        "synthesizer_emulator.building.progress.SAVE_EVERY", 0.0
    )
    save, trained = Checkpoint.save_training, []

    def save_and_break(self, emission, training, *rest):
        save(self, emission, training, *rest)
        trained.append(training)
        if trained.count("member 2 norm") == 1:
            raise Interrupt

    monkeypatch.setattr(Checkpoint, "save_training", save_and_break)
    with pytest.raises(Interrupt):
        build(path, **kind)
    parts = ["autoencoder", "norm", "", "member 2 norm"]
    assert list(dict.fromkeys(trained)) == parts
    trained.append("member 2 norm")
    resumed = read_weights(build(path, **kind).path)
    assert not set(parts[:3]) & set(trained[trained.index(parts[3]) :])
    assert trained[-1] == "member 2"
    for name, tensor in expected.tensors["spectra/incident"].items():
        np.testing.assert_array_equal(
            resumed.tensors["spectra/incident"][name], tensor
        )
    histories = resumed.provenance.histories
    assert histories == expected.provenance.histories
    assert "spectra/incident: member 2 norm" in histories


@pytest.mark.slow
def test_a_checkpoint_of_another_build_is_not_taken_up(tmp_path, monkeypatch):
    path = write_analytic_grid(tmp_path / "g.hdf5", gas=False)
    kind = {**QUICK, "spectra": ["incident"]}

    def interrupt(self, emission, result):
        original(self, emission, result)
        raise Interrupt

    original = Checkpoint.save_finished
    monkeypatch.setattr(Checkpoint, "save_finished", interrupt)
    with pytest.raises(Interrupt):
        build(path, **kind)
    monkeypatch.setattr(Checkpoint, "save_finished", original)
    other = {**kind, "settings": {"hidden": [8]}}
    weights = read_weights(build(path, **other).path)
    kernel = weights.tensors["spectra/incident"][
        "regressor/trend/network/layers/0/kernel"
    ]
    assert kernel.shape == (2, 8)


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory):
    """Return a checkpoint of one finished emission."""
    path = tmp_path_factory.mktemp("saved") / "checkpoint"
    shape = EmissionShape((3, 2), 5, 4)
    tensors = {"a/b": np.arange(6.0, dtype=np.float32)}
    saved = Checkpoint(path, "this build")
    saved.save_finished(
        "spectra/incident", FinishedEmission(shape, tensors, {})
    )
    return path.read_bytes()


def test_a_damaged_checkpoint_is_named_and_never_in_the_way(
    checkpoint, tmp_path, monkeypatch
):
    path = tmp_path / "checkpoint"
    path.write_bytes(checkpoint)
    assert Checkpoint.open(path, "this build").finished
    said = []
    monkeypatch.setattr(
        "synthesizer_emulator.building.checkpoint.warn", said.append
    )
    rng = np.random.default_rng(5)
    n = 200
    for position in rng.integers(0, 8 * len(checkpoint), n):
        damaged = bytearray(checkpoint)
        damaged[position // 8] ^= 1 << position % 8
        path.write_bytes(damaged[: None if position % 3 else position // 8])
        assert not Checkpoint.open(path, "this build").finished
    assert len(said) == n
    assert all("checkpoint'" in message for message in said)
    assert all(message.endswith("starts over.") for message in said)


def test_a_build_goes_on_beside_a_damaged_checkpoint(analytic_grid):
    scratch = analytic_grid.with_name(".analytic.emulator.checkpoint")
    scratch.write_text("damaged")
    # Of killed builds.
    for left in (".1.partial", ".lock"):
        scratch.with_name(f".{scratch.name}{left}").touch()
    analytic_grid.with_name(".analytic.emulator.x.partial").touch()
    with pytest.warns(RuntimeWarning, match="starts over"):
        report = build(analytic_grid, spectra=["incident"], **QUICK)
    assert sorted(analytic_grid.parent.iterdir()) == sorted(
        [analytic_grid, report.path]
    )


_HOLD = """
import sys
from pathlib import Path
from synthesizer_emulator.files.locks import exclusive
with exclusive(Path(sys.argv[1])):
    print("at work", flush=True)
    sys.stdin.read()
"""


def test_a_second_build_is_told_of_the_first(analytic_grid):
    target = analytic_grid.with_name("analytic.emulator")
    other = subprocess.Popen(
        [sys.executable, "-c", _HOLD, str(target)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    assert other.stdout.readline() == "at work\n"
    with pytest.raises(OSError, match=r"Another process is writing .*emulat"):
        build(analytic_grid, **QUICK)
    other.kill()
    other.communicate()


@pytest.mark.parametrize(
    ("value", "message"),
    [
        (np.nan, r"'spectra/transmitted'.*not finite at ages\[3\] = "),
        (-1.0, r"'spectra/transmitted'.*negative value at ages\[3\] = "),
        (1e45, r"'spectra/transmitted'.*too large for float32 at ages\[3\]"),
    ],
)
def test_bad_values_are_named_with_their_node(analytic_grid, value, message):
    with h5py.File(analytic_grid, "a") as hdf:
        hdf["spectra/transmitted"][3, 2, 77] = value
    with pytest.raises(GridError, match=message):
        build(analytic_grid, **QUICK)
    assert not analytic_grid.with_name("analytic.emulator").exists()


def test_other_bad_input(analytic_grid, tmp_path):
    with pytest.raises(GridError, match="No grid file"):
        build(tmp_path / "nosuch.hdf5", **QUICK)
    with pytest.raises(MissingSpectraType, match=r"incident.*; got x"):
        build(analytic_grid, spectra=["x"], **QUICK)
    with pytest.raises(UnrecognisedOption, match=r"one of .*; got 'x'"):
        build(analytic_grid, architecture="x")
    with pytest.raises(InconsistentArguments, match=r"in '\.emulator'"):
        build(analytic_grid, out=tmp_path / "weights.h5", **QUICK)
    (tmp_path / "file").touch()
    with pytest.raises(OSError, match=r"Can't make the folder '.*/file'"):
        build(analytic_grid, out=tmp_path / "file" / "w.emulator", **QUICK)


def test_an_emission_that_is_nowhere(tmp_path):
    path = write_analytic_grid(tmp_path / "dark.hdf5", gas=False)
    with h5py.File(path, "a") as hdf:
        hdf["spectra/transmitted"][...] = 0.0
    report = build(path, **QUICK)
    grid = EmulatedGrid("dark", grid_dir=tmp_path)
    assert (grid.spectra["transmitted"] == 0).all()
    assert grid.spectra["incident"].any()
    assert "spectra/transmitted" not in report.provenance.errors


def test_weights_are_no_grid(analytic_grid):
    report = build(analytic_grid, spectra=["incident"], **QUICK)
    with pytest.raises(GridError, match="holds the weights of an emulator"):
        build(report.path, **QUICK)


def test_arrays_that_do_not_fit(analytic_grid):
    with h5py.File(analytic_grid, "a") as hdf:
        values = hdf["spectra/incident"][..., :-1]
        del hdf["spectra/incident"]
        hdf["spectra/incident"] = values
    with pytest.raises(GridError, match=r"'spectra/incident'.* must have"):
        build(analytic_grid, **QUICK)


def test_a_build_in_double_precision_gives_the_same_file(
    double_precision, tmp_path
):
    """Of single precision, from which double precision computes."""
    path = write_analytic_grid(tmp_path / "g.hdf5", gas=False)
    weights = read_weights(build(path, spectra=["incident"], **QUICK).path)
    for name, tensor in weights.tensors["spectra/incident"].items():
        assert tensor.dtype.name in ("float32", "int32", "bool"), name
    emulator = weights.emulator
    evaluate = jax.jit(lambda p: emulator.spectrum("incident", p))
    assert evaluate(np.array([1e7, 0.01])).dtype == np.float64
    assert EmulatedGrid("g", grid_dir=tmp_path).spectra["incident"].any()


def test_a_single_spectrum_is_refused(tmp_path):
    path = write_analytic_grid(tmp_path / "one.hdf5", n_ages=1, n_metals=1)
    with pytest.raises(GridError, match=r"two nodes.*metallicities \(1\)"):
        build(path, **QUICK)


def test_error_summary_counts_only_what_is_bright():
    true = np.array([[1.0, 0.5, 1e-7], [0.0, 0.0, 0.0], [2.0, 1.0, 1.0]])
    emulated = np.array([[1.01, 0.5, 5e-7], [0.0, 0.0, 0.0], [2.0, 1.1, 1.0]])
    summary = summarise_errors(emulated, true)
    assert summary.spectra == 2
    np.testing.assert_allclose(summary.worst, 0.1, rtol=1e-5)
    np.testing.assert_allclose(
        summary.mean_median, np.mean([0.005, 0.1 / 3]), rtol=1e-5
    )
    assert summarise_errors(np.zeros((2, 3)), np.zeros((2, 3))) is None


@pytest.fixture(scope="module")
def once_built(tmp_path_factory):
    """Return the path of a grid of starlight with good weights beside it."""
    path = tmp_path_factory.mktemp("once") / "g.hdf5"
    write_analytic_grid(path, gas=False)
    build(path, **QUICK)
    return path


@pytest.fixture
def with_weights(once_built, tmp_path):
    """Return a copy of it, and the path of its weights."""
    for path in once_built.parent.iterdir():
        shutil.copy(path, tmp_path)
    return tmp_path / "g.hdf5", tmp_path / "g.emulator"


@pytest.fixture
def untrained(monkeypatch):
    """Let no build get as far as training."""

    def fail(*args):
        pytest.fail("it trained")

    monkeypatch.setattr(
        "synthesizer_emulator.building.builder.fit_emission", fail
    )


# Weights that fit badly: nearly no components.
POOR = {
    **QUICK,
    "settings": {"hidden": [16], "components": 1},
}


@pytest.mark.slow
def test_better_weights_are_kept(with_weights):
    path, weights = with_weights
    good = weights.read_bytes()
    message = (
        r"g.emulator' have smaller errors .*spectra/\w+ is within .*% "
        r"at .* of its pixels, and was within .*kept\. The new weights are in "
        r"'.*g.new.emulator': load them with EmulatedGrid\(.*--overwrite"
    )
    with pytest.raises(InconsistentArguments, match=message):
        build(path, **POOR)
    assert weights.read_bytes() == good
    # Nothing is lost, and nothing else is left.
    new = weights.with_name("g.new.emulator")
    assert sorted(path.parent.iterdir()) == sorted([path, weights, new])
    poor = EmulatedGrid("g", weights=new)
    assert poor.provenance.architecture_config["components"] == 1
    better = read_weights(weights).provenance.errors["spectra/incident"]
    assert poor.provenance.errors["spectra/incident"]["p95"] > better["p95"]


@pytest.mark.slow
def test_better_weights_are_overwritten_if_told(with_weights):
    path, weights = with_weights
    report = build(path, overwrite=True, **POOR)
    assert report.path == weights
    settings = read_weights(weights).provenance.architecture_config
    assert settings["components"] == 1
    assert sorted(path.parent.iterdir()) == sorted([path, weights])
    # And these by better ones without a question.
    build(path, **QUICK)
    settings = read_weights(weights).provenance.architecture_config
    assert settings["components"] > 1


@pytest.mark.slow
@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (
            {"architecture": "pca"},
            r"architecture 'residual_table', not 'pca'",
        ),
        ({"spectra": ["incident"]}, "It also contains spectra/transmitted"),
    ],
)
def test_other_weights_are_kept(with_weights, untrained, arguments, message):
    path, weights = with_weights
    good = weights.read_bytes()
    name = arguments.get("architecture", "residual_table")
    remedy = rf"{message}.*--out '.*g\.{name}\.emulator'.*--overwrite"
    with pytest.raises(InconsistentArguments, match=remedy):
        build(path, progress=False, **arguments)
    assert weights.read_bytes() == good


def test_weights_of_another_grid_are_kept(with_weights, untrained):
    path, weights = with_weights
    other = shutil.copy(path, path.with_name("h.hdf5"))
    with pytest.raises(InconsistentArguments, match=r"of the grid 'g', not "):
        build(other, out=weights, progress=False)


def test_an_ensemble_is_kept(with_weights, untrained):
    _, weights = with_weights
    card = read_weights(weights).provenance
    config = {**card.architecture_config, "ensemble": 3}
    changed = replace(card, architecture_config=config)
    with pytest.raises(InconsistentArguments, match="ensemble of 3, not of 1"):
        weights_to_replace(
            weights_of_card(weights, changed),
            card,
            ["spectra/incident"],
            read_weights(weights).header,
        )


def weights_of_card(path, card):
    """Write weights with another provenance, and return their path."""
    write_weights(path, replace(read_weights(path), provenance=card))
    return path


def _newer(hdf):
    hdf["emulator"].attrs["format_version"] = 9


def _foreign(hdf):
    del hdf["emulator"]


def test_newer_and_foreign_files_are_kept(with_weights, untrained):
    path, weights = with_weights
    for damage, message in (
        (
            lambda hdf: hdf["emulator"].attrs.update(format_version=9),
            "Upgrade",
        ),
        (lambda hdf: hdf.__delitem__("emulator"), "not a weights file"),
    ):
        kept = weights.with_name("kept.emulator")
        with h5py.File(weights) as old, h5py.File(kept, "w") as hdf:
            for name in old:
                old.copy(name, hdf)
            damage(hdf)
        image = kept.read_bytes()
        with pytest.raises(InconsistentArguments, match=rf"{message}.*keep b"):
            build(path, out=kept, progress=False)
        assert kept.read_bytes() == image


def test_damaged_and_outdated_weights_are_replaced(with_weights):
    """As the errors about them say to build them again."""
    path, weights = with_weights
    good = read_weights(weights)
    stale = replace(good.provenance, source_hash="0" * 64, errors={})
    for damaged in (True, False):
        if damaged:
            weights.write_bytes(weights.read_bytes()[:-10])
        else:
            weights_of_card(weights, stale)
        build(path, **QUICK)
        hash_now = read_weights(weights).provenance.source_hash
        assert hash_now == good.provenance.source_hash


@pytest.mark.slow
def test_architectures_lie_side_by_side(with_weights):
    path, weights = with_weights
    other = weights.with_name("g.payne.emulator")
    build(
        path,
        out=other,
        architecture="payne",
        settings={"hidden": [4]},
        training={"epochs": 25},
        progress=False,
    )
    folder = path.parent
    assert (
        EmulatedGrid("g", grid_dir=folder).provenance.architecture
        == "residual_table"
    )
    payne = EmulatedGrid("g", grid_dir=folder, weights=other)
    assert payne.provenance.architecture == "payne"
    assert payne.grid_name == "g"


def test_the_verdict_goes_by_the_worst(with_weights):
    card = read_weights(with_weights[1]).provenance
    worst = max(e["p95"] for e in card.errors.values())
    said = verdict(card.errors)
    assert "\n" not in said
    assert f"{100 * worst:.2g}% at 95%" in said
    for error, word in ((0.001, "good"), (0.05, "coarse"), (5842.0, "poor")):
        errors = {**card.errors, "x": {"p50": error / 2, "p95": error}}
        assert f"Verdict: {word}. The worst emission, x, " in verdict(errors)
    assert "584,200% at 95%" in verdict(errors)
    assert "no emission" in verdict({})
    # Scattered samples can be more.
    for samples in (
        "60 scattered samples of 2 files",
        "Latin hypercube of 60",
    ):
        advised = verdict({"x": {"p50": 0.2, "p95": 0.5}}, samples)
        assert "train on more samples than these 60, or use" in advised
    assert "more samples" not in verdict(errors, "60 nodes")
    report = BuildReport(with_weights[1], card, 1)
    assert f"{said} Run `synthesizer-emulator evaluate`" in str(report)


@pytest.mark.parametrize(
    ("entry", "change", "message"),
    [
        ("star_fraction", np.nan, r"'star_fraction'.*not finite at ages\[0\]"),
        (f"{IONISING}/HI", np.nan, r"HI'.*not finite at ages\[0\] = 1e\+06"),
        ("star_fraction", np.transpose, r"'star_fraction'.*the axes have"),
        (f"{IONISING}/HI", np.transpose, r"HI'.*the axes have \(12, 6\)"),
        ("spectra/incident", np.transpose, "'spectra/incident'.* must have"),
        ("spectra/incident", np.char.array, "not an array of numbers"),
        ("axes/ages", np.char.array, "'axes/ages'.*not an array of numbers"),
    ],
)
def test_all_that_is_stored_is_checked_before_training(
    with_weights, untrained, entry, change, message
):
    path, weights = with_weights
    good = weights.read_bytes()
    with h5py.File(path, "r+") as hdf:
        if callable(change):
            values = hdf[entry][...]
            attributes = dict(hdf[entry].attrs)
            del hdf[entry]
            strings = change is np.char.array
            hdf[entry] = values.astype("S8") if strings else change(values)
            hdf[entry].attrs.update(attributes)
        else:
            hdf[entry][0, 0] = change
    with pytest.raises(GridError, match=rf"{message}.* again"):
        build(path, **QUICK)
    assert weights.read_bytes() == good


def test_what_can_not_be_kept_is_known_before_training(
    with_weights, untrained
):
    path, _ = with_weights
    with pytest.raises(
        InconsistentArguments, match=r"'author' of .* string, got 5"
    ):
        build(path, author=5, progress=False)
    with h5py.File(path, "r+", libver="latest") as hdf:
        # More than HDF5 takes in an attribute of a file of the usual kind.
        del hdf["Model"]
        hdf.create_group("Model").attrs["history"] = np.ones(10_000)
    with pytest.raises(GridError, match=r"of 'g.hdf5' can't.*Correct the"):
        build(path, **QUICK)


@pytest.mark.slow
def test_numbers_of_numpy_are_settings(with_weights):
    path, _ = with_weights
    settings = {"hidden": [np.int64(16)], "trend": np.float32(0.5)}
    report = build(path, overwrite=True, **{**QUICK, "settings": settings})
    card = read_weights(report.path).provenance
    assert card.architecture_config["hidden"] == [16]
    assert card.architecture_config["trend"] == 0.5


@pytest.mark.parametrize(
    ("entry", "units"),
    [
        ("axes/ages", "Msun"),
        ("axes/metallicities", "yr"),
        ("spectra/incident", "yr"),
        ("spectra/incident", "W/Hz"),
        ("spectra/incident", "Lsun/Hz"),
    ],
)
def test_units_of_another_kind_are_refused(analytic_grid, entry, units):
    with h5py.File(analytic_grid, "r+") as hdf:
        hdf[entry].attrs["Units"] = units
    with pytest.raises(GridError, match=f"'{entry}' of .* got '{units}'"):
        build(analytic_grid, **QUICK)
