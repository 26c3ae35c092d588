"""Methods of an emulated grid that limit or remove an axis."""

import copy
from collections.abc import Callable, Mapping
from functools import partial
from typing import Any, Self

import numpy as np
from numpy.typing import ArrayLike, NDArray
from synthesizer.exceptions import (
    InconsistentArguments,
    InconsistentParameter,
)
from synthesizer.utils.util_funcs import as_contiguous
from unyt import unyt_array, unyt_quantity

from synthesizer_emulator.grid.loading import WeightsGrid
from synthesizer_emulator.grid.refine import on_mesh
from synthesizer_emulator.gridfile.header import IONISING, STAR_FRACTION
from synthesizer_emulator.units import PURE, in_units
from synthesizer_emulator.validation import nearest
from synthesizer_emulator.weights.points import PointArrays

_COLLAPSES = ("marginalize", "interpolate", "nearest", "emulator")


class AxisMethods(WeightsGrid):
    """The methods that limit or remove an axis.

    Unlike Synthesizer's methods, they also change the stellar fractions and
    ionising luminosities, and rename the grid.
    """

    # The values of removed axes; None if averaged over or interpolated.
    _collapsed: dict[str, float | None]

    # The quantities at the nodes that Synthesizer does not load, by path.
    _further: dict[str, NDArray]

    def reduce_axis(
        self,
        axis_low: unyt_quantity,
        axis_high: unyt_quantity,
        axis_name: str,
        inplace: bool = False,
    ) -> Self | None:
        """Limit an axis to a range.

        Args:
            axis_low (unyt_quantity): The lower limit.
            axis_high (unyt_quantity): The upper limit.
            axis_name (str): The axis, e.g. `ages` or `log10ages`.
            inplace (bool): Whether to change this grid.

        Returns:
            EmulatedGrid/None: The reduced copy, unless in place.

        Raises:
            InconsistentArguments: If the axis is unknown, or the limits are
                not ascending and within it.
        """
        axis = self._where_axis(axis_name)
        nodes = self._nodes_of(axis_name)
        values, axis_low, axis_high = (
            in_units(name, value, units_on(nodes))
            for name, value in (
                (axis_name, nodes),
                ("axis_low", axis_low),
                ("axis_high", axis_high),
            )
        )
        if axis_low >= axis_high:
            raise InconsistentArguments(
                "axis_low must be less than axis_high, got "
                f"{axis_low} and {axis_high}."
            )
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
        for tables, name in (
            (grid._axes_values, grid.axes[axis]),
            (grid._extract_axes_values, grid._extract_axes[axis]),
        ):
            tables[name] = tables[name][kept]
        grid._update_name()
        return None if inplace else grid

    def collapse(
        self,
        axis: str,
        method: str = "marginalize",
        value: float | unyt_quantity | None = None,
        marginalize_function: Callable[..., NDArray] = np.average,
        pre_interp_function: Callable[[Any], Any] | None = None,
        inplace: bool = False,
    ) -> Self | None:
        """Remove an axis by averaging, interpolation or selection.

        Unlike Synthesizer's method, this keeps the units of lines, and works
        without lines, without spectra and at the last node.

        Args:
            axis (str): The axis, e.g. `ages` or `log10ages`.
            method (str): `marginalize` over the whole axis, `interpolate`
                linearly to a value, take the `nearest` node, or evaluate
                the `emulator` at a value.
            value (float): The value, with units or in those of the axis.
            marginalize_function (function): Maps an array and `axis=` to
                the array without that axis. It is applied to ionising photon
                rates, not to their logarithms.
            pre_interp_function (function): Applied to axis values before
                the interpolation, e.g. `np.log10`.
            inplace (bool): Whether to change this grid.

        Returns:
            EmulatedGrid/None: The collapsed copy, unless in place.

        Raises:
            InconsistentParameter: If the axis or method is unknown, or the
                value is missing or outside the axis.
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
        marginalize = method == "marginalize"
        point = 0.0 if marginalize else self._value_on(axis, value)
        nodes = np.asarray(self._nodes_of(axis))
        grid = self if inplace else copy.deepcopy(self)
        collapsed_to = None
        if marginalize:
            grid._combine_nodes(
                index, lambda v: marginalize_function(v, axis=index)
            )
        elif method == "interpolate":
            grid._combine_nodes(
                index,
                _linear_interpolation(
                    nodes, point, index, pre_interp_function
                ),
            )
        elif method == "nearest":
            node = int(np.argmin(np.abs(nodes - point)))
            collapsed_to = float(grid._axes_values[grid.axes[index]][node])
            grid._take_nodes(node, index)
        else:
            collapsed_to = 10.0**point if axis.startswith("log10") else point
            grid._evaluate_at(grid.axes[index], collapsed_to)
        grid._drop_axis(index, collapsed_to)
        return None if inplace else grid

    def _where_axis(self, axis_name: str) -> int:
        """Return the index of an axis, given as `ages` or `log10ages`."""
        plain = axis_name.removeprefix("log10")
        return super()._where_axis(plain if plain in self.axes else axis_name)

    def _nodes_of(self, axis_name: str) -> unyt_array | NDArray:
        """Return the nodes of an axis, or their log10 for `log10ages`."""
        name = self.axes[self._where_axis(axis_name)]
        logged = axis_name.startswith("log10")
        return getattr(self, f"log10{name}" if logged else name)

    def _value_on(
        self, axis: str, value: float | unyt_quantity | None
    ) -> float:
        """Return a value in the units of an axis, checked to be within it."""
        nodes = self._nodes_of(axis)
        if value is None:
            raise InconsistentParameter(
                "Must provide kwarg `value` unless `method` is `marginalize`."
            )
        value = in_units(f"value on '{axis}'", value, units_on(nodes))
        number, low, high = float(value), float(nodes[0]), float(nodes[-1])
        if not low <= number <= high:
            raise InconsistentParameter(
                f"Value {number:g} is outside the bounds of the axis {axis}: "
                f"{low:g} to {high:g}."
            )
        return number

    def _emulator_axes(
        self, values: Mapping[str, ArrayLike]
    ) -> list[NDArray[np.float64]]:
        """Return the values of all axes of the emulator, within its domain.

        The values of collapsed axes are added to those of this grid's axes.
        """
        known = {**self._collapsed, **values}
        columns = []
        for limits in self._weights.domain:
            column = known[limits.name]
            if column is None:
                raise InconsistentArguments(
                    f"The axis '{limits.name}' of this grid was averaged or "
                    "interpolated away, so the emulator can't be evaluated. "
                    "Collapse it with method='nearest' or 'emulator'."
                )
            columns.append(
                limits.require_inside(np.asarray(column, np.float64))
            )
        return columns

    def _stored(self) -> dict[str, NDArray]:
        """Return the quantities at the nodes, by path."""
        ions = getattr(self, "log10_specific_ionising_lum", {})
        stored = {f"{IONISING}/{ion}": v for ion, v in ions.items()}
        if self._stellar_frac is not None:
            stored[STAR_FRACTION] = self._stellar_frac
        return stored | self._further

    def _set_stored(self, stored: Mapping[str, NDArray]) -> None:
        """Replace some of the arrays that `_stored` returns, by path."""
        for path, values in stored.items():
            if path == STAR_FRACTION:
                self._stellar_frac = as_contiguous(values)
            elif path in self._further:
                self._further[path] = as_contiguous(values)
            else:
                ion = path.removeprefix(f"{IONISING}/")
                self.log10_specific_ionising_lum[ion] = as_contiguous(values)

    def _take_nodes(self, indices: NDArray | int, axis: int) -> None:
        """Keep some nodes of an axis; a single integer removes the axis."""
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
        """Reduce all arrays along an axis by a function that removes it."""
        for emissions in self._lazy_emissions():
            emissions.evaluate_all()
            emissions.along(axis, partial(_keeping_units, function))
        stored = {}
        for path, values in self._stored().items():
            if not path.startswith(f"{IONISING}/"):
                if values.ndim > axis:
                    stored[path] = function(values)
            else:
                rates = function(10.0 ** values.astype(np.float64))
                with np.errstate(divide="ignore"):
                    stored[path] = np.log10(rates).astype(self._dtype)
        self._set_stored(stored)

    def _evaluate_at(self, name: str, value: float) -> None:
        """Evaluate all arrays again, at one value of an axis."""
        columns = self._emulator_axes({**self._axes_values, name: value})
        header, domain = self._weights.header, self._weights.domain
        arrays = PointArrays.at_nodes(
            self._weights, columns, header.internal_factor
        )
        for emissions in self._lazy_emissions():
            emissions.move(arrays)
        axis = self.axes.index(name)
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

    def _drop_axis(self, axis: int, collapsed_to: float | None) -> None:
        """Remove an axis that the arrays no longer have."""
        name = self.axes.pop(axis)
        self._axes_values.pop(name)
        self._axes_units.pop(name)
        self._extract_axes_values.pop(self._extract_axes.pop(axis))
        self.naxes -= 1
        self._collapsed[name] = collapsed_to
        self._update_name()


def units_on(nodes: unyt_array | NDArray) -> str:
    """Return the units of the nodes of an axis."""
    return str(getattr(nodes, "units", PURE))


def _linear_interpolation(
    nodes: NDArray,
    point: float,
    axis: int,
    scale: Callable[[Any], Any] | None,
) -> Callable[[NDArray], NDArray]:
    """Return a function that interpolates arrays linearly along an axis.

    Before the weights are computed from the nodes (n,) and the point on the
    axis, `scale` is applied to both, if it is not None.
    """
    last = len(nodes) - 1
    # On an axis of one node, that node is on both sides of the point.
    above = int(np.clip(np.searchsorted(nodes, point, "right"), 0, last))
    below = max(above - 1, 0)
    scale = scale or (lambda x: x)
    low, high = scale(nodes[below]), scale(nodes[above])
    fraction = float((scale(point) - low) / (high - low)) if above else 0.0

    def interpolate(values: NDArray) -> NDArray:
        ends = values.take(below, axis), values.take(above, axis)
        return (1.0 - fraction) * ends[0] + fraction * ends[1]

    return interpolate


def _keeping_units(
    function: Callable[[NDArray], NDArray], values: NDArray
) -> NDArray:
    """Apply a function to values without units, then restore the units."""
    result = np.ascontiguousarray(
        function(np.asarray(values)), dtype=values.dtype
    )
    return (
        unyt_array(result, values.units)
        if hasattr(values, "units")
        else result
    )
