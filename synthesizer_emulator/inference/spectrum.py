"""Observed spectra and their likelihood.

`Spectrum` holds the data of one galaxy. The models at its pixels that it is
compared with come from `spectrograph`.
"""

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array
from jax.core import Tracer
from jax.scipy.linalg import solve_triangular
from jax.tree_util import register_dataclass
from jax.typing import ArrayLike
from jaxtyping import Float
from numpy.polynomial import legendre
from numpy.typing import NDArray
from synthesizer.exceptions import (
    InconsistentArguments,
    IncorrectUnits,
    MissingUnits,
)
from unyt import c, nJy, unyt_array, unyt_quantity

from synthesizer_emulator.descriptions import (
    Described,
    Description,
    describe_wavelengths,
)
from synthesizer_emulator.galaxies.matrices import dot
from synthesizer_emulator.inference.spectrum_plot import plot_pixels
from synthesizer_emulator.units import (
    PURE,
    in_stated_units,
    in_units,
    is_masked,
)
from synthesizer_emulator.validation import (
    check_number,
    check_wavelengths,
    check_whole,
)

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

# Logarithms of wavelengths are counted from here, as those in single
# precision are most precise near zero; Angstrom.
ORIGIN = 1e4

# The speed of light, km/s.
LIGHT = float(c.to_value("km/s"))

# The full width at half maximum of a Gaussian in standard deviations.
_FWHM = float(np.sqrt(8.0 * np.log(2.0)))

# The largest logarithm of the slope in the fraction of outliers, relative to
# that of the largest floating-point number: sums over pixels are finite then.
_STEEPEST = 0.9

# The standard deviation of the prior of a coefficient of the calibration.
_WIDTH = 0.1

# The units of flux densities, for each frequency and for each wavelength.
_PER_FREQUENCY = "nJy"
_PER_WAVELENGTH = "erg/s/cm**2/angstrom"

# The flux density in nJy of 1 erg/s/cm^2/Angstrom at 1 Angstrom.
_PER_FLAM = float(
    (
        unyt_quantity(1.0, _PER_WAVELENGTH)
        * unyt_quantity(1.0, "angstrom") ** 2
        / c
    ).to_value(nJy)
)


