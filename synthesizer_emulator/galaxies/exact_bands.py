r"""Photometry by exact integrals, with continuous derivatives in redshift.

The trapezoidal rule of Synthesizer ends at the last wavelength of a spectrum
within a filter, so that photometry jumps as a redshift moves wavelengths into
and out of a filter. Here the flux density $F$ is linear in $x = \ln \lambda$
between the wavelengths $x_i$ of the spectrum, and its product with the
transmission $T$ is integrated exactly. By parts,

$$\int F T \, dx = \sum_i (c_i - c_{i - 1}) F_i,$$

where $c_i$ is the mean of $\int_{-\infty}^x T \, dx$ from $x_i$ to $x_{i +
1}$. The weights have continuous first derivatives in redshift, even if the
transmission jumps.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass, field, replace

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array
from jax.tree_util import register_dataclass
from jaxtyping import Float, Int
from numpy.typing import NDArray
from synthesizer.instruments import FilterCollection
from synthesizer.instruments.filters import Filter

from synthesizer_emulator.galaxies.groups import looped
from synthesizer_emulator.galaxies.matrices import dot
from synthesizer_emulator.galaxies.transmission import (
    C_ANGSTROM,
    support,
)

# The spacing in ln wavelength at which integrals are tabulated. Edges of the
# transmission are blurred by it, but the integrals up to the nodes are exact.
_STEP = 2.0**-13


@register_dataclass
@dataclass(frozen=True, eq=False)
class ExactBand:
    """One filter, with its integrated transmission at the nodes of a table.

    Positions are ln wavelength in units of the spacing of the nodes. They and
    the integrals are sums of a whole number and a rest, because differences
    of large numbers would lose digits in single precision.

    Attributes:
        first (Array): The position of the first node, whole, ().
        pieces (Array): The number of each node after the first; the share of
            the transmission bluewards of it, and its rise to the next node;
            the whole number and the rest of the integral of the share, (n +
            2, 5). One more piece at either end continues the curve.
        window (int): The largest number of wavelengths of a spectrum that
            have a weight, and one more at either end.
    """

    first: Array
    pieces: Array
    window: int = field(metadata={"static": True})

    @classmethod
    def from_filter(
        cls, filt: Filter, lam: NDArray[np.float64]
    ) -> "ExactBand":
        """Prepare a filter for spectra on wavelengths in Angstrom, (nlam,)."""
        first, share, integral = _tabulated(filt, lam)
        whole = np.round(integral)
        pieces = np.stack(
            [
                np.arange(len(share)),
                share,
                np.append(np.diff(share), 0.0),
                whole,
                integral - whole,
            ],
            axis=1,
        )
        before = np.array([[-1.0, 0.0, 0.0, 0.0, 0.0]])
        # The shift is rounded, and the window starts early.
        reach = len(share) + 5.0
        x = np.log(lam) / _STEP
        inside = np.searchsorted(x, x + reach, side="right")
        longest = int(np.max(inside - np.arange(len(lam))))
        return cls(
            first=jnp.asarray(first, int),
            pieces=jnp.asarray(np.concatenate([before, pieces]), float),
            window=min(longest + 2, len(lam)),
        )

    def extended(self, n: int, window: int) -> "ExactBand":
        """Return the same filter with n pieces and a larger window."""
        more = jnp.arange(1.0, n - len(self.pieces) + 1.0)[:, None]
        last = self.pieces[-1:]
        further = last + more * jnp.array([[1.0, 0.0, 0.0, 1.0, 0.0]])
        return replace(
            self,
            pieces=jnp.concatenate([self.pieces, further]),
            window=window,
        )

    def weights(
        self,
        whole: Int[Array, " nlam"],
        rest: Float[Array, " nlam"],
        redshift: Float[Array, ""],
    ) -> tuple[Int[Array, ""], Float[Array, " window"]]:
        """Return the first wavelength of the window and the weights in it.

        The sum of the weights is one, or zero if the filter is outside the
        spectrum. The positions of the rest-frame wavelengths are the sums of
        `whole` and `rest`.
        """
        shift = jnp.log1p(redshift) / _STEP
        whole_shift = jnp.floor(jax.lax.stop_gradient(shift))
        moved = self.first - whole_shift.astype(int)
        start = jnp.searchsorted(whole, moved - 2) - 1
        start = jnp.clip(start, 0, len(whole) - self.window)

        def sliced(values: Array) -> Array:
            return jax.lax.dynamic_slice(values, (start,), (self.window,))

        whole, rest = sliced(whole), sliced(rest)
        after = whole - moved
        part = rest + (shift - whole_shift)
        node = after + jnp.floor(part).astype(int)
        index = jnp.clip(node + 1, 0, len(self.pieces) - 1)
        # Read the number of the node too, lest it is rounded differently.
        number, share, rise, large, small = self.pieces[index].T
        offset = (after - number) + part
        at = share + rise * offset
        small += offset * (share + 0.5 * rise * offset)
        widths = jnp.diff(whole) + jnp.diff(rest)
        means = (jnp.diff(large) + jnp.diff(small)) / widths
        # Beyond the filter, where rounding would leave weights.
        means = jnp.where(share[:-1] >= 1.0, at[:-1], means)
        weights = jnp.diff(jnp.concatenate([at[:1], means, at[-1:]]))
        total = at[-1] - at[0]
        return start, weights / jnp.where(total <= 0.0, 1.0, total)

    def flux(
        self,
        whole: Int[Array, " nlam"],
        rest: Float[Array, " nlam"],
        fnu: Float[Array, " nlam"],
        redshift: Float[Array, ""],
    ) -> Float[Array, ""]:
        """Return the mean flux density of one galaxy in this band.

        It is zero if the filter is outside the spectrum, and NaN if any flux
        density in it is NaN.
        """
        start, weights = self.weights(whole, rest, redshift)
        within = jax.lax.dynamic_slice(fnu, (start,), (self.window,))
        return dot(weights, within)


@register_dataclass
@dataclass(frozen=True, eq=False)
class ExactBands:
    """Filters, integrated exactly over spectra on given wavelengths.

    Attributes:
        whole (Array): The whole numbers of the positions of the rest-frame
            wavelengths, (nlam,).
        rest (Array): The rests of the positions, (nlam,).
        bands (tuple of ExactBand): The filters.
    """

    whole: Array
    rest: Array
    bands: tuple[ExactBand, ...]

    @classmethod
    def from_filters(
        cls, filters: FilterCollection, lam: NDArray[np.float64]
    ) -> "ExactBands":
        """Prepare filters for spectra on wavelengths in Angstrom, (nlam,)."""
        x = np.log(lam) / _STEP
        whole = np.round(x)
        return cls(
            whole=jnp.asarray(whole, int),
            rest=jnp.asarray(x - whole, float),
            bands=tuple(
                ExactBand.from_filter(filters[code], lam)
                for code in filters.filter_codes
            ),
        )

    def fluxes(
        self, fnu: Float[Array, " nlam"], redshift: Float[Array, ""]
    ) -> Float[Array, " nbands"]:
        """Return the mean flux densities of one galaxy."""

        def flux(band: ExactBand) -> Array:
            return band.flux(self.whole, self.rest, fnu, redshift)

        return looped(flux, self.bands, _stacked)


def _stacked(bands: Sequence[ExactBand]) -> ExactBand:
    """Stack bands along a new leading axis, as long as the longest."""
    longest = max(len(band.pieces) for band in bands)
    window = max(band.window for band in bands)
    extended = [band.extended(longest, window) for band in bands]
    return jax.tree.map(lambda *leaves: jnp.stack(leaves), *extended)


def rest_frame_weights(
    filt: Filter, lam: NDArray[np.float64]
) -> NDArray[np.float64]:
    """Return the weights of wavelengths, Angstrom, at redshift zero, (nlam,).

    As `ExactBand.weights`, in double precision.
    """
    first, share, integral = _tabulated(filt, lam)
    x = np.log(lam) / _STEP
    position = np.clip(x - first, 0.0, len(share) - 1.0)
    node = np.minimum(position.astype(int), len(share) - 2)
    offset = position - node
    rise = np.diff(share)[node]
    at = share[node] + rise * offset
    beyond = np.maximum(x - first - (len(share) - 1.0), 0.0)
    below = integral[node] + offset * (share[node] + 0.5 * rise * offset)
    means = np.diff(below + beyond) / np.diff(x)
    weights = np.diff(np.concatenate([at[:1], means, at[-1:]]))
    total = at[-1] - at[0]
    return weights / total if total > 0.0 else weights


def _tabulated(
    filt: Filter, lam: NDArray[np.float64]
) -> tuple[int, NDArray[np.float64], NDArray[np.float64]]:
    """Return the share of the transmission bluewards of evenly spaced nodes.

    Returns:
        tuple: The position of the first node; the share at each, from zero to
            one, (n,); its integral up to each, linear between them, (n,).
    """
    integrated = _Integral(filt, float(lam[0]))
    ends = integrated.points[[0, -1]] / _STEP
    first, last = math.floor(ends[0]), math.ceil(ends[1])
    share = integrated(_STEP * np.arange(first, last + 1.0))
    share /= share[-1]
    steps = np.cumsum(0.5 * (share[1:] + share[:-1]))
    return first, share, np.concatenate([[0.0], steps])


class _Integral:
    """The integral of a transmission over ln wavelength up to positions.

    As in Synthesizer, the transmission is linear in frequency between points.
    """

    def __init__(self, filt: Filter, bluest: float) -> None:
        nu, transmission = (values[::-1] for values in support(filt))
        # A point at zero wavelength has infinite frequency; up to it the
        # transmission is that of the next point.
        infinite = ~np.isfinite(nu)
        end = max(C_ANGSTROM / bluest, float(nu[~infinite].max()))
        nu = np.where(infinite, end, nu)
        self.points = np.log(C_ANGSTROM / nu)
        self._transmission = np.where(
            infinite, transmission[~infinite][0], transmission
        )
        falls = nu[:-1] - nu[1:]
        drops = self._transmission[:-1] - self._transmission[1:]
        safe = np.where(falls > 0.0, falls, 1.0)
        # The derivative in ln frequency at the bluer point.
        self._slopes = np.where(falls > 0.0, drops / safe * nu[:-1], 0.0)
        pieces = self._piece(np.arange(len(falls)), np.diff(self.points))
        self._sums = np.concatenate([[0.0], np.cumsum(pieces)])

    def _piece(
        self, which: NDArray[np.int64], length: NDArray[np.float64]
    ) -> NDArray[np.float64]:
        """Return integrals over lengths from the bluer ends of pieces."""
        bend = -length - np.expm1(-length)
        return self._transmission[which] * length + self._slopes[which] * bend

    def __call__(self, x: NDArray[np.float64]) -> NDArray[np.float64]:
        """Return the integrals up to ln wavelengths, (n,)."""
        x = np.clip(x, self.points[0], self.points[-1])
        which = np.searchsorted(self.points, x, side="right") - 1
        which = np.minimum(which, len(self._slopes) - 1)
        return self._sums[which] + self._piece(which, x - self.points[which])
