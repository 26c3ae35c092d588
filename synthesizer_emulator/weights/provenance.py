"""The provenance of weights: source grid, settings, training and errors."""

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Any

import numpy as np
from synthesizer.exceptions import InconsistentArguments

from synthesizer_emulator.files.schema import parse_json, typed


@dataclass(frozen=True)
class Provenance:
    """The source, settings and errors of an emulator.

    Attributes:
        grid_name (str): The name of the grid.
        source_hash (str): The SHA-256 of the file of the grid or samples.
        architecture (str): The name of the architecture.
        architecture_config (Mapping): The settings of the architecture.
        training_config (Mapping): The settings of the training.
        errors (Mapping): The quantiles of the fractional error of each
            emission, at the nodes of the grid or at scattered samples held
            out of training.
        seconds (float): The duration of the build after the last
            interruption, s.
        versions (Mapping): The versions of the packages that built it.
        trained_on (str): A description of the training set.
        author (str): The author.
        notes (str): The author's notes.
        histories (Mapping): The losses of each training, by emission or by
            emission and name, as in `spectra/incident: member 2`.
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
    """Return a provenance as it is after writing and reading.

    Raises:
        InconsistentArguments: If a value can't be stored; the message gives
            its name.
    """
    try:
        values = parse_json(to_json(asdict(provenance)))
        return typed(Provenance, values, "the provenance")
    except (TypeError, ValueError) as error:
        raise InconsistentArguments(
            f"The provenance can't be stored with the weights: {error}."
        ) from error


def to_json(values: Any, indent: int | None = None) -> str:
    """Return values as JSON, with NumPy scalars as Python numbers."""
    return json.dumps(
        values, allow_nan=False, default=np.generic.item, indent=indent
    )
