"""Evaluations and hold-outs as one page: figures, tables, what and how.

The page is a single HTML file with everything in it, to be kept beside
the weights or sent to someone.
"""

import base64
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from html import escape
from pathlib import Path

from matplotlib.figure import Figure

from synthesizer_emulator.emulator.metrics import (
    SCORED_FLOOR,
    SCORED_LAM,
    SCORED_LINE_FLOOR,
)
from synthesizer_emulator.evaluation import tables
from synthesizer_emulator.evaluation.evaluate import Evaluation
from synthesizer_emulator.evaluation.generalisation import Generalisation
from synthesizer_emulator.evaluation.holdout import HoldOut
from synthesizer_emulator.evaluation.report import figures
from synthesizer_emulator.evaluation.tables import Table, number
from synthesizer_emulator.files.writing import write_whole
from synthesizer_emulator.records import current_versions, machine

_STYLE = """
body { font: 16px/1.5 system-ui, sans-serif; color: #222; margin: 2rem auto;
  max-width: 62rem; padding: 0 1rem; }
h1, h2 { line-height: 1.2; }
h2 { margin-top: 2.5rem; border-bottom: 1px solid #ccc; }
nav a { margin-right: 1.2em; }
table { border-collapse: collapse; font-size: 0.85rem; margin: 1rem 0;
  font-variant-numeric: tabular-nums; display: block; overflow-x: auto; }
th, td { padding: 0.15rem 0.7rem; text-align: right; white-space: nowrap; }
th:first-child, td:first-child { text-align: left; }
thead th { border-bottom: 1px solid #222; }
figure { margin: 1rem 0; }
img { max-width: 100%; }
figcaption { font-size: 0.85rem; color: #555; }
@media print { figure, table { break-inside: avoid; } }
"""

_ERRORS = (
    "Errors are |emulated / grid - 1|, of spectra from "
    f"{SCORED_LAM[0]:g} to {SCORED_LAM[1]:g} Å where they are brighter than "
    f"{SCORED_FLOOR:g} of their peak, and of lines brighter than "
    f"{SCORED_LINE_FLOOR:g} of the brightest. On the left of the table "
    "quantiles over spectra of the mean over pixels, on the right "
    "quantiles over all pixels."
)


@dataclass(frozen=True)
class Section:
    """One part of a report.

    Attributes:
        title (str): Its heading.
        text (str): What was measured, and how.
        tables (list of Table): The numbers.
        figures (dict): The figures by their names.
    """

    title: str
    text: str
    tables: list[Table] = field(default_factory=list)
    figures: dict[str, Figure] = field(default_factory=dict)


def write_report(evaluation: Evaluation, folder: str | Path) -> Path:
    """Write the figures of an evaluation as PNG, and a page with everything.

    Args:
        evaluation (Evaluation): The measured errors.
        folder (str/Path): The output folder; made if missing.

    Returns:
        Path: The page, `report.html`, which needs no other file.

    Raises:
        OSError: If a file can't be written.
    """
    title = f"The emulator of {evaluation.grid_name}"
    sections = evaluation_sections(evaluation)
    return _write(title, _summary(evaluation), sections, folder)


def write_hold_outs(
    experiments: Sequence[HoldOut], folder: str | Path
) -> Path:
    """Write the figures of hold-outs as PNG, and a page with everything.

    Args:
        experiments (sequence of HoldOut): Experiments with one grid, at
            least one.
        folder (str/Path): The output folder; made if missing.

    Returns:
        Path: The page, `report.html`, which needs no other file.

    Raises:
        OSError: If a file can't be written.
    """
    grid_name = experiments[0].grid_name
    sections = [
        Section(
            f"Without {experiment.drop}",
            f"{experiment.title}. {_built(experiment)}",
            experiment.tables(),
            figures.hold_outs([experiment]),
        )
        for experiment in experiments
    ]
    summary = (
        "Nodes were left out of the grid and predicted: by Synthesizer's own "
        "interpolation of the thinned grid, by PCHIP through the "
        "coefficients of its principal components, and by an emulator that "
        f"was trained without them. {_ERRORS} Made {_circumstances()}."
    )
    title = f"Nodes left out of {grid_name}"
    return _write(title, summary, sections, folder)


