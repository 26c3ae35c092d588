"""The parameters of galaxies that Synference stores in a library.

Their names, order and units are those of Synference's pipeline, but no galaxy
is made.
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
        columns (dict): All parameters by name, with one value per galaxy.
        varying (list of str): The parameters that differ between galaxies.
        fixed (dict): The values of the other parameters, and their units.
        parameters (np.ndarray of float): The parameters stored, (n,
            n_parameters).
        names (list of str): The names of the parameters stored.
        units (list of str): The units of the parameters stored.
    """

    columns: dict[str, list[Any]]
    varying: list[str]
    fixed: dict[str, tuple[Any, str]]
    parameters: NDArray[np.float64]
    names: list[str]
    units: list[str]

    @property
    def log10_masses(self) -> NDArray[np.float64]:
        """log10 of the initial masses in Msun, (n,)."""
        return self.parameters[:, self.names.index("log_mass")]

    @classmethod
    def from_basis(
        cls, basis: GalaxyBasis, log_stellar_masses: NDArray
    ) -> Self:
        """Collect the parameters of the galaxies of a basis.

        Args:
            basis (GalaxyBasis): The basis.
            log_stellar_masses (np.ndarray of float): log10 of the initial
                masses in Msun, (n,).

        Raises:
            InconsistentArguments: If the histories have different
                parameters.
        """
        columns = _columns(basis)
        varying, fixed = _sorted(columns, basis.params_to_ignore)
        stored = [np.asarray(basis.redshifts), log_stellar_masses]
        names = ["redshift", "log_mass"]
        units = ["dimensionless", "log10_Msun"]
        for name in varying:
            if name == "redshift":
                continue
            column = unyt_array(columns[name])
            stored.append(column.value)
            names.append(name)
            units.append(UNIT_DICT.get(name.lower(), str(column.units)))
        parameters = np.stack(stored, axis=1).astype(np.float64)
        return cls(columns, varying, fixed, parameters, names, units)


def varying_parameters(galaxy_params: Mapping[str, Any]) -> dict[str, Any]:
    """Return the parameters with one value per galaxy."""
    return {
        name: values
        for name, values in galaxy_params.items()
        if isinstance(values, list | np.ndarray) and np.ndim(values)
    }


def _columns(basis: GalaxyBasis) -> dict[str, list[Any]]:
    """Return all parameters by name, with one value per galaxy."""
    n = len(basis.sfhs)
    varying = varying_parameters(basis.galaxy_params)
    columns = {
        name: [value] * n
        for name, value in basis.galaxy_params.items()
        if name not in varying
    }
    columns |= {name: list(values) for name, values in varying.items()}
    columns["redshift"] = list(basis.redshifts)
    columns |= _history_columns("sfh", basis.sfhs)
    columns |= _history_columns("metal_dist", basis.metal_dists)
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


def _history_columns(
    kind: str, histories: Sequence[Any]
) -> dict[str, list[Any]]:
    """Return the parameters of histories by name, one value per galaxy."""
    if not any(hasattr(history, "parameters") for history in histories):
        # Bursts, given only by their ages.
        return {kind: list(histories)}
    names = getattr(histories[0], "parameters", {}).keys()
    if any(
        getattr(history, "parameters", {}).keys() != names
        for history in histories
    ):
        raise InconsistentArguments(
            f"The histories ({kind}) of a library must have the same "
            f"parameters; the first has {', '.join(names) or 'none'}. Make "
            "separate libraries."
        )
    return {name: [h.parameters[name] for h in histories] for name in names}


def _reparametrised(
    row: dict[str, Any], alternatives: Mapping[str, tuple[Any, Any]]
) -> dict[str, Any]:
    """Replace parameters of a galaxy by their alternatives."""
    replaced = []
    for name, (new, function) in alternatives.items():
        if name not in row:
            continue
        if isinstance(new, str):
            row[new] = function(row)
        else:
            for parameter in new:
                row[parameter] = function(parameter, row)
        replaced.append(name)
    for name in replaced:
        row.pop(name, None)
    return row


def _sorted(
    columns: Mapping[str, Sequence[Any]], ignored: Sequence[str]
) -> tuple[list[str], dict[str, tuple[Any, str]]]:
    """Return the names of varying parameters, and the values of fixed ones.

    Parameters with several values per galaxy are left out.
    """
    varying, fixed = [], {}
    for name, column in columns.items():
        if name in ignored:
            continue
        distinct = _distinct(column)
        if len(distinct) > 1:
            varying.append(name)
        elif distinct and distinct != [None]:
            fixed[name] = distinct[0], str(getattr(column[-1], "units", ""))
    return varying, fixed


def _distinct(column: Sequence[Any]) -> list[Any]:
    """Return the distinct values of a parameter, without units.

    At most two numbers are returned; and no values if the parameter has
    several per galaxy.
    """
    try:
        values = np.array(column)
    except ValueError:
        # The number of values differs between galaxies.
        return []
    if values.ndim != 1:
        return []
    if values.dtype.kind in "biuf":
        others = values[values != values[0]]
        return [values[0].item(), *others[:1].tolist()]
    return list(set(column))
