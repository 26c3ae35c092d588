"""Transmission curves of filters as functions of frequency.

Like Synthesizer, `Curve` interpolates linearly between all the points of a
filter, with zero beyond the ends, but for traced frequencies.
"""

from dataclasses import dataclass, field
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array
from jax.tree_util import register_dataclass
from jaxtyping import Float
from numpy.typing import NDArray
from synthesizer.instruments.filters import Filter
from unyt import c

# The largest number of cells in a table.
_MOST_CELLS = 2**16

_DOUBLE = 64

# The speed of light, Angstrom/s.
C_ANGSTROM = float(c.to_value("angstrom/s"))


@register_dataclass
@dataclass(frozen=True, eq=False)
class Table:
    """A piecewise linear curve on cells with at most one point inside each.

    Attributes:
        first (Array): The start of the first cell, ().
        cell (Array): The width of the cells, ().
        pieces (Array): The index of each cell, the value at its start, the
            slope, the change of slope at the point inside, and the position
            of that point over the width of the cell, (n_cells, 5).
    """

    first: Array
    cell: Array
    pieces: Array

    @classmethod
    def from_points(
        cls, x: NDArray[np.float64], y: NDArray[np.float64], n: int
    ) -> "Table":
        """Tabulate values y (m,) at ascending positions x (m,) on n cells."""
        # Compute the edges from the rounded start and width, as the look-up
        # does.
        first = jnp.asarray(x[0], float)
        cell = jnp.asarray((x[-1] - x[0]) / n, float)
        edges = float(first) + float(cell) * np.arange(n + 1)
        values = np.interp(edges, x, y)
        inside = np.searchsorted(x, edges[:-1], side="right")
        inside = np.minimum(inside, len(x) - 1)
        bend = (x[inside] - edges[:-1]) / (edges[1] - edges[0])
        bends = (bend > 0.0) & (bend < 1.0)
        bend = np.where(bends, bend, 1.0)
        at_bend = np.where(bends, y[inside], values[1:])
        before = (at_bend - values[:-1]) / bend
        after = (values[1:] - at_bend) / np.where(bends, 1.0 - bend, 1.0)
        change = np.where(bends, after - before, 0.0)
        pieces = np.stack(
            [np.arange(n), values[:-1], before, change, bend], axis=1
        )
        return cls(first=first, cell=cell, pieces=jnp.asarray(pieces, float))

    def __call__(self, x: Float[Array, " n"]) -> Float[Array, " n"]:
        """Return the values at positions (n,); constant beyond the ends."""
        n = len(self.pieces)
        position = jnp.clip((x - self.first) / self.cell, 0.0, n)
        index = jnp.clip(position.astype(int), 0, n - 1)
        # Read the index of the cell too: XLA may compute `index` twice and
        # round positions on an edge differently.
        start, value, slope, change, bend = self.pieces[index].T
        offset = position - start
        return (
            value + slope * offset + change * jnp.maximum(offset - bend, 0.0)
        )


@register_dataclass
@dataclass(frozen=True, eq=False)
class Points:
    """A piecewise linear curve whose points are too close for a table.

    Attributes:
        x (Array): The positions of the points, ascending, (m,).
        y (Array): The values at the points, (m,).
    """

    x: Array
    y: Array

    def __call__(self, x: Float[Array, " n"]) -> Float[Array, " n"]:
        """Return the values at positions (n,); constant beyond the ends."""
        return jnp.interp(x, self.x, self.y)


@register_dataclass
@dataclass(frozen=True, eq=False)
class Curve:
    """The transmission curve of a filter.

    Attributes:
        lowest (Array): The lowest frequency, Hz, ().
        highest (Array): The highest frequency, Hz, ().
        ends (Array): The transmission at these two frequencies, (2,).
        between (Table or Points): The transmission between them.
        gapless (bool): Whether the transmission between them is nowhere zero.
    """

    lowest: Array
    highest: Array
    ends: Array
    between: Table | Points
    gapless: bool = field(metadata={"static": True})

    @classmethod
    def from_filter(cls, filt: Filter) -> "Curve":
        """Return the curve of one of Synthesizer's filters."""
        nu, transmission = support(filt)
        # A point at zero wavelength has infinite frequency; up to it the
        # transmission is that of the point before.
        finite = np.isfinite(nu)
        x, y = nu[finite], transmission[finite]
        n = _cells_needed(x)
        return cls(
            lowest=jnp.asarray(nu[0], float),
            highest=jnp.asarray(nu[-1], float),
            ends=jnp.asarray(transmission[[0, -1]], float),
            between=(
                Table.from_points(x, y, int(n))
                if n <= _MOST_CELLS
                else Points(jnp.asarray(x, float), jnp.asarray(y, float))
            ),
            gapless=bool(np.all(transmission[1:-1] > 0.0)),
        )

    @property
    def shapes(self) -> tuple[Any, ...]:
        """The structure and shapes, equal for curves that can be stacked."""
        leaves, kind = jax.tree.flatten(self)
        return kind, *map(jnp.shape, leaves)

    def __call__(self, nu: Float[Array, " n"]) -> Float[Array, " n"]:
        """Return the transmission at frequencies, Hz, (n,).

        Synthesizer integrates between the outermost frequencies whose
        transmission is not exactly zero, so the transmission at an end of the
        curve must be exactly the value there.
        """
        slack = _slack(nu.dtype)
        low, high = self.ends
        passed = self.between(nu)
        passed = jnp.where(nu <= self.lowest * (1.0 + slack), low, passed)
        passed = jnp.where(nu >= self.highest * (1.0 - slack), high, passed)
        beyond = (nu < self.lowest * (1.0 - slack)) | (
            nu > self.highest * (1.0 + slack)
        )
        return jnp.where(beyond, 0.0, passed)


def open_range(filt: Filter) -> tuple[float, float]:
    """Return the bluest and the reddest wavelength of a filter, Angstrom."""
    nu, _ = support(filt)
    low, high = C_ANGSTROM / nu[[0, -1]]
    return float(high), float(low)


def _slack(dtype: np.dtype) -> float:
    """Return the relative tolerance for a frequency at the end of a curve.

    In single precision both are rounded, and the frequency again when it is
    redshifted. In double precision the tolerance is zero, as in Synthesizer.
    """
    info = jnp.finfo(dtype)
    return 2.0 * float(info.eps) if info.bits < _DOUBLE else 0.0


def support(
    filt: Filter,
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Return frequencies, Hz, ascending, and transmissions, (n,) each.

    Zeros at either end are left out, except the innermost one.
    """
    # Filters keep their frequencies in Hz under any default units.
    nu = np.asarray(filt.original_nu.value, np.float64)[::-1]
    transmission = np.asarray(filt.original_t, np.float64)[::-1]
    passing = np.flatnonzero(transmission)
    kept = slice(max(passing[0] - 1, 0), passing[-1] + 2)
    return nu[kept], transmission[kept]


def _cells_needed(x: NDArray[np.float64]) -> float:
    """Return the number of cells with at most one point inside each.

    It is infinite if two points coincide, as at a jump.
    """
    closest = np.min(np.diff(x), initial=np.inf)
    if not 0.0 < closest < np.inf:
        return np.inf
    return float(2.0 ** np.ceil(np.log2(1.0 + (x[-1] - x[0]) / closest)))
