r"""The spectrum of a model galaxy at the pixels of an observed spectrum.

A model is broadened in $x = \ln\lambda$ by a Gaussian of variance

$$s(\lambda) = (\sigma_v / c)^2 + s_\mathrm{data}(\lambda)
    - s_\mathrm{library}(\lambda / (1 + z)),$$

so that stars of velocity dispersion $\sigma_v$ and the line-spread function
of the data are both counted, and the resolution that the spectra of the grid
already have is not counted twice. What is convolved is $\lambda f_\lambda$,
the energy for each interval of $x$, so that the fluxes of lines stay the same.

On pixels even in $x$, the convolution is a product with the Gaussian's
Fourier transform $\exp(-\omega^2 s / 2)$, which is known in closed form, so
that it is exact also if the Gaussian is narrower than a pixel (Cappellari
2017, arXiv:1607.08538). Grids on other wavelengths are first averaged under a
cubic B-spline around each such pixel, which the transform then undoes: lines
narrower than a pixel, which an average over the pixel alone would leave in the
modes of wider ones, are 1e-5 of these then. Where $s$ differs between the
pixels of the data, a few values of $s$ are convolved, and interpolated with
Chebyshev polynomials in $\ln s$.

The rotation and the macroturbulence of stars multiply the transform by those
of their profiles (`galaxies.velocity_profiles`).
"""

from dataclasses import dataclass, field
from typing import Any

import jax.numpy as jnp
import numpy as np
from jax import Array
from jax.tree_util import register_dataclass
from jax.typing import ArrayLike
from jaxtyping import Float
from numpy.polynomial import chebyshev, legendre
from numpy.typing import NDArray
from scipy.fft import next_fast_len
from scipy.ndimage import maximum_filter1d, minimum_filter1d
from synthesizer.exceptions import InconsistentArguments
from unyt import unyt_array, unyt_quantity

from synthesizer_emulator.galaxies.matrices import dot
from synthesizer_emulator.galaxies.velocity_profiles import (
    macroturbulence,
    rotation,
)
from synthesizer_emulator.inference.spectrum import (
    LIGHT,
    ORIGIN,
    Spectrum,
    resolution_variance,
)
from synthesizer_emulator.units import PURE, in_units
from synthesizer_emulator.validation import check_wavelengths
from synthesizer_emulator.wavelengths import gaps

# The largest width of the pixels on which the model is convolved, in standard
# deviations of the narrowest Gaussian, and the smallest in pixels of the grid,
# between which a line of a single one has modes too.
_SAMPLING = 0.4
_FINEST = 0.5

# The reach of a Gaussian in standard deviations (3e-9 lies beyond), and that
# of the cubic spline in pixels (0.27 to this power is 4e-10).
_REACH = 6.0
_MARGIN = 16

# The reach of a Gaussian in standard deviations into gaps of the models (0.1%
# lies beyond on this side).
_NOTICED = 3.0

# The reach of macroturbulence in its velocity (1e-9 of a Gaussian).
_TURBULENT_REACH = 4.5

# The largest error of a Fourier mode from the interpolation in variance.
_TOLERANCE = 1e-5
_MOST_NODES = 64

# The largest distance from even spacing in ln wavelength, in pixels. Single
# precision rounds wavelengths to 6e-8, a thousandth of a pixel of 20 km/s.
_EVEN = 0.01

# The largest ratio of steps between wavelengths to put a cubic through.
_UNEVEN = 2.0

# A variance, in squared pixels, below that of a single pixel, which keeps the
# logarithm finite where nothing is broadened.
_SMALLEST = 0.1


