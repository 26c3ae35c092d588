"""`DerivedQuantities`: quantities of one galaxy from its parameters."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from functools import partial
from typing import Any

import numpy as np
from jax import Array
from jax.tree_util import register_dataclass
from jaxtyping import Float
from synthesizer.emission_models import EmissionModel
from synthesizer.exceptions import InconsistentArguments
from unyt import angstrom

from synthesizer_emulator.galaxies.derived.names import Name
from synthesizer_emulator.galaxies.derived.needs import Needs
from synthesizer_emulator.galaxies.derived.quantities import Galaxy, Quantity
from synthesizer_emulator.galaxies.emission import EmissionFunction
from synthesizer_emulator.galaxies.lines import line_luminosities
from synthesizer_emulator.galaxies.model import (
    GalaxyModel,
    check_histories,
    check_varying,
)
from synthesizer_emulator.galaxies.translate import (
    TOLERANCE,
    compile_model,
    translated,
)
from synthesizer_emulator.validation import check_names


@register_dataclass
@dataclass(frozen=True, eq=False)
class DerivedQuantities:
    """Derived quantities of one galaxy as a pure function.

    A pytree, made by `from_model` from Synthesizer's objects. Pass it as an
    argument to functions that you compile, or to `in_batches`::

        in_batches(derived, values, function=DerivedQuantities.__call__)

    Attributes:
        model (GalaxyModel): The histories, and the spectra that the
            quantities are measured of; without outputs of its own.
        lines (EmissionFunction): The luminosities of the lines that they are
            measured of, solar luminosities; None if there are none.
        quantities (dict): The functions of one galaxy, by name.
        varying (tuple of str): The parameters of the emission model that may
            be given; those that no quantity depends on are ignored.
        first (int): The index of the first wavelength of the spectra among
            those of the grid.

    Examples:
        >>> import jax
        >>> from synthesizer.emission_models import IncidentEmission
        >>> from synthesizer_emulator import EmulatedGrid
        >>> derived = DerivedQuantities.from_model(
        ...     IncidentEmission(EmulatedGrid.example()),
        ...     ["formation_time_50", "sfr_100Myr", "M_UV"],
        ...     sf_hist="Constant",
        ...     metal_dist="DeltaConstant",
        ... )
        >>> galaxy = {
        ...     "initial_mass": 1e10,
        ...     "sf_hist": {"max_age": 1e9},
        ...     "metal_dist": {"metallicity": 0.01},
        ... }
        >>> values = jax.jit(DerivedQuantities.__call__)(derived, galaxy)
        >>> for name, units in derived.units.items():
        ...     print(f"{name}: {values[name]:.3g} {units}")
        formation_time_50: 5e+08 yr
        sfr_100Myr: 10 Msun/yr
        M_UV: -21.2 dimensionless
    """

    model: GalaxyModel
    lines: EmissionFunction | None
    quantities: dict[str, Quantity]
    varying: tuple[str, ...] = field(metadata={"static": True})
    first: int = field(metadata={"static": True})

    @classmethod
    def from_model(
        cls,
        model: EmissionModel,
        names: str | Iterable[str],
        sf_hist: str | None = None,
        metal_dist: str | None = None,
        varying: str | Iterable[str] = (),
        fixed: Mapping[str, Any] | None = None,
        tolerance: float = TOLERANCE,
    ) -> "DerivedQuantities":
        """Make the function from Synthesizer's objects.

        Only the emissions, wavelengths and lines that the quantities need are
        compiled: none for masses, rates of star formation and ages.

        Args:
            model (EmissionModel): The emission model.
            names (str/list of str): The quantities, as listed in `DERIVED`,
                such as `sfr_100Myr` or `beta/incident`.
            sf_hist (str): The star formation history, as for
                `GalaxyModel.from_model`.
            metal_dist (str): The metallicity distribution, likewise.
            varying (list of str): As for `compile_model`.
            fixed (dict): As for `compile_model`.
            tolerance (float): As for `compile_model`.

        Returns:
            DerivedQuantities: The function.

        Raises:
            InconsistentArguments: If there is no quantity of a name, a name
                is repeated, the grid lacks wavelengths, or the histories
                contradict each other.
            MissingSpectraType: If the model lacks an emission.
            GridError: If the grid lacks stellar fractions, or lines.
            MissingLines: If the grid lacks a line.
            UnimplementedFunctionality: As for `GalaxyModel.from_model`;
                likewise MissingAttribute, IncorrectUnits and MissingUnits.
        """
        check_histories(sf_hist, metal_dist)
        parsed = [Name.parse(text) for text in check_names("names", names)]
        texts = [name.text for name in parsed]
        repeated = sorted({text for text in texts if texts.count(text) > 1})
        if repeated:
            raise InconsistentArguments(
                f"Each derived quantity must be named once, got "
                f"{', '.join(repeated)} more than once."
            )
        needs = Needs(model)
        quantities = {
            name.text: name.make(needs, model.label) for name in parsed
        }
        varying = (varying,) if isinstance(varying, str) else tuple(varying)
        arguments = model, varying, fixed, tolerance
        emission, first = _spectra(needs, *arguments)
        return cls(
            model=GalaxyModel(
                emission=emission,
                observer=None,
                bands=None,
                lines=None,
                ages=tuple(map(float, needs.ages)),
                metallicities=tuple(map(float, needs.grid.metallicities)),
                sf_hist=sf_hist,
                metal_dist=metal_dist,
                outputs=(),
            ),
            lines=_lines(needs, *arguments),
            quantities=quantities,
            varying=varying,
            first=first,
        )

    def __call__(
        self, values: Mapping[str, Any]
    ) -> dict[str, Float[Array, ""]]:
        """Return the derived quantities of one galaxy.

        Args:
            values (Mapping): The parameters, as for `GalaxyModel.galaxy`;
                those that no quantity depends on, such as the redshift, may
                be there.

        Returns:
            dict: The values by name, in the units of `units`. They are NaN
                where a quantity is not defined.

        Raises:
            MissingAttribute: If a parameter is missing.
            InconsistentArguments: If a parameter is unknown.
            IncorrectUnits: If a parameter has the wrong units.
        """
        self.model.check_parameters(values)
        values = self.plain(values)
        masses = values["initial_mass"] * self.model.mass_fractions(values)
        parameters = values.get("emission", {})
        lines = self.lines
        galaxy = Galaxy(
            masses=masses,
            spectra=self.model.emission.spectra(masses, parameters),
            lines={} if lines is None else lines.spectra(masses, parameters),
            first=self.first,
        )
        return {
            name: quantity(galaxy)
            for name, quantity in self.quantities.items()
        }

    @property
    def units(self) -> dict[str, str]:
        """The units of the quantities, by name, in unyt's notation."""
        return {name: Name.parse(name).units for name in self.quantities}

    @property
    def emission(self) -> EmissionFunction:
        """The spectra that the quantities are measured of."""
        return self.model.emission

    @property
    def functions(self) -> tuple[EmissionFunction, ...]:
        """The spectra and the lines that the quantities are measured of."""
        return (self.emission, *(() if self.lines is None else (self.lines,)))

    def plain(self, values: Mapping[str, Any]) -> dict[str, Any]:
        """Return the parameters that are used, as plain numbers.

        As `GalaxyModel.plain`.

        Raises:
            IncorrectUnits: If a parameter has the wrong units.
            InconsistentArguments: If the emission model does not vary with a
                parameter.
        """
        others = {k: v for k, v in values.items() if k != "emission"}
        plain = self.model.plain(others)
        if "emission" in values:
            given = values["emission"]
            check_varying(given, self.varying)
            used = sorted({n for f in self.functions for n in f.parameters})
            kept = {name: given[name] for name in used if name in given}
            for function in self.functions:
                kept = function.plain(kept)
            plain["emission"] = kept
        return plain


