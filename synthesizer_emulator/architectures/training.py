"""Training of a network by least squares.

The epochs between two validations run without leaving the device; the loop
over these sets the learning rate, stops early and saves checkpoints.
"""

from dataclasses import dataclass, field, replace
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

SCHEDULES = ("cosine", "plateau", "warmup_cosine")

# The fraction of the epochs in which `warmup_cosine` rises.
_WARMUP = 0.05

# The factor on the learning rate at a plateau, which is reached after a third
# of the patience.
_PLATEAU_FACTOR = 0.5

# The largest seed that JAX accepts.
_LARGEST_SEED = 2**63 - 1


class Diverged(InconsistentArguments):
    """A training whose loss is not finite."""


@dataclass(frozen=True)
class TrainingConfig:
    """The settings of the training of one network.

    Attributes:
        epochs (int): The largest number of passes over the samples.
        batch_size (int): The number of samples in a training step.
        learning_rate (float): The initial learning rate of AdamW.
        weight_decay (float): The weight decay of AdamW.
        schedule (str): The learning rate: `cosine` (falls to zero at the
            last epoch), `plateau` (halved when the validation loss stalls)
            or `warmup_cosine` (rises in the first twentieth of the epochs,
            then as `cosine`).
        patience (int): The number of epochs without a lower validation loss
            after which the training stops.
        check_every (int): The number of epochs between validations; fewer
            before the last.
        validation_fraction (float): The fraction of the samples that is
            held out of training for validation, at random.
        seed (int): The seed of all random numbers.
        clip_norm (float): The largest norm of the gradient of a step, to
            which larger gradients are scaled; 0 for any.
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
    clip_norm: float = 0.0

    def __post_init__(self) -> None:
        """Check the settings.

        Raises:
            InconsistentArguments: If a setting is out of range.
        """
        for name in ("epochs", "batch_size", "patience", "check_every"):
            check_whole(name, getattr(self, name), 1)
        check_whole("seed", self.seed, 0, _LARGEST_SEED)
        check_number("learning_rate", self.learning_rate, 0, open_ends=True)
        check_number("weight_decay", self.weight_decay, 0)
        check_number("clip_norm", self.clip_norm, 0)
        check_number(
            "validation_fraction", self.validation_fraction, 0, 1, True
        )
        check_choice("schedule", self.schedule, SCHEDULES)


@dataclass
class LossHistory:
    """The losses of one training, with one entry for each validation.

    Attributes:
        epoch (list of int): The number of completed epochs.
        training (list of float): The mean training loss over the epochs
            since the previous entry.
        validation (list of float): The loss of the validation samples.
        learning_rate (list of float): The learning rate since the previous
            entry.
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
    """The progress of a training, and its checkpoints."""

    def stage(self, name: str, epochs: int | None = None) -> "Monitor":
        """Return the monitor of another training of the same emission.

        Args:
            name (str): The name of the training.
            epochs (int): The number of epochs, if it differs.
        """

    def resume(self, template: Any) -> tuple[Any, LossHistory] | None:
        """Return the saved state and losses of this training, if any.

        Args:
            template (pytree): A state of the same structure.
        """

    def report(self, history: LossHistory, state: Any) -> None:
        """Show the latest losses, and save the state at intervals."""


class Silent:
    """A monitor that shows and saves nothing."""

    def stage(self, name: str, epochs: int | None = None) -> "Silent":
        """Return this monitor."""
        return self

    def resume(self, template: Any) -> None:
        """Return None, as no state is saved."""

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
    """Train a network by least squares from inputs to targets.

    Args:
        model (Network): The network from (m, d) to (m, k). Its `nnx.Param`
            are trained and its `nnx.BatchStat` updated.
        inputs (np.ndarray of float): The inputs, (m, d).
        targets (np.ndarray of float): The targets, (m, k), in units in
            which the squared errors of all columns have the same weight.
        config (TrainingConfig): The settings of the training.
        monitor (Monitor): The monitor, which shows progress and saves
            checkpoints; by default none.
        member (int): The index of the network in an ensemble. Members are
            trained on the samples in different orders, but share the
            validation samples.

    Returns:
        tuple: The model with the lowest validation loss, and the losses.

    Raises:
        Diverged: If a loss is not finite.
    """
    monitor = monitor or Silent()
    fitted, held_out = split_samples(len(inputs), config)
    x, y = jnp.asarray(inputs, jnp.float32), jnp.asarray(targets, jnp.float32)
    graph, params, *others = nnx.split(model, nnx.Param, nnx.BatchStat, ...)
    statistics, constants = others
    training_set = x[fitted], y[fitted]
    validation_set = x[held_out], y[held_out]
    state = {
        "network": (params, statistics),
        "best": (params, statistics),
        "optimiser": _optimiser(config).init(params),
        "key": jax.random.key_data(member_key(config, member)),
    }
    history = LossHistory()
    resumed = monitor.resume(state)
    if resumed is not None:
        state, history = resumed
    while (rate := _learning_rate(history, config)) is not None:
        state["optimiser"].hyperparams["learning_rate"] = jnp.asarray(rate)
        done = (history.epoch or [0])[-1]
        step = min(config.check_every, config.epochs - done)
        # Of the seed only the key depends, so that seeds share a program.
        state, mean_loss = _run_epochs(
            graph,
            replace(config, seed=0, check_every=step),
            state,
            constants,
            *training_set,
        )
        loss, _ = _loss(graph, *state["network"], constants, *validation_set)
        validation_loss = float(loss)
        epoch = done + step
        # Checked before the state is saved, so that it is never resumed.
        if not np.isfinite([validation_loss, float(mean_loss)]).all():
            raise Diverged(
                f"The training diverged at epoch {epoch} with the learning "
                f"rate {config.learning_rate}. Use a lower learning_rate."
            )
        if validation_loss < min(history.validation, default=np.inf):
            state["best"] = state["network"]
        history.epoch.append(epoch)
        history.training.append(float(mean_loss))
        history.validation.append(validation_loss)
        history.learning_rate.append(rate)
        monitor.report(history, state)
    return nnx.merge(graph, *state["best"], constants), history


