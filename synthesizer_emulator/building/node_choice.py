"""The choice of the nodes of a grid that is built from scattered samples."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from math import prod
from numbers import Integral
from typing import TypeAlias

import numpy as np
from numpy.typing import ArrayLike, NDArray
from synthesizer.exceptions import InconsistentArguments

from synthesizer_emulator.emulator.scaling import AxisDomain
from synthesizer_emulator.gridfile.header import Axis
from synthesizer_emulator.validation import check_memory

# The nodes along an axis: values, a number of nodes, or either as text.
NodeChoice: TypeAlias = "int | str | ArrayLike"

# The bytes per node in a build, to order of magnitude: enough to recognise a
# number of nodes that must be a typing error.
_NODE_BYTES = 2048


def choose_nodes(
    choice: NodeChoice, axis: Axis, domain: AxisDomain
) -> NDArray[np.float64]:
    """Return the nodes along an axis.

    Args:
        choice (int/str/array): The values in the units of the axis; or a
            number of nodes, evenly spaced over the domain in the axis's
            scale; or one of these as text: `50`, `1e6,1e7,1e8`, or
            `1e6:1e9:50` for 50 nodes between two values.
        axis (Axis): The axis.
        domain (AxisDomain): The range of the samples.

    Returns:
        np.ndarray of float: The nodes, ascending, (n,).

    Raises:
        InconsistentArguments: If the choice can't be understood, has fewer
            than two nodes, or one outside the domain.
    """
    values = np.atleast_1d(_parsed(choice, axis.name, domain))
    if values.ndim != 1 or len(values) < 2 or (np.diff(values) <= 0).any():
        raise InconsistentArguments(
            f"The axis '{axis.name}' needs at least two nodes, strictly "
            f"ascending, got {choice!r}."
        )
    return domain.require_inside(values)


def _parsed(
    choice: NodeChoice, name: str, domain: AxisDomain
) -> NDArray[np.float64]:
    """Convert a number of nodes or a text to nodes."""
    try:
        if isinstance(choice, str):
            if "," in choice:
                return np.array([float(part) for part in choice.split(",")])
            *ends, number = choice.split(":")
            if ends:
                first, last = (float(end) for end in ends)
                domain = replace(domain, low=first, high=last)
            choice = int(number)
        if isinstance(choice, Integral):
            _check_nodes(f"{choice} nodes of '{name}'", int(choice))
            low, high = domain.scaled(np.array([domain.low, domain.high]), np)
            nodes = domain.unscaled(np.linspace(low, high, int(choice)))
            nodes[[0, -1]] = domain.low, domain.high
            return nodes
        return np.asarray(choice, np.float64)
    except (ValueError, IndexError) as error:
        raise InconsistentArguments(
            f"The nodes of '{name}' must be values, or a number of nodes, or "
            f"LOW:HIGH:NUMBER, got {choice!r}."
        ) from error


def choose_axes(
    ends: Sequence[Axis],
    domain: Sequence[AxisDomain],
    choices: Mapping[str, NodeChoice],
) -> tuple[Axis, ...]:
    """Return the axes of a grid that is built from scattered samples.

    Args:
        ends (sequence of Axis): The axes with the ends of their range.
        domain (sequence of AxisDomain): The range of the samples.
        choices (Mapping): The choice of nodes for each axis, by its name.

    Returns:
        tuple of Axis: The axes with the chosen nodes.

    Raises:
        InconsistentArguments: If a choice is missing, or names no axis.
    """
    names = [axis.name for axis in ends]
    unknown = [name for name in choices if name not in names]
    missing = [axis for axis in ends if axis.name not in choices]
    if unknown or missing:
        wrong = (
            f"there is no parameter {', '.join(unknown)}"
            if unknown
            else f"{', '.join(a.name for a in missing)} has none"
        )
        ranges = ", ".join(
            f"{a.name} ({a.values[0]:g} to {a.values[1]:g})" for a in ends
        )
        raise InconsistentArguments(
            "Scattered samples need the nodes of the grid to build, for each "
            f"of {ranges}; {wrong}. Choose them with --axes {names[0]}=50, "
            f"--axes {names[0]}=LOW:HIGH:50 or a list of values; the built "
            "grid can be evaluated at other nodes at any time."
        )
    axes = tuple(
        replace(axis, values=choose_nodes(choices[axis.name], axis, limits))
        for axis, limits in zip(ends, domain, strict=True)
    )
    shape = [len(axis.values) for axis in axes]
    _check_nodes(f"A grid of {' x '.join(map(str, shape))} nodes", prod(shape))
    return axes


def _check_nodes(what: str, number: int) -> None:
    """Check that there is memory for so many nodes."""
    check_memory(what, _NODE_BYTES * float(number), "choose fewer")
