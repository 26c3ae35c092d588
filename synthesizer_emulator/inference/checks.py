"""Checks of priors and data: mistakes are refused, likely ones warned of."""

import numpy as np
from numpy.typing import NDArray
from synthesizer.exceptions import InconsistentArguments, IncorrectUnits
from synthesizer.synth_warnings import warn

from synthesizer_emulator.inference.data import SIGMA_V
from synthesizer_emulator.inference.hypercube import value_range
from synthesizer_emulator.inference.spectrum import LIGHT, Spectrum
from synthesizer_emulator.library.library import Library
from synthesizer_emulator.library.parameters import (
    AGE_OF_UNIVERSE,
    GALAXY,
    REDSHIFT,
    SF_HIST,
    SPECTRUM,
    Parameter,
    Parameters,
)
from synthesizer_emulator.units import PURE

# The parameters of histories that are ages of stars.
_AGES = ("max_age", "peak_age", "min_age")

# The lowest and the highest value of each parameter of a spectrum that is one
# number; the likelihood is zero or the same as within beyond these.
_DOMAINS = {
    SIGMA_V: (0.0, np.inf),
    "error_scale": (0.0, np.inf),
    "jitter": (0.0, np.inf),
    "outlier_fraction": (0.0, 1.0),
    "outlier_scale": (1.0, np.inf),
}

# Those that can't be fixed at the lowest value, but may have a prior from it.
_POSITIVE = ("error_scale",)


def check_of_spectrum(parameters: Parameters) -> None:
    """Raise if a parameter of a spectrum may be beyond its meaning.

    Args:
        parameters (Parameters): The parameters, of a galaxy too.

    Raises:
        InconsistentArguments: If a prior or a fixed value reaches beyond, has
            several numbers per galaxy, or has no end for a velocity.
        IncorrectUnits: If a pure number has units.
    """
    for name, parameter in parameters.in_group(SPECTRUM).items():
        if name not in _DOMAINS:
            continue
        title, prior = f"{SPECTRUM}/{parameter.given_name}", parameter.prior
        if prior.is_array:
            raise InconsistentArguments(
                f"'{title}' must be one number per galaxy, got {prior}."
            )
        if name != SIGMA_V and parameters.plain_unit(parameter) != PURE:
            raise IncorrectUnits(
                f"'{title}' must be without units, got {prior}."
            )
        low, high = _DOMAINS[name]
        lowest, highest = _ends(parameters, parameter)
        positive = name in _POSITIVE and parameter.is_fixed
        if lowest < low or highest > high or (positive and lowest == low):
            expected = (
                f"from {low:g} to {high:g}"
                if np.isfinite(high)
                else f"{'above' if name in _POSITIVE else 'at least'} {low:g}"
            )
            raise InconsistentArguments(
                f"'{title}' must be {expected}, got {prior}, which is from "
                f"{lowest:g} to {highest:g}. "
                + (
                    "Give another value."
                    if parameter.is_fixed
                    else "Give a prior within these bounds, such as "
                    "Uniform(low, high), or Normal with low= and high=."
                )
            )
        if name == SIGMA_V:
            value_range(parameters, name)


def _ends(parameters: Parameters, parameter: Parameter) -> tuple[float, float]:
    """Return the lowest and highest value of a parameter of a spectrum."""
    ends = parameter.to_plain(np.array(parameter.prior.ends))
    of = parameter.prior.of
    if of is not None and of != AGE_OF_UNIVERSE:
        whole = parameters.in_group(parameter.group)[of]
        ends = np.multiply.outer(ends, _ends(parameters, whole))
    return float(np.min(ends)), float(np.max(ends))


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
    if np.count_nonzero(inside) < 2:
        # The spectrograph refuses pixels beyond the grid.
        return
    step = float(np.median(np.diff(np.log(lam[inside]))))
    if data.min() < step / 2.0:
        warn(
            f"The spectrum resolves {data.min() * LIGHT:.0f} km/s (standard "
            f"deviation), but the wavelengths of the grid are "
            f"{step * LIGHT:.0f} km/s apart. Give the resolution of the grid "
            "to the fit, or use a grid of more wavelengths."
        )
