"""The command that searches for settings: `tune`."""

from pathlib import Path
from typing import Any

import click

from synthesizer_emulator.cli.options import (
    FILE,
    FOLDER,
    check_outputs,
    fit_arguments,
    fit_options,
    grid_dir_option,
    names_and_values,
    quiet_option,
    two_numbers,
)


@click.command()
@click.argument("grid", nargs=-1, type=click.Path(path_type=str))
@click.option(
    "--validation",
    metavar="split|NODES",
    help="The samples at which trials are compared: `split` for those that "
    "each training holds out, or nodes to leave out, as in `hold-out`.",
)
@click.option(
    "--judge",
    metavar="NODES",
    help="Nodes to leave out of all trials, at which the best settings are "
    "compared with the defaults.",
)
@click.option(
    "--trials", default=50, show_default=True, help="Number of trials in all."
)
@click.option("--minutes", type=float, help="Begin no trial after this time.")
@click.option(
    "--out",
    type=FOLDER,
    default=Path("tune"),
    show_default=True,
    help="Folder to write the best settings, a table and figures to.",
)
@click.option(
    "--storage",
    type=FILE,
    help="SQLite file of the trials, from which an interrupted tuning is "
    "resumed; by default trials.sqlite in --out.",
)
@click.option(
    "--space",
    type=FILE,
    help="YAML file of the search space; by default that of the architecture.",
)
@click.option(
    "--print-space",
    is_flag=True,
    help="Print the search space of the architecture, and stop.",
)
@click.option(
    "--objective",
    "objectives",
    multiple=True,
    type=click.Choice(["error", "size", "time"]),
    help="What is minimised; with several, no trial is better than those on "
    "the Pareto front in all of them.  [default: error]",
)
@click.option(
    "--measure",
    type=click.Choice(["mean_median", "mean_p95", "p50", "p95", "p99"]),
    default="mean_median",
    show_default=True,
    help="The error: the median or 95th percentile over spectra of their "
    "mean error, or a percentile of all pixels.",
)
@click.option(
    "--pruner",
    type=click.Choice(["median", "hyperband", "none"]),
    default="median",
    show_default=True,
    help="How trials are ended early.",
)
@click.option(
    "--final-epochs",
    type=int,
    help="Epochs in the best settings; by default those of the trials.",
)
@click.option(
    "--search-seed",
    default=0,
    show_default=True,
    help="Seed of the search; --seed is that of the trainings.",
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
    help="For scattered samples, the nodes along a parameter.",
)
@fit_options
@quiet_option
def tune(
    grid: tuple[str, ...],
    validation: str | None,
    judge: str | None,
    trials: int,
    minutes: float | None,
    out: Path,
    storage: Path | None,
    space: Path | None,
    print_space: bool,
    objectives: tuple[str, ...],
    measure: str,
    pruner: str,
    final_epochs: int | None,
    search_seed: int,
    grid_dir: Path | None,
    spectra: tuple[str, ...],
    lam_lims: str | None,
    axes: tuple[str, ...],
    architecture: str | None,
    settings: tuple[str, ...],
    settings_file: Path | None,
    quiet: bool,
    **training: Any,
) -> None:
    """Search for the settings with which the emulator of GRID is best.

    Writes best.yaml, which `build --settings` takes, a table of all trials
    and figures. Options of the architecture and of the training are fixed in
    all trials. The same command resumes an interrupted tuning.
    """
    import yaml

    from synthesizer_emulator.tuning.tune import default_space
    from synthesizer_emulator.tuning.tune import tune as run

    fit = fit_arguments(architecture, settings, training, settings_file)
    if print_space:
        config = default_space(fit["architecture"]).config
        click.echo(
            yaml.safe_dump(config, sort_keys=False, default_flow_style=None),
            nl=False,
        )
        return
    if not grid or validation is None:
        missing = "GRID" if not grid else "--validation"
        raise click.UsageError(f"Missing {missing}.")
    check_outputs(None, out)
    found = run(
        grid,
        validation=validation,
        judge=judge,
        trials=trials,
        minutes=minutes,
        storage=storage or out / "trials.sqlite",
        space=space,
        objectives=objectives or ("error",),
        measure=measure,
        pruner=pruner,
        final_epochs=final_epochs,
        seed=search_seed,
        grid_dir=grid_dir,
        spectra=spectra or None,
        lam_lims=two_numbers("--lam-lims", lam_lims) if lam_lims else None,
        axes=names_and_values("--axes", axes) or None,
        progress=not quiet,
        **fit,
    )
    click.echo(found)
    for path in found.write(out):
        click.echo(path)
