"""`EmulatedGrid`: Synthesizer's `Grid`, evaluated by an emulator on demand.

The class that most users need. Units and Synthesizer's conventions are added
here; the emulator behind it is pure JAX.
"""

import copy
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Self

from numpy.typing import ArrayLike, NDArray
from synthesizer.exceptions import GridError, InconsistentArguments
from synthesizer.grid import Grid
from synthesizer.synth_warnings import warn
from unyt import unyt_array

from synthesizer_emulator.emulator.emulator import Emulator
from synthesizer_emulator.galaxies.remedies import add_remedies
from synthesizer_emulator.grid.interpolation import InterpolationMethods
from synthesizer_emulator.grid.loading import find_weights
from synthesizer_emulator.grid.refine import with_axes
from synthesizer_emulator.grid.wavelength_axis import WavelengthMethods
from synthesizer_emulator.gridfile.places import (
    example_folder as example_folder,
)
from synthesizer_emulator.gridfile.places import plain_name, weights_path
from synthesizer_emulator.weights.file import read_weights
from synthesizer_emulator.weights.grid_match import check_fits
from synthesizer_emulator.weights.provenance import Provenance
from synthesizer_emulator.weights.weights import Weights

EXAMPLE_NAME = "bc03-example"


class EmulatedGrid(WavelengthMethods, InterpolationMethods):
    """A Synthesizer grid whose emissions are evaluated by an emulator.

    It takes the place of `synthesizer.grid.Grid` in emission models and
    scripts, and needs no grid file. A spectrum is evaluated when it is first
    read, on the wavelengths then in force.

    Attributes:
        original_name (str): The name that the grid was loaded by. Where the
            axes are not those of the weights, `grid_name` differs.

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
    ) -> None:
        """Load the weights of a grid.

        Args:
            grid_name (str): The name of the grid, as for `Grid`; or a path
                to the grid or to its weights.
            grid_dir (str/Path): The folder of the grid; by default the
                working directory, then Synthesizer's grid folder, then the
                weights that ship with the package.
            ignore_spectra (bool): Whether to leave out the spectra.
            spectra_to_read (list of str): The spectra to offer; all by
                default.
            ignore_lines (bool): Whether to leave out the lines.
            new_lam (unyt_array): Wavelengths to rebin to, conserving flux,
                (nlam,).
            lam_lims (tuple): The lower and upper wavelength to keep;
                ignored where `new_lam` is given.
            use_precision (type): np.float32 or np.float64 (the default).
            weights (str/Path): The weights file; by default
                `grid_dir/grid_name.emulator.hdf5`.
            axes (mapping): New nodes for some of the axes, anywhere in the
                training domain, with units or in those of the axis; also
                as `log10ages` and the like.
            refine (mapping): For some of the axes, the number of parts to
                divide each interval into, e.g. `{"metallicities": 4}`.

        Raises:
            GridError: If the weights are missing, damaged, of a newer
                format, or those of another grid than the grid file in the
                same place.
            MissingSpectraType: If the emulator lacks one of
                `spectra_to_read`.
            InconsistentArguments: If an argument is of the wrong kind, or
                new nodes do not ascend within the training domain.
        """
        if len(lam_lims) not in (0, 2):
            raise InconsistentArguments(
                "lam_lims takes two wavelengths, the lower and the upper, "
                f"got {lam_lims}."
            )
        name = plain_name(grid_name)
        if weights is not None:
            path = Path(weights)
            if not path.is_file():
                raise GridError(f"No weights file at '{path}'.")
            self._weights = read_weights(path)
        else:
            path, native = find_weights(grid_name, grid_dir)
            self._weights = read_weights(path)
            check_fits(self._weights, native)
            if grid_dir is None and path == weights_path(Path(name)):
                # A path, or a name in the working directory.
                grid_dir, name = path.parent, Path(name).name
        if Path(name).name != self.provenance.grid_name:
            warn(
                f"These weights were built from '{self.provenance.grid_name}',"
                f" and serve as '{name}'. Synthesizer keeps particle weights "
                "by this name: two grids of one name need the same axes."
            )
        self.original_name = name
        self._collapsed = {}
        header = self._weights.header
        if axes or refine:
            header = with_axes(header, self._weights.domain, axes, refine)
        self._nodes_header = header
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
        # Nothing is read from a file any more. For the user it is the path
        # of the native grid, which need not exist.
        self.grid_filename = f"{self.grid_dir}/{name}.{self.grid_ext}"
        self._reprocessed = header.reprocessed
        self._lines_available = header.lines is not None
        if header.star_fraction is not None:
            self._stellar_frac = header.star_fraction.astype(self._dtype)

    @classmethod
    def example(cls, **kwargs: Any) -> Self:
        """Return the emulated grid that ships with the package.

        BC03 with Cloudy at log10 U = -2, thinned in age and wavelength:
        for trying things out and for tests, not for science.

        Args:
            **kwargs: Any argument of the constructor but the name.

        Returns:
            EmulatedGrid: The grid `bc03-example`.
        """
        return cls(EXAMPLE_NAME, grid_dir=example_folder(), **kwargs)

    def __getattr__(self, name: str) -> Any:
        """Return an axis, as `ages`, `log10ages`, or `_ages` without units.

        Python also calls this after a property has raised an
        AttributeError. The property is then read once more, so that its own
        error reaches the user and not one that denies the property.
        """
        for kind in type(self).__mro__:
            if name in vars(kind):
                return vars(kind)[name].__get__(self, type(self))
        return super().__getattr__(name)

    @property
    def weights(self) -> Weights:
        """The contents of the weights file."""
        return self._weights

    @property
    def provenance(self) -> Provenance:
        """How the weights were built, and their errors."""
        return self._weights.provenance

    @property
    def emulator(self) -> Emulator:
        """The emulator, as pure JAX functions of axis values."""
        return self._weights.emulator

    @property
    def shape(self) -> tuple[int, ...]:
        """The shape of a spectrum, or of the lines where there are none."""
        if not (self.has_spectra or self.has_lines):
            return super().shape
        nodes = tuple(len(self._axes_values[axis]) for axis in self.axes)
        return (*nodes, self.nlam if self.has_spectra else self.nlines)

    @property
    def stellar_fraction(self) -> NDArray:
        """The fraction of the initial mass in living stars, at the nodes.

        Raises:
            GridError: If the grid has none.
        """
        if self._stellar_frac is None:
            raise GridError(
                f"Grid {self.original_name} does not contain a stellar "
                "fraction array with key 'star_fraction'."
            )
        return self._stellar_frac

    @property
    def new_line_format(self) -> bool:
        """Whether there are lines, always in Synthesizer's new format."""
        return self.lines_available

    def convert_precision(
        self, precision: type, inplace: bool = False
    ) -> Self | None:
        """Convert the grid to a floating point precision.

        Args:
            precision (type): np.float32 or np.float64.
            inplace (bool): Whether to change this grid or a copy.

        Returns:
            EmulatedGrid/None: The converted copy, unless in place.
        """
        grid = self if inplace else copy.deepcopy(self)
        mappings = grid.spectra, grid.line_lums, grid.line_conts
        # Synthesizer converts the rest. It would evaluate the emissions,
        # which convert themselves instead.
        grid.spectra, grid.line_lums, grid.line_conts = {}, {}, {}
        Grid.convert_precision(grid, precision, inplace=True)
        grid.spectra, grid.line_lums, grid.line_conts = mappings
        for emissions in grid._lazy_emissions():
            emissions.convert(grid._dtype)
        return None if inplace else grid


add_remedies(EmulatedGrid)
