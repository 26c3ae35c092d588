"""The monitor of a build: progress bars and checkpoints."""

import time
from typing import Any

from tqdm import tqdm

from synthesizer_emulator.architectures.training import (
    LossHistory,
)
from synthesizer_emulator.building.checkpoint import (
    Checkpoint,
)

# The interval between checkpoints of a running training, s.
SAVE_EVERY = 10.0


def training_name(emission: str, training: str) -> str:
    """Return the name of a training, as in `spectra/incident: norm`."""
    return f"{emission}: {training}" if training else emission


class BuildMonitor:
    """A `Monitor` with a progress bar, which saves checkpoints at intervals.

    It monitors one training of an emission; `stage` returns the monitor of
    another.
    """

    def __init__(
        self,
        emission: str,
        checkpoint: Checkpoint,
        epochs: int,
        show: bool,
        training: str = "",
    ) -> None:
        self._emission = emission
        self._training = training
        self._checkpoint = checkpoint
        self._epochs = epochs
        self._show = show
        self._saved = time.monotonic()
        self._bar: tqdm | None = None

    def stage(self, name: str, epochs: int | None = None) -> "BuildMonitor":
        """Return the monitor of another training of the emission."""
        return BuildMonitor(
            self._emission,
            self._checkpoint,
            epochs or self._epochs,
            self._show,
            f"{self._training} {name}".strip(),
        )

    def resume(self, template: Any) -> tuple[Any, LossHistory] | None:
        """Return the saved state and losses of this training, if any."""
        return self._checkpoint.restore(
            self._emission, self._training, template
        )

    def report(self, history: LossHistory, state: Any) -> None:
        """Show the latest losses, and save the state at intervals."""
        if self._bar is None:
            self._bar = tqdm(
                total=self._epochs,
                desc=training_name(self._emission, self._training),
                unit="epoch",
                disable=not self._show,
            )
        self._bar.update(history.epoch[-1] - self._bar.n)
        self._bar.set_postfix(
            training=f"{history.training[-1]:.2e}",
            validation=f"{history.validation[-1]:.2e}",
        )
        if time.monotonic() - self._saved > SAVE_EVERY:
            self._checkpoint.save_training(
                self._emission, self._training, state, history
            )
            self._saved = time.monotonic()
