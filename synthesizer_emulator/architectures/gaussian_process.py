"""Principal components of log flux, predicted by Gaussian processes.

For scattered samples, such as the points of a Sobol sequence, of which there
are too few for a network. A latent z at coordinates x is predicted from those
at the samples x_i,

    z(x) = sum_i k(x, x_i) w_i,  w = (K + s^2 1)^-1 z_i

(Rasmussen & Williams 2006, eq. 2.25), where k is the Matern kernel of
smoothness 5/2 with a length along each axis (eqs 4.17 and 5.1). Axes along
which a latent does not change, such as those of the gas for the light of
stars, get long lengths by themselves. The lengths and the noise s maximise the
marginal likelihood (eq. 2.30) of a group of latents, which share them: first
ln norm, then the leading components, then the others.
"""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from itertools import pairwise
from typing import Any, ClassVar

import jax
import jax.numpy as jnp
import numpy as np
import scipy.linalg
from flax import nnx
from jax import Array
from jax.typing import ArrayLike
from jaxtyping import Float
from numpy.typing import NDArray
from scipy.optimize import minimize
from scipy.spatial.distance import cdist
from synthesizer.exceptions import InconsistentArguments

from synthesizer_emulator.architectures.base import (
    Architecture,
    EmissionShape,
    Fit,
    assemble,
    assemble_skeleton,
    check_settings,
)
from synthesizer_emulator.architectures.linear import (
    latent_metric,
    latent_scale,
    latent_targets,
    linear_decoder,
    linear_skeleton,
)
from synthesizer_emulator.architectures.samples import EmissionSamples
from synthesizer_emulator.architectures.training import (
    Monitor,
    TrainingConfig,
    split_samples,
)
from synthesizer_emulator.emulator.emission import EmissionEmulator
from synthesizer_emulator.emulator.scaling import Constant
from synthesizer_emulator.validation import check_whole

# The first latents of the groups that share a kernel.
_GROUPS = (0, 1, 4, 12)

# The bounds of ln length, in coordinates between -1 and 1, and of ln of the
# variance of the noise relative to that of a latent. With less noise, weights
# are so large that their sum is inaccurate in single precision.
_LENGTHS = (-4.0, 5.0)
_NOISE = (np.log(1e-4), 0.0)

# The largest number of samples: memory and time of a prediction grow with it.
_MOST = 10_000

# Added to squared distances, whose square root has no slope at zero.
_TINY = 1e-12


class KernelRegressor(nnx.Module):
    """Gaussian processes from coordinates to latents.

    Attributes:
        points (Constant): The coordinates of the samples, (m, d).
        rates (Constant): The inverse lengths of each group along each axis,
            (groups, d).
        weights (Constant): The weight of each sample, (m, k).
        shift (Constant): The latents far from all samples, (k,).
    """

    def __init__(
        self,
        points: ArrayLike,
        rates: ArrayLike,
        weights: ArrayLike,
        shift: ArrayLike,
    ) -> None:
        self.points = Constant(jnp.asarray(points, jnp.float32))
        self.rates = Constant(jnp.asarray(rates, jnp.float32))
        self.weights = Constant(jnp.asarray(weights, jnp.float32))
        self.shift = Constant(jnp.asarray(shift, jnp.float32))

    def __call__(self, x: Float[Array, " d"]) -> Float[Array, " k"]:
        """Return the latents (k,) at coordinates x (d,)."""
        weights = self.weights[...]
        separations = x[None] - self.points[...]
        latents = [
            matern(jnp.sum((separations * rates[None]) ** 2, axis=-1))
            @ weights[:, group]
            for rates, group in zip(
                self.rates[...], _groups(weights.shape[1]), strict=True
            )
        ]
        return self.shift[...] + jnp.concatenate(latents)


def matern(squared: Float[Array, "*m"]) -> Float[Array, "*m"]:
    """Return the Matern kernel of smoothness 5/2 of squared separations.

    Rasmussen & Williams (2006), eq. 4.17, with separations in lengths.
    """
    r = jnp.sqrt(5.0 * squared + _TINY)
    return (1.0 + r + r * r / 3.0) * jnp.exp(-r)


