"""Reports of evaluations and hold-outs: figures, tables and settings."""

from collections.abc import Sequence
from datetime import date
from pathlib import Path
from typing import Any

from synthesizer_emulator.emulator.metrics import (
    SCORED_FLOOR,
    SCORED_LAM,
    SCORED_LINE_FLOOR,
)
from synthesizer_emulator.evaluation import tables
from synthesizer_emulator.evaluation.comparison import Comparison
from synthesizer_emulator.evaluation.evaluate import Evaluation
from synthesizer_emulator.evaluation.generalisation.composition import (
    Composition,
)
from synthesizer_emulator.evaluation.generalisation.generalise import (
    Generalisation,
)
from synthesizer_emulator.evaluation.hold_out import HoldOut
from synthesizer_emulator.evaluation.report.figures import (
    comparison,
    composition,
    fits,
    magnitudes,
    predictions,
    residuals,
    stages,
    studies,
)
from synthesizer_emulator.evaluation.report.figures.panels import save
from synthesizer_emulator.evaluation.report.html import Section, render
from synthesizer_emulator.evaluation.tables import Table, number
from synthesizer_emulator.files.writing import write_whole
from synthesizer_emulator.records import current_versions, machine

_ERRORS = (
    "Errors are |emulated / grid - 1|, of spectra from "
    f"{SCORED_LAM[0]:g} to {SCORED_LAM[1]:g} Å where they are brighter than "
    f"{SCORED_FLOOR:g} of their peak, and of lines brighter than "
    f"{SCORED_LINE_FLOOR:g} of the brightest line. The left half of each "
    "table has quantiles over spectra of the mean error of a spectrum, the "
    "right half has quantiles over all pixels."
)


def write_report(
    evaluation: Evaluation,
    folder: str | Path,
    zoom: tuple[float, float] = (3600.0, 4400.0),
) -> Path:
    """Write the report of an evaluation and its figures.

    Args:
        evaluation (Evaluation): The errors of an emulator.
        folder (str/Path): The output folder; created if missing.
        zoom (tuple of float): A narrow range of wavelengths in Angstrom, of
            which signed residuals and examples are drawn too.

    Returns:
        Path: The path of `report.html`, which contains all figures.

    Raises:
        OSError: If a file can't be written.
    """
    nodes = " x ".join(
        f"{len(axis.values)} {axis.name.replace('_', ' ')}"
        for axis in evaluation.axes
    )
    source = f", from {evaluation.trained_on}" * bool(evaluation.trained_on)
    which = "the nodes" if evaluation.same_nodes else "other nodes"
    if evaluation.compared_at:
        which, nodes = evaluation.compared_at, f"in bins: {nodes}"
    summary = (
        f"Architecture {evaluation.architecture}, "
        f"{evaluation.weights_bytes / 1e6:.1f} MB, built in "
        f"{evaluation.build_seconds:.0f} s{source}. "
        f"Measured at {which} ({nodes}) in "
        f"{evaluation.seconds:.0f} s {_circumstances()}."
    )
    title = f"The emulator of {evaluation.grid_name}"
    note = _note(evaluation.grid_name, evaluation.architecture)
    verdict = evaluation.verdict()
    sections = _sections(evaluation, zoom)
    return _write(title, verdict, summary, sections, folder, note)


def write_hold_outs(
    experiments: Sequence[HoldOut], folder: str | Path
) -> Path:
    """Write the report of hold-out experiments and its figures.

    Args:
        experiments (sequence of HoldOut): One or more experiments with the
            same grid.
        folder (str/Path): The output folder; created if missing.

    Returns:
        Path: The path of `report.html`, which contains all figures.

    Raises:
        OSError: If a file can't be written.
    """
    sections = []
    for experiment in experiments:
        settings = ", ".join(
            f"{name} {value}" for name, value in _settings(experiment)
        )
        text = (
            f"{experiment.title}. Architecture {experiment.architecture}, "
            f"built in {experiment.seconds:.0f} s ({settings})."
        )
        sections.append(
            Section(
                f"Without {experiment.drop}",
                text,
                experiment.tables(),
                predictions.hold_out(experiment),
            )
        )
    summary = (
        "Nodes were left out of the grid and predicted by Synthesizer's "
        "interpolation of the thinned grid, by PCHIP of the coefficients of "
        "its principal components, and by an emulator that was trained "
        f"without them. {_ERRORS} Measured {_circumstances()}."
    )
    first = experiments[0]
    title = f"Nodes left out of {first.grid_name}"
    note = _note(first.grid_name, first.architecture)
    verdict = [line for one in experiments for line in one.verdict()]
    return _write(title, verdict, summary, sections, folder, note)


