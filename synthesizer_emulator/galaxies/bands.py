"""Photometry: flux densities and luminosities in filters.

`Bands` is a pytree that integrates the spectrum of one galaxy over filters;
use `jax.vmap` for many galaxies. Redshifts are traced, so the code is compiled
only once.

Like Synthesizer, `Bands` interpolates the transmission of a filter to the
wavelengths of the redshifted spectrum, linearly in frequency, and integrates
by the trapezoidal rule between the first and the last nonzero transmission.
Where wavelengths are evenly spaced in their logarithm, as on grids of constant
resolution, the weights of smooth filters are tabulated instead
(`shifted_bands`), which changes flux densities by less than 1e-5.

The integrals may also be exact (`exact_bands`), for continuous derivatives in
redshift.
"""

from collections.abc import Sequence
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
from synthesizer_emulator.galaxies.exact_bands import (
    ExactBands,
    rest_frame_weights,
)
from synthesizer_emulator.galaxies.groups import looped
from synthesizer_emulator.galaxies.matrices import dot
from synthesizer_emulator.galaxies.observer import (
    plain_redshift,
    plain_wavelengths,
)
from synthesizer_emulator.galaxies.shifted_bands import (
    ShiftedBands,
    are_even,
    tabulated,
)
from synthesizer_emulator.galaxies.transmission import (
    C_ANGSTROM,
    Curve,
    open_range,
    support,
)
from synthesizer_emulator.units import in_units
from synthesizer_emulator.validation import check_choice, check_number

# A part of a filter that is too small to be told.
_NEGLIGIBLE_PART = 0.01

# The rules of integration.
INTEGRATIONS = ("trapezoidal", "exact")

# The number of unit spectra passed through Synthesizer's filters at a time.
_ROWS = 256


def lam_lims(
    filters: FilterCollection, max_redshift: float = 0.0
) -> tuple[unyt_quantity, unyt_quantity]:
    """Return the range of rest-frame wavelengths that filters cover.

    If only photometry is wanted, pass the range to `compile_model`, so that
    no spectra are evaluated outside it.

    Args:
        filters (FilterCollection): Synthesizer's filters.
        max_redshift (float): The largest redshift of a galaxy.

    Returns:
        tuple of unyt_quantity: The lowest and the highest wavelength.
    """
    check_number("max_redshift", max_redshift, 0)
    ranges = [open_range(filters[code]) for code in filters.filter_codes]
    low = min(bluest for bluest, _ in ranges) / (1.0 + max_redshift)
    return low * angstrom, max(reddest for _, reddest in ranges) * angstrom


def without_light(
    filters: FilterCollection,
    lam: tuple[float, float],
    redshifts: tuple[float, float],
) -> dict[str, tuple[float, float]]:
    """Return the filters that are wholly outside of a spectrum.

    Their fluxes are zero, as in Synthesizer.

    Args:
        filters (FilterCollection): Synthesizer's filters.
        lam (tuple of float): The ends of the rest-frame spectrum, Angstrom.
        redshifts (tuple of float): The lowest and the highest redshift.

    Returns:
        dict: By the code of each filter without light at some redshift, the
            lowest and the highest redshift at which it has some, whether or
            not these are within the range.
    """
    found = {}
    for code in filters.filter_codes:
        bluest, reddest = open_range(filters[code])
        seen = bluest / lam[1] - 1.0, reddest / lam[0] - 1.0
        if seen[0] > redshifts[0] or seen[1] < redshifts[1]:
            found[code] = seen
    return found


def partly_without_light(
    filters: FilterCollection,
    lam: tuple[float, float],
    redshifts: tuple[float, float],
) -> dict[str, float]:
    """Return the filters of which a spectrum lacks a part.

    They are integrated over the other part only, as in Synthesizer.

    Args:
        filters (FilterCollection): Synthesizer's filters.
        lam (tuple of float): The ends of the rest-frame spectrum, Angstrom.
        redshifts (tuple of float): The lowest and the highest redshift.

    Returns:
        dict: By the code of each filter, the largest fraction of its
            transmission, as of photons, that is outside of the spectrum at
            the lowest or the highest redshift. Small fractions are left out.
    """
    found = {}
    for code in filters.filter_codes:
        nu, transmission = support(filters[code])
        at = C_ANGSTROM / nu
        weights = np.gradient(np.log(nu)) * transmission
        lost = [
            weights[(at < lam[0] * (1 + z)) | (at > lam[1] * (1 + z))].sum()
            for z in redshifts
        ]
        fraction = float(max(lost) / weights.sum())
        if fraction > _NEGLIGIBLE_PART:
            found[code] = fraction
    return found