@dataclass(frozen=True)
class GaussianProcess(Architecture):
    """Principal components of log flux, predicted by Gaussian processes.

    Attributes:
        components (int): The largest number of components.
        subset (int): The number of samples on which the lengths are found,
            at random; all samples serve the prediction.
        steps (int): The largest number of steps towards the best lengths.
        ensemble (int): Always 1.
        softening (float): The softening of the logarithm of flux.
    """

    components: int = 64
    subset: int = 1024
    steps: int = 50
    ensemble: int = 1
    softening: float = 1e-8

    # Only the split and the seed matter.
    default_training: ClassVar[TrainingConfig] = TrainingConfig()
    search_space: ClassVar[Mapping[str, Any]] = {
        "settings": {
            "components": {"low": 16, "high": 192, "log": True},
            "subset": [256, 512, 1024],
        },
    }

    def __post_init__(self) -> None:
        """Check the settings.

        Raises:
            InconsistentArguments: If a setting is out of range.
        """
        for name in ("components", "subset", "steps"):
            check_whole(name, getattr(self, name), 1)
        check_settings(self.softening, self.ensemble)
        if self.ensemble != 1:
            raise InconsistentArguments(
                "'gaussian_process' has no ensembles, as nothing in it is "
                f"random; got ensemble={self.ensemble}. Use 'pca' or 'payne'."
            )

    def fit(
        self,
        samples: EmissionSamples,
        training: TrainingConfig,
        monitor: Monitor,
    ) -> Fit:
        """Train an emulator of one emission; see `Architecture.fit`."""
        basis, latents = latent_targets(
            samples, samples.weights, self.components
        )
        fitted, _ = split_samples(len(latents), training)
        if len(fitted) > _MOST:
            raise InconsistentArguments(
                f"'gaussian_process' is for at most {_MOST} samples, got "
                f"{len(fitted)}: use 'payne' or 'pca'."
            )
        points, shift = samples.points[fitted], latents[fitted].mean(axis=0)
        spread = latent_scale(latents, latent_metric(basis), whiten=True)
        scaled = (latents[fitted] - shift) / spread
        rng = np.random.default_rng(training.seed)
        some = rng.permutation(len(points))[: self.subset]
        weights, rates = np.empty_like(scaled), []
        for group in _groups(latents.shape[1]):
            of_group, noise = _most_likely(
                points[some], scaled[some, group], self.steps
            )
            weights[:, group] = _weights(
                points, scaled[:, group], of_group, noise
            )
            rates.append(of_group)
        regressor = KernelRegressor(
            points, np.array(rates), weights * spread, shift
        )
        decoder = linear_decoder(basis.mean, basis.components, samples.support)
        found = assemble(samples, regressor, decoder, latents.shape[1], {})
        return replace(found, shape=replace(found.shape, inner=len(points)))

    def skeleton(self, shape: EmissionShape) -> EmissionEmulator:
        """Build an emulator of this shape with placeholder values."""
        d, k = len(shape.nodes), shape.latents
        regressor = KernelRegressor(
            np.zeros((shape.inner, d)),
            np.ones((len(_groups(k)), d)),
            np.zeros((shape.inner, k)),
            np.zeros(k),
        )
        return assemble_skeleton(
            shape, regressor, linear_skeleton(shape), self.softening
        )


def _groups(k: int) -> list[slice]:
    """Return the latents that share a kernel, of k latents in all."""
    firsts = [first for first in _GROUPS if first < k]
    return [slice(*ends) for ends in pairwise([*firsts, k])]


def _most_likely(
    points: NDArray[np.float64], latents: NDArray[np.float64], steps: int
) -> tuple[NDArray[np.float64], float]:
    """Return the inverse lengths (d,), and the variance of the noise.

    They maximise the marginal likelihood of latents (m, k) at points (m, d),
    with the amplitude of each latent that is most likely for them.
    """
    m, d = points.shape

    @jax.jit
    def cost(settings: Array, points: Array, latents: Array) -> Array:
        rates, noise = jnp.exp(-settings[:d]), jnp.exp(settings[d])
        scaled = points * rates[None]
        separations = scaled[:, None] - scaled[None]
        kernel = matern(jnp.sum(separations**2, axis=-1))
        lower = jnp.linalg.cholesky(kernel + noise * jnp.eye(m))
        whitened = jax.scipy.linalg.solve_triangular(
            lower, latents, lower=True
        )
        determinant = latents.shape[1] * jnp.sum(jnp.log(jnp.diag(lower)))
        amplitudes = jnp.mean(whitened**2, axis=0)
        return determinant + 0.5 * m * jnp.sum(jnp.log(amplitudes))

    slope = jax.jit(jax.value_and_grad(cost))
    with jax.enable_x64(True):
        fixed = jnp.asarray(points), jnp.asarray(latents)
        found = minimize(
            lambda settings: [
                np.asarray(value, np.float64)
                for value in slope(jnp.asarray(settings), *fixed)
            ],
            np.append(np.zeros(d), np.log(1e-3)),
            jac=True,
            method="L-BFGS-B",
            bounds=[_LENGTHS] * d + [_NOISE],
            options={"maxiter": steps},
        )
    return np.exp(-found.x[:d]), float(np.exp(found.x[d]))


def _weights(
    points: NDArray[np.float64],
    latents: NDArray[np.float64],
    rates: NDArray[np.float64],
    noise: float,
) -> NDArray[np.float64]:
    """Return the weights of the samples, (m, k)."""
    squared = cdist(points * rates, points * rates, "sqeuclidean")
    with jax.enable_x64(True):
        kernel = np.array(matern(jnp.asarray(squared)))
    kernel[np.diag_indices_from(kernel)] += noise
    factor = scipy.linalg.cho_factor(kernel, lower=True, overwrite_a=True)
    return np.asarray(scipy.linalg.cho_solve(factor, latents))
