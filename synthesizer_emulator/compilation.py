"""JAX's persistent cache of compiled functions, which is on by default.

Compiling takes longer than evaluating thousands of galaxies. JAX can keep
compiled functions in a folder for later processes; this package sets it to the
user's cache folder, unless `JAX_COMPILATION_CACHE_DIR` names another or
`JAX_ENABLE_COMPILATION_CACHE=false` switches it off.
"""

import hashlib
import os
import platform
import sys
from pathlib import Path

from platformdirs import user_cache_path

_FOLDER = "JAX_COMPILATION_CACHE_DIR"
# Keep short compilations, too: there are dozens of them.
_SHORTEST = "JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS"
_CPU_INFO = Path("/proc/cpuinfo")
_FEATURES = ("flags", "Features")


def keep_compiled_functions() -> None:
    """Let JAX keep compiled functions, unless the user has chosen otherwise.

    Processes started from this one use the same folder.
    """
    jax = sys.modules.get("jax")
    chosen = os.environ.get(_FOLDER)
    if chosen is not None or (jax and jax.config.jax_compilation_cache_dir):
        return
    folder = user_cache_path("synthesizer_emulator") / f"jax-{_processor()}"
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError:
        # Without a home that can be written, functions are compiled again.
        return
    if jax:
        jax.config.update("jax_compilation_cache_dir", str(folder))
        jax.config.update("jax_persistent_cache_min_compile_time_secs", 0.0)
    os.environ[_FOLDER] = str(folder)
    os.environ.setdefault(_SHORTEST, "0")


def _processor() -> str:
    """Return a digest of the kind of processor.

    Machines that share a home folder must not run each other's functions.
    """
    about = platform.machine()
    if _CPU_INFO.is_file():
        # The first processor is enough; each takes the kernel some time.
        with _CPU_INFO.open(errors="replace") as lines:
            about += next((v for v in lines if v.startswith(_FEATURES)), "")
    else:
        about += platform.processor()
    return hashlib.sha256(about.encode()).hexdigest()[:12]
