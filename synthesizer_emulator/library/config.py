"""Libraries described in YAML files, for `synthesizer-emulator library`.

The emission model, the histories and the priors are read by
`model_arguments`, also for the fits of catalogues.

Classes and their arguments have Synthesizer's names. A class with arguments is
written `{Class: {argument: value}}`. Error messages name the entry.
"""

import math
import re
import warnings
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from inspect import signature
from pathlib import Path
from typing import Any, Self, cast

import numpy as np
from astropy.cosmology import Planck18
from synthesizer import emission_models
from synthesizer.emission_models import EmissionModel, attenuation
from synthesizer.emission_models.stellar import STELLAR_MODELS
from synthesizer.exceptions import (
    GridError,
    InconsistentArguments,
    InconsistentParameter,
)
from synthesizer.instruments import InstrumentCollection, premade
from synthesizer.instruments.instrument_base import InstrumentBase
from synthesizer.instruments.photometric_instrument import (
    PhotometricInstrument,
)
from unyt import angstrom, unyt_array, unyt_quantity

from synthesizer_emulator.files.yaml_file import in_file, read_yaml
from synthesizer_emulator.galaxies.filters import as_filters, two_wavelengths
from synthesizer_emulator.galaxies.instruments import as_instruments
from synthesizer_emulator.galaxies.translate import TOLERANCE
from synthesizer_emulator.grid.emulated_grid import EmulatedGrid
from synthesizer_emulator.gridfile.places import (
    locate,
    plain_name,
    weights_path,
)
from synthesizer_emulator.library.draws import Draws
from synthesizer_emulator.library.history import History
from synthesizer_emulator.library.library import Library
from synthesizer_emulator.library.named import IGM_MODELS, find_cosmology
from synthesizer_emulator.library.parameters import AGE_OF_UNIVERSE
from synthesizer_emulator.library.parts import ON_BAD
from synthesizer_emulator.library.priors import (
    PRIORS,
    Fixed,
    Prior,
)
from synthesizer_emulator.library.relations import RELATIONS
from synthesizer_emulator.units import parse_quantity
from synthesizer_emulator.validation import (
    check_choice,
    check_flag,
    check_keys,
    check_memory,
    check_number,
    nearest,
)

# The entries of the model and the priors, and those of a library.
NEEDED = ("grid", "emission_model", "stars", "sf_hist", "metal_dist")
OPTIONAL = (
    "redshift",
    "filters",
    "igm",
    "cosmo",
    "lines",
    "tolerance",
    "integration",
)
_NEEDED = ("file", *NEEDED, "draws")
_OPTIONAL = (
    *OPTIONAL,
    "outputs",
    "emissions",
    "on_bad",
    "instruments",
    "noise",
)

# The classes that a file may use.
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
_BUILDABLE = {**_MODELS, **_DUST, **_CURVES_AND_IGM}

# The options of any prior, and of some.
_OPTIONS = ("units", "of", "size", "given")
_OWN_OPTIONS = {"normal": ("low", "high"), "student_t": ("df",)}

# The warning that a part of an emission model was not given.
_MADE_BY_SYNTHESIZER = r"\s*\w+ requires an? [\w\s]+ model\. We'll create"

_NUMBER = re.compile(r"[-+]?(\d+\.?\d*|\.\d+)([eE][-+]?\d+)?")
_QUANTITY = re.compile(rf"({_NUMBER.pattern})\s+([^\W\d].*)")


