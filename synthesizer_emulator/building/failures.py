"""The nodes of a grid at which Cloudy failed.

Synthesizer's grids have zeros there, and a mask `failures`. An emulator does
not learn the zeros: they are left out, or filled if that is asked for. What
is not lost there, such as the incident spectra, is learned as elsewhere.
"""

import numpy as np
from numpy.typing import NDArray
from scipy.interpolate import RBFInterpolator
from scipy.spatial import KDTree

from synthesizer_emulator.gridfile.header import GridHeader, node_name

# The number of nearest nodes from which a node is filled.
_NEIGHBOURS = 30

# The number of nodes that are named in a message.
_NAMED = 5


def lost_nodes(
    values: NDArray[np.float64], failed: NDArray[np.bool_] | None
) -> NDArray[np.bool_]:
    """Return the mask (n1, ..., nd) of the nodes at which values were lost.

    They are zero, negative or not finite at a failed node.

    Args:
        values (np.ndarray of float): The values of an emission,
            (n1, ..., nd, n).
        failed (np.ndarray of bool): The mask of the failed nodes,
            (n1, ..., nd), if any. An emission that lacks axes lost none.
    """
    lost = np.zeros(values.shape[:-1], bool)
    if failed is not None and failed.shape == lost.shape:
        at_failed = values[failed]
        sound = (np.isfinite(at_failed) & (at_failed >= 0)).all(axis=-1)
        lost[failed] = ~(sound & (at_failed > 0).any(axis=-1))
    return lost


def fill_failed(
    values: NDArray[np.float64],
    failed: NDArray[np.bool_],
    points: NDArray[np.float64],
) -> NDArray[np.float64]:
    """Return values with those at failed nodes interpolated from the others.

    The logarithm is interpolated by linear radial basis functions of the
    nearest nodes. A value is zero if it is zero at the nearest node.

    Args:
        values (np.ndarray of float): The values of an emission,
            (n1, ..., nd, n).
        failed (np.ndarray of bool): The mask of the nodes to fill, not all,
            (n1, ..., nd).
        points (np.ndarray of float): The coordinates of the nodes, (m, d), in
            the order of the flattened mask.
    """
    rows = values.reshape(-1, values.shape[-1]).copy()
    missing = failed.ravel()
    known, wanted = points[~missing], points[missing]
    fluxes = rows[~missing]
    _, nearest = KDTree(known).query(wanted)
    logs = np.log(np.maximum(fluxes, np.finfo(float).tiny))
    curve = RBFInterpolator(
        known,
        logs,
        kernel="linear",
        neighbors=min(_NEIGHBOURS, len(known)),
    )
    rows[missing] = np.where(fluxes[nearest] > 0, np.exp(curve(wanted)), 0.0)
    return rows.reshape(values.shape)


def describe_failures(header: GridHeader, filled: bool) -> str:
    """Return a sentence that names the nodes at which Cloudy failed.

    Empty if it failed at none. `filled` says whether they are filled.
    """
    if header.failures is None:
        return ""
    nodes = np.argwhere(header.failures)
    names = [node_name(header.axes, node) for node in nodes[:_NAMED]]
    more = f"; and {len(nodes) - _NAMED} more" * (len(nodes) > _NAMED)
    remedy = (
        "What is zero there is filled from the nodes around them."
        + _describe_edges(header, nodes)
        if filled
        else "What is zero there is left out, and the emulator has no such "
        "emission. Fill it from the nodes around them with --fill-failures "
        "(fill_failures=True)."
    )
    return (
        f"Cloudy failed at {len(nodes)} of {header.failures.size} nodes: "
        f"{'; '.join(names)}{more}. {remedy}"
    )


def _describe_edges(header: GridHeader, nodes: NDArray[np.intp]) -> str:
    """Say which of the failed nodes (m, d) are at an edge, if any."""
    last = np.array(header.shape) - 1
    edges = nodes[(((nodes == 0) | (nodes == last)) & (last > 0)).any(axis=1)]
    if not len(edges):
        return ""
    names = [node_name(header.axes, node) for node in edges[:_NAMED]]
    more = f"; and {len(edges) - _NAMED} more" * (len(edges) > _NAMED)
    return (
        f" {len(edges)} of them lie at an edge of the grid, where it is an "
        f"extrapolation, and may be far off: {'; '.join(names)}{more}."
    )
