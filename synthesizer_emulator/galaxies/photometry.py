"""From spectra to photometry, with Synthesizer's own numbers.

`Observer` turns a rest-frame spectrum into the flux that reaches us,
`Bands` integrates it over filters at any redshift. Both are small pytrees
whose methods are pure functions of one galaxy: batch them with `jax.vmap`.
Redshifts are traced, so one compilation serves all of them.

Synthesizer samples the transmission of a filter at the wavelengths of the
shifted spectrum, linearly in frequency, and integrates by the trapezoidal
rule between the first and the last of them that is not zero. So do these.
"""

from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any, Self

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array
from jax.tree_util import register_dataclass
from jax.typing import ArrayLike
from numpy.polynomial import Chebyshev
from numpy.typing import NDArray
from synthesizer.emissions import Sed
from synthesizer.exceptions import InconsistentArguments
from synthesizer.instruments import FilterCollection
from synthesizer.instruments.filters import Filter
from unyt import Hz, Mpc, angstrom, erg, nJy, pc, s, unyt_quantity

from synthesizer_emulator.forking import check_not_forked
from synthesizer_emulator.galaxies.igm import Transmission, translate_igm
from synthesizer_emulator.galaxies.transmission import Curve, open_range
from synthesizer_emulator.units import PURE, in_units
from synthesizer_emulator.validation import check_number, check_wavelengths

if TYPE_CHECKING:
    from astropy.cosmology import FLRW

# The flux in nJy of 1 erg/s/Hz at a distance of 1 Mpc, and the distance in
# Mpc to which Synthesizer puts what is at redshift zero.
FLUX_AT_MPC = float((1.0 * erg / s / Hz / (4 * np.pi * Mpc**2)).to_value(nJy))
_NEAREST = float((10 * pc).to_value("Mpc"))

# The terms of the polynomial that stands for the distance; good to 1e-9.
_DEGREE = 30

# How much wider a window a band may be read in than it needs.
_ALIKE = 1.5

# How many rows of the identity go through Synthesizer's filters at a time.
_ROWS = 256


