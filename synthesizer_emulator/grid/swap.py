"""Replacement of `Grid` by `EmulatedGrid` in existing code.

For scripts that are run unedited, and for libraries that call `Grid(...)`
internally.
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

# The module of the replaced class. It is not imported here: a script may set
# environment variables before it imports Synthesizer or JAX.
_GRID_MODULE = "synthesizer.grid"


@dataclass
class Swaps:
    """The names of the grids loaded within `emulated_grids`.

    Attributes:
        emulated (list of str): The emulated grids.
        native (list of str): The grids without weights, read from files.
        failed (list of str): The grids that could not be loaded.
        suggestions (dict): For grids that are not there, the hint that
            others have similar names.
    """

    emulated: list[str] = field(default_factory=list)
    native: list[str] = field(default_factory=list)
    failed: list[str] = field(default_factory=list)
    suggestions: dict[str, str] = field(default_factory=dict)

    def __str__(self) -> str:
        """Return the names of the grids in one line."""
        loaded = (
            f"Emulated grids: {', '.join(self.emulated) or 'none'}; "
            f"native grids: {', '.join(self.native) or 'none'}"
        )
        failed = f"; not loaded: {', '.join(self.failed)}"
        hints = (self.suggestions.get(name, "") for name in self.failed)
        return f"{loaded}{failed if self.failed else ''}.{''.join(hints)}"


# The records of the `emulated_grids` blocks that have not ended.
_active: list[Swaps] = []

# The attribute that marks a grid as swapped until it is loaded.
_LOADING = "_swap_loading"


@contextmanager
def emulated_grids() -> Iterator[Swaps]:
    """Make `Grid(...)` return an `EmulatedGrid` if its weights exist.

    Within the block, `Grid(name, grid_dir, ...)` returns an `EmulatedGrid`
    if the folder contains weights of that name, and a native grid otherwise,
    regardless of the module that calls it and of how that imported `Grid`.
    This includes other threads, and processes that `multiprocessing` starts
    in the block; the grids of these processes are not recorded.

    Yields:
        Swaps: The grids loaded so far.

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
        _active.remove(swaps)


def run_script(
    script: str | Path,
    arguments: Sequence[str],
    report: Callable[[Swaps], None] | None = None,
) -> Swaps:
    """Run a Python script with emulated grids, as in `python script`.

    An exception in the script is printed as in Python, and raised again.

    Args:
        script (str/Path): The script.
        arguments (sequence of str): Its command line arguments.
        report (function): Called with the `Swaps` at the end, also if the
            script fails or exits.

    Returns:
        Swaps: The grids that the script loaded.
    """
    process = os.getpid()
    with emulated_grids() as swaps, _as_main(script, arguments) as main:
        try:
            _execute(main)
        finally:
            # Skip the report in processes that the script forked.
            if report is not None and os.getpid() == process:
                report(swaps)
    return swaps


@contextmanager
def _as_main(
    script: str | Path, arguments: Sequence[str]
) -> Iterator[ModuleType]:
    """Make a script the main module, as in `python script`."""
    before = sys.argv, sys.orig_argv, sys.path, sys.modules["__main__"]
    # Absolute, with links and dots unresolved: a Path would drop the dots.
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
        # Replace the folder of the command.
        sys.path = [str(Path(path).resolve().parent), *sys.path[1:]]
    sys.modules["__main__"] = main
    try:
        yield main
    finally:
        sys.argv, sys.orig_argv, sys.path, sys.modules["__main__"] = before


def _execute(main: ModuleType) -> None:
    """Run the code of the main module; print and raise its exceptions."""
    path = str(main.__file__)
    try:
        code = compile(
            Path(path).read_bytes(), path, "exec", dont_inherit=True
        )
        exec(code, main.__dict__)
    except SystemExit:
        raise
    except BaseException as error:
        # Start the traceback at the script, without this function.
        trace = error.__traceback__
        error.with_traceback(trace and trace.tb_next)
        sys.excepthook(type(error), error, error.__traceback__)
        raise


def _start() -> Swaps:
    """Start replacing grids, and return the record of the grids loaded."""
    module = sys.modules.get(_GRID_MODULE)
    if module is None:
        sys.meta_path.insert(0, _OnImport())
    else:
        _patch(module.Grid)
    spawn.get_preparation_data = _preparation
    swaps = Swaps()
    _active.append(swaps)
    return swaps


class _OnImport(MetaPathFinder):
    """A finder that patches Synthesizer's `Grid` on its first import."""

    def find_spec(
        self, name: str, path: Any = None, target: Any = None
    ) -> ModuleSpec | None:
        """Return the spec of the module, with a loader that patches."""
        if name != _GRID_MODULE:
            return None
        sys.meta_path.remove(self)
        spec = importlib.util.find_spec(name)
        if spec is not None and spec.loader is not None:
            execute = spec.loader.exec_module

            def execute_and_patch(module: ModuleType) -> None:
                execute(module)
                _patch(module.Grid)

            spec.loader.exec_module = execute_and_patch  # type: ignore[method-assign]
        return spec


def _patch(grid: type["Grid"]) -> None:
    """Patch `Grid(...)` to choose its class and record the loaded grids.

    The patch is permanent: in CPython, a class whose __new__ was set and
    deleted can no longer be called with arguments.
    """
    if grid.__new__ is not _new_grid:
        grid.__new__ = staticmethod(_new_grid)  # type: ignore[assignment]
        grid.__init__ = _recording(grid.__init__)


def _new_grid(
    cls: type["Grid"],
    grid_name: str | None = None,
    grid_dir: str | Path | None = None,
    *_: Any,
    **__: Any,
) -> "Grid":
    """Return an uninitialised grid, emulated or native."""
    native = sys.modules[_GRID_MODULE].Grid
    # Copying and unpickling pass no name.
    if cls is not native or grid_name is None or not _active:
        return object.__new__(cls)
    from synthesizer_emulator.grid.emulated_grid import EmulatedGrid
    from synthesizer_emulator.gridfile.places import similar_grids
    from synthesizer_emulator.weights.grid_match import find_weights

    swaps, name = _active[-1], str(grid_name)
    emulated = find_weights(name, grid_dir) is not None
    if not emulated:
        swaps.suggestions[name] = similar_grids(name, grid_dir)
    grid: Grid = object.__new__(EmulatedGrid if emulated else native)
    _add_once(name, swaps.failed)
    grid.__dict__[_LOADING] = name, swaps, emulated
    return grid


def _recording(load: Callable[..., None]) -> Callable[..., None]:
    """Return an `__init__` that also records that the grid is loaded."""

    @wraps(load)
    def load_and_record(grid: "Grid", *args: Any, **kwargs: Any) -> None:
        swapped = grid.__dict__.pop(_LOADING, None)
        load(grid, *args, **kwargs)
        if swapped is not None:
            name, swaps, emulated = swapped
            swaps.failed.remove(name)
            _add_once(name, swaps.emulated if emulated else swaps.native)

    return load_and_record


def _add_once(name: str, names: list[str]) -> None:
    """Append a name to a list, unless the list contains it."""
    if name not in names:
        names.append(name)


_prepare = spawn.get_preparation_data


def _preparation(name: str) -> dict[str, Any]:
    """Return the start-up data of a process that also replaces grids."""
    data = _prepare(name)
    if _active:
        data["emulated_grids"] = _StartWhenUnpickled()
    return data


class _StartWhenUnpickled:
    """An object that starts replacing grids where it is unpickled."""

    def __reduce__(self) -> tuple[Callable[[], Swaps], tuple[()]]:
        return _start, ()
