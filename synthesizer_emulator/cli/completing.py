"""Names that the shell completes: grids, architectures, samplers.

They are read without JAX or Synthesizer, so that the tab key is fast.
"""

import os
from pathlib import Path

import click
from click.shell_completion import CompletionItem
from platformdirs import user_data_path

_SUFFIXES = (".emulator", ".emulator.hdf5")
_DATA = Path(__file__).parents[1] / "data"


def grids_folder() -> Path:
    """Return Synthesizer's grid folder without importing Synthesizer."""
    base = os.environ.get("SYNTHESIZER_DIR")
    folder = user_data_path("Synthesizer") if base is None else Path(base)
    return Path(os.environ.get("SYNTHESIZER_GRID_DIR", folder / "grids"))


def complete_grids(
    context: click.Context, parameter: click.Parameter, incomplete: str
) -> list[CompletionItem]:
    """Return the names of weights and grids; the shell adds paths."""
    given = context.params.get("grid_dir")
    folders = [Path(given)] if given else [Path(), grids_folder(), _DATA]
    names = {
        path.name.removesuffix(suffix)
        for folder in folders
        for suffix in _SUFFIXES
        for path in folder.glob(f"*{suffix}")
    }
    known = [
        CompletionItem(name)
        for name in sorted(names)
        if name.startswith(incomplete)
    ]
    return [*known, CompletionItem(incomplete, type="file")]
