"""Galaxies of a Synference basis, evaluated one by one with Synthesizer.

Used for histories and supplementary functions without a batched form.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from synference import GalaxyBasis
from synference.utils import check_log_scaling, check_scaling
from synthesizer.emissions import Sed
from synthesizer.exceptions import InconsistentArguments
from synthesizer.parametric import Galaxy, Stars
from unyt import Hz, Msun, erg, s, unyt_array, unyt_quantity

from synthesizer_emulator.galaxies.histories import native_sfzh
from synthesizer_emulator.library.synference.recorded import (
    Record,
    varying_parameters,
)

# The mass of the galaxies in Synference's pipeline before scaling, Msun.
_BASE_MASS = 1e9


@dataclass(frozen=True)
class NativeGalaxies:
    """The galaxies of a basis, made by Synthesizer.

    Attributes:
        basis (GalaxyBasis): The basis.
        record (Record): The parameters of the galaxies.
        emission (str): The label of the observed emission.
        igm (IGMBase): The model of the intergalactic medium, or None.
    """

    basis: GalaxyBasis
    record: Record
    emission: str
    igm: Any

    def mass_fractions(
        self,
        galaxies: NDArray,
        ages: NDArray[np.float64],
        metallicities: NDArray[np.float64],
    ) -> NDArray[np.float64]:
        """Return the mass fractions at the nodes of a grid.

        Args:
            galaxies (np.ndarray of int): The indices of the galaxies, (n,).
            ages (np.ndarray of float): The ages, yr, (n_ages,).
            metallicities (np.ndarray of float): The metallicities, (n_Z,).

        Returns:
            np.ndarray of float: The fractions, (n, n_ages, n_Z); NaN for
                galaxies that form no stars within the ages of the grid.
        """
        shape = (len(galaxies), len(ages), len(metallicities))
        fractions = np.full(shape, np.nan)
        for row, i in zip(fractions, galaxies, strict=True):
            sf_hist, metal_dist = self.basis.sfhs[i], self.basis.metal_dists[i]
            try:
                row[...] = native_sfzh(
                    ages, metallicities, sf_hist, metal_dist
                )
            except InconsistentArguments:
                continue
        return fractions

    def call(
        self,
        functions: Mapping[str, tuple[Callable[..., Any], tuple[Any, ...]]],
        i: int,
        masses: NDArray,
        spectra: Mapping[str, NDArray],
    ) -> dict[str, unyt_quantity]:
        """Call supplementary functions with one galaxy.

        As in Synference's pipeline, the functions are called with a galaxy of
        1e9 Msun, and the results are scaled to its mass.

        Args:
            functions (Mapping): Functions of a galaxy and their other
                arguments, by name.
            i (int): The index of the galaxy.
            masses (np.ndarray of float): The initial mass at each node,
                Msun, (n_ages, n_Z).
            spectra (Mapping): The luminosity densities by label, erg/s/Hz,
                (nlam,).

        Returns:
            dict: The results by name; empty if the galaxy has no stars.
        """
        basis = self.basis
        scale = 10.0 ** self.record.log10_masses[i] / _BASE_MASS
        sfzh = np.asarray(masses, np.float64) / scale
        if not np.isfinite(sfzh).all():
            return {}
        varying = varying_parameters(basis.galaxy_params)
        stars = Stars(
            basis.grid.log10ages,
            basis.grid.metallicities,
            sfzh=sfzh,
            initial_mass=_BASE_MASS * Msun,
            sf_hist=basis.sfhs[i],
            metal_dist=basis.metal_dists[i],
            **basis.galaxy_params | {k: v[i] for k, v in varying.items()},
        )
        galaxy = Galaxy(stars=stars, redshift=basis.redshifts[i])
        galaxy.all_params = {k: v[i] for k, v in self.record.columns.items()}
        for label, lnu in spectra.items():
            stars.spectra[label] = Sed(
                basis.emission_model.lam,
                np.float64(lnu) / scale * erg / s / Hz,
            )
        galaxy.get_observed_spectra(basis.cosmo, igm=self.igm)
        if basis.instrument.can_do_photometry:
            galaxy.get_photo_fnu(basis.instrument.filters)
        return {
            name: self._scaled(function(galaxy, *arguments), scale)
            for name, (function, arguments) in functions.items()
        }

    def _scaled(self, result: Any, scale: float) -> unyt_quantity:
        """Scale a supplementary parameter to the mass of the galaxy."""
        if isinstance(result, Mapping):
            result = result[self.emission]
        quantity = unyt_array(result) * 1.0
        if check_scaling(quantity):
            return quantity * scale
        if check_log_scaling(quantity):
            return quantity + unyt_quantity(np.log10(scale), quantity.units)
        return quantity
