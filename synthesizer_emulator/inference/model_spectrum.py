"""One spectrum of an emulator as a spectrograph sees it, beside data.

`model_spectrum` moves and broadens a spectrum, and `compare_with` scales it
to an observed one. Fits and their posteriors are in `inference.Fit`; this is
for a first look at given parameters.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import jax
import numpy as np
from jax import Array
from jax.typing import ArrayLike
from numpy.typing import NDArray
from synthesizer.exceptions import InconsistentArguments, MissingSpectraType
from synthesizer.utils import depluralize
from unyt import nJy, unyt_array

from synthesizer_emulator.emulator.emulator import Emulator
from synthesizer_emulator.inference.spectrograph import (
    Spectrograph,
    interpolate,
)
from synthesizer_emulator.inference.spectrum import LIGHT, Spectrum
from synthesizer_emulator.units import in_units
from synthesizer_emulator.validation import check_number, nearest
from synthesizer_emulator.wavelengths import gaps

# The spectrum that is drawn if there are several.
_USUAL = "incident"

# The energy, relative to the largest, that single precision can't tell from
# zero after a Fourier transform.
_LOST = 1e-6

# The rounding of wavelengths in single precision.
_SINGLE = 1e-6

# The fewest wavelengths of a model, as for `Spectrograph`.
_FEWEST = 4

# The number of gaps that a message names.
_SHOWN = 3

# Units in which wavelengths may be by mistake, in Angstrom.
_LONGER_UNITS = {"nm": 10.0, "micron": 1e4}

# Short names of axes, besides their singular.
_SHORT = {"Z": "metallicities"}


@dataclass(frozen=True)
class Motions:
    """How the matter that emits a spectrum moves.

    Attributes:
        redshift (float): The redshift.
        rv (float): The radial velocity in km/s, which multiplies wavelengths
            by 1 + v / c, as in the IAU's Resolution C1 of 2000; in addition
            to the redshift.
        sigma (float): The velocity dispersion, km/s.
        vsini (float): The projected rotational velocity of a star, km/s.
        vmac (float): Its macroturbulent velocity, km/s.
    """

    redshift: float = 0.0
    rv: float = 0.0
    sigma: float = 0.0
    vsini: float = 0.0
    vmac: float = 0.0

    def __post_init__(self) -> None:
        """Check the velocities.

        Raises:
            InconsistentArguments: If one is out of range.
        """
        check_number("redshift", self.redshift, -0.5, 1e4)
        check_number("rv", self.rv, -0.4 * LIGHT, LIGHT)
        for name in ("sigma", "vsini", "vmac"):
            check_number(name, getattr(self, name), 0.0, 0.1 * LIGHT)

    @property
    def broaden(self) -> bool:
        """Whether they broaden lines."""
        return any((self.sigma, self.vsini, self.vmac))

    @property
    def stretch(self) -> float:
        """The observed wavelength over that at rest."""
        return (1.0 + self.redshift) * (1.0 + self.rv / LIGHT)


@dataclass(frozen=True, eq=False)
class ModelSpectrum:
    """A spectrum of an emulator at observed wavelengths.

    Attributes:
        lam (np.ndarray of float): The observed wavelengths, Angstrom, (n,).
        values (np.ndarray of float): The luminosity density, in the units of
            the grid; NaN where a broadened spectrum is fainter than rounding
            errors, (n,).
        units (str): These units.
        title (str): The grid, the spectrum and the point.
        is_shifted (bool): Whether a redshift or a radial velocity has moved
            the wavelengths, which otherwise are those at rest.
        gaps (tuple of tuple): The ends of the gaps between the wavelengths
            of the emulator, as observed, Angstrom. In these the values are
            NaN, and a line should be broken.
    """

    lam: NDArray[np.float64]
    values: NDArray[np.float64]
    units: str
    title: str
    is_shifted: bool = False
    gaps: tuple[tuple[float, float], ...] = ()

    def in_gap(self, lam: NDArray[np.float64]) -> NDArray[np.bool_]:
        """Return the mask of observed wavelengths (n,) in the gaps."""
        inside = [(lam > low) & (lam < high) for low, high in self.gaps]
        return np.logical_or.reduce([np.zeros(len(lam), bool), *inside])


@dataclass(frozen=True, eq=False)
class Comparison:
    """An observed spectrum, and a model that is scaled to it.

    Attributes:
        lam (np.ndarray of float): The wavelengths, Angstrom, (n,).
        flux (np.ndarray of float): The observed flux densities, nJy, NaN
            where they are masked, (n,).
        error (np.ndarray of float): Their errors, nJy, NaN where masked or
            unknown, (n,).
        model (np.ndarray of float): The scaled model, nJy, NaN where there is
            none, (n,).
        residuals (np.ndarray of float): The difference in standard
            deviations, or as a fraction of the model without errors; NaN
            where one of them is missing, (n,).
        chi_squared (float): The sum of squared residuals over the number of
            pixels compared less one; NaN without errors.
        left_out (Mapping): The number of pixels that are not compared, by
            the reason.
    """

    lam: NDArray[np.float64]
    flux: NDArray[np.float64]
    error: NDArray[np.float64]
    model: NDArray[np.float64]
    residuals: NDArray[np.float64]
    chi_squared: float
    left_out: Mapping[str, int] = field(default_factory=dict)

    @property
    def note(self) -> str:
        """How many pixels are not compared, and why; empty for none."""
        if not self.left_out:
            return ""
        reasons = ", ".join(f"{n} {why}" for why, n in self.left_out.items())
        return (
            f"{sum(self.left_out.values())} of {len(self.lam)} pixels are not "
            f"compared: {reasons}"
        )


def point_at(emulator: Emulator, values: Mapping[str, Any]) -> NDArray:
    """Return axis values by name as a point (d,).

    Args:
        emulator (Emulator): The emulator.
        values (Mapping): The value on each axis, by the name of the axis or
            its singular (`Z` for metallicity), with units or in those of the
            axis. Other axes have the middle of the domain.

    Raises:
        InconsistentArguments: If an axis is unknown or given twice, or a
            value is not finite.
        IncorrectUnits: If a value does not convert to the units of its axis.
    """
    known = {depluralize(axis): axis for axis in emulator.axes}
    known |= {axis: axis for axis in emulator.axes}
    known |= {k: axis for k, axis in _SHORT.items() if axis in emulator.axes}
    point = emulator.middle()
    given: list[str] = []
    for name, value in values.items():
        axis = known.get(name)
        if axis is None or axis in given:
            problem = "an unknown axis" if axis is None else "an axis twice"
            raise InconsistentArguments(
                f"The values must be of {', '.join(emulator.axes)}; got "
                f"{problem}, '{name}'." + nearest(name, known)
            )
        given.append(axis)
        index = emulator.axes.index(axis)
        point[index] = float(
            in_units(axis, value, emulator.axes_units.get(axis))
        )
        if not np.isfinite(point[index]):
            raise InconsistentArguments(
                f"The value of {axis} must be finite, got {value}."
            )
    return point


def model_spectrum(
    emulator: Emulator,
    point: NDArray[np.float64],
    spectrum: str | None = None,
    motions: Motions | None = None,
    resolution: ArrayLike | unyt_array | None = None,
    lam: NDArray[np.float64] | None = None,
    lam_lims: tuple[float, float] = (0.0, np.inf),
) -> ModelSpectrum:
    """Return a spectrum of an emulator, moved and broadened.

    Args:
        emulator (Emulator): The emulator.
        point (np.ndarray of float): The axis values, (d,).
        spectrum (str): The name of the spectrum; by default `incident`, or
            the only one.
        motions (Motions): The motions; at rest by default.
        resolution (float/unyt_array): The line-spread function of the data,
            in the forms of `Spectrum.from_fluxes`; None if negligible.
        lam (np.ndarray of float): The observed wavelengths, Angstrom,
            ascending, (n,); by default those of the emulator, redshifted.
        lam_lims (tuple of float): The range of observed wavelengths to keep,
            Angstrom.

    Returns:
        ModelSpectrum: The spectrum.

    Raises:
        InconsistentArguments: If the point is outside of the domain, if
            wavelengths are beyond those of the emulator, or if fewer than
            two are kept.
        MissingSpectraType: If the spectrum is unknown.
    """
    motions = Motions() if motions is None else motions
    name = _spectrum_name(emulator) if spectrum is None else spectrum
    pixels = motions.stretch * emulator.lam if lam is None else lam
    kept = (pixels >= lam_lims[0]) & (pixels <= lam_lims[1])
    if np.count_nonzero(kept) < 2:
        raise InconsistentArguments(
            "At least two wavelengths must be within lam_lims, "
            f"{lam_lims[0]:g} to {lam_lims[1]:g} Angstrom; they are from "
            f"{pixels[0]:g} to {pixels[-1]:g} Angstrom."
        )
    pixels = pixels[kept]
    _check_covered(pixels, emulator.lam, motions.stretch)
    title = f"{emulator.metadata.grid_name}, {name}".removeprefix(", ")
    return ModelSpectrum(
        pixels,
        _observe(emulator, point, name, motions, resolution, pixels),
        emulator.units[f"spectra/{name}"],
        f"{title}: {emulator.describe_point(point)}",
        motions.stretch != 1.0,
        tuple(
            (motions.stretch * low, motions.stretch * high)
            for low, high in gaps(emulator.lam, emulator.metadata.windows)
        ),
    )


def _check_covered(
    pixels: NDArray[np.float64], lam: NDArray[np.float64], stretch: float
) -> None:
    """Raise unless the emulator has the wavelengths of all pixels.

    Args:
        pixels (np.ndarray of float): The observed wavelengths, Angstrom, (n,).
        lam (np.ndarray of float): Those of the emulator, at rest, (nlam,).
        stretch (float): The observed wavelength over that at rest.
    """
    low, high = stretch * lam[0], stretch * lam[-1]
    # Wavelengths may be rounded to single precision.
    if pixels[0] >= low * (1.0 - _SINGLE) and (
        pixels[-1] <= high * (1.0 + _SINGLE)
    ):
        return
    moved = "" if stretch == 1.0 else " with its redshift and radial velocity"
    remedy = (
        f"Cut the data with --lam-lims {_digits(low, np.ceil)}:"
        f"{_digits(high, np.floor)} (lam_lims=)."
    )
    for unit, factor in _LONGER_UNITS.items():
        first, last = factor * pixels[[0, -1]]
        if pixels[-1] < low and first < high and last > low:
            remedy = (
                f"If the data are in {unit}, read them with --lam-units "
                f"{unit}."
            )
            break
    raise InconsistentArguments(
        f"The emulator must have all wavelengths of the data, {pixels[0]:.6g} "
        f"to {pixels[-1]:.6g} Angstrom; it has {low:.6g} to {high:.6g} "
        f"Angstrom{moved}. {remedy}"
    )


def _digits(
    value: float, rounded: Callable[[float], float], digits: int = 6
) -> str:
    """Return a number with some digits, rounded up or down."""
    unit = 10.0 ** (np.floor(np.log10(value)) - digits + 1)
    return f"{rounded(value / unit) * unit:.{digits}g}"


def _observe(
    emulator: Emulator,
    point: NDArray[np.float64],
    name: str,
    motions: Motions,
    resolution: ArrayLike | unyt_array | None,
    pixels: NDArray[np.float64],
) -> NDArray[np.float64]:
    """Return a spectrum at observed pixels (n,), as in `model_spectrum`.

    Each range of wavelengths without a gap is broadened by itself.
    """
    fnu = emulator.spectrum(name, point)
    at = pixels / motions.stretch
    values = np.full(len(pixels), np.nan)
    pieces = emulator.pieces
    for piece in pieces:
        lam = emulator.lam[piece]
        inside = (at >= lam[0] * (1.0 - _SINGLE)) & (
            at <= lam[-1] * (1.0 + _SINGLE)
        )
        if inside.any() and (len(lam) >= _FEWEST or len(pieces) == 1):
            seen = _observe_piece(
                lam, fnu[piece], motions, resolution, pixels, inside
            )
            values[inside] = seen[inside]
    return values


def _observe_piece(
    lam: NDArray[np.float64],
    fnu: Array,
    motions: Motions,
    resolution: ArrayLike | unyt_array | None,
    pixels: NDArray[np.float64],
    inside: NDArray[np.bool_],
) -> NDArray[np.float64]:
    """Return a spectrum without gaps at the pixels in a mask (n,)."""
    if resolution is None and not motions.broaden:
        at = pixels / motions.stretch
        return interpolate(lam, np.asarray(fnu, np.float64), at)
    z = motions.stretch - 1.0
    ones = np.ones(len(pixels)) * nJy
    observed = Spectrum.from_fluxes(
        pixels, ones, ones, resolution, mask=inside
    )
    spectrograph = Spectrograph.from_spectrum(
        observed,
        lam,
        None,
        redshifts=(z, z),
        dispersions=(motions.sigma, motions.sigma),
        vsini_max=motions.vsini,
        vmac_max=motions.vmac,
    )
    # One program, as each operation by itself takes longer to compile.
    fluxes = jax.jit(Spectrograph.fluxes)(
        spectrograph,
        observed,
        fnu,
        z,
        motions.sigma,
        motions.vsini or None,
        motions.vmac or None,
    )
    values = np.where(inside, np.asarray(fluxes, np.float64), np.nan)
    energy = values / pixels
    return np.where(energy < _LOST * np.nanmax(energy), np.nan, values)


def compare_with(
    model: ModelSpectrum,
    flux: NDArray[np.float64],
    error: NDArray[np.float64] | None,
) -> Comparison:
    """Scale a model to observed flux densities by least squares.

    Pixels without a flux density, without an error that is finite and
    positive, or without a model are left out, and counted.

    Args:
        model (ModelSpectrum): The model at the observed wavelengths, (n,).
        flux (np.ndarray of float): The flux densities, nJy, (n,).
        error (np.ndarray of float): Their standard deviations, nJy, (n,);
            None if unknown, so that all pixels have the same weight.

    Raises:
        InconsistentArguments: If no error is finite and positive, or fewer
            than two pixels are left, or the best scale is not positive.
    """
    n, has_errors = len(flux), error is not None
    sigma = np.ones(n) if error is None else np.asarray(error, np.float64)
    known = np.isfinite(sigma) & (sigma > 0.0)
    if not known.any():
        raise InconsistentArguments(
            "The errors of the data must be positive and finite, but none of "
            f"{n} is: the first is {sigma[0]:g}. Correct the column of the "
            "errors; or leave it out, so that all pixels have the same weight."
        )
    measured = np.isfinite(flux)
    in_gap = model.in_gap(model.lam)
    kept = known & measured & np.isfinite(model.values)
    counts = {
        "without a flux": ~measured,
        "without a positive, finite error": measured & ~known,
        f"in gaps of the emulator's wavelengths ({_ranges(model.gaps)})": (
            measured & known & in_gap & ~kept
        ),
        "where the model is too faint to be known": (
            measured & known & ~in_gap & ~kept
        ),
    }
    left_out = {
        why: int(np.count_nonzero(mask))
        for why, mask in counts.items()
        if mask.any()
    }
    values, data = model.values[kept], flux[kept]
    if len(data) < 2 or not values.any():
        reasons = ", ".join(f"{m} {why}" for why, m in left_out.items())
        raise InconsistentArguments(
            "At least two pixels must have a flux density, an error and a "
            f"model that is not zero, got {len(data)} of {n}"
            f"{f' ({reasons})' if reasons else ''}."
        )
    weighted = values / sigma[kept] ** 2
    factor = float((weighted @ data) / (weighted @ values))
    if not factor > 0.0:
        raise InconsistentArguments(
            "The best scale of the model must be positive, but is "
            f"{factor:.3g}: with weights by their errors, most of the "
            f"{len(data)} flux densities are negative, or all are zero. Check "
            "their column and its units, add a background that was "
            "subtracted, or cut the data with --lam-lims (lam_lims=)."
        )
    scaled = factor * model.values
    masked = known & measured
    residuals = np.where(kept, flux - scaled, np.nan)
    # Masked errors may be zero.
    unit = sigma if has_errors else scaled
    residuals /= np.where(kept & (unit != 0.0), unit, np.nan)
    chi_squared = float(np.sum(residuals[kept] ** 2)) / (len(data) - 1)
    return Comparison(
        model.lam,
        np.where(masked, flux, np.nan),
        np.where(masked & has_errors, sigma, np.nan),
        scaled,
        residuals,
        chi_squared if has_errors else float("nan"),
        left_out,
    )


def _ranges(gaps: Sequence[tuple[float, float]]) -> str:
    """Return ranges of wavelengths as text."""
    shown = [f"{low:.6g} to {high:.6g}" for low, high in gaps[:_SHOWN]]
    more = ", ..." if len(gaps) > _SHOWN else ""
    return f"{', '.join(shown)}{more} Angstrom"


def _spectrum_name(emulator: Emulator) -> str:
    """Return the spectrum to draw if none is named."""
    available = emulator.available_spectra
    if _USUAL in available:
        return _USUAL
    if len(available) == 1:
        return available[0]
    raise MissingSpectraType(
        "Name a spectrum of the emulator, with --spectrum (spectrum=): "
        f"{', '.join(available) or 'it has none'}."
    )
