"""All data of one galaxy, and their joint likelihood."""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

import jax.numpy as jnp
import numpy as np
from jax import Array
from jax.tree_util import register_dataclass
from jaxtyping import Float
from numpy.typing import NDArray

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

    def mock(
        self,
        model: Mapping[str, NDArray[np.float64]],
        of_spectrum: Mapping[str, NDArray[np.float64]],
        rng: np.random.Generator,
    ) -> "Data":
        """Return data of a model with the errors and gaps of these.

        The arguments are those of `log_likelihood`.
        """
        changed: dict[str, Any] = {}
        if self.photometry is not None:
            changed["photometry"] = self.photometry.mock(
                model["photometry"], rng
            )
        if self.line_fluxes is not None:
            changed["line_fluxes"] = self.line_fluxes.mock(
                model["line_fluxes"], rng
            )
        if self.spectrum is not None:
            changed["spectrum"] = self.spectrum.mock(
                model["spectrum"], rng, **of_spectrum
            )
        return replace(self, **changed)