@dataclass(frozen=True)
class LibraryConfig:
    """A library and its file, from a YAML file.

    Attributes:
        library (Library): The library.
        path (Path): The file to write.
        on_bad (str): `refuse` galaxies outside the range of the model with
            an error, or `skip` them.
    """

    library: Library
    path: Path
    on_bad: str = "refuse"

    @classmethod
    def read(cls, path: str | Path) -> Self:
        """Read a YAML file, and check that the library can be made.

        Args:
            path (str/Path): The file. Paths in the file are relative to its
                folder.

        Returns:
            LibraryConfig: The library.

        Raises:
            OSError: If the file can't be read.
            GridError: If the weights are missing.
            InconsistentArguments: If an entry is invalid; the message names
                it.
            UnimplementedFunctionality: If the emission model or a history
                has no batched form.
        """
        path = Path(path)
        with in_file(path):
            config = cls._from_mapping(read_yaml(path), path)
            config.library.check()
            return config

    @classmethod
    def _from_mapping(cls, config: Any, path: Path) -> Self:
        """Make a library from the contents of a file."""
        check_keys("the library", config, _NEEDED, _OPTIONAL)
        on_bad = config.get("on_bad", "refuse")
        check_choice("on_bad", on_bad, ON_BAD)
        library = Library(
            **model_arguments(config, path.parent),
            draws=_draws(config["draws"]),
            outputs=config.get("outputs", "photometry"),
            emissions=config.get("emissions"),
            instruments=_instruments(config.get("instruments"), path.parent),
            noise=config.get("noise", False),
        )
        return cls(library, path.parent / str(config["file"]), on_bad)


def model_arguments(config: Mapping[str, Any], folder: Path) -> dict[str, Any]:
    """Read the emission model, the histories and the priors of galaxies.

    Args:
        config (Mapping): The contents of a file, with all entries of `NEEDED`
            and any of `OPTIONAL`.
        folder (Path): The folder to which paths are relative.

    Returns:
        dict: Arguments that `Library` and `Fit` share.

    Raises:
        GridError: If the weights are missing.
        InconsistentArguments: If an entry is invalid; the message names it.
    """
    with _at("grid"):
        # Derived quantities of a fit may be ratios of lines.
        has_lines = "lines" in config or "derived" in config
        grid = open_grid(config["grid"], folder, lines=has_lines)
    with _at("emission_model"):
        model = _build(config["emission_model"], _BUILDABLE, grid)
        if not isinstance(model, EmissionModel):
            raise InconsistentArguments(
                "must be one of Synthesizer's emission models, "
                f"{', '.join(_MODELS)}; got {config['emission_model']!r}."
            )
    with _at("igm"):
        igm = config.get("igm")
        igm = None if igm is None else _build(igm, IGM_MODELS)
    with _at("cosmo"):
        cosmo = find_cosmology(str(config.get("cosmo", Planck18.name)))
    with _at("filters"):
        filters = config.get("filters")
        filters = None if filters is None else as_filters(filters)
    redshift = config.get("redshift")
    return {
        "emission_model": model,
        "sf_hist": _history("sf_hist", config["sf_hist"]),
        "metal_dist": _history("metal_dist", config["metal_dist"]),
        "stars": read_priors("stars", config["stars"]),
        "redshift": (
            None if redshift is None else _prior("redshift", redshift)
        ),
        "filters": filters,
        "cosmo": cosmo,
        "igm": igm,
        "lines": config.get("lines"),
        "tolerance": config.get("tolerance", TOLERANCE),
        "integration": config.get("integration", "trapezoidal"),
    }


def _instruments(config: Any, folder: Path) -> Any:
    """Read the entry `instruments`: a file, or instruments by name.

    Args:
        config (str/dict): The path of a file of Synthesizer's
            `InstrumentCollection`; or by label the arguments of `Instrument`,
            or by the name of a premade class its own.
        folder (Path): The folder to which paths are relative.

    Returns:
        list/InstrumentCollection: The instruments, or None.
    """
    if config is None:
        return None
    with _at("instruments"):
        if isinstance(config, str):
            return InstrumentCollection(str(folder / config))
        if not isinstance(config, dict):
            raise InconsistentArguments(
                "must be the path of a file of instruments, or {name: "
                f"{{filters: ..., depth: ..., snrs: ...}}}}, got {config!r}."
            )
        made: list[InstrumentBase] = []
        for name, arguments in config.items():
            made += as_instruments(_instrument(str(name), arguments or {}))
        return made


