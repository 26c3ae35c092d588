import jax
import jax.numpy as jnp
import numpy as np
import pytest

from synthesizer_emulator.emulator.scaling import (
    AxisDomain,
    Coordinates,
    SoftLog,
)
from synthesizer_emulator.gridfile.header import Axis

AGES = Axis("ages", np.array([1.0, 1e6, 1e10]), "yr", True)
METALS = Axis("metallicities", np.array([1e-4, 1e-2, 4e-2]), "", False)
NARROW = Axis("spins", np.array([-0.5, 0.0, 0.9]), "", False)
ZERO = Axis("metallicities", np.array([0.0, 1e-2, 4e-2]), "", False)


@pytest.mark.parametrize(
    ("axis", "scale"),
    [(AGES, "log10"), (METALS, "power"), (NARROW, "linear"), (ZERO, "power")],
)
def test_axes_are_scaled_by_what_the_grid_says_and_they_span(axis, scale):
    assert AxisDomain.from_axis(axis).scale == scale


def test_coordinates_reach_from_minus_one_to_one():
    axes = [AGES, METALS, NARROW]
    coordinates = Coordinates([AxisDomain.from_axis(a) for a in axes])
    nodes = coordinates.scale_nodes(axes)
    for values in nodes:
        np.testing.assert_allclose(values[[0, -1]], [-1, 1], atol=1e-6)
        assert np.all(np.diff(values) > 0)
    np.testing.assert_allclose(nodes[0][1], 2 * 6 / 10 - 1, atol=1e-6)


@pytest.mark.parametrize(
    ("point", "inside"),
    [
        ([1.0, 1e-4, -0.5], True),
        ([1e10, 4e-2, 0.9], True),
        ([1.1e10, 1e-2, 0.0], False),
        ([1e6, 0.9e-4, 0.0], False),
    ],
)
def test_the_ends_of_the_domain_are_inside(point, inside):
    coordinates = Coordinates(
        [AxisDomain.from_axis(a) for a in (AGES, METALS, NARROW)]
    )
    assert bool(coordinates.contains(jnp.array(point))) is inside


def test_a_power_has_a_slope_at_zero():
    coordinates = Coordinates([AxisDomain.from_axis(a) for a in (AGES, ZERO)])
    slope = jax.jacfwd(coordinates)(jnp.array([1e6, 0.0]))
    assert np.isfinite(slope).all()
    np.testing.assert_allclose(
        coordinates(jnp.array([1.0, 0.0])), -1, atol=1e-6
    )


def test_soft_log_comes_back():
    soft_log = SoftLog(1e-8)
    flux = np.geomspace(1e12, 1e20, 50)
    norm = np.array(1e20)
    y = soft_log.forward(flux, norm)
    back = soft_log.inverse(jnp.asarray(y, jnp.float32), jnp.log(1e20))
    bright = flux > 1e-7 * norm
    np.testing.assert_allclose(back[bright], flux[bright], rtol=2e-5)


def test_soft_log_of_zero_is_zero_with_a_finite_gradient():
    soft_log = SoftLog(1e-8)
    y = soft_log.forward(np.array([0.0, 1.0]), np.array(1.0))
    noisy = jnp.asarray(y, jnp.float32) + 1e-4

    def total(y):
        return soft_log.inverse(y, jnp.array(40.0)).sum()

    assert soft_log.inverse(noisy, jnp.array(40.0))[0] == 0
    assert np.isfinite(jax.grad(total)(noisy)).all()


def test_soft_log_does_not_overflow_before_its_result_does():
    flux = SoftLog(1e-8).inverse(jnp.array([-18.0]), jnp.array(88.0))
    assert np.isfinite(flux).all()
