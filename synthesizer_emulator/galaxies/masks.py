"""Masks of extractions, which select the nodes of a grid that a model uses.

Constant thresholds select nodes once; thresholds that vary between galaxies
become `ThresholdMask`.
"""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any, TypeAlias

import jax.numpy as jnp
import numpy as np
from numpy.typing import NDArray
from synthesizer.emission_models import EmissionModel, ParameterFunction
from synthesizer.exceptions import UnimplementedFunctionality
from synthesizer.parametric import Stars
from synthesizer.synth_warnings import warn
from unyt import yr

from synthesizer_emulator.galaxies.resolve import ParameterResolver
from synthesizer_emulator.galaxies.terms import ThresholdMask
from synthesizer_emulator.galaxies.values import Value, Varying
from synthesizer_emulator.units import PURE, in_units, units_of

# The values that define a mask: equal masks have equal keys.
MaskKey: TypeAlias = tuple[Any, ...]

# The attributes to which a mask with a varying threshold can apply.
_MASKABLE = ("ages", "log10ages", "metallicities", "log10metallicities")


@dataclass(frozen=True, eq=False)
class NodeMask:
    """The nodes of a grid that an extraction uses.

    Attributes:
        kept (np.ndarray of bool): The nodes within constant thresholds,
            (n_ages, n_Z); None for all.
        varying (tuple of ThresholdMask): The masks with varying thresholds.
    """

    kept: NDArray[np.bool_] | None
    varying: tuple[ThresholdMask, ...]


def node_mask(
    model: EmissionModel, parameters: ParameterResolver
) -> tuple[MaskKey, NodeMask]:
    """Return the key and the mask of an extraction.

    Raises:
        UnimplementedFunctionality: If a varying threshold applies to an
            attribute that is not an axis of the grid.
    """
    kept: NDArray | None = None
    varying: dict[tuple[str, str, Value], ThresholdMask] = {}
    for mask in model.masks:
        threshold = _threshold(mask, model, parameters)
        if threshold is None:
            kept = parameters.stars.get_mask(
                **mask, mask=kept, attr_override_obj=model
            )
        else:
            key = (mask["attr"], mask["op"], threshold)
            varying[key] = _threshold_mask(parameters.stars, *key)
    kept_key = None if kept is None else np.asarray(kept).tobytes()
    return (*varying, kept_key), NodeMask(kept, tuple(varying.values()))


def _threshold(
    mask: Mapping[str, Any],
    model: EmissionModel,
    parameters: ParameterResolver,
) -> Value | None:
    """Return the threshold of a mask if it varies, else None."""
    name, attribute = mask["thresh"], mask["attr"]
    units = units_of(getattr(parameters.stars, attribute, None))
    value, what = name, f"The threshold of the mask on '{attribute}'"
    if isinstance(name, str):
        what = f"'{name}'"
        if isinstance(model.fixed_parameters.get(name), ParameterFunction):
            computed = parameters.value(name, model, None, units)
            return computed if computed.varying else None
        value = parameters.quantity(name, model, None, None)
    if isinstance(value, Varying):
        return replace(value, units=units)
    what = f"{what} of the model '{model.label}'"
    if units_of(value) == PURE:
        # Synthesizer rejects plain thresholds where units are needed.
        return None
    if not np.array_equal(in_units(what, value, units), np.asarray(value)):
        warn(
            f"{what} is {value}. Like Synthesizer, the compiled model "
            f"compares the bare number with values in {units}. Use a "
            f"threshold in {units}."
        )
    return None


def _threshold_mask(
    stars: Stars, attribute: str, operator: str, threshold: Value
) -> ThresholdMask:
    """Return a mask on a stellar attribute with a varying threshold."""
    if attribute not in _MASKABLE:
        raise UnimplementedFunctionality(
            f"a mask on '{attribute}' with a varying threshold (possible on "
            f"{', '.join(_MASKABLE)})"
        )
    values = getattr(stars, attribute)
    if attribute == "ages":
        values = values.to(yr)
    n_ages, n_metals = stars.sfzh.shape
    axis = np.asarray(values, np.float64)
    at_nodes = (
        np.repeat(axis, n_metals)
        if attribute.endswith("ages")
        else np.tile(axis, n_ages)
    )
    return ThresholdMask(jnp.asarray(at_nodes, float), threshold, operator)
