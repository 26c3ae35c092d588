"""The command that draws one spectrum of an emulator: `plot`."""

from pathlib import Path
from typing import TYPE_CHECKING

import click

from synthesizer_emulator.cli.completing import complete_grids
from synthesizer_emulator.cli.options import (
    FILE,
    check_figure,
    check_outputs,
    grid_dir_option,
    names_and_values,
    overwrite_option,
    two_numbers,
    velocity,
)

if TYPE_CHECKING:
    from unyt import unyt_quantity

# The units of wavelengths, as `read_observed` calls them.
_LAM_UNITS = {"angstrom": "Å", "nm": "nm", "micron": "µm"}


@click.command()
@click.argument("grid", metavar="WEIGHTS", shell_complete=complete_grids)
@click.option(
    "--at",
    default="",
    metavar="NAME=VALUE,...",
    help="Axis values, such as age=100 Myr,Z=0.01; others are the middle of "
    "the domain.",
)
@click.option(
    "--spectrum",
    help="The spectrum; by default `incident`, or the only one.",
)
@click.option("--redshift", default=0.0, help="Redshift.")
@click.option(
    "--rv", default="0", help="Radial velocity, km/s, or with units."
)
@click.option(
    "--sigma", default="0", help="Velocity dispersion, km/s, or with units."
)
@click.option(
    "--vsini",
    default="0",
    help="Projected rotational velocity, km/s, or with units.",
)
@click.option(
    "--vmac", default="0", help="Macroturbulent velocity, km/s, or with units."
)
@click.option(
    "--resolution",
    help="Resolution of the data: a resolving power (wavelength over full "
    "width at half maximum), or a standard deviation such as `2 angstrom`.",
)
@click.option(
    "--observed",
    type=FILE,
    help="An observed spectrum (text, ECSV or FITS) to draw it over.",
)
@click.option(
    "--lam-units",
    type=click.Choice(list(_LAM_UNITS)),
    default="angstrom",
    show_default=True,
    help="The units of observed wavelengths without any.",
)
@click.option(
    "--lam-lims",
    metavar="LOW:HIGH",
    help="Range of observed wavelengths, Angstrom.",
)
@click.option(
    "--out",
    type=FILE,
    default=Path("spectrum.png"),
    show_default=True,
    help="File of the figure, PNG, PDF or SVG by its ending.",
)
@overwrite_option
@grid_dir_option
def plot(
    grid: str,
    at: str,
    spectrum: str | None,
    redshift: float,
    rv: str,
    sigma: str,
    vsini: str,
    vmac: str,
    resolution: str | None,
    observed: Path | None,
    lam_units: str,
    lam_lims: str | None,
    out: Path,
    overwrite: bool,
    grid_dir: Path | None,
) -> None:
    """Draw a spectrum of WEIGHTS, broadened, alone or over data.

    WEIGHTS is a name, or the path of a grid or of its weights. Over data, the
    spectrum is scaled by least squares, and a panel shows the residuals.
    """
    import numpy as np

    from synthesizer_emulator.explore.upload import read_observed
    from synthesizer_emulator.files.writing import check_new, replacing
    from synthesizer_emulator.grid.loading import find_weights
    from synthesizer_emulator.inference.model_spectrum import (
        Motions,
        compare_with,
        model_spectrum,
        point_at,
    )
    from synthesizer_emulator.inference.plots.model import (
        plot_comparison,
        plot_model,
    )
    from synthesizer_emulator.units import parse_value
    from synthesizer_emulator.weights.file import read_weights

    motions = Motions(
        redshift,
        velocity("--rv", rv),
        velocity("--sigma", sigma),
        velocity("--vsini", vsini),
        velocity("--vmac", vmac),
    )
    check_figure(out)
    named = names_and_values("--at", filter(None, at.split(",")))
    if observed is not None and not observed.is_file():
        raise FileNotFoundError(
            f"'{observed}' does not exist: give the path of an observed "
            "spectrum."
        )
    check_new(out, overwrite)
    check_outputs(out)
    emulator = read_weights(find_weights(grid, grid_dir)[0]).emulator
    point = point_at(emulator, {k: _value(k, v) for k, v in named.items()})
    data = None
    if observed is not None:
        data = read_observed(
            observed.name,
            observed.read_bytes(),
            _LAM_UNITS[lam_units],
            flux_unit="",
        )
        if data.note:
            click.echo(f"{data.name}: {data.note}.", err=True)
    low, high = (
        two_numbers("--lam-lims", lam_lims) if lam_lims else (0.0, np.inf)
    )
    model = model_spectrum(
        emulator,
        point,
        spectrum,
        motions,
        None if resolution is None else parse_value(resolution),
        None if data is None else data.lam,
        (low, high),
    )
    if data is None:
        figure = plot_model(model)
    else:
        kept = (data.lam >= low) & (data.lam <= high)
        error = data.error[kept] if data.has_errors else None
        comparison = compare_with(model, data.fnu[kept], error)
        if comparison.note:
            click.echo(f"{data.name}: {comparison.note}.", err=True)
        figure = plot_comparison(model, comparison, data.units)
    kind = out.suffix[1:].lower() or "png"
    with replacing(out) as scratch:
        figure.savefig(scratch, format=kind, dpi=150)
    click.echo(out)


def _value(name: str, given: str) -> "float | unyt_quantity":
    """Return the value of an axis, with its units if it has any."""
    from synthesizer.exceptions import InconsistentArguments

    from synthesizer_emulator.units import parse_value

    try:
        return parse_value(given)
    except InconsistentArguments as error:
        raise InconsistentArguments(
            f"--at {name} must be a finite number, in the units of "
            f"the axis or with its own, as in 'age=5 Gyr'; got '{given}'."
        ) from error
