"""One spectrum at some of its wavelengths, as JAX functions.

For fits and slopes, which ask for so many gradients that all wavelengths
would take too long; whole spectra at many points come from `PointArrays`.
"""

from collections.abc import Sequence
from functools import partial
from pathlib import Path

import jax
import numpy as np
from jax import Array
from numpy.typing import NDArray
from synthesizer.exceptions import MissingSpectraType

from synthesizer_emulator.emulator.emulator import Emulator
from synthesizer_emulator.emulator.metrics import (
    is_bright,
    scored_region,
)
from synthesizer_emulator.gridfile.emissions import DERIVED_SPECTRA, SPECTRA
from synthesizer_emulator.gridfile.header import GridHeader
from synthesizer_emulator.gridfile.native import NativeGrid
from synthesizer_emulator.validation import nearest

# A spectrum depends on a label if that changes its ln flux by so much, apart
# from the brightness.
_CHANGE = 1e-2


def most_sensitive(
    path: Path, header: GridHeader, names: Sequence[str]
) -> str:
    """Return the spectrum whose shape depends on the most labels.

    Starlight knows nothing of the gas: where there is an ionisation
    parameter, `nebular` can be fitted for it and `incident` can not.

    Args:
        path (Path): The grid.
        header (GridHeader): Its header.
        names (sequence of str): The spectra to choose among, not empty; of
            those that tell alike the first, but `linecont`, most of which
            is dark, as the last.
    """
    scored = scored_region(header.lam_angstrom)
    first = (0,) * len(header.shape)
    native = NativeGrid(path, header)

    def told(name: str) -> int:
        count = 0
        for i in range(len(first)):
            along = (*first[:i], slice(None), *first[i + 1 :])
            emission = f"{SPECTRA}/{name}"
            lnu = native.read(emission, along)[:, scored]
            lit = lnu[lnu.max(axis=1) > 0]
            log_flux = np.log(lit[:, is_bright(lit).all(axis=0)])
            if log_flux.size:
                log_flux -= log_flux.mean(axis=1, keepdims=True)
                count += bool(np.ptp(log_flux, axis=0).max() > _CHANGE)
        return count

    return max(sorted(names, key=lambda n: n == "linecont"), key=told)


def some_wavelengths(scored: NDArray[np.bool_], most: int) -> NDArray[np.intp]:
    """Return the places of some of the scored wavelengths, evenly spread.

    Args:
        scored (np.ndarray of bool): Which wavelengths count, (nlam,).
        most (int): How many to choose, if there are as many.
    """
    columns = np.flatnonzero(scored)
    if most >= len(columns):
        return columns
    steps = np.linspace(0, len(columns) - 1, most).astype(int)
    return columns[np.unique(steps)]


def restricted(
    emulator: Emulator, spectrum: str, columns: NDArray[np.intp]
) -> Emulator:
    """Return the emulator of one spectrum at only some wavelengths.

    Args:
        emulator (Emulator): The emulator.
        spectrum (str): The spectrum, derived ones included.
        columns (np.ndarray of int): The wavelengths to keep.

    Returns:
        Emulator: It knows that spectrum alone.

    Raises:
        MissingSpectraType: If there is no such spectrum.
    """
    if spectrum not in emulator.available_spectra:
        raise MissingSpectraType(
            f"The emulator has no spectrum '{spectrum}'; it has: "
            f"{', '.join(emulator.available_spectra)}."
            + nearest(spectrum, emulator.available_spectra)
        )
    parts: tuple[str, ...] = (spectrum,)
    if spectrum not in emulator.spectra:
        parts = DERIVED_SPECTRA[spectrum]
    kept = {part: emulator.spectra[part].restrict(columns) for part in parts}
    return Emulator(
        emulator.coordinates, kept, {}, emulator.metadata.at(columns)
    )


@partial(jax.jit, static_argnames="spectrum")
def spectra_at(part: Emulator, spectrum: str, points: Array) -> Array:
    """Evaluate a restricted emulator at many points.

    Args:
        part (Emulator): What `restricted` returned.
        spectrum (str): The spectrum that it knows.
        points (Array): Axis values, (m, d).

    Returns:
        Array: The spectra, (m, k).
    """
    return jax.vmap(lambda point: part.spectrum(spectrum, point))(points)
