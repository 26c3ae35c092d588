"""The galaxies of a Synference basis, evaluated in batches.

A `GalaxyModel` computes their emission and the stellar mass at the nodes of
the grid. Histories and supplementary functions without a batched form are
evaluated with Synthesizer's objects, galaxy by galaxy.
"""

from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace
from functools import partial
from operator import itemgetter
from typing import Any

import jax
import numpy as np
from jax import Array
from numpy.typing import NDArray
from synference import GalaxyBasis
from synference.library import muv_filter
from synthesizer.exceptions import (
    InconsistentArguments,
    UnimplementedFunctionality,
)
from synthesizer.grid import Grid
from synthesizer.instruments import FilterCollection
from unyt import unyt_array, unyt_quantity

from synthesizer_emulator.digests import digest
from synthesizer_emulator.galaxies.batches import in_batches
from synthesizer_emulator.galaxies.histories import (
    stack_parameters,
)
from synthesizer_emulator.galaxies.model import GalaxyModel
from synthesizer_emulator.library import metadata
from synthesizer_emulator.library.synference.native import NativeGalaxies
from synthesizer_emulator.library.synference.recorded import (
    Record,
    varying_parameters,
)
from synthesizer_emulator.library.synference.supplements import (
    Sums,
    Supplements,
    mass_at_nodes,
    translate_supplement,
)
from synthesizer_emulator.units import in_units

# The prefixes of the parameters of components other than stars.
_OTHERS = ("bh_", "gas_")

# The number of galaxies searched for one with finite results.
_TRIED_GALAXIES = 100


@dataclass(frozen=True)
class _Group:
    """Galaxies with histories of the same classes.

    Attributes:
        members (np.ndarray of int): The indices of the m galaxies, in
            ascending order, (m,).
        histories (dict): The names of the histories, `sf_hist` and
            `metal_dist` of `GalaxyModel`; both None without a batched form.
        values (dict): The parameters of the galaxies for `in_batches`,
            without the SFZH of histories that have no batched form.
    """

    members: NDArray[np.int64]
    histories: dict[str, Any]
    values: dict[str, Any]


@dataclass(frozen=True)
class _Drawn:
    """What is needed to evaluate the n galaxies of a part.

    Attributes:
        which (slice): The indices of the galaxies.
        parameters (np.ndarray of float): The parameters in the file, (n, k).
        groups (list of _Group): The groups with only these galaxies.
    """

    which: slice
    parameters: NDArray[np.float64]
    groups: list[_Group]


