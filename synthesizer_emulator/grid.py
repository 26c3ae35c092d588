"""`EmulatedGrid`: Synthesizer's `Grid`, evaluated from networks on demand.

The one class that most users need, and the only subclass of a Synthesizer
class here. Units and Synthesizer's conventions are added at this border;
behind it is the pure `Emulator`.
"""

import copy
from collections.abc import MutableMapping
from functools import partial
from importlib.resources import files
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
from synthesizer.units import Units, accepts
from synthesizer.utils.util_funcs import as_contiguous
from unyt import Unit, angstrom, unyt_array, unyt_quantity

from synthesizer_emulator.emissions import (
    LazyEmissions,
    LazyLineValues,
    LazySpectra,
    Maxima,
    NodeArrays,
)
from synthesizer_emulator.emulator import Emulator
from synthesizer_emulator.resampling import (
    flux_conserving,
    identity,
    linear_interpolation,
    selection,
)
from synthesizer_emulator.weights import (
    SUFFIX,
    Provenance,
    read_weights,
)

EXAMPLE_NAME = "bc03-example"
_DATA = "synthesizer_emulator.data"
_CONTINUUM = "nebular_continuum"


class EmulatedGrid(Grid):
    """A Synthesizer grid whose emissions come from trained networks.

    It takes the place of `synthesizer.grid.Grid` in emission models and
    scripts. The original grid file is not needed; nothing is evaluated
    until an emission is asked for, and then that emission alone, on the
    wavelengths in force.

    Attributes:
        emulator (Emulator): The networks, as pure JAX functions.
        provenance (Provenance): What the weights were built from, and
            their errors.

    Examples:
        >>> from synthesizer_emulator import EmulatedGrid
        >>> grid = EmulatedGrid.example()
        >>> grid.shape
        (56, 7, 1719)
    """

    spectra: MutableMapping[str, Any]
    line_lums: MutableMapping[str, Any]
    line_conts: MutableMapping[str, Any]

    def __init__(
        self,
        grid_name: str,
        grid_dir: str | Path | None = None,
        ignore_spectra: bool = False,
        spectra_to_read: list[str] | None = None,
        ignore_lines: bool = False,
        new_lam: unyt_array | None = None,
        lam_lims: tuple = (),
        use_precision: type | None = None,
        weights: str | Path | None = None,
    ) -> None:
        """Load the weights of a grid.

        Args:
            grid_name (str): The name of the grid, as for `Grid`.
            grid_dir (str/Path): The folder of the grid; Synthesizer's grid
                folder by default.
            ignore_spectra (bool): Whether to leave out the spectra.
            spectra_to_read (list of str): The spectra to offer; all by
                default.
            ignore_lines (bool): Whether to leave out the lines.
            new_lam (unyt_array): Wavelengths to rebin to, conserving flux.
            lam_lims (tuple): The lower and upper wavelength to keep;
                ignored where `new_lam` is given.
            use_precision (type): np.float32 or np.float64 (the default).
            weights (str/Path): The weights file; by default
                `grid_dir/grid_name.emulator.hdf5`.

        Raises:
            GridError: If the weights are missing, damaged or of a newer
                format.
            MissingSpectraType: If `spectra_to_read` has an unknown one.
            InconsistentArguments: If an argument is of the wrong kind.
        """
        # Grid.__init__ reads through the methods below, which all ask
        # this for what a native grid takes from its file.
        name = str(grid_name).removesuffix(SUFFIX).removesuffix(".hdf5")
        self._weights = read_weights(_find_weights(name, grid_dir, weights))
        if name != self.provenance.grid_name:
            warn(
                f"These weights were built from '{self.provenance.grid_name}',"
                f" and serve as '{name}'. Synthesizer keeps particle weights "
                "by this name: two grids of one name need the same axes."
            )
        super().__init__(
            name,
            grid_dir=grid_dir,
            ignore_spectra=ignore_spectra,
            spectra_to_read=spectra_to_read,
            ignore_lines=ignore_lines,
            new_lam=new_lam,
            lam_lims=lam_lims,
            use_precision=use_precision,
        )
        # Known already: don't go back to a file that may be gone.
        header = self._weights.header
        self._reprocessed = header.reprocessed
        self._lines_available = header.lines is not None
        if header.star_fraction is not None:
            self._stellar_frac = header.star_fraction.astype(self._dtype)

    @classmethod
    def example(cls, **kwargs: Any) -> "EmulatedGrid":
        """Return the emulated grid that ships with the package.

        BC03 with Cloudy at log10 U = -2, thinned in age and wavelength:
        for trying things out and for tests, not for science.

        Args:
            **kwargs: Any argument of the constructor but the name.

        Returns:
            EmulatedGrid: The grid `bc03-example`.
        """
        return cls(EXAMPLE_NAME, grid_dir=example_folder(), **kwargs)

    @property
    def provenance(self) -> Provenance:
        """What the weights were built from, and their errors."""
        return self._weights.provenance

    @property
    def emulator(self) -> Emulator:
        """The networks, as pure JAX functions of axis values."""
        return self._weights.emulator

    @property
    def shape(self) -> tuple[int, ...]:
        """The shape of a spectrum, or of the lines where there are none."""
        if not (self.has_spectra or self.has_lines):
            return super().shape
        nodes = tuple(len(self._axes_values[axis]) for axis in self.axes)
        return (*nodes, self.nlam if self.has_spectra else self.nlines)

    @property
    def new_line_format(self) -> bool:
        """Whether the grid has the new line format, which it has."""
        return self.lines_available

    def convert_precision(
        self, precision: type, inplace: bool = False
    ) -> "EmulatedGrid | None":
        """Convert the grid to a floating point precision.

        Args:
            precision (type): np.float32 or np.float64.
            inplace (bool): Whether to change this grid or a copy.

        Returns:
            EmulatedGrid/None: The converted copy, unless in place.
        """
        grid = self if inplace else copy.deepcopy(self)
        mappings = grid.spectra, grid.line_lums, grid.line_conts
        # The rest is Synthesizer's; the emissions convert themselves,
        # so that what was not evaluated yet need not be.
        grid.spectra, grid.line_lums, grid.line_conts = {}, {}, {}
        Grid.convert_precision(grid, precision, inplace=True)
        grid.spectra, grid.line_lums, grid.line_conts = mappings
        for emissions in grid._lazy_emissions():
            emissions.convert(grid._dtype)
        return None if inplace else grid

    @accepts(new_lam=angstrom)
    def interp_spectra(
        self, new_lam: unyt_array, loop_grid: bool = False
    ) -> None:
        """Rebin the spectra to other wavelengths, conserving flux.

        Args:
            new_lam (unyt_array): The new wavelengths.
            loop_grid (bool): Without effect; rebinning is one sparse
                product, which needs no loop to save memory.
        """
        if isinstance(self.spectra, LazySpectra):
            change = flux_conserving(
                np.asarray(self._lam, np.float64),
                np.asarray(new_lam.value, np.float64),
            )
            self.spectra.rebin(change)
        self.lam = new_lam.astype(self._dtype, copy=False)
        if self.lines_available:
            self._remove_lines_outside_lam()

    @accepts(lam_min=angstrom, lam_max=angstrom)
    def reduce_rest_frame_range(
        self,
        lam_min: unyt_quantity,
        lam_max: unyt_quantity,
        inplace: bool = False,
    ) -> "EmulatedGrid | None":
        """Limit the wavelength range of the grid.

        Args:
            lam_min (unyt_quantity): The lowest wavelength to keep.
            lam_max (unyt_quantity): The highest.
            inplace (bool): Whether to change this grid or a copy.

        Returns:
            EmulatedGrid/None: The reduced copy, unless in place.

        Raises:
            InconsistentArguments: If the limits do not ascend.
        """
        if lam_min >= lam_max:
            raise InconsistentArguments("lam_min must be less than lam_max")
        grid = self if inplace else copy.deepcopy(self)
        first = grid.get_nearest_index(lam_min, grid.lam)
        last = grid.get_nearest_index(lam_max, grid.lam)
        kept = np.arange(first, last + 1)
        if isinstance(grid.spectra, LazySpectra):
            grid.spectra.rebin(selection(kept, grid.nlam))
        grid.lam = grid.lam[kept]
        if grid.lines_available:
            grid._remove_lines_outside_lam()
        return None if inplace else grid

    # What Grid.__init__ reads from the grid file, in its order. The axes,
    # the metadata and the ionising luminosities it reads by itself: the
    # weights file holds them just as a grid file does.

    def _parse_grid_path(
        self, grid_dir: str | Path | None, grid_name: str
    ) -> None:
        """Set the names; the file to read from is that of the weights."""
        self.grid_dir = str(get_grids_dir() if grid_dir is None else grid_dir)
        self.grid_name = grid_name
        self.grid_ext = "hdf5"
        self.grid_filename = str(self._weights.path)

    def _get_spectra_grid(self, spectra_to_read: list[str] | None) -> None:
        """Offer the spectra, without evaluating any."""
        names = _choose_spectra(
            self._weights.available_spectra, spectra_to_read
        )
        header = self._weights.header
        lam = unyt_array(header.lam, header.lam_units).to(angstrom)
        self.lam = lam.astype(self._dtype, copy=False)
        self.spectra = LazySpectra(
            self._node_arrays(), names, identity(len(lam)), self._dtype
        )

    def _get_lines_grid(self) -> None:
        """Offer the lines, without evaluating any."""
        lines = self._weights.header.lines
        if lines is None:
            super()._get_lines_grid()  # raises Synthesizer's error
            return
        self.available_lines = np.array(lines.ids)
        lams = unyt_array(lines.lams, lines.lam_units).to(angstrom)
        self.line_lams = lams.astype(self._dtype, copy=False)
        arrays = self._node_arrays()
        lum_unit = Unit(str(Units().luminosity))
        cont_unit = Unit(lines.units["nebular_continuum"])
        factor = unyt_quantity(1.0, lines.units["luminosity"]).to_value(
            lum_unit
        )
        nodes = tuple(len(values) for values in arrays.axes_values)
        shape = (*nodes, len(lines.ids))
        none = partial(_zeros, shape)
        stored = partial(_line_values, arrays)
        lum = partial(stored, "luminosity", factor)
        continuum = partial(stored, "nebular_continuum", 1.0)
        # What belongs to which emission is as in a native Grid: only the
        # gas has lines, and each has the continuum below them.
        lums = {
            "nebular": lum,
            "linecont": lum,
            "nebular_continuum": none,
            "transmitted": none,
        }
        conts = {
            "nebular": continuum,
            "linecont": none,
            "nebular_continuum": continuum,
            "transmitted": partial(stored, "transmitted", 1.0),
        }
        if isinstance(self.spectra, LazySpectra):
            self._warn_of_lines_outside()
            at_lines = linear_interpolation(
                np.asarray(self._lam, np.float64), lams.value
            ).after(self.spectra.view)
            for name in self.available_spectra_emissions:
                lums.setdefault(name, none)
                conts.setdefault(
                    name, partial(arrays.spectrum, name, at_lines)
                )
        self.line_lums = LazyLineValues(lums, self._dtype, lum_unit)
        self.line_conts = LazyLineValues(conts, self._dtype, cont_unit)

    def _convert_grid_to_internal_units(self) -> None:
        """Do nothing to emissions: they are evaluated in these units."""
        factor = self._internal_factor()
        for log10_lum in getattr(
            self, "log10_specific_ionising_lum", {}
        ).values():
            log10_lum += np.log10(factor).astype(self._dtype)

    def _compute_max_grid_values(self) -> None:
        """Let the maxima be found when extraction asks for them."""
        self._max_grid_values = {
            "spectra": Maxima(self.spectra),
            "line_lum": Maxima(self.line_lums),
            "line_cont": Maxima(self.line_conts),
        }

    def _ensure_spectra_data_contiguous(self) -> None:
        """Make what was evaluated contiguous; the rest will be."""
        if self.lam is not None:
            self.lam = as_contiguous(self.lam)
        if isinstance(self.spectra, LazyEmissions):
            self.spectra.transform(as_contiguous)

    def _ensure_line_data_contiguous(self) -> None:
        """Make what was evaluated contiguous; the rest will be."""
        if self.line_lams is not None:
            self.line_lams = as_contiguous(self.line_lams)
        for emissions in (self.line_lums, self.line_conts):
            if isinstance(emissions, LazyEmissions):
                emissions.transform(as_contiguous)

    def _node_arrays(self) -> NodeArrays:
        """Return the emulated arrays at the nodes of this grid's axes."""
        return NodeArrays(
            self._weights,
            tuple(axis.values for axis in self._weights.header.axes),
            self._internal_factor(),
        )

    def _internal_factor(self) -> float:
        """Return what turns the weights' unit into Synthesizer's own.

        Grids per erg/s of bolometric luminosity become grids per Lsun.
        """
        if self._weight_var not in (
            "bolometric_luminosity",
            "bolometric_luminosities",
        ):
            return 1.0
        return unyt_quantity(1.0, Units().luminosity).to_value("erg/s")

    def _lazy_emissions(self) -> list[LazyEmissions]:
        """Return the mappings that evaluate on demand."""
        mappings = self.spectra, self.line_lums, self.line_conts
        return [m for m in mappings if isinstance(m, LazyEmissions)]

    def _warn_of_lines_outside(self) -> None:
        """Warn of lines beyond the wavelengths, as a native Grid does."""
        outside = (self.line_lams < self.lam[0]) | (
            self.line_lams > self.lam[-1]
        )
        if outside.any():
            warn(
                "The following lines are outside the wavelength range of "
                f"the grid: {list(self.available_lines[outside])}"
            )


