"""The folders in which grids and weights are looked up, and their order.

The order is the same everywhere, so that `EmulatedGrid(name)` finds the
weights that `build name` wrote.
"""

from importlib.resources import files
from pathlib import Path

from synthesizer.data.initialise import get_grids_dir
from synthesizer.exceptions import GridError

from synthesizer_emulator.validation import nearest

SUFFIX = ".emulator.hdf5"
_DATA = "synthesizer_emulator.data"


def example_folder() -> Path:
    """Return the folder of the example grid and the shipped weights."""
    return Path(str(files(_DATA)))


def pretrained() -> tuple[str, ...]:
    """Return the names of the grids whose weights ship with the package."""
    found = example_folder().glob(f"*{SUFFIX}")
    return tuple(sorted(plain_name(path.name) for path in found))


def weights_path(grid: Path) -> Path:
    """Return the default path of a grid's weights: beside the grid.

    Args:
        grid (Path): The path of the grid, with or without `.hdf5`.
    """
    return grid.with_name(f"{plain_name(grid.name)}{SUFFIX}")


def plain_name(grid: str | Path) -> str:
    """Return the name of a grid without `.hdf5` or `.emulator.hdf5`.

    Args:
        grid (str/Path): The name of the grid, or of its file or weights.
    """
    return str(grid).removesuffix(SUFFIX).removesuffix(".hdf5")


def folders(grid_dir: str | Path | None = None) -> list[Path]:
    """Return the folders in which a grid is looked up, in this order.

    Args:
        grid_dir (str/Path): The only folder to look in.

    Returns:
        list of Path: `grid_dir`; by default the working directory,
            Synthesizer's grid folder, and the data of the package.
    """
    if grid_dir is not None:
        return [Path(grid_dir)]
    return [Path(), Path(get_grids_dir()), example_folder()]


def locate(
    grid: str | Path, grid_dir: str | Path | None = None
) -> tuple[Path | None, Path | None]:
    """Return the paths of a grid's weights and of the grid itself.

    Args:
        grid (str/Path): The name of the grid, or a path to it or to its
            weights.
        grid_dir (str/Path): As for `folders`.

    Returns:
        tuple: The first weights file, or None; and the first grid file up
            to the folder of the weights, or None.

    Raises:
        GridError: If `grid` is not the name of a file.
    """
    _check_named(grid)
    native = None
    for folder in folders(grid_dir):
        stem = folder / plain_name(grid)
        candidate = stem.with_name(f"{stem.name}.hdf5")
        weights = weights_path(stem)
        if native is None and candidate.is_file():
            native = candidate
        if weights.is_file():
            return weights, native
    return None, native


def find_grid(grid: str | Path, grid_dir: str | Path | None = None) -> Path:
    """Return the path of a grid file given as a path or a name.

    Args:
        grid (str/Path): A path, or a name, with or without the extension
            `.hdf5`.
        grid_dir (str/Path): As for `folders`.

    Returns:
        Path: The path of the existing file.

    Raises:
        GridError: If there is no such file; lists the paths searched.
    """
    _check_named(grid)
    given = Path(grid)
    # Official names hold dots and commas, so only `.hdf5` is taken off.
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
    looked = ", ".join(f"'{c}'" for c in candidates)
    raise GridError(
        f"No grid file '{grid}': looked for {looked}."
        f"{similar(given, grid_dir, '.hdf5')} Pass the path of a Synthesizer "
        "grid, or its name and the folder it is in; `synthesizer-emulator "
        "bc03 --out DIR` makes one from BC03."
    )


def _check_named(grid: str | Path) -> None:
    """Raise a GridError for a path without a name, such as a folder."""
    if not Path(plain_name(grid)).name:
        raise GridError(f"'{grid}' names no grid: pass a path or a name.")


def similar(grid: str | Path, grid_dir: str | Path | None, ending: str) -> str:
    """Return a suggestion of a grid with a similar name, for errors.

    Args:
        grid (str/Path): The name or path that was not found.
        grid_dir (str/Path): As for `folders`.
        ending (str): The ending of the files to search.
    """
    beside = [(f / plain_name(grid)).parent for f in folders(grid_dir)]
    known = [
        plain_name(path.name)
        for folder in beside
        if folder.is_dir()
        for path in folder.glob(f"*{ending}")
    ]
    return nearest(Path(plain_name(grid)).name, known)


def grid_name_of(path: Path) -> str:
    """Return the name of a grid: its file name without the extension.

    Official names hold dots and commas, so only `.hdf5` is taken off.
    """
    return path.name.removesuffix(".hdf5")