@register_dataclass
@dataclass(frozen=True, eq=False)
class Spectrograph:
    """The spectra of models at the pixels of an observed spectrum.

    The values are those of the broadened spectrum at the centres of the
    pixels, not averages over pixels, as the line-spread function includes the
    pixel. They come from a cubic spline, so the second derivatives in
    redshift are continuous.

    Attributes:
        weights (Array): The weights of the wavelengths of the grid in each
            even pixel, (n_even, m).
        first (Array): The index of the first of these, (n_even,).
        variance (Array): The variance of the library's resolution in ln
            wavelength, at the even pixels, (n_even,).
        transfer (Array): The factor by which each Fourier mode of the even
            pixels becomes a coefficient of the spline, (n_even // 2 + 1,).
        nodes (Array): The nodes of the interpolation in ln variance, from -1
            to 1, (n_nodes,).
        transform (Array): The Chebyshev coefficients for values at the
            nodes, (n_nodes, n_nodes).
        start (Array): The first even pixel in ln wavelength, ().
        differences (Array): The smallest and the largest difference of the
            variances of data and library, in ln wavelength, (2,).
        step (float): The width of the even pixels in ln wavelength.
        covered (tuple of float): The first and the last even pixel that
            pixels used may need.
        redshifts (tuple of float): The lowest and the highest redshift.
        dispersions (tuple of float): The lowest and the highest velocity
            dispersion, km/s.
        vsini_max (float): The highest rotational velocity, km/s.
        vmac_max (float): The highest macroturbulent velocity, km/s.

    Examples:
        >>> import jax
        >>> import numpy as np
        >>> from unyt import nJy
        >>> from synthesizer_emulator.inference import Spectrum
        >>> spectrum = Spectrum.from_fluxes(
        ...     np.linspace(4000.0, 7000.0, 1500),
        ...     np.full(1500, 10.0) * nJy,
        ...     np.ones(1500) * nJy,
        ...     resolution=1500.0,
        ... )
        >>> lam = np.arange(3000.0, 8000.0)
        >>> spectrograph = Spectrograph.from_spectrum(
        ...     spectrum, lam, resolution=3000.0, redshifts=(0.01, 0.1)
        ... )
        >>> fluxes = jax.jit(Spectrograph.fluxes)(
        ...     spectrograph, spectrum, 1e-3 * lam, 0.05, 200.0
        ... )
        >>> fluxes.shape
        (1500,)
    """

    weights: Array
    first: Array
    variance: Array
    transfer: Array
    nodes: Array
    transform: Array
    start: Array
    differences: Array
    step: float = field(metadata={"static": True})
    covered: tuple[float, float] = field(metadata={"static": True})
    redshifts: tuple[float, float] = field(metadata={"static": True})
    dispersions: tuple[float, float] = field(metadata={"static": True})
    vsini_max: float = field(metadata={"static": True})
    vmac_max: float = field(metadata={"static": True})

    @classmethod
    def from_spectrum(
        cls,
        spectrum: Spectrum,
        lam: unyt_array,
        resolution: ArrayLike | unyt_array | None,
        redshifts: tuple[float, float],
        dispersions: tuple[float, float] | unyt_array = (0.0, 1000.0),
        vsini_max: float | unyt_quantity = 0.0,
        vmac_max: float | unyt_quantity = 0.0,
    ) -> "Spectrograph":
        """Prepare the models of an observed spectrum.

        Args:
            spectrum (Spectrum): The observed spectrum; or several, with
                arrays of (n_spectra, n), whose ranges of wavelengths and of
                resolution are then all covered.
            lam (unyt_array): The rest-frame wavelengths of the models,
                ascending; Angstrom if without units, (nlam,).
            resolution (float/unyt_array): The resolution of the models, in
                the forms of `Spectrum.from_fluxes`; a number or (nlam,).
                None for models that are not broadened at all.
            redshifts (tuple of float): The lowest and the highest redshift,
                negative for stars that approach.
            dispersions (tuple of float): The lowest and the highest velocity
                dispersion; km/s if without units.
            vsini_max (float): The highest rotational velocity of `fluxes`;
                km/s if without units.
            vmac_max (float): The highest macroturbulent velocity, likewise.

        Raises:
            InconsistentArguments: If ranges are not ascending; if pixels lie
                beyond the models at some redshift; or if the data are
                sharper than the models at the lowest velocity dispersion.
            IncorrectUnits: If units are wrong.
        """
        lam = np.asarray(in_units("lam", lam, "angstrom"), np.float64)
        check_wavelengths("lam", lam, 4)
        if not np.all(np.diff(lam) > 0.0):
            raise InconsistentArguments(
                "lam must have no wavelength of the models twice, got "
                f"{lam[np.argmin(np.diff(lam))]:g} Angstrom. Remove "
                "duplicates, e.g. with numpy.unique."
            )
        redshifts = _range("redshifts", redshifts, PURE, lowest=-0.5)
        dispersions = _range("dispersions", dispersions, "km/s")
        fastest, _ = _range("vsini_max", [vsini_max] * 2, "km/s")
        wildest, _ = _range("vmac_max", [vmac_max] * 2, "km/s")
        used = np.asarray(spectrum.is_used)
        x_data = np.log(np.asarray(spectrum.lam, np.float64)[used] / ORIGIN)
        ends = np.array([x_data.min(), x_data.max()])
        ends -= np.log1p(redshifts)[::-1]
        _check_covered(ends, lam, redshifts)
        x = np.log(lam / ORIGIN)
        variance = resolution_variance("resolution", resolution, lam)
        data = np.asarray(spectrum.variance, np.float64)[used]
        narrowest, widest = (sigma**2 / LIGHT**2 for sigma in dispersions)
        differences = _differences(x_data, data, x, variance, redshifts)
        _check_sharper(differences[0], x_data, data, narrowest)
        low = max(float(differences[0].min()), -narrowest)
        high = max(float(differences[1].max()), low)
        step, even = _step(x, ends, low + narrowest)
        margin = _REACH * np.sqrt(high + widest) + _MARGIN * step
        margin += (fastest + _TURBULENT_REACH * wildest) / LIGHT
        reach = _NOTICED * np.sqrt(high + widest) + (fastest + wildest) / LIGHT
        _check_gaps(x_data, lam, redshifts, reach)
        start = ends[0] - margin
        if even:
            # Let the pixels be those of the grid.
            start = x[0] + step * np.floor((start - x[0]) / step)
        n = int(np.ceil((ends[1] + margin - start) / step)) + 1
        n = next_fast_len(n, real=True)
        x_even = start + step * np.arange(n)
        weights, first = (
            _selected(x, x_even) if even else _averages(lam, x_even, step)
        )
        omega = 2.0 * np.pi * np.fft.rfftfreq(n)
        # Cubic B-splines interpolate if divided by their transform at the
        # pixels; averages under such splines become values at their centres.
        transfer = 3.0 / (2.0 + np.cos(omega))
        if not even:
            transfer /= np.sinc(0.5 * omega / np.pi) ** 4
        nodes, transform = _interpolation(
            (low + narrowest) / step**2, (high + narrowest) / step**2
        )
        return cls(
            weights=jnp.asarray(weights, float),
            first=jnp.asarray(first),
            variance=jnp.asarray(np.interp(x_even, x, variance), float),
            transfer=jnp.asarray(transfer, float),
            nodes=jnp.asarray(nodes, float),
            transform=jnp.asarray(transform, float),
            start=jnp.asarray(start, float),
            differences=jnp.asarray([low, high], float),
            step=float(step),
            # One more, as the pixels of the data are rounded.
            covered=(
                float((ends[0] - start) / step) - 1.0,
                float((ends[1] - start) / step) + 1.0,
            ),
            redshifts=redshifts,
            dispersions=dispersions,
            vsini_max=fastest,
            vmac_max=wildest,
        )

    def fluxes(
        self,
        spectrum: Spectrum,
        fnu: Float[ArrayLike, " nlam"],
        redshift: ArrayLike,
        sigma_v: ArrayLike,
        vsini: ArrayLike | None = None,
        vmac: ArrayLike | None = None,
    ) -> Float[Array, " n"]:
        """Return the flux densities of one galaxy at the observed pixels.

        Args:
            spectrum (Spectrum): The observed spectrum, (n,).
            fnu (Array): The flux density of the model, nJy, as in the output
                `fnu` of `GalaxyModel`: at the wavelengths of the grid times
                1 + z, (nlam,).
            redshift (float): The redshift.
            sigma_v (float): The velocity dispersion, km/s.
            vsini (float): The projected rotational velocity of a star, km/s
                (see `galaxies.velocity_profiles.rotation`); by default none.
            vmac (float): The macroturbulent velocity of a star, km/s (see
                `galaxies.velocity_profiles.macroturbulence`); by default
                none.

        Returns:
            Array: The flux densities, nJy, (n,). They are NaN at pixels
                beyond all that are used or of another resolution, and
                everywhere if the redshift or a velocity is out of its range.
        """
        fnu = jnp.asarray(fnu, float)
        redshift = jnp.asarray(redshift, float)
        sigma_v = jnp.asarray(sigma_v, float)
        x = spectrum.log_lam - jnp.log1p(redshift)
        moved = jnp.square(sigma_v / LIGHT)
        position = (x - self.start) / self.step
        within = jnp.clip(position, *self.covered)
        pixel = within.astype(int)
        part = within - pixel
        library = (1.0 - part) * self.variance[pixel]
        library += part * self.variance[pixel + 1]
        difference = spectrum.variance - library
        valid = jnp.ones_like(x, bool)
        for value, (lowest, highest) in (
            (position, self.covered),
            (difference, self._rounded_differences),
            (redshift, self.redshifts),
            (sigma_v, self.dispersions),
            (_velocity(vsini), (0.0, self.vsini_max)),
            (_velocity(vmac), (0.0, self.vmac_max)),
        ):
            valid &= (value >= lowest) & (value <= highest)
        splines = self._splines(fnu, moved, vsini, vmac)
        near = splines[:, pixel[:, None] + np.arange(-1, 3)[None]]
        weights = jnp.stack(_cubic(part), axis=1)
        values = (near * weights[None]).sum(axis=2)
        difference = jnp.clip(difference, *self.differences)
        factors = self._polynomials(difference, moved)
        energy = (values * factors).sum(axis=0)
        return jnp.where(valid, energy * jnp.exp(x), jnp.nan)

    @property
    def _rounded_differences(self) -> tuple[Array, Array]:
        """The range of differences in variance, and more for rounding."""
        low, high = self.differences
        margin = 1e-3 * (high - low) + 1e-5 * jnp.abs(high)
        margin += 1e-4 * self.step**2
        return low - margin, high + margin

    def _log_variances(self, variance: Array, moved: Array) -> Array:
        """Return the logarithms in which broadened spectra are interpolated.

        Args:
            variance (Array): The difference of the variances of data and
                library, in ln wavelength, of any shape.
            moved (Array): The variance of velocities in ln wavelength, ().
        """
        return jnp.log((variance + moved) / self.step**2 + _SMALLEST)

    def _splines(
        self,
        fnu: Array,
        moved: Array,
        vsini: ArrayLike | None,
        vmac: ArrayLike | None,
    ) -> Array:
        """Return coefficients of cubic splines (n_nodes, n_even).

        There is one spline for each Chebyshev polynomial in ln variance.
        """
        index = self.first[:, None] + np.arange(self.weights.shape[1])[None]
        even = (self.weights * fnu[index]).sum(axis=1)
        low, high = self._log_variances(self.differences, moved)
        middle, half = 0.5 * (high + low), 0.5 * (high - low)
        variances = jnp.exp(middle + half * self.nodes) - _SMALLEST
        omega = 2.0 * np.pi * np.fft.rfftfreq(len(even))
        damping = jnp.asarray(0.5 * omega**2, float)
        damped = jnp.exp(-damping[None] * variances[:, None])
        modes = jnp.fft.rfft(even) * self.transfer
        per_velocity = jnp.asarray(omega / (LIGHT * self.step), float)
        if vsini is not None:
            modes = modes * rotation(per_velocity * vsini)
        if vmac is not None:
            modes = modes * macroturbulence(per_velocity * vmac)
        return jnp.fft.irfft(
            modes[None] * dot(self.transform, damped), len(even)
        )

    def _polynomials(self, variance: Array, moved: Array) -> Array:
        """Return Chebyshev polynomials in ln variance, (n_nodes, n)."""
        polynomials = [jnp.ones_like(variance)]
        if len(self.nodes) > 1:
            low, high = self._log_variances(self.differences, moved)
            at = self._log_variances(variance, moved)
            at = (2.0 * at - high - low) / (high - low)
            polynomials.append(at)
            for _ in self.nodes[2:]:
                polynomials.append(
                    2.0 * at * polynomials[-1] - polynomials[-2]
                )
        return jnp.stack(polynomials)


