"""Selections of the nodes of a grid, or of samples, from text or YAML.

Hold-out experiments name nodes as text (`ages:2`, `metallicities=0.004`),
generalisation studies as blocks (`{ages: {from: 1e7, every: 2}}`).
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Self, TypeAlias

import numpy as np
from numpy.typing import NDArray
from synthesizer.exceptions import InconsistentArguments

from synthesizer_emulator.gridfile.header import Axis
from synthesizer_emulator.validation import check_whole, nearest

# The largest fractional difference between a value and the node it selects.
_TOLERANCE = 1e-3

# A block of nodes: for each axis a value, a list of values, or a range with
# these keys.
Block: TypeAlias = Mapping[str, Any]
_RANGE_KEYS = ("from", "to", "every")

_NO_LABEL = "The file of samples has no label"


@dataclass(frozen=True)
class Drop:
    """The nodes that a hold-out experiment leaves out.

    Attributes:
        parts (Mapping): For each axis either a whole number k, to leave out
            every k-th node, or the values of the nodes to leave out.
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
            Drop: The nodes to leave out: all nodes at a selected value of
                any of the axes.

        Raises:
            InconsistentArguments: If the text does not have this form.
        """
        parts: dict[str, int | tuple[float, ...]] = {}
        repeated: list[str] = []
        try:
            for word in text.split():
                name, sign, values = word.partition(
                    ":" if ":" in word else "="
                )
                if name in parts:
                    repeated.append(name)
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
                "Nodes to leave out must be given as AXIS:K (every K-th "
                "node, K at least 2) or AXIS=VALUE,..., for example ages:2; "
                f"got '{text}'."
            ) from error
        if repeated:
            raise InconsistentArguments(
                f"Nodes to leave out have the axis '{repeated[0]}' twice, in "
                f"'{text}': keep one, as in {repeated[0]}=VALUE,VALUE."
            )
        return cls(parts)

    def left_out(self, axes: tuple[Axis, ...]) -> dict[int, NDArray[np.intp]]:
        """Return the indices of the nodes to leave out, by axis index.

        Raises:
            InconsistentArguments: If an axis or node does not exist, an end
                of an axis would be left out, or no node would be left out.
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
    """Return the blocks of a region, given as one block or a list of them.

    Raises:
        InconsistentArguments: If the region is neither.
    """
    blocks = region if isinstance(region, list) else [region]
    if not blocks or not all(isinstance(block, dict) for block in blocks):
        raise InconsistentArguments(
            f"'{name}' must be a block such as {{metallicities: 0.004}}, or "
            f"a list of blocks ({{}} is the whole grid); got {region!r}."
        )
    return tuple(blocks)


def region_mask(
    axes: Sequence[Axis], blocks: Sequence[Block]
) -> NDArray[np.bool_]:
    """Return the mask of the nodes in any of several blocks.

    Args:
        axes (sequence of Axis): The axes of the grid.
        blocks (sequence of Mapping): For each axis the value of a node, a
            list of values, or a range with any of `from` and `to` (values,
            both included) and `every` (k, for every k-th node from the
            first); other axes are not restricted.

    Returns:
        np.ndarray of bool: The mask, (n1, ..., nd).

    Raises:
        InconsistentArguments: If an axis or node does not exist.
    """
    mask = np.zeros([len(axis.values) for axis in axes], bool)
    for block in blocks:
        indices = [np.arange(len(axis.values)) for axis in axes]
        for name, part in block.items():
            i = find_axis(axes, name)
            indices[i] = _block_nodes(axes[i], part)
        mask[np.ix_(*indices)] = True
    return mask


def sample_mask(
    labels: Sequence[Axis], blocks: Sequence[Block]
) -> NDArray[np.bool_]:
    """Return the mask of the scattered samples in any of several blocks.

    Args:
        labels (sequence of Axis): The labels, with the values of m samples.
        blocks (sequence of Mapping): As for `region_mask`, where the nodes
            of a label are its different values, in ascending order.

    Returns:
        np.ndarray of bool: The mask, (m,).

    Raises:
        InconsistentArguments: If a label or value does not exist.
    """
    mask = np.zeros(len(labels[0].values), bool)
    for block in blocks:
        inside = np.ones_like(mask)
        for name, part in block.items():
            label = labels[find_axis(labels, name, _NO_LABEL)]
            nodes, which = np.unique(label.values, return_inverse=True)
            label = replace(label, values=nodes)
            chosen = _block_nodes(label, part, "sample")
            inside &= np.isin(which, chosen)
        mask |= inside
    return mask


def _block_nodes(
    axis: Axis, part: Any, kind: str = "node"
) -> NDArray[np.intp]:
    """Return the indices of the nodes of an axis in a block."""
    try:
        if not isinstance(part, dict):
            values = part if isinstance(part, list) else [part]
            return nodes_at(axis, [float(v) for v in values], kind)
        if set(part).difference(_RANGE_KEYS):
            raise ValueError
        # YAML 1.1 reads 1e6 as text, because it has no decimal point.
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
            f"{kind.capitalize()}s of {axis.name} must be a value, a list of "
            f"values, or a range {{from: , to: , every: }}; got {part!r}."
            + "".join(nearest(key, _RANGE_KEYS) for key in unknown)
        ) from error


def find_axis(
    axes: Sequence[Axis], name: str, lacking: str = "The grid has no axis"
) -> int:
    """Return the index of an axis, given by name.

    Raises:
        InconsistentArguments: If the axis is missing; the message begins
            with `lacking`.
    """
    names = [axis.name for axis in axes]
    if name not in names:
        raise InconsistentArguments(
            f"{lacking} '{name}'; it has {', '.join(names)}."
            + nearest(name, names)
        )
    return names.index(name)


def nodes_at(
    axis: Axis, values: Sequence[float], kind: str = "node"
) -> NDArray[np.intp]:
    """Return the ascending indices of the nodes within 0.1 % of the values.

    Raises:
        InconsistentArguments: If a value does not match a node, which the
            message calls `kind`.
    """
    indices = []
    for value in values:
        distance = np.abs(axis.values - value)
        index = int(np.argmin(distance))
        if distance[index] > _TOLERANCE * abs(value):
            near = np.sort(axis.values[np.argsort(distance)[:2]])
            raise InconsistentArguments(
                f"{axis.name} has no {kind} at {value:g}; the nearest are "
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
    """Return the mask of the nodes that are not at the end of any axis.

    The node of an axis of one node is not at an end.
    """
    mask = np.zeros(shape, bool)
    mask[tuple(slice(1, -1) if n > 1 else slice(None) for n in shape)] = True
    return mask


def node_mesh(nodes: Sequence[NDArray]) -> NDArray:
    """Return all combinations of the nodes of axes, (n1, ..., nd, d)."""
    return np.stack(np.meshgrid(*nodes, indexing="ij"), axis=-1)


def with_all_axes(values: NDArray, shape: tuple[int, ...]) -> NDArray:
    """Repeat values (n1, ..., nk, n) along axes that they lack.

    Returns a view of shape (n1, ..., nd, n) for the nodes (n1, ..., nd).
    """
    lacking = len(shape) - (values.ndim - 1)
    if not lacking:
        return values
    inserted = (*values.shape[:-1], *(1,) * lacking, values.shape[-1])
    return np.broadcast_to(
        values.reshape(inserted), (*shape, values.shape[-1])
    )
