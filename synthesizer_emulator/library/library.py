"""`Library`: galaxies of an emission model, with parameters from priors.

`config` reads a library from YAML. Classes and parameters have Synthesizer's
names.
"""

from collections.abc import Collection, Iterable, Mapping
from contextlib import ExitStack, suppress
from dataclasses import dataclass, field, replace
from functools import cached_property, partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import jax
import numpy as np
from astropy.cosmology import Planck18
from numpy.typing import NDArray
from synthesizer.emission_models import EmissionModel
from synthesizer.exceptions import InconsistentArguments, MissingAttribute
from synthesizer.instruments import FilterCollection
from synthesizer.synth_warnings import warn

from synthesizer_emulator.descriptions import (
    Described,
    Description,
    describe_errors,
    describe_names,
)
from synthesizer_emulator.files.locks import exclusive, make_folder
from synthesizer_emulator.galaxies.bands import (
    INTEGRATIONS,
    partly_without_light,
    without_light,
)
from synthesizer_emulator.galaxies.batches import (
    in_batches,
    suitable_batch_size,
)
from synthesizer_emulator.galaxies.filters import as_filters
from synthesizer_emulator.galaxies.instruments import (
    GivenInstruments,
    as_instruments,
    filters_of,
    noise_of,
)
from synthesizer_emulator.galaxies.model import (
    IN_BANDS,
    OUTPUTS,
    GalaxyModel,
    check_lines,
    check_outputs,
)
from synthesizer_emulator.galaxies.parameter_names import (
    check_used,
    parameter_names,
)
from synthesizer_emulator.galaxies.remedies import central_value, collapse_code
from synthesizer_emulator.galaxies.translate import TOLERANCE
from synthesizer_emulator.galaxies.tree import grids_of
from synthesizer_emulator.grid.emulated_grid import EmulatedGrid
from synthesizer_emulator.library import metadata
from synthesizer_emulator.library.draws import Draws
from synthesizer_emulator.library.file import (
    LibraryFile,
    check_same,
    library_path,
    merge,
    parts_folder,
)
from synthesizer_emulator.library.history import History, check_history
from synthesizer_emulator.library.limits import GridLimits
from synthesizer_emulator.library.named import find_cosmology, find_igm
from synthesizer_emulator.library.noise import NOISY, PhotometricNoise
from synthesizer_emulator.library.parameters import (
    GALAXY,
    LOG10,
    MASS,
    METAL_DIST,
    REDSHIFT,
    SF_HIST,
    STARS,
    Parameters,
    PriorLike,
)
from synthesizer_emulator.library.parts import (
    ON_BAD,
    Parts,
    listed,
    part_size,
    write_parts,
)
from synthesizer_emulator.library.sampler import Sampler
from synthesizer_emulator.progress import stage
from synthesizer_emulator.units import with_units
from synthesizer_emulator.validation import (
    check_choice,
    check_flag,
    check_memory,
    check_names,
    check_number,
    check_whole,
    nearest,
)

if TYPE_CHECKING:
    from astropy.cosmology import FLRW

# How long a process waits for the others to begin, seconds.
_TIMEOUT = 60.0

# The galaxies whose redshifts are compared with the filters.
_CHECKED_GALAXIES = 4096

# The largest number of galaxies in a part.
_PART_GALAXIES = 2**14

# The output that may not be finite for galaxies in the range of the model:
# without continuum it is infinite, and without lines either 0/0.
_UNDEFINED = "equivalent_widths"


