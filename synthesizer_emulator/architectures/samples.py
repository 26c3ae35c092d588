"""The values of one emission at its samples, prepared for fitting."""

from dataclasses import dataclass
from typing import Self

import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import distance_transform_edt
from scipy.spatial import KDTree
from synthesizer.exceptions import InconsistentArguments

from synthesizer_emulator.emulator.scaling import SoftLog
from synthesizer_emulator.emulator.tables import LinearTable
from synthesizer_emulator.gridfile.nodes import node_mesh


@dataclass(frozen=True)
class EmissionSamples:
    """One emission at m samples, prepared for fitting.

    The samples are the nodes of a grid, or lie anywhere in its domain.

    Attributes:
        nodes (tuple of np.ndarray): The coordinates of the grid's nodes
            along each axis.
        has_emission (np.ndarray of bool): Which nodes have emission, shape
            of the grid.
        sampled (np.ndarray of bool): Which nodes are the samples, shape of
            the grid; None if the samples are no nodes.
        points (np.ndarray of float): The coordinates of each sample, (m, d).
        support (np.ndarray of bool): Which wavelengths ever emit, (n,).
        weights (np.ndarray of float): What an error at each wavelength
            weighs, (n,).
        log_norm (np.ndarray of float): ln of the brightest value of each
            sample, (m,).
        y (np.ndarray of float): Soft-log flux there, (m, n).
        soft_log (SoftLog): The flux transform.
    """

    nodes: tuple[NDArray[np.float64], ...]
    has_emission: NDArray[np.bool_]
    sampled: NDArray[np.bool_] | None
    points: NDArray[np.float64]
    support: NDArray[np.bool_]
    weights: NDArray[np.float64]
    log_norm: NDArray[np.float64]
    y: NDArray[np.float64]
    soft_log: SoftLog

    @classmethod
    def from_values(
        cls,
        nodes: tuple[NDArray[np.float64], ...],
        values: NDArray[np.float64],
        weights: NDArray[np.float64],
        softening: float,
    ) -> Self:
        """Prepare the values of one emission at the nodes of a grid.

        Args:
            nodes (tuple of np.ndarray): The coordinates along each axis.
            values (np.ndarray of float): Shape (n1, ..., nd, n), finite and
                not negative.
            weights (np.ndarray of float): What an error at each wavelength
                weighs, positive, (n,).
            softening (float): The softening of the logarithm.

        Returns:
            EmissionSamples: What an architecture fits.
        """
        has_emission = values.max(axis=-1) > 0
        sampled = _some(has_emission)
        return cls._of_points(
            nodes,
            has_emission,
            sampled,
            node_mesh(nodes)[sampled],
            values[sampled],
            weights,
            softening,
        )

    @classmethod
    def from_points(
        cls,
        nodes: tuple[NDArray[np.float64], ...],
        has_emission: NDArray[np.bool_] | None,
        points: NDArray[np.float64],
        values: NDArray[np.float64],
        weights: NDArray[np.float64],
        softening: float,
    ) -> Self:
        """Prepare the values of one emission at points of no grid.

        Args:
            nodes (tuple of np.ndarray): The coordinates along each axis of
                the grid that shall be.
            has_emission (np.ndarray of bool): Which of its nodes have
                emission; by default those whose nearest sample has.
            points (np.ndarray of float): The coordinates of the samples,
                (m, d).
            values (np.ndarray of float): Shape (m, n), finite and not
                negative.
            weights (np.ndarray of float): As for `of_values`.
            softening (float): As for `of_values`.

        Returns:
            EmissionSamples: What an architecture fits.
        """
        emits = values.max(axis=-1) > 0
        if has_emission is None:
            _, nearest = KDTree(points).query(node_mesh(nodes))
            has_emission = emits[nearest]
        kept = _some(emits)
        return cls._of_points(
            nodes,
            has_emission,
            None,
            points[kept],
            values[kept],
            weights,
            softening,
        )

    @classmethod
    def _of_points(
        cls,
        nodes: tuple[NDArray[np.float64], ...],
        has_emission: NDArray[np.bool_],
        sampled: NDArray[np.bool_] | None,
        points: NDArray[np.float64],
        values: NDArray[np.float64],
        weights: NDArray[np.float64],
        softening: float,
    ) -> Self:
        """Prepare values (m, n) at points (m, d)."""
        soft_log = SoftLog(softening)
        norm = values.max(axis=-1)
        norm = np.where(norm > 0, norm, 1.0)
        return cls(
            nodes=nodes,
            has_emission=has_emission,
            sampled=sampled,
            points=points,
            support=np.asarray((values > 0).any(axis=0)),
            weights=weights,
            log_norm=np.log(norm),
            y=soft_log.forward(values, norm),
            soft_log=soft_log,
        )

    @property
    def mesh(self) -> NDArray[np.float64]:
        """The coordinates of every node, (n1, ..., nd, d)."""
        return node_mesh(self.nodes)

    @property
    def shape(self) -> tuple[int, ...]:
        """The shape of the grid."""
        return self.has_emission.shape

    def emission_table(self) -> LinearTable:
        """Return the table that is one where there is emission."""
        return LinearTable(
            self.nodes, self.has_emission[..., None].astype(np.float32)
        )

    def at_all_nodes(self, values: NDArray[np.float64]) -> NDArray[np.float64]:
        """Return values (m, k), given at the samples, at all nodes.

        Nodes without emission take the values of the nearest sample, so
        that tables run on smoothly: shape (n1, ..., nd, k).

        Raises:
            InconsistentArguments: If the samples are no nodes.
        """
        if self.sampled is None:
            raise InconsistentArguments(
                "These samples are not the nodes of a grid."
            )
        full = np.zeros((*self.sampled.shape, values.shape[-1]))
        full[self.sampled] = values
        nearest = distance_transform_edt(
            ~self.sampled, return_distances=False, return_indices=True
        )
        return full[tuple(nearest)]


def _some(has_emission: NDArray[np.bool_]) -> NDArray[np.bool_]:
    """Return the samples to fit: those with emission, or the first."""
    if has_emission.any():
        return has_emission
    first = np.zeros_like(has_emission)
    first.flat[0] = True
    return first
