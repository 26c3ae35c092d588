"""Fits of catalogues described in YAML, for `synthesizer-emulator fit`.

The file has the entries of a library for the emission model, the histories
and the priors (`library.config`), and those of the columns of the catalogue.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from inspect import signature
from pathlib import Path
from typing import Any, Self

from synthesizer_emulator.files.yaml_file import in_file, read_yaml
from synthesizer_emulator.inference.amortised.network import Network
from synthesizer_emulator.inference.catalogue import Catalogue
from synthesizer_emulator.inference.catalogue_fit import (
    LARGEST_PART,
    derived_names,
)
from synthesizer_emulator.inference.fit import Fit
from synthesizer_emulator.inference.samplers import sampler_options
from synthesizer_emulator.library.config import (
    NEEDED,
    OPTIONAL,
    model_arguments,
    name_and_arguments,
    read_priors,
    read_quantity,
)
from synthesizer_emulator.validation import (
    check_keys,
    check_whole,
)

# The option of samplers that is the name of a file.
_NETWORK = "network"

# The last argument is the folder of the table.
_OF_COLUMNS = tuple(signature(Catalogue.from_table).parameters)[1:-1]
_NEEDED = (*NEEDED, "redshift", "columns")
_OPTIONAL = (
    *(name for name in OPTIONAL if name != "redshift"),
    "emission",
    "spectrum",
    "resolution",
    "sampler",
    "seed",
    "samples",
    "at_once",
    "derived",
)


@dataclass(frozen=True)
class FitConfig:
    """The fit of a catalogue, from a YAML file.

    Attributes:
        fit (Fit): The emission model and the priors.
        columns (Mapping): The columns of the catalogue, arguments of
            `Catalogue.read`.
        method (str): The sampler.
        options (Mapping): The options of the sampler.
        seed (int): The seed of the random numbers.
        samples (int): The number of samples to keep of each galaxy.
        at_once (int): The largest number of galaxies to sample in one
            program.
        derived (tuple of str): The derived quantities.
    """

    fit: Fit
    columns: Mapping[str, Any]
    method: str = "nested"
    options: Mapping[str, Any] | None = None
    seed: int = 0
    samples: int = 1000
    at_once: int = LARGEST_PART
    derived: tuple[str, ...] = ()

    @classmethod
    def read(cls, path: str | Path) -> Self:
        """Read a YAML file.

        Nothing is compiled.

        Args:
            path (str/Path): The file. Paths in the file are relative to its
                folder.

        Returns:
            FitConfig: The fit.

        Raises:
            OSError: If the file can't be read.
            GridError: If the weights are missing.
            InconsistentArguments: If an entry is invalid; the message names
                it.
        """
        path = Path(path)
        with in_file(path):
            config = read_yaml(path)
            check_keys("the fit", config, _NEEDED, _OPTIONAL)
            columns = config["columns"]
            check_keys("columns", columns, (), _OF_COLUMNS)
            method, options = name_and_arguments(
                "sampler", config.get("sampler", cls.method)
            )
            sampler_options(method, options)
            if options.get(_NETWORK) is not None:
                file = path.parent / str(options[_NETWORK])
                options[_NETWORK] = Network.read(file)
            numbers = {
                name: config.get(name, getattr(cls, name))
                for name in ("seed", "samples", "at_once")
            }
            for name, number in numbers.items():
                check_whole(name, number, 1 if name == "at_once" else 0)
            derived = derived_names(config.get("derived"))
            # Filters and lines with columns need not be named twice.
            for entry, kind in (
                ("filters", "photometry"),
                ("lines", "line_fluxes"),
            ):
                if entry not in config and isinstance(columns.get(kind), dict):
                    config[entry] = list(columns[kind])
            fit = Fit(
                **model_arguments(config, path.parent),
                emission=config.get("emission"),
                spectrum=(
                    read_priors("spectrum", config["spectrum"])
                    if "spectrum" in config
                    else None
                ),
                resolution=read_quantity(config.get("resolution")),
            )
        return cls(fit, columns, method, options, derived=derived, **numbers)
