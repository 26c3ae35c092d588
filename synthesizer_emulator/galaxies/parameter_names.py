"""The names of the parameters that an emission model uses.

The names depend only on the tree of models, so that the names given by users
can be checked before any evaluation.
"""

from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from synthesizer.emission_models import EmissionModel, ParameterFunction
from synthesizer.emission_models.model_queue import ModelQueue
from synthesizer.exceptions import InconsistentArguments, MissingSpectraType
from synthesizer.grid import Grid
from synthesizer.utils import depluralize, pluralize

from synthesizer_emulator.validation import nearest

LOG10 = "log10"


def required_labels(
    model: EmissionModel, emissions: Iterable[str]
) -> tuple[str, ...]:
    """Return the labels of emissions and of all models they depend on.

    Raises:
        MissingSpectraType: If the model has no emission of a given label.
    """
    queue = ModelQueue(model)
    labels: list[str] = []
    pending = list(emissions)
    unknown = [label for label in pending if label not in queue.models]
    if unknown:
        raise MissingSpectraType(
            f"The model has no emission {', '.join(unknown)}; its emissions "
            f"are: {', '.join(queue.models)}."
            + "".join(nearest(label, queue.models) for label in unknown)
        )
    while pending:
        label = pending.pop()
        if label not in labels:
            labels.append(label)
            pending += queue.dependencies[label]
    return tuple(labels)


def parameter_names(
    model: EmissionModel,
    emissions: Iterable[str] | None = None,
    attributes: Mapping[str, Any] | None = None,
) -> tuple[str, ...]:
    """Return the attributes of stars that an emission model may look up.

    These are the parameters of its transformers, generators, scalings and
    masks, and the axes of its grids beyond age and metallicity, except those
    that the model fixes.

    Args:
        model (EmissionModel): The root of the tree.
        emissions (iterable of str): The labels of the emissions wanted; all
            of the tree by default.
        attributes (Mapping): The attributes of the stars. A string is an
            alias: the name of another attribute, which is looked up too.

    Returns:
        tuple of str: The names, sorted.

    Raises:
        MissingSpectraType: If the model has no emission of a given label.
    """
    models = ModelQueue(model).models
    labels = models if emissions is None else emissions
    names = {v for v in (attributes or {}).values() if isinstance(v, str)}
    for label in required_labels(model, labels):
        names |= _aliases_of(models[label].generator)
        for name in _names_in(models[label]):
            names |= _resolved(name, models[label].fixed_parameters)
    return tuple(sorted(names.difference(models)))


def free_axes(
    model: EmissionModel, emissions: Iterable[str]
) -> Iterator[tuple[Grid, str]]:
    """Yield the axes beyond age and metallicity without a fixed value.

    Args:
        model (EmissionModel): The root of the tree.
        emissions (iterable of str): The labels of the emissions wanted.

    Yields:
        tuple: A grid and the name of its axis. Galaxies need a value on it,
            under one of `axis_names`.

    Raises:
        MissingSpectraType: If the model has no emission of a given label.
    """
    models = ModelQueue(model).models
    for label in required_labels(model, emissions):
        part = models[label]
        if part._is_extracting:
            for axis in part.grid.axes[2:]:
                if not axis_names(axis) & part.fixed_parameters.keys():
                    yield part.grid, axis


def axis_names(axis: str) -> tuple[str, ...]:
    """Return all names of a value on an axis, in the order of look-up."""
    return _variants(f"{LOG10}{axis}")


def is_used(name: str, used: Iterable[str]) -> bool:
    """Return whether a name is, or stands for, one from `parameter_names`.

    Synthesizer's `get_param` also accepts the singular, the plural, and the
    quantity whose logarithm is used.
    """
    return any(name in _variants(other) for other in used)


def check_given_once(names: Iterable[str], used: Iterable[str]) -> None:
    """Raise if a parameter is given twice, by one name or by two.

    Args:
        names (iterable of str): The names given, such as
            `log10ionisation_parameters`.
        used (iterable of str): The parameters of the model, from
            `parameter_names`.

    Raises:
        InconsistentArguments: If one is.
    """
    names, variants = list(names), [_variants(other) for other in used]
    for i, name in enumerate(names):
        for other in names[:i]:
            if name == other:
                raise InconsistentArguments(
                    f"'{name}' is given twice, varying and fixed: keep one."
                )
            if any(name in v and other in v for v in variants):
                raise InconsistentArguments(
                    f"'{other}' and '{name}' are both given, but are values "
                    "of one parameter: keep one."
                )


def check_used(names: Iterable[str], used: Iterable[str]) -> None:
    """Raise unless all names are among those from `parameter_names`.

    Raises:
        InconsistentArguments: If a name is not; the error suggests one.
    """
    used = list(used)
    # Plurals are excluded, as a mistaken one would not be looked up.
    known = {*used, *(name.replace(LOG10, "") for name in used)}
    for name in names:
        if name not in known:
            raise InconsistentArguments(
                f"The emission model has no parameter '{name}'; its "
                f"parameters are: {', '.join(used) or 'none'}."
                + nearest(name, used)
            )


def _names_in(model: EmissionModel) -> set[str]:
    """Return the names that one model of a tree looks up."""
    names: list[Any] = list(model.scale_by)
    if model._is_extracting:
        # The first two axes are those of the SFZH.
        names += (_axis_name(model, axis) for axis in model.grid.axes[2:])
    for operation in (model.transformer, model.generator):
        names += getattr(operation, "_required_params", ())
    for mask in model.masks:
        names += (mask["attr"], mask["thresh"])
    return {name for name in names if isinstance(name, str)}


def _axis_name(model: EmissionModel, axis: str) -> str:
    """Return the name by which a model fixes an axis, or the name to give."""
    name = f"{LOG10}{axis}"
    fixed = (
        other for other in _variants(name) if other in model.fixed_parameters
    )
    return next(fixed, name)


def _aliases_of(generator: Any) -> set[str]:
    """Return the attributes named by a generator, e.g. Blackbody("T_dust")."""
    required = getattr(generator, "_required_params", ())
    values = (getattr(generator, name, None) for name in required)
    return {value for value in values if isinstance(value, str)}


def _resolved(name: str, fixed: Mapping[str, Any]) -> set[str]:
    """Return the stellar attributes from which a parameter is derived."""
    attributes: set[str] = set()
    pending, seen = [name], set()
    while pending:
        name = pending.pop()
        if name in seen:
            continue
        seen.add(name)
        value = fixed.get(name)
        if isinstance(value, ParameterFunction):
            pending += value.func_args
        elif isinstance(value, str):
            # An alias is looked up on the stars, not on the model.
            attributes.add(value)
        elif value is None:
            attributes.add(name)
    return attributes


def _variants(name: str) -> tuple[str, ...]:
    """Return all names under which Synthesizer looks up a parameter."""
    names = (name, name.replace(LOG10, ""))
    forms = (f(n) for n in names for f in (str, depluralize, pluralize))
    return tuple(dict.fromkeys(forms))
