"""Checks that weights belong to the grid file of the same name.

A grid may have changed since its weights were built, and a user's grid may
have the name of a grid whose weights are part of the package. Used by
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
        Path: An existing file, or None. Weights that are not in the folder
            of the grid are ignored if their axes or wavelengths differ.
    """
    weights, grid = locate(grid_name, grid_dir)
    if weights is None or grid is None or grid.parent == weights.parent:
        return weights
    return None if difference(read_weights(weights).header, grid) else weights


def check_fits(weights: Weights, grid: Path | None) -> None:
    """Raise if weights and a grid file differ in axes or wavelengths.

    Weights may have been built from a range of the wavelengths. Warns if these
    are equal, but the weights were built from another file.

    Args:
        weights (Weights): The weights.
        grid (Path): The file of the grid, or None.

    Raises:
        GridError: If the axes or the wavelengths differ.
    """
    if grid is None or weights.path is None:
        return
    differs = difference(weights.header, grid, or_range=True)
    remedy = (
        f"Build new weights with `synthesizer-emulator build {grid}`, or use "
        f"the existing weights with weights='{weights.path}'."
    )
    if differs:
        raise GridError(
            f"The weights '{weights.path}' were built from another grid than "
            f"'{grid}': {differs}. {remedy}"
        )
    if _is_suspect(weights.path, grid) and (
        _digest(grid, grid.stat().st_mtime_ns)
        != weights.provenance.source_hash
    ):
        warn(
            f"The weights '{weights.path}' were built from another version of "
            f"the grid '{grid}', but are used. {remedy}"
        )


def difference(header: GridHeader, grid: Path, or_range: bool = False) -> str:
    """Describe how the axes or wavelengths of a grid file differ.

    Args:
        header (GridHeader): The header to compare with.
        grid (Path): The file of the grid.
        or_range (bool): Whether a range of the wavelengths of the grid counts
            as equal.

    Returns:
        str: The difference; empty if the two agree, or if the file can't be
            read.
    """
    try:
        native = NativeGrid.open(grid).header
    except (GridError, OSError):
        return ""
    names, native_names = (
        ", ".join(axis.name for axis in h.axes) for h in (header, native)
    )
    if names != native_names:
        return (
            f"the axes are {native_names} in the grid, {names} in the weights"
        )
    for axis, other in zip(native.axes, header.axes, strict=True):
        if not np.array_equal(axis.values, other.values) or (
            axis.units != other.units
        ):
            return f"the two have different {axis.name}"
    lam, native_lam = header.lam_angstrom, native.lam_angstrom
    if or_range and len(lam):
        inside = (native_lam >= lam[0]) & (native_lam <= lam[-1])
        native_lam = native_lam[inside]
    if not np.array_equal(native_lam, lam):
        return "the two have different wavelengths"
    return ""


def _is_suspect(weights: Path, grid: Path) -> bool:
    """Whether a grid may have changed since its weights were built."""
    if weights.parent != grid.parent:
        return True
    # Copying can preserve a file's modification time, but not its change time.
    written, made = (
        max(s.st_mtime_ns, s.st_ctime_ns)
        for s in (weights.stat(), grid.stat())
    )
    return made > written


@cache
def _digest(grid: Path, changed: int) -> str:
    """Return the SHA-256 of a grid, computed once per change of the file."""
    return file_digest(grid)
