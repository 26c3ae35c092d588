"""The variables of a star particle: their units and ranges.

A user names them; flows see them transformed (see `transforms`).
"""

from dataclasses import dataclass

# How a variable is transformed: positive values by the logarithm, values on
# both sides of zero by the inverse hyperbolic sine, ages by the logit of their
# ratio to the age of the universe, and others not at all.
KINDS = ("positive", "signed", "age", "any")


@dataclass(frozen=True)
class Variable:
    """A variable of a star particle.

    Attributes:
        units (str): Its units.
        kind (str): How it is transformed, one of `KINDS`.
        label (str): The label of its axis in figures.
    """

    units: str
    kind: str
    label: str


_POSITION = ("kpc", "signed")
_VELOCITY = ("km/s", "signed")

# Those that Synthesizer's stars have. The mass of a particle depends on the
# resolution of a simulation, so that flows learn its ratio to the mean.
VARIABLES = {
    "x": Variable(*_POSITION, "$x$ / kpc"),
    "y": Variable(*_POSITION, "$y$ / kpc"),
    "z": Variable(*_POSITION, "$z$ / kpc"),
    "vx": Variable(*_VELOCITY, "$v_x$ / km s$^{-1}$"),
    "vy": Variable(*_VELOCITY, "$v_y$ / km s$^{-1}$"),
    "vz": Variable(*_VELOCITY, "$v_z$ / km s$^{-1}$"),
    "age": Variable("Gyr", "age", "age / Gyr"),
    "metallicity": Variable("dimensionless", "positive", "$Z$"),
    "initial_mass": Variable("Msun", "positive", r"$m / \bar m$"),
    "alpha_enhancement": Variable("dimensionless", "any", r"[$\alpha$/Fe]"),
}

POSITIONS = ("x", "y", "z")
VELOCITIES = ("vx", "vy", "vz")
DEFAULT_VARIABLES = (*POSITIONS, "age", "metallicity", "initial_mass")

# Without these there is no spectrum.
NEEDED = ("age", "metallicity")


def get_variable(name: str) -> Variable:
    """Return a variable; one that is not known is any pure number."""
    return VARIABLES.get(name, Variable("dimensionless", "any", name))
