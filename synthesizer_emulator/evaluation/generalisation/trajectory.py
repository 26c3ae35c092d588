"""Training monitors that record networks at several epochs.

A `NetworkRecorder` keeps networks while they are trained. Fitting again with
a `FinishedTraining` assembles the emulator of such networks without training.
"""

from collections.abc import Mapping
from typing import Any

import numpy as np

from synthesizer_emulator.architectures.training import (
    LossHistory,
    TrainingConfig,
)

# The largest number of epochs at which errors are measured.
_MOST_LOOKS = 10_000


class NetworkRecorder:
    """A training monitor that keeps the networks of an architecture.

    The main network (of the first ensemble member) is kept at several
    epochs, the other networks after their training.

    Attributes:
        epochs (set of int): The epochs at which the main network is kept.
        looks (dict): The main network at these epochs.
        finals (dict): The other trained networks, by the names of their
            trainings.
    """

    def __init__(
        self,
        epochs: set[int],
        name: str = "",
        finals: dict[str, Any] | None = None,
    ) -> None:
        self.epochs = epochs
        self.looks: dict[int, Any] = {}
        self.finals = {} if finals is None else finals
        self._name = name

    def stage(self, name: str, epochs: int | None = None) -> "NetworkRecorder":
        """Return the monitor of another training of the architecture."""
        name = f"{self._name} {name}".strip()
        return NetworkRecorder(set(), name, self.finals)

    def resume(self, template: Any) -> None:
        """Return None, so that the training starts at the first epoch."""

    def report(self, history: LossHistory, state: Any) -> None:
        """Keep the network of this epoch, and the best network so far."""
        epoch = history.epoch[-1]
        if epoch in self.epochs:
            self.looks[epoch] = state["network"]
        if self._name:
            self.finals[self._name] = state["best"]


class FinishedTraining:
    """A training monitor that returns trained networks at the last epoch.

    Args:
        networks (Mapping): The networks by the names of their trainings;
            the name of the main training is empty.
        epochs (int): The number of epochs of the training.
        name (str): The name of this training.
    """

    def __init__(
        self, networks: Mapping[str, Any], epochs: int, name: str = ""
    ) -> None:
        self._networks, self._epochs, self._name = networks, epochs, name

    def stage(
        self, name: str, epochs: int | None = None
    ) -> "FinishedTraining":
        """Return the monitor of another training of the architecture."""
        return FinishedTraining(
            self._networks,
            epochs or self._epochs,
            f"{self._name} {name}".strip(),
        )

    def resume(self, template: Any) -> tuple[Any, LossHistory]:
        """Return the network of this training at its last epoch."""
        network = self._networks[self._name]
        state = {**template, "network": network, "best": network}
        return state, LossHistory([self._epochs], [0.0], [0.0], [0.0])

    def report(self, history: LossHistory, state: Any) -> None:
        """Do nothing, because all epochs are done."""


def look_epochs(config: TrainingConfig, looks: int) -> set[int]:
    """Return at most `looks` epochs at which to measure errors.

    They are multiples of `check_every`, evenly spaced in log; the last is
    the end of the training.
    """
    last = -(-config.epochs // config.check_every)
    steps = np.geomspace(1, last, min(looks, _MOST_LOOKS)).round().astype(int)
    return {
        min(int(step) * config.check_every, config.epochs) for step in steps
    }
