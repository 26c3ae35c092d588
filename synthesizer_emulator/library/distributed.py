"""Several processes, on one or more machines, that make one library.

JAX's distributed runtime connects and numbers them, with arguments from the
user, Slurm or Open MPI. Each process writes separate parts.
"""

from inspect import signature
from typing import Any

import jax
from synthesizer.exceptions import InconsistentArguments

from synthesizer_emulator.library.parts import check_process

# How long a process waits at the end for the slowest one, seconds.
_TIMEOUT = 7 * 24 * 3600
_TIMEOUT_OPTION = "shutdown_timeout_seconds"


def join_processes(
    coordinator: str | None = None,
    processes: int | None = None,
    process: int | None = None,
) -> tuple[int, int]:
    """Connect to the other processes, before any computation with JAX.

    Args:
        coordinator (str): The address at which process 0 listens,
            `host:port`. Without arguments, Slurm or Open MPI provide all
            three.
        processes (int): The number of processes.
        process (int): The number of this process, from 0.

    Returns:
        tuple: The number of this process, and the number of processes.

    Raises:
        InconsistentArguments: If some of the arguments are missing, or the
            processes can't connect.
    """
    given = (coordinator, processes, process)
    if any(g is None for g in given) and any(g is not None for g in given):
        raise InconsistentArguments(
            "coordinator, processes and process must be given together, or "
            "none of them under Slurm or Open MPI; got "
            f"{coordinator}, {processes} and {process}."
        )
    if processes is not None and process is not None:
        check_process(process, processes)
    try:
        initialize = jax.distributed.initialize
        # Older versions of JAX always wait for five minutes.
        known = _TIMEOUT_OPTION in signature(initialize).parameters
        options: dict[str, Any] = {_TIMEOUT_OPTION: _TIMEOUT} if known else {}
        initialize(coordinator, processes, process, **options)
    except (RuntimeError, ValueError) as error:
        raise InconsistentArguments(
            f"The processes can't connect: {error}. Give --coordinator, "
            "--processes and --process, or start them with Slurm or Open MPI."
        ) from error
    return jax.process_index(), jax.process_count()