def write_figures(study_result: Generalisation, folder: str | Path) -> None:
    """Write the figures of a generalisation study as PNG.

    Args:
        study_result (Generalisation): The errors of every run.
        folder (str/Path): The output folder; made if missing.

    Raises:
        OSError: If a file can't be written.
    """
    figures.save(figures.generalisation(study_result), Path(folder))


def _write(
    title: str, summary: str, sections: list[Section], folder: str | Path
) -> Path:
    """Write the figures of all sections, and the page that has them all."""
    drawn = {n: f for s in sections for n, f in s.figures.items()}
    images = figures.save(drawn, Path(folder))
    target = Path(folder) / "report.html"
    page = render(title, summary, sections, images)
    write_whole(target, page.encode())
    return target


def render(
    title: str,
    summary: str,
    sections: list[Section],
    images: Mapping[str, bytes],
) -> str:
    """Return a page as HTML.

    Args:
        title (str): Its title.
        summary (str): What it is about.
        sections (list of Section): Its parts.
        images (Mapping): The figures as PNG, by their names.
    """
    links = " ".join(
        f'<a href="#s{i}">{escape(section.title)}</a>'
        for i, section in enumerate(sections)
    )
    parts = [
        '<!DOCTYPE html><html lang="en"><head><meta charset="utf-8">',
        f"<title>{escape(title)}</title><style>{_STYLE}</style></head>",
        f"<body><h1>{escape(title)}</h1><p>{escape(summary)}</p>",
        f"<nav>{links}</nav>",
    ]
    for i, section in enumerate(sections):
        parts.append(f'<h2 id="s{i}">{escape(section.title)}</h2>')
        parts.append(f"<p>{escape(section.text)}</p>")
        parts += [_html_table(table) for table in section.tables]
        for name in section.figures:
            data = base64.b64encode(images[name]).decode()
            parts.append(
                f'<figure><img alt="{escape(name)}" '
                f'src="data:image/png;base64,{data}">'
                f"<figcaption>{escape(name)}</figcaption></figure>"
            )
    parts.append("</body></html>\n")
    return "\n".join(parts)


def evaluation_sections(evaluation: Evaluation) -> list[Section]:
    """Return the parts of the report of an evaluation, those it has."""
    sections = [_emissions(evaluation)]
    if evaluation.quantities:
        sections.append(_quantities(evaluation))
    if evaluation.photometry:
        sections.append(_photometry(evaluation))
    if evaluation.recovery is not None:
        sections.append(
            Section(
                "Labels recovered",
                "Axis values and mass were fitted to spectra drawn from the "
                "inner nodes of the grid, of the kind whose shape depends "
                "on the most labels: down the gradient of the "
                "variance of ln flux between spectrum and emulator, from "
                "the best points of a coarse mesh. Where the models "
                "themselves hardly change along an axis, no fit can tell "
                "them apart, and the misfit stays as small.",
                [tables.recovery_table(evaluation.recovery)],
                {
                    "recovery": figures.recovery(
                        evaluation.recovery, evaluation.axes
                    )
                },
            )
        )
    if evaluation.jacobian is not None:
        sections.append(
            Section(
                "Slopes",
                "The derivatives of ln flux with the labels, by automatic "
                "differentiation of the emulator, at inner nodes; beside "
                "them central differences of the emulator (which must "
                "agree) and differences between neighbouring nodes of the "
                "grid (which agree as far as the grid is smooth on the "
                "scale of its nodes).",
                [tables.jacobian_table(evaluation.jacobian)],
                {
                    "jacobian": figures.jacobian(
                        evaluation.jacobian, evaluation.axes
                    )
                },
            )
        )
    sections.append(_training(evaluation))
    return sections


def _summary(evaluation: Evaluation) -> str:
    """Return what was measured, in a sentence or two."""
    nodes = " x ".join(
        f"{len(axis.values)} {axis.name}" for axis in evaluation.axes
    )
    learned = f", from {evaluation.trained_on}" * bool(evaluation.trained_on)
    which = "the nodes" if evaluation.same_nodes else "other nodes"
    return (
        f"Architecture {evaluation.architecture}, "
        f"{evaluation.weights_bytes / 1e6:.1f} MB, built in "
        f"{evaluation.build_seconds:.0f} s{learned}. "
        f"Measured at {which} ({nodes}) in "
        f"{evaluation.seconds:.0f} s {_circumstances()}."
    )


