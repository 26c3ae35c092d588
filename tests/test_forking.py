"""Pools of forked processes, which hang where JAX computes in them.

In a process of its own, whose pools end by a timeout where they would hang.
"""

import subprocess
import sys

import pytest

pytestmark = pytest.mark.slow

SCRIPT = """
import multiprocessing, pickle
import numpy as np
from astropy.cosmology import Planck18
from synthesizer.emission_models import IncidentEmission
from synthesizer.exceptions import UnimplementedFunctionality
from synthesizer.particle import Stars
from unyt import Msun, angstrom, yr
from synthesizer_emulator import *

LIMS = (4000 * angstrom, 6000 * angstrom)

def lnu(model):
    stars = Stars(
        initial_masses=np.full(3, 1e6) * Msun,
        ages=np.array([2e6, 1e7, 1e8]) * yr,
        metallicities=np.array([0.01, 0.02, 0.004]),
    )
    return float(stars.get_spectra(model).lnu.sum())

def start_jax():
    import jax.numpy as jnp
    assert jnp.arange(10.0).sum() == 45

def told(ask):
    try:
        ask()
    except UnimplementedFunctionality as error:
        return "spawn" in str(error) and "before this process" in str(error)

def forked(function, *jobs):
    with multiprocessing.get_context("fork").Pool(2) as pool:
        return pool.map_async(function, jobs).get(timeout=60)
"""

CASES = {
    "before jax": """
grid = EmulatedGrid.example(refine={"metallicities": 2}, lam_lims=LIMS)
model = IncidentEmission(grid)
early = forked(lnu, model)
assert not grid.spectra.evaluated
""",
    "at the nodes": """
grid = EmulatedGrid.example()
start_jax()
model = IncidentEmission(grid)
found = forked(lnu, model, model)
assert not grid.spectra.evaluated
assert np.allclose(found, lnu(model), rtol=1e-6)
""",
    "between the nodes": """
grid = EmulatedGrid.example(refine={"metallicities": 2}, lam_lims=LIMS)
copied = pickle.loads(pickle.dumps(grid))
model = IncidentEmission(grid)
def work(i):
    return lnu(model), lnu(IncidentEmission(copied))
found = forked(work, 1, 2)
assert np.allclose(found, lnu(model), rtol=1e-6)
assert np.allclose(early, lnu(model), rtol=1e-4)
""",
    "refused": """
grid = EmulatedGrid.example(lam_lims=LIMS)
emulator = grid.emulator
model = IncidentEmission(grid)
compiled = compile_model(model)
galaxies = GalaxyModel.from_model(
    model, sf_hist="Constant", metal_dist="DeltaConstant", outputs=["lnu"]
)
observer = Observer.from_cosmology(emulator.lam, Planck18, max_redshift=2.0)
values = {
    "initial_mass": np.full(2, 1e10),
    "sf_hist": {"max_age": np.full(2, 1e8)},
    "metal_dist": {"metallicity": np.full(2, 0.01)},
}
asks = [
    lambda: EmulatedGrid.example().emulator,
    lambda: emulator.spectrum("incident", [1e7, 0.01]),
    lambda: emulator.lines("luminosity", [1e7, 0.01]),
    lambda: lnu(extract_directly(model)),
    lambda: EmulatedGrid.example(refine={"ages": 2}).spectra["incident"],
    lambda: grid.interpolate_grid_at_axes_value(
        method="emulator", spectra_type="incident", ages=1e7,
        metallicities=0.01,
    ),
    lambda: compile_model(model),
    lambda: compiled.spectra(np.ones(grid.shape[:2]), {}),
    lambda: next(iter(in_batches(galaxies, values))),
    lambda: galaxies.galaxy(values),
    lambda: build("bc03-example", out="x.emulator"),
    lambda: emulator.in_domain([1e7, 0.01]),
    lambda: observer.luminosity_distance(1.0),
    lambda: observer.fluxes(np.ones(len(emulator.lam)), 1.0),
]
def work(i):
    return told(asks[i])
found = forked(work, *range(len(asks)))
assert all(found), found
assert not told(asks[1])
""",
}


@pytest.fixture(scope="module")
def told(tmp_path_factory):
    """Return what the script says, in a process that can be ended."""
    if sys.platform == "win32":
        pytest.skip("nothing forks there")
    folder = tmp_path_factory.mktemp("forking")
    blocks = [
        f"{code}\nprint({case!r}, flush=True)\n"
        for case, code in CASES.items()
    ]
    (folder / "script.py").write_text(SCRIPT + "".join(blocks))
    return subprocess.run(
        [sys.executable, "-W", "ignore", "script.py"],
        cwd=folder,
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )


@pytest.mark.slow
@pytest.mark.thorough
@pytest.mark.parametrize("case", CASES)
def test_a_forked_pool_never_hangs(case, told):
    assert case in told.stdout.splitlines(), told.stderr