@dataclass(frozen=True, eq=False, repr=False)
class Library(Described):
    """Galaxies of an emission model, with parameters drawn from priors.

    The constructor checks names and units; `check` also compiles the model.

    Attributes:
        emission_model (EmissionModel): Synthesizer's emission model, on an
            emulated or native grid.
        sf_hist (History): The star formation history, or its name if all
            parameters have their default values.
        metal_dist (History): The metallicity distribution, or its name if
            all parameters have their default values.
        stars (Mapping): Priors of the other parameters of Synthesizer's
            `Stars`: `initial_mass` (or `log10initial_mass`, in solar
            masses), those of the emission model (`tau_v`, `fesc` ...), and
            values on the axes of the grid beyond age and metallicity
            (`log10ionisation_parameters` ...).
        draws (Draws): The number of galaxies and the method of drawing them,
            or only the number.
        redshift (Prior): The redshift. Without it, only rest-frame outputs
            are available.
        filters (FilterCollection): The filters, or arguments of
            `as_filters`: codes such as `JWST/NIRCam.F115W`, or edges of top
            hats.
        cosmo (FLRW): The cosmology, or its name in astropy.
        igm (IGMBase): Synthesizer's model of the intergalactic medium, or
            the name of its class.
        outputs (tuple of str): One or more of `galaxies.OUTPUTS`.
        emissions (tuple of str): The labels of the emissions to compute; by
            default the root of the model.
        lines (tuple of str): The ids of lines, as for `compile_lines`, for
            outputs of lines.
        tolerance (float): The error of the linear bases of the compiled
            model, mag, as for `compile_model`; zero for full products.
        integration (str): How spectra are integrated over filters:
            `trapezoidal`, as in Synthesizer, or `exact`, as for
            `GalaxyModel.from_model`.
        instruments (tuple of Instrument): Instead of `filters`, Synthesizer's
            `Instrument`, several, or an `InstrumentCollection`, with filters.
        noise (bool): Whether to add the output `noisy_photometry`: that of
            the instruments, with Gaussian noise of their depths divided by
            their signal-to-noise ratios, as in Synthesizer. A depth without
            units is an apparent AB magnitude.

    Raises:
        InconsistentArguments: If arguments are inconsistent.
        MissingAttribute: If the stars have no value on an axis of the grid.
        IncorrectUnits: If a parameter has wrong units.
        UnimplementedFunctionality: If a history has no batched form.

    Examples:
        >>> from synthesizer.emission_models import IncidentEmission
        >>> from synthesizer_emulator import EmulatedGrid
        >>> from synthesizer_emulator.library import (
        ...     Draws,
        ...     History,
        ...     Library,
        ...     Uniform,
        ... )
        >>> library = Library(
        ...     IncidentEmission(EmulatedGrid.example()),
        ...     sf_hist=History("Constant", {"max_age": Uniform(0.1, 1,
        ...                                                     units="Gyr")}),
        ...     metal_dist=History("DeltaConstant", {"metallicity": 0.01}),
        ...     stars={"log10initial_mass": Uniform(8, 12)},
        ...     draws=Draws(4, seed=1),
        ...     outputs=["lnu"],
        ... )
        >>> for name, values in library.make(slice(0, 4)).items():
        ...     print(name, values.shape)
        parameters/stars/log10initial_mass (4,)
        parameters/sf_hist/max_age (4,)
        lnu/incident (4, 1719)
    """

    emission_model: EmissionModel
    sf_hist: History
    metal_dist: History
    stars: Mapping[str, PriorLike]
    draws: Draws
    redshift: PriorLike | None = None
    filters: FilterCollection | None = None
    cosmo: "FLRW" = field(default_factory=lambda: Planck18)
    igm: Any = None
    outputs: str | Iterable[str] = ("photometry",)
    emissions: str | Iterable[str] | None = None
    lines: str | Iterable[str] | None = None
    tolerance: float = TOLERANCE
    integration: str = "trapezoidal"
    instruments: GivenInstruments | None = None
    noise: bool = False
    _checked: bool = field(default=False, init=False, repr=False)

    def __post_init__(self) -> None:
        """Expand the short forms of arguments, and check names and units."""
        for name, value in self._expanded().items():
            object.__setattr__(self, name, value)
        check_number("tolerance", self.tolerance, 0)
        check_choice("integration", self.integration, INTEGRATIONS)
        check_flag("noise", self.noise)
        if self.noise:
            self._check_noise()
        self._check_stars()
        for kind, history in self._histories.items():
            check_history(kind, history, self.parameters.in_group(kind))

    def _description(self) -> Description:
        """Return the model, the priors and the outputs."""
        model, grids = self.emission_model, grids_of(self.emission_model)
        return Description(
            f"Library of {self.draws.n:,} galaxies",
            {
                "emission_model": f"{model.label} ({type(model).__name__})",
                "grid": ", ".join(grid.grid_name for grid in grids),
                "errors": "; ".join(
                    describe_errors(grid.provenance.errors)
                    for grid in grids
                    if isinstance(grid, EmulatedGrid)
                ),
                **{k: h.name for k, h in self._histories.items()},
                **{p.title: str(p.prior) for p in self.parameters},
                "outputs": ", ".join(self.outputs),
                "filters": ""
                if self.filters is None
                else describe_names(self.filters.filter_codes),
                "lines": describe_names(tuple(self.lines or ())),
                "cosmo": "" if self.redshift is None else self.cosmo.name,
                "igm": ""
                if self.igm is None
                else getattr(self.igm, "__name__", type(self.igm).__name__),
                "draws": f"{self.draws.method}, seed {self.draws.seed}",
            },
        )

    @cached_property
    def parameters(self) -> Parameters:
        """Parameters of the galaxies, with their priors."""
        redshift = {} if self.redshift is None else {REDSHIFT: self.redshift}
        priors = {
            GALAXY: redshift,
            STARS: self.stars,
            SF_HIST: self.sf_hist.parameters,
            METAL_DIST: self.metal_dist.parameters,
        }
        return Parameters.from_priors(priors, self.cosmo)

    @cached_property
    def model(self) -> GalaxyModel:
        """Compiled model of one galaxy."""
        return GalaxyModel.from_model(
            self.emission_model,
            sf_hist=self.sf_hist.name,
            metal_dist=self.metal_dist.name,
            filters=self.filters,
            cosmo=None if self.redshift is None else self.cosmo,
            igm=self.igm,
            # Must be positive, even if all redshifts are zero.
            max_redshift=max(self.parameters.max_redshift, 0.1),
            outputs=self.outputs,
            emissions=self.emissions,
            varying=self.sampler.varying,
            fixed=self.sampler.fixed,
            lines=self.lines,
            tolerance=self.tolerance,
            integration=self.integration,
        )

    @cached_property
    def about(self) -> dict[str, Any]:
        """Inputs of the library, as JSON values."""
        sampler, emissions = self.sampler, self.model.emission.emissions
        about = {
            "draws": {
                "n": self.draws.n,
                "method": self.draws.method,
                "seed": self.draws.seed,
            },
            "parameters": {
                p.path: metadata.describe_prior(p.prior)
                for p in self.parameters
            },
            "sf_hist": self.sf_hist.name,
            "metal_dist": self.metal_dist.name,
            "quantiles": metadata.describe_quantiles(
                p.prior for p in self.parameters
            ),
            "cosmo": repr(self.cosmo),
            "distances": metadata.describe_distances(self.cosmo),
            "igm": metadata.describe_igm(self.igm),
            "filters": metadata.describe_filters(self.filters),
            "outputs": list(self.outputs),
            "emissions": list(emissions),
            "tolerance": float(self.tolerance),
            "emission_model": metadata.describe_model(self.emission_model),
            "recipe": metadata.describe_recipe(
                self.emission_model,
                self.emissions,
                sampler.varying,
                sampler.fixed,
            ),
            "grids": metadata.describe_grids(
                self.emission_model, self.lines is not None
            ),
            "software": metadata.describe_software(),
            "units": {
                **self.parameters.units(),
                **{
                    f"{output}/{label}": OUTPUTS[output]
                    for output in self.model.outputs
                    for label in emissions
                },
                **{
                    f"{NOISY}/{label}": OUTPUTS["photometry"]
                    for label in emissions
                    if self.noise
                },
            },
        }
        if self.integration != "trapezoidal":
            about["integration"] = self.integration
        if self._noise is not None:
            # The standard deviations by filter, nJy.
            about["noise"] = {
                code: float(f"{level:.9g}")
                for code, level in self._noise.levels.items()
            }
        if {"fnu", "lnu"}.intersection(self.outputs):
            lam = self.emission_model.lam.to_value("angstrom")
            # Round to the digits that are the same on all machines.
            about["wavelength"] = [float(f"{value:.9g}") for value in lam]
        if self.model.lines is not None:
            about["lines"] = {
                line: float(f"{lam:.7g}")
                for line, lam in zip(
                    self.model.lines.ids,
                    np.asarray(self.model.lines.lam),
                    strict=True,
                )
            }
        return about

    @property
    def digest(self) -> str:
        """Digest of the inputs of the library, as in its file."""
        size = self._part_size
        return Parts(Path(), self.draws.n, size, self.about).digest

    def check(self) -> None:
        """Check that galaxies can be made: compile the model, draw a galaxy.

        `make` and `write` call this method first.

        Raises:
            InconsistentArguments: If Synthesizer can't make the histories,
                or outputs need filters or a redshift, and these are missing.
            IncorrectUnits: If a parameter has wrong units.
            MissingUnits: If a parameter needs units and has none.
            MissingAttribute: If a parameter of the emission model is missing.
            UnimplementedFunctionality: If the emission model has no batched
                form.
        """
        if not self._checked:
            self.values(slice(0, 1))
            self.sampler.warn_of_unphysical()
            self.check_filters()
            stars = self.parameters.in_group(STARS)
            units = {
                name: self.parameters.plain_unit(stars[name])
                for name in self.sampler.varying
            }
            self.model.check_stated(
                {name: with_units(1.0, unit) for name, unit in units.items()}
            )
            object.__setattr__(self, "_checked", True)

    def check_filters(self, refuse: bool = False) -> None:
        """Warn about filters without light at redshifts of the galaxies.

        Or without light in a part of them. Nothing is compiled.

        Args:
            refuse (bool): Do not warn, but raise if a filter has none at any
                redshift.

        Raises:
            InconsistentArguments: If such filters are refused.
        """
        if self.filters is None or not set(IN_BANDS) & set(self.outputs):
            return
        low = high = 0.0
        if self.redshift is not None and "photometry" in self.outputs:
            some = slice(0, min(self.draws.n, _CHECKED_GALAXIES))
            plain, _ = self.parameters.draw(self.draws, some)
            redshift = plain[GALAXY][REDSHIFT]
            redshift = redshift[np.isfinite(redshift) & (redshift >= 0.0)]
            if len(redshift):
                low, high = float(redshift.min()), float(redshift.max())
        lam = self.emission_model.lam.to_value("angstrom")
        ends = float(lam[0]), float(lam[-1])
        outside = without_light(self.filters, ends, (low, high))
        if not refuse:
            self._warn_of_parts(outside, ends, (low, high))
        if not outside:
            return
        never = [
            code
            for code, (first, last) in outside.items()
            if first > high or last < low
        ]
        where = (
            f"the wavelengths of the model, {ends[0]:.4g} to {ends[1]:.4g} "
            "Angstrom in the rest frame"
        )
        if refuse and not never:
            return
        if refuse:
            allowed = (
                f"at redshift {low:.3g}"
                if low == high
                else f"at some redshift from {low:.3g} to {high:.3g}"
            )
            raise InconsistentArguments(
                f"The filters must be within {where}, {allowed}, but "
                f"{listed(never)} "
                f"{'are' if len(never) > 1 else 'is'} outside: leave out "
                f"{'these filters' if len(never) > 1 else 'this filter'}, or "
                "use a grid of more wavelengths."
            )
        parts = [
            f"{code} ("
            + " and ".join(
                text
                for text, is_there in (
                    (f"below redshift {first:.3g}", first > low),
                    (f"above redshift {last:.3g}", last < high),
                )
                if is_there
            )
            + ")"
            for code, (first, last) in outside.items()
        ]
        warn(
            "Fluxes are zero in filters that are wholly outside of "
            f"{where}: {listed(parts)}. Narrow the redshifts, leave out these "
            "filters, or use a grid of more wavelengths."
        )

    def _warn_of_parts(
        self,
        outside: Collection[str],
        ends: tuple[float, float],
        redshifts: tuple[float, float],
    ) -> None:
        """Warn of filters that are partly outside of the wavelengths."""
        assert self.filters is not None
        lost = partly_without_light(self.filters, ends, redshifts)
        parts = [
            f"{code} ({fraction:.0%} of its transmission)"
            for code, fraction in lost.items()
            if code not in outside
        ]
        if parts:
            low, high = redshifts
            warn(
                f"Parts of filters are outside of the wavelengths of the "
                f"model, {ends[0]:.4g} to {ends[1]:.4g} Angstrom in the rest "
                f"frame, at redshift {low:.3g}"
                + f" or {high:.3g}"
                * (low != high)
                + f": {listed(parts)}. Fluxes in them are means over the rest "
                "of the filter. Narrow the redshifts, leave out these "
                "filters, or use a grid of more wavelengths."
            )

    def values(
        self, which: slice
    ) -> tuple[dict[str, Any], dict[str, NDArray[np.float64]]]:
        """Draw the parameters of some galaxies.

        Args:
            which (slice): The indices of the n galaxies in the draws.

        Returns:
            tuple: The parameters as plain numbers for `galaxies.in_batches`;
                and the columns of the parameters that differ between
                galaxies by name, `parameters/...`, in the units of their
                priors, (n, ...).
        """
        return self.sampler.values(which)

    def make(self, which: int | slice) -> dict[str, NDArray]:
        """Draw the parameters of some galaxies and compute their emission.

        Args:
            which (int/slice): A slice of the draws, or the number of
                galaxies, counted from the first.

        Returns:
            dict: Arrays by name: the parameters that differ between galaxies
                (`parameters/...`, (n, ...), in the units of their priors) and
                the outputs (`photometry/<emission>`, (n, n_bands), and so
                on). Outputs are NaN for galaxies outside the range of the
                model.

        Raises:
            InconsistentArguments: If the galaxies are not among the draws,
                or exceed the memory.
        """
        which = self._as_slice(which)
        self.check()
        n = which.stop - which.start
        check_memory(
            f"{n} galaxies",
            n * self._row_bytes,
            "make fewer at a time, or write them to a file",
        )
        arrays = self._evaluation(self._inputs(which))
        for name in self._unwritten:
            del arrays[name]
        return arrays

    def write(
        self,
        path: str | Path,
        on_bad: str = "refuse",
        process: int = 0,
        processes: int = 1,
        part_size: int | None = None,
        progress: bool = True,
        cluster: Any = None,
    ) -> LibraryFile | None:
        """Make all galaxies and write them to a file.

        The galaxies are first written in parts to a folder next to the file,
        and the same call resumes after an interruption. Each of several
        processes writes its share of the parts; `merge` joins them when all
        processes have finished. With a Dask cluster, its workers make the
        parts, and this process draws the parameters and writes the file.

        Args:
            path (str/Path): The file, `*.hdf5`.
            on_bad (str): `refuse` galaxies with values that are not finite
                with an error, or `skip` them.
            process (int): The number of this process, from 0.
            processes (int): The number of processes.
            part_size (int): The number of galaxies per part; by default
                it depends on the size of a galaxy.
            progress (bool): Show a progress bar, and the address of the
                dashboard of a cluster.
            cluster (Client/Cluster/str/Path): A Dask client or cluster, the
                address of a scheduler, the file that it wrote (`*.json`), or
                `local` for processes on this machine.

        Returns:
            LibraryFile: The file; None if there are several processes.

        Raises:
            InconsistentArguments: If galaxies are refused, with their
                indices; before any galaxy is made if a prior extends beyond
                the grid. Also if the file exists and is another library, or
                the cluster can't be used.
            OSError: If the file can't be written, another process is
                writing it, or the cluster is lost.
            UnmetDependency: If `cluster` is given and Dask is not installed.
        """
        path = library_path(path)
        check_choice("on_bad", on_bad, ON_BAD)
        make_folder(path.parent)
        with stage("Compiling the model", progress):
            self.check()
        self.sampler.check_inside(on_bad)
        folder = parts_folder(path)
        size = self._part_size if part_size is None else part_size
        begin = partial(Parts.begin, folder, self.draws.n, size, self.about)
        digest = self.digest
        alone = processes == 1
        with ExitStack() as stack:
            stack.enter_context(exclusive(path, 0 if alone else _TIMEOUT))
            if path.exists():
                file = check_same(path, digest)
                if folder.exists():
                    # Finish deleting the parts after an interruption. Keep
                    # them if they belong to another library.
                    with suppress(InconsistentArguments):
                        begin()
                        merge(folder, path, on_bad)
                return file
            parts = begin()
            if not alone:
                # Release the lock, so that the other processes can begin.
                stack.close()
            write_parts(
                parts,
                self._evaluation,
                on_bad,
                process,
                processes,
                progress,
                unchecked=self._unchecked,
                unwritten=self._unwritten,
                inputs=self._inputs,
                cluster=cluster,
            )
            return merge(folder, path, on_bad) if alone else None

    @property
    def _histories(self) -> dict[str, History]:
        """The star formation history and the metallicity distribution."""
        return {SF_HIST: self.sf_hist, METAL_DIST: self.metal_dist}

    @cached_property
    def _noise(self) -> PhotometricNoise | None:
        """The noise of the instruments; None if there is none to add."""
        if not self.noise or self.instruments is None:
            return None
        levels = noise_of(as_instruments(self.instruments))
        return PhotometricNoise(levels, self.draws.seed)

    def _inputs(self, which: slice) -> "_Inputs":
        """Draw all that differs between galaxies, for `_evaluation`."""
        values, columns = self.values(which)
        noise = None if self._noise is None else self._noise.draw(which)
        return values, columns, noise

    @cached_property
    def _evaluation(self) -> "_Evaluation":
        """Function of the parameters of galaxies."""
        return _Evaluation(self.model, self._part_size)

    @property
    def _unchecked(self) -> list[str]:
        """The arrays that may not be finite for galaxies in range."""
        return self._arrays([_UNDEFINED])

    @property
    def _unwritten(self) -> list[str]:
        """The arrays that are evaluated only to check them."""
        wanted = self.model.outputs
        return self._arrays(set(_evaluated(wanted)).difference(wanted))

    def _arrays(self, outputs: Iterable[str]) -> list[str]:
        """Return the names of the arrays of outputs."""
        labels = self.model.emission.emissions
        return [f"{output}/{label}" for output in outputs for label in labels]

    @cached_property
    def sampler(self) -> Sampler:
        """Sampler of the parameters."""
        return Sampler(
            parameters=self.parameters,
            draws=self.draws,
            histories=self._histories,
            limits=GridLimits.from_model(
                self.emission_model,
                self.emissions or (self.emission_model.label,),
            ),
        )

    @cached_property
    def _part_size(self) -> int:
        """Number of galaxies per part, the same on every machine."""
        return part_size(_PART_GALAXIES, self._row_bytes)

    @cached_property
    def _row_bytes(self) -> int:
        """Size of the outputs of one galaxy, bytes."""
        model = self.model
        numbers = sum(map(model.size, model.outputs))
        if self.noise:
            numbers += model.size("photometry")
        return 8 * numbers * len(model.emission.emissions)

    def _expanded(self) -> dict[str, Any]:
        """Return the arguments with their short forms expanded."""
        full: dict[str, Any] = {
            "cosmo": find_cosmology(self.cosmo),
            "igm": find_igm(self.igm),
            "outputs": check_outputs(self.outputs),
        }
        if self.emissions is not None:
            full["emissions"] = check_names("emissions", self.emissions)
        if self.lines is not None:
            full["lines"] = check_names("lines", self.lines)
        check_lines(full["outputs"], full.get("lines"))
        if self.filters is not None:
            full["filters"] = as_filters(self.filters)
        if self.instruments is not None:
            full["instruments"] = as_instruments(self.instruments)
            filters = filters_of(full["instruments"])
            # A copy of a library has both.
            given = full.get("filters", filters).filter_codes
            if given != filters.filter_codes:
                raise InconsistentArguments(
                    "filters and instruments can't be combined, as "
                    "instruments have filters: leave out filters."
                )
            full["filters"] = filters
        draws: Any = self.draws
        if not isinstance(draws, Draws):
            full["draws"] = Draws(draws)
        for kind, history in self._histories.items():
            if isinstance(history, str):
                full[kind] = History(history)
            elif not isinstance(history, History):
                raise InconsistentArguments(
                    f"{kind} must be a History or the name of one, got "
                    f"{history!r}."
                )
        return full

    def _check_noise(self) -> None:
        """Raise unless there is photometry, and instruments with depths."""
        if self.instruments is None:
            raise InconsistentArguments(
                "noise needs instruments with depths and signal-to-noise "
                "ratios: give instruments=Instrument(label, filters=, "
                "depth=, snrs=), instead of filters."
            )
        if "photometry" not in self.outputs:
            raise InconsistentArguments(
                "noise is added to the output 'photometry', got the outputs "
                f"{', '.join(self.outputs)}: add it, or leave out noise."
            )
        noise_of(as_instruments(self.instruments))

    def _check_stars(self) -> None:
        """Raise if the stars have no mass, or unknown parameters."""
        mass = self.parameters.in_group(STARS).get(MASS)
        if mass is None or self.parameters.plain_unit(mass) != "Msun":
            names = (MASS, f"{LOG10}{MASS}")
            raise InconsistentArguments(
                "The stars need 'initial_mass' with units, as in 'units: "
                "Msun', or 'log10initial_mass'."
                + "".join(
                    nearest(k, names) for k in self.stars if mass is None
                )
            )
        check_used(
            [
                name
                for name in (*self.sampler.varying, *self.sampler.fixed)
                if name not in self.sampler.axes
            ],
            parameter_names(
                self.emission_model,
                self.emissions or (self.emission_model.label,),
            ),
        )
        self._check_axes()

    def _check_axes(self) -> None:
        """Raise if the stars have no value on an axis of the grid."""
        for limits in self.sampler.limits.others:
            if limits in self.sampler.axes.values():
                continue
            axis, grid = limits.axis, limits.grid
            example = f"{axis}: {central_value(grid, axis)}"
            raise MissingAttribute(
                f"The stars need a value on the axis '{axis}' of the grid "
                f"'{grid.grid_name}': give '{axis}' or '{LOG10}{axis}' a "
                f"prior or a number, in YAML `stars: {{{example}}}`; or "
                f"collapse the axis: {collapse_code(grid, [axis])}, in YAML "
                f"`grid: {{name: {grid.grid_name}, collapse: {{{example}}}}}`."
            )

    def _as_slice(self, which: int | slice) -> slice:
        """Return the slice of the galaxies, without negative indices."""
        n = self.draws.n
        if not isinstance(which, slice):
            check_whole("the number of galaxies", which, 1)
            which = slice(0, which)
        indices = range(n)[which]
        beyond = which.stop is not None and which.stop > n
        if beyond or not indices or indices.step != 1:
            raise InconsistentArguments(
                f"The galaxies to make must be a number from 1 to {n}, or a "
                f"slice of the {n} galaxies without steps; got {which}."
            )
        return slice(indices.start, indices.stop)


