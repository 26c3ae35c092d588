"""Measurements as JSON: rounded, whole, and with where they come from.

Every command of the evaluation writes through this, and the benchmarks.
"""

import json
import math
import platform
import re
from collections.abc import Mapping
from dataclasses import (
    fields,
    is_dataclass,
)
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import jax
import numpy as np

from synthesizer_emulator.files.writing import write_whole

_NUMBERS = re.compile(r"\[[-\d.,e+\snul]*\]")

# More digits of an error are noise.
_DIGITS = 6


def machine() -> dict[str, str]:
    """Return what numbers, and above all times, were measured on."""
    return {
        "device": str(jax.devices()[0]),
        "processor": platform.machine(),
        "python": platform.python_version(),
        "jax": jax.__version__,
    }


def plain(value: Any) -> Any:
    """Return a measurement as JSON knows it.

    Dataclasses become objects (fields with `repr=False` are left out: they
    are spectra and the like, for figures), arrays lists, and what is not
    finite null.
    """
    if is_dataclass(value) and not isinstance(value, type):
        shown = (f for f in fields(value) if f.repr)
        return {f.name: plain(getattr(value, f.name)) for f in shown}
    if isinstance(value, Mapping):
        return {str(k): plain(v) for k, v in value.items()}
    if isinstance(value, np.ndarray):
        return plain(value.tolist())
    if isinstance(value, list | tuple):
        return [plain(v) for v in value]
    if isinstance(value, np.generic):
        return plain(value.item())
    if isinstance(value, float):
        return float(f"{value:.{_DIGITS}g}") if math.isfinite(value) else None
    if isinstance(value, Path):
        return str(value)
    return value


def write_json(path: Path, measured: Mapping[str, Any]) -> None:
    """Write measurements as JSON, whole or not at all.

    With the versions and the machine they were made by.

    Args:
        path (Path): The file; its folder is made if it is missing.
        measured (Mapping): What was measured.

    Raises:
        OSError: If the file can't be written.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    made_by = {"versions": current_versions(), "machine": machine()}
    contents = plain({**measured, **made_by})
    text = json.dumps(contents, indent=1, allow_nan=False)
    # Lists of numbers each on a line of its own.
    text = _NUMBERS.sub(lambda found: " ".join(found[0].split()), text)
    write_whole(path, f"{text}\n".encode())


_PACKAGES = ("synthesizer-emulator", "cosmos-synthesizer", "jax", "flax")


def current_versions() -> dict[str, str]:
    """Return the versions of the packages that matter for weights."""
    versions = {}
    for package in _PACKAGES:
        try:
            versions[package] = version(package)
        except PackageNotFoundError:
            versions[package] = "unknown"
    return versions
