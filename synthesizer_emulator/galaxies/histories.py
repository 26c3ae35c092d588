r"""Star formation and metal histories as functions of their parameters.

Synthesizer integrates a history over the bin around each node of a grid with
`quad`, which takes longer than the spectra. Here the same integrals are pure
JAX functions of the parameters of one galaxy, in closed form where one exists:
batch them with `jax.vmap`, differentiate them with `jax.grad`.

    history parameters -> masses in the age bins      \
                                                        outer product, SFZH
    metallicity parameters -> weights of the nodes    /

Parameters are named as in Synthesizer's classes; times are in yr. The
functions and their accuracy are described in `sf_hists` and `metal_dists`.
Synthesizer's `quad` is accurate to 2e-8, but may miss a cut very near the edge
of a bin, or a burst much narrower than a bin, altogether.
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

from synthesizer_emulator.galaxies.dense_basis import check_number_of_times
from synthesizer_emulator.galaxies.integrals import bin_limits
from synthesizer_emulator.galaxies.metal_dists import METAL_DISTS
from synthesizer_emulator.galaxies.sf_hists import SF_HISTS
from synthesizer_emulator.units import PURE, in_units, units_of
from synthesizer_emulator.validation import nearest

# Functions by the names of Synthesizer's classes: `SF_HISTS`, `METAL_DISTS`.
Histories: TypeAlias = Mapping[str, Callable[..., Array]]

# Parameters whose plain numbers are log10 of a time in yr.
_LOGGED = ("agebins",)

# Parameters that may have several values for one galaxy.
ARRAYS = (
    "agebins",
    "db_tuple",
    "fixed_old_bin",
    "fixed_young_bin",
    "logsfr_ratio_old",
    "logsfr_ratios",
    "z_fraction",
)

# The types of single numbers without units.
_SCALARS = {float, int, np.float64, np.float32}

# Parameters that Synthesizer's objects store under another name.
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

    Equal to Synthesizer's `Stars(...).sfzh` for an initial mass of one. All
    fractions are NaN if no stars form within the ages of the grid.

    Args:
        ages (np.ndarray of float): The ages of the grid, yr, (n_ages,).
        metallicities (np.ndarray of float): Its metallicities, (n_Z,).
        sf_hist (str): The star formation history, a key of `SF_HISTS`.
        metal_dist (str): The metallicity distribution, a key of
            `METAL_DISTS`.
        sf_parameters (Mapping): The parameters of the history, by name.
        metal_parameters (Mapping): The parameters of the metallicity
            distribution, by name.

    Returns:
        Array: The mass fractions, (n_ages, n_Z), with a sum of one.

    Raises:
        UnimplementedFunctionality: If the history has no batched form.
        InconsistentArguments: If the history has no parameter of a given
            name.
        MissingAttribute: If a parameter is missing.
        IncorrectUnits: If an argument has the wrong units.

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
    """Return the SFZH of one galaxy from Synthesizer, for any history.

    This is hundreds of times slower than `sfzh`, and not differentiable.

    Args:
        ages (np.ndarray of float): The ages of the grid, yr, (n_ages,).
        metallicities (np.ndarray of float): Its metallicities, (n_Z,).
        sf_hist (SFH.Common): Any star formation history of Synthesizer.
        metal_dist (ZDist.Common): Any metallicity distribution.

    Returns:
        np.ndarray of float: The mass fractions, (n_ages, n_Z), with a sum
            of one.
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

    Raises:
        UnimplementedFunctionality: If the history has no batched form.
        IncorrectUnits: If a parameter has the wrong units.
        InconsistentArguments: If a `db_tuple` has more or fewer times than it
            says.
    """
    units = units_of_history(functions, name)
    plain = {}
    for parameter, value in parameters.items():
        what = f"'{parameter}' of {name}"
        unit = units.get(parameter, PURE)
        if parameter in _LOGGED and units_of(value) == "yr":
            # As in Synthesizer; the first bin starts at age zero.
            ages = np.maximum(in_units(what, value, "yr"), 1.0)
            plain[parameter] = np.log10(ages)
        else:
            plain[parameter] = in_units(what, value, unit)
        if parameter == "db_tuple":
            check_number_of_times(plain[parameter])
    return plain


def stack_parameters(
    histories: Sequence[SFH.Common] | Sequence[ZDist.Common],
) -> tuple[str, dict[str, NDArray[np.float64]]]:
    """Return the class and the stacked parameters of Synthesizer's histories.

    Args:
        histories (sequence): Star formation histories, or metallicity
            distributions, of n galaxies, all of one class.

    Returns:
        tuple: The name of the class, a key of `SF_HISTS` or `METAL_DISTS`,
            and the parameters by name, (n, ...), times in yr.

    Raises:
        UnimplementedFunctionality: If the class has no batched form; use
            `native_sfzh`.
        InconsistentArguments: If the histories differ in class, or in the
            shape of a parameter.
        IncorrectUnits: If a parameter has the wrong units.
    """
    names = {type(history).__name__ for history in histories}
    if len(names) != 1:
        raise InconsistentArguments(
            "The histories to stack must be of one class, got "
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
        given = [getattr(h, attribute) for h in histories]
        # Those without units are not converted, which takes longer than a
        # galaxy.
        kinds = {type(value) for value in given}
        if kinds <= _SCALARS:
            columns[parameter] = np.array(given, np.float64)
            continue
        values = given
        if kinds != {np.ndarray}:
            values = [np.asarray(in_units(what, v, units)) for v in given]
        shapes = {value.shape for value in values}
        if len(shapes) != 1:
            raise InconsistentArguments(
                f"{what} must have the same shape in all histories, got "
                f"{', '.join(map(str, sorted(shapes)))}."
            )
        columns[parameter] = np.stack(values).astype(np.float64)
    return name, columns


def find_history(functions: Histories, name: str) -> Callable[..., Array]:
    """Return the function of a history from the name of Synthesizer's class.

    Raises:
        InconsistentArguments: If Synthesizer has no class of that name.
        UnimplementedFunctionality: If the class has no batched form.
    """
    if name in functions:
        return functions[name]
    known = ", ".join(functions)
    if not hasattr(ZDist if functions is METAL_DISTS else SFH, name):
        raise InconsistentArguments(
            f"The history must be one of {known}, got '{name}'."
            f"{nearest(name, functions)}"
        )
    raise UnimplementedFunctionality(
        f"'{name}' has no batched form; those with one are {known}. Use "
        "native_sfzh for its SFZH."
    )


def units_of_history(functions: Histories, name: str) -> dict[str, str]:
    """Return the units of the parameters of a history, in order.

    Raises:
        UnimplementedFunctionality: If the history has no batched form.
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
    """Return a history with given parameters, as a function of the nodes."""
    function = find_history(functions, name)
    _, *known = signature(function).parameters.values()
    names = [parameter.name for parameter in known]
    unknown = [key for key in parameters if key not in names]
    if unknown:
        raise InconsistentArguments(
            f"{name} has no parameter {', '.join(unknown)}; its parameters "
            f"are {', '.join(names)}."
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
            f"{name} needs {', '.join(missing)}, got only "
            f"{', '.join(parameters) or 'no parameters'}."
        )
    return partial(function, **plain_parameters(functions, name, parameters))
