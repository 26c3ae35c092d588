"""Groups of filters that are evaluated in one loop, compiled once for all."""

from collections.abc import Hashable, Sequence

# The largest ratio of the window lengths of filters evaluated in one loop.
_LARGEST_RATIO = 1.5


def similar(
    windows: Sequence[int], kinds: Sequence[Hashable]
) -> list[list[int]]:
    """Group the indices of filters that can be evaluated in one loop.

    Args:
        windows (list of int): The numbers of wavelengths in the filters.
        kinds (list): What must be equal in a group.
    """
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