def member_key(config: TrainingConfig, member: int) -> Array:
    """Return the random key of a member of an ensemble."""
    key = jax.random.key(config.seed)
    return jax.random.fold_in(key, member) if member else key


def split_samples(
    n: int, config: TrainingConfig
) -> tuple[NDArray[np.intp], NDArray[np.intp]]:
    """Split samples into those for training and those for validation.

    Args:
        n (int): The number of samples.
        config (TrainingConfig): The validation fraction and the seed.

    Returns:
        tuple: The indices of the training and of the validation samples,
            ascending. A single sample is used for both.
    """
    if n == 1:
        return np.array([0]), np.array([0])
    order = np.random.default_rng(config.seed).permutation(n)
    n_held = min(max(1, round(config.validation_fraction * n)), n - 1)
    return np.sort(order[n_held:]), np.sort(order[:n_held])


def _optimiser(config: TrainingConfig) -> optax.GradientTransformation:
    """Return AdamW with the learning rate in its state."""

    def clipped(
        learning_rate: float, weight_decay: float
    ) -> optax.GradientTransformation:
        return optax.chain(
            optax.clip_by_global_norm(config.clip_norm),
            optax.adamw(learning_rate, weight_decay=weight_decay),
        )

    make = clipped if config.clip_norm else optax.adamw
    return optax.inject_hyperparams(make)(
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
    """Return the loss of a batch, and the updated batch statistics."""
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
    """Train for `check_every` epochs; return the state and the mean loss."""
    n = len(x)
    batch = min(config.batch_size, n)
    n_batches = n // batch
    optimiser = _optimiser(config)

    def step(carry: tuple, xs: tuple[Array, Array]) -> tuple[tuple, Array]:
        params, statistics, optimiser_state = carry
        index, key = xs
        (value, statistics), gradient = jax.value_and_grad(
            _loss, argnums=1, has_aux=True
        )(graph, params, statistics, constants, x[index], y[index], key)
        update, optimiser_state = optimiser.update(
            gradient, optimiser_state, params
        )
        params = optax.apply_updates(params, update)
        return (params, statistics, optimiser_state), value

    def epoch(carry: tuple, key: Array) -> tuple[tuple, Array]:
        # The samples after the last full batch are left out, and differ
        # between epochs.
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


def _learning_rate(
    history: LossHistory, config: TrainingConfig
) -> float | None:
    """Return the learning rate until the next validation.

    Returns None if the training is over. The rate depends only on the losses
    so far, so that a resumed training continues as if it had not been
    interrupted.
    """
    epoch = history.epoch[-1] if history.epoch else 0
    stalled = epoch - history.best_epoch if history.epoch else 0
    if epoch >= config.epochs or stalled >= config.patience:
        return None
    if config.schedule in ("cosine", "warmup_cosine"):
        rise = 1.0
        if config.schedule == "warmup_cosine":
            middle = epoch + 0.5 * config.check_every
            rise = min(1.0, middle / (_WARMUP * config.epochs))
        phase = np.pi * (epoch / config.epochs)
        return rise * config.learning_rate * 0.5 * (1 + np.cos(phase))
    rates = history.learning_rate
    if not rates:
        return config.learning_rate
    checks_since_drop = next(
        (n for n in range(1, len(rates)) if rates[-1 - n] != rates[-1]),
        len(rates),
    )
    since_drop = checks_since_drop * config.check_every
    if min(stalled, since_drop) >= config.patience / 3:
        return rates[-1] * _PLATEAU_FACTOR
    return rates[-1]
