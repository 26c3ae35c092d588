"""Interpolation of an emulated grid between its nodes."""

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray
from synthesizer.emissions import LineCollection, Sed
from synthesizer.exceptions import InconsistentParameter
from synthesizer.synth_warnings import warn
from synthesizer.utils.precision import resolve_out_dtype
from unyt import Hz, Lsun, erg, s

from synthesizer_emulator.grid.grid_axes import AxisMethods, units_on
from synthesizer_emulator.grid.refine import at_points
from synthesizer_emulator.gridfile.nodes import with_all_axes
from synthesizer_emulator.units import in_units
from synthesizer_emulator.validation import nearest
from synthesizer_emulator.weights.points import PointArrays

_METHODS = ("cic", "ngp", "emulator")


class InterpolationMethods(AxisMethods):
    """The methods that evaluate emissions at any axis values."""

    def interpolate_grid_at_axes_value(
        self,
        method: str = "cic",
        spectra_type: str | None = None,
        out_dtype: type | None = None,
        **kwargs: ArrayLike,
    ) -> dict[str, Any]:
        """Interpolate spectra, lines and stored quantities between nodes.

        Args:
            method (str): As in Synthesizer, `cic` interpolates linearly
                between the nodes and `ngp` takes the nearest. `emulator`
                evaluates the emulator at the points, and interpolates
                ionising luminosities and stellar fractions by monotone
                cubics.
            spectra_type (str): The spectrum to interpolate, with its lines;
                if None, spectra are left out and lines are zero.
            out_dtype (type): The precision of the results; Synthesizer's
                default if None.
            **kwargs: The values of all axes by name (or `log10ages` and the
                like), with units or in those of the axis. Arrays are
                broadcast against each other, to (...,).

        Returns:
            dict: `spectra`, a Sed (..., nlam), and `lines`, a
                LineCollection (..., nlines), if the grid has them; and the
                stored quantities (...,) by their paths in a grid file, e.g.
                `log10_specific_ionising_luminosity/HI`.

        Raises:
            InconsistentParameter: If the method or spectrum is unknown.
            TypeError: If an axis is missing, unknown or given twice.
            InconsistentArguments: With `emulator`, if a point is outside the
                training domain or an axis was averaged away.
        """
        if method not in _METHODS:
            raise InconsistentParameter(
                f"method must be one of {', '.join(_METHODS)}, got "
                f"'{method}'." + nearest(method, _METHODS)
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
            arrays = self.point_arrays(
                {
                    axis: 10.0**x if self._is_logged(axis) else x
                    for axis, x in coords.items()
                }
            )

            def emission(emissions: Any, name: Any) -> NDArray:
                return emissions.evaluate(name, arrays).astype(dtype)

            def stored(path: str, values: NDArray) -> NDArray:
                return self._stored_at(path, arrays.points).astype(dtype)
        else:
            flat = {axis: x.ravel() for axis, x in coords.items()}

            def emission(emissions: Any, name: Any) -> NDArray:
                nodes = tuple(len(self._axes_values[a]) for a in self.axes)
                values = self._interpolate_grid_array(
                    with_all_axes(emissions[name], nodes), flat, method, dtype
                )
                return values.reshape((*shape, values.shape[-1]))

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
                zeros = np.zeros((*shape, self.nlines), dtype)
                lum, cont = zeros * Lsun, zeros * erg / s / Hz
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
        """Return the unevaluated emissions at any points.

        Args:
            values (mapping): The values of each axis of this grid, in its
                units and not logged; arrays are broadcast against each
                other, to (...,).

        Returns:
            PointArrays: The emissions at the points (...,).

        Raises:
            InconsistentArguments: If a point is outside the training
                domain, or an axis was averaged away.
        """
        points = np.stack(
            np.broadcast_arrays(*self._emulator_axes(values)), axis=-1
        )
        factor = self._weights.header.internal_factor
        return PointArrays(self._weights, points, factor)

    def _extract_coordinates(
        self, values: Mapping[str, ArrayLike]
    ) -> dict[str, NDArray[np.float64]]:
        """Return the values of each axis for extraction, broadcast to (...,).

        They are converted to log10 on the axes that Synthesizer interpolates
        in log10, and from log10 on others.
        """
        coordinates: dict[str, NDArray[np.float64]] = {}
        for key, value in values.items():
            if not self._have_axis(key):
                raise TypeError(
                    f"Invalid grid axis name: '{key}'; the grid has: "
                    f"{', '.join(self.axes)}.{nearest(key, self.axes)}"
                )
            axis = self.axes[self._where_axis(key)]
            if axis in coordinates:
                raise TypeError(f"Multiple values provided for axis '{axis}'.")
            value = in_units(f"'{key}'", value, units_on(self._nodes_of(key)))
            x = np.asarray(value, np.float64)
            given_logged = key.startswith("log10")
            if self._is_logged(axis):
                coordinates[axis] = x if given_logged else np.log10(x)
            else:
                coordinates[axis] = 10.0**x if given_logged else x
        missing = [axis for axis in self.axes if axis not in coordinates]
        if missing:
            raise TypeError(
                f"Missing required coordinate for axis '{missing[0]}'."
            )
        arrays = np.broadcast_arrays(*(coordinates[a] for a in self.axes))
        return dict(zip(self.axes, arrays, strict=True))

    def _stored_at(self, path: str, points: NDArray) -> NDArray:
        """Interpolate a stored quantity to points (..., d)."""
        header = self._weights.header
        flat = points.reshape(-1, points.shape[-1])
        values = at_points(
            header.stored[path], header, self._weights.domain, flat
        )
        return values.reshape(points.shape[:-1]).astype(self._dtype)
