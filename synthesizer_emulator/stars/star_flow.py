"""`StarFlow`: the distribution of the stars of galaxies, given properties."""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import paramax
from astropy.cosmology import Planck18
from astropy.units import Gyr
from flowjax.distributions import Transformed
from jax import Array
from numpy.typing import NDArray
from synthesizer.exceptions import InconsistentArguments
from synthesizer.particle import Galaxy, Stars
from unyt import kpc

from synthesizer_emulator.building.checkpoint import Checkpoint
from synthesizer_emulator.building.progress import BuildMonitor
from synthesizer_emulator.digests import digest
from synthesizer_emulator.progress import say
from synthesizer_emulator.records import current_versions
from synthesizer_emulator.stars.cleaning import (
    Cleaning,
    CleaningReport,
    clean,
)
from synthesizer_emulator.stars.conditions import (
    DEFAULT_CONDITIONS,
    MEASURED,
    Conditions,
    check_ages,
    measure,
)
from synthesizer_emulator.stars.file import (
    Description,
    read_flow,
    write_flow,
)
from synthesizer_emulator.stars.flows import FlowConfig, build_flow
from synthesizer_emulator.stars.galaxies import (
    GalaxyStars,
    as_stars,
    check_possible,
    possible,
)
from synthesizer_emulator.stars.particles import make_stars
from synthesizer_emulator.stars.training import (
    Samples,
    StarTraining,
    split_galaxies,
    train_flow,
)
from synthesizer_emulator.stars.transforms import StarTransform
from synthesizer_emulator.stars.variables import (
    DEFAULT_VARIABLES,
    NEEDED,
    VARIABLES,
)
from synthesizer_emulator.units import in_units
from synthesizer_emulator.validation import (
    check_names,
    check_number,
    check_whole,
)

# The numbers of stars evaluated at once; only two functions are compiled.
_FEW, _MANY = 1024, 16384

_LARGEST_SEED = 2**63 - 1

# The largest relative difference of ages of one cosmology, and the largest age
# of a universe, Gyr: larger ones are in other units.
_SAME_AGE, _OLDEST = 1e-3, 1e3


