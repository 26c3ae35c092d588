"""What the architectures with a linear basis in log flux share."""

from collections.abc import Sequence

import numpy as np
from flax import nnx
from numpy.typing import NDArray
from synthesizer.exceptions import InconsistentArguments, UnrecognisedOption

from synthesizer_emulator.architectures.base import (
    EmissionSamples,
    EmissionShape,
    empty_nodes,
)
from synthesizer_emulator.architectures.regressors import ScaledNetwork
from synthesizer_emulator.basis import (
    LinearBasis,
    principal_components,
    round_to_int16,
)
from synthesizer_emulator.checks import check_number, check_whole
from synthesizer_emulator.emulator import (
    EmissionEmulator,
    LinearDecoder,
    Regressor,
)
from synthesizer_emulator.interpolation import LinearTable
from synthesizer_emulator.networks import ACTIVATIONS, MLP
from synthesizer_emulator.scaling import SoftLog
from synthesizer_emulator.training import (
    History,
    Monitor,
    TrainingConfig,
    train,
)


def check_linear_settings(
    components: int, hidden: Sequence[int], activation: str, softening: float
) -> None:
    """Refuse settings that no emulator can have.

    Raises:
        InconsistentArguments: If a number is out of its range.
        UnrecognisedOption: If there is no such activation.
    """
    check_whole("components", components, 1)
    if not isinstance(hidden, list | tuple):
        raise InconsistentArguments(
            f"hidden must be a list of widths, got {hidden!r}."
        )
    for width in hidden:
        check_whole("each width in hidden", width, 1)
    if activation not in ACTIVATIONS:
        raise UnrecognisedOption(
            f"No activation '{activation}'; there are "
            f"{', '.join(ACTIVATIONS)}."
        )
    check_number("softening", softening, 0, 1e-2, open_ends=True)


def latent_targets(
    samples: EmissionSamples, components: int, tolerance: float
) -> tuple[LinearBasis, NDArray[np.float64]]:
    """Return the basis of samples and the latents at their nodes.

    Args:
        samples (EmissionSamples): The emission at the nodes.
        components (int): The most components to keep.
        tolerance (float): The root mean square of ln flux below which
            what they leave out does not matter.

    Returns:
        tuple: The basis, and the latents (m, 1 + k): ln norm first, then
            the coefficients.
    """
    basis = principal_components(
        samples.y, samples.weights, components, tolerance
    )
    latents = np.column_stack(
        [samples.log_norm, basis.coefficients(samples.y)]
    )
    return basis, latents


def latent_metric(
    samples: EmissionSamples, latents: int
) -> NDArray[np.float64]:
    """Return what one unit of each latent weighs, (latents,).

    The components are orthonormal, so the summed squared error of their
    coefficients is that of ln flux over all wavelengths.
    """
    metric = np.ones(latents)
    metric[0] = samples.norm_weight
    return metric


def fit_network(
    samples: EmissionSamples,
    latents: NDArray[np.float64],
    hidden: Sequence[int],
    activation: str,
    width: NDArray[np.float64],
    whiten: bool,
    training: TrainingConfig,
    monitor: Monitor,
) -> tuple[ScaledNetwork, History]:
    """Train a network from coordinates to latents.

    Args:
        samples (EmissionSamples): The emission at the nodes.
        latents (np.ndarray of float): The targets, (m, k).
        hidden (sequence of int): The widths of the hidden layers.
        activation (str): The activation between them.
        width (np.ndarray of float): What the network sees as one unit
            along each axis, (d,).
        whiten (bool): Whether all latents count alike; else each counts
            by what it does to ln flux (see `latent_metric`).
        training (TrainingConfig): How to train.
        monitor (Monitor): Shows progress and keeps checkpoints.

    Returns:
        tuple: The regressor and the history of its training.
    """
    n_axes, n_latents = len(samples.nodes), latents.shape[1]
    rngs = nnx.Rngs(training.seed)
    network = MLP(n_axes, hidden, n_latents, activation=activation, rngs=rngs)
    shift, spread = latents.mean(axis=0), latents.std(axis=0)
    if whiten:
        scale = np.where(spread > 0, spread, 1.0)
    else:
        metric = latent_metric(samples, n_latents)
        total = np.sqrt(np.sum((metric * spread) ** 2))
        scale = (total if total > 0 else 1.0) / metric
    centre = samples.points.mean(axis=0)
    inputs = (samples.points - centre) / width
    targets = (latents - shift) / scale
    network, history = train(network, inputs, targets, training, monitor)
    return ScaledNetwork(network, centre, width, shift, scale), history


def standard_width(samples: EmissionSamples) -> NDArray[np.float64]:
    """Return the standard deviation of the nodes along each axis, (d,)."""
    width = samples.points.std(axis=0)
    return np.where(width > 0, width, 1.0)


def linear_emulator(
    samples: EmissionSamples, basis: LinearBasis, regressor: Regressor
) -> tuple[EmissionEmulator, EmissionShape]:
    """Join a regressor and a basis to the emulator of an emission."""
    components = round_to_int16(basis.components * samples.support)
    emulator = EmissionEmulator(
        regressor,
        LinearDecoder(basis.mean, components),
        samples.soft_log,
        samples.support,
        samples.alive_table(),
    )
    shape = EmissionShape(
        samples.alive.shape, samples.y.shape[1], 1 + len(basis.components)
    )
    return emulator, shape


def linear_skeleton(
    shape: EmissionShape, regressor: Regressor, softening: float
) -> EmissionEmulator:
    """Return the like of `linear_emulator` with arbitrary values."""
    return EmissionEmulator(
        regressor,
        LinearDecoder(
            np.zeros(shape.size), np.zeros((shape.latents - 1, shape.size))
        ),
        SoftLog(softening),
        np.zeros(shape.size),
        LinearTable(
            empty_nodes(shape.nodes), np.zeros((*shape.nodes, 1), np.float32)
        ),
    )


def scaled_skeleton(
    shape: EmissionShape, hidden: Sequence[int], activation: str
) -> ScaledNetwork:
    """Return the like of `fit_network`'s regressor, untrained."""
    network = MLP(
        len(shape.nodes),
        hidden,
        shape.latents,
        activation=activation,
        rngs=nnx.Rngs(0),
    )
    d, k = len(shape.nodes), shape.latents
    return ScaledNetwork(
        network, np.zeros(d), np.ones(d), np.zeros(k), np.ones(k)
    )
