"""Parts of a library made by the workers of a Dask cluster.

A plugin gives each worker the compiled model, also workers that join later
or replace one that died; see `worker`. A task is the parameters of one part;
its result returns to this process, so that only this machine needs the disk.

The module needs the extra `distributed`. Most users give `cluster` to
`Library.write`, and need only `local_cluster` from here, if anything.
"""

from collections.abc import Callable, Iterable, Iterator, Mapping
from concurrent.futures import CancelledError
from contextlib import contextmanager, suppress
from itertools import islice
from pathlib import Path
from typing import Any
from uuid import uuid4

import jax
import numpy as np
from numpy.typing import NDArray
from synthesizer.exceptions import InconsistentArguments, UnmetDependency

from synthesizer_emulator.progress import say
from synthesizer_emulator.records import current_versions
from synthesizer_emulator.validation import check_whole

try:
    from distributed import (
        Client,
        KilledWorker,
        LocalCluster,
        as_completed,
    )
    from distributed.comm import CommClosedError
    from distributed.deploy import Cluster
    from distributed.protocol.pickle import dumps
except ImportError as error:
    raise UnmetDependency(
        "A cluster needs dask.distributed. Install it with `pip install "
        "'synthesizer-emulator[distributed]'`."
    ) from error

from synthesizer_emulator.library.worker import PartPlugin, make_part

# The name of a cluster of processes on this machine.
LOCAL = "local"

# The parts per worker that are drawn, computed or wait to be written: one to
# compute and one to follow.
_AHEAD = 2


def local_cluster(workers: int | None = None) -> LocalCluster:
    """Start a cluster of processes on this machine, which share its cores.

    A script that calls this function must do so under `if __name__ ==
    "__main__":`, because the processes import it.

    Args:
        workers (int): The number of processes; by default Dask's choice.

    Returns:
        LocalCluster: The cluster, to be closed, or used in a `with` block.

    Raises:
        InconsistentArguments: If the number is invalid, or JAX uses an
            accelerator, which the processes can't share.
    """
    if workers is not None:
        check_whole("workers", workers, 1)
    if (backend := jax.default_backend()) != "cpu":
        raise InconsistentArguments(
            f"A local cluster computes on the CPU, but JAX uses the {backend} "
            "of this machine. Make the library without a cluster, which uses "
            "all devices, or set JAX_PLATFORMS=cpu."
        )
    return LocalCluster(n_workers=workers, processes=True)


@contextmanager
def connect(cluster: Any) -> Iterator[Client]:
    """Connect to a cluster.

    Args:
        cluster (Client/Cluster/str/Path): A client or a cluster of Dask, the
            address of a scheduler, `tcp://host:port`, the file that it
            wrote (`*.json`), or `local` for processes on this machine.

    Yields:
        Client: The client, closed at the end unless it was given.

    Raises:
        InconsistentArguments: If `cluster` is none of these.
        OSError: If the scheduler does not answer.
    """
    if isinstance(cluster, Client):
        if cluster.asynchronous:
            raise InconsistentArguments(
                "The Client of a cluster must not be asynchronous: make it "
                "without asynchronous=True."
            )
        yield cluster
    elif cluster == LOCAL:
        with local_cluster() as local, connect(local) as client:
            yield client
    elif isinstance(cluster, str | Path | Cluster):
        with _new_client(cluster) as client:
            yield client
    else:
        raise InconsistentArguments(
            "cluster must be a Client or a cluster of Dask, the address of a "
            f"scheduler, its file (*.json) or '{LOCAL}', got {cluster!r}."
        )


