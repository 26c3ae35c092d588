"""The stages of an emulator, judged each by itself."""

from dataclasses import replace

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from click.testing import CliRunner
from flax import nnx
from synthesizer.exceptions import InconsistentArguments

from synthesizer_emulator import EmulatedGrid
from synthesizer_emulator.cli.main import main
from synthesizer_emulator.emulator.emission import EmissionEmulator
from synthesizer_emulator.emulator.emulator import Emulator
from synthesizer_emulator.emulator.metrics import (
    fractional_residuals,
    mean_errors,
    scored_region,
)
from synthesizer_emulator.emulator.scaling import Constant
from synthesizer_emulator.evaluation import evaluate as evaluate_module
from synthesizer_emulator.evaluation.measures.residuals import signed_bands
from synthesizer_emulator.evaluation.measures.stages import (
    draw_with,
    nearest_point,
    open_stages,
)
from synthesizer_emulator.evaluation.report.figures.stages import latent_space
from synthesizer_emulator.grid.emulated_grid import (
    EXAMPLE_NAME,
    example_folder,
)
from synthesizer_emulator.gridfile.labels import Label


class Curved(nnx.Module):
    """A decoder that is not linear in its four latents."""

    def __init__(self, waves):
        self.waves = Constant(jnp.asarray(waves))

    def __call__(self, latents):
        waves = self.waves[...]
        phase = waves * (1.0 + 0.1 * jnp.tanh(latents[0]))
        return latents[1] * jnp.sin(phase) + latents[2] * waves + latents[3]

    def restrict(self, indices):
        return Curved(self.waves[...][indices])


class Fixed(nnx.Module):
    """A regressor that knows nothing of the labels."""

    def __init__(self, latents):
        self.latents = Constant(jnp.asarray(latents))

    def __call__(self, x):
        return self.latents[...]


@pytest.fixture(scope="module")
def emulator():
    return EmulatedGrid(EXAMPLE_NAME).emulator


@pytest.fixture(scope="module")
def points(emulator):
    low, high = np.log10(
        [(a.low or 1e-4, a.high) for a in emulator.coordinates.domain]
    ).T
    return 10 ** np.random.default_rng(0).uniform(
        low + 0.1, high - 0.1, (30, 2)
    )


def opened(emulator, points, flux):
    lam = emulator.lam
    return open_stages(
        emulator, "incident", points, flux, lam, scored_region(lam), 1
    )


def test_a_linear_decoder_gives_back_what_it_gave(emulator, points):
    """Whatever the regressor predicts."""
    emission = emulator.emission("spectra/incident")
    mean, components = (
        np.asarray(a[...], float)
        for a in (emission.decoder.mean, emission.decoder.components)
    )
    k = len(components)
    x = emulator.coordinates.scale_points(points).astype(np.float32)
    both = np.stack([emission.regressor(jnp.asarray(row)) for row in x])
    norms, z = both[:, 0], both[:, 1:]
    # Of other points than they are given for.
    y = mean + z[::-1] @ components
    rows = jax.vmap(lambda row: emission.soft_log.inverse(row, jnp.zeros(())))
    flux = 7e20 * np.asarray(rows(jnp.asarray(y, jnp.float32)), float)
    found = opened(emulator, points, flux)
    assert found.size == k
    assert found.whole.p50 > 0.1
    # The largest of an interpolated spectrum is one within 1e-3.
    assert found.decoder.worst < 1e-3
    assert found.left_by_decoder < 1e-6
    # Norms and the whole are those of the emulator at the points.
    true = np.stack([emulator.spectrum("incident", p) for p in points])
    scored = scored_region(emulator.lam)
    errors = mean_errors(
        fractional_residuals(true[:, scored], flux[:, scored])
    )
    np.testing.assert_allclose(found.emulated, errors, rtol=1e-3)
    np.testing.assert_allclose(
        found.norm_error,
        (norms - np.log(flux.max(axis=1))) / np.log(10.0),
        atol=1e-5,
    )
    # Each component explains what a projection on it does.
    assert (np.diff(found.unexplained) <= 1e-12).all()
    examples = found.examples
    assert [*examples] == ["chosen 1", "random 1", "random 2", "random 3"]
    np.testing.assert_array_equal(examples["random 1"].true, flux[1, scored])


def test_a_curved_decoder_is_fitted_too(emulator, points):
    emission = emulator.emission("spectra/incident")
    waves = np.linspace(0.0, 3.0, len(emulator.lam)).astype(np.float32)
    decoder = Curved(waves)
    rng = np.random.default_rng(2)
    z = rng.uniform([-1, 0.5, -1, -2], [1, 1.5, 0, 0], (30, 4))
    z = z.astype(np.float32)
    y = np.asarray(jax.vmap(lambda row: decoder(row))(z), float)
    flux = np.exp(y - y.max(axis=1, keepdims=True))
    mean = z.mean(axis=0)

    curved = EmissionEmulator(
        Fixed(np.append(np.float32(0.0), mean)),
        decoder,
        emission.soft_log,
        np.ones(len(waves)),
        emission.has_emission,
    )
    other = Emulator(
        emulator.coordinates, {"incident": curved}, {}, emulator.metadata
    )
    found = opened(other, points, flux)
    assert found.size == 4
    assert found.whole.p50 > 0.05
    assert found.decoder.p95 < 1e-3
    assert np.abs(found.norm_error).max() < 1e-6


