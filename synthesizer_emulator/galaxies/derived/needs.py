"""What derived quantities need of an emission model.

`Needs` makes the sums that quantities are made of, and records the emissions,
wavelengths and lines that these need, so that nothing else is compiled.
"""

from collections.abc import Callable, Iterable, Sequence

import jax.numpy as jnp
import numpy as np
from jax import Array
from numpy.typing import ArrayLike, NDArray
from synthesizer.emission_models import EmissionModel
from synthesizer.emission_models.model_queue import ModelQueue
from synthesizer.emissions import Sed
from synthesizer.exceptions import InconsistentArguments, MissingSpectraType

from synthesizer_emulator.galaxies.derived.quantities import (
    Index,
    LineSum,
    MassSum,
    Slope,
    SpectrumSum,
)
from synthesizer_emulator.galaxies.derived.weights import (
    linear_weights,
    slope_weights,
    trapezoid_weights,
    window_lnu,
)
from synthesizer_emulator.galaxies.tree import grids_of
from synthesizer_emulator.validation import nearest


class Needs:
    """The grid of an emission model, and what is needed of the model.

    Args:
        model (EmissionModel): The emission model.

    Attributes:
        grid (Grid): The first grid of the model; all have the same axes.
        ages (np.ndarray of float): Its ages, yr, (n_ages,).
        lam (np.ndarray of float): Its wavelengths, Angstrom, (nlam,).
        emissions (list of str): The emissions whose spectra are needed.
        of_lines (list of str): The emissions whose lines are needed.
        lines (list of str): The ids of the lines.
    """

    def __init__(self, model: EmissionModel) -> None:
        self.grid, *_ = grids_of(model)
        self.ages = 10.0 ** np.asarray(self.grid.log10ages, np.float64)
        self.lam = np.asarray(model.lam.to_value("angstrom"), np.float64)
        self.emissions: list[str] = []
        self.of_lines: list[str] = []
        self.lines: list[str] = []
        self._root = model.label
        self._labels = tuple(ModelQueue(model).models)
        self._first, self._stop = len(self.lam), 0

    @property
    def pixels(self) -> slice | None:
        """The wavelengths that are needed; None if no spectra are."""
        return slice(self._first, self._stop) if self.emissions else None

    def check_emission(self, name: str, label: str) -> None:
        """Raise unless the emission model has an emission.

        Raises:
            MissingSpectraType: If not; the error starts with the name of the
                quantity that is measured of it.
        """
        if label not in self._labels:
            kind = name.partition("/")[0]
            raise MissingSpectraType(
                f"'{name}' is measured of the emission '{label}', which the "
                f"model lacks. Name one of its emissions, as in "
                f"'{kind}/{self._root}'; they are: "
                f"{', '.join(self._labels)}.{nearest(label, self._labels)}"
            )

    def mass_sum(self, weights: ArrayLike) -> MassSum:
        """Return a sum over masses, with weights (n_ages, n_Z) or (n_ages,).

        Weights of ages are the same for all metallicities.
        """
        weights = np.asarray(weights, np.float64)
        if weights.ndim == 1:
            weights = weights[:, None]
        return MassSum(jnp.asarray(weights, float))

    def spectrum_sum(
        self,
        label: str,
        low: float,
        high: float,
        measure: Callable[[Sed], NDArray],
    ) -> SpectrumSum:
        """Return a measure of a spectrum, linear in luminosity density.

        Args:
            label (str): The emission.
            low (float): The wavelength bluewards of which the measure does
                not depend on the spectrum, Angstrom; zero if it does.
            high (float): The same redwards.
            measure (callable): As for `linear_weights`.

        Raises:
            InconsistentArguments: If the grid does not cover the wavelengths.
        """
        inside = self._inside(low, high)
        # Integrals begin and end at the neighbours.
        first = max(inside.start - 1, 0)
        weights = linear_weights(self.lam[first : inside.stop + 1], measure)
        return self._recorded(label, first, weights)

    def window(self, label: str, low: float, high: float) -> SpectrumSum:
        """Return the mean luminosity density in a window, erg/s/Hz.

        That of Synthesizer's `Sed.measure_window_lnu`.

        Raises:
            InconsistentArguments: If the grid does not cover the window.
        """
        return self.spectrum_sum(label, low, high, window_lnu(low, high))

    def slope(self, label: str, low: float, high: float) -> Slope:
        """Return the slope of the spectrum in a window.

        Raises:
            InconsistentArguments: If the grid does not cover the window.
        """
        inside = self._inside(low, high)
        weights = slope_weights(self.lam[inside])
        return Slope(self._recorded(label, inside.start, weights))

    def index(self, label: str, windows: Sequence[float]) -> Index:
        """Return the index of a feature.

        Args:
            label (str): The emission.
            windows (sequence of float): The edges of the feature, and of the
                continua bluewards and redwards of it, Angstrom, (6,).

        Raises:
            InconsistentArguments: If the grid does not cover the windows.
        """
        inside = self._inside(*windows[:2])
        lam = self.lam[inside]
        blue, red = np.mean(windows[2:4]), np.mean(windows[4:])
        return Index(
            feature=self._recorded(
                label, inside.start, trapezoid_weights(lam)
            ),
            blue=self.window(label, *windows[2:4]),
            red=self.window(label, *windows[4:]),
            position=_plain((lam - blue) / (red - blue)),
        )

    def line_sum(self, label: str, ids: Iterable[str]) -> LineSum:
        """Return the luminosity of lines with given ids."""
        if label not in self.of_lines:
            self.of_lines.append(label)
        ids = list(ids)
        self.lines += [line for line in ids if line not in self.lines]
        return LineSum(label, tuple(self.lines.index(line) for line in ids))

    def _inside(self, low: float, high: float) -> slice:
        """Return the wavelengths strictly inside a window."""
        first = int(np.searchsorted(self.lam, low, side="right"))
        stop = int(np.searchsorted(self.lam, high, side="left"))
        covered = (not low or self.lam[0] <= low) and high <= self.lam[-1]
        if stop - first < 2 or not covered:
            raise InconsistentArguments(
                f"it needs two or more wavelengths between {low:g} and "
                f"{high:g} Angstrom, but the grid has {max(stop - first, 0)} "
                f"there, of {len(self.lam)} from {self.lam[0]:g} to "
                f"{self.lam[-1]:g} Angstrom. Use a grid that covers them."
            )
        return slice(first, stop)

    def _recorded(
        self, label: str, first: int, weights: NDArray[np.float64]
    ) -> SpectrumSum:
        """Return a sum over wavelengths, and record that it needs them."""
        if label not in self.emissions:
            self.emissions.append(label)
        self._first = min(self._first, first)
        self._stop = max(self._stop, first + len(weights))
        return SpectrumSum(_plain(weights), label, first)


def _plain(values: ArrayLike) -> Array:
    """Return an array of JAX's default floats."""
    return jnp.asarray(values, float)
