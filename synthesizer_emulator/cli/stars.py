"""The commands `stars train`, `stars sample` and `stars evaluate`."""

from pathlib import Path
from typing import Any

import click

from synthesizer_emulator.cli.completing import complete_grids
from synthesizer_emulator.cli.options import (
    FILE,
    check_results,
    complete_from,
    json_option,
    overwrite_option,
    overwrite_results_option,
    parse_settings,
    plots_option,
    quiet_option,
)

# The default is first. They are written here too, because importing them
# loads JAX.
FLOW_NAMES = ("spline", "autoregressive", "nice", "block_autoregressive")
ALIGNMENT_NAMES = ("inertia", "angular_momentum", "none")

clean_options = (
    click.option(
        "--align",
        type=click.Choice(ALIGNMENT_NAMES),
        default=ALIGNMENT_NAMES[0],
        show_default=True,
        help="Frame that galaxies are turned into.",
    ),
    click.option(
        "--at-least",
        default=100,
        show_default=True,
        help="Leave out galaxies of fewer stars.",
    ),
    click.option(
        "--as-they-are",
        is_flag=True,
        help="Neither centre, turn nor cut galaxies.",
    ),
)


def cleaned(command: Any) -> Any:
    """Add the options of cleaning to a command."""
    for option in clean_options:
        command = option(command)
    return command


@click.group()
def stars() -> None:
    """Learn and draw the stars of galaxies.

    Needs the extra `stars`.
    """


@stars.command()
@click.argument("galaxies", type=FILE)
@click.option("--out", type=FILE, required=True, help="Flow to write, *.hdf5.")
@click.option(
    "--condition",
    "conditions",
    multiple=True,
    help="A property on which the stars depend; several times. By default "
    "stellar mass, median age, 10th percentile of age, mean metallicity.",
)
@click.option(
    "--variable",
    "variables",
    multiple=True,
    help="A variable of a star; several times. By default x, y, z, age, "
    "metallicity, initial_mass.",
)
@click.option(
    "--leave-out",
    multiple=True,
    metavar="NAME",
    help="A galaxy to leave out, for `stars evaluate`; several times.",
)
@click.option(
    "--flow",
    default=FLOW_NAMES[0],
    show_default=True,
    metavar=f"[{'|'.join(FLOW_NAMES)}]",
    shell_complete=complete_from(FLOW_NAMES),
    help="The family of the flow.",
)
@click.option(
    "--set",
    "settings",
    multiple=True,
    metavar="NAME=VALUE",
    help="A setting of the flow, such as layers=16.",
)
@click.option("--epochs", type=int, help="Largest number of epochs.")
@click.option("--batch-size", type=int, help="Stars in a step.")
@click.option("--learning-rate", type=float, help="Initial learning rate.")
@click.option("--weight-decay", type=float, help="Weight decay.")
@click.option("--patience", type=int, help="Epochs without improvement.")
@click.option("--seed", type=int, help="Seed of all random numbers.")
@overwrite_option
@cleaned
@quiet_option
def train(
    galaxies: Path,
    out: Path,
    conditions: tuple[str, ...],
    variables: tuple[str, ...],
    leave_out: tuple[str, ...],
    flow: str,
    settings: tuple[str, ...],
    align: str,
    at_least: int,
    as_they_are: bool,
    overwrite: bool,
    quiet: bool,
    **training: Any,
) -> None:
    """Train a flow on GALAXIES, an HDF5 file of star particles.

    The same command resumes after an interruption.
    """
    from synthesizer_emulator.files.writing import check_new, check_writable
    from synthesizer_emulator.stars.conditions import DEFAULT_CONDITIONS
    from synthesizer_emulator.stars.flows import flow_config
    from synthesizer_emulator.stars.galaxies import read_galaxies
    from synthesizer_emulator.stars.star_flow import StarFlow
    from synthesizer_emulator.stars.training import StarTraining
    from synthesizer_emulator.stars.variables import DEFAULT_VARIABLES
    from synthesizer_emulator.validation import check_choice

    check_new(out, overwrite)
    check_writable(out)
    given = read_galaxies(galaxies)
    for name in leave_out:
        check_choice("--leave-out", name, [g.name for g in given])
    trained = StarFlow.fit(
        [g for g in given if g.name not in leave_out],
        conditions=conditions or DEFAULT_CONDITIONS,
        variables=variables or DEFAULT_VARIABLES,
        cleaning=_cleaning(align, at_least, as_they_are),
        flow=flow_config(flow, parse_settings(settings)),
        training=StarTraining(
            **{k: v for k, v in training.items() if v is not None}
        ),
        checkpoint=out.with_name(f".{out.name}.checkpoint"),
        progress=not quiet,
    )
    trained.write(out)
    click.echo(trained)


