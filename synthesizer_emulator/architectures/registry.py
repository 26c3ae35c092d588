"""The architectures by name, and their settings."""

from collections.abc import Mapping
from dataclasses import fields, replace
from typing import Any

from synthesizer.exceptions import InconsistentArguments, UnrecognisedOption

from synthesizer_emulator.architectures.base import Architecture
from synthesizer_emulator.architectures.gaussian_process import GaussianProcess
from synthesizer_emulator.architectures.payne import Payne
from synthesizer_emulator.architectures.pca import PCA
from synthesizer_emulator.architectures.residual_table import ResidualTable
from synthesizer_emulator.architectures.three_component import ThreeComponent
from synthesizer_emulator.architectures.training import TrainingConfig
from synthesizer_emulator.validation import nearest

ARCHITECTURES: dict[str, type[Architecture]] = {
    "gaussian_process": GaussianProcess,
    "payne": Payne,
    "pca": PCA,
    "residual_table": ResidualTable,
    "three_component": ThreeComponent,
}

DEFAULT_ARCHITECTURE = "residual_table"

# Former names, still found in older weights files and configurations.
_RENAMED = {"corrected": "residual_table"}


def architecture_name(name: str) -> str:
    """Return the current name of an architecture with a former name."""
    # In a tuple, because a value from a YAML file may not be hashable.
    return _RENAMED[name] if name in tuple(_RENAMED) else name


def get_architecture(
    name: str, config: Mapping[str, Any] | None = None
) -> Architecture:
    """Return the architecture of a name, with settings that are not default.

    Args:
        name (str): A key of `ARCHITECTURES`, or a former name.
        config (Mapping): Settings that differ from the defaults.

    Returns:
        Architecture: The architecture.

    Raises:
        UnrecognisedOption: If the name is unknown.
        InconsistentArguments: If a setting is unknown or out of range.
    """
    name = architecture_name(name)
    if name not in tuple(ARCHITECTURES):
        raise UnrecognisedOption(
            f"The architecture must be one of {', '.join(ARCHITECTURES)}; got "
            f"'{name}'." + nearest(name, (*ARCHITECTURES, *_RENAMED))
        )
    architecture = ARCHITECTURES[name]
    _check_settings(f"The architecture '{name}'", config or {}, architecture)
    return architecture(**(config or {}))


def get_training(
    architecture: Architecture, changes: Mapping[str, Any] | None = None
) -> TrainingConfig:
    """Return the training settings of an architecture.

    Args:
        architecture (Architecture): The architecture.
        changes (Mapping): Settings that differ from its default training,
            see `TrainingConfig`.

    Returns:
        TrainingConfig: The default training with these changes.

    Raises:
        InconsistentArguments: If a setting is unknown or out of range.
    """
    if not isinstance(changes, Mapping | None):
        raise InconsistentArguments(
            "The training must be a mapping of the settings that differ from "
            "the architecture's defaults, as in {'epochs': 100}; got "
            f"{changes!r}."
        )
    _check_settings("The training", changes or {}, TrainingConfig)
    return replace(architecture.default_training, **(changes or {}))


def check_needs_no_nodes(
    architecture: Architecture, what: str, samples: str
) -> None:
    """Raise if an architecture learns only from the nodes of a grid.

    Args:
        architecture (Architecture): The architecture.
        what (str): What it is called, for the message.
        samples (str): The samples that are not nodes, for the message.

    Raises:
        InconsistentArguments: If it needs nodes.
    """
    if architecture.needs_nodes:
        others = [
            name
            for name, kind in ARCHITECTURES.items()
            if not kind.needs_nodes
        ]
        raise InconsistentArguments(
            f"{what} must be trained on the nodes of a grid, got {samples}. "
            f"Use another architecture: {', '.join(others)}."
        )


def _check_settings(
    subject: str, settings: Mapping[str, Any], config: type
) -> None:
    """Raise unless settings are a mapping of the fields of a dataclass."""
    if not isinstance(settings, Mapping):
        raise InconsistentArguments(
            f"{subject} must have settings by name, as in {{name: value}}; "
            f"got {settings!r}."
        )
    known = sorted(f.name for f in fields(config))
    unknown = sorted(set(settings) - set(known))
    if unknown:
        raise InconsistentArguments(
            f"{subject} has no setting {', '.join(unknown)}; its settings are "
            f"{', '.join(known)}."
            + "".join(nearest(name, known) for name in unknown)
        )