@register_dataclass
@dataclass(frozen=True, eq=False, repr=False)
class Spectrum(Described):
    """The observed spectrum of one galaxy.

    A pytree of plain arrays, made by `from_fluxes`.

    Attributes:
        lam (Array): The observed wavelengths, Angstrom, (n,).
        log_lam (Array): The logarithm of the wavelengths in micron, (n,).
        flux (Array): The flux densities, nJy, zero where not used, (n,).
        error (Array): Their standard deviations, nJy, one where not used,
            (n,).
        is_used (Array): Whether each pixel is used, (n,).
        variance (Array): The variance of the line-spread function in ln
            wavelength, (n,).
        polynomials (Array): The Legendre polynomials of the calibration,
            (n, degree + 1); (n, 0) without one.
        widths (Array): The standard deviations of the priors of their
            coefficients, (degree + 1,).

    Examples:
        >>> import numpy as np
        >>> from unyt import angstrom, erg, s, cm
        >>> lam = np.linspace(4000.0, 7000.0, 1500) * angstrom
        >>> flux = np.full(1500, 2e-17) * erg / s / cm**2 / angstrom
        >>> spectrum = Spectrum.from_fluxes(
        ...     lam, flux, 0.1 * flux, resolution=2000.0, calibration_degree=3
        ... )
        >>> spectrum.polynomials.shape
        (1500, 4)
    """

    lam: Array
    log_lam: Array
    flux: Array
    error: Array
    is_used: Array
    variance: Array
    polynomials: Array
    widths: Array

    @classmethod
    def from_fluxes(
        cls,
        lam: unyt_array,
        fluxes: unyt_array,
        errors: unyt_array,
        resolution: ArrayLike | unyt_array | None,
        mask: NDArray[np.bool_] | None = None,
        calibration_degree: int | None = None,
        calibration_width: ArrayLike | None = None,
    ) -> "Spectrum":
        r"""Make a spectrum from observed quantities.

        The calibration is a polynomial $1 + \sum_j c_j P_j(x)$ that
        multiplies the model, with $x$ from -1 at the first to 1 at the last
        pixel used. It is for what the model does not have: the loss of light
        outside of the slit or fibre (the first coefficient, degenerate with
        the mass unless there is photometry too) and errors of the flux
        calibration.

        Args:
            lam (unyt_array): The observed wavelengths, ascending, in vacuum
                or air as those of the grid; Angstrom if without units, (n,).
            fluxes (unyt_array): The flux densities, for each frequency or each
                wavelength, in any units, (n,).
            errors (unyt_array): Their standard deviations, likewise.
            resolution (float/unyt_array): The line-spread function, a
                Gaussian: the resolving power (wavelength over full width at
                half maximum) if without units, or the standard deviation in
                units of wavelength or velocity; a number or (n,). It
                includes the width of a pixel, as it does if measured from
                lines in the pixels themselves. If yours does not, add the
                width of a pixel over the root of 12 in quadrature. None if
                it is negligible.
            mask (np.ndarray of bool): Whether to use each pixel, as in
                Prospector and pPXF, (n,); all by default. Pixels whose flux
                density or error is masked are not used either.
            calibration_degree (int): The degree of the polynomial; no
                polynomial by default.
            calibration_width (float): The standard deviation of the Gaussian
                prior of each coefficient, or of each in turn
                (degree + 1,); zero for a coefficient of zero; 0.1 by default.

        Raises:
            InconsistentArguments: If the arrays do not match; if wavelengths
                are not ascending; if no pixel is used; or if values in
                pixels that are used are not finite, or errors not positive.
            IncorrectUnits: If units are not those of a wavelength, a flux
                density, or a resolution.
            MissingUnits: If flux densities or errors have no units.
        """
        lam = np.asarray(in_units("lam", lam, "angstrom"), np.float64)
        check_wavelengths("lam", lam, 2)
        flux = _flux_density("fluxes", fluxes, lam)
        error = _flux_density("errors", errors, lam)
        used = np.ones(len(lam), bool) if mask is None else np.asarray(mask)
        for name, array in (
            ("fluxes", flux),
            ("errors", error),
            ("mask", used),
        ):
            if array.shape != lam.shape:
                raise InconsistentArguments(
                    f"{name} must have one value for each of the {len(lam)} "
                    f"wavelengths, got an array of shape {array.shape}."
                )
        if used.dtype != bool:
            raise InconsistentArguments(
                "mask must be an array of booleans, True for pixels to use, "
                f"got an array of {used.dtype}."
            )
        used = used & ~(is_masked(fluxes) | is_masked(errors))
        if not used.any():
            raise InconsistentArguments(
                "mask must be True for at least one pixel, got False for all "
                f"{len(lam)}. True stands for pixels to use."
            )
        _check_used(
            "fluxes must be finite", np.isfinite(flux), flux, lam, used
        )
        _check_used(
            "errors must be positive and finite",
            np.isfinite(error) & (error > 0.0),
            error,
            lam,
            used,
        )
        polynomials, widths = _polynomials(
            lam, used, calibration_degree, calibration_width
        )
        return cls(
            lam=jnp.asarray(lam, float),
            log_lam=jnp.asarray(np.log(lam / ORIGIN), float),
            flux=jnp.asarray(np.where(used, flux, 0.0), float),
            error=jnp.asarray(np.where(used, error, 1.0), float),
            is_used=jnp.asarray(used),
            variance=jnp.asarray(
                resolution_variance("resolution", resolution, lam, used),
                float,
            ),
            polynomials=jnp.asarray(polynomials, float),
            widths=jnp.asarray(widths, float),
        )

    def _description(self) -> Description:
        """Return the pixels and their errors, unless they are traced."""
        n, degree = len(self.lam), self.polynomials.shape[-1] - 1
        title = f"Spectrum of {n:,} pixels"
        if isinstance(self.flux, Tracer):
            return Description(title, {"values": "traced"})
        used = np.asarray(self.is_used)
        lam = np.asarray(self.lam)
        ratio = np.asarray(self.flux)[used] / np.asarray(self.error)[used]
        return Description(
            title,
            {
                "wavelengths": describe_wavelengths(n, lam[0], lam[-1]),
                "used": f"{np.count_nonzero(used):,} pixels",
                "signal / noise": f"{np.median(ratio):.3g} (median)",
                "calibration": f"polynomial of degree {degree}"
                if degree >= 0
                else "",
            },
        )

    def plot(self) -> tuple["Figure", "Axes"]:
        """Plot the spectrum with its errors; unused pixels are shaded.

        Returns:
            tuple: The figure, and its axes.
        """
        return plot_pixels(
            *map(np.asarray, (self.lam, self.flux, self.error, self.is_used))
        )

    def log_likelihood(
        self,
        model: Float[Array, " n"],
        error_scale: ArrayLike = 1.0,
        jitter: ArrayLike = 0.0,
        coefficients: Float[Array, " k"] | None = None,
        outlier_fraction: ArrayLike | None = None,
        outlier_scale: ArrayLike = 50.0,
    ) -> Float[Array, ""]:
        r"""Return the logarithm of the likelihood of a model.

        The variance of a pixel with error $e$ and model $m$ is
        $v = (a e)^2 + (b m)^2$, with the scale $a$ of the errors and the
        jitter $b$. With the calibration polynomial the data are

        $$d = m + A c + n, \quad A_{ij} = m_i P_j(x_i), \quad
            c \sim N(0, W^2), \quad n \sim N(0, V),$$

        so that $d \sim N(m, V + A W^2 A^T)$. By the matrix determinant lemma
        and the Woodbury identity (e.g. Rasmussen & Williams 2006, eqs. A.9
        and A.10), only the matrix $M = 1 + W A^T V^{-1} A W$, with one row
        for each coefficient, is factored.

        With outliers, pixels are a mixture of the Gaussian and one whose
        errors are larger (Hogg, Bovy & Lang 2010, arXiv:1008.4686, eq. 17,
        with the mean of the model also for bad pixels). The polynomial has no
        closed marginal then, so its coefficients must be parameters.

        Args:
            model (Array): The flux densities of the model, nJy, (n,), as from
                `Spectrograph.fluxes`. Those in masked pixels do not count.
            error_scale (float): The factor by which to multiply the errors.
            jitter (float): The error to add in quadrature, as a fraction of
                the flux density of the model.
            coefficients (Array): The coefficients of the calibration
                polynomial, (degree + 1,), whose prior is not included; by
                default they are marginalised over.
            outlier_fraction (float): The fraction of pixels whose errors are
                larger than given; by default no mixture.
            outlier_scale (float): The factor by which these errors are
                larger.

        Returns:
            Array: The natural logarithm of the probability density of the
                flux densities, in nJy.

        Raises:
            InconsistentArguments: If there are outliers, and a polynomial
                without coefficients; or if the number of coefficients is not
                that of the polynomials.
        """
        model, variance = _expected(self, model, error_scale, jitter)
        has_polynomial = self.polynomials.shape[1] > 0
        if coefficients is not None:
            if jnp.shape(coefficients) != self.widths.shape:
                raise InconsistentArguments(
                    "coefficients must have one value for each of the "
                    f"{len(self.widths)} polynomials of the spectrum, got an "
                    f"array of shape {jnp.shape(coefficients)}. Give their "
                    f"prior the size {len(self.widths)}, or the spectrum "
                    "another calibration_degree."
                )
            curve = dot(self.polynomials, jnp.asarray(coefficients))
            model = model * (1.0 + curve)
        elif has_polynomial and outlier_fraction is not None:
            raise InconsistentArguments(
                "The calibration polynomial can't be marginalised over with "
                "outlier_fraction, got coefficients=None. Make the "
                "coefficients parameters, use calibration_degree=None, or "
                "mask the outliers."
            )
        residual = (self.flux - model) / jnp.sqrt(variance)
        log_norm = jnp.log(2.0 * jnp.pi * variance)
        if outlier_fraction is not None:
            good = -0.5 * (jnp.square(residual) + log_norm)
            scaled = residual / outlier_scale
            bad = -0.5 * (jnp.square(scaled) + log_norm) - jnp.log(
                outlier_scale
            )
            pixels = _mixture(jnp.asarray(outlier_fraction, float), good, bad)
            return jnp.where(self.is_used, pixels, 0.0).sum()
        log_norm = jnp.where(self.is_used, log_norm, 0.0).sum()
        if coefficients is not None or not has_polynomial:
            return -0.5 * (jnp.square(residual).sum() + log_norm)
        design, factor, whitened = _calibrate(self, model, variance)
        # The sum of squares at the most probable coefficients. Unlike the
        # difference of two sums that the identity gives, it keeps its digits.
        squares = jnp.square(residual - dot(design, whitened)).sum()
        squares += jnp.square(whitened).sum()
        log_norm += 2.0 * jnp.log(jnp.diagonal(factor)).sum()
        return -0.5 * (squares + log_norm)

    def errors(
        self,
        model: Float[Array, " n"],
        calibration: ArrayLike = 1.0,
        error_scale: ArrayLike = 1.0,
        jitter: ArrayLike = 0.0,
        outlier_fraction: ArrayLike = 0.0,
        outlier_scale: ArrayLike = 50.0,
    ) -> Float[Array, " n"]:
        r"""Return the standard deviations of the pixels of a model, (n,).

        A pixel with variance $v$, which is an outlier with the probability
        $q$ given its residual, has that of the mean precision,
        $1 / e^2 = (1 - q) / v + q / (s^2 v)$, with the scale $s$ of outliers,
        as in the maximisation of the likelihood of a mixture by expectations
        (Dempster, Laird & Rubin 1977, J. R. Stat. Soc. B 39, 1).

        Args:
            model (Array): The flux densities of the model, nJy, (n,).
            calibration (Array): What multiplies them, (n,), as from
                `calibration`.
            error_scale (float): As for `log_likelihood`; likewise the other
                arguments.
            jitter (float): Likewise.
            outlier_fraction (float): Likewise.
            outlier_scale (float): Likewise.
        """
        model, variance = _expected(self, model, error_scale, jitter)
        residual = (self.flux - model * calibration) / jnp.sqrt(variance)
        fraction = jnp.asarray(outlier_fraction, float)
        precision = 1.0 / jnp.square(jnp.asarray(outlier_scale, float))
        is_outlier = jax.nn.sigmoid(
            jnp.log(fraction)
            - jnp.log1p(-fraction)
            + 0.5 * jnp.log(precision)
            + 0.5 * jnp.square(residual) * (1.0 - precision)
        )
        return jnp.sqrt(variance / (1.0 - is_outlier + is_outlier * precision))

    def chi_squared(
        self,
        model: NDArray[np.float64],
        calibration: NDArray[np.float64],
        errors: NDArray[np.float64],
    ) -> float:
        """Return the sum of squared residuals of the pixels that are used.

        The errors are those of `errors`.
        """
        residuals = (np.asarray(self.flux) - model * calibration) / errors
        return float(np.sum(np.square(residuals[np.asarray(self.is_used)])))

    def mock(
        self,
        model: NDArray[np.float64],
        rng: np.random.Generator,
        error_scale: ArrayLike = 1.0,
        jitter: ArrayLike = 0.0,
        coefficients: NDArray[np.float64] | None = None,
        outlier_fraction: ArrayLike = 0.0,
        outlier_scale: ArrayLike = 50.0,
    ) -> "Spectrum":
        """Return the spectrum of a model with the errors and mask of this.

        The coefficients of the calibration are drawn from their prior, unless
        given. The other arguments are those of `log_likelihood`, whose
        distribution the data follow.
        """
        if coefficients is None:
            widths = np.asarray(self.widths)
            coefficients = widths * rng.normal(size=len(widths))
        calibrated = model * (
            1.0 + np.asarray(self.polynomials) @ np.asarray(coefficients)
        )
        sigma = np.hypot(
            np.asarray(error_scale) * np.asarray(self.error),
            np.asarray(jitter) * model,
        )
        is_outlier = rng.random(len(model)) < np.asarray(outlier_fraction)
        sigma = np.where(is_outlier, np.asarray(outlier_scale), 1.0) * sigma
        noisy = calibrated + sigma * rng.normal(size=len(model))
        flux = np.where(np.asarray(self.is_used), noisy, 0.0)
        return replace(self, flux=jnp.asarray(flux, float))

    def calibration(
        self,
        model: Float[Array, " n"],
        error_scale: ArrayLike = 1.0,
        jitter: ArrayLike = 0.0,
        coefficients: Float[Array, " k"] | None = None,
    ) -> Float[Array, " n"]:
        """Return the most probable calibration of a model, (n,).

        It multiplies the fluxes. It is the mean of the posterior of the
        polynomial, which `log_likelihood` marginalises over, for given
        parameters; or that of given coefficients. Without a polynomial it is
        one. The arguments are those of `log_likelihood`.
        """
        if coefficients is not None:
            return 1.0 + dot(self.polynomials, jnp.asarray(coefficients))
        if not self.polynomials.shape[1]:
            return jnp.ones_like(model)
        model, variance = _expected(self, model, error_scale, jitter)
        _, _, whitened = _calibrate(self, model, variance)
        return 1.0 + dot(self.polynomials, whitened * self.widths)


