"""Emulated grids in code that asks for native ones.

For scripts that shall not be edited, and for libraries that make their own
`Grid`. Who writes `EmulatedGrid` instead does not need it.
"""

import runpy
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from synthesizer.grid import Grid

from synthesizer_emulator.grid import EmulatedGrid, find_weights


@dataclass
class Swaps:
    """Which grids were asked for, by name and in order.

    Attributes:
        emulated (list of str): Those that came from networks.
        native (list of str): Those without weights, read as ever.
    """

    emulated: list[str] = field(default_factory=list)
    native: list[str] = field(default_factory=list)

    def __str__(self) -> str:
        """Return one line that says it."""
        return (
            f"Emulated grids: {', '.join(self.emulated) or 'none'}; "
            f"native grids: {', '.join(self.native) or 'none'}."
        )


_in_force: list[Swaps] = []


@contextmanager
def emulated_grids() -> Iterator[Swaps]:
    """Make `Grid(...)` an `EmulatedGrid` wherever there are weights.

    Within the block, `Grid(name, grid_dir, ...)` returns an `EmulatedGrid`
    if the folder holds weights of that name, and a native grid otherwise;
    it does not matter which module asks, or how it imported `Grid`. Other
    threads see it, too; other processes only if they were forked within.

    Yields:
        Swaps: What was asked for so far.

    Examples:
        >>> from synthesizer.grid import Grid
        >>> from synthesizer_emulator import EmulatedGrid, emulated_grids
        >>> folder = EmulatedGrid.example().grid_dir
        >>> with emulated_grids() as swaps:
        ...     grid = Grid("bc03-example", grid_dir=folder)
        >>> isinstance(grid, EmulatedGrid)
        True
        >>> print(swaps)
        Emulated grids: bc03-example; native grids: none.
    """
    # It stays when the block ends: a class whose __new__ was deleted again
    # can't be called with arguments any more (CPython).
    Grid.__new__ = staticmethod(_new_grid)
    swaps = Swaps()
    _in_force.append(swaps)
    try:
        yield swaps
    finally:
        _in_force.remove(swaps)


def run_script(
    script: Path,
    arguments: Sequence[str],
    report: Callable[[Swaps], None] | None = None,
) -> Swaps:
    """Run a Python script with emulated grids, as `python script` would.

    Args:
        script (Path): The script.
        arguments (sequence of str): Its command line arguments.
        report (function): Called with the swaps at the end, also when the
            script fails or exits.

    Returns:
        Swaps: Which grids it asked for.
    """
    argv, path = sys.argv, sys.path
    sys.argv = [str(script), *arguments]
    sys.path = [str(script.parent.resolve()), *path[1:]]
    with emulated_grids() as swaps:
        try:
            runpy.run_path(str(script), run_name="__main__")
        finally:
            sys.argv, sys.path = argv, path
            if report is not None:
                report(swaps)
    return swaps


def _new_grid(
    cls: type[Grid],
    grid_name: str | None = None,
    grid_dir: str | Path | None = None,
    *_: Any,
    **__: Any,
) -> Grid:
    """Return a new grid for `__init__` to fill, of the class that is due."""
    # Copies and pickles come without a name.
    if cls is not Grid or grid_name is None or not _in_force:
        return object.__new__(cls)
    swaps = _in_force[-1]
    found = find_weights(grid_name, grid_dir)
    asked = swaps.native if found is None else swaps.emulated
    if grid_name not in asked:
        asked.append(grid_name)
    return object.__new__(Grid if found is None else EmulatedGrid)
