"""A library as YAML says it.

`synthesizer-emulator library` reads it here. The names are those of
Synthesizer's classes and of their arguments, and a class with arguments is
`{Class: {argument: value}}`. All that can be wrong is named with where it
stands.
"""

import math
import re
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from inspect import signature
from pathlib import Path
from typing import Any, Self, cast

import astropy.cosmology
import numpy as np
from astropy.cosmology import FLRW, Planck18
from synthesizer import emission_models
from synthesizer.emission_models import EmissionModel, attenuation
from synthesizer.emission_models.stellar import STELLAR_MODELS
from synthesizer.exceptions import (
    GridError,
    InconsistentArguments,
    InconsistentParameter,
)
from unyt import angstrom, unyt_array, unyt_quantity

from synthesizer_emulator.files.yaml_file import in_file, read_yaml
from synthesizer_emulator.galaxies.filters import as_filters, two_wavelengths
from synthesizer_emulator.grid.emulated_grid import EmulatedGrid
from synthesizer_emulator.gridfile.places import (
    locate,
    plain_name,
    weights_path,
)
from synthesizer_emulator.library.library import History, Library
from synthesizer_emulator.library.parameters import AGE_OF_UNIVERSE
from synthesizer_emulator.library.parts import ON_BAD
from synthesizer_emulator.library.priors import (
    PRIORS,
    Draws,
    Fixed,
    Normal,
    Prior,
)
from synthesizer_emulator.units import parse_quantity
from synthesizer_emulator.validation import (
    check_choice,
    check_keys,
    check_memory,
    check_number,
    nearest,
)

_NEEDED = (
    "file",
    "grid",
    "emission_model",
    "stars",
    "sf_hist",
    "metal_dist",
    "draws",
)
_OPTIONAL = (
    "redshift",
    "filters",
    "igm",
    "cosmology",
    "outputs",
    "emissions",
    "on_bad",
)

# What may be named, by name.
_MODELS = {
    name: getattr(emission_models, name)
    for name in (*STELLAR_MODELS, "AttenuatedEmission")
    if hasattr(emission_models, name)
}
_DUST = {
    name: getattr(emission_models, name)
    for name in emission_models.DUST_GENERATORS
}
_CURVES_AND_IGM = {
    name: getattr(attenuation, name)
    for name in dir(attenuation)
    if isinstance(getattr(attenuation, name), type)
}
_IGM = ("Asada25", "Inoue14", "Madau96")
_BUILDABLE = {**_MODELS, **_DUST, **_CURVES_AND_IGM}

# What any prior may have beside its numbers.
_OPTIONS = ("units", "of", "size")

_NUMBER = re.compile(r"[-+]?(\d+\.?\d*|\.\d+)([eE][-+]?\d+)?")
_QUANTITY = re.compile(rf"({_NUMBER.pattern})\s+([^\W\d].*)")


@dataclass(frozen=True)
class LibraryConfig:
    """What a YAML file says of a library.

    Attributes:
        library (Library): The library.
        path (Path): The file to write.
        on_bad (str): What to do with galaxies that are outside of what is
            known.
    """

    library: Library
    path: Path
    on_bad: str = "refuse"

    @classmethod
    def read(cls, path: str | Path) -> Self:
        """Read a YAML file.

        Args:
            path (str/Path): The file; what it says of folders and files is
                relative to its own folder.

        Returns:
            LibraryConfig: What it says.

        Raises:
            OSError: If it can't be read.
            GridError: If there are no such weights.
            InconsistentArguments: If it is no library; names what is wrong,
                and where.
            UnimplementedFunctionality: If the emission model or a history
                is not translated.
        """
        path = Path(path)
        with in_file(path):
            return cls._of(read_yaml(path), path)

    @classmethod
    def _of(cls, said: Any, path: Path) -> Self:
        """Return what a YAML file says."""
        check_keys("the library", said, _NEEDED, _OPTIONAL)
        on_bad = said.get("on_bad", "refuse")
        check_choice("on_bad", on_bad, ON_BAD)
        with _at("grid"):
            grid = _grid(said["grid"], path.parent)
        with _at("emission_model"):
            model = _build(said["emission_model"], _BUILDABLE, grid)
            if not isinstance(model, EmissionModel):
                raise InconsistentArguments(
                    "expected one of Synthesizer's emission models, "
                    f"{', '.join(_MODELS)}; got {said['emission_model']!r}."
                )
        with _at("igm"):
            igm = said.get("igm")
            known = {name: _CURVES_AND_IGM[name] for name in _IGM}
            igm = None if igm is None else _build(igm, known)
        with _at("filters"):
            filters = said.get("filters")
            filters = None if filters is None else as_filters(filters)
        redshift = said.get("redshift")
        library = Library(
            emission_model=model,
            sf_hist=_history("sf_hist", said["sf_hist"]),
            metal_dist=_history("metal_dist", said["metal_dist"]),
            stars=_priors("stars", said["stars"]),
            draws=_draws(said["draws"]),
            redshift=(
                None if redshift is None else _prior("redshift", redshift)
            ),
            filters=filters,
            cosmo=_cosmology(said.get("cosmology", Planck18.name)),
            igm=igm,
            outputs=said.get("outputs", "photometry"),
            emissions=said.get("emissions"),
        )
        return cls(library, path.parent / str(said["file"]), on_bad)


