r"""Analytic galaxies whose density of stars is known in closed form.

They are the truth that flows are tested against, and stand in for a simulation
in examples. A galaxy is an exponential disc that grew from the inside out and
has a metallicity gradient, and a Plummer bulge of old stars.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.stats import beta, norm

from synthesizer_emulator.stars.galaxies import GalaxyStars
from synthesizer_emulator.validation import check_number, check_whole

# The age of the universe of analytic galaxies, Gyr.
UNIVERSE_AGE = 13.8

# The scatter of particle masses in ln, and of metallicities in dex.
_MASS_SCATTER = 0.2
_DISC_SCATTER, _BULGE_SCATTER = 0.15, 0.2

# The sum of the parameters of the beta distributions of ages, and the mean of
# the bulge's, in units of the age of the universe.
_DISC_CONCENTRATION, _BULGE_CONCENTRATION = 5.0, 12.0
_BULGE_AGE = 0.8

# The radius of the bulge in scale lengths of the disc.
_BULGE_RADIUS = 0.3

# The largest age, as the ends of the interval are excluded.
_EDGE = 1e-7


@dataclass(frozen=True)
class AnalyticGalaxy:
    r"""A galaxy of an exponential disc and a Plummer bulge.

    With the age $a$ in units of the age of the universe (13.8 Gyr) and the
    scale length $R_d = 3\,\mathrm{kpc}\,(M/10^{10.5})^{1/4}$, the disc has

    - ages of a beta distribution with the mean `disc_age`,
    - an exponential surface density with the scale length $R_d (1.3 - 0.6 a)$,
    - a $\mathrm{sech}^2(z/h)$ profile with $h = 0.1 R_d (0.5 + a)$,
    - $\log_{10} Z$ of a normal distribution about
      $\mu - 0.1 R/R_d - 0.4 a$ with a scatter of 0.15, where
      $\mu = -1.5 + 0.3 \log_{10}(M/10^{10.5})$,

    and the bulge

    - ages of a beta distribution with the mean 0.8,
    - the density of Plummer (1911, MNRAS 71, 460), with the radius
      $0.3 R_d$,
    - $\log_{10} Z$ about $\mu - 0.2$ with a scatter of 0.2.

    The masses of particles scatter by 0.2 in $\ln m$.

    Attributes:
        stellar_mass (float): The initial mass of all stars, Msun.
        bulge_fraction (float): The fraction of the stars in the bulge.
        disc_age (float): The mean age of the disc in units of the age of the
            universe.
    """

    stellar_mass: float
    bulge_fraction: float
    disc_age: float

    def __post_init__(self) -> None:
        """Check the parameters.

        Raises:
            InconsistentArguments: If one is out of range.
        """
        check_number("stellar_mass", self.stellar_mass, 0.0, open_ends=True)
        check_number("bulge_fraction", self.bulge_fraction, 0.0, 1.0)
        check_number("disc_age", self.disc_age, 0.0, 1.0, True)

    @classmethod
    def draw_many(
        cls, n: int, rng: np.random.Generator
    ) -> list["AnalyticGalaxy"]:
        """Draw galaxies of 10^9.5 to 10^11 Msun.

        Args:
            n (int): The number of galaxies.
            rng (np.random.Generator): The source of random numbers.

        Returns:
            list of AnalyticGalaxy: The galaxies, uniform in the logarithm of
                the mass, in bulge fractions up to 0.6, and in ages of the
                disc of 0.3 to 0.6.
        """
        return [
            cls(10.0**mass, bulge, age)
            for mass, bulge, age in rng.uniform(
                [9.5, 0.0, 0.3], [11.0, 0.6, 0.6], (n, 3)
            )
        ]

    @property
    def scale_length(self) -> float:
        """The scale length of the disc, kpc."""
        return 3.0 * (self.stellar_mass / 10**10.5) ** 0.25

    def draw(self, n: int, rng: np.random.Generator) -> GalaxyStars:
        """Draw star particles.

        Args:
            n (int): The number of stars.
            rng (np.random.Generator): The source of random numbers.

        Returns:
            GalaxyStars: The stars, with the parameters of this galaxy as
                further properties.
        """
        check_whole("n", n, 1)
        in_bulge = rng.random(n) < self.bulge_fraction
        age = np.where(
            in_bulge,
            rng.beta(*_parameters(_BULGE_AGE, _BULGE_CONCENTRATION), n),
            rng.beta(*_parameters(self.disc_age, _DISC_CONCENTRATION), n),
        ).clip(_EDGE, 1.0 - _EDGE)
        length, height = self._lengths(age)
        radius = length * rng.gamma(2.0, size=n)
        angle = rng.uniform(0.0, 2.0 * np.pi, n)
        z = height * np.arctanh(rng.uniform(-1.0, 1.0, n))
        disc = [radius * np.cos(angle), radius * np.sin(angle), z]
        direction = rng.normal(size=(3, n))
        direction /= np.linalg.norm(direction, axis=0)
        # The inverse of the mass within a radius.
        distance = _BULGE_RADIUS / np.sqrt(rng.random(n) ** (-2.0 / 3.0) - 1.0)
        bulge = self.scale_length * distance * direction
        x, y, z = np.where(in_bulge, bulge, disc)
        mean = np.where(in_bulge, *self._metallicities(np.hypot(x, y), age))
        scatter = np.where(in_bulge, _BULGE_SCATTER, _DISC_SCATTER)
        mass = rng.lognormal(-(_MASS_SCATTER**2) / 2.0, _MASS_SCATTER, n)
        return GalaxyStars(
            columns={
                "x": x,
                "y": y,
                "z": z,
                "age": age * UNIVERSE_AGE,
                "metallicity": 10.0 ** rng.normal(mean, scatter),
                "initial_mass": self.stellar_mass * mass / n,
            },
            properties={
                "bulge_fraction": self.bulge_fraction,
                "disc_age": self.disc_age,
            },
            universe_age=UNIVERSE_AGE,
        )

    def log_density(self, stars: GalaxyStars) -> NDArray[np.float64]:
        """Return the logarithm of the density of stars.

        Args:
            stars (GalaxyStars): The stars, all of this galaxy.

        Returns:
            np.ndarray of float: The logarithm of the probability density in
                position (kpc), age (Gyr), metallicity, and mass in units of
                the mean mass of a particle, (n,).
        """
        columns = stars.columns
        x, y, z = (columns[name] for name in "xyz")
        age = columns["age"] / UNIVERSE_AGE
        radius = np.hypot(x, y)
        length, height = self._lengths(age)
        log_disc = (
            beta.logpdf(age, *_parameters(self.disc_age, _DISC_CONCENTRATION))
            - radius / length
            - np.log(2.0 * np.pi * length**2)
            - 2.0 * _log_cosh(z / height)
            - np.log(2.0 * height)
        )
        plummer = _BULGE_RADIUS * self.scale_length
        log_bulge = (
            beta.logpdf(age, *_parameters(_BULGE_AGE, _BULGE_CONCENTRATION))
            - 2.5 * np.log1p((radius**2 + z**2) / plummer**2)
            - np.log(4.0 * np.pi / 3.0 * plummer**3)
        )
        metallicity = np.log10(columns["metallicity"])
        bulge_mean, disc_mean = self._metallicities(radius, age)
        log_disc += norm.logpdf(metallicity, disc_mean, _DISC_SCATTER)
        log_bulge += norm.logpdf(metallicity, bulge_mean, _BULGE_SCATTER)
        mass = np.log(stars.relative_masses)
        with np.errstate(divide="ignore"):
            fractions = np.log([self.bulge_fraction, 1 - self.bulge_fraction])
        return (
            np.logaddexp(fractions[0] + log_bulge, fractions[1] + log_disc)
            - np.log(columns["metallicity"] * np.log(10.0))
            + norm.logpdf(mass, -(_MASS_SCATTER**2) / 2.0, _MASS_SCATTER)
            - mass
            - np.log(UNIVERSE_AGE)
        )

    def _lengths(
        self, age: NDArray[np.float64]
    ) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """Return the scale length and the scale height at ages, kpc."""
        length = self.scale_length
        return length * (1.3 - 0.6 * age), 0.1 * length * (0.5 + age)

    def _metallicities(
        self, radius: NDArray[np.float64], age: NDArray[np.float64]
    ) -> tuple[float, NDArray[np.float64]]:
        """Return the mean of log10 Z in the bulge and in the disc."""
        young = -1.5 + 0.3 * np.log10(self.stellar_mass / 10**10.5)
        gradient = 0.1 * radius / self.scale_length
        return young - 0.2, young - gradient - 0.4 * age


def _parameters(mean: float, concentration: float) -> tuple[float, float]:
    """Return the parameters of a beta distribution."""
    return mean * concentration, (1.0 - mean) * concentration


def _log_cosh(x: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return ln cosh, without overflow."""
    return np.logaddexp(x, -x) - np.log(2.0)
