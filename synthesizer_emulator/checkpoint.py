"""What an interrupted build leaves behind, to be taken up again.

One file beside the target holds the emissions that are finished and the
state of the training that is not. Only the builder uses it.
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

from synthesizer_emulator.architectures import EmissionShape
from synthesizer_emulator.gridfile import write_atomically
from synthesizer_emulator.training import History
from synthesizer_emulator.weights import read_tensors, write_tensors


@dataclass(frozen=True)
class FinishedEmission:
    """One emission whose fit is done.

    Attributes:
        shape (EmissionShape): From which its skeleton is made.
        tensors (Mapping): Its tensors by their paths.
        history (History): The losses of its training.
    """

    shape: EmissionShape
    tensors: Mapping[str, NDArray]
    history: History


@dataclass
class Checkpoint:
    """The state of a build on disk.

    Attributes:
        path (Path): The file.
        fingerprint (str): What is built from what; a file with another
            one is of another build and is not taken up.
        finished (dict): The finished emissions by their paths.
        current (str): The emission in training when last saved.
        leaves (list of np.ndarray): The state of that training.
        history (History): Its losses.
    """

    path: Path
    fingerprint: str
    finished: dict[str, FinishedEmission] = field(default_factory=dict)
    current: str = ""
    leaves: list[NDArray] = field(default_factory=list)
    history: History = field(default_factory=History)

    @classmethod
    def open(cls, path: Path, fingerprint: str) -> "Checkpoint":
        """Return what an earlier build left, or an empty checkpoint.

        A file that is damaged or of another build counts as none.
        """
        if path.is_file():
            try:
                with h5py.File(path, "r") as hdf:
                    if hdf["fingerprint"].asstr()[()] == fingerprint:
                        return cls._read(path, fingerprint, hdf)
            except (OSError, KeyError, ValueError):
                pass
        return cls(path, fingerprint)

    @classmethod
    def _read(
        cls, path: Path, fingerprint: str, hdf: h5py.File
    ) -> "Checkpoint":
        """Read a checkpoint that belongs to this build."""
        finished = {}
        for name, group in hdf["finished"].items():
            finished[name.replace("|", "/")] = FinishedEmission(
                EmissionShape.of_json(group.attrs["shape"]),
                read_tensors(group["tensors"]),
                History(**json.loads(group["history"][()])),
            )
        leaves = [hdf[f"leaves/{i}"][...] for i in range(len(hdf["leaves"]))]
        return cls(
            path,
            fingerprint,
            finished,
            str(hdf.attrs["current"]),
            leaves,
            History(**json.loads(hdf["history"][()])),
        )

    def restore(self, emission: str, template: Any) -> Any | None:
        """Return the saved training state of an emission.

        Args:
            emission (str): The emission about to be trained.
            template (pytree): A state of the same structure.

        Returns:
            pytree: The state, or None if none fits.
        """
        like, tree = jax.tree.flatten(template)
        fits = len(like) == len(self.leaves) and all(
            jnp.shape(a) == b.shape
            for a, b in zip(like, self.leaves, strict=True)
        )
        if self.current != emission or not fits:
            return None
        return jax.tree.unflatten(tree, [jnp.asarray(a) for a in self.leaves])

    def save_training(
        self, emission: str, state: Any, history: History
    ) -> None:
        """Save the state of the training of an emission."""
        self.current, self.history = emission, history
        self.leaves = [np.asarray(leaf) for leaf in jax.tree.leaves(state)]
        self._write()

    def save_finished(self, emission: str, result: FinishedEmission) -> None:
        """Save a finished emission, and forget the state of its training."""
        self.finished[emission] = result
        self.current, self.leaves, self.history = "", [], History()
        self._write()

    def remove(self) -> None:
        """Delete the file, as the build is done."""
        self.path.unlink(missing_ok=True)

    def _write(self) -> None:
        """Write everything, whole or not at all."""
        with write_atomically(self.path) as hdf:
            hdf["fingerprint"] = self.fingerprint
            hdf.attrs["current"] = self.current
            hdf["history"] = json.dumps(asdict(self.history))
            leaves = hdf.create_group("leaves")
            for i, leaf in enumerate(self.leaves):
                leaves[str(i)] = leaf
            finished = hdf.create_group("finished")
            for name, result in self.finished.items():
                # A slash would nest the groups.
                group = finished.create_group(name.replace("/", "|"))
                group.attrs["shape"] = json.dumps(asdict(result.shape))
                group["history"] = json.dumps(asdict(result.history))
                write_tensors(group.create_group("tensors"), result.tensors)
