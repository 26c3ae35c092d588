"""How good an emulator is: everything measured against its grid.

`evaluate` needs the grid file and the weights, and gives an `Evaluation`:
numbers to print, to keep as JSON, to draw and to report.
"""

import time
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray
from synthesizer.exceptions import (
    GridError,
    InconsistentArguments,
    MissingSpectraType,
)
from synthesizer.instruments.filters import FilterCollection
from tqdm import tqdm

from synthesizer_emulator.emulator.metrics import (
    SCORED_FLOOR,
    SCORED_LINE_FLOOR,
    fractional_residuals,
    scored_region,
)
from synthesizer_emulator.evaluation import tables
from synthesizer_emulator.evaluation.measures import (
    derivatives,
    magnitudes,
    quantities,
    recovery,
)
from synthesizer_emulator.evaluation.measures.residuals import (
    EmissionErrors,
    Example,
    example_nodes,
    line_errors,
    spectrum_errors,
)
from synthesizer_emulator.evaluation.measures.subset import (
    most_sensitive,
    some_wavelengths,
)
from synthesizer_emulator.gridfile.emissions import LINES
from synthesizer_emulator.gridfile.header import Axis, GridHeader
from synthesizer_emulator.gridfile.labels import Label
from synthesizer_emulator.gridfile.native import NativeGrid
from synthesizer_emulator.gridfile.nodes import inner_mask
from synthesizer_emulator.gridfile.places import (
    find_grid,
    grid_name_of,
    weights_path,
)
from synthesizer_emulator.records import write_json
from synthesizer_emulator.validation import check_whole, nearest
from synthesizer_emulator.wavelengths import identity
from synthesizer_emulator.weights.file import read_weights
from synthesizer_emulator.weights.points import PointArrays
from synthesizer_emulator.weights.weights import Weights

# What galaxies are made of: the stars, and what gas makes of them.
_STARS, _REPROCESSED = "incident", "reprocessed"
_REPROCESSED_PARTS = ("nebular", "transmitted")


@dataclass(frozen=True)
class Evaluation:
    """What was measured of an emulator against a grid.

    Attributes:
        grid_name (str): The grid.
        same_nodes (bool): Whether the emulator's own grid has just the
            nodes of this one.
        trained_on (str): What it was trained on.
        architecture (str): How it emulates.
        settings (Mapping): The settings of the architecture.
        training (Mapping): How it was trained.
        weights_bytes (int): The size of the weights file.
        build_seconds (float): How long building it took.
        seconds (float): How long measuring it took.
        emissions (dict): The EmissionErrors of each emission, by its path.
        quantities (dict): The errors of ionising photon rates and the like,
            by spectrum and by name.
        photometry (dict): The errors of magnitudes and colours of random
            galaxies, of `incident` and of `reprocessed` (transmitted and
            nebular) light; empty if the axes are not ages and
            metallicities.
        recovery (Recovery): Labels fitted to the grid's spectra, of the
            kind that tells of the most labels; None if not asked for.
        jacobian (JacobianCheck): The slopes with the labels; None if an
            axis is too short for them.
        axes (tuple of Axis): The grid's axes.
        histories (Mapping): The losses while training, by emission.
    """

    grid_name: str
    same_nodes: bool
    trained_on: str
    architecture: str
    settings: Mapping[str, Any]
    training: Mapping[str, Any]
    weights_bytes: int
    build_seconds: float
    seconds: float
    emissions: dict[str, EmissionErrors]
    quantities: dict[str, dict[str, quantities.QuantityErrors]]
    photometry: dict[str, magnitudes.PhotometryErrors]
    recovery: recovery.Recovery | None
    jacobian: derivatives.JacobianCheck | None
    axes: tuple[Axis, ...] = field(repr=False)
    histories: Mapping[str, Mapping[str, list]] = field(repr=False)

    def __str__(self) -> str:
        """Return the main numbers as tables."""
        return "\n\n".join(str(table) for table in self.tables())

    def tables(self) -> list[tables.Table]:
        """Return the main numbers as tables."""
        found = [tables.emission_table(self.emissions)]
        if any(self.quantities.values()):
            found.append(tables.quantity_table(self.quantities))
        found += [
            tables.photometry_table(light, errors)
            for light, errors in self.photometry.items()
        ]
        if self.recovery is not None:
            found.append(tables.recovery_table(self.recovery))
        if self.jacobian is not None:
            found.append(tables.jacobian_table(self.jacobian))
        return found

    def write_json(self, path: str | Path) -> None:
        """Write all numbers, whole or not at all.

        Args:
            path (str/Path): The file; its folder is made if missing.

        Raises:
            OSError: If it can't be written.
        """
        write_json(Path(path), {"evaluation": self})


