r"""Magnitudes with dust emission, by Synference and in batches.

Uses the emission models, histories, priors and wavelengths of the scripts in
`examples/library_generation` and of the pages on libraries, with the example
grid of this package and the wide bands of NIRCam. Their wavelengths mostly
end at the reddest filter, far bluewards of the dust emission, so that
Synthesizer assigns all of the dust luminosity to them. Each library is made
from one grid with Synference's `GalaxyBasis` and with `EmulatedGalaxyBasis`;
differences are in millimagnitudes. Needs Synference and, for measured filter
curves, astro-sedpy.

    python benchmarks/synference_dust.py \
        --json docs/benchmarks/synference_dust.json
"""

import tempfile
import warnings
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import record

# Imported before Synference, because it may replace one of its modules.
from synference_library import BANDS, millimagnitudes  # isort: skip

from numpy.typing import NDArray
from synference import (
    GalaxyBasis,
    draw_from_hypercube,
    generate_constant_R,
    generate_sfh_basis,
    load_library_from_hdf5,
)
from synthesizer.emission_models import (
    BimodalPacmanEmission,
    Blackbody,
    EmissionModel,
    Greybody,
    PacmanEmission,
    TotalEmission,
)
from synthesizer.emission_models.attenuation import (
    Calzetti2000,
    PowerLaw,
)
from synthesizer.grid import Grid
from synthesizer.instruments import FilterCollection, Instrument
from synthesizer.parametric import SFH, ZDist
from unyt import Gyr, K, angstrom, dimensionless, unyt_array

from synthesizer_emulator import EmulatedGalaxyBasis
from synthesizer_emulator.evaluation.measures.filters import nircam_curves
from synthesizer_emulator.grid.emulated_grid import (
    EXAMPLE_NAME,
    example_folder,
)

N_GALAXIES = 100
BOUND = 1.0  # mmag

# Fluxes fainter than this fraction of the brightest band of a galaxy are
# rounding errors of the intergalactic transmission.
FAINTEST = 1e-8

PRIORS = {
    "redshift": (0.01, 12.0),
    "log_masses": (6.0, 12.0),
    "log_zmet": (-4.0, -1.4),
    "max_age": (0.05, 0.99),  # of the age of the universe
    "peak_age": (0.05, 0.95),
    "tau": (0.05, 2.5),
    "tau_v": (0.0, 4.0),
    "tau_v_ism": (0.0, 4.0),
    "tau_v_birth": (0.0, 4.0),
    "fesc": (0.0, 1.0),
    "slope": (-0.4, 1.1),
    "bump_strength": (0.0, 3.0),
}


@dataclass(frozen=True)
class Script:
    """The settings of one script.

    Attributes:
        model (Callable): The function from a grid to the emission model.
        varying (tuple of str): The drawn parameters of the model.
        sfh (type): The class of star formation histories.
        ends (tuple of float): The first and last wavelength in Angstrom; None
            for the range from the bluest filter at redshift 15 to the reddest
            at 0.
    """

    model: Callable[[Grid], EmissionModel]
    varying: tuple[str, ...] = ("tau_v",)
    sfh: type = SFH.DelayedExponential
    ends: tuple[float, float] | None = None


def pacman(**kwargs: Any) -> Callable[[Grid], EmissionModel]:
    """Return a function from a grid to the `PacmanEmission` of a script."""
    return lambda grid: PacmanEmission(grid=grid, tau_v="tau_v", **kwargs)


def bimodal(grid: Grid) -> EmissionModel:
    """Return the `BimodalPacmanEmission` of several scripts."""
    curve = Calzetti2000()
    warm = Greybody(temperature=40 * K, emissivity=1.5)
    return BimodalPacmanEmission(
        grid=grid,
        tau_v_ism="tau_v_ism",
        tau_v_birth="tau_v_birth",
        dust_curve_ism=curve,
        dust_curve_birth=curve,
        age_pivot=7 * dimensionless,
        dust_emission_ism=warm,
        dust_emission_birth=warm,
        fesc=0.0,
        fesc_ly_alpha=0.1,
    )


SCRIPTS = {
    "min_example": Script(
        pacman(
            dust_curve=Calzetti2000(),
            dust_emission=Greybody(temperature=40 * K, emissivity=1.5),
            fesc=0.0,
            fesc_ly_alpha=0.1,
        )
    ),
    "generate_library_basic": Script(
        pacman(
            dust_curve=Calzetti2000(),
            dust_emission=Blackbody(temperature=35 * K),
            fesc=0.0,
            fesc_ly_alpha=0.1,
        ),
        sfh=SFH.LogNormal,
    ),
    "generate_library_full": Script(bimodal, ("tau_v_ism", "tau_v_birth")),
    "complex_library_generation": Script(
        pacman(
            dust_curve=Calzetti2000(slope="slope", ampl="bump_strength"),
            dust_emission=Greybody(temperature=40 * K, emissivity=1.5),
            fesc="fesc",
        ),
        ("tau_v", "fesc", "slope", "bump_strength"),
        ends=(100.0, 1e5),
    ),
    "synthesizer_crash_course": Script(
        lambda grid: TotalEmission(
            grid=grid,
            dust_curve=PowerLaw(slope=-1.0),
            tau_v=0.3,
            dust_emission_model=Blackbody(temperature=30 * K),
        ),
        (),
        ends=(1.0, 5e4),
    ),
}


