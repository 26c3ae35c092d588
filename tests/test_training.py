from dataclasses import replace

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx
from synthesizer.exceptions import InconsistentArguments

from synthesizer_emulator.architectures.networks import GATED, MLP, FixedLinear
from synthesizer_emulator.architectures.training import (
    TrainingConfig,
    split_samples,
    train,
)
from synthesizer_emulator.evaluation.generalisation.trajectory import (
    look_epochs,
)

RNG = np.random.default_rng(4)
X = RNG.uniform(-1, 1, (200, 2))
Y = np.stack([np.sin(3 * X[:, 0]), X[:, 0] * X[:, 1]], axis=1)
CONFIG = TrainingConfig(
    epochs=200, batch_size=50, learning_rate=1e-2, check_every=20, seed=1
)


def network(seed=0, **kind):
    return MLP(2, (32, 32), 2, rngs=nnx.Rngs(seed), **kind)


class Recorder:
    """Keeps the states, and interrupts after some looks."""

    def __init__(self, stop_after=None, start=None):
        self.stop_after, self.start, self.looks = stop_after, start, []

    def resume(self, template):
        return self.start

    def report(self, history, state):
        self.looks.append(state)
        if len(self.looks) == self.stop_after:
            self.history = history
            raise KeyboardInterrupt


def predictions(model):
    return np.stack([model(x) for x in np.asarray(X[:20], np.float32)])


@pytest.mark.slow
def test_it_learns():
    model, history = train(network(), X, Y, CONFIG)
    assert history.validation[-1] < 0.02 * history.validation[0]
    np.testing.assert_allclose(predictions(model), Y[:20], atol=0.15)


@pytest.mark.parametrize("schedule", ["cosine", "plateau"])
@pytest.mark.parametrize(
    "kind",
    [
        {},
        pytest.param(
            {"batch_norm": True, "dropout": 0.1, "activation": GATED},
            marks=pytest.mark.slow,
        ),
    ],
)
def test_a_resumed_training_ends_as_if_never_interrupted(schedule, kind):
    config = replace(CONFIG, schedule=schedule, patience=60)
    whole, expected = train(network(**kind), X, Y, config)
    broken = Recorder(stop_after=4)
    with pytest.raises(KeyboardInterrupt):
        train(network(**kind), X, Y, config, broken)
    start = broken.looks[-1], broken.history
    resumed, history = train(
        network(**kind), X, Y, config, Recorder(start=start)
    )
    assert history.validation == expected.validation
    np.testing.assert_array_equal(predictions(whole), predictions(resumed))


def test_the_best_model_is_returned_and_not_the_last():
    wild = replace(CONFIG, learning_rate=0.5, epochs=100)
    model, history = train(network(), X, Y, wild)
    rng = np.random.default_rng(wild.seed)
    held = np.sort(rng.permutation(len(X))[:20])
    outputs = np.stack([model(x) for x in np.asarray(X[held], np.float32)])
    loss = np.mean(np.sum((outputs - Y[held]) ** 2, axis=-1))
    np.testing.assert_allclose(loss, min(history.validation), rtol=1e-3)


@pytest.mark.slow
def test_batch_norms_follow_the_data_and_gates_are_learned():
    model, history = train(
        network(batch_norm=True, activation=GATED), 5 + 3 * X, Y, CONFIG
    )
    assert history.validation[-1] < 0.3 * history.validation[0]
    first = model.activations[0]
    fitted, _ = split_samples(len(X), CONFIG)
    seen = model.layers[0](jnp.asarray(5 + 3 * X[fitted], jnp.float32))
    np.testing.assert_allclose(
        first.norm.mean[...], seen.mean(axis=0), atol=0.2 * seen.std()
    )
    assert np.abs(first.gate.beta[...] - 1).max() > 0.01
    assert np.abs(first.gate.gamma[...]).max() > 0.01


def test_what_is_fixed_is_not_trained():
    model = network()
    last = model.layers[-1]
    model.layers[-1] = FixedLinear(last.kernel[...], last.bias[...])
    trained, history = train(model, X, Y, CONFIG)
    np.testing.assert_array_equal(
        trained.layers[-1].kernel[...], last.kernel[...]
    )
    assert history.validation[-1] < 0.1 * history.validation[0]


