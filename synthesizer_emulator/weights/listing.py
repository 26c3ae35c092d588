"""The weights that a grid can be loaded from, in all folders."""

from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path

from synthesizer.exceptions import GridError

from synthesizer_emulator.gridfile.places import (
    example_folder,
    folders,
    plain_name,
    weights_in,
)
from synthesizer_emulator.weights.file import read_weights
from synthesizer_emulator.weights.summary import WeightsSummary

SHIPPED = "shipped"


@dataclass(frozen=True)
class ListedWeights:
    """A weights file in one of the folders that are searched for grids.

    Attributes:
        name (str): The name under which it is loaded.
        where (str): Its folder, or `shipped`.
        summary (WeightsSummary): The contents; None if it can't be read.
        size (int): The size of the file, bytes; 0 if it can't be read.
        sha256 (str): The SHA-256 of the file, in hex, or an empty string.
        problem (str): Why it can't be read, or an empty string.
    """

    name: str
    where: str
    summary: WeightsSummary | None = None
    size: int = 0
    sha256: str = ""
    problem: str = ""


def list_weights(grid_dir: str | Path | None = None) -> list[ListedWeights]:
    """Return the weights in the folders that are searched for grids.

    Args:
        grid_dir (str/Path): The only folder to list; by default the working
            directory, Synthesizer's grid folder, and the package.

    Returns:
        list of ListedWeights: In the order in which they are searched, so
            that of the same name the first is loaded.
    """
    found = []
    for folder in folders(grid_dir):
        where = SHIPPED if folder == example_folder() else str(folder)
        for path in weights_in(folder):
            name = plain_name(path.name)
            try:
                weights = read_weights(path)
            except (GridError, OSError) as error:
                problem = str(error).strip()
                found.append(ListedWeights(name, where, problem=problem))
                continue
            found.append(
                ListedWeights(
                    name,
                    where,
                    WeightsSummary.from_weights(weights),
                    len(weights.contents),
                    sha256(weights.contents).hexdigest(),
                )
            )
    return found
