"""Normalisation, encoding and decoding of log spectra for `ThreeComponent`."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Self, TypeAlias

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
from synthesizer_emulator.architectures.training import LossHistory
from synthesizer_emulator.emulator.emission import LinearDecoder
from synthesizer_emulator.emulator.metrics import (
    fractional_residuals,
    mean_errors,
)
from synthesizer_emulator.emulator.scaling import Constant, SoftLog
from synthesizer_emulator.validation import check_encodable

NORMALISATIONS = ("per_spectrum", "global", "zscore", "none")

# The fixed layer from the output of a network to normalised log flux.
LastLayer: TypeAlias = "LinearDecoder | PixelScaling"

# The number of samples encoded at once.
_CHUNK = 256

# The smallest squared length of a component by which to divide.
_TINY = 1e-30


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


class SpectrumEncoder(nnx.Module):
    """An encoder from a normalised log spectrum to its code.

    The inverse of the last layer of the decoder gives the inputs of its
    network.

    Attributes:
        network (Network): The encoder of an autoencoder.
        metric (Constant): The weight of each wavelength, with which the
            components of a linear last layer are orthogonal, (n,); None for
            other layers.
    """

    def __init__(
        self, network: Network, metric: NDArray[np.float64] | None
    ) -> None:
        self.network = network
        self.metric = (
            None
            if metric is None
            else Constant(jnp.asarray(metric, jnp.float32))
        )

    def __call__(self, normalised: Array, last: LastLayer) -> Array:
        """Map normalised log flux (n,) to the code (k,)."""
        if isinstance(last, PixelScaling):
            inputs = (normalised - last.shift[...]) / last.scale[...]
            return self.network(inputs)
        assert self.metric is not None
        components = last.components[...]
        weighted = components * self.metric[...][None]
        lengths = jnp.sum(weighted * components, axis=1)
        inputs = weighted @ (normalised - last.mean[...])
        return self.network(inputs / jnp.maximum(lengths, _TINY))


class CodeDecoder(nnx.Module):
    """A decoder from the norms and code of a spectrum to soft-log flux.

    Attributes:
        network (Network): The decoder of an autoencoder.
        last (LastLayer): The layer from its output to normalised log flux.
        per_spectrum (bool): Whether the first two latents are the mean and
            the standard deviation of the log flux.
        softplus (bool): Whether the standard deviation is the softplus of
            its latent, so that it is positive.
        encoder (SpectrumEncoder): The way back; None if it is not kept.
        is_cut (bool): Whether there was one before wavelengths were left out.
    """

    def __init__(
        self,
        network: Network,
        last: LastLayer,
        per_spectrum: bool,
        softplus: bool = False,
        encoder: SpectrumEncoder | None = None,
        is_cut: bool = False,
    ) -> None:
        self.network = network
        self.last = last
        self.per_spectrum = per_spectrum
        self.softplus = softplus
        self.encoder = encoder
        self.is_cut = is_cut

    def __call__(self, latents: Array) -> Array:
        """Map latents (k,) to soft-log flux (n,)."""
        if not self.per_spectrum:
            return self.last(self.network(latents))
        normalised = self.last(self.network(latents[2:]))
        spread = jax.nn.softplus(latents[1]) if self.softplus else latents[1]
        return latents[0] + spread * normalised

    def encode(self, y: Array) -> Array:
        """Map soft-log flux (n,) to latents (k,), with the encoder."""
        assert self.encoder is not None
        if not self.per_spectrum:
            return self.encoder(y, self.last)
        mean, spread = jnp.mean(y), jnp.maximum(jnp.std(y), LEAST_SPREAD)
        code = self.encoder((y - mean) / spread, self.last)
        second = inverse_softplus(spread, jnp) if self.softplus else spread
        return jnp.concatenate([jnp.stack([mean, second]), code])

    def without_encoder(self) -> "CodeDecoder":
        """Return the decoder alone."""
        return CodeDecoder(
            self.network, self.last, self.per_spectrum, self.softplus
        )

    def restrict(self, indices: NDArray[np.intp]) -> "CodeDecoder":
        """Return the decoder of the wavelengths with these indices.

        Without the encoder, which needs all wavelengths.
        """
        return CodeDecoder(
            self.network,
            self.last.restrict(indices),
            self.per_spectrum,
            self.softplus,
            is_cut=self.is_cut or self.encoder is not None,
        )


@dataclass(frozen=True)
class NormalisedSpectra:
    """Log spectra, as a rule normalised to zero mean and unit variance.

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
        if normalisation == "none":
            norms = samples.log_norm[:, None]
            return cls(y, np.zeros(n), np.ones(n), norms)
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


