"""The errors of an emulator at the nodes of a grid.

`evaluate` compares the emulated spectra and lines with those of the grid. It
returns an `Evaluation`, which can be printed, written as JSON, and drawn with
`evaluation.report`.
"""

import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from synthesizer.instruments.filters import FilterCollection

from synthesizer_emulator.building.verdict import verdict
from synthesizer_emulator.descriptions import Printed
from synthesizer_emulator.emulator.metrics import (
    SCORED_FLOOR,
    SCORED_LINE_FLOOR,
    fractional_residuals,
)
from synthesizer_emulator.evaluation import tables
from synthesizer_emulator.evaluation.measures import (
    derivatives,
    magnitudes,
    quantities,
    recovery,
)
from synthesizer_emulator.evaluation.measures.derivatives import Derivatives
from synthesizer_emulator.evaluation.measures.filters import nircam_top_hats
from synthesizer_emulator.evaluation.measures.residuals import (
    EmissionErrors,
    Example,
    example_nodes,
    line_errors,
    spectrum_errors,
)
from synthesizer_emulator.evaluation.measures.stages import (
    Stages,
    check_examples,
    draw_with,
    nearest_point,
    open_stages,
)
from synthesizer_emulator.evaluation.measures.subset import (
    most_sensitive,
    some_wavelengths,
)
from synthesizer_emulator.evaluation.pair import GridPair
from synthesizer_emulator.evaluation.sampled import (
    SamplePair,
    most_dependent,
    sample_line_errors,
    sample_recovery,
    sample_spectrum_errors,
    sample_stages,
)
from synthesizer_emulator.gridfile.header import Axis
from synthesizer_emulator.gridfile.nodes import inner_mask
from synthesizer_emulator.gridfile.places import find_grid, plain_name
from synthesizer_emulator.gridfile.samples import is_sample_file
from synthesizer_emulator.progress import progress_bar
from synthesizer_emulator.records import write_json
from synthesizer_emulator.validation import check_whole
from synthesizer_emulator.wavelengths import identity
from synthesizer_emulator.weights.points import PointArrays

# The spectra of galaxies: stars, and the sum of transmitted and nebular.
_STARS, _REPROCESSED = "incident", "reprocessed"
_REPROCESSED_PARTS = ("nebular", "transmitted")


