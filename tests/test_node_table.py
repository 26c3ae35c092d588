"""The default architecture at its nodes: NumPy against JAX."""

import os
import subprocess
import sys
from dataclasses import replace

import numpy as np
import pytest
from conftest import QUICK, analytic_emissions, analytic_header, write_grid
from synthesizer.exceptions import GridError

from synthesizer_emulator import build
from synthesizer_emulator.wavelengths import identity, selection
from synthesizer_emulator.weights.file import read_weights
from synthesizer_emulator.weights.points import PointArrays

# Training takes seconds.
pytestmark = pytest.mark.slow

# Settings that NumPy can evaluate, and one that needs JAX.
KINDS = {
    "default": ({}, True),
    "ensemble with half the trend": (
        {"ensemble": 2, "trend": 0.5, "activation": "tanh"},
        True,
    ),
    "gelu": ({"activation": "gelu"}, False),
}


@pytest.fixture(
    scope="module",
    params=KINDS.values(),
    ids=KINDS,
)
def weights(request, tmp_path_factory):
    """Return weights of the analytic grid, and whether NumPy has them."""
    settings, by_numpy = request.param
    path = tmp_path_factory.mktemp("tabulation") / "g.hdf5"
    header = analytic_header()
    emissions = analytic_emissions(header)
    kept = ("incident", "nebular")
    units = {"luminosity": header.lines.units["luminosity"]}
    header = replace(
        header,
        spectra_units={name: header.spectra_units[name] for name in kept},
        lines=replace(header.lines, units=units),
    )
    write_grid(path, header, {name: emissions[name] for name in header.units})
    report = build(
        path, **{**QUICK, "settings": {**QUICK["settings"], **settings}}
    )
    return read_weights(report.path), by_numpy


def at_nodes(weights):
    """Return the emissions at the nodes, by NumPy if that can, and by JAX."""
    nodes = [axis.values for axis in weights.header.axes]
    arrays = PointArrays.at_nodes(weights, nodes)
    return arrays, replace(arrays, node_indices=None)


def assert_same(found, expected):
    """Compare fluxes to the rounding of single precision."""
    np.testing.assert_array_equal(found == 0, expected == 0)
    bright = expected > 1e-5 * expected.max(axis=-1, keepdims=True)
    if bright.any():
        errors = np.abs(found[bright] / expected[bright] - 1)
        assert np.median(errors) < 1e-5
        assert errors.max() < 3e-4


def test_it_is_what_the_networks_give_at_the_nodes(weights):
    weights, by_numpy = weights
    arrays, networks = at_nodes(weights)
    every = identity(len(weights.header.lam))
    some = selection(np.array([140, 3, 77, 78]), len(weights.header.lam))
    for name in weights.available_spectra:
        for view in (every, some):
            assert_same(
                arrays.spectrum(name, view), networks.spectrum(name, view)
            )
    for name in weights.header.lines.units:
        assert_same(arrays.lines(name), networks.lines(name))
    table = weights.node_table("spectra/incident", np.arange(3))
    assert (table is not None) == by_numpy


def test_some_of_the_nodes_are_theirs(weights):
    """Nodes that are left out move no others; others are no nodes."""
    weights, _ = weights
    ages, metals = (axis.values for axis in weights.header.axes)
    every = identity(len(weights.header.lam))
    arrays, _ = at_nodes(weights)
    whole = arrays.spectrum("nebular", every)
    some = PointArrays.at_nodes(weights, [ages[[2, 5, 11]], metals[1:]])
    np.testing.assert_array_equal(
        some.spectrum("nebular", every), whole[[2, 5, 11], 1:]
    )
    np.testing.assert_array_equal(
        arrays.take(3, 1).spectrum("nebular", every), whole[:, 3]
    )
    between = PointArrays.at_nodes(weights, [ages[:-1] * 1.01, metals])
    assert between.node_indices is None


@pytest.mark.parametrize("axis", [0, 1])
def test_a_value_takes_the_place_of_an_axis(weights, axis):
    """In the first cell, within, in the last one, and beside a node."""
    weights, by_numpy = weights
    every = identity(len(weights.header.lam))
    nodes = [each.values for each in weights.header.axes]
    line = nodes[axis]
    for value in (
        *np.sqrt(line[[0, 1, -2]] * line[[1, 2, -1]]),
        line[2] * 1.00001,
        np.nextafter(line[2], 0.0),
    ):
        moved = [*nodes]
        moved[axis] = value
        arrays = PointArrays.at_nodes(weights, moved)
        assert arrays.nodes == (len(nodes[1 - axis]),)
        networks = replace(arrays, node_indices=None)
        assert_same(
            arrays.spectrum("nebular", every),
            networks.spectrum("nebular", every),
        )
        assert_same(arrays.lines("luminosity"), networks.lines("luminosity"))
    table = weights.node_table(
        "spectra/incident", np.arange(3), (axis, line[2] * 1.01)
    )
    assert (table is not None) == by_numpy


def test_tensors_that_do_not_fit_are_left_to_the_networks(weights):
    """Which say what is wrong with them."""
    weights, _ = weights
    provenance = weights.provenance
    config = {**provenance.architecture_config, "hidden": [16, 16]}
    other = replace(provenance, architecture_config=config)
    damaged = replace(weights, provenance=other)
    with pytest.raises(GridError, match="do not fit its architecture"):
        at_nodes(damaged)[0].lines("luminosity")


SCRIPT = """
import sys
import synthesizer_emulator
assert not {"jax", "flax", "h5py", "synthesizer"} & set(sys.modules)

import synthesizer.grid
from synthesizer.emission_models import TotalEmission
from synthesizer.emission_models.transformers import PowerLaw
from synthesizer.parametric import SFH, Stars, ZDist
before = set(sys.modules)
from synthesizer_emulator import EmulatedGrid
from unyt import Myr, Msun, angstrom
import numpy as np
new = set(sys.modules) - before
unneeded = {"matplotlib", "tqdm", "yaml", "astropy.io.fits", "bagpipes"}
unneeded |= {f"synthesizer_emulator.{m}" for m in ("builder", "compiled")}
assert not unneeded & new, unneeded & new

grids = [EmulatedGrid.example(), EmulatedGrid.example(
    new_lam=np.geomspace(1e3, 1e4, 50) * angstrom)]
for grid in grids:
    stars = Stars(
        grid.log10ages,
        grid.metallicities,
        sf_hist=SFH.Constant(max_age=50 * Myr),
        metal_dist=ZDist.DeltaConstant(metallicity=0.01),
        initial_mass=1e8 * Msun,
    )
    model = TotalEmission(grid, dust_curve=PowerLaw(), tau_v=0.3, fesc=0.1)
    assert stars.get_spectra(model).lnu.max() > 0
    less = grid.collapse("metallicities", "emulator", value=0.0071)
    assert less.spectra["nebular"].max() > 0

import jax
try:
    jax.devices()
except RuntimeError:
    print("not started")
"""


def test_nothing_is_loaded_or_started_before_it_is_needed():
    """Galaxies and collapsed grids come of nodes without a JAX backend."""
    done = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", SCRIPT],
        # JAX would fail to start.
        env={**os.environ, "JAX_PLATFORMS": "none"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.strip().endswith("not started")
