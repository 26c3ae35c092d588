"""All data of one galaxy, and their joint likelihood."""

from collections.abc import Mapping
from dataclasses import dataclass

import jax.numpy as jnp
from jax import Array
from jax.tree_util import register_dataclass
from jaxtyping import Float

from synthesizer_emulator.inference.line_fluxes import LineFluxes
from synthesizer_emulator.inference.photometry import Photometry
from synthesizer_emulator.inference.spectrograph import Spectrograph
from synthesizer_emulator.inference.spectrum import Spectrum

# The parameter of a spectrum that is the model's, not the likelihood's.
SIGMA_V = "sigma_v"


@register_dataclass
@dataclass(frozen=True, eq=False)
class Data:
    """All data of one galaxy, made by `Fit.data`; those it lacks are None.

    A pytree.

    Attributes:
        photometry (Photometry): The photometry.
        line_fluxes (LineFluxes): The fluxes of emission lines.
        spectrum (Spectrum): The spectrum.
        spectrograph (Spectrograph): What takes models to the pixels of the
            spectrum.
    """

    photometry: Photometry | None = None
    line_fluxes: LineFluxes | None = None
    spectrum: Spectrum | None = None
    spectrograph: Spectrograph | None = None

    def at_pixels(
        self,
        fnu: Float[Array, " nlam"],
        redshift: Float[Array, ""],
        sigma_v: Float[Array, ""],
    ) -> Float[Array, " n"]:
        """Return the flux densities of a model at the pixels, nJy, (n,)."""
        assert self.spectrograph is not None and self.spectrum is not None
        return self.spectrograph.fluxes(self.spectrum, fnu, redshift, sigma_v)

    def log_likelihood(
        self,
        model: Mapping[str, Array],
        of_spectrum: Mapping[str, Array],
    ) -> Float[Array, ""]:
        """Return the logarithm of the likelihood of a model of the data.

        Args:
            model (Mapping): The values of the model by the names of the
                attributes.
            of_spectrum (Mapping): Other arguments of
                `Spectrum.log_likelihood`.
        """
        total = jnp.zeros(())
        if self.photometry is not None:
            total += self.photometry.log_likelihood(model["photometry"])
        if self.line_fluxes is not None:
            total += self.line_fluxes.log_likelihood(model["line_fluxes"])
        if self.spectrum is not None:
            total += self.spectrum.log_likelihood(
                model["spectrum"], **of_spectrum
            )
        return total
