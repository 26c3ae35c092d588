"""The matrix products that evaluate the terms of an emission model.

Terms with different factors need different sums of a grid's spectra. If there
are no more sums than spectra, each sum is one product. Otherwise each spectrum
is one product, and the products are summed for each galaxy.

Each product is factored in a linear basis where that is smaller.
"""

from collections.abc import Collection, Iterable, Mapping
from dataclasses import replace
from functools import cached_property
from itertools import product
from typing import Any, TypeAlias

import jax.numpy as jnp
import numpy as np
from numpy.typing import DTypeLike, NDArray
from synthesizer.grid import Grid

from synthesizer_emulator.galaxies.axes import (
    AxisMesh,
    AxisTable,
    mesh_points,
)
from synthesizer_emulator.galaxies.linear_basis import (
    LinearBasis,
    Nodes,
    axis_error,
    find_axis_basis,
    find_basis,
    variation,
)
from synthesizer_emulator.galaxies.node_spectra import (
    Quantity,
    is_logged,
    scaled_nodes,
)
from synthesizer_emulator.galaxies.remedies import check_spectra
from synthesizer_emulator.galaxies.terms import Product
from synthesizer_emulator.galaxies.tree import (
    Coefficient,
    EmissionTree,
    Extraction,
    FactorKey,
    Source,
    TreeTerm,
    array_key,
)
from synthesizer_emulator.galaxies.values import Value

# A weighted sum of spectra: the coefficients by spectrum, () or (nlam,).
Weights: TypeAlias = dict[str, Coefficient]
# The sums that make up an emission, by source and factors.
Sums: TypeAlias = dict[tuple[Source, tuple[FactorKey, ...]], Weights]

# The degrees of the polynomials that interpolate between the nodes of further
# axes, in turn until they are within the tolerance.
_DEGREES = (12, 18)

# The factor by which the tolerance is larger for spectra that vary with
# further axes, and the fraction of it below which a spectrum is constant.
AXIS_FACTOR, _CONSTANT = 20.0, 0.1

# The number of points at which interpolation between these is measured.
_MEASURED_AT = 8

# A basis is used if it has less than this fraction of the spectra's numbers.
_WORTHWHILE = 0.8

# The latest bases, as models are often compiled more than once in a process.
_found: dict[tuple[Any, ...], LinearBasis] = {}
_MOST_FOUND = 16


