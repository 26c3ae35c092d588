"""What Synference records of galaxies beside their light.

The parameters of each galaxy under the names, in the order and in the units
that Synference's own pipeline gives them, without making any galaxy. The
rest of this room needs it, nobody else.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray
from synference import GalaxyBasis
from synference.library import UNIT_DICT
from synthesizer.exceptions import InconsistentArguments
from unyt import unyt_array


@dataclass(frozen=True)
class Record:
    """The parameters of the galaxies of a basis.

    Attributes:
        columns (dict): All that is known of the galaxies, by name, one
            value a galaxy.
        varying (list of str): The parameters that differ between them.
        fixed (dict): The values of those that don't, and their units.
        parameters (np.ndarray of float): What a library says of them, (n,
            n_parameters).
        names (list of str): The names of these parameters.
        units (list of str): Their units.
    """

    columns: dict[str, list[Any]]
    varying: list[str]
    fixed: dict[str, tuple[Any, str]]
    parameters: NDArray[np.float64]
    names: list[str]
    units: list[str]

    @classmethod
    def from_basis(
        cls, basis: GalaxyBasis, log_stellar_masses: NDArray
    ) -> Self:
        """Return what Synference would record.

        Args:
            basis (GalaxyBasis): The basis.
            log_stellar_masses (np.ndarray of float): log10 of the masses,
                Msun, (n,).

        Raises:
            InconsistentArguments: If histories differ in the names of their
                parameters.
        """
        columns = _columns(basis)
        varying, fixed = _sorted(columns, basis.params_to_ignore)
        found = [np.asarray(basis.redshifts), log_stellar_masses]
        names = ["redshift", "log_mass"]
        units = ["dimensionless", "log10_Msun"]
        for name in varying:
            if name == "redshift":
                continue
            column = unyt_array(columns[name])
            found.append(column.value)
            names.append(name)
            units.append(UNIT_DICT.get(name.lower(), str(column.units)))
        parameters = np.stack(found, axis=1).astype(np.float64)
        return cls(columns, varying, fixed, parameters, names, units)


def varying_parameters(galaxy_params: Mapping[str, Any]) -> dict[str, Any]:
    """Return the parameters that Synference has one value a galaxy of."""
    return {
        name: values
        for name, values in galaxy_params.items()
        if isinstance(values, list | np.ndarray) and np.ndim(values)
    }


def _columns(basis: GalaxyBasis) -> dict[str, list[Any]]:
    """Return all that is recorded of galaxies, as Synference does."""
    n = len(basis.sfhs)
    varying = varying_parameters(basis.galaxy_params)
    columns = {
        name: [value] * n
        for name, value in basis.galaxy_params.items()
        if name not in varying
    }
    columns |= {name: list(values) for name, values in varying.items()}
    columns["redshift"] = list(basis.redshifts)
    columns |= _of_histories("sfh", basis.sfhs)
    columns |= _of_histories("metal_dist", basis.metal_dists)
    if not basis.alt_parametrizations:
        return columns
    rows = [
        _reparametrised(
            dict(zip(columns, values, strict=True)),
            basis.alt_parametrizations,
        )
        for values in zip(*columns.values(), strict=True)
    ]
    return {name: [row[name] for row in rows] for name in rows[0]}


def _of_histories(kind: str, histories: Sequence[Any]) -> dict[str, list[Any]]:
    """Return the parameters of histories by their names."""
    if not any(hasattr(history, "parameters") for history in histories):
        # Bursts, which are nothing but an age.
        return {kind: list(histories)}
    names = getattr(histories[0], "parameters", {}).keys()
    if any(
        getattr(history, "parameters", {}).keys() != names
        for history in histories
    ):
        raise InconsistentArguments(
            f"The galaxies of one library need histories ({kind}) with the "
            f"same parameters; the first has {', '.join(names) or 'none'}."
        )
    return {name: [h.parameters[name] for h in histories] for name in names}


def _reparametrised(
    row: dict[str, Any], alternatives: Mapping[str, tuple[Any, Any]]
) -> dict[str, Any]:
    """Return a galaxy's parameters with others in place of some."""
    replaced = []
    for name, (new, function) in alternatives.items():
        if name not in row:
            continue
        if isinstance(new, str):
            row[new] = function(row)
        else:
            for each in new:
                row[each] = function(each, row)
        replaced.append(name)
    for name in replaced:
        row.pop(name, None)
    return row


def _sorted(
    columns: Mapping[str, Sequence[Any]], ignored: Sequence[str]
) -> tuple[list[str], dict[str, tuple[Any, str]]]:
    """Return which parameters vary, and the values of those that don't.

    A parameter with several values a galaxy is not recorded.
    """
    varying, fixed = [], {}
    for name, column in columns.items():
        if name in ignored:
            continue
        different = _different(column)
        if len(different) > 1:
            varying.append(name)
        elif different and different != [None]:
            fixed[name] = different[0], str(getattr(column[-1], "units", ""))
    return varying, fixed


def _different(column: Sequence[Any]) -> list[Any]:
    """Return what different values there are, without units.

    Of numbers not all: one, or two if they differ. None at all of what has
    several values a galaxy.
    """
    try:
        values = np.array(column)
    except ValueError:
        # As many values as each galaxy likes.
        return []
    if values.ndim != 1:
        return []
    if values.dtype.kind in "biuf":
        others = values[values != values[0]]
        return [values[0].item(), *others[:1].tolist()]
    return list(set(column))
