"""Linear bases: the spectra at the nodes of a grid from fewer components.

The spectrum of a galaxy is its SFZH times the spectra at the nodes. These are
similar to each other, so that to a given tolerance

    spectra (n, nlam)  =  coefficients (n, k)  x  components (k, nlam)

and a galaxy costs n k + k nlam multiplications instead of n nlam. The
components are singular vectors of the spectra of young and of old nodes,
scaled so that bright and faint nodes and wavelengths matter alike, and smooth
errors, which do not average out in a band, more than others. Their number is
the smallest for which the bands of random galaxies are within the tolerance.
"""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np
from numpy.typing import DTypeLike, NDArray

# The share of galaxies whose errors must be within the tolerance, and that
# where spectra vary with further axes; between their nodes, a few spectra of
# grids change abruptly.
SHARE, AXIS_SHARE = 0.999, 0.99

# The fraction of its brightest band below which a band is not compared.
FAINTEST = 1e-4

# Galaxies fainter than this fraction of the brightest are not compared.
_TRACE = 1e-12

# The width over the wavelength of the bands in which errors are measured.
_WIDTH = 0.1

# The number of random galaxies on which errors are measured, and their seed.
_GALAXIES = 4000
_SEED = 20261126

# The age that divides young from old nodes, log10 yr: the ultraviolet of the
# two differs by orders of magnitude.
_YOUNG = 7.5

# The weight of errors at single wavelengths relative to those in bands.
_SINGLE = 0.3

# Spectra are scaled by their geometric mean, with values below the first
# fraction of the peak raised to it, but by no less than the second fraction of
# the largest value at a wavelength.
_FLOOR, _LEAST = 1e-6, 1e-2

# Singular values below this fraction of the largest are rounding errors.
_RANK = 3e-8

# The largest number of spectra from which components are made.
_MOST = 2000

# The magnitude of a small relative difference.
_MAGNITUDE = 2.5 / np.log(10.0)


@dataclass(frozen=True, eq=False)
class LinearBasis:
    """The spectra at the nodes of a grid, factored.

    Attributes:
        coefficients (np.ndarray of float): The coefficients at each node,
            (n, k).
        components (np.ndarray of float): The components, (k, nlam).
        error (float): The error, mag, that 999 in 1000 random galaxies do
            not exceed, in the worst band.
    """

    coefficients: NDArray[np.floating]
    components: NDArray[np.floating]
    error: float


@dataclass(frozen=True, eq=False)
class AxisBasis:
    """Spectra at the nodes that vary with further axes, factored.

    At point p of the axes, the spectrum at a node is the sum over r, q, k of
    coefficients[node, r] functions[p, q] core[r, q, k] components[k].

    Attributes:
        coefficients (np.ndarray of float): The coefficients, (n, r).
        functions (np.ndarray of float): The functions of the axes at their
            points, (n_points, q).
        core (np.ndarray of float): The core of the factors, (r, q, k).
        components (np.ndarray of float): The components, (k, nlam).
        error (float): The error, mag, that 99 in 100 random galaxies do not
            exceed, in the worst band at the points.
    """

    coefficients: NDArray[np.floating]
    functions: NDArray[np.floating]
    core: NDArray[np.floating]
    components: NDArray[np.floating]
    error: float


