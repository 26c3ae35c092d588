"""The stages of the emulator of one spectrum, each judged by itself.

A regressor maps labels to latents, of which the first is ln of the norm (the
largest flux), and a decoder maps the others to log flux. The decoder alone is
judged with the latents that describe each spectrum best, whatever the
regressor predicts: what is left is the error of the basis or autoencoder.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array
from numpy.typing import NDArray
from synthesizer.exceptions import InconsistentArguments

from synthesizer_emulator.emulator.emission import (
    Decoder,
    EmissionEmulator,
    LinearDecoder,
    decode,
    encode,
)
from synthesizer_emulator.emulator.emulator import Emulator
from synthesizer_emulator.emulator.metrics import (
    SCORED_FLOOR,
    fractional_residuals,
    is_bright,
    mean_errors,
)
from synthesizer_emulator.evaluation.measures.quantiles import Quantiles
from synthesizer_emulator.evaluation.measures.residuals import (
    Example,
    Profile,
    wavelength_profile,
)
from synthesizer_emulator.evaluation.measures.subset import some_wavelengths
from synthesizer_emulator.gridfile.labels import Label
from synthesizer_emulator.validation import check_number, nearest

# The number of wavelengths that latents are fitted to.
_PIXELS = 1500

# The largest numbers of leading components, and of those that are kept.
_COUNTED, _DRAWN = 128, 4

# The number of steps of a fit, and of spectra that are fitted at a time.
_STEPS, _CHUNK = 12, 50

# The number of random examples.
_RANDOM = 3


@dataclass(frozen=True)
class Stages:
    """The stages of the emulator of one spectrum, at some of its labels.

    Attributes:
        size (int): The number of latents of the decoder.
        decoder (Quantiles): The mean absolute residuals of spectra from the
            decoder alone.
        norm (Quantiles): The errors of predicted norms, in dex.
        whole (Quantiles): The mean absolute residuals of spectra from the
            whole emulator.
        left_by_decoder (float): The fraction of the variance of the true ln
            flux that the decoder does not give.
        unexplained (np.ndarray of float): The fraction outside of the first
            1, 2, ... principal components of what the decoder gives, (k,).
        points (np.ndarray of float): The axis values, (n, d).
        log10_norm (np.ndarray of float): log10 of the true norms, (n,).
        norm_error (np.ndarray of float): log10 of predicted over true norms,
            (n,).
        decoded (np.ndarray of float): The mean absolute residual of each
            spectrum from the decoder alone, (n,).
        emulated (np.ndarray of float): That from the whole emulator, (n,).
        decoded_profile (Profile): The residuals from the decoder alone by
            wavelength.
        lam (np.ndarray of float): The wavelengths of `components` in
            Angstrom, (m,).
        components (np.ndarray of float): The leading principal components,
            in ln flux, times the standard deviation along them, (c, m).
        latents (np.ndarray of float): The first two principal directions of
            the latents, (n, 2): standardised or, if ln flux is linear in
            them, weighted by what they change in it.
        examples (dict): Chosen and random spectra as Example, as in
            `chosen 1`.
    """

    size: int
    decoder: Quantiles
    norm: Quantiles
    whole: Quantiles
    left_by_decoder: float
    unexplained: NDArray[np.float64]
    points: NDArray[np.float64] = field(repr=False)
    log10_norm: NDArray[np.float64] = field(repr=False)
    norm_error: NDArray[np.float64] = field(repr=False)
    decoded: NDArray[np.float64] = field(repr=False)
    emulated: NDArray[np.float64] = field(repr=False)
    decoded_profile: Profile = field(repr=False)
    lam: NDArray[np.float64] = field(repr=False)
    components: NDArray[np.float64] = field(repr=False)
    latents: NDArray[np.float64] = field(repr=False)
    examples: dict[str, Example] = field(repr=False)


def open_stages(
    emulator: Emulator,
    spectrum: str,
    points: NDArray[np.float64],
    flux: NDArray[np.float64],
    lam: NDArray[np.float64],
    scored: NDArray[np.bool_],
    chosen: int,
) -> Stages:
    """Judge the stages of the emulator of a spectrum.

    Args:
        emulator (Emulator): The emulator.
        spectrum (str): A spectrum that it emulates, not a sum of others.
        points (np.ndarray of float): The axis values, (n, d).
        flux (np.ndarray of float): The true spectra there, (n, nlam), none
            of them without flux.
        lam (np.ndarray of float): The wavelengths in Angstrom, (nlam,).
        scored (np.ndarray of bool): The mask of the wavelengths, (nlam,).
        chosen (int): The number of spectra, the first ones, that were
            chosen as examples; three others follow.

    Returns:
        Stages: The stages.
    """
    emission = emulator.emission(f"spectra/{spectrum}")
    ln_norm = np.log(flux.max(axis=1))
    x = jnp.asarray(emulator.coordinates.scale_points(points), jnp.float32)
    predicted = np.asarray(_predicted(emission, x), np.float64)

    # The latents of lines can't be fitted to pixels between them.
    lit = scored & is_bright(flux, SCORED_FLOOR).any(axis=0)
    pixels = some_wavelengths(lit, _PIXELS)
    decoder = emission.decoder.restrict(pixels)
    y = np.asarray(
        emission.soft_log.forward(flux[:, pixels], np.exp(ln_norm)), float
    )
    bright = is_bright(flux[:, pixels], SCORED_FLOOR)
    latents = _best_latents(decoder, predicted[:, 1:], y, bright)

    columns = np.flatnonzero(scored)
    part = emission.restrict(columns)
    true = flux[:, columns]
    decoded, whole = (
        np.asarray(
            _flux(
                part,
                jnp.asarray(z, jnp.float32),
                jnp.asarray(norm, jnp.float32),
            ),
            np.float64,
        )
        for z, norm in (
            (latents, ln_norm),
            (predicted[:, 1:], predicted[:, 0]),
        )
    )
    decoder_residuals = fractional_residuals(decoded, true, SCORED_FLOOR)
    errors = mean_errors(fractional_residuals(whole, true, SCORED_FLOOR))
    given = np.asarray(
        _decoded(decoder, jnp.asarray(latents, jnp.float32)), np.float64
    )
    components, unexplained, left = _explained(given, y, bright)
    names = [axis.name for axis in emulator.coordinates.domain]
    norm_error = (predicted[:, 0] - ln_norm) / np.log(10.0)
    decoded_errors = mean_errors(decoder_residuals)
    return Stages(
        size=latents.shape[1],
        decoder=Quantiles.from_errors(decoded_errors),
        norm=Quantiles.from_errors(norm_error),
        whole=Quantiles.from_errors(errors),
        left_by_decoder=left,
        unexplained=unexplained,
        points=points,
        log10_norm=ln_norm / np.log(10.0),
        norm_error=norm_error,
        decoded=decoded_errors,
        emulated=errors,
        decoded_profile=wavelength_profile(decoder_residuals, lam[columns]),
        lam=lam[pixels],
        components=components,
        latents=_directions(
            given
            if isinstance(decoder, LinearDecoder)
            else _standardised(latents)
        ),
        examples={
            what: Example(
                node=dict(zip(names, map(float, points[i]), strict=True)),
                error=float(errors[i]),
                lam=lam[columns],
                true=true[i],
                emulated=whole[i],
            )
            for i, what in enumerate(
                [f"chosen {i + 1}" for i in range(chosen)]
                + [f"random {i + 1}" for i in range(_RANDOM)]
            )
            if i < len(points)
        },
    )


def check_examples(
    labels: Sequence[Label], show: Sequence[Mapping[str, float]]
) -> None:
    """Raise unless the axis values of examples are in the ranges of labels.

    Raises:
        InconsistentArguments: If an axis is unknown, or a value outside of
            its range.
    """
    by_name = {label.axis.name: label.axis for label in labels}
    for wanted in show:
        for name, value in wanted.items():
            if name not in by_name:
                raise InconsistentArguments(
                    f"The axes of an example must be of {', '.join(by_name)}, "
                    f"got '{name}'.{nearest(name, by_name)}"
                )
            low, high = by_name[name].values[[0, -1]]
            check_number(f"{name} of an example", value, low, high)


def nearest_point(
    labels: Sequence[Label],
    points: NDArray[np.float64],
    wanted: Mapping[str, float],
) -> int:
    """Return the row of points (n, d) that is nearest to some axis values.

    Distances are relative to the ranges of the labels.

    Raises:
        InconsistentArguments: If an axis is unknown, or a value outside of
            its range.
    """
    check_examples(labels, [wanted])
    by_name = {label.axis.name: i for i, label in enumerate(labels)}
    distance = np.zeros(len(points))
    for name, value in wanted.items():
        i = by_name[name]
        label = labels[i].to_labels(np.append(points[:, i], value), np)
        span = float(np.ptp(labels[i].nodes)) or 1.0
        distance += ((label[:-1] - label[-1]) / span) ** 2
    return int(np.argmin(distance))


def draw_with(
    chosen: Sequence[int], emitting: NDArray[np.bool_], n: int, seed: int
) -> NDArray[np.intp]:
    """Return rows with emission: the chosen ones, then up to n random ones."""
    first = [row for row in dict.fromkeys(chosen) if emitting[row]]
    rows = np.random.default_rng(seed).permutation(np.flatnonzero(emitting))
    others = rows[~np.isin(rows, first)][: max(n - len(first), 0)]
    return np.append(np.array(first, np.intp), others)


def _best_latents(
    decoder: Decoder,
    start: NDArray[np.float64],
    y: NDArray[np.float64],
    bright: NDArray[np.bool_],
) -> NDArray[np.float64]:
    """Fit latents (n, k) of a decoder to log fluxes (n, m), where bright."""
    cuts = range(_CHUNK, len(start), _CHUNK)
    parts = zip(*(np.split(a, cuts) for a in (start, y, bright)), strict=True)
    return np.concatenate([_fit_chunk(decoder, *part) for part in parts])


def _fit_chunk(
    decoder: Decoder,
    latents: NDArray[np.float64],
    y: NDArray[np.float64],
    bright: NDArray[np.bool_],
) -> NDArray[np.float64]:
    """Fit latents by damped least squares (Marquardt 1963).

    All spectra at a time; for a linear decoder one step is enough.
    """
    k = latents.shape[1]
    damping = np.full(len(latents), 1e-6)
    residual, slopes = _residuals(decoder, latents, y, bright)
    misfit = np.sum(residual**2, axis=1)
    for _ in range(1 if isinstance(decoder, LinearDecoder) else _STEPS):
        normal = np.einsum("nmk,nml->nkl", slopes, slopes, optimize=True)
        scale = np.einsum("nkk->nk", normal)
        # Latents that change nothing stay as they are.
        floor = 1e-12 * scale.max(axis=1, keepdims=True) + 1e-300
        added = damping[:, None] * scale + floor
        normal += np.eye(k) * added[:, None, :]
        right = np.einsum("nmk,nm->nk", slopes, residual)
        trial = latents + np.linalg.solve(normal, right[..., None])[..., 0]
        found, steeper = _residuals(decoder, trial, y, bright)
        better = np.sum(found**2, axis=1) < misfit
        latents = np.where(better[:, None], trial, latents)
        residual = np.where(better[:, None], found, residual)
        slopes = np.where(better[:, None, None], steeper, slopes)
        misfit = np.sum(residual**2, axis=1)
        damping = damping * np.where(better, 0.1, 100.0)
    return latents


def _residuals(
    decoder: Decoder,
    latents: NDArray[np.float64],
    y: NDArray[np.float64],
    bright: NDArray[np.bool_],
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Return log flux minus that of latents (n, m), and slopes (n, m, k)."""
    values, slopes = _with_slopes(decoder, jnp.asarray(latents, jnp.float32))
    residual = np.where(bright, y - np.asarray(values, np.float64), 0.0)
    slopes = np.where(bright[..., None], np.asarray(slopes, np.float64), 0.0)
    return residual, slopes


