"""Magnitudes of composite galaxies, native against emulated.

A thousand random galaxies are a product of their star formation and metal
enrichment histories (SFZH) with either grid; their fluxes in filters are
Synthesizer's.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field
from itertools import pairwise
from pathlib import Path
from typing import Self

import jax
import numpy as np
from astropy.cosmology import Planck18
from numpy.typing import NDArray
from synthesizer.emission_models.transformers.igm import Inoue14
from synthesizer.emissions import Sed
from synthesizer.exceptions import UnmetDependency, UnrecognisedOption
from synthesizer.instruments.filters import Filter, FilterCollection
from unyt import angstrom, unyt_array

from synthesizer_emulator.emulator.metrics import is_bright
from synthesizer_emulator.galaxies.histories import sfzh
from synthesizer_emulator.gridfile.header import Axis
from synthesizer_emulator.units import parse_unit

# The wavelengths in Angstrom between which the transmission of NIRCam's
# wide bands exceeds half its peak (curves as astro-sedpy has them).
NIRCAM_WIDE = {
    "JWST/NIRCam.F070W": (6240, 7810),
    "JWST/NIRCam.F090W": (7960, 10050),
    "JWST/NIRCam.F115W": (10130, 12810),
    "JWST/NIRCam.F150W": (13320, 16680),
    "JWST/NIRCam.F200W": (17550, 22270),
    "JWST/NIRCam.F277W": (24220, 31310),
    "JWST/NIRCam.F356W": (31360, 39790),
    "JWST/NIRCam.F444W": (38810, 49820),
}

# Galaxies share redshifts, so that Synthesizer can take them in batches.
_REDSHIFTS = np.linspace(0.0, 5.0, 26)

_MASS = 1e10  # Msun


@dataclass(frozen=True)
class Histories:
    """Random galaxies on the axes of a grid.

    Attributes:
        sfzh (np.ndarray of float): The initial stellar mass in Msun at
            each node, (n, n1, ..., nd).
        redshift (np.ndarray of float): Shape (n,).
        peak_age (np.ndarray of float): When star formation peaked, in yr
            before observation, (n,).
        max_age (np.ndarray of float): When it began, (n,).
        tau (np.ndarray of float): The width of the log-normal, (n,).
        metallicity (np.ndarray of float): The mean metallicity, (n,).
        metallicity_sigma (np.ndarray of float): Its spread, (n,).
    """

    sfzh: NDArray[np.float64] = field(repr=False)
    redshift: NDArray[np.float64]
    peak_age: NDArray[np.float64]
    max_age: NDArray[np.float64]
    tau: NDArray[np.float64]
    metallicity: NDArray[np.float64]
    metallicity_sigma: NDArray[np.float64]


@dataclass(frozen=True)
class MagnitudeErrors:
    """Errors of one magnitude or colour over galaxies, in mag.

    Attributes:
        galaxies (int): How many have it.
        p50 (float): The median size of the error.
        p95 (float): The 95th percentile.
        p99 (float): The 99th percentile.
        worst (float): The largest.
        bias (float): The mean error with its sign.
    """

    galaxies: int
    p50: float
    p95: float
    p99: float
    worst: float
    bias: float

    @classmethod
    def from_errors(cls, errors: NDArray[np.float64]) -> Self:
        """Summarise errors, NaN where there is none."""
        known = errors[~np.isnan(errors)]
        if not len(known):
            nothing = float("nan")
            return cls(0, nothing, nothing, nothing, nothing, nothing)
        levels = np.quantile(np.abs(known), [0.5, 0.95, 0.99, 1.0])
        p50, p95, p99, worst = map(float, levels)
        return cls(len(known), p50, p95, p99, worst, float(known.mean()))


@dataclass(frozen=True)
class PhotometryErrors:
    """Errors of magnitudes and colours of composite galaxies.

    Attributes:
        summary (MagnitudeErrors): Over all bands and galaxies.
        magnitudes (dict): A MagnitudeErrors for each band.
        colours (dict): One for the colour of each two neighbouring bands.
        redshift (np.ndarray of float): The galaxies' redshifts, (n,).
        errors (np.ndarray of float): Emulated minus native magnitude,
            (n, bands); NaN where the band is dark.
    """

    summary: MagnitudeErrors
    magnitudes: dict[str, MagnitudeErrors]
    colours: dict[str, MagnitudeErrors]
    redshift: NDArray[np.float64] = field(repr=False)
    errors: NDArray[np.float64] = field(repr=False)


def has_histories(axes: Sequence[Axis]) -> bool:
    """Return whether galaxies with histories can be put on these axes."""
    return [axis.name for axis in axes[:2]] == ["ages", "metallicities"]


def random_histories(axes: Sequence[Axis], n: int, seed: int) -> Histories:
    """Draw galaxies with log-normal histories.

    As Synthesizer's `SFH.LogNormal` and `ZDist.Normal` have them; from
    redshift 0 to 5, never older than the Universe then. On further axes
    each galaxy has one node.

    Args:
        axes (sequence of Axis): The axes of the grid, ages and
            metallicities first.
        n (int): How many.
        seed (int): Of the draw.

    Returns:
        Histories: The galaxies, 1e10 Msun each.
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
    share = jax.vmap(
        lambda history, metals: sfzh(
            ages, axes[1].values, "LogNormal", "Normal", history, metals
        )
    )(
        {"tau": tau, "peak_age": peak, "max_age": begin},
        {"mean": mean, "sigma": sigma},
    )
    further = [len(axis.values) for axis in axes[2:]]
    node = rng.integers(np.prod(further, dtype=int), size=n)
    mass = np.zeros((*share.shape, np.prod(further, dtype=int)))
    mass[np.arange(n), :, :, node] = _MASS * np.asarray(share)
    mass = mass.reshape(*share.shape, *further)
    return Histories(mass, redshift, peak, begin, tau, mean, sigma)