@dataclass(frozen=True, repr=False)
class Evaluation(Printed):
    """The errors of an emulator at the nodes of a grid.

    Attributes:
        grid_name (str): The name of the grid.
        same_nodes (bool): Whether the emulator was trained on a grid of the
            same nodes.
        trained_on (str): A description of the training set.
        architecture (str): The name of the architecture.
        settings (Mapping): The settings of the architecture.
        training (Mapping): The settings of the training.
        weights_bytes (int): The size of the weights file.
        build_seconds (float): The duration of the build.
        seconds (float): The duration of the evaluation.
        emissions (dict): The EmissionErrors of each emission, by its path.
        quantities (dict): The QuantityErrors of derived quantities, by
            spectrum and by name.
        photometry (dict): The PhotometryErrors of random galaxies, in
            `incident` and in `reprocessed` (transmitted and nebular) light;
            empty unless the first axes are ages and metallicities.
        recovery (Recovery): The errors of labels fitted to native spectra;
            None if no spectra were fitted.
        derivatives (Derivatives): The derivatives of ln flux with respect
            to the labels; None if an axis has fewer than three nodes.
        axes (tuple of Axis): The axes of the grid.
        histories (Mapping): The losses of the training, by emission.
        stages (dict): The Stages of each spectrum that is not a sum of
            others, by name; empty if none were asked for.
        compared_at (str): Which scattered samples were compared; empty for
            the nodes of a grid. For samples, the axes are bins of the
            labels.
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
    derivatives: Derivatives | None
    axes: tuple[Axis, ...] = field(repr=False)
    histories: Mapping[str, Mapping[str, list]] = field(repr=False)
    stages: dict[str, Stages] = field(default_factory=dict)
    compared_at: str = ""

    @property
    def truth(self) -> str:
        """What was emulated, for legends: the grid, or samples."""
        return "samples" if self.compared_at else "grid"

    @property
    def jacobian(self) -> Derivatives | None:
        """The former name of `derivatives`."""
        return self.derivatives

    def __str__(self) -> str:
        """Return the tables of the main errors as text."""
        return "\n\n".join(str(table) for table in self.tables())

    def verdict(self) -> list[str]:
        """Return the verdict of builds, and the main errors in sentences.

        With the worst of each kind, and where most of the large errors of
        fitted axis values are.
        """
        lines = [
            verdict(
                {
                    name: {"p50": e.summary.p50, "p95": e.summary.p95}
                    for name, e in self.emissions.items()
                },
                self.trained_on,
            )
        ]
        lines += [
            f"99% of {what} are within {100 * worst.summary.p99:.2g}% (worst: "
            f"{name.split('/')[1]}), half within "
            f"{100 * worst.summary.p50:.2g}%."
            for group, what in (("spectra/", "pixels"), ("lines/", "lines"))
            for name, worst in _worst(self.emissions, group)
        ]
        if self.photometry:
            p99 = max(e.summary.p99 for e in self.photometry.values())
            lines.append(
                f"99% of the magnitudes of galaxies are within "
                f"{1000 * p99:.2g} mmag."
            )
        if self.recovery is not None:
            lines.append(
                "Axis values fitted to spectra, 95%: "
                + ", ".join(
                    f"{name} within {errors.p95:.2g}"
                    + " dex" * self.recovery.logged[name]
                    + self.recovery.where(name)
                    for name, errors in self.recovery.labels.items()
                )
                + "."
            )
        return lines

    def tables(self) -> list[tables.Table]:
        """Return the tables of the main errors."""
        result = [tables.emission_table(self.emissions)]
        if any(self.quantities.values()):
            result.append(tables.quantity_table(self.quantities))
        result += [
            tables.photometry_table(light, errors)
            for light, errors in self.photometry.items()
        ]
        if self.recovery is not None:
            result.append(tables.recovery_table(self.recovery))
        if self.derivatives is not None:
            result.append(tables.derivative_table(self.derivatives))
        if self.stages:
            result.append(tables.stage_table(self.stages))
        return result

    def write_json(self, path: str | Path) -> None:
        """Write all errors and settings to a JSON file, atomically.

        Args:
            path (str/Path): The file; its folder is created if missing.

        Raises:
            OSError: If the file can't be written.
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
    stages: int = 200,
    show: Sequence[Mapping[str, float]] = (),
    seed: int = 0,
    progress: bool = True,
) -> Evaluation:
    """Measure the errors of an emulator at the nodes of a grid.

    The nodes may be those that the emulator was trained on, or others
    within its domain, such as those of a denser grid. The comparison covers
    spectra and lines, quantities derived from spectra, magnitudes of random
    galaxies, labels fitted to native spectra, and derivatives with respect
    to the labels.

    Args:
        grid (str/Path): The path of the grid, or its name in Synthesizer's
            grid folder. Or a file of scattered samples: the comparison is
            then with the samples held out of the training or, if the
            emulator was built from another file, with all of them.
        weights (str/Path): The weights file; by default next to the grid,
            where `build` writes it.
        grid_dir (str/Path): Another folder to search for the grid.
        spectra (iterable of str): The spectra to compare; by default all
            that both the grid and the emulator have.
        filters (FilterCollection): The filters of the magnitudes, sorted by
            wavelength; by default NIRCam's wide bands as top hats.
        galaxies (int): The number of random galaxies; 0 for none.
        recoveries (int): The number of spectra to fit; 0 for none.
        stages (int): The number of spectra at which the stages of the
            emulator are judged each by itself; 0 for none.
        show (sequence of Mapping): Axis values of examples, of each the
            nearest node; on axes that are not named, any.
        seed (int): The seed of all random draws.
        progress (bool): Whether to show a progress bar.

    Returns:
        Evaluation: The errors.

    Raises:
        GridError: If a file is missing or damaged, or if the weights are of
            a grid with other axes or wavelengths.
        MissingSpectraType: If the grid or the emulator lacks one of
            `spectra`.
        InconsistentArguments: If a number is out of range.
    """
    start = time.monotonic()
    check_whole("galaxies", galaxies, 0)
    check_whole("recoveries", recoveries, 0)
    check_whole("stages", stages, 0)
    check_whole("seed", seed, 0)
    path = find_grid(grid, grid_dir)
    wanted = None if spectra is None else tuple(spectra)
    if is_sample_file(path):
        return _evaluate_samples(
            SamplePair.open(path, weights),
            wanted,
            recoveries,
            stages,
            show,
            seed,
            progress,
        )
    pair = GridPair.open(path, weights)
    check_examples(pair.labels, show)
    names = pair.spectra(wanted)
    histories = None
    # Redshifted, a range of wavelengths does not fill the filters.
    if galaxies and magnitudes.has_histories(pair.axes) and not pair.is_cut:
        histories = magnitudes.random_histories(pair.axes, galaxies, seed)
    lights = _galaxy_spectra(names)
    emissions: dict[str, EmissionErrors | None] = {}
    derived: dict[str, dict[str, quantities.QuantityErrors]] = {}
    galaxy_spectra: dict[str, tuple[NDArray, NDArray]] = {}
    measured = [*names, *pair.line_quantities]
    with progress_bar(
        show=progress, total=len(measured) + 4, unit=" stages"
    ) as bar:
        for name in measured:
            bar.set_description(name)
            if name in names:
                sfzh = histories.sfzh if histories and name in lights else None
                comparison = _measure_spectrum(pair, name, sfzh)
                emissions[f"spectra/{name}"] = comparison.errors
                derived[name] = comparison.quantities
                if comparison.galaxies is not None:
                    galaxy_spectra[name] = comparison.galaxies
            else:
                emissions[name] = _measure_lines(pair, name)
            bar.update()
        scored = {e: errors for e, errors in emissions.items() if errors}
        photometry = {}
        bar.set_description("photometry")
        if histories is not None:
            photometry = _photometry(
                pair, histories, galaxy_spectra, filters or nircam_top_hats()
            )
        bar.update()
        fitted = slopes = None
        bright = [
            name
            for name in names
            if f"spectra/{name}" in scored
            and pair.axes_of(f"spectra/{name}") == pair.axes
        ]
        name = most_sensitive(pair.native, bright) if bright else ""
        bar.set_description("derivatives")
        if bright:
            slopes = _derivatives(pair, name, seed)
        bar.update()
        bar.set_description("recovered labels")
        if bright and recoveries:
            means = scored[f"spectra/{name}"].means
            fitted = _recover(pair, name, means, recoveries, seed)
        bar.update()
        bar.set_description("stages")
        opened = _open_all(pair, names, _stages, stages, show, seed)
        bar.update()
    provenance = pair.weights.provenance
    return Evaluation(
        grid_name=pair.native.name,
        same_nodes=pair.same_nodes,
        trained_on=provenance.trained_on,
        architecture=provenance.architecture,
        settings=provenance.architecture_config,
        training=provenance.training_config,
        weights_bytes=pair.weights_path.stat().st_size,
        build_seconds=provenance.seconds,
        seconds=time.monotonic() - start,
        emissions=scored,
        quantities={
            name: errors for name, errors in derived.items() if errors
        },
        photometry=photometry,
        recovery=fitted,
        derivatives=slopes,
        axes=pair.axes,
        histories=provenance.histories,
        stages=opened,
    )


