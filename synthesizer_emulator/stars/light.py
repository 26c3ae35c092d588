"""The light of stars through a grid: bands, spectra, sizes and images."""

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.interpolate import RegularGridInterpolator
from synthesizer.emissions import Sed
from synthesizer.exceptions import InconsistentArguments
from synthesizer.instruments.filters import FilterCollection
from unyt import unyt_array

from synthesizer_emulator.stars.galaxies import GalaxyStars
from synthesizer_emulator.stars.on_grid import StarAxes


@dataclass(frozen=True, eq=False)
class StarLight:
    """The light that stars of a grid emit.

    The light of a particle is linear between the nodes, and that of the
    nearest node outside, as Synthesizer assigns particles to a grid.

    Attributes:
        lam (np.ndarray of float): The wavelengths, Angstrom, (nlam,).
        spectra (np.ndarray of float): The spectra at the nodes, erg/s/Hz for
            an initial mass of 1 Msun, (n_ages, n_metallicities, nlam).
        codes (tuple of str): The codes of the filters.
        bands (np.ndarray of float): The luminosities in them at the nodes,
            erg/s/Hz/Msun, (n_ages, n_metallicities, n_bands).
        axes (StarAxes): The axes in which it is interpolated.
    """

    lam: NDArray[np.float64]
    spectra: NDArray[np.float64]
    codes: tuple[str, ...]
    bands: NDArray[np.float64]
    axes: StarAxes

    @classmethod
    def from_grid(
        cls, grid: Any, filters: FilterCollection, spectrum: str = "incident"
    ) -> "StarLight":
        """Take the light from a grid of Synthesizer or an emulated one.

        Args:
            grid (Grid): The grid, of ages and metallicities.
            filters (FilterCollection): The filters, in the rest frame.
            spectrum (str): The name of the spectrum.

        Raises:
            InconsistentArguments: If the grid has further axes.
        """
        if len(grid.shape) != 3:
            raise InconsistentArguments(
                "The grid must have only ages and metallicities as axes, but "
                f"has {', '.join(grid.axes)}. Use `collapse` or "
                "`reduce_axis` on the others."
            )
        spectra = np.asarray(grid.spectra[spectrum], np.float64)
        lam = np.asarray(grid.lam.to_value("angstrom"), np.float64)
        sed = Sed(unyt_array(lam, "angstrom"), unyt_array(spectra, "erg/s/Hz"))
        photometry = sed.get_photo_lnu(filters, verbose=False)
        return cls(
            lam,
            spectra,
            tuple(filters.filter_codes),
            np.stack(
                [
                    photometry[code].to_value("erg/s/Hz")
                    for code in filters.filter_codes
                ],
                axis=-1,
            ),
            StarAxes.of_light(grid),
        )

    def luminosities(self, stars: GalaxyStars) -> NDArray[np.float64]:
        """Return the luminosities of stars in bands, erg/s/Hz, (n, bands)."""
        return stars.masses[:, None] * RegularGridInterpolator(
            self.axes.values, self.bands
        )(self.axes.points(stars))

    def spectrum(self, stars: GalaxyStars) -> NDArray[np.float64]:
        """Return the spectrum of all stars, erg/s/Hz, (nlam,)."""
        weights = np.zeros(self.spectra.shape[:2])
        low, above = [], []
        on_axes = self.axes.points(stars).T
        for axis, points in zip(self.axes.values, on_axes, strict=True):
            i = np.clip(np.searchsorted(axis, points) - 1, 0, len(axis) - 2)
            low.append(i)
            above.append((points - axis[i]) / (axis[i + 1] - axis[i]))
        for i in (0, 1):
            for j in (0, 1):
                share = above[0] if i else 1.0 - above[0]
                share = share * (above[1] if j else 1.0 - above[1])
                nodes = (low[0] + i, low[1] + j)
                np.add.at(weights, nodes, share * stars.masses)
        return np.tensordot(weights, self.spectra, 2)


def half_radii(
    stars: GalaxyStars, luminosities: NDArray[np.float64]
) -> NDArray[np.float64]:
    """Return the radii that contain half of the light in bands, kpc.

    Args:
        stars (GalaxyStars): The stars.
        luminosities (np.ndarray of float): Their light, (n, bands).

    Returns:
        np.ndarray of float: The radius about the origin in each band,
            (bands,), as Synthesizer's `get_half_luminosity_radius`.
    """
    radii = np.linalg.norm(stars.positions, axis=1)
    order = np.argsort(radii)
    enclosed = np.cumsum(luminosities[order], axis=0)
    return np.array(
        [np.interp(0.5 * c[-1], c, radii[order]) for c in enclosed.T]
    )


def image(
    stars: GalaxyStars,
    luminosity: NDArray[np.float64],
    width: float,
    pixels: int,
) -> NDArray[np.float64]:
    """Return a face-on image without smoothing.

    Args:
        stars (GalaxyStars): The stars.
        luminosity (np.ndarray of float): Their light in one band, (n,).
        width (float): The width of the image, kpc.
        pixels (int): The number of pixels on a side.

    Returns:
        np.ndarray of float: The light in each pixel, x first.
    """
    edges = np.linspace(-0.5 * width, 0.5 * width, pixels + 1)
    return np.histogram2d(
        stars.columns["x"],
        stars.columns["y"],
        bins=(edges, edges),
        weights=luminosity,
    )[0]
