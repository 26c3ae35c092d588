"""Commands that exchange grids with other packages: `dsps` and `export`."""

from pathlib import Path

import click

from synthesizer_emulator.cli.completing import complete_grids
from synthesizer_emulator.cli.options import (
    FILE,
    FOLDER,
    as_number,
    grid_dir_option,
    names_and_values,
    overwrite_option,
)


@click.command()
@click.argument("file", type=FILE)
@click.option(
    "--out", type=FOLDER, required=True, help="Folder to write the grid to."
)
@click.option("--name", help="Name of the grid.  [default: that of FILE]")
@click.option(
    "--spectrum",
    default="incident",
    show_default=True,
    help="Name of the spectra in the grid.",
)
@overwrite_option
def dsps(
    file: Path, out: Path, name: str | None, spectrum: str, overwrite: bool
) -> None:
    """Convert FILE of DSPS (SSP templates) to a Synthesizer grid.

    `build FILE` does the same before it trains.
    """
    from synthesizer_emulator.sources.dsps import write_grid

    made = write_grid(file, out, name, spectrum, overwrite)
    click.echo(made)


@click.command()
@click.argument("grid", shell_complete=complete_grids)
@click.option("--out", type=FILE, required=True, help="File to write.")
@grid_dir_option
@click.option(
    "--spectrum",
    "spectra",
    multiple=True,
    default=["incident"],
    show_default=True,
    help="A spectrum to export; several are added up.",
)
@click.option(
    "--fix",
    multiple=True,
    metavar="AXIS=VALUE",
    help="The value of an axis besides age and metallicity, such as "
    "ionisation_parameters=0.01.",
)
@click.option(
    "--refine",
    multiple=True,
    metavar="AXIS=N",
    help="Divide each interval of an axis into N, by the emulator.",
)
@click.option(
    "--native",
    is_flag=True,
    help="Export the native grid, not its emulator.",
)
@overwrite_option
def export(
    grid: str,
    out: Path,
    grid_dir: Path | None,
    spectra: tuple[str, ...],
    fix: tuple[str, ...],
    refine: tuple[str, ...],
    native: bool,
    overwrite: bool,
) -> None:
    """Write GRID in the format of DSPS: `dsps.load_ssp_templates(fn=OUT)`.

    GRID is a name, or the path of a grid or of its weights. Emission lines
    of the spectra are written too.
    """
    from synthesizer.grid import Grid

    from synthesizer_emulator.files.writing import check_new, check_writable
    from synthesizer_emulator.grid.emulated_grid import EmulatedGrid
    from synthesizer_emulator.grid.export import export_to_dsps
    from synthesizer_emulator.gridfile.places import find_grid

    # Before the grid is loaded.
    check_new(out, overwrite)
    check_writable(out)
    if native:
        if refine:
            raise click.UsageError("--refine needs the emulator: no --native.")
        path = find_grid(grid, grid_dir)
        opened = Grid(path.name, grid_dir=str(path.parent))
    else:
        parts = names_and_values("--refine", refine)
        opened = EmulatedGrid(
            grid,
            grid_dir=grid_dir,
            refine={axis: as_number(int, n) for axis, n in parts.items()},
        )
    fixed = names_and_values("--fix", fix)
    values = {axis: as_number(float, value) for axis, value in fixed.items()}
    click.echo(export_to_dsps(opened, out, spectra, values, overwrite))
