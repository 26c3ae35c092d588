"""Baselines for emulators between the nodes of a grid.

They are the linear interpolation of Synthesizer, which users have without an
emulator, and monotone cubics (PCHIP) through the coefficients of principal
components, the best interpolation without a network.
"""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray
from scipy.interpolate import PchipInterpolator, make_interp_spline
from synthesizer.grid import Grid

from synthesizer_emulator.architectures.linear import latent_targets
from synthesizer_emulator.architectures.samples import EmissionSamples
from synthesizer_emulator.gridfile.emissions import LINES
from synthesizer_emulator.gridfile.header import Axis
from synthesizer_emulator.gridfile.labels import Label
from synthesizer_emulator.gridfile.native import NativeGrid

# With these values the interpolation limits the accuracy, and not the basis.
_COMPONENTS = 256
_TOLERANCE = 1e-5
_SOFTENING = 1e-8

# The number of points in each call of Synthesizer's interpolation.
_BATCH = 256

# For each stored line quantity, the spectrum type for which Synthesizer
# returns it, and the attribute of the LineCollection.
_LINE_ATTRIBUTES = {
    "luminosity": ("nebular", "luminosity"),
    "nebular_continuum": ("nebular", "continuum"),
    "transmitted": ("transmitted", "continuum"),
}


def synthesizer_interpolation(
    native: NativeGrid, emission: str, points: NDArray[np.float64]
) -> NDArray[np.float64]:
    """Interpolate a grid with `Grid.interpolate_grid_at_axes_value`.

    Returns the emission at the axis values `points` (m, d), in the units of
    the file, (m, n).
    """
    header = native.header
    group, name = emission.split("/")
    lines = group == LINES
    spectrum, attribute = _LINE_ATTRIBUTES[name] if lines else (name, "")
    needed = {spectrum}
    if header.reprocessed:
        # Synthesizer can't open a reprocessed grid without these.
        needed |= {"nebular", "linecont"}
    grid = Grid(
        native.name,
        grid_dir=str(native.path.parent),
        spectra_to_read=sorted(needed & set(header.spectra_units)),
        ignore_lines=not lines,
    )
    units = header.units[emission]
    parts = []
    for start in range(0, len(points), _BATCH):
        columns = points[start : start + _BATCH].T
        interpolated = grid.interpolate_grid_at_axes_value(
            spectra_type=spectrum,
            **{a.name: c for a, c in zip(header.axes, columns, strict=True)},
        )
        values = (
            getattr(interpolated["lines"], attribute)
            if lines
            else interpolated["spectra"].lnu
        )
        parts.append(np.asarray(values.to_value(units)))
    return np.concatenate(parts) / header.internal_factor


def pchip_of_components(
    values: NDArray[np.float64],
    axes: Sequence[Axis],
    wanted: Sequence[Axis],
    missing: NDArray[np.bool_],
) -> NDArray[np.float64]:
    """Interpolate an emission by PCHIP of its principal components.

    The coefficients of the components of ln flux are interpolated by PCHIP
    (Fritsch & Butland 1984, SIAM J. Sci. Stat. Comput. 5, 300, as in SciPy)
    along each axis with missing nodes, as a function of its label. The
    fraction of nodes with emission is interpolated linearly.

    Args:
        values (np.ndarray of float): The emission at the nodes of `axes`,
            (m1, ..., md, n).
        axes (sequence of Axis): The axes without the missing nodes.
        wanted (sequence of Axis): The axes with all nodes.
        missing (np.ndarray of bool): Mask of the m nodes of `wanted` to
            predict, (n1, ..., nd).

    Returns:
        np.ndarray of float: The emission at these nodes, (m, n).
    """
    labels = [Label(axis) for axis in axes]
    samples = EmissionSamples.from_values(
        tuple(label.nodes for label in labels),
        values,
        np.ones(values.shape[-1]),
        _SOFTENING,
    )
    basis, latents = latent_targets(
        samples, samples.weights, _COMPONENTS, _TOLERANCE
    )
    table = samples.at_all_nodes(latents)
    emitting = samples.has_emission[..., None].astype(np.float64)
    for i, (label, axis) in enumerate(zip(labels, wanted, strict=True)):
        if len(axis.values) == len(label.nodes):
            continue
        at = np.asarray(label.to_labels(axis.values, np))
        table = PchipInterpolator(label.nodes, table, axis=i)(at)
        emitting = make_interp_spline(label.nodes, emitting, k=1, axis=i)(at)
    table, emitting = table[missing], emitting[missing]
    y = basis.mean + table[:, 1:] @ basis.components
    flux = np.exp(table[:, :1]) * (np.exp(y) - _SOFTENING)
    return np.maximum(flux, 0.0) * emitting * samples.support
