"""The emulator of one emission: a spectrum, or a quantity of all lines.

Every emission is evaluated by the same steps:

    coordinates -> regressor -> latents -> decoder -> soft-log flux -> flux

Architectures differ only in the regressor and the decoder.
"""

from collections.abc import Sequence
from contextlib import AbstractContextManager
from typing import Protocol, runtime_checkable

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx
from jax import Array
from jax.typing import ArrayLike
from jaxtyping import Float
from numpy.typing import NDArray
from synthesizer.exceptions import InconsistentArguments

from synthesizer_emulator.emulator.scaling import (
    Constant,
    SoftLog,
)
from synthesizer_emulator.emulator.tables import LinearTable


@runtime_checkable
class Regressor(Protocol):
    """A function from coordinates (d,) to latents (k,).

    The first latent is ln of the norm of the spectrum.
    """

    def __call__(self, x: Float[Array, " d"]) -> Float[Array, " k"]:
        """Return the latents (k,) at coordinates x (d,)."""


@runtime_checkable
class Decoder(Protocol):
    """A function from latents (k - 1,) to soft-log flux (n,)."""

    def __call__(self, latents: Float[Array, " k"]) -> Float[Array, " n"]:
        """Return the soft-log flux (n,) of latents (k - 1,)."""

    def restrict(self, indices: NDArray[np.intp]) -> "Decoder":
        """Return the decoder of the outputs at some indices."""


@runtime_checkable
class Encoding(Protocol):
    """A decoder that may have an encoder, from soft-log flux to latents.

    Attributes:
        encoder (nnx.Module): The encoder; None without one.
        is_cut (bool): Whether it had one, which needs all wavelengths.
    """

    encoder: nnx.Module | None
    is_cut: bool

    def encode(self, y: Float[Array, " n"]) -> Float[Array, " k"]:
        """Return the latents (k - 1,) of soft-log flux (n,)."""


class LinearDecoder(nnx.Module):
    """A decoder by principal components: the mean plus latents @ components.

    Attributes:
        mean (Constant): The mean soft-log flux, (n,).
        components (Constant): The components, (k, n).
    """

    def __init__(self, mean: ArrayLike, components: ArrayLike) -> None:
        self.mean = Constant(jnp.asarray(mean, jnp.float32))
        self.components = Constant(jnp.asarray(components, jnp.float32))

    def __call__(self, latents: Float[Array, " k"]) -> Float[Array, " n"]:
        """Return the soft-log flux (n,) of latents (k,)."""
        return self.mean[...] + latents @ self.components[...]

    def restrict(self, indices: NDArray[np.intp]) -> "LinearDecoder":
        """Return the decoder of the outputs at some indices."""
        return LinearDecoder(
            self.mean[...][indices], self.components[...][:, indices]
        )


class Ensemble(nnx.Module):
    """The mean of several regressors to the same latents.

    Attributes:
        members (nnx.List of Regressor): The regressors.
        factor (Constant): The calibrated ratio of the uncertainty to the
            standard deviation of the members, ().
    """

    def __init__(self, members: Sequence[Regressor], factor: float) -> None:
        self.members = nnx.List(list(members))
        self.factor = Constant(jnp.asarray(factor, jnp.float32))

    def __call__(self, x: Float[Array, " d"]) -> Float[Array, " k"]:
        """Return the mean latents (k,) at coordinates x (d,)."""
        return jnp.mean(self.each(x), axis=0)

    def each(self, x: Float[Array, " d"]) -> Float[Array, "members k"]:
        """Return the latents (members, k) of all members."""
        return jnp.stack([member(x) for member in self.members])


def log_fluxes(
    decoder: Decoder, latents: Float[Array, "members k"]
) -> Float[Array, "members n"]:
    """Return the soft-log fluxes (members, n) of latents (members, k).

    They include ln norm, so that their differences are those of ln flux.
    """
    with _full_precision():
        return latents[:, :1] + jax.vmap(lambda z: decoder(z))(latents[:, 1:])


def _full_precision() -> AbstractContextManager:
    """Return a context in which products have full single precision.

    By default, GPUs round the factors to 10 of 23 bits, too few for the sum
    of a network's trend and the residuals from it.
    """
    return jax.default_matmul_precision("highest")


def encode(
    regressor: Regressor,
    has_emission: LinearTable,
    x: Float[Array, " d"],
    axes: tuple[int, ...] | None = None,
) -> tuple[Float[Array, " k"], Float[Array, "1"]]:
    """Return the latents (k,) at coordinates x (d,), and the mask ().

    The first half of an `EmissionEmulator`, which does not depend on the
    wavelengths. The mask is one at points with emission, and zero at others.
    Only the coordinates of the given axes are used; of all axes for None.
    """
    x = _chosen(x, axes)
    mask = has_emission(x)
    with _full_precision():
        latents = regressor(x)
    # At points without emission, a network was not trained, and its latents
    # could overflow.
    return jnp.where(mask > 0, latents, 0.0), mask


def decode(
    decoder: Decoder,
    soft_log: SoftLog,
    support: Float[Array, " n"],
    latents: Float[Array, " k"],
    mask: Float[Array, "1"],
) -> Float[Array, " n"]:
    """Return the flux (n,) of latents (k,) and mask () from `encode`."""
    with _full_precision():
        y = decoder(latents[1:])
    return soft_log.inverse(y, latents[0]) * support * mask


