r"""Star formation and metal histories as functions of their parameters.

Synthesizer integrates a history over the bins around a grid's nodes, one
`quad` a bin, which takes longer than the spectra. Here the same integrals
are pure JAX functions of one galaxy's parameters, closed where a closed
form exists: batch them with `jax.vmap`, differentiate them with `jax.grad`.
Whoever makes many galaxies needs them; whoever has an SFZH does not.

Every star formation history takes the limits of the age bins and its
parameters, and returns the mass formed in each bin up to a constant factor:

    history parameters -> masses in the age bins      \
                                                        outer product, SFZH
    metallicity parameters -> weights of the nodes    /

Parameters have the names of Synthesizer's classes; times are in yr.

Accuracy: summed over the bins, they differ from the exact integrals by
less than 1e-8 of the mass formed in double precision (1e-7 for a double
power law with slopes beyond 100), and by less than 1e-5 in single precision,
where the ages themselves are rounded. Synthesizer's `quad` is good to 2e-8;
a cut very near the edge of a bin, or a burst much narrower than a bin, it
may miss altogether.
"""

from collections.abc import Callable, Mapping, Sequence
from functools import partial
from inspect import signature
from typing import Annotated, Any, TypeAlias, get_args, get_type_hints

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array
from jax.scipy.special import erf, log_ndtr
from jax.typing import ArrayLike
from numpy.typing import NDArray
from synthesizer.exceptions import (
    InconsistentArguments,
    MissingAttribute,
    UnimplementedFunctionality,
)
from synthesizer.parametric import SFH, Stars, ZDist

from synthesizer_emulator.units import PURE, in_units, units_of
from synthesizer_emulator.validation import nearest

# Synthesizer's own default of `max_age`, where it has one.
_NO_MAX_AGE = 1e11

# Log10 star formation ratios are limited to this, as in Synthesizer.
_LARGEST_RATIO = 10.0

_LN_10 = np.log(10.0)

_NODES, _WEIGHTS = np.polynomial.legendre.leggauss(12)
_NODES, _WEIGHTS = 0.5 * (_NODES + 1.0), 0.5 * _WEIGHTS

# What counts as zero age, over the age of the peak of a double power law.
_YOUNGEST = 1e-15

# How far from the peak of a double power law, in e-folds of the ratio of
# its two terms, the fainter term still bends the brighter one.
_BEND = 8.0


# A time; other parameters are pure numbers.
Years: TypeAlias = Annotated[ArrayLike, "yr"]

# What histories have the logarithms of, in yr.
_LOGGED = ("agebins",)


def bin_limits(nodes: NDArray) -> NDArray[np.float64]:
    """Return the limits (n + 1,) of the bins Synthesizer integrates over.

    They lie midway between the nodes, on a linear scale; the first bin
    starts at zero, the last ends at its node.

    Args:
        nodes (np.ndarray of float): Ages or metallicities, ascending, (n,).
    """
    nodes = np.asarray(nodes, np.float64)
    middle = 0.5 * (nodes[1:] + nodes[:-1])
    return np.concatenate([[0.0], middle, nodes[-1:]])


def sfzh(
    ages: NDArray,
    metallicities: NDArray,
    sf_hist: str,
    metal_dist: str,
    sf_parameters: Mapping[str, ArrayLike],
    metal_parameters: Mapping[str, ArrayLike],
) -> Array:
    """Return the share of one galaxy's initial mass at each node of a grid.

    Synthesizer's `Stars(...).sfzh` for an initial mass of one. Where a
    history forms no stars within the grid's ages, all of it is NaN.

    Args:
        ages (np.ndarray of float): The ages of the grid, yr, (n_ages,).
        metallicities (np.ndarray of float): Its metallicities, (n_Z,).
        sf_hist (str): The star formation history, a key of `SF_HISTS`.
        metal_dist (str): The metallicity distribution, one of
            `METAL_DISTS`.
        sf_parameters (Mapping): The parameters of the history, by name.
        metal_parameters (Mapping): Those of the distribution.

    Returns:
        Array: Shape (n_ages, n_Z), of sum one.

    Raises:
        UnimplementedFunctionality: If there is no such history here.
        InconsistentArguments: If it has no parameter of a given name.
        MissingAttribute: If one of its parameters is missing.
        IncorrectUnits: If something has units that are not its own.

    Examples:
        >>> import numpy as np
        >>> ages, metallicities = np.geomspace(1e6, 1e10, 50), [0.004, 0.02]
        >>> share = sfzh(
        ...     ages,
        ...     metallicities,
        ...     "DelayedExponential",
        ...     "DeltaConstant",
        ...     {"tau": 1e9, "max_age": 5e9},
        ...     {"metallicity": 0.01},
        ... )
        >>> share.shape, round(float(share.sum()), 4)
        ((50, 2), 1.0)
    """
    form = _with_parameters(SF_HISTS, sf_hist, sf_parameters)
    enrich = _with_parameters(METAL_DISTS, metal_dist, metal_parameters)
    formed = form(bin_limits(in_units("ages", ages, "yr")))
    nodes = in_units("metallicities", metallicities, PURE)
    enriched = enrich(np.asarray(nodes, np.float64))
    return jnp.outer(formed / formed.sum(), enriched / enriched.sum())


