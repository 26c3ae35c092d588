"""`Library`: an emission model, priors and filters, and galaxies of them.

The room of whoever makes a library from Python; `config` reads the same
from YAML. Parameters have the names of Synthesizer's classes. Here they
are drawn and brought to the plain numbers that `GalaxyModel` takes.
"""

from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import ExitStack, suppress
from dataclasses import dataclass, field
from functools import cached_property, partial
from inspect import signature
from pathlib import Path
from typing import TYPE_CHECKING, Any

import jax
import numpy as np
from astropy.cosmology import Planck18
from numpy.typing import NDArray
from synthesizer.emission_models import EmissionModel
from synthesizer.exceptions import InconsistentArguments
from synthesizer.instruments import FilterCollection
from synthesizer.parametric import SFH, ZDist

from synthesizer_emulator.files.locks import exclusive
from synthesizer_emulator.galaxies.filters import as_filters
from synthesizer_emulator.galaxies.histories import (
    METAL_DISTS,
    SF_HISTS,
    stack_parameters,
    units_of_history,
)
from synthesizer_emulator.galaxies.model import (
    IN_BANDS,
    OUTPUTS,
    GalaxyModel,
    check_outputs,
    in_batches,
    suitable_batch_size,
)
from synthesizer_emulator.galaxies.needs import asked_parameters, check_asked
from synthesizer_emulator.galaxies.remedies import check_parametric
from synthesizer_emulator.galaxies.translate import grids_of
from synthesizer_emulator.library.file import (
    LibraryFile,
    check_same,
    library_path,
    merge,
    parts_folder,
)
from synthesizer_emulator.library.metadata import (
    about_distances,
    about_filters,
    about_grids,
    about_igm,
    about_model,
    about_prior,
    about_quantiles,
    about_recipe,
    about_software,
)
from synthesizer_emulator.library.parameters import (
    GALAXY,
    MASS,
    METAL_DIST,
    REDSHIFT,
    SF_HIST,
    STARS,
    Given,
    Parameter,
    Parameters,
    Values,
)
from synthesizer_emulator.library.parts import (
    ON_BAD,
    Parts,
    listed,
    part_size,
    write_parts,
)
from synthesizer_emulator.library.priors import Draws, did_you_mean
from synthesizer_emulator.units import PURE, with_units
from synthesizer_emulator.validation import (
    check_choice,
    check_memory,
    check_names,
    check_whole,
    nearest,
)

if TYPE_CHECKING:
    from astropy.cosmology import FLRW

# How long one of several processes waits for others to begin, seconds.
_PATIENCE = 60.0

# How many galaxies a part has at the most.
_GALAXIES_A_PART = 2**14

# How many numbers of galaxies are looked at before any is made, and among
# how many galaxies one is looked for that Synthesizer can show.
_LOOKED_AT = 2**23
_TRIED = 1000

# The ends of a grid are inside it, whatever rounds them.
_SLACK = 1e-6


@dataclass(frozen=True)
class History:
    """A star formation history, or a metallicity distribution.

    Attributes:
        name (str): The name of Synthesizer's class, e.g. `LogNormal`.
        parameters (Mapping): A prior for each parameter of it; those that
            are left out are as Synthesizer has them. Under `log10` and the
            name stands the decadic logarithm of one.
    """

    name: str
    parameters: Mapping[str, Given] = field(default_factory=dict)

    def __post_init__(self) -> None:
        """Check the name.

        Raises:
            InconsistentArguments: If it can't be one.
        """
        check_names("the name of a History", [self.name])


