"""Checks that weights belong to the grid file of the same name.

A grid may have been remade since its weights were built, and a user's own
grid may have the name of one whose weights ship with the package. Used by
`EmulatedGrid` and when grids are swapped.
"""

from functools import cache
from pathlib import Path

import numpy as np
from synthesizer.exceptions import GridError
from synthesizer.synth_warnings import warn

from synthesizer_emulator.digests import file_digest
from synthesizer_emulator.gridfile.header import GridHeader
from synthesizer_emulator.gridfile.native import NativeGrid
from synthesizer_emulator.gridfile.places import locate
from synthesizer_emulator.weights.file import read_weights
from synthesizer_emulator.weights.weights import Weights


def find_weights(
    grid_name: str, grid_dir: str | Path | None = None
) -> Path | None:
    """Find the weights of a grid.

    Args:
        grid_name (str): The name of the grid, or a path to it or to its
            weights.
        grid_dir (str/Path): As for `folders`.

    Returns:
        Path: An existing file, or None. Weights in another folder than the
            grid are ignored if their axes or wavelengths differ.
    """
    weights, grid = locate(grid_name, grid_dir)
    if weights is None or grid is None or grid.parent == weights.parent:
        return weights
    return None if difference(read_weights(weights).header, grid) else weights


def check_fits(weights: Weights, grid: Path | None) -> None:
    """Check that weights were built from a grid file.

    Warns if the axes and wavelengths are the same but the file is not.

    Args:
        weights (Weights): The weights.
        grid (Path): The file of the grid, or None.

    Raises:
        GridError: If the axes or the wavelengths differ.
    """
    if grid is None or weights.path is None:
        return
    differs = difference(weights.header, grid)
    remedy = (
        f"Build its weights with `synthesizer-emulator build {grid}`, or take "
        f"these nevertheless with weights='{weights.path}'."
    )
    if differs:
        raise GridError(
            f"'{weights.path}' holds the weights of another grid than "
            f"'{grid}': {differs}. {remedy}"
        )
    if _is_suspect(weights.path, grid) and (
        _digest(grid, grid.stat().st_mtime_ns)
        != weights.provenance.source_hash
    ):
        warn(
            f"'{weights.path}' was built from another version of the grid "
            f"'{grid}', and is used in its place. {remedy}"
        )


def difference(header: GridHeader, grid: Path) -> str:
    """Describe how the axes or wavelengths of a grid file differ.

    Args:
        header (GridHeader): The header to compare with.
        grid (Path): The file of the grid.

    Returns:
        str: The difference; empty if there is none, or if the file can't be
            read.
    """
    try:
        native = NativeGrid.open(grid).header
    except (GridError, OSError):
        return ""
    names, native_names = (
        ", ".join(axis.name for axis in each.axes) for each in (header, native)
    )
    if names != native_names:
        return f"the axes are {native_names} in the grid, {names} in the other"
    for axis, other in zip(native.axes, header.axes, strict=True):
        if not np.array_equal(axis.values, other.values) or (
            axis.units != other.units
        ):
            return f"the two have different {axis.name}"
    if not np.array_equal(native.lam_angstrom, header.lam_angstrom):
        return "the two have different wavelengths"
    return ""


def _is_suspect(weights: Path, grid: Path) -> bool:
    """Whether a grid may have changed since its weights were built."""
    if weights.parent != grid.parent:
        return True
    # Copies may keep the time of modification, but not that of change.
    written, made = (
        max(s.st_mtime_ns, s.st_ctime_ns)
        for s in (weights.stat(), grid.stat())
    )
    return made > written


@cache
def _digest(grid: Path, changed: int) -> str:
    """Compute the SHA-256 of a grid, once for each version of its file."""
    return file_digest(grid)
