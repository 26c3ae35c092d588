"""The checkpoint of a build, from which an interrupted build resumes.

One file next to the target holds the finished emissions and the state of the
training in progress. Only the builder uses it.
"""

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import h5py
import jax
import jax.numpy as jnp
import numpy as np
from numpy.typing import NDArray
from synthesizer.exceptions import GridError
from synthesizer.synth_warnings import warn

from synthesizer_emulator.architectures.base import EmissionShape
from synthesizer_emulator.architectures.training import LossHistory
from synthesizer_emulator.files.locks import exclusive
from synthesizer_emulator.files.sealed import open_sealed, write_sealed
from synthesizer_emulator.weights.tensors import read_tensors, write_tensors

# The end of the warning about a damaged checkpoint.
_FRESH = "The build starts over."


@dataclass(frozen=True)
class FinishedEmission:
    """The trained emulator of one emission.

    Attributes:
        shape (EmissionShape): The sizes from which its skeleton is built.
        tensors (Mapping): Its tensors by their names.
        histories (Mapping): The losses of its trainings by their names.
    """

    shape: EmissionShape
    tensors: Mapping[str, NDArray]
    histories: Mapping[str, LossHistory]


@dataclass(frozen=True)
class SavedTraining:
    """The state of one training of an unfinished emission.

    Attributes:
        leaves (list of np.ndarray): The arrays of the state.
        history (LossHistory): The losses so far.
    """

    leaves: list[NDArray]
    history: LossHistory


@dataclass
class Checkpoint:
    """The state of a build on disk.

    Attributes:
        path (Path): The file.
        fingerprint (str): The source and settings of the build; a file with
            another fingerprint belongs to another build.
        finished (dict): The finished emissions by their paths.
        current (str): The emission in training.
        trainings (dict): Its trainings, running or finished, by their names.
    """

    path: Path
    fingerprint: str
    finished: dict[str, FinishedEmission] = field(default_factory=dict)
    current: str = ""
    trainings: dict[str, SavedTraining] = field(default_factory=dict)

    @classmethod
    def open(cls, path: Path, fingerprint: str) -> "Checkpoint":
        """Open the checkpoint of an interrupted build, or an empty one.

        The checkpoint of another build is ignored, and a damaged one is
        ignored with a warning.
        """
        if path.exists():
            try:
                with open_sealed(path, _FRESH) as hdf:
                    if hdf["fingerprint"].asstr()[()] == fingerprint:
                        return cls._read(path, fingerprint, hdf)
            except GridError as error:
                warn(str(error).strip())
        return cls(path, fingerprint)

    @classmethod
    def _read(
        cls, path: Path, fingerprint: str, hdf: h5py.File
    ) -> "Checkpoint":
        """Read the checkpoint of this build."""
        finished = {
            _unescaped(name): FinishedEmission(
                EmissionShape.from_json(group.attrs["shape"]),
                read_tensors(group["tensors"]),
                {
                    _unescaped(training): _read_history(dataset)
                    for training, dataset in group["histories"].items()
                },
            )
            for name, group in hdf["finished"].items()
        }
        trainings = {
            _unescaped(name): SavedTraining(
                [
                    group[f"leaves/{i}"][...]
                    for i in range(len(group["leaves"]))
                ],
                _read_history(group["history"]),
            )
            for name, group in hdf["trainings"].items()
        }
        current = str(hdf.attrs["current"])
        return cls(path, fingerprint, finished, current, trainings)

    def restore(
        self, emission: str, training: str, template: Any
    ) -> tuple[Any, LossHistory] | None:
        """Return the saved state and losses of a training.

        Args:
            emission (str): The emission about to be trained.
            training (str): The name of the training.
            template (pytree): A state of the same structure.

        Returns:
            tuple: The state and the losses; None if no state of this
                structure is saved.
        """
        saved = self.trainings.get(training)
        if self.current != emission or saved is None:
            return None
        expected, tree = jax.tree.flatten(template)
        fits = len(expected) == len(saved.leaves) and all(
            jnp.shape(a) == b.shape
            for a, b in zip(expected, saved.leaves, strict=True)
        )
        if not fits:
            return None
        leaves = [jnp.asarray(a) for a in saved.leaves]
        return jax.tree.unflatten(tree, leaves), saved.history

    def save_training(
        self, emission: str, training: str, state: Any, history: LossHistory
    ) -> None:
        """Save the state of a training of an emission."""
        if self.current != emission:
            self.current, self.trainings = emission, {}
        leaves = [np.asarray(leaf) for leaf in jax.tree.leaves(state)]
        self.trainings[training] = SavedTraining(leaves, history)
        self._write()

    def save_finished(self, emission: str, result: FinishedEmission) -> None:
        """Save a finished emission, and delete the state of its training."""
        self.finished[emission] = result
        self.current, self.trainings = "", {}
        self._write()

    def remove(self) -> None:
        """Delete the file at the end of a build."""
        # The lock also removes the files of killed builds.
        with exclusive(self.path):
            self.path.unlink(missing_ok=True)

    def _write(self) -> None:
        """Write the file, completely or not at all."""
        with write_sealed(self.path) as hdf:
            hdf["fingerprint"] = self.fingerprint
            hdf.attrs["current"] = self.current
            trainings = hdf.create_group("trainings")
            for name, saved in self.trainings.items():
                group = trainings.create_group(_escaped(name))
                group["history"] = json.dumps(asdict(saved.history))
                leaves = group.create_group("leaves")
                for i, leaf in enumerate(saved.leaves):
                    leaves[str(i)] = leaf
            finished = hdf.create_group("finished")
            for name, result in self.finished.items():
                group = finished.create_group(_escaped(name))
                group.attrs["shape"] = json.dumps(asdict(result.shape))
                histories = group.create_group("histories")
                for training, history in result.histories.items():
                    histories[_escaped(training)] = json.dumps(asdict(history))
                write_tensors(group.create_group("tensors"), result.tensors)


def _escaped(name: str) -> str:
    """Return a name without `/`, which would nest groups in HDF5."""
    return "|" + name.replace("/", "|")


def _unescaped(entry: str) -> str:
    """Return the name from which `_escaped` made an entry."""
    return entry.removeprefix("|").replace("|", "/")


def _read_history(dataset: h5py.Dataset) -> LossHistory:
    """Read the losses of one training."""
    return LossHistory(**json.loads(dataset[()]))
