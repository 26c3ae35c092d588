"""The fluxes of one emission at samples, scaled for training."""

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
    """The scaled log fluxes of one emission at m samples.

    The samples are the nodes of a grid, or points anywhere in its domain.
    Coordinates are between -1 and 1 along each axis.

    Attributes:
        nodes (tuple of np.ndarray): The coordinates of the grid's nodes
            along each axis.
        has_emission (np.ndarray of bool): A mask of the nodes with emission,
            (n1, ..., nd).
        sampled (np.ndarray of bool): A mask of the nodes that are samples,
            (n1, ..., nd); None if the samples are not nodes.
        points (np.ndarray of float): The coordinates of each sample, (m, d).
        support (np.ndarray of bool): A mask of the wavelengths with emission
            in any sample, (n,).
        weights (np.ndarray of float): The weight of an error at each
            wavelength, (n,).
        log_norm (np.ndarray of float): The ln of the maximum flux of each
            sample, (m,).
        y (np.ndarray of float): The soft-log fluxes, (m, n).
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
        """Scale fluxes at the nodes of a grid.

        Args:
            nodes (tuple of np.ndarray): The coordinates along each axis.
            values (np.ndarray of float): The fluxes, finite and not
                negative, (n1, ..., nd, n).
            weights (np.ndarray of float): The weight of an error at each
                wavelength, positive, (n,).
            softening (float): The softening of the logarithm.

        Returns:
            EmissionSamples: The samples, which are the nodes with emission.
        """
        has_emission = values.max(axis=-1) > 0
        sampled = _with_emission_or_first(has_emission)
        return cls._from_arrays(
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
        """Scale fluxes at points that are not the nodes of a grid.

        Args:
            nodes (tuple of np.ndarray): The coordinates along each axis of
                the emulated grid.
            has_emission (np.ndarray of bool): A mask of its nodes with
                emission; by default from the nearest sample of each node.
            points (np.ndarray of float): The coordinates of the samples,
                (m, d).
            values (np.ndarray of float): The fluxes, finite and not
                negative, (m, n).
            weights (np.ndarray of float): As for `from_values`.
            softening (float): As for `from_values`.

        Returns:
            EmissionSamples: The samples with emission.
        """
        emits = values.max(axis=-1) > 0
        if has_emission is None:
            _, nearest = KDTree(points).query(node_mesh(nodes))
            has_emission = emits[nearest]
        kept = _with_emission_or_first(emits)
        return cls._from_arrays(
            nodes,
            has_emission,
            None,
            points[kept],
            values[kept],
            weights,
            softening,
        )

    @classmethod
    def _from_arrays(
        cls,
        nodes: tuple[NDArray[np.float64], ...],
        has_emission: NDArray[np.bool_],
        sampled: NDArray[np.bool_] | None,
        points: NDArray[np.float64],
        values: NDArray[np.float64],
        weights: NDArray[np.float64],
        softening: float,
    ) -> Self:
        """Scale fluxes (m, n) at points (m, d)."""
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
        """The coordinates of all nodes, (n1, ..., nd, d)."""
        return node_mesh(self.nodes)

    @property
    def shape(self) -> tuple[int, ...]:
        """The shape of the grid."""
        return self.has_emission.shape

    def emission_table(self) -> LinearTable:
        """Return a table with one at nodes with emission, zero at others."""
        return LinearTable(
            self.nodes, self.has_emission[..., None].astype(np.float32)
        )

    def at_all_nodes(self, values: NDArray[np.float64]) -> NDArray[np.float64]:
        """Extend values at the samples to all nodes of the grid.

        Nodes without emission have the values of the nearest sample, which
        keeps tables smooth.

        Args:
            values (np.ndarray of float): Values at the samples, (m, k).

        Returns:
            np.ndarray of float: Values at all nodes, (n1, ..., nd, k).

        Raises:
            InconsistentArguments: If the samples are not nodes.
        """
        if self.sampled is None:
            raise InconsistentArguments(
                "The samples must be nodes of the grid, got other points. Use "
                "EmissionSamples.from_values."
            )
        full = np.zeros((*self.sampled.shape, values.shape[-1]))
        full[self.sampled] = values
        nearest = distance_transform_edt(
            ~self.sampled, return_distances=False, return_indices=True
        )
        return full[tuple(nearest)]


def _with_emission_or_first(emits: NDArray[np.bool_]) -> NDArray[np.bool_]:
    """Return a mask of samples with emission, or of the first without any."""
    if emits.any():
        return emits
    first = np.zeros_like(emits)
    first.flat[0] = True
    return first
