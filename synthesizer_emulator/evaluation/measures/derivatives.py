"""Derivatives of ln flux with respect to the labels of a grid.

The automatic derivatives of an emulator must agree with the central
differences of the emulator. They agree with the differences between nodes as
far as the grid is smooth on the scale of its nodes.
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
from synthesizer_emulator.evaluation.measures.quantiles import Quantiles
from synthesizer_emulator.evaluation.measures.subset import (
    restricted,
    spectra_at,
)
from synthesizer_emulator.gridfile.labels import Label, labels_to_values
from synthesizer_emulator.gridfile.nodes import inner_mask

# The number of wavelengths, and the largest number of nodes, at which
# derivatives are compared.
PIXELS = 200
_NODES = 400

# The step of central differences, as a fraction of the node spacing.
_STEP = 0.01


@dataclass(frozen=True)
class DerivativeErrors:
    """Differences between the estimates of a derivative d ln flux / d label.

    Attributes:
        logged (bool): Whether the label is log10 of the axis.
        size (float): The root mean square of the differences between nodes.
        emulator (Quantiles): The automatic derivative minus the central
            difference of the emulator.
        grid (Quantiles): The automatic derivative minus the difference
            between the nodes of the grid.
    """

    logged: bool
    size: float
    emulator: Quantiles
    grid: Quantiles


@dataclass(frozen=True)
class Derivatives:
    """Three estimates of the derivatives of ln flux with each label.

    Attributes:
        spectrum (str): The name of the spectrum.
        labels (dict): The DerivativeErrors of each axis.
        lam (np.ndarray of float): Wavelengths in Angstrom, (k,).
        points (np.ndarray of float): Axis values of the nodes, (m, d).
        automatic (np.ndarray of float): Automatic derivatives of the
            emulator, (m, k, d); NaN where the flux is too faint to be
            scored.
        differences (np.ndarray of float): Central differences of the
            emulator, (m, k, d).
        native (np.ndarray of float): Differences between the nodes of the
            grid, (m, k, d).
    """

    spectrum: str
    labels: dict[str, DerivativeErrors]
    lam: NDArray[np.float64] = field(repr=False)
    points: NDArray[np.float64] = field(repr=False)
    automatic: NDArray[np.float64] = field(repr=False)
    differences: NDArray[np.float64] = field(repr=False)
    native: NDArray[np.float64] = field(repr=False)


def compare_derivatives(
    emulator: Emulator,
    spectrum: str,
    labels: Sequence[Label],
    columns: NDArray[np.intp],
    lam: NDArray[np.float64],
    native: NDArray[np.float64],
    seed: int = 0,
) -> Derivatives | None:
    """Return three estimates of derivatives at the inner nodes of a grid.

    Args:
        emulator (Emulator): The emulator.
        spectrum (str): The name of the spectrum.
        labels (sequence of Label): The axes of the grid.
        columns (np.ndarray of int): The indices of the compared
            wavelengths of the emulator, (k,).
        lam (np.ndarray of float): These wavelengths in Angstrom, (k,).
        native (np.ndarray of float): The native spectra at these
            wavelengths, (n1, ..., nd, k).
        seed (int): The seed for drawing 400 nodes if there are more.

    Returns:
        Derivatives: The derivatives; None if an axis has fewer than three
            nodes, or no inner node is bright.
    """
    shape = native.shape[:-1]
    if min(shape) < 3:
        return None
    by_nodes, bright = node_derivatives(labels, native)
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
    scored = bright[at]
    automatic, differences, by_nodes = (
        np.where(scored[..., None], slopes, np.nan)
        for slopes in (
            _automatic(part, spectrum, labels, nodes),
            _central_differences(part, spectrum, labels, nodes),
            by_nodes[at],
        )
    )
    return Derivatives(
        spectrum=spectrum,
        labels={
            label.axis.name: DerivativeErrors(
                label.logged,
                float(np.sqrt(np.mean(by_nodes[scored, i] ** 2))),
                Quantiles.from_errors(automatic[..., i] - differences[..., i]),
                Quantiles.from_errors(automatic[..., i] - by_nodes[..., i]),
            )
            for i, label in enumerate(labels)
        },
        lam=lam,
        points=labels_to_values(labels, nodes, np),
        automatic=automatic,
        differences=differences,
        native=by_nodes,
    )


def node_derivatives(
    labels: Sequence[Label], native: NDArray
) -> tuple[NDArray, NDArray[np.bool_]]:
    """Return derivatives of ln flux from differences between nodes.

    The differences are accurate to second order in the node spacing.

    Args:
        labels (sequence of Label): The d axes.
        native (np.ndarray of float): Native spectra, (n1, ..., nd, k).

    Returns:
        tuple: The derivatives, (n1, ..., nd, k, d), and a mask of the
            pixels that are bright at a node and at all of its neighbours,
            (n1, ..., nd, k).
    """
    bright = is_bright(native)
    log_flux = np.log(np.where(native > 0, native, 1.0))
    slopes, all_bright = [], bright.copy()
    for i, label in enumerate(labels):
        slopes.append(np.gradient(log_flux, label.nodes, axis=i))
        mask, along = np.moveaxis(all_bright, i, 0), np.moveaxis(bright, i, 0)
        mask[1:] &= along[:-1]
        mask[:-1] &= along[1:]
    return np.stack(slopes, axis=-1), all_bright


def _automatic(
    part: Emulator,
    spectrum: str,
    labels: Sequence[Label],
    nodes: NDArray[np.float64],
) -> NDArray[np.float64]:
    """Return derivatives (m, k, d) by forward-mode differentiation."""

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
    """Return central differences (m, k, d) of the emulator."""
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