def interpolate(
    lam: NDArray[np.float64],
    values: NDArray[np.float64],
    at: NDArray[np.float64],
) -> NDArray[np.float64]:
    """Return a model between its wavelengths, as spectrographs see it.

    Args:
        lam (np.ndarray of float): The wavelengths, ascending, (nlam,).
        values (np.ndarray of float): The model at these, (nlam,).
        at (np.ndarray of float): The wavelengths to interpolate to, (n,).

    Returns:
        np.ndarray of float: The values, those of the ends beyond them, (n,).
    """
    at = np.clip(at, lam[0], lam[-1])
    upper = np.clip(np.searchsorted(lam, at), 1, len(lam) - 1)
    base = np.clip(upper - 2, 0, len(lam) - 4)
    near = values[base[:, None] + np.arange(4)]
    return (_interpolated(lam, upper, base, at) * near).sum(axis=1)


def _velocity(velocity: ArrayLike | None) -> Array:
    """Return a velocity as an array, zero if there is none."""
    return jnp.asarray(0.0 if velocity is None else velocity, float)


def _cubic(part: Any) -> list[Any]:
    """Return the weights of a cubic B-spline at four pixels.

    Args:
        part (Array or np.ndarray): The distance from the second pixel, 0 to
            1, of any shape.
    """
    rest = 1.0 - part
    inner = [2.0 / 3.0 - t * t * (1.0 - 0.5 * t) for t in (part, rest)]
    return [rest**3 / 6.0, *inner, part**3 / 6.0]


