"""Emission models as pure functions of the parameters of one galaxy.

`compile_model` translates a tree of Synthesizer's stellar emission models
into an `EmissionFunction`, in which every emission is a sum of terms

    coefficient x factor x factor x ... x source

whose factors vary between galaxies (escape fractions, transmission through
dust), and whose source is the SFZH times the spectra of a grid, the emission
of dust, or another emission after broadening. Factors common to all galaxies
are multiplied into the spectra beforehand, so a batch of galaxies costs one
matrix product for each distinct sum of spectra, however many models the tree
has.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

import jax.numpy as jnp
import numpy as np
from jax import Array
from jax.tree_util import register_dataclass
from jax.typing import ArrayLike
from jaxtyping import Float
from synthesizer.exceptions import InconsistentArguments, MissingAttribute

from synthesizer_emulator.forking import check_not_forked
from synthesizer_emulator.galaxies.broadening import Broadening
from synthesizer_emulator.galaxies.dust_templates import DustTemplates
from synthesizer_emulator.galaxies.generators import Dust
from synthesizer_emulator.galaxies.matrices import dot
from synthesizer_emulator.galaxies.terms import (
    Factor,
    LuminosityRatio,
    Product,
    Term,
)
from synthesizer_emulator.galaxies.values import Varying, of_one_galaxy
from synthesizer_emulator.units import in_stated_units, in_units
from synthesizer_emulator.validation import nearest


@register_dataclass
@dataclass(frozen=True, eq=False)
class EmissionFunction:
    """An emission model as a pure function of one galaxy's parameters.

    A pytree, made by `compile_model`. Pass it as an argument to functions
    that you compile, rather than closing over it, so that its spectra are
    not copied into the program::

        evaluate = jax.jit(jax.vmap(EmissionFunction.spectra, (None, 0, 0)))
        spectra = evaluate(model, sfzh, {"tau_v": tau_v})

    Attributes:
        lam (Array): The rest-frame wavelengths, Angstrom, (nlam,).
        per_lsun (Array): The weights that integrate a luminosity density in
            erg/s/Hz to a luminosity in solar units by Synthesizer's
            trapezoidal rule, (nlam,). In a `LineFunction` these are the
            weights of dust emission at all wavelengths and, zero, at lines.
        products (tuple of Product): The matrix products of the SFZH with
            spectra.
        factors (tuple): The factors that vary between galaxies.
        dust (dict): The dust emissions, by label.
        broadened (dict): The broadened emissions, by label.
        terms (dict): The terms of each emission, by label.
        emissions (tuple of str): The labels of the emissions returned.
        nodes (tuple of int): The shape of an SFZH, (n_ages, n_Z).
    """

    lam: Array
    per_lsun: Array
    products: tuple[Product, ...]
    factors: tuple[Factor, ...]
    dust: dict[str, Dust]
    broadened: dict[str, Broadening]
    terms: dict[str, tuple[Term, ...]]
    emissions: tuple[str, ...] = field(metadata={"static": True})
    nodes: tuple[int, ...] = field(metadata={"static": True})

    def __repr__(self) -> str:
        """Return the emissions, parameters and sizes, without the arrays."""
        return (
            f"EmissionFunction(emissions={self.emissions}, "
            f"parameters={self.parameters}, nodes={self.nodes}, "
            f"nlam={len(self.lam)}, products={len(self.products)})"
        )

    @property
    def parameters(self) -> tuple[str, ...]:
        """The names of the parameters that vary between galaxies."""
        return tuple(sorted({parameter.name for parameter in self._varying}))

    def plain(
        self, parameters: Mapping[str, ArrayLike]
    ) -> dict[str, ArrayLike]:
        """Return parameters as plain numbers in the model's units.

        They may be parameters of one galaxy or of many. Parameters that the
        model does not use are returned unchanged.

        Raises:
            IncorrectUnits: If a parameter has the wrong units.
        """
        plain = dict(parameters)
        for name, units in self._units():
            if name in parameters:
                plain[name] = in_units(f"'{name}'", parameters[name], units)
        return plain

    def check_stated(self, parameters: Mapping[str, ArrayLike]) -> None:
        """Raise unless parameters have the units that Synthesizer requires.

        Thresholds of masks may be plain numbers.

        Raises:
            MissingUnits: If a parameter lacks its units.
            IncorrectUnits: If a parameter has the wrong units.
        """
        self.plain(parameters)
        for component in self._components:
            for varying in component.varying:
                if varying.name in parameters:
                    in_stated_units(
                        f"'{varying.name}'",
                        parameters[varying.name],
                        varying.units,
                    )

    @property
    def _varying(self) -> frozenset[Varying]:
        components = (*self.products, *self._components)
        return frozenset().union(*(c.varying for c in components))

    @property
    def _components(self) -> tuple[Factor | Dust | Broadening, ...]:
        """What depends on parameters whose units must be stated."""
        return (
            *self.factors,
            *self.dust.values(),
            *self.broadened.values(),
        )

    def _units(self) -> list[tuple[str, str | None]]:
        """Return the names and units of parameters, in a fixed order."""
        ordered = sorted(self._varying, key=repr)
        return [(varying.name, varying.units) for varying in ordered]

    def spectra(
        self, sfzh: Array, parameters: Mapping[str, ArrayLike]
    ) -> dict[str, Float[Array, " nlam"]]:
        """Return the spectrum of each emission for one galaxy.

        Args:
            sfzh (Array): The initial stellar mass at each node of the grid,
                solar masses, (n_ages, n_Z).
            parameters (Mapping): The parameters by name, with units or as
                plain numbers (wavelengths in Angstrom, temperatures in K,
                ages in yr). Unknown parameters are ignored. Inside functions
                compiled by JAX they must be plain numbers, as JAX removes
                units silently.

        Returns:
            dict: For each label of `emissions` the luminosity density,
                erg/s/Hz, (nlam,). It is NaN where an escape fraction is
                not between 0 and 1.

        Raises:
            MissingAttribute: If a parameter is missing.
            IncorrectUnits: If a parameter has the wrong units.
            InconsistentArguments: If the shape of `sfzh` is not `nodes`, or a
                parameter is not one number.
        """
        galaxy = self.evaluation(sfzh, parameters)
        return {label: galaxy.emission(label) for label in self.emissions}

    def evaluation(
        self,
        sfzh: Array,
        parameters: Mapping[str, ArrayLike],
        heating: "Evaluation | None" = None,
    ) -> "Evaluation":
        """Return the emissions of one galaxy, each evaluated once.

        Args:
            sfzh (Array): As for `spectra`.
            parameters (Mapping): As for `spectra`.
            heating (Evaluation): The emissions of the same galaxy at all
                wavelengths, from which the luminosity of dust is taken; by
                default those of this model.

        Returns:
            Evaluation: The emissions.

        Raises:
            MissingAttribute: If a parameter is missing.
            IncorrectUnits: If a parameter has the wrong units.
            InconsistentArguments: If the shape of `sfzh` is not `nodes`, or a
                parameter is not one number.
        """
        check_not_forked()
        sfzh = in_units("sfzh", sfzh, "Msun")
        missing = [p for p in self.parameters if p not in parameters]
        if missing:
            raise MissingAttribute(
                "The parameters of each galaxy must include "
                f"{', '.join(self.parameters)}; missing: "
                f"{', '.join(missing)}."
                + "".join(
                    f" It has no parameter '{name}'.{suggestion}"
                    for name in parameters
                    if name not in self.parameters
                    if (suggestion := nearest(name, missing))
                )
            )
        if np.shape(sfzh) != self.nodes:
            raise InconsistentArguments(
                f"The SFZH of one galaxy must have the shape {self.nodes}, "
                f"got {np.shape(sfzh)}. Use jax.vmap for many galaxies."
            )
        plain = self.plain(parameters)
        for name in self.parameters:
            plain[name] = of_one_galaxy(name, plain[name])
        return Evaluation(self, jnp.ravel(sfzh), plain, heating)


# The earlier name.
CompiledModel = EmissionFunction


class Evaluation:
    """The emissions of one galaxy, with each product and factor cached.

    Made by `EmissionFunction.evaluation`, for one trace.
    """

    def __init__(
        self,
        model: EmissionFunction,
        sfzh: Array,
        parameters: Mapping[str, ArrayLike],
        heating: "Evaluation | None",
    ) -> None:
        self._model = model
        self._heated_by = heating or self
        self._sfzh = sfzh
        self._parameters = parameters
        self._cache: dict[tuple[str, int | str], Array] = {}

    @property
    def per_lsun(self) -> Array:
        """The weights of `EmissionFunction.per_lsun`."""
        return self._model.per_lsun

    def emission(self, label: str) -> Array:
        """Return the luminosity density of an emission, (nlam,)."""
        return self._cached("emission", label, self._emission)

    def _cached(
        self, kind: str, key: Any, evaluate: Callable[[Any], Array]
    ) -> Array:
        if (kind, key) not in self._cache:
            self._cache[kind, key] = evaluate(key)
        return self._cache[kind, key]

    def _emission(self, label: str) -> Array:
        total = jnp.zeros_like(self._model.lam)
        for term in self._model.terms[label]:
            scale = term.coefficient
            for index in term.factors:
                scale = scale * self._cached("factor", index, self._factor)
            if term.source in self._model.broadened:
                source = self._cached(
                    "broadened", term.source, self._broadened
                )
            elif term.source in self._model.dust:
                source = self._cached("dust", term.source, self._dust)
            else:
                source = self._cached("product", term.source, self._product)
            total = total + scale * source
        return total

    def _factor(self, index: int) -> Array:
        factor = self._model.factors[index]
        if isinstance(factor, LuminosityRatio):
            return self._luminosity(factor.target) / self._luminosity(
                factor.unscaled
            )
        return factor(self._parameters)

    def _product(self, index: int) -> Array:
        return self._model.products[index](self._sfzh, self._parameters)

    def _dust(self, label: str) -> Array:
        dust = self._model.dust[label]
        luminosity = self._heating(dust)
        if isinstance(dust, DustTemplates):
            unit = dust.unit_spectrum(
                self._parameters, self._model.per_lsun, luminosity
            )
        else:
            unit = dust.unit_spectrum(self._parameters, self._model.per_lsun)
        # Emission at lines follows that at the wavelengths of the grid.
        return luminosity * unit[-len(self._model.lam) :]

    def _heating(self, dust: Dust) -> Array:
        """Return the luminosity of dust, solar luminosities."""
        if dust.intrinsic is None:
            return jnp.ones(())
        galaxy = self._heated_by
        absorbed = galaxy.emission(dust.intrinsic)
        if dust.attenuated is not None:
            # Subtract before integrating: the difference of the luminosities
            # would lose digits where little is absorbed.
            absorbed = absorbed - galaxy.emission(dust.attenuated)
        return dot(absorbed, galaxy.per_lsun)

    def _broadened(self, label: str) -> Array:
        broadening = self._model.broadened[label]
        return broadening(
            self.emission(broadening.unbroadened), self._parameters
        )

    def _luminosity(self, label: str) -> Array:
        return dot(self.emission(label), self._model.per_lsun)
