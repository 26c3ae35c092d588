"""Translation of Synthesizer's emission models to an `EmissionFunction`.

`compile_model` walks the tree of a model (`tree`), chooses the sums of spectra
that become matrix products (`products`), and assembles the function.
"""

from collections.abc import Iterable, Mapping
from typing import Any

import jax.numpy as jnp
import numpy as np
from numpy.typing import NDArray
from synthesizer.emission_models import EmissionModel
from synthesizer.emission_models.model_queue import ModelQueue
from synthesizer.emissions import Sed
from synthesizer.exceptions import InconsistentArguments
from synthesizer.synth_warnings import warn
from unyt import Lsun, angstrom, erg, s, unyt_quantity

from synthesizer_emulator.forking import check_not_forked
from synthesizer_emulator.galaxies.emission import EmissionFunction
from synthesizer_emulator.galaxies.node_spectra import Quantity
from synthesizer_emulator.galaxies.parameter_names import required_labels
from synthesizer_emulator.galaxies.products import (
    AXIS_FACTOR,
    Products,
    Sums,
    summed,
)
from synthesizer_emulator.galaxies.terms import DustEmission, Term
from synthesizer_emulator.galaxies.tree import (
    EmissionTree,
    Source,
    ordered,
)
from synthesizer_emulator.validation import check_number

# The default error of linear bases, mag.
TOLERANCE = 1e-4


def compile_model(
    model: EmissionModel,
    emissions: str | Iterable[str] | None = None,
    varying: str | Iterable[str] = (),
    fixed: Mapping[str, Any] | None = None,
    lam_lims: tuple[unyt_quantity, unyt_quantity] | None = None,
    tolerance: float = TOLERANCE,
) -> EmissionFunction:
    """Translate an emission model into a pure function of one galaxy.

    Supports any tree of Synthesizer's stellar models for parametric stars:
    extraction, with masks on age and metallicity; combination; escape
    fractions; attenuation; dust emission; broadening; scaling. As in
    Synthesizer,
    parameters are looked up first in the model's fixed parameters, then in
    the emitter's attributes, then in the dust curve or generator.

    Constant factors are multiplied into the spectra, and each distinct sum of
    spectra costs one matrix product, so pass parameters shared by all
    galaxies as `fixed`.

    Args:
        model (EmissionModel): The model; its grid's spectra are read.
        emissions (str/list of str): The labels of the emissions to return;
            that of `model` by default; none if empty.
        varying (str/list of str): The emitter's attributes that differ from
            galaxy to galaxy, e.g. `tau_v`. A warning names those that the
            model does not use.
        fixed (dict): The emitter's attributes that are the same for all
            galaxies. As in Synthesizer, `fesc` is 0 and `fesc_ly_alpha` is 1
            by default.
        lam_lims (tuple): The lowest and the highest wavelength needed, for
            example those that filters cover (`bands.lam_lims`); all
            wavelengths by default. A model that broadens keeps more, as it
            needs light from beyond these limits.
        tolerance (float): The error, mag, that a linear basis may cause in
            any band of 999 in 1000 galaxies, where the band is brighter than
            1e-4 of the brightest (see `linear_basis`); twenty times as much,
            of 99 in 100, where spectra vary with axes beyond age and
            metallicity. Zero for the full product of the SFZH and the
            spectra, which is slower.

    Returns:
        EmissionFunction: The function. It holds copies of the spectra, so
            later changes of the model do not affect it.

    Raises:
        UnimplementedFunctionality: If operations of the model are not
            supported; the error lists all of them. Use Synthesizer's
            pipeline instead.
        IncorrectUnits: If a parameter has the wrong units.
        MissingUnits: If a parameter, such as a temperature, lacks units that
            Synthesizer requires.
        MissingAttribute: If parameters are neither varying nor fixed; the
            error lists all of them.
        MissingSpectraType: If the model has no emission of a given label.
        InconsistentArguments: If the model is not saved, its grids' axes
            are not those of parametric stars or differ, or `lam_lims` are
            given although luminosities over all wavelengths are needed.

    Examples:
        >>> import jax
        >>> from synthesizer.emission_models import TotalEmission
        >>> from synthesizer.emission_models.attenuation import PowerLaw
        >>> from synthesizer_emulator import EmulatedGrid
        >>> grid = EmulatedGrid.example()
        >>> model = compile_model(
        ...     TotalEmission(grid, dust_curve=PowerLaw(slope=-0.7)),
        ...     varying=["tau_v"],
        ... )
        >>> model.emissions, model.parameters
        (('emergent',), ('tau_v',))
        >>> sfzh = jax.numpy.ones((10, *grid.shape[:2]))
        >>> evaluate = jax.jit(jax.vmap(type(model).spectra, (None, 0, 0)))
        >>> lnu = evaluate(model, sfzh, {"tau_v": jax.numpy.ones(10)})
        >>> lnu["emergent"].shape
        (10, 1719)
    """
    check_number("tolerance", tolerance, 0)
    tree, labels = translated(model, emissions, varying, fixed, lam_lims)
    warn_of_unused(tree)
    tree.check_luminosities(labels)
    sums = {
        label: summed(tree.terms[label]) for label in tree.required(labels)
    }
    function = assemble(tree, labels, sums, tolerance)
    for label, dust in function.dust.items():
        if isinstance(dust, DustEmission) and not dust.names:
            dust.warn_if_cold(label, {}, tree.lam)
    return function


