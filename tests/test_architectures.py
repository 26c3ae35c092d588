"""The laws of every architecture, run for each in the registry.

And for one more, which is defined here: adding an architecture takes one
class and one line in the registry.
"""

from dataclasses import dataclass, replace
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from conftest import (
    SINGLE,
    analytic_emissions,
    analytic_header,
    write_grid,
)
from synthesizer.exceptions import (
    InconsistentArguments,
    MissingSpectraType,
    UnrecognisedOption,
)
from unyt import Myr, unyt_array

from synthesizer_emulator import EmulatedGrid
from synthesizer_emulator.architectures.base import (
    Architecture,
    assemble,
    assemble_skeleton,
    check_settings,
    empty_nodes,
)
from synthesizer_emulator.architectures.linear import (
    latent_targets,
    linear_decoder,
    linear_skeleton,
)
from synthesizer_emulator.architectures.registry import (
    ARCHITECTURES,
    get_architecture,
    get_training,
)
from synthesizer_emulator.architectures.training import TrainingConfig
from synthesizer_emulator.building.builder import build
from synthesizer_emulator.emulator.tables import LinearTable
from synthesizer_emulator.gridfile.header import Axis
from synthesizer_emulator.weights.file import read_weights, write_weights

# Settings that train in seconds, and the median error between the nodes
# that each must then reach on the smooth analytic grid.
QUICK = {
    "gaussian_process": ({"components": 12}, {}, 0.01),
    "residual_table": ({"hidden": [32]}, {"epochs": 200}, 0.005),
    "payne": (
        {"hidden": [64, 64], "activation": "silu"},
        {"epochs": 500, "batch_size": 64, "learning_rate": 3e-3},
        0.05,
    ),
    "pca": (
        {"hidden": [64], "components": 12},
        {"epochs": 600, "batch_size": 64, "learning_rate": 1e-2},
        0.1,
    ),
    "three_component": (
        {
            "hidden": [64, 64],
            "norm_hidden": [64, 64],
            "encoder": [64],
            "code": 3,
            "components": 24,
            "autoencoder_epochs": 300,
            "ensemble": 2,
        },
        {"epochs": 300, "batch_size": 64, "learning_rate": 1e-2},
        0.05,
    ),
}

# By its former name.
ASKED_FOR = {"residual_table": "corrected"}

# Of single precision; the sums of Gaussian processes have larger terms.
ROUNDING = {"gaussian_process": 2e-4}

POINT = np.array([3.3e6, 7e-3])
N_POINTS = 31 * 9  # of a batch


@dataclass(frozen=True)
class LinearInterpolation(Architecture):
    """Principal components, interpolated linearly between the nodes."""

    components: int = 24
    ensemble: int = 1
    softening: float = 1e-8

    needs_nodes = True

    def __post_init__(self):
        check_settings(self.softening, self.ensemble)

    def fit(self, samples, training, monitor):
        basis, latents = latent_targets(
            samples, samples.weights, self.components
        )
        table = samples.at_all_nodes(latents).astype(np.float32)
        decoder = linear_decoder(basis.mean, basis.components, samples.support)
        regressor = LinearTable(samples.nodes, table)
        return assemble(samples, regressor, decoder, latents.shape[1], {})

    def skeleton(self, shape):
        table = np.zeros((*shape.nodes, shape.latents), np.float32)
        return assemble_skeleton(
            shape,
            LinearTable(empty_nodes(shape.nodes), table),
            linear_skeleton(shape),
            self.softening,
        )


NEW = "linear_interpolation"
QUICK[NEW] = ({}, {}, 0.02)


