"""Which nodes of a grid: read from text or YAML, and found on its axes.

Hold-out experiments name nodes as text (`ages:2`, `metallicities=0.004`),
generalisation studies as blocks (`{ages: {from: 1e7, every: 2}}`).
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Self, TypeAlias

import numpy as np
from numpy.typing import NDArray
from synthesizer.exceptions import InconsistentArguments

from synthesizer_emulator.gridfile.header import Axis
from synthesizer_emulator.validation import check_whole, nearest

# A value names a node if it differs by less than this fraction.
_TOLERANCE = 1e-3

# A block of nodes: by axis, a value, a list of values, or a range with
# these keys.
Block: TypeAlias = Mapping[str, Any]
_RANGE_KEYS = ("from", "to", "every")


@dataclass(frozen=True)
class Drop:
    """The nodes that a hold-out experiment leaves out.

    Attributes:
        parts (Mapping): For each axis either a whole number k, for every
            k-th node, or the values of the nodes.
    """

    parts: Mapping[str, int | tuple[float, ...]]

    @classmethod
    def parse(cls, text: str) -> Self:
        """Parse text such as `ages:2` or `metallicities=0.004,0.02`.

        Args:
            text (str): `AXIS:K` for every k-th node of an axis except its
                ends, or `AXIS=VALUE,...` for the nodes of these values;
                several axes are separated by spaces.

        Returns:
            Drop: The nodes to leave out; with several axes, all nodes at
                one of these values of any of them.

        Raises:
            InconsistentArguments: If the text has another form.
        """
        parts: dict[str, int | tuple[float, ...]] = {}
        try:
            for word in text.split():
                name, sign, values = word.partition(
                    ":" if ":" in word else "="
                )
                if sign == ":":
                    step = int(values)
                    check_whole("the step", step, 2)
                    parts[name] = step
                else:
                    parts[name] = tuple(map(float, values.split(",")))
            if not parts:
                raise ValueError
        except (ValueError, InconsistentArguments) as error:
            raise InconsistentArguments(
                "Nodes to leave out are given as AXIS:K (every k-th, K at "
                "least 2) or AXIS=VALUE,..., for example ages:2; got "
                f"'{text}'."
            ) from error
        return cls(parts)

    def left_out(self, axes: tuple[Axis, ...]) -> dict[int, NDArray[np.intp]]:
        """Return the indices of the nodes to leave out along each axis.

        Args:
            axes (tuple of Axis): The axes of the grid.

        Returns:
            dict: The indices, by the position of the axis.

        Raises:
            InconsistentArguments: If there is no such axis or node, if an
                end of an axis would be left out, or if no node would.
        """
        indices = {}
        for name, part in self.parts.items():
            i = find_axis(axes, name)
            axis, n = axes[i], len(axes[i].values)
            if isinstance(part, int):
                indices[i] = np.arange(part - 1, n - 1, part)
            else:
                indices[i] = nodes_at(axis, part)
            if {0, n - 1} & set(indices[i].tolist()):
                raise InconsistentArguments(
                    f"The ends of {name} ({axis.values[0]:g} and "
                    f"{axis.values[-1]:g}) can't be left out: no method "
                    "extrapolates beyond the last node."
                )
            if not len(indices[i]):
                raise InconsistentArguments(
                    f"'{name}:{part}' leaves out none of the {n} nodes of "
                    f"{name}: choose a smaller step."
                )
        return indices


def as_blocks(name: str, region: Any) -> tuple[Block, ...]:
    """Return the blocks of a region of a study.

    Args:
        name (str): The name of the region, for messages.
        region (Mapping/list): A block, or a list of blocks.

    Raises:
        InconsistentArguments: If it is neither.
    """
    blocks = region if isinstance(region, list) else [region]
    if not blocks or not all(isinstance(block, dict) for block in blocks):
        raise InconsistentArguments(
            f"'{name}' takes blocks such as {{metallicities: 0.004}}, or a "
            f"list of them ({{}} is the whole grid); got {region!r}."
        )
    return tuple(blocks)


def region_mask(
    axes: Sequence[Axis], blocks: Sequence[Block]
) -> NDArray[np.bool_]:
    """Return a mask of the nodes that lie in any of some blocks.

    Args:
        axes (sequence of Axis): The axes of the grid.
        blocks (sequence of Mapping): For each axis the value of a node, a
            list of values, or a range with any of `from` and `to` (values,
            both included) and `every` (k, for every k-th node from the
            first); an axis that is not named is not restricted.

    Returns:
        np.ndarray of bool: The mask, (n1, ..., nd).

    Raises:
        InconsistentArguments: If there is no such axis or node.
    """
    mask = np.zeros([len(axis.values) for axis in axes], bool)
    for block in blocks:
        indices = [np.arange(len(axis.values)) for axis in axes]
        for name, part in block.items():
            i = find_axis(axes, name)
            indices[i] = _block_nodes(axes[i], part)
        mask[np.ix_(*indices)] = True
    return mask


def _block_nodes(axis: Axis, part: Any) -> NDArray[np.intp]:
    """Return the indices of the nodes of an axis in a block."""
    try:
        if not isinstance(part, dict):
            values = part if isinstance(part, list) else [part]
            return nodes_at(axis, [float(v) for v in values])
        if set(part).difference(_RANGE_KEYS):
            raise ValueError
        # YAML 1.1 reads 1e6 as text, for lack of a point.
        low = float(part.get("from", axis.values[0]))
        high = float(part.get("to", axis.values[-1]))
        step = int(part.get("every", 1))
        check_whole(f"every of {axis.name}", step, 1)
        return nodes_between(axis, low, high)[::step]
    except (TypeError, ValueError) as error:
        unknown = [
            key
            for key in (part if isinstance(part, dict) else ())
            if key not in _RANGE_KEYS
        ]
        raise InconsistentArguments(
            f"Nodes of {axis.name} are a value, a list of values, or a range "
            f"{{from: , to: , every: }}; got {part!r}."
            + "".join(nearest(key, _RANGE_KEYS) for key in unknown)
        ) from error


def find_axis(axes: Sequence[Axis], name: str) -> int:
    """Return the position of an axis by its name.

    Args:
        axes (sequence of Axis): The axes of the grid.
        name (str): The name.

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