def evaluate(
    grid: str | Path,
    weights: str | Path | None = None,
    *,
    grid_dir: str | Path | None = None,
    spectra: Iterable[str] | None = None,
    filters: FilterCollection | None = None,
    galaxies: int = 1000,
    recoveries: int = 100,
    seed: int = 0,
    progress: bool = True,
) -> Evaluation:
    """Measure an emulator against a grid.

    At the nodes of the grid, which are those that the emulator was trained
    on or others, as of a denser grid: spectra and lines, what is read off
    spectra, magnitudes of random galaxies made with both, labels fitted to
    the grid's spectra, and slopes.

    Args:
        grid (str/Path): The grid, a path or a name in Synthesizer's grid
            folder.
        weights (str/Path): The weights file; by default beside the grid,
            as `build` writes it.
        grid_dir (str/Path): Another folder to look names up in.
        spectra (iterable of str): The spectra to measure; by default all
            that the grid stores and the emulator has.
        filters (FilterCollection): Synthesizer's filters for magnitudes, by
            wavelength; by default NIRCam's wide bands as top hats.
        galaxies (int): How many random galaxies to make; 0 for none.
        recoveries (int): How many spectra to fit; 0 for none.
        seed (int): Of everything random.
        progress (bool): Whether to show progress.

    Returns:
        Evaluation: All that was measured.

    Raises:
        GridError: If a file is missing or damaged, or the weights are of a
            grid with other axes or wavelengths.
        MissingSpectraType: If they have not all of `spectra`.
        InconsistentArguments: If a number is out of its range.
    """
    start = time.monotonic()
    check_whole("galaxies", galaxies, 0)
    check_whole("recoveries", recoveries, 0)
    check_whole("seed", seed, 0)
    pair = _Pair.open(find_grid(grid, grid_dir), weights)
    names = pair.choose(None if spectra is None else tuple(spectra))
    histories = None
    if galaxies and magnitudes.has_histories(pair.header.axes):
        histories = magnitudes.random_histories(
            pair.header.axes, galaxies, seed
        )
    light = _galaxy_light(names)
    emissions: dict[str, EmissionErrors | None] = {}
    measured: dict[str, dict[str, quantities.QuantityErrors]] = {}
    galaxy_light: dict[str, tuple[NDArray, NDArray]] = {}
    bar = tqdm([*names, *pair.line_values], disable=not progress)
    for name in bar:
        bar.set_description(name)
        if name in names:
            shines = histories is not None and name in light
            found = _measure_spectrum(
                pair, name, histories.sfzh if histories and shines else None
            )
            emissions[f"spectra/{name}"] = found.errors
            measured[name] = found.quantities
            if found.galaxies is not None:
                galaxy_light[name] = found.galaxies
        else:
            emissions[name] = _measure_lines(pair, name)
    lit = {e: f for e, f in emissions.items() if f is not None}
    photometry = {}
    if histories is not None:
        filters = filters or magnitudes.nircam_top_hats()
        photometry = _photometry(pair, histories, galaxy_light, filters)
    shown = [n for n in names if f"spectra/{n}" in lit]
    fitted = slopes = None
    if shown:
        telling = most_sensitive(pair.path, pair.header, shown)
        slopes = _check_slopes(pair, telling, seed)
        if recoveries:
            means = lit[f"spectra/{telling}"].means
            fitted = _recover(pair, telling, means, recoveries, seed)
    card = pair.weights.provenance
    return Evaluation(
        grid_name=grid_name_of(pair.path),
        same_nodes=pair.same_nodes,
        trained_on=card.trained_on,
        architecture=card.architecture,
        settings=card.architecture_config,
        training=card.training_config,
        weights_bytes=pair.weights_path.stat().st_size,
        build_seconds=card.seconds,
        seconds=time.monotonic() - start,
        emissions=lit,
        quantities={n: q for n, q in measured.items() if q},
        photometry=photometry,
        recovery=fitted,
        jacobian=slopes,
        axes=pair.header.axes,
        histories=card.histories,
    )


