"""Tables of measured errors, for the terminal and for reports."""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from synthesizer_emulator.emulator.metrics import ErrorSummary
from synthesizer_emulator.evaluation.measures.derivatives import Derivatives
from synthesizer_emulator.evaluation.measures.magnitudes import (
    PhotometryErrors,
)
from synthesizer_emulator.evaluation.measures.quantities import (
    QUANTITIES,
    QuantityErrors,
)
from synthesizer_emulator.evaluation.measures.recovery import Recovery
from synthesizer_emulator.evaluation.measures.residuals import EmissionErrors
from synthesizer_emulator.evaluation.measures.stages import Stages

# The fields of an ErrorSummary in tables, and their headings.
SUMMARY_COLUMNS = {
    "mean_median": "mean: median",
    "mean_p95": "p95",
    "mean_max": "max",
    "p50": "pixels: p50",
    "p95": "p95",
    "p99": "p99",
    "p999": "p99.9",
}


@dataclass(frozen=True)
class Table:
    """A table of formatted numbers.

    Attributes:
        title (str): The heading of the first column, with the units.
        columns (tuple of str): The headings of the other columns, which may
            repeat.
        rows (tuple of tuple): The name and the cells of each row.
    """

    title: str
    columns: tuple[str, ...]
    rows: tuple[tuple[str, tuple[str, ...]], ...]

    def __str__(self) -> str:
        """Return the table as aligned text."""
        names = [self.title, *(name for name, _ in self.rows)]
        width = max(len(name) for name in names)
        widths = [
            max(len(title), *(len(cells[i]) for _, cells in self.rows), 8)
            for i, title in enumerate(self.columns)
        ]
        lines = []
        for name, cells in [(self.title, self.columns), *self.rows]:
            row = "  ".join(
                f"{cell:>{w}}" for cell, w in zip(cells, widths, strict=True)
            )
            lines.append(f"{name:<{width}}  {row}")
        return "\n".join(lines)


def number(value: float) -> str:
    """Return a number as text with four significant digits."""
    return f"{value:.4g}"


def summary_cells(summary: ErrorSummary) -> tuple[str, ...]:
    """Return the quantiles of an error summary as text, in per cent."""
    return tuple(number(100 * getattr(summary, c)) for c in SUMMARY_COLUMNS)


def emission_table(emissions: Mapping[str, EmissionErrors]) -> Table:
    """Return a table of the errors of emissions at the nodes, worst first."""
    return Table(
        "error / %",
        tuple(SUMMARY_COLUMNS.values()),
        tuple(
            (name, summary_cells(errors.summary))
            for name, errors in sorted(
                emissions.items(), key=lambda item: -item[1].summary.p99
            )
        ),
    )


def line_table(name: str, errors: EmissionErrors) -> Table:
    """Return a table of the errors of each scored line, worst first."""
    profile = errors.by_wavelength
    columns = (
        profile.at,
        *(100 * getattr(profile, name) for name in ("p50", "p95", "p99")),
    )
    scored = [
        (line, row)
        for line, *row in zip(errors.lines, *columns, strict=True)
        if not np.isnan(row[1])
    ]
    return Table(
        f"{name}, error / %",
        ("wavelength / Å", "p50", "p95", "p99"),
        tuple(
            (line, tuple(number(cell) for cell in row))
            for line, row in sorted(scored, key=lambda item: -item[1][-1])
        ),
    )


def quantity_table(
    spectra: Mapping[str, Mapping[str, QuantityErrors]],
) -> Table:
    """Return a table of the errors of quantities derived from spectra."""
    rows = []
    for spectrum, quantities in spectra.items():
        for name, errors in quantities.items():
            factor, unit = (100, "%") if errors.fractional else (1, "absolute")
            q = errors.summary
            cells = (
                number(factor * value)
                for value in (q.p50, q.p95, q.worst, q.bias)
            )
            title = f"{spectrum}: {QUANTITIES[name].title}"
            rows.append((title, (unit, *cells, str(q.number))))
    columns = ("unit", "p50", "p95", "worst", "bias", "spectra")
    return Table("error", columns, tuple(rows))


def photometry_table(light: str, errors: PhotometryErrors) -> Table:
    """Return a table of the errors of magnitudes and colours of galaxies."""
    all_rows = {
        "all bands": errors.summary,
        **errors.magnitudes,
        **errors.colours,
    }
    rows = []
    for name, q in all_rows.items():
        values = (q.p50, q.p95, q.p99, q.worst, q.bias)
        cells = (number(1000 * value) for value in values)
        rows.append((name, (*cells, str(q.number))))
    columns = ("p50", "p95", "p99", "worst", "bias", "number")
    return Table(f"{light}, error / mmag", columns, tuple(rows))


def recovery_table(recovered: Recovery) -> Table:
    """Return a table of the errors of recovered labels and masses."""
    rows = []
    logged = {**recovered.logged, "mass": True}
    for name, q in {**recovered.labels, "mass": recovered.mass}.items():
        unit = "dex" if logged[name] else "of the axis"
        cells = (number(value) for value in (q.p50, q.p95, q.bias))
        rows.append((name, (unit, *cells)))
    title = f"recovered from {len(recovered.true)} {recovered.spectrum}"
    return Table(title, ("unit", "p50", "p95", "bias"), tuple(rows))


def stage_table(stages: Mapping[str, Stages]) -> Table:
    """Return a table of the errors of each stage of emulators."""
    rows = []
    for name, found in stages.items():
        errors = (found.decoder, found.whole)
        cells = [number(100 * v) for q in errors for v in (q.p50, q.p95)]
        norms = [number(v) for v in (found.norm.p50, found.norm.p95)]
        rows.append((name, (str(found.size), *cells, *norms)))
    columns = (
        "latents",
        "decoder alone / %: p50",
        "p95",
        "emulator / %: p50",
        "p95",
        "norm / dex: p50",
        "p95",
    )
    return Table("stages", columns, tuple(rows))


def derivative_table(derivatives: Derivatives) -> Table:
    """Return a table of the differences between estimated derivatives."""
    rows = []
    for name, errors in derivatives.labels.items():
        label = f"d ln f / d {'log10 ' if errors.logged else ''}{name}"
        values = (
            errors.size,
            errors.emulator.p50,
            errors.emulator.p95,
            errors.grid.p50,
            errors.grid.p95,
        )
        rows.append((label, tuple(number(value) for value in values)))
    columns = (
        "rms slope",
        "emulator differences: p50",
        "p95",
        "node differences: p50",
        "p95",
    )
    return Table(f"slopes of {derivatives.spectrum}", columns, tuple(rows))
