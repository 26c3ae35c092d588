"""The architectures by name.

To add one, write a frozen dataclass that derives from `Architecture`, in a
module of its own, and add one line to `ARCHITECTURES`.
"""

from collections.abc import Mapping
from dataclasses import fields, replace
from typing import Any

from synthesizer.exceptions import InconsistentArguments, UnrecognisedOption

from synthesizer_emulator.architectures.base import Architecture
from synthesizer_emulator.architectures.payne import Payne
from synthesizer_emulator.architectures.pca import PCA
from synthesizer_emulator.architectures.residual_table import ResidualTable
from synthesizer_emulator.architectures.three_component import ThreeComponent
from synthesizer_emulator.architectures.training import TrainingConfig
from synthesizer_emulator.validation import nearest

ARCHITECTURES: dict[str, type[Architecture]] = {
    "payne": Payne,
    "pca": PCA,
    "residual_table": ResidualTable,
    "three_component": ThreeComponent,
}

DEFAULT_ARCHITECTURE = "residual_table"

# Former names, which older weights files and configurations have.
_RENAMED = {"corrected": "residual_table"}


def architecture_name(name: str) -> str:
    """Return the current name of an architecture.

    Args:
        name (str): A current or former name, e.g. `corrected`.
    """
    # A tuple, as what a YAML file holds may not be hashable.
    return _RENAMED[name] if name in tuple(_RENAMED) else name


def get_architecture(
    name: str, config: Mapping[str, Any] | None = None
) -> Architecture:
    """Return an architecture by its name.

    Args:
        name (str): A key of `ARCHITECTURES`, or a former name of one.
        config (Mapping): Settings that differ from the defaults.

    Returns:
        Architecture: The architecture with these settings.

    Raises:
        UnrecognisedOption: If there is no such architecture.
        InconsistentArguments: If a setting does not exist or is out of
            range.
    """
    name = architecture_name(name)
    if name not in tuple(ARCHITECTURES):
        raise UnrecognisedOption(
            f"No architecture '{name}'; there are {', '.join(ARCHITECTURES)}."
            + nearest(name, ARCHITECTURES)
        )
    architecture = ARCHITECTURES[name]
    _check_settings(f"The architecture '{name}'", config or {}, architecture)
    return architecture(**(config or {}))


def get_training(
    architecture: Architecture, changes: Mapping[str, Any] | None = None
) -> TrainingConfig:
    """Return the training of an architecture.

    Args:
        architecture (Architecture): The architecture.
        changes (Mapping): Settings that differ from its default training,
            see `TrainingConfig`.

    Returns:
        TrainingConfig: The training with these changes.

    Raises:
        InconsistentArguments: If a setting does not exist or is out of
            range.
    """
    if not isinstance(changes, Mapping | None):
        raise InconsistentArguments(
            "Give only the settings of the training that differ from the "
            f"architecture's default, as {{'epochs': 100}}; got {changes!r}."
        )
    _check_settings("A training", changes or {}, TrainingConfig)
    return replace(architecture.default_training, **(changes or {}))


def _check_settings(owner: str, given: Mapping[str, Any], known: type) -> None:
    """Check that settings are fields of a dataclass.

    Raises:
        InconsistentArguments: If one is not; lists those that are.
    """
    settings = {f.name for f in fields(known)}
    if not isinstance(given, Mapping):
        raise InconsistentArguments(
            f"{owner} takes settings by name, as in {{name: value}}; got "
            f"{given!r}."
        )
    unknown = sorted(set(given) - settings)
    if unknown:
        raise InconsistentArguments(
            f"{owner} has no setting {', '.join(unknown)}; it has "
            f"{', '.join(sorted(settings))}."
            + "".join(nearest(name, sorted(settings)) for name in unknown)
        )