def plain_parameters(
    functions: Mapping[str, Callable[..., Array]],
    name: str,
    parameters: Mapping[str, Any],
) -> dict[str, Any]:
    """Return the parameters of a history as plain numbers, times in yr.

    Args:
        functions (Mapping): `SF_HISTS` or `METAL_DISTS`.
        name (str): The history.
        parameters (Mapping): Its parameters, by name.

    Raises:
        UnimplementedFunctionality: If there is no such history here.
        IncorrectUnits: If one has units that are not its own.
    """
    units = units_of_history(functions, name)
    plain = {}
    for parameter, value in parameters.items():
        what = f"'{parameter}' of {name}"
        unit = units.get(parameter, PURE)
        if parameter in _LOGGED and units_of(value) == "yr":
            # As Synthesizer does; the first bin begins at age zero.
            ages = np.maximum(in_units(what, value, "yr"), 1.0)
            plain[parameter] = np.log10(ages)
        else:
            plain[parameter] = in_units(what, value, unit)
    return plain


def stack_parameters(
    histories: Sequence[SFH.Common] | Sequence[ZDist.Common],
) -> tuple[str, dict[str, NDArray[np.float64]]]:
    """Return the name and the parameters of Synthesizer's own histories.

    Args:
        histories (sequence): Histories, or metallicity distributions, of n
            galaxies, all of one class.

    Returns:
        tuple: The key in `SF_HISTS` or `METAL_DISTS`, and each parameter
            of all galaxies, (n, ...), times in yr.

    Raises:
        UnimplementedFunctionality: If they are of a class that is not
            translated: take `native_sfzh`.
        InconsistentArguments: If they differ in class, or in the shape of
            a parameter.
        IncorrectUnits: If a parameter has units that are not its own.
    """
    names = {type(history).__name__ for history in histories}
    if len(names) != 1:
        raise InconsistentArguments(
            "Histories can be stacked if they are of one class, got "
            f"{', '.join(sorted(names)) or 'none'}."
        )
    (name,) = names
    functions = (
        METAL_DISTS if isinstance(histories[0], ZDist.Common) else SF_HISTS
    )
    units = units_of_history(functions, name)
    columns = {}
    for parameter in units:
        # A metallicity distribution marks what others could be confused
        # with by an underscore.
        attribute = _ATTRIBUTES.get(parameter, parameter)
        own = units[parameter]
        values = [
            np.asarray(
                in_units(
                    f"'{parameter}' of {name}", getattr(h, attribute), own
                )
            )
            for h in histories
        ]
        shapes = {value.shape for value in values}
        if len(shapes) != 1:
            raise InconsistentArguments(
                f"'{parameter}' of {name} has to have one shape, got "
                f"{', '.join(map(str, sorted(shapes)))}."
            )
        columns[parameter] = np.stack(values).astype(np.float64)
    return name, columns


