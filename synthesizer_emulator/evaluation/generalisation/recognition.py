"""Labels of spectra: by networks from spectra to labels, or by fits.

A `Recogniser` is a network that maps a spectrum to its labels. `fit_labels`
finds the labels at which an emulator is most like a spectrum.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx
from jax import Array
from numpy.typing import NDArray

from synthesizer_emulator.architectures.networks import (
    MLP,
    ConvolutionalEncoder,
    Network,
    check_layers,
)
from synthesizer_emulator.architectures.training import (
    LossHistory,
    Monitor,
    TrainingConfig,
    train,
)
from synthesizer_emulator.emulator.emission import EmissionEmulator
from synthesizer_emulator.validation import check_choice, check_whole

KINDS = ("mlp", "cnn")

# The default training.
_TRAINING = TrainingConfig(
    epochs=200, batch_size=64, learning_rate=2e-3, check_every=10
)

# The damping of the first step of a fit, its factors after a step that
# improved the fit and after one that did not, and the number of steps.
_FIRST_DAMPING = 1e-2
_DAMPING = (0.3, 5.0)
_STEPS = 25

# The number of spectra that are fitted at once.
_BATCH = 40

# The smallest flux of which the logarithm is taken, relative to the mean.
_TINY = 1e-3


@dataclass(frozen=True)
class Recogniser:
    """A network from a spectrum to its labels.

    Attributes:
        kind (str): `mlp`, a perceptron, or `cnn`, strided convolutions and a
            linear layer.
        hidden (tuple of int): The widths of the hidden layers, or the
            channels of the convolutions.
        kernel (int): The number of pixels that a convolution sees.
        stride (int): The factor by which each convolution shortens.
        activation (str): The activation.
        training (TrainingConfig): The settings of the training.
    """

    kind: str = "mlp"
    hidden: Sequence[int] = (128, 64)
    kernel: int = 7
    stride: int = 4
    activation: str = "silu"
    training: TrainingConfig = _TRAINING

    def __post_init__(self) -> None:
        """Check the settings.

        Raises:
            InconsistentArguments: If a setting is out of range.
            UnrecognisedOption: If the activation is unknown.
        """
        check_choice("kind", self.kind, KINDS)
        check_layers(self.hidden, self.activation)
        check_whole("kernel", self.kernel, 1)
        check_whole("stride", self.stride, 1)

    def fit(
        self,
        spectra: NDArray[np.float64],
        targets: NDArray[np.float64],
        config: TrainingConfig,
        monitor: Monitor,
    ) -> tuple["Recognition", LossHistory]:
        """Train the network.

        Args:
            spectra (np.ndarray of float): The spectra, (m, n).
            targets (np.ndarray of float): Their labels, of order one, (m, d).
            config (TrainingConfig): The settings of the training.
            monitor (Monitor): The monitor.

        Returns:
            tuple: The trained function, and its losses.
        """
        centre, width = spectra.mean(axis=0), spectra.std() + 1e-12
        rngs = nnx.Rngs(config.seed)
        n_in, n_out = spectra.shape[1], targets.shape[1]
        network: Network
        if self.kind == "mlp":
            network = MLP(
                n_in, self.hidden, n_out, activation=self.activation, rngs=rngs
            )
        else:
            network = ConvolutionalEncoder(
                n_in,
                self.hidden,
                n_out,
                kernel=self.kernel,
                stride=self.stride,
                activation=self.activation,
                dropout=0.0,
                batch_norm=False,
                rngs=rngs,
            )
        trained, history = train(
            network, (spectra - centre) / width, targets, config, monitor
        )
        return Recognition(trained, centre, float(width)), history


@dataclass(frozen=True, eq=False)
class Recognition:
    """A trained network from spectra to labels.

    Attributes:
        network (Network): The network.
        centre (np.ndarray of float): The spectrum at which inputs are zero,
            (n,).
        width (float): The unit of the inputs.
    """

    network: Network
    centre: NDArray[np.float64]
    width: float

    def __call__(self, spectra: NDArray[np.float64]) -> NDArray[np.float64]:
        """Return the labels of spectra (m, n), of order one, (m, d)."""
        inputs = jnp.asarray((spectra - self.centre) / self.width, jnp.float32)
        return np.asarray(_applied(self.network, inputs), np.float64)


@nnx.jit
def _applied(network: Network, inputs: Array) -> Array:
    """Evaluate a network at inputs (m, n)."""
    return network(inputs)


def fit_labels(
    emulator: EmissionEmulator,
    spectra: NDArray[np.float64],
    starts: NDArray[np.float64],
) -> NDArray[np.float64]:
    """Return the coordinates at which an emulator is most like spectra.

    The variance over wavelengths of the difference in ln flux, which does
    not depend on the brightness, is minimised with the damped steps of
    Marquardt (1963, J. SIAM 11, 431), within the domain.

    Args:
        emulator (EmissionEmulator): The emulator.
        spectra (np.ndarray of float): The spectra, (m, n).
        starts (np.ndarray of float): The coordinates from which to start;
            the best result counts, (s, d).

    Returns:
        np.ndarray of float: The coordinates, -1 to 1, (m, d).
    """
    floor = _TINY * spectra.mean(axis=1, keepdims=True)
    targets = jnp.asarray(np.log(np.maximum(spectra, floor)), jnp.float32)
    found, costs = map(
        np.asarray,
        _descended(emulator, targets, jnp.asarray(starts, jnp.float32)),
    )
    best = np.nanargmin(np.where(np.isfinite(costs), costs, np.inf), axis=1)
    return found[np.arange(len(found)), best].astype(np.float64)


@nnx.jit
def _descended(
    emulator: EmissionEmulator, targets: Array, starts: Array
) -> tuple[Array, Array]:
    """Return the coordinates (m, s, d) and the variances (m, s)."""

    def from_start(target: Array, start: Array) -> tuple[Array, Array]:
        residual = partial(_residual, emulator, target)
        first = start, jnp.var(residual(start)), jnp.asarray(_FIRST_DAMPING)

        def step(carry: tuple, _: None) -> tuple[tuple, None]:
            x, cost, damping = carry
            slope = jax.jacfwd(residual)(x)
            curvature = slope.T @ slope
            curvature += damping * jnp.diag(jnp.diagonal(curvature) + 1e-6)
            move = jnp.linalg.solve(curvature, slope.T @ residual(x))
            moved = jnp.clip(x - move, -1.0, 1.0)
            new = jnp.var(residual(moved))
            better = new < cost
            return (
                jnp.where(better, moved, x),
                jnp.where(better, new, cost),
                damping * jnp.where(better, *_DAMPING),
            ), None

        (x, cost, _), _ = jax.lax.scan(step, first, None, length=_STEPS)
        return x, cost

    each = jax.vmap(from_start, in_axes=(None, 0))
    return jax.lax.map(
        lambda target: each(target, starts), targets, batch_size=_BATCH
    )


def _residual(emulator: EmissionEmulator, target: Array, x: Array) -> Array:
    """Return ln flux of the emulator minus the target, of mean zero, (n,)."""
    flux = emulator(x)
    difference = jnp.log(jnp.maximum(flux, _TINY * flux.mean())) - target
    return difference - difference.mean()