@dataclass(frozen=True, eq=False)
class StarFlow:
    """A trained flow: stars of a galaxy, given some of its properties.

    Made by `StarFlow.fit`, or read from a file by `StarFlow.read`.

    Attributes:
        about (Description): The settings, the scalings and the training.
        flow (Transformed): The flow of scaled stars, of flowjax.
    """

    about: Description
    flow: Transformed

    def __repr__(self) -> str:
        about = self.about
        return (
            f"StarFlow of {', '.join(self.variables)}\n"
            f"    given {', '.join(about.conditions.names)};\n"
            f"    {about.config.kind}, {about.config.layers} layers, trained "
            f"on {about.cleaning.kept:,} stars of {len(about.galaxies):,} "
            f"galaxies for {len(about.history.epoch)} epochs."
        )

    @property
    def variables(self) -> tuple[str, ...]:
        """The variables of the stars."""
        return self.about.transform.variables

    @property
    def conditions(self) -> tuple[str, ...]:
        """The properties of a galaxy that the flow needs."""
        return self.about.conditions.names

    @property
    def trained_on(self) -> frozenset[str]:
        """The names of the galaxies of the training set, if they have some."""
        return frozenset(filter(None, self.about.galaxies))

    @classmethod
    def fit(
        cls,
        galaxies: Iterable[Any],
        *,
        conditions: Sequence[str] = DEFAULT_CONDITIONS,
        variables: Sequence[str] = DEFAULT_VARIABLES,
        cleaning: Cleaning | None = Cleaning(),  # noqa: B008
        flow: FlowConfig | str = "spline",
        training: StarTraining | None = None,
        cosmo: Any = Planck18,
        checkpoint: str | Path | None = None,
        progress: bool = True,
    ) -> "StarFlow":
        """Train a flow on galaxies.

        Args:
            galaxies (iterable): Galaxies of Synthesizer with star particles
                (`particle.Galaxy`), or `GalaxyStars`.
            conditions (list of str): The properties of a galaxy on which its
                stars depend: names of `MEASURED`, or of properties or
                attributes of the galaxies.
            variables (list of str): The variables of a star: names of
                `VARIABLES`, or of other attributes of the stars.
            cleaning (Cleaning): How galaxies are centred, turned and cut;
                None to take them as they are.
            flow (FlowConfig/str): The settings of the flow, or a key of
                `FLOWS`.
            training (StarTraining): The settings of the training.
            cosmo (Cosmology): The cosmology of the galaxies, for the age of
                the universe.
            checkpoint (str/Path): A file from which an interrupted training
                resumes with the same arguments; deleted at the end.
            progress (bool): Whether to show the progress.

        Returns:
            StarFlow: The flow.

        Raises:
            InconsistentArguments: If an argument is invalid, or too few
                galaxies or stars are left.
            MissingAttribute: If the galaxies lack a variable.
        """
        conditions = check_names("conditions", conditions)
        if len(set(conditions)) < len(conditions):
            raise InconsistentArguments(
                "conditions must have each name once, got "
                f"{', '.join(conditions)}."
            )
        variables = _check_variables(variables)
        config = FlowConfig(flow) if isinstance(flow, str) else flow
        training = training or StarTraining()
        taken = as_stars(
            galaxies,
            [name for name in variables if name not in VARIABLES],
            [name for name in conditions if name not in MEASURED],
            cosmo,
        )
        if not taken:
            raise InconsistentArguments("There must be at least one galaxy.")
        n = sum(map(len, taken))
        report = CleaningReport(n, n, {}, ())
        if cleaning is not None:
            taken, report = clean(taken, cleaning)
            say(str(report), progress)
        for galaxy in taken:
            check_possible(galaxy)
        given = np.array([[*measure(g, conditions).values()] for g in taken])
        scaling = Conditions.from_values(conditions, given)
        scaled = scaling.scaled(given)
        transform = StarTransform.from_galaxies(variables, taken, scaled)
        fitted, held_out = _samples(taken, transform, scaled, training)
        saved = None
        if checkpoint is not None:
            settings = (config, training, transform, scaling)
            saved = Checkpoint.open(
                Path(checkpoint), digest(*settings, current_versions())
            )
        trained, history = train_flow(
            build_flow(
                config,
                len(variables),
                len(conditions),
                jax.random.key(training.seed),
            ),
            fitted,
            held_out,
            training,
            BuildMonitor("stars", saved, training.epochs, progress),
        )
        if saved is not None:
            saved.remove()
        redshifts = [g.redshift for g in taken]
        universe_ages = [g.universe_age for g in taken]
        about = Description(
            config=config,
            training=training,
            transform=transform,
            conditions=scaling,
            redshifts=(min(redshifts), max(redshifts)),
            universe_ages=(min(universe_ages), max(universe_ages)),
            history=history,
            cleaning=report,
            galaxies=tuple(g.name for g in taken),
            versions=current_versions(),
        )
        return cls(about, trained)

    @classmethod
    def read(cls, path: str | Path) -> "StarFlow":
        """Read a flow from a file.

        Args:
            path (str/Path): The file.

        Returns:
            StarFlow: The flow.

        Raises:
            GridError: If the file is missing, damaged, or not of a flow.
        """
        return cls(*read_flow(path))

    def write(self, path: str | Path) -> None:
        """Write the flow to a file, whole or not at all.

        A file that exists is replaced.

        Args:
            path (str/Path): The file, `*.hdf5`.

        Raises:
            InconsistentArguments: If the name does not end in `.hdf5`.
            OSError: If the file can't be written.
        """
        write_flow(path, self.about, self.flow)

    def sample(
        self,
        conditions: Mapping[str, Any],
        n: int,
        key: Any,
        *,
        redshift: float | None = None,
        cosmo: Any = Planck18,
        grid: Any = None,
        smoothing_lengths: bool = False,
    ) -> Stars:
        """Draw the stars of a galaxy.

        Args:
            conditions (Mapping): The properties of the galaxy by name, in
                any order. Without `stellar_mass` among those of the flow, it
                is needed too: the initial masses add up to it.
            n (int): The number of stars.
            key (int/Array): A seed, or a random key of JAX.
            redshift (float): The redshift; by default that of the training
                set.
            cosmo (Cosmology): The cosmology, if the redshift is another than
                those at the ends of the training set.
            grid (Grid): A grid, for the current masses of the stars; without
                one they have none.
            smoothing_lengths (bool): Whether to give the stars smoothing
                lengths, which images with a kernel need.

        Returns:
            Stars: The particles, in the frame of the cleaned galaxies.

        Raises:
            InconsistentArguments: If a condition is missing or invalid, or
                the redshift is unknown.
        """
        drawn = self.draw(conditions, n, key, **self._at(redshift, cosmo))
        return make_stars(drawn, grid, smoothing_lengths)

    def draw(
        self,
        conditions: Mapping[str, Any],
        n: int,
        key: Any,
        *,
        redshift: float | None = None,
        universe_age: float | None = None,
    ) -> GalaxyStars:
        """Draw the stars of a galaxy as plain arrays.

        Args:
            conditions (Mapping): See `sample`.
            n (int): See `sample`.
            key (int/Array): See `sample`.
            redshift (float): See `sample`.
            universe_age (float): The age of the universe at this redshift,
                Gyr; needed at a redshift other than those at the ends of the
                training set.

        Returns:
            GalaxyStars: The stars; the conditions are properties.

        Raises:
            InconsistentArguments: As `sample`.
        """
        check_whole("n", n, 1)
        values = self.about.conditions.require(conditions)
        self.about.conditions.warn_if_outside(values)
        mass = self._stellar_mass(conditions)
        redshift, universe_age = self._epoch(redshift, universe_age)
        check_ages(self.conditions, values, universe_age)
        scaled = self.about.conditions.scaled(values)
        noise = jax.random.normal(
            _as_key(key), (n, len(self.variables)), jnp.float32
        )
        given = np.broadcast_to(scaled, (n, len(scaled)))
        points = _in_chunks(_transport, self.flow, np.asarray(noise), given)
        columns = self.about.transform.inverse(points, scaled, universe_age)
        if not all(np.isfinite(column).all() for column in columns.values()):
            raise InconsistentArguments(
                "The stars that the flow gives are not finite: the conditions "
                "are too far outside of the training set."
            )
        relative = columns.get("initial_mass", np.ones(n))
        columns["initial_mass"] = relative * (mass / relative.sum())
        return GalaxyStars(
            columns,
            dict(zip(self.conditions, map(float, values), strict=True)),
            universe_age,
            redshift,
        )

    def draw_many(
        self,
        catalogue: Mapping[str, Any],
        n: int,
        key: Any,
        *,
        cosmo: Any = Planck18,
    ) -> Iterator[GalaxyStars]:
        """Draw the stars of each galaxy of a catalogue as plain arrays.

        Args:
            catalogue (Mapping/Table): The conditions by name, an array of one
                value for each galaxy. It may have the columns `name` and
                `redshift` too.
            n (int): The number of stars of each galaxy.
            key (int/Array): A seed, or a random key of JAX.
            cosmo (Cosmology): See `sample`.

        Yields:
            GalaxyStars: The stars of each galaxy.

        Raises:
            InconsistentArguments: As `sample`, or if lengths differ.
        """
        names = list(getattr(catalogue, "colnames", catalogue))
        scalars = [name for name in names if not np.ndim(catalogue[name])]
        if scalars:
            raise InconsistentArguments(
                "A catalogue must have an array in each column, one value for "
                f"each galaxy; {', '.join(scalars)} has a single number. Of "
                "one galaxy, use draw or sample."
            )
        lengths = {len(catalogue[name]) for name in names}
        if len(lengths) != 1:
            raise InconsistentArguments(
                "The columns of a catalogue must be of one length, got "
                f"{', '.join(map(str, sorted(lengths)))}."
            )
        for i, own in enumerate(jax.random.split(_as_key(key), *lengths)):
            given = {name: _cell(catalogue[name], i) for name in names}
            name = str(given.pop("name", i))
            redshift = given.get("redshift")
            try:
                epoch = self._at(redshift, cosmo)
                drawn = self.draw(given, n, own, **epoch)
            except InconsistentArguments as error:
                raise InconsistentArguments(
                    f"Galaxy '{name}': {str(error).strip()}"
                ) from error
            yield replace(drawn, name=name)

    def sample_galaxies(
        self,
        catalogue: Mapping[str, Any],
        n: int,
        key: Any,
        *,
        cosmo: Any = Planck18,
        grid: Any = None,
        smoothing_lengths: bool = False,
    ) -> list[Galaxy]:
        """Draw the galaxies of a catalogue, with stars.

        Args:
            catalogue (Mapping/Table): See `draw_many`.
            n (int): The number of stars of each galaxy.
            key (int/Array): A seed, or a random key of JAX.
            cosmo (Cosmology): See `sample`.
            grid (Grid): See `sample`.
            smoothing_lengths (bool): See `sample`.

        Returns:
            list of Galaxy: The galaxies.

        Raises:
            InconsistentArguments: As `sample`, or if lengths differ.
        """
        return [
            Galaxy(
                name=drawn.name,
                stars=make_stars(drawn, grid, smoothing_lengths),
                redshift=drawn.redshift,
                centre=np.zeros(3) * kpc,
            )
            for drawn in self.draw_many(catalogue, n, key, cosmo=cosmo)
        ]

    def log_prob(
        self,
        stars: Any,
        conditions: Mapping[str, Any],
        *,
        cosmo: Any = Planck18,
    ) -> NDArray[np.float64]:
        """Return the logarithm of the density of stars.

        Args:
            stars (Stars/Galaxy/GalaxyStars): The stars of a galaxy, centred
                and turned as the training set was.
            conditions (Mapping): The properties of the galaxy by name.
            cosmo (Cosmology): See `sample`; `GalaxyStars` have an age of the
                universe of their own.

        Returns:
            np.ndarray of float: The natural logarithm of the probability
                density of each star in its variables (positions in kpc, ages
                in Gyr, velocities in km/s, and masses in units of the mean
                mass of these stars), (n,). Minus infinity for stars that
                can't be: not born, older than the universe, or without
                metals or mass.

        Raises:
            InconsistentArguments: If a condition is missing or invalid.
            MissingAttribute: If the stars lack a variable.
        """
        if isinstance(stars, Stars):
            stars = Galaxy(stars=stars, redshift=stars.redshift)
        extra = [name for name in self.variables if name not in VARIABLES]
        (taken,) = as_stars([stars], extra)
        if not len(taken):
            return np.empty(0)
        if not isinstance(stars, GalaxyStars):
            redshift, universe_age = self._epoch(
                **self._at(taken.redshift, cosmo)
            )
            taken = replace(
                taken, redshift=redshift, universe_age=universe_age
            )
        values = self.about.conditions.require(conditions)
        scaled = self.about.conditions.scaled(values)
        columns = {name: taken.column(name) for name in self.variables}
        if not all(np.isfinite(c).all() for c in columns.values()):
            raise InconsistentArguments(
                "The variables of stars must be finite: leave out the others."
            )
        can_be = possible(taken)
        if not can_be.any():
            return np.full(len(taken), -np.inf)
        if not can_be.all():
            # Others take the place of these, but for their masses, which
            # give the unit of mass.
            taken = taken.with_columns(
                {
                    name: np.where(
                        column > 0.0 if name == "initial_mass" else can_be,
                        column,
                        column[can_be][0],
                    )
                    for name, column in columns.items()
                }
            )
        points, log_determinant = self.about.transform.forward(taken, scaled)
        given = np.broadcast_to(scaled, (len(points), len(scaled)))
        log_density = _in_chunks(_log_density, self.flow, points, given)
        log_density = log_density.astype(np.float64) + log_determinant
        return np.where(can_be, log_density, -np.inf)

    def _stellar_mass(self, conditions: Mapping[str, Any]) -> float:
        """Return the stellar mass of a galaxy to draw, Msun."""
        if "stellar_mass" not in conditions:
            raise InconsistentArguments(
                "The conditions must also have the stellar_mass, to which the "
                "initial masses of the stars add up."
            )
        mass = in_units("stellar_mass", conditions["stellar_mass"], "Msun")
        check_number("stellar_mass", float(mass), 0.0, open_ends=True)
        return float(mass)

    def _at(self, redshift: float | None, cosmo: Any) -> dict[str, float]:
        """Return the arguments of `draw` for a redshift."""
        if redshift is None:
            return {}
        check_number("redshift", redshift, 0.0)
        if float(redshift) in self._known_ages:
            return {"redshift": float(redshift)}
        for known, age in self._known_ages.items():
            if abs(cosmo.age(known).to_value(Gyr) / age - 1.0) > _SAME_AGE:
                raise InconsistentArguments(
                    f"At the redshift {known:g} of the training set the "
                    f"universe is {age:.4g} Gyr old, but "
                    f"{cosmo.age(known).to_value(Gyr):.4g} Gyr by the "
                    "cosmology of the stars to draw: give that of the "
                    "training set as cosmo."
                )
        return {
            "redshift": float(redshift),
            "universe_age": float(cosmo.age(redshift).to_value(Gyr)),
        }

    @property
    def _known_ages(self) -> dict[float, float]:
        """The age of the universe, Gyr, at the ends of the redshifts."""
        return dict(
            zip(
                self.about.redshifts,
                reversed(self.about.universe_ages),
                strict=True,
            )
        )

    def _epoch(
        self,
        redshift: float | None = None,
        universe_age: float | None = None,
    ) -> tuple[float, float]:
        """Return the redshift and the age of the universe then, Gyr.

        They are those of the training set where they are not given.
        """
        known = self._known_ages
        if redshift is None:
            if len(known) > 1:
                low, high = self.about.redshifts
                raise InconsistentArguments(
                    "The galaxies of the training set have a redshift from "
                    f"{low:g} to {high:g}: give the redshift of the stars to "
                    "draw."
                )
            (redshift,) = known
        check_number("redshift", redshift, 0.0)
        if universe_age is None:
            if float(redshift) not in known:
                raise InconsistentArguments(
                    f"At redshift {redshift:g}, other than that of the "
                    "training set, give the universe_age too, in Gyr."
                )
            universe_age = known[float(redshift)]
        check_number(
            "universe_age", universe_age, 0.0, _OLDEST, open_ends=True
        )
        return float(redshift), float(universe_age)


