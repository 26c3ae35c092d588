"""The file of a `StarFlow`: a sealed HDF5 file of arrays and JSON.

Only this module reads and writes it. The flow is rebuilt from its settings and
filled with the stored tensors by their names.
"""

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Any

import equinox as eqx
import jax
from flowjax.distributions import Transformed
from synthesizer.exceptions import InconsistentArguments

from synthesizer_emulator.architectures.training import LossHistory
from synthesizer_emulator.files.schema import parse_json, typed
from synthesizer_emulator.files.sealed import open_sealed, write_sealed
from synthesizer_emulator.stars.cleaning import CleaningReport
from synthesizer_emulator.stars.conditions import Conditions
from synthesizer_emulator.stars.flows import FlowConfig, build_flow
from synthesizer_emulator.stars.leaves import filled, named_arrays
from synthesizer_emulator.stars.training import StarTraining
from synthesizer_emulator.stars.transforms import StarTransform
from synthesizer_emulator.weights.tensors import read_tensors, write_tensors

FORMAT, FORMAT_VERSION = "synthesizer_emulator flow of stars", 1
_REMEDY = "Copy the complete file again, or train the flow again."


@dataclass(frozen=True, kw_only=True)
class Description:
    """All of a trained flow but its tensors; the JSON of its file.

    Attributes:
        config (FlowConfig): The settings of the flow.
        training (StarTraining): The settings of its training.
        transform (StarTransform): The map from stars to what the flow sees.
        conditions (Conditions): The conditions and their scaling.
        redshifts (tuple of float): The lowest and the highest redshift of the
            training set.
        universe_ages (tuple of float): The lowest and the highest age of the
            universe in it, Gyr.
        history (LossHistory): The losses of the training.
        cleaning (CleaningReport): What was cut from the training set.
        galaxies (tuple of str): The names of the galaxies of the training
            set, those that validated among them.
        versions (Mapping): The versions of the packages that trained it.
    """

    config: FlowConfig
    training: StarTraining
    transform: StarTransform
    conditions: Conditions
    redshifts: tuple[float, ...]
    universe_ages: tuple[float, ...]
    history: LossHistory
    cleaning: CleaningReport
    galaxies: tuple[str, ...]
    versions: Mapping[str, str]


def write_flow(
    path: str | Path, description: Description, flow: Transformed
) -> None:
    """Write a trained flow, completely or not at all.

    Raises:
        InconsistentArguments: If the name does not end in `.hdf5`.
        OSError: If the file can't be written.
    """
    path = Path(path)
    if path.suffix != ".hdf5":
        raise InconsistentArguments(
            f"The name of the file of a flow must end in .hdf5, got '{path}'."
        )
    with write_sealed(path) as hdf:
        hdf.attrs["format"] = FORMAT
        hdf.attrs["format_version"] = FORMAT_VERSION
        # Stored as a dataset, because attributes may not exceed 64 kB.
        hdf["description"] = json.dumps(
            {
                f.name: _plain(getattr(description, f.name))
                for f in fields(description)
            }
        )
        arrays = named_arrays(eqx.filter(flow, eqx.is_array))
        write_tensors(hdf.create_group("tensors"), arrays)


def read_flow(path: str | Path) -> tuple[Description, Transformed]:
    """Read a trained flow.

    Returns:
        tuple: The description and the flow.

    Raises:
        GridError: If the file is missing, damaged, or not of a flow.
    """
    path = Path(path)
    with open_sealed(path, _REMEDY, FORMAT) as hdf:
        version = hdf.attrs.get("format_version")
        if version != FORMAT_VERSION:
            raise ValueError(
                f"it has version {version}, but this package reads "
                f"{FORMAT_VERSION}"
            )
        description = typed(
            Description,
            parse_json(hdf["description"][()]),
            "its description",
        )
        skeleton = build_flow(
            description.config,
            len(description.transform.variables),
            len(description.conditions.names),
            jax.random.key(0),
        )
        arrays, static = eqx.partition(skeleton, eqx.is_array)
        stored = filled(arrays, read_tensors(hdf["tensors"]))
    flow = eqx.combine(stored, static)
    return description, flow


def _plain(value: Any) -> Any:
    """Return a dataclass as JSON values, and others as they are."""
    return asdict(value) if hasattr(value, "__dataclass_fields__") else value