def _instrument(name: str, config: Any) -> Any:
    """Make an instrument of filters and depths, or a premade one."""
    if "filters" not in config and name not in premade.__all__:
        raise InconsistentArguments(
            f"'{name}' needs filters, or must be one of the premade "
            f"{', '.join(premade.__all__)}.{nearest(name, premade.__all__)}"
        )
    _check_paired(name, config)
    if "filters" not in config:
        try:
            return getattr(premade, name)(**_quantities(config))
        except Exception as error:
            # The error comes from a server or a proxy.
            raise InconsistentArguments(
                f"{name} can't be made: {str(error).strip()}. Without a "
                "connection, use filters in the folder "
                "SYNTHESIZER_SVO_FILTER_CACHE, or top hats."
            ) from error
    check_keys(f"'{name}'", config, ("filters",), ("depth", "snrs"))
    depths = {key: config.get(key) for key in ("depth", "snrs")}
    filters = as_filters(config["filters"])
    return PhotometricInstrument(name, filters, **_quantities(depths))


def _check_paired(name: str, config: Mapping[str, Any]) -> None:
    """Raise if an instrument has one of depth and snrs without the other."""
    for given, lacking, example in (
        ("depth", "snrs", "the signal-to-noise ratio at the depth, as in 5"),
        ("snrs", "depth", "an apparent magnitude, as in 28.5"),
    ):
        if config.get(given) is not None and config.get(lacking) is None:
            raise InconsistentArguments(
                f"'{name}' has {given} without {lacking}: add {lacking} "
                f"({example}), or leave out {given}."
            )


def _quantities(config: Any) -> Any:
    """Convert the strings in a mapping that are quantities."""
    if isinstance(config, dict):
        return {key: _quantities(value) for key, value in config.items()}
    return read_quantity(config)


def name_and_arguments(entry: str, config: Any) -> tuple[str, dict[str, Any]]:
    """Read an entry such as `Name` or `{Name: {argument: value}}`.

    Raises:
        InconsistentArguments: If it has another form.
    """
    with _at(entry):
        name, arguments = _class_and_arguments(config)
    return name, {k: _whole(v) for k, v in arguments.items()}


@contextmanager
def _at(entry: str) -> Iterator[None]:
    """Add the name of an entry to the messages of errors in it."""
    try:
        yield
    except (InconsistentArguments, InconsistentParameter) as error:
        raise InconsistentArguments(
            f"'{entry}': {str(error).strip()}"
        ) from error


def _class_and_arguments(config: Any) -> tuple[str, dict[str, Any]]:
    """Read `Class` or `{Class: {argument: value}}`."""
    if isinstance(config, str):
        return config, {}
    if isinstance(config, dict) and len(config) == 1:
        ((name, arguments),) = config.items()
        arguments = {} if arguments is None else arguments
        if isinstance(arguments, dict):
            return name, arguments
    raise InconsistentArguments(
        "must be the name of a class or {Class: {argument: value}}, got "
        f"{config!r}."
    )


def _build(
    config: Any, known: Mapping[str, Any], grid: EmulatedGrid | None = None
) -> Any:
    """Make an instance of one of Synthesizer's classes."""
    name, arguments = _class_and_arguments(config)
    if name not in known:
        raise InconsistentArguments(
            f"the class must be one of {', '.join(known)}, got '{name}'."
            + nearest(name, known)
        )
    accepted = [
        parameter.name
        for parameter in signature(known[name]).parameters.values()
        if parameter.kind is not parameter.VAR_KEYWORD
    ]
    built = {k: _argument(v, grid) for k, v in arguments.items()}
    for argument in built:
        if argument not in accepted or argument == "grid":
            raise InconsistentArguments(
                f"the arguments of {name} must be among "
                f"{', '.join(a for a in accepted if a != 'grid')}; got "
                f"'{argument}'. Give parameters of the galaxies under 'stars'."
                + nearest(argument, accepted)
            )
    if "grid" in accepted and grid is not None:
        built["grid"] = grid
    try:
        with warnings.catch_warnings():
            # Synthesizer tells which parts of a model it makes itself.
            warnings.filterwarnings("ignore", _MADE_BY_SYNTHESIZER)
            return known[name](**built)
    except Exception as error:
        raise InconsistentArguments(
            f"Synthesizer can't make a {name} from these arguments: {error}"
        ) from error