@dataclass(frozen=True, eq=False)
class Nodes:
    """The nodes of a grid in age and metallicity, with random galaxies.

    Attributes:
        log10ages (np.ndarray of float): The age of each node, log10 yr, (n,).
        sfzhs (np.ndarray of float): The SFZHs of random galaxies, on which
            errors are measured, (m, n).
        background (np.ndarray of float): The spectra of these galaxies to
            which those of a basis are added, (m, nlam), or zero.
        lines (bool): Whether the spectra are lines, each of which is a band
            of its own and may not exceed the tolerance however faint it is
            beside the others.
    """

    log10ages: NDArray[np.float64]
    sfzhs: NDArray[np.float64]
    background: NDArray[np.float64]
    lines: bool = False

    @classmethod
    def on_grid(
        cls,
        log10ages: NDArray[np.float64],
        metallicities: NDArray[np.float64],
        lines: bool = False,
    ) -> "Nodes":
        """Return the nodes of a grid, in the order of its spectra."""
        rng = np.random.default_rng(_SEED)
        return cls(
            np.repeat(log10ages, len(metallicities)),
            random_sfzhs(log10ages, metallicities, _GALAXIES, rng),
            np.zeros((_GALAXIES, 1)),
            lines,
        )

    def select(self, rows: NDArray[np.bool_]) -> "Nodes":
        """Return some of the nodes, and the galaxies with stars there."""
        sfzhs = self.sfzhs[:, rows]
        kept = sfzhs.any(axis=1)
        return replace(
            self,
            log10ages=self.log10ages[rows],
            sfzhs=sfzhs[kept],
            background=self.background[kept],
        )

    def bands(self, lam: NDArray[np.float64]) -> NDArray[np.float64]:
        """Return the weights of wavelengths in bands, (nlam, n_bands)."""
        return np.eye(len(lam)) if self.lines else _bands(lam)

    def overlapping_bands(
        self, lam: NDArray[np.float64]
    ) -> NDArray[np.float64]:
        """Return the weights in overlapping bands, as in `bands`."""
        return np.eye(len(lam)) if self.lines else _overlapping_bands(lam)

    def fluxes(
        self, fluxes: NDArray[np.float64], lam: NDArray[np.float64]
    ) -> "_BandFluxes":
        """Return true fluxes in bands (m, n_bands), to compare others with."""
        background = np.zeros((len(self.background), 1))
        if self.background.any():
            background = self.background @ self.bands(lam)
        return _BandFluxes(fluxes, background, self.lines)

    @cached_property
    def groups(self) -> list[NDArray[np.bool_]]:
        """The young and the old nodes, (n,) each, without empty groups."""
        young = self.log10ages < _YOUNG
        return [group for group in (young, ~young) if group.any()]


@dataclass(frozen=True, eq=False)
class Factors:
    """Factors of spectra, or of tables of coefficients.

    Attributes:
        sizes (np.ndarray of float): The singular values, descending, (k,).
        coefficients (np.ndarray of float): The coefficients, (n, ..., k).
        components (np.ndarray of float): The components, (k, ...).
    """

    sizes: NDArray[np.float64]
    coefficients: NDArray[np.float64]
    components: NDArray[np.float64]


def find_basis(
    spectra: NDArray[np.float64],
    lam: NDArray[np.float64],
    nodes: Nodes,
    tolerance: float,
    dtype: DTypeLike = np.float32,
) -> LinearBasis:
    """Factor spectra with the fewest components that meet a tolerance.

    Args:
        spectra (np.ndarray of float): The spectra at the nodes, (n, nlam).
        lam (np.ndarray of float): The wavelengths, Angstrom, (nlam,).
        nodes (Nodes): These nodes.
        tolerance (float): The error, mag, that 999 in 1000 galaxies may not
            exceed in any band that is brighter than 1e-4 of the galaxy's
            brightest.
        dtype (type): The precision in which galaxies are to be evaluated.

    Returns:
        LinearBasis: The basis; with all components if the tolerance can't be
            met.
    """
    coefficients, components = _by_groups(
        nodes,
        lambda group: _spectral_factors(
            spectra[group], nodes.overlapping_bands(lam)
        ),
    )
    coefficients = coefficients.astype(dtype)
    components = components.astype(dtype)
    bands = nodes.bands(lam)
    true = nodes.fluxes(nodes.sfzhs @ (spectra @ bands), lam)
    # Rounded as in use.
    weights = nodes.sfzhs.astype(dtype) @ coefficients
    in_bands = components @ bands.astype(dtype)

    def error(k: int) -> float:
        return true.error(weights[:, :k] @ in_bands[:k])

    k = _fewest(error, len(components), tolerance)
    return LinearBasis(coefficients[:, :k], components[:k], error(k))


