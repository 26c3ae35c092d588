"""The report at the end of a build, with its table of errors."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from synthesizer_emulator.building.verdict import (
    verdict,
)
from synthesizer_emulator.descriptions import Printed
from synthesizer_emulator.weights.provenance import Provenance


@dataclass(frozen=True, repr=False)
class BuildReport(Printed):
    """The weights file of a build, and its errors.

    Attributes:
        path (Path): The weights file.
        provenance (Provenance): The source, settings and errors.
        size (int): The size of the file, bytes.
    """

    path: Path
    provenance: Provenance
    size: int

    @property
    def _verdict(self) -> str:
        """The verdict on the errors."""
        return verdict(self.provenance.errors, self.provenance.trained_on)

    def __str__(self) -> str:
        """Return a table of errors, the size, the time and a verdict."""
        return "\n".join(
            [
                f"Trained on {self.provenance.trained_on}.",
                "",
                error_table(self.provenance.errors),
                "",
                f"{self.path} ({self.size / 1e6:.1f} MB) in "
                f"{self.provenance.seconds:.0f} s",
                f"{self._verdict} Run "
                "`synthesizer-emulator evaluate` for errors in magnitudes.",
            ]
        )


def error_table(errors: Mapping[str, Mapping[str, float]]) -> str:
    """Return a table of errors in per cent.

    Args:
        errors (Mapping): The fields of `ErrorSummary`, by emission.

    Returns:
        str: The table, with one line for each emission.
    """
    columns = ("mean_median", "mean_p95", "p50", "p95", "p99", "worst")
    titles = ("mean: median", "p95", "pixels: p50", "p95", "p99", "worst")
    width = max((len(name) for name in errors), default=0)
    head = " ".join(f"{title:>12}" for title in titles)
    lines = [f"{'error / %':<{width}} {head}"]
    for name, summary in errors.items():
        values = " ".join(f"{100 * summary[c]:12.4f}" for c in columns)
        lines.append(f"{name:<{width}} {values}")
    return "\n".join(lines)
