"""Observed flux densities of galaxies.

`Observer` is a pytree that converts the rest-frame luminosity density of one
galaxy to an observed flux density, with its luminosity distance, redshift and
intergalactic absorption; use `jax.vmap` for many galaxies. Redshifts are
traced, so the code is compiled only once.
"""

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import jax.numpy as jnp
import numpy as np
from jax import Array
from jax.tree_util import register_dataclass
from jax.typing import ArrayLike
from jaxtyping import Float
from numpy.polynomial import Chebyshev
from numpy.typing import NDArray
from unyt import Hz, Lsun, Mpc, cm, erg, nJy, pc, s

from synthesizer_emulator.forking import check_not_forked
from synthesizer_emulator.galaxies.chebyshev import chebyshev
from synthesizer_emulator.galaxies.igm import Transmission, translate_igm
from synthesizer_emulator.units import PURE, in_units
from synthesizer_emulator.validation import check_number, check_wavelengths

if TYPE_CHECKING:
    from astropy.cosmology import FLRW

# The flux density in nJy of 1 erg/s/Hz at a distance of 1 Mpc, and the
# distance in Mpc at which Synthesizer puts galaxies at redshift zero.
FLUX_AT_MPC = float((1.0 * erg / s / Hz / (4 * np.pi * Mpc**2)).to_value(nJy))
_NEAREST = float((10 * pc).to_value("Mpc"))

# The flux in erg/s/cm^2 of 1 Lsun at a distance of 1 Mpc.
_LINE_AT_MPC = float(
    (1.0 * Lsun / (4 * np.pi * Mpc**2)).to_value(erg / s / cm**2)
)

# The degree of the polynomial fit to the distance, which is accurate to 1e-9.
_DEGREE = 30


