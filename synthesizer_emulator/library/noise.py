"""The noise of photometry, for libraries of galaxies as instruments see them.

The noise of a galaxy depends only on the seed and on its index in the draws,
not on the part of the library in which it is made.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

# The output, beside `photometry`.
NOISY = "noisy_photometry"

# The galaxies whose numbers are drawn at a time, and a number that separates
# these from others of the same seed.
_BLOCK = 4096
_STREAM = 0x6E6F697365


@dataclass(frozen=True)
class PhotometricNoise:
    """Gaussian noise that does not depend on the flux.

    Attributes:
        levels (Mapping): The standard deviation in each filter, nJy, by
            filter code.
        seed (int): The seed of the random numbers.
    """

    levels: Mapping[str, float]
    seed: int

    def draw(self, which: slice) -> NDArray[np.float64]:
        """Return the noise of some galaxies, nJy, (n, n_bands).

        Args:
            which (slice): The indices of the n galaxies in the draws.
        """
        levels = np.array(list(self.levels.values()))
        return np.concatenate(list(self._normals(which))) * levels

    def _normals(self, which: slice) -> Iterator[NDArray[np.float64]]:
        """Yield the standard normal numbers of some galaxies, (m, n_bands)."""
        first, last = which.start // _BLOCK, (which.stop - 1) // _BLOCK
        for block in range(first, last + 1):
            start = block * _BLOCK
            rng = np.random.default_rng([self.seed, _STREAM, block])
            numbers = rng.standard_normal((_BLOCK, len(self.levels)))
            ends = max(which.start - start, 0), which.stop - start
            yield numbers[slice(*ends)]
