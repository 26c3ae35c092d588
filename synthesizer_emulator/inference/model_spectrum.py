"""One spectrum of an emulator as a spectrograph sees it, beside data.

`model_spectrum` moves and broadens a spectrum, and `compare_with` scales it
to an observed one. Fits and their posteriors are in `inference.Fit`; this is
for a first look at given parameters.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import jax
import numpy as np
from jax.typing import ArrayLike
from numpy.typing import NDArray
from synthesizer.exceptions import InconsistentArguments, MissingSpectraType
from synthesizer.utils import depluralize
from unyt import nJy, unyt_array

from synthesizer_emulator.emulator.emulator import Emulator
from synthesizer_emulator.inference.spectrograph import Spectrograph
from synthesizer_emulator.inference.spectrum import LIGHT, Spectrum
from synthesizer_emulator.units import in_units
from synthesizer_emulator.validation import check_number, nearest

# The spectrum that is drawn if there are several.
_USUAL = "incident"

# The energy, relative to the largest, that single precision can't tell from
# zero after a Fourier transform.
_LOST = 1e-6

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
    """

    lam: NDArray[np.float64]
    values: NDArray[np.float64]
    units: str
    title: str
    is_shifted: bool = False


@dataclass(frozen=True, eq=False)
class Comparison:
    """An observed spectrum, and a model that is scaled to it.

    Attributes:
        lam (np.ndarray of float): The wavelengths, Angstrom, (n,).
        flux (np.ndarray of float): The observed flux densities, nJy, (n,).
        error (np.ndarray of float): Their errors, nJy, NaN if unknown, (n,).
        model (np.ndarray of float): The scaled model, nJy, (n,).
        residuals (np.ndarray of float): The difference in standard
            deviations, or as a fraction of the model without errors, (n,).
        chi_squared (float): The sum of squared residuals over the number of
            pixels less one; NaN without errors.
    """

    lam: NDArray[np.float64]
    flux: NDArray[np.float64]
    error: NDArray[np.float64]
    model: NDArray[np.float64]
    residuals: NDArray[np.float64]
    chi_squared: float


def point_at(emulator: Emulator, values: Mapping[str, Any]) -> NDArray:
    """Return axis values by name as a point (d,).

    Args:
        emulator (Emulator): The emulator.
        values (Mapping): The value on each axis, by the name of the axis or
            its singular (`Z` for metallicity), with units or in those of the
            axis. Other axes have the middle of the domain.

    Raises:
        InconsistentArguments: If an axis is unknown, or given twice.
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
    title = f"{emulator.metadata.grid_name}, {name}".removeprefix(", ")
    return ModelSpectrum(
        pixels,
        _observe(emulator, point, name, motions, resolution, pixels),
        emulator.units[f"spectra/{name}"],
        f"{title}: {emulator.describe_point(point)}",
        motions.stretch != 1.0,
    )


def _observe(
    emulator: Emulator,
    point: NDArray[np.float64],
    name: str,
    motions: Motions,
    resolution: ArrayLike | unyt_array | None,
    pixels: NDArray[np.float64],
) -> NDArray[np.float64]:
    """Return a spectrum at observed pixels (n,), as in `model_spectrum`."""
    z = motions.stretch - 1.0
    ones = np.ones(len(pixels)) * nJy
    observed = Spectrum.from_fluxes(pixels, ones, ones, resolution)
    spectrograph = Spectrograph.from_spectrum(
        observed,
        emulator.lam,
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
        emulator.spectrum(name, point),
        z,
        motions.sigma,
        motions.vsini or None,
        motions.vmac or None,
    )
    values = np.asarray(fluxes, np.float64)
    energy = values / pixels
    return np.where(energy < _LOST * np.nanmax(energy), np.nan, values)


def compare_with(
    model: ModelSpectrum,
    flux: NDArray[np.float64],
    error: NDArray[np.float64],
) -> Comparison:
    """Scale a model to observed flux densities by least squares.

    Args:
        model (ModelSpectrum): The model at the observed wavelengths, (n,).
        flux (np.ndarray of float): The flux densities, nJy, (n,).
        error (np.ndarray of float): Their standard deviations, nJy, (n,);
            without any that is finite and positive, all pixels have the same
            weight. Otherwise pixels without one are left out.

    Raises:
        InconsistentArguments: If fewer than two pixels are left.
    """
    known = np.isfinite(error) & (error > 0.0)
    has_errors = bool(known.any())
    kept = np.isfinite(flux) & np.isfinite(model.values)
    kept &= known if has_errors else True
    values, data = model.values[kept], flux[kept]
    if len(data) < 2 or not values.any():
        raise InconsistentArguments(
            "At least two pixels must have a flux density, an error and a "
            f"model that is not zero, got {len(data)} of {len(flux)}."
        )
    sigma = error[kept] if has_errors else np.ones(len(data))
    weighted = values / sigma**2
    scaled = values * (weighted @ data) / (weighted @ values)
    residuals = data - scaled
    residuals /= sigma if has_errors else np.where(scaled, scaled, np.nan)
    chi_squared = float(residuals @ residuals) / (len(data) - 1)
    return Comparison(
        model.lam[kept],
        data,
        error[kept],
        scaled,
        residuals,
        chi_squared if has_errors else float("nan"),
    )


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
