"""Errors of the magnitudes and colours of composite galaxies.

Random star formation and metal enrichment histories (SFZH) are combined with
native and with emulated spectra; Synthesizer computes the fluxes in filters.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field
from itertools import pairwise

import jax
import numpy as np
from astropy.cosmology import Planck18
from numpy.typing import NDArray
from synthesizer.emission_models.transformers.igm import Inoue14
from synthesizer.emissions import Sed
from synthesizer.instruments.filters import FilterCollection
from unyt import unyt_array

from synthesizer_emulator.emulator.metrics import is_bright
from synthesizer_emulator.evaluation.measures.quantiles import Quantiles
from synthesizer_emulator.galaxies.histories import sfzh
from synthesizer_emulator.gridfile.header import Axis
from synthesizer_emulator.units import parse_unit

# Few redshifts, because one call of Synthesizer takes a single redshift.
_REDSHIFTS = np.linspace(0.0, 5.0, 26)

_MASS = 1e10  # Msun


@dataclass(frozen=True)
class Histories:
    """Random star formation and metal enrichment histories on a grid.

    Attributes:
        sfzh (np.ndarray of float): The initial stellar mass in Msun at
            each node, (n, n1, ..., nd).
        redshift (np.ndarray of float): The redshifts, (n,).
        peak_age (np.ndarray of float): The stellar age in yr at which star
            formation peaked, (n,).
        max_age (np.ndarray of float): The age in yr at which it began, (n,).
        tau (np.ndarray of float): The width of the log-normal, (n,).
        metallicity (np.ndarray of float): The mean metallicity, (n,).
        metallicity_sigma (np.ndarray of float): The standard deviation of
            the metallicity, (n,).
    """

    sfzh: NDArray[np.float64] = field(repr=False)
    redshift: NDArray[np.float64]
    peak_age: NDArray[np.float64]
    max_age: NDArray[np.float64]
    tau: NDArray[np.float64]
    metallicity: NDArray[np.float64]
    metallicity_sigma: NDArray[np.float64]


@dataclass(frozen=True)
class PhotometryErrors:
    """Errors of magnitudes and colours of composite galaxies, in mag.

    Attributes:
        summary (Quantiles): Quantiles over all bands and galaxies.
        magnitudes (dict): The Quantiles of each band over galaxies.
        colours (dict): The Quantiles of each colour of neighbouring bands.
        redshift (np.ndarray of float): The redshifts of the galaxies, (n,).
        errors (np.ndarray of float): Emulated minus native magnitude,
            (n, bands); NaN in bands fainter than `SCORED_FLOOR` times the
            brightest band.
    """

    summary: Quantiles
    magnitudes: dict[str, Quantiles]
    colours: dict[str, Quantiles]
    redshift: NDArray[np.float64] = field(repr=False)
    errors: NDArray[np.float64] = field(repr=False)


def has_histories(axes: Sequence[Axis]) -> bool:
    """Return whether the first axes are ages and several metallicities."""
    names = [axis.name for axis in axes[:2]]
    several = all(len(axis.values) > 1 for axis in axes[:2])
    return names == ["ages", "metallicities"] and several


def random_histories(axes: Sequence[Axis], n: int, seed: int) -> Histories:
    """Draw galaxies with log-normal star formation histories.

    The histories are those of `SFH.LogNormal` and `ZDist.Normal` in
    Synthesizer, at redshifts 0 to 5; no star is older than the Universe. All
    stars of a galaxy are at one node of any further axes.

    Args:
        axes (sequence of Axis): The axes of the grid, ages and
            metallicities first.
        n (int): The number of galaxies.
        seed (int): The seed of the draw.

    Returns:
        Histories: The galaxies, with an initial mass of 1e10 Msun each.
    """
    rng = np.random.default_rng(seed)
    ages = unyt_array(axes[0].values, parse_unit(axes[0].units)).to_value("yr")
    metals = axes[1].values
    redshift = _REDSHIFTS[np.arange(n) % len(_REDSHIFTS)]
    universe = Planck18.age(redshift).to_value("yr")
    peak = 10 ** rng.uniform(7.0, np.log10(0.8 * universe))
    begin = np.minimum(10 * peak, universe)
    tau = rng.uniform(0.1, 1.0, n)
    lowest = max(metals[0], 1e-3 * metals[-1])
    mean = 10 ** rng.uniform(np.log10(lowest), np.log10(metals[-1]), n)
    sigma = 0.3 * mean
    histories = jax.vmap(
        lambda history, metals: sfzh(
            ages, axes[1].values, "LogNormal", "Normal", history, metals
        )
    )
    fractions = jax.jit(histories)(
        {"tau": tau, "peak_age": peak, "max_age": begin},
        {"mean": mean, "sigma": sigma},
    )
    further = [len(axis.values) for axis in axes[2:]]
    node = rng.integers(np.prod(further, dtype=int), size=n)
    mass = np.zeros((*fractions.shape, np.prod(further, dtype=int)))
    mass[np.arange(n), :, :, node] = _MASS * np.asarray(fractions)
    mass = mass.reshape(*fractions.shape, *further)
    return Histories(mass, redshift, peak, begin, tau, mean, sigma)


def observed_fluxes(
    lam: NDArray[np.float64],
    lnu: NDArray[np.float64],
    redshift: NDArray[np.float64],
    filters: FilterCollection,
) -> NDArray[np.float64]:
    """Return observed fluxes in filters in nJy, (n, bands).

    Uses Synthesizer's `Sed` with the intergalactic absorption of Inoue et
    al. (2014, MNRAS 442, 1805) and the cosmology Planck18; galaxies at
    redshift zero are at 10 pc.

    Args:
        lam (np.ndarray of float): Rest wavelengths in Angstrom, (nlam,).
        lnu (np.ndarray of float): Spectra in erg/s/Hz, (n, nlam).
        redshift (np.ndarray of float): The redshifts, (n,).
        filters (FilterCollection): The filters.
    """
    igm = Inoue14()
    fluxes = np.empty((len(lnu), len(filters.filter_codes)))
    for z in np.unique(redshift):
        chosen = redshift == z
        sed = Sed(
            unyt_array(lam, "angstrom"),
            unyt_array(np.ascontiguousarray(lnu[chosen]), "erg/s/Hz"),
        )
        sed.get_fnu(Planck18, float(z), igm=igm)
        bands = sed.get_photo_fnu(filters, verbose=False)
        fluxes[chosen] = bands.photometry.to_value("nJy").T
    return fluxes


def photometry_errors(
    native: NDArray[np.float64],
    emulated: NDArray[np.float64],
    redshift: NDArray[np.float64],
    codes: Sequence[str],
) -> PhotometryErrors:
    """Return the errors of magnitudes and colours of galaxies.

    Args:
        native (np.ndarray of float): Fluxes of native spectra, (n, bands).
        emulated (np.ndarray of float): Fluxes of emulated spectra,
            (n, bands).
        redshift (np.ndarray of float): The redshifts of the galaxies, (n,).
        codes (sequence of str): The filter codes, sorted by wavelength.

    Returns:
        PhotometryErrors: The errors, by the name of the filter after the
            last dot of its code (`F070W` for `JWST/NIRCam.F070W`).
    """
    ratio = np.divide(
        emulated,
        native,
        out=np.full(native.shape, np.nan),
        where=is_bright(native),
    )
    with np.errstate(divide="ignore"):
        errors = -2.5 * np.log10(ratio)
    names = [code.rpartition(".")[2] for code in codes]
    columns = dict(zip(names, errors.T, strict=True))
    return PhotometryErrors(
        summary=Quantiles.from_errors(errors),
        magnitudes={
            name: Quantiles.from_errors(column)
            for name, column in columns.items()
        },
        colours={
            f"{blue} - {red}": Quantiles.from_errors(
                columns[blue] - columns[red]
            )
            for blue, red in pairwise(names)
        },
        redshift=redshift,
        errors=errors,
    )
