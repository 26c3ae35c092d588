"""Figures of drawn and true stars."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from numpy.typing import NDArray
from scipy.ndimage import gaussian_filter

from synthesizer_emulator.evaluation.report.figures.panels import (
    BLACK,
    BLUE,
    ORANGE,
    save,
    styled,
)
from synthesizer_emulator.stars.evidence import StarEvidence
from synthesizer_emulator.stars.galaxies import GalaxyStars
from synthesizer_emulator.stars.images import ImageAutoencoder
from synthesizer_emulator.stars.light import StarLight, image
from synthesizer_emulator.stars.variables import POSITIONS, get_variable

# The quantiles between which axes of variables run.
_SHOWN = (0.005, 0.995)

# The fractions of stars within the contours of a corner plot.
_LEVELS = (0.9, 0.5)

_BINS = 40


def write_figures(evidence: StarEvidence, folder: Path) -> dict[str, Path]:
    """Write the figures of the evidence.

    The distributions, profiles and light are those of the galaxy of most
    stars.

    Args:
        evidence (StarEvidence): The evidence.
        folder (Path): The folder; created if missing.

    Returns:
        dict: The paths of the PNG files by name.

    Raises:
        OSError: If a file can't be written.
    """
    i = int(np.argmax(evidence.stars))
    true, drawn = evidence.true[i], evidence.drawn[i]
    figures = {"corner": plot_corner(true, drawn)}
    if all(axis in true.columns for axis in POSITIONS):
        figures["profiles"] = plot_profiles(true, drawn)
        figures["light"] = plot_light(true, drawn, evidence.light)
    name = f"galaxy {evidence.names[i] or i + 1}"
    paths = save(figures, folder, f"{name}, {len(true):,} stars")
    return paths | save(
        {"magnitudes": plot_magnitudes(evidence)},
        folder,
        f"{len(evidence.names)} galaxies",
    )


@styled
def plot_corner(true: GalaxyStars, drawn: GalaxyStars) -> Figure:
    """Draw the distributions of all pairs of variables.

    Args:
        true (GalaxyStars): The true stars.
        drawn (GalaxyStars): Drawn stars.

    Returns:
        Figure: Contours that contain half and nine tenths of the stars.
    """
    names = [name for name in drawn.columns if name in true.columns]
    n = len(names)
    figure = Figure(figsize=(1.35 * n, 1.35 * n), layout="constrained")
    panels = figure.subplots(n, n, squeeze=False)
    limits = {name: _limits(_shown(true, name)) for name in names}
    for row, column in np.ndindex(n, n):
        axes: Any = panels[row, column]
        if column > row:
            axes.set_axis_off()
            continue
        x_name, y_name = names[column], names[row]
        axes.set_xlim(limits[x_name])
        for stars, colour in ((true, BLACK), (drawn, ORANGE)):
            x = _shown(stars, x_name)
            if row == column:
                axes.hist(
                    x,
                    bins=_BINS,
                    range=limits[x_name],
                    density=True,
                    histtype="step",
                    color=colour,
                )
                axes.set_yticks([])
            else:
                axes.set_ylim(limits[y_name])
                _contours(
                    axes,
                    x,
                    _shown(stars, y_name),
                    limits[x_name],
                    limits[y_name],
                    colour,
                )
        if row == n - 1:
            axes.set_xlabel(_label(x_name))
        else:
            axes.set_xticklabels([])
        if column == 0 and row > 0:
            axes.set_ylabel(_label(y_name))
        elif row != column:
            axes.set_yticklabels([])
    _key(panels[0, -1] if n > 1 else panels[0, 0])
    return figure


@styled
def plot_profiles(true: GalaxyStars, drawn: GalaxyStars) -> Figure:
    """Draw radial profiles and the relation of age and metallicity.

    Args:
        true (GalaxyStars): The true stars, with positions.
        drawn (GalaxyStars): Drawn stars.

    Returns:
        Figure: The surface density of mass, the mean age and the mean
            metallicity against radius, and the metallicity against age.
    """
    figure = Figure(figsize=(7.0, 5.0), layout="constrained")
    panels = figure.subplots(2, 2)
    radii = [np.hypot(s.columns["x"], s.columns["y"]) for s in (true, drawn)]
    # Rings of equal numbers of true stars.
    edges = np.quantile(radii[0], np.linspace(0.0, 0.98, 15))
    ages = np.quantile(true.columns["age"], np.linspace(0.01, 0.99, 13))
    for stars, radius, colour, label in zip(
        (true, drawn), radii, (BLACK, ORANGE), ("true", "drawn"), strict=True
    ):
        area = np.pi * np.diff(edges**2)
        mass = np.histogram(radius, edges, weights=stars.masses)[0]
        metallicity = np.log10(stars.columns["metallicity"])
        for axes, x, low, values in (
            (panels[0, 1], radius, edges, stars.columns["age"]),
            (panels[1, 0], radius, edges, metallicity),
            (panels[1, 1], stars.columns["age"], ages, metallicity),
        ):
            centres, quartiles = _quartiles(x, values, low)
            axes.plot(centres, quartiles[1], color=colour)
            axes.fill_between(
                centres,
                quartiles[0],
                quartiles[2],
                color=colour,
                alpha=0.2,
                lw=0,
            )
        panels[0, 0].plot(
            0.5 * (edges[1:] + edges[:-1]),
            mass / area,
            color=colour,
            label=label,
        )
    panels[0, 0].set_yscale("log")
    panels[0, 0].set_ylabel(r"$\Sigma$ / M$_\odot$ kpc$^{-2}$")
    panels[0, 0].legend()
    panels[0, 1].plot([], [], color="0.5", label="median")
    panels[0, 1].fill_between(
        [], [], [], color="0.5", alpha=0.3, lw=0, label="quartiles"
    )
    panels[0, 1].legend()
    panels[0, 1].set_ylabel("age / Gyr")
    for axes in (panels[0, 0], panels[0, 1], panels[1, 0]):
        axes.set_xlabel("$R$ / kpc")
    for axes in panels[1]:
        axes.set_ylabel(r"$\log_{10} Z$")
    panels[1, 1].set_xlabel("age / Gyr")
    return figure


@styled
def plot_light(
    true: GalaxyStars, drawn: GalaxyStars, light: StarLight
) -> Figure:
    """Draw the spectra and the images of true and drawn stars.

    Args:
        true (GalaxyStars): The true stars, with positions.
        drawn (GalaxyStars): Drawn stars.
        light (StarLight): Their light.

    Returns:
        Figure: The spectra with their ratio, and face-on images in the
            reddest band.
    """
    figure = Figure(figsize=(7.0, 4.6), layout="constrained")
    grid = figure.add_gridspec(3, 2, width_ratios=[1.5, 1.0])
    above = figure.add_subplot(grid[:2, 0])
    below = figure.add_subplot(grid[2, 0], sharex=above)
    spectra = [light.spectrum(s) for s in (true, drawn)]
    shown = (light.lam > 900) & (light.lam < 5e4)
    for spectrum, colour, label in zip(
        spectra, (BLACK, ORANGE), ("true", "drawn"), strict=True
    ):
        above.loglog(
            light.lam[shown],
            spectrum[shown],
            color=colour,
            label=label,
            lw=0.8,
        )
    above.set_ylim(spectra[0][shown].max() * 1e-3, None)
    above.set_ylabel(r"$L_\nu$ / erg s$^{-1}$ Hz$^{-1}$")
    above.tick_params(labelbottom=False)
    above.legend()
    below.loglog(
        light.lam[shown], (spectra[1] / spectra[0])[shown], color=BLUE, lw=0.8
    )
    below.set_ylim(0.2, 5.0)
    below.set_yticks([0.3, 1.0, 3.0], ["0.3", "1", "3"])
    below.minorticks_off()
    below.axhline(1.0, color="0.6", lw=0.7)
    below.set_xlabel("wavelength / Å")
    below.set_ylabel("drawn / true")
    width = 2.0 * np.quantile(np.hypot(*true.positions[:, :2].T), 0.95)
    images = [
        image(s, light.luminosities(s)[:, -1], width, 48)
        for s in (true, drawn)
    ]
    top = np.log10(images[0].max())
    panels: Any = grid[:, 1].subgridspec(2, 1).subplots()
    for axes, pixels, label in zip(
        panels, images, ("true", "drawn"), strict=True
    ):
        with np.errstate(divide="ignore"):
            brightness = np.log10(pixels)
        half = 0.5 * width
        shown_image = axes.imshow(
            brightness.T,
            extent=(-half, half, -half, half),
            origin="lower",
            vmin=top - 3,
            vmax=top,
            cmap="magma",
        )
        axes.set_facecolor("black")
        axes.set_title(f"{label}, {light.codes[-1].rpartition('.')[2]}")
        axes.set_xlabel("$x$ / kpc")
        axes.set_ylabel("$y$ / kpc")
    figure.colorbar(
        shown_image,
        ax=list(panels),
        extend="min",
        label=r"$\log_{10}$ ($L_\nu$ / erg s$^{-1}$ Hz$^{-1}$) of a pixel",
    )
    return figure


@styled
def plot_magnitudes(evidence: StarEvidence) -> Figure:
    """Draw differences of magnitudes and half-light radii, with the floor.

    Args:
        evidence (StarEvidence): The evidence.

    Returns:
        Figure: The median of each band over galaxies, with quartiles.
    """
    measures = [("magnitudes", r"$|\Delta m|$ / mag")]
    if evidence.radii.drawn.size:
        measures.append(("radii", r"$|\Delta r_{1/2}| / r_{1/2}$"))
    figure = Figure(figsize=(3.5 * len(measures), 2.8), layout="constrained")
    panels = figure.subplots(1, len(measures), squeeze=False)[0]
    bands = [code.rpartition(".")[2] for code in evidence.codes]
    for axes, (name, label) in zip(panels, measures, strict=True):
        differences = getattr(evidence, name)
        for values, colour, what, shift in (
            (differences.drawn, ORANGE, "drawn", -0.1),
            (differences.floor, "0.5", "resampled", 0.1),
        ):
            low, middle, high = np.quantile(values, [0.25, 0.5, 0.75], axis=0)
            axes.errorbar(
                np.arange(len(bands)) + shift,
                middle,
                [middle - low, high - middle],
                fmt="o",
                ms=4,
                color=colour,
                label=what,
            )
        axes.set_xticks(range(len(bands)), bands, rotation=60)
        axes.set_ylim(0, None)
        axes.set_ylabel(label)
    panels[0].legend(title="median, quartiles")
    return figure


@styled
def plot_traversals(
    autoencoder: ImageAutoencoder,
    images: NDArray[np.float64],
    latents: int = 6,
) -> Figure:
    """Draw the images along each latent, the others at their median.

    Args:
        autoencoder (ImageAutoencoder): The autoencoder.
        images (np.ndarray of float): Images whose latents set the range,
            (n, height, width, bands).
        latents (int): The largest number of latents to draw: those along
            which the images differ most.

    Returns:
        Figure: A row for each latent, from its 5th to its 95th percentile, in
            the last band; the root of the fraction of the light in a pixel.
    """
    rows = autoencoder.encode(images)
    quantiles = np.quantile(rows, [0.05, 0.275, 0.5, 0.725, 0.95], axis=0)
    along = []
    for i in range(rows.shape[1]):
        moved = np.tile(quantiles[2], (5, 1))
        moved[:, i] = quantiles[:, i]
        along.append(np.sqrt(autoencoder.decode(moved)[..., -1]))
    change = [np.abs(a[-1] - a[0]).sum() for a in along]
    chosen = np.argsort(change)[::-1][:latents]
    figure = Figure(figsize=(5.0, len(chosen)), layout="constrained")
    panels = figure.subplots(len(chosen), 5, squeeze=False)
    for i, row in zip(chosen, panels, strict=True):
        top = max(image.max() for image in along[i])
        for axes, pixels in zip(row, along[i], strict=True):
            shown = axes.imshow(
                pixels.T, origin="lower", cmap="magma", vmin=0.0, vmax=top
            )
            axes.set_xticks([])
            axes.set_yticks([])
        row[0].set_ylabel(f"latent {i}")
        figure.colorbar(shown, ax=list(row), label=r"$\sqrt{f}$")
    return figure


def _shown(stars: GalaxyStars, name: str) -> NDArray[np.float64]:
    """Return a variable as it is shown."""
    if name == "initial_mass":
        return stars.relative_masses
    values = stars.columns[name]
    return np.log10(values) if name == "metallicity" else values


def _label(name: str) -> str:
    """Return the label of a variable as it is shown."""
    label = get_variable(name).label
    return rf"$\log_{{10}}$ {label}" if name == "metallicity" else label


def _limits(values: NDArray[np.float64]) -> tuple[float, float]:
    """Return the ends of the axis of a variable."""
    low, high = np.quantile(values, _SHOWN)
    return float(low), float(high)


def _contours(
    axes: Axes,
    x: NDArray[np.float64],
    y: NDArray[np.float64],
    x_limits: Sequence[float],
    y_limits: Sequence[float],
    colour: str,
) -> None:
    """Draw contours that contain fractions of stars."""
    counts, x_edges, y_edges = np.histogram2d(
        x, y, _BINS // 2, (tuple(x_limits), tuple(y_limits))
    )
    smooth = gaussian_filter(counts, 1.0)
    order = np.sort(smooth.ravel())[::-1]
    enclosed = np.cumsum(order) / order.sum()
    inside = np.searchsorted(enclosed, _LEVELS)
    levels = sorted({float(level) for level in order[inside]})
    axes.contour(
        0.5 * (x_edges[1:] + x_edges[:-1]),
        0.5 * (y_edges[1:] + y_edges[:-1]),
        smooth.T,
        levels=levels,
        colors=colour,
        linewidths=0.8,
    )


def _quartiles(
    x: NDArray[np.float64],
    values: NDArray[np.float64],
    edges: NDArray[np.float64],
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Return the centres of bins and the quartiles of values in them."""
    which = np.digitize(x, edges) - 1
    quartiles = np.full((3, len(edges) - 1), np.nan)
    for i in range(len(edges) - 1):
        if (which == i).sum() > 3:
            quartiles[:, i] = np.quantile(
                values[which == i], [0.25, 0.5, 0.75]
            )
    return 0.5 * (edges[1:] + edges[:-1]), quartiles


def _key(axes: Axes) -> None:
    """Draw the key of the colours and the contours."""
    for colour, label in ((BLACK, "true"), (ORANGE, "drawn")):
        axes.plot([], [], color=colour, label=label)
    within = " and ".join(f"{100 * level:.0f}%" for level in sorted(_LEVELS))
    axes.legend(loc="center", title=f"contours:\n{within}\nof the stars")
