"""The header of a Synthesizer grid: axes, wavelengths, lines and metadata.

A weights file stores the same header, so that Synthesizer reads it as a
grid without spectra.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Self

import numpy as np
from numpy.typing import NDArray
from synthesizer.units import Units
from unyt import unyt_array, unyt_quantity

from synthesizer_emulator.gridfile.emissions import (
    EXTINCTION_CURVES,
    LINES,
    SPECTRA,
)
from synthesizer_emulator.gridfile.further import FurtherContents
from synthesizer_emulator.units import parse_unit

# The paths of the other quantities that are stored at the nodes.
IONISING = "log10_specific_ionising_luminosity"
STAR_FRACTION = "star_fraction"

# The mask of the nodes at which Cloudy failed, and the groups that contain
# no quantities at the nodes, as in `Grid.interpolate_grid_at_axes_value`.
FAILURES = "failures"
_NOT_STORED = ("axes", SPECTRA, LINES, FAILURES, EXTINCTION_CURVES)

# The weight variables of grids per unit luminosity.
_LUMINOSITIES = ("bolometric_luminosity", "bolometric_luminosities")

# The attribute of the group `Model` with the windows of wavelengths that were
# kept, Angstrom, (k, 2).
WINDOWS = "windows"

# The smallest peak of a spectrum in float32, with a margin. Extinction curves,
# in cm^2, are fainter; those of (almost) no dust count as zero.
FAINTEST = 1e-28
_FAINTEST_EXTINCTION = 1e-36

# The log10 of the photon rate that replaces -inf: one photon per second.
_NO_PHOTONS = 0.0


@dataclass(frozen=True)
class Axis:
    """One axis of a grid.

    Attributes:
        name (str): The name of the axis, e.g. `ages`.
        values (np.ndarray of float): The nodes, ascending, (n,).
        units (str): The units, as spelled in the file.
        log_on_read (bool): Whether Synthesizer interpolates in log10 of the
            values.
    """

    name: str
    values: NDArray[np.float64]
    units: str
    log_on_read: bool

    @property
    def spans_decade(self) -> bool:
        """Whether the nodes are non-negative and span more than a decade."""
        low, high = self.values[0], self.values[-1]
        return bool(low >= 0 and high > 10.0 * low)


@dataclass(frozen=True)
class LineList:
    """The lines of a reprocessed grid.

    Attributes:
        ids (tuple of str): The ids of the lines, e.g. `H 1 6562.80A`.
        lams (np.ndarray of float): The wavelengths of the lines, (nlines,).
        lam_units (str): The units of `lams`.
        units (Mapping): The units of each stored line quantity, by name.
    """

    ids: tuple[str, ...]
    lams: NDArray[np.float64]
    lam_units: str
    units: Mapping[str, str]


@dataclass(frozen=True)
class GridHeader:
    """The contents of a grid file except the arrays of spectra and lines.

    Attributes:
        axes (tuple of Axis): The axes, in the order of the arrays.
        lam (np.ndarray of float): The wavelengths, (nlam,).
        lam_units (str): The units of `lam`.
        spectra_units (Mapping): The units of each stored spectrum, by name.
        spectra_group (str): The group of the spectra in the file: `spectra`,
            or `extinction_curves` for dust.
        ranks (Mapping): The number of axes of the emissions that lack the
            last axes, by their paths: `diffuse` of Draine & Li (2007) does
            not depend on `alpha`.
        lines (LineList): The lines; None if the grid has none.
        weight_variable (str): The attribute of an emitter that weights the
            emission, e.g. `initial_masses`.
        attributes (Mapping): Other attributes of the file.
        model (Mapping): The attributes of the group `Model`.
        cloudy (Mapping): The attributes of the group `CloudyParams`; None
            if the grid is not reprocessed.
        log10_specific_ionising_luminosity (Mapping): For each ion, log10 of
            the ionising photon rate in 1/s per unit weight, (n1, ..., nd).
        star_fraction (np.ndarray of float): The fraction of the initial mass
            in living stars, (n1, ..., nk) of the first k axes; or None.
        further (FurtherContents): All else in the file.
    """

    axes: tuple[Axis, ...]
    lam: NDArray[np.float64]
    lam_units: str = "angstrom"
    spectra_units: Mapping[str, str] = field(default_factory=dict)
    spectra_group: str = SPECTRA
    ranks: Mapping[str, int] = field(default_factory=dict)
    lines: LineList | None = None
    weight_variable: str = "initial_masses"
    attributes: Mapping[str, object] = field(default_factory=dict)
    model: Mapping[str, object] = field(default_factory=dict)
    cloudy: Mapping[str, object] | None = None
    log10_specific_ionising_luminosity: Mapping[str, NDArray[np.float64]] = (
        field(default_factory=dict)
    )
    star_fraction: NDArray[np.float64] | None = None
    further: FurtherContents = field(default_factory=FurtherContents)

    @property
    def shape(self) -> tuple[int, ...]:
        """The number of nodes of each axis, (n1, ..., nd)."""
        return tuple(len(axis.values) for axis in self.axes)

    @property
    def lam_angstrom(self) -> NDArray[np.float64]:
        """The wavelengths in Angstrom, (nlam,)."""
        lam = unyt_array(self.lam, parse_unit(self.lam_units))
        return np.asarray(lam.to_value("angstrom"))

    @property
    def windows(self) -> tuple[tuple[float, float], ...]:
        """The windows that were kept of the wavelengths, Angstrom.

        Empty if all were, or it is not known.
        """
        windows = np.asarray(self.model.get(WINDOWS, ()))
        if windows.dtype.kind not in "fiu" or windows.shape[1:] != (2,):
            return ()
        return tuple((float(low), float(high)) for low, high in windows)

    @property
    def units(self) -> dict[str, str]:
        """The units of each emission by its path, e.g. `lines/luminosity`."""
        lines = {} if self.lines is None else self.lines.units
        return {
            **{f"{SPECTRA}/{k}": u for k, u in self.spectra_units.items()},
            **{f"{LINES}/{k}": u for k, u in lines.items()},
        }

    @property
    def stored(self) -> dict[str, NDArray[np.float64]]:
        """The quantities at the nodes that are not emulated, by their paths.

        These are ionising luminosities, the star fraction, and further
        arrays with a finite number at each node, such as
        `remnant_fraction`.
        """
        stored = {
            f"{IONISING}/{ion}": values
            for ion, values in self.log10_specific_ionising_luminosity.items()
        }
        if self.star_fraction is not None:
            stored[STAR_FRACTION] = self.star_fraction
        further = self.further.datasets.items()
        return stored | {k: v for k, v in further if self._is_at_nodes(k, v)}

    @property
    def failures(self) -> NDArray[np.bool_] | None:
        """The mask of the nodes at which Cloudy failed, (n1, ..., nd).

        None if it failed at no node, or the grid does not tell.
        """
        failures = np.asarray(self.further.datasets.get(FAILURES, False))
        if failures.shape != self.shape or not failures.any():
            return None
        return failures.astype(bool)

    def _is_at_nodes(self, path: str, values: NDArray) -> bool:
        """Return whether an array has a finite number at each node."""
        return (
            path.split("/")[0] not in _NOT_STORED
            and self.shape == np.shape(values) != ()
            and values.dtype.kind in "iuf"
            and bool(np.isfinite(values).all())
        )

    def with_stored(self, stored: Mapping[str, NDArray[np.float64]]) -> Self:
        """Return the header with other quantities at the nodes.

        They are given by path; the quantities not in `stored` are removed.
        """
        group = f"{IONISING}/"
        datasets = self.further.datasets.items()
        others = {k: v for k, v in datasets if k not in self.stored}
        others |= {
            path: values
            for path, values in stored.items()
            if path != STAR_FRACTION and not path.startswith(group)
        }
        return replace(
            self,
            further=replace(self.further, datasets=others),
            log10_specific_ionising_luminosity={
                path.removeprefix(group): values
                for path, values in stored.items()
                if path.startswith(group)
            },
            star_fraction=stored.get(STAR_FRACTION),
        )

    @property
    def loaded(self) -> set[str]:
        """The paths of the arrays in the file that other fields describe."""
        wavelength = f"{self.spectra_group}/wavelength"
        lines = () if self.lines is None else ("id", "wavelength")
        return {
            *(f"axes/{axis.name}" for axis in self.axes),
            *(self.location_of(emission) for emission in self.units),
            *(path for path in self.stored if path.startswith(IONISING)),
            *(f"{LINES}/{name}" for name in lines),
            wavelength,
            STAR_FRACTION,
        }

    def size_of(self, emission: str) -> int:
        """Return the number of wavelengths or lines of an emission."""
        if self.lines is not None and emission.startswith(f"{LINES}/"):
            return len(self.lines.ids)
        return len(self.lam)

    def rank_of(self, emission: str) -> int:
        """Return the number of axes that an emission has, from the first."""
        return self.ranks.get(emission, len(self.axes))

    def shape_of(self, emission: str) -> tuple[int, ...]:
        """Return the shape of the array of an emission, (n1, ..., nk, n)."""
        rank = self.rank_of(emission)
        return (*self.shape[:rank], self.size_of(emission))

    def varying_axes(self, emission: str) -> tuple[int, ...]:
        """Return the indices of the axes along which an emission can vary.

        These are the axes that it has and that have at least two nodes.
        """
        rank = self.rank_of(emission)
        return tuple(i for i, n in enumerate(self.shape[:rank]) if n > 1)

    def location_of(self, emission: str) -> str:
        """Return the path of an emission in the file.

        It differs from that of the emission for extinction curves, which
        are spectra in all but the name of their group.
        """
        group, _, name = emission.partition("/")
        group = self.spectra_group if group == SPECTRA else group
        return f"{group}/{name}"

    @property
    def faintest(self) -> float:
        """The smallest peak of a spectrum that is not zero."""
        extinction = self.spectra_group == EXTINCTION_CURVES
        return _FAINTEST_EXTINCTION if extinction else FAINTEST

    @property
    def reprocessed(self) -> bool:
        """Whether the grid was processed by a photoionisation code."""
        return self.cloudy is not None

    @property
    def internal_factor(self) -> float:
        """The factor from the file's emissions to Synthesizer's units.

        Synthesizer converts grids per erg/s of bolometric luminosity to
        grids per Lsun.
        """
        if self.weight_variable not in _LUMINOSITIES:
            return 1.0
        one = unyt_quantity(1.0, Units().luminosity)
        return float(one.to_value("erg/s"))


def interpolable(values: NDArray) -> NDArray[np.float64]:
    """Return a stored quantity with -inf, log10 of no photons, set to 0."""
    values = np.asarray(values, np.float64)
    return np.where(np.isneginf(values), _NO_PHOTONS, values)


def node_name(axes: Sequence[Axis], node: Sequence[int]) -> str:
    """Return the indices and axis values of a node as text.

    For example `ages[3] = 1e+07, metallicities[0] = 0.0001`, for the node
    (3, 0) of the first two axes.
    """
    return ", ".join(
        f"{axis.name}[{i}] = {axis.values[i]:g}"
        for axis, i in zip(axes, node, strict=False)
    )
