"""Ensembles: regressors that differ by chance, and what that tells.

The members share the samples that are kept out of training, the scaling
and the decoder; they differ in their first weights and in the order in
which they see the samples. Architectures with the setting `ensemble` need
this; one of a single member is no ensemble, and has none of it.
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

# The kind of regressor of which there are several.
R = TypeVar("R", bound=Regressor)

# The part of a normal distribution within one standard deviation.
_WITHIN_ONE_SIGMA = 0.6827


def fit_members(
    n: int,
    fit_one: Callable[[int, Monitor], tuple[R, Mapping[str, LossHistory]]],
    monitor: Monitor,
) -> tuple[list[R], dict[str, LossHistory]]:
    """Fit the members of an ensemble.

    Args:
        n (int): How many.
        fit_one (callable): Fits the member of an index, with a monitor,
            and returns it and its histories by name.
        monitor (Monitor): Of the whole ensemble.

    Returns:
        tuple: The members, and their histories by name.
    """
    members, histories = [], {}
    for index in range(n):
        name = f"member {index + 1}" if index else ""
        member, its_histories = fit_one(
            index, monitor.stage(name) if name else monitor
        )
        members.append(member)
        for training, history in its_histories.items():
            histories[" ".join(filter(None, (name, training)))] = history
    return members, histories


def join(
    members: Sequence[Regressor],
    decoder: Decoder,
    samples: EmissionSamples,
    training: TrainingConfig,
) -> Regressor:
    """Return the ensemble of networks, calibrated where none was trained.

    Args:
        members (sequence of Regressor): Trained by `train` on the samples.
        decoder (Decoder): That of their latents.
        samples (EmissionSamples): What they were trained on.
        training (TrainingConfig): How.

    Returns:
        Regressor: The ensemble, or the only member.
    """
    if len(members) == 1:
        return members[0]
    _, held = split_samples(len(samples.y), training)
    points = jnp.asarray(samples.points[held])
    latents = np.stack([evaluate_points(m, points) for m in members])
    return Ensemble(members, spread_factor(latents, held, decoder, samples))


def skeleton_of(n: int, make: Callable[[], Regressor]) -> Regressor:
    """Return the like of `join` from the skeletons of its members."""
    return make() if n == 1 else Ensemble([make() for _ in range(n)], 1.0)


def spread_factor(
    latents: NDArray,
    held: NDArray[np.intp],
    decoder: Decoder,
    samples: EmissionSamples,
) -> float:
    """Return what makes the members' scatter an uncertainty.

    With it, 68% of the errors in log flux lie within one scatter, over the
    bright values of samples that no member was trained on.

    Args:
        latents (np.ndarray): What the members predict there, (members, m,
            k).
        held (np.ndarray of int): The indices of these samples, (m,).
        decoder (Decoder): From latents to log flux.
        samples (EmissionSamples): The truth.

    Returns:
        float: The factor; 1 where the members all agree.
    """
    floor = np.log(SCORED_FLOOR)
    ratios = []
    for index, each in zip(held, latents.swapaxes(0, 1), strict=True):
        bright = samples.support & (samples.y[index] > floor)
        logs, mean = _log_fluxes(decoder, each)
        error = np.abs(mean - samples.y[index] - samples.log_norm[index])
        scatter = np.std(logs, axis=0)
        told = bright & (scatter > 0)
        ratios.append(error[told] / scatter[told])
    joined = np.concatenate(ratios)
    if not joined.size:
        return 1.0
    return float(np.quantile(joined, _WITHIN_ONE_SIGMA))


@jax.jit
def _log_fluxes(decoder: Decoder, latents: Array) -> tuple[Array, Array]:
    """Return the log fluxes of all members, and of their mean."""
    mean = jnp.mean(latents, axis=0, keepdims=True)
    return log_fluxes(decoder, latents), log_fluxes(decoder, mean)[0]
