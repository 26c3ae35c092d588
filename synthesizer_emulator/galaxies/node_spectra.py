"""The spectra and lines of grids at their nodes in age and metallicity.

The other axes have given values, between nodes too: there an emulated grid is
evaluated by its emulator, and a native grid is interpolated by monotone
cubics.
"""

from collections.abc import Mapping
from itertools import product
from typing import Literal, TypeAlias

import numpy as np
from numpy.typing import NDArray
from scipy.interpolate import PchipInterpolator
from synthesizer.exceptions import InconsistentArguments
from synthesizer.grid import Grid

from synthesizer_emulator.validation import check_memory

# The tolerance at the ends of an axis, relative to its length, for rounding.
_SLACK = 1e-6

# What is read of a grid: its spectra, or the luminosities of lines or the
# continua at them. These are the names of mappings of Synthesizer's `Grid`.
Quantity: TypeAlias = Literal["spectra", "line_lums", "line_conts"]


def is_logged(grid: Grid, axis: str) -> bool:
    """Whether Synthesizer interpolates an axis in its logarithm."""
    return f"log10{axis}" in grid._extract_axes


def scaled_nodes(grid: Grid, axis: str) -> NDArray[np.float64]:
    """Return the nodes of an axis, or their log10 if it is logged."""
    nodes = np.asarray(grid._axes_values[axis], np.float64)
    return np.log10(nodes) if is_logged(grid, axis) else nodes


def node_spectra(
    grid: Grid,
    name: str,
    points: Mapping[str, NDArray[np.float64]],
    quantity: Quantity = "spectra",
) -> NDArray[np.float64]:
    """Return a spectrum, or lines, at the nodes in age and metallicity.

    Args:
        grid (Grid): A native or an emulated grid.
        name (str): The name of the spectrum.
        points (Mapping): The points on each other axis, log10 if it is
            logged, (m1,), (m2,) ...
        quantity (str): `spectra`; or `line_lums` or `line_conts`, the
            luminosities of all lines of the grid or the continua at them.

    Returns:
        np.ndarray of float: The spectra at all combinations of the points,
            in the units of the grid, (m1, m2, ..., n_ages, n_Z, nlam);
            for lines n_lines instead of nlam.

    Raises:
        InconsistentArguments: If a point is outside its axis, or the spectra
            exceed the memory.
    """
    if not points:
        return np.asarray(getattr(grid, quantity)[name])
    points = {a: _inside(grid, a, x) for a, x in points.items()}
    shape = tuple(map(len, points.values()))
    nodes = grid.shape[:2]
    width = grid.nlam if quantity == "spectra" else grid.nlines
    check_memory(
        f"The spectra at {np.prod(shape)} points of {', '.join(points)}",
        8 * int(np.prod(shape)) * int(np.prod(nodes)) * width,
        "fix some of these axes",
    )
    if hasattr(grid, "emulator"):
        found = [
            _emulated(
                grid, name, dict(zip(points, values, strict=True)), quantity
            )
            for values in product(*points.values())
        ]
        return np.reshape(found, (*shape, *nodes, width))
    spectra = np.asarray(getattr(grid, quantity)[name])
    for i, (axis, x) in enumerate(points.items()):
        spectra = _interpolated(scaled_nodes(grid, axis), spectra, i + 2, x)
    return np.moveaxis(spectra, (0, 1), (-3, -2))


def _inside(
    grid: Grid, axis: str, points: NDArray[np.float64]
) -> NDArray[np.float64]:
    """Return points clipped to their axis; raise if they are outside it."""
    low, high = scaled_nodes(grid, axis)[[0, -1]]
    slack = _SLACK * (high - low)
    outside = points[(points < low - slack) | (points > high + slack)]
    if len(outside):
        log = "log10 " if is_logged(grid, axis) else ""
        raise InconsistentArguments(
            f"{log}{axis} must be within the axis of the grid "
            f"'{grid.grid_name}', {low:g} to {high:g}, got {outside[0]:g}."
        )
    return np.clip(points, low, high)


def _emulated(
    grid: Grid, name: str, values: Mapping[str, float], quantity: Quantity
) -> NDArray[np.float64]:
    """Return a quantity of an emulated grid at one point of other axes."""
    for axis, value in values.items():
        given = f"log10{axis}" if is_logged(grid, axis) else axis
        grid = grid.collapse(given, method="emulator", value=value)
    return np.asarray(getattr(grid, quantity)[name])


def _interpolated(
    nodes: NDArray[np.float64],
    spectra: NDArray[np.float64],
    axis: int,
    points: NDArray[np.float64],
) -> NDArray[np.float64]:
    """Interpolate spectra along an axis, in the logarithm where positive.

    By monotone cubics (PCHIP; Fritsch & Butland 1984, SIAM J. Sci. Stat.
    Comput. 5, 300), which don't overshoot.
    """
    if len(nodes) == 1:
        return spectra
    positive = (spectra > 0.0).all(axis=axis, keepdims=True)
    scaled = np.where(
        positive, np.log(np.where(positive, spectra, 1.0)), spectra
    )
    values = PchipInterpolator(nodes, scaled, axis=axis)(points)
    return np.where(positive, np.exp(np.where(positive, values, 0.0)), values)
