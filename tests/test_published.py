"""What is particular to the published architectures.

The laws in test_architectures hold for all of them as they are by default;
here are their other settings, and what makes them what they are.
"""

from dataclasses import replace
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import unyt
from conftest import (
    SINGLE,
    analytic_emissions,
    analytic_header,
    write_analytic_grid,
)
from flax import nnx
from synthesizer.exceptions import InconsistentArguments

from synthesizer_emulator import build
from synthesizer_emulator.architectures.autoencoder import (
    CodeDecoder,
    NormalisedSpectra,
    PixelScaling,
    inverse_softplus,
)
from synthesizer_emulator.architectures.payne import BoundedDecoder
from synthesizer_emulator.architectures.registry import get_architecture
from synthesizer_emulator.architectures.samples import EmissionSamples
from synthesizer_emulator.architectures.training import (
    Silent,
    TrainingConfig,
    train,
)
from synthesizer_emulator.building.grid_nodes import GridNodes
from synthesizer_emulator.emulator.emission import encode
from synthesizer_emulator.emulator.metrics import (
    fractional_residuals,
    mean_errors,
)
from synthesizer_emulator.emulator.scaling import AxisDomain, Coordinates
from synthesizer_emulator.emulator.tables import Derived
from synthesizer_emulator.weights.file import read_weights

SMALL = {
    "hidden": [8],
    "norm_hidden": [8],
    "encoder": [8],
    "code": 3,
    "components": 6,
    "autoencoder_epochs": 10,
}
CONVOLUTIONAL = {
    **SMALL,
    "autoencoder": "convolutional",
    "batch_norm": True,
    "dropout": 0.1,
}


@pytest.fixture(scope="module")
def samples():
    """Return the incident spectra of a small grid, prepared."""
    header = analytic_header()
    domain = [AxisDomain.from_axis(axis) for axis in header.axes]
    return EmissionSamples.from_values(
        Coordinates(domain).scale_nodes(header.axes),
        analytic_emissions(header)["spectra/incident"],
        np.ones(len(header.lam)),
        1e-8,
    )


def fit(samples, name, settings, **training):
    architecture = get_architecture(name, settings)
    config = replace(architecture.default_training, epochs=20, **training)
    return architecture, architecture.fit(samples, config, Silent())


def described(emulator):
    """Return the shape and precision of all that is stored."""
    _, _, *stored = nnx.split(emulator, Derived, ...)
    return {
        "/".join(map(str, key)): (v.get_value().shape, v.get_value().dtype)
        for key, v in nnx.to_flat_state(stored[0])
    }


@pytest.mark.slow
@pytest.mark.parametrize(
    ("name", "settings"),
    [
        ("three_component", CONVOLUTIONAL),
        ("three_component", {**SMALL, "normalisation": "global"}),
        (
            "three_component",
            {**SMALL, "normalisation": "zscore", "keep_encoder": True},
        ),
        (
            "three_component",
            {
                **CONVOLUTIONAL,
                "encoder": [4, 6, 8],
                "kernel": [7, 5, 3],
                "stride": 2,
                "softplus": True,
                "keep_encoder": True,
            },
        ),
        (
            "three_component",
            {
                **SMALL,
                "autoencoder": "wavelengths",
                "normalisation": "none",
                "autoencoder_activation": "relu",
                "norm_activation": "tanh",
                "hidden_dropout": 0.2,
                "norm_dropout": 0.1,
            },
        ),
        ("payne", {"hidden": [8], "bounded": True, "ensemble": 2}),
        ("pca", {"hidden": [8], "components": 5, "activation": "relu"}),
    ],
    ids=[
        "convolutional",
        "global",
        "zscore",
        "kernels",
        "wavelengths",
        "bounded",
        "relu",
    ],
)
def test_other_settings(samples, name, settings):
    """They fit, leave parts out, and come back from their skeletons."""
    architecture, made = fit(samples, name, settings)
    emission = made.emulator
    x = jnp.asarray(samples.points[5], jnp.float32)
    flux = np.asarray(emission(x))
    assert flux.shape == (150,)
    assert np.isfinite(flux).all()
    kept = np.array([3, 77, 149])
    part = emission.restrict(kept)
    np.testing.assert_allclose(part(x), flux[kept], rtol=1e-4)
    again = part.restrict(np.array([2, 0]))
    np.testing.assert_allclose(again(x), flux[[149, 3]], rtol=1e-4)
    skeleton = nnx.eval_shape(lambda: architecture.skeleton(made.shape))
    assert described(skeleton) == described(emission)


