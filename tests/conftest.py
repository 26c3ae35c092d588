"""Small grids that every test can share; nothing is downloaded."""

import copy
import gc
import os
import tempfile
from contextlib import suppress
from dataclasses import replace
from functools import partial
from pathlib import Path

import h5py
import jax
import numpy as np
import pytest
from jaxtyping import install_import_hook
from scipy.stats import qmc

# Tracing makes many objects, and each search for unused ones would go through
# all modules, in half a second: there are fewer of them, and see below.
gc.set_threshold(20_000, 20, 20)

# The shapes and types of the jitted core are checked at every call; this has
# to come before the package is imported.
install_import_hook(
    [
        "synthesizer_emulator.emulator",
        *(
            f"synthesizer_emulator.galaxies.{module}"
            for module in (
                "attenuation",
                "bands",
                "derived",
                "dust",
                "exact_bands",
                "igm",
                "integrals",
                "metal_dists",
                "observer",
                "sf_hists",
                "shifted_bands",
                "terms",
                "transmission",
                "values",
            )
        ),
    ],
    "beartype.beartype(conf=beartype.BeartypeConf(is_pep484_tower=True))",
)

# The classic mistake of normalising (n, k) by (n,) must not pass.
jax.config.update("jax_numpy_rank_promotion", "raise")

# Compiling takes longer than what is compiled, which runs for milliseconds, so
# XLA and LLVM optimise little, and XLA's older emitters of fused operations
# take half the time, less if they do not divide small programs for threads;
# with JAX_DISABLE_MOST_OPTIMIZATIONS=0, as for users.
if os.environ.setdefault("JAX_DISABLE_MOST_OPTIMIZATIONS", "1") == "1":
    jax.config.update("jax_disable_most_optimizations", True)
    os.environ["XLA_FLAGS"] = " ".join(
        (
            os.environ.get("XLA_FLAGS", ""),
            "--xla_cpu_use_fusion_emitters=false",
            "--xla_cpu_parallel_codegen_split_count=1",
        )
    )

# Many tests compile the same functions, in either worker and in the processes
# that they start; the smallest are compiled again sooner than they are kept.
jax.config.update(
    "jax_compilation_cache_dir",
    os.environ.setdefault("JAX_COMPILATION_CACHE_DIR", tempfile.mkdtemp()),
)
jax.config.update("jax_persistent_cache_min_compile_time_secs", 0.1)
os.environ["JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS"] = "0.1"
os.environ.setdefault("MPLBACKEND", "Agg")

# Workers share the cores, and threads of BLAS that wait for one another take
# longer than their small matrices.
for threads in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS"):
    os.environ.setdefault(threads, "1")

from synthesizer.emissions import Sed  # noqa: E402
from synthesizer.grid import Grid  # noqa: E402
from synthesizer.instruments import FilterCollection  # noqa: E402
from synthesizer.parametric import SFH, Stars, ZDist  # noqa: E402
from synthesizer.units import Quantity, Units  # noqa: E402
from unyt import (  # noqa: E402
    Gyr,
    Hz,
    Lsun,
    Msun,
    Myr,
    THz,
    Unit,
    W,
    angstrom,
    erg,
    mJy,
    nJy,
    s,
    um,
    yr,
)

from synthesizer_emulator import (  # noqa: E402
    EmulatedGrid,
    build,
    compile_model,
)
from synthesizer_emulator.evaluation.report.figures import (  # noqa: E402
    panels,
)
from synthesizer_emulator.files.writing import write_hdf5  # noqa: E402
from synthesizer_emulator.grid.emulated_grid import (  # noqa: E402
    EXAMPLE_NAME,
    example_folder,
)
from synthesizer_emulator.gridfile.header import (  # noqa: E402
    Axis,
    GridHeader,
    LineList,
)
from synthesizer_emulator.gridfile.native import NativeGrid  # noqa: E402
from synthesizer_emulator.gridfile.writing import (  # noqa: E402
    create_emission,
    write_header,
)

# The wavelengths of filters that were made before: Synthesizer inserts those
# in gaps one by one, in up to half a second.
_merge_filter_lams = FilterCollection._merge_filter_lams
_merged: dict[tuple, np.ndarray] = {}


