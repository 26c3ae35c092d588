"""Building an emulator: grid or samples in, weights file out.

The way is SampleSource, EmissionSamples, Architecture.fit, tensors, file;
emission by emission, with a checkpoint after each and within long ones.
"""

import json
import time
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import jax.numpy as jnp
import numpy as np
from numpy.typing import NDArray
from synthesizer.exceptions import GridError, InconsistentArguments
from tqdm import tqdm

from synthesizer_emulator.architectures.base import Architecture
from synthesizer_emulator.architectures.registry import (
    ARCHITECTURES,
    DEFAULT_ARCHITECTURE,
    architecture_name,
    get_architecture,
    get_training,
)
from synthesizer_emulator.architectures.training import (
    LossHistory,
    TrainingConfig,
)
from synthesizer_emulator.building.checkpoint import (
    Checkpoint,
    FinishedEmission,
)
from synthesizer_emulator.building.grid_nodes import GridNodes, SampleSource
from synthesizer_emulator.building.hypercube import Hypercube
from synthesizer_emulator.building.scattered import (
    NodeChoice,
    ScatteredSamples,
)
from synthesizer_emulator.building.verdict import (
    beside,
    to_replace,
    verdict,
    worse,
)
from synthesizer_emulator.emulator.metrics import (
    SCORED_FLOOR,
    SCORED_LINE_FLOOR,
    ErrorSummary,
    scored_region,
    summarise_errors,
)
from synthesizer_emulator.files.locks import exclusive
from synthesizer_emulator.files.writing import check_writable
from synthesizer_emulator.forking import check_not_forked
from synthesizer_emulator.gridfile.places import (
    example_folder,
    find_grid,
    grid_name_of,
    weights_path,
)
from synthesizer_emulator.gridfile.samples import is_sample_file
from synthesizer_emulator.records import current_versions
from synthesizer_emulator.wavelengths import selection
from synthesizer_emulator.weights.file import (
    SUFFIX,
    check_storable,
    write_weights,
)
from synthesizer_emulator.weights.points import PointArrays
from synthesizer_emulator.weights.provenance import Provenance, as_stored
from synthesizer_emulator.weights.tensors import tensors_of
from synthesizer_emulator.weights.weights import Weights

# Seconds between two saves of a running training.
_SAVE_EVERY = 10.0


@dataclass(frozen=True)
class BuildReport:
    """What a build made.

    Attributes:
        path (Path): The weights file.
        provenance (Provenance): Its sources, settings and errors.
        size (int): Its size in bytes.
    """

    path: Path
    provenance: Provenance
    size: int

    def __str__(self) -> str:
        """Return the errors as a table, with size, time and a verdict."""
        return "\n".join(
            [
                f"Learned from {self.provenance.trained_on}.",
                "",
                error_table(self.provenance.errors),
                "",
                f"{self.path} ({self.size / 1e6:.1f} MB) in "
                f"{self.provenance.seconds:.0f} s",
                verdict(self.provenance.errors),
            ]
        )


