"""The grid of a study: spectra at its nodes."""

from dataclasses import dataclass, replace
from functools import partial
from typing import ClassVar, Self

import numpy as np
from numpy.typing import NDArray
from synthesizer.exceptions import MissingSpectraType

from synthesizer_emulator.architectures.samples import EmissionSamples
from synthesizer_emulator.emulator.metrics import scored_region
from synthesizer_emulator.emulator.scaling import AxisDomain, Coordinates
from synthesizer_emulator.evaluation.generalisation.study import Study
from synthesizer_emulator.evaluation.generalisation.study_spectra import (
    StudySpectra,
    find_regions,
    leading_components,
)
from synthesizer_emulator.evaluation.measures.subset import some_wavelengths
from synthesizer_emulator.gridfile.native import NativeGrid
from synthesizer_emulator.gridfile.nodes import node_mesh, region_mask
from synthesizer_emulator.validation import nearest


@dataclass(frozen=True)
class StudyGrid(StudySpectra):
    """The spectra at the nodes of a grid, (n1, ..., nd), and the regions.

    Attributes:
        nodes (tuple of np.ndarray): The coordinates of the nodes along each
            axis, scaled as inputs of the networks.
    """

    nodes: tuple[NDArray[np.float64], ...]

    kind: ClassVar[str] = "nodes"

    @classmethod
    def from_study(cls, study: Study) -> Self:
        """Read the grid of a study, and find the nodes of its regions.

        Raises:
            GridError: If the grid is damaged.
            MissingSpectraType: If the grid lacks the spectrum.
            InconsistentArguments: As in `find_regions`.
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
        training, test = find_regions(
            study, partial(region_mask, header.axes), has_emission, cls.kind
        )
        domain = tuple(AxisDomain.from_axis(axis) for axis in header.axes)
        nodes = Coordinates(domain).scale_nodes(header.axes)
        return cls(
            axes=header.axes,
            points=node_mesh(nodes),
            values=values,
            has_emission=has_emission,
            basis=leading_components(values, has_emission),
            training=training,
            test=test,
            nodes=nodes,
        )

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
