"""Loading of emulated grids: the methods that `Grid.__init__` calls.

Synthesizer's constructor reads a grid file by a dozen methods. Here they read
the weights instead, and set up emissions that are evaluated later.
"""

from functools import partial
from operator import methodcaller
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from synthesizer.data.initialise import get_grids_dir
from synthesizer.exceptions import (
    GridError,
    InconsistentArguments,
    MissingSpectraType,
)
from synthesizer.grid import Grid
from synthesizer.synth_warnings import warn
from synthesizer.units import Units
from synthesizer.utils.util_funcs import as_contiguous
from unyt import angstrom, unyt_array, unyt_quantity

from synthesizer_emulator.descriptions import describe_names
from synthesizer_emulator.distribution.fetching import fetch
from synthesizer_emulator.distribution.registry import (
    VARIABLE,
    has_registry,
    published_names,
)
from synthesizer_emulator.grid.lazy import (
    LazyEmissions,
    LazyLineValues,
    LazySpectra,
    Maxima,
)
from synthesizer_emulator.grid.refine import name_for_axes
from synthesizer_emulator.gridfile.emissions import (
    LINE_UNITS,
    LINECONT,
    NEBULAR,
    NEBULAR_CONTINUUM,
)
from synthesizer_emulator.gridfile.header import GridHeader
from synthesizer_emulator.gridfile.places import (
    current_name,
    folders,
    locate,
    plain_name,
    pretrained,
    similar,
    weights_in,
)
from synthesizer_emulator.gridfile.writing import header_file
from synthesizer_emulator.units import parse_unit
from synthesizer_emulator.validation import nearest
from synthesizer_emulator.wavelengths import identity, linear_interpolation
from synthesizer_emulator.weights.points import PointArrays
from synthesizer_emulator.weights.weights import Weights


