"""Photometry: flux densities and luminosities in filters.

`Bands` integrates spectra over filters at any redshift. A small pytree whose
methods are pure functions of one galaxy: batch them with `jax.vmap`.
Redshifts are traced, so one compilation serves all of them.

Synthesizer samples the transmission of a filter at the wavelengths of the
shifted spectrum, linearly in frequency, and integrates by the trapezoidal
rule between the first and the last sample that is not zero. So does `Bands`.
"""

from dataclasses import dataclass, field, replace

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array
from jax.tree_util import register_dataclass
from jax.typing import ArrayLike
from jaxtyping import Float
from numpy.typing import NDArray
from synthesizer.emissions import Sed
from synthesizer.exceptions import InconsistentArguments
from synthesizer.instruments import FilterCollection
from synthesizer.instruments.filters import Filter
from unyt import angstrom, unyt_quantity

from synthesizer_emulator.forking import check_not_forked
from synthesizer_emulator.galaxies.observer import (
    plain_redshift,
    plain_wavelengths,
)
from synthesizer_emulator.galaxies.transmission import Curve, open_range
from synthesizer_emulator.units import in_units
from synthesizer_emulator.validation import check_number

# The largest ratio of the windows of bands that are evaluated in one loop.
_LARGEST_RATIO = 1.5

# The rows of the identity matrix passed through Synthesizer's filters at a
# time.
_ROWS = 256


def lam_lims(
    filters: FilterCollection, max_redshift: float = 0.0
) -> tuple[unyt_quantity, unyt_quantity]:
    """Return the range of rest-frame wavelengths that filters cover.

    Pass it to `compile_model` if only photometry of galaxies up to some
    redshift is wanted: wavelengths beyond it are not evaluated.

    Args:
        filters (FilterCollection): Synthesizer's filters.
        max_redshift (float): The largest redshift of a galaxy.

    Returns:
        tuple: The lowest and the highest wavelength.
    """
    check_number("max_redshift", max_redshift, 0)
    ends = [open_range(filters[code]) for code in filters.filter_codes]
    low = min(bluest for bluest, _ in ends) / (1.0 + max_redshift)
    return low * angstrom, max(reddest for _, reddest in ends) * angstrom


@register_dataclass
@dataclass(frozen=True, eq=False)
class Band:
    """One filter, prepared for spectra on given wavelengths.

    Attributes:
        curve (Curve): The transmission.
        window (int): The most wavelengths of a spectrum that the filter
            can cover.
    """

    curve: Curve
    window: int = field(metadata={"static": True})

    @classmethod
    def from_filter(cls, filt: Filter, lam: NDArray[np.float64]) -> "Band":
        """Prepare a filter for spectra on given wavelengths.

        Args:
            filt (Filter): Synthesizer's filter.
            lam (np.ndarray of float): The wavelengths, Angstrom, (nlam,).

        Returns:
            Band: The filter.
        """
        curve = Curve.from_filter(filt)
        bluest, reddest = open_range(filt)
        stretch = reddest / bluest if bluest > 0.0 else np.inf
        ends = np.searchsorted(lam, lam * stretch, side="right")
        longest = int(np.max(ends - np.arange(len(lam))))
        return cls(curve, window=min(longest + 2, len(lam)))

    def flux(
        self,
        nu: Float[Array, " nlam"],
        steps: Float[Array, " nlam-1"],
        fnu: Float[Array, " nlam"],
        redshift: Float[Array, ""],
    ) -> Float[Array, ""]:
        """Return the mean flux density of one galaxy.

        Args:
            nu (Array): The rest-frame frequencies, Hz, descending, (nlam,).
            steps (Array): The steps between them, (nlam - 1,).
            fnu (Array): The flux density at `nu` over 1 + z, (nlam,).
            redshift (Array): The redshift.

        Returns:
            Array: The flux density, (); zero if the filter covers fewer
                than two frequencies, NaN if any flux density is.
        """
        # Only the few frequencies within the filter are read.
        one_plus = 1.0 + redshift
        start = jnp.searchsorted(-nu, -self.curve.highest * one_plus) - 1
        start = jnp.clip(start, 0, len(nu) - self.window)

        def read(values: Array, size: int) -> Array:
            return jax.lax.dynamic_slice(values, (start,), (size,))

        observed = read(nu, self.window) / one_plus
        transmission = self.curve(observed)
        # Like Synthesizer, end at the last frequencies with transmission
        # instead of integrating to the zero beyond.
        is_open = transmission != 0.0
        index = jnp.arange(self.window)
        within = (index >= jnp.argmax(is_open)) & (
            index < self.window - jnp.argmax(is_open[::-1])
        )
        width = jnp.where(
            within[1:] & within[:-1], read(steps, self.window - 1), 0.0
        )
        # Photons are counted: the integral is over T / nu.
        weights = transmission / observed
        total = jnp.sum(width * (weights[1:] + weights[:-1]))
        weighted = weights * read(fnu, self.window)
        flux = jnp.sum(width * (weighted[1:] + weighted[:-1]))
        flux = flux / jnp.where(total > 0.0, total, 1.0)
        # The sum over fewer than two frequencies is zero even for NaN.
        return jnp.where(jnp.isnan(weighted).any(), jnp.nan, flux)


