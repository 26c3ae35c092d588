"""Emulators of one spectrum at a subset of its wavelengths.

Fits and derivatives would take too long with all wavelengths.
"""

from collections.abc import Callable, Sequence
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

# The shape of a spectrum depends on a label if ln flux minus its mean changes
# by more than this along the axis.
SMALLEST_CHANGE = 1e-2


def most_sensitive(native: NativeGrid, names: Sequence[str]) -> str:
    """Return the name of the spectrum whose shape depends on the most labels.

    On a grid with an ionisation parameter this is `nebular`, because
    starlight does not depend on it. The first of equally sensitive spectra
    is chosen, and `linecont` last, because most of its pixels have no flux.
    """
    scored = scored_region(native.header.lam_angstrom)
    first = (0,) * len(native.header.shape)

    def sensitivity(name: str) -> int:
        """Return the number of axes along which the shape changes."""
        count = 0
        for i in range(len(first)):
            along = (*first[:i], slice(None), *first[i + 1 :])
            lnu = native.read(f"{SPECTRA}/{name}", along)[:, scored]
            count += shape_change(lnu) > SMALLEST_CHANGE
        return count

    return most_of(names, sensitivity)


def shape_change(lnu: NDArray[np.float64]) -> float:
    """Return the largest change of ln flux minus its mean along an axis.

    Args:
        lnu (np.ndarray of float): The spectra along the axis, (m, n); those
            without emission, and pixels that are faint in one, do not count.
    """
    lnu = lnu[lnu.max(axis=1) > 0]
    log_flux = np.log(lnu[:, is_bright(lnu).all(axis=0)])
    if not log_flux.size:
        return 0.0
    log_flux -= log_flux.mean(axis=1, keepdims=True)
    return float(np.ptp(log_flux, axis=0).max())


def most_of(names: Sequence[str], count: Callable[[str], int]) -> str:
    """Return the first spectrum with the largest count, `linecont` last."""
    ordered = sorted(names, key=lambda name: name == "linecont")
    return max(ordered, key=count)


def some_wavelengths(scored: NDArray[np.bool_], most: int) -> NDArray[np.intp]:
    """Return the indices of at most `most` evenly spread scored wavelengths.

    `scored` is their mask, (nlam,); the indices (k,) are ascending.
    """
    columns = np.flatnonzero(scored)
    if most >= len(columns):
        return columns
    steps = np.linspace(0, len(columns) - 1, most).astype(int)
    return columns[np.unique(steps)]


def restricted(
    emulator: Emulator, spectrum: str, columns: NDArray[np.intp]
) -> Emulator:
    """Return an emulator of one spectrum at the wavelengths `columns`, (k,).

    Raises:
        MissingSpectraType: If the emulator lacks the spectrum.
    """
    if spectrum not in emulator.available_spectra:
        raise MissingSpectraType(
            f"The emulator has no spectrum '{spectrum}'. Use one of "
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
    """Return the spectra (m, k) of a restricted emulator at points (m, d)."""
    return jax.vmap(lambda point: part.spectrum(spectrum, point))(points)
