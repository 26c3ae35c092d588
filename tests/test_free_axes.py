"""Axes of a grid beyond age and metallicity, as parameters of galaxies."""

import warnings

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from astropy.cosmology import Planck18
from conftest import analytic_emissions, analytic_header, write_grid
from synthesizer.emission_models import (
    NebularEmission,
    TotalEmission,
)
from synthesizer.emission_models.attenuation import PowerLaw
from synthesizer.exceptions import InconsistentArguments, MissingAttribute
from synthesizer.grid import Grid
from synthesizer.parametric import SFH, Stars, ZDist
from unyt import Msun, Myr

from synthesizer_emulator import EmulatedGrid
from synthesizer_emulator.galaxies.axes import AxisMesh, mesh_points
from synthesizer_emulator.galaxies.emission import EmissionFunction
from synthesizer_emulator.galaxies.model import GalaxyModel
from synthesizer_emulator.galaxies.node_spectra import (
    node_spectra,
    scaled_nodes,
)
from synthesizer_emulator.galaxies.translate import compile_model
from synthesizer_emulator.galaxies.values import Varying

warnings.filterwarnings("ignore", "NebularEmission requires")


@pytest.fixture(scope="module")
def emulated(three_axes):
    return EmulatedGrid("three", grid_dir=three_axes)


@pytest.fixture(scope="module")
def axis(emulated):
    return emulated.axes[2]


def total(grid, **fixed):
    return TotalEmission(grid, dust_curve=PowerLaw(slope=-0.7), **fixed)


def stars(grid):
    return Stars(
        grid.log10ages,
        grid.metallicities,
        sf_hist=SFH.Constant(max_age=300 * Myr),
        metal_dist=ZDist.DeltaConstant(metallicity=0.01),
        initial_mass=1e9 * Msun,
        tau_v=0.4,
    )


@pytest.fixture(scope="module")
def free(emulated, axis):
    return compile_model(total(emulated), varying=["tau_v", f"log10{axis}"])


def test_between_nodes_it_is_synthesizer_on_a_collapsed_grid(
    emulated, axis, free
):
    """The grid is collapsed by the emulator, at the value of the galaxy."""
    nodes = np.log10(getattr(emulated, axis))
    for x in (nodes[0], *np.linspace(nodes[0], nodes[-1], 7), nodes[1]):
        grid = emulated.collapse(f"log10{axis}", "emulator", value=float(x))
        galaxy = stars(grid)
        true = galaxy.get_spectra(total(grid))._lnu
        got = free.spectra(
            jnp.asarray(galaxy.sfzh), {"tau_v": 0.4, f"log10{axis}": x}
        )
        bright = true > 1e-4 * true.max()
        np.testing.assert_allclose(
            got["emergent"][bright], true[bright], rtol=3e-3
        )


def test_a_fixed_value_is_a_collapsed_grid(emulated, axis):
    """On the stars, on the model, logged or not, in the singular."""
    collapsed = emulated.collapse(axis, "emulator", value=0.01)
    sfzh = jnp.asarray(stars(collapsed).sfzh)

    def spectra(model, **given):
        compiled = compile_model(model, tolerance=0, **given)
        return compiled.spectra(sfzh, {"tau_v": 0.4})["emergent"]

    varying = ["tau_v"]
    true = spectra(total(collapsed), varying=varying)
    for fixed in ({axis: 0.01}, {f"log10{axis}": -2.0}, {axis[:-1]: 0.01}):
        for model, given in (
            (total(emulated), {"fixed": fixed}),
            (total(emulated, **fixed), {}),
        ):
            np.testing.assert_allclose(
                spectra(model, varying=varying, **given), true, rtol=1e-5
            )


@pytest.mark.slow
def test_the_first_derivatives_are_continuous_and_those_of_differences(
    emulated, axis, free
):
    sfzh = jnp.asarray(stars(emulated.collapse(axis)).sfzh)

    @jax.jit
    @jax.vmap
    def brightness(x):
        lnu = free.spectra(sfzh, {"tau_v": 0.4, f"log10{axis}": x})
        return jnp.log(lnu["emergent"].sum())

    slopes = jax.vmap(jax.grad(lambda x: brightness(x[None])[0]))
    nodes = np.log10(getattr(emulated, axis))
    x = np.linspace(nodes[0] + 1e-3, nodes[-1] - 1e-3, 400)
    values, derivatives = brightness(x), np.asarray(slopes(jnp.asarray(x)))
    np.testing.assert_allclose(
        derivatives[1:-1],
        np.gradient(np.asarray(values, float), x)[1:-1],
        atol=0.02 * np.abs(derivatives).max(),
    )
    assert (
        np.abs(np.diff(derivatives)).max() < 0.05 * np.abs(derivatives).max()
    )


