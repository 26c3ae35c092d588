"""The command `fit`: posteriors of the galaxies of a catalogue."""

import re
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from synthesizer_emulator.cli.options import (
    FILE,
    METHOD_NAMES,
    check_outputs,
    complete_from,
    dry_run_option,
    plots_option,
    quiet_option,
    template_option,
)
from synthesizer_emulator.cli.processes import (
    given_cluster,
    given_process,
    process_options,
)

if TYPE_CHECKING:
    from synthesizer_emulator.inference.catalogue import Catalogue
    from synthesizer_emulator.inference.config import FitConfig


@click.command()
@click.argument("catalogue", type=FILE)
@click.argument("config", type=FILE)
@click.option(
    "--out",
    type=FILE,
    help="Table of results to write, *.fits or *.ecsv; with --id the "
    "posterior, *.nc. By default next to CONFIG.",
)
@click.option("--id", "galaxy", metavar="ID", help="Fit only this galaxy.")
@click.option(
    "--calibrate",
    type=int,
    metavar="N",
    help="Fit N mock galaxies with the errors of those in CATALOGUE, and test "
    "whether their posteriors contain the truth.",
)
@click.option(
    "--method",
    metavar=f"[{'|'.join(METHOD_NAMES)}]",
    shell_complete=complete_from(METHOD_NAMES),
    help="The sampler, in place of that in CONFIG.",
)
@click.option(
    "--overwrite",
    is_flag=True,
    help="With --id, replace a posterior that exists.",
)
@plots_option
@template_option("fit.yaml")
@dry_run_option
@process_options
@quiet_option
def fit(
    catalogue: Path,
    config: Path,
    out: Path | None,
    galaxy: str | None,
    calibrate: int | None,
    method: str | None,
    overwrite: bool,
    plots: Path | None,
    dry_run: bool,
    dask: str | None,
    workers: int | None,
    distributed: bool,
    process: int | None,
    processes: int | None,
    quiet: bool,
) -> None:
    """Fit the galaxies of a CATALOGUE with the model of CONFIG, a YAML file.

    The same command resumes after an interruption. Several processes each
    write their parts; `synthesizer-emulator merge` then joins these. With
    --id one galaxy is fitted, and its posterior printed and written.
    """
    number, n_processes = given_process(
        distributed, process, processes, dask, workers
    )
    spread = n_processes > 1 or dask is not None or workers is not None
    alone = galaxy is not None or calibrate is not None
    if dry_run and alone:
        raise click.UsageError(
            "--dry-run is for a catalogue. Leave out --id and --calibrate."
        )
    if galaxy is not None and calibrate is not None:
        raise click.UsageError("Give either --id or --calibrate.")
    if out is not None and calibrate is not None:
        raise click.UsageError(
            "--calibrate prints its results, and writes figures with --plots. "
            "Leave out --out."
        )
    if alone and spread:
        raise click.UsageError(
            "--id and --calibrate fit galaxies in this process. Leave out the "
            "options of other processes."
        )
    if plots is not None and not alone:
        raise click.UsageError(
            "--plots is for one galaxy or a calibration: give --id or "
            "--calibrate."
        )
    if overwrite and galaxy is None:
        raise click.UsageError(
            "--overwrite is for --id. The fit of a catalogue resumes; to "
            "begin it again, delete its table or give another --out."
        )
    from synthesizer_emulator.descriptions import describe_duration
    from synthesizer_emulator.inference.catalogue import Catalogue
    from synthesizer_emulator.inference.catalogue_fit import fit_catalogue
    from synthesizer_emulator.inference.config import FitConfig
    from synthesizer_emulator.inference.results import results_folder

    plan = FitConfig.read(config)
    table = Catalogue.read(catalogue, **plan.columns)
    sampler: dict[str, Any] = {"method": plan.method, **(plan.options or {})}
    if method is not None and method != plan.method:
        sampler = {"method": method}
    sampler["progress"] = not quiet
    stem = config.with_name(f"{catalogue.stem}-{config.stem}")
    if dry_run:
        _estimate(plan, table, sampler, max(n_processes, workers or 1))
        return
    if galaxy is not None:
        _fit_one(plan, table, galaxy, sampler, out, stem, plots, overwrite)
        return
    if calibrate is not None:
        _calibrate(plan, table, calibrate, sampler, stem.name, plots)
        return
    path = stem.with_name(f"{stem.name}.fits") if out is None else out
    start = time.monotonic()
    with given_cluster(dask, workers) as cluster:
        results = fit_catalogue(
            plan.fit,
            table,
            path,
            seed=plan.seed,
            samples=plan.samples,
            at_once=plan.at_once,
            derived=plan.derived,
            process=number,
            processes=n_processes,
            cluster=cluster,
            **sampler,
        )
    if results is None:
        click.echo(
            f"Process {number} of {n_processes} has finished. When all have, "
            f"run synthesizer-emulator merge {results_folder(path)}"
        )
    else:
        click.echo(results)
        click.echo(f"in {describe_duration(time.monotonic() - start)}")


