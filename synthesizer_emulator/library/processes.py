"""The number of a process among those that make one library.

The processes need not communicate: a number each is enough. Slurm, MPI and
array jobs give it in environment variables.
"""

import os
from collections.abc import Mapping

from synthesizer.exceptions import InconsistentArguments

# The number of a process and of all processes. The MPI libraries come before
# Slurm, which may have started only their daemons, one on each machine.
_RANKS = (
    ("OMPI_COMM_WORLD_RANK", "OMPI_COMM_WORLD_SIZE"),
    ("PMI_RANK", "PMI_SIZE"),
    ("SLURM_PROCID", "SLURM_STEP_NUM_TASKS"),
)

# The number of a job in an array of jobs of Slurm, and their range.
_ARRAY = (
    "SLURM_ARRAY_TASK_ID",
    "SLURM_ARRAY_TASK_MIN",
    "SLURM_ARRAY_TASK_MAX",
    "SLURM_ARRAY_TASK_STEP",
    "SLURM_ARRAY_TASK_COUNT",
)

_BY_HAND = "Give --process and --processes instead."


def number_of_process(
    environ: Mapping[str, str] = os.environ,
) -> tuple[int, int]:
    """Read the number of this process from the environment.

    The processes may be the tasks of `srun`, the ranks of Open MPI or of
    another MPI library with PMI, the jobs of a Slurm array, or the tasks or
    ranks of each job of an array.

    Args:
        environ (Mapping): The environment variables.

    Returns:
        tuple: The number of this process, from 0, and the number of
            processes.

    Raises:
        InconsistentArguments: If the environment has no number, or an array
            of jobs is not a range.

    Examples:
        >>> number_of_process({"PMI_RANK": "1", "PMI_SIZE": "4"})
        (1, 4)
    """
    found = [
        _whole_numbers(environ, names)
        for names in _RANKS
        if all(name in environ for name in names)
    ]
    job, jobs = 0, 1
    in_array = _ARRAY[0] in environ
    if in_array:
        job, jobs = _number_in_array(environ)
    if not found and not in_array:
        raise InconsistentArguments(
            "The number of this process must be in the environment, as "
            + ", ".join(" and ".join(names) for names in _RANKS)
            + f" or {_ARRAY[0]}, but is not. Start the processes with srun or "
            "mpirun, or as an array job. " + _BY_HAND
        )
    rank, size = found[0] if found else (0, 1)
    return job * size + rank, jobs * size


def _number_in_array(environ: Mapping[str, str]) -> tuple[int, int]:
    """Return the number of a job in an array, and the number of jobs."""
    number, first, last, step, count = _whole_numbers(environ, _ARRAY)
    if step < 1 or (last - first) // step + 1 != count:
        raise InconsistentArguments(
            "The jobs of an array must be a range, as in --array=0-9, got "
            f"{count} jobs from {first} to {last}. {_BY_HAND}"
        )
    return (number - first) // step, count


def _whole_numbers(
    environ: Mapping[str, str], names: tuple[str, ...]
) -> tuple[int, ...]:
    """Return the values of environment variables."""
    values = {name: environ.get(name, "") for name in names}
    try:
        return tuple(map(int, values.values()))
    except ValueError as error:
        raise InconsistentArguments(
            "The environment variables of this process must be whole numbers, "
            f"got {', '.join(f'{k}={v}' for k, v in values.items())}. "
            + _BY_HAND
        ) from error