class WeightsGrid(Grid):
    """A grid whose emissions come from an emulator's weights.

    `_nodes_header`, the header at the nodes of this grid, must be set before
    `Grid.__init__` is called, and is deleted after it: from then on the
    attributes of `Grid` hold the axes.
    """

    _weights: Weights
    _nodes_header: GridHeader
    original_name: str

    # In Synthesizer's wavelength unit.
    lam: Any

    # Lazy mappings; empty dictionaries if not loaded.
    spectra: Any
    line_lums: Any
    line_conts: Any

    def _parse_grid_path(
        self, grid_dir: str | Path | None, grid_name: str
    ) -> None:
        """Set the names, and the header of this grid as the grid file."""
        self.grid_dir = str(get_grids_dir() if grid_dir is None else grid_dir)
        self.grid_name = grid_name
        self.grid_ext = "hdf5"
        self.grid_filename: Any = header_file(self._nodes_header)

    def _get_axes(self) -> None:
        """Set the axes, whose nodes may differ from those of the weights."""
        super()._get_axes()
        self._update_name()

    def _get_ionising_luminosity(self) -> None:
        """Set the ionising luminosities at the nodes."""
        ions = self._nodes_header.log10_specific_ionising_luminosity
        if ions:
            self.log10_specific_ionising_lum = {
                ion: values.astype(self._dtype) for ion, values in ions.items()
            }

    def _get_spectra_grid(self, spectra_to_read: list[str] | None) -> None:
        """Set the wavelengths and the unevaluated spectra.

        Raises:
            GridError: If the grid has lines only.
            MissingSpectraType: If the emulator lacks a requested spectrum.
        """
        if not self._weights.available_spectra:
            raise GridError(
                f"The grid '{self.original_name}' has lines but no spectra: "
                "load it with ignore_spectra=True."
            )
        names = choose_spectra(
            self._weights.available_spectra, spectra_to_read
        )
        header = self._weights.header
        lam = unyt_array(header.lam, parse_unit(header.lam_units)).to(angstrom)
        self.lam = lam.astype(self._dtype, copy=False)
        self.spectra = LazySpectra(
            self._node_arrays(), names, identity(len(lam)), self._dtype
        )

    def _get_lines_grid(self) -> None:
        """Set the lines, with unevaluated luminosities and continua."""
        lines = self._weights.header.lines
        if lines is None:
            # The emulator was built from stellar spectra only.
            return
        missing = [name for name in LINE_UNITS if name not in lines.units]
        lines_only = not self._weights.available_spectra
        if lines_only and missing and "luminosity" in lines.units:
            warn(
                f"The lines of '{self.original_name}' have no "
                f"{' and '.join(missing)}: their continuum is zero."
            )
        elif missing:
            raise GridError(
                "To load lines, the weights must include their "
                f"{', '.join(LINE_UNITS)}; '{self._weights.path}' lacks "
                f"{', '.join(missing)}. Build the weights from a grid with "
                "these, or pass ignore_lines=True."
            )
        self.available_lines = np.array(lines.ids)
        lams = unyt_array(lines.lams, parse_unit(lines.lam_units)).to(angstrom)
        self.line_lams = lams.astype(self._dtype, copy=False)
        make = partial(
            LazyLineValues,
            self._node_arrays(),
            view=identity(len(lines.ids)),
            dtype=self._dtype,
        )
        lum_unit = parse_unit(str(Units().luminosity))
        stored_unit = parse_unit(lines.units["luminosity"])
        factor = unyt_quantity(1.0, stored_unit).to_value(lum_unit)
        lums, conts = self._line_sources(factor)
        self.line_lums = make(lums, units=lum_unit)
        self.line_conts = make(
            conts,
            units=parse_unit(lines.units.get("nebular_continuum", "erg/s/Hz")),
        )

    def _line_sources(
        self, factor: float
    ) -> tuple[dict[str, methodcaller], dict[str, methodcaller]]:
        """Return the calls that evaluate line luminosities and continua.

        As in a native grid, only nebular spectra have lines, and all spectra
        have a continuum at the lines. Each spectrum has one call of a method
        of `PointArrays`; luminosities are multiplied by `factor`.
        """
        zero = methodcaller("zeros", self.nlines)
        luminosity = methodcaller("lines", "luminosity", factor)
        continuum, transmitted = (
            methodcaller("lines", name)
            if f"lines/{name}" in self._weights.shapes
            else zero
            for name in ("nebular_continuum", "transmitted")
        )
        lums = {
            NEBULAR: luminosity,
            LINECONT: luminosity,
            NEBULAR_CONTINUUM: zero,
            "transmitted": zero,
        }
        conts = {
            NEBULAR: continuum,
            LINECONT: zero,
            NEBULAR_CONTINUUM: continuum,
            "transmitted": transmitted,
        }
        if isinstance(self.spectra, LazySpectra):
            cut = self._lines_outside() & ~self._lines_outside_weights()
            if cut.any():
                # Others are outside whatever the wavelengths, which the
                # description of the grid says.
                names = [str(name) for name in self.available_lines[cut]]
                warn(
                    f"{len(names)} lines are outside the wavelengths of the "
                    "grid, and their continuum is zero: "
                    f"{describe_names(names)}."
                )
            at_lines = linear_interpolation(
                in_angstrom(self.lam), in_angstrom(self.line_lams)
            ).after(self.spectra.view)
            for name in self.available_spectra_emissions:
                lums.setdefault(name, zero)
                conts.setdefault(
                    name, methodcaller("spectrum", name, at_lines)
                )
        return lums, conts

    def _lines_outside(self) -> NDArray[np.bool_]:
        """Return the mask of lines outside the wavelengths, (nlines,)."""
        return np.asarray(
            (self.line_lams < self.lam[0]) | (self.line_lams > self.lam[-1])
        )

    def _lines_outside_weights(self) -> NDArray[np.bool_]:
        """Return the mask of lines outside the emulator's wavelengths."""
        lam = self._weights.header.lam_angstrom
        lines = in_angstrom(self.line_lams)
        return (lines < lam[0]) | (lines > lam[-1])

    def _convert_grid_to_internal_units(self) -> None:
        """Convert only the ionising luminosities to Synthesizer's units.

        The emissions are evaluated in these units.
        """
        factor = self._weights.header.internal_factor
        for log10_lum in getattr(
            self, "log10_specific_ionising_lum", {}
        ).values():
            log10_lum += np.log10(factor).astype(self._dtype)

    def _compute_max_grid_values(self) -> None:
        """Set the maxima of the emissions, computed on access."""
        self._max_grid_values = {
            "spectra": Maxima(self.spectra),
            "line_lum": Maxima(self.line_lums),
            "line_cont": Maxima(self.line_conts),
        }

    def _ensure_spectra_data_contiguous(self) -> None:
        """Make the wavelengths and evaluated spectra contiguous."""
        if self.lam is not None:
            self.lam = as_contiguous(self.lam)
        if isinstance(self.spectra, LazyEmissions):
            self.spectra.transform(as_contiguous)

    def _ensure_line_data_contiguous(self) -> None:
        """Make the evaluated line values contiguous."""
        if self.line_lams is not None:
            self.line_lams = as_contiguous(self.line_lams)
        for emissions in (self.line_lums, self.line_conts):
            if isinstance(emissions, LazyEmissions):
                emissions.transform(as_contiguous)

    def _node_arrays(self) -> PointArrays:
        """Return the unevaluated emissions at the nodes of this grid."""
        return PointArrays.at_nodes(
            self._weights,
            [axis.values for axis in self._nodes_header.axes],
            self._weights.header.internal_factor,
        )

    def _lazy_emissions(self) -> list[LazyEmissions]:
        """Return the mappings whose arrays are evaluated on access."""
        mappings = self.spectra, self.line_lums, self.line_conts
        return [m for m in mappings if isinstance(m, LazyEmissions)]

    def _is_logged(self, axis: str) -> bool:
        """Return whether Synthesizer interpolates in log10 of an axis."""
        return f"log10{axis}" in self._extract_axes

    def _update_name(self) -> None:
        """Set `grid_name`, with a hash if the nodes are not the weights'.

        Synthesizer caches particle weights under this name.
        """
        trained = {axis.name: axis for axis in self._weights.header.axes}
        same = set(trained) == set(self.axes) and all(
            np.array_equal(trained[a].values.astype(self._dtype), values)
            for a, values in self._axes_values.items()
        )
        self.grid_name = (
            self.original_name
            if same
            else name_for_axes(self.original_name, self._axes_values)
        )


