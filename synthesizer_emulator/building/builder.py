"""Building of an emulator, from a grid or samples to a weights file.

For each emission, a `SampleSource` reads `EmissionSamples`, `Architecture.fit`
trains on these, and the tensors are written to the file. A checkpoint is saved
after each emission and during long trainings.
"""

import json
import time
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import jax.numpy as jnp
import numpy as np
from numpy.typing import NDArray
from synthesizer.exceptions import GridError, InconsistentArguments
from synthesizer.synth_warnings import warn

from synthesizer_emulator.architectures.base import Architecture
from synthesizer_emulator.architectures.registry import (
    DEFAULT_ARCHITECTURE,
    architecture_name,
    check_needs_no_nodes,
    get_architecture,
    get_training,
)
from synthesizer_emulator.architectures.training import (
    TrainingConfig,
)
from synthesizer_emulator.building.checkpoint import (
    Checkpoint,
    FinishedEmission,
)
from synthesizer_emulator.building.failures import describe_failures
from synthesizer_emulator.building.grid_nodes import GridNodes
from synthesizer_emulator.building.hypercube import Hypercube
from synthesizer_emulator.building.node_choice import NodeChoice
from synthesizer_emulator.building.progress import BuildMonitor, training_name
from synthesizer_emulator.building.report import BuildReport
from synthesizer_emulator.building.scattered import ScatteredSamples
from synthesizer_emulator.building.source import SampleSource
from synthesizer_emulator.building.verdict import (
    degradation,
    sibling,
    weights_to_replace,
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
    FORMER_SUFFIX,
    example_folder,
    find_grid,
    grid_name_of,
    weights_path,
)
from synthesizer_emulator.gridfile.samples import is_sample_file
from synthesizer_emulator.progress import say, stage
from synthesizer_emulator.records import current_versions
from synthesizer_emulator.sources.dsps import is_ssp_file, write_grid
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