@dataclass(frozen=True)
class _Pair:
    """A grid and an emulator of it, read side by side.

    Attributes:
        path (Path): The grid.
        header (GridHeader): Its header.
        weights_path (Path): The weights file.
        weights (Weights): What it holds.
    """

    path: Path
    header: GridHeader
    weights_path: Path
    weights: Weights

    @classmethod
    def open(cls, path: Path, weights: str | Path | None) -> Self:
        """Open both, refusing what does not belong together."""
        found = weights_path(path) if weights is None else Path(weights)
        if not found.is_file():
            raise GridError(
                f"No weights file at '{found}': build it with "
                f"`synthesizer-emulator build {path}`, or name another with "
                "--weights."
            )
        header = NativeGrid.open(path).header
        pair = cls(path, header, found, read_weights(found))
        theirs, ours = pair.weights.header, pair.header
        axes = [[a.name for a in h.axes] for h in (theirs, ours)]
        lams = theirs.lam_angstrom, ours.lam_angstrom
        alike = len(lams[0]) == len(lams[1]) and np.allclose(*lams, rtol=1e-6)
        if axes[0] != axes[1] or not alike:
            raise GridError(
                f"'{found}' emulates a grid of {', '.join(axes[0])} and "
                f"{len(lams[0])} wavelengths, but '{path}' has "
                f"{', '.join(axes[1])} and {len(lams[1])} (or others): they "
                "can't be compared."
            )
        for domain, axis in zip(pair.weights.domain, ours.axes, strict=True):
            try:
                domain.require_inside(axis.values)
            except InconsistentArguments as error:
                low, high = axis.values[0], axis.values[-1]
                raise GridError(
                    f"'{path}' goes from {low:g} to {high:g} in {axis.name}, "
                    f"beyond the {domain.low:g} to {domain.high:g} that "
                    f"'{found}' was trained on."
                ) from error
        return pair

    @property
    def native(self) -> NativeGrid:
        """The grid's arrays."""
        return NativeGrid(self.path, self.header)

    @property
    def labels(self) -> list[Label]:
        """The labels of the axes."""
        return [Label(axis) for axis in self.header.axes]

    @property
    def same_nodes(self) -> bool:
        """Whether the grid's nodes are those of the emulator's own."""
        both = zip(self.header.axes, self.weights.header.axes, strict=True)
        return all(np.array_equal(a.values, b.values) for a, b in both)

    @property
    def scored(self) -> NDArray[np.bool_]:
        """Which wavelengths count, (nlam,)."""
        return scored_region(self.header.lam_angstrom)

    @property
    def line_values(self) -> list[str]:
        """The paths of the quantities of lines that both have."""
        return [
            emission
            for emission in self.header.units
            if emission.startswith(f"{LINES}/")
            and emission in self.weights.tensors
        ]

    def choose(self, wanted: tuple[str, ...] | None) -> tuple[str, ...]:
        """Return the spectra to measure: those that both have."""
        has = [
            name
            for name in self.header.spectra_units
            if name in self.weights.available_spectra
        ]
        missing = [name for name in wanted or () if name not in has]
        if missing or not has:
            raise MissingSpectraType(
                f"Grid and emulator do not both have {', '.join(missing)}; "
                f"they have {', '.join(has) or 'nothing in common'}."
                + "".join(nearest(name, has) for name in missing[:1])
            )
        return tuple(has) if wanted is None else wanted

    def native_blocks(
        self, emission: str
    ) -> Iterator[tuple[slice, NDArray[np.float64]]]:
        """Yield the grid's values of an emission, part by part.

        Args:
            emission (str): Its path.

        Yields:
            tuple: A slice of the first axis, and the values there, (...,
                n).
        """
        return self.native.read_blocks(emission)

    def blocks(
        self, emission: str
    ) -> Iterator[tuple[slice, NDArray[np.float64], NDArray]]:
        """Yield what `native_blocks` does, and the emulator's values."""
        group, name = emission.split("/")
        view = identity(self.header.size_of(emission))
        first, *others = (axis.values for axis in self.header.axes)
        for block, native in self.native_blocks(emission):
            arrays = PointArrays.at_nodes(
                self.weights, (first[block], *others)
            )
            if group == LINES:
                yield block, native, arrays.lines(name)
            else:
                yield block, native, arrays.spectrum(name, view)

    def at_nodes(
        self, emission: str, nodes: Iterable[tuple[int, ...]]
    ) -> NDArray[np.float64]:
        """Return the grid's values at some nodes, (m, n)."""
        return self.native.read_nodes(emission, nodes)


@dataclass(frozen=True)
class _Measured:
    """What one pass over a spectrum gives."""

    errors: EmissionErrors | None
    quantities: dict[str, quantities.QuantityErrors]
    galaxies: tuple[NDArray, NDArray] | None


def _measure_spectrum(
    pair: _Pair, name: str, sfzh: NDArray[np.float64] | None
) -> _Measured:
    """Measure one spectrum at all nodes, and put it into galaxies."""
    header, scored = pair.header, pair.scored
    emission, lam = f"spectra/{name}", header.lam_angstrom
    residuals = np.empty((*header.shape, np.count_nonzero(scored)), np.float32)
    values: list[dict[str, tuple[NDArray, NDArray]]] = []
    light = None
    if sfzh is not None:
        light = np.zeros((2, len(sfzh), len(lam)))
    for block, native, emulated in pair.blocks(emission):
        residuals[block] = fractional_residuals(
            emulated[..., scored], native[..., scored], SCORED_FLOOR
        )
        values.append(quantities.measure(lam, native, emulated))
        if sfzh is not None and light is not None:
            mass = sfzh[:, block].reshape(len(sfzh), -1)
            light[0] += mass @ native.reshape(-1, len(lam))
            light[1] += mass @ emulated.reshape(-1, len(lam))
    errors = spectrum_errors(residuals, lam[scored], header.axes)
    if errors is not None:
        errors = replace(errors, examples=_examples(pair, emission, errors))
    joined = {
        quantity: (
            np.concatenate([v[quantity][0] for v in values]),
            np.concatenate([v[quantity][1] for v in values]),
        )
        for quantity in values[0]
    }
    return _Measured(
        errors,
        quantities.compare(joined),
        None if light is None else (light[0], light[1]),
    )