def named_filters(name: str) -> FilterCollection:
    """Return filters by what the command line calls them.

    Args:
        name (str): `top-hats` or `curves`, both of NIRCam's wide bands, or
            the path of a file that `FilterCollection.write_filters` wrote.

    Returns:
        FilterCollection: The filters.

    Raises:
        UnrecognisedOption: If there is no such file.
        UnmetDependency: If the curves need a package that is missing.
    """
    known = {"top-hats": nircam_top_hats, "curves": nircam_curves}
    if name in known:
        return known[name]()
    if not Path(name).is_file():
        raise UnrecognisedOption(
            f"No filters '{name}'; there are {', '.join(known)}, or name a "
            "file that FilterCollection.write_filters wrote."
        )
    return FilterCollection(path=name)


def nircam_top_hats() -> FilterCollection:
    """Return NIRCam's eight wide bands as top hats."""
    return FilterCollection(
        tophat_dict={
            code: {"lam_min": low * angstrom, "lam_max": high * angstrom}
            for code, (low, high) in NIRCAM_WIDE.items()
        }
    )


def nircam_curves() -> FilterCollection:
    """Return NIRCam's eight wide bands with their real transmission.

    Raises:
        UnmetDependency: If the package astro-sedpy is not installed.
    """
    try:
        from sedpy.observate import Filter as Curve
    except ImportError as error:
        raise UnmetDependency(
            "The transmission curves come with astro-sedpy: install it with "
            "`pip install astro-sedpy`, or use the top hats."
        ) from error
    filters = []
    for code in NIRCAM_WIDE:
        curve = Curve(f"jwst_{code.rpartition('.')[2].lower()}")
        filters.append(
            Filter(
                code,
                transmission=curve.transmission / curve.transmission.max(),
                new_lam=curve.wavelength * angstrom,
            )
        )
    return FilterCollection(filters=filters)


def observed_fluxes(
    lam: NDArray[np.float64],
    lnu: NDArray[np.float64],
    redshift: NDArray[np.float64],
    filters: FilterCollection,
) -> NDArray[np.float64]:
    """Return fluxes in filters, by Synthesizer.

    With the intergalactic absorption of Inoue et al. (2014) in the
    cosmology Planck18; at redshift zero from 10 pc.

    Args:
        lam (np.ndarray of float): Rest wavelengths in Angstrom, (nlam,).
        lnu (np.ndarray of float): Spectra in erg/s/Hz, (n, nlam).
        redshift (np.ndarray of float): Their redshifts, (n,).
        filters (FilterCollection): The filters.

    Returns:
        np.ndarray of float: Flux densities in nJy, (n, bands).
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


def compare(
    native: NDArray[np.float64],
    emulated: NDArray[np.float64],
    redshift: NDArray[np.float64],
    codes: Sequence[str],
) -> PhotometryErrors:
    """Return the errors of magnitudes and colours.

    Args:
        native (np.ndarray of float): Fluxes, (n, bands).
        emulated (np.ndarray of float): Likewise.
        redshift (np.ndarray of float): The galaxies' redshifts, (n,).
        codes (sequence of str): The names of the bands, by wavelength.

    Returns:
        PhotometryErrors: Without bands that are dark.
    """
    ratio = np.divide(
        emulated,
        native,
        out=np.full(native.shape, np.nan),
        where=is_bright(native),
    )
    with np.errstate(divide="ignore"):
        errors = -2.5 * np.log10(ratio)
    # By the last part of its name: JWST/NIRCam.F070W is F070W.
    names = [code.rpartition(".")[2] for code in codes]
    columns = dict(zip(names, errors.T, strict=True))
    return PhotometryErrors(
        summary=MagnitudeErrors.from_errors(errors),
        magnitudes={
            name: MagnitudeErrors.from_errors(column)
            for name, column in columns.items()
        },
        colours={
            f"{blue} - {red}": MagnitudeErrors.from_errors(
                columns[blue] - columns[red]
            )
            for blue, red in pairwise(names)
        },
        redshift=redshift,
        errors=errors,
    )