def test_members_differ_but_are_judged_alike():
    short = replace(CONFIG, epochs=20)
    one, first = train(network(), X, Y, short)
    two, second = train(network(), X, Y, short, member=1)
    assert first.training != second.training
    assert not np.array_equal(predictions(one), predictions(two))
    _, held = split_samples(len(X), short)
    for model, history in ((one, first), (two, second)):
        outputs = model(jnp.asarray(X[held], jnp.float32))
        loss = np.mean(np.sum((outputs - Y[held]) ** 2, axis=-1))
        np.testing.assert_allclose(loss, history.validation[-1], rtol=1e-4)


def test_no_more_epochs_than_were_asked_for():
    """Also if they are no multiple of those between validations."""
    for epochs, expected in ((5, [5]), (45, [20, 40, 45])):
        _, history = train(network(), X, Y, replace(CONFIG, epochs=epochs))
        assert history.epoch == expected
        assert look_epochs(replace(CONFIG, epochs=epochs), 9) == set(expected)


@pytest.mark.slow
def test_it_stops_when_nothing_gets_better():
    noise = RNG.normal(size=Y.shape)
    config = TrainingConfig(
        epochs=5000, patience=100, check_every=20, learning_rate=1e-2
    )
    _, history = train(network(), X, noise, config)
    assert history.epoch[-1] < 5000
    assert history.epoch[-1] - history.best_epoch >= 100


def test_gradients_are_clipped_and_the_rate_warms_up():
    """A step of AdamW hides the size of a gradient; its moments do not."""
    recorder = Recorder()
    config = replace(
        CONFIG, clip_norm=1e-3, schedule="warmup_cosine", check_every=1
    )
    config = replace(config, epochs=40, batch_size=200)
    _, history = train(network(), X, Y, config, recorder)
    rates = np.array(history.learning_rate)
    phase = np.pi * np.arange(40) / 40
    rise = np.minimum(1, (np.arange(40) + 0.5) / (0.05 * 40))
    expected = 1e-2 * rise * 0.5 * (1 + np.cos(phase))
    np.testing.assert_allclose(rates, expected)
    first = recorder.looks[0]["optimiser"].inner_state
    moments = [m for m in jax.tree.leaves(first) if np.size(m) > 1]
    # The first moment is a tenth of the gradient, the second a thousandth of
    # its square.
    squares = sum(
        float(np.sum(np.square(m))) for m in moments[: len(moments) // 2]
    )
    np.testing.assert_allclose(np.sqrt(squares), 0.1 * 1e-3, rtol=1e-3)


def test_a_training_that_diverges_says_so():
    config = replace(CONFIG, learning_rate=1e30)
    with pytest.raises(InconsistentArguments, match=r"diverged.*Use a lower"):
        train(network(), X, Y, config)


@pytest.mark.slow
def test_cosine_falls_to_zero_and_plateau_in_halves():
    _, history = train(network(), X, Y, CONFIG)
    rates = np.array(history.learning_rate)
    assert np.all(np.diff(rates) < 0)
    assert rates[-1] < 0.05 * rates[0]
    config = TrainingConfig(
        epochs=2000,
        schedule="plateau",
        patience=300,
        check_every=20,
        learning_rate=1e-2,
    )
    _, history = train(network(), X, RNG.normal(size=Y.shape), config)
    ratios = np.unique(history.learning_rate) / 1e-2
    assert len(ratios) > 1
    np.testing.assert_allclose(np.log2(ratios) % 1, 0, atol=1e-12)


@pytest.mark.parametrize(
    ("setting", "value", "message"),
    [
        ("epochs", 0, "epochs must be a whole number of at least 1, got 0"),
        ("epochs", 2.5, "whole number of at least 1, got 2.5"),
        ("seed", -1, "seed must be a whole number of at least 0"),
        ("seed", 10**20, "seed must be a whole number of at most"),
        ("learning_rate", float("nan"), "learning_rate must be a number"),
        (
            "learning_rate",
            -1.0,
            r"learning_rate must be .* 0 to inf, both excl.* got -1\.0",
        ),
        ("weight_decay", -0.1, r"weight_decay must be .*got -0\.1"),
        ("schedule", "steps", "plateau, warmup_cosine, got 'steps'"),
        ("validation_fraction", 1.0, r"from 0 to 1, both excluded, got 1\.0"),
    ],
)
def test_bad_settings_are_refused_before_training(setting, value, message):
    with pytest.raises(InconsistentArguments, match=message):
        TrainingConfig(**{setting: value})
