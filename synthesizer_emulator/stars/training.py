"""Training of a flow by maximum likelihood.

An epoch runs without leaving the device; the loop over epochs validates, stops
early and saves checkpoints.
"""

from dataclasses import dataclass
from typing import Any, TypeAlias

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import optax
import paramax
from flowjax.distributions import Transformed
from jax import Array
from numpy.typing import NDArray
from synthesizer.exceptions import InconsistentArguments

from synthesizer_emulator.architectures.training import (
    LossHistory,
    Monitor,
    Silent,
)
from synthesizer_emulator.validation import check_number, check_whole

# Scaled stars (n, d) and their conditions (n, k).
Samples: TypeAlias = tuple[NDArray[np.float32], NDArray[np.float32]]

# The largest norm of a gradient, beyond which it is scaled down.
_LARGEST_GRADIENT = 5.0

# The largest seed that JAX accepts.
_LARGEST_SEED = 2**63 - 1


@dataclass(frozen=True)
class StarTraining:
    """The settings of the training of a flow.

    The optimiser is RAdam (Liu et al. 2020, arXiv:1908.03265) with decoupled
    weight decay, and a learning rate that falls to zero as a cosine over the
    epochs.

    Attributes:
        epochs (int): The largest number of passes over the stars.
        batch_size (int): The number of stars in a step.
        learning_rate (float): The initial learning rate.
        weight_decay (float): The weight decay, against learning the noise of
            the stars.
        patience (int): The number of epochs without a lower validation loss
            after which the training stops.
        validation_fraction (float): The fraction of the galaxies that
            validate, none of whose stars are trained on; at least one. With a
            single galaxy it is a fraction of its stars.
        seed (int): The seed of all random numbers.
    """

    epochs: int = 40
    batch_size: int = 1024
    learning_rate: float = 3e-3
    weight_decay: float = 0.1
    patience: int = 20
    validation_fraction: float = 0.1
    seed: int = 0

    def __post_init__(self) -> None:
        """Check the settings.

        Raises:
            InconsistentArguments: If one is out of range.
        """
        for name in ("epochs", "batch_size", "patience"):
            check_whole(name, getattr(self, name), 1)
        check_number("learning_rate", self.learning_rate, 0, open_ends=True)
        check_number("weight_decay", self.weight_decay, 0)
        check_number(
            "validation_fraction", self.validation_fraction, 0, 1, True
        )
        check_whole("seed", self.seed, 0, _LARGEST_SEED)


def split_galaxies(
    n: int, config: StarTraining
) -> tuple[NDArray[np.intp], NDArray[np.intp]]:
    """Split galaxies into those for training and those for validation.

    Args:
        n (int): The number of galaxies, at least 2.
        config (StarTraining): The fraction and the seed.

    Returns:
        tuple: The indices of both, ascending.
    """
    order = np.random.default_rng(config.seed).permutation(n)
    n_held = min(max(1, round(config.validation_fraction * n)), n - 1)
    return np.sort(order[n_held:]), np.sort(order[:n_held])


def train_flow(
    flow: Transformed,
    fitted: Samples,
    held_out: Samples,
    config: StarTraining,
    monitor: Monitor | None = None,
) -> tuple[Transformed, LossHistory]:
    """Train a flow.

    Args:
        flow (Transformed): The untrained flow.
        fitted (tuple): The scaled stars and their conditions, for training.
        held_out (tuple): Those for validation.
        config (StarTraining): The settings.
        monitor (Monitor): Shows the progress and saves checkpoints; by
            default none.

    Returns:
        tuple: The flow of the lowest validation loss, and the losses: the
            mean of minus the logarithm of the density of scaled stars.

    Raises:
        InconsistentArguments: If a loss is not finite.
    """
    monitor = monitor or Silent()
    params, static = eqx.partition(
        flow,
        eqx.is_inexact_array,
        is_leaf=lambda leaf: isinstance(leaf, paramax.NonTrainable),
    )
    batch = min(config.batch_size, len(fitted[0]))
    steps = len(fitted[0]) // batch
    optimiser = _optimiser(config, steps)
    state: dict[str, Any] = {
        "params": params,
        "best": params,
        "optimiser": optimiser.init(params),
    }
    history = LossHistory()
    resumed = monitor.resume(state)
    if resumed is not None:
        state, history = resumed
    run_epoch = _epoch(static, optimiser, fitted, batch)
    validate = _validation(static, *held_out, batch)
    schedule = _schedule(config, steps)
    while not _is_over(history, config):
        epoch = len(history.epoch)
        key = jax.random.fold_in(jax.random.key(config.seed), epoch)
        params, optimiser_state, loss = run_epoch(
            state["params"], state["optimiser"], key
        )
        validation = float(validate(params))
        if not np.isfinite([validation, float(loss)]).all():
            raise InconsistentArguments(
                f"The training diverged in epoch {epoch + 1} with the "
                f"learning rate {config.learning_rate}. Use a lower "
                "learning_rate."
            )
        is_best = validation < min(history.validation, default=np.inf)
        state = {
            "params": params,
            "best": params if is_best else state["best"],
            "optimiser": optimiser_state,
        }
        history.epoch.append(epoch + 1)
        history.training.append(float(loss))
        history.validation.append(validation)
        history.learning_rate.append(float(schedule(epoch * steps)))
        monitor.report(history, state)
    return eqx.combine(state["best"], static), history