def native_sfzh(
    ages: NDArray,
    metallicities: NDArray,
    sf_hist: SFH.Common,
    metal_dist: ZDist.Common,
) -> NDArray[np.float64]:
    """Return Synthesizer's own SFZH of one galaxy, for any history.

    Hundreds of times slower than `sfzh`, and without derivatives.

    Args:
        ages (np.ndarray of float): The ages of the grid, yr, (n_ages,).
        metallicities (np.ndarray of float): Its metallicities, (n_Z,).
        sf_hist (SFH.Common): Any star formation history of Synthesizer.
        metal_dist (ZDist.Common): Any metallicity distribution.

    Returns:
        np.ndarray of float: Shape (n_ages, n_Z), of sum one.
    """
    stars = Stars(
        np.log10(in_units("ages", ages, "yr")),
        np.asarray(in_units("metallicities", metallicities, PURE)),
        sf_hist=sf_hist,
        metal_dist=metal_dist,
    )
    return stars.sfzh / stars.sfzh.sum()


def constant(limits: NDArray, max_age: Years, min_age: Years = 0.0) -> Array:
    """Return the masses (n,) of a constant star formation rate."""
    return _formed_part(limits, min_age, max_age)[1]


def gaussian(
    limits: NDArray,
    peak_age: Years,
    sigma: Years,
    max_age: Years = _NO_MAX_AGE,
    min_age: Years = 0.0,
) -> Array:
    r"""Return the masses (n,) of $\exp(-((age - peak) / \sigma)^2)$."""
    young, width = _formed_part(limits, min_age, max_age)
    return _bell((young - peak_age) / sigma, width / sigma)


def exponential(
    limits: NDArray,
    tau: Years,
    max_age: Years,
    min_age: Years = 0.0,
) -> Array:
    r"""Return the masses (n,) of $\exp(-t / \tau)$, $t = max\_age - age$."""
    young, width = _formed_part(limits, min_age, max_age)
    first = jnp.asarray(max_age) - young - width
    return _relative(
        _peak_of_decay(first, width, tau), width * _decay(width, tau)
    )


def delayed_exponential(
    limits: NDArray,
    tau: Years,
    max_age: Years,
    min_age: Years = 0.0,
) -> Array:
    r"""Return the masses (n,) of $t \exp(-t / \tau)$."""
    young, width = _formed_part(limits, min_age, max_age)
    first = jnp.asarray(max_age) - young - width
    falling = jnp.asarray(tau) > 0
    # The mean time, counted from whichever end is the brighter, so that
    # nothing overflows.
    end = jnp.where(falling, first, first + width)
    way = jnp.where(falling, width, -width)
    mean = end * _decay(width, tau) + way * _decay_moment(width, tau)
    return _relative(_peak_of_decay(first, width, tau), width * mean)


def log_normal(
    limits: NDArray,
    tau: ArrayLike,
    peak_age: Years,
    max_age: Years,
    min_age: Years = 0.0,
) -> Array:
    r"""Return the masses (n,) of a normal distribution in $\ln t$.

    Its width is $\tau$, and `peak_age` where the star formation rate, which
    has a further $1 / t$, is largest.
    """
    young, width = _formed_part(limits, min_age, max_age)
    # Nothing that matters forms in the first year.
    first = jnp.maximum(jnp.asarray(max_age) - young - width, 1.0)
    scale = np.sqrt(2.0) * jnp.asarray(tau)
    centre = jnp.log(jnp.asarray(max_age) - peak_age) + jnp.square(tau)
    return _bell(
        (jnp.log(first) - centre) / scale, jnp.log1p(width / first) / scale
    )


def double_power_law(
    limits: NDArray,
    peak_age: Years,
    alpha: ArrayLike,
    beta: ArrayLike,
    min_age: Years = 0.0,
    max_age: Years = _NO_MAX_AGE,
) -> Array:
    r"""Return the masses (n,) of $1 / (x^\alpha + x^\beta)$.

    With $x = age / peak$. On either side of the peak one term rules, and is
    integrated in closed form; what the other takes off is a smooth factor,
    integrated over the first by Gauss-Legendre quadrature, apart near the
    peak and far from it.
    """
    young, width = _formed_part(limits, min_age, max_age)
    low = jnp.maximum(young / peak_age, _YOUNGEST)
    log_low = jnp.log(low)
    log_high = log_low + jnp.log1p(width / peak_age / low)
    steep, shallow = jnp.maximum(alpha, beta), jnp.minimum(alpha, beta)
    ratio = steep - shallow
    bend = _BEND / jnp.maximum(ratio, _YOUNGEST)
    parts = [
        _power_law_part(
            jnp.clip(log_low, start, end),
            jnp.clip(log_high, start, end),
            1.0 - slope,
            sign * ratio,
        )
        for start, end, slope, sign in (
            (-jnp.inf, -bend, shallow, 1.0),
            (-bend, 0.0, shallow, 1.0),
            (0.0, bend, steep, -1.0),
            (bend, jnp.inf, steep, -1.0),
        )
    ]
    exponents, factors = map(jnp.stack, zip(*parts, strict=True))
    return _relative(exponents, factors).sum(axis=0)