class MockGalaxies:
    """The galaxies of a library, evaluated part by part.

    When pickled, as for the workers of a cluster, only the models remain,
    which `evaluate` needs for galaxies from `draw`.

    Args:
        basis (GalaxyBasis): The basis.
        record (Record): The parameters of the galaxies.
        emission (str): The label of the observed emission.
        output (str): The output, one of `galaxies.OUTPUTS`.
        igm (IGMBase): The model of the intergalactic medium, or None.
        functions (dict): The supplementary functions and their other
            arguments, by name.
        tolerance (float): As for `compile_model`.

    Attributes:
        record (Record): The parameters of the galaxies.
        unsupported (list of str): The inputs that require Synference's
            pipeline for the whole library.
        one_by_one (list of str): The inputs evaluated galaxy by galaxy.
        supplements (dict): The units of the supplementary parameters by
            name, in the order of the file.

    Raises:
        MissingAttribute: If parameters of the emission model are missing.
        IncorrectUnits: If a parameter has wrong units.
        MissingUnits: If a parameter needs units and has none.
    """

    def __init__(
        self,
        basis: GalaxyBasis,
        record: Record,
        emission: str,
        output: str,
        igm: Any,
        functions: Mapping[str, Any],
        tolerance: float,
    ) -> None:
        self.record = record
        self.unsupported: list[str] = []
        self.one_by_one: list[str] = []
        self._basis = basis
        self._emission = emission
        self._saved = list(basis.emission_model.saved_labels)
        self._output = output
        self._igm = igm
        self._tolerance = tolerance
        self._native = NativeGalaxies(basis, record, emission, igm)
        self._functions = {
            name: (entry, ()) if callable(entry) else (entry[0], entry[1:])
            for name, entry in functions.items()
        }
        self._batched = self._translated()
        self._called = {
            name: function
            for name, function in self._functions.items()
            if name not in self._batched.by_name
        }
        self._groups = list(self._grouped())
        self.unsupported += [
            f"{name}: a component other than stars"
            for name in basis.galaxy_params
            if name.startswith(_OTHERS)
        ]
        try:
            self._models = self._compiled()
        except UnimplementedFunctionality as error:
            self.unsupported.append(str(error))
        if not self.unsupported:
            self.supplements = self._units_of_supplements()

    @property
    def about(self) -> dict[str, Any]:
        """Inputs of the library as JSON values, for `Parts`."""
        basis, root = self._basis, self._basis.emission_model
        varying, fixed = self._split()
        native = [
            (basis.sfhs[i], basis.metal_dists[i])
            for group in self._groups
            if group.histories["sf_hist"] is None
            for i in group.members
        ]
        labels = [self._emission, *(self._saved if self._called else ())]
        return {
            "grids": metadata.describe_grids(root),
            "emission model": metadata.describe_model(root),
            "recipe": {
                label: metadata.describe_recipe(
                    root[label], None, varying, fixed
                )
                for label in labels
            },
            "intergalactic medium": metadata.describe_igm(self._igm),
            "cosmo": repr(basis.cosmo),
            "distances": metadata.describe_distances(basis.cosmo),
            "filters": metadata.describe_filters(self._filters),
            "emission": self._emission,
            "tolerance": float(self._tolerance),
            "kind": self._output,
            "galaxies": digest([g.values for g in self._groups]),
            "histories": digest(self.record.parameters, native),
            "supplementary parameters": {
                name: digest(
                    function, [_described(argument) for argument in arguments]
                )
                for name, (function, arguments) in self._functions.items()
            },
            "software": metadata.describe_software(),
        }

    @property
    def row_bytes(self) -> int:
        """Memory needed for one galaxy of a part, bytes."""
        observed = self._models["observed"]
        nodes = int(np.prod(observed.emission.nodes))
        numbers = (
            len(self.record.names) + len(self.supplements) + _width(observed)
        )
        if self._called or any(
            group.histories["sf_hist"] is None for group in self._groups
        ):
            numbers += nodes
        if self._called:
            numbers += len(self._saved) * len(self._lam)
        return 8 * numbers

    def draw(self, which: slice) -> _Drawn:
        """Return the parameters of some galaxies, for `evaluate`."""
        groups = []
        for group in self._groups:
            ends = np.searchsorted(group.members, (which.start, which.stop))
            within = slice(*ends)
            members = group.members[within]
            if not len(members):
                continue
            values = jax.tree.map(itemgetter(within), group.values)
            if group.histories["sf_hist"] is None:
                values["sfzh"] = self._native_fractions(members)
            groups.append(_Group(members, group.histories, values))
        return _Drawn(which, self.record.parameters[which], groups)

    def evaluate(self, drawn: _Drawn) -> dict[str, NDArray]:
        """Compute the arrays of some galaxies, with one row per galaxy."""
        n = len(drawn.parameters)
        observed = np.empty((n, _width(self._models["observed"])), np.float32)
        supplements = np.empty((n, len(self.supplements)))
        for group in drawn.groups:
            rows = group.members - drawn.which.start
            observed[rows] = self._evaluated("observed", group, group.values)
            supplements[rows] = self._supplements(
                group, group.values, group.members
            )
        return {
            "parameters": drawn.parameters,
            "observed": observed,
            "supplementary": supplements,
        }

    def __getstate__(self) -> dict[str, Any]:
        """Return what `evaluate` needs of inputs with a batched form."""
        needed = ("supplements", "_models", "_batched", "_called")
        return {name: vars(self)[name] for name in needed}

    @property
    def _filters(self) -> FilterCollection | None:
        """Filters of the photometry; None for spectra."""
        in_bands = self._output == "photometry"
        return self._basis.instrument.filters if in_bands else None

    def _split(self) -> tuple[dict[str, Any], dict[str, Any]]:
        """Return the varying and the fixed parameters of the galaxies."""
        params = self._basis.galaxy_params
        varying = varying_parameters(params)
        return varying, {k: v for k, v in params.items() if k not in varying}

    def _translated(self) -> Supplements:
        """Return the supplementary parameters with a batched form."""
        batched = {}
        for name, (function, arguments) in self._functions.items():
            supplement = translate_supplement(
                function, arguments, self._basis.grid
            )
            if supplement is not None:
                batched[name] = supplement
            else:
                title = getattr(function, "__qualname__", function)
                self.one_by_one.append(
                    f"{name}: the supplementary function {title}"
                )
        return Supplements(batched)

    def _grouped(self) -> Iterator[_Group]:
        """Yield groups of galaxies with histories of the same classes."""
        basis = self._basis
        members = defaultdict(list)
        pairs = zip(basis.sfhs, basis.metal_dists, strict=True)
        for i, (sf_hist, metal_dist) in enumerate(pairs):
            members[type(sf_hist), type(metal_dist)].append(i)
        emission = {
            name: np.asarray(in_units(f"'{name}'", values, None), np.float64)
            for name, values in varying_parameters(basis.galaxy_params).items()
            if np.ndim(values) == 1
        }
        parameters = {
            "initial_mass": 10.0**self.record.log10_masses,
            "redshift": np.asarray(basis.redshifts, np.float64),
            "emission": emission,
        }
        for indices in map(np.array, members.values()):
            values = jax.tree.map(itemgetter(indices), parameters)
            histories: dict[str, Any] = {}
            for kind, objects in (
                ("sf_hist", basis.sfhs),
                ("metal_dist", basis.metal_dists),
            ):
                try:
                    histories[kind], values[kind] = stack_parameters(
                        [objects[i] for i in indices]
                    )
                except (
                    UnimplementedFunctionality,
                    InconsistentArguments,
                ) as error:
                    self.one_by_one.append(f"{kind}: {error}")
            if len(histories) < 2:
                histories = {"sf_hist": None, "metal_dist": None}
                values = {name: values[name] for name in parameters}
            yield _Group(indices, histories, values)

    def _compiled(self) -> dict[str, GalaxyModel]:
        """Compile the models of the observed and other emissions, by name."""
        basis, root = self._basis, self._basis.emission_model
        varying, fixed = self._split()
        make = partial(
            GalaxyModel.from_model,
            varying=varying,
            fixed=fixed,
            tolerance=self._tolerance,
        )
        model = root[self._emission]
        observed = make(
            model,
            filters=self._filters,
            cosmo=basis.cosmo,
            igm=self._igm,
            max_redshift=_beyond(basis.redshifts),
            outputs=[self._output],
        )
        # `_grouped` converted the parameters before the model's units were
        # known.
        observed.emission.check_stated(varying)
        models = {"observed": observed}
        if self._batched.far_uv:
            models["far_uv"] = make(
                model, filters=muv_filter, outputs=["luminosities"]
            )
        if self._called:
            models |= {
                label: make(root[label], outputs=["lnu"])
                for label in self._saved
            }
        return models

    @property
    def _lam(self) -> unyt_array:
        """Wavelengths of the spectra."""
        return self._basis.emission_model.lam

    def _evaluated(
        self,
        name: str,
        group: _Group,
        values: Mapping[str, Any],
        function: Callable[[GalaxyModel, Any], Any] | None = None,
    ) -> NDArray:
        """Evaluate a model, or a function of it, for galaxies, (n, ...)."""
        model = replace(self._models[name], **group.histories)
        # Each model takes only the parameters that it depends on.
        names = model.emission.parameters
        emission = {k: v for k, v in values["emission"].items() if k in names}
        values = {**values, "emission": emission}
        batches = in_batches(model, values, function=function or _output)
        return np.concatenate([values for _, values in batches])

    def _native_fractions(self, members: NDArray) -> NDArray[np.float64]:
        """Return mass fractions from Synthesizer, (n, n_ages, n_Z)."""
        model = self._models["observed"]
        return self._native.mass_fractions(
            members, np.array(model.ages), np.array(model.metallicities)
        )

    def _supplements(
        self, group: _Group, values: Mapping[str, Any], members: NDArray
    ) -> NDArray[np.float64]:
        """Compute the supplementary parameters, (n, n_supplements)."""
        n = len(members)
        far_uv = np.empty(0)
        if "far_uv" in self._models:
            far_uv = self._evaluated("far_uv", group, values).ravel()
        sums = np.empty((n, 0))
        if self._batched.tables:
            sums = self._evaluated(
                "observed", group, values, self._batched.mass_sums
            )
        columns = self._batched.values(Sums(sums, far_uv, values["redshift"]))
        if self._called:
            quantities = list(self._call(group, values, members))
            for name in self._called:
                units = self.supplements[name]
                columns[name] = np.array(
                    [
                        q[name].to_value(units) if q else np.nan
                        for q in quantities
                    ]
                )
        ordered = [columns[name][:, None] for name in self.supplements]
        return np.concatenate([np.empty((n, 0)), *ordered], axis=1)

    def _call(
        self, group: _Group, values: Mapping[str, Any], members: NDArray
    ) -> Iterator[dict[str, unyt_quantity]]:
        """Yield the results of supplementary functions, galaxy by galaxy."""
        masses = self._evaluated("observed", group, values, mass_at_nodes)
        spectra = {
            label: self._evaluated(label, group, values)
            for label in self._saved
        }
        for row, i in enumerate(members):
            lnu = {label: rows[row] for label, rows in spectra.items()}
            yield self._native.call(self._called, i, masses[row], lnu)

    def _units_of_supplements(self) -> dict[str, str]:
        """Return the units of the supplementary parameters, in file order."""
        units = {name: s.units for name, s in self._batched.by_name.items()}
        if self._called:
            units |= {
                name: str(q.units) for name, q in self._first_called().items()
            }
        return dict(sorted(units.items()))

    def _first_called(self) -> dict[str, unyt_quantity]:
        """Return the results of functions for the first galaxy with stars."""
        for group in self._groups:
            for row, i in enumerate(group.members[:_TRIED_GALAXIES]):
                values = jax.tree.map(itemgetter([row]), group.values)
                if group.histories["sf_hist"] is None:
                    values["sfzh"] = self._native_fractions(np.array([i]))
                for results in self._call(group, values, np.array([i])):
                    if results:
                        return results
        raise InconsistentArguments(
            "Some of the first galaxies must form stars within the ages of "
            "the grid, but none do. Change their star formation histories."
        )


def _output(model: GalaxyModel, values: Mapping[str, Any]) -> Array:
    """Return the output of a model of one emission, for one galaxy."""
    (emissions,) = model.galaxy(values).values()
    (output,) = emissions.values()
    return output


def _width(model: GalaxyModel) -> int:
    """Return the number of bands or wavelengths of the output."""
    if model.bands is not None:
        return len(model.bands.codes)
    return len(model.emission.lam)


def _beyond(redshifts: NDArray) -> float:
    """Return a redshift above all finite ones."""
    redshifts = np.asarray(redshifts, np.float64)
    return 1.0 + float(redshifts[np.isfinite(redshifts)].max(initial=0.0))


def _described(argument: Any) -> Any:
    """Replace a grid by its metadata, for a digest."""
    if isinstance(argument, Grid):
        return metadata.describe_grid(argument), argument.stellar_fraction
    return argument
