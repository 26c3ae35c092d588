r"""Absorption by the intergalactic medium.

Synthesizer's models as pytrees. Each is called with the redshift of one
galaxy and observed wavelengths, and returns the transmitted fraction.
"""

from dataclasses import dataclass
from typing import Any, Protocol, runtime_checkable

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array
from jax.tree_util import register_dataclass
from jax.typing import ArrayLike
from jaxtyping import Float
from synthesizer.emission_models.transformers import igm as native
from synthesizer.exceptions import UnimplementedFunctionality

_LYMAN_ALPHA = 1215.67
_LYMAN_LIMIT = 911.8

# The relative distance within which a wavelength counts as that of a line,
# despite rounding; there Inoue14 does not absorb, and Madau96 does.
_ON_LINE = 5e-7


@runtime_checkable
class Transmission(Protocol):
    """A model of the intergalactic medium.

    Attributes:
        reddest (float): The rest-frame wavelength, Angstrom, redwards of
            which nothing is absorbed.
    """

    @property
    def reddest(self) -> float:
        """The rest-frame wavelength redwards of which nothing is absorbed."""

    def __call__(
        self, redshift: ArrayLike, lam_obs: Float[ArrayLike, " n"]
    ) -> Float[Array, " n"]:
        """Return the transmitted fraction at wavelengths in Angstrom."""


def translate_igm(igm: Any) -> Transmission:
    """Translate Synthesizer's model of the intergalactic medium to JAX.

    Args:
        igm (IGMBase): `Inoue14`, `Madau96` or `Asada25`, as a class or an
            instance.

    Returns:
        Transmission: The translated model.

    Raises:
        UnimplementedFunctionality: If `igm` is another model.
    """
    model = igm() if isinstance(igm, type) else igm
    translated = _MODELS.get(type(model))
    if translated is None:
        known = ", ".join(cls.__name__ for cls in _MODELS)
        raise UnimplementedFunctionality(
            f"The IGM model {type(model).__name__} is not supported: use "
            f"{known}, or apply it with Synthesizer's get_fnu."
        )
    return translated.from_native(model)


@register_dataclass
@dataclass(frozen=True, eq=False)
class Inoue14:
    """Lyman series and continuum absorption of Inoue et al. (2014).

    MNRAS 442, 1805, equations 20 to 29.

    Attributes:
        lines (Array): The wavelengths of the Lyman series, Angstrom, (m,).
        forest (Array): The coefficients of the optical depth of the Lyman
            alpha forest in three redshift ranges, (3, m).
        damped (Array): The coefficients of damped Lyman alpha systems in two
            redshift ranges, (2, m).
        scale_tau (Array): A factor by which the optical depth is multiplied.
    """

    lines: Array
    forest: Array
    damped: Array
    scale_tau: Array

    @classmethod
    def from_native(cls, model: Any) -> "Inoue14":
        """Make the model with the coefficients of Synthesizer's instance."""
        return cls(
            lines=jnp.asarray(model.lam.value[:, 0], float),
            forest=jnp.asarray(
                np.hstack([model.alf1, model.alf2, model.alf3]).T, float
            ),
            damped=jnp.asarray(np.hstack([model.adla1, model.adla2]).T, float),
            scale_tau=jnp.asarray(model.scale_tau, float),
        )

    @property
    def reddest(self) -> float:
        """The wavelength of Lyman alpha, Angstrom."""
        return _LYMAN_ALPHA

    def __call__(
        self, redshift: ArrayLike, lam_obs: Float[ArrayLike, " n"]
    ) -> Float[Array, " n"]:
        """Return the transmitted fraction at observed wavelengths (n,)."""
        lam_obs = jnp.asarray(lam_obs, float)
        tau = (
            self._series(redshift, lam_obs)
            + _damped_continuum(redshift, lam_obs / _LYMAN_LIMIT)
            + _forest_continuum(redshift, lam_obs / _LYMAN_LIMIT)
        )
        return jnp.minimum(jnp.exp(-self.scale_tau * tau), 1.0)

    def _series(self, redshift: ArrayLike, lam_obs: Array) -> Array:
        """Return the optical depth of the Lyman series."""
        relative = self.lines / _LYMAN_ALPHA
        low, middle, high = (
            values * relative**-power
            for values, power in zip(self.forest, (1.2, 3.7, 5.5), strict=True)
        )
        near, far = (
            values * relative**-power
            for values, power in zip(self.damped, (2.0, 3.0), strict=True)
        )
        x = _powers(lam_obs / _LYMAN_ALPHA, 1.2, 2.0, 3.0, 3.7, 5.5)
        end = (1.0 - _ON_LINE) * (1.0 + redshift)
        # Add one line at a time, without arrays of size (m, n): twice as fast
        # as counting lines and looking up cumulative sums.
        tau = jnp.zeros_like(lam_obs)
        for j in range(len(self.lines)):
            one_plus = lam_obs / self.lines[j]
            forest = jnp.where(
                one_plus < 5.7, middle[j] * x[3.7], high[j] * x[5.5]
            )
            forest = jnp.where(one_plus < 2.2, low[j] * x[1.2], forest)
            damped = jnp.where(
                one_plus < 3.0, near[j] * x[2.0], far[j] * x[3.0]
            )
            tau += jnp.where(one_plus < end, forest + damped, 0.0)
        return tau


