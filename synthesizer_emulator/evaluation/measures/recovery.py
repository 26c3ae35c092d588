"""Recovery of labels: fits of an emulator to spectra with known axis values.

An emulator is suitable for inference if fits to spectra recover their labels.
The fits use automatic derivatives.
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
from synthesizer_emulator.evaluation.measures.quantiles import Quantiles
from synthesizer_emulator.evaluation.measures.subset import (
    restricted,
    some_wavelengths,
    spectra_at,
)
from synthesizer_emulator.gridfile.labels import Label
from synthesizer_emulator.gridfile.nodes import node_mesh

# The number of fitted wavelengths.
_PIXELS = 250

# The number of points in the coarse mesh, the number of best points from which
# fits start, and the number of iterations.
_MESH = 1024
_STARTS = 24
_STEPS = 40

# The initial damping, the factors applied to it after a step that did and did
# not improve the fit, and the least curvature, which fixes labels that have no
# effect on the spectrum.
_FIRST_DAMPING = 1e-2
_DAMPING = (0.3, 5.0)
_LEAST_CURVATURE = 1e-8

# The part of the true values that large errors must spare to be localised.
_MOST = 0.7

# The smallest flux of which the logarithm is taken.
_TINY = 1e-30


@dataclass(frozen=True)
class Recovery:
    """True and recovered axis values of spectra.

    Attributes:
        spectrum (str): The name of the fitted spectrum.
        logged (dict): Whether the errors of each axis are in dex; else in
            the units of the axis.
        labels (dict): The Quantiles of the errors of each axis.
        mass (Quantiles): The Quantiles of the errors of the mass in dex.
        true (np.ndarray of float): True axis values, (n, d).
        recovered (np.ndarray of float): Recovered axis values, (n, d).
        log10_mass (np.ndarray of float): log10 of recovered over true mass,
            (n,).
        misfit (np.ndarray of float): The root mean square of the residuals
            of ln flux, (n,).
    """

    spectrum: str
    logged: dict[str, bool]
    labels: dict[str, Quantiles]
    mass: Quantiles
    true: NDArray[np.float64]
    recovered: NDArray[np.float64]
    log10_mass: NDArray[np.float64]
    misfit: NDArray[np.float64]

    def where(self, name: str) -> str:
        """Return the true values at which an axis has large errors, as text.

        Args:
            name (str): The name of the axis.

        Returns:
            str: The range of all errors above a tenth of the 95th
                percentile, and the 95th percentile of the others; empty
                unless most true values are outside of it.
        """
        i = list(self.labels).index(name)
        true, found = self.true[:, i], self.recovered[:, i]
        error = np.abs(
            np.log10(found / true) if self.logged[name] else found - true
        )
        is_large = ~(error <= 0.1 * self.labels[name].p95)
        if not is_large.any():
            return ""
        low, high = true[is_large].min(), true[is_large].max()
        outside = (true < low) | (true > high)
        if np.mean(outside) < _MOST:
            return ""
        scale, unit = (1e6, " Myr") if name == "ages" else (1.0, "")
        return (
            f" (from {low / scale:.2g} to {high / scale:.2g}{unit}; within "
            f"{np.quantile(error[outside], 0.95):.2g} elsewhere)"
        )


def recover(
    emulator: Emulator,
    spectrum: str,
    labels: Sequence[Label],
    lnu: NDArray[np.float64],
    scored: NDArray[np.bool_],
) -> tuple[NDArray[np.float64], NDArray[np.float64], NDArray[np.float64]]:
    """Fit the axis values and the mass of spectra.

    Minimises the variance of the difference in ln flux between spectrum and
    emulator, which does not depend on the mass, with the damped steps of
    Marquardt (1963, J. SIAM 11, 431). The fits start from the best points
    of a coarse mesh; labels are scaled to the unit cube.

    Args:
        emulator (Emulator): The emulator.
        spectrum (str): The name of the spectrum.
        labels (sequence of Label): The d axes of the emulator.
        lnu (np.ndarray of float): Spectra of any mass, at the wavelengths
            of the emulator, (n, nlam).
        scored (np.ndarray of bool): Mask of the wavelengths, (nlam,); an
            evenly spread subset is fitted.

    Returns:
        tuple: The axis values (n, d), log10 of the mass (n,), and the root
            mean square of the residuals of ln flux (n,).
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
            mesh[np.argsort(_variances(library - log_flux, w))[:_STARTS]]
            for log_flux, w in zip(target, weight, strict=True)
        ]
    )
    # In the precision that JAX has, as what is computed from them.
    arrays = (jnp.asarray(a) for a in (starts, target, weight))
    scaled, shift, variance = map(
        np.asarray, _descend(part, spectrum, scale, *arrays)
    )
    best = np.arange(len(lnu)), np.argmin(variance, axis=1)
    values = scale.values(scaled[best].astype(np.float64), np)
    return values, -shift[best] / np.log(10.0), np.sqrt(variance[best])


