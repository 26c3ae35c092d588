"""The runs of a generalisation study, and their errors."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from synthesizer_emulator.descriptions import Printed
from synthesizer_emulator.evaluation.generalisation.study import (
    TRAINED,
    Candidate,
    Study,
)
from synthesizer_emulator.evaluation.generalisation.study_grid import (
    StudyGrid,
)
from synthesizer_emulator.evaluation.generalisation.study_samples import (
    StudySamples,
)
from synthesizer_emulator.evaluation.generalisation.study_spectra import (
    StudySpectra,
    draw_part,
)
from synthesizer_emulator.evaluation.generalisation.trajectory import (
    FinishedTraining,
    NetworkRecorder,
    look_epochs,
)
from synthesizer_emulator.evaluation.tables import Table, number
from synthesizer_emulator.gridfile.header import Axis
from synthesizer_emulator.gridfile.samples import is_sample_file
from synthesizer_emulator.progress import progress_bar
from synthesizer_emulator.records import write_json


@dataclass(frozen=True)
class Run:
    """The errors of one training of a study.

    The regions are `trained`, the training nodes, and all test regions. Of
    scattered samples, the nodes are the samples, and arrays are (m,).

    Attributes:
        architecture (str): The name of the candidate.
        region (str): The name of the training region.
        fraction (float): The fraction of its nodes used for training.
        seed (int): The seed.
        nodes (int): The number of training nodes.
        epochs (np.ndarray of int): The epochs at which errors were measured,
            (l,); 1 for architectures that are not trained in epochs.
        errors (dict): For each region the median over nodes of the mean
            absolute error of a spectrum, at these epochs, (l,).
        components (dict): For each region and each component of the error
            of ln flux the root mean square over nodes at these epochs, (l,).
        final (dict): For each region the median error of the final
            emulator.
        means (np.ndarray of float): The mean absolute error of the final
            spectrum at each node, (n1, ..., nd).
        trained (np.ndarray of bool): Mask of the training nodes,
            (n1, ..., nd).
    """

    architecture: str
    region: str
    fraction: float
    seed: int
    nodes: int
    epochs: NDArray[np.intp]
    errors: dict[str, NDArray[np.float64]]
    components: dict[str, dict[str, NDArray[np.float64]]]
    final: dict[str, float]
    means: NDArray[np.float64]
    trained: NDArray[np.bool_] = field(repr=False)


@dataclass(frozen=True, repr=False)
class Generalisation(Printed):
    """The errors of all runs of a generalisation study.

    Attributes:
        study (Study): The configuration.
        axes (tuple of Axis): The axes of the grid, with their nodes; or the
            labels of scattered samples, with their values.
        runs (tuple of Run): All runs.
        kind (str): What was learned: `nodes` or `samples`.
    """

    study: Study
    axes: tuple[Axis, ...] = field(repr=False)
    runs: tuple[Run, ...]
    kind: str = "nodes"

    def __str__(self) -> str:
        """Return the final errors in all regions as a table, in per cent."""
        columns = (TRAINED, *self.study.test)
        rows = []
        for name in self.study.architectures:
            for region in self.study.training:
                runs = self.of(name, region)
                cells = (
                    _spread([r.final[c] for r in runs], self.kind)
                    for c in columns
                )
                title = f"{name}, {region} ({runs[0].nodes} {self.kind})"
                rows.append((title, tuple(cells)))
        return str(
            Table("median error / % (over seeds)", columns, tuple(rows))
        )

    def of(
        self, architecture: str, region: str, fraction: float | None = None
    ) -> list[Run]:
        """Return the runs of a candidate in a region, one for each seed.

        Args:
            architecture (str): The name of the candidate.
            region (str): The name of the training region.
            fraction (float): The fraction of the nodes of the region; by
                default the largest.
        """
        wanted = max(self.study.fractions) if fraction is None else fraction
        return [
            run
            for run in self.runs
            if (run.architecture, run.region, run.fraction)
            == (architecture, region, wanted)
        ]

    def write_json(self, path: str | Path) -> None:
        """Write the study and all errors to a JSON file, atomically.

        Args:
            path (str/Path): The file; its folder is created if missing.

        Raises:
            OSError: If the file can't be written.
        """
        axes = {axis.name: axis.values for axis in self.axes}
        contents = {"study": self.study, "axes": axes, "runs": self.runs}
        write_json(Path(path), contents)


def generalise(
    study: str | Path | Study, progress: bool = True
) -> Generalisation:
    """Train architectures in some regions of a grid and test them in others.

    Or in some regions of the labels of scattered samples.

    Args:
        study (str/Path/Study): The study, or the path of its YAML file.
        progress (bool): Whether to show a progress bar.

    Returns:
        Generalisation: The errors of every run during and after training.

    Raises:
        InconsistentArguments: If a setting of the study is invalid.
        GridError: If the grid, or the file of samples, is missing or damaged.
        MissingSpectraType: If it lacks the spectrum.
        UnrecognisedOption: If an architecture is not known.
    """
    if not isinstance(study, Study):
        study = Study.read(Path(study))
    scattered = is_sample_file(study.grid)
    spectra = (StudySamples if scattered else StudyGrid).from_study(study)
    settings = [
        (name, region, fraction, seed)
        for name in study.architectures
        for region in study.training
        for fraction in study.fractions
        for seed in study.seeds
    ]
    runs = []
    bar = progress_bar(settings, progress, unit=" runs")
    for name, region, fraction, seed in bar:
        bar.set_description(f"{name}, {region}, {fraction:g}, seed {seed}")
        runs.append(_run(study, spectra, name, region, fraction, seed))
    return Generalisation(study, spectra.axes, tuple(runs), spectra.kind)


def _run(
    study: Study,
    spectra: StudySpectra,
    name: str,
    region: str,
    fraction: float,
    seed: int,
) -> Run:
    """Train one candidate, and measure its errors at several epochs."""
    candidate: Candidate = study.architectures[name]
    architecture = candidate.make_architecture()
    config = candidate.make_config(seed)
    trained = draw_part(spectra.training[region], fraction, seed)
    samples = spectra.samples(trained, architecture.softening)
    recorder = NetworkRecorder(look_epochs(config, study.looks))
    final = architecture.fit(samples, config, recorder).emulator
    regions = {TRAINED: trained}
    regions |= {name: test & ~trained for name, test in spectra.test.items()}
    looks = []
    for network in recorder.looks.values():
        finished = FinishedTraining(
            {**recorder.finals, "": network}, config.epochs
        )
        emulator = architecture.fit(samples, config, finished).emulator
        looks.append(spectra.errors(spectra.emulated(emulator)))
    means, parts = spectra.errors(spectra.emulated(final))
    epochs = list(recorder.looks)
    if not looks:
        epochs, looks = [1], [(means, parts)]
    return Run(
        architecture=name,
        region=region,
        fraction=fraction,
        seed=seed,
        nodes=int(np.count_nonzero(trained)),
        epochs=np.array(epochs),
        errors={
            region: np.array([_median(errors[mask]) for errors, _ in looks])
            for region, mask in regions.items()
        },
        components={
            region: {
                part: np.array([_rms(parts[part][mask]) for _, parts in looks])
                for part in looks[0][1]
            }
            for region, mask in regions.items()
        },
        final={
            region: _median(means[mask]) for region, mask in regions.items()
        },
        means=means,
        trained=trained,
    )


def _median(errors: NDArray[np.float64]) -> float:
    """Return the median of the errors, ignoring NaN unless all are NaN."""
    known = errors[~np.isnan(errors)]
    return float(np.median(known)) if len(known) else float("nan")


def _rms(errors: NDArray[np.float64]) -> float:
    """Return the root mean square error, ignoring NaN unless all are NaN."""
    known = errors[~np.isnan(errors)]
    return float(np.sqrt(np.mean(known**2))) if len(known) else float("nan")


def _spread(errors: Sequence[float], kind: str) -> str:
    """Return the median and the range of errors as text, in per cent."""
    if np.isnan(errors).any():
        return f"no {kind}"
    low, middle, high = 100 * np.quantile(errors, [0.0, 0.5, 1.0])
    return f"{number(middle)} ({number(low)} - {number(high)})"