def lam_lims(
    filters: FilterCollection, max_redshift: float = 0.0
) -> tuple[unyt_quantity, unyt_quantity]:
    """Return the rest-frame wavelengths that filters can see.

    Give them to `compile_model` where photometry is all that is wanted of
    galaxies up to a redshift: the rest need not be evaluated.

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
class Observer:
    """What a cosmology and the intergalactic medium make of a spectrum.

    Attributes:
        lam (Array): The rest-frame wavelengths, Angstrom, (nlam,).
        distance (Array): Chebyshev coefficients of the logarithm of the
            luminosity distance over z (1 + z), Mpc, in ln(1 + z).
        igm (Transmission): The intergalactic medium, or None.
        max_redshift (float): The largest redshift; beyond it fluxes are
            NaN.
        n_absorbed (int): How many wavelengths, from the bluest, the
            intergalactic medium can absorb.

    Examples:
        >>> import jax, numpy as np
        >>> from astropy.cosmology import Planck18
        >>> from synthesizer.emission_models.transformers.igm import Inoue14
        >>> lam = np.geomspace(500.0, 5e4, 1000)
        >>> observer = Observer.from_cosmology(lam, Planck18, igm=Inoue14)
        >>> lnu = 1e29 * jax.numpy.ones((3, 1000))
        >>> fnu = jax.vmap(observer.fluxes)(lnu, np.array([0.5, 2.0, 8.0]))
        >>> fnu.shape
        (3, 1000)
    """

    lam: Array
    distance: Array
    igm: Transmission | None
    max_redshift: float = field(metadata={"static": True})
    n_absorbed: int = field(metadata={"static": True})

    @classmethod
    def from_cosmology(
        cls,
        lam: NDArray,
        cosmo: "FLRW",
        igm: Any = None,
        max_redshift: float = 20.0,
    ) -> Self:
        """Prepare for spectra on given wavelengths.

        Args:
            lam (np.ndarray of float): The rest-frame wavelengths, Angstrom,
                ascending, (nlam,).
            cosmo (FLRW): A cosmology of astropy.
            igm (IGMBase): Synthesizer's model of the intergalactic medium,
                as class or instance; none by default.
            max_redshift (float): The largest redshift to expect.

        Returns:
            Observer: It.

        Raises:
            InconsistentArguments: If `max_redshift` is not positive.
            UnimplementedFunctionality: If the model of the intergalactic
                medium is not translated.
        """
        check_not_forked()
        check_number("max_redshift", max_redshift, 0, 1e4, open_ends=True)

        def log_distance(x: NDArray) -> NDArray:
            z = np.expm1(x)
            mpc = cosmo.luminosity_distance(z).to("Mpc").value
            return np.log(mpc / (z * (1.0 + z)))

        ends = [0.0, np.log1p(max_redshift)]
        fit = Chebyshev.interpolate(log_distance, _DEGREE, domain=ends)
        translated = None if igm is None else translate_igm(igm)
        reddest = 0.0 if translated is None else translated.reddest
        lam = _plain_lam(lam)
        return cls(
            lam=jnp.asarray(lam, float),
            distance=jnp.asarray(fit.coef, float),
            igm=translated,
            max_redshift=float(max_redshift),
            n_absorbed=int(np.count_nonzero(lam <= (1 + 1e-6) * reddest)),
        )

    # Its name in version 0.1.
    of_cosmology = from_cosmology

    def fluxes(self, lnu: Array, redshift: ArrayLike) -> Array:
        """Return the flux density that reaches us from one galaxy.

        As Synthesizer's `Sed.get_fnu`: at a redshift of exactly zero the
        galaxy is put at 10 pc and nothing absorbs.

        Args:
            lnu (Array): Its luminosity density, erg/s/Hz, (nlam,).
            redshift (float): Its redshift.

        Returns:
            Array: The flux density, nJy, at `lam` times 1 + z, (nlam,).
        """
        check_not_forked()
        redshift = _plain_redshift(redshift)
        lnu = in_units("lnu", lnu, "erg/s/Hz")
        near = redshift == 0.0
        one_plus = 1.0 + redshift
        fnu = lnu * (one_plus * self._dimming(redshift))
        if self.igm is None or not self.n_absorbed:
            return fnu
        # Two parts joined compile to six times faster code than a factor
        # that is one beyond the first.
        n = self.n_absorbed
        passed = self.igm(redshift, self.lam[:n] * one_plus)
        blue = fnu[:n] * jnp.where(near, 1.0, passed)
        return jnp.concatenate([blue, fnu[n:]])

    def luminosity_distance(self, redshift: ArrayLike) -> Array:
        """Return the luminosity distance in Mpc; NaN out of range."""
        check_not_forked()
        z = _plain_redshift(redshift)
        x = 2.0 * jnp.log1p(z) / np.log1p(self.max_redshift) - 1.0
        # Clenshaw's recurrence.
        last, before = jnp.zeros_like(x), jnp.zeros_like(x)
        for coefficient in self.distance[:0:-1]:
            last, before = coefficient + 2.0 * x * last - before, last
        log_ratio = self.distance[0] + x * last - before
        known = (z >= 0.0) & (z <= self.max_redshift)
        return jnp.where(known, z * (1.0 + z) * jnp.exp(log_ratio), jnp.nan)

    def _dimming(self, redshift: Array) -> Array:
        """Return the flux, nJy, of a luminosity density of one."""
        near = redshift == 0.0
        away = self.luminosity_distance(jnp.where(near, 1.0, redshift))
        return FLUX_AT_MPC / jnp.where(near, _NEAREST, away) ** 2


@register_dataclass
@dataclass(frozen=True, eq=False)
class Band:
    """One filter, ready to integrate spectra on given wavelengths.

    Attributes:
        curve (Curve): Its transmission.
        window (int): The most wavelengths of a spectrum that it can cover.
    """

    curve: Curve
    window: int = field(metadata={"static": True})

    @classmethod
    def from_filter(cls, filt: Filter, lam: NDArray[np.float64]) -> Self:
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
        self, nu: Array, steps: Array, fnu: Array, redshift: Array
    ) -> Array:
        """Return one galaxy's mean flux density.

        Args:
            nu (Array): The rest-frame frequencies, Hz, descending, (nlam,).
            steps (Array): The steps between them, (nlam - 1,).
            fnu (Array): The flux density at `nu` over 1 + z, (nlam,).
            redshift (Array): The redshift.

        Returns:
            Array: Zero if fewer than two frequencies are in the filter, but
                NaN wherever the flux density is, ().
        """
        # Only the few frequencies that the filter covers are read.
        one_plus = 1.0 + redshift
        start = jnp.searchsorted(-nu, -self.curve.highest * one_plus) - 1
        start = jnp.clip(start, 0, len(nu) - self.window)

        def read(values: Array, size: int) -> Array:
            return jax.lax.dynamic_slice(values, (start,), (size,))

        seen = read(nu, self.window) / one_plus
        passed = self.curve(seen)
        # Synthesizer stops at the last frequencies with transmission, and
        # does not go on to the zero beyond.
        some = passed != 0.0
        index = jnp.arange(self.window)
        within = (index >= jnp.argmax(some)) & (
            index < self.window - jnp.argmax(some[::-1])
        )
        width = jnp.where(
            within[1:] & within[:-1], read(steps, self.window - 1), 0.0
        )
        # Photons are counted: the integral is over T / nu.
        weights = passed / seen
        total = jnp.sum(width * (weights[1:] + weights[:-1]))
        weighted = weights * read(fnu, self.window)
        flux = jnp.sum(width * (weighted[1:] + weighted[:-1]))
        flux = flux / jnp.where(total > 0.0, total, 1.0)
        # Of fewer than two, the sum is zero whatever they are.
        return jnp.where(jnp.isnan(weighted).any(), jnp.nan, flux)


@register_dataclass
@dataclass(frozen=True, eq=False)
class Bands:
    """Filters, ready to integrate spectra on given wavelengths.

    Attributes:
        nu (Array): The rest-frame frequencies, Hz, descending, (nlam,).
        steps (Array): The steps between them, (nlam - 1,).
        rest_frame (Array): What each wavelength weighs in each band in the
            rest frame, (n_bands, nlam).
        bands (tuple of Band): The filters one by one, since a few with long
            tails would make all of them slow.
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
    def from_filters(cls, filters: FilterCollection, lam: NDArray) -> Self:
        """Prepare filters for spectra on given wavelengths.

        Args:
            filters (FilterCollection): Synthesizer's filters.
            lam (np.ndarray of float): The rest-frame wavelengths, Angstrom,
                ascending, (nlam,).

        Returns:
            Bands: They.
        """
        lam = _plain_lam(lam)
        nu = Sed(lam * angstrom).nu.to_value("Hz")
        codes = tuple(filters.filter_codes)
        return cls(
            nu=jnp.asarray(nu, float),
            steps=jnp.asarray(-np.diff(nu), float),
            rest_frame=jnp.asarray(_rest_frame(filters, nu), float),
            bands=tuple(
                Band.from_filter(filters[code], lam) for code in codes
            ),
            codes=codes,
        )

    # Its name in version 0.1.
    of_filters = from_filters

    def luminosities(self, lnu: Array) -> Array:
        """Return one galaxy's mean luminosity density in each band.

        As Synthesizer's `Sed.get_photo_lnu`.

        Args:
            lnu (Array): Its luminosity density, (nlam,).

        Returns:
            Array: Shape (n_bands,), in the units of `lnu`.
        """
        check_not_forked()
        return jnp.matmul(
            self.rest_frame,
            self._checked(in_units("lnu", lnu, "erg/s/Hz")),
            precision="highest",
        )

    def fluxes(self, fnu: Array, redshift: ArrayLike) -> Array:
        """Return one galaxy's mean flux density in each band.

        As Synthesizer's `Sed.get_photo_fnu`: what of a filter lies beyond
        the spectrum is left out, and a filter without any overlap gets
        zero. What is not known is NaN in every filter, whether or not it
        overlaps.

        Args:
            fnu (Array): Its flux density at `lam` times 1 + z, (nlam,).
            redshift (float): Its redshift; NaN is returned unless it is
                above -1.

        Returns:
            Array: Shape (n_bands,), in the units of `fnu`.
        """
        check_not_forked()
        fnu = self._checked(in_units("fnu", fnu, "nJy"))
        redshift = _plain_redshift(redshift)
        redshift = jnp.where(redshift > -1.0, redshift, jnp.nan)

        def flux(band: Band) -> Array:
            return band.flux(self.nu, self.steps, fnu, redshift)

        # One after the other, which compiles once for all that are alike.
        groups = _alike(self.bands)
        found = [jax.lax.map(flux, _stacked(self.bands, g)) for g in groups]
        order = np.argsort(np.concatenate(groups))
        # At redshift zero Synthesizer's own weights are at hand, which its
        # rounding decides about where a filter ends on a wavelength.
        return jnp.where(
            redshift == 0.0,
            self.luminosities(fnu),
            jnp.concatenate(found)[order],
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


def _plain_lam(lam: NDArray) -> NDArray[np.float64]:
    """Return wavelengths in Angstrom after a check that they are some."""
    lam = np.asarray(in_units("lam", lam, "angstrom"), np.float64)
    check_wavelengths("lam", lam)
    return lam


def _plain_redshift(redshift: ArrayLike) -> Array:
    """Return a redshift as a plain number."""
    return jnp.asarray(in_units("redshift", redshift, PURE), float)


def _alike(bands: tuple[Band, ...]) -> list[list[int]]:
    """Return the places of bands that can take turns at one window."""
    groups: list[list[int]] = []
    for i in sorted(range(len(bands)), key=lambda i: bands[i].window):
        for group in groups:
            first = bands[group[0]]
            if (
                bands[i].window <= _ALIKE * first.window
                and bands[i].curve.shapes == first.curve.shapes
            ):
                group.append(i)
                break
        else:
            groups.append([i])
    return groups


def _stacked(bands: tuple[Band, ...], places: list[int]) -> Band:
    """Return some bands as one with a leading axis."""
    window = max(bands[i].window for i in places)
    every = [replace(bands[i], window=window) for i in places]
    return jax.tree.map(lambda *leaves: jnp.stack(leaves), *every)


def _rest_frame(
    filters: FilterCollection, nu: NDArray[np.float64]
) -> NDArray[np.float64]:
    """Return what each frequency, Hz, weighs in Synthesizer's filters."""
    n = len(nu)
    rows = []
    for start in range(0, n, _ROWS):
        one = np.eye(min(_ROWS, n - start), n, start)
        rows.append(filters.apply_filters(one, nu=nu))
    return np.concatenate(rows, axis=1)