def resolution_variance(
    name: str,
    resolution: ArrayLike | unyt_array | None,
    lam: NDArray[np.float64],
    used: NDArray[np.bool_] | None = None,
) -> NDArray[np.float64]:
    """Return the variance of a line-spread function in ln wavelength.

    Args:
        name (str): The name of the argument, for messages.
        resolution (float/unyt_array): The resolution, in the forms of
            `Spectrum.from_fluxes`; a number or (n,). None is a variance of
            zero.
        lam (np.ndarray of float): The wavelengths, Angstrom, (n,).
        used (np.ndarray of bool): Whether each pixel is used, (n,); all by
            default.

    Returns:
        np.ndarray of float: The variance, (n,); where it is not known in
            pixels that are not used, the median of the others.

    Raises:
        IncorrectUnits: If it is neither a pure number nor a wavelength or
            velocity.
        InconsistentArguments: If it is not positive and finite, or of another
            shape.
    """
    if resolution is None:
        return np.zeros(len(lam))
    forms = {
        PURE: lambda power: 1.0 / (_FWHM * power),
        "angstrom": lambda sigma: sigma / lam,
        "km/s": lambda sigma: sigma / LIGHT,
    }
    for units in forms:
        try:
            plain = np.asarray(in_units(name, resolution, units), np.float64)
        except IncorrectUnits:
            continue
        break
    else:
        raise IncorrectUnits(
            f"{name} must be a resolving power without units, or a standard "
            "deviation in units of wavelength or velocity, got units of "
            f"{getattr(resolution, 'units', 'another kind')}."
        )
    if plain.shape not in ((), lam.shape):
        raise InconsistentArguments(
            f"{name} must be one number, or one for each of the {len(lam)} "
            f"wavelengths, got an array of shape {plain.shape}."
        )
    plain = np.broadcast_to(plain, lam.shape)
    valid = np.isfinite(plain) & (plain > 0.0)
    wrong = plain[~valid if used is None else used & ~valid]
    if len(wrong):
        raise InconsistentArguments(
            f"{name} must be positive and finite, got {wrong[0]:g}."
        )
    plain = np.where(valid, plain, np.median(plain[valid]))
    return np.square(forms[units](plain))


