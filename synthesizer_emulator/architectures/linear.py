"""Principal components of log flux: latents, their scaling and decoder."""

import numpy as np
from numpy.typing import NDArray

from synthesizer_emulator.architectures.base import EmissionShape
from synthesizer_emulator.architectures.basis import (
    LinearBasis,
    principal_components,
)
from synthesizer_emulator.architectures.rounding import round_to_int16
from synthesizer_emulator.architectures.samples import EmissionSamples
from synthesizer_emulator.emulator.emission import LinearDecoder

# The smallest standard deviation by which log flux is divided, so that
# wavelengths of constant flux are not amplified.
LEAST_SPREAD = 1e-3


def latent_targets(
    samples: EmissionSamples,
    weights: NDArray[np.float64],
    components: int,
    tolerance: float = 0.0,
) -> tuple[LinearBasis, NDArray[np.float64]]:
    """Return the principal components of samples, and their latents.

    Args:
        samples (EmissionSamples): The emission at m samples.
        weights (np.ndarray of float): The weight of an error at each
            wavelength, (n,).
        components (int): The largest number of components.
        tolerance (float): The root mean square of ln flux below which
            further components are left out.

    Returns:
        tuple: The basis, and the latents (m, 1 + k): ln norm, then the
            coefficients.
    """
    basis = principal_components(samples.y, weights, components, tolerance)
    latents = np.column_stack(
        [samples.log_norm, basis.coefficients(samples.y)]
    )
    return basis, latents


def latent_metric(basis: LinearBasis) -> NDArray[np.float64]:
    """Return the weighted change of ln flux per unit of each latent, (1 + k,).

    The components are orthonormal, so the summed squared error of their
    coefficients equals that of ln flux over all wavelengths. An error in ln
    norm affects every wavelength.
    """
    metric = np.ones(1 + len(basis.components))
    metric[0] = np.sqrt(np.sum(basis.weights**2))
    return metric


def latent_scale(
    latents: NDArray[np.float64],
    metric: NDArray[np.float64],
    whiten: bool = False,
) -> NDArray[np.float64]:
    """Return the factor from each output of a network to its latent, (k,).

    Args:
        latents (np.ndarray of float): The training targets, (m, k).
        metric (np.ndarray of float): The weight of a unit of each, (k,).
        whiten (bool): Whether all latents have the same weight in training;
            otherwise they are weighted by their effect on ln flux.
    """
    spread = latents.std(axis=0)
    if whiten:
        return np.where(spread > 0, spread, 1.0)
    total = np.sqrt(np.sum((metric * spread) ** 2))
    return (total if total > 0 else 1.0) / metric


def linear_decoder(
    mean: NDArray[np.float64],
    components: NDArray[np.float64],
    support: NDArray[np.bool_],
) -> LinearDecoder:
    """Return a decoder with components (k, n) rounded to 16 bits.

    The `mean` and the mask `support`, true at wavelengths with emission, have
    shape (n,).
    """
    return LinearDecoder(mean, round_to_int16(components * support))


def linear_skeleton(shape: EmissionShape) -> LinearDecoder:
    """Build a linear decoder with placeholder values."""
    return LinearDecoder(
        np.zeros(shape.size), np.zeros((shape.latents - 1, shape.size))
    )
