"""Calibration of posteriors: do they contain the truth as often as they say?

Galaxies drawn from the priors are observed with the errors of real ones, and
fitted. The share of a posterior below the truth is then uniform from 0 to 1
for each parameter (simulation-based calibration, Talts et al. 2018,
arXiv:1804.06788), and so is the share that is nearer than the truth to a
random point (TARP, Lemos et al. 2023, arXiv:2302.03026), which tests all
parameters together.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, TypeAlias

import jax
import numpy as np
from numpy.typing import NDArray
from scipy import stats
from synthesizer.exceptions import InconsistentArguments

from synthesizer_emulator.descriptions import Printed
from synthesizer_emulator.inference.data import Data
from synthesizer_emulator.inference.fit import DataLike, Fit
from synthesizer_emulator.inference.line_fluxes import LineFluxes
from synthesizer_emulator.inference.photometry import Photometry
from synthesizer_emulator.inference.posterior import (
    Posterior,
    weighted_quantiles,
)
from synthesizer_emulator.inference.spectrum import Spectrum
from synthesizer_emulator.progress import progress_bar
from synthesizer_emulator.validation import check_whole

# The data of one galaxy that are no list.
One: TypeAlias = Data | Photometry | LineFluxes | Spectrum

# The levels of the central intervals of the table, those of 1 and 2 sigma.
LEVELS = (0.68, 0.95)

# The name of the test of all parameters together.
TARP = "TARP"

# The times that galaxies outside of the model are drawn again.
_DRAWN_AGAIN = 100

# The probability below which a test fails.
_IMPROBABLE = 1e-3


@dataclass(frozen=True, eq=False, repr=False)
class Calibration(Printed):
    """The posteriors of n mock galaxies, compared with the truth.

    Attributes:
        names (tuple of str): The names of the dimensions of the hypercube.
        truths (np.ndarray of float): The true points of the hypercube, (n, d).
        medians (np.ndarray of float): The medians of the posteriors, (n, d).
        widths (np.ndarray of float): Half the widths of their central 68%,
            (n, d).
        ranks (np.ndarray of float): The share of each posterior below the
            truth, (n, d).
        tarp (np.ndarray of float): The share of each posterior that is nearer
            than the truth to a random point of the hypercube, (n,).
        effective_sizes (np.ndarray of float): The effective numbers of
            samples, (n,).
        warnings (tuple of str): The warnings of each posterior that did not
            converge, joined; empty strings for the others, (n,).
    """

    names: tuple[str, ...]
    truths: NDArray[np.float64]
    medians: NDArray[np.float64]
    widths: NDArray[np.float64]
    ranks: NDArray[np.float64]
    tarp: NDArray[np.float64]
    effective_sizes: NDArray[np.float64]
    warnings: tuple[str, ...]

    def __len__(self) -> int:
        """The number of mock galaxies."""
        return len(self.truths)

    @property
    def shares(self) -> dict[str, NDArray[np.float64]]:
        """What is uniform if the posteriors are right, by name, (n,).

        The ranks of each parameter, and `TARP` of all together.
        """
        return {
            **dict(zip(self.names, self.ranks.T, strict=True)),
            TARP: self.tarp,
        }

    def coverage(self, level: float) -> dict[str, float]:
        """Return how often the central interval of a level has the truth.

        By the names of the dimensions. It should be the level, within
        `scatter`.
        """
        inside = np.abs(self.ranks - 0.5) <= 0.5 * level
        return dict(
            zip(self.names, map(float, inside.mean(axis=0)), strict=True)
        )

    def scatter(self, level: float) -> float:
        """Return the binomial standard deviation of the coverage."""
        return float(np.sqrt(level * (1.0 - level) / len(self)))

    def p_values(self) -> dict[str, float]:
        """Return how probable shares as uneven as these are, if uniform.

        By a Kolmogorov-Smirnov test of each of `shares`.
        """
        return {
            name: float(stats.kstest(values, "uniform").pvalue)
            for name, values in self.shares.items()
        }

    @property
    def is_calibrated(self) -> bool:
        """Whether no test fails, at 0.1% among all of them together."""
        p_values = self.p_values().values()
        return min(p_values) * len(p_values) > _IMPROBABLE

    def __str__(self) -> str:
        """Return a table of the coverage and the tests."""
        columns = [self.coverage(level) for level in LEVELS]
        width = max(len(name) for name in (*self.names, "parameter"))
        head = "".join(f"{f'in {level:.0%}':>10}" for level in LEVELS)
        lines = [f"{'parameter':<{width}}{head}{'p-value':>10}"]
        for name, p in self.p_values().items():
            cells = "".join(
                f"{column[name]:>10.2f}" if name in column else f"{'':>10}"
                for column in columns
            )
            lines.append(f"{name:<{width}}{cells}{p:>10.2g}")
        expected = " and ".join(
            f"{level:.2f} +- {self.scatter(level):.2f}" for level in LEVELS
        )
        warned = sum(map(bool, self.warnings))
        verdict = (
            "No departure from calibration found."
            if self.is_calibrated
            else "The posteriors are not calibrated."
        )
        return "\n".join(
            [
                *lines,
                f"{len(self)} mock galaxies, {warned} with warnings; expected "
                f"{expected}.",
                verdict,
            ]
        )


def calibrate(
    fit: Fit,
    like: One | Sequence[DataLike],
    n: int = 100,
    method: str = "nested",
    seed: int = 0,
    progress: bool = True,
    **options: Any,
) -> Calibration:
    """Fit mock galaxies that follow the priors, and compare with the truth.

    Args:
        fit (Fit): The fit.
        like (list of Data): The data of some galaxies, each as for `Fit.run`,
            or of one: each mock galaxy has the errors and the missing values
            of one of them. Upper limits are measurements in the mocks.
        n (int): The number of mock galaxies.
        method (str): The sampler, as for `Fit.run`.
        seed (int): The seed of the random numbers.
        progress (bool): Show a progress bar.
        **options (dict): Other options of the sampler.

    Returns:
        Calibration: The comparison.

    Raises:
        InconsistentArguments: If the priors extend beyond the grid, or
            arguments do not suit the fit.
    """
    truths, mocks = make_mocks(fit, like, n, seed)
    posteriors = [
        fit.run(mock, method, seed + i, progress=False, **options)
        for i, mock in enumerate(
            progress_bar(mocks, progress, desc="mock galaxies")
        )
    ]
    return compare(fit.names, truths, posteriors, seed)


def make_mocks(
    fit: Fit, like: One | Sequence[DataLike], n: int, seed: int = 0
) -> tuple[NDArray[np.float64], list[Data]]:
    """Return galaxies that follow the priors, as observed.

    Args:
        fit (Fit): The fit.
        like (list of Data): As for `calibrate`.
        n (int): The number of galaxies.
        seed (int): The seed of the random numbers.

    Returns:
        tuple: The points of the hypercube, (n, d), and the data.
    """
    check_whole("n", n, 1)
    check_whole("seed", seed, 0)
    fit.check()
    given: list[Any] = [*like] if isinstance(like, Sequence) else [like]
    templates = [fit.data(one) for one in given]
    if not templates:
        raise InconsistentArguments(
            "like must have the data of at least one galaxy, got []."
        )
    rng = np.random.default_rng(seed)
    truths, mocks = [], []
    for _ in range(n):
        template = templates[rng.integers(len(templates))]
        for _ in range(_DRAWN_AGAIN):
            truth = rng.random(fit.dimensions)
            mock = fit.mock(truth, template, rng)
            if all(np.isfinite(x).all() for x in jax.tree.leaves(mock)):
                break
        else:
            raise InconsistentArguments(
                f"{_DRAWN_AGAIN} galaxies drawn from the priors in turn are "
                "outside the range of the model. Narrow the priors."
            )
        truths.append(truth)
        mocks.append(mock)
    return np.array(truths), mocks


def compare(
    names: tuple[str, ...],
    truths: NDArray[np.float64],
    posteriors: Sequence[Posterior],
    seed: int = 0,
) -> Calibration:
    """Compare posteriors with the truth.

    Args:
        names (tuple of str): The names of the dimensions.
        truths (np.ndarray of float): The true points of the hypercube,
            (n, d).
        posteriors (list of Posterior): The posteriors of the n galaxies.
        seed (int): The seed of the random points of TARP.
    """
    # Another stream than that of the truths, which may have the same seed.
    references = np.random.default_rng([seed, 1]).random(truths.shape)
    ranks, tarp, quantiles = [], [], []
    for truth, reference, posterior in zip(
        truths, references, posteriors, strict=True
    ):
        points, weights = posterior.samples.points, posterior.weights
        # Half of what equals the truth counts, as for parameters of choices.
        ranks.append(
            weights @ (0.5 * (points < truth) + 0.5 * (points <= truth))
        )
        tarp.append(
            weights
            @ (
                np.linalg.norm(points - reference, axis=1)
                < np.linalg.norm(truth - reference)
            )
        )
        quantiles.append(
            weighted_quantiles(points, weights, (0.16, 0.5, 0.84))
        )
    low, middle, high = np.moveaxis(np.array(quantiles), 1, 0)
    return Calibration(
        names=names,
        truths=truths,
        medians=middle,
        widths=0.5 * (high - low),
        ranks=np.array(ranks),
        tarp=np.array(tarp),
        effective_sizes=np.array(
            [p.samples.effective_size for p in posteriors]
        ),
        # Some galaxies of the prior are at its ends.
        warnings=tuple(
            "" if p.is_converged else " ".join(p.warnings) for p in posteriors
        ),
    )
