"""Commands that build emulators: `samples`, `build` and `quickstart`."""

from pathlib import Path
from typing import Any

import click

from synthesizer_emulator.cli.options import (
    FILE,
    FOLDER,
    PATH,
    fit_arguments,
    fit_options,
    grid_dir_option,
    names_and_values,
    overwrite_option,
    quiet_option,
    two_numbers,
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
    "--lam-lims",
    metavar="LOW:HIGH",
    help="The range of wavelengths to emulate, Angstrom; by default all.",
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
@click.option(
    "--fill-failures",
    is_flag=True,
    help="Fill what is zero at nodes at which Cloudy failed from the nodes "
    "around them; by default it is left out, and the emulator has zeros too.",
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
    lam_lims: str | None,
    axes: tuple[str, ...],
    latin_hypercube: int | None,
    resume: bool,
    overwrite: bool,
    architecture: str | None,
    ensemble: int | None,
    fill_failures: bool,
    author: str,
    notes: str,
    settings: tuple[str, ...],
    settings_file: Path | None,
    quiet: bool,
    **training: Any,
) -> None:
    """Train an emulator of GRID, a path or a name.

    Writes GRID.emulator to the folder of the grid and prints the errors.
    GRID may also be one or more files of scattered samples, which are joined.
    """
    from synthesizer_emulator.building.builder import build as run

    report = run(
        grid,
        grid_dir=grid_dir,
        out=out,
        spectra=spectra or None,
        lam_lims=two_numbers("--lam-lims", lam_lims) if lam_lims else None,
        axes=names_and_values("--axes", axes) or None,
        latin_hypercube=latin_hypercube,
        ensemble=ensemble,
        fill_failures=fill_failures,
        author=author,
        notes=notes,
        resume=resume,
        overwrite=overwrite,
        progress=not quiet,
        **fit_arguments(architecture, settings, training, settings_file),
    )
    click.echo(report)


@click.command()
@click.argument("folder", type=FOLDER)
@click.argument("labels", type=FILE)
@click.option(
    "--out",
    type=FILE,
    default=Path("samples.hdf5"),
    show_default=True,
    help="The file of samples to write.",
)
@click.option(
    "--label",
    "labelled",
    multiple=True,
    metavar="NAME=EXPRESSION",
    help="A parameter, from columns of LABELS, such as ages=10**logage; by "
    "default every column of numbers.",
)
@click.option(
    "--units",
    multiple=True,
    metavar="NAME=UNITS",
    help="The units of a parameter; by default none.",
)
@click.option(
    "--log",
    "logged",
    multiple=True,
    metavar="NAME",
    help="A parameter that is interpolated in its logarithm.",
)
@click.option(
    "--where",
    metavar="CONDITION",
    help="The rows of LABELS to use, such as 'logg > 3.5 and snr > 50'.",
)
@click.option(
    "--window",
    "windows",
    multiple=True,
    metavar="LOW:HIGH",
    help="A range of wavelengths to keep, Angstrom; by default all.",
)
@click.option(
    "--spectrum",
    default="incident",
    show_default=True,
    help="The name of the spectrum in the file.",
)
@click.option("--file-column", help="The column of LABELS with the files.")
@click.option(
    "--lam-units",
    default="angstrom",
    show_default=True,
    help="The units of wavelengths without any.",
)
@click.option(
    "--flux-units",
    default="none",
    show_default=True,
    help="The units of fluxes without any, such as erg/s/angstrom; `none` "
    "keeps the numbers, for instance of normalised spectra.",
)
@click.option(
    "--resample",
    is_flag=True,
    help="Rebin spectra to the wavelengths of the first.",
)
@overwrite_option
@quiet_option
def samples(
    folder: Path,
    labels: Path,
    out: Path,
    labelled: tuple[str, ...],
    units: tuple[str, ...],
    logged: tuple[str, ...],
    where: str | None,
    windows: tuple[str, ...],
    spectrum: str,
    file_column: str | None,
    lam_units: str,
    flux_units: str,
    resample: bool,
    overwrite: bool,
    quiet: bool,
) -> None:
    """Make a file of samples of the spectra in FOLDER, and a table LABELS.

    `build` trains on the file. Spectra are text of two columns, ECSV, npz or
    FITS; those that can't be used are listed beside the file, with the
    reason.
    """
    from synthesizer_emulator.building.spectra_folder import make_samples

    report = make_samples(
        folder,
        labels,
        out,
        parameters=names_and_values("--label", labelled),
        units=names_and_values("--units", units),
        logged=logged,
        where=where,
        windows=[two_numbers("--window", x) for x in windows],
        spectrum=spectrum,
        file_column=file_column,
        lam_units=lam_units,
        flux_units=flux_units,
        resample=resample,
        overwrite=overwrite,
        progress=not quiet,
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
