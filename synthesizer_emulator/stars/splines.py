"""The rational-quadratic spline of coupling layers.

In single precision, the inverse of flowjax's spline can leave the bin of a
point where a spline is steep, and return points that are wrong by the whole
interval, or NaN. This one keeps points in their bins, so that its inverse is
as good as the precision.
"""

from typing import ClassVar

import equinox as eqx
import jax
import jax.numpy as jnp
from flowjax.bijections import AbstractBijection
from jax import Array

# The smallest width and height of a bin in units of the interval, and the
# smallest slope, so that single precision resolves every bin.
_SMALLEST_BIN = 5e-3
_SMALLEST_SLOPE = 1e-2


class Spline(AbstractBijection):
    """A monotonic spline of one variable, linear outside an interval.

    It is that of Durkan et al. (2019, arXiv:1906.04032, equations 4 to 8).

    Attributes:
        widths (Array): The unnormalised widths of the bins, (bins,).
        heights (Array): The unnormalised heights of the bins, (bins,).
        slopes (Array): The unconstrained slopes at the inner knots,
            (bins - 1,).
        bound (float): The interval is from `-bound` to `bound`.
    """

    widths: Array
    heights: Array
    slopes: Array
    bound: float = eqx.field(static=True)
    shape: ClassVar[tuple[int, ...]] = ()
    cond_shape: ClassVar[None] = None

    def __init__(self, bins: int, bound: float) -> None:
        self.widths = jnp.zeros(bins)
        self.heights = jnp.zeros(bins)
        # The slope of the identity.
        one = jnp.log(jnp.expm1(1.0 - _SMALLEST_SLOPE))
        self.slopes = jnp.full(bins - 1, one)
        self.bound = float(bound)

    def transform_and_log_det(
        self, x: Array, condition: Array | None = None
    ) -> tuple[Array, Array]:
        """Map a point, and return the logarithm of the derivative."""
        left, width, bottom, height, low, high = self._bin(x, False)
        at = jnp.clip((x - left) / width, 0.0, 1.0)
        mean = height / width
        curve = at * (1.0 - at)
        steepness = mean + (low + high - 2.0 * mean) * curve
        y = bottom + height * (mean * at**2 + low * curve) / steepness
        inside = jnp.abs(x) < self.bound
        log_slope = self._log_slope(at, mean, low, high)
        return jnp.where(inside, y, x), jnp.where(inside, log_slope, 0.0)

    def inverse_and_log_det(
        self, y: Array, condition: Array | None = None
    ) -> tuple[Array, Array]:
        """Map a point back, and return the logarithm of the derivative."""
        left, width, bottom, height, low, high = self._bin(y, True)
        up = jnp.clip(y - bottom, 0.0, height)
        mean = height / width
        bend = up * (low + high - 2.0 * mean)
        a = height * (mean - low) + bend
        b = height * low - bend
        c = -mean * up
        root = jnp.sqrt(jnp.maximum(b**2 - 4.0 * a * c, 0.0))
        at = jnp.clip(2.0 * c / (-b - root), 0.0, 1.0)
        inside = jnp.abs(y) < self.bound
        log_slope = self._log_slope(at, mean, low, high)
        return (
            jnp.where(inside, left + at * width, y),
            jnp.where(inside, -log_slope, 0.0),
        )

    def _bin(self, point: Array, by_height: bool) -> tuple[Array, ...]:
        """Return the bin of a point before or after the map.

        Args:
            point (Array): The point, ().
            by_height (bool): It is one after the map.

        Returns:
            tuple of Array: The left edge, the width, the lower edge, the
                height, and the slopes at the left and at the right edge.
        """
        widths, lefts = self._edges(self.widths)
        heights, bottoms = self._edges(self.heights)
        edges = bottoms if by_height else lefts
        n_below = jnp.sum(point >= edges[1:])
        is_bin = jnp.arange(len(edges)) == n_below
        inner = jax.nn.softplus(self.slopes) + _SMALLEST_SLOPE
        one = jnp.ones(1, inner.dtype)
        return tuple(
            jnp.sum(jnp.where(is_bin, values, 0.0))
            for values in (
                lefts,
                widths,
                bottoms,
                heights,
                jnp.concatenate([one, inner]),
                jnp.concatenate([inner, one]),
            )
        )

    def _edges(self, unnormalised: Array) -> tuple[Array, Array]:
        """Return the sizes and the lower edges of the bins."""
        bins = len(unnormalised)
        free = 1.0 - bins * _SMALLEST_BIN
        sizes = _SMALLEST_BIN + free * jax.nn.softmax(unnormalised)
        sizes = 2.0 * self.bound * sizes
        lower = jnp.concatenate([jnp.zeros(1), jnp.cumsum(sizes)[:-1]])
        return sizes, lower - self.bound

    def _log_slope(
        self, at: Array, mean: Array, low: Array, high: Array
    ) -> Array:
        """Return the logarithm of the derivative within a bin."""
        curve = at * (1.0 - at)
        above = high * at**2 + 2.0 * mean * curve + low * (1.0 - at) ** 2
        below = mean + (low + high - 2.0 * mean) * curve
        return 2.0 * (jnp.log(mean) - jnp.log(below)) + jnp.log(above)
