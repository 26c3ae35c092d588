"""The grid of a study: spectra, regions, and errors at the nodes."""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Self

import numpy as np
from numpy.typing import NDArray
from synthesizer.exceptions import InconsistentArguments, MissingSpectraType

from synthesizer_emulator.architectures.basis import (
    LinearBasis,
    principal_components,
)
from synthesizer_emulator.architectures.samples import EmissionSamples
from synthesizer_emulator.emulator.metrics import (
    SCORED_FLOOR,
    fractional_residuals,
    mean_errors,
    scored_region,
)
from synthesizer_emulator.emulator.scaling import AxisDomain, Coordinates
from synthesizer_emulator.evaluation.generalisation.study import Study
from synthesizer_emulator.evaluation.measures.subset import some_wavelengths
from synthesizer_emulator.gridfile.header import Axis
from synthesizer_emulator.gridfile.native import NativeGrid
from synthesizer_emulator.gridfile.nodes import Block, region_mask
from synthesizer_emulator.validation import nearest

# The error of ln flux is split into the mean over wavelengths, the first
# principal components of all spectra, and the remainder.
_COMPONENTS = 3
BRIGHTNESS, REST = "brightness", "rest"

# Emulated fluxes are clipped to this multiple of the native peak.
_CEILING = 1e8


@dataclass(frozen=True)
class StudyGrid:
    """The spectra and the regions of the grid of a study.

    Attributes:
        axes (tuple of Axis): The axes.
        nodes (tuple of np.ndarray): The coordinates of the nodes along each
            axis, scaled as inputs of the networks.
        values (np.ndarray of float): The spectra at the wavelengths of the
            study, (n1, ..., nd, k).
        has_emission (np.ndarray of bool): Mask of the nodes with emission,
            (n1, ..., nd).
        basis (LinearBasis): The principal components of ln flux minus its
            mean over wavelengths.
        training (dict): The mask of each training region.
        test (dict): The mask of each test region.
    """

    axes: tuple[Axis, ...]
    nodes: tuple[NDArray[np.float64], ...]
    values: NDArray[np.float64]
    has_emission: NDArray[np.bool_]
    basis: LinearBasis
    training: dict[str, NDArray[np.bool_]]
    test: dict[str, NDArray[np.bool_]]

    @classmethod
    def from_study(cls, study: Study) -> Self:
        """Read the grid of a study, and find the nodes of its regions.

        Raises:
            GridError: If the grid is damaged.
            MissingSpectraType: If the grid lacks the spectrum.
            InconsistentArguments: If the grid lacks an axis or node of a
                region, or a training region has fewer than two nodes with
                emission.
        """
        native = NativeGrid.open(study.grid)
        header = native.header
        if study.spectrum not in header.spectra_units:
            raise MissingSpectraType(
                f"'{study.grid}' has no spectrum '{study.spectrum}'; it has "
                f"{', '.join(header.spectra_units)}."
                + nearest(study.spectrum, header.spectra_units)
            )
        columns = some_wavelengths(
            scored_region(header.lam_angstrom), study.wavelengths
        )
        emission = f"spectra/{study.spectrum}"
        values = np.concatenate(
            [block[..., columns] for _, block in native.read_blocks(emission)]
        )
        has_emission = values.max(axis=-1) > 0
        y = _soft_log(values[has_emission], values[has_emission])
        y -= y.mean(axis=-1, keepdims=True)

        def masks(
            regions: Mapping[str, tuple[Block, ...]],
        ) -> dict[str, NDArray[np.bool_]]:
            return {
                name: region_mask(header.axes, blocks) & has_emission
                for name, blocks in regions.items()
            }

        domain = tuple(AxisDomain.from_axis(axis) for axis in header.axes)
        grid = cls(
            axes=header.axes,
            nodes=Coordinates(domain).scale_nodes(header.axes),
            values=values,
            has_emission=has_emission,
            basis=principal_components(
                y, np.ones(y.shape[1]), _COMPONENTS, 0.0
            ),
            training=masks(study.training),
            test=masks(study.test),
        )
        for name, mask in grid.training.items():
            if np.count_nonzero(mask) < 2:
                raise InconsistentArguments(
                    f"The training region '{name}' must have at least two "
                    f"nodes with emission, got {np.count_nonzero(mask)}. "
                    "Enlarge the region."
                )
        return grid

    def samples(
        self, mask: NDArray[np.bool_], softening: float
    ) -> EmissionSamples:
        """Return the nodes in a mask (n1, ..., nd) as a training set.

        Its grid is the smallest that contains them, so that architectures
        with a table at the nodes have no entries for other nodes.
        """
        indices = enclosing_grid(mask)
        samples = EmissionSamples.from_values(
            tuple(n[i] for n, i in zip(self.nodes, indices, strict=True)),
            self.values[np.ix_(*indices)],
            np.ones(self.values.shape[-1]),
            softening,
        )
        sampled = mask[np.ix_(*indices)]
        kept = sampled[samples.sampled]
        return replace(
            samples,
            sampled=sampled,
            points=samples.points[kept],
            log_norm=samples.log_norm[kept],
            y=samples.y[kept],
        )

    def errors(
        self, flux: NDArray[np.float64]
    ) -> tuple[NDArray[np.float64], dict[str, NDArray[np.float64]]]:
        """Return the errors of emulated spectra at all nodes.

        Args:
            flux (np.ndarray of float): The emulated spectra,
                (n1, ..., nd, k).

        Returns:
            tuple: The mean absolute fractional error of each spectrum; and
                for each component of the error of ln flux the root mean
                square over wavelengths. All are (n1, ..., nd), and NaN at
                nodes without emission.
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


def draw_nodes(
    mask: NDArray[np.bool_], fraction: float, seed: int
) -> NDArray[np.bool_]:
    """Draw a fraction of the nodes in a mask (n1, ..., nd), at least two."""
    nodes = np.flatnonzero(mask)
    n = min(len(nodes), max(2, round(fraction * len(nodes))))
    drawn = np.zeros(mask.shape, bool)
    rng = np.random.default_rng(seed)
    drawn.flat[rng.permutation(nodes)[:n]] = True
    return drawn


def enclosing_grid(mask: NDArray[np.bool_]) -> list[NDArray[np.intp]]:
    """Return the indices along each axis of the smallest enclosing grid.

    It contains all nodes in a mask (n1, ..., nd), and at least two nodes
    along each axis.
    """
    indices = []
    for i, n in enumerate(mask.shape):
        others = tuple(k for k in range(mask.ndim) if k != i)
        nodes = np.flatnonzero(mask.any(axis=others))
        if len(nodes) == 1:
            neighbour = nodes[0] + (1 if nodes[0] + 1 < n else -1)
            nodes = np.sort(np.append(nodes, neighbour))
        indices.append(nodes)
    return indices


def _soft_log(
    flux: NDArray[np.float64], true: NDArray[np.float64]
) -> NDArray[np.float64]:
    """Return ln(flux / peak of true + floor), finite for zero flux."""
    relative = flux / true.max(axis=-1, keepdims=True)
    bounded = np.nan_to_num(relative, nan=_CEILING).clip(0.0, _CEILING)
    return np.log(bounded + SCORED_FLOOR)