def _expected(
    spectrum: Spectrum,
    fluxes: Array,
    error_scale: ArrayLike,
    jitter: ArrayLike,
) -> tuple[Array, Array]:
    """Return the model, zero in masked pixels, and the variances, (n,)."""
    model = jnp.where(spectrum.is_used, fluxes, 0.0)
    return model, (
        jnp.square(error_scale * spectrum.error) + jnp.square(jitter * model)
    )


@jax.custom_jvp
def _mixture(fraction: Array, good: Array, bad: Array) -> Array:
    """Return the logarithm of a mixture of two densities, (n,).

    Its derivatives are finite also where the fraction is zero or one.

    Args:
        fraction (Array): The fraction of the second density, ().
        good (Array): The logarithm of the first density, (n,).
        bad (Array): That of the second, (n,).
    """
    return jnp.logaddexp(jnp.log1p(-fraction) + good, jnp.log(fraction) + bad)


@_mixture.defjvp
def _mixture_jvp(
    primals: tuple[Array, Array, Array], tangents: tuple[Array, Array, Array]
) -> tuple[Array, Array]:
    """Return `_mixture` and its change."""
    fraction, good, bad = primals
    value = _mixture(*primals)
    # A fraction of zero has a slope beyond the largest number at a pixel far
    # from the model.
    most = _STEEPEST * float(np.log(jnp.finfo(value.dtype).max))
    as_good, as_bad = (
        jnp.exp(jnp.minimum(one - value, most)) for one in (good, bad)
    )
    change = tangents[0] * (as_bad - as_good)
    change += tangents[1] * (1.0 - fraction) * as_good
    return value, change + tangents[2] * fraction * as_bad


