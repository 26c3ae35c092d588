"""Fitting a network's parameters to samples, on the device.

The step is pure and an epoch is scanned on the device; the loop around it
only decides on learning rates, patience and checkpoints.
"""

from collections.abc import Iterator
from dataclasses import dataclass, field
from functools import partial
from typing import Any, Protocol, TypeVar

import jax
import jax.numpy as jnp
import numpy as np
import optax
from flax import nnx
from jax import Array
from numpy.typing import NDArray
from synthesizer.exceptions import InconsistentArguments

from synthesizer_emulator.architectures.networks import Network
from synthesizer_emulator.validation import (
    check_choice,
    check_number,
    check_whole,
)

# The kind of network that is trained.
N = TypeVar("N", bound=Network)

SCHEDULES = ("cosine", "plateau")

# A plateau lowers the learning rate by this factor, after a third of the
# patience that stops the training.
_PLATEAU_FACTOR = 0.5

# JAX takes no more.
_LARGEST_SEED = 2**63 - 1


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
        check_whole("seed", self.seed, 0, _LARGEST_SEED)
        check_number("learning_rate", self.learning_rate, 0, open_ends=True)
        check_number("weight_decay", self.weight_decay, 0)
        check_number(
            "validation_fraction", self.validation_fraction, 0, 1, True
        )
        check_choice("schedule", self.schedule, SCHEDULES)


@dataclass
class LossHistory:
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

    def stage(self, name: str, epochs: int | None = None) -> "Monitor":
        """Return the monitor of a further training of the same.

        Args:
            name (str): The name of the training.
            epochs (int): The most epochs of it, if not as many.
        """

    def resume(self, template: Any) -> tuple[Any, LossHistory] | None:
        """Return the saved state and history of this training, if any."""

    def report(self, history: LossHistory, state: Any) -> None:
        """Take note of the newest look; may save the state."""


class Silent:
    """A monitor that neither shows nor saves."""

    def stage(self, name: str, epochs: int | None = None) -> "Silent":
        """Return itself."""
        return self

    def resume(self, template: Any) -> None:
        """Return nothing: start anew."""

    def report(self, history: LossHistory, state: Any) -> None:
        """Do nothing."""


def train(
    model: N,
    inputs: NDArray,
    targets: NDArray,
    config: TrainingConfig,
    monitor: Monitor | None = None,
    member: int = 0,
) -> tuple[N, LossHistory]:
    """Fit `model(inputs)` to targets by least squares.

    Args:
        model (Network): Maps inputs (n, d) to (n, k); its `nnx.Param` are
            trained, its `nnx.BatchStat` follow.
        inputs (np.ndarray of float): Shape (n, d).
        targets (np.ndarray of float): Shape (n, k), scaled so that their
            squared errors add up to what shall be small.
        config (TrainingConfig): How to train.
        monitor (Monitor): Shows progress and keeps checkpoints.
        member (int): Which member of an ensemble this is: each goes
            through the samples in its own order, but all are judged by
            the same ones.

    Returns:
        tuple: The model of the lowest validation loss, and the LossHistory.

    Raises:
        InconsistentArguments: If the loss is no longer finite.
    """
    monitor = monitor or Silent()
    fitted, held = split_samples(len(inputs), config)
    x, y = jnp.asarray(inputs, jnp.float32), jnp.asarray(targets, jnp.float32)
    graph, params, *rest = nnx.split(model, nnx.Param, nnx.BatchStat, ...)
    statistics, constants = rest
    seen = x[fitted], y[fitted]
    judging = x[held], y[held]
    key = member_key(config, member)
    state = {
        "network": (params, statistics),
        "best": (params, statistics),
        "optimiser": _optimiser(config).init(params),
        "key": jax.random.key_data(key),
    }
    history = LossHistory()
    resumed = monitor.resume(state)
    if resumed is not None:
        state, history = resumed
    for rate in _learning_rates(history, config):
        state["optimiser"].hyperparams["learning_rate"] = jnp.asarray(rate)
        state, mean_loss = _run_epochs(graph, config, state, constants, *seen)
        loss, _ = _loss(graph, *state["network"], constants, *judging)
        judged = float(loss)
        done = history.epoch[-1] if history.epoch else 0
        # Before anything is saved from which it would go on like this.
        if not np.isfinite([judged, float(mean_loss)]).all():
            raise InconsistentArguments(
                f"The training diverged at epoch {done + config.check_every}:"
                f" lower the learning rate ({config.learning_rate})."
            )
        if judged < min(history.validation, default=np.inf):
            state["best"] = state["network"]
        history.epoch.append(done + config.check_every)
        history.training.append(float(mean_loss))
        history.validation.append(judged)
        history.learning_rate.append(rate)
        monitor.report(history, state)
    return nnx.merge(graph, *state["best"], constants), history