def wavelengths(script: Script, filters: FilterCollection) -> unyt_array:
    """Return the wavelengths of a script."""
    if script.ends is None:
        return generate_constant_R(
            R=300, auto_start_stop=True, filterset=filters, max_redshift=15
        )
    start, end = script.ends
    return generate_constant_R(
        R=300, start=start * angstrom, end=end * angstrom
    )


def draw_parameters(n: int) -> dict[str, NDArray[np.float64]]:
    """Return n draws from the hypercube, by parameter."""
    draws = draw_from_hypercube(PRIORS, n, rng=42)
    # Synthesizer refuses single precision with a grid in double precision.
    return {name: np.float64(values) for name, values in draws.items()}


def photometry(
    script: Script,
    filters: FilterCollection,
    new_lam: unyt_array,
    draws: dict[str, NDArray[np.float64]],
    cls: type[GalaxyBasis],
    folder: Path,
) -> NDArray[np.float64]:
    """Make the library of a script, and return its photometry.

    The photometry is in nJy, (n_bands, n). The folder must be empty, because
    Synference continues existing libraries.
    """
    grid = Grid(EXAMPLE_NAME, grid_dir=example_folder(), new_lam=new_lam)
    names = {
        SFH.DelayedExponential: ("tau", "max_age"),
        SFH.LogNormal: ("tau", "peak_age"),
    }[script.sfh]
    histories, _ = generate_sfh_basis(
        sfh_type=script.sfh,
        sfh_param_names=["tau", f"{names[1]}_norm"],
        sfh_param_arrays=[draws[name] for name in names],
        sfh_param_units=[
            None if script.sfh is SFH.LogNormal else Gyr,
            None,
        ],
        redshifts=draws["redshift"],
    )
    model = script.model(grid)
    basis = cls(
        model_name="basis",
        redshifts=draws["redshift"],
        grid=grid,
        emission_model=model,
        sfhs=histories,
        metal_dists=[
            ZDist.DeltaConstant(log10metallicity=log_zmet)
            for log_zmet in draws["log_zmet"]
        ],
        log_stellar_masses=draws["log_masses"],
        galaxy_params={name: draws[name] for name in script.varying},
        instrument=Instrument("JWST.NIRCam", filters=filters),
        redshift_dependent_sfh=True,
        params_to_ignore=["max_age"],
    )
    basis.create_mock_library(
        "library",
        emission_model_key=model.label,
        out_dir=str(folder),
        n_proc=1,
    )
    path = folder / "library.hdf5"
    return load_library_from_hdf5(str(path))["photometry"]


def differences(
    script: Script, filters: FilterCollection, n: int, folder: Path
) -> NDArray[np.float64]:
    """Return the differences of two libraries in mmag, (n_bands, n).

    Differences are NaN in bands where a galaxy is too faint.
    """
    draws = draw_parameters(n)
    new_lam = wavelengths(script, filters)
    # As in the scripts, and before both libraries, because it changes filters.
    filters.resample_filters(new_lam=new_lam, verbose=False)
    true, got = (
        photometry(script, filters, new_lam, draws, cls, folder / cls.__name__)
        for cls in (GalaxyBasis, EmulatedGalaxyBasis)
    )
    bright = true > FAINTEST * true.max(axis=0)
    return np.where(bright, millimagnitudes(got, true), np.nan)


def main() -> None:
    """Measure, print and write the differences."""
    target = record.json_argument(__doc__)
    warnings.simplefilter("ignore")
    rows = {}
    for name, script in SCRIPTS.items():
        with tempfile.TemporaryDirectory() as folder:
            mmag = differences(
                script, nircam_curves(), N_GALAXIES, Path(folder)
            )
        rows[name] = {
            "p50": np.nanmedian(mmag),
            "worst": np.nanmax(mmag),
            "fluxes": int(np.isfinite(mmag).sum()),
        }
        verdict = "pass" if rows[name]["worst"] <= BOUND else "FAIL"
        cells = ", ".join(f"{key} {v:.4g}" for key, v in rows[name].items())
        print(f"{name:<28} {cells}  {verdict}")
    print(f"bound {BOUND:g} mmag, {len(BANDS)} bands")
    record.write(
        target, {"galaxies": N_GALAXIES, "bound": BOUND, "scripts": rows}
    )


if __name__ == "__main__":
    main()
