"""Measured errors as tables, for the terminal and for reports.

One function a measurement; what is printed and what stands in a report
come from the same table.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from synthesizer_emulator.emulator.metrics import ErrorSummary
from synthesizer_emulator.evaluation.measures.derivatives import JacobianCheck
from synthesizer_emulator.evaluation.measures.magnitudes import (
    PhotometryErrors,
)
from synthesizer_emulator.evaluation.measures.quantities import (
    QUANTITIES,
    QuantityErrors,
)
from synthesizer_emulator.evaluation.measures.recovery import Recovery
from synthesizer_emulator.evaluation.measures.residuals import EmissionErrors

# The fields of an ErrorSummary that are shown, with their titles.
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
    """Rows of numbers under titles.

    Attributes:
        title (str): What the rows are, and their units.
        columns (tuple of str): The titles of the columns.
        rows (tuple of tuple): For each row its name and its cells.
    """

    title: str
    columns: tuple[str, ...]
    rows: tuple[tuple[str, tuple[str, ...]], ...]

    def __str__(self) -> str:
        """Return it as aligned text."""
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
    """Return a number with four digits."""
    return f"{value:.4g}"


def summary_cells(summary: ErrorSummary) -> tuple[str, ...]:
    """Return the shown fields of a summary, in per cent."""
    return tuple(number(100 * getattr(summary, c)) for c in SUMMARY_COLUMNS)


def emission_table(emissions: Mapping[str, EmissionErrors]) -> Table:
    """Return the errors of emissions at nodes."""
    return Table(
        "error / %",
        tuple(SUMMARY_COLUMNS.values()),
        tuple(
            (name, summary_cells(errors.summary))
            for name, errors in emissions.items()
        ),
    )


def line_table(name: str, errors: EmissionErrors) -> Table:
    """Return the errors of each line that counts anywhere, over nodes."""
    found = errors.by_wavelength
    columns = found.at, 100 * found.p50, 100 * found.p95, 100 * found.p99
    cells = zip(*columns, strict=True)
    return Table(
        f"{name}, error / %",
        ("wavelength / Å", "p50", "p95", "p99"),
        tuple(
            (line, tuple(number(cell) for cell in row))
            for line, row in zip(errors.lines, cells, strict=True)
            if not np.isnan(row[1])
        ),
    )


def quantity_table(
    spectra: Mapping[str, Mapping[str, QuantityErrors]],
) -> Table:
    """Return the errors of what is read off spectra."""
    rows = []
    for spectrum, found in spectra.items():
        for name, errors in found.items():
            factor, unit = (100, "%") if errors.fractional else (1, "absolute")
            cells = (errors.p50, errors.p95, errors.worst, errors.bias)
            shown = (number(factor * cell) for cell in cells)
            title = f"{spectrum}: {QUANTITIES[name].title}"
            rows.append((title, (unit, *shown, str(errors.spectra))))
    columns = ("unit", "p50", "p95", "worst", "bias", "spectra")
    return Table("error", columns, tuple(rows))


def photometry_table(light: str, errors: PhotometryErrors) -> Table:
    """Return the errors of magnitudes and colours of galaxies."""
    all_rows = {
        "all bands": errors.summary,
        **errors.magnitudes,
        **errors.colours,
    }
    rows = []
    for name, found in all_rows.items():
        values = (found.p50, found.p95, found.p99, found.worst, found.bias)
        cells = (number(1000 * value) for value in values)
        rows.append((name, (*cells, str(found.galaxies))))
    columns = ("p50", "p95", "p99", "worst", "bias", "number")
    return Table(f"{light}, error / mmag", columns, tuple(rows))


def recovery_table(recovered: Recovery) -> Table:
    """Return how well labels came back."""
    rows = []
    for name, found in {**recovered.labels, "mass": recovered.mass}.items():
        unit = "dex" if found.logged else "of the axis"
        cells = (found.p50, found.p95, found.bias)
        rows.append((name, (unit, *(number(cell) for cell in cells))))
    title = f"recovered from {len(recovered.true)} {recovered.spectrum}"
    return Table(title, ("unit", "p50", "p95", "bias"), tuple(rows))


def jacobian_table(check: JacobianCheck) -> Table:
    """Return how slopes agree."""
    rows: list[tuple[str, tuple[str, ...]]] = []
    for name, found in check.labels.items():
        label = f"d ln f / d {'log10 ' if found.logged else ''}{name}"
        cells: Sequence[float] = (
            found.size,
            found.emulator_p50,
            found.emulator_p95,
            found.grid_p50,
            found.grid_p95,
        )
        rows.append((label, tuple(number(cell) for cell in cells)))
    columns = (
        "rms slope",
        "from own differences: p50",
        "p95",
        "from those of nodes: p50",
        "p95",
    )
    return Table(f"slopes of {check.spectrum}", columns, tuple(rows))