@stars.command()
@click.argument("flow", type=FILE)
@click.argument("catalogue", type=FILE)
@click.option(
    "--out", type=FILE, required=True, help="Galaxies to write, *.hdf5."
)
@click.option("-n", "n", default=10_000, show_default=True, help="Stars.")
@click.option(
    "--cosmo",
    default="Planck18",
    show_default=True,
    help="Cosmology of the training set, of astropy, which galaxies at other "
    "redshifts need.",
)
@click.option("--seed", default=0, show_default=True, help="Seed.")
@overwrite_option
@quiet_option
def sample(
    flow: Path,
    catalogue: Path,
    out: Path,
    n: int,
    cosmo: str,
    seed: int,
    overwrite: bool,
    quiet: bool,
) -> None:
    """Draw the stars of each galaxy of a CATALOGUE.

    CATALOGUE is a table (FITS, ECSV, CSV, ...) with the conditions of FLOW as
    columns, and `stellar_mass`.
    """
    from synthesizer_emulator.files.table import read_table
    from synthesizer_emulator.files.writing import check_new, check_writable
    from synthesizer_emulator.library.named import find_cosmology
    from synthesizer_emulator.progress import progress_bar
    from synthesizer_emulator.stars.galaxies import write_galaxies
    from synthesizer_emulator.stars.star_flow import StarFlow

    cosmology = find_cosmology(cosmo)
    check_new(out, overwrite)
    check_writable(out)
    trained = StarFlow.read(flow)
    table = read_table(
        catalogue,
        f"the columns {', '.join(trained.conditions)}",
        as_text=("name",),
    )
    rows = progress_bar(
        trained.draw_many(table, n, seed, cosmo=cosmology),
        show=not quiet,
        total=len(table),
        desc="galaxies",
    )
    write_galaxies(out, list(rows))
    click.echo(f"{len(table):,} galaxies of {n:,} stars are in {out}")


@stars.command()
@click.argument("flow", type=FILE)
@click.argument("galaxies", type=FILE)
@click.option(
    "--grid",
    required=True,
    shell_complete=complete_grids,
    help="Emulated grid of ages and metallicities.",
)
@click.option(
    "--spectrum", default="incident", show_default=True, help="Its spectrum."
)
@click.option(
    "--filters",
    default="top-hats",
    show_default=True,
    help="Filters: top-hats or curves of NIRCam, or a file of filters.",
)
@click.option("--seed", default=0, show_default=True, help="Seed.")
@json_option
@plots_option
@overwrite_results_option
@cleaned
@quiet_option
def evaluate(
    flow: Path,
    galaxies: Path,
    grid: str,
    spectrum: str,
    filters: str,
    seed: int,
    json_path: Path | None,
    plots: Path | None,
    overwrite: bool,
    align: str,
    at_least: int,
    as_they_are: bool,
    quiet: bool,
) -> None:
    """Judge FLOW on the GALAXIES of a file that it was not trained on.

    Prints how drawn and true stars differ, with the noise of resampling the
    true stars beside it.
    """
    from synthesizer_emulator.evaluation.measures.filters import named_filters
    from synthesizer_emulator.grid.emulated_grid import EmulatedGrid
    from synthesizer_emulator.stars.evidence import evaluate_stars
    from synthesizer_emulator.stars.galaxies import read_galaxies
    from synthesizer_emulator.stars.star_flow import StarFlow

    check_results(json_path, plots, overwrite)
    trained = StarFlow.read(flow)
    given = read_galaxies(galaxies)
    left_out = [g for g in given if g.name not in trained.trained_on]
    evidence = evaluate_stars(
        trained,
        left_out,
        EmulatedGrid(grid),
        filters=named_filters(filters),
        spectrum=spectrum,
        cleaning=_cleaning(align, at_least, as_they_are),
        seed=seed,
        progress=not quiet,
    )
    click.echo(evidence)
    if json_path is not None:
        evidence.write_json(json_path)
    if plots is not None:
        # Imported here, because it loads matplotlib.
        from synthesizer_emulator.stars.plots import write_figures

        write_figures(evidence, plots)


def _cleaning(align: str, at_least: int, as_they_are: bool) -> Any:
    """Return how galaxies are cleaned, or None."""
    from synthesizer_emulator.stars.cleaning import Cleaning

    if as_they_are:
        return None
    return Cleaning(align=align, at_least=at_least)