def continuity(
    limits: NDArray,
    logsfr_ratios: ArrayLike,
    agebins: ArrayLike,
    min_age: Years = 0.0,
    max_age: Years = _NO_MAX_AGE,
) -> Array:
    """Return the masses (n,) of constant rates in fixed age bins.

    As in Leja et al. (2019, ApJ 876, 3).

    Args:
        limits (np.ndarray of float): The limits of the grid's bins, (n + 1,).
        logsfr_ratios (array): log10 of each rate over the next older one,
            (k - 1,).
        agebins (array): The ends of the age bins, log10 yr, (k, 2).
        min_age (float): The age of the youngest stars.
        max_age (float): The age of the oldest.
    """
    formed = _formed_parts(limits, _edges(agebins), min_age, max_age)
    log_rates = _falling(_limited(logsfr_ratios))
    return _relative(log_rates[:, None], formed).sum(axis=0)


def continuity_flex(
    limits: NDArray,
    logsfr_ratio_young: ArrayLike,
    logsfr_ratio_old: ArrayLike,
    logsfr_ratios: ArrayLike,
    fixed_young_bin: ArrayLike,
    fixed_old_bin: ArrayLike,
    min_age: Years = 0.0,
    max_age: Years = _NO_MAX_AGE,
) -> Array:
    """Return the masses (n,) of constant rates in age bins that move.

    As in Leja et al. (2019, ApJ 876, 3): the bins between the youngest and
    the oldest share the mass alike, and their edges follow from the ratios
    of their rates.

    Args:
        limits (np.ndarray of float): The limits of the grid's bins, (n + 1,).
        logsfr_ratio_young (float): log10 of the rate in the youngest bin
            over that in the next.
        logsfr_ratio_old (float): The same of the oldest bin.
        logsfr_ratios (array): log10 of each rate between over the next older
            one, (k - 1,).
        fixed_young_bin (array): The ends of the youngest bin, log10 yr, (2,).
        fixed_old_bin (array): Those of the oldest, (2,).
        min_age (float): The age of the youngest stars.
        max_age (float): The age of the oldest.
    """
    young = 10.0 ** jnp.asarray(fixed_young_bin)
    old = 10.0 ** jnp.asarray(fixed_old_bin)
    # As long as the rates are low, so that their masses are alike.
    log_shares = jax.nn.log_softmax(-_falling(_limited(logsfr_ratios)))
    widths = (old[0] - young[1]) * jnp.exp(log_shares)
    edges = jnp.concatenate([young[1] + jnp.cumsum(widths)[:-1], old])
    to_young, to_old = (
        _LN_10 * _limited(ratio)[None]
        for ratio in (logsfr_ratio_young, logsfr_ratio_old)
    )
    log_rates = jnp.concatenate(
        [to_young - log_shares[:1], -log_shares, to_old - log_shares[-1:]]
    )
    # Like Synthesizer, take what is younger than the youngest bin with it.
    edges = jnp.concatenate([jnp.zeros(1), young[1:], edges])
    formed = _formed_parts(limits, edges, min_age, max_age)
    return _relative(log_rates[:, None], formed).sum(axis=0)