@dataclass(frozen=True, eq=False)
class Library:
    """Galaxies of an emission model, drawn from priors.

    Attributes:
        emission_model (EmissionModel): Synthesizer's emission model, on an
            emulated grid or a native one.
        sf_hist (History): The star formation history; a name alone is one
            as Synthesizer has it.
        metal_dist (History): The metallicity distribution.
        stars (Mapping): Priors of what Synthesizer's `Stars` have beside:
            `initial_mass` (or `log10initial_mass`, in solar masses), and
            what the emission model asks for (`tau_v`, `fesc` ...).
        redshift (Prior): The redshift; without it only what is in the rest
            frame can be had.
        draws (Draws): How many galaxies, and how they are drawn; a number
            alone is how many.
        filters (FilterCollection): The filters; or what `as_filters` makes
            some of: codes such as `JWST/NIRCam.F115W`, or edges of top hats.
        cosmo (FLRW): The cosmology.
        igm (IGMBase): Synthesizer's model of the intergalactic medium.
        outputs (tuple of str): One or several of `galaxies.OUTPUTS`.
        emissions (tuple of str): The labels of the emissions wanted; the
            model's own by default.

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
    stars: Mapping[str, Given]
    draws: Draws
    redshift: Given | None = None
    filters: FilterCollection | None = None
    cosmo: "FLRW" = field(default_factory=lambda: Planck18)
    igm: Any = None
    outputs: str | Iterable[str] = ("photometry",)
    emissions: str | Iterable[str] | None = None

    def __post_init__(self) -> None:
        """Check that everything fits together.

        Raises:
            InconsistentArguments: If it doesn't.
            IncorrectUnits: If a parameter has units that are not its own.
            MissingUnits: If one needs units and has none.
            UnimplementedFunctionality: If the emission model or a history
                is not translated.
        """
        for name, made in self._settled().items():
            object.__setattr__(self, name, made)
        self._check_stars()
        # The first galaxy shows whether Synthesizer takes the histories, and
        # the model whether all is there and translated.
        self.values(slice(0, 1))
        stars = self.parameters.at(STARS)
        self.model.emission.check_stated(
            {
                name: with_units(1.0, self.parameters.base(stars[name]))
                for name in self._varying
            }
        )

    def _settled(self) -> dict[str, Any]:
        """Return the attributes that may be given in short, in full."""
        full: dict[str, Any] = {"outputs": check_outputs(self.outputs)}
        if self.emissions is not None:
            full["emissions"] = check_names("emissions", self.emissions)
        if self.filters is not None:
            full["filters"] = as_filters(self.filters)
        draws: Any = self.draws
        if not isinstance(draws, Draws):
            full["draws"] = Draws(draws)
        for name in ("sf_hist", "metal_dist"):
            history = getattr(self, name)
            if isinstance(history, str):
                full[name] = History(history)
            elif not isinstance(history, History):
                raise InconsistentArguments(
                    f"{name} must be a History, or the name of one, got "
                    f"{history!r}."
                )
        return full

    @cached_property
    def model(self) -> GalaxyModel:
        """The model of one galaxy."""
        return GalaxyModel.from_model(
            self.emission_model,
            sf_hist=self.sf_hist.name,
            metal_dist=self.metal_dist.name,
            filters=self.filters,
            cosmo=None if self.redshift is None else self.cosmo,
            igm=self.igm,
            # Whatever is beyond, were there but redshift zero.
            max_redshift=max(self.parameters.max_redshift, 0.1),
            outputs=self.outputs,
            emissions=self.emissions,
            varying=self._varying,
            fixed=self._fixed,
        )

    @cached_property
    def about(self) -> dict[str, Any]:
        """What makes the library, as JSON knows it."""
        about = {
            "draws": {
                "n": self.draws.n,
                "method": self.draws.method,
                "seed": self.draws.seed,
            },
            "parameters": {
                p.path: about_prior(p.prior) for p in self.parameters.every
            },
            "sf_hist": self.sf_hist.name,
            "metal_dist": self.metal_dist.name,
            "quantiles": about_quantiles(
                p.prior for p in self.parameters.every
            ),
            "cosmology": repr(self.cosmo),
            "distances": about_distances(self.cosmo),
            "igm": about_igm(self.igm),
            "filters": about_filters(self.filters),
            "outputs": list(self.outputs),
            "emissions": list(self.model.emission.emissions),
            "emission_model": about_model(self.emission_model),
            "recipe": about_recipe(
                self.emission_model, self.emissions, self._varying, self._fixed
            ),
            "grids": about_grids(self.emission_model),
            "software": about_software(),
            "units": {
                **self.parameters.units(),
                **{
                    f"{output}/{label}": OUTPUTS[output]
                    for output in self.model.outputs
                    for label in self.model.emission.emissions
                },
            },
        }
        if {"fnu", "lnu"}.intersection(self.outputs):
            lam = self.emission_model.lam.to_value("angstrom")
            # To as many digits as every machine agrees on.
            about["wavelength"] = [float(f"{value:.9g}") for value in lam]
        return about

    def make(self, which: int | slice) -> dict[str, NDArray]:
        """Return some of the galaxies.

        Args:
            which (int/slice): Which, by their numbers in the draws; so many
                from the first for a number.

        Returns:
            dict: By name the parameters that differ between galaxies
                (`parameters/...`, (n, ...), in the units they were given
                in) and what is observed (`photometry/<emission>`,
                (n, n_bands), and so on). NaN where a galaxy is outside of
                what is known.

        Raises:
            InconsistentArguments: If there are no such galaxies, or they
                take more memory than there is.
        """
        which = self._chosen(which)
        check_memory(
            f"{which.stop - which.start} galaxies",
            (which.stop - which.start) * self._row_bytes,
            "make fewer at a time, or write them to a file",
        )
        values, columns = self.values(which)
        batch_size = min(
            suitable_batch_size(self.model, jax.local_devices()),
            max(self._part_size, len(jax.local_devices())),
        )
        batches = [
            _flat(found)
            for _, found in in_batches(self.model, values, batch_size)
        ]
        found = {
            name: np.concatenate([batch[name] for batch in batches])
            for name in batches[0]
        }
        return {**columns, **found}

    def write(
        self,
        path: str | Path,
        on_bad: str = "refuse",
        process: int = 0,
        processes: int = 1,
        part_size: int | None = None,
        progress: bool = True,
    ) -> LibraryFile | None:
        """Make all galaxies and write them to a file.

        They are written as they are made, in parts beside the file: after
        an interruption the same call goes on where it stopped. One of
        several processes writes its parts only; when all have, `merge`
        puts them together.

        Args:
            path (str/Path): The file, `*.hdf5`.
            on_bad (str): Whether galaxies with values that are not finite
                are refused (`refuse`) or left out (`skip`).
            process (int): This process.
            processes (int): How many there are.
            part_size (int): Galaxies a part; what suits them by default.
            progress (bool): Whether to show progress.

        Returns:
            LibraryFile: What the file holds; None for one of several
                processes.

        Raises:
            InconsistentArguments: If there are bad galaxies that are
                refused; names them, and the prior where it leaves the grid,
                which is known beforehand. Or if there is another file
                there.
            OSError: If it can't be written, or another process is at it.
        """
        path = library_path(path)
        check_choice("on_bad", on_bad, ON_BAD)
        self._check_inside(on_bad)
        path.parent.mkdir(parents=True, exist_ok=True)
        parts = Parts(
            parts_folder(path),
            self.draws.n,
            self._part_size if part_size is None else part_size,
            self.about,
        )
        alone = processes == 1
        begin = partial(
            Parts.begin, parts.folder, parts.n, parts.size, parts.about
        )
        with ExitStack() as held:
            held.enter_context(exclusive(path, 0 if alone else _PATIENCE))
            if path.exists():
                there = check_same(path, parts.digest)
                if parts.folder.exists():
                    # It was killed while it deleted them; or they are of
                    # another library, which is of no concern here.
                    with suppress(InconsistentArguments):
                        begin()
                        merge(parts.folder, path, on_bad)
                return there
            parts = begin()
            if not alone:
                # Held until it has begun: the others begin, too.
                held.close()
            write_parts(parts, self.make, on_bad, process, processes, progress)
            return merge(parts.folder, path, on_bad) if alone else None

    @cached_property
    def parameters(self) -> Parameters:
        """The parameters of a galaxy."""
        redshift = {} if self.redshift is None else {REDSHIFT: self.redshift}
        priors = {
            GALAXY: redshift,
            STARS: self.stars,
            SF_HIST: self.sf_hist.parameters,
            METAL_DIST: self.metal_dist.parameters,
        }
        return Parameters.from_priors(priors, self.cosmo)

    def values(
        self, which: slice
    ) -> tuple[dict[str, Any], dict[str, NDArray[np.float64]]]:
        """Draw the parameters of some galaxies.

        Args:
            which (slice): Which, by their numbers in the draws.

        Returns:
            tuple: The parameters as `galaxies.in_batches` takes them, and
                by name the columns of those that differ, in the units that
                they were given in.
        """
        plain, columns = self.parameters.draw(self.draws, which)
        n = which.stop - which.start
        histories = {}
        for place, shared in self._shared.items():
            drawn = {
                name: values
                for name, values in plain.get(place, {}).items()
                if not self.parameters.at(place)[name].is_shared
            }
            same = {
                name: np.broadcast_to(value, (n, *np.shape(value)))
                for name, value in shared.items()
            }
            histories[place] = {**same, **drawn}
        outside = self._is_outside(histories[METAL_DIST])
        mass = np.where(outside, np.nan, plain[STARS][MASS])
        emission = {name: plain[STARS][name] for name in self._varying}
        return {
            MASS: mass,
            "emission": emission,
            **plain.get(GALAXY, {}),
            **histories,
        }, columns

    @cached_property
    def _varying(self) -> tuple[str, ...]:
        """The parameters of the emission that differ between galaxies."""
        return tuple(
            name
            for name, parameter in self.parameters.at(STARS).items()
            if name != MASS and not parameter.is_shared
        )

    @cached_property
    def _fixed(self) -> dict[str, Any]:
        """The parameters of the emission that do not."""
        return {
            name: parameter.fixed
            for name, parameter in self.parameters.at(STARS).items()
            if name != MASS and parameter.is_shared
        }

    @cached_property
    def _shared(self) -> dict[str, dict[str, NDArray]]:
        """What is the same for all galaxies of their histories.

        As Synthesizer makes the history of the first galaxy: it knows the
        defaults, and what it can't take.
        """
        first = self._first
        return {
            place: _shared_parameters(
                history, classes, functions, self.parameters, place, first
            )
            for place, history, classes, functions in (
                (SF_HIST, self.sf_hist, SFH, SF_HISTS),
                (METAL_DIST, self.metal_dist, ZDist, METAL_DISTS),
            )
        }

    @cached_property
    def _first(self) -> Values:
        """The plain parameters of the first galaxy that is none of the bad."""
        n = min(self.draws.n, _TRIED)
        plain, _ = self.parameters.draw(self.draws, slice(0, n))
        for parameter in self.parameters.every:
            values = plain[parameter.place][parameter.name]
            if not np.isfinite(values).any():
                raise InconsistentArguments(
                    f"'{parameter.where}' is finite for none of the first {n} "
                    f"galaxies: see its prior, {parameter.prior}."
                )
        every = jax.tree.leaves(plain)
        good = [np.isfinite(v.reshape(n, -1)).all(axis=1) for v in every]
        first = int(np.argmax(np.logical_and.reduce(good)))
        return {
            place: {name: v[first : first + 1] for name, v in values.items()}
            for place, values in plain.items()
        }

    @cached_property
    def _part_size(self) -> int:
        """How many galaxies suit a part; the same on every machine."""
        return part_size(_GALAXIES_A_PART, self._row_bytes)

    @cached_property
    def _row_bytes(self) -> int:
        """How many bytes a galaxy takes."""
        model = self.model
        bands = 0 if model.bands is None else len(model.bands.codes)
        numbers = sum(
            bands if output in IN_BANDS else len(model.emission.lam)
            for output in model.outputs
        )
        return 8 * numbers * len(model.emission.emissions)

    def _chosen(self, which: int | slice) -> slice:
        """Return which galaxies are meant.

        Raises:
            InconsistentArguments: If there are none of them.
        """
        n = self.draws.n
        if not isinstance(which, slice):
            check_whole("the number of galaxies", which, 1)
            which = slice(0, which)
        found = range(n)[which]
        beyond = which.stop is not None and which.stop > n
        if beyond or not found or found.step != 1:
            raise InconsistentArguments(
                f"There are {n} galaxies: give the number of those to make, "
                f"or a slice of them without steps; got {which}."
            )
        return slice(found.start, found.stop)

    def _check_inside(self, on_bad: str) -> None:
        """Refuse priors that leave what is known, before anything is made.

        Galaxies are looked at as far as the memory goes; what is beyond is
        found when it is made.

        Raises:
            InconsistentArguments: Names the parameter, its prior and what it
                leaves, if bad galaxies are refused or there are no others.
        """
        n = min(self.draws.n, _LOOKED_AT // max(self.parameters.dimensions, 1))
        plain, _ = self.parameters.draw(self.draws, slice(0, max(n, 1)))
        for parameter, low, high, what in self._limits():
            values = plain[parameter.place][parameter.name]
            outside = np.flatnonzero((values < low) | (values > high))
            if not len(outside) or (on_bad == "skip" and len(outside) < n):
                continue
            low, high = map(parameter.as_given, (low, high))
            some = "" if len(outside) == n else ", or skip them with on_bad"
            raise InconsistentArguments(
                f"The prior of '{parameter.where}', {parameter.prior}, leaves "
                f"{what}, {low:.5g} to {high:.5g}: of the first {n} galaxies "
                f"{len(outside)} are outside: {listed(outside)}. Narrow the "
                f"prior{some}."
            )

    def _limits(self) -> Iterator[tuple[Parameter, float, float, str]]:
        """Return parameters of galaxies that have to lie within limits."""
        metallicities, ages = self._axes
        for place, name, low, high, what in (
            (METAL_DIST, "metallicity", *metallicities, "metallicities"),
            (SF_HIST, "min_age", 0.0, ages[1], "ages"),
        ):
            there = self.parameters.at(place)
            if name in there:
                yield there[name], low, high, f"the grid's axis '{what}'"
        for parameter in self.parameters.at(GALAXY).values():
            yield parameter, 0.0, np.inf, "what redshifts can be"

    def _is_outside(self, metal_dist: Mapping[str, NDArray]) -> NDArray:
        """Return which galaxies are more or less metal-rich than the grid.

        Synthesizer would put them on its edge.
        """
        if "metallicity" not in metal_dist:
            return np.zeros(1, np.bool_)
        z = metal_dist["metallicity"]
        (low, high), _ = self._axes
        return np.asarray((z < low) | (z > high))

    @cached_property
    def _axes(self) -> tuple[tuple[float, float], tuple[float, float]]:
        """The ends of the grid's metallicities, and of its ages, yr."""
        grid, *_ = grids_of(self.emission_model)
        check_parametric(grid)
        first, second = (
            ((1 - _SLACK) * float(nodes[0]), (1 + _SLACK) * float(nodes[-1]))
            for nodes in (grid.metallicities, 10.0**grid.log10ages)
        )
        return first, second

    def _check_stars(self) -> None:
        """Refuse parameters of stars that nothing asks for."""
        mass = self.parameters.at(STARS).get(MASS)
        if mass is None or self.parameters.base(mass) != "Msun":
            raise InconsistentArguments(
                "The stars need 'initial_mass' with units, as in 'units: "
                "Msun', or 'log10initial_mass'."
            )
        emissions = self.emissions or (self.emission_model.label,)
        check_asked(
            [*self._varying, *self._fixed],
            asked_parameters(self.emission_model, emissions),
        )


