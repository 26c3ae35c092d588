"""The configuration of a generalisation study, in Python or in YAML."""

from collections.abc import Mapping
from dataclasses import dataclass, field, fields, replace
from pathlib import Path
from typing import Any, Self

from synthesizer.exceptions import InconsistentArguments

from synthesizer_emulator.architectures.base import Architecture
from synthesizer_emulator.architectures.registry import (
    get_architecture,
    get_training,
)
from synthesizer_emulator.architectures.training import TrainingConfig
from synthesizer_emulator.files.yaml_file import in_file, read_yaml
from synthesizer_emulator.gridfile.nodes import Block, as_blocks
from synthesizer_emulator.gridfile.places import find_grid
from synthesizer_emulator.validation import (
    check_keys,
    check_number,
    check_whole,
    nearest,
)

# The region of the training nodes, reported with the test regions.
TRAINED = "trained"

_REQUIRED = ("architectures", "grid", "spectrum", "test", "training")
_OPTIONAL = ("fractions", "looks", "seeds", "wavelengths")


@dataclass(frozen=True)
class Candidate:
    """An architecture and its settings, to be compared in a study.

    Attributes:
        architecture (str): The name of the architecture.
        settings (Mapping): Settings of the architecture.
        training (Mapping): Training settings that differ from the defaults
            of the architecture.
    """

    architecture: str
    settings: Mapping[str, Any] = field(default_factory=dict)
    training: Mapping[str, Any] = field(default_factory=dict)

    def make_architecture(self) -> Architecture:
        """Return the architecture with these settings."""
        return get_architecture(self.architecture, self.settings)

    def make_config(self, seed: int) -> TrainingConfig:
        """Return the training settings with a seed.

        Raises:
            InconsistentArguments: If a setting is not known or out of
                range.
        """
        config = get_training(self.make_architecture(), self.training)
        if "seed" in self.training:
            raise InconsistentArguments(
                "The training settings of a study must not contain 'seed'. "
                "Use 'seeds' of the study."
            )
        return replace(config, seed=seed)


@dataclass(frozen=True)
class Study:
    """The configuration of a generalisation study.

    Attributes:
        grid (Path): The grid file, or a file of scattered samples.
        spectrum (str): The name of the emulated spectrum.
        architectures (dict): The Candidates by name.
        training (dict): The blocks of each training region by name, as in
            `region_mask`, or in `sample_mask` for samples.
        test (dict): The blocks of each test region by name; training nodes
            are excluded, and so are training samples.
        seeds (tuple of int): The seeds; each run is repeated with each.
        fractions (tuple of float): The fractions of the nodes or samples of
            a training region to train on, drawn with the seed.
        wavelengths (int): The number of emulated wavelengths, evenly spread
            over the scored ones.
        looks (int): The number of times that errors are measured during
            training.
    """

    grid: Path
    spectrum: str
    architectures: dict[str, Candidate]
    training: dict[str, tuple[Block, ...]]
    test: dict[str, tuple[Block, ...]]
    seeds: tuple[int, ...] = (0, 1, 2)
    fractions: tuple[float, ...] = (1.0,)
    wavelengths: int = 500
    looks: int = 12

    def __post_init__(self) -> None:
        """Raise unless all settings are valid.

        Raises:
            InconsistentArguments: If a setting is out of range.
            UnrecognisedOption: If an architecture is not known.
        """
        # The only way to set a field of a frozen dataclass.
        object.__setattr__(self, "grid", Path(self.grid))
        for name in (
            "architectures",
            "training",
            "test",
            "seeds",
            "fractions",
        ):
            if not getattr(self, name):
                raise InconsistentArguments(
                    f"'{name}' of a study must not be empty."
                )
        for seed in self.seeds:
            check_whole("each of seeds", seed, 0)
        for fraction in self.fractions:
            check_number("each of fractions", fraction, 0, 1)
        check_whole("wavelengths", self.wavelengths, 10)
        check_whole("looks", self.looks, 1)
        if TRAINED in self.test:
            raise InconsistentArguments(
                f"A test region must not be called '{TRAINED}', the name of "
                "the training nodes in the results. Use another name."
            )
        for candidate in self.architectures.values():
            candidate.make_config(0)

    @classmethod
    def read(cls, path: Path) -> Self:
        """Read a study from a YAML file.

        Args:
            path (Path): The file. A relative path of the grid is looked up
                in the folder of this file first.

        Returns:
            Study: The study.

        Raises:
            OSError: If the file can't be read.
            InconsistentArguments: If the file does not describe a study.
            GridError: If the grid is missing.
            UnrecognisedOption: If an architecture is not known.
        """
        with in_file(path):
            return cls._from_config(read_yaml(path), path.parent)

    @classmethod
    def _from_config(cls, config: Any, folder: Path) -> Self:
        """Return the study in the contents of a YAML file in a folder."""
        if not isinstance(config, dict):
            raise InconsistentArguments(
                "A study must contain 'grid', 'spectrum', 'architectures', "
                f"'training' and 'test'; got {str(config)[:60]!r}."
            )
        check_keys("The study", config, list(_REQUIRED), list(_OPTIONAL))
        for name in ("grid", "spectrum"):
            if not isinstance(config[name], str):
                raise InconsistentArguments(
                    f"'{name}' must be a name, got {config[name]!r}."
                )
        local_path = folder / config["grid"]
        settings = {
            **config,
            "grid": find_grid(
                local_path if local_path.is_file() else config["grid"]
            ),
            "architectures": {
                str(name): read_candidate(str(name), candidate)
                for name, candidate in read_entries(config, "architectures")
            },
        }
        for name in ("training", "test"):
            settings[name] = {
                str(region): as_blocks(f"{name}: {region}", blocks)
                for region, blocks in read_entries(config, name)
            }
        for name in ("seeds", "fractions"):
            if name in config:
                values = config[name]
                settings[name] = tuple(
                    values if isinstance(values, list) else [values]
                )
        return cls(**settings)


def read_candidate(name: str, config: Any) -> Candidate:
    """Return the candidate in an entry of a YAML file."""
    config = {} if config is None else config
    known = sorted(f.name for f in fields(Candidate))
    unknown = [
        key
        for key in (config if isinstance(config, dict) else ())
        if key not in known
    ]
    if not isinstance(config, dict) or unknown:
        raise InconsistentArguments(
            f"'architectures: {name}' takes {', '.join(known)}; got "
            f"{config!r}." + "".join(nearest(key, known) for key in unknown)
        )
    return Candidate(**{"architecture": name, **config})


def read_entries(config: dict, name: str) -> Any:
    """Return the names and contents of the entries under a key."""
    entries = config[name]
    if not isinstance(entries, dict) or not entries:
        raise InconsistentArguments(
            f"'{name}' must contain named entries, as in '{name}: {{name: "
            f"...}}'; got {entries!r}."
        )
    return entries.items()
