"""Neural networks, which evaluate one input or a batch.

In training, a network is called with a random key: features are dropped at
random, and batch norms use the statistics of the batch (the leading axis).
Without a key no features are dropped, and batch norms use running averages.
"""

from collections.abc import Callable, Sequence
from itertools import pairwise
from typing import Protocol

import jax
import jax.numpy as jnp
from flax import nnx
from jax import Array
from synthesizer.exceptions import InconsistentArguments, UnrecognisedOption

from synthesizer_emulator.validation import check_memory, check_whole

# The memory per weight in training, bytes: value, gradient and two moments.
_WEIGHT_BYTES = 16

# The name of `ParametricGatedActivation`, whose shape is trained.
GATED = "parametric_gated"

ACTIVATIONS: dict[str, Callable[[Array], Array]] = {
    "gelu": jax.nn.gelu,
    "leaky_relu": jax.nn.leaky_relu,
    "relu": jax.nn.relu,
    "silu": jax.nn.silu,
    "tanh": jnp.tanh,
}


class Network(Protocol):
    """A network that can be trained (see `training.train`)."""

    def __call__(self, x: Array, key: Array | None = None) -> Array:
        """Map x (..., n_in) to (..., n_out)."""


def check_layers(
    hidden: Sequence[int], activation: str, name: str = "hidden"
) -> None:
    """Check the widths, memory and activation of hidden layers.

    Raises:
        InconsistentArguments: If a width is out of range, or the layers do
            not fit into memory.
        UnrecognisedOption: If the activation is unknown.
    """
    if not isinstance(hidden, list | tuple):
        raise InconsistentArguments(
            f"{name} must be a list of widths, got {hidden!r}."
        )
    for width in hidden:
        check_whole(f"each width in {name}", width, 1)
    matrices = sum(a * b for a, b in pairwise((1, *hidden, 1)))
    check_memory(
        f"The widths {', '.join(map(str, hidden))} in {name}",
        _WEIGHT_BYTES * matrices,
        "use smaller ones",
    )
    known = (*ACTIVATIONS, GATED)
    if activation not in known:
        raise UnrecognisedOption(
            f"The activation must be one of {', '.join(known)}; got "
            f"'{activation}'."
        )


class ParametricGatedActivation(nnx.Module):
    r"""The activation of Speculator, with a trained shape for each feature.

    $$ a(x) = [\gamma + \sigma(\beta x)(1 - \gamma)]\,x $$

    It is linear for $\gamma = 1$ and gated for smaller values (Alsing et al.
    2020, ApJS 249, 5). The initial values $\beta = 1$ and $\gamma = 0$ give
    SiLU.

    Attributes:
        beta (nnx.Param): The steepness, (features,).
        gamma (nnx.Param): The fraction that is not gated, (features,).
    """

    def __init__(self, features: int) -> None:
        self.beta = nnx.Param(jnp.ones(features))
        self.gamma = nnx.Param(jnp.zeros(features))

    def __call__(self, x: Array) -> Array:
        """Activate x (..., features)."""
        extra = (1,) * (x.ndim - 1)
        beta = self.beta[...].reshape(*extra, -1)
        gamma = self.gamma[...].reshape(*extra, -1)
        return (gamma + jax.nn.sigmoid(beta * x) * (1.0 - gamma)) * x


class Activation(nnx.Module):
    """Batch norm, activation and dropout after a hidden layer.

    Attributes:
        name (str): The activation, a key of `ACTIVATIONS` or `GATED`.
        gate (ParametricGatedActivation): The activation if it is trained,
            else None.
        norm (nnx.BatchNorm): The standardisation of each feature, or None.
        dropout (nnx.Dropout): The random dropping of features in training.
    """

    def __init__(
        self,
        features: int,
        name: str,
        dropout: float,
        batch_norm: bool,
        rngs: nnx.Rngs,
    ) -> None:
        self.name = name
        self.gate = (
            ParametricGatedActivation(features) if name == GATED else None
        )
        self.norm = (
            nnx.BatchNorm(features, momentum=0.9, rngs=rngs)
            if batch_norm
            else None
        )
        self.dropout = nnx.Dropout(dropout)

    def __call__(self, x: Array, key: Array | None = None) -> Array:
        """Activate x (..., features)."""
        if self.norm is not None:
            x = self.norm(x, use_running_average=key is None)
        x = ACTIVATIONS[self.name](x) if self.gate is None else self.gate(x)
        return self.dropout(x, deterministic=key is None, rngs=key)


