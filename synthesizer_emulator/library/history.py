"""Star formation histories and metallicity distributions of a library.

A history has the name of Synthesizer's class and priors for its parameters.
The history of one galaxy is made with Synthesizer, to obtain the default
values and to check the others.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import partial
from inspect import signature
from typing import Any

import jax
import numpy as np
from numpy.typing import NDArray
from synthesizer.exceptions import InconsistentArguments
from synthesizer.parametric import SFH, ZDist

from synthesizer_emulator.galaxies.histories import (
    METAL_DISTS,
    SF_HISTS,
    find_history,
    stack_parameters,
    units_of_history,
)
from synthesizer_emulator.library.parameters import (
    METAL_DIST,
    SF_HIST,
    Parameter,
    Parameters,
    PriorLike,
)
from synthesizer_emulator.library.priors import suggest_prior
from synthesizer_emulator.units import PURE, with_units
from synthesizer_emulator.validation import check_names, nearest

# Synthesizer's classes, and the batched functions, of each kind of history.
_CLASSES = {SF_HIST: SFH, METAL_DIST: ZDist}
_FUNCTIONS = {SF_HIST: SF_HISTS, METAL_DIST: METAL_DISTS}


@dataclass(frozen=True)
class History:
    """A star formation history or a metallicity distribution.

    Attributes:
        name (str): The name of Synthesizer's class, such as `LogNormal`.
        parameters (Mapping): The priors of the parameters by name. `log10`
            and a name stand for the decadic logarithm of the parameter. Other
            parameters keep Synthesizer's default values.
    """

    name: str
    parameters: Mapping[str, PriorLike] = field(default_factory=dict)

    def __post_init__(self) -> None:
        """Raise `InconsistentArguments` unless the name is a string."""
        check_names("the name of a History", [self.name])


def check_history(
    kind: str, history: History, parameters: Mapping[str, Parameter]
) -> None:
    """Raise unless Synthesizer has a history with these parameters.

    Args:
        kind (str): `sf_hist` or `metal_dist`.
        history (History): The history.
        parameters (Mapping): The parameters, by Synthesizer's names.

    Raises:
        InconsistentArguments: If the history or a parameter is unknown.
        UnimplementedFunctionality: If the history has no batched form.
    """
    find_history(_FUNCTIONS[kind], history.name)
    known = list(signature(getattr(_CLASSES[kind], history.name)).parameters)
    for name in parameters:
        if name not in known:
            raise InconsistentArguments(
                f"The parameters of {history.name} must be among "
                f"{', '.join(known)}; got '{name}'." + nearest(name, known)
            )


def common_parameters(
    kind: str,
    history: History,
    parameters: Parameters,
    first: Mapping[str, NDArray],
) -> dict[str, NDArray]:
    """Return the parameters of a history that all galaxies share.

    Args:
        kind (str): `sf_hist` or `metal_dist`.
        history (History): The history.
        parameters (Parameters): All parameters of the library.
        first (Mapping): The parameters of one galaxy as plain numbers,
            (1, ...).

    Returns:
        dict: Plain numbers by name, with Synthesizer's default values.

    Raises:
        InconsistentArguments: If Synthesizer can't make the history.
    """
    members = parameters.in_group(kind)
    units = units_of_history(_FUNCTIONS[kind], history.name)
    arguments = {}
    for name, parameter in members.items():
        unit = parameters.plain_unit(parameter)
        arguments[name] = (
            parameter.fixed_value
            if parameter.is_fixed
            else with_units(first[name][0], unit)
        )
        # Arrays of bin edges may be times or logarithms.
        is_scalar = first[name][0].ndim == 0
        if is_scalar and unit == PURE and units.get(name) == "yr":
            raise InconsistentArguments(
                f"'{name}' of {history.name} must have units of time, as in "
                f"'5 Gyr', or 'units: Gyr' of a prior; got {arguments[name]} "
                "without units."
            )
        if is_scalar and unit == "yr" and units.get(name) == PURE:
            raise InconsistentArguments(
                f"'{name}' of {history.name} must be a number without units, "
                f"got {arguments[name].to('Gyr')}."
            )
    try:
        made = getattr(_CLASSES[kind], history.name)(**arguments)
        _, stacked = stack_parameters([made])
    except Exception as error:
        listing = ", ".join(f"{k}={v}" for k, v in arguments.items())
        # What Python says of numbers without units is of no use.
        why = "" if isinstance(error, AttributeError) else f": {error}"
        raise InconsistentArguments(
            f"Synthesizer can't make {history.name}({listing}){why}. Give "
            "units for times, as in 'units: Gyr', and none for other "
            f"parameters.{_suggestions(members)}"
        ) from error
    _check_shapes(kind, history, stacked, members)
    return {
        name: values[0]
        for name, values in stacked.items()
        if name not in members or members[name].is_fixed
    }


def _check_shapes(
    kind: str,
    history: History,
    stacked: Mapping[str, NDArray],
    members: Mapping[str, Parameter],
) -> None:
    """Raise if an array was given for a scalar parameter."""
    arrays = [p for p in members.values() if p.prior.is_array]
    if not arrays:
        return
    # Use more nodes than any array has values, so that shapes differ.
    nodes = np.arange(3.0 + max(v.size for v in stacked.values()))
    expected = len(nodes) - (kind == SF_HIST)
    galaxy: dict[str, Any] = {name: v[0] for name, v in stacked.items()}
    function = partial(_FUNCTIONS[kind][history.name], nodes)
    try:
        if jax.eval_shape(function, **galaxy).shape == (expected,):
            return
    except (TypeError, ValueError, IndexError):
        pass
    raise InconsistentArguments(
        f"{' and '.join(p.given_name for p in arrays)} of {history.name} "
        "can't be lists of these lengths." + _suggestions(members)
    )


def _suggestions(members: Mapping[str, Parameter]) -> str:
    """Suggest priors for the parameters given as lists."""
    return "".join(suggest_prior(p.prior) for p in members.values())