@register_dataclass
@dataclass(frozen=True, eq=False)
class Asada25:
    """`Inoue14` with the damping wing of circumgalactic gas beyond z = 6.

    Asada et al. (2025, ApJL 983, L2); the cross section is that of Totani
    et al. (2006, PASJ 58, 485), equation 1.

    Attributes:
        igm (Inoue14): The intergalactic absorption.
        column (Array): Amplitude, slope and offset of the logarithm of the
            column density of hydrogen, a sigmoid in redshift, (3,).
        add_cgm (Array): 1 with the damping wing, 0 without.
    """

    igm: Inoue14
    column: Array
    add_cgm: Array

    @classmethod
    def from_native(cls, model: Any) -> "Asada25":
        """Make the model with the coefficients of Synthesizer's instance."""
        return cls(
            igm=Inoue14.from_native(model),
            column=jnp.asarray(model.sigmoid_params, float),
            add_cgm=jnp.asarray(model.add_cgm, float),
        )

    @property
    def reddest(self) -> float:
        """Infinity, as a damping wing extends to all wavelengths."""
        return float("inf")

    def __call__(
        self, redshift: ArrayLike, lam_obs: Float[ArrayLike, " n"]
    ) -> Float[Array, " n"]:
        """Return the transmitted fraction at observed wavelengths (n,)."""
        lam_obs = jnp.asarray(lam_obs, float)
        amplitude, slope, offset = self.column
        log10_column = amplitude * jax.nn.sigmoid(slope * (redshift - 6.0))
        lyman_alpha = 2.46607e15  # Hz
        # In units of the frequency of Lyman alpha, so that nothing
        # overflows in single precision.
        x = (3e18 / lyman_alpha) * (1.0 + redshift) / lam_obs
        damping = 6.255486e8 / lyman_alpha
        shape = x**4 / (
            4 * np.pi**2 * jnp.square(x - 1.0) + damping**2 * x**6 / 4
        )
        log10_scale = np.log10(6.9029528e22) - 16.0 - 2 * np.log10(lyman_alpha)
        tau = shape * 10.0 ** (log10_column + (offset + log10_scale))
        present = (self.add_cgm > 0) & (jnp.asarray(redshift) >= 6.0)
        wing = jnp.exp(-jnp.where(present, tau, 0.0))
        return self.igm(redshift, lam_obs) * wing