def build(
    grid: str | Path | Sequence[str | Path],
    *,
    grid_dir: str | Path | None = None,
    out: str | Path | None = None,
    spectra: Iterable[str] | None = None,
    lam_lims: tuple[float, float] | None = None,
    axes: Mapping[str, NodeChoice] | None = None,
    latin_hypercube: int | None = None,
    architecture: str = DEFAULT_ARCHITECTURE,
    settings: Mapping[str, Any] | None = None,
    ensemble: int | None = None,
    training: Mapping[str, Any] | None = None,
    fill_failures: bool = False,
    author: str = "",
    notes: str = "",
    resume: bool = True,
    overwrite: bool = False,
    progress: bool = True,
) -> BuildReport:
    """Train an emulator on a grid or on samples, and write its weights.

    An interrupted build leaves a checkpoint next to the target, from which
    the same call resumes. Existing weights are replaced only after the new
    ones were written and read back, and not if they are better or different
    (see `overwrite`).

    Args:
        grid (str/Path): The path of a grid or of a file of scattered
            samples (see `gridfile.samples`), or a name in Synthesizer's
            grid folder. Several files of samples are joined. A file of DSPS
            is first converted to a grid, in the folder of the weights.
        grid_dir (str/Path): Another folder in which to look up names.
        out (str/Path): The weights file to write, or its folder; by default
            `<grid_name>.emulator` next to the grid. A missing folder is
            made.
        spectra (iterable of str): The spectra to learn; all by default.
            Lines are learned together with nebular spectra.
        lam_lims (tuple of float): The range of wavelengths of the spectra to
            learn, Angstrom; all by default.
        axes (Mapping): For scattered samples, the nodes of the grid along
            each parameter: values, a number of nodes, or text (see
            `choose_nodes`).
        latin_hypercube (int): The number of samples between the nodes of
            the grid, interpolated by Synthesizer, on which to train instead
            of the nodes.
        architecture (str): The name of an architecture, see
            `ARCHITECTURES`.
        settings (Mapping): Settings of the architecture.
        ensemble (int): The number of regressors, whose scatter gives an
            uncertainty; sets `ensemble` in `settings`.
        training (Mapping): Settings that differ from the architecture's
            default training, e.g. `{"epochs": 100}`; see `TrainingConfig`.
        fill_failures (bool): Whether to fill what is zero at the nodes of a
            grid at which Cloudy failed from the nodes around them. By
            default it is left out of the training, and zero in the emulator.
        author (str): The author, stored with the weights.
        notes (str): Notes, stored with the weights.
        resume (bool): Whether to resume an interrupted build.
        overwrite (bool): Whether to replace existing weights even if they
            have smaller errors, belong to another architecture or grid, or
            contain more emissions; and the grid made from another version of
            a file of DSPS.
        progress (bool): Whether to show progress.

    Returns:
        BuildReport: The path of the weights and their errors.

    Raises:
        GridError: If the grid is missing, not a grid, or has values that
            are negative or not finite, or if Cloudy failed at all nodes; or
            if files can't be joined.
        MissingSpectraType: If the grid lacks one of `spectra`.
        UnrecognisedOption: If the architecture is unknown.
        InconsistentArguments: If a setting is out of range or does not
            suit the training set; or if existing weights must not be
            replaced. If these have smaller errors, the new weights are
            written next to them, and the message gives their path.
        OSError: If the target can't be written, or another build is
            writing it.
    """
    check_not_forked()
    start = time.monotonic()
    if ensemble is not None:
        settings = {**(settings or {}), "ensemble": ensemble}
    chosen = get_architecture(architecture, settings)
    config = get_training(chosen, training)
    if isinstance(spectra, str):
        spectra = [spectra]
    given = [grid] if isinstance(grid, str | Path) else list(grid)
    paths = [find_grid(path, grid_dir) for path in given]
    source = open_source(
        [_converted(path, out, overwrite, progress) for path in paths],
        spectra=None if spectra is None else tuple(spectra),
        lam_lims=lam_lims,
        axes=axes,
        latin_hypercube=latin_hypercube,
        seed=config.seed,
        fill_failures=fill_failures,
    )
    failures = describe_failures(source.header, fill_failures)
    if failures:
        warn(failures)
    name = architecture_name(architecture)
    if not source.on_nodes:
        check_needs_no_nodes(
            chosen, f"The architecture '{name}'", source.description
        )
    target = _target(source.path, out)
    check_writable(target)
    with exclusive(target):
        provenance = as_stored(
            Provenance(
                grid_name=grid_name_of(source.path),
                source_hash=source.source_hash(),
                architecture=name,
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
            else weights_to_replace(
                target, provenance, source.emissions, source.header
            )
        )
        source.check()
        check_storable(
            source.header,
            source.domain,
            provenance,
            source.emissions,
            source.path,
        )
        checkpoint = _open_checkpoint(target, provenance, source, resume)
        n = len(source.emissions)
        done = sum(e in checkpoint.finished for e in source.emissions)
        if done:
            say(f"Resuming at emission {done + 1} of {n}.", progress)
        for i, emission in enumerate(source.emissions, start=1):
            if emission not in checkpoint.finished:
                place = f"{i} of {n}, "
                result = fit_emission(
                    emission,
                    source,
                    chosen,
                    config,
                    checkpoint,
                    progress,
                    place,
                )
                checkpoint.save_finished(emission, result)
        finished = {e: checkpoint.finished[e] for e in source.emissions}
        with stage("Measuring the errors", progress):
            weights = _assemble(finished, source, provenance, config)
        provenance = replace(
            weights.provenance, seconds=time.monotonic() - start
        )
        worse = degradation(old.provenance, provenance) if old else None
        written = target if worse is None else sibling(target, "new")
        write_weights(written, replace(weights, provenance=provenance))
        checkpoint.remove()
        if worse is not None:
            raise InconsistentArguments(
                f"The existing weights '{target}' have smaller errors than "
                f"the new ones ({worse}), and were kept. The new weights are "
                f"in '{written}': load them with EmulatedGrid(..., weights=), "
                "or move them to replace the existing ones. Use --overwrite "
                "(overwrite=True) to always replace existing weights."
            )
        return BuildReport(target, provenance, target.stat().st_size)


def open_source(
    paths: Sequence[Path],
    *,
    spectra: tuple[str, ...] | None = None,
    lam_lims: tuple[float, float] | None = None,
    axes: Mapping[str, NodeChoice] | None = None,
    latin_hypercube: int | None = None,
    seed: int = 0,
    fill_failures: bool = False,
) -> SampleSource:
    """Open a training set.

    Args:
        paths (sequence of Path): A grid, or files of scattered samples.
        spectra (tuple of str): The spectra to learn; all by default.
        lam_lims (tuple of float): As for `build`.
        axes (Mapping): As for `build`.
        latin_hypercube (int): As for `build`.
        seed (int): The seed of the Latin hypercube.
        fill_failures (bool): As for `build`.

    Returns:
        SampleSource: The training set.

    Raises:
        GridError: As for `build`.
        InconsistentArguments: If the arguments do not suit the files.
        MissingSpectraType: As for `build`.
    """
    scattered = [is_sample_file(path) for path in paths]
    if all(scattered):
        if fill_failures:
            raise InconsistentArguments(
                "--fill-failures (fill_failures=) needs a grid, but "
                f"'{paths[0].name}' contains scattered samples, of which "
                "failed ones are left out. Leave out the option."
            )
        if latin_hypercube is not None:
            raise InconsistentArguments(
                "--latin-hypercube (latin_hypercube=) needs a grid, but "
                f"'{paths[0].name}' contains scattered samples. Leave out the "
                "option, or use a grid."
            )
        return ScatteredSamples.open(paths, axes, spectra, lam_lims)
    if len(paths) > 1:
        grid = paths[scattered.index(False)]
        raise InconsistentArguments(
            f"'{grid.name}' is a grid; only files of scattered samples can "
            "be joined. Build one emulator for each grid."
        )
    if axes is not None:
        raise InconsistentArguments(
            "--axes (axes=) needs scattered samples, but "
            f"'{paths[0].name}' is a grid with nodes. To evaluate the "
            "emulator at other nodes, use EmulatedGrid(..., axes=...)."
        )
    grid_nodes = GridNodes.from_grid(
        paths[0], spectra, lam_lims, fill_failures
    )
    if latin_hypercube is None:
        return grid_nodes
    return Hypercube(grid_nodes, latin_hypercube, seed)


def errors_of(
    weights: Weights, source: SampleSource, training: TrainingConfig
) -> dict[str, dict[str, float]]:
    """Compute the errors of all emissions at the nodes or held-out samples.

    Returns the fields of an `ErrorSummary`, at the points of
    `SampleSource.truth`, for each stored spectrum that is emulated and each
    line quantity.
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


def fit_emission(
    emission: str,
    source: SampleSource,
    architecture: Architecture,
    training: TrainingConfig,
    checkpoint: Checkpoint,
    progress: bool,
    place: str = "",
) -> FinishedEmission:
    """Train an emulator of one emission, or resume an interrupted training."""
    with stage(f"{place}{emission}: reading", progress):
        samples = source.samples(emission, architecture.softening)
    monitor = BuildMonitor(
        emission, checkpoint, training.epochs, progress, place=place
    )
    fit = architecture.fit(samples, training, monitor)
    return FinishedEmission(fit.shape, tensors_of(fit.emulator), fit.histories)


def _open_checkpoint(
    target: Path, provenance: Provenance, source: SampleSource, resume: bool
) -> Checkpoint:
    """Open the checkpoint next to the target, or start an empty one."""
    path = target.with_name(f".{target.name}.checkpoint")
    if not resume:
        path.unlink(missing_ok=True)
    return Checkpoint.open(path, _fingerprint(provenance, source))


def _assemble(
    finished: Mapping[str, FinishedEmission],
    source: SampleSource,
    provenance: Provenance,
    training: TrainingConfig,
) -> Weights:
    """Combine trained emissions into weights with losses and errors."""
    weights = Weights(
        header=source.header,
        domain=source.domain,
        provenance=provenance,
        shapes={e: result.shape for e, result in finished.items()},
        tensors={e: result.tensors for e, result in finished.items()},
    )
    provenance = replace(
        provenance,
        errors=errors_of(weights, source, training),
        histories={
            training_name(emission, name): asdict(losses)
            for emission, result in finished.items()
            for name, losses in result.histories.items()
        },
    )
    return replace(weights, provenance=provenance)


def _finite(emulated: NDArray, emission: str) -> NDArray:
    """Return emulated values; raise unless they are finite."""
    if not np.isfinite(emulated).all():
        raise GridError(
            f"The emulated values of '{emission}' must be finite, got NaN or "
            "infinity in the training set. Please report this, with the grid; "
            "another --architecture may work."
        )
    return emulated


def _converted(
    path: Path, out: str | Path | None, overwrite: bool, progress: bool
) -> Path:
    """Return a file, or the grid that it is converted to if DSPS wrote it.

    The grid is written to the folder of the weights.
    """
    if not is_ssp_file(path):
        return path
    folder = _target(path, out).parent
    made = write_grid(path, folder, overwrite=overwrite)
    say(f"'{path.name}' is a file of DSPS. {made}", progress)
    return made.grid


def _target(path: Path, out: str | Path | None) -> Path:
    """Return the path of the weights file to write."""
    default = weights_path(path)
    if out is None:
        if path.parent == example_folder():
            raise InconsistentArguments(
                f"The weights of '{path.name}' are part of the package and "
                "can't be replaced. Use another path with --out (out=)."
            )
        return default
    target = Path(out)
    # A name without an ending is that of a folder to make.
    if target.is_dir() or not target.suffix:
        return target / default.name
    if not target.name.endswith((SUFFIX, FORMER_SUFFIX)):
        raise InconsistentArguments(
            f"--out (out=) must be a folder, or a file name ending in "
            f"'{SUFFIX}'; got '{target}'."
        )
    return target


def _fingerprint(provenance: Provenance, source: SampleSource) -> str:
    """Return the source and settings that a resumed build must share."""
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
