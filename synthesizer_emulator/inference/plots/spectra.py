"""Plots of spectra and of the data that they are compared with."""

from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator, NullFormatter
from numpy.typing import NDArray
from synthesizer.exceptions import InconsistentArguments

from synthesizer_emulator.galaxies.transmission import open_range
from synthesizer_emulator.inference.fit import Fit
from synthesizer_emulator.inference.measurements import Measurements
from synthesizer_emulator.inference.plots.style import (
    BANDS,
    BEST,
    DATA,
    MODEL,
    mark_sigma,
    middle_of,
    panels,
    plot_bands,
    write_decades,
)
from synthesizer_emulator.inference.posterior import (
    QUANTILES,
    Posterior,
    weighted_quantiles,
)

# The largest ratio of the ends of an interval on a linear axis.
_LINEAR = 1e4

# The fewest numbers of an axis of wavelengths.
_TICKS = 3

# The part of the pixels of a spectrum that are in the panel.
_PIXELS = (0.01, 0.99)


def plot_sed(
    posterior: Posterior, fit: Fit, n: int = 500, seed: int = 0
) -> Figure:
    """Plot the spectra of a posterior with all data, and residuals.

    Args:
        posterior (Posterior): The posterior.
        fit (Fit): The fit that it is of.
        n (int): The number of galaxies, drawn with equal weights.
        seed (int): The seed of the random numbers.

    Returns:
        Figure: The figure. Bands hold the central 68% and 95% of the
            posterior; squares are the model in the filters, arrows upper
            limits. An observed spectrum is divided by its calibration.
            Residuals are from the median, those of a spectrum from the
            sample with the largest likelihood, in standard deviations of the
            data, with the jitter, the scale and the outliers of the fit;
            those of emission lines are at their wavelengths. Of a maximum
            alone there is one curve, from which residuals are.
    """
    data = posterior.data
    # All draws of a maximum are the same.
    seds = fit.seds(
        posterior, n if posterior.samples.is_posterior else 1, seed
    )
    lam = seds.lam.to_value("um")
    curves = seds.quantiles(BANDS).to_value("nJy")
    figure, (above, below) = panels()
    plot_bands(above, lam, curves, posterior)
    ends, heights = [], []
    if data.spectrum is not None:
        pixels = np.asarray(data.spectrum.lam) / 1e4
        used = np.asarray(data.spectrum.is_used)
        flux = np.asarray(data.spectrum.flux)
        calibration = posterior.best_model["calibration"]
        bare = posterior.best_model["spectrum"]
        residuals = flux - bare * calibration
        residuals = residuals / posterior.best_model["spectrum_error"]
        flux = flux / calibration
        for axes, values in ((below, residuals), (above, flux)):
            axes.step(
                pixels,
                np.where(used, values, np.nan),
                where="mid",
                color="0.5",
                linewidth=0.6,
                label="spectrum",
                zorder=1,
            )
        ends += [pixels[used].min(), pixels[used].max()]
        # A few stray pixels do not set the scale.
        heights += [np.quantile(flux[used], _PIXELS)]
    if data.photometry is not None:
        lacking = sorted(
            {*posterior.codes["photometry"]}
            - {*(() if fit.filters is None else fit.filters.filter_codes)}
        )
        if lacking:
            raise InconsistentArguments(
                "The fit must have the filters of the posterior, got one "
                f"without {', '.join(lacking)}. Use the fit that made it."
            )
        assert fit.filters is not None
        limits = np.array(
            [
                open_range(fit.filters[code])
                for code in posterior.codes["photometry"]
            ]
        )
        limits /= 1e4
        centres = np.sqrt(limits.prod(axis=1))
        model = _predicted(posterior, "photometry")
        above.errorbar(
            centres,
            model[1],
            [model[1] - model[0], model[2] - model[1]],
            fmt="s",
            color=MODEL,
            markerfacecolor="white",
            markersize=8,
            elinewidth=2,
            zorder=3,
            label=f"{middle_of(posterior)} in filters",
        )
        _plot_fluxes(above, centres, limits, data.photometry)
        _plot_residuals(
            below, centres, data.photometry, model[1], "o", "photometry"
        )
        ends += [limits.min(), limits.max()]
        measured = data.photometry.is_measured
        heights += [np.asarray(data.photometry.flux)[measured], model[1]]
    if data.line_fluxes is not None:
        stretch = 1.0 + np.median(seds.redshift)
        lines = fit.library.model.lines
        assert lines is not None
        centres = np.asarray(lines.lam) * stretch / 1e4
        model = _predicted(posterior, "line_fluxes")
        _plot_residuals(
            below, centres, data.line_fluxes, model[1], "D", "lines"
        )
        ends += [centres.min(), centres.max()]
    low, high = min(ends) / 1.2, max(ends) * 1.2
    inside = (lam > low) & (lam < high)
    # The central 68% is whole; lines of the 95% may leave the panel.
    heights += [curves[2, inside], curves[3, inside]]
    _set_heights(above, np.concatenate(heights))
    above.set_ylabel("flux density [nJy]")
    above.legend(frameon=False, fontsize=8)
    kinds = [
        kind
        for kind in (data.photometry, data.line_fluxes, data.spectrum)
        if kind is not None
    ]
    if len(kinds) > 1:
        # Between the panels, where no points are.
        below.legend(
            frameon=False,
            fontsize=8,
            ncols=len(kinds),
            loc="lower right",
            bbox_to_anchor=(1.0, 1.0),
            borderaxespad=0.0,
        )
    mark_sigma(below)
    below.set_ylabel(_residual_label(posterior))
    below.set_xlabel(r"observed wavelength [$\mu$m]")
    _set_wavelengths(below, low, high)
    return figure


