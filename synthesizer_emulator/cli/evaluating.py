"""Commands that measure errors.

`evaluate`, `hold-out`, `generalise` and `testbed`.
"""

from pathlib import Path
from typing import Any

import click

from synthesizer_emulator.cli.completing import complete_grids
from synthesizer_emulator.cli.options import (
    FOLDER,
    PATH,
    as_number,
    check_results,
    fit_arguments,
    fit_options,
    grid_dir_option,
    json_option,
    names_and_values,
    overwrite_results_option,
    plots_option,
    quiet_option,
    recoveries_option,
    report_option,
    spectra_option,
    two_numbers,
)


@click.command()
@click.argument("grid", shell_complete=complete_grids)
@click.option(
    "--weights",
    type=PATH,
    help="The weights file; by default in the grid's folder.",
)
@json_option
@report_option
@overwrite_results_option
@grid_dir_option
@spectra_option
@click.option(
    "--filters",
    default="top-hats",
    show_default=True,
    help="Filters for the magnitudes: NIRCam's wide bands as `top-hats` or, "
    "with astro-sedpy, as `curves`; or the file of a FilterCollection.",
)
@click.option(
    "--galaxies",
    default=1000,
    show_default=True,
    help="Number of random galaxies.",
)
@recoveries_option
@click.option(
    "--stages",
    default=200,
    show_default=True,
    metavar="N",
    help="Number of spectra at which stages are judged each by itself; 0 for "
    "none.",
)
@click.option(
    "--show",
    multiple=True,
    metavar="AXIS=VALUE,...",
    help="An example to draw: the node nearest to these axis values. Random "
    "ones are drawn too.",
)
@click.option(
    "--zoom",
    default="3600:4400",
    show_default=True,
    metavar="LOW:HIGH",
    help="A narrow range of wavelengths in Angstrom to draw too.",
)
@click.option(
    "--seed", default=0, show_default=True, help="Seed of all random numbers."
)
@quiet_option
def evaluate(
    grid: str,
    weights: Path | None,
    json_path: Path | None,
    plots: Path | None,
    overwrite: bool,
    grid_dir: Path | None,
    spectra: tuple[str, ...],
    filters: str,
    galaxies: int,
    recoveries: int,
    stages: int,
    show: tuple[str, ...],
    zoom: str,
    seed: int,
    quiet: bool,
) -> None:
    """Measure the errors of the emulator of GRID.

    Prints the errors of spectra and lines, of quantities derived from them,
    of magnitudes and colours of random galaxies, of parameters fitted to
    spectra, of derivatives, and of each stage of the emulator. --json writes
    all numbers to a file, and --plots writes figures and a report.
    """
    from synthesizer_emulator.evaluation.evaluate import evaluate as run
    from synthesizer_emulator.evaluation.measures.filters import named_filters

    check_results(json_path, plots, overwrite)
    window = two_numbers("--zoom", zoom)
    evaluation = run(
        grid,
        weights,
        grid_dir=grid_dir,
        spectra=spectra or None,
        filters=named_filters(filters),
        galaxies=galaxies,
        recoveries=recoveries,
        stages=stages,
        show=[_axis_values(example) for example in show],
        seed=seed,
        progress=not quiet,
    )
    click.echo(evaluation)
    if json_path is not None:
        evaluation.write_json(json_path)
    if plots is not None:
        # Imported here, because it loads matplotlib.
        from synthesizer_emulator.evaluation.report import write_report

        click.echo(f"\n{write_report(evaluation, plots, window)}")


def _axis_values(text: str) -> dict[str, float]:
    """Read `AXIS=VALUE,AXIS=VALUE`."""
    pairs = names_and_values("--show", text.split(","))
    return {name: as_number(float, value) for name, value in pairs.items()}