def _shared_parameters(
    history: History,
    classes: Any,
    functions: Mapping[str, Callable[..., Any]],
    parameters: Parameters,
    place: str,
    first: Mapping[str, Mapping[str, NDArray]],
) -> dict[str, NDArray]:
    """Return the parameters of a history that all galaxies share."""
    units = units_of_history(functions, history.name)
    cls = getattr(classes, history.name)
    known = list(signature(cls).parameters)
    there = parameters.at(place)
    given = {}
    for name, parameter in there.items():
        if name not in known:
            raise InconsistentArguments(
                f"{history.name} has no parameter '{name}'; it has: "
                f"{', '.join(known)}." + nearest(name, known)
            )
        given[name] = (
            parameter.fixed
            if parameter.is_shared
            else with_units(first[place][name][0], parameters.base(parameter))
        )
        # Arrays, of the edges of bins, Synthesizer brings to another form.
        alone = first[place][name][0].ndim == 0
        is_time = parameters.base(parameter) == "yr"
        if alone and is_time and units.get(name) == PURE:
            raise InconsistentArguments(
                f"'{name}' of {history.name} has no units, got "
                f"{given[name].to('Gyr')}."
            )
    shown = ", ".join(f"{k}={v}" for k, v in given.items()) or "nothing"
    try:
        _, stacked = stack_parameters([cls(**given)])
    except Exception as error:
        raise InconsistentArguments(
            f"Synthesizer can't make a {history.name} of {shown}: {error}. "
            "Times need units, as in 'units: Gyr'; other parameters have none."
            + _lists(there)
        ) from error
    _check_shapes(history, functions, stacked, there)
    differing = {n for n, p in there.items() if not p.is_shared}
    return {k: v[0] for k, v in stacked.items() if k not in differing}


