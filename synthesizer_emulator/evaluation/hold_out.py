"""Hold-out experiments: the errors of predictions at left-out nodes.

Each experiment removes nodes from a grid, trains an emulator on the remaining
nodes, and compares its predictions at the removed nodes with the baselines.
"""

import tempfile
import time
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from synthesizer_emulator.architectures.registry import DEFAULT_ARCHITECTURE
from synthesizer_emulator.building.builder import build
from synthesizer_emulator.building.grid_nodes import GridNodes
from synthesizer_emulator.descriptions import Printed
from synthesizer_emulator.emulator.metrics import (
    SCORED_FLOOR,
    SCORED_LINE_FLOOR,
    ErrorSummary,
    fractional_residuals,
    scored_region,
    summarise,
)
from synthesizer_emulator.evaluation.measures.baselines import (
    pchip_of_components,
    synthesizer_interpolation,
)
from synthesizer_emulator.evaluation.measures.recovery import (
    Recovery,
    recovery_errors,
)
from synthesizer_emulator.evaluation.measures.residuals import (
    Profile,
    wavelength_profile,
)
from synthesizer_emulator.evaluation.measures.subset import most_sensitive
from synthesizer_emulator.evaluation.tables import (
    SUMMARY_COLUMNS,
    Table,
    recovery_table,
    summary_cells,
)
from synthesizer_emulator.evaluation.thinned import ThinnedGrid
from synthesizer_emulator.gridfile.emissions import LINES, SPECTRA
from synthesizer_emulator.gridfile.header import Axis
from synthesizer_emulator.gridfile.labels import Label
from synthesizer_emulator.gridfile.native import NativeGrid
from synthesizer_emulator.gridfile.nodes import Drop
from synthesizer_emulator.gridfile.places import find_grid
from synthesizer_emulator.progress import progress_bar, stage
from synthesizer_emulator.validation import check_whole
from synthesizer_emulator.wavelengths import selection
from synthesizer_emulator.weights.file import read_weights
from synthesizer_emulator.weights.points import PointArrays
from synthesizer_emulator.weights.weights import Weights

# The methods of prediction, in the order in which they are printed.
EMULATOR, SYNTHESIZER, PCHIP = "emulator", "synthesizer", "pchip"
METHODS = (SYNTHESIZER, PCHIP, EMULATOR)

# The fractions of pixels at which quantiles of the errors are stored, up to
# 0.9999, evenly spaced in log(1 - fraction).
_LEVELS = 1.0 - np.geomspace(1.0, 1e-4, 121)


@dataclass(frozen=True)
class Prediction:
    """The errors of one method at the left-out nodes, for one emission.

    Attributes:
        summary (ErrorSummary): Quantiles over spectra and over pixels.
        by_wavelength (Profile): Quantiles by wavelength, or of each line.
        levels (np.ndarray of float): Fractions of the pixels, (q,).
        errors (np.ndarray of float): The quantiles of the absolute error at
            these fractions, (q,).
    """

    summary: ErrorSummary
    by_wavelength: Profile
    levels: NDArray[np.float64] = field(repr=False)
    errors: NDArray[np.float64] = field(repr=False)