def nodes_at(axis: Axis, values: Sequence[float]) -> NDArray[np.intp]:
    """Return the indices of the nodes of given values, ascending.

    Args:
        axis (Axis): The axis.
        values (sequence of float): The values, to within 0.1 %.

    Raises:
        InconsistentArguments: If there is no node at one of the values.
    """
    indices = []
    for value in values:
        distance = np.abs(axis.values - value)
        index = int(np.argmin(distance))
        if distance[index] > _TOLERANCE * abs(value):
            near = np.sort(axis.values[np.argsort(distance)[:2]])
            raise InconsistentArguments(
                f"{axis.name} has no node at {value:g}; the nearest are "
                f"{' and '.join(f'{v:.6g}' for v in near)}."
            )
        indices.append(index)
    return np.unique(np.array(indices, np.intp))


def nodes_between(axis: Axis, low: float, high: float) -> NDArray[np.intp]:
    """Return the indices of the nodes from `low` to `high`, both included."""
    margin = _TOLERANCE * np.abs(axis.values)
    inside = (axis.values >= low - margin) & (axis.values <= high + margin)
    return np.flatnonzero(inside)


def inner_mask(shape: tuple[int, ...]) -> NDArray[np.bool_]:
    """Return a mask of the nodes that are at no end of any axis."""
    mask = np.zeros(shape, bool)
    mask[(slice(1, -1),) * len(shape)] = True
    return mask


def node_mesh(nodes: Sequence[NDArray]) -> NDArray:
    """Return every combination of values along axes, (n1, ..., nd, d)."""
    return np.stack(np.meshgrid(*nodes, indexing="ij"), axis=-1)