def evaluate_on(
    cluster: Any,
    make: Callable[[Any], Mapping[str, NDArray]],
    jobs: Iterable[tuple[slice, Any]],
    progress: bool = True,
) -> Iterator[tuple[slice, Mapping[str, NDArray]]]:
    """Evaluate parts on the workers of a cluster, in any order.

    Parts of workers that die are given to others. Only a few parts per
    worker exist at a time; the next ones are drawn as these are taken.

    Args:
        cluster (Client/Cluster/str/Path): The cluster; see `connect`.
        make (Callable): Function of the arguments of a part that returns
            arrays by name. It is pickled.
        jobs (iterable): The range of galaxies and the argument of each part.
        progress (bool): Print the address of the dashboard.

    Yields:
        tuple: The range of galaxies of a part, and its arrays.

    Raises:
        InconsistentArguments: If `cluster` is invalid, or the workers have
            other versions of the packages.
        OSError: If the scheduler does not answer or is lost, or a part
            killed several workers.
    """
    with connect(cluster) as client, _plugged(client, make) as plugin:
        say(_greeting(client), progress)
        remaining = iter(jobs)
        running: dict[Any, slice] = {}
        completed = as_completed(loop=client.loop)
        try:
            while True:
                # Workers come and go.
                places = _AHEAD * max(1, _number_of_workers(client))
                room = max(0, places - len(running))
                for which, given in islice(remaining, room):
                    future = client.submit(
                        make_part,
                        plugin,
                        given,
                        key=f"{plugin}-{which.start}",
                        pure=False,
                    )
                    running[future] = which
                    completed.add(future)
                if not running:
                    return
                future = next(completed)
                arrays = _result(future, running[future])
                which = running.pop(future)
                # The worker may forget it.
                future.release()
                yield which, arrays
        except (CancelledError, CommClosedError) as error:
            raise _lost() from error
        finally:
            with suppress(OSError, CancelledError):
                client.cancel(list(running))


@contextmanager
def _plugged(client: Client, make: Callable[[Any], Any]) -> Iterator[str]:
    """Give a function to all workers, present and future; yield its name."""
    name = f"galaxies-{uuid4().hex}"
    plugin = PartPlugin(
        dumps(make),
        current_versions(),
        jax.dtypes.canonicalize_dtype(float) == np.float64,
    )
    try:
        client.register_plugin(plugin, name=name)
    except ImportError as error:
        raise InconsistentArguments(
            "The workers of the cluster must have the same packages as this "
            f"process, but one reports: {error}. Start them in the same "
            "environment."
        ) from error
    try:
        yield name
    finally:
        with suppress(OSError, CancelledError):
            client.unregister_worker_plugin(name)


@contextmanager
def _new_client(cluster: Any) -> Iterator[Client]:
    """Connect to a cluster, the address of a scheduler, or its file."""
    if isinstance(cluster, Cluster):
        options: dict[str, Any] = {"address": cluster}
    elif str(cluster).endswith(".json"):
        if not Path(cluster).is_file():
            raise OSError(
                f"There is no scheduler file '{cluster}'. Start a scheduler "
                f"with `dask scheduler --scheduler-file {cluster}`."
            )
        options = {"scheduler_file": str(cluster)}
    else:
        options = {"address": str(cluster)}
    try:
        client = Client(**options, set_as_default=False)
    except (OSError, ValueError) as error:
        raise OSError(
            f"No Dask scheduler answers at '{cluster}' ({error}). Start one "
            "with `dask scheduler`, and give the address that it prints, such "
            "as tcp://host:8786."
        ) from error
    with client:
        yield client


def _result(future: Any, which: slice) -> Any:
    """Return the arrays of a part."""
    try:
        return future.result()
    except KilledWorker as error:
        raise OSError(
            f"Galaxies {which.start} to {which.stop - 1} are not made: each "
            f"worker that tried has died ({error}). They may lack memory: "
            "give them more, or make smaller parts (part_size). Run the same "
            "command again to resume."
        ) from error


def _number_of_workers(client: Client) -> int:
    """Return the number of workers at this time."""
    try:
        return len(client.nthreads())
    except OSError as error:
        raise _lost() from error


def _lost() -> OSError:
    """Return the error of a scheduler that no longer answers."""
    return OSError(
        "The scheduler of the Dask cluster was lost. Run the same command "
        "again to resume."
    )


def _greeting(client: Client) -> str:
    """Return the addresses of a cluster."""
    try:
        dashboard = f"dashboard at {client.dashboard_link}"
    except KeyError:
        dashboard = "no dashboard, which needs bokeh"
    workers = _number_of_workers(client)
    return f"Dask cluster at {client.scheduler.address}: {dashboard}; " + (
        f"{workers} workers" if workers else "waiting for workers"
    )
