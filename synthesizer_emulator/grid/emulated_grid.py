"""`EmulatedGrid`: Synthesizer's `Grid`, evaluated from networks on demand.

The one class that most users need, and the only subclass of a Synthesizer
class here. Units and Synthesizer's conventions are added at this border;
behind it is the pure `Emulator`.
"""

import copy
from collections.abc import Callable, Mapping
from functools import partial
from io import BytesIO
from operator import methodcaller
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray
from spectres import spectres
from synthesizer.data.initialise import get_grids_dir
from synthesizer.emissions import LineCollection, Sed
from synthesizer.exceptions import (
    GridError,
    InconsistentArguments,
    InconsistentParameter,
    MissingSpectraType,
)
from synthesizer.grid import Grid
from synthesizer.instruments import FilterCollection
from synthesizer.synth_warnings import warn
from synthesizer.units import Units, accepts
from synthesizer.utils.precision import resolve_out_dtype
from synthesizer.utils.util_funcs import as_contiguous
from unyt import Hz, Lsun, angstrom, erg, s, unyt_array, unyt_quantity

from synthesizer_emulator.emulator.emulator import Emulator
from synthesizer_emulator.galaxies.remedies import tell_remedies
from synthesizer_emulator.grid.lazy import (
    LazyEmissions,
    LazyLineValues,
    LazySpectra,
    Maxima,
)
from synthesizer_emulator.grid.refine import (
    at_points,
    header_axes,
    name_for_axes,
    on_mesh,
    with_axes,
)
from synthesizer_emulator.gridfile.emissions import LINE_UNITS
from synthesizer_emulator.gridfile.header import IONISING, STAR_FRACTION
from synthesizer_emulator.gridfile.places import (
    SUFFIX,
    folders,
    locate,
    plain_name,
    pretrained,
    similar,
)
from synthesizer_emulator.gridfile.places import (
    example_folder as example_folder,
)
from synthesizer_emulator.units import PURE, in_units, parse_unit
from synthesizer_emulator.validation import check_number, nearest
from synthesizer_emulator.wavelengths import (
    flux_conserving,
    identity,
    linear_interpolation,
    selection,
)
from synthesizer_emulator.weights.file import read_weights
from synthesizer_emulator.weights.grid_match import check_fits
from synthesizer_emulator.weights.points import PointArrays
from synthesizer_emulator.weights.provenance import Provenance

