"""The number of a process, from what schedulers put in the environment."""

import pytest
from synthesizer.exceptions import InconsistentArguments

from synthesizer_emulator.library.processes import number_of_process

ARRAY = {
    "SLURM_ARRAY_TASK_ID": "7",
    "SLURM_ARRAY_TASK_MIN": "3",
    "SLURM_ARRAY_TASK_MAX": "11",
    "SLURM_ARRAY_TASK_STEP": "2",
    "SLURM_ARRAY_TASK_COUNT": "5",
}
# What the script of a job has, before srun.
BATCH = {"SLURM_PROCID": "0", "SLURM_NTASKS": "8", "SLURM_JOB_ID": "1"}
SRUN = {**BATCH, "SLURM_PROCID": "2", "SLURM_STEP_NUM_TASKS": "4"}
OPEN_MPI = {"OMPI_COMM_WORLD_RANK": "5", "OMPI_COMM_WORLD_SIZE": "6"}


@pytest.mark.parametrize(
    ("environ", "expected"),
    [
        (SRUN, (2, 4)),
        (OPEN_MPI, (5, 6)),
        # Slurm has started one daemon of Open MPI on each machine.
        ({**SRUN, **OPEN_MPI}, (5, 6)),
        ({"PMI_RANK": "1", "PMI_SIZE": "3"}, (1, 3)),
        # The third of 3, 5, 7, 9, 11.
        ({**BATCH, **ARRAY}, (2, 5)),
        # Four tasks in each of the five jobs.
        ({**SRUN, **ARRAY}, (2 * 4 + 2, 20)),
    ],
)
def test_schedulers_number_the_processes(environ, expected):
    assert number_of_process(environ) == expected


def test_the_jobs_of_an_array_are_all_processes():
    for size in (1, 3):
        numbers = [
            number_of_process(
                {
                    **ARRAY,
                    "SLURM_ARRAY_TASK_ID": str(job),
                    "PMI_RANK": str(rank),
                    "PMI_SIZE": str(size),
                }
            )
            for job in range(3, 12, 2)
            for rank in range(size)
        ]
        assert numbers == [(i, 5 * size) for i in range(5 * size)]


@pytest.mark.parametrize(
    ("environ", "message"),
    [
        ({}, r"must be in the environment, as OMPI.*Give --process and"),
        # Without srun there is only the script of the job.
        (BATCH, "Start the processes with srun"),
        ({**ARRAY, "SLURM_ARRAY_TASK_COUNT": "2"}, "2 jobs from 3 to 11"),
        ({"SLURM_ARRAY_TASK_ID": "1"}, "SLURM_ARRAY_TASK_MIN=,"),
        ({**OPEN_MPI, "OMPI_COMM_WORLD_RANK": "x"}, "WORLD_RANK=x, "),
    ],
)
def test_environments_without_a_number_are_refused(environ, message):
    with pytest.raises(InconsistentArguments, match=message):
        number_of_process(environ)
