"""Tuning: trials of settings, of which the best are kept.

Each trial draws settings from a search space, trains an emulator and measures
it at the validation samples. Optuna (Akiba et al. 2019, arXiv:1907.10902)
chooses the settings with its tree-structured Parzen estimator, stores the
trials, and ends those whose error is larger than that of others at the same
epoch.
"""

import json
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager, nullcontext
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

import jax
import numpy as np
from synthesizer.exceptions import InconsistentArguments, UnmetDependency

from synthesizer_emulator.architectures.registry import (
    ARCHITECTURES,
    DEFAULT_ARCHITECTURE,
    architecture_name,
    check_needs_no_nodes,
    get_architecture,
    get_training,
)
from synthesizer_emulator.architectures.training import Diverged
from synthesizer_emulator.building.builder import open_source
from synthesizer_emulator.building.grid_nodes import GridNodes
from synthesizer_emulator.building.node_choice import NodeChoice
from synthesizer_emulator.building.source import SampleSource
from synthesizer_emulator.emulator.metrics import ErrorSummary
from synthesizer_emulator.files.locks import exclusive
from synthesizer_emulator.forking import check_not_forked
from synthesizer_emulator.gridfile.places import find_grid, grid_name_of
from synthesizer_emulator.progress import progress_bar, say, stage
from synthesizer_emulator.tuning.candidates import (
    LOOKS,
    Candidates,
    Measured,
)
from synthesizer_emulator.tuning.division import SPLIT, Divisions, divided
from synthesizer_emulator.tuning.space import SearchSpace
from synthesizer_emulator.tuning.tuning import TunedTrial, Tuning
from synthesizer_emulator.validation import (
    check_choice,
    check_names,
    check_number,
    check_whole,
)

if TYPE_CHECKING:
    import optuna

OBJECTIVES = ("error", "size", "time")
PRUNERS = ("median", "hyperband", "none")
MEASURES = ("mean_median", "mean_p95", "p50", "p95", "p99")

# The name of the study in a storage file.
_STUDY = "tune"

# The number of trials whose compiled functions are kept.
_CACHED = 10

# No trial is ended before these numbers of trials and of looks at it.
_FIRST_TRIALS, _FIRST_LOOKS = 5, 2


