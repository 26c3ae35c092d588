"""New nodes for grids: the arguments `axes` and `refine` of `EmulatedGrid`."""

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import replace

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.interpolate import PchipInterpolator
from synthesizer.exceptions import InconsistentArguments

from synthesizer_emulator.emulator.scaling import AxisDomain
from synthesizer_emulator.gridfile.header import Axis, GridHeader, interpolable
from synthesizer_emulator.units import PURE, in_units
from synthesizer_emulator.validation import check_whole, nearest

# The number of scattered points interpolated at once.
_BATCH_SIZE = 64


def with_axes(
    header: GridHeader,
    domain: Sequence[AxisDomain],
    axes: Mapping[str, ArrayLike] | None,
    refine: Mapping[str, int] | None,
) -> GridHeader:
    """Return the header of a grid on new nodes, given as in `EmulatedGrid`.

    Ionising luminosities and stellar fractions, which are stored and not
    emulated, are interpolated; they are unchanged at the old nodes.

    Raises:
        InconsistentArguments: If an axis is unknown or given twice, or its
            nodes are not ascending and within the domain.
        IncorrectUnits: If the units of nodes can't be converted.
    """
    changed = dict(header_axes(header))
    for given, values in (axes or {}).items():
        name = _axis_name(given, changed)
        _check_unchanged(name, changed[name], header)
        old = changed[name]
        changed[name] = replace(old, values=_plain(given, values, old))
    for given, parts in (refine or {}).items():
        name = _axis_name(given, changed)
        _check_unchanged(name, changed[name], header)
        check_whole(f"refine['{given}']", parts, 1)
        limits = next(d for d in domain if d.name == name)
        old = changed[name]
        changed[name] = replace(old, values=_divided(old, limits, parts))
    for limits in domain:
        axis = changed[limits.name]
        _check_ascending(axis)
        changed[limits.name] = replace(
            axis, values=limits.require_inside(axis.values)
        )
    points = [d.scaled(changed[d.name].values, np) for d in domain]
    stored = {
        path: on_mesh(values, header, domain, points)
        for path, values in header.stored.items()
    }
    return replace(header, axes=tuple(changed.values())).with_stored(stored)


def header_axes(header: GridHeader) -> dict[str, Axis]:
    """Return the axes of a grid by their names."""
    return {axis.name: axis for axis in header.axes}


def on_mesh(
    values: NDArray,
    header: GridHeader,
    domain: Sequence[AxisDomain],
    points: Sequence[NDArray],
) -> NDArray[np.float64]:
    """Interpolate a stored quantity to new nodes.

    One axis at a time, from the last, by monotone cubics (PCHIP; Fritsch &
    Butland 1984, SIAM J. Sci. Stat. Comput. 5, 300), in the scaled
    coordinates of the emulator.

    Args:
        values (np.ndarray of float): The values at the nodes of the first k
            axes, (n1, ..., nk).
        header (GridHeader): The header with the old nodes.
        domain (sequence of AxisDomain): The scaling of the axes.
        points (sequence of np.ndarray): The new nodes of each axis, scaled.

    Returns:
        np.ndarray of float: The values at the new nodes, (m1, ..., mk).
    """
    nodes = scaled_nodes(header, domain)
    values = interpolable(values)
    for axis in reversed(range(values.ndim)):
        if not np.array_equal(nodes[axis], points[axis]):
            curve = PchipInterpolator(nodes[axis], values, axis=axis)
            values = curve(points[axis])
    return values


def at_points(
    values: NDArray,
    header: GridHeader,
    domain: Sequence[AxisDomain],
    points: NDArray,
) -> NDArray[np.float64]:
    """Interpolate a stored quantity to scattered points, as in `on_mesh`.

    Maps values (n1, ..., nk) at the nodes, and points (m, d) in the units of
    the axes, to the values (m,) at the points.
    """
    nodes = scaled_nodes(header, domain)
    varying = [i for i in range(values.ndim) if len(nodes[i]) > 1]
    nodes = [nodes[i] for i in varying]
    scaled = [
        # Rounding could move a point at the end of an axis outside it.
        np.clip(domain[i].scaled(points[:, i], np), line[0], line[-1])
        for i, line in zip(varying, nodes, strict=True)
    ]
    values = interpolable(values).reshape([len(line) for line in nodes])
    if not varying:
        return np.full(len(points), values)
    result = np.empty(len(points))
    for first in range(0, len(points), _BATCH_SIZE):
        batch = slice(first, first + _BATCH_SIZE)
        line = PchipInterpolator(nodes[values.ndim - 1], values, axis=-1)(
            scaled[-1][batch]
        )
        for axis in reversed(range(values.ndim - 1)):
            # Each point has a different curve: the diagonal is that of each
            # curve at its point.
            curves = PchipInterpolator(nodes[axis], line, axis=-2)
            line = np.diagonal(curves(scaled[axis][batch]), axis1=-2, axis2=-1)
        result[batch] = line
    return result


def scaled_nodes(
    header: GridHeader, domain: Sequence[AxisDomain]
) -> list[NDArray[np.float64]]:
    """Return the nodes of each axis, scaled as in the emulator."""
    return [
        d.scaled(axis.values, np)
        for d, axis in zip(domain, header.axes, strict=True)
    ]


def name_for_axes(name: str, axes: Mapping[str, NDArray]) -> str:
    """Return the name of a grid with an eight-digit hash of its nodes.

    Synthesizer caches particle weights by the name of the grid, so that
    grids with different nodes need different names.
    """
    digest = hashlib.sha256()
    for axis, values in axes.items():
        digest.update(axis.encode())
        digest.update(np.asarray(values, np.float64).tobytes())
    return f"{name}_axes-{digest.hexdigest()[:8]}"


def _axis_name(given: str, axes: Mapping[str, Axis]) -> str:
    """Return the name of an axis without `log10`."""
    name = given if given in axes else given.removeprefix("log10")
    if name not in axes:
        raise InconsistentArguments(
            f"The grid has no axis '{given}'; it has: {', '.join(axes)}."
            + nearest(name, axes)
        )
    return name


def _check_unchanged(name: str, axis: Axis, header: GridHeader) -> None:
    """Raise if an axis was given twice."""
    if axis is not header_axes(header)[name]:
        raise InconsistentArguments(
            f"The axis '{name}' was given twice: pass it once, in either "
            "axes= or refine=."
        )


def _plain(given: str, values: ArrayLike, axis: Axis) -> NDArray[np.float64]:
    """Return axis values in the units of the axis, not logged."""
    logged = given != axis.name
    units = PURE if logged else axis.units
    plain = in_units(f"axes['{given}']", values, units)
    plain = np.atleast_1d(np.asarray(plain, np.float64))
    return 10.0**plain if logged else plain


def _divided(
    axis: Axis, domain: AxisDomain, parts: int
) -> NDArray[np.float64]:
    """Divide each interval of an axis equally in scaled coordinates."""
    nodes = axis.values
    steps = np.arange(len(nodes) * parts - parts + 1) / parts
    fine = domain.unscaled(
        np.interp(steps, np.arange(len(nodes)), domain.scaled(nodes, np))
    )
    fine[::parts] = nodes
    return fine


def _check_ascending(axis: Axis) -> None:
    """Raise unless the nodes are strictly ascending."""
    values = axis.values
    if values.ndim != 1 or not values.size or not np.all(np.diff(values) > 0):
        raise InconsistentArguments(
            f"The values of the axis '{axis.name}' must be one-dimensional "
            f"and strictly ascending, got {values}."
        )