def _evaluate_samples(
    pair: SamplePair,
    wanted: tuple[str, ...] | None,
    recoveries: int,
    stages: int,
    show: Sequence[Mapping[str, float]],
    seed: int,
    progress: bool,
) -> Evaluation:
    """Measure the errors at scattered samples; see `evaluate`."""
    start = time.monotonic()
    check_examples(pair.labels, show)
    names = pair.spectra(wanted)
    emissions: dict[str, EmissionErrors | None] = {}
    derived: dict[str, dict[str, quantities.QuantityErrors]] = {}
    measured = [*names, *pair.line_quantities]
    with progress_bar(
        show=progress, total=len(measured) + 2, unit=" stages"
    ) as bar:
        for name in measured:
            bar.set_description(name)
            if name in names:
                errors, derived[name] = sample_spectrum_errors(pair, name)
                emissions[f"spectra/{name}"] = errors
            else:
                emissions[name] = sample_line_errors(pair, name)
            bar.update()
        scored = {e: errors for e, errors in emissions.items() if errors}
        bright = [name for name in names if f"spectra/{name}" in scored]
        bar.set_description("recovered labels")
        fitted = None
        if bright and recoveries:
            name = most_dependent(pair, bright)
            fitted = sample_recovery(pair, name, recoveries, seed)
        bar.update()
        bar.set_description("stages")
        opened = _open_all(pair, bright, sample_stages, stages, show, seed)
        bar.update()
    provenance = pair.weights.provenance
    return Evaluation(
        grid_name=plain_name(pair.weights_path.name),
        same_nodes=False,
        trained_on=provenance.trained_on,
        architecture=provenance.architecture,
        settings=provenance.architecture_config,
        training=provenance.training_config,
        weights_bytes=pair.weights_path.stat().st_size,
        build_seconds=provenance.seconds,
        seconds=time.monotonic() - start,
        emissions=scored,
        quantities={name: e for name, e in derived.items() if e},
        photometry={},
        recovery=fitted,
        derivatives=None,
        axes=pair.axes,
        histories=provenance.histories,
        stages=opened,
        compared_at=pair.description,
    )