class EmissionEmulator(nnx.Module):
    """The emulator of a spectrum, or of one quantity of all lines.

    Attributes:
        regressor (Regressor): From coordinates to latents.
        decoder (Decoder): From latents to soft-log flux.
        soft_log (SoftLog): From flux to soft-log flux.
        support (Constant): Zero at the wavelengths or lines where no node
            has emission, and one elsewhere, (n,).
        has_emission (LinearTable): One at nodes with emission and zero at
            others, linear between them.
        axes (tuple of int): The axes on which the emission depends; None
            for all.
    """

    def __init__(
        self,
        regressor: Regressor,
        decoder: Decoder,
        soft_log: SoftLog,
        support: ArrayLike,
        has_emission: LinearTable,
        axes: tuple[int, ...] | None = None,
    ) -> None:
        self.regressor = regressor
        self.decoder = decoder
        self.soft_log = soft_log
        self.support = Constant(jnp.asarray(support, jnp.float32))
        self.has_emission = has_emission
        self.axes = axes

    def __call__(self, x: Float[Array, " d"]) -> Float[Array, " n"]:
        """Return the flux (n,) at coordinates x (d,), in the grid's units."""
        latents, mask = encode(self.regressor, self.has_emission, x, self.axes)
        return decode(
            self.decoder, self.soft_log, self.support[...], latents, mask
        )

    def spread(self, x: Float[Array, " d"]) -> Float[Array, " n"]:
        """Return the uncertainty (n,) of the flux at coordinates x (d,).

        The standard deviation of the members' ln flux, times the calibrated
        factor and the flux.

        Raises:
            InconsistentArguments: If the regressor is not an ensemble.
        """
        if not isinstance(self.regressor, Ensemble):
            raise InconsistentArguments(
                "The spread needs an ensemble, got a single emulator: build "
                "it with `--ensemble 5` (or ensemble=5)."
            )
        with _full_precision():
            latents = self.regressor.each(_chosen(x, self.axes))
        each = log_fluxes(self.decoder, latents)
        variance = jnp.var(each, axis=0)
        # The square root is not differentiable at zero.
        scatter = jnp.sqrt(jnp.where(variance > 0, variance, 1.0))
        scatter = jnp.where(variance > 0, scatter, 0.0)
        return self.regressor.factor[...] * scatter * self(x)

    def encode(self, flux: Float[Array, " n"]) -> Float[Array, " k"]:
        """Return the latents (k,) of a flux (n,).

        They are NaN if a flux is negative or not finite, or all are zero.

        Raises:
            InconsistentArguments: If the emulator has no encoder.
        """
        decoder = self.decoder
        if isinstance(decoder, Encoding) and decoder.is_cut:
            raise InconsistentArguments(
                "An encoder needs all wavelengths that it was trained on, but "
                f"this emulator was cut to {self.size} of them. Encode with "
                "the whole one, as of EmulatedGrid(name).emulator without "
                "lam_lims or new_lam."
            )
        if not isinstance(decoder, Encoding) or decoder.encoder is None:
            raise InconsistentArguments(
                "Only emulators with an autoencoder whose encoder was kept "
                "encode: build one with `--architecture three_component "
                "--set keep_encoder=true`."
            )
        peak = jnp.max(flux)
        # In this form, comparisons with NaN fail.
        usable = jnp.all(flux >= 0.0) & (peak > 0.0) & (peak < jnp.inf)
        peak = jnp.where(usable, peak, jnp.nan)
        y = self.soft_log.forward(flux, peak, jnp)
        with _full_precision():
            latents = decoder.encode(y)
        return jnp.concatenate([jnp.log(peak)[None], latents])

    def decode(self, latents: Float[Array, " k"]) -> Float[Array, " n"]:
        """Return the flux (n,) of latents (k,), of which one is ln norm."""
        return decode(
            self.decoder,
            self.soft_log,
            self.support[...],
            latents,
            jnp.ones(1),
        )

    def n_latents(self, d: int) -> int:
        """Return the number of latents, for points of d coordinates."""
        point = jnp.zeros(d)
        latents = jax.eval_shape(
            lambda x: self.regressor(_chosen(x, self.axes)), point
        )
        return int(latents.shape[0])

    @property
    def size(self) -> int:
        """The number of wavelengths or lines."""
        return int(self.support[...].shape[0])

    def restrict(self, indices: NDArray[np.intp]) -> "EmissionEmulator":
        """Return the emulator of the wavelengths or lines at some indices."""
        return EmissionEmulator(
            self.regressor,
            self.decoder.restrict(indices),
            self.soft_log,
            self.support[...][indices],
            self.has_emission,
            self.axes,
        )

    def on_axes(self, axes: tuple[int, ...] | None) -> "EmissionEmulator":
        """Return the emulator of coordinates of which it uses some axes."""
        return EmissionEmulator(
            self.regressor,
            self.decoder,
            self.soft_log,
            self.support[...],
            self.has_emission,
            axes,
        )


def _chosen(
    x: Float[Array, " d"], axes: tuple[int, ...] | None
) -> Float[Array, " k"]:
    """Return the coordinates of some axes; all for None."""
    return x if axes is None else x[np.array(axes)]
