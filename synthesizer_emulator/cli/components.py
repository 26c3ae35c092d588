"""The parts of an installation, and what to do about those that are missing.

Each check returns a text, or raises with the remedy.
"""

import os
import platform
import re
from collections.abc import Callable, Iterator
from importlib.metadata import PackageNotFoundError, requires, version
from pathlib import Path
from typing import Any, NamedTuple

OK, MISSING, BROKEN = "ok", "missing", "broken"

PACKAGE = "synthesizer-emulator"

# What the extras are for.
PURPOSES = {
    "inference": "fits of galaxies",
    "explore": "the page of `explore`",
    "amortised": "amortised posteriors",
    "filters": "filter curves without the SVO",
    "bc03": "making the BC03 grids",
    "distributed": "clusters of Dask",
    "synference": "Synference",
    "mpi": "MPI",
}

# A requirement of an extra: `sbi>=0.27; extra == "amortised"`.
_OF_EXTRA = re.compile(r"([\w.-]+).*extra == ['\"]([\w-]+)['\"]")


class Component(NamedTuple):
    """One line of the check.

    Attributes:
        name (str): The component.
        state (str): `ok`, `missing` if it is optional, or `broken`.
        text (str): The version, or the remedy.
    """

    name: str
    state: str
    text: str


def components() -> Iterator[Component]:
    """Check all components, one after another."""
    for name, check in (
        ("Python", _python),
        ("Synthesizer", _synthesizer),
        ("JAX", _jax),
        ("compilation cache", _cache),
        ("grid folder", _grids),
        ("shipped weights", _weights),
        ("a spectrum", _spectrum),
    ):
        yield _checked(name, check)
    yield from _extras()


def _extras() -> Iterator[Component]:
    """Check the packages of all extras of the package that is installed."""
    wanted: dict[str, list[str]] = {}
    try:
        lines = requires(PACKAGE) or []
    except PackageNotFoundError:
        lines = []
    for line in lines:
        found = _OF_EXTRA.match(line)
        if found and found[1] != PACKAGE:
            wanted.setdefault(found[2], []).append(found[1])
    for extra, packages in wanted.items():
        absent = [package for package in packages if not _is_there(package)]
        name, purpose = f"extra {extra}", PURPOSES.get(extra, "development")
        if absent:
            yield Component(
                name,
                MISSING,
                f"for {purpose}, lacks {', '.join(absent)}: pip install "
                f"'{PACKAGE}[{extra}]'",
            )
        else:
            yield Component(name, OK, f"for {purpose}")


def _is_there(package: str) -> bool:
    """Return whether a package is installed."""
    try:
        version(package)
    except PackageNotFoundError:
        return False
    return True


def _checked(name: str, check: Callable[[], str]) -> Component:
    """Return a component as a check finds it."""
    try:
        return Component(name, OK, check())
    # Broken installations raise all kinds of exceptions.
    except Exception as error:
        lines = str(error).strip().splitlines() or [type(error).__name__]
        return Component(name, BROKEN, " ".join(map(str.strip, lines)))


def _version(package: str) -> str:
    """Return the version of a package."""
    try:
        return version(package)
    except PackageNotFoundError:
        return "without a version: it is not installed by pip"


def _python() -> str:
    """Return the version of Python and of this package."""
    ours = _version(PACKAGE)
    return f"{platform.python_version()}, {PACKAGE} {ours}"


def _synthesizer() -> str:
    """Return the version of Synthesizer, whose extensions are loaded."""
    from synthesizer.extensions.openmp_check import check_openmp
    from synthesizer.grid import Grid

    assert Grid is not None
    threads = "with" if check_openmp() else "without"
    return f"{_version('cosmos-synthesizer')}, {threads} OpenMP"


def _jax() -> str:
    """Return the version of JAX, and its devices."""
    import jax
    import jax.numpy as jnp

    total = float(jnp.sum(jnp.ones(3)))
    if total != 3.0:
        raise RuntimeError(
            f"{jax.devices()[0]} adds 1 + 1 + 1 to {total:g}: update its "
            "driver, or set JAX_PLATFORMS=cpu."
        )
    devices = ", ".join(str(device) for device in jax.devices())
    return f"{jax.__version__} on {devices}"


def _cache() -> str:
    """Return the folder of compiled functions, which must be writable."""
    import jax

    config: Any = jax.config
    if not config.jax_enable_compilation_cache:
        return "switched off by JAX_ENABLE_COMPILATION_CACHE"
    folder = config.jax_compilation_cache_dir
    if not folder:
        return "none, so that functions are compiled in each process"
    existing = Path(folder)
    while not existing.exists():
        existing = existing.parent
    if not os.access(existing, os.W_OK):
        raise PermissionError(
            f"'{folder}' can't be written: set JAX_COMPILATION_CACHE_DIR to "
            "a folder that can, or functions are compiled again in each "
            "process."
        )
    return str(folder)


def _grids() -> str:
    """Return Synthesizer's grid folder, and the number of files in it."""
    from synthesizer.data.initialise import get_grids_dir

    folder = Path(get_grids_dir())
    if not folder.is_dir():
        raise FileNotFoundError(
            f"'{folder}' does not exist: run synthesizer-init, or set "
            "SYNTHESIZER_GRID_DIR."
        )
    return f"{folder}, {len(list(folder.glob('*.hdf5')))} files"


def _weights() -> str:
    """Return the names of the shipped weights, which are all read."""
    from synthesizer_emulator.gridfile.places import example_folder
    from synthesizer_emulator.weights.listing import list_weights

    listed = list_weights(example_folder())
    problems = [entry.problem for entry in listed if entry.problem]
    if problems or not listed:
        problem = " ".join(problems) or "There are none."
        raise RuntimeError(
            f"{problem} Install again: pip install --force-reinstall "
            "synthesizer-emulator"
        )
    return ", ".join(entry.name for entry in listed)


def _spectrum() -> str:
    """Evaluate a spectrum of the example grid."""
    import numpy as np

    from synthesizer_emulator.grid.emulated_grid import EmulatedGrid

    grid = EmulatedGrid.example(ignore_lines=True)
    values = np.asarray(grid.spectra["incident"])
    if not np.isfinite(values).all() or not np.any(values > 0.0):
        raise RuntimeError(
            "The spectra of the example grid are not finite: install again, "
            "pip install --force-reinstall synthesizer-emulator"
        )
    return f"{values[..., 0].size} of the example grid, all finite"