def _examples(
    pair: _Pair, emission: str, errors: EmissionErrors
) -> dict[str, Example]:
    """Return the worst, the median and the best spectrum of a grid."""
    scored, axes = pair.scored, pair.header.axes
    nodes = example_nodes(errors.means)
    points = np.array(
        [
            [axis.values[i] for axis, i in zip(axes, node, strict=True)]
            for node in nodes.values()
        ]
    )
    emulated = PointArrays(pair.weights, points).spectrum(
        emission.removeprefix("spectra/"), identity(len(scored))
    )
    true = pair.at_nodes(emission, nodes.values())
    return {
        which: Example(
            node={
                axis.name: float(value)
                for axis, value in zip(axes, points[i], strict=True)
            },
            error=float(errors.means[node]),
            lam=pair.header.lam_angstrom[scored],
            true=true[i, scored],
            emulated=emulated[i, scored],
        )
        for i, (which, node) in enumerate(nodes.items())
    }


def _measure_lines(pair: _Pair, emission: str) -> EmissionErrors | None:
    """Measure one quantity of the lines at all nodes."""
    lines = pair.header.lines
    assert lines is not None
    residuals = [
        fractional_residuals(emulated, native, SCORED_LINE_FLOOR)
        for _, native, emulated in pair.blocks(emission)
    ]
    return line_errors(
        np.concatenate(residuals), lines.ids, lines.lams, pair.header.axes
    )


def _galaxy_light(names: tuple[str, ...]) -> tuple[str, ...]:
    """Return the spectra that galaxies are made with."""
    parts = (_STARS, *_REPROCESSED_PARTS)
    return tuple(name for name in names if name in parts) or names[:1]


def _photometry(
    pair: _Pair,
    histories: magnitudes.Histories,
    light: Mapping[str, tuple[NDArray, NDArray]],
    filters: FilterCollection,
) -> dict[str, magnitudes.PhotometryErrors]:
    """Return the errors of the galaxies' magnitudes."""
    parts = [light[p] for p in _REPROCESSED_PARTS if p in light]
    shown = {
        name: both
        for name, both in light.items()
        if name not in _REPROCESSED_PARTS or len(parts) < 2
    }
    if len(parts) == 2:
        first, second = parts
        shown[_REPROCESSED] = first[0] + second[0], first[1] + second[1]
    lam, redshift = pair.header.lam_angstrom, histories.redshift
    return {
        name: magnitudes.compare(
            magnitudes.observed_fluxes(lam, native, redshift, filters),
            magnitudes.observed_fluxes(lam, emulated, redshift, filters),
            redshift,
            filters.filter_codes,
        )
        for name, (native, emulated) in shown.items()
    }


def _recover(
    pair: _Pair, name: str, means: NDArray, n: int, seed: int
) -> recovery.Recovery | None:
    """Fit the labels of spectra drawn from the grid.

    From its inner nodes: the outermost would be found by the bounds alone.
    """
    there = np.argwhere(inner_mask(means.shape) & ~np.isnan(means))
    rng = np.random.default_rng(seed)
    drawn = there[rng.permutation(len(there))[:n]]
    if not len(drawn):
        return None
    nodes = [tuple(int(i) for i in node) for node in drawn]
    axes = pair.header.axes
    true = np.stack(
        [axis.values[i] for axis, i in zip(axes, drawn.T, strict=True)], axis=1
    )
    spectra = pair.at_nodes(f"spectra/{name}", nodes)
    fitted = recovery.recover(
        pair.weights.emulator, name, pair.labels, spectra, pair.scored
    )
    return recovery.compare(name, pair.labels, true, fitted)


def _check_slopes(
    pair: _Pair, name: str, seed: int
) -> derivatives.JacobianCheck | None:
    """Compare slopes at inner nodes of the grid."""
    columns = some_wavelengths(pair.scored, derivatives.PIXELS)
    native = np.concatenate(
        [
            native[..., columns]
            for _, native in pair.native_blocks(f"spectra/{name}")
        ]
    )
    return derivatives.check_jacobian(
        pair.weights.emulator,
        name,
        pair.labels,
        columns,
        pair.header.lam_angstrom[columns],
        native,
        seed,
    )
