"""Commands for libraries of galaxies: `library` and `merge`."""

from pathlib import Path

import click

from synthesizer_emulator.cli.options import FILE, FOLDER, PATH


@click.command()
@click.argument("config", type=PATH)
@click.option(
    "--coordinator",
    metavar="HOST:PORT",
    help="Address of process 0, if there are several processes.",
)
@click.option(
    "--processes", type=int, metavar="N", help="Number of processes."
)
@click.option(
    "--process", type=int, metavar="I", help="Number of this process, from 0."
)
@click.option(
    "--distributed",
    is_flag=True,
    help="Take the number of this process and of all processes from Slurm or "
    "Open MPI.",
)
def library(
    config: Path,
    coordinator: str | None,
    processes: int | None,
    process: int | None,
    distributed: bool,
) -> None:
    """Make a library of galaxies from CONFIG, a YAML file.

    The same command resumes after an interruption. Several processes each
    write their parts; `synthesizer-emulator merge` then joins these into one
    file.
    """
    from synthesizer_emulator.library.config import LibraryConfig
    from synthesizer_emulator.library.distributed import join_processes
    from synthesizer_emulator.library.file import parts_folder

    given = (coordinator, processes, process)
    number, n_processes = 0, 1
    if distributed or any(g is not None for g in given):
        number, n_processes = join_processes(*given)
    plan = LibraryConfig.read(config)
    file = plan.library.write(plan.path, plan.on_bad, number, n_processes)
    if file is None:
        click.echo(
            f"Process {number} of {n_processes} has finished. When all have, "
            f"run synthesizer-emulator merge {parts_folder(plan.path)}"
        )
    else:
        click.echo(file)


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
    """Join the PARTS of a library into one file.

    PARTS is their folder, or several folders if machines did not share a
    disk. Missing and duplicate galaxies are listed.
    """
    from synthesizer_emulator.library.file import merge as merge_parts

    click.echo(merge_parts(parts, out, "refuse" if refuse_bad else "skip"))
