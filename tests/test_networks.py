import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx
from synthesizer.exceptions import InconsistentArguments, UnrecognisedOption

from synthesizer_emulator.architectures.networks import (
    ACTIVATIONS,
    GATED,
    MLP,
    Autoencoder,
    ConvolutionalDecoder,
    ConvolutionalEncoder,
    Features,
    FixedLinear,
    ParametricGatedActivation,
    check_layers,
)

RNG = np.random.default_rng(2)
KEY = jax.random.key(0)


def test_the_gated_activation_is_that_of_speculator():
    gate = ParametricGatedActivation(3)
    gate.beta[...] = jnp.array([0.5, 1.0, 4.0])
    gate.gamma[...] = jnp.array([-0.3, 0.0, 0.8])
    x = RNG.normal(size=(5, 3)).astype(np.float32)
    beta, gamma = np.array([0.5, 1, 4]), np.array([-0.3, 0, 0.8])
    expected = (gamma + (1 - gamma) / (1 + np.exp(-beta * x))) * x
    np.testing.assert_allclose(gate(x), expected, rtol=1e-4)
    np.testing.assert_allclose(gate(x[2]), expected[2], rtol=1e-4)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("activation", "batch_norm"), [("tanh", False), (GATED, True)]
)
def test_a_batch_is_its_rows(activation, batch_norm):
    network = MLP(
        4,
        (8, 6),
        3,
        activation=activation,
        batch_norm=batch_norm,
        dropout=0.3,
        rngs=nnx.Rngs(0),
    )
    x = RNG.normal(size=(5, 4)).astype(np.float32)
    rows = np.stack([network(row) for row in x])
    np.testing.assert_allclose(network(x), rows, rtol=1e-4, atol=1e-6)


def test_leaky_relu_is_that_of_the_payne():
    x = np.array([-2.0, 3.0])
    np.testing.assert_allclose(ACTIVATIONS["leaky_relu"](x), [-0.02, 3.0])


@pytest.mark.slow
def test_dropout_leaves_out_features_only_in_training():
    network = MLP(4, (512,), 1, dropout=0.25, rngs=nnx.Rngs(0))
    x = RNG.normal(size=(1, 4)).astype(np.float32)
    kept, all_of_them = network.features(x, KEY), network.features(x)
    left_out = np.asarray(kept == 0) & np.asarray(all_of_them != 0)
    assert 0.18 < left_out.mean() < 0.32
    there = ~left_out
    np.testing.assert_allclose(
        kept[there], all_of_them[there] / 0.75, rtol=1e-5
    )
    np.testing.assert_array_equal(network(x), network(x))


@pytest.mark.slow
def test_batch_norm_goes_by_the_batch_and_remembers():
    network = MLP(4, (6,), 6, batch_norm=True, rngs=nnx.Rngs(0))
    norm = network.activations[0].norm
    x = RNG.normal(3.0, 2.0, (500, 4)).astype(np.float32)
    before = np.asarray(network.layers[0](x))
    normed = np.asarray(norm(before, use_running_average=False))
    np.testing.assert_allclose(normed.mean(axis=0), 0, atol=1e-5)
    np.testing.assert_allclose(normed.std(axis=0), 1, atol=1e-3)
    for _ in range(100):
        network(x, KEY)
    np.testing.assert_allclose(norm.mean[...], before.mean(axis=0), rtol=1e-3)
    # And without a key what it remembers does not change.
    network(x[:3])
    np.testing.assert_allclose(norm.mean[...], before.mean(axis=0), rtol=1e-3)


def test_features_are_what_the_last_layer_sees():
    network = MLP(3, (7,), 1, rngs=nnx.Rngs(1))
    out = Features(network)(jnp.ones(3))
    np.testing.assert_allclose(out[:1], network(jnp.ones(3)))
    np.testing.assert_allclose(out[1:], network.features(jnp.ones(3)))


def test_a_fixed_layer_is_as_the_layer_but_not_trained():
    layer = nnx.Linear(3, 2, rngs=nnx.Rngs(0))
    fixed = FixedLinear(layer.kernel[...], layer.bias[...] + 1)
    x = RNG.normal(size=(5, 3)).astype(np.float32)
    np.testing.assert_allclose(fixed(x), layer(x) + 1, rtol=1e-5)
    assert not jax.tree.leaves(nnx.state(fixed, nnx.Param))


@pytest.mark.slow
@pytest.mark.parametrize("n", [64, 61, 17])
def test_convolutions_give_back_the_length(n):
    shared = {
        "kernel": 5,
        "stride": 4,
        "activation": "relu",
        "dropout": 0.0,
        "batch_norm": True,
        "rngs": nnx.Rngs(0),
    }
    coder = Autoencoder(
        ConvolutionalEncoder(n, (3, 5), 2, **shared),
        ConvolutionalDecoder(2, (5, 3), n, **shared),
    )

    def shapes(coder, x):
        return coder.encoder(x), coder(x, KEY), coder(x[0])

    code, trained, single = nnx.eval_shape(shapes, coder, jnp.ones((6, n)))
    assert code.shape == (6, 2)
    assert trained.shape == (6, n)
    assert single.shape == (n,)


@pytest.mark.slow
def test_the_decoder_widens_by_a_transposed_convolution():
    """Against the definition: each input adds a kernel to the output."""
    stride, kernel, channels, n = 3, 5, 2, 30
    decoder = ConvolutionalDecoder(
        4,
        (channels,),
        n,
        kernel=kernel,
        stride=stride,
        activation="tanh",
        dropout=0.0,
        batch_norm=False,
        rngs=nnx.Rngs(0),
    )
    z = RNG.normal(size=4).astype(np.float32)
    coarse = np.tanh(decoder.first(z)).reshape(-1, channels)
    weights = np.asarray(decoder.layers[0].kernel[...])
    # Kernel tap k of the output's phase s, as one kernel of k * s taps.
    taps = weights.transpose(0, 2, 1)[::-1].reshape(-1, channels)
    full = np.zeros((len(coarse) + kernel) * stride)
    for i, value in enumerate(coarse):
        full[i * stride : i * stride + len(taps)] += taps @ value
    expected = full[kernel // 2 * stride :][:n]
    expected = expected + np.tile(decoder.layers[0].bias[...], n // stride)
    np.testing.assert_allclose(decoder(z), expected, rtol=1e-4, atol=1e-5)


def test_layers_that_no_network_can_have():
    with pytest.raises(InconsistentArguments, match="encoder must be a list"):
        check_layers(5, "relu", "encoder")
    with pytest.raises(InconsistentArguments, match="each width in hidden"):
        check_layers([0], "relu")
    with pytest.raises(UnrecognisedOption, match=r"gated; got 'step'"):
        check_layers([2], "step")
