"""JAX's persistent cache of compiled functions."""

import os
import subprocess
import sys

import pytest

SCRIPT = """
import {first}
import {second}
import jax, jax.numpy as jnp
jax.jit(lambda x: jnp.sin(x) + 1.0)(jnp.ones(3)).block_until_ready()
print(jax.config.jax_compilation_cache_dir)
"""


def run(home, first="synthesizer_emulator", second="jax", **settings):
    """Return the folder of the cache in a new process."""
    inherited = {k: v for k, v in os.environ.items() if "CACHE" not in k}
    done = subprocess.run(
        [sys.executable, "-c", SCRIPT.format(first=first, second=second)],
        env={**inherited, "XDG_CACHE_HOME": str(home), **settings},
        capture_output=True,
        text=True,
        check=True,
    )
    assert "Traceback" not in done.stderr
    return done.stdout.strip()


def files(home):
    return sorted(p for p in home.rglob("*-cache"))


@pytest.mark.slow
@pytest.mark.skipif(sys.platform != "linux", reason="Linux's cache folder")
@pytest.mark.parametrize("first", ["synthesizer_emulator", "jax"])
def test_a_second_process_compiles_nothing(tmp_path, first):
    """Whether JAX was imported before this package or after it."""
    second = {"synthesizer_emulator": "jax", "jax": "synthesizer_emulator"}
    folder = run(tmp_path, first, second[first])
    assert folder.startswith(str(tmp_path / "synthesizer_emulator"))
    kept = files(tmp_path)
    assert kept
    before = [(p, p.stat().st_mtime_ns) for p in kept]
    run(tmp_path, first, second[first])
    assert [(p, p.stat().st_mtime_ns) for p in files(tmp_path)] == before


def test_the_folder_is_the_users_choice(tmp_path):
    mine = tmp_path / "mine"
    folder = run(tmp_path, JAX_COMPILATION_CACHE_DIR=str(mine))
    assert folder == str(mine)
    assert not (tmp_path / "synthesizer_emulator").exists()


def test_it_can_be_switched_off(tmp_path):
    run(tmp_path, JAX_ENABLE_COMPILATION_CACHE="false")
    assert not files(tmp_path)


def test_a_home_that_cannot_be_written_is_no_error(tmp_path):
    (tmp_path / "file").write_text("")
    assert run(tmp_path / "file") == "None"