def _cell(column: Any, row: int) -> Any:
    """Return a value of a column, with the units of a column of a table."""
    value, unit = column[row], getattr(column, "unit", None)
    if unit is None or hasattr(value, "unit"):
        return value
    return value * unit


def _check_variables(given: object) -> tuple[str, ...]:
    """Return the names of variables; raise if one is missing or repeated."""
    names = check_names("variables", given)
    lacking = [name for name in NEEDED if name not in names]
    if lacking or len(set(names)) < len(names):
        raise InconsistentArguments(
            f"variables must have {' and '.join(NEEDED)}, and each name once; "
            f"got {', '.join(names)}."
        )
    return names


def _samples(
    galaxies: Sequence[GalaxyStars],
    transform: StarTransform,
    scaled: NDArray[np.float64],
    training: StarTraining,
) -> tuple[Samples, Samples]:
    """Return scaled stars and conditions for training and validation.

    Galaxies that validate are not trained on; of a single galaxy, some of its
    stars are not.
    """
    points = [
        transform.forward(g, row)[0].astype(np.float32)
        for g, row in zip(galaxies, scaled, strict=True)
    ]
    given = [
        np.tile(row.astype(np.float32), (len(p), 1))
        for row, p in zip(scaled, points, strict=True)
    ]
    if len(galaxies) > 1:
        parts = split_galaxies(len(galaxies), training)
        sets = [
            (
                np.concatenate([points[i] for i in part]),
                np.concatenate([given[i] for i in part]),
            )
            for part in parts
        ]
    else:
        parts = split_galaxies(len(points[0]), training)
        sets = [(points[0][part], given[0][part]) for part in parts]
    return sets[0], sets[1]


