"""The quickstart: build, load, make galaxies, and compare their spectra.

This module of `synthesizer-emulator quickstart` is also the shortest complete
example, from a grid file to the spectrum of a galaxy.
"""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from synthesizer.emission_models import (
    Greybody,
    IncidentEmission,
    TotalEmission,
)
from synthesizer.emission_models.attenuation import PowerLaw
from synthesizer.emissions import Sed
from synthesizer.grid import Grid
from synthesizer.parametric import SFH, ZDist
from synthesizer.parametric import Stars as ParametricStars
from synthesizer.particle import Stars as ParticleStars
from synthesizer.particle.stars import sample_sfzh_from_array
from unyt import K, Msun, Myr

from synthesizer_emulator.building.builder import build
from synthesizer_emulator.emulator.metrics import (
    SCORED_LAM,
    scored_region,
)
from synthesizer_emulator.files.locks import make_folder
from synthesizer_emulator.grid.emulated_grid import (
    EXAMPLE_NAME,
    EmulatedGrid,
    example_folder,
)

MODELS = ("incident", "total")
GALAXIES = ("parametric", "particle")

_N_PARTICLES = 2000


@dataclass(frozen=True)
class Comparison:
    """The spectrum of one galaxy from the native and the emulated grid.

    Attributes:
        lam (np.ndarray of float): Wavelengths, Angstrom, (nlam,).
        native (np.ndarray of float): Luminosity density from the native
            grid, erg/s/Hz, (nlam,).
        emulated (np.ndarray of float): Luminosity density from the emulated
            grid, erg/s/Hz, (nlam,).
    """

    lam: NDArray[np.float64]
    native: NDArray[np.float64]
    emulated: NDArray[np.float64]

    @property
    def residual(self) -> NDArray[np.float64]:
        """Fractional residual, (nlam,); NaN where the native value is zero."""
        native = np.where(self.native == 0, np.nan, self.native)
        return self.emulated / native - 1.0

    @property
    def scored(self) -> NDArray[np.float64]:
        """Finite absolute residuals from 912 Angstrom to 10 micron."""
        residual = np.abs(self.residual[scored_region(self.lam)])
        return residual[np.isfinite(residual)]


def run(out: Path, echo: Callable[[str], None]) -> None:
    """Build the example emulator and compare galaxies.

    Args:
        out (Path): Folder of the weights and the figure.
        echo (callable): Prints a line.
    """
    make_folder(out)
    grid_file = example_folder() / f"{EXAMPLE_NAME}.hdf5"
    echo(f"Building an emulator of {grid_file.name} ...\n")
    report = build(grid_file, out=out)
    echo(f"\n{report}\n")
    native = Grid(EXAMPLE_NAME, grid_dir=example_folder())
    emulated = EmulatedGrid(EXAMPLE_NAME, weights=report.path)
    # Synthesizer's greybody overflows harmlessly in the far ultraviolet.
    with np.errstate(over="ignore"):
        comparisons = compare(native, emulated)
    echo("Fractional errors of galaxies, 912 Angstrom to 10 micron:")
    for (galaxy, model), comparison in comparisons.items():
        scored = comparison.scored
        echo(
            f"  {galaxy:<10} {model:<8} "
            f"median {100 * np.median(scored):.4f} %, "
            f"maximum {100 * scored.max():.4f} %"
        )
    figure = out / "quickstart.png"
    plot(comparisons, figure)
    echo(f"\nThe spectra and their residuals are plotted in {figure}")


def compare(native: Grid, emulated: Grid) -> dict[tuple[str, str], Comparison]:
    """Compare the spectra of the same galaxies from two grids.

    Returns:
        dict: A Comparison by galaxy, of `GALAXIES`, and model, of `MODELS`.
    """
    comparisons = {}
    for galaxy in GALAXIES:
        native_spectra = galaxy_spectra(native, galaxy)
        emulated_spectra = galaxy_spectra(emulated, galaxy)
        for model in MODELS:
            comparisons[galaxy, model] = Comparison(
                np.asarray(native_spectra[model].lam.to_value("angstrom")),
                np.asarray(native_spectra[model].lnu.to_value("erg/s/Hz")),
                np.asarray(emulated_spectra[model].lnu.to_value("erg/s/Hz")),
            )
    return comparisons


def galaxy_spectra(grid: Grid, galaxy: str) -> dict[str, Sed]:
    """Return the spectra of a galaxy, one of `GALAXIES`, by model."""
    models = {
        "incident": IncidentEmission(grid),
        "total": TotalEmission(
            grid,
            fesc=0.1,
            dust_curve=PowerLaw(slope=-0.7),
            dust_emission_model=Greybody(temperature=40 * K, emissivity=1.5),
        ),
    }
    return {
        name: _stars(grid, galaxy).get_spectra(model)
        for name, model in models.items()
    }


def _stars(grid: Grid, galaxy: str) -> ParametricStars | ParticleStars:
    """Return 1e10 Msun of stars with a log-normal star formation history."""
    stars = ParametricStars(
        grid.log10ages,
        grid.metallicities,
        sf_hist=SFH.LogNormal(tau=0.7, peak_age=200 * Myr, max_age=1000 * Myr),
        metal_dist=ZDist.Normal(mean=0.01, sigma=0.005),
        initial_mass=1e10 * Msun,
        tau_v=0.5,
    )
    if galaxy == "parametric":
        return stars
    # The particles drawn from this history lie between the grid nodes.
    return sample_sfzh_from_array(
        stars.sfzh,
        grid.log10ages,
        grid.log10metallicities,
        _N_PARTICLES,
        seed=0,
        tau_v=0.5,
    )


def plot(comparisons: dict[tuple[str, str], Comparison], path: Path) -> None:
    """Plot the native and emulated spectra of `compare`, and residuals."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(9, 5), layout="constrained")
    axes = figure.subplots(
        2,
        2,
        sharex=True,
        sharey="row",
        gridspec_kw={"height_ratios": (3, 1)},
    )
    colours = {"incident": "tab:blue", "total": "tab:red"}
    for column, galaxy in enumerate(GALAXIES):
        spectra, residuals = axes[:, column]
        for model in MODELS:
            comparison = comparisons[galaxy, model]
            micron = comparison.lam / 1e4
            spectra.loglog(
                micron,
                comparison.native,
                color=colours[model],
                lw=2.5,
                alpha=0.35,
                label=f"{model}, Grid",
            )
            spectra.loglog(
                micron,
                comparison.emulated,
                color=colours[model],
                lw=0.8,
                label=f"{model}, EmulatedGrid",
            )
            residuals.plot(
                micron,
                100 * comparison.residual,
                color=colours[model],
                lw=0.6,
            )
        scored = scored_region(comparison.lam)
        peak = max(comparisons[galaxy, m].native[scored].max() for m in MODELS)
        spectra.set(title=f"{galaxy} galaxy", ylim=(peak * 1e-3, peak * 3))
        residuals.set(
            xlim=[lam / 1e4 for lam in SCORED_LAM],
            xlabel="rest wavelength / micron",
        )
        residuals.axhline(0, color="0.6", lw=0.5, zorder=0)
    errors = np.concatenate([c.scored for c in comparisons.values()])
    limit = 130 * float(np.quantile(errors, 0.999))
    axes[1, 0].set(ylim=(-limit, limit), ylabel="residual / %")
    axes[0, 0].set_ylabel("luminosity density / (erg/s/Hz)")
    axes[0, 1].legend(frameon=False, fontsize="small")
    figure.savefig(path, dpi=150)
