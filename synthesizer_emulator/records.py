"""JSON files of the measurements of evaluations and benchmarks.

They also record the versions of packages and the machine.
"""

import json
import math
import platform
import re
from collections.abc import Mapping
from dataclasses import fields, is_dataclass
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import jax
import numpy as np

from synthesizer_emulator.files.writing import write_whole

_PACKAGES = ("synthesizer-emulator", "cosmos-synthesizer", "jax", "flax")

# A list of numbers in JSON.
_NUMBERS = re.compile(r"\[[-\d.,e+\snul]*\]")

# Significant digits of a measurement.
_DIGITS = 6


def current_versions() -> dict[str, str]:
    """Return the versions of the packages that affect the weights."""
    versions = {}
    for package in _PACKAGES:
        try:
            versions[package] = version(package)
        except PackageNotFoundError:
            versions[package] = "unknown"
    return versions


def machine() -> dict[str, str]:
    """Return the device, processor and software of this machine."""
    return {
        "device": str(jax.devices()[0]),
        "processor": platform.machine(),
        "python": platform.python_version(),
        "jax": jax.__version__,
    }


def _rounded(value: Any) -> Any:
    """Convert a measurement to JSON values, rounded to six digits.

    Dataclasses become objects, without fields that have `repr=False` (the
    spectra for figures). Arrays become lists, and NaN and infinity null.
    """
    if is_dataclass(value) and not isinstance(value, type):
        kept = (f for f in fields(value) if f.repr)
        return {f.name: _rounded(getattr(value, f.name)) for f in kept}
    if isinstance(value, Mapping):
        return {str(k): _rounded(v) for k, v in value.items()}
    if isinstance(value, np.ndarray):
        return _rounded(value.tolist())
    if isinstance(value, list | tuple):
        return [_rounded(v) for v in value]
    if isinstance(value, np.generic):
        return _rounded(value.item())
    if isinstance(value, float):
        return float(f"{value:.{_DIGITS}g}") if math.isfinite(value) else None
    if isinstance(value, Path):
        return str(value)
    return value


def write_json(path: Path, measured: Mapping[str, Any]) -> None:
    """Write measurements as JSON, with versions and the machine.

    Args:
        path (Path): The file; a missing folder is created.
        measured (Mapping): The measurements.

    Raises:
        OSError: If the file can't be written.
    """
    made_by = {"versions": current_versions(), "machine": machine()}
    contents = _rounded({**measured, **made_by})
    text = json.dumps(contents, indent=1, allow_nan=False)
    # Each list of numbers on one line.
    text = _NUMBERS.sub(lambda match: " ".join(match[0].split()), text)
    write_whole(path, f"{text}\n".encode())
