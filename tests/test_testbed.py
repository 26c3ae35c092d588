"""The compositional testbed: its world by hand, and a small study."""

import csv
import json

import jax.numpy as jnp
import numpy as np
import pytest
from click.testing import CliRunner
from flax import nnx
from scipy.constants import c, h, k
from synthesizer.exceptions import InconsistentArguments, UnrecognisedOption

from synthesizer_emulator.architectures.networks import ConvolutionalEncoder
from synthesizer_emulator.cli.main import main
from synthesizer_emulator.evaluation.generalisation.composition import compose
from synthesizer_emulator.evaluation.generalisation.testbed import (
    FORWARD,
    INVERSE,
    Testbed,
    TestData,
    read_test,
    true_spectra,
    write_data,
)
from synthesizer_emulator.evaluation.generalisation.world import (
    World,
    combination_of,
)
from synthesizer_emulator.gridfile.samples import SampleFile

SMALL = World(bins=48, lines=6, seed=3)

SETTINGS = """
world: {bins: 48, lines: 6, seed: 3}
emulators:
  small: {architecture: pca,
    settings: {components: 4, hidden: [8]},
    training: {epochs: 20, batch_size: 32, check_every: 10}}
networks:
  CNN: {kind: cnn, hidden: [4, 4],
    training: {epochs: 20, batch_size: 32, check_every: 10}}
data_seeds: [0, 5]
training_seeds: [1]
samples: 40
tests: 6
looks: 2
"""


@pytest.mark.parametrize("kind", ["multiplicative", "additive"])
def test_spectra_are_black_bodies_with_lines(kind):
    world = World(("a", "b", "c"), lines=7, bins=64, kind=kind, seed=1)
    labels = np.array([[4321.0, 0.3, 0.0, 0.9], [6000.0, 0.0, 0.0, 0.0]])
    lam = np.linspace(3000.0, 12000.0, 64)
    lines = world.line_list
    for found, (temperature, *abundances) in zip(
        true_spectra(world, labels), labels, strict=True
    ):
        metre = lam * 1e-10
        planck = metre**-5 / np.expm1(h * c / (metre * k * temperature))
        planck /= planck.mean()
        total = np.zeros(64)
        for i in range(7):
            x = (lam - lines["centres"][i]) / lines["widths"][i]
            height = abundances[i % 3] * lines["strengths"][i]
            total += height * np.exp(-(x**2) / 2.0)
        expected = (
            planck + total if kind == "additive" else planck * np.exp(-total)
        )
        np.testing.assert_allclose(found, expected, rtol=2e-5)


def test_draws_have_their_weights_and_seeds():
    rng = np.random.default_rng(0)
    weights = {"none": 1.0, "iron": 2.0, "iron+magnesium": 1.5}
    labels = SMALL.draw(weights, 10, rng)
    names = combination_of(labels, SMALL)
    assert [list(names).count(name) for name in weights] == [2, 5, 3] or [
        list(names).count(name) for name in weights
    ] == [2, 4, 4]
    assert labels[:, 0].min() > 3000.0
    assert labels[labels > 0].min() >= 0.1
    again = SMALL.draw(weights, 10, np.random.default_rng(0))
    np.testing.assert_array_equal(labels, again)
    ones = np.ones((4000, 48))
    noise = SMALL.add_noise(ones, rng).std(axis=1)
    # Log-uniform from 0.01 to 0.15: the median is the geometric mean.
    assert np.median(noise) == pytest.approx(np.sqrt(0.01 * 0.15), rel=0.05)
    assert 0.007 < noise.min() < 0.012
    assert 0.13 < noise.max() < 0.2
    assert SMALL.combinations == (
        *("none", "iron", "magnesium"),
        "iron+magnesium",
    )


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"components": ("iron",)}, "two or more different names, got iron"),
        ({"components": ("a+b", "c")}, "nor contain '\\+'; got 'a\\+b'"),
        ({"lines": 1}, "lines must be a whole number of at least 2"),
        ({"kind": "mixed"}, "kind must be one of multiplicative, additive"),
        ({"noise": (0.2, 0.1)}, "noise must ascend"),
    ],
)
def test_worlds_that_are_none(changes, message):
    with pytest.raises(InconsistentArguments, match=message):
        World(**changes)


@pytest.mark.parametrize(
    ("text", "error", "message"),
    [
        ("word: {}", InconsistentArguments, "unknown entries: word.*'world'"),
        ("world: {bin: 9}", InconsistentArguments, "world has unknown.*bin"),
        ("samples: 3", InconsistentArguments, "samples must be a whole"),
        (
            "training: {a: {irn: 1}}",
            InconsistentArguments,
            "got 'irn'. Did you mean 'iron'",
        ),
        ("training: {a: {iron: 0}}", InconsistentArguments, "positive sum"),
        ("emulators: {x: {}}", UnrecognisedOption, "'x'"),
        ("networks: {x: {kind: rnn}}", InconsistentArguments, "mlp, cnn"),
    ],
)
def test_settings_that_are_none(text, error, message, tmp_path):
    path = tmp_path / "t.yaml"
    path.write_text(text)
    with pytest.raises(error, match=message):
        Testbed.read(path)


