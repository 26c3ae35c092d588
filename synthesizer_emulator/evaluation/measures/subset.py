"""One spectrum at some of its wavelengths.

Fits and derivatives need so many gradients that all wavelengths would take
too long.
"""

from collections.abc import Sequence
from functools import partial

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
from synthesizer_emulator.gridfile.native import NativeGrid
from synthesizer_emulator.validation import nearest

# The shape of a spectrum depends on a label if ln flux, less its mean,
# changes by this much along the axis.
_CHANGE = 1e-2


def most_sensitive(native: NativeGrid, names: Sequence[str]) -> str:
    """Return the spectrum whose shape depends on the most labels.

    With an ionisation parameter that is `nebular`: starlight does not
    depend on it, so that `incident` can't be fitted for it.

    Args:
        native (NativeGrid): The grid.
        names (sequence of str): The spectra to choose from, not empty.

    Returns:
        str: The first of the most sensitive spectra. `linecont`, most
            pixels of which are dark, comes last.
    """
    scored = scored_region(native.header.lam_angstrom)
    first = (0,) * len(native.header.shape)

    def sensitivity(name: str) -> int:
        """Count the axes along which the shape changes, from node 0."""
        count = 0
        for i in range(len(first)):
            along = (*first[:i], slice(None), *first[i + 1 :])
            lnu = native.read(f"{SPECTRA}/{name}", along)[:, scored]
            lnu = lnu[lnu.max(axis=1) > 0]
            log_flux = np.log(lnu[:, is_bright(lnu).all(axis=0)])
            if log_flux.size:
                log_flux -= log_flux.mean(axis=1, keepdims=True)
                count += bool(np.ptp(log_flux, axis=0).max() > _CHANGE)
        return count

    ordered = sorted(names, key=lambda name: name == "linecont")
    return max(ordered, key=sensitivity)


def some_wavelengths(scored: NDArray[np.bool_], most: int) -> NDArray[np.intp]:
    """Return the indices of evenly spread scored wavelengths.

    Args:
        scored (np.ndarray of bool): Mask of the scored wavelengths, (nlam,).
        most (int): The most wavelengths to choose.

    Returns:
        np.ndarray of int: The indices, ascending, (k,).
    """
    columns = np.flatnonzero(scored)
    if most >= len(columns):
        return columns
    steps = np.linspace(0, len(columns) - 1, most).astype(int)
    return columns[np.unique(steps)]


def restricted(
    emulator: Emulator, spectrum: str, columns: NDArray[np.intp]
) -> Emulator:
    """Return an emulator of one spectrum at some wavelengths.

    Args:
        emulator (Emulator): The whole emulator.
        spectrum (str): The spectrum, stored or derived.
        columns (np.ndarray of int): The indices of the wavelengths, (k,).

    Returns:
        Emulator: The emulator of that spectrum alone.

    Raises:
        MissingSpectraType: If the emulator has no such spectrum.
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
    """Evaluate an emulator of one spectrum at many points.

    Args:
        part (Emulator): The emulator, as `restricted` returns it.
        spectrum (str): The spectrum.
        points (Array): Axis values, (m, d).

    Returns:
        Array: The spectra, (m, k).
    """
    return jax.vmap(lambda point: part.spectrum(spectrum, point))(points)