@register_dataclass
@dataclass(frozen=True, eq=False)
class Madau96:
    """Absorption of Madau et al. (1996), as in Synthesizer.

    MNRAS 283, 1388, equations 12 to 16.

    Attributes:
        lines (Array): The wavelengths of the Lyman series, Angstrom, (4,).
        strengths (Array): The coefficients of the lines, (4,).
    """

    lines: Array
    strengths: Array

    @classmethod
    def from_native(cls, model: Any) -> "Madau96":
        """Make the model with the coefficients of Synthesizer's instance."""
        return cls(
            lines=jnp.asarray(model.lams, float),
            strengths=jnp.asarray(model.coefficients, float),
        )

    @property
    def reddest(self) -> float:
        """The wavelength of Lyman alpha as rounded by the model, Angstrom."""
        return 1216.0

    def __call__(
        self, redshift: ArrayLike, lam_obs: Float[ArrayLike, " n"]
    ) -> Float[Array, " n"]:
        """Return the transmitted fraction at observed wavelengths (n,)."""
        lam_obs = jnp.asarray(lam_obs, float)
        one_plus = 1.0 + jnp.asarray(redshift, float)
        limits = (1.0 + _ON_LINE) * one_plus * self.lines
        tau = jnp.zeros_like(lam_obs)
        # The last line contributes to the continuum only.
        for j in range(self.lines.shape[0] - 1):
            line = self.strengths[j] * (lam_obs / self.lines[j]) ** 3.46
            tau += jnp.where(lam_obs <= limits[j], line, 0.0)
        x = lam_obs / self.lines[-1]
        continuum = (
            0.25 * x**3 * (one_plus**0.46 - x**0.46)
            + 9.4 * x**1.5 * (one_plus**0.18 - x**0.18)
            - 0.7 * x**3 * (x**-1.32 - one_plus**-1.32)
            + 0.023 * (x**1.68 - one_plus**1.68)
        )
        tau += jnp.where(lam_obs <= limits[-1], continuum, 0.0)
        opaque = lam_obs <= limits[-1] - 1500.0
        return jnp.where(opaque, 0.0, jnp.exp(-tau))


_MODELS: dict[type, Any] = {
    native.Inoue14: Inoue14,
    native.Madau96: Madau96,
    native.Asada25: Asada25,
}


def _powers(x: Array, *exponents: float) -> dict[float, Array]:
    """Return powers of positive numbers, faster than separate `x**p`."""
    log_x = jnp.log(x)
    return {p: jnp.exp(p * log_x) for p in exponents}


def _damped_continuum(redshift: ArrayLike, x: Array) -> Array:
    """Return the Lyman continuum optical depth of damped systems, (n,).

    The observed wavelengths `x` are in units of the Lyman limit.
    """
    one_plus = 1.0 + jnp.asarray(redshift, float)
    root = _powers(x, -0.3)[-0.3]
    near = 0.2113 * one_plus**2 - 0.07661 * one_plus**2.3 * root
    near -= 0.1347 * x**2
    far = 0.04696 * one_plus**3 - 0.01779 * one_plus**3.3 * root
    far += jnp.where(
        x >= 3.0, -0.02916 * x**3, 0.6340 - 0.1347 * x**2 - 0.2905 * root
    )
    tau = jnp.where(one_plus < 3.0, near, far)
    return jnp.where(x < one_plus, tau, 0.0)


def _forest_continuum(redshift: ArrayLike, x: Array) -> Array:
    """Return the Lyman continuum optical depth of the forest, (n,).

    The observed wavelengths `x` are in units of the Lyman limit.
    """
    one_plus = 1.0 + jnp.asarray(redshift, float)
    low, middle, high, highest = _powers(x, 1.2, 2.1, 3.7, 5.5).values()
    near = 0.3248 * (low - one_plus**-0.9 * middle)
    terms = jnp.where(
        x >= 2.2, -2.545e-2 * high, 0.3248 * low - 0.2496 * middle
    )
    between = 2.545e-2 * one_plus**1.6 * middle + terms
    terms = jnp.where(
        x >= 2.2,
        0.2182 * middle - 2.545e-2 * high,
        0.3248 * low - 3.140e-2 * middle,
    )
    terms = jnp.where(x >= 5.7, -5.221e-4 * highest, terms)
    far = 5.221e-4 * one_plus**3.4 * middle + terms
    tau = jnp.where(one_plus < 5.7, between, far)
    tau = jnp.where(one_plus < 2.2, near, tau)
    return jnp.where(x < one_plus, tau, 0.0)