@pytest.mark.parametrize(
    "normalisation", ["per_spectrum", "global", "zscore", "none"]
)
def test_normalised_spectra_and_their_norms_are_the_spectra(
    samples, normalisation
):
    made = NormalisedSpectra.from_samples(samples, normalisation)
    y = made.shift + made.scale * made.values
    if normalisation == "per_spectrum":
        np.testing.assert_allclose(made.values.mean(axis=1), 0, atol=1e-9)
        np.testing.assert_allclose(made.values.std(axis=1), 1)
        y = made.norms[:, 1:2] + made.norms[:, 2:] * y
    elif normalisation == "none":
        np.testing.assert_array_equal(made.values, samples.y)
    else:
        axis = 0 if normalisation == "zscore" else None
        np.testing.assert_allclose(made.values.mean(axis=axis), 0, atol=1e-9)
        varies = samples.y.std(axis=0) > 1e-3
        spread = np.broadcast_to(made.values.std(axis=axis), 150)
        np.testing.assert_allclose(spread[varies], 1)
    np.testing.assert_allclose(y, samples.y, atol=1e-9)
    np.testing.assert_array_equal(made.norms[:, 0], samples.log_norm)


@pytest.mark.slow
def test_the_encoder_is_not_kept_by_default(samples):
    _, made = fit(samples, "three_component", SMALL)
    names = " ".join(described(made.emulator))
    assert "decoder/network" in names
    assert "encoder" not in names
    assert set(made.histories) == {"", "norm", "autoencoder"}
    emission = made.emulator
    with pytest.raises(InconsistentArguments, match="keep_encoder=true"):
        emission.encode(jnp.ones(150))
    with pytest.raises(InconsistentArguments, match="keep_encoder=true"):
        emission.restrict(np.arange(2)).encode(jnp.ones(2))
    # Latents can be decoded all the same.
    x = jnp.asarray(samples.points[5], jnp.float32)
    latents, _ = encode(emission.regressor, emission.has_emission, x)
    np.testing.assert_allclose(
        emission.decode(latents), emission(x), rtol=SINGLE
    )


@pytest.mark.slow
def test_stages_can_be_used_alone(samples):
    """An autoencoder encodes and decodes; its decoder is the emulator's."""
    settings = {**SMALL, "encoder": [], "code": 8, "components": 8}
    settings |= {"softplus": True, "autoencoder_epochs": 400}
    architecture = get_architecture("three_component", settings)
    config = replace(architecture.default_training, epochs=10)
    trained = architecture.fit_autoencoder(samples, config, Silent())
    # Zero fluxes are negative by rounding, which can't be encoded.
    relative = np.maximum(np.exp(samples.y) - 1e-8, 0.0)
    flux = np.exp(samples.log_norm)[:, None] * relative
    norms, codes = trained.encode(flux)
    assert norms.shape == (len(flux), 3) and codes.shape == (len(flux), 8)
    np.testing.assert_allclose(norms, trained.normalised.norms, rtol=1e-6)
    np.testing.assert_allclose(codes, trained.codes, atol=1e-4)
    # Linear, with as many numbers in the code as components.
    errors = trained.errors(flux)
    assert np.median(errors) < 0.05
    bright = flux > 1e-5 * flux.max(axis=1, keepdims=True)
    decoded = trained.decode(norms, codes)
    brute = np.abs(decoded / np.where(bright, flux, 1) - 1)
    brute = np.where(bright, brute, 0).sum(axis=1) / bright.sum(axis=1)
    np.testing.assert_allclose(errors, brute, rtol=1e-4)
    made = architecture.fit(samples, config, Silent())
    latents = np.append(norms[3, 1], np.log(np.expm1(norms[3, 2])))
    np.testing.assert_allclose(
        made.emulator.decoder(jnp.asarray([*latents, *codes[3]], "f4")),
        np.log(decoded[3] / flux[3].max() + 1e-8),
        rtol=1e-3,
        atol=1e-3,
    )