@register_dataclass
@dataclass(frozen=True, eq=False)
class Band:
    """One filter, prepared for spectra on given wavelengths.

    Attributes:
        curve (Curve): The transmission curve.
        window (int): The largest number of wavelengths of a spectrum within
            the filter at any redshift.
    """

    curve: Curve
    window: int = field(metadata={"static": True})

    @classmethod
    def from_filter(cls, filt: Filter, lam: NDArray[np.float64]) -> "Band":
        """Prepare a filter for spectra on wavelengths in Angstrom, (nlam,)."""
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
        """Return the mean flux density of one galaxy in this band.

        The frequencies `nu`, Hz, are in the rest frame, descending, with the
        spacings `steps`; `fnu` is the flux density at `nu` / (1 + z). The
        result is zero if the filter covers fewer than two frequencies, and
        NaN if any flux density in it is NaN.
        """
        # Use only the few frequencies within the filter.
        one_plus = 1.0 + redshift
        start = jnp.searchsorted(-nu, -self.curve.highest * one_plus) - 1
        start = jnp.clip(start, 0, len(nu) - self.window)

        def sliced(values: Array, size: int) -> Array:
            return jax.lax.dynamic_slice(values, (start,), (size,))

        observed = sliced(nu, self.window) / one_plus
        transmission = self.curve(observed)
        # Like Synthesizer, integrate between the outermost frequencies with
        # transmission, not out to the adjacent zeros.
        within = transmission != 0.0
        if not self.curve.gapless:
            index = jnp.arange(self.window)
            last = self.window - jnp.argmax(within[::-1])
            within = (index >= jnp.argmax(within)) & (index < last)
        width = jnp.where(
            within[1:] & within[:-1], sliced(steps, self.window - 1), 0.0
        )
        # By the trapezoidal rule. Detectors count photons, so the weights are
        # T / nu. Products with ones take half the time of sums.
        widths = jnp.pad(width, (1, 0)) + jnp.pad(width, (0, 1))
        weights = widths * transmission / observed
        ones = jnp.ones(self.window)
        total = dot(weights, ones)
        flux = dot(weights * sliced(fnu, self.window), ones)
        return flux / jnp.where(total > 0.0, total, 1.0)


