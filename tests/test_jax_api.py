"""Spectra, lines and photometry as functions of a point, in both precisions.

The laws that all architectures obey are in test_architectures; here is what
users build on them, on the example.
"""

import pickle
import re
import warnings

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from conftest import SINGLE
from synthesizer.exceptions import InconsistentArguments, MissingSpectraType
from synthesizer.instruments import FilterCollection
from unyt import angstrom

from synthesizer_emulator import Bands, EmulatedGrid
from synthesizer_emulator.grid.emulated_grid import EXAMPLE_NAME

POINTS = np.array([[3.3e6, 0.007], [2e7, 0.0123], [4.1e9, 0.03]])
KINDS = ("spectrum", "lines", "photometry")


@pytest.fixture(scope="module")
def bands(emulated):
    limits = {"blue": (1500, 2500), "green": (5000, 6000)}
    filters = FilterCollection(
        tophat_dict={
            name: {"lam_min": low * angstrom, "lam_max": high * angstrom}
            for name, (low, high) in limits.items()
        }
    )
    return Bands.from_filters(filters, emulated._lam)


def function(kind, emulated, bands):
    """Return what gives numbers of order one at ln axis values."""
    emulator = emulated.emulator
    give = {
        "spectrum": lambda p: emulator.spectrum("nebular", p) / 1e20,
        "lines": lambda p: emulator.lines("luminosity", p) / 1e34,
        "photometry": lambda p: (
            bands.luminosities(emulator.spectrum("incident", p)) / 1e20
        ),
    }[kind]
    return lambda u: give(jnp.exp(u))


def counting(f):
    """Return a function, and a list that grows when it is traced."""
    traces = []

    def counted(*args):
        traces.append(args)
        return f(*args)

    return counted, traces


@pytest.mark.slow
@pytest.mark.parametrize("kind", KINDS)
def test_single_precision_by_default(kind, emulated, bands):
    f = function(kind, emulated, bands)
    points = jnp.log(jnp.asarray(POINTS, jnp.float32))
    counted, traces = counting(f)
    batch, slopes = jax.jit(jax.vmap(counted)), jax.jit(jax.jacfwd(counted))
    found = batch(points)
    assert found.dtype == jnp.float32
    for u, row in zip(points, found, strict=True):
        peak = row.max()
        np.testing.assert_allclose(f(u), row, atol=SINGLE * peak)
    assert slopes(points[0]).dtype == jnp.float32
    # Other values compile nothing new.
    batch(points * 1.001)
    slopes(points[1])
    assert len(traces) == 2


@pytest.mark.parametrize("kind", KINDS)
def test_double_precision_where_it_is_on(
    kind, emulated, bands, double_precision
):
    """Finite differences show it: they would drown in single precision."""
    f = function(kind, emulated, bands)
    # Compiling takes seconds, so the values are from the same program.
    forward = jax.jit(lambda u, unit: jax.jvp(f, (u,), (unit,)))
    u, step = jnp.log(jnp.asarray(POINTS[1])), 1e-6
    sums = []
    for unit in jnp.eye(2):
        value, slope = forward(u, unit)
        assert value.dtype == slope.dtype == jnp.float64
        above, below = (forward(u + h * unit, unit)[0] for h in (step, -step))
        np.testing.assert_allclose(
            slope,
            (above - below) / (2 * step),
            rtol=1e-4,
            atol=1e-6 * value.max(),
        )
        sums.append(slope.sum())
    # That of photometry goes through a spectrum.
    if kind == "photometry":
        reverse = jax.jit(jax.grad(lambda u: f(u).sum()))(u)
        np.testing.assert_allclose(reverse, sums, rtol=1e-9)


@pytest.mark.slow
def test_gradients_reach_bands_at_any_redshift(emulated, bands):
    emulator = emulated.emulator

    def flux(u, redshift):
        lnu = emulator.spectrum("incident", jnp.exp(u)) / 1e20
        return bands.fluxes(lnu, redshift)

    u = jnp.log(jnp.asarray(POINTS[0], jnp.float32))
    counted, traces = counting(flux)
    slopes = jax.jit(jax.jacfwd(counted))
    for redshift in (0.5, 2.0):
        assert np.isfinite(slopes(u, redshift)).all()
    assert len(traces) == 1


