"""Evaluation of many galaxies in batches, on all devices of a machine.

`in_batches` evaluates a `GalaxyModel` for any number of galaxies with one
compilation and bounded memory.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import partial
from typing import Any, Protocol

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import Mesh, NamedSharding, PartitionSpec
from numpy.typing import NDArray
from synthesizer.exceptions import InconsistentArguments

from synthesizer_emulator.forking import check_not_forked
from synthesizer_emulator.galaxies.emission import EmissionFunction
from synthesizer_emulator.galaxies.model import GalaxyModel
from synthesizer_emulator.galaxies.terms import DustEmission
from synthesizer_emulator.validation import check_memory, check_whole

# The memory of a batch: an amount that suits the caches of a CPU, or this
# fraction of an accelerator's memory if that is larger.
_BATCH_BYTES = 2**26
_DEVICE_FRACTION = 0.2
_LARGEST_BATCH = 2**15

_AXIS = "galaxies"


class Batched(Protocol):
    """What is evaluated in batches: a pytree with functions of one galaxy."""

    @property
    def emission(self) -> EmissionFunction:
        """The spectra that it evaluates."""

    @property
    def functions(self) -> tuple[EmissionFunction, ...]:
        """The spectra and lines that it evaluates."""

    def plain(self, values: Mapping[str, Any]) -> dict[str, Any]:
        """Return the parameters of galaxies as plain numbers."""


def in_batches(
    model: Batched,
    values: Mapping[str, Any],
    batch_size: int | None = None,
    devices: Sequence[jax.Device] | None = None,
    function: Callable[[Any, Any], Any] = GalaxyModel.galaxy,
) -> Iterator[tuple[slice, Any]]:
    """Evaluate galaxies batch by batch on all devices of this machine.

    Each batch is divided evenly between the devices. The last batch is
    padded, so that any number of galaxies needs one compilation. The memory
    does not grow with the number of galaxies.

    Args:
        model (GalaxyModel): The model; or `DerivedQuantities`, with its
            `__call__` as `function`.
        values (Mapping): The parameters of n galaxies, as for
            `GalaxyModel.galaxy` with a leading axis of n.
        batch_size (int): The number of galaxies per batch, rounded up to a
            multiple of the number of devices; by default chosen to suit
            their memory.
        devices (sequence of Device): The devices; by default all JAX devices
            of this process.
        function (callable): A pure function of the model and the plain
            parameters of one galaxy.

    Returns:
        Iterator: Pairs of a slice of the galaxies and the results of the
            function, by default those of `GalaxyModel.galaxy`, with a
            leading axis.

    Raises:
        InconsistentArguments: If the parameters differ in length, or a batch
            needs more memory than is available.
        IncorrectUnits: If a parameter has the wrong units.

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
        >>> for rows, outputs in in_batches(model, galaxies, batch_size=3):
        ...     print(rows, outputs["lnu"]["incident"].shape)
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
            batch_size * _bytes_per_galaxy(model),
            "give a smaller batch_size",
        )
        size = batch_size
    size = len(used) * -(-size // len(used))
    emission, parameters = model.emission, values.get("emission", {})
    for label, dust in emission.dust.items():
        if not isinstance(dust, DustEmission):
            continue
        # `compile_model` has already warned of constant temperatures.
        if dust.names and dust.names <= parameters.keys():
            dust.warn_if_cold(label, parameters, emission.lam)
    mesh = Mesh(np.array(used), (_AXIS,))
    return _batches(model, values, n, size, mesh, function)


def count(values: Mapping[str, Any]) -> int:
    """Return the number of galaxies in a tree of parameters.

    Raises:
        InconsistentArguments: If the parameters differ in the length of
            their leading axis, or no parameter is given.
    """
    leaves = jax.tree_util.tree_leaves_with_path(values)
    shapes = {
        jax.tree_util.keystr(path, simple=True, separator="/"): np.shape(leaf)
        for path, leaf in leaves
    }
    lengths = {shape[:1] for shape in shapes.values()}
    if len(lengths) != 1 or () in lengths:
        raise InconsistentArguments(
            "The parameters of n galaxies must have a leading axis of length "
            "n, got "
            + (
                ", ".join(f"{k} of shape {v}" for k, v in shapes.items())
                or "no parameters"
            )
            + "."
        )
    return int(next(iter(lengths))[0])


def suitable_batch_size(model: Batched, devices: Sequence[jax.Device]) -> int:
    """Choose the number of galaxies per batch to suit the devices' memory."""
    stats = devices[0].memory_stats() or {}
    memory = max(_DEVICE_FRACTION * stats.get("bytes_limit", 0), _BATCH_BYTES)
    size = memory / _bytes_per_galaxy(model)
    # Round down to a power of two, so that similar models share a batch size.
    size = 2 ** int(np.log2(max(size, 1.0)))
    return len(devices) * min(size, _LARGEST_BATCH)


def _bytes_per_galaxy(model: Batched) -> int:
    """Estimate the memory for the evaluation of one galaxy, in bytes."""
    numbers = 3 * int(np.prod(model.emission.nodes))
    for emission in model.functions:
        spectra = len(emission.factors) + 3 * len(emission.emissions)
        numbers += spectra * len(emission.lam)
        numbers += sum(p.temporary for p in emission.products)
        numbers += sum(b.temporary for b in emission.broadened.values())
    return numbers * jnp.dtype(float).itemsize


def _batches(
    model: Batched,
    values: Mapping[str, Any],
    n: int,
    size: int,
    mesh: Mesh,
    function: Callable[[Any, Any], Any],
) -> Iterator[tuple[slice, Any]]:
    """Yield the results of each batch while the next one is evaluated."""
    replicated = jax.device_put(model, NamedSharding(mesh, PartitionSpec()))
    sharded = NamedSharding(mesh, PartitionSpec(_AXIS))
    pending = None
    for start in range(0, n, size):
        rows = slice(start, min(start + size, n))
        batch = jax.tree.map(partial(_padded, rows, size), values)
        outputs = _evaluate(
            mesh, function, replicated, jax.device_put(batch, sharded)
        )
        if pending is not None:
            yield _fetched(*pending)
        pending = rows, outputs
    if pending is not None:
        yield _fetched(*pending)


@partial(jax.jit, static_argnums=(0, 1))
def _evaluate(
    mesh: Mesh,
    function: Callable[[Any, Any], Any],
    model: Batched,
    values: Any,
) -> Any:
    """Evaluate a batch of galaxies, divided between the devices of a mesh."""
    split = PartitionSpec(_AXIS)
    return jax.shard_map(
        jax.vmap(function, (None, 0)),
        mesh=mesh,
        in_specs=(PartitionSpec(), split),
        out_specs=split,
    )(model, values)


def _padded(rows: slice, size: int, values: Any) -> NDArray:
    """Return rows of an array, padded to `size` by repeating the last row."""
    batch = np.asarray(values[rows], jnp.dtype(float))
    missing = size - len(batch)
    return np.concatenate([batch, np.repeat(batch[-1:], missing, axis=0)])


def _fetched(rows: slice, outputs: Any) -> tuple[slice, Any]:
    """Return the outputs as NumPy arrays, without the padding."""
    n = rows.stop - rows.start
    return rows, jax.tree.map(lambda leaf: np.asarray(leaf)[:n], outputs)