def member_key(config: TrainingConfig, member: int) -> Array:
    """Return what seeds all that is random in a member of an ensemble."""
    key = jax.random.key(config.seed)
    return jax.random.fold_in(key, member) if member else key


def split_samples(
    n: int, config: TrainingConfig
) -> tuple[NDArray[np.intp], NDArray[np.intp]]:
    """Draw which samples are fitted and which only judge the fit.

    Args:
        n (int): The number of samples.
        config (TrainingConfig): Has the fraction and the seed.

    Returns:
        tuple: The indices of both, ascending. A single sample is both.
    """
    if n == 1:
        return np.array([0]), np.array([0])
    order = np.random.default_rng(config.seed).permutation(n)
    n_held = min(max(1, round(config.validation_fraction * n)), n - 1)
    return np.sort(order[n_held:]), np.sort(order[:n_held])


def _optimiser(config: TrainingConfig) -> optax.GradientTransformation:
    """Return the optimiser, its learning rate a part of its state."""
    return optax.inject_hyperparams(optax.adamw)(
        learning_rate=config.learning_rate, weight_decay=config.weight_decay
    )


@partial(jax.jit, static_argnums=0)
def _loss(
    graph: nnx.GraphDef,
    params: nnx.State,
    statistics: nnx.State,
    constants: nnx.State,
    x: Array,
    y: Array,
    key: Array | None = None,
) -> tuple[Array, nnx.State]:
    """Return the loss of a batch, and what batch norms then know."""
    network = nnx.merge(graph, params, statistics, constants)
    squares = jnp.sum((network(x, key) - y) ** 2, axis=-1)
    return jnp.mean(squares), nnx.state(network, nnx.BatchStat)


@partial(jax.jit, static_argnums=(0, 1))
def _run_epochs(
    graph: nnx.GraphDef,
    config: TrainingConfig,
    state: dict[str, Any],
    constants: nnx.State,
    x: Array,
    y: Array,
) -> tuple[dict[str, Any], Array]:
    """Run `check_every` epochs and return the state and the mean loss."""
    n = len(x)
    batch = min(config.batch_size, n)
    n_batches = n // batch
    optimiser = _optimiser(config)

    def step(carry: tuple, now: tuple[Array, Array]) -> tuple[tuple, Array]:
        params, statistics, optimiser_state = carry
        index, key = now
        (value, statistics), gradient = jax.value_and_grad(
            _loss, argnums=1, has_aux=True
        )(graph, params, statistics, constants, x[index], y[index], key)
        update, optimiser_state = optimiser.update(
            gradient, optimiser_state, params
        )
        params = optax.apply_updates(params, update)
        return (params, statistics, optimiser_state), value

    def epoch(carry: tuple, key: Array) -> tuple[tuple, Array]:
        # Each epoch leaves out the remainder of another permutation.
        order = jax.random.permutation(key, n)[: n_batches * batch]
        keys = jax.random.split(jax.random.fold_in(key, 0), n_batches)
        return jax.lax.scan(
            step, carry, (order.reshape(n_batches, batch), keys)
        )

    key = jax.random.wrap_key_data(state["key"])
    keys = jax.random.split(key, config.check_every + 1)
    (*network, optimiser_state), losses = jax.lax.scan(
        epoch, (*state["network"], state["optimiser"]), keys[1:]
    )
    state = {
        "network": tuple(network),
        "best": state["best"],
        "optimiser": optimiser_state,
        "key": jax.random.key_data(keys[0]),
    }
    return state, losses.mean()


def _learning_rates(
    history: LossHistory, config: TrainingConfig
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


def _looks_since_drop(history: LossHistory) -> int:
    """Return how many looks the present learning rate has had."""
    rates = history.learning_rate
    return next(
        (n for n in range(1, len(rates)) if rates[-1 - n] != rates[-1]),
        len(rates),
    )