def write_figures(study_result: Generalisation, folder: str | Path) -> None:
    """Write the figures of a generalisation study as PNG and PDF.

    Args:
        study_result (Generalisation): The errors of all runs.
        folder (str/Path): The output folder; created if missing.

    Raises:
        OSError: If a file can't be written.
    """
    study = study_result.study
    note = _note(study.grid.stem, *study.architectures)
    save(studies.study_figures(study_result), Path(folder), note)


def write_composition(found: Composition) -> list[Path]:
    """Write the nine figures of a compositional testbed as PNG and PDF.

    Args:
        found (Composition): The runs, whose folder gets `figures`.

    Returns:
        list of Path: The PNG files.

    Raises:
        OSError: If a file can't be written.
    """
    figures = composition.composition_figures(found)
    note = _note("testbed")
    return [*save(figures, found.folder / "figures", note).values()]


def write_comparison(found: Comparison, folder: str | Path) -> list[Path]:
    """Write the figures of a comparison of two grids.

    Args:
        found (Comparison): The comparison.
        folder (str/Path): The output folder; created if missing.

    Returns:
        list of Path: The files, one for each spectrum.

    Raises:
        OSError: If a file can't be written.
    """
    note = _note(*found.names)
    return [*save(comparison.comparison(found), Path(folder), note).values()]


def _write(
    title: str,
    verdict: Sequence[str],
    summary: str,
    sections: list[Section],
    folder: str | Path,
    note: str,
) -> Path:
    """Write the figures of all sections, and the report."""
    figures = {n: f for s in sections for n, f in s.figures.items()}
    images = save(figures, Path(folder), note)
    target = Path(folder) / "report.html"
    contents = {name: path.read_bytes() for name, path in images.items()}
    page = render(title, verdict, summary, sections, contents)
    write_whole(target, page.encode())
    return target


def _note(*what: str) -> str:
    """Return what is shown, and the date, as text."""
    return ", ".join([*what, date.today().isoformat()])


def _sections(
    evaluation: Evaluation, zoom: tuple[float, float]
) -> list[Section]:
    """Return the sections of the report of an evaluation."""
    sections = [_emissions(evaluation, zoom)]
    if evaluation.stages:
        sections.append(_stages(evaluation, zoom))
    if evaluation.quantities:
        sections.append(_quantities(evaluation))
    if evaluation.photometry:
        sections.append(_photometry(evaluation))
    if evaluation.recovery is not None:
        sections.append(
            Section(
                "Recovered labels",
                "Axis values and mass were fitted to spectra at "
                f"{evaluation.compared_at or 'the inner nodes of the grid'}, "
                "with the type of spectrum whose shape "
                "depends on the most labels. The fits minimise the variance "
                "of the difference in ln flux between spectrum and emulator, "
                "starting from the best points of a coarse mesh. Where the "
                "spectra hardly change along an axis, its label can't be "
                "recovered although the misfit is small. Differences are "
                "drawn linearly where it is shaded, else logarithmically.",
                [tables.recovery_table(evaluation.recovery)],
                {
                    "recovery": fits.recovered_labels(
                        evaluation.recovery, evaluation.axes
                    )
                },
            )
        )
    if evaluation.derivatives is not None:
        sections.append(
            Section(
                "Derivatives",
                "The derivatives of ln flux with respect to the labels, by "
                "automatic differentiation of the emulator, at inner nodes. "
                "They must agree with the central differences of the "
                "emulator. They agree with the differences between "
                "neighbouring nodes as far as the grid is smooth on the "
                "scale of its nodes.",
                [tables.derivative_table(evaluation.derivatives)],
                {
                    "derivatives": fits.slopes(
                        evaluation.derivatives, evaluation.axes
                    )
                },
            )
        )
    sections.append(_training(evaluation))
    return sections


