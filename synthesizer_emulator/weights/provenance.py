"""The provenance of weights: source grid, settings, training and errors."""

import json
from collections.abc import Mapping
from dataclasses import (
    asdict,
    dataclass,
    field,
)
from typing import Any

import numpy as np
from synthesizer.exceptions import InconsistentArguments

from synthesizer_emulator.files.schema import parse_json, typed


@dataclass(frozen=True)
class Provenance:
    """Where an emulator comes from and how good it is.

    Attributes:
        grid_name (str): The name of the grid it was built from.
        source_hash (str): The SHA-256 of that file.
        architecture (str): The name of the architecture.
        architecture_config (Mapping): Its settings.
        training_config (Mapping): How it was trained.
        errors (Mapping): For each emission of the grid the quantiles of
            the fractional error at the nodes; of scattered samples, at
            those that were kept out of training.
        seconds (float): How long the build took, or its part after the last
            interruption.
        versions (Mapping): The package versions that made it.
        trained_on (str): What samples it learned from.
        author (str): Who made it.
        notes (str): What they wrote down with it.
        histories (Mapping): The losses of each training: by emission, or
            by emission and name, as in `spectra/incident: member 2`.
    """

    grid_name: str
    source_hash: str
    architecture: str
    architecture_config: Mapping[str, Any] = field(repr=False)
    training_config: Mapping[str, Any] = field(repr=False)
    errors: Mapping[str, Mapping[str, float]] = field(
        default_factory=dict, repr=False
    )
    seconds: float = 0.0
    versions: Mapping[str, str] = field(default_factory=dict, repr=False)
    trained_on: str = ""
    author: str = ""
    notes: str = ""
    histories: Mapping[str, Mapping[str, list]] = field(
        default_factory=dict, repr=False
    )


def as_stored(provenance: Provenance) -> Provenance:
    """Return a provenance as it will be read back.

    Args:
        provenance (Provenance): What is to be kept.

    Raises:
        InconsistentArguments: If something in it can't be; says what.
    """
    try:
        said = parse_json(_to_json(asdict(provenance)))
        return typed(Provenance, said, "the provenance")
    except (TypeError, ValueError) as error:
        raise InconsistentArguments(
            f"That can't be kept with the weights: {error}."
        ) from error


def _to_json(said: Any) -> str:
    """Return JSON, with NumPy's numbers as Python's."""
    return json.dumps(said, allow_nan=False, default=np.generic.item)
