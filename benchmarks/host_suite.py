r"""The test suite of Synthesizer with its stellar test grid emulated.

Runs the tests of Synthesizer with native grids, and again with `test_grid`
replaced by an `EmulatedGrid` built from it. Reports which tests have another
result and why. The tests come with the source distribution of the
installed version:

    pip download --no-deps --no-binary :all: cosmos-synthesizer==1.3.1
    tar xzf cosmos_synthesizer-1.3.1.tar.gz
    synthesizer-emulator bc03 --out grids --grid cloudy --ages 56 \
        --resolution 250 --lam-lims 100 1.2e7 --log10u -2 --name bc03
    python benchmarks/host_suite.py cosmos_synthesizer-1.3.1 grids/bc03.hdf5 \
        --json docs/benchmarks/host_suite.json

Any reprocessed grid of ages and metallicities can be used. All files that the
tests would download are replaced: the stellar grid by this grid, interpolated
to the nodes that some tests expect; AGN grids and filters by analytic ones;
the reference of one test by the output of Synthesizer's script for this grid.
Random numbers are seeded, so that only the grid differs.

A test that passes with the native and fails with the emulated grid is run
again with a native grid file of the emulated arrays. If it fails again, only
the emulated values are the reason.
"""

import argparse
import json
import os
import re
import shutil
import subprocess
import sys
import tempfile
from collections import Counter
from collections.abc import Iterator
from contextlib import nullcontext
from dataclasses import dataclass, replace
from importlib import metadata
from pathlib import Path

import h5py
import numpy as np
import pytest
import record
from scipy.interpolate import RegularGridInterpolator

from synthesizer_emulator import EmulatedGrid, build, emulated_grids
from synthesizer_emulator.files.hdf5 import open_hdf5
from synthesizer_emulator.files.writing import write_hdf5
from synthesizer_emulator.gridfile.header import Axis, GridHeader
from synthesizer_emulator.gridfile.reading import read_header
from synthesizer_emulator.gridfile.writing import create_emission, write_header

GRID_NAME = "test_grid"

# The nodes that some tests expect.
AGES = 10 ** np.linspace(6.0, 10.3, 44)
METALLICITIES = np.array(
    [1e-4, 1e-3, 2e-3, 3e-3, 4e-3, 6e-3, 8e-3, 0.01, 0.014, 0.02, 0.03, 0.04]
)

# Filters whose codes conftest.py composes, and wavelengths in Angstrom of
# filters without a number in their name.
NIRCAM = ("F090W", "F150W", "F200W", "F277W", "F356W", "F444W")
UNNUMBERED = {
    "FUV": 1530.0,
    "NUV": 2300.0,
    "vis": 7100.0,
    "Y": 10800.0,
    "J": 13700.0,
    "H": 17700.0,
}

ACCURACY = "demands more than the emulator's accuracy"
READS_FILE = "reads the grid file itself"
FAULT = "meets a fault of EmulatedGrid"


@dataclass(frozen=True)
class Outcome:
    """The outcome of a test.

    Attributes:
        result (str): `passed`, `failed`, `skipped` or `missing`.
        message (str): The beginning of the error message.
        reads_file (bool): Whether the traceback contains `grid_filename`.
    """

    result: str = "missing"
    message: str = ""
    reads_file: bool = False


# The pytest plugin, loaded with `-p host_suite`.


def pytest_addoption(parser: pytest.Parser) -> None:
    """Add the command-line options of this plugin."""
    parser.addoption("--emulated", action="store_true")
    parser.addoption("--outcomes", type=Path)


def pytest_configure(config: pytest.Config) -> None:
    """Create an empty dictionary of outcomes."""
    config.outcomes = {}


@pytest.hookimpl(wrapper=True)
def pytest_runtestloop(session: pytest.Session) -> Iterator[None]:
    """Run the tests, with the stellar test grid emulated if requested."""
    emulated = session.config.getoption("--emulated")
    with emulated_grids() if emulated else nullcontext():
        return (yield)


@pytest.hookimpl(tryfirst=True)
def pytest_runtest_setup() -> None:
    """Seed the random numbers of a test and of its fixtures.

    The seed is not zero, because one of the imaging tests then has a galaxy
    that takes longer than all other tests together.
    """
    np.random.seed(1)  # noqa: NPY002


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item: pytest.Item) -> Iterator[None]:
    """Record the outcome of a test, which fails if any stage fails."""
    report = yield
    if report.when == "call" or not report.passed:
        crash = getattr(report.longrepr, "reprcrash", None)
        message = crash.message if report.failed and crash else ""
        item.config.outcomes[item.nodeid] = {
            "result": report.outcome,
            "message": " ".join(message.split())[:200],
            "reads_file": "grid_filename" in report.longreprtext,
        }
    return report


def pytest_sessionfinish(session: pytest.Session) -> None:
    """Write the outcomes as JSON."""
    outcomes = json.dumps(session.config.outcomes)
    session.config.getoption("--outcomes").write_text(outcomes)


# The command.