def _explained(
    given: NDArray[np.float64],
    y: NDArray[np.float64],
    bright: NDArray[np.bool_],
) -> tuple[NDArray[np.float64], NDArray[np.float64], float]:
    """Return leading components of decoded log fluxes, and what they leave.

    The components (c, m), the unexplained fractions of the variance of `y`
    (k,), and that outside of the decoded fluxes `given`, both (n, m).
    """
    # What is too faint to be scored does not count.
    true = np.where(bright, y, given)
    mean = true.mean(axis=0)
    total = max(float(np.sum((true - mean) ** 2)), np.finfo(float).tiny)
    centred = given - given.mean(axis=0)
    _, values, rows = np.linalg.svd(centred, full_matrices=False)
    rows = rows[values > 1e-6 * values[0]][:_COUNTED]
    scores = (true - mean) @ rows.T
    left = 1.0 - np.cumsum(np.sum(scores**2, axis=0)) / total
    spread = values[:_DRAWN, None] / np.sqrt(len(given))
    outside = float(np.sum((true - given) ** 2)) / total
    return (
        rows[:_DRAWN] * spread[: len(rows[:_DRAWN])],
        np.maximum(left, np.finfo(np.float32).eps ** 2),
        outside,
    )


def _directions(latents: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return the first two principal directions of values (n, k)."""
    left, values, _ = np.linalg.svd(
        latents - latents.mean(axis=0), full_matrices=False
    )
    two = (left * values)[:, :2]
    return np.pad(two, ((0, 0), (0, 2 - two.shape[1])))


def _standardised(latents: NDArray[np.float64]) -> NDArray[np.float64]:
    """Divide latents (n, k) by their standard deviations."""
    spread = latents.std(axis=0)
    return latents / np.where(spread > 0, spread, 1.0)


@jax.jit
def _predicted(emission: EmissionEmulator, x: Array) -> Array:
    """Return the latents (n, k) that are predicted at coordinates (n, d)."""
    return jax.vmap(
        lambda point: encode(
            emission.regressor, emission.has_emission, point, emission.axes
        )[0]
    )(x)


@jax.jit
def _with_slopes(decoder: Decoder, latents: Array) -> tuple[Array, Array]:
    """Return the log flux (n, m) of latents (n, k), and its slopes."""

    def twice(z: Array) -> tuple[Array, Array]:
        y = decoder(z)
        return y, y

    slopes, values = jax.vmap(jax.jacfwd(twice, has_aux=True))(latents)
    return values, slopes


@jax.jit
def _decoded(decoder: Decoder, latents: Array) -> Array:
    """Return the log flux (n, m) of latents (n, k)."""
    return jax.vmap(lambda z: decoder(z))(latents)


@jax.jit
def _flux(emission: EmissionEmulator, latents: Array, ln_norm: Array) -> Array:
    """Return the flux (n, m) of latents (n, k) and norms (n,)."""
    both = jnp.concatenate([ln_norm[:, None], latents], axis=1)
    return jax.vmap(
        lambda z: decode(
            emission.decoder,
            emission.soft_log,
            emission.support[...],
            z,
            jnp.ones(1),
        )
    )(both)