def tune(
    grid: str | Path | Sequence[str | Path],
    *,
    validation: str,
    judge: str | None = None,
    architecture: str = DEFAULT_ARCHITECTURE,
    trials: int = 50,
    minutes: float | None = None,
    storage: str | Path | None = None,
    space: str | Path | Mapping[str, Any] | None = None,
    objectives: Iterable[str] = ("error",),
    measure: str = "mean_median",
    pruner: str = "median",
    grid_dir: str | Path | None = None,
    spectra: Iterable[str] | None = None,
    lam_lims: tuple[float, float] | None = None,
    axes: Mapping[str, NodeChoice] | None = None,
    settings: Mapping[str, Any] | None = None,
    training: Mapping[str, Any] | None = None,
    final_epochs: int | None = None,
    seed: int = 0,
    progress: bool = True,
) -> Tuning:
    """Search for the settings with which an emulator is most accurate.

    An interrupted tuning is resumed by the same call with the same `storage`,
    and goes on as if it had not been interrupted.

    Args:
        grid (str/Path): A grid or files of scattered samples, as for `build`.
        validation (str): The samples at which trials are compared: `split`
            for those that each training holds out (at random), or nodes to
            leave out of the training, as for `hold_out` (`ages:4`).
        judge (str): Nodes to leave out of all trials and their validation,
            in the same form. At these the best settings are compared with
            the defaults in the end. By default none.
        architecture (str): The architecture, a key of `ARCHITECTURES`.
        trials (int): The number of trials in the storage in the end.
        minutes (float): The time after which no trial is begun.
        storage (str/Path): The SQLite file of the trials; it is made if
            missing. By default they are kept in memory.
        space (str/Path/Mapping): The search space, or its YAML file; by
            default that of the architecture.
        objectives (iterable of str): What is minimised: `error`, `size`
            (megabytes) and `time` (milliseconds to evaluate one point in a
            batch). No trial is ended early with several.
        measure (str): The field of `ErrorSummary` that is minimised as
            `error`, of the emission that is emulated worst.
        pruner (str): How trials are ended early: `median`, `hyperband` or
            `none`.
        grid_dir (str/Path): As for `build`.
        spectra (iterable of str): As for `build`.
        lam_lims (tuple of float): As for `build`.
        axes (Mapping): As for `build`.
        settings (Mapping): Settings of the architecture that are not varied.
        training (Mapping): Settings of the training that are not varied.
        final_epochs (int): The number of epochs in the best settings; by
            default that of the trials.
        seed (int): The seed of the search.
        progress (bool): Whether to show progress.

    Returns:
        Tuning: All trials, and the best settings.

    Raises:
        UnmetDependency: If Optuna is not installed.
        GridError: If the grid is missing, or can't be emulated.
        MissingSpectraType: If the grid lacks one of `spectra`.
        UnrecognisedOption: If the architecture is unknown.
        InconsistentArguments: If an argument is out of range, the storage
            has another tuning, or no trial succeeded.
        OSError: If the storage can't be written.
    """
    check_not_forked()
    start = time.monotonic()
    optuna = _optuna()
    check_whole("trials", trials, 1)
    check_whole("seed", seed, 0)
    if minutes is not None:
        check_number("minutes", minutes, 0)
    check_choice("measure", measure, MEASURES)
    check_choice("pruner", pruner, PRUNERS)
    wanted = check_names("objectives", objectives)
    for objective in wanted:
        check_choice("each of objectives", objective, OBJECTIVES)
    name = architecture_name(architecture)
    fixed = {"settings": settings or {}, "training": training or {}}
    default = get_architecture(name, settings)
    training_of_default = get_training(default, training)
    if final_epochs is not None:
        check_whole("final_epochs", final_epochs, 1)
    searched = _space(name, space).without(fixed)
    source = _source(grid, grid_dir, spectra, lam_lims, axes)
    _check_validation(name, validation, source)
    setup = {
        "grid": source.source_hash(),
        "emissions": list(source.emissions),
        "wavelengths": len(source.header.lam),
        "validation": validation,
        "judge": judge,
        "architecture": name,
        "space": searched.config,
        **fixed,
        "objectives": list(wanted),
        "measure": measure,
        "pruner": pruner,
        "seed": seed,
    }
    with (
        divided(source, validation, judge) as divisions,
        _study(storage, setup, optuna) as study,
    ):
        search = _Search(study, name, searched, fixed, divisions, measure)
        search.measure_default(progress)
        with progress_bar(
            show=progress, total=trials, desc=name, unit=" trials"
        ) as bar:
            while (done := len(search.done)) < trials:
                bar.n = done
                bar.set_postfix(**search.best_so_far)
                late = minutes is not None and (
                    time.monotonic() - start > 60.0 * minutes
                )
                if late and search.complete:
                    break
                search.run_trial(_seed(seed, done), wanted)
            bar.n = len(search.done)
            bar.set_postfix(**search.best_so_far)
        if not search.complete:
            raise InconsistentArguments(
                f"None of {len(search.done)} trials succeeded: all trainings "
                "diverged. Use a space (--space) of lower learning rates."
            )
        found = Tuning(
            grid_name=grid_name_of(source.path),
            architecture=name,
            validation=validation,
            judge=judge,
            objectives=wanted,
            measure=measure,
            trials=tuple(map(_trial, search.done)),
            front=tuple(sorted(t.number for t in study.best_trials)),
            default=study.user_attrs["default"],
            default_settings=asdict(default),  # type: ignore[call-overload]
            default_training=asdict(training_of_default),
            final_epochs=final_epochs,
            study=study,
        )
        judged = search.judged(found, progress)
        return found.with_judgement(judged)


def default_space(architecture: str) -> SearchSpace:
    """Return the search space of an architecture.

    Raises:
        InconsistentArguments: If the architecture has none.
        UnrecognisedOption: If it is unknown.
    """
    get_architecture(architecture)
    name = architecture_name(architecture)
    space = ARCHITECTURES[name].search_space
    if not space:
        raise InconsistentArguments(
            f"The architecture '{name}' has no search space. Give one with "
            "--space (space=)."
        )
    return SearchSpace.from_config(name, space)


