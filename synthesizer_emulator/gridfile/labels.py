"""Labels of spectra: axis values, logged if the axis spans decades.

Fits, derivatives, PCHIP interpolation and figures use these labels.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from synthesizer_emulator.descriptions import describe_units
from synthesizer_emulator.gridfile.header import Axis

# The titles of axes, of which the files have the plural; others have their
# name without underscores.
_TITLES = {
    "accretion_rates_eddington": "accretion rate / Eddington rate",
    "ages": "age",
    "alpha": "α",
    "alpha_enhancements": "[α/Fe]",
    "column_densities": "column density",
    "cosine_inclinations": "cosine of inclination",
    "depletion_scales": "depletion scale",
    "dtg": "dust-to-gas ratio",
    "high_mass_slope": "high-mass slope",
    "hydrogen_densities": "hydrogen density",
    "ionisation_parameters": "ionisation parameter",
    "masses": "mass",
    "metallicities": "metallicity",
    "qpah": "qPAH",
    "redshifts": "redshift",
    "reference_ionisation_parameters": "reference ionisation parameter",
    "spins": "spin",
    "temperatures": "temperature",
    "turbulences": "turbulence",
    "umin": "Umin",
}

# The symbols of some axes, for legends.
_SYMBOLS = {
    "hydrogen_densities": "n(H)",
    "ionisation_parameters": "U",
    "metallicities": "Z",
    "redshifts": "z",
    "reference_ionisation_parameters": "U(ref)",
}


def axis_title(name: str) -> str:
    """Return the title of an axis by its name in a grid.

    Examples:
        >>> axis_title("hydrogen_densities")
        'hydrogen density'
        >>> axis_title("abundance_scalings.nitrogen_to_oxygen")
        'nitrogen to oxygen'
    """
    return _TITLES.get(name, name.rpartition(".")[2].replace("_", " "))


def axis_symbol(name: str) -> str:
    """Return the symbol of an axis, or its title if it has none."""
    return _SYMBOLS.get(name, axis_title(name))


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
        name = axis_title(self.axis.name)
        units = describe_units(self.axis.units)
        return f"{name} / {units}" if units else name

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
