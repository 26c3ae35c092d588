"""The matrix products that evaluate the terms of an emission model.

Terms with different factors need different sums of a grid's spectra. If there
are no more sums than spectra, each sum is one product. Otherwise each spectrum
is one product, and the products are summed for each galaxy.
"""

from collections.abc import Iterable, Mapping
from typing import Any, TypeAlias

import jax.numpy as jnp
import numpy as np

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

# A weighted sum of spectra: the coefficients by spectrum, () or (nlam,).
Weights: TypeAlias = dict[str, Coefficient]
# The sums that make up an emission, by source and factors.
Sums: TypeAlias = dict[tuple[Source, tuple[FactorKey, ...]], Weights]


class Products:
    """The matrix products of an emission model, without duplicates.

    Args:
        tree (EmissionTree): The model.
        sums (Mapping): The sums of each emission, by label.

    Attributes:
        products (list of Product): The products made by calls of `of`.
    """

    def __init__(self, tree: EmissionTree, sums: Mapping[str, Sums]) -> None:
        self.products: list[Product] = []
        self._tree = tree
        self._index: dict[tuple[Extraction, tuple[Any, ...]], int] = {}
        distinct: dict[Extraction, dict[tuple[Any, ...], Weights]] = {}
        for emission in sums.values():
            for (source, _), weights in emission.items():
                if not isinstance(source, str):
                    unit = _normalised(weights)[1]
                    distinct.setdefault(source, {})[_key(unit)] = unit
        self._is_summed: dict[Extraction, bool] = {}
        for source, kinds in distinct.items():
            spectra = {name for weights in kinds.values() for name in weights}
            check_spectra(tree.grids[source.grid], sorted(spectra))
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
            return [(scale, self._product(source, unit))]
        return [
            (coefficient, self._product(source, {name: np.array(1.0)}))
            for name, coefficient in weights.items()
        ]

    def _product(self, source: Extraction, weights: Weights) -> int:
        """Return the index of a product, made on first use."""
        key = source, _key(weights)
        if key not in self._index:
            self._index[key] = len(self.products)
            self.products.append(self._make(source, weights))
        return self._index[key]

    def _make(self, source: Extraction, weights: Weights) -> Product:
        grid = self._tree.grids[source.grid]
        mask = self._tree.masks[source.mask]
        n_nodes = int(np.prod(self._tree.nodes))
        total = np.zeros((n_nodes, len(self._tree.lam)))
        for name, coefficient in weights.items():
            spectra = np.asarray(grid.spectra[name])[..., self._tree.kept]
            total += coefficient * np.reshape(spectra, total.shape)
        # Leave out nodes without emission, e.g. old nodes of nebular spectra.
        used = total.any(axis=1)
        if mask.kept is not None:
            used &= np.ravel(mask.kept)
        rows = np.flatnonzero(used)
        if len(rows) == n_nodes:
            return Product(jnp.asarray(total, float), None, mask.varying)
        return Product(
            jnp.asarray(total[rows], float), jnp.asarray(rows), mask.varying
        )


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