def _calibrate(
    spectrum: Spectrum, model: Array, variance: Array
) -> tuple[Array, Array, Array]:
    """Return the polynomials that fit the residuals of a model best.

    Returns:
        tuple of Array: The polynomials times model and prior width over
            error, (n, k); the lower Cholesky factor of M, (k, k); and the
            most probable coefficients over their prior width, (k,).
    """
    sigma = jnp.sqrt(variance)
    design = spectrum.polynomials * spectrum.widths[None]
    design = design * (model / sigma)[:, None]
    matrix = dot(design.T, design) + np.eye(design.shape[1])
    factor = jnp.linalg.cholesky(matrix)
    projected = dot(design.T, (spectrum.flux - model) / sigma)
    half = solve_triangular(factor, projected, lower=True)
    return design, factor, solve_triangular(factor.T, half, lower=False)


def _flux_density(
    name: str, value: unyt_array, lam: NDArray[np.float64]
) -> NDArray[np.float64]:
    """Return a flux density in nJy."""
    expected = (
        f"{name} must be a flux density, in units that convert to "
        f"{_PER_FREQUENCY} or {_PER_WAVELENGTH}"
    )
    try:
        return in_stated_units(name, value, _PER_FREQUENCY)
    except MissingUnits as error:
        raise MissingUnits(f"{expected}, got none.") from error
    except IncorrectUnits:
        pass
    try:
        flam = in_stated_units(name, value, _PER_WAVELENGTH)
    except IncorrectUnits as error:
        raise IncorrectUnits(
            f"{expected}, got units of "
            f"{getattr(value, 'units', getattr(value, 'unit', None))}."
        ) from error
    # A wrong shape is reported by the caller.
    return flam * _PER_FLAM * lam**2 if flam.shape == lam.shape else flam


