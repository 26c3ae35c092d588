"""What weights contain, in few numbers: for lists and registries."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Self

from synthesizer_emulator.emulator.metrics import ErrorSummary
from synthesizer_emulator.files.schema import typed_value
from synthesizer_emulator.weights.weights import Weights


@dataclass(frozen=True)
class WeightsSummary:
    """The source, axes, emissions and errors of weights.

    Attributes:
        grid (str): The name of the grid that they were built from.
        grid_sha256 (str): The SHA-256 of the file of this grid.
        architecture (str): The name of the architecture.
        axes (Mapping): The number of nodes of each axis, by name.
        wavelengths (int): The number of wavelengths.
        lines (int): The number of lines; 0 if there are none.
        spectra (tuple of str): The names of the spectra.
        errors (Mapping): The quantiles of the fractional error of each
            emission, by its path.
    """

    grid: str
    grid_sha256: str
    architecture: str
    axes: Mapping[str, int]
    wavelengths: int
    lines: int
    spectra: tuple[str, ...]
    errors: Mapping[str, ErrorSummary] = field(default_factory=dict)

    @classmethod
    def from_weights(cls, weights: Weights) -> Self:
        """Summarise weights."""
        header, provenance = weights.header, weights.provenance
        return cls(
            grid=weights.grid_name,
            grid_sha256=provenance.source_hash,
            architecture=provenance.architecture,
            axes={axis.name: len(axis.values) for axis in header.axes},
            wavelengths=len(header.lam),
            lines=0 if header.lines is None else len(header.lines.ids),
            spectra=weights.available_spectra,
            errors=typed_value(
                Mapping[str, ErrorSummary], provenance.errors, "its errors"
            ),
        )

    def worst_of_spectra(self, quantile: str) -> float | None:
        """Return the error of the spectrum that is emulated worst.

        Or of the lines, if there are no spectra.

        Args:
            quantile (str): A field of `ErrorSummary`, such as `p99`.

        Returns:
            float: The fractional error; None without errors.
        """
        of_spectra = [
            errors
            for path, errors in self.errors.items()
            if path.startswith("spectra/")
        ]
        found = of_spectra or self.errors.values()
        return max((getattr(e, quantile) for e in found), default=None)
