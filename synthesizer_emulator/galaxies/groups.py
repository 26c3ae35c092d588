"""Loops over similar filters, compiled once for all filters in a loop."""

from collections.abc import Callable, Hashable, Sequence
from typing import Protocol, TypeVar

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array

# The largest ratio of the window lengths of filters evaluated in one loop.
_LARGEST_RATIO = 1.5


class Windowed(Protocol):
    """A filter with a window of wavelengths."""

    @property
    def window(self) -> int:
        """The number of wavelengths in the filter."""


Filter = TypeVar("Filter", bound=Windowed)


def looped(
    function: Callable[[Filter], Array],
    filters: Sequence[Filter],
    stacked: Callable[[Sequence[Filter]], Filter],
    kinds: Sequence[Hashable] | None = None,
) -> Array:
    """Return a function of each filter, (n_filters,).

    Args:
        function (callable): The function of one filter, traced by JAX.
        filters (list): The filters, at least one.
        stacked (callable): Stacks filters along a new leading axis.
        kinds (list): What must be equal of filters that are stacked; nothing
            by default.
    """
    kinds = [None] * len(filters) if kinds is None else kinds
    groups = _similar([one.window for one in filters], kinds)
    results = [
        jax.lax.map(function, stacked([filters[i] for i in group]))
        for group in groups
    ]
    return jnp.concatenate(results)[np.argsort(np.concatenate(groups))]


def _similar(
    windows: Sequence[int], kinds: Sequence[Hashable]
) -> list[list[int]]:
    """Group the indices of filters that can be evaluated in one loop."""
    groups: list[list[int]] = []
    for i in sorted(range(len(windows)), key=windows.__getitem__):
        for group in groups:
            first = group[0]
            if (
                windows[i] <= _LARGEST_RATIO * windows[first]
                and kinds[i] == kinds[first]
            ):
                group.append(i)
                break
        else:
            groups.append([i])
    return groups
