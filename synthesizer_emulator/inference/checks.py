"""Warnings about priors and data that are likely to be mistakes."""

import numpy as np
from numpy.typing import NDArray
from synthesizer.synth_warnings import warn

from synthesizer_emulator.inference.spectrum import LIGHT, Spectrum
from synthesizer_emulator.library.library import Library
from synthesizer_emulator.library.parameters import GALAXY, REDSHIFT, SF_HIST

# The parameters of histories that are ages of stars.
_AGES = ("max_age", "peak_age", "min_age")


def check_ages(library: Library) -> None:
    """Warn if some galaxies of the priors are older than the Universe."""
    parameters = library.parameters
    plain, _ = parameters.draw(library.draws, slice(0, library.draws.n))
    age = parameters.age_of_universe(plain[GALAXY][REDSHIFT])
    ages = {k: v for k, v in plain[SF_HIST].items() if k in _AGES}
    bins = library.sampler.common[SF_HIST].get("agebins")
    if bins is not None:
        ages["agebins"] = np.full(1, 10.0 ** np.max(bins))
    for name, values in ages.items():
        # The polynomial of the age of the Universe rounds.
        older = float(np.mean(values > 1.001 * age))
        if older > 0.0:
            warn(
                f"'{name}' is beyond the age of the Universe for "
                f"{older:.0%} of the galaxies of the priors, with stars "
                "that formed before the Big Bang. Give it as a fraction, "
                "of='age_of_universe', or narrow its prior."
            )


def check_sampled(spectrum: Spectrum, lam: NDArray[np.float64]) -> None:
    """Warn if an observed spectrum is sharper than wavelengths of the grid."""
    data = np.sqrt(np.asarray(spectrum.variance))[np.asarray(spectrum.is_used)]
    observed = np.asarray(spectrum.lam, np.float64)
    inside = (lam > 0.1 * observed.min()) & (lam < observed.max())
    step = float(np.median(np.diff(np.log(lam[inside]))))
    if data.min() < step / 2.0:
        warn(
            f"The spectrum resolves {data.min() * LIGHT:.0f} km/s (standard "
            f"deviation), but the wavelengths of the grid are "
            f"{step * LIGHT:.0f} km/s apart. Give the resolution of the grid "
            "to the fit, or use a grid of more wavelengths."
        )
