"""The result of a tuning: its trials, and the best settings."""

import csv
import io
import json
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from synthesizer_emulator.architectures.settings_file import write_settings
from synthesizer_emulator.descriptions import Printed
from synthesizer_emulator.emulator.metrics import ErrorSummary
from synthesizer_emulator.evaluation.tables import (
    SUMMARY_COLUMNS,
    Table,
    number,
    summary_cells,
)
from synthesizer_emulator.files.writing import write_whole

if TYPE_CHECKING:
    import optuna

# The number of trials in the printed table.
_SHOWN = 8

_UNITS = {"error": "error / %", "size": "size / MB", "time": "time / ms"}


@dataclass(frozen=True)
class TunedTrial:
    """A trial of some settings.

    Attributes:
        number (int): The number of the trial in the storage.
        outcome (str): `complete`, `ended early` or `diverged`.
        values (dict): The `error`, `size` and `time` of a complete trial.
        settings (dict): The settings of the architecture.
        training (dict): The settings of the training.
        seconds (float): The duration.
    """

    number: int
    outcome: str
    values: Mapping[str, float]
    settings: Mapping[str, Any]
    training: Mapping[str, Any]
    seconds: float


@dataclass(frozen=True, repr=False)
class Tuning(Printed):
    """The trials of a tuning, and the best of them.

    Attributes:
        grid_name (str): The name of the grid.
        architecture (str): The architecture.
        validation (str): The samples at which trials were compared.
        judge (str): The nodes that judge; None without any.
        objectives (tuple of str): What was minimised.
        measure (str): The field of `ErrorSummary` that is the error.
        trials (tuple of TunedTrial): The trials, in order.
        front (tuple of int): The numbers of the trials that no other
            surpasses in all objectives.
        default (dict): The `error`, `size` and `time` of the default
            settings with those that are the same in all trials, such as the
            epochs, at the same samples.
        final_epochs (int): The number of epochs in the best settings; None
            for that of the trials.
        judged (dict): The errors of `default` and `tuned` settings at the
            nodes that judge, by emission; empty without any.
        default_settings (dict): All settings of the architecture by default,
            with those that are the same in all trials.
        default_training (dict): All settings of the training, likewise.
        study (optuna.Study): The study, for figures of Optuna's own.
    """

    grid_name: str
    architecture: str
    validation: str
    judge: str | None
    objectives: tuple[str, ...]
    measure: str
    trials: tuple[TunedTrial, ...]
    front: tuple[int, ...]
    default: Mapping[str, float]
    final_epochs: int | None
    judged: Mapping[str, Mapping[str, ErrorSummary]] = field(
        default_factory=dict
    )
    default_settings: Mapping[str, Any] = field(default_factory=dict)
    default_training: Mapping[str, Any] = field(default_factory=dict)
    study: "optuna.Study" = field(repr=False, default=None)

    @property
    def best(self) -> TunedTrial:
        """The complete trial with the smallest first objective."""
        return self._ranked[0]

    @property
    def gain(self) -> float:
        """The error of the default settings, in units of that of the best."""
        return self.default["error"] / self.best.values["error"]

    @property
    def warning(self) -> str:
        """That the default settings are better than all trials; or empty."""
        objective = self.objectives[0]
        default, best = self.default[objective], self.best.values[objective]
        if default >= best:
            return ""
        percent = 100 if objective == "error" else 1
        return (
            "The default settings are better than the best trial ("
            f"{_UNITS[objective]}: {number(percent * default)}, not "
            f"{number(percent * best)}). Build with the defaults, or run more "
            "trials."
        )

    def build_arguments(self, trial: TunedTrial) -> dict[str, Any]:
        """Return the arguments with which `build` uses the settings."""
        training = dict(trial.training)
        if self.final_epochs is not None:
            training["epochs"] = self.final_epochs
        return {
            "architecture": self.architecture,
            "settings": dict(trial.settings),
            "training": training,
        }

    def with_judgement(
        self, judged: Mapping[str, Mapping[str, ErrorSummary]]
    ) -> "Tuning":
        """Return the tuning with errors at the nodes that judge."""
        return replace(self, judged=judged)

    def __str__(self) -> str:
        """Return the best trials and the judgement as tables.

        And the warning, if the default settings are better.
        """
        outcomes = [trial.outcome for trial in self.trials]
        counts = ", ".join(
            f"{outcomes.count(outcome)} {outcome}"
            for outcome in ("complete", "ended early", "diverged")
            if outcome in outcomes
        )
        title = (
            f"{self.architecture} on {self.grid_name}, validation "
            f"{self.validation}: {len(self.trials)} trials ({counts})"
        )
        parts = [title, *map(str, self.tables()), self.warning]
        return "\n\n".join(filter(None, parts))

    def tables(self) -> list[Table]:
        """Return the table of the best trials, and that of the judgement."""
        on_front = self.front if len(self.objectives) > 1 else ()
        ranked = [t for t in self._ranked if t.number in on_front]
        ranked += [t for t in self._ranked if t.number not in on_front]
        default = self._default_of_searched
        rows = [
            (
                "default",
                (*_cells(self.default), _settings_text(*default.values())),
            )
        ]
        rows += [
            (
                f"trial {trial.number}" + " *" * (trial.number in on_front),
                (
                    *_cells(trial.values),
                    _settings_text(trial.settings, trial.training),
                ),
            )
            for trial in ranked[: max(_SHOWN, len(on_front))]
        ]
        star = ", * on the Pareto front" * bool(on_front)
        tables = [
            Table(
                f"{self.measure}{star}",
                (*_UNITS.values(), "settings"),
                tuple(rows),
            )
        ]
        if self.judged:
            tables.append(
                Table(
                    f"judged at {self.judge}, error / %",
                    tuple(SUMMARY_COLUMNS.values()),
                    tuple(
                        (f"{emission}, {title}", summary_cells(summary))
                        for title, errors in self.judged.items()
                        for emission, summary in errors.items()
                    ),
                )
            )
        return tables

    def write(self, folder: str | Path) -> list[Path]:
        """Write the best settings, a table of all trials, and figures.

        Args:
            folder (str/Path): The output folder; created if missing.

        Returns:
            list of Path: `best.yaml`, which `build --settings` takes; with
                several objectives `trial-N.yaml` for each trial on the Pareto
                front; `trials.csv`, with the default settings first; and
                Optuna's figures (PNG and PDF).

        Raises:
            OSError: If a file can't be written.
        """
        from synthesizer_emulator.tuning.figures import write_figures

        folder = Path(folder)
        chosen = {"best": self.best}
        if len(self.objectives) > 1:
            chosen |= {
                f"trial-{trial.number}": trial
                for trial in self._ranked
                if trial.number in self.front
            }
        written = []
        for name, trial in chosen.items():
            written.append(folder / f"{name}.yaml")
            write_settings(
                written[-1],
                **self.build_arguments(trial),
                comment=self.warning * (trial is self.best),
            )
        written.append(folder / "trials.csv")
        write_whole(written[-1], self._csv().encode())
        note = f"{self.grid_name}, {self.architecture}"
        return written + write_figures(
            self.study, self.objectives, folder, note
        )

    @property
    def _ranked(self) -> list[TunedTrial]:
        """The complete trials, the best first."""
        return sorted(
            (trial for trial in self.trials if trial.values),
            key=lambda trial: trial.values[self.objectives[0]],
        )

    @property
    def _default_of_searched(self) -> dict[str, dict[str, Any]]:
        """The default `settings` and `training` that trials have too."""
        every = {
            "settings": self.default_settings,
            "training": self.default_training,
        }
        # In the order in which trials have them.
        return {
            part: {
                name: known.get(name, "")
                for trial in self.trials
                for name in getattr(trial, part)
            }
            for part, known in every.items()
        }

    def _csv(self) -> str:
        """Return the table of all trials."""
        default = self._default_of_searched
        names = {part: sorted(known) for part, known in default.items()}
        stream = io.StringIO()
        writer = csv.writer(stream, lineterminator="\n")
        writer.writerow(
            ["trial", "outcome", "error", "size_MB", "time_ms", "seconds"]
            + [name for part in names.values() for name in part]
        )
        row: list[Any] = ["default", "complete"]
        row += [self.default.get(name, "") for name in _UNITS]
        row.append("")
        row += [
            _text(default[part][name])
            for part, known in names.items()
            for name in known
        ]
        writer.writerow(row)
        for trial in self.trials:
            row = [trial.number, trial.outcome]
            row += [trial.values.get(name, "") for name in _UNITS]
            row.append(round(trial.seconds, 2))
            row += [
                _text(getattr(trial, part).get(name, ""))
                for part, known in names.items()
                for name in known
            ]
            writer.writerow(row)
        return stream.getvalue()


def _cells(values: Mapping[str, float]) -> tuple[str, ...]:
    """Return the values of all objectives as text, errors in per cent."""
    return tuple(
        number(values[name] * (100 if name == "error" else 1))
        for name in _UNITS
    )


def _settings_text(
    settings: Mapping[str, Any], training: Mapping[str, Any]
) -> str:
    """Return the settings of the architecture and the training on one line."""
    return " ".join(
        f"{name}={_text(value)}"
        for name, value in {**settings, **training}.items()
    )


def _text(value: Any) -> str:
    """Return a setting as short text."""
    if isinstance(value, float):
        return f"{value:.3g}"
    text = value if isinstance(value, str) else json.dumps(value)
    return text.replace(" ", "")