def find_weights(
    grid: str, grid_dir: str | Path | None, download: bool = False
) -> tuple[Path, Path | None]:
    """Return the paths of a grid's weights and of the native grid, if any.

    Args:
        grid (str): The name of the grid, or a path to it or to its weights.
        grid_dir (str/Path): As for `folders`.
        download (bool): Whether to fetch published weights if there are
            none.

    Raises:
        GridError: If no weights are found; lists the folders searched.
        OSError: If published weights can't be fetched.
    """
    weights, native = locate(grid, grid_dir)
    if weights is not None:
        return weights, native
    name = plain_name(grid)
    path = Path(name)
    if download:
        if path.parent != Path():
            # `grid` is a path.
            grid_dir = folders(grid_dir)[0] / path.parent
        return fetch(path.name, grid_dir), native
    raise GridError(
        f"No weights for the grid '{name}': {_searched(path, grid_dir)}."
        f"{_remedy(path, grid_dir, native)}"
    )


def _searched(path: Path, grid_dir: str | Path | None) -> str:
    """Say in which folders the weights of a grid are not."""
    parents = [(folder / path).parent for folder in folders(grid_dir)]
    if grid_dir is not None and not parents[0].is_dir():
        return f"the folder '{parents[0]}' does not exist"
    return "looked in " + ", ".join(f"'{parent}'" for parent in parents)


def _remedy(
    path: Path, grid_dir: str | Path | None, native: Path | None
) -> str:
    """Say how weights that were not found can be had.

    Args:
        path (Path): The name of the grid, or a path to it.
        grid_dir (str/Path): As for `folders`.
        native (Path): The native grid, if there is one.
    """
    shipped, published = pretrained(), published_names()
    if grid_dir is not None and current_name(path.name) in shipped:
        return " Leave out grid_dir (--grid-dir) for those of the package."
    if path.name in published:
        return (
            " The registry has them: `synthesizer-emulator fetch "
            f"{path.name}` (fetch=True)."
        )
    if native is None:
        build = (
            f"To build them, put the grid '{path.name}.hdf5' there and run "
            f"`synthesizer-emulator build {path}.hdf5`"
        )
    else:
        build = f"Build them with `synthesizer-emulator build {native}`"
    if published:
        fetched = "`synthesizer-emulator fetch` others"
    elif has_registry():
        fetched = f"see why the registry in {VARIABLE} has none to fetch"
    else:
        fetched = (
            f"set {VARIABLE} to a registry that has them, and run "
            f"`synthesizer-emulator fetch {path.name}`"
        )
    return (
        f"{similar(path, grid_dir, weights_in, (*published, *shipped))} "
        f"{build}, or {fetched}; `synthesizer-emulator list` shows those "
        "that there are."
    )


def choose_spectra(
    available: tuple[str, ...], wanted: list[str] | None
) -> list[str]:
    """Return the names of the spectra to load, in a native grid's order.

    Raises:
        InconsistentArguments: If `wanted` is neither None, for all available
            spectra, nor a list.
        MissingSpectraType: If one of the spectra is not available.
    """
    if wanted is not None and not isinstance(wanted, list):
        raise InconsistentArguments(
            "spectra_to_read must be None or a list of names, got "
            f"{type(wanted).__name__}."
        )
    missing = [name for name in wanted or [] if name not in available]
    if missing:
        raise MissingSpectraType(
            f"The emulator has no spectra {', '.join(missing)}; it has: "
            f"{', '.join(available)}.{nearest(missing[0], available)}"
        )
    chosen = list(available if wanted is None else wanted)
    # A native grid appends the nebular continuum if it can be derived.
    if NEBULAR in chosen or NEBULAR_CONTINUUM in chosen:
        chosen = [name for name in chosen if name != NEBULAR_CONTINUUM]
        chosen.append(NEBULAR_CONTINUUM)
    return chosen


def in_angstrom(lam: unyt_array) -> NDArray[np.float64]:
    """Return wavelengths as plain numbers in Angstrom."""
    return np.asarray(lam.to_value(angstrom), np.float64)
