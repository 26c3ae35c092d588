"""Ensembles: the laws of their mean and spread."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from conftest import analytic_at, analytic_header, write_analytic_grid
from flax import nnx
from synthesizer.exceptions import InconsistentArguments, MissingSpectraType

from synthesizer_emulator import EmulatedGrid, build
from synthesizer_emulator.architectures.registry import get_architecture
from synthesizer_emulator.emulator.emission import Ensemble
from synthesizer_emulator.weights.file import read_weights

# Training takes seconds.
pytestmark = pytest.mark.slow

# Settings that train in seconds; `three_component` is one
# in test_architectures.
QUICK = {
    "residual_table": ({"hidden": [16]}, 50),
    "payne": ({"hidden": [32]}, 200),
    "pca": ({"hidden": [32], "components": 8}, 400),
}
MEMBERS = 3
POINT = np.array([3.3e6, 7e-3])


@pytest.fixture(
    scope="module",
    params=["residual_table", "payne", "pca"],
)
def ensemble(request, tmp_path_factory):
    """Return the weights of an ensemble of each architecture."""
    settings, epochs = QUICK[request.param]
    folder = tmp_path_factory.mktemp(request.param)
    report = build(
        write_analytic_grid(folder / "g.hdf5", gas=False, n_ages=20),
        architecture=request.param,
        settings=settings,
        ensemble=MEMBERS,
        spectra=["incident"],
        training={"epochs": epochs, "learning_rate": 1e-2, "batch_size": 64},
        progress=False,
    )
    return read_weights(report.path)


def test_the_prediction_is_the_mean_of_the_members(ensemble):
    emulator = ensemble.emulator
    emission = emulator.spectra["incident"]
    x = emulator.coordinates(jnp.asarray(POINT, jnp.float32))
    each, mean = jax.jit(
        lambda x: (
            [member(x) for member in emission.regressor.members],
            emission.regressor(x),
        )
    )(x)
    assert len(each) == MEMBERS
    assert np.std(each, axis=0).max() > 0
    np.testing.assert_allclose(
        mean, np.mean(each, axis=0), rtol=1e-4, atol=1e-5
    )


def test_the_members_share_a_decoder(ensemble):
    tensors = ensemble.tensors["spectra/incident"]
    assert [n for n in tensors if n.startswith("regressor/members/2/")]
    assert not [
        n for n in tensors if n.startswith("regressor") and "decoder" in n
    ]


def test_the_spread_is_the_calibrated_scatter_of_log_flux(ensemble):
    emulator = ensemble.emulator
    emission = emulator.spectra["incident"]
    x = emulator.coordinates(jnp.asarray(POINT, jnp.float32))
    logs = jax.jit(
        lambda x: [
            z[0] + emission.decoder(z[1:])
            for z in (member(x) for member in emission.regressor.members)
        ]
    )(x)
    flux, spread = jax.jit(
        lambda p: (
            emulator.spectrum("incident", p),
            emulator.spread("incident", p),
        )
    )(POINT)
    bright = flux > 1e-5 * flux.max()
    expected = emission.regressor.factor[...] * np.std(logs, axis=0) * flux
    # The scatter of members that agree is a difference of rounded numbers.
    np.testing.assert_allclose(spread[bright], expected[bright], rtol=0.05)
    assert (spread >= 0).all()
    assert ((spread > 0) | (flux == 0)).all()


def test_the_spread_covers_errors_between_the_nodes(ensemble):
    """Of a normal distribution it would cover 68%.

    More where spectra are smooth and a table was calibrated across gaps
    twice as wide as those between its nodes.
    """
    rng = np.random.default_rng(3)
    points = 10 ** rng.uniform([6, -4], [10, np.log10(4e-2)], (100, 2))
    header = analytic_header()
    true = analytic_at(header.lam, *points.T)["spectra/incident"]
    emulator = ensemble.emulator
    flux, spread = jax.jit(
        jax.vmap(
            lambda p: (
                emulator.spectrum("incident", p),
                emulator.spread("incident", p),
            )
        )
    )(jnp.asarray(points, jnp.float32))
    bright = true > 1e-5 * true.max(-1, keepdims=True)
    covered = np.abs(flux - true)[bright] < spread[bright]
    assert 0.4 < covered.mean() < 0.98


def test_an_ensemble_is_a_pytree_with_gradients(ensemble):
    emulator = ensemble.emulator
    slope = jax.jit(
        jax.jacfwd(lambda p: emulator.spread("incident", p) / 1e20)
    )
    assert np.isfinite(slope(jnp.asarray(POINT, jnp.float32))).all()


def test_each_training_has_its_losses(ensemble):
    names = set(ensemble.provenance.histories)
    expected = {f"spectra/incident: member {i}" for i in (2, 3)}
    assert {"spectra/incident", *expected} <= names


@pytest.mark.parametrize("ensemble", ["residual_table"], indirect=True)
def test_a_residual_table_ensemble_agrees_at_the_nodes(ensemble):
    ages, metals = (axis.values for axis in ensemble.header.axes)
    emulator = ensemble.emulator
    node = np.array([ages[7], metals[2]])
    between = np.array([ages[7], np.sqrt(metals[2] * metals[3])])
    spread = jax.jit(lambda p: emulator.spread("incident", p))
    at_node, beside = spread(node), spread(between)
    # What is left is rounding.
    assert np.median(at_node) < 0.3 * np.median(beside)


def test_one_is_no_ensemble():
    emulator = EmulatedGrid.example().emulator
    with pytest.raises(InconsistentArguments, match="`--ensemble 5`"):
        emulator.spread("incident", np.array([1e7, 0.01]))
    with pytest.raises(InconsistentArguments, match="`--ensemble 5`"):
        emulator.lines_spread("luminosity", np.array([1e7, 0.01]))
    with pytest.raises(MissingSpectraType, match="no emission 'agn'"):
        emulator.spread("agn", np.array([1e7, 0.01]))
    with pytest.raises(InconsistentArguments, match="ensemble must be a who"):
        get_architecture("pca", {"ensemble": 0})


def test_spreads_of_lines_and_of_sums():
    """With the example's regressors made ensembles of shifted copies."""
    emulator = EmulatedGrid.example().emulator

    class Shifted(nnx.Module):
        def __init__(self, regressor, shift):
            self.regressor, self.shift = regressor, shift

        def __call__(self, x):
            latents = self.regressor(x)
            return latents.at[0].add(self.shift)

    def shifted(emission, by):
        copies = [Shifted(emission.regressor, s) for s in (-by, by)]
        emission.regressor = Ensemble(copies, 2.0)

    shifted(emulator.spectra["nebular_continuum"], 0.03)
    shifted(emulator.spectra["linecont"], 0.04)
    shifted(emulator.line_values["luminosity"], 0.01)

    @jax.jit
    def at(point):
        return (
            emulator.lines("luminosity", point),
            emulator.lines_spread("luminosity", point),
            emulator.spectrum("nebular_continuum", point),
            emulator.spectrum("linecont", point),
            emulator.spread("nebular", point),
        )

    lines, of_lines, continuum, linecont, spread = at(np.array([1e7, 0.01]))
    np.testing.assert_allclose(of_lines, 0.02 * lines, rtol=1e-3)
    np.testing.assert_allclose(
        spread, np.hypot(0.06 * continuum, 0.08 * linecont), rtol=1e-3
    )
