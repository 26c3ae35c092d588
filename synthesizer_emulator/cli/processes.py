"""Options of commands that share their galaxies among processes."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import click


def process_options(command: Callable[..., Any]) -> Callable[..., Any]:
    """Add the options of the processes to a command."""
    for option in (
        click.option(
            "--processes", type=int, metavar="N", help="Number of processes."
        ),
        click.option(
            "--process",
            type=int,
            metavar="I",
            help="Number of this process, from 0.",
        ),
        click.option(
            "--distributed",
            is_flag=True,
            help="Take the number of this process and of all processes from "
            "Slurm or MPI.",
        ),
        click.option(
            "--workers",
            type=int,
            metavar="N",
            help="Number of processes of a local Dask cluster.",
        ),
        click.option(
            "--dask",
            metavar="ADDRESS",
            help="Make the galaxies on a Dask cluster: the address of its "
            "scheduler, the file that it wrote (*.json), or 'local' for "
            "processes on this machine.",
        ),
    ):
        command = option(command)
    return command


def given_process(
    distributed: bool,
    process: int | None,
    processes: int | None,
    dask: str | None,
    workers: int | None,
) -> tuple[int, int]:
    """Return the number of this process and the number of processes.

    Raises `click.UsageError` if the options exclude each other.
    """
    number, n_processes = _numbers(distributed, process, processes)
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
    return number, n_processes


@contextmanager
def given_cluster(address: str | None, workers: int | None) -> Iterator[Any]:
    """Yield the cluster of `--dask` and `--workers`, or None."""
    if workers is None:
        yield address
        return
    from synthesizer_emulator.library.cluster import local_cluster

    with local_cluster(workers) as cluster:
        yield cluster


def _numbers(
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
