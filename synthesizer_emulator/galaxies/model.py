"""From the parameters of galaxies to what is observed of them, in batches.

`GalaxyModel` joins the parts that are pure functions of one galaxy: its
history, its emission, its light on the way to us, the filters. `in_batches`
evaluates it for any number of galaxies on all devices of a machine. Libraries
are made with it; whoever fits one galaxy needs `GalaxyModel.galaxy` alone.
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import TYPE_CHECKING, Any, Self

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array
from jax.sharding import Mesh, NamedSharding, PartitionSpec
from jax.tree_util import register_dataclass
from numpy.typing import NDArray
from synthesizer.emission_models import EmissionModel
from synthesizer.exceptions import InconsistentArguments, MissingAttribute

from synthesizer_emulator.forking import check_not_forked
from synthesizer_emulator.galaxies.emission import EmissionFunction
from synthesizer_emulator.galaxies.filters import GivenFilters, as_filters
from synthesizer_emulator.galaxies.histories import (
    METAL_DISTS,
    SF_HISTS,
    find_history,
    plain_parameters,
    sfzh,
)
from synthesizer_emulator.galaxies.photometry import Bands, Observer, lam_lims
from synthesizer_emulator.galaxies.translate import compile_model, grids_of
from synthesizer_emulator.units import PURE, in_units
from synthesizer_emulator.validation import (
    check_choice,
    check_memory,
    check_names,
    check_whole,
    nearest,
)

if TYPE_CHECKING:
    from astropy.cosmology import FLRW

# What can be had of a galaxy, and its units.
OUTPUTS: Mapping[str, str] = {
    "photometry": "nJy",
    "luminosities": "erg/s/Hz",
    "fnu": "nJy",
    "lnu": "erg/s/Hz",
}
IN_BANDS = ("photometry", "luminosities")
_OBSERVED = ("photometry", "fnu")

# What is said of a galaxy.
_OF_A_GALAXY = (
    "initial_mass",
    "redshift",
    "sf_hist",
    "metal_dist",
    "sfzh",
    "emission",
)

# What else there is to know of a galaxy than its histories and parameters.
_UNITS = {"initial_mass": "Msun", "redshift": PURE, "sfzh": PURE}

# How much memory a batch may take: what a processor's caches still help
# with, and that part of an accelerator's memory.
_BATCH_BYTES = 2**26
_PART_OF_DEVICE = 0.2
_LARGEST_BATCH = 2**15

_AXIS = "galaxies"


@register_dataclass
@dataclass(frozen=True, eq=False)
class GalaxyModel:
    """One galaxy's parameters to what is observed of it.

    A pytree whose `galaxy` is a pure function: pass it to what you compile.
    `from_model` makes one from Synthesizer's objects.

    Attributes:
        emission (EmissionFunction): The emission model.
        observer (Observer): What a cosmology and the intergalactic medium
            do; None in the rest frame.
        bands (Bands): The filters, or None.
        ages (tuple of float): The ages of the grid, yr.
        metallicities (tuple of float): Its metallicities.
        sf_hist (str): The star formation history of all galaxies, a key of
            `histories.SF_HISTS`; None if each brings its own SFZH.
        metal_dist (str): The metallicity distribution, a key of
            `histories.METAL_DISTS`; None in that case.
        outputs (tuple of str): What is returned, of `OUTPUTS`.

    Examples:
        >>> import jax
        >>> from synthesizer.emission_models import IncidentEmission
        >>> from synthesizer_emulator import EmulatedGrid
        >>> model = GalaxyModel.from_model(
        ...     IncidentEmission(EmulatedGrid.example()),
        ...     sf_hist="Constant",
        ...     metal_dist="DeltaConstant",
        ...     outputs=["lnu"],
        ... )
        >>> galaxy = {
        ...     "initial_mass": 1e10,
        ...     "sf_hist": {"max_age": 1e8},
        ...     "metal_dist": {"metallicity": 0.01},
        ... }
        >>> jax.jit(GalaxyModel.galaxy)(model, galaxy)["lnu"]["incident"].shape
        (1719,)
    """

    emission: EmissionFunction
    observer: Observer | None
    bands: Bands | None
    ages: tuple[float, ...] = field(metadata={"static": True})
    metallicities: tuple[float, ...] = field(metadata={"static": True})
    sf_hist: str | None = field(metadata={"static": True})
    metal_dist: str | None = field(metadata={"static": True})
    outputs: tuple[str, ...] = field(metadata={"static": True})

    @classmethod
    def from_model(
        cls,
        model: EmissionModel,
        sf_hist: str | None = None,
        metal_dist: str | None = None,
        filters: GivenFilters | None = None,
        cosmo: "FLRW | None" = None,
        igm: Any = None,
        max_redshift: float = 20.0,
        outputs: str | Iterable[str] = ("photometry",),
        emissions: str | Iterable[str] | None = None,
        varying: str | Iterable[str] = (),
        fixed: Mapping[str, Any] | None = None,
    ) -> Self:
        """Put a model together from Synthesizer's objects.

        Wavelengths that no filter can see are left out where nothing but
        photometry is asked for and no emission depends on them.

        Args:
            model (EmissionModel): The emission model.
            sf_hist (str): The star formation history, a key of
                `histories.SF_HISTS`; None if galaxies bring their SFZH.
            metal_dist (str): The metallicity distribution, one of
                `histories.METAL_DISTS`.
            filters (FilterCollection): The filters; or what `as_filters`
                makes some of: codes, or edges of top hats.
            cosmo (FLRW): A cosmology of astropy.
            igm (IGMBase): Synthesizer's model of the intergalactic medium;
                none by default.
            max_redshift (float): The largest redshift of a galaxy; what is
                beyond gets NaN.
            outputs (str/list of str): Of `OUTPUTS`: `photometry` and `fnu`
                (nJy), `luminosities` in the bands and `lnu` in the rest
                frame (erg/s/Hz).
            emissions (str/list of str): The labels of the emissions wanted;
                the model's own by default.
            varying (list of str): As for `compile_model`.
            fixed (dict): As for `compile_model`.

        Returns:
            GalaxyModel: It.

        Raises:
            InconsistentArguments: If outputs need filters or a cosmology
                that are not given, or the arguments don't fit together.
            UnimplementedFunctionality: If the emission model or a history
                is not translated.
            MissingAttribute: If parameters are neither varying nor fixed.
            IncorrectUnits: If one has units that are not its own.
            MissingUnits: If one has none where Synthesizer insists on them.
        """
        outputs = check_outputs(outputs)
        filters = None if filters is None else as_filters(filters)
        if filters is None and set(outputs).intersection(IN_BANDS):
            raise InconsistentArguments(
                f"{' and '.join(outputs)} need filters: give a "
                "FilterCollection."
            )
        if cosmo is None and set(outputs).intersection(_OBSERVED):
            raise InconsistentArguments(
                f"{' and '.join(outputs)} need a cosmology: give cosmo, e.g. "
                "astropy's Planck18."
            )
        if (sf_hist is None) != (metal_dist is None):
            raise InconsistentArguments(
                "A galaxy has both sf_hist and metal_dist, or its own SFZH; "
                f"got sf_hist={sf_hist!r}, metal_dist={metal_dist!r}."
            )
        if sf_hist is not None and metal_dist is not None:
            find_history(SF_HISTS, sf_hist)
            find_history(METAL_DISTS, metal_dist)
        translate = partial(compile_model, model, emissions, varying, fixed)
        if set(outputs) <= set(IN_BANDS):
            try:
                emission = translate(lam_lims(filters, max_redshift))
            except InconsistentArguments:
                # Dust that emits what is absorbed needs all wavelengths.
                emission = translate()
        else:
            emission = translate()
        lam = _in_double(emission, model)
        grid, *_ = grids_of(model)  # all have the same axes
        return cls(
            emission=emission,
            observer=(
                None
                if cosmo is None
                else Observer.from_cosmology(lam, cosmo, igm, max_redshift)
            ),
            bands=None
            if filters is None
            else Bands.from_filters(filters, lam),
            ages=tuple(float(10.0**age) for age in grid.log10ages),
            metallicities=tuple(map(float, grid.metallicities)),
            sf_hist=sf_hist,
            metal_dist=metal_dist,
            outputs=outputs,
        )

    # Its name in version 0.1.
    of_model = from_model

    def galaxy(self, values: Mapping[str, Any]) -> dict[str, dict[str, Array]]:
        """Return what is observed of one galaxy.

        Args:
            values (Mapping): Its parameters: `initial_mass` (solar
                masses); `redshift` where it is observed; `sf_hist` and
                `metal_dist`, the parameters of its histories by name (times
                in yr, plain `agebins` in log10 of it), or `sfzh`, the share
                of its mass at each node;
                `emission`, the parameters of the emission model. Plain
                numbers, or with units; inside of what JAX compiles they
                have to be plain, as it takes units off unseen.

        Returns:
            dict: For each of `outputs` and each emission an array, (nlam,)
                or (n_bands,), in the units of `OUTPUTS`. It is NaN where
                the galaxy is outside of what is known; a metallicity
                outside of the grid counts as its edge, as in Synthesizer.

        Raises:
            MissingAttribute: If a parameter is missing.
            InconsistentArguments: If there is one that no galaxy has.
            IncorrectUnits: If one has units that are not its own.
        """
        check_not_forked()
        missing = [name for name in self.parameters if name not in values]
        strange = [name for name in values if name not in _OF_A_GALAXY]
        meant = "".join(nearest(name, _OF_A_GALAXY) for name in strange)
        if missing:
            raise MissingAttribute(
                f"A galaxy needs {', '.join(self.parameters)}; "
                f"{', '.join(missing)} missing.{meant}"
            )
        if strange:
            raise InconsistentArguments(
                f"A galaxy has no {', '.join(strange)}; it has "
                f"{', '.join(_OF_A_GALAXY)}.{meant}"
            )
        values = self.plain(values)
        share = self._share(values)
        spectra = self.emission.spectra(
            values["initial_mass"] * share, values.get("emission", {})
        )
        found = {
            label: self._observe(lnu, values) for label, lnu in spectra.items()
        }
        return {
            output: {label: found[label][output] for label in found}
            for output in self.outputs
        }

    def plain(self, values: Mapping[str, Any]) -> dict[str, Any]:
        """Return parameters as the plain numbers that it computes with.

        Args:
            values (Mapping): Those of one galaxy, as for `galaxy`, or of
                many.

        Raises:
            IncorrectUnits: If one has units that are not its own.
            InconsistentArguments: If the emission does not vary with one.
        """
        found = dict(values)
        for name, units in _UNITS.items():
            if name in values:
                found[name] = in_units(f"'{name}'", values[name], units)
        for place, functions, history in (
            ("sf_hist", SF_HISTS, self.sf_hist),
            ("metal_dist", METAL_DISTS, self.metal_dist),
        ):
            if history is not None and place in values:
                found[place] = plain_parameters(
                    functions, history, values[place]
                )
        if "emission" in values:
            _check_varied(values["emission"], self.emission.parameters)
            found["emission"] = self.emission.plain(values["emission"])
        return found

    @property
    def parameters(self) -> tuple[str, ...]:
        """What `galaxy` asks for at the least."""
        history = (
            ("sfzh",) if self.sf_hist is None else ("sf_hist", "metal_dist")
        )
        redshift = (
            ("redshift",) if set(self.outputs).intersection(_OBSERVED) else ()
        )
        emission = ("emission",) if self.emission.parameters else ()
        return ("initial_mass", *redshift, *history, *emission)

    def _share(self, values: Mapping[str, Any]) -> Array:
        """Return the share of the mass at each node, (n_ages, n_Z)."""
        if self.sf_hist is None or self.metal_dist is None:
            return jnp.asarray(values["sfzh"])
        return sfzh(
            np.array(self.ages),
            np.array(self.metallicities),
            self.sf_hist,
            self.metal_dist,
            values["sf_hist"],
            values["metal_dist"],
        )

    def _observe(
        self, lnu: Array, values: Mapping[str, Any]
    ) -> dict[str, Array]:
        """Return what is asked for of one spectrum."""
        found = {"lnu": lnu}
        if "luminosities" in self.outputs:
            assert self.bands is not None
            found["luminosities"] = self.bands.luminosities(lnu)
        if set(self.outputs).intersection(_OBSERVED):
            assert self.observer is not None
            redshift = values["redshift"]
            found["fnu"] = self.observer.fluxes(lnu, redshift)
            if "photometry" in self.outputs:
                assert self.bands is not None
                found["photometry"] = self.bands.fluxes(found["fnu"], redshift)
        return found


def in_batches(
    model: GalaxyModel,
    values: Mapping[str, Any],
    batch_size: int | None = None,
    devices: Sequence[jax.Device] | None = None,
) -> Iterator[tuple[slice, dict[str, dict[str, NDArray]]]]:
    """Evaluate galaxies batch by batch on all devices of this machine.

    Each device takes its share of each batch. The last batch is filled up,
    so that any number of galaxies takes one compilation; memory does not
    grow with their number.

    Args:
        model (GalaxyModel): The model.
        values (Mapping): The parameters of n galaxies, as for
            `GalaxyModel.galaxy` with a leading axis of n.
        batch_size (int): Galaxies a batch, rounded up to a multiple of the
            number of devices; by default what suits their memory.
        devices (sequence of Device): The devices; by default all of JAX's
            that belong to this process.

    Returns:
        Iterator: Of pairs: which galaxies, and what `GalaxyModel.galaxy`
            returns, with a leading axis of so many.

    Raises:
        InconsistentArguments: If parameters are of different lengths.
        IncorrectUnits: If one has units that are not its own.

    Examples:
        >>> import numpy as np
        >>> from synthesizer.emission_models import IncidentEmission
        >>> from synthesizer_emulator import EmulatedGrid
        >>> model = GalaxyModel.from_model(
        ...     IncidentEmission(EmulatedGrid.example()),
        ...     sf_hist="Constant",
        ...     metal_dist="DeltaConstant",
        ...     outputs=["lnu"],
        ... )
        >>> galaxies = {
        ...     "initial_mass": np.full(5, 1e10),
        ...     "sf_hist": {"max_age": np.geomspace(1e7, 1e10, 5)},
        ...     "metal_dist": {"metallicity": np.full(5, 0.01)},
        ... }
        >>> for which, found in in_batches(model, galaxies, batch_size=3):
        ...     print(which, found["lnu"]["incident"].shape)
        slice(0, 3, None) (3, 1719)
        slice(3, 5, None) (2, 1719)
    """
    check_not_forked()
    values = model.plain(values)
    n = count(values)
    used = tuple(jax.local_devices() if devices is None else devices)
    size = suitable_batch_size(model, used)
    if batch_size is not None:
        check_whole("batch_size", batch_size, 1)
        check_memory(
            f"A batch of {batch_size} galaxies",
            batch_size * _galaxy_bytes(model),
            "give a smaller batch_size",
        )
        size = batch_size
    size = len(used) * -(-size // len(used))
    emission, given = model.emission, values.get("emission", {})
    for label, dust in emission.dust.items():
        # Of what is fixed, `compile_model` has warned.
        if dust.names and dust.names <= given.keys():
            dust.warn_if_cold(label, given, emission.lam)
    return _batches(model, values, n, size, Mesh(np.array(used), (_AXIS,)))


def count(values: Mapping[str, Any]) -> int:
    """Return how many galaxies there are parameters of.

    Raises:
        InconsistentArguments: If parameters differ in that, or there are
            none.
    """
    leaves = jax.tree_util.tree_leaves_with_path(values)
    lengths = {
        jax.tree_util.keystr(path, simple=True, separator="/"): np.shape(leaf)
        for path, leaf in leaves
    }
    firsts = {shape[:1] for shape in lengths.values()}
    if len(firsts) != 1 or () in firsts:
        raise InconsistentArguments(
            "Expected each parameter of n galaxies with a leading axis of n, "
            "got the shapes "
            + (", ".join(f"{k} {v}" for k, v in lengths.items()) or "of none")
            + "."
        )
    return int(next(iter(firsts))[0])


def suitable_batch_size(
    model: GalaxyModel, devices: Sequence[jax.Device]
) -> int:
    """Return how many galaxies a batch suit the memory of devices.

    Args:
        model (GalaxyModel): The model.
        devices (sequence of Device): The devices, all of one kind.
    """
    stats = devices[0].memory_stats() or {}
    room = max(_PART_OF_DEVICE * stats.get("bytes_limit", 0), _BATCH_BYTES)
    size = room / _galaxy_bytes(model)
    # A power of two, lest slightly different models differ for nothing.
    size = 2 ** int(np.log2(max(size, 1.0)))
    return len(devices) * min(size, _LARGEST_BATCH)


def check_outputs(outputs: str | Iterable[str]) -> tuple[str, ...]:
    """Return one or several of `OUTPUTS`.

    Raises:
        InconsistentArguments: If they are others.
    """
    names = check_names("outputs", outputs)
    for name in names:
        check_choice("each of outputs", name, tuple(OUTPUTS))
    return names


def _galaxy_bytes(model: GalaxyModel) -> int:
    """Return how much memory a galaxy takes while it is evaluated."""
    emission = model.emission
    spectra = len(emission.products) + len(emission.factors)
    spectra += 3 * len(emission.emissions)
    numbers = spectra * len(emission.lam) + 3 * int(np.prod(emission.nodes))
    return numbers * jnp.dtype(float).itemsize


def _batches(
    model: GalaxyModel,
    values: Mapping[str, Any],
    n: int,
    size: int,
    mesh: Mesh,
) -> Iterator[tuple[slice, dict[str, dict[str, NDArray]]]]:
    """Evaluate and fetch batches, the next one at work meanwhile."""
    everywhere = jax.device_put(model, NamedSharding(mesh, PartitionSpec()))
    shared = NamedSharding(mesh, PartitionSpec(_AXIS))
    pending = None
    for start in range(0, n, size):
        which = slice(start, min(start + size, n))
        batch = jax.tree.map(partial(_filled_up, which, size), values)
        found = _evaluate(mesh, everywhere, jax.device_put(batch, shared))
        if pending is not None:
            yield _fetched(*pending)
        pending = which, found
    if pending is not None:
        yield _fetched(*pending)


@partial(jax.jit, static_argnums=0)
def _evaluate(mesh: Mesh, model: GalaxyModel, values: Any) -> Any:
    """Evaluate a batch, each device its part of the galaxies."""
    split = PartitionSpec(_AXIS)
    return jax.shard_map(
        jax.vmap(GalaxyModel.galaxy, (None, 0)),
        mesh=mesh,
        in_specs=(PartitionSpec(), split),
        out_specs=split,
    )(model, values)


def _filled_up(which: slice, size: int, values: Any) -> NDArray:
    """Return some rows, the last repeated up to a size."""
    rows = np.asarray(values[which], jnp.dtype(float))
    missing = size - len(rows)
    return np.concatenate([rows, np.repeat(rows[-1:], missing, axis=0)])


def _fetched(which: slice, found: Any) -> tuple[slice, Any]:
    """Return results as arrays of numpy, without what was filled up."""
    n = which.stop - which.start
    return which, jax.tree.map(lambda leaf: np.asarray(leaf)[:n], found)


def _in_double(
    emission: EmissionFunction, model: EmissionModel
) -> NDArray[np.float64]:
    """Return the wavelengths of a compiled model, Angstrom, not rounded.

    The steps between them matter, which single precision rounds much more.
    """
    lam = np.asarray(model.lam.to_value("angstrom"), np.float64)
    first = int(np.argmin(np.abs(lam - float(emission.lam[0]))))
    return lam[first : first + len(emission.lam)]


def _check_varied(names: Iterable[str], known: Sequence[str]) -> None:
    """Refuse parameters of an emission that it does not vary with.

    Raises:
        InconsistentArguments: Names them; they would have no effect. Not if
            others are missing, which they may have been meant for.
    """
    names = list(names)
    strange = [name for name in names if name not in known]
    if strange and all(name in names for name in known):
        raise InconsistentArguments(
            f"The emission does not vary with {', '.join(strange)}; it varies "
            f"with: {', '.join(known) or 'nothing'}. Name in varying= what "
            "galaxies have of their own, in fixed= what they share."
            + "".join(nearest(name, known) for name in strange)
        )