def _check_used(
    what: str,
    valid: NDArray[np.bool_],
    values: NDArray[np.float64],
    lam: NDArray[np.float64],
    used: NDArray[np.bool_],
) -> None:
    """Raise unless values are valid in all pixels that are used."""
    (wrong,) = np.nonzero(used & ~valid)
    if len(wrong):
        raise InconsistentArguments(
            f"{what} in pixels that are used, got {values[wrong[0]]:g} nJy "
            f"at {lam[wrong[0]]:g} Angstrom and in {len(wrong) - 1} others. "
            "Leave them out with mask=."
        )


def _polynomials(
    lam: NDArray[np.float64],
    used: NDArray[np.bool_],
    degree: int | None,
    width: ArrayLike | None,
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Return the polynomials of the calibration (n, k), and widths (k,)."""
    if degree is None:
        if width is not None:
            raise InconsistentArguments(
                "calibration_width is for the coefficients of a polynomial, "
                f"got {width} without calibration_degree. Give the degree, or "
                "leave out the width."
            )
        return np.zeros((len(lam), 0)), np.zeros(0)
    check_whole("calibration_degree", degree, 0, int(used.sum()) - 1)
    widths = np.asarray(_WIDTH if width is None else width, np.float64)
    if widths.shape not in ((), (degree + 1,)):
        raise InconsistentArguments(
            f"calibration_width must be one number, or {degree + 1} for a "
            f"polynomial of degree {degree}, got an array of shape "
            f"{widths.shape}."
        )
    for number in widths.ravel():
        check_number("calibration_width", float(number), 0.0)
    low, high = lam[used][[0, -1]]
    x = (2.0 * lam - low - high) / (high - low if high > low else 1.0)
    # Masked pixels beyond the ends do not count.
    polynomials = legendre.legvander(np.clip(x, -1.0, 1.0), degree)
    return polynomials, np.broadcast_to(widths, degree + 1)