def build(
    grid: str | Path | Sequence[str | Path],
    *,
    grid_dir: str | Path | None = None,
    out: str | Path | None = None,
    spectra: Iterable[str] | None = None,
    axes: Mapping[str, NodeChoice] | None = None,
    latin_hypercube: int | None = None,
    architecture: str = DEFAULT_ARCHITECTURE,
    settings: Mapping[str, Any] | None = None,
    ensemble: int | None = None,
    training: Mapping[str, Any] | None = None,
    author: str = "",
    notes: str = "",
    resume: bool = True,
    overwrite: bool = False,
    progress: bool = True,
) -> BuildReport:
    """Train an emulator of a grid or of samples and write its weights.

    An interrupted build leaves a checkpoint beside the target, which the
    same call takes up again; weights that were there stay until the new
    ones are whole and were read back. Better ones stay, and others (see
    `overwrite`).

    Args:
        grid (str/Path): A path, or a name in Synthesizer's grid folder; of
            a grid or of a file of scattered samples (see `samplefile`).
            Several files of samples are joined.
        grid_dir (str/Path): Another folder to look names up in.
        out (str/Path): The weights file to write, or the folder for it;
            beside the grid by default, as `<grid_name>.emulator.hdf5`.
        spectra (iterable of str): The spectra to learn; all by default.
            Lines are learned with the spectra of gas.
        axes (Mapping): For scattered samples the nodes of the grid they
            shall be, along each parameter: values, or a number of nodes,
            or text (see `choose_nodes`).
        latin_hypercube (int): Learn so many samples between the nodes of
            the grid, as Synthesizer interpolates it, and not the nodes.
        architecture (str): How to emulate, see `ARCHITECTURES`.
        settings (Mapping): Settings of the architecture.
        ensemble (int): How many regressors to train, whose spread is an
            uncertainty; the same as the setting `ensemble`.
        training (Mapping): What differs from the way in which it is usually
            trained, as `{"epochs": 100}`; see `TrainingConfig`.
        author (str): Who makes it, to be kept with the weights.
        notes (str): Whatever else is to be kept with them.
        resume (bool): Whether to take up an interrupted build.
        overwrite (bool): Whether to replace weights that are there even if
            they have smaller errors, or are of another architecture or
            grid, or hold more.
        progress (bool): Whether to show progress.

    Returns:
        BuildReport: Where the weights are and how good.

    Raises:
        GridError: If the grid is missing, no grid, or holds values that
            are not finite or negative; or if files can't be joined.
        MissingSpectraType: If it has not all of `spectra`.
        UnrecognisedOption: If there is no such architecture.
        InconsistentArguments: If a setting is out of its range, or does not
            go with what is to be learned; or if weights are there that are
            not to be replaced. If those have smaller errors, the new ones
            were written beside them, and the error says where.
        OSError: If the target can't be written, or another build is at it.
    """
    check_not_forked()
    start = time.monotonic()
    if ensemble is not None:
        settings = {**(settings or {}), "ensemble": ensemble}
    architecture = architecture_name(architecture)
    chosen = get_architecture(architecture, settings)
    config = get_training(chosen, training)
    if isinstance(spectra, str):
        spectra = [spectra]
    paths = [grid] if isinstance(grid, str | Path) else list(grid)
    source = open_source(
        [find_grid(path, grid_dir) for path in paths],
        spectra=None if spectra is None else tuple(spectra),
        axes=axes,
        latin_hypercube=latin_hypercube,
        seed=config.seed,
    )
    _check_can_learn(architecture, chosen, source)
    target = _target(source.path, out)
    check_writable(target)
    with exclusive(target):
        provenance = as_stored(
            Provenance(
                grid_name=grid_name_of(source.path),
                source_hash=source.source_hash(),
                architecture=architecture,
                architecture_config=asdict(chosen),  # type: ignore[call-overload]
                training_config=asdict(config),
                versions=current_versions(),
                trained_on=source.description,
                author=author,
                notes=notes,
            )
        )
        old = (
            None
            if overwrite
            else to_replace(target, provenance, source.emissions)
        )
        source.check()
        check_storable(
            source.header,
            source.domain,
            provenance,
            source.emissions,
            source.path,
        )
        scratch = target.with_name(f".{target.name}.checkpoint")
        if not resume:
            scratch.unlink(missing_ok=True)
        checkpoint = Checkpoint.open(scratch, _fingerprint(provenance, source))
        for emission in source.emissions:
            if emission not in checkpoint.finished:
                result = _fit(
                    emission, source, chosen, config, checkpoint, progress
                )
                checkpoint.save_finished(emission, result)
        finished = {e: checkpoint.finished[e] for e in source.emissions}
        weights = Weights(
            header=source.header,
            domain=source.domain,
            provenance=provenance,
            shapes={e: result.shape for e, result in finished.items()},
            tensors={e: result.tensors for e, result in finished.items()},
        )
        provenance = replace(
            provenance,
            errors=errors_of(weights, source, config),
            histories={
                training_name(emission, training): asdict(history)
                for emission, result in finished.items()
                for training, history in result.histories.items()
            },
            seconds=time.monotonic() - start,
        )
        better = worse(old.provenance, provenance) if old else None
        written = target if better is None else beside(target, "new")
        write_weights(written, replace(weights, provenance=provenance))
        checkpoint.remove()
        if better is not None:
            raise InconsistentArguments(
                f"'{target}' has smaller errors than what was trained now "
                f"({better}), and was kept. The new weights are '{written}': "
                "load them with EmulatedGrid(..., weights=), or move them "
                "there; --overwrite (overwrite=True) does not ask."
            )
        return BuildReport(target, provenance, target.stat().st_size)