def test_outside_the_axis_it_is_nan(emulated, axis, free):
    sfzh = jnp.asarray(stars(emulated.collapse(axis)).sfzh)
    nodes = np.log10(getattr(emulated, axis))
    for x in (nodes[0] - 0.01, nodes[-1] + 0.01):
        got = jax.jit(EmissionFunction.spectra)(
            free, sfzh, {"tau_v": 0.4, f"log10{axis}": x}
        )
        assert np.isnan(got["emergent"]).all()
    with pytest.raises(InconsistentArguments, match=rf"{axis} must be within"):
        compile_model(
            total(emulated),
            varying=["tau_v"],
            fixed={axis: 10 * 10 ** nodes[-1]},
        )


def test_a_missing_value_is_named_with_both_remedies(emulated, axis):
    with pytest.raises(
        MissingAttribute, match=rf"'{axis}'.*Give it.*{axis}=.*or collapse"
    ):
        compile_model(total(emulated), varying=["tau_v"])


@pytest.mark.slow
def test_photometry_and_gradients_of_a_galaxy_model(emulated, axis):
    model = GalaxyModel.from_model(
        total(emulated),
        sf_hist="Constant",
        metal_dist="DeltaConstant",
        filters={"red": (7000.0, 9000.0)},
        cosmo=Planck18,
        varying=["tau_v", axis],
    )
    galaxy = {
        "initial_mass": 1e9,
        "redshift": 0.1,
        "sf_hist": {"max_age": 3e8},
        "metal_dist": {"metallicity": 0.01},
    }

    @jax.jit
    @jax.value_and_grad
    def flux(value):
        values = {**galaxy, "emission": {"tau_v": 0.4, axis: value}}
        return GalaxyModel.galaxy(model, values)["photometry"]["emergent"][0]

    _, slope = flux(0.01)
    step = 1e-3
    ends = [flux(value)[0] for value in (0.01 - step, 0.01 + step)]
    expected = (ends[1] - ends[0]) / (2 * step)
    assert slope == pytest.approx(float(expected), rel=0.05)


def test_each_extraction_has_its_own_value(emulated, axis):
    """As gas of birth clouds, and diffuse gas: by fixed parameters."""
    young, old = (
        NebularEmission(emulated, label=label, **{axis: value})
        for label, value in (("birth", 0.03), ("diffuse", 0.001))
    )
    sfzh = jnp.asarray(stars(emulated.collapse(axis)).sfzh)
    for model, value in ((young, 0.03), (old, 0.001)):
        grid = emulated.collapse(axis, "emulator", value=value)
        true = compile_model(NebularEmission(grid), tolerance=0)
        np.testing.assert_allclose(
            compile_model(model, tolerance=0).spectra(sfzh, {})[model.label],
            true.spectra(sfzh, {})["nebular"],
            rtol=1e-5,
        )


def test_native_grids_are_interpolated_without_overshoot(tmp_path):
    header = analytic_header(n_ages=6, n_metals=3, n_parameters=5)
    path = tmp_path / "native.hdf5"
    write_grid(path, header, analytic_emissions(header))
    grid = Grid("native", grid_dir=tmp_path)
    axis = grid.axes[2]
    nodes = scaled_nodes(grid, axis)
    at_nodes = node_spectra(grid, "nebular", {axis: nodes})
    np.testing.assert_allclose(
        np.moveaxis(at_nodes, 0, 2), grid.spectra["nebular"], rtol=1e-6
    )
    x = np.linspace(nodes[1], nodes[2], 9)
    between = node_spectra(grid, "nebular", {axis: x})
    low = np.minimum(at_nodes[1], at_nodes[2])
    high = np.maximum(at_nodes[1], at_nodes[2])
    assert (between >= low * (1 - 1e-9)).all()
    assert (between <= high * (1 + 1e-9)).all()


NODES = np.array([0.0, 0.7, 1.0, 2.0])


@pytest.mark.slow
@pytest.mark.parametrize("degree", [3, 6])
def test_meshes_interpolate_smooth_functions(degree):
    mesh = AxisMesh.between_nodes(NODES, degree, Varying("x", None), False)
    points = mesh_points(NODES, degree)
    x = np.linspace(0.0, 2.0, 301)
    weights = np.asarray(jax.vmap(mesh.weights)(jnp.asarray(x)))
    for power in range(degree + 1):
        np.testing.assert_allclose(
            weights @ points**power, x**power, atol=2e-5
        )
    error = np.abs(weights @ np.exp(points) - np.exp(x)).max()
    assert error < {3: 2e-2, 6: 2e-5}[degree]


def test_meshes_are_smooth_where_functions_bend():
    """The first derivative is continuous at nodes, as that of the function."""
    mesh = AxisMesh.between_nodes(NODES, 5, Varying("x", None), False)

    def function(x):
        return x + np.where(x > 0.7, (x - 0.7) ** 2, 0.0)

    values = jnp.asarray(function(mesh_points(NODES, 5)))
    slope = jax.jit(jax.grad(lambda x: mesh.weights(x) @ values))
    for node, expected in ((0.7, 1.0), (1.0, 1.6)):
        ends = [float(slope(node + step)) for step in (-1e-4, 1e-4)]
        assert ends == pytest.approx([expected, expected], abs=2e-3)
