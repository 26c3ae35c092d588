"""Invertible scalings between physical numbers and network numbers.

Architectures compose these; they know nothing of spectra files or units.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Self

import jax.numpy as jnp
import numpy as np
from flax import nnx
from jax import Array
from numpy.typing import NDArray

from synthesizer_emulator.gridfile import Axis

# An axis that spans more than this factor is logged for the network even
# where the grid does not log it (as metallicities): between the nodes of
# BC03, interpolation in log Z errs half as much as in Z (docs/accuracy).
_LOG_SPAN = 10.0


class Constant(nnx.Variable):
    """An array that belongs to a module but is not trained."""


@dataclass(frozen=True)
class AxisDomain:
    """The range of one axis in which an emulator is trained.

    Attributes:
        name (str): The axis.
        low (float): The lower end, in the units of the axis.
        high (float): The upper end.
        logged (bool): Whether networks see its log10.
    """

    name: str
    low: float
    high: float
    logged: bool

    @classmethod
    def of_axis(cls, axis: Axis) -> Self:
        """Return the domain that spans the nodes of a grid's axis.

        It is logged if the grid logs it, or if it is positive and spans
        more than a decade.
        """
        low, high = float(axis.values[0]), float(axis.values[-1])
        logged = axis.log_on_read or (low > 0 and high / low > _LOG_SPAN)
        return cls(axis.name, low, high, logged)


class Coordinates(nnx.Module):
    """Axis values to network coordinates: log10 where apt, then [-1, 1].

    Attributes:
        domain (tuple of AxisDomain): The axes, in order.
    """

    def __init__(self, domain: Sequence[AxisDomain]) -> None:
        self.domain = tuple(domain)

    def __call__(self, values: Array) -> Array:
        """Scale axis values (..., d) to coordinates in [-1, 1]."""
        low, high = (
            self._scaled(jnp.array([getattr(a, end) for a in self.domain]))
            for end in ("low", "high")
        )
        return 2.0 * (self._scaled(values) - low) / (high - low) - 1.0

    def contains(self, values: Array) -> Array:
        """Return whether axis values (..., d) lie in the domain, (...,).

        The ends count as inside, with room for rounding in float32.
        """
        return jnp.all(jnp.abs(self(values)) <= 1.0 + 1e-5, axis=-1)

    def of_nodes(self, axes: Sequence[Axis]) -> tuple[NDArray, ...]:
        """Return the coordinates of the nodes along each axis of a grid."""
        lows = np.array([a.low for a in self.domain])
        nodes = []
        for i, axis in enumerate(axes):
            values = np.repeat(lows[None, :], len(axis.values), axis=0)
            values[:, i] = axis.values
            nodes.append(np.asarray(self(jnp.asarray(values)))[:, i])
        return tuple(nodes)

    def _scaled(self, values: Array) -> Array:
        """Take the logarithms that are due."""
        logged = jnp.array([a.logged for a in self.domain])
        # Guard the unused branch, whose gradient would be NaN at zero.
        positive = jnp.where(logged, values, 1.0)
        return jnp.where(logged, jnp.log10(positive), values)


class SoftLog(nnx.Module):
    r"""Flux to softened log flux, relative to a spectrum's own norm.

    $$ y = \ln(f / n + \epsilon), \qquad f = n\,(e^y - \epsilon) $$

    Brighter than $\epsilon n$ this is the logarithm, so that errors are
    fractional; fainter pixels fade out instead of diverging, and zero flux
    is the finite $\ln\epsilon$.

    Attributes:
        softening (float): The parameter $\epsilon$.
    """

    def __init__(self, softening: float) -> None:
        self.softening = softening

    def forward(
        self, flux: NDArray[np.float64], norm: NDArray[np.float64]
    ) -> NDArray[np.float64]:
        """Return y (..., n) of fluxes (..., n) and norms (...,)."""
        relative = flux / np.asarray(norm)[..., None]
        return np.log(relative + self.softening)

    def inverse(self, y: Array, log_norm: Array) -> Array:
        """Return fluxes (..., n) of y (..., n) and ln norms (...,).

        What lies below the softening by more than rounding is zero flux.
        """
        # In logs throughout: exp(y) * norm could overflow where the
        # product does not.
        above = jnp.maximum(-jnp.expm1(jnp.log(self.softening) - y), 0.0)
        return jnp.exp(y + log_norm[..., None]) * above