def find_axis_basis(
    spectra: NDArray[np.float64],
    lam: NDArray[np.float64],
    nodes: Nodes,
    tolerance: float,
    dtype: DTypeLike = np.float32,
) -> AxisBasis:
    """Factor spectra that vary with further axes.

    Args:
        spectra (np.ndarray of float): The spectra at the points of the axes
            and the nodes, (n_points, n, nlam).
        lam (np.ndarray of float): The wavelengths, Angstrom, (nlam,).
        nodes (Nodes): These nodes.
        tolerance (float): As for `find_basis`, for 99 in 100 galaxies.
        dtype (type): As for `find_basis`.

    Returns:
        AxisBasis: The basis; with all factors if the tolerance can't be met.
    """
    n_points, n, n_lam = spectra.shape
    sfzhs = np.array_split(nodes.sfzhs, n_points)
    bands = nodes.bands(lam)
    true = nodes.fluxes(_galaxy_spectra(sfzhs, spectra @ bands), lam)

    def components_of(group: NDArray[np.bool_]) -> Factors:
        every = np.moveaxis(spectra[:, group], 0, 1).reshape(-1, n_lam)
        found = _spectral_factors(every, nodes.overlapping_bands(lam))
        tables = found.coefficients.reshape(-1, n_points, len(found.sizes))
        return replace(found, coefficients=tables)

    tables, components = _by_groups(nodes, components_of)  # (n, n_points, k)
    in_bands = components @ bands

    def error_of_components(k: int) -> float:
        at_points = np.moveaxis(tables[..., :k], 1, 0)
        return true.error(
            _galaxy_spectra(sfzhs, at_points) @ in_bands[:k], AXIS_SHARE
        )

    k = _fewest(error_of_components, len(components), tolerance / 3)
    tables, components = tables[..., :k], components[:k]

    # The coefficients at all points are in turn sums of few.
    scale = np.linalg.norm(tables, axis=(1, 2), keepdims=True)
    flat = (tables / np.where(scale > 0.0, scale, 1.0)).reshape(n, -1)

    def node_factors(group: NDArray[np.bool_]) -> Factors:
        sizes, vectors = _left_vectors(flat[group])
        return Factors(sizes, vectors, vectors.T @ flat[group])

    coefficients, rows = _by_groups(nodes, node_factors)
    coefficients = coefficients * scale[..., 0]
    by_point = rows.reshape(-1, n_points, k)
    at_points = np.moveaxis(by_point, 1, 0).reshape(n_points, -1)
    _, functions = _left_vectors(at_points)
    core = np.einsum("pq,rpk->rqk", functions, by_point)

    def basis(r: int, q: int) -> AxisBasis:
        truncated = AxisBasis(
            coefficients[:, :r].astype(dtype),
            functions[:, :q].astype(dtype),
            core[:r, :q].astype(dtype),
            components.astype(dtype),
            error=np.nan,
        )
        fluxes = _factored(truncated, sfzhs, truncated.functions) @ bands
        return replace(truncated, error=true.error(fluxes, AXIS_SHARE))

    q = len(functions.T)
    r = _fewest(lambda r: basis(r, q).error, len(core), tolerance / 1.5)
    q = _fewest(lambda q: basis(r, q).error, q, tolerance)
    return basis(r, q)


def variation(
    spectra: NDArray[np.floating], lam: NDArray[np.float64], nodes: Nodes
) -> float:
    """Return the error if spectra did not vary with further axes, mag.

    Args:
        spectra (np.ndarray of float): The spectra at points of the axes and
            the nodes, (n_points, n, nlam).
        lam (np.ndarray of float): The wavelengths, Angstrom, (nlam,).
        nodes (Nodes): The nodes.
    """
    in_bands = spectra @ nodes.bands(lam)
    true = nodes.fluxes(nodes.sfzhs @ in_bands[0], lam)
    return max(
        true.error(nodes.sfzhs @ others, AXIS_SHARE) for others in in_bands[1:]
    )


def axis_error(
    basis: AxisBasis,
    functions: NDArray[np.floating],
    spectra: NDArray[np.float64],
    lam: NDArray[np.float64],
    nodes: Nodes,
) -> float:
    """Return the error of a basis between the points it was made from, mag.

    Args:
        basis (AxisBasis): The basis.
        functions (np.ndarray of float): Its functions, interpolated to other
            points, (n_points, q).
        spectra (np.ndarray of float): The true spectra there, (n_points, n,
            nlam).
        lam (np.ndarray of float): The wavelengths, Angstrom, (nlam,).
        nodes (Nodes): The nodes.
    """
    sfzhs = np.array_split(nodes.sfzhs, len(spectra))
    bands = nodes.bands(lam)
    true = nodes.fluxes(_galaxy_spectra(sfzhs, spectra @ bands), lam)
    return true.error(_factored(basis, sfzhs, functions) @ bands, AXIS_SHARE)