EXAMPLE_NAME = "bc03-example"
_CONTINUUM = "nebular_continuum"
_COLLAPSES = ("marginalize", "interpolate", "nearest", "emulator")
_INTERPOLATIONS = ("cic", "ngp", "emulator")


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
        original_name (str): The name it was loaded by. `grid_name` is
            another one where the axes are not those of the weights.

    Examples:
        >>> from synthesizer_emulator import EmulatedGrid
        >>> grid = EmulatedGrid.example()
        >>> grid.shape
        (56, 7, 1719)
        >>> finer = EmulatedGrid.example(refine={"metallicities": 4})
        >>> finer.shape
        (56, 25, 1719)
    """

    # In whatever units Synthesizer keeps wavelengths.
    lam: Any

    # Lazy mappings; empty dictionaries where they are ignored.
    spectra: Any
    line_lums: Any
    line_conts: Any

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
                working directory, then Synthesizer's grid folder, and after
                that the weights that ship with the package.
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
            axes (mapping): New nodes for some of the axes, anywhere in the
                training domain, with units or in those of the axis; also
                as `log10ages` and the like.
            refine (mapping): Into how many parts to divide each interval
                of some of the axes, as `{"metallicities": 4}`.

        Raises:
            GridError: If the weights are missing, damaged or of a newer
                format, or not those of the grid that lies there as well.
            MissingSpectraType: If `spectra_to_read` has an unknown one.
            InconsistentArguments: If an argument is of the wrong kind, or
                new nodes don't ascend within the training domain.
        """
        if len(lam_lims) not in (0, 2):
            raise InconsistentArguments(
                "lam_lims takes two wavelengths, the lower and the upper, "
                f"got {lam_lims}."
            )
        # Grid.__init__ reads through the methods below, which all ask
        # this for what a native grid takes from its file.
        name = plain_name(grid_name)
        if weights is not None:
            # Told which to take: no other file is looked at.
            self._weights = read_weights(_existing(Path(weights)))
        else:
            path, own = _find_weights(grid_name, grid_dir)
            self._weights = read_weights(path)
            check_fits(self._weights, own)
            if grid_dir is None and path == Path(f"{name}{SUFFIX}"):
                # A path, or a name in the working directory.
                grid_dir, name = path.parent, Path(name).name
        if Path(name).name != self.provenance.grid_name:
            warn(
                f"These weights were built from '{self.provenance.grid_name}',"
                f" and serve as '{name}'. Synthesizer keeps particle weights "
                "by this name: two grids of one name need the same axes."
            )
        self.original_name = name
        self._header = self._weights.header
        if axes or refine:
            self._header = with_axes(
                self._header, self._weights.domain, axes, refine
            )
        # The values of axes that collapse() took away, if they had one.
        self._collapsed: dict[str, float | None] = {}
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
        # From here on it is the native grid's file, for who reads in it;
        # nothing here goes to a file any more, which may be gone.
        self.grid_filename = f"{self.grid_dir}/{name}.{self.grid_ext}"
        header = self._header
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

        Raises:
            InconsistentArguments: If there are not at least two
                wavelengths, positive, finite and ascending.
        """
        if isinstance(self.spectra, LazySpectra):
            self.spectra.rebin(
                flux_conserving(_in_angstrom(self.lam), _in_angstrom(new_lam))
            )
        self.lam = as_contiguous(new_lam.astype(self._dtype, copy=False))
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
            InconsistentArguments: If the limits do not ascend, or lie
                beyond the wavelengths of the grid.
        """
        lam = _in_angstrom(self.lam)
        limits = np.array([lam_min.value, lam_max.value], np.float64)
        if not limits[0] < limits[1]:
            raise InconsistentArguments(
                "lam_min must be less than lam_max, got "
                f"{lam_min} and {lam_max}."
            )
        if limits[1] < lam[0] or limits[0] > lam[-1]:
            raise InconsistentArguments(
                f"No wavelength of the grid, {lam[0]:g} to {lam[-1]:g} "
                f"Angstrom, is near {lam_min} to {lam_max}: give lam_min and "
                "lam_max between which there are some."
            )
        first, last = (
            int(np.abs(lam - end).argmin())
            for end in limits.clip(lam[0], lam[-1])
        )
        return self._reduced(np.arange(first, last + 1), inplace)

    def reduce_observed_range(
        self,
        lam_min: unyt_quantity,
        lam_max: unyt_quantity,
        redshift: float,
        inplace: bool = False,
    ) -> "EmulatedGrid | None":
        """Limit the wavelength range of the grid, as it is observed.

        Args:
            lam_min (unyt_quantity): The lowest observed wavelength to keep.
            lam_max (unyt_quantity): The highest.
            redshift (float): The redshift.
            inplace (bool): Whether to change this grid or a copy.

        Returns:
            EmulatedGrid/None: The reduced copy, unless in place.

        Raises:
            InconsistentArguments: If the limits do not ascend, or lie
                beyond the wavelengths of the grid, or the redshift is not
                above -1.
        """
        stretch = _one_plus(redshift)
        return self.reduce_rest_frame_range(
            lam_min / stretch, lam_max / stretch, inplace
        )

    @accepts(lam=angstrom)
    def reduce_observed_lam(
        self, lam: unyt_array, redshift: float, inplace: bool = False
    ) -> "EmulatedGrid | None":
        """Rebin the spectra to observed wavelengths, conserving flux.

        Args:
            lam (unyt_array): The new observed wavelengths.
            redshift (float): The redshift.
            inplace (bool): Whether to change this grid or a copy.

        Returns:
            EmulatedGrid/None: The rebinned copy, unless in place.

        Raises:
            InconsistentArguments: As for `interp_spectra`, or if the
                redshift is not above -1.
        """
        return self.reduce_rest_frame_lam(lam / _one_plus(redshift), inplace)

    def reduce_rest_frame_filters(
        self, filters: FilterCollection, inplace: bool = False
    ) -> "EmulatedGrid | None":
        """Limit the wavelengths to those that filters transmit.

        Args:
            filters (FilterCollection): The filters.
            inplace (bool): Whether to change this grid or a copy.

        Returns:
            EmulatedGrid/None: The reduced copy, unless in place.

        Raises:
            InconsistentArguments: If no filter overlaps with the grid.
        """
        return self.reduce_observed_filters(filters, 0.0, inplace)

    def reduce_observed_filters(
        self,
        filters: FilterCollection,
        redshift: float,
        inplace: bool = False,
    ) -> "EmulatedGrid | None":
        """Limit the wavelengths to those that filters transmit, redshifted.

        Args:
            filters (FilterCollection): The filters.
            redshift (float): The redshift.
            inplace (bool): Whether to change this grid or a copy.

        Returns:
            EmulatedGrid/None: The reduced copy, unless in place.

        Raises:
            InconsistentArguments: If no filter overlaps with the grid, or
                the redshift is not above -1.
        """
        lam = filters.lam / _one_plus(redshift)
        transmissions = spectres(
            _in_angstrom(self.lam),
            _in_angstrom(lam),
            np.stack([f.transmission for f in filters]),
            fill=0.0,
            verbose=False,
        )
        seen = (transmissions > 0.0).any(axis=0)
        if not seen.any():
            raise InconsistentArguments(
                "None of the provided filters overlap the wavelength range "
                f"of the grid: filter_range {lam.min()}, {lam.max()}, "
                f"grid_range {(self.lam[0], self.lam[-1])}"
            )
        return self._reduced(seen.nonzero()[0], inplace)

    @accepts(lam=angstrom)
    def get_spectra_at_lam(self, lam: unyt_quantity) -> dict[str, NDArray]:
        """Return the spectra at a single wavelength, between two by a line.

        Args:
            lam (unyt_quantity): The wavelength.

        Returns:
            dict: For each spectrum its values at the nodes, (n1, ..., nd,
                1) as in Synthesizer. Only what this wavelength needs is
                evaluated.

        Raises:
            InconsistentArguments: If there are several wavelengths, or it
                is not finite.
        """
        points = np.atleast_1d(_in_angstrom(lam))
        if points.size != 1 or not np.isfinite(points).all():
            raise InconsistentArguments(
                "get_spectra_at_lam expects exactly one wavelength, a finite "
                f"one, got {lam}."
            )
        at_lam = linear_interpolation(_in_angstrom(self.lam), points)
        return {
            name: self.spectra.at(name, at_lam)
            for name in self.available_spectra_emissions
        }

    def reduce_axis(
        self,
        axis_low: unyt_quantity,
        axis_high: unyt_quantity,
        axis_name: str,
        inplace: bool = False,
    ) -> "EmulatedGrid | None":
        """Limit an axis to a range.

        Unlike Synthesizer's own, this cuts the stellar fractions and the
        ionising luminosities, too, and gives the grid a name of its own.

        Args:
            axis_low (unyt_quantity): The lower limit.
            axis_high (unyt_quantity): The upper limit.
            axis_name (str): The axis, as `ages` or `log10ages`.
            inplace (bool): Whether to change this grid or a copy.

        Returns:
            EmulatedGrid/None: The reduced copy, unless in place.

        Raises:
            InconsistentArguments: If there is no such axis, or the limits
                do not ascend within it.
        """
        axis = self._where_axis(axis_name)
        nodes = self._nodes_of(axis_name)
        values, axis_low, axis_high = (
            in_units(name, value, _units_on(nodes))
            for name, value in (
                (axis_name, nodes),
                ("axis_low", axis_low),
                ("axis_high", axis_high),
            )
        )
        if axis_low >= axis_high:
            raise InconsistentArguments("axis_low must be less than axis_high")
        if axis_low < np.min(values) or axis_high > np.max(values):
            raise InconsistentArguments(
                f"axis_low ({axis_low}) and axis_high ({axis_high}) must be "
                f"within the range of the axis {axis_name}: "
                f"({np.min(values)}, {np.max(values)})"
            )
        first = self.get_nearest_index(axis_low, values)
        last = self.get_nearest_index(axis_high, values)
        kept = np.arange(first, last + 1)
        grid = self if inplace else copy.deepcopy(self)
        grid._take_nodes(kept, axis)
        name, extract_name = grid.axes[axis], grid._extract_axes[axis]
        for of_axes, key in (
            (grid._axes_values, name),
            (grid._extract_axes_values, extract_name),
        ):
            of_axes[key] = of_axes[key][kept]
        grid._rename()
        return None if inplace else grid

    def collapse(
        self,
        axis: str,
        method: str = "marginalize",
        value: float | unyt_quantity | None = None,
        marginalize_function: Callable[..., NDArray] = np.average,
        pre_interp_function: Callable[[Any], Any] | None = None,
        inplace: bool = False,
    ) -> "EmulatedGrid | None":
        """Take an axis away.

        Unlike Synthesizer's own, this keeps the units of lines, works
        without lines and without spectra and at the last node, takes
        stellar fractions and ionising luminosities along, and gives the
        grid a name of its own.

        Args:
            axis (str): The axis, as `ages` or `log10ages`.
            method (str): `marginalize` over the whole axis; `interpolate`
                linearly to a value; take the `nearest` node; or ask the
                `emulator` at the very value.
            value (float): The value, with units or in those of the axis.
            marginalize_function (function): Of an array and `axis`. It is
                applied to ionising rates, not to their logarithms.
            pre_interp_function (function): Applied to axis values before
                interpolation, as `np.log10`.
            inplace (bool): Whether to change this grid or a copy.

        Returns:
            EmulatedGrid/None: The collapsed copy, unless in place.

        Raises:
            InconsistentParameter: If there is no such axis or method, or
                the value is missing or outside the axis.
        """
        if not self._have_axis(axis):
            raise InconsistentParameter(
                f"Axis {axis} is not a valid axis on the grid, which has: "
                f"{', '.join(self.axes)}.{nearest(axis, self.axes)}"
            )
        if method not in _COLLAPSES:
            raise InconsistentParameter(
                f"Method {method} is not a valid collapse method: use one "
                f"of {', '.join(_COLLAPSES)}.{nearest(method, _COLLAPSES)}"
            )
        index = self._where_axis(axis)
        if method == "marginalize":
            grid = self if inplace else copy.deepcopy(self)
            grid._combine_nodes(
                index, lambda v: marginalize_function(v, axis=index)
            )
            grid._drop_axis(index, None)
            return None if inplace else grid
        nodes = np.asarray(self._nodes_of(axis))
        point = self._value_on(axis, value)
        grid = self if inplace else copy.deepcopy(self)
        if method == "interpolate":
            mean = _between_nodes(nodes, point, index, pre_interp_function)
            grid._combine_nodes(index, mean)
            grid._drop_axis(index, None)
        elif method == "nearest":
            node = int(np.argmin(np.abs(nodes - point)))
            raw = float(grid._axes_values[grid.axes[index]][node])
            grid._take_nodes(node, index)
            grid._drop_axis(index, raw)
        else:
            raw = 10.0**point if axis.startswith("log10") else point
            grid._move_nodes(grid.axes[index], raw)
            grid._drop_axis(index, raw)
        return None if inplace else grid

    def interpolate_grid_at_axes_value(
        self,
        method: str = "cic",
        spectra_type: str | None = None,
        out_dtype: type | None = None,
        **kwargs: ArrayLike,
    ) -> dict[str, Any]:
        """Return spectra, lines and all that is stored between the nodes.

        Args:
            method (str): `cic` interpolates linearly between the nodes and
                `ngp` takes the nearest, as in Synthesizer; `emulator` asks
                the networks at the very points, and interpolates what they
                don't hold (ionising luminosities, star fractions) by
                monotone cubics.
            spectra_type (str): The spectrum, and the emission of the lines.
            out_dtype (type): The precision of the results; Synthesizer's
                default if None.
            **kwargs: The values of every axis, with units or in those of
                the axis; also as `log10ages` and the like. Arrays are
                broadcast against each other.

        Returns:
            dict: `spectra` (Sed) and `lines` (LineCollection) as far as the
                grid has them, and the stored quantities by their paths in
                a grid file, as `log10_specific_ionising_luminosity/HI`.

        Raises:
            InconsistentParameter: If there is no such method or spectrum.
            TypeError: If an axis is missing, unknown or given twice.
            InconsistentArguments: If the emulator is asked outside its
                domain, or after an axis was averaged away.
        """
        if method not in _INTERPOLATIONS:
            raise InconsistentParameter(
                f"Interpolation method must be one of "
                f"{', '.join(_INTERPOLATIONS)}, not {method}."
                + nearest(method, _INTERPOLATIONS)
            )
        if spectra_type is None:
            warn(
                "spectra_type is None: no spectra will be interpolated and "
                "the returned LineCollection will contain zeros. Pass a "
                f"spectra_type from {self.available_spectra} to interpolate "
                "spectra and lines."
            )
        dtype = resolve_out_dtype(out_dtype)
        coords = self._extract_coordinates(kwargs)
        shape = next(iter(coords.values())).shape if coords else ()

        if method == "emulator":
            raw = {
                axis: 10.0**x if self._is_logged(axis) else x
                for axis, x in coords.items()
            }
            arrays = self.point_arrays(raw)

            def emission(emissions: Any, name: Any) -> NDArray:
                return emissions.evaluate(name, arrays).astype(dtype)

            def stored(path: str, values: NDArray) -> NDArray:
                return self._stored_at(path, arrays.points).astype(dtype)
        else:
            flat = {axis: x.ravel() for axis, x in coords.items()}

            def emission(emissions: Any, name: Any) -> NDArray:
                found = self._interpolate_grid_array(
                    emissions[name], flat, method, dtype
                )
                return found.reshape((*shape, found.shape[-1]))

            def stored(path: str, values: NDArray) -> NDArray:
                return self._interpolate_grid_array(
                    values, flat, method, dtype
                ).reshape(shape)

        results: dict[str, Any] = {}
        if spectra_type is not None and self.has_spectra:
            if spectra_type not in self.available_spectra:
                raise InconsistentParameter(
                    f"Provided spectra_type '{spectra_type}' is not in "
                    f"available spectra: {self.available_spectra}."
                    + nearest(spectra_type, self.available_spectra)
                )
            lnu = emission(self.spectra, spectra_type)
            results["spectra"] = Sed(self.lam, lnu * erg / s / Hz)
        if self.has_lines:
            if spectra_type in set(self.line_lums) - {"incident"}:
                lum = emission(self.line_lums, spectra_type)
                cont = emission(self.line_conts, spectra_type)
            else:
                none = np.zeros((*shape, self.nlines), dtype)
                lum, cont = none * Lsun, none * erg / s / Hz
            results["lines"] = LineCollection(
                line_ids=self.available_lines,
                lam=self.line_lams,
                lum=lum,
                cont=cont,
            )
        results |= {
            path: stored(path, values)
            for path, values in self._stored().items()
            if values.ndim == self.naxes
        }
        return results

    def point_arrays(self, values: Mapping[str, ArrayLike]) -> PointArrays:
        """Return the emissions at any points, to be evaluated.

        Args:
            values (mapping): The values of each axis of this grid, in its
                units; arrays are broadcast against each other.

        Returns:
            PointArrays: At the points of the broadcast shape.

        Raises:
            InconsistentArguments: If a point is outside the training
                domain, or an axis was averaged away.
        """
        points = np.stack(
            np.broadcast_arrays(*self._emulator_axes(values)), axis=-1
        )
        return PointArrays(self._weights, points, self._header.internal_factor)

    def _emulator_axes(
        self, values: Mapping[str, ArrayLike]
    ) -> list[NDArray[np.float64]]:
        """Return values of each axis of the emulator, checked.

        Args:
            values (mapping): Those of each axis of this grid; an axis that
                was collapsed has the value it was collapsed to.
        """
        known = {**self._collapsed, **values}
        columns = []
        for limits in self._weights.domain:
            column = known[limits.name]
            if column is None:
                raise InconsistentArguments(
                    f"The axis '{limits.name}' of this grid was averaged or "
                    "interpolated away, so the emulator can't be asked. "
                    "Collapse it with method='nearest' or 'emulator'."
                )
            columns.append(
                limits.require_inside(np.asarray(column, np.float64))
            )
        return columns

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
        # The bytes that were read, as the file may be another by now.
        contents: Any = BytesIO(self._weights.contents)
        self.grid_filename = contents

    def _get_axes(self) -> None:
        """Set the axes, which may be other ones than in the file."""
        super()._get_axes()
        if self._header is self._weights.header:
            return
        for axis, extract_name in zip(
            self._header.axes, self._extract_axes, strict=True
        ):
            values = axis.values.astype(self._dtype)
            self._axes_values[axis.name] = values
            self._extract_axes_values[extract_name] = (
                np.log10(values) if self._is_logged(axis.name) else values
            )
        self._rename()

    def _get_ionising_luminosity(self) -> None:
        """Set the ionising luminosities on the axes of this grid."""
        ions = self._header.log10_specific_ionising_luminosity
        if ions:
            self.log10_specific_ionising_lum = {
                ion: values.astype(self._dtype) for ion, values in ions.items()
            }

    def _get_spectra_grid(self, spectra_to_read: list[str] | None) -> None:
        """Offer the spectra, without evaluating any."""
        names = _choose_spectra(
            self._weights.available_spectra, spectra_to_read
        )
        header = self._weights.header
        lam = unyt_array(header.lam, parse_unit(header.lam_units)).to(angstrom)
        self.lam = lam.astype(self._dtype, copy=False)
        self.spectra = LazySpectra(
            self._node_arrays(), names, identity(len(lam)), self._dtype
        )

    def _get_lines_grid(self) -> None:
        """Offer the lines, without evaluating any."""
        lines = self._weights.header.lines
        if lines is None:
            # They were not asked for when the weights were built.
            return
        missing = [name for name in LINE_UNITS if name not in lines.units]
        if missing:
            raise GridError(
                f"The weights '{self._weights.path}' have no lines' "
                f"{', '.join(missing)}, without which Synthesizer has no "
                "lines at all: build them from a grid that has, or pass "
                "ignore_lines=True."
            )
        self.available_lines = np.array(lines.ids)
        lams = unyt_array(lines.lams, parse_unit(lines.lam_units)).to(angstrom)
        self.line_lams = lams.astype(self._dtype, copy=False)
        arrays = self._node_arrays()
        lum_unit = parse_unit(str(Units().luminosity))
        cont_unit = parse_unit(lines.units["nebular_continuum"])
        stored_unit = parse_unit(lines.units["luminosity"])
        factor = unyt_quantity(1.0, stored_unit).to_value(lum_unit)
        none = methodcaller("zeros", len(lines.ids))
        lum = methodcaller("lines", "luminosity", factor)
        continuum = methodcaller("lines", "nebular_continuum")
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
            "transmitted": methodcaller("lines", "transmitted"),
        }
        if isinstance(self.spectra, LazySpectra):
            self._warn_of_lines_outside()
            at_lines = linear_interpolation(
                _in_angstrom(self.lam), _in_angstrom(lams)
            ).after(self.spectra.view)
            for name in self.available_spectra_emissions:
                lums.setdefault(name, none)
                conts.setdefault(
                    name, methodcaller("spectrum", name, at_lines)
                )
        every = identity(len(lines.ids))
        self.line_lums = LazyLineValues(
            arrays, lums, every, self._dtype, lum_unit
        )
        self.line_conts = LazyLineValues(
            arrays, conts, every, self._dtype, cont_unit
        )

    def _convert_grid_to_internal_units(self) -> None:
        """Do nothing to emissions: they are evaluated in these units."""
        factor = self._header.internal_factor
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

    def _remove_lines_outside_lam(self) -> None:
        """Remove the lines beyond the wavelengths, evaluated or not."""
        if self.line_lams is None:
            return
        outside = self._lines_outside()
        if outside.any():
            warn(
                f"{outside.sum()} lines are outside the wavelength range of "
                "the grid and will be removed."
            )
        kept = np.flatnonzero(~outside)
        change = selection(kept, self.nlines)
        self.available_lines = self.available_lines[kept]
        self.line_lams = self.line_lams[kept]
        for emissions in (self.line_lums, self.line_conts):
            if isinstance(emissions, LazyLineValues):
                emissions.rebin(change)

    def _where_axis(self, axis_name: str) -> int:
        """Return the number of an axis, named as `ages` or `log10ages`."""
        plain = axis_name.removeprefix("log10")
        return super()._where_axis(plain if plain in self.axes else axis_name)

    def _nodes_of(self, axis_name: str) -> unyt_array | NDArray:
        """Return the nodes of an axis, in the logarithm if so named."""
        name = self.axes[self._where_axis(axis_name)]
        logged = axis_name.startswith("log10")
        return getattr(self, f"log10{name}" if logged else name)

    def _value_on(
        self, axis: str, value: float | unyt_quantity | None
    ) -> float:
        """Return a value on an axis as its nodes are, if it is inside."""
        nodes = self._nodes_of(axis)
        if value is None:
            raise InconsistentParameter(
                "Must provide kwarg `value` unless `method` is `marginalize`."
            )
        value = in_units(f"value on '{axis}'", value, _units_on(nodes))
        number, low, high = float(value), float(nodes[0]), float(nodes[-1])
        if not low <= number <= high:
            raise InconsistentParameter(
                f"Value {number:g} is outside the bounds of the axis {axis}: "
                f"{low:g} to {high:g}."
            )
        return number

    def _is_logged(self, axis: str) -> bool:
        """Return whether extraction takes the logarithm of an axis."""
        return f"log10{axis}" in self._extract_axes

    def _extract_coordinates(
        self, values: Mapping[str, ArrayLike]
    ) -> dict[str, NDArray[np.float64]]:
        """Return points on all axes as extraction sees them, broadcast."""
        found: dict[str, NDArray[np.float64]] = {}
        for key, given in values.items():
            if not self._have_axis(key):
                raise TypeError(
                    f"Invalid grid axis name: '{key}'; the grid has: "
                    f"{', '.join(self.axes)}.{nearest(key, self.axes)}"
                )
            axis = self.axes[self._where_axis(key)]
            if axis in found:
                raise TypeError(f"Multiple values provided for axis '{axis}'.")
            is_log = key.startswith("log10")
            given = in_units(f"'{key}'", given, _units_on(self._nodes_of(key)))
            x = np.asarray(given, np.float64)
            if self._is_logged(axis):
                found[axis] = x if is_log else np.log10(x)
            else:
                found[axis] = 10.0**x if is_log else x
        missing = [axis for axis in self.axes if axis not in found]
        if missing:
            raise TypeError(
                f"Missing required coordinate for axis '{missing[0]}'."
            )
        every = np.broadcast_arrays(*(found[axis] for axis in self.axes))
        return dict(zip(self.axes, every, strict=True))

    def _stored(self) -> dict[str, NDArray]:
        """Return what is stored at the nodes, by its path in a grid file."""
        ions = getattr(self, "log10_specific_ionising_lum", {})
        stored = {f"{IONISING}/{ion}": v for ion, v in ions.items()}
        if self._stellar_frac is not None:
            stored[STAR_FRACTION] = self._stellar_frac
        return stored

    def _set_stored(self, stored: Mapping[str, NDArray]) -> None:
        """Replace what is stored at the nodes."""
        for path, values in stored.items():
            if path == STAR_FRACTION:
                self._stellar_frac = as_contiguous(values)
            else:
                ion = path.removeprefix(f"{IONISING}/")
                self.log10_specific_ionising_lum[ion] = as_contiguous(values)

    def _stored_at(self, path: str, points: NDArray) -> NDArray:
        """Interpolate what is stored to points (..., d) of all axes."""
        header = self._weights.header
        flat = points.reshape(-1, points.shape[-1])
        found = at_points(
            header.stored[path], header, self._weights.domain, flat
        )
        return found.reshape(points.shape[:-1]).astype(self._dtype)

    def _take_nodes(self, indices: NDArray | int, axis: int) -> None:
        """Keep some nodes along an axis; one integer alone drops it."""
        for emissions in self._lazy_emissions():
            emissions.take(indices, axis)
        self._set_stored(
            {
                path: values.take(indices, axis)
                for path, values in self._stored().items()
                if values.ndim > axis
            }
        )

    def _combine_nodes(
        self, axis: int, function: Callable[[NDArray], NDArray]
    ) -> None:
        """Apply a function that drops an axis to all arrays."""
        for emissions in self._lazy_emissions():
            emissions.evaluate_all()
            emissions.transform(partial(_keeping_units, function))
        stored = {}
        for path, values in self._stored().items():
            if path == STAR_FRACTION and values.ndim > axis:
                stored[path] = function(values)
            elif path != STAR_FRACTION:
                rates = function(10.0 ** values.astype(np.float64))
                with np.errstate(divide="ignore"):
                    stored[path] = np.log10(rates).astype(self._dtype)
        self._set_stored(stored)

    def _move_nodes(self, name: str, value: float) -> None:
        """Evaluate everything at one value of an axis, which it drops."""
        columns = self._emulator_axes({**self._axes_values, name: value})
        arrays = PointArrays.at_nodes(
            self._weights, columns, self._header.internal_factor
        )
        for emissions in self._lazy_emissions():
            emissions.move(arrays)
        axis = self.axes.index(name)
        header, domain = self._weights.header, self._weights.domain
        scaled = [
            np.atleast_1d(d.scaled(column, np))
            for d, column in zip(domain, columns, strict=True)
        ]
        self._set_stored(
            {
                path: on_mesh(header.stored[path], header, domain, scaled)
                .reshape(arrays.nodes[: values.ndim - 1])
                .astype(self._dtype)
                for path, values in self._stored().items()
                if values.ndim > axis
            }
        )

    def _drop_axis(self, axis: int, value: float | None) -> None:
        """Forget an axis that the arrays don't have any more."""
        name = self.axes.pop(axis)
        self._axes_values.pop(name)
        self._axes_units.pop(name)
        self._extract_axes_values.pop(self._extract_axes.pop(axis))
        self.naxes -= 1
        self._collapsed[name] = value
        self._rename()

    def _rename(self) -> None:
        """Take a name of its own where the axes are not the weights'."""
        own = header_axes(self._weights.header)
        same = set(own) == set(self.axes) and all(
            np.array_equal(own[a].values.astype(self._dtype), values)
            for a, values in self._axes_values.items()
        )
        self.grid_name = (
            self.original_name
            if same
            else name_for_axes(self.original_name, self._axes_values)
        )

    def _reduced(
        self, kept: NDArray[np.intp], inplace: bool
    ) -> "EmulatedGrid | None":
        """Keep some of the wavelengths, and the lines between them."""
        grid = self if inplace else copy.deepcopy(self)
        if isinstance(grid.spectra, LazySpectra):
            grid.spectra.rebin(selection(kept, grid.nlam))
        grid.lam = grid.lam[kept]
        if grid.lines_available:
            grid._remove_lines_outside_lam()
        return None if inplace else grid

    def _node_arrays(self) -> PointArrays:
        """Return the emulated arrays at the nodes of this grid's axes."""
        return PointArrays.at_nodes(
            self._weights,
            [axis.values for axis in self._header.axes],
            self._header.internal_factor,
        )

    def _lazy_emissions(self) -> list[LazyEmissions]:
        """Return the mappings that evaluate on demand."""
        mappings = self.spectra, self.line_lums, self.line_conts
        return [m for m in mappings if isinstance(m, LazyEmissions)]

    def _lines_outside(self) -> NDArray[np.bool_]:
        """Return which lines are beyond the wavelengths."""
        return np.asarray(
            (self.line_lams < self.lam[0]) | (self.line_lams > self.lam[-1])
        )

    def _warn_of_lines_outside(self) -> None:
        """Warn of lines beyond the wavelengths, as a native Grid does."""
        outside = self._lines_outside()
        if outside.any():
            warn(
                "The following lines are outside the wavelength range of "
                f"the grid: {list(self.available_lines[outside])}"
            )