@pytest.mark.slow
@pytest.mark.parametrize(
    "settings",
    [
        {**SMALL, "normalisation": "zscore"},
        {**SMALL, "autoencoder": "wavelengths", "softplus": True},
    ],
    ids=["dense", "wavelengths"],
)
def test_a_kept_encoder_comes_back_from_a_file(tmp_path, settings):
    """A file encodes and decodes as what was trained, to its errors."""
    path = write_analytic_grid(tmp_path / "grid.hdf5", gas=False)
    report = build(
        path,
        architecture="three_component",
        settings={**settings, "keep_encoder": True},
        training={"epochs": 10},
        spectra=["incident"],
        progress=False,
    )
    weights = read_weights(report.path)
    source = GridNodes.from_grid(path, ("incident",))
    flux = source.read("spectra/incident").reshape(72, 150)
    trained = weights.architecture.fit_autoencoder(
        source.samples("spectra/incident", 1e-8),
        TrainingConfig(**weights.provenance.training_config),
        Silent(),
    )
    norms, codes = trained.encode(flux)
    emulator = weights.emulator
    encode = jax.jit(jax.vmap(partial(emulator.encode, "incident")))
    decode = jax.jit(jax.vmap(partial(emulator.decode, "incident")))
    latents = encode(flux)
    np.testing.assert_allclose(latents[:, 0], norms[:, 0], rtol=1e-6)
    np.testing.assert_allclose(latents[:, -codes.shape[1] :], codes, atol=1e-3)
    again = np.asarray(decode(latents), float)
    expected = trained.decode(norms, codes)
    bright = flux > 1e-5 * flux.max(axis=1, keepdims=True)
    np.testing.assert_allclose(again[bright], expected[bright], rtol=3e-3)
    errors = mean_errors(fractional_residuals(again, flux))
    np.testing.assert_allclose(errors, trained.errors(flux), rtol=5e-3)
    with pytest.raises(InconsistentArguments, match=r"shape \(150,\), got"):
        emulator.encode("incident", flux)
    for change, message in (
        (np.nan, r"got 1 of 150 that are not finite, the first, nan, at ind"),
        (-1.0, "got 1 of 150 that are negative, the first, -1, at index 7"),
    ):
        bad = np.where(np.arange(150) == 7, change, flux[0])
        with pytest.raises(InconsistentArguments, match=message):
            emulator.encode("incident", bad)
        assert np.isnan(encode(np.stack([bad] * 72))).all()
    with pytest.raises(InconsistentArguments, match="got all zero in 1 of 1"):
        emulator.encode("incident", 0.0 * flux[0])
    with pytest.raises(InconsistentArguments, match="plain numbers, in erg/s"):
        emulator.encode("incident", flux[0] * unyt.erg)
    n = latents.shape[1]
    for wrong in (latents[0][1:], latents):
        with pytest.raises(
            InconsistentArguments, match=rf"must have shape \({n},\), got"
        ):
            emulator.decode("incident", wrong)
    cut = emulator.spectra["incident"].restrict(np.arange(2))
    with pytest.raises(InconsistentArguments, match="was cut to 2 of them"):
        cut.encode(jnp.ones(2))


def test_a_softplus_keeps_the_standard_deviation_positive():
    decoder = CodeDecoder(
        lambda z: jnp.ones(4),
        PixelScaling(np.zeros(4), np.ones(4)),
        True,
        True,
    )
    spread = decoder(jnp.array([0.0, -3.0, 1.0]))
    np.testing.assert_allclose(spread, np.log1p(np.exp(-3.0)), rtol=1e-6)
    np.testing.assert_allclose(
        inverse_softplus(np.log1p(np.exp([-3.0, 0.0, 30.0]))),
        [-3.0, 0.0, 30.0],
        atol=1e-9,
    )


