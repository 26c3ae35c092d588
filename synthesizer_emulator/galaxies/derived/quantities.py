"""Derived quantities as pure functions of the masses and light of a galaxy.

They are made of sums over the nodes of the grid, the wavelengths of a spectrum
or emission lines, and of ratios and logarithms of such sums. All are pytrees.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import NamedTuple, Protocol, runtime_checkable

import jax.numpy as jnp
from jax import Array, lax
from jax.tree_util import register_dataclass
from jaxtyping import Float

from synthesizer_emulator.galaxies.matrices import dot


class Galaxy(NamedTuple):
    """What derived quantities are computed from, of one galaxy.

    Attributes:
        masses (Array): The initial mass at each node, solar masses,
            (n_ages, n_Z).
        spectra (Mapping): The luminosity densities by emission, erg/s/Hz,
            (nlam,).
        lines (Mapping): The luminosities of lines by emission, solar
            luminosities, (n_lines,).
        first (int): The index of the first wavelength of the spectra among
            those of the grid.
    """

    masses: Array
    spectra: Mapping[str, Array]
    lines: Mapping[str, Array]
    first: int


@runtime_checkable
class Quantity(Protocol):
    """A pure function of one galaxy."""

    def __call__(self, galaxy: Galaxy) -> Float[Array, ""]:
        """Return the value."""


@register_dataclass
@dataclass(frozen=True, eq=False)
class MassSum:
    """A sum over the initial masses at the nodes.

    Attributes:
        weights (Array): The weights, (n_ages, n_Z), (n_ages, 1) or (1, n_Z).
    """

    weights: Array

    def __call__(self, galaxy: Galaxy) -> Float[Array, ""]:
        """Return the sum."""
        return jnp.sum(galaxy.masses * self.weights)


@register_dataclass
@dataclass(frozen=True, eq=False)
class MedianAge:
    """The age by which half of the mass has formed, one of the nodes.

    As in Synthesizer, it is the mean of two nodes if the older and the
    younger stars have equal masses.

    Attributes:
        ages (Array): The ages of the grid, yr, (n_ages,).
    """

    ages: Array

    def __call__(self, galaxy: Galaxy) -> Float[Array, ""]:
        """Return the age, yr."""
        younger = jnp.cumsum(galaxy.masses.sum(axis=1))
        half = 0.5 * younger[-1]
        last = len(self.ages) - 1
        after = jnp.clip(jnp.sum(younger <= half), 0, last)
        before = jnp.maximum(after - 1, 0)
        halved = (after > 0) & (younger[before] == half)
        mean = 0.5 * (self.ages[before] + self.ages[after])
        age = jnp.where(halved, mean, self.ages[after])
        return jnp.where(half > 0.0, age, jnp.nan)


@register_dataclass
@dataclass(frozen=True, eq=False)
class FormationTime:
    """The lookback time by which a fraction of the mass had formed.

    Stars form at a constant rate within each bin of age, so that it is a
    continuous function of the masses.

    Attributes:
        limits (Array): The limits of the bins, yr, (n_ages + 1,).
        fraction (Array): The fraction, ().
    """

    limits: Array
    fraction: Array

    def __call__(self, galaxy: Galaxy) -> Float[Array, ""]:
        """Return the lookback time, yr."""
        masses = galaxy.masses.sum(axis=1)
        younger = jnp.pad(jnp.cumsum(masses), (1, 0))
        total = younger[-1]
        time = jnp.interp((1.0 - self.fraction) * total, younger, self.limits)
        return jnp.where(total > 0.0, time, jnp.nan)


@register_dataclass
@dataclass(frozen=True, eq=False)
class SpectrumSum:
    """A sum over wavelengths of a spectrum.

    Attributes:
        weights (Array): The weights, (n,).
        emission (str): The label of the emission.
        first (int): The index of the first wavelength in the grid.
    """

    weights: Array
    emission: str = field(metadata={"static": True})
    first: int = field(metadata={"static": True})

    def pixels(self, galaxy: Galaxy) -> Float[Array, " n"]:
        """Return the luminosity densities that are summed, erg/s/Hz."""
        start = self.first - galaxy.first
        return galaxy.spectra[self.emission][start : start + len(self.weights)]

    def __call__(self, galaxy: Galaxy) -> Float[Array, ""]:
        """Return the sum."""
        return dot(self.weights, self.pixels(galaxy))


@register_dataclass
@dataclass(frozen=True, eq=False)
class LineSum:
    """The luminosity of several lines.

    Attributes:
        emission (str): The label of the emission.
        indices (tuple of int): The indices of the lines.
    """

    emission: str = field(metadata={"static": True})
    indices: tuple[int, ...] = field(metadata={"static": True})

    def __call__(self, galaxy: Galaxy) -> Float[Array, ""]:
        """Return the luminosity, solar luminosities."""
        lines = galaxy.lines[self.emission]
        return jnp.sum(jnp.stack([lines[index] for index in self.indices]))


@register_dataclass
@dataclass(frozen=True, eq=False)
class Ratio:
    """The ratio of two quantities, times a factor.

    Attributes:
        numerator (Quantity): The one.
        denominator (Quantity): The other.
        factor (Array): The factor, ().
    """

    numerator: Quantity
    denominator: Quantity
    factor: Array

    def __call__(self, galaxy: Galaxy) -> Float[Array, ""]:
        """Return the ratio; NaN or infinite if the denominator is zero."""
        # In this order, as the factor may be close to the largest number.
        ratio = self.numerator(galaxy) / self.denominator(galaxy)
        return self.factor * ratio


@register_dataclass
@dataclass(frozen=True, eq=False)
class Log10:
    """The decadic logarithm of a quantity, times a factor, plus a constant.

    Attributes:
        quantity (Quantity): The quantity.
        factor (Array): The factor, ().
        constant (Array): The constant, ().
    """

    quantity: Quantity
    factor: Array
    constant: Array

    def __call__(self, galaxy: Galaxy) -> Float[Array, ""]:
        """Return the logarithm; infinite where the quantity is zero."""
        return self.factor * jnp.log10(self.quantity(galaxy)) + self.constant


@register_dataclass
@dataclass(frozen=True, eq=False)
class Slope:
    """The slope of a straight line fitted to log10 lnu, minus two.

    Attributes:
        log_lnu (SpectrumSum): The pixels, and their weights in the slope.
    """

    log_lnu: SpectrumSum

    def __call__(self, galaxy: Galaxy) -> Float[Array, ""]:
        """Return the slope of llam; NaN if a pixel is not positive."""
        lnu = self.log_lnu.pixels(galaxy)
        positive = lnu > 0.0
        # The weights have a sum of zero, so the scale does not matter; near
        # one, logarithms lose the fewest digits.
        scale = lax.stop_gradient(jnp.max(lnu))
        safe = jnp.where(positive, lnu / scale, 1.0)
        slope = dot(self.log_lnu.weights, jnp.log10(safe)) - 2.0
        return jnp.where(jnp.all(positive), slope, jnp.nan)


@register_dataclass
@dataclass(frozen=True, eq=False)
class Index:
    """The equivalent width of a feature below a straight continuum.

    Attributes:
        feature (SpectrumSum): The pixels of the feature, and the weights that
            integrate over them, Angstrom.
        blue (SpectrumSum): The mean bluewards of it, erg/s/Hz.
        red (SpectrumSum): The mean redwards of it, erg/s/Hz.
        position (Array): The positions of the pixels between the centres of
            `blue` (0) and `red` (1), (n,).
    """

    feature: SpectrumSum
    blue: SpectrumSum
    red: SpectrumSum
    position: Array

    def __call__(self, galaxy: Galaxy) -> Float[Array, ""]:
        """Return the equivalent width, Angstrom, positive for absorption."""
        blue, red = self.blue(galaxy), self.red(galaxy)
        continuum = blue + (red - blue) * self.position
        depth = 1.0 - self.feature.pixels(galaxy) / continuum
        return dot(self.feature.weights, depth)