def _range(
    name: str, values: object, units: str, lowest: float = 0.0
) -> tuple[float, float]:
    """Return the ends of a range as plain numbers; raise if it is none."""
    ends = np.asarray(in_units(name, values, units), np.float64)
    if (
        ends.shape != (2,)
        or not np.isfinite(ends).all()
        or not lowest <= ends[0] <= ends[1]
    ):
        least = "not negative" if lowest == 0.0 else f"at least {lowest:g}"
        raise InconsistentArguments(
            f"{name} must be a lowest and a highest value, both finite and "
            f"{least}, got {values}."
        )
    return float(ends[0]), float(ends[1])


def _check_covered(
    ends: NDArray[np.float64],
    lam: NDArray[np.float64],
    redshifts: tuple[float, float],
) -> None:
    """Raise unless models cover the rest-frame range of the data.

    Args:
        ends (np.ndarray of float): The ends of the range in ln wavelength.
        lam (np.ndarray of float): The wavelengths of the models, Angstrom.
        redshifts (tuple of float): The range of redshifts.
    """
    blue, red = ORIGIN * np.exp(ends)
    # Single precision rounds the wavelengths of the data.
    if blue < lam[0] * (1.0 - 1e-6) or red > lam[-1] * (1.0 + 1e-6):
        raise InconsistentArguments(
            f"At redshifts from {redshifts[0]:g} to {redshifts[1]:g} the "
            f"pixels used need models from {blue:.6g} to {red:.6g} Angstrom "
            f"in the rest frame, got models from {lam[0]:.6g} to "
            f"{lam[-1]:.6g} Angstrom. Mask pixels, or narrow the redshifts."
        )