@dataclass(frozen=True)
class _SpectrumComparison:
    """The errors of one spectrum, measured in one pass over the nodes.

    `galaxies` has the native and the emulated spectra of random galaxies,
    both (n, nlam). `errors` is None if no pixel is scored.
    """

    errors: EmissionErrors | None
    quantities: dict[str, quantities.QuantityErrors]
    galaxies: tuple[NDArray, NDArray] | None


def _measure_spectrum(
    pair: GridPair, name: str, sfzh: NDArray[np.float64] | None
) -> _SpectrumComparison:
    """Compare one spectrum at all nodes, and in galaxies with an SFZH."""
    header, scored = pair.native.header, pair.scored
    emission, lam = f"spectra/{name}", header.lam_angstrom
    nodes = header.shape_of(emission)[:-1]
    residuals = np.empty((*nodes, np.count_nonzero(scored)), np.float32)
    values: list[dict[str, tuple[NDArray, NDArray]]] = []
    galaxies = None
    if sfzh is not None:
        shape = len(sfzh), len(lam)
        galaxies = np.zeros(shape), np.zeros(shape)
    for block, native, emulated in pair.blocks(emission):
        residuals[block] = fractional_residuals(
            emulated[..., scored], native[..., scored], SCORED_FLOOR
        )
        values.append(quantities.measure(lam, native, emulated))
        if sfzh is not None and galaxies is not None:
            mass = sfzh[:, block].reshape(len(sfzh), -1)
            for total, lnu in zip(galaxies, (native, emulated), strict=True):
                total += mass @ lnu.reshape(-1, len(lam))
    axes = pair.axes_of(emission)
    errors = spectrum_errors(residuals, lam[scored], axes)
    if errors is not None:
        errors = replace(errors, examples=_examples(pair, name, errors))
    joined = {
        quantity: (
            np.concatenate([block[quantity][0] for block in values]),
            np.concatenate([block[quantity][1] for block in values]),
        )
        for quantity in values[0]
    }
    return _SpectrumComparison(
        errors, quantities.quantity_errors(joined), galaxies
    )


def _examples(
    pair: GridPair, name: str, errors: EmissionErrors
) -> dict[str, Example]:
    """Return the spectra with the largest, median and smallest error."""
    nodes = example_nodes(errors.means)
    points = pair.axis_values(np.array(list(nodes.values())))
    view = identity(len(pair.scored))
    emulated = PointArrays(pair.weights, points).spectrum(name, view)
    true = pair.native.read_nodes(f"spectra/{name}", nodes.values())
    return {
        which: Example(
            node={
                axis.name: float(value)
                for axis, value in zip(
                    pair.axes_of(f"spectra/{name}"), points[i], strict=False
                )
            },
            error=float(errors.means[node]),
            lam=pair.native.header.lam_angstrom[pair.scored],
            true=true[i, pair.scored],
            emulated=emulated[i, pair.scored],
        )
        for i, (which, node) in enumerate(nodes.items())
    }


def _measure_lines(pair: GridPair, emission: str) -> EmissionErrors | None:
    """Compare one line quantity, such as luminosity, at all nodes."""
    lines = pair.native.header.lines
    assert lines is not None
    residuals = [
        fractional_residuals(emulated, native, SCORED_LINE_FLOOR)
        for _, native, emulated in pair.blocks(emission)
    ]
    return line_errors(
        np.concatenate(residuals), lines.ids, lines.lams, pair.axes
    )


def _galaxy_spectra(names: tuple[str, ...]) -> tuple[str, ...]:
    """Return the names of the spectra that galaxies are composed of."""
    parts = (_STARS, *_REPROCESSED_PARTS)
    return tuple(name for name in names if name in parts) or names[:1]


