"""Hold-out experiments: nodes left out of a grid, and predicted.

The only truth between the nodes of a grid are nodes that were left out.
Each experiment thins a grid, builds an emulator of what is left, and has
the missing nodes predicted by it and by what it must beat.
"""

import tempfile
import time
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field, replace
from math import prod
from pathlib import Path
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

from synthesizer_emulator.architectures.registry import DEFAULT_ARCHITECTURE
from synthesizer_emulator.building.builder import build
from synthesizer_emulator.building.grid_nodes import GridNodes
from synthesizer_emulator.emulator.metrics import (
    SCORED_FLOOR,
    SCORED_LINE_FLOOR,
    ErrorSummary,
    fractional_residuals,
    scored_region,
    summarise,
)
from synthesizer_emulator.evaluation.measures import recovery
from synthesizer_emulator.evaluation.measures.baselines import (
    pchip_of_components,
    synthesizer_interpolation,
)
from synthesizer_emulator.evaluation.measures.recovery import Recovery
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
from synthesizer_emulator.files.writing import check_room, write_hdf5
from synthesizer_emulator.gridfile.emissions import LINES, SPECTRA
from synthesizer_emulator.gridfile.header import Axis, GridHeader
from synthesizer_emulator.gridfile.labels import Label
from synthesizer_emulator.gridfile.native import NativeGrid
from synthesizer_emulator.gridfile.nodes import Drop, node_mesh
from synthesizer_emulator.gridfile.places import find_grid
from synthesizer_emulator.gridfile.writing import create_emission, write_header
from synthesizer_emulator.validation import check_whole
from synthesizer_emulator.wavelengths import selection
from synthesizer_emulator.weights.file import read_weights
from synthesizer_emulator.weights.points import PointArrays
from synthesizer_emulator.weights.weights import Weights

# The schemes, in the order in which they are shown.
EMULATOR, SYNTHESIZER, PCHIP = "emulator", "synthesizer", "pchip"
SCHEMES = (SYNTHESIZER, PCHIP, EMULATOR)

# The parts of the pixels at which the distribution of errors is kept: up
# to all but a ten thousandth, evenly in the log of what is above.
_LEVELS = 1.0 - np.geomspace(1.0, 1e-4, 121)


@dataclass(frozen=True)
class Prediction:
    """How well one scheme predicted one emission.

    Attributes:
        summary (ErrorSummary): The quantiles.
        by_wavelength (Profile): Along the wavelengths or lines.
        levels (np.ndarray of float): Parts of the pixels, (q,).
        errors (np.ndarray of float): The error below which these parts
            lie, (q,).
    """

    summary: ErrorSummary
    by_wavelength: Profile
    levels: NDArray[np.float64] = field(repr=False)
    errors: NDArray[np.float64] = field(repr=False)


