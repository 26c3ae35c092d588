"""Building an emulator: grid file in, weights file out.

The way is TrainingSet, EmissionSamples, Architecture.fit, tensors, file;
emission by emission, with a checkpoint after each and within long ones.
"""

import json
import time
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import jax.numpy as jnp
import numpy as np
from numpy.typing import NDArray
from synthesizer.exceptions import GridError, InconsistentArguments
from tqdm import tqdm

from synthesizer_emulator.architectures import (
    DEFAULT_ARCHITECTURE,
    Architecture,
    EmissionSamples,
    get_architecture,
)
from synthesizer_emulator.checkpoint import Checkpoint, FinishedEmission
from synthesizer_emulator.dataset import TrainingSet
from synthesizer_emulator.emissions import PointArrays
from synthesizer_emulator.evaluation.metrics import (
    JUDGED_FLOOR,
    JUDGED_LINE_FLOOR,
    ErrorSummary,
    judged_region,
    summarise_errors,
)
from synthesizer_emulator.gridfile import check_writable, find_grid
from synthesizer_emulator.resampling import selection
from synthesizer_emulator.scaling import AxisDomain, Coordinates
from synthesizer_emulator.training import History, TrainingConfig
from synthesizer_emulator.weights import (
    SUFFIX,
    Provenance,
    Weights,
    current_versions,
    tensors_of,
    write_weights,
)

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
        """Return the errors as a table, with size and time."""
        return "\n".join(
            [
                error_table(self.provenance.errors),
                "",
                f"{self.path} ({self.size / 1e6:.1f} MB) in "
                f"{self.provenance.seconds:.0f} s",
            ]
        )


def build(
    grid: str | Path,
    *,
    grid_dir: str | Path | None = None,
    out: str | Path | None = None,
    spectra: Iterable[str] | None = None,
    architecture: str = DEFAULT_ARCHITECTURE,
    settings: Mapping[str, Any] | None = None,
    training: TrainingConfig | None = None,
    resume: bool = True,
    progress: bool = True,
) -> BuildReport:
    """Train an emulator of a grid and write its weights.

    An interrupted build leaves a checkpoint beside the target, which the
    same call takes up again; weights that were there stay until the new
    ones are whole.

    Args:
        grid (str/Path): A path, or a name in Synthesizer's grid folder.
        grid_dir (str/Path): Another folder to look names up in.
        out (str/Path): The weights file to write, or the folder for it;
            beside the grid by default, as `<grid_name>.emulator.hdf5`.
        spectra (iterable of str): The spectra to learn; all by default.
        architecture (str): How to emulate, see `ARCHITECTURES`.
        settings (Mapping): Settings of the architecture.
        training (TrainingConfig): How to train its networks; by default
            as suits the architecture.
        resume (bool): Whether to take up an interrupted build.
        progress (bool): Whether to show progress.

    Returns:
        BuildReport: Where the weights are and how good.

    Raises:
        GridError: If the grid is missing, no grid, or holds values that
            are not finite or negative.
        MissingSpectraType: If it has not all of `spectra`.
        UnrecognisedOption: If there is no such architecture.
        InconsistentArguments: If a setting is out of its range.
        OSError: If the target can't be written.
    """
    start = time.monotonic()
    chosen = get_architecture(architecture, settings)
    training = training or chosen.default_training
    path = find_grid(grid, grid_dir)
    if isinstance(spectra, str):
        spectra = [spectra]
    samples = TrainingSet.of_grid(
        path, None if spectra is None else tuple(spectra)
    )
    target = _target(samples, out)
    check_writable(target)
    samples.check()
    provenance = Provenance(
        grid_name=samples.grid_name,
        source_hash=samples.source_hash(),
        architecture=architecture,
        architecture_config=asdict(chosen),  # type: ignore[call-overload]
        training_config=asdict(training),
        versions=current_versions(),
    )
    scratch = target.with_name(f".{target.name}.checkpoint")
    if not resume:
        scratch.unlink(missing_ok=True)
    checkpoint = Checkpoint.open(
        scratch, _fingerprint(provenance, samples.emissions)
    )
    domain = tuple(AxisDomain.of_axis(axis) for axis in samples.header.axes)
    for emission in samples.emissions:
        if emission not in checkpoint.finished:
            result = _fit(
                emission,
                samples,
                domain,
                chosen,
                training,
                checkpoint,
                progress,
            )
            checkpoint.save_finished(emission, result)
    finished = {e: checkpoint.finished[e] for e in samples.emissions}
    weights = Weights(
        header=samples.header,
        domain=domain,
        provenance=provenance,
        shapes={e: result.shape for e, result in finished.items()},
        tensors={e: result.tensors for e, result in finished.items()},
    )
    provenance = replace(
        provenance,
        errors=node_errors(weights, samples),
        histories={e: asdict(r.history) for e, r in finished.items()},
        seconds=time.monotonic() - start,
    )
    write_weights(target, replace(weights, provenance=provenance))
    checkpoint.remove()
    return BuildReport(target, provenance, target.stat().st_size)


