"""Synthesizer's `Pipeline`, native against emulated, alone and under MPI.

Run as a script it is one rank of the MPI run.
"""

import importlib.util
import os
import shutil
import subprocess
import sys
from pathlib import Path

import h5py
import numpy as np
import pytest
from astropy.cosmology import Planck18
from synthesizer.emission_models import TotalEmission
from synthesizer.emission_models.attenuation import PowerLaw
from synthesizer.instruments import FilterCollection, Instrument
from synthesizer.parametric import SFH, Stars, ZDist
from synthesizer.particle import Galaxy
from synthesizer.particle.stars import sample_sfzh_from_array
from synthesizer.pipeline import Pipeline
from unyt import Msun, Myr, angstrom

from synthesizer_emulator import EmulatedGrid

pytestmark = pytest.mark.slow

LINES = ["H 1 6562.80A", "O 3 5006.84A"]
N_GALAXIES = 5  # which two ranks can't share evenly


def galaxies(grid):
    """Make galaxies of particles, each another and the same every time."""
    made = []
    for i in range(N_GALAXIES):
        parametric = Stars(
            grid.log10ages,
            grid.metallicities,
            sf_hist=SFH.Constant(max_age=(100 + 100 * i) * Myr),
            metal_dist=ZDist.Normal(mean=0.01, sigma=0.005),
            initial_mass=1e9 * Msun,
        )
        stars = sample_sfzh_from_array(
            parametric.sfzh,
            grid.log10ages,
            grid.log10metallicities,
            50 + i,
            seed=i,
            tau_v=0.1 * i,
        )
        made.append(Galaxy(stars=stars, redshift=1.0 + i))
    return made


def run_pipeline(grid, path, comm=None):
    """Write what a pipeline makes of this rank's share of the galaxies."""
    # Without an escape fraction: Synthesizer 1.3.1 forgets the model's when
    # a galaxy was asked for lines, so each rank's first would differ.
    model = TotalEmission(grid, dust_curve=PowerLaw(slope=-0.7))
    bands = FilterCollection(
        tophat_dict={
            "Test/Camera.V": {
                "lam_eff": 5500 * angstrom,
                "lam_fwhm": 900 * angstrom,
            },
            "Test/Camera.H": {
                "lam_eff": 16000 * angstrom,
                "lam_fwhm": 3000 * angstrom,
            },
        }
    )
    camera = Instrument("Camera", filters=bands)
    pipeline = Pipeline(model, comm=comm, verbose=0)
    pipeline.get_spectra()
    pipeline.get_observed_spectra(Planck18)
    pipeline.get_photometry_luminosities(camera)
    pipeline.get_photometry_fluxes(camera, cosmo=Planck18)
    pipeline.get_lines(LINES)
    rank, size = (0, 1) if comm is None else (comm.rank, comm.size)
    share = np.array_split(np.arange(N_GALAXIES), size)[rank]
    every = galaxies(grid)
    pipeline.add_galaxies([every[i] for i in share])
    pipeline.run()
    pipeline.write(str(path), verbose=0)
    pipeline.combine_files()
    return path


def contents(path):
    """Return the galaxies' datasets of a pipeline's file."""
    arrays = {}

    def keep(name, item):
        if isinstance(item, h5py.Dataset):
            arrays[name] = item[...]

    with h5py.File(path) as hdf:
        hdf["Galaxies"].visititems(keep)
    return arrays


@pytest.fixture(scope="module")
def output(emulated, tmp_path_factory):
    """Return what a pipeline makes with the emulated grid."""
    folder = tmp_path_factory.mktemp("pipeline")
    return contents(run_pipeline(emulated, folder / "emulated.hdf5"))


def test_it_writes_spectra_photometry_and_lines(output, emulated):
    # Synthesizer only prints what it fails to write.
    shapes = {
        "Spectra/SpectralLuminosityDensities/emergent": (emulated.nlam,),
        "Spectra/SpectralFluxDensities/emergent": (emulated.nlam,),
        "Photometry/Luminosities/emergent/Test/Camera.V": (),
        "Photometry/Fluxes/emergent/Test/Camera.H": (),
        "Lines/Luminosity/nebular": (len(LINES),),
        "Lines/Continuum/emergent": (len(LINES),),
    }
    for name, shape in shapes.items():
        values = output[f"Stars/{name}"]
        assert values.shape == (N_GALAXIES, *shape), name
        assert (values.reshape(N_GALAXIES, -1).max(axis=1) > 0).all(), name


def test_a_native_grid_with_the_same_arrays_gives_the_same(
    output, native_with_emulated_arrays, tmp_path
):
    native = contents(
        run_pipeline(native_with_emulated_arrays, tmp_path / "native.hdf5")
    )
    assert native.keys() == output.keys()
    for name, values in native.items():
        np.testing.assert_array_equal(output[name], values, err_msg=name)


@pytest.mark.skipif(
    shutil.which("mpirun") is None
    or importlib.util.find_spec("mpi4py") is None,
    reason="needs mpirun and mpi4py (the extra 'mpi')",
)
@pytest.mark.slow
@pytest.mark.thorough
def test_two_ranks_write_what_one_does(output, tmp_path):
    path = tmp_path / "ranks.hdf5"
    command = ["mpirun", "--allow-run-as-root", "--oversubscribe", "-n", "2"]
    ranks = subprocess.run(
        [*command, sys.executable, __file__, str(path)],
        # Given explicitly, it lacks what MPI may have set in this process,
        # which would make mpirun refuse to be started by it.
        env=dict(os.environ),
        capture_output=True,
        text=True,
        timeout=300,
    )
    assert ranks.returncode == 0, ranks.stderr
    together = contents(path)
    assert together.keys() == output.keys()
    for name, values in output.items():
        # Each rank evaluates for itself, in single precision.
        np.testing.assert_allclose(
            together[name], values, rtol=1e-6, err_msg=name
        )


def main():
    """Run one rank."""
    from mpi4py import MPI

    run_pipeline(EmulatedGrid.example(), Path(sys.argv[1]), MPI.COMM_WORLD)


if __name__ == "__main__":
    main()
