"""`EmulatedGrid`: Synthesizer's `Grid`, with emissions from an emulator.

This class adds units and Synthesizer's conventions to the emulator, which is
pure JAX.
"""

import copy
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any, Self

import numpy as np
from numpy.typing import ArrayLike, NDArray
from synthesizer.exceptions import GridError, InconsistentArguments
from synthesizer.grid import Grid
from synthesizer.synth_warnings import warn
from unyt import unyt_array

from synthesizer_emulator.descriptions import (
    Described,
    Description,
    describe_bytes,
    describe_errors,
    describe_names,
    describe_range,
    describe_wavelengths,
)
from synthesizer_emulator.emulator.emulator import Emulator
from synthesizer_emulator.galaxies.remedies import add_remedies
from synthesizer_emulator.grid.loading import find_weights, in_angstrom
from synthesizer_emulator.grid.plots import PlotMethods
from synthesizer_emulator.grid.refine import with_axes
from synthesizer_emulator.grid.wavelength_axis import WavelengthMethods
from synthesizer_emulator.gridfile.places import (
    current_name,
    plain_name,
    weights_paths,
)
from synthesizer_emulator.gridfile.places import (
    example_folder as example_folder,
)
from synthesizer_emulator.wavelengths import gaps
from synthesizer_emulator.weights.file import read_weights
from synthesizer_emulator.weights.grid_match import check_fits
from synthesizer_emulator.weights.provenance import Provenance
from synthesizer_emulator.weights.weights import Weights

EXAMPLE_NAME = "bc03-example"