def _merge_filter_lams_once(self, fill_gaps=False):
    curves = [(x.filter_code, x._lam, x.t) for x in self.filters.values()]
    key = (fill_gaps, *((c, a.tobytes(), t.tobytes()) for c, a, t in curves))
    if key not in _merged:
        _merged[key] = _merge_filter_lams(self, fill_gaps)
    return _merged[key].copy()


FilterCollection._merge_filter_lams = _merge_filter_lams_once

# Enough to learn the analytic grid, in about a second.
QUICK = {
    "settings": {"hidden": [16]},
    "training": {"epochs": 50},
    "progress": False,
}

# What single precision allows two programs to differ by, relative to a flux:
# networks and tables give ln flux, which is from 64 to 128 for 1e28 to 1e55
# and has a spacing of 2^-17 there. Each of several sums is rounded by half of
# it, in one order or another.
SINGLE = 8 * 2.0**-17

LAM = np.geomspace(200.0, 1e5, 150)
LINE_LAMS = np.array([1215.67, 4861.32, 6562.80])
LINE_IDS = ("H 1 1215.67A", "H 1 4861.32A", "H 1 6562.80A")


def analytic_header(n_ages=12, n_metals=6, n_parameters=0) -> GridHeader:
    """Return the header of a small reprocessed grid."""
    axes = [
        Axis("ages", np.geomspace(1e6, 1e10, n_ages), "yr", True),
        Axis(
            "metallicities",
            np.geomspace(1e-4, 4e-2, n_metals),
            "dimensionless",
            False,
        ),
    ]
    if n_parameters:
        axes.append(
            Axis(
                "ionisation_parameters",
                np.geomspace(1e-4, 1e-1, n_parameters),
                "dimensionless",
                True,
            )
        )
    shape = tuple(len(a.values) for a in axes)
    spectra = ("incident", "linecont", "nebular", "transmitted")
    return GridHeader(
        axes=tuple(axes),
        lam=LAM,
        spectra_units=dict.fromkeys(spectra, "erg/s/Hz"),
        lines=LineList(
            ids=LINE_IDS,
            lams=LINE_LAMS,
            lam_units="angstrom",
            units={
                "luminosity": "erg/s",
                "nebular_continuum": "erg/s/Hz",
                "transmitted": "erg/s/Hz",
            },
        ),
        attributes={"note": "analytic"},
        model={"sps_name": "analytic"},
        cloudy={"cloudy_version": "none"},
        log10_specific_ionising_luminosity={"HI": np.full(shape, 46.0)},
        star_fraction=np.full(shape[:2], 0.7),
    )


def analytic_emissions(header: GridHeader) -> dict[str, np.ndarray]:
    """Return spectra and lines at the nodes of a grid."""
    mesh = np.meshgrid(*(a.values for a in header.axes), indexing="ij")
    return analytic_at(header.lam, *mesh)


def analytic_at(lam, age, metallicity, parameter=0.01):
    """Return spectra and lines that are smooth in all parameters.

    A greybody that cools and dims with age and reddens with metallicity,
    with gas that lives for 30 Myr and shines with the ionising part.
    """
    age, metallicity = age[..., None], metallicity[..., None]
    parameter = np.asarray(parameter)[..., None]
    temperature = 4e4 * (age / 1e6) ** -0.22 * (metallicity / 0.01) ** -0.05
    x = 1.44e8 / (lam * temperature)
    incident = (
        1e20
        * (age / 1e6) ** -0.7
        * (1e4 / lam) ** 3
        / np.expm1(np.minimum(x, 600))
    )
    transmitted = np.where(lam > 912, incident, 0.0)
    alive = age < 3e7
    power = np.where(lam <= 912, incident, 0.0).sum(-1, keepdims=True) * alive
    continuum = power * (lam / 5000.0) ** 0.3 * 1e-2 * (lam > 912)
    strengths = np.array([20.0, 1.0, 3.0]) * (1 + 10 * metallicity)
    luminosity = power * strengths * parameter**0.1 * 1e12
    linecont = np.zeros_like(incident)
    for i, line_lam in enumerate(LINE_LAMS):
        linecont[..., np.argmin(abs(lam - line_lam))] += (
            luminosity[..., i] / 1e12
        )
    at_lines = [
        np.apply_along_axis(lambda v: np.interp(LINE_LAMS, lam, v), -1, s)
        for s in (continuum, transmitted)
    ]
    return {
        "spectra/incident": incident,
        "spectra/transmitted": transmitted,
        "spectra/linecont": linecont,
        "spectra/nebular": continuum + linecont,
        "lines/luminosity": luminosity,
        "lines/nebular_continuum": at_lines[0],
        "lines/transmitted": at_lines[1],
    }