def _existing(path: Path) -> Path:
    """Return the path of a weights file, refusing one that is not there."""
    if not path.is_file():
        raise GridError(f"No weights file at '{path}'.")
    return path


def _find_weights(
    grid: str, grid_dir: str | Path | None
) -> tuple[Path, Path | None]:
    """Return the weights file of a grid, and the grid's own file if any."""
    weights, own = locate(grid, grid_dir)
    if weights is None:
        looked = ", ".join(
            f"'{folder / plain_name(grid)}{SUFFIX}'"
            for folder in folders(grid_dir)
        )
        source = own or f"{plain_name(grid)}.hdf5"
        raise GridError(
            f"No weights for the grid '{plain_name(grid)}': looked for "
            f"{looked}.{similar(grid, grid_dir, SUFFIX)} Build them with "
            f"`synthesizer-emulator build {source}`, or pass weights=. "
            f"Without grid_dir there are also: {', '.join(pretrained())}."
        )
    return weights, own


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
            f"{', '.join(available)}.{nearest(missing[0], available)}"
        )
    chosen = list(available if wanted is None else wanted)
    # A native Grid derives this one whenever it can.
    if "nebular" in chosen and _CONTINUUM not in chosen:
        chosen.append(_CONTINUUM)
    if _CONTINUUM in chosen:
        chosen.remove(_CONTINUUM)
        chosen.append(_CONTINUUM)
    return chosen


