r"""Doppler broadening of an emission, as in Synthesizer.

Synthesizer averages a spectrum over 100,000 pixels that are even in log
wavelength, convolves these with a Gaussian, and averages the result over the
wavelengths of the spectrum. The three steps are one linear operation, whose
coefficients are given here in closed form, so that the fine pixels are never
evaluated. The results are Synthesizer's, with its peculiarities: its
convolution moves the spectrum redwards by one fine pixel (33 km/s for 100
Angstrom to 700 micron), and the first and the last wavelength become zero.

A spectrum that is constant within each pixel is a sum of ramps when integrated
twice. The convolution replaces the ramp that starts at an edge by

$$\max(l, 0) + T(|l|), \quad T(l) = \sum_{m > l} (m - l) k(m),$$

where $l$ counts fine pixels and $k$ is the Gaussian. The first part, which
does not depend on the velocity dispersion, is the array `shift`. The second
vanishes far from the edge, so only nearby edges count: as pairs (`Pairs`)
where pixels are wide, and by matrix products on the fine pixels (`Tiles`)
where they are narrow.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from types import ModuleType
from typing import Any

import jax.numpy as jnp
import numpy as np
from jax import Array
from jax.tree_util import register_dataclass
from jax.typing import ArrayLike
from jaxtyping import Float
from numpy.typing import NDArray
from synthesizer.emission_models import EmissionModel
from synthesizer.emission_models.transformers import DopplerBroadening
from synthesizer.emissions import Sed
from synthesizer.exceptions import InconsistentParameter
from unyt import amu, c, kb

from synthesizer_emulator.galaxies.matrices import dot
from synthesizer_emulator.galaxies.resolve import ParameterResolver
from synthesizer_emulator.galaxies.values import (
    Computed,
    Constant,
    Value,
    Varying,
)
from synthesizer_emulator.units import in_units

# The largest velocity dispersion, km/s, that may vary between galaxies.
LARGEST_DISPERSION = 1000.0

# The number of pixels of Synthesizer's uniform grid in log wavelength.
_N_FINE = 100_000

# The velocity dispersions beyond which the Gaussian is negligible (1e-13).
_REACH = 7.0

# Narrower Gaussians, in fine pixels, do not differ from a single pixel.
_NARROWEST = 0.1

_C = float(c.to_value("km/s"))
_K_OVER_AMU = float((kb / amu).to_value("km**2/s**2/K"))


# The number of fine pixels of a tile.
_TILE = 128


@register_dataclass
@dataclass(frozen=True, eq=False)
class Pairs:
    """A group of edges, and the nearby edges of each.

    Attributes:
        steps (Array): The indices of the nearby edges, (n_edges, n_near).
        weights (Array): Their coefficients if the velocity dispersion is the
            same for all galaxies, (n_edges, n_near); otherwise those of
            T(lag - 1), T(lag) and T(lag + 1), (3, n_edges, n_near).
        lags (Array): The absolute distances in fine pixels, one of the three
            lags each, (3, n_edges, n_near); None for one velocity dispersion.
    """

    steps: Array
    weights: Array
    lags: Array | None

    def __call__(self, tails: Array | None, steps: Array) -> Array:
        """Return the sum over nearby edges, (n_edges,)."""
        weights = self.weights
        if self.lags is not None:
            assert tails is not None
            weights = (weights * tails[self.lags]).sum(axis=0)
        return (weights * steps[self.steps]).sum(axis=1)


@register_dataclass
@dataclass(frozen=True, eq=False)
class Tiles:
    """A group of edges so close that all fine pixels around them count.

    Attributes:
        start (Array): The index of the fine pixel before each edge of the
            spectrum, counted from the first row of `rows`, (nlam + 1,).
        part (Array): The distance from that fine pixel, (nlam + 1,).
        rows (Array): The rows of fine pixels that each tile depends on,
            (n_tiles, n_rows).
        kernel (Array): T at the distance of each fine pixel of these rows
            from each of the tile, (n_rows * _TILE, _TILE), if the velocity
            dispersion is the same for all galaxies; otherwise the distances.
        group (Array): The indices of the edges, (n_edges,).
        low (Array): The fine pixel before each of them, an index into all
            tiles, (n_edges,).
        high (Array): The fine pixel after each of them, (n_edges,).
        n_fine (int): The number of fine pixels of all rows.
    """

    start: Array
    part: Array
    rows: Array
    kernel: Array
    group: Array
    low: Array
    high: Array
    n_fine: int = field(metadata={"static": True})

    def __call__(self, tails: Array | None, steps: Array) -> Array:
        """Return the sum over nearby edges, (n_edges,)."""
        fine = jnp.zeros(self.n_fine)
        before = (1.0 - self.part) * steps
        fine = fine.at[self.start].add(before, mode="drop")
        fine = fine.at[self.start + 1].add(self.part * steps, mode="drop")
        rows = fine.reshape(-1, _TILE)[self.rows]
        kernel = self.kernel if tails is None else tails[self.kernel]
        found = dot(rows.reshape(len(rows), -1), kernel).ravel()
        part = self.part[self.group]
        return (1.0 - part) * found[self.low] + part * found[self.high]


@register_dataclass
@dataclass(frozen=True, eq=False)
class Broadening:
    """The Doppler broadening of an emission.

    Attributes:
        shift (Array): The coefficients of the part without a Gaussian,
            (nlam, n).
        shifted (Array): The indices of the wavelengths that they multiply,
            (nlam, n).
        near (tuple): The nearby edges, for groups of edges.
        order (Array): The position in these groups of the edges of each
            pixel, (nlam + 1,).
        per_width (Array): One over the width of the pixels in fine pixels;
            zero where Synthesizer's result is zero, (nlam,).
        cell (float): The width of a fine pixel, km/s.
        sigma (Value): The velocity dispersion, km/s.
        unbroadened (str): The label of the emission to broaden.
    """

    shift: Array
    shifted: Array
    near: tuple[Pairs | Tiles, ...]
    order: Array
    per_width: Array
    cell: float = field(metadata={"static": True})
    sigma: Value = field(metadata={"static": True})
    unbroadened: str = field(metadata={"static": True})

    @classmethod
    def from_wavelengths(
        cls,
        lam: NDArray[np.float64],
        kept: slice,
        sigma: Value,
        unbroadened: str,
    ) -> "Broadening":
        """Return the broadening of an emission.

        Args:
            lam (np.ndarray of float): All wavelengths of the model, Angstrom.
            kept (slice): The wavelengths of the emission. Beyond them it is
                taken as zero.
            sigma (Value): The velocity dispersion, km/s.
            unbroadened (str): The label of the emission.

        Raises:
            InconsistentParameter: If a constant velocity dispersion is not
                positive.
        """
        largest = LARGEST_DISPERSION
        if isinstance(sigma, Constant):
            largest = sigma.value
            if not 0.0 < largest < np.inf:
                raise InconsistentParameter(
                    "A velocity dispersion must be positive, got "
                    f"{largest:g} km/s for '{unbroadened}'. Use None for an "
                    "emission without broadening."
                )
        edges, cell = _edges(lam)
        n_tails = _n_tails(largest / (_C * cell))
        tails = None
        if isinstance(sigma, Constant):
            tails = _tails(largest / (_C * cell), n_tails, np)
        # As in Synthesizer, pixels partly beyond the ends become zero.
        inside = (edges[:-1] >= 0.0) & (edges[1:] <= _N_FINE)
        first, last, _ = kept.indices(len(lam))
        edges = np.clip(edges, 0.0, _N_FINE)[first : last + 1]
        per_width = np.where(inside[kept], 1.0 / np.diff(edges), 0.0)
        shift, shifted = _shift(edges)
        near, order = _near(edges, n_tails, tails)
        return cls(
            shift=jnp.asarray(shift * per_width[:, None], float),
            shifted=jnp.asarray(shifted),
            near=near,
            order=jnp.asarray(order),
            per_width=jnp.asarray(per_width, float),
            cell=_C * cell,
            sigma=sigma,
            unbroadened=unbroadened,
        )

    @property
    def temporary(self) -> int:
        """The number of intermediate values for one galaxy, at most."""
        numbers = self.shift.size
        for near in self.near:
            if isinstance(near, Tiles):
                numbers += near.kernel.size + near.rows.size * _TILE
                numbers += near.n_fine
            else:
                numbers += near.weights.size
        return numbers

    @property
    def varying(self) -> frozenset[Varying]:
        """The varying parameters that it depends on."""
        return self.sigma.varying

    def __call__(
        self,
        lnu: Float[Array, " nlam"],
        parameters: Mapping[str, ArrayLike],
    ) -> Float[Array, " nlam"]:
        """Return the broadened luminosity density (nlam,) of an emission.

        It is NaN if a varying velocity dispersion is negative or larger than
        `LARGEST_DISPERSION`.
        """
        tails = None
        if not isinstance(self.sigma, Constant):
            sigma = jnp.asarray(self.sigma(parameters), float)
            known = (sigma >= 0.0) & (sigma <= LARGEST_DISPERSION)
            sigma = jnp.where(known, sigma, jnp.nan)
            n_tails = _n_tails(LARGEST_DISPERSION / self.cell)
            tails = _tails(sigma / self.cell, n_tails, jnp)
        steps = jnp.diff(lnu, prepend=0.0, append=0.0)
        edges = jnp.concatenate([near(tails, steps) for near in self.near])
        spread = jnp.diff(edges[self.order]) * self.per_width
        return (self.shift * lnu[self.shifted]).sum(axis=1) + spread


def dispersion_of(
    model: EmissionModel, emission: Sed, parameters: ParameterResolver
) -> Value:
    """Return the velocity dispersion, km/s, by which a model broadens.

    Args:
        model (EmissionModel): A model with Doppler or thermal broadening.
        emission (Sed): An emission, in which Synthesizer looks for parameters.
        parameters (ParameterResolver): The parameters of the galaxies.
    """
    transformer = model.transformer
    if isinstance(transformer, DopplerBroadening):
        return parameters.value(
            transformer.sigma_v_attr, model, emission, "km/s"
        )
    temperature = parameters.value(
        transformer.temperature_attr, model, emission, "K"
    )
    mass: Value = Constant(float(in_units("'mu'", transformer.mu, "amu")))
    if transformer.mu_attr is not None:
        mass = parameters.value(transformer.mu_attr, model, emission, "amu")
    sigma = Computed(_thermal, (("temperature", temperature), ("mass", mass)))
    return sigma if sigma.varying else Constant(float(sigma({})))


def _thermal(temperature: ArrayLike, mass: ArrayLike) -> Array:
    """Return the thermal velocity dispersion, km/s, of particles.

    The temperature is in K, the mass in amu.
    """
    return jnp.sqrt(_K_OVER_AMU * jnp.asarray(temperature) / mass)


def reach(sigma: Value) -> float:
    """Return the largest distance that light moves, in ln wavelength."""
    largest = LARGEST_DISPERSION
    if isinstance(sigma, Constant):
        largest = sigma.value
    return _REACH * largest / _C


def _n_tails(sigma: float) -> int:
    """Return the number of tails that count, for a width in fine pixels."""
    return int(np.ceil(_REACH * sigma)) + 3


def _tails(sigma: Any, n: int, xp: ModuleType) -> Any:
    """Return T(0), ..., T(n - 1) for a Gaussian (n,).

    Args:
        sigma (float): The width of the Gaussian in fine pixels.
        n (int): The number of tails.
        xp (module): NumPy for double precision, or JAX's.
    """
    m = np.arange(n) / xp.maximum(sigma, _NARROWEST)
    kernel = xp.exp(-0.5 * m * m)
    kernel = kernel / (2.0 * kernel.sum() - kernel[0])
    # Sums from the far end, so that small tails keep their digits.
    above = xp.cumsum(kernel[:0:-1])
    return xp.concatenate([xp.cumsum(above)[::-1], xp.zeros(1)])


def _edges(lam: NDArray[np.float64]) -> tuple[NDArray[np.float64], float]:
    """Return the edges of pixels, and the width of a fine pixel in ln lam.

    The edges (nlam + 1,) are midway between the wavelengths, in log. They are
    counted in fine pixels from the start of the first one.
    """
    x = np.log(lam)
    cell = float(x[-1] - x[0]) / (_N_FINE - 1)
    middle = 0.5 * (x[1:] + x[:-1])
    ends = 1.5 * x[[0, -1]] - 0.5 * x[[1, -2]]
    edges = np.concatenate([ends[:1], middle, ends[1:]])
    return (edges - x[0]) / cell + 0.5, cell


def _shift(
    edges: NDArray[np.float64],
) -> tuple[NDArray[np.float64], NDArray[np.int_]]:
    """Return the shift by one fine pixel, times the width of each pixel.

    Args:
        edges (np.ndarray of float): The edges, in fine pixels, (nlam + 1,).

    Returns:
        tuple of np.ndarray: Coefficients and indices of wavelengths, (nlam, n)
            each.
    """
    whole = np.floor(edges)
    part = edges - whole
    low, high = edges[:-1], edges[1:]
    first = np.searchsorted(edges, whole[:-1] - 1.0, side="right") - 1
    first = np.maximum(first, 0)
    n = int((np.searchsorted(edges, whole[1:]) - first).max())
    index = np.minimum(first[:, None] + np.arange(n), len(low) - 1)
    counted = first[:, None] + np.arange(n) < len(low)

    def up_to(end: NDArray[np.float64]) -> NDArray[np.float64]:
        """Return how much of the pixels `index` lies before some ends."""
        beyond = np.clip(end[:, None], low[index], high[index])
        return beyond - low[index]

    # Linear interpolation of the integral between the fine pixels.
    before, after = (
        (1.0 - part[ends, None]) * up_to(whole[ends] - 1.0)
        + part[ends, None] * up_to(whole[ends])
        for ends in (slice(None, -1), slice(1, None))
    )
    return np.where(counted, after - before, 0.0), index


def _near(
    edges: NDArray[np.float64],
    n_tails: int,
    tails: NDArray[np.float64] | None,
) -> tuple[tuple[Pairs | Tiles, ...], NDArray[np.int_]]:
    """Return the nearby edges of groups, and the order of edges in these.

    Args:
        edges (np.ndarray of float): The edges, in fine pixels, (nlam + 1,).
        n_tails (int): The number of tails that count.
        tails (np.ndarray of float): The tails, if they are the same for all
            galaxies, (n_tails,).
    """
    whole = np.floor(edges).astype(int)
    part = edges - whole
    # Each of the three lags must be one of the tails.
    furthest = n_tails - 2
    first = np.searchsorted(whole, whole - 1 - furthest)
    last = np.searchsorted(whole, whole - 1 + furthest, side="right")
    # Groups of edges whose numbers of nearby edges are alike. With so many
    # that the edges are closer than the root of the reach, tiles are faster.
    kinds = np.ceil(np.log2(np.maximum(last - first, 1)))
    kinds[last - first > 2.0 * np.sqrt(n_tails)] = np.inf
    groups: list[Pairs | Tiles] = []
    for kind in np.unique(kinds):
        (group,) = np.nonzero(kinds == kind)
        if np.isinf(kind):
            groups.append(_tiles(whole, part, group, n_tails, tails))
            continue
        n = int((last - first)[group].max())
        steps = first[group, None] + np.arange(n)
        counted = steps < last[group, None]
        steps = np.minimum(steps, len(edges) - 1)
        lag = whole[group, None] - 1 - whole[steps]
        lags = np.abs(np.stack([lag - 1, lag, lag + 1]))
        lags = np.where(counted, lags, 0)
        earlier = (1.0 - part[group, None]) * part[steps]
        later = part[group, None] * (1.0 - part[steps])
        weights = np.stack([earlier, 1.0 - earlier - later, later])
        weights = np.where(counted, weights, 0.0)
        if tails is not None:
            weights = (weights * tails[lags]).sum(axis=0)
        groups.append(
            Pairs(
                steps=jnp.asarray(steps),
                weights=jnp.asarray(weights, float),
                lags=None if tails is not None else jnp.asarray(lags),
            )
        )
    order = np.argsort(np.argsort(kinds, kind="stable"), kind="stable")
    return tuple(groups), order


def _tiles(
    whole: NDArray[np.int_],
    part: NDArray[np.float64],
    group: NDArray[np.int_],
    n_tails: int,
    tails: NDArray[np.float64] | None,
) -> Tiles:
    """Return the tiles of a group of edges.

    Args:
        whole (np.ndarray of int): The fine pixel before each edge,
            (nlam + 1,).
        part (np.ndarray of float): The distance from it, (nlam + 1,).
        group (np.ndarray of int): The indices of the edges of the group.
        n_tails (int): The number of tails that count.
        tails (np.ndarray of float): The tails, if they are the same for all
            galaxies, (n_tails,).
    """
    ends = whole[group] + np.array([[0], [1]])
    tiles, index = np.unique(ends // _TILE, return_inverse=True)
    low, high = index.reshape(ends.shape) * _TILE + ends % _TILE
    # The rows that are within reach of a tile on either side.
    around = -(-n_tails // _TILE)
    rows = tiles[:, None] + np.arange(-around, around + 1)
    start = whole - rows.min() * _TILE
    rows = rows - rows.min()
    n_fine = int(rows.max() + 1) * _TILE
    # Edges out of reach are left out; negative indices would be from the end.
    start = np.where((start < 0) | (start >= n_fine - 1), n_fine, start)
    lag = np.arange(_TILE) - 1
    lag = lag - np.arange(-around * _TILE, (around + 1) * _TILE)[:, None]
    lag = np.minimum(np.abs(lag), n_tails - 1)
    return Tiles(
        start=jnp.asarray(start),
        part=jnp.asarray(part, float),
        rows=jnp.asarray(rows),
        kernel=jnp.asarray(lag)
        if tails is None
        else jnp.asarray(tails[lag], float),
        group=jnp.asarray(group),
        low=jnp.asarray(low),
        high=jnp.asarray(high),
        n_fine=n_fine,
    )