def _argument(config: Any, grid: EmulatedGrid | None) -> Any:
    """Convert an argument to an object, a quantity or a plain value."""
    if isinstance(config, list):
        return [_argument(value, grid) for value in config]
    if isinstance(config, dict) or (
        isinstance(config, str) and config in _BUILDABLE
    ):
        return _build(config, _BUILDABLE, grid)
    return read_quantity(config)


def read_quantity(value: Any) -> Any:
    """Convert a string such as `5 Gyr` to a quantity; keep other values."""
    if isinstance(value, str) and _QUANTITY.fullmatch(value):
        return parse_quantity(value)
    return value


def open_grid(config: Any, folder: Path, lines: bool = False) -> EmulatedGrid:
    """Open the emulated grid of the entry `grid` of a file.

    Args:
        config (str/dict): The entry.
        folder (Path): The folder to which paths are relative.
        lines (bool): Whether lines are needed.

    Raises:
        GridError: If the weights are missing.
        InconsistentArguments: If an entry is invalid.
    """
    given = config if isinstance(config, dict) else {"name": config}
    options = ("grid_dir", "new_lam", "lam_lims", "collapse", "fetch")
    check_keys("the grid", given, ("name",), options)
    if "new_lam" in given and "lam_lims" in given:
        raise InconsistentArguments(
            "new_lam and lam_lims can't be combined: leave out lam_lims."
        )
    check_flag("fetch", given.get("fetch", False))
    kwargs: dict[str, Any] = {
        "ignore_lines": not lines,
        "fetch": given.get("fetch", False),
    }
    if "lam_lims" in given:
        kwargs["lam_lims"] = two_wavelengths("lam_lims", given["lam_lims"])
    grid = EmulatedGrid(**_grid_arguments(given, folder), **kwargs)
    if "new_lam" in given:
        # Memory for all spectra, and the same again for the emissions.
        size = 2 * len(grid.spectra) * math.prod(grid.shape[:-1])
        grid.interp_spectra(_constant_resolution(given["new_lam"], size))
    collapse = given.get("collapse", {})
    if not isinstance(collapse, dict):
        raise InconsistentArguments(
            "collapse must give a value on each axis to remove, as in "
            f"{{ionisation_parameters: 0.01}}, got {collapse!r}."
        )
    for axis, entry in collapse.items():
        value = read_quantity(entry)
        numbers = float | int | unyt_quantity
        if not isinstance(value, numbers) or isinstance(value, bool):
            raise InconsistentArguments(
                f"'{axis}' of collapse must be one number, as in 0.01 or '1e7 "
                f"yr', got {entry!r}."
            )
        grid.collapse(axis, method="emulator", value=value, inplace=True)
    return grid


def _grid_arguments(given: Mapping[str, Any], base: Path) -> dict[str, Any]:
    """Return the name of a grid and the folder of its weights."""
    name, folder = str(given["name"]), given.get("grid_dir")
    if folder is not None:
        return {"grid_name": name, "grid_dir": base / str(folder)}
    weights, _ = locate(name, base)
    if weights is not None:
        return {
            "grid_name": plain_name(weights.name),
            "grid_dir": weights.parent,
        }
    if "/" in name:
        raise GridError(
            f"No weights at '{weights_path(base / name)}': give the path of a "
            "grid with weights, or the name of one in Synthesizer's grid "
            "folder."
        )
    return {"grid_name": plain_name(Path(name).name)}


