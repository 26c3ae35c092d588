"""Spectra, lines and photometry as functions of a point, in both precisions.

The laws that all architectures obey are in test_architectures; here is what
users build on them, on the example.
"""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from synthesizer.instruments import FilterCollection
from unyt import angstrom

from synthesizer_emulator import Bands

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
    return Bands.of_filters(filters, emulated._lam)


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


@pytest.mark.parametrize("kind", KINDS)
def test_single_precision_by_default(kind, emulated, bands):
    f = function(kind, emulated, bands)
    points = jnp.log(jnp.asarray(POINTS, jnp.float32))
    batch, slopes = jax.jit(jax.vmap(f)), jax.jit(jax.jacfwd(f))
    found = batch(points)
    assert found.dtype == jnp.float32
    for u, row in zip(points, found, strict=True):
        peak = row.max()
        np.testing.assert_allclose(f(u), row, atol=2e-5 * peak)
    assert slopes(points[0]).dtype == jnp.float32
    # Other values compile nothing new.
    batch(points * 1.001)
    slopes(points[1])
    assert batch._cache_size() == slopes._cache_size() == 1


@pytest.mark.parametrize("kind", KINDS)
def test_double_precision_where_it_is_on(
    kind, emulated, bands, double_precision
):
    """Finite differences show it: they would drown in single precision."""
    f = jax.jit(function(kind, emulated, bands))
    u, step = jnp.log(jnp.asarray(POINTS[1])), 1e-6
    value, slopes = f(u), jax.jacfwd(f)(u)
    assert value.dtype == slopes.dtype == jnp.float64
    for axis, unit in enumerate(jnp.eye(2)):
        finite = (f(u + step * unit) - f(u - step * unit)) / (2 * step)
        np.testing.assert_allclose(
            slopes[:, axis], finite, rtol=1e-4, atol=1e-6 * value.max()
        )
    reverse = jax.grad(lambda u: f(u).sum())(u)
    np.testing.assert_allclose(reverse, slopes.sum(axis=0), rtol=1e-9)


def test_gradients_reach_bands_at_any_redshift(emulated, bands):
    emulator = emulated.emulator

    def flux(u, redshift):
        lnu = emulator.spectrum("incident", jnp.exp(u)) / 1e20
        return bands.fluxes(lnu, redshift)

    u = jnp.log(jnp.asarray(POINTS[0], jnp.float32))
    slopes = jax.jit(jax.jacfwd(flux))
    for redshift in (0.5, 2.0):
        assert np.isfinite(slopes(u, redshift)).all()
    assert slopes._cache_size() == 1