def _is_over(history: LossHistory, config: StarTraining) -> bool:
    """Return whether the training has ended."""
    if not history.epoch:
        return False
    epoch = history.epoch[-1]
    stalled = epoch - history.best_epoch
    return epoch >= config.epochs or stalled >= config.patience


def _schedule(config: StarTraining, steps: int) -> optax.Schedule:
    """Return the learning rate of each step."""
    return optax.cosine_decay_schedule(
        config.learning_rate, config.epochs * steps
    )


def _optimiser(
    config: StarTraining, steps: int
) -> optax.GradientTransformation:
    """Return RAdam with weight decay and clipped gradients."""
    return optax.chain(
        optax.clip_by_global_norm(_LARGEST_GRADIENT),
        optax.scale_by_radam(),
        optax.add_decayed_weights(config.weight_decay),
        optax.scale_by_learning_rate(_schedule(config, steps)),
    )


def _losses(static: Any, params: Any, stars: Array, given: Array) -> Array:
    """Return minus the logarithm of the density of each star."""
    flow = paramax.unwrap(eqx.combine(params, static))
    return -flow.log_prob(stars, given)


def _epoch(
    static: Any,
    optimiser: optax.GradientTransformation,
    fitted: Samples,
    batch: int,
) -> Any:
    """Return the compiled function that trains for an epoch.

    The stars after the last full batch are left out, and differ between
    epochs.
    """
    stars, given = map(jnp.asarray, fitted)
    steps = len(stars) // batch

    def loss(params: Any, stars: Array, given: Array) -> Array:
        return jnp.mean(_losses(static, params, stars, given))

    @jax.jit
    def run(
        params: Any, state: Any, key: Array, stars: Array, given: Array
    ) -> tuple[Any, Any, Array]:
        def step(carry: tuple, index: Array) -> tuple[tuple, Array]:
            params, state = carry
            value, gradient = jax.value_and_grad(loss)(
                params, stars[index], given[index]
            )
            update, state = optimiser.update(gradient, state, params)
            return (optax.apply_updates(params, update), state), value

        order = jax.random.permutation(key, len(stars))[: steps * batch]
        (params, state), losses = jax.lax.scan(
            step, (params, state), order.reshape(steps, batch)
        )
        return params, state, losses.mean()

    return lambda params, state, key: run(params, state, key, stars, given)


def _validation(
    static: Any,
    stars: NDArray[np.float32],
    given: NDArray[np.float32],
    batch: int,
) -> Any:
    """Return the compiled function of the mean loss of held-out stars."""
    n = len(stars)
    # The last batch is filled with the first stars, which count only once.
    rows = np.arange(-(-n // batch) * batch)
    weights = jnp.asarray((rows < n).reshape(-1, batch) / n)
    filled = [
        jnp.asarray(values[rows % n].reshape(-1, batch, values.shape[1]))
        for values in (stars, given)
    ]

    @jax.jit
    def run(params: Any, batches: tuple[Array, Array, Array]) -> Array:
        def mean(batch: tuple[Array, Array, Array]) -> Array:
            stars, given, weight = batch
            return jnp.sum(weight * _losses(static, params, stars, given))

        return jnp.sum(jax.lax.map(mean, batches))

    return lambda params: run(params, (*filled, weights))