def test_bands_are_quantiles_of_a_normal_distribution():
    lam = np.geomspace(1e3, 1e4, 100)
    residuals = np.random.default_rng(3).normal(0.02, 0.01, (20_000, 100))
    bands = signed_bands(residuals.astype(np.float32), lam)
    for sigma, row in zip(bands.sigmas, bands.values, strict=True):
        np.testing.assert_allclose(row, 0.02 + 0.01 * sigma, atol=2e-3)


def test_the_nearest_node_is_shown(emulator):
    grid = EmulatedGrid(EXAMPLE_NAME)
    labels = [Label(axis) for axis in grid.weights.header.axes]
    nodes = np.stack(
        np.meshgrid(grid._ages, grid._metallicities, indexing="ij"), axis=-1
    ).reshape(-1, 2)
    row = nearest_point(labels, nodes, {"ages": 1.1e8})
    assert abs(np.log10(nodes[row, 0] / 1.1e8)) < 0.1
    row = nearest_point(labels, nodes, {"ages": 1e6, "metallicities": 0.019})
    np.testing.assert_allclose(nodes[row, 1], 0.02)
    with pytest.raises(InconsistentArguments, match="Did you mean 'ages'"):
        nearest_point(labels, nodes, {"age": 1e8})
    with pytest.raises(InconsistentArguments, match="metallicities of an"):
        nearest_point(labels, nodes, {"metallicities": 1.0})
    drawn = draw_with([4, 4, 2], np.arange(8) != 2, 5, 0)
    assert drawn[0] == 4 and len(set(drawn)) == 5 and 2 not in drawn


@pytest.mark.slow
def test_the_command_draws_stages(tmp_path, quick_figures):
    result = CliRunner().invoke(
        main,
        ["evaluate", str(example_folder() / f"{EXAMPLE_NAME}.hdf5"), "-q",
         "--spectra", "incident", "--galaxies", "0", "--recoveries", "0",
         "--stages", "20", "--show", "ages=1e7,metallicities=0.02",
         "--zoom", "4000:5000", "--plots", str(tmp_path)],
    )  # fmt: skip
    assert result.exit_code == 0, result.output
    assert "decoder alone / %" in result.output
    for name in (
        "incident_stages",
        "incident_latent_space",
        "incident_random_examples",
        "incident_examples_in_a_narrow_range",
        "spectra_incident_signed_residuals",
    ):
        assert (tmp_path / f"{name}.png").stat().st_size > 5000
    for option, says in (
        ("--show=ages", "must be NAME=VALUE"),
        ("--show=ages=x", "must be a number"),
        ("--zoom=3", "must be LOW:HIGH"),
    ):
        wrong = CliRunner().invoke(main, ["evaluate", "x", option])
        assert wrong.exit_code and says in wrong.output + str(wrong.exception)


def test_a_single_direction_is_drawn_against_the_labels(emulator, points):
    flux = jax.vmap(lambda p: emulator.spectrum("incident", p))(points)
    found = opened(emulator, points, np.asarray(flux, float))
    single = found.latents * [1.0, 0.0]
    axes = EmulatedGrid.example().weights.header.axes
    panels = latent_space(replace(found, latents=single), axes).axes
    assert [p.get_xscale() for p in panels] == ["log", "log"]
    for i, panel in enumerate(panels):
        x, y = panel.lines[0].get_data()
        np.testing.assert_array_equal(x, found.points[:, i])
        np.testing.assert_array_equal(y, single[:, 0])
    # Two directions, each with a bar of colours.
    assert len(latent_space(found, axes).axes) == 4


def test_examples_are_checked_before_anything_is_measured(monkeypatch):
    """Also without a spectrum whose stages are judged."""

    def measured(*_):
        pytest.fail("a spectrum was measured")

    monkeypatch.setattr(evaluate_module, "_measure_spectrum", measured)
    path = str(example_folder() / f"{EXAMPLE_NAME}.hdf5")
    for show, says in (
        ("age=1e7", "got 'age'. Did you mean 'ages'"),
        ("ages=1e12", "ages of an example must be a number from"),
    ):
        wrong = CliRunner().invoke(
            main, ["evaluate", path, "-q", "--stages", "0", "--show", show]
        )
        assert wrong.exit_code == 1 and says in wrong.output