def random_sfzhs(
    log10ages: NDArray[np.float64],
    metallicities: NDArray[np.float64],
    n: int,
    rng: np.random.Generator,
) -> NDArray[np.float64]:
    """Draw SFZHs from single bursts to constant star formation.

    A third has a constant star formation rate since a random time; the others
    form with a normal distribution of log age, 0.1 to 4 dex wide. Half have
    one metallicity, half a normal distribution of its logarithm.

    Args:
        log10ages (np.ndarray of float): The ages of a grid, log10 yr,
            (n_ages,).
        metallicities (np.ndarray of float): Its metallicities, (n_Z,).
        n (int): The number of galaxies.
        rng (np.random.Generator): The random generator.

    Returns:
        np.ndarray of float: The fraction of the mass at each node, (n,
            n_ages x n_Z).
    """
    ages = 10.0**log10ages
    limits = np.concatenate([[0.0], np.sqrt(ages[1:] * ages[:-1]), ages[-1:]])
    width = np.diff(limits)
    peak, oldest = rng.uniform(log10ages[0], log10ages[-1], (2, n, 1))
    sigma = 10.0 ** rng.uniform(-1.0, 0.6, (n, 1))
    exponent = -0.5 * ((log10ages - peak) / sigma) ** 2
    exponent -= exponent.max(axis=1, keepdims=True)
    constant = rng.random((n, 1)) < 1 / 3
    masses = np.where(
        constant,
        width * (log10ages <= oldest),
        np.exp(exponent) * width / ages,
    )
    scale = np.log10(np.maximum(metallicities, 1e-6))
    mean = rng.uniform(scale[0], scale[-1], (n, 1))
    sigma = rng.uniform(0.1, 0.6, (n, 1))
    spread = np.exp(-0.5 * ((scale - mean) / sigma) ** 2)
    single = [np.interp(mean[:, 0], scale, hat) for hat in np.eye(len(scale))]
    weights = np.where(rng.random((n, 1)) < 0.5, spread, np.transpose(single))
    masses /= masses.sum(axis=1, keepdims=True)
    weights /= weights.sum(axis=1, keepdims=True)
    return (masses[:, :, None] * weights[:, None]).reshape(n, -1)


class _BandFluxes:
    """True band fluxes of galaxies, (m, n_bands), to compare others with.

    Differences are relative to the fluxes with those of the background,
    (m, n_bands) or zero, (m, 1).
    """

    def __init__(
        self,
        fluxes: NDArray[np.float64],
        background: NDArray[np.float64],
        lines: bool,
    ) -> None:
        total = fluxes + background
        # Galaxies with only traces of the stars that emit are left out.
        if lines:
            faintest = _TRACE * total.max(axis=0)
        else:
            faintest = FAINTEST * total.max(axis=1, keepdims=True)
            faintest = np.maximum(faintest, _TRACE * total.max())
        compared = total > faintest
        self._fluxes = fluxes
        self._total = np.where(compared, total, np.nan)
        # Bands in which no galaxy emits are left out.
        self._bands = compared.any(axis=0)

    def error(
        self, fluxes: NDArray[np.floating], share: float = SHARE
    ) -> float:
        """Return the error that a share does not exceed in any band, mag."""
        if not self._bands.any():
            return 0.0
        relative = np.abs(fluxes - self._fluxes) / self._total
        relative = relative[:, self._bands]
        quantiles = np.nanquantile(relative, share, axis=0)
        return _MAGNITUDE * float(quantiles.max())