@dataclass(frozen=True, repr=False)
class HoldOut(Printed):
    """The result of one hold-out experiment.

    Attributes:
        grid_name (str): The name of the grid.
        drop (str): The nodes left out, as text.
        left_out (dict): The values of these nodes, by axis.
        spectra (int): The number of predicted spectra.
        architecture (str): The architecture of the emulator.
        settings (dict): The settings of the architecture.
        training (dict): The settings of the training.
        seconds (float): The duration of the build.
        predictions (dict): For each emission the Prediction of each of
            `emulator`, `synthesizer` (Synthesizer's linear interpolation of
            the thinned grid) and `pchip` (of principal components).
        recovery (Recovery): The errors of labels fitted to the left-out
            spectra; None if no spectra were fitted.
        axes (tuple of Axis): The axes of the whole grid.
    """

    grid_name: str
    drop: str
    left_out: dict[str, NDArray[np.float64]]
    spectra: int
    architecture: str
    settings: Mapping[str, Any]
    training: Mapping[str, Any]
    seconds: float
    predictions: dict[str, dict[str, Prediction]]
    recovery: Recovery | None
    axes: tuple[Axis, ...] = field(repr=False)

    def ratio(self, emission: str, quantile: str, to: str) -> float:
        """Return the ratio of the emulator's error to that of a baseline.

        Args:
            emission (str): The path of the emission, e.g.
                `spectra/incident`.
            quantile (str): A field of ErrorSummary, e.g. `p95`.
            to (str): The baseline, `synthesizer` or `pchip`.
        """
        emulator, baseline = (
            getattr(self.predictions[emission][method].summary, quantile)
            for method in (EMULATOR, to)
        )
        return emulator / baseline if baseline > 0 else float("nan")

    def __str__(self) -> str:
        """Return the errors of all methods as tables, in per cent."""
        return "\n\n".join([self.title, *map(str, self.tables())])

    @property
    def title(self) -> str:
        """The left-out nodes and the number of predicted spectra, as text."""
        numbers = ", ".join(
            f"{len(v)} of {name}" for name, v in self.left_out.items()
        )
        return (
            f"{self.grid_name} without {self.drop} ({numbers}): "
            f"{self.spectra} spectra predicted"
        )

    def verdict(self) -> list[str]:
        """Return the errors at the left-out nodes in sentences."""
        return [
            f"Without {self.drop}, {emission}: 95% of pixels within "
            f"{100 * predictions[EMULATOR].summary.p95:.2g}% by "
            f"{self.architecture}, "
            f"{100 * predictions[SYNTHESIZER].summary.p95:.2g}% by "
            "Synthesizer's interpolation and "
            f"{100 * predictions[PCHIP].summary.p95:.2g}% by PCHIP."
            for emission, predictions in self.predictions.items()
        ]

    def tables(self) -> list[Table]:
        """Return the errors of all methods, one table for each emission."""
        tables = []
        for emission, predictions in self.predictions.items():
            rows = []
            for name in METHODS:
                title = self.architecture if name == EMULATOR else name
                rows.append((title, summary_cells(predictions[name].summary)))
            for name in (SYNTHESIZER, PCHIP):
                ratios = (
                    self.ratio(emission, column, name)
                    for column in SUMMARY_COLUMNS
                )
                cells = tuple(f"{ratio:.3f}" for ratio in ratios)
                rows.append((f"{self.architecture} / {name}", cells))
            columns = tuple(SUMMARY_COLUMNS.values())
            title = f"{emission}, error / %"
            tables.append(Table(title, columns, tuple(rows)))
        if self.recovery is not None:
            tables.append(recovery_table(self.recovery))
        return tables


