"""Slopes with the labels, by automatic differentiation and by hand.

Two questions: whether the emulator's derivatives are those of the
emulator (they must be), and whether they are those of the grid (as far as
its nodes tell).
"""

from collections.abc import Sequence
from dataclasses import dataclass, field

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array
from numpy.typing import NDArray

from synthesizer_emulator.emulator.emulator import Emulator
from synthesizer_emulator.emulator.metrics import is_bright
from synthesizer_emulator.evaluation.measures.subset import (
    restricted,
    spectra_at,
)
from synthesizer_emulator.gridfile.labels import Label, labels_to_values
from synthesizer_emulator.gridfile.nodes import inner_mask

# Wavelengths at which slopes are taken, and the most nodes.
PIXELS = 200
_NODES = 400

# The step of a difference, as a part of the distance of the nodes.
_STEP = 0.01


@dataclass(frozen=True)
class SlopeErrors:
    """How slopes with one label agree, in ln flux per label.

    Attributes:
        logged (bool): Whether the label is log10 of the axis.
        size (float): The root mean square of the grid's own slopes.
        emulator_p50 (float): The median difference between the automatic
            derivative and central differences of the emulator.
        emulator_p95 (float): Its 95th percentile.
        grid_p50 (float): The median difference between the automatic
            derivative and differences between the grid's nodes.
        grid_p95 (float): Its 95th percentile.
    """

    logged: bool
    size: float
    emulator_p50: float
    emulator_p95: float
    grid_p50: float
    grid_p95: float


@dataclass(frozen=True)
class JacobianCheck:
    """The slopes of ln flux with each label, three ways.

    Attributes:
        spectrum (str): Which spectrum.
        labels (dict): The SlopeErrors of each axis.
        lam (np.ndarray of float): Wavelengths in Angstrom, (k,).
        points (np.ndarray of float): Axis values of nodes, (m, d).
        automatic (np.ndarray of float): By automatic differentiation of
            the emulator, (m, k, d); NaN where it is too faint to count.
        differences (np.ndarray of float): By its central differences.
        native (np.ndarray of float): By differences between nodes.
    """

    spectrum: str
    labels: dict[str, SlopeErrors]
    lam: NDArray[np.float64] = field(repr=False)
    points: NDArray[np.float64] = field(repr=False)
    automatic: NDArray[np.float64] = field(repr=False)
    differences: NDArray[np.float64] = field(repr=False)
    native: NDArray[np.float64] = field(repr=False)


def check_jacobian(
    emulator: Emulator,
    spectrum: str,
    labels: Sequence[Label],
    columns: NDArray[np.intp],
    lam: NDArray[np.float64],
    native: NDArray[np.float64],
    seed: int = 0,
) -> JacobianCheck | None:
    """Compare slopes at inner nodes of a grid.

    Args:
        emulator (Emulator): The emulator.
        spectrum (str): Which of its spectra.
        labels (sequence of Label): The axes of the grid.
        columns (np.ndarray of int): The emulator's wavelengths to use,
            (k,).
        lam (np.ndarray of float): These wavelengths in Angstrom, (k,).
        native (np.ndarray of float): The grid's spectra there,
            (n1, ..., nd, k).
        seed (int): Of the choice of nodes, where there are very many.

    Returns:
        JacobianCheck: None if an axis has less than three nodes.
    """
    shape = native.shape[:-1]
    if min(shape) < 3:
        return None
    slopes, bright = _node_slopes(labels, native)
    chosen = np.argwhere(inner_mask(shape) & bright.any(axis=-1))
    if not len(chosen):
        return None
    if len(chosen) > _NODES:
        rng = np.random.default_rng(seed)
        chosen = chosen[np.sort(rng.permutation(len(chosen))[:_NODES])]
    at = tuple(chosen.T)
    nodes = np.stack(
        [label.nodes[i] for label, i in zip(labels, at, strict=True)], axis=1
    )
    part = restricted(emulator, spectrum, columns)
    faint = ~bright[at][..., None]
    ways = (
        _automatic(part, spectrum, labels, nodes),
        _central_differences(part, spectrum, labels, nodes),
        slopes[at],
    )
    automatic, differences, by_nodes = (
        np.where(faint, np.nan, way) for way in ways
    )
    return JacobianCheck(
        spectrum=spectrum,
        labels={
            label.axis.name: _slope_errors(
                label.logged,
                automatic[..., i],
                differences[..., i],
                by_nodes[..., i],
            )
            for i, label in enumerate(labels)
        },
        lam=lam,
        points=labels_to_values(labels, nodes, np),
        automatic=automatic,
        differences=differences,
        native=by_nodes,
    )


def _node_slopes(
    labels: Sequence[Label], native: NDArray
) -> tuple[NDArray, NDArray[np.bool_]]:
    """Return the grid's slopes (..., k, d), and where they count (..., k).

    Second order in the distance of the nodes, where a node and its
    neighbours along each axis are bright.
    """
    bright = is_bright(native)
    log_flux = np.log(np.where(native > 0, native, 1.0))
    slopes, count = [], bright.copy()
    for i, label in enumerate(labels):
        slopes.append(np.gradient(log_flux, label.nodes, axis=i))
        lines, along = np.moveaxis(count, i, 0), np.moveaxis(bright, i, 0)
        lines[1:] &= along[:-1]
        lines[:-1] &= along[1:]
    return np.stack(slopes, axis=-1), count


def _automatic(
    part: Emulator,
    spectrum: str,
    labels: Sequence[Label],
    nodes: NDArray[np.float64],
) -> NDArray[np.float64]:
    """Return slopes (m, k, d) by forward differentiation."""

    def log_flux(at: Array) -> Array:
        values = labels_to_values(labels, at, jnp)
        return jnp.log(part.spectrum(spectrum, values))

    slopes = jax.jit(jax.vmap(jax.jacfwd(log_flux)))
    return np.asarray(slopes(jnp.asarray(nodes)))


def _central_differences(
    part: Emulator,
    spectrum: str,
    labels: Sequence[Label],
    nodes: NDArray[np.float64],
) -> NDArray[np.float64]:
    """Return slopes (m, k, d) by two values of the emulator each."""
    slopes = []
    for i, label in enumerate(labels):
        step = np.zeros(len(labels))
        step[i] = _STEP * np.median(np.diff(label.nodes))
        ahead, behind = (
            np.log(np.asarray(spectra_at(part, spectrum, at), np.float64))
            for at in (
                jnp.asarray(labels_to_values(labels, nodes + step, np)),
                jnp.asarray(labels_to_values(labels, nodes - step, np)),
            )
        )
        slopes.append((ahead - behind) / (2 * step[i]))
    return np.stack(slopes, axis=-1)


def _slope_errors(
    logged: bool, automatic: NDArray, differences: NDArray, native: NDArray
) -> SlopeErrors:
    """Summarise the slopes with one label."""
    known = ~np.isnan(automatic)
    levels = [
        np.quantile(np.abs(automatic - other)[known], [0.5, 0.95])
        for other in (differences, native)
    ]
    return SlopeErrors(
        logged,
        float(np.sqrt(np.mean(native[known] ** 2))),
        *(float(v) for pair in levels for v in pair),
    )
