"""Commands for libraries of galaxies: `library` and `merge`."""

from pathlib import Path

import click

from synthesizer_emulator.cli.options import (
    FILE,
    FOLDER,
    PATH,
    dry_run_option,
    quiet_option,
    template_option,
)
from synthesizer_emulator.cli.processes import (
    given_cluster,
    given_process,
    process_options,
)


@click.command()
@click.argument("config", type=PATH)
@template_option("library.yaml")
@dry_run_option
@process_options
@quiet_option
@click.option(
    "--synference",
    type=FILE,
    help="Also write the library in Synference's format to this file.",
)
def library(
    config: Path,
    dry_run: bool,
    dask: str | None,
    workers: int | None,
    distributed: bool,
    process: int | None,
    processes: int | None,
    quiet: bool,
    synference: Path | None,
) -> None:
    """Make a library of galaxies from CONFIG, a YAML file.

    The same command resumes after an interruption. Several processes each
    write their parts; `synthesizer-emulator merge` then joins these into one
    file. The workers of a Dask cluster need neither the disk nor `merge`.
    """
    from synthesizer_emulator.library.config import LibraryConfig
    from synthesizer_emulator.library.file import parts_folder
    from synthesizer_emulator.progress import stage

    number, n_processes = given_process(
        distributed, process, processes, dask, workers
    )
    if synference is not None:
        if n_processes > 1:
            raise click.UsageError(
                "--synference needs the whole library. Give it in another "
                "run, after `synthesizer-emulator merge`, without the number "
                "of a process."
            )
        try:
            from synthesizer_emulator.library.synference.export import (
                check_new,
                write_synference,
            )
        except ImportError as error:
            raise click.ClickException(str(error)) from error
        check_new(synference)
    with stage("Compiling the model", not quiet):
        plan = LibraryConfig.read(config)
    if dry_run:
        from synthesizer_emulator.library.estimate import estimate

        plan.library.sampler.check_inside(plan.on_bad)
        click.echo(f"{plan.library!r}\n\n{estimate(plan.library)}")
        return
    with given_cluster(dask, workers) as cluster:
        file = plan.library.write(
            plan.path,
            plan.on_bad,
            number,
            n_processes,
            progress=not quiet,
            cluster=cluster,
        )
    if file is None:
        click.echo(
            f"Process {number} of {n_processes} has finished. When all have, "
            f"run synthesizer-emulator merge {parts_folder(plan.path)}"
        )
    else:
        click.echo(file)
        if synference is not None:
            click.echo(write_synference(plan.library, file, synference))


@click.command()
@click.argument(
    "parts",
    nargs=-1,
    required=True,
    type=FOLDER,
)
@click.option(
    "--out",
    type=FILE,
    help="File to write; by default next to the first folder.",
)
@click.option(
    "--refuse-bad",
    is_flag=True,
    help="Stop if galaxies are outside the range of the model, instead of "
    "leaving them out.",
)
def merge(parts: tuple[Path, ...], out: Path | None, refuse_bad: bool) -> None:
    """Join the PARTS of a library, or of a fitted catalogue, into one file.

    PARTS is their folder, or several folders if machines did not share a
    disk. Missing and duplicate galaxies are listed.
    """
    from synthesizer_emulator.inference.results import (
        is_catalogue,
        merge_results,
    )
    from synthesizer_emulator.library.file import merge as merge_parts

    if is_catalogue(parts[0]):
        click.echo(merge_results(parts, out))
    else:
        click.echo(merge_parts(parts, out, "refuse" if refuse_bad else "skip"))