class _Search:
    """The trials of a study, and what they need."""

    def __init__(
        self,
        study: "optuna.Study",
        name: str,
        space: SearchSpace,
        fixed: Mapping[str, Mapping[str, Any]],
        divisions: Divisions,
        measure: str,
    ) -> None:
        self._study, self._name, self._space = study, name, space
        self._fixed, self._divisions = fixed, divisions
        self._measure = measure
        self._candidates = Candidates(divisions.trials, measure)

    @property
    def done(self) -> list["optuna.trial.FrozenTrial"]:
        """The trials that were completed or ended early."""
        states = ("COMPLETE", "PRUNED")
        trials = self._study.get_trials(deepcopy=False)
        return [trial for trial in trials if trial.state.name in states]

    @property
    def complete(self) -> bool:
        """Whether a trial was completed."""
        return any(trial.state.name == "COMPLETE" for trial in self.done)

    @property
    def best_so_far(self) -> dict[str, str]:
        """The smallest error so far, to be shown."""
        errors = [
            trial.user_attrs["error"]
            for trial in self.done
            if trial.state.name == "COMPLETE"
        ]
        return {"error": f"{min(errors):.3g}"} if errors else {}

    def measure_default(self, progress: bool) -> None:
        """Measure the default settings with the fixed ones, once."""
        if "default" not in self._study.user_attrs:
            with stage("Measuring the default settings", progress):
                measured = self._measured(
                    self._fixed["settings"], self._fixed["training"]
                )
            self._study.set_user_attr("default", _values(measured, self))

    def run_trial(self, seed: int, objectives: Sequence[str]) -> None:
        """Run one trial."""
        import optuna

        self._study.sampler = optuna.samplers.TPESampler(seed=seed)
        trial = self._study.ask()
        settings, training = self._space.draw(trial)
        settings = {**self._fixed["settings"], **settings}
        training = {**self._fixed["training"], **training}
        trial.set_user_attr("settings", settings)
        trial.set_user_attr("training", training)
        start = time.monotonic()

        def report(step: int, error: float) -> None:
            trial.report(error, step)
            if trial.should_prune():
                raise optuna.TrialPruned

        prunes = len(objectives) == 1 and objectives[0] == "error"
        try:
            measured = self._measured(
                settings, training, report if prunes else None
            )
        except (Diverged, optuna.TrialPruned) as error:
            trial.set_user_attr("diverged", isinstance(error, Diverged))
            trial.set_user_attr("seconds", time.monotonic() - start)
            self._study.tell(trial, state=optuna.trial.TrialState.PRUNED)
        else:
            values = _values(measured, self)
            for name, value in values.items():
                trial.set_user_attr(name, value)
            trial.set_user_attr("seconds", time.monotonic() - start)
            self._study.tell(trial, [values[name] for name in objectives])
        # Trials compile functions of their own shapes.
        if not len(self.done) % _CACHED:
            jax.clear_caches()

    def judged(
        self, found: Tuning, progress: bool
    ) -> dict[str, dict[str, ErrorSummary]]:
        """Train the default and the best settings, and judge both.

        Returns the errors by emission, under `default` and `tuned`; nothing
        without nodes that judge.
        """
        if self._divisions.judgement is None:
            return {}
        candidates = Candidates(self._divisions.judgement, self._measure)
        best = found.build_arguments(found.best)
        errors = {}
        for title, settings, training in (
            ("default", {}, self._held_out_by),
            ("tuned", best["settings"], best["training"]),
        ):
            key = json.dumps(["judged", settings, training], sort_keys=True)
            if key not in self._study.user_attrs:
                with stage(f"Judging the {title} settings", progress):
                    measured = self._measured(
                        settings, training, candidates=candidates
                    )
                self._study.set_user_attr(
                    key, {e: asdict(s) for e, s in measured.errors.items()}
                )
            errors[title] = {
                emission: ErrorSummary(**summary)
                for emission, summary in self._study.user_attrs[key].items()
            }
        return errors

    @property
    def _held_out_by(self) -> dict[str, Any]:
        """The settings of the training that choose the validation samples."""
        return {
            name: value
            for name, value in self._fixed["training"].items()
            if name in ("seed", "validation_fraction")
        }

    def _measured(
        self,
        settings: Mapping[str, Any],
        training: Mapping[str, Any],
        report: Any = None,
        candidates: Candidates | None = None,
    ) -> Measured:
        """Train and measure an emulator with some settings."""
        architecture = get_architecture(self._name, settings)
        config = get_training(architecture, training)
        return (candidates or self._candidates).measured(
            architecture, config, report
        )

    @property
    def measure(self) -> str:
        """The field of `ErrorSummary` that is the error."""
        return self._measure


def _values(measured: Measured, search: _Search) -> dict[str, float]:
    """Return the values of all objectives."""
    return {
        "error": measured.error(search.measure),
        "size": measured.megabytes,
        "time": measured.milliseconds,
    }


def _trial(trial: "optuna.trial.FrozenTrial") -> TunedTrial:
    """Return a trial as plain values."""
    attributes = trial.user_attrs
    complete = trial.state.name == "COMPLETE"
    diverged = attributes.get("diverged", False)
    return TunedTrial(
        number=trial.number,
        outcome="complete"
        if complete
        else ("diverged" if diverged else "ended early"),
        values={name: attributes[name] for name in OBJECTIVES}
        if complete
        else {},
        settings=attributes["settings"],
        training=attributes["training"],
        seconds=attributes["seconds"],
    )