def _circumstances() -> str:
    """Return on what machine, and with what, numbers were measured."""
    made_by = ", ".join(f"{k} {v}" for k, v in current_versions().items())
    return f"on {machine()['device']}, with {made_by}"


def _built(experiment: HoldOut) -> str:
    """Return how the emulator of an experiment was made."""
    settings = ", ".join(
        f"{name} {value}"
        for source in (experiment.settings, experiment.training)
        for name, value in source.items()
    )
    return (
        f"Architecture {experiment.architecture}, built in "
        f"{experiment.seconds:.0f} s ({settings})."
    )


def _emissions(evaluation: Evaluation) -> Section:
    """Return the errors of spectra and lines."""
    drawn = {}
    for name, errors in evaluation.emissions.items():
        if errors.examples:
            drawn[f"{name}: examples"] = figures.spectra(errors.examples)
        drawn[f"{name}: errors by wavelength and axis"] = figures.where(
            errors, evaluation.axes
        )
        if len(evaluation.axes) > 2:
            drawn[f"{name}: errors over axes"] = figures.maps(
                errors, evaluation.axes
            )
        drawn[f"{name}: residuals"] = figures.distribution(errors)
    return Section(
        "Spectra and lines",
        f"{_ERRORS} Correlations tell how far averaging "
        "over pixels makes residuals smaller: of two pixels by their "
        "distance, and over spectra of the mean residuals in two bins.",
        [
            tables.emission_table(evaluation.emissions),
            *(
                tables.line_table(name, errors)
                for name, errors in evaluation.emissions.items()
                if errors.lines
            ),
        ],
        drawn,
    )


def _quantities(evaluation: Evaluation) -> Section:
    """Return the errors of what is read off spectra."""
    return Section(
        "What is read off spectra",
        "By Synthesizer's own definitions, from its Sed: the rate of photons "
        "above 13.6 eV (where it is within 1e-8 of the largest), the "
        "bolometric luminosity, the 4000 Å break and the UV slope from 1250 "
        "to 3000 Å (where the spectrum is bright enough there).",
        [tables.quantity_table(evaluation.quantities)],
        {
            f"quantities of {name}": figures.quantities(
                name, found, evaluation.axes
            )
            for name, found in evaluation.quantities.items()
        },
    )


def _photometry(evaluation: Evaluation) -> Section:
    """Return the errors of magnitudes of galaxies."""
    return Section(
        "Magnitudes of galaxies",
        "Random galaxies with log-normal star formation histories and "
        "normally distributed metallicities, at redshifts 0 to 5 with the "
        "intergalactic absorption of Inoue et al. (2014), made with both "
        "grids; fluxes in filters by Synthesizer. The error is the emulated "
        "minus the native magnitude or colour.",
        [
            tables.photometry_table(light, errors)
            for light, errors in evaluation.photometry.items()
        ],
        {
            f"magnitudes of {light}": figures.photometry(light, errors)
            for light, errors in evaluation.photometry.items()
        },
    )


def _training(evaluation: Evaluation) -> Section:
    """Return how the emulator was made."""
    rows = [
        (name, (number(v) if isinstance(v, float) else str(v),))
        for source in (evaluation.settings, evaluation.training)
        for name, v in source.items()
    ]
    curves = figures.losses(evaluation.histories)
    return Section(
        "Training",
        "The settings of the architecture and of the training, and the "
        "losses of each emission's network.",
        [Table("setting", ("value",), tuple(rows))],
        {} if curves is None else {"losses": curves},
    )


def _html_table(table: Table) -> str:
    """Return a table as HTML."""
    head = "".join(f"<th>{escape(c)}</th>" for c in table.columns)
    rows = "".join(
        f"<tr><td>{escape(name)}</td>"
        + "".join(f"<td>{escape(cell)}</td>" for cell in cells)
        + "</tr>"
        for name, cells in table.rows
    )
    return (
        f"<table><thead><tr><th>{escape(table.title)}</th>{head}</tr></thead>"
        f"<tbody>{rows}</tbody></table>"
    )
