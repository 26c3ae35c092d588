"""What is wanted of the galaxies of a posterior besides the data."""

from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array
from numpy.typing import NDArray
from unyt import unyt_array

from synthesizer_emulator.galaxies.derived.derived import DerivedQuantities
from synthesizer_emulator.galaxies.integrals import bin_limits
from synthesizer_emulator.galaxies.model import GalaxyModel
from synthesizer_emulator.inference.curves import SEDs, SFHs
from synthesizer_emulator.inference.target import in_batches
from synthesizer_emulator.library.library import Library
from synthesizer_emulator.library.parameters import MASS, REDSHIFT


@dataclass(frozen=True, eq=False)
class PointGalaxies:
    """The galaxies of a library at points of the unit hypercube.

    `Fit.derive`, `Fit.seds` and `Fit.sfhs` use it. Points, (n, d), may have
    more dimensions than the library; the first count.

    Attributes:
        library (Library): The library.
        label (str): The label of the emission whose spectra are wanted.
    """

    library: Library
    label: str

    def quantities(self, names: tuple[str, ...]) -> DerivedQuantities:
        """Return the function for derived quantities, compiled once."""
        if names not in self._by_names:
            self._by_names[names] = DerivedQuantities.from_model(
                self.library.emission_model,
                names,
                sf_hist=self.library.sf_hist.name,
                metal_dist=self.library.metal_dist.name,
                varying=self.library.sampler.varying,
                fixed=self.library.sampler.fixed,
                tolerance=self.library.tolerance,
            )
        return self._by_names[names]

    def derived(
        self, points: NDArray[np.float64], names: tuple[str, ...]
    ) -> dict[str, NDArray[np.float64]]:
        """Return derived quantities by name, (n,)."""
        found = in_batches(self._derived, self.quantities(names), points)
        # JAX sorts names.
        return {name: found[name] for name in names}

    def seds(self, points: NDArray[np.float64]) -> SEDs:
        """Return the observed spectra; see `Fit.seds`."""
        model = self._with_spectra.model
        redshift = self._redshifts(points)
        stretch = 1.0 + redshift
        rest = np.asarray(model.emission.lam, np.float64)
        lam = rest * np.median(stretch)
        # All galaxies have these wavelengths, but for rounding.
        low, high = rest[0] * stretch.max(), rest[-1] * stretch.min()
        lam = lam[(lam >= low * (1.0 - 1e-6)) & (lam <= high * (1.0 + 1e-6))]
        fnu = in_batches(self._fnu, (model, jnp.asarray(lam, float)), points)
        return SEDs(
            unyt_array(lam, "angstrom"), unyt_array(fnu, "nJy"), redshift
        )

    def sfhs(self, points: NDArray[np.float64]) -> SFHs:
        """Return the star formation histories; see `Fit.sfhs`."""
        model = self.library.model
        masses = in_batches(self._masses, model, points)
        limits = bin_limits(np.array(model.ages))
        age = self.library.parameters.age_of_universe(self._redshifts(points))
        return SFHs(
            unyt_array(limits, "yr"),
            unyt_array(masses / np.diff(limits), "Msun/yr"),
            unyt_array(age, "yr"),
        )

    @cached_property
    def _by_names(self) -> dict[tuple[str, ...], DerivedQuantities]:
        """The functions that were compiled, by the names of quantities."""
        return {}

    @cached_property
    def _with_spectra(self) -> Library:
        """The library with spectra in place of all other outputs."""
        return replace(self.library, outputs="fnu", filters=None, lines=None)

    def _redshifts(self, points: NDArray[np.float64]) -> NDArray[np.float64]:
        """Return the redshifts, (n,)."""
        n = self.library.parameters.dimensions
        values, _ = self.library.sampler.at(points[:, :n])
        return np.asarray(values[REDSHIFT], np.float64)

    def _galaxy(self, point: Array) -> dict[str, Any]:
        """Return the parameters of the galaxy at one point."""
        n = self.library.parameters.dimensions
        values, _ = self.library.sampler.at(point[None, :n])
        return jax.tree.map(lambda leaf: leaf[0], values)

    def _derived(
        self, quantities: DerivedQuantities, point: Array
    ) -> dict[str, Array]:
        """Return the derived quantities of one galaxy."""
        return quantities(self._galaxy(point))

    def _fnu(
        self, arguments: tuple[GalaxyModel, Array], point: Array
    ) -> Array:
        """Return the flux densities at some observed wavelengths, nJy."""
        model, lam = arguments
        values = self._galaxy(point)
        fnu = model.galaxy(values)["fnu"][self.label]
        observed = model.emission.lam * (1.0 + values[REDSHIFT])
        return jnp.interp(lam, observed, fnu)

    def _masses(self, model: GalaxyModel, point: Array) -> Array:
        """Return the initial mass at each age, solar masses, (n_ages,)."""
        values = self._galaxy(point)
        return values[MASS] * model.mass_fractions(values).sum(axis=1)