class FixedLinear(nnx.Module):
    """A linear layer that is not trained.

    Attributes:
        kernel (nnx.Variable): The matrix, (n_in, n_out).
        bias (nnx.Variable): The bias, (n_out,).
    """

    def __init__(self, kernel: Array, bias: Array) -> None:
        self.kernel = nnx.Variable(kernel)
        self.bias = nnx.Variable(bias)

    def __call__(self, x: Array) -> Array:
        """Map x (..., n_in) to (..., n_out)."""
        return x @ self.kernel[...] + self.bias[...].reshape(
            *(1,) * (x.ndim - 1), -1
        )


class MLP(nnx.Module):
    """A multi-layer perceptron with a linear last layer.

    Attributes:
        layers (nnx.List of nnx.Linear): The layers; the last may be a
            `FixedLinear`.
        activations (nnx.List of Activation): The activations after all
            layers except the last.
    """

    def __init__(
        self,
        n_in: int,
        hidden: Sequence[int],
        n_out: int,
        *,
        activation: str = "silu",
        dropout: float = 0.0,
        batch_norm: bool = False,
        rngs: nnx.Rngs,
    ) -> None:
        sizes = (n_in, *hidden, n_out)
        self.layers: nnx.List = nnx.List(
            [nnx.Linear(a, b, rngs=rngs) for a, b in pairwise(sizes)]
        )
        self.activations = _activations(
            hidden, activation, dropout, batch_norm, rngs
        )

    def __call__(self, x: Array, key: Array | None = None) -> Array:
        """Map x (..., n_in) to (..., n_out)."""
        return self.layers[-1](self.features(x, key))

    def features(self, x: Array, key: Array | None = None) -> Array:
        """Map x (..., n_in) to the inputs of the last layer."""
        keys = _split(key, len(self.activations))
        hidden = zip(self.layers[:-1], self.activations, keys, strict=True)
        for layer, activation, layer_key in hidden:
            x = activation(layer(x), layer_key)
        return x


class Features(nnx.Module):
    """A perceptron that also returns the inputs of its last layer.

    Attributes:
        network (MLP): The perceptron.
    """

    def __init__(self, network: MLP) -> None:
        self.network = network

    def __call__(self, x: Array, key: Array | None = None) -> Array:
        """Map x (..., n_in) to (..., n_out + the last hidden width)."""
        features = self.network.features(x, key)
        return jnp.concatenate(
            [self.network.layers[-1](features), features], axis=-1
        )


class ConvolutionalEncoder(nnx.Module):
    """An encoder of spectra by strided convolutions.

    Attributes:
        layers (nnx.List of nnx.Conv): The convolutions.
        activations (nnx.List of Activation): The activation after each.
        last (nnx.Linear): The layer from the shortened vector to the code.
    """

    def __init__(
        self,
        n_in: int,
        channels: Sequence[int],
        n_out: int,
        *,
        kernel: int | Sequence[int],
        stride: int,
        activation: str,
        dropout: float,
        batch_norm: bool,
        rngs: nnx.Rngs,
    ) -> None:
        self.layers = nnx.List(
            [
                nnx.Conv(a, b, (kernel,), (stride,), rngs=rngs)
                for (a, b), kernel in zip(
                    pairwise((1, *channels)),
                    _kernels(kernel, len(channels)),
                    strict=True,
                )
            ]
        )
        self.activations = _activations(
            channels, activation, dropout, batch_norm, rngs
        )
        length = _strided_lengths(n_in, stride, len(channels))[-1]
        self.last = nnx.Linear(length * channels[-1], n_out, rngs=rngs)

    def __call__(self, x: Array, key: Array | None = None) -> Array:
        """Map x (..., n_in) to (..., n_out)."""
        keys = _split(key, len(self.layers))
        x = x[..., None]
        for layer, activation, layer_key in zip(
            self.layers, self.activations, keys, strict=True
        ):
            x = activation(_convolved(layer, x), layer_key)
        return self.last(x.reshape(*x.shape[:-2], -1))


