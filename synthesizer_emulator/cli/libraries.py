"""Commands for libraries of galaxies: `library` and `merge`."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import click

from synthesizer_emulator.cli.options import FILE, FOLDER, PATH


@click.command()
@click.argument("config", type=PATH)
@click.option(
    "--dask",
    metavar="ADDRESS",
    help="Make the galaxies on a Dask cluster: the address of its scheduler, "
    "the file that it wrote (*.json), or 'local' for processes on this "
    "machine.",
)
@click.option(
    "--workers",
    type=int,
    metavar="N",
    help="Number of processes of a local Dask cluster.",
)
@click.option(
    "--distributed",
    is_flag=True,
    help="Take the number of this process and of all processes from Slurm or "
    "MPI.",
)
@click.option(
    "--process", type=int, metavar="I", help="Number of this process, from 0."
)
@click.option(
    "--processes", type=int, metavar="N", help="Number of processes."
)
@click.option(
    "--synference",
    type=FILE,
    help="Also write the library in Synference's format to this file.",
)
def library(
    config: Path,
    dask: str | None,
    workers: int | None,
    distributed: bool,
    process: int | None,
    processes: int | None,
    synference: Path | None,
) -> None:
    """Make a library of galaxies from CONFIG, a YAML file.

    The same command resumes after an interruption. Several processes each
    write their parts; `synthesizer-emulator merge` then joins these into one
    file. The workers of a Dask cluster need neither the disk nor `merge`.
    """
    from synthesizer_emulator.library.config import LibraryConfig
    from synthesizer_emulator.library.file import parts_folder

    number, n_processes = _process(distributed, process, processes)
    if n_processes > 1 and (dask is not None or workers is not None):
        raise click.UsageError(
            "A Dask cluster makes all parts. Give either --dask or --workers, "
            "or the number of a process."
        )
    if workers is not None and dask not in (None, "local"):
        raise click.UsageError(
            "--workers is the number of processes of a local cluster; got "
            f"--dask {dask}. Leave out one of the two."
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
    plan = LibraryConfig.read(config)
    with _cluster(dask, workers) as cluster:
        file = plan.library.write(
            plan.path, plan.on_bad, number, n_processes, cluster=cluster
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
    """Join the PARTS of a library into one file.

    PARTS is their folder, or several folders if machines did not share a
    disk. Missing and duplicate galaxies are listed.
    """
    from synthesizer_emulator.library.file import merge as merge_parts

    click.echo(merge_parts(parts, out, "refuse" if refuse_bad else "skip"))


def _process(
    distributed: bool, process: int | None, processes: int | None
) -> tuple[int, int]:
    """Return the number of this process and the number of processes."""
    if process is None and processes is None:
        if not distributed:
            return 0, 1
        from synthesizer_emulator.library.processes import number_of_process

        return number_of_process()
    if distributed or process is None or processes is None:
        raise click.UsageError(
            "--process and --processes must be given together, or neither "
            "with --distributed, which takes them from Slurm or MPI."
        )
    return process, processes


@contextmanager
def _cluster(address: str | None, workers: int | None) -> Iterator[Any]:
    """Yield the cluster of `--dask` and `--workers`, or None."""
    if workers is None:
        yield address
        return
    from synthesizer_emulator.library.cluster import local_cluster

    with local_cluster(workers) as cluster:
        yield cluster
