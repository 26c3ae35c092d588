"""`Fit`: the posterior of the parameters of a galaxy."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, fields, replace
from functools import cached_property
from inspect import signature
from typing import TYPE_CHECKING, Any, TypeAlias

import jax
import jax.numpy as jnp
import numpy as np
from astropy.cosmology import Planck18
from numpy.typing import NDArray
from synthesizer.emission_models import EmissionModel
from synthesizer.exceptions import InconsistentArguments
from synthesizer.instruments import FilterCollection
from synthesizer.synth_warnings import warn

from synthesizer_emulator.descriptions import Described, Description
from synthesizer_emulator.digests import json_digest
from synthesizer_emulator.galaxies.line_selection import LineSelection
from synthesizer_emulator.galaxies.translate import TOLERANCE
from synthesizer_emulator.galaxies.tree import grids_of
from synthesizer_emulator.inference.amortised.flow import FlowSettings
from synthesizer_emulator.inference.amortised.network import Network
from synthesizer_emulator.inference.amortised.noise import Noise
from synthesizer_emulator.inference.amortised.training import (
    check_training,
    inputs_of,
    train_network,
)
from synthesizer_emulator.inference.checks import (
    check_ages,
    check_of_spectrum,
    check_sampled,
)
from synthesizer_emulator.inference.curves import SEDs, SFHs
from synthesizer_emulator.inference.data import SIGMA_V, Data
from synthesizer_emulator.inference.hypercube import Hypercube, value_range
from synthesizer_emulator.inference.likelihood import Likelihood
from synthesizer_emulator.inference.line_fluxes import LineFluxes
from synthesizer_emulator.inference.photometry import Photometry
from synthesizer_emulator.inference.point_galaxies import PointGalaxies
from synthesizer_emulator.inference.posterior import Posterior
from synthesizer_emulator.inference.samplers import (
    BY_GRADIENTS,
    attempted,
    sample_many,
    sampler_options,
)
from synthesizer_emulator.inference.samples import Samples
from synthesizer_emulator.inference.spectrograph import Spectrograph
from synthesizer_emulator.inference.spectrum import (
    Spectrum,
    resolution_variance,
)
from synthesizer_emulator.inference.target import Target, at_point, in_batches
from synthesizer_emulator.library.draws import Draws
from synthesizer_emulator.library.history import History
from synthesizer_emulator.library.library import Library
from synthesizer_emulator.library.metadata import (
    describe_grids,
    describe_prior,
)
from synthesizer_emulator.library.parameters import (
    REDSHIFT,
    SPECTRUM,
    Parameters,
    PriorLike,
)
from synthesizer_emulator.progress import stage
from synthesizer_emulator.validation import (
    check_keys,
    check_names,
    check_whole,
)

if TYPE_CHECKING:
    from astropy.cosmology import FLRW

# Data of one kind, or of several.
DataLike: TypeAlias = (
    Data
    | Photometry
    | LineFluxes
    | Spectrum
    | Iterable[Photometry | LineFluxes | Spectrum]
)

# The parameters of a spectrum besides `sigma_v`.
_OF_SPECTRUM = tuple(signature(Spectrum.log_likelihood).parameters)[2:]

# The parts of the model that a posterior depends on, besides its priors: their
# keys among the inputs of a library.
_PARTS = {
    "emission model": ("emission_model", "emissions", "recipe"),
    "grid": ("grids",),
    "history": ("sf_hist", "metal_dist"),
    "cosmology": ("cosmo", "distances"),
    "intergalactic medium": ("igm",),
    "choice of fixed values": ("fixed",),
}

# The galaxies drawn to check that the priors are within the grid.
_CHECKED = 4096


@dataclass(frozen=True, eq=False, repr=False)
class Fit(Described):
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
        lines (tuple of str): The ids of the emission lines to fit, as for
            `compile_lines`.
        spectrum (Mapping): The priors of the parameters of a spectrum, if
            there is one to fit: `sigma_v`, the velocity dispersion; and any
            of `error_scale`, `jitter`, `outlier_fraction`, `outlier_scale`
            and `coefficients`, as for `Spectrum.log_likelihood`.
        resolution (float/unyt_array): The resolution of the spectra of the
            grid, in the forms of `Spectrum.from_fluxes`; None if they are
            infinitely sharp.
        tolerance (float): The error of the linear bases of the compiled
            model, mag, as for `compile_model`.
        integration (str): How spectra are integrated over filters, as for
            `Library`: `exact` is smooth in redshift.

    Raises:
        InconsistentArguments: If arguments are inconsistent, or a prior
            extends beyond the grid, or beyond what a parameter of a spectrum
            can be.
        MissingLines: If a grid lacks a line.
        GridError: If it has no lines.
        MissingSpectraType: If the model has no emission of that label.
        MissingAttribute: If the stars have no value on an axis of the grid.
        IncorrectUnits: If a parameter has wrong units.
        UnimplementedFunctionality: If a history has no batched form.
    """

    emission_model: EmissionModel
    sf_hist: History
    metal_dist: History
    stars: Mapping[str, PriorLike]
    filters: FilterCollection | None = None
    redshift: PriorLike | None = None
    cosmo: "FLRW" = field(default_factory=lambda: Planck18)
    igm: Any = None
    emission: str | None = None
    lines: Iterable[str] | None = None
    spectrum: Mapping[str, PriorLike] | None = None
    resolution: Any = None
    tolerance: float = TOLERANCE
    integration: str = "trapezoidal"

    def __post_init__(self) -> None:
        """Check names and units, and expand codes of filters."""
        if self.redshift is None:
            raise InconsistentArguments(
                "A fit of observations needs a redshift, got redshift=None. "
                "Give a prior or a number."
            )
        if not self._outputs:
            raise InconsistentArguments(
                "A fit needs something to compare: give filters for "
                "photometry, lines for line fluxes, or spectrum for spectra."
            )
        if self.spectrum is not None:
            check_keys("spectrum", self.spectrum, (SIGMA_V,), _OF_SPECTRUM)
        object.__setattr__(self, "filters", self.library.filters)
        object.__setattr__(self, "lines", self.library.lines)
        if not self.dimensions:
            raise InconsistentArguments(
                "A fit needs at least one free parameter, got only fixed "
                "values. Give a prior, such as Uniform(8, 12)."
            )
        self.library.sampler.check_inside("refuse", remedy="")
        if self.spectrum is not None:
            check_of_spectrum(self.all_parameters)
        if self.resolution is not None:
            if self.spectrum is None:
                raise InconsistentArguments(
                    "resolution is that of the models of a spectrum, got "
                    f"{self.resolution} without spectrum. Give "
                    "spectrum={'sigma_v': ...}, or leave out resolution."
                )
            # At the right number of wavelengths when there is a spectrum.
            number = np.ones(np.shape(self.resolution) or 1)
            resolution_variance("resolution", self.resolution, number)
        if self.lines is not None:
            # As all are looked for when the model is compiled.
            LineSelection.from_grids(grids_of(self.emission_model), self.lines)

    def _description(self) -> Description:
        """Return the model, the priors and the data that it is for."""
        rows = dict(self.library._description().rows)
        del rows["draws"]
        of_spectrum = {
            p.title: str(p.prior)
            for p in self.all_parameters.in_group(SPECTRUM).values()
        }
        return Description(
            f"Fit of {self.dimensions} parameters", rows | of_spectrum
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
            lines=library.lines,
            tolerance=library.tolerance,
            integration=library.integration,
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
            outputs=self._outputs,
            emissions=self.emission,
            lines=self.lines,
            tolerance=self.tolerance,
            integration=self.integration,
        )

    @property
    def _outputs(self) -> tuple[str, ...]:
        """The outputs of the model that the data are compared with."""
        wanted = {
            "photometry": self.filters,
            "line_fluxes": self.lines,
            "fnu": self.spectrum,
        }
        return tuple(k for k, given in wanted.items() if given is not None)

    @cached_property
    def all_parameters(self) -> Parameters:
        """The parameters of a galaxy, and those of a spectrum if any."""
        priors: dict[str, dict[str, PriorLike]] = {}
        for p in self.library.parameters:
            priors.setdefault(p.group, {})[p.given_name] = p.prior
        if self.spectrum is not None:
            priors[SPECTRUM] = dict(self.spectrum)
        return Parameters.from_priors(priors, self.cosmo)

    @cached_property
    def hypercube(self) -> Hypercube:
        """The unit hypercube of the parameters, in which samplers work."""
        return Hypercube(self.all_parameters)

    @cached_property
    def likelihood(self) -> Likelihood:
        """The model and the likelihood in the hypercube."""
        return Likelihood(self.library, self.hypercube, self.label)

    @property
    def dimensions(self) -> int:
        """The number of dimensions of the hypercube."""
        return self.hypercube.dimensions

    @property
    def names(self) -> tuple[str, ...]:
        """The names of the dimensions of the hypercube."""
        return self.hypercube.names

    @property
    def units(self) -> dict[str, str]:
        """The units of the parameters by name."""
        return self.hypercube.units

    def parameters(
        self, points: NDArray[np.float64]
    ) -> dict[str, NDArray[np.float64]]:
        """Return the free parameters at points of the hypercube, (n, d).

        They are in the units of their priors, with fractions converted to
        values, as in a library.
        """
        return self.hypercube.parameters(points)

    @property
    def codes(self) -> dict[str, tuple[str, ...]]:
        """The codes of the filters and the ids of the lines.

        By `photometry` and `line_fluxes`.
        """
        codes = {}
        if self.filters is not None:
            codes["photometry"] = tuple(self.filters.filter_codes)
        if self.lines is not None:
            codes["line_fluxes"] = tuple(self.lines)
        return codes

    @property
    def label(self) -> str:
        """The label of the observed emission."""
        return self.library.model.emission.emissions[0]

    def photometry(
        self,
        fluxes: Mapping[str, Any] | NDArray,
        errors: Mapping[str, Any] | NDArray,
        upper_limits: Any = (),
        floor: float | Mapping[str, float] = 0.0,
    ) -> Photometry:
        """Return data in the filters of the fit.

        As `Photometry.from_fluxes`.
        """
        return Photometry.from_fluxes(
            fluxes, errors, self._codes("photometry"), upper_limits, floor
        )

    def line_fluxes(
        self,
        fluxes: Mapping[str, Any] | NDArray,
        errors: Mapping[str, Any] | NDArray,
        upper_limits: Any = (),
        floor: float | Mapping[str, float] = 0.0,
    ) -> LineFluxes:
        """Return data of the emission lines of the fit.

        As `LineFluxes.from_fluxes`.
        """
        return LineFluxes.from_fluxes(
            fluxes, errors, self._codes("line_fluxes"), upper_limits, floor
        )

    def data(
        self, given: DataLike, spectrograph: Spectrograph | None = None
    ) -> Data:
        """Return all data of one galaxy together, ready for the likelihood.

        Args:
            given (Photometry/LineFluxes/Spectrum): The data, or several of
                different kinds.
            spectrograph (Spectrograph): What takes models to the pixels of
                the spectrum, if it serves several, from `spectrograph`.

        Raises:
            InconsistentArguments: If there are no data, two are of one kind,
                or data do not suit the fit.
        """
        if isinstance(given, Data):
            spectrum = given.spectrum
            if spectrum is None or given.spectrograph is not None:
                return given
            # From the file of a posterior.
            return replace(given, spectrograph=self.spectrograph(spectrum))
        kinds = {
            Photometry: "photometry",
            LineFluxes: "line_fluxes",
            Spectrum: "spectrum",
        }
        found: dict[str, Any] = {}
        items: list[Any] = [*given] if isinstance(given, Iterable) else [given]
        for item in items:
            if isinstance(item, str):
                raise InconsistentArguments(
                    "The data must be made with Fit.photometry, "
                    "Fit.line_fluxes or Spectrum.from_fluxes, got a "
                    f"{type(given).__name__}."
                )
            kind = kinds.get(type(item))
            if kind is None or kind in found:
                raise InconsistentArguments(
                    "The data must be at most one each of "
                    f"{', '.join(k.__name__ for k in kinds)}, got "
                    f"{', '.join(type(item).__name__ for item in items)}."
                )
            found[kind] = item
        if not found:
            raise InconsistentArguments("The data must not be empty, got [].")
        for kind in found.keys() - {"spectrum"}:
            codes, given_codes = self._codes(kind), found[kind].codes
            if given_codes != codes:
                raise InconsistentArguments(
                    f"The data must be in the {len(codes)} "
                    f"{found[kind].element}s of the fit, {', '.join(codes)}; "
                    f"got {', '.join(given_codes)}. Make them with Fit.{kind}."
                )
        if "spectrum" in found:
            found["spectrograph"] = (
                self.spectrograph(found["spectrum"])
                if spectrograph is None
                else spectrograph
            )
        return Data(**found)

    def spectrograph(self, spectrum: Spectrum) -> Spectrograph:
        """Return what takes models to the pixels of a spectrum.

        Args:
            spectrum (Spectrum): The spectrum; or several, with arrays of one
                row each, all of which it then serves.

        Raises:
            InconsistentArguments: If the fit has no parameters of a spectrum,
                the outliers and the calibration contradict each other, or as
                for `Spectrograph.from_spectrum`.
        """
        if self.spectrum is None:
            raise InconsistentArguments(
                "The fit has no parameters of a spectrum, got a Spectrum. "
                "Make the fit with spectrum={'sigma_v': ...}."
            )
        if spectrum.polynomials.shape[-1] and (
            "outlier_fraction" in self.spectrum
            and "coefficients" not in self.spectrum
        ):
            raise InconsistentArguments(
                "The calibration polynomial can't be marginalised over with "
                "outlier_fraction. Give 'coefficients' a prior, or make the "
                "Spectrum without calibration_degree."
            )
        lam = np.asarray(self.library.model.emission.lam, np.float64)
        if self.resolution is None:
            check_sampled(spectrum, lam)
        return Spectrograph.from_spectrum(
            spectrum,
            lam,
            self.resolution,
            value_range(self.library.parameters, REDSHIFT),
            value_range(self.all_parameters, SIGMA_V),
        )

    def predict(
        self, points: NDArray[np.float64], data: DataLike | None = None
    ) -> dict[str, NDArray[np.float64]]:
        """Return the models of the data at points of the hypercube.

        Args:
            points (np.ndarray of float): The points, (n, d).
            data (Data): The data, needed for the pixels of a spectrum.

        Returns:
            dict: `photometry` (nJy) in the filters, `line_fluxes`
                (erg/s/cm^2) of the lines, and `spectrum` (nJy) at the pixels
                of the data, with the `calibration` that multiplies it and the
                errors of the data, `spectrum_error`, (n, ...); those that the
                fit has.
        """
        whole = Data() if data is None else self.data(data)
        arguments = self.likelihood.arguments(whole)
        return in_batches(
            self.likelihood.predict, arguments, np.asarray(points)
        )

    def mock(
        self,
        point: NDArray[np.float64],
        like: DataLike,
        rng: np.random.Generator,
    ) -> Data:
        """Return data of a galaxy with the errors and gaps of other data.

        Args:
            point (np.ndarray of float): A point of the hypercube, (d,).
            like (Photometry/LineFluxes/Spectrum): The data, as for `run`;
                upper limits become measurements.
            rng (Generator): The random numbers of the noise.

        Returns:
            Data: The data. Those of a galaxy outside of the model are NaN.
        """
        data = self.data(like)
        model, others = jax.tree.map(
            np.asarray,
            at_point(
                self.likelihood.model,
                self.likelihood.arguments(data),
                jnp.asarray(point, float),
            ),
        )
        return data.mock(model, others, rng)

    def derived_units(self, names: str | Iterable[str]) -> dict[str, str]:
        """Return the units of derived quantities, by name, for `derive`.

        Args:
            names (list of str): The quantities, as for `derive`.

        Raises:
            InconsistentArguments: If there is no quantity of a name; likewise
                the other errors of `DerivedQuantities.from_model`.
        """
        chosen = check_names("names", names)
        return self._galaxies.quantities(chosen).units

    def derive(
        self,
        posterior: Posterior,
        names: str | Iterable[str],
        with_prior: bool = True,
    ) -> Posterior:
        """Add derived quantities to a posterior, of all its samples.

        Args:
            posterior (Posterior): A posterior of this fit.
            names (list of str): The quantities, as for
                `DerivedQuantities.from_model`, such as `sfr_100Myr`. Those of
                an emission are of the root of the emission model, unless
                they name another.
            with_prior (bool): Derive them also of galaxies that follow the
                prior, for plots.

        Returns:
            Posterior: The posterior, with the quantities in `derived`, and
                perhaps in `prior`.

        Raises:
            InconsistentArguments: If there is no quantity of a name; likewise
                the other errors of `DerivedQuantities.from_model`.
        """
        chosen = check_names("names", names)
        points, at = self._points(posterior), self._galaxies
        more = posterior.prior
        if with_prior:
            prior = self._prior(points[0], posterior.is_free)
            more = more | at.derived(prior, chosen)
        return replace(
            posterior,
            units=posterior.units | at.quantities(chosen).units,
            derived=posterior.derived | at.derived(points, chosen),
            prior=more,
        )

    def seds(self, posterior: Posterior, n: int = 500, seed: int = 0) -> SEDs:
        """Return the spectra of galaxies of a posterior, as observed.

        They are those of the emission and the intergalactic medium, not
        broadened, at the wavelengths of the grid for the median redshift; to
        these the spectra at other redshifts are interpolated linearly.

        Args:
            posterior (Posterior): A posterior of this fit.
            n (int): The number of galaxies, drawn with equal weights.
            seed (int): The seed of the random numbers.

        Returns:
            SEDs: The wavelengths and the flux densities.
        """
        points = self._points(posterior)[posterior.draw(n, seed)]
        return self._galaxies.seds(points)

    def sfhs(self, posterior: Posterior, n: int = 1000, seed: int = 0) -> SFHs:
        """Return the star formation histories of galaxies of a posterior.

        Args:
            posterior (Posterior): A posterior of this fit.
            n (int): The number of galaxies, drawn with equal weights.
            seed (int): The seed of the random numbers.

        Returns:
            SFHs: The lookback times and the star formation rates.
        """
        points = self._points(posterior)[posterior.draw(n, seed)]
        return self._galaxies.sfhs(points)

    def log_likelihood(
        self, points: NDArray[np.float64], data: DataLike
    ) -> NDArray[np.float64]:
        """Return the logarithm of the likelihood at points, (n, d) to (n,).

        It is minus infinity outside the range of the model.
        """
        return self.target(data)(np.asarray(points))

    def target(
        self, data: DataLike, known: Mapping[str, Any] | None = None
    ) -> Target:
        """Return the likelihood of one galaxy, as samplers take it.

        The arguments are those of `run`.
        """
        return self.likelihood.target(self.data(data), known)

    def run(
        self,
        data: DataLike,
        method: str = "nested",
        seed: int = 0,
        progress: bool = True,
        known: Mapping[str, Any] | None = None,
        **options: Any,
    ) -> Posterior:
        """Sample the posterior of one galaxy.

        Args:
            data (Photometry/LineFluxes/Spectrum): The data, or several of
                different kinds.
            method (str): The sampler, a key of `SAMPLERS`: `nested` (by
                default), nested sampling with nautilus; `nss`, nested slice
                sampling with blackjax; `nuts`, the no-U-turn sampler with
                blackjax; `map`, the most probable parameters only; or
                `amortised`, draws from a network that `train` made.
            seed (int): The seed of the random numbers.
            progress (bool): Show the progress.
            known (Mapping): Values of parameters of this galaxy, such as its
                redshift, in the units of their priors; others are sampled.
                What is compiled serves all galaxies with the same known
                parameters.
            **options (dict): Other options of the sampler.

        Returns:
            Posterior: The samples, with the evidence.

        Raises:
            InconsistentArguments: If a prior extends beyond the grid, the
                data are of other filters or impossible, or an option is
                invalid.
            UnmetDependency: If the sampler is not installed.
        """
        everything = None if known is None else [known]
        return self.run_many(
            [data], method, seed, progress, everything, **options
        )[0]

    def run_many(
        self,
        data: Sequence[DataLike],
        method: str = "nested",
        seed: int | Sequence[int] = 0,
        progress: bool = True,
        known: Sequence[Mapping[str, Any]] | None = None,
        **options: Any,
    ) -> list[Posterior]:
        """Sample the posteriors of several galaxies.

        With `nss`, `nuts` and `map` all galaxies whose data are of the same
        kinds, and of which the same number of parameters is known, are
        sampled in one program; with the others one after another.

        Args:
            data (list): The data of each galaxy, as for `run`.
            method (str): The sampler, as for `run`.
            seed (int/list of int): The seed of the random numbers of each
                galaxy; or that of the first, to which one is added for each
                of the others.
            progress (bool): Show the progress.
            known (list of Mapping): Values of parameters of each galaxy, as
                for `run`.
            **options (dict): Other options of the sampler.

        Returns:
            list of Posterior: The posteriors, those of `run` with each seed
                but for rounding.

        Raises:
            InconsistentArguments: As for `run`.
            UnmetDependency: If the sampler is not installed.
        """
        return self._posteriors(
            data, method, seed, progress, known, options, is_strict=True
        )

    def attempt(
        self,
        data: Sequence[DataLike],
        method: str = "nested",
        seed: int | Sequence[int] = 0,
        progress: bool = True,
        known: Sequence[Mapping[str, Any]] | None = None,
        at_once: int | None = None,
        **options: Any,
    ) -> list[Posterior | Exception]:
        """Sample the posteriors of several galaxies, of which some may fail.

        Args:
            data (list): The data of each galaxy, as for `run_many`, whose
                other arguments these are.
            method (str): The sampler.
            seed (int/list of int): The seeds.
            progress (bool): Show the progress.
            known (list of Mapping): What is known of each galaxy.
            at_once (int): The number of galaxies in one program; fewer are
                filled up with copies, so that what is compiled serves any
                number. By default as many as there are.
            **options (dict): Other options of the sampler.

        Returns:
            list: The posterior of each galaxy, or the error that it met.

        Raises:
            InconsistentArguments: If a prior extends beyond the grid, an
                option has a wrong name, or the lists differ in length.
            UnmetDependency: If the sampler is not installed.
        """
        return self._posteriors(
            data, method, seed, progress, known, options, at_once
        )

    def train(
        self,
        errors: Mapping[str, Any] | NDArray,
        floor: float = 0.0,
        limit: float | None = None,
        n: int = 100_000,
        seed: int = 0,
        progress: bool = True,
        **settings: Any,
    ) -> Network:
        """Train a network for the photometry of all galaxies of a survey.

        It serves `run` with the method `amortised`. The training set has
        parameters drawn from the priors, and each galaxy the errors and the
        missing bands of a random row of `errors`.

        Args:
            errors (dict/array): The standard deviations of the flux
                densities by filter code, or in the order of the filters along
                the last axis, with units or in nJy: one number for each band,
                or those of the galaxies of a catalogue, NaN where a band is
                missing. Bands that are left out are missing from all.
            floor (float): As for `photometry`, but one for all filters.
            limit (float): Flux densities below this many standard deviations
                are upper limits of that many; by default there are none.
            n (int): The number of galaxies.
            seed (int): The seed of the random numbers.
            progress (bool): Show the progress.
            **settings (dict): Fields of `FlowSettings`.

        Returns:
            Network: The network. `Network.write` writes it to a file.

        Raises:
            InconsistentArguments: If a prior extends beyond the grid, or the
                errors or a setting are invalid.
            IncorrectUnits: If the units are not those of a flux density.
            UnmetDependency: If sbi is not installed.
        """
        known = tuple(f.name for f in fields(FlowSettings))
        check_keys("settings", settings, (), known)
        chosen = FlowSettings(**settings)
        check_training(n, seed)
        codes = self._codes("photometry")
        noise = Noise.from_errors(errors, codes, floor, limit)
        with stage("Compiling the model", progress):
            self.check()
        return train_network(
            lambda points: self.predict(points)["photometry"],
            self.names,
            codes,
            inputs_of(self.library),
            noise,
            n,
            seed,
            progress,
            chosen,
        )

    def check(self) -> None:
        """Compile the model, and check that it can make galaxies.

        Warns if some galaxies are older than the Universe, or filters or
        parts of them are outside of the wavelengths of the model at some
        redshifts. Nothing is
        done twice.

        Raises:
            InconsistentArguments: If a filter is outside of the model at all
                redshifts.
        """
        _ = self._is_checked

    @cached_property
    def _is_checked(self) -> bool:
        """True, if the checks of `check` do not raise."""
        self.library.check_filters(refuse=True)
        self.library.check()
        check_ages(self.library)
        return True

    def posterior(self, target: Target, samples: Samples) -> Posterior:
        """Return the posterior of one galaxy from its samples.

        Args:
            target (Target): The likelihood that was sampled.
            samples (Samples): The samples, in the free dimensions.
        """
        arguments = target.arguments
        points = np.tile(np.asarray(arguments.base, float), (len(samples), 1))
        points[:, np.asarray(arguments.free)] = samples.points
        whole = replace(samples, points=points)
        data = arguments.data
        best = points[[np.argmax(samples.log_likelihood)]]
        is_free = np.zeros(self.dimensions, bool)
        is_free[np.asarray(arguments.free)] = True

        def as_known(
            values: dict[str, NDArray[np.float64]],
        ) -> dict[str, NDArray[np.float64]]:
            # Not rounded to the precision of points.
            return values | {
                name: np.full_like(values[name], value)
                for name, value in target.known.items()
            }

        return Posterior(
            data=data,
            samples=whole,
            names=self.names,
            is_free=is_free,
            parameters=as_known(self.parameters(points)),
            units=self.units,
            predictions=self.predict(points),
            codes=self.codes,
            best_model={k: v[0] for k, v in self.predict(best, data).items()},
            prior=as_known(self.parameters(self._prior(points[0], is_free))),
            model=self._model,
        )

    def _posteriors(
        self,
        data: Sequence[DataLike],
        method: str,
        seed: int | Sequence[int],
        progress: bool,
        known: Sequence[Mapping[str, Any]] | None,
        options: Mapping[str, Any],
        at_once: int | None = None,
        is_strict: bool = False,
    ) -> list[Any]:
        """Return posteriors or errors; raise the errors if strict."""
        options = sampler_options(method, options)
        if isinstance(data, Data | Photometry | LineFluxes | Spectrum):
            raise InconsistentArguments(
                "run_many needs the data of several galaxies in a list, got "
                f"{type(data).__name__}. Use Fit.run for one galaxy."
            )
        n = len(data)
        known = [{}] * n if known is None else known
        seeds = _seeds(seed, n)
        if not n or len(known) != n or len(seeds) != n:
            raise InconsistentArguments(
                "There must be data of at least one galaxy, and what is known "
                f"of each, and a seed; got data of {n}, {len(known)} known "
                f"and {len(seeds)} seeds."
            )
        if at_once is not None:
            check_whole("at_once", at_once, 1)
        with stage("Compiling the model", progress):
            self.check()
        if isinstance(options.get("network"), Network):
            options["network"].check_fit(inputs_of(self.library))
        with stage("Compiling the likelihood", progress):
            found = [
                attempted(self._checked_target, one, values)
                for one, values in zip(data, known, strict=True)
            ]
        if is_strict:
            _raise_errors(found)
        rows = [i for i in range(n) if isinstance(found[i], Target)]
        targets = [found[i] for i in rows]
        jumps = [self._jumps(method, target) for target in targets]
        for jump in jumps:
            # Not for each part of a catalogue.
            if not self._warned.issuperset(jump):
                self._warned.update(jump)
                warn(*jump)
        sampled = sample_many(
            method,
            targets,
            [seeds[i] for i in rows],
            options,
            progress,
            at_once,
        )
        if is_strict:
            _raise_errors(sampled)
        with stage("Predicting the data of all samples", progress):
            for i, samples, jump in zip(rows, sampled, jumps, strict=True):
                if isinstance(samples, Exception):
                    found[i] = samples
                    continue
                samples = replace(samples, warnings=(*samples.warnings, *jump))
                found[i] = attempted(self.posterior, found[i], samples)
        if is_strict:
            _raise_errors(found)
        return found

    def _checked_target(
        self, data: DataLike, known: Mapping[str, Any] | None
    ) -> Target:
        """Return the likelihood of a galaxy; raise if it is zero."""
        target = self.target(data, known)
        target.check()
        return target

    def _jumps(self, method: str, target: Target) -> tuple[str, ...]:
        """Return a warning if a sampler needs smoother photometry."""
        bands = self.library.model.bands
        free = [self.names[i] for i in np.asarray(target.arguments.free)]
        if (
            method not in BY_GRADIENTS
            or target.arguments.data.photometry is None
            or REDSHIFT not in free
            or bands is None
            or not bands.bands
        ):
            return ()
        return (
            f"The photometry jumps with the redshift, which '{method}' can't "
            "follow: use Fit(integration='exact'), or in a file "
            "'integration: exact'.",
        )

    def _codes(self, kind: str) -> tuple[str, ...]:
        """Return the codes of a kind of data; raise if the fit has none."""
        if kind not in self.codes:
            missing = {"photometry": "filters", "line_fluxes": "lines"}[kind]
            raise InconsistentArguments(
                f"The fit has no {missing}, got data of {kind}. Make the fit "
                f"with {missing}."
            )
        return self.codes[kind]

    @cached_property
    def _model(self) -> dict[str, str]:
        """Digests of the parts of the model, by name; see `_PARTS`."""
        about = dict(self.library.about)
        if self.lines is not None:
            # Other lines are no other model.
            about["grids"] = describe_grids(self.emission_model)
        about["fixed"] = {
            p.path: describe_prior(p.prior)
            for p in self.all_parameters
            if p.is_fixed
        }
        return {
            part: json_digest([about[key] for key in keys])
            for part, keys in _PARTS.items()
        } | {
            f"filter '{code}'": curve
            for code, curve in about["filters"].items()
        }

    @cached_property
    def _warned(self) -> set[str]:
        """The warnings about all galaxies that were given."""
        return set()

    @cached_property
    def _galaxies(self) -> PointGalaxies:
        """What is wanted of galaxies besides the data."""
        return PointGalaxies(self.library, self.label)

    def _points(self, posterior: Posterior) -> NDArray[np.float64]:
        """Return the points of a posterior; raise if of another fit."""
        differing = [
            part
            for part, known in self._model.items()
            if posterior.model.get(part, known) != known
        ]
        if differing:
            raise InconsistentArguments(
                "The posterior must be one of this fit, got one of a fit with "
                f"another {' and '.join(differing)}. Use the fit that made "
                "it, or run this one."
            )
        points, given = posterior.samples.points, posterior.parameters
        if posterior.names == self.names:
            same = all(
                np.allclose(values[0], given[name][0], rtol=1e-6)
                for name, values in self.parameters(points[:1]).items()
            )
            if same:
                return points
        raise InconsistentArguments(
            "The posterior must be one of this fit, with the parameters "
            f"{', '.join(self.names)} and the same priors; got one of "
            f"{', '.join(posterior.names)}."
        )

    def _prior(
        self, base: NDArray[np.float64], is_free: NDArray[np.bool_]
    ) -> NDArray[np.float64]:
        """Return points of the prior with what is known, (n, d)."""
        n = self.library.draws.n
        points = self.library.draws.rows(slice(0, n), self.dimensions)
        return np.where(is_free, points, base)


def _raise_errors(found: Iterable[Any]) -> None:
    """Raise the first of the errors of galaxies."""
    for one in found:
        if isinstance(one, Exception):
            raise one


def _seeds(given: int | Sequence[int], n: int) -> list[int]:
    """Return the seeds of the random numbers of n galaxies."""
    if isinstance(given, Sequence | np.ndarray):
        seeds = list(given)
    else:
        check_whole("seed", given, 0)
        seeds = [given + i for i in range(n)]
    for seed in seeds:
        check_whole("seed", seed, 0)
    return seeds
