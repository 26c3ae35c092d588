"""Labels recovered: axis values fitted to spectra by gradient descent.

Whether an emulator serves inference is not the size of its residuals but
whether spectra lead back to where they came from. Nothing but JAX here.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array
from numpy.typing import NDArray

from synthesizer_emulator.emulator.emulator import Emulator
from synthesizer_emulator.emulator.metrics import is_bright
from synthesizer_emulator.evaluation.measures.subset import (
    restricted,
    some_wavelengths,
    spectra_at,
)
from synthesizer_emulator.gridfile.labels import Label
from synthesizer_emulator.gridfile.nodes import node_mesh

# Wavelengths that are fitted: enough to know a spectrum by.
_PIXELS = 250

# A mesh of starting points, of which the best few descend.
_MESH = 1024
_STARTS = 24
_STEPS = 40

# The damping of a descent at first, its factors after a step that made the
# fit better or did not, and what keeps a label without effect in place.
_FIRST_DAMPING = 1e-2
_DAMPING = (0.3, 5.0)
_LEAST_CURVATURE = 1e-8

# Fluxes below this are as good as none to a logarithm.
_TINY = 1e-30


@dataclass(frozen=True)
class LabelErrors:
    """How well one label came back.

    Attributes:
        logged (bool): Whether errors are in dex, or in the axis' units.
        p50 (float): The median size of the error.
        p95 (float): The 95th percentile.
        bias (float): The mean error with its sign.
    """

    logged: bool
    p50: float
    p95: float
    bias: float


@dataclass(frozen=True)
class Recovery:
    """The labels of spectra, and what the emulator makes of them.

    Attributes:
        spectrum (str): Which spectrum was fitted.
        labels (dict): The LabelErrors of each axis.
        mass (LabelErrors): That of the mass, which is fitted, too.
        true (np.ndarray of float): Axis values, (n, d).
        recovered (np.ndarray of float): Axis values, (n, d).
        log10_mass (np.ndarray of float): Recovered over true, (n,).
        misfit (np.ndarray of float): The root mean square of what is left
            of ln flux, (n,).
    """

    spectrum: str
    labels: dict[str, LabelErrors]
    mass: LabelErrors
    true: NDArray[np.float64]
    recovered: NDArray[np.float64]
    log10_mass: NDArray[np.float64]
    misfit: NDArray[np.float64]


def recover(
    emulator: Emulator,
    spectrum: str,
    labels: Sequence[Label],
    lnu: NDArray[np.float64],
    scored: NDArray[np.bool_],
) -> tuple[NDArray[np.float64], NDArray[np.float64], NDArray[np.float64]]:
    """Fit the axis values and the mass of spectra.

    Minimises the variance of ln flux between a spectrum and the emulator,
    so that the mass may be any. Down the gradient, with steps damped as by
    Marquardt (1963, J. SIAM 11, 431), from the best of a mesh of starting
    points, in labels scaled to their ranges; all derivatives are automatic.

    Args:
        emulator (Emulator): The emulator.
        spectrum (str): Which of its spectra they are.
        labels (sequence of Label): Its axes.
        lnu (np.ndarray of float): The spectra, on the emulator's
            wavelengths, (n, nlam); of any mass.
        scored (np.ndarray of bool): Which wavelengths to fit, (nlam,).

    Returns:
        tuple: The axis values (n, d), log10 of the mass (n,), and the root
            mean square of what is left of ln flux (n,).
    """
    columns = some_wavelengths(scored, _PIXELS)
    part = restricted(emulator, spectrum, columns)
    target = lnu[:, columns]
    bright = is_bright(target)
    target = np.log(np.where(bright, target, 1.0))
    scale = _Scale(
        low=tuple(float(label.nodes[0]) for label in labels),
        high=tuple(float(label.nodes[-1]) for label in labels),
        logged=tuple(label.logged for label in labels),
    )
    mesh = _mesh(labels)
    points = jnp.asarray(scale.values(mesh, np))
    library = np.asarray(spectra_at(part, spectrum, points), np.float64)
    library = np.log(np.maximum(library, _TINY))
    weight = bright / bright.sum(axis=1, keepdims=True)
    starts = np.stack(
        [
            mesh[np.argsort(_variances(library - one, w))[:_STARTS]]
            for one, w in zip(target, weight, strict=True)
        ]
    )
    arrays = (jnp.asarray(a, jnp.float32) for a in (starts, target, weight))
    scaled, shift, left = map(
        np.asarray, _descend(part, spectrum, scale, *arrays)
    )
    best = np.arange(len(lnu)), np.argmin(left, axis=1)
    values = scale.values(scaled[best].astype(np.float64), np)
    return values, -shift[best] / np.log(10.0), np.sqrt(left[best])


@dataclass(frozen=True)
class _Scale:
    """From the unit cube to axis values.

    Attributes:
        low (tuple of float): The lowest label of each axis.
        high (tuple of float): The highest.
        logged (tuple of bool): Whether labels are log10.
    """

    low: tuple[float, ...]
    high: tuple[float, ...]
    logged: tuple[bool, ...]

    def values(self, scaled: Any, xp: Any) -> Any:
        """Return the axis values of points (..., d) of the unit cube.

        Args:
            scaled (array): The points.
            xp (module): `numpy` or `jax.numpy`, whichever they belong to.
        """
        columns = []
        for i, logged in enumerate(self.logged):
            label = self.low[i] + scaled[..., i] * (self.high[i] - self.low[i])
            columns.append(10.0**label if logged else label)
        return xp.stack(columns, axis=-1)


def compare(
    spectrum: str,
    labels: Sequence[Label],
    true: NDArray[np.float64],
    fitted: tuple[NDArray, NDArray, NDArray],
) -> Recovery:
    """Set what `recover` fitted beside the truth.

    Args:
        spectrum (str): Which spectrum was fitted.
        labels (sequence of Label): The axes.
        true (np.ndarray of float): The axis values, (n, d), of spectra of
            unit mass.
        fitted (tuple): What `recover` returned.

    Returns:
        Recovery: Both, with their differences summarised.
    """
    values, log10_mass, misfit = fitted
    errors = {
        label.axis.name: _label_errors(
            label.to_labels(values[:, i], np)
            - label.to_labels(true[:, i], np),
            label.logged,
        )
        for i, label in enumerate(labels)
    }
    mass = _label_errors(log10_mass, True)
    return Recovery(spectrum, errors, mass, true, values, log10_mass, misfit)


def _label_errors(errors: NDArray, logged: bool) -> LabelErrors:
    """Summarise the errors of one label."""
    p50, p95 = np.quantile(np.abs(errors), [0.5, 0.95])
    return LabelErrors(logged, float(p50), float(p95), float(errors.mean()))


class _Fit(NamedTuple):
    """A point of a descent, and all that is known there.

    Attributes:
        scaled (Array): Its scaled labels, (d,).
        mean (Array): The mean offset of ln flux, ().
        variance (Array): The variance of the offset, ().
        gradient (Array): Half its gradient, (d,).
        slopes (Array): The slopes of the weighted offset, (k, d).
    """

    scaled: Array
    mean: Array
    variance: Array
    gradient: Array
    slopes: Array


def _mesh(labels: Sequence[Label]) -> NDArray[np.float64]:
    """Return starting points in the unit cube, (m, d).

    As dense along each axis as its nodes are.
    """
    side = max(2, round(_MESH ** (1 / len(labels))))
    lines = []
    for label in labels:
        n, nodes = len(label.nodes), label.nodes
        at = (np.arange(side) + 0.5) / side * (n - 1)
        line = np.interp(at, np.arange(n), nodes)
        lines.append((line - nodes[0]) / (nodes[-1] - nodes[0]))
    return node_mesh(lines).reshape(-1, len(labels))


def _variances(
    offsets: NDArray[np.float64], weight: NDArray[np.float64]
) -> NDArray[np.float64]:
    """Return the weighted variance of each row of offsets (m, k)."""
    return offsets**2 @ weight - (offsets @ weight) ** 2


@partial(jax.jit, static_argnames=("spectrum", "scale"))
def _descend(
    part: Emulator,
    spectrum: str,
    scale: _Scale,
    starts: Array,
    target: Array,
    weight: Array,
) -> tuple[Array, Array, Array]:
    """Descend to each of n targets (n, k) from s starts (n, s, d).

    Returns:
        tuple: The best scaled labels (n, s, d), the mean offset of ln flux
            there (n, s), and its variance (n, s).
    """

    def offsets(scaled: Array, target: Array, weight: Array) -> _Fit:
        def residual(scaled: Array) -> tuple[Array, tuple[Array, Array]]:
            flux = part.spectrum(spectrum, scale.values(scaled, jnp))
            offset = jnp.log(jnp.maximum(flux, _TINY)) - target
            mean = jnp.sum(weight * offset)
            left = jnp.sqrt(weight) * (offset - mean)
            return left, (left, mean)

        slopes, (left, mean) = jax.jacfwd(residual, has_aux=True)(scaled)
        return _Fit(scaled, mean, jnp.sum(left**2), slopes.T @ left, slopes)

    def descend(start: Array, target: Array, weight: Array) -> _Fit:
        def step(carry: tuple, _: None) -> tuple[tuple, None]:
            fit, damping = carry
            normal = fit.slopes.T @ fit.slopes
            damped = normal + jnp.diag(
                damping * jnp.diag(normal) + _LEAST_CURVATURE
            )
            move = jnp.linalg.solve(damped, fit.gradient)
            tried = offsets(
                jnp.clip(fit.scaled - move, 0.0, 1.0), target, weight
            )
            better = tried.variance < fit.variance
            fit = jax.tree.map(
                lambda new, old: jnp.where(better, new, old), tried, fit
            )
            factor = jnp.where(better, *_DAMPING)
            return (fit, damping * factor), None

        first = offsets(start, target, weight), jnp.asarray(_FIRST_DAMPING)
        (fit, _), _ = jax.lax.scan(step, first, None, _STEPS)
        return fit

    of_target = jax.vmap(descend, in_axes=(0, None, None))
    fit = jax.vmap(of_target)(starts, target, weight)
    return fit.scaled, fit.mean, fit.variance
