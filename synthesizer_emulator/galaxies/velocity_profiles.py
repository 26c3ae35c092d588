r"""The profiles of moving gas and stars, by their Fourier transforms.

A spectrum in $x = \ln\lambda$ is broadened by a profile $K(v)$ of velocities,
for which $x$ moves by $v / c$. The transform

$$\tilde K(\omega) = \int K(v)\, e^{-i \omega v}\, dv$$

is known in closed form for the profiles here, so none of them is ever put on
pixels. Each function takes the dimensionless product of $\omega$ and the
velocity that its docstring names, of any shape, and is one at zero, as
broadening keeps the energy. All are even in it, and differentiable.
"""

import jax.numpy as jnp
from jax import Array
from jax.typing import ArrayLike

# The limb darkening of `rotation`: linear, with a coefficient of 0.6, which
# is that of the Sun in the visible.
LIMB_DARKENING = 1.5

# Below this value series replace differences that would cancel.
_SMALL = 1.0

# The polynomials of J1(x) / x below 3, in (x / 3)^2, and beyond, in 3 / x, of
# amplitude and phase: Abramowitz & Stegun (1964), eqs. 9.4.4 and 9.4.6.
_NEAR = (
    *(0.5, -0.56249985, 0.21093573, -0.03954289, 0.00443319, -0.00031761),
    0.00001109,
)
_AMPLITUDE = (
    *(0.79788456, 0.00000156, 0.01659667, 0.00017105, -0.00249511),
    *(0.00113653, -0.00020033),
)
_PHASE = (
    *(-2.35619449, 0.12499612, 0.00005650, -0.00637879, 0.00074348),
    *(0.00079824, -0.00029166),
)
_BREAK = 3.0


def gaussian(omega_sigma: ArrayLike) -> Array:
    r"""Return the transform of a Gaussian of standard deviation sigma.

    It is $\exp(-(\omega\sigma)^2 / 2)$.
    """
    return jnp.exp(-0.5 * jnp.square(jnp.asarray(omega_sigma, float)))


def rotation(
    omega_vsini: ArrayLike, limb_darkening: ArrayLike = LIMB_DARKENING
) -> Array:
    r"""Return the transform of the profile of a rotating star.

    The star rotates as a solid body with the projected equatorial velocity
    $v\sin i$, and its surface is darker at the limb,
    $I(\mu) \propto 1 - \epsilon + \epsilon\mu$. Then (Gray 2005, The
    Observation and Analysis of Stellar Photospheres, eq. 18.14), with
    $\beta = \epsilon / (1 - \epsilon)$ and $u = v / (v\sin i)$,

    $$K(u) = \frac{\frac{2}{\pi}\sqrt{1 - u^2} + \frac{\beta}{2}(1 - u^2)}
        {1 + 2\beta/3}, \quad -1 < u < 1,$$

    whose transform is, with $q = \omega v\sin i$,

    $$\frac{2 J_1(q) / q + 2\beta(\sin q - q\cos q) / q^3}{1 + 2\beta/3}.$$

    Args:
        omega_vsini (Array): The product with the projected equatorial
            velocity.
        limb_darkening (float): The coefficient $\beta$.

    Returns:
        Array: The transform, to 1e-7.
    """
    q = jnp.abs(jnp.asarray(omega_vsini, float))
    beta = jnp.asarray(limb_darkening, float)
    total = 2.0 * _bessel_over(q) + 2.0 * beta * _parabola(q)
    return total / (1.0 + 2.0 * beta / 3.0)


def macroturbulence(omega_vmac: ArrayLike) -> Array:
    r"""Return the transform of radial-tangential macroturbulence.

    Half of the surface moves along the radius, half along the surface, each
    with a Gaussian $\exp(-(v/\zeta)^2)$ of velocities (Gray 2005, eq. 17.8,
    with equal areas and velocities). Integrated over a disc of uniform
    brightness, both halves give the transform

    $$\int_0^1 2\mu\, e^{-a \mu^2}\, d\mu = \frac{1 - e^{-a}}{a},
        \quad a = (\omega\zeta / 2)^2.$$

    Args:
        omega_vmac (Array): The product with the velocity zeta.
    """
    a = jnp.square(0.5 * jnp.asarray(omega_vmac, float))
    large = jnp.where(a < 1e-4, 1.0, a)
    return jnp.where(a < 1e-4, 1.0 - 0.5 * a, -jnp.expm1(-large) / large)


def _bessel_over(q: Array) -> Array:
    """Return J1(q) / q for q not negative."""
    # Unlike a minimum, this has the right derivative where both are equal.
    near = jnp.polyval(
        jnp.asarray(_NEAR[::-1], float),
        jnp.square(jnp.where(q < _BREAK, q, _BREAK) / _BREAK),
    )
    far = jnp.where(q < _BREAK, _BREAK, q)
    amplitude = jnp.polyval(jnp.asarray(_AMPLITUDE[::-1], float), _BREAK / far)
    phase = far + jnp.polyval(jnp.asarray(_PHASE[::-1], float), _BREAK / far)
    return jnp.where(q < _BREAK, near, amplitude * jnp.cos(phase) / far**1.5)


def _parabola(q: Array) -> Array:
    """Return (sin q - q cos q) / q^3, which is 1/3 at zero."""
    small = jnp.square(jnp.where(q < _SMALL, q, _SMALL))
    series = 1.0 / 3.0 - small / 30.0 + small**2 / 840.0
    series += -(small**3) / 45_360.0 + small**4 / 3_991_680.0
    large = jnp.where(q < _SMALL, _SMALL, q)
    direct = (jnp.sin(large) - large * jnp.cos(large)) / large**3
    return jnp.where(q < _SMALL, series, direct)