def _by_groups(
    nodes: Nodes, factors: Callable[[NDArray[np.bool_]], Factors]
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Factor young and old nodes separately, and join the factors.

    Returns:
        tuple: The coefficients (n, ..., k) and the components (k, ...), in
            the order of their singular values.
    """
    found = [factors(group) for group in nodes.groups]
    order = np.argsort(-np.concatenate([f.sizes for f in found]))
    shape = (len(nodes.log10ages), *found[0].coefficients.shape[1:-1])
    coefficients = np.zeros((*shape, len(order)))
    first = 0
    for group, part in zip(nodes.groups, found, strict=True):
        last = first + len(part.sizes)
        coefficients[group, ..., first:last] = part.coefficients
        first = last
    components = np.concatenate([f.components for f in found])
    return coefficients[..., order], components[order]


def _spectral_factors(
    spectra: NDArray[np.float64], bands: NDArray[np.float64]
) -> Factors:
    """Factor the spectra of a group of nodes, (n, nlam).

    Errors in bands, with weights (nlam, n_bands), matter most.
    """
    emits = spectra.any(axis=1)
    peaks = np.where(emits, spectra.max(axis=1), 1.0)[:, None]
    relative = spectra / peaks
    logs = np.log(np.maximum(relative, _FLOOR))
    typical = logs[emits].mean(axis=0)
    scale = np.maximum(np.exp(typical), _LEAST * relative.max(axis=0))
    # The size of a spectrum relative to the typical one.
    logs -= np.log(scale)
    sizes = np.exp(logs.mean(axis=1, keepdims=True))
    scaled = relative / scale / sizes
    averages = scaled @ (bands / np.sqrt(bands.shape[1]))
    single = _SINGLE / np.sqrt(len(bands)) * scaled
    weighted = np.concatenate([averages, single], axis=1)

    chosen = np.flatnonzero(emits)[:: -(-np.count_nonzero(emits) // _MOST)]
    values, vectors = _left_vectors(weighted[chosen])
    vectors /= values
    components = vectors.T @ scaled[chosen]
    # The coefficients with the least weighted squares of the residuals.
    coefficients = weighted @ (weighted[chosen].T @ vectors)
    return Factors(values, peaks * sizes * coefficients, components * scale)


def _left_vectors(
    matrix: NDArray[np.float64],
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Return the singular values (k,) and left singular vectors (m, k).

    From the matrix of inner products, in a tenth of the time of a singular
    value decomposition, and without vectors that are only rounding errors.
    """
    values, vectors = np.linalg.eigh(matrix @ matrix.T)
    sizes = np.sqrt(np.maximum(values, 0.0))[::-1]
    kept = sizes > _RANK * sizes[0]
    return sizes[kept], vectors[:, ::-1][:, kept]


def _fewest(error: Callable[[int], float], most: int, tolerance: float) -> int:
    """Return the smallest number, to 3%, with errors within a tolerance."""
    low, high = 0, most
    while high - low > max(1, low // 32):
        middle = (low + high) // 2
        if error(middle) <= tolerance:
            high = middle
        else:
            low = middle
    return high


def _factored(
    basis: AxisBasis,
    sfzhs: Sequence[NDArray[np.float64]],
    functions: NDArray[np.floating],
) -> NDArray[np.floating]:
    """Return the spectra of galaxies at points with given functions."""
    dtype = basis.core.dtype
    pairs = zip(sfzhs, functions.astype(dtype), strict=True)
    amplitudes = [
        galaxies.astype(dtype)
        @ basis.coefficients
        @ np.tensordot(values, basis.core, (0, 1))
        for galaxies, values in pairs
    ]
    return np.concatenate(amplitudes) @ basis.components


def _galaxy_spectra(
    sfzhs: Sequence[NDArray[np.float64]], spectra: Iterable[NDArray]
) -> NDArray[np.float64]:
    """Return the spectra of the galaxies at each point of the axes."""
    pairs = zip(sfzhs, spectra, strict=True)
    return np.concatenate([galaxies @ nodes for galaxies, nodes in pairs])


def _bands(lam: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return the weights of wavelengths in adjacent bands, (nlam, n_bands).

    Each band is as wide as a tenth of its wavelength.
    """
    number = (np.log(lam / lam[0]) / _WIDTH).astype(int)
    bands = (number[:, None] == np.unique(number)) / lam[:, None]
    return bands / bands.sum(axis=0)


def _overlapping_bands(lam: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return the weights of wavelengths in overlapping bands, as in `_bands`.

    They are a quarter of their width apart.
    """
    x = np.log(lam)
    centres = np.arange(x[0], x[-1] + _WIDTH / 4, _WIDTH / 4)
    bands = (np.abs(x[:, None] - centres) < _WIDTH / 2) / lam[:, None]
    bands = bands[:, bands.any(axis=0)]
    return bands / bands.sum(axis=0)
