"""The random numbers that the parameters of a library are drawn with.

A Sobol sequence or a Latin hypercube spreads them evenly over all parameters
at once. The numbers of a galaxy depend only on its place in the sequence, not
on which other galaxies are drawn with it.
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

# The memory that scipy takes for each number of a hypercube, bytes.
_HYPERCUBE_BYTES = 32

# Sobol points are multiples of 2**-_BITS.
_BITS = 30


@dataclass(frozen=True)
class Draws:
    """The number of galaxies, and how their parameters are drawn.

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
            InconsistentArguments: If one of them is not valid.
        """
        check_whole("n of draws", self.n, 1)
        if self.n > 2**_BITS:
            raise InconsistentArguments(
                f"n of draws must be at most {2**_BITS}, the length of a "
                f"Sobol sequence, got {self.n}: each parameter alone would "
                f"take {8 * self.n / 1e9:.3g} GB. Make several libraries "
                "with different seeds."
            )
        check_choice("method of draws", self.method, METHODS)
        check_whole("seed of draws", self.seed, 0)

    def rows(self, which: slice, dimensions: int) -> NDArray[np.float64]:
        """Return random numbers between 0 and 1 for some galaxies.

        Args:
            which (slice): The n galaxies.
            dimensions (int): The number of dimensions.

        Returns:
            np.ndarray of float: The numbers, (n, dimensions).

        Raises:
            InconsistentArguments: If a Sobol sequence does not have that
                many dimensions, or a hypercube exceeds the memory.
        """
        if not dimensions:
            return np.empty((which.stop - which.start, 0))
        if self.method == "sobol":
            if dimensions > qmc.Sobol.MAXDIM:
                raise InconsistentArguments(
                    f"A Sobol sequence has at most {qmc.Sobol.MAXDIM} numbers "
                    f"a galaxy, got {dimensions}: give a smaller size."
                )
            sequence = qmc.Sobol(dimensions, seed=self.seed, bits=_BITS)
            with warnings.catch_warnings():
                # That its balance needs a power of two.
                warnings.simplefilter("ignore", UserWarning)
                if which.start:
                    sequence.fast_forward(which.start)
                points = sequence.random(which.stop - which.start)
            # At the centres of their cells, never at 0.
            return points + 0.5**_BITS / 2
        # A hypercube can only be drawn as a whole.
        if dimensions not in self._hypercubes:
            check_memory(
                f"A Latin hypercube of {self.n} galaxies with {dimensions} "
                "parameters",
                _HYPERCUBE_BYTES * self.n * dimensions,
                "draw fewer, or with the method sobol",
            )
            hypercube = qmc.LatinHypercube(dimensions, seed=self.seed)
            self._hypercubes[dimensions] = hypercube.random(self.n)
        return self._hypercubes[dimensions][which]
