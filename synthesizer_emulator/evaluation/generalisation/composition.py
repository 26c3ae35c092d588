"""The compositional testbed in a folder: its stages, tables and CSV files.

    samples/      the training and test sets, as files of samples
    runs/         one JSON file for each training or fit
    trajectories.csv, errors.csv

Each stage can be run again alone; runs that are there are not repeated.
"""

import csv
import io
import json
import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from hashlib import sha256
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from synthesizer.exceptions import InconsistentArguments

from synthesizer_emulator.architectures.training import LossHistory
from synthesizer_emulator.descriptions import Printed
from synthesizer_emulator.evaluation.generalisation.testbed import (
    ALONE,
    FORWARD,
    INVERSE,
    TOGETHER,
    Testbed,
    TestbedRun,
    run_all,
    sample_path,
    settings_of,
    write_data,
)
from synthesizer_emulator.evaluation.generalisation.world import (
    JOIN,
    combination_of,
)
from synthesizer_emulator.evaluation.tables import Table
from synthesizer_emulator.files.locks import make_folder
from synthesizer_emulator.files.writing import write_whole
from synthesizer_emulator.gridfile.samples import SampleFile
from synthesizer_emulator.progress import progress_bar
from synthesizer_emulator.records import write_json

_ARRAYS = ("epochs", "found", "mae", "flux_error", "labels")

# Numbers in CSV files have these digits.
_DIGITS = 6


@dataclass(frozen=True, eq=False, repr=False)
class Composition(Printed):
    """The runs of a testbed, and the labels of its test spectra.

    Attributes:
        testbed (Testbed): The settings.
        folder (Path): The folder of the results.
        runs (tuple of TestbedRun): All runs.
        truth (dict): The labels of the test spectra by seed of the data,
            (m, d).
    """

    testbed: Testbed
    folder: Path
    runs: tuple[TestbedRun, ...]
    truth: dict[int, NDArray[np.float64]] = field(repr=False)

    @property
    def methods(self) -> dict[str, str]:
        """The direction of each method, by its name."""
        return {run.method: run.direction for run in self.runs}

    @property
    def composed(self) -> str:
        """The combination of all components."""
        return JOIN.join(self.testbed.world.components)

    def of(self, method: str, training: str) -> list[TestbedRun]:
        """Return the runs of a method and a training set, over all seeds."""
        return [
            run
            for run in self.runs
            if (run.method, run.training) == (method, training)
        ]

    def component_errors(
        self, method: str, training: str, combination: str
    ) -> NDArray[np.float64]:
        """Return the mean absolute errors of abundances, (n_seeds, k).

        They are those of the components that a combination has; NaN for
        others, which would dilute them.
        """
        at = self.testbed.tested.index(combination)
        present = self.testbed.world.present(combination)
        errors = [run.mae[-1, at, 1:] for run in self.of(method, training)]
        return np.where(present, np.array(errors), np.nan)

    def r_squared(
        self, method: str, training: str, combination: str
    ) -> NDArray[np.float64]:
        """Return R^2 of each label in a combination, (n_seeds, d)."""
        world, rows = self.testbed.world, []
        for run in self.of(method, training):
            truth = self.truth[run.data_seed]
            kept = combination_of(truth, world) == combination
            true, found = truth[kept], run.labels[kept]
            spread = np.square(true - true.mean(axis=0)).sum(axis=0)
            squares = np.square(found - true).sum(axis=0)
            with np.errstate(divide="ignore", invalid="ignore"):
                rows.append(np.where(spread > 0, 1 - squares / spread, np.nan))
        return np.array(rows)

    def gaps(self, method: str) -> NDArray[np.float64]:
        """Return how many times larger errors are without compositions.

        The ratio of the mean errors of all components together, trained on
        them alone over trained on them together, for each pair of seeds,
        (n_seeds,).
        """
        alone, together = (
            self.component_errors(method, training, self.composed).mean(axis=1)
            for training in (ALONE, TOGETHER)
        )
        return alone / together

    def __str__(self) -> str:
        """Return the errors of abundances of the composed test spectra."""
        rows = []
        for method, direction in self.methods.items():
            cells = [direction]
            for training in self.testbed.training:
                errors = self.component_errors(method, training, self.composed)
                r2 = self.r_squared(method, training, self.composed)[:, 1:]
                cells += [
                    f"{one:.3f}" for one in np.median(errors, axis=0)
                ] + [f"{np.median(r2):.3f}"]
            if {ALONE, TOGETHER} <= set(self.testbed.training):
                low, middle, high = np.quantile(
                    self.gaps(method), [0.0, 0.5, 1.0]
                )
                cells.append(f"{middle:.1f} ({low:.1f} - {high:.1f})")
            rows.append((method, tuple(cells)))
        columns = ["direction"]
        for training in self.testbed.training:
            columns += [
                f"{training}: {name}" for name in self.testbed.world.components
            ]
            columns.append("R2")
        if {ALONE, TOGETHER} <= set(self.testbed.training):
            columns.append("gap")
        title = f"mean error of abundance in {self.composed}"
        return str(Table(title, tuple(columns), tuple(rows)))

    def write_csv(self) -> list[Path]:
        """Write the trajectories and the final errors, and return the files.

        Raises:
            OSError: If a file can't be written.
        """
        paths = []
        for name, head, rows in (
            (
                "trajectories",
                ("epoch", "combination", "label", "found", "mae"),
                self._trajectories(),
            ),
            (
                "errors",
                ("combination", "label", "mae", "r2", "flux_error"),
                self._finals(),
            ),
        ):
            stream = io.StringIO()
            writer = csv.writer(stream, lineterminator="\n")
            writer.writerow((*_KEYS, *head))
            writer.writerows(rows)
            paths.append(self.folder / f"{name}.csv")
            write_whole(paths[-1], stream.getvalue().encode())
        return paths

    def _trajectories(self) -> Iterator[tuple[Any, ...]]:
        """Yield the rows of the trajectories."""
        for run in self.runs:
            for i, epoch in enumerate(run.epochs):
                for c, combination in enumerate(self.testbed.tested):
                    for k, label in enumerate(self.testbed.world.labels):
                        yield (
                            *_keys(run),
                            *(int(epoch), combination, label),
                            *_short(run.found[i, c, k], run.mae[i, c, k]),
                        )

    def _finals(self) -> Iterator[tuple[Any, ...]]:
        """Yield the rows of the final errors."""
        for method in self.methods:
            for training in self.testbed.training:
                for c, combination in enumerate(self.testbed.tested):
                    r2 = self.r_squared(method, training, combination)
                    runs = self.of(method, training)
                    for i, run in enumerate(runs):
                        for k, label in enumerate(self.testbed.world.labels):
                            yield (
                                *_keys(run),
                                *(combination, label),
                                *_short(
                                    run.mae[-1, c, k],
                                    r2[i, k],
                                    run.flux_error[c],
                                ),
                            )


