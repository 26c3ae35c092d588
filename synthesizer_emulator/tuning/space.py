"""Search spaces: the settings that are varied, as data.

A space has the entries `settings` and `training`, as `build` has. In each, a
setting is one of

    components: {low: 16, high: 192, log: true}     # whole numbers
    dropout: {low: 0.0, high: 0.2}                  # real numbers
    activation: [relu, parametric_gated]            # choices
    hidden: {layers: [1, 6], width: [32, 512]}      # a list of widths

Widths are drawn in log, and with `falling: true` sorted, the largest first.
"""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol, Self

from synthesizer.exceptions import InconsistentArguments

from synthesizer_emulator.architectures.registry import (
    get_architecture,
    get_training,
)
from synthesizer_emulator.files.yaml_file import in_file, read_yaml
from synthesizer_emulator.validation import (
    check_flag,
    check_keys,
    check_whole,
)

# The parts of a space, which are arguments of `build`.
PARTS = ("settings", "training")

# Settings of the training that determine the validation samples.
_FIXED = ("seed", "validation_fraction")

_FORMS = (
    "a list of choices, a range {low: , high: } with log: true if it is "
    "drawn in log, or widths {layers: [1, 3], width: [32, 512]} with "
    "falling: true if they fall"
)


class Trial(Protocol):
    """What is drawn from: a trial of Optuna."""

    def suggest_int(
        self, name: str, low: int, high: int, *, log: bool = False
    ) -> int:
        """Draw a whole number."""

    def suggest_float(
        self, name: str, low: float, high: float, *, log: bool = False
    ) -> float:
        """Draw a real number."""

    def suggest_categorical(self, name: str, choices: Any) -> Any:
        """Draw one of several choices."""


class Dimension(Protocol):
    """A setting that is varied."""

    def draw(self, trial: Trial, name: str) -> Any:
        """Draw a value; `name` is that of the setting."""


@dataclass(frozen=True)
class Choices:
    """Some values of a setting."""

    values: tuple[Any, ...]

    def draw(self, trial: Trial, name: str) -> Any:
        """Draw a value."""
        # Optuna stores numbers and text, but no lists.
        texts = [json.dumps(value) for value in self.values]
        return json.loads(trial.suggest_categorical(name, texts))


@dataclass(frozen=True)
class Range:
    """The range of a number, which is whole if both ends are."""

    low: float
    high: float
    log: bool = False

    def draw(self, trial: Trial, name: str) -> float:
        """Draw a number."""
        if isinstance(self.low, int) and isinstance(self.high, int):
            return trial.suggest_int(name, self.low, self.high, log=self.log)
        return trial.suggest_float(name, self.low, self.high, log=self.log)


@dataclass(frozen=True)
class Widths:
    """The ranges of the number and of the widths of layers."""

    layers: tuple[int, int]
    width: tuple[int, int]
    falling: bool = False

    def draw(self, trial: Trial, name: str) -> list[int]:
        """Draw the width of each layer."""
        n = trial.suggest_int(f"{name}: layers", *self.layers)
        widths = [
            trial.suggest_int(f"{name}: width {i + 1}", *self.width, log=True)
            for i in range(n)
        ]
        return sorted(widths, reverse=True) if self.falling else widths


