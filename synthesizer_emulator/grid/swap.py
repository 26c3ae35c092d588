"""Emulated grids in code that asks for native ones.

For scripts that shall not be edited, and for libraries that make their own
`Grid`. Who writes `EmulatedGrid` instead does not need it.
"""

import builtins
import importlib.util
import os
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import wraps
from importlib.abc import MetaPathFinder
from importlib.machinery import ModuleSpec, SourceFileLoader
from multiprocessing import spawn
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from synthesizer.grid import Grid

# Where the class is that is swapped. It is not imported here: a script that
# runs below may set the environment before it loads Synthesizer or JAX.
_HOME = "synthesizer.grid"


@dataclass
class Swaps:
    """Which grids were asked for, by name and in order.

    Attributes:
        emulated (list of str): Those that came from networks.
        native (list of str): Those without weights, read as ever.
        failed (list of str): Those that did not load.
    """

    emulated: list[str] = field(default_factory=list)
    native: list[str] = field(default_factory=list)
    failed: list[str] = field(default_factory=list)

    def __str__(self) -> str:
        """Return one line that says it."""
        said = (
            f"Emulated grids: {', '.join(self.emulated) or 'none'}; "
            f"native grids: {', '.join(self.native) or 'none'}"
        )
        failed = f"; not loaded: {', '.join(self.failed)}"
        return f"{said}{failed if self.failed else ''}."


_in_force: list[Swaps] = []

# What a grid keeps, until it is loaded, of what was asked for.
_ASKED = "_asked_for"


@contextmanager
def emulated_grids() -> Iterator[Swaps]:
    """Make `Grid(...)` an `EmulatedGrid` wherever there are weights.

    Within the block, `Grid(name, grid_dir, ...)` returns an `EmulatedGrid`
    if the folder holds weights of that name, and a native grid otherwise;
    it does not matter which module asks, or how it imported `Grid`. Other
    threads see it, too, and so do processes that `multiprocessing` starts
    within; what these ask for is not noted.

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
    swaps = _start()
    try:
        yield swaps
    finally:
        _in_force.remove(swaps)


def run_script(
    script: str | Path,
    arguments: Sequence[str],
    report: Callable[[Swaps], None] | None = None,
) -> Swaps:
    """Run a Python script with emulated grids, as `python script` would.

    What the script raises is shown as Python shows it, and raised again.

    Args:
        script (str/Path): The script.
        arguments (sequence of str): Its command line arguments.
        report (function): Called with the swaps at the end, also when the
            script fails or exits.

    Returns:
        Swaps: Which grids it asked for.
    """
    process = os.getpid()
    with emulated_grids() as swaps, _as_main(script, arguments) as main:
        try:
            _execute(main)
        finally:
            # A process that the script forked is not the script.
            if report is not None and os.getpid() == process:
                report(swaps)
    return swaps


@contextmanager
def _as_main(
    script: str | Path, arguments: Sequence[str]
) -> Iterator[ModuleType]:
    """Make a script the main module, as `python script` does."""
    was = sys.argv, sys.orig_argv, sys.path, sys.modules["__main__"]
    # Absolute, but with links and dots as they are, which a Path would lose.
    path = os.path.join(Path.cwd(), script)  # noqa: PTH118
    main = ModuleType("__main__")
    main.__dict__.update(
        __loader__=SourceFileLoader("__main__", path),
        __annotations__={},
        __builtins__=builtins,
        __file__=path,
        __cached__=None,
    )
    sys.argv = [str(script), *arguments]
    sys.orig_argv = [sys.executable, *sys.argv]
    if not sys.flags.safe_path:
        # In place of the folder of the command that runs it.
        sys.path = [str(Path(path).resolve().parent), *sys.path[1:]]
    sys.modules["__main__"] = main
    try:
        yield main
    finally:
        sys.argv, sys.orig_argv, sys.path, sys.modules["__main__"] = was


def _execute(main: ModuleType) -> None:
    """Run the code of the main module; show what it raises, and raise it."""
    path = str(main.__file__)
    try:
        code = compile(
            Path(path).read_bytes(), path, "exec", dont_inherit=True
        )
        exec(code, main.__dict__)
    except SystemExit:
        raise
    except BaseException as error:
        # From the script on: nothing above it is its own.
        trace = error.__traceback__
        error.with_traceback(trace and trace.tb_next)
        sys.excepthook(type(error), error, error.__traceback__)
        raise


def _start() -> Swaps:
    """Put emulated grids in force."""
    home = sys.modules.get(_HOME)
    if home is None:
        sys.meta_path.insert(0, _OnImport())
    else:
        _take_over(home.Grid)
    spawn.get_preparation_data = _preparation
    swaps = Swaps()
    _in_force.append(swaps)
    return swaps


class _OnImport(MetaPathFinder):
    """Takes over Synthesizer's `Grid` as soon as someone imports it."""

    def find_spec(
        self, name: str, path: Any = None, target: Any = None
    ) -> ModuleSpec | None:
        """Return the module's own spec, which takes over at its end."""
        if name != _HOME:
            return None
        sys.meta_path.remove(self)
        spec = importlib.util.find_spec(name)
        if spec is not None and spec.loader is not None:
            execute = spec.loader.exec_module

            def then_take_over(module: ModuleType) -> None:
                execute(module)
                _take_over(module.Grid)

            spec.loader.exec_module = then_take_over  # type: ignore[method-assign]
        return spec


