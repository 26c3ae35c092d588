"""Commands that build emulators: `build` and `quickstart`."""

from pathlib import Path
from typing import Any

import click

from synthesizer_emulator.cli.options import (
    FOLDER,
    PATH,
    fit_arguments,
    fit_options,
    grid_dir_option,
    name_and_value,
    quiet_option,
)


@click.command()
@click.argument(
    "grid", nargs=-1, required=True, type=click.Path(path_type=str)
)
@click.option(
    "--out",
    type=PATH,
    help="Weights file or folder to write; by default in the grid's folder.",
)
@grid_dir_option
@click.option(
    "--spectra",
    multiple=True,
    help="A spectrum to emulate, with the lines if it has nebular emission; "
    "by default all spectra.",
)
@click.option(
    "--axes",
    multiple=True,
    metavar="NAME=NODES",
    help="For scattered samples, the nodes along a parameter: their number, "
    "LOW:HIGH:NUMBER, or values separated by commas.",
)
@click.option(
    "--latin-hypercube",
    type=int,
    metavar="N",
    help="Train on N samples between the nodes, interpolated by Synthesizer.",
)
@click.option(
    "--ensemble",
    type=int,
    metavar="N",
    help="Train N networks, whose spread estimates the uncertainty.",
)
@click.option("--author", default="", help="Author, stored with the weights.")
@click.option("--notes", default="", help="Notes, stored with the weights.")
@click.option(
    "--resume/--no-resume",
    default=True,
    show_default=True,
    help="Resume an interrupted build.",
)
@click.option(
    "--overwrite",
    is_flag=True,
    help="Replace existing weights even if these are more accurate, or of "
    "another architecture.",
)
@fit_options
@quiet_option
def build(
    grid: tuple[str, ...],
    out: Path | None,
    grid_dir: Path | None,
    spectra: tuple[str, ...],
    axes: tuple[str, ...],
    latin_hypercube: int | None,
    resume: bool,
    overwrite: bool,
    architecture: str | None,
    ensemble: int | None,
    author: str,
    notes: str,
    settings: tuple[str, ...],
    quiet: bool,
    **training: Any,
) -> None:
    """Train an emulator of GRID, a path or a name.

    Writes GRID.emulator.hdf5 to the folder of the grid and prints the errors.
    GRID may also be one or more files of scattered samples, which are joined.
    """
    from synthesizer_emulator.building.builder import build as run

    report = run(
        grid,
        grid_dir=grid_dir,
        out=out,
        spectra=spectra or None,
        axes=dict(name_and_value("--axes", a) for a in axes) or None,
        latin_hypercube=latin_hypercube,
        ensemble=ensemble,
        author=author,
        notes=notes,
        resume=resume,
        overwrite=overwrite,
        progress=not quiet,
        **fit_arguments(architecture, settings, training),
    )
    click.echo(report)


@click.command()
@click.option(
    "--out",
    type=FOLDER,
    default=Path("quickstart"),
    show_default=True,
    help="Folder to write the weights and the figure to.",
)
def quickstart(out: Path) -> None:
    """Build the example emulator and compare galaxies with native spectra."""
    from synthesizer_emulator.cli.quickstart import run

    run(out, echo=click.echo)
