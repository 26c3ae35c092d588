"""Normalisation, encoding and decoding of log spectra for `ThreeComponent`."""

from dataclasses import dataclass
from typing import Self, TypeAlias

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx
from jax import Array
from jax.typing import ArrayLike
from numpy.typing import NDArray

from synthesizer_emulator.architectures.linear import LEAST_SPREAD
from synthesizer_emulator.architectures.networks import Network
from synthesizer_emulator.architectures.samples import EmissionSamples
from synthesizer_emulator.emulator.emission import LinearDecoder
from synthesizer_emulator.emulator.scaling import Constant

NORMALISATIONS = ("per_spectrum", "global", "zscore")

# The fixed layer from the output of a network to normalised log flux.
LastLayer: TypeAlias = "LinearDecoder | PixelScaling"

# The number of samples encoded at once.
_CHUNK = 256


class PixelScaling(nnx.Module):
    """The scaling of a network's outputs to log flux at each wavelength.

    Attributes:
        shift (Constant): The offset at each wavelength, (n,).
        scale (Constant): The factor at each wavelength, (n,).
        kept (Constant): The indices of the outputs to return; None for all.
    """

    def __init__(
        self,
        shift: ArrayLike,
        scale: ArrayLike,
        kept: NDArray[np.intp] | None = None,
    ) -> None:
        self.shift = Constant(jnp.asarray(shift, jnp.float32))
        self.scale = Constant(jnp.asarray(scale, jnp.float32))
        self.kept = None if kept is None else Constant(jnp.asarray(kept))

    def __call__(self, values: Array) -> Array:
        """Scale the outputs (n,) of a network."""
        if self.kept is not None:
            values = values[self.kept[...]]
        return self.shift[...] + self.scale[...] * values

    def restrict(self, indices: NDArray[np.intp]) -> "PixelScaling":
        """Return the scaling of the wavelengths with these indices."""
        kept = indices
        if self.kept is not None:
            kept = np.asarray(self.kept[...])[indices]
        return PixelScaling(
            self.shift[...][indices], self.scale[...][indices], kept
        )


class CodeDecoder(nnx.Module):
    """A decoder from the norms and code of a spectrum to soft-log flux.

    Attributes:
        network (Network): The decoder of an autoencoder.
        last (LastLayer): The layer from its output to normalised log flux.
        per_spectrum (bool): Whether the first two latents are the mean and
            the standard deviation of the log flux.
    """

    def __init__(
        self, network: Network, last: LastLayer, per_spectrum: bool
    ) -> None:
        self.network = network
        self.last = last
        self.per_spectrum = per_spectrum

    def __call__(self, latents: Array) -> Array:
        """Map latents (k,) to soft-log flux (n,)."""
        if not self.per_spectrum:
            return self.last(self.network(latents))
        normalised = self.last(self.network(latents[2:]))
        return latents[0] + latents[1] * normalised

    def restrict(self, indices: NDArray[np.intp]) -> "CodeDecoder":
        """Return the decoder of the wavelengths with these indices."""
        return CodeDecoder(
            self.network, self.last.restrict(indices), self.per_spectrum
        )


@dataclass(frozen=True)
class NormalisedSpectra:
    """Log spectra normalised to zero mean and unit variance.

    The soft-log flux is `shift + scale * values`. If each spectrum is
    normalised separately, this is multiplied by the spectrum's standard
    deviation, and its mean is added.

    Attributes:
        values (np.ndarray of float): The normalised spectra, (m, n).
        shift (np.ndarray of float): The offset at each wavelength, (n,).
        scale (np.ndarray of float): The factor at each wavelength, (n,).
        norms (np.ndarray of float): The ln norm of each spectrum, (m, 1); if
            each is normalised separately, also its mean and standard
            deviation, (m, 3).
    """

    values: NDArray[np.float64]
    shift: NDArray[np.float64]
    scale: NDArray[np.float64]
    norms: NDArray[np.float64]

    @classmethod
    def from_samples(
        cls, samples: EmissionSamples, normalisation: str
    ) -> Self:
        """Normalise the log spectra of samples by one of `NORMALISATIONS`."""
        y, n = samples.y, samples.y.shape[1]
        if normalisation == "per_spectrum":
            mean = y.mean(axis=1, keepdims=True)
            spread = np.maximum(y.std(axis=1, keepdims=True), LEAST_SPREAD)
            norms = np.hstack([samples.log_norm[:, None], mean, spread])
            return cls((y - mean) / spread, np.zeros(n), np.ones(n), norms)
        axis = 0 if normalisation == "zscore" else None
        shift = np.broadcast_to(y.mean(axis=axis), n)
        scale = np.maximum(np.broadcast_to(y.std(axis=axis), n), LEAST_SPREAD)
        norms = samples.log_norm[:, None]
        return cls((y - shift) / scale, shift, scale, norms)


def encode(
    encoder: Network, inputs: NDArray[np.float64]
) -> NDArray[np.float64]:
    """Encode inputs (m, n) in chunks, giving codes (m, k)."""
    chunks = np.split(inputs, range(_CHUNK, len(inputs), _CHUNK))
    codes = [_apply(encoder, jnp.asarray(c, jnp.float32)) for c in chunks]
    return np.concatenate(codes).astype(np.float64)


@jax.jit
def _apply(network: Network, inputs: Array) -> Array:
    """Evaluate a network on a batch (m, n)."""
    return network(inputs)