def _emissions(evaluation: Evaluation, zoom: tuple[float, float]) -> Section:
    """Return the section on the errors of spectra and lines."""
    figures = {}
    axes = evaluation.axes
    for name, errors in evaluation.emissions.items():
        if errors.examples:
            figures[f"{name}: examples"] = residuals.spectra(
                errors.examples, evaluation.truth
            )
        figures[f"{name}: errors by wavelength and axis"] = residuals.profiles(
            errors, axes
        )
        if errors.means.ndim > 2:
            figures[f"{name}: errors over axes"] = residuals.maps(errors, axes)
        figures[f"{name}: residuals"] = residuals.distribution(errors)
        if errors.bands is not None:
            figures[f"{name}: signed residuals"] = stages.signed(
                errors.bands, zoom
            )
    return Section(
        "Spectra and lines",
        f"{_ERRORS} The correlations of residuals show how much averaging "
        "over pixels reduces them: between pixels of one spectrum as a "
        "function of their distance, and between the mean residuals in two "
        "bins over all spectra.",
        [
            tables.emission_table(evaluation.emissions),
            *(
                tables.line_table(name, errors)
                for name, errors in evaluation.emissions.items()
                if errors.lines
            ),
        ],
        figures,
    )


def _stages(evaluation: Evaluation, zoom: tuple[float, float]) -> Section:
    """Return the section on the stages of the emulator."""
    figures = {}
    for name, found in evaluation.stages.items():
        axes = evaluation.axes[: found.points.shape[1]]
        figures[f"{name}: stages"] = stages.stages(found)
        figures[f"{name}: latent space"] = stages.latent_space(found, axes)
        figures[f"{name}: random examples"] = residuals.spectra(
            found.examples, evaluation.truth
        )
        narrow = stages.zoomed(found.examples, zoom, evaluation.truth)
        if narrow is not None:
            figures[f"{name}: examples in a narrow range"] = narrow
    return Section(
        "Stages",
        "Networks predict the norm of a spectrum (its largest flux) and its "
        "latents, and a decoder makes log flux of the latents. The decoder "
        "alone is judged with the latents that describe each spectrum best: "
        "its error is that of the basis or of the autoencoder, and what the "
        "emulator adds is that of the networks. Components are the principal "
        "ones of what the decoder gives.",
        [tables.stage_table(evaluation.stages)],
        figures,
    )


def _quantities(evaluation: Evaluation) -> Section:
    """Return the section on the errors of derived quantities."""
    return Section(
        "Quantities derived from spectra",
        "As defined in Synthesizer's Sed: the rate of photons above 13.6 eV "
        "(where it exceeds 1e-8 of the largest), the bolometric luminosity, "
        "the 4000 Å break and the UV slope from 1250 to 3000 Å (where the "
        "spectrum is bright enough).",
        [tables.quantity_table(evaluation.quantities)],
        {
            f"quantities of {name}": magnitudes.derived_quantities(
                name, errors, evaluation.axes
            )
            for name, errors in evaluation.quantities.items()
            # Those of scattered samples are not on the axes.
            if not evaluation.compared_at
        },
    )


def _photometry(evaluation: Evaluation) -> Section:
    """Return the section on the errors of magnitudes of galaxies."""
    return Section(
        "Magnitudes of galaxies",
        "Random galaxies with log-normal star formation histories and "
        "normally distributed metallicities, at redshifts 0 to 5 with the "
        "intergalactic absorption of Inoue et al. (2014), made with both "
        "grids. Synthesizer computes the fluxes in filters. The error is the "
        "emulated minus the native magnitude or colour.",
        [
            tables.photometry_table(light, errors)
            for light, errors in evaluation.photometry.items()
        ],
        {
            f"magnitudes of {light}": magnitudes.photometry(light, errors)
            for light, errors in evaluation.photometry.items()
        },
    )


def _training(evaluation: Evaluation) -> Section:
    """Return the section on settings and losses."""
    rows = [
        (name, (number(v) if isinstance(v, float) else str(v),))
        for name, v in _settings(evaluation)
    ]
    losses = fits.losses(evaluation.histories)
    return Section(
        "Training",
        "The settings of the architecture and of the training, and the "
        "losses of the network of each emission.",
        [Table("setting", ("value",), tuple(rows))],
        {} if losses is None else {"losses": losses},
    )


def _settings(result: Evaluation | HoldOut) -> list[tuple[str, Any]]:
    """Return the settings of the architecture and of the training."""
    return [*result.settings.items(), *result.training.items()]


def _circumstances() -> str:
    """Return the device and the package versions as text."""
    versions = ", ".join(f"{k} {v}" for k, v in current_versions().items())
    return f"on {machine()['device']}, with {versions}"
