"""Photometry on wavelengths of constant resolution.

On wavelengths that are evenly spaced in their logarithm, a redshift moves a
spectrum by a number of pixels. The weights of the pixels in a filter then
depend only on the fraction of a pixel, and are tabulated: several times faster
than to look up the transmission at each pixel (`bands.Band`), with continuous
first derivatives in redshift.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from types import ModuleType
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array
from jax.tree_util import register_dataclass
from jaxtyping import Float, Int
from numpy.typing import NDArray
from synthesizer.instruments.filters import Filter

from synthesizer_emulator.galaxies.matrices import dot
from synthesizer_emulator.galaxies.transmission import (
    C_ANGSTROM,
    open_range,
    support,
)

# The fractions of a pixel at which weights are tabulated, with one more at
# either end for interpolation.
_PHASES = 32
_KNOTS = np.arange(-1, _PHASES + 2) / _PHASES

# The largest sum of absolute errors of the weights in a filter, of which the
# sum is one: the largest relative error of a flux density in a spectrum that
# is nowhere brighter than its mean.
_TOLERANCE = 1e-5

# The largest distance from even spacing, in pixels.
_EVEN = 1e-4

# Other fractions, at which the error is measured.
_BETWEEN = (np.arange(61) + 0.5) / 61


@register_dataclass
@dataclass(frozen=True, eq=False)
class ShiftedBands:
    """Filters for spectra on wavelengths evenly spaced in their logarithm.

    Attributes:
        weights (Array): The weights of the pixels in the window of each
            filter, with a sum of one, for fractions of a pixel from one step
            below zero to one step above one, (n_phases, n_bands * window).
        starts (Array): The pixels at which the windows start, at redshift
            zero, (n_bands,).
        step (Array): The spacing of the pixels in ln wavelength, ().
        n_lam (int): The number of wavelengths of spectra.
    """

    weights: Array
    starts: Array
    step: Array
    n_lam: int = field(metadata={"static": True})

    @classmethod
    def from_windows(
        cls, windows: Sequence["Window"], lam: NDArray[np.float64]
    ) -> "ShiftedBands":
        """Combine the tabulated weights of filters.

        Args:
            windows (list of Window): The weights of each filter.
            lam (np.ndarray of float): The rest-frame wavelengths, Angstrom,
                (n_lam,).
        """
        longest = max(window.weights.shape[1] for window in windows)
        weights = np.zeros((len(_KNOTS), len(windows), longest))
        for i, window in enumerate(windows):
            weights[:, i, : window.weights.shape[1]] = window.weights
        return cls(
            weights=jnp.asarray(weights.reshape(len(_KNOTS), -1), float),
            starts=jnp.asarray([window.start for window in windows], int),
            step=jnp.asarray(_spacing(lam), float),
            n_lam=len(lam),
        )

    def fluxes(
        self, fnu: Float[Array, " nlam"], redshift: Float[Array, ""]
    ) -> Float[Array, " nbands"]:
        """Return the mean flux densities of one galaxy.

        As `bands.Band.flux`: zero if a filter covers fewer than two
        wavelengths, NaN if any flux density in it is NaN.
        """
        shift = jnp.log1p(redshift) / self.step
        whole = jnp.floor(jax.lax.stop_gradient(shift))
        weights = dot(_hats(shift - whole), self.weights)
        weights = weights.reshape(len(self.starts), -1)
        window = weights.shape[1]
        starts = self.starts - whole.astype(int)
        starts = jnp.clip(starts, -window, self.n_lam)
        # With its ends, which weigh nothing there, so that NaN is not lost.
        padded = jnp.pad(fnu, window, mode="edge")

        def flux(weights: Array, start: Array) -> Array:
            weights *= self._coverage(start + jnp.arange(window))
            within = jax.lax.dynamic_slice(
                padded, (start + window,), (window,)
            )
            # NaN counts, so that it is not lost.
            covered = jnp.sum(~(weights <= 0.0))
            total = jnp.where(covered > 1, jnp.sum(weights), jnp.inf)
            return jnp.sum(weights * within) / total

        return jax.vmap(flux)(weights, starts)

    def _coverage(self, pixels: Int[Array, " n"]) -> Float[Array, " n"]:
        """Return the fractions of the weights of pixels that spectra cover.

        By the trapezoidal rule, the first and the last wavelength of a
        spectrum weigh less, as they have only one neighbour.
        """
        first = 1.0 / (1.0 + jnp.exp(self.step))
        fraction = jnp.where(pixels == 0, first, 1.0)
        fraction = jnp.where(pixels == self.n_lam - 1, 1.0 - first, fraction)
        return jnp.where((pixels >= 0) & (pixels < self.n_lam), fraction, 0.0)


class Window(NamedTuple):
    """The pixels that a filter covers for any fraction of a pixel.

    Attributes:
        start (int): The first pixel, at redshift zero.
        weights (np.ndarray of float): The weights of the pixels at each of
            the fractions, (n_phases, n_pixels).
    """

    start: int
    weights: NDArray[np.float64]


def tabulated(filt: Filter, lam: NDArray[np.float64]) -> Window | None:
    """Return the tabulated weights of a filter, or None if inaccurate.

    They are inaccurate if the transmission jumps, as at the edges of a top
    hat, or varies much within a pixel.

    Args:
        filt (Filter): Synthesizer's filter.
        lam (np.ndarray of float): The rest-frame wavelengths, Angstrom,
            (n_lam,), for which `are_even` is true.
    """
    step = _spacing(lam)
    ends = np.log(np.array(open_range(filt)) / lam[0]) / step
    if not np.isfinite(ends).all():
        return None
    pixels = np.arange(math.floor(ends[0]) - 1, math.ceil(ends[1]) + 2)
    knots = _weights(filt, lam[0], step, pixels, _KNOTS)
    between = _weights(filt, lam[0], step, pixels, _BETWEEN)
    errors = np.abs(_INTERPOLATION @ knots - between).sum(axis=1)
    if errors.max() > _TOLERANCE:
        return None
    return Window(int(pixels[0]), knots)


def are_even(lam: NDArray[np.float64]) -> bool:
    """Return whether wavelengths are evenly spaced in their logarithm."""
    if len(lam) < 2:
        return False
    pixels = np.log(lam / lam[0]) / _spacing(lam)
    return bool(np.abs(pixels - np.arange(len(lam))).max() <= _EVEN)


def _hats(fraction: Any, xp: ModuleType = jnp) -> Any:
    """Return the weights of the knots at a fraction of a pixel, (n_phases,).

    By cubic convolution (Keys 1981, IEEE Trans. ASSP 29, 1153, equation 15),
    which is of third order, with continuous first derivatives.
    """
    x = xp.abs(xp.asarray(_KNOTS, float) - fraction) * _PHASES
    near = (1.5 * x - 2.5) * x * x + 1.0
    far = ((-0.5 * x + 2.5) * x - 4.0) * x + 2.0
    # NaN stays NaN.
    return xp.where(x < 1.0, near, xp.where(x > 2.0, 0.0, far))


def _spacing(lam: NDArray[np.float64]) -> float:
    """Return the mean spacing of wavelengths in their logarithm."""
    return float(np.log(lam[-1] / lam[0]) / (len(lam) - 1))


def _weights(
    filt: Filter,
    first: float,
    step: float,
    pixels: NDArray[np.int64],
    fractions: NDArray[np.float64],
) -> NDArray[np.float64]:
    """Return the weights of pixels shifted by fractions, (n, n_pixels).

    As in Synthesizer, by the trapezoidal rule between the outermost pixels
    with transmission. Pixel zero is at the wavelength `first`, Angstrom.
    """
    positions = pixels[0] - 1 + np.arange(len(pixels) + 2)
    shifted = positions + fractions[:, None]
    nu = C_ANGSTROM / first * np.exp(-step * shifted)
    transmission = np.interp(nu, *support(filt), left=0.0, right=0.0)
    passing = transmission != 0.0
    # From the first to the last.
    within = np.logical_or.accumulate(passing, axis=1)
    within &= np.logical_or.accumulate(passing[:, ::-1], axis=1)[:, ::-1]
    width = np.where(within[:, 1:] & within[:, :-1], -np.diff(nu), 0.0)
    weights = (width[:, 1:] + width[:, :-1]) * (transmission / nu)[:, 1:-1]
    total = weights.sum(axis=1, keepdims=True)
    return weights / np.where(total > 0.0, total, 1.0)


_INTERPOLATION = np.array([_hats(x, np) for x in _BETWEEN])
