"""The ways to emulate an emission, by name.

To add one, write a frozen dataclass with the methods of `Architecture`
and enter it into `ARCHITECTURES`; the builder, the weights file and the
laws in the tests then take it as they take the others.
"""

from collections.abc import Mapping
from dataclasses import fields, replace
from typing import Any

from synthesizer.exceptions import InconsistentArguments, UnrecognisedOption

from synthesizer_emulator.architectures.base import Architecture, EmissionShape
from synthesizer_emulator.architectures.payne import Payne
from synthesizer_emulator.architectures.pca import PCA
from synthesizer_emulator.architectures.residual_table import ResidualTable
from synthesizer_emulator.architectures.samples import EmissionSamples
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

# Former names, under which older weights files and configurations know an
# architecture, and the names of today.
_RENAMED = {"corrected": "residual_table"}


def architecture_name(name: str) -> str:
    """Return the current name of an architecture.

    Args:
        name (str): A current or former name, as `corrected`.
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
        Architecture: With these settings.

    Raises:
        UnrecognisedOption: If there is no such architecture.
        InconsistentArguments: If it has no such setting, or one is out of
            its range.
    """
    name = architecture_name(name)
    if name not in tuple(ARCHITECTURES):
        raise UnrecognisedOption(
            f"No architecture '{name}'; there are {', '.join(ARCHITECTURES)}."
            + nearest(name, ARCHITECTURES)
        )
    architecture = ARCHITECTURES[name]
    _check_known(f"The architecture '{name}'", config or {}, architecture)
    return architecture(**(config or {}))


def get_training(
    architecture: Architecture, changes: Mapping[str, Any] | None = None
) -> TrainingConfig:
    """Return how an architecture is trained.

    Args:
        architecture (Architecture): The architecture.
        changes (Mapping): What differs from its own training, see
            `TrainingConfig`.

    Returns:
        TrainingConfig: With these changes.

    Raises:
        InconsistentArguments: If there is no such setting, or one is out of
            its range.
    """
    if not isinstance(changes, Mapping | None):
        raise InconsistentArguments(
            "Say of a training only what differs from the architecture's "
            f"own, as {{'epochs': 100}}; got {changes!r}."
        )
    _check_known("A training", changes or {}, TrainingConfig)
    return replace(architecture.default_training, **(changes or {}))


def _check_known(what: str, given: Mapping[str, Any], known: type) -> None:
    """Refuse settings that are no fields of a dataclass.

    Raises:
        InconsistentArguments: Says which, and which there are.
    """
    settings = {f.name for f in fields(known)}
    if not isinstance(given, Mapping):
        raise InconsistentArguments(
            f"{what} takes settings by name, as in {{name: value}}; got "
            f"{given!r}."
        )
    unknown = sorted(set(given) - settings)
    if unknown:
        raise InconsistentArguments(
            f"{what} has no setting {', '.join(unknown)}; it has "
            f"{', '.join(sorted(settings))}."
            + "".join(nearest(name, sorted(settings)) for name in unknown)
        )


__all__ = [
    "ARCHITECTURES",
    "DEFAULT_ARCHITECTURE",
    "Architecture",
    "EmissionSamples",
    "EmissionShape",
    "architecture_name",
    "get_architecture",
    "get_training",
]