def run(
    checkout: Path, data: Path, tests: list[str], emulated: bool = False
) -> dict[str, Outcome]:
    """Run tests with the grids and filters in a folder.

    Args:
        checkout (Path): The sources of Synthesizer, including tests.
        data (Path): The folder.
        tests (list of str): The tests, as arguments of pytest.
        emulated (bool): Whether to emulate the stellar test grid.

    Returns:
        dict: The Outcome of each test by its id.
    """
    outcomes = data / "outcomes.json"
    options = "-p host_suite -p no:cacheprovider -q --tb=long -rN"
    options += f" --show-capture=no --disable-warnings --outcomes={outcomes}"
    options += " --emulated" if emulated else ""
    path = [str(Path(__file__).parent), os.environ.get("PYTHONPATH", "")]
    subprocess.run(
        [sys.executable, "-m", "pytest", *options.split(), *tests],
        cwd=checkout,
        env={
            **environment(data),
            "PYTHONPATH": os.pathsep.join(path),
            "PYTHONDONTWRITEBYTECODE": "1",
            "MPLBACKEND": "Agg",
        },
        check=False,
    )
    contents = json.loads(outcomes.read_text())
    outcomes.unlink()
    return {test: Outcome(**fields) for test, fields in contents.items()}


def environment(data: Path) -> dict[str, str]:
    """Return environment variables that restrict Synthesizer to a folder."""
    folders = ("DIR", "DATA_DIR", "GRID_DIR", "TEST_DATA_DIR")
    caches = ("INSTRUMENT_CACHE", "SVO_FILTER_CACHE")
    names = (f"SYNTHESIZER_{name}" for name in folders + caches)
    return {**os.environ, **dict.fromkeys(names, str(data))}


def prepare(checkout: Path, grid: Path, data: Path) -> None:
    """Write replacements of all files that the tests would download."""
    write_stellar_grid(grid, data)
    write_agn_grids(data)
    write_filters(checkout, data)
    # The script writes to its own folder, but tests read the grid folder.
    script = shutil.copy(
        checkout / "tests/data/create_golden_pipeline_reference.py", data
    )
    subprocess.run([sys.executable, script], env=environment(data), check=True)


def write_stellar_grid(grid: Path, data: Path) -> None:
    """Write the stellar grid, interpolated to the expected nodes."""
    with open_hdf5(grid) as hdf:
        header = read_header(hdf, grid)
        emissions = {name: hdf[name][...] for name in header.units}
    expected = {"ages": AGES, "metallicities": METALLICITIES}
    axes = tuple(
        replace(axis, values=expected[axis.name], log_on_read=True)
        for axis in header.axes
    )
    old = [np.log10(axis.values) for axis in header.axes]
    new = np.meshgrid(*(np.log10(a.values) for a in axes), indexing="ij")

    def interpolated(values: np.ndarray) -> np.ndarray:
        return RegularGridInterpolator(old, values)(np.stack(new, axis=-1))

    header = replace(header, axes=axes).with_stored(
        {path: interpolated(values) for path, values in header.stored.items()}
    )
    write_grid(
        data / f"{GRID_NAME}.hdf5",
        header,
        {name: interpolated(values) for name, values in emissions.items()},
    )


def write_agn_grids(data: Path) -> None:
    """Write AGN grids with the wavelengths and lines of the stellar grid.

    Spectra are power laws per erg/s of bolometric luminosity, flatter for
    heavier black holes and brighter if seen face on. Gas absorbs most
    ionising photons; all lines have the same luminosity.
    """
    with open_hdf5(data / f"{GRID_NAME}.hdf5") as hdf:
        stellar = read_header(hdf, data / f"{GRID_NAME}.hdf5")
    axes = (
        Axis("mass", np.geomspace(1e35, 1e41, 7), "kg", True),
        Axis("accretion_rate_eddington", np.geomspace(1e-4, 10, 6), "", True),
        Axis("cosine_inclination", np.linspace(0.1, 0.9, 5), "", False),
    )
    header = replace(
        stellar, axes=axes, weight_variable="bolometric_luminosity"
    ).with_stored({})
    lam, shape = header.lam_angstrom, header.shape
    slope = np.linspace(0.8, 0.4, shape[0])[:, None, None, None]
    nu = 2.998e18 / lam
    incident = nu**-slope * np.exp(-nu / 1e18)
    incident /= -np.trapezoid(incident, nu)[..., None]
    incident = incident * np.ones((shape[1], 1, 1)) * axes[2].values[:, None]
    transmitted = np.where(lam < 912, 0.1, 0.9) * incident
    at_lines = np.searchsorted(lam, header.lines.lams).clip(0, len(lam) - 1)
    linecont = np.zeros_like(incident)
    linecont[..., at_lines] = 1e-17
    emissions = {
        "spectra/incident": incident,
        "spectra/transmitted": transmitted,
        "spectra/linecont": linecont,
        "spectra/nebular": linecont + 0.05 * incident,
        "lines/luminosity": np.full((*shape, len(at_lines)), 1e-3),
        "lines/nebular_continuum": 0.05 * incident[..., at_lines],
        "lines/transmitted": transmitted[..., at_lines],
    }
    for region in ("blr", "nlr"):
        write_grid(data / f"{GRID_NAME}_agn-{region}.hdf5", header, emissions)


