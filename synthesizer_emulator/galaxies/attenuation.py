"""Dust curves whose shape varies from galaxy to galaxy.

If only the optical depth varies, Synthesizer's curve is evaluated once. If
the slope or the bump varies too, the curve is one of the functions below: a
`Partial` that holds the wavelengths, takes the shape parameters of one galaxy
under Synthesizer's names (wavelengths in Angstrom), and returns the optical
depth relative to the V band, (nlam,).
"""

from collections.abc import Callable

import jax.numpy as jnp
import numpy as np
from jax import Array
from jax.tree_util import Partial
from jax.typing import ArrayLike
from numpy.typing import NDArray
from synthesizer.emission_models.transformers import (
    dust_attenuation as native,
)
from synthesizer.exceptions import UnimplementedFunctionality
from unyt import angstrom

# The nodes, in micron, at which Synthesizer evaluates the curves of
# Calzetti et al. (2000) and Noll et al. (2009) before it interpolates.
_NOLL_NODES = np.linspace(0.01, 3.0, 10000)
_NOLL_V = 0.55
# A_V / E(B - V) of Calzetti's curve at V, as in Synthesizer.
_NOLL_K_V = 4.05 + 2.659 * (
    -2.156 + 1.509 / _NOLL_V - 0.198 / _NOLL_V**2 + 0.011 / _NOLL_V**3
)


def translate_curve(
    curve: native.AttenuationLaw, lam: NDArray[np.float64]
) -> Partial:
    """Return a dust curve as a function of its shape parameters.

    The wavelengths are in Angstrom.

    Raises:
        UnimplementedFunctionality: If the shape of this curve can't vary.
    """
    make = _CURVES.get(type(curve))
    if make is None:
        known = ", ".join(cls.__name__ for cls in _CURVES)
        raise UnimplementedFunctionality(
            f"varying parameters of {type(curve).__name__} (only those of "
            f"{known} can vary)"
        )
    return make(lam)


def _power_law(lam: NDArray[np.float64]) -> Partial:
    """Return the curve of Synthesizer's `PowerLaw`."""
    return Partial(_power_law_tau, jnp.asarray(np.log(lam / 5500.0)))


def _power_law_tau(log_lam: Array, slope: ArrayLike) -> Array:
    return jnp.exp(slope * log_lam)


def _calzetti(lam: NDArray[np.float64]) -> Partial:
    """Return the curve of `Calzetti2000`, interpolated as in Synthesizer."""
    micron = np.clip(lam / 1e4, _NOLL_NODES[0], _NOLL_NODES[-1])
    lower = np.searchsorted(_NOLL_NODES, micron, side="right") - 1
    lower = np.minimum(lower, len(_NOLL_NODES) - 2)
    ends = _NOLL_NODES[lower], _NOLL_NODES[lower + 1]
    weight = (micron - ends[0]) / (ends[1] - ends[0])
    curve = native.Calzetti2000()
    return Partial(
        _calzetti_tau,
        jnp.asarray(ends),
        jnp.asarray([curve.get_tau(end * 1e4 * angstrom) for end in ends]),
        jnp.asarray(weight),
    )


def _calzetti_tau(
    ends: Array,
    plain: Array,
    part: Array,
    slope: ArrayLike,
    cent_lam: ArrayLike,
    ampl: ArrayLike,
    gamma: ArrayLike,
) -> Array:
    """Return the curve of Noll et al. (2009, A&A 507, 1793), equation 8.

    The arrays `ends` (micron) and `plain` (the curve without slope and bump)
    are at the two nodes around each wavelength, (2, nlam); `part` is the
    weight of the second node, (nlam,).
    """
    centre, width = jnp.asarray(cent_lam) / 1e4, jnp.asarray(gamma) / 1e4
    damping = jnp.square(ends * width)
    offset = jnp.square(jnp.square(ends) - jnp.square(centre))
    bump = jnp.asarray(ampl) * damping / (offset + damping) / _NOLL_K_V
    tau = (plain + bump) * jnp.power(ends / _NOLL_V, slope)
    return tau[0] + part * (tau[1] - tau[0])


def _li08(lam: NDArray[np.float64]) -> Partial:
    """Return the curve of `ParametricLi08` with free parameters."""
    return Partial(_li08_tau, jnp.asarray(lam / 1e4))


def _li08_tau(
    lam: Array,
    UV_slope: ArrayLike,  # noqa: N803
    OPT_NIR_slope: ArrayLike,  # noqa: N803
    FUV_slope: ArrayLike,  # noqa: N803
    bump: ArrayLike,
) -> Array:
    """Return the curve of Li et al. (2008, ApJ 685, 1046), equation 1."""
    c1, c2, c3, c4 = (
        jnp.asarray(p) for p in (UV_slope, OPT_NIR_slope, FUV_slope, bump)
    )
    # 1 / (x^c2 + x^-c2 + c3), written so that no power overflows.
    power = jnp.exp(-jnp.abs(c2 * jnp.log(lam / 0.08)))
    first = power / (1.0 + jnp.square(power) + c3 * power)
    at_v = 1.0 / (6.88**c2 + 0.145**c2 + c3)
    y = jnp.square(lam / 0.046)
    second = 1.0 - c1 * at_v - c4 / 4.6
    second = 233.0 * second / (y + 1.0 / y + 90.0)
    z = jnp.square(lam / 0.2175)
    return c1 * first + second + c4 / (z + 1.0 / z - 1.95)


def _sommovigo_bartlett(lam: NDArray[np.float64]) -> Partial:
    """Return the curve of Synthesizer's `SommovigoBartlett2026`."""
    return Partial(_sommovigo_bartlett_tau, jnp.asarray(lam / 5542.0))


def _sommovigo_bartlett_tau(
    x: Array,
    B_0: ArrayLike,  # noqa: N803
    B_1s: ArrayLike,  # noqa: N803
    B_2s: ArrayLike,  # noqa: N803
    B_3: ArrayLike,  # noqa: N803
) -> Array:
    """Return the curve of Sommovigo & Bartlett (2026, arXiv:2606.10027)."""
    bump = jnp.exp(-285.6 * jnp.square(x - 0.4002))
    bump -= np.exp(-285.6 * (1.0 - 0.4002) ** 2)
    from_uv = x - 0.2092
    slope = 1e3 * (B_1s + B_2s * from_uv) * from_uv
    slope *= jnp.exp(-9.223 * x) - np.exp(-9.223)
    return (
        B_0 * bump
        + slope
        + jnp.exp(B_3 * (np.tanh(1.016) - jnp.tanh(1.016 * x)))
    )


_CURVES: dict[type, Callable[[NDArray[np.float64]], Partial]] = {
    native.PowerLaw: _power_law,
    native.Calzetti2000: _calzetti,
    native.ParametricLi08: _li08,
    native.SommovigoBartlett2026: _sommovigo_bartlett,
}