@pytest.fixture(scope="module", autouse=True)
def new_architecture():
    """Register the new architecture while these tests run."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(ARCHITECTURES, NEW, LinearInterpolation)
        yield


def law_header():
    """Return the header of the grid of the laws, with few emissions."""
    header = analytic_header(n_ages=24)
    units = {"luminosity": header.lines.units["luminosity"]}
    kept = ("incident", "nebular")
    return replace(
        header,
        spectra_units={name: header.spectra_units[name] for name in kept},
        lines=replace(header.lines, units=units),
    )


@pytest.fixture(
    scope="module",
    params=[pytest.param(n, marks=pytest.mark.slow) for n in sorted(QUICK)],
)
def built(request, tmp_path_factory):
    """Return the weights of each architecture on the analytic grid."""
    name = request.param
    settings, training, bound = QUICK[name]
    folder = tmp_path_factory.mktemp(name)
    header = law_header()
    emissions = analytic_emissions(header)
    kept = {name: emissions[name] for name in header.units}
    write_grid(folder / "g.hdf5", header, kept)
    report = build(
        folder / "g.hdf5",
        architecture=ASKED_FOR.get(name, name),
        settings=settings,
        training=training,
        progress=False,
    )
    return read_weights(report.path), bound


@pytest.fixture(scope="module")
def rounding(built):
    """Return the relative errors that single precision allows."""
    weights, _ = built
    return ROUNDING.get(weights.provenance.architecture, SINGLE)


@pytest.fixture(scope="module")
def emulator(built):
    return built[0].emulator


@partial(jax.jit, static_argnums=1)
def spectrum(emulator, name, point):
    """Return a spectrum, compiled once for all tests of an architecture."""
    return emulator.spectrum(name, point)


@partial(jax.jit, static_argnums=1)
def spectra(emulator, name, points):
    """Return the spectra of a batch of points, compiled likewise."""
    return jax.vmap(lambda point: emulator.spectrum(name, point))(points)


def random_points(emulator, n, seed=0):
    rng = np.random.default_rng(seed)
    low = [np.log10(a.low) for a in emulator.coordinates.domain]
    high = [np.log10(a.high) for a in emulator.coordinates.domain]
    points = 10 ** rng.uniform(low, high, (n, len(low)))
    return jnp.asarray(points, jnp.float32)


@pytest.mark.slow
def test_jit_equals_eager(emulator, rounding):
    """With the emulator as a constant, and as an argument: it is a pytree."""
    eager = emulator.lines("luminosity", POINT)
    constant = jax.jit(lambda v: emulator.lines("luminosity", v))
    argument = jax.jit(lambda e, v: e.lines("luminosity", v))
    for found in (constant(POINT), argument(emulator, POINT)):
        np.testing.assert_allclose(found, eager, rtol=rounding)


@pytest.mark.slow
def test_vmap_equals_a_loop(emulator, rounding):
    points = random_points(emulator, N_POINTS)
    batch = spectra(emulator, "incident", points)
    for point, row in zip(points[:7], batch[:7], strict=True):
        expected = spectrum(emulator, "incident", point)
        peak = expected.max()
        np.testing.assert_allclose(row / peak, expected / peak, atol=rounding)


@pytest.mark.slow
def test_gradients_match_finite_differences(emulator):
    pixel = 90

    @jax.jit
    @jax.value_and_grad
    def log_flux(u):
        return jnp.log(emulator.spectrum("incident", 10.0**u)[pixel])

    for point in random_points(emulator, 5, seed=3):
        u = jnp.log10(point)
        _, gradient = log_flux(u)
        for axis in range(2):
            step = np.zeros(2, np.float32)
            step[axis] = 3e-3
            (above, _), (below, _) = log_flux(u + step), log_flux(u - step)
            finite = (above - below) / 6e-3
            np.testing.assert_allclose(
                gradient[axis], finite, rtol=0.05, atol=0.05
            )


def test_gradients_are_finite_everywhere(emulator):
    corners = [
        [a.low, b.high]
        for a in emulator.coordinates.domain[:1]
        for b in emulator.coordinates.domain[1:]
    ]
    slope = jax.jit(
        jax.jacfwd(lambda v: emulator.spectrum("nebular", v) / 1e20)
    )
    for point in [*random_points(emulator, 20), *jnp.asarray(corners)]:
        assert np.isfinite(slope(point)).all()


@pytest.mark.slow
def test_fluxes_are_finite_and_not_negative(emulator):
    points = random_points(emulator, N_POINTS, seed=5)
    for name in emulator.available_spectra:
        flux = spectra(emulator, name, points)
        assert np.isfinite(flux).all()
        assert (flux >= 0).all()


@pytest.mark.slow
def test_it_is_zero_where_the_source_is_zero(emulator):
    header = law_header()
    true = analytic_emissions(header)
    ages, metals = (a.values for a in header.axes)
    for i in (0, 12, 23):
        point = np.array([ages[i], metals[2]])
        flux = np.asarray(spectrum(emulator, "nebular", point))
        zero = true["spectra/nebular"][i, 2] == 0
        assert (flux[zero] == 0).all()
        assert flux[~zero].all()


@pytest.mark.slow
def test_it_is_accurate_between_the_nodes(built):
    weights, bound = built
    header = analytic_header()
    ages = np.geomspace(1.2e6, 9e9, 31)
    metals = np.geomspace(1.2e-4, 3.5e-2, 9)
    between = replace(
        header,
        axes=(
            Axis("ages", ages, "yr", True),
            Axis("metallicities", metals, "dimensionless", False),
        ),
    )
    true = analytic_emissions(between)["spectra/incident"]
    mesh = np.stack(np.meshgrid(ages, metals, indexing="ij"), -1)
    flux = spectra(weights.emulator, "incident", mesh.reshape(N_POINTS, 2))
    flux = np.asarray(flux).reshape(true.shape)
    judged = true > 1e-5 * true.max(-1, keepdims=True)
    assert np.median(np.abs(flux / true - 1)[judged]) < bound


def test_weights_come_back_bit_by_bit(built, tmp_path):
    weights, _ = built
    path = tmp_path / "again.emulator"
    write_weights(path, weights)
    again = read_weights(path)
    for emission, tensors in weights.tensors.items():
        for name, tensor in tensors.items():
            np.testing.assert_array_equal(
                again.tensors[emission][name], tensor
            )
    for name in weights.emulator.available_spectra:
        np.testing.assert_array_equal(
            spectrum(again.emulator, name, POINT),
            spectrum(weights.emulator, name, POINT),
        )


def test_an_emulated_grid_has_its_fluxes_at_the_nodes(built):
    weights, _ = built
    grid = EmulatedGrid("g", weights=weights.path, ignore_lines=True)
    ages, metals = (axis.values for axis in weights.header.axes)
    for name in ("incident", "nebular"):
        point = np.array([ages[5], metals[2]])
        expected = np.asarray(spectrum(weights.emulator, name, point))
        bright = expected > 1e-5 * expected.max()
        np.testing.assert_allclose(
            grid.spectra[name][5, 2][bright], expected[bright], rtol=1e-3
        )


def test_every_architecture_has_laws():
    assert set(ARCHITECTURES) == set(QUICK)


def test_no_product_is_left_to_the_precision_of_a_gpu(emulator):
    trace = jax.make_jaxpr(lambda v: emulator.spectrum("incident", v))(POINT)
    text = str(trace)
    products = text.count("dot_general[") + text.count("conv_general_dilated[")
    # Each names the precision of both of its factors.
    assert text.count("Precision.HIGHEST") == 2 * products > 0


def test_one_compilation_a_shape(emulator):
    traces = []

    @jax.jit
    def batch(points):
        traces.append(points.shape)
        return jax.vmap(lambda v: emulator.spectrum("incident", v))(points)

    for seed in range(3):
        batch(random_points(emulator, 8, seed))
    assert traces == [(8, 2)]


def test_outside_the_domain_it_says_so(emulator):
    outside = np.array([1e11, 1e-2])
    with pytest.raises(InconsistentArguments, match=r"ages = 1e\+11.*domain"):
        emulator.spectrum("incident", outside)
    traced = jax.jit(lambda v: emulator.spectrum("incident", v))(outside)
    assert np.isnan(traced).all()
    assert not emulator.in_domain(outside)
    assert emulator.in_domain(POINT)


def test_units_are_refused_and_not_dropped(emulator):
    for values in ([20 * Myr, 0.01], unyt_array([1e7, 1e7], "yr")):
        with pytest.raises(
            InconsistentArguments, match=r"plain numbers.*to_v"
        ):
            emulator.spectrum("incident", values)


def test_wrong_arguments_are_named(emulator):
    with pytest.raises(InconsistentArguments, match=r"jax\.vmap"):
        emulator.spectrum("incident", np.ones((4, 2)))
    with pytest.raises(MissingSpectraType, match=r"no emission 'agn'.*incid"):
        emulator.spectrum("agn", POINT)


def test_restricted_emissions_are_parts_of_the_whole(emulator):
    x = emulator.coordinates(jnp.asarray(POINT, jnp.float32))
    kept = np.array([5, 60, 61, 149])
    emission = emulator.spectra["incident"]
    part = emission.restrict(kept)
    found, whole = jax.jit(lambda x: (part(x), emission(x)))(x)
    np.testing.assert_allclose(found, whole[kept], rtol=1e-5)


def test_weights_name_their_architecture(built, request):
    """Also if it was asked for by its former name."""
    weights, _ = built
    name = request.node.callspec.params["built"]
    assert weights.provenance.architecture == name


def test_the_former_name_of_an_architecture_is_accepted():
    former = get_architecture("corrected", {"hidden": [8]})
    assert former == get_architecture("residual_table", {"hidden": [8]})
    shipped = EmulatedGrid.example().provenance
    assert shipped.architecture == "residual_table"


def test_unknown_architectures_and_settings_are_named():
    with pytest.raises(UnrecognisedOption, match=r"one of .*pca.*; got 'x'"):
        get_architecture("x")
    with pytest.raises(InconsistentArguments, match=r"no setting depth.*hidd"):
        get_architecture("pca", {"depth": 3})
    for setting, value, message in (
        ("components", 0, "components must be a whole number"),
        ("components", "x", "components must be .* got 'x'"),
        ("hidden", 5, "hidden must be a list of widths, got 5"),
        ("hidden", ["a"], "each width in hidden must be"),
        ("softening", 2, "softening must be a number from 0 to 0.01"),
        ("softening", -1, "softening must be a number"),
        ("whiten", "no", "whiten must be true or false, got 'no'"),
    ):
        with pytest.raises(InconsistentArguments, match=message):
            get_architecture("pca", {setting: value})
    with pytest.raises(InconsistentArguments, match="tolerance must be"):
        get_architecture("residual_table", {"tolerance": -1})
    with pytest.raises(UnrecognisedOption, match=r"one of .*; got 'step'"):
        get_architecture("pca", {"activation": "step"})
    with pytest.raises(
        InconsistentArguments, match="trend must be a number from 0 to 1"
    ):
        get_architecture("residual_table", {"trend": 2})


def test_a_training_is_the_architectures_own_but_for_what_is_said():
    default_architecture = get_architecture("residual_table")
    default = default_architecture.default_training
    assert get_training(default_architecture) == default
    changed = get_training(default_architecture, {"epochs": 7})
    assert changed == replace(default, epochs=7)
    assert changed.batch_size != TrainingConfig().batch_size
    for changes, message in (
        ({"steps": 3}, "The training has no setting steps; its .*epochs"),
        ({"epochs": 0}, "epochs must be a whole number"),
        (TrainingConfig(), r"of the settings.*\{'epochs': 100\}; got Tr"),
    ):
        with pytest.raises(InconsistentArguments, match=message):
            get_training(default_architecture, changes)