def _check_shapes(
    history: History,
    functions: Mapping[str, Callable[..., Any]],
    stacked: Mapping[str, NDArray],
    there: Mapping[str, Parameter],
) -> None:
    """Refuse lists where a history takes one number."""
    if not any(parameter.prior.is_array for parameter in there.values()):
        return
    # Of another length than any list.
    nodes = np.arange(3.0 + max(v.size for v in stacked.values()))
    expected = len(nodes) - (functions is SF_HISTS)
    of_one = {name: values[0] for name, values in stacked.items()}
    try:
        made = jax.eval_shape(
            partial(functions[history.name], nodes), **of_one
        )
        if made.shape == (expected,):
            return
    except (TypeError, ValueError, IndexError):
        pass
    lists = [p for p in there.values() if p.prior.is_array]
    raise InconsistentArguments(
        f"{history.name} can't take a list of these lengths for "
        f"{' and '.join(p.given for p in lists)}." + _lists(there)
    )


def _lists(there: Mapping[str, Parameter]) -> str:
    """Return which priors were meant by lists of numbers, if any."""
    return "".join(did_you_mean(p.prior) for p in there.values())


def _flat(found: Mapping[str, Mapping[str, NDArray]]) -> dict[str, NDArray]:
    """Return arrays by their paths."""
    return {
        f"{output}/{label}": values
        for output, emissions in found.items()
        for label, values in emissions.items()
    }
