"""Methods of an emulated grid that change its wavelengths.

The changes are composed into one sparse matrix from the emulator's
wavelengths to those of the grid, so that spectra can be evaluated before or
after them.
"""

import copy
from typing import Self

import numpy as np
from numpy.typing import NDArray
from spectres import spectres
from synthesizer.exceptions import InconsistentArguments
from synthesizer.instruments import FilterCollection
from synthesizer.synth_warnings import warn
from synthesizer.units import accepts
from synthesizer.utils.util_funcs import as_contiguous
from unyt import angstrom, unyt_array, unyt_quantity

from synthesizer_emulator.grid.lazy import LazyLineValues, LazySpectra
from synthesizer_emulator.grid.loading import WeightsGrid, in_angstrom
from synthesizer_emulator.units import PURE, in_units
from synthesizer_emulator.validation import check_number
from synthesizer_emulator.wavelengths import (
    flux_conserving,
    linear_interpolation,
    selection,
)


class WavelengthMethods(WeightsGrid):
    """The methods that rebin spectra or limit their wavelengths.

    All but `interp_spectra` return a changed copy or, with `inplace`, change
    the grid and return None.
    """

    @accepts(new_lam=angstrom)
    def interp_spectra(
        self, new_lam: unyt_array, loop_grid: bool = False
    ) -> None:
        """Rebin the spectra to other wavelengths, conserving flux.

        Args:
            new_lam (unyt_array): The new wavelengths, (nlam,).
            loop_grid (bool): Ignored: rebinning is one sparse product, which
                needs no loop to save memory.

        Raises:
            InconsistentArguments: If the wavelengths are not at least two,
                positive, finite and ascending.
        """
        if isinstance(self.spectra, LazySpectra):
            self.spectra.rebin(
                flux_conserving(in_angstrom(self.lam), in_angstrom(new_lam))
            )
        self.lam = as_contiguous(new_lam.astype(self._dtype, copy=False))
        if self.lines_available:
            self._remove_lines_outside_lam()

    @accepts(lam=angstrom)
    def reduce_observed_lam(
        self, lam: unyt_array, redshift: float, inplace: bool = False
    ) -> Self | None:
        """Rebin the spectra to observed wavelengths, conserving flux.

        Args:
            lam (unyt_array): The observed wavelengths, (nlam,).
            redshift (float): The redshift, above -1.
            inplace (bool): Whether to change this grid.

        Returns:
            EmulatedGrid/None: The rebinned copy, unless in place.

        Raises:
            InconsistentArguments: As in `interp_spectra`, or if the redshift
                is not above -1.
        """
        return self.reduce_rest_frame_lam(lam / _one_plus(redshift), inplace)

    @accepts(lam_min=angstrom, lam_max=angstrom)
    def reduce_rest_frame_range(
        self,
        lam_min: unyt_quantity,
        lam_max: unyt_quantity,
        inplace: bool = False,
    ) -> Self | None:
        """Limit the rest-frame wavelength range of the grid.

        Args:
            lam_min (unyt_quantity): The lowest wavelength to keep.
            lam_max (unyt_quantity): The highest wavelength to keep.
            inplace (bool): Whether to change this grid.

        Returns:
            EmulatedGrid/None: The reduced copy, unless in place.

        Raises:
            InconsistentArguments: If the limits are not ascending, or do not
                overlap the wavelengths of the grid.
        """
        lam = in_angstrom(self.lam)
        limits = np.array([lam_min.value, lam_max.value], np.float64)
        if not limits[0] < limits[1]:
            raise InconsistentArguments(
                "lam_min must be less than lam_max, got "
                f"{lam_min} and {lam_max}."
            )
        if limits[1] < lam[0] or limits[0] > lam[-1]:
            raise InconsistentArguments(
                "lam_min and lam_max must overlap the wavelengths of the "
                f"grid, {lam[0]:g} to {lam[-1]:g} Angstrom, got {lam_min} and "
                f"{lam_max}."
            )
        first, last = (
            int(np.abs(lam - end).argmin())
            for end in limits.clip(lam[0], lam[-1])
        )
        return self._with_wavelengths(np.arange(first, last + 1), inplace)

    def reduce_observed_range(
        self,
        lam_min: unyt_quantity,
        lam_max: unyt_quantity,
        redshift: float,
        inplace: bool = False,
    ) -> Self | None:
        """Limit the observed wavelength range of the grid.

        Args:
            lam_min (unyt_quantity): The lowest observed wavelength to keep.
            lam_max (unyt_quantity): The highest observed wavelength to keep.
            redshift (float): The redshift, above -1.
            inplace (bool): Whether to change this grid.

        Returns:
            EmulatedGrid/None: The reduced copy, unless in place.

        Raises:
            InconsistentArguments: As in `reduce_rest_frame_range`, or if the
                redshift is not above -1.
        """
        stretch = _one_plus(redshift)
        return self.reduce_rest_frame_range(
            lam_min / stretch, lam_max / stretch, inplace
        )

    def reduce_rest_frame_filters(
        self, filters: FilterCollection, inplace: bool = False
    ) -> Self | None:
        """Keep only the rest-frame wavelengths that filters transmit.

        Args:
            filters (FilterCollection): The filters.
            inplace (bool): Whether to change this grid.

        Returns:
            EmulatedGrid/None: The reduced copy, unless in place.

        Raises:
            InconsistentArguments: If no filter overlaps the wavelengths.
        """
        return self.reduce_observed_filters(filters, 0.0, inplace)

    def reduce_observed_filters(
        self,
        filters: FilterCollection,
        redshift: float,
        inplace: bool = False,
    ) -> Self | None:
        """Keep only the wavelengths that filters transmit after redshifting.

        Args:
            filters (FilterCollection): The filters.
            redshift (float): The redshift, above -1.
            inplace (bool): Whether to change this grid.

        Returns:
            EmulatedGrid/None: The reduced copy, unless in place.

        Raises:
            InconsistentArguments: If no filter overlaps the wavelengths, or
                the redshift is not above -1.
        """
        lam = filters.lam / _one_plus(redshift)
        transmissions = spectres(
            in_angstrom(self.lam),
            in_angstrom(lam),
            np.stack([f.transmission for f in filters]),
            fill=0.0,
            verbose=False,
        )
        transmitted = (transmissions > 0.0).any(axis=0)
        if not transmitted.any():
            raise InconsistentArguments(
                "None of the provided filters overlap the wavelength range "
                f"of the grid: filter_range {lam.min()}, {lam.max()}, "
                f"grid_range {(self.lam[0], self.lam[-1])}"
            )
        return self._with_wavelengths(transmitted.nonzero()[0], inplace)

    @accepts(lam=angstrom)
    def get_spectra_at_lam(self, lam: unyt_quantity) -> dict[str, NDArray]:
        """Return the spectra at one wavelength, interpolated linearly.

        Args:
            lam (unyt_quantity): The wavelength.

        Returns:
            dict: The values of each spectrum at the nodes, (n1, ..., nd,
                1) as in Synthesizer. No other wavelengths are evaluated.

        Raises:
            InconsistentArguments: If `lam` is not one finite wavelength.
        """
        points = np.atleast_1d(in_angstrom(lam))
        if points.size != 1 or not np.isfinite(points).all():
            raise InconsistentArguments(
                f"lam must be one finite wavelength, got {lam}."
            )
        at_lam = linear_interpolation(in_angstrom(self.lam), points)
        return {
            name: self.spectra.at(name, at_lam)
            for name in self.available_spectra_emissions
        }

    def _remove_lines_outside_lam(self) -> None:
        """Remove the lines outside the wavelengths, evaluated or not."""
        if self.line_lams is None:
            return
        outside = self._lines_outside()
        if outside.any():
            warn(
                f"{outside.sum()} lines are outside the wavelength range of "
                "the grid and will be removed."
            )
        kept = np.flatnonzero(~outside)
        change = selection(kept, self.nlines)
        self.available_lines = self.available_lines[kept]
        self.line_lams = self.line_lams[kept]
        for emissions in (self.line_lums, self.line_conts):
            if isinstance(emissions, LazyLineValues):
                emissions.rebin(change)

    def _with_wavelengths(
        self, kept: NDArray[np.intp], inplace: bool
    ) -> Self | None:
        """Keep some of the wavelengths, and the lines in their range."""
        grid = self if inplace else copy.deepcopy(self)
        if isinstance(grid.spectra, LazySpectra):
            grid.spectra.rebin(selection(kept, grid.nlam))
        grid.lam = grid.lam[kept]
        if grid.lines_available:
            grid._remove_lines_outside_lam()
        return None if inplace else grid


def _one_plus(redshift: float) -> float:
    """Return 1 + z, or raise unless the redshift is above -1."""
    z = float(in_units("redshift", redshift, PURE))
    check_number("redshift", z, -1.0, open_ends=True)
    return 1.0 + z