def node_errors(
    weights: Weights, samples: TrainingSet
) -> dict[str, dict[str, float]]:
    """Return the errors of every emission at the nodes of its grid.

    Args:
        weights (Weights): The trained weights.
        samples (TrainingSet): The grid that they were trained on.

    Returns:
        dict: For each stored spectrum that is emulated, and each line
            quantity, the fields of its `ErrorSummary`.
    """
    header = samples.header
    arrays = PointArrays.at_nodes(
        weights, [axis.values for axis in header.axes]
    )
    judged = judged_region(header.lam_angstrom).nonzero()[0]
    view = selection(judged, len(header.lam))
    errors: dict[str, ErrorSummary | None] = {}
    for name in header.spectra_units:
        if name in weights.available_spectra:
            emission = f"spectra/{name}"
            emulated = _finite(arrays.spectrum(name, view), emission)
            true = samples.read_stored(name)[..., judged]
            errors[emission] = summarise_errors(emulated, true, JUDGED_FLOOR)
    for emission in samples.emissions:
        if emission.startswith("lines/"):
            name = emission.removeprefix("lines/")
            emulated = _finite(arrays.lines(name), emission)
            true = samples.read(emission)
            errors[emission] = summarise_errors(
                emulated, true, JUDGED_LINE_FLOOR
            )
    return {name: asdict(e) for name, e in errors.items() if e is not None}


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
    """Shows one training and saves it now and then."""

    def __init__(
        self, emission: str, checkpoint: Checkpoint, epochs: int, show: bool
    ) -> None:
        self._emission = emission
        self._checkpoint = checkpoint
        self._saved = time.monotonic()
        self._bar = tqdm(
            total=epochs, desc=emission, unit="epoch", disable=not show
        )

    def resume(self, template: Any) -> tuple[Any, History] | None:
        """Return the state that an interrupted build left, if any."""
        state = self._checkpoint.restore(self._emission, template)
        return None if state is None else (state, self._checkpoint.history)

    def report(self, history: History, state: Any) -> None:
        """Show the newest losses; save if the last time is a while ago."""
        self._bar.update(history.epoch[-1] - self._bar.n)
        self._bar.set_postfix(
            training=f"{history.training[-1]:.2e}",
            validation=f"{history.validation[-1]:.2e}",
        )
        if time.monotonic() - self._saved > _SAVE_EVERY:
            self._checkpoint.save_training(self._emission, state, history)
            self._saved = time.monotonic()

    def close(self) -> None:
        """End the bar."""
        self._bar.close()


def _fit(
    emission: str,
    samples: TrainingSet,
    domain: tuple[AxisDomain, ...],
    architecture: Architecture,
    training: TrainingConfig,
    checkpoint: Checkpoint,
    show: bool,
) -> FinishedEmission:
    """Fit one emission."""
    monitor = _Progress(emission, checkpoint, training.epochs, show)
    try:
        nodes = Coordinates(domain).of_nodes(samples.header.axes)
        prepared = EmissionSamples.of_values(
            nodes,
            samples.read(emission),
            samples.weights(emission),
            architecture.softening,
        )
        emulator, history, shape = architecture.fit(
            prepared, training, monitor
        )
    finally:
        monitor.close()
    return FinishedEmission(shape, tensors_of(emulator), history)


def _finite(emulated: NDArray, emission: str) -> NDArray:
    """Return emulated values, refusing what is not finite."""
    if not np.isfinite(emulated).all():
        raise GridError(
            f"The emulator of '{emission}' gives values that are not finite "
            "at the nodes it was trained on. Please report this, with the "
            "grid; another --architecture may do."
        )
    return emulated


def _target(samples: TrainingSet, out: str | Path | None) -> Path:
    """Return the path of the weights file to write."""
    name = f"{samples.grid_name}{SUFFIX}"
    if out is None:
        return samples.path.parent / name
    target = Path(out)
    if target.is_dir():
        return target / name
    if not target.name.endswith(SUFFIX):
        raise InconsistentArguments(
            f"The weights file must be called *{SUFFIX}, or --out be an "
            f"existing folder; got '{target}'."
        )
    return target


def _fingerprint(provenance: Provenance, emissions: tuple[str, ...]) -> str:
    """Return what must be the same for a build to be taken up again."""
    return json.dumps(
        [
            provenance.source_hash,
            provenance.architecture,
            provenance.architecture_config,
            provenance.training_config,
            provenance.versions,
            str(jnp.asarray(0.0).dtype),
            emissions,
        ]
    )