@dataclass(frozen=True)
class HoldOut:
    """What came of one hold-out experiment.

    Attributes:
        grid_name (str): The grid.
        drop (str): What was left out, as it was asked for.
        left_out (dict): The values of the nodes left out, by axis.
        spectra (int): How many spectra were predicted.
        architecture (str): The architecture of the emulator.
        settings (dict): Its settings.
        training (dict): How it was trained.
        seconds (float): How long building it took.
        predictions (dict): For each emission a Prediction by each of
            `emulator`, `synthesizer` (its own interpolation of the thinned
            grid) and `pchip` (of the coefficients of components).
        recovery (Recovery): Labels fitted to spectra that were left out,
            of the kind that tells of the most; None if not asked for.
        axes (tuple of Axis): The axes of the grid.
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
        """Return the emulator's error over that of another scheme.

        Args:
            emission (str): The emission, e.g. `spectra/incident`.
            quantile (str): A field of ErrorSummary, e.g. `p95`.
            to (str): The other scheme.
        """
        ours, theirs = (
            getattr(self.predictions[emission][scheme].summary, quantile)
            for scheme in (EMULATOR, to)
        )
        return ours / theirs if theirs > 0 else float("nan")

    def __str__(self) -> str:
        """Return the errors of all schemes side by side, in per cent."""
        tables = (str(table) for table in self.tables())
        return "\n\n".join([self.title, *tables])

    @property
    def title(self) -> str:
        """What was left out, and how much that is."""
        kept = ", ".join(
            f"{len(v)} of {name}" for name, v in self.left_out.items()
        )
        return (
            f"{self.grid_name} without {self.drop} ({kept}): "
            f"{self.spectra} spectra predicted"
        )

    def tables(self) -> list[Table]:
        """Return the errors of all schemes side by side, as tables."""
        found = []
        for emission, schemes in self.predictions.items():
            rows = []
            for name in SCHEMES:
                shown = self.architecture if name == EMULATOR else name
                rows.append((shown, summary_cells(schemes[name].summary)))
            for name in (SYNTHESIZER, PCHIP):
                ratios = (
                    self.ratio(emission, column, name)
                    for column in SUMMARY_COLUMNS
                )
                cells = tuple(f"{ratio:.3f}" for ratio in ratios)
                rows.append((f"{self.architecture} / {name}", cells))
            titles = tuple(SUMMARY_COLUMNS.values())
            found.append(Table(f"{emission}, error / %", titles, tuple(rows)))
        if self.recovery is not None:
            found.append(recovery_table(self.recovery))
        return found


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
    """Build an emulator without some nodes and predict them.

    Beside it the same nodes by Synthesizer's own linear interpolation of
    the same thinned grid, and by cubics through coefficients of principal
    components of its log flux.

    Args:
        grid (str/Path): A path, or a name in Synthesizer's grid folder.
        drop (str): The nodes to leave out, see `Drop.parse`: `ages:2` for
            every second age, `metallicities=0.004`, or several words.
        grid_dir (str/Path): Another folder to look names up in.
        spectra (iterable of str): The spectra to judge; all by default.
        architecture (str): How to emulate, see `ARCHITECTURES`.
        settings (Mapping): Settings of the architecture.
        training (Mapping): What differs from the way in which it is usually
            trained, as `{"epochs": 100}`; see `TrainingConfig`.
        recoveries (int): How many of the spectra left out to fit by the
            emulator, which never saw them; 0 for none.
        progress (bool): Whether to show progress.

    Returns:
        HoldOut: The errors of all three.

    Raises:
        GridError: If the grid is missing or can't be built.
        MissingSpectraType: If it has not all of `spectra`.
        InconsistentArguments: If there are no such nodes, or a setting is
            out of its range.
    """
    check_whole("recoveries", recoveries, 0)
    path = find_grid(grid, grid_dir)
    if isinstance(spectra, str):
        spectra = [spectra]
    wanted = None if spectra is None else tuple(spectra)
    full = GridNodes.from_grid(path, wanted)
    header = full.header
    left_out = Drop.parse(drop).left_out(header.axes)
    emissions = [f"spectra/{name}" for name in wanted or header.spectra_units]
    emissions += [e for e in full.emissions if e.startswith(f"{LINES}/")]
    start = time.monotonic()
    with tempfile.TemporaryDirectory() as folder:
        thinned = _Thinned.from_grid(path, header, left_out, Path(folder))
        report = build(
            thinned.path,
            spectra=wanted,
            architecture=architecture,
            settings=settings,
            training=training,
            progress=progress,
        )
        seconds = time.monotonic() - start
        weights = read_weights(report.path)
        arrays = PointArrays(weights, thinned.points)
        predictions = {e: thinned.score(e, arrays) for e in emissions}
        recovered = None
        if recoveries:
            names = wanted or tuple(header.spectra_units)
            telling = most_sensitive(path, header, names)
            recovered = thinned.recover(telling, weights, recoveries)
    return HoldOut(
        grid_name=full.grid_name,
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


@dataclass(frozen=True)
class _Thinned:
    """A grid without some nodes, and the whole one that knows them.

    Attributes:
        path (Path): The thinned grid.
        header (GridHeader): Its header.
        whole_path (Path): The whole grid.
        whole (GridHeader): Its header.
        kept (tuple of np.ndarray): The whole grid's indices of the nodes
            kept, to be used as one.
        missing (np.ndarray of bool): Which nodes were not, shape of the
            whole grid.
    """

    path: Path
    header: GridHeader
    whole_path: Path
    whole: GridHeader
    kept: tuple[NDArray[np.intp], ...]
    missing: NDArray[np.bool_]

    @classmethod
    def from_grid(
        cls,
        path: Path,
        header: GridHeader,
        left_out: Mapping[int, NDArray[np.intp]],
        folder: Path,
    ) -> Self:
        """Write a grid without some nodes into a folder."""
        indices = [
            np.setdiff1d(np.arange(n), left_out.get(i, []))
            for i, n in enumerate(header.shape)
        ]
        kept = np.ix_(*indices)
        missing = np.ones(header.shape, bool)
        missing[kept] = False
        axes = tuple(
            replace(axis, values=axis.values[i])
            for axis, i in zip(header.axes, indices, strict=True)
        )
        stored = {
            path: values[np.ix_(*indices[: values.ndim])]
            for path, values in header.stored.items()
        }
        thin = replace(header, axes=axes).with_stored(stored)
        target = folder / "thinned.hdf5"
        sizes = (header.size_of(emission) for emission in header.units)
        check_room(target, 8 * prod(thin.shape) * sum(sizes))
        native = NativeGrid(path, header)
        with write_hdf5(target) as hdf:
            write_header(hdf, thin)
            for name, units in header.units.items():
                values = native.read(name)[kept]
                create_emission(hdf, name, values.shape, units)[...] = values
        return cls(target, thin, path, header, kept, missing)

    @property
    def points(self) -> NDArray[np.float64]:
        """The axis values of the m missing nodes, (m, d)."""
        mesh = node_mesh([axis.values for axis in self.whole.axes])
        return np.asarray(mesh[self.missing])

    def _read(self, emission: str) -> NDArray[np.float64]:
        """Read the whole grid's values of an emission."""
        return NativeGrid(self.whole_path, self.whole).read(emission)

    def recover(
        self, name: str, weights: Weights, most: int
    ) -> Recovery | None:
        """Fit the labels of missing nodes; None if there are none to fit.

        Args:
            name (str): The spectrum.
            weights (Weights): The emulator of the thinned grid.
            most (int): How many, drawn at random.
        """
        spectra = self._read(f"{SPECTRA}/{name}")[self.missing]
        lit = np.flatnonzero(spectra.max(axis=-1) > 0)
        drawn = np.random.default_rng(0).permutation(lit)[:most]
        if not len(drawn):
            return None
        labels = [Label(axis) for axis in self.whole.axes]
        scored = scored_region(self.whole.lam_angstrom)
        fitted = recovery.recover(
            weights.emulator, name, labels, spectra[drawn], scored
        )
        return recovery.compare(name, labels, self.points[drawn], fitted)

    def score(
        self, emission: str, arrays: PointArrays
    ) -> dict[str, Prediction] | None:
        """Return the errors of all schemes; None if nothing counts.

        Args:
            emission (str): The path of the emission.
            arrays (PointArrays): The emulator at the missing nodes.
        """
        group, name = emission.split("/")
        lines = group == LINES
        if lines and self.whole.lines is not None:
            lam, floor = self.whole.lines.lams, SCORED_LINE_FLOOR
            scored = np.ones(len(lam), bool)
        else:
            lam, floor = self.whole.lam_angstrom, SCORED_FLOOR
            scored = scored_region(lam)
        view = selection(np.flatnonzero(scored), len(scored))
        values = self._read(emission)[..., scored]
        true = values[self.missing]
        predicted: dict[str, Callable[[], NDArray]] = {
            SYNTHESIZER: lambda: synthesizer_interpolation(
                self.path, self.header, emission, self.points
            )[:, scored],
            PCHIP: lambda: pchip_of_components(
                values[self.kept],
                self.header.axes,
                self.whole.axes,
                self.missing,
            ),
            EMULATOR: lambda: (
                arrays.lines(name) if lines else arrays.spectrum(name, view)
            ),
        }
        results = {}
        for scheme in SCHEMES:
            residuals = fractional_residuals(predicted[scheme](), true, floor)
            summary = summarise(residuals)
            if summary is None:
                return None
            results[scheme] = Prediction(
                summary,
                (
                    Profile.from_groups(lam, residuals.T)
                    if lines
                    else wavelength_profile(residuals, lam[scored])
                ),
                _LEVELS,
                np.nanquantile(np.abs(residuals), _LEVELS),
            )
        return results