# The parameters of galaxies and their columns, as by `Library.values`, and the
# noise of their photometry, (n, n_bands), if any.
_Inputs = tuple[
    Mapping[str, Any], Mapping[str, NDArray], NDArray[np.float64] | None
]


@dataclass(frozen=True, eq=False)
class _Evaluation:
    """The galaxies of a model as a function of their parameters.

    It is what a worker of a cluster needs of a library.

    Attributes:
        model (GalaxyModel): The model.
        part_size (int): The number of galaxies per part.
    """

    model: GalaxyModel
    part_size: int

    def __call__(self, inputs: _Inputs) -> dict[str, NDArray]:
        """Return the arrays of some galaxies."""
        values, columns, noise = inputs
        # Without axes of the grid with which its spectra hardly vary.
        names = self.model.emission_parameters
        emission = {k: v for k, v in values["emission"].items() if k in names}
        values = {**values, "emission": emission}
        model = replace(self.model, outputs=_evaluated(self.model.outputs))
        devices = jax.local_devices()
        batch_size = min(
            suitable_batch_size(model, devices),
            max(self.part_size, len(devices)),
        )
        batches = [
            _flat(outputs)
            for _, outputs in in_batches(model, values, batch_size)
        ]
        outputs = {
            name: np.concatenate([batch[name] for batch in batches])
            for name in batches[0]
        }
        noisy = {}
        if noise is not None:
            for label in self.model.emission.emissions:
                flux = outputs[f"photometry/{label}"]
                noisy[f"{NOISY}/{label}"] = flux + noise.astype(flux.dtype)
        return {**columns, **outputs, **noisy}


def _evaluated(outputs: tuple[str, ...]) -> tuple[str, ...]:
    """Return outputs, and one that is finite for galaxies in range."""
    if set(outputs) == {_UNDEFINED}:
        return (*outputs, "line_luminosities")
    return outputs


def _flat(
    outputs: Mapping[str, Mapping[str, NDArray]],
) -> dict[str, NDArray]:
    """Return the output arrays by `<output>/<emission>`."""
    return {
        f"{output}/{label}": values
        for output, emissions in outputs.items()
        for label, values in emissions.items()
    }
