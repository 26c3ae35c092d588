"""One emulated emission: from coordinates to fluxes."""

from collections.abc import Sequence
from contextlib import AbstractContextManager
from typing import Protocol

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx
from jax import Array
from jax.typing import ArrayLike
from numpy.typing import NDArray
from synthesizer.exceptions import InconsistentArguments

from synthesizer_emulator.emulator.scaling import (
    Constant,
    SoftLog,
)
from synthesizer_emulator.emulator.tables import LinearTable


class Regressor(Protocol):
    """Maps coordinates (d,) to latents (k,), the first being ln norm."""

    def __call__(self, x: Array) -> Array:
        """Return the latents at coordinates x."""


class Decoder(Protocol):
    """Maps latents (k - 1,) to soft-log flux (n,)."""

    def __call__(self, latents: Array) -> Array:
        """Return the soft-log flux of latents."""

    def restrict(self, indices: NDArray[np.intp]) -> "Decoder":
        """Return the decoder of only some of the outputs."""


class LinearDecoder(nnx.Module):
    """A mean plus latents times components.

    Attributes:
        mean (Constant): Shape (n,).
        components (Constant): Shape (k, n).
    """

    def __init__(self, mean: ArrayLike, components: ArrayLike) -> None:
        self.mean = Constant(jnp.asarray(mean, jnp.float32))
        self.components = Constant(jnp.asarray(components, jnp.float32))

    def __call__(self, latents: Array) -> Array:
        """Map latents (k,) to (n,)."""
        return self.mean[...] + latents @ self.components[...]

    def restrict(self, indices: NDArray[np.intp]) -> "LinearDecoder":
        """Return the decoder of only the outputs `indices`."""
        return LinearDecoder(
            self.mean[...][indices], self.components[...][:, indices]
        )


class Ensemble(nnx.Module):
    """Several regressors to the same latents; their mean is the prediction.

    Attributes:
        members (nnx.List of Regressor): The regressors.
        factor (Constant): What turns the spread of the members into an
            uncertainty, ().
    """

    def __init__(self, members: Sequence[Regressor], factor: float) -> None:
        self.members = nnx.List(list(members))
        self.factor = Constant(jnp.asarray(factor, jnp.float32))

    def __call__(self, x: Array) -> Array:
        """Return the mean of the members' latents at coordinates x."""
        return jnp.mean(self.each(x), axis=0)

    def each(self, x: Array) -> Array:
        """Return the latents of every member, (members, k)."""
        return jnp.stack([member(x) for member in self.members])


def log_fluxes(decoder: Decoder, latents: Array) -> Array:
    """Return the log fluxes (members, n) of latents (members, k)."""
    with _full_precision():
        return latents[:, :1] + jax.vmap(lambda z: decoder(z))(latents[:, 1:])


def _full_precision() -> AbstractContextManager:
    """Return what keeps a GPU from rounding the factors of products.

    By default it takes 10 of the 23 bits of single precision, which is less
    than a table and a network that make up for each other can bear.
    """
    return jax.default_matmul_precision("highest")


def encode(
    regressor: Regressor, has_emission: LinearTable, x: Array
) -> tuple[Array, Array]:
    """Return the latents (k,) at coordinates x (d,), and the mask ().

    The first half of an `EmissionEmulator`, which does not know how many
    wavelengths there are.
    """
    mask = has_emission(x)
    with _full_precision():
        latents = regressor(x)
    # Where there is no emission nothing was learned, and what a network
    # makes of it could overflow.
    return jnp.where(mask > 0, latents, 0.0), mask


def decode(
    decoder: Decoder,
    soft_log: SoftLog,
    support: Array,
    latents: Array,
    mask: Array,
) -> Array:
    """Return the flux (n,) of what `encode` gave."""
    with _full_precision():
        y = decoder(latents[1:])
    return soft_log.inverse(y, latents[0]) * support * mask


class EmissionEmulator(nnx.Module):
    """One emission of a grid: a spectrum, or the values of all lines.

    Attributes:
        regressor (Regressor): Coordinates to ln norm and latents.
        decoder (Decoder): Latents to soft-log flux.
        soft_log (SoftLog): The flux transform.
        support (Constant): One where the source ever emits, zero where it
            never does, (n,).
        has_emission (LinearTable): One at nodes with emission, zero at nodes
            without; linear between.
    """

    def __init__(
        self,
        regressor: Regressor,
        decoder: Decoder,
        soft_log: SoftLog,
        support: ArrayLike,
        has_emission: LinearTable,
    ) -> None:
        self.regressor = regressor
        self.decoder = decoder
        self.soft_log = soft_log
        self.support = Constant(jnp.asarray(support, jnp.float32))
        self.has_emission = has_emission

    def __call__(self, x: Array) -> Array:
        """Return the flux (n,) at coordinates x (d,), as the grid's units."""
        latents, mask = encode(self.regressor, self.has_emission, x)
        return decode(
            self.decoder, self.soft_log, self.support[...], latents, mask
        )

    def spread(self, x: Array) -> Array:
        """Return the uncertainty of the flux (n,) at coordinates x (d,).

        The standard deviation of the members' log fluxes, times the flux
        and the factor that was calibrated.

        Raises:
            InconsistentArguments: If this is no ensemble.
        """
        if not isinstance(self.regressor, Ensemble):
            raise InconsistentArguments(
                "Only an ensemble has a spread: build the emulator with "
                "`--ensemble 5` (or ensemble=5)."
            )
        with _full_precision():
            latents = self.regressor.each(x)
        each = log_fluxes(self.decoder, latents)
        variance = jnp.var(each, axis=0)
        # The root of zero has no slope.
        scatter = jnp.sqrt(jnp.where(variance > 0, variance, 1.0))
        scatter = jnp.where(variance > 0, scatter, 0.0)
        return self.regressor.factor[...] * scatter * self(x)

    @property
    def size(self) -> int:
        """The number of wavelengths or lines."""
        return int(self.support[...].shape[0])

    def restrict(self, indices: NDArray[np.intp]) -> "EmissionEmulator":
        """Return the emulator of only some wavelengths or lines.

        Args:
            indices (np.ndarray of int): Those to keep, in order.

        Returns:
            EmissionEmulator: It shares the regressor with this one.
        """
        return EmissionEmulator(
            self.regressor,
            self.decoder.restrict(indices),
            self.soft_log,
            self.support[...][indices],
            self.has_emission,
        )
