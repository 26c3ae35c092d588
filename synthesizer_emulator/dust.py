"""The shapes of dust emission.

Synthesizer's dust emission generators as functions of one galaxy's
temperature: `translation` needs them, nobody else. A shape is a `Partial`
with the wavelengths in it, called with a temperature in K, and is not
normalised.
"""

from collections.abc import Callable
from typing import Any

import jax.numpy as jnp
import numpy as np
from jax import Array
from jax.tree_util import Partial
from jax.typing import ArrayLike
from numpy.typing import NDArray
from synthesizer.emission_models.generators import dust as native
from synthesizer.exceptions import UnimplementedFunctionality
from unyt import c, h, kb, um

# Frequencies are counted in 1e13 Hz, so that no power of them overflows.
_THZ_10 = 1e13
_H_OVER_K = float((h / kb).to_value("K*s")) * _THZ_10
_C_ANGSTROM = float(c.to_value("angstrom/s")) / _THZ_10


def translate_dust(generator: Any, lam: NDArray[np.float64]) -> Partial:
    """Return the shape of a dust emission as a function of temperature.

    Args:
        generator (DustEmission): One of Synthesizer's generators.
        lam (np.ndarray of float): The wavelengths, Angstrom, (nlam,).

    Returns:
        Partial: From the temperature, K, to the shape, (nlam,).

    Raises:
        UnimplementedFunctionality: If it is not translated.
    """
    make = _SHAPES.get(type(generator))
    if make is None:
        known = ", ".join(cls.__name__ for cls in _SHAPES)
        raise UnimplementedFunctionality(
            f"the generator {type(generator).__name__} is not translated; "
            f"these are: {known}"
        )
    return make(generator, lam)


def _planck(nu: Array, temperature: ArrayLike) -> Array:
    """Return Planck's law over frequency, to a factor."""
    x = _H_OVER_K * nu / temperature
    # Not 1 / (exp(x) - 1), which overflows and has no derivative then.
    return nu**3 * jnp.exp(-x) / -jnp.expm1(-x)


def _blackbody(generator: Any, lam: NDArray[np.float64]) -> Partial:
    """Return Synthesizer's `Blackbody`."""
    return Partial(_planck, jnp.asarray(_C_ANGSTROM / lam))


def _greybody(generator: Any, lam: NDArray[np.float64]) -> Partial:
    """Return Synthesizer's `Greybody`.

    Its emissivity is always the generator's own.
    """
    nu = _C_ANGSTROM / lam
    opaque = nu**generator.emissivity
    if not generator.optically_thin:
        lam_0 = generator.lam_0.to_value("angstrom")
        opaque = -np.expm1(-((lam_0 / lam) ** generator.emissivity))
    return Partial(_greybody_shape, jnp.asarray(nu), jnp.asarray(opaque))


def _greybody_shape(nu: Array, opaque: Array, temperature: ArrayLike) -> Array:
    return opaque * _planck(nu, temperature)


def _casey12(generator: Any, lam: NDArray[np.float64]) -> Partial:
    """Return Synthesizer's `Casey12`."""
    return Partial(
        _casey12_shape,
        jnp.asarray(lam / 1e4),
        jnp.asarray(
            [
                generator.emissivity,
                generator.alpha,
                generator.lam_0.to_value(um),
            ]
        ),
    )


def _casey12_shape(
    lam: Array, settings: Array, temperature: ArrayLike
) -> Array:
    """Return the shape of Casey (2012, MNRAS 425, 3094), equation 3."""
    emissivity, alpha, lam_0 = settings
    # The power law turns over where table 1 has it.
    slope = 26.68 + 6.246 * alpha
    heat = (0.0001905 + 0.00007243 * alpha) * temperature
    lam_c = 0.75 / (slope**-2 + heat)

    def body(wavelength: Array) -> Array:
        opaque = -jnp.expm1(-((lam_0 / wavelength) ** emissivity))
        return opaque * _planck(_C_ANGSTROM / 1e4 / wavelength, temperature)

    power_law = (lam / lam_c) ** alpha * jnp.exp(-jnp.square(lam / lam_c))
    return body(lam) + body(lam_c) * power_law


_SHAPES: dict[type, Callable[[Any, NDArray[np.float64]], Partial]] = {
    native.Blackbody: _blackbody,
    native.Greybody: _greybody,
    native.Casey12: _casey12,
}