def _take_over(grid: type["Grid"]) -> None:
    """Let the class choose which class is due, and note what loads.

    It stays when a block ends: a class whose __new__ was deleted again
    can't be called with arguments any more (CPython).
    """
    if grid.__new__ is not _new_grid:
        grid.__new__ = staticmethod(_new_grid)  # type: ignore[assignment]
        grid.__init__ = _noting(grid.__init__)


def _new_grid(
    cls: type["Grid"],
    grid_name: str | None = None,
    grid_dir: str | Path | None = None,
    *_: Any,
    **__: Any,
) -> "Grid":
    """Return a new grid for `__init__` to fill, of the class that is due."""
    native = sys.modules[_HOME].Grid
    # Copies and pickles come without a name.
    if cls is not native or grid_name is None or not _in_force:
        return object.__new__(cls)
    from synthesizer_emulator.grid.emulated_grid import EmulatedGrid
    from synthesizer_emulator.weights.grid_match import find_weights

    swaps, name = _in_force[-1], str(grid_name)
    emulated = find_weights(name, grid_dir) is not None
    grid: Grid = object.__new__(EmulatedGrid if emulated else native)
    _note(name, swaps.failed)
    grid.__dict__[_ASKED] = name, swaps, emulated
    return grid


def _noting(load: Callable[..., None]) -> Callable[..., None]:
    """Return a grid's `__init__` that notes when it came to its end."""

    @wraps(load)
    def load_and_note(grid: "Grid", *args: Any, **kwargs: Any) -> None:
        asked = grid.__dict__.pop(_ASKED, None)
        load(grid, *args, **kwargs)
        if asked is not None:
            name, swaps, emulated = asked
            swaps.failed.remove(name)
            _note(name, swaps.emulated if emulated else swaps.native)

    return load_and_note


def _note(name: str, names: list[str]) -> None:
    """Add a name where it is not yet."""
    if name not in names:
        names.append(name)


_prepare = spawn.get_preparation_data


def _preparation(name: str) -> dict[str, Any]:
    """Return what a spawned process begins with: emulated grids as well."""
    data = _prepare(name)
    if _in_force:
        data["emulated_grids"] = _Started()
    return data


class _Started:
    """Puts emulated grids in force where it is unpickled."""

    def __reduce__(self) -> tuple[Callable[[], Swaps], tuple[()]]:
        return _start, ()
