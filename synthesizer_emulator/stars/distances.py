"""How far two samples of stars are from each other.

All take standardised values, so that no variable outweighs the others.
"""

import jax.numpy as jnp
import numpy as np
from flax import nnx
from numpy.typing import NDArray
from scipy.spatial.distance import cdist

from synthesizer_emulator.architectures.networks import MLP
from synthesizer_emulator.architectures.training import TrainingConfig, train

# The directions of a sliced distance.
_DIRECTIONS = 128

# The largest number of stars of which all pairs are taken.
_PAIRED = 2000

# The classifier: large enough to find any difference that matters, and trained
# until it stops to improve on stars held out of its training.
_HIDDEN = (64, 64)
_TRAINING = TrainingConfig(
    epochs=60,
    batch_size=512,
    learning_rate=3e-3,
    weight_decay=1e-4,
    patience=15,
    check_every=5,
)


def sliced_wasserstein(
    a: NDArray[np.float64],
    b: NDArray[np.float64],
    rng: np.random.Generator,
) -> float:
    """Return the sliced Wasserstein distance of two samples.

    It is the mean over random directions of the mean distance of the sorted
    projections (Bonneel et al. 2015, J. Math. Imaging Vis. 51, 22).

    Args:
        a (np.ndarray of float): A sample, (n, d).
        b (np.ndarray of float): Another of the same size, (n, d).
        rng (np.random.Generator): The source of random numbers.
    """
    directions = rng.normal(size=(a.shape[1], _DIRECTIONS))
    directions /= np.linalg.norm(directions, axis=0)
    difference = np.sort(a @ directions, 0) - np.sort(b @ directions, 0)
    return float(np.abs(difference).mean())


def energy_distance(
    a: NDArray[np.float64],
    b: NDArray[np.float64],
    rng: np.random.Generator,
) -> float:
    """Return the energy distance of two samples.

    It is twice the mean distance between the samples minus the mean distances
    within them (Szekely & Rizzo 2013, J. Stat. Plan. Inference 143, 1249), and
    compares all of the distributions, not only their means. Of large samples
    2,000 stars are taken.

    Args:
        a (np.ndarray of float): A sample, (n, d).
        b (np.ndarray of float): Another, (m, d).
        rng (np.random.Generator): The source of random numbers.
    """
    a, b = (
        x if len(x) <= _PAIRED else x[rng.choice(len(x), _PAIRED, False)]
        for x in (a, b)
    )
    # Pairs of a star with itself count too, so that resamplings, in which
    # stars come twice, have the mean of independent samples.
    within = cdist(a, a).mean() + cdist(b, b).mean()
    return float(2.0 * cdist(a, b).mean() - within)


def classifier_accuracy(
    true: NDArray[np.float64], drawn: NDArray[np.float64], seed: int
) -> float:
    """Return how often a network tells drawn from true stars.

    The classifier two-sample test (Lopez-Paz & Oquab 2017, arXiv:1610.06545):
    a network is trained on half of the stars, and judged on the others.

    Args:
        true (np.ndarray of float): The values of true stars and their
            conditions, (n, k).
        drawn (np.ndarray of float): Those of as many drawn stars.
        seed (int): The seed of the split and of the network.

    Returns:
        float: The fraction of stars that are told right: 0.5 if the samples
            are alike.
    """
    n = min(len(true), len(drawn))
    order = np.random.default_rng(seed).permutation(n)
    halves = order[: n // 2], order[n // 2 :]
    (inputs, labels), (tested, expected) = (
        (
            np.concatenate([true[half], drawn[half]]),
            np.repeat([0.0, 1.0], len(half))[:, None],
        )
        for half in halves
    )
    network = MLP(inputs.shape[1], _HIDDEN, 1, rngs=nnx.Rngs(seed))
    trained, _ = train(network, inputs, labels, _TRAINING)
    found = np.asarray(trained(jnp.asarray(tested, jnp.float32))) > 0.5
    return float((found == (expected > 0.5)).mean())