def hold_out(
    grid: str | Path,
    drop: str,
    *,
    grid_dir: str | Path | None = None,
    spectra: Iterable[str] | None = None,
    architecture: str = DEFAULT_ARCHITECTURE,
    settings: Mapping[str, Any] | None = None,
    training: Mapping[str, Any] | None = None,
    recoveries: int = 100,
    progress: bool = True,
) -> HoldOut:
    """Measure the errors of an emulator at nodes left out of its training.

    The baselines are Synthesizer's linear interpolation of the same thinned
    grid, and PCHIP of the coefficients of principal components of ln flux.

    Args:
        grid (str/Path): The path of the grid, or its name in Synthesizer's
            grid folder.
        drop (str): The nodes to leave out, as in `Drop.parse`: `ages:2` for
            every second age, or `metallicities=0.004`; several axes are
            separated by spaces.
        grid_dir (str/Path): Another folder to search for the grid.
        spectra (iterable of str): The spectra to predict; all by default.
        architecture (str): The architecture, a key of `ARCHITECTURES`.
        settings (Mapping): Settings of the architecture.
        training (Mapping): Training settings that differ from the defaults
            of the architecture, e.g. `{"epochs": 100}`; see
            `TrainingConfig`.
        recoveries (int): The number of left-out spectra to fit with the
            emulator; 0 for none.
        progress (bool): Whether to show a progress bar.

    Returns:
        HoldOut: The errors of the emulator and of both baselines.

    Raises:
        GridError: If the grid is missing, or can't be emulated.
        MissingSpectraType: If the grid lacks one of `spectra`.
        InconsistentArguments: If the grid lacks the nodes in `drop`, or a
            setting is out of range.
    """
    check_whole("recoveries", recoveries, 0)
    path = find_grid(grid, grid_dir)
    if isinstance(spectra, str):
        spectra = [spectra]
    wanted = None if spectra is None else tuple(spectra)
    nodes = GridNodes.from_grid(path, wanted)
    header, native = nodes.header, NativeGrid(path, nodes.header)
    left_out = Drop.parse(drop).left_out(header.axes)
    names = wanted or tuple(header.spectra_units)
    emissions = [f"{SPECTRA}/{name}" for name in names]
    emissions += [e for e in nodes.emissions if e.startswith(f"{LINES}/")]
    start = time.monotonic()
    with tempfile.TemporaryDirectory() as folder:
        thinned = ThinnedGrid.write(native, left_out, Path(folder))
        report = build(
            thinned.thin.path,
            spectra=wanted,
            architecture=architecture,
            settings=settings,
            training=training,
            progress=progress,
        )
        seconds = time.monotonic() - start
        weights = read_weights(report.path)
        arrays = PointArrays(weights, thinned.points)
        predictions = {
            e: score(thinned, e, arrays)
            for e in progress_bar(
                emissions, progress, desc="errors", unit=" emissions"
            )
        }
        recovered = None
        if recoveries:
            with stage("Recovering labels", progress):
                name = most_sensitive(native, names)
                recovered = _recover(thinned, name, weights, recoveries)
    return HoldOut(
        grid_name=native.name,
        drop=drop,
        left_out={
            header.axes[i].name: header.axes[i].values[indices]
            for i, indices in left_out.items()
        },
        spectra=len(thinned.points),
        architecture=report.provenance.architecture,
        settings=report.provenance.architecture_config,
        training=report.provenance.training_config,
        seconds=seconds,
        predictions={e: p for e, p in predictions.items() if p is not None},
        recovery=recovered,
        axes=header.axes,
    )


def score(
    thinned: ThinnedGrid, emission: str, arrays: PointArrays
) -> dict[str, Prediction] | None:
    """Return the errors of all methods at the left-out nodes.

    The result is None if no pixel is scored. `arrays` has the emulator's
    values at the left-out nodes.
    """
    group, name = emission.split("/")
    header = thinned.whole.header
    lines = header.lines if group == LINES else None
    if lines is None:
        lam, floor = header.lam_angstrom, SCORED_FLOOR
        scored = scored_region(lam)
    else:
        lam, floor = lines.lams, SCORED_LINE_FLOOR
        scored = np.ones(len(lam), bool)
    view = selection(np.flatnonzero(scored), len(scored))
    values = thinned.whole.read(emission)[..., scored]
    true = values[thinned.missing]
    methods: dict[str, Callable[[], NDArray]] = {
        SYNTHESIZER: lambda: synthesizer_interpolation(
            thinned.thin, emission, thinned.points
        )[:, scored],
        PCHIP: lambda: pchip_of_components(
            values[thinned.kept],
            thinned.thin.header.axes,
            header.axes,
            thinned.missing,
        ),
        EMULATOR: lambda: (
            arrays.spectrum(name, view)
            if lines is None
            else arrays.lines(name)
        ),
    }
    predictions = {}
    for method in METHODS:
        residuals = fractional_residuals(methods[method](), true, floor)
        summary = summarise(residuals)
        if summary is None:
            return None
        predictions[method] = Prediction(
            summary,
            (
                wavelength_profile(residuals, lam[scored])
                if lines is None
                else Profile.from_groups(lam, residuals.T)
            ),
            _LEVELS,
            np.nanquantile(np.abs(residuals), _LEVELS),
        )
    return predictions


def _recover(
    thinned: ThinnedGrid, name: str, weights: Weights, most: int
) -> Recovery | None:
    """Fit the labels of left-out spectra, a random `most` of them."""
    header = thinned.whole.header
    spectra = thinned.whole.read(f"{SPECTRA}/{name}")[thinned.missing]
    emitting = np.flatnonzero(spectra.max(axis=-1) > 0)
    drawn = np.random.default_rng(0).permutation(emitting)[:most]
    if not len(drawn):
        return None
    labels = [Label(axis) for axis in header.axes]
    return recovery_errors(
        weights.emulator,
        name,
        labels,
        thinned.points[drawn],
        spectra[drawn],
        scored_region(header.lam_angstrom),
    )