def continuity_psb(
    limits: NDArray,
    logsfr_ratio_young: ArrayLike,
    logsfr_ratio_old: ArrayLike,
    logsfr_ratios: ArrayLike,
    tlast: Years,
    tflex: Years,
    max_age: Years,
    min_age: Years = 0.0,
) -> Array:
    """Return the masses (n,) of constant rates of a post-starburst galaxy.

    As in Suess et al. (2021, ApJ 915, 87), with bins that Synthesizer
    spaces evenly: one up to `tlast`, then up to `tflex`, then to the end.

    Args:
        limits (np.ndarray of float): The limits of the grid's bins, (n + 1,).
        logsfr_ratio_young (float): log10 of the rate in the youngest bin
            over that in the next.
        logsfr_ratio_old (array): The same of the oldest bins, (k_fixed,).
        logsfr_ratios (array): The same of those between, (k_flex - 1,).
        tlast (float): The age at which the youngest bin ends.
        tflex (float): The age at which the flexible bins end.
        max_age (float): The age of the oldest stars.
        min_age (float): The age of the youngest.
    """
    ratios = jnp.concatenate(
        [
            jnp.atleast_1d(jnp.asarray(logsfr_ratio_young, float)),
            jnp.asarray(logsfr_ratios, float),
            jnp.asarray(logsfr_ratio_old, float),
        ]
    )
    n_flex, n_fixed = (
        len(ratios) - np.size(logsfr_ratio_old),
        np.size(logsfr_ratio_old),
    )
    edges = jnp.concatenate(
        [
            jnp.zeros(1),
            jnp.linspace(tlast, tflex, n_flex + 1),
            jnp.linspace(tflex, max_age, n_fixed + 1)[1:],
        ]
    )
    formed = _formed_parts(limits, edges, min_age, max_age)
    return _relative(_falling(ratios)[:, None], formed).sum(axis=0)


def dirichlet(
    limits: NDArray,
    z_fraction: ArrayLike,
    agebins: ArrayLike,
    min_age: Years = 0.0,
    max_age: Years = _NO_MAX_AGE,
) -> Array:
    """Return the masses (n,) of rates with a Dirichlet prior.

    As in Leja et al. (2017, ApJ 837, 170).

    Args:
        limits (np.ndarray of float): The limits of the grid's bins, (n + 1,).
        z_fraction (array): The latent variables, 0 to 1, (k - 1,).
        agebins (array): The ends of the age bins, log10 yr, (k, 2).
        min_age (float): The age of the youngest stars.
        max_age (float): The age of the oldest.
    """
    latent = jnp.asarray(z_fraction, float)
    left = jnp.concatenate([jnp.ones(1), jnp.cumprod(latent)])
    rates = left * jnp.concatenate([1.0 - latent, jnp.ones(1)])
    return rates @ _formed_parts(limits, _edges(agebins), min_age, max_age)


def delta_constant(nodes: NDArray, metallicity: ArrayLike) -> Array:
    """Return the weights (n,) of one metallicity.

    Shared by the two nodes around it, linearly in metallicity; beyond the
    nodes all goes to the last.
    """
    grid = jnp.asarray(nodes)
    last = len(nodes) - 1
    cell = jnp.searchsorted(grid, metallicity, side="right") - 1
    cell = jnp.clip(cell, 0, max(last - 1, 0))
    # The only node of an axis is both ends of a cell without width.
    following = jnp.minimum(cell + 1, last)
    width = jnp.where(following > cell, grid[following] - grid[cell], 1.0)
    part = jnp.clip((metallicity - grid[cell]) / width, 0.0, 1.0)
    index = jnp.arange(len(nodes))
    return jnp.where(index == cell, 1.0 - part, 0.0) + jnp.where(
        index == following, part, 0.0
    )


def normal(nodes: NDArray, mean: ArrayLike, sigma: ArrayLike) -> Array:
    """Return the weights (n,) of a normal distribution of metallicities."""
    limits = bin_limits(nodes)
    scale = np.sqrt(2.0) * jnp.asarray(sigma)
    return _bell((limits[:-1] - mean) / scale, np.diff(limits) / scale)


# The functions by the names of Synthesizer's classes.
SF_HISTS: Mapping[str, Callable[..., Array]] = {
    "Constant": constant,
    "Gaussian": gaussian,
    "Exponential": exponential,
    "TruncatedExponential": exponential,
    "DecliningExponential": exponential,
    "DelayedExponential": delayed_exponential,
    "LogNormal": log_normal,
    "DoublePowerLaw": double_power_law,
    "Continuity": continuity,
    "ContinuityFlex": continuity_flex,
    "ContinuityPSB": continuity_psb,
    "Dirichlet": dirichlet,
}
METAL_DISTS: Mapping[str, Callable[..., Array]] = {
    "DeltaConstant": delta_constant,
    "Normal": normal,
}