def write_grid(
    path: Path, header: GridHeader, emissions: dict[str, np.ndarray]
) -> None:
    """Write a grid file from a header and arrays of emissions."""
    with write_hdf5(path) as hdf:
        write_header(hdf, header)
        for name, values in emissions.items():
            units = header.units[name]
            create_emission(hdf, name, values.shape, units)[...] = values


def write_filters(checkout: Path, data: Path) -> None:
    """Write top hats for all filters named in the sources and tests.

    The number in the name of a filter is its wavelength, in units of 10 nm
    for JWST and the infrared filters of HST, and of 1 nm otherwise.
    """
    code = re.compile(r"[\"'](JWST|HST|GALEX|Euclid)/(\w+)\.(\w+)[\"']")
    sources = [checkout / "conftest.py", *checkout.glob("tests/*.py")]
    sources += checkout.glob("src/synthesizer/instruments/*.py")
    named = {match for s in sources for match in code.findall(s.read_text())}
    named |= {("JWST", "NIRCam", name) for name in NIRCAM}
    for observatory, instrument, name in named:
        number = re.search(r"\d+", name)
        if number:
            infrared = observatory == "JWST" or instrument == "WFC3_IR"
            centre = float(number[0]) * (100.0 if infrared else 10.0)
        else:
            centre = UNNUMBERED[name]
        lam = centre * np.linspace(0.8, 1.2, 401)
        path = data / f"{observatory}_{instrument}.{name}.hdf5"
        with h5py.File(path, "w") as hdf:
            hdf["wavelength"] = lam
            hdf["transmission"] = (abs(lam / centre - 1) < 0.1).astype(float)
            hdf.attrs["svo_url"] = "stand-in"


def write_emulated_numbers(data: Path) -> None:
    """Write the emulated arrays into the file of the stellar grid."""
    emulated = EmulatedGrid(GRID_NAME, grid_dir=data)
    with h5py.File(data / f"{GRID_NAME}.hdf5", "r+") as hdf:
        for name, values in emulated.spectra.items():
            if name in hdf["spectra"]:
                hdf["spectra"][name][...] = values
        lines = hdf["lines"]
        for name, values in (
            ("luminosity", emulated.line_lums["nebular"]),
            ("nebular_continuum", emulated.line_conts["nebular_continuum"]),
            ("transmitted", emulated.line_conts["transmitted"]),
        ):
            units = lines[name].attrs["Units"]
            lines[name][...] = values.to_value(units)


def measure(checkout: Path, grid: Path, data: Path) -> dict:
    """Run the tests with both grids and explain the differences."""
    prepare(checkout, grid, data)
    native = run(checkout, data, ["tests"])
    errors = build(data / f"{GRID_NAME}.hdf5").provenance.errors
    emulated = run(checkout, data, ["tests"], emulated=True)
    broken = [
        test
        for test, outcome in native.items()
        if outcome.result == "passed" != emulated[test].result
    ]
    write_emulated_numbers(data)
    control = run(checkout, data, broken) if broken else {}
    return {
        "synthesizer": metadata.version("cosmos-synthesizer"),
        "shape": EmulatedGrid(GRID_NAME, grid_dir=data).shape,
        "errors": errors,
        "native": Counter(o.result for o in native.values()),
        "emulated": Counter(o.result for o in emulated.values()),
        "pass natively and not emulated": {
            test: {
                "reason": reason(emulated[test], control[test]),
                "message": emulated[test].message,
            }
            for test in broken
        },
        "fail natively": {
            test: {
                "emulated": emulated[test].result,
                "message": outcome.message,
            }
            for test, outcome in native.items()
            if outcome.result == "failed"
        },
    }


def reason(emulated: Outcome, control: Outcome) -> str:
    """Return the reason why a test fails only with the emulated grid."""
    if control.result != "passed":
        return ACCURACY
    return READS_FILE if emulated.reads_file else FAULT


def main() -> None:
    """Run, print and write the outcomes."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("checkout", type=Path, help="sources of Synthesizer")
    parser.add_argument("grid", type=Path, help="a reprocessed stellar grid")
    parser.add_argument("--json", type=Path, help="file to write")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        results = measure(
            arguments.checkout.resolve(), arguments.grid, Path(folder)
        )
    for test, row in results["fail natively"].items():
        print(f"also fails natively ({row['emulated']} emulated): {test}")
        print(f"    {row['message']}")
    for test, row in results["pass natively and not emulated"].items():
        print(f"{row['reason']}: {test}")
        print(f"    {row['message']}")
    for kind in ("native", "emulated"):
        counts = (f"{n} {result}" for result, n in results[kind].items())
        print(f"{kind:<8} {', '.join(counts)}")
    record.write(arguments.json, results)


if __name__ == "__main__":
    main()