def plot_spectrum(posterior: Posterior) -> Figure:
    """Plot an observed spectrum with the best model, and residuals.

    Args:
        posterior (Posterior): The posterior.

    Returns:
        Figure: The figure. The model is that of the sample with the largest
            likelihood, times its calibration, which is dashed where it is
            not one. Errors are those of the data, in the residuals with the
            jitter, the scale and the outliers of the fit. Pixels that are
            not used are shaded.

    Raises:
        InconsistentArguments: If there is no spectrum.
    """
    data = posterior.data.spectrum
    if data is None:
        raise InconsistentArguments(
            "plot_spectrum needs a posterior of a spectrum, got one without. "
            "Use plot_sed."
        )
    lam = np.asarray(data.lam) / 1e4
    used = np.asarray(data.is_used)
    flux = np.where(used, data.flux, np.nan)
    error = np.where(used, data.error, np.nan)
    bare = posterior.best_model["spectrum"]
    calibration = posterior.best_model["calibration"]
    sigma = posterior.best_model["spectrum_error"]
    # Spectra of catalogues are filled up with their last wavelength.
    real = np.append(True, np.diff(lam) > 0.0)
    lam, used, flux, error, bare, calibration, sigma = (
        values[real]
        for values in (lam, used, flux, error, bare, calibration, sigma)
    )
    model = bare * calibration
    figure, (above, below) = panels()
    above.fill_between(
        lam,
        flux - error,
        flux + error,
        step="mid",
        color="0.8",
        linewidth=0,
    )
    above.step(
        lam, flux, where="mid", color=DATA, linewidth=0.7, label="spectrum"
    )
    above.plot(lam, model, color=BEST, linewidth=1.0, label="best model")
    if np.any(calibration != 1.0):
        above.plot(
            lam,
            bare,
            color=MODEL,
            linewidth=0.7,
            linestyle="--",
            label="before calibration",
        )
    below.step(
        lam,
        (flux - model) / sigma,
        where="mid",
        color=DATA,
        linewidth=0.6,
    )
    mark_sigma(below)
    for axis in (above, below):
        axis.fill_between(
            lam,
            0,
            1,
            where=~used,
            step="mid",
            color="C1",
            alpha=0.25,
            linewidth=0,
            transform=axis.get_xaxis_transform(),
            label="masked" if axis is above and not used.all() else None,
        )
    above.set_ylabel("flux density [nJy]")
    above.legend(frameon=False, fontsize=8)
    below.set_ylabel(_residual_label(posterior))
    below.set_xlabel(r"observed wavelength [$\mu$m]")
    below.set_xlim(lam[0], lam[-1])
    return figure