# Where Synthesizer's objects call a parameter otherwise.
_ATTRIBUTES = {"metallicity": "metallicity_"}


def find_history(
    functions: Mapping[str, Callable[..., Array]], name: str
) -> Callable[..., Array]:
    """Return a history by the name of Synthesizer's class.

    Raises:
        InconsistentArguments: If Synthesizer has no such history.
        UnimplementedFunctionality: If it has, and there is none here.
    """
    if name not in functions:
        if not hasattr(ZDist if functions is METAL_DISTS else SFH, name):
            raise InconsistentArguments(
                f"Synthesizer has no '{name}' that has a batched form; these "
                f"have: {', '.join(functions)}." + nearest(name, functions)
            )
        raise UnimplementedFunctionality(
            f"'{name}' has no batched form; these have: "
            f"{', '.join(functions)}. Make its SFZH with native_sfzh."
        )
    return functions[name]


def units_of_history(
    functions: Mapping[str, Callable[..., Array]], name: str
) -> dict[str, str]:
    """Return the units of the parameters of a history, in their order.

    Args:
        functions (Mapping): `SF_HISTS` or `METAL_DISTS`.
        name (str): The history.

    Raises:
        UnimplementedFunctionality: If there is no such history here.
    """
    history = find_history(functions, name)
    _, *names = signature(history).parameters
    hints = get_type_hints(history, include_extras=True)
    return {
        name: "yr" if "yr" in get_args(hints[name]) else PURE for name in names
    }


def _with_parameters(
    functions: Mapping[str, Callable[..., Array]],
    name: str,
    given: Mapping[str, ArrayLike],
) -> Callable[[NDArray], Array]:
    """Return a history with its parameters, as a function of the nodes."""
    function = find_history(functions, name)
    _, *known = signature(function).parameters.values()
    names = [parameter.name for parameter in known]
    strange = [key for key in given if key not in names]
    if strange:
        raise InconsistentArguments(
            f"{name} has no parameter {', '.join(strange)}; it has: "
            f"{', '.join(names)}."
            + "".join(nearest(key, names) for key in strange)
        )
    missing = [
        parameter.name
        for parameter in known
        if parameter.default is parameter.empty and parameter.name not in given
    ]
    if missing:
        raise MissingAttribute(
            f"{name} needs {', '.join(missing)} as well, got "
            f"{', '.join(given) or 'nothing'}."
        )
    return partial(function, **plain_parameters(functions, name, given))


def _formed_part(
    limits: NDArray, min_age: ArrayLike, max_age: ArrayLike
) -> tuple[Array, Array]:
    """Return the younger ends and the widths of bins cut to two ages.

    The width of a bin that is not cut is taken in double precision, before
    its limits are rounded.
    """
    low, high = jnp.asarray(limits[:-1]), jnp.asarray(limits[1:])
    whole = (low >= min_age) & (high <= max_age)
    young = jnp.clip(low, min_age, max_age)
    old = jnp.clip(high, min_age, max_age)
    return young, jnp.where(whole, np.diff(limits), old - young)


def _bell(start: Array, width: Array) -> Array:
    r"""Return the integrals of $\exp(-x^2)$ from `start` over `width`.

    Up to a common factor. By quadrature where narrow, by error functions
    (those that do not cancel) where wide, each relative to the value at the
    end of the bin that is nearer to the peak.
    """
    end = start + width
    nearest = jnp.clip(0.0, start, end)
    narrow = width < 1.0
    x = start[:, None] + jnp.where(narrow, width, 0.0)[:, None] * _NODES[None]
    peak = nearest[:, None]
    by_nodes = width * (
        jnp.exp((peak - x) * (peak + x)) @ jnp.asarray(_WEIGHTS, float)
    )
    near = jnp.where(narrow, 0.0, jnp.abs(nearest))

    def beyond(x: Array) -> Array:
        """Return erfc(x) / exp(-near^2)."""
        log_half = log_ndtr(-np.sqrt(2.0) * x)
        return 2.0 * jnp.exp(log_half + jnp.square(near))

    by_ends = jnp.where(
        near > 0, beyond(near) - beyond(near + width), erf(end) - erf(start)
    )
    return _relative(
        -jnp.square(nearest),
        jnp.where(narrow, by_nodes, np.sqrt(np.pi) / 2 * by_ends),
    )