def _photometry(
    pair: GridPair,
    histories: magnitudes.Histories,
    spectra: Mapping[str, tuple[NDArray, NDArray]],
    filters: FilterCollection,
) -> dict[str, magnitudes.PhotometryErrors]:
    """Return the errors of the magnitudes of galaxies, by spectrum."""
    lights = dict(spectra)
    if all(part in lights for part in _REPROCESSED_PARTS):
        parts = [lights.pop(part) for part in _REPROCESSED_PARTS]
        native, emulated = (a + b for a, b in zip(*parts, strict=True))
        lights[_REPROCESSED] = native, emulated
    lam, redshift = pair.native.header.lam_angstrom, histories.redshift
    return {
        name: magnitudes.photometry_errors(
            magnitudes.observed_fluxes(lam, native, redshift, filters),
            magnitudes.observed_fluxes(lam, emulated, redshift, filters),
            redshift,
            filters.filter_codes,
        )
        for name, (native, emulated) in lights.items()
    }


def _recover(
    pair: GridPair, name: str, means: NDArray, n: int, seed: int
) -> recovery.Recovery | None:
    """Fit the labels of n native spectra, at inner nodes.

    Outer nodes are left out because fits can't go beyond the edge of the
    grid, which would make them look too good.
    """
    emitting = np.argwhere(inner_mask(means.shape) & ~np.isnan(means))
    rng = np.random.default_rng(seed)
    drawn = emitting[rng.permutation(len(emitting))[:n]]
    if not len(drawn):
        return None
    spectra = pair.native.read_nodes(f"spectra/{name}", map(tuple, drawn))
    return recovery.recovery_errors(
        pair.weights.emulator,
        name,
        pair.labels,
        pair.axis_values(drawn),
        spectra,
        pair.scored,
    )


def _open_all(
    pair: GridPair | SamplePair,
    names: Iterable[str],
    judge: Callable[..., Stages | None],
    n: int,
    show: Sequence[Mapping[str, float]],
    seed: int,
) -> dict[str, Stages]:
    """Judge the stages of each spectrum that is not a sum of others."""
    if not n:
        return {}
    emulated = pair.weights.emulator.spectra
    found = {
        name: judge(pair, name, n, show, seed)
        for name in names
        if name in emulated
    }
    return {name: stages for name, stages in found.items() if stages}


def _stages(
    pair: GridPair,
    name: str,
    n: int,
    show: Sequence[Mapping[str, float]],
    seed: int,
) -> Stages | None:
    """Judge the stages of the emulator of a spectrum at n random nodes."""
    emission = f"spectra/{name}"
    nodes = np.argwhere(np.ones(pair.native.header.shape_of(emission)[:-1]))
    labels = pair.labels
    chosen = [
        nearest_point(labels, pair.axis_values(nodes), wanted)
        for wanted in show
    ]
    # Nodes without emission are found among some more than needed.
    drawn = draw_with(chosen, np.ones(len(nodes), bool), 2 * n, seed)
    flux = pair.native.read_nodes(emission, map(tuple, nodes[drawn]))
    kept = draw_with(range(len(chosen)), flux.max(axis=1) > 0, n, seed)
    if not len(kept):
        return None
    return open_stages(
        pair.weights.emulator,
        name,
        pair.axis_values(nodes[drawn[kept]]),
        flux[kept],
        pair.native.header.lam_angstrom,
        pair.scored,
        int(np.sum(kept < len(chosen))),
    )


def _derivatives(pair: GridPair, name: str, seed: int) -> Derivatives | None:
    """Compare the derivatives of a spectrum at the inner nodes."""
    columns = some_wavelengths(pair.scored, derivatives.PIXELS)
    native = [
        block[..., columns]
        for _, block in pair.native.read_blocks(f"spectra/{name}")
    ]
    return derivatives.compare_derivatives(
        pair.weights.emulator,
        name,
        pair.labels,
        columns,
        pair.native.header.lam_angstrom[columns],
        np.concatenate(native),
        seed,
    )


def _worst(
    emissions: Mapping[str, EmissionErrors], group: str
) -> list[tuple[str, EmissionErrors]]:
    """Return the emission of a group with the largest errors, if any."""
    found = [item for item in emissions.items() if item[0].startswith(group)]
    return sorted(found, key=lambda item: -item[1].summary.p99)[:1]
