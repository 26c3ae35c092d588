r"""A world of spectra that are composed of known parts.

A spectrum is a black body of temperature $T$, with the lines of several
components, such as elements, each with an abundance $a_k$. With the profile
$\tau_k(\lambda)$ of a component, the sum of its Gaussian lines,

$$f = \hat B_\lambda(T) \prod_k e^{-a_k \tau_k} \quad\text{or}\quad
  f = \hat B_\lambda(T) + \sum_k a_k \tau_k,$$

multiplicative (absorption) or additive (emission), where $\hat B$ has a mean
of one. A model that has seen the components alone must compose them.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import combinations

import jax.numpy as jnp
import numpy as np
from jax import Array
from jaxtyping import Float
from numpy.typing import NDArray
from synthesizer.exceptions import InconsistentArguments
from unyt import c, h, kb

from synthesizer_emulator.emulator.scaling import AxisDomain
from synthesizer_emulator.gridfile.header import Axis
from synthesizer_emulator.validation import (
    check_choice,
    check_number,
    check_whole,
    nearest,
)

TEMPERATURE = "temperature"

# The name of spectra without any component, and what joins the others.
NONE, JOIN = "none", "+"

KINDS = ("multiplicative", "additive")

# The second radiation constant, Angstrom K.
_HC_OVER_K = float((h * c / kb).to_value("angstrom*K"))

# The ranges of the widths (Angstrom, standard deviation) and of the strengths
# of lines, and of abundances if a component is present.
_WIDTHS = (20.0, 120.0)
_STRENGTHS = (0.2, 1.0)
_ABUNDANCES = (0.1, 1.0)


@dataclass(frozen=True)
class World:
    """The parts of spectra, and the ranges of their labels.

    Attributes:
        components (tuple of str): The names of the components.
        lines (int): The number of lines, dealt to the components in turn.
        bins (int): The number of wavelengths.
        lam_lims (tuple of float): Their range, Angstrom.
        temperatures (tuple of float): The range of temperatures, K.
        kind (str): `multiplicative` or `additive` lines.
        noise (tuple of float): The range of the noise, relative to the flux;
            that of each spectrum is log-uniform.
        seed (int): The seed of the lines.

    Examples:
        >>> world = World(bins=100)
        >>> world.labels
        ('temperature', 'iron', 'magnesium')
        >>> world.spectrum(np.array([5000.0, 0.5, 0.0])).shape
        (100,)
    """

    components: tuple[str, ...] = ("iron", "magnesium")
    lines: int = 20
    bins: int = 1024
    lam_lims: tuple[float, float] = (3000.0, 12000.0)
    temperatures: tuple[float, float] = (3000.0, 7000.0)
    kind: str = "multiplicative"
    noise: tuple[float, float] = (0.01, 0.15)
    seed: int = 0

    def __post_init__(self) -> None:
        """Check the settings.

        Raises:
            InconsistentArguments: If a setting is out of range.
        """
        names = self.components
        if len(names) < 2 or len(set(names)) != len(names):
            raise InconsistentArguments(
                "components must be two or more different names, got "
                f"{', '.join(map(str, names)) or 'none'}."
            )
        for name in names:
            if name in (NONE, TEMPERATURE) or JOIN in name:
                raise InconsistentArguments(
                    f"components must not be called '{NONE}' or "
                    f"'{TEMPERATURE}', nor contain '{JOIN}'; got '{name}'."
                )
        check_whole("lines", self.lines, len(names))
        check_whole("bins", self.bins, 16)
        check_choice("kind", self.kind, KINDS)
        check_whole("seed", self.seed, 0)
        for setting in ("lam_lims", "temperatures", "noise"):
            low, high = getattr(self, setting)
            check_number(f"the lower end of {setting}", low, 0.0)
            if not low < high:
                raise InconsistentArguments(
                    f"{setting} must ascend, got {low:g} and {high:g}."
                )
        check_number("the lower end of noise", self.noise[0], 0.0, 1.0, True)

    @property
    def labels(self) -> tuple[str, ...]:
        """The names of the labels: the temperature and the components."""
        return (TEMPERATURE, *self.components)

    @property
    def axes(self) -> tuple[Axis, ...]:
        """The labels as axes, with the ends of their ranges as values."""
        ends = [self.temperatures, *[(0.0, 1.0)] * len(self.components)]
        units = ["K", *["dimensionless"] * len(self.components)]
        return tuple(
            Axis(name, np.array(end, np.float64), unit, False)
            for name, end, unit in zip(self.labels, ends, units, strict=True)
        )

    @property
    def domain(self) -> tuple[AxisDomain, ...]:
        """The ranges of the labels, all scaled linearly."""
        return tuple(
            AxisDomain(
                axis.name,
                float(axis.values[0]),
                float(axis.values[1]),
                "linear",
            )
            for axis in self.axes
        )

    @property
    def lam(self) -> NDArray[np.float64]:
        """The wavelengths, Angstrom, (n,)."""
        return np.linspace(*self.lam_lims, self.bins)

    @cached_property
    def line_list(self) -> dict[str, NDArray[np.float64]]:
        """The centres, widths and strengths of all lines, (n_lines,).

        The line i is of the component i modulo their number.
        """
        rng = np.random.default_rng(self.seed)
        low, high = self.lam_lims
        edge = 0.03 * (high - low)
        return {
            "centres": rng.uniform(low + edge, high - edge, self.lines),
            "widths": rng.uniform(*_WIDTHS, self.lines),
            "strengths": rng.uniform(*_STRENGTHS, self.lines),
        }

    @cached_property
    def profiles(self) -> NDArray[np.float64]:
        """The sum of the lines of each component, (k, n)."""
        lines = self.line_list
        x = (self.lam - lines["centres"][:, None]) / lines["widths"][:, None]
        each = lines["strengths"][:, None] * np.exp(-0.5 * x**2)
        n = len(self.components)
        return np.array([each[i::n].sum(axis=0) for i in range(n)])

    def spectrum(self, labels: Float[Array, " d"]) -> Float[Array, " n"]:
        """Return the spectrum without noise of one set of labels.

        A pure JAX function.

        Args:
            labels (Array): The temperature in K, and the abundances, (d,).
        """
        labels = jnp.asarray(labels, float)
        lam = jnp.asarray(self.lam, float)
        micron = lam / 1e4
        planck = micron**-5 / jnp.expm1(_HC_OVER_K / (lam * labels[0]))
        planck = planck / planck.mean()
        profiles = jnp.asarray(self.profiles, float)
        lines = (labels[1:, None] * profiles).sum(axis=0)
        if self.kind == "additive":
            return planck + lines
        return planck * jnp.exp(-lines)

    @property
    def combinations(self) -> tuple[str, ...]:
        """The names of all combinations of components, from none to all."""
        names = self.components
        return tuple(
            JOIN.join(chosen) or NONE
            for n in range(len(names) + 1)
            for chosen in combinations(names, n)
        )

    def present(self, combination: str) -> NDArray[np.bool_]:
        """Return which components a combination has, (k,).

        Raises:
            InconsistentArguments: If a component is unknown.
        """
        if combination == NONE:
            return np.zeros(len(self.components), bool)
        names = [name.strip() for name in combination.split(JOIN)]
        for name in names:
            if name not in self.components or names.count(name) > 1:
                raise InconsistentArguments(
                    f"A combination must be '{NONE}', or of each of "
                    f"{', '.join(self.components)} at most once, joined by "
                    f"'{JOIN}'; got '{combination}'."
                    + nearest(name, self.components)
                )
        return np.array([name in names for name in self.components])

    def draw(
        self, weights: Mapping[str, float], n: int, rng: np.random.Generator
    ) -> NDArray[np.float64]:
        """Draw labels of combinations, in random order.

        Args:
            weights (Mapping): The weight of each combination, by name.
            n (int): The number of samples, divided by the weights.
            rng (np.random.Generator): The random numbers.

        Returns:
            np.ndarray of float: The labels, (n, d).
        """
        counts = _divided(n, list(weights.values()))
        present = np.repeat(
            [self.present(name) for name in weights], counts, axis=0
        )
        abundances = rng.uniform(*_ABUNDANCES, present.shape)
        labels = np.column_stack(
            [
                rng.uniform(*self.temperatures, n),
                np.where(present, abundances, 0.0),
            ]
        )
        return rng.permutation(labels)

    def add_noise(
        self, spectra: NDArray[np.float64], rng: np.random.Generator
    ) -> NDArray[np.float64]:
        """Return spectra (m, n) with Gaussian noise, not below zero."""
        low, high = np.log(self.noise)
        level = np.exp(rng.uniform(low, high, (len(spectra), 1)))
        noisy = spectra * (1.0 + level * rng.normal(size=spectra.shape))
        return np.maximum(noisy, 0.0)


def combination_of(
    labels: NDArray[np.float64], world: World
) -> NDArray[np.str_]:
    """Return the name of the combination of each set of labels, (m,)."""
    names = np.array(world.components)
    return np.array(
        [JOIN.join(names[row > 0.0]) or NONE for row in labels[:, 1:]], str
    )


def _divided(n: int, weights: Sequence[float]) -> NDArray[np.int_]:
    """Divide n by weights; remainders go to the largest fractions."""
    shares = n * np.asarray(weights, np.float64) / np.sum(weights)
    counts = np.floor(shares).astype(int)
    order = np.argsort(counts - shares, kind="stable")
    counts[order[: n - counts.sum()]] += 1
    return counts
