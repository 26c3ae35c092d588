"""Fluxes of the default architecture at the nodes of its grid, without JAX.

The table of residuals needs no interpolation at the nodes, or only along one
axis if a single value replaces the nodes of this axis. A perceptron and a
matrix product remain, which take NumPy a fraction of the seconds that JAX
takes to compile. Used by `PointArrays`; other points, other architectures and
gradients need JAX.
"""

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

from synthesizer_emulator.emulator.scaling import ZERO_BELOW
from synthesizer_emulator.emulator.tables import linear_along, smooth_along
from synthesizer_emulator.gridfile.nodes import node_mesh

ACTIVATIONS: dict[str, Callable[[NDArray], NDArray]] = {
    "silu": lambda x: x / (1.0 + np.exp(-x)),
    "tanh": np.tanh,
}


@dataclass(frozen=True)
class NodeTable:
    """The latents of an emission at m nodes, and their linear decoder.

    Attributes:
        latents (np.ndarray of float): The latents at each node, (m, 1 + k);
            the first is ln norm.
        has_emission (np.ndarray of float): One at nodes with emission, zero
            at nodes without, (m,).
        columns (np.ndarray of int): The indices of the requested
            wavelengths with emission at any node, (n,).
        mean (np.ndarray of float): The mean soft-log flux at these
            wavelengths, (n,).
        components (np.ndarray of float): The principal components, (k, n).
        softening (float): The softening of the logarithm.
    """

    latents: NDArray[np.float32]
    has_emission: NDArray[np.float32]
    columns: NDArray[np.intp]
    mean: NDArray[np.float32]
    components: NDArray[np.float32]
    softening: float

    def fluxes(self, nodes: NDArray[np.intp]) -> NDArray[np.float32]:
        """Return the fluxes of nodes (p,) at all `columns`, (p, n)."""
        latents = self.latents[nodes]
        # The steps of `SoftLog.inverse`, in place.
        flux = latents[:, 1:] @ self.components
        flux += self.mean
        np.exp(flux, out=flux)
        flux -= self.softening
        np.copyto(flux, 0.0, where=flux < (ZERO_BELOW - 1) * self.softening)
        flux *= np.exp(latents[:, :1]) * self.has_emission[nodes, None]
        return flux


def residual_node_table(
    tensors: Mapping[str, NDArray],
    columns: NDArray[np.intp],
    between: tuple[int, float] | None,
    *,
    hidden: Sequence[int],
    activation: str,
    trend: float,
    ensemble: int,
    softening: float,
) -> NodeTable | None:
    """Evaluate the latents of the default architecture at its nodes.

    The arguments are those of `Architecture.node_table` and the settings of
    `ResidualTable`. Returns None if the tensors do not fit these settings.
    """
    prefixes = ["regressor"]
    if ensemble > 1:
        prefixes = [f"regressor/members/{i}" for i in range(ensemble)]
    expected = _expected_shapes(hidden, prefixes, tensors)
    if expected != {name: t.shape for name, t in tensors.items()}:
        return None
    members = [
        _latents(_subset(tensors, prefix), between, activation, trend)
        for prefix in prefixes
    ]
    with_emission = np.flatnonzero(tensors["support"][columns])
    kept, components = columns[with_emission], tensors["decoder/components"]
    if not np.array_equal(kept, np.arange(components.shape[1])):
        components = components[:, kept]
    has_emission = tensors["alive/values"]
    if between is not None:
        axis, x = between
        nodes = tensors[f"alive/nodes/{axis}"]
        has_emission = linear_along(nodes, has_emission, axis, x)
    return NodeTable(
        latents=np.mean(members, axis=0),
        has_emission=has_emission.reshape(-1),
        columns=with_emission,
        mean=tensors["decoder/mean"][kept],
        components=components,
        softening=softening,
    )


def _expected_shapes(
    hidden: Sequence[int],
    prefixes: Sequence[str],
    tensors: Mapping[str, NDArray],
) -> dict[str, tuple[int, ...]]:
    """Return the shape of each tensor that the settings imply.

    The shape of the grid and the size of the basis are read from the mask of
    emission and from the components.
    """
    empty = np.empty((0, 0))
    nodes = tensors.get("alive/values", empty).shape[:-1]
    components = tensors.get("decoder/components", empty)
    k, n = len(components), math.prod(components.shape[1:])
    d = len(nodes)
    layers = list(pairwise((d, *hidden, k + 1)))

    def table(name: str, width: int) -> dict[str, tuple[int, ...]]:
        axes = {f"{name}/nodes/{i}": (m,) for i, m in enumerate(nodes)}
        return {f"{name}/values": (*nodes, width), **axes}

    shapes: dict[str, tuple[int, ...]] = {
        "support": (n,),
        "decoder/mean": (n,),
        "decoder/components": (k, n),
        **table("alive", 1),
    }
    for prefix in prefixes:
        trend = f"{prefix}/trend"
        shapes |= {
            **table(f"{prefix}/residual", k + 1),
            f"{prefix}/residual/metric": (k + 1,),
            **{f"{trend}/{name}": (d,) for name in ("centre", "width")},
            **{f"{trend}/{name}": (k + 1,) for name in ("scale", "shift")},
        }
        for i, (a, b) in enumerate(layers):
            shapes[f"{trend}/network/layers/{i}/kernel"] = (a, b)
            shapes[f"{trend}/network/layers/{i}/bias"] = (b,)
    if len(prefixes) > 1:
        shapes["regressor/factor"] = ()
    return shapes


def _latents(
    tensors: Mapping[str, NDArray],
    between: tuple[int, float] | None,
    activation: str,
    trend: float,
) -> NDArray[np.float32]:
    """Return the latents (m, k) of one `TrendPlusResiduals`."""
    table = tensors["residual/values"]
    nodes = [tensors[f"residual/nodes/{a}"] for a in range(table.ndim - 1)]

    def scaled_trend(nodes: Sequence[NDArray]) -> NDArray:
        return trend * _trend(tensors, nodes, activation)

    if between is None:
        latents = table + scaled_trend(nodes)
    else:
        metric = tensors["residual/metric"]
        latents = smooth_along(nodes, table, metric, *between, scaled_trend)
    return latents.reshape(-1, table.shape[-1]).astype(np.float32, copy=False)


def _trend(
    tensors: Mapping[str, NDArray], nodes: Sequence[NDArray], activation: str
) -> NDArray[np.float32]:
    """Evaluate the network on a mesh of nodes, (n1, ..., nd, k)."""
    mesh = node_mesh(nodes)
    x = mesh.reshape(-1, len(nodes))
    x = (x - tensors["trend/centre"]) / tensors["trend/width"]
    layers = _subset(tensors, "trend/network/layers")
    last = len(layers) // 2 - 1
    for i in range(last + 1):
        x = x @ layers[f"{i}/kernel"] + layers[f"{i}/bias"]
        if i < last:
            x = ACTIVATIONS[activation](x)
    trend = x * tensors["trend/scale"] + tensors["trend/shift"]
    return trend.reshape(*mesh.shape[:-1], -1)


def _subset(tensors: Mapping[str, NDArray], prefix: str) -> dict[str, NDArray]:
    """Return the tensors with a prefix, which is removed from their names."""
    return {
        name.removeprefix(f"{prefix}/"): tensor
        for name, tensor in tensors.items()
        if name.startswith(f"{prefix}/")
    }