def _check_gaps(
    x_data: NDArray[np.float64],
    lam: NDArray[np.float64],
    redshifts: tuple[float, float],
    reach: float,
) -> None:
    """Raise if pixels need models in a gap between their wavelengths.

    Args:
        x_data (np.ndarray of float): The pixels used in ln wavelength, (n,).
        lam (np.ndarray of float): The wavelengths of the models, Angstrom.
        redshifts (tuple of float): The range of redshifts.
        reach (float): The reach of the broadening in ln wavelength.
    """
    lowest, highest = np.log1p(redshifts)
    for low, high in gaps(lam):
        needed = (x_data - lowest + reach > np.log(low / ORIGIN)) & (
            x_data - highest - reach < np.log(high / ORIGIN)
        )
        if needed.any():
            seen = ORIGIN * np.exp(x_data[needed])
            raise InconsistentArguments(
                f"The models have no wavelengths between {low:.6g} and "
                f"{high:.6g} Angstrom in the rest frame, which "
                f"{len(seen)} of {len(x_data)} pixels used need with their "
                f"broadening, at redshifts from {redshifts[0]:g} to "
                f"{redshifts[1]:g}. Mask pixels from {seen.min():.6g} to "
                f"{seen.max():.6g} Angstrom, or narrow the redshifts and the "
                "velocity dispersions."
            )


def _differences(
    x_data: NDArray[np.float64],
    data: NDArray[np.float64],
    x: NDArray[np.float64],
    library: NDArray[np.float64],
    redshifts: tuple[float, float],
) -> NDArray[np.float64]:
    """Return the smallest and largest differences in variance, (2, n).

    Args:
        x_data (np.ndarray of float): The pixels in ln wavelength, (n,).
        data (np.ndarray of float): The variance of the data, (n,).
        x (np.ndarray of float): The models' ln wavelengths, (nlam,).
        library (np.ndarray of float): The variance of the models, (nlam,).
        redshifts (tuple of float): The range of redshifts.
    """
    low, high = np.log1p(redshifts)
    even, spacing = np.linspace(
        x_data.min() - high, x_data.max() - low, 20_000, retstep=True
    )
    spacing = max(spacing, 1e-9)
    centre = x_data - 0.5 * (low + high)
    at = np.rint((centre - even[0]) / spacing).astype(int)
    at = np.clip(at, 0, len(even) - 1)
    size = 2 * int(np.ceil(0.5 * (high - low) / spacing)) + 3
    size = min(size, 2 * len(even) + 1)
    variance = np.interp(even, x, library)
    largest = maximum_filter1d(variance, size, mode="nearest")
    smallest = minimum_filter1d(variance, size, mode="nearest")
    return np.stack([data - largest[at], data - smallest[at]])