@click.command()
@click.argument("grid", shell_complete=complete_grids)
@click.option(
    "--drop",
    "drops",
    multiple=True,
    required=True,
    metavar="NODES",
    help="Nodes to leave out: AXIS:K for every k-th node, AXIS=VALUE,... for "
    "single nodes; several axes in quotes. Each --drop is an experiment.",
)
@json_option
@report_option
@overwrite_results_option
@grid_dir_option
@spectra_option
@recoveries_option
@fit_options
@quiet_option
def hold_out(
    grid: str,
    drops: tuple[str, ...],
    json_path: Path | None,
    plots: Path | None,
    overwrite: bool,
    grid_dir: Path | None,
    spectra: tuple[str, ...],
    recoveries: int,
    architecture: str | None,
    settings: tuple[str, ...],
    settings_file: Path | None,
    quiet: bool,
    **training: Any,
) -> None:
    """Measure the errors at nodes of GRID left out of the training.

    For each --drop, builds an emulator without these nodes and prints its
    errors at them, with those of Synthesizer's interpolation of the thinned
    grid and of cubic interpolation of principal components for comparison.
    """
    from synthesizer_emulator.evaluation.hold_out import hold_out as run
    from synthesizer_emulator.records import write_json

    fit = fit_arguments(architecture, settings, training, settings_file)
    check_results(json_path, plots, overwrite)
    experiments = []
    for drop in drops:
        experiments.append(
            run(
                grid,
                drop,
                grid_dir=grid_dir,
                spectra=spectra or None,
                recoveries=recoveries,
                progress=not quiet,
                **fit,
            )
        )
        click.echo(f"{experiments[-1]}\n")
        # Write after each experiment, so that an interruption loses only one.
        if json_path is not None:
            write_json(json_path, {"experiments": experiments})
    if plots is not None:
        # Imported here, because it loads matplotlib.
        from synthesizer_emulator.evaluation.report import write_hold_outs

        click.echo(write_hold_outs(experiments, plots))


@click.command()
@click.argument("study", type=PATH)
@json_option
@plots_option
@overwrite_results_option
@quiet_option
def generalise(
    study: Path,
    json_path: Path | None,
    plots: Path | None,
    overwrite: bool,
    quiet: bool,
) -> None:
    """Train in some regions of a grid and test in others.

    STUDY is a YAML file of the grid, the architectures, the seeds, and the
    regions for training and for testing.
    """
    from synthesizer_emulator.evaluation.generalisation.generalise import (
        generalise as run,
    )

    check_results(json_path, plots, overwrite)
    outcome = run(study, progress=not quiet)
    click.echo(outcome)
    if json_path is not None:
        outcome.write_json(json_path)
    if plots is not None:
        from synthesizer_emulator.evaluation.report import write_figures

        write_figures(outcome, plots)


@click.command()
@click.argument("config", type=PATH, required=False)
@click.option(
    "--out",
    type=FOLDER,
    default=Path("testbed"),
    show_default=True,
    help="Folder of the samples, runs, tables and figures.",
)
@click.option(
    "--stage",
    type=click.Choice(["all", "data", "runs", "tables"]),
    default="all",
    show_default=True,
    help="Only draw the samples, only train, or only tabulate and draw the "
    "runs that are there.",
)
@quiet_option
def testbed(config: Path | None, out: Path, stage: str, quiet: bool) -> None:
    """Test whether components that were learned alone compose.

    Draws spectra of black bodies with the lines of two components, trains
    emulators and networks on the components alone or together, and tests
    them on both together. CONFIG is a YAML file with other settings. Runs
    that are in the folder are not repeated.
    """
    from synthesizer_emulator.evaluation.generalisation.composition import (
        compose,
    )
    from synthesizer_emulator.evaluation.generalisation.testbed import Testbed

    settings = Testbed() if config is None else Testbed.read(config)
    found = compose(settings, out, not quiet, stage)
    if found is None:
        return
    click.echo(found)
    if stage != "runs":
        # Imported here, because it loads matplotlib.
        from synthesizer_emulator.evaluation.report import write_composition

        for path in write_composition(found):
            click.echo(path)