@register_dataclass
@dataclass(frozen=True, eq=False)
class Bands:
    """Filters, prepared for spectra on given wavelengths.

    Attributes:
        nu (Array): The rest-frame frequencies, Hz, descending, (nlam,).
        steps (Array): The spacings of the frequencies, Hz, (nlam - 1,).
        rest_frame (Array): The weights of the wavelengths in each band at
            redshift zero, (n_bands, nlam).
        shifted (ShiftedBands): The filters with tabulated weights; None if
            there are none.
        exact (ExactBands): All filters, integrated exactly; None for the
            trapezoidal rule.
        bands (tuple of Band): The other filters, kept separate because a few
            with long tails would slow down all of them.
        codes (tuple of str): The filter codes.
        order (tuple of int): The positions of `codes` among the filters of
            `shifted` or `exact`, then `bands`.

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
    shifted: ShiftedBands | None
    exact: ExactBands | None
    bands: tuple[Band, ...]
    codes: tuple[str, ...] = field(metadata={"static": True})
    order: tuple[int, ...] = field(metadata={"static": True})

    @classmethod
    def from_filters(
        cls,
        filters: FilterCollection,
        lam: NDArray,
        integration: str = "trapezoidal",
    ) -> "Bands":
        """Prepare filters for spectra on given wavelengths.

        Args:
            filters (FilterCollection): Synthesizer's filters.
            lam (np.ndarray of float): The rest-frame wavelengths, Angstrom,
                ascending, (nlam,).
            integration (str): `trapezoidal`, as in Synthesizer; or `exact`,
                which integrates the product of the flux density, linear in ln
                wavelength between the given ones, and the transmission, so
                that the derivatives of photometry in redshift are continuous.
                It differs by less than 0.2 millimagnitudes for filters that
                are much wider than the spacing of the wavelengths and do not
                jump.

        Returns:
            Bands: The prepared filters.

        Raises:
            InconsistentArguments: If `integration` is not one of these.
        """
        check_choice("integration", integration, INTEGRATIONS)
        lam = plain_wavelengths(lam)
        nu = Sed(lam * angstrom).nu.to_value("Hz")
        codes = tuple(filters.filter_codes)
        if integration == "exact":
            weights = [
                rest_frame_weights(filters[code], lam) for code in codes
            ]
            return cls(
                nu=jnp.asarray(nu, float),
                steps=jnp.asarray(-np.diff(nu), float),
                rest_frame=jnp.asarray(np.stack(weights), float),
                shifted=None,
                exact=ExactBands.from_filters(filters, lam),
                bands=(),
                codes=codes,
                order=tuple(range(len(codes))),
            )
        windows = {}
        if are_even(lam):
            found = {code: tabulated(filters[code], lam) for code in codes}
            windows = {k: v for k, v in found.items() if v is not None}
        others = [code for code in codes if code not in windows]
        both = [*windows, *others]
        return cls(
            nu=jnp.asarray(nu, float),
            steps=jnp.asarray(-np.diff(nu), float),
            rest_frame=jnp.asarray(_rest_frame_weights(filters, nu), float),
            shifted=(
                ShiftedBands.from_windows([*windows.values()], lam)
                if windows
                else None
            ),
            exact=None,
            bands=tuple(
                Band.from_filter(filters[code], lam) for code in others
            ),
            codes=codes,
            order=tuple(map(both.index, codes)),
        )

    # The earlier name.
    of_filters = from_filters

    def luminosities(
        self, lnu: Float[ArrayLike, "..."]
    ) -> Float[Array, " nbands"]:
        """Return the mean luminosity density of one galaxy in each band.

        As in Synthesizer's `Sed.get_photo_lnu`.

        Args:
            lnu (Array): The luminosity density, (nlam,).

        Returns:
            Array: The luminosity densities, in the units of `lnu`, (n_bands,).
        """
        check_not_forked()
        return dot(
            self.rest_frame, self._checked(in_units("lnu", lnu, "erg/s/Hz"))
        )

    def fluxes(
        self, fnu: Float[ArrayLike, "..."], redshift: ArrayLike
    ) -> Float[Array, " nbands"]:
        """Return the mean flux density of one galaxy in each band.

        As in Synthesizer's `Sed.get_photo_fnu`, a filter is integrated only
        where it overlaps the spectrum, and gives zero if it does not. If the
        spectrum is NaN, so is the flux density in every filter.

        Args:
            fnu (Array): The flux density at the rest-frame wavelengths times
                1 + z, (nlam,).
            redshift (float): The redshift, above -1; otherwise the flux
                densities are NaN.

        Returns:
            Array: The flux densities, in the units of `fnu`, (n_bands,).
        """
        check_not_forked()
        fnu = self._checked(in_units("fnu", fnu, "nJy"))
        redshift = plain_redshift(redshift)
        redshift = jnp.where(redshift > -1.0, redshift, jnp.nan)

        if self.exact is not None:
            return self.exact.fluxes(fnu, redshift)

        def flux(band: Band) -> Array:
            return band.flux(self.nu, self.steps, fnu, redshift)

        fluxes = []
        if self.shifted is not None:
            fluxes.append(self.shifted.fluxes(fnu, redshift))
        if self.bands:
            kinds = [band.curve.shapes for band in self.bands]
            fluxes.append(looped(flux, self.bands, _stacked, kinds))
        # At redshift zero use Synthesizer's weights: where a filter ends on a
        # wavelength, rounding decides whether it is included.
        return jnp.where(
            redshift == 0.0,
            self.luminosities(fnu),
            jnp.concatenate(fluxes)[np.array(self.order)],
        )

    def _checked(self, spectrum: ArrayLike) -> Float[Array, " nlam"]:
        """Return a spectrum; raise unless its shape is (nlam,)."""
        spectrum = jnp.asarray(spectrum)
        if spectrum.shape != self.nu.shape:
            raise InconsistentArguments(
                "The spectrum of one galaxy must have the "
                f"{len(self.nu)} wavelengths of these bands, got the shape "
                f"{spectrum.shape}. Use jax.vmap for many galaxies."
            )
        return spectrum


def _stacked(bands: Sequence[Band]) -> Band:
    """Stack bands along a new leading axis, with the largest window."""
    window = max(band.window for band in bands)
    widened = [replace(band, window=window) for band in bands]
    return jax.tree.map(lambda *leaves: jnp.stack(leaves), *widened)


def _rest_frame_weights(
    filters: FilterCollection, nu: NDArray[np.float64]
) -> NDArray[np.float64]:
    """Return the weights of frequencies, Hz, in filters, (n_bands, nlam)."""
    n = len(nu)
    rows = []
    for start in range(0, n, _ROWS):
        unit_spectra = np.eye(min(_ROWS, n - start), n, start)
        rows.append(filters.apply_filters(unit_spectra, nu=nu))
    return np.concatenate(rows, axis=1)