class Products:
    """The matrix products of an emission model, without duplicates.

    Args:
        tree (EmissionTree): The model.
        sums (Mapping): The sums of each emission, by label.
        tolerance (float): The error that linear bases may cause, mag; zero
            for products of all spectra.
        quantity (str): What is read of the grids: `spectra`; or, if the tree
            is of lines, `line_lums` or `line_conts`.

    Attributes:
        products (list of Product): The products made by calls of `of`.
        error (float): The largest error of a product that varies with
            further axes, mag.
    """

    def __init__(
        self,
        tree: EmissionTree,
        sums: Mapping[str, Sums],
        tolerance: float,
        quantity: Quantity = "spectra",
    ) -> None:
        self.products: list[Product] = []
        self.error = 0.0
        self._tolerance = tolerance
        self._axis_tolerance = AXIS_FACTOR * tolerance
        self._tree = tree
        self._quantity = quantity
        self._index: dict[tuple[Extraction, tuple[Any, ...]], list[int]] = {}
        distinct: dict[Extraction, dict[tuple[Any, ...], Weights]] = {}
        for emission in sums.values():
            for (source, _), weights in emission.items():
                if not isinstance(source, str):
                    unit = _normalised(weights)[1]
                    distinct.setdefault(source, {})[_key(unit)] = unit
        self._is_summed: dict[Extraction, bool] = {}
        for source, kinds in distinct.items():
            spectra = {name for weights in kinds.values() for name in weights}
            grid = tree.grids[source.grid]
            check_spectra(grid, sorted(spectra), quantity)
            self._is_summed[source] = len(kinds) <= len(spectra)

    def of(
        self, source: Source, weights: Weights
    ) -> list[tuple[Coefficient, int | str]]:
        """Return the coefficients and sources of the terms of a sum.

        A source is the index of a product, or the label of a dust emission.
        """
        if isinstance(source, str):
            return [(weights[source], source)]
        if self._is_summed[source]:
            scale, unit = _normalised(weights)
            return [(scale, i) for i in self._products(source, unit)]
        return [
            (coefficient, i)
            for name, coefficient in weights.items()
            for i in self._products(source, {name: np.array(1.0)})
        ]

    def _products(self, source: Extraction, weights: Weights) -> list[int]:
        """Return the indices of the products of a sum, made on first use."""
        key = source, _key(weights)
        if key not in self._index:
            made = self._make(source, weights)
            first = len(self.products)
            self._index[key] = list(range(first, first + len(made)))
            self.products += made
        return self._index[key]

    def _make(self, source: Extraction, weights: Weights) -> list[Product]:
        """Return the products of a sum of spectra.

        Spectra that vary with further axes and others are separate products.
        """
        grid = self._tree.grids[source.grid]
        values = dict(zip(grid.axes[2:], source.axes, strict=True))
        values = {a: value for a, value in values.items() if value.varying}
        if not values:
            total = self._total(source, weights, {})[0]
            return [self._fixed(source, total)]
        between = {a: _between(scaled_nodes(grid, a), values) for a in values}
        fixed = np.zeros((int(np.prod(self._tree.nodes)), len(self._tree.lam)))
        varying, true = {}, np.zeros(())
        for name, coefficient in weights.items():
            spectra = self._total(source, {name: coefficient}, between)
            change = variation(spectra, self._tree.lam, self._nodes)
            if change <= _CONSTANT * self._axis_tolerance:
                fixed += spectra[len(spectra) // 2]
            else:
                varying[name] = coefficient
                true = true + spectra
        products = [self._fixed(source, fixed)] if fixed.any() else []
        if varying:
            nodes = replace(self._nodes, background=self._nodes.sfzhs @ fixed)
            products.append(
                self._varying(source, varying, values, between, true, nodes)
            )
        return products

    def _fixed(
        self, source: Extraction, spectra: NDArray[np.float64]
    ) -> Product:
        """Return a product of spectra (n_nodes, nlam) of all galaxies."""
        rows = self._used(source, spectra[None])
        spectra = spectra[rows]
        product = Product(
            spectra=jnp.asarray(spectra, float),
            coefficients=None,
            axes=None,
            rows=None if rows.all() else jnp.flatnonzero(rows),
            masks=self._tree.masks[source.mask].varying,
        )
        few = self._tree.lines is not None
        if few or not self._tolerance or not rows.any():
            return product
        basis = self._basis(spectra, rows, product.spectra.dtype)
        numbers = basis.coefficients.size + basis.components.size
        if (
            numbers > _WORTHWHILE * spectra.size
            or basis.error > self._tolerance
        ):
            return product
        return replace(
            product,
            spectra=jnp.asarray(basis.components),
            coefficients=jnp.asarray(basis.coefficients),
        )

    def _basis(
        self,
        spectra: NDArray[np.float64],
        rows: NDArray[np.bool_],
        dtype: DTypeLike,
    ) -> LinearBasis:
        """Return the basis of spectra at some of the nodes, found once."""
        grid, *_ = self._tree.grids
        key = (
            *map(array_key, (spectra, rows, self._tree.lam)),
            *map(array_key, (grid.log10ages, grid.metallicities)),
            self._tolerance,
            np.dtype(dtype).name,
        )
        if key not in _found:
            while len(_found) >= _MOST_FOUND:
                del _found[next(iter(_found))]
            _found[key] = find_basis(
                spectra,
                self._tree.lam,
                self._nodes.select(rows),
                self._tolerance,
                dtype,
            )
        return _found[key]

    def _varying(
        self,
        source: Extraction,
        weights: Weights,
        values: Mapping[str, Value],
        between: Mapping[str, NDArray[np.float64]],
        true: NDArray[np.float64],
        nodes: Nodes,
    ) -> Product:
        """Return a product of spectra that vary with further axes.

        Interpolation is measured by the `true` spectra at the points
        `between` those of meshes.
        """
        grid = self._tree.grids[source.grid]
        for degree in _DEGREES:
            meshes = {
                axis: AxisMesh.between_nodes(
                    scaled_nodes(grid, axis),
                    degree,
                    value,
                    is_logged(grid, axis),
                )
                for axis, value in values.items()
            }
            points = {
                axis: mesh_points(scaled_nodes(grid, axis), degree)
                for axis in values
            }
            spectra = self._total(source, weights, points)
            rows = self._used(source, spectra)
            lam, on_rows = self._tree.lam, nodes.select(rows)
            basis = find_axis_basis(
                spectra[:, rows],
                lam,
                on_rows,
                self._axis_tolerance,
                jnp.zeros(()).dtype,
            )
            table = AxisTable(
                tuple(meshes.values()),
                jnp.asarray(basis.functions),
                jnp.asarray(basis.core),
            )
            functions = np.stack(
                [table.functions_at(x) for x in product(*between.values())]
            )
            error = axis_error(basis, functions, true[:, rows], lam, on_rows)
            if error <= self._axis_tolerance:
                break
        self.error = max(self.error, basis.error, error)
        return Product(
            spectra=jnp.asarray(basis.components),
            coefficients=jnp.asarray(basis.coefficients),
            axes=table,
            rows=None if rows.all() else jnp.flatnonzero(rows),
            masks=self._tree.masks[source.mask].varying,
        )

    def _total(
        self,
        source: Extraction,
        weights: Weights,
        points: Mapping[str, NDArray[np.float64]],
    ) -> NDArray[np.float64]:
        """Return a sum of spectra at points of the varying axes.

        The shape is (n_points, n_nodes, nlam), for all combinations of the
        points on the axes.
        """
        grid = self._tree.grids[source.grid]
        everywhere = {
            axis: points[axis]
            if axis in points
            else _scaled(grid, axis, value)
            for axis, value in zip(grid.axes[2:], source.axes, strict=True)
        }
        n_nodes = int(np.prod(self._tree.nodes))
        n_points = int(np.prod([len(x) for x in everywhere.values()]))
        total = np.zeros((n_points, n_nodes, len(self._tree.lam)))
        for name, coefficient in weights.items():
            spectra = self._tree.at_nodes(
                grid, name, everywhere, self._quantity
            )
            total += coefficient * spectra.reshape(total.shape)
        # In single precision, the faintest spectra vanish.
        tiny = jnp.finfo(jnp.zeros(()).dtype).tiny
        return np.where(np.abs(total) < tiny, 0.0, total)

    def _used(
        self, source: Extraction, spectra: NDArray[np.float64]
    ) -> NDArray[np.bool_]:
        """Return which nodes emit and are selected by the mask, (n_nodes,).

        Old nodes of nebular spectra, for example, do not emit.
        """
        used: NDArray[np.bool_] = np.any(spectra, axis=(0, 2))
        kept = self._tree.masks[source.mask].kept
        return used if kept is None else used & np.ravel(kept)

    @cached_property
    def _nodes(self) -> Nodes:
        """The nodes of the grids, with random galaxies."""
        grid, *_ = self._tree.grids
        lines = self._tree.lines is not None
        return Nodes.on_grid(grid.log10ages, grid.metallicities, lines)


def summed(terms: Iterable[TreeTerm]) -> Sums:
    """Sum the coefficients of terms with equal source and factors."""
    sums: Sums = {}
    for term in terms:
        if not np.any(term.coefficient):
            continue
        weights = sums.setdefault((term.source, term.factors), {})
        before = weights.get(term.spectrum, np.array(0.0))
        weights[term.spectrum] = before + term.coefficient
    return sums


def _normalised(weights: Weights) -> tuple[Coefficient, Weights]:
    """Return a scale, and the weights divided by it, the first of them one.

    Weights that depend on wavelength are returned unchanged.
    """
    scale = weights[min(weights)]
    if any(np.ndim(v) for v in weights.values()) or not scale:
        return np.array(1.0), weights
    return scale, {name: value / scale for name, value in weights.items()}


def _key(weights: Weights) -> tuple[Any, ...]:
    """Return a hashable value, the same for equal sums."""
    return tuple((name, array_key(v)) for name, v in sorted(weights.items()))


def _scaled(grid: Grid, axis: str, value: Value) -> NDArray[np.float64]:
    """Return a constant on an axis, log10 if that is logged, (1,)."""
    number = np.atleast_1d(np.float64(value({})))
    return np.log10(number) if is_logged(grid, axis) else number


def _between(
    nodes: NDArray[np.float64], axes: Collection[str]
) -> NDArray[np.float64]:
    """Return points between nodes at which interpolation is measured."""
    n = max(2, round(_MEASURED_AT ** (1 / len(axes))))
    # In different places of the intervals.
    position = (np.arange(n) + 0.37) / n * (len(nodes) - 1)
    return np.interp(position, np.arange(len(nodes)), nodes)
