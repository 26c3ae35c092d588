"""The plot of one spectrum of an emulator, alone or over data."""

import matplotlib.pyplot as plt
import numpy as np
from matplotlib.figure import Figure
from numpy.typing import NDArray

from synthesizer_emulator.inference.model_spectrum import (
    Comparison,
    ModelSpectrum,
)
from synthesizer_emulator.inference.plots.style import (
    DATA,
    MODEL,
    mark_sigma,
    panels,
)

# The largest ratio of the ends of the wavelengths on linear axes.
_LINEAR = 3.0

# What is fainter than the peak by this factor is not shown.
_FAINTEST = 1e-5


def plot_model(model: ModelSpectrum) -> Figure:
    """Plot a spectrum against observed wavelength, or that at rest.

    Axes are logarithmic if the wavelengths span more than a factor of three.

    Args:
        model (ModelSpectrum): The spectrum.
    """
    figure, axes = plt.subplots(figsize=(7.0, 4.0), layout="constrained")
    values = np.where(model.values > 0.0, model.values, np.nan)
    axes.plot(*_broken(model, values), color=MODEL, linewidth=0.8)
    if model.lam[-1] > _LINEAR * model.lam[0]:
        axes.set(xscale="log", yscale="log")
        if np.isfinite(values).any():
            peak = np.nanmax(values)
            axes.set_ylim(_FAINTEST * peak, 3.0 * peak)
            bright = model.lam[model.values > _FAINTEST * peak]
            axes.set_xlim(bright[0] / 1.1, bright[-1] * 1.1)
    else:
        axes.set_xlim(model.lam[0], model.lam[-1])
    plain = model.units in ("", "None", "dimensionless")
    frame = "observed" if model.is_shifted else "rest-frame"
    axes.set_xlabel(f"{frame} wavelength / Å")
    axes.set_ylabel(
        "flux" if plain else f"luminosity density / ({model.units})"
    )
    axes.set_title(model.title, fontsize=9)
    return figure


def plot_comparison(
    model: ModelSpectrum, comparison: Comparison, units: str = "nJy"
) -> Figure:
    """Plot an observed spectrum with a scaled model, and residuals.

    Args:
        model (ModelSpectrum): The model, for the title.
        comparison (Comparison): The data and the scaled model.
        units (str): The units of the data; empty for none.
    """
    figure, (above, below) = panels()
    lam, has_errors = comparison.lam, np.isfinite(comparison.chi_squared)
    if has_errors:
        at, flux = _broken(model, comparison.flux)
        _, error = _broken(model, comparison.error)
        above.fill_between(
            at,
            flux - error,
            flux + error,
            step="mid",
            color="0.8",
            linewidth=0,
            label=r"$\pm 1\sigma$",
        )
    above.step(
        *_broken(model, comparison.flux),
        where="mid",
        color=DATA,
        linewidth=0.7,
        label="observed",
    )
    label = "model, scaled"
    if has_errors:
        label += rf" ($\chi^2_\nu$ = {comparison.chi_squared:.3g})"
    above.plot(
        *_broken(model, comparison.model),
        color=MODEL,
        linewidth=1.0,
        label=label,
    )
    above.set_ylabel(f"flux density / {units}" if units else "flux")
    above.legend(frameon=False, fontsize=8)
    above.set_title(model.title, fontsize=9)
    residuals = comparison.residuals * (1.0 if has_errors else 100.0)
    below.step(
        *_broken(model, residuals), where="mid", color=DATA, linewidth=0.6
    )
    if has_errors:
        mark_sigma(below)
    else:
        below.axhline(0.0, color=MODEL, linewidth=0.8, zorder=0)
    below.set_ylabel(r"residual / $\sigma$" if has_errors else "residual / %")
    below.set_xlabel("observed wavelength / Å")
    below.set_xlim(lam[0], lam[-1])
    return figure


def _broken(
    model: ModelSpectrum, values: NDArray[np.float64]
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Return wavelengths and values, with NaN in each gap of the emulator."""
    middles = [0.5 * (low + high) for low, high in model.gaps]
    places = np.searchsorted(model.lam, middles)
    return (
        np.insert(model.lam, places, middles),
        np.insert(values, places, np.nan),
    )
