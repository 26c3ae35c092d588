"""The plot of an observed spectrum."""

from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure


def plot_pixels(
    lam: NDArray[np.float64],
    flux: NDArray[np.float64],
    error: NDArray[np.float64],
    is_used: NDArray[np.bool_],
) -> tuple["Figure", "Axes"]:
    """Plot the pixels of an observed spectrum with their errors.

    Args:
        lam (np.ndarray of float): The wavelengths, Angstrom, (n,).
        flux (np.ndarray of float): The flux densities, nJy, (n,).
        error (np.ndarray of float): Their standard deviations, nJy, (n,).
        is_used (np.ndarray of bool): Whether each pixel is used, (n,);
            others are shaded.

    Returns:
        tuple: The figure, and its axes.
    """
    # Imported here, so that spectra can be used without it.
    import matplotlib.pyplot as plt

    figure, axes = plt.subplots(figsize=(7.0, 3.5), layout="constrained")
    micron = lam / 1e4
    flux, error = (np.where(is_used, x, np.nan) for x in (flux, error))
    axes.fill_between(
        micron,
        flux - error,
        flux + error,
        step="mid",
        color="0.75",
        linewidth=0,
        label=r"$\pm 1\sigma$",
    )
    axes.step(
        micron, flux, where="mid", color="black", linewidth=0.7, label="flux"
    )
    if not is_used.all():
        axes.fill_between(
            micron,
            0,
            1,
            where=(~is_used).tolist(),
            step="mid",
            color="#E69F00",
            alpha=0.25,
            linewidth=0,
            transform=axes.get_xaxis_transform(),
            label="not used",
        )
    axes.set_xlabel(r"observed wavelength / $\mu$m")
    axes.set_ylabel("flux density / nJy")
    axes.set_xlim(micron[0], micron[-1])
    axes.legend(frameon=False, fontsize=8)
    return figure, axes