@pytest.mark.slow
@pytest.mark.parametrize("scale", [np.log10, lambda x: x])
@pytest.mark.parametrize("age", [1.0, 2e5, 1e7, 2e10])
def test_an_age_that_looks_like_its_logarithm_is_told(scale, age, emulated):
    """Within the domain, which begins at one year, as outside of it."""
    point = [scale(age), 0.01]
    with warnings.catch_warnings(record=True) as met:
        warnings.simplefilter("always")
        if point[0] < 1:
            with pytest.raises(InconsistentArguments, match="never logged"):
                emulated.emulator.spectrum("incident", point)
            return
        emulated.emulator.spectrum("incident", point)
    told = [str(w.message) for w in met if "never logged" in str(w.message)]
    assert bool(told) == (scale is np.log10)
    if told:
        value = re.search(r"log10, of\s+([\d.e+]+)\.", told[0])[1]
        assert float(value) == pytest.approx(age, rel=1e-4)
        assert f"{point[0]:.6g} yr" in told[0]


@pytest.mark.parametrize(
    ("point", "told"),
    [
        ((7.0, 0.01, 0.01), {"ages": 1e7}),
        ((1e7, -2.0, 0.01), {"metallicities": 1e-2}),
        ((1e7, 0.01, -2.5), {"ionisation_parameters": 10**-2.5}),
        ((7.0, 0.01, -2.5), {"ages": 1e7, "ionisation_parameters": 10**-2.5}),
        ((1e300, 0.01, 0.01), {}),
        ((1e7, np.nan, 0.01), {}),
    ],
)
def test_outside_the_domain_logarithms_are_recognised(point, told, three_axes):
    emulator = EmulatedGrid("three", grid_dir=three_axes).emulator
    with pytest.raises(InconsistentArguments, match="Outside the tra") as met:
        emulator.spectrum("incident", jnp.asarray(point))
    found = re.findall(
        r"(\w+) = \S+ looks like a log10, of (\S+?)[;.] ", f"{met.value} "
    )
    assert {k: float(v) for k, v in found} == pytest.approx(told, rel=1e-4)
    # Only axes outside of their domain are named.
    outside = re.findall(r"(\w+) = \S+ \(domain \S+ to \S+", str(met.value))
    domain = emulator.coordinates.domain
    assert outside == [
        axis.name
        for axis, value in zip(domain, point, strict=True)
        if not axis.low <= value <= axis.high
    ]
    lnu = jax.jit(lambda p: emulator.spectrum("incident", p))(
        jnp.asarray(point)
    )
    assert np.isnan(lnu).all()


@pytest.mark.slow
def test_an_emulator_knows_its_wavelengths_and_units(emulated):
    emulator = emulated.emulator
    np.testing.assert_array_equal(
        emulator.lam, emulated.lam.to_value("angstrom")
    )
    assert list(emulator.line_ids) == list(emulated.available_lines)
    assert dict(emulator.axes_units) == emulated._axes_units
    for name in emulator.available_spectra:
        assert emulator.units[f"spectra/{name}"] == "erg/s/Hz"
    assert emulator.units["lines/luminosity"] == "erg/s"
    # It is a pytree still, and another copy of it the same one.
    other = pickle.loads(pickle.dumps(EmulatedGrid.example())).emulator
    twice = jax.tree.map(lambda a, b: a + b, emulator, other)
    np.testing.assert_array_equal(twice.lam, emulator.lam)


@pytest.mark.parametrize("name", ["nebulr", "Nebular", "nebular_continum"])
def test_errors_list_all_that_an_emulator_has(name, emulated):
    emulator = emulated.emulator
    for ask in (emulator.spectrum, emulator.spread):
        with pytest.raises(MissingSpectraType, match="mean 'nebular") as met:
            ask(name, POINTS[0])
        listed = re.search(r"it has: (.*?)\.", str(met.value))[1].split(", ")
        assert set(listed) == set(emulated.available_spectra)
    with pytest.raises(MissingSpectraType, match="mean 'luminosity'"):
        emulator.lines("luminosities", POINTS[0])
    with pytest.raises(MissingSpectraType, match="mean 'incident'"):
        emulator.emission("spectra/incidnet")


def test_an_emulator_may_be_read_where_it_is_traced(emulated):
    point = jnp.array([1e7, 0.01])

    @jax.jit
    def traced(point):
        grid = EmulatedGrid(EXAMPLE_NAME)
        return grid.emulator.spectrum("incident", point)

    np.testing.assert_allclose(
        traced(point),
        emulated.emulator.spectrum("incident", point),
        rtol=SINGLE,
    )