@contextmanager
def _study(
    storage: str | Path | None, setup: Mapping[str, Any], optuna: Any
) -> Iterator["optuna.Study"]:
    """Open the study in a file, or make it.

    Trials that were interrupted are queued again, with the same settings.

    Raises:
        InconsistentArguments: If the file has another tuning, or is none.
        OSError: If it can't be written.
    """
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    path = None if storage is None else Path(storage)
    with nullcontext() if path is None else exclusive(path):
        url = None if path is None else f"sqlite:///{path.absolute()}"
        try:
            study = optuna.create_study(
                storage=url,
                study_name=_STUDY,
                directions=["minimize"] * len(setup["objectives"]),
                pruner=_pruner(setup["pruner"], optuna),
                load_if_exists=True,
            )
        except Exception as error:
            # SQLAlchemy and Optuna raise many classes.
            raise InconsistentArguments(
                f"'{path}' can't be used to store trials "
                f"({str(error).strip().partition(chr(10))[0]}). Give a new "
                "file, or one of an earlier tuning, with --storage "
                "(storage=)."
            ) from error
        setup = json.loads(json.dumps(setup))
        earlier = study.user_attrs.get("setup")
        if earlier is None:
            study.set_user_attr("setup", setup)
        elif earlier != setup:
            differing = [
                f"{name} ({earlier.get(name)!r}, now {setup.get(name)!r})"
                for name in {**earlier, **setup}
                if earlier.get(name) != setup.get(name)
            ]
            raise InconsistentArguments(
                f"'{path}' has the trials of another tuning, which differs "
                f"in {'; '.join(differing)}. Use the same settings to resume "
                "it, or another --storage (storage=)."
            )
        running = optuna.trial.TrialState.RUNNING
        for trial in study.get_trials(states=(running,)):
            study.tell(trial.number, state=optuna.trial.TrialState.FAIL)
            study.enqueue_trial(trial.params)
            say(f"Trial {trial.number} was interrupted and is run again.")
        yield study


def _pruner(name: str, optuna: Any) -> Any:
    """Return the pruner of a name."""
    pruners = optuna.pruners
    if name == "median":
        return pruners.MedianPruner(_FIRST_TRIALS, _FIRST_LOOKS)
    if name == "hyperband":
        return pruners.HyperbandPruner(1, LOOKS)
    return pruners.NopPruner()


def _seed(seed: int, done: int) -> int:
    """Return the seed of the next trial.

    It depends on the number of trials done, and not on what was drawn since
    the process began, so that a resumed tuning goes on as it would have.
    """
    return int(np.random.SeedSequence([seed, done]).generate_state(1)[0])


def _space(
    architecture: str, space: str | Path | Mapping[str, Any] | None
) -> SearchSpace:
    """Return the search space: as given, or that of the architecture."""
    if space is None:
        return default_space(architecture)
    if isinstance(space, Mapping):
        return SearchSpace.from_config(architecture, space)
    return SearchSpace.read(architecture, Path(space))


def _source(
    grid: str | Path | Sequence[str | Path],
    grid_dir: str | Path | None,
    spectra: Iterable[str] | None,
    lam_lims: tuple[float, float] | None,
    axes: Mapping[str, NodeChoice] | None,
) -> SampleSource:
    """Open the training set, and check it."""
    given = [grid] if isinstance(grid, str | Path) else list(grid)
    if isinstance(spectra, str):
        spectra = [spectra]
    source = open_source(
        [find_grid(path, grid_dir) for path in given],
        spectra=None if spectra is None else tuple(spectra),
        lam_lims=lam_lims,
        axes=axes,
    )
    source.check()
    return source


def _check_validation(
    name: str, validation: str, source: SampleSource
) -> None:
    """Raise if an architecture can't be compared at these samples."""
    architecture = get_architecture(name)
    if not isinstance(source, GridNodes):
        check_needs_no_nodes(
            architecture, f"The architecture '{name}'", source.description
        )
    if architecture.needs_nodes and validation == SPLIT:
        raise InconsistentArguments(
            f"The architecture '{name}' has no error at the samples that a "
            "training holds out, as they are nodes of its table. Leave out "
            "nodes, as in --validation ages:4 (validation='ages:4')."
        )


def _optuna() -> Any:
    """Import Optuna.

    Raises:
        UnmetDependency: If it is not installed.
    """
    try:
        import optuna
    except ModuleNotFoundError as error:
        raise UnmetDependency(
            '`tune` needs Optuna: pip install "synthesizer-emulator[tune]".'
        ) from error
    return optuna
