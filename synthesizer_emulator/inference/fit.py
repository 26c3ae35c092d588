"""`Fit`: the posterior of the parameters of a galaxy."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import cached_property, partial
from inspect import signature
from typing import TYPE_CHECKING, Any

import jax
import jax.numpy as jnp
import numpy as np
from astropy.cosmology import Planck18
from jax import Array
from numpy.typing import NDArray
from synthesizer.emission_models import EmissionModel
from synthesizer.exceptions import InconsistentArguments
from synthesizer.instruments import FilterCollection

from synthesizer_emulator.galaxies.model import GalaxyModel
from synthesizer_emulator.galaxies.translate import TOLERANCE
from synthesizer_emulator.inference.nested import nested
from synthesizer_emulator.inference.photometry import Photometry
from synthesizer_emulator.inference.posterior import Posterior
from synthesizer_emulator.inference.samples import Samples
from synthesizer_emulator.library.draws import Draws
from synthesizer_emulator.library.history import History
from synthesizer_emulator.library.library import Library
from synthesizer_emulator.library.parameters import PriorLike
from synthesizer_emulator.validation import check_choice, nearest

if TYPE_CHECKING:
    from astropy.cosmology import FLRW

# The samplers by name.
SAMPLERS: Mapping[str, Callable[..., Samples]] = {"nested": nested}

# The number of points of the hypercube evaluated at a time.
_BATCH = 256

# The galaxies drawn to check that the priors are within the grid.
_CHECKED = 4096


@dataclass(frozen=True, eq=False)
class Fit:
    """An emission model and priors, to be compared with data.

    The arguments are those of `Library`, with the same priors.

    Attributes:
        emission_model (EmissionModel): Synthesizer's emission model, on an
            emulated or native grid.
        sf_hist (History): The star formation history, or its name.
        metal_dist (History): The metallicity distribution, or its name.
        stars (Mapping): Priors of the other parameters of the stars:
            `initial_mass` (or `log10initial_mass`), those of the emission
            model, and values on further axes of the grid.
        filters (FilterCollection): The filters, or arguments of
            `as_filters`.
        redshift (Prior): The redshift.
        cosmo (FLRW): The cosmology, or its name in astropy.
        igm (IGMBase): Synthesizer's model of the intergalactic medium.
        emission (str): The label of the observed emission; by default the
            root of the model.
        tolerance (float): The error of the linear bases of the compiled
            model, mag, as for `compile_model`.

    Raises:
        InconsistentArguments: If arguments are inconsistent.
        MissingAttribute: If the stars have no value on an axis of the grid.
        IncorrectUnits: If a parameter has wrong units.
        UnimplementedFunctionality: If a history has no batched form.
    """

    emission_model: EmissionModel
    sf_hist: History
    metal_dist: History
    stars: Mapping[str, PriorLike]
    filters: FilterCollection
    redshift: PriorLike
    cosmo: "FLRW" = field(default_factory=lambda: Planck18)
    igm: Any = None
    emission: str | None = None
    tolerance: float = TOLERANCE

    def __post_init__(self) -> None:
        """Check names and units, and expand codes of filters."""
        if self.filters is None or self.redshift is None:
            missing = "filters" if self.filters is None else "redshift"
            raise InconsistentArguments(
                "A fit of photometry needs filters and a redshift, got "
                f"{missing}=None. Give a prior or a number for a redshift."
            )
        object.__setattr__(self, "filters", self.library.filters)
        if not self.library.parameters.dimensions:
            raise InconsistentArguments(
                "A fit needs at least one free parameter, got only fixed "
                "values. Give a prior, such as Uniform(8, 12)."
            )

    @classmethod
    def from_library(cls, library: Library) -> "Fit":
        """Return the fit with the model and the priors of a library."""
        emissions = library.emissions or (None,)
        if len(tuple(emissions)) > 1:
            raise InconsistentArguments(
                "A fit compares one emission with the data, got the emissions "
                f"{', '.join(map(str, emissions))}. Give one in the library."
            )
        return cls(
            emission_model=library.emission_model,
            sf_hist=library.sf_hist,
            metal_dist=library.metal_dist,
            stars=library.stars,
            filters=library.filters,
            redshift=library.redshift,
            cosmo=library.cosmo,
            igm=library.igm,
            emission=next(iter(emissions)),
            tolerance=library.tolerance,
        )

    @cached_property
    def library(self) -> Library:
        """The library of galaxies that follow the priors."""
        return Library(
            emission_model=self.emission_model,
            sf_hist=self.sf_hist,
            metal_dist=self.metal_dist,
            stars=self.stars,
            draws=Draws(_CHECKED),
            redshift=self.redshift,
            filters=self.filters,
            cosmo=self.cosmo,
            igm=self.igm,
            outputs="photometry",
            emissions=self.emission,
            tolerance=self.tolerance,
        )

    @property
    def names(self) -> tuple[str, ...]:
        """The names of the dimensions of the hypercube."""
        names: list[str] = []
        for p in self.library.parameters:
            name = _short(p.path)
            if p.prior.size is None:
                names += [name] * p.prior.dimensions
            else:
                names += [f"{name}[{i}]" for i in range(p.prior.size)]
        return tuple(names)

    @property
    def codes(self) -> tuple[str, ...]:
        """The codes of the filters."""
        bands = self.library.model.bands
        assert bands is not None
        return bands.codes

    @property
    def label(self) -> str:
        """The label of the observed emission."""
        return self.library.model.emission.emissions[0]

    def photometry(
        self,
        fluxes: Mapping[str, Any] | NDArray,
        errors: Mapping[str, Any] | NDArray,
        upper_limits: Any = (),
        floor: float = 0.0,
    ) -> Photometry:
        """Return data in the filters of the fit.

        As `Photometry.from_fluxes`.
        """
        return Photometry.from_fluxes(
            fluxes, errors, self.codes, upper_limits, floor
        )

    def parameters(
        self, points: NDArray[np.float64]
    ) -> dict[str, NDArray[np.float64]]:
        """Return the free parameters at points of the hypercube, (n, d).

        They are in the units of their priors, with fractions converted to
        values, as in a library.
        """
        _, columns = self.library.sampler.at(np.asarray(points, np.float64))
        return {
            _short(path): np.asarray(values)
            for path, values in columns.items()
        }

    def outputs(self, points: NDArray[np.float64]) -> NDArray[np.float64]:
        """Return the photometry at points of the hypercube, nJy.

        Args:
            points (np.ndarray of float): The points, (n, d).

        Returns:
            np.ndarray of float: The flux densities, (n, n_bands).
        """
        return self._in_batches(self._photometries, points)

    def log_likelihood(
        self, points: NDArray[np.float64], data: Photometry
    ) -> NDArray[np.float64]:
        """Return the logarithm of the likelihood at points, (n, d) to (n,).

        It is minus infinity outside the range of the model.
        """
        return self._in_batches(self._log_likelihoods, points, data)

    def run(
        self,
        data: Photometry,
        method: str = "nested",
        seed: int = 0,
        progress: bool = True,
        **options: Any,
    ) -> Posterior:
        """Sample the posterior of one galaxy.

        Args:
            data (Photometry): The data.
            method (str): The sampler, a key of `SAMPLERS`: `nested` (by
                default), nested sampling with nautilus.
            seed (int): The seed of the random numbers.
            progress (bool): Show the progress.
            **options (dict): Other options of the sampler.

        Returns:
            Posterior: The samples, with the evidence.

        Raises:
            InconsistentArguments: If a prior extends beyond the grid, the
                data are of other filters, or an option is invalid.
            UnmetDependency: If the sampler is not installed.
        """
        check_choice("method", method, tuple(SAMPLERS))
        _check_options(method, options)
        self.library.check()
        self.library.sampler.check_inside("refuse", remedy="")
        n_bands = len(self.codes)
        if data.flux.shape != (n_bands,):
            raise InconsistentArguments(
                f"The data must be in the {n_bands} filters of the fit, "
                f"{', '.join(self.codes)}; got {data.flux.shape[0]}. Make "
                "them with Fit.photometry."
            )
        samples = SAMPLERS[method](
            partial(self.log_likelihood, data=data),
            len(self.names),
            seed=seed,
            progress=progress,
            **options,
        )
        units = self.library.parameters.units()
        return Posterior(
            data=data,
            samples=samples,
            parameters=self.parameters(samples.points),
            units={_short(path): unit for path, unit in units.items()},
            photometry=self.outputs(samples.points),
            codes=self.codes,
        )

    def _photometry(self, model: GalaxyModel, point: Array) -> Array:
        """Return the photometry at one point of the hypercube, (n_bands,)."""
        values, _ = self.library.sampler.at(point[None])
        one = jax.tree.map(lambda leaf: leaf[0], values)
        return model.galaxy(one)["photometry"][self.label]

    def _log_likelihood(
        self, model: GalaxyModel, point: Array, data: Photometry
    ) -> Array:
        """Return the logarithm of the likelihood at one point, ()."""
        value = data.log_likelihood(self._photometry(model, point))
        return jnp.where(jnp.isnan(value), -jnp.inf, value)

    @cached_property
    def _photometries(self) -> Callable[..., Array]:
        """The compiled photometry at a batch of points."""
        return jax.jit(jax.vmap(self._photometry, in_axes=(None, 0)))

    @cached_property
    def _log_likelihoods(self) -> Callable[..., Array]:
        """The compiled logarithm of the likelihood at a batch of points."""
        return jax.jit(jax.vmap(self._log_likelihood, in_axes=(None, 0, None)))

    def _in_batches(
        self,
        compiled: Callable[..., Array],
        points: NDArray[np.float64],
        *data: Any,
    ) -> NDArray[np.float64]:
        """Evaluate a compiled function of points in batches of one size."""
        results = []
        for start in range(0, len(points), _BATCH):
            batch = points[start : start + _BATCH]
            padded = np.resize(batch, (_BATCH, points.shape[1]))
            padded[: len(batch)] = batch
            found = compiled(
                self.library.model, jnp.asarray(padded, float), *data
            )
            results.append(np.asarray(found, np.float64)[: len(batch)])
        return np.concatenate(results)


def _check_options(method: str, options: Mapping[str, Any]) -> None:
    """Raise if a sampler has no option of a given name."""
    # The first three are not the user's.
    _, _, _, *known = signature(SAMPLERS[method]).parameters
    known.remove("progress")
    for option in options:
        if option not in known:
            raise InconsistentArguments(
                f"The options of '{method}' must be among "
                f"{', '.join(known)}; got '{option}'." + nearest(option, known)
            )


def _short(path: str) -> str:
    """Return the name of a parameter from its path in a library."""
    return path.removeprefix("parameters/")
