"""Star formation histories and metallicity distributions of a library.

A history is named after Synthesizer's class and has a prior for each of its
parameters. Synthesizer makes the history of one galaxy, which provides the
default values and shows whether it accepts the others.
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

# Synthesizer's classes and the batched functions of each kind of history.
_CLASSES = {SF_HIST: SFH, METAL_DIST: ZDist}
_FUNCTIONS = {SF_HIST: SF_HISTS, METAL_DIST: METAL_DISTS}


@dataclass(frozen=True)
class History:
    """A star formation history or a metallicity distribution.

    Attributes:
        name (str): The name of Synthesizer's class, such as `LogNormal`.
        parameters (Mapping): A prior for each parameter, by its name, or
            for its decadic logarithm, by `log10` and its name. Others keep
            Synthesizer's default values.
    """

    name: str
    parameters: Mapping[str, PriorLike] = field(default_factory=dict)

    def __post_init__(self) -> None:
        """Check the name.

        Raises:
            InconsistentArguments: If it is no text.
        """
        check_names("the name of a History", [self.name])


def check_history(
    kind: str, history: History, parameters: Mapping[str, Parameter]
) -> None:
    """Refuse an unknown history, or unknown parameters of it.

    Args:
        kind (str): `sf_hist` or `metal_dist`.
        history (History): The history.
        parameters (Mapping): Its parameters, by Synthesizer's names.

    Raises:
        InconsistentArguments: If Synthesizer has no such history, or the
            history no such parameter.
        UnimplementedFunctionality: If the history has no batched form.
    """
    find_history(_FUNCTIONS[kind], history.name)
    known = list(signature(getattr(_CLASSES[kind], history.name)).parameters)
    for name in parameters:
        if name not in known:
            raise InconsistentArguments(
                f"{history.name} has no parameter '{name}'; it has: "
                f"{', '.join(known)}." + nearest(name, known)
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
        first (Mapping): The plain parameters of the history of one galaxy,
            (1, ...).

    Returns:
        dict: Plain values by name, Synthesizer's default values included.

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
        # Synthesizer takes bin edges both as times and as logarithms.
        is_scalar = first[name][0].ndim == 0
        if is_scalar and unit == "yr" and units.get(name) == PURE:
            raise InconsistentArguments(
                f"'{name}' of {history.name} has no units, got "
                f"{arguments[name].to('Gyr')}."
            )
    try:
        made = getattr(_CLASSES[kind], history.name)(**arguments)
        _, stacked = stack_parameters([made])
    except Exception as error:
        shown = ", ".join(f"{k}={v}" for k, v in arguments.items())
        raise InconsistentArguments(
            f"Synthesizer can't make a {history.name} of {shown or 'nothing'}"
            f": {error}. Times need units, as in 'units: Gyr'; other "
            f"parameters have none.{_suggestions(members)}"
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
    """Refuse arrays for scalar parameters."""
    arrays = [p for p in members.values() if p.prior.is_array]
    if not arrays:
        return
    # A number of nodes that differs from the length of any array.
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
        f"{history.name} can't take a list of these lengths for "
        f"{' and '.join(p.given_name for p in arrays)}."
        + _suggestions(members)
    )


def _suggestions(members: Mapping[str, Parameter]) -> str:
    """Suggest priors for those parameters that were given as lists."""
    return "".join(suggest_prior(p.prior) for p in members.values())
