"""The stars of simulated galaxies, as plain arrays, and their file.

They come from Synthesizer's `particle.Galaxy`, whatever loaded it, or from an
HDF5 file of these groups, with the galaxies one after the other:

    stars/<variable>        (n_stars,) with the attribute Units
    galaxies/n_stars        (n_galaxies,) the number of stars of each
    galaxies/redshift       (n_galaxies,)
    galaxies/universe_age   (n_galaxies,) with Units, optional
    galaxies/name           (n_galaxies,) strings, optional
    properties/<property>   (n_galaxies,) any number, optional

Only this module reads and writes the file.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
from astropy.cosmology import Planck18
from astropy.units import Gyr
from numpy.typing import NDArray
from synthesizer.exceptions import (
    GridError,
    InconsistentArguments,
    MissingAttribute,
)

from synthesizer_emulator.files.hdf5 import open_hdf5, report_damage
from synthesizer_emulator.files.kinds import STARS, kind_of, wrong_kind
from synthesizer_emulator.files.writing import write_hdf5
from synthesizer_emulator.gridfile.reading import text
from synthesizer_emulator.stars.variables import (
    NEEDED,
    POSITIONS,
    VELOCITIES,
    get_variable,
)
from synthesizer_emulator.units import in_units, parse_unit
from synthesizer_emulator.validation import nearest

FORMAT, FORMAT_VERSION = "synthesizer_emulator stars", 1

# What Synthesizer calls galaxies without a name.
_UNNAMED = "particle galaxy"

# How many times older than the universe stars must be to be in other units.
_TOO_OLD = 3.0

_REMEDY = "See the layout in the documentation of the file of stars."

# Where Synthesizer's stars keep variables of other names.
_ATTRIBUTES = {
    "age": "ages",
    "metallicity": "metallicities",
    "initial_mass": "initial_masses",
}
_VECTORS = {
    **{name: ("coordinates", i) for i, name in enumerate(POSITIONS)},
    **{name: ("velocities", i) for i, name in enumerate(VELOCITIES)},
}


@dataclass(frozen=True, eq=False)
class GalaxyStars:
    """The star particles of one galaxy.

    Attributes:
        columns (Mapping): The variables of the stars by their names, in the
            units of `VARIABLES`, (n,) each.
        properties (Mapping): Further properties of the galaxy, numbers.
        universe_age (float): The age of the universe at its redshift, Gyr.
        redshift (float): Its redshift.
        name (str): Its name.
    """

    columns: Mapping[str, NDArray[np.float64]]
    properties: Mapping[str, float] = field(default_factory=dict)
    universe_age: float = float(Planck18.age(0.0).to_value(Gyr))
    redshift: float = 0.0
    name: str = ""

    def __post_init__(self) -> None:
        """Check the columns.

        Raises:
            InconsistentArguments: If one is missing, lengths differ, or
                columns or properties are no numbers.
        """
        lacking = [name for name in NEEDED if name not in self.columns]
        if lacking:
            raise InconsistentArguments(
                f"{self} must have the columns {', '.join(NEEDED)}; it lacks "
                f"{', '.join(lacking)}."
            )
        lengths = {name: np.shape(c) for name, c in self.columns.items()}
        if len(set(lengths.values())) > 1 or len(lengths["age"]) != 1:
            raise InconsistentArguments(
                f"The columns of {self} must be of one length, got "
                + ", ".join(f"{k} {v}" for k, v in lengths.items())
                + "."
            )
        for name, column in self.columns.items():
            if not _is_number(column):
                raise InconsistentArguments(
                    f"The column '{name}' of {self} must have numbers, got "
                    f"{np.asarray(column).dtype.name}."
                )
        for name, value in self.properties.items():
            if np.ndim(value) or not _is_number(value):
                raise InconsistentArguments(
                    f"The property '{name}' of {self} must be one number, "
                    f"got {value!r}."
                )

    def __str__(self) -> str:
        return f"the galaxy '{self.name}'" if self.name else "a galaxy"

    def __len__(self) -> int:
        return len(self.columns["age"])

    @classmethod
    def from_galaxy(
        cls,
        galaxy: Any,
        variables: Iterable[str] = (),
        properties: Iterable[str] = (),
        cosmo: Any = Planck18,
        name: str = "",
    ) -> "GalaxyStars":
        """Take the stars of a galaxy of Synthesizer.

        Positions are relative to the centre of the galaxy, if it has one.

        Args:
            galaxy (particle.Galaxy): The galaxy.
            variables (iterable of str): Further attributes of its stars to
                take, besides those in `VARIABLES`; pure numbers.
            properties (iterable of str): Attributes of the galaxy to take.
            cosmo (Cosmology): The cosmology, for the age of the universe.
            name (str): A name, for messages; by default that of the galaxy.

        Returns:
            GalaxyStars: The stars.

        Raises:
            InconsistentArguments: If it is not a galaxy with star particles.
            MissingAttribute: If it lacks an attribute that is named.
        """
        stars: Any = getattr(galaxy, "stars", None)
        if not hasattr(stars, "initial_masses") or not hasattr(
            stars, "coordinates"
        ):
            raise InconsistentArguments(
                "Galaxies must be particle galaxies of Synthesizer with "
                f"stars, or GalaxyStars; got {type(galaxy).__name__}."
            )
        columns = {}
        for variable in (*_ATTRIBUTES, *_VECTORS, "alpha_enhancement"):
            values = _column(stars, variable)
            if values is not None:
                columns[variable] = values
        for variable in variables:
            if variable not in columns:
                columns[variable] = _required(stars, variable, "stars")
        centre = galaxy.centre if stars.centre is None else stars.centre
        if centre is not None and "x" in columns:
            shift = in_units("the centre", centre, "kpc")
            for axis, offset in zip(POSITIONS, shift, strict=True):
                columns[axis] = columns[axis] - offset
        redshift = galaxy.redshift or 0.0
        return cls(
            columns=columns,
            properties={
                name: float(_required(galaxy, name, "galaxy"))
                for name in properties
            },
            universe_age=float(cosmo.age(redshift).to_value(Gyr)),
            redshift=float(redshift),
            name=name or (galaxy.name if galaxy.name != _UNNAMED else ""),
        )

    @property
    def positions(self) -> NDArray[np.float64]:
        """The positions, kpc, (n, 3)."""
        return self._stack(POSITIONS)

    @property
    def velocities(self) -> NDArray[np.float64]:
        """The velocities, km/s, (n, 3)."""
        return self._stack(VELOCITIES)

    @property
    def masses(self) -> NDArray[np.float64]:
        """The initial masses, Msun, (n,); equal ones if it has none."""
        return self.columns.get("initial_mass", np.ones(len(self)))

    @cached_property
    def relative_masses(self) -> NDArray[np.float64]:
        """The initial masses in units of their mean, (n,)."""
        return self.masses / self.masses.mean()

    def select(self, chosen: NDArray) -> "GalaxyStars":
        """Return the galaxy with some of its stars.

        Args:
            chosen (np.ndarray): A mask (n,), or indices.
        """
        columns = {name: c[chosen] for name, c in self.columns.items()}
        return replace(self, columns=columns)

    def with_columns(
        self, columns: Mapping[str, NDArray[np.float64]]
    ) -> "GalaxyStars":
        """Return the galaxy with other values of some columns."""
        return replace(self, columns={**self.columns, **columns})

    def with_properties(
        self, properties: Mapping[str, float]
    ) -> "GalaxyStars":
        """Return the galaxy with more properties."""
        return replace(self, properties={**self.properties, **properties})

    def column(self, name: str) -> NDArray[np.float64]:
        """Return a variable of the stars, (n,).

        Raises:
            MissingAttribute: If the galaxy has none of this name.
        """
        if name not in self.columns:
            raise MissingAttribute(
                f"{self} has no variable '{name}'; it has "
                f"{', '.join(self.columns)}." + nearest(name, self.columns)
            )
        return self.columns[name]

    def _stack(self, names: Sequence[str]) -> NDArray[np.float64]:
        """Return variables as the columns of an array."""
        return np.stack([self.column(name) for name in names], axis=1)


def as_stars(
    galaxies: Iterable[Any],
    variables: Iterable[str] = (),
    properties: Iterable[str] = (),
    cosmo: Any = Planck18,
) -> list[GalaxyStars]:
    """Return the stars of galaxies of Synthesizer as plain arrays.

    Args:
        galaxies (iterable): Galaxies of Synthesizer, or `GalaxyStars`, which
            are returned as they are.
        variables (iterable of str): See `GalaxyStars.from_galaxy`.
        properties (iterable of str): See `GalaxyStars.from_galaxy`.
        cosmo (Cosmology): The cosmology.

    Returns:
        list of GalaxyStars: The stars of each.
    """
    variables, properties = tuple(variables), tuple(properties)
    return [
        g
        if isinstance(g, GalaxyStars)
        else GalaxyStars.from_galaxy(g, variables, properties, cosmo)
        for g in galaxies
    ]


def possible(galaxy: GalaxyStars) -> NDArray[np.bool_]:
    """Return which stars can be, (n,).

    They are born, not older than the universe, and have metals and mass.
    """
    age = galaxy.columns["age"]
    return np.asarray(
        (age > 0.0)
        & (age <= galaxy.universe_age)
        & (galaxy.columns["metallicity"] > 0.0)
        & (galaxy.masses > 0.0)
    )


def check_possible(galaxy: GalaxyStars) -> None:
    """Raise unless all stars of a galaxy can be, and are finite.

    Raises:
        InconsistentArguments: If one can't.
    """
    for name, values in galaxy.columns.items():
        if not np.isfinite(values).all():
            raise InconsistentArguments(
                f"The column '{name}' of {galaxy} must be finite: leave out "
                "the other stars."
            )
    wrong = int(np.count_nonzero(~possible(galaxy)))
    if wrong:
        raise InconsistentArguments(
            f"{wrong:,} of the {len(galaxy):,} stars of {galaxy} are not born "
            "or older than the universe, or have no metals or no mass: leave "
            "them out, or use a Cleaning. Ages are in Gyr."
            + hint_of_ages(galaxy.columns["age"], galaxy.universe_age)
        )


def hint_of_ages(ages: Any, universe_age: float) -> str:
    """Return a hint if ages seem to be in other units than Gyr, or nothing.

    Args:
        ages (np.ndarray of float): The ages, taken for Gyr.
        universe_age (float): The age of the universe, Gyr.
    """
    finite = np.ravel(ages)[np.isfinite(np.ravel(ages))]
    largest = finite.max(initial=0.0) / universe_age
    # Rounding, or another cosmology, makes stars a little too old.
    for units, factor in (("Myr", 1e3), ("yr", 1e9)):
        if _TOO_OLD < largest <= factor:
            return f" They seem to be in {units}: convert them to Gyr."
    return ""


def write_galaxies(path: str | Path, galaxies: Sequence[GalaxyStars]) -> None:
    """Write galaxies to an HDF5 file, whole or not at all.

    Args:
        path (str/Path): The file.
        galaxies (list of GalaxyStars): Galaxies with the same variables and
            properties.

    Raises:
        InconsistentArguments: If variables or properties differ.
        OSError: If the file can't be written.
    """
    if not galaxies:
        raise InconsistentArguments("There must be at least one galaxy.")
    first = galaxies[0]
    for galaxy in galaxies:
        for what in ("columns", "properties"):
            own, common = getattr(galaxy, what), getattr(first, what)
            if own.keys() != common.keys():
                raise InconsistentArguments(
                    f"Galaxies in one file must have the same {what}: "
                    f"{galaxy} has {', '.join(own)}, but {first} has "
                    f"{', '.join(common)}."
                )
    named = [g.name for g in galaxies if g.name]
    if len(set(named)) < len(named):
        twice = next(n for n in named if named.count(n) > 1)
        raise InconsistentArguments(
            f"Galaxies in one file must have different names, got '{twice}' "
            "twice."
        )
    with write_hdf5(Path(path)) as hdf:
        hdf.attrs["format"] = FORMAT
        hdf.attrs["format_version"] = FORMAT_VERSION
        for name in first.columns:
            values = np.concatenate([g.columns[name] for g in galaxies])
            hdf[f"stars/{name}"] = values
            hdf[f"stars/{name}"].attrs["Units"] = get_variable(name).units
        hdf["galaxies/n_stars"] = [len(g) for g in galaxies]
        hdf["galaxies/redshift"] = [g.redshift for g in galaxies]
        hdf["galaxies/universe_age"] = [g.universe_age for g in galaxies]
        hdf["galaxies/universe_age"].attrs["Units"] = "Gyr"
        hdf["galaxies/name"] = [g.name for g in galaxies]
        for name in first.properties:
            hdf[f"properties/{name}"] = [g.properties[name] for g in galaxies]


def read_galaxies(path: str | Path) -> list[GalaxyStars]:
    """Read galaxies from a file of the layout above.

    Args:
        path (str/Path): The file.

    Returns:
        list of GalaxyStars: The galaxies.

    Raises:
        GridError: If the file is missing, damaged or of another layout.
    """
    path = Path(path)
    with open_hdf5(path) as hdf, report_damage(path, _REMEDY):
        if "stars" not in hdf or "n_stars" not in hdf.get("galaxies", ()):
            if kind_of(hdf) not in ("", STARS):
                raise wrong_kind(hdf, path, STARS)
            raise GridError(
                f"'{path}' is not {STARS}: it has no group 'stars' or no "
                "'galaxies/n_stars'. docs/galaxy_stars.md has the layout."
            )
        columns = {
            name: _read_quantity(dataset, get_variable(name).units)
            for name, dataset in hdf["stars"].items()
        }
        table = hdf["galaxies"]
        n_stars = table["n_stars"][...].astype(int)
        total = {name: len(values) for name, values in columns.items()}
        if set(total.values()) != {int(n_stars.sum())}:
            raise ValueError(
                f"'galaxies/n_stars' adds up to {n_stars.sum()}, but the "
                f"columns have {', '.join(map(str, set(total.values())))} "
                "values"
            )
        if "redshift" not in table:
            raise ValueError("it has no 'galaxies/redshift'")
        redshift = table["redshift"][...].astype(np.float64)
        ages = (
            _read_quantity(table["universe_age"], "Gyr")
            if "universe_age" in table
            else Planck18.age(redshift).to_value(Gyr)
        )
        for what, values, is_right in (
            ("n_stars", n_stars, n_stars > 0),
            ("redshift", redshift, redshift >= 0.0),
            ("universe_age", ages, ages > 0.0),
        ):
            if not (is_right & np.isfinite(values)).all():
                raise ValueError(
                    f"'galaxies/{what}' has a value that can't be, "
                    f"{values[~(is_right & np.isfinite(values))][0]:g}"
                )
        names = (
            [text(name) for name in table["name"][...]]
            if "name" in table
            else [str(i) for i in range(len(n_stars))]
        )
        properties = {
            name: _read_property(path, name, dataset)
            for name, dataset in hdf.get("properties", {}).items()
        }
    ends = np.cumsum(n_stars)
    return [
        GalaxyStars(
            {name: c[end - n : end] for name, c in columns.items()},
            {name: float(p[i]) for name, p in properties.items()},
            float(ages[i]),
            float(redshift[i]),
            names[i],
        )
        for i, (n, end) in enumerate(zip(n_stars, ends, strict=True))
    ]


def _read_property(path: Path, name: str, dataset: Any) -> NDArray[np.float64]:
    """Read a property of galaxies; raise unless it is of numbers."""
    values = dataset[...]
    if not _is_number(values):
        raise GridError(
            f"'properties/{name}' of '{path}' must have numbers, got text: "
            "leave it out, or give it as 'galaxies/name'."
        )
    return np.asarray(values, np.float64)


def _is_number(value: Any) -> bool:
    """Whether a value or an array is of numbers."""
    return np.asarray(value).dtype.kind in "biuf"


def _read_quantity(dataset: Any, units: str) -> NDArray[np.float64]:
    """Read an array in given units."""
    stored = parse_unit(text(dataset.attrs.get("Units", units)))
    values = dataset[...].astype(np.float64)
    return np.asarray(in_units(dataset.name, values * stored, units))


def _column(stars: Any, variable: str) -> NDArray[np.float64] | None:
    """Return a variable of Synthesizer's stars, or None if it is not set."""
    attribute, axis = _VECTORS.get(
        variable, (_ATTRIBUTES.get(variable, variable), None)
    )
    values = getattr(stars, attribute, None)
    if values is None:
        return None
    plain = in_units(attribute, values, get_variable(variable).units)
    plain = np.array(plain, np.float64)
    if plain.shape[:1] != (stars.nparticles,):
        return None
    return plain if axis is None else plain[:, axis]


def _required(owner: Any, name: str, what: str) -> Any:
    """Return an attribute of stars or a galaxy as plain numbers."""
    value = getattr(owner, name, None)
    if value is None:
        raise MissingAttribute(
            f"The {what} must have the attribute '{name}', but "
            f"{'have' if what == 'stars' else 'has'} none. Set it, or leave "
            "its name out."
        )
    plain = np.array(getattr(value, "value", value))
    if not _is_number(plain):
        raise InconsistentArguments(
            f"The attribute '{name}' of the {what} must be of numbers, got "
            f"{value!r}. Leave its name out."
        )
    return plain.astype(np.float64)
