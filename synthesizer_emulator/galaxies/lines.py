"""Emission lines as pure functions of the parameters of one galaxy.

`compile_lines` translates a tree of Synthesizer's stellar emission models as
`compile_model` does, with the luminosities of lines and the continua at them
in place of spectra. Escape fractions and transmission through dust are those
at the wavelengths of the lines.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any, NamedTuple

import jax.numpy as jnp
from jax import Array, lax
from jax.tree_util import register_dataclass
from jax.typing import ArrayLike
from jaxtyping import Float
from synthesizer.emission_models import EmissionModel
from unyt import Hz, Lsun, angstrom, c, erg, s

from synthesizer_emulator.galaxies.emission import EmissionFunction, Evaluation
from synthesizer_emulator.galaxies.products import Sums, summed
from synthesizer_emulator.galaxies.translate import (
    TOLERANCE,
    assemble,
    compile_model,
    translated,
    warn_of_unused,
)
from synthesizer_emulator.galaxies.tree import EmissionTree
from synthesizer_emulator.validation import check_names, check_number

# The equivalent width, Angstrom, of 1 Lsun on 1 erg/s/Hz at 1 Angstrom.
_WIDTH = float(
    ((1.0 * Lsun) / (1.0 * erg / s / Hz) * angstrom**2 / c).to_value(angstrom)
)

# The tolerance of lines relative to that of bands, in which errors of several
# lines average out.
_STRICTER = 0.25


class LineEmission(NamedTuple):
    """The lines of one emission, named as in Synthesizer's `LineCollection`.

    Attributes:
        luminosity (Array): The luminosities, solar luminosities, as single
            precision can't hold those of galaxies in erg/s, (n_lines,).
        continuum (Array): The continuum at the lines, erg/s/Hz, (n_lines,).
        equivalent_width (Array): The equivalent widths in the rest frame,
            Angstrom, positive for emission, (n_lines,).
    """

    luminosity: Float[Array, " n_lines"]
    continuum: Float[Array, " n_lines"]
    equivalent_width: Float[Array, " n_lines"]


@register_dataclass
@dataclass(frozen=True, eq=False)
class LineFunction:
    """The lines of an emission model as a pure function of one galaxy.

    A pytree, made by `compile_lines`. Pass it as an argument to functions
    that you compile.

    Attributes:
        luminosity (EmissionFunction): The luminosities, solar luminosities.
        continuum (EmissionFunction): The continua at the lines, erg/s/Hz.
        heating (EmissionFunction): The spectra of the emissions that heat
            dust; None if no dust emits, or they are given.
        ids (tuple of str): The ids of the lines.
    """

    luminosity: EmissionFunction
    continuum: EmissionFunction
    heating: EmissionFunction | None
    ids: tuple[str, ...] = field(metadata={"static": True})

    def __repr__(self) -> str:
        """Return the emissions, parameters and lines, without the arrays."""
        return (
            f"LineFunction(emissions={self.emissions}, "
            f"parameters={self.parameters}, lines={list(self.ids)})"
        )

    @property
    def lam(self) -> Array:
        """The wavelengths, Angstrom; the mean for blends, (n_lines,)."""
        return self.continuum.lam

    @property
    def emissions(self) -> tuple[str, ...]:
        """The labels of the emissions returned."""
        return self.continuum.emissions

    @property
    def nodes(self) -> tuple[int, ...]:
        """The shape of an SFZH, (n_ages, n_Z)."""
        return self.continuum.nodes

    @property
    def parameters(self) -> tuple[str, ...]:
        """The names of the parameters that vary between galaxies."""
        names = {name for part in self._parts for name in part.parameters}
        return tuple(sorted(names))

    def plain(
        self, parameters: Mapping[str, ArrayLike]
    ) -> dict[str, ArrayLike]:
        """Return parameters as plain numbers, as `EmissionFunction.plain`."""
        plain = dict(parameters)
        for part in self._parts:
            plain = part.plain(plain)
        return plain

    def check_stated(self, parameters: Mapping[str, ArrayLike]) -> None:
        """Check units, as `EmissionFunction.check_stated`."""
        for part in self._parts:
            part.check_stated(parameters)

    @property
    def _parts(self) -> tuple[EmissionFunction, ...]:
        parts = self.luminosity, self.continuum, self.heating
        return tuple(part for part in parts if part is not None)

    def lines(
        self,
        sfzh: Array,
        parameters: Mapping[str, ArrayLike],
        heating: Evaluation | None = None,
    ) -> dict[str, LineEmission]:
        """Return the lines of each emission of one galaxy.

        Args:
            sfzh (Array): The initial stellar mass at each node of the grid,
                solar masses, (n_ages, n_Z).
            parameters (Mapping): The parameters, as for
                `EmissionFunction.spectra`.
            heating (Evaluation): The spectra of the same galaxy, if they are
                evaluated already; by default those of `heating`.

        Returns:
            dict: The `LineEmission` for each label of `emissions`.

        Raises:
            MissingAttribute: If a parameter is missing.
            IncorrectUnits: If a parameter has the wrong units.
            InconsistentArguments: If the shape of `sfzh` is not `nodes`.
        """
        if heating is None and self.heating is not None:
            heating = self.heating.evaluation(sfzh, parameters)
        luminosities = self.luminosity.spectra(sfzh, parameters)
        galaxy = self.continuum.evaluation(sfzh, parameters, heating)
        found = {}
        for label, luminosity in luminosities.items():
            continuum = galaxy.emission(label)
            width = equivalent_width(luminosity, continuum, self.lam)
            found[label] = LineEmission(luminosity, continuum, width)
        return found


def compile_lines(
    model: EmissionModel,
    lines: str | Iterable[str],
    emissions: str | Iterable[str] | None = None,
    varying: str | Iterable[str] = (),
    fixed: Mapping[str, Any] | None = None,
    tolerance: float = TOLERANCE,
) -> LineFunction:
    """Translate the lines of an emission model to a pure function.

    The lines are those of Synthesizer's `get_lines`: escape fractions and
    dust act on their luminosities and on the continuum at their wavelengths.
    Dust emission adds to the continuum. Unlike in Synthesizer 1.3.1, where it
    has no effect on lines, an emission that is scaled by a parameter has
    scaled lines.

    Args:
        model (EmissionModel): The model; its grid must have lines.
        lines (str/list of str): The ids of the lines, e.g. `H 1 4861.32A`,
            or Synthesizer's short names, e.g. `Hb`. Several ids with commas
            between them are one blend, whose luminosity and continuum are
            their sums and whose wavelength is their mean, as in Synthesizer.
        emissions (str/list of str): As for `compile_model`.
        varying (str/list of str): As for `compile_model`.
        fixed (dict): As for `compile_model`.
        tolerance (float): As for `compile_model`. Lines that vary with axes
            beyond age and metallicity are within five times as much of
            those of the grid between its nodes, each of them.

    Returns:
        LineFunction: The function.

    Raises:
        GridError: If a grid has no lines.
        MissingLines: If a grid lacks a line.
        UnimplementedFunctionality: If operations of the model are not
            supported, among them broadening and scaling to the luminosity of
            another emission, which Synthesizer does not apply to lines.
        IncorrectUnits: As for `compile_model`; likewise MissingUnits,
            MissingAttribute, MissingSpectraType and InconsistentArguments.

    Examples:
        >>> import jax
        >>> from synthesizer.emission_models import TotalEmission
        >>> from synthesizer.emission_models.attenuation import PowerLaw
        >>> from synthesizer_emulator import EmulatedGrid
        >>> grid = EmulatedGrid.example()
        >>> function = compile_lines(
        ...     TotalEmission(grid, dust_curve=PowerLaw(slope=-0.7)),
        ...     ["H 1 6562.80A", "H 1 4861.32A"],
        ...     varying=["tau_v"],
        ... )
        >>> function
        LineFunction(emissions=('emergent',), parameters=('tau_v',), \
lines=['H 1 6562.80A', 'H 1 4861.32A'])
        >>> sfzh = jax.numpy.ones((10, *grid.shape[:2]))
        >>> evaluate = jax.jit(jax.vmap(LineFunction.lines, (None, 0, 0)))
        >>> lines = evaluate(function, sfzh, {"tau_v": jax.numpy.ones(10)})
        >>> lines["emergent"].equivalent_width.shape
        (10, 2)
    """
    check_number("tolerance", tolerance, 0)
    tree, labels = translated(
        model, emissions, varying, fixed, lines=check_names("lines", lines)
    )
    warn_of_unused(tree)
    function = line_function(tree, labels, tolerance)
    heated = [
        label
        for dust in function.continuum.dust.values()
        for label in (dust.intrinsic, dust.attenuated)
        if label is not None
    ]
    if not heated:
        return function
    given = check_names("varying", varying) if varying else ()
    heating = compile_model(
        model,
        sorted(set(heated)),
        [name for name in given if name not in tree.unused],
        {k: v for k, v in (fixed or {}).items() if k not in tree.unused},
        tolerance=tolerance,
    )
    return replace(function, heating=heating)


def line_function(
    tree: EmissionTree, labels: tuple[str, ...], tolerance: float
) -> LineFunction:
    """Return the function of a translated tree of lines, without `heating`.

    Args:
        tree (EmissionTree): The tree, translated for lines.
        labels (tuple of str): The emissions to return.
        tolerance (float): As for `compile_lines`.
    """
    assert tree.lines is not None
    sums = {label: summed(tree.terms[label]) for label in labels}
    each = _STRICTER * tolerance
    return LineFunction(
        luminosity=line_luminosities(tree, labels, tolerance),
        continuum=assemble(tree, labels, sums, each, "line_conts"),
        heating=None,
        ids=tree.lines.ids,
    )


def line_luminosities(
    tree: EmissionTree, labels: tuple[str, ...], tolerance: float
) -> EmissionFunction:
    """Return the luminosities of a translated tree of lines alone.

    The arguments are those of `line_function`.
    """
    # Dust has a continuum, but no lines.
    sums: dict[str, Sums] = {
        label: {
            (source, keys): weights
            for (source, keys), weights in summed(tree.terms[label]).items()
            if not isinstance(source, str)
        }
        for label in labels
    }
    return assemble(tree, labels, sums, _STRICTER * tolerance, "line_lums")


def equivalent_width(
    luminosity: Array, continuum: Array, lam: Array
) -> Float[Array, " n_lines"]:
    """Return equivalent widths in the rest frame, Angstrom.

    Args:
        luminosity (Array): The luminosities, solar luminosities, (n_lines,).
        continuum (Array): The continua, erg/s/Hz, (n_lines,).
        lam (Array): The wavelengths, Angstrom, (n_lines,).
    """
    # The square of a continuum in the derivative would exceed single
    # precision, so both are divided by it first.
    scale = lax.stop_gradient(jnp.where(continuum > 0.0, continuum, 1.0))
    width = luminosity / scale * (_WIDTH * jnp.square(lam))
    return width / (continuum / scale)
