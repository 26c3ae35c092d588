"""Emissions of the default architecture at its own nodes, by NumPy alone.

At a node its table leaves nothing to interpolate, and with one value in the
place of an axis only along that; so that a perceptron and a matrix product
are all there is. JAX would compile for seconds what runs in a fraction of
one. Only `emissions` needs it, and asks JAX for everything that is not here:
other points, other architectures, gradients.
"""

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Self

import numpy as np
from numpy.typing import NDArray

from synthesizer_emulator.architectures.base import Architecture
from synthesizer_emulator.architectures.residual_table import ResidualTable
from synthesizer_emulator.emulator.scaling import ZERO_BELOW
from synthesizer_emulator.emulator.tables import (
    linear_along,
    smooth_along,
)
from synthesizer_emulator.gridfile.nodes import node_mesh

_ACTIVATIONS: dict[str, Callable[[NDArray], NDArray]] = {
    "silu": lambda x: x / (1.0 + np.exp(-x)),
    "tanh": np.tanh,
}


@dataclass(frozen=True)
class NodeTable:
    """One emission at the nodes of its own grid, or of all axes but one.

    Attributes:
        latents (np.ndarray of float): At each of m nodes, (m, 1 + k); the
            first is ln norm.
        alive (np.ndarray of float): One at nodes with emission, zero at
            those without, (m,).
        lit (np.ndarray of int): Which of the wanted wavelengths ever emit,
            (n,).
        mean (np.ndarray of float): The mean of soft-log flux at those, (n,).
        components (np.ndarray of float): Its components, (k, n).
        softening (float): The softening of the logarithm.
    """

    latents: NDArray[np.float32]
    alive: NDArray[np.float32]
    lit: NDArray[np.intp]
    mean: NDArray[np.float32]
    components: NDArray[np.float32]
    softening: float

    @staticmethod
    def knows(architecture: Architecture) -> bool:
        """Return whether NumPy alone can have the tables of emissions.

        Args:
            architecture (Architecture): How they are emulated.
        """
        return (
            isinstance(architecture, ResidualTable)
            and architecture.activation in _ACTIVATIONS
        )

    @classmethod
    def from_tensors(
        cls,
        architecture: Architecture,
        tensors: Mapping[str, NDArray],
        columns: NDArray[np.intp],
        between: tuple[int, float] | None = None,
    ) -> Self | None:
        """Return the table of an emission, if NumPy alone can have it.

        Args:
            architecture (Architecture): How it is emulated.
            tensors (Mapping): Its tensors, named as in a weights file.
            columns (np.ndarray of int): The wavelengths or lines wanted.
            between (tuple): An axis, and the coordinate on it that takes
                the place of its nodes; None for the nodes of all axes.

        Returns:
            NodeTable: None for other architectures and activations, and if
                the tensors are not those of the architecture.
        """
        if not cls.knows(architecture) or not isinstance(
            architecture, ResidualTable
        ):
            return None
        prefixes = ["regressor"]
        if architecture.ensemble > 1:
            numbers = range(architecture.ensemble)
            prefixes = [f"regressor/members/{i}" for i in numbers]
        regressors = [_below(tensors, prefix) for prefix in prefixes]
        expected = _shapes(architecture, prefixes, tensors)
        if expected != {name: t.shape for name, t in tensors.items()}:
            return None
        lit = np.flatnonzero(tensors["support"][columns])
        kept, components = columns[lit], tensors["decoder/components"]
        if not np.array_equal(kept, np.arange(components.shape[1])):
            components = components[:, kept]
        alive = tensors["alive/values"]
        if between is not None:
            axis, x = between
            alive = linear_along(
                tensors[f"alive/nodes/{axis}"], alive, axis, x
            )
        return cls(
            latents=np.mean(
                [_latents(architecture, each, between) for each in regressors],
                axis=0,
            ),
            alive=alive.reshape(-1),
            lit=lit,
            mean=tensors["decoder/mean"][kept],
            components=components,
            softening=architecture.softening,
        )

    def fluxes(self, nodes: NDArray[np.intp]) -> NDArray[np.float32]:
        """Return the flux (p, n) at some nodes (p,), where any is `lit`."""
        latents = self.latents[nodes]
        # The steps of `SoftLog.inverse`, in place.
        flux = latents[:, 1:] @ self.components
        flux += self.mean
        np.exp(flux, out=flux)
        flux -= self.softening
        np.copyto(flux, 0.0, where=flux < (ZERO_BELOW - 1) * self.softening)
        flux *= np.exp(latents[:, :1]) * self.alive[nodes, None]
        return flux