def _spectra(
    needs: Needs,
    model: EmissionModel,
    varying: tuple[str, ...],
    fixed: Mapping[str, Any] | None,
    tolerance: float,
) -> tuple[EmissionFunction, int]:
    """Return the spectra that are needed, and their first wavelength."""
    translate = partial(
        compile_model,
        model,
        needs.emissions,
        varying,
        fixed,
        tolerance=tolerance,
    )
    if needs.pixels is None:
        return translate(), 0
    low, high = needs.lam[needs.pixels][[0, -1]] * angstrom
    try:
        emission = translate(lam_lims=(low, high))
    except InconsistentArguments:
        # Energy balance needs luminosities over all wavelengths.
        emission = translate()
    lowest = float(emission.lam[0])
    return emission, int(np.argmin(np.abs(needs.lam - lowest)))


def _lines(
    needs: Needs,
    model: EmissionModel,
    varying: tuple[str, ...],
    fixed: Mapping[str, Any] | None,
    tolerance: float,
) -> EmissionFunction | None:
    """Return the luminosities of the lines that are needed."""
    if not needs.lines:
        return None
    tree = translated(model, needs.of_lines, varying, fixed, lines=needs.lines)
    function = line_luminosities(*tree, tolerance)
    shining = {
        label: any(
            not isinstance(term.source, int)
            or np.any(function.products[term.source].spectra)
            for term in function.terms[label]
        )
        for label in function.emissions
    }
    dark = [label for label, shines in shining.items() if not shines]
    if dark:
        others = [label for label in shining if shining[label]] or ["nebular"]
        raise InconsistentArguments(
            f"The emission '{dark[0]}' has no lines, so their ratios are not "
            "defined: name an emission with lines after the slash, such as "
            f"'R23/{others[0]}', or none for that of the root of the model."
        )
    return function
