"""Photometry as the input of a network: scaled, decorrelated and masked."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from synthesizer_emulator.inference.amortised.noise import Observations

# Principal components with a smaller variance are constant, not an input.
_SMALLEST = 1e-6

# The smallest standard deviation of a component in the distance from the
# training set, so that errors that were constant may differ a little.
_TOLERATED = 0.05

# The share of the training set that is inside.
_INSIDE = 0.999


@dataclass(frozen=True, eq=False)
class Scaling:
    """The map from photometry to the inputs of a network.

    The scaled values of a band are the inverse hyperbolic sine of the flux
    density in units of the median error of the training set (Lupton, Gunn &
    Szalay 1999, AJ 118, 1406), linear for faint and logarithmic for bright
    galaxies, and the logarithm of the error in these units. Missing ones are
    replaced by their mean. The inputs are the principal components of these
    values, with unit variance, and whether a band is missing or a limit, if
    this differs between galaxies.

    Attributes:
        softening (np.ndarray of float): The unit of each band, nJy,
            (n_bands,).
        mean (np.ndarray of float): The mean of the scaled values,
            (2 n_bands,).
        axes (np.ndarray of float): The principal axes, (2 n_bands,
            2 n_bands), in columns.
        variances (np.ndarray of float): The variances along them,
            (2 n_bands,).
        states (np.ndarray of bool): Whether bands of the training set were
            measured, limits, and missing, (3, n_bands).
        radius (float): The distance from the mean within which 99.9% of the
            training set are.
    """

    softening: NDArray[np.float64]
    mean: NDArray[np.float64]
    axes: NDArray[np.float64]
    variances: NDArray[np.float64]
    states: NDArray[np.bool_]
    radius: float

    def __post_init__(self) -> None:
        """Raise `ValueError` unless the shapes agree."""
        n = len(self.softening)
        shapes = {
            "softening": (n,),
            "mean": (2 * n,),
            "axes": (2 * n, 2 * n),
            "variances": (2 * n,),
            "states": (3, n),
        }
        for name, shape in shapes.items():
            if getattr(self, name).shape != shape:
                raise ValueError(
                    f"'{name}' of a scaling must have shape {shape}, got "
                    f"{getattr(self, name).shape}"
                )

    @classmethod
    def from_training(cls, seen: Observations) -> "Scaling":
        """Return the scaling for a training set."""
        states = np.stack([state.any(axis=0) for state in _states(seen)])
        errors = np.where(seen.is_observed, seen.error, np.nan)
        # Bands that are always missing have no unit.
        errors[:, ~(states[0] | states[1])] = 1.0
        softening = np.nanmedian(errors, axis=0)
        values = _scaled(seen, softening)
        present = np.tile(seen.is_observed, 2)
        count = np.maximum(present.sum(axis=0), 1)
        mean = np.where(present, values, 0.0).sum(axis=0) / count
        centred = np.where(present, values - mean, 0.0)
        covariance = centred.T @ centred / len(centred)
        variances, axes = np.linalg.eigh(covariance)
        scaling = cls(
            softening, mean, axes, np.maximum(variances, 0.0), states, np.inf
        )
        radius = float(np.quantile(scaling.distance(seen), _INSIDE))
        return cls(softening, mean, axes, scaling.variances, states, radius)

    @property
    def size(self) -> int:
        """The number of inputs of the network."""
        return int(self._varies.sum() + self._masked.sum())

    def inputs(self, seen: Observations) -> NDArray[np.float64]:
        """Return the inputs of the network, (n, size)."""
        components = self._components(seen)[:, self._varies]
        masks = np.stack(_states(seen)[1:], axis=1)
        return np.concatenate(
            [
                components / np.sqrt(self.variances[self._varies]),
                masks[:, self._masked],
            ],
            axis=1,
        )

    def distance(self, seen: Observations) -> NDArray[np.float64]:
        """Return the Mahalanobis distances from the training set, (n,)."""
        variances = np.maximum(self.variances, _TOLERATED**2)
        return np.sqrt(
            np.square(self._components(seen) / np.sqrt(variances)).sum(axis=1)
        )

    def unseen(self, seen: Observations) -> NDArray[np.bool_]:
        """Return which states of bands were not in the training set.

        Args:
            seen (Observations): One galaxy.

        Returns:
            np.ndarray of bool: Whether each band is measured, a limit, or
                missing, and never was so in the training set, (3, n_bands).
        """
        return np.concatenate(_states(seen)) & ~self.states

    @property
    def _varies(self) -> NDArray[np.bool_]:
        """The principal components that are inputs, (2 n_bands,)."""
        return self.variances > _SMALLEST

    @property
    def _masked(self) -> NDArray[np.bool_]:
        """The limits and the missing bands that are inputs, (2, n_bands)."""
        varies = self.states.sum(axis=0) > 1
        return self.states[1:] & varies

    def _components(self, seen: Observations) -> NDArray[np.float64]:
        """Return the principal components, (n, 2 n_bands)."""
        centred = _scaled(seen, self.softening) - self.mean
        present = np.tile(seen.is_observed, 2)
        return np.where(present, centred, 0.0) @ self.axes


def _scaled(
    seen: Observations, softening: NDArray[np.float64]
) -> NDArray[np.float64]:
    """Return scaled flux densities and errors, (n, 2 n_bands)."""
    return np.concatenate(
        [
            np.arcsinh(seen.flux / softening),
            np.log(seen.error / softening),
        ],
        axis=1,
    )


def _states(seen: Observations) -> list[NDArray[np.bool_]]:
    """Return whether bands are measured, limits, and missing."""
    return [
        seen.is_observed & ~seen.is_limit,
        seen.is_limit,
        ~seen.is_observed,
    ]
