"""What runs on the workers of a Dask cluster.

Dask imports this module in the event loops of the scheduler and the workers,
which must not wait long. So JAX and Synthesizer are imported by the first
part, in a thread.
"""

import os
from collections.abc import Callable
from functools import cached_property
from threading import Lock
from typing import Any

from distributed import WorkerPlugin, get_worker
from distributed.protocol.pickle import loads

# The size of the pool of threads of XLA, read when it starts.
_XLA_THREADS = "NPROC"

# The threads of a worker share one pool, and one part needs all of it.
_one_at_a_time = Lock()


class PartPlugin(WorkerPlugin):
    """What a worker needs to make parts, kept between them.

    Args:
        pickled (bytes): The function that makes a part.
        versions (dict): The versions of packages of the client, which those
            of the worker must equal.
        double (bool): Whether the client computes in double precision.
    """

    def __init__(
        self, pickled: bytes, versions: dict[str, str], double: bool
    ) -> None:
        self._pickled = pickled
        self._versions = versions
        self._double = double

    def setup(self, worker: Any) -> None:
        """Note the number of threads that the worker may use."""
        self._threads = worker.state.nthreads

    def make(self, given: Any) -> Any:
        """Make a part, in the precision of the client."""
        with _one_at_a_time:
            import jax

            with jax.enable_x64(self._double):
                return self._make(given)

    @cached_property
    def _make(self) -> Callable[[Any], Any]:
        """Function that makes a part."""
        self._check_versions()
        _start_jax(self._threads)
        return loads(self._pickled)

    def _check_versions(self) -> None:
        """Raise unless the packages have the versions of the client."""
        from synthesizer.exceptions import InconsistentArguments

        from synthesizer_emulator.records import current_versions

        versions = current_versions()
        differing = ", ".join(
            f"{name} {versions[name]} instead of {expected}"
            for name, expected in self._versions.items()
            if versions[name] != expected
        )
        if differing:
            raise InconsistentArguments(
                "The workers of the cluster must have the same versions of "
                f"packages as this process, but one has {differing}. Start "
                "them in the same environment."
            )


def make_part(plugin: str, given: Any) -> Any:
    """Make a part, on a worker.

    Args:
        plugin (str): The name of the worker's `PartPlugin`.
        given (Any): The argument of its function.
    """
    found: Any = get_worker().plugins[plugin]
    return found.make(given)


def _start_jax(threads: int) -> None:
    """Start JAX with as many threads; by default it takes all cores.

    This has no effect if it runs already, or the user has set the number.
    """
    import jax

    if _XLA_THREADS in os.environ:
        return
    os.environ[_XLA_THREADS] = str(threads)
    try:
        jax.local_devices()
    finally:
        # It is not meant for processes that this one starts.
        del os.environ[_XLA_THREADS]
