"""The error, the size and the time of an emulator with given settings."""

import time
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray
from synthesizer.exceptions import InconsistentArguments

from synthesizer_emulator.architectures.base import Architecture
from synthesizer_emulator.architectures.samples import EmissionSamples
from synthesizer_emulator.architectures.training import (
    Diverged,
    LossHistory,
    Monitor,
    TrainingConfig,
)
from synthesizer_emulator.emulator.emission import EmissionEmulator
from synthesizer_emulator.emulator.metrics import (
    SCORED_FLOOR,
    SCORED_LINE_FLOOR,
    ErrorSummary,
    scored_region,
    summarise_errors,
)
from synthesizer_emulator.emulator.scaling import Coordinates
from synthesizer_emulator.evaluation.generalisation.trajectory import (
    FinishedTraining,
    NetworkRecorder,
    look_epochs,
)
from synthesizer_emulator.gridfile.emissions import LINES
from synthesizer_emulator.tuning.division import Division
from synthesizer_emulator.weights.points import CHUNK_SIZE, fluxes_at
from synthesizer_emulator.weights.tensors import tensors_of

# The number of times that an error is reported during a training. The last
# would be at its end, where it is measured anyway.
LOOKS = 8

_REPEATS = 3

# A function of the step and the error, called during a training. It raises to
# end it.
Report = Callable[[int, float], None]


@dataclass(frozen=True)
class Measured:
    """What was measured of an emulator.

    Attributes:
        errors (dict): The errors at the samples to compare at, by emission.
        megabytes (float): The size of all tensors.
        milliseconds (float): The time to evaluate all emissions at a point,
            in a batch of 256.
    """

    errors: dict[str, ErrorSummary]
    megabytes: float
    milliseconds: float

    def error(self, measure: str) -> float:
        """Return the error of the emission that is emulated worst.

        Args:
            measure (str): A field of `ErrorSummary`.
        """
        return max(getattr(e, measure) for e in self.errors.values())


