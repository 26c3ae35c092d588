"""Invertible scalings of the axis values and fluxes of emulators."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import jax.numpy as jnp
import numpy as np
from flax import nnx
from jax import Array
from jaxtyping import Bool, Float
from numpy.typing import ArrayLike, NDArray
from synthesizer.exceptions import InconsistentArguments

from synthesizer_emulator.gridfile.header import Axis

# An axis that spans more than a decade and is not logged by the grid, such as
# metallicities, is raised to this power: between the nodes of BC03, errors
# are smaller in Z^0.4 than in Z or in log Z (docs/accuracy).
_WIDE_POWER = 0.4
_ZERO_SHIFT = 1e-4

# Soft-log fluxes below ln of this multiple of the softening are set to zero,
# since fluxes this faint are smaller than the error of the emulator.
ZERO_BELOW = 1.1

# Values outside the domain by less than this fraction are due to rounding, or
# to rounding of a logarithm in float32.
_ROUNDING = 1e-6
_AT_NODE = 1e-5


class Constant(nnx.Variable):
    """An array of a module that is stored, but not trained."""


@dataclass(frozen=True)
class AxisDomain:
    """The training range of an axis, and its scaling.

    Attributes:
        name (str): The axis.
        low (float): The lower end, in the units of the axis.
        high (float): The upper end, in the units of the axis.
        scale (str): The scaling, `log10`, `power` or `linear`.
    """

    name: str
    low: float
    high: float
    scale: str

    @classmethod
    def from_axis(cls, axis: Axis) -> "AxisDomain":
        """Return the domain that spans the nodes of a grid's axis.

        The scaling is log10 if Synthesizer logs the axis; otherwise the power
        0.4 if the nodes are non-negative and span more than a decade;
        otherwise linear.
        """
        low, high = float(axis.values[0]), float(axis.values[-1])
        if axis.log_on_read:
            scale = "log10"
        elif axis.spans_decade:
            scale = "power"
        else:
            scale = "linear"
        return cls(axis.name, low, high, scale)

    @property
    def varies(self) -> bool:
        """Whether the axis has more than one value."""
        return self.low < self.high

    def scaled(self, values: Any, xp: Any) -> Any:
        """Return log10 of axis values, their power 0.4, or the values.

        The array library `xp` is NumPy or `jax.numpy`.
        """
        if self.scale == "log10":
            return xp.log10(values)
        if self.scale == "power":
            return (values + self._shift) ** _WIDE_POWER
        return values

    def unscaled(self, scaled: NDArray[np.float64]) -> NDArray[np.float64]:
        """Return the axis values of scaled values, the inverse of `scaled`."""
        if self.scale == "log10":
            return 10.0**scaled
        if self.scale == "power":
            return scaled ** (1.0 / _WIDE_POWER) - self._shift
        return scaled

    def require_inside(self, values: ArrayLike) -> NDArray[np.float64]:
        """Return axis values, or raise if some are outside the domain.

        Values that are outside by rounding are moved to the end.

        Raises:
            InconsistentArguments: If a value is outside the domain, or NaN.
        """
        clipped = np.clip(values, self.low, self.high)
        if not np.allclose(values, clipped, rtol=_ROUNDING, atol=0.0):
            raise InconsistentArguments(
                f"The axis '{self.name}' was trained from {self.low:g} to "
                f"{self.high:g}, got values from {np.min(values):g} to "
                f"{np.max(values):g}: the emulator does not "
                "extrapolate."
            )
        # Of one value NumPy makes a number.
        return np.asarray(clipped)

    @property
    def _shift(self) -> float:
        """The shift before the power, for axes that start at zero.

        The power has infinite slope there.
        """
        return 0.0 if self.low > 0 else _ZERO_SHIFT * self.high


class Coordinates(nnx.Module):
    """The map from axis values to coordinates in [-1, 1] on each axis.

    Axes of one node have the coordinate zero.

    Attributes:
        domain (tuple of AxisDomain): The domain of each axis, in order.
    """

    def __init__(self, domain: Sequence[AxisDomain]) -> None:
        self.domain = tuple(domain)

    def __call__(self, values: Float[Array, " d"]) -> Float[Array, " d"]:
        """Return the coordinates (d,) of axis values (d,)."""
        columns = [values[i] for i in range(len(self.domain))]
        return jnp.stack(self._scaled(columns, jnp))

    def contains(self, values: Float[Array, " d"]) -> Bool[Array, ""]:
        """Return whether axis values (d,) are within the domain.

        The ends are included, to within the rounding of float32.
        """
        return jnp.all(self.inside(values))

    def inside(self, values: Float[Array, " d"]) -> Bool[Array, " d"]:
        """Return whether each of the axis values (d,) is within the domain."""
        return jnp.abs(self(values)) <= 1.0 + 1e-5

    def scale_nodes(self, axes: Sequence[Axis]) -> tuple[NDArray, ...]:
        """Return the float32 coordinates (n,) of the nodes of each axis."""
        lines = self._scaled([axis.values for axis in axes], np)
        return tuple(line.astype(np.float32) for line in lines)

    def scale_points(self, values: NDArray[np.float64]) -> NDArray[np.float64]:
        """Return the float64 coordinates (m, d) of axis values (m, d)."""
        return np.stack(self._scaled(values.T, np), axis=-1)

    def to_values(self, points: NDArray[np.float64]) -> NDArray[np.float64]:
        """Return the axis values (m, d) of coordinates (m, d)."""
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
        """Return the coordinates of values of each axis.

        On an axis of one node the coordinate is zero at the node, and
        infinite elsewhere.
        """
        return [
            2.0 * (axis.scaled(values, xp) - low) / (high - low) - 1.0
            if axis.varies
            else xp.where(
                xp.abs(values - axis.low) <= _AT_NODE * abs(axis.low),
                0.0,
                xp.inf,
            )
            for values, (axis, low, high) in zip(
                columns, self._ends(), strict=True
            )
        ]

    def _ends(self) -> list[tuple[AxisDomain, float, float]]:
        """Return each axis with the ends of its domain, scaled."""
        return [
            (a, float(a.scaled(a.low, np)), float(a.scaled(a.high, np)))
            for a in self.domain
        ]


class SoftLog(nnx.Module):
    r"""The softened logarithm of a flux relative to the spectrum's norm.

    $$ y = \ln(f / n + \epsilon), \qquad f = n\,(e^y - \epsilon) $$

    For fluxes $f \gg \epsilon n$ this is the logarithm, so that errors are
    fractional. For fainter fluxes it approaches the finite $\ln\epsilon$ of
    zero flux.

    Attributes:
        softening (float): The parameter $\epsilon$.
    """

    def __init__(self, softening: float) -> None:
        self.softening = softening

    def forward(self, flux: Any, norm: Any, xp: Any = np) -> Any:
        """Return y (..., n) for fluxes (..., n) and norms (...,).

        The array library `xp` is NumPy or `jax.numpy`.
        """
        relative = flux / xp.asarray(norm)[..., None]
        return xp.log(relative + self.softening)

    def inverse(
        self, y: Float[Array, " n"], log_norm: Float[Array, ""]
    ) -> Float[Array, " n"]:
        """Return the flux (n,) for y (n,) and ln of the norm ()."""
        # Add the logarithms first: exp(y) * norm could overflow.
        above = y - jnp.log(self.softening)
        zero = above < jnp.log(ZERO_BELOW)
        flux = jnp.exp(y + log_norm) * -jnp.expm1(-above)
        return jnp.where(zero, 0.0, flux)