def write_analytic_grid(path: Path, gas: bool = True, **sizes: int) -> Path:
    """Write the analytic grid as a Synthesizer grid.

    Without gas it is not reprocessed and has two spectra and no lines.
    """
    header = analytic_header(**sizes)
    emissions = analytic_emissions(header)
    if not gas:
        names = ("incident", "transmitted")
        emissions = {f"spectra/{n}": emissions[f"spectra/{n}"] for n in names}
        header = replace(
            header,
            spectra_units=dict.fromkeys(names, "erg/s/Hz"),
            lines=None,
            cloudy=None,
        )
    write_grid(path, header, emissions)
    return path


def write_grid(
    path: Path, header: GridHeader, emissions: dict[str, np.ndarray]
) -> None:
    """Write any grid."""
    with write_hdf5(path) as hdf:
        write_header(hdf, header)
        for name, values in emissions.items():
            units = "erg/s" if name == "lines/luminosity" else "erg/s/Hz"
            create_emission(hdf, name, values.shape, units)[...] = values


def write_analytic_samples(path: Path, n=256, skip=0, gas=True) -> Path:
    """Write samples of a Sobol sequence in age and metallicity."""
    unit = qmc.Sobol(2, scramble=False).fast_forward(skip + 1).random(n)
    low, high = np.array([1e6, 1e-4]), np.array([1e10, 4e-2])
    parameters = low * (high / low) ** unit
    emissions = analytic_at(LAM, *parameters.T)
    if not gas:
        emissions = {"spectra/incident": emissions["spectra/incident"]}
    with h5py.File(path, "w") as hdf:
        hdf["parameters"] = parameters
        attributes = hdf["parameters"].attrs
        attributes["names"] = ["ages", "metallicities"]
        attributes["Units"] = ["yr", "dimensionless"]
        attributes["log_on_read"] = [True, False]
        attributes["low"], attributes["high"] = low, high
        hdf["spectra/wavelength"] = LAM
        hdf["spectra/wavelength"].attrs["Units"] = "angstrom"
        for name, values in emissions.items():
            hdf[name] = values
            hdf[name].attrs["Units"] = "erg/s/Hz"
        hdf["log10_specific_ionising_luminosity/HI"] = 46 - unit[:, 0]
        hdf["star_fraction"] = 1 - 0.3 * unit[:, 0]
        hdf.attrs["WeightVariable"] = "initial_masses"
        if gas:
            hdf["lines/luminosity"].attrs["Units"] = "erg/s"
            hdf["lines/id"] = np.array(LINE_IDS, "S")
            hdf["lines/wavelength"] = LINE_LAMS
            hdf.create_group("CloudyParams").attrs["version"] = "none"
    return path


@pytest.fixture
def analytic_grid(tmp_path: Path) -> Path:
    """Return the path of a freshly written analytic grid."""
    return write_analytic_grid(tmp_path / "analytic.hdf5")


@pytest.fixture(scope="session")
def native() -> Grid:
    """Return the example grid, as Synthesizer reads it."""
    return Grid(EXAMPLE_NAME, grid_dir=example_folder())


@pytest.fixture(scope="session")
def header() -> GridHeader:
    """Return the header of the example grid."""
    path = example_folder() / f"{EXAMPLE_NAME}.hdf5"
    return NativeGrid.open(path).header


@pytest.fixture(scope="session")
def emulated() -> EmulatedGrid:
    """Return the emulated example grid."""
    return EmulatedGrid.example()