@contextmanager
def _at(where: str) -> Iterator[None]:
    """Say in an error where in the file it arose."""
    try:
        yield
    except (InconsistentArguments, InconsistentParameter) as error:
        raise InconsistentArguments(
            f"'{where}': {str(error).strip()}"
        ) from error


def _class_and_arguments(said: Any) -> tuple[str, dict[str, Any]]:
    """Return what is said as `Class`, or as `{Class: {argument: value}}`."""
    if isinstance(said, str):
        return said, {}
    if isinstance(said, dict) and len(said) == 1:
        ((name, arguments),) = said.items()
        arguments = {} if arguments is None else arguments
        if isinstance(arguments, dict):
            return name, arguments
    raise InconsistentArguments(
        "expected the name of a class, or {Class: {argument: value}}; got "
        f"{said!r}."
    )


def _build(
    said: Any, known: Mapping[str, Any], grid: EmulatedGrid | None = None
) -> Any:
    """Return an object of one of Synthesizer's classes."""
    name, arguments = _class_and_arguments(said)
    if name not in known:
        raise InconsistentArguments(
            f"there is no '{name}' here; there are: {', '.join(known)}."
            + nearest(name, known)
        )
    takes = [
        parameter.name
        for parameter in signature(known[name]).parameters.values()
        if parameter.kind is not parameter.VAR_KEYWORD
    ]
    built = {k: _argument(v, grid) for k, v in arguments.items()}
    for argument in built:
        if argument not in takes or argument == "grid":
            raise InconsistentArguments(
                f"{name} has no argument '{argument}' to be given here; it "
                f"has: {', '.join(t for t in takes if t != 'grid')}. What "
                "galaxies have of their own stands under 'stars'."
                + nearest(argument, takes)
            )
    if "grid" in takes and grid is not None:
        built["grid"] = grid
    try:
        return known[name](**built)
    except Exception as error:
        raise InconsistentArguments(
            f"Synthesizer can't make a {name} of this: {error}"
        ) from error


def _argument(said: Any, grid: EmulatedGrid | None) -> Any:
    """Return an argument: an object, a quantity with units, or as it is."""
    if isinstance(said, list):
        return [_argument(value, grid) for value in said]
    if isinstance(said, dict) or (
        isinstance(said, str) and said in _BUILDABLE
    ):
        return _build(said, _BUILDABLE, grid)
    return _quantity(said)


def _quantity(said: Any) -> Any:
    """Return a text such as `5 Gyr` as a quantity; all else as it is."""
    if isinstance(said, str) and _QUANTITY.fullmatch(said):
        return parse_quantity(said)
    return said


def _grid(said: Any, beside: Path) -> EmulatedGrid:
    """Return an emulated grid."""
    given = said if isinstance(said, dict) else {"name": said}
    options = ("grid_dir", "new_lam", "lam_lims", "collapse")
    check_keys("the grid", given, ("name",), options)
    if "new_lam" in given and "lam_lims" in given:
        raise InconsistentArguments(
            "new_lam says which wavelengths there are: leave out lam_lims."
        )
    kwargs: dict[str, Any] = {"ignore_lines": True}
    if "lam_lims" in given:
        kwargs["lam_lims"] = two_wavelengths("lam_lims", given["lam_lims"])
    grid = EmulatedGrid(**_place(given, beside), **kwargs)
    if "new_lam" in given:
        # Each of its spectra, and as much again that is made of them.
        numbers = 2 * len(grid.spectra) * math.prod(grid.shape[:-1])
        grid.interp_spectra(_constant_resolution(given["new_lam"], numbers))
    collapse = given.get("collapse", {})
    if not isinstance(collapse, dict):
        raise InconsistentArguments(
            "collapse takes the value of each axis to take away, as in "
            f"{{ionisation_parameters: 0.01}}; got {collapse!r}."
        )
    for axis, said_value in collapse.items():
        value = _quantity(said_value)
        kinds = float | int | unyt_quantity
        if not isinstance(value, kinds) or isinstance(value, bool):
            raise InconsistentArguments(
                f"collapse takes one number for '{axis}', as 0.01 or '1e7 "
                f"yr'; got {said_value!r}."
            )
        grid.collapse(axis, method="emulator", value=value, inplace=True)
    return grid