@dataclass(frozen=True)
class TrainedAutoencoder:
    """A trained autoencoder of spectra, which also encodes.

    Attributes:
        decoder (CodeDecoder): The decoder from the norms (mean and standard
            deviation, if each spectrum is normalised separately) and the
            code to soft-log flux, with its encoder.
        soft_log (SoftLog): The transform of flux.
        normalised (NormalisedSpectra): The spectra of the training.
        inputs (np.ndarray of float): The inputs of the training, (m, k).
        history (LossHistory): The losses of the training.
    """

    decoder: CodeDecoder
    soft_log: SoftLog
    normalised: NormalisedSpectra
    inputs: NDArray[np.float64]
    history: LossHistory

    @property
    def inner(self) -> int:
        """The number of inputs of the encoder."""
        return self.inputs.shape[1]

    @property
    def codes(self) -> NDArray[np.float64]:
        """The codes of the spectra of the training, (m, code)."""
        assert self.decoder.encoder is not None
        network = self.decoder.encoder.network
        return _in_chunks(lambda x: _apply(network, x), self.inputs)

    def encode(
        self, spectra: ArrayLike
    ) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """Encode spectra.

        Args:
            spectra (array): The fluxes, in the units of the training, (m, n).

        Returns:
            tuple: The norms (m, 1), ln of the largest flux, or with the mean
                and the standard deviation (m, 3); and the codes (m, code).

        Raises:
            InconsistentArguments: If a flux is negative or not finite, or
                those of a spectrum are all zero.
        """
        flux = np.asarray(spectra, np.float64)
        check_encodable(flux)
        peak = flux.max(axis=-1)
        y = np.asarray(self.soft_log.forward(flux, peak), np.float64)
        norms = np.log(peak)[:, None]
        if self.decoder.per_spectrum:
            mean = y.mean(axis=1, keepdims=True)
            spread = np.maximum(y.std(axis=1, keepdims=True), LEAST_SPREAD)
            norms = np.hstack([norms, mean, spread])
            y = (y - mean) / spread
        return norms, _in_chunks(lambda x: _encode(self.decoder, x), y)

    def decode(
        self, norms: ArrayLike, codes: ArrayLike
    ) -> NDArray[np.float64]:
        """Decode norms and codes, as of `encode`, to spectra (m, n)."""
        norms = np.array(norms, np.float64)
        if self.decoder.softplus:
            norms[:, 2] = inverse_softplus(norms[:, 2])
        latents = jnp.asarray(np.hstack([norms[:, 1:], codes]), jnp.float32)
        y = _decode(self.decoder, latents)
        flux = jax.vmap(self.soft_log.inverse)(y, jnp.asarray(norms[:, 0]))
        return np.asarray(flux, np.float64)

    def errors(self, spectra: ArrayLike) -> NDArray[np.float64]:
        """Return the mean absolute error of encoded and decoded spectra, (m,).

        Fractional errors, where brighter than 1e-5 of the peak.
        """
        flux = np.asarray(spectra, np.float64)
        return mean_errors(
            fractional_residuals(self.decode(*self.encode(flux)), flux)
        )


def inverse_softplus(values: Any, xp: Any = np) -> Any:
    """Return x of which ln(1 + e^x) are positive values.

    The array library `xp` is NumPy or `jax.numpy`.
    """
    return values + xp.log(-xp.expm1(-values))


@jax.jit
def _decode(decoder: CodeDecoder, latents: Array) -> Array:
    """Decode latents (m, k) to soft-log flux (m, n)."""
    return jax.vmap(lambda z: decoder(z))(latents)


@jax.jit
def _encode(decoder: CodeDecoder, normalised: Array) -> Array:
    """Encode normalised log spectra (m, n), giving codes (m, k)."""
    encoder = decoder.encoder
    assert encoder is not None
    return jax.vmap(lambda y: encoder(y, decoder.last))(normalised)


def _in_chunks(
    function: Callable[[Array], Array], rows: NDArray[np.float64]
) -> NDArray[np.float64]:
    """Evaluate a function of rows (m, n) in chunks, giving (m, k)."""
    chunks = np.split(rows, range(_CHUNK, len(rows), _CHUNK))
    found = [function(jnp.asarray(c, jnp.float32)) for c in chunks]
    return np.concatenate(found).astype(np.float64)


@jax.jit
def _apply(network: Network, inputs: Array) -> Array:
    """Evaluate a network on a batch (m, n)."""
    return network(inputs)
