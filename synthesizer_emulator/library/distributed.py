"""Several processes, maybe on several machines, at one library.

They meet by JAX's own distributed runtime, which knows who is who where
Slurm or Open MPI started them. Nothing else passes between them: each
writes its own parts.
"""

from inspect import signature
from typing import Any

import jax
from synthesizer.exceptions import InconsistentArguments

from synthesizer_emulator.library.parts import check_process

# How long a process that is done waits for the slowest one, seconds.
_PATIENCE = 7 * 24 * 3600
_WAIT = "shutdown_timeout_seconds"


def join_processes(
    coordinator: str | None = None,
    processes: int | None = None,
    process: int | None = None,
) -> tuple[int, int]:
    """Join the other processes. JAX must not have computed before.

    Args:
        coordinator (str): The address and the port at which process 0
            listens, `host:port`; by default, like the rest, what Slurm or
            Open MPI say.
        processes (int): How many processes there are.
        process (int): Which this is, from 0.

    Returns:
        tuple: Which process this is, and how many there are.

    Raises:
        InconsistentArguments: If some of the arguments are missing, or the
            processes don't find each other.
    """
    given = (coordinator, processes, process)
    if any(g is None for g in given) and any(g is not None for g in given):
        raise InconsistentArguments(
            "Processes need the address of the coordinator, their number "
            "and which this is; or none of them, where Slurm or Open MPI "
            f"started them. Got {coordinator}, {processes} and {process}."
        )
    if processes is not None and process is not None:
        check_process(process, processes)
    try:
        initialize = jax.distributed.initialize
        # Older versions of JAX wait five minutes, and can't be told.
        known = _WAIT in signature(initialize).parameters
        patience: dict[str, Any] = {_WAIT: _PATIENCE} if known else {}
        initialize(coordinator, processes, process, **patience)
    except (RuntimeError, ValueError) as error:
        raise InconsistentArguments(
            f"The processes did not find each other: {error}. Give "
            "--coordinator, --processes and --process, or start them with "
            "Slurm or Open MPI."
        ) from error
    return jax.process_index(), jax.process_count()
