"""Ways to predict the nodes that a grid lacks, an emulator being one.

Hold-out experiments compare them: Synthesizer's own interpolation, which
is what a user without an emulator gets, and monotone cubics (PCHIP) through
the coefficients of principal components, which is what can be had without
any network.
"""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from scipy.interpolate import PchipInterpolator, make_interp_spline
from synthesizer.grid import Grid

from synthesizer_emulator.architectures.linear import latent_targets
from synthesizer_emulator.architectures.samples import EmissionSamples
from synthesizer_emulator.gridfile.emissions import LINES
from synthesizer_emulator.gridfile.header import Axis, GridHeader
from synthesizer_emulator.gridfile.labels import Label
from synthesizer_emulator.gridfile.places import grid_name_of

# So many components, and so small a rest, that cubics through them are
# limited by the cubics.
_COMPONENTS = 256
_TOLERANCE = 1e-5
_SOFTENING = 1e-8

# Points a call of Synthesizer's interpolation.
_BATCH = 256

# Where Synthesizer keeps a stored quantity of the lines: the spectrum it
# belongs to, and the attribute of a LineCollection.
_LINE_HOMES = {
    "luminosity": ("nebular", "luminosity"),
    "nebular_continuum": ("nebular", "continuum"),
    "transmitted": ("transmitted", "continuum"),
}


def synthesizer_interpolation(
    path: Path,
    header: GridHeader,
    emission: str,
    points: NDArray[np.float64],
) -> NDArray[np.float64]:
    """Interpolate a grid by `Grid.interpolate_grid_at_axes_value`.

    Args:
        path (Path): The grid file.
        header (GridHeader): Its header.
        emission (str): The path of the emission, e.g. `spectra/incident`.
        points (np.ndarray of float): Axis values, (m, d).

    Returns:
        np.ndarray of float: Shape (m, n), in the units of the file.
    """
    group, name = emission.split("/")
    lines = group == LINES
    spectrum, attribute = _LINE_HOMES[name] if lines else (name, "")
    needed = {spectrum}
    if header.reprocessed:
        # Without these Synthesizer can't open a reprocessed grid.
        needed |= {"nebular", "linecont"}
    grid = Grid(
        grid_name_of(path),
        grid_dir=str(path.parent),
        spectra_to_read=sorted(needed & set(header.spectra_units)),
        ignore_lines=not lines,
    )
    units = header.units[emission]
    parts = []
    for start in range(0, len(points), _BATCH):
        columns = points[start : start + _BATCH].T
        found = grid.interpolate_grid_at_axes_value(
            spectra_type=spectrum,
            **{a.name: c for a, c in zip(header.axes, columns, strict=True)},
        )
        values = (
            getattr(found["lines"], attribute)
            if lines
            else found["spectra"].lnu
        )
        parts.append(np.asarray(values.to_value(units)))
    return np.concatenate(parts) / header.internal_factor


def pchip_of_components(
    values: NDArray[np.float64],
    axes: Sequence[Axis],
    wanted: Sequence[Axis],
    missing: NDArray[np.bool_],
) -> NDArray[np.float64]:
    """Interpolate by PCHIP the coefficients of principal components.

    Of the log of flux, along each axis in which nodes are missing, logged
    where the axis spans decades (Fritsch & Butland 1984, SIAM J. Sci.
    Stat. Comput. 5, 300, as SciPy has it). Whether there is emission at
    all is interpolated linearly.

    Args:
        values (np.ndarray of float): The emission at the nodes of `axes`,
            (m1, ..., md, n).
        axes (sequence of Axis): The axes with nodes missing.
        wanted (sequence of Axis): The same with all nodes.
        missing (np.ndarray of bool): Which nodes of `wanted` to predict,
            (n1, ..., nd).

    Returns:
        np.ndarray of float: The emission at these m nodes, (m, n).
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
    alive = samples.has_emission[..., None].astype(np.float64)
    for i, (label, axis) in enumerate(zip(labels, wanted, strict=True)):
        if len(axis.values) == len(label.nodes):
            continue
        at = np.asarray(label.to_labels(axis.values, np))
        table = PchipInterpolator(label.nodes, table, axis=i)(at)
        alive = make_interp_spline(label.nodes, alive, k=1, axis=i)(at)
    table, alive = table[missing], alive[missing]
    y = basis.mean + table[:, 1:] @ basis.components
    flux = np.exp(table[:, :1]) * (np.exp(y) - _SOFTENING)
    return np.maximum(flux, 0.0) * alive * samples.support
