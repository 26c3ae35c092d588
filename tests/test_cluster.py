"""Parts made by the workers of a Dask cluster, as one process makes them."""

import os
import signal
import subprocess
import sys
import threading
import time
from functools import partial
from pathlib import Path

import dask
import jax.numpy as jnp
import numpy as np
import pytest
from click.testing import CliRunner
from distributed import Client, LocalCluster
from synthesizer.emission_models import IncidentEmission
from synthesizer.exceptions import InconsistentArguments, UnmetDependency
from unyt import Gyr, angstrom

from synthesizer_emulator import EmulatedGrid
from synthesizer_emulator.cli.main import main
from synthesizer_emulator.library import Draws, History, Library, Uniform
from synthesizer_emulator.library.cluster import local_cluster
from synthesizer_emulator.library.collection import collect
from synthesizer_emulator.library.parts import Parts, write_parts

WORKERS = 2


@pytest.fixture(scope="module")
def cluster():
    """Return a cluster of two workers in this process, of two threads."""
    with LocalCluster(
        n_workers=WORKERS,
        threads_per_worker=2,
        processes=False,
        protocol="tcp",
        dashboard_address=":0",
    ) as cluster:
        yield cluster


@pytest.fixture(scope="module")
def client(cluster):
    with Client(cluster, set_as_default=False) as client:
        yield client


@pytest.fixture(scope="module")
def scheduler_file(client, tmp_path_factory):
    """Return the file that a scheduler writes when it starts."""
    path = tmp_path_factory.mktemp("scheduler") / "scheduler.json"
    client.write_scheduler_file(str(path))
    return path


@pytest.fixture(scope="module")
def processes():
    """Return the client of two worker processes with nannies."""
    with (
        local_cluster(WORKERS) as cluster,
        Client(cluster, set_as_default=False) as client,
    ):
        yield client


def begin(folder, n=25, size=4):
    return Parts.begin(folder, n, size, {"seed": 3})


def make(which):
    """Return what can be checked by eye: each galaxy's own number."""
    index = np.arange(which.start, which.stop, dtype=float)
    return {"mass": index, "photometry": index[:, None] * [1, 10]}


def files(folder):
    return {path.name: path.read_bytes() for path in folder.iterdir()}


def plugins(dask_worker):
    """Return what this package left on a worker."""
    return [name for name in dask_worker.plugins if "galaxies" in name]


@pytest.fixture
def expected(tmp_path):
    """Return the parts that this process makes."""
    parts = begin(tmp_path / "alone")
    write_parts(parts, make, progress=False)
    return files(parts.folder)


@pytest.mark.parametrize("given", ["client", "cluster", "address", "file"])
def test_parts_are_those_of_one_process(
    given, cluster, client, scheduler_file, tmp_path, expected, capsys
):
    kinds = {
        "client": client,
        "cluster": cluster,
        "address": cluster.scheduler_address,
        "file": scheduler_file,
    }
    # As it is after an interruption.
    parts = begin(tmp_path / "parts")
    parts.write(slice(8, 12), make(slice(8, 12)), np.zeros(4, np.bool_))
    write_parts(parts, make, cluster=kinds[given])
    assert files(parts.folder) == expected
    printed = capsys.readouterr().err
    assert f"Dask cluster at {cluster.scheduler_address}: " in printed
    assert "dashboard" in printed
    # Nothing is left on the workers.
    assert not any(client.run(plugins).values())
    # All parts are there: the cluster is not needed.
    write_parts(parts, make, cluster="tcp://nowhere:1", progress=False)


def counting(given):
    """Note how many are made at this time, in the workers of this process."""
    counting.now += 1
    counting.most = max(counting.most, counting.now)
    time.sleep(0.005)
    counting.now -= 1
    return make(slice(*given))


