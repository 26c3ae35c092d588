"""Export of grids to the format of another package, DSPS."""

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from synthesizer.exceptions import (
    GridError,
    InconsistentArguments,
    MissingSpectraType,
)
from synthesizer.grid import Grid

from synthesizer_emulator.files.writing import check_new
from synthesizer_emulator.grid.emulated_grid import EmulatedGrid
from synthesizer_emulator.grid.loading import in_angstrom
from synthesizer_emulator.records import current_versions
from synthesizer_emulator.sources.dsps import (
    EmissionLines,
    StellarPopulations,
    write_ssp_file,
)
from synthesizer_emulator.validation import check_names, nearest

_AXES = ("ages", "metallicities")
_WEIGHT = "initial_masses"

# Spectra of which one contains light of the other.
_OVERLAPPING = (
    {"incident", "transmitted"},
    {"nebular", "linecont"},
    {"nebular", "nebular_continuum"},
)

# The relative difference of an axis value and the node that is meant.
_ROUNDING = 1e-6

# The part of an array at each axis: all nodes or one.
_Part = tuple[slice | int, ...]


def export_to_dsps(
    grid: Grid,
    path: str | Path,
    spectra: str | Sequence[str] = "incident",
    fixed: Mapping[str, float] | None = None,
    overwrite: bool = False,
) -> Path:
    """Write a grid in the format of DSPS, read by `load_ssp_templates`.

    Spectra and lines are per initial mass in both formats. Luminosities are
    converted to the solar luminosity of DSPS.

    Args:
        grid (Grid): A native or emulated grid of stars.
        path (str/Path): The file to write.
        spectra (str/sequence of str): The spectra to add up, such as
            `["transmitted", "nebular"]`. The lines of the sum are written
            too, if it has any and the grid was loaded with lines.
        fixed (Mapping): The value of each axis besides ages and
            metallicities, in the units of the grid. An emulated grid takes
            any value within its domain; a native one must have a node there.
        overwrite (bool): Whether to replace a file that exists.

    Returns:
        Path: The file.

    Raises:
        GridError: If the grid is not of stars with ages and metallicities,
            an axis is neither fixed nor known, a native grid has no such
            node, or an age or a metallicity is zero.
        MissingSpectraType: If the grid lacks a spectrum.
        InconsistentArguments: If a value is outside the domain, light would
            be counted twice, or the file exists.
        OSError: If the file can't be written.
    """
    path, names = Path(path), check_names("spectra", spectra)
    check_new(path, overwrite)
    _check_exportable(grid, names, fixed or {})
    nodes: dict[str, int] = {}
    for axis, value in (fixed or {}).items():
        if isinstance(grid, EmulatedGrid):
            grid = grid.collapse(axis, "emulator", value=value)
        else:
            nodes[axis] = _node_at(grid, axis, value)
    part = tuple(nodes.get(axis, slice(None)) for axis in grid.axes)
    axes = [axis for axis in grid.axes if axis in _AXES]
    order = (*(axes.index(axis) for axis in _AXES), len(_AXES))
    lnu = sum(grid.spectra[name][part] for name in names)
    write_ssp_file(
        path,
        StellarPopulations(
            _nodes(grid, "ages"),
            _nodes(grid, "metallicities"),
            in_angstrom(grid.lam),
            np.asarray(lnu, np.float64).transpose(order),
            _lines(grid, names, part, order),
        ),
        {
            "grid": grid.grid_name,
            "spectra": " + ".join(names),
            **current_versions(),
        },
    )
    return path


def _check_exportable(
    grid: Grid, names: Sequence[str], fixed: Mapping[str, float]
) -> None:
    """Raise unless a grid has what the format of DSPS needs."""
    twice = len(set(names)) < len(names)
    if twice or any(pair <= set(names) for pair in _OVERLAPPING):
        raise InconsistentArguments(
            f"The sum of {' and '.join(names)} would count light twice: name "
            "incident, or transmitted and nebular, each once."
        )
    if not set(_AXES).issubset(grid.axes) or grid._weight_var != _WEIGHT:
        raise GridError(
            "The format of DSPS needs stars with ages and metallicities, per "
            f"initial mass; '{grid.grid_name}' has the axes "
            f"{', '.join(grid.axes)}, and is weighted by {grid._weight_var}."
        )
    others = [axis for axis in grid.axes if axis not in _AXES]
    for axis in fixed:
        if axis not in others:
            raise GridError(
                f"'{axis}' can't be fixed: '{grid.grid_name}' has, besides "
                f"ages and metallicities, {', '.join(others) or 'no axis'}."
                f"{nearest(axis, others)}"
            )
    free = [axis for axis in others if axis not in fixed]
    if free:
        raise GridError(
            "The format of DSPS has ages and metallicities only, and "
            f"'{grid.grid_name}' has also {', '.join(free)}: fix each with "
            f"--fix {free[0]}=VALUE (fixed=)."
        )
    for name in names:
        if name not in grid.spectra:
            known = list(grid.spectra)
            raise MissingSpectraType(
                f"'{grid.grid_name}' has no spectrum '{name}'; it has: "
                f"{', '.join(known)}.{nearest(name, known)}"
            )


def _node_at(grid: Grid, axis: str, value: float) -> int:
    """Return the index of the node of a native grid at an axis value."""
    nodes = _nodes(grid, axis)
    (found,) = np.nonzero(np.isclose(nodes, value, rtol=_ROUNDING, atol=0.0))
    if not len(found):
        raise GridError(
            f"The native grid '{grid.grid_name}' must be cut at a node of "
            f"'{axis}', got {value:g}; the nodes are "
            f"{', '.join(f'{node:g}' for node in nodes)}. Its emulator takes "
            "any value."
        )
    return int(found[0])


def _lines(
    grid: Grid, names: Sequence[str], part: _Part, order: tuple[int, ...]
) -> EmissionLines | None:
    """Return the lines of a sum of spectra; None if there are none."""
    if not grid.has_lines or not set(names).issubset(grid.line_lums):
        return None
    luminosities = np.asarray(
        sum(grid.line_lums[name][part].to_value("erg/s") for name in names),
        np.float64,
    )
    if not luminosities.any():
        return None
    return EmissionLines(
        tuple(str(line) for line in grid.available_lines),
        in_angstrom(grid.line_lams),
        luminosities.transpose(order),
    )


def _nodes(grid: Grid, axis: str) -> NDArray[np.float64]:
    """Return the nodes of an axis in the units of the grid, (n,)."""
    return np.asarray(grid._axes_values[axis], np.float64)
