"""Where stars are on the axes of a grid."""

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from synthesizer_emulator.stars.galaxies import GalaxyStars


@dataclass(frozen=True, eq=False)
class StarAxes:
    """The axes of ages and metallicities in which stars are interpolated.

    Attributes:
        values (tuple of np.ndarray of float): The nodes: ages in yr and
            metallicities, or their logarithms.
        logged (tuple of bool): Whether each is in log10.
    """

    values: tuple[NDArray[np.float64], NDArray[np.float64]]
    logged: tuple[bool, bool]

    @classmethod
    def of_light(cls, grid: Any) -> "StarAxes":
        """Return the axes in which Synthesizer interpolates spectra."""
        names = grid._extract_axes
        ages, metallicities = (
            np.asarray(grid._extract_axes_values[name], np.float64)
            for name in names
        )
        first, second = (name.startswith("log10") for name in names)
        return cls((ages, metallicities), (first, second))

    @classmethod
    def of_mass(cls, grid: Any) -> "StarAxes":
        """Return the axes in which it interpolates surviving masses."""
        ages = np.asarray(grid.log10ages, np.float64)
        metallicities = np.asarray(grid.metallicities, np.float64)
        return cls((ages, np.log10(metallicities)), (True, True))

    def points(self, stars: GalaxyStars) -> NDArray[np.float64]:
        """Return where stars are on the axes, (n, 2).

        Stars outside of the grid are moved to its edge, as by Synthesizer.
        """
        own = (stars.columns["age"] * 1e9, stars.columns["metallicity"])
        return np.stack(
            [
                np.clip(np.log10(p) if is_logged else p, axis[0], axis[-1])
                for p, axis, is_logged in zip(
                    own, self.values, self.logged, strict=True
                )
            ],
            axis=1,
        )
