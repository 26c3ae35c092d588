"""Ensembles of regressors, and the calibration of their scatter.

The members share the validation samples, the scaling and the decoder. They
differ in their initial weights and in the order of the training samples. A
single regressor is not wrapped in an `Ensemble`.
"""

from collections.abc import Callable, Mapping, Sequence
from typing import TypeVar

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array
from numpy.typing import NDArray

from synthesizer_emulator.architectures.base import evaluate_points
from synthesizer_emulator.architectures.samples import EmissionSamples
from synthesizer_emulator.architectures.training import (
    LossHistory,
    Monitor,
    TrainingConfig,
    split_samples,
)
from synthesizer_emulator.emulator.emission import (
    Decoder,
    Ensemble,
    Regressor,
    log_fluxes,
)
from synthesizer_emulator.emulator.metrics import SCORED_FLOOR

# The kind of regressor in an ensemble.
R = TypeVar("R", bound=Regressor)

# The fraction of a normal distribution within one standard deviation.
_WITHIN_ONE_SIGMA = 0.6827


def fit_members(
    n: int,
    fit_one: Callable[[int, Monitor], tuple[R, Mapping[str, LossHistory]]],
    monitor: Monitor,
) -> tuple[list[R], dict[str, LossHistory]]:
    """Train the n members of an ensemble.

    `fit_one` takes the index of a member and its monitor, and returns the
    member and its losses by the name of the training. Returns all members and
    losses, with the number of each member but the first in the names.
    """
    members, histories = [], {}
    for index in range(n):
        name = f"member {index + 1}" if index else ""
        member, losses = fit_one(
            index, monitor.stage(name) if name else monitor
        )
        members.append(member)
        for training, history in losses.items():
            histories[" ".join(filter(None, (name, training)))] = history
    return members, histories


def join(
    members: Sequence[Regressor],
    decoder: Decoder,
    samples: EmissionSamples,
    training: TrainingConfig,
) -> Regressor:
    """Combine regressors into an ensemble, calibrated on held-out samples.

    A single regressor is returned unchanged. `training` determines the samples
    that were held out of its training.
    """
    if len(members) == 1:
        return members[0]
    _, held_out = split_samples(len(samples.y), training)
    points = jnp.asarray(samples.points[held_out])
    latents = np.stack([evaluate_points(m, points) for m in members])
    factor = spread_factor(latents, held_out, decoder, samples)
    return Ensemble(members, factor)


def ensemble_skeleton(n: int, member: Callable[[], Regressor]) -> Regressor:
    """Build an ensemble with placeholder values, or its only member."""
    return member() if n == 1 else Ensemble([member() for _ in range(n)], 1.0)


def spread_factor(
    latents: NDArray,
    held_out: NDArray[np.intp],
    decoder: Decoder,
    samples: EmissionSamples,
) -> float:
    """Return the ratio of the 1-sigma uncertainty to the members' scatter.

    The scatter times this factor exceeds 68% of the errors in log flux, at the
    bright wavelengths of samples held out of training.

    Args:
        latents (np.ndarray): The members' latents at the held-out samples,
            (members, m, k).
        held_out (np.ndarray of int): The indices of these samples, (m,).
        decoder (Decoder): The decoder from latents to soft-log flux.
        samples (EmissionSamples): All samples, with the true fluxes.

    Returns:
        float: The factor; 1 if all members agree.
    """
    floor = np.log(SCORED_FLOOR)
    ratios = []
    for index, member_latents in zip(
        held_out, latents.swapaxes(0, 1), strict=True
    ):
        bright = samples.support & (samples.y[index] > floor)
        # JAX would compile a selection anew for each number of wavelengths.
        logs, mean = map(np.asarray, _log_fluxes(decoder, member_latents))
        error = np.abs(mean - samples.y[index] - samples.log_norm[index])
        scatter = np.std(logs, axis=0)
        scored = bright & (scatter > 0)
        ratios.append(error[scored] / scatter[scored])
    all_ratios = np.concatenate(ratios)
    if not all_ratios.size:
        return 1.0
    return float(np.quantile(all_ratios, _WITHIN_ONE_SIGMA))


@jax.jit
def _log_fluxes(decoder: Decoder, latents: Array) -> tuple[Array, Array]:
    """Decode latents (members, k) to the log fluxes of each, and of the mean.

    The shapes are (members, n) and (n,).
    """
    mean = jnp.mean(latents, axis=0, keepdims=True)
    return log_fluxes(decoder, latents), log_fluxes(decoder, mean)[0]
