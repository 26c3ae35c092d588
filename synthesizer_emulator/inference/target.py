"""`Target`: what samplers sample."""

from collections.abc import Callable, Hashable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from math import gcd
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array
from jax.sharding import Mesh, NamedSharding, PartitionSpec
from numpy.typing import NDArray
from synthesizer.exceptions import InconsistentArguments

# The number of points of the hypercube evaluated at a time.
_BATCH = 256

# The batches of random points tried to find one with a likelihood.
_TRIED = 16


def uniform(arguments: Any, point: Array) -> Array:
    """Return the logarithm of the density of priors that are uniform."""
    return jnp.zeros(())


@dataclass(frozen=True, eq=False)
class Target:
    """The likelihood of the data of one galaxy in the unit hypercube.

    The prior is uniform there. The function is the same object for all
    galaxies of a fit, so that what is compiled for one serves all; stack the
    arguments of several galaxies to sample them in one program.

    Attributes:
        function (callable): The natural logarithm of the likelihood as a pure
            function of the arguments and of one point, (dimensions,). It is
            minus infinity outside of the model.
        arguments (pytree): The model and the data.
        dimensions (int): The number of free parameters.
        log_prior (callable): The natural logarithm of the density of the
            prior, not in the hypercube but in the values of the parameters,
            as a pure function of the same.
        axes (pytree): The arguments that differ between galaxies, as
            `in_axes` of `jax.vmap`: 0, or None for those that they share.
        known (Mapping): The values of known parameters by name, as given, in
            the units of their priors.
    """

    function: Callable[[Any, Array], Array]
    arguments: Any
    dimensions: int
    log_prior: Callable[[Any, Array], Array] = uniform
    axes: Any = 0
    known: Mapping[str, float] = field(default_factory=dict)

    def __call__(self, points: NDArray[np.float64]) -> NDArray[np.float64]:
        """Return the logarithm of the likelihood at points, (n, d) to (n,)."""
        return in_batches(self.function, self.arguments, points)

    def check(self) -> None:
        """Raise if the likelihood is zero everywhere.

        Samplers would search without end. It is if the data are not possible
        in the floating-point numbers of the likelihood, such as a flux of
        1e25 standard deviations.

        Raises:
            InconsistentArguments: If it is zero at all of some thousand
                random points.
        """
        rng = np.random.default_rng(0)
        for _ in range(_TRIED):
            if np.isfinite(self(rng.random((_BATCH, self.dimensions)))).any():
                return
        raise InconsistentArguments(
            f"The likelihood is zero at all of {_TRIED * _BATCH} random "
            "points of the priors: check the values and the errors of the "
            "data, and their units."
        )


def stacked(targets: Sequence[Target]) -> Any:
    """Return the arguments of several galaxies of a fit together.

    Those that the galaxies share are those of the first; others have a new
    first axis, divided between the devices of the machine, or between as many
    of them as divide the galaxies evenly: what is computed from them is
    divided likewise.

    Raises:
        InconsistentArguments: If the data differ in kind or size.
    """
    n = gcd(len(targets), jax.local_device_count())
    mesh = Mesh(np.array(jax.local_devices()[:n]), ("galaxies",))
    shared = NamedSharding(mesh, PartitionSpec())
    split = NamedSharding(mesh, PartitionSpec("galaxies"))

    def stack(axis: int | None, *parts: Any) -> Any:
        if axis is None:
            return jax.device_put(parts[0], shared)
        return jax.device_put(
            jax.tree.map(lambda *leaves: jnp.stack(leaves), *parts), split
        )

    try:
        return jax.tree.map(
            stack,
            targets[0].axes,
            *(target.arguments for target in targets),
            is_leaf=lambda axis: axis is None,
        )
    except (TypeError, ValueError) as error:
        raise InconsistentArguments(
            "Galaxies that are sampled together must have data of the same "
            "kinds, with the same bands, lines and wavelengths. Sample those "
            f"that differ one by one: {error}"
        ) from error


@partial(jax.jit, static_argnums=(0, 1, 2, 3))
def over_galaxies(
    function: Callable[..., Any],
    of_one: Callable[..., Any],
    axes: Any,
    settings: Hashable,
    arguments: Any,
    *others: Any,
) -> Any:
    """Evaluate a function of one galaxy for several in one program.

    Args:
        function (callable): A pure function of `of_one`, `settings`, the
            arguments of one galaxy, and others.
        of_one (callable): The pure functions of one galaxy.
        axes (pytree): The `Target.axes`.
        settings (hashable): What to compile for.
        arguments (pytree): The arguments of all galaxies, from `stacked`.
        *others (pytree): Others, with the galaxies along their first axis.

    Returns:
        pytree: The results, with the galaxies along their first axis.
    """
    return jax.vmap(
        partial(function, of_one, settings),
        in_axes=(axes, *(0 for _ in others)),
    )(arguments, *others)


def in_batches(
    function: Callable[[Any, Array], Any],
    arguments: Any,
    points: NDArray[np.float64],
) -> Any:
    """Evaluate a pure function at points, in batches of one size.

    Args:
        function (callable): A function of the arguments and of one point.
        arguments (pytree): The arguments.
        points (np.ndarray of float): The points, (n, d).

    Returns:
        pytree: The values as NumPy arrays, (n, ...).
    """
    results = []
    for start in range(0, len(points), _BATCH):
        batch = points[start : start + _BATCH]
        padded = np.resize(batch, (_BATCH, points.shape[1]))
        padded[: len(batch)] = batch
        found = _at_points(function, arguments, jnp.asarray(padded, float))
        results.append(jax.tree.map(np.asarray, found))
    return jax.tree.map(
        lambda *x: np.concatenate(x).astype(np.float64)[: len(points)],
        *results,
    )


@partial(jax.jit, static_argnums=0)
def at_point(
    function: Callable[[Any, Array], Any], arguments: Any, point: Array
) -> Any:
    """Evaluate a pure function at one point, (d,)."""
    return function(arguments, point)


@partial(jax.jit, static_argnums=0)
def _at_points(
    function: Callable[[Any, Array], Any], arguments: Any, points: Array
) -> Any:
    """Evaluate a function at points, (n, d)."""
    return jax.vmap(function, in_axes=(None, 0))(arguments, points)