def _constant_resolution(config: Any, size: int) -> unyt_array:
    """Return wavelengths of constant resolving power, (nlam,), Angstrom.

    Args:
        config (dict): The entry `new_lam`: `resolution`, and `from` and `to`
            in Angstrom.
        size (int): The numbers in memory per wavelength.
    """
    check_keys("new_lam", config, ("resolution", "from", "to"))
    for name, value in config.items():
        check_number(f"{name} of new_lam", value, 0.0, open_ends=True)
    check_number("resolution of new_lam", config["resolution"], 1.0)
    low, high = config["from"], config["to"]
    if not low < high:
        raise InconsistentArguments(
            "'from' of new_lam must be lower than 'to', got "
            f"{low:g} and {high:g} Angstrom."
        )
    n = math.ceil(config["resolution"] * (math.log(high) - math.log(low))) + 1
    check_memory(
        f"A grid with the {n:.6g} wavelengths of new_lam",
        8 * n * size,
        "give a lower resolution",
    )
    return np.geomspace(low, high, n) * angstrom


def _whole(value: Any) -> Any:
    """Convert a number such as 1e6 to an integer; keep other values."""
    is_whole = isinstance(value, float) and value.is_integer()
    return int(value) if is_whole else value


def _draws(config: Any) -> Draws:
    """Read the number of galaxies and the method of the draws."""
    with _at("draws"):
        check_keys("the mapping", config, ("n",), ("method", "seed"))
        return Draws(**{k: _whole(v) for k, v in config.items()})


def _history(entry: str, config: Any) -> History:
    """Read a star formation history or a metallicity distribution."""
    with _at(entry):
        name, parameters = _class_and_arguments(config)
    return History(name, read_priors(entry, parameters))


def read_priors(entry: str, config: Any) -> dict[str, Prior]:
    """Read the priors of a group of parameters.

    Args:
        entry (str): The name of the entry of the file, for messages.
        config (dict): The priors by the names of parameters.

    Raises:
        InconsistentArguments: If a prior is invalid.
    """
    if not isinstance(config, dict):
        raise InconsistentArguments(
            f"'{entry}' must be priors by name, as in {{tau_v: {{uniform: "
            f"[0, 3]}}}}, got {config!r}."
        )
    return {k: _prior(f"{entry}: {k}", v) for k, v in config.items()}


def _prior(entry: str, config: Any) -> Prior:
    """Read the prior of a parameter."""
    with _at(entry):
        if config == AGE_OF_UNIVERSE:
            return Fixed(1.0, of=AGE_OF_UNIVERSE)
        quantity = read_quantity(config)
        if isinstance(quantity, unyt_quantity):
            return Fixed(float(quantity.value), units=str(quantity.units))
        if isinstance(config, int | float | list):
            return Fixed(config)
        given = config if isinstance(config, dict) else {}
        entries = [config] if isinstance(config, str) else [*given]
        if any(entry in RELATIONS for entry in entries):
            return _relation(config)
        names = [k for k in PRIORS if k in given]
        if len(names) != 1:
            known = (*PRIORS, *RELATIONS, *_OPTIONS, AGE_OF_UNIVERSE)
            raise InconsistentArguments(
                "must be a number or one of "
                f"{', '.join((*PRIORS, *RELATIONS))}, as in "
                f"{{uniform: [0, 3], units: Gyr}}; got {config!r}."
                + "".join(nearest(k, known) for k in entries if k not in known)
            )
        name, prior = names[0], cast(Any, PRIORS[names[0]])
        options = {k: v for k, v in config.items() if k != name}
        if "size" in options:
            options["size"] = _whole(options["size"])
        own = _OWN_OPTIONS.get(name, ())
        check_keys(name, options, (), (*_OPTIONS, *own))
        numbers = config[name]
        if name in ("choice", "fixed", "dirichlet"):
            return prior(numbers, **options)
        if not isinstance(numbers, list) or len(numbers) != 2:
            raise InconsistentArguments(
                f"{name} must be two numbers, got {numbers!r}."
            )
        return prior(*numbers, **options)


def _relation(config: Any) -> Prior:
    """Read the prior of a published relation, with its arguments."""
    name, arguments = _class_and_arguments(config)
    relation = RELATIONS[name]
    check_keys(name, arguments, (), signature(relation).parameters)
    return relation(**arguments)