@register_dataclass
@dataclass(frozen=True, eq=False)
class Bands:
    """Filters, prepared for spectra on given wavelengths.

    Attributes:
        nu (Array): The rest-frame frequencies, Hz, descending, (nlam,).
        steps (Array): The steps between them, (nlam - 1,).
        rest_frame (Array): The weight of each wavelength in each band in
            the rest frame, (n_bands, nlam).
        bands (tuple of Band): The filters one by one, as a few with long
            tails would slow down all of them.
        codes (tuple of str): The filter codes, in order.

    Examples:
        >>> import jax, numpy as np
        >>> from unyt import angstrom
        >>> green = {"lam_min": 5e3 * angstrom, "lam_max": 6e3 * angstrom}
        >>> filters = FilterCollection(tophat_dict={"green": green})
        >>> lam = np.geomspace(500.0, 5e4, 1000)
        >>> bands = Bands.from_filters(filters, lam)
        >>> fnu = jax.numpy.ones((3, 1000))
        >>> jax.vmap(bands.fluxes)(fnu, np.array([0.5, 2.0, 8.0])).tolist()
        [[1.0], [1.0], [1.0]]
    """

    nu: Array
    steps: Array
    rest_frame: Array
    bands: tuple[Band, ...]
    codes: tuple[str, ...] = field(metadata={"static": True})

    @classmethod
    def from_filters(cls, filters: FilterCollection, lam: NDArray) -> "Bands":
        """Prepare filters for spectra on given wavelengths.

        Args:
            filters (FilterCollection): Synthesizer's filters.
            lam (np.ndarray of float): The rest-frame wavelengths, Angstrom,
                ascending, (nlam,).

        Returns:
            Bands: The filters.
        """
        lam = plain_wavelengths(lam)
        nu = Sed(lam * angstrom).nu.to_value("Hz")
        codes = tuple(filters.filter_codes)
        return cls(
            nu=jnp.asarray(nu, float),
            steps=jnp.asarray(-np.diff(nu), float),
            rest_frame=jnp.asarray(_rest_frame_weights(filters, nu), float),
            bands=tuple(
                Band.from_filter(filters[code], lam) for code in codes
            ),
            codes=codes,
        )

    # The earlier name.
    of_filters = from_filters

    def luminosities(
        self, lnu: Float[ArrayLike, "..."]
    ) -> Float[Array, " nbands"]:
        """Return the mean luminosity density of one galaxy in each band.

        As Synthesizer's `Sed.get_photo_lnu`.

        Args:
            lnu (Array): The luminosity density, (nlam,).

        Returns:
            Array: Shape (n_bands,), in the units of `lnu`.
        """
        check_not_forked()
        return jnp.matmul(
            self.rest_frame,
            self._checked(in_units("lnu", lnu, "erg/s/Hz")),
            precision="highest",
        )

    def fluxes(
        self, fnu: Float[ArrayLike, "..."], redshift: ArrayLike
    ) -> Float[Array, " nbands"]:
        """Return the mean flux density of one galaxy in each band.

        As Synthesizer's `Sed.get_photo_fnu`: the part of a filter beyond
        the spectrum is left out, and a filter without any overlap gets
        zero. Where the flux density is NaN, every filter gets NaN.

        Args:
            fnu (Array): The flux density at `lam` times 1 + z, (nlam,).
            redshift (float): The redshift; NaN is returned unless it is
                above -1.

        Returns:
            Array: Shape (n_bands,), in the units of `fnu`.
        """
        check_not_forked()
        fnu = self._checked(in_units("fnu", fnu, "nJy"))
        redshift = plain_redshift(redshift)
        redshift = jnp.where(redshift > -1.0, redshift, jnp.nan)

        def flux(band: Band) -> Array:
            return band.flux(self.nu, self.steps, fnu, redshift)

        # A loop over similar bands compiles once for all of them.
        groups = _similar(self.bands)
        fluxes = [jax.lax.map(flux, _stacked(self.bands, g)) for g in groups]
        order = np.argsort(np.concatenate(groups))
        # At redshift zero the weights are Synthesizer's own: where a filter
        # ends on a wavelength, rounding decides.
        return jnp.where(
            redshift == 0.0,
            self.luminosities(fnu),
            jnp.concatenate(fluxes)[order],
        )

    def _checked(self, spectrum: Array) -> Array:
        """Return a spectrum after a check of its shape."""
        if spectrum.shape != self.nu.shape:
            raise InconsistentArguments(
                f"Expected a spectrum on the {len(self.nu)} wavelengths of "
                f"these bands, got shape {spectrum.shape}. For many galaxies "
                "use jax.vmap."
            )
        return spectrum


def _similar(bands: tuple[Band, ...]) -> list[list[int]]:
    """Return groups of bands, by index, that can share one window."""
    groups: list[list[int]] = []
    for i in sorted(range(len(bands)), key=lambda i: bands[i].window):
        for group in groups:
            first = bands[group[0]]
            if (
                bands[i].window <= _LARGEST_RATIO * first.window
                and bands[i].curve.shapes == first.curve.shapes
            ):
                group.append(i)
                break
        else:
            groups.append([i])
    return groups


def _stacked(bands: tuple[Band, ...], indices: list[int]) -> Band:
    """Return bands as one with a leading axis."""
    window = max(bands[i].window for i in indices)
    widened = [replace(bands[i], window=window) for i in indices]
    return jax.tree.map(lambda *leaves: jnp.stack(leaves), *widened)


def _rest_frame_weights(
    filters: FilterCollection, nu: NDArray[np.float64]
) -> NDArray[np.float64]:
    """Return the weights of frequencies, Hz, in Synthesizer's filters."""
    n = len(nu)
    rows = []
    for start in range(0, n, _ROWS):
        one = np.eye(min(_ROWS, n - start), n, start)
        rows.append(filters.apply_filters(one, nu=nu))
    return np.concatenate(rows, axis=1)