_KEYS = ("direction", "method", "training", "data_seed", "training_seed")


def compose(
    testbed: Testbed,
    folder: str | Path,
    progress: bool = True,
    stage: str = "all",
) -> Composition | None:
    """Run the compositional testbed, or one stage of it, in a folder.

    Args:
        testbed (Testbed): The settings.
        folder (str/Path): The folder of the results, made if missing. Runs
            that are there, of the same settings, are not repeated.
        progress (bool): Whether to show a progress bar.
        stage (str): `data` to draw the samples again; `runs` for the
            trainings; `tables` to read the runs only; `all` for all.

    Returns:
        Composition: The runs, whose CSV files are written; None for the data
            alone.

    Raises:
        InconsistentArguments: If the folder has runs of other settings, or
            `tables` finds runs missing.
        OSError: If a file can't be written.
    """
    folder = Path(folder)
    make_folder(folder / "runs")
    digest = sha256(repr(settings_of(testbed)).encode()).hexdigest()[:16]
    data = [sample_path(folder, "test", s) for s in testbed.data_seeds]
    if stage == "data" or not all(path.exists() for path in data):
        write_data(testbed, folder)
    if stage == "data":
        return None
    runs = {
        key: run
        for key in testbed.runs
        if (run := _read_run(_run_path(folder, *key), digest)) is not None
    }
    wanted = list(testbed.runs)
    if stage == "tables" and len(runs) < len(wanted):
        raise InconsistentArguments(
            f"'{folder}' must have all {len(wanted)} runs, got {len(runs)}. "
            "Leave out --stage to run the others."
        )
    missing = len(wanted) - len(runs)
    bar = progress_bar(total=missing, show=progress, unit=" runs")
    for seed in testbed.data_seeds if missing else ():
        for run in run_all(testbed, folder, seed, frozenset(runs)):
            key = (run.method, run.training, run.data_seed, run.training_seed)
            bar.set_description(f"{key[1]}, {key[0]}, seeds {key[2]} {key[3]}")
            write_json(
                _run_path(folder, *key), {"settings": digest, "run": run}
            )
            bar.update(key not in runs)
            runs[key] = run
    bar.close()
    found = Composition(
        testbed,
        folder,
        tuple(runs[key] for key in wanted),
        {
            seed: SampleFile.open(sample_path(folder, "test", seed)).points
            for seed in testbed.data_seeds
        },
    )
    found.write_csv()
    return found


def _keys(run: TestbedRun) -> tuple[Any, ...]:
    """Return what identifies a run, in the order of the CSV files."""
    return tuple(getattr(run, key) for key in _KEYS)


def _short(*numbers: float) -> tuple[str, ...]:
    """Return numbers as short text; nothing for NaN."""
    return tuple(
        "" if np.isnan(x) else f"{float(x):.{_DIGITS}g}" for x in numbers
    )


def _run_path(
    folder: Path, method: str, training: str, data_seed: int, seed: int
) -> Path:
    """Return the file of a run."""
    stem = re.sub(r"[^\w.-]+", "_", f"{method}-{training}-{data_seed}-{seed}")
    return folder / "runs" / f"{stem}.json"


def _read_run(path: Path, digest: str) -> TestbedRun | None:
    """Return a run of a file; None if there is none.

    Raises:
        InconsistentArguments: If it is of other settings, or damaged.
    """
    if not path.exists():
        return None
    try:
        stored = json.loads(path.read_text("utf-8"))
        same, run = stored["settings"] == digest, stored["run"]
        for name in _ARRAYS:
            kind = int if name == "epochs" else float
            run[name] = np.array(run[name], kind)
        run["losses"] = LossHistory(**run["losses"])
        read = TestbedRun(**run)
    except (ValueError, TypeError, KeyError) as error:
        raise InconsistentArguments(
            f"'{path}' is damaged. Delete it to run it again."
        ) from error
    if not same or read.direction not in (FORWARD, INVERSE):
        raise InconsistentArguments(
            f"'{path}' is of other settings. Choose another folder, or delete "
            "it."
        )
    return read
