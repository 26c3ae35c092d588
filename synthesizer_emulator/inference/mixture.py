"""Mixtures of t-distributions to draw points of a posterior from."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.special import gammaln, logsumexp

# The degrees of freedom: tails much wider than those of a posterior.
_FREEDOM = 5.0

# The most components, and the fewest points of one per dimension.
_COMPONENTS = 12
_POINTS_PER_DIMENSION = 10

# The points that a mixture is fitted to, and the effective number of samples
# below which their weights are levelled before.
_FITTED = 4096
_LEVELLED = 1500

# The standard deviation around a point that is alone: a tenth of the prior's
# in normal space.
_ALONE = 0.1

# How much the covariances are widened; and the weight and the covariance of a
# component as wide as all points together, for what others miss.
_WIDER = 2.0
_BACKGROUND = 0.05
_BACKGROUND_WIDER = 2.0

Floats = NDArray[np.float64]


@dataclass(frozen=True, eq=False)
class Mixture:
    """A mixture of multivariate t-distributions, with 5 degrees of freedom.

    Attributes:
        weights (np.ndarray of float): Of the components, with a sum of one,
            (k,).
        means (np.ndarray of float): Their centres, (k, d).
        roots (np.ndarray of float): The Cholesky factors of their scale
            matrices, (k, d, d).
    """

    weights: Floats
    means: Floats
    roots: Floats

    def draw(self, n: int, rng: np.random.Generator) -> Floats:
        """Return n points, (n, d)."""
        which = rng.choice(len(self.weights), n, p=self.weights)
        normal = rng.standard_normal((n, self.means.shape[1]))
        stretch = np.sqrt(_FREEDOM / rng.chisquare(_FREEDOM, n))
        steps = np.einsum("nij,nj->ni", self.roots[which], normal)
        return self.means[which] + steps * stretch[:, None]

    def log_density(self, points: Floats) -> Floats:
        """Return the logarithm of the density at points, (n, d) to (n,)."""
        d = points.shape[1]
        constant = (
            gammaln((_FREEDOM + d) / 2)
            - gammaln(_FREEDOM / 2)
            - d / 2 * np.log(_FREEDOM * np.pi)
        )
        terms = []
        for weight, mean, root in zip(
            self.weights, self.means, self.roots, strict=True
        ):
            distances = np.linalg.solve(root, (points - mean).T)
            squares = np.square(distances).sum(axis=0)
            terms.append(
                np.log(weight)
                + constant
                - np.log(np.diag(root)).sum()
                - (_FREEDOM + d) / 2 * np.log1p(squares / _FREEDOM)
            )
        return logsumexp(terms, axis=0)


def fit_mixture(
    points: Floats, log_weights: Floats, rng: np.random.Generator
) -> Mixture:
    """Fit a mixture to weighted points.

    If few points have most of the weight, the weights are levelled, to some
    power below one, so that components do not shrink onto single points.

    Args:
        points (np.ndarray of float): The points, (n, d).
        log_weights (np.ndarray of float): The logarithms of their weights,
            up to a constant, (n,).
        rng (np.random.Generator): The random numbers.

    Returns:
        Mixture: The mixture, a little wider than the points.
    """
    from sklearn.mixture import GaussianMixture

    n, d = points.shape
    weights = _levelled(log_weights)
    mean = weights @ points
    # One point has no covariance: as if no model is near the data.
    covariance = (
        np.atleast_2d(np.cov(points.T, aweights=weights))
        if n > 1 and weights.max() < 1.0
        else np.eye(d) * _ALONE**2
    )
    # Thin directions become as wide as others, for the fit and its floors.
    root = np.linalg.cholesky(
        covariance + 1e-12 * np.diag(np.diag(covariance) + 1e-24)
    )
    chosen = rng.choice(n, _FITTED, p=weights)
    white = np.linalg.solve(root, (points[chosen] - mean).T).T
    distinct = len(np.unique(chosen))
    found = GaussianMixture(
        int(np.clip(distinct // (_POINTS_PER_DIMENSION * d), 1, _COMPONENTS)),
        random_state=int(rng.integers(2**31)),
        max_iter=50,
        tol=1e-2,
    ).fit(white)
    covariances = np.concatenate(
        [_WIDER * found.covariances_, _BACKGROUND_WIDER * np.eye(d)[None]]
    )
    return Mixture(
        weights=np.append((1 - _BACKGROUND) * found.weights_, _BACKGROUND),
        means=mean + np.vstack([found.means_, np.zeros(d)]) @ root.T,
        roots=np.asarray(root @ np.linalg.cholesky(covariances), np.float64),
    )


def _levelled(log_weights: Floats) -> Floats:
    """Return weights to the power that leaves enough effective samples."""
    powers = 0.85 ** np.arange(20)
    for power in powers:
        weights = np.exp(power * (log_weights - log_weights.max()))
        weights /= weights.sum()
        if 1 / np.square(weights).sum() > _LEVELLED:
            break
    return weights