@pytest.fixture(scope="session")
def three_axes(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return the folder of `three`, a built grid with three axes.

    The workers of one run share it, unless they need it at the same time.
    """
    root = tmp_path_factory.getbasetemp()
    if "PYTEST_XDIST_WORKER" in os.environ:
        root = root.parent
    folder = root / "shared-three"
    if not folder.exists():
        made = tmp_path_factory.mktemp("three")
        build(
            write_analytic_grid(
                made / "three.hdf5", n_ages=8, n_metals=4, n_parameters=3
            ),
            **QUICK,
        )
        # It fails if another worker was faster.
        with suppress(OSError):
            made.rename(folder)
    return folder


def hand_over(emulated: EmulatedGrid, native: Grid) -> Grid:
    """Return a copy of a native grid with the emulated arrays in it.

    What the two then do with the same arrays has to be the same.
    """
    grid = copy.deepcopy(native)
    for name in grid.spectra:
        grid.spectra[name] = emulated.spectra[name].copy()
    for name in grid.line_lums:
        grid.line_lums[name] = emulated.line_lums[name].copy()
        grid.line_conts[name] = emulated.line_conts[name].copy()
    grid._compute_max_grid_values()
    return grid


@pytest.fixture(scope="session")
def native_with_emulated_arrays(emulated: EmulatedGrid, native: Grid) -> Grid:
    """Return a native grid that was handed the emulated arrays."""
    return hand_over(emulated, native)


# Products of whole spectra; linear bases have tests of their own.
compile_exactly = partial(compile_model, tolerance=0.0)


def make_stars(grid: Grid, **attributes) -> Stars:
    """Return parametric stars on a grid, young enough to ionise gas."""
    return Stars(
        grid.log10ages,
        grid.metallicities,
        sf_hist=SFH.LogNormal(tau=0.5, peak_age=50 * Myr, max_age=900 * Myr),
        metal_dist=ZDist.Normal(mean=0.01, sigma=0.005),
        initial_mass=1e9 * Msun,
        **attributes,
    )


@pytest.fixture
def quick_figures(monkeypatch):
    """Draw the figures of reports coarsely and without laying them out."""
    monkeypatch.setattr(panels, "_DPI", 60)
    monkeypatch.setattr(
        panels, "_lay_out", lambda figure: figure.set_layout_engine(None)
    )


@pytest.fixture
def double_precision():
    """Skip a test that needs double precision in a run without it."""
    if not jax.config.jax_enable_x64:
        pytest.skip("double precision: run with JAX_ENABLE_X64=1 -m x64")


def pytest_collection_modifyitems(items):
    """Mark tests in double precision, which have their own run, and slow ones.

    Running the examples of a page of the documentation takes seconds, and so
    does training `three_axes`.
    """
    for item in items:
        fixtures = getattr(item, "fixturenames", ())
        if item.path.suffix == ".md" or "three_axes" in fixtures:
            item.add_marker("slow")
        if "double_precision" in fixtures:
            item.add_marker("x64")


def pytest_collection_finish():
    """Leave modules and collected tests out of searches for garbage."""
    gc.collect()
    gc.freeze()


@pytest.fixture
def other_units(monkeypatch):
    """Let Synthesizer keep its quantities in other units than its own.

    As `Units({...})` does before anything else of it is imported.
    """
    wanted = {
        angstrom: um,
        Hz: THz,
        erg / s / Hz: W / Hz,
        Lsun: erg / s,
        yr: Gyr,
        nJy: mJy,
    }
    gc.unfreeze()
    quantities = gc.get_objects()
    gc.freeze()
    for quantity in quantities:
        if type(quantity) is Quantity and quantity.unit in wanted:
            monkeypatch.setattr(quantity, "unit", wanted[quantity.unit])
    # What it remembers of the conversion.
    monkeypatch.setattr(Sed, "_c_lam_nu", None)
    for name, unit in list(vars(Units()).items()):
        if isinstance(unit, Unit) and unit in wanted:
            monkeypatch.setattr(Units(), name, wanted[unit])