class EmulatedGrid(Described, WavelengthMethods, PlotMethods):
    """A Synthesizer grid whose emissions are evaluated by an emulator.

    It replaces `synthesizer.grid.Grid` in emission models and scripts, and
    needs no grid file. Each spectrum is evaluated on first access, at the
    wavelengths that the grid has then.

    Attributes:
        original_name (str): The name under which the grid was loaded;
            `grid_name` differs if the axes are not those of the weights.

    Examples:
        >>> from synthesizer_emulator import EmulatedGrid
        >>> grid = EmulatedGrid.example()
        >>> grid.shape
        (56, 7, 1719)
        >>> finer = EmulatedGrid.example(refine={"metallicities": 4})
        >>> finer.shape
        (56, 25, 1719)
    """

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
        axes: Mapping[str, ArrayLike] | None = None,
        refine: Mapping[str, int] | None = None,
        fetch: bool = False,
    ) -> None:
        """Load an emulated grid from its weights.

        Args:
            grid_name (str): The name of the grid, as for `Grid`; or a path
                to the grid or to its weights.
            grid_dir (str/Path): The folder of the grid; by default the
                working directory, then Synthesizer's grid folder, then the
                weights that ship with the package.
            ignore_spectra (bool): Whether to load no spectra.
            spectra_to_read (list of str): The spectra to load; all by
                default.
            ignore_lines (bool): Whether to load no lines.
            new_lam (unyt_array): Wavelengths to rebin to, conserving flux,
                (nlam,).
            lam_lims (tuple): The lowest and highest wavelengths to keep;
                ignored if `new_lam` is given.
            use_precision (type): np.float32 or np.float64 (the default).
            weights (str/Path): The weights file; by default
                `grid_dir/grid_name.emulator`.
            axes (mapping): New nodes within the training domain, by the
                name of their axis (or `log10ages` and the like), with units
                or in those of the axis.
            refine (mapping): The number of parts into which to divide each
                interval of an axis, e.g. `{"metallicities": 4}`.
            fetch (bool): Whether to download published weights, if there are
                none of this name; see `synthesizer_emulator.distribution`.

        Raises:
            GridError: If the weights are missing, damaged or in a newer
                format, or do not match the grid file in the same folder.
            OSError: If weights can't be fetched.
            MissingSpectraType: If the emulator lacks one of
                `spectra_to_read`.
            InconsistentArguments: If an argument has the wrong type, or new
                nodes are not ascending and within the training domain.
        """
        if len(lam_lims) not in (0, 2):
            raise InconsistentArguments(
                "lam_lims must be two wavelengths, the lowest and the "
                f"highest, got {lam_lims}."
            )
        name = plain_name(grid_name)
        if weights is not None:
            path = Path(weights)
            if not path.is_file():
                raise GridError(f"No weights file at '{path}'.")
            self._weights = read_weights(path)
        else:
            path, native = find_weights(grid_name, grid_dir, fetch)
            self._weights = read_weights(path)
            check_fits(self._weights, native)
            if grid_dir is None and path in weights_paths(Path(name)):
                # `grid_name` is a path, or a name in the working directory.
                grid_dir, name = path.parent, Path(name).name
        # Weights that were found by their name have one of their own.
        if weights is not None and (
            current_name(Path(name).name) != self.weights.grid_name
        ):
            warn(
                f"The weights of the grid '{name}' were built from "
                f"'{self.weights.grid_name}'. Synthesizer caches particle "
                "weights by the name of the grid: grids with the same name "
                "must have the same axes."
            )
        self.original_name = name
        self._collapsed = {}
        header = self._weights.header
        if axes or refine:
            header = with_axes(header, self._weights.domain, axes, refine)
        self._nodes_header = header
        further = header.further.datasets
        self._further = {
            path: values
            for path, values in header.stored.items()
            if path in further
        }
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
        del self._nodes_header
        self._further = {
            path: values.astype(self._dtype)
            for path, values in self._further.items()
        }
        # No file is read after this: users expect the path of the native
        # grid, which need not exist.
        self.grid_filename = f"{self.grid_dir}/{name}.{self.grid_ext}"
        self._reprocessed = header.reprocessed
        self._lines_available = header.lines is not None
        if header.star_fraction is not None:
            self._stellar_frac = header.star_fraction.astype(self._dtype)

    @classmethod
    def example(cls, **kwargs: Any) -> Self:
        """Load the example grid that ships with the package.

        BC03 with Cloudy at log10 U = -2, thinned in age and wavelength:
        for tutorials and tests, not for science.

        Args:
            **kwargs: Any argument of the constructor except `grid_name` and
                `grid_dir`.

        Returns:
            EmulatedGrid: The grid `bc03-example`.
        """
        return cls(EXAMPLE_NAME, grid_dir=example_folder(), **kwargs)

    def explore(self) -> Any:
        """Return a page with sliders that draws the spectra, in Jupyter.

        It shows the emulator, on all of its axes and at its own wavelengths.
        `synthesizer-emulator explore` serves the same page to a browser.

        Returns:
            Explorer: The page, which Jupyter shows at the end of a cell.

        Raises:
            UnmetDependency: If Panel, of the extra `explore`, is missing.
        """
        # The one import upwards, for the convenience of users.
        from synthesizer_emulator.explore.serve import explore_grid

        return explore_grid(self)

    def __getattr__(self, name: str) -> Any:
        """Return an axis: `ages`, `log10ages`, or `_ages` without units.

        Python also calls this after a property has raised an
        AttributeError. The property is then evaluated again, so that the
        user gets its error and not that of a missing attribute.
        """
        for kind in type(self).__mro__:
            if name in vars(kind):
                return vars(kind)[name].__get__(self, type(self))
        return super().__getattr__(name)

    def __dir__(self) -> Iterable[str]:
        """Return all attributes with the axes, for the tab key."""
        axes = self.__dict__.get("axes", ())
        return [*super().__dir__(), *axes, *(f"log10{a}" for a in axes)]

    # Synthesizer's table is 275 columns wide.
    __str__ = Described.__repr__

    def _description(self) -> Description:
        """Return the axes, the emissions, the errors and their source."""
        lam = in_angstrom(self.lam) if self.has_spectra else np.zeros(2)
        provenance = self.provenance
        return Description(
            f"EmulatedGrid {self.grid_name}",
            {
                **{
                    axis: f"{len(values)} nodes, "
                    + describe_range(
                        values[0], values[-1], str(self._axes_units[axis])
                    )
                    for axis, values in self._axes_values.items()
                },
                **{
                    axis: "averaged" if value is None else f"{value:.4g}"
                    for axis, value in self._collapsed.items()
                },
                "wavelengths": describe_wavelengths(
                    self.nlam if self.has_spectra else 0,
                    lam[0],
                    lam[-1],
                    gaps(lam, self.weights.header.windows)
                    if self.has_spectra
                    else (),
                ),
                "spectra": describe_names(list(self.spectra)),
                "lines": self._describe_lines(),
                "errors": describe_errors(provenance.errors),
                "weights": f"{provenance.architecture}, "
                f"{describe_bytes(len(self.weights.contents))}, trained on "
                f"{provenance.trained_on or self.weights.grid_name}",
            },
        )

    def _describe_lines(self) -> str:
        """Return the number of lines, and of those without a continuum."""
        if not self.has_lines:
            return ""
        outside = self._lines_outside().sum() if self.has_spectra else 0
        less = f", {outside} of them outside the wavelengths" * bool(outside)
        return f"{self.nlines}{less}"

    def __deepcopy__(self, memo: dict) -> Self:
        """Copy all arrays, but not their units, as in `LazyEmissions`."""
        new = type(self).__new__(type(self))
        memo[id(self)] = new
        for name, value in vars(self).items():
            new.__dict__[name] = (
                value.copy()
                if isinstance(value, unyt_array)
                else copy.deepcopy(value, memo)
            )
        return new

    @property
    def weights(self) -> Weights:
        """The contents of the weights file."""
        return self._weights

    @property
    def provenance(self) -> Provenance:
        """The record of how the weights were built, and of their errors."""
        return self._weights.provenance

    @property
    def emulator(self) -> Emulator:
        """The emulator, as pure JAX functions of axis values."""
        return self._weights.emulator

    @property
    def shape(self) -> tuple[int, ...]:
        """The shape of the spectra, or of the lines without spectra."""
        if not (self.has_spectra or self.has_lines):
            return super().shape
        nodes = tuple(len(self._axes_values[axis]) for axis in self.axes)
        return (*nodes, self.nlam if self.has_spectra else self.nlines)

    @property
    def stellar_fraction(self) -> NDArray:
        """The fraction of the initial mass in living stars, at the nodes.

        Raises:
            GridError: If the grid has no stellar fractions.
        """
        if self._stellar_frac is None:
            raise GridError(
                f"Grid {self.original_name} does not contain a stellar "
                "fraction array with key 'star_fraction'."
            )
        return self._stellar_frac

    @property
    def new_line_format(self) -> bool:
        """Whether the grid has lines, always in Synthesizer's new format."""
        return self.lines_available

    def convert_precision(
        self, precision: type, inplace: bool = False
    ) -> Self | None:
        """Convert the grid to single or double precision.

        Args:
            precision (type): np.float32 or np.float64.
            inplace (bool): Whether to change this grid.

        Returns:
            EmulatedGrid/None: The converted copy, unless in place.
        """
        grid = self if inplace else copy.deepcopy(self)
        mappings = grid.spectra, grid.line_lums, grid.line_conts
        # Synthesizer's method would evaluate all emissions, so it converts
        # only the other arrays.
        grid.spectra, grid.line_lums, grid.line_conts = {}, {}, {}
        Grid.convert_precision(grid, precision, inplace=True)
        grid._further = {
            path: values.astype(grid._dtype)
            for path, values in grid._further.items()
        }
        grid.spectra, grid.line_lums, grid.line_conts = mappings
        for emissions in grid._lazy_emissions():
            emissions.convert(grid._dtype)
        return None if inplace else grid


add_remedies(EmulatedGrid)