def test_bounded_pixels_stay_within_what_the_samples_have():
    rng = np.random.default_rng(0)
    low, high = -3.0, 5.0
    linear = nnx.Linear(4, 6, rngs=nnx.Rngs(0))
    decoder = BoundedDecoder(
        lambda z: 100 * linear(z), np.full(6, low), np.full(6, high - low)
    )
    outputs = np.array([decoder(z) for z in rng.normal(size=(50, 4))])
    assert outputs.min() >= low
    assert outputs.max() <= high
    assert np.ptp(outputs) > 0.9 * (high - low)


@pytest.mark.slow
def test_members_of_the_payne_share_the_last_layer(samples):
    """The second member is trained through the first one's last layer."""
    _, one = fit(samples, "payne", {"hidden": [8]})
    _, two = fit(samples, "payne", {"hidden": [8], "ensemble": 2})
    np.testing.assert_array_equal(
        two.emulator.decoder.components[...],
        one.emulator.decoder.components[...],
    )
    first, second = two.emulator.regressor.members
    alone = one.emulator.regressor
    x = jnp.asarray(samples.points[5], jnp.float32)
    np.testing.assert_allclose(first(x), alone(x), rtol=1e-5)
    assert not np.allclose(second(x)[1:], alone(x)[1:], rtol=0.01)


@pytest.mark.slow
def test_the_payne_sees_labels_from_minus_to_plus_a_half(samples, monkeypatch):
    seen = []

    def spy(model, inputs, *rest):
        seen.append(inputs)
        return train(model, inputs, *rest)

    monkeypatch.setattr("synthesizer_emulator.architectures.payne.train", spy)
    fit(samples, "payne", {"hidden": [8]})
    np.testing.assert_allclose(seen[0].min(axis=0), -0.5)
    np.testing.assert_allclose(seen[0].max(axis=0), 0.5)


@pytest.mark.parametrize(
    ("name", "setting", "value", "message"),
    [
        ("payne", "hidden", [], "hidden must have at least one"),
        ("payne", "bounded", 1, "bounded must be true or false, got 1"),
        ("pca", "normalisation", "x", "global, zscore, got 'x'"),
        ("three_component", "autoencoder", "x", "dense, wavelengths, con"),
        ("three_component", "normalisation", "x", "per_spectrum, global, z"),
        ("three_component", "code", 0, "code must be a whole number"),
        ("three_component", "kernel", [3], "one for each of the 2 layers"),
        ("three_component", "softplus", 1, "softplus must be true or false"),
        ("three_component", "keep_encoder", 1, "keep_encoder must be true"),
        ("three_component", "hidden_dropout", 1.0, "hidden_dropout must be"),
        ("three_component", "stride", 1, "stride must be .* at least 2"),
        ("three_component", "dropout", 1.0, "dropout must be a number from"),
        ("three_component", "batch_norm", "no", "true or false, got 'no'"),
        ("three_component", "encoder", 3, "encoder must be a list"),
        ("three_component", "norm_hidden", [0], "each width in norm_hidden"),
    ],
)
def test_settings_out_of_range(name, setting, value, message):
    with pytest.raises(InconsistentArguments, match=message):
        get_architecture(name, {setting: value})


def test_each_autoencoder_has_its_layers():
    dense = get_architecture("three_component")
    assert (dense.encoder, dense.autoencoder_epochs) == ((512, 256), 1000)
    settings = {"autoencoder": "convolutional"}
    other = get_architecture("three_component", settings)
    assert (other.encoder, other.autoencoder_epochs) == ((16, 32, 64), 150)
    settings["encoder"] = []
    with pytest.raises(InconsistentArguments, match="at least one layer"):
        get_architecture("three_component", settings)