def _check_sharper(
    smallest: NDArray[np.float64],
    x_data: NDArray[np.float64],
    data: NDArray[np.float64],
    narrowest: float,
) -> None:
    """Raise if the data are sharper than the models.

    Args:
        smallest (np.ndarray of float): The smallest difference of variances,
            (n,).
        x_data (np.ndarray of float): The pixels in ln wavelength, (n,).
        data (np.ndarray of float): The variance of the data, (n,).
        narrowest (float): The lowest variance of velocities.
    """
    worst = int(np.argmin(smallest))
    # Single precision rounds the variance of the data.
    if smallest[worst] + narrowest < -1e-6 * data[worst]:
        of_data, of_models = LIGHT * np.sqrt(
            [data[worst], data[worst] - smallest[worst]]
        )
        raise InconsistentArguments(
            "The resolution of the models must not be worse than that of the "
            "data with the lowest velocity dispersion, got "
            f"{of_models:.4g} km/s (standard deviation) for the models, "
            f"{of_data:.4g} km/s for the data and "
            f"{LIGHT * narrowest**0.5:.4g} km/s for the lowest velocity "
            f"dispersion at {ORIGIN * np.exp(x_data[worst]):.6g} Angstrom. "
            "Mask these pixels, raise the lowest of dispersions, or smooth "
            "the data before."
        )


def _step(
    x: NDArray[np.float64], ends: NDArray[np.float64], narrowest: float
) -> tuple[float, bool]:
    """Return the width of even pixels, and whether the models are on these.

    Args:
        x (np.ndarray of float): The models' ln wavelengths, (nlam,).
        ends (np.ndarray of float): The ends of the range of the data.
        narrowest (float): The smallest variance to broaden by.
    """
    step = (x[-1] - x[0]) / (len(x) - 1)
    even = x[0] + step * np.arange(len(x))
    if np.abs(x - even).max() < _EVEN * step:
        return float(step), True
    first = max(int(np.searchsorted(x, ends[0], side="right")) - 1, 0)
    last = int(np.searchsorted(x, ends[1])) + 1
    steps = np.diff(x[first:last])
    return max(
        _FINEST * float(steps.min()), _SAMPLING * float(np.sqrt(narrowest))
    ), False


def _selected(
    x: NDArray[np.float64], x_even: NDArray[np.float64]
) -> tuple[NDArray[np.float64], NDArray[np.int_]]:
    """Return weights and indices if models are on the even pixels already.

    Beyond its ends a model stays the same, as in `_averages`.
    """
    step = (x[-1] - x[0]) / (len(x) - 1)
    index = np.rint((x_even - x[0]) / step).astype(int)
    return np.exp(-x_even)[:, None], np.clip(index, 0, len(x) - 1)


