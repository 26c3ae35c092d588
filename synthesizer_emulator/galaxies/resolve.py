"""The values and units of the parameters of an emission model.

`ParameterResolver` looks up parameters with Synthesizer's `get_param`, on
stars whose varying attributes are placeholders.
"""

from collections.abc import Iterable, Mapping
from dataclasses import replace
from types import SimpleNamespace
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from synthesizer.emission_models import EmissionModel, ParameterFunction
from synthesizer.emission_models.transformers.dust_attenuation import (
    AttenuationLaw,
)
from synthesizer.emission_models.utils import get_param
from synthesizer.emissions import Sed
from synthesizer.exceptions import (
    InconsistentArguments,
    MissingAttribute,
    ParameterFunctionError,
    UnimplementedFunctionality,
)
from synthesizer.grid import Grid
from synthesizer.parametric import Stars

from synthesizer_emulator.galaxies.parameter_names import (
    LOG10,
    axis_names,
)
from synthesizer_emulator.galaxies.remedies import (
    central_value,
    check_stellar_axes,
    collapse_code,
)
from synthesizer_emulator.galaxies.values import (
    Computed,
    Constant,
    Value,
    Varying,
)
from synthesizer_emulator.units import (
    PURE,
    in_stated_units,
    in_units,
    units_of,
)

# Attributes that stars have by default and that can be overridden.
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
        stated: bool = True,
    ) -> Value:
        """Return the value of a parameter, looked up as in Synthesizer.

        Args:
            name (str): The name of the parameter.
            model (EmissionModel): The model that uses it.
            emission (Sed): The emission that the model applies to, if any.
            units (str): The units of the plain number; None if not known.
            obj (Any): The object searched last, e.g. a dust curve.
            stated (bool): Whether Synthesizer requires the units.

        Raises:
            UnimplementedFunctionality: If it can't be translated.
            MissingAttribute: If it is missing.
            IncorrectUnits: If it has the wrong units.
            MissingUnits: If it lacks units that Synthesizer requires.
        """
        stored = model.fixed_parameters.get(name)
        if isinstance(stored, ParameterFunction):
            return self._computed(stored, model, emission, units, obj)
        value = self.quantity(name, model, emission, obj)
        if isinstance(value, Varying):
            return replace(value, units=units)
        what = f"'{name}' of the model '{model.label}'"
        plain = (in_stated_units if stated else in_units)(what, value, units)
        return Constant(_one_number(name, plain))

    def axis_value(self, grid: Grid, axis: str, model: EmissionModel) -> Value:
        """Return the value of an axis of a grid, looked up as in Synthesizer.

        Args:
            grid (Grid): The grid.
            axis (str): The axis, e.g. `ionisation_parameters`.
            model (EmissionModel): The model that extracts from the grid.

        Returns:
            Value: The value in the units of the axis, not logged.

        Raises:
            MissingAttribute: If neither the model nor the stars have a value.
        """
        units = str(grid._axes_units[axis])
        known = {**self.attributes, **model.fixed_parameters}
        name = next((name for name in axis_names(axis) if name in known), None)
        if name is None:
            raise MissingAttribute(
                f"'{axis}', an axis of the grid '{grid.grid_name}'. Give it, "
                f"e.g. {axis}={central_value(grid, axis)}, or collapse the "
                f"axis: {collapse_code(grid, [axis])}"
            )
        if not name.startswith(LOG10):
            return self.value(name, model, None, units, stated=False)
        value = self.value(name, model, None, PURE)
        power = Computed(_ten_to_the, (("exponent", value),))
        return power if value.varying else Constant(power({}))

    def quantity(
        self, name: str, model: EmissionModel, emission: Sed | None, obj: Any
    ) -> Any:
        """Return a parameter with units, looked up as in Synthesizer."""
        emitter: Any = self.stars
        if model.emitter != "stellar":
            emitter = SimpleNamespace(model_param_cache={}, **self.attributes)
        try:
            return get_param(
                name, model, emission, emitter, obj=obj, preserve_units=True
            )
        except (TypeError, ParameterFunctionError) as error:
            # Caused by arithmetic with a placeholder.
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

    Raises:
        UnimplementedFunctionality: If no grids are given.
        InconsistentArguments: If the axes are not those of parametric stars,
            or differ between the grids, or if Synthesizer derives one of the
            attributes from the stars.
    """
    axes = []
    for grid in grids:
        check_stellar_axes(grid)
        axes.append((grid.log10ages, grid.metallicities))
    if not axes:
        raise UnimplementedFunctionality(
            "The emission model must extract spectra from a grid; this one "
            "does not."
        )
    for other_axes in axes[1:]:
        if not all(map(np.array_equal, axes[0], other_axes)):
            raise InconsistentArguments(
                "The grids of the emission model must have the same axes, as "
                "they share one SFZH."
            )
    shape = tuple(len(axis) for axis in axes[0])
    stars = Stars(*axes[0], sfzh=np.ones(shape))
    for name, value in attributes.items():
        if hasattr(stars, name) and name not in _SETTABLE:
            raise InconsistentArguments(
                f"'{name}' can't be varying or fixed, as Synthesizer derives "
                "it from the stars."
            )
        setattr(stars, name, value)
    return stars


def curve_units(law: AttenuationLaw, name: str) -> str | None:
    """Return the units in which a dust curve takes a parameter.

    These are the units of its default; None for a parameter without default
    of a curve that is not one of Synthesizer's.
    """
    default = getattr(law, law._name_transforms.get(name, name), None)
    native = type(law).__module__ == AttenuationLaw.__module__
    if default is None and name != "tau_v" and not native:
        return None
    return units_of(default)


def _ten_to_the(exponent: Any) -> Any:
    """Return a number from its decadic logarithm."""
    return 10.0**exponent


def _one_number(name: str, value: Any) -> float:
    """Return the single value of a parameter as a number."""
    array = np.asarray(value, np.float64)
    if array.size != 1:
        raise UnimplementedFunctionality(
            f"the parameter '{name}', which has {array.size} values, not one"
        )
    return float(array.ravel()[0])