def _in_chunks(
    function: Callable[[Transformed, Array, Array], Array],
    flow: Transformed,
    points: NDArray,
    given: NDArray,
) -> NDArray:
    """Evaluate a function of scaled stars and conditions, a chunk at a time.

    The last chunk is filled up, so that only two shapes are compiled.
    """
    n = len(points)
    size = _FEW if n <= _FEW else _MANY
    results = []
    for start in range(0, n, size):
        rows = np.arange(start, start + size) % n
        chunk = [jnp.asarray(a[rows], jnp.float32) for a in (points, given)]
        result = np.asarray(function(flow, *chunk))
        results.append(result[: min(size, n - start)])
    return np.concatenate(results)


@eqx.filter_jit
def _log_density(flow: Transformed, points: Array, given: Array) -> Array:
    """Return the logarithm of the density of scaled stars."""
    return flow.log_prob(points, given)


@eqx.filter_jit
def _transport(flow: Transformed, noise: Array, given: Array) -> Array:
    """Map points of a normal distribution to scaled stars."""
    bijection = paramax.unwrap(flow).bijection
    return jax.vmap(bijection.transform)(noise, given)


def _as_key(key: Any) -> Array:
    """Return a random key, from a seed or as it is."""
    if isinstance(key, jax.Array):
        return key
    check_whole("key", key, 0, _LARGEST_SEED)
    return jax.random.key(int(key))
