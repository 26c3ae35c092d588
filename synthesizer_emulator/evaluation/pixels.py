"""One spectrum at some of its wavelengths, as JAX functions.

For fits and slopes, which ask for so many gradients that all wavelengths
would take too long; whole spectra at many points come from `PointArrays`.
"""

from functools import partial

import jax
import numpy as np
from jax import Array
from numpy.typing import NDArray
from synthesizer.exceptions import MissingSpectraType

from synthesizer_emulator.emulator import DERIVED_SPECTRA, Emulator


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
        )
    parts: tuple[str, ...] = (spectrum,)
    if spectrum not in emulator.spectra:
        parts = DERIVED_SPECTRA[spectrum]
    kept = {part: emulator.spectra[part].restrict(columns) for part in parts}
    return Emulator(emulator.coordinates, kept, {})


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