def example_folder() -> Path:
    """Return the folder of the example grid that ships with the package."""
    return Path(str(files(_DATA)))


def _find_weights(
    name: str, grid_dir: str | Path | None, weights: str | Path | None
) -> Path:
    """Return the path of the weights file of a grid."""
    if weights is not None:
        path = Path(weights)
        if not path.is_file():
            raise GridError(f"No weights file at '{path}'.")
        return path
    folder = Path(get_grids_dir() if grid_dir is None else grid_dir)
    path = folder / f"{name}{SUFFIX}"
    if not path.is_file():
        raise GridError(
            f"No weights for the grid '{name}': there is no '{path}'. Build "
            f"them with `synthesizer-emulator build {folder / name}.hdf5`, "
            "or pass weights=."
        )
    return path


def _choose_spectra(
    available: tuple[str, ...], wanted: list[str] | None
) -> list[str]:
    """Return the spectra to offer, in the order of a native Grid."""
    if wanted is not None and not isinstance(wanted, list):
        raise InconsistentArguments(
            "spectra_to_read must be None or a list of names, got "
            f"{type(wanted).__name__}."
        )
    missing = [name for name in wanted or [] if name not in available]
    if missing:
        raise MissingSpectraType(
            f"The emulator has no spectra {', '.join(missing)}; it has: "
            f"{', '.join(available)}."
        )
    chosen = list(available if wanted is None else wanted)
    # A native Grid derives this one whenever it can.
    if "nebular" in chosen and _CONTINUUM not in chosen:
        chosen.append(_CONTINUUM)
    if _CONTINUUM in chosen:
        chosen.remove(_CONTINUUM)
        chosen.append(_CONTINUUM)
    return chosen


def _line_values(arrays: NodeArrays, name: str, factor: float) -> NDArray:
    """Return a stored quantity of the lines, times a factor."""
    return arrays.lines(name) * factor


def _zeros(shape: tuple[int, ...]) -> NDArray:
    """Return zeros for emissions without lines."""
    return np.zeros(shape)