def open_source(
    paths: Sequence[Path],
    *,
    spectra: tuple[str, ...] | None = None,
    axes: Mapping[str, NodeChoice] | None = None,
    latin_hypercube: int | None = None,
    seed: int = 0,
) -> SampleSource:
    """Open what an emulator is to learn from.

    Args:
        paths (sequence of Path): A grid, or files of scattered samples.
        spectra (tuple of str): The spectra to learn; all by default.
        axes (Mapping): As for `build`.
        latin_hypercube (int): As for `build`.
        seed (int): Draws the Latin hypercube.

    Returns:
        SampleSource: The training set.

    Raises:
        GridError: As for `build`.
        InconsistentArguments: If the arguments do not go with the files.
        MissingSpectraType: If there are not all of `spectra`.
    """
    scattered = [is_sample_file(path) for path in paths]
    if all(scattered):
        if latin_hypercube is not None:
            raise InconsistentArguments(
                "A Latin hypercube is drawn between the nodes of a grid; "
                f"'{paths[0].name}' holds scattered samples, which have none."
            )
        return ScatteredSamples.open(paths, axes, spectra)
    if len(paths) > 1:
        grid = paths[scattered.index(False)]
        raise InconsistentArguments(
            f"'{grid.name}' is a grid; only files of scattered samples can "
            "be joined. Build one emulator for each grid."
        )
    if axes is not None:
        raise InconsistentArguments(
            f"axes= is for scattered samples; the grid '{paths[0].name}' has "
            "its own. Other nodes than those can be had of the emulator: "
            "EmulatedGrid(..., axes=...)."
        )
    grid_nodes = GridNodes.from_grid(paths[0], spectra)
    if latin_hypercube is None:
        return grid_nodes
    return Hypercube(grid_nodes, latin_hypercube, seed)


def errors_of(
    weights: Weights, source: SampleSource, training: TrainingConfig
) -> dict[str, dict[str, float]]:
    """Return the errors of every emission against what it learned from.

    Args:
        weights (Weights): The trained weights.
        source (SampleSource): What they were trained on.
        training (TrainingConfig): How.

    Returns:
        dict: For each stored spectrum that is emulated, and each line
            quantity, the fields of its `ErrorSummary` at the points that
            `SampleSource.truth` gives.
    """
    header = source.header
    scored = scored_region(header.lam_angstrom).nonzero()[0]
    view = selection(scored, len(header.lam))
    errors: dict[str, ErrorSummary | None] = {}
    for name in header.spectra_units:
        if name in weights.available_spectra:
            emission = f"spectra/{name}"
            points, true = source.truth(emission, training)
            emulated = PointArrays(weights, points).spectrum(name, view)
            errors[emission] = summarise_errors(
                _finite(emulated, emission), true[:, scored], SCORED_FLOOR
            )
    for emission in source.emissions:
        if emission.startswith("lines/"):
            points, true = source.truth(emission, training)
            name = emission.removeprefix("lines/")
            emulated = PointArrays(weights, points).lines(name)
            errors[emission] = summarise_errors(
                _finite(emulated, emission), true, SCORED_LINE_FLOOR
            )
    return {name: asdict(e) for name, e in errors.items() if e is not None}


def training_name(emission: str, training: str) -> str:
    """Return the name of one training of an emission."""
    return f"{emission}: {training}" if training else emission


def error_table(errors: Mapping[str, Mapping[str, float]]) -> str:
    """Return errors as a table, in per cent.

    Args:
        errors (Mapping): For each emission the fields of `ErrorSummary`.

    Returns:
        str: One line an emission.
    """
    columns = ("mean_median", "mean_p95", "p50", "p95", "p99", "worst")
    titles = ("mean: median", "p95", "pixels: p50", "p95", "p99", "worst")
    width = max((len(name) for name in errors), default=0)
    head = " ".join(f"{title:>12}" for title in titles)
    lines = [f"{'error / %':<{width}} {head}"]
    for name, summary in errors.items():
        values = " ".join(f"{100 * summary[c]:12.4f}" for c in columns)
        lines.append(f"{name:<{width}} {values}")
    return "\n".join(lines)


