"""The nodes of a grid that is built from scattered samples."""

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

# The order of magnitude of the memory per node in a build, bytes, to catch a
# mistyped number of nodes.
_NODE_BYTES = 2048


def choose_nodes(
    choice: NodeChoice, axis: Axis, domain: AxisDomain
) -> NDArray[np.float64]:
    """Return the nodes of the grid to build, along one axis.

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
        InconsistentArguments: If the choice can't be parsed, has fewer than
            two nodes, or has a node outside the domain.
    """
    values = np.atleast_1d(_parsed(choice, axis.name, domain))
    if values.ndim != 1 or len(values) < 2 or (np.diff(values) <= 0).any():
        raise InconsistentArguments(
            f"The axis '{axis.name}' must have at least two nodes, strictly "
            f"ascending; got {choice!r}."
        )
    return domain.require_inside(values)


def _parsed(
    choice: NodeChoice, name: str, domain: AxisDomain
) -> NDArray[np.float64]:
    """Convert a number of nodes, or text, to the values of the nodes."""
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
        ends (sequence of Axis): The axes, with the limits of their range as
            values.
        domain (sequence of AxisDomain): The range of the samples.
        choices (Mapping): The choice of nodes for each axis, by its name.

    Returns:
        tuple of Axis: The axes with the chosen nodes.

    Raises:
        InconsistentArguments: If a choice is missing, or an axis is unknown.
    """
    names = [axis.name for axis in ends]
    unknown = [name for name in choices if name not in names]
    missing = [axis for axis in ends if axis.name not in choices]
    if unknown or missing:
        wrong = (
            f"got the unknown parameter {', '.join(unknown)}"
            if unknown
            else f"got none for {', '.join(a.name for a in missing)}"
        )
        ranges = ", ".join(
            f"{a.name} ({a.values[0]:g} to {a.values[1]:g})" for a in ends
        )
        raise InconsistentArguments(
            "Scattered samples need the nodes of the grid to build along "
            f"{ranges}; {wrong}. Use --axes {names[0]}=50, --axes "
            f"{names[0]}=LOW:HIGH:50 or a list of values (axes=); the "
            "emulated grid can be evaluated at other nodes later."
        )
    axes = tuple(
        replace(axis, values=choose_nodes(choices[axis.name], axis, limits))
        for axis, limits in zip(ends, domain, strict=True)
    )
    shape = [len(axis.values) for axis in axes]
    _check_nodes(f"A grid of {' x '.join(map(str, shape))} nodes", prod(shape))
    return axes


def _check_nodes(subject: str, n_nodes: int) -> None:
    """Raise if a number of nodes does not fit into memory."""
    check_memory(subject, _NODE_BYTES * float(n_nodes), "use fewer")