def _place(given: Mapping[str, Any], beside: Path) -> dict[str, Any]:
    """Return the name of a grid and the folder of its weights."""
    name, folder = str(given["name"]), given.get("grid_dir")
    if folder is not None:
        return {"grid_name": name, "grid_dir": beside / str(folder)}
    weights, _ = locate(name, beside)
    if weights is not None:
        return {
            "grid_name": plain_name(weights.name),
            "grid_dir": weights.parent,
        }
    if "/" in name:
        raise GridError(
            f"No weights '{weights_path(beside / name)}': give the path of a "
            "grid that was built, or the name of one in Synthesizer's grid "
            "folder."
        )
    return {"grid_name": plain_name(Path(name).name)}


def _constant_resolution(said: Any, numbers: int) -> unyt_array:
    """Return wavelengths of constant resolving power.

    Args:
        said (Any): What is said of them.
        numbers (int): How many numbers will be kept of each.
    """
    check_keys("new_lam", said, ("resolution", "from", "to"))
    for name, value in said.items():
        check_number(f"{name} of new_lam", value, 0.0, open_ends=True)
    low, high = said["from"], said["to"]
    if not low < high:
        raise InconsistentArguments(
            f"new_lam has to go up, got from {low:g} to {high:g} Angstrom."
        )
    n = math.ceil(said["resolution"] * (math.log(high) - math.log(low))) + 1
    check_memory(
        f"A grid with {n:.6g} wavelengths, as new_lam says,",
        8 * n * numbers,
        "give a lower resolution",
    )
    return np.geomspace(low, high, n) * angstrom


def _whole(said: Any) -> Any:
    """Return a number such as 1e6 as a whole one, anything else as it is."""
    return int(said) if isinstance(said, float) and said.is_integer() else said


def _cosmology(name: Any) -> FLRW:
    """Return a cosmology of astropy."""
    cosmology = getattr(astropy.cosmology, str(name), None)
    if not isinstance(cosmology, FLRW):
        known = astropy.cosmology.realizations.available
        raise InconsistentArguments(
            f"'cosmology' must be one of astropy's, {', '.join(known)}; got "
            f"{name!r}." + nearest(name, known)
        )
    return cosmology


def _draws(said: Any) -> Draws:
    """Return how to draw."""
    with _at("draws"):
        check_keys("the draws", said, ("n",), ("method", "seed"))
        return Draws(**{k: _whole(v) for k, v in said.items()})


def _history(where: str, said: Any) -> History:
    """Return a star formation history or a metallicity distribution."""
    with _at(where):
        name, parameters = _class_and_arguments(said)
    return History(name, _priors(where, parameters))


def _priors(where: str, said: Any) -> dict[str, Prior]:
    """Return the priors of a place."""
    if not isinstance(said, dict):
        raise InconsistentArguments(
            f"'{where}' takes priors by name, as in {{tau_v: {{uniform: "
            f"[0, 3]}}}}; got {said!r}."
        )
    return {k: _prior(f"{where}: {k}", v) for k, v in said.items()}


def _prior(where: str, said: Any) -> Prior:
    """Return a prior."""
    with _at(where):
        if said == AGE_OF_UNIVERSE:
            return Fixed(1.0, of=AGE_OF_UNIVERSE)
        quantity = _quantity(said)
        if isinstance(quantity, unyt_quantity):
            return Fixed(float(quantity.value), units=str(quantity.units))
        if isinstance(said, int | float | list):
            return Fixed(said)
        given = said if isinstance(said, dict) else {}
        names = [k for k in PRIORS if k in given]
        if len(names) != 1:
            known = (*PRIORS, *_OPTIONS, AGE_OF_UNIVERSE)
            strange = [said] if isinstance(said, str) else [*given]
            raise InconsistentArguments(
                f"expected one of {', '.join(PRIORS)}, as in {{uniform: [0, "
                f"3], units: Gyr}}, or a number; got {said!r}."
                + "".join(nearest(k, known) for k in strange if k not in known)
            )
        name, prior = names[0], cast(Any, PRIORS[names[0]])
        options = {k: v for k, v in said.items() if k != name}
        if "size" in options:
            options["size"] = _whole(options["size"])
        bounds = ("low", "high") if prior is Normal else ()
        check_keys(name, options, (), (*_OPTIONS, *bounds))
        numbers = said[name]
        if name in ("choice", "fixed"):
            return prior(numbers, **options)
        if not isinstance(numbers, list) or len(numbers) != 2:
            raise InconsistentArguments(
                f"{name} takes two numbers, got {numbers!r}."
            )
        return prior(*numbers, **options)