@register_dataclass
@dataclass(frozen=True, eq=False)
class Observer:
    """Observed flux densities in a cosmology, with intergalactic absorption.

    Attributes:
        lam (Array): The rest-frame wavelengths, Angstrom, (nlam,).
        distance (Array): The Chebyshev coefficients, in ln(1 + z), of the
            logarithm of the luminosity distance, Mpc, over z (1 + z).
        igm (Transmission): The intergalactic medium, or None.
        max_redshift (float): The largest redshift; beyond it fluxes are
            NaN.
        n_absorbed (int): The number of wavelengths, from the bluest, that
            the intergalactic medium can absorb.

    Examples:
        >>> import jax, numpy as np
        >>> from astropy.cosmology import Planck18
        >>> from synthesizer.emission_models.transformers.igm import Inoue14
        >>> lam = np.geomspace(500.0, 5e4, 1000)
        >>> observer = Observer.from_cosmology(lam, Planck18, igm=Inoue14)
        >>> lnu = 1e29 * jax.numpy.ones((3, 1000))
        >>> fnu = jax.vmap(observer.fluxes)(lnu, np.array([0.5, 2.0, 8.0]))
        >>> fnu.shape
        (3, 1000)
    """

    lam: Array
    distance: Array
    igm: Transmission | None
    max_redshift: float = field(metadata={"static": True})
    n_absorbed: int = field(metadata={"static": True})

    @classmethod
    def from_cosmology(
        cls,
        lam: NDArray,
        cosmo: "FLRW",
        igm: Any = None,
        max_redshift: float = 20.0,
    ) -> "Observer":
        """Make an observer of spectra on given wavelengths.

        Args:
            lam (np.ndarray of float): The rest-frame wavelengths, Angstrom,
                ascending, (nlam,).
            cosmo (FLRW): A cosmology of astropy.
            igm (IGMBase): Synthesizer's model of the intergalactic medium,
                as a class or an instance; no absorption by default.
            max_redshift (float): The largest redshift of a galaxy.

        Returns:
            Observer: The observer.

        Raises:
            InconsistentArguments: If `max_redshift` is not positive.
            UnimplementedFunctionality: If the model of the intergalactic
                medium is not supported.
        """
        check_not_forked()
        check_number("max_redshift", max_redshift, 0, 1e4, open_ends=True)

        def log_distance(x: NDArray) -> NDArray:
            z = np.expm1(x)
            mpc = cosmo.luminosity_distance(z).to("Mpc").value
            return np.log(mpc / (z * (1.0 + z)))

        ends = [0.0, np.log1p(max_redshift)]
        fit = Chebyshev.interpolate(log_distance, _DEGREE, domain=ends)
        translated = None if igm is None else translate_igm(igm)
        reddest = 0.0 if translated is None else translated.reddest
        lam = plain_wavelengths(lam)
        return cls(
            lam=jnp.asarray(lam, float),
            distance=jnp.asarray(fit.coef, float),
            igm=translated,
            max_redshift=float(max_redshift),
            n_absorbed=int(np.count_nonzero(lam <= (1 + 1e-6) * reddest)),
        )

    # The earlier name.
    of_cosmology = from_cosmology

    def fluxes(
        self, lnu: Float[ArrayLike, " nlam"], redshift: ArrayLike
    ) -> Float[Array, " nlam"]:
        """Return the observed flux density of one galaxy.

        As in Synthesizer's `Sed.get_fnu`, a galaxy at a redshift of exactly
        zero is at 10 pc and is not absorbed.

        Args:
            lnu (Array): The luminosity density, erg/s/Hz, (nlam,).
            redshift (float): The redshift.

        Returns:
            Array: The flux density, nJy, at the wavelengths `lam` times
                1 + z, (nlam,).
        """
        check_not_forked()
        redshift = plain_redshift(redshift)
        lnu = jnp.asarray(in_units("lnu", lnu, "erg/s/Hz"))
        near = redshift == 0.0
        one_plus = 1.0 + redshift
        fnu = lnu * (one_plus * FLUX_AT_MPC * self._dimming(redshift))
        if self.igm is None or not self.n_absorbed:
            return fnu
        # Concatenating is six times faster than multiplying by a transmission
        # that is one redwards.
        n = self.n_absorbed
        transmission = self.igm(redshift, self.lam[:n] * one_plus)
        blue = fnu[:n] * jnp.where(near, 1.0, transmission)
        return jnp.concatenate([blue, fnu[n:]])

    def line_fluxes(
        self,
        luminosity: Float[ArrayLike, " n_lines"],
        lam: Float[ArrayLike, " n_lines"],
        redshift: ArrayLike,
    ) -> Float[Array, " n_lines"]:
        """Return the observed fluxes of lines of one galaxy.

        As in Synthesizer's `LineCollection.get_flux`, the intergalactic medium
        transmits a line as it does its wavelength.

        Args:
            luminosity (Array): The luminosities, solar luminosities,
                (n_lines,).
            lam (Array): The rest-frame wavelengths, Angstrom, (n_lines,).
            redshift (float): The redshift.

        Returns:
            Array: The fluxes, erg/s/cm^2, (n_lines,).
        """
        check_not_forked()
        redshift = plain_redshift(redshift)
        luminosity = jnp.asarray(in_units("luminosity", luminosity, "Lsun"))
        lam = jnp.asarray(in_units("lam", lam, "angstrom"), float)
        flux = luminosity * (_LINE_AT_MPC * self._dimming(redshift))
        if self.igm is None:
            return flux
        transmission = self.igm(redshift, lam * (1.0 + redshift))
        return flux * jnp.where(redshift == 0.0, 1.0, transmission)

    def luminosity_distance(self, redshift: ArrayLike) -> Float[Array, "..."]:
        """Return the luminosity distance, Mpc; NaN out of range."""
        check_not_forked()
        z = plain_redshift(redshift)
        x = 2.0 * jnp.log1p(z) / np.log1p(self.max_redshift) - 1.0
        log_ratio = chebyshev(self.distance, x)
        in_range = (z >= 0.0) & (z <= self.max_redshift)
        return jnp.where(in_range, z * (1.0 + z) * jnp.exp(log_ratio), jnp.nan)

    def _dimming(self, redshift: Float[Array, ""]) -> Float[Array, ""]:
        """Return the inverse square of the luminosity distance, Mpc^-2."""
        near = redshift == 0.0
        distance = self.luminosity_distance(jnp.where(near, 1.0, redshift))
        return 1.0 / jnp.where(near, _NEAREST, distance) ** 2


def plain_wavelengths(lam: NDArray) -> NDArray[np.float64]:
    """Return wavelengths as plain numbers in Angstrom.

    Raises:
        InconsistentArguments: Unless the wavelengths are positive, finite
            and ascending.
        IncorrectUnits: If their units are not those of a length.
    """
    lam = np.asarray(in_units("lam", lam, "angstrom"), np.float64)
    check_wavelengths("lam", lam)
    return lam


def plain_redshift(redshift: ArrayLike) -> Float[Array, "..."]:
    """Return a redshift as a plain number."""
    return jnp.asarray(in_units("redshift", redshift, PURE), float)
