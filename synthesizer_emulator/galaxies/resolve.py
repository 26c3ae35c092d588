"""The values of an emission model's parameters, and their units.

`ParameterResolver` looks parameters up with Synthesizer's own `get_param`, on
stars whose varying attributes are placeholders. `tree` needs it.
"""

from collections.abc import Iterable, Mapping
from dataclasses import replace
from types import SimpleNamespace
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from numpy.typing import NDArray
from synthesizer.emission_models import EmissionModel, ParameterFunction
from synthesizer.emission_models.transformers.dust_attenuation import (
    AttenuationLaw,
)
from synthesizer.emission_models.utils import get_param
from synthesizer.emissions import Sed
from synthesizer.exceptions import (
    InconsistentArguments,
    ParameterFunctionError,
    UnimplementedFunctionality,
)
from synthesizer.grid import Grid
from synthesizer.parametric import Stars

from synthesizer_emulator.galaxies.remedies import check_parametric
from synthesizer_emulator.galaxies.values import (
    Computed,
    Constant,
    Value,
    Varying,
)
from synthesizer_emulator.units import (
    in_stated_units,
    in_units,
    units_of,
)

# Attributes that stars have by default and that may be overridden.
_SETTABLE = ("fesc", "fesc_ly_alpha")


class ParameterResolver:
    """The parameters of emission models, for stars with given attributes.

    Args:
        stars (Stars): Stars from `make_stars`.
        attributes (Mapping): The attributes of the galaxies' stars: values,
            or `Varying` placeholders.
    """

    def __init__(self, stars: Stars, attributes: Mapping[str, Any]) -> None:
        self.stars = stars
        self.attributes = attributes

    def value(
        self,
        name: str,
        model: EmissionModel,
        emission: Sed | None,
        units: str | None,
        obj: Any = None,
    ) -> Value:
        """Return a parameter, from where Synthesizer would take it.

        Args:
            name (str): The name of the parameter.
            model (EmissionModel): The model that uses it.
            emission (Sed): The emission that it applies to, if any.
            units (str): The units of the plain number; None if not known.
            obj (Any): An object to look on last, e.g. a dust curve.

        Raises:
            UnimplementedFunctionality: If it can't be translated.
            MissingAttribute: If it is not there.
            IncorrectUnits: If it has units that are not its own.
            MissingUnits: If it lacks units that Synthesizer requires.
        """
        stored = model.fixed_parameters.get(name)
        if isinstance(stored, ParameterFunction):
            return self._computed(stored, model, emission, units, obj)
        value = self.quantity(name, model, emission, obj)
        if isinstance(value, Varying):
            return replace(value, units=units)
        what = f"'{name}' of the model '{model.label}'"
        return Constant(_one_number(name, in_stated_units(what, value, units)))

    def quantity(
        self, name: str, model: EmissionModel, emission: Sed | None, obj: Any
    ) -> Any:
        """Return a parameter as Synthesizer finds it, with its units."""
        emitter: Any = self.stars
        if model.emitter != "stellar":
            emitter = SimpleNamespace(model_param_cache={}, **self.attributes)
        try:
            return get_param(
                name, model, emission, emitter, obj=obj, preserve_units=True
            )
        except (TypeError, ParameterFunctionError) as error:
            # Arithmetic with a placeholder.
            raise UnimplementedFunctionality(
                f"the parameter '{name}', which Synthesizer derives from "
                f"others: {error}"
            ) from error

    def _computed(
        self,
        function: ParameterFunction,
        model: EmissionModel,
        emission: Sed | None,
        units: str | None,
        obj: Any,
    ) -> Value:
        """Return the value of a `ParameterFunction`."""
        arguments = tuple(
            (name, self.value(name, model, emission, None, obj))
            for name in function.func_args
        )
        computed = Computed(function.func, arguments)
        names = sorted(varying.name for varying in computed.varying)
        try:
            shape = jax.eval_shape(
                lambda *v: computed(dict(zip(names, v, strict=True))),
                *(jnp.zeros(()) for _ in names),
            ).shape
        except Exception as error:
            raise UnimplementedFunctionality(
                f"the ParameterFunction '{function.func.__name__}', which "
                "JAX can't trace (write it with jax.numpy, for plain "
                f"numbers): {type(error).__name__}"
            ) from error
        if shape != ():
            raise UnimplementedFunctionality(
                f"the ParameterFunction '{function.func.__name__}', which "
                f"returns an array of shape {shape}"
            )
        if names:
            return computed
        what = f"'{function.sets}' of the model '{model.label}'"
        return Constant(float(in_units(what, computed({}), units)))


def make_stars(grids: Iterable[Grid], attributes: Mapping[str, Any]) -> Stars:
    """Return parametric stars at the nodes of grids, with attributes.

    Args:
        grids (iterable of Grid): The grids that a model extracts from.
        attributes (Mapping): The attributes to set.

    Raises:
        UnimplementedFunctionality: If there is no grid.
        InconsistentArguments: If the axes are not those of parametric
            stars or differ between the grids, or if Synthesizer derives one
            of the attributes itself.
    """
    axes = [_stellar_axes(grid) for grid in grids]
    if not axes:
        raise UnimplementedFunctionality(
            "This emission model extracts nothing from a grid."
        )
    if any(not _equal(axes[0], other) for other in axes[1:]):
        raise InconsistentArguments(
            "The grids of the emission model have different axes; expected "
            "the same axes, as one SFZH serves all of them."
        )
    shape = tuple(len(axis) for axis in axes[0])
    stars = Stars(*axes[0], sfzh=np.ones(shape))
    for name, value in attributes.items():
        if hasattr(stars, name) and name not in _SETTABLE:
            raise InconsistentArguments(
                f"'{name}' can't be varying or fixed: Synthesizer's stars "
                "derive it themselves."
            )
        setattr(stars, name, value)
    return stars


def curve_units(law: AttenuationLaw, name: str) -> str | None:
    """Return the units of a dust curve's parameter as a plain number.

    Taken from its default; None for a parameter without a default of a
    curve that is not one of Synthesizer's.
    """
    default = getattr(law, law._name_transforms.get(name, name), None)
    native = type(law).__module__ == AttenuationLaw.__module__
    if default is None and name != "tau_v" and not native:
        return None
    return units_of(default)


def _stellar_axes(grid: Grid) -> tuple[NDArray, NDArray]:
    """Return log10 of the ages and the metallicities of a grid."""
    check_parametric(grid)
    return grid.log10ages, grid.metallicities


def _equal(one: Iterable[NDArray], other: Iterable[NDArray]) -> bool:
    """Return whether two sets of axes are the same."""
    pairs = zip(one, other, strict=True)
    return all(np.array_equal(a, b) for a, b in pairs)


def _one_number(name: str, value: Any) -> float:
    """Return a parameter of one galaxy as a number."""
    array = np.asarray(value, np.float64)
    if array.size != 1:
        raise UnimplementedFunctionality(
            f"the parameter '{name}', which has {array.size} values"
        )
    return float(array.ravel()[0])