class ConvolutionalDecoder(nnx.Module):
    """A decoder of spectra by upsampling convolutions.

    Each convolution lengthens the vector by the factor `stride`. It is a
    transposed convolution in the equivalent form of Shi et al. (2016,
    arXiv:1609.07009), which is many times faster on CPUs.

    Attributes:
        first (nnx.Linear): The layer from the code to a coarse vector.
        layers (nnx.List of nnx.Conv): The convolutions.
        activations (nnx.List of Activation): The activation before each.
        n_out (int): The length of the output.
        stride (int): The factor by which each convolution lengthens the
            vector.
    """

    def __init__(
        self,
        n_in: int,
        channels: Sequence[int],
        n_out: int,
        *,
        kernel: int | Sequence[int],
        stride: int,
        activation: str,
        dropout: float,
        batch_norm: bool,
        rngs: nnx.Rngs,
    ) -> None:
        length = _strided_lengths(n_out, stride, len(channels))[-1]
        self.first = nnx.Linear(n_in, length * channels[0], rngs=rngs)
        self.layers = nnx.List(
            [
                nnx.Conv(a, b * stride, (kernel,), rngs=rngs)
                for (a, b), kernel in zip(
                    pairwise((*channels, 1)),
                    _kernels(kernel, len(channels)),
                    strict=True,
                )
            ]
        )
        self.activations = _activations(
            channels, activation, dropout, batch_norm, rngs
        )
        self.channels = tuple(channels)
        self.n_out = n_out
        self.stride = stride

    def __call__(self, x: Array, key: Array | None = None) -> Array:
        """Map x (..., n_in) to (..., n_out)."""
        keys = _split(key, len(self.layers))
        x = self.first(x)
        x = x.reshape(*x.shape[:-1], -1, self.channels[0])
        for layer, activation, layer_key in zip(
            self.layers, self.activations, keys, strict=True
        ):
            x = layer(activation(x, layer_key))
            length, width = x.shape[-2:]
            x = x.reshape(
                *x.shape[:-2], length * self.stride, width // self.stride
            )
        return x[..., : self.n_out, 0]


class Autoencoder(nnx.Module):
    """An encoder, and a decoder that reconstructs its inputs.

    Attributes:
        encoder (Network): The network from inputs (..., n) to a code
            (..., k).
        decoder (Network): The network from the code back to the inputs.
    """

    def __init__(self, encoder: Network, decoder: Network) -> None:
        self.encoder = encoder
        self.decoder = decoder

    def __call__(self, x: Array, key: Array | None = None) -> Array:
        """Encode and decode x (..., n)."""
        first, second = _split(key, 2)
        return self.decoder(self.encoder(x, first), second)


def _activations(
    widths: Sequence[int],
    name: str,
    dropout: float,
    batch_norm: bool,
    rngs: nnx.Rngs,
) -> nnx.List:
    """Return the activations after hidden layers of these widths."""
    return nnx.List(
        [
            Activation(width, name, dropout, batch_norm, rngs)
            for width in widths
        ]
    )


def _convolved(layer: nnx.Conv, x: Array) -> Array:
    """Return the strided convolution of x (..., n, a), (..., n / stride, b).

    The same as `layer(x)`, as a product of matrices: XLA's convolutions
    are many times slower within the loops of a training on CPUs.
    """
    assert isinstance(layer.strides, tuple)
    (kernel,), (stride,) = layer.kernel_size, layer.strides
    n = x.shape[-2]
    length = -(-n // stride)
    missing = max((length - 1) * stride + kernel - n, 0)
    ends = (missing // 2, missing - missing // 2)
    x = jnp.pad(x, [(0, 0)] * (x.ndim - 2) + [ends, (0, 0)])
    last = (length - 1) * stride + 1
    patches = jnp.concatenate(
        [x[..., i : i + last : stride, :] for i in range(kernel)], axis=-1
    )
    weights = layer.kernel[...].reshape(patches.shape[-1], -1)
    assert layer.bias is not None
    bias = layer.bias[...].reshape(*(1,) * (x.ndim - 1), -1)
    return patches @ weights + bias


def _kernels(kernel: int | Sequence[int], n: int) -> Sequence[int]:
    """Return the width of the kernel of each of n layers."""
    return [kernel] * n if isinstance(kernel, int) else kernel


def _split(key: Array | None, n: int) -> list[Array | None]:
    """Split a key into n keys, or return n times None without a key."""
    return [None] * n if key is None else list(jax.random.split(key, n))


def _strided_lengths(n: int, stride: int, layers: int) -> list[int]:
    """Return the lengths of a vector before and after each strided layer."""
    lengths = [n]
    for _ in range(layers):
        lengths.append(-(-lengths[-1] // stride))
    return lengths