@dataclass(frozen=True)
class SearchSpace:
    """The settings that are varied, by the part of the space and by name.

    Attributes:
        dimensions (Mapping): The `Dimension` of each setting, under
            `settings` and `training`.
        config (Mapping): The same as plain values, as in a YAML file.
    """

    dimensions: Mapping[str, Mapping[str, Dimension]]
    config: Mapping[str, Any]

    @classmethod
    def from_config(cls, architecture: str, config: Any) -> Self:
        """Return a space from plain values.

        Args:
            architecture (str): The architecture that has the settings.
            config (Mapping): The space, as in a YAML file.

        Raises:
            InconsistentArguments: If a setting is unknown, not of a known
                form, or must not be varied; or if none is varied.
        """
        check_keys("The search space", config, (), PARTS)
        dimensions = {
            part: {
                name: _dimension(f"{part}: {name}", entry)
                for name, entry in (config.get(part) or {}).items()
            }
            for part in PARTS
        }
        fixed = [name for name in _FIXED if name in dimensions["training"]]
        if fixed:
            raise InconsistentArguments(
                f"The search space must not vary {', '.join(fixed)}, as the "
                "trials would be judged on different samples. Remove it."
            )
        space = cls(dimensions, config)
        space._check_varies()
        # The lowest values have to be valid settings.
        settings, training = space.draw(_Lowest())
        get_training(get_architecture(architecture, settings), training)
        return space

    @classmethod
    def read(cls, architecture: str, path: Path) -> Self:
        """Read a space from a YAML file; see `from_config`.

        Raises:
            OSError: If the file can't be read.
            InconsistentArguments: If it does not have a space.
        """
        with in_file(path):
            return cls.from_config(architecture, read_yaml(path))

    def without(self, names: Mapping[str, Any]) -> "SearchSpace":
        """Return the space without settings, by name under each part.

        Raises:
            InconsistentArguments: If none is left.
        """
        space = SearchSpace(
            *(
                {
                    part: {
                        name: entry
                        for name, entry in (parts.get(part) or {}).items()
                        if name not in names[part]
                    }
                    for part in PARTS
                }
                for parts in (self.dimensions, self.config)
            )
        )
        space._check_varies()
        return space

    def draw(self, trial: Trial) -> tuple[dict[str, Any], dict[str, Any]]:
        """Draw the settings of the architecture and of the training."""
        settings, training = (
            {
                name: dimension.draw(trial, name)
                for name, dimension in self.dimensions[part].items()
            }
            for part in PARTS
        )
        return settings, training

    def _check_varies(self) -> None:
        """Raise unless a setting is varied."""
        if not any(self.dimensions.values()):
            raise InconsistentArguments(
                "The search space must vary a setting, got none. Give one in "
                "`settings` or `training`, in --space (space=)."
            )


class _Lowest:
    """A trial that draws the lowest or first value, to check a space."""

    def suggest_int(
        self, name: str, low: int, high: int, *, log: bool = False
    ) -> int:
        """Return the lowest number."""
        return low

    def suggest_float(
        self, name: str, low: float, high: float, *, log: bool = False
    ) -> float:
        """Return the lowest number."""
        return low

    def suggest_categorical(self, name: str, choices: Any) -> Any:
        """Return the first choice."""
        return choices[0]


def _dimension(what: str, entry: Any) -> Dimension:
    """Return the dimension in an entry of a space."""
    if isinstance(entry, list | tuple) and entry:
        return Choices(tuple(entry))
    if isinstance(entry, Mapping) and "layers" in entry:
        check_keys(what, dict(entry), ("layers", "width"), ("falling",))
        falling = entry.get("falling", False)
        check_flag(f"falling of {what}", falling)
        layers = _ends(f"layers of {what}", entry["layers"], 0)
        width = _ends(f"width of {what}", entry["width"], 1)
        return Widths(layers, width, falling)
    if isinstance(entry, Mapping) and "low" in entry:
        check_keys(what, dict(entry), ("low", "high"), ("log",))
        low, high, log = entry["low"], entry["high"], entry.get("log", False)
        check_flag(f"log of {what}", log)
        for end in (low, high):
            if isinstance(end, bool) or not isinstance(end, int | float):
                raise InconsistentArguments(
                    f"The ends of {what} must be numbers, got {end!r}."
                )
        # In this form, comparisons with NaN fail.
        if not low < high < float("inf") or (log and low <= 0):
            raise InconsistentArguments(
                f"The ends of {what} must be finite and ascending, and "
                f"positive if log: true; got {low:g} and {high:g}."
            )
        return Range(low, high, log)
    raise InconsistentArguments(f"{what} must be {_FORMS}; got {entry!r}.")


def _ends(what: str, entry: Any, least: int) -> tuple[int, int]:
    """Return two ascending whole numbers."""
    if not isinstance(entry, list | tuple) or len(entry) != 2:
        raise InconsistentArguments(
            f"{what} must be two whole numbers, as in [1, 3]; got {entry!r}."
        )
    low, high = entry
    check_whole(f"the first of {what}", low, least)
    check_whole(f"the second of {what}", high, low)
    return low, high
