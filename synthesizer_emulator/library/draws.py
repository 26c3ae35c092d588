"""The random numbers for drawing the parameters of a library.

A Sobol sequence or a Latin hypercube covers the parameter space evenly. The
numbers of a galaxy depend only on its index in the sequence, not on the other
galaxies drawn at the same time.
"""

import warnings
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray
from scipy.stats import qmc
from synthesizer.exceptions import InconsistentArguments

from synthesizer_emulator.validation import (
    check_choice,
    check_memory,
    check_whole,
)

METHODS = ("latin hypercube", "sobol")

# The memory that scipy needs for each number of a hypercube, bytes.
_HYPERCUBE_BYTES = 32

# Sobol points are multiples of 2**-_BITS.
_BITS = 30


@dataclass(frozen=True)
class Draws:
    """The number of galaxies, and the method of drawing their parameters.

    Attributes:
        n (int): The number of galaxies.
        method (str): `sobol`, a scrambled Sobol sequence, or `latin
            hypercube`.
        seed (int): The seed of the random numbers.

    Examples:
        >>> Draws(8, "latin hypercube", seed=3).rows(slice(2, 4), 5).shape
        (2, 5)
    """

    n: int
    method: str = "sobol"
    seed: int = 0
    _hypercubes: dict[int, NDArray[np.float64]] = field(
        default_factory=dict, init=False, repr=False, compare=False
    )

    def __post_init__(self) -> None:
        """Check the settings.

        Raises:
            InconsistentArguments: If a setting is invalid.
        """
        check_whole("n of draws", self.n, 1)
        if self.n > 2**_BITS:
            raise InconsistentArguments(
                f"n of draws must be at most {2**_BITS}, the length of a "
                f"Sobol sequence, got {self.n}, which needs "
                f"{8 * self.n / 1e9:.3g} GB per parameter. Make several "
                "libraries with different seeds."
            )
        check_choice("method of draws", self.method, METHODS)
        check_whole("seed of draws", self.seed, 0)

    def rows(self, which: slice, dimensions: int) -> NDArray[np.float64]:
        """Return the random numbers of some galaxies, between 0 and 1.

        Args:
            which (slice): The indices of the n galaxies.
            dimensions (int): The number of random numbers per galaxy.

        Returns:
            np.ndarray of float: The numbers, (n, dimensions).

        Raises:
            InconsistentArguments: If a Sobol sequence has fewer dimensions,
                or a hypercube exceeds the memory.
        """
        if not dimensions:
            return np.empty((which.stop - which.start, 0))
        if self.method == "sobol":
            if dimensions > qmc.Sobol.MAXDIM:
                raise InconsistentArguments(
                    "The random numbers per galaxy of a Sobol sequence must "
                    f"be at most {qmc.Sobol.MAXDIM}, got {dimensions}. Give a "
                    "smaller size."
                )
            sequence = qmc.Sobol(dimensions, seed=self.seed, bits=_BITS)
            with warnings.catch_warnings():
                # Ignore the warning if n is not a power of two.
                warnings.simplefilter("ignore", UserWarning)
                if which.start:
                    sequence.fast_forward(which.start)
                points = sequence.random(which.stop - which.start)
            # Shift points to the centres of their cells, away from 0.
            return points + 0.5**_BITS / 2
        # A hypercube can only be drawn as a whole.
        if dimensions not in self._hypercubes:
            check_memory(
                f"A Latin hypercube of {self.n} galaxies with {dimensions} "
                "parameters",
                _HYPERCUBE_BYTES * self.n * dimensions,
                "draw fewer galaxies, or use the method sobol",
            )
            hypercube = qmc.LatinHypercube(dimensions, seed=self.seed)
            self._hypercubes[dimensions] = hypercube.random(self.n)
        return self._hypercubes[dimensions][which]
