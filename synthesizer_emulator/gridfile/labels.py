"""Labels of spectra: axis values, logged if the axis spans decades.

Fits, derivatives, PCHIP interpolation and figures use these labels.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from synthesizer_emulator.gridfile.header import Axis

_TITLES = {
    "ages": "age",
    "metallicities": "metallicity",
    "ionisation_parameters": "ionisation parameter",
}


@dataclass(frozen=True)
class Label:
    """An axis of a grid as a label of its spectra, log10 or linear.

    Attributes:
        axis (Axis): The axis.
    """

    axis: Axis

    @property
    def logged(self) -> bool:
        """Whether the label is log10 of the axis values.

        True if Synthesizer logs the axis, and for any positive axis that
        spans more than a decade.
        """
        axis = self.axis
        positive = bool(axis.values[0] > 0)
        return axis.log_on_read or (positive and axis.spans_decade)

    @property
    def nodes(self) -> NDArray[np.float64]:
        """The labels of the nodes, (n,)."""
        return np.asarray(self.to_labels(self.axis.values, np))

    @property
    def title(self) -> str:
        """The name and units of the axis, for plots."""
        # Of `abundance_scalings.nitrogen_to_oxygen` the last part.
        short = self.axis.name.rpartition(".")[2].replace("_", " ")
        name = _TITLES.get(self.axis.name, short)
        units = self.axis.units
        plain = units in ("", "None", "dimensionless")
        return name if plain else f"{name} / {units}"

    def to_labels(self, values: Any, xp: Any) -> Any:
        """Return the labels of axis values; `xp` is NumPy or `jax.numpy`."""
        return xp.log10(values) if self.logged else values

    def to_values(self, labels: Any) -> Any:
        """Return the axis values with these labels."""
        return 10.0**labels if self.logged else labels


def labels_to_values(labels: Sequence[Label], points: Any, xp: Any) -> Any:
    """Return the axis values (..., d) of points given as labels (..., d)."""
    return xp.stack(
        [label.to_values(points[..., i]) for i, label in enumerate(labels)],
        axis=-1,
    )
