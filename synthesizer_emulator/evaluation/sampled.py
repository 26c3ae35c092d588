"""The errors of an emulator at scattered samples that it did not learn.

The samples are those of the training file that were held out, or all samples
of another file. Errors are binned in the labels, so that they can be shown
along each label and for each pair of labels, as those at the nodes of a grid.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Self

import numpy as np
from numpy.typing import NDArray
from synthesizer.exceptions import (
    GridError,
    InconsistentArguments,
    MissingSpectraType,
)
from synthesizer.synth_warnings import warn

from synthesizer_emulator.architectures.training import TrainingConfig
from synthesizer_emulator.building.scattered import (
    ScatteredSamples,
    open_samples,
)
from synthesizer_emulator.descriptions import describe_units
from synthesizer_emulator.emulator.metrics import (
    SCORED_FLOOR,
    SCORED_LINE_FLOOR,
    fractional_residuals,
    is_bright,
    mean_errors,
    scored_region,
    summarise,
)
from synthesizer_emulator.evaluation.measures import quantities, recovery
from synthesizer_emulator.evaluation.measures.residuals import (
    EmissionErrors,
    Example,
    Profile,
    correlation,
    histogram,
    signed_bands,
    wavelength_profile,
)
from synthesizer_emulator.evaluation.measures.stages import (
    Stages,
    draw_with,
    nearest_point,
    open_stages,
)
from synthesizer_emulator.evaluation.measures.subset import (
    SMALLEST_CHANGE,
    most_of,
    shape_change,
)
from synthesizer_emulator.gridfile.emissions import LINES
from synthesizer_emulator.gridfile.header import Axis
from synthesizer_emulator.gridfile.labels import Label
from synthesizer_emulator.gridfile.places import weights_paths
from synthesizer_emulator.gridfile.samples import SampleFile
from synthesizer_emulator.validation import nearest
from synthesizer_emulator.wavelengths import identity
from synthesizer_emulator.weights.file import read_weights
from synthesizer_emulator.weights.points import PointArrays
from synthesizer_emulator.weights.weights import Weights

# The number of samples in a bin along one label, the smallest and the largest
# number of bins, and the largest number of all combinations of bins.
_PER_BIN = 8
_BINS = (3, 10)
_CELLS = 10**6

# The parts of the sampled ranges through which lines along each label run, to
# see on which a spectrum depends, and the number of points on a line.
_THROUGH = (0.25, 0.75)
_ALONG = 9

# The number of samples at which errors of the shape are measured.
_JUDGED = 200


@dataclass(frozen=True)
class SamplePair:
    """Scattered samples and an emulator of the same labels and wavelengths.

    Attributes:
        source (ScatteredSamples): The samples.
        weights_path (Path): The weights file.
        weights (Weights): The contents of the weights file.
        training (TrainingConfig): The settings of the training, which
            determine the held-out samples; None if none of the samples was
            used in the training.
    """

    source: ScatteredSamples
    weights_path: Path
    weights: Weights
    training: TrainingConfig | None

    @classmethod
    def open(cls, path: Path, weights: str | Path | None) -> Self:
        """Open a file of samples and the weights of an emulator.

        Args:
            path (Path): The file of samples.
            weights (str/Path): The weights file; by default next to the
                samples.

        Raises:
            GridError: If a file is missing or damaged, the labels or
                wavelengths differ, or the samples extend beyond the domain
                of the emulator.
        """
        candidates = weights_paths(path) if weights is None else [weights]
        files = [Path(file) for file in candidates]
        file = next((file for file in files if file.is_file()), files[0])
        if not file.is_file():
            raise GridError(
                f"No weights file at '{file}'. Build it with "
                f"`synthesizer-emulator build {path}`, or choose another "
                "with --weights."
            )
        contents = read_weights(file)
        header, lam = contents.header, contents.header.lam_angstrom
        samples = open_samples(path)
        _check_labels(samples, file, header.axes)
        try:
            source = ScatteredSamples.of_files(
                [samples],
                # The nodes of the grid do not matter.
                {axis.name: 2 for axis in header.axes},
                None,
                (lam[0] * (1 - 1e-9), lam[-1] * (1 + 1e-9)),
            )
            for limits, values in zip(
                contents.domain, source.points.T, strict=True
            ):
                limits.require_inside(values)
        except (InconsistentArguments, ValueError) as error:
            raise GridError(
                f"The samples of '{path}' must be within the domain of "
                f"'{file}', and have its wavelengths: {error}"
            ) from error
        if not np.array_equal(source.header.lam_angstrom, lam):
            raise GridError(
                f"'{path}' and '{file}' must have the same wavelengths, got "
                f"{len(source.header.lam)} and {len(lam)}. Use the weights "
                "built from these samples."
            )
        provenance, training = contents.provenance, None
        if provenance.source_hash == source.source_hash():
            training = TrainingConfig(**provenance.training_config)
        elif "scattered samples of" in provenance.trained_on:
            warn(
                f"'{file}' was built from several files of samples. If "
                f"'{path}' is one of them, the errors include those of "
                "samples that were learned."
            )
        return cls(source, file, contents, training)

    @property
    def labels(self) -> list[Label]:
        """The labels, with the ends of the sampled ranges."""
        return [
            Label(replace(axis, values=np.array([limits.low, limits.high])))
            for axis, limits in zip(
                self.weights.header.axes, self.weights.domain, strict=True
            )
        ]

    @cached_property
    def scored(self) -> NDArray[np.bool_]:
        """The mask of the scored wavelengths, (nlam,)."""
        return scored_region(self.source.header.lam_angstrom)

    @property
    def description(self) -> str:
        """Which samples are compared."""
        if self.training is None:
            return "samples that were not learned"
        return "samples held out of the training"

    def truth(
        self, emission: str
    ) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """Return the axis values (m, d) and the fluxes (m, n) of samples."""
        return self.source.truth(emission, self.training)

    def spectra(self, wanted: tuple[str, ...] | None) -> tuple[str, ...]:
        """Return the names of the spectra to compare, by default all in both.

        Raises:
            MissingSpectraType: If the samples or the emulator lack one of
                them.
        """
        common = [
            name
            for name in self.source.header.spectra_units
            if name in self.weights.available_spectra
        ]
        missing = [name for name in wanted or () if name not in common]
        if missing:
            raise MissingSpectraType(
                "Spectra to compare must be in both the samples and the "
                f"emulator, which have {', '.join(common)} in common; got "
                f"{', '.join(missing)}." + nearest(missing[0], common)
            )
        return tuple(common) if wanted is None else wanted

    @property
    def line_quantities(self) -> list[str]:
        """The paths of the line quantities in both."""
        return [
            emission
            for emission in self.weights.shapes
            if emission.startswith(f"{LINES}/")
            and emission in self.source.emissions
        ]

    @cached_property
    def axes(self) -> tuple[Axis, ...]:
        """The labels as axes, with the centres of the bins."""
        size = sum(file.size for file in self.source.files)
        if self.training is not None:
            size = round(self.training.validation_fraction * size)
        labels = self.labels
        bins = int(np.clip(np.sqrt(size / _PER_BIN), *_BINS))
        bins = min(bins, int(_CELLS ** (1 / len(labels))))
        middles = (np.arange(bins) + 0.5) / bins
        return tuple(
            replace(
                label.axis,
                values=np.asarray(
                    label.to_values(
                        label.nodes[0] + middles * np.ptp(label.nodes)
                    )
                ),
            )
            for label in labels
        )


def sample_spectrum_errors(
    pair: SamplePair, name: str
) -> tuple[EmissionErrors | None, dict[str, quantities.QuantityErrors]]:
    """Return the errors of a spectrum and of quantities derived from it."""
    points, true = pair.truth(f"spectra/{name}")
    lam, scored = pair.source.header.lam_angstrom, pair.scored
    emulated = PointArrays(pair.weights, points).spectrum(
        name, identity(len(lam))
    )
    residuals = fractional_residuals(
        emulated[:, scored], true[:, scored], SCORED_FLOOR
    )
    derived = quantities.quantity_errors(
        quantities.measure(lam, true, emulated)
    )
    errors = _binned_errors(pair, points, residuals)
    if errors is None:
        return None, derived
    means = mean_errors(residuals)
    order = np.argsort(means)[: np.count_nonzero(~np.isnan(means))]
    chosen = zip(
        ("worst", "median", "best"),
        (order[-1], order[len(order) // 2], order[0]),
        strict=True,
    )
    names = [axis.name for axis in pair.axes]
    examples = {
        which: Example(
            node=dict(zip(names, map(float, points[i]), strict=True)),
            error=float(means[i]),
            lam=lam[scored],
            true=true[i, scored],
            emulated=emulated[i, scored],
        )
        for which, i in chosen
    }
    return (
        replace(
            errors,
            by_wavelength=wavelength_profile(residuals, lam[scored]),
            correlation=correlation(residuals, lam[scored]),
            examples=examples,
            bands=signed_bands(residuals, lam[scored]),
        ),
        derived,
    )


def sample_line_errors(
    pair: SamplePair, emission: str
) -> EmissionErrors | None:
    """Return the errors of a line quantity, such as luminosity."""
    lines = pair.source.header.lines
    assert lines is not None
    points, true = pair.truth(emission)
    emulated = PointArrays(pair.weights, points).lines(
        emission.removeprefix(f"{LINES}/")
    )
    residuals = fractional_residuals(emulated, true, SCORED_LINE_FLOOR)
    errors = _binned_errors(pair, points, residuals)
    if errors is None:
        return None
    profile = Profile.from_groups(lines.lams, residuals.T)
    return replace(errors, by_wavelength=profile, lines=lines.ids)


def most_dependent(pair: SamplePair, names: Sequence[str]) -> str:
    """Return the name of the spectrum whose shape depends on the most labels.

    As `most_sensitive` of a grid, but by the emulator, as samples differ in
    all labels at once. A label counts if the shape changes by more along it
    than the emulator errs in the shape.

    Args:
        pair (SamplePair): The samples and the emulator.
        names (sequence of str): The spectra to choose from.
    """
    labels, view = pair.labels, identity(len(pair.scored))
    lines = [
        _line_along(labels, i, at)
        for at in _THROUGH
        for i in range(len(labels))
    ]
    points = np.concatenate(lines)

    def sensitivity(name: str) -> int:
        """Return the number of labels along which the shape changes."""
        lnu = PointArrays(pair.weights, points).spectrum(name, view)
        changes = [
            shape_change(along[:, pair.scored])
            for along in np.split(lnu, len(lines))
        ]
        # Of each label, the larger change.
        largest = np.reshape(changes, (len(_THROUGH), -1)).max(axis=0)
        return int(
            np.sum(largest > max(SMALLEST_CHANGE, _shape_error(pair, name)))
        )

    return most_of(names, sensitivity)


def _shape_error(pair: SamplePair, name: str) -> float:
    """Return the 99th percentile of the error of ln flux minus its mean."""
    points, true = pair.truth(f"spectra/{name}")
    chosen = np.linspace(0, len(points) - 1, min(len(points), _JUDGED))
    points, true = (a[chosen.astype(int)] for a in (points, true))
    view = identity(len(pair.scored))
    emulated = PointArrays(pair.weights, points).spectrum(name, view)
    known = pair.scored & is_bright(true) & (emulated > 0)
    difference = np.full(true.shape, np.nan)
    difference[known] = np.log(emulated[known] / true[known])
    difference = difference[known.any(axis=1)]
    if not len(difference):
        return np.inf
    difference -= np.nanmean(difference, axis=1, keepdims=True)
    return float(np.nanquantile(np.abs(difference), 0.99))


def _line_along(
    labels: Sequence[Label], i: int, at: float
) -> NDArray[np.float64]:
    """Return axis values (m, d) along label i, with the others fixed."""
    scaled = np.full((_ALONG, len(labels)), at)
    scaled[:, i] = np.linspace(0.0, 1.0, _ALONG)
    return np.column_stack(
        [
            label.to_values(label.nodes[0] + column * np.ptp(label.nodes))
            for label, column in zip(labels, scaled.T, strict=True)
        ]
    )


def sample_recovery(
    pair: SamplePair, name: str, n: int, seed: int
) -> recovery.Recovery | None:
    """Fit the labels of n of the samples."""
    points, true = pair.truth(f"spectra/{name}")
    emitting = np.flatnonzero(true.max(axis=-1) > 0)
    drawn = np.random.default_rng(seed).permutation(emitting)[:n]
    if not len(drawn):
        return None
    return recovery.recovery_errors(
        pair.weights.emulator,
        name,
        pair.labels,
        points[drawn],
        true[drawn],
        pair.scored,
    )


def sample_stages(
    pair: SamplePair,
    name: str,
    n: int,
    show: Sequence[Mapping[str, float]],
    seed: int,
) -> Stages | None:
    """Judge the stages of the emulator of a spectrum at n of the samples."""
    points, true = pair.truth(f"spectra/{name}")
    chosen = [nearest_point(pair.labels, points, wanted) for wanted in show]
    drawn = draw_with(chosen, true.max(axis=-1) > 0, n, seed)
    if not len(drawn):
        return None
    return open_stages(
        pair.weights.emulator,
        name,
        points[drawn],
        true[drawn],
        pair.source.header.lam_angstrom,
        pair.scored,
        int(np.sum(np.isin(drawn, chosen))),
    )


def _check_labels(
    samples: SampleFile, weights: Path, axes: Sequence[Axis]
) -> None:
    """Raise unless samples have the labels of weights, in their order."""
    given, expected = (
        [f"{a.name} {describe_units(a.units)}".strip() for a in some]
        for some in (samples.parameters, axes)
    )
    if given != expected:
        raise GridError(
            f"The samples of '{samples.path}' have the labels "
            f"{', '.join(given)}, but '{weights}' has "
            f"{', '.join(expected)}. Both must be the same: choose weights "
            "built from samples with these labels (--weights, weights=)."
        )


def _binned_errors(
    pair: SamplePair, points: NDArray[np.float64], residuals: NDArray
) -> EmissionErrors | None:
    """Return the errors of residuals (m, n) at points (m, d), by bin.

    Without a profile by wavelength. None if no pixel is scored.
    """
    summary = summarise(residuals)
    if summary is None:
        return None
    axes = pair.axes
    cells = _cells(pair.labels, len(axes[0].values), points)
    by_axis = {
        axis.name: Profile.from_groups(
            axis.values,
            [residuals[cells[:, i] == k] for k in range(len(axis.values))],
        )
        for i, axis in enumerate(axes)
    }
    return EmissionErrors(
        summary=summary,
        by_wavelength=Profile.from_groups(np.empty(0), []),
        by_axis=by_axis,
        means=_cell_means(
            mean_errors(residuals), cells, [len(a.values) for a in axes]
        ),
        histogram=histogram(residuals),
    )


def _cells(
    labels: Sequence[Label], bins: int, points: NDArray[np.float64]
) -> NDArray[np.intp]:
    """Return the index of the bin of each point along each label, (m, d)."""
    columns = []
    for label, values in zip(labels, points.T, strict=True):
        low, high = label.nodes
        place = (label.to_labels(values, np) - low) / (high - low)
        columns.append(np.clip((bins * place).astype(int), 0, bins - 1))
    return np.stack(columns, axis=1)


def _cell_means(
    values: NDArray[np.float64],
    cells: NDArray[np.intp],
    shape: Sequence[int],
) -> NDArray[np.float64]:
    """Return the mean of the values (m,) in each cell, NaN in empty ones."""
    known = ~np.isnan(values)
    flat = np.ravel_multi_index(tuple(cells[known].T), tuple(shape))
    size = int(np.prod(shape))
    counts = np.bincount(flat, minlength=size)
    sums = np.bincount(flat, values[known], minlength=size)
    means = np.where(counts > 0, sums / np.maximum(counts, 1), np.nan)
    return means.reshape(tuple(shape))