class _Progress:
    """Shows the trainings of an emission and saves them now and then."""

    def __init__(
        self,
        emission: str,
        checkpoint: Checkpoint,
        epochs: int,
        show: bool,
        training: str = "",
    ) -> None:
        self._emission = emission
        self._training = training
        self._checkpoint = checkpoint
        self._epochs = epochs
        self._show = show
        self._saved = time.monotonic()
        self._bar: tqdm | None = None

    def stage(self, name: str, epochs: int | None = None) -> "_Progress":
        """Return what shows and saves a further training."""
        return _Progress(
            self._emission,
            self._checkpoint,
            epochs or self._epochs,
            self._show,
            f"{self._training} {name}".strip(),
        )

    def resume(self, template: Any) -> tuple[Any, LossHistory] | None:
        """Return the state that an interrupted build left, if any."""
        return self._checkpoint.restore(
            self._emission, self._training, template
        )

    def report(self, history: LossHistory, state: Any) -> None:
        """Show the newest losses; save if the last time is a while ago."""
        if self._bar is None:
            self._bar = tqdm(
                total=self._epochs,
                desc=training_name(self._emission, self._training),
                unit="epoch",
                disable=not self._show,
            )
        self._bar.update(history.epoch[-1] - self._bar.n)
        self._bar.set_postfix(
            training=f"{history.training[-1]:.2e}",
            validation=f"{history.validation[-1]:.2e}",
        )
        if time.monotonic() - self._saved > _SAVE_EVERY:
            self._checkpoint.save_training(
                self._emission, self._training, state, history
            )
            self._saved = time.monotonic()


def _fit(
    emission: str,
    source: SampleSource,
    architecture: Architecture,
    training: TrainingConfig,
    checkpoint: Checkpoint,
    show: bool,
) -> FinishedEmission:
    """Fit one emission."""
    samples = source.samples(emission, architecture.softening)
    monitor = _Progress(emission, checkpoint, training.epochs, show)
    fit = architecture.fit(samples, training, monitor)
    return FinishedEmission(fit.shape, tensors_of(fit.emulator), fit.histories)


def _check_can_learn(
    name: str, architecture: Architecture, source: SampleSource
) -> None:
    """Refuse samples that an architecture can't learn from."""
    if architecture.needs_nodes and not source.on_nodes:
        able = [
            other
            for other, kind in ARCHITECTURES.items()
            if not kind.needs_nodes
        ]
        raise InconsistentArguments(
            f"The architecture '{name}' keeps a table at the nodes of a "
            f"grid, and can't learn from {source.description}. Choose one "
            f"that can: {', '.join(f'--architecture {a}' for a in able)}."
        )


def _finite(emulated: NDArray, emission: str) -> NDArray:
    """Return emulated values, refusing what is not finite."""
    if not np.isfinite(emulated).all():
        raise GridError(
            f"The emulator of '{emission}' gives values that are not finite "
            "at the nodes it was trained on. Please report this, with the "
            "grid; another --architecture may do."
        )
    return emulated


def _target(path: Path, out: str | Path | None) -> Path:
    """Return the path of the weights file to write."""
    default = weights_path(path)
    if out is None:
        if path.parent == example_folder():
            raise InconsistentArguments(
                f"'{path.name}' ships with the package, and so do its "
                "weights: say with --out (or out=) where to write others."
            )
        return default
    target = Path(out)
    if target.is_dir():
        return target / default.name
    if not target.name.endswith(SUFFIX):
        raise InconsistentArguments(
            f"The weights file must be called *{SUFFIX}, or --out be an "
            f"existing folder; got '{target}'."
        )
    return target


def _fingerprint(provenance: Provenance, source: SampleSource) -> str:
    """Return what must be the same for a build to be taken up again."""
    return json.dumps(
        [
            provenance.source_hash,
            provenance.trained_on,
            provenance.architecture,
            provenance.architecture_config,
            provenance.training_config,
            provenance.versions,
            str(jnp.asarray(0.0).dtype),
            source.emissions,
            [axis.values.tolist() for axis in source.header.axes],
        ]
    )