@pytest.fixture
def testbed(tmp_path):
    path = tmp_path / "settings.yaml"
    path.write_text(SETTINGS)
    return Testbed.read(path)


def test_errors_of_spectra_are_errors_of_labels(testbed, tmp_path):
    """Of true spectra at labels that are wrong by a little."""
    write_data(testbed, tmp_path)
    test = read_test(testbed, tmp_path, 5)
    assert isinstance(test, TestData)
    wrong = np.random.default_rng(0).normal(size=test.labels.shape)
    wrong = test.labels + wrong * [5.0, 0.003, 0.003]
    found = test.nearest_labels(true_spectra(testbed.world, wrong))
    error = (found - wrong) / [5.0, 0.003, 0.003]
    assert np.abs(error).max() < 0.1


def test_data_have_seeds_of_their_own(testbed, tmp_path):
    """Training and test sets differ, and between seeds of the data."""
    paths = write_data(testbed, tmp_path)
    assert len(paths) == 6
    points = [SampleFile.open(path).points for path in paths]
    firsts = {tuple(each[0]) for each in points}
    assert len(firsts) == 6
    alone = SampleFile.open(tmp_path / "samples" / "alone-0.hdf5")
    names = set(combination_of(alone.points, testbed.world))
    assert names == {"none", "iron", "magnesium"}
    assert alone.high.tolist() == [7000.0, 1.0, 1.0]
    before = [path.read_bytes() for path in paths]
    write_data(testbed, tmp_path)
    assert [path.read_bytes() for path in paths] == before


@pytest.mark.slow
def test_a_small_study(testbed, tmp_path):
    found = compose(testbed, tmp_path, progress=False)
    assert len(found.runs) == 12
    assert found.methods == {
        "small": FORWARD,
        "fit of small": INVERSE,
        "CNN": INVERSE,
    }
    for run in found.runs:
        truth = found.truth[run.data_seed]
        kept = combination_of(truth, testbed.world) == "iron+magnesium"
        error = np.abs(run.labels - truth)[kept].mean(axis=0)
        np.testing.assert_allclose(run.mae[-1, 3], error, rtol=1e-4)
    # Components that are not there do not dilute the errors.
    errors = found.component_errors("CNN", "alone", "iron")
    assert np.isfinite(errors[:, 0]).all()
    assert np.isnan(errors[:, 1]).all()
    ratio = [
        found.component_errors("CNN", name, "iron+magnesium").mean(axis=1)
        for name in ("alone", "together")
    ]
    np.testing.assert_allclose(found.gaps("CNN"), ratio[0] / ratio[1])
    rows = list(csv.DictReader((tmp_path / "trajectories.csv").open()))
    # Two epochs and the best network, of four combinations of three labels.
    assert len(rows) == 4 * (3 + 1 + 3) * 4 * 3
    assert "iron+magnesium" in str(found)
    # Runs that are there are not repeated, unless one is lost.
    files = sorted((tmp_path / "runs").iterdir())
    before = {path: path.stat().st_mtime_ns for path in files}
    files[0].unlink()
    with pytest.raises(InconsistentArguments, match="all 12 runs, got 11"):
        compose(testbed, tmp_path, progress=False, stage="tables")
    again = compose(testbed, tmp_path, progress=False)
    changed = [p for p in files if p.stat().st_mtime_ns != before[p]]
    assert changed == [files[0]]
    np.testing.assert_allclose(again.runs[0].mae, found.runs[0].mae, rtol=1e-4)
    arguments = ["testbed", str(tmp_path / "settings.yaml"), "-q"]
    arguments += ["--out", str(tmp_path), "--stage", "tables"]
    result = CliRunner().invoke(main, arguments)
    assert result.exit_code == 0, result.output
    assert len(list((tmp_path / "figures").glob("*.png"))) == 9
    (tmp_path / "settings.yaml").write_text(
        SETTINGS.replace("samples: 40", "samples: 50")
    )
    result = CliRunner().invoke(main, arguments)
    assert "is of other settings" in result.output
    stored = json.loads(files[1].read_text())
    del stored["run"]["mae"]
    files[1].write_text(json.dumps(stored))
    with pytest.raises(InconsistentArguments, match="is damaged"):
        compose(testbed, tmp_path, progress=False, stage="tables")


@pytest.mark.parametrize(("n", "kernel", "stride"), [(33, 5, 2), (17, 3, 4)])
def test_convolutions_are_those_of_flax(n, kernel, stride):
    options = {"activation": "silu", "dropout": 0.0, "batch_norm": False}
    encoder = ConvolutionalEncoder(
        n, [3, 4], 2, kernel=kernel, stride=stride, rngs=nnx.Rngs(0), **options
    )
    inputs = jnp.asarray(np.random.default_rng(0).normal(size=(5, n)))
    x = jnp.asarray(inputs, jnp.float32)[..., None]
    for layer, activation in zip(
        encoder.layers, encoder.activations, strict=True
    ):
        x = activation(layer(x))
    expected = encoder.last(x.reshape(5, -1))
    np.testing.assert_allclose(encoder(inputs), expected, atol=2e-6)