@dataclass(frozen=True)
class _Scale:
    """The lowest and highest label of each axis, and whether it is log10."""

    low: tuple[float, ...]
    high: tuple[float, ...]
    logged: tuple[bool, ...]

    def values(self, scaled: Any, xp: Any) -> Any:
        """Return the axis values of points (..., d) in the unit cube."""
        columns = []
        for i, logged in enumerate(self.logged):
            label = self.low[i] + scaled[..., i] * (self.high[i] - self.low[i])
            columns.append(10.0**label if logged else label)
        return xp.stack(columns, axis=-1)


def recovery_errors(
    emulator: Emulator,
    spectrum: str,
    labels: Sequence[Label],
    true: NDArray[np.float64],
    lnu: NDArray[np.float64],
    scored: NDArray[np.bool_],
) -> Recovery:
    """Fit spectra of known axis values, and return the errors of the fits.

    Args:
        emulator (Emulator): The emulator.
        spectrum (str): The name of the spectrum.
        labels (sequence of Label): The d axes of the emulator.
        true (np.ndarray of float): The axis values of the spectra, (n, d).
        lnu (np.ndarray of float): Spectra of unit mass, as in `recover`.
        scored (np.ndarray of bool): Mask of wavelengths, as in `recover`.
    """
    values, log10_mass, misfit = recover(
        emulator, spectrum, labels, lnu, scored
    )
    errors = {
        label.axis.name: label.to_labels(values[:, i], np)
        - label.to_labels(true[:, i], np)
        for i, label in enumerate(labels)
    }
    return Recovery(
        spectrum=spectrum,
        logged={label.axis.name: label.logged for label in labels},
        labels={name: _quantiles(error) for name, error in errors.items()},
        mass=_quantiles(log10_mass),
        true=true,
        recovered=values,
        log10_mass=log10_mass,
        misfit=misfit,
    )


def _quantiles(errors: NDArray[np.float64]) -> Quantiles:
    """Summarise errors, counting fits that ended in NaN as infinite."""
    return Quantiles.from_errors(np.where(np.isnan(errors), np.inf, errors))


class _Fit(NamedTuple):
    """The state of a fit after one iteration.

    Attributes:
        scaled (Array): The labels scaled to the unit cube, (d,).
        mean (Array): The mean offset of ln flux, ().
        variance (Array): The variance of the offset, ().
        gradient (Array): Half the gradient of the variance, (d,).
        slopes (Array): The derivatives of the weighted offset, (k, d).
    """

    scaled: Array
    mean: Array
    variance: Array
    gradient: Array
    slopes: Array


def _mesh(labels: Sequence[Label]) -> NDArray[np.float64]:
    """Return mesh points in the unit cube (m, d), spaced like the nodes."""
    side = max(2, round(_MESH ** (1 / len(labels))))
    lines = []
    for label in labels:
        n, nodes = len(label.nodes), label.nodes
        if n == 1:
            lines.append(np.zeros(1))
            continue
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
    """Fit n targets (n, k), each from s starting points (n, s, d).

    Returns:
        tuple: The scaled labels of least variance (n, s, d), the mean
            offset of ln flux (n, s), and its variance (n, s).
    """

    def offsets(scaled: Array, target: Array, weight: Array) -> _Fit:
        def residual(scaled: Array) -> tuple[Array, tuple[Array, Array]]:
            flux = part.spectrum(spectrum, scale.values(scaled, jnp))
            offset = jnp.log(jnp.maximum(flux, _TINY)) - target
            mean = jnp.sum(weight * offset)
            centred = jnp.sqrt(weight) * (offset - mean)
            return centred, (centred, mean)

        slopes, (centred, mean) = jax.jacfwd(residual, has_aux=True)(scaled)
        variance = jnp.sum(centred**2)
        return _Fit(scaled, mean, variance, slopes.T @ centred, slopes)

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
