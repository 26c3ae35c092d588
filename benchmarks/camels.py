"""Read cut-outs of CAMELS (IllustrisTNG suite) as galaxies of Synthesizer.

Two files of a snapshot, without its header, and of the subhalos; they are not
part of this repository. The folder is that of the environment variable
`CAMELS_CUTOUTS`, or `shared/data/camels` beside the repository.
"""

import os
from pathlib import Path

import h5py
import numpy as np
from astropy.cosmology import FlatLambdaCDM
from astropy.units import Gyr as astropy_gyr
from synthesizer.particle import Galaxy, Stars
from unyt import Gyr, Msun, kpc

COSMOLOGY = FlatLambdaCDM(H0=67.11, Om0=0.3)
BOX = 25_000.0  # comoving kpc/h
SETS = ("a", "b")


def camels_folder() -> Path | None:
    """Return the folder of the cut-outs, or None if there is none."""
    beside = Path(__file__).parents[2] / "shared" / "data" / "camels"
    folder = Path(os.environ.get("CAMELS_CUTOUTS", beside))
    return folder if (folder / "a_snap.hdf5").is_file() else None


def load_camels(folder: Path, name: str) -> list[Galaxy]:
    """Return the galaxies of one cut-out.

    Args:
        folder (Path): The folder.
        name (str): One of `SETS`.

    Returns:
        list of Galaxy: The galaxies, with their stars and centres.
    """
    h = COSMOLOGY.h
    with h5py.File(folder / f"{name}_subhalos.hdf5") as hdf:
        numbers = hdf["Subhalo/SubhaloLenType"][:, 4].astype(int)
        centres = hdf["Subhalo/SubhaloPos"][...].astype(float)
    with h5py.File(folder / f"{name}_snap.hdf5") as hdf:
        stars = {k: v[...].astype(float) for k, v in hdf["PartType4"].items()}
    born = stars["GFM_StellarFormationTime"]
    scale = born.max()
    # A table is faster than an age for each star.
    factors = np.linspace(0.02, scale, 2000)
    ages = COSMOLOGY.age(1 / factors - 1).to_value(astropy_gyr)
    age = ages[-1] - np.interp(born, factors, ages)
    # The youngest stars were born within the last step of the snapshot.
    age = np.maximum(age, 1e-4)
    ends = np.cumsum(numbers)
    galaxies = []
    for i, (n, end) in enumerate(zip(numbers, ends, strict=True)):
        chosen = np.flatnonzero(born[end - n : end] > 0.0) + end - n
        offset = stars["Coordinates"][chosen] - centres[i]
        offset -= BOX * np.round(offset / BOX)
        particles = Stars(
            initial_masses=stars["GFM_InitialMass"][chosen] * 1e10 / h * Msun,
            current_masses=stars["Masses"][chosen] * 1e10 / h * Msun,
            ages=age[chosen] * Gyr,
            metallicities=stars["GFM_Metallicity"][chosen],
            coordinates=offset * scale / h * kpc,
            centre=np.zeros(3) * kpc,
            redshift=1.0 / scale - 1.0,
        )
        galaxies.append(
            Galaxy(
                name=f"{name}{i}",
                stars=particles,
                redshift=1.0 / scale - 1.0,
                centre=np.zeros(3) * kpc,
            )
        )
    return galaxies
