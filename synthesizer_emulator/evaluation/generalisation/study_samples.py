"""The scattered samples of a study."""

from dataclasses import dataclass, replace
from functools import partial
from typing import ClassVar, Self

import numpy as np
from numpy.typing import NDArray

from synthesizer_emulator.architectures.registry import (
    check_needs_no_nodes,
)
from synthesizer_emulator.architectures.samples import EmissionSamples
from synthesizer_emulator.building.scattered import (
    ScatteredSamples,
    open_samples,
)
from synthesizer_emulator.emulator.metrics import scored_region
from synthesizer_emulator.emulator.scaling import Coordinates
from synthesizer_emulator.evaluation.generalisation.study import Study
from synthesizer_emulator.evaluation.generalisation.study_spectra import (
    StudySpectra,
    find_regions,
    leading_components,
)
from synthesizer_emulator.evaluation.measures.subset import some_wavelengths
from synthesizer_emulator.gridfile.nodes import sample_mask


@dataclass(frozen=True)
class StudySamples(StudySpectra):
    """The spectra with emission at scattered samples, (m,), and the regions.

    No two samples are at the same point, so that none that is learned can
    be tested too.
    """

    kind: ClassVar[str] = "samples"

    @classmethod
    def from_study(cls, study: Study) -> Self:
        """Read the samples of a study, and find those of its regions.

        Raises:
            GridError: If the file is damaged, or two samples are at the same
                point.
            MissingSpectraType: If the file lacks the spectrum.
            InconsistentArguments: As in `find_regions`, or if an
                architecture needs the nodes of a grid.
        """
        for name, candidate in study.architectures.items():
            check_needs_no_nodes(
                candidate.make_architecture(),
                f"The architecture of '{name}'",
                f"the scattered samples of '{study.grid.name}'",
            )
        file = open_samples(study.grid)
        labels = file.parameters
        source = ScatteredSamples.of_files(
            [file],
            # The nodes of the grid that `build` makes; here there is none.
            {label.name: 2 for label in labels},
            (study.spectrum,),
        )
        points, spectra = source.truth(f"spectra/{study.spectrum}", None)
        axes = tuple(
            replace(label, values=values)
            for label, values in zip(labels, points.T, strict=True)
        )
        columns = some_wavelengths(
            scored_region(source.header.lam_angstrom), study.wavelengths
        )
        values = spectra[:, columns]
        has_emission = values.max(axis=-1) > 0
        training, test = find_regions(
            study, partial(sample_mask, axes), has_emission, cls.kind
        )
        return cls(
            axes=axes,
            points=Coordinates(source.domain).scale_points(points),
            values=values,
            has_emission=has_emission,
            basis=leading_components(values, has_emission),
            training=training,
            test=test,
        )

    def samples(
        self, mask: NDArray[np.bool_], softening: float
    ) -> EmissionSamples:
        """Return the samples in a mask (m,) as a training set."""
        return as_training_set(self.points[mask], self.values[mask], softening)


def as_training_set(
    points: NDArray[np.float64],
    spectra: NDArray[np.float64],
    softening: float,
) -> EmissionSamples:
    """Return spectra (m, n) at coordinates (m, d) as a training set.

    The emulated grid has only the corners of the domain.
    """
    return EmissionSamples.from_points(
        (np.array([-1.0, 1.0]),) * points.shape[1],
        None,
        points,
        spectra,
        np.ones(spectra.shape[1]),
        softening,
    )
