r"""Star formation and metal histories as functions of their parameters.

Synthesizer integrates a history over the bins around a grid's nodes, one
`quad` a bin, which takes longer than the spectra. Here the same integrals
are pure JAX functions of one galaxy's parameters, closed where a closed
form exists: batch them with `jax.vmap`, differentiate them with `jax.grad`.
Use them to make many galaxies; with an SFZH at hand they are not needed.

    history parameters -> masses in the age bins      \
                                                        outer product, SFZH
    metallicity parameters -> weights of the nodes    /

Parameters have the names of Synthesizer's classes; times are in yr. The
functions themselves, and their accuracy, are in `sf_hists` and
`metal_dists`. Synthesizer's `quad` is accurate to 2e-8; it may miss a cut
very near the edge of a bin, or a burst much narrower than a bin, altogether.
"""

from collections.abc import Callable, Mapping, Sequence
from functools import partial
from inspect import signature
from typing import Any, TypeAlias, get_args, get_type_hints

import jax.numpy as jnp
import numpy as np
from jax import Array
from jax.typing import ArrayLike
from jaxtyping import Float
from numpy.typing import NDArray
from synthesizer.exceptions import (
    InconsistentArguments,
    MissingAttribute,
    UnimplementedFunctionality,
)
from synthesizer.parametric import SFH, Stars, ZDist

from synthesizer_emulator.galaxies.integrals import bin_limits
from synthesizer_emulator.galaxies.metal_dists import METAL_DISTS
from synthesizer_emulator.galaxies.sf_hists import SF_HISTS
from synthesizer_emulator.units import PURE, in_units, units_of
from synthesizer_emulator.validation import nearest

# Histories by the names of Synthesizer's classes: `SF_HISTS`, `METAL_DISTS`.
Histories: TypeAlias = Mapping[str, Callable[..., Array]]

# Parameters whose plain numbers are log10 of a time in yr.
_LOGGED = ("agebins",)

# Parameters under another name on Synthesizer's objects.
_ATTRIBUTES = {"metallicity": "metallicity_"}


def sfzh(
    ages: NDArray,
    metallicities: NDArray,
    sf_hist: str,
    metal_dist: str,
    sf_parameters: Mapping[str, ArrayLike],
    metal_parameters: Mapping[str, ArrayLike],
) -> Float[Array, "nages nmetals"]:
    """Return the fraction of a galaxy's initial mass at each node of a grid.

    Synthesizer's `Stars(...).sfzh` for an initial mass of one. All of it is
    NaN if the history forms no stars within the grid's ages.

    Args:
        ages (np.ndarray of float): The ages of the grid, yr, (n_ages,).
        metallicities (np.ndarray of float): Its metallicities, (n_Z,).
        sf_hist (str): The star formation history, a key of `SF_HISTS`.
        metal_dist (str): The metallicity distribution, a key of
            `METAL_DISTS`.
        sf_parameters (Mapping): The parameters of the history, by name.
        metal_parameters (Mapping): Those of the distribution.

    Returns:
        Array: Shape (n_ages, n_Z), of sum one.

    Raises:
        UnimplementedFunctionality: If the history is not translated.
        InconsistentArguments: If it has no parameter of a given name.
        MissingAttribute: If one of its parameters is missing.
        IncorrectUnits: If something has units that are not its own.

    Examples:
        >>> import numpy as np
        >>> ages, metallicities = np.geomspace(1e6, 1e10, 50), [0.004, 0.02]
        >>> mass_fractions = sfzh(
        ...     ages,
        ...     metallicities,
        ...     "DelayedExponential",
        ...     "DeltaConstant",
        ...     {"tau": 1e9, "max_age": 5e9},
        ...     {"metallicity": 0.01},
        ... )
        >>> mass_fractions.shape, round(float(mass_fractions.sum()), 4)
        ((50, 2), 1.0)
    """
    masses_of = _with_parameters(SF_HISTS, sf_hist, sf_parameters)
    weights_of = _with_parameters(METAL_DISTS, metal_dist, metal_parameters)
    masses = masses_of(bin_limits(in_units("ages", ages, "yr")))
    nodes = in_units("metallicities", metallicities, PURE)
    weights = weights_of(np.asarray(nodes, np.float64))
    return jnp.outer(masses / masses.sum(), weights / weights.sum())


def native_sfzh(
    ages: NDArray,
    metallicities: NDArray,
    sf_hist: SFH.Common,
    metal_dist: ZDist.Common,
) -> NDArray[np.float64]:
    """Return Synthesizer's own SFZH of one galaxy, for any history.

    Hundreds of times slower than `sfzh`, and without derivatives.

    Args:
        ages (np.ndarray of float): The ages of the grid, yr, (n_ages,).
        metallicities (np.ndarray of float): Its metallicities, (n_Z,).
        sf_hist (SFH.Common): Any star formation history of Synthesizer.
        metal_dist (ZDist.Common): Any metallicity distribution.

    Returns:
        np.ndarray of float: Shape (n_ages, n_Z), of sum one.
    """
    stars = Stars(
        np.log10(in_units("ages", ages, "yr")),
        np.asarray(in_units("metallicities", metallicities, PURE)),
        sf_hist=sf_hist,
        metal_dist=metal_dist,
    )
    return stars.sfzh / stars.sfzh.sum()


