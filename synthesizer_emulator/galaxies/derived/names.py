"""The names of derived quantities, with their units and definitions.

A name is one of `DERIVED`, followed by its arguments, each after an
underscore, and by the emission it is measured of, after a slash: `sfr_100Myr`,
`beta_1250_3000/incident`. Python, YAML and the command line have the same
names.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass

import jax.numpy as jnp
import numpy as np
from jax import Array
from synthesizer.conversions import lnu_to_absolute_mag
from synthesizer.emissions.line_ratios import ratios
from synthesizer.exceptions import InconsistentArguments
from unyt import Hz, erg, s

from synthesizer_emulator.galaxies.derived.needs import Needs
from synthesizer_emulator.galaxies.derived.quantities import (
    FormationTime,
    Log10,
    MedianAge,
    Quantity,
    Ratio,
)
from synthesizer_emulator.galaxies.derived.weights import (
    FAR_UV,
    FAR_UV_WIDTH,
    IONISING,
    PHOTONS_LOG10,
    far_uv_lnu,
    mean_rate,
    photon_rate,
)
from synthesizer_emulator.galaxies.integrals import bin_limits
from synthesizer_emulator.units import PURE, in_stated_units, parse_quantity
from synthesizer_emulator.validation import INPUT_ERRORS, nearest

# The emission of stars before gas and dust, which produces ionising photons.
INCIDENT = "incident"

# Stands for the emission of the root of the model.
ROOT = ""

# The windows of Synthesizer's `Sed`, Angstrom: bluewards, then redwards.
_BREAKS = {
    "Bruzual83": (3750.0, 3950.0, 4050.0, 4250.0),
    "Balogh": (3850.0, 3950.0, 4000.0, 4100.0),
}
_BALMER = (3400.0, 3600.0, 4150.0, 4250.0)
_SLOPE = (1250.0, 3000.0)


@dataclass(frozen=True)
class Derived:
    """A kind of derived quantity.

    Attributes:
        units (str): The units of its values.
        meaning (str): What it is.
        make (callable): Makes the function of one galaxy, from `Needs`, the
            label of the emission, and the arguments in the name.
        forms (tuple of str): Names with arguments, as examples; empty if it
            has none.
        emission (str): The emission that it is measured of unless its name
            has one, `ROOT` for that of the model; None if it depends on the
            masses of stars only.
    """

    units: str
    meaning: str
    make: Callable[..., Quantity]
    forms: tuple[str, ...] = ()
    emission: str | None = None


@dataclass(frozen=True)
class Name:
    """The parts of a name.

    Attributes:
        text (str): The whole name.
        kind (str): A key of `DERIVED`.
        arguments (tuple of str): The arguments.
        emission (str): The label of the emission, as `Derived.emission`.
    """

    text: str
    kind: str
    arguments: tuple[str, ...]
    emission: str | None

    @classmethod
    def parse(cls, text: str) -> "Name":
        """Take a name apart.

        Raises:
            InconsistentArguments: If no derived quantity has that name.
        """
        measured, slash, label = text.partition("/")
        kind = next((k for k in _LONGEST if _begins(measured, k)), None)
        if kind is None:
            # Those with arguments are suggested with them.
            forms = [d.forms or (k,) for k, d in DERIVED.items()]
            names = [name for form in forms for name in form]
            raise InconsistentArguments(
                f"There is no derived quantity '{text}'; there are "
                f"{', '.join(names)}." + nearest(measured, [*names, *DERIVED])
            )
        derived = DERIVED[kind]
        if slash and (derived.emission is None or not label):
            raise InconsistentArguments(
                f"'{text}' names no emission after the slash."
                if derived.emission is not None
                else f"'{kind}' depends on the masses of stars, not on an "
                f"emission, got '{text}'. Omit '/{label}'."
            )
        arguments = tuple(measured[len(kind) :].split("_")[1:])
        return cls(text, kind, arguments, label or derived.emission)

    @property
    def units(self) -> str:
        """The units of the quantity."""
        return DERIVED[self.kind].units

    def make(self, needs: Needs, root: str) -> Quantity:
        """Return the quantity as a function of one galaxy.

        Args:
            needs (Needs): The grid, and the record of what is needed.
            root (str): The emission of the model.

        Raises:
            InconsistentArguments: If the arguments in the name are not those
                of the quantity, or the grid lacks wavelengths.
            MissingSpectraType: If the model lacks the emission.
            GridError: If the grid lacks stellar fractions.
        """
        derived, label = DERIVED[self.kind], self.emission or root
        if self.emission is not None:
            needs.check_emission(self.text, label)
        try:
            return derived.make(needs, label, *self.arguments)
        except _ArgumentError as error:
            forms = " or ".join(derived.forms) or self.kind
            raise InconsistentArguments(
                f"'{self.text}' must have the form {forms}{error}."
            ) from error
        except InconsistentArguments as error:
            raise InconsistentArguments(
                f"'{self.text}' can't be measured: {_sentence(error)}."
            ) from error


class _ArgumentError(Exception):
    """The arguments in a name are invalid; the text says why."""


def units_of_derived(text: str) -> str:
    """Return the units of a derived quantity, in unyt's notation.

    Raises:
        InconsistentArguments: If no derived quantity has that name.

    Examples:
        >>> units_of_derived("ssfr_100Myr")
        '1/yr'
    """
    return Name.parse(text).units


def _surviving_mass(needs: Needs, label: str, *arguments: str) -> Quantity:
    _check_none(arguments)
    return needs.mass_sum(needs.grid.stellar_fraction)


def _sfr(needs: Needs, label: str, *arguments: str) -> Quantity:
    start, end = _times(arguments)
    oldest = needs.ages[-1]
    if end > oldest:
        raise _ArgumentError(
            f", with times up to the oldest age of the grid, {oldest:.4g} yr, "
            f"got {end:.4g} yr"
        )
    return needs.mass_sum(mean_rate(needs.ages, start, end))


def _ssfr(needs: Needs, label: str, *arguments: str) -> Quantity:
    return _ratio(
        _sfr(needs, label, *arguments), _surviving_mass(needs, label)
    )


def _mass_weighted_age(needs: Needs, label: str, *arguments: str) -> Quantity:
    _check_none(arguments)
    return _ratio(needs.mass_sum(needs.ages), _mass(needs))


def _mass_weighted_metallicity(
    needs: Needs, label: str, *arguments: str
) -> Quantity:
    _check_none(arguments)
    metallicities = np.asarray(needs.grid.metallicities, np.float64)
    return _ratio(needs.mass_sum(metallicities[None]), _mass(needs))


def _median_age(needs: Needs, label: str, *arguments: str) -> Quantity:
    _check_none(arguments)
    return MedianAge(_scalar(needs.ages))


def _formation_time(needs: Needs, label: str, *arguments: str) -> Quantity:
    (percent,) = _numbers(arguments, 1)
    if not 0.0 < percent < 100.0:
        raise _ArgumentError(f", with a percentage, got {percent:g}")
    return FormationTime(
        _scalar(bin_limits(needs.ages)), _scalar(percent / 100.0)
    )


def _photons(needs: Needs, label: str) -> Quantity:
    return needs.spectrum_sum(label, 0.0, IONISING, photon_rate)


def _photon_rate(needs: Needs, label: str, *arguments: str) -> Quantity:
    _check_none(arguments)
    return Log10(_photons(needs, label), _scalar(1.0), _scalar(PHOTONS_LOG10))


def _xi_ion(needs: Needs, label: str, *arguments: str) -> Quantity:
    _check_none(arguments)
    needs.check_emission("xi_ion", INCIDENT)
    return Ratio(
        _photons(needs, INCIDENT),
        _far_uv(needs, label),
        _scalar(10.0**PHOTONS_LOG10),
    )


def _far_uv(needs: Needs, label: str) -> Quantity:
    half = FAR_UV_WIDTH / 2.0
    return needs.spectrum_sum(label, FAR_UV - half, FAR_UV + half, far_uv_lnu)


def _magnitude(needs: Needs, label: str, *arguments: str) -> Quantity:
    _check_none(arguments)
    # That of 1 erg/s/Hz.
    zero = float(lnu_to_absolute_mag(1.0 * erg / s / Hz))
    return Log10(_far_uv(needs, label), _scalar(-2.5), _scalar(zero))


def _beta(needs: Needs, label: str, *arguments: str) -> Quantity:
    edges = _windows(arguments, 2, 4) if arguments else _SLOPE
    if len(edges) == 2:
        return needs.slope(label, *edges)
    step = np.log10(np.mean(edges[:2]) / np.mean(edges[2:]))
    return Log10(
        _ratio(
            needs.window(label, *edges[:2]), needs.window(label, *edges[2:])
        ),
        _scalar(1.0 / step),
        _scalar(-2.0),
    )


def _d4000(needs: Needs, label: str, *arguments: str) -> Quantity:
    definition, *more = arguments or ("Bruzual83",)
    if more or definition not in _BREAKS:
        raise _ArgumentError("")
    return _break(needs, label, _BREAKS[definition])


def _balmer_break(needs: Needs, label: str, *arguments: str) -> Quantity:
    _check_none(arguments)
    return _break(needs, label, _BALMER)


def _break(needs: Needs, label: str, edges: tuple[float, ...]) -> Quantity:
    return _ratio(
        needs.window(label, *edges[2:]), needs.window(label, *edges[:2])
    )


def _index(needs: Needs, label: str, *arguments: str) -> Quantity:
    return needs.index(label, _windows(arguments, 6))


def _line_ratio(above: str, below: str) -> Callable[..., Quantity]:
    """Return what makes the ratio of two blends of lines."""

    def make(needs: Needs, label: str, *arguments: str) -> Quantity:
        _check_none(arguments)
        one, other = (
            needs.line_sum(label, [line.strip() for line in ids.split(",")])
            for ids in (above, below)
        )
        return _ratio(one, other)

    return make


# The derived quantities, by name.
DERIVED: Mapping[str, Derived] = {
    "surviving_mass": Derived(
        "Msun", "the mass of the stars that survive", _surviving_mass
    ),
    "sfr": Derived(
        "Msun/yr",
        "the mean star formation rate since a lookback time, or between two",
        _sfr,
        ("sfr_100Myr", "sfr_10Myr_100Myr"),
    ),
    "ssfr": Derived(
        "1/yr",
        "the star formation rate over the surviving mass",
        _ssfr,
        ("ssfr_100Myr", "ssfr_10Myr_100Myr"),
    ),
    "mass_weighted_age": Derived(
        "yr",
        "the mean age, weighted by initial mass",
        _mass_weighted_age,
    ),
    "mass_weighted_metallicity": Derived(
        PURE,
        "the mean metallicity, weighted by initial mass",
        _mass_weighted_metallicity,
    ),
    "median_age": Derived(
        "yr",
        "the median age, weighted by initial mass, a node of the grid",
        _median_age,
    ),
    "formation_time": Derived(
        "yr",
        "the lookback time by which a percentage of the mass had formed",
        _formation_time,
        ("formation_time_50",),
    ),
    "log10ionising_photon_rate": Derived(
        "log10(1/s)",
        "the rate of photons that ionise hydrogen",
        _photon_rate,
        emission=INCIDENT,
    ),
    "xi_ion": Derived(
        "Hz/erg",
        "the ionising photon production efficiency: the rate of ionising "
        "photons of the incident emission over the luminosity density at "
        "1500 Angstrom",
        _xi_ion,
        emission=INCIDENT,
    ),
    "M_UV": Derived(
        PURE,
        "the absolute AB magnitude at 1500 Angstrom",
        _magnitude,
        emission=ROOT,
    ),
    "beta": Derived(
        PURE,
        "the ultraviolet slope of llam",
        _beta,
        ("beta", "beta_1250_3000", "beta_1250_1750_2250_2750"),
        emission=ROOT,
    ),
    "d4000": Derived(
        PURE,
        "the 4000 Angstrom break",
        _d4000,
        ("d4000", "d4000_Bruzual83", "d4000_Balogh"),
        emission=ROOT,
    ),
    "balmer_break": Derived(
        PURE, "the Balmer break", _balmer_break, emission=ROOT
    ),
    "index": Derived(
        "angstrom",
        "the equivalent width of a feature, with windows of the continuum "
        "bluewards and redwards of it",
        _index,
        ("index_4083_4122_4041_4081_4128_4161",),
        emission=ROOT,
    ),
    **{
        name: Derived(
            PURE,
            f"the ratio of {above} to {below}",
            _line_ratio(above, below),
            emission=ROOT,
        )
        for name, (above, below) in ratios.items()
    },
}

_LONGEST = sorted(DERIVED, key=len, reverse=True)


def _begins(measured: str, kind: str) -> bool:
    """Whether a name without its emission is one of a kind."""
    return measured == kind or measured.startswith(f"{kind}_")


def _check_none(arguments: tuple[str, ...]) -> None:
    """Raise if a quantity without arguments has some."""
    if arguments:
        raise _ArgumentError("")


def _sentence(error: Exception) -> str:
    """Return the text of an error, without the full stop."""
    return str(error).strip().rstrip(".")


def _times(arguments: tuple[str, ...]) -> tuple[float, float]:
    """Return the lookback times of a window, yr, the later time first."""
    if not 1 <= len(arguments) <= 2:
        raise _ArgumentError("")
    try:
        times = [
            float(in_stated_units("a time", parse_quantity(text), "yr"))
            for text in arguments
        ]
    except INPUT_ERRORS as error:
        raise _ArgumentError(f": {_sentence(error)}") from error
    start, end = times if len(times) == 2 else (0.0, *times)
    if not start < end:
        raise _ArgumentError(
            f", with ascending times above zero, got {start:g} and {end:g} yr"
        )
    return start, end


def _numbers(arguments: tuple[str, ...], *counts: int) -> tuple[float, ...]:
    """Return arguments as numbers."""
    try:
        numbers = tuple(map(float, arguments))
    except ValueError as error:
        raise _ArgumentError(f": {error}") from error
    if len(numbers) not in counts or not np.isfinite(numbers).all():
        raise _ArgumentError("")
    return numbers


def _windows(arguments: tuple[str, ...], *counts: int) -> tuple[float, ...]:
    """Return the edges of windows, Angstrom."""
    edges = _numbers(arguments, *counts)
    for low, high in zip(edges[::2], edges[1::2], strict=True):
        if not 0.0 < low < high:
            raise _ArgumentError(
                f", with ascending wavelengths in Angstrom, got {low:g} and "
                f"{high:g}"
            )
    return edges


def _mass(needs: Needs) -> Quantity:
    """Return the initial mass."""
    return needs.mass_sum(np.ones_like(needs.ages))


def _ratio(numerator: Quantity, denominator: Quantity) -> Quantity:
    """Return a ratio without a factor."""
    return Ratio(numerator, denominator, _scalar(1.0))


def _scalar(value: object) -> Array:
    """Return a number, or an array of numbers, as JAX's default floats."""
    return jnp.asarray(value, float)
