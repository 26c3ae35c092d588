r"""Magnitudes of a Synference library with native and with emulated grids.

Makes the library of Synference's page "Basic Library Generation" with the
BC03 grid: draws from a hypercube, log-normal histories, one metallicity per
galaxy, a dust screen, redshifts up to 5 and the eight wide bands of NIRCam.
Each library is made with the native grid and with its emulator, at the same
nodes; differences are in millimagnitudes. Needs Synference and, for measured
filter curves, astro-sedpy.

    python benchmarks/synference_library.py \
        --json docs/benchmarks/synference_library.json
"""

import tempfile
import time
import warnings
from pathlib import Path

import numpy as np
import record
from numpy.typing import NDArray
from synthesizer.emission_models import (
    AttenuatedEmission,
    EmissionModel,
    IncidentEmission,
    TotalEmission,
)
from synthesizer.emission_models.attenuation import PowerLaw
from synthesizer.grid import Grid
from synthesizer.instruments import FilterCollection, Instrument
from synthesizer.parametric import SFH, ZDist

from synthesizer_emulator import EmulatedGrid, build
from synthesizer_emulator.evaluation.measures.filters import (
    NIRCAM_WIDE,
    nircam_curves,
)
from synthesizer_emulator.sources import bc03

# isort: split
# It imports Synference even without ltu-ili.
import synthesizer_emulator.library.synference  # noqa: F401

# isort: split
from synference import (
    GalaxyBasis,
    draw_from_hypercube,
    generate_sfh_basis,
    load_library_from_hdf5,
)

N_GALAXIES = 1000
BANDS = [code.rpartition(".")[2] for code in NIRCAM_WIDE]
PRIORS = {
    "redshift": (0.0, 5.0),
    "log_stellar_mass": (8.0, 12.0),
    "log_zmet": (-4.0, -1.4),
    "peak_age_norm": (0.0, 0.99),  # of the age of the universe
    "tau": (0.1, 2.0),  # dex
    "tau_v": (0.0, 3.0),
}
BOUNDS = {"p50": 1.0, "p99": 10.0}  # mmag


def draw_parameters(n: int) -> dict[str, NDArray[np.float64]]:
    """Return n draws from the hypercube, by parameter."""
    draws = draw_from_hypercube(PRIORS, n, rng=42)
    # Synthesizer refuses single precision with a grid in double precision.
    return {name: np.float64(values) for name, values in draws.items()}


def emission_model(grid: Grid) -> EmissionModel:
    """Return the emission model of the page; only stars for a stellar grid."""
    screen = PowerLaw(slope=-0.7)
    if grid.reprocessed:
        return TotalEmission(grid=grid, dust_curve=screen)
    return AttenuatedEmission(
        dust_curve=screen,
        apply_to=IncidentEmission(grid),
        emitter="stellar",
        label="emergent",
        grid=grid,
    )


def make_basis(
    grid: Grid,
    filters: FilterCollection,
    parameters: dict[str, NDArray[np.float64]],
    cls: type[GalaxyBasis] = GalaxyBasis,
) -> GalaxyBasis:
    """Return the basis of the page for a grid and drawn parameters."""
    histories, _ = generate_sfh_basis(
        sfh_type=SFH.LogNormal,
        sfh_param_names=["peak_age_norm", "tau"],
        sfh_param_arrays=[parameters["peak_age_norm"], parameters["tau"]],
        sfh_param_units=[None, None],
        redshifts=parameters["redshift"],
    )
    return cls(
        model_name="basis",
        redshifts=parameters["redshift"],
        grid=grid,
        emission_model=emission_model(grid),
        sfhs=histories,
        metal_dists=[
            ZDist.DeltaConstant(log10metallicity=log_zmet)
            for log_zmet in parameters["log_zmet"]
        ],
        log_stellar_masses=parameters["log_stellar_mass"],
        galaxy_params={"tau_v": parameters["tau_v"]},
        instrument=Instrument("JWST.NIRCam", filters=filters),
        params_to_ignore=["max_age"],
    )


def create_library(basis: GalaxyBasis, folder: Path) -> dict:
    """Make a library with Synference, and return its contents.

    `photometry` is in nJy, (nband, n). The folder must be empty, because
    Synference continues existing libraries.
    """
    basis.create_mock_library(
        "library",
        emission_model_key="emergent",
        out_dir=str(folder),
        n_proc=1,
    )
    return load_library_from_hdf5(str(folder / "library.hdf5"))


def millimagnitudes(
    photometry: NDArray, reference: NDArray
) -> NDArray[np.float64]:
    """Return the differences of fluxes in mmag, (nband, n)."""
    return 2500.0 * np.abs(np.log10(photometry / reference))


def write_grids(folder: Path) -> list[Path]:
    """Write BC03 for stars at all nodes, and thinned with gas."""
    with_gas = bc03.moderately_thinned(
        bc03.Thinning(log10_ionisation_parameters=(-2.0,))
    )
    name = f"{bc03.CLOUDY_NAME}-logU-2"
    return [
        bc03.write_incident_grid(folder),
        bc03.write_cloudy_grid(folder, with_gas, name=name),
    ]


def measure(folder: Path) -> dict[str, dict]:
    """Return the differences and the CPU times of the library of each grid.

    CPU times are used because a library is made by one thread, and other
    jobs may be running.
    """
    parameters = draw_parameters(N_GALAXIES)
    results = {}
    for path in write_grids(folder):
        build(path)
        photometry, seconds = {}, {}
        for kind, cls in {"native": Grid, "emulated": EmulatedGrid}.items():
            start = time.process_time()
            grid = cls(path.stem, grid_dir=folder)
            library = create_library(
                make_basis(grid, nircam_curves(), parameters),
                folder / f"{path.stem}-{kind}",
            )
            seconds[kind] = time.process_time() - start
            photometry[kind] = library["photometry"]
        differences = millimagnitudes(
            photometry["emulated"], photometry["native"]
        )
        results[path.stem] = {
            "seconds": seconds,
            "bands": {
                band: {
                    "p50": np.quantile(values, 0.5),
                    "p99": np.quantile(values, 0.99),
                    "worst": values.max(),
                }
                for band, values in zip(BANDS, differences, strict=True)
            },
        }
    return results


def main() -> None:
    """Measure, print and write the results."""
    target = record.json_argument(__doc__)
    warnings.simplefilter("ignore")
    with tempfile.TemporaryDirectory() as folder:
        libraries = measure(Path(folder))
    for name, library in libraries.items():
        times = ", ".join(
            f"{kind} {seconds:.0f} CPU s"
            for kind, seconds in library["seconds"].items()
        )
        print(f"\n{name}: {N_GALAXIES} galaxies, {times}")
        for band, row in library["bands"].items():
            verdict = all(row[q] <= bound for q, bound in BOUNDS.items())
            cells = ", ".join(f"{q} {v:.4f} mmag" for q, v in row.items())
            print(f"{band:<6} {cells}  {'pass' if verdict else 'FAIL'}")
    bounds = ", ".join(f"{q} {bound:g} mmag" for q, bound in BOUNDS.items())
    print(f"bounds {bounds}")
    record.write(
        target,
        {"galaxies": N_GALAXIES, "bounds": BOUNDS, "libraries": libraries},
    )


if __name__ == "__main__":
    main()