def _shapes(
    architecture: ResidualTable,
    prefixes: Sequence[str],
    tensors: Mapping[str, NDArray],
) -> dict[str, tuple[int, ...]]:
    """Return the shapes that tensors must have, by those of two of them."""
    nothing = np.empty((0, 0))
    alive = tensors.get("alive/values", nothing).shape[:-1]
    components = tensors.get("decoder/components", nothing)
    latents, n = len(components), math.prod(components.shape[1:])
    d, k = len(alive), latents + 1
    layers = list(pairwise((d, *architecture.hidden, k)))

    def table(name: str, width: int) -> dict[str, tuple[int, ...]]:
        nodes = {f"{name}/nodes/{i}": (m,) for i, m in enumerate(alive)}
        return {f"{name}/values": (*alive, width), **nodes}

    shapes: dict[str, tuple[int, ...]] = {
        "support": (n,),
        "decoder/mean": (n,),
        "decoder/components": (latents, n),
        **table("alive", 1),
    }
    for prefix in prefixes:
        trend = f"{prefix}/trend"
        shapes |= {
            **table(f"{prefix}/residual", k),
            f"{prefix}/residual/metric": (k,),
            **{f"{trend}/{name}": (d,) for name in ("centre", "width")},
            **{f"{trend}/{name}": (k,) for name in ("scale", "shift")},
        }
        for i, (a, b) in enumerate(layers):
            shapes[f"{trend}/network/layers/{i}/kernel"] = (a, b)
            shapes[f"{trend}/network/layers/{i}/bias"] = (b,)
    if len(prefixes) > 1:
        shapes["regressor/factor"] = ()
    return shapes


def _latents(
    architecture: ResidualTable,
    tensors: Mapping[str, NDArray],
    between: tuple[int, float] | None,
) -> NDArray[np.float32]:
    """Return the latents of a `TrendPlusResiduals`, (m, k).

    Args:
        architecture (ResidualTable): That of the network.
        tensors (Mapping): Those of the network, by their names.
        between (tuple): As for `NodeTable.from_tensors`.
    """
    table = tensors["residual/values"]
    lines = [tensors[f"residual/nodes/{a}"] for a in range(table.ndim - 1)]

    def trend(lines: Sequence[NDArray]) -> NDArray:
        return architecture.trend * _trend(architecture, tensors, lines)

    if between is None:
        latents = table + trend(lines)
    else:
        metric = tensors["residual/metric"]
        latents = smooth_along(lines, table, metric, *between, trend)
    return latents.reshape(-1, table.shape[-1]).astype(np.float32, copy=False)


def _trend(
    architecture: ResidualTable,
    tensors: Mapping[str, NDArray],
    lines: Sequence[NDArray],
) -> NDArray[np.float32]:
    """Return the trend on a mesh of coordinates, (n1, ..., nd, k)."""
    mesh = node_mesh(lines)
    x = mesh.reshape(-1, len(lines))
    x = (x - tensors["trend/centre"]) / tensors["trend/width"]
    layers = _below(tensors, "trend/network/layers")
    last = len(architecture.hidden)
    for i in range(last + 1):
        x = x @ layers[f"{i}/kernel"] + layers[f"{i}/bias"]
        if i < last:
            x = _ACTIVATIONS[architecture.activation](x)
    trend = x * tensors["trend/scale"] + tensors["trend/shift"]
    return trend.reshape(*mesh.shape[:-1], -1)


def _below(tensors: Mapping[str, NDArray], prefix: str) -> dict[str, NDArray]:
    """Return the tensors whose names begin so, by what follows."""
    return {
        name.removeprefix(f"{prefix}/"): tensor
        for name, tensor in tensors.items()
        if name.startswith(f"{prefix}/")
    }
