"""The spectra of a study: their regions, and errors of emulated spectra.

They are at the nodes of a grid (`StudyGrid`) or at scattered samples
(`StudySamples`), which differ in the shape of arrays: (n1, ..., nd) or (m,).
"""

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import ClassVar

import jax.numpy as jnp
import numpy as np
from numpy.typing import NDArray
from synthesizer.exceptions import InconsistentArguments

from synthesizer_emulator.architectures.base import evaluate_points
from synthesizer_emulator.architectures.basis import (
    LinearBasis,
    principal_components,
)
from synthesizer_emulator.architectures.samples import EmissionSamples
from synthesizer_emulator.emulator.emission import EmissionEmulator
from synthesizer_emulator.emulator.metrics import (
    SCORED_FLOOR,
    fractional_residuals,
    mean_errors,
)
from synthesizer_emulator.evaluation.generalisation.study import Study
from synthesizer_emulator.gridfile.header import Axis
from synthesizer_emulator.gridfile.nodes import Block

# The error of ln flux is split into the mean over wavelengths, the first
# principal components of all spectra, and the remainder.
_COMPONENTS = 3
BRIGHTNESS, REST = "brightness", "rest"

# Emulated fluxes are clipped to this multiple of the native peak.
_CEILING = 1e8

# A training region has at least this many spectra.
_LEAST = 2


@dataclass(frozen=True)
class StudySpectra(ABC):
    """The spectra and the regions of a study.

    Attributes:
        axes (tuple of Axis): The axes, with their nodes, or the labels, with
            their values at the samples.
        points (np.ndarray of float): The coordinates, scaled as inputs of
            the networks, (..., d).
        values (np.ndarray of float): The spectra at the wavelengths of the
            study, (..., k).
        has_emission (np.ndarray of bool): Mask of those with emission,
            (...).
        basis (LinearBasis): The principal components of ln flux minus its
            mean over wavelengths.
        training (dict): The mask of each training region, (...).
        test (dict): The mask of each test region, (...).
        kind (str): What the spectra are at: `nodes` or `samples`.
    """

    axes: tuple[Axis, ...]
    points: NDArray[np.float64]
    values: NDArray[np.float64]
    has_emission: NDArray[np.bool_]
    basis: LinearBasis
    training: dict[str, NDArray[np.bool_]]
    test: dict[str, NDArray[np.bool_]]

    kind: ClassVar[str]

    @abstractmethod
    def samples(
        self, mask: NDArray[np.bool_], softening: float
    ) -> EmissionSamples:
        """Return the spectra in a mask (...) as a training set."""

    def emulated(self, emulator: EmissionEmulator) -> NDArray[np.float64]:
        """Return the spectra of an emulator at all points, (..., k)."""
        points = jnp.asarray(self.points.reshape(-1, self.points.shape[-1]))
        flux = np.asarray(evaluate_points(emulator, points), np.float64)
        return flux.reshape(self.values.shape)

    def errors(
        self, flux: NDArray[np.float64]
    ) -> tuple[NDArray[np.float64], dict[str, NDArray[np.float64]]]:
        """Return the errors of emulated spectra at all points.

        Args:
            flux (np.ndarray of float): The emulated spectra, (..., k).

        Returns:
            tuple: The mean absolute fractional error of each spectrum; and
                for each component of the error of ln flux the root mean
                square over wavelengths. All are (...), and NaN where there
                is no emission.
        """
        means = mean_errors(fractional_residuals(flux, self.values))
        true = self.values[self.has_emission]
        error = _soft_log(flux[self.has_emission], true)
        error -= _soft_log(true, true)
        coefficients = error @ self.basis.components.T
        squares = {BRIGHTNESS: error.mean(axis=-1) ** 2}
        for i, coefficient in enumerate(coefficients.T):
            squares[f"component {i + 1}"] = coefficient**2 / error.shape[1]
        rest = (error**2).mean(axis=-1) - sum(squares.values())
        squares[REST] = np.maximum(rest, 0.0)
        parts = {}
        for name, square in squares.items():
            parts[name] = np.full(self.has_emission.shape, np.nan)
            parts[name][self.has_emission] = np.sqrt(square)
        return means, parts


def find_regions(
    study: Study,
    mask_of: Callable[[Sequence[Block]], NDArray[np.bool_]],
    has_emission: NDArray[np.bool_],
    kind: str,
) -> tuple[dict[str, NDArray[np.bool_]], dict[str, NDArray[np.bool_]]]:
    """Return the masks of the training and of the test regions of a study.

    Args:
        study (Study): The study.
        mask_of (callable): The mask of blocks, (...).
        has_emission (np.ndarray of bool): Mask of what has emission, (...).
        kind (str): What regions consist of: `nodes` or `samples`.

    Raises:
        InconsistentArguments: If an axis or value of a block does not exist,
            a training region has fewer than two nodes or samples with
            emission, or a test region has none.
    """

    def masks(
        regions: Mapping[str, tuple[Block, ...]], title: str, least: int
    ) -> dict[str, NDArray[np.bool_]]:
        found = {}
        for name, blocks in regions.items():
            found[name] = mask_of(blocks) & has_emission
            n = np.count_nonzero(found[name])
            if n < least:
                few = ("one", "two")[least - 1]
                raise InconsistentArguments(
                    f"The {title} region '{name}' must have at least {few} "
                    f"{kind if least > 1 else kind.removesuffix('s')} with "
                    f"emission, got {n}. Enlarge the region."
                )
        return found

    return (
        masks(study.training, "training", _LEAST),
        masks(study.test, "test", 1),
    )


def leading_components(
    values: NDArray[np.float64], has_emission: NDArray[np.bool_]
) -> LinearBasis:
    """Return the components of ln flux (..., k) minus its mean."""
    y = _soft_log(values[has_emission], values[has_emission])
    y -= y.mean(axis=-1, keepdims=True)
    return principal_components(y, np.ones(y.shape[1]), _COMPONENTS, 0.0)


def draw_part(
    mask: NDArray[np.bool_], fraction: float, seed: int
) -> NDArray[np.bool_]:
    """Draw a fraction of what is in a mask (...), at least two."""
    inside = np.flatnonzero(mask)
    n = min(len(inside), max(_LEAST, round(fraction * len(inside))))
    drawn = np.zeros(mask.shape, bool)
    rng = np.random.default_rng(seed)
    drawn.flat[rng.permutation(inside)[:n]] = True
    return drawn


def _soft_log(
    flux: NDArray[np.float64], true: NDArray[np.float64]
) -> NDArray[np.float64]:
    """Return ln(flux / peak of true + floor), finite for zero flux."""
    relative = flux / true.max(axis=-1, keepdims=True)
    bounded = np.nan_to_num(relative, nan=_CEILING).clip(0.0, _CEILING)
    return np.log(bounded + SCORED_FLOOR)
