"""Spectral shapes of dust emission as functions of temperature.

A shape is a `Partial` that holds the wavelengths, takes the temperature of
one galaxy in K, and returns the logarithm of the luminosity density up to a
constant, (nlam,). The luminosity density is normalised to the dust luminosity
later; without the logarithm it would underflow single precision if the
wavelengths end far bluewards of the peak.
"""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array
from jax.tree_util import Partial
from jax.typing import ArrayLike
from numpy.typing import NDArray
from synthesizer.emission_models.generators import dust as native
from synthesizer.exceptions import UnimplementedFunctionality
from unyt import c, h, kb, um

_HC_OVER_K = float((h * c / kb).to_value("K*angstrom"))

# Wavelengths, Angstrom, that cover all dust emission, and temperatures, K, in
# steps of 2%.
_ALL_LAM = np.geomspace(1e2, 1e9, 2000)
_TEMPERATURES = np.geomspace(1.0, 1e4, 465)


def translate_dust(generator: Any, lam: NDArray[np.float64]) -> Partial:
    """Return the log shape of dust emission as a function of temperature.

    The wavelengths are in Angstrom.

    Raises:
        UnimplementedFunctionality: If the generator is not supported.
    """
    make = _SHAPES.get(type(generator))
    if make is None:
        supported = (*_SHAPES, native.DraineLi07)
        known = ", ".join(cls.__name__ for cls in supported)
        raise UnimplementedFunctionality(
            f"the generator {type(generator).__name__} (supported: {known})"
        )
    return make(generator, lam)


def coldest_within(generator: Any, lam: NDArray[np.float64]) -> float:
    """Return the lowest temperature of dust that emits mostly within a range.

    Colder dust emits less than half of its luminosity between the first and
    the last wavelength, Angstrom. The temperature, K, is accurate to 2%, and
    infinite if dust of every temperature emits mostly outside the range.
    """
    shape = translate_dust(generator, _ALL_LAM)
    log_shapes = np.asarray(jax.vmap(shape)(jnp.asarray(_TEMPERATURES)))
    # The spacings of the frequencies are proportional to frequency.
    log_energy = log_shapes - np.log(_ALL_LAM)
    energy = np.exp(log_energy - log_energy.max(axis=1, keepdims=True))
    within = (lam[0] <= _ALL_LAM) & (lam[-1] >= _ALL_LAM)
    mostly = energy[:, within].sum(axis=1) >= 0.5 * energy.sum(axis=1)
    temperatures = _TEMPERATURES[mostly]
    return float(temperatures[0]) if len(temperatures) else np.inf


def _log_planck(
    log_factor: Array, heat: Array, above: Array, temperature: ArrayLike
) -> Array:
    """Return the logarithm of Planck's law times a factor, up to a constant.

    The factor multiplies 1 / (exp(heat / temperature) - 1), where `heat` is
    h nu / k in K; `above` is `heat` minus its minimum.
    """
    # Subtracting the minimum keeps the last digits of large exponents.
    # log(exp(x) - 1) would overflow and have no derivative.
    return (
        log_factor
        - above / temperature
        - jnp.log(-jnp.expm1(-heat / temperature))
    )


def _planck_with(
    opaque: NDArray[np.float64], lam: NDArray[np.float64]
) -> Partial:
    """Return the log shape of Planck's law times an opacity (nlam,)."""
    heat = _HC_OVER_K / lam
    return Partial(
        _log_planck,
        jnp.asarray(np.log(opaque) - 3.0 * np.log(lam / lam[-1]), float),
        jnp.asarray(heat, float),
        jnp.asarray(heat - heat.min(), float),
    )


def _blackbody(generator: Any, lam: NDArray[np.float64]) -> Partial:
    """Return the log shape of Synthesizer's `Blackbody`."""
    return _planck_with(np.ones_like(lam), lam)


def _greybody(generator: Any, lam: NDArray[np.float64]) -> Partial:
    """Return the log shape of `Greybody`, with a constant emissivity."""
    opaque = (lam / lam[-1]) ** -generator.emissivity
    if not generator.optically_thin:
        lam_0 = generator.lam_0.to_value("angstrom")
        opaque = -np.expm1(-((lam_0 / lam) ** generator.emissivity))
    return _planck_with(opaque, lam)


def _casey12(generator: Any, lam: NDArray[np.float64]) -> Partial:
    """Return the log shape of Synthesizer's `Casey12`."""
    return Partial(
        _log_casey12,
        jnp.asarray(lam / 1e4, float),
        jnp.asarray(
            [
                generator.emissivity,
                generator.alpha,
                generator.lam_0.to_value(um),
            ],
            float,
        ),
    )


def _log_casey12(lam: Array, settings: Array, temperature: ArrayLike) -> Array:
    """Return the logarithm of Casey (2012, MNRAS 425, 3094), equation 3."""
    emissivity, alpha, lam_0 = settings
    # The turnover wavelength of the power law, from table 1.
    slope = 26.68 + 6.246 * alpha
    heat = (0.0001905 + 0.00007243 * alpha) * temperature
    lam_c = 0.75 / (slope**-2 + heat)

    def log_body(wavelength: Array) -> Array:
        opaque = -jnp.expm1(-((lam_0 / wavelength) ** emissivity))
        heat = _HC_OVER_K / 1e4 / wavelength
        log_factor = jnp.log(opaque) - 3.0 * jnp.log(wavelength)
        return _log_planck(log_factor, heat, heat, temperature)

    log_power_law = alpha * jnp.log(lam / lam_c) - jnp.square(lam / lam_c)
    return jnp.logaddexp(log_body(lam), log_body(lam_c) + log_power_law)


_SHAPES: dict[type, Callable[[Any, NDArray[np.float64]], Partial]] = {
    native.Blackbody: _blackbody,
    native.Greybody: _greybody,
    native.Casey12: _casey12,
}
