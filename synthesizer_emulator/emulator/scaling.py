"""Invertible scalings between physical numbers and network numbers.

Architectures compose these; they know nothing of spectra files or units.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any, Self

import jax.numpy as jnp
import numpy as np
from flax import nnx
from jax import Array
from numpy.typing import NDArray
from synthesizer.exceptions import InconsistentArguments

from synthesizer_emulator.gridfile.header import Axis

# An axis that spans more than a decade and is not logged by the grid, as
# metallicities, is raised to this power: between the nodes of BC03, errors
# are smaller in Z^0.4 than in Z or in log Z (docs/accuracy).
_WIDE_POWER = 0.4
_ZERO_SHIFT = 1e-4

# Below this multiple of the softening a soft-log flux means zero: closer
# to it than the accuracy of the emulator, nothing is known.
ZERO_BELOW = 1.1

# How far outside its domain a value counts as rounded, relative to it.
_ROUNDING = 1e-6


class Constant(nnx.Variable):
    """An array that belongs to a module but is not trained."""


@dataclass(frozen=True)
class AxisDomain:
    """The range of one axis in which an emulator is trained.

    Attributes:
        name (str): The axis.
        low (float): The lower end, in the units of the axis.
        high (float): The upper end.
        scale (str): How networks see it: `log10`, `power` or `linear`.
    """

    name: str
    low: float
    high: float
    scale: str

    @classmethod
    def from_axis(cls, axis: Axis) -> Self:
        """Return the domain that spans the nodes of a grid's axis.

        An axis that the grid logs is logged. One that it does not, but
        that is not negative and spans more than a decade, is raised to the
        power 0.4. Any other stays as it is.
        """
        low, high = float(axis.values[0]), float(axis.values[-1])
        if axis.log_on_read:
            scale = "log10"
        elif axis.spans_decade:
            scale = "power"
        else:
            scale = "linear"
        return cls(axis.name, low, high, scale)

    def scaled(self, values: Any, xp: Any) -> Any:
        """Take the logarithm or power that is due.

        Args:
            values (array): Values of the axis, in its units.
            xp (module): `numpy` or `jax.numpy`, whichever they belong to.

        Returns:
            array: The scaled values.
        """
        if self.scale == "log10":
            return xp.log10(values)
        if self.scale == "power":
            return (values + self._shift) ** _WIDE_POWER
        return values

    def unscaled(self, scaled: NDArray[np.float64]) -> NDArray[np.float64]:
        """Return the values of the axis that `scaled` gives these for."""
        if self.scale == "log10":
            return 10.0**scaled
        if self.scale == "power":
            return scaled ** (1.0 / _WIDE_POWER) - self._shift
        return scaled

    def require_inside(
        self, values: NDArray[np.float64]
    ) -> NDArray[np.float64]:
        """Return values, those that rounding put just outside on the end.

        Args:
            values (np.ndarray of float): Values of the axis, in its units.

        Returns:
            np.ndarray of float: The values, within the domain.

        Raises:
            InconsistentArguments: If some are outside, or not numbers.
        """
        clipped = np.clip(values, self.low, self.high)
        if not np.allclose(values, clipped, rtol=_ROUNDING, atol=0.0):
            raise InconsistentArguments(
                f"The axis '{self.name}' was trained from {self.low:g} to "
                f"{self.high:g}, got values from {np.min(values):g} to "
                f"{np.max(values):g}: nothing is known outside."
            )
        return clipped

    @property
    def _shift(self) -> float:
        """What is added before taking the power.

        A power has no slope at zero, so an axis that starts there is
        shifted a little.
        """
        return 0.0 if self.low > 0 else _ZERO_SHIFT * self.high


class Coordinates(nnx.Module):
    """Axis values to network coordinates: scaled, then to [-1, 1].

    Attributes:
        domain (tuple of AxisDomain): The axes, in order.
    """

    def __init__(self, domain: Sequence[AxisDomain]) -> None:
        self.domain = tuple(domain)

    def __call__(self, values: Array) -> Array:
        """Scale the axis values (d,) of a point to [-1, 1]."""
        columns = [values[i] for i in range(len(self.domain))]
        return jnp.stack(self._scaled(columns, jnp))

    def contains(self, values: Array) -> Array:
        """Return whether the axis values (d,) of a point lie inside.

        The ends count as inside, with room for rounding in float32.
        """
        return jnp.all(jnp.abs(self(values)) <= 1.0 + 1e-5)

    def scale_nodes(self, axes: Sequence[Axis]) -> tuple[NDArray, ...]:
        """Return the coordinates of the nodes along each axis of a grid."""
        lines = self._scaled([axis.values for axis in axes], np)
        return tuple(line.astype(np.float32) for line in lines)

    def scale_points(self, values: NDArray[np.float64]) -> NDArray[np.float64]:
        """Return the coordinates of points (m, d), in double precision."""
        return np.stack(self._scaled(values.T, np), axis=-1)

    def to_values(self, points: NDArray[np.float64]) -> NDArray[np.float64]:
        """Return the axis values (m, d) that have these coordinates."""
        columns = [
            np.clip(
                axis.unscaled(low + 0.5 * (points[:, i] + 1.0) * (high - low)),
                axis.low,
                axis.high,
            )
            for i, (axis, low, high) in enumerate(self._ends())
        ]
        return np.stack(columns, axis=-1)

    def _scaled(self, columns: Iterable[Any], xp: Any) -> list[Any]:
        """Return values of each axis in turn, scaled to [-1, 1]."""
        return [
            2.0 * (axis.scaled(values, xp) - low) / (high - low) - 1.0
            for values, (axis, low, high) in zip(
                columns, self._ends(), strict=True
            )
        ]

    def _ends(self) -> list[tuple[AxisDomain, float, float]]:
        """Return each axis with the scaled ends of its domain."""
        return [
            (a, float(a.scaled(a.low, np)), float(a.scaled(a.high, np)))
            for a in self.domain
        ]


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
        """Return the flux (n,) of y (n,) and ln norm ()."""
        # In logs throughout: exp(y) * norm could overflow where the
        # product does not.
        above = y - jnp.log(self.softening)
        zero = above < jnp.log(ZERO_BELOW)
        flux = jnp.exp(y + log_norm) * -jnp.expm1(-above)
        return jnp.where(zero, 0.0, flux)
