"""Curves of galaxies drawn from a posterior: their SEDs and histories."""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from unyt import unyt_array

from synthesizer_emulator.inference.posterior import (
    QUANTILES,
    check_probabilities,
)


class SEDs(NamedTuple):
    """The spectra of galaxies drawn from a posterior with equal weights.

    Attributes:
        lam (unyt_array): The observed wavelengths, Angstrom, (nlam,).
        fnu (unyt_array): The flux densities, nJy, (n, nlam).
        redshift (np.ndarray of float): The redshifts, (n,).
    """

    lam: unyt_array
    fnu: unyt_array
    redshift: NDArray[np.float64]

    def quantiles(
        self, probabilities: Sequence[float] = QUANTILES
    ) -> unyt_array:
        """Return quantiles of the flux densities, (n_probabilities, nlam)."""
        return _quantiles(self.fnu, probabilities)


class SFHs(NamedTuple):
    """The histories of galaxies drawn from a posterior with equal weights.

    The rate of star formation is constant in each bin of age of the grid, so
    that the sum over the bins of rate times width is the initial mass.

    Attributes:
        lookback_time (unyt_array): The limits of the bins, before the galaxy
            is seen, yr, (n_ages + 1,).
        sfr (unyt_array): The star formation rates, Msun/yr, (n, n_ages).
        age_of_universe (unyt_array): The lookback time of the Big Bang, yr,
            (n,).
    """

    lookback_time: unyt_array
    sfr: unyt_array
    age_of_universe: unyt_array

    def quantiles(
        self, probabilities: Sequence[float] = QUANTILES
    ) -> unyt_array:
        """Return quantiles of the rates, (n_probabilities, n_ages)."""
        return _quantiles(self.sfr, probabilities)


def _quantiles(
    values: unyt_array, probabilities: Sequence[float]
) -> unyt_array:
    """Return quantiles along the first axis."""
    check_probabilities(probabilities)
    found = np.quantile(np.asarray(values), probabilities, axis=0)
    return unyt_array(found, values.units)