@dataclass(frozen=True)
class Candidates:
    """A division of samples, on which emulators are trained and measured.

    Attributes:
        division (Division): The samples to train on and to compare at.
        measure (str): The field of `ErrorSummary` that is reported.
    """

    division: Division
    measure: str
    _samples: dict[tuple[str, float], EmissionSamples] = field(
        default_factory=dict, repr=False
    )
    _truth: dict[str, tuple[NDArray, NDArray]] = field(
        default_factory=dict, repr=False
    )

    def measured(
        self,
        architecture: Architecture,
        config: TrainingConfig,
        report: Report | None = None,
    ) -> Measured:
        """Train an emulator of every emission, and measure it.

        Args:
            architecture (Architecture): The architecture with its settings.
            config (TrainingConfig): The settings of the training. Its seed
                and validation fraction must be the same in all calls.
            report (callable): As for `Report`.

        Returns:
            Measured: The errors, the size and the time.

        Raises:
            Diverged: If a loss or an error is not finite.
            InconsistentArguments: If there is nothing to compare at.
        """
        errors: dict[str, ErrorSummary] = {}
        nbytes, seconds = 0, 0.0
        for i, emission in enumerate(self.division.source.emissions):
            samples = self._read(emission, architecture.softening)
            monitor: Monitor = NetworkRecorder(set())
            if report is not None:
                so_far = [getattr(e, self.measure) for e in errors.values()]
                monitor = Looking(
                    look_epochs(config, LOOKS),
                    self._look(
                        report,
                        i * LOOKS,
                        so_far,
                        emission,
                        architecture,
                        config,
                    ),
                )
            emulator = architecture.fit(samples, config, monitor).emulator
            summary = self._errors(emission, emulator, config)
            if summary is not None:
                errors[emission] = summary
            nbytes += sum(t.nbytes for t in tensors_of(emulator).values())
            seconds += self._time(emission, emulator)
        if not errors:
            raise InconsistentArguments(
                "The validation has no emission to compare at: none of "
                f"{', '.join(self.division.source.emissions)} depends on the "
                "axes of the nodes that were left out. Leave out others."
            )
        return Measured(errors, nbytes / 1e6, 1e3 * seconds)

    def _look(
        self,
        report: Report,
        first: int,
        so_far: list[float],
        emission: str,
        architecture: Architecture,
        config: TrainingConfig,
    ) -> Callable[[int, dict[str, Any]], None]:
        """Return a function that reports the error of networks in training.

        The error is measured as at the end, of an emulator that is assembled
        from the networks. The losses of trials with other components or codes
        could not be compared.
        """
        samples = self._read(emission, architecture.softening)
        alone = replace(architecture, ensemble=1)  # type: ignore[type-var]

        def look(step: int, networks: dict[str, Any]) -> None:
            finished = FinishedTraining(networks, config.epochs)
            emulator = alone.fit(samples, config, finished).emulator
            summary = self._errors(emission, emulator, config)
            if summary is not None:
                error = getattr(summary, self.measure)
                report(first + step, max([error, *so_far]))

        return look

    def _read(self, emission: str, softening: float) -> EmissionSamples:
        """Read the training samples of an emission, once."""
        key = emission, softening
        if key not in self._samples:
            self._samples[key] = self.division.source.samples(*key)
        return self._samples[key]

    def _errors(
        self,
        emission: str,
        emulator: EmissionEmulator,
        config: TrainingConfig,
    ) -> ErrorSummary | None:
        """Compare an emulator with the truth; None without any."""
        if emission not in self._truth:
            self._truth[emission] = self.division.truth(emission, config)
        points, true = self._truth[emission]
        if not len(points):
            return None
        lines = emission.startswith(f"{LINES}/")
        floor = SCORED_LINE_FLOOR if lines else SCORED_FLOOR
        scored = slice(None)
        if not lines:
            lam = self.division.source.header.lam_angstrom
            scored = scored_region(lam)  # type: ignore[assignment]
        emulated = self._fluxes(emission, emulator, points)
        summary = summarise_errors(emulated[:, scored], true[:, scored], floor)
        if summary is not None and not np.isfinite(summary.worst):
            raise Diverged(f"The emulated values of '{emission}' overflow.")
        return summary

    def _fluxes(
        self, emission: str, emulator: EmissionEmulator, points: NDArray
    ) -> NDArray:
        """Evaluate an emulator at axis values (m, d)."""
        header = self.division.source.header
        axes = header.varying_axes(emission)
        if len(axes) < len(header.axes):
            emulator = emulator.on_axes(axes)
        scale = Coordinates(self.division.source.domain)
        chunks = np.split(points, range(CHUNK_SIZE, len(points), CHUNK_SIZE))
        return np.concatenate([fluxes_at(emulator, scale, c) for c in chunks])

    def _time(self, emission: str, emulator: EmissionEmulator) -> float:
        """Return the time to evaluate an emission at a point, seconds."""
        low = [axis.low for axis in self.division.source.domain]
        points = np.tile(low, (CHUNK_SIZE, 1))
        self._fluxes(emission, emulator, points)
        times = []
        for _ in range(_REPEATS):
            start = time.perf_counter()
            self._fluxes(emission, emulator, points)
            times.append(time.perf_counter() - start)
        return min(times) / CHUNK_SIZE


class Looking(NetworkRecorder):
    """A training monitor that passes on networks at several epochs.

    Args:
        epochs (set of int): The epochs.
        look (callable): A function of the number of the epoch among these,
            and the networks by the names of their trainings.
    """

    def __init__(
        self,
        epochs: set[int],
        look: Callable[[int, dict[str, Any]], None],
    ) -> None:
        super().__init__(epochs)
        # The last is at the end of the training.
        self._steps = {e: i for i, e in enumerate(sorted(epochs)[:-1])}
        self._look = look

    def report(self, history: LossHistory, state: Any) -> None:
        """Pass on the networks of this epoch, if it is one to look at."""
        step = self._steps.get(history.epoch[-1])
        if step is not None:
            self._look(step, {**self.finals, "": state["network"]})
