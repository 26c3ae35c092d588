"""The monitor of a build: progress bars and checkpoints."""

import time
from typing import Any

from synthesizer_emulator.architectures.training import (
    LossHistory,
)
from synthesizer_emulator.building.checkpoint import (
    Checkpoint,
)
from synthesizer_emulator.progress import progress_bar, say

# The interval between checkpoints of a running training, s.
SAVE_EVERY = 10.0


def training_name(emission: str, training: str) -> str:
    """Return the name of a training, as in `spectra/incident: norm`."""
    return f"{emission}: {training}" if training else emission


class BuildMonitor:
    """A `Monitor` with a progress bar, which saves checkpoints at intervals.

    It monitors one training of an emission; `stage` returns the monitor of
    another. Without a checkpoint it saves nothing. `place` is written before
    its name, such as `3 of 7, `.
    """

    def __init__(
        self,
        emission: str,
        checkpoint: Checkpoint | None,
        epochs: int,
        show: bool,
        training: str = "",
        place: str = "",
    ) -> None:
        self._emission = emission
        self._training = training
        self._place = place
        self._checkpoint = checkpoint
        self._epochs = epochs
        self._show = show
        self._saved = time.monotonic()
        self._bar: Any = None

    def stage(self, name: str, epochs: int | None = None) -> "BuildMonitor":
        """Return the monitor of another training of the emission."""
        return BuildMonitor(
            self._emission,
            self._checkpoint,
            epochs or self._epochs,
            self._show,
            f"{self._training} {name}".strip(),
            self._place,
        )

    def resume(self, template: Any) -> tuple[Any, LossHistory] | None:
        """Return the saved state and losses of this training, if any."""
        if self._checkpoint is None:
            return None
        saved = self._checkpoint.restore(
            self._emission, self._training, template
        )
        if saved is not None:
            name = training_name(self._emission, self._training)
            epoch = saved[1].epoch[-1] if saved[1].epoch else 0
            say(f"{name}: resuming at epoch {epoch:,}", self._show)
        return saved

    def report(self, history: LossHistory, state: Any) -> None:
        """Show the latest losses, and save the state at intervals."""
        if self._bar is None:
            name = training_name(self._emission, self._training)
            self._bar = progress_bar(
                show=self._show,
                total=self._epochs,
                desc=f"{self._place}{name}",
                unit=" epochs",
            )
        self._bar.update(history.epoch[-1] - self._bar.n)
        self._bar.set_postfix(
            training=f"{history.training[-1]:.2e}",
            validation=f"{history.validation[-1]:.2e}",
        )
        if self._checkpoint is None:
            return
        if time.monotonic() - self._saved > SAVE_EVERY:
            self._checkpoint.save_training(
                self._emission, self._training, state, history
            )
            self._saved = time.monotonic()
