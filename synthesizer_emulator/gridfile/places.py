"""Where the files of a grid are looked for, and in which order.

One order for all that takes the name of a grid, so that `EmulatedGrid(name)`
finds what `build name` wrote.
"""

from importlib.resources import files
from pathlib import Path

from synthesizer.data.initialise import get_grids_dir
from synthesizer.exceptions import GridError

from synthesizer_emulator.validation import nearest

SUFFIX = ".emulator.hdf5"
_DATA = "synthesizer_emulator.data"


def example_folder() -> Path:
    """Return the folder of the example grid that ships with the package.

    The trained weights that do are there as well.
    """
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
    """Return the name of a grid without what files of it end in.

    Args:
        grid (str/Path): The name of the grid, or of a file of it.
    """
    return str(grid).removesuffix(SUFFIX).removesuffix(".hdf5")


def folders(grid_dir: str | Path | None = None) -> list[Path]:
    """Return where a grid is looked for, in this order.

    Args:
        grid_dir (str/Path): The folder of the grid, and nowhere else.

    Returns:
        list of Path: By default the working directory, which a path starts
            from, then Synthesizer's grid folder, then what ships with the
            package.
    """
    if grid_dir is not None:
        return [Path(grid_dir)]
    return [Path(), Path(get_grids_dir()), example_folder()]


def locate(
    grid: str | Path, grid_dir: str | Path | None = None
) -> tuple[Path | None, Path | None]:
    """Return the weights of a grid, and the grid's own file.

    Args:
        grid (str/Path): The name of the grid, or a path to it or to its
            weights.
        grid_dir (str/Path): As for `folders`.

    Returns:
        tuple: The first weights; and the first file of the grid, if there
            is one where the weights are or before. None where there is none.

    Raises:
        GridError: If it names no grid.
    """
    _check_named(grid)
    own = None
    for folder in folders(grid_dir):
        stem = folder / plain_name(grid)
        native = stem.with_name(f"{stem.name}.hdf5")
        weights = weights_path(stem)
        if own is None and native.is_file():
            own = native
        if weights.is_file():
            return weights, own
    return None, own


def find_grid(grid: str | Path, grid_dir: str | Path | None = None) -> Path:
    """Return the path of a grid file given as a path or a name.

    Args:
        grid (str/Path): A path, or a name, with or without the extension
            `.hdf5`.
        grid_dir (str/Path): As for `folders`.

    Returns:
        Path: The path of the existing file.

    Raises:
        GridError: If there is no such file; says where it looked.
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
    """Refuse what names no grid, as a folder alone.

    Raises:
        GridError: Says so.
    """
    if not Path(plain_name(grid)).name:
        raise GridError(f"'{grid}' names no grid: pass a path or a name.")


def similar(grid: str | Path, grid_dir: str | Path | None, ending: str) -> str:
    """Return the question which grid was meant, for an error's end.

    Args:
        grid (str/Path): The name or path that is not there.
        grid_dir (str/Path): As for `folders`.
        ending (str): What the files end in that are looked for.
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