def _averages(
    lam: NDArray[np.float64], x_even: NDArray[np.float64], step: float
) -> tuple[NDArray[np.float64], NDArray[np.int_]]:
    """Return weights and indices of averages under cubic B-splines.

    They are the averages of fnu over wavelength, which is the energy for each
    interval of ln wavelength, by Gauss-Legendre quadrature, under the cubic
    B-spline that is centred on each even pixel.

    Args:
        lam (np.ndarray of float): The models' wavelengths, Angstrom, (nlam,).
        x_even (np.ndarray of float): The pixels in ln wavelength, (n,).
        step (float): Their width.

    Returns:
        tuple of np.ndarray: The weights (n, m), and the first index, (n,).
    """
    n = len(x_even)
    # Splines reach two pixels to either side; cells are between two pixels.
    edges = x_even[0] + step * np.arange(-2, n + 2)
    cuts = np.union1d(edges, np.log(lam / ORIGIN))
    cuts = cuts[(cuts >= edges[0]) & (cuts <= edges[-1])]
    width, middle = np.diff(cuts), 0.5 * (cuts[1:] + cuts[:-1])
    cell = np.clip(np.searchsorted(edges, middle) - 1, 0, n + 2)
    upper = np.searchsorted(lam, ORIGIN * np.exp(middle))
    upper = np.clip(upper, 1, len(lam) - 1)
    base = np.clip(upper - 2, 0, len(lam) - 4)
    # The first and the last interval under each spline.
    starts = np.searchsorted(cell, np.arange(n))
    stops = np.searchsorted(cell, np.arange(n) + 3, side="right") - 1
    m = int((base[stops] - base[starts]).max()) + 4
    first = np.minimum(base[starts], len(lam) - m)
    weights = np.zeros((n, m))
    points, parts = legendre.leggauss(4)
    for point, part in zip(points, parts, strict=True):
        x = middle + 0.5 * width * point
        at = np.clip(ORIGIN * np.exp(x), lam[0], lam[-1])
        values = (0.5 * part * width / step * np.exp(-x))[:, None]
        values = values * _interpolated(lam, upper, base, at)
        splines = _cubic((x - edges[cell]) / step)
        # Cell j is under the splines of the pixels j - 3 to j.
        for pixel, spline in zip(
            cell - 3 + np.arange(4)[:, None], splines, strict=True
        ):
            kept = (pixel >= 0) & (pixel < n)
            rows = pixel[kept]
            columns = (base[kept] - first[rows])[:, None] + np.arange(4)
            np.add.at(
                weights,
                (rows[:, None], columns),
                spline[kept, None] * values[kept],
            )
    return weights, first


def _interpolated(
    lam: NDArray[np.float64],
    upper: NDArray[np.int_],
    base: NDArray[np.int_],
    at: NDArray[np.float64],
) -> NDArray[np.float64]:
    """Return the weights of four wavelengths that interpolate a model.

    They are those of the cubic through the four, which, unlike a linear
    interpolation, does not broaden the model by itself. Where the wavelengths
    become wider apart a cubic would overshoot, so it is linear there.

    Args:
        lam (np.ndarray of float): The models' wavelengths, Angstrom, (nlam,).
        upper (np.ndarray of int): The index of the next wavelength, (k,).
        base (np.ndarray of int): That of the first of the four, (k,).
        at (np.ndarray of float): The wavelengths to interpolate to, (k,).

    Returns:
        np.ndarray of float: The weights, (k, 4).
    """
    near = lam[base[:, None] + np.arange(4)]
    weights = np.ones_like(near)
    for one in range(4):
        for other in {0, 1, 2, 3} - {one}:
            weights[:, one] *= at - near[:, other]
            weights[:, one] /= near[:, one] - near[:, other]
    part = (at - lam[upper - 1]) / (lam[upper] - lam[upper - 1])
    linear = np.zeros_like(near)
    rows, column = np.arange(len(at)), upper - base
    linear[rows, column - 1], linear[rows, column] = 1.0 - part, part
    steps = np.diff(near, axis=1)
    uneven = steps.max(axis=1) > _UNEVEN * steps.min(axis=1)
    return np.where(uneven[:, None], linear, weights)


def _interpolation(
    low: float, high: float
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Return the nodes that interpolate Gaussians between two variances.

    Args:
        low (float): The smallest variance, squared pixels.
        high (float): The largest variance, squared pixels.

    Returns:
        tuple of np.ndarray: The nodes from -1 to 1, (k,), and the Chebyshev
            coefficients for values at the nodes, (k, k).
    """
    omega = np.pi * np.arange(1, 201) / 200
    ends = np.log(np.array([low, high]) + _SMALLEST)
    half, middle = 0.5 * (ends[1] - ends[0]), ends.mean()

    def gaussians(at: NDArray[np.float64]) -> NDArray[np.float64]:
        variance = np.exp(middle + half * at) - _SMALLEST
        return np.exp(-0.5 * omega**2 * variance[:, None])

    between = np.linspace(-1.0, 1.0, 301)
    for k in range(1, _MOST_NODES + 1):
        nodes = chebyshev.chebpts1(k)
        transform = chebyshev.chebvander(nodes, k - 1).T * 2.0 / k
        transform[0] /= 2.0
        found = chebyshev.chebvander(between, k - 1) @ transform
        error = found @ gaussians(nodes) - gaussians(between)
        if np.abs(error).max() < _TOLERANCE:
            break
    return nodes, transform
