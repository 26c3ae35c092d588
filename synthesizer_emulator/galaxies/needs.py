"""What an emission model asks of a galaxy, by name.

Known from the tree of the model alone, before anything of it is evaluated:
names that users give are checked against it first.
"""

from collections.abc import Iterable, Mapping
from typing import Any

from synthesizer.emission_models import EmissionModel, ParameterFunction
from synthesizer.emission_models.model_queue import ModelQueue
from synthesizer.exceptions import InconsistentArguments, MissingSpectraType
from synthesizer.utils import depluralize, pluralize

from synthesizer_emulator.validation import nearest

_LOG10 = "log10"


def needed_labels(
    model: EmissionModel, emissions: Iterable[str]
) -> tuple[str, ...]:
    """Return labels and those of all models that they are made from.

    Args:
        model (EmissionModel): The root of the tree.
        emissions (iterable of str): The labels of the emissions wanted.

    Raises:
        MissingSpectraType: If there is no emission of a given label.
    """
    queue = ModelQueue(model)
    found: list[str] = []
    pending = list(emissions)
    unknown = [label for label in pending if label not in queue.models]
    if unknown:
        raise MissingSpectraType(
            f"The model makes no emission {', '.join(unknown)}; it makes: "
            f"{', '.join(queue.models)}."
            + "".join(nearest(label, queue.models) for label in unknown)
        )
    while pending:
        label = pending.pop()
        if label not in found:
            found.append(label)
            pending += queue.dependencies[label]
    return tuple(found)


def asked_parameters(
    model: EmissionModel,
    emissions: Iterable[str] | None = None,
    given: Mapping[str, Any] | None = None,
) -> tuple[str, ...]:
    """Return the names that a model may look up on a galaxy's stars.

    Those of its transformers, generators, scalings and masks, but what the
    model fixes itself.

    Args:
        model (EmissionModel): The root of the tree.
        emissions (iterable of str): The labels of the emissions wanted; all
            of the tree by default.
        given (Mapping): What the stars have; a text is the name of another
            attribute, which is looked up in turn.

    Returns:
        tuple of str: The names, sorted.

    Raises:
        MissingSpectraType: If there is no emission of a given label.
    """
    models = ModelQueue(model).models
    labels = models if emissions is None else emissions
    names = {v for v in (given or {}).values() if isinstance(v, str)}
    for label in needed_labels(model, labels):
        for name in _looked_up(models[label]):
            names |= _followed(name, models[label].fixed_parameters)
    return tuple(sorted(names.difference(models)))


def is_asked(name: str, asked: Iterable[str]) -> bool:
    """Return whether a name is one of those that are asked for.

    Or one that Synthesizer's `get_param` takes for it: the singular, the
    plural, or what a logarithm is of.

    Args:
        name (str): The name.
        asked (iterable of str): Those that are asked for.
    """
    return any(name in _variants(other) for other in asked)


def check_asked(names: Iterable[str], asked: Iterable[str]) -> None:
    """Refuse names that are not asked for.

    Args:
        names (iterable of str): The names of parameters.
        asked (iterable of str): Those that are asked for.

    Raises:
        InconsistentArguments: Says which there are, and which is nearest.
    """
    asked = list(asked)
    # What is in the plural by mistake would not be looked up.
    known = {*asked, *(name.replace(_LOG10, "") for name in asked)}
    for name in names:
        if name not in known:
            raise InconsistentArguments(
                f"The emission model does not ask for '{name}'; it asks "
                f"for: {', '.join(asked) or 'nothing'}." + nearest(name, asked)
            )


def _looked_up(model: EmissionModel) -> set[str]:
    """Return what one model of a tree looks up."""
    found: list[Any] = list(model.scale_by)
    for part in (model.transformer, model.generator):
        found += getattr(part, "_required_params", ())
    for mask in model.masks:
        found += (mask["attr"], mask["thresh"])
    return {name for name in found if isinstance(name, str)}


def _followed(name: str, fixed: Mapping[str, Any]) -> set[str]:
    """Return what a name leads to by what a model fixes."""
    found: set[str] = set()
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
            # An alias is looked up on the stars, whatever the model fixes.
            found.add(value)
        elif value is None:
            found.add(name)
    return found


def _variants(name: str) -> set[str]:
    """Return under which other names a parameter is looked for."""
    names = {name, name.replace(_LOG10, "")}
    return {f(n) for n in names for f in (str, depluralize, pluralize)}
