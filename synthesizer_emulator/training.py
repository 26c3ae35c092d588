"""Fitting a module's parameters to samples, on the device.

The step is pure and an epoch is scanned on the device; the loop around it
only decides on learning rates, patience and checkpoints.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any, Protocol, TypeVar

import jax
import jax.numpy as jnp
import numpy as np
import optax
from flax import nnx
from jax import Array
from numpy.typing import NDArray
from synthesizer.exceptions import InconsistentArguments

from synthesizer_emulator.checks import check_number, check_whole

# The kind of module that is trained.
M = TypeVar("M", bound=nnx.Module)

SCHEDULES = ("cosine", "plateau")

# A plateau lowers the learning rate by this factor, after a third of the
# patience that stops the training.
_PLATEAU_FACTOR = 0.5


@dataclass(frozen=True)
class TrainingConfig:
    """How to train one network.

    Attributes:
        epochs (int): The most passes over the samples.
        batch_size (int): Samples a step.
        learning_rate (float): The initial learning rate of AdamW.
        weight_decay (float): Its weight decay.
        schedule (str): `cosine` (to zero at the last epoch) or `plateau`
            (halved when the validation loss stalls).
        patience (int): Epochs without a better validation loss after which
            training stops.
        check_every (int): Epochs between looks at the validation loss.
        validation_fraction (float): The part of the samples, drawn at
            random, that is kept out of training to judge it.
        seed (int): Seeds everything random.
    """

    epochs: int = 1500
    batch_size: int = 256
    learning_rate: float = 3e-3
    weight_decay: float = 0.0
    schedule: str = "cosine"
    patience: int = 500
    check_every: int = 25
    validation_fraction: float = 0.1
    seed: int = 0

    def __post_init__(self) -> None:
        """Check the settings.

        Raises:
            InconsistentArguments: If one is out of its range.
        """
        for name in ("epochs", "batch_size", "patience", "check_every"):
            check_whole(name, getattr(self, name), 1)
        check_whole("seed", self.seed, 0)
        check_number("learning_rate", self.learning_rate, 0, open_ends=True)
        check_number("weight_decay", self.weight_decay, 0)
        check_number(
            "validation_fraction", self.validation_fraction, 0, 1, True
        )
        if self.schedule not in SCHEDULES:
            raise InconsistentArguments(
                f"schedule must be one of {', '.join(SCHEDULES)}, got "
                f"'{self.schedule}'."
            )


@dataclass
class History:
    """The losses of one training, one entry a look.

    Attributes:
        epoch (list of int): The epochs done.
        training (list of float): The mean loss over the epochs since the
            last look.
        validation (list of float): The loss on the validation samples.
        learning_rate (list of float): The learning rate.
    """

    epoch: list[int] = field(default_factory=list)
    training: list[float] = field(default_factory=list)
    validation: list[float] = field(default_factory=list)
    learning_rate: list[float] = field(default_factory=list)

    @property
    def best_epoch(self) -> int:
        """The epoch of the lowest validation loss."""
        return self.epoch[int(np.argmin(self.validation))]


class Monitor(Protocol):
    """What a training tells the outside, and what it may get back."""

    def resume(self, template: Any) -> tuple[Any, History] | None:
        """Return the saved state and history of this training, if any."""

    def report(self, history: History, state: Any) -> None:
        """Take note of the newest look; may save the state."""


class Silent:
    """A monitor that neither shows nor saves."""

    def resume(self, template: Any) -> None:
        """Return nothing: start anew."""

    def report(self, history: History, state: Any) -> None:
        """Do nothing."""


def train(
    model: M,
    inputs: NDArray[np.float64],
    targets: NDArray[np.float64],
    config: TrainingConfig,
    monitor: Monitor | None = None,
) -> tuple[M, History]:
    """Fit `model(input)` to targets by least squares.

    Args:
        model (nnx.Module): A function of one input (d,) giving (k,); its
            `nnx.Param` are trained.
        inputs (np.ndarray of float): Shape (n, d).
        targets (np.ndarray of float): Shape (n, k), scaled so that their
            squared errors add up to what shall be small.
        config (TrainingConfig): How to train.
        monitor (Monitor): Shows progress and keeps checkpoints.

    Returns:
        tuple: The model of the lowest validation loss, and the History.

    Raises:
        InconsistentArguments: If the loss is no longer finite.
    """
    monitor = monitor or Silent()
    rng = np.random.default_rng(config.seed)
    fitted, held = _split(len(inputs), config.validation_fraction, rng)
    x, y = jnp.asarray(inputs, jnp.float32), jnp.asarray(targets, jnp.float32)
    graph, params, *others = nnx.split(model, nnx.Param, ...)
    optimiser = optax.inject_hyperparams(optax.adamw)(
        learning_rate=config.learning_rate, weight_decay=config.weight_decay
    )

    def loss(params: nnx.State, x: Array, y: Array) -> Array:
        predicted = jax.vmap(nnx.merge(graph, params, *others))(x)
        return jnp.mean(jnp.sum((predicted - y) ** 2, axis=-1))

    run = _epochs(loss, optimiser, x[fitted], y[fitted], config)
    judge = jax.jit(lambda p: loss(p, x[held], y[held]))
    state = {
        "params": params,
        "best": params,
        "optimiser": optimiser.init(params),
        "key": jax.random.key_data(jax.random.key(config.seed)),
    }
    history = History()
    resumed = monitor.resume(state)
    if resumed is not None:
        state, history = resumed
    for rate in _learning_rates(history, config):
        state["optimiser"].hyperparams["learning_rate"] = jnp.asarray(rate)
        params, optimiser_state, key, mean_loss = run(
            state["params"], state["optimiser"], state["key"]
        )
        judged = float(judge(params))
        done = history.epoch[-1] if history.epoch else 0
        # Before anything is saved from which it would go on like this.
        if not np.isfinite(judged):
            raise InconsistentArguments(
                f"The training diverged at epoch {done + config.check_every}:"
                f" lower the learning rate ({config.learning_rate})."
            )
        better = judged < min(history.validation, default=np.inf)
        state = {
            "params": params,
            "best": params if better else state["best"],
            "optimiser": optimiser_state,
            "key": key,
        }
        history.epoch.append(done + config.check_every)
        history.training.append(float(mean_loss))
        history.validation.append(judged)
        history.learning_rate.append(rate)
        monitor.report(history, state)
    return nnx.merge(graph, state["best"], *others), history


def _split(
    n: int, fraction: float, rng: np.random.Generator
) -> tuple[NDArray[np.intp], NDArray[np.intp]]:
    """Draw which samples are fitted and which are held for validation."""
    if n == 1:
        return np.array([0]), np.array([0])
    order = rng.permutation(n)
    n_held = min(max(1, round(fraction * n)), n - 1)
    return np.sort(order[n_held:]), np.sort(order[:n_held])


def _epochs(
    loss: Callable[..., Array],
    optimiser: optax.GradientTransformation,
    x: Array,
    y: Array,
    config: TrainingConfig,
) -> Callable:
    """Return a compiled function that runs `check_every` epochs."""
    n = len(x)
    batch = min(config.batch_size, n)
    n_batches = n // batch

    def step(carry: tuple, index: Array) -> tuple[tuple, Array]:
        params, optimiser_state = carry
        value, gradient = jax.value_and_grad(loss)(params, x[index], y[index])
        update, optimiser_state = optimiser.update(
            gradient, optimiser_state, params
        )
        return (optax.apply_updates(params, update), optimiser_state), value

    def epoch(carry: tuple, key: Array) -> tuple[tuple, Array]:
        # Each epoch leaves out the remainder of another permutation.
        order = jax.random.permutation(key, n)[: n_batches * batch]
        return jax.lax.scan(step, carry, order.reshape(n_batches, batch))

    @jax.jit
    def run(params: nnx.State, optimiser_state: Any, key_data: Array) -> tuple:
        key = jax.random.wrap_key_data(key_data)
        key, *keys = jax.random.split(key, config.check_every + 1)
        carry, losses = jax.lax.scan(
            epoch, (params, optimiser_state), jnp.stack(keys)
        )
        return *carry, jax.random.key_data(key), losses.mean()

    return run


def _learning_rates(
    history: History, config: TrainingConfig
) -> Iterator[float]:
    """Yield the rate for each look until it is time to stop.

    Reads the history that grows between one look and the next, so that a
    resumed training goes on as if never interrupted.
    """
    while not history.epoch or history.epoch[-1] < config.epochs:
        done = history.epoch[-1] if history.epoch else 0
        stalled = done - history.best_epoch if history.epoch else 0
        if stalled >= config.patience:
            return
        if config.schedule == "cosine":
            part = done / config.epochs
            yield config.learning_rate * 0.5 * (1 + np.cos(np.pi * part))
            continue
        rate = (
            history.learning_rate[-1]
            if history.epoch
            else config.learning_rate
        )
        since = _looks_since_drop(history) * config.check_every
        if min(stalled, since) >= config.patience / 3:
            rate *= _PLATEAU_FACTOR
        yield rate


def _looks_since_drop(history: History) -> int:
    """Return how many looks the present learning rate has had."""
    rates = history.learning_rate
    return next(
        (n for n in range(1, len(rates)) if rates[-1 - n] != rates[-1]),
        len(rates),
    )