def test_few_parts_exist_at_a_time(client, tmp_path):
    """Each is drawn here when the workers need it, and one by one made."""
    parts = begin(tmp_path / "parts", 60, 2)
    counting.now = counting.most = 0
    ahead = []

    def draw(which):
        written = len(list(parts.folder.glob("part-*")))
        ahead.append(which.start // 2 + 1 - written)
        return which.start, which.stop

    write_parts(parts, counting, progress=False, inputs=draw, cluster=client)
    assert counting.most == 1
    assert max(ahead) == 2 * WORKERS
    assert len(collect(parts.folder).kept) == 60


def precision(which):
    return {"one": np.repeat(np.asarray(jnp.ones(1)), 1)}


@pytest.mark.x64
def test_workers_have_the_precision_of_the_client(
    double_precision, client, tmp_path
):
    parts = begin(tmp_path / "parts", 1, 1)
    write_parts(parts, precision, progress=False, cluster=client)
    assert collect(parts.folder).rows["one"][1] == np.float64


def with_bad(which):
    arrays = make(which)
    arrays["mass"][arrays["mass"] == 6] = np.nan
    return arrays


def failing(which):
    raise InconsistentArguments("no such galaxies")


def test_errors_of_the_workers_are_passed_on(
    client, tmp_path, expected, monkeypatch
):
    parts = begin(tmp_path / "parts")
    with pytest.raises(InconsistentArguments, match=r"1 galaxies .*: 6\."):
        write_parts(parts, with_bad, progress=False, cluster=client)
    with pytest.raises(InconsistentArguments, match="no such galaxies"):
        write_parts(parts, failing, progress=False, cluster=client)
    versions = iter([{"jax": "1", "flax": "2"}])
    for module in ("records", "library.cluster"):
        monkeypatch.setattr(
            f"synthesizer_emulator.{module}.current_versions",
            lambda: next(versions, {"jax": "0", "flax": "2"}),
        )
    with pytest.raises(
        InconsistentArguments, match=r"one has jax 0 instead of 1\. Start"
    ):
        write_parts(parts, make, progress=False, cluster=client)
    monkeypatch.undo()
    # The same call resumes.
    write_parts(parts, make, progress=False, cluster=client)
    assert files(parts.folder) == expected


@pytest.mark.parametrize(
    ("given", "error", "message"),
    [
        (4, InconsistentArguments, "must be a Client .* or 'local', got 4"),
        ("tcp://127.0.0.1:1", OSError, "answers at 'tcp://127.0.0.1:1'"),
        ("some/where.json", OSError, "no scheduler file 'some/where.json'"),
    ],
)
def test_clusters_that_are_not_there_are_refused(
    given, error, message, tmp_path
):
    parts = begin(tmp_path / "parts")
    with (
        dask.config.set({"distributed.comm.timeouts.connect": "100ms"}),
        pytest.raises(error, match=message),
    ):
        write_parts(parts, make, progress=False, cluster=given)


def test_mistakes(cluster, tmp_path, monkeypatch):
    parts = begin(tmp_path / "parts")
    with pytest.raises(InconsistentArguments, match="processes must be 1, go"):
        write_parts(parts, make, processes=2, cluster="tcp://127.0.0.1:1")
    with pytest.raises(InconsistentArguments, match="workers must be a whole"):
        local_cluster(0)
    with monkeypatch.context() as patch:
        patch.setattr("jax.default_backend", lambda: "gpu")
        with pytest.raises(InconsistentArguments, match="JAX_PLATFORMS=cpu"):
            local_cluster(2)
    command = CliRunner().invoke
    for options, message in (
        (["--workers", "2", "--dask", "tcp://a:1"], "Leave out one of the tw"),
        (["--dask", "local", "--process", "0", "--processes", "2"], "either "),
    ):
        result = command(main, ["library", str(tmp_path / "x"), *options])
        assert result.exit_code == 2
        assert message in " ".join(result.output.split())


def test_the_event_loops_of_dask_do_not_wait_for_jax():
    """Scheduler and workers import the module in them."""
    script = (
        "import sys, synthesizer_emulator.library.worker\n"
        "assert not {'jax', 'synthesizer'}.intersection(sys.modules)\n"
    )
    subprocess.run([sys.executable, "-c", script], check=True)


def test_without_dask_the_remedy_is_named(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "distributed", None)
    monkeypatch.delitem(sys.modules, "synthesizer_emulator.library.cluster")
    with pytest.raises(UnmetDependency, match=r"emulator\[distributed\]"):
        write_parts(begin(tmp_path / "parts"), make, cluster="local")


def slow(which):
    time.sleep(0.2)
    return make(which)


@pytest.mark.slow
def test_a_lost_scheduler_is_named(tmp_path, expected):
    parts = begin(tmp_path / "parts")
    with (
        dask.config.set({"distributed.comm.timeouts.connect": "1s"}),
        LocalCluster(
            n_workers=1,
            processes=False,
            protocol="tcp",
            dashboard_address=":0",
        ) as cluster,
    ):
        timer = threading.Timer(0.5, cluster.close)
        timer.start()
        with pytest.raises(OSError, match=r"scheduler .* was lost\. Run"):
            write_parts(
                parts, slow, progress=False, cluster=cluster.scheduler_address
            )
        timer.join()
    write_parts(parts, make, progress=False)
    assert files(parts.folder) == expected


def xla_threads():
    """Return the number of threads with which XLA computes, under Linux."""
    names = [
        path.read_text() for path in Path("/proc/self/task").glob("*/comm")
    ]
    return sum("XLAEigen" in name for name in names)


@pytest.mark.slow
@pytest.mark.thorough
def test_a_worker_killed_half_way_does_not_show(processes, tmp_path):
    """Two worker processes, one of which dies of SIGKILL amid its parts."""
    lam = np.geomspace(1000, 2e4, 100) * angstrom
    library = Library(
        IncidentEmission(EmulatedGrid.example(new_lam=lam, ignore_lines=True)),
        sf_hist=History("Constant", {"max_age": 1 * Gyr}),
        metal_dist=History("DeltaConstant", {"log10metallicity": -2.0}),
        stars={"log10initial_mass": Uniform(8, 12)},
        draws=Draws(60, seed=3),
        outputs=["lnu"],
    )
    run = partial(library.write, part_size=1, progress=False)
    undisturbed = run(tmp_path / "alone.hdf5").path.read_bytes()
    killed = []

    def kill_half_way(client):
        pids = client.run(os.getpid)
        while len(list(tmp_path.glob("library.parts/part-*"))) < 20:
            time.sleep(0.001)
        killed.append(pids.popitem()[1])
        os.kill(killed[0], signal.SIGKILL)

    processes.wait_for_workers(WORKERS)
    thread = threading.Thread(target=kill_half_way, args=(processes,))
    thread.start()
    file = run(tmp_path / "library.hdf5", cluster=processes)
    thread.join()
    with pytest.raises(ProcessLookupError):
        os.kill(killed[0], 0)
    processes.wait_for_workers(WORKERS)
    assert killed[0] not in processes.run(os.getpid).values()
    # The workers share the cores of the machine.
    pools = processes.run(xla_threads)
    for address, threads in processes.nthreads().items():
        assert pools[address] in (0, threads)
    assert file.path.read_bytes() == undisturbed
    assert sorted(p.name for p in tmp_path.iterdir()) == [
        "alone.hdf5",
        "library.hdf5",
    ]


def deadly(which):
    if which.start == 8:
        os.kill(os.getpid(), signal.SIGKILL)
    return make(which)


@pytest.mark.slow
@pytest.mark.thorough
def test_a_part_that_kills_its_workers_is_named(
    processes, tmp_path, monkeypatch
):
    scheduler = processes.cluster.scheduler
    monkeypatch.setattr(scheduler, "allowed_failures", 0)
    with pytest.raises(OSError, match=r"Galaxies \d+ to .* memory: .*resume"):
        write_parts(
            begin(tmp_path / "parts"),
            deadly,
            progress=False,
            cluster=processes,
        )