def _residual_label(posterior: Posterior) -> str:
    """Return the label of residuals, which tells if outliers are scaled."""
    has_outliers = any("outlier_" in name for name in posterior.parameters)
    scaled = "\noutliers scaled" if has_outliers else ""
    return rf"residual [$\sigma$]{scaled}"


def _predicted(posterior: Posterior, kind: str) -> NDArray[np.float64]:
    """Return the central 68% and the median of the models of data."""
    return weighted_quantiles(
        posterior.predictions[kind], posterior.weights, QUANTILES
    )


def _plot_fluxes(
    axis: Axes,
    centres: NDArray[np.float64],
    limits: NDArray[np.float64],
    data: Measurements,
) -> None:
    """Plot measured fluxes with the widths of their bands, and limits."""
    flux, error = np.asarray(data.flux), np.asarray(data.error)
    measured, limit = data.is_measured, np.asarray(data.is_limit)
    widths = np.abs(limits.T - centres)
    style: dict[str, Any] = {"color": DATA, "elinewidth": 1, "zorder": 4}
    axis.errorbar(
        centres[measured],
        flux[measured],
        error[measured],
        widths[:, measured],
        fmt="o",
        markersize=4,
        label="photometry",
        **style,
    )
    if limit.any():
        axis.errorbar(
            centres[limit],
            flux[limit],
            0.3 * flux[limit],
            widths[:, limit],
            uplims=True,
            fmt="none",
            **style,
        )
        axis.plot(
            [],
            linestyle="none",
            marker=r"$\downarrow$",
            markersize=8,
            color=DATA,
            label="upper limits",
        )


def _plot_residuals(
    axis: Axes,
    centres: NDArray[np.float64],
    data: Measurements,
    model: NDArray[np.float64],
    marker: str,
    label: str,
) -> None:
    """Plot the residuals of measured fluxes in standard deviations."""
    residuals = (np.asarray(data.flux) - model) / np.asarray(data.error)
    axis.errorbar(
        centres[data.is_measured],
        residuals[data.is_measured],
        1.0,
        fmt=marker,
        color=DATA,
        markerfacecolor=DATA if marker == "o" else "white",
        markersize=4,
        elinewidth=1,
        label=label,
    )


def _set_heights(axis: Axes, heights: NDArray[np.float64]) -> None:
    """Choose the scale and the limits of the axis of fluxes."""
    low, high = heights.min(), heights.max()
    if low > 0.0 and high / low < _LINEAR:
        axis.set_yscale("log")
        axis.set_ylim(low / 2.0, high * 2.0)
        write_decades(axis.yaxis)
    else:
        margin = 0.1 * (high - low)
        axis.set_ylim(low - margin, high + margin)


def _set_wavelengths(axis: Axes, low: float, high: float) -> None:
    """Set the limits of a logarithmic axis of wavelengths, and its ticks."""
    axis.set_xscale("log")
    axis.set_xlim(low, high)
    ticks = [
        base * 10.0**power for power in range(-2, 4) for base in (1, 2, 3, 5)
    ]
    inside = [x for x in ticks if low < x < high]
    if len(inside) < _TICKS:
        even = MaxNLocator(5).tick_values(low, high)
        inside = [x for x in even if low < x < high]
    axis.set_xticks(inside, [f"{x:g}" for x in inside])
    axis.xaxis.set_minor_formatter(NullFormatter())