def _relative(exponents: Array, factors: Array) -> Array:
    """Return factors times exp(exponents), up to a common factor.

    Relative to the largest exponential that counts, so that neither
    overflows, nor do all of them vanish in single precision.
    """
    counted = jnp.where(factors > 0, exponents, -jnp.inf)
    largest = jax.lax.stop_gradient(counted.max())
    above = exponents - jnp.where(jnp.isfinite(largest), largest, 0.0)
    # What does not count may be larger. Unlike a clip, this keeps the
    # gradient of the largest.
    return factors * jnp.exp(jnp.where(above > 0, 0.0, above))


def _peak_of_decay(first: Array, width: Array, tau: ArrayLike) -> Array:
    """Return -t / tau at its largest in each bin of time."""
    return jnp.maximum(-first / tau, -(first + width) / tau)


def _decay(width: Array, tau: ArrayLike) -> Array:
    """Return the mean of an exponential relative to its larger end."""
    x = jnp.abs(width / tau)
    small = x < 1e-4
    safe = jnp.where(small, 1.0, x)
    return jnp.where(small, 1.0 - x / 2.0, -jnp.expm1(-safe) / safe)


def _decay_moment(width: Array, tau: ArrayLike) -> Array:
    """Return the mean of s exp(-|s / tau|) / width over 0 < s < width."""
    x = jnp.abs(width / tau)
    small = x < 0.5
    near, far = jnp.where(small, x, 0.0), jnp.where(small, 1.0, x)
    series: Array | float = 0.0
    for k in reversed(range(11)):
        series = 1.0 / (k + 2) - near / (k + 1) * series
    closed = (1.0 - (1.0 + far) * jnp.exp(-far)) / jnp.square(far)
    return jnp.where(small, series, closed)


def _power_law_part(
    log_low: Array, log_high: Array, power: Array, ratio: Array
) -> tuple[Array, Array]:
    """Return the integrals of x^(power - 1) / (1 + x^ratio).

    From ln x = `log_low` to `log_high`, by quadrature in x^power; as
    exponents, and factors that multiply their exponentials.
    """
    length = log_high - log_low
    rise = jnp.abs(power * length)
    # From the brighter end towards the fainter one.
    rising = power > 0
    bright = jnp.where(rising, log_high, log_low)
    way = jnp.where(rising, -length, length)
    small = rise < 1e-4
    safe = jnp.where(small, 1.0, rise)[:, None]
    steps = -jnp.log1p(jnp.expm1(-safe) * _NODES[None]) / safe
    steps = jnp.where(small[:, None], _NODES[None], steps)
    x = bright[:, None] + way[:, None] * steps
    factor = jax.nn.sigmoid(-ratio * x) @ jnp.asarray(_WEIGHTS, float)
    return power * bright, length * _decay(rise, 1.0) * factor


def _formed_parts(
    limits: NDArray, edges: Array, min_age: ArrayLike, max_age: ArrayLike
) -> Array:
    """Return how long each of k age bins (k + 1 edges) is in each bin.

    Shape (k, n), of the parts between two ages.
    """
    edges = jnp.clip(edges, min_age, max_age)
    return jax.vmap(lambda young, old: _formed_part(limits, young, old)[1])(
        edges[:-1], edges[1:]
    )


def _edges(agebins: ArrayLike) -> Array:
    """Return the edges (k + 1,), yr, of adjoining age bins (k, 2), log10 yr.

    Like Synthesizer, the first bin takes what is younger with it.
    """
    older = 10.0 ** jnp.asarray(agebins)[:, 1]
    return jnp.concatenate([jnp.zeros(1), older])


def _falling(log_ratios: Array) -> Array:
    """Return ln of rates (k,), from log10 of each over the next (k - 1,)."""
    return -_LN_10 * jnp.concatenate([jnp.zeros(1), jnp.cumsum(log_ratios)])


def _limited(logsfr_ratios: ArrayLike) -> Array:
    """Return log10 of ratios as far as Synthesizer takes them."""
    ratios = jnp.asarray(logsfr_ratios, float)
    return jnp.clip(ratios, -_LARGEST_RATIO, _LARGEST_RATIO)