def recipe(
    model: EmissionModel,
    emissions: str | Iterable[str] | None = None,
    varying: str | Iterable[str] = (),
    fixed: Mapping[str, Any] | None = None,
) -> dict[str, Any]:
    """Return the operations of a compiled model on the spectra of its grids.

    Models with equal recipes, on grids with equal spectra, give equal
    emissions, so models can be compared without evaluating them. The arguments
    and the errors are those of `compile_model`.

    Returns:
        dict: `terms`: for each emission needed a list of sources (an index of
            the grid and its masks, or the label of a dust or broadened
            emission), varying factors, and coefficients of the spectra;
            `lam`: the wavelengths, Angstrom, (nlam,); `dust`: the dust
            emissions; `broadened`: the broadened emissions; `emissions`: the
            labels of the emissions returned.
    """
    tree, labels = translated(model, emissions, varying, fixed)
    required = tree.required(labels)

    def described(source: Source) -> Any:
        if isinstance(source, str):
            return source
        return source.grid, source.axes, tree.masks[source.mask]

    terms = {
        label: [
            (described(source), [tree.factors[key] for key in keys], weights)
            for (source, keys), weights in summed(tree.terms[label]).items()
        ]
        for label in required
    }
    return {
        "terms": terms,
        "dust": {k: v for k, v in tree.dust.items() if k in required},
        "broadened": {
            k: v for k, v in tree.broadened.items() if k in required
        },
        "lam": tree.lam,
        "emissions": labels,
    }


def luminosity_weights(lam: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return the weights that integrate erg/s/Hz to Lsun, (nlam,).

    The integral over frequency is by the trapezoidal rule.
    """
    nu = Sed(lam * angstrom).nu.to_value("Hz")
    steps = -np.diff(nu)
    weights = np.zeros_like(nu)
    weights[1:] += 0.5 * steps
    weights[:-1] += 0.5 * steps
    return weights * float((1.0 * erg / s).to_value(Lsun))


def translated(
    model: EmissionModel,
    emissions: str | Iterable[str] | None = None,
    varying: str | Iterable[str] = (),
    fixed: Mapping[str, Any] | None = None,
    lam_lims: tuple[unyt_quantity, unyt_quantity] | None = None,
    lines: str | Iterable[str] | None = None,
) -> tuple[EmissionTree, tuple[str, ...]]:
    """Return the translated tree of a model and the labels to return.

    The arguments are those of `compile_model` and `compile_lines`.
    """
    check_not_forked()
    if not model.save:
        raise InconsistentArguments(
            f"The model to compile must be saved, but '{model.label}' is not "
            "saved. Use one with save=True."
        )
    wanted = [emissions] if isinstance(emissions, str) else emissions
    labels = (model.label,) if wanted is None else tuple(wanted)
    required = required_labels(model, labels)
    if isinstance(varying, str):
        varying = [varying]
    varying = tuple(varying)
    tree = EmissionTree(model, varying, fixed or {}, lam_lims, lines)
    queue = ModelQueue(model)
    while len(queue):
        node = queue.pop()
        if node.label in required:
            tree.translate(node)
        queue.done(node, {}, {})
    tree.check()
    return tree, labels


def warn_of_unused(tree: EmissionTree) -> None:
    """Warn of parameters that a model does not use."""
    if tree.unused:
        warn(
            "Parameters that the emission model does not use have no effect: "
            f"{', '.join(tree.unused)}.{tree.suggestions}"
        )


def assemble(
    tree: EmissionTree,
    labels: tuple[str, ...],
    sums: Mapping[str, Sums],
    tolerance: float,
    quantity: Quantity = "spectra",
) -> EmissionFunction:
    """Return the function that evaluates the emissions with given labels.

    Args:
        tree (EmissionTree): The translated tree.
        labels (tuple of str): The emissions to return.
        sums (Mapping): The sums of these and of all emissions they need.
        tolerance (float): As for `compile_model`.
        quantity (str): As for `Products`.
    """
    products = Products(tree, sums, tolerance, quantity)
    keys = ordered(
        {k for terms in sums.values() for _, ks in terms for k in ks}
    )
    index = {key: i for i, key in enumerate(keys)}
    terms = {
        label: tuple(
            Term(
                jnp.asarray(coefficient, float),
                tuple(index[key] for key in factors),
                term_source,
            )
            for (source, factors), weights in emission.items()
            for coefficient, term_source in products.of(source, weights)
        )
        for label, emission in sums.items()
    }
    allowed = AXIS_FACTOR * tolerance
    if tolerance and products.error > allowed:
        warn(
            "Spectra and lines that vary with further axes must be within "
            f"{allowed:.2g} mag of those of the grid between its nodes; the "
            f"best are within {products.error:.2g} mag, which is the error "
            "to expect. A tolerance of "
            f"{products.error / AXIS_FACTOR:.1g} or more allows it."
        )
    sources = {source for emission in sums.values() for source, _ in emission}
    n_grid = len(tree.dust_lam) - len(tree.lam) if tree.lines else None
    per_lsun = np.zeros(len(tree.dust_lam))
    per_lsun[:n_grid] = luminosity_weights(tree.dust_lam[:n_grid])
    return EmissionFunction(
        lam=jnp.asarray(tree.lam, float),
        per_lsun=jnp.asarray(per_lsun, float),
        products=tuple(products.products),
        factors=tuple(tree.factors[key] for key in keys),
        dust={k: v for k, v in tree.dust.items() if k in sources},
        broadened={k: v for k, v in tree.broadened.items() if k in sources},
        terms=terms,
        emissions=labels,
        nodes=tree.nodes,
    )
