"""Priors from published relations between the properties of galaxies."""

from collections.abc import Callable
from math import inf, log10

import numpy as np

from synthesizer_emulator.library.priors import Normal, Prior
from synthesizer_emulator.validation import check_number

# The distribution of stellar metallicity in bins of stellar mass, from
# Gallazzi et al. (2005, MNRAS 362, 41, table 2): log10 of the mass in solar
# masses, and the 50th, 16th and 84th percentile of log10(Z / solar).
_GALLAZZI = np.array(
    [
        (8.91, -0.60, -1.11, 0.00),
        (9.11, -0.61, -1.07, 0.00),
        (9.31, -0.65, -1.10, -0.05),
        (9.51, -0.61, -1.03, -0.01),
        (9.72, -0.52, -0.97, 0.05),
        (9.91, -0.41, -0.90, 0.09),
        (10.11, -0.23, -0.80, 0.14),
        (10.31, -0.11, -0.65, 0.17),
        (10.51, -0.01, -0.41, 0.20),
        (10.72, 0.04, -0.24, 0.22),
        (10.91, 0.07, -0.14, 0.24),
        (11.11, 0.10, -0.09, 0.25),
        (11.31, 0.12, -0.06, 0.26),
        (11.51, 0.13, -0.04, 0.28),
        (11.72, 0.14, -0.03, 0.29),
        (11.91, 0.15, -0.03, 0.30),
    ]
)


def mass_metallicity(
    low: float = -1.98, high: float = 0.19, solar: float = 0.02
) -> Normal:
    """Return the prior of `log10metallicity` given the mass of the stars.

    It is that of Prospector-alpha (Leja et al. 2019, ApJ 877, 140): a
    truncated normal distribution with the median of the local galaxies of
    Gallazzi et al. (2005, MNRAS 362, 41, table 2) and twice their scatter,
    the difference between the 84th and the 16th percentile. The table is of
    the present mass of the stars; here, as in Prospector, it is applied to
    the mass formed, which is larger by about 0.2 dex.

    Args:
        low (float): The lowest metallicity, log10(Z / solar).
        high (float): The highest metallicity, log10(Z / solar).
        solar (float): The solar metallicity, by default that of the models
            of Gallazzi et al. (2005).

    Returns:
        Normal: The prior, given `stars/log10initial_mass`.

    Examples:
        >>> prior = mass_metallicity()
        >>> mass = np.array([8.0, 9.0, 10.0, 11.0, 12.0])
        >>> prior.quantile(np.full(5, 0.5), mass).round(2)
        array([-2.48, -2.48, -2.34, -1.8 , -1.75])
    """
    check_number("solar of mass_metallicity", solar, 0.0, open_ends=True)
    for name, value in (("low", low), ("high", high)):
        check_number(f"{name} of mass_metallicity", value, -inf)
    mass, median, lower, upper = _GALLAZZI.T
    shift = log10(solar)
    return Normal(
        mean=(median + shift).round(6).tolist(),
        sigma=(upper - lower).round(6).tolist(),
        low=low + shift,
        high=high + shift,
        given={"stars/log10initial_mass": mass.tolist()},
    )


# The relations that a YAML file may name.
RELATIONS: dict[str, Callable[..., Prior]] = {
    "mass_metallicity": mass_metallicity,
}