def _between_nodes(
    nodes: NDArray,
    point: float,
    axis: int,
    scale: Callable[[Any], Any] | None,
) -> Callable[[NDArray], NDArray]:
    """Return what interpolates arrays linearly to a point of an axis."""
    last = len(nodes) - 1
    # The only node of an axis is above and below.
    above = int(np.clip(np.searchsorted(nodes, point, "right"), 0, last))
    below = max(above - 1, 0)
    scale = scale or (lambda x: x)
    low, high = scale(nodes[below]), scale(nodes[above])
    part = float((scale(point) - low) / (high - low)) if above else 0.0

    def between(values: NDArray) -> NDArray:
        ends = values.take(below, axis), values.take(above, axis)
        return (1.0 - part) * ends[0] + part * ends[1]

    return between


def _units_on(nodes: unyt_array | NDArray) -> str:
    """Return the units of the nodes of an axis."""
    return str(getattr(nodes, "units", PURE))


def _in_angstrom(lam: unyt_array) -> NDArray[np.float64]:
    """Return wavelengths in Angstrom, which the default units need not be."""
    return np.asarray(lam.to_value(angstrom), np.float64)


def _one_plus(redshift: float) -> float:
    """Return what a redshift stretches wavelengths by."""
    z = float(in_units("redshift", redshift, PURE))
    check_number("redshift", z, -1.0, open_ends=True)
    return 1.0 + z


def _keeping_units(
    function: Callable[[NDArray], NDArray], values: NDArray
) -> NDArray:
    """Apply a function to the bare values, and give units back."""
    found = np.ascontiguousarray(
        function(np.asarray(values)), dtype=values.dtype
    )
    return (
        unyt_array(found, values.units) if hasattr(values, "units") else found
    )


tell_remedies(EmulatedGrid)
