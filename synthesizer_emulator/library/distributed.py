"""Several processes, perhaps on several machines, that make one library.

JAX's distributed runtime numbers them, from Slurm or Open MPI if these started
them. Each process writes its own parts; they exchange nothing else.
"""

from inspect import signature
from typing import Any

import jax
from synthesizer.exceptions import InconsistentArguments

from synthesizer_emulator.library.parts import check_process

# How long a finished process waits for the slowest one, seconds.
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
            `host:port`. Without any arguments, Slurm or Open MPI provide
            all three.
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
            "Processes need the address of the coordinator, their number "
            "and the number of this one; or none of them, if Slurm or Open "
            f"MPI started them. Got {coordinator}, {processes} and {process}."
        )
    if processes is not None and process is not None:
        check_process(process, processes)
    try:
        initialize = jax.distributed.initialize
        # Older versions of JAX always wait five minutes.
        known = _TIMEOUT_OPTION in signature(initialize).parameters
        options: dict[str, Any] = {_TIMEOUT_OPTION: _TIMEOUT} if known else {}
        initialize(coordinator, processes, process, **options)
    except (RuntimeError, ValueError) as error:
        raise InconsistentArguments(
            f"The processes did not find each other: {error}. Give "
            "--coordinator, --processes and --process, or start them with "
            "Slurm or Open MPI."
        ) from error
    return jax.process_index(), jax.process_count()