def plain_parameters(
    functions: Histories, name: str, parameters: Mapping[str, Any]
) -> dict[str, Any]:
    """Return the parameters of a history as plain numbers, times in yr.

    Args:
        functions (Mapping): `SF_HISTS` or `METAL_DISTS`.
        name (str): The history.
        parameters (Mapping): Its parameters, by name.

    Raises:
        UnimplementedFunctionality: If the history is not translated.
        IncorrectUnits: If one has units that are not its own.
    """
    units = units_of_history(functions, name)
    plain = {}
    for parameter, value in parameters.items():
        what = f"'{parameter}' of {name}"
        unit = units.get(parameter, PURE)
        if parameter in _LOGGED and units_of(value) == "yr":
            # As Synthesizer does; the first bin begins at age zero.
            ages = np.maximum(in_units(what, value, "yr"), 1.0)
            plain[parameter] = np.log10(ages)
        else:
            plain[parameter] = in_units(what, value, unit)
    return plain


def stack_parameters(
    histories: Sequence[SFH.Common] | Sequence[ZDist.Common],
) -> tuple[str, dict[str, NDArray[np.float64]]]:
    """Return the name and the parameters of Synthesizer's own histories.

    Args:
        histories (sequence): Histories, or metallicity distributions, of n
            galaxies, all of one class.

    Returns:
        tuple: The key in `SF_HISTS` or `METAL_DISTS`, and each parameter
            of all galaxies, (n, ...), times in yr.

    Raises:
        UnimplementedFunctionality: If their class is not translated: use
            `native_sfzh`.
        InconsistentArguments: If they differ in class, or in the shape of
            a parameter.
        IncorrectUnits: If a parameter has units that are not its own.
    """
    names = {type(history).__name__ for history in histories}
    if len(names) != 1:
        raise InconsistentArguments(
            "Expected histories of one class to stack, got "
            f"{', '.join(sorted(names)) or 'none'}."
        )
    (name,) = names
    functions = (
        METAL_DISTS if isinstance(histories[0], ZDist.Common) else SF_HISTS
    )
    columns = {}
    for parameter, units in units_of_history(functions, name).items():
        attribute = _ATTRIBUTES.get(parameter, parameter)
        what = f"'{parameter}' of {name}"
        values = [
            np.asarray(in_units(what, getattr(h, attribute), units))
            for h in histories
        ]
        shapes = {value.shape for value in values}
        if len(shapes) != 1:
            raise InconsistentArguments(
                f"{what} has to have one shape, got "
                f"{', '.join(map(str, sorted(shapes)))}."
            )
        columns[parameter] = np.stack(values).astype(np.float64)
    return name, columns


def find_history(functions: Histories, name: str) -> Callable[..., Array]:
    """Return a history by the name of Synthesizer's class.

    Raises:
        InconsistentArguments: If Synthesizer has no such history.
        UnimplementedFunctionality: If it has, but it is not translated.
    """
    if name in functions:
        return functions[name]
    known = ", ".join(functions)
    if not hasattr(ZDist if functions is METAL_DISTS else SFH, name):
        raise InconsistentArguments(
            f"Synthesizer has no '{name}' with a batched form; available: "
            f"{known}.{nearest(name, functions)}"
        )
    raise UnimplementedFunctionality(
        f"'{name}' has no batched form; available: {known}. Make its SFZH "
        "with native_sfzh."
    )


def units_of_history(functions: Histories, name: str) -> dict[str, str]:
    """Return the units of the parameters of a history, in their order.

    Args:
        functions (Mapping): `SF_HISTS` or `METAL_DISTS`.
        name (str): The history.

    Raises:
        UnimplementedFunctionality: If the history is not translated.
    """
    history = find_history(functions, name)
    _, *names = signature(history).parameters
    hints = get_type_hints(history, include_extras=True)
    return {
        name: "yr" if "yr" in get_args(hints[name]) else PURE for name in names
    }


def _with_parameters(
    functions: Histories, name: str, parameters: Mapping[str, ArrayLike]
) -> Callable[[NDArray], Array]:
    """Return a history with its parameters, as a function of the nodes."""
    function = find_history(functions, name)
    _, *known = signature(function).parameters.values()
    names = [parameter.name for parameter in known]
    unknown = [key for key in parameters if key not in names]
    if unknown:
        raise InconsistentArguments(
            f"{name} has no parameter {', '.join(unknown)}; it has: "
            f"{', '.join(names)}."
            + "".join(nearest(key, names) for key in unknown)
        )
    missing = [
        parameter.name
        for parameter in known
        if parameter.default is parameter.empty
        and parameter.name not in parameters
    ]
    if missing:
        raise MissingAttribute(
            f"{name} needs {', '.join(missing)} as well, got "
            f"{', '.join(parameters) or 'nothing'}."
        )
    return partial(function, **plain_parameters(functions, name, parameters))