def _estimate(
    plan: "FitConfig",
    table: "Catalogue",
    sampler: dict[str, Any],
    processes: int,
) -> None:
    """Fit the first galaxy, and print what all will take."""
    import numpy as np

    from synthesizer_emulator.descriptions import (
        describe_bytes,
        describe_duration,
    )
    from synthesizer_emulator.inference.catalogue_fit import fit_galaxy

    click.echo(f"{plan.fit!r}\n\n{table}\n")
    # The second run of the galaxy is without compilation.
    seconds = []
    for progress in (True, False):
        start = time.monotonic()
        posterior = fit_galaxy(
            plan.fit,
            table,
            table.ids[0],
            seed=plan.seed,
            **{**sampler, "progress": progress and sampler["progress"]},
        )
        seconds.append(time.monotonic() - start)
    numbers = sum(
        int(np.prod(values.shape[1:]))
        for values in posterior.parameters.values()
    )
    total = max(seconds[0] - seconds[1], 0.0)
    total += seconds[1] * len(table) / processes
    click.echo(f"{posterior}\n")
    click.echo(
        f"Galaxy {table.ids[0]} took {describe_duration(seconds[0])}, and "
        f"{describe_duration(seconds[1])} without compilation. "
        f"{len(table):,} galaxies take about {describe_duration(total)} on "
        f"{processes} process{'es' * (processes > 1)}, and "
        f"{describe_bytes(4 * numbers * plan.samples * len(table))} of disk "
        "for samples."
    )


def _fit_one(
    plan: "FitConfig",
    table: "Catalogue",
    galaxy: str,
    sampler: dict[str, Any],
    out: Path | None,
    stem: Path,
    plots: Path | None,
    overwrite: bool,
) -> None:
    """Fit one galaxy; print and write its posterior, and draw it."""
    from synthesizer_emulator.files.writing import check_new
    from synthesizer_emulator.inference.catalogue_fit import fit_galaxy
    from synthesizer_emulator.inference.netcdf import posterior_path
    from synthesizer_emulator.inference.plots.histories import plot_sfh
    from synthesizer_emulator.inference.plots.parameters import plot_corner
    from synthesizer_emulator.inference.plots.spectra import (
        plot_sed,
        plot_spectrum,
    )

    # Ids may have characters that names of files can't.
    plain = re.sub(r"[^\w.+-]", "_", galaxy)
    path = stem.with_name(f"{stem.name}-{plain}.nc") if out is None else out
    check_new(posterior_path(path), overwrite)
    check_outputs(path, plots)
    posterior = fit_galaxy(
        plan.fit,
        table,
        galaxy,
        seed=plan.seed,
        derived=plan.derived,
        **sampler,
    )
    click.echo(posterior)
    posterior.write(path)
    click.echo(path)
    if plots is not None:
        figures = {
            "sed": plot_sed(posterior, plan.fit),
            "sfh": plot_sfh(posterior, plan.fit),
        }
        # A maximum alone has no distribution.
        if posterior.samples.is_posterior:
            figures["corner"] = plot_corner(posterior, prior=True)
        if posterior.data.spectrum is not None:
            figures["spectrum"] = plot_spectrum(posterior)
        _save(figures, plots, path.stem)


def _calibrate(
    plan: "FitConfig",
    table: "Catalogue",
    n: int,
    sampler: dict[str, Any],
    name: str,
    plots: Path | None,
) -> None:
    """Fit mock galaxies; print and draw how well they are recovered."""
    from synthesizer_emulator.inference.calibration import calibrate
    from synthesizer_emulator.inference.catalogue_fit import some_data
    from synthesizer_emulator.inference.plots.calibration import (
        plot_calibration,
    )

    check_outputs(None, plots)
    like = some_data(plan.fit, table, n, plan.seed)
    calibration = calibrate(plan.fit, like, n, seed=plan.seed, **sampler)
    click.echo(calibration)
    if plots is not None:
        _save({"calibration": plot_calibration(calibration)}, plots, name)


def _save(figures: dict[str, Any], folder: Path, name: str) -> None:
    """Write figures to a folder, and print their paths."""
    from synthesizer_emulator.files.locks import make_folder

    make_folder(folder)
    for kind, figure in figures.items():
        path = folder / f"{name}-{kind}.png"
        figure.savefig(path, dpi=150)
        click.echo(path)
