"""Axes as people speak of them: labels, and nodes chosen among them.

Hold-outs and generalisation studies choose nodes; recovery, Jacobians and
figures want an axis logged where it spans decades.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from synthesizer.exceptions import InconsistentArguments

from synthesizer_emulator.gridfile.header import Axis
from synthesizer_emulator.validation import nearest

# An axis that the grid does not log, but that is positive and spans more
# than this factor, is logged where it is shown or fitted.
_WIDE_SPAN = 10.0

# How near, as a part, a value must be to a node to mean it.
_SAME = 1e-3

_TITLES = {
    "ages": "age",
    "metallicities": "metallicity",
    "ionisation_parameters": "ionisation parameter",
}


@dataclass(frozen=True)
class Label:
    """One axis of a grid as a label of its spectra.

    Attributes:
        axis (Axis): The axis.
    """

    axis: Axis

    @property
    def logged(self) -> bool:
        """Whether the label is log10 of the axis' values."""
        low, high = self.axis.values[0], self.axis.values[-1]
        wide = bool(low > 0 and high > _WIDE_SPAN * low)
        return self.axis.log_on_read or wide

    @property
    def nodes(self) -> NDArray[np.float64]:
        """The labels of the nodes, (n,)."""
        return np.asarray(self.of_values(self.axis.values, np))

    @property
    def title(self) -> str:
        """What to write on a plot's axis that shows values."""
        name = _TITLES.get(self.axis.name, self.axis.name.replace("_", " "))
        units = self.axis.units
        plain = units in ("", "None", "dimensionless")
        return name if plain else f"{name} / {units}"

    def of_values(self, values: Any, xp: Any) -> Any:
        """Return the labels of axis values.

        Args:
            values (array): Values in the units of the axis.
            xp (module): `numpy` or `jax.numpy`, whichever they belong to.
        """
        return xp.log10(values) if self.logged else values

    def to_values(self, labels: Any) -> Any:
        """Return the axis values of labels."""
        return 10.0**labels if self.logged else labels


def axis_values(labels: Sequence[Label], at: Any, xp: Any) -> Any:
    """Return the axis values (..., d) of points in labels (..., d).

    Args:
        labels (sequence of Label): The d axes.
        at (array): The points.
        xp (module): `numpy` or `jax.numpy`, whichever they belong to.
    """
    return xp.stack(
        [label.to_values(at[..., i]) for i, label in enumerate(labels)],
        axis=-1,
    )


def find_axis(axes: Sequence[Axis], name: str) -> int:
    """Return the position of an axis by its name.

    Raises:
        InconsistentArguments: If there is no such axis.
    """
    names = [axis.name for axis in axes]
    if name not in names:
        raise InconsistentArguments(
            f"The grid has no axis '{name}'; it has {', '.join(names)}."
            + nearest(name, names)
        )
    return names.index(name)


def inner(shape: tuple[int, ...]) -> NDArray[np.bool_]:
    """Return which nodes of a grid of some shape are at no end of an axis."""
    mask = np.zeros(shape, bool)
    mask[(slice(1, -1),) * len(shape)] = True
    return mask


def every(axis: Axis, step: int) -> NDArray[np.intp]:
    """Return every `step`-th node of an axis, never its ends."""
    return np.arange(step - 1, len(axis.values) - 1, step)


def within(axis: Axis, low: float, high: float) -> NDArray[np.intp]:
    """Return the nodes of an axis from `low` to `high`, both included."""
    near = _SAME * np.abs(axis.values)
    inside = (axis.values >= low - near) & (axis.values <= high + near)
    return np.flatnonzero(inside)


def matching(axis: Axis, values: Sequence[float]) -> NDArray[np.intp]:
    """Return the nodes of an axis that have these values.

    Raises:
        InconsistentArguments: If a value is no node; names its neighbours.
    """
    found = []
    for value in values:
        distance = np.abs(axis.values - value)
        index = int(np.argmin(distance))
        if distance[index] > _SAME * abs(value):
            near = np.sort(axis.values[np.argsort(distance)[:2]])
            raise InconsistentArguments(
                f"{axis.name} has no node at {value:g}; the nearest are "
                f"{' and '.join(f'{v:.6g}' for v in near)}."
            )
        found.append(index)
    return np.unique(np.array(found, np.intp))


def mesh_of(nodes: Sequence[NDArray]) -> NDArray:
    """Return every combination of values along axes, (n1, ..., nd, d)."""
    return np.stack(np.meshgrid(*nodes, indexing="ij"), axis=-1)
